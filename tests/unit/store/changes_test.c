/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/prng.h"
#include "tests/unit/store/fixture.h"

static struct buf value;

static void put(struct fix *f, uint8_t kind, const char *key, uint64_t version)
{
    struct record rec = rec_of(kind, key, version, NULL);
    cr_assert_eq(fix_apply(f, &rec, 1), 0);
}

static int changes(struct fix *f, uint8_t kind, uint64_t from, struct key_list *k)
{
    struct store_txn *t;
    k->text[0] = '\0';
    k->count = 0;
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    int err = store_changes(t, kind, from, key_list_add, k);
    store_read_end(t);
    return err;
}

Test(changes, a_row_appears_once_at_its_last_change)
{
    struct fix f;
    struct key_list k = {0};
    fix_open(&f);
    put(&f, RECORD_TASK, "a", 1);
    put(&f, RECORD_TASK, "b", 1);
    put(&f, RECORD_INSTANCE, "i", 1);
    put(&f, RECORD_TASK, "a", 2);
    put(&f, RECORD_TASK, "a", 2); /* a duplicate is no change */
    const struct {
        uint8_t kind;
        uint64_t from;
        const char *keys;
    } cases[] = {{0, 0, "b,i,a"},
                 {0, 1, "b,i,a"},
                 {0, 3, "i,a"},
                 {0, 4, "a"},
                 {0, 5, ""},
                 {RECORD_TASK, 0, "b,a"},
                 {RECORD_TASK, 3, "a"},
                 {RECORD_INSTANCE, 0, "i"},
                 {RECORD_SETTING, 0, ""}};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            cr_assert_eq(changes(&f, cases[i].kind, cases[i].from, &k), 0);
            cr_assert_str_eq(k.text, cases[i].keys, "case %zu: %s", i, k.text);
        }
        cr_assert_eq(store_index(f.s, 0), 4u);
        cr_assert_eq(store_index(f.s, RECORD_TASK), 4u);
        cr_assert_eq(store_index(f.s, RECORD_INSTANCE), 3u);
        cr_assert_eq(store_index(f.s, RECORD_SETTING), 0u);
        cr_assert_eq(store_index(f.s, 200), 0u);
        uint64_t epoch = store_epoch(f.s);
        cr_assert_neq(epoch, 0u);
        fix_close(&f);
        fix_reopen(&f);
        cr_assert_eq(store_epoch(f.s), epoch);
    }
    fix_fini(&f);
}

Test(changes, only_the_last_hundred_thousand_are_kept)
{
    struct fix f;
    struct key_list k = {.stop_after = 1};
    static char keys[1000][16];
    struct record recs[1000];
    fix_open(&f);
    put(&f, RECORD_INSTANCE, "first", 1);
    for (size_t i = 0; i < 1000; i++)
        snprintf(keys[i], sizeof keys[i], "key-%zu", i);
    for (uint64_t v = 1; v <= 100; v++) {
        for (size_t i = 0; i < 1000; i++)
            recs[i] = rec_of(RECORD_TASK, keys[i], v, NULL);
        cr_assert_eq(fix_apply(&f, recs, 1000), 0);
        struct store_txn *t;
        cr_assert_eq(store_read_begin(f.s, &t), 0);
        cr_assert_eq(store_oldest_change(t), v < 100 ? 1u : 2u);
        store_read_end(t);
    }
    cr_assert_eq(store_index(f.s, 0), 100001u);
    cr_assert_eq(changes(&f, 0, 0, &k), ERR_VERSION);
    cr_assert_eq(changes(&f, 0, 1, &k), ERR_VERSION);
    cr_assert_eq(changes(&f, 0, 2, &k), 0);
    cr_assert_str_eq(k.text, "key-0");
    k.stop_after = 0;
    cr_assert_eq(changes(&f, RECORD_INSTANCE, 2, &k), 0);
    cr_assert_eq(k.count, 0u);
    cr_assert_eq(fix_count(&f, RECORD_INSTANCE, 0, NULL), 1u);
    fix_fini(&f);
}

struct watcher {
    _Atomic int calls;
    _Atomic uint32_t kinds;
    _Atomic uint64_t index;
};

static void on_change(void *arg, uint32_t kinds, uint64_t index)
{
    struct watcher *w = arg;
    w->calls++;
    w->kinds |= kinds;
    w->index = index;
}

Test(changes, watchers_hear_of_commits_that_changed_rows)
{
    struct fix f;
    struct watcher w = {0};
    fix_open(&f);
    int handle = store_watch(f.s, on_change, &w);
    cr_assert_geq(handle, 0);
    put(&f, RECORD_TASK, "a", 1);
    cr_assert_eq(w.calls, 1);
    cr_assert_eq(w.kinds, 1u << RECORD_TASK);
    cr_assert_eq(w.index, 1u);
    put(&f, RECORD_TASK, "a", 1);
    cr_assert_eq(w.calls, 1, "a duplicate changes nothing");
    put(&f, RECORD_INSTANCE, "i", 1);
    cr_assert_eq(w.kinds, 1u << RECORD_TASK | 1u << RECORD_INSTANCE);
    store_unwatch(f.s, handle);
    put(&f, RECORD_TASK, "a", 2);
    cr_assert_eq(w.calls, 2);
    int handles[9];
    for (int i = 0; i < 9; i++)
        handles[i] = store_watch(f.s, on_change, &w);
    cr_assert_eq(handles[7], 7);
    cr_assert_eq(handles[8], ERR_BUSY);
    store_unwatch(f.s, -1);
    store_unwatch(f.s, 99);
    fix_fini(&f);
}

struct sum {
    uint64_t xor, last, lines;
    bool ordered;
};

static int add_line(void *arg, uint64_t key_hash, struct record_version version)
{
    struct sum *s = arg;
    s->xor ^= record_fingerprint(key_hash, version);
    s->ordered = s->ordered && (s->lines == 0 || key_hash > s->last);
    s->last = key_hash;
    s->lines++;
    return 0;
}

static struct sum fingerprint(struct fix *f, uint64_t first, uint64_t last)
{
    struct store_txn *t;
    struct sum sum = {.ordered = true};
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    cr_assert_eq(store_fingerprints(t, first, last, add_line, &sum), 0);
    store_read_end(t);
    return sum;
}

Test(changes, fingerprints_are_ordered_and_lead_to_rows)
{
    struct fix f;
    fix_open(&f);
    char key[32];
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "task/%d", i);
        struct record rec = rec_of(RECORD_TASK, key, 1, NULL);
        rec.deleted = i % 3 == 0;
        cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    }
    put(&f, RECORD_TEST, "left out", 1);
    struct sum all = fingerprint(&f, 0, UINT64_MAX);
    cr_assert(all.ordered);
    cr_assert_eq(all.lines, 200u, "tombstones count, test rows do not");
    struct sum low = fingerprint(&f, 0, UINT64_MAX / 2);
    struct sum high = fingerprint(&f, UINT64_MAX / 2 + 1, UINT64_MAX);
    cr_assert_eq(low.xor ^high.xor, all.xor);
    cr_assert_eq(low.lines + high.lines, 200u);
    uint64_t hash = record_key_hash(RECORD_TASK, "task/7", 6);
    struct sum one = fingerprint(&f, hash, hash);
    cr_assert_eq(one.lines, 1u);
    struct store_txn *t;
    struct store_row row;
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_get_by_hash_ref(t, hash, &row), 0);
    cr_assert_eq(row.record.key_len, 6u);
    cr_assert_eq(memcmp(row.record.key, "task/7", 6), 0);
    cr_assert_eq(store_get_by_hash_ref(t, hash + 1, &row), ERR_NOTFOUND);
    uint64_t test = record_key_hash(RECORD_TEST, "left out", 8);
    cr_assert_eq(store_get_by_hash_ref(t, test, &row), 0, "gossip reads again what it must send");
    struct record read = {.kind = RECORD_TEST, .key = "left out", .key_len = 8};
    cr_assert_eq(row.record.kind, RECORD_TEST);
    read.version = row.record.version;
    store_read_end(t);
    cr_assert_eq(fix_purge(&f, &read), 0);
    cr_assert_eq(store_read_begin(f.s, &t), 0);
    cr_assert_eq(store_get_by_hash_ref(t, test, &row), ERR_NOTFOUND);
    store_read_end(t);
    fix_fini(&f);
}

/* Random records in random order, with duplicates, split into random batches, into two stores: the
 * stores end equal. */
Test(changes, order_and_duplicates_do_not_matter)
{
    enum { RECORDS = 600, KEYS = 60 };
    static struct record recs[RECORDS];
    static struct buf values[RECORDS];
    static char keys[KEYS][16];
    static const char *const clusters[] = {"c1", "c2", "c3"};
    static const char *const statuses[] = {"RUNNING", "PENDING", "STOPPED"};
    struct prng rng;
    prng_seed(&rng, 42);
    buf_init(&value, 1 << 20);
    for (size_t i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof keys[i], "k%zu", i);
    for (size_t i = 0; i < RECORDS; i++) {
        /* The content is a function of key and version, as with real records. */
        size_t key = prng_below(&rng, KEYS);
        uint64_t version = prng_below(&rng, 12);
        buf_init(&values[i], 4096);
        recs[i] = task_of(&values[i], keys[key], version, clusters[(key + version) % 3],
                          statuses[(key * 7 + version) % 3], "web");
        recs[i].deleted = (key + version) % 5 == 0;
    }
    struct fix f[2];
    for (int n = 0; n < 2; n++) {
        fix_open(&f[n]);
        for (int pass = 0; pass < 2; pass++) {
            for (size_t i = RECORDS - 1; i > 0; i--) {
                size_t j = prng_below(&rng, i + 1);
                struct record swap = recs[i];
                recs[i] = recs[j];
                recs[j] = swap;
            }
            for (size_t i = 0; i < RECORDS;) {
                size_t batch = 1 + prng_below(&rng, 40);
                batch = batch > RECORDS - i ? RECORDS - i : batch;
                cr_assert_eq(fix_apply(&f[n], recs + i, batch), 0);
                i += batch;
            }
        }
    }
    struct sum a = fingerprint(&f[0], 0, UINT64_MAX);
    struct sum b = fingerprint(&f[1], 0, UINT64_MAX);
    cr_assert_eq(a.xor, b.xor);
    cr_assert_eq(a.lines, b.lines);
    cr_assert_gt(a.lines, 50u);
    for (size_t i = 0; i < 6; i++) {
        enum row_field field = i < 3 ? ROW_CLUSTER : ROW_STATUS;
        const char *text = i < 3 ? clusters[i] : statuses[i - 3];
        struct store_query q = {.kind = RECORD_TASK, .field = field, .value = text};
        struct key_list ka = {0}, kb = {0};
        fix_scan(&f[0], &q, &ka);
        fix_scan(&f[1], &q, &kb);
        cr_assert_str_eq(ka.text, kb.text);
        cr_assert_eq(fix_count(&f[0], RECORD_TASK, field, text), ka.count);
    }
    for (int n = 0; n < 2; n++)
        fix_fini(&f[n]);
    for (size_t i = 0; i < RECORDS; i++)
        buf_fini(&values[i]);
}
