/* SPDX-License-Identifier: Apache-2.0
 * What members say of each other: which word counts, suspicion, refutation, death.
 * Order of words (SWIM 4.2): the greater incarnation wins; at equal incarnation alive < degraded
 * < suspect < failed < left. Only a member itself raises its incarnation. */
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/swim_int.h"

static void clear_suspicion(struct swim_member *m)
{
    m->from_count = 0;
    m->strong = 0;
    m->looked = 0;
    m->due_ms = 0;
    m->since_ms = 0;
}

/* ---- about this member itself ---- */

void swim_raise(struct swim *s, uint64_t now_ms, uint64_t incarnation)
{
    struct swim_member *me = swim_me(s);
    if (incarnation > WIRE_INCARNATION_MAX)
        return;
    swim_set_state(s, now_ms, me, MEMBER_ALIVE, incarnation, SWIM_CAUSE_REFUTED, 0);
    s->raised = true;
    swim_enqueue(s, now_ms, me);
}

static void about_self(struct swim *s, uint64_t now_ms, const struct wire_update *u)
{
    struct swim_member *me = swim_me(s);
    if (u->incarnation < me->m.incarnation || s->leaving_ms != 0)
        return;
    if (u->state == MEMBER_ALIVE && u->incarnation == me->m.incarnation && u->epoch == me->epoch &&
        wire_addr_equal(&u->addr, &me->m.addr))
        return; /* our own word coming back */
    if (u->incarnation - me->m.incarnation > SWIM_JUMP) {
        s->refused_claims++; /* nobody else takes it either: answering would only burn numbers */
        return;
    }
    /* Lifeguard: being suspected hints that we are slow ourselves. */
    if (u->state == MEMBER_SUSPECT)
        swim_worse(s, now_ms, 1);
    swim_raise(s, now_ms, u->incarnation + 1);
}

/* ---- alive ---- */

static void take_body(struct swim *s, struct swim_member *m, const struct wire_update *u,
                      uint64_t teller)
{
    bool same =
        wire_addr_equal(&m->m.addr, &u->addr) && memcmp(&m->m.meta, &u->meta, sizeof u->meta) == 0;
    m->m.addr = u->addr;
    m->m.meta = u->meta;
    if (u->epoch > m->epoch)
        m->epoch = u->epoch;
    if (!same)
        swim_mark_dirty(s, m, SWIM_CAUSE_META, teller);
}

static void alive(struct swim *s, uint64_t now_ms, struct swim_member *m,
                  const struct wire_update *u, uint64_t teller)
{
    bool direct = teller == m->m.num;
    /* Somebody made others believe in an incarnation that its owner never had: its own word
     * counts, however low. */
    bool back = direct && m->m.incarnation > u->incarnation &&
                m->m.incarnation - u->incarnation > SWIM_JUMP;
    if (u->incarnation <= m->m.incarnation && !back)
        return;
    take_body(s, m, u, teller);
    bool lived = swim_is_live(m->m.state);
    clear_suspicion(m);
    swim_set_state(s, now_ms, m, MEMBER_ALIVE, u->incarnation,
                   lived ? SWIM_CAUSE_REFUTED : SWIM_CAUSE_JOINED, teller);
    swim_enqueue(s, now_ms, m);
}

/* ---- suspicion ---- */

/* Confirmations that make a suspicion short; a small cluster has fewer to give. */
static unsigned need(const struct swim *s)
{
    return s->live < 2 ? 0 : (unsigned)swim_min(SWIM_NEED, s->live - 2);
}

static void set_due(struct swim *s, uint64_t now_ms, struct swim_member *m)
{
    /* max - (max - min) * log(c + 1) / log(need + 1), Lifeguard section IV-B, as a table. */
    static const uint16_t part[SWIM_NEED + 1][SWIM_NEED + 1] = {
        {0, 0, 0}, {0, 1000, 1000}, {0, 631, 1000}};
    unsigned want = need(s);
    unsigned have = m->from_count > 0 ? m->from_count - 1u : 0;
    if (have > want)
        have = want;
    uint64_t wait;
    if (m->strong)
        wait = SWIM_SUSPECT_HEARD_MS;
    else if (want == 0)
        wait = SWIM_SUSPECT_PAIR_MS * (1 + s->health);
    else {
        uint64_t saved = (SWIM_SUSPECT_MAX_MS - SWIM_SUSPECT_MIN_MS) * part[want][have] / 1000;
        wait = SWIM_SUSPECT_MAX_MS - saved;
        if (have < want)
            wait *= 1 + s->health;
    }
    m->due_ms = m->since_ms + wait;
    if (m->due_ms < now_ms)
        m->due_ms = now_ms;
    if (s->watch_ms == 0 || m->due_ms < s->watch_ms)
        s->watch_ms = m->due_ms;
}

static bool add_from(struct swim_member *m, const struct wire_update *u)
{
    bool added = false;
    for (size_t i = 0; i < u->from_count; i++) {
        bool known = u->from[i] == 0 || u->from[i] == m->m.num;
        for (size_t k = 0; k < m->from_count; k++)
            known = known || m->from[k] == u->from[i];
        if (known || m->from_count == WIRE_FROM_MAX)
            continue;
        m->from[m->from_count++] = u->from[i];
        added = true;
    }
    return added;
}

static void trace_claims(struct swim_member *m)
{
    if (m->from_count == 0)
        return;
    m->trace.suspected_by = m->from[0];
    m->trace.confirmed_count = (uint8_t)(m->from_count - 1);
    for (size_t i = 1; i < m->from_count; i++)
        m->trace.confirmed[i - 1] = m->from[i];
}

/* A suspect's observers look for themselves at once; so does everybody in a small cluster. */
static void confirm(struct swim *s, uint64_t now_ms, struct swim_member *m, struct swim_out *out)
{
    bool mine = s->live <= 2 * SWIM_RINGS;
    for (unsigned i = 0; i < SWIM_RINGS; i++)
        mine = mine || s->ring[i].slot == swim_slot_of(s, m);
    for (unsigned i = 0; i < SWIM_RELAYS; i++)
        mine = mine || (s->relay[i].seq != 0 && s->relay[i].slot == swim_slot_of(s, m));
    if (mine && s->leaving_ms == 0)
        swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out);
}

static void become_suspect(struct swim *s, uint64_t now_ms, struct swim_member *m,
                           uint64_t incarnation, bool strong, uint64_t by, struct swim_out *out)
{
    m->since_ms = now_ms;
    m->strong = strong;
    m->trace.suspected_ms = now_ms;
    m->trace.failed_ms = 0;
    bool own = by == swim_me(s)->m.num;
    if (!own)
        m->trace.direct = m->trace.helpers = m->trace.nacks = m->trace.check = 0;
    swim_set_state(s, now_ms, m, MEMBER_SUSPECT, incarnation,
                   own ? SWIM_CAUSE_PROBES : SWIM_CAUSE_CLAIMED, own ? 0 : by);
    set_due(s, now_ms, m);
    swim_enqueue(s, now_ms, m);
    if (!own)
        confirm(s, now_ms, m, out);
}

static void claim_suspect(struct swim *s, uint64_t now_ms, struct swim_member *m,
                          const struct wire_update *u, uint64_t teller, struct swim_out *out)
{
    bool newer = u->incarnation > m->m.incarnation;
    uint64_t by = u->from_count > 0 ? u->from[0] : teller;
    if (!swim_is_live(m->m.state) && !newer)
        return;
    if (newer || m->m.state == MEMBER_ALIVE)
        clear_suspicion(m);
    bool added = add_from(m, u);
    trace_claims(m);
    if (m->m.state == MEMBER_SUSPECT && !newer) {
        if (added) {
            set_due(s, now_ms, m);
            swim_enqueue(s, now_ms, m);
        }
    } else if (m->m.state != MEMBER_DEGRADED || newer || m->from_count > need(s)) {
        become_suspect(s, now_ms, m, u->incarnation, false, by, out);
    } else if (added && by != swim_me(s)->m.num) {
        confirm(s, now_ms, m, out); /* one voice is too few; our own look decides */
    }
}

static void claim_degraded(struct swim *s, uint64_t now_ms, struct swim_member *m,
                           const struct wire_update *u, uint64_t teller)
{
    bool newer = u->incarnation > m->m.incarnation;
    if (!newer && (m->m.state == MEMBER_DEGRADED || !swim_is_live(m->m.state)))
        return;
    /* Proof that the host is there outweighs the silence that led to a suspicion, unless a
     * quorum saw silence. */
    if (!newer && m->m.state == MEMBER_SUSPECT && (m->strong || m->from_count > need(s)))
        return;
    clear_suspicion(m);
    m->since_ms = now_ms;
    m->due_ms = now_ms + SWIM_STALLED_MS;
    if (s->watch_ms == 0 || m->due_ms < s->watch_ms)
        s->watch_ms = m->due_ms;
    m->trace.suspected_ms = now_ms;
    m->trace.suspected_by = u->from_count > 0 ? u->from[0] : teller;
    m->trace.confirmed_count = 0;
    swim_set_state(s, now_ms, m, MEMBER_DEGRADED, u->incarnation, SWIM_CAUSE_STALLED,
                   m->trace.suspected_by);
    swim_enqueue(s, now_ms, m);
}

/* ---- death ---- */

static void bury(struct swim *s, uint64_t now_ms, struct swim_member *m, uint64_t incarnation,
                 enum swim_cause cause, uint64_t by)
{
    m->trace.failed_ms = now_ms;
    m->trace.failed_by = by;
    m->due_ms = 0;
    swim_set_state(s, now_ms, m, MEMBER_FAILED, incarnation, cause, by);
    swim_enqueue(s, now_ms, m);
}

static void claim_failed(struct swim *s, uint64_t now_ms, struct swim_member *m,
                         const struct wire_update *u, uint64_t teller, struct swim_out *out)
{
    bool newer = u->incarnation > m->m.incarnation;
    uint64_t by = u->from_count > 0 ? u->from[0] : teller;
    if (!swim_is_live(m->m.state)) {
        if (newer)
            bury(s, now_ms, m, u->incarnation, SWIM_CAUSE_CLAIMED, by);
        return;
    }
    bool silent = m->m.heard_mono_ms == 0 || m->m.heard_mono_ms <= m->since_ms;
    bool suspect = m->m.state == MEMBER_SUSPECT && !newer;
    if (suspect && !m->strong && silent && now_ms >= s->quiet_ms &&
        now_ms - m->since_ms >= SWIM_SUSPECT_MIN_MS) {
        bury(s, now_ms, m, m->m.incarnation, SWIM_CAUSE_CLAIMED, by);
        return;
    }
    /* We held it to be alive a moment ago: after a partition, or told by one sick member. It gets
     * the time to refute before we believe it; the paper would bury it at once. */
    if (suspect) {
        m->strong = 1;
        set_due(s, now_ms, m);
        return;
    }
    clear_suspicion(m);
    add_from(m, u);
    trace_claims(m);
    become_suspect(s, now_ms, m, u->incarnation, true, by, out);
}

static void claim_left(struct swim *s, uint64_t now_ms, struct swim_member *m,
                       const struct wire_update *u, uint64_t teller)
{
    if (m->m.state == MEMBER_LEFT && u->incarnation == m->m.incarnation)
        return;
    clear_suspicion(m);
    swim_set_state(s, now_ms, m, MEMBER_LEFT, u->incarnation, SWIM_CAUSE_LEFT, teller);
    swim_enqueue(s, now_ms, m);
}

/* ---- entry points ---- */

static void add_unknown(struct swim *s, uint64_t now_ms, const struct wire_update *u,
                        uint64_t teller, bool listed)
{
    if (!u->has_body) {
        s->refused_claims++;
        return;
    }
    enum gossip_state state = swim_is_live(u->state) ? MEMBER_ALIVE : u->state;
    struct swim_member *m = swim_add(
        s, now_ms, u, state, state == MEMBER_LEFT ? SWIM_CAUSE_LEFT : SWIM_CAUSE_JOINED, teller);
    if (m == NULL) {
        s->refused_claims++;
        return;
    }
    /* A list that a newcomer was given is known to the others; the digests find exceptions. */
    if (!listed)
        swim_enqueue(s, now_ms, m);
}

void swim_update(struct swim *s, uint64_t now_ms, const struct wire_update *u, uint64_t teller,
                 bool listed, struct swim_out *out)
{
    if (u->num == swim_me(s)->m.num) {
        about_self(s, now_ms, u);
        return;
    }
    struct swim_member *m = swim_get(s, u->num);
    if (m == NULL) {
        add_unknown(s, now_ms, u, teller, listed);
        m = swim_get(s, u->num);
        if (m == NULL || !swim_is_watched(u->state))
            return;
    }
    bool direct = teller == u->num;
    if ((u->has_body && strcmp(u->id, m->m.id) != 0) ||
        (!direct && u->incarnation > m->m.incarnation &&
         u->incarnation - m->m.incarnation > SWIM_JUMP)) {
        s->refused_claims++;
        return;
    }
    if (u->state == MEMBER_ALIVE) {
        alive(s, now_ms, m, u, teller);
        return;
    }
    if (u->incarnation < m->m.incarnation)
        return;
    if (u->has_body && u->incarnation > m->m.incarnation)
        take_body(s, m, u, teller);
    if (u->state == MEMBER_DEGRADED)
        claim_degraded(s, now_ms, m, u, teller);
    else if (u->state == MEMBER_SUSPECT)
        claim_suspect(s, now_ms, m, u, teller, out);
    else if (u->state == MEMBER_FAILED)
        claim_failed(s, now_ms, m, u, teller, out);
    else
        claim_left(s, now_ms, m, u, teller);
}

void swim_accuse(struct swim *s, uint64_t now_ms, struct swim_member *m, bool stalled, bool gone,
                 struct swim_out *out)
{
    /* Degraded is: the host answers, the process may come back. One that refuses connections has
     * no such process any more. */
    if (gone && m->m.state == MEMBER_DEGRADED) {
        clear_suspicion(m);
        m->from[m->from_count++] = swim_me(s)->m.num;
        trace_claims(m);
        become_suspect(s, now_ms, m, m->m.incarnation, false, swim_me(s)->m.num, out);
        swim_send(s, m->m.num, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
        return;
    }
    struct wire_update u = {.state = stalled ? MEMBER_DEGRADED : MEMBER_SUSPECT,
                            .num = m->m.num,
                            .incarnation = m->m.incarnation,
                            .from_count = 1,
                            .from = {swim_me(s)->m.num}};
    swim_update(s, now_ms, &u, swim_me(s)->m.num, false, out);
    /* Lifeguard's buddy: the accused hears it first, from us. */
    swim_send(s, m->m.num, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
}

static void expire(struct swim *s, uint64_t now_ms, struct swim_member *m, struct swim_out *out)
{
    bool sick = now_ms < s->quiet_ms || s->health >= SWIM_HEALTH_SILENT;
    /* Never bury on our own what still talks to us: it has not heard of the suspicion yet. */
    bool talks = m->m.heard_mono_ms > m->since_ms && now_ms - m->m.heard_mono_ms < SWIM_TALKS_MS;
    if (sick || talks) {
        m->due_ms = now_ms + 500;
        swim_send(s, m->m.num, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
        return;
    }
    if (m->m.state == MEMBER_DEGRADED) {
        become_suspect(s, now_ms, m, m->m.incarnation, true, swim_me(s)->m.num, out);
        return;
    }
    /* Nobody joined us in it: it may never have heard of it (a partition that healed meanwhile). */
    if (!m->looked && !m->strong && m->from_count <= need(s)) {
        m->looked = 1;
        m->due_ms = now_ms + SWIM_SUSPECT_HEARD_MS;
        swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out);
        return;
    }
    bury(s, now_ms, m, m->m.incarnation, SWIM_CAUSE_TIMEOUT, 0);
    swim_send(s, m->m.num, &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
}

uint64_t swim_watch_deadline(const struct swim *s)
{
    return s->watched > 0 && s->watch_ms != 0 ? s->watch_ms : UINT64_MAX;
}

void swim_watch(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    if (now_ms < swim_watch_deadline(s))
        return;
    uint64_t next = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        struct swim_member *m = &s->slot[s->order[i]];
        if (!swim_is_watched(m->m.state))
            continue;
        if (m->due_ms <= now_ms)
            expire(s, now_ms, m, out);
        if (swim_is_watched(m->m.state) && (next == 0 || m->due_ms < next))
            next = m->due_ms;
    }
    s->watch_ms = next;
}
