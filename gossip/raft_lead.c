/* SPDX-License-Identifier: Apache-2.0
 * Raft core: what a leader does: replicate, commit, keep its lease, change the configuration,
 * hand over. */
#include <string.h>

#include "gossip/raft_int.h"

#define RESERVE 64u /* slots that proposals leave free, for no-ops and configurations */

bool raft_lease(const struct raft *r, uint64_t now_ms)
{
    uint64_t stamp = raft_quorum(r, &r->config, r->peer, RAFT_OF_STAMP);
    return r->role == RAFT_LEADER && !r->transfer_sent && stamp > 0 && now_ms < stamp + r->lease_ms;
}

/* ---- replication --------------------------------------------------------------------- */

static void put_append(struct raft *r, uint32_t i, uint64_t prev, uint32_t count,
                       struct raft_out *out)
{
    const struct raft_server *to = &r->config.server[i];
    struct raft_msg *m = raft_put(r, out, RAFT_APPEND, to->num, to->disk);
    m->index = prev < r->log.prev_index ? 0 : prev; /* not in memory: 0 matches every log */
    m->log_term = raft_term_of(r, m->index);
    m->commit = r->peer[i].told = r->commit;
    r->peer[i].sent_ms = r->now_ms;
    m->entries = &out->entry[out->entry_count];
    m->count = count;
    out->entry_count += count;
}

/* Puts what comes next for server i, if now is the time: entries, or the wish for a snapshot.
 * False: no message. */
static bool send_next(struct raft *r, uint32_t i, struct raft_out *out)
{
    struct raft_peer *p = &r->peer[i];
    uint64_t sure = most(p->match, p->base);
    uint32_t count = 0, bytes = 0;
    if (r->config.server[i].num == r->self || (p->match < p->base && r->now_ms < p->retry_ms))
        return false;
    if (r->now_ms >= p->retry_ms)
        p->next = sure + 1;
    if (p->next <= r->log.prev_index) {
        out->snapshot_for |= UINT32_C(1) << i;
        return false;
    }
    if (p->next > sure + RAFT_AHEAD || (p->next > r->log.last_index && p->match >= p->base))
        return false;
    while (count < RAFT_BATCH && bytes < RAFT_BATCH_BYTES &&
           out->entry_count + count < RAFT_OUT_ENTRIES &&
           raft_entry_get(r, p->next + count, &out->entry[out->entry_count + count]))
        bytes += out->entry[out->entry_count + count++].len;
    put_append(r, i, p->next - 1, count, out);
    p->next += count;
    p->retry_ms = r->now_ms + 2 * r->heartbeat_ms;
    return true;
}

enum beat { NEWS, DUE, ALL };

/* Puts what is new to each server. With a beat whoever gets nothing else gets an empty append: it
 * carries the stamp of the lease, and claims nothing that the other has not confirmed, so it may
 * overtake entries that are on their way. A voter at rest (it answered the last one, and has and
 * knows all there is) gets none for a while: a beat that is lost is repeated before the lease ends.
 * Learners have no hurry. Where all rest the leader does, too. */
static void replicate(struct raft *r, enum beat beat, struct raft_out *out)
{
    bool all_rest = beat == NEWS;
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct raft_server *s = &r->config.server[i];
        const struct raft_peer *p = &r->peer[i];
        bool rests = p->stamp >= p->sent_ms && p->match == r->log.last_index && p->told == p->match;
        uint64_t pause = !s->voter ? r->election_ms : rests ? r->pause_ms : 0;
        bool due =
            beat == ALL || (beat == DUE && r->now_ms + r->heartbeat_ms / 2 >= p->sent_ms + pause);
        if (!send_next(r, i, out) && due && s->num != r->self)
            put_append(r, i, p->match, 0, out);
        all_rest = all_rest && (rests || s->num == r->self);
    }
    r->due_ms = all_rest ? raft_quorum(r, &r->config, r->peer, RAFT_OF_STAMP) + r->pause_ms
                         : least(r->due_ms, r->now_ms + r->heartbeat_ms);
}

static void supply(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    int i = raft_slot_of(&r->config, in->num);
    if (i < 0 || r->peer[i].next > r->log.prev_index || in->index < r->log.prev_index ||
        in->index > r->log.applied)
        return;
    struct raft_peer *p = &r->peer[i];
    struct raft_msg *m = raft_put(r, out, RAFT_SNAPSHOT, in->num, r->config.server[i].disk);
    m->index = p->base = in->index;
    m->log_term = in->term;
    m->data = in->data;
    m->count = in->count;
    p->next = in->index + 1;
    p->retry_ms = r->now_ms + 4 * r->election_ms;
}

static int append_own(struct raft *r, uint8_t type, const uint8_t *data, uint32_t len)
{
    struct raft_entry e = {
        .index = r->log.last_index + 1, .term = r->term, .type = type, .len = len, .data = data};
    return raft_append(r, &e) ? 0 : ERR_BUSY;
}

void raft_lead_start(struct raft *r, struct raft_out *out)
{
    ENSURE(r->role == RAFT_CANDIDATE);
    for (uint32_t i = 0; i < RAFT_SERVERS_MAX; i++)
        r->peer[i] = (struct raft_peer){.base = r->log.last_index};
    /* 6.4: nothing of earlier terms is committed before this entry is. */
    if (append_own(r, RAFT_NOOP, NULL, 0) < 0) {
        raft_follow(r, r->term, 0);
        return;
    }
    r->role = RAFT_LEADER;
    r->leader = r->self;
    r->lead_ms = r->now_ms;
    r->term_start = r->log.last_index;
    r->transfer_to = 0;
    r->transfer_sent = false;
    r->due_ms = r->now_ms + r->heartbeat_ms;
    replicate(r, ALL, out);
}

void raft_lead_commit(struct raft *r, struct raft_out *out)
{
    uint64_t index = raft_quorum(r, &r->config, r->peer, RAFT_OF_MATCH);
    /* Only an entry of the own term commits by counting (3.6.2, figure 3.7). */
    if (index > r->commit && raft_term_of(r, index) == r->term)
        r->commit = index;
    /* 4.2.2: it was removed, and that is done. */
    if (r->config.index <= r->commit && !raft_votes(r, &r->config)) {
        replicate(r, ALL, out);
        raft_follow(r, r->term, 0);
    }
}

void raft_lead_tick(struct raft *r, struct raft_out *out)
{
    uint64_t stamp = raft_quorum(r, &r->config, r->peer, RAFT_OF_STAMP);
    /* check-quorum (6.2) */
    bool alone = r->now_ms >= most(stamp, r->lead_ms) + 2 * r->election_ms;
    bool expired = r->transfer_to != 0 && r->now_ms >= r->transfer_at;
    /* Once the order was sent the lease is gone for this term: the target may act on it at any
     * time. Leading on without a lease would help nobody. */
    if (alone || (expired && r->transfer_sent)) {
        raft_follow(r, r->term, 0);
        return;
    }
    if (expired)
        r->transfer_to = 0;
    r->due_ms = r->now_ms + r->heartbeat_ms;
    replicate(r, DUE, out);
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

void raft_lead_answer(struct raft *r, uint32_t i, const struct raft_msg *m, struct raft_out *out)
{
    struct raft_peer *p = &r->peer[i];
    if (m->stamp > p->stamp && m->stamp <= r->now_ms)
        p->stamp = m->stamp;
    if (m->ok && m->index > p->match) {
        p->match = m->index;
        p->retry_ms = r->now_ms + 2 * r->heartbeat_ms;
        p->next = most(p->next, p->match + 1);
    } else if (!m->ok && m->index > p->match && (p->match >= p->base || m->index == p->base)) {
        p->base = least(m->hint, m->index - 1);
        p->retry_ms = r->now_ms;
    }
    raft_lead_commit(r, out);
    if (r->role != RAFT_LEADER)
        return;
    hand_over(r, out);
    replicate(r, NEWS, out);
}

/* ---- requests of the shell ----------------------------------------------------------------- */

static void propose(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    uint64_t kept = r->log.last_index - least(r->log.applied, r->saved.last);
    if (in->count > RAFT_COMMAND_MAX)
        out->err = ERR_TOOBIG;
    else if (kept >= RAFT_WINDOW - RESERVE)
        out->err = ERR_BUSY;
    else
        out->err = append_own(r, RAFT_COMMAND, in->data, in->count);
    out->index = r->log.last_index;
    replicate(r, NEWS, out);
}

bool raft_may_change(const struct raft *r)
{
    /* One at a time (4.1), and none before an entry of this term is committed: without that, two
     * leaders may each change the same base and form disjoint majorities (Ongaro, raft-dev,
     * July 2015). */
    return r->role == RAFT_LEADER && r->transfer_to == 0 && r->commit >= r->config.index &&
           r->commit >= r->term_start;
}

static void alter(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    struct raft_config to;
    struct raft_peer peer[RAFT_SERVERS_MAX] = {0};
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    out->err = raft_config_change(&r->config, in->change, in->server, &to);
    if (out->err < 0)
        return;
    for (uint32_t i = 0; i < to.count; i++) {
        int at = raft_slot_of(&r->config, to.server[i].num);
        peer[i] = at >= 0 ? r->peer[at] : (struct raft_peer){.base = r->log.last_index};
    }
    /* The servers that the new configuration needs must be there and have what is committed: they
     * answered what was sent after the change was decided. One that lost its disk just before does
     * not, for it is another server now; in the smaller configuration it could be missing for
     * ever. */
    bool carried = in->since > 0 && raft_quorum(r, &to, peer, RAFT_OF_STAMP) >= in->since &&
                   raft_quorum(r, &to, peer, RAFT_OF_MATCH) >= r->commit;
    if (!raft_may_change(r) || !carried) {
        out->err = ERR_BUSY;
        replicate(r, ALL, out); /* soon they will have answered */
        return;
    }
    out->err = append_own(r, RAFT_CONFIG, bytes, raft_config_bytes(&to, bytes));
    if (out->err < 0)
        return;
    memcpy(r->peer, peer, sizeof(peer));
    out->index = r->config.index;
    replicate(r, NEWS, out);
    raft_lead_commit(r, out);
}

static void transfer(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    const struct raft_server *to = raft_find(&r->config, in->num);
    out->err = to == NULL || !to->voter || to->num == r->self ? ERR_NOTFOUND : 0;
    if (out->err < 0)
        return;
    r->transfer_to = to->num;
    r->transfer_at = r->now_ms + r->election_ms;
    hand_over(r, out);
}

void raft_lead_input(struct raft *r, const struct raft_input *in, struct raft_out *out)
{
    if (r->role != RAFT_LEADER)
        out->err = ERR_NOTLEADER;
    else if (in->type == RAFT_SUPPLY)
        supply(r, in, out);
    else if (r->transfer_to != 0)
        out->err = ERR_BUSY;
    else if (in->type == RAFT_PROPOSE)
        propose(r, in, out);
    else if (in->type == RAFT_ALTER)
        alter(r, in, out);
    else
        transfer(r, in, out);
}
