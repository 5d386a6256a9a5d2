/* SPDX-License-Identifier: Apache-2.0
 * What is done about a damaged row: readers treat it as absent and ask for a repair; the
 * writer then drops every row whose checksum is wrong and builds all derived tables anew
 * from the sound ones. Its peers' fingerprints differ from then on, so anti-entropy brings
 * the dropped rows back. */
#include "store/store_int.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

/* Any thread. */
void store_want_repair(struct store *s, const char *what)
{
    uint64_t before = atomic_fetch_add(&s->damaged, 1);
    if (!atomic_exchange(&s->repair_wanted, true)) {
        LOG(LOG_ERROR, "store_damage", "stored data is damaged; it is dropped and fetched again",
            LS("what", what), LU("seen", before + 1));
        pthread_mutex_lock(&s->lock);
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
    }
}

int store_rows_derive(struct store *s, MDB_txn *txn, const struct store_row *row,
                      const MDB_val *key)
{
    int rc = index_update(s, txn, NULL, &row->record);
    if (rc == 0 && row->index >= changes_oldest(s->head.index[0]))
        rc = changes_put(s, txn, row->index, key);
    return rc != 0 ? rc : prints_put(s, txn, &row->record);
}

int row_hold(struct store *s, const MDB_val *key, const MDB_val *val, uint8_t bytes[ROW_KEY_MAX],
             MDB_val *ret_key, struct store_row *ret)
{
    memcpy(bytes, key->mv_data, key->mv_size);
    *ret_key = (MDB_val){key->mv_size, bytes};
    buf_clear(&s->scratch);
    int err = buf_put(&s->scratch, val->mv_data, val->mv_size);
    MDB_val held = {val->mv_size, s->scratch.data};
    return err != 0 ? err : row_read(ret_key, &held, ret);
}

static int rebuild(struct store *s, MDB_txn *txn, uint64_t *ret_dropped)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    int rc = mdb_cursor_open(txn, s->rows, &cursor);
    if (rc != 0)
        return rc;
    for (rc = mdb_cursor_get(cursor, &key, &val, MDB_FIRST); rc == 0;
         rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) {
        uint8_t bytes[ROW_KEY_MAX];
        MDB_val held;
        struct store_row row;
        if (row_read(&key, &val, &row) == 0 && row.index <= s->head.index[0]) {
            if ((rc = row_hold(s, &key, &val, bytes, &held, &row)) != 0 ||
                (rc = store_rows_derive(s, txn, &row, &held)) != 0)
                break;
        } else {
            ++*ret_dropped;
            if ((rc = mdb_cursor_del(cursor, 0)) != 0)
                break;
        }
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int store_rows_repair(struct store *s)
{
    MDB_txn *txn;
    uint64_t dropped = 0;
    atomic_store(&s->repair_wanted, false);
    uint64_t started = clock_mono_ms();
    int rc = mdb_txn_begin(s->state.env, NULL, 0, &txn);
    if (rc != 0)
        return store_err(rc);
    counts_drop(s);
    if ((rc = mdb_drop(txn, s->index, 0)) == 0 && (rc = ordered_clear(s, txn)) == 0 &&
        (rc = mdb_drop(txn, s->counts, 0)) == 0 && (rc = mdb_drop(txn, s->changes, 0)) == 0 &&
        (rc = mdb_drop(txn, s->prints, 0)) == 0 && (rc = mdb_drop(txn, s->past, 0)) == 0 &&
        (rc = rebuild(s, txn, &dropped)) == 0 && (rc = counts_flush(s, txn)) == 0) {
        past_forget(s, clock_unix_ms());
        s->head.past_bytes = 0;
        rc = store_rows_save_head(s, txn);
        rc = rc == 0 ? mdb_txn_commit(txn) : (mdb_txn_abort(txn), rc);
    } else {
        mdb_txn_abort(txn);
    }
    counts_drop(s);
    LOG(rc == 0 ? LOG_WARN : LOG_ERROR, "store_repair",
        rc == 0 ? "damaged rows were dropped and the indexes rebuilt"
                : "the repair failed; it is tried again later",
        LU("dropped", dropped), LU("ms", clock_mono_ms() - started),
        LS("error", rc == 0 ? "none" : err_text(store_err(rc))));
    if (rc != 0)
        atomic_store(&s->repair_wanted, true);
    return store_err(rc);
}
