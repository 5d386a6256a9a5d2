/* SPDX-License-Identifier: Apache-2.0
 * The store: all rows of the cluster and the raft log, in two LMDB environments
 * under one directory.
 *
 *   state/  rows by (kind, key), their indexes, the fingerprint index and the change
 *           log. Rebuildable from peers and ECS, so commits do not wait for the disk.
 *   log/    raft term, vote, entries, applied intent, and small facts that must survive
 *           (incarnation, cluster id, replay marks). Every write is durable before it is
 *           acknowledged: in LMDB, or in a journal that LMDB takes over from.
 *
 * Threads: each environment has one that does all its writes, with group commit; any thread
 * reads its own snapshot. A write is posted from the loop thread and its completion runs
 * there too, from store_poll(), after options.notify was called. Pointers handed out
 * by *_ref functions live until the read transaction ends. */
#ifndef BLOX_STORE_STORE_H
#define BLOX_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/record.h"
#include "agent/base/row.h"

struct store;
struct store_txn; /* a read snapshot */

struct store_options {
    const char *dir;           /* made if absent, mode 0700 */
    size_t state_map_bytes;    /* 0: 4 GiB (address space; the file grows as needed) */
    size_t state_map_max;      /* it grows up to this; 0: 1 TiB */
    size_t log_map_bytes;      /* 0: 256 MiB; it grows */
    uint64_t state_disk_min;   /* free bytes below which rows are refused; 0: 64 MiB */
    uint64_t past_ms;          /* how long replaced rows are kept for store_rewind(); 0: not */
    uint64_t past_bytes;       /* and at most so many bytes of them */
    unsigned log_flush_ms;     /* so long LMDB may lag behind the log's journal; 0: 200 */
    void (*notify)(void *arg); /* any thread: completions wait for store_poll() */
    void *notify_arg;
};

/* What opening found, for the log and `blox status`. */
struct store_report {
    bool state_quarantined; /* damaged or of a newer format: moved aside, rebuilt empty */
    bool log_quarantined;
    char quarantine_path[256];
    char why[256];
    uint64_t rows; /* rows found */
};

/* Opens or makes both environments. A damaged state/ is moved to state.quarantine-<unix ms>
 * and started afresh; a damaged log/ likewise (the agent then rejoins raft as a new server).
 * Errors: ERR_IO (directory, permissions, lock held by another process), ERR_FULL, ERR_NOMEM. */
int store_open(struct store **ret, const struct store_options *options,
               struct store_report *ret_report, struct errmsg *e) MUST_CHECK;
/* Finishes posted writes, stops the writer, closes. Completions not yet polled are not run. */
void store_close(struct store *s);
/* Loop thread: run the completions of finished writes. */
void store_poll(struct store *s);
/* 0, or ERR_FULL / ERR_IO while the disk refuses writes; cleared by the next success, which is
 * looked for every two seconds where nobody writes. */
int store_health(const struct store *s);

/* ---- rows ---------------------------------------------------------------- */

/* What became of one record of a write. */
struct store_change {
    bool applied;                 /* false: a duplicate, or older than what is stored */
    bool existed;                 /* a row (or tombstone) of that key was there before */
    struct record_version before; /* its version, if existed */
    uint64_t key_hash;            /* record_key_hash() of the record */
    uint64_t index;               /* position in the change log, if applied */
};

/* err is 0, or why not all is stored: then count says how many of the first records are, which is 0
 * but for a long write. changes[i] belongs to records[i]; both, and the records' bytes, are valid
 * during the call only. */
typedef void (*store_apply_fn)(void *arg, int err, const struct record *records,
                               const struct store_change *changes, size_t count);

/* Loop thread. Copies the records, writes the newer ones; up to sixteen in one transaction, more
 * perhaps in several. RECORD_* kinds whose value is a row (all but RECORD_TEST and RECORD_SETTING)
 * are indexed by their fields. A record that does not decode as a row is still stored, unindexed.
 * Order of completion is order of posting. Errors: ERR_BUSY (queue full: try again after a
 * completion), ERR_NOMEM. */
int store_apply(struct store *s, const struct record *records, size_t count, store_apply_fn done,
                void *arg) MUST_CHECK;
/* Removes a row for good (reaping tombstones, dropping test records), unless by then a newer
 * version than target's is stored: done is told ERR_VERSION. Only target's kind, key and version
 * are looked at. */
int store_purge(struct store *s, const struct record *target, void (*done)(void *arg, int err),
                void *arg) MUST_CHECK;
/* Keep a message that could not be understood (capped ring of 1,000, oldest dropped). */
int store_poison(struct store *s, const char *why, const void *data, size_t len) MUST_CHECK;

/* A stored row as read. */
struct store_row {
    struct record record;   /* borrowed from the snapshot */
    uint64_t index;         /* change log position of its last change */
    int64_t stored_unix_ms; /* when this agent stored it */
};

/* Any thread. A snapshot; end it soon (a long one keeps old pages alive). */
int store_read_begin(struct store *s, struct store_txn **ret) MUST_CHECK;
void store_read_end(struct store_txn *txn);
/* 0 or ERR_NOTFOUND. Tombstones are found (row->record.deleted). */
int store_get_ref(struct store_txn *txn, uint8_t kind, const char *key, size_t key_len,
                  struct store_row *ret) MUST_CHECK;

struct store_query {
    uint8_t kind;
    enum row_field field;  /* 0: all rows by key; else an indexed field */
    const char *value;     /* NUL-terminated, with field */
    const char *after_key; /* continue behind this key, NULL: from the start */
    size_t after_key_len;
    bool with_deleted; /* include tombstones */
};
/* Return 0 to go on, 1 to stop (scan returns 0), negative: scan returns it. */
typedef int (*store_scan_fn)(void *arg, const struct store_row *row);
/* Rows in key order. Indexed fields: CLUSTER STATUS INSTANCE FAMILY STARTED_BY GROUP ENVIRONMENT
 * EC2_INSTANCE ZONE; REVISION, as "family:revision"; DESIRED but for "RUNNING" and CONNECTED but
 * for "true", which almost all rows have. Others give ERR_BADPARAM. */
int store_scan(struct store_txn *txn, const struct store_query *query, store_scan_fn fn,
               void *arg) MUST_CHECK;
/* As store_scan() of one after the other of several values, which differ, but all in key order:
 * costs a lookup a value and one a row. Not at a past time: ERR_BADPARAM. */
struct store_values_query {
    uint8_t kind;
    enum row_field field; /* indexed */
    const char *const *values;
    size_t count;
    const char *after_key; /* as in store_query */
    size_t after_key_len;
};
int store_scan_values(struct store_txn *txn, const struct store_values_query *query,
                      store_scan_fn fn, void *arg) MUST_CHECK;
/* Order of keys of a kind in which they are scanned: as memcmp(). */
int store_key_compare(uint8_t kind, const char *a, size_t a_len, const char *b, size_t b_len);
/* Number of live rows of the kind (kept, not counted). field as in store_query, 0 for all. */
int store_count(struct store_txn *txn, uint8_t kind, enum row_field field, const char *value,
                uint64_t *ret) MUST_CHECK;

/* The distinct texts of a field among live rows of a kind, each with its number of rows, in no
 * particular order; costs two lookups a text, however many rows there are. Fields as in store_scan
 * but for DESIRED and CONNECTED. fn returns as store_scan_fn does. */
typedef int (*store_value_fn)(void *arg, const char *text, size_t len, uint64_t rows);
int store_values(struct store_txn *txn, uint8_t kind, enum row_field field, store_value_fn fn,
                 void *arg) MUST_CHECK;

/* ---- by what JSON says beside the columns ------------------------------------- */

/* Live instances by an attribute: the key hashes (store_get_by_hash_ref()) of all that have it with
 * that value, and of some that may not: a row is to be asked for what it says. One may be told more
 * than once. Not at a past time, nor of the attributes that all instances have (ecs.capability.*
 * and the like) or that have a column (ecs.availability-zone): ERR_BADPARAM. */
struct store_attribute {
    const char *name;
    const char *value; /* NULL: each that wants() says true to; that too NULL: any */
    bool (*wants)(void *arg, const char *value);
    int (*fn)(void *arg, uint64_t key_hash); /* returns as store_scan_fn does */
    void *arg;
};
int store_attribute_scan(struct store_txn *txn, const struct store_attribute *a) MUST_CHECK;

/* Live tasks by their createdAt: first those, to untimed(), of which it is missing or no time of
 * the form 2026-11-22T09:01:00.125Z, in no order and whatever `after` is; then the others, to fn(),
 * in order of the time and, of one time, of the key hash; or (down) in the opposite order. Both
 * functions return as store_scan_fn does. Not at a past time, nor behind a time of another form:
 * ERR_BADPARAM. */
struct store_creation {
    bool down;
    const char
        *after; /* only those behind that time (of that form) and key; NULL: from the start */
    size_t after_len;
    const char *after_key;
    size_t after_key_len;
    store_scan_fn untimed, fn;
    void *arg;
};
int store_creation_scan(struct store_txn *txn, const struct store_creation *c) MUST_CHECK;

/* ---- time travel ----------------------------------------------------------- */

/* Makes the snapshot show the rows as this agent had them at that time: store_get_ref(),
 * store_scan() and store_count() answer from then on what they would have answered then; a filter
 * or a count costs a walk over the rows of its kind. Changes and fingerprints stay those of now.
 * Costs time and memory in proportion to the rows replaced since. ERR_VERSION: before
 * store_past_since(). */
int store_rewind(struct store_txn *txn, int64_t at_unix_ms, int64_t now_unix_ms) MUST_CHECK;
/* The earliest time that the snapshot can be rewound to. */
int64_t store_past_since(struct store_txn *txn, int64_t now_unix_ms);
/* Rows of the kind that were replaced or became tombstones and are still kept, the last first, and
 * when that was. fn returns as store_scan_fn does. */
typedef int (*store_past_fn)(void *arg, const struct store_row *row, int64_t ended_unix_ms);
int store_past(struct store_txn *txn, uint8_t kind, store_past_fn fn, void *arg) MUST_CHECK;

/* Rows of the kind as they were before the changes behind that index replaced them. ERR_VERSION:
 * they are not kept that far back. fn returns as store_scan_fn does. */
int store_replaced(struct store_txn *txn, uint8_t kind, uint64_t after, store_scan_fn fn,
                   void *arg) MUST_CHECK;
/* Where earlier rows are, those that changes behind that index replaced, as far as they are kept:
 * the kind, the change that made the row and the one that replaced it, by which store_before()
 * finds it (and only then is it known to be sound). In the order of the latter. fn returns as
 * store_scan_fn does. */
typedef int (*store_earlier_fn)(void *arg, uint8_t kind, uint64_t made, uint64_t replaced);
int store_earlier(struct store_txn *txn, uint64_t after, store_earlier_fn fn, void *arg) MUST_CHECK;
/* The row that the change of that index replaced. ERR_NOTFOUND: none, or it is not kept. */
int store_before(struct store_txn *txn, uint64_t index, struct store_row *ret) MUST_CHECK;

/* ---- change log ----------------------------------------------------------- */

/* Any thread, atomics: number of the last change, of one kind (0: of all). Starts at 0, never
 * goes back while the epoch stays the same. */
uint64_t store_index(const struct store *s, uint8_t kind);
/* Random per state database: a new one means indexes start again. */
uint64_t store_epoch(const struct store *s);
/* Changes with index >= from in order, each with the row as it is in this snapshot (a row that
 * changed twice appears once, at its last change). ERR_VERSION if from is below what is kept
 * (the last 100,000 changes). */
int store_changes(struct store_txn *txn, uint8_t kind, uint64_t from, store_scan_fn fn,
                  void *arg) MUST_CHECK;
/* Oldest index that store_changes can start from. */
uint64_t store_oldest_change(struct store_txn *txn);
/* Index of the last change this snapshot contains, of one kind (0: all). */
uint64_t store_txn_index(struct store_txn *txn, uint8_t kind);
/* The highest of those of all kinds whose bit (1 << kind) is set: in this snapshot; NULL: in s, as
 * store_index says (s is asked for nothing else). */
uint64_t store_kinds_index(const struct store *s, struct store_txn *txn, uint32_t kinds);

/* Called on the writer thread after each commit that changed rows; must be quick. kinds has bit
 * (1 << kind) set for each kind that changed. Returns a handle for store_unwatch. At most 8. */
typedef void (*store_watch_fn)(void *arg, uint32_t kinds, uint64_t index);
int store_watch(struct store *s, store_watch_fn fn, void *arg) MUST_CHECK;
void store_unwatch(struct store *s, int handle);

/* ---- fingerprints (anti-entropy) ------------------------------------------- */

/* One line of the fingerprint index: every row and tombstone, in key_hash order. */
typedef int (*store_fingerprint_fn)(void *arg, uint64_t key_hash, struct record_version version);
/* Lines with first <= key_hash <= last. RECORD_TEST rows are left out. */
int store_fingerprints(struct store_txn *txn, uint64_t first, uint64_t last,
                       store_fingerprint_fn fn, void *arg) MUST_CHECK;
/* The row with that key hash (of RECORD_TEST, too), or ERR_NOTFOUND. */
int store_get_by_hash_ref(struct store_txn *txn, uint64_t key_hash,
                          struct store_row *ret) MUST_CHECK;

/* ---- raft log and small durable facts (log/, synced) ------------------------ */

struct store_log_entry {
    uint64_t index; /* 1.. */
    uint64_t term;
    uint8_t type; /* raft's */
    uint32_t len;
    const void *data;
};
struct store_log_intent { /* one row of the applied intent, keyed as the record is */
    uint8_t kind;
    const char *key;
    uint16_t key_len;
    bool deleted;
    const void *value;
    uint32_t value_len;
    struct record_version version;
};
/* One atomic, synced write; any part may be absent. Performed in this order. */
struct store_fact {
    const char *name; /* <= 64 bytes */
    const void *data;
    size_t len; /* <= 4 KiB */
};

struct store_log_write {
    bool set_hard_state;
    uint64_t term;
    uint64_t vote;                         /* 0: none */
    uint64_t truncate_from;                /* remove entries with index >= this; 0: none */
    const struct store_log_entry *entries; /* then append or replace these */
    size_t entry_count;
    bool replace_intent; /* a snapshot arrived: drop all intent first */
    const struct store_log_intent *intent;
    size_t intent_count;
    uint64_t applied_index; /* 0: unchanged */
    uint64_t applied_term;
    uint64_t compact_to; /* remove entries with index <= this; 0: none */
    uint64_t base_term;  /* term of entry compact_to (or of the snapshot) */
    const void *config;  /* latest applied configuration (opaque); NULL: unchanged */
    size_t config_len;
    const struct store_fact *facts; /* that are true only together with the rest */
    size_t fact_count;
};
/* Loop thread; everything is copied. done(err): 0 means it is on disk. Order is kept. */
int store_log_write(struct store *s, const struct store_log_write *w,
                    void (*done)(void *arg, int err), void *arg) MUST_CHECK;

struct store_log_state {
    uint64_t term, vote;
    uint64_t first_index, last_index; /* entries present; first > last: none */
    uint64_t base_index, base_term;   /* what lies before first_index */
    uint64_t applied_index, applied_term;
};
/* At start, before writes are posted. */
int store_log_load(struct store *s, struct store_log_state *ret) MUST_CHECK;
/* Any thread: entries first..last in order, until fn returns non-zero. */
int store_log_read(struct store *s, uint64_t first, uint64_t last,
                   int (*fn)(void *arg, const struct store_log_entry *entry), void *arg) MUST_CHECK;
int store_log_intent(struct store *s, int (*fn)(void *arg, const struct store_log_intent *row),
                     void *arg) MUST_CHECK;
/* Copies the configuration into out; *ret_len 0 if there is none. */
int store_log_config(struct store *s, void *out, size_t cap, size_t *ret_len) MUST_CHECK;

/* Small facts by name (<= 64 bytes name, <= 4 KiB value), synced. */
int store_fact_put(struct store *s, const char *name, const void *data, size_t len,
                   void (*done)(void *arg, int err), void *arg) MUST_CHECK;
/* Any thread. ERR_NOTFOUND, ERR_TOOBIG. */
int store_fact_get(struct store *s, const char *name, void *out, size_t cap,
                   size_t *ret_len) MUST_CHECK;

/* For /metrics and doctor. */
struct store_stats {
    uint64_t rows, tombstones, state_bytes, state_map_bytes, log_bytes;
    uint64_t commits, writes, duplicates, queue_depth, poison;
    uint64_t journalled;            /* of the log's writes: those that the journal took */
    uint64_t past_rows, past_bytes; /* replaced rows that are kept */
};
void store_stats(struct store *s, struct store_stats *ret);
/* What state/ takes on disk. Any thread. */
uint64_t store_state_bytes(const struct store *s);

#endif
