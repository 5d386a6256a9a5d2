/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/wire.h"

#include <string.h>

#include "agent/base/ensure.h"

#define BODY_BIT 0x08u
#define STATE_MASK 0x07u
#define MORE_BIT 0x80u /* of an address: one more follows */
#define RING_BITS 2

#define ADDRS_MAX (GOSSIP_ADDRS_MAX * 19u) /* of IPv6 */
#define BODY_MAX                                                                                   \
    (8u + ADDRS_MAX + AGENT_ID_MAX + ZONE_MAX + sizeof((struct gossip_meta *)0)->version + 4u +    \
     WIRE_KEY)
#define ALIVE_MAX (1u + 8u + 9u + BODY_MAX + WIRE_SIG)
_Static_assert(1 + 8 + 8 + BODY_MAX <= WIRE_STATEMENT_MAX, "it is signed as a whole");
_Static_assert(ALIVE_MAX + 1 + WIRE_VOTES_MAX * (8 + WIRE_SIG) <= WIRE_UPDATE_MAX, "it fits");
_Static_assert(1 + 16 + ALIVE_MAX + 1 + 2 * 19 + 1 + 8 + 8 <= WIRE_JOIN_LEN, "no amplification");

static void put_text(struct wbuf *w, const char *text, size_t max)
{
    size_t len = strnlen(text, max - 1);
    wbuf_u8(w, (uint8_t)len);
    wbuf_bytes(w, text, len);
}

/* Printable ASCII only: ids and zones end up in logs, JSON and terminals. */
static void get_text(struct rbuf *r, char *out, size_t max)
{
    size_t len = rbuf_u8(r);
    const uint8_t *at = rbuf_bytes(r, len);
    out[0] = '\0';
    if (at == NULL || len >= max) {
        r->bad = 1;
        return;
    }
    for (size_t i = 0; i < len; i++) {
        if (at[i] <= 0x20 || at[i] >= 0x7f) {
            r->bad = 1;
            return;
        }
        out[i] = (char)at[i];
    }
    out[len] = '\0';
}

static size_t host_len(uint8_t family)
{
    return family == 4 ? 4 : family == 6 ? 16 : 0;
}

static void put_addr(struct wbuf *w, const struct gossip_addr *a, bool more)
{
    size_t len = host_len(a->family);
    wbuf_u8(w, (uint8_t)(a->family | (more ? MORE_BIT : 0)));
    wbuf_bytes(w, a->host, len);
    if (len > 0) {
        wbuf_u8(w, (uint8_t)(a->port >> 8));
        wbuf_u8(w, (uint8_t)a->port);
    }
}

/* True: one more follows. */
static bool get_addr(struct rbuf *r, struct gossip_addr *ret)
{
    uint8_t first = rbuf_u8(r);
    *ret = (struct gossip_addr){.family = first & (uint8_t)~MORE_BIT};
    size_t len = host_len(ret->family);
    const uint8_t *at = len == 0 ? NULL : rbuf_bytes(r, len + 2);
    if (at != NULL) {
        memcpy(ret->host, at, len);
        ret->port = (uint16_t)(at[len] << 8 | at[len + 1]);
    }
    if (ret->family != 0 && len == 0)
        r->bad = true;
    return (first & MORE_BIT) != 0;
}

static void put_addrs(struct wbuf *w, const struct gossip_addrs *list)
{
    ENSURE(list->count > 0 && list->count <= GOSSIP_ADDRS_MAX);
    for (uint8_t i = 0; i < list->count; i++)
        put_addr(w, &list->at[i], i + 1u < list->count);
}

/* One to three, all different: a member is not asked twice at one address. */
static void get_addrs(struct rbuf *r, struct gossip_addrs *ret)
{
    bool more = true;
    while (more && !r->bad) {
        struct gossip_addr a;
        more = get_addr(r, &a);
        if (a.family == 0 || ret->count == GOSSIP_ADDRS_MAX || addr_find(ret, &a) >= 0) {
            r->bad = true;
            return;
        }
        ret->at[ret->count++] = a;
    }
}

/* ---- heads ---- */

void wire_put_head(struct wbuf *w, const struct wire_head *h)
{
    wbuf_u8(w, (uint8_t)h->type);
    switch (h->type) {
    case WIRE_PING:
        wbuf_u16(w, h->seq);
        wbuf_u32(w, h->digest);
        wbuf_u32(w, h->rows);
        wbuf_u8(w, (uint8_t)(h->ring | h->beats << RING_BITS));
        wbuf_bytes(w, h->beat, h->beats);
        break;
    case WIRE_ACK:
        wbuf_u16(w, h->seq);
        wbuf_u16(w, h->wait_ms);
        wbuf_u32(w, h->digest);
        break;
    case WIRE_NACK:
        wbuf_u16(w, h->seq);
        break;
    case WIRE_PING_REQ:
        wbuf_u16(w, h->seq);
        wbuf_u64(w, h->target);
        break;
    case WIRE_SYNC_ASK:
        wbuf_u8(w, h->reply);
        for (size_t i = 0; i < WIRE_BUCKETS; i++)
            wbuf_u32(w, h->buckets[i]);
        break;
    case WIRE_GOSSIP:
    case WIRE_SYNC:
    case WIRE_SYNC_NAMES:
    case WIRE_SYNC_WANT:
    case WIRE_TYPE_END:
        break;
    }
}

static void get_ring(struct rbuf *r, struct wire_head *ret)
{
    uint8_t both = rbuf_u8(r);
    ret->ring = both & ((1u << RING_BITS) - 1);
    ret->beats = both >> RING_BITS;
    if (ret->beats > WIRE_BEATS_MAX)
        r->bad = true;
    const uint8_t *beat = r->bad ? NULL : rbuf_bytes(r, ret->beats);
    if (beat != NULL)
        memcpy(ret->beat, beat, ret->beats);
}

int wire_get_head(struct rbuf *r, struct wire_head *ret)
{
    *ret = (struct wire_head){.type = (enum wire_type)rbuf_u8(r)};
    switch (ret->type) {
    case WIRE_PING:
        ret->seq = rbuf_u16(r);
        ret->digest = rbuf_u32(r);
        ret->rows = rbuf_u32(r);
        get_ring(r, ret);
        break;
    case WIRE_ACK:
        ret->seq = rbuf_u16(r);
        ret->wait_ms = rbuf_u16(r);
        ret->digest = rbuf_u32(r);
        break;
    case WIRE_NACK:
        ret->seq = rbuf_u16(r);
        break;
    case WIRE_PING_REQ:
        ret->seq = rbuf_u16(r);
        ret->target = rbuf_u64(r);
        break;
    case WIRE_SYNC_ASK:
        ret->reply = rbuf_u8(r) != 0;
        for (size_t i = 0; i < WIRE_BUCKETS; i++)
            ret->buckets[i] = rbuf_u32(r);
        break;
    case WIRE_GOSSIP:
    case WIRE_SYNC:
    case WIRE_SYNC_NAMES:
    case WIRE_SYNC_WANT:
        break;
    case WIRE_TYPE_END:
    default:
        return ERR_MALFORMED;
    }
    return r->bad ? ERR_MALFORMED : 0;
}

/* ---- updates ---- */

static bool has_votes(enum gossip_state state)
{
    return state != MEMBER_ALIVE;
}

static void put_body(struct wbuf *w, const struct wire_update *u)
{
    wbuf_u64(w, u->epoch);
    put_addrs(w, &u->addrs);
    put_text(w, u->id, sizeof u->id);
    put_text(w, u->meta.zone, sizeof u->meta.zone);
    put_text(w, u->meta.version, sizeof u->meta.version);
    wbuf_u16(w, u->meta.api_port);
    wbuf_u8(w, u->meta.role);
    wbuf_u8(w, u->meta.lifecycle);
    wbuf_bytes(w, u->key, sizeof u->key);
}

size_t wire_statement(const struct wire_update *u, uint64_t by, uint8_t out[WIRE_STATEMENT_MAX])
{
    enum { SAYS_ALIVE = 1, SAYS_SILENT = 2, SAYS_STALLED = 3, SAYS_LEFT = 4 };
    struct wbuf w;
    wbuf_init(&w, out, WIRE_STATEMENT_MAX);
    wbuf_u8(&w, by == 0                       ? SAYS_ALIVE
                : u->state == MEMBER_LEFT     ? SAYS_LEFT
                : u->state == MEMBER_DEGRADED ? SAYS_STALLED
                                              : SAYS_SILENT);
    wbuf_u64(&w, u->num);
    wbuf_u64(&w, u->incarnation);
    if (by == 0)
        put_body(&w, u);
    else
        wbuf_u64(&w, by);
    ENSURE(!w.bad);
    return w.len;
}

void wire_put_update(struct wbuf *w, const struct wire_update *u)
{
    ENSURE(u->state >= MEMBER_ALIVE && u->state <= MEMBER_LEFT);
    ENSURE(u->state != MEMBER_ALIVE || u->has_body);
    ENSURE(u->vote_count <= WIRE_VOTES_MAX);
    wbuf_u8(w, (uint8_t)((unsigned)u->state | (u->has_body ? BODY_BIT : 0)));
    wbuf_u64(w, u->num);
    wbuf_varint(w, u->incarnation);
    if (u->has_body) {
        put_body(w, u);
        wbuf_bytes(w, u->sig, sizeof u->sig);
    }
    if (has_votes(u->state)) {
        wbuf_u8(w, u->vote_count);
        for (size_t i = 0; i < u->vote_count; i++) {
            wbuf_u64(w, u->vote[i].num);
            wbuf_bytes(w, u->vote[i].sig, WIRE_SIG);
        }
    }
}

static void get_bytes(struct rbuf *r, uint8_t *out, size_t len)
{
    const uint8_t *at = rbuf_bytes(r, len);
    if (at != NULL)
        memcpy(out, at, len);
}

static void get_body(struct rbuf *r, struct wire_update *ret)
{
    ret->epoch = rbuf_u64(r);
    get_addrs(r, &ret->addrs);
    get_text(r, ret->id, sizeof ret->id);
    get_text(r, ret->meta.zone, sizeof ret->meta.zone);
    get_text(r, ret->meta.version, sizeof ret->meta.version);
    ret->meta.api_port = rbuf_u16(r);
    ret->meta.role = rbuf_u8(r);
    ret->meta.lifecycle = rbuf_u8(r);
    get_bytes(r, ret->key, sizeof ret->key);
    get_bytes(r, ret->sig, sizeof ret->sig);
}

int wire_get_update(struct rbuf *r, struct wire_update *ret)
{
    uint8_t first = rbuf_u8(r);
    *ret = (struct wire_update){.state = (enum gossip_state)(first & STATE_MASK),
                                .has_body = (first & BODY_BIT) != 0};
    if (first > (STATE_MASK | BODY_BIT) || ret->state < MEMBER_ALIVE || ret->state > MEMBER_LEFT)
        return ERR_MALFORMED;
    ret->num = rbuf_u64(r);
    ret->incarnation = rbuf_varint(r);
    if (ret->num == 0 || ret->incarnation > WIRE_INCARNATION_MAX ||
        (ret->state == MEMBER_ALIVE && !ret->has_body))
        return ERR_MALFORMED;
    if (ret->has_body) {
        get_body(r, ret);
        if (ret->id[0] == '\0')
            return ERR_MALFORMED;
    }
    if (has_votes(ret->state)) {
        ret->vote_count = rbuf_u8(r);
        if (ret->vote_count > WIRE_VOTES_MAX)
            return ERR_MALFORMED;
        for (size_t i = 0; i < ret->vote_count; i++) {
            ret->vote[i].num = rbuf_u64(r);
            get_bytes(r, ret->vote[i].sig, WIRE_SIG);
        }
    }
    return r->bad ? ERR_MALFORMED : 0;
}

void wire_put_name(struct wbuf *w, const struct wire_name *n)
{
    ENSURE(n->state == MEMBER_ALIVE || n->state == MEMBER_FAILED || n->state == MEMBER_LEFT);
    wbuf_u8(w, (uint8_t)n->state);
    wbuf_u64(w, n->num);
    wbuf_varint(w, n->incarnation);
}

int wire_get_name(struct rbuf *r, struct wire_name *ret)
{
    ret->state = (enum gossip_state)rbuf_u8(r);
    ret->num = rbuf_u64(r);
    ret->incarnation = rbuf_varint(r);
    bool odd =
        ret->state != MEMBER_ALIVE && ret->state != MEMBER_FAILED && ret->state != MEMBER_LEFT;
    return odd || r->bad || ret->num == 0 || ret->incarnation > WIRE_INCARNATION_MAX ? ERR_MALFORMED
                                                                                     : 0;
}

/* ---- join and welcome ---- */

size_t wire_put_join(const struct wire_join *j, uint8_t out[WIRE_JOIN_LEN])
{
    struct wbuf w;
    wbuf_init(&w, out, WIRE_JOIN_LEN);
    wbuf_u8(&w, (uint8_t)j->type);
    wbuf_bytes(&w, j->nonce, sizeof j->nonce);
    wire_put_update(&w, &j->self);
    wbuf_u64(&w, j->known_epoch);
    if (j->type == WIRE_JOIN) {
        wbuf_u64(&w, j->asked);
    } else {
        wbuf_u8(&w, (uint8_t)j->refusal);
        put_addr(&w, &j->seen, false);
        put_addr(&w, &j->taken, false);
        wbuf_u8(&w, (uint8_t)j->known_state);
        wbuf_u64(&w, j->known_incarnation);
    }
    ENSURE(!w.bad);
    if (j->type == WIRE_WELCOME)
        return w.len;
    memset(out + w.len, 0, WIRE_JOIN_LEN - w.len);
    return WIRE_JOIN_LEN;
}

int wire_get_join(const uint8_t *data, size_t len, struct wire_join *ret)
{
    struct rbuf r;
    rbuf_init(&r, data, len);
    *ret = (struct wire_join){.type = (enum wire_hello)rbuf_u8(&r)};
    const uint8_t *nonce = rbuf_bytes(&r, sizeof ret->nonce);
    if (nonce == NULL || (ret->type != WIRE_JOIN && ret->type != WIRE_WELCOME) ||
        (ret->type == WIRE_JOIN && len < WIRE_JOIN_LEN))
        return ERR_MALFORMED;
    memcpy(ret->nonce, nonce, sizeof ret->nonce);
    int err = wire_get_update(&r, &ret->self);
    if (err != 0)
        return err;
    if (ret->self.state != MEMBER_ALIVE)
        return ERR_MALFORMED;
    ret->known_epoch = rbuf_u64(&r);
    if (ret->type == WIRE_JOIN) {
        ret->asked = rbuf_u64(&r);
    } else {
        ret->refusal = (enum wire_refusal)rbuf_u8(&r);
        bool more = get_addr(&r, &ret->seen);
        more = get_addr(&r, &ret->taken) || more;
        ret->known_state = (enum gossip_state)rbuf_u8(&r);
        ret->known_incarnation = rbuf_u64(&r);
        if (more || ret->refusal > WIRE_NOT_ADMITTED || ret->known_state > MEMBER_LEFT)
            return ERR_MALFORMED;
    }
    return r.bad ? ERR_MALFORMED : 0;
}
