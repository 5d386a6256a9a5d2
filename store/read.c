/* SPDX-License-Identifier: Apache-2.0
 * Reading rows from a snapshot. Any thread. */
#include "store/store_int.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"

#define SCAN_AHEAD_BYTES 4096u

/* What a walk over rows ended with, for the caller: fn's verdict or LMDB's. */
int scan_end(int err, int rc)
{
    if (err != 0)
        return err > 0 ? 0 : err;
    return rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

int cursors_open(MDB_txn *txn, MDB_dbi first, MDB_dbi second, MDB_cursor *ret[2])
{
    int rc = mdb_cursor_open(txn, first, &ret[0]);
    if (rc == 0 && (rc = mdb_cursor_open(txn, second, &ret[1])) != 0)
        mdb_cursor_close(ret[0]);
    return store_err(rc);
}

void cursors_close(MDB_cursor *cursors[2])
{
    mdb_cursor_close(cursors[1]);
    mdb_cursor_close(cursors[0]);
}

int row_at(struct store_txn *txn, MDB_cursor *rows, const MDB_val *row_key_val, const char *from,
           struct store_row *ret)
{
    MDB_val key = *row_key_val;
    MDB_val val;
    int rc = mdb_cursor_get(rows, &key, &val, MDB_SET);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return store_err(rc);
    if (rc == 0 && row_read(row_key_val, &val, ret) == 0)
        return 0;
    store_want_repair(txn->store, from);
    return ERR_NOTFOUND;
}

int store_get_ref(struct store_txn *txn, uint8_t kind, const char *key, size_t key_len,
                  struct store_row *ret)
{
    uint8_t bytes[ROW_KEY_MAX];
    if (key_len == 0 || key_len > RECORD_KEY_MAX)
        return ERR_NOTFOUND;
    MDB_val k = {row_key(kind, key, key_len, bytes), bytes};
    MDB_val val;
    if (txn->past != NULL)
        return past_get(txn, &k, ret);
    int rc = mdb_get(txn->txn, txn->store->rows, &k, &val);
    if (rc != 0)
        return store_err(rc);
    if (row_read(&k, &val, ret) != 0) {
        store_want_repair(txn->store, "a row is damaged");
        return ERR_NOTFOUND;
    }
    return record_has_key(&ret->record, key, key_len) ? 0 : ERR_NOTFOUND;
}

static bool key_is(const MDB_val *key, const void *bytes, size_t len)
{
    return key->mv_size == len && memcmp(key->mv_data, bytes, len) == 0;
}

/* Where a scan by key begins; the length of a row key that it begins behind, 0: none. */
size_t scan_start(const struct store_query *q, uint8_t bytes[ROW_KEY_MAX], MDB_val *ret)
{
    size_t after = 0;
    bytes[0] = q->kind;
    if (q->after_key != NULL && q->after_key_len > 0)
        after = row_key(q->kind, q->after_key, q->after_key_len, bytes);
    *ret = (MDB_val){after == 0 ? 1 : after, bytes};
    return after;
}

/* One row to the callback: 0, 1 to stop, or an error. */
static int deliver(const struct store_query *q, const struct store_row *row, store_scan_fn fn,
                   void *arg)
{
    if (row->record.deleted && !q->with_deleted)
        return 0;
    return fn(arg, row);
}

/* Rows lie all over the file, and waiting for memory is most of what a scan costs: while one row is
 * looked at, the next one's bytes are on their way. */
static int fetch_row(MDB_cursor *cursor, MDB_val *key, MDB_val *val, MDB_cursor_op op)
{
    int rc = mdb_cursor_get(cursor, key, val, op);
    for (size_t at = 0; rc == 0 && at < val->mv_size && at < SCAN_AHEAD_BYTES; at += 64)
        __builtin_prefetch((const char *)val->mv_data + at);
    return rc;
}

static int scan_rows(struct store_txn *txn, const struct store_query *q, store_scan_fn fn,
                     void *arg)
{
    uint8_t bytes[ROW_KEY_MAX];
    MDB_cursor *cursor;
    MDB_val ahead;
    MDB_val ahead_val;
    size_t after = scan_start(q, bytes, &ahead);
    int rc = mdb_cursor_open(txn->txn, txn->store->rows, &cursor);
    if (rc != 0)
        return store_err(rc);
    int err = 0;
    rc = fetch_row(cursor, &ahead, &ahead_val, MDB_SET_RANGE);
    while (rc == 0 && err == 0) {
        struct store_row row;
        MDB_val key = ahead, val = ahead_val;
        if (key.mv_size == 0 || *(const uint8_t *)key.mv_data != q->kind)
            break;
        rc = fetch_row(cursor, &ahead, &ahead_val, MDB_NEXT);
        if (after > 0 && key_is(&key, bytes, after))
            continue;
        if (row_read(&key, &val, &row) != 0)
            store_want_repair(txn->store, "a row is damaged");
        else
            err = deliver(q, &row, fn, arg);
    }
    mdb_cursor_close(cursor);
    return scan_end(err, rc);
}

struct index_scan {
    const struct store_query *q;
    uint8_t prefix[INDEX_PREFIX];
    uint64_t live; /* rows of that value met */
};

void index_row_key(const MDB_val *entry, uint8_t bytes[ROW_KEY_MAX], MDB_val *ret)
{
    const uint8_t *p = entry->mv_data;
    size_t len = entry->mv_size - INDEX_PREFIX;
    bytes[0] = p[0];
    memcpy(bytes + 1, p + INDEX_PREFIX, len);
    *ret = (MDB_val){len + 1, bytes};
}

/* The row behind an index entry, if it is what the query asks for. */
static int index_row(struct store_txn *txn, struct index_scan *is, const MDB_val *entry,
                     MDB_cursor *rows, struct store_row *ret)
{
    uint8_t bytes[ROW_KEY_MAX];
    MDB_val key;
    struct row fields;
    index_row_key(entry, bytes, &key);
    int err = row_at(txn, rows, &key, "an index entry has no sound row", ret);
    if (err != 0)
        return err;
    if (!row_fields(&ret->record, &fields) || !row_has(&fields, is->q->field, is->q->value))
        return ERR_NOTFOUND;
    is->live += !ret->record.deleted;
    return 0;
}

static int walk_index(struct store_txn *txn, struct index_scan *is, MDB_cursor *index,
                      MDB_cursor *rows, store_scan_fn fn, void *arg)
{
    const struct store_query *q = is->q;
    uint8_t after_bytes[ROW_KEY_MAX], bytes[INDEX_PREFIX + ROW_KEY_MAX];
    MDB_val after;
    MDB_val val;
    size_t tail = scan_start(q, after_bytes, &after);
    MDB_val key = {INDEX_PREFIX + after.mv_size - 1, bytes};
    int rc;
    memcpy(bytes, is->prefix, INDEX_PREFIX);
    memcpy(bytes + INDEX_PREFIX, after_bytes + 1, after.mv_size - 1);
    size_t begin = key.mv_size;
    for (rc = mdb_cursor_get(index, &key, &val, MDB_SET_RANGE); rc == 0;
         rc = mdb_cursor_get(index, &key, &val, MDB_NEXT)) {
        struct store_row row;
        if (key.mv_size < INDEX_PREFIX || memcmp(key.mv_data, is->prefix, INDEX_PREFIX) != 0)
            break;
        if (key.mv_size >= INDEX_PREFIX + ROW_KEY_MAX || (tail > 0 && key_is(&key, bytes, begin)))
            continue;
        int err = index_row(txn, is, &key, rows, &row);
        if (err == 0)
            err = deliver(q, &row, fn, arg);
        else if (err == ERR_NOTFOUND)
            err = 0;
        if (err != 0)
            return err > 0 ? 1 : err;
    }
    return rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

static int scan_index(struct store_txn *txn, const struct store_query *q, store_scan_fn fn,
                      void *arg)
{
    struct index_scan is = {.q = q};
    MDB_cursor *cursors[2];
    int err = cursors_open(txn->txn, txn->store->index, txn->store->rows, cursors);
    if (err != 0)
        return err;
    index_prefix(q->kind, q->field, q->value, strlen(q->value), is.prefix);
    err = walk_index(txn, &is, cursors[0], cursors[1], fn, arg);
    cursors_close(cursors);
    /* A whole scan knows how many there should have been: a lost entry shows here. */
    uint64_t count = 0;
    if (err == 0 && q->after_key == NULL &&
        (counts_get(txn->txn, txn->store->counts, is.prefix, &count) != 0 || count != is.live))
        store_want_repair(txn->store, "an index and its count disagree");
    return err > 0 ? 0 : err;
}

int store_scan(struct store_txn *txn, const struct store_query *query, store_scan_fn fn, void *arg)
{
    if (query->after_key != NULL && query->after_key_len > RECORD_KEY_MAX)
        return ERR_BADPARAM;
    if (query->field != 0 && !field_finds(query->field, query->value))
        return ERR_BADPARAM;
    if (txn->past != NULL)
        return past_scan(txn, query, fn, arg);
    if (query->field == 0)
        return scan_rows(txn, query, fn, arg);
    return scan_index(txn, query, fn, arg);
}

static int count_row(void *arg, const struct store_row *row)
{
    (void)row;
    ++*(uint64_t *)arg;
    return 0;
}

int store_count(struct store_txn *txn, uint8_t kind, enum row_field field, const char *value,
                uint64_t *ret)
{
    uint8_t prefix[INDEX_PREFIX];
    if (field != 0 && !field_finds(field, value))
        return ERR_BADPARAM;
    if (txn->past != NULL) {
        struct store_query q = {.kind = kind, .field = field, .value = value};
        *ret = 0;
        return past_scan(txn, &q, count_row, ret);
    }
    index_prefix(kind, field, field == 0 ? NULL : value, field == 0 ? 0 : strlen(value), prefix);
    int rc = counts_get(txn->txn, txn->store->counts, prefix, ret);
    if (rc == ERR_CORRUPT)
        store_want_repair(txn->store, "a count is damaged");
    return store_err(rc);
}

/* ---- change log ---- */

const struct head *txn_head(struct store_txn *txn)
{
    if (!txn->have_head) {
        MDB_val key = {4, (void *)(uintptr_t) "head"};
        MDB_val val;
        if (mdb_get(txn->txn, txn->store->meta, &key, &val) != 0 ||
            head_decode(&val, &txn->head) != 0) {
            store_want_repair(txn->store, "the head record is damaged");
            memset(&txn->head, 0, sizeof txn->head);
        }
        txn->have_head = true;
    }
    return &txn->head;
}

uint64_t store_txn_index(struct store_txn *txn, uint8_t kind)
{
    return kind < RECORD_KIND_END ? txn_head(txn)->index[kind] : 0;
}

uint64_t store_kinds_index(const struct store *s, struct store_txn *txn, uint32_t kinds)
{
    uint64_t highest = 0;
    for (uint8_t kind = 1; kind < RECORD_KIND_END; kind++)
        if (kinds & 1u << kind) {
            uint64_t index = txn == NULL ? store_index(s, kind) : store_txn_index(txn, kind);
            highest = index > highest ? index : highest;
        }
    return highest;
}

uint64_t store_oldest_change(struct store_txn *txn)
{
    return changes_oldest(txn_head(txn)->index[0]);
}

int store_changes(struct store_txn *txn, uint8_t kind, uint64_t from, store_scan_fn fn, void *arg)
{
    uint64_t oldest = store_oldest_change(txn);
    uint8_t bytes[8];
    MDB_cursor *cursors[2];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val;
    if (from < oldest && !(from == 0 && oldest == 1))
        return ERR_VERSION;
    int err = cursors_open(txn->txn, txn->store->changes, txn->store->rows, cursors);
    if (err != 0)
        return err;
    put_be64(bytes, from);
    int rc;
    for (rc = mdb_cursor_get(cursors[0], &key, &val, MDB_SET_RANGE); rc == 0 && err == 0;
         rc = err == 0 ? mdb_cursor_get(cursors[0], &key, &val, MDB_NEXT) : 0) {
        struct store_row row;
        if (val.mv_size < ROW_KEY_MIN || (kind != 0 && *(const uint8_t *)val.mv_data != kind))
            continue;
        err = row_at(txn, cursors[1], &val, "a change has no sound row", &row);
        if (err == 0 && key.mv_size == 8 && row.index == get_be64(key.mv_data)) {
            err = fn(arg, &row);
        } else if (err == 0) {
            store_want_repair(txn->store, "a change is of another row");
        } else if (err == ERR_NOTFOUND) {
            err = 0;
        }
    }
    cursors_close(cursors);
    return scan_end(err, rc);
}
