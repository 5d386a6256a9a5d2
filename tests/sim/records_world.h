/* SPDX-License-Identifier: Apache-2.0
 * A simulated cluster of record cores: nodes, a model of their stores, the network between. */
#ifndef BLOX_TESTS_RECORDS_WORLD_H
#define BLOX_TESTS_RECORDS_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gossip/rumor.h"
#include "gossip/sync.h"

#define FAR_US UINT64_MAX
#define VIEW_DELAY_US 1000000u /* until a death is in all views */

enum event_type { EVENT_MESSAGE, EVENT_APPLY, EVENT_WAKE, EVENT_PUBLISH, EVENT_VIEW, EVENT_HEAL };
enum channel { TO_RUMOR, TO_SYNC };

struct event {
    uint64_t at_us, seq;
    uint32_t node, from;
    uint8_t type, channel;
    uint32_t len;
    uint8_t *bytes; /* message, or (key u32, version u32) pairs of an apply */
};

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
};

struct node {
    struct rumor rumor;
    struct sync sync;
    struct peers peers;
    uint32_t *version; /* by key; 0: none */
    void *memory[2];
    uint64_t wake_us, tx_free_us, waiting, payload_bytes, wire_bytes, sync_bytes;
    bool dead, side;
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
    struct event *heap;
    size_t heap_len, heap_cap;
    uint64_t now_us, seq, trace, events;
    struct prng prng;
    bool parted;
    uint8_t *out;
    struct sync_scratch *scratch;
    uint8_t *value;
};

void world_init(struct sim *s, const struct config *c);
void world_fini(struct sim *s);
struct event world_next(struct sim *s); /* the caller frees its bytes */
void world_handle(struct sim *s, const struct event *ev);
struct record world_record(const struct sim *s, uint32_t key, uint32_t version);
void *world_grab(size_t count, size_t size); /* zeroed; never NULL */

#endif
