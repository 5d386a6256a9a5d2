/* SPDX-License-Identifier: Apache-2.0
 * Sealed streams between members. Each side sends on the connection it opened and only listens on
 * those it accepted: one outgoing connection per peer, kept while it is used, ordered. */
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/node_uv.h"

static bool is_observed(const struct gossip_node *g, uint64_t num)
{
    if (num == g->held)
        return true;
    for (unsigned i = 0; i < SWIM_RINGS; i++) {
        const struct swim_member *m = swim_observed(g->swim, i);
        if (m != NULL && m->m.num == num)
            return true;
    }
    return false;
}

/* Connections to those we observe stay open: when such a process dies its kernel says so at once.
 * They carry nothing at rest. */
static void hold_observed(struct gossip_node *g)
{
    for (unsigned i = 0; i < SWIM_RINGS; i++) {
        const struct swim_member *m = swim_observed(g->swim, i);
        if (m != NULL && m->m.state == MEMBER_ALIVE)
            tcp_hold(g, m);
    }
    gossip_hold(g, g->held);
}

void gossip_hold(struct gossip_node *g, uint64_t num)
{
    const struct swim_member *m = num == 0 ? NULL : swim_find(g->swim, num);
    g->held = num;
    if (m != NULL && m->m.state == MEMBER_ALIVE && !m->m.self)
        (void)tcp_hold(g, m);
}

static void on_connection(uv_stream_t *listener, int status);

void tcp_tick(struct gossip_node *g, uint64_t now)
{
    struct list *next;
    if (now < g->streams_ms)
        return;
    g->streams_ms = now + STREAM_LOOK_MS;
    hold_observed(g);
    if (g->unaccepted)
        on_connection((uv_stream_t *)&g->listener, 0);
    for (struct list *at = g->streams.next; at != &g->streams; at = next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        next = at->next;
        uint64_t limit = t->kind == STREAM_IN ? STREAM_STALE_MS : STREAM_IDLE_MS;
        if (t->state != STREAM_OPEN)
            limit = t->kind == STREAM_CHECK ? STREAM_CHECK_MS : STREAM_HANDSHAKE_MS;
        const struct swim_member *m = swim_find(g->swim, t->num);
        if (t->kind == STREAM_OUT && t->state != STREAM_OPEN && m != NULL &&
            node_address(g, m, t->nth + 1u) >= 0)
            limit = STREAM_NEXT_MS;
        bool held =
            t->state == STREAM_OPEN &&
            (t->kind == STREAM_OUT ? is_observed(g, t->num) && !t->retiring : stream_proven(t));
        if (now < t->used_ms + limit || held) /* those begun just now are later than `now` */
            continue;
        if (t->state == STREAM_OPEN)
            stream_close(t);
        else
            stream_broke(t);
        next = g->streams.next; /* a failed call's owner may have closed others */
    }
}

void tcp_close_all(struct gossip_node *g)
{
    while (g->streams.next != &g->streams)
        stream_close(LIST_OF(g->streams.next, struct stream, link));
}

void tcp_member_gone(struct gossip_node *g, uint64_t num)
{
    struct list *next;
    for (struct list *at = g->streams.next; at != &g->streams; at = next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        next = at->next;
        if (t->num == num)
            stream_close(t);
    }
}

static bool is_bound_to(const struct stream *t, const struct gossip_addr *addr)
{
    struct sockaddr_storage name = {0};
    int len = sizeof name;
    if (uv_tcp_getsockname(&t->tcp, (struct sockaddr *)&name, &len) != 0)
        return false;
    struct gossip_addr own = addr_plain((const struct sockaddr *)&name);
    own.port = addr->port; /* only those accepted have ours */
    return addr_equal(&own, addr);
}

void tcp_moved(struct gossip_node *g, const struct gossip_addr *gone)
{
    struct list *next;
    for (struct list *at = g->streams.next; at != &g->streams; at = next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        next = at->next;
        if (!is_bound_to(t, gone))
            continue;
        stream_broke(t);
        next = g->streams.next; /* a failed call's owner may have closed others */
    }
}

void tcp_key_used(struct gossip_node *g)
{
    struct list *next;
    for (struct list *at = g->streams.next; at != &g->streams; at = next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        next = at->next;
        if (t->kind != STREAM_OUT || t->state != STREAM_OPEN || t->retiring ||
            memcmp(t->seal.key_id, g->seal.key_id[0], sizeof t->seal.key_id) == 0)
            continue;
        t->retiring = true;
        stream_flush(t);
        next = g->streams.next; /* a failed call's owner may have closed others */
    }
}

void tcp_key_removed(struct gossip_node *g, const uint8_t key_id[4])
{
    struct list *next;
    for (struct list *at = g->streams.next; at != &g->streams; at = next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        next = at->next;
        if (t->state == STREAM_OPEN && memcmp(t->seal.key_id, key_id, 4) == 0)
            stream_close(t);
    }
}

/* ---- connecting ---- */

static void check_result(struct gossip_node *g, uint64_t num, uint8_t at, enum swim_check result)
{
    swim_checked(g->swim, node_now(g), num, at, result, g->out);
    node_perform(g, NULL, NULL);
}

/* A member's process keeps such a connection until it gives up waiting for a hello. One that ends
 * at once was taken by the kernel of a process that was just dying. */
static void on_check_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct stream *t = handle->data;
    struct gossip_node *g = t->node;
    uint64_t num = t->num;
    uint8_t at = t->at;
    (void)buf;
    if (n >= 0 || t->state == STREAM_CLOSING)
        return;
    stream_close(t);
    if (!g->closing)
        check_result(g, num, at, CHECK_REFUSED);
}

static void check_done(struct stream *t, int status)
{
    struct gossip_node *g = t->node;
    uint64_t num = t->num;
    uint8_t at = t->at;
    enum swim_check result = status == 0                 ? CHECK_CONNECTED
                             : status == UV_ECONNREFUSED ? CHECK_REFUSED
                                                         : CHECK_SILENT;
    if (status != 0 || uv_read_start((uv_stream_t *)&t->tcp, stream_alloc, on_check_read) != 0)
        stream_close(t);
    if (status != UV_ECANCELED && !g->closing)
        check_result(g, num, at, result);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct stream *t = req->data;
    if (t->state == STREAM_CLOSING)
        return;
    if (t->kind == STREAM_CHECK) {
        check_done(t, status);
        return;
    }
    if (status != 0 || !stream_ask(t))
        stream_broke(t);
}

/* The kernel goes on for a quarter of an hour by itself, also where a middlebox has forgotten the
 * connection, or drops large segments and the word that would say so. */
static void set_limits(struct stream *t, bool narrow)
{
    unsigned ms = STREAM_UNACKED_MS, mss = STREAM_NARROW_MSS;
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&t->tcp, &fd) != 0)
        return;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
    if (narrow)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof mss);
}

/* To the nth address, or one behind it. */
static struct stream *stream_connect(struct gossip_node *g, const struct swim_member *m,
                                     enum stream_kind kind, unsigned nth)
{
    struct stream *t = stream_new(g, kind);
    int rc = UV_ENETUNREACH, at;
    if (t == NULL)
        return NULL;
    t->num = m->m.num;
    t->epoch = m->epoch;
    t->meant = m->m.addrs->at[m->m.using];
    t->connect.data = t;
    set_limits(t, node_peer(g, m)->narrow);
    for (; rc != 0 && (at = node_address(g, m, nth)) >= 0; nth++) {
        struct sockaddr_storage addr = addr_kernel(&m->m.addrs->at[at], g->family);
        t->at = (uint8_t)at;
        t->nth = (uint8_t)nth;
        rc = uv_tcp_connect(&t->connect, &t->tcp, (const struct sockaddr *)&addr, on_connected);
        if (kind == STREAM_CHECK)
            break; /* each is checked for itself */
    }
    if (rc == 0)
        return t;
    stream_close(t);
    return NULL;
}

/* What waits goes by another stream; neither has sent anything. */
static void move_pending(struct stream *from, struct stream *to)
{
    struct buf empty = to->pending;
    to->pending = from->pending;
    from->pending = empty;
}

/* No connection came about: at the next address, if there is one. */
bool tcp_next(struct stream *t)
{
    struct gossip_node *g = t->node;
    const struct swim_member *m = swim_find(g->swim, t->num);
    if (m == NULL || g->peers[m->slot].out != t || t->epoch != m->epoch ||
        node_address(g, m, t->nth + 1u) < 0)
        return false;
    struct stream *next = stream_connect(g, m, STREAM_OUT, t->nth + 1u);
    if (next == NULL)
        return false;
    move_pending(t, next);
    g->peers[m->slot].out = next;
    stream_close(t);
    return true;
}

void tcp_check(struct gossip_node *g, const struct swim_member *m)
{
    for (unsigned nth = 0; g->checks < 4 * SWIM_CHECKS_MAX && node_address(g, m, nth) >= 0; nth++)
        stream_connect(g, m, STREAM_CHECK, nth);
}

/* The outgoing stream that was unused for the longest makes room. */
static bool make_room(struct gossip_node *g)
{
    struct stream *oldest = NULL;
    for (struct list *at = g->streams.next; at != &g->streams; at = at->next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        if (t->kind == STREAM_OUT && t->state == STREAM_OPEN && !t->writing &&
            t->pending.len == 0 && (oldest == NULL || t->used_ms < oldest->used_ms))
            oldest = t;
    }
    if (oldest != NULL)
        stream_close(oldest);
    return oldest != NULL;
}

/* It is reached at another address from now on. What was sent to the one before may still arrive.
 */
static int readdress(struct gossip_node *g, const struct swim_member *m, struct peer *p)
{
    struct stream *old = p->out, *t = stream_connect(g, m, STREAM_OUT, 0);
    if (t == NULL)
        return 0; /* then by the old way */
    p->out = t;
    if (old->state == STREAM_OPEN) {
        old->retiring = true;
        stream_flush(old);
    } else {
        move_pending(old, t);
        stream_close(old);
    }
    return 0;
}

int tcp_hold(struct gossip_node *g, const struct swim_member *m)
{
    struct peer *p = node_peer(g, m);
    if (p->out != NULL && p->out->epoch != m->epoch)
        stream_close(p->out); /* it restarted: that connection leads to its earlier life */
    if (p->out != NULL && !addr_equal(&p->out->meant, &m->m.addrs->at[m->m.using]))
        return readdress(g, m, p);
    if (p->out != NULL)
        return 0;
    if (g->outgoing >= GOSSIP_STREAMS_MAX && !make_room(g))
        return ERR_BUSY;
    p->out = stream_connect(g, m, STREAM_OUT, 0);
    if (p->out == NULL)
        tcp_failed(g, m);
    return p->out == NULL ? ERR_UNREACHABLE : 0;
}

void tcp_failed(struct gossip_node *g, const struct swim_member *m)
{
    struct peer *p = node_peer(g, m);
    if (p->shut_ms == 0)
        p->shut_ms = node_now(g);
}

bool gossip_takes_streams(struct gossip_node *g, uint64_t num)
{
    const struct swim_member *m = swim_find(g->swim, num);
    if (m == NULL || m->m.self || g->closing)
        return true;
    const struct peer *p = node_peer(g, m);
    uint64_t now = node_now(g);
    if (p->shut_ms == 0 || now < p->shut_ms + STREAM_SHUT_MS || now > p->heard_ms + SWIM_TALKS_MS)
        return true;
    (void)tcp_hold(g, m);
    return false;
}

int tcp_send(struct gossip_node *g, const struct swim_member *m, uint8_t channel, const void *data,
             size_t len)
{
    if (len > GOSSIP_MESSAGE_MAX)
        return ERR_TOOBIG;
    int err = tcp_hold(g, m);
    if (err != 0)
        return err;
    return stream_put(g->peers[m->slot].out, channel, data, len);
}

/* ---- accepting ---- */

/* Who has not proven to be a member makes room, the first one first: a member takes milliseconds to
 * do so. So neither strangers nor who has the cluster's key alone keep it out. */
static void make_room_for(struct stream *fresh)
{
    struct stream *found = fresh;
    const struct list *head = &fresh->node->streams;
    for (struct list *at = head->next; at != head && found == fresh; at = at->next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        if (t->kind == STREAM_IN && !stream_proven(t))
            found = t;
    }
    stream_close(found);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct gossip_node *g = listener->data;
    if (status != 0 || g->closing)
        return;
    struct stream *t = stream_new(g, STREAM_IN);
    g->unaccepted = t == NULL; /* libuv takes no other before it: tried again at the next look */
    if (t == NULL)
        return;
    t->state = STREAM_HELLO;
    bool accepted = uv_accept(listener, (uv_stream_t *)&t->tcp) == 0;
    if (g->incoming > STREAM_INCOMING_MAX)
        make_room_for(t);
    if (t->state == STREAM_CLOSING)
        return; /* nobody else makes room */
    if (!accepted || !stream_listen(t)) {
        stream_close(t);
        return;
    }
    /* One at rest is as good as another whose owner is gone, behind a firewall that forgot it: only
     * the kernels can tell. */
    (void)uv_tcp_keepalive(&t->tcp, 1, STREAM_STALE_MS / 1000);
}

int tcp_open(struct gossip_node *g, const struct gossip_addr *bind, struct errmsg *e)
{
    struct sockaddr_storage at = addr_kernel(bind, g->family);
    int rc = uv_tcp_bind(&g->listener, (const struct sockaddr *)&at, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&g->listener, 256, on_connection);
    if (rc == 0)
        return 0;
    char text[ADDR_TEXT];
    return errmsg_set(e, rc == UV_EADDRINUSE ? ERR_EXISTS : ERR_IO, "tcp %s: %s",
                      addr_text(bind, text), uv_strerror(rc));
}
