/* SPDX-License-Identifier: Apache-2.0
 * log/ behind its journal: killed at every step between the two, with a disk that fails. Calls of
 * the C library and of LMDB stand before their own below. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "store/store_int.h"
#include "tests/unit/store/fixture.h"

/* ---- stand-ins ---- */

static _Atomic long steps, kill_at; /* kill_at 0: never */
static _Atomic int commit_fails;    /* LMDB's commits, with this error */
static _Atomic bool journal_fails;  /* what is written there arrives, but is an error */
static _Atomic bool no_journal;     /* none can be made */

static bool is_journal(int fd)
{
    char link[64], path[256];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return n > 8 && strcmp(path + n - 8, "/journal") == 0;
}

/* True: this is the step at which the process is to die. */
static bool dies(void)
{
    return atomic_fetch_add(&steps, 1) + 1 == atomic_load(&kill_at);
}

static void step(void)
{
    if (dies())
        raise(SIGKILL);
}

/* Before LMDB's own calls as well. */
#define EXPORTED __attribute__((visibility("default")))
#define REAL(name, fn)                                                                             \
    __typeof__(&(name)) fn;                                                                        \
    void *at_##fn = dlsym(RTLD_NEXT, #name);                                                       \
    memcpy(&(fn), &at_##fn, sizeof(fn))

static ssize_t write_at(ssize_t (*real)(int, const void *, size_t, off_t), int fd, const void *data,
                        size_t len, off_t at)
{
    bool journal = is_journal(fd);
    if (dies()) { /* a record is torn; LMDB relies on whole pages */
        if (journal && len > 512)
            (void)!real(fd, data, len / 1024 * 512, at);
        raise(SIGKILL);
    }
    if (journal && no_journal) {
        errno = ENOSPC;
        return -1;
    }
    ssize_t n = real(fd, data, len, at);
    if (journal && journal_fails) {
        errno = EIO;
        return -1;
    }
    return n;
}

EXPORTED ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    REAL(pwrite, real);
    return write_at(real, fd, data, len, at);
}

EXPORTED ssize_t writev(int fd, const struct iovec *iov, int count)
{
    REAL(writev, real);
    step();
    return real(fd, iov, count);
}

EXPORTED int fdatasync(int fd)
{
    REAL(fdatasync, real);
    step();
    return real(fd);
}

int mdb_txn_commit(MDB_txn *txn)
{
    REAL(mdb_txn_commit, real);
    if (commit_fails == 0)
        return real(txn);
    mdb_txn_abort(txn); /* as LMDB does */
    return commit_fails;
}

/* ---- what is in the journal alone ---- */

static struct store_log_entry entry_of(uint64_t index, uint64_t term)
{
    return (struct store_log_entry){index, term, 2, 8, "an entry"};
}

/* LMDB takes nothing over unless it must. */
static void at_leisure(struct fix *f)
{
    f->options.log_flush_ms = 3600000;
}

/* Written, and in the journal alone. */
static void journalled(struct fix *f, const struct store_log_write *w)
{
    struct store_stats before, after;
    store_stats(f->s, &before);
    cr_assert_eq(fix_log(f, w), 0);
    store_stats(f->s, &after);
    cr_assert_eq(after.journalled, before.journalled + 1);
    cr_assert_eq(after.commits, before.commits);
}

static void append(struct fix *f, uint64_t index, uint64_t term)
{
    struct store_log_entry e = entry_of(index, term);
    struct store_log_write w = {.set_hard_state = true,
                                .term = term,
                                .vote = 7,
                                .truncate_from = index,
                                .entries = &e,
                                .entry_count = 1};
    journalled(f, &w);
}

/* Runs it in a child that is killed at its end, as by SIGKILL at that moment. */
static void in_killed_child(struct fix *f, void (*fn)(struct fix *f))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        fn(f);
        raise(SIGKILL);
    }
    waitpid(pid, &status, 0);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static int sum_terms(void *arg, const struct store_log_entry *entry)
{
    uint64_t *terms = arg;
    *terms = *terms * 10 + entry->term;
    return 0;
}

/* Terms of the entries from the first on, as digits. */
static uint64_t terms_of(struct fix *f)
{
    struct store_log_state st;
    uint64_t terms = 0;
    cr_assert_eq(store_log_load(f->s, &st), 0);
    cr_assert_eq(store_log_read(f->s, st.first_index, st.last_index, sum_terms, &terms), 0);
    return terms;
}

static void write_some(struct fix *f)
{
    fix_reopen(f);
    append(f, 1, 1);
    append(f, 2, 1);
    append(f, 3, 1);
    append(f, 2, 4); /* in place of two */
    struct store_fact fact = {"raft.disk", "abc", 3};
    journalled(f, &(struct store_log_write){.facts = &fact, .fact_count = 1});
}

Test(logger, what_was_acknowledged_survives_a_kill)
{
    struct fix f;
    char text[8];
    size_t len;
    fix_open(&f);
    fix_close(&f);
    at_leisure(&f);
    in_killed_child(&f, write_some);
    for (int round = 0; round < 2; round++) {
        struct store_log_state st;
        fix_reopen(&f);
        cr_assert(!f.report.log_quarantined, "%s", f.report.why);
        cr_assert_eq(terms_of(&f), 14u);
        cr_assert_eq(store_log_load(f.s, &st), 0);
        cr_assert(st.term == 4 && st.vote == 7);
        cr_assert_eq(store_fact_get(f.s, "raft.disk", text, sizeof text, &len), 0);
        cr_assert(len == 3 && memcmp(text, "abc", 3) == 0);
        fix_close(&f);
    }
    fix_fini(&f);
}

Test(logger, reads_see_what_log_lacks_yet)
{
    struct fix f;
    char text[8];
    size_t len;
    fix_init(&f);
    at_leisure(&f);
    fix_reopen(&f);
    append(&f, 1, 1);
    cr_assert_eq(terms_of(&f), 1u);
    append(&f, 2, 2);
    uint64_t terms = 0;
    cr_assert_eq(store_log_read(f.s, 1, 2, sum_terms, &terms), 0);
    cr_assert_eq(terms, 12u);
    struct store_fact fact = {"name", "x", 1};
    journalled(&f, &(struct store_log_write){.facts = &fact, .fact_count = 1});
    cr_assert_eq(store_fact_get(f.s, "name", text, sizeof text, &len), 0);
    /* Entries before all that it has are read without waiting for LMDB. */
    struct store_stats before, after;
    append(&f, 3, 3);
    store_stats(f.s, &before);
    cr_assert_eq(store_log_read(f.s, 1, 1, sum_terms, &terms), 0);
    store_stats(f.s, &after);
    cr_assert_eq(after.commits, before.commits);
    fix_fini(&f);
}

/* Order: what goes to LMDB itself comes behind all that the journal has, and before what follows.
 */
Test(logger, rows_and_entries_keep_their_order)
{
    struct fix f;
    fix_init(&f);
    at_leisure(&f);
    fix_reopen(&f);
    for (uint64_t i = 1; i <= 40; i++) {
        append(&f, i, i % 9 + 1);
        struct store_log_intent row = {RECORD_ENVIRONMENT, "web", 3, false, "one", 3, {1, i}};
        struct store_log_write w = {
            .intent = &row, .intent_count = 1, .applied_index = i, .applied_term = 1};
        struct store_log_write cut = {.compact_to = i - 2, .base_term = (i - 2) % 9 + 1};
        if (i % 4 == 0)
            cr_assert_eq(fix_log(&f, &w), 0);
        if (i % 8 == 0)
            cr_assert_eq(fix_log(&f, &cut), 0);
    }
    struct store_log_state st;
    cr_assert_eq(store_log_load(f.s, &st), 0);
    cr_assert(st.first_index == 39 && st.last_index == 40 && st.applied_index == 40);
    cr_assert_eq(terms_of(&f), 45u);
    /* All that is before a snapshot goes, in the journal as well. */
    struct store_log_write snapshot = {.truncate_from = 1,
                                       .replace_intent = true,
                                       .applied_index = 100,
                                       .compact_to = 100,
                                       .base_term = 9};
    append(&f, 41, 1);
    cr_assert_eq(fix_log(&f, &snapshot), 0);
    struct store_log_entry far = entry_of(103, 9);
    struct store_log_write w = {.entries = &far, .entry_count = 1};
    cr_assert_eq(fix_log(&f, &w), ERR_BADPARAM, "a gap is refused, not journalled");
    far.index = 101;
    cr_assert_eq(fix_log(&f, &w), 0);
    append(&f, 102, 8);
    cr_assert_eq(terms_of(&f), 98u);
    fix_fini(&f);
}

/* ---- killed at every step ---- */

static int told; /* the child says here what was acknowledged */

static void tell(uint64_t entries)
{
    cr_assert_eq(write(told, &entries, sizeof entries), (ssize_t)sizeof entries);
}

/* Entries in the journal, in LMDB with rows, a compaction, again and again; reads that have LMDB
 * take over what the journal has. Entry i is of term i % 9 + 1. */
static void live(struct fix *f)
{
    struct store_log_state st;
    fix_reopen(f);
    cr_assert_eq(store_log_load(f->s, &st), 0);
    for (uint64_t n = 0, i = st.last_index + 1; n < 12; n++, i++) {
        struct store_log_entry e = entry_of(i, i % 9 + 1);
        struct store_log_write w = {
            .set_hard_state = true, .term = i, .entries = &e, .entry_count = 1};
        if (n % 5 == 4)
            w.applied_index = i;
        if (n == 9) {
            w.compact_to = i - 3;
            w.base_term = (i - 3) % 9 + 1;
        }
        cr_assert_eq(fix_log(f, &w), 0);
        tell(i);
        if (n == 6)
            cr_assert_eq(store_log_load(f->s, &st), 0);
    }
    fix_close(f);
}

/* A child lives and is killed at that step, or not; *acknowledged is the last that it told. */
static bool killed(struct fix *f, long at, uint64_t *acknowledged)
{
    int fds[2], status;
    cr_assert_eq(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        told = fds[1];
        atomic_store(&steps, 0);
        atomic_store(&kill_at, at);
        live(f);
        _exit(0);
    }
    close(fds[1]);
    for (uint64_t entries; read(fds[0], &entries, sizeof entries) == (ssize_t)sizeof entries;)
        *acknowledged = entries;
    close(fds[0]);
    waitpid(pid, &status, 0);
    cr_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

static int check_term(void *arg, const struct store_log_entry *entry)
{
    ++*(uint64_t *)arg;
    return entry->term == entry->index % 9 + 1 ? 0 : ERR_INTERNAL;
}

static void check_life(struct fix *f, uint64_t acknowledged, long at)
{
    struct store_log_state st;
    uint64_t count = 0;
    fix_reopen(f);
    cr_assert(!f->report.log_quarantined, "step %ld: %s", at, f->report.why);
    cr_assert_eq(store_log_load(f->s, &st), 0);
    cr_assert(st.last_index == acknowledged || st.last_index == acknowledged + 1,
              "step %ld: %llu entries of %llu", at, (unsigned long long)st.last_index,
              (unsigned long long)acknowledged);
    cr_assert_eq(st.term, st.last_index, "step %ld", at);
    cr_assert_eq(store_log_read(f->s, st.first_index, st.last_index, check_term, &count), 0);
    cr_assert_eq(count, st.last_index + 1 - st.first_index);
    fix_close(f);
}

/* Each life goes on from what the killed one before it left, so that openings are killed too. */
Test(logger, killed_at_every_step)
{
    struct fix f;
    uint64_t acknowledged = 0;
    bool reached = true;
    long at = 1;
    fix_init(&f);
    rmdir(f.dir);
    snprintf(f.dir, sizeof f.dir, "/dev/shm/blox-store-XXXXXX");
    cr_assert_not_null(mkdtemp(f.dir));
    for (; reached; at++) {
        reached = killed(&f, at, &acknowledged);
        if (at % 2 == 0)
            check_life(&f, acknowledged, at);
        if (reached && at % 2 == 1) { /* one that was begun may be found, or not */
            struct store_log_state st;
            bool again = killed(&f, at / 2 + 1, &acknowledged);
            cr_assert(again || at > 1);
            fix_reopen(&f);
            cr_assert(!f.report.log_quarantined, "step %ld: %s", at, f.report.why);
            cr_assert_eq(store_log_load(f.s, &st), 0);
            cr_assert_geq(st.last_index, acknowledged);
            acknowledged = st.last_index;
            fix_close(&f);
        }
    }
    cr_assert_gt(at, 25, "only %ld steps", at);
    check_life(&f, acknowledged, at);
    fix_fini(&f);
}

/* ---- a disk that fails ---- */

/* A write of it fails, though the bytes arrive. LMDB takes this and all further ones, and at the
 * next start what failed is not found before what came after it. */
static void fail_in_the_middle(struct fix *f)
{
    fix_reopen(f);
    append(f, 1, 1);
    append(f, 2, 2);
    atomic_store(&journal_fails, true);
    struct store_log_entry e = entry_of(3, 3);
    struct store_log_write w = {.entries = &e, .entry_count = 1};
    cr_assert_eq(fix_log(f, &w), 0);
    atomic_store(&journal_fails, false);
    w = (struct store_log_write){.truncate_from = 3};
    cr_assert_eq(fix_log(f, &w), 0);
    struct store_stats before, after;
    store_stats(f->s, &before);
    w = (struct store_log_write){.set_hard_state = true, .term = 9};
    cr_assert_eq(fix_log(f, &w), 0);
    store_stats(f->s, &after);
    cr_assert_eq(after.journalled, before.journalled, "a journal that failed is used again");
}

Test(logger, a_failed_write_of_it_is_left_to_lmdb)
{
    struct fix f;
    fix_open(&f);
    fix_close(&f);
    at_leisure(&f);
    in_killed_child(&f, fail_in_the_middle);
    fix_reopen(&f);
    cr_assert(!f.report.log_quarantined, "%s", f.report.why);
    cr_assert_eq(terms_of(&f), 12u);
    append(&f, 3, 5);
    fix_fini(&f);
}

/* Both fail: nothing is acknowledged; what is found later is what was, and at most that write. */
static void fail_twice(struct fix *f)
{
    fix_reopen(f);
    append(f, 1, 1);
    atomic_store(&journal_fails, true);
    atomic_store(&commit_fails, EIO);
    struct store_log_entry e = entry_of(2, 2);
    struct store_log_write w = {.entries = &e, .entry_count = 1};
    cr_assert_eq(fix_log(f, &w), ERR_IO);
    cr_assert_eq(store_health(f->s), ERR_IO);
}

Test(logger, what_neither_took_is_refused)
{
    struct fix f;
    fix_open(&f);
    fix_close(&f);
    at_leisure(&f);
    in_killed_child(&f, fail_twice);
    fix_reopen(&f);
    uint64_t terms = terms_of(&f);
    cr_assert(terms == 1 || terms == 12);
    fix_fini(&f);
}

static void lmdb_is_full(struct fix *f)
{
    struct store_log_state st;
    fix_reopen(f);
    append(f, 1, 1);
    append(f, 2, 2);
    atomic_store(&commit_fails, ENOSPC);
    cr_assert_eq(store_log_load(f->s, &st), ERR_FULL);
    struct store_log_entry e = entry_of(3, 3);
    struct store_log_write w = {.entries = &e, .entry_count = 1};
    cr_assert_eq(fix_log(f, &w), ERR_FULL, "it does not fall behind any further");
    cr_assert_eq(store_health(f->s), ERR_FULL);
}

static void lmdb_is_full_for_a_while(struct fix *f)
{
    lmdb_is_full(f);
    atomic_store(&commit_fails, 0);
    struct store_log_entry e = entry_of(3, 3);
    struct store_log_write w = {.entries = &e, .entry_count = 1};
    cr_assert_eq(fix_log(f, &w), 0);
    cr_assert_eq(store_health(f->s), 0);
    append(f, 4, 4);
}

Test(logger, lmdb_that_takes_nothing_loses_nothing)
{
    struct fix f;
    fix_open(&f);
    fix_close(&f);
    at_leisure(&f);
    in_killed_child(&f, lmdb_is_full);
    fix_reopen(&f);
    cr_assert_eq(terms_of(&f), 12u);
    fix_fini(&f);
    fix_open(&f);
    fix_close(&f);
    at_leisure(&f);
    in_killed_child(&f, lmdb_is_full_for_a_while);
    fix_reopen(&f);
    cr_assert_eq(terms_of(&f), 1234u);
    fix_fini(&f);
}

/* A disk that has no room for one: LMDB alone, until a start finds room. */
Test(logger, without_one_log_is_written_itself)
{
    struct fix f;
    atomic_store(&no_journal, true);
    fix_init(&f);
    at_leisure(&f);
    fix_reopen(&f);
    struct store_stats before, after;
    struct store_log_entry e = entry_of(1, 1);
    struct store_log_write w = {.entries = &e, .entry_count = 1};
    store_stats(f.s, &before);
    cr_assert_eq(fix_log(&f, &w), 0);
    store_stats(f.s, &after);
    cr_assert_eq(after.journalled, before.journalled);
    fix_close(&f);
    atomic_store(&no_journal, false);
    fix_reopen(&f);
    cr_assert_eq(terms_of(&f), 1u);
    append(&f, 2, 2);
    fix_fini(&f);
}

Test(logger, a_damaged_or_missing_one_sets_the_log_aside)
{
    for (int missing = 0; missing < 2; missing++) {
        struct fix f;
        char path[256];
        fix_open(&f);
        fix_close(&f);
        at_leisure(&f);
        in_killed_child(&f, write_some);
        snprintf(path, sizeof path, "%s/log/journal", f.dir);
        if (missing) {
            cr_assert_eq(unlink(path), 0);
        } else {
            int fd = open(path, O_RDWR);
            cr_assert_eq(pwrite(fd, "damage", 6, 4096 + 40), 6);
            close(fd);
        }
        fix_reopen(&f);
        cr_assert(f.report.log_quarantined);
        cr_assert_not_null(strstr(f.report.why, "journal"), "%s", f.report.why);
        snprintf(path, sizeof path, "%s/journal", f.report.quarantine_path);
        cr_assert_eq(access(path, F_OK), missing ? -1 : 0);
        append(&f, 1, 1);
        fix_fini(&f);
    }
}
