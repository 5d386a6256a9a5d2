/* SPDX-License-Identifier: Apache-2.0
 * The writer thread, for state/: all that was posted while the last commit ran goes into the next
 * transaction, up to bounds, and while rows come thick it waits a moment for more: a transaction
 * writes a dozen pages beside its rows. What is beyond the bound of places goes into further ones,
 * and so may a long write be divided. Also what it shares with the log thread (logger.c).
 * Completions keep their order within log and within rows, not between the two. */
#include "store/store_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/sched.h"

#define REPAIR_AGAIN_MS 60000u
#define CRASH_FREE_MS 60000u
#define PROBE_MS 2000u /* while rows are refused: is there room again? */
#define READER_CHECK_MS 60000u
#define THICK_NS 4000000u  /* since the last rows: what comes within that is not the first */
#define GATHER_NS 1500000u /* the moment */

void ops_take(struct queue *from, struct list *to, size_t max_records, size_t max_bytes)
{
    size_t records = 0;
    size_t bytes = 0;
    while (!list_is_empty(&from->ops)) {
        struct op *op = LIST_OF(from->ops.next, struct op, link);
        size_t n = op_records(op);
        if (records > 0 && (records + n > max_records || bytes + op->bytes > max_bytes))
            break;
        records += n;
        bytes += op->bytes;
        list_remove(&op->link);
        list_push(to, &op->link);
        from->count--;
        from->bytes -= op->bytes;
        from->records -= n;
    }
}

static size_t list_bytes(const struct list *ops)
{
    size_t bytes = 0;
    for (struct list *at = ops->next; at != ops; at = at->next)
        bytes += LIST_OF(at, struct op, link)->bytes;
    return bytes;
}

/* LMDB met a page that cannot be: nothing in memory can mend that, the next start can. */
void state_damage(struct store *s, const char *what, int rc)
{
    if (s->state.suspect)
        return;
    s->state.suspect = true;
    (void)life_write(s->state.path, false, true, s->crashes);
    LOG(LOG_ERROR, "store_corrupt",
        "the state database is damaged; it is set aside and rebuilt at the next start",
        LS("while", what), LS("error", mdb_strerror(rc)));
}

/* ---- rows ---- */

static int state_perform(struct store *s, MDB_txn *txn, struct op *op, int64_t now)
{
    if (op->count == 0)
        op->reached = op_records(op); /* a purge and the like, or no more than a mark */
    switch (op->type) {
    case OP_APPLY:
        return store_rows_apply(s, txn, op, now);
    case OP_PURGE:
        return store_rows_purge(s, txn, op, now);
    case OP_POISON:
        return store_rows_poison(s, txn, op, now);
    case OP_LOG:
    default:
        return ERR_INTERNAL;
    }
}

/* From the first operation on until the transaction is full. */
static int perform_some(struct store *s, MDB_txn *txn, struct list *ops, int64_t now)
{
    int rc = 0;
    s->places = 0;
    for (struct list *at = ops->next; at != ops; at = at->next) {
        struct op *op = LIST_OF(at, struct op, link);
        op->reached = op->stored;
        if (rc == 0 && s->places < STORE_BATCH_PLACES)
            rc = state_perform(s, txn, op, now);
    }
    return rc;
}

static int state_txn(struct store *s, struct list *ops)
{
    MDB_txn *txn;
    int64_t now = clock_unix_ms();
    uint64_t before = s->head.index[0];
    int rc = mdb_txn_begin(s->state.env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = perform_some(s, txn, ops, now);
    if (rc == 0)
        rc = counts_flush(s, txn);
    if (rc == 0 && s->head.index[0] != before)
        rc = changes_trim(s, txn);
    if (rc == 0 && s->head.index[0] != before)
        rc = past_trim(s, txn, now);
    if (rc == 0)
        rc = store_rows_save_head(s, txn);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static void publish(struct store *s)
{
    for (unsigned i = 1; i < RECORD_KIND_END; i++)
        atomic_store(&s->last_index[i], s->head.index[i]);
    atomic_store(&s->last_index[0], s->head.index[0]);
    if (s->kinds == 0)
        return;
    pthread_mutex_lock(&s->watch_lock);
    for (unsigned i = 0; i < STORE_WATCHES; i++)
        if (s->watches[i].fn != NULL)
            s->watches[i].fn(s->watches[i].arg, s->kinds, s->head.index[0]);
    pthread_mutex_unlock(&s->watch_lock);
}

/* One transaction. */
static int try_state(struct store *s, struct list *ops)
{
    struct head saved = s->head;
    s->kinds = 0;
    s->duplicates_now = 0;
    int err;
    if (dir_free_bytes(s->dir) < s->state_disk_min + list_bytes(ops)) {
        err = ERR_FULL;
    } else {
        int rc = state_txn(s, ops);
        while (rc == MDB_MAP_FULL && store_map_grow(s) == 0) {
            s->head = saved;
            s->kinds = 0;
            s->duplicates_now = 0;
            counts_drop(s);
            rc = state_txn(s, ops);
        }
        err = rc == 0 ? 0 : env_write_err(s->dir, rc);
        if (err == ERR_CORRUPT)
            state_damage(s, "writing", rc);
    }
    if (err != 0) {
        s->head = saved;
        counts_drop(s);
        return err;
    }
    for (struct list *at = ops->next; at != ops; at = at->next)
        LIST_OF(at, struct op, link)->stored = LIST_OF(at, struct op, link)->reached;
    s->committed_ns = clock_mono_ns();
    atomic_fetch_add(&s->commits, 1);
    atomic_fetch_add(&s->duplicates, s->duplicates_now);
    publish(s);
    store_map_tend(s);
    return 0;
}

void set_health(_Atomic int *health, int err, const char *name)
{
    int now = err == ERR_CORRUPT ? ERR_IO : err;
    int before = atomic_exchange(health, now);
    if (before == now)
        return;
    if (now != 0)
        LOG(LOG_ERROR, "store_refuses", "writes fail; what is stored can still be read",
            LS("database", name), LS("error", err_text(err)));
    else
        LOG(LOG_INFO, "store_recovered", "writes succeed again", LS("database", name));
}

static void rows_refused(struct store *s, int err, size_t bytes)
{
    set_health(&s->state_health, err, "state");
    s->refused_bytes = bytes;
    s->probe_after_ms = clock_mono_ms() + PROBE_MS;
}

static bool probe_due(struct store *s)
{
    return atomic_load(&s->state_health) != 0 && !s->state.suspect &&
           clock_mono_ms() >= s->probe_after_ms;
}

/* Is there room for what was refused? Nothing of it is kept. */
static int reserve_txn(struct store *s)
{
    MDB_txn *txn;
    MDB_val key = {5, (void *)(uintptr_t) "probe"};
    MDB_val val = {s->refused_bytes, NULL};
    int rc = mdb_txn_begin(s->state.env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = mdb_put(txn, s->meta, &key, &val, MDB_RESERVE);
    mdb_txn_abort(txn);
    return rc;
}

/* Where nothing changes no write would find out that the disk takes them again, and the agent
 * would be called sick for ever. */
static void probe(struct store *s)
{
    struct list none;
    list_init(&none);
    int err = ERR_FULL;
    if (dir_free_bytes(s->dir) >= s->state_disk_min + s->refused_bytes) {
        int rc = reserve_txn(s);
        while (rc == MDB_MAP_FULL && store_map_grow(s) == 0)
            rc = reserve_txn(s);
        err = rc == 0 ? try_state(s, &none) : env_write_err(s->dir, rc);
    }
    if (err == 0)
        set_health(&s->state_health, 0, "state");
    s->probe_after_ms = clock_mono_ms() + PROBE_MS;
}

bool is_disk_error(int err)
{
    return err == ERR_FULL || err == ERR_IO || err == ERR_CORRUPT;
}

static void finish(struct store *s, struct op *op, int err)
{
    op->err = err != 0 ? err : op->outcome;
    if (err == 0)
        atomic_fetch_add(&s->writes, 1);
}

void ops_finish(struct store *s, struct list *ops, int err)
{
    for (struct list *at = ops->next; at != ops; at = at->next)
        finish(s, LIST_OF(at, struct op, link), err);
}

static bool is_stored(const struct op *op)
{
    return op->stored == op_records(op);
}

/* In as many transactions as it takes. What is done leaves the list; after an error the rest, of
 * which nothing is, but for op->stored of the first one, is in it. */
static int store_ops(struct store *s, struct list *ops, struct list *done)
{
    while (!list_is_empty(ops)) {
        int err = try_state(s, ops);
        if (err != 0)
            return err;
        while (!list_is_empty(ops) && is_stored(LIST_OF(ops->next, struct op, link))) {
            struct list *node = list_pop(ops);
            finish(s, LIST_OF(node, struct op, link), 0);
            list_push(done, node);
        }
    }
    return 0;
}

/* A batch that fails is tried again write by write, so that one that does not fit does not take
 * its neighbours down. */
static void do_state(struct store *s, struct list *ops, struct list *done)
{
    int err = store_ops(s, ops, done);
    int last = err;
    size_t bytes = list_bytes(ops); /* of the last that was refused */
    bool alone = ops->next->next == ops;
    for (struct list *node; (node = list_pop(ops)) != NULL;) {
        struct list one;
        list_init(&one);
        list_push(&one, node);
        if (!alone)
            err = store_ops(s, &one, done);
        if (err == 0 || is_disk_error(err))
            last = err;
        if (err == 0)
            continue;
        bytes = list_bytes(&one);
        finish(s, LIST_OF(node, struct op, link), err);
        list_remove(node);
        list_push(done, node);
    }
    if (last == 0)
        set_health(&s->state_health, 0, "state");
    else if (is_disk_error(last))
        rows_refused(s, last, bytes);
}

/* ---- the thread ---- */

static bool repair_due(struct store *s)
{
    return atomic_load(&s->repair_wanted) && !s->state.suspect &&
           clock_mono_ms() >= s->repair_after_ms;
}

struct timespec mono_in(uint64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    ns += (uint64_t)t.tv_nsec;
    t.tv_sec += (time_t)(ns / 1000000000u);
    t.tv_nsec = (long)(ns % 1000000000u);
    return t;
}

static void wait_for_work(struct store *s)
{
    while (!s->stopping && list_is_empty(&s->state_queue.ops) && !repair_due(s) && !probe_due(s)) {
        bool refuses = atomic_load(&s->state_health) != 0;
        struct timespec until = mono_in((refuses ? PROBE_MS : REPAIR_AGAIN_MS) * 1000000ull);
        pthread_cond_timedwait(&s->wake, &s->lock, &until);
    }
}

static void gather_rows(struct store *s)
{
    if (list_is_empty(&s->state_queue.ops) || clock_mono_ns() - s->committed_ns > THICK_NS)
        return;
    struct timespec until = mono_in(GATHER_NS);
    int rc = 0;
    s->gathering = true;
    while (rc == 0 && !s->stopping && s->state_queue.records < STORE_BATCH_RECORDS)
        rc = pthread_cond_timedwait(&s->wake, &s->lock, &until);
    s->gathering = false;
}

void ops_return(struct store *s, struct list *ops)
{
    pthread_mutex_lock(&s->lock);
    while (!list_is_empty(ops))
        list_push(&s->done, list_pop(ops));
    pthread_mutex_unlock(&s->lock);
    s->notify(s->notify_arg);
}

static void round_of_work(struct store *s, struct list *ops)
{
    struct list done;
    list_init(&done);
    if (!list_is_empty(ops)) {
        do_state(s, ops, &done);
        ops_return(s, &done);
    }
    if (probe_due(s))
        probe(s);
    if (repair_due(s)) {
        s->repair_after_ms = clock_mono_ms() + REPAIR_AGAIN_MS;
        int err = store_rows_repair(s);
        if (err == ERR_CORRUPT)
            state_damage(s, "repairing", MDB_CORRUPTED);
    }
    if (clock_mono_ms() >= s->reader_check_ms) {
        int dead = 0; /* of another program that looked into the database and died */
        s->reader_check_ms = clock_mono_ms() + READER_CHECK_MS;
        if (mdb_reader_check(s->state.env, &dead) == 0 && dead > 0)
            LOG(LOG_WARN, "store_dead_reader", "a dead reader held old pages; it was removed",
                LU("readers", (uint64_t)dead));
    }
    if (s->crashes > 0 && !s->state.suspect && clock_mono_ms() - s->opened_ms > CRASH_FREE_MS) {
        s->crashes = 0;
        (void)life_write(s->state.path, false, false, 0);
    }
}

static void *writer_main(void *arg)
{
    struct store *s = arg;
    sched_run_long();
    for (;;) {
        struct list ops;
        list_init(&ops);
        pthread_mutex_lock(&s->lock);
        wait_for_work(s);
        gather_rows(s);
        ops_take(&s->state_queue, &ops, STORE_BATCH_RECORDS, STORE_BATCH_BYTES);
        atomic_store(&s->queue_depth, s->log_queue.count + s->state_queue.count);
        bool stop = s->stopping && list_is_empty(&ops);
        pthread_mutex_unlock(&s->lock);
        if (stop)
            return NULL;
        round_of_work(s, &ops);
    }
}

int writer_start(struct store *s)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->wake, &attr);
    pthread_cond_init(&s->log_wake, &attr);
    pthread_cond_init(&s->flushed, &attr);
    pthread_condattr_destroy(&attr);
    s->opened_ms = clock_mono_ms();
    s->writer_running = pthread_create(&s->writer, NULL, writer_main, s) == 0;
    s->logger_running = pthread_create(&s->logger, NULL, logger_main, s) == 0;
    if (s->writer_running && s->logger_running)
        return 0;
    writer_stop(s);
    return ERR_NOMEM;
}

void writer_stop(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_mutex_unlock(&s->lock);
    if (s->writer_running) {
        pthread_cond_signal(&s->wake);
        pthread_join(s->writer, NULL);
    }
    if (s->logger_running) {
        pthread_cond_signal(&s->log_wake);
        pthread_join(s->logger, NULL);
    }
    s->writer_running = s->logger_running = false;
}

/* ---- completions (loop thread) ---- */

static void complete(struct op *op)
{
    if (op->type == OP_APPLY) {
        if (op->apply_done != NULL)
            op->apply_done(op->arg, op->err, op->records, op->changes,
                           op->err == 0 ? op->count : op->stored);
    } else if (op->done != NULL) {
        op->done(op->arg, op->err);
    }
}

void store_poll(struct store *s)
{
    struct list done;
    list_init(&done);
    pthread_mutex_lock(&s->lock);
    while (!list_is_empty(&s->done))
        list_push(&done, list_pop(&s->done));
    pthread_mutex_unlock(&s->lock);
    for (struct list *node; (node = list_pop(&done)) != NULL;) {
        struct op *op = LIST_OF(node, struct op, link);
        complete(op);
        free(op);
    }
}
