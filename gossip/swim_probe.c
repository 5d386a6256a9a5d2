/* SPDX-License-Identifier: Apache-2.0
 * Failure detector: probes by fixed observers and in random order, indirect probes, evidence. */
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/swim_int.h"

_Static_assert(SWIM_CONFIRM_TRIES *SWIM_CONFIRM_STEP_MS <= SWIM_SUSPECT_MIN_MS,
               "nobody waits for the names of those who look");

/* Far more than are answered late (SWIM_LATE_MS): none is taken for another. */
static uint16_t next_seq(struct swim *s)
{
    if (++s->seq == 0)
        s->seq = 1;
    return s->seq;
}

/* ---- timing ---- */

/* Twice the smoothed round trip and four deviations, within bounds, stretched by local health
 * (Lifeguard's LHA-Probe). */
static uint16_t probe_timeout(const struct swim *s, const struct swim_member *m)
{
    uint64_t ms = (2 * (uint64_t)m->m.rtt_us + 4 * (uint64_t)m->rttvar_us) / 1000;
    if (ms < SWIM_TIMEOUT_MIN_MS)
        ms = SWIM_TIMEOUT_MIN_MS;
    if (ms > SWIM_TIMEOUT_MAX_MS)
        ms = SWIM_TIMEOUT_MAX_MS;
    return (uint16_t)(ms * swim_stretch(s));
}

/* RFC 6298's smoothing. */
static void learn_rtt(struct swim_member *m, uint64_t us)
{
    if (us > 10u * 1000 * 1000)
        return;
    uint32_t rtt = us == 0 ? 1 : (uint32_t)us;
    if (m->m.rtt_us == 0) {
        m->m.rtt_us = rtt;
        m->rttvar_us = rtt / 2;
        return;
    }
    uint32_t off = rtt > m->m.rtt_us ? rtt - m->m.rtt_us : m->m.rtt_us - rtt;
    m->rttvar_us = m->rttvar_us - m->rttvar_us / 4 + off / 4;
    m->m.rtt_us = m->m.rtt_us - m->m.rtt_us / 8 + rtt / 8;
    if (m->m.rtt_us == 0)
        m->m.rtt_us = 1;
}

/* Which address is the ping with that number for? -1: it is not of this probe. */
static int probed_at(const struct swim_probe *p, uint16_t seq)
{
    for (int i = 0; i < (int)GOSSIP_ADDRS_MAX; i++)
        if (seq != 0 && p->seq[i] == seq)
            return i;
    return -1;
}

/* ---- sending pings ---- */

/* Two sums that look alike in one ping do not in the next. */
static uint32_t rows_told(const struct swim *s, uint16_t seq)
{
    return (uint32_t)hash_mix(s->rows ^ hash_mix(seq));
}

/* Whoever is held to be anything but alive is told so, and can refute. Whoever does not answer may
 * not know us: the second try says who we are. */
static void send_ping(struct swim *s, struct swim_member *m, uint8_t at, uint16_t seq, uint8_t ring,
                      bool again, struct swim_out *out)
{
    struct wire_head h = {.type = WIRE_PING, .seq = seq, .digest = swim_digest(s), .ring = ring};
    h.rows = rows_told(s, seq);
    if (ring != 0)
        swim_tell_beats(s, s->now_us / 1000, ring, &h);
    size_t before = out->count;
    swim_send(s, m->m.num, &h, m->m.state == MEMBER_ALIVE ? NULL : m, !again, out);
    if (out->count == before)
        return;
    if (again)
        swim_introduce(s, m->m.num, out);
    swim_send_at(m->m.num, at, out);
}

/* At the address in use, and at another beside it: each has a number of its own, so that an answer
 * says which of them it is to. */
static void ping_again(struct swim *s, struct swim_probe *p, struct swim_member *m,
                       struct swim_out *out)
{
    uint8_t at = p->readdressed ? m->m.using : p->via;
    uint16_t first = p->seq[p->via];
    send_ping(s, m, at, first, 0, true, out);
    p->other = swim_other_address(s, m, p->other, at);
    if (p->other == at)
        return;
    if (p->seq[p->other] == 0)
        p->seq[p->other] = next_seq(s);
    send_ping(s, m, p->other, p->readdressed ? first : p->seq[p->other], 0, true, out);
}

static struct swim_probe *free_probe(struct swim *s)
{
    struct swim_probe *late = NULL;
    for (unsigned i = 0; i < SWIM_PROBES; i++) {
        if (i == s->probes_used)
            s->probes_used++;
        if (s->probe[i].kind == PROBE_FREE)
            return &s->probe[i];
        if (s->probe[i].stage == 2 && (late == NULL || s->probe[i].started_ms < late->started_ms))
            late = &s->probe[i];
    }
    return late;
}

static bool is_probed(const struct swim *s, uint32_t slot)
{
    for (unsigned i = 0; i < s->probes_used; i++)
        if (s->probe[i].kind != PROBE_FREE && s->probe[i].slot == slot && s->probe[i].stage < 2)
            return true;
    return false;
}

static void want_check(struct swim_probe *p, const struct swim_member *m, struct swim_out *out)
{
    if (p->check != CHECK_NONE || out->checks == SWIM_CHECKS_MAX)
        return;
    p->check = CHECK_ASKED;
    out->check[out->checks++] = m->m.num;
}

void swim_probe_start(struct swim *s, uint64_t now_ms, struct swim_member *m,
                      enum swim_probe_kind kind, uint8_t ring, struct swim_out *out)
{
    if (is_probed(s, m->slot))
        return;
    struct swim_probe *p = free_probe(s);
    if (p == NULL)
        return;
    *p = (struct swim_probe){.kind = (uint8_t)kind,
                             .tries = 1,
                             .ring = ring,
                             .via = m->m.using,
                             .other = m->m.using,
                             .slot = m->slot,
                             .timeout_ms = probe_timeout(s, m),
                             .started_us = s->now_us,
                             .started_ms = now_ms};
    p->seq[p->via] = next_seq(s);
    p->due_ms = now_ms + p->timeout_ms / 2;
    if (kind == PROBE_DEAD) /* it has one more ping: at each of the others in turn */
        p->other = swim_other_address(s, m, (uint8_t)(s->seq % GOSSIP_ADDRS_MAX), p->via);
    if (kind == PROBE_CONFIRM) {
        uint64_t step = (uint64_t)p->timeout_ms * SWIM_CONFIRM_STEP_MS / SWIM_TIMEOUT_MIN_MS;
        p->due_ms = now_ms + step;
        want_check(p, m, out);
    }
    send_ping(s, m, p->via, p->seq[p->via], ring, kind == PROBE_DEAD, out);
}

static void go_indirect(struct swim *s, uint64_t now_ms, struct swim_probe *p,
                        struct swim_member *m, struct swim_out *out)
{
    p->stage = 1;
    p->tries++;
    p->due_ms = now_ms + SWIM_INDIRECT_MIN_MS * swim_stretch(s);
    if (p->due_ms < now_ms + p->timeout_ms)
        p->due_ms = now_ms + p->timeout_ms;
    ping_again(s, p, m, out);
    want_check(p, m, out);
    struct wire_head h = {.type = WIRE_PING_REQ, .seq = p->seq[p->via], .target = m->m.num};
    for (unsigned tries = 0; tries < 3 * SWIM_HELPERS && p->helpers < SWIM_HELPERS; tries++) {
        const struct swim_member *helper = swim_random_live(s, m);
        if (helper == NULL)
            break;
        uint32_t slot = helper->slot;
        bool again = false;
        for (unsigned i = 0; i < p->helpers; i++)
            again = again || p->helper[i] == slot;
        if (again || helper->m.state != MEMBER_ALIVE)
            continue;
        p->helper[p->helpers++] = slot;
        swim_send(s, helper->m.num, &h, NULL, true, out);
    }
}

/* ---- verdicts ---- */

static void note_evidence(struct swim_trace *t, const struct swim_probe *p)
{
    t->direct = p->tries;
    t->helpers = p->helpers;
    t->nacks = p->nacks;
    t->check = p->check;
    t->timeout_ms = p->timeout_ms;
}

static void verdict(struct swim *s, uint64_t now_ms, struct swim_probe *p, struct swim_out *out)
{
    struct swim_member *m = swim_at(s, p->slot);
    p->stage = 2;
    p->due_ms = p->started_ms + SWIM_LATE_MS;
    if (p->kind == PROBE_DEAD || !swim_is_live(m->m.state))
        return;
    /* Helpers that stay silent altogether say that the trouble is near us (LHA-Probe's nacks); a
     * refused connection ends the probe before they could answer. */
    if (p->helpers > 0 && p->nacks == 0 && p->check != CHECK_REFUSED)
        swim_worse(s, now_ms, 1);
    /* Any packet of its since the probe began is as good as an ack. */
    if (m->m.heard_mono_ms > p->started_ms)
        return;
    if (swim_is_sick(s, now_ms))
        return;
    bool stalled = p->check == CHECK_CONNECTED;
    /* Whoever takes our connections may be another life of it, which our packets do not reach. */
    if (stalled && out->hellos < SWIM_HELLOS_MAX)
        out->hello[out->hellos++] = m->m.num;
    /* Where we alone say so the others are to look again. */
    if (stalled && m->m.state == MEMBER_DEGRADED && m->stalled_count >= swim_quorum(s, m)) {
        swim_reconsider(s, now_ms, m);
        return;
    }
    struct swim_trace *t = &swim_doubt(s, m)->trace;
    if (m->m.state != MEMBER_SUSPECT || p->kind != PROBE_CONFIRM || t->direct == 0)
        note_evidence(t, p);
    swim_accuse(s, now_ms, m, stalled, p->check == CHECK_REFUSED, out);
    /* The members that looked with us, and its other observers, are to look again at once. */
    for (unsigned i = 0; i < p->helpers; i++)
        if (swim_look(s, p->helper[i])->m.num != 0)
            swim_send(s, swim_look(s, p->helper[i])->m.num,
                      &(struct wire_head){.type = WIRE_GOSSIP}, m, false, out);
    uint32_t observer[SWIM_RINGS];
    swim_observers(s, p->slot, observer);
    for (unsigned i = 0; i < SWIM_RINGS && p->kind != PROBE_CONFIRM; i++) {
        bool again = observer[i] == SWIM_NONE || observer[i] == s->self;
        for (unsigned k = 0; k < i; k++)
            again = again || observer[k] == observer[i];
        if (!again)
            swim_send(s, swim_look(s, observer[i])->m.num, &(struct wire_head){.type = WIRE_GOSSIP},
                      m, false, out);
    }
}

static void probe_due(struct swim *s, uint64_t now_ms, struct swim_probe *p, struct swim_out *out)
{
    struct swim_member *m = swim_at(s, p->slot);
    if (p->stage == 0 && p->tries == 1 && p->kind != PROBE_DEAD)
        m->m.loss_permille = (uint16_t)(m->m.loss_permille + (1000 - m->m.loss_permille) / 16);
    if (p->stage == 2) {
        if (p->found != 0 && p->via == m->m.using)
            swim_readdress(s, now_ms, m, (uint8_t)(p->found - 1));
        p->kind = PROBE_FREE;
    } else if (p->kind == PROBE_CONFIRM && p->tries < SWIM_CONFIRM_TRIES) {
        p->due_ms = now_ms + (p->due_ms - p->started_ms) / p->tries;
        p->tries++;
        ping_again(s, p, m, out);
    } else if (p->kind != PROBE_CONFIRM && p->tries == 1) {
        /* A lost packet is the usual reason: one more before others are troubled. */
        p->tries++;
        p->due_ms = p->started_ms + p->timeout_ms;
        ping_again(s, p, m, out);
    } else if (p->stage == 0 && (p->kind == PROBE_RING || p->kind == PROBE_RANDOM)) {
        go_indirect(s, now_ms, p, m, out);
    } else {
        verdict(s, now_ms, p, out);
    }
}

/* ---- schedule ---- */

/* A bijection of the numbers of so many bits: odd factors and right shifts lose nothing. */
static uint32_t round_place(const struct swim *s, uint32_t i)
{
    uint32_t mask = s->round_bits == 32 ? UINT32_MAX : (1u << s->round_bits) - 1;
    for (unsigned k = 0; k < 3; k++) {
        i = (i * (s->round_key[k] | 1u) + (s->round_key[k] >> 7)) & mask;
        i ^= i >> (s->round_bits / 2 + 1);
    }
    return i;
}

/* SWIM 4.3: every member once per round, in an order drawn anew for each round; computed, for a
 * list of it would be as long as that of the members. */
static struct swim_member *next_in_round(struct swim *s)
{
    for (uint32_t tries = 0; tries < SWIM_ROUND_TRIES && s->live > 1; tries++) {
        if (s->walk >= 1u << s->round_bits || s->round_bits == 0) {
            s->walk = 0;
            for (s->round_bits = 1; 1u << s->round_bits < s->count;)
                s->round_bits++;
            for (unsigned k = 0; k < 3; k++)
                s->round_key[k] = (uint32_t)prng_next(&s->prng);
        }
        uint32_t i = round_place(s, s->walk++);
        const struct swim_member *m = i < s->count ? swim_look(s, s->order[i]) : NULL;
        if (m != NULL && !m->m.self && swim_is_live(m->m.state))
            return swim_at(s, m->slot);
    }
    return NULL;
}

/* The dead are kept and pinged, so that partitions heal (Serf's reconnect). Each of them is pinged
 * about twice a second by the whole cluster together, whatever its size; half of a cluster by the
 * other half far more. Every third time with a join, for one that came back with a new session. */
static void ping_dead(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    if (s->failed == 0 || (prng_below(&s->prng, s->live) >= 2 * (uint64_t)s->failed))
        return;
    struct swim_member *m = swim_at(s, s->failed_list[prng_below(&s->prng, s->failed)]);
    if (m->evicted)
        return; /* nobody waits for it */
    if (prng_below(&s->prng, 3) == 0 && out->hellos < SWIM_HELLOS_MAX)
        out->hello[out->hellos++] = m->m.num;
    else
        swim_probe_start(s, now_ms, m, PROBE_DEAD, 0, out);
}

/* What an observer's ping shows of the observer is not asked again. One that did not come counts as
 * a first ping that found no answer. */
static void look_at_absent(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    const struct swim_member *m;
    while ((m = swim_absent(s, now_ms)) != NULL) {
        uint16_t before = s->seq;
        swim_probe_start(s, now_ms, swim_at(s, m->slot), PROBE_RING, 0, out);
        for (unsigned i = 0; i < s->probes_used && s->seq != before; i++)
            if (s->probe[i].kind == PROBE_RING && probed_at(&s->probe[i], s->seq) >= 0)
                s->probe[i].tries = 2;
    }
}

/* A random probe goes with the next one of a ring: it needs no wake of its own. */
static uint64_t random_deadline(const struct swim *s)
{
    return s->random_ms + SWIM_RING_PERIOD_MS;
}

/* A member that we observe anew does not expect us before our first ping, and we know no beat that
 * suits both: it is pinged soon, not when the one before was to be. */
static uint64_t ring_due(const struct swim_ring *ring)
{
    bool anew = ring->slot != SWIM_NONE && ring->slot != ring->asked;
    return anew ? swim_min(ring->due_ms, ring->asked_ms + SWIM_RING_SOON_MS) : ring->due_ms;
}

static void ping_ring(struct swim *s, uint64_t now_ms, uint8_t i, struct swim_out *out)
{
    struct swim_ring *ring = &s->ring[i];
    /* Our own steady rhythm, until the target's ack says what suits both. */
    while (ring->due_ms < now_ms + SWIM_RING_PERIOD_MS / 2)
        ring->due_ms += SWIM_RING_PERIOD_MS;
    ring->asked = ring->slot;
    ring->asked_ms = now_ms;
    if (ring->slot != SWIM_NONE)
        swim_probe_start(s, now_ms, swim_at(s, ring->slot), PROBE_RING, (uint8_t)(i + 1), out);
}

static void schedule(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    if (s->rings_stale)
        swim_find_rings(s);
    look_at_absent(s, now_ms, out);
    bool awake = false;
    for (uint8_t i = 0; i < SWIM_RINGS; i++) {
        if (now_ms < ring_due(&s->ring[i]))
            continue;
        awake = true;
        ping_ring(s, now_ms, i, out);
    }
    if (now_ms >= s->random_ms && (awake || now_ms >= random_deadline(s))) {
        s->random_ms = now_ms + SWIM_RANDOM_PERIOD_MS;
        struct swim_member *m = next_in_round(s);
        if (m != NULL)
            swim_probe_start(s, now_ms, m, PROBE_RANDOM, 0, out);
    }
    if (now_ms >= s->dead_ms) {
        s->dead_ms = now_ms + SWIM_DEAD_PING_MS;
        ping_dead(s, now_ms, out);
    }
}

static void relay_due(struct swim *s, uint64_t now_ms, struct swim_relay *r, struct swim_out *out)
{
    struct swim_member *m = swim_at(s, r->slot);
    if (r->tries < 2) {
        r->tries++;
        r->due_ms = now_ms + SWIM_INDIRECT_MIN_MS / 3;
        uint8_t via = m->m.using, other = swim_other_address(s, m, via, via);
        send_ping(s, m, via, r->seq, 0, true, out);
        if (other != via)
            send_ping(s, m, other, r->seq, 0, true, out);
    } else if (r->tries == 2) {
        struct wire_head h = {.type = WIRE_NACK, .seq = r->asker_seq};
        swim_send(s, r->asker, &h, NULL, true, out);
        r->tries++; /* remembered a while: if the suspicion comes, we are asked to confirm */
        r->due_ms = now_ms + 1000;
    } else {
        r->seq = 0;
    }
}

void swim_probe_tick(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    for (unsigned i = 0; i < s->probes_used; i++)
        if (s->probe[i].kind != PROBE_FREE && now_ms >= s->probe[i].due_ms)
            probe_due(s, now_ms, &s->probe[i], out);
    for (unsigned i = 0; i < s->relays_used; i++)
        if (s->relay[i].seq != 0 && now_ms >= s->relay[i].due_ms)
            relay_due(s, now_ms, &s->relay[i], out);
    if (s->leaving_ms == 0)
        schedule(s, now_ms, out);
    while (s->probes_used > 0 && s->probe[s->probes_used - 1].kind == PROBE_FREE)
        s->probes_used--;
    while (s->relays_used > 0 && s->relay[s->relays_used - 1].seq == 0)
        s->relays_used--;
}

uint64_t swim_probe_deadline(const struct swim *s)
{
    uint64_t due = UINT64_MAX;
    for (unsigned i = 0; i < s->probes_used; i++)
        if (s->probe[i].kind != PROBE_FREE)
            due = swim_min(due, s->probe[i].due_ms);
    for (unsigned i = 0; i < s->relays_used; i++)
        if (s->relay[i].seq != 0)
            due = swim_min(due, s->relay[i].due_ms);
    if (s->leaving_ms != 0)
        return due;
    for (unsigned i = 0; i < SWIM_RINGS; i++)
        due = swim_min(due, ring_due(&s->ring[i]));
    due = swim_min(swim_min(due, random_deadline(s)), swim_absent_deadline(s));
    return s->count > s->live ? swim_min(due, s->dead_ms) : due; /* nobody dead, nobody to ping */
}

void swim_probe_reset(struct swim *s)
{
    for (unsigned i = 0; i < s->probes_used; i++) {
        s->probe[i].stage = 2;
        s->probe[i].found = 0;
    }
    memset(s->relay, 0, sizeof s->relay);
}

/* ---- packets ---- */

/* Pings and acks bring the digests of whoever observes us and whom we observe. News on its way
 * makes digests differ for a moment; if none agreed for a while, and ours stands still, somebody
 * lacks something: lists are compared. An outlier differs from everyone and so is the one that
 * asks. */
static void compare_digest(struct swim *s, uint64_t now_ms, struct swim_member *m, uint32_t digest,
                           struct swim_out *out)
{
    if (digest == swim_digest(s)) {
        s->differs_ms = 0;
        s->sync_tries = 0;
        return;
    }
    /* Others found it before anybody whom it asked was there to welcome it: it has no list. */
    if (!s->settled)
        swim_settle(s, now_ms);
    if (s->differs_ms == 0)
        s->differs_ms = now_ms;
    uint64_t since = now_ms - s->differs_ms;
    bool steady = now_ms - s->digest_changed_ms >= SWIM_STEADY_MS || since >= SWIM_CHURN_MS;
    /* Two who err alike and observe each other would never hear others differ for long. */
    bool still = now_ms - s->digest_changed_ms >= SWIM_STILL_MS;
    if ((!still && (since < SWIM_DIFFERS_MS || !steady)) || now_ms < s->sync_ms)
        return;
    swim_sync_ask(s, now_ms, m->m.num, false, false, out);
    /* A lasting disagreement must not become a stream of lists: the gaps double while ours stays as
     * it is. */
    if (s->asked_digest != swim_digest(s))
        s->sync_tries = 0;
    s->asked_digest = swim_digest(s);
    s->sync_ms = now_ms + ((uint64_t)SWIM_SYNC_GAP_MS << s->sync_tries);
    if (s->sync_tries < SWIM_SYNC_TRIES)
        s->sync_tries++;
}

void swim_on_ping(struct swim *s, uint64_t now_ms, uint64_t from, bool proven,
                  const struct wire_head *h, struct swim_out *out)
{
    struct swim_member *m = swim_get(s, from);
    struct wire_head ack = {.type = WIRE_ACK, .seq = h->seq, .digest = swim_digest(s)};
    if (m != NULL && proven && h->ring >= 1 && h->ring <= SWIM_RINGS)
        ack.wait_ms = swim_next_beat(s, now_ms, from, h);
    /* A stranger's address is not proven: the answer is no longer than what came. That it left is
     * said in less than it said of itself; nobody else would tell it, for nobody asks who left. */
    bool tell = m != NULL && (proven ? m->m.state != MEMBER_ALIVE : m->m.state == MEMBER_LEFT);
    swim_send(s, 0, &ack, tell ? m : NULL, proven, out);
    if (m == NULL || !proven)
        return;
    out->rows = h->rows == rows_told(s, h->seq) ? ROWS_SAME : ROWS_DIFFER;
    out->rows_from = from;
    compare_digest(s, now_ms, m, h->digest, out);
}

static void relayed_ack(struct swim *s, uint64_t now_ms, struct swim_relay *r, struct swim_out *out)
{
    struct wire_head h = {.type = WIRE_ACK, .seq = r->asker_seq, .digest = swim_digest(s)};
    (void)now_ms;
    swim_send(s, r->asker, &h, NULL, true, out);
    r->seq = 0;
}

/* It lives. Where another address than the one in use answered, that one has a moment left: a lost
 * packet is the usual reason. */
static void answered(struct swim *s, uint64_t now_ms, struct swim_probe *p, struct swim_member *m,
                     uint8_t at)
{
    if (p->readdressed || at == p->via) {
        if (!p->readdressed)
            swim_address_answered(s, m, at);
        p->kind = PROBE_FREE;
        return;
    }
    if (p->found != 0)
        return;
    p->found = (uint8_t)(at + 1);
    p->stage = 2;
    p->due_ms = now_ms + p->timeout_ms / 2;
    swim_address_answered(s, m, at);
}

void swim_on_ack(struct swim *s, uint64_t now_ms, uint64_t from, const struct wire_head *h,
                 struct swim_out *out)
{
    for (unsigned i = 0; h->seq != 0 && i < s->relays_used; i++)
        if (s->relay[i].seq == h->seq && swim_look(s, s->relay[i].slot)->m.num == from)
            relayed_ack(s, now_ms, &s->relay[i], out);
    for (unsigned i = 0; i < s->probes_used; i++) {
        struct swim_probe *p = &s->probe[i];
        int at = p->kind == PROBE_FREE ? -1 : probed_at(p, h->seq);
        if (at < 0)
            continue;
        struct swim_member *m = swim_at(s, p->slot);
        bool direct = m->m.num == from;
        bool helped = false;
        for (unsigned k = 0; k < p->helpers; k++)
            helped = helped || swim_look(s, p->helper[k])->m.num == from;
        if (!direct && !helped)
            return;
        compare_digest(s, now_ms, swim_get(s, from), h->digest, out);
        if (direct && at == p->via)
            learn_rtt(m, s->now_us - p->started_us);
        if (direct && p->stage == 0 && p->tries == 1)
            m->m.loss_permille = (uint16_t)(m->m.loss_permille - (m->m.loss_permille + 15) / 16);
        if (direct && p->stage == 0 && s->health > 0)
            s->health--;
        if (p->ring != 0 && h->wait_ms != 0 && s->ring[p->ring - 1].slot == p->slot) {
            uint64_t wait = h->wait_ms, due = p->started_ms + wait;
            /* A target cannot talk itself out of being observed. */
            if (wait >= SWIM_WAIT_MIN_MS && wait <= SWIM_WAIT_MAX_MS && due > now_ms)
                s->ring[p->ring - 1].due_ms = due;
        }
        if (direct)
            answered(s, now_ms, p, m, (uint8_t)at);
        else if (p->stage < 2)
            p->kind = PROBE_FREE;
        return;
    }
}

void swim_on_nack(struct swim *s, const struct wire_head *h)
{
    for (unsigned i = 0; i < s->probes_used; i++)
        if (s->probe[i].kind != PROBE_FREE && probed_at(&s->probe[i], h->seq) >= 0 &&
            s->probe[i].nacks < s->probe[i].helpers)
            s->probe[i].nacks++;
}

void swim_on_ping_req(struct swim *s, uint64_t now_ms, uint64_t from, const struct wire_head *h,
                      struct swim_out *out)
{
    struct swim_member *m = swim_get(s, h->target);
    struct swim_relay *free = NULL;
    unsigned same = 0;
    if (m == NULL || m->m.self || m->m.state == MEMBER_LEFT || swim_get(s, from) == NULL)
        return;
    for (unsigned i = 0; i < s->relays_used; i++) {
        struct swim_relay *r = &s->relay[i];
        if (r->seq == 0)
            free = r;
        else if (r->asker == from && (r->slot == m->slot || ++same == SWIM_RELAYS_EACH))
            return; /* no amplification by repeating it, and the others need us, too */
    }
    if (free == NULL && s->relays_used < SWIM_RELAYS)
        free = &s->relay[s->relays_used++];
    if (free == NULL)
        return;
    *free = (struct swim_relay){.asker = from,
                                .due_ms = now_ms + SWIM_INDIRECT_MIN_MS / 3,
                                .asker_seq = h->seq,
                                .seq = next_seq(s),
                                .slot = m->slot,
                                .tries = 1};
    send_ping(s, m, m->m.using, free->seq, 0, false, out);
    swim_reconsider(s, now_ms, m);
}

void swim_checked(struct swim *s, uint64_t now_ms, uint64_t num, uint8_t at, enum swim_check result,
                  struct swim_out *out)
{
    const struct swim_member *m = swim_find(s, num);
    (void)out;
    if (m == NULL)
        return;
    for (unsigned i = 0; i < s->probes_used; i++) {
        struct swim_probe *p = &s->probe[i];
        if (p->kind == PROBE_FREE || p->slot != m->slot || p->check == CHECK_NONE ||
            p->check == CHECK_REFUSED)
            continue;
        if (result == CHECK_REFUSED) /* also where it was connected a moment ago: it was dying */
            p->refused |= (uint8_t)(1u << at);
        if (result == CHECK_REFUSED && (swim_usable(s, m) & ~p->refused) != 0)
            continue;
        if (p->check == CHECK_CONNECTED && result == CHECK_SILENT)
            continue;
        p->check = (uint8_t)result;
        /* Nobody listens there any more: no need to wait for silence. Others must still agree. */
        if (result == CHECK_REFUSED && p->stage < 2 && p->due_ms > now_ms) {
            p->tries = SWIM_CONFIRM_TRIES;
            p->stage = 1;
            p->due_ms = now_ms;
        }
    }
}
