/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/census.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN "self"

void census_drop(struct census *c)
{
    free(c->address);
    free(c->agent_of);
    *c = (struct census){0};
}

int census_begin(struct census *c, size_t room)
{
    census_drop(c);
    c->address = calloc(room + 1, sizeof *c->address);
    c->agent_of = calloc(room + 1, sizeof *c->agent_of);
    c->room = room;
    if (c->address != NULL && c->agent_of != NULL)
        return 0;
    census_drop(c);
    return ERR_NOMEM;
}

void census_add(struct census *c, const char *value)
{
    size_t before = c->count;
    while (c->count < c->room && advertise_next(&value, c->address[c->count], CENSUS_ADDRESS))
        c->agent_of[c->count++] = (uint32_t)c->agents;
    c->agents += c->count > before;
}

size_t census_pick(const struct census *c, const struct map *live, size_t *turn,
                   const char *ret[CENSUS_ASKED_MAX])
{
    size_t n = 0;
    size_t first = c->count == 0 ? 0 : *turn % c->count;
    *turn = first;
    for (size_t i = 0; i < c->count && n < CENSUS_ASKED_MAX; i++) {
        const char *address = c->address[(first + i) % c->count];
        *turn = (first + i + 1) % c->count;
        if (!map_has(live, address))
            ret[n++] = address;
    }
    return n;
}

uint32_t census_missing(const struct census *c, const struct map *live)
{
    uint32_t missing = 0;
    for (size_t i = 0; i < c->count;) {
        uint32_t agent = c->agent_of[i];
        bool lives = false;
        for (; i < c->count && c->agent_of[i] == agent; i++)
            lives = lives || map_has(live, c->address[i]);
        missing += !lives;
    }
    return missing;
}

static void drop_anchor_at(struct anchor *a, const char *address, uint64_t now_ms)
{
    snprintf(a->address, sizeof a->address, "%s", address);
    a->since_ms = now_ms;
}

void anchor_written(struct anchor *a, uint64_t now_ms)
{
    if (a->address[0] == '\0')
        drop_anchor_at(a, OWN, now_ms);
}

void anchor_look(struct anchor *a, const struct census *c, const struct map *live, bool own,
                 uint64_t asked_ms, uint64_t lag_ms, uint64_t now_ms)
{
    const char *first = own ? OWN : NULL;
    bool is_own = strcmp(a->address, OWN) == 0;
    bool stands = is_own && (own || asked_ms < a->since_ms + lag_ms);
    for (size_t i = 0; i < c->count; i++) {
        if (!map_has(live, c->address[i]))
            continue;
        first = first == NULL ? c->address[i] : first;
        stands = stands || strcmp(c->address[i], a->address) == 0;
    }
    if (stands)
        return;
    a->address[0] = '\0';
    if (first != NULL)
        drop_anchor_at(a, first, now_ms);
}

uint64_t anchor_counts_ms(const struct anchor *a, uint64_t lag_ms)
{
    return a->address[0] == '\0' ? UINT64_MAX : a->since_ms + lag_ms;
}
