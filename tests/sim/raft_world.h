/* SPDX-License-Identifier: Apache-2.0
 * A world of raft cores in virtual time: nodes with drifting clocks, disks that forget what was
 * not written, a network that loses, doubles, delays and cuts one way; and checkers that look at
 * it from outside. Used by the simulator (random) and by the directed tests (scripted).
 * A broken promise sets world.failed; nothing aborts. */
#ifndef BLOX_TESTS_RAFT_WORLD_H
#define BLOX_TESTS_RAFT_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "gossip/raft.h"

#define WORLD_NODES 7
#define WORLD_LOG 20000u
#define WORLD_TERMS 20000u
#define WORLD_ARENA (4u * RAFT_ENTRY_MAX)

struct world_entry {
    uint64_t term, chain; /* chain: hash of this entry and all before it */
    uint8_t type;
    uint32_t len;
    uint8_t data[RAFT_CONFIG_BYTES_MAX];
};
struct world_disk {
    uint64_t id, term, vote;
    uint64_t base_index, base_term, base_chain;
    uint64_t last_index;
    uint64_t applied_index, applied_term, state; /* state: hash of all applied commands */
    struct raft_config config;
    struct world_entry *entry; /* entry[index - base_index - 1] */
    uint64_t cap;
};
enum world_write_kind { WRITE_LOG, WRITE_APPLIED, WRITE_COMPACT };
struct world_write {
    struct world_write *next;
    enum world_write_kind kind;
    uint64_t done_us;
    struct raft_persist persist;
    struct world_entry *entry; /* persist.first.. */
    uint64_t index, term, state, chain;
    struct raft_config config;
};
struct world_held { /* waits for its gate */
    struct world_held *next;
    uint64_t gate, to, len;
    uint8_t bytes[];
};
struct world_node {
    bool up;
    uint64_t num;
    double rate;        /* of its clock */
    uint64_t offset_ms; /* and where it began */
    uint64_t pause_until_us, tick_us, boots, compact_to, commit_seen;
    struct raft raft;
    uint8_t *arena;
    struct world_disk disk;
    struct world_write *write_first, **write_last;
    struct world_held *held_first, **held_last;
    uint64_t applied, state;
    struct raft_config config; /* latest applied */
    uint64_t chain_in;         /* of the snapshot loaded last */
    enum raft_role role_seen;
    uint64_t term_seen;
};
struct world_event {
    uint64_t at_us, seq;
    uint8_t kind, node, from;
    uint64_t boot, len;
    uint8_t *bytes;
};
struct world_profile {
    uint64_t delay_us_min, delay_us_max, disk_us_max;
    uint32_t loss, doubled, late; /* of 1,000 */
    uint64_t trailing;            /* entries that compaction leaves */
};
struct world {
    struct prng rng;
    uint64_t now_us, seq, hash, messages;
    uint32_t count;
    bool trace, failed;
    bool forced; /* a script broke stickiness: leases mean nothing */
    char why[200];
    struct world_profile profile;
    bool cut[WORLD_NODES][WORLD_NODES]; /* from, to */
    struct world_node node[WORLD_NODES];
    struct world_event *heap;
    size_t heap_len, heap_cap;
    /* checkers */
    uint64_t term_leader[WORLD_TERMS];
    uint64_t committed; /* highest index that any server called committed */
    uint64_t committed_term[WORLD_LOG], committed_sum[WORLD_LOG], committed_by[WORLD_LOG];
    uint64_t state_at[WORLD_LOG];
    struct {
        uint64_t index, term, chain;
    } * seen; /* (index, term) -> chain: log matching */
    size_t seen_cap;
    uint64_t leases, elections, crashes, restores, commands;
};

/* nodes 1..count; the first `voters` of them are configuration 1. */
void world_init(struct world *w, uint64_t seed, uint32_t count, uint32_t voters);
void world_fini(struct world *w);
void world_run(struct world *w, uint64_t for_us); /* until then, or until failed */
void world_step(struct world *w, uint32_t i, const struct raft_input *in);
int world_propose(struct world *w, uint32_t i, uint32_t count);
/* The change was decided at since, by i's clock. ERR_BUSY: ask again. */
int world_change(struct world *w, uint32_t i, enum raft_change change, uint32_t who, uint64_t disk,
                 uint64_t since);
void world_crash(struct world *w, uint32_t i, uint32_t writes); /* so many queued writes land */
void world_restart(struct world *w, uint32_t i);
void world_wipe(struct world *w, uint32_t i);                      /* of a crashed node */
void world_cut(struct world *w, uint32_t a, uint32_t b, bool cut); /* both ways */
void world_heal(struct world *w);
int world_leader(const struct world *w); /* of the highest term, up; -1: none */
uint64_t world_clock(const struct world *w, uint32_t i);
void world_fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_say(struct world *w, uint32_t i, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* raft_check.c */
void check_after(struct world *w, uint32_t i);
void check_stored(struct world *w, uint32_t i, uint64_t index, const struct world_entry *e);
void check_applied(struct world *w, uint32_t i, uint64_t index, uint64_t state);
uint64_t world_chain_at(const struct world_disk *d, uint64_t index);
uint64_t world_chain(uint64_t before, uint64_t term, uint8_t type, const uint8_t *data,
                     uint32_t len);

#endif
