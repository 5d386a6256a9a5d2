/* SPDX-License-Identifier: Apache-2.0
 * Raft, the pure core: leadership and a replicated log of few, small entries.
 *
 * No I/O, clock, allocation or randomness of its own. The shell feeds raft_step() one input at a
 * time and then performs, in this order:
 *   1. raft_persist_begin(), if no write is in flight: one synced transaction; when it is on
 *      disk, the input RAFT_PERSISTED. (Inputs go on being stepped meanwhile: what they dirty
 *      goes with the next write.)
 *   2. out.msg: those with gate <= raft_persist_done() at once, the others when that is reached.
 *      Encode them before the next step: entries point into the core's window.
 *   3. out.want: read from disk or from the snapshot, hand it over with RAFT_READ / RAFT_CHUNK.
 *   4. apply entries up to raft_apply_limit(), then RAFT_APPLIED once that is on disk.
 * Nothing counts as stored, neither a vote nor an entry, before RAFT_PERSISTED said so; hence a
 * crash between any two of these is safe. docs/consensus.md cites the thesis for each rule. */
#ifndef BLOX_GOSSIP_RAFT_H
#define BLOX_GOSSIP_RAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/limits.h"
#include "agent/base/prng.h"

#define RAFT_WINDOW 512u               /* recent entries in memory: all that are not yet applied */
#define RAFT_BATCH 64u                 /* entries of one append */
#define RAFT_BATCH_BYTES (256u * 1024) /* and their bytes: far below GOSSIP_MESSAGE_MAX */
#define RAFT_AHEAD 256u                /* entries sent to one server without an answer */
#define RAFT_OUT_MSGS 24u              /* an append and one more message per server */
#define RAFT_OUT_ENTRIES (RAFT_BATCH * RAFT_SERVERS_MAX)
#define RAFT_ENTRY_MAX (RAFT_COMMAND_MAX + 1024u)

enum raft_entry_type { RAFT_NOOP = 1, RAFT_COMMAND = 2, RAFT_CONFIG = 3 };
struct raft_entry {
    uint64_t index, term;
    uint8_t type;
    uint32_t len;
    const uint8_t *data; /* borrowed */
};

/* disk is a random number made with the server's log: a server that lost its log is another one,
 * for it may have voted and acknowledged what it no longer knows. */
struct raft_server {
    uint64_t num, disk;
    bool voter; /* else a learner */
    char id[AGENT_ID_MAX];
};
struct raft_config {
    uint64_t index; /* of its entry */
    uint32_t count;
    struct raft_server server[RAFT_SERVERS_MAX];
};

enum raft_msg_type {
    RAFT_PREVOTE = 1,
    RAFT_PREVOTE_ANSWER,
    RAFT_VOTE,
    RAFT_VOTE_ANSWER,
    RAFT_APPEND,
    RAFT_APPEND_ANSWER,
    RAFT_SNAPSHOT,
    RAFT_SNAPSHOT_ANSWER,
    RAFT_TIMEOUT_NOW,
    RAFT_MSG_END
};
struct raft_msg {
    uint8_t type;
    bool ok, force; /* answers: granted, matched; votes: ignore stickiness (a transfer) */
    uint64_t from, to, from_disk, to_disk;
    uint64_t term;
    uint64_t index;    /* vote: last index; append: what precedes; answers: match, or what failed */
    uint64_t log_term; /* of index */
    uint64_t commit;
    uint64_t hint;          /* append refused: try this index as the preceding one */
    uint64_t stamp;         /* leader's clock when it sent; echoed */
    uint64_t offset, total; /* snapshot: of these bytes; answer: offset expected next */
    uint32_t count;         /* entries, or bytes of the snapshot chunk */
    const struct raft_entry *entries;
    const uint8_t *data;
    uint64_t gate; /* send once raft_persist_done() >= gate; not on the wire */
};

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
enum raft_change { RAFT_ADD_LEARNER = 1, RAFT_PROMOTE, RAFT_DEMOTE, RAFT_REMOVE };

enum raft_input_type {
    RAFT_TICK,
    RAFT_RECV,      /* msg, to this server */
    RAFT_PERSISTED, /* the write that raft_persist_begin gave is on disk */
    RAFT_APPLIED,   /* index: applied up to here, and that is on disk */
    RAFT_PROPOSE,   /* entries, count <= RAFT_BATCH: commands; out.err, out.index of the last */
    RAFT_CHANGE,    /* change, server; out.err, out.index */
    RAFT_TRANSFER,  /* num, or 0: the voter that is furthest; out.err */
    RAFT_READ,      /* num, index and term of what precedes, entries: from the disk */
    RAFT_CHUNK,     /* num, index, term, offset, total, data, count: of the snapshot */
    RAFT_RESTORE, /* index, term, config: the snapshot received was loaded (count 0: it was bad) */
    RAFT_COMPACTED, /* index, term: the entries up to here have left the disk */
    RAFT_RETIRE     /* a committed configuration without this server exists: do not campaign */
};
struct raft_input {
    enum raft_input_type type;
    const struct raft_msg *msg;
    const struct raft_entry *entries;
    uint32_t count;
    uint64_t num, index, term, offset, total;
    const uint8_t *data;
    enum raft_change change;
    const struct raft_server *server;
    const struct raft_config *config;
};

/* Something for a server that the core does not have in memory. */
struct raft_want {
    uint64_t num;
    bool snapshot;   /* else entries after index, RAFT_BATCH at most, with the term of index */
    uint64_t index;  /* snapshot: the one begun, 0: any */
    uint64_t offset; /* snapshot: from here */
};
/* Bytes of a snapshot that arrived, to be put together by the shell. */
struct raft_incoming {
    bool any, complete; /* complete: load it, then RAFT_RESTORE before any other input */
    uint64_t index, term, offset, total;
    const uint8_t *data;
    uint32_t len;
};
struct raft_out {
    int err;
    uint64_t index;
    uint32_t msg_count, entry_count, want_count;
    struct raft_incoming incoming;
    struct raft_msg msg[RAFT_OUT_MSGS];
    struct raft_want want[RAFT_SERVERS_MAX];
    struct raft_entry entry[RAFT_OUT_ENTRIES];
};

struct raft_persist {
    bool hard;
    uint64_t term, vote;
    bool snapshot; /* the loaded snapshot replaces what is applied; drop entries <= its index */
    uint64_t snapshot_index, snapshot_term;
    uint64_t truncate_from; /* 0: nothing to remove */
    uint64_t first, last;   /* entries to write: raft_entry_get(); first > last: none */
};

struct raft_slot {
    uint64_t term;
    uint32_t at, len;
    uint8_t type;
};
struct raft_log {
    uint64_t base_index, base_term; /* before the first entry on disk */
    uint64_t prev_index, prev_term; /* before the first entry in memory */
    uint64_t last_index;
    uint64_t applied; /* on disk; entries up to here may leave the window */
    uint64_t durable; /* entries up to here are on disk */
    uint64_t issued;  /* ... or in the write in flight */
    uint8_t *arena;
    uint32_t cap, tail;
    struct raft_slot slot[RAFT_WINDOW];
};

enum raft_peer_state { RAFT_PROBE, RAFT_PIPELINE, RAFT_SNAPSHOTTING };
struct raft_peer { /* leader's view of config.server[i] */
    enum raft_peer_state state;
    uint64_t next, match;
    uint64_t stamp;   /* newest own clock reading that it answered; 0: none in this term */
    uint64_t sent_ms; /* last probe or chunk */
    bool waiting;     /* for the answer to a probe or chunk */
    uint64_t snapshot_index, snapshot_offset;
};

/* Read through the functions below; the shell embeds it. */
struct raft {
    uint64_t self, disk;
    uint64_t election_ms, heartbeat_ms;
    struct prng rng;
    uint64_t term, vote;
    enum raft_role role;
    uint64_t leader;
    uint64_t commit;
    bool retired;
    struct raft_log log;
    struct raft_config config, config_before; /* newest in the log, and the one before it */
    /* time */
    uint64_t now_ms, heard_ms, election_at, heartbeat_at;
    /* candidate */
    bool voted[RAFT_SERVERS_MAX], forced;
    uint64_t self_vote_gate;
    /* leader */
    struct raft_peer peer[RAFT_SERVERS_MAX];
    uint64_t term_start; /* index of this term's no-op */
    uint64_t lead_ms;    /* when leadership began */
    uint64_t transfer_to, transfer_at;
    bool transfer_sent;
    /* snapshot being received */
    uint64_t in_from, in_from_disk, in_index, in_term, in_offset, in_total, in_stamp;
    /* persistence */
    bool hard_dirty, hard_flying, write_flying;
    bool snapshot_dirty, snapshot_flying;
    uint64_t snapshot_index, snapshot_term;
    uint64_t truncate_from;
    uint64_t writes_issued, writes_done;
};

struct raft_options {
    uint64_t self, disk;
    uint64_t election_ms, heartbeat_ms; /* time-outs are drawn from election_ms .. 2 election_ms */
    uint64_t seed;
    uint8_t *arena; /* bytes of the window's entries; >= 4 RAFT_ENTRY_MAX; outlives the core */
    uint32_t arena_len;
    /* What the disk held. */
    uint64_t term, vote;
    uint64_t base_index, base_term;
    uint64_t applied_index, applied_term;
    const struct raft_config *config; /* latest applied; NULL: none */
};
void raft_init(struct raft *r, uint64_t now_ms, const struct raft_options *o);
/* After init: entries applied_index+1 .. in order. ERR_CORRUPT: not the next one, or too many. */
int raft_restore_entry(struct raft *r, const struct raft_entry *entry) MUST_CHECK;

void raft_step(struct raft *r, uint64_t now_ms, const struct raft_input *in, struct raft_out *out);
uint64_t raft_deadline(const struct raft *r); /* when RAFT_TICK is due; UINT64_MAX: never */

/* What must be written now; false: nothing, or a write is in flight. */
bool raft_persist_begin(struct raft *r, struct raft_persist *ret) MUST_CHECK;
/* The disk refused that write: what it held is given again by the next begin. */
void raft_persist_failed(struct raft *r);
uint64_t raft_persist_done(const struct raft *r);
/* Committed and on this disk. */
uint64_t raft_apply_limit(const struct raft *r);
/* From the window; false: not there. Valid until the next step. */
bool raft_entry_get(const struct raft *r, uint64_t index, struct raft_entry *ret) MUST_CHECK;

bool raft_is_voter(const struct raft *r);
/* The check-quorum lease: nobody else can be leader at now_ms. See docs/consensus.md. */
bool raft_lease(const struct raft *r, uint64_t now_ms);
uint64_t raft_lease_ms(const struct raft *r); /* its length */
const struct raft_server *raft_find(const struct raft_config *c, uint64_t num);
uint32_t raft_voter_count(const struct raft_config *c);
/* Whether RAFT_CHANGE would be taken now. */
bool raft_may_change(const struct raft *r);

/* ---- wire (raft_wire.c) ---------------------------------------------------------- */

#define RAFT_CONFIG_BYTES_MAX (2u + RAFT_SERVERS_MAX * (18u + AGENT_ID_MAX))
void raft_config_encode(const struct raft_config *c, struct wbuf *w);
/* The index is not part of the bytes. ERR_MALFORMED for anything odd. */
int raft_config_decode(const void *data, size_t len, struct raft_config *ret) MUST_CHECK;
size_t raft_msg_size(const struct raft_msg *m);
void raft_msg_encode(const struct raft_msg *m, struct wbuf *w);
/* entries: RAFT_BATCH of them, for the message to point to; bytes are borrowed. */
int raft_msg_decode(const void *data, size_t len, struct raft_msg *ret,
                    struct raft_entry *entries) MUST_CHECK;
const char *raft_msg_str(uint8_t type);
const char *raft_role_str(enum raft_role role);

#endif
