/* SPDX-License-Identifier: Apache-2.0
 * Recovery of a lost quorum without an operator (raft.auto_recover, off by default): what
 * `blox raft recover` asks a person for, that the other voters are gone for good, is asked of ECS.
 *
 * Only while no leader is known and gossip holds no majority of the voters alive, for 10 s; only if
 * so many voters are proven gone that the rest can never be a majority; and only with the word of
 * all other candidates that they will not (word.c). They ask for it one after the other, the one
 * that holds the newest intent first: all say in their hellos what they hold. */
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/raft/raft_uv_int.h"

#define LOST_MS 10000u /* the quorum is lost for so long before anything is asked */
#define LOOK_MS 2000u  /* and 50 more for each member: all ask all */
#define TURN_MS 15000u /* what each agent that should ask before this one is given */

static bool is_live(const struct raft_uv *r, uint64_t num)
{
    const struct gossip_member *m = num == 0 ? NULL : gossip_find(r->o.gossip, num);
    return m != NULL && (m->self || m->state <= MEMBER_SUSPECT);
}

bool auto_goes_first(uint64_t term_a, uint64_t index_a, const char *a, uint64_t term_b,
                     uint64_t index_b, const char *b)
{
    if (term_a != term_b)
        return term_a > term_b;
    return index_a != index_b ? index_a > index_b : strcmp(a, b) < 0;
}

/* The newest of the own log and of the rows that gossip left here, when the quorum was lost. Not
 * later: who recovers spreads what it held, and one that has it from there would go first, too. */
static void look_what_is_held(struct raft_uv *r)
{
    uint64_t term = 0, index = 0, last = r->core.log.last_index;
    r->lost.held_term = r->core.config.count > 0 ? raft_term_of(&r->core, last) : 0;
    r->lost.held_index = r->core.config.count > 0 ? last : 0;
    if (r->o.newest != NULL && r->o.newest(r->o.arg, &term, &index) == 0 &&
        auto_goes_first(term, index, "", r->lost.held_term, r->lost.held_index, "")) {
        r->lost.held_term = term;
        r->lost.held_index = index;
    }
}

/* Live candidates that should recover before this agent. */
static uint32_t ahead(const struct raft_uv *r, uint64_t now_ms, uint64_t fresh_ms)
{
    uint32_t n = 0;
    for (size_t i = 0; i < gossip_count(r->o.gossip); i++) {
        const struct gossip_member *m = gossip_at(r->o.gossip, i);
        const struct peer_info *p = hello_peer(r, m->id);
        bool may = !m->self && p != NULL && p->candidate && p->holds &&
                   m->state <= MEMBER_SUSPECT && now_ms < p->heard_ms + fresh_ms;
        n += may && auto_goes_first(p->held_term, p->held_index, m->id, r->lost.held_term,
                                    r->lost.held_index, r->self.id);
    }
    return n;
}

/* Asks for the next dead voter that is not proven gone; true once enough are. */
static bool is_proven(struct raft_uv *r, const struct raft_config *voters)
{
    uint32_t proven = 0, all = raft_voter_count(voters);
    const struct raft_server *next = NULL;
    for (uint32_t i = 0; i < voters->count; i++) {
        const struct raft_server *s = &voters->server[i];
        const struct peer_info *p = hello_peer(r, s->id);
        bool known = p != NULL && p->gone;
        if (!s->voter || is_live(r, s->num))
            continue;
        proven += known;
        if (!known && (next == NULL || s->num > r->lost.asked_num))
            next = next == NULL || next->num <= r->lost.asked_num || s->num < next->num ? s : next;
    }
    if (all - proven <= all / 2)
        return true;
    if (next != NULL && next->id[0] != '\0') {
        r->lost.asked_num = next->num;
        (void)r->o.prove_gone(r->o.arg, next->id);
    }
    return false;
}

void raft_uv_gone(struct raft_uv *r, const char *id, bool gone)
{
    struct peer_info *p = gone && !r->closing ? hello_remember(r, id) : NULL;
    if (p == NULL)
        return;
    p->gone = true; /* and EC2 never takes that back */
    auto_begin(r);
}

static bool is_lost(const struct raft_uv *r, uint64_t now_ms, const struct raft_config *voters)
{
    uint32_t live = 0;
    for (uint32_t i = 0; i < voters->count; i++)
        live += voters->server[i].voter && is_live(r, voters->server[i].num);
    return voters->count > 0 && live <= raft_voter_count(voters) / 2 &&
           !is_live(r, step_leader(r)) && r->core.role != RAFT_LEADER && r->quiet == QUIET_NO &&
           r->superseded == 0 && !step_in_conflict(r, now_ms);
}

bool auto_sees_loss(const struct raft_uv *r, uint64_t now_ms)
{
    struct raft_config voters;
    hello_voters(r, &voters);
    return is_lost(r, now_ms, &voters);
}

void auto_begin(struct raft_uv *r)
{
    struct errmsg e = {""};
    if (!word_is_asked(r) || r->lost.proven_ms == 0 || r->quiet != QUIET_NO ||
        word_missing(r) != NULL)
        return;
    LOG_MSG(LOG_WARN, "raft_auto_recover",
            "most voters are gone for good, as ECS says; going on from what is left");
    if (raft_uv_recover(r, false, NULL, NULL, &e) < 0)
        LOG(LOG_ERROR, "raft_auto_recover", "could not recover", LS("error", e.text));
    word_withdraw(r);
    r->lost = (struct lost){.look_at = clock_mono_ms() + LOOK_MS};
}

/* Nothing is lost, or this agent knows too little of it by now. */
static void begin_anew(struct raft_uv *r, uint64_t look_at)
{
    word_withdraw(r);
    r->lost = (struct lost){.look_at = look_at};
}

void auto_tick(struct raft_uv *r, uint64_t now_ms)
{
    struct raft_config voters;
    if (!r->o.auto_recover || !r->o.candidate || r->o.prove_gone == NULL ||
        now_ms < r->lost.look_at)
        return;
    if (r->lost.since != 0 && now_ms > r->lost.look_at + TURN_MS / 3)
        begin_anew(r, 0); /* it was stopped: others may have recovered meanwhile */
    hello_voters(r, &voters);
    if (!is_lost(r, now_ms, &voters)) {
        begin_anew(r, now_ms + LOOK_MS / 4);
        return;
    }
    uint64_t look_ms = LOOK_MS + 50 * gossip_count(r->o.gossip);
    r->lost.look_at = now_ms + look_ms;
    if (r->lost.since == 0) {
        r->lost.since = now_ms;
        look_what_is_held(r);
    }
    hello_ask_candidates(r);
    if (now_ms < r->lost.since + LOST_MS || !is_proven(r, &voters))
        return;
    if (r->lost.proven_ms == 0)
        r->lost.proven_ms = now_ms;
    if (now_ms < r->lost.proven_ms + look_ms + ahead(r, now_ms, 3 * look_ms) * TURN_MS)
        return;
    word_ask(r);
    auto_begin(r);
}
