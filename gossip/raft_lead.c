/* SPDX-License-Identifier: Apache-2.0
 * Raft core: what a leader does: replicate, commit, keep its lease, change the configuration,
 * hand over. */
#include <string.h>

#include "gossip/raft_int.h"

#define RESERVE 64u      /* slots that proposals leave free, for no-ops and configurations */
#define LEARNER_BEATS 5u /* who does not vote gets every fifth heartbeat */

/* ---- quorums --------------------------------------------------------------------- */

enum of_peer { MATCH, STAMP };

/* What a majority of c's voters has stored, or until when it had answered; own is the leader's,
 * which counts only if it is a voter itself: one that is being removed is not (4.2.2). */
static uint64_t quorum(const struct raft *r, const struct raft_config *c, enum of_peer what,
                       uint64_t own)
{
    uint64_t value[RAFT_SERVERS_MAX] = {0};
    for (uint32_t i = 0; i < c->count; i++) {
        int at = raft_slot_of(&r->config, c->server[i].num);
        if (c->server[i].num == r->self)
            value[i] = own;
        else if (at >= 0)
            value[i] = what == STAMP ? r->peer[at].stamp : r->peer[at].match;
    }
    return raft_quorum(c, value);
}

/* Each clock may run up to 10 % fast or slow: 0.8 < 0.9 / 1.1. */
uint64_t raft_lease_ms(const struct raft *r)
{
    return r->election_ms * 4 / 5;
}

bool raft_lease(const struct raft *r, uint64_t now_ms)
{
    if (r->role != RAFT_LEADER || r->transfer_sent)
        return false;
    uint64_t stamp = quorum(r, &r->config, STAMP, now_ms);
    return stamp > 0 && now_ms < stamp + raft_lease_ms(r);
}

/* ---- replication --------------------------------------------------------------------- */

static void put_append(struct raft *r, uint32_t i, uint64_t prev, uint32_t count,
                       struct raft_out *out)
{
    const struct raft_server *to = &r->config.server[i];
    struct raft_msg *m = raft_put(r, out, RAFT_APPEND, to->num, to->disk);
    m->index = prev < r->log.prev_index ? 0 : prev; /* not in memory: 0 matches every log */
    m->log_term = raft_log_term(&r->log, m->index);
    m->commit = r->commit;
    m->stamp = r->now_ms;
    m->entries = &out->entry[out->entry_count];
    m->count = count;
    out->entry_count += count;
}

/* Puts what comes next for server i, if now is the time: entries, an empty probe, or the wish for
 * a snapshot. */
static void send_next(struct raft *r, uint32_t i, struct raft_out *out)
{
    struct raft_peer *p = &r->peer[i];
    uint64_t prev = p->next - 1;
    if (r->config.server[i].num == r->self || p->state == RAFT_WAIT || p->state == RAFT_LOAD)
        return;
    if (prev < r->log.prev_index) {
        out->snapshot_for |= UINT32_C(1) << i;
        return;
    }
    if (p->state == RAFT_PIPELINE && (prev == r->log.last_index || prev >= p->match + RAFT_AHEAD))
        return;
    uint32_t count = 0, bytes = 0;
    while (count < RAFT_BATCH && out->entry_count + count < RAFT_OUT_ENTRIES) {
        struct raft_entry *e = &out->entry[out->entry_count + count];
        if (!raft_log_get(&r->log, p->next + count, e))
            break;
        bytes += e->len;
        if (count > 0 && bytes > RAFT_BATCH_BYTES)
            break;
        count++;
    }
    put_append(r, i, prev, count, out);
    p->next += count;
    p->moved_ms = r->now_ms;
    if (p->state == RAFT_PROBE) {
        p->state = RAFT_WAIT;
        p->probe = prev;
    }
}

static void supply(struct raft *r, const struct raft_input *in, uint32_t i, struct raft_out *out)
{
    struct raft_peer *p = &r->peer[i];
    const struct raft_server *to = &r->config.server[i];
    if (p->state == RAFT_WAIT || p->state == RAFT_LOAD || p->next > r->log.prev_index ||
        in->index < r->log.prev_index || in->index > r->log.applied)
        return;
    struct raft_msg *m = raft_put(r, out, RAFT_SNAPSHOT, to->num, to->disk);
    m->index = in->index;
    m->log_term = in->term;
    m->stamp = r->now_ms;
    m->data = in->data;
    m->count = in->count;
    p->state = RAFT_LOAD;
    p->probe = in->index;
    p->next = in->index + 1;
    p->moved_ms = r->now_ms;
}

/* What got no answer for long was lost, perhaps. */
static void look_again(const struct raft *r, struct raft_peer *p)
{
    uint64_t patience = p->state == RAFT_LOAD ? 4 * r->election_ms : 2 * r->heartbeat_ms;
    if (p->state == RAFT_PROBE || r->now_ms < p->moved_ms + patience)
        return;
    if (p->state != RAFT_PIPELINE)
        p->next = p->probe + 1;
    else if (p->next > p->match + 1)
        p->next = p->match + 1;
    else
        return;
    p->state = RAFT_PROBE;
}

static void replicate(struct raft *r, struct raft_out *out)
{
    for (uint32_t i = 0; i < r->config.count; i++)
        send_next(r, i, out);
}

/* Nothing is new since the last heartbeat, and all voters have answered it: it need not be followed
 * by another before half an election time-out, if there is time then to repeat one that gets lost
 * before the lease ends. */
static bool is_at_rest(const struct raft *r)
{
    for (uint32_t i = 0; i < r->config.count; i++)
        if (r->config.server[i].voter && r->config.server[i].num != r->self &&
            (r->peer[i].stamp < r->beat_ms || r->peer[i].match < r->log.last_index))
            return false;
    return r->commit == r->log.last_index && r->beat_commit == r->commit && r->transfer_to == 0 &&
           r->now_ms + r->heartbeat_ms <= r->beat_ms + r->election_ms / 2;
}

/* Whoever gets nothing else gets an empty append: it carries the stamp of the lease, and claims
 * nothing that the other has not confirmed, so it may overtake entries that are on their way. */
static void heartbeat(struct raft *r, bool voters, struct raft_out *out)
{
    bool learners = r->beats++ % LEARNER_BEATS == 0;
    r->heartbeat_at = r->now_ms + r->heartbeat_ms;
    if (voters) {
        r->beat_ms = r->now_ms;
        r->beat_commit = r->commit;
    }
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_server *s = &r->config.server[i];
        uint32_t before = out->msg_count;
        look_again(r, &r->peer[i]);
        send_next(r, i, out);
        if (s->num != r->self && out->msg_count == before && (s->voter ? voters : learners))
            put_append(r, i, r->peer[i].match, 0, out);
    }
}

void raft_lead_start(struct raft *r, struct raft_out *out)
{
    ENSURE(r->role == RAFT_CANDIDATE);
    /* 6.4: nothing of earlier terms is committed before this entry is. */
    struct raft_entry noop = {
        .index = r->log.last_index + 1, .term = r->term, .type = RAFT_NOOP, .data = NULL};
    for (uint32_t i = 0; i < RAFT_SERVERS_MAX; i++)
        r->peer[i] = (struct raft_peer){.next = noop.index};
    if (!raft_append(r, &noop)) {
        raft_follow(r, r->term, 0);
        return;
    }
    r->role = RAFT_LEADER;
    r->leader = r->self;
    r->lead_ms = r->now_ms;
    r->term_start = noop.index;
    heartbeat(r, true, out);
}

void raft_lead_commit(struct raft *r, struct raft_out *out)
{
    uint64_t index = quorum(r, &r->config, MATCH, r->log.durable);
    /* Only an entry of the own term commits by counting (3.6.2, figure 3.7). */
    if (index > r->commit && raft_log_term(&r->log, index) == r->term)
        r->commit = index;
    if (r->config.index <= r->commit && !raft_is_voter(r)) { /* 4.2.2: removed, and that is done */
        heartbeat(r, true, out);
        raft_follow(r, r->term, 0);
    }
}

void raft_lead_tick(struct raft *r, struct raft_out *out)
{
    uint64_t stamp = quorum(r, &r->config, STAMP, r->now_ms);
    uint64_t heard_ms = stamp > r->lead_ms ? stamp : r->lead_ms;
    bool alone = r->now_ms >= heard_ms + 2 * r->election_ms; /* check-quorum (6.2) */
    bool expired = r->transfer_to != 0 && r->now_ms >= r->transfer_at;
    /* Once the order was sent the lease is gone for this term: the target may act on it at any
     * time. Leading on without a lease would help nobody. */
    if (alone || (expired && r->transfer_sent)) {
        raft_follow(r, r->term, 0);
        return;
    }
    if (expired)
        r->transfer_to = 0;
    if (r->now_ms >= r->heartbeat_at)
        heartbeat(r, !is_at_rest(r), out);
}

/* ---- answers ---------------------------------------------------------------------------- */

static void hand_over(struct raft *r, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, r->transfer_to);
    if (r->transfer_sent || i < 0 || r->peer[i].match != r->log.last_index)
        return;
    r->transfer_sent = true; /* and with it the lease ends */
    (void)raft_put(r, out, RAFT_TIMEOUT_NOW, r->transfer_to, r->config.server[i].disk);
}

void raft_lead_answer(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, m->from);
    if (i < 0 || r->config.server[i].disk != m->from_disk || m->index > r->log.last_index)
        return;
    struct raft_peer *p = &r->peer[i];
    bool waits = p->state == RAFT_WAIT || p->state == RAFT_LOAD;
    if (m->stamp > p->stamp && m->stamp <= r->now_ms)
        p->stamp = m->stamp;
    if (m->ok) {
        if (waits && m->index >= p->probe)
            p->state = RAFT_PIPELINE;
        if (m->index > p->match) {
            p->match = m->index;
            p->moved_ms = r->now_ms;
        }
        if (p->next <= p->match)
            p->next = p->match + 1;
    } else if (m->index > p->match && (waits ? m->index == p->probe : p->state == RAFT_PIPELINE)) {
        uint64_t next = m->hint < m->index ? m->hint + 1 : m->index;
        p->next = next > p->match ? next : p->match + 1;
        p->state = RAFT_PROBE;
    }
    raft_lead_commit(r, out);
    if (r->role != RAFT_LEADER)
        return;
    hand_over(r, out);
    send_next(r, (uint32_t)i, out);
}

/* ---- requests of the shell ----------------------------------------------------------------- */

static int append_own(struct raft *r, uint8_t type, const uint8_t *data, uint32_t len,
                      struct raft_out *out)
{
    struct raft_entry e = {
        .index = r->log.last_index + 1, .term = r->term, .type = type, .len = len, .data = data};
    if (!raft_append(r, &e))
        return ERR_BUSY;
    out->index = e.index;
    return 0;
}

static void propose(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    for (uint32_t i = 0; i < in->count && out->err == 0; i++) {
        const struct raft_entry *e = &in->entries[i];
        uint64_t kept = r->log.applied < r->log.durable ? r->log.applied : r->log.durable;
        if (e->len > RAFT_COMMAND_MAX)
            out->err = ERR_TOOBIG;
        else if (r->log.last_index - kept >= RAFT_WINDOW - RESERVE)
            out->err = ERR_BUSY;
        else
            out->err = append_own(r, RAFT_COMMAND, e->data, e->len, out);
    }
    replicate(r, out);
}

bool raft_may_change(const struct raft *r)
{
    /* One at a time (4.1), and none before an entry of this term is committed: without that, two
     * leaders may each change the same base and form disjoint majorities (Ongaro, raft-dev,
     * July 2015). */
    return r->role == RAFT_LEADER && r->transfer_to == 0 && r->commit >= r->config.index &&
           r->commit >= r->term_start;
}

/* The servers that the new configuration needs must be there and have what is committed: they
 * answered what was sent after the change was decided. One that lost its disk just before does
 * not, for it is another server now; in the smaller configuration it could be missing for ever. */
static bool is_carried(const struct raft *r, const struct raft_config *to, uint64_t since)
{
    return quorum(r, to, STAMP, r->now_ms) >= since && since > 0 &&
           quorum(r, to, MATCH, r->log.durable) >= r->commit;
}

static void alter(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    struct raft_config to, from = r->config;
    struct raft_peer before[RAFT_SERVERS_MAX];
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    struct wbuf w;
    out->err = raft_config_change(&from, in->change, in->server, &to);
    if (out->err == 0 && !raft_may_change(r))
        out->err = ERR_BUSY;
    if (out->err == 0 && !is_carried(r, &to, in->since)) {
        out->err = ERR_BUSY;
        heartbeat(r, true, out); /* soon they will have answered */
    }
    if (out->err < 0)
        return;
    wbuf_init(&w, bytes, sizeof(bytes));
    raft_config_encode(&to, &w);
    ENSURE(!w.bad);
    out->err = append_own(r, RAFT_CONFIG, bytes, (uint32_t)w.len, out);
    if (out->err < 0)
        return;
    memcpy(before, r->peer, sizeof(before));
    for (uint32_t i = 0; i < r->config.count; i++) {
        int old = raft_slot_of(&from, r->config.server[i].num);
        r->peer[i] = old >= 0 ? before[old] : (struct raft_peer){.next = out->index};
    }
    replicate(r, out);
    raft_lead_commit(r, out);
}

static void transfer(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    int best = -1;
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_server *s = &r->config.server[i];
        bool silent = r->now_ms > r->peer[i].stamp + r->election_ms;
        if (!s->voter || s->num == r->self || (in->num == 0 ? silent : s->num != in->num))
            continue;
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

void raft_lead_input(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, in->num);
    if (r->role != RAFT_LEADER)
        out->err = ERR_NOTLEADER;
    else if (in->type == RAFT_SUPPLY && i >= 0)
        supply(r, in, (uint32_t)i, out);
    else if (in->type == RAFT_SUPPLY)
        out->err = ERR_NOTFOUND;
    else if (r->transfer_to != 0)
        out->err = ERR_BUSY;
    else if (in->type == RAFT_PROPOSE)
        propose(r, in, out);
    else if (in->type == RAFT_ALTER)
        alter(r, in, out);
    else
        transfer(r, in, out);
}
