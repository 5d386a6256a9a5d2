/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/census.h"

size_t census_pick(const char *const *listed, size_t count, const struct map *live, size_t *turn,
                   const char *ret[CENSUS_ASKED_MAX])
{
    size_t n = 0;
    size_t first = count == 0 ? 0 : *turn % count;
    *turn = first;
    for (size_t i = 0; i < count && n < CENSUS_ASKED_MAX; i++) {
        const char *address = listed[(first + i) % count];
        *turn = (first + i + 1) % count;
        if (!map_has(live, address))
            ret[n++] = address;
    }
    return n;
}
