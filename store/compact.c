/* SPDX-License-Identifier: Apache-2.0
 * LMDB's file never shrinks. At a start, when most of a large one is free pages, what is in use is
 * copied into a new one; only if that is little, for a start must be quick. */
#include "store/store_int.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/base/log.h"

#define COMPACT_FILE_MIN (32u << 20)
#define COMPACT_USED_MAX (64u << 20) /* copied in some 50 ms */

/* The free list's values are page counts, each before its page numbers. */
static uint64_t free_pages(MDB_txn *txn)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    uint64_t pages = 0;
    size_t count;
    if (mdb_cursor_open(txn, 0, &cursor) != 0)
        return 0;
    while (mdb_cursor_get(cursor, &key, &val, MDB_NEXT) == 0 && val.mv_size >= sizeof count) {
        memcpy(&count, val.mv_data, sizeof count);
        pages += count;
    }
    mdb_cursor_close(cursor);
    return pages;
}

static bool is_worth_it(struct store *s)
{
    MDB_envinfo info = {0};
    MDB_stat stat = {0};
    MDB_txn *txn;
    if (mdb_env_info(s->state.env, &info) != 0 || mdb_env_stat(s->state.env, &stat) != 0 ||
        mdb_txn_begin(s->state.env, NULL, MDB_RDONLY, &txn) != 0)
        return false;
    uint64_t all = info.me_last_pgno + 1, unused = free_pages(txn);
    mdb_txn_abort(txn);
    return unused < all && all * stat.ms_psize >= COMPACT_FILE_MIN && unused > all / 4 * 3 &&
           (all - unused) * stat.ms_psize <= COMPACT_USED_MAX;
}

bool state_compact(struct store *s)
{
    char path[STORE_PATH_MAX + 32];
    struct errmsg e = {""};
    const char *name = s->state.name;
    if (!is_worth_it(s))
        return false;
    uint64_t before = env_file_bytes(&s->state);
    snprintf(path, sizeof path, "%s/" STATE_NEW, s->dir);
    int rc = mkdir(path, 0700) != 0 ? ERR_IO : mdb_env_copy2(s->state.env, path, MDB_CP_COMPACT);
    if (rc != 0 || life_write(path, false, false, s->crashes) != 0) {
        env_remove(s->dir, STATE_NEW); /* it goes on as it is */
        return false;
    }
    env_close(&s->state);
    s->state = (struct env){.name = name};
    if (env_replace(s->dir, name, STATE_NEW, &e) != 0)
        LOG_MSG(LOG_WARN, "store_not_compacted", e.text);
    else
        LOG(LOG_INFO, "store_compacted", "free pages of the state database were given back",
            LU("bytes_before", before));
    env_remove(s->dir, STATE_NEW);
    return true;
}
