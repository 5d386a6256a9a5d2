/* SPDX-License-Identifier: Apache-2.0
 * Writing rows: one record against what is stored, with everything derived from it
 * (indexes, counts, change log, fingerprints) in the same transaction. Writer thread. */
#include "store/store_int.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

/* The stored row, copied to s->scratch: LMDB's pointer dies with the next put. ERR_NOTFOUND also
 * for a damaged row, which is then overwritten or dropped by the repair. */
static int old_row(struct store *s, MDB_txn *txn, const MDB_val *row_key_val, struct store_row *ret)
{
    MDB_val key = *row_key_val;
    MDB_val val;
    int rc = mdb_get(txn, s->rows, &key, &val);
    if (rc != 0)
        return rc;
    buf_clear(&s->scratch);
    if (buf_put(&s->scratch, val.mv_data, val.mv_size) != 0)
        return s->scratch.err;
    val.mv_data = s->scratch.data;
    if (row_read(row_key_val, &val, ret) != 0) {
        store_want_repair(s, "a row is damaged");
        return MDB_NOTFOUND;
    }
    return 0;
}

int store_rows_put(struct store *s, MDB_txn *txn, const struct record *rec, MDB_val *key,
                   uint64_t index, int64_t stored_unix_ms)
{
    uint32_t key_at;
    MDB_val val = {row_size(rec, &key_at), NULL};
    s->places += val.mv_size > NODE_MAX ? 2 : 1;
    int rc = mdb_put(txn, s->rows, key, &val, MDB_RESERVE);
    if (rc == 0)
        row_write(rec, index, stored_unix_ms, key_at, key, &val);
    return rc;
}

static int apply_one(struct store *s, MDB_txn *txn, const struct record *rec,
                     struct store_change *change, int64_t now_unix_ms)
{
    uint8_t bytes[ROW_KEY_MAX];
    struct store_row old = {0};
    MDB_val key = {row_key(rec->kind, rec->key, rec->key_len, bytes), bytes};
    *change = (struct store_change){.key_hash = record_key_hash(rec->kind, rec->key, rec->key_len)};
    int rc = old_row(s, txn, &key, &old);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return rc;
    if (rc == 0 && !record_has_key(&old.record, rec->key, rec->key_len)) {
        LOG(LOG_ERROR, "store_collision", "two keys have one hash; the later row is not stored",
            LU("hash", change->key_hash));
        return 0;
    }
    if (rc == 0) {
        change->existed = true;
        change->before = old.record.version;
        if (!record_is_newer(rec->version, old.record.version)) {
            s->duplicates_now++;
            return 0;
        }
        if ((rc = changes_del(s, txn, old.index)) != 0)
            return rc;
    }
    uint64_t index = ++s->head.index[0];
    s->head.index[rec->kind] = index;
    if (change->existed &&
        (rc = past_put(s, txn, index, &key, s->scratch.data, s->scratch.len, now_unix_ms)) != 0)
        return rc;
    if ((rc = index_update(s, txn, change->existed ? &old.record : NULL, rec)) != 0 ||
        (rc = store_rows_put(s, txn, rec, &key, index, now_unix_ms)) != 0 ||
        (rc = changes_put(s, txn, index, &key)) != 0 || (rc = prints_put(s, txn, rec)) != 0)
        return rc;
    change->applied = true;
    change->index = index;
    s->kinds |= 1u << rec->kind;
    return 0;
}

int store_rows_apply(struct store *s, MDB_txn *txn, struct op *op, int64_t now_unix_ms)
{
    bool whole = op->count <= STORE_WHOLE_RECORDS;
    int rc = 0;
    for (size_t i = op->stored; rc == 0 && i < op->count; i = op->reached) {
        if (!whole && s->places >= STORE_BATCH_PLACES)
            break; /* the next transaction goes on here */
        rc = apply_one(s, txn, &op->records[i], &op->changes[i], now_unix_ms);
        op->reached = i + 1;
    }
    return rc;
}

int store_rows_purge(struct store *s, MDB_txn *txn, struct op *op, int64_t now_unix_ms)
{
    const struct record *target = &op->target;
    uint8_t bytes[ROW_KEY_MAX];
    struct store_row old;
    MDB_val key = {row_key(target->kind, target->key, target->key_len, bytes), bytes};
    int rc = old_row(s, txn, &key, &old);
    op->outcome = 0;
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc == 0 && record_is_newer(old.record.version, target->version)) {
        op->outcome = ERR_VERSION;
        return 0;
    }
    if (rc != 0 || (rc = changes_del(s, txn, old.index)) != 0 ||
        (rc = index_update(s, txn, &old.record, NULL)) != 0 ||
        (rc = prints_del(s, txn, target)) != 0)
        return rc;
    if (target->kind != RECORD_TEST && !old.record.deleted)
        past_forget(s, now_unix_ms);
    return mdb_del(txn, s->rows, &key, NULL);
}

int store_rows_poison(struct store *s, MDB_txn *txn, const struct op *op, int64_t now_unix_ms)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    size_t why_len = strlen(op->name) + 1;
    MDB_val val = {8 + why_len + op->len, NULL};
    while (s->head.poison_next - s->head.poison_first >= STORE_POISON_KEPT) {
        put_be64(bytes, s->head.poison_first++);
        int rc = mdb_del(txn, s->poison, &key, NULL);
        if (rc != 0 && rc != MDB_NOTFOUND)
            return rc;
    }
    put_be64(bytes, s->head.poison_next++);
    int rc = mdb_put(txn, s->poison, &key, &val, MDB_RESERVE);
    if (rc != 0)
        return rc;
    uint8_t *p = val.mv_data;
    put_be64(p, (uint64_t)now_unix_ms);
    memcpy(p + 8, op->name, why_len);
    if (op->len > 0)
        memcpy(p + 8 + why_len, op->data, op->len);
    return 0;
}

int store_rows_save_head(struct store *s, MDB_txn *txn)
{
    uint8_t bytes[HEAD_BYTES];
    MDB_val key = {4, (void *)(uintptr_t) "head"};
    MDB_val val = {sizeof bytes, bytes};
    head_encode(&s->head, bytes);
    return mdb_put(txn, s->meta, &key, &val, 0);
}

static int load_head(struct store *s, MDB_txn *txn, struct errmsg *e)
{
    MDB_val key = {4, (void *)(uintptr_t) "head"};
    MDB_val val;
    int rc = mdb_get(txn, s->meta, &key, &val);
    if (rc != 0 || head_decode(&val, &s->head) != 0)
        return env_lookup_err(rc == 0 ? MDB_NOTFOUND : rc, "the head record is missing or damaged",
                              e);
    return 0;
}

static int new_state(struct store *s, MDB_txn *txn)
{
    s->head = (struct head){.poison_first = 1, .poison_next = 1};
    if (getrandom(&s->head.epoch, sizeof s->head.epoch, 0) != sizeof s->head.epoch)
        return ERR_IO;
    s->head.epoch |= 1; /* 0 means unknown to others */
    int rc = format_write(txn, s->meta, STATE_FORMAT);
    return rc != 0 ? rc : store_rows_save_head(s, txn);
}

/* A database of an earlier format lacks one of them, which is filled later (migrate.c). */
static int open_tables(struct store *s, MDB_txn *txn, unsigned flags, unsigned later)
{
    int rc;
    if ((rc = mdb_dbi_open(txn, "rows", flags, &s->rows)) == 0 &&
        (rc = mdb_dbi_open(txn, "index", flags, &s->index)) == 0 &&
        (rc = mdb_dbi_open(txn, "ordered", later, &s->ordered)) == 0 &&
        (rc = mdb_dbi_open(txn, "counts", flags, &s->counts)) == 0 &&
        (rc = mdb_dbi_open(txn, "changes", flags, &s->changes)) == 0 &&
        (rc = mdb_dbi_open(txn, "prints", flags, &s->prints)) == 0 &&
        (rc = mdb_dbi_open(txn, "past", flags, &s->past)) == 0)
        rc = mdb_dbi_open(txn, "poison", flags, &s->poison);
    return rc;
}

int state_format(const struct store *s, uint64_t *ret, struct errmsg *e)
{
    MDB_txn *txn;
    MDB_dbi meta;
    int err = 0;
    *ret = 0;
    int rc = mdb_txn_begin(s->state.env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return errmsg_set(e, store_err(rc), "%s: %s", s->state.path, mdb_strerror(rc));
    if ((rc = mdb_dbi_open(txn, "meta", 0, &meta)) == 0)
        err = format_read(txn, meta, STATE_FORMAT, ret, e);
    else if (rc != MDB_NOTFOUND)
        err = errmsg_set(e, store_err(rc), "%s: %s", s->state.path, mdb_strerror(rc));
    mdb_txn_abort(txn);
    return err;
}

int store_rows_open(struct store *s, uint64_t format, struct errmsg *e)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->state.env, NULL, 0, &txn);
    if (rc != 0)
        return errmsg_set(e, store_err(rc), "%s: %s", s->state.path, mdb_strerror(rc));
    rc = mdb_dbi_open(txn, "meta", 0, &s->meta);
    int err = 0;
    if (rc == MDB_NOTFOUND) {
        if ((rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &s->meta)) == 0 &&
            (rc = open_tables(s, txn, MDB_CREATE, MDB_CREATE)) == 0)
            rc = new_state(s, txn);
    } else if (rc == 0) {
        if ((rc = open_tables(s, txn, 0, format < STATE_FORMAT ? MDB_CREATE : 0)) != 0)
            err = env_lookup_err(rc, "a table is missing", e);
        else
            err = load_head(s, txn, e);
    }
    if (err != 0 || rc != 0) {
        mdb_txn_abort(txn);
        if (err == 0)
            err =
                errmsg_set(e, env_write_err(s->dir, rc), "%s: %s", s->state.path, mdb_strerror(rc));
        return err;
    }
    rc = mdb_txn_commit(txn);
    if (rc != 0)
        return errmsg_set(e, env_write_err(s->dir, rc), "%s: %s", s->state.path, mdb_strerror(rc));
    past_begin(s, clock_unix_ms());
    return 0;
}
