/* SPDX-License-Identifier: Apache-2.0
 * Who may stay: an agent whose id is no container instance of the cluster, for longer than
 * ECS and the rows may lag, is evicted. What the leader's comparison with ECS left in the rows
 * decides, and each agent looks for itself, so that no single member can evict another. Without a
 * fresh and whole picture nobody is. */
#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define LATE_FACTOR 3 /* comparisons with ECS missed before the rows are too old to judge by */
#define LATE_SLACK_MS 60000

static bool is_listed(struct store_txn *txn, const char *id)
{
    uint64_t rows = 0;
    /* On an error nobody is accused. */
    return store_count(txn, RECORD_INSTANCE, ROW_EC2_INSTANCE, id, &rows) != 0 || rows > 0;
}

static bool is_own_listed(struct store_txn *txn, const char *id)
{
    uint64_t rows = 0;
    return store_count(txn, RECORD_INSTANCE, ROW_EC2_INSTANCE, id, &rows) == 0 && rows > 0;
}

static bool is_fresh(const struct agent *a)
{
    int64_t late = (int64_t)a->config->reconcile_ms * LATE_FACTOR + LATE_SLACK_MS;
    return a->complete_unix_ms != 0 && clock_unix_ms() - a->complete_unix_ms <= late;
}

static struct unlisted *find(struct agent *a, uint64_t num)
{
    for (size_t i = 0; i < a->unlisted_count; i++)
        if (a->unlisted[i].num == num)
            return &a->unlisted[i];
    return NULL;
}

static void note(struct agent *a, const struct gossip_member *m, uint64_t now)
{
    struct unlisted *u = find(a, m->num);
    if (u == NULL && a->unlisted_count < UNLISTED_MAX) {
        a->unlisted[a->unlisted_count++] = (struct unlisted){.num = m->num, .since_ms = now};
    } else if (u != NULL && !u->evicted && now - u->since_ms >= a->config->gossip_admission_ms) {
        u->evicted = true;
        LOG(LOG_WARN, "member_evicted", "it is no container instance of the cluster",
            LS("member", m->id), LU("for_ms", now - u->since_ms));
    }
}

static void clear(struct agent *a, const struct gossip_member *m)
{
    struct unlisted *u = find(a, m->num);
    if (u == NULL)
        return;
    if (u->evicted)
        LOG(LOG_INFO, "member_admitted", "ECS lists it again", LS("member", m->id));
    gossip_evict(a->gossip, m->num, false);
    *u = a->unlisted[--a->unlisted_count];
}

void admission_tick(struct agent *a)
{
    struct store_txn *txn = NULL;
    size_t odd = 0, count = a->gossip == NULL ? 0 : gossip_count(a->gossip);
    uint64_t now = clock_mono_ms();
    if (a->config->gossip_admission_ms == 0 || count < 2 || !is_fresh(a) ||
        store_read_begin(a->store, &txn) != 0)
        return;
    /* Where this agent itself is not listed there is no ECS, or not the whole of it. */
    bool usable = is_own_listed(txn, a->identity.id);
    for (size_t i = 0; usable && i < count; i++) {
        const struct gossip_member *m = gossip_at(a->gossip, i);
        bool listed = m->self || is_listed(txn, m->id);
        odd += !listed;
        if (listed)
            clear(a, m);
        else
            note(a, m, now);
    }
    store_read_end(txn);
    if (!usable || odd * 2 > count)
        return; /* so many at once are a fault of the list, not strangers */
    for (size_t i = 0; i < a->unlisted_count; i++)
        if (a->unlisted[i].evicted)
            gossip_evict(a->gossip, a->unlisted[i].num, true);
}
