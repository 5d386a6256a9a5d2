/* SPDX-License-Identifier: Apache-2.0
 * Secondary indexes and the kept counts. An index key carries a hash of the field's text
 * (texts may be longer than LMDB's 511-byte keys), so a scan compares the row's true text.
 * Tombstones stay in the indexes and leave the counts. Counts change in memory during a
 * transaction and are written once at its end. */
#include "store/store_int.h"

#include <endian.h>
#include <string.h>

#include "agent/base/hash.h"

void index_prefix(uint8_t kind, unsigned field, const void *text, size_t len, uint8_t *out)
{
    out[0] = kind;
    out[1] = (uint8_t)field;
    put_be64(out + 2, text == NULL ? 0 : hash_bytes(text, len, field));
}

static int entry(struct store *s, MDB_txn *txn, const struct record *rec, unsigned field,
                 const struct row_text *text, bool add)
{
    uint8_t bytes[INDEX_PREFIX + ROW_KEY_MAX];
    MDB_val none = {0, bytes};
    /* The row key's kind is where the prefix will end: it comes first, then the prefix over it. */
    size_t len = row_key(rec->kind, rec->key, rec->key_len, bytes + INDEX_PREFIX - 1);
    MDB_val key = {INDEX_PREFIX - 1 + len, bytes};
    index_prefix(rec->kind, field, text->data, text->len, bytes);
    s->places++;
    if (add)
        return mdb_put(txn, s->index, &key, &none, 0);
    int rc = mdb_del(txn, s->index, &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int index_count(struct store *s, MDB_txn *txn, uint8_t kind, unsigned field,
                const struct row_text *text, int64_t n)
{
    uint8_t prefix[INDEX_PREFIX];
    if (s->delta_count > DELTA_SLOTS / 2) {
        int rc = counts_flush(s, txn);
        if (rc != 0)
            return rc;
    }
    index_prefix(kind, field, text->data, text->len, prefix);
    uint64_t hash = get_be64(prefix + 2);
    size_t at = (size_t)(hash_mix(hash ^ ((uint64_t)kind << 8 | field)) % DELTA_SLOTS);
    struct delta *d = &s->deltas[at];
    while (d->kind != 0 && (d->kind != kind || d->field != field || d->hash != hash)) {
        at = (at + 1) % DELTA_SLOTS;
        d = &s->deltas[at];
    }
    if (d->kind == 0) {
        *d = (struct delta){kind, (uint8_t)field, hash, 0};
        s->delta_count++;
        s->places++;
    }
    d->n += n;
    return 0;
}

static bool same_text(const struct row_text *a, const struct row_text *b)
{
    if ((a->data == NULL) != (b->data == NULL))
        return false;
    return a->data == NULL || (a->len == b->len && memcmp(a->data, b->data, a->len) == 0);
}

/* Number of live rows and of tombstones: fields 0 and 255. */
static int count_row(struct store *s, MDB_txn *txn, const struct record *rec, int64_t n)
{
    static const struct row_text none = {0};
    return index_count(s, txn, rec->kind, rec->deleted ? 255 : 0, &none, n);
}

int index_update(struct store *s, MDB_txn *txn, const struct record *before,
                 const struct record *after)
{
    struct row old = {0};
    struct row new = {0};
    char old_text[FIELD_TEXT_MAX];
    char new_text[FIELD_TEXT_MAX];
    int rc = 0;
    if (before != NULL) {
        (void)row_fields(before, &old);
        rc = count_row(s, txn, before, -1);
    }
    if (after != NULL && rc == 0) {
        (void)row_fields(after, &new);
        rc = count_row(s, txn, after, 1);
    }
    if (rc == 0)
        rc = ordered_update(s, txn, before, &old, after, &new);
    for (unsigned field = 1; field < ROW_FIELD_END && rc == 0; field++) {
        if (!field_is_indexed(field))
            continue;
        const struct row_text old_value = field_text(&old, field, old_text);
        const struct row_text new_value = field_text(&new, field, new_text);
        const struct row_text *a = &old_value;
        const struct row_text *b = &new_value;
        bool same = same_text(a, b);
        bool a_live = a->data != NULL && !before->deleted;
        bool b_live = b->data != NULL && !after->deleted;
        if (a->data != NULL && !same)
            rc = entry(s, txn, before, field, a, false);
        if (rc == 0 && b->data != NULL && !same)
            rc = entry(s, txn, after, field, b, true);
        if (same && a_live == b_live)
            continue;
        if (rc == 0 && a_live)
            rc = index_count(s, txn, before->kind, field, a, -1);
        if (rc == 0 && b_live)
            rc = index_count(s, txn, after->kind, field, b, 1);
    }
    return rc;
}

int index_add_partial(struct store *s, MDB_txn *txn, const struct record *rec)
{
    struct row row;
    int rc = 0;
    if (!row_fields(rec, &row))
        return 0;
    for (unsigned field = 1; field < ROW_FIELD_END && rc == 0; field++) {
        char out[FIELD_TEXT_MAX];
        struct row_text text = field_text(&row, field, out);
        if (!field_is_partial(field) || text.data == NULL)
            continue;
        rc = entry(s, txn, rec, field, &text, true);
        if (rc == 0 && !rec->deleted)
            rc = index_count(s, txn, rec->kind, field, &text, 1);
    }
    return rc;
}

int counts_get(MDB_txn *txn, MDB_dbi counts, const uint8_t *prefix, uint64_t *ret)
{
    uint8_t copy[INDEX_PREFIX];
    memcpy(copy, prefix, sizeof copy);
    MDB_val key = {INDEX_PREFIX, copy};
    MDB_val val;
    uint64_t v[2];
    *ret = 0;
    int rc = mdb_get(txn, counts, &key, &val);
    if (rc == MDB_NOTFOUND)
        return 0;
    if (rc != 0)
        return rc;
    if (val.mv_size != sizeof v)
        return ERR_CORRUPT;
    memcpy(v, val.mv_data, sizeof v);
    if (le64toh(v[0]) != checksum(&key, (const uint8_t *)val.mv_data + 8, 8))
        return ERR_CORRUPT;
    *ret = le64toh(v[1]);
    return 0;
}

static int count_store(struct store *s, MDB_txn *txn, const struct delta *d)
{
    uint8_t prefix[INDEX_PREFIX] = {d->kind, d->field};
    uint64_t v[2];
    uint64_t count = 0;
    MDB_val key = {sizeof prefix, prefix};
    MDB_val val = {sizeof v, v};
    put_be64(prefix + 2, d->hash);
    int rc = counts_get(txn, s->counts, prefix, &count);
    if (rc == 0 && d->n < 0 && count < (uint64_t)-d->n)
        rc = ERR_CORRUPT;
    if (rc == ERR_CORRUPT) {
        store_want_repair(s, "a count is damaged");
        count = d->n < 0 ? (uint64_t)-d->n : 0;
        rc = 0;
    }
    if (rc != 0)
        return rc;
    count += (uint64_t)d->n;
    if (count == 0) {
        rc = mdb_del(txn, s->counts, &key, NULL);
        return rc == MDB_NOTFOUND ? 0 : rc;
    }
    v[1] = htole64(count);
    v[0] = htole64(checksum(&key, &v[1], 8));
    return mdb_put(txn, s->counts, &key, &val, 0);
}

int counts_flush(struct store *s, MDB_txn *txn)
{
    for (size_t i = 0; i < DELTA_SLOTS && s->delta_count > 0; i++) {
        struct delta *d = &s->deltas[i];
        if (d->kind == 0)
            continue;
        int rc = d->n == 0 ? 0 : count_store(s, txn, d);
        if (rc != 0)
            return rc;
        d->kind = 0;
        s->delta_count--;
    }
    return 0;
}

void counts_drop(struct store *s)
{
    memset(s->deltas, 0, DELTA_SLOTS * sizeof *s->deltas);
    s->delta_count = 0;
}
