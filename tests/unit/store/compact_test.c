/* SPDX-License-Identifier: Apache-2.0
 * A start that gives free pages back, and what may come between: it is killed, the disk is full. */
#include <fcntl.h>
#include <sys/stat.h>

#include "store/store_int.h"
#include "tests/unit/store/fixture.h"
#include "tests/unit/store/lmdb_faults.h"

enum { ROWS = 50, BLOBS = 70, ENTRIES = 3 };

static struct buf value;

/* The copy is interrupted when half of it is written. */
int mdb_env_copy2(MDB_env *env, const char *path, unsigned flags)
{
    char data[256];
    struct stat st;
    REAL(mdb_env_copy2, real);
    int rc = real(env, path, flags);
    snprintf(data, sizeof data, "%s/data.mdb", path);
    if (rc == 0 && atomic_load(&calls) + 1 == atomic_load(&fail_at)) {
        cr_assert_eq(stat(data, &st), 0);
        cr_assert_eq(truncate(data, st.st_size / 2), 0);
    }
    return fails() ? fail_with : rc;
}

static void put_blobs(struct fix *f, bool purge)
{
    static char blob[RECORD_VALUE_MAX];
    for (int i = 0; i < BLOBS; i++) {
        char key[16];
        snprintf(key, sizeof key, "blob/%d", i);
        struct record rec = rec_of(RECORD_TEST, key, 1, NULL);
        rec.value = (const uint8_t *)blob;
        rec.value_len = sizeof blob;
        cr_assert_eq(purge ? fix_purge(f, &rec) : fix_apply(f, &rec, 1), 0);
    }
}

/* 35 MiB of which little is in use, rows and raft's log. */
static void fill(struct fix *f)
{
    fix_init(f);
    fix_in_memory(f);
    fix_reopen(f);
    buf_init(&value, 1 << 20);
    for (int i = 0; i < ROWS; i++) {
        char key[16];
        snprintf(key, sizeof key, "t%02d", i);
        struct record rec = task_of(&value, key, 1, "c1", i % 2 ? "RUNNING" : "STOPPED", "web");
        cr_assert_eq(fix_apply(f, &rec, 1), 0);
    }
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        struct store_log_entry e = {i, 1, 1, 3, "abc"};
        struct store_log_intent row = {.kind = RECORD_ENVIRONMENT,
                                       .key = "web",
                                       .key_len = 3,
                                       .value = "{}",
                                       .value_len = 2,
                                       .version = {1, i}};
        struct store_log_write w = {.entries = &e,
                                    .entry_count = 1,
                                    .intent = &row,
                                    .intent_count = 1,
                                    .applied_index = i,
                                    .applied_term = 1};
        cr_assert_eq(fix_log(f, &w), 0);
    }
    put_blobs(f, false);
    put_blobs(f, true);
    fix_close(f);
    buf_fini(&value);
}

static void copy_dir(const struct fix *from, struct fix *to)
{
    char command[512];
    fix_init(to);
    fix_in_memory(to);
    snprintf(command, sizeof command, "cp -a --sparse=always %s/. %s", from->dir, to->dir);
    cr_assert_eq(system(command), 0);
}

static int count_intent(void *arg, const struct store_log_intent *row)
{
    ++*(int *)arg;
    return row->version.lo == ENTRIES ? 0 : ERR_INTERNAL;
}

/* Everything is there, whether or not the pages were given back this time; nothing lies about. */
static void check(struct fix *f, long at, bool compacted)
{
    struct key_list keys = {.count = 0};
    struct store_query q = {.kind = RECORD_TASK, .field = ROW_CLUSTER, .value = "c1"};
    struct store_log_state log;
    struct store_stats stats;
    struct stat st;
    char path[256];
    int intent = 0;
    cr_assert(!f->report.state_quarantined && !f->report.log_quarantined, "call %ld: %s", at,
              f->report.why);
    fix_scan(f, &q, &keys);
    cr_assert_eq(keys.count, (size_t)ROWS, "call %ld: %zu rows", at, keys.count);
    cr_assert_eq(fix_count(f, RECORD_TASK, ROW_STATUS, "RUNNING"), (uint64_t)ROWS / 2);
    cr_assert_eq(store_log_load(f->s, &log), 0);
    cr_assert_eq(log.last_index, (uint64_t)ENTRIES, "call %ld", at);
    cr_assert_eq(store_log_intent(f->s, count_intent, &intent), 0);
    cr_assert_eq(intent, 1);
    snprintf(path, sizeof path, "%s/" STATE_NEW, f->dir);
    cr_assert_neq(stat(path, &st), 0, "call %ld: a copy was left", at);
    store_stats(f->s, &stats);
    if (compacted)
        cr_assert_lt(stats.state_bytes, 1u << 20, "call %ld", at);
}

Test(compact, killed_at_every_step)
{
    struct fix full, f;
    bool reached = true;
    long at = 1;
    fill(&full);
    for (; reached; at++) {
        copy_dir(&full, &f);
        reached = fix_killed_opening(&f, at);
        fix_reopen(&f);
        check(&f, at, true);
        fix_fini(&f);
    }
    cr_assert_gt(at, 60, "only %ld calls", at);
    fix_fini(&full);
}

Test(compact, a_disk_that_is_full_at_every_step)
{
    struct fix full, f;
    bool reached = true;
    fill(&full);
    for (long at = 1; reached; at++) {
        copy_dir(&full, &f);
        reached = fix_failed_opening(&f, at, ENOSPC);
        cr_assert(!f.report.state_quarantined && !f.report.log_quarantined, "call %ld: %s", at,
                  f.report.why);
        fix_reopen(&f);
        check(&f, at, true);
        fix_fini(&f);
    }
    fix_fini(&full);
}
