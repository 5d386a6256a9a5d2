/* SPDX-License-Identifier: Apache-2.0
 * Raft core: what a leader does: replicate, commit, keep its lease, change the configuration,
 * hand over. */
#include <string.h>

#include "gossip/raft_int.h"

#define RESERVE 64u /* slots that proposals leave free, for no-ops and configurations */

/* ---- quorums --------------------------------------------------------------------- */

/* The greatest value that a majority of voters has reached; self_value is the leader's own, which
 * counts only if it is a voter (a leader that is being removed is not: 4.2.2). */
static uint64_t quorum_value(const struct raft *r, uint64_t self_value, bool stamps)
{
    uint64_t v[RAFT_SERVERS_MAX];
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_server *s = &r->config.server[i];
        if (!s->voter && !MUTANT(17))
            continue;
        uint64_t value = stamps ? r->peer[i].stamp : r->peer[i].match;
        if (s->num == r->self)
            value = self_value;
        uint32_t at = n++;
        for (; at > 0 && v[at - 1] < value; at--)
            v[at] = v[at - 1];
        v[at] = value;
    }
    return n == 0 ? 0 : v[n / 2];
}

/* Each clock may run up to 10 % fast or slow: 0.8 < 0.9 / 1.1. */
uint64_t raft_lease_ms(const struct raft *r)
{
    return r->election_ms * 4 / 5;
}

bool raft_lease(const struct raft *r, uint64_t now_ms)
{
    if (r->role != RAFT_LEADER || (r->transfer_sent && !MUTANT(9)))
        return false;
    uint64_t stamp = quorum_value(r, now_ms, true);
    return stamp > 0 && now_ms < stamp + raft_lease_ms(r);
}

static void advance_commit(struct raft *r)
{
    uint64_t own = MUTANT(15) ? r->log.last_index : r->log.durable;
    uint64_t index = quorum_value(r, own, false);
    if (index <= r->commit || index > r->log.last_index)
        return;
    /* Only an entry of the own term commits by counting (3.6.2, figure 3.7). */
    if (raft_log_term(&r->log, index) == r->term || MUTANT(3))
        r->commit = index;
}

/* ---- replication --------------------------------------------------------------------- */

static void put_append(struct raft *r, uint32_t i, uint64_t prev, uint64_t prev_term,
                       const struct raft_entry *entries, uint32_t count, struct raft_out *out)
{
    struct raft_msg *m = raft_put(r, out, RAFT_APPEND, &r->config.server[i]);
    m->index = prev;
    m->log_term = prev_term;
    m->commit = r->commit;
    m->stamp = r->now_ms;
    m->entries = entries;
    m->count = count;
}

static void sent_entries(struct raft *r, struct raft_peer *p, uint32_t count)
{
    if (p->state == RAFT_PIPELINE)
        p->next += count;
    else
        p->waiting = true;
    p->sent_ms = r->now_ms;
}

static void want(struct raft *r, uint32_t i, bool snapshot, struct raft_out *out)
{
    const struct raft_peer *p = &r->peer[i];
    for (uint32_t k = 0; k < out->want_count; k++)
        if (out->want[k].num == r->config.server[i].num)
            return;
    out->want[out->want_count++] =
        (struct raft_want){.num = r->config.server[i].num,
                           .snapshot = snapshot,
                           .index = snapshot ? p->snapshot_index : p->next - 1,
                           .offset = p->snapshot_offset};
}

/* One append with what comes next for server i. False: nothing (more) to send. */
static bool send_next(struct raft *r, uint32_t i, struct raft_out *out)
{
    struct raft_peer *p = &r->peer[i];
    uint64_t prev = p->next - 1;
    if (p->waiting || (p->state == RAFT_PIPELINE && prev >= p->match + RAFT_AHEAD))
        return false;
    if (p->state != RAFT_SNAPSHOTTING && prev < r->log.prev_index && prev < r->log.base_index) {
        p->state = RAFT_SNAPSHOTTING;
        p->snapshot_index = p->snapshot_offset = 0;
    }
    if (p->state == RAFT_SNAPSHOTTING || prev < r->log.prev_index) {
        want(r, i, p->state == RAFT_SNAPSHOTTING, out);
        return false;
    }
    if (p->state == RAFT_PIPELINE && prev >= r->log.last_index)
        return false;
    struct raft_entry *entries = &out->entry[out->entry_count];
    uint32_t count = 0, bytes = 0;
    for (uint64_t k = p->next; k <= r->log.last_index && count < RAFT_BATCH; k++, count++) {
        if (out->entry_count + count >= RAFT_OUT_ENTRIES)
            break;
        ENSURE(raft_log_get(&r->log, k, &entries[count]));
        bytes += entries[count].len;
        if (count > 0 && bytes > RAFT_BATCH_BYTES)
            break;
    }
    out->entry_count += count;
    put_append(r, i, prev, raft_log_term(&r->log, prev), entries, count, out);
    sent_entries(r, p, count);
    return count > 0 && p->state == RAFT_PIPELINE;
}

static void replicate(struct raft *r, struct raft_out *out)
{
    for (uint32_t i = 0; i < r->config.count; i++)
        if (r->config.server[i].num != r->self && send_next(r, i, out))
            (void)send_next(r, i, out);
}

/* Whoever got nothing else this time gets an empty append: it carries the stamp of the lease. */
static void heartbeat(struct raft *r, struct raft_out *out)
{
    r->heartbeat_at = r->now_ms + r->heartbeat_ms;
    for (uint32_t i = 0; i < r->config.count; i++) {
        struct raft_peer *p = &r->peer[i];
        uint32_t before = out->msg_count;
        if (r->config.server[i].num == r->self)
            continue;
        uint64_t patience = p->state == RAFT_SNAPSHOTTING ? r->election_ms : r->heartbeat_ms;
        if (p->waiting && r->now_ms >= p->sent_ms + patience)
            p->waiting = false; /* lost, perhaps */
        /* What was sent and lost shows when an append with what precedes is refused; but a server
         * behind the window gets none with entries of the disk missing in between. */
        if (p->state == RAFT_PIPELINE && p->next > p->match + 1 &&
            r->now_ms >= p->sent_ms + r->election_ms) {
            p->state = RAFT_PROBE;
            p->next = p->match + 1;
        }
        (void)send_next(r, i, out);
        if (out->msg_count > before)
            continue;
        uint64_t prev = p->next - 1;
        /* What precedes is not in memory: claim nothing, index 0 matches every log. */
        if (p->state == RAFT_SNAPSHOTTING || prev < r->log.prev_index)
            prev = 0;
        put_append(r, i, prev, prev == 0 ? 0 : raft_log_term(&r->log, prev), NULL, 0, out);
    }
}

void raft_lead_start(struct raft *r, struct raft_out *out)
{
    ENSURE(r->role == RAFT_CANDIDATE);
    r->role = RAFT_LEADER;
    r->leader = r->self;
    r->forced = false;
    r->lead_ms = r->now_ms;
    r->transfer_to = 0;
    r->transfer_sent = false;
    for (uint32_t i = 0; i < RAFT_SERVERS_MAX; i++)
        r->peer[i] = (struct raft_peer){.state = RAFT_PROBE, .next = r->log.last_index + 1};
    /* 6.4: nothing of earlier terms is committed before this entry is. */
    struct raft_entry noop = {
        .index = r->log.last_index + 1, .term = r->term, .type = RAFT_NOOP, .data = NULL};
    if (!raft_append(r, &noop)) {
        raft_follow(r, r->term, 0);
        return;
    }
    r->term_start = noop.index;
    heartbeat(r, out);
}

void raft_lead_commit(struct raft *r, struct raft_out *out)
{
    advance_commit(r);
    if (r->config.index <= r->commit && !raft_is_voter(r)) { /* 4.2.2: removed, and that is done */
        heartbeat(r, out);
        raft_follow(r, r->term, 0);
    }
}

void raft_lead_tick(struct raft *r, struct raft_out *out)
{
    uint64_t stamp = quorum_value(r, r->now_ms, true);
    if (stamp < r->lead_ms)
        stamp = r->lead_ms;
    if (r->now_ms >= stamp + 2 * r->election_ms) { /* check-quorum (6.2) */
        raft_follow(r, r->term, 0);
        return;
    }
    if (r->transfer_to != 0 && r->now_ms >= r->transfer_at) {
        /* Once the order was sent the lease is gone for this term: the target may act on it at
         * any time. Leading on without a lease would help nobody. */
        if (r->transfer_sent) {
            raft_follow(r, r->term, 0);
            return;
        }
        r->transfer_to = 0;
    }
    if (r->now_ms >= r->heartbeat_at)
        heartbeat(r, out);
}

/* ---- answers ---------------------------------------------------------------------------- */

static void on_append_answer(struct raft *r, struct raft_peer *p, const struct raft_msg *m)
{
    if (m->index > r->log.last_index)
        return;
    if (m->ok) {
        bool probe_hit = p->state == RAFT_PROBE && m->index + 1 >= p->next;
        if (m->index > p->match)
            p->match = m->index;
        if (p->next <= p->match)
            p->next = p->match + 1;
        if (probe_hit || (p->state == RAFT_SNAPSHOTTING && p->match >= r->log.base_index)) {
            p->state = p->state == RAFT_PROBE ? RAFT_PIPELINE : RAFT_PROBE;
            p->next = p->match + 1;
            p->waiting = false;
        }
        return;
    }
    bool stale = m->index <= p->match || (p->state == RAFT_PROBE && m->index + 1 != p->next);
    if (stale || p->state == RAFT_SNAPSHOTTING)
        return;
    uint64_t next = m->hint < m->index ? m->hint + 1 : m->index;
    p->state = RAFT_PROBE;
    p->next = next > p->match ? next : p->match + 1;
    p->waiting = false;
}

static void on_snapshot_answer(struct raft_peer *p, const struct raft_msg *m)
{
    if (p->state != RAFT_SNAPSHOTTING || m->index != p->snapshot_index || !m->ok)
        return;
    p->waiting = false;
    p->snapshot_offset = m->offset;
    if (m->total == 0 || m->offset < m->total)
        return;
    if (m->index > p->match)
        p->match = m->index;
    p->state = RAFT_PROBE;
    p->next = p->match + 1;
}

static void hand_over(struct raft *r, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, r->transfer_to);
    if (r->transfer_to == 0 || i < 0 || r->transfer_sent)
        return;
    if (r->peer[i].match != r->log.last_index)
        return;
    r->transfer_sent = true; /* and with it the lease ends */
    raft_put(r, out, RAFT_TIMEOUT_NOW, &r->config.server[i]);
}

void raft_lead_answer(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, m->from);
    if (i < 0 || r->config.server[i].disk != m->from_disk)
        return;
    struct raft_peer *p = &r->peer[i];
    if (m->stamp > p->stamp && m->stamp <= r->now_ms)
        p->stamp = MUTANT(11) ? r->now_ms : m->stamp;
    if (m->type == RAFT_APPEND_ANSWER)
        on_append_answer(r, p, m);
    else
        on_snapshot_answer(p, m);
    raft_lead_commit(r, out);
    if (r->role != RAFT_LEADER)
        return;
    hand_over(r, out);
    if (send_next(r, (uint32_t)i, out))
        (void)send_next(r, (uint32_t)i, out);
}

/* ---- requests of the shell ----------------------------------------------------------------- */

static void propose(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    for (uint32_t i = 0; i < in->count && out->err == 0; i++) {
        struct raft_entry e = in->entries[i];
        uint64_t kept = r->log.applied < r->log.durable ? r->log.applied : r->log.durable;
        e.index = r->log.last_index + 1;
        e.term = r->term;
        e.type = RAFT_COMMAND;
        if (e.len > RAFT_COMMAND_MAX)
            out->err = ERR_TOOBIG;
        else if (r->log.last_index - kept >= RAFT_WINDOW - RESERVE || !raft_append(r, &e))
            out->err = ERR_BUSY;
        else
            out->index = e.index;
    }
    replicate(r, out);
}

bool raft_may_change(const struct raft *r)
{
    if (r->role != RAFT_LEADER || r->transfer_to != 0)
        return false;
    if (MUTANT(4))
        return true;
    /* One at a time (4.1), and none before an entry of this term is committed: without that, two
     * leaders may each change the same base and form disjoint majorities (Ongaro, raft-dev,
     * July 2015). */
    return r->commit >= r->config.index && r->commit >= r->term_start;
}

static int changed(const struct raft_config *from, const struct raft_input *in,
                   struct raft_config *ret)
{
    int i = raft_slot_of(from, in->server->num);
    *ret = *from;
    if (in->change == RAFT_ADD_LEARNER) {
        if (i >= 0)
            return ERR_EXISTS;
        if (from->count == RAFT_SERVERS_MAX)
            return ERR_FULL;
        ret->server[ret->count] = *in->server;
        ret->server[ret->count++].voter = false;
        return 0;
    }
    if (i < 0 || from->server[i].disk != in->server->disk)
        return ERR_NOTFOUND;
    if (in->change == RAFT_REMOVE) {
        ret->count--;
        memmove(&ret->server[i], &ret->server[i + 1],
                (ret->count - (uint32_t)i) * sizeof(ret->server[0]));
    } else {
        if (from->server[i].voter == (in->change == RAFT_PROMOTE))
            return ERR_EXISTS;
        ret->server[i].voter = in->change == RAFT_PROMOTE;
    }
    return raft_voter_count(ret) == 0 ? ERR_BADPARAM : 0;
}

static void change(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    struct raft_config to, from = r->config;
    struct raft_peer before[RAFT_SERVERS_MAX];
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    struct wbuf w;
    out->err = raft_may_change(r) ? changed(&from, in, &to) : ERR_BUSY;
    if (out->err < 0)
        return;
    wbuf_init(&w, bytes, sizeof(bytes));
    raft_config_encode(&to, &w);
    ENSURE(!w.bad);
    struct raft_entry e = {.index = r->log.last_index + 1,
                           .term = r->term,
                           .type = RAFT_CONFIG,
                           .len = (uint32_t)w.len,
                           .data = bytes};
    if (!raft_append(r, &e)) {
        out->err = ERR_BUSY;
        return;
    }
    out->index = e.index;
    memcpy(before, r->peer, sizeof(before));
    for (uint32_t i = 0; i < r->config.count; i++) {
        int old = raft_slot_of(&from, r->config.server[i].num);
        r->peer[i] =
            old >= 0 ? before[old] : (struct raft_peer){.state = RAFT_PROBE, .next = e.index};
    }
    replicate(r, out);
    raft_lead_commit(r, out);
}

static void transfer(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    int best = -1;
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_server *s = &r->config.server[i];
        if (!s->voter || s->num == r->self || (in->num != 0 && s->num != in->num))
            continue;
        if (in->num == 0 && r->now_ms > r->peer[i].stamp + r->election_ms)
            continue; /* silent */
        if (best < 0 || r->peer[i].match > r->peer[best].match)
            best = (int)i;
    }
    if (best < 0) {
        out->err = ERR_NOTFOUND;
        return;
    }
    r->transfer_to = r->config.server[best].num;
    r->transfer_at = r->now_ms + r->election_ms;
    hand_over(r, out);
}

static void on_read(struct raft *r, const struct raft_input *in, uint32_t i, struct raft_out *out)
{
    struct raft_peer *p = &r->peer[i];
    if (p->state == RAFT_SNAPSHOTTING || p->waiting || p->next != in->index + 1)
        return;
    uint32_t count = 0, bytes = 0;
    for (; count < in->count && count < RAFT_BATCH; count++) {
        if (in->entries[count].index != p->next + count)
            return;
        bytes += in->entries[count].len;
        if (count > 0 && bytes > RAFT_BATCH_BYTES)
            break;
    }
    put_append(r, i, in->index, in->term, in->entries, count, out);
    sent_entries(r, p, count);
}

static void on_chunk(struct raft *r, const struct raft_input *in, uint32_t i, struct raft_out *out)
{
    struct raft_peer *p = &r->peer[i];
    if (p->state != RAFT_SNAPSHOTTING || in->total == 0)
        return;
    p->snapshot_index = in->index;
    p->snapshot_offset = in->offset;
    p->waiting = true;
    p->sent_ms = r->now_ms;
    struct raft_msg *m = raft_put(r, out, RAFT_SNAPSHOT, &r->config.server[i]);
    m->index = in->index;
    m->log_term = in->term;
    m->offset = in->offset;
    m->total = in->total;
    m->data = in->data;
    m->count = in->count;
    m->stamp = r->now_ms;
}

void raft_lead_input(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, in->num);
    if (r->role != RAFT_LEADER) {
        out->err = ERR_NOTLEADER;
    } else if (in->type == RAFT_READ || in->type == RAFT_CHUNK) {
        if (i < 0)
            out->err = ERR_NOTFOUND;
        else if (in->type == RAFT_READ)
            on_read(r, in, (uint32_t)i, out);
        else
            on_chunk(r, in, (uint32_t)i, out);
    } else if (r->transfer_to != 0) {
        out->err = ERR_BUSY;
    } else if (in->type == RAFT_PROPOSE) {
        propose(r, in, out);
    } else if (in->type == RAFT_CHANGE) {
        change(r, in, out);
    } else {
        transfer(r, in, out);
    }
}
