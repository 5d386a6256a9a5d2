/* SPDX-License-Identifier: Apache-2.0
 * Raft core: what a follower does with its leader's entries and snapshots. Nothing here trusts
 * a number in a message more than the log it can see. */
#include <string.h>

#include "gossip/raft_int.h"

static struct raft_msg *answer(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    struct raft_server to = {.num = m->from, .disk = m->from_disk};
    uint8_t type = m->type == RAFT_APPEND ? RAFT_APPEND_ANSWER : RAFT_SNAPSHOT_ANSWER;
    struct raft_msg *a = raft_put(r, out, type, &to);
    a->stamp = m->stamp;
    return a;
}

/* Gate for an answer that promises nothing but the term. */
static uint64_t hard_gate(const struct raft *r)
{
    if (r->hard_dirty)
        return r->writes_issued + 1;
    return r->hard_flying ? r->writes_issued : 0;
}

static void truncate(struct raft *r, uint64_t from)
{
    ENSURE(from > r->commit);
    if (from <= r->log.issued) {
        if (r->truncate_from == 0 || from < r->truncate_from)
            r->truncate_from = from;
        r->log.issued = from - 1;
    }
    raft_log_truncate(&r->log, from);
    if (r->config.index >= from && !MUTANT(19)) /* at most one is uncommitted: 4.1 and the guard */
        r->config = r->config_before;
}

/* The log does not hold (prev, log_term): where the leader should look next. Stepping over all
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
    struct raft_msg *a = answer(r, m, out);
    a->index = m->index;
    a->hint = hint;
    a->gate = hard_gate(r);
}

static bool holds_previous(const struct raft *r, const struct raft_msg *m)
{
    if (m->index <= r->commit)
        return true; /* committed: the same on every server (3.6.3) */
    return m->index <= r->log.last_index && raft_log_term(&r->log, m->index) == m->log_term;
}

/* Returns the index up to which the log now equals the leader's. */
static uint64_t take(struct raft *r, const struct raft_msg *m)
{
    uint64_t match = m->index;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index != match + 1 || e->term > m->term)
            return match;
        if (e->index > r->commit) {
            bool have = e->index <= r->log.last_index;
            bool same = have && (raft_log_term(&r->log, e->index) == e->term || MUTANT(8));
            if (have && !same) /* only on a conflict: a late duplicate must not cut (3.5) */
                truncate(r, e->index);
            if (!same && !raft_append(r, e))
                return match; /* the window is full: the leader sends the rest again */
        }
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
    if (MUTANT(6))
        match = r->log.last_index;
    uint64_t commit = m->commit < match || MUTANT(7) ? m->commit : match;
    if (commit > r->log.last_index)
        commit = r->log.last_index;
    if (commit > r->commit)
        r->commit = commit;
    uint64_t gate = raft_gate(r);
    if (gate > r->writes_done && match > r->log.durable) {
        /* A slow disk must not look like a dead follower: answer at once for what is stored. */
        struct raft_msg *a = answer(r, m, out);
        a->ok = true;
        a->index = r->log.durable < match ? r->log.durable : match;
        a->gate = hard_gate(r);
    }
    struct raft_msg *a = answer(r, m, out);
    a->ok = true;
    a->index = match;
    a->gate = match > r->log.durable ? gate : hard_gate(r);
    if (MUTANT(20))
        a->gate = 0;
}

/* ---- snapshot -------------------------------------------------------------------- */

static void answer_snapshot(struct raft *r, const struct raft_msg *m, uint64_t offset,
                            struct raft_out *out)
{
    struct raft_msg *a = answer(r, m, out);
    a->ok = true;
    a->index = m->index;
    a->offset = offset;
    a->total = m->total;
    a->gate = raft_gate(r);
}

void raft_follow_snapshot(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    if (m->index <= r->commit) { /* nothing in it that is not here */
        answer_snapshot(r, m, m->total, out);
        return;
    }
    if (r->snapshot_dirty || r->snapshot_flying)
        return; /* another one is being stored */
    bool other = r->in_from != m->from || r->in_index != m->index || r->in_total != m->total;
    if (m->offset == 0 || other) {
        r->in_from = m->from;
        r->in_from_disk = m->from_disk;
        r->in_index = m->index;
        r->in_term = m->log_term;
        r->in_total = m->total;
        r->in_offset = 0;
    }
    if (m->offset != r->in_offset || m->count > m->total - m->offset || m->total == 0) {
        answer_snapshot(r, m, r->in_offset, out);
        return;
    }
    out->incoming = (struct raft_incoming){.any = true,
                                           .complete = m->offset + m->count == m->total,
                                           .index = m->index,
                                           .term = m->log_term,
                                           .offset = m->offset,
                                           .total = m->total,
                                           .data = m->data,
                                           .len = m->count};
    r->in_offset += m->count;
    r->in_stamp = m->stamp;
    if (!out->incoming.complete)
        answer_snapshot(r, m, r->in_offset, out);
}

/* 5.2: what follows the snapshot in the log stays if the log holds its last entry; otherwise all
 * of the log goes, even a longer one: its suffix belongs to a history that lost. */
void raft_follow_restore(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    struct raft_msg m = {.type = RAFT_SNAPSHOT,
                         .from = r->in_from,
                         .from_disk = r->in_from_disk,
                         .index = in->index,
                         .total = r->in_total,
                         .stamp = r->in_stamp};
    if (in->count == 0 || in->index <= r->commit || r->snapshot_dirty || r->snapshot_flying) {
        r->in_offset = 0; /* begin again */
        r->in_index = 0;
        return;
    }
    bool keep = raft_log_term(&r->log, in->index) == in->term && in->index > r->log.prev_index;
    if (MUTANT(14))
        keep = keep || in->index < r->log.last_index;
    r->commit = in->index;
    if (!keep) {
        r->truncate_from = in->index + 1;
        raft_log_reset(&r->log, in->index, in->term);
        r->log.issued = in->index;
        r->log.durable = 0;
    }
    if (!keep || r->config.index <= in->index) {
        r->config = *in->config;
        r->config_before = *in->config;
    } else if (r->config_before.index <= in->index) {
        r->config_before = *in->config;
    }
    r->snapshot_dirty = true;
    r->snapshot_index = in->index;
    r->snapshot_term = in->term;
    r->in_offset = 0;
    r->in_index = 0;
    answer_snapshot(r, &m, m.total, out);
}
