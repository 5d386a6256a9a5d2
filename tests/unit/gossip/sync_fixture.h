/* SPDX-License-Identifier: Apache-2.0
 * Sync cores whose rows are versions of keys. */
#ifndef BLOX_TESTS_UNIT_SYNC_FIXTURE_H
#define BLOX_TESTS_UNIT_SYNC_FIXTURE_H

#include "gossip/sync.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/hash.h"

#define KEYS_MAX 120000u

/* All keys there are, in order of hash; a node has a version of each, 0 for none. */
struct key {
    uint64_t hash;
    char text[16];
};
static struct key keys[KEYS_MAX];
static uint32_t key_count;

struct node {
    struct sync sync;
    struct peers peers;
    uint32_t *version;
    void *memory;
    uint32_t value_len;
    uint64_t applied, loaded;
    struct sync_in in;
};

static const uint64_t both[] = {1, 2};
static struct sync_scratch scratch;
static uint8_t out[SYNC_MESSAGE_MAX];
static uint8_t value[4096];

static int by_hash(const void *a, const void *b)
{
    const struct key *x = a;
    const struct key *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static void make_keys(uint32_t count)
{
    key_count = count;
    for (uint32_t i = 0; i < count; i++) {
        snprintf(keys[i].text, sizeof keys[i].text, "key-%u", i);
        keys[i].hash = record_key_hash(RECORD_TASK, keys[i].text, strlen(keys[i].text));
    }
    qsort(keys, count, sizeof keys[0], by_hash);
}

static uint32_t find(uint64_t hash)
{
    uint32_t low = 0;
    uint32_t high = key_count;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (keys[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int scan(void *arg, uint64_t first, uint64_t last,
                int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                void *fn_arg)
{
    const struct node *n = arg;
    for (uint32_t k = find(first); k < key_count && keys[k].hash <= last; k++) {
        struct record_version version = {.hi = n->version[k]};
        if (version.hi != 0 && fn(fn_arg, keys[k].hash, version) != 0)
            break;
    }
    return 0;
}

static int load(void *arg, uint64_t hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg)
{
    struct node *n = arg;
    uint32_t k = find(hash);
    if (k == key_count || keys[k].hash != hash || n->version[k] == 0)
        return ERR_NOTFOUND;
    struct record rec = {.kind = RECORD_TASK,
                         .key = keys[k].text,
                         .key_len = (uint16_t)strlen(keys[k].text),
                         .value = value,
                         .value_len = n->value_len,
                         .version = {.hi = n->version[k]}};
    n->loaded++;
    fn(fn_arg, &rec);
    return 0;
}

static struct node *make(uint64_t self, uint32_t value_len)
{
    struct node *n = calloc(1, sizeof *n);
    struct sync_options o = {
        .self = self, .seed = self, .job_rows = 2048, .arg = n, .scan = scan, .load = load};
    n->peers = (struct peers){.nums = both, .count = 2, .self = self - 1};
    n->version = calloc(KEYS_MAX, sizeof *n->version);
    n->memory = malloc(sync_memory(&o));
    n->value_len = value_len;
    sync_init(&n->sync, &o, &n->peers, &scratch, n->memory, 0);
    return n;
}

static void end(struct node *n)
{
    free(n->version);
    free(n->memory);
    free(n);
}

static void put(struct node *n, uint32_t key, uint32_t version)
{
    struct record_version before = {.hi = n->version[key]};
    struct record_version after = {.hi = version};
    if (version <= before.hi)
        return;
    sync_changed(&n->sync, keys[key].hash, before.hi != 0, before, after);
    n->version[key] = version;
    n->applied++;
}

static uint64_t sessions(const struct node *n)
{
    return n->sync.stats.sessions;
}

#endif
