/* SPDX-License-Identifier: Apache-2.0
 * What must hold whatever happens, judged from outside the cores. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "tests/sim/raft_world.h"

void world_fail(struct world *w, const char *format, ...)
{
    va_list args;
    if (w->failed)
        return;
    w->failed = true;
    va_start(args, format);
    vsnprintf(w->why, sizeof(w->why), format, args);
    va_end(args);
}

void world_say(struct world *w, uint32_t i, const char *format, ...)
{
    va_list args;
    if (!w->trace)
        return;
    printf("%8.3f s  n%u  ", (double)w->now_us / 1e6, i + 1);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

uint64_t world_chain(uint64_t before, uint64_t term, uint8_t type, const uint8_t *data,
                     uint32_t len)
{
    return hash_mix(hash_bytes(data, len, before + type) ^ hash_mix(term));
}

uint64_t world_chain_at(const struct world_disk *d, uint64_t index)
{
    ENSURE(index >= d->base_index);
    ENSURE(index <= d->last_index);
    return index == d->base_index ? d->base_chain : d->entry[index - d->base_index - 1].chain;
}

/* Log matching: same index and term on two disks means the same entries up to there. */
void check_stored(struct world *w, uint32_t i, uint64_t index, const struct world_entry *e)
{
    uint64_t at = hash_mix(index * 0x9e3779b97f4a7c15u + e->term);
    for (;; at++) {
        size_t k = at & (w->seen_cap - 1);
        if (w->seen[k].index == 0) {
            w->seen[k].index = index;
            w->seen[k].term = e->term;
            w->seen[k].chain = e->chain;
            return;
        }
        if (w->seen[k].index == index && w->seen[k].term == e->term) {
            if (w->seen[k].chain != e->chain)
                world_fail(w, "log matching: n%u differs at index %lu term %lu", i + 1, index,
                           e->term);
            return;
        }
    }
}

/* Committed entries are one history: the first to call an index committed sets what all others
 * must find there. */
static void check_commit(struct world *w, uint32_t i)
{
    const struct raft *r = &w->node[i].raft;
    if (r->commit >= WORLD_LOG) {
        world_fail(w, "the log is longer than the checkers");
        return;
    }
    for (uint64_t k = w->node[i].commit_seen + 1; k <= r->commit && !w->failed; k++) {
        struct raft_entry e;
        bool have = raft_entry_get(r, k, &e);
        uint64_t sum = have ? world_chain(0, e.term, e.type, e.data, e.len) : 0;
        if (k > w->committed) {
            if (!have)
                world_fail(w, "n%u calls index %lu committed without having it", i + 1, k);
            w->committed = k;
            w->committed_term[k] = e.term;
            w->committed_sum[k] = sum;
            w->committed_by[k] = r->term;
        } else if (have && w->committed_sum[k] != sum) {
            world_fail(w, "index %lu is committed twice: term %lu, and term %lu on n%u", k,
                       w->committed_term[k], e.term, i + 1);
        }
        if (r->term < w->committed_by[k])
            w->committed_by[k] = r->term;
    }
    w->node[i].commit_seen = r->commit;
}

/* Leader completeness (3.6.3): whoever leads has every entry that was committed in a term before
 * its own. (A leader of an old term may wake up late; it leads nobody.) */
static void check_leader(struct world *w, uint32_t i)
{
    const struct raft *r = &w->node[i].raft;
    if (r->term >= WORLD_TERMS) {
        world_fail(w, "too many terms");
        return;
    }
    if (w->term_leader[r->term] != 0 && w->term_leader[r->term] != w->node[i].num)
        world_fail(w, "two leaders in term %lu: n%lu and n%u", r->term, w->term_leader[r->term],
                   i + 1);
    w->term_leader[r->term] = w->node[i].num;
    for (uint64_t k = r->log.prev_index + 1; k <= w->committed && !w->failed; k++) {
        struct raft_entry e;
        if (w->committed_by[k] >= r->term)
            continue;
        if (!raft_entry_get(r, k, &e) || e.term != w->committed_term[k])
            world_fail(w, "n%u leads term %lu without the committed entry %lu", i + 1, r->term, k);
    }
}

void check_applied(struct world *w, uint32_t i, uint64_t index, uint64_t state)
{
    if (index >= WORLD_LOG)
        return;
    if (w->state_at[index] == 0)
        w->state_at[index] = state;
    if (w->state_at[index] != state)
        world_fail(w, "n%u has another state at index %lu", i + 1, index);
}

/* At most one may act, by the nodes' own clocks, at any real time. A lease begins at an event and
 * only ends with time, so to look after every event is enough. */
static void check_lease(struct world *w)
{
    int holder = -1;
    for (uint32_t k = 0; k < w->count; k++) {
        if (!w->node[k].up || !raft_lease(&w->node[k].raft, world_clock(w, k)))
            continue;
        w->leases++;
        if (holder >= 0 && !w->forced)
            world_fail(w, "n%d (term %lu) and n%u (term %lu) both hold the lease", holder + 1,
                       w->node[holder].raft.term, k + 1, w->node[k].raft.term);
        holder = (int)k;
    }
}

void check_after(struct world *w, uint32_t i)
{
    struct world_node *n = &w->node[i];
    const struct raft *r = &n->raft;
    if (r->role != n->role_seen || r->term != n->term_seen) {
        world_say(w, i, "%s, term %lu, log %lu, commit %lu", raft_role_str(r->role), r->term,
                  r->log.last_index, r->commit);
        w->elections += r->role == RAFT_LEADER;
        if (r->role == RAFT_LEADER)
            check_leader(w, i);
        n->role_seen = r->role;
        n->term_seen = r->term;
    }
    check_commit(w, i);
    check_lease(w);
}
