/* SPDX-License-Identifier: Apache-2.0
 * The datagram socket: seals what goes out, opens and judges what comes in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/node_uv.h"

/* What is sealed and what was opened, of one packet each. Not on the stack: what is built to be
 * hardened touches each page of a large frame, and these are cold when an agent at rest wakes. */
static uint8_t packet[GOSSIP_DATAGRAM_MAX], opened[GOSSIP_DATAGRAM_MAX];

/* plain: may lie where it is sealed, behind the header. */
static int send_packet(struct gossip_node *g, enum seal_type type, struct seal_peer to,
                       struct seal_pair *pair, const struct gossip_addr *addr, const void *plain,
                       size_t len)
{
    ENSURE(len + (type == SEAL_BRIEF ? SEAL_BRIEF_OVERHEAD : SEAL_OVERHEAD) <= sizeof packet);
    if (addr->family == 0 || (g->family == AF_INET && addr->family == 6))
        return UV_ENETUNREACH;
    /* 2^48 packets are 89 years at 100,000 a second. */
    ENSURE(g->counter < SEAL_COUNTER_MAX);
    struct seal_peer from = {g->num, g->epoch};
    size_t size = seal_datagram(&g->seal, type, from, ++g->counter, to, pair, plain, len, packet);
    struct sockaddr_storage target = addr_kernel(addr, g->family);
    uv_buf_t buf = uv_buf_init((char *)packet, (unsigned)size);
    int n = uv_udp_try_send(&g->udp, &buf, 1, (const struct sockaddr *)&target);
    if (n == UV_EAGAIN) {
        g->stats.dropped_full++;
    } else if (n == UV_EMSGSIZE) {
        g->stats.too_big++;
        return n;
    } else if (n >= 0) {
        g->stats.datagrams_sent++;
        g->stats.jumbo_sent += size > GOSSIP_DATAGRAM_BASE;
        g->stats.bytes_sent += size;
        return (int)size;
    } else if (n != UV_ENOBUFS && n != UV_ENOMEM) {
        return UV_ENETUNREACH;
    }
    return 0;
}

int udp_send(struct gossip_node *g, enum seal_type type, struct seal_peer to,
             struct seal_pair *pair, const struct gossip_addr *addr, uint8_t channel,
             const void *data, size_t len)
{
    uint8_t *plain = packet + (type == SEAL_BRIEF ? SEAL_BRIEF_HEADER : SEAL_HEADER);
    ENSURE(len < sizeof packet - (type == SEAL_BRIEF ? SEAL_BRIEF_OVERHEAD : SEAL_OVERHEAD));
    plain[0] = channel;
    if (len > 0)
        memcpy(plain + 1, data, len);
    return send_packet(g, type, to, pair, addr, plain, len + 1);
}

int udp_send_hello(struct gossip_node *g, const struct gossip_addr *addr, const char *zone,
                   const void *data, size_t len)
{
    int sent = send_packet(g, SEAL_HELLO, (struct seal_peer){0, 0}, NULL, addr, data, len);
    if (sent > 0 && node_is_far_zone(g, zone))
        g->stats.cross_zone_bytes_sent += (uint64_t)sent;
    return sent;
}

static struct seal_pair *pair_of(void *arg, uint64_t sender)
{
    struct gossip_node *g = arg;
    const struct swim_member *m = swim_find(g->swim, sender);
    return m == NULL || m->m.self || m->evicted ? NULL : node_pair(g, m);
}

static bool find_life(void *arg, uint32_t mark, unsigned nth, struct seal_peer *ret)
{
    struct gossip_node *g = arg;
    const struct swim_member *m = marks_find(&g->marks, g->swim, mark, nth);
    if (m == NULL)
        return false;
    *ret = (struct seal_peer){m->m.num, m->epoch};
    return true;
}

/* How far another's session is says nothing of this one's. Of a key that wins the name back
 * (swim_claims.c) the session goes on where it was, and no earlier one opens. */
void udp_new_key(struct peer *p, const struct swim_member *m)
{
    const struct swim_doubt *d = m->doubt;
    if (d != NULL && d->rekeyed && memcmp(d->first_key, p->key, sizeof p->key) == 0) {
        struct displaced *first = p->first == NULL ? malloc(sizeof *first) : p->first;
        if (first != NULL) { /* else its next session alone is safe */
            first->window = p->window;
            memcpy(first->key, p->key, sizeof first->key);
        }
        p->first = first;
    }
    p->window = (struct seal_window){.epoch = m->card->epoch};
    if (p->first != NULL && memcmp(p->first->key, m->card->key, sizeof p->first->key) == 0 &&
        p->first->window.epoch >= m->card->epoch)
        p->window = p->first->window;
    p->heard_as = 0; /* by this one */
}

/* Only packets that prove their sender move its window: nobody else can push it ahead. */
static bool is_fresh(struct gossip_node *g, const struct seal_header *h)
{
    struct peer *p = node_peer(g, swim_find(g->swim, h->sender));
    if (seal_window_accept(&p->window, h->epoch, h->counter) == SEAL_FRESH) {
        uint64_t now = node_now(g);
        if (now > p->heard_ms + SWIM_TALKS_MS)
            p->shut_ms = 0; /* nothing passed at all: it may be over */
        p->heard_ms = now;
        p->heard_as = g->epoch;
        return true;
    }
    g->stats.replayed++;
    return false;
}

/* Hellos and introductions prove no sender and so move no window, but are answered: each once. What
 * its sender's session has left behind is a recording. A lower epoch may be a clock that went back,
 * which the answer heals. */
static bool is_first(struct gossip_node *g, const struct seal_header *h)
{
    const struct swim_member *m = swim_find(g->swim, h->sender);
    const struct seal_window *w = m == NULL ? NULL : &node_peer(g, m)->window;
    uint64_t mark = hash_mix(h->sender ^ hash_mix(h->epoch ^ hash_mix(h->counter)));
    bool seen = w != NULL && w->epoch == h->epoch && h->counter + NODE_LATE_PACKETS < w->top;
    for (size_t i = 0; i < NODE_SEEN_MAX && !seen; i++)
        seen = g->seen[i] == mark;
    if (seen)
        g->stats.replayed++;
    else
        g->seen[g->seen_next++ % NODE_SEEN_MAX] = mark;
    return !seen;
}

/* A member that goes on speaking to an earlier life of ours may know one of a higher epoch: our
 * clock went back, and who took us in did not know that life. Its welcome says so. Anybody can send
 * such packets, and the question is longer than they are: so it is asked at once, but seldom. */
static void ask_for_our_epoch(struct gossip_node *g, uint64_t sender)
{
    const struct swim_member *m = swim_find(g->swim, sender);
    if (m == NULL || m->m.self)
        return;
    if (pace_may(&g->epoch_ask, node_now(g), NODE_EPOCH_ASK_MS, NODE_EPOCH_ASK_MAX_MS))
        join_ask_member(g, m);
}

static void refuse(struct gossip_node *g, const struct sockaddr *from, enum seal_result result,
                   const struct seal_header *h)
{
    char why[400];
    g->stats.rejected++;
    g->stats.strangers += result == SEAL_STRANGER;
    if (result == SEAL_ELSEWHERE)
        ask_for_our_epoch(g, h->sender);
    if (result == SEAL_ELSEWHERE || result == SEAL_STRANGER)
        return; /* usual for a second after our restart: the sender does not know it yet */
    if (result == SEAL_SHORT) {
        snprintf(why, sizeof why, "not a packet of this protocol version");
    } else if (result == SEAL_KEY) {
        for (size_t i = 0; i < h->key_id_len; i++)
            snprintf(g->odd_key + 2 * i, sizeof g->odd_key - 2 * i, "%02x", h->key_id[i]);
        g->odd_ms = node_now(g);
        snprintf(why, sizeof why, "sealed with key %s..., we have %.8s...%s", g->odd_key,
                 g->key_ids[0], g->seal.count > 1 ? " and older ones" : "");
    } else {
        snprintf(why, sizeof why,
                 "sealed with our key %.8s... but it does not open: damaged, or of another cluster "
                 "than '%.120s'",
                 g->key_ids[0], g->cluster);
    }
    node_bad(g, from, why);
}

static void on_packet(struct gossip_node *g, const uint8_t *sealed, size_t len,
                      const struct sockaddr *addr)
{
    size_t size = 0;
    struct seal_header h;
    g->stats.datagrams_received++;
    g->stats.bytes_received += len;
    if (len > GOSSIP_DATAGRAM_MAX) {
        refuse(g, addr, SEAL_SHORT, NULL);
        return;
    }
    struct seal_peer self = {g->num, g->epoch};
    const struct seal_senders senders = {g, pair_of, find_life};
    enum seal_result result = seal_open(&g->seal, self, sealed, len, &senders, &h, opened, &size);
    if (result != SEAL_OK) {
        refuse(g, addr, result, &h);
        return;
    }
    struct gossip_addr from = addr_plain(addr);
    bool proven = h.type == SEAL_BOUND || h.type == SEAL_BRIEF;
    if (proven ? !is_fresh(g, &h) : !is_first(g, &h))
        return;
    if (h.type == SEAL_HELLO)
        join_on_hello(g, &h, opened, size, &from);
    else if (h.sender != g->num)
        node_deliver(g, (struct seal_peer){h.sender, h.epoch}, proven, opened, size, &from);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    /* One buffer: libuv hands it back before it asks again. */
    static char memory[65536];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(memory, sizeof memory);
}

static void on_recv(uv_udp_t *udp, ssize_t n, const uv_buf_t *buf, const struct sockaddr *addr,
                    unsigned flags)
{
    struct gossip_node *g = udp->data;
    if (n <= 0 || addr == NULL || (flags & UV_UDP_PARTIAL) != 0 || g->closing)
        return;
    on_packet(g, (const uint8_t *)buf->base, (size_t)n, addr);
}

/* Don't-fragment: a datagram in pieces is lost with any of them, and many networks drop pieces.
 * What ICMP says of the path is not listened to: anybody can send that (path.h). */
static void forbid_fragments(struct gossip_node *g)
{
    int fd, v4 = IP_PMTUDISC_PROBE, v6 = IPV6_PMTUDISC_PROBE;
    if (uv_fileno((const uv_handle_t *)&g->udp, &fd) != 0)
        return;
    (void)!setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &v4, sizeof v4);
    if (g->family == AF_INET6)
        (void)!setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v6, sizeof v6);
}

int udp_open(struct gossip_node *g, const struct gossip_addr *bind, struct errmsg *e)
{
    struct sockaddr_storage at = addr_kernel(bind, g->family);
    int rc = uv_udp_bind(&g->udp, (const struct sockaddr *)&at, 0);
    struct sockaddr_storage name = {0};
    int len = sizeof name;
    if (rc == 0)
        rc = uv_udp_getsockname(&g->udp, (struct sockaddr *)&name, &len);
    if (rc == 0)
        rc = uv_udp_recv_start(&g->udp, on_alloc, on_recv);
    if (rc != 0) {
        char text[ADDR_TEXT];
        return errmsg_set(e, rc == UV_EADDRINUSE ? ERR_EXISTS : ERR_IO, "udp %s: %s",
                          addr_text(bind, text), uv_strerror(rc));
    }
    /* Bursts of a mass start; the kernel's own maximum caps it. */
    int size = 1 << 20;
    uv_recv_buffer_size((uv_handle_t *)&g->udp, &size);
    forbid_fragments(g);
    g->port = addr_plain((const struct sockaddr *)&name).port;
    return 0;
}
