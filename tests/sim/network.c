/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/network.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"

#define LATE_US 500000u

void network_init(struct network *n, struct prng *rng, uint32_t count)
{
    *n = (struct network){.rng = rng, .count = count};
    n->cut = calloc((size_t)count * count, sizeof *n->cut);
    ENSURE(n->cut != NULL);
}

void network_fini(struct network *n)
{
    free(n->cut);
    n->cut = NULL;
}

uint64_t network_delay(struct network *n)
{
    const struct network_profile *p = &n->profile;
    uint64_t at = p->delay_us_min + prng_below(n->rng, p->delay_us_max - p->delay_us_min + 1);
    if (p->late > 0 && prng_below(n->rng, 1000) < p->late)
        at += prng_below(n->rng, LATE_US);
    return at;
}

unsigned network_send(struct network *n, uint64_t now_us, uint32_t from, uint32_t to,
                      uint64_t ret_at_us[2])
{
    const struct network_profile *p = &n->profile;
    unsigned copies = 0;
    n->sent++;
    if (!network_is_cut(n, from, to) && prng_below(n->rng, 1000) >= p->loss)
        ret_at_us[copies++] = now_us + network_delay(n);
    else
        n->lost++;
    if (copies == 1 && p->doubled > 0 && prng_below(n->rng, 1000) < p->doubled)
        ret_at_us[copies++] = now_us + network_delay(n);
    return copies;
}

bool network_is_cut(const struct network *n, uint32_t from, uint32_t to)
{
    return n->cut[from * n->count + to];
}

uint32_t network_interface_mtu(const struct network *n, uint32_t node)
{
    return n->paths == 0 || hash_mix(n->paths ^ node) % 4 > 0 ? 9001 : 1500;
}

uint32_t network_path_mtu(const struct network *n, uint32_t from, uint32_t to)
{
    static const uint32_t mtu[] = {1300, 1500, 9001, 9001};
    return n->paths == 0 ? 9001 : mtu[hash_mix(n->paths ^ (from << 16 | to)) % 4];
}

void network_cut(struct network *n, uint32_t from, uint32_t to, bool cut)
{
    n->cut[from * n->count + to] = cut;
}

void network_heal(struct network *n)
{
    memset(n->cut, 0, (size_t)n->count * n->count * sizeof *n->cut);
}
