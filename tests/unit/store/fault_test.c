/* SPDX-License-Identifier: Apache-2.0
 * Every call of LMDB fails once, in turn, and with each kind of failure: nothing that was
 * acknowledged is lost, nothing is half done, nothing crashes, and the next start is sound. */
#include "agent/base/clock.h"
#include "tests/unit/store/fixture.h"
#include "tests/unit/store/lmdb_faults.h"

/* ---- what happens ---- */

enum { TASKS = 6 };
static struct buf value;

/* What was acknowledged. */
struct known {
    uint64_t version[TASKS]; /* 0: none, or purged */
    uint64_t entries;
    bool fact;
};

static void put(struct fix *f, struct known *k, int n, uint64_t version)
{
    char key[8];
    snprintf(key, sizeof key, "t%d", n);
    struct record rec =
        task_of(&value, key, version, "c1", version % 2 ? "RUNNING" : "STOPPED", "web");
    if (fix_apply(f, &rec, 1) == 0)
        k->version[n] = version;
}

static int see(void *arg, const struct store_row *row)
{
    (void)row;
    ++*(int *)arg;
    return 0;
}

static int see_text(void *arg, const char *text, size_t len, uint64_t rows)
{
    (void)text;
    (void)len;
    *(int *)arg += (int)rows;
    return 0;
}

static void read_all(struct fix *f)
{
    struct store_txn *t;
    struct store_row row;
    struct store_query all = {.kind = RECORD_TASK};
    struct store_query some = {.kind = RECORD_TASK, .field = ROW_CLUSTER, .value = "c1"};
    uint64_t count;
    int n = 0;
    if (store_read_begin(f->s, &t) != 0)
        return;
    (void)!store_get_ref(t, RECORD_TASK, "t1", 2, &row);
    (void)!store_scan(t, &all, see, &n);
    (void)!store_scan(t, &some, see, &n);
    (void)!store_count(t, RECORD_TASK, 0, NULL, &count);
    (void)!store_values(t, RECORD_TASK, ROW_STATUS, see_text, &n);
    (void)!store_changes(t, 0, 0, see, &n);
    if (store_rewind(t, clock_unix_ms() - 1, clock_unix_ms()) == 0)
        (void)!store_scan(t, &some, see, &n);
    store_read_end(t);
}

static void work(struct fix *f, struct known *k)
{
    for (int n = 0; n < TASKS; n++)
        put(f, k, n, k->version[n] + 1);
    for (int n = 0; n < TASKS; n += 2)
        put(f, k, n, k->version[n] + 1);
    struct record rec = rec_of(RECORD_TASK, "t1", 99, NULL);
    if (fix_purge(f, &rec) == 0)
        k->version[1] = 0;
    struct store_log_entry entry = {k->entries + 1, 1, 1, 3, "abc"};
    struct store_log_write w = {.entries = &entry, .entry_count = 1};
    if (fix_log(f, &w) == 0)
        k->entries++;
    k->fact = fix_fact(f, "name", "value") == 0 || k->fact;
    (void)!store_poison(f->s, "why", "x", 1);
    read_all(f);
}

static void check(struct fix *f, const struct known *k, long at)
{
    struct store_txn *t;
    struct store_row row;
    struct store_log_state log;
    char key[8], text[16];
    size_t len;
    int rows = 0, by_index = 0, want = 0;
    struct store_query all = {.kind = RECORD_TASK};
    struct store_query some = {.kind = RECORD_TASK, .field = ROW_CLUSTER, .value = "c1"};
    cr_assert(!f->report.state_quarantined && !f->report.log_quarantined, "call %ld: %s", at,
              f->report.why);
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    for (int n = 0; n < TASKS; n++) {
        snprintf(key, sizeof key, "t%d", n);
        int err = store_get_ref(t, RECORD_TASK, key, 2, &row);
        cr_assert_eq(err, k->version[n] == 0 ? ERR_NOTFOUND : 0, "call %ld: %s", at, key);
        cr_assert(err != 0 || row.record.version.hi == k->version[n], "call %ld: %s", at, key);
        want += k->version[n] != 0;
    }
    cr_assert_eq(store_scan(t, &all, see, &rows), 0);
    cr_assert_eq(store_scan(t, &some, see, &by_index), 0);
    cr_assert(rows == want && by_index == want, "call %ld: %d, %d of %d", at, rows, by_index, want);
    store_read_end(t);
    cr_assert_eq(store_log_load(f->s, &log), 0);
    cr_assert_eq(log.last_index, k->entries, "call %ld, error %d: %llu entries of %llu", at,
                 fail_with, (unsigned long long)log.last_index, (unsigned long long)k->entries);
    cr_assert_eq(store_fact_get(f->s, "name", text, sizeof text, &len), k->fact ? 0 : ERR_NOTFOUND);
}

/* A life in which call number `at` fails. False: it ended before that call. */
static bool life(long at, int code)
{
    struct fix f;
    struct known k = {.entries = 0};
    fix_init(&f);
    fix_in_memory(&f);
    f.options.past_ms = 60000;
    f.options.past_bytes = 1 << 20;
    fail_at = 0;
    fix_reopen(&f);
    work(&f, &k);
    fix_close(&f);
    calls = 0;
    fail_with = code;
    fail_at = at;
    if (fix_try_open(&f) == 0) {
        work(&f, &k);
        fix_close(&f);
    }
    bool reached = calls >= at;
    fail_at = 0;
    fix_reopen(&f);
    check(&f, &k, at);
    work(&f, &k); /* and it works on */
    check(&f, &k, at);
    fix_fini(&f);
    return reached;
}

Test(fault, every_call_fails_once)
{
    static const int codes[] = {ENOSPC, EIO, ENOMEM, MDB_MAP_FULL, MDB_READERS_FULL};
    buf_init(&value, 1 << 20);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        long at = 1;
        while (life(at, codes[i]))
            at += 1 + (long)i; /* all of them once, then some */
        cr_assert_gt(at, 200, "only %ld calls", at);
    }
    buf_fini(&value);
}
