/* SPDX-License-Identifier: Apache-2.0
 * A simulated cluster of record cores: nodes, a model of their stores, the network between. */
#ifndef BLOX_TESTS_RECORDS_WORLD_H
#define BLOX_TESTS_RECORDS_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gossip/rumor.h"
#include "gossip/sync.h"
#include "tests/sim/net.h"

#define FAR_US UINT64_MAX
#define VIEW_DELAY_US 1000000u /* until a death is in all views */

enum channel { TO_RUMOR, TO_SYNC };

struct config {
    const char *name;
    uint32_t nodes, records, bytes, versions, initial;
    uint64_t latency_us, jitter_us, interval_us, duration_us;
    double loss, duplicate;
    uint32_t kill; /* nodes that die when half of the records are out */
    uint64_t partition_us;
    bool newcomer; /* the last node starts empty; all others hold `initial` rows */
    uint32_t origins;
    uint64_t seed;
    uint32_t zones; /* 0: none is told */
};

struct node {
    struct rumor rumor;
    struct sync sync;
    struct peers peers;
    uint32_t *version; /* by key; 0: none */
    void *memory[2];
    uint64_t wake_us, waiting, payload_bytes, wire_bytes, sync_bytes;
    uint64_t cross_bytes; /* of wire_bytes, to other zones */
    bool dead;
};

struct key {
    char text[40];
    uint64_t hash;
};

struct sim {
    struct config c;
    struct node *nodes;
    struct key *keys; /* in order of hash */
    uint32_t key_count;
    uint64_t *published_us; /* by key: when its last version was */
    uint64_t *delays_us;
    size_t delay_count;
    uint64_t *nums[3]; /* views: all, left side, right side */
    size_t num_count[3];
    uint32_t *zone[3], *by_zone[3];
    struct net net;
    struct prng prng;
    uint8_t *out;
    struct sync_scratch *scratch;
    uint32_t what[2 * SYNC_IN_MAX]; /* (key, version) pairs of an apply */
    uint8_t *value;
};

void world_init(struct sim *s, const struct config *c);
void world_fini(struct sim *s);
/* Handles the next event; false: none is left before until_us. */
bool world_next(struct sim *s, uint64_t until_us);
struct record world_record(const struct sim *s, uint32_t key, uint32_t version);
void *world_grab(size_t count, size_t size); /* zeroed; never NULL */

#endif
