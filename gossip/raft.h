/* SPDX-License-Identifier: Apache-2.0
 * Raft, the pure core: leadership and a replicated log of few, small entries.
 *
 * No I/O, clock, allocation or randomness of its own. The shell feeds raft_step() one input at a
 * time and then performs, in this order:
 *   1. raft_persist_begin(), if no write is in flight: one synced transaction; when it is on
 *      disk, the input RAFT_PERSISTED. (Inputs go on being stepped meanwhile: what they dirty
 *      goes with the next write.)
 *   2. out.msg: those with gate <= saved.hard at once, the others when that is reached.
 *      Encode them before the next step: entries point into the core's window.
 *   3. out.snapshot_for: a snapshot of what is applied, with RAFT_SUPPLY; out.snapshot: load it.
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
#include "gossip/raft_config.h"

#define RAFT_WINDOW 2048u              /* newest entries, in memory; all that are not yet applied */
#define RAFT_BATCH 64u                 /* entries of one append */
#define RAFT_BATCH_BYTES (256u * 1024) /* and their bytes: far below GOSSIP_MESSAGE_MAX */
#define RAFT_AHEAD 256u                /* entries sent to one server without an answer */
#define RAFT_OUT_MSGS 24u              /* an append and one more message per server */
#define RAFT_OUT_ENTRIES (RAFT_BATCH * RAFT_SERVERS_MAX)
#define RAFT_ENTRY_MAX (RAFT_COMMAND_MAX + 1024u)
#define RAFT_REST_MS 3600000u /* without a leader, of who cannot become one */
#define RAFT_HEAD_MAX 96u     /* bytes of a message beside its entries or snapshot */

enum raft_entry_type { RAFT_NOOP = 1, RAFT_COMMAND = 2, RAFT_CONFIG = 3 };
struct raft_entry {
    uint64_t index, term;
    uint8_t type;
    uint32_t len;
    const uint8_t *data; /* borrowed */
};

enum raft_msg_type {
    RAFT_VOTE = 1,
    RAFT_VOTE_ANSWER,
    RAFT_APPEND,
    RAFT_APPEND_ANSWER, /* of snapshots too: a snapshot is an append of all up to its index */
    RAFT_SNAPSHOT,
    RAFT_TIMEOUT_NOW,
    RAFT_MSG_END
};
struct raft_msg {
    uint8_t type;
    bool ok;           /* answers: granted, matched */
    bool pre;          /* votes: only asked whether it would be granted (9.6) */
    bool force;        /* votes: ignore stickiness (a transfer) */
    uint64_t from, to; /* not in the bytes: whoever carries them proves both */
    uint64_t from_disk, to_disk;
    uint64_t term;
    uint64_t index; /* vote: last index; append: what precedes; answer: matched, or what failed */
    uint64_t log_term; /* of index */
    uint64_t commit;
    uint64_t hint;  /* append refused: this index may match */
    uint64_t stamp; /* leader's clock when it sent; echoed */
    uint32_t count; /* entries, or bytes of the snapshot */
    const struct raft_entry *entries;
    const uint8_t *data;
    uint64_t gate; /* send once saved.hard >= gate; not in the bytes */
};

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

enum raft_input_type {
    RAFT_TICK,
    RAFT_RECV,      /* msg, to this server */
    RAFT_PERSISTED, /* the write that raft_persist_begin gave is on disk */
    RAFT_APPLIED,   /* index: applied up to here, and that is on disk */
    RAFT_RESTORE,   /* index, term, config: the snapshot of out.snapshot was loaded */
    RAFT_RETIRE,    /* a committed configuration without this server exists: do not campaign */
    RAFT_SUSPECT,   /* num: it seems to be dead. A hint: only time-outs within safe bounds change */
    /* of a leader only; out.err ERR_NOTLEADER, ERR_BUSY, ... */
    RAFT_PROPOSE,  /* data, count: a command; out.index */
    RAFT_ALTER,    /* change, server, since; out.index */
    RAFT_TRANSFER, /* num: a voter */
    RAFT_SUPPLY    /* num, index, term, data, count: a snapshot of what is applied */
};
struct raft_input {
    enum raft_input_type type;
    const struct raft_msg *msg;
    uint64_t num, index, term;
    const uint8_t *data;
    uint32_t count; /* bytes */
    enum raft_change change;
    uint64_t since; /* the change was decided then, by the clock of raft_step() */
    const struct raft_server *server;
    const struct raft_config *config;
};

/* A snapshot that arrived: load it, then RAFT_RESTORE before any other input; if it is no good,
 * drop it (the leader sends another). */
struct raft_snapshot {
    uint64_t index, term; /* 0: none */
    const uint8_t *data;
    uint32_t len;
};
struct raft_out {
    int err;
    uint64_t index;
    uint32_t msg_count, entry_count;
    uint32_t snapshot_for; /* bit i: config.server[i] needs one */
    struct raft_snapshot snapshot;
    struct raft_msg msg[RAFT_OUT_MSGS];
    struct raft_entry entry[RAFT_OUT_ENTRIES];
};

struct raft_persist {
    uint64_t term, vote;
    bool snapshot; /* the loaded snapshot replaces what is applied; drop entries <= its index */
    uint64_t snapshot_index, snapshot_term;
    uint64_t first, last; /* remove entries from first on, then write these: raft_entry_get() */
};

struct raft_slot {
    uint64_t term, at; /* at: of all bytes that ever came into the window; modulo cap, where */
    uint32_t len;
    uint8_t type;
};
struct raft_log {
    uint64_t prev_index; /* before the first entry in memory; its slot still has its term */
    uint64_t last_index;
    uint64_t applied; /* on disk; entries up to here may leave the window */
    uint8_t *arena;
    uint64_t cap, tail;
    struct raft_slot slot[RAFT_WINDOW];
};

/* How much of what is in memory a disk holds. */
struct raft_image {
    uint64_t hard;     /* this version of term and vote */
    uint64_t last;     /* entries up to here are the same; those behind it are not to be trusted */
    uint64_t snapshot; /* index of the last one that was loaded */
};

/* View of config.server[i]. Up to base its log is guessed to be the leader's, up to match it is.
 * Where the guess is not confirmed (match < base) one message at a time is under way. */
struct raft_peer {
    uint64_t match, base;
    uint64_t next;          /* to be sent */
    uint64_t retry_ms;      /* what was sent and has no answer by then is lost, perhaps */
    uint64_t sent_ms, told; /* the last append, and the commit index in it */
    uint64_t stamp;         /* newest own clock reading that it answered; 0: none in this term */
    bool voted;             /* for this candidate */
};

/* Read through the functions below; the shell embeds it. */
struct raft {
    uint64_t self, disk;
    uint64_t election_ms, heartbeat_ms;
    uint64_t lease_ms; /* the check-quorum lease lasts so long: docs/consensus.md */
    uint64_t pause_ms; /* between two heartbeats to a voter at rest */
    struct prng rng;
    uint64_t term, vote;
    enum raft_role role;
    uint64_t leader, leader_disk; /* 0: none known */
    uint64_t commit;
    bool retired;
    struct raft_log log;
    struct raft_config config, config_before; /* newest in the log, and the one before it */
    uint64_t now_ms;
    uint64_t due_ms; /* RAFT_TICK: a heartbeat, or nothing was heard of a leader */
    /* follower, candidate */
    uint64_t heard_ms;
    uint64_t matched, stamp; /* the log equals the leader's up to here; its newest stamp */
    /* leader, candidate */
    struct raft_peer peer[RAFT_SERVERS_MAX];
    /* leader */
    uint64_t term_start; /* index of this term's no-op */
    uint64_t lead_ms;    /* when leadership began */
    uint64_t transfer_to, transfer_at;
    bool transfer_sent;
    /* persistence: what is, what the disk holds, and what it will hold after the write in flight */
    uint64_t hard, snapshot_index, snapshot_term;
    struct raft_image saved, saving;
    bool writing;
};

struct raft_options {
    uint64_t self, disk;
    uint64_t election_ms, heartbeat_ms; /* election_ms: nobody is elected sooner after a leader */
    uint64_t seed;
    uint8_t *arena; /* bytes of the window's entries; >= 4 RAFT_ENTRY_MAX; outlives the core */
    uint32_t arena_len;
    /* What the disk held. */
    uint64_t term, vote;
    uint64_t base_index, base_term; /* before the first entry */
    uint64_t applied_index;
    const struct raft_config *config; /* latest applied; NULL: none */
};
void raft_init(struct raft *r, uint64_t now_ms, const struct raft_options *o);
/* After init: entries base_index+1 .. in order, up to applied_index at least. ERR_CORRUPT: not the
 * next one, or too many that are not applied. */
int raft_restore_entry(struct raft *r, const struct raft_entry *entry) MUST_CHECK;

void raft_step(struct raft *r, uint64_t now_ms, const struct raft_input *in, struct raft_out *out);

/* What must be written now; false: nothing, or a write is in flight. */
bool raft_persist_begin(struct raft *r, struct raft_persist *ret) MUST_CHECK;
/* The disk refused that write: what it held is given again by the next begin. */
void raft_persist_failed(struct raft *r);
/* A loaded snapshot is not on disk yet. */
bool raft_is_restoring(const struct raft *r);
/* Committed and on this disk. */
uint64_t raft_apply_limit(const struct raft *r);
/* From the window; false: not there. Valid until the next step. */
bool raft_entry_get(const struct raft *r, uint64_t index, struct raft_entry *ret) MUST_CHECK;

bool raft_votes(const struct raft *r, const struct raft_config *c); /* this server, in c */
uint64_t raft_term_of(const struct raft *r, uint64_t index);        /* 0: not in the window */

/* The check-quorum lease: nobody else can be leader at now_ms. See docs/consensus.md. */
bool raft_lease(const struct raft *r, uint64_t now_ms);
/* Whether RAFT_ALTER could be taken now. */
bool raft_may_change(const struct raft *r);
const char *raft_role_str(enum raft_role role);

/* ---- wire (raft_wire.c) ---------------------------------------------------------- */

size_t raft_msg_size(const struct raft_msg *m);
void raft_msg_encode(const struct raft_msg *m, struct wbuf *w);
/* entries: RAFT_BATCH of them, for the message to point to; bytes are borrowed. from and to are
 * the caller's to set. ERR_MALFORMED for anything odd. */
int raft_msg_decode(const void *data, size_t len, struct raft_msg *ret,
                    struct raft_entry *entries) MUST_CHECK;
const char *raft_msg_str(uint8_t type);

#endif
