/* SPDX-License-Identifier: Apache-2.0
 * Raft core: what a follower does with its leader's entries and snapshots. Nothing here trusts
 * a number in a message more than the log it can see. */
#include "gossip/raft_int.h"

static struct raft_msg *answer(struct raft *r, uint64_t index, struct raft_out *out)
{
    struct raft_msg *a = raft_put(r, out, RAFT_APPEND_ANSWER, r->leader, r->leader_disk);
    a->index = index;
    a->stamp = r->stamp;
    return a;
}

/* Says how much of the leader's log is on this disk: at once, for a slow disk must not look like a
 * dead follower, and again after every write. */
void raft_follow_acknowledge(struct raft *r, struct raft_out *out)
{
    uint64_t stored = r->matched < r->log.durable ? r->matched : r->log.durable;
    answer(r, stored, out)->ok = true;
}

/* The log does not hold (index, log_term): where the leader should look next. Stepping over all
 * entries of the conflicting term saves round trips (3.5). */
static void refuse(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    uint64_t hint = r->log.last_index;
    if (m->index <= hint) {
        hint = m->index - 1;
        uint64_t term = raft_log_term(&r->log, m->index);
        while (hint > r->commit && raft_log_term(&r->log, hint) == term)
            hint--;
    }
    answer(r, m->index, out)->hint = hint;
}

static bool holds_previous(const struct raft *r, const struct raft_msg *m)
{
    if (m->index <= r->commit)
        return true; /* committed: the same on every server (3.6.3) */
    return m->index <= r->log.last_index && raft_log_term(&r->log, m->index) == m->log_term;
}

static void truncate(struct raft *r, uint64_t from)
{
    ENSURE(from > r->commit);
    if (from <= r->log.issued) {
        if (r->dirty.truncate_from == 0 || from < r->dirty.truncate_from)
            r->dirty.truncate_from = from;
        r->log.issued = from - 1;
    }
    raft_log_truncate(&r->log, from);
    if (r->config.index >= from) /* at most one is uncommitted: 4.1 and the guard */
        r->config = r->config_before;
}

/* Returns the index up to which the log now equals the leader's. */
static uint64_t take(struct raft *r, const struct raft_msg *m)
{
    uint64_t match = m->index;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index != match + 1 || e->term > m->term)
            return match;
        bool have = e->index <= r->log.last_index;
        bool same = e->index <= r->commit || (have && raft_log_term(&r->log, e->index) == e->term);
        if (have && !same) /* only on a conflict: a late duplicate must not cut (3.5) */
            truncate(r, e->index);
        if (!same && !raft_append(r, e))
            return match; /* the window is full: the leader sends the rest again */
        match = e->index;
    }
    return match;
}

void raft_follow_append(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    if (!holds_previous(r, m)) {
        refuse(r, m, out);
        return;
    }
    uint64_t match = take(r, m);
    if (match > r->matched)
        r->matched = match;
    uint64_t commit = m->commit < r->matched ? m->commit : r->matched;
    if (commit > r->commit)
        r->commit = commit;
    raft_follow_acknowledge(r, out);
}

void raft_follow_snapshot(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    if (m->index <= r->commit) { /* nothing in it that is not here */
        if (m->index > r->matched)
            r->matched = m->index;
    } else if (!raft_is_restoring(r)) {
        out->snapshot = (struct raft_snapshot){
            .index = m->index, .term = m->log_term, .data = m->data, .len = m->count};
    }
    raft_follow_acknowledge(r, out);
}

/* 5.2: what follows the snapshot in the log stays if the log holds its last entry; otherwise all
 * of the log goes, even a longer one: its suffix belongs to a history that lost. */
void raft_follow_restore(struct raft *r, const struct raft_input *in)
{
    if (in->index <= r->commit || raft_is_restoring(r))
        return;
    bool keep = in->index > r->log.prev_index && raft_log_term(&r->log, in->index) == in->term;
    r->commit = in->index;
    if (in->index > r->matched)
        r->matched = in->index;
    if (!keep) {
        r->dirty.truncate_from = in->index + 1;
        raft_log_reset(&r->log, in->index, in->term);
        r->log.issued = in->index;
        r->log.durable = 0;
    }
    if (!keep || r->config.index <= in->index)
        r->config = r->config_before = *in->config;
    else if (r->config_before.index <= in->index)
        r->config_before = *in->config;
    r->dirty.snapshot = true;
    r->snapshot_index = in->index;
    r->snapshot_term = in->term;
}
