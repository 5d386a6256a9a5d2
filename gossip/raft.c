/* SPDX-License-Identifier: Apache-2.0
 * Raft core: terms, time-outs, votes, what is on disk. Leading is raft_lead.c, following
 * raft_follow.c. Numbers in comments are sections of Ongaro's thesis. */
#include "gossip/raft.h"

#include <string.h>

#include "gossip/raft_int.h"

const char *raft_role_str(enum raft_role role)
{
    static const char *const names[] = {"follower", "precandidate", "candidate", "leader"};
    ENSURE(role <= RAFT_LEADER);
    return names[role];
}

/* ---- time-outs --------------------------------------------------------------------- */

/* How many voters stand for election before this one: an order that all know, so that votes are
 * seldom split. */
static uint64_t rank(const struct raft *r)
{
    uint64_t before = 0;
    for (uint32_t i = 0; i < r->config.count && r->config.server[i].num != r->self; i++)
        before += r->config.server[i].voter && r->config.server[i].num != r->leader;
    return before;
}

/* Silence alone is believed after 1.4 election time-outs: a starved machine is silent too. */
static void await_leader(struct raft *r)
{
    uint64_t e = r->election_ms;
    r->election_at = r->now_ms + e * 7 / 5 + rank(r) * e / 4 + prng_below(&r->rng, e / 4);
    if (!raft_is_voter(r))
        r->election_at += 2 * e; /* it has fewer heartbeats, and no hurry */
}

/* A sign that the leader is dead: no sooner than stickiness allows. */
static void suspect(struct raft *r, uint64_t num)
{
    uint64_t e = r->election_ms;
    uint64_t at = r->heard_ms + e + rank(r) * e / 5 + prng_below(&r->rng, e / 20);
    if (r->role == RAFT_FOLLOWER && r->leader == num && num != 0 && at < r->election_at)
        r->election_at = at;
}

/* 4.2.3: whoever hears a leader keeps to it for the shortest election time-out; the leader's
 * lease rests on this. A leader gives up by check-quorum alone. */
static bool is_sticky(const struct raft *r)
{
    return r->role == RAFT_LEADER || r->now_ms < r->heard_ms + r->election_ms;
}

uint64_t raft_deadline(const struct raft *r)
{
    return r->role == RAFT_LEADER ? r->heartbeat_at : r->election_at;
}

/* ---- start ----------------------------------------------------------------------------- */

void raft_init(struct raft *r, uint64_t now_ms, const struct raft_options *o)
{
    ENSURE(o->self != 0);
    ENSURE(o->heartbeat_ms > 0);
    ENSURE(o->election_ms > 2 * o->heartbeat_ms);
    memset(r, 0, sizeof(*r));
    r->self = o->self;
    r->disk = o->disk;
    r->election_ms = o->election_ms;
    r->heartbeat_ms = o->heartbeat_ms;
    prng_seed(&r->rng, o->seed);
    r->term = o->term;
    r->vote = o->vote;
    r->now_ms = now_ms;
    raft_log_init(&r->log, o->arena, o->arena_len);
    raft_log_reset(&r->log, o->base_index, o->base_term);
    r->log.durable = r->log.issued = o->base_index;
    r->log.applied = r->commit = o->applied_index;
    if (o->config != NULL)
        r->config = r->config_before = *o->config;
    /* It may have answered a leader just before it stopped: that leader's lease counts on it. */
    r->heard_ms = now_ms;
    await_leader(r);
}

int raft_restore_entry(struct raft *r, const struct raft_entry *entry)
{
    if (entry->index != r->log.last_index + 1 ||
        entry->term < raft_log_term(&r->log, entry->index - 1) || !raft_append(r, entry))
        return ERR_CORRUPT;
    r->log.durable = r->log.issued = entry->index;
    return 0;
}

bool raft_append(struct raft *r, const struct raft_entry *entry)
{
    struct raft_config c;
    bool config = entry->type == RAFT_CONFIG && entry->index > r->config.index;
    if (config && raft_config_decode(entry->data, entry->len, &c) < 0)
        return false;
    if (!raft_log_append(&r->log, entry))
        return false;
    if (config) { /* in force as soon as it is in the log (4.1) */
        c.index = entry->index;
        r->config_before = r->config;
        r->config = c;
    }
    return true;
}

bool raft_entry_get(const struct raft *r, uint64_t index, struct raft_entry *ret)
{
    return raft_log_get(&r->log, index, ret);
}

bool raft_is_voter(const struct raft *r)
{
    return raft_votes_in(&r->config, r->self, r->disk);
}

/* ---- persistence ---------------------------------------------------------------------- */

/* The write after which term and vote are on disk. */
static uint64_t hard_gate(const struct raft *r)
{
    return r->dirty.hard ? r->writes_issued + 1 : r->flying.hard ? r->writes_issued : 0;
}

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
                           .gate = hard_gate(r)};
    return m;
}

bool raft_persist_begin(struct raft *r, struct raft_persist *ret)
{
    if (r->writing || !(r->dirty.hard || r->dirty.snapshot || r->dirty.truncate_from != 0 ||
                        r->log.issued < r->log.last_index))
        return false;
    *ret = (struct raft_persist){.hard = r->dirty.hard,
                                 .term = r->term,
                                 .vote = r->vote,
                                 .snapshot = r->dirty.snapshot,
                                 .snapshot_index = r->snapshot_index,
                                 .snapshot_term = r->snapshot_term,
                                 .truncate_from = r->dirty.truncate_from,
                                 .first = r->log.issued + 1,
                                 .last = r->log.last_index};
    r->writing = true;
    r->writes_issued++;
    r->flying = r->dirty;
    r->dirty = (struct raft_unsaved){0};
    r->log.issued = r->log.last_index;
    return true;
}

void raft_persist_failed(struct raft *r)
{
    ENSURE(r->writing);
    /* Whatever the disk holds beyond what is known to be right is written anew. */
    uint64_t sure = r->log.durable > r->log.prev_index ? r->log.durable : r->log.prev_index;
    if (r->log.issued > sure)
        r->log.issued = sure;
    if (r->dirty.truncate_from == 0 || r->dirty.truncate_from > sure + 1)
        r->dirty.truncate_from = sure + 1;
    r->dirty.hard = r->dirty.hard || r->flying.hard;
    r->dirty.snapshot = r->dirty.snapshot || r->flying.snapshot;
    r->flying = (struct raft_unsaved){0};
    r->writing = false;
}

uint64_t raft_persist_done(const struct raft *r)
{
    return r->writes_done;
}

bool raft_is_restoring(const struct raft *r)
{
    return r->dirty.snapshot || r->flying.snapshot;
}

uint64_t raft_apply_limit(const struct raft *r)
{
    uint64_t limit = r->commit < r->log.durable ? r->commit : r->log.durable;
    /* The rows of a loaded snapshot go to disk before anything is applied on top of them. */
    return raft_is_restoring(r) && limit > r->snapshot_index ? r->snapshot_index : limit;
}

static void count_votes(struct raft *r, struct raft_out *out);

static void on_persisted(struct raft *r, struct raft_out *out)
{
    ENSURE(r->writing);
    bool hard = r->flying.hard;
    if (r->flying.snapshot)
        r->log.applied = r->snapshot_index;
    r->writing = false;
    r->flying = (struct raft_unsaved){0};
    r->writes_done = r->writes_issued;
    /* While a snapshot that replaces the log waits for its own write, what the disk holds is
     * still the old log. */
    if (!r->dirty.snapshot)
        r->log.durable = r->log.issued;
    if (r->role == RAFT_LEADER)
        raft_lead_commit(r, out);
    else if (r->role == RAFT_CANDIDATE && hard)
        count_votes(r, out);
    else if (r->leader != 0)
        raft_follow_acknowledge(r, out);
}

/* ---- elections ------------------------------------------------------------------- */

void raft_follow(struct raft *r, uint64_t term, uint64_t leader)
{
    ENSURE(term >= r->term);
    if (term > r->term) {
        r->term = term;
        r->vote = 0;
        r->matched = 0;
        r->dirty.hard = true;
    }
    bool was_follower = r->role == RAFT_FOLLOWER;
    r->role = RAFT_FOLLOWER;
    r->leader = leader;
    r->transfer_to = 0;
    r->transfer_sent = false;
    if (!was_follower)
        await_leader(r);
}

static bool is_up_to_date(const struct raft *r, const struct raft_msg *m) /* 3.6.1 */
{
    uint64_t last_term = raft_log_term(&r->log, r->log.last_index);
    return m->log_term > last_term || (m->log_term == last_term && m->index >= r->log.last_index);
}

/* A server outside its newest configuration may still have to lead: if that configuration is not
 * known to be committed, perhaps no other server holds it, and then no other log is long enough
 * to win (4.2.2). */
static bool may_campaign(const struct raft *r)
{
    bool before = r->config.index > r->commit && raft_votes_in(&r->config_before, r->self, r->disk);
    return !r->retired && (raft_is_voter(r) || before);
}

/* First asks whether it would win (9.6), soon again if not; then in a new term, which costs all
 * voters a write, so patiently. */
static void campaign(struct raft *r, enum raft_role role, struct raft_out *out)
{
    bool pre = role == RAFT_PRECANDIDATE;
    uint64_t e = r->election_ms;
    r->role = role;
    r->leader = 0;
    memset(r->voted, 0, sizeof(r->voted));
    if (pre) {
        r->forced = false;
        r->election_at = r->now_ms + e / 4 + prng_below(&r->rng, e / 4);
    } else {
        r->term++;
        r->vote = r->self;
        r->matched = 0;
        r->dirty.hard = true;
        await_leader(r);
        r->election_at += prng_below(&r->rng, e);
    }
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_server *s = &r->config.server[i];
        if (!s->voter || s->num == r->self)
            continue;
        struct raft_msg *m = raft_put(r, out, RAFT_VOTE, s->num, s->disk);
        m->pre = pre;
        m->term = r->term + pre;
        m->index = r->log.last_index;
        m->log_term = raft_log_term(&r->log, r->log.last_index);
        m->force = r->forced;
    }
    count_votes(r, out);
}

static void count_votes(struct raft *r, struct raft_out *out)
{
    uint32_t yes = 0;
    int self = raft_slot_of(&r->config, r->self);
    if (self >= 0 && hard_gate(r) <= r->writes_done) /* its own vote too only once on disk */
        r->voted[self] = true;
    for (uint32_t i = 0; i < r->config.count; i++)
        yes += r->config.server[i].voter && r->voted[i];
    if (yes <= raft_voter_count(&r->config) / 2)
        return;
    if (r->role == RAFT_PRECANDIDATE)
        campaign(r, RAFT_CANDIDATE, out);
    else
        raft_lead_start(r, out);
}

static struct raft_msg *answer(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    uint8_t type = m->type == RAFT_VOTE ? RAFT_VOTE_ANSWER : RAFT_APPEND_ANSWER;
    struct raft_msg *a = raft_put(r, out, type, m->from, m->from_disk);
    a->pre = m->type == RAFT_VOTE && m->pre;
    return a;
}

static void on_vote(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    bool sticky = is_sticky(r) && !m->force;
    if (sticky && !m->pre)
        return; /* not even the term: a server that was cut off or removed must not depose */
    if (m->term > r->term && !m->pre)
        raft_follow(r, m->term, 0);
    bool is_free = r->role == RAFT_FOLLOWER && (r->vote == 0 || r->vote == m->from);
    bool ok = m->pre ? !sticky && m->term > r->term : m->term == r->term && is_free;
    ok = ok && is_up_to_date(r, m);
    if (ok && !m->pre) {
        r->dirty.hard = r->dirty.hard || r->vote != m->from;
        r->vote = m->from;
        await_leader(r);
    }
    struct raft_msg *a = answer(r, m, out);
    a->ok = ok;
    a->term = ok ? m->term : r->term;
}

static void on_vote_answer(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, m->from);
    enum raft_role role = m->pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE;
    if (i < 0 || r->config.server[i].disk != m->from_disk || !m->ok || r->role != role ||
        m->term != r->term + m->pre)
        return;
    r->voted[i] = true;
    count_votes(r, out);
}

/* ---- step ----------------------------------------------------------------------------- */

static void on_leader(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    if (r->role == RAFT_LEADER)
        return; /* two leaders of one term: impossible unless bytes lie */
    raft_follow(r, m->term, m->from);
    await_leader(r);
    r->heard_ms = r->now_ms;
    r->leader_disk = m->from_disk;
    r->stamp = m->stamp;
    r->retired = false;
    if (m->type == RAFT_APPEND)
        raft_follow_append(r, m, out);
    else
        raft_follow_snapshot(r, m, out);
}

static void on_recv(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    bool answers = m->type == RAFT_VOTE_ANSWER || m->type == RAFT_APPEND_ANSWER;
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
    } else if (m->type == RAFT_VOTE_ANSWER) {
        on_vote_answer(r, m, out);
    } else if (m->type == RAFT_APPEND || m->type == RAFT_SNAPSHOT) {
        on_leader(r, m, out);
    } else if (m->type == RAFT_APPEND_ANSWER && r->role == RAFT_LEADER) {
        raft_lead_answer(r, m, out);
    } else if (m->type == RAFT_TIMEOUT_NOW && r->role == RAFT_FOLLOWER && r->leader == m->from &&
               may_campaign(r)) {
        r->forced = true;
        campaign(r, RAFT_CANDIDATE, out);
    }
}

static void on_tick(struct raft *r, struct raft_out *out)
{
    if (r->role == RAFT_LEADER) {
        raft_lead_tick(r, out);
    } else if (r->now_ms >= r->election_at && may_campaign(r)) {
        campaign(r, RAFT_PRECANDIDATE, out);
    } else if (r->now_ms >= r->election_at) {
        r->role = RAFT_FOLLOWER;
        r->leader = 0; /* not heard of for so long */
        await_leader(r);
    }
}

void raft_step(struct raft *r, uint64_t now_ms, const struct raft_input *in, struct raft_out *out)
{
    ENSURE(now_ms >= r->now_ms);
    r->now_ms = now_ms;
    out->err = 0;
    out->index = 0;
    out->msg_count = out->entry_count = out->snapshot_for = 0;
    out->snapshot.index = 0;
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
        ENSURE(in->index <= r->commit);
        if (in->index > r->log.applied)
            r->log.applied = in->index;
        break;
    case RAFT_COMPACT:
        (void)raft_log_compact(&r->log, in->index);
        break;
    case RAFT_RESTORE:
        raft_follow_restore(r, in);
        break;
    case RAFT_RETIRE:
        if (r->role != RAFT_LEADER) {
            raft_follow(r, r->term, r->leader);
            r->retired = true;
        }
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
    ENSURE(r->log.applied <= r->commit);
    ENSURE(r->log.issued <= r->log.last_index);
}
