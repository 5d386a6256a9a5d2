/* SPDX-License-Identifier: Apache-2.0
 * Sealed streams between members. Each side sends on the connection it opened and only listens on
 * those it accepted: one outgoing connection per peer, kept while it is used, ordered. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "gossip/node_uv.h"

#define MESSAGE_HEADER 5u /* u8 channel, u32 length */

static void stream_flush(struct stream *t);
static bool stream_next(struct stream *t);

/* ---- life ---- */

static void on_closed(uv_handle_t *handle)
{
    struct stream *t = handle->data;
    struct gossip_node *g = t->node;
    seal_stream_fini(&t->seal);
    buf_fini(&t->raw);
    buf_fini(&t->plain);
    buf_fini(&t->pending);
    free(t);
    node_handle_closed(g);
}

static void stream_close(struct stream *t)
{
    struct gossip_node *g = t->node;
    if (t->state == STREAM_CLOSING)
        return;
    t->state = STREAM_CLOSING;
    list_remove(&t->link);
    if (t->kind == STREAM_IN)
        g->incoming--;
    else if (t->kind == STREAM_OUT)
        g->outgoing--;
    else
        g->checks--;
    if (t->kind == STREAM_OUT) {
        const struct swim_member *m = swim_find(g->swim, t->num);
        if (m != NULL && g->peers[m->slot].out == t)
            g->peers[m->slot].out = NULL;
        for (size_t i = 0; m == NULL && i < GOSSIP_MEMBERS_MAX; i++)
            if (g->peers[i].out == t)
                g->peers[i].out = NULL;
    }
    uv_close((uv_handle_t *)&t->tcp, on_closed);
}

/* Closed by trouble: what waited for the peer learns it. A peer closes only connections of its own,
 * so the end of one of ours says that its process may be gone. */
static void stream_broke(struct stream *t)
{
    struct gossip_node *g = t->node;
    uint64_t num = t->num;
    bool out = t->kind == STREAM_OUT, was_open = t->state == STREAM_OPEN;
    if (out && !was_open && !g->closing && stream_next(t))
        return;
    stream_close(t);
    if (!out || g->closing)
        return;
    call_fail(g, num, ERR_UNREACHABLE);
    if (was_open && !g->closing)
        node_look(g, num);
}

/* Has somebody opened it whose key is that of the member that it says it is? */
static bool is_proven(const struct stream *t)
{
    const struct swim_member *m =
        t->seal.recv_counter == 0 ? NULL : swim_find(t->node->swim, t->num);
    return m != NULL && !m->evicted && memcmp(m->card->key, t->seal.peer_key, WIRE_KEY) == 0;
}

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

void tcp_tick(struct gossip_node *g, uint64_t now)
{
    struct list *next;
    if (now < g->streams_ms)
        return;
    g->streams_ms = now + STREAM_LOOK_MS;
    hold_observed(g);
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
        bool held = t->state == STREAM_OPEN &&
                    (t->kind == STREAM_OUT ? is_observed(g, t->num) && !t->retiring : is_proven(t));
        if (now - t->used_ms < limit || held)
            continue;
        if (t->state == STREAM_OPEN)
            stream_close(t);
        else
            stream_broke(t);
        next = g->streams.next; /* a failed call's owner may have closed others */
    }
}

static struct stream *stream_new(struct gossip_node *g, enum stream_kind kind)
{
    struct stream *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->node = g;
    t->kind = kind;
    t->used_ms = node_now(g);
    buf_init(&t->raw, SEAL_FRAME_MAX + 2 * 65536);
    buf_init(&t->plain, GOSSIP_MESSAGE_MAX + 2 * SEAL_FRAME_MAX);
    buf_init(&t->pending, STREAM_QUEUE_MAX + SEAL_FRAME_MAX);
    if (uv_tcp_init(g->loop, &t->tcp) != 0) {
        free(t);
        return NULL;
    }
    t->tcp.data = t;
    g->open_handles++;
    list_push(&g->streams, &t->link);
    if (kind == STREAM_IN)
        g->incoming++;
    else if (kind == STREAM_OUT)
        g->outgoing++;
    else
        g->checks++;
    uv_tcp_nodelay(&t->tcp, 1);
    return t;
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

void tcp_key_used(struct gossip_node *g)
{
    struct list *next;
    for (struct list *at = g->streams.next; at != &g->streams; at = next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        next = at->next;
        if (t->kind != STREAM_OUT || t->state != STREAM_OPEN ||
            memcmp(t->seal.key_id, g->seal.key_id[0], sizeof t->seal.key_id) == 0)
            continue;
        t->retiring = true;
        stream_flush(t);
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

/* ---- sending ---- */

struct write {
    uv_write_t req;
    struct stream *stream;
    uint8_t data[];
};

static void on_written(uv_write_t *req, int status)
{
    struct write *w = (struct write *)(void *)req;
    struct stream *t = w->stream;
    free(w);
    t->writing = false;
    if (t->state == STREAM_CLOSING)
        return;
    if (status != 0) {
        stream_broke(t);
        return;
    }
    stream_flush(t);
}

static bool stream_write(struct stream *t, struct write *w, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)w->data, (unsigned)len);
    w->stream = t;
    /* To whom opened it and has proven nothing yet: the other half of the hello. */
    uint64_t num = t->num != 0 ? t->num : t->seal.peer.num;
    const struct swim_member *m = swim_find(t->node->swim, num);
    t->node->stats.stream_bytes_sent += len;
    if (m != NULL && node_is_far(t->node, m))
        t->node->stats.cross_zone_bytes_sent += len;
    if (uv_write(&w->req, (uv_stream_t *)&t->tcp, &buf, 1, on_written) != 0) {
        free(w);
        return false;
    }
    t->writing = true;
    return true;
}

/* Seals everything that waits, up to STREAM_WRITE_MAX, into one write: small messages that came
 * while a write was under way share the next one. */
static void stream_flush(struct stream *t)
{
    size_t left = t->pending.len - t->pending_at;
    if (t->state != STREAM_OPEN || t->writing)
        return;
    if (left == 0 && t->retiring)
        stream_close(t);
    if (left == 0)
        return;
    size_t take = left < STREAM_WRITE_MAX ? left : STREAM_WRITE_MAX;
    size_t frames = (take + SEAL_FRAME_MAX - 1) / SEAL_FRAME_MAX;
    struct write *w = malloc(sizeof *w + take + frames * SEAL_FRAME_OVERHEAD);
    if (w == NULL) {
        stream_broke(t);
        return;
    }
    size_t len = 0;
    for (size_t done = 0; done < take;) {
        size_t n = take - done < SEAL_FRAME_MAX ? take - done : SEAL_FRAME_MAX;
        seal_stream_seal(&t->seal, t->pending.data + t->pending_at + done, n, w->data + len);
        len += n + SEAL_FRAME_OVERHEAD;
        done += n;
    }
    t->pending_at += take;
    if (t->pending_at == t->pending.len) {
        t->pending_at = 0;
        if (t->pending.cap > 65536)
            buf_fini(&t->pending);
        else
            buf_clear(&t->pending);
    } else if (t->pending_at > t->pending.len / 2) {
        buf_drop_front(&t->pending, t->pending_at);
        t->pending_at = 0;
    }
    if (!stream_write(t, w, len))
        stream_broke(t);
}

/* ---- receiving ---- */

/* A member has one connection to us, and some that end. More are of one that is up to no good: each
 * could take the memory of a largest message. */
static void bound_of_one(struct stream *fresh)
{
    struct stream *oldest = NULL;
    unsigned count = 0;
    for (struct list *at = fresh->node->streams.next; at != &fresh->node->streams; at = at->next) {
        struct stream *t = LIST_OF(at, struct stream, link);
        if (t->kind != STREAM_IN || t->num != fresh->num || is_proven(t) != is_proven(fresh))
            continue;
        oldest = oldest == NULL ? t : oldest;
        count++;
    }
    if (count > STREAM_OF_ONE_MAX)
        stream_close(oldest);
}

/* What nobody proven sent is not kept: but for the lists of newcomers it would not count. */
static size_t skip_some(struct stream *t, size_t left)
{
    size_t n = t->skip < left ? t->skip : left;
    t->skip -= n;
    return n;
}

/* False: the stream was closed or broke the rules. */
static bool take_messages(struct stream *t)
{
    struct gossip_node *g = t->node;
    size_t at = skip_some(t, t->plain.len);
    while (t->plain.len - at >= MESSAGE_HEADER) {
        struct rbuf r;
        rbuf_init(&r, t->plain.data + at, MESSAGE_HEADER);
        uint8_t channel = rbuf_u8(&r);
        size_t len = rbuf_u32(&r);
        if (len > GOSSIP_MESSAGE_MAX || channel == 0 || channel >= CHANNEL_COUNT)
            return false;
        if (len > SWIM_PACKET_MAX && !is_proven(t)) {
            t->skip = len;
            at += MESSAGE_HEADER;
            at += skip_some(t, t->plain.len - at);
            continue;
        }
        if (t->plain.len - at - MESSAGE_HEADER < len)
            break;
        /* node_deliver wants the channel byte right before the body: the length's last byte has
         * been read and makes room for it. */
        uint8_t *body = (uint8_t *)t->plain.data + at + MESSAGE_HEADER;
        body[-1] = channel;
        node_deliver(g, t->seal.peer, is_proven(t), body - 1, len + 1, NULL);
        if (t->state == STREAM_CLOSING)
            return false;
        at += MESSAGE_HEADER + len;
    }
    buf_drop_front(&t->plain, at);
    if (t->plain.len == 0 && (t->plain.cap > 65536 || t->skip > 0))
        buf_fini(&t->plain);
    return true;
}

static bool take_frames(struct stream *t)
{
    size_t at = 0;
    while (t->raw.len - at >= 4) {
        struct rbuf r;
        rbuf_init(&r, t->raw.data + at, 4);
        size_t len = rbuf_u32(&r);
        if (len < SEAL_TAG || len > SEAL_FRAME_MAX + SEAL_TAG)
            return false;
        if (t->raw.len - at - 4 < len)
            break;
        size_t before = t->plain.len;
        uint8_t *plain = buf_extend(&t->plain, len - SEAL_TAG);
        if (plain == NULL)
            return false;
        if (seal_stream_open(&t->seal, (const uint8_t *)t->raw.data + at + 4, len, plain) != 0) {
            t->plain.len = before;
            return false;
        }
        t->num = t->seal.peer.num; /* proven now: it holds the keys of this very handshake */
        t->epoch = t->seal.peer.epoch;
        t->used_ms = node_now(t->node);
        at += 4 + len;
        if (t->seal.recv_counter == 1 && t->kind == STREAM_IN)
            bound_of_one(t);
        if (!take_messages(t))
            return false;
    }
    buf_drop_front(&t->raw, at);
    if (t->raw.len == 0 && (t->raw.cap > 65536 || t->skip > 0))
        buf_fini(&t->raw);
    return true;
}

static bool take_hello(struct stream *t)
{
    struct gossip_node *g = t->node;
    struct seal_peer self = {g->num, g->epoch};
    if (t->raw.len < SEAL_HELLO_LEN)
        return true;
    if (t->kind == STREAM_OUT) {
        const struct swim_member *m = swim_find(g->swim, t->num);
        const struct seal_pair *pair = m == NULL ? NULL : node_pair(g, m);
        if (pair == NULL ||
            seal_stream_finish(&g->seal, &t->seal, self, (const uint8_t *)t->raw.data) != 0)
            return false;
        seal_stream_prove(&t->seal, pair->secret);
        t->state = STREAM_OPEN;
        buf_drop_front(&t->raw, SEAL_HELLO_LEN);
        stream_flush(t);
        return t->state != STREAM_CLOSING;
    }
    struct write *w = malloc(sizeof *w + SEAL_HELLO_LEN);
    if (w == NULL)
        return false;
    seal_stream_init(&t->seal);
    uint8_t secret[32];
    if (seal_stream_answer(&g->seal, &t->seal, self, (const uint8_t *)t->raw.data, w->data) != 0 ||
        nodekey_agree(&g->own, t->seal.peer_key, secret) != 0) {
        free(w);
        g->stats.rejected++;
        return false;
    }
    seal_stream_prove(&t->seal, secret);
    t->state = STREAM_OPEN;
    buf_drop_front(&t->raw, SEAL_HELLO_LEN);
    return stream_write(t, w, SEAL_HELLO_LEN);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    static char memory[65536];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(memory, sizeof memory);
}

static void on_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct stream *t = handle->data;
    if (t->state == STREAM_CLOSING || n == 0)
        return;
    if (n < 0) {
        stream_broke(t);
        return;
    }
    t->node->stats.stream_bytes_received += (uint64_t)n;
    bool ok = buf_put(&t->raw, buf->base, (size_t)n) == 0;
    if (ok && t->state == STREAM_HELLO)
        ok = take_hello(t);
    if (ok && t->state == STREAM_OPEN)
        ok = take_frames(t);
    if (!ok && t->state != STREAM_CLOSING)
        stream_broke(t);
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
    if (status != 0 || uv_read_start((uv_stream_t *)&t->tcp, on_alloc, on_check_read) != 0)
        stream_close(t);
    if (status != UV_ECANCELED && !g->closing)
        check_result(g, num, at, result);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct stream *t = req->data;
    struct gossip_node *g = t->node;
    if (t->state == STREAM_CLOSING)
        return;
    if (t->kind == STREAM_CHECK) {
        check_done(t, status);
        return;
    }
    struct write *w = status == 0 ? malloc(sizeof *w + SEAL_HELLO_LEN) : NULL;
    if (w == NULL) {
        stream_broke(t);
        return;
    }
    t->state = STREAM_HELLO;
    t->used_ms = node_now(g);
    seal_stream_init(&t->seal);
    seal_stream_ask(&g->seal, &t->seal, (struct seal_peer){g->num, g->epoch}, g->own.public_key,
                    (struct seal_peer){t->num, t->epoch}, w->data);
    if (!stream_write(t, w, SEAL_HELLO_LEN) ||
        uv_read_start((uv_stream_t *)&t->tcp, on_alloc, on_read) != 0)
        stream_broke(t);
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
static bool stream_next(struct stream *t)
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
    return p->out == NULL ? ERR_UNREACHABLE : 0;
}

int tcp_send(struct gossip_node *g, const struct swim_member *m, uint8_t channel, const void *data,
             size_t len)
{
    if (len > GOSSIP_MESSAGE_MAX)
        return ERR_TOOBIG;
    int err = tcp_hold(g, m);
    if (err != 0)
        return err;
    struct stream *t = g->peers[m->slot].out;
    size_t size = MESSAGE_HEADER + len;
    if (t->pending.len - t->pending_at + size > STREAM_QUEUE_MAX) {
        g->stats.dropped_full++;
        return ERR_BUSY;
    }
    if (t->pending.len + size > t->pending.max) {
        buf_drop_front(&t->pending, t->pending_at);
        t->pending_at = 0;
    }
    uint8_t *at = buf_extend(&t->pending, size);
    if (at == NULL)
        return ERR_NOMEM;
    struct wbuf w;
    wbuf_init(&w, at, size);
    wbuf_u8(&w, channel);
    wbuf_u32(&w, (uint32_t)len);
    wbuf_bytes(&w, data, len);
    ENSURE(!w.bad && w.len == size);
    t->used_ms = node_now(g);
    stream_flush(t);
    return 0;
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
        if (t->kind == STREAM_IN && !is_proven(t))
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
    if (t == NULL)
        return;
    t->state = STREAM_HELLO;
    bool accepted = uv_accept(listener, (uv_stream_t *)&t->tcp) == 0;
    if (g->incoming > STREAM_INCOMING_MAX)
        make_room_for(t);
    if (t->state == STREAM_CLOSING)
        return; /* nobody else makes room */
    if (!accepted || uv_read_start((uv_stream_t *)&t->tcp, on_alloc, on_read) != 0)
        stream_close(t);
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
