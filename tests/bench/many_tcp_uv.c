/* SPDX-License-Identifier: Apache-2.0
 * The members' sealed streams with the agents, as gossip/stream_uv.c has them: each side sends on
 * what it opened, a member keeps a connection to whom it observes. */
#include <errno.h>
#include <linux/filter.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/swim_int.h"
#include "tests/bench/many.h"
#include "tests/sim/grab.h"

#define MESSAGE_HEADER 5u /* u8 channel, u32 length */
#define IDLE_MS 30000u
#define CHECK_MS 1000u
#define CONNECT_MS 5000u

enum kind { OUT, IN, CHECK };
struct many_stream {
    struct list link;
    struct many *m;
    uv_tcp_t tcp;
    uv_connect_t connect;
    enum kind kind;
    bool open, closing;
    uint32_t member, agent; /* of IN the latter is known once it spoke: until then agents */
    uint64_t used_ms;
    struct seal_stream seal;
    struct buf raw, plain, pending;
};

static void on_closed(uv_handle_t *handle)
{
    struct many_stream *t = handle->data;
    seal_stream_fini(&t->seal);
    buf_fini(&t->raw);
    buf_fini(&t->plain);
    buf_fini(&t->pending);
    free(t);
}

static void stream_close(struct many_stream *t)
{
    if (t->closing)
        return;
    t->closing = true;
    list_remove(&t->link);
    if (t->kind == OUT)
        many_pair(t->m, t->member, t->agent)->out = NULL;
    uv_close((uv_handle_t *)&t->tcp, on_closed);
}

/* The other side ended it: perhaps its process is gone. */
static void stream_broke(struct many_stream *t)
{
    struct many *m = t->m;
    uint32_t member = t->member, agent = t->agent;
    bool look = t->kind == OUT && t->open && !t->closing && m->w.node[member].life == LIFE_UP;
    stream_close(t);
    if (!look)
        return;
    many_now(m);
    swim_suspicious(m->w.node[member].s, world_ms(&m->w), m->agent[agent].num, &m->w.out);
    world_step(&m->w, member);
}

static struct many_stream *stream_new(struct many *m, enum kind kind, uint32_t member,
                                      uint32_t agent)
{
    struct many_stream *t = grab(1, sizeof *t);
    t->m = m;
    t->kind = kind;
    t->member = member;
    t->agent = agent;
    t->used_ms = uv_now(m->loop);
    buf_init(&t->raw, 2u * SEAL_FRAME_MAX + 65536);
    buf_init(&t->plain, GOSSIP_MESSAGE_MAX + 2u * SEAL_FRAME_MAX);
    buf_init(&t->pending, 16u << 20);
    ENSURE(uv_tcp_init(m->loop, &t->tcp) == 0);
    t->tcp.data = t->connect.data = t;
    list_push(&m->streams, &t->link);
    return t;
}

/* ---- sending ---- */

struct write {
    uv_write_t req;
    uint8_t data[];
};

static void on_written(uv_write_t *req, int status)
{
    (void)status; /* a broken connection shows when it is read */
    free(req);
}

static void stream_write(struct many_stream *t, struct write *w, size_t len)
{
    uv_buf_t buf = uv_buf_init((char *)w->data, (unsigned)len);
    if (uv_write(&w->req, (uv_stream_t *)&t->tcp, &buf, 1, on_written) != 0)
        free(w);
}

static void stream_flush(struct many_stream *t)
{
    for (size_t at = 0; t->open && at < t->pending.len;) {
        size_t n = t->pending.len - at;
        n = n < SEAL_FRAME_MAX ? n : SEAL_FRAME_MAX;
        struct write *w = grab(1, sizeof *w + n + SEAL_FRAME_OVERHEAD);
        seal_stream_seal(&t->seal, t->pending.data + at, n, w->data);
        stream_write(t, w, n + SEAL_FRAME_OVERHEAD);
        at += n;
    }
    if (t->open)
        buf_clear(&t->pending);
}

/* ---- receiving ---- */

static bool take_messages(struct many_stream *t)
{
    size_t at = 0;
    while (t->plain.len - at >= MESSAGE_HEADER) {
        struct rbuf r;
        rbuf_init(&r, t->plain.data + at, MESSAGE_HEADER);
        uint8_t channel = rbuf_u8(&r);
        size_t len = rbuf_u32(&r);
        if (len > GOSSIP_MESSAGE_MAX || t->plain.len - at - MESSAGE_HEADER < len)
            break;
        uint8_t *body = (uint8_t *)t->plain.data + at + MESSAGE_HEADER;
        body[-1] = channel;
        many_message(t->m, t->member, t->agent, TYPE_STREAM, t->seal.peer.epoch, body - 1, len + 1);
        if (t->closing)
            return true;
        at += MESSAGE_HEADER + len;
    }
    buf_drop_front(&t->plain, at);
    return true;
}

static bool take_frames(struct many_stream *t)
{
    size_t at = 0;
    while (!t->closing && t->raw.len - at >= 4) {
        struct rbuf r;
        rbuf_init(&r, t->raw.data + at, 4);
        size_t len = rbuf_u32(&r);
        if (len < SEAL_TAG || len > SEAL_FRAME_MAX + SEAL_TAG)
            return false;
        if (t->raw.len - at - 4 < len)
            break;
        uint8_t *plain = buf_extend(&t->plain, len - SEAL_TAG);
        if (plain == NULL ||
            seal_stream_open(&t->seal, (const uint8_t *)t->raw.data + at + 4, len, plain) != 0)
            return false;
        uint32_t from = world_find(&t->m->w, t->seal.peer.num);
        if (from == UINT32_MAX || from < t->m->members)
            return false;
        t->agent = from - t->m->members;
        t->used_ms = uv_now(t->m->loop);
        at += 4 + len;
        if (!take_messages(t))
            return false;
    }
    if (!t->closing)
        buf_drop_front(&t->raw, at);
    return true;
}

static bool take_hello(struct many_stream *t)
{
    struct many *m = t->m;
    const struct world_node *n = &m->w.node[t->member];
    struct seal_peer self = {n->num, n->epoch};
    const uint8_t *hello = (const uint8_t *)t->raw.data;
    if (t->raw.len < SEAL_HELLO_LEN)
        return true;
    if (t->kind == OUT) {
        const struct seal_pair *pair = many_secret(m, t->member, t->agent);
        if (pair == NULL || seal_stream_finish(&m->seal, &t->seal, self, hello) != 0)
            return false;
        seal_stream_prove(&t->seal, pair->secret);
    } else {
        uint8_t secret[32];
        struct write *w = grab(1, sizeof *w + SEAL_HELLO_LEN);
        seal_stream_init(&t->seal);
        if (seal_stream_answer(&m->seal, &t->seal, self, hello, w->data) != 0 ||
            nodekey_agree(&m->key[t->member], t->seal.peer_key, secret) != 0) {
            free(w);
            return false;
        }
        seal_stream_prove(&t->seal, secret);
        stream_write(t, w, SEAL_HELLO_LEN);
    }
    t->open = true;
    buf_drop_front(&t->raw, SEAL_HELLO_LEN);
    stream_flush(t);
    return true;
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
    struct many_stream *t = handle->data;
    if (t->closing || n == 0)
        return;
    many_now(t->m);
    bool ok = n > 0 && buf_put(&t->raw, buf->base, (size_t)n) == 0;
    if (ok && !t->open)
        ok = take_hello(t);
    if (ok && t->open)
        ok = take_frames(t);
    if (!ok)
        stream_broke(t);
}

/* ---- connecting ---- */

static void tell_check(struct many_stream *t, enum swim_check result)
{
    struct many *m = t->m;
    many_now(m);
    if (m->w.node[t->member].life != LIFE_UP)
        return;
    swim_checked(m->w.node[t->member].s, world_ms(&m->w), m->agent[t->agent].num, 0, result,
                 &m->w.out);
    world_step(&m->w, t->member);
}

static void on_check_read(uv_stream_t *handle, ssize_t n, const uv_buf_t *buf)
{
    struct many_stream *t = handle->data;
    (void)buf;
    if (n >= 0 || t->closing)
        return;
    tell_check(t, CHECK_REFUSED); /* taken by the kernel of a process that was just dying */
    stream_close(t);
}

static void on_connected(uv_connect_t *req, int status)
{
    struct many_stream *t = req->data;
    struct many *m = t->m;
    const struct world_node *n = &m->w.node[t->member];
    if (t->closing)
        return;
    if (t->kind == CHECK) {
        tell_check(t, status == 0                 ? CHECK_CONNECTED
                      : status == UV_ECONNREFUSED ? CHECK_REFUSED
                                                  : CHECK_SILENT);
        if (status != 0 || uv_read_start((uv_stream_t *)&t->tcp, on_alloc, on_check_read) != 0)
            stream_close(t);
        return;
    }
    const struct swim_member *about = swim_find(n->s, m->agent[t->agent].num);
    if (status != 0 || about == NULL) {
        stream_close(t);
        return;
    }
    struct write *w = grab(1, sizeof *w + SEAL_HELLO_LEN);
    seal_stream_init(&t->seal);
    seal_stream_ask(&m->seal, &t->seal, (struct seal_peer){n->num, n->epoch},
                    m->key[t->member].public_key, (struct seal_peer){about->m.num, about->epoch},
                    w->data);
    stream_write(t, w, SEAL_HELLO_LEN);
    (void)uv_read_start((uv_stream_t *)&t->tcp, on_alloc, on_read);
}

static struct many_stream *stream_connect(struct many *m, enum kind kind, uint32_t member,
                                          uint32_t agent)
{
    struct many_stream *t = stream_new(m, kind, member, agent);
    struct sockaddr_in from = many_address(m, member, 0);
    uv_tcp_nodelay(&t->tcp, 1);
    if (uv_tcp_bind(&t->tcp, (const struct sockaddr *)&from, 0) == 0 &&
        uv_tcp_connect(&t->connect, &t->tcp, (const struct sockaddr *)&m->agent[agent].addr,
                       on_connected) == 0)
        return t;
    stream_close(t);
    return NULL;
}

void many_tcp_hold(struct many *m, uint32_t member, uint32_t agent)
{
    struct many_pair *p = many_pair(m, member, agent);
    if (p->out == NULL)
        p->out = stream_connect(m, OUT, member, agent);
}

void many_tcp_send(struct many *m, uint32_t member, uint32_t agent, uint8_t channel,
                   const void *data, size_t len)
{
    many_tcp_hold(m, member, agent);
    struct many_stream *t = many_pair(m, member, agent)->out;
    uint8_t *at = t == NULL ? NULL : buf_extend(&t->pending, MESSAGE_HEADER + len);
    if (at == NULL)
        return;
    struct wbuf w;
    wbuf_init(&w, at, MESSAGE_HEADER + len);
    wbuf_u8(&w, channel);
    wbuf_u32(&w, (uint32_t)len);
    wbuf_bytes(&w, data, len);
    t->used_ms = uv_now(m->loop);
    stream_flush(t);
}

void many_tcp_check(struct many *m, uint32_t member, uint32_t agent)
{
    (void)stream_connect(m, CHECK, member, agent);
}

/* ---- accepting ---- */

static void on_connection(uv_stream_t *listener, int status)
{
    struct many *m = listener->data;
    struct sockaddr_in at = {0};
    int len = sizeof at;
    if (status != 0)
        return;
    struct many_stream *t = stream_new(m, IN, 0, m->agents);
    bool ok = uv_accept(listener, (uv_stream_t *)&t->tcp) == 0 &&
              uv_tcp_getsockname(&t->tcp, (struct sockaddr *)&at, &len) == 0;
    t->member = ok ? many_member(m, &at.sin_addr) : UINT32_MAX;
    uv_tcp_nodelay(&t->tcp, 1);
    if (t->member == UINT32_MAX || uv_read_start((uv_stream_t *)&t->tcp, on_alloc, on_read) != 0)
        stream_close(t);
}

void many_tcp_open(struct many *m)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(m->port)};
    list_init(&m->streams);
    ENSURE(uv_tcp_init(m->loop, &m->listener) == 0);
    m->listener.data = m;
    ENSURE(uv_tcp_bind(&m->listener, (const struct sockaddr *)&any, 0) == 0);
    ENSURE(uv_listen((uv_stream_t *)&m->listener, 1024, on_connection) == 0);
}

/* ---- time, and ends ---- */

static bool is_observed(const struct many *m, uint32_t member, uint32_t agent)
{
    for (unsigned ring = 0; ring < SWIM_RINGS; ring++) {
        const struct swim_member *s = swim_observed(m->w.node[member].s, ring);
        if (s != NULL && s->m.num == m->agent[agent].num && s->m.state == MEMBER_ALIVE)
            return true;
    }
    return false;
}

void many_tcp_look(struct many *m)
{
    struct list *next;
    for (uint32_t i = 0; i < m->members; i++)
        for (uint32_t a = 0; m->w.node[i].life == LIFE_UP && a < m->agents; a++)
            if (is_observed(m, i, a))
                many_tcp_hold(m, i, a);
    for (struct list *at = m->streams.next; at != &m->streams; at = next) {
        struct many_stream *t = LIST_OF(at, struct many_stream, link);
        next = at->next;
        uint64_t limit = t->kind == CHECK ? CHECK_MS : t->open ? IDLE_MS : CONNECT_MS;
        bool down = t->member < m->members && m->w.node[t->member].life != LIFE_UP;
        if (down || uv_now(m->loop) - t->used_ms < limit || (t->kind == IN && t->open) ||
            (t->kind == OUT && t->open && is_observed(m, t->member, t->agent)))
            continue;
        stream_close(t);
    }
}

/* SYNs to hosts that are gone find no answer: the listener's own filter takes them away. */
static void hide_vanished(struct many *m)
{
    struct sock_filter code[2 + 32 + 1];
    unsigned n = m->vanished_count, at = 0;
    int fd;
    code[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)SKF_NET_OFF + 16);
    for (unsigned i = 0; i < n; i++)
        code[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, m->vanished[i],
                                                  (uint8_t)(n - i), 0);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
    code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {(unsigned short)at, code};
    ENSURE(uv_fileno((const uv_handle_t *)&m->listener, &fd) == 0);
    ENSURE(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
}

void many_tcp_end(struct many *m, uint32_t member, bool vanished)
{
    struct list *next;
    if (vanished && m->vanished_count < sizeof m->vanished / sizeof m->vanished[0]) {
        struct sockaddr_in at = many_address(m, member, 0);
        m->vanished[m->vanished_count++] = ntohl(at.sin_addr.s_addr);
        hide_vanished(m);
        return;
    }
    for (struct list *at = m->streams.next; at != &m->streams; at = next) {
        struct many_stream *t = LIST_OF(at, struct many_stream, link);
        next = at->next;
        if (t->member == member)
            stream_close(t);
    }
}
