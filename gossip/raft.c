/* SPDX-License-Identifier: Apache-2.0
 * Raft core: time, terms, votes, persistence. Leading is raft_lead.c, following raft_follow.c.
 * Numbers in comments are sections of Ongaro's thesis. Over 500 lines, for terms, votes and what is
 * on disk are one argument and are best read together. */
#include "gossip/raft.h"

#include <string.h>

#include "gossip/raft_int.h"

static void draw_election(struct raft *r)
{
    r->election_at = r->now_ms + r->election_ms + prng_below(&r->rng, r->election_ms);
}

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
    raft_log_reset(&r->log, o->applied_index, o->applied_term);
    r->log.base_index = o->base_index;
    r->log.base_term = o->base_term;
    r->log.applied = o->applied_index;
    r->log.durable = o->applied_index;
    r->log.issued = o->applied_index;
    r->commit = o->applied_index;
    if (o->config != NULL)
        r->config = *o->config;
    r->config_before = r->config;
    /* It may have answered a leader just before it stopped: that leader's lease counts on it. */
    r->heard_ms = now_ms;
    draw_election(r);
    if (MUTANT(16))
        r->heard_ms = 0;
}

int raft_restore_entry(struct raft *r, const struct raft_entry *entry)
{
    if (entry->index != r->log.last_index + 1 ||
        entry->term < raft_log_term(&r->log, entry->index - 1))
        return ERR_CORRUPT;
    if (!raft_append(r, entry))
        return ERR_CORRUPT;
    r->log.durable = entry->index;
    r->log.issued = entry->index;
    return 0;
}

/* ---- small parts ------------------------------------------------------------- */

int raft_slot_of(const struct raft_config *c, uint64_t num)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->server[i].num == num)
            return (int)i;
    return -1;
}

const struct raft_server *raft_find(const struct raft_config *c, uint64_t num)
{
    int i = raft_slot_of(c, num);
    return i < 0 ? NULL : &c->server[i];
}

uint32_t raft_voter_count(const struct raft_config *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->count; i++)
        n += c->server[i].voter;
    return n;
}

static bool votes_in(const struct raft *r, const struct raft_config *c)
{
    const struct raft_server *s = raft_find(c, r->self);
    return s != NULL && s->voter && s->disk == r->disk;
}

bool raft_is_voter(const struct raft *r)
{
    return votes_in(r, &r->config);
}

struct raft_msg *raft_put(struct raft *r, struct raft_out *out, uint8_t type,
                          const struct raft_server *to)
{
    ENSURE(out->msg_count < RAFT_OUT_MSGS);
    struct raft_msg *m = &out->msg[out->msg_count++];
    *m = (struct raft_msg){.type = type,
                           .from = r->self,
                           .from_disk = r->disk,
                           .to = to->num,
                           .to_disk = to->disk,
                           .term = r->term};
    return m;
}

static struct raft_msg *put_answer(struct raft *r, struct raft_out *out, uint8_t type,
                                   const struct raft_msg *m)
{
    return raft_put(r, out, type, &(struct raft_server){.num = m->from, .disk = m->from_disk});
}

bool raft_append(struct raft *r, const struct raft_entry *entry)
{
    struct raft_config c;
    if (entry->type == RAFT_CONFIG && raft_config_decode(entry->data, entry->len, &c) < 0)
        return false;
    if (!raft_log_append(&r->log, entry))
        return false;
    if (entry->type == RAFT_CONFIG) { /* in force as soon as it is in the log (4.1) */
        c.index = entry->index;
        r->config_before = r->config;
        r->config = c;
    }
    return true;
}

/* ---- persistence ---------------------------------------------------------------- */

static bool is_dirty(const struct raft *r)
{
    return r->hard_dirty || r->snapshot_dirty || r->truncate_from != 0 ||
           r->log.issued < r->log.last_index;
}

/* The write after which all of the present state is on disk. */
uint64_t raft_gate(const struct raft *r)
{
    return is_dirty(r) ? r->writes_issued + 1 : r->writes_issued;
}

bool raft_persist_begin(struct raft *r, struct raft_persist *ret)
{
    if (r->write_flying || !is_dirty(r))
        return false;
    *ret = (struct raft_persist){.hard = r->hard_dirty,
                                 .term = r->term,
                                 .vote = r->vote,
                                 .snapshot = r->snapshot_dirty,
                                 .snapshot_index = r->snapshot_index,
                                 .snapshot_term = r->snapshot_term,
                                 .truncate_from = r->truncate_from,
                                 .first = r->log.issued + 1,
                                 .last = r->log.last_index};
    r->write_flying = true;
    r->writes_issued++;
    r->hard_flying = r->hard_dirty;
    r->snapshot_flying = r->snapshot_dirty;
    r->hard_dirty = false;
    r->snapshot_dirty = false;
    r->truncate_from = 0;
    r->log.issued = r->log.last_index;
    return true;
}

void raft_persist_failed(struct raft *r)
{
    ENSURE(r->write_flying);
    r->write_flying = false;
    r->hard_dirty = r->hard_dirty || r->hard_flying;
    r->snapshot_dirty = r->snapshot_dirty || r->snapshot_flying;
    r->hard_flying = r->snapshot_flying = false;
    /* Whatever the disk holds beyond what is known to be right is written anew. */
    uint64_t sure = r->log.durable > r->log.prev_index ? r->log.durable : r->log.prev_index;
    if (r->log.issued > sure)
        r->log.issued = sure;
    if (r->truncate_from == 0 || r->truncate_from > sure + 1)
        r->truncate_from = sure + 1;
}

uint64_t raft_persist_done(const struct raft *r)
{
    return r->writes_done;
}

uint64_t raft_apply_limit(const struct raft *r)
{
    uint64_t limit = r->commit < r->log.durable ? r->commit : r->log.durable;
    /* The rows of a loaded snapshot go to disk before anything is applied on top of them. */
    if ((r->snapshot_dirty || r->snapshot_flying) && limit > r->snapshot_index)
        limit = r->snapshot_index;
    return limit;
}

bool raft_entry_get(const struct raft *r, uint64_t index, struct raft_entry *ret)
{
    return raft_log_get(&r->log, index, ret);
}

/* ---- elections ------------------------------------------------------------------- */

void raft_follow(struct raft *r, uint64_t term, uint64_t leader)
{
    ENSURE(term >= r->term);
    if (term > r->term) {
        r->term = term;
        r->vote = MUTANT(18) ? r->vote : 0;
        r->hard_dirty = true;
    }
    if (r->role != RAFT_FOLLOWER)
        draw_election(r);
    r->role = RAFT_FOLLOWER;
    r->leader = leader;
    r->transfer_to = 0;
    r->transfer_sent = false;
}

/* 4.2.3: whoever hears a leader keeps to it for the shortest election time-out; the leader's
 * lease rests on this. A leader gives up by check-quorum alone. */
static bool is_sticky(const struct raft *r)
{
    if (MUTANT(10))
        return false;
    return r->role == RAFT_LEADER || r->now_ms < r->heard_ms + r->election_ms;
}

static bool is_up_to_date(const struct raft *r, const struct raft_msg *m) /* 3.6.1 */
{
    uint64_t last_term = raft_log_term(&r->log, r->log.last_index);
    if (MUTANT(2))
        return true;
    return m->log_term > last_term || (m->log_term == last_term && m->index >= r->log.last_index);
}

/* A server outside its newest configuration may still have to lead: if that configuration is not
 * known to be committed, perhaps no other server holds it, and then no other log is long enough
 * to win (4.2.2). */
static bool may_campaign(const struct raft *r)
{
    if (r->retired)
        return false;
    if (raft_is_voter(r))
        return true;
    return !MUTANT(13) && r->config.index > r->commit && votes_in(r, &r->config_before);
}

static void count_votes(struct raft *r, struct raft_out *out);

static void ask_votes(struct raft *r, uint8_t type, struct raft_out *out)
{
    uint64_t gate = type == RAFT_VOTE && !MUTANT(1) ? raft_gate(r) : 0;
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_server *s = &r->config.server[i];
        r->voted[i] = false;
        if (!s->voter || s->num == r->self)
            continue;
        struct raft_msg *m = raft_put(r, out, type, s);
        m->term = type == RAFT_PREVOTE ? r->term + 1 : r->term;
        m->index = r->log.last_index;
        m->log_term = raft_log_term(&r->log, r->log.last_index);
        m->force = r->forced;
        m->gate = gate;
    }
}

static void campaign(struct raft *r, enum raft_role role, struct raft_out *out)
{
    int self = raft_slot_of(&r->config, r->self);
    r->role = role;
    r->leader = 0;
    draw_election(r);
    if (role == RAFT_CANDIDATE) {
        r->term++;
        r->vote = r->self;
        r->hard_dirty = true;
        r->self_vote_gate = raft_gate(r); /* own vote too counts only once it is on disk */
        ask_votes(r, RAFT_VOTE, out);
        return;
    }
    r->forced = false;
    ask_votes(r, RAFT_PREVOTE, out); /* 9.6 */
    if (self >= 0)
        r->voted[self] = true;
    count_votes(r, out);
}

static void count_votes(struct raft *r, struct raft_out *out)
{
    uint32_t yes = 0;
    for (uint32_t i = 0; i < r->config.count; i++)
        yes += r->config.server[i].voter && r->voted[i];
    uint32_t need = raft_voter_count(&r->config) / 2 + (MUTANT(12) ? 0 : 1);
    if (yes < need)
        return;
    if (r->role == RAFT_PRECANDIDATE)
        campaign(r, RAFT_CANDIDATE, out);
    else if (r->role == RAFT_CANDIDATE)
        raft_lead_start(r, out);
}

static void on_persisted(struct raft *r, struct raft_out *out)
{
    ENSURE(r->write_flying);
    r->write_flying = false;
    r->hard_flying = false;
    r->writes_done = r->writes_issued;
    if (r->snapshot_flying) {
        r->snapshot_flying = false;
        r->log.base_index = r->log.applied = r->snapshot_index;
        r->log.base_term = r->snapshot_term;
    }
    /* While a snapshot that replaces the log waits for its own write, what the disk holds is
     * still the old log. */
    if (!r->snapshot_dirty)
        r->log.durable = r->log.issued;
    if (r->role == RAFT_CANDIDATE && r->writes_done >= r->self_vote_gate) {
        int self = raft_slot_of(&r->config, r->self);
        if (self >= 0)
            r->voted[self] = true;
        count_votes(r, out);
    }
    if (r->role == RAFT_LEADER)
        raft_lead_commit(r, out);
}

/* ---- votes -------------------------------------------------------------------------- */

static void on_prevote(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    bool ok = m->term > r->term && !is_sticky(r) && is_up_to_date(r, m);
    struct raft_msg *a = put_answer(r, out, RAFT_PREVOTE_ANSWER, m);
    a->ok = ok;
    a->term = ok ? m->term : r->term;
}

static void on_vote(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    if (is_sticky(r) && !m->force)
        return; /* not even the term: a server that was cut off or removed must not depose */
    if (m->term > r->term)
        raft_follow(r, m->term, 0);
    bool free_vote = r->vote == 0 || r->vote == m->from || MUTANT(5);
    bool ok = m->term == r->term && r->role == RAFT_FOLLOWER && free_vote && is_up_to_date(r, m);
    if (ok && r->vote != m->from) {
        r->vote = m->from;
        r->hard_dirty = true;
    }
    if (ok)
        draw_election(r);
    struct raft_msg *a = put_answer(r, out, RAFT_VOTE_ANSWER, m);
    a->ok = ok;
    a->gate = MUTANT(1) ? 0 : raft_gate(r);
}

static void on_vote_answer(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, m->from);
    bool pre = m->type == RAFT_PREVOTE_ANSWER;
    if (i < 0 || r->config.server[i].disk != m->from_disk || !m->ok)
        return;
    if (r->role != (pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE))
        return;
    if (m->term != (pre ? r->term + 1 : r->term))
        return;
    r->voted[i] = true;
    count_votes(r, out);
}

static void on_timeout_now(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    if (m->term != r->term || r->role != RAFT_FOLLOWER || r->leader != m->from || !may_campaign(r))
        return;
    r->forced = true;
    campaign(r, RAFT_CANDIDATE, out);
}

/* ---- step ----------------------------------------------------------------------------- */

/* A message of a newer term makes a follower, save where that would let a candidate depose. */
static void adopt_term(struct raft *r, const struct raft_msg *m)
{
    if (m->term <= r->term || m->type == RAFT_PREVOTE || m->type == RAFT_VOTE)
        return;
    if (m->type == RAFT_PREVOTE_ANSWER && m->ok)
        return;
    raft_follow(r, m->term, 0);
}

static void on_stale(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    uint8_t answer = 0;
    if (m->type == RAFT_APPEND)
        answer = RAFT_APPEND_ANSWER;
    else if (m->type == RAFT_SNAPSHOT)
        answer = RAFT_SNAPSHOT_ANSWER;
    else if (m->type == RAFT_VOTE)
        answer = RAFT_VOTE_ANSWER;
    if (answer != 0) /* its term tells the sender that it is behind */
        put_answer(r, out, answer, m)->gate = raft_gate(r);
}

static void on_recv(struct raft *r, const struct raft_msg *m, struct raft_out *out)
{
    if (m->to != r->self || m->to_disk != r->disk || m->from == r->self)
        return;
    adopt_term(r, m);
    if (m->term < r->term && m->type != RAFT_PREVOTE) {
        on_stale(r, m, out);
        return;
    }
    switch (m->type) {
    case RAFT_PREVOTE:
        on_prevote(r, m, out);
        break;
    case RAFT_VOTE:
        on_vote(r, m, out);
        break;
    case RAFT_PREVOTE_ANSWER:
    case RAFT_VOTE_ANSWER:
        on_vote_answer(r, m, out);
        break;
    case RAFT_APPEND:
    case RAFT_SNAPSHOT:
        if (r->role == RAFT_LEADER)
            return; /* two leaders of one term: impossible unless bytes lie */
        raft_follow(r, m->term, m->from);
        draw_election(r);
        r->heard_ms = r->now_ms;
        r->retired = false;
        if (m->type == RAFT_APPEND)
            raft_follow_append(r, m, out);
        else
            raft_follow_snapshot(r, m, out);
        break;
    case RAFT_APPEND_ANSWER:
    case RAFT_SNAPSHOT_ANSWER:
        if (r->role == RAFT_LEADER)
            raft_lead_answer(r, m, out);
        break;
    case RAFT_TIMEOUT_NOW:
        on_timeout_now(r, m, out);
        break;
    default:
        break;
    }
}

static void on_tick(struct raft *r, struct raft_out *out)
{
    if (r->role == RAFT_LEADER) {
        raft_lead_tick(r, out);
        return;
    }
    if (r->now_ms < r->election_at)
        return;
    if (may_campaign(r)) {
        campaign(r, RAFT_PRECANDIDATE, out);
        return;
    }
    r->role = RAFT_FOLLOWER;
    r->leader = 0; /* not heard of for so long */
    draw_election(r);
}

void raft_step(struct raft *r, uint64_t now_ms, const struct raft_input *in, struct raft_out *out)
{
    ENSURE(now_ms >= r->now_ms);
    r->now_ms = now_ms;
    out->err = 0;
    out->index = 0;
    out->msg_count = out->entry_count = out->want_count = 0;
    out->incoming.any = false;
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
    case RAFT_COMPACTED:
        ENSURE(in->index <= r->log.applied);
        if (in->index > r->log.base_index) {
            r->log.base_index = in->index;
            r->log.base_term = in->term;
        }
        break;
    case RAFT_RETIRE:
        if (r->role != RAFT_LEADER) {
            raft_follow(r, r->term, r->leader);
            r->retired = true;
        }
        break;
    case RAFT_RESTORE:
        raft_follow_restore(r, in, out);
        break;
    case RAFT_PROPOSE:
    case RAFT_CHANGE:
    case RAFT_TRANSFER:
    case RAFT_READ:
    case RAFT_CHUNK:
        raft_lead_input(r, in, out);
        break;
    }
    ENSURE(r->log.applied <= r->commit);
    ENSURE(r->log.issued <= r->log.last_index);
}

uint64_t raft_deadline(const struct raft *r)
{
    return r->role == RAFT_LEADER ? r->heartbeat_at : r->election_at;
}
