/* SPDX-License-Identifier: Apache-2.0
 * The first configuration, without a hand-picked first node. Pure.
 *
 * A candidate without a configuration is blank. Once `expect` blank candidates (itself included)
 * have been seen without a break for wait_ms, nobody is known to have a configuration and nobody
 * who is mute or missing could (such are waited for, but not for ever), the one with the lowest id
 * proposes: a random
 * cluster id and the lowest ids as voters. Each chosen server binds itself to one proposal at a
 * time, on disk, and tells the other chosen ones; the cluster starts only where ALL of them are
 * known to be bound. A bound server refuses every other proposal, on disk, for ever; a proposal
 * that one of its chosen refused can never complete, so the others may let go of it. Hence no
 * server ever starts two clusters, and two clusters cannot share a voter. Halves of a network that
 * boot apart can still form two: their ids meet later, and both stop acting (agent/raft). */
#ifndef BLOX_GOSSIP_BOOT_H
#define BLOX_GOSSIP_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gossip/raft.h"

#define BOOT_REFUSED 16u
#define BOOT_SEND_MS 300u
#define BOOT_PATIENCE_MS                                                                           \
    30000u /* for a chosen server that vanished, for candidates that are mute or missing */
#define BOOT_UNCOUNTED UINT32_MAX
#define BOOT_DEAD_MS 10000u /* for a candidate that died: as long as a restart takes */
#define BOOT_BYTES_MAX (64u + 8u * BOOT_REFUSED + RAFT_CONFIG_BYTES_MAX)

enum boot_state { BOOT_BLANK = 0, BOOT_BOUND = 1, BOOT_STARTED = 2 };
struct boot_msg {
    bool refused; /* else: bound */
    uint64_t cluster_id, mask;
    struct raft_config config; /* of a bound */
};
struct boot_peer { /* a candidate, self included */
    uint64_t num, disk;
    const char *id;
    bool blank; /* it said so lately */
    bool mute;  /* it is live and did not say so: it may be of a cluster, or will be */
    bool dead;  /* not live: it is waited for a little, for it may restart and be of a cluster */
};
struct boot {
    struct raft_server self;
    uint64_t cluster_hash;
    uint64_t wait_ms;
    struct prng rng;
    enum boot_state state;
    uint64_t cluster_id, mask;
    struct raft_config config;
    uint64_t refused[BOOT_REFUSED];
    uint32_t refused_next;
    uint64_t heard; /* the cluster that this server, which is of none, heard of; 0: of none */
    uint64_t steady_ms, bound_ms, send_ms; /* since, since, next */
    uint64_t lacking_ms;                   /* since when some are mute, missing or dead; 0: none */
    uint64_t version, stored;              /* of what must be on disk */
};
struct boot_out {
    uint32_t count;
    struct {
        uint64_t to;
        struct boot_msg msg;
    } send[RAFT_VOTERS_MAX];
    bool start; /* all are bound: write the configuration as index 1, term 1 */
};

void boot_init(struct boot *b, const struct raft_server *self, uint64_t cluster_hash,
               uint64_t wait_ms, uint64_t seed);
/* What a server knows of the others when it looks. */
struct boot_view {
    const struct boot_peer *peers;
    size_t count;
    unsigned expect;  /* candidates to see; 0: nothing is proposed */
    bool may;         /* no peer has a configuration, as far as is known */
    uint32_t missing; /* agents that are said to exist and are no peers; BOOT_UNCOUNTED: that is
                       * not known yet, and nothing is proposed */
};
void boot_tick(struct boot *b, uint64_t now_ms, const struct boot_view *view, struct boot_out *out);
void boot_recv(struct boot *b, uint64_t now_ms, bool may, uint64_t from, const struct boot_msg *m,
               struct boot_out *out);
/* What it heard of outlives a restart: those who were there may be out of reach after it. */
void boot_hear(struct boot *b, uint64_t cluster_id);
/* While version > stored: write boot_encode()'s bytes, then boot_stored(version as written). */
void boot_stored(struct boot *b, uint64_t version);
void boot_encode(const struct boot *b, struct wbuf *w);
int boot_decode(struct boot *b, const void *data, size_t len) MUST_CHECK;
void boot_msg_encode(const struct boot_msg *m, struct wbuf *w);
int boot_msg_decode(struct rbuf *r, struct boot_msg *ret) MUST_CHECK;

#endif
