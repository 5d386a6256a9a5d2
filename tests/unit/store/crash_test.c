/* SPDX-License-Identifier: Apache-2.0
 * A writer killed in mid-write, a second process, a full map, a full disk, readers beside a
 * writer. */
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "agent/base/prng.h"
#include "tests/unit/store/fixture.h"

static struct buf value;

static void no_apply(void *arg, int err, const struct record *records,
                     const struct store_change *changes, size_t count)
{
    (void)arg;
    (void)err;
    (void)records;
    (void)changes;
    (void)count;
}

/* Writes rows and log entries for ever; never polls for completions it does not need. */
static void write_for_ever(struct fix *f, uint64_t seed, uint64_t next_index, int ready)
{
    struct prng rng;
    char key[32];
    prng_seed(&rng, seed);
    buf_init(&value, 1 << 20);
    for (uint64_t n = 0;; n++) {
        static const char *const statuses[] = {"RUNNING", "PENDING", "STOPPED"};
        snprintf(key, sizeof key, "k%u", (unsigned)prng_below(&rng, 500));
        struct record rec =
            task_of(&value, key, seed * 1000000 + n, "c1", statuses[prng_below(&rng, 3)], "web");
        rec.deleted = prng_below(&rng, 6) == 0;
        while (store_apply(f->s, &rec, 1, no_apply, NULL) == ERR_BUSY)
            store_poll(f->s);
        struct store_log_entry e = {next_index, seed, 1, (uint32_t)strlen(key), key};
        struct store_log_write w = {.entries = &e, .entry_count = 1, .applied_index = next_index};
        if (n % 8 == 0 && store_log_write(f->s, &w, NULL, NULL) == 0)
            next_index++;
        store_poll(f->s);
        if (n == 50)
            cr_assert_eq(write(ready, "!", 1), 1);
    }
}

struct tally {
    uint64_t rows, live, status[3], lines, last_entry;
    struct store_txn *t;
    bool sound;
};

static int tally_row(void *arg, const struct store_row *row)
{
    struct tally *y = arg;
    struct row fields;
    struct store_row again;
    y->rows++;
    y->live += !row->record.deleted;
    y->sound = y->sound &&
               store_get_by_hash_ref(
                   y->t, record_key_hash(row->record.kind, row->record.key, row->record.key_len),
                   &again) == 0 &&
               again.record.version.hi == row->record.version.hi;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0) {
        y->sound = false;
        return 0;
    }
    static const char *const statuses[] = {"RUNNING", "PENDING", "STOPPED"};
    for (int i = 0; i < 3; i++)
        y->status[i] += !row->record.deleted && row_field_is(&fields, ROW_STATUS, statuses[i]);
    return 0;
}

static int tally_line(void *arg, uint64_t key_hash, struct record_version version)
{
    (void)key_hash;
    (void)version;
    ((struct tally *)arg)->lines++;
    return 0;
}

static int tally_entry(void *arg, const struct store_log_entry *entry)
{
    ((struct tally *)arg)->last_entry = entry->index;
    return 0;
}

/* Rows == indexes == counts == fingerprints == change log; log entries are contiguous. */
static uint64_t check_invariants(struct fix *f)
{
    static const char *const statuses[] = {"RUNNING", "PENDING", "STOPPED"};
    struct tally y = {.sound = true};
    struct store_txn *t;
    uint64_t n = 0;
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    y.t = t;
    struct store_query q = {.kind = RECORD_TASK, .with_deleted = true};
    cr_assert_eq(store_scan(t, &q, tally_row, &y), 0);
    cr_assert(y.sound);
    cr_assert_eq(store_fingerprints(t, 0, UINT64_MAX, tally_line, &y), 0);
    cr_assert_eq(y.lines, y.rows);
    cr_assert_eq(store_count(t, RECORD_TASK, 0, NULL, &n), 0);
    cr_assert_eq(n, y.live);
    for (int i = 0; i < 3; i++) {
        struct key_list k = {.text = ""};
        struct store_query by = {.kind = RECORD_TASK, .field = ROW_STATUS, .value = statuses[i]};
        cr_assert_eq(store_count(t, RECORD_TASK, ROW_STATUS, statuses[i], &n), 0);
        cr_assert_eq(n, y.status[i]);
        cr_assert_eq(store_scan(t, &by, key_list_add, &k), 0);
        cr_assert_eq(k.count, n);
    }
    struct key_list changed = {.text = ""};
    cr_assert_eq(store_changes(t, 0, store_oldest_change(t), key_list_add, &changed), 0);
    cr_assert_eq(changed.count, y.rows);
    cr_assert_eq(store_txn_index(t, 0), store_index(f->s, 0));
    store_read_end(t);
    struct store_log_state st;
    cr_assert_eq(store_log_load(f->s, &st), 0);
    cr_assert_eq(store_log_read(f->s, st.first_index, st.last_index, tally_entry, &y), 0);
    cr_assert_eq(y.last_entry, st.last_index);
    cr_assert_eq(st.applied_index, st.last_index, "entries and applied index are one write");
    return st.last_index;
}

Test(crash, kill_in_mid_write)
{
    struct fix f;
    struct prng rng;
    uint64_t last = 0;
    fix_init(&f);
    prng_seed(&rng, 7);
    for (uint64_t round = 1; round <= 20; round++) {
        int fds[2];
        cr_assert_eq(pipe(fds), 0);
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            fix_reopen(&f);
            write_for_ever(&f, round, last + 1, fds[1]);
        }
        char byte;
        cr_assert_eq(read(fds[0], &byte, 1), 1);
        usleep((unsigned)prng_below(&rng, 30000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        close(fds[0]);
        close(fds[1]);
        fix_reopen(&f);
        cr_assert(!f.report.state_quarantined, "%s", f.report.why);
        cr_assert(!f.report.log_quarantined, "%s", f.report.why);
        uint64_t now = check_invariants(&f);
        cr_assert_geq(now, last);
        last = now;
        if (round % 2 == 0) {
            fix_close(&f);
        } else {
            /* Also without a clean close in between. */
            fix_close(&f);
        }
    }
    cr_assert_gt(last, 20u);
    fix_fini(&f);
}

Test(crash, a_second_process_is_refused)
{
    struct fix f;
    fix_open(&f);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *s;
        struct errmsg e;
        struct store_options o = {.dir = f.dir};
        int err = store_open(&s, &o, NULL, &e);
        _exit(err == ERR_IO && strstr(e.text, "in use by another process") != NULL ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert_eq(status, 0);
    struct record rec = rec_of(RECORD_TEST, "still works", 1, NULL);
    cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    fix_fini(&f);
}

Test(crash, a_directory_that_cannot_be_used_is_an_error)
{
    struct store *s;
    struct errmsg e;
    char far[300];
    memset(far, 'd', sizeof far - 1);
    far[sizeof far - 1] = '\0';
    const char *dirs[] = {"/nonexistent/blox/store", "/dev/null", far};
    for (size_t i = 0; i < 3; i++) {
        struct store_options o = {.dir = dirs[i]};
        e.text[0] = '\0';
        cr_assert_eq(store_open(&s, &o, NULL, &e), ERR_IO);
        cr_assert_neq(e.text[0], '\0');
    }
}

static char blob[64 * 1024];

static struct record blob_of(int i, char key[32])
{
    snprintf(key, 32, "blob/%d", i);
    struct record rec = rec_of(RECORD_TEST, key, 1, NULL);
    rec.value = (const uint8_t *)blob;
    rec.value_len = sizeof blob;
    return rec;
}

/* Fills the store until it refuses, then: reads go on, small things fail or succeed as a whole,
 * removing makes room again. Returns how many rows fitted. */
static int fill_up(struct fix *f)
{
    char key[32];
    int stored = 0;
    int err = 0;
    while (stored < 4096) {
        struct record rec = blob_of(stored, key);
        err = fix_apply(f, &rec, 1);
        if (err != 0)
            break;
        stored++;
    }
    cr_assert_eq(err, ERR_FULL);
    cr_assert_gt(stored, 3);
    cr_assert_eq(store_health(f->s), ERR_FULL);
    cr_assert_eq(store_index(f->s, 0), (uint64_t)stored);
    cr_assert_eq(fix_count(f, RECORD_TEST, 0, NULL), (uint64_t)stored, "nothing is half applied");
    struct store_txn *t;
    struct store_row row;
    cr_assert_eq(store_read_begin(f->s, &t), 0);
    cr_assert_eq(store_get_ref(t, RECORD_TEST, "blob/0", 6, &row), 0);
    cr_assert_eq(row.record.value_len, sizeof blob);
    store_read_end(t);
    return stored;
}

/* Nobody writes: the store finds out by itself. */
static void wait_for_health(struct fix *f)
{
    for (int n = 0; n < 3000 && store_health(f->s) != 0; n++)
        usleep(10000);
    cr_assert_eq(store_health(f->s), 0);
}

/* Not because something small would fit. */
static void stay_sick(struct fix *f)
{
    sleep(5); /* two times that it looks */
    cr_assert_eq(store_health(f->s), ERR_FULL);
}

Test(crash, a_full_map_refuses_writes_and_recovers)
{
    struct fix f;
    char key[32];
    fix_init(&f);
    f.options.state_map_bytes = f.options.state_map_max = 2u << 20;
    fix_reopen(&f);
    int stored = fill_up(&f);
    stay_sick(&f);
    /* The next start has room again, however full the map was. */
    fix_close(&f);
    fix_reopen(&f);
    cr_assert(!f.report.state_quarantined);
    cr_assert_eq(f.report.rows, (uint64_t)stored);
    struct record rec;
    for (int i = 0; i < 3; i++) {
        rec = blob_of(i, key);
        cr_assert_eq(fix_purge(&f, &rec), 0);
    }
    rec = blob_of(9999, key);
    cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    cr_assert_eq(store_health(f.s), 0);
    fix_fini(&f);
}

/* A batch in which one write does not fit: only that one fails. */
Test(crash, one_write_too_many_does_not_take_its_neighbours_down)
{
    struct fix f;
    static struct record huge[64];
    static char keys[64][32];
    fix_init(&f);
    f.options.state_map_bytes = f.options.state_map_max = 1u << 20;
    fix_reopen(&f);
    for (int i = 0; i < 64; i++)
        huge[i] = blob_of(i, keys[i]);
    struct record small = rec_of(RECORD_TEST, "small", 1, NULL);
    f.pending = 2;
    cr_assert_eq(store_apply(f.s, huge, 64, fix_applied, &f), 0);
    cr_assert_eq(store_apply(f.s, &small, 1, fix_applied, &f), 0);
    fix_wait(&f);
    cr_assert_eq(f.err, 0, "the last completion is that of the small one");
    cr_assert_eq(fix_count(&f, RECORD_TEST, 0, NULL), 1u);
    cr_assert_eq(store_health(f.s), 0);
    fix_fini(&f);
}

Test(crash, a_full_disk_refuses_writes_and_recovers)
{
    struct fix f;
    char key[32];
    fix_init(&f);
    if (geteuid() != 0 || mount("tmpfs", f.dir, "tmpfs", 0, "size=4m") != 0) {
        rmdir(f.dir);
        cr_skip_test("a small file system cannot be mounted here (needs root)");
    }
    fix_reopen(&f);
    int stored = fill_up(&f);
    /* The other database is on the same disk: an error or a success, never half of it. */
    struct store_log_entry e = {1, 1, 1, sizeof blob, blob};
    struct store_log_write w = {.set_hard_state = true, .term = 3, .entries = &e, .entry_count = 1};
    int err = 0;
    for (; err == 0 && e.index < 100; e.index += err == 0)
        err = fix_log(&f, &w);
    cr_assert_eq(err, ERR_FULL);
    struct store_log_state st;
    cr_assert_eq(store_log_load(f.s, &st), 0);
    cr_assert_eq(st.last_index, e.index - 1);
    fix_close(&f);
    fix_reopen(&f);
    cr_assert(!f.report.state_quarantined, "%s", f.report.why);
    cr_assert(!f.report.log_quarantined, "%s", f.report.why);
    cr_assert_eq(f.report.rows, (uint64_t)stored);
    struct record rec = blob_of(9999, key);
    cr_assert_eq(fix_apply(&f, &rec, 1), ERR_FULL);
    cr_assert_eq(store_health(f.s), ERR_FULL);
    cr_assert_eq(mount("tmpfs", f.dir, "tmpfs", MS_REMOUNT, "size=16m"), 0);
    wait_for_health(&f);
    cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    cr_assert_eq(fix_log(&f, &w), 0);
    cr_assert_eq(store_health(f.s), 0);
    fix_close(&f);
    umount(f.dir);
    fix_remove(f.dir);
}

Test(crash, below_the_free_space_limit_rows_are_refused_and_the_log_is_not)
{
    struct fix f;
    fix_init(&f);
    f.options.state_disk_min = UINT64_MAX / 2;
    fix_reopen(&f);
    struct record rec = rec_of(RECORD_TEST, "a", 1, NULL);
    cr_assert_eq(fix_apply(&f, &rec, 1), ERR_FULL);
    cr_assert_eq(store_health(f.s), ERR_FULL);
    struct store_log_write w = {.set_hard_state = true, .term = 3};
    cr_assert_eq(fix_log(&f, &w), 0);
    fix_fini(&f);
}

struct reading {
    struct fix *f;
    _Atomic bool stop;
    _Atomic uint64_t scans;
    _Atomic bool torn;
};

static int same_version(void *arg, const struct store_row *row)
{
    uint64_t *version = arg;
    if (*version == 0)
        *version = row->record.version.hi;
    return row->record.version.hi == *version ? 0 : ERR_CORRUPT;
}

#define WHOLE 16 /* rows; of more, some may be stored before the others (store_apply) */

static void *read_for_ever(void *arg)
{
    struct reading *r = arg;
    while (!r->stop) {
        struct store_txn *t;
        uint64_t version = 0;
        uint64_t n = 0;
        struct store_query q = {.kind = RECORD_TASK, .field = ROW_CLUSTER, .value = "c1"};
        if (store_read_begin(r->f->s, &t) != 0 || store_scan(t, &q, same_version, &version) != 0 ||
            store_count(t, RECORD_TASK, 0, NULL, &n) != 0 || (n != 0 && n != WHOLE))
            r->torn = true;
        store_read_end(t);
        r->scans++;
    }
    return NULL;
}

/* A batch of a few rows is one transaction: a reader never sees two versions in one snapshot. */
Test(crash, readers_see_whole_batches)
{
    struct fix f;
    pthread_t threads[3];
    static char keys[WHOLE][16];
    static struct buf values[WHOLE];
    struct record recs[WHOLE];
    fix_open(&f);
    struct reading r = {.f = &f};
    for (int i = 0; i < WHOLE; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        buf_init(&values[i], 4096);
    }
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, read_for_ever, &r);
    uint64_t version = 1;
    for (; version < 60 || (r.scans < 50 && version < 5000); version++) {
        for (int i = 0; i < WHOLE; i++)
            recs[i] = task_of(&values[i], keys[i], version, "c1",
                              version % 2 ? "RUNNING" : "STOPPED", "web");
        cr_assert_eq(fix_apply(&f, recs, WHOLE), 0);
    }
    r.stop = true;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    cr_assert(!r.torn);
    cr_assert_gt(r.scans, 0u);
    for (int i = 0; i < WHOLE; i++)
        buf_fini(&values[i]);
    fix_fini(&f);
}
