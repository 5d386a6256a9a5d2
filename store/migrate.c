/* SPDX-License-Identifier: Apache-2.0
 * Databases of earlier formats. log/ is small and precious: its checksums (of format 1) and
 * its head are written anew in one synced transaction. state/ is copied row by row into a new
 * environment, which then takes the old one's place in one step; of format 3, only what it did not
 * index is added, in one transaction, and of format 4 a table, in several. Whatever does not check
 * out is damage, as it always was. */
#include "store/store_int.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "agent/base/hash.h"
#include "agent/base/log.h"

#define BATCH_ROWS 1000u
#define OLD_ROW_HEADER 64u
#define OLD_HEAD_NUMBERS (1u + RECORD_KIND_END + 2u)
#define OLD_LOG_HEAD_NUMBERS 13u /* none of a journal */

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* hash_bytes() as it was in format 1. */
static uint64_t hash_1(const void *data, size_t len, uint64_t seed)
{
    static const uint64_t gap = 0x9e3779b97f4a7c15u;
    const uint8_t *p = data;
    uint64_t h = hash_mix(seed ^ gap), tail = 0;
    size_t left = len;
    for (; left >= 8; left -= 8, p += 8)
        h = hash_mix(h ^ get64(p)) + gap;
    for (size_t i = 0; i < left; i++)
        tail |= (uint64_t)p[i] << (8 * i);
    return hash_mix(hash_mix(h ^ tail) ^ len);
}

static uint64_t old_checksum(uint64_t format, const MDB_val *key, const void *data, size_t len)
{
    if (format == 1)
        return hash_1(data, len, hash_1(key->mv_data, key->mv_size, 1));
    return checksum(key, data, len);
}

static bool old_sound(uint64_t format, const MDB_val *key, const MDB_val *val, size_t least)
{
    const uint8_t *p = val->mv_data;
    return val->mv_size >= least && val->mv_size >= 8 &&
           get64(p) == old_checksum(format, key, p + 8, val->mv_size - 8);
}

/* ---- log/ ---- */

/* One value under its new checksum, in the same place. */
static int resum_one(struct store *s, MDB_cursor *cursor, MDB_val *key, const MDB_val *val)
{
    if (!old_sound(1, key, val, 8))
        return MDB_CORRUPTED;
    buf_clear(&s->scratch);
    int err = buf_put(&s->scratch, val->mv_data, val->mv_size);
    if (err != 0)
        return err;
    uint8_t *p = (uint8_t *)s->scratch.data;
    uint64_t sum = htole64(checksum(key, p + 8, val->mv_size - 8));
    memcpy(p, &sum, sizeof sum);
    MDB_val put = {val->mv_size, p};
    return mdb_cursor_put(cursor, key, &put, MDB_CURRENT);
}

static int resum(struct store *s, MDB_txn *txn, MDB_dbi dbi, uint64_t was, uint64_t *ret_sum)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    uint64_t before = 0;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return rc;
    *ret_sum = 0;
    while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
        before += val.mv_size >= 8 ? get64(val.mv_data) : 0;
        if ((rc = resum_one(s, cursor, &key, &val)) != 0)
            break;
        *ret_sum += get64((const uint8_t *)s->scratch.data);
    }
    mdb_cursor_close(cursor);
    if (rc != MDB_NOTFOUND)
        return rc;
    return before == was ? 0 : MDB_CORRUPTED;
}

static int resum_config(struct store *s, MDB_txn *txn)
{
    MDB_cursor *cursor;
    MDB_val key = {6, (void *)(uintptr_t) "config"};
    MDB_val val;
    int rc = mdb_cursor_open(txn, s->log_meta, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_KEY);
    if (rc == 0)
        rc = resum_one(s, cursor, &key, &val);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int log_migrate(struct store *s, MDB_txn *txn, uint64_t format)
{
    struct log_head h = {0};
    uint64_t numbers[OLD_LOG_HEAD_NUMBERS];
    MDB_val key = {4, (void *)(uintptr_t) "head"};
    MDB_val val;
    int rc = mdb_get(txn, s->log_meta, &key, &val);
    if (rc != 0)
        return rc;
    if (val.mv_size != 8 + sizeof numbers || !old_sound(format, &key, &val, 8 + sizeof numbers))
        return MDB_CORRUPTED;
    for (size_t i = 0; i < OLD_LOG_HEAD_NUMBERS; i++)
        numbers[i] = get64((const uint8_t *)val.mv_data + 8 * (i + 1));
    memcpy(&h, numbers, sizeof numbers);
    s->log_head = h;
    struct log_head *n = &s->log_head;
    if (format == 1 && ((rc = resum(s, txn, s->log_entries, h.entry_sum, &n->entry_sum)) != 0 ||
                        (rc = resum(s, txn, s->log_intent, h.intent_sum, &n->intent_sum)) != 0 ||
                        (rc = resum(s, txn, s->log_facts, h.fact_sum, &n->fact_sum)) != 0 ||
                        (rc = resum_config(s, txn)) != 0))
        return rc;
    rc = log_save_head(s, txn);
    return rc != 0 ? rc : format_write(txn, s->log_meta, LOG_FORMAT);
}

/* ---- state/ ---- */

struct old_tables {
    MDB_txn *txn;
    MDB_dbi meta, rows, poison;
    uint64_t format;
};

static int old_open(const struct env *env, struct old_tables *ret)
{
    int rc = mdb_txn_begin(env->env, NULL, MDB_RDONLY, &ret->txn);
    if (rc != 0)
        return rc;
    if ((rc = mdb_dbi_open(ret->txn, "meta", 0, &ret->meta)) != 0 ||
        (rc = mdb_dbi_open(ret->txn, "rows", 0, &ret->rows)) != 0 ||
        (rc = mdb_dbi_open(ret->txn, "poison", 0, &ret->poison)) != 0)
        mdb_txn_abort(ret->txn);
    return rc;
}

/* Kind and key; checksum, index, stored ms, version hi, lo, observed ms, term, source, deleted,
 * zero u16, value length u32, value. */
static bool old_row(uint64_t format, const MDB_val *key, const MDB_val *val, struct store_row *ret)
{
    const uint8_t *k = key->mv_data, *p = val->mv_data;
    if (key->mv_size < 2 || key->mv_size > PLAIN_KEY_MAX || k[0] == 0 || k[0] >= RECORD_KIND_END ||
        !old_sound(format, key, val, OLD_ROW_HEADER))
        return false;
    *ret = (struct store_row){
        .record = {.kind = k[0],
                   .source = p[56],
                   .deleted = p[57] != 0,
                   .key_len = (uint16_t)(key->mv_size - 1),
                   .value_len = (uint32_t)(val->mv_size - OLD_ROW_HEADER),
                   .version = {get64(p + 24), get64(p + 32)},
                   .observed_unix_ms = (int64_t)get64(p + 40),
                   .term = get64(p + 48),
                   .key = (const char *)k + 1,
                   .value = p + OLD_ROW_HEADER},
        .index = get64(p + 8),
        .stored_unix_ms = (int64_t)get64(p + 16),
    };
    return true;
}

static int copy_row(struct store *s, MDB_txn *txn, const struct store_row *row)
{
    uint8_t bytes[ROW_KEY_MAX];
    const struct record *rec = &row->record;
    MDB_val key = {row_key(rec->kind, rec->key, rec->key_len, bytes), bytes};
    int rc = store_rows_put(s, txn, rec, &key, row->index, row->stored_unix_ms);
    return rc != 0 ? rc : store_rows_derive(s, txn, row, &key);
}

static int copy_head(struct store *s, const struct old_tables *old)
{
    MDB_val key = {4, (void *)(uintptr_t) "head"};
    MDB_val val;
    int rc = mdb_get(old->txn, old->meta, &key, &val);
    if (rc != 0)
        return rc;
    const uint8_t *p = val.mv_data;
    if (val.mv_size != 8 * (1 + OLD_HEAD_NUMBERS) || !old_sound(old->format, &key, &val, 8))
        return MDB_CORRUPTED;
    s->head.epoch = get64(p + 8);
    for (size_t i = 0; i < RECORD_KIND_END; i++)
        s->head.index[i] = get64(p + 16 + 8 * i);
    s->head.poison_first = get64(p + 16 + 8 * RECORD_KIND_END);
    s->head.poison_next = get64(p + 24 + 8 * RECORD_KIND_END);
    return 0;
}

static int copy_poison(struct store *s, MDB_txn *txn, const struct old_tables *old)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    int rc = mdb_cursor_open(old->txn, old->poison, &cursor);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0)
        if ((rc = mdb_put(txn, s->poison, &key, &val, 0)) != 0)
            break;
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int batch_end(struct store *s, MDB_txn *txn, int rc)
{
    if (rc == 0)
        rc = counts_flush(s, txn);
    if (rc == 0)
        rc = store_rows_save_head(s, txn);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    counts_drop(s);
    return rc;
}

static int copy_rows(struct store *s, const struct old_tables *old, uint64_t *ret_rows)
{
    MDB_cursor *cursor;
    MDB_txn *txn = NULL;
    MDB_val key;
    MDB_val val;
    int rc = mdb_cursor_open(old->txn, old->rows, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_txn_begin(s->state.env, NULL, 0, &txn);
    int end = rc;
    while (rc == 0 && (end = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
        struct store_row row;
        if (!old_row(old->format, &key, &val, &row) || row.index > s->head.index[0])
            continue; /* peers have it */
        rc = copy_row(s, txn, &row);
        if (rc == 0 && ++*ret_rows % BATCH_ROWS == 0 && (rc = batch_end(s, txn, 0)) == 0)
            rc = mdb_txn_begin(s->state.env, NULL, 0, &txn);
        else if (rc != 0)
            break;
    }
    mdb_cursor_close(cursor);
    if (rc == 0 && end != MDB_NOTFOUND)
        rc = end;
    if (rc == 0)
        rc = copy_poison(s, txn, old);
    return txn == NULL ? rc : batch_end(s, txn, rc);
}

int state_migrate(struct store *s, uint64_t format, size_t map_bytes, struct errmsg *e)
{
    struct old_tables old = {.format = format};
    struct env from = s->state;
    uint64_t rows = 0;
    s->state = (struct env){.name = STATE_NEW};
    int rc = 0;
    int err = env_open(&s->state, s->dir, map_bytes, MDB_NOSYNC, e);
    if (err == 0)
        err = store_rows_open(s, STATE_FORMAT, e);
    if (err == 0 && (rc = old_open(&from, &old)) == 0) {
        if ((rc = copy_head(s, &old)) == 0 && (rc = copy_rows(s, &old, &rows)) == 0)
            rc = mdb_env_sync(s->state.env, 1);
        mdb_txn_abort(old.txn);
    }
    if (err == 0 && rc != 0) /* without room the rows come from peers again, as after damage */
        err = errmsg_set(e, rc == ENOSPC || rc == MDB_MAP_FULL ? ERR_VERSION : store_err(rc),
                         "migration of format %llu: %s", (unsigned long long)format,
                         mdb_strerror(rc));
    if (err == 0)
        err = life_write(s->state.path, true, false, 0);
    env_close(&s->state);
    env_close(&from);
    s->state = (struct env){.name = from.name};
    if (err == 0)
        err = env_replace(s->dir, from.name, STATE_NEW, e);
    env_remove(s->dir, STATE_NEW);
    if (err == 0)
        LOG(LOG_INFO, "store_migrated", "the state database is of the current format now",
            LU("from", format), LU("to", STATE_FORMAT), LU("rows", rows));
    return err;
}

/* Rows with a text that format 3 did not index are few: the others are looked at only. */
static int index_rows(struct store *s, MDB_txn *txn, uint64_t *ret_rows)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    int rc = mdb_cursor_open(txn, s->rows, &cursor);
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
        uint8_t bytes[ROW_KEY_MAX];
        MDB_val held;
        struct store_row row;
        ++*ret_rows;
        if (row_read(&key, &val, &row) != 0)
            continue; /* who reads it repairs it */
        if ((rc = row_hold(s, &key, &val, bytes, &held, &row)) != 0 ||
            (rc = index_add_partial(s, txn, &row.record)) != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int in_place_end(uint64_t from, uint64_t to, uint64_t rows, int rc, struct errmsg *e)
{
    if (rc != 0) /* as above */
        return errmsg_set(e, rc == ENOSPC || rc == MDB_MAP_FULL ? ERR_VERSION : store_err(rc),
                          "migration of format %llu: %s", (unsigned long long)from,
                          mdb_strerror(rc));
    LOG(LOG_INFO, "store_migrated", "the state database is of a later format now", LU("from", from),
        LU("to", to), LU("rows", rows));
    return 0;
}

int state_index(struct store *s, struct errmsg *e)
{
    MDB_txn *txn;
    uint64_t rows = 0;
    int rc = mdb_txn_begin(s->state.env, NULL, 0, &txn);
    if (rc == 0) {
        if ((rc = index_rows(s, txn, &rows)) == 0 && (rc = counts_flush(s, txn)) == 0)
            rc = format_write(txn, s->meta, STATE_FORMAT_INDEXED);
        rc = rc == 0 ? mdb_txn_commit(txn) : (mdb_txn_abort(txn), rc);
    }
    counts_drop(s);
    return in_place_end(STATE_FORMAT_PLAIN, STATE_FORMAT_INDEXED, rows, rc, e);
}

/* The next rows behind the one that *at names, which then names the last of them. MDB_NOTFOUND:
 * there are no more. */
static int order_some(struct store *s, MDB_txn *txn, uint8_t bytes[ROW_KEY_MAX], MDB_val *at,
                      uint64_t *ret_rows)
{
    MDB_cursor *cursor;
    MDB_val key = *at;
    MDB_val val;
    int rc = mdb_cursor_open(txn, s->rows, &cursor);
    if (rc != 0)
        return rc;
    rc = mdb_cursor_get(cursor, &key, &val, at->mv_size == 0 ? MDB_FIRST : MDB_SET_RANGE);
    if (rc == 0 && at->mv_size > 0) /* nobody else has it open */
        rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT);
    for (unsigned n = 0; rc == 0 && n < BATCH_ROWS;) {
        static const struct row none = {0};
        struct store_row row;
        struct row fields = {0};
        if (row_read(&key, &val, &row) == 0) { /* if not, who reads it repairs it */
            rc = row_hold(s, &key, &val, bytes, at, &row);
            (void)row_fields(&row.record, &fields);
            rc = rc != 0 ? rc : ordered_update(s, txn, NULL, &none, &row.record, &fields);
            n++;
            ++*ret_rows;
        }
        if (rc == 0)
            rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc;
}

/* In transactions of some rows each: LMDB keeps the memory of the largest one. The last says that
 * it is done, and who finds it begun begins again. */
int state_order(struct store *s, struct errmsg *e)
{
    uint8_t bytes[ROW_KEY_MAX];
    MDB_val at = {0, bytes};
    MDB_txn *txn;
    uint64_t rows = 0;
    int rc = mdb_txn_begin(s->state.env, NULL, 0, &txn);
    if (rc == 0)
        rc = batch_end(s, txn, ordered_clear(s, txn));
    for (bool more = rc == 0; more;) {
        if ((rc = mdb_txn_begin(s->state.env, NULL, 0, &txn)) != 0)
            break;
        rc = order_some(s, txn, bytes, &at, &rows);
        more = rc == 0;
        if (rc == MDB_NOTFOUND)
            rc = format_write(txn, s->meta, STATE_FORMAT);
        rc = batch_end(s, txn, rc);
        more = more && rc == 0;
    }
    return in_place_end(STATE_FORMAT_INDEXED, STATE_FORMAT, rows, rc, e);
}
