/* SPDX-License-Identifier: Apache-2.0
 * Time travel: at each time the rows are what they were, however they came to be. */
#include "agent/base/clock.h"
#include "agent/base/prng.h"
#include "store/store_int.h"
#include "tests/unit/store/fixture.h"

enum { HOUR = 3600 * 1000, KEYS = 30, STEPS = 400 };

static struct buf value;

/* Waits until the clock shows a later millisecond, so that what follows is of another time. */
static int64_t tick(void)
{
    int64_t before = clock_unix_ms();
    while (clock_unix_ms() <= before)
        usleep(200);
    return before;
}

static void open_with(struct fix *f, uint64_t ms, uint64_t bytes)
{
    fix_init(f);
    f->options.past_ms = ms;
    f->options.past_bytes = bytes;
    fix_reopen(f);
    buf_init(&value, 1 << 20);
    tick();
}

static void close_all(struct fix *f)
{
    buf_fini(&value);
    fix_fini(f);
}

static void put(struct fix *f, const char *key, uint64_t version, const char *status)
{
    struct record rec = task_of(&value, key, version, "c1", status, "web");
    cr_assert_eq(fix_apply(f, &rec, 1), 0);
}

static void bury(struct fix *f, const char *key, uint64_t version)
{
    struct record rec = rec_of(RECORD_TASK, key, version, NULL);
    rec.deleted = true;
    rec.version.lo = 1;
    cr_assert_eq(fix_apply(f, &rec, 1), 0);
}

/* "key:version,..." of the live rows at that time, by a scan. */
struct line {
    char text[KEYS * 24];
    size_t len;
};

static int add_row(void *arg, const struct store_row *row)
{
    struct line *l = arg;
    l->len += (size_t)snprintf(l->text + l->len, sizeof l->text - l->len, "%.*s:%llu,",
                               (int)row->record.key_len, row->record.key,
                               (unsigned long long)row->record.version.hi);
    return 0;
}

static struct store_txn *begin_at(struct fix *f, int64_t at)
{
    struct store_txn *t;
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    cr_assert_eq(store_rewind(t, at, clock_unix_ms()), 0);
    return t;
}

static const char *rows_at(struct fix *f, int64_t at, const struct store_query *q)
{
    static struct line l;
    l = (struct line){0};
    struct store_txn *t = begin_at(f, at);
    cr_assert_eq(store_scan(t, q, add_row, &l), 0);
    store_read_end(t);
    return l.text;
}

Test(past, rows_of_each_time)
{
    struct fix f;
    struct store_query all = {.kind = RECORD_TASK};
    struct store_query running = {.kind = RECORD_TASK, .field = ROW_STATUS, .value = "RUNNING"};
    struct store_query behind_a = {.kind = RECORD_TASK, .after_key = "a", .after_key_len = 1};
    struct store_row row;
    open_with(&f, HOUR, 1 << 20);
    int64_t t0 = tick();
    put(&f, "a", 1, "PENDING");
    int64_t t1 = tick();
    put(&f, "b", 1, "PENDING");
    put(&f, "a", 2, "RUNNING");
    int64_t t2 = tick();
    bury(&f, "b", 1);
    put(&f, "c", 1, "RUNNING");
    int64_t t3 = tick();
    put(&f, "a", 3, "STOPPED");
    int64_t t4 = tick();
    for (int pass = 0; pass < 2; pass++) {
        cr_assert_str_eq(rows_at(&f, t0, &all), "");
        cr_assert_str_eq(rows_at(&f, t1, &all), "a:1,");
        cr_assert_str_eq(rows_at(&f, t2, &all), "a:2,b:1,");
        cr_assert_str_eq(rows_at(&f, t3, &all), "a:2,c:1,");
        cr_assert_str_eq(rows_at(&f, t4, &all), "a:3,c:1,");
        cr_assert_str_eq(rows_at(&f, t2, &running), "a:2,");
        cr_assert_str_eq(rows_at(&f, t3, &running), "a:2,c:1,");
        cr_assert_str_eq(rows_at(&f, t4, &running), "c:1,");
        cr_assert_str_eq(rows_at(&f, t2, &behind_a), "b:1,");
        struct store_txn *t = begin_at(&f, t1);
        cr_assert_eq(store_get_ref(t, RECORD_TASK, "a", 1, &row), 0);
        cr_assert_eq(row.record.version.hi, 1u);
        cr_assert_eq(store_get_ref(t, RECORD_TASK, "b", 1, &row), ERR_NOTFOUND);
        store_read_end(t);
        t = begin_at(&f, t3);
        cr_assert_eq(store_get_ref(t, RECORD_TASK, "b", 1, &row), 0);
        cr_assert(row.record.deleted);
        store_read_end(t);
        fix_close(&f);
        fix_reopen(&f); /* it is on disk */
    }
    /* A snapshot that was rewound is an ordinary one in its next use. */
    struct line now = {0};
    struct store_txn *t;
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_scan(t, &all, add_row, &now), 0);
    store_read_end(t);
    cr_assert_str_eq(now.text, "a:3,c:1,");
    close_all(&f);
}

/* Against a model that keeps a copy of everything at each step. */
Test(past, whatever_happened_it_can_be_told)
{
    static char shown[STEPS][KEYS * 24];
    static int64_t times[STEPS];
    static uint64_t versions[KEYS];
    static bool live[KEYS];
    struct fix f;
    struct prng rng;
    struct store_query all = {.kind = RECORD_TASK};
    char key[40];
    prng_seed(&rng, 7);
    open_with(&f, HOUR, 4 << 20);
    for (int step = 0; step < STEPS; step++) {
        for (uint64_t n = prng_below(&rng, 4); n > 0; n--) {
            size_t k = (size_t)prng_below(&rng, KEYS);
            snprintf(key, sizeof key, "%c/%02zu", (char)('p' + k % 3), k);
            if (live[k] && prng_below(&rng, 4) == 0) {
                bury(&f, key, versions[k]);
                live[k] = false;
            } else {
                put(&f, key, ++versions[k], "RUNNING");
                live[k] = true;
            }
        }
        struct line l = {0};
        struct store_txn *t;
        cr_assert_eq(store_read_begin(f.s, &t), 0);
        cr_assert_eq(store_scan(t, &all, add_row, &l), 0);
        store_read_end(t);
        memcpy(shown[step], l.text, sizeof l.text);
        times[step] = tick();
    }
    for (int step = 0; step < STEPS; step++)
        cr_assert_str_eq(rows_at(&f, times[step], &all), shown[step], "step %d", step);
    close_all(&f);
}

Test(past, is_bounded_in_bytes_and_says_how_far_it_goes)
{
    struct fix f;
    struct store_txn *t;
    struct store_stats stats;
    struct store_query all = {.kind = RECORD_TASK};
    open_with(&f, HOUR, 16 << 10);
    int64_t begin = tick();
    put(&f, "a", 1, "RUNNING");
    int64_t first = tick();
    for (uint64_t v = 2; v < 400; v++)
        put(&f, "a", v, "RUNNING");
    store_stats(f.s, &stats);
    cr_assert_leq(stats.past_bytes, 16u << 10);
    cr_assert_gt(stats.past_rows, 40u);
    cr_assert_lt(stats.past_rows, 200u);
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    int64_t now = clock_unix_ms(), since = store_past_since(t, now);
    cr_assert(since > begin && since <= now);
    cr_assert_eq(store_rewind(t, first, now), ERR_VERSION);
    cr_assert_eq(store_rewind(t, since - 1, now), ERR_VERSION);
    cr_assert_eq(store_rewind(t, since, now), 0);
    store_read_end(t);
    cr_assert_neq(rows_at(&f, since, &all)[0], '\0');
    close_all(&f);
}

Test(past, is_bounded_in_time)
{
    struct fix f;
    struct store_stats stats;
    open_with(&f, 50, 1 << 20);
    put(&f, "a", 1, "RUNNING");
    put(&f, "a", 2, "RUNNING");
    int64_t then = tick();
    usleep(80000);
    put(&f, "b", 1, "RUNNING");
    store_stats(f.s, &stats);
    cr_assert_eq(stats.past_rows, 0u);
    cr_assert_eq(stats.past_bytes, 0u);
    struct store_txn *t;
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_rewind(t, then, clock_unix_ms()), ERR_VERSION);
    store_read_end(t);
    close_all(&f);
}

Test(past, off_and_on_again_begins_anew)
{
    struct fix f;
    struct store_txn *t;
    struct store_stats stats;
    open_with(&f, HOUR, 1 << 20);
    put(&f, "a", 1, "RUNNING");
    put(&f, "a", 2, "RUNNING");
    fix_close(&f);
    f.options.past_ms = 0;
    fix_reopen(&f);
    put(&f, "a", 3, "RUNNING");
    store_stats(f.s, &stats);
    cr_assert_eq(stats.past_rows, 0u);
    int64_t off = tick();
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_rewind(t, off - 1, clock_unix_ms()), ERR_VERSION);
    store_read_end(t);
    fix_close(&f);
    f.options.past_ms = HOUR;
    fix_reopen(&f);
    put(&f, "a", 4, "RUNNING");
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_rewind(t, off, clock_unix_ms()), ERR_VERSION, "a:3 is not known");
    store_read_end(t);
    close_all(&f);
}

/* What was purged alive is told by nobody, so no time before that is answered. */
Test(past, a_live_row_purged_ends_it)
{
    struct fix f;
    struct store_txn *t;
    open_with(&f, HOUR, 1 << 20);
    put(&f, "a", 1, "RUNNING");
    int64_t then = tick();
    struct record rec = rec_of(RECORD_TASK, "a", 1, NULL);
    cr_assert_eq(fix_purge(&f, &rec), 0);
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_rewind(t, then, clock_unix_ms()), ERR_VERSION);
    store_read_end(t);
    close_all(&f);
}

static int add_past(void *arg, const struct store_row *row, int64_t ended_unix_ms)
{
    cr_assert_geq(ended_unix_ms, row->stored_unix_ms);
    return add_row(arg, row);
}

Test(past, replaced_rows_of_a_kind_the_last_first)
{
    struct fix f;
    struct store_txn *t;
    struct line l = {0};
    open_with(&f, HOUR, 1 << 20);
    put(&f, "a", 1, "PENDING");
    put(&f, "b", 1, "PENDING");
    put(&f, "a", 2, "RUNNING");
    struct record other = rec_of(RECORD_ATTEMPT, "x", 1, NULL);
    cr_assert_eq(fix_apply(&f, &other, 1), 0);
    other.version.hi = 2;
    cr_assert_eq(fix_apply(&f, &other, 1), 0);
    bury(&f, "b", 1);
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_past(t, RECORD_TASK, add_past, &l), 0);
    store_read_end(t);
    cr_assert_str_eq(l.text, "b:1,a:1,");
    close_all(&f);
}

/* "made>replaced," of each; store_before() finds just that row. */
struct made {
    struct store_txn *txn;
    struct line line;
};

static int add_earlier(void *arg, uint8_t kind, uint64_t made, uint64_t replaced)
{
    struct made *m = arg;
    struct store_row row;
    cr_assert_eq(store_before(m->txn, replaced, &row), 0);
    cr_assert_eq(row.index, made);
    cr_assert_eq(row.record.kind, kind);
    m->line.len += (size_t)snprintf(m->line.text + m->line.len, sizeof m->line.text - m->line.len,
                                    "%d>%d,", (int)made, (int)replaced);
    return m->line.len >= 12;
}

Test(past, earlier_rows_are_found_by_the_change_that_replaced_them)
{
    static const struct {
        uint64_t after;
        const char *text;
    } cases[] = {{0, "1>3,2>4,5>6,"}, /* it says when it has enough */
                 {3, "2>4,5>6,3>7,"},
                 {6, "3>7,7>8,"},
                 {8, ""}};
    struct fix f;
    struct made m;
    open_with(&f, HOUR, 1 << 20);
    put(&f, "a", 1, "PENDING");                                 /* change 1 */
    put(&f, "b", 1, "PENDING");                                 /* 2 */
    put(&f, "a", 2, "RUNNING");                                 /* 3 */
    bury(&f, "b", 1);                                           /* 4 */
    struct record other = rec_of(RECORD_ATTEMPT, "x", 1, NULL); /* 5, 6 */
    cr_assert_eq(fix_apply(&f, &other, 1), 0);
    other.version.hi = 2;
    cr_assert_eq(fix_apply(&f, &other, 1), 0);
    put(&f, "a", 3, "STOPPED"); /* 7 */
    put(&f, "a", 4, "STOPPED"); /* 8 */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        m = (struct made){.txn = NULL};
        cr_assert_eq(store_read_begin(f.s, &m.txn), 0);
        cr_assert_eq(store_earlier(m.txn, cases[i].after, add_earlier, &m), 0);
        store_read_end(m.txn);
        cr_assert_str_eq(m.line.text, cases[i].text, "case %zu: %s", i, m.line.text);
    }
    close_all(&f);
}
