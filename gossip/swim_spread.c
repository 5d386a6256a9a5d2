/* SPDX-License-Identifier: Apache-2.0
 * How news of members travels: at once to a few, repeated a bounded number of times, piggybacked
 * on probes. For those whose digest stays different there are lists: swim_lists.c. */
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/swim_int.h"

/* ---- the queues: slots, not messages, so news about one member never queues twice. One for each
 * number of times that it was sent, as memberlist orders its queue: what few know goes first. In
 * one queue for all, news of a member that starts among thousands stood behind all that most have
 * by now, for seconds. ---- */

static void push(struct swim *s, uint32_t slot)
{
    struct swim_member *m = swim_at(s, slot);
    struct swim_queue *q = &s->news[m->sent];
    s->news_bits |= 1u << m->sent;
    m->queued = 1;
    m->queue_next = SWIM_NONE;
    m->queue_prev = q->tail; /* of the first: anything */
    if (q->count == 0)
        q->head = slot;
    else
        swim_at(s, q->tail)->queue_next = slot;
    q->tail = slot;
    q->count++;
}

static void took_one(struct swim *s, struct swim_member *m)
{
    m->queued = 0;
    if (--s->news[m->sent].count == 0)
        s->news_bits &= ~(1u << m->sent);
}

static struct swim_member *pop(struct swim *s, unsigned sent)
{
    ENSURE(s->news[sent].count > 0);
    struct swim_member *m = swim_at(s, s->news[sent].head);
    s->news[sent].head = m->queue_next;
    took_one(s, m);
    return m;
}

void swim_forget(struct swim *s, struct swim_member *m)
{
    if (m->queued == 0)
        return;
    struct swim_queue *q = &s->news[m->sent];
    if (q->head == m->slot)
        q->head = m->queue_next;
    else
        swim_at(s, m->queue_prev)->queue_next = m->queue_next;
    if (q->tail == m->slot)
        q->tail = m->queue_prev;
    else
        swim_at(s, m->queue_next)->queue_prev = m->queue_prev;
    took_one(s, m);
}

void swim_enqueue(struct swim *s, uint64_t now_ms, struct swim_member *m)
{
    (void)now_ms;
    if (m->queued && m->sent == 0)
        return;
    swim_forget(s, m);
    m->sent = 0;
    push(s, m->slot);
}

static unsigned sends_max(const struct swim *s)
{
    /* While a cluster forms a member does not know yet how many there will be. */
    unsigned log2 = SWIM_LOG2_MIN;
    while ((1u << log2) < s->live)
        log2++;
    ENSURE(log2 + SWIM_SENDS_EXTRA <= SWIM_SENDS_MAX);
    return log2 + SWIM_SENDS_EXTRA;
}

/* ---- packets ---- */

void swim_describe(const struct swim_member *m, bool body, struct wire_update *ret)
{
    /* Accused, but by too few for us to suspect it: the accusation is the news. */
    bool accused = m->m.state == MEMBER_ALIVE && !body && m->vote_count + m->stalled_count > 0;
    enum gossip_state state = !accused            ? m->m.state
                              : m->vote_count > 0 ? MEMBER_SUSPECT
                                                  : MEMBER_DEGRADED;
    /* What others saw beyond a partition is passed on as their verdict: as votes for a suspicion of
     * ours it would make an end of it in 250 ms everywhere. */
    if (state == MEMBER_SUSPECT && m->strong)
        state = MEMBER_FAILED;
    *ret = (struct wire_update){.state = state,
                                .num = m->m.num,
                                .incarnation = m->m.incarnation,
                                .has_body = body || state == MEMBER_ALIVE,
                                .epoch = m->card->epoch,
                                .addrs = m->card->addrs,
                                .meta = m->card->meta};
    memcpy(ret->id, m->card->id, sizeof ret->id);
    memcpy(ret->key, m->card->key, sizeof ret->key);
    memcpy(ret->sig, m->card->sig, sizeof ret->sig);
    if (state == MEMBER_DEGRADED) {
        ret->vote_count = m->stalled_count;
        memcpy(ret->vote, m->doubt->stalled, sizeof m->doubt->stalled);
    } else if (state != MEMBER_ALIVE) {
        ret->vote_count = m->vote_count;
        memcpy(ret->vote, m->doubt->vote, sizeof m->doubt->vote);
    }
}

void swim_self_update(const struct swim *s, struct wire_update *ret)
{
    swim_describe(swim_self(s), true, ret);
}

bool swim_put_member(struct wbuf *w, const struct swim_member *m, bool body)
{
    uint8_t bytes[WIRE_UPDATE_MAX];
    struct wire_update u;
    struct wbuf one;
    swim_describe(m, body, &u);
    wbuf_init(&one, bytes, sizeof bytes);
    wire_put_update(&one, &u);
    ENSURE(!one.bad);
    if (one.len > w->cap - w->len)
        return false;
    wbuf_bytes(w, bytes, one.len);
    return true;
}

static void put_news(struct swim *s, struct wbuf *w, const struct swim_member *about)
{
    unsigned limit = sends_max(s);
    uint32_t put = 0; /* are at the end of the next queue now, and in this packet already */
    for (unsigned sent = 0; sent < SWIM_SENDS_MAX && s->news_bits >> sent != 0; sent++) {
        uint32_t turns = s->news[sent].count - put;
        for (put = 0; turns > 0; turns--) {
            struct swim_member *m = swim_at(s, s->news[sent].head);
            if ((about == NULL || m->slot != about->slot) && !swim_put_member(w, m, false))
                return;
            (void)pop(s, sent);
            if (++m->sent >= limit)
                continue;
            push(s, m->slot);
            put++;
        }
    }
}

struct swim_packet *swim_packet(struct swim_out *out, uint64_t to, bool stream)
{
    if (out->count == SWIM_OUT_MAX)
        return NULL; /* as good as lost on the wire; everything here is repeated */
    struct swim_packet *p = &out->packet[out->count++];
    p->to = to;
    p->stream = stream;
    p->intro = false;
    p->via = 0;
    return p;
}

/* May it not know us yet? We started just now, or it did, and it has not shown that it does. */
static bool is_new_to(const struct swim *s, uint64_t to)
{
    const struct swim_member *m = to == 0 ? NULL : swim_find(s, to);
    uint64_t now_ms = s->now_us / 1000;
    return m != NULL && !m->met &&
           (now_ms - s->born_ms < SWIM_MEET_MS || now_ms - m->known_ms < SWIM_MEET_MS);
}

void swim_send_at(uint64_t to, uint8_t at, struct swim_out *out)
{
    struct swim_packet *p = out->count == 0 ? NULL : &out->packet[out->count - 1];
    if (p != NULL && p->to == to && p->via == 0)
        p->via = (uint8_t)(at + 1);
}

void swim_introduce(const struct swim *s, uint64_t to, struct swim_out *out)
{
    struct swim_packet *p = out->count == 0 ? NULL : &out->packet[out->count - 1];
    struct wbuf w;
    if (p == NULL || p->intro || p->to != to)
        return;
    wbuf_init(&w, p->data, sizeof p->data);
    w.len = p->len;
    p->intro = swim_put_member(&w, swim_self(s), true);
    p->len = (uint16_t)w.len;
}

void swim_send(struct swim *s, uint64_t to, const struct wire_head *h,
               const struct swim_member *about, bool spread, struct swim_out *out)
{
    struct swim_packet *p = swim_packet(out, to, false);
    if (p == NULL)
        return;
    struct wbuf w;
    wbuf_init(&w, p->data, sizeof p->data);
    wire_put_head(&w, h);
    if (is_new_to(s, to)) {
        p->intro = true;
        if (about == NULL || !about->m.self)
            swim_put_member(&w, swim_self(s), true);
    }
    if (about != NULL)
        swim_put_member(&w, about, false);
    if (spread)
        put_news(s, &w, about);
    ENSURE(!w.bad);
    p->len = (uint16_t)w.len;
}

/* ---- rounds ---- */

static void round_now(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    /* A backlog (a mass start) gets more packets, still bounded: 6 in 5 ms is 1.4 MB/s. */
    uint32_t fresh = s->news_bits == 0 ? 0 : s->news[0].count;
    unsigned fanout = SWIM_FANOUT + (fresh > 0 ? 1 : 0) + (fresh > 24 ? 2 : 0);
    /* Sends are counted: do not spend them all on the first member we met. */
    if (fanout > swim_others(s))
        fanout = swim_others(s);
    s->last_round_ms = now_ms;
    for (unsigned i = 0; i < fanout && s->news_bits != 0; i++) {
        const struct swim_member *to = swim_random_live(s, NULL);
        if (to == NULL)
            break;
        swim_send(s, to->m.num, &(struct wire_head){.type = WIRE_GOSSIP}, NULL, true, out);
    }
    if (swim_others(s) == 0) { /* nobody to tell; newcomers get the list */
        for (unsigned sent = 0; sent < SWIM_SENDS_MAX; sent++)
            while (s->news[sent].count > 0)
                (void)pop(s, sent);
    }
}

static uint64_t round_due(const struct swim *s)
{
    if ((s->news_bits & 1) != 0)
        return s->last_round_ms + SWIM_ROUND_FRESH_MS;
    if (s->news_bits != 0)
        return s->last_round_ms + SWIM_ROUND_AGAIN_MS;
    return UINT64_MAX;
}

void swim_spread_tick(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    if (now_ms >= round_due(s))
        round_now(s, now_ms, out);
    swim_lists_tick(s, now_ms, out);
}

uint64_t swim_spread_deadline(const struct swim *s)
{
    return swim_min(round_due(s), swim_lists_deadline(s));
}
