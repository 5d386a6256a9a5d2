/* SPDX-License-Identifier: Apache-2.0
 * What is found by what JSON says follows every change of the rows, and costs nothing where that
 * stays the same. */
#include <limits.h>

#include "store/store_int.h"
#include "tests/unit/store/fixture.h"
#include "tests/unit/store/lmdb_faults.h"

static struct buf value;

static void apply(struct fix *f, uint8_t kind, const char *key, uint64_t version, bool deleted,
                  const char *json)
{
    struct row row = {.json = {json, json == NULL ? 0 : strlen(json)}};
    buf_clear(&value);
    row_set(&row, ROW_CLUSTER, "c");
    cr_assert_eq(row_encode(&row, &value), 0);
    struct record rec = rec_of(kind, key, version, &value);
    rec.deleted = deleted;
    cr_assert_eq(fix_apply(f, &rec, 1), 0);
}

static void instance(struct fix *f, const char *key, uint64_t version, const char *attributes)
{
    char json[1200];
    snprintf(json, sizeof json, "{\"agentConnected\":%s,\"attributes\":[%s],\"v\":%d}",
             version % 2 == 0 ? "true" : "false", attributes, (int)version);
    apply(f, RECORD_INSTANCE, key, version, false, json);
}

static void task(struct fix *f, const char *key, uint64_t version, const char *created)
{
    char json[200];
    snprintf(json, sizeof json, "{%s%s\"v\":%d}", created, created[0] == '\0' ? "" : ",",
             (int)version);
    apply(f, RECORD_TASK, key, version, false, json);
}

#define ATTRIBUTE(name, value) "{\"name\":\"" name "\",\"value\":\"" value "\"}"
#define CREATED(time) "\"createdAt\":\"2026-11-22T09:01:" time "Z\""

struct met {
    struct store_txn *txn;
    char keys[200];
    unsigned asked;
    int stop_after;
};

static int add(struct met *m, const struct store_row *row)
{
    size_t n = strlen(m->keys);
    snprintf(m->keys + n, sizeof m->keys - n, "%.*s", (int)row->record.key_len, row->record.key);
    return m->stop_after > 0 && (int)strlen(m->keys) >= m->stop_after;
}

static int on_hash(void *arg, uint64_t key_hash)
{
    struct met *m = arg;
    struct store_row row;
    cr_assert_eq(store_get_by_hash_ref(m->txn, key_hash, &row), 0);
    return add(m, &row);
}

static bool has_m(void *arg, const char *text)
{
    ((struct met *)arg)->asked++;
    return strchr(text, 'm') != NULL;
}

/* Keys in the order of the values; value NULL: those with an m in them. */
static void expect(struct fix *f, const char *name, const char *text, const char *keys)
{
    struct met m = {.keys = ""};
    const struct store_attribute a = {
        .name = name, .value = text, .wants = has_m, .fn = on_hash, .arg = &m};
    cr_assert_eq(store_read_begin(f->s, &m.txn), 0);
    cr_assert_eq(store_attribute_scan(m.txn, &a), 0);
    store_read_end(m.txn);
    cr_assert_str_eq(m.keys, keys, "%s: %s", text == NULL ? "m" : text, m.keys);
    cr_assert(!f->s->repair_wanted);
}

Test(ordered, instances_by_their_attributes)
{
    static char text[200];
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 16);
    instance(&f, "a", 1, ATTRIBUTE("type", "m5") "," ATTRIBUTE("rack", "r1"));
    instance(&f, "b", 1, ATTRIBUTE("type", "c5") "," ATTRIBUTE("rack", "r1"));
    instance(&f, "c", 1, ATTRIBUTE("type", "m4") "," ATTRIBUTE("ecs.capability.x", "m1"));
    instance(&f, "d", 1, "{\"name\":\"gpu\"}," ATTRIBUTE("type", "m") "," ATTRIBUTE("type", "m"));
    expect(&f, "type", "m5", "a");
    expect(&f, "type", "m", "d");
    expect(&f, "type", NULL, "dca");
    expect(&f, "rack", "r", "");
    expect(&f, "gpu", "", "d");
    instance(&f, "a", 2, ATTRIBUTE("type", "m3") "," ATTRIBUTE("rack", "r1"));
    expect(&f, "type", "m5", "");
    expect(&f, "type", NULL, "dac");
    apply(&f, RECORD_INSTANCE, "c", 2, true, "{\"attributes\":[" ATTRIBUTE("type", "m4") "]}");
    expect(&f, "type", NULL, "da");
    instance(&f, "c", 3, ATTRIBUTE("type", "m4"));
    expect(&f, "type", NULL, "dac");
    struct record a = rec_of(RECORD_INSTANCE, "a", 2, NULL);
    cr_assert_eq(fix_purge(&f, &a), 0);
    expect(&f, "type", NULL, "dc");
    /* What cannot be written in order is told always. */
    instance(&f, "e", 1, ATTRIBUTE("type", "\\u006d4"));
    instance(&f, "g", 1, ATTRIBUTE("t\\u0079pe", "m4"));
    memset(text, 'x', 150);
    snprintf(text + 150, 20, "%s", "\"}");
    char attribute[300];
    snprintf(attribute, sizeof attribute, "{\"name\":\"type\",\"value\":\"%s", text);
    instance(&f, "h", 1, attribute);
    struct met m = {.keys = ""};
    const struct store_attribute none = {.name = "other", .value = "", .fn = on_hash, .arg = &m};
    cr_assert_eq(store_read_begin(f.s, &m.txn), 0);
    cr_assert_eq(store_attribute_scan(m.txn, &none), 0);
    cr_assert_eq(strlen(m.keys), 3u);
    cr_assert(strchr(m.keys, 'e') && strchr(m.keys, 'g') && strchr(m.keys, 'h'));
    const struct store_attribute all = {.name = "ecs.capability.x", .fn = on_hash, .arg = &m};
    cr_assert_eq(store_attribute_scan(m.txn, &all), ERR_BADPARAM);
    store_read_end(m.txn);
    buf_fini(&value);
    fix_fini(&f);
}

/* Of a value that nobody wants the entries are not all walked, and the next value is found. */
Test(ordered, values_are_asked_about_once)
{
    struct fix f;
    char key[8], attribute[100];
    fix_open(&f);
    buf_init(&value, 1 << 16);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "%c", '0' + i);
        snprintf(attribute, sizeof attribute, "{\"name\":\"type\",\"value\":\"%s\"}",
                 i < 40    ? "c5"
                 : i < 42  ? "m5"
                 : i < 80  ? "r5"
                 : i == 99 ? "c5m"
                           : "t3");
        instance(&f, key, 1, attribute);
    }
    struct met m = {.keys = ""};
    const struct store_attribute a = {.name = "type", .wants = has_m, .fn = on_hash, .arg = &m};
    cr_assert_eq(store_read_begin(f.s, &m.txn), 0);
    atomic_store(&calls, 0);
    cr_assert_eq(store_attribute_scan(m.txn, &a), 0);
    cr_assert_lt(atomic_load(&calls), 60, "%ld calls", atomic_load(&calls));
    store_read_end(m.txn);
    cr_assert_eq(strlen(m.keys), 3u);
    cr_assert_eq(m.asked, 5u);
    buf_fini(&value);
    fix_fini(&f);
}

static int on_row(void *arg, const struct store_row *row)
{
    return add(arg, row);
}

/* Keys, those without a time first; behind a time and a key, if any. */
static void expect_order(struct fix *f, bool down, const char *after, const char *key, int stop,
                         const char *keys)
{
    struct met m = {.keys = "", .stop_after = stop};
    const struct store_creation c = {.down = down,
                                     .after = after,
                                     .after_len = after == NULL ? 0 : strlen(after),
                                     .after_key = key,
                                     .after_key_len = key == NULL ? 0 : strlen(key),
                                     .untimed = on_row,
                                     .fn = on_row,
                                     .arg = &m};
    cr_assert_eq(store_read_begin(f->s, &m.txn), 0);
    cr_assert_eq(store_creation_scan(m.txn, &c), 0);
    store_read_end(m.txn);
    cr_assert_str_eq(m.keys, keys, "%s", m.keys);
    cr_assert(!f->s->repair_wanted);
}

Test(ordered, tasks_by_their_creation)
{
    static const char zero[] = "2026-11-22T09:01:00.001Z";
    struct fix f;
    char up[8], after[8];
    fix_open(&f);
    buf_init(&value, 1 << 16);
    expect_order(&f, false, NULL, NULL, 0, "");
    expect_order(&f, true, NULL, NULL, 0, "");
    task(&f, "c", 1, CREATED("59.000"));
    task(&f, "a", 1, CREATED("00.001"));
    task(&f, "b", 1, CREATED("00.001"));
    task(&f, "d", 1, "\"createdAt\":\"2027-01-01T00:00:00.000Z\"");
    instance(&f, "i", 1, ATTRIBUTE("createdAt", "2026-11-22T09:01:00.001Z"));
    bool a_first = record_key_hash(RECORD_TASK, "a", 1) < record_key_hash(RECORD_TASK, "b", 1);
    snprintf(up, sizeof up, "%scd", a_first ? "ab" : "ba");
    expect_order(&f, false, NULL, NULL, 0, up);
    expect_order(&f, false, NULL, NULL, 3, (snprintf(after, 8, "%.3s", up), after));
    expect_order(&f, true, NULL, NULL, 0, a_first ? "dcba" : "dcab");
    expect_order(&f, false, zero, a_first ? "a" : "b", 0, up + 1);
    expect_order(&f, false, zero, a_first ? "b" : "a", 0, "cd");
    expect_order(&f, true, zero, a_first ? "b" : "a", 0, a_first ? "a" : "b");
    expect_order(&f, true, "2028-01-01T00:00:00.000Z", "x", 0, a_first ? "dcba" : "dcab");
    expect_order(&f, false, "2028-01-01T00:00:00.000Z", "x", 0, "");
    task(&f, "c", 2, CREATED("59.000")); /* as it was */
    task(&f, "a", 2, CREATED("30.000"));
    expect_order(&f, false, NULL, NULL, 0, "bacd");
    task(&f, "b", 2, "");
    expect_order(&f, true, NULL, NULL, 0, "bdca");
    task(&f, "d", 2, "\"createdAt\":12");
    apply(&f, RECORD_TASK, "b", 3, true, NULL);
    expect_order(&f, false, NULL, NULL, 0, "dac");
    task(&f, "d", 3, "\"createdAt\":\"2026-13-22T09:01:00.001Z\""); /* it has its place */
    expect_order(&f, false, NULL, NULL, 0, "acd");
    struct record odd = rec_of(RECORD_TASK, "z", 1, NULL); /* no row, but a task that is counted */
    cr_assert_eq(fix_apply(&f, &odd, 1), 0);
    expect_order(&f, false, NULL, NULL, 0, "zacd");
    buf_fini(&value);
    fix_fini(&f);
}

/* Calls of LMDB that an update takes (# is another digit in each), without what the thread does now
 * and then. */
static long least_calls(struct fix *f, uint8_t kind, const char *json)
{
    static uint64_t version;
    char text[1000];
    long least = LONG_MAX;
    for (int i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "%s", json);
        *strchr(text, '#') = (char)('0' + ++version % 10);
        atomic_store(&calls, 0);
        apply(f, kind, "k", version, false, text);
        long n = atomic_load(&calls);
        least = i > 0 && n < least ? n : least;
    }
    return least;
}

Test(ordered, an_update_that_says_the_same_costs_nothing)
{
    struct fix f;
    fix_open(&f);
    buf_init(&value, 1 << 16);
    long other = least_calls(&f, RECORD_ENVIRONMENT, "{\"v\":#}");
    cr_expect_eq(
        least_calls(&f, RECORD_INSTANCE, "{\"a\":#,\"attributes\":[" ATTRIBUTE("type", "m5") "]}"),
        other);
    cr_expect_eq(least_calls(&f, RECORD_TASK, "{" CREATED("00.000") ",\"v\":#}"), other);
    cr_expect_gt(least_calls(&f, RECORD_INSTANCE, "{\"attributes\":[" ATTRIBUTE("type", "m#") "]}"),
                 other);
    buf_fini(&value);
    fix_fini(&f);
}

/* All entries of `ordered` but the first n are taken away, behind the store's back. */
static void lose_entries(struct fix *f, unsigned n)
{
    char path[200];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    MDB_val key, val;
    fix_close(f);
    snprintf(path, sizeof path, "%s/state", f->dir);
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_set_maxdbs(env, 9), 0);
    cr_assert_eq(mdb_env_open(env, path, 0, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, "ordered", 0, &dbi), 0);
    cr_assert_eq(mdb_cursor_open(txn, dbi, &cursor), 0);
    for (unsigned i = 0; mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0; i++)
        if (i >= n)
            cr_assert_eq(mdb_cursor_del(cursor, 0), 0);
    mdb_cursor_close(cursor);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    fix_reopen(f);
}

static void scan_both(struct fix *f, char instances[200], char tasks[200])
{
    struct met i = {.keys = ""}, t = {.keys = ""};
    const struct store_attribute a = {.name = "type", .value = "m5", .fn = on_hash, .arg = &i};
    const struct store_creation c = {.untimed = on_row, .fn = on_row, .arg = &t};
    cr_assert_eq(store_read_begin(f->s, &i.txn), 0);
    cr_assert_eq(store_attribute_scan(i.txn, &a), 0);
    cr_assert_eq(store_creation_scan(i.txn, &c), 0);
    store_read_end(i.txn);
    snprintf(instances, 200, "%s", i.keys);
    snprintf(tasks, 200, "%s", t.keys);
}

Test(ordered, lost_entries_are_noticed_and_made_again)
{
    struct fix f;
    char instances[200], tasks[200];
    fix_open(&f);
    buf_init(&value, 1 << 16);
    instance(&f, "a", 1, ATTRIBUTE("type", "m5"));
    instance(&f, "b", 1, ATTRIBUTE("type", "m5"));
    task(&f, "t", 1, CREATED("00.001"));
    task(&f, "u", 1, CREATED("00.002"));
    scan_both(&f, instances, tasks);
    for (unsigned n = 1; n < 4; n += 2) { /* of an instance; of a task */
        char got[200], got_tasks[200];
        lose_entries(&f, n);
        scan_both(&f, got, got_tasks);
        cr_assert(strcmp(got, instances) != 0 || strcmp(got_tasks, tasks) != 0);
        for (int i = 0; i < 1000 && f.s->repair_wanted; i++)
            nanosleep(&(struct timespec){0, 5000000}, NULL);
        instance(&f, "x", n, "");
        scan_both(&f, got, got_tasks);
        cr_assert_str_eq(got, instances);
        cr_assert_str_eq(got_tasks, tasks);
    }
    buf_fini(&value);
    fix_fini(&f);
}
