/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/swim.h"

#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/swim_int.h"

/* The first deadlines, spread by chance: agents start together. */
void swim_begin(struct swim *s, uint64_t now_ms)
{
    uint64_t start = prng_below(&s->prng, SWIM_RING_PERIOD_MS / SWIM_RINGS);
    for (unsigned i = 0; i < SWIM_RINGS; i++) {
        s->ring[i].slot = SWIM_NONE;
        s->ring[i].observer = 0;
        s->ring[i].due_ms = now_ms + start + i * SWIM_RING_PERIOD_MS / SWIM_RINGS;
        s->ring[i].asked = SWIM_NONE;
        s->ring[i].asked_ms = s->ring[i].due_ms;
    }
    s->random_ms = now_ms + prng_below(&s->prng, SWIM_RANDOM_PERIOD_MS);
    s->dead_ms = now_ms + prng_below(&s->prng, SWIM_DEAD_PING_MS);
    s->reap_ms = now_ms + 60 * 1000;
    s->promised_ms = swim_deadline(s);
}

void swim_init(struct swim *s, const struct swim_options *options, uint64_t now_ms)
{
    ENSURE(s->count == 0);
    ENSURE(options->incarnation <= WIRE_INCARNATION_MAX);
    prng_seed(&s->prng, options->seed);
    s->now_us = now_ms * 1000;
    struct wire_update me = {.state = MEMBER_ALIVE,
                             .num = hash_str(options->id),
                             .incarnation = options->incarnation,
                             .has_body = true,
                             .epoch = options->epoch,
                             .addrs = options->addrs,
                             .meta = options->meta};
    memcpy(me.id, options->id, strnlen(options->id, sizeof me.id - 1));
    memcpy(me.key, options->key, sizeof me.key);
    ENSURE(options->trust.sign != NULL && options->trust.verify != NULL);
    s->trust = options->trust;
    s->ipv6 = options->ipv6;
    s->born_ms = now_ms;
    s->unix_s = options->unix_s;
    swim_lay(s, options->members);
    struct swim_member *m = swim_add(s, now_ms, &me, MEMBER_ALIVE, SWIM_CAUSE_JOINED, 0);
    ENSURE(m != NULL);
    m->m.self = true;
    s->self = m->slot;
    swim_sign_self(s);
    swim_begin(s, now_ms);
}

const struct swim_member *swim_self(const struct swim *s)
{
    return swim_look(s, s->self);
}

bool swim_take_raised(struct swim *s, uint64_t *ret_incarnation)
{
    bool raised = s->raised;
    s->raised = false;
    *ret_incarnation = swim_self(s)->m.incarnation;
    return raised;
}

uint64_t swim_deadline(const struct swim *s)
{
    uint64_t due = swim_min(swim_probe_deadline(s), swim_spread_deadline(s));
    due = swim_min(swim_min(due, s->reap_ms), swim_calm_deadline(s));
    return swim_min(due, swim_watch_deadline(s));
}

void swim_worse(struct swim *s, uint64_t now_ms, uint64_t by)
{
    s->health = (uint32_t)swim_min(SWIM_HEALTH_MAX, s->health + by);
    s->worse_ms = now_ms;
}

/* Helpers and targets that stay silent say that the trouble is near us: late acks, lost packets.
 * Where nothing comes from anybody any more that is no reason to wait: all others are gone, or out
 * of reach, which is the same from here. Others do not bury on our word alone. */
bool swim_hears_nobody(const struct swim *s)
{
    return s->now_us / 1000 >= s->heard_ms + SWIM_ALONE_MS;
}

static uint32_t health(const struct swim *s)
{
    return swim_hears_nobody(s) ? 0 : s->health;
}

bool swim_is_sick(const struct swim *s, uint64_t now_ms)
{
    return now_ms < s->quiet_ms || health(s) >= SWIM_HEALTH_SILENT;
}

uint32_t swim_stretch(const struct swim *s)
{
    return 1 + health(s);
}

/* This process did not run for a while: what it missed says nothing about others. Its open probes
 * are dropped, suspicions get the lost time back, and it accuses nobody until late acks are in. */
static void wake(struct swim *s, uint64_t now_ms, uint64_t late_ms)
{
    swim_worse(s, now_ms, 1 + late_ms / 2000);
    s->quiet_ms = now_ms + SWIM_QUIET_MS;
    swim_was_paused(s, now_ms);
    swim_probe_reset(s);
    swim_put_off(s, late_ms, s->quiet_ms);
    for (unsigned i = 0; i < SWIM_RINGS; i++)
        s->ring[i].observer = 0;
    for (unsigned i = 0; i < SWIM_RINGS; i++)
        if (s->ring[i].due_ms < now_ms)
            s->ring[i].due_ms = now_ms + (i + 1) * SWIM_RING_PERIOD_MS / SWIM_RINGS;
}

static void enter(struct swim *s, uint64_t now_ms)
{
    if (s->now_us / 1000 < now_ms)
        s->now_us = now_ms * 1000;
    if (s->promised_ms != 0 && now_ms > s->promised_ms && now_ms - s->promised_ms > SWIM_PAUSE_MS)
        wake(s, now_ms, now_ms - s->promised_ms);
    if (s->health > 0 && now_ms >= s->worse_ms + SWIM_HEALTHIER_MS) {
        s->worse_ms = now_ms;
        s->health--;
    }
}

/* News goes out in the step that brought it. */
static void leave_step(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    swim_spread_tick(s, now_ms, out);
    uint64_t due = swim_deadline(s);
    s->promised_ms = due < now_ms ? now_ms : due;
}

void swim_tick(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    enter(s, now_ms);
    if (s->rings_stale)
        swim_find_rings(s);
    swim_probe_tick(s, now_ms, out);
    swim_watch(s, now_ms, out);
    swim_calm_tick(s, now_ms);
    if (now_ms >= s->reap_ms) {
        swim_reap(s, now_ms);
        s->reap_ms = now_ms + 60 * 1000;
    }
    leave_step(s, now_ms, out);
}

bool swim_heard(struct swim *s, uint64_t now_ms, uint64_t from, uint64_t epoch)
{
    struct swim_member *m = swim_get(s, from);
    if (m == NULL)
        return false;
    m->m.heard_mono_ms = s->heard_ms = now_ms;
    m->met = 1;
    if (epoch > m->epoch) {
        m->epoch = epoch;
        s->lives++;
    }
    return true;
}

static void handle(struct swim *s, uint64_t now_ms, uint64_t from, bool proven,
                   const struct wire_head *h, struct swim_out *out)
{
    switch (h->type) {
    case WIRE_PING:
        swim_on_ping(s, now_ms, from, proven, h, out);
        break;
    case WIRE_ACK:
        if (proven)
            swim_on_ack(s, now_ms, from, h, out);
        break;
    case WIRE_NACK:
        if (proven)
            swim_on_nack(s, h);
        break;
    case WIRE_PING_REQ:
        if (proven)
            swim_on_ping_req(s, now_ms, from, h, out);
        break;
    case WIRE_SYNC_ASK:
        swim_on_sync_ask(s, now_ms, from, proven, h, out);
        break;
    case WIRE_GOSSIP:
    case WIRE_SYNC:
    case WIRE_SYNC_NAMES:
    case WIRE_SYNC_WANT:
    case WIRE_TYPE_END:
        break;
    }
}

/* A packet of updates is taken up to its first odd byte or forged word: each update stands for
 * itself, and a liar costs one verification. */
static int take_updates(struct swim *s, uint64_t now_ms, uint64_t from, bool listed, struct rbuf *r,
                        struct swim_out *out)
{
    struct wire_update u;
    int err = 0;
    while (err == 0 && rbuf_left(r) > 0) {
        err = wire_get_update(r, &u);
        if (err == 0)
            err = swim_update(s, now_ms, &u, from, listed, out);
    }
    return err;
}

/* What comes after a message's head. What nobody signed counts only from whom it was proven to be:
 * a stranger makes no members send each other lists. */
static int take_rest(struct swim *s, uint64_t now_ms, uint64_t from, bool proven,
                     enum wire_type type, struct rbuf *r, struct swim_out *out)
{
    if (type == WIRE_SYNC_NAMES)
        return proven ? swim_on_names(s, from, r, out) : 0;
    if (type == WIRE_SYNC_WANT)
        return proven ? swim_on_want(s, from, r, out) : 0;
    return take_updates(s, now_ms, from, type == WIRE_SYNC, r, out);
}

/* What comes before that; *r is left at it. */
static int enter_message(struct swim *s, uint64_t now_ms, uint64_t from, struct rbuf *r,
                         struct wire_head *ret)
{
    if (from == swim_me(s)->m.num || wire_get_head(r, ret) != 0)
        return ERR_MALFORMED;
    enter(s, now_ms);
    if (s->rings_stale)
        swim_find_rings(s);
    return 0;
}

int swim_recv(struct swim *s, uint64_t now_ms, uint64_t from, uint64_t epoch, const uint8_t *data,
              size_t len, struct swim_out *out)
{
    struct rbuf r;
    struct wire_head h;
    rbuf_init(&r, data, len);
    if (enter_message(s, now_ms, from, &r, &h) != 0)
        return ERR_MALFORMED;
    swim_heard(s, now_ms, from, epoch);
    const struct swim_member *m = swim_find(s, from);
    bool was_failed = m != NULL && m->m.state == MEMBER_FAILED;
    int err = take_rest(s, now_ms, from, true, h.type, &r, out);
    handle(s, now_ms, from, true, &h, out);
    m = swim_find(s, from);
    /* Back from the dead: it was on the other side of something; compare everything. */
    if (was_failed && m != NULL && m->m.state == MEMBER_ALIVE && now_ms >= s->sync_ms)
        swim_sync_ask(s, now_ms, from, false, true, out);
    leave_step(s, now_ms, out);
    return err;
}

int swim_recv_stranger(struct swim *s, uint64_t now_ms, uint64_t from, const uint8_t *data,
                       size_t len, struct swim_out *out)
{
    struct rbuf r;
    struct wire_head h;
    rbuf_init(&r, data, len);
    if (enter_message(s, now_ms, from, &r, &h) != 0)
        return ERR_MALFORMED;
    int err = take_rest(s, now_ms, from, false, h.type, &r, out);
    handle(s, now_ms, from, false, &h, out);
    leave_step(s, now_ms, out);
    return err;
}

void swim_suspicious(struct swim *s, uint64_t now_ms, uint64_t num, struct swim_out *out)
{
    struct swim_member *m = swim_get(s, num);
    if (m == NULL || m->m.self || !swim_is_live(m->m.state) || s->leaving_ms != 0)
        return;
    enter(s, now_ms);
    swim_probe_start(s, now_ms, m, PROBE_CONFIRM, 0, out);
    leave_step(s, now_ms, out);
}

const struct swim_member *swim_observed(const struct swim *s, unsigned ring)
{
    return s->rings_stale || s->ring[ring].slot == SWIM_NONE ? NULL
                                                             : swim_look(s, s->ring[ring].slot);
}

/* ---- joining ---- */

enum wire_refusal swim_admit(const struct swim *s, const struct wire_update *joiner,
                             const struct gossip_member **ret_other)
{
    const struct swim_member *m = swim_find(s, joiner->num);
    *ret_other = m == NULL ? NULL : &m->m;
    if (m == NULL)
        return s->live >= s->members ? WIRE_FULL : WIRE_ACCEPTED;
    if (strcmp(m->m.id, joiner->id) != 0)
        return WIRE_NUM_TAKEN;
    if (m->evicted)
        return WIRE_NOT_ADMITTED;
    if (m->m.self)
        return addr_meet(m->m.addrs, &joiner->addrs) && m->epoch == joiner->epoch ? WIRE_ACCEPTED
                                                                                  : WIRE_ID_TAKEN;
    bool same =
        addr_meet(m->m.addrs, &joiner->addrs) && memcmp(m->card->key, joiner->key, WIRE_KEY) == 0;
    if (swim_is_live(m->m.state) && !same)
        return WIRE_ID_TAKEN;
    return WIRE_ACCEPTED;
}

/* Only whoever receives at that address knows the nonce that it repeated. */
static void take_answer(struct swim *s, uint64_t now_ms, const struct wire_join *w,
                        const struct gossip_addr *from, struct swim_out *out)
{
    struct swim_member *m = swim_get(s, w->self.num);
    if (m != NULL && addr_find(m->m.addrs, from) >= 0 &&
        memcmp(m->card->key, w->self.key, WIRE_KEY) != 0)
        m->moved = 1;
    (void)!swim_update(s, now_ms, &w->self, w->self.num, false, out);
    m = swim_get(s, w->self.num);
    if (m != NULL)
        m->moved = 0;
}

/* Who answers holds us to be, at a greater incarnation, what we are not. */
static void outdo_earlier_life(struct swim *s, uint64_t now_ms, const struct wire_join *w)
{
    struct swim_member *me = swim_me(s);
    if (w->known_state != 0 && swim_may_be_ours(s, now_ms, w->known_incarnation) &&
        (w->known_state != MEMBER_ALIVE || w->known_epoch != me->epoch))
        swim_raise(s, now_ms, w->known_incarnation + 1);
}

bool swim_refused_for_earlier_life(const struct wire_join *w)
{
    return w->refusal == WIRE_ID_TAKEN && w->taken.family != 0 && addr_equal(&w->taken, &w->seen);
}

void swim_refused(struct swim *s, uint64_t now_ms, const struct wire_join *w,
                  const struct gossip_addr *from, struct swim_out *out)
{
    enter(s, now_ms);
    if (swim_refused_for_earlier_life(w))
        outdo_earlier_life(s, now_ms, w);
    if (swim_get(s, w->self.num) != NULL) /* refused by one that we do not know is not met */
        take_answer(s, now_ms, w, from, out);
    leave_step(s, now_ms, out);
}

void swim_welcome(struct swim *s, uint64_t now_ms, const struct wire_join *w,
                  const struct gossip_addr *from, bool seed, struct swim_out *out)
{
    enter(s, now_ms);
    outdo_earlier_life(s, now_ms, w);
    uint64_t num = w->self.num;
    take_answer(s, now_ms, w, from, out);
    struct swim_member *m = swim_get(s, num);
    if (m != NULL && !m->m.self && memcmp(m->card->key, w->self.key, WIRE_KEY) == 0) {
        if (seed)
            swim_settle(s, now_ms);
        /* The first two at once, for one alone may know as little as we do. */
        bool first = seed && s->welcomes < SWIM_WELCOMES;
        s->welcomes += first;
        if (first || now_ms >= s->sync_ms)
            swim_sync_ask(s, now_ms, num, false, true, out);
        /* It may hold us to be anything, we it: a ping tells both sides. */
        swim_probe_start(s, now_ms, m, swim_is_live(m->m.state) ? PROBE_RANDOM : PROBE_DEAD, 0,
                         out);
        swim_enqueue(s, now_ms, swim_me(s));
    }
    leave_step(s, now_ms, out);
}

void swim_set_meta(struct swim *s, uint64_t now_ms, const struct gossip_meta *meta,
                   struct swim_out *out)
{
    struct swim_member *me = swim_me(s);
    if (memcmp(me->m.meta, meta, sizeof *meta) == 0 || s->leaving_ms != 0)
        return;
    enter(s, now_ms);
    struct swim_card card = *me->card;
    card.meta = *meta;
    swim_set_card(s, me, &card);
    swim_mark_dirty(s, me, SWIM_CAUSE_META, 0);
    swim_raise(s, now_ms, me->m.incarnation + 1);
    leave_step(s, now_ms, out);
}

void swim_set_addr(struct swim *s, const struct gossip_addr *addr, uint64_t now_ms)
{
    struct swim_member *me = swim_me(s);
    struct swim_card card = *me->card;
    card.addrs = (struct gossip_addrs){.at = {*addr}, .count = 1};
    swim_set_card(s, me, &card);
    swim_mark_dirty(s, me, SWIM_CAUSE_META, 0);
    swim_raise(s, now_ms, me->m.incarnation + 1);
}

void swim_set_epoch(struct swim *s, uint64_t epoch)
{
    swim_me(s)->epoch = epoch;
    swim_sign_self(s);
}

void swim_evict(struct swim *s, uint64_t now_ms, uint64_t num, bool evicted)
{
    struct swim_member *m = swim_get(s, num);
    if (m == NULL || m->m.self || m->evicted == evicted)
        return;
    m->evicted = evicted;
    if (evicted && swim_is_live(m->m.state)) {
        swim_doubt(s, m)->trace.failed_ms = now_ms;
        m->doubt->trace.failed_by = 0;
        swim_set_state(s, now_ms, m, MEMBER_FAILED, m->m.incarnation, SWIM_CAUSE_EVICTED, 0);
    } else if (!evicted && m->m.state == MEMBER_FAILED) {
        /* Whether it lives the detector finds out; that it is dead nobody said. */
        m->vote_count = m->stalled_count = m->strong = m->looked = 0;
        swim_set_state(s, now_ms, m, MEMBER_ALIVE, m->m.incarnation, SWIM_CAUSE_JOINED, 0);
    }
}

void swim_leave(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    struct swim_member *me = swim_me(s);
    if (s->leaving_ms != 0)
        return;
    enter(s, now_ms);
    s->leaving_ms = now_ms;
    s->contradict_ms = 0;
    swim_set_state(s, now_ms, me, MEMBER_LEFT, me->m.incarnation, SWIM_CAUSE_LEFT, 0);
    swim_vote(s, me, MEMBER_LEFT, &me->doubt->vote[0]);
    me->vote_count = 1;
    swim_enqueue(s, now_ms, me);
    leave_step(s, now_ms, out);
}
