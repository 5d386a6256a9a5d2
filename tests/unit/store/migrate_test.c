/* SPDX-License-Identifier: Apache-2.0
 * Databases that earlier versions wrote (tests/data/store) open with all that was in them. */
#include <limits.h>
#include <sys/stat.h>

#include "store/store_int.h"
#include "tests/unit/store/fixture.h"
#include "tests/unit/store/lmdb_faults.h"

#define DATA "tests/data/store/"
#define TASK "arn:aws:ecs:us-east-1:111122223333:task/prod/"
#define CLUSTER "arn:aws:ecs:us-east-1:111122223333:cluster/prod"

static const char *const recorded[] = {"format-1", "format-2", "format-3", "format-4"};
enum { RECORDED = sizeof recorded / sizeof recorded[0] };

static void copy_file(const char *from, const char *to)
{
    char bytes[4096];
    size_t n;
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    cr_assert(in != NULL && out != NULL, "%s", from);
    while ((n = fread(bytes, 1, sizeof bytes, in)) > 0)
        cr_assert_eq(fwrite(bytes, 1, n, out), n);
    fclose(in);
    fclose(out);
}

static void copy_database(const struct fix *f, const char *format)
{
    static const char *const names[] = {"state/data.mdb", "state/life", "log/data.mdb", "log/life"};
    char from[256], to[256];
    snprintf(to, sizeof to, "%s/state", f->dir);
    cr_assert_eq(mkdir(to, 0700), 0);
    snprintf(to, sizeof to, "%s/log", f->dir);
    cr_assert_eq(mkdir(to, 0700), 0);
    for (size_t i = 0; i < 4; i++) {
        snprintf(from, sizeof from, DATA "%s/%s", format, names[i]);
        snprintf(to, sizeof to, "%s/%s", f->dir, names[i]);
        copy_file(from, to);
    }
    snprintf(from, sizeof from, DATA "%s/log/journal", format);
    snprintf(to, sizeof to, "%s/log/journal", f->dir);
    if (access(from, R_OK) == 0) { /* its zeros are not recorded */
        copy_file(from, to);
        cr_assert_eq(truncate(to, JOURNAL_BYTES), 0);
    }
}

/* Since format 4 there are some. */
static unsigned instances_of(const char *format)
{
    return strcmp(format, "format-4") == 0 ? 4 : 0;
}

static int count_tasks(void *arg, const struct store_row *row)
{
    struct row fields;
    const struct record *rec = &row->record;
    if (!rec->deleted) {
        cr_assert_eq(row_decode(rec->value, rec->value_len, &fields), 0);
        cr_assert(row_field_is(&fields, ROW_CLUSTER, CLUSTER));
        cr_assert(row_field_is(&fields, ROW_STATUS, rec->version.hi == 2 ? "RUNNING" : "PENDING"));
        cr_assert_not_null(memmem(fields.json.data, fields.json.len, rec->key, rec->key_len));
    }
    cr_assert_eq(rec->observed_unix_ms, 1763800000000 + (int64_t)rec->version.hi);
    cr_assert_eq(rec->term, 3u);
    ++*(int *)arg;
    return 0;
}

static int count_changes(void *arg, const struct store_row *row)
{
    uint64_t *last = arg;
    cr_assert_gt(row->index, *last);
    *last = row->index;
    return 0;
}

static int count_lines(void *arg, uint64_t hash, struct record_version version)
{
    (void)hash;
    (void)version;
    ++*(int *)arg;
    return 0;
}

/* By the last digit of their keys. */
struct met {
    struct store_txn *txn;
    char keys[64];
    int untimed;
};

static int on_hash(void *arg, uint64_t key_hash)
{
    struct met *m = arg;
    struct store_row row;
    cr_assert_eq(store_get_by_hash_ref(m->txn, key_hash, &row), 0);
    size_t n = strlen(m->keys);
    for (; n > 0 && m->keys[n - 1] > row.record.key[row.record.key_len - 1]; n--)
        m->keys[n] = m->keys[n - 1];
    m->keys[n] = row.record.key[row.record.key_len - 1];
    return 0;
}

static void check_attribute(struct fix *f, const char *name, const char *value, const char *keys)
{
    struct met m = {.keys = ""};
    const struct store_attribute a = {.name = name, .value = value, .fn = on_hash, .arg = &m};
    cr_assert_eq(store_read_begin(f->s, &m.txn), 0);
    cr_assert_eq(store_attribute_scan(m.txn, &a), 0);
    store_read_end(m.txn);
    cr_assert_str_eq(m.keys, keys, "%s", m.keys);
}

static int on_untimed(void *arg, const struct store_row *row)
{
    (void)row;
    ((struct met *)arg)->untimed++;
    return 0;
}

static int on_created(void *arg, const struct store_row *row)
{
    struct met *m = arg;
    size_t n = strlen(m->keys);
    m->keys[n] = row->record.key[row->record.key_len - 1];
    return 0;
}

static void check_order(struct fix *f, bool timed)
{
    struct met m = {.keys = ""};
    const struct store_creation c = {.untimed = on_untimed, .fn = on_created, .arg = &m};
    cr_assert_eq(store_read_begin(f->s, &m.txn), 0);
    cr_assert_eq(store_creation_scan(m.txn, &c), 0);
    store_read_end(m.txn);
    cr_assert_eq(m.untimed, timed ? 5 : 40);
    cr_assert_str_eq(m.keys, timed ? "6543210edcba986543210edcba986543210" : "", "%s", m.keys);
    cr_assert(!f->s->repair_wanted);
}

static void check_rows(struct fix *f, unsigned instances)
{
    struct store_txn *t;
    struct store_row row;
    struct store_stats stats;
    int tasks = 0, lines = 0;
    uint64_t last = 0;
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    struct store_query q = {.kind = RECORD_TASK, .with_deleted = true};
    cr_assert_eq(store_scan(t, &q, count_tasks, &tasks), 0);
    cr_assert_eq(tasks, 41);
    cr_assert_eq(store_get_ref(t, RECORD_TASK, TASK "gone", strlen(TASK "gone"), &row), 0);
    cr_assert(row.record.deleted);
    cr_assert_eq(row.record.version.lo, 1u);
    cr_assert_eq(store_get_by_hash_ref(t, record_key_hash(RECORD_ENVIRONMENT, "web", 3), &row), 0);
    cr_assert_eq(store_changes(t, 0, 0, count_changes, &last), 0);
    cr_assert_eq(last, 62u + instances, "changes keep their numbers");
    cr_assert_eq(store_txn_index(t, RECORD_TASK), 61u);
    cr_assert_eq(store_fingerprints(t, 0, UINT64_MAX, count_lines, &lines), 0);
    cr_assert_eq(lines, 42 + (int)instances);
    store_read_end(t);
    cr_assert_eq(fix_count(f, RECORD_TASK, ROW_STATUS, "RUNNING"), 20u);
    cr_assert_eq(fix_count(f, RECORD_TASK, ROW_STATUS, "PENDING"), 20u);
    cr_assert_eq(fix_count(f, RECORD_TASK, ROW_FAMILY, "web"), 20u);
    cr_assert_eq(fix_count(f, RECORD_TASK, 0, NULL), 40u);
    store_stats(f->s, &stats);
    cr_assert_eq(stats.tombstones, 1u);
    cr_assert_eq(stats.poison, 1u);
    check_order(f, instances > 0);
    check_attribute(f, "ecs.instance-type", "x1.rare", instances > 0 ? "23" : "");
    check_attribute(f, "rack", "r0", instances > 0 ? "013" : ""); /* one is written as an escape */
    check_attribute(f, "rack", "r1", instances > 0 ? "23" : "");
}

static int check_entry(void *arg, const struct store_log_entry *entry)
{
    ++*(int *)arg;
    return entry->term == 2 && entry->len == 14 &&
                   memcmp(entry->data, "{\"name\":\"web\"}", 14) == 0
               ? 0
               : ERR_INTERNAL;
}

static int check_intent(void *arg, const struct store_log_intent *row)
{
    ++*(int *)arg;
    return row->kind == RECORD_ENVIRONMENT && row->version.lo == 2 && row->value_len == 14
               ? 0
               : ERR_INTERNAL;
}

static void check_log(struct fix *f)
{
    struct store_log_state st;
    int entries = 0, intent = 0;
    char text[64];
    size_t len;
    cr_assert_eq(store_log_load(f->s, &st), 0);
    cr_assert_eq(st.term, 2u);
    cr_assert_eq(st.vote, 77u);
    cr_assert_eq(st.last_index, 3u);
    cr_assert_eq(st.applied_index, 2u);
    cr_assert_eq(store_log_read(f->s, 1, 3, check_entry, &entries), 0);
    cr_assert_eq(entries, 3);
    cr_assert_eq(store_log_intent(f->s, check_intent, &intent), 0);
    cr_assert_eq(intent, 1);
    cr_assert_eq(store_log_config(f->s, text, sizeof text, &len), 0);
    cr_assert_eq(len, 6u);
    cr_assert_eq(memcmp(text, "voters", 6), 0);
    cr_assert_eq(store_fact_get(f->s, "incarnation", text, sizeof text, &len), 0);
    cr_assert_eq(len, 43u);
}

Test(migrate, every_earlier_format_opens_with_all_it_held)
{
    for (size_t i = 0; i < RECORDED; i++) {
        struct fix f;
        struct buf value;
        char path[256];
        struct stat st;
        fix_init(&f);
        copy_database(&f, recorded[i]);
        fix_reopen(&f);
        uint64_t epoch = store_epoch(f.s);
        cr_assert(!f.report.state_quarantined && !f.report.log_quarantined, "%s: %s", recorded[i],
                  f.report.why);
        unsigned instances = instances_of(recorded[i]);
        cr_assert_eq(f.report.rows, 41u + instances);
        check_rows(&f, instances);
        check_log(&f);
        cr_assert_eq(fix_count(&f, RECORD_TASK, ROW_DESIRED, "STOPPED"), i < 2 ? 0u : 10u);
        snprintf(path, sizeof path, "%s/" STATE_NEW, f.dir);
        cr_assert_neq(stat(path, &st), 0, "the copy is gone");
        buf_init(&value, 1000);
        struct record rec = task_of(&value, TASK "new", 1, CLUSTER, "PENDING", "web");
        cr_assert_eq(fix_apply(&f, &rec, 1), 0);
        cr_assert_eq(f.changes[0].index, 63u + instances);
        cr_assert_eq(fix_purge(&f, &rec), 0);
        snprintf(path, sizeof path, "%s/log/journal", f.dir);
        cr_assert(stat(path, &st) == 0 && st.st_size == JOURNAL_BYTES);
        fix_close(&f);
        fix_reopen(&f); /* of the current format now */
        cr_assert_eq(store_epoch(f.s), epoch);
        check_log(&f);
        buf_fini(&value);
        fix_fini(&f);
    }
}

/* A start that ends at any moment of the migration is made good by the next one. */
Test(migrate, a_copy_that_was_not_finished_is_no_harm)
{
    struct fix f;
    char path[256];
    fix_init(&f);
    copy_database(&f, "format-2");
    snprintf(path, sizeof path, "%s/" STATE_NEW, f.dir);
    cr_assert_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof path, "%s/" STATE_NEW "/data.mdb", f.dir);
    copy_file("tests/data/store/README.md", path);
    fix_reopen(&f);
    cr_assert(!f.report.state_quarantined, "%s", f.report.why);
    check_rows(&f, 0);
    fix_fini(&f);
}

static bool is_there(const struct fix *f, const char *name)
{
    char path[256];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    return stat(path, &st) == 0;
}

static void begin(struct fix *f, const char *format)
{
    fix_init(f);
    fix_in_memory(f);
    copy_database(f, format);
}

/* Calls of LMDB in a start. */
static long calls_of(const char *format)
{
    struct fix f;
    begin(&f, format);
    (void)fix_failed_opening(&f, LONG_MAX, 0);
    fix_fini(&f);
    return atomic_load(&calls);
}

/* Each of the first and of the last, and some of the many between in which rows are copied. */
static long next_call(long at, long count)
{
    return at < 100 || at > count - 100 ? at + 1 : at + 17;
}

Test(migrate, killed_at_every_step)
{
    for (size_t i = 0; i < RECORDED; i++) {
        long count = calls_of(recorded[i]);
        cr_assert_gt(count, 60, "only %ld calls", count);
        for (long at = 1; at <= count; at = next_call(at, count)) {
            struct fix f;
            begin(&f, recorded[i]);
            (void)fix_killed_opening(&f, at);
            fix_reopen(&f);
            cr_assert(!f.report.state_quarantined && !f.report.log_quarantined, "%s, call %ld: %s",
                      recorded[i], at, f.report.why);
            check_rows(&f, instances_of(recorded[i]));
            check_log(&f);
            cr_assert(!is_there(&f, STATE_NEW), "%s, call %ld", recorded[i], at);
            fix_fini(&f);
        }
    }
}

/* As a store of format 4 would have left it: without the table that came then. */
static void make_format_4(struct fix *f)
{
    char path[256];
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi meta, ordered;
    snprintf(path, sizeof path, "%s/state", f->dir);
    cr_assert_eq(mdb_env_create(&env), 0);
    cr_assert_eq(mdb_env_set_maxdbs(env, 9), 0);
    cr_assert_eq(mdb_env_open(env, path, 0, 0600), 0);
    cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    cr_assert_eq(mdb_dbi_open(txn, "ordered", 0, &ordered), 0);
    cr_assert_eq(mdb_dbi_open(txn, "meta", 0, &meta), 0);
    cr_assert_eq(mdb_drop(txn, ordered, 1), 0);
    cr_assert_eq(format_write(txn, meta, STATE_FORMAT_INDEXED), 0);
    cr_assert_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

enum { MANY = 1700, AT_ONCE = 100 };

static void put_many(struct fix *f)
{
    static char keys[AT_ONCE][32], json[AT_ONCE][120];
    struct record recs[AT_ONCE];
    struct buf values[AT_ONCE];
    for (unsigned n = 0; n < MANY; n++) {
        unsigned i = n % AT_ONCE;
        snprintf(keys[i], sizeof keys[i], "instance/%05u", n);
        snprintf(json[i], sizeof json[i],
                 "{\"attributes\":[{\"name\":\"type\",\"value\":\"m5\"}],\"n\":%u}", n);
        struct row row = {.json = {json[i], strlen(json[i])}};
        buf_init(&values[i], 1000);
        cr_assert_eq(row_encode(&row, &values[i]), 0);
        recs[i] = rec_of(RECORD_INSTANCE, keys[i], 1, &values[i]);
        if (i + 1 < AT_ONCE)
            continue;
        cr_assert_eq(fix_apply(f, recs, AT_ONCE), 0);
        for (unsigned k = 0; k < AT_ONCE; k++)
            buf_fini(&values[k]);
    }
}

static int count_hashes(void *arg, uint64_t key_hash)
{
    (void)key_hash;
    ++*(unsigned *)arg;
    return 0;
}

/* More rows than one transaction takes: who finds it begun begins again, and counts none twice. */
Test(migrate, killed_between_transactions)
{
    struct fix f;
    fix_init(&f);
    fix_in_memory(&f);
    fix_reopen(&f);
    put_many(&f);
    fix_close(&f);
    bool came_through = false;
    for (long at = 200; !came_through; at += 700) {
        make_format_4(&f);
        came_through = !fix_killed_opening(&f, at);
        fix_reopen(&f);
        cr_assert(!f.report.state_quarantined, "call %ld: %s", at, f.report.why);
        struct store_txn *txn;
        unsigned met = 0;
        const struct store_attribute a = {
            .name = "type", .value = "m5", .fn = count_hashes, .arg = &met};
        cr_assert_eq(store_read_begin(f.s, &txn), 0);
        cr_assert_eq(store_attribute_scan(txn, &a), 0);
        store_read_end(txn);
        cr_assert_eq(met, (unsigned)MANY);
        cr_assert(!f.s->repair_wanted, "call %ld", at);
        fix_close(&f);
    }
    fix_fini(&f);
}

static void fail_once(const char *format, long at, int code)
{
    struct fix f;
    begin(&f, format);
    (void)fix_failed_opening(&f, at, code);
    bool set_aside = f.report.state_quarantined;
    cr_assert(!f.report.log_quarantined, "%s", f.report.why);
    fix_reopen(&f);
    cr_assert(!f.report.state_quarantined && !f.report.log_quarantined, "%s, call %ld: %s", format,
              at, f.report.why);
    check_log(&f);
    if (set_aside)
        cr_assert_eq(f.report.rows, 0u);
    else
        check_rows(&f, instances_of(format));
    cr_assert(!is_there(&f, STATE_NEW), "%s, call %ld", format, at);
    fix_fini(&f);
}

/* The disk is full, or fails: log/ is taken over then or later, as it is; state/ is too, or is set
 * aside as a whole and comes from peers again. */
Test(migrate, a_disk_that_fails_at_every_step)
{
    static const int codes[] = {ENOSPC, EIO, MDB_MAP_FULL};
    for (size_t i = 0; i < RECORDED; i++) {
        long count = calls_of(recorded[i]), turn = 0;
        for (long at = 1; at <= count; at = next_call(at, count), turn++)
            fail_once(recorded[i], at, codes[turn % 3]);
    }
}

/* Of a damaged database of an earlier format the sound rows are taken, or it is set aside. */
Test(migrate, damage_is_found)
{
    static const char *const names[] = {"state", "log"};
    for (size_t i = 0; i < RECORDED; i++)
        for (size_t n = 0; n < 2; n++) {
            struct fix f;
            char path[256];
            static const char from[] = "\"web\"", to[] = "\"wep\"";
            static char bytes[1 << 18];
            fix_init(&f);
            copy_database(&f, recorded[i]);
            snprintf(path, sizeof path, "%s/%s/data.mdb", f.dir, names[n]);
            FILE *file = fopen(path, "r+b");
            size_t len = fread(bytes, 1, sizeof bytes, file);
            for (char *at = bytes; (at = memmem(at, len - (size_t)(at - bytes), from, 5)) != NULL;)
                memcpy(at, to, 5);
            rewind(file);
            cr_assert_eq(fwrite(bytes, 1, len, file), len);
            fclose(file);
            fix_reopen(&f);
            cr_assert_eq(f.report.log_quarantined, n == 1, "%s", recorded[i]);
            struct store_txn *t;
            struct store_row row;
            cr_assert_eq(store_read_begin(f.s, &t), 0);
            cr_assert_eq(store_get_ref(t, RECORD_ENVIRONMENT, "web", 3, &row),
                         n == 1 ? 0 : ERR_NOTFOUND, "%s", recorded[i]);
            store_read_end(t);
            cr_assert_eq(fix_count(&f, RECORD_TASK, 0, NULL), 40u);
            fix_fini(&f);
        }
}
