/* SPDX-License-Identifier: Apache-2.0
 * The fingerprint index for anti-entropy: key hash -> checksum, version hi, lo, row key.
 * Test records have lines too, by which gossip reads what it no longer holds, but take no part. */
#include "store/store_int.h"

#include <endian.h>
#include <string.h>

int prints_put(struct store *s, MDB_txn *txn, const struct record *rec)
{
    uint8_t bytes[8];
    uint8_t out[24 + ROW_KEY_MAX];
    uint64_t v[3];
    put_be64(bytes, record_key_hash(rec->kind, rec->key, rec->key_len));
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val = {24 + row_key(rec->kind, rec->key, rec->key_len, out + 24), out};
    v[1] = htole64(rec->version.hi);
    v[2] = htole64(rec->version.lo);
    memcpy(out + 8, &v[1], 16);
    v[0] = htole64(checksum(&key, out + 8, val.mv_size - 8));
    memcpy(out, v, 8);
    s->places++;
    return mdb_put(txn, s->prints, &key, &val, 0);
}

int prints_del(struct store *s, MDB_txn *txn, const struct record *rec)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    put_be64(bytes, record_key_hash(rec->kind, rec->key, rec->key_len));
    s->places++;
    int rc = mdb_del(txn, s->prints, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int line_read(const MDB_val *key, const MDB_val *val, uint64_t *ret_hash,
                     struct record_version *ret)
{
    uint64_t v[3];
    const uint8_t *p = val->mv_data;
    if (key->mv_size != 8 || val->mv_size < 24 + ROW_KEY_MIN || val->mv_size > 24 + ROW_KEY_MAX)
        return ERR_CORRUPT;
    memcpy(v, p, sizeof v);
    if (le64toh(v[0]) != checksum(key, p + 8, val->mv_size - 8))
        return ERR_CORRUPT;
    *ret_hash = get_be64(key->mv_data);
    *ret = (struct record_version){le64toh(v[1]), le64toh(v[2])};
    return 0;
}

/* Of a line that was read: a row key begins with it. */
static uint8_t line_kind(const MDB_val *val)
{
    return ((const uint8_t *)val->mv_data)[24];
}

int store_fingerprints(struct store_txn *txn, uint64_t first, uint64_t last,
                       store_fingerprint_fn fn, void *arg)
{
    struct store *s = txn->store;
    uint8_t bytes[8];
    MDB_cursor *cursor;
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val;
    int rc = mdb_cursor_open(txn->txn, s->prints, &cursor);
    if (rc != 0)
        return store_err(rc);
    put_be64(bytes, first);
    int err = 0;
    for (rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_RANGE); rc == 0 && err == 0;
         rc = err == 0 ? mdb_cursor_get(cursor, &key, &val, MDB_NEXT) : 0) {
        uint64_t hash;
        struct record_version version;
        if (line_read(&key, &val, &hash, &version) != 0) {
            store_want_repair(s, "a fingerprint is damaged");
            continue;
        }
        if (hash > last)
            break;
        if (line_kind(&val) == RECORD_TEST)
            continue;
        err = fn(arg, hash, version);
        if (err != 0)
            break;
    }
    mdb_cursor_close(cursor);
    if (err != 0)
        return err > 0 ? 0 : err;
    return rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

int store_get_by_hash_ref(struct store_txn *txn, uint64_t key_hash, struct store_row *ret)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val;
    uint64_t hash;
    struct record_version version;
    put_be64(bytes, key_hash);
    int rc = mdb_get(txn->txn, txn->store->prints, &key, &val);
    if (rc != 0)
        return store_err(rc);
    if (line_read(&key, &val, &hash, &version) != 0) {
        store_want_repair(txn->store, "a fingerprint is damaged");
        return ERR_NOTFOUND;
    }
    MDB_val row_key_val = {val.mv_size - 24, (uint8_t *)val.mv_data + 24};
    if ((rc = mdb_get(txn->txn, txn->store->rows, &row_key_val, &val)) != 0)
        return store_err(rc);
    if (row_read(&row_key_val, &val, ret) != 0) {
        store_want_repair(txn->store, "a row is damaged");
        return ERR_NOTFOUND;
    }
    return 0;
}
