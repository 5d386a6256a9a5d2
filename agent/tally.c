/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PREFIX "propagate/"
#define PREFIX_LEN (sizeof PREFIX - 1)

size_t tally_key(const struct tally_id *id, char out[TALLY_KEY_MAX])
{
    int n = snprintf(out, TALLY_KEY_MAX, PREFIX "%" PRIx64 "/%" PRIx64 "/%" PRIx32 "/%" PRIx32,
                     id->origin, id->run, id->count, id->index);
    return (size_t)n;
}

/* One hexadecimal number up to a slash or the end. */
static bool take_number(const char **at, const char *end, uint64_t max, uint64_t *ret)
{
    const char *p = *at;
    uint64_t value = 0;
    for (; p < end && *p != '/'; p++) {
        bool digit = *p >= '0' && *p <= '9';
        if (!digit && (*p < 'a' || *p > 'f'))
            return false;
        if (value >> 60 != 0)
            return false;
        value = value << 4 | (uint64_t)(digit ? *p - '0' : *p - 'a' + 10);
    }
    if (p == *at || value > max)
        return false;
    *ret = value;
    *at = p < end ? p + 1 : p;
    return true;
}

int tally_parse(const char *key, size_t len, struct tally_id *ret)
{
    uint64_t count, index;
    const char *at = key + PREFIX_LEN;
    const char *end = key + len;
    if (len <= PREFIX_LEN || len >= TALLY_KEY_MAX || memcmp(key, PREFIX, PREFIX_LEN) != 0)
        return ERR_MALFORMED;
    if (!take_number(&at, end, UINT64_MAX, &ret->origin) ||
        !take_number(&at, end, UINT64_MAX, &ret->run) ||
        !take_number(&at, end, TALLY_COUNT_MAX, &count) ||
        !take_number(&at, end, TALLY_COUNT_MAX, &index) || at != end || end[-1] == '/')
        return ERR_MALFORMED;
    ret->count = (uint32_t)count;
    ret->index = (uint32_t)index;
    return ret->origin != 0 && index < count ? 0 : ERR_MALFORMED;
}

struct tally_run *tally_find(struct tally *t, uint64_t origin, uint64_t run)
{
    for (size_t i = 0; i < TALLY_RUNS_MAX; i++)
        if (t->run[i].origin == origin && t->run[i].run == run && origin != 0)
            return &t->run[i];
    return NULL;
}

static struct tally_run *make_room(struct tally *t)
{
    struct tally_run *oldest = &t->run[0];
    for (size_t i = 1; i < TALLY_RUNS_MAX; i++)
        if (t->run[i].used < oldest->used)
            oldest = &t->run[i];
    return oldest;
}

struct tally_run *tally_note(struct tally *t, const struct tally_id *id, uint64_t now_us)
{
    struct tally_run *r = tally_find(t, id->origin, id->run);
    if (r == NULL) {
        r = make_room(t);
        *r = (struct tally_run){.origin = id->origin, .run = id->run, .count = id->count};
    }
    r->used = ++t->used;
    uint8_t bit = (uint8_t)(1u << (id->index % 8));
    if (r->count != id->count || (r->seen[id->index / 8] & bit) != 0)
        return NULL;
    r->seen[id->index / 8] |= bit;
    if (++r->have < r->count)
        return NULL;
    r->done_us = now_us;
    return r;
}

uint64_t tally_percentile(const uint64_t *ascending, size_t n, double share)
{
    if (n == 0)
        return 0;
    double rank = share * (double)n;
    size_t at = (size_t)rank;
    if ((double)at < rank)
        at++; /* the first value that at least this share does not exceed */
    return ascending[at == 0 ? 0 : at > n ? n - 1 : at - 1];
}
