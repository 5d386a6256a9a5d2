/* SPDX-License-Identifier: Apache-2.0
 * What a list costs the processor: 10,000 rows read, decoded and put in the form of /v1 and of /v2,
 * without sockets. Best and middle of many rounds, as other work on the machine only adds.
 * Usage: bench_api [ROUNDS]. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "agent/api/item.h"
#include "agent/api/shape.h"
#include "agent/api/v1.h"
#include "agent/base/hash.h"
#include "tests/unit/api/fixture.h"

enum { ROWS = 10000, ROUNDS_MAX = 1000 };

struct sink {
    int (*emit)(struct buf *out, const struct store_row *row, const struct row *fields);
    struct buf out;
    uint64_t bytes;
    unsigned rows;
};

/* Of this thread: other work on the machine takes its turns, but is not counted. */
static uint64_t cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static int on_row(void *arg, const struct store_row *row)
{
    struct sink *s = arg;
    struct row fields;
    s->rows++;
    if (s->emit == NULL)
        return 0;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0 ||
        s->emit(&s->out, row, &fields) != 0)
        return -1;
    if (s->out.len > 48 * 1024) {
        s->bytes += s->out.len;
        buf_clear(&s->out);
    }
    return 0;
}

static struct shapes *shapes;

static int put_shaped(struct buf *out, const struct store_row *row, const struct row *fields)
{
    int err = shapes_put(shapes, out, fields->json);
    return err != 0 ? err : v1_put_metadata(out, row);
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void figure(const char *name, double *took, unsigned rounds)
{
    qsort(took, rounds, sizeof *took, by_size);
    printf("{\"bench\":\"api\",\"figure\":\"%s\",\"best\":%.3f,\"middle\":%.3f,\"unit\":\"ms\"}\n",
           name, took[0], took[rounds / 2]);
    fflush(stdout);
}

static void bench_scan(struct store *store, const char *name, unsigned rounds,
                       int (*emit)(struct buf *, const struct store_row *, const struct row *))
{
    static double took[ROUNDS_MAX];
    struct sink s = {.emit = emit};
    struct store_query q = {.kind = RECORD_TASK};
    buf_init(&s.out, 1 << 20);
    for (unsigned i = 0; i < rounds; i++) {
        struct store_txn *txn;
        uint64_t start = cpu_ns();
        s.rows = 0;
        if (store_read_begin(store, &txn) != 0 || store_scan(txn, &q, on_row, &s) != 0 ||
            s.rows != ROWS)
            exit(1);
        store_read_end(txn);
        took[i] = (double)(cpu_ns() - start) / 1e6;
    }
    buf_fini(&s.out);
    figure(name, took, rounds);
}

static void bench_hash(unsigned rounds)
{
    static double took[ROUNDS_MAX];
    static uint8_t bytes[1024];
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t start = cpu_ns(), h = i;
        for (unsigned n = 0; n < ROWS; n++)
            h = hash_bytes(bytes, sizeof bytes, h);
        took[i] = (double)(cpu_ns() - start) / 1e6;
        bytes[0] = (uint8_t)h;
    }
    figure("hash_10000_kib", took, rounds);
}

int main(int argc, char **argv)
{
    static struct fixture f;
    unsigned long rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    if (rounds < 1 || rounds > ROUNDS_MAX)
        return 64;
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, ROWS);
    bench_hash((unsigned)rounds);
    bench_scan(f.store, "scan_10000", (unsigned)rounds, NULL);
    bench_scan(f.store, "v2_10000", (unsigned)rounds, item_put);
    bench_scan(f.store, "v1_10000", (unsigned)rounds, v1_put_task);
    shapes = shapes_new(v1_put_task_entity);
    bench_scan(f.store, "v1_shaped_10000", (unsigned)rounds, put_shaped);
    shapes_free(shapes);
    fixture_stop(&f);
    return 0;
}
