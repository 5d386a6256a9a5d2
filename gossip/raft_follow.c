/* SPDX-License-Identifier: Apache-2.0
 * Raft core: what a follower does with its leader's entries and snapshots. Nothing here trusts
 * a number in a message more than the log it can see. */
#include "gossip/raft_int.h"

static struct raft_msg *answer(struct raft *r, uint64_t index, struct raft_out *out)
{
    struct raft_msg *a = raft_put(r, out, RAFT_APPEND_ANSWER, r->leader, r->leader_disk);
    a->index = index;
    return a;
}

/* Says how much of the leader's log is on this disk: at once, for a slow disk must not look like a
 * dead follower, and again after every write. */
void raft_follow_acknowledge(struct raft *r, struct raft_out *out)
{
    answer(r, least(r->matched, r->saved.last), out)->ok = true;
}

/* The log does not hold (index, log_term): where the leader should look next. Stepping over all
 * entries of the conflicting term saves round trips (3.5). */
static void refuse(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    uint64_t hint = least(r->log.last_index, m->index - 1), term = raft_term_of(r, m->index);
    while (hint > r->commit && raft_term_of(r, hint) == term)
        hint--;
    answer(r, m->index, out)->hint = hint;
}

void raft_follow_append(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    uint64_t match = m->index;
    if (m->type == RAFT_SNAPSHOT && m->index > r->commit) {
        if (!raft_is_restoring(r))
            out->snapshot = (struct raft_snapshot){
                .index = m->index, .term = m->log_term, .data = m->data, .len = m->count};
        raft_follow_acknowledge(r, out);
        return;
    }
    /* What is committed is the same on every server (3.6.3). */
    if (m->index > r->commit &&
        (m->index > r->log.last_index || raft_term_of(r, m->index) != m->log_term)) {
        refuse(r, m, out);
        return;
    }
    for (uint32_t i = 0; m->type == RAFT_APPEND && i < m->count; i++) {
        const struct raft_entry *e = &m->entries[i];
        bool have = e->index <= r->log.last_index;
        bool same = e->index <= r->commit || (have && raft_term_of(r, e->index) == e->term);
        if (e->index != match + 1 || e->term > m->term)
            break;
        if (have && !same) /* only on a conflict: a late duplicate must not cut (3.5) */
            raft_truncate(r, e->index);
        if (!same && !raft_append(r, e))
            break; /* the window is full: the leader sends the rest again */
        match = e->index;
    }
    r->matched = most(r->matched, match);
    r->commit = most(r->commit, least(m->commit, r->matched));
    raft_follow_acknowledge(r, out);
}

/* 5.2: what follows the snapshot in the log stays if the log holds its last entry; otherwise all
 * of the log goes, even a longer one: its suffix belongs to a history that lost. */
void raft_follow_restore(struct raft *r, const struct raft_input *in)
{
    bool keep = raft_term_of(r, in->index) == in->term;
    if (in->index <= r->commit || raft_is_restoring(r))
        return;
    if (!keep) {
        raft_log_begin(r, in->index, in->term);
        r->saved.last = r->saving.last = 0;
    }
    if (!keep || r->config.index <= in->index)
        r->config = *in->config;
    if (!keep || r->config_before.index <= in->index)
        r->config_before = *in->config;
    r->commit = r->snapshot_index = in->index;
    r->snapshot_term = in->term;
    r->matched = most(r->matched, in->index);
}
