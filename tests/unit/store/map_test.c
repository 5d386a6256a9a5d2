/* SPDX-License-Identifier: Apache-2.0
 * The map grows under load, with readers at work, and no write is lost. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "agent/base/clock.h"
#include "store/store_int.h"
#include "tests/unit/store/fixture.h"

enum { READERS = 3, ROWS = 400 };

static struct buf value;
static char json[32 * 1024];
static _Atomic bool over;

static struct record big(int n, char key[32])
{
    struct row row = {0};
    snprintf(key, 32, "task/%d", n);
    row_set(&row, ROW_CLUSTER, "c1");
    memset(json, 'j', sizeof json);
    row.json = (struct row_text){json, sizeof json};
    buf_clear(&value);
    cr_assert_eq(row_encode(&row, &value), 0);
    return rec_of(RECORD_TASK, key, 1, &value);
}

static int see(void *arg, const struct store_row *row)
{
    struct row fields;
    ++*(uint64_t *)arg;
    return row_decode(row->record.value, row->record.value_len, &fields) != 0 ||
                   fields.json.len != sizeof json || fields.json.data[sizeof json - 1] != 'j'
               ? ERR_CORRUPT
               : 0;
}

static void *read_rows(void *arg)
{
    struct fix *f = arg;
    struct store_query q = {.kind = RECORD_TASK, .field = ROW_CLUSTER, .value = "c1"};
    uint64_t last = 0;
    while (!atomic_load(&over)) {
        struct store_txn *t;
        uint64_t n = 0, count = 0;
        if (store_read_begin(f->s, &t) != 0 || store_scan(t, &q, see, &n) != 0 ||
            store_count(t, RECORD_TASK, 0, NULL, &count) != 0 || n != count || n < last)
            return NULL;
        last = n;
        store_read_end(t);
    }
    return f;
}

Test(map, grows_while_readers_are_at_work)
{
    struct fix f;
    pthread_t readers[READERS];
    struct store_stats stats;
    char key[32];
    fix_init(&f);
    f.options.state_map_bytes = 1u << 20;
    fix_reopen(&f);
    buf_init(&value, 1 << 20);
    for (size_t i = 0; i < READERS; i++)
        cr_assert_eq(pthread_create(&readers[i], NULL, read_rows, &f), 0);
    for (int i = 0; i < ROWS; i++) {
        struct record rec = big(i, key);
        cr_assert_eq(fix_apply(&f, &rec, 1), 0, "row %d", i);
    }
    atomic_store(&over, true);
    for (size_t i = 0; i < READERS; i++) {
        void *right = NULL;
        pthread_join(readers[i], &right);
        cr_assert_eq(right, &f, "a reader met an error");
    }
    store_stats(f.s, &stats);
    cr_assert_geq(stats.state_map_bytes, 16u << 20);
    cr_assert_eq(stats.rows, ROWS);
    fix_close(&f);
    fix_reopen(&f); /* although the options still say 1 MiB */
    cr_assert_eq(f.report.rows, ROWS);
    buf_fini(&value);
    fix_fini(&f);
}

/* A reader that does not end holds the growth up; what does not fit is refused as a whole, and
 * taken when it has ended. New readers are not held for long. */
Test(map, a_reader_that_stays_costs_a_refusal_at_worst)
{
    struct fix f;
    struct store_txn *stays, *t;
    char key[32];
    int stored = 0, err = 0;
    fix_init(&f);
    f.options.state_map_bytes = 1u << 20;
    fix_reopen(&f);
    buf_init(&value, 1 << 20);
    cr_assert_eq(store_read_begin(f.s, &stays), 0);
    while (err == 0 && stored < ROWS) {
        struct record rec = big(stored, key);
        err = fix_apply(&f, &rec, 1);
        stored += err == 0;
    }
    cr_assert_eq(err, ERR_FULL);
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    store_read_end(t);
    cr_assert_eq(fix_count(&f, RECORD_TASK, 0, NULL), (uint64_t)stored);
    store_read_end(stays);
    struct record rec = big(stored, key);
    cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    cr_assert_eq(store_health(f.s), 0);
    cr_assert_eq(fix_count(&f, RECORD_TASK, 0, NULL), (uint64_t)stored + 1);
    buf_fini(&value);
    fix_fini(&f);
}

/* Another program looks into the database and is killed: it would hold all pages from then on. */
static void look_and_die(const struct fix *f)
{
    char path[160];
    int status;
    snprintf(path, sizeof path, "%s/state", f->dir);
    pid_t pid = fork();
    if (pid == 0) {
        MDB_env *env;
        MDB_txn *txn;
        if (mdb_env_create(&env) == 0 && mdb_env_open(env, path, MDB_RDONLY, 0600) == 0 &&
            mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0)
            raise(SIGKILL);
        _exit(1);
    }
    waitpid(pid, &status, 0);
    cr_assert(WIFSIGNALED(status), "it could not look");
}

Test(map, a_reader_that_died_holds_nothing)
{
    struct fix f;
    char key[32];
    fix_open(&f);
    look_and_die(&f);
    buf_init(&value, 1 << 20);
    for (uint64_t i = 1; i <= ROWS; i++) {
        struct record rec = big(7, key);
        rec.version.hi = i;
        cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    }
    cr_assert_lt(store_state_bytes(f.s), 2u << 20, "%llu bytes of 13 MB written",
                 (unsigned long long)store_state_bytes(f.s));
    buf_fini(&value);
    fix_fini(&f);
}

static int see_entry(void *arg, const struct store_log_entry *entry)
{
    ++*(uint64_t *)arg;
    return entry->len == sizeof json && ((const char *)entry->data)[sizeof json - 1] == 'j'
               ? 0
               : ERR_CORRUPT;
}

static void *read_log(void *arg)
{
    struct fix *f = arg;
    while (!atomic_load(&over)) {
        struct store_log_state st;
        uint64_t n = 0;
        if (store_log_load(f->s, &st) != 0 ||
            store_log_read(f->s, 1, st.last_index, see_entry, &n) != 0 || n != st.last_index)
            return NULL;
    }
    return f;
}

/* Raft's log may be longer than its map was made for: no write of it is refused. */
Test(map, the_log_grows_while_it_is_read)
{
    struct fix f;
    pthread_t reader;
    void *right = NULL;
    uint64_t n = 0;
    fix_init(&f);
    f.options.log_map_bytes = 1u << 20;
    fix_reopen(&f);
    memset(json, 'j', sizeof json);
    cr_assert_eq(pthread_create(&reader, NULL, read_log, &f), 0);
    for (uint64_t i = 1; i <= 200; i++) {
        struct store_log_entry entry = {i, 1, 1, sizeof json, json};
        struct store_log_write w = {.entries = &entry, .entry_count = 1};
        cr_assert_eq(fix_log(&f, &w), 0, "entry %llu", (unsigned long long)i);
    }
    atomic_store(&over, true);
    pthread_join(reader, &right);
    cr_assert_eq(right, &f, "a reader met an error");
    fix_close(&f);
    fix_reopen(&f); /* although the options still say 1 MiB */
    cr_assert(!f.report.log_quarantined, "%s", f.report.why);
    cr_assert_eq(store_log_read(f.s, 1, 200, see_entry, &n), 0);
    cr_assert_eq(n, 200u);
    fix_fini(&f);
}

/* After a storm most of the file is free pages: the next start gives them back. */
Test(map, a_start_gives_free_pages_back)
{
    static char blob[RECORD_VALUE_MAX];
    struct fix f;
    struct store_stats before, after;
    struct store_txn *t;
    struct store_row row;
    char key[32];
    fix_open(&f);
    buf_init(&value, 1 << 20);
    struct record stays = big(7, key);
    cr_assert_eq(fix_apply(&f, &stays, 1), 0);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 90; i++) {
            char name[16];
            snprintf(name, sizeof name, "blob/%d", i);
            struct record rec = rec_of(RECORD_TEST, name, 1, NULL);
            rec.value = (const uint8_t *)blob;
            rec.value_len = sizeof blob;
            cr_assert_eq(pass == 0 ? fix_apply(&f, &rec, 1) : fix_purge(&f, &rec), 0);
        }
    store_stats(f.s, &before);
    cr_assert_gt(before.state_bytes, 40u << 20);
    uint64_t epoch = store_epoch(f.s);
    fix_close(&f);
    fix_reopen(&f);
    store_stats(f.s, &after);
    cr_assert_lt(after.state_bytes, 1u << 20, "%llu bytes", (unsigned long long)after.state_bytes);
    cr_assert_eq(store_epoch(f.s), epoch);
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_get_ref(t, RECORD_TASK, "task/7", 6, &row), 0);
    cr_assert_eq(row.record.value_len, stays.value_len);
    store_read_end(t);
    fix_close(&f);
    fix_reopen(&f);
    cr_assert(!f.report.state_quarantined);
    cr_assert_eq(f.report.rows, 1u);
    buf_fini(&value);
    fix_fini(&f);
}
