/* SPDX-License-Identifier: Apache-2.0
 * ECS sends no delete: the leader turns STOPPED tasks and INACTIVE instances into tombstones
 * after a time, and every agent drops tombstones for good when all must have seen them. */
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define EVERY_TICKS (10000 / TICK_MS)
#define BATCH 200
#define TOMBSTONE_MS (24 * 3600 * 1000LL)

struct reaping {
    struct agent *agent;
    int64_t before_unix_ms;
    struct record list[BATCH];
    char keys[BATCH][RECORD_KEY_MAX];
    size_t count;
};

static int collect(void *arg, const struct store_row *row)
{
    struct reaping *r = arg;
    if (row->record.observed_unix_ms >= r->before_unix_ms)
        return 0;
    struct record *rec = &r->list[r->count];
    *rec = row->record;
    memcpy(r->keys[r->count], row->record.key, row->record.key_len);
    rec->key = r->keys[r->count];
    rec->value = NULL;
    rec->value_len = 0;
    return ++r->count == BATCH;
}

static void bury(struct agent *a, struct reaping *r)
{
    for (size_t i = 0; i < r->count; i++) {
        r->list[i].deleted = true;
        r->list[i].version.lo |= 1; /* record.h: odd means gone */
        r->list[i].term = a->term;
        r->list[i].observed_unix_ms = clock_unix_ms();
    }
    if (r->count > 0 && rows_apply(a->rows, r->list, r->count, NULL, NULL) == 0)
        LOG(LOG_DEBUG, "rows_retired", "", LU("count", r->count));
}

static void retire(struct agent *a, struct reaping *r, struct store_txn *txn, uint8_t kind,
                   const char *status)
{
    struct store_query query = {.kind = kind, .field = ROW_STATUS, .value = status};
    r->count = 0;
    r->before_unix_ms = clock_unix_ms() - (int64_t)a->config->stopped_retention_ms;
    if (store_scan(txn, &query, collect, r) == 0)
        bury(a, r);
}

struct purge {
    struct agent *agent;
    uint64_t key_hash;
    struct record_version version;
};

static void purged(void *arg, int err)
{
    struct purge *p = arg;
    if (err == 0 && p->agent->records != NULL)
        records_purged(p->agent->records, p->key_hash, p->version);
    free(p);
}

static int collect_tombstone(void *arg, const struct store_row *row)
{
    return row->record.deleted ? collect(arg, row) : 0;
}

static void purge(struct agent *a, struct reaping *r, struct store_txn *txn, uint8_t kind)
{
    struct store_query query = {.kind = kind, .with_deleted = true};
    r->count = 0;
    r->before_unix_ms = clock_unix_ms() - TOMBSTONE_MS;
    if (store_scan(txn, &query, collect_tombstone, r) != 0)
        return;
    for (size_t i = 0; i < r->count; i++) {
        struct record *rec = &r->list[i];
        struct purge *p = malloc(sizeof *p);
        if (p == NULL)
            return;
        *p = (struct purge){a, record_key_hash(rec->kind, rec->key, rec->key_len), rec->version};
        if (store_purge(a->store, rec->kind, rec->key, rec->key_len, purged, p) != 0)
            free(p);
    }
}

void reap_tick(struct agent *a)
{
    static const uint8_t kinds[] = {RECORD_TASK, RECORD_INSTANCE, RECORD_ENVIRONMENT,
                                    RECORD_DEPLOYMENT, RECORD_ATTEMPT};
    struct store_txn *txn = NULL;
    if (++a->reap_ticks % EVERY_TICKS != 0)
        return;
    struct reaping *r = calloc(1, sizeof *r);
    if (r == NULL || store_read_begin(a->store, &txn) != 0) {
        free(r);
        return;
    }
    r->agent = a;
    if (a->role == RAFT_UV_LEADER) {
        retire(a, r, txn, RECORD_TASK, "STOPPED");
        retire(a, r, txn, RECORD_INSTANCE, "INACTIVE");
    }
    /* One kind a round: a full scan of 100,000 rows is tens of milliseconds. */
    purge(a, r, txn, kinds[a->reap_ticks / EVERY_TICKS % sizeof kinds]);
    store_read_end(txn);
    free(r);
}
