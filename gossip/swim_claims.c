/* SPDX-License-Identifier: Apache-2.0
 * What members say of each other: which word counts, suspicion, refutation, death.
 * Order of words (SWIM 4.2): the greater incarnation wins; at equal incarnation alive < degraded
 * < suspect < failed < left. Only a member itself raises its incarnation. */
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/swim_int.h"

static void clear_suspicion(struct swim_member *m)
{
    m->vote_count = m->stalled_count = 0;
    m->strong = 0;
    m->looked = 0;
    if (m->doubt != NULL) {
        m->doubt->since_ms = 0;
        m->doubt->unexcused = m->doubt->hearsay = false;
    }
}

/* ---- about this member itself ---- */

void swim_raise(struct swim *s, uint64_t now_ms, uint64_t incarnation)
{
    struct swim_member *me = swim_me(s);
    if (incarnation > WIRE_INCARNATION_MAX || s->leaving_ms != 0) /* who leaves stays gone */
        return;
    swim_set_state(s, now_ms, me, MEMBER_ALIVE, incarnation, SWIM_CAUSE_REFUTED, 0);
    swim_sign_self(s);
    s->raised = true;
    swim_contradicted(s, now_ms);
    swim_enqueue(s, now_ms, me);
}

/* The greatest incarnation that is believed without a key that was known before. */
static uint64_t told_max(const struct swim *s, uint64_t now_ms)
{
    uint64_t most = WIRE_INCARNATION_MAX / 2, unix_s = s->unix_s + (now_ms - s->born_ms) / 1000;
    return unix_s >= (most >> SWIM_TOLD_SHIFT) - SWIM_TOLD_S
               ? most
               : (unix_s + SWIM_TOLD_S) << SWIM_TOLD_SHIFT;
}

bool swim_may_be_ours(const struct swim *s, uint64_t now_ms, uint64_t incarnation)
{
    uint64_t own = swim_self(s)->m.incarnation;
    return incarnation == own || (incarnation > own && incarnation <= told_max(s, now_ms));
}

/* One member that contradicts is news for all: at each lie, one stolen key keeps a cluster busy. */
static bool may_answer(struct pace *p, uint64_t now_ms)
{
    return pace_may(p, now_ms, SWIM_PACE_MIN_MS, SWIM_PACE_MAX_MS);
}

/* Is it somebody's word that we are not alive as we are? Our own earlier life's, or that of another
 * who uses our id, counts as well: whoever took it has to hear from us. */
static int about_self(struct swim *s, uint64_t now_ms, const struct wire_update *u)
{
    struct swim_member *me = swim_me(s);
    struct swim_member scratch = {.m = {.num = me->m.num, .incarnation = u->incarnation}};
    struct swim_doubt votes = {.slot = me->slot};
    unsigned quorum = swim_quorum(s, me);
    bool doubted = false, foreign = u->has_body && memcmp(u->sig, me->card->sig, WIRE_SIG) != 0;
    int err = 0;
    if (!swim_may_be_ours(s, now_ms, u->incarnation) || s->leaving_ms != 0)
        return 0;
    if (u->state == MEMBER_DEGRADED && u->incarnation == me->m.incarnation && s->contradict_ms != 0)
        return 0; /* it knows */
    if ((foreign || u->vote_count < quorum) && u->state != MEMBER_DEGRADED &&
        now_ms < s->few.due_ms)
        return 0; /* would not be answered: do not look at signatures for it */
    if (foreign) {
        doubted = swim_is_own_word(s, u);
        err = doubted ? 0 : ERR_AUTH;
    }
    bool other_life = doubted;
    if (!doubted && err == 0 && u->state == MEMBER_LEFT)
        doubted = swim_left(s, me, u);
    else if (!doubted && err == 0 && u->state != MEMBER_ALIVE &&
             u->incarnation == me->m.incarnation)
        err = swim_add_votes(s, now_ms, &scratch, &votes, u, &doubted);
    /* Votes that count no more (a voter lost its key since) may still be believed by who tells us.
     */
    bool unproven = !doubted && err == ERR_AUTH && u->state != MEMBER_ALIVE &&
                    u->incarnation == me->m.incarnation;
    if (!doubted && !(unproven && may_answer(&s->unproven, now_ms)))
        return err;
    if (u->state == MEMBER_DEGRADED && !other_life) {
        swim_called_degraded(s, now_ms);
        return err;
    }
    if (!unproven && scratch.vote_count < quorum && !may_answer(&s->few, now_ms))
        return err;
    /* Lifeguard: being suspected hints that we are slow ourselves. One alone may be wrong. */
    if (u->state == MEMBER_SUSPECT && (scratch.vote_count > 1 || s->live <= 2))
        swim_worse(s, now_ms, 1);
    swim_raise(s, now_ms, u->incarnation + 1);
    return err;
}

/* ---- what a member says of itself ---- */

static void take_body(struct swim *s, struct swim_member *m, const struct wire_update *u,
                      uint64_t teller)
{
    const struct gossip_addrs before = *m->m.addrs;
    bool moved = !addr_equal_all(&before, &u->addrs);
    bool same = !moved && memcmp(m->m.meta, &u->meta, sizeof u->meta) == 0;
    if (memcmp(m->card->key, u->key, WIRE_KEY) != 0) {
        struct swim_doubt *d = swim_doubt(s, m);
        if (!d->rekeyed)
            memcpy(d->first_key, m->card->key, sizeof d->first_key);
        d->rekeyed = memcmp(d->first_key, u->key, sizeof d->first_key) != 0;
        m->epoch = 0;
        m->met = m->moved = 0;
    }
    struct swim_card card = *m->card;
    card.addrs = u->addrs;
    card.meta = u->meta;
    card.epoch = u->epoch;
    memcpy(card.key, u->key, sizeof card.key);
    memcpy(card.sig, u->sig, sizeof card.sig);
    swim_set_card(s, m, &card);
    if (moved)
        swim_new_addresses(s, m, &before);
    if (u->epoch > m->epoch) {
        m->epoch = u->epoch;
        s->lives++;
        m->known_ms = s->now_us / 1000;
        m->met = m->asked = 0;
    }
    if (!same)
        swim_mark_dirty(s, m, SWIM_CAUSE_META, teller);
}

static bool own_vote(const struct swim *s, const struct wire_vote *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].num == swim_self(s)->m.num)
            return true;
    return false;
}

/* An id belongs to the first key that we saw with it, until its holder failed or left (or we found
 * it silent ourselves, and others know better than to join us in that); or its own address answered
 * with another key, as after a lost data directory. */
static bool may_hold(struct swim *s, uint64_t now_ms, struct swim_member *m,
                     const struct wire_update *u, struct swim_out *out)
{
    const struct swim_doubt *d = m->doubt;
    bool silent = m->m.state == MEMBER_SUSPECT && own_vote(s, d->vote, m->vote_count) &&
                  m->m.heard_mono_ms <= d->since_ms && now_ms - d->since_ms >= SWIM_SUSPECT_MAX_MS;
    bool first = d != NULL && d->rekeyed && memcmp(d->first_key, u->key, WIRE_KEY) == 0;
    if (memcmp(m->card->key, u->key, WIRE_KEY) == 0 || !swim_is_live(m->m.state) || silent ||
        m->moved || first)
        return true;
    s->refused_claims++;
    if (out->hellos < SWIM_HELLOS_MAX && swim_challenge(s, now_ms, m->m.num)) {
        out->hello[out->hellos++] = m->m.num;
        swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out); /* it may be dead in both lives */
    }
    return false;
}

static void alive(struct swim *s, uint64_t now_ms, struct swim_member *m,
                  const struct wire_update *u, uint64_t teller, bool listed)
{
    take_body(s, m, u, teller);
    bool lived = swim_is_live(m->m.state);
    if (m->m.state == MEMBER_FAILED)
        swim_returned(s, now_ms);
    clear_suspicion(m);
    swim_set_state(s, now_ms, m, MEMBER_ALIVE, u->incarnation,
                   lived ? SWIM_CAUSE_REFUTED : SWIM_CAUSE_JOINED, teller);
    /* What all fetch from lists is no news. */
    if (!listed || !s->healing)
        swim_enqueue(s, now_ms, m);
}

static void trace_claims(struct swim_member *m)
{
    if (m->vote_count == 0)
        return;
    struct swim_doubt *d = m->doubt;
    d->trace.suspected_by = d->vote[0].num;
    d->trace.confirmed_count = (uint8_t)(m->vote_count - 1);
    for (size_t i = 1; i < m->vote_count; i++)
        d->trace.confirmed[i - 1] = d->vote[i].num;
}

/* The dead are taken as dead only with a quorum (or their own word that they leave); else they are
 * looked for. */
static int add_unknown(struct swim *s, uint64_t now_ms, const struct wire_update *u,
                       uint64_t teller, bool listed)
{
    struct swim_member *m = swim_add(s, now_ms, u, MEMBER_ALIVE, SWIM_CAUSE_JOINED, teller);
    bool added;
    if (m == NULL) {
        s->refused_claims++;
        return 0;
    }
    int err =
        u->state == MEMBER_FAILED ? swim_add_votes(s, now_ms, m, swim_doubt(s, m), u, &added) : 0;
    if (u->state == MEMBER_LEFT && swim_left(s, m, u)) {
        swim_doubt(s, m)->vote[0] = u->vote[0];
        m->vote_count = 1;
        swim_set_state(s, now_ms, m, MEMBER_LEFT, u->incarnation, SWIM_CAUSE_LEFT, teller);
    } else if (u->state == MEMBER_FAILED && m->vote_count >= swim_quorum(s, m)) {
        /* The votes tell a newcomer who found out. */
        trace_claims(m);
        m->doubt->trace.suspected_ms = m->doubt->trace.failed_ms = now_ms;
        m->doubt->trace.failed_by = teller;
        swim_set_state(s, now_ms, m, MEMBER_FAILED, u->incarnation, SWIM_CAUSE_CLAIMED, teller);
    }
    if (!swim_is_live(m->m.state))
        m->doubt->hearsay = true;
    /* A list that a newcomer was given is known to the others; the digests find exceptions. */
    if (!listed)
        swim_enqueue(s, now_ms, m);
    return err;
}

static int take_own_word(struct swim *s, uint64_t now_ms, const struct wire_update *u,
                         uint64_t teller, bool listed, struct swim_out *out)
{
    struct swim_member *m = swim_get(s, u->num);
    if (m != NULL && (u->incarnation <= m->m.incarnation || strcmp(u->id, m->m.id) != 0))
        return 0;
    if (!swim_is_own_word(s, u)) {
        s->refused_claims++;
        return ERR_AUTH;
    }
    if ((m == NULL || memcmp(m->card->key, u->key, WIRE_KEY) != 0) &&
        u->incarnation > told_max(s, now_ms)) {
        s->refused_claims++;
        return 0;
    }
    if (m == NULL)
        return add_unknown(s, now_ms, u, teller, listed);
    if (may_hold(s, now_ms, m, u, out))
        alive(s, now_ms, m, u, teller, listed);
    return 0;
}

/* ---- suspicion ---- */

/* Confirmations that make a suspicion short; where few are left to vote there are fewer to give. */
static unsigned need(const struct swim *s, const struct swim_member *m)
{
    return (unsigned)swim_min(SWIM_NEED, swim_voters(s, m) - 1);
}

static void set_due(struct swim *s, uint64_t now_ms, struct swim_member *m)
{
    /* max - (max - min) * log(c + 1) / log(need + 1), Lifeguard section IV-B, as a table. */
    static const uint16_t part[SWIM_NEED + 1][SWIM_NEED + 1] = {
        {0, 0, 0}, {0, 1000, 1000}, {0, 631, 1000}};
    unsigned want = need(s, m);
    unsigned have = m->vote_count > 0 ? m->vote_count - 1u : 0;
    if (have > want)
        have = want;
    uint64_t wait;
    if (m->strong) /* the more at once, the likelier a partition heals and refutations queue */
        wait = (uint64_t)SWIM_SUSPECT_HEARD_MS * (1 + s->watched / SWIM_PROBES);
    else if (want == 0)
        wait = SWIM_SUSPECT_PAIR_MS * swim_stretch(s);
    else {
        uint64_t saved = (SWIM_SUSPECT_MAX_MS - SWIM_SUSPECT_MIN_MS) * part[want][have] / 1000;
        wait = SWIM_SUSPECT_MAX_MS - saved;
        if (have < want)
            wait *= swim_stretch(s);
    }
    uint64_t due_ms = m->doubt->since_ms + wait;
    if (m->looked && due_ms < m->doubt->due_ms)
        due_ms = m->doubt->due_ms; /* the look that is under way may find it alive */
    swim_set_due(s, m, due_ms < now_ms ? now_ms : due_ms);
}

/* Who looks when somebody is accused: its observers, whoever was asked to help, and everybody in a
 * small cluster. */
static bool is_mine(const struct swim *s, const struct swim_member *m)
{
    bool mine = s->live <= 2 * SWIM_RINGS;
    for (unsigned i = 0; i < SWIM_RINGS; i++)
        mine = mine || s->ring[i].slot == m->slot;
    for (unsigned i = 0; i < SWIM_RELAYS; i++)
        mine = mine || (s->relay[i].seq != 0 && s->relay[i].slot == m->slot);
    return mine && s->leaving_ms == 0;
}

static void confirm(struct swim *s, uint64_t now_ms, struct swim_member *m, struct swim_out *out)
{
    if (is_mine(s, m))
        swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out);
}

static void become_suspect(struct swim *s, uint64_t now_ms, struct swim_member *m,
                           struct swim_out *out)
{
    struct swim_doubt *d = swim_doubt(s, m);
    uint64_t by = m->vote_count > 0 ? d->vote[0].num : 0;
    bool own = by == 0 || by == swim_self(s)->m.num;
    /* The accused heard it from the first accuser, before there was a quorum. */
    d->since_ms = m->vote_count > 1 ? d->voted_ms : now_ms;
    m->strong = 0;
    d->trace.suspected_ms = now_ms;
    d->trace.failed_ms = 0;
    if (!own && !own_vote(s, d->vote, m->vote_count)) /* of an earlier doubt */
        d->trace.direct = d->trace.helpers = d->trace.nacks = d->trace.check = 0;
    trace_claims(m);
    swim_set_state(s, now_ms, m, MEMBER_SUSPECT, m->m.incarnation,
                   own ? SWIM_CAUSE_PROBES : SWIM_CAUSE_CLAIMED, own ? 0 : by);
    set_due(s, now_ms, m);
    swim_enqueue(s, now_ms, m);
    if (!own)
        confirm(s, now_ms, m, out);
    /* The last that could confirm the others is suspected itself. */
    for (uint32_t i = 0; swim_voters(s, m) == 1 && i < s->count; i++)
        if (swim_look(s, s->order[i])->m.state == MEMBER_SUSPECT)
            set_due(s, now_ms, swim_at(s, s->order[i]));
}

static void bury(struct swim *s, uint64_t now_ms, struct swim_member *m, enum swim_cause cause,
                 uint64_t by)
{
    m->doubt->trace.failed_ms = now_ms;
    m->doubt->trace.failed_by = by;
    swim_set_state(s, now_ms, m, MEMBER_FAILED, m->m.incarnation, cause, by);
    swim_enqueue(s, now_ms, m);
}

/* The teller has buried it, with a quorum. What we held to be alive a moment ago, as after a
 * partition, gets the time to refute before we believe it; the paper would bury it at once. Where
 * we had heard the first of the votes and the verdict overtook the others, the suspicion ends soon
 * by itself. */
static void claim_dead(struct swim *s, uint64_t now_ms, struct swim_member *m, uint64_t teller,
                       bool ends)
{
    bool silent = m->m.heard_mono_ms == 0 || m->m.heard_mono_ms <= m->doubt->since_ms;
    if (!m->strong && silent && now_ms >= s->quiet_ms &&
        now_ms - m->doubt->since_ms >= SWIM_SUSPECT_MIN_MS) {
        bury(s, now_ms, m, SWIM_CAUSE_CLAIMED, teller);
        return;
    }
    if (ends)
        return;
    m->strong = 1;
    set_due(s, now_ms, m);
}

/* Somebody begins to doubt what we know for a while, and may be unable to check those who said it
 * then (they have other keys since): it has our vote. A death of today it hears of anyway. */
static void join_doubt(struct swim *s, uint64_t now_ms, struct swim_member *m,
                       const struct wire_update *u, uint64_t teller, struct swim_out *out)
{
    struct swim_doubt *d = m->doubt;
    if (m->m.state != MEMBER_FAILED || u->state != MEMBER_SUSPECT || m->evicted ||
        now_ms - d->trace.failed_ms < SWIM_SUSPECT_MAX_MS ||
        m->m.heard_mono_ms > d->trace.failed_ms || swim_get(s, teller) == NULL)
        return;
    if (!own_vote(s, d->vote, m->vote_count)) {
        m->vote_count = m->vote_count < WIRE_VOTES_MAX ? m->vote_count + 1u : WIRE_VOTES_MAX;
        swim_vote(s, m, MEMBER_FAILED, &d->vote[m->vote_count - 1]);
    }
    swim_send(s, teller, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
}

/* It is said to be dead, and we cannot check by whom. */
static void look_for_dead(struct swim *s, uint64_t now_ms, struct swim_member *m,
                          struct swim_out *out)
{
    /* A liar gets no more than half of the probes there are. */
    if (s->probes_used < SWIM_PROBES / 2 && swim_challenge(s, now_ms, m->m.num))
        swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out);
}

/* A host that answers (degraded) weighs more than silence, unless all who could confirm saw
 * silence, or it answered for longer than that excuses and others have buried it. */
static bool has_no_excuse(const struct swim *s, uint64_t now_ms, const struct swim_member *m,
                          bool buried)
{
    uint64_t since_ms =
        m->m.heard_mono_ms > m->doubt->since_ms ? m->m.heard_mono_ms : m->doubt->since_ms;
    return m->vote_count > need(s, m) || (buried && now_ms - since_ms >= SWIM_STALLED_MS);
}

static int claim_silent(struct swim *s, uint64_t now_ms, struct swim_member *m,
                        const struct wire_update *u, uint64_t teller, struct swim_out *out)
{
    bool added;
    if (!swim_is_live(m->m.state)) {
        join_doubt(s, now_ms, m, u, teller, out);
        return 0;
    }
    /* Somebody doubted it before there was a verdict: this is no partition's end. */
    bool today =
        m->vote_count > 0 && !m->strong &&
        (m->m.state == MEMBER_SUSPECT ||
         (m->m.state == MEMBER_ALIVE && now_ms - m->doubt->voted_ms <= SWIM_SUSPECT_MAX_MS));
    struct swim_doubt *d = swim_doubt(s, m);
    int err = swim_add_votes(s, now_ms, m, d, u, &added);
    bool quorum = m->vote_count >= swim_quorum(s, m), verdict = u->state == MEMBER_FAILED;
    bool own = own_vote(s, d->vote, m->vote_count);
    if (m->m.state == MEMBER_SUSPECT && added) {
        trace_claims(m);
        set_due(s, now_ms, m);
        swim_enqueue(s, now_ms, m);
    } else if (m->m.state == MEMBER_ALIVE ? quorum || own
                                          : has_no_excuse(s, now_ms, m, quorum && verdict)) {
        if (m->m.state != MEMBER_SUSPECT)
            become_suspect(s, now_ms, m, out);
    } else if (added) {
        swim_enqueue(s, now_ms, m); /* one voice is too few; but others shall hear it */
        confirm(s, now_ms, m, out);
    }
    if (m->m.state == MEMBER_ALIVE && verdict)
        look_for_dead(s, now_ms, m, out);
    /* Nor can we check it where we doubt it ourselves: whoever knows may have a vote (join_doubt).
     */
    if (m->m.state == MEMBER_SUSPECT && verdict && !quorum && swim_get(s, teller) != NULL &&
        swim_challenge(s, now_ms, m->m.num))
        swim_send(s, teller, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
    if (m->m.state == MEMBER_SUSPECT && verdict && quorum)
        claim_dead(s, now_ms, m, teller, today && m->vote_count > need(s, m));
    return err;
}

/* Nobody but us holds it to be degraded, as far as we know. */
static bool is_lone(const struct swim *s, const struct swim_member *m)
{
    return m->m.state == MEMBER_DEGRADED && m->stalled_count < swim_quorum(s, m);
}

static int claim_degraded(struct swim *s, uint64_t now_ms, struct swim_member *m,
                          const struct wire_update *u, struct swim_out *out)
{
    bool added, lone = is_lone(s, m);
    if (!swim_is_live(m->m.state) || (m->m.state == MEMBER_DEGRADED && !lone))
        return 0;
    /* Proof that the host is there outweighs the silence that led to a suspicion, unless a
     * quorum saw silence, or it was silent for longer than that excuses. */
    if (m->m.state == MEMBER_SUSPECT &&
        (m->strong || m->vote_count > need(s, m) || m->doubt->unexcused))
        return 0;
    struct swim_doubt *d = swim_doubt(s, m);
    int err = swim_add_votes(s, now_ms, m, d, u, &added);
    if (lone && !added)
        return err;
    if (m->stalled_count < swim_quorum(s, m) && !own_vote(s, d->stalled, m->stalled_count)) {
        /* One voice is no news: its observers hear it from the first of them. */
        if (added)
            confirm(s, now_ms, m, out);
        return err;
    }
    m->vote_count = 0;
    m->strong = 0;
    m->looked = 0;
    d->since_ms = now_ms;
    d->trace.suspected_ms = now_ms;
    d->trace.suspected_by = d->stalled[0].num;
    d->trace.confirmed_count = 0;
    swim_set_state(s, now_ms, m, MEMBER_DEGRADED, m->m.incarnation, SWIM_CAUSE_STALLED,
                   d->trace.suspected_by);
    swim_set_due(s, m, now_ms + (is_lone(s, m) ? SWIM_TALKS_MS : SWIM_STALLED_MS));
    swim_enqueue(s, now_ms, m);
    return err;
}

/* ---- death ---- */

static int claim_left(struct swim *s, uint64_t now_ms, struct swim_member *m,
                      const struct wire_update *u, uint64_t teller)
{
    if (m->m.state == MEMBER_LEFT)
        return 0;
    if (!swim_left(s, m, u)) {
        s->refused_claims++;
        return ERR_AUTH;
    }
    clear_suspicion(m);
    swim_doubt(s, m)->vote[0] = u->vote[0];
    m->vote_count = 1;
    swim_set_state(s, now_ms, m, MEMBER_LEFT, u->incarnation, SWIM_CAUSE_LEFT, teller);
    swim_enqueue(s, now_ms, m);
    return 0;
}

/* ---- entry points ---- */

int swim_update(struct swim *s, uint64_t now_ms, const struct wire_update *u, uint64_t teller,
                bool listed, struct swim_out *out)
{
    if (u->num == swim_me(s)->m.num)
        return about_self(s, now_ms, u);
    struct swim_member *m = swim_get(s, u->num);
    if (m != NULL && m->evicted)
        return 0;
    int err = u->has_body ? take_own_word(s, now_ms, u, teller, listed, out) : 0;
    m = swim_get(s, u->num);
    if (err != 0 || u->state == MEMBER_ALIVE)
        return err;
    if (m == NULL) {
        s->refused_claims++;
        return 0;
    }
    const struct swim_member *by = swim_find(s, teller);
    if (u->incarnation > m->m.incarnation && now_ms >= s->sync_ms && by != NULL &&
        by->m.heard_mono_ms == now_ms) /* in this packet: proven */
        /* It has said something since that we missed: whoever knows it has its word. */
        swim_sync_ask(s, now_ms, teller, false, false, out);
    if (u->incarnation != m->m.incarnation)
        return 0;
    if (u->state == MEMBER_DEGRADED)
        return claim_degraded(s, now_ms, m, u, out);
    if (u->state == MEMBER_LEFT)
        return claim_left(s, now_ms, m, u, teller);
    return claim_silent(s, now_ms, m, u, teller, out);
}

/* That its host answers excuses its silence no more: we saw that long enough, or that it ended.
 * What others saw of the host before does not take that back. */
static void stop_excusing(struct swim *s, uint64_t now_ms, struct swim_member *m,
                          const struct wire_vote *own, struct swim_out *out)
{
    clear_suspicion(m);
    m->doubt->vote[m->vote_count++] = *own;
    m->doubt->voted_ms = now_ms;
    m->doubt->unexcused = true;
    become_suspect(s, now_ms, m, out);
}

void swim_accuse(struct swim *s, uint64_t now_ms, struct swim_member *m, bool stalled, bool gone,
                 struct swim_out *out)
{
    struct wire_update u = {.state = stalled ? MEMBER_DEGRADED : MEMBER_SUSPECT,
                            .num = m->m.num,
                            .incarnation = m->m.incarnation,
                            .vote_count = 1};
    swim_vote(s, m, u.state, &u.vote[0]);
    /* Degraded is: the host answers, the process may come back. One that refuses connections has
     * no such process any more. */
    if (gone && m->m.state == MEMBER_DEGRADED) {
        stop_excusing(s, now_ms, m, &u.vote[0], out);
    } else {
        (void)!swim_update(s, now_ms, &u, swim_me(s)->m.num, false, out);
    }
    /* Lifeguard's buddy: the accused hears it first, from us. */
    swim_send(s, m->m.num, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
}

static void look_again(struct swim *s, uint64_t now_ms, struct swim_member *m, struct swim_out *out)
{
    swim_set_due(s, m, now_ms + SWIM_SUSPECT_HEARD_MS);
    swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out);
    /* Those who could join us are silent, too: not in a round's time, now. */
    const struct swim_member *other = swim_hears_nobody(s) ? swim_random_live(s, m) : NULL;
    if (other != NULL)
        swim_probe_start(s, now_ms, swim_at(s, other->slot), PROBE_RANDOM, 0, out);
}

/* Degraded is whose host answers, for as long as it says anything itself, however late (it knows
 * that it is slow, swim_calm.c); whoever never asked it has to before it says more than that. */
static void expire_degraded(struct swim *s, uint64_t now_ms, struct swim_member *m,
                            struct swim_out *out)
{
    uint64_t heard_until_ms = m->m.heard_mono_ms + SWIM_STALLED_MS;
    struct wire_vote own;
    /* Its observers say so first; then there are votes for everybody. But they may know a later
     * life of it, with another key, and say nothing more of this one: then our own look. */
    bool mine = is_mine(s, m) || own_vote(s, m->doubt->vote, m->vote_count);
    if (is_lone(s, m) && now_ms < m->doubt->since_ms + SWIM_STALLED_MS) {
        swim_set_due(s, m, now_ms + SWIM_TALKS_MS);
        swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out); /* nobody else may have told it */
    } else if (now_ms < heard_until_ms) {
        m->looked = 0;
        swim_set_due(s, m, heard_until_ms);
    } else if (!m->looked && (!mine || swim_is_sick(s, now_ms))) {
        /* All at one time: where hundreds are degraded for long each would wake us again and again.
         * When we get to look at it ourselves it is reconsidered at once. */
        swim_set_due(s, m, (now_ms / SWIM_STALLED_MS + 1) * SWIM_STALLED_MS);
    } else if (swim_is_sick(s, now_ms)) {
        swim_set_due(s, m, now_ms + SWIM_TALKS_MS);
    } else if (!m->looked) {
        m->looked = 1;
        swim_set_due(s, m, now_ms + SWIM_TALKS_MS);
        swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out);
    } else {
        swim_vote(s, m, MEMBER_SUSPECT, &own);
        stop_excusing(s, now_ms, m, &own, out);
    }
}

void swim_reconsider(struct swim *s, uint64_t now_ms, struct swim_member *m)
{
    if (m->m.state == MEMBER_DEGRADED && !m->looked &&
        now_ms >= m->doubt->since_ms + SWIM_STALLED_MS)
        swim_set_due(s, m, now_ms);
}

static void expire(struct swim *s, uint64_t now_ms, struct swim_member *m, struct swim_out *out)
{
    if (m->m.state == MEMBER_DEGRADED) {
        expire_degraded(s, now_ms, m, out);
        return;
    }
    bool sick = swim_is_sick(s, now_ms);
    bool enough = m->vote_count >= swim_quorum(s, m);
    /* Never bury on our own what still talks to us: it has not heard of the suspicion yet. */
    bool talks =
        m->m.heard_mono_ms > m->doubt->since_ms && now_ms - m->m.heard_mono_ms < SWIM_TALKS_MS;
    if (sick || talks) {
        swim_set_due(s, m, now_ms + SWIM_SUSPECT_HEARD_MS);
        swim_send(s, m->m.num, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
    } else if (!enough || (!m->looked && (m->strong || m->vote_count <= need(s, m)))) {
        /* Nobody is buried on one word: a look may add ours. And where few could join us in it,
         * or we hold it on others' word alone, it may never have heard of it (a partition that
         * healed meanwhile). */
        m->looked = 1;
        look_again(s, now_ms, m, out);
    } else {
        bury(s, now_ms, m, SWIM_CAUSE_TIMEOUT, 0);
        swim_send(s, m->m.num, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
    }
}

uint64_t swim_watch_deadline(const struct swim *s)
{
    return s->watch != NULL ? s->watch->due_ms : UINT64_MAX;
}

/* Each is buried, or ends later: this ends. */
void swim_watch(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    while (now_ms >= swim_watch_deadline(s))
        expire(s, now_ms, swim_at(s, s->watch->slot), out);
}
