/* SPDX-License-Identifier: Apache-2.0
 * Snapshots for readers, and the map under them. Ended snapshots are kept for the next reader.
 * LMDB's map can be made larger only while nobody reads: the writer then holds new readers back and
 * waits for the present ones, but never for long. */
#include "store/store_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

#define GROW_WAIT_MS 1000u

/* Takes part in the count of readers from here on. */
static struct store_txn *enter(struct store *s)
{
    pthread_mutex_lock(&s->pool_lock);
    while (s->growing)
        pthread_cond_wait(&s->pool_change, &s->pool_lock);
    s->readers++;
    struct store_txn *t = s->pool;
    if (t != NULL) {
        s->pool = t->next;
        s->pool_count--;
    }
    pthread_mutex_unlock(&s->pool_lock);
    return t;
}

/* txn is kept, if there is room for it; else it is given back for its owner to end. */
static struct store_txn *leave(struct store *s, struct store_txn *txn)
{
    pthread_mutex_lock(&s->pool_lock);
    if (txn != NULL && s->pool_count < STORE_POOL) {
        txn->next = s->pool;
        s->pool = txn;
        s->pool_count++;
        txn = NULL;
    }
    if (--s->readers == 0 && s->growing)
        pthread_cond_broadcast(&s->pool_change);
    pthread_mutex_unlock(&s->pool_lock);
    return txn;
}

int store_read_begin(struct store *s, struct store_txn **ret)
{
    struct store_txn *t = enter(s);
    int rc = 0;
    if (t != NULL) {
        rc = mdb_txn_renew(t->txn);
        if (rc != 0)
            mdb_txn_abort(t->txn);
    } else if ((t = calloc(1, sizeof *t)) == NULL) {
        rc = ERR_NOMEM;
    } else {
        t->store = s;
        rc = mdb_txn_begin(s->state.env, NULL, MDB_RDONLY, &t->txn);
    }
    if (rc != 0) {
        free(t);
        (void)leave(s, NULL);
        return store_err(rc);
    }
    t->have_head = false;
    *ret = t;
    return 0;
}

void store_read_end(struct store_txn *txn)
{
    past_free(txn);
    mdb_txn_reset(txn->txn);
    txn = leave(txn->store, txn);
    if (txn != NULL) {
        mdb_txn_abort(txn->txn);
        free(txn);
    }
}

/* New readers wait from here on. False: the present ones did not end in time. */
static bool hold_readers(struct store *s, uint64_t wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(wait_ms / 1000);
    pthread_mutex_lock(&s->pool_lock);
    s->growing = true;
    int rc = 0;
    while (s->readers > 0 && wait_ms > 0 && rc == 0)
        rc = pthread_cond_timedwait(&s->pool_change, &s->pool_lock, &until);
    bool alone = s->readers == 0;
    pthread_mutex_unlock(&s->pool_lock);
    return alone;
}

static void let_readers(struct store *s)
{
    pthread_mutex_lock(&s->pool_lock);
    s->growing = false;
    pthread_cond_broadcast(&s->pool_change);
    pthread_mutex_unlock(&s->pool_lock);
}

static int grow(struct store *s, uint64_t wait_ms)
{
    MDB_envinfo info = {0};
    int rc = mdb_env_info(s->state.env, &info);
    if (rc != 0 || info.me_mapsize >= s->state_map_max)
        return ERR_FULL;
    size_t next = info.me_mapsize < s->state_map_max / 2 ? info.me_mapsize * 2 : s->state_map_max;
    int err = ERR_FULL;
    if (hold_readers(s, wait_ms)) {
        rc = mdb_env_set_mapsize(s->state.env, next);
        err = rc == 0 ? 0 : store_err(rc);
    }
    let_readers(s);
    if (err == 0)
        LOG(LOG_INFO, "store_grown", "the map of the state database is larger now",
            LU("bytes", next));
    return err;
}

int store_map_grow(struct store *s)
{
    return grow(s, GROW_WAIT_MS);
}

void store_map_tend(struct store *s)
{
    MDB_envinfo info = {0};
    MDB_stat stat = {0};
    if (mdb_env_info(s->state.env, &info) == 0 && mdb_env_stat(s->state.env, &stat) == 0 &&
        (info.me_last_pgno + 1) * stat.ms_psize > info.me_mapsize / 4 * 3)
        (void)grow(s, 0);
}
