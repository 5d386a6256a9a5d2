/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/fixture.h"

static struct buf value;

static void apply_task(struct fix *f, const char *key, uint64_t version, const char *cluster,
                       const char *status)
{
    struct record rec = task_of(&value, key, version, cluster, status, "web");
    cr_assert_eq(fix_apply(f, &rec, 1), 0);
}

Test(rows, newer_replaces_older_and_equal_do_not)
{
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 20);
    const struct {
        uint64_t hi, lo;
        bool applied, existed;
        uint64_t before_hi, before_lo;
    } cases[] = {
        {5, 0, true, false, 0, 0}, {5, 0, false, true, 5, 0}, {4, 9, false, true, 5, 0},
        {5, 1, true, true, 5, 0},  {6, 0, true, true, 5, 1},  {UINT64_MAX, 0, true, true, 6, 0},
    };
    uint64_t index = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct record rec = task_of(&value, "t", 0, "c", "RUNNING", "web");
        rec.version = (struct record_version){cases[i].hi, cases[i].lo};
        cr_assert_eq(fix_apply(&f, &rec, 1), 0);
        cr_assert_eq(f.count, 1u);
        const struct store_change *c = &f.changes[0];
        index += cases[i].applied;
        cr_assert_eq(c->applied, cases[i].applied, "case %zu", i);
        cr_assert_eq(c->existed, cases[i].existed, "case %zu", i);
        cr_assert_eq(c->before.hi, cases[i].before_hi);
        cr_assert_eq(c->before.lo, cases[i].before_lo);
        cr_assert_eq(c->index, cases[i].applied ? index : 0);
        cr_assert_eq(c->key_hash, record_key_hash(RECORD_TASK, "t", 1));
    }
    cr_assert_eq(store_index(f.s, 0), index);
    struct store_stats stats;
    store_stats(f.s, &stats);
    cr_assert_eq(stats.duplicates, 2u);
    cr_assert_eq(stats.rows, 1u);
    buf_fini(&value);
    fix_fini(&f);
}

Test(rows, a_row_comes_back_as_it_was_given)
{
    struct fix f;
    fix_open(&f);
    static char big[RECORD_VALUE_MAX];
    char key[RECORD_KEY_MAX + 1];
    memset(key, 'k', RECORD_KEY_MAX);
    key[RECORD_KEY_MAX] = '\0';
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 31);
    struct record rec = {.kind = RECORD_TEST,
                         .source = SOURCE_OPERATOR,
                         .key = key,
                         .key_len = RECORD_KEY_MAX,
                         .value = (const uint8_t *)big,
                         .value_len = sizeof big,
                         .version = {UINT64_MAX, 77},
                         .observed_unix_ms = -5,
                         .term = 9,
                         .deleted = true};
    cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    for (int round = 0; round < 2; round++) {
        struct store_txn *t;
        struct store_row row;
        cr_assert_eq(store_read_begin(f.s, &t), 0);
        cr_assert_eq(store_get_ref(t, RECORD_TEST, key, RECORD_KEY_MAX, &row), 0);
        cr_assert_eq(row.record.kind, RECORD_TEST);
        cr_assert_eq(row.record.source, SOURCE_OPERATOR);
        cr_assert(row.record.deleted);
        cr_assert_eq(row.record.key_len, RECORD_KEY_MAX);
        cr_assert_eq(memcmp(row.record.key, key, RECORD_KEY_MAX), 0);
        cr_assert_eq(row.record.value_len, sizeof big);
        cr_assert_eq(memcmp(row.record.value, big, sizeof big), 0);
        cr_assert_eq(row.record.version.hi, UINT64_MAX);
        cr_assert_eq(row.record.version.lo, 77u);
        cr_assert_eq(row.record.observed_unix_ms, -5);
        cr_assert_eq(row.record.term, 9u);
        cr_assert_eq(row.index, 1u);
        cr_assert_gt(row.stored_unix_ms, 0);
        cr_assert_eq(store_get_ref(t, RECORD_TASK, key, RECORD_KEY_MAX, &row), ERR_NOTFOUND);
        cr_assert_eq(store_get_ref(t, RECORD_TEST, key, RECORD_KEY_MAX - 1, &row), ERR_NOTFOUND);
        cr_assert_eq(store_get_ref(t, RECORD_TEST, key, 0, &row), ERR_NOTFOUND);
        store_read_end(t);
        fix_close(&f);
        fix_reopen(&f);
    }
    fix_fini(&f);
}

Test(rows, what_cannot_be_stored_is_refused_at_once)
{
    struct fix f;
    fix_open(&f);
    struct record rec = {.kind = RECORD_TASK, .key = "a", .key_len = 1};
    struct record bad[4] = {rec, rec, rec, rec};
    bad[0].kind = 0;
    bad[1].kind = RECORD_KIND_END;
    bad[2].key_len = 0;
    bad[3].value_len = RECORD_VALUE_MAX + 1;
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(store_apply(f.s, &bad[i], 1, fix_applied, &f), ERR_BADPARAM);
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(store_purge(f.s, &bad[i], fix_done, &f), ERR_BADPARAM);
    cr_assert_eq(store_index(f.s, 0), 0u);
    fix_fini(&f);
}

Test(rows, indexes_and_counts_follow_the_rows)
{
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 20);
    char longest[2001];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    apply_task(&f, "a", 1, "c1", "RUNNING");
    apply_task(&f, "b", 1, "c1", "PENDING");
    apply_task(&f, "c", 1, longest, "RUNNING");
    apply_task(&f, "d", 1, "c1", "RUNNING");
    apply_task(&f, "b", 2, "c1", "RUNNING");
    struct record gone = task_of(&value, "d", 2, "c1", "RUNNING", "web");
    gone.deleted = true;
    cr_assert_eq(fix_apply(&f, &gone, 1), 0);
    struct record bare = rec_of(RECORD_TASK, "e", 1, NULL);
    bare.value = (const uint8_t *)"\xff\xff";
    bare.value_len = 2; /* no row: stored, not indexed */
    cr_assert_eq(fix_apply(&f, &bare, 1), 0);
    const struct {
        enum row_field field;
        const char *text;
        const char *after;
        bool deleted;
        int stop;
        const char *keys;
        uint64_t count;
    } cases[] = {
        {0, NULL, NULL, false, 0, "a,b,c,e", 4},
        {0, NULL, NULL, true, 0, "a,b,c,d,e", 4},
        {0, NULL, "b", false, 0, "c,e", 4},
        {0, NULL, "bb", false, 0, "c,e", 4},
        {0, NULL, NULL, false, 2, "a,b", 4},
        {ROW_CLUSTER, "c1", NULL, false, 0, "a,b", 2},
        {ROW_CLUSTER, "c1", NULL, true, 0, "a,b,d", 2},
        {ROW_CLUSTER, "c1", "a", true, 0, "b,d", 2},
        {ROW_CLUSTER, "c1", "a", true, 1, "b", 2},
        {ROW_CLUSTER, longest, NULL, false, 0, "c", 1},
        {ROW_CLUSTER, "c", NULL, false, 0, "", 0},
        {ROW_STATUS, "RUNNING", NULL, false, 0, "a,b,c", 3},
        {ROW_STATUS, "PENDING", NULL, false, 0, "", 0},
        {ROW_FAMILY, "web", NULL, false, 0, "a,b,c", 3},
    };
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct key_list k = {.stop_after = cases[i].stop};
            struct store_query q = {.kind = RECORD_TASK,
                                    .field = cases[i].field,
                                    .value = cases[i].text,
                                    .after_key = cases[i].after,
                                    .after_key_len =
                                        cases[i].after == NULL ? 0 : strlen(cases[i].after),
                                    .with_deleted = cases[i].deleted};
            fix_scan(&f, &q, &k);
            cr_assert_str_eq(k.text, cases[i].keys, "case %zu: %s", i, k.text);
            cr_assert_eq(fix_count(&f, RECORD_TASK, cases[i].field, cases[i].text), cases[i].count,
                         "case %zu", i);
        }
        cr_assert_eq(fix_count(&f, RECORD_INSTANCE, 0, NULL), 0u);
        struct store_stats stats;
        store_stats(f.s, &stats);
        cr_assert_eq(stats.rows, 4u);
        cr_assert_eq(stats.tombstones, 1u);
        cr_assert_eq(round == 0 ? 4u : f.report.rows, 4u);
        fix_close(&f);
        fix_reopen(&f);
    }
    buf_fini(&value);
    fix_fini(&f);
}

static int fail_with(void *arg, const struct store_row *row)
{
    (void)row;
    return *(int *)arg;
}

Test(rows, a_scan_returns_what_its_callback_says)
{
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 20);
    apply_task(&f, "a", 1, "c1", "RUNNING");
    struct store_txn *t;
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    struct store_query q = {.kind = RECORD_TASK};
    int say = ERR_TOOBIG;
    for (int field = 0; field < 2; field++) {
        q.field = field == 0 ? 0 : ROW_CLUSTER;
        q.value = "c1";
        say = ERR_TOOBIG;
        cr_assert_eq(store_scan(t, &q, fail_with, &say), ERR_TOOBIG);
        say = 1;
        cr_assert_eq(store_scan(t, &q, fail_with, &say), 0);
    }
    q.field = ROW_DESIRED;
    q.value = "RUNNING";
    cr_assert_eq(store_scan(t, &q, fail_with, &say), ERR_BADPARAM);
    uint64_t n;
    cr_assert_eq(store_count(t, RECORD_TASK, ROW_CONNECTED, "true", &n), ERR_BADPARAM);
    q.field = ROW_CLUSTER;
    q.value = NULL;
    cr_assert_eq(store_scan(t, &q, fail_with, &say), ERR_BADPARAM);
    store_read_end(t);
    buf_fini(&value);
    fix_fini(&f);
}

static int count_row(void *arg, const struct store_row *row)
{
    (void)row;
    ++*(int *)arg;
    return 0;
}

/* How many rows the index finds, which its count must say, too. */
static int found(struct fix *f, enum row_field field, const char *text)
{
    struct store_txn *t;
    struct store_query q = {.kind = RECORD_TASK, .field = field, .value = text};
    uint64_t n;
    int rows = 0;
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    cr_assert_eq(store_scan(t, &q, count_row, &rows), 0);
    cr_assert_eq(store_count(t, RECORD_TASK, field, text, &n), 0);
    cr_assert_eq(n, (uint64_t)rows, "%s", text);
    store_read_end(t);
    return rows;
}

static void apply_wanted(struct fix *f, const char *key, uint64_t version, const char *desired,
                         const char *family, const char *revision)
{
    struct row row = {.json = {"{}", 2}};
    row_set(&row, ROW_DESIRED, desired);
    row_set(&row, ROW_FAMILY, family);
    row_set(&row, ROW_REVISION, revision);
    buf_clear(&value);
    cr_assert_eq(row_encode(&row, &value), 0);
    struct record rec = rec_of(RECORD_TASK, key, version, &value);
    cr_assert_eq(fix_apply(f, &rec, 1), 0);
}

/* The text that almost all rows have is in no index; the others are, by all changes. */
Test(rows, the_unusual_is_found_by_its_text)
{
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 20);
    apply_wanted(&f, "a", 1, "RUNNING", "web", "1");
    apply_wanted(&f, "b", 1, "STOPPED", "web", "2");
    apply_wanted(&f, "c", 1, NULL, "log", "1");
    cr_assert_eq(found(&f, ROW_DESIRED, "STOPPED"), 1);
    cr_assert_eq(found(&f, ROW_REVISION, "web:1"), 1);
    cr_assert_eq(found(&f, ROW_REVISION, "1"), 0);
    apply_wanted(&f, "a", 2, "STOPPED", "web", "2");
    apply_wanted(&f, "c", 2, "STOPPED", "log", "1");
    cr_assert_eq(found(&f, ROW_DESIRED, "STOPPED"), 3);
    cr_assert_eq(found(&f, ROW_REVISION, "web:2"), 2);
    apply_wanted(&f, "a", 3, "RUNNING", "web", "3");
    struct record gone = {
        .kind = RECORD_TASK, .key = "b", .key_len = 1, .deleted = true, .version = {9, 1}};
    cr_assert_eq(fix_apply(&f, &gone, 1), 0);
    cr_assert_eq(found(&f, ROW_DESIRED, "STOPPED"), 1);
    cr_assert_eq(found(&f, ROW_REVISION, "web:2"), 0);
    buf_fini(&value);
    fix_fini(&f);
}

Test(rows, purge_leaves_nothing)
{
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 20);
    apply_task(&f, "a", 7, "c1", "RUNNING");
    apply_task(&f, "b", 7, "c1", "RUNNING");
    struct record a = rec_of(RECORD_TASK, "a", 7, NULL),
                  nobody = rec_of(RECORD_TASK, "no", 7, NULL);
    cr_assert_eq(fix_purge(&f, &a), 0);
    cr_assert_eq(fix_purge(&f, &nobody), 0);
    struct store_txn *t;
    struct store_row row;
    struct key_list k = {0};
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_get_ref(t, RECORD_TASK, "a", 1, &row), ERR_NOTFOUND);
    cr_assert_eq(store_get_by_hash_ref(t, record_key_hash(RECORD_TASK, "a", 1), &row),
                 ERR_NOTFOUND);
    cr_assert_eq(store_changes(t, 0, 0, key_list_add, &k), 0);
    store_read_end(t);
    cr_assert_str_eq(k.text, "b");
    cr_assert_eq(fix_count(&f, RECORD_TASK, ROW_CLUSTER, "c1"), 1u);
    apply_task(&f, "a", 1, "c1", "RUNNING"); /* versions start afresh */
    cr_assert_eq(fix_count(&f, RECORD_TASK, 0, NULL), 2u);
    buf_fini(&value);
    fix_fini(&f);
}

/* A tombstone is to be dropped, and the writer has the resource's next life before that. */
Test(rows, purge_spares_a_newer_row)
{
    struct fix f;
    struct store_txn *t;
    struct store_row row;
    fix_open(&f);
    buf_init(&value, 1 << 20);
    struct record gone = rec_of(RECORD_TASK, "a", 7, NULL);
    gone.deleted = true;
    gone.version.lo = 1;
    cr_assert_eq(fix_apply(&f, &gone, 1), 0);
    struct record back = task_of(&value, "a", 7, "c1", "RUNNING", "web");
    back.version.lo = 2;
    f.pending = 2;
    cr_assert_eq(store_apply(f.s, &back, 1, fix_applied, &f), 0);
    cr_assert_eq(store_purge(f.s, &gone, fix_done, &f), 0);
    fix_wait(&f);
    cr_assert_eq(f.err, ERR_VERSION);
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_get_ref(t, RECORD_TASK, "a", 1, &row), 0);
    cr_assert(!row.record.deleted);
    cr_assert_eq(row.record.version.lo, 2u);
    store_read_end(t);
    cr_assert_eq(fix_purge(&f, &back), 0);
    cr_assert_eq(fix_count(&f, RECORD_TASK, 0, NULL), 0u);
    cr_assert_eq(store_health(f.s), 0);
    buf_fini(&value);
    fix_fini(&f);
}

Test(rows, a_snapshot_does_not_move)
{
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 20);
    apply_task(&f, "a", 1, "c1", "RUNNING");
    struct store_txn *t;
    struct store_row row;
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_get_ref(t, RECORD_TASK, "a", 1, &row), 0);
    for (uint64_t v = 2; v < 50; v++)
        apply_task(&f, "a", v, "c1", "STOPPED");
    struct row fields;
    cr_assert_eq(row.record.version.hi, 1u);
    cr_assert_eq(row_decode(row.record.value, row.record.value_len, &fields), 0);
    cr_assert(row_field_is(&fields, ROW_STATUS, "RUNNING"));
    cr_assert_eq(store_txn_index(t, RECORD_TASK), 1u);
    cr_assert_eq(store_index(f.s, RECORD_TASK), 49u);
    store_read_end(t);
    buf_fini(&value);
    fix_fini(&f);
}

Test(rows, poison_is_a_bounded_ring)
{
    struct fix f;
    struct record x = rec_of(RECORD_TASK, "x", 1, NULL);
    fix_open(&f);
    for (int i = 0; i < 1100; i++)
        cr_assert_eq(store_poison(f.s, "not JSON", "{", 1), 0);
    cr_assert_eq(fix_purge(&f, &x), 0); /* behind all of them */
    struct store_stats stats;
    store_stats(f.s, &stats);
    cr_assert_eq(stats.poison, 1000u);
    fix_close(&f);
    fix_reopen(&f);
    cr_assert_eq(store_poison(f.s, "again", "", 0), 0);
    cr_assert_eq(fix_purge(&f, &x), 0);
    store_stats(f.s, &stats);
    cr_assert_eq(stats.poison, 1000u);
    fix_fini(&f);
}
