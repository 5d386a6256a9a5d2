/* SPDX-License-Identifier: Apache-2.0
 * Time travel: each row that is replaced goes to the table `past`, in the order of the changes that
 * replaced them, so that it is written at one end and trimmed at the other. A reader that wants the
 * rows of an earlier time walks back to it and holds the rows of then over those of now.
 *
 * A time means what this agent had stored by then: its answer at that time, given again. */
#include "store/store_int.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"

/* Checksum of what stands before the row (which has its own), when it was replaced, key length. */
#define PAST_HEADER 18u

/* ---- writing (writer thread) ---- */

static uint64_t cost(size_t value_bytes)
{
    return value_bytes <= NODE_MAX
               ? value_bytes + 18
               : (value_bytes + 16 + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES + 34;
}

int past_put(struct store *s, MDB_txn *txn, uint64_t index, const MDB_val *row_key_val,
             const void *row, size_t row_bytes, int64_t now_unix_ms)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val = {PAST_HEADER + row_key_val->mv_size + row_bytes, NULL};
    uint8_t kind = *(const uint8_t *)row_key_val->mv_data;
    if (s->past_ms == 0 || kind == RECORD_TEST || kind == RECORD_SETTING)
        return 0;
    put_be64(bytes, index);
    int rc = mdb_put(txn, s->past, &key, &val, MDB_RESERVE | MDB_APPEND);
    if (rc == MDB_KEYEXIST) /* out of order only after damage */
        rc = mdb_put(txn, s->past, &key, &val, MDB_RESERVE);
    if (rc != 0)
        return rc;
    uint8_t *p = val.mv_data;
    uint64_t ended = htole64((uint64_t)now_unix_ms);
    uint16_t key_len = htole16((uint16_t)row_key_val->mv_size);
    memcpy(p + 8, &ended, 8);
    memcpy(p + 16, &key_len, 2);
    memcpy(p + PAST_HEADER, row_key_val->mv_data, row_key_val->mv_size);
    memcpy(p + PAST_HEADER + row_key_val->mv_size, row, row_bytes);
    uint64_t sum = htole64(checksum(&key, p + 8, PAST_HEADER - 8 + row_key_val->mv_size));
    memcpy(p, &sum, 8);
    s->head.past_bytes += cost(val.mv_size);
    return 0;
}

struct past_row {
    int64_t ended_unix_ms;
    MDB_val row_key, row;
};

static int entry_read(const MDB_val *key, const MDB_val *val, struct past_row *ret)
{
    const uint8_t *p = val->mv_data;
    uint64_t sum, ended;
    uint16_t key_len;
    if (val->mv_size < PAST_HEADER)
        return ERR_CORRUPT;
    memcpy(&sum, p, 8);
    memcpy(&ended, p + 8, 8);
    memcpy(&key_len, p + 16, 2);
    key_len = le16toh(key_len);
    if (key->mv_size != 8 || val->mv_size < PAST_HEADER + (size_t)key_len ||
        le64toh(sum) != checksum(key, p + 8, PAST_HEADER - 8 + key_len))
        return ERR_CORRUPT;
    *ret = (struct past_row){
        (int64_t)le64toh(ended),
        {key_len, (void *)(uintptr_t)(p + PAST_HEADER)},
        {val->mv_size - PAST_HEADER - key_len, (void *)(uintptr_t)(p + PAST_HEADER + key_len)}};
    return 0;
}

/* Drops the oldest until both bounds hold. */
int past_trim(struct store *s, MDB_txn *txn, int64_t now_unix_ms)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    int64_t horizon = now_unix_ms - (int64_t)s->past_ms;
    int rc = mdb_cursor_open(txn, s->past, &cursor);
    if (rc != 0)
        return rc;
    for (unsigned n = 0; n < PAST_TRIM_MAX; n++) {
        struct past_row old;
        if ((rc = mdb_cursor_get(cursor, &key, &val, MDB_FIRST)) != 0)
            break;
        bool sound = entry_read(&key, &val, &old) == 0;
        if (s->past_ms != 0 && sound && s->head.past_bytes <= s->past_bytes_max &&
            old.ended_unix_ms >= horizon)
            break;
        uint64_t freed = cost(val.mv_size);
        s->head.past_bytes -= freed < s->head.past_bytes ? freed : s->head.past_bytes;
        if (sound && s->past_ms != 0 && old.ended_unix_ms > (int64_t)s->head.past_since)
            s->head.past_since = (uint64_t)old.ended_unix_ms;
        if ((rc = mdb_cursor_del(cursor, 0)) != 0)
            break;
    }
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        s->head.past_bytes = 0;
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* A row went away that no entry tells of. */
void past_forget(struct store *s, int64_t now_unix_ms)
{
    s->head.past_since = s->past_ms == 0 ? 0 : (uint64_t)now_unix_ms;
}

/* At opening: what was replaced while nothing was kept cannot be told. */
void past_begin(struct store *s, int64_t now_unix_ms)
{
    if (s->past_ms == 0 || s->head.past_since == 0)
        past_forget(s, now_unix_ms);
}

/* ---- reading (any thread) ---- */

struct over { /* the row that a key had then */
    MDB_val key, row;
    uint64_t index;
};

struct past {
    int64_t at_unix_ms;
    struct over *rows; /* by key */
    size_t count, cap;
};

static int compare_keys(const MDB_val *a, const MDB_val *b)
{
    size_t n = a->mv_size < b->mv_size ? a->mv_size : b->mv_size;
    int order = memcmp(a->mv_data, b->mv_data, n);
    return order != 0 ? order : (a->mv_size > b->mv_size) - (a->mv_size < b->mv_size);
}

static int by_key_then_age(const void *a, const void *b)
{
    const struct over *x = a, *y = b;
    int order = compare_keys(&x->key, &y->key);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int add_over(struct past *p, const struct past_row *row, uint64_t index)
{
    if (p->count == p->cap) {
        size_t cap = p->cap == 0 ? 256 : 2 * p->cap;
        struct over *rows = realloc(p->rows, cap * sizeof *rows);
        if (rows == NULL)
            return ERR_NOMEM;
        p->rows = rows;
        p->cap = cap;
    }
    p->rows[p->count++] = (struct over){row->row_key, row->row, index};
    return 0;
}

/* From the last change back to the time; of several rows of a key the oldest was there then. */
static int collect(struct store_txn *txn, struct past *p)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    int err = 0;
    int rc = mdb_cursor_open(txn->txn, txn->store->past, &cursor);
    if (rc != 0)
        return store_err(rc);
    for (rc = mdb_cursor_get(cursor, &key, &val, MDB_LAST); rc == 0 && err == 0;
         rc = err == 0 ? mdb_cursor_get(cursor, &key, &val, MDB_PREV) : 0) {
        struct past_row row;
        if (entry_read(&key, &val, &row) != 0) {
            store_want_repair(txn->store, "an earlier row is damaged");
            continue;
        }
        if (row.ended_unix_ms <= p->at_unix_ms)
            break;
        err = add_over(p, &row, get_be64(key.mv_data));
    }
    mdb_cursor_close(cursor);
    if (err != 0 || (rc != 0 && rc != MDB_NOTFOUND))
        return err != 0 ? err : store_err(rc);
    if (p->count == 0)
        return 0;
    qsort(p->rows, p->count, sizeof p->rows[0], by_key_then_age);
    size_t kept = 1;
    for (size_t i = 1; i < p->count; i++)
        if (compare_keys(&p->rows[i].key, &p->rows[kept - 1].key) != 0)
            p->rows[kept++] = p->rows[i];
    p->count = kept;
    return 0;
}

int64_t store_past_since(struct store_txn *txn, int64_t now_unix_ms)
{
    int64_t since = (int64_t)txn_head(txn)->past_since;
    int64_t horizon = now_unix_ms - (int64_t)txn->store->past_ms;
    if (txn->store->past_ms == 0 || since == 0)
        return now_unix_ms;
    return since > horizon ? since : horizon;
}

int store_rewind(struct store_txn *txn, int64_t at_unix_ms, int64_t now_unix_ms)
{
    ENSURE(txn->past == NULL);
    if (at_unix_ms < store_past_since(txn, now_unix_ms))
        return ERR_VERSION;
    struct past *p = calloc(1, sizeof *p);
    if (p == NULL)
        return ERR_NOMEM;
    p->at_unix_ms = at_unix_ms;
    txn->past = p;
    int err = collect(txn, p);
    if (err != 0)
        past_free(txn);
    return err;
}

void past_free(struct store_txn *txn)
{
    if (txn->past != NULL)
        free(txn->past->rows);
    free(txn->past);
    txn->past = NULL;
}

/* First of the rows of then whose key is not below; count: none. */
static size_t lower_bound(const struct past *p, const MDB_val *key)
{
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (compare_keys(&p->rows[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* 0, or ERR_NOTFOUND: damaged, or it came later. */
static int row_of_then(struct store_txn *txn, const MDB_val *key, const MDB_val *val,
                       struct store_row *ret)
{
    if (row_read(key, val, ret) != 0) {
        store_want_repair(txn->store, "a row is damaged");
        return ERR_NOTFOUND;
    }
    return ret->stored_unix_ms <= txn->past->at_unix_ms ? 0 : ERR_NOTFOUND;
}

int past_get(struct store_txn *txn, const MDB_val *row_key_val, struct store_row *ret)
{
    const struct past *p = txn->past;
    MDB_val key = *row_key_val;
    MDB_val val;
    size_t i = lower_bound(p, &key);
    if (i < p->count && compare_keys(&p->rows[i].key, &key) == 0)
        return row_of_then(txn, &key, &p->rows[i].row, ret);
    int rc = mdb_get(txn->txn, txn->store->rows, &key, &val);
    return rc != 0 ? store_err(rc) : row_of_then(txn, row_key_val, &val, ret);
}

static int offer(struct store_txn *txn, const struct store_query *q, const MDB_val *key,
                 const MDB_val *val, store_scan_fn fn, void *arg)
{
    struct store_row row;
    struct row fields;
    if (row_of_then(txn, key, val, &row) != 0 || (row.record.deleted && !q->with_deleted))
        return 0;
    if (q->field != 0 &&
        (!row_fields(&row.record, &fields) || !row_has(&fields, q->field, q->value)))
        return 0;
    return fn(arg, &row);
}

/* The indexes are of now, so each row of the kind is looked at: those of now and those of then,
 * merged by key. */
int past_scan(struct store_txn *txn, const struct store_query *q, store_scan_fn fn, void *arg)
{
    const struct past *p = txn->past;
    uint8_t bytes[ROW_KEY_MAX];
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    size_t after = scan_start(q, bytes, &key);
    const MDB_val start = {after, bytes};
    size_t i = lower_bound(p, &key);
    int err = store_err(mdb_cursor_open(txn->txn, txn->store->rows, &cursor));
    if (err != 0)
        return err;
    int rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE);
    while (err == 0 && (rc == 0 || i < p->count)) {
        const struct over *then = i < p->count ? &p->rows[i] : NULL;
        int order = rc != 0 ? 1 : then == NULL ? -1 : compare_keys(&key, &then->key);
        const MDB_val at = order < 0 ? key : then->key;
        if (*(const uint8_t *)at.mv_data != q->kind)
            break;
        if (after == 0 || compare_keys(&at, &start) != 0)
            err = offer(txn, q, &at, order < 0 ? &val : &then->row, fn, arg);
        i += order >= 0;
        if (order <= 0 && err == 0)
            rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return scan_end(err, rc);
}

/* An earlier row and when it ended, out of its entry. */
static int earlier_read(const MDB_val *key, const MDB_val *val, struct past_row *ret_old,
                        struct store_row *ret)
{
    int err = entry_read(key, val, ret_old);
    return err != 0 ? err : row_read(&ret_old->row_key, &ret_old->row, ret);
}

int store_past(struct store_txn *txn, uint8_t kind, store_past_fn fn, void *arg)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    int rc = mdb_cursor_open(txn->txn, txn->store->past, &cursor);
    if (rc != 0)
        return store_err(rc);
    int err = 0;
    for (rc = mdb_cursor_get(cursor, &key, &val, MDB_LAST); rc == 0 && err == 0;
         rc = err == 0 ? mdb_cursor_get(cursor, &key, &val, MDB_PREV) : 0) {
        struct past_row old;
        struct store_row row;
        if (earlier_read(&key, &val, &old, &row) != 0)
            store_want_repair(txn->store, "an earlier row is damaged");
        else if (row.record.kind == kind)
            err = fn(arg, &row, old.ended_unix_ms);
    }
    mdb_cursor_close(cursor);
    return scan_end(err, rc);
}

/* What is trimmed is older than what is kept: from the first entry on they are whole. */
int store_replaced(struct store_txn *txn, uint8_t kind, uint64_t after, store_scan_fn fn, void *arg)
{
    uint8_t bytes[8];
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    int rc = mdb_cursor_open(txn->txn, txn->store->past, &cursor);
    if (rc != 0)
        return store_err(rc);
    int err = 0;
    rc = mdb_cursor_get(cursor, &key, &val, MDB_FIRST);
    if (rc == MDB_NOTFOUND || (rc == 0 && get_be64(key.mv_data) > after + 1)) {
        mdb_cursor_close(cursor);
        return ERR_VERSION;
    }
    put_be64(bytes, after + 1);
    key = (MDB_val){sizeof bytes, bytes};
    if (rc == 0)
        rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE);
    for (; rc == 0 && err == 0; rc = err == 0 ? mdb_cursor_get(cursor, &key, &val, MDB_NEXT) : 0) {
        struct past_row old;
        struct store_row row;
        if (earlier_read(&key, &val, &old, &row) != 0)
            err = ERR_VERSION; /* what it was is not known any more */
        else if (row.record.kind == kind)
            err = fn(arg, &row);
    }
    mdb_cursor_close(cursor);
    return scan_end(err, rc);
}

int store_earlier(struct store_txn *txn, uint64_t after, store_earlier_fn fn, void *arg)
{
    uint8_t bytes[8];
    MDB_cursor *cursor;
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val;
    int err = 0;
    int rc = mdb_cursor_open(txn->txn, txn->store->past, &cursor);
    if (rc != 0)
        return store_err(rc);
    put_be64(bytes, after + 1);
    for (rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE); rc == 0 && err == 0;
         rc = err == 0 ? mdb_cursor_get(cursor, &key, &val, MDB_NEXT) : 0) {
        struct past_row old;
        if (entry_read(&key, &val, &old) != 0)
            store_want_repair(txn->store, "an earlier row is damaged");
        else
            err = fn(arg, *(const uint8_t *)old.row_key.mv_data, row_index(&old.row),
                     get_be64(key.mv_data));
    }
    mdb_cursor_close(cursor);
    return scan_end(err, rc);
}

int store_before(struct store_txn *txn, uint64_t index, struct store_row *ret)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val;
    struct past_row old;
    put_be64(bytes, index);
    int rc = mdb_get(txn->txn, txn->store->past, &key, &val);
    if (rc != 0)
        return store_err(rc);
    return earlier_read(&key, &val, &old, ret) != 0 ? ERR_NOTFOUND : 0;
}
