/* SPDX-License-Identifier: Apache-2.0
 * Reading in the model of the store. A snapshot is the present: nothing else runs meanwhile. */
#include <string.h>

#include "tests/sim/disk_int.h"

int key_cmp(uint8_t kind, const char *key, size_t len, const struct record *b)
{
    if (kind != b->kind)
        return kind < b->kind ? -1 : 1;
    size_t n = len < b->key_len ? len : b->key_len;
    int c = memcmp(key, b->key, n);
    return c != 0 ? c : len < b->key_len ? -1 : len > b->key_len;
}

size_t key_at(const struct disk *d, uint8_t kind, const char *key, size_t len)
{
    size_t low = 0, high = d->rows;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (key_cmp(kind, key, len, &d->by_key[mid]->rec) > 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

size_t hash_at(const struct disk *d, uint64_t hash)
{
    size_t low = 0, high = d->rows;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (d->by_hash[mid]->hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct kept *find(const struct disk *d, uint8_t kind, const char *key, size_t len)
{
    size_t at = key_at(d, kind, key, len);
    bool is = at < d->rows && key_cmp(kind, key, len, &d->by_key[at]->rec) == 0;
    return is ? d->by_key[at] : NULL;
}

/* ---- reading -------------------------------------------------------------------------------- */

int store_read_begin(struct store *s, struct store_txn **ret)
{
    *ret = (struct store_txn *)(void *)s;
    return 0;
}

void store_read_end(struct store_txn *txn)
{
    (void)txn;
}

static const struct disk *seen(const struct store_txn *txn)
{
    return ((const struct store *)(const void *)txn)->disk;
}

static struct store_row row_of(const struct kept *k)
{
    return (struct store_row){k->rec, k->index, k->stored_unix_ms};
}

int store_get_ref(struct store_txn *txn, uint8_t kind, const char *key, size_t key_len,
                  struct store_row *ret)
{
    const struct kept *k = find(seen(txn), kind, key, key_len);
    if (k == NULL)
        return ERR_NOTFOUND;
    *ret = row_of(k);
    return 0;
}

int store_get_by_hash_ref(struct store_txn *txn, uint64_t key_hash, struct store_row *ret)
{
    const struct disk *d = seen(txn);
    size_t at = hash_at(d, key_hash);
    if (at == d->rows || d->by_hash[at]->hash != key_hash)
        return ERR_NOTFOUND;
    *ret = row_of(d->by_hash[at]);
    return 0;
}

static bool has_field(const struct record *rec, enum row_field field, const char *value)
{
    struct row row;
    return row_decode(rec->value, rec->value_len, &row) == 0 && row_field_is(&row, field, value);
}

int store_scan(struct store_txn *txn, const struct store_query *q, store_scan_fn fn, void *arg)
{
    const struct disk *d = seen(txn);
    const char *after = q->after_key == NULL ? "" : q->after_key;
    size_t after_len = q->after_key == NULL ? 0 : q->after_key_len;
    for (size_t i = key_at(d, q->kind, after, after_len); i < d->rows; i++) {
        const struct record *rec = &d->by_key[i]->rec;
        if (rec->kind != q->kind)
            break;
        if (key_cmp(q->kind, after, after_len, rec) == 0 || (rec->deleted && !q->with_deleted) ||
            (q->field != 0 && !has_field(rec, q->field, q->value)))
            continue;
        struct store_row row = row_of(d->by_key[i]);
        int rv = fn(arg, &row);
        if (rv != 0)
            return rv < 0 ? rv : 0;
    }
    return 0;
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
    *ret = 0;
    return store_scan(txn, &(struct store_query){.kind = kind, .field = field, .value = value},
                      count_row, ret);
}

int store_fingerprints(struct store_txn *txn, uint64_t first, uint64_t last,
                       store_fingerprint_fn fn, void *arg)
{
    const struct disk *d = seen(txn);
    for (size_t i = hash_at(d, first); i < d->rows && d->by_hash[i]->hash <= last; i++) {
        const struct kept *k = d->by_hash[i];
        int rv = k->rec.kind == RECORD_TEST ? 0 : fn(arg, k->hash, k->rec.version);
        if (rv != 0)
            return rv < 0 ? rv : 0;
    }
    return 0;
}

uint64_t store_index(const struct store *s, uint8_t kind)
{
    return s->disk->index[kind];
}

uint64_t store_epoch(const struct store *s)
{
    return s->disk->epoch;
}

int store_health(const struct store *s)
{
    return s->disk->full ? s->disk->health : 0; /* it looks for room by itself */
}

void store_stats(struct store *s, struct store_stats *ret)
{
    *ret = (struct store_stats){.rows = s->disk->rows,
                                .commits = s->commits,
                                .writes = s->writes,
                                .queue_depth = s->log.count + s->state.count};
}

int store_log_load(struct store *s, struct store_log_state *ret)
{
    const struct disk *d = s->disk;
    *ret = (struct store_log_state){.term = d->term,
                                    .vote = d->vote,
                                    .first_index = d->base_index + 1,
                                    .last_index = d->last_index,
                                    .base_index = d->base_index,
                                    .base_term = d->base_term,
                                    .applied_index = d->applied_index,
                                    .applied_term = d->applied_term};
    return 0;
}

int store_log_read(struct store *s, uint64_t first, uint64_t last,
                   int (*fn)(void *arg, const struct store_log_entry *entry), void *arg)
{
    const struct disk *d = s->disk;
    for (uint64_t i = first; i <= last; i++) {
        if (i <= d->base_index || i > d->last_index)
            return ERR_NOTFOUND;
        int rv = fn(arg, &d->entries[i - d->base_index - 1]);
        if (rv != 0)
            return rv < 0 ? rv : 0;
    }
    return 0;
}

int store_log_intent(struct store *s, int (*fn)(void *arg, const struct store_log_intent *row),
                     void *arg)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < s->disk->intent_count; i++)
        err = fn(arg, &s->disk->intent[i]);
    return err > 0 ? 0 : err;
}

int store_log_config(struct store *s, void *out, size_t cap, size_t *ret_len)
{
    *ret_len = s->disk->config_len;
    if (*ret_len > cap)
        return ERR_TOOBIG;
    memcpy(out, s->disk->config, *ret_len);
    return 0;
}

int store_fact_get(struct store *s, const char *name, void *out, size_t cap, size_t *ret_len)
{
    const struct disk *d = s->disk;
    *ret_len = 0;
    for (size_t i = 0; i < d->fact_count; i++) {
        if (strcmp(d->facts[i].name, name) != 0)
            continue;
        if (d->facts[i].len > cap)
            return ERR_TOOBIG;
        *ret_len = d->facts[i].len;
        memcpy(out, d->facts[i].data, *ret_len);
        return 0;
    }
    return ERR_NOTFOUND;
}
