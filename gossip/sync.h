/* SPDX-License-Identifier: Apache-2.0
 * Anti-entropy of records by fingerprints of key ranges (pure core).
 *
 * Rows fall into 4,096 leaves by the top bits of their key hash; a leaf's sum is the sum of
 * its rows' fingerprints, 64 leaves make a branch, 64 branches the root. Sums follow each
 * stored row at once, so comparing costs no scan. Each member compares roots with a random
 * peer every few seconds. If they differ, A who began and B who answers go down (type u8,
 * session u32, then):
 *
 *   A  1 ROOT    root u64
 *   B  2 SAME    or
 *   B  3 SUMS    64 branch sums u24
 *   A  4 LEAVES  per differing branch: number u8, 64 leaf sums u24
 *   B  5 ROWS    per leaf that differs: number u16, count varint, prints u32 of its rows;
 *                then 0xffff and the numbers u16 of the leaves that did not fit
 *   A  6 WANT    what A lacks, per leaf: number u16, count varint, prints u32
 *   A  7 DATA    what B lacks: flags u8 (1: last answer to a WANT), records
 *   B  7 DATA    what A wants; or 9 REFUSED: too much to do
 *   A  8 NEXT    numbers u16 of leaves: B answers with ROWS, and so on
 *   A 10 POKE    B lacks many rows: it had better begin a session itself and pull
 *
 * Sums and prints (sync_int.h) on the wire are short and salted by the session: a collision hides
 * a difference from one session, not from the next. B keeps no state but the list of rows it is
 * sending and who began a session with it. Everything is paced by A, who asks for more only when
 * its store has taken in what came.
 */
#ifndef BLOX_GOSSIP_SYNC_H
#define BLOX_GOSSIP_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/prng.h"
#include "agent/base/record.h"
#include "gossip/peers.h"

#define SYNC_LEAF_BITS 12u
#define SYNC_LEAVES (1u << SYNC_LEAF_BITS)
#define SYNC_WIDTH 64u       /* leaves in a branch, branches in the root */
#define SYNC_PERIOD_MS 5000u /* without a comparison; each costs either side some 80 B: 17 B/s */
#define SYNC_AGAIN_MS 50u    /* after a session that moved rows, until one finds none */
/* After the last of a run of changes roots are compared once more, soon: whoever missed all
 * digests of a record need not wait for the period. */
#define SYNC_SETTLE_MS 700u
#define SYNC_TIMEOUT_MS 2000u
/* A session's end in any case, lest a peer that lies hold it for ever. Rows that are still lacking
 * come with the next one, by anybody: a long transfer loses nothing. */
#define SYNC_SESSION_MS 60000u
/* So many sessions in a row with whoever asked for it, told of another root or had rows to move, a
 * second of each counting as one more, and one that moved none as all of them; then one with
 * somebody whom nobody named. */
#define SYNC_NAMED_MAX 8u
#define SYNC_JOBS 4u              /* row lists being sent at a time; a fifth is refused */
#define SYNC_GUESTS 32u           /* members whose sessions are answered at a time */
#define SYNC_PRINTS (1u << 20)    /* for one of them in a period, and its leaves: 4 MiB */
#define SYNC_LEAF_ROWS 16384u     /* of one leaf: 67 million rows in all */
#define SYNC_PUSH_ROWS 256u       /* rows that A sends in a session; more are pulled by B */
#define SYNC_STEP_LEAVES 512u     /* gone through in one call */
#define SYNC_BATCH (256u * 1024)  /* of records in a message */
#define SYNC_JOB_BYTES (4u << 20) /* of one list; what is left comes with the next session */
#define SYNC_CALM_ROWS 64u  /* a session that moves no more counts as in sync: rows in flight */
#define SYNC_BULK_ROWS 256u /* one that moves more is not told on by rumor */
/* Buffer for what goes out: a batch and one largest record. */
#define SYNC_MESSAGE_MAX (SYNC_BATCH + RECORD_HEADER_MAX + RECORD_KEY_MAX + RECORD_VALUE_MAX + 64u)

struct sync_options {
    uint64_t self;
    uint64_t seed;
    uint32_t job_rows; /* rows asked for, or sent, in one go; >= SYNC_PUSH_ROWS */
    void *arg;
    /* Rows with first <= key_hash <= last in order of key_hash; stops when fn returns non-zero. */
    int (*scan)(void *arg, uint64_t first, uint64_t last,
                int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                void *fn_arg);
    int (*load)(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg);
};

/* Working memory of one call; one for all instances of a thread will do. */
struct sync_scratch {
    uint32_t theirs[SYNC_LEAF_ROWS];
    uint8_t found[SYNC_LEAF_ROWS];
};

/* What a message brought: records to store, borrowed from it, and an answer to its sender. */
#define SYNC_IN_MAX 256u
struct sync_in {
    struct record apply[SYNC_IN_MAX];
    size_t apply_count;
    size_t reply_len;
};

struct sync_stats {
    uint64_t sessions, same, finished, timeouts, refused, malformed;
    uint64_t rows_sent, rows_received, bytes;
    uint64_t in_sync_ms; /* when last found in sync with some peer; 0: never */
};

struct sync_job {
    uint64_t to; /* 0: free */
    uint32_t session;
    bool answer; /* to a WANT: the last message says so */
    uint32_t count, next;
    uint64_t bytes;
    uint64_t paused_until_ms;
    uint32_t refusals;
};

/* Who began a session with this node: prints of rows, which take a scan, are for those alone. */
struct sync_guest {
    uint64_t from; /* 0: free */
    uint32_t session;
    uint64_t heard_ms;
    uint64_t poked_ms; /* 0: never */
    uint64_t since_ms; /* prints have been counted */
    uint32_t prints;
};

enum sync_phase {
    SYNC_IDLE,
    SYNC_SENT_ROOT,
    SYNC_SENT_LEAVES,
    SYNC_SENT_WANT, /* DATA is coming */
    SYNC_SENT_NEXT,
    SYNC_READY /* for more leaves, as soon as the store has taken in what came */
};

/* Embedded by the caller; fields are private. */
struct sync {
    struct sync_options options;
    const struct peers *peers;
    struct sync_scratch *scratch;
    struct prng prng;
    struct sync_stats stats;

    uint64_t root;
    uint64_t rows;
    uint64_t branch[SYNC_WIDTH];
    uint64_t leaf[SYNC_LEAVES];

    /* The session this node began. */
    enum sync_phase phase;
    uint64_t peer;
    uint32_t session;
    uint64_t due_ms; /* when it times out; idle: when the next one begins */
    uint64_t began_ms;
    bool is_named;      /* its peer was */
    uint64_t named;     /* ... and so were those of the sessions before */
    uint64_t settle_ms; /* begin by then, too; UINT64_MAX: nothing changed since the last one */
    uint64_t soon;      /* peer for the next one; 0: a random one */
    uint64_t moved;     /* rows of this session, both ways */
    uint64_t pushed;    /* of them sent */
    uint32_t again;     /* sessions in a row that moved rows */
    bool poke;          /* B lacks more than was pushed */
    bool differs;       /* a root that was heard since the last session */
    uint64_t differing; /* who told it, one of the own zone before others; 0: nobody */
    uint64_t waiting;   /* records handed out and not yet stored, by everyone */
    uint64_t left[SYNC_LEAVES / 64]; /* bit per leaf still to be gone through */

    struct sync_guest guests[SYNC_GUESTS];
    struct sync_job jobs[SYNC_JOBS];
    uint64_t *job_keys; /* SYNC_JOBS x job_rows */
    uint32_t last_job, last_next;
    size_t last_len;
    bool last_open;
};

size_t sync_memory(const struct sync_options *options);
void sync_init(struct sync *s, const struct sync_options *options, const struct peers *peers,
               struct sync_scratch *scratch, void *memory, uint64_t now_ms);

/* Keep the sums: at start for each row (existed false), then for each change. */
void sync_changed(struct sync *s, uint64_t key_hash, bool existed, struct record_version before,
                  struct record_version after);
/* Changes were made at that time (not at start): call once for a batch. */
void sync_touched(struct sync *s, uint64_t now_ms);
void sync_removed(struct sync *s, uint64_t key_hash, struct record_version version);

/* A member told its root in passing: is it ours? Where all agree no session is needed; where one
 * does not, the next is with it. */
void sync_heard(struct sync *s, uint64_t now_ms, uint64_t from, bool same);

/* Begin a session within delay_ms, with that peer (0: a random one). */
void sync_soon(struct sync *s, uint64_t now_ms, uint64_t peer, uint64_t delay_ms);
/* Records handed to the store by anyone and not yet stored: holds back the next request. */
void sync_waiting(struct sync *s, uint64_t now_ms, uint64_t records);
/* The running session is large: what it brings needs no telling. */
bool sync_is_bulk(const struct sync *s);

/* Take a message in, with *pos = 0; DATA: again until *pos == len. The answer, if there is one
 * (in->reply_len > 0), is written to reply (cap >= SYNC_MESSAGE_MAX) and goes to `from`; losing it
 * is harmless. A message with anything odd in it changes nothing: ERR_MALFORMED. */
int sync_recv(struct sync *s, uint64_t now_ms, uint64_t from, const uint8_t *data, size_t len,
              size_t *pos, uint8_t *reply, size_t cap, struct sync_in *in);
/* Does it carry rows (of which a busy store may have to be spared)? */
bool sync_is_data(const uint8_t *data, size_t len);
/* As rumor_poll. cap >= SYNC_MESSAGE_MAX. One call is a bounded piece of work (a batch). */
size_t sync_poll(struct sync *s, uint64_t now_ms, uint8_t *out, size_t cap, uint64_t *ret_to);
void sync_sent(struct sync *s, uint64_t now_ms, int err);
uint64_t sync_deadline(const struct sync *s, uint64_t now_ms);

#endif
