/* SPDX-License-Identifier: Apache-2.0
 * Call number fail_at of LMDB fails, or ends the process: these functions stand before LMDB's own.
 * Header only: each test of this directory is one file. */
#ifndef BLOX_TESTS_STORE_LMDB_FAULTS_H
#define BLOX_TESTS_STORE_LMDB_FAULTS_H

#include <dlfcn.h>
#include <errno.h>
#include <lmdb.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/store/fixture.h"

static _Atomic long calls, fail_at; /* 0: never */
static int fail_with;
static bool fail_kills; /* kill -9 instead */

static bool fails(void)
{
    bool hit = atomic_fetch_add(&calls, 1) + 1 == atomic_load(&fail_at);
    if (hit && fail_kills)
        raise(SIGKILL);
    return hit;
}

/* fn: LMDB's own. */
#define REAL(name, fn)                                                                             \
    __typeof__(&(name)) fn;                                                                        \
    void *at_##fn = dlsym(RTLD_NEXT, #name);                                                       \
    memcpy(&(fn), &at_##fn, sizeof(fn))
#define STAND_IN(name, params, args)                                                               \
    int name params                                                                                \
    {                                                                                              \
        REAL(name, real);                                                                          \
        return fails() ? fail_with : real args;                                                    \
    }

STAND_IN(mdb_env_create, (MDB_env * *env), (env))
STAND_IN(mdb_env_open, (MDB_env * env, const char *path, unsigned flags, mdb_mode_t mode),
         (env, path, flags, mode))
STAND_IN(mdb_env_set_mapsize, (MDB_env * env, size_t size), (env, size))
STAND_IN(mdb_env_set_maxdbs, (MDB_env * env, MDB_dbi dbs), (env, dbs))
STAND_IN(mdb_env_set_maxreaders, (MDB_env * env, unsigned readers), (env, readers))
STAND_IN(mdb_env_sync, (MDB_env * env, int force), (env, force))
STAND_IN(mdb_env_info, (MDB_env * env, MDB_envinfo *info), (env, info))
STAND_IN(mdb_txn_begin, (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn),
         (env, parent, flags, txn))
STAND_IN(mdb_txn_renew, (MDB_txn * txn), (txn))
STAND_IN(mdb_dbi_open, (MDB_txn * txn, const char *name, unsigned flags, MDB_dbi *dbi),
         (txn, name, flags, dbi))
STAND_IN(mdb_get, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), (txn, dbi, key, data))
STAND_IN(mdb_put, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags),
         (txn, dbi, key, data, flags))
STAND_IN(mdb_del, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), (txn, dbi, key, data))
STAND_IN(mdb_cursor_open, (MDB_txn * txn, MDB_dbi dbi, MDB_cursor **cursor), (txn, dbi, cursor))
STAND_IN(mdb_cursor_get, (MDB_cursor * cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op),
         (cursor, key, data, op))
STAND_IN(mdb_cursor_del, (MDB_cursor * cursor, unsigned flags), (cursor, flags))

/* As LMDB does: a transaction whose commit failed is gone. */
int mdb_txn_commit(MDB_txn *txn)
{
    REAL(mdb_txn_commit, real);
    if (!fails())
        return real(txn);
    mdb_txn_abort(txn);
    return fail_with;
}

/* A copy takes a database's place, and what it replaced goes. */
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    REAL(renameat2, real);
    if (atomic_load(&fail_at) != 0 && fails()) {
        errno = fail_with;
        return -1;
    }
    return real(from_dir, from, to_dir, to, flags);
}

int rmdir(const char *path)
{
    REAL(rmdir, real);
    if (atomic_load(&fail_at) != 0)
        (void)fails();
    return real(path);
}

/* Where a disk's own pace does not count: thousands of synced commits, and no power is to fail. */
static inline void fix_in_memory(struct fix *f)
{
    rmdir(f->dir);
    snprintf(f->dir, sizeof f->dir, "/dev/shm/blox-store-XXXXXX");
    cr_assert_not_null(mkdtemp(f->dir));
}

/* A process opens the store, is killed at that call, and is gone. False: it came through. */
static inline bool fix_killed_opening(struct fix *f, long at)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        atomic_store(&calls, 0);
        atomic_store(&fail_at, at);
        fail_kills = true;
        fix_reopen(f);
        atomic_store(&fail_at, 0);
        fix_close(f);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    cr_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status);
}

/* The call fails while the store is opened. False: there was no such call. */
static inline bool fix_failed_opening(struct fix *f, long at, int code)
{
    atomic_store(&calls, 0);
    atomic_store(&fail_at, at);
    fail_with = code;
    int err = fix_try_open(f);
    bool reached = atomic_load(&calls) >= at;
    atomic_store(&fail_at, 0);
    if (err == 0)
        fix_close(f);
    return reached;
}

#endif
