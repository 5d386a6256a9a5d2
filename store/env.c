/* SPDX-License-Identifier: Apache-2.0
 * One LMDB environment: opening, moving a damaged one aside, error codes, and the
 * "life" file that tells how the last process to use it ended. */
#include "store/store_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"

#define LIFE_BYTES 128u

int store_err(int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case MDB_NOTFOUND:
        return ERR_NOTFOUND;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
        return ERR_FULL;
    case ENOMEM:
        return ERR_NOMEM;
    case MDB_READERS_FULL:
        return ERR_BUSY;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_CURSOR_FULL:
        return ERR_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return ERR_VERSION;
    default:
        /* Our own codes pass through: writer functions mix both. */
        return rc < 0 && rc > -100 ? rc : ERR_IO;
    }
}

int env_lookup_err(int rc, const char *missing, struct errmsg *e)
{
    if (rc == MDB_NOTFOUND || rc == ERR_NOTFOUND)
        return errmsg_set(e, ERR_CORRUPT, "%s", missing);
    return errmsg_set(e, store_err(rc), "%s",
                      rc < 0 && rc > -100 ? err_text(rc) : mdb_strerror(rc));
}

uint64_t dir_free_bytes(const char *dir)
{
    struct statvfs fs;
    if (statvfs(dir, &fs) != 0)
        return UINT64_MAX; /* let the write find out */
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

int env_write_err(const char *dir, int rc)
{
    int err = store_err(rc);
    return err == ERR_IO && dir_free_bytes(dir) < (1u << 20) ? ERR_FULL : err;
}

static void on_assert(MDB_env *mdb, const char *message)
{
    struct env *env = mdb_env_get_userctx(mdb);
    LOG(LOG_ERROR, "store_assert", "LMDB found its own state impossible; stopping",
        LS("database", env->name), LS("what", message));
    (void)life_write(env->path, false, true, 0);
    abort();
}

/* lock.mdb is written through a shared mapping: on a full disk a hole in it would be SIGBUS, so
 * its blocks are taken now. */
static int reserve_lock_file(const char *env_path, struct errmsg *e)
{
    char path[STORE_PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/lock.mdb", env_path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errmsg_set(e, errno == ENOSPC ? ERR_FULL : ERR_IO, "%s: %s", path, strerror(errno));
    int rc = posix_fallocate(fd, 0, (off_t)STORE_READERS * 64 + 8192);
    close(fd);
    if (rc == EOPNOTSUPP || rc == EINVAL)
        rc = 0;
    return rc == 0 ? 0 : errmsg_set(e, store_err(rc), "%s: %s", path, strerror(rc));
}

int env_open(struct env *env, const char *dir, size_t map_bytes, unsigned flags, struct errmsg *e)
{
    snprintf(env->path, sizeof env->path, "%s/%s", dir, env->name);
    if (mkdir(env->path, 0700) != 0 && errno != EEXIST)
        return errmsg_set(e, errno == ENOSPC ? ERR_FULL : ERR_IO, "%s: %s", env->path,
                          strerror(errno));
    int err = reserve_lock_file(env->path, e);
    if (err != 0)
        return err;
    int rc = mdb_env_create(&env->env);
    if (rc != 0)
        return errmsg_set(e, store_err(rc), "%s: %s", env->path, mdb_strerror(rc));
    mdb_env_set_userctx(env->env, env);
    mdb_env_set_assert(env->env, on_assert);
    if ((rc = mdb_env_set_mapsize(env->env, map_bytes)) == 0 &&
        (rc = mdb_env_set_maxdbs(env->env, 9)) == 0 &&
        (rc = mdb_env_set_maxreaders(env->env, STORE_READERS)) == 0)
        rc = mdb_env_open(env->env, env->path, flags | MDB_NOTLS, 0600);
    if (rc != 0) {
        err = errmsg_set(e, store_err(rc), "%s: %s", env->path, mdb_strerror(rc));
        env_close(env);
        return err;
    }
    int dead = 0;
    mdb_reader_check(env->env, &dead);
    return 0;
}

bool env_has_commits(const struct env *env)
{
    MDB_envinfo info = {0};
    return mdb_env_info(env->env, &info) == 0 && info.me_last_txnid > 0;
}

void env_close(struct env *env)
{
    if (env->env != NULL)
        mdb_env_close(env->env);
    env->env = NULL;
}

uint64_t env_file_bytes(const struct env *env)
{
    char path[STORE_PATH_MAX + 64];
    struct stat st;
    snprintf(path, sizeof path, "%s/data.mdb", env->path);
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512u : 0;
}

/* ---- quarantine ---- */

void env_remove(const char *dir, const char *name)
{
    static const char *const files[] = {"data.mdb", "lock.mdb", "life", "journal"};
    char path[STORE_PATH_MAX + 320];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", dir, name, files[i]);
        (void)unlink(path);
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    (void)rmdir(path);
}

int env_replace(const char *dir, const char *name, const char *by, struct errmsg *e)
{
    char ours[STORE_PATH_MAX + 32], other[STORE_PATH_MAX + 32];
    snprintf(ours, sizeof ours, "%s/%s", dir, name);
    snprintf(other, sizeof other, "%s/%s", dir, by);
    if (renameat2(AT_FDCWD, other, AT_FDCWD, ours, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno == EINVAL || errno == ENOSYS) { /* a file system that cannot exchange */
        env_remove(dir, name);
        if (rename(other, ours) == 0)
            return 0;
    }
    return errmsg_set(e, ERR_IO, "cannot put %s in place of %s: %s", other, ours, strerror(errno));
}

static void drop_quarantine(const char *dir, const char *entry)
{
    env_remove(dir, entry);
    LOG(LOG_WARN, "store_quarantine_dropped", "an older quarantine was removed", LS("name", entry));
}

/* Keeps the newest of a name's quarantines: evidence must not fill the disk. Names end in the unix
 * time, of equal length until the year 2286, so the greatest text is the newest. */
static void bound_quarantines(const char *dir, const char *name, bool keep_newest)
{
    char prefix[64];
    char newest[256] = "";
    snprintf(prefix, sizeof prefix, "%s.quarantine-", name);
    for (int pass = 0; pass < 2; pass++) {
        DIR *d = opendir(dir);
        if (d == NULL)
            return;
        for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
            if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
                continue;
            if (pass == 1 && (!keep_newest || strcmp(entry->d_name, newest) != 0))
                drop_quarantine(dir, entry->d_name);
            else if (pass == 0 && strcmp(entry->d_name, newest) > 0)
                snprintf(newest, sizeof newest, "%s", entry->d_name);
        }
        closedir(d);
    }
}

int env_quarantine(const char *dir, const char *name, char *ret_path, size_t cap, struct errmsg *e)
{
    char from[STORE_PATH_MAX + 32];
    snprintf(from, sizeof from, "%s/%s", dir, name);
    int64_t now = clock_unix_ms();
    for (int64_t i = 0; i < 16; i++) {
        snprintf(ret_path, cap, "%s/%s.quarantine-%lld", dir, name, (long long)(now + i));
        if (rename(from, ret_path) == 0) {
            bound_quarantines(dir, name, true);
            return 0;
        }
        if (errno != ENOTEMPTY && errno != EEXIST)
            break;
    }
    return errmsg_set(e, ERR_IO, "cannot move the damaged %s aside: %s", from, strerror(errno));
}

void env_drop_quarantines(const char *dir, const char *name)
{
    bound_quarantines(dir, name, false);
}

/* ---- life ---- */

static void boot_id(char out[40])
{
    out[0] = '\0';
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, out, 36);
    out[n == 36 ? 36 : 0] = '\0';
    close(fd);
}

void life_read(const char *env_path, struct life *ret)
{
    char path[STORE_PATH_MAX + 64];
    char text[LIFE_BYTES + 1];
    char boot[40];
    char then[40] = "";
    int clean = 0;
    int suspect = 0;
    *ret = (struct life){0};
    snprintf(path, sizeof path, "%s/life", env_path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, LIFE_BYTES);
    close(fd);
    if (n <= 0)
        return;
    text[n] = '\0';
    if (sscanf(text, "boot %39s clean %d suspect %d crashes %u", then, &clean, &suspect,
               &ret->crashes) != 4)
        return;
    boot_id(boot);
    ret->known = true;
    ret->clean = clean == 1;
    ret->suspect = suspect == 1;
    ret->same_boot = boot[0] != '\0' && strcmp(boot, then) == 0;
}

/* In place, so that it also works on a full disk once the file exists. */
int life_write(const char *env_path, bool clean, bool suspect, unsigned crashes)
{
    char path[STORE_PATH_MAX + 64];
    char text[LIFE_BYTES];
    char boot[40];
    boot_id(boot);
    memset(text, ' ', sizeof text);
    int n = snprintf(text, sizeof text, "boot %s clean %d suspect %d crashes %u",
                     boot[0] == '\0' ? "unknown" : boot, clean, suspect, crashes);
    text[n] = ' ';
    text[sizeof text - 1] = '\n';
    snprintf(path, sizeof path, "%s/life", env_path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno == ENOSPC ? ERR_FULL : ERR_IO;
    ssize_t wrote = pwrite(fd, text, sizeof text, 0);
    int err = wrote == (ssize_t)sizeof text ? 0 : wrote < 0 && errno != ENOSPC ? ERR_IO : ERR_FULL;
    if (err == 0 && fdatasync(fd) != 0)
        err = ERR_IO;
    close(fd);
    return err;
}
