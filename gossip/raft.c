/* SPDX-License-Identifier: Apache-2.0
 * Raft core: terms, time-outs, votes, what is on disk. Leading is raft_lead.c, following
 * raft_follow.c. Numbers in comments are sections of Ongaro's thesis. */
#include "gossip/raft.h"

#include <string.h>

#include "gossip/raft_int.h"

/* ---- time-outs --------------------------------------------------------------------- */

/* The turn of this voter: an order that all know, so that votes are seldom split. */
static uint64_t turn(struct raft *r, uint64_t step, uint64_t luck)
{
    uint64_t wait = prng_below(&r->rng, luck);
    for (uint32_t i = 0; i < r->config.count && r->config.server[i].num != r->self; i++)
        wait += r->config.server[i].voter && r->config.server[i].num != r->leader ? step : 0;
    return wait;
}

/* Silence alone is believed after 1.4 election time-outs: a starved machine is silent too. Who
 * does not vote has fewer heartbeats, and no hurry. */
static void await_leader(struct raft *r)
{
    uint64_t e = r->election_ms;
    r->due_ms = r->now_ms + e * 7 / 5 + turn(r, e / 4, e / 4);
    r->due_ms += raft_votes(r, &r->config) ? 0 : 2 * e;
}

/* A sign that the leader is dead: no sooner than stickiness allows. */
static void suspect(struct raft *r, uint64_t num)
{
    uint64_t e = r->election_ms, at = r->heard_ms + e + turn(r, e / 5, e / 20);
    if (r->role == RAFT_FOLLOWER && r->leader == num && num != 0)
        r->due_ms = least(r->due_ms, at);
}

/* ---- start ----------------------------------------------------------------------------- */

void raft_init(struct raft *r, uint64_t now_ms, const struct raft_options *o)
{
    ENSURE(o->self != 0 && o->heartbeat_ms > 0);
    ENSURE(o->arena_len >= 4 * RAFT_ENTRY_MAX);
    ENSURE(o->election_ms > 2 * o->heartbeat_ms);
    memset(r, 0, sizeof(*r));
    r->self = o->self;
    r->disk = o->disk;
    r->election_ms = o->election_ms;
    r->heartbeat_ms = o->heartbeat_ms;
    r->lease_ms = o->election_ms * 4 / 5; /* clocks are up to 10 % wrong: 0.8 < 0.9 / 1.1 */
    r->pause_ms = least(o->election_ms / 2, r->lease_ms - o->heartbeat_ms * 3 / 2);
    prng_seed(&r->rng, o->seed);
    r->term = o->term;
    r->vote = o->vote;
    r->now_ms = now_ms;
    r->log.arena = o->arena;
    r->log.cap = o->arena_len;
    raft_log_begin(r, o->base_index, o->base_term);
    r->saved.last = r->saving.last = o->base_index;
    r->log.applied = r->commit = o->applied_index;
    if (o->config != NULL)
        r->config = r->config_before = *o->config;
    /* It may have answered a leader just before it stopped: that leader's lease counts on it. */
    r->heard_ms = now_ms;
    await_leader(r);
}

bool raft_votes(const struct raft *r, const struct raft_config *c)
{
    const struct raft_server *s = raft_find(c, r->self);
    return s != NULL && s->disk == r->disk && s->voter;
}

/* ---- persistence ---------------------------------------------------------------------- */

/* Every message speaks for the term and the vote it was made with, so it waits for these. Of
 * entries none says more than what is on disk already. */
struct raft_msg *raft_put(struct raft *r, struct raft_out *out, uint8_t type, uint64_t to,
                          uint64_t to_disk)
{
    ENSURE(out->msg_count < RAFT_OUT_MSGS);
    struct raft_msg *m = &out->msg[out->msg_count++];
    *m = (struct raft_msg){.type = type,
                           .from = r->self,
                           .from_disk = r->disk,
                           .to = to,
                           .to_disk = to_disk,
                           .term = r->term,
                           .stamp = r->role == RAFT_LEADER ? r->now_ms : r->stamp,
                           .gate = r->hard};
    return m;
}

bool raft_persist_begin(struct raft *r, struct raft_persist *ret)
{
    struct raft_image all = {r->hard, r->log.last_index, r->snapshot_index};
    if (r->writing || memcmp(&all, &r->saving, sizeof(all)) == 0)
        return false;
    /* What a snapshot brings needs no entries. */
    *ret = (struct raft_persist){.term = r->term,
                                 .vote = r->vote,
                                 .snapshot = all.snapshot != r->saving.snapshot,
                                 .snapshot_index = r->snapshot_index,
                                 .snapshot_term = r->snapshot_term,
                                 .first = most(r->saving.last, r->snapshot_index) + 1,
                                 .last = r->log.last_index};
    r->saving = all;
    r->writing = true;
    return true;
}

void raft_persist_failed(struct raft *r)
{
    ENSURE(r->writing);
    r->saving = r->saved;
    r->writing = false;
}

bool raft_is_restoring(const struct raft *r)
{
    return r->snapshot_index != r->saved.snapshot;
}

uint64_t raft_apply_limit(const struct raft *r)
{
    /* The rows of a loaded snapshot go to disk before anything is applied on top of them. */
    return raft_is_restoring(r) ? 0 : least(r->commit, r->saved.last);
}

/* ---- elections ------------------------------------------------------------------- */

/* What the own server has counts as far as it is on disk, and only in configurations in which it
 * votes: a leader that is being removed does not count itself (4.2.2). */
uint64_t raft_quorum(const struct raft *r, const struct raft_config *c,
                     const struct raft_peer *peer, enum raft_of what)
{
    const uint64_t own[] = {r->hard == r->saved.hard, r->saved.last, r->now_ms};
    uint64_t sorted[RAFT_SERVERS_MAX]; /* greatest first */
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint64_t others[] = {peer[i].voted, peer[i].match, peer[i].stamp};
        uint64_t value = c->server[i].num == r->self ? own[what] : others[what];
        if (!c->server[i].voter)
            continue;
        uint32_t at = n++;
        for (; at > 0 && sorted[at - 1] < value; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = value;
    }
    return n == 0 ? 0 : sorted[n / 2];
}

/* From now on it speaks for this term and vote; nothing of that leaves before it is on disk. */
static void vow(struct raft *r, uint64_t term, uint64_t vote)
{
    r->matched = term > r->term ? 0 : r->matched;
    r->hard += term != r->term || vote != r->vote;
    r->term = term;
    r->vote = vote;
}

void raft_follow(struct raft *r, uint64_t term, uint64_t leader)
{
    ENSURE(term >= r->term);
    vow(r, term, term > r->term ? 0 : r->vote);
    r->leader = leader;
    r->role = RAFT_FOLLOWER;
    await_leader(r);
}

/* A server outside its newest configuration may still have to lead: if that configuration is not
 * known to be committed, perhaps no other server holds it, and then no other log is long enough
 * to win (4.2.2). */
static bool may_campaign(const struct raft *r)
{
    bool before = r->config.index > r->commit && raft_votes(r, &r->config_before);
    return !r->retired && (raft_votes(r, &r->config) || before);
}

/* First asks whether it would win (9.6), soon again if not; then in a new term, which costs all
 * voters a write, so patiently. */
static void campaign(struct raft *r, enum raft_role role, bool force, struct raft_out *out)
{
    bool pre = role == RAFT_PRECANDIDATE;
    uint64_t e = r->election_ms;
    r->role = role;
    r->leader = 0;
    memset(r->peer, 0, sizeof(r->peer));
    if (pre) {
        r->due_ms = r->now_ms + e / 4 + prng_below(&r->rng, e / 4);
    } else {
        vow(r, r->term + 1, r->self);
        await_leader(r);
        r->due_ms += turn(r, e / 2, e / 4); /* apart: votes that split once do not again */
    }
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_server *s = &r->config.server[i];
        if (!s->voter || s->num == r->self)
            continue;
        struct raft_msg *m = raft_put(r, out, RAFT_VOTE, s->num, s->disk);
        m->pre = pre;
        m->force = force;
        m->term = r->term + pre;
        m->index = r->log.last_index;
        m->log_term = raft_term_of(r, r->log.last_index);
    }
}

static void count_votes(struct raft *r, struct raft_out *out)
{
    bool won = raft_quorum(r, &r->config, r->peer, RAFT_OF_VOTE) != 0;
    if (won && r->role == RAFT_PRECANDIDATE)
        campaign(r, RAFT_CANDIDATE, false, out);
    else if (won && r->role == RAFT_CANDIDATE)
        raft_lead_start(r, out);
}

static struct raft_msg *answer(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    uint8_t type = m->type == RAFT_VOTE ? RAFT_VOTE_ANSWER : RAFT_APPEND_ANSWER;
    struct raft_msg *a = raft_put(r, out, type, m->from, m->from_disk);
    a->pre = m->pre;
    return a;
}

static void on_vote(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    uint64_t last = r->log.last_index, last_term = raft_term_of(r, last);
    /* 4.2.3: whoever hears a leader keeps to it for the shortest election time-out; the leader's
     * lease rests on this. A leader gives up by check-quorum alone. Not even the term is taken: a
     * server that was cut off or removed must not depose. */
    bool sticky = r->role == RAFT_LEADER || r->now_ms < r->heard_ms + r->election_ms;
    if (sticky && !m->force)
        return;
    if (m->term > r->term && !m->pre)
        raft_follow(r, m->term, 0);
    bool is_free = m->pre ? m->term > r->term : r->vote == 0 || r->vote == m->from;
    /* 3.6.1 */
    bool is_current = m->log_term > last_term || (m->log_term == last_term && m->index >= last);
    if (is_free && is_current && !m->pre) {
        vow(r, r->term, m->from);
        await_leader(r);
    }
    struct raft_msg *a = answer(r, m, out);
    a->ok = is_free && is_current;
    a->term = a->ok ? m->term : r->term;
}

/* ---- step ----------------------------------------------------------------------------- */

static void on_recv(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    bool answers = m->type == RAFT_VOTE_ANSWER || m->type == RAFT_APPEND_ANSWER;
    int i = raft_slot_of(&r->config, m->from);
    bool known = i >= 0 && r->config.server[i].disk == m->from_disk;
    if (m->to != r->self || m->to_disk != r->disk || m->from == r->self)
        return;
    /* A newer term makes a follower, save where that would let a candidate depose. */
    if (m->term > r->term && m->type != RAFT_VOTE && !(m->pre && m->ok))
        raft_follow(r, m->term, 0);
    if (m->term < r->term) {
        if (!answers) /* its term tells the sender that it is behind */
            (void)answer(r, m, out);
    } else if (m->type == RAFT_VOTE) {
        on_vote(r, m, out);
    } else if (m->type == RAFT_VOTE_ANSWER && known && m->ok && m->term == r->term + m->pre &&
               r->role == (m->pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE)) {
        r->peer[i].voted = true;
    } else if ((m->type == RAFT_APPEND || m->type == RAFT_SNAPSHOT) && r->role != RAFT_LEADER) {
        raft_follow(r, m->term, m->from);
        r->heard_ms = r->now_ms;
        r->leader_disk = m->from_disk;
        r->stamp = m->stamp;
        r->retired = false;
        raft_follow_append(r, m, out);
    } else if (m->type == RAFT_APPEND_ANSWER && known && r->role == RAFT_LEADER &&
               m->index <= r->log.last_index) {
        raft_lead_answer(r, (uint32_t)i, m, out);
    } else if (m->type == RAFT_TIMEOUT_NOW && r->role == RAFT_FOLLOWER && r->leader == m->from &&
               may_campaign(r)) {
        campaign(r, RAFT_CANDIDATE, true, out);
    }
}

static void on_tick(struct raft *r, struct raft_out *out)
{
    if (r->now_ms < r->due_ms)
        return;
    if (r->role == RAFT_LEADER) {
        raft_lead_tick(r, out);
    } else if (may_campaign(r)) {
        campaign(r, RAFT_PRECANDIDATE, false, out);
    } else {
        raft_follow(r, r->term, 0);           /* the leader was not heard of for so long */
        r->due_ms = r->now_ms + RAFT_REST_MS; /* whoever gives it a vote is heard of first */
    }
}

static void on_persisted(struct raft *r, struct raft_out *out)
{
    ENSURE(r->writing);
    r->saved = r->saving;
    r->writing = false;
    r->log.applied = most(r->log.applied, r->saved.snapshot);
    if (r->role == RAFT_LEADER)
        raft_lead_commit(r, out);
    else if (r->leader != 0)
        raft_follow_acknowledge(r, out);
}

void raft_step(struct raft *r, uint64_t now_ms, const struct raft_input *in, struct raft_out *out)
{
    ENSURE(now_ms >= r->now_ms);
    r->now_ms = now_ms;
    memset(out, 0, offsetof(struct raft_out, msg));
    switch (in->type) {
    case RAFT_TICK:
        on_tick(r, out);
        break;
    case RAFT_RECV:
        on_recv(r, in->msg, out);
        break;
    case RAFT_PERSISTED:
        on_persisted(r, out);
        break;
    case RAFT_APPLIED:
        r->log.applied = most(r->log.applied, in->index);
        break;
    case RAFT_RESTORE:
        raft_follow_restore(r, in);
        break;
    case RAFT_RETIRE:
        r->retired = r->role != RAFT_LEADER;
        if (r->retired)
            raft_follow(r, r->term, r->leader);
        break;
    case RAFT_SUSPECT:
        suspect(r, in->num);
        break;
    case RAFT_PROPOSE:
    case RAFT_ALTER:
    case RAFT_TRANSFER:
    case RAFT_SUPPLY:
        raft_lead_input(r, in, out);
        break;
    }
    count_votes(r, out);
    ENSURE(r->log.applied <= r->commit && r->saving.last <= r->log.last_index);
}
