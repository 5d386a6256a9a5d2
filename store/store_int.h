/* SPDX-License-Identifier: Apache-2.0
 * Inside of the store: shared by its files only.
 *
 * Tables of state/ (all named databases, memcmp order, numbers in keys big-endian):
 *   meta    "format" -> u32, "head" -> struct head
 *   rows    row key                       -> row header (68 bytes), value, key
 *   index   kind, field, hash(text), row key without kind
 *                                         -> nothing; the row is asked for its true text
 *   ordered kind, what the row says, key hash
 *                                         -> nothing (ordered.c)
 *   counts  kind, field, hash(text)       -> number of live rows
 *   changes change index                  -> row key
 *   prints  key hash                      -> version, row key
 *   past    index of the change that replaced it -> unix ms of that, row key, row
 *   poison  sequence                      -> unix ms, reason, bytes
 * A row key is short, for it stands in all of these and ARNs are long: the kind, a hash of what
 * is before the key's last '/', and what is behind it. The key itself is a part of the row's
 * JSON, as taskArn is; if not, it is put behind the value.
 * Tables of log/: meta ("format", "head", "config"), entries, intent, facts; what it lacks of them
 * yet is in log/journal (journal.c).
 * Every value but index's, ordered's, changes' and poison's starts with a checksum over key and
 * value: LMDB has none, and what a disk flipped must not be believed. */
#ifndef BLOX_STORE_INT_H
#define BLOX_STORE_INT_H

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "agent/base/buf.h"
#include "agent/base/list.h"
#include "store/store.h"

/* Formats that were: 1 summed with another hash; 2 had whole keys in state/'s tables, and no
 * journal before log/; 3 (state/) did not index ROW_DESIRED and ROW_CONNECTED; 4 (state/) had no
 * table `ordered`. */
#define STATE_FORMAT 5u
#define STATE_FORMAT_PLAIN 3u
#define STATE_FORMAT_INDEXED 4u
#define LOG_FORMAT 3u
#define CHECKSUM_SEED 2u
#define STORE_PATH_MAX 200

/* Bounds of the queue before the writer. Rows and log have their own, so that a burst of rows
 * cannot make raft wait for room. */
#define STORE_QUEUE_OPS 8192u
#define STORE_QUEUE_BYTES (64u << 20)
/* One transaction of rows: the file has room for what two of them change beside what it holds. LMDB
 * never gives back the memory of the pages that the largest one changed, and a new row changes a
 * dozen, so it ends with the row that has reached so many places in tables; but a write of few rows
 * is done in one. */
#define STORE_BATCH_RECORDS 64u
#define STORE_BATCH_BYTES (8u << 20)
#define STORE_BATCH_PLACES 256u
#define STORE_WHOLE_RECORDS 16u
#define STORE_CHANGES_KEPT 100000u
#define STORE_POISON_KEPT 1000u
#define STORE_POISON_MAX (256u * 1024)
#define STORE_READERS 512u /* API threads and pooled snapshots */
#define STORE_POOL 32u     /* snapshots kept for the next reader */
#define STORE_WATCHES 8
#define STORE_FACT_NAME_MAX 64u
#define STORE_FACT_MAX 4096u
#define STORE_CONFIG_MAX (64u * 1024)
#define STORE_CHECK_BUDGET_MS 80u /* structure check of state/ at an ordinary start */

#define PAGE_BYTES 4096u
#define NODE_MAX 2020u /* a larger value takes whole pages */

#define ROW_HEADER 68u
#define ROW_KEY_MIN 10u /* kind, hash, form of the rest */
#define ROW_KEY_MAX (ROW_KEY_MIN + RECORD_KEY_MAX)
#define PLAIN_KEY_MAX (1u + RECORD_KEY_MAX)

/* ---- env.c: one LMDB environment ---- */

struct env {
    MDB_env *env;
    char path[STORE_PATH_MAX + 32];
    const char *name; /* "state", "log" */
    bool suspect;     /* LMDB reported damage: not to be trusted at the next start */
};

/* What state/life says about the process that had it open last. */
struct life {
    bool known;     /* a previous life was found */
    bool clean;     /* it ended by store_close */
    bool same_boot; /* the page cache has survived since */
    bool suspect;   /* it met damage */
    unsigned crashes;
};

int store_err(int rc); /* LMDB or errno code -> enum err */
/* Of a look for something that must be there: only its absence is damage. A call that failed for
 * want of memory says nothing about the database. */
int env_lookup_err(int rc, const char *missing, struct errmsg *e);
int env_open(struct env *env, const char *dir, size_t map_bytes, unsigned flags, struct errmsg *e);
bool env_has_commits(const struct env *env);
void env_close(struct env *env);
#define STATE_NEW "state.new" /* a copy that is to take state's place */
void env_remove(const char *dir, const char *name);
/* The environment `by` takes the place of `name`, which is left under the other name. */
int env_replace(const char *dir, const char *name, const char *by, struct errmsg *e);
int env_quarantine(const char *dir, const char *name, char *ret_path, size_t cap, struct errmsg *e);
void env_drop_quarantines(const char *dir, const char *name);
uint64_t env_file_bytes(const struct env *env);
uint64_t dir_free_bytes(const char *dir);
/* Error of a failed write: a short write on a full disk comes back as EIO. */
int env_write_err(const char *dir, int rc);
void life_read(const char *env_path, struct life *ret);
int life_write(const char *env_path, bool clean, bool suspect, unsigned crashes);

/* ---- pagecheck.c ---- */

struct pagecheck {
    uint64_t used_bytes; /* pages in use */
    bool complete;       /* false: the budget ran out, what was seen is sound */
};
/* Structure of an LMDB file, read with pread() so that damage cannot crash the process.
 * budget_ms 0: no limit. 0, ERR_CORRUPT (e says what), ERR_IO, ERR_NOMEM. */
int pagecheck(const char *path, uint64_t budget_ms, struct pagecheck *ret, struct errmsg *e);

/* ---- heads ---- */

struct head {
    uint64_t epoch;
    uint64_t index[RECORD_KIND_END]; /* [0]: of all kinds */
    uint64_t poison_first, poison_next;
    uint64_t past_since; /* unix ms from which `past` is whole; 0: nothing is kept */
    uint64_t past_bytes; /* about what `past` takes */
};
struct log_head {
    uint64_t term, vote;
    uint64_t base_index, base_term, last_index;
    uint64_t applied_index, applied_term;
    uint64_t entry_sum, intent_sum, fact_sum; /* sums of the checksums: a lost row is noticed */
    uint64_t entry_count, intent_count, fact_count;
    uint64_t journal;    /* id of the one that goes before this database; 0: none does */
    uint64_t journalled; /* what it has up to this sequence is contained here */
};

/* ---- journal.c ---- */

#define JOURNAL_BYTES (512u << 10)
#define JOURNAL_RECORD_MAX (128u << 10) /* for more the second wait of LMDB does not count */

struct journal {
    int fd;           /* -1: there is none */
    bool broken;      /* a write failed: what is on the disk there is not known, it stays unused */
    uint8_t *image;   /* of the file */
    size_t used;      /* up to there are records that log/ does not contain */
    size_t added;     /* bytes of the record that is being made behind them */
    uint64_t id, seq; /* of the last record, tried or done */
};
/* A new one in that directory, all zeros and on disk. */
int journal_make(struct journal *j, const char *dir, struct errmsg *e) MUST_CHECK;
/* The one with that id, and in it the records behind that sequence. ERR_CORRUPT: it is missing, or
 * something is that was durable. Whatever comes back, close it. */
int journal_open(struct journal *j, const char *dir, uint64_t id, uint64_t seq,
                 struct errmsg *e) MUST_CHECK;
void journal_close(struct journal *j);
/* Bytes that the write takes; 0: it is not one for the journal, which has no intent, no
 * configuration and no compaction. */
size_t journal_size(const struct store_log_write *w);
bool journal_has_room(const struct journal *j, size_t size); /* for all writes of one record */
void journal_add(struct journal *j, const struct store_log_write *w);
/* What was added is one record, and durable. ERR_FULL, ERR_IO: it may or may not be found at the
 * next start, unless log/ says by then that it contains it. */
int journal_commit(struct journal *j) MUST_CHECK;
/* The writes of all records, the oldest first. Ends with fn's first error. */
int journal_each(const struct journal *j, int (*fn)(void *arg, const struct store_log_write *w),
                 void *arg) MUST_CHECK;
void journal_contained(struct journal *j); /* log/ has them all, and says so on disk */

/* ---- the store ---- */

enum op_type { OP_APPLY, OP_PURGE, OP_POISON, OP_LOG };

struct op {
    struct list link;
    enum op_type type;
    int err;
    int outcome; /* ERR_VERSION: a purge met a newer row; nothing was wrong */
    size_t bytes;
    void *arg;
    void (*done)(void *arg, int err);
    store_apply_fn apply_done;
    struct record *records;
    struct store_change *changes;
    size_t count;
    size_t stored;        /* OP_APPLY: the first of them, by transactions that are committed */
    size_t reached;       /* ... and by the one under way */
    struct record target; /* OP_PURGE: kind, key, version */
    const char *name;     /* OP_POISON: why */
    const void *data;
    size_t len;
    struct store_log_write log;
};

struct queue {
    struct list ops;
    size_t count, bytes;
    size_t records; /* of rows; an operation without any counts as one */
};

struct watch {
    store_watch_fn fn;
    void *arg;
};

#define DELTA_SLOTS 4096u
struct delta {
    uint8_t kind, field; /* kind 0: free */
    uint64_t hash;
    int64_t n;
};

struct store_txn {
    struct store *store;
    MDB_txn *txn;
    bool have_head;
    struct head head;
    struct past *past; /* rewound to a time; NULL: now */
    struct store_txn *next;
};

struct store {
    char dir[STORE_PATH_MAX];
    int dir_fd; /* holds the lock on the directory */
    uint64_t state_disk_min;
    size_t state_map_max;
    uint64_t past_ms, past_bytes_max; /* what is kept of replaced rows; 0: nothing */
    uint64_t log_flush_ns;
    void (*notify)(void *arg);
    void *notify_arg;
    struct env state, log;
    MDB_dbi meta, rows, index, ordered, counts, changes, prints, past, poison;
    MDB_dbi log_meta, log_entries, log_intent, log_facts;

    pthread_t writer, logger;
    bool writer_running, logger_running;
    pthread_mutex_t lock; /* from here to flush_err */
    pthread_cond_t wake, log_wake, flushed;
    struct queue state_queue, log_queue;
    struct list done;
    bool stopping;
    bool gathering;     /* the writer waits for more rows and need not be told of each */
    bool lags;          /* log/ lacks something that is in the journal */
    uint64_t lags_from; /* no entry before that index is touched by it */
    bool flush_wanted;  /* somebody waits for log/ to have it all */
    uint64_t flushes;   /* attempts at that */
    int flush_err;      /* of the last one */

    pthread_mutex_t watch_lock;
    struct watch watches[STORE_WATCHES];

    pthread_rwlock_t log_map_lock; /* held while the log is read; to write: the map changes */
    pthread_mutex_t pool_lock;
    pthread_cond_t pool_change;
    struct store_txn *pool;
    unsigned pool_count;
    unsigned readers; /* snapshots in use */
    bool growing;     /* new readers wait */

    /* Log thread only. */
    struct log_head log_head;
    struct journal journal;
    uint64_t log_last; /* index of the last entry, in the journal or in log/ */
    uint64_t log_room; /* bytes of log/'s file that the disk has given, used or not */
    bool log_has_room; /* for all that the journal can hold */
    uint64_t flush_ns; /* the journal is emptied by then */

    /* Writer thread only. */
    struct head head;
    struct delta *deltas;
    unsigned delta_count;
    struct buf scratch; /* copy of the row being replaced */
    size_t places;      /* in tables, written by this transaction: about as many pages */
    uint32_t kinds;     /* changed in this transaction */
    uint64_t duplicates_now;
    unsigned crashes;
    uint64_t opened_ms;
    uint64_t repair_after_ms;
    uint64_t probe_after_ms;
    size_t refused_bytes; /* of the rows that were refused last */
    uint64_t reader_check_ms;
    uint64_t committed_ns; /* when rows were last written */

    _Atomic uint64_t last_index[RECORD_KIND_END];
    _Atomic uint64_t epoch;
    _Atomic int state_health, log_health;
    _Atomic bool repair_wanted;
    _Atomic uint64_t damaged, commits, writes, journalled, duplicates, queue_depth;
};

static inline size_t op_records(const struct op *op)
{
    return op->count == 0 ? 1 : op->count;
}

/* codec.c */
void put_be64(uint8_t *out, uint64_t v);
uint64_t get_be64(const uint8_t *in);
uint64_t checksum(const MDB_val *key, const void *data, size_t len);
void head_encode(const struct head *h, uint8_t *out); /* HEAD_BYTES */
int head_decode(const MDB_val *val, struct head *ret);
void log_head_encode(const struct log_head *h, uint8_t *out); /* LOG_HEAD_BYTES */
int log_head_decode(const MDB_val *val, struct log_head *ret);
#define HEAD_BYTES (8u * (1u + 1u + RECORD_KIND_END + 4u))
#define LOG_HEAD_BYTES (8u * 16u)
/* Kind and key as they are (log/). */
size_t plain_key(uint8_t kind, const char *key, size_t key_len, uint8_t out[PLAIN_KEY_MAX]);
size_t row_key(uint8_t kind, const char *key, size_t key_len, uint8_t out[ROW_KEY_MAX]);
/* Bytes of the row, and where from the value's begin its key will stand. */
size_t row_size(const struct record *rec, uint32_t *ret_key_at);
/* val is room of that size. */
void row_write(const struct record *rec, uint64_t index, int64_t stored_ms, uint32_t key_at,
               const MDB_val *key, MDB_val *val);
/* Borrows from val. ERR_CORRUPT if the checksum or a length is wrong. */
int row_read(const MDB_val *key, const MDB_val *val, struct store_row *ret);
uint64_t row_index(const MDB_val *val); /* its change, unchecked */
/* The fields of a record that is indexed; false if it has none. */
bool row_fields(const struct record *rec, struct row *ret);
bool field_is_indexed(unsigned field);
bool field_is_partial(unsigned field); /* but for the text that almost all rows have */
bool field_finds(unsigned field, const char *value); /* the index holds all rows with that text */
#define FIELD_TEXT_MAX 320u
/* What the index holds of a field: its text, or for ROW_REVISION "family:revision" made in out.
 * data NULL: nothing. */
struct row_text field_text(const struct row *row, unsigned field, char out[FIELD_TEXT_MAX]);
bool row_has(const struct row *row, unsigned field, const char *value); /* as the index has it */
/* The number in a meta table; ERR_VERSION if it is above ours. */
int format_read(MDB_txn *txn, MDB_dbi meta, uint64_t ours, uint64_t *ret, struct errmsg *e);
int format_write(MDB_txn *txn, MDB_dbi meta, uint64_t format);

static inline bool record_has_key(const struct record *rec, const char *key, size_t len)
{
    return rec->key_len == len && memcmp(rec->key, key, len) == 0;
}

/* index.c (writer) */
#define INDEX_PREFIX 10u /* kind, field, hash */
void index_prefix(uint8_t kind, unsigned field, const void *text, size_t len, uint8_t *out);
/* Index entries and counts for a row that changes from before to after (either may be NULL). */
int index_update(struct store *s, MDB_txn *txn, const struct record *before,
                 const struct record *after);
/* Those of a new row's fields that are indexed in part. */
int index_add_partial(struct store *s, MDB_txn *txn, const struct record *rec);
/* n more live rows have that text. */
int index_count(struct store *s, MDB_txn *txn, uint8_t kind, unsigned field,
                const struct row_text *text, int64_t n);
int counts_flush(struct store *s, MDB_txn *txn);
void counts_drop(struct store *s);
int counts_get(MDB_txn *txn, MDB_dbi counts, const uint8_t *prefix, uint64_t *ret);

/* ordered.c (writer) */
#define ORDERED_FIELD 254u /* counts of attributes stand under it */
/* Entries for a row that changes, as index_update(); with the columns of both. */
int ordered_update(struct store *s, MDB_txn *txn, const struct record *before,
                   const struct row *old, const struct record *after, const struct row *new);
int ordered_clear(struct store *s, MDB_txn *txn); /* as if there were no rows */

/* changes.c, prints.c (writer) */
int changes_put(struct store *s, MDB_txn *txn, uint64_t index, const MDB_val *row_key);
int changes_del(struct store *s, MDB_txn *txn, uint64_t index);
int changes_trim(struct store *s, MDB_txn *txn);
uint64_t changes_oldest(uint64_t last_index);
int prints_put(struct store *s, MDB_txn *txn, const struct record *rec);
int prints_del(struct store *s, MDB_txn *txn, const struct record *rec);

/* rows.c (writer) */
/* As many of its records as the transaction takes, from op->stored up to op->reached. */
int store_rows_apply(struct store *s, MDB_txn *txn, struct op *op, int64_t now_unix_ms);
int store_rows_purge(struct store *s, MDB_txn *txn, struct op *op, int64_t now_unix_ms);
int store_rows_poison(struct store *s, MDB_txn *txn, const struct op *op, int64_t now_unix_ms);
int store_rows_put(struct store *s, MDB_txn *txn, const struct record *rec, MDB_val *key,
                   uint64_t index, int64_t stored_unix_ms);
int store_rows_open(struct store *s, uint64_t format, struct errmsg *e); /* of that format */
/* The format of an environment that is open; 0: it is new. */
int state_format(const struct store *s, uint64_t *ret, struct errmsg *e);
int store_rows_save_head(struct store *s, MDB_txn *txn);

/* snapshot.c (writer) */
int store_map_grow(struct store *s);  /* 0; ERR_FULL: not now, or no further */
void store_map_tend(struct store *s); /* grows while nobody reads, before it must */

/* read.c (any thread): what scans share */
const struct head *txn_head(struct store_txn *txn);
int cursors_open(MDB_txn *txn, MDB_dbi first, MDB_dbi second, MDB_cursor *ret[2]);
void cursors_close(MDB_cursor *cursors[2]);
int scan_end(int err, int rc);
size_t scan_start(const struct store_query *q, uint8_t bytes[ROW_KEY_MAX], MDB_val *ret);
/* The row of a key that another table names: 0, or ERR_NOTFOUND and a repair is asked for. */
int row_at(struct store_txn *txn, MDB_cursor *rows, const MDB_val *row_key_val, const char *from,
           struct store_row *ret);
void index_row_key(const MDB_val *entry, uint8_t bytes[ROW_KEY_MAX], MDB_val *ret);

/* past.c */
#define PAST_TRIM_MAX 4096u /* of one transaction */
int past_put(struct store *s, MDB_txn *txn, uint64_t index, const MDB_val *row_key_val,
             const void *row, size_t row_bytes, int64_t now_unix_ms);
int past_trim(struct store *s, MDB_txn *txn, int64_t now_unix_ms);
void past_begin(struct store *s, int64_t now_unix_ms);
void past_forget(struct store *s, int64_t now_unix_ms);
int past_get(struct store_txn *txn, const MDB_val *row_key_val, struct store_row *ret);
int past_scan(struct store_txn *txn, const struct store_query *q, store_scan_fn fn, void *arg);
void past_free(struct store_txn *txn);

/* repair.c (writer) */
void store_want_repair(struct store *s, const char *what);
int store_rows_repair(struct store *s);
/* A row read from a copy of itself, as its page may move while other tables are written: the key is
 * copied to bytes, the value to s->scratch. */
int row_hold(struct store *s, const MDB_val *key, const MDB_val *val, uint8_t bytes[ROW_KEY_MAX],
             MDB_val *ret_key, struct store_row *ret) MUST_CHECK;
/* Puts what one row means into the tables that are made of rows. */
int store_rows_derive(struct store *s, MDB_txn *txn, const struct store_row *row,
                      const MDB_val *key);

/* raftlog.c, facts.c (log thread) */
int log_open(struct store *s, struct errmsg *e);
int log_perform(struct store *s, MDB_txn *txn, const struct store_log_write *w);
int log_perform_journal(struct store *s, MDB_txn *txn); /* and the head says that it is contained */
/* Would its entries follow the log that ends with *last? Moves that. */
bool log_follows(const struct log_head *h, const struct store_log_write *w, uint64_t *last);
int log_save_head(struct store *s, MDB_txn *txn);
int facts_perform(struct store *s, MDB_txn *txn, const struct store_fact *facts, size_t count);
int log_sum_del(MDB_txn *txn, MDB_dbi dbi, const MDB_val *key, uint64_t *sum, uint64_t *count);
int log_sum_put(MDB_txn *txn, MDB_dbi dbi, const MDB_val *key, const void *head, size_t head_len,
                const void *data, size_t len, uint64_t *sum, uint64_t *count);
/* The value has at least `least` bytes and its checksum is right. */
bool log_value_sound(const MDB_val *key, const MDB_val *val, size_t least);
/* Start of a read on log/. Unless it is of intent or the configuration, log_settle() comes before.
 */
int log_read_begin(struct store *s, MDB_txn **ret);
void log_read_end(struct store *s, MDB_txn *txn);
#define LOG_MAP_MAX ((size_t)16 << 30) /* address space */
int log_map_grow(struct store *s);     /* log thread, no transaction open; ERR_FULL */
/* Has the disk set room aside, so that a full one cannot keep log/ from taking what the journal
 * has; only then may it have any. */
void log_reserve(struct store *s);

/* migrate.c: at opening */
int log_migrate(struct store *s, MDB_txn *txn, uint64_t format); /* LMDB codes */
/* s->state is open and of that format; afterwards it is closed, and to be opened again. */
int state_migrate(struct store *s, uint64_t format, size_t map_bytes, struct errmsg *e);
/* Of an environment that is open, in place: from 3 to 4, from 4 on. */
int state_index(struct store *s, struct errmsg *e);
int state_order(struct store *s, struct errmsg *e);

/* compact.c: at opening. True: s->state was replaced and closed, and is to be opened again. */
bool state_compact(struct store *s);

/* writer.c */
int writer_start(struct store *s); /* both threads */
void writer_stop(struct store *s);
void state_damage(struct store *s, const char *what, int rc);
void ops_take(struct queue *from, struct list *to, size_t max_records, size_t max_bytes);
void ops_finish(struct store *s, struct list *ops, int err);
void ops_return(struct store *s, struct list *ops); /* to the loop thread */
void set_health(_Atomic int *health, int err, const char *name);
bool is_disk_error(int err);
struct timespec mono_in(uint64_t ns);

/* logger.c */
void *logger_main(void *store);
/* Any thread but the log thread: waits until log/ has what the journal has of entries up to `last`
 * (UINT64_MAX: whatever it has). Error of LMDB, if it does not take it. */
int log_settle(struct store *s, uint64_t last);

#endif
