/* SPDX-License-Identifier: Apache-2.0
 * The distinct texts of a field: the index is walked from text to text, not from row to row, and
 * the kept counts say how many rows each has. Any thread. */
#include "store/store_int.h"

#include <string.h>

/* The text that an index entry's row has in that field. */
static int entry_text(struct store_txn *txn, const MDB_val *entry, unsigned field, MDB_cursor *rows,
                      char out[FIELD_TEXT_MAX], struct row_text *ret)
{
    uint8_t bytes[ROW_KEY_MAX], prefix[INDEX_PREFIX];
    MDB_val key;
    struct store_row row;
    struct row fields;
    index_row_key(entry, bytes, &key);
    int err = row_at(txn, rows, &key, "an index entry has no sound row", &row);
    if (err != 0)
        return err;
    if (!row_fields(&row.record, &fields))
        return ERR_NOTFOUND;
    *ret = field_text(&fields, field, out);
    if (ret->data == NULL)
        return ERR_NOTFOUND;
    index_prefix(row.record.kind, field, ret->data, ret->len, prefix);
    return memcmp(prefix, entry->mv_data, INDEX_PREFIX) == 0 ? 0 : ERR_NOTFOUND;
}

/* Behind all entries of that text. false: it was the last one there can be. */
static bool next_text(uint8_t prefix[INDEX_PREFIX])
{
    uint64_t hash = get_be64(prefix + 2);
    if (hash == UINT64_MAX)
        return false;
    put_be64(prefix + 2, hash + 1);
    return true;
}

static int walk(struct store_txn *txn, uint8_t prefix[INDEX_PREFIX], MDB_cursor *index,
                MDB_cursor *rows, store_value_fn fn, void *arg)
{
    char text[FIELD_TEXT_MAX];
    do {
        MDB_val key = {INDEX_PREFIX, prefix};
        MDB_val val;
        struct row_text value = {0};
        uint64_t count = 0;
        int rc = mdb_cursor_get(index, &key, &val, MDB_SET_RANGE);
        if (rc == MDB_NOTFOUND)
            return 0;
        if (rc != 0)
            return store_err(rc);
        if (key.mv_size < INDEX_PREFIX || memcmp(key.mv_data, prefix, 2) != 0)
            return 0;
        memcpy(prefix, key.mv_data, INDEX_PREFIX);
        if (key.mv_size >= INDEX_PREFIX + ROW_KEY_MAX)
            continue;
        int err = counts_get(txn->txn, txn->store->counts, prefix, &count);
        if (err == 0 && count > 0)
            err = entry_text(txn, &key, prefix[1], rows, text, &value);
        if (err == ERR_CORRUPT)
            store_want_repair(txn->store, "a count is damaged");
        if (err == 0 && count > 0 && (err = fn(arg, value.data, value.len, count)) != 0)
            return err > 0 ? 0 : err;
        if (err != 0 && err != ERR_NOTFOUND && err != ERR_CORRUPT)
            return store_err(err);
    } while (next_text(prefix));
    return 0;
}

int store_values(struct store_txn *txn, uint8_t kind, enum row_field field, store_value_fn fn,
                 void *arg)
{
    uint8_t prefix[INDEX_PREFIX] = {kind, (uint8_t)field};
    MDB_cursor *cursors[2];
    if (!field_is_indexed(field) || field_is_partial(field))
        return ERR_BADPARAM;
    int err = cursors_open(txn->txn, txn->store->index, txn->store->rows, cursors);
    if (err != 0)
        return err;
    err = walk(txn, prefix, cursors[0], cursors[1], fn, arg);
    cursors_close(cursors);
    return err;
}
