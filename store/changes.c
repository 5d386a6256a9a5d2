/* SPDX-License-Identifier: Apache-2.0
 * The change log: change index -> row key. A row has one entry, at its last change; entries
 * older than the last STORE_CHANGES_KEPT changes are trimmed. */
#include "store/store_int.h"

int changes_put(struct store *s, MDB_txn *txn, uint64_t index, const MDB_val *row_key)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val = *row_key;
    put_be64(bytes, index);
    int rc = mdb_put(txn, s->changes, &key, &val, MDB_APPEND);
    /* Out of order only after damage; a plain put is right then. */
    return rc == MDB_KEYEXIST ? mdb_put(txn, s->changes, &key, &val, 0) : rc;
}

int changes_del(struct store *s, MDB_txn *txn, uint64_t index)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    put_be64(bytes, index);
    s->places++;
    int rc = mdb_del(txn, s->changes, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

uint64_t changes_oldest(uint64_t last_index)
{
    return last_index > STORE_CHANGES_KEPT ? last_index - STORE_CHANGES_KEPT + 1 : 1;
}

int changes_trim(struct store *s, MDB_txn *txn)
{
    uint64_t oldest = changes_oldest(s->head.index[0]);
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    if (oldest == 1)
        return 0;
    int rc = mdb_cursor_open(txn, s->changes, &cursor);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_FIRST)) == 0) {
        if (key.mv_size == 8 && get_be64(key.mv_data) >= oldest)
            break;
        if ((rc = mdb_cursor_del(cursor, 0)) != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}
