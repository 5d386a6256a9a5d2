/* SPDX-License-Identifier: Apache-2.0
 * What the walks over the rows cost and drop; the store and what else stands around agent/reap.c is
 * ours. */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"

#define HOUR_MS (3600 * 1000LL)

static struct agent agent;
static struct config config = {.stopped_retention_ms = 3600 * 1000};
static struct store_row rows[3];
static size_t row_count;
static unsigned scans, purges, burials;
static char purged[16];

/* ---- what it stands on ------------------------------------------------------------------ */

int store_read_begin(struct store *s, struct store_txn **ret)
{
    (void)s, (void)ret;
    return 0;
}

void store_read_end(struct store_txn *t)
{
    (void)t;
}

int store_scan(struct store_txn *t, const struct store_query *q, store_scan_fn fn, void *arg)
{
    (void)t;
    scans++;
    for (size_t i = 0; i < row_count; i++)
        if (rows[i].record.kind == q->kind && (q->with_deleted || !rows[i].record.deleted))
            (void)fn(arg, &rows[i]);
    return 0;
}

int store_purge(struct store *s, const struct record *target, void (*done)(void *arg, int err),
                void *arg)
{
    (void)s;
    purges++;
    memcpy(purged, target->key, target->key_len);
    done(arg, ERR_BUSY);
    return 0;
}

int rows_apply(struct rows *r, const struct record *records, size_t count, store_apply_fn done,
               void *arg)
{
    (void)r, (void)records, (void)done, (void)arg;
    burials += (unsigned)count;
    return 0;
}

void records_purged(struct records *r, uint64_t key_hash, struct record_version version)
{
    (void)r, (void)key_hash, (void)version;
}

/* ---- rows ------------------------------------------------------------------------------- */

static void add(const char *key, bool deleted, int64_t age_ms)
{
    rows[row_count++].record = (struct record){.kind = RECORD_TASK,
                                               .key = key,
                                               .key_len = (uint16_t)strlen(key),
                                               .deleted = deleted,
                                               .observed_unix_ms = clock_unix_ms() - age_ms};
}

static void next_round(void)
{
    agent.reap_due_ms = 0;
    scans = purges = burials = 0;
    do
        reap_tick(&agent);
    while (agent.reap != NULL);
}

static void init(void)
{
    agent.config = &config;
}

TestSuite(reap, .init = init);

Test(reap, tombstones_are_looked_for_seldom)
{
    add("old", true, 25 * HOUR_MS);
    add("young", true, 23 * HOUR_MS);
    add("live", false, 48 * HOUR_MS);
    next_round();
    cr_assert_eq(scans, 0, "right after a start");
    agent.purge_turn--;
    next_round();
    cr_assert_eq(purges, 1);
    cr_assert_str_eq(purged, "old");
    next_round();
    cr_assert_eq(scans, 0, "all rows are read again, ten seconds later");
    cr_assert_eq(burials, 0, "it does not lead");
}

Test(reap, kinds_without_rows_cost_one_tick)
{
    next_round();
    agent.purge_turn--;
    agent.reap_due_ms = 0;
    reap_tick(&agent);
    cr_assert_null(agent.reap);
    cr_assert_eq(scans, 5);
}

Test(reap, a_leader_buries_each_round)
{
    agent.role = RAFT_UV_LEADER;
    add("stopped", false, 2 * HOUR_MS);
    add("just now", false, 0);
    next_round();
    cr_assert_eq(burials, 1);
    next_round();
    cr_assert_eq(burials, 1);
    cr_assert_eq(purges, 0);
}
