/* SPDX-License-Identifier: Apache-2.0
 * Blox kept every version of every record for ever (fault 13) and left what it could not read in
 * its queue (fault 12). */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/unit/store/fixture.h"

static struct buf value;

Test(blox_faults, f13_updates_do_not_grow_the_database)
{
    struct fix f;
    struct store_stats before, after;
    char key[32];
    fix_open(&f);
    buf_init(&value, 1 << 20);
    for (uint64_t version = 1; version <= 60; version++) {
        for (unsigned i = 0; i < 50; i++) {
            snprintf(key, sizeof key, "task-%u", i);
            struct record rec = task_of(&value, key, version, "c", "RUNNING", "web");
            cr_assert_eq(fix_apply(&f, &rec, 1), 0);
        }
        if (version == 20)
            store_stats(f.s, &before);
    }
    store_stats(f.s, &after);
    cr_assert_eq(after.rows, 50u);
    cr_assert_leq(after.state_bytes, before.state_bytes + before.state_bytes / 4,
                  "%llu bytes, then %llu", (unsigned long long)before.state_bytes,
                  (unsigned long long)after.state_bytes);
    buf_fini(&value);
    fix_fini(&f);
}

Test(blox_faults, f12_what_cannot_be_read_is_kept_aside_and_bounded)
{
    struct fix f;
    struct store_stats stats;
    fix_open(&f);
    for (unsigned i = 0; i < 1010; i++)
        cr_assert_eq(store_poison(f.s, "no JSON", "{", 1), 0);
    buf_init(&value, 1 << 20);
    struct record rec = task_of(&value, "t", 1, "c", "RUNNING", "web");
    cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    store_stats(f.s, &stats);
    cr_assert_eq(stats.poison, 1000u);
    buf_fini(&value);
    fix_fini(&f);
}

static _Atomic bool over;

static int see(void *arg, const struct store_row *row)
{
    struct row fields;
    uint64_t *last = arg;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0)
        return ERR_MALFORMED;
    *last = row->record.version.hi;
    return 0;
}

/* Snapshots, counts, changes and figures while the writer writes. */
static void *read_all(void *arg)
{
    struct fix *f = arg;
    uint64_t rounds = 0, last = 0;
    while (!atomic_load(&over) || rounds == 0) {
        struct store_query all = {.kind = RECORD_TASK};
        struct store_query some = {.kind = RECORD_TASK, .field = ROW_CLUSTER, .value = "c"};
        struct store_stats stats;
        struct store_txn *t;
        uint64_t n;
        if (store_read_begin(f->s, &t) != 0 || store_scan(t, &all, see, &last) != 0 ||
            store_scan(t, &some, see, &last) != 0 ||
            store_count(t, RECORD_TASK, 0, NULL, &n) != 0 ||
            store_changes(t, 0, 0, see, &last) != 0)
            return NULL;
        store_read_end(t);
        store_stats(f->s, &stats);
        rounds++;
    }
    return f;
}

Test(blox_faults, f18_readers_and_the_writer_share_nothing_unguarded)
{
    enum { READERS = 4 };
    struct fix f;
    pthread_t readers[READERS];
    char key[32];
    fix_open(&f);
    buf_init(&value, 1 << 20);
    for (size_t i = 0; i < READERS; i++)
        cr_assert_eq(pthread_create(&readers[i], NULL, read_all, &f), 0);
    for (uint64_t version = 1; version <= 300; version++) {
        snprintf(key, sizeof key, "task-%u", (unsigned)(version % 20));
        struct record rec = task_of(&value, key, version, "c", "RUNNING", "web");
        cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    }
    atomic_store(&over, true);
    for (size_t i = 0; i < READERS; i++) {
        void *right = NULL;
        pthread_join(readers[i], &right);
        cr_assert_eq(right, &f, "a reader met an error");
    }
    struct store_stats stats;
    store_stats(f.s, &stats);
    cr_assert_eq(stats.rows, 20u);
    buf_fini(&value);
    fix_fini(&f);
}
