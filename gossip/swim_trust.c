/* SPDX-License-Identifier: Apache-2.0
 * Whose word counts. A member's address, incarnation and what else it is are told by itself alone,
 * signed; that it is gone, by a quorum of signed votes. Signatures are looked at only when they
 * would change something. */
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/swim_int.h"

void swim_sign_self(struct swim *s)
{
    struct swim_member *me = swim_me(s);
    struct wire_update u;
    uint8_t bytes[WIRE_STATEMENT_MAX];
    struct swim_card card = *me->card;
    card.epoch = me->epoch;
    swim_set_card(s, me, &card);
    swim_describe(me, true, &u);
    s->trust.sign(s->trust.arg, bytes, wire_statement(&u, 0, bytes), card.sig);
    swim_set_card(s, me, &card);
}

static bool verify(struct swim *s, const uint8_t key[WIRE_KEY], const struct wire_update *u,
                   uint64_t by, const uint8_t sig[WIRE_SIG])
{
    uint8_t bytes[WIRE_STATEMENT_MAX];
    s->verified++;
    return s->trust.verify(s->trust.arg, key, bytes, wire_statement(u, by, bytes), sig);
}

bool swim_is_own_word(struct swim *s, const struct wire_update *u)
{
    ENSURE(u->has_body);
    return hash_str(u->id) == u->num && verify(s, u->key, u, 0, u->sig);
}

bool swim_left(struct swim *s, const struct swim_member *m, const struct wire_update *u)
{
    return u->vote_count == 1 && u->vote[0].num == m->m.num &&
           verify(s, m->card->key, u, m->m.num, u->vote[0].sig);
}

void swim_vote(const struct swim *s, const struct swim_member *m, enum gossip_state state,
               struct wire_vote *ret)
{
    struct wire_update u = {.state = state, .num = m->m.num, .incarnation = m->m.incarnation};
    uint8_t bytes[WIRE_STATEMENT_MAX];
    ret->num = swim_self(s)->m.num;
    s->trust.sign(s->trust.arg, bytes, wire_statement(&u, ret->num, bytes), ret->sig);
}

/* The key of one that was put out, left or died is nobody's: whoever has it has no second voice.
 * But who died since it said something of us may be alive to others, and we answer. */
static bool counts(const struct swim_member *voter, bool about_us)
{
    return !voter->evicted && (about_us || swim_is_live(voter->m.state));
}

/* At the end of a partition voters come back one by one. Votes that begin to count one by one look
 * like a death of today, which ends in no time; all at once they give the accused time to answer.
 */
static bool waits_for_voters(const struct swim *s, const struct swim_member *m,
                             const struct wire_update *u)
{
    unsigned fit = 0, failed = 0;
    for (size_t i = 0; i < u->vote_count; i++) {
        const struct swim_member *voter = swim_find(s, u->vote[i].num);
        fit += voter != NULL && counts(voter, false);
        failed += voter != NULL && voter->m.state == MEMBER_FAILED && !voter->evicted;
    }
    return failed > 0 && fit + m->vote_count < swim_quorum(s, m);
}

int swim_add_votes(struct swim *s, uint64_t now_ms, struct swim_member *m, struct swim_doubt *d,
                   const struct wire_update *u, bool *ret_added)
{
    bool stalled = u->state == MEMBER_DEGRADED, about_us = m->m.num == swim_self(s)->m.num;
    struct wire_vote *list = stalled ? d->stalled : d->vote;
    uint8_t *count = stalled ? &m->stalled_count : &m->vote_count;
    uint8_t max = stalled ? SWIM_QUORUM : WIRE_VOTES_MAX;
    int err = 0;
    *ret_added = false;
    /* One vote that nobody joined is forgotten: chance loss must not add up over hours. */
    if (m->m.state == MEMBER_ALIVE && *count > 0 && now_ms - d->voted_ms > SWIM_SUSPECT_MAX_MS)
        m->vote_count = m->stalled_count = 0;
    if (!about_us && waits_for_voters(s, m, u))
        return 0;
    for (size_t i = 0; i < u->vote_count && *count < max; i++) {
        const struct wire_vote *v = &u->vote[i];
        const struct swim_member *voter = swim_find(s, v->num);
        bool known = voter == NULL || v->num == m->m.num || !counts(voter, about_us);
        for (size_t k = 0; k < *count; k++)
            known = known || list[k].num == v->num;
        if (known)
            continue;
        if (!verify(s, voter->card->key, u, v->num, v->sig)) {
            err = ERR_AUTH; /* forged, or the voter has another key since: the others count */
            continue;
        }
        if (m->vote_count + m->stalled_count == 0)
            d->voted_ms = now_ms;
        list[(*count)++] = *v;
        *ret_added = true;
    }
    return err;
}

uint32_t swim_voters(const struct swim *s, const struct swim_member *m)
{
    uint32_t able = s->live - s->watched - (m->m.state == MEMBER_ALIVE ? 1 : 0);
    return able > 0 ? able : 1;
}

/* With two members there is one that could vote, and with all others suspected likewise. */
unsigned swim_quorum(const struct swim *s, const struct swim_member *m)
{
    return (unsigned)swim_min(SWIM_QUORUM, swim_voters(s, m));
}

bool swim_challenge(struct swim *s, uint64_t now_ms, uint64_t num)
{
    struct swim_member *m = swim_get(s, num);
    if (m == NULL)
        return false;
    struct swim_doubt *d = swim_doubt(s, m);
    if (d->asked_ms != 0 && now_ms - d->asked_ms < SWIM_CHALLENGE_MS)
        return false;
    d->asked_ms = now_ms;
    return true;
}
