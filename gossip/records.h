/* SPDX-License-Identifier: Apache-2.0
 * Spread of records to every member: rumor (eager tree, digests, repair) and sync
 * (range fingerprints) driven on the gossip node and the store. Loop thread. */
#ifndef BLOX_GOSSIP_RECORDS_H
#define BLOX_GOSSIP_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/record.h"
#include "gossip/node.h"

struct records;

struct records_options {
    struct uv_loop_s *loop;
    struct gossip_node *gossip;
    uint64_t seed;
    void *arg;

    /* Records arrived from peers. Store them, then call records_stored() with what became of
     * them; only then are they passed on, so nothing is "seen" before it is applied. May be
     * refused with ERR_BUSY: then they count as never seen and repair brings them again. */
    int (*apply)(void *arg, const struct record *records, size_t count);
    /* Fingerprint lines with first <= key_hash <= last, in order (see store_fingerprints). */
    int (*fingerprints)(void *arg, uint64_t first, uint64_t last,
                        int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                        void *fn_arg);
    /* The record with that key hash, passed to fn during the call; ERR_NOTFOUND. */
    int (*get)(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
               void *fn_arg);
};

/* Reads all fingerprints once through options.fingerprints to build the summary tree. */
int records_create(struct records **ret, const struct records_options *options) MUST_CHECK;
void records_destroy(struct records *r, void (*done)(void *arg), void *arg);

/* Rows became durable in this agent's store: local ones (publish) and those from peers alike.
 * applied[i] false: a duplicate. before[i] is the version replaced (existed[i]). from_peers says
 * whether they came through options.apply. New ones are passed on to peers at once. */
struct records_change {
    const struct record *record;
    bool applied;
    bool existed;
    struct record_version before;
    uint64_t key_hash;
};
void records_stored(struct records *r, const struct records_change *changes, size_t count,
                    bool from_peers);
/* A row was purged: it leaves the fingerprints. */
void records_purged(struct records *r, uint64_t key_hash, struct record_version version);

/* Sends a member the stored record of the key, which it is known to lack. False: enough of such
 * wait to be sent. For test records, which no fingerprint tells of. */
bool records_hand(struct records *r, uint64_t to, uint64_t key_hash);

/* A member appeared or went: adjusts the tree of peers and starts a sync with newcomers. */
void records_member(struct records *r, const struct gossip_member *m);

/* How complete this agent is: age of the last sync that found no difference with some peer. */
struct records_stats {
    uint64_t pushed, received, duplicates, repaired, digests, syncs, sync_rows;
    uint64_t bytes_sent, queue_depth, coalesced;
    uint64_t overflow, gave_up;    /* not sent for want of room; asked for in vain */
    uint64_t last_in_sync_mono_ms; /* 0: never */
    uint64_t root;                 /* fingerprint of everything this agent has */
};
void records_stats(const struct records *r, struct records_stats *ret);

#endif
