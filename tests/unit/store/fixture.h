/* SPDX-License-Identifier: Apache-2.0
 * A store in a directory of its own, driven synchronously. */
#ifndef BLOX_TESTS_STORE_FIXTURE_H
#define BLOX_TESTS_STORE_FIXTURE_H

#include <criterion/criterion.h>
#include <ftw.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/buf.h"
#include "agent/base/log.h"
#include "store/store.h"

struct fix {
    struct store *s;
    struct store_report report;
    struct store_options options;
    char dir[128];
    sem_t wake;
    int pending;
    int err; /* of the last completion */
    struct store_change changes[512];
    size_t count;
};

static inline void fix_notify(void *arg)
{
    struct fix *f = arg;
    sem_post(&f->wake);
}

static inline int fix_try_open(struct fix *f)
{
    struct errmsg e;
    f->options.dir = f->dir;
    f->options.notify = fix_notify;
    f->options.notify_arg = f;
    if (f->options.state_map_bytes == 0)
        f->options.state_map_bytes = 64u << 20;
    if (f->options.state_disk_min == 0)
        f->options.state_disk_min = 1;
    return store_open(&f->s, &f->options, &f->report, &e);
}

static inline void fix_reopen(struct fix *f)
{
    cr_assert_eq(fix_try_open(f), 0);
}

static inline void fix_init(struct fix *f)
{
    memset(f, 0, sizeof *f);
    sem_init(&f->wake, 0, 0);
    snprintf(f->dir, sizeof f->dir, "/tmp/blox-store-XXXXXX");
    cr_assert_not_null(mkdtemp(f->dir));
    log_configure(LOG_OFF, LOG_TEXT);
}

static inline void fix_open(struct fix *f)
{
    fix_init(f);
    fix_reopen(f);
}

static inline int fix_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline void fix_remove(const char *dir)
{
    nftw(dir, fix_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void fix_close(struct fix *f)
{
    store_close(f->s);
    f->s = NULL;
}

static inline void fix_fini(struct fix *f)
{
    if (f->s != NULL)
        fix_close(f);
    fix_remove(f->dir);
    sem_destroy(&f->wake);
}

static inline void fix_wait(struct fix *f)
{
    while (f->pending > 0) {
        sem_wait(&f->wake);
        store_poll(f->s);
    }
}

static inline void fix_applied(void *arg, int err, const struct record *records,
                               const struct store_change *changes, size_t count)
{
    struct fix *f = arg;
    (void)records;
    f->err = err;
    f->count = count < 512 ? count : 512;
    memcpy(f->changes, changes, f->count * sizeof *changes);
    f->pending--;
}

static inline void fix_done(void *arg, int err)
{
    struct fix *f = arg;
    f->err = err;
    f->pending--;
}

static inline int fix_apply(struct fix *f, const struct record *records, size_t count)
{
    f->pending++;
    int err = store_apply(f->s, records, count, fix_applied, f);
    if (err != 0) {
        f->pending--;
        return err;
    }
    fix_wait(f);
    return f->err;
}

static inline int fix_log(struct fix *f, const struct store_log_write *w)
{
    f->pending++;
    int err = store_log_write(f->s, w, fix_done, f);
    if (err != 0) {
        f->pending--;
        return err;
    }
    fix_wait(f);
    return f->err;
}

static inline int fix_fact(struct fix *f, const char *name, const char *text)
{
    f->pending++;
    int err = store_fact_put(f->s, name, text, strlen(text), fix_done, f);
    if (err != 0) {
        f->pending--;
        return err;
    }
    fix_wait(f);
    return f->err;
}

static inline int fix_purge(struct fix *f, const struct record *target)
{
    f->pending++;
    int err = store_purge(f->s, target, fix_done, f);
    if (err != 0) {
        f->pending--;
        return err;
    }
    fix_wait(f);
    return f->err;
}

static inline struct record rec_of(uint8_t kind, const char *key, uint64_t version,
                                   const struct buf *value)
{
    return (struct record){.kind = kind,
                           .source = SOURCE_EVENT,
                           .key_len = (uint16_t)strlen(key),
                           .key = key,
                           .version = {version, 0},
                           .observed_unix_ms = 1000,
                           .term = 3,
                           .value = value == NULL ? NULL : (const uint8_t *)value->data,
                           .value_len = value == NULL ? 0 : (uint32_t)value->len};
}

/* A task row. The buffer holds the value until the next call with it. */
static inline struct record task_of(struct buf *value, const char *key, uint64_t version,
                                    const char *cluster, const char *status, const char *family)
{
    struct row row = {0};
    buf_clear(value);
    row_set(&row, ROW_CLUSTER, cluster);
    row_set(&row, ROW_STATUS, status);
    row_set(&row, ROW_FAMILY, family);
    row.json.data = "{}";
    row.json.len = 2;
    cr_assert_eq(row_encode(&row, value), 0);
    return rec_of(RECORD_TASK, key, version, value);
}

static inline uint64_t fix_count(struct fix *f, uint8_t kind, enum row_field field,
                                 const char *value)
{
    struct store_txn *t;
    uint64_t n = 0;
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    cr_assert_eq(store_count(t, kind, field, value, &n), 0);
    store_read_end(t);
    return n;
}

/* Keys of a scan, comma separated. */
struct key_list {
    char text[4096];
    size_t count;
    int stop_after;
};

static inline int key_list_add(void *arg, const struct store_row *row)
{
    struct key_list *k = arg;
    size_t len = strlen(k->text);
    snprintf(k->text + len, sizeof k->text - len, "%s%.*s", len > 0 ? "," : "",
             (int)row->record.key_len, row->record.key);
    k->count++;
    return k->stop_after > 0 && k->count >= (size_t)k->stop_after;
}

static inline void fix_scan(struct fix *f, const struct store_query *q, struct key_list *k)
{
    struct store_txn *t;
    k->text[0] = '\0';
    k->count = 0;
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    cr_assert_eq(store_scan(t, q, key_list_add, k), 0);
    store_read_end(t);
}

#endif
