/* SPDX-License-Identifier: Apache-2.0
 * ECS sends no delete: the leader turns STOPPED tasks and INACTIVE instances into tombstones
 * after a time, and every agent drops tombstones for good when all must have seen them. A walk
 * over the rows is done in slices, one a tick. */
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define EVERY_MS 10000
#define PURGE_EVERY_MS (600 * 1000LL) /* of the wall clock: all agents drop the same at a time */
#define LOOK_MAX 1000                 /* rows of one slice: about a millisecond */
#define BATCH 200                     /* ... of which so many are acted on */
#define TOMBSTONE_MS (24 * 3600 * 1000LL)

static const struct stage {
    uint8_t kind;
    const char *status; /* to be buried by the leader; NULL: tombstones to be dropped by all */
} stages[] = {
    {RECORD_TASK, "STOPPED"}, {RECORD_INSTANCE, "INACTIVE"}, {RECORD_TASK, NULL},
    {RECORD_INSTANCE, NULL},  {RECORD_ENVIRONMENT, NULL},    {RECORD_DEPLOYMENT, NULL},
    {RECORD_ATTEMPT, NULL},
};
#define STAGES (sizeof stages / sizeof stages[0])

struct reap_walk {
    size_t stage;
    char after[RECORD_KEY_MAX]; /* the last row that was looked at */
    size_t after_len;
    size_t looked; /* in this slice */
    int64_t before_unix_ms;
    int64_t purge_unix_ms; /* this round drops tombstones from before then; 0: none */
    struct record list[BATCH];
    char keys[BATCH][RECORD_KEY_MAX];
    size_t count;
};

static int collect(void *arg, const struct store_row *row)
{
    struct reap_walk *w = arg;
    bool tombstones = stages[w->stage].status == NULL;
    memcpy(w->after, row->record.key, row->record.key_len);
    w->after_len = row->record.key_len;
    w->looked++;
    if (row->record.deleted == tombstones && row->record.observed_unix_ms < w->before_unix_ms) {
        struct record *rec = &w->list[w->count];
        *rec = row->record;
        rec->key = memcpy(w->keys[w->count], row->record.key, row->record.key_len);
        rec->value = NULL;
        rec->value_len = 0;
        w->count++;
    }
    return w->count == BATCH || w->looked == LOOK_MAX;
}

/* Without room in the store the same rows are met again in the next round. */
static void bury(struct agent *a, struct reap_walk *w)
{
    for (size_t i = 0; i < w->count; i++) {
        w->list[i].deleted = true;
        w->list[i].version.lo |= 1; /* record.h: odd means gone */
        w->list[i].source = SOURCE_RECONCILE;
        w->list[i].term = a->term;
        w->list[i].observed_unix_ms = clock_unix_ms();
    }
    if (w->count > 0 && rows_apply(a->rows, w->list, w->count, NULL, NULL) == 0)
        LOG(LOG_DEBUG, "rows_retired", "", LU("count", w->count));
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

static void purge(struct agent *a, const struct reap_walk *w)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct record *rec = &w->list[i];
        struct purge *p = malloc(sizeof *p);
        if (p == NULL)
            return;
        *p = (struct purge){a, record_key_hash(rec->kind, rec->key, rec->key_len), rec->version};
        if (store_purge(a->store, rec, purged, p) != 0) {
            free(p);
            return;
        }
    }
}

static bool wanted(const struct agent *a, size_t stage, bool purges)
{
    if (stages[stage].status != NULL)
        return a->role == RAFT_UV_LEADER && !a->stopping;
    return purges;
}

/* The first of this round that is wanted, from this one on. */
static size_t next_stage(const struct agent *a, size_t stage, bool purges)
{
    while (stage < STAGES && !wanted(a, stage, purges))
        stage++;
    return stage;
}

static int look(struct agent *a, struct reap_walk *w)
{
    struct store_txn *txn = NULL;
    const struct stage *stage = &stages[w->stage];
    bool tombstones = stage->status == NULL;
    char after[RECORD_KEY_MAX];
    struct store_query query = {
        .kind = stage->kind,
        .field = tombstones ? 0 : ROW_STATUS,
        .value = stage->status,
        .after_key = w->after_len == 0 ? NULL : after,
        .after_key_len = w->after_len,
        .with_deleted = tombstones,
    };
    memcpy(after, w->after, w->after_len); /* collect moves the walk's */
    w->count = 0;
    w->looked = 0;
    w->before_unix_ms =
        tombstones ? w->purge_unix_ms : clock_unix_ms() - (int64_t)a->config->stopped_retention_ms;
    int err = store_read_begin(a->store, &txn);
    if (err != 0)
        return err;
    err = store_scan(txn, &query, collect, w);
    store_read_end(txn);
    return err;
}

static void slice(struct agent *a)
{
    struct reap_walk *w = a->reap;
    int err = look(a, w);
    bool more = err == 0 && (w->count == BATCH || w->looked == LOOK_MAX);
    bool purges = w->purge_unix_ms != 0;
    if (err == 0 &&
        wanted(a, w->stage, purges)) { /* leadership may have gone since the last slice */
        if (stages[w->stage].status != NULL)
            bury(a, w);
        else
            purge(a, w);
    }
    if (more)
        return;
    w->after_len = 0;
    w->stage = next_stage(a, w->stage + 1, purges);
    if (w->stage == STAGES) {
        a->reap_due_ms = clock_mono_ms() + EVERY_MS;
        reap_fini(a);
    }
}

/* Most rounds of most agents have nothing to do: those take no memory. Tombstones are found by
 * reading all rows, 0.1 s of a processor with 50,000, and are kept for a day: a look in ten minutes
 * will do. */
static bool begin(struct agent *a)
{
    if (clock_mono_ms() < a->reap_due_ms)
        return false;
    a->reap_due_ms = clock_mono_ms() + EVERY_MS; /* also if there is no memory */
    int64_t turn = clock_unix_ms() / PURGE_EVERY_MS;
    bool purges = a->purge_turn != 0 && a->purge_turn != turn;
    size_t stage = next_stage(a, 0, purges);
    a->reap = stage == STAGES ? NULL : malloc(sizeof *a->reap);
    if (a->reap != NULL || !purges)
        a->purge_turn = turn;
    if (a->reap == NULL)
        return false;
    a->reap->stage = stage;
    a->reap->after_len = 0;
    a->reap->purge_unix_ms = purges ? turn * PURGE_EVERY_MS - TOMBSTONE_MS : 0;
    return true;
}

/* What finds no rows costs no slice. */
void reap_tick(struct agent *a)
{
    if (a->reap == NULL && !begin(a))
        return;
    do
        slice(a);
    while (a->reap != NULL && a->reap->looked == 0);
}

uint64_t reap_wait_ms(const struct agent *a)
{
    uint64_t now = clock_mono_ms();
    return a->reap != NULL || now >= a->reap_due_ms ? 0 : a->reap_due_ms - now;
}

void reap_fini(struct agent *a)
{
    free(a->reap);
    a->reap = NULL;
}
