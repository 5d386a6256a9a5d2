/* SPDX-License-Identifier: Apache-2.0
 * The log thread, for log/. What was posted while the last write ran goes to disk as one: as a
 * record of the journal, if all of it may, which is one wait for the disk; or else in a transaction
 * of LMDB, which is two, behind all that the journal has. So log/ is behind by no more than the
 * journal's end, in the order of posting, and catches up with the next write of rows (which come
 * every 100 ms while anything is written), or by itself. */
#include "store/store_int.h"

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/sched.h"

/* ---- in LMDB ---- */

static int log_txn(struct store *s, const struct list *ops)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->log.env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    rc = log_perform_journal(s, txn);
    for (struct list *at = ops->next; at != ops && rc == 0; at = at->next)
        rc = log_perform(s, txn, &LIST_OF(at, struct op, link)->log);
    if (rc == 0)
        rc = log_save_head(s, txn);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

/* What the journal has, then these. */
static int try_log(struct store *s, struct list *ops)
{
    struct log_head saved = s->log_head;
    int rc = log_txn(s, ops);
    while (rc == MDB_MAP_FULL && log_map_grow(s) == 0) {
        s->log_head = saved;
        rc = log_txn(s, ops);
    }
    int err = rc == 0 ? 0 : env_write_err(s->dir, rc);
    if (err == 0) {
        atomic_fetch_add(&s->commits, 1);
        ops_finish(s, ops, 0);
        journal_contained(&s->journal);
        s->log_last = s->log_head.last_index;
        log_reserve(s);
    } else {
        s->log_head = saved;
        s->flush_ns = clock_mono_ns() + s->log_flush_ns;
    }
    pthread_mutex_lock(&s->lock);
    s->lags = s->lags && err != 0;
    s->flush_wanted = false;
    s->flushes++;
    s->flush_err = err;
    pthread_cond_broadcast(&s->flushed);
    pthread_mutex_unlock(&s->lock);
    return err;
}

/* Raft relies on order: once a write failed, those posted after it in this round fail too. */
static void commit(struct store *s, struct list *ops, struct list *done)
{
    int err = try_log(s, ops);
    bool alone = ops->next->next == ops;
    if (err != 0)
        err = alone ? err : 0;
    else
        while (!list_is_empty(ops))
            list_push(done, list_pop(ops));
    for (struct list *node; (node = list_pop(ops)) != NULL;) {
        struct list one;
        list_init(&one);
        list_push(&one, node);
        if (err == 0)
            err = try_log(s, &one);
        if (err != 0)
            ops_finish(s, &one, err);
        list_remove(node);
        list_push(done, node);
    }
    if (err == 0 || is_disk_error(err))
        set_health(&s->log_health, err, "log");
}

static void flush(struct store *s)
{
    struct list none;
    list_init(&none);
    int err = try_log(s, &none);
    if (err == 0 || is_disk_error(err))
        set_health(&s->log_health, err, "log");
}

/* ---- in the journal ---- */

/* Not what LMDB would refuse, nor anything while it refuses all. After a commit that failed it is
 * not known how much of the journal the head on the disk says is contained, until one succeeds. */
static bool may_journal(struct store *s, const struct list *ops, uint64_t *last)
{
    size_t all = 0;
    if (s->flush_err != 0 || !s->log_has_room)
        return false;
    for (struct list *at = ops->next; at != ops; at = at->next) {
        const struct store_log_write *w = &LIST_OF(at, struct op, link)->log;
        size_t size = journal_size(w);
        all += size;
        if (size == 0 || !log_follows(&s->log_head, w, last))
            return false;
    }
    return journal_has_room(&s->journal, all);
}

/* The lowest index of an entry that is not as log/ has it. */
static uint64_t touched_from(const struct list *ops)
{
    uint64_t from = UINT64_MAX;
    for (struct list *at = ops->next; at != ops; at = at->next) {
        const struct store_log_write *w = &LIST_OF(at, struct op, link)->log;
        if (w->truncate_from != 0 && w->truncate_from < from)
            from = w->truncate_from;
        for (size_t i = 0; i < w->entry_count; i++)
            from = w->entries[i].index < from ? w->entries[i].index : from;
    }
    return from;
}

static bool journal(struct store *s, struct list *ops)
{
    uint64_t last = s->log_last, from = touched_from(ops);
    if (!may_journal(s, ops, &last))
        return false;
    for (struct list *at = ops->next; at != ops; at = at->next)
        journal_add(&s->journal, &LIST_OF(at, struct op, link)->log);
    int err = journal_commit(&s->journal);
    if (err != 0) {
        LOG(LOG_ERROR, "store_journal", "the journal is not used any more: a write of it failed",
            LS("error", err_text(err)));
        return false; /* log/ has its own room, and its own word on the disk */
    }
    s->log_last = last;
    for (struct list *at = ops->next; at != ops; at = at->next)
        atomic_fetch_add(&s->journalled, 1);
    ops_finish(s, ops, 0);
    pthread_mutex_lock(&s->lock);
    if (!s->lags)
        s->flush_ns = clock_mono_ns() + s->log_flush_ns;
    s->lags_from = s->lags && s->lags_from < from ? s->lags_from : from;
    s->lags = true;
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* ---- the thread ---- */

static bool flush_due(const struct store *s)
{
    return s->lags && (s->flush_wanted || clock_mono_ns() >= s->flush_ns);
}

static void wait_for_work(struct store *s)
{
    while (!s->stopping && list_is_empty(&s->log_queue.ops) && !flush_due(s)) {
        uint64_t now = clock_mono_ns();
        struct timespec until = mono_in(s->flush_ns > now ? s->flush_ns - now : 0);
        if (s->lags)
            pthread_cond_timedwait(&s->log_wake, &s->lock, &until);
        else
            pthread_cond_wait(&s->log_wake, &s->lock);
    }
}

void *logger_main(void *arg)
{
    struct store *s = arg;
    sched_wake_soon();
    for (bool stop = false; !stop;) {
        struct list ops, done;
        list_init(&ops);
        list_init(&done);
        pthread_mutex_lock(&s->lock);
        wait_for_work(s);
        ops_take(&s->log_queue, &ops, SIZE_MAX, SIZE_MAX);
        atomic_store(&s->queue_depth, s->log_queue.count + s->state_queue.count);
        stop = s->stopping && list_is_empty(&ops);
        bool must_flush = s->lags && (stop || flush_due(s));
        pthread_mutex_unlock(&s->lock);
        if (list_is_empty(&ops)) {
            if (must_flush)
                flush(s);
            continue;
        }
        bool journalled = !must_flush && journal(s, &ops);
        if (!journalled)
            commit(s, &ops, &done);
        ops_return(s, journalled ? &ops : &done);
    }
    return NULL;
}

int log_settle(struct store *s, uint64_t last)
{
    int err = 0;
    pthread_mutex_lock(&s->lock);
    if (s->lags && last >= s->lags_from) {
        uint64_t before = s->flushes;
        s->flush_wanted = true;
        pthread_cond_signal(&s->log_wake);
        while (s->lags && s->flushes == before)
            pthread_cond_wait(&s->flushed, &s->lock);
        err = s->lags ? s->flush_err : 0;
    }
    pthread_mutex_unlock(&s->lock);
    return err;
}
