/* SPDX-License-Identifier: Apache-2.0
 * Lists of members, for those whose digest stays different. Who asks tells digests of its list by
 * 32nds. Of those that differ either side tells the other whom it holds, at which incarnation, and
 * who lacks something wants that: a comparison costs 15 bytes a member and 300 for each difference.
 * Where the asker has none at all it gets everything at once. */
#include <string.h>

#include "gossip/swim_int.h"

_Static_assert(1 + 2 * WIRE_UPDATE_MAX <= SWIM_PACKET_MAX && SWIM_WANTS <= 2 * SWIM_OUT_PAGES,
               "what one packet wants is sent in one step");

/* ---- asking ---- */

void swim_sync_ask(struct swim *s, uint64_t now_ms, uint64_t to, bool reply, bool stream,
                   struct swim_out *out)
{
    struct wire_head h = {.type = WIRE_SYNC_ASK, .reply = reply};
    memcpy(h.buckets, s->buckets, sizeof h.buckets);
    if (!reply)
        s->sync_ms = now_ms + SWIM_SYNC_GAP_MS;
    swim_send(s, to, &h, swim_me(s), false, out);
    if (out->count > 0 && out->packet[out->count - 1].to == to)
        out->packet[out->count - 1].stream = stream;
}

/* Before its first list a newcomer's key is not known, so it cannot ask as itself. One whom we know
 * longer asks so, and whoever asks in its name would make us send it lists that it has. */
static bool may_ask(struct swim *s, uint64_t now_ms, uint64_t from, bool proven)
{
    struct swim_member *m = swim_get(s, from);
    if (m == NULL || proven)
        return m != NULL;
    if (m->met || m->asked || now_ms - m->known_ms >= SWIM_MEET_MS)
        return false;
    m->asked = 1;
    return true;
}

void swim_on_sync_ask(struct swim *s, uint64_t now_ms, uint64_t from, bool proven,
                      const struct wire_head *h, struct swim_out *out)
{
    struct swim_sync found = {.to = from}, *free = NULL;
    unsigned known = 0;
    for (unsigned i = 0; i < WIRE_BUCKETS; i++) {
        known += h->buckets[i] != 0;
        if (h->buckets[i] != s->buckets[i])
            *(h->buckets[i] == 0 ? &found.bodies : &found.names) |= 1u << i;
    }
    /* Digests are of the living. Who knows but itself and us is told of the dead as well. */
    if (found.bodies != 0 && known <= 2)
        found.bodies |= ~found.names;
    if ((found.bodies | found.names) == 0 || !may_ask(s, now_ms, from, proven))
        return;
    for (unsigned i = 0; i < SWIM_SYNCS; i++) {
        if (s->sync[i].to == from)
            return; /* on its way already */
        if (s->sync[i].to == 0)
            free = &s->sync[i];
    }
    if (free == NULL)
        return; /* the asker's digest stays different and it asks again, someone else perhaps */
    *free = found;
    if (!h->reply)
        swim_sync_ask(s, now_ms, from, true, true, out);
}

/* ---- telling ---- */

static void begin_page(struct wbuf *w, struct swim_packet *p, enum wire_type type)
{
    wbuf_init(w, p->data, sizeof p->data);
    wire_put_head(w, &(struct wire_head){.type = type});
}

/* False: it did not fit. */
static bool put_name(struct wbuf *w, const struct swim_member *m)
{
    if (w->cap - w->len < WIRE_NAME_MAX)
        return false;
    wire_put_name(w, &(struct wire_name){.num = m->m.num,
                                         .incarnation = m->m.incarnation,
                                         .state = swim_class(m->m.state)});
    return true;
}

/* Each keeps the dead for a day. Told on by those who were told, one death would go from newcomer
 * to newcomer for as long as there are any. (Their names are told: who lives with an earlier
 * incarnation has to hear of it.) */
static bool is_hearsay(const struct swim_member *m)
{
    return !swim_is_live(m->m.state) && m->doubt->hearsay;
}

/* Bodies first, then names. */
static void sync_page(struct swim *s, struct swim_sync *y, struct swim_out *out)
{
    struct swim_packet *p = y->to == 0 ? NULL : swim_packet(out, y->to, true);
    uint32_t *buckets = y->bodies != 0 ? &y->bodies : &y->names;
    struct wbuf w;
    if (p == NULL)
        return;
    begin_page(&w, p, buckets == &y->bodies ? WIRE_SYNC : WIRE_SYNC_NAMES);
    for (; y->at < s->count; y->at++) {
        const struct swim_member *m = swim_look(s, s->order[y->at]);
        bool bodies = buckets == &y->bodies;
        if ((*buckets >> (m->m.num % WIRE_BUCKETS) & 1) == 0 || (bodies && is_hearsay(m)))
            continue;
        if (bodies ? !swim_put_member(&w, m, true) : !put_name(&w, m))
            break;
    }
    p->len = (uint16_t)w.len;
    if (y->at < s->count)
        return;
    *buckets = y->at = 0;
    if (y->names == 0)
        y->to = 0;
}

/* ---- wanting ---- */

static bool is_wanted(const struct swim *s, const struct wire_name *n)
{
    const struct swim_member *m = swim_find(s, n->num);
    if (m == NULL) /* who is dead and gone from here is not asked back */
        return n->state == swim_class(MEMBER_ALIVE);
    if (m->evicted)
        return false;
    return n->incarnation > m->m.incarnation ||
           (n->incarnation == m->m.incarnation && n->state > swim_class(m->m.state));
}

int swim_on_names(struct swim *s, uint64_t from, struct rbuf *r, struct swim_out *out)
{
    struct swim_packet *p = NULL;
    struct wire_name n;
    struct wbuf w;
    int err = 0;
    for (unsigned wants = 0; err == 0 && rbuf_left(r) > 0;) {
        err = wire_get_name(r, &n);
        if (err != 0 || !is_wanted(s, &n))
            continue;
        if (wants++ % SWIM_WANTS == 0) {
            p = swim_packet(out, from, true);
            if (p == NULL)
                return 0;
            begin_page(&w, p, WIRE_SYNC_WANT);
        }
        wbuf_u64(&w, n.num);
        p->len = (uint16_t)w.len;
    }
    return err;
}

int swim_on_want(struct swim *s, uint64_t from, struct rbuf *r, struct swim_out *out)
{
    struct swim_packet *p = NULL;
    struct wbuf w;
    if (rbuf_left(r) % sizeof(uint64_t) != 0)
        return ERR_MALFORMED;
    while (rbuf_left(r) > 0 && swim_get(s, from) != NULL) {
        const struct swim_member *m = swim_find(s, rbuf_u64(r));
        if (m == NULL)
            continue;
        if (p == NULL || !swim_put_member(&w, m, true)) {
            p = out->count < SWIM_OUT_PAGES ? swim_packet(out, from, true) : NULL;
            if (p == NULL)
                break; /* whoever wants more than one packet's worth compares again */
            begin_page(&w, p, WIRE_SYNC);
            swim_put_member(&w, m, true);
        }
        p->len = (uint16_t)w.len;
    }
    return 0;
}

/* ---- when ---- */

static bool sync_pending(const struct swim *s)
{
    for (unsigned i = 0; i < SWIM_SYNCS; i++)
        if (s->sync[i].to != 0)
            return true;
    return false;
}

/* Members that arrive together learn of each other from lists, which are not passed on as news is;
 * what was added to a list after it was sent is fetched by comparing again, soon and ever rarer. */
static void settle(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    const struct swim_member *to = swim_random_live(s, NULL);
    if (to != NULL)
        swim_sync_ask(s, now_ms, to->m.num, false, false, out);
    if (!s->healing || swim_digest(s) == s->settle_digest)
        s->settle_gap_ms *= 2;
    s->settle_digest = swim_digest(s);
    s->settle_ms = s->settle_gap_ms > SWIM_SETTLE_MAX_MS ? 0 : now_ms + s->settle_gap_ms;
    s->healing = s->healing && s->settle_ms != 0 && now_ms - s->returned_ms < SWIM_HEALING_MAX_MS;
}

void swim_settle(struct swim *s, uint64_t now_ms)
{
    s->settled = true;
    if (s->settle_ms != 0)
        return;
    s->settle_gap_ms = SWIM_SETTLE_MIN_MS;
    s->settle_ms = now_ms + SWIM_SETTLE_MIN_MS;
}

/* At the end of a partition everybody has something new to say, and all have it to say to all: as
 * news it would take each member n * log n sends, of which the last bring something to one in
 * thousands. Lists are compared instead, for as long as that changes them. */
void swim_returned(struct swim *s, uint64_t now_ms)
{
    if (now_ms - s->returned_ms > SWIM_RETURNED_MS) {
        s->returned = 0;
        s->returned_ms = now_ms;
    }
    if (++s->returned < SWIM_RETURNED || s->healing)
        return;
    s->healing = true;
    s->settle_gap_ms = SWIM_SYNC_GAP_MS;
    s->settle_ms = now_ms + prng_below(&s->prng, SWIM_SYNC_GAP_MS);
}

void swim_lists_tick(struct swim *s, uint64_t now_ms, struct swim_out *out)
{
    if (s->settle_ms != 0 && now_ms >= s->settle_ms)
        settle(s, now_ms, out);
    for (unsigned i = 0; i < SWIM_SYNCS && out->count < SWIM_OUT_PAGES; i++) {
        sync_page(s, &s->sync[s->sync_turn], out);
        s->sync_turn = (uint8_t)((s->sync_turn + 1u) % SWIM_SYNCS);
    }
}

uint64_t swim_lists_deadline(const struct swim *s)
{
    if (sync_pending(s))
        return s->last_round_ms;
    return s->settle_ms != 0 ? s->settle_ms : UINT64_MAX;
}
