/* SPDX-License-Identifier: Apache-2.0
 * Rows in memory, told to the listener from the loop as the real ones are. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/ensure.h"
#include "agent/base/row.h"
#include "fakes.h"

struct kept {
    struct record record;
    char key[RECORD_KEY_MAX + 1];
};
static struct kept *kept[2048];
static size_t kept_count;
static rows_listen_fn listener;
static void *listener_arg;

struct later {
    uv_timer_t timer;
    void (*fn)(void *arg);
    void *arg;
};

static void later_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void later_fire(uv_timer_t *timer)
{
    struct later *later = timer->data;
    later->fn(later->arg);
    uv_close((uv_handle_t *)timer, later_closed);
}

void fake_later(uint64_t ms, void (*fn)(void *arg), void *arg)
{
    struct later *later = calloc(1, sizeof *later);
    ENSURE(later);
    uv_timer_init(fake.loop, &later->timer);
    later->timer.data = later;
    later->fn = fn;
    later->arg = arg;
    uv_timer_start(&later->timer, later_fire, ms, 0);
}

struct post {
    struct kept **kept;
    size_t count;
    store_apply_fn done;
    void *arg;
    int err;
    bool from_peers;
};

static struct kept *copy_record(const struct record *rec)
{
    struct kept *k = calloc(1, sizeof *k);
    ENSURE(k);
    k->record = *rec;
    memcpy(k->key, rec->key, rec->key_len);
    k->record.key = k->key;
    uint8_t *value = malloc(rec->value_len + 1u);
    ENSURE(value);
    if (rec->value_len)
        memcpy(value, rec->value, rec->value_len);
    k->record.value = value;
    return k;
}

static void free_kept(struct kept *k)
{
    free((void *)(uintptr_t)k->record.value);
    free(k);
}

static struct kept **find_kept(uint8_t kind, const char *key)
{
    for (size_t i = 0; i < kept_count; i++) {
        if (kept[i]->record.kind == kind && strcmp(kept[i]->key, key) == 0)
            return &kept[i];
    }
    return NULL;
}

static void post_done(void *arg)
{
    struct post *post = arg;
    struct record *records = calloc(post->count, sizeof *records);
    struct store_change *changes = calloc(post->count, sizeof *changes);
    ENSURE(records && changes);
    for (size_t i = 0; i < post->count; i++) {
        struct kept *k = post->kept[i];
        struct kept **old = find_kept(k->record.kind, k->key);
        records[i] = k->record;
        changes[i].applied =
            !post->err && (!old || record_is_newer(k->record.version, (*old)->record.version));
        if (!changes[i].applied)
            continue;
        struct kept *mine = copy_record(&k->record);
        if (old) {
            free_kept(*old);
            *old = mine;
        } else {
            ENSURE(kept_count < sizeof kept / sizeof kept[0]);
            kept[kept_count++] = mine;
        }
    }
    if (!post->err && listener)
        listener(listener_arg, records, changes, post->count, post->from_peers);
    if (post->done)
        post->done(post->arg, post->err, records, changes, post->err ? 0 : post->count);
    for (size_t i = 0; i < post->count; i++)
        free_kept(post->kept[i]);
    free(post->kept);
    free(records);
    free(changes);
    free(post);
}

int rows_apply(struct rows *r, const struct record *records, size_t count, store_apply_fn done,
               void *arg)
{
    (void)r;
    struct post *post = calloc(1, sizeof *post);
    ENSURE(post);
    post->kept = calloc(count, sizeof *post->kept);
    ENSURE(post->kept);
    for (size_t i = 0; i < count; i++)
        post->kept[i] = copy_record(&records[i]);
    post->count = count;
    post->done = done;
    post->arg = arg;
    post->from_peers =
        fake.from_peers && (records[0].kind == RECORD_INSTANCE || records[0].kind == RECORD_TASK);
    post->err = fake.store_fails ? ERR_FULL : 0;
    if (fake.attempt_costs_lease && records[0].kind == RECORD_ATTEMPT)
        fake.lease = false;
    fake_later(0, post_done, post);
    return 0;
}

void rows_listen(struct rows *r, rows_listen_fn fn, void *arg)
{
    (void)r;
    listener = fn;
    listener_arg = arg;
}

int store_read_begin(struct store *s, struct store_txn **ret)
{
    (void)s;
    *ret = NULL;
    return 0;
}

void store_read_end(struct store_txn *txn)
{
    (void)txn;
}

int store_get_ref(struct store_txn *txn, uint8_t kind, const char *key, size_t key_len,
                  struct store_row *ret)
{
    (void)txn;
    (void)key_len;
    struct kept **k = find_kept(kind, key);
    if (!k)
        return ERR_NOTFOUND;
    *ret = (struct store_row){.record = (*k)->record};
    return 0;
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(struct kept *const *)a)->key, (*(struct kept *const *)b)->key);
}

int store_scan(struct store_txn *txn, const struct store_query *query, store_scan_fn fn, void *arg)
{
    (void)txn;
    fake.scans++;
    qsort(kept, kept_count, sizeof kept[0], by_key);
    for (size_t i = 0; i < kept_count; i++) {
        if (kept[i]->record.kind != query->kind || kept[i]->record.deleted)
            continue;
        char after[RECORD_KEY_MAX + 1] = "";
        if (query->after_key)
            memcpy(after, query->after_key, query->after_key_len);
        if (query->after_key && strcmp(kept[i]->key, after) <= 0)
            continue;
        struct store_row row = {.record = kept[i]->record};
        if (fake.row_us > 0)
            usleep(fake.row_us);
        int rv = fn(arg, &row);
        if (rv)
            return rv < 0 ? rv : 0;
    }
    return 0;
}

int fake_attempts(void)
{
    int n = 0;
    for (size_t i = 0; i < kept_count; i++)
        n += kept[i]->record.kind == RECORD_ATTEMPT && !kept[i]->record.deleted;
    return n;
}

void fake_put_row(uint8_t kind, const char *key, uint64_t version, const struct row *row)
{
    struct buf value;
    buf_init(&value, RECORD_VALUE_MAX);
    ENSURE(row_encode(row, &value) == 0);
    struct record rec = {.kind = kind,
                         .source = fake.source == 0 ? SOURCE_EVENT : fake.source,
                         .key_len = (uint16_t)strlen(key),
                         .key = key,
                         .value_len = (uint32_t)value.len,
                         .value = (const uint8_t *)value.data,
                         .version = {version, 0}};
    ENSURE(rows_apply(NULL, &rec, 1, NULL, NULL) == 0);
    buf_fini(&value);
}

bool fake_attempt_is_stored(const char *key)
{
    struct kept **k = find_kept(RECORD_ATTEMPT, key);
    return k && !(*k)->record.deleted;
}

void fake_store_fini(void)
{
    for (size_t i = 0; i < kept_count; i++)
        free_kept(kept[i]);
    kept_count = 0;
}
