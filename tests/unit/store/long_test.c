/* SPDX-License-Identifier: Apache-2.0
 * LMDB keeps the memory of the pages that the largest transaction changed, for good: no write,
 * however long, makes one much larger than STORE_BATCH_PLACES, and one that ends in the middle says
 * where. */
#include <dlfcn.h>
#include <lmdb.h>
#include <stdatomic.h>

#include "store/store_int.h"
#include "tests/unit/store/fixture.h"

enum { ROWS = 400 };

static _Atomic size_t writes, most; /* of one transaction */

static void note_write(void)
{
    size_t n = atomic_fetch_add(&writes, 1) + 1;
    if (n > atomic_load(&most))
        atomic_store(&most, n);
}

/* These stand before LMDB's own. */
#define REAL(name, fn)                                                                             \
    __typeof__(&(name)) fn;                                                                        \
    void *at_##fn = dlsym(RTLD_NEXT, #name);                                                       \
    memcpy(&(fn), &at_##fn, sizeof(fn))

int mdb_put(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags)
{
    REAL(mdb_put, real);
    note_write();
    return real(txn, dbi, key, data, flags);
}

int mdb_del(MDB_txn *txn, MDB_dbi dbi, MDB_val *key, MDB_val *data)
{
    REAL(mdb_del, real);
    note_write();
    return real(txn, dbi, key, data);
}

int mdb_txn_commit(MDB_txn *txn)
{
    REAL(mdb_txn_commit, real);
    atomic_store(&writes, 0);
    return real(txn);
}

static char keys[ROWS][16];
static struct buf values[ROWS];

static const struct record *tasks(uint64_t version, const char *status)
{
    static struct record list[ROWS];
    for (int i = 0; i < ROWS; i++) {
        char family[16];
        snprintf(keys[i], sizeof keys[i], "task/%d", i);
        snprintf(family, sizeof family, "family-%d", i);
        if (values[i].max == 0)
            buf_init(&values[i], 4096);
        list[i] = task_of(&values[i], keys[i], version, "c1", status, family);
    }
    return list;
}

static uint64_t commits(struct fix *f)
{
    struct store_stats stats;
    store_stats(f->s, &stats);
    return stats.commits;
}

static void check_all(struct fix *f, size_t count, uint64_t first_index)
{
    cr_assert_eq(f->count, count);
    for (size_t i = 0; i < count; i++) {
        cr_assert(f->changes[i].applied, "%zu", i);
        cr_assert_eq(f->changes[i].index, first_index + i);
        cr_assert_eq(f->changes[i].key_hash,
                     record_key_hash(RECORD_TASK, keys[i], strlen(keys[i])));
    }
    cr_assert_eq(store_index(f->s, RECORD_TASK), first_index + count - 1);
    cr_assert_eq(fix_count(f, RECORD_TASK, 0, NULL), count);
}

Test(long_write, is_divided_and_told_of_once)
{
    struct fix f;
    fix_open(&f);
    uint64_t before = commits(&f);
    atomic_store(&most, 0);
    cr_assert_eq(fix_apply(&f, tasks(1, "RUNNING"), ROWS), 0);
    check_all(&f, ROWS, 1);
    cr_assert_gt(commits(&f), before + 3);
    /* One row's own, and the numbers that are written at the end. */
    cr_assert_lt(atomic_load(&most), 2 * STORE_BATCH_PLACES);
    cr_assert_eq(fix_count(&f, RECORD_TASK, ROW_STATUS, "RUNNING"), (uint64_t)ROWS);

    /* What is changed in few places goes on for longer. */
    uint64_t first = commits(&f) - before;
    before = commits(&f);
    cr_assert_eq(fix_apply(&f, tasks(2, "RUNNING"), ROWS), 0);
    check_all(&f, ROWS, ROWS + 1);
    cr_assert_lt(commits(&f) - before, first);
    fix_fini(&f);
}

/* Each has a place in the table of every attribute. */
static const struct record *instances(void)
{
    static struct record list[STORE_WHOLE_RECORDS];
    char json[2048];
    size_t n = (size_t)snprintf(json, sizeof json, "{\"attributes\":[");
    for (int k = 0; k < 40; k++)
        n += (size_t)snprintf(json + n, sizeof json - n, "%s{\"name\":\"rack-%d\",\"value\":\"r\"}",
                              k == 0 ? "" : ",", k);
    n += (size_t)snprintf(json + n, sizeof json - n, "]}");
    for (size_t i = 0; i < STORE_WHOLE_RECORDS; i++) {
        struct row row = {.json = {json, n}};
        snprintf(keys[i], sizeof keys[i], "instance/%zu", i);
        if (values[i].max == 0)
            buf_init(&values[i], 4096);
        buf_clear(&values[i]);
        row_set(&row, ROW_CLUSTER, "c1");
        cr_assert_eq(row_encode(&row, &values[i]), 0);
        list[i] = rec_of(RECORD_INSTANCE, keys[i], 1, &values[i]);
    }
    return list;
}

/* They are not few in the places that they change. */
Test(long_write, of_few_rows_is_one_transaction)
{
    struct fix f;
    fix_open(&f);
    const struct record *list = instances();
    uint64_t before = commits(&f);
    atomic_store(&most, 0);
    cr_assert_eq(fix_apply(&f, list, STORE_WHOLE_RECORDS), 0);
    cr_assert_eq(commits(&f), before + 1);
    cr_assert_gt(atomic_load(&most), STORE_BATCH_PLACES + 64);
    cr_assert_eq(fix_count(&f, RECORD_INSTANCE, 0, NULL), (uint64_t)STORE_WHOLE_RECORDS);
    fix_fini(&f);
}

/* Writes that were posted together keep their order, whatever is divided. */
Test(long_write, has_its_turn)
{
    struct fix f;
    struct record rec = rec_of(RECORD_TEST, "behind", 1, NULL);
    fix_open(&f);
    f.pending = 2;
    cr_assert_eq(store_apply(f.s, tasks(1, "RUNNING"), ROWS, fix_applied, &f), 0);
    cr_assert_eq(store_apply(f.s, &rec, 1, fix_applied, &f), 0);
    fix_wait(&f);
    cr_assert_eq(f.err, 0);
    cr_assert_eq(f.count, 1u, "the short one came last");
    cr_assert_eq(f.changes[0].index, ROWS + 1u);
    fix_fini(&f);
}

/* The map is full in the middle: the first are stored, and so is said. */
Test(long_write, says_what_is_stored_of_it)
{
    struct fix f;
    struct record small = rec_of(RECORD_TEST, "small", 1, NULL);
    fix_init(&f);
    f.options.state_map_bytes = f.options.state_map_max = 512u << 10;
    fix_reopen(&f);
    cr_assert_eq(fix_apply(&f, tasks(1, "RUNNING"), ROWS), ERR_FULL);
    cr_assert(f.count > 0 && f.count < ROWS, "%zu", f.count);
    check_all(&f, f.count, 1);
    cr_assert_eq(store_health(f.s), ERR_FULL);
    cr_assert_eq(fix_apply(&f, &small, 1), 0);
    cr_assert_eq(store_health(f.s), 0);
    fix_fini(&f);
}
