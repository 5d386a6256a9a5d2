/* SPDX-License-Identifier: Apache-2.0
 * Opening and closing the store, health, watches, figures.
 *
 * Durability of state/: it is opened with MDB_NOSYNC, so a commit costs no disk flush (with
 * MDB_NOMETASYNC or full sync it was measured at half the rows a second on an idle disk, and
 * a flush can take hundreds of milliseconds on a busy one). A killed process loses
 * nothing, since the pages are in the kernel's cache; a machine that loses power may have
 * written pages in any order, so a database that was not closed cleanly and was used under
 * another boot is never trusted: it is set aside and rebuilt from peers and ECS. log/ is
 * synced on each commit and always kept, if it is sound. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "store/store_int.h"

#define STATE_MAP_DEFAULT ((size_t)4 << 30)
#define STATE_MAP_MAX ((size_t)1 << 40)
#define LOG_MAP_DEFAULT ((size_t)256 << 20)
#define LOG_FLUSH_MS 200u
#define STATE_DISK_MIN_DEFAULT (64u << 20)
#define CRASHES_BEFORE_FULL_CHECK 3u

static void no_notify(void *arg)
{
    (void)arg;
}

/* The directory itself carries the lock, so that nothing is left behind by a crash. */
static int lock_dir(struct store *s, struct errmsg *e)
{
    if (mkdir(s->dir, 0700) != 0 && errno != EEXIST)
        return errmsg_set(e, errno == ENOSPC ? ERR_FULL : ERR_IO, "cannot make %s: %s", s->dir,
                          strerror(errno));
    s->dir_fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0)
        return errmsg_set(e, ERR_IO, "cannot open %s: %s", s->dir, strerror(errno));
    if (flock(s->dir_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return errmsg_set(e, ERR_IO,
                          "%s is in use by another process; stop it or use another data directory",
                          s->dir);
    return errmsg_set(e, ERR_IO, "cannot lock %s: %s", s->dir, strerror(errno));
}

/* Is the database in dir/name fit to be opened? Also says how large its map must be at least. */
static int examine(struct store *s, const char *name, bool rebuildable, size_t *map_bytes,
                   struct errmsg *e)
{
    char dir[STORE_PATH_MAX + 32];
    char data[STORE_PATH_MAX + 64];
    struct stat st;
    struct life life;
    struct pagecheck check;
    snprintf(dir, sizeof dir, "%s/%s", s->dir, name);
    snprintf(data, sizeof data, "%s/data.mdb", dir);
    life_read(dir, &life);
    int rc = stat(data, &st);
    if (rc != 0 && errno != ENOENT)
        return errmsg_set(e, ERR_IO, "%s: %s", data, strerror(errno));
    if (rc != 0 || st.st_size == 0) {
        /* Never been there, or begun and not finished; unless a life was written, which happens
         * after the first commit. */
        return life.known ? errmsg_set(e, ERR_CORRUPT, "data.mdb is missing or empty") : 0;
    }
    if (rebuildable) {
        if (!life.known)
            return errmsg_set(e, ERR_CORRUPT, "it is not known how it was closed");
        if (life.suspect)
            return errmsg_set(e, ERR_CORRUPT, "the last process found it damaged");
        if (!life.clean && !life.same_boot)
            return errmsg_set(e, ERR_CORRUPT,
                              "the machine went down while it was open, so writes may be missing");
        s->crashes = life.clean ? 0 : life.crashes + 1;
    }
    bool quick = rebuildable && s->crashes < CRASHES_BEFORE_FULL_CHECK;
    int err = pagecheck(data, quick ? STORE_CHECK_BUDGET_MS : 0, &check, e);
    /* A map that is almost full could not even be cleaned up. */
    if (err == 0 && check.used_bytes > *map_bytes / 8 * 7)
        *map_bytes = (size_t)check.used_bytes * 2;
    return err;
}

static bool is_damage(int err)
{
    return err == ERR_CORRUPT || err == ERR_VERSION;
}

static int begin_life(const struct env *env, unsigned crashes, struct errmsg *e)
{
    int err = life_write(env->path, false, false, crashes);
    return err == 0 ? 0 : errmsg_set(e, err, "%s/life: %s", env->path, err_text(err));
}

static int open_env(struct store *s, struct env *env, bool rebuildable, size_t map_bytes,
                    struct errmsg *e)
{
    if (rebuildable)
        env_remove(s->dir, STATE_NEW); /* of a start that was killed */
    int err = examine(s, env->name, rebuildable, &map_bytes, e);
    if (err == 0)
        err = env_open(env, s->dir, map_bytes, rebuildable ? MDB_NOSYNC : 0, e);
    uint64_t format = STATE_FORMAT;
    if (err == 0 && rebuildable)
        err = state_format(s, &format, e);
    if (err == 0 && format > 0 && format < STATE_FORMAT_PLAIN &&
        (err = state_migrate(s, format, map_bytes, e)) == 0)
        err = env_open(env, s->dir, map_bytes, MDB_NOSYNC, e);
    if (err == 0 && rebuildable && state_compact(s))
        err = env_open(env, s->dir, map_bytes, MDB_NOSYNC, e);
    /* A life before the first commit would make an unfinished creation look like damage; but no
     * commit of rows may come before the mark that they are not synced. */
    bool begun = err == 0 && env->env != NULL && env_has_commits(env);
    if (err == 0 && rebuildable && begun)
        err = begin_life(env, s->crashes, e);
    if (err == 0)
        err = rebuildable ? store_rows_open(s, format, e) : log_open(s, e);
    if (err == 0 && format == STATE_FORMAT_PLAIN && begun)
        err = state_index(s, e);
    if (err == 0 && format >= STATE_FORMAT_PLAIN && format < STATE_FORMAT && begun)
        err = state_order(s, e);
    if (err == 0 && !begun)
        err = begin_life(env, 0, e);
    if (err != 0) {
        env_close(env);
        if (!rebuildable)
            journal_close(&s->journal);
    }
    return err;
}

/* Opens one database; a damaged one is moved aside and a fresh one made. */
static int open_or_renew(struct store *s, struct env *env, bool rebuildable, size_t map_bytes,
                         struct store_report *report, bool *ret_quarantined, struct errmsg *e)
{
    struct errmsg why = {""};
    int err = open_env(s, env, rebuildable, map_bytes, &why);
    if (err == 0)
        return 0;
    if (!is_damage(err)) {
        if (e != NULL)
            *e = why;
        return err;
    }
    err = env_quarantine(s->dir, env->name, report->quarantine_path, sizeof report->quarantine_path,
                         e);
    if (err != 0)
        return err;
    *ret_quarantined = true;
    snprintf(report->why, sizeof report->why, "%s: %.230s", env->name, why.text);
    LOG(LOG_ERROR, "store_quarantined",
        rebuildable ? "the state database cannot be used; it was set aside and is rebuilt from "
                      "peers and ECS"
                    : "the log database cannot be used; it was set aside and this agent joins "
                      "raft anew",
        LS("database", env->name), LS("why", why.text), LS("path", report->quarantine_path));
    s->crashes = 0;
    /* Evidence that keeps the rebuilt database from growing is not worth it. */
    if (rebuildable && dir_free_bytes(s->dir) < 2 * s->state_disk_min)
        env_drop_quarantines(s->dir, env->name);
    return open_env(s, env, rebuildable, map_bytes, e);
}

static void destroy(struct store *s)
{
    while (s->pool != NULL) {
        struct store_txn *t = s->pool;
        s->pool = t->next;
        mdb_txn_abort(t->txn);
        free(t);
    }
    struct list *const lists[] = {&s->done, &s->log_queue.ops, &s->state_queue.ops};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        for (struct list *node; (node = list_pop(lists[i])) != NULL;)
            free(LIST_OF(node, struct op, link));
    env_close(&s->state);
    env_close(&s->log);
    journal_close(&s->journal);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    buf_fini(&s->scratch);
    free(s->deltas);
    free(s);
}

static uint64_t count_kinds(struct store *s, unsigned field)
{
    struct store_txn *t;
    uint64_t sum = 0;
    if (store_read_begin(s, &t) != 0)
        return 0;
    for (uint8_t kind = 1; kind < RECORD_KIND_END; kind++) {
        uint8_t prefix[INDEX_PREFIX] = {kind, (uint8_t)field};
        uint64_t n = 0;
        if (counts_get(t->txn, s->counts, prefix, &n) == 0)
            sum += n;
    }
    store_read_end(t);
    return sum;
}

static struct store *allocate(const struct store_options *options)
{
    struct store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->dir_fd = -1;
    s->state.name = "state";
    s->log.name = "log";
    s->journal.fd = -1;
    list_init(&s->done);
    list_init(&s->log_queue.ops);
    list_init(&s->state_queue.ops);
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->watch_lock, NULL);
    pthread_mutex_init(&s->pool_lock, NULL);
    pthread_rwlock_init(&s->log_map_lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->pool_change, &attr);
    pthread_condattr_destroy(&attr);
    buf_init(&s->scratch, ROW_HEADER + RECORD_VALUE_MAX + 1024);
    s->notify = options->notify == NULL ? no_notify : options->notify;
    s->notify_arg = options->notify_arg;
    s->state_map_max = options->state_map_max == 0 ? STATE_MAP_MAX : options->state_map_max;
    s->past_ms = options->past_ms;
    s->past_bytes_max = options->past_bytes;
    s->log_flush_ns =
        (options->log_flush_ms == 0 ? LOG_FLUSH_MS : options->log_flush_ms) * UINT64_C(1000000);
    s->state_disk_min =
        options->state_disk_min == 0 ? STATE_DISK_MIN_DEFAULT : options->state_disk_min;
    s->deltas = calloc(DELTA_SLOTS, sizeof *s->deltas);
    if (s->deltas == NULL) {
        free(s);
        return NULL;
    }
    return s;
}

int store_open(struct store **ret, const struct store_options *options,
               struct store_report *ret_report, struct errmsg *e)
{
    struct store_report unused;
    struct store_report *report = ret_report == NULL ? &unused : ret_report;
    size_t state_map = options->state_map_bytes == 0 ? STATE_MAP_DEFAULT : options->state_map_bytes;
    size_t log_map = options->log_map_bytes == 0 ? LOG_MAP_DEFAULT : options->log_map_bytes;
    *report = (struct store_report){0};
    if (strlen(options->dir) >= STORE_PATH_MAX)
        return errmsg_set(e, ERR_IO, "the data directory's path is longer than %d characters",
                          STORE_PATH_MAX - 1);
    struct store *s = allocate(options);
    if (s == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    snprintf(s->dir, sizeof s->dir, "%s", options->dir);
    int err = lock_dir(s, e);
    if (err == 0)
        err = open_or_renew(s, &s->log, false, log_map, report, &report->log_quarantined, e);
    if (err == 0)
        err = open_or_renew(s, &s->state, true, state_map, report, &report->state_quarantined, e);
    if (err == 0) {
        for (unsigned i = 0; i < RECORD_KIND_END; i++)
            atomic_store(&s->last_index[i], s->head.index[i]);
        atomic_store(&s->epoch, s->head.epoch);
        report->rows = count_kinds(s, 0);
        err = writer_start(s);
    }
    if (err != 0) {
        destroy(s);
        return err;
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    writer_stop(s);
    /* From here on the pages are on disk, whatever boot comes next. */
    int rc = mdb_env_sync(s->state.env, 1);
    if (rc == 0 && !s->state.suspect)
        (void)life_write(s->state.path, true, false, 0);
    destroy(s);
}

int store_health(const struct store *s)
{
    int err = atomic_load(&s->log_health);
    return err != 0 ? err : atomic_load(&s->state_health);
}

uint64_t store_index(const struct store *s, uint8_t kind)
{
    return kind < RECORD_KIND_END ? atomic_load(&s->last_index[kind]) : 0;
}

uint64_t store_epoch(const struct store *s)
{
    return atomic_load(&s->epoch);
}

/* ---- watches ---- */

int store_watch(struct store *s, store_watch_fn fn, void *arg)
{
    int handle = ERR_BUSY;
    pthread_mutex_lock(&s->watch_lock);
    for (int i = 0; i < STORE_WATCHES && handle < 0; i++) {
        if (s->watches[i].fn != NULL)
            continue;
        s->watches[i] = (struct watch){fn, arg};
        handle = i;
    }
    pthread_mutex_unlock(&s->watch_lock);
    return handle;
}

/* Once it returned, fn is not called again. */
void store_unwatch(struct store *s, int handle)
{
    if (handle < 0 || handle >= STORE_WATCHES)
        return;
    pthread_mutex_lock(&s->watch_lock);
    s->watches[handle] = (struct watch){0};
    pthread_mutex_unlock(&s->watch_lock);
}

/* ---- figures ---- */

uint64_t store_state_bytes(const struct store *s)
{
    return env_file_bytes(&s->state);
}

void store_stats(struct store *s, struct store_stats *ret)
{
    MDB_envinfo info = {0};
    struct store_txn *t;
    *ret = (struct store_stats){
        .rows = count_kinds(s, 0),
        .tombstones = count_kinds(s, 255),
        .state_bytes = store_state_bytes(s),
        .log_bytes = env_file_bytes(&s->log),
        .commits = atomic_load(&s->commits),
        .writes = atomic_load(&s->writes),
        .journalled = atomic_load(&s->journalled),
        .duplicates = atomic_load(&s->duplicates),
        .queue_depth = atomic_load(&s->queue_depth),
    };
    if (mdb_env_info(s->state.env, &info) == 0)
        ret->state_map_bytes = info.me_mapsize;
    if (store_read_begin(s, &t) == 0) {
        MDB_stat stat;
        if (mdb_stat(t->txn, s->poison, &stat) == 0)
            ret->poison = stat.ms_entries;
        if (mdb_stat(t->txn, s->past, &stat) == 0)
            ret->past_rows = stat.ms_entries;
        ret->past_bytes = txn_head(t)->past_bytes;
        store_read_end(t);
    }
}
