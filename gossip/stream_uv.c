/* SPDX-License-Identifier: Apache-2.0
 * One sealed stream: its life, what is sent and what is received on it. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/node_uv.h"

#define MESSAGE_HEADER 5u /* u8 channel, u32 length */

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

void stream_close(struct stream *t)
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
void stream_broke(struct stream *t)
{
    struct gossip_node *g = t->node;
    uint64_t num = t->num;
    bool out = t->kind == STREAM_OUT, was_open = t->state == STREAM_OPEN;
    if (out && !was_open && !g->closing && tcp_next(t))
        return;
    const struct swim_member *m = swim_find(g->swim, num);
    if (out && !was_open && m != NULL && g->peers[m->slot].out == t)
        tcp_failed(g, m);
    if (out && t->stalled && m != NULL) /* and back, if it was not for the size */
        node_peer(g, m)->narrow = !node_peer(g, m)->narrow;
    stream_close(t);
    if (!out || g->closing)
        return;
    call_fail(g, num, ERR_UNREACHABLE);
    if (was_open && !g->closing)
        node_look(g, num);
}

/* Has somebody opened it whose key is that of the member that it says it is? */
bool stream_proven(const struct stream *t)
{
    const struct swim_member *m =
        t->seal.recv_counter == 0 ? NULL : swim_find(t->node->swim, t->num);
    return m != NULL && !m->evicted && memcmp(m->card->key, t->seal.peer_key, WIRE_KEY) == 0;
}

struct stream *stream_new(struct gossip_node *g, enum stream_kind kind)
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
    unsigned family = kind == STREAM_IN ? AF_UNSPEC : (unsigned)g->family; /* the socket, too */
    if (uv_tcp_init_ex(g->loop, &t->tcp, family) != 0) {
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
        t->stalled = status == UV_ETIMEDOUT && t->state == STREAM_OPEN;
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
void stream_flush(struct stream *t)
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

int stream_put(struct stream *t, uint8_t channel, const void *data, size_t len)
{
    size_t size = MESSAGE_HEADER + len;
    if (t->pending.len - t->pending_at + size > STREAM_QUEUE_MAX) {
        t->node->stats.dropped_full++;
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
    if (t->state == STREAM_OPEN) /* else it would be waited for as long as messages come */
        t->used_ms = node_now(t->node);
    stream_flush(t);
    return 0;
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
        if (t->kind != STREAM_IN || t->num != fresh->num ||
            stream_proven(t) != stream_proven(fresh))
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
        if (len > SWIM_PACKET_MAX && !stream_proven(t)) {
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
        node_deliver(g, t->seal.peer, stream_proven(t), body - 1, len + 1, NULL);
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
        node_peer(g, m)->shut_ms = 0;
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

void stream_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
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
        t->stalled = n == UV_ETIMEDOUT && t->state == STREAM_OPEN;
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

bool stream_listen(struct stream *t)
{
    return uv_read_start((uv_stream_t *)&t->tcp, stream_alloc, on_read) == 0;
}

bool stream_ask(struct stream *t)
{
    struct gossip_node *g = t->node;
    struct write *w = malloc(sizeof *w + SEAL_HELLO_LEN);
    if (w == NULL)
        return false;
    t->state = STREAM_HELLO;
    t->used_ms = node_now(g);
    seal_stream_init(&t->seal);
    seal_stream_ask(&g->seal, &t->seal, (struct seal_peer){g->num, g->epoch}, g->own.public_key,
                    (struct seal_peer){t->num, t->epoch}, w->data);
    return stream_write(t, w, SEAL_HELLO_LEN) && stream_listen(t);
}
