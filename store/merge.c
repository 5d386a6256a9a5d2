/* SPDX-License-Identifier: Apache-2.0
 * Rows of several values of a field in the order of their keys: the entries of each value are in
 * that order already, so they are merged, and as few rows are read as are taken. Any thread. */
#include "store/store_int.h"

#include <stdlib.h>
#include <string.h>

/* The next entry of a value; LMDB's bytes stay where they are while the snapshot lasts. */
struct source {
    MDB_val entry;
    const char *value;
};

struct merge {
    struct store_txn *txn;
    const struct store_values_query *q;
    MDB_cursor *cursors[2]; /* index, rows */
    struct source *heap;    /* the first entry at the root */
    size_t count;
};

static int compare_bytes(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

int store_key_compare(uint8_t kind, const char *a, size_t a_len, const char *b, size_t b_len)
{
    uint8_t x[ROW_KEY_MAX], y[ROW_KEY_MAX];
    size_t x_len = row_key(kind, a, a_len, x), y_len = row_key(kind, b, b_len, y);
    return compare_bytes(x, x_len, y, y_len);
}

static bool is_before(const struct source *a, const struct source *b)
{
    return compare_bytes((const uint8_t *)a->entry.mv_data + INDEX_PREFIX,
                         a->entry.mv_size - INDEX_PREFIX,
                         (const uint8_t *)b->entry.mv_data + INDEX_PREFIX,
                         b->entry.mv_size - INDEX_PREFIX) < 0;
}

static void sift_down(struct merge *m, size_t at)
{
    for (size_t child; (child = 2 * at + 1) < m->count; at = child) {
        if (child + 1 < m->count && is_before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!is_before(&m->heap[child], &m->heap[at]))
            return;
        struct source s = m->heap[at];
        m->heap[at] = m->heap[child];
        m->heap[child] = s;
    }
}

/* Is the entry that a lookup came to one of that prefix? 0 or an error; *ret. */
static int accept(int rc, const MDB_val *key, const uint8_t prefix[INDEX_PREFIX], bool *ret)
{
    *ret = rc == 0 && key->mv_size > INDEX_PREFIX && key->mv_size < INDEX_PREFIX + ROW_KEY_MAX &&
           memcmp(key->mv_data, prefix, INDEX_PREFIX) == 0;
    return rc == 0 || rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

/* Puts the first entry of that value behind the key that is asked for into the heap, unordered. */
static int add_source(struct merge *m, const char *value)
{
    const struct store_values_query *q = m->q;
    const struct store_query from = {
        .kind = q->kind, .after_key = q->after_key, .after_key_len = q->after_key_len};
    uint8_t after_bytes[ROW_KEY_MAX], bytes[INDEX_PREFIX + ROW_KEY_MAX];
    MDB_val after;
    MDB_val val;
    bool ok;
    size_t tail = scan_start(&from, after_bytes, &after);
    size_t len = INDEX_PREFIX + after.mv_size - 1;
    index_prefix(q->kind, q->field, value, strlen(value), bytes);
    memcpy(bytes + INDEX_PREFIX, after_bytes + 1, after.mv_size - 1);
    MDB_val key = {len, bytes};
    int rc = mdb_cursor_get(m->cursors[0], &key, &val, MDB_SET_RANGE);
    if (rc == 0 && tail > 0 && key.mv_size == len && memcmp(key.mv_data, bytes, len) == 0)
        rc = mdb_cursor_get(m->cursors[0], &key, &val, MDB_NEXT);
    int err = accept(rc, &key, bytes, &ok);
    if (ok)
        m->heap[m->count++] = (struct source){key, value};
    return err;
}

/* The root's source goes on to its next entry. */
static int advance(struct merge *m)
{
    struct source *root = &m->heap[0];
    uint8_t prefix[INDEX_PREFIX];
    MDB_val val;
    MDB_val key = root->entry;
    bool ok;
    memcpy(prefix, key.mv_data, INDEX_PREFIX);
    int rc = mdb_cursor_get(m->cursors[0], &key, &val, MDB_SET);
    if (rc == 0)
        rc = mdb_cursor_get(m->cursors[0], &key, &val, MDB_NEXT);
    int err = accept(rc, &key, prefix, &ok);
    if (ok)
        root->entry = key;
    else
        *root = m->heap[--m->count];
    sift_down(m, 0);
    return err;
}

/* The root's row, if it is live and has that value: one of another text may have its hash. */
static int deliver(struct merge *m, store_scan_fn fn, void *arg)
{
    const struct source *root = &m->heap[0];
    uint8_t bytes[ROW_KEY_MAX];
    MDB_val key;
    struct store_row row;
    struct row fields;
    index_row_key(&root->entry, bytes, &key);
    int err = row_at(m->txn, m->cursors[1], &key, "an index entry has no sound row", &row);
    if (err != 0)
        return err == ERR_NOTFOUND ? 0 : err;
    if (row.record.deleted || !row_fields(&row.record, &fields) ||
        !row_has(&fields, m->q->field, root->value))
        return 0;
    return fn(arg, &row);
}

static int run(struct merge *m, store_scan_fn fn, void *arg)
{
    int err = 0;
    for (size_t i = 0; i < m->q->count && err == 0; i++)
        err = add_source(m, m->q->values[i]);
    for (size_t i = m->count / 2; i > 0; i--)
        sift_down(m, i - 1);
    while (err == 0 && m->count > 0)
        if ((err = deliver(m, fn, arg)) == 0)
            err = advance(m);
    return err;
}

int store_scan_values(struct store_txn *txn, const struct store_values_query *query,
                      store_scan_fn fn, void *arg)
{
    struct merge m = {.txn = txn, .q = query};
    if (txn->past != NULL || (query->after_key != NULL && query->after_key_len > RECORD_KEY_MAX))
        return ERR_BADPARAM;
    for (size_t i = 0; i < query->count; i++)
        if (!field_finds(query->field, query->values[i]))
            return ERR_BADPARAM;
    if (query->count == 0)
        return 0;
    if ((m.heap = malloc(query->count * sizeof *m.heap)) == NULL)
        return ERR_NOMEM;
    int err = cursors_open(txn->txn, txn->store->index, txn->store->rows, m.cursors);
    if (err == 0) {
        err = run(&m, fn, arg);
        cursors_close(m.cursors);
    }
    free(m.heap);
    return err > 0 ? 0 : err;
}
