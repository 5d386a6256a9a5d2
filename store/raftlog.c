/* SPDX-License-Identifier: Apache-2.0
 * Raft's durable state in log/: hard state, entries, applied intent, configuration.
 *
 * Nothing here may be believed if it is damaged: a lost entry or vote breaks raft's
 * promises. So every value has a checksum, the head keeps their sums and numbers (a row
 * that vanished is noticed), and opening checks all of it. */
#include "store/store_int.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/log.h"

#define ENTRY_HEADER 17u  /* checksum, term, type */
#define INTENT_HEADER 24u /* checksum, version hi, lo */

static uint64_t value_sum(const MDB_val *val)
{
    uint64_t sum = 0;
    if (val->mv_size >= 8)
        memcpy(&sum, val->mv_data, 8);
    return le64toh(sum);
}

bool log_value_sound(const MDB_val *key, const MDB_val *val, size_t least)
{
    if (val->mv_size < least)
        return false;
    return value_sum(val) == checksum(key, (const uint8_t *)val->mv_data + 8, val->mv_size - 8);
}

/* Deletes a value and takes it out of the table's sum. */
int log_sum_del(MDB_txn *txn, MDB_dbi dbi, const MDB_val *the_key, uint64_t *sum, uint64_t *count)
{
    MDB_val key = *the_key;
    MDB_val val;
    int rc = mdb_get(txn, dbi, &key, &val);
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    *sum -= value_sum(&val);
    --*count;
    return mdb_del(txn, dbi, &key, NULL);
}

/* Puts checksum, head (head_len bytes) and data, and adds it to the table's sum. */
int log_sum_put(MDB_txn *txn, MDB_dbi dbi, const MDB_val *the_key, const void *head,
                size_t head_len, const void *data, size_t len, uint64_t *sum, uint64_t *count)
{
    int rc = log_sum_del(txn, dbi, the_key, sum, count);
    MDB_val key = *the_key;
    MDB_val val = {8 + head_len + len, NULL};
    if (rc == 0)
        rc = mdb_put(txn, dbi, &key, &val, MDB_RESERVE);
    if (rc != 0)
        return rc;
    uint8_t *p = val.mv_data;
    if (head_len > 0)
        memcpy(p + 8, head, head_len);
    if (len > 0)
        memcpy(p + 8 + head_len, data, len);
    uint64_t own = checksum(the_key, p + 8, head_len + len);
    *sum += own;
    ++*count;
    own = htole64(own);
    memcpy(p, &own, 8);
    return 0;
}

/* ---- writing (log thread) ---- */

static int del_entries(struct store *s, MDB_txn *txn, uint64_t first, uint64_t last)
{
    uint8_t bytes[8];
    MDB_val key = {sizeof bytes, bytes};
    for (uint64_t i = first; i <= last; i++) {
        put_be64(bytes, i);
        int rc = log_sum_del(txn, s->log_entries, &key, &s->log_head.entry_sum,
                             &s->log_head.entry_count);
        if (rc != 0)
            return rc;
    }
    return 0;
}

bool log_follows(const struct log_head *h, const struct store_log_write *w, uint64_t *last)
{
    if (w->truncate_from != 0 && w->truncate_from <= *last)
        *last = (w->truncate_from > h->base_index ? w->truncate_from : h->base_index + 1) - 1;
    for (size_t i = 0; i < w->entry_count; i++) {
        uint64_t index = w->entries[i].index;
        if (index <= h->base_index || index > *last + 1)
            return false;
        *last = index > *last ? index : *last;
    }
    return true;
}

static int put_entries(struct store *s, MDB_txn *txn, const struct store_log_write *w)
{
    struct log_head *h = &s->log_head;
    uint8_t bytes[8];
    uint8_t head[ENTRY_HEADER - 8];
    MDB_val key = {sizeof bytes, bytes};
    for (size_t i = 0; i < w->entry_count; i++) {
        const struct store_log_entry *entry = &w->entries[i];
        put_be64(bytes, entry->index);
        put_be64(head, entry->term);
        head[8] = entry->type;
        int rc = log_sum_put(txn, s->log_entries, &key, head, sizeof head, entry->data, entry->len,
                             &h->entry_sum, &h->entry_count);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int put_intent(struct store *s, MDB_txn *txn, const struct store_log_write *w)
{
    struct log_head *h = &s->log_head;
    uint8_t bytes[PLAIN_KEY_MAX];
    uint8_t head[INTENT_HEADER - 8];
    int rc = 0;
    if (w->replace_intent) {
        rc = mdb_drop(txn, s->log_intent, 0);
        h->intent_sum = 0;
        h->intent_count = 0;
    }
    for (size_t i = 0; i < w->intent_count && rc == 0; i++) {
        const struct store_log_intent *row = &w->intent[i];
        MDB_val key = {plain_key(row->kind, row->key, row->key_len, bytes), bytes};
        put_be64(head, row->version.hi);
        put_be64(head + 8, row->version.lo);
        /* A deleted row need not be kept: its tombstone lives in state/ and at the peers. */
        if (row->deleted)
            rc = log_sum_del(txn, s->log_intent, &key, &h->intent_sum, &h->intent_count);
        else
            rc = log_sum_put(txn, s->log_intent, &key, head, sizeof head, row->value,
                             row->value_len, &h->intent_sum, &h->intent_count);
    }
    return rc;
}

static int compact(struct store *s, MDB_txn *txn, const struct store_log_write *w)
{
    struct log_head *h = &s->log_head;
    if (w->compact_to <= h->base_index)
        return 0;
    uint64_t last = w->compact_to < h->last_index ? w->compact_to : h->last_index;
    int rc = del_entries(s, txn, h->base_index + 1, last);
    h->base_index = w->compact_to;
    h->base_term = w->base_term;
    if (h->last_index < h->base_index)
        h->last_index = h->base_index;
    return rc;
}

static int put_config(struct store *s, MDB_txn *txn, const struct store_log_write *w)
{
    MDB_val key = {6, (void *)(uintptr_t) "config"};
    uint64_t sum = 0;
    uint64_t count = 0;
    return log_sum_put(txn, s->log_meta, &key, NULL, 0, w->config, w->config_len, &sum, &count);
}

int log_perform(struct store *s, MDB_txn *txn, const struct store_log_write *w)
{
    struct log_head *h = &s->log_head;
    uint64_t last = h->last_index;
    int rc = 0;
    if (!log_follows(h, w, &last)) {
        LOG(LOG_ERROR, "store_log_gap", "an entry does not follow the log; refused",
            LU("index", w->entries[0].index), LU("last", h->last_index), LU("base", h->base_index));
        return ERR_BADPARAM;
    }
    if (w->set_hard_state) {
        h->term = w->term;
        h->vote = w->vote;
    }
    if (w->truncate_from != 0)
        rc = del_entries(s, txn,
                         w->truncate_from > h->base_index ? w->truncate_from : h->base_index + 1,
                         h->last_index);
    if (rc == 0)
        rc = put_entries(s, txn, w);
    h->last_index = last;
    if (rc == 0)
        rc = put_intent(s, txn, w);
    if (w->applied_index != 0) {
        h->applied_index = w->applied_index;
        h->applied_term = w->applied_term;
    }
    if (rc == 0)
        rc = compact(s, txn, w);
    if (rc == 0 && w->config != NULL)
        rc = put_config(s, txn, w);
    if (rc == 0)
        rc = facts_perform(s, txn, w->facts, w->fact_count);
    return rc;
}

struct journal_perform {
    struct store *s;
    MDB_txn *txn;
};

static int perform_one(void *arg, const struct store_log_write *w)
{
    struct journal_perform *p = arg;
    return log_perform(p->s, p->txn, w);
}

int log_perform_journal(struct store *s, MDB_txn *txn)
{
    struct journal_perform p = {s, txn};
    s->log_head.journalled = s->journal.seq;
    return journal_each(&s->journal, perform_one, &p);
}

int log_save_head(struct store *s, MDB_txn *txn)
{
    uint8_t bytes[LOG_HEAD_BYTES];
    MDB_val key = {4, (void *)(uintptr_t) "head"};
    MDB_val val = {sizeof bytes, bytes};
    log_head_encode(&s->log_head, bytes);
    return mdb_put(txn, s->log_meta, &key, &val, 0);
}

/* ---- opening ---- */

/* Checks every value of a table against its checksum, and the table against the head. Keys of
 * entries must be the numbers from `first` on; first 0: any key. */
static int verify_table(MDB_txn *txn, MDB_dbi dbi, size_t least, uint64_t first, uint64_t want_sum,
                        uint64_t want_count)
{
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    uint64_t sum = 0;
    uint64_t count = 0;
    bool sound = true;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc != 0)
        return store_err(rc);
    while (sound && (rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
        sound = log_value_sound(&key, &val, least);
        if (first != 0 && (key.mv_size != 8 || get_be64(key.mv_data) != first + count))
            sound = false;
        sum += value_sum(&val);
        count++;
    }
    mdb_cursor_close(cursor);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return store_err(rc);
    return rc == 0 || sum != want_sum || count != want_count ? ERR_CORRUPT : 0;
}

static int verify(struct store *s, MDB_txn *txn, struct errmsg *e)
{
    const struct log_head *h = &s->log_head;
    MDB_val key = {4, (void *)(uintptr_t) "head"};
    MDB_val config_key = {6, (void *)(uintptr_t) "config"};
    MDB_val val;
    int rc = mdb_get(txn, s->log_meta, &key, &val);
    if (rc != 0 || log_head_decode(&val, &s->log_head) != 0)
        return env_lookup_err(rc == 0 ? MDB_NOTFOUND : rc,
                              "raft's term and vote are missing or damaged", e);
    const struct {
        const char *what;
        MDB_dbi dbi;
        size_t least;
        uint64_t first, sum, count;
    } tables[] = {
        {"raft's entries are damaged", s->log_entries, ENTRY_HEADER, h->base_index + 1,
         h->entry_sum, h->entry_count},
        {"the applied intent is damaged", s->log_intent, INTENT_HEADER, 0, h->intent_sum,
         h->intent_count},
        {"the agent's facts are damaged", s->log_facts, 8, 0, h->fact_sum, h->fact_count}};
    if (h->last_index < h->base_index || h->last_index - h->base_index != h->entry_count)
        return errmsg_set(e, ERR_CORRUPT, "%s", tables[0].what);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        int err = verify_table(txn, tables[i].dbi, tables[i].least, tables[i].first, tables[i].sum,
                               tables[i].count);
        if (err != 0)
            return errmsg_set(e, err, "%s", err == ERR_CORRUPT ? tables[i].what : err_text(err));
    }
    rc = mdb_get(txn, s->log_meta, &config_key, &val);
    if (rc == MDB_NOTFOUND || (rc == 0 && log_value_sound(&config_key, &val, 8)))
        return 0;
    return env_lookup_err(rc == 0 ? MDB_NOTFOUND : rc, "raft's configuration is damaged", e);
}

static int open_tables(struct store *s, MDB_txn *txn, unsigned flags)
{
    int rc;
    if ((rc = mdb_dbi_open(txn, "entries", flags, &s->log_entries)) == 0 &&
        (rc = mdb_dbi_open(txn, "intent", flags, &s->log_intent)) == 0)
        rc = mdb_dbi_open(txn, "facts", flags, &s->log_facts);
    return rc;
}

/* Takes over what the journal of the last process has that is not here. A database without one gets
 * one; or goes on without, as where the disk has no room. */
static int open_journal(struct store *s, MDB_txn *txn, struct errmsg *e)
{
    struct log_head *h = &s->log_head;
    struct errmsg why = {""};
    int rc;
    if (h->journal == 0) {
        if (journal_make(&s->journal, s->log.path, &why) != 0) {
            LOG(LOG_WARN, "store_journal", "raft's log goes on without a journal",
                LS("why", why.text));
            journal_close(&s->journal);
            return 0;
        }
        h->journal = s->journal.id;
        rc = log_save_head(s, txn);
        return rc == 0 ? 0 : errmsg_set(e, store_err(rc), "%s: %s", s->log.path, mdb_strerror(rc));
    }
    int err = journal_open(&s->journal, s->log.path, h->journal, h->journalled, e);
    if (err != 0 || s->journal.used == 0)
        return err;
    rc = log_perform_journal(s, txn);
    if (rc == 0)
        rc = log_save_head(s, txn);
    if (rc == ERR_BADPARAM)
        return errmsg_set(e, ERR_CORRUPT, "the journal does not follow raft's log");
    return rc == 0
               ? 0
               : errmsg_set(e, env_write_err(s->dir, rc), "%s: %s", s->log.path, mdb_strerror(rc));
}

int log_open(struct store *s, struct errmsg *e)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->log.env, NULL, 0, &txn);
    if (rc != 0)
        return errmsg_set(e, store_err(rc), "%s: %s", s->log.path, mdb_strerror(rc));
    int err = 0;
    rc = mdb_dbi_open(txn, "meta", 0, &s->log_meta);
    if (rc == MDB_NOTFOUND) {
        s->log_head = (struct log_head){0};
        if ((rc = mdb_dbi_open(txn, "meta", MDB_CREATE, &s->log_meta)) == 0 &&
            (rc = open_tables(s, txn, MDB_CREATE)) == 0 &&
            (rc = format_write(txn, s->log_meta, LOG_FORMAT)) == 0)
            rc = log_save_head(s, txn);
    } else if (rc == 0) {
        uint64_t format;
        err = format_read(txn, s->log_meta, LOG_FORMAT, &format, e);
        if (err == 0 && (rc = open_tables(s, txn, 0)) != 0)
            err = env_lookup_err(rc, "a table is missing", e);
        if (err == 0 && format < LOG_FORMAT && (rc = log_migrate(s, txn, format)) != 0)
            err = errmsg_set(e, store_err(rc), "migration of format %llu: %s",
                             (unsigned long long)format, mdb_strerror(rc));
        if (err == 0)
            err = verify(s, txn, e);
    }
    if (err == 0 && rc == 0)
        err = open_journal(s, txn, e);
    if (err != 0) {
        mdb_txn_abort(txn);
        return err;
    }
    if (rc != 0)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    if (rc != 0)
        return errmsg_set(e, env_write_err(s->dir, rc), "%s: %s", s->log.path, mdb_strerror(rc));
    journal_contained(&s->journal);
    s->log_last = s->log_head.last_index;
    log_reserve(s);
    return 0;
}

/* ---- reading (any thread) ---- */

int log_read_begin(struct store *s, MDB_txn **ret)
{
    pthread_rwlock_rdlock(&s->log_map_lock);
    int rc = mdb_txn_begin(s->log.env, NULL, MDB_RDONLY, ret);
    if (rc != 0)
        pthread_rwlock_unlock(&s->log_map_lock);
    return store_err(rc);
}

void log_read_end(struct store *s, MDB_txn *txn)
{
    mdb_txn_abort(txn);
    pthread_rwlock_unlock(&s->log_map_lock);
}

/* Compaction keeps the log small; where it may not yet (a majority that is slow, entries of the
 * largest size) there is still room. Readers of the log are short. */
int log_map_grow(struct store *s)
{
    MDB_envinfo info = {0};
    int rc = mdb_env_info(s->log.env, &info);
    if (rc != 0 || info.me_mapsize >= LOG_MAP_MAX)
        return ERR_FULL;
    size_t next = info.me_mapsize < LOG_MAP_MAX / 2 ? info.me_mapsize * 2 : LOG_MAP_MAX;
    pthread_rwlock_wrlock(&s->log_map_lock);
    rc = mdb_env_set_mapsize(s->log.env, next);
    pthread_rwlock_unlock(&s->log_map_lock);
    if (rc == 0)
        LOG(LOG_INFO, "store_grown", "the map of the log database is larger now",
            LU("bytes", next));
    return store_err(rc);
}

/* Entries take twice their bytes at most (one of half a page has its own); the rest is for the
 * pages above them. */
#define ROOM_BYTES (2u * JOURNAL_BYTES + (256u << 10))

void log_reserve(struct store *s)
{
    MDB_envinfo info = {0};
    MDB_stat stat = {0};
    mdb_filehandle_t fd;
    s->log_has_room = false;
    if (mdb_env_info(s->log.env, &info) != 0 || mdb_env_stat(s->log.env, &stat) != 0 ||
        mdb_env_get_fd(s->log.env, &fd) != 0)
        return;
    uint64_t want = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize + ROOM_BYTES;
    /* Behind the file's end, which stays where it is. */
    if (want > s->log_room && fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)want) == 0)
        s->log_room = want;
    s->log_has_room = want <= s->log_room || errno == EOPNOTSUPP;
}

int store_log_load(struct store *s, struct store_log_state *ret)
{
    MDB_txn *txn;
    struct log_head h;
    MDB_val key = {4, (void *)(uintptr_t) "head"};
    MDB_val val;
    int err = log_settle(s, UINT64_MAX);
    if (err == 0)
        err = log_read_begin(s, &txn);
    if (err != 0)
        return err;
    err = store_err(mdb_get(txn, s->log_meta, &key, &val));
    if (err == 0)
        err = log_head_decode(&val, &h);
    log_read_end(s, txn);
    if (err != 0)
        return err;
    *ret = (struct store_log_state){.term = h.term,
                                    .vote = h.vote,
                                    .first_index = h.base_index + 1,
                                    .last_index = h.last_index,
                                    .base_index = h.base_index,
                                    .base_term = h.base_term,
                                    .applied_index = h.applied_index,
                                    .applied_term = h.applied_term};
    return 0;
}

static int entry_read(const MDB_val *key, const MDB_val *val, struct store_log_entry *ret)
{
    const uint8_t *p = val->mv_data;
    if (key->mv_size != 8 || !log_value_sound(key, val, ENTRY_HEADER))
        return ERR_CORRUPT;
    *ret = (struct store_log_entry){.index = get_be64(key->mv_data),
                                    .term = get_be64(p + 8),
                                    .type = p[16],
                                    .len = (uint32_t)(val->mv_size - ENTRY_HEADER),
                                    .data = p + ENTRY_HEADER};
    return 0;
}

int store_log_read(struct store *s, uint64_t first, uint64_t last,
                   int (*fn)(void *arg, const struct store_log_entry *entry), void *arg)
{
    uint8_t bytes[8];
    MDB_txn *txn = NULL;
    MDB_cursor *cursor;
    MDB_val key = {sizeof bytes, bytes};
    MDB_val val;
    int err = log_settle(s, last);
    if (err == 0)
        err = log_read_begin(s, &txn);
    if (err != 0 || first > last)
        goto out;
    err = store_err(mdb_cursor_open(txn, s->log_entries, &cursor));
    if (err != 0)
        goto out;
    put_be64(bytes, first);
    int rc = mdb_cursor_get(cursor, &key, &val, MDB_SET_KEY);
    int stop = 0;
    for (uint64_t want = first; err == 0 && stop == 0; want++) {
        struct store_log_entry entry;
        err = rc != 0 ? store_err(rc) : entry_read(&key, &val, &entry);
        if (err == 0 && entry.index != want)
            err = ERR_NOTFOUND;
        if (err == 0)
            stop = fn(arg, &entry);
        if (want == last)
            break;
        rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (err == 0 && stop < 0)
        err = stop;
out:
    if (err == ERR_CORRUPT)
        LOG_MSG(LOG_ERROR, "store_log_damage", "an entry of raft's log is damaged");
    if (txn != NULL)
        log_read_end(s, txn);
    return err;
}

int store_log_intent(struct store *s, int (*fn)(void *arg, const struct store_log_intent *row),
                     void *arg)
{
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key;
    MDB_val val;
    int err = log_read_begin(s, &txn);
    if (err != 0)
        return err;
    int rc = mdb_cursor_open(txn, s->log_intent, &cursor);
    if (rc != 0) {
        log_read_end(s, txn);
        return store_err(rc);
    }
    while (err == 0 && (rc = mdb_cursor_get(cursor, &key, &val, MDB_NEXT)) == 0) {
        const uint8_t *k = key.mv_data;
        const uint8_t *p = val.mv_data;
        if (key.mv_size < 2 || !log_value_sound(&key, &val, INTENT_HEADER)) {
            err = ERR_CORRUPT;
            break;
        }
        struct store_log_intent row = {.kind = k[0],
                                       .key = (const char *)k + 1,
                                       .key_len = (uint16_t)(key.mv_size - 1),
                                       .value = p + INTENT_HEADER,
                                       .value_len = (uint32_t)(val.mv_size - INTENT_HEADER),
                                       .version = {get_be64(p + 8), get_be64(p + 16)}};
        err = fn(arg, &row);
    }
    mdb_cursor_close(cursor);
    log_read_end(s, txn);
    if (err != 0)
        return err > 0 ? 0 : err;
    return rc == MDB_NOTFOUND ? 0 : store_err(rc);
}

int store_log_config(struct store *s, void *out, size_t cap, size_t *ret_len)
{
    MDB_txn *txn;
    MDB_val key = {6, (void *)(uintptr_t) "config"};
    MDB_val val;
    *ret_len = 0;
    int err = log_read_begin(s, &txn);
    if (err != 0)
        return err;
    int rc = mdb_get(txn, s->log_meta, &key, &val);
    if (rc != 0)
        err = rc == MDB_NOTFOUND ? 0 : store_err(rc);
    else if (!log_value_sound(&key, &val, 8))
        err = ERR_CORRUPT;
    else if (val.mv_size - 8 > cap)
        err = ERR_TOOBIG;
    else
        *ret_len = val.mv_size - 8;
    if (*ret_len > 0)
        memcpy(out, (const uint8_t *)val.mv_data + 8, *ret_len);
    log_read_end(s, txn);
    return err;
}
