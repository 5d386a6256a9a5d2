/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/net.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "tests/sim/grab.h"

#define DATAGRAM 1472u
#define RETRANSMIT_US 200000u
#define OVERTAKEN_US 3000u /* a packet that is overtaken comes so much later, at most */

/* ---- the queue: a heap with four children, of places; the events stay where they are ---- */

static bool before(const struct net_place *x, const struct net_place *y)
{
    return x->at_us != y->at_us ? x->at_us < y->at_us : (int32_t)(x->seq - y->seq) < 0;
}

static void heap_push(struct net *n, struct net_place p)
{
    uint32_t i = n->heap_len++;
    for (; i > 0 && before(&p, &n->heap[(i - 1) / 4]); i = (i - 1) / 4)
        n->heap[i] = n->heap[(i - 1) / 4];
    n->heap[i] = p;
}

static struct net_place heap_pop(struct net *n)
{
    struct net_place top = n->heap[0], last = n->heap[--n->heap_len];
    uint32_t i = 0;
    for (;;) {
        uint32_t first = 4 * i + 1, best = first;
        if (first >= n->heap_len)
            break;
        uint32_t end = first + 4 < n->heap_len ? first + 4 : n->heap_len;
        for (uint32_t c = first + 1; c < end; c++)
            if (before(&n->heap[c], &n->heap[best]))
                best = c;
        if (!before(&n->heap[best], &last))
            break;
        n->heap[i] = n->heap[best];
        i = best;
    }
    n->heap[i] = last;
    return top;
}

static void grow(struct net *n)
{
    uint32_t cap = n->cap == 0 ? 4096 : n->cap * 2;
    n->heap = grab_more(n->heap, cap, sizeof *n->heap);
    n->pool = grab_more(n->pool, cap, sizeof *n->pool);
    n->next = grab_more(n->next, cap, sizeof *n->next);
    for (uint32_t i = cap; i-- > n->cap;) {
        n->next[i] = n->free;
        n->free = i + 1;
    }
    n->cap = cap;
}

static uint8_t *take_bytes(struct net *n, struct net_event *ev)
{
    if (ev->len <= NET_INLINE)
        return ev->inlined;
    if (ev->len <= DATAGRAM && n->spare_len > 0)
        return n->spare[--n->spare_len];
    return grab(1, ev->len <= DATAGRAM ? DATAGRAM : ev->len);
}

static void give_bytes(struct net *n, const struct net_event *ev)
{
    if (ev->len <= NET_INLINE)
        return;
    if (ev->len > DATAGRAM) {
        free(ev->bytes);
        return;
    }
    if (n->spare_len == n->spare_cap) {
        n->spare_cap = n->spare_cap == 0 ? 1024 : n->spare_cap * 2;
        n->spare = grab_more(n->spare, n->spare_cap, sizeof *n->spare);
    }
    n->spare[n->spare_len++] = ev->bytes;
}

void net_at(struct net *n, const struct net_event *ev, const void *bytes)
{
    if (n->free == 0)
        grow(n);
    uint32_t i = n->free - 1;
    n->free = n->next[i];
    struct net_event *e = &n->pool[i];
    memcpy(e, ev, offsetof(struct net_event, inlined));
    if (e->at_us < n->now_us)
        e->at_us = n->now_us;
    e->bytes = e->len == 0 ? NULL : take_bytes(n, e);
    if (e->len > 0)
        memcpy(e->bytes, bytes, e->len);
    heap_push(n, (struct net_place){e->at_us, n->seq++, i});
}

static void release(struct net *n, uint32_t i)
{
    n->next[i] = n->free;
    n->free = i + 1;
}

/* ---- the network ---- */

bool net_reaches(const struct net *n, uint32_t from, uint32_t to)
{
    return !n->cut[n->host[from].side][n->host[to].side];
}

static bool is_lost(struct net *n, uint32_t from, uint32_t to)
{
    double kept =
        (1 - n->profile.loss) * (1 - (double)n->host[from].loss) * (1 - (double)n->host[to].loss);
    return kept < 1 && prng_unit(&n->prng) >= kept;
}

void net_send(struct net *n, const struct net_event *ev, const void *bytes, size_t overhead,
              bool stream)
{
    const struct net_profile *p = &n->profile;
    struct net_host *from = &n->host[ev->from];
    const struct net_host *to = &n->host[ev->node];
    struct net_event e = *ev;
    uint64_t start = n->now_us;
    if (p->bits_per_us > 0 || p->send_us > 0) {
        if (from->tx_free_us > start)
            start = from->tx_free_us;
        start += p->send_us;
        if (p->bits_per_us > 0)
            start += (ev->len + overhead) * 8 / p->bits_per_us;
        from->tx_free_us = start;
    }
    if (to->off || !net_reaches(n, ev->from, ev->node))
        return;
    uint64_t way = from->zone == to->zone ? p->latency_us : p->cross_us;
    e.at_us = start + way + prng_below(&n->prng, p->jitter_us + 1);
    bool lost = is_lost(n, ev->from, ev->node);
    e.datagram = !stream;
    if (stream) {
        e.at_us += 2 * way + (lost ? RETRANSMIT_US : 0);
        net_at(n, &e, bytes);
        return;
    }
    if (p->reorder > 0 && prng_unit(&n->prng) < p->reorder)
        e.at_us += prng_below(&n->prng, OVERTAKEN_US);
    if (!lost)
        net_at(n, &e, bytes);
    if (p->duplicate > 0 && prng_unit(&n->prng) < p->duplicate) {
        e.at_us += prng_below(&n->prng, OVERTAKEN_US);
        net_at(n, &e, bytes);
    }
}

/* ---- hosts ---- */

/* When a host's process is done with what it has begun, and has the CPU. */
static uint64_t has_turn(const struct net *n, uint32_t node)
{
    const struct net_host *h = &n->host[node];
    uint64_t at = h->busy_us > n->now_us ? h->busy_us : n->now_us;
    if (!h->starved)
        return at;
    uint64_t into = (at + node * UINT64_C(7919)) % NET_STARVED_EVERY;
    return into < NET_STARVED_US ? at : at + NET_STARVED_EVERY - into;
}

static void wait_in_backlog(struct net *n, struct net_host *h, uint32_t i)
{
    n->next[i] = 0;
    if (h->backlog_first == 0)
        h->backlog_first = i + 1;
    else
        n->next[h->backlog_last - 1] = i + 1;
    h->backlog_last = i + 1;
}

static void drop(struct net *n, uint32_t i)
{
    give_bytes(n, &n->pool[i]);
    release(n, i);
}

/* True: the event is to be handled now. */
static bool take_turn(struct net *n, uint32_t i)
{
    struct net_event *e = &n->pool[i];
    struct net_host *h = &n->host[e->node];
    bool queued = e->turn;
    if (h->off) {
        drop(n, i);
        return false;
    }
    if (!queued && e->datagram && h->waiting >= NET_SOCKET) {
        n->dropped_full++;
        drop(n, i);
        return false;
    }
    if (h->stopped) {
        h->waiting += !queued && e->datagram;
        e->turn = true;
        wait_in_backlog(n, h, i);
        return false;
    }
    uint64_t at = queued ? n->now_us : has_turn(n, e->node);
    uint64_t cost = h->starved ? NET_STARVED_COST_US : n->profile.cost_us;
    if (!queued && e->len > 0)
        h->busy_us = at + cost;
    if (at > n->now_us) {
        h->waiting += e->datagram;
        e->turn = true;
        heap_push(n, (struct net_place){at, n->seq++, i});
        return false;
    }
    if (queued && e->datagram && h->waiting > 0)
        h->waiting--;
    return true;
}

/* With thousands of hosts each event is of one that is in no cache any more: what the next ones are
 * is asked of memory while this one is handled. */
static void look_ahead(const struct net *n)
{
    for (uint32_t c = 0; c < 5 && c < n->heap_len; c++)
        __builtin_prefetch(&n->pool[n->heap[c].index]);
}

uint32_t net_next_host(const struct net *n)
{
    return n->heap_len == 0 ? UINT32_MAX : n->pool[n->heap[0].index].node;
}

bool net_next(struct net *n, uint64_t until_us, struct net_event *ret)
{
    while (n->heap_len > 0 && n->heap[0].at_us <= until_us) {
        struct net_place p = heap_pop(n);
        n->now_us = p.at_us;
        if (!take_turn(n, p.index))
            continue;
        *ret = n->pool[p.index];
        if (ret->len <= NET_INLINE)
            ret->bytes = ret->inlined;
        release(n, p.index);
        look_ahead(n);
        n->events++;
        n->hash = hash_mix(n->hash ^ n->now_us ^ (uint64_t)ret->node << 40 ^
                           (uint64_t)ret->type << 32 ^ ret->len);
        return true;
    }
    n->now_us = until_us;
    return false;
}

void net_done(struct net *n, struct net_event *ev)
{
    give_bytes(n, ev);
}

static void empty_backlog(struct net *n, uint32_t node, bool lost)
{
    struct net_host *h = &n->host[node];
    uint32_t at = h->backlog_first;
    h->backlog_first = h->backlog_last = 0;
    while (at != 0) {
        uint32_t i = at - 1;
        at = n->next[i];
        if (lost)
            drop(n, i);
        else
            heap_push(n, (struct net_place){n->now_us, n->seq++, i});
    }
}

void net_off(struct net *n, uint32_t node)
{
    empty_backlog(n, node, true);
    n->host[node].waiting = 0;
    n->host[node].busy_us = 0;
    n->host[node].off = true;
    n->host[node].stopped = false;
}

void net_stop(struct net *n, uint32_t node)
{
    n->host[node].stopped = true;
}

void net_go_on(struct net *n, uint32_t node)
{
    n->host[node].off = n->host[node].stopped = false;
    empty_backlog(n, node, false);
}

void net_starve(struct net *n, uint32_t node, bool starved)
{
    n->host[node].starved = starved;
    if (!starved)
        n->host[node].busy_us = n->now_us;
}

void net_init(struct net *n, uint32_t nodes, const struct net_profile *profile, uint64_t seed)
{
    *n = (struct net){.profile = *profile, .nodes = nodes};
    n->host = grab(nodes, sizeof *n->host);
    prng_seed(&n->prng, seed);
    for (uint32_t i = 0; i < nodes; i++)
        n->host[i].zone = (uint8_t)(profile->zones > 1 ? i % profile->zones : 0);
}

void net_fini(struct net *n)
{
    for (uint32_t i = 0; i < n->nodes; i++)
        empty_backlog(n, i, true);
    while (n->heap_len > 0)
        drop(n, heap_pop(n).index);
    while (n->spare_len > 0)
        free(n->spare[--n->spare_len]);
    free(n->spare);
    free(n->heap);
    free(n->pool);
    free(n->next);
    free(n->host);
}
