/* SPDX-License-Identifier: Apache-2.0
 * Who may stay: an agent whose id is no container instance of the cluster, for longer than
 * ECS and the rows may lag, is evicted. What the leader's comparison with ECS left in the rows
 * decides, and each agent looks for itself, so that no single member can evict another. Without a
 * fresh and whole picture nobody is.
 *
 * A list may be at fault. It is if most of those that were listed are not any more: nobody is
 * evicted then. Members that were not may be strangers in any number; but where they are the most,
 * it may be this agent that saw too little yet, and they are borne longer. */
#include <stdlib.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define LATE_FACTOR 3 /* comparisons with ECS missed before the rows are too old to judge by */
#define LATE_SLACK_MS 60000
#define CROWD_FACTOR 4 /* times the grace, where most members were never listed */

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

static bool is_live(const struct gossip_member *m)
{
    return m->state <= MEMBER_SUSPECT;
}

/* at: where it stood, unless somebody came or went since. */
static const struct standing *find(const struct agent *a, size_t at, uint64_t num)
{
    if (at < a->standing_count && a->standing[at].num == num)
        return &a->standing[at];
    for (size_t i = 0; i < a->standing_count; i++)
        if (a->standing[i].num == num)
            return &a->standing[i];
    return NULL;
}

/* Live members that are listed, that were once, and that were not. */
struct counts {
    size_t listed, missing, strangers;
};

/* A false row lists a stranger too, but not for long. */
static void judge(struct standing *s, bool listed, uint64_t now, uint64_t grace)
{
    if (s->since_ms == 0 || s->listed != listed)
        s->since_ms = now;
    s->listed = listed;
    s->once = s->once || (listed && now - s->since_ms >= grace);
}

static int look(struct agent *a, struct store_txn *txn, uint64_t now, struct counts *ret)
{
    size_t count = gossip_count(a->gossip);
    struct standing *list = calloc(count, sizeof *list);
    if (list == NULL)
        return ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        const struct gossip_member *m = gossip_at(a->gossip, i);
        const struct standing *before = find(a, i, m->num);
        struct standing *s = &list[i];
        *s = before == NULL ? (struct standing){.num = m->num} : *before;
        judge(s, m->self || is_listed(txn, m->id), now, a->config->gossip_admission_ms);
        if (!is_live(m) && !s->evicted)
            continue;
        ret->listed += s->listed;
        ret->missing += !s->listed && s->once;
        ret->strangers += !s->listed && !s->once && !s->evicted;
    }
    free(a->standing);
    a->standing = list;
    a->standing_count = count;
    return 0;
}

static void admit(struct agent *a, struct standing *s, const struct gossip_member *m)
{
    s->evicted = false;
    LOG(LOG_INFO, "member_admitted", "ECS lists it again", LS("member", m->id));
    gossip_evict(a->gossip, s->num, false);
}

static void evict(struct agent *a, struct standing *s, const struct gossip_member *m, uint64_t now)
{
    if (!s->evicted)
        LOG(LOG_WARN, "member_evicted", "it is no container instance of the cluster",
            LS("member", m->id), LU("for_ms", now - s->since_ms));
    s->evicted = true;
    gossip_evict(a->gossip, s->num, true);
}

void admission_tick(struct agent *a)
{
    struct store_txn *txn = NULL;
    struct counts n = {0};
    uint64_t now = clock_mono_ms(), grace = a->config->gossip_admission_ms;
    if (grace == 0 || a->gossip == NULL || gossip_count(a->gossip) < 2 || !is_fresh(a) ||
        store_read_begin(a->store, &txn) != 0)
        return;
    /* Where this agent itself is not listed there is no ECS, or not the whole of it. */
    bool usable = is_own_listed(txn, a->identity.id) && look(a, txn, now, &n) == 0;
    store_read_end(txn);
    bool at_fault = n.missing > n.listed;
    if (n.strangers > n.listed)
        grace *= CROWD_FACTOR;
    for (size_t i = 0; usable && i < a->standing_count; i++) {
        struct standing *s = &a->standing[i];
        const struct gossip_member *m = gossip_find(a->gossip, s->num);
        if (m == NULL)
            continue;
        if (s->listed && s->evicted)
            admit(a, s, m);
        else if (!s->listed && !at_fault &&
                 (s->evicted || (is_live(m) && now - s->since_ms >= grace)))
            evict(a, s, m, now);
    }
}
