/* SPDX-License-Identifier: Apache-2.0
 * Damage on disk: opening works with intact data, or quarantines; it never crashes and
 * never answers with wrong bytes. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "agent/base/hash.h"
#include "store/store_int.h"
#include "tests/unit/store/fixture.h"

enum { ROWS = 300 };
static struct buf value;

static void path_of(const struct fix *f, const char *name, char out[256])
{
    snprintf(out, 256, "%s/%s", f->dir, name);
}

static char *read_all(const char *path, size_t *ret_len)
{
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file);
    fseek(file, 0, SEEK_END);
    *ret_len = (size_t)ftell(file);
    rewind(file);
    char *data = malloc(*ret_len);
    cr_assert_eq(fread(data, 1, *ret_len, file), *ret_len);
    fclose(file);
    return data;
}

static void write_all(const char *path, const void *data, size_t len)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(data, 1, len, file), len);
    fclose(file);
}

static struct record nth(int i)
{
    static char key[32];
    char status[8];
    snprintf(key, sizeof key, "task/%d", i);
    snprintf(status, sizeof status, "S%d", i % 3);
    return task_of(&value, key, 1 + (uint64_t)i, "c1", status, "web");
}

static void fill(struct fix *f)
{
    for (int i = 0; i < ROWS; i++) {
        struct record rec = nth(i);
        cr_assert_eq(fix_apply(f, &rec, 1), 0);
        struct store_log_entry e = {1 + (uint64_t)i, 1, 1, rec.value_len, rec.value};
        struct store_log_write w = {.entries = &e, .entry_count = 1, .applied_index = e.index};
        if (i % 4 == 0 && i < 40) {
            e.index = 1 + (uint64_t)i / 4;
            cr_assert_eq(fix_log(f, &w), 0);
        }
    }
    cr_assert_eq(fix_fact(f, "incarnation", "42"), 0);
}

static int row_is_true(void *arg, const struct store_row *row)
{
    int *seen = arg;
    char key[64];
    snprintf(key, sizeof key, "%.*s", (int)row->record.key_len, row->record.key);
    int i = -1;
    if (sscanf(key, "task/%d", &i) != 1 || i < 0 || i >= ROWS)
        return ERR_CORRUPT;
    struct record want = nth(i);
    if (want.value_len != row->record.value_len || want.version.hi != row->record.version.hi ||
        memcmp(want.value, row->record.value, want.value_len) != 0)
        return ERR_CORRUPT;
    ++*seen;
    return 0;
}

static int entry_is_true(void *arg, const struct store_log_entry *entry)
{
    struct record want = nth((int)(entry->index - 1) * 4);
    ++*(int *)arg;
    return entry->len == want.value_len && memcmp(entry->data, want.value, want.value_len) == 0
               ? 0
               : ERR_INTERNAL;
}

/* In a child, so that a crash is seen as what it is: exit code 0 intact, 1 quarantined, 2 rows
 * lost and noticed, else a failure. */
static int try_in_child(struct fix *f)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int seen = 0;
        int entries = 0;
        struct store_log_state st;
        if (fix_try_open(f) != 0)
            _exit(10);
        struct store_txn *t;
        struct store_query all = {.kind = RECORD_TASK};
        struct store_query some = {.kind = RECORD_TASK, .field = ROW_CLUSTER, .value = "c1"};
        if (store_read_begin(f->s, &t) != 0)
            _exit(11);
        if (store_scan(t, &all, row_is_true, &seen) != 0)
            _exit(12);
        int by_index = 0;
        if (store_scan(t, &some, row_is_true, &by_index) != 0)
            _exit(13);
        int changed = 0;
        if (store_changes(t, RECORD_TASK, 0, row_is_true, &changed) != 0)
            _exit(14);
        store_read_end(t);
        if (store_log_load(f->s, &st) != 0 ||
            store_log_read(f->s, st.first_index, st.last_index, entry_is_true, &entries) != 0)
            _exit(15);
        if (!f->report.log_quarantined && entries != 10)
            _exit(16);
        /* It must also go on working. */
        struct record rec = rec_of(RECORD_TEST, "after", 1, NULL);
        if (fix_apply(f, &rec, 1) != 0)
            _exit(17);
        store_close(f->s);
        if (f->report.state_quarantined || f->report.log_quarantined)
            _exit(f->report.quarantine_path[0] == '\0' || f->report.why[0] == '\0' ? 18 : 1);
        _exit(seen == ROWS ? 0 : 2);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

struct sweep {
    struct fix f;
    char *data;
    char *life;
    size_t len, life_len;
    char path[256], life_path[256];
};

static void sweep_init(struct sweep *w, const char *name)
{
    char rel[64];
    buf_init(&value, 1 << 20);
    fix_open(&w->f);
    fill(&w->f);
    fix_close(&w->f);
    snprintf(rel, sizeof rel, "%s/data.mdb", name);
    path_of(&w->f, rel, w->path);
    w->data = read_all(w->path, &w->len);
    path_of(&w->f, "state/life", w->life_path);
    w->life = read_all(w->life_path, &w->life_len);
}

static void sweep_restore(struct sweep *w)
{
    write_all(w->path, w->data, w->len);
    write_all(w->life_path, w->life, w->life_len);
}

static void sweep_fini(struct sweep *w)
{
    free(w->data);
    free(w->life);
    buf_fini(&value);
    fix_fini(&w->f);
}

static void truncate_sweep(const char *name)
{
    struct sweep w;
    sweep_init(&w, name);
    int outcome[3] = {0};
    for (size_t i = 0; i < 40; i++) {
        size_t len = i < 20 ? w.len * i / 20 : w.len - 1 - (i - 20) * 333;
        write_all(w.path, w.data, len);
        write_all(w.life_path, w.life, w.life_len);
        int rc = try_in_child(&w.f);
        cr_assert_leq(rc, 2, "%s cut to %zu of %zu: %d", name, len, w.len, rc);
        outcome[rc]++;
    }
    cr_assert_gt(outcome[1], 5);
    cr_assert_eq(outcome[2], 0, "rows lost unnoticed");
    sweep_restore(&w);
    cr_assert_eq(try_in_child(&w.f), 0);
    sweep_fini(&w);
}

/* A longer campaign: BLOX_TEST_FLIPS=5000 unit_store_damage_test. */
static size_t flip_count(void)
{
    const char *text = getenv("BLOX_TEST_FLIPS");
    return text == NULL ? 150 : strtoul(text, NULL, 10);
}

static void flip_sweep(const char *name, size_t flips)
{
    struct sweep w;
    sweep_init(&w, name);
    int outcome[3] = {0};
    for (size_t i = 0; i < flips; i++) {
        uint64_t r = hash_mix(i + 1);
        /* Half of them in the page headers and pointers, where they hurt most. */
        size_t at = i % 2 == 0 ? (size_t)(r % w.len)
                               : (size_t)(r % (w.len / 4096)) * 4096 + (size_t)((r >> 40) % 160);
        w.data[at] ^= (char)(1u << (r >> 61));
        sweep_restore(&w);
        int rc = try_in_child(&w.f);
        cr_assert_leq(rc, 2, "%s bit flipped at %zu: %d", name, at, rc);
        outcome[rc]++;
        w.data[at] ^= (char)(1u << (r >> 61));
    }
    cr_log_info("%s: %d intact, %d quarantined, %d rows dropped", name, outcome[0], outcome[1],
                outcome[2]);
    cr_assert_gt(outcome[1], 0);
    sweep_restore(&w);
    cr_assert_eq(try_in_child(&w.f), 0);
    sweep_fini(&w);
}

Test(damage, truncated_state)
{
    truncate_sweep("state");
}

Test(damage, truncated_log)
{
    truncate_sweep("log");
}

Test(damage, flipped_bits_in_state)
{
    flip_sweep("state", flip_count());
}

Test(damage, flipped_bits_in_log)
{
    flip_sweep("log", flip_count());
}

/* A flip inside one row's bytes: that row is gone, the others stay, and the repair makes counts,
 * indexes and fingerprints agree with what is left. */
Test(damage, one_bad_row_is_dropped_and_the_rest_repaired)
{
    struct sweep w;
    sweep_init(&w, "state");
    fix_reopen(&w.f);
    struct record bad = rec_of(RECORD_TASK, "needle", 1, NULL);
    bad.value = (const uint8_t *)"a-text-to-be-found-in-the-file";
    bad.value_len = 30;
    cr_assert_eq(fix_apply(&w.f, &bad, 1), 0);
    fix_close(&w.f);
    size_t len;
    char *data = read_all(w.path, &len);
    char *at = memmem(data, len, bad.value, bad.value_len);
    cr_assert_not_null(at);
    while (at != NULL) {
        at[5] ^= 4;
        at = memmem(at, len - (size_t)(at - data), bad.value, bad.value_len);
    }
    write_all(w.path, data, len);
    free(data);
    fix_reopen(&w.f);
    cr_assert(!w.f.report.state_quarantined, "%s", w.f.report.why);
    cr_assert_eq(fix_count(&w.f, RECORD_TASK, 0, NULL), ROWS + 1u);
    struct store_txn *t;
    struct store_row row;
    cr_assert_eq(store_read_begin(w.f.s, &t), 0);
    cr_assert_eq(store_get_ref(t, RECORD_TASK, "needle", 6, &row), ERR_NOTFOUND);
    store_read_end(t);
    for (int i = 0; i < 1000 && fix_count(&w.f, RECORD_TASK, 0, NULL) != ROWS; i++)
        usleep(10000);
    cr_assert_eq(fix_count(&w.f, RECORD_TASK, 0, NULL), (uint64_t)ROWS);
    cr_assert_eq(fix_count(&w.f, RECORD_TASK, ROW_STATUS, "S1"), ROWS / 3u);
    cr_assert_eq(store_read_begin(w.f.s, &t), 0);
    cr_assert_eq(store_get_by_hash_ref(t, record_key_hash(RECORD_TASK, "needle", 6), &row),
                 ERR_NOTFOUND);
    int seen = 0;
    cr_assert_eq(store_changes(t, 0, 0, row_is_true, &seen), 0);
    cr_assert_eq(seen, ROWS);
    store_read_end(t);
    fix_close(&w.f);
    sweep_fini(&w);
}

static int quarantines(const struct fix *f, const char *prefix)
{
    DIR *d = opendir(f->dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
    closedir(d);
    return n;
}

Test(damage, a_quarantine_is_kept_beside_and_bounded)
{
    struct sweep w;
    sweep_init(&w, "state");
    for (int i = 0; i < 3; i++) {
        write_all(w.path, "rubbish", 7);
        fix_reopen(&w.f);
        cr_assert(w.f.report.state_quarantined);
        cr_assert_not_null(strstr(w.f.report.quarantine_path, "/state.quarantine-"));
        cr_assert_eq(access(w.f.report.quarantine_path, F_OK), 0);
        cr_assert_eq(quarantines(&w.f, "state.quarantine-"), 1);
        cr_assert_eq(w.f.report.rows, 0u);
        fix_close(&w.f);
    }
    sweep_fini(&w);
}

/* The page cache did not survive: what an unclean close under another boot left is not used. */
Test(damage, state_of_a_crashed_machine_is_not_trusted)
{
    const struct {
        const char *life;
        bool quarantined;
    } cases[] = {
        {"boot 00000000-0000-0000-0000-000000000000 clean 0 suspect 0 crashes 0", true},
        {"boot 00000000-0000-0000-0000-000000000000 clean 1 suspect 0 crashes 0", false},
        {"boot 00000000-0000-0000-0000-000000000000 clean 1 suspect 1 crashes 0", true},
        {"garbage", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sweep w;
        sweep_init(&w, "state");
        write_all(w.life_path, cases[i].life, strlen(cases[i].life));
        fix_reopen(&w.f);
        cr_assert_eq(w.f.report.state_quarantined, cases[i].quarantined, "case %zu", i);
        cr_assert(!w.f.report.log_quarantined);
        sweep_fini(&w);
    }
}

/* The format record of a newer version: found by its fixed layout and rewritten. */
Test(damage, a_newer_format_is_set_aside)
{
    static const struct {
        const char *name;
        uint64_t format;
    } cases[] = {{"state", STATE_FORMAT}, {"log", LOG_FORMAT}};
    for (size_t n = 0; n < sizeof cases / sizeof cases[0]; n++) {
        struct sweep w;
        sweep_init(&w, cases[n].name);
        uint64_t ours[2] = {0, cases[n].format};
        uint64_t other[2] = {0, cases[n].format + 1};
        ours[0] = hash_bytes(&ours[1], 8, 0);
        other[0] = hash_bytes(&other[1], 8, 0);
        size_t found = 0;
        for (size_t i = 0; i + 16 <= w.len; i++)
            if (memcmp(w.data + i, ours, 16) == 0) {
                memcpy(w.data + i, other, 16);
                found++;
            }
        cr_assert_gt(found, 0u);
        sweep_restore(&w);
        fix_reopen(&w.f);
        bool state = strcmp(cases[n].name, "state") == 0;
        cr_assert_eq(w.f.report.state_quarantined, state);
        cr_assert_eq(w.f.report.log_quarantined, !state);
        cr_assert_not_null(strstr(w.f.report.why, "newer version"), "%s", w.f.report.why);
        sweep_fini(&w);
    }
}
