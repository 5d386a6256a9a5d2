/* SPDX-License-Identifier: Apache-2.0
 * Figures of the store. Usage: bench_store DIRECTORY [MEGABYTES of the large database]. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/prng.h"
#include "tests/bench/batches.h"

enum { BATCH_MAX = 100, KEYS = 20000 };

static void figure(const char *name, double value, const char *unit)
{
    figure_of("store", name, value, unit);
}

static double seconds_since(uint64_t start_ns)
{
    return (double)(clock_mono_ns() - start_ns) / 1e9;
}

static void make_row(struct buf *value, unsigned key, size_t json_bytes)
{
    static const char *const statuses[] = {"RUNNING", "PENDING", "STOPPED"};
    static char json[8192];
    char instance[128];
    struct row row = {0};
    memset(json, 'j', sizeof json);
    snprintf(instance, sizeof instance,
             "arn:aws:ecs:us-east-1:123456789012:container-instance/main/%08x", key % 500);
    row_set(&row, ROW_CLUSTER, "arn:aws:ecs:us-east-1:123456789012:cluster/main");
    row_set(&row, ROW_STATUS, statuses[key % 3]);
    row_set(&row, ROW_INSTANCE, instance);
    row_set(&row, ROW_FAMILY, "log-agent");
    row_set(&row, ROW_STARTED_BY, "5d0c1d64-8b3d-4a44-bb0c-0e1f5e1ab001");
    row_set(&row, ROW_GROUP, "daemon:log-agent");
    row_set(&row, ROW_ENVIRONMENT, "log-agent");
    row.json = (struct row_text){json, json_bytes};
    buf_clear(value);
    if (row_encode(&row, value) != 0)
        exit(1);
}

static struct buf values[BATCH_MAX];
static char keys[BATCH_MAX][96];

static void post_batch(struct store *s, size_t batch, unsigned first, uint64_t version,
                       size_t json_bytes)
{
    struct record recs[BATCH_MAX];
    for (size_t i = 0; i < batch; i++) {
        unsigned key = first + (unsigned)i;
        make_row(&values[i], key, json_bytes);
        snprintf(keys[i], sizeof keys[i], "arn:aws:ecs:us-east-1:123456789012:task/main/%08x%08x",
                 key * 2654435761u, key);
        recs[i] = (struct record){.kind = RECORD_TASK,
                                  .source = SOURCE_EVENT,
                                  .key = keys[i],
                                  .key_len = (uint16_t)strlen(keys[i]),
                                  .value = (const uint8_t *)values[i].data,
                                  .value_len = (uint32_t)values[i].len,
                                  .version = {version, 0}};
    }
    while (store_apply(s, recs, batch, on_applied, NULL) != 0)
        settle(s, open_batches / 2);
    open_batches++;
}

static void bench_apply(struct store *s, size_t batch, uint64_t version, const char *name)
{
    uint64_t start = clock_mono_ns();
    for (unsigned key = 0; key < KEYS; key += (unsigned)batch) {
        post_batch(s, batch, key, version, 300);
        settle(s, 32); /* what an intake keeps in flight */
    }
    settle(s, 0);
    figure(name, KEYS / seconds_since(start), "rows/s");
}

static int count_row(void *arg, const struct store_row *row)
{
    size_t *n = arg;
    *n += row->record.value_len;
    return 0;
}

struct limited {
    unsigned left;
    size_t bytes;
};

static int count_some(void *arg, const struct store_row *row)
{
    struct limited *l = arg;
    l->bytes += row->record.value_len;
    return --l->left == 0;
}

static void bench_read(struct store *s)
{
    struct store_txn *t;
    struct store_row row;
    struct prng rng;
    char key[96];
    size_t bytes = 0;
    prng_seed(&rng, 1);
    uint64_t start = clock_mono_ns();
    unsigned gets = 200000;
    for (unsigned i = 0; i < gets; i++) {
        unsigned k = (unsigned)prng_below(&rng, KEYS);
        snprintf(key, sizeof key, "arn:aws:ecs:us-east-1:123456789012:task/main/%08x%08x",
                 k * 2654435761u, k);
        if (store_read_begin(s, &t) != 0 ||
            store_get_ref(t, RECORD_TASK, key, strlen(key), &row) != 0)
            exit(1);
        bytes += row.record.value_len;
        store_read_end(t);
    }
    figure("get_with_snapshot", gets / seconds_since(start), "gets/s");
    struct limited all = {.left = 10000};
    struct store_query q = {.kind = RECORD_TASK};
    if (store_read_begin(s, &t) != 0)
        exit(1);
    start = clock_mono_ns();
    if (store_scan(t, &q, count_some, &all) != 0)
        exit(1);
    figure("scan_10000_by_key", seconds_since(start) * 1e3, "ms");
    struct limited some = {.left = 10000};
    q.field = ROW_FAMILY;
    q.value = "log-agent";
    start = clock_mono_ns();
    if (store_scan(t, &q, count_some, &some) != 0)
        exit(1);
    figure("scan_10000_by_index", seconds_since(start) * 1e3, "ms");
    q.field = ROW_INSTANCE;
    q.value = "arn:aws:ecs:us-east-1:123456789012:container-instance/main/00000007";
    start = clock_mono_ns();
    if (store_scan(t, &q, count_row, &bytes) != 0)
        exit(1);
    figure("scan_40_of_20000_by_index", seconds_since(start) * 1e6, "us");
    store_read_end(t);
}

static int by_size(const void *a, const void *b)
{
    const double *x = a;
    const double *y = b;
    return (*x > *y) - (*x < *y);
}

static void bench_log(struct store *s)
{
    enum { WRITES = 300 };
    static double took[WRITES];
    struct store_log_entry entry = {.term = 1, .type = 1, .len = 300, .data = values[0].data};
    for (unsigned i = 0; i < WRITES; i++) {
        entry.index = i + 1;
        struct store_log_write w = {.entries = &entry, .entry_count = 1};
        uint64_t start = clock_mono_ns();
        open_batches++;
        if (store_log_write(s, &w, on_done, NULL) != 0)
            exit(1);
        settle(s, 0);
        took[i] = seconds_since(start) * 1e3;
    }
    qsort(took, WRITES, sizeof took[0], by_size);
    figure("synced_log_write_p50", took[WRITES / 2], "ms");
    figure("synced_log_write_p99", took[WRITES * 99 / 100], "ms");
}

static struct store *must_open_with(const char *dir, uint64_t past_ms, struct store_report *report)
{
    struct store *s;
    struct errmsg e;
    struct store_options o = {
        .dir = dir, .past_ms = past_ms, .past_bytes = 64u << 20, .notify = on_notify};
    if (store_open(&s, &o, report, &e) != 0) {
        fprintf(stderr, "bench_store: %s\n", e.text);
        exit(1);
    }
    return s;
}

static struct store *must_open(const char *dir, struct store_report *report)
{
    return must_open_with(dir, 0, report);
}

static int touch(void *arg, const struct store_row *row)
{
    *(size_t *)arg += row->record.value_len;
    return 0;
}

/* The same updates with replaced rows kept, and what it costs to look back over them. */
static void bench_history(const char *dir)
{
    struct store_report report;
    struct store_query q = {.kind = RECORD_TASK};
    struct store_stats stats;
    struct store_txn *t;
    size_t bytes = 0;
    struct store *s = must_open_with(dir, 3600 * 1000, &report);
    bench_apply(s, 10, 4, "update_batches_of_10_with_history");
    bench_apply(s, 100, 5, "update_batches_of_100_with_history");
    store_stats(s, &stats);
    int64_t now = clock_unix_ms();
    if (store_read_begin(s, &t) != 0)
        exit(1);
    uint64_t start = clock_mono_ns();
    if (store_rewind(t, store_past_since(t, now), now) != 0 ||
        store_scan(t, &q, touch, &bytes) != 0)
        exit(1);
    figure("rows_looked_back_over", (double)stats.past_rows, "rows");
    figure("rewind_and_scan_20000", seconds_since(start) * 1e3, "ms");
    store_read_end(t);
    store_close(s);
}

/* Rows of 4 KB until the file is that large; then how long a start takes. */
static void bench_open(const char *dir, unsigned long megabytes)
{
    struct store_report report;
    struct store_stats stats;
    struct store *s = must_open(dir, &report);
    for (unsigned key = 1000000;; key += BATCH_MAX) {
        post_batch(s, BATCH_MAX, key, 1, 3500);
        settle(s, 32);
        if (key % 5000 == 0) {
            store_stats(s, &stats);
            if (stats.state_bytes >> 20 >= megabytes || failed != 0)
                break;
        }
    }
    settle(s, 0);
    store_stats(s, &stats);
    figure("large_database", (double)(stats.state_bytes >> 20), "MiB");
    figure("large_database_rows", (double)stats.rows, "rows");
    store_close(s);
    uint64_t start = clock_mono_ns();
    s = must_open(dir, &report);
    figure("open_large_database", seconds_since(start) * 1e3, "ms");
    if (report.state_quarantined || report.rows != stats.rows)
        failed = ERR_CORRUPT;
    store_close(s);
}

int main(int argc, char **argv)
{
    struct store_report report;
    if (argc < 2) {
        fprintf(stderr, "usage: bench_store DIRECTORY [MEGABYTES]\n");
        return 64;
    }
    log_configure(LOG_WARN, LOG_TEXT);
    sem_init(&wake, 0, 0);
    for (size_t i = 0; i < BATCH_MAX; i++)
        buf_init(&values[i], 1 << 20);
    struct store *s = must_open(argv[1], &report);
    bench_apply(s, 10, 1, "insert_batches_of_10");
    bench_apply(s, 10, 2, "update_batches_of_10");
    bench_apply(s, 100, 3, "update_batches_of_100");
    bench_apply(s, 100, 3, "duplicates_batches_of_100");
    bench_read(s);
    bench_log(s);
    store_close(s);
    bench_history(argv[1]);
    bench_open(argv[1], argc > 2 ? strtoul(argv[2], NULL, 10) : 1024);
    for (size_t i = 0; i < BATCH_MAX; i++)
        buf_fini(&values[i]);
    if (failed != 0)
        fprintf(stderr, "bench_store: %s\n", err_text(failed));
    return failed == 0 ? 0 : 1;
}
