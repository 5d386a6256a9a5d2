/* SPDX-License-Identifier: Apache-2.0
 * libuv's sockets in virtual time: messages through the simulated network. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "tests/sim/loop_int.h"

#define KERNEL_BUFFER 262144u /* a socket takes so much before writes wait */
#define CONNECT_MAX_US 20000000u
#define READ_MAX 65536u

/* ---- datagrams --------------------------------------------------------------------------- */

struct datagram {
    struct node *to;
    struct sockaddr_in from;
    uint16_t port;
    size_t len;
    char bytes[];
};

static struct node *node_at(const struct sockaddr *addr)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;
    uint32_t num = (ntohl(in->sin_addr.s_addr) & 0xff) - 1;
    return addr->sa_family == AF_INET && num < world.node_count ? &world.nodes[num] : NULL;
}

static struct sockaddr_in address_of(const struct node *n, uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(0x0a000000u + n->num + 1)};
}

int uv_udp_init(uv_loop_t *uv, uv_udp_t *udp)
{
    return handle_init(uv, udp, UDP);
}

int uv_udp_init_ex(uv_loop_t *uv, uv_udp_t *udp, unsigned flags)
{
    (void)flags;
    return handle_init(uv, udp, UDP);
}

int uv_udp_bind(uv_udp_t *udp, const struct sockaddr *addr, unsigned flags)
{
    (void)flags;
    of(udp)->port = ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
    return 0;
}

int uv_udp_getsockname(const uv_udp_t *udp, struct sockaddr *name, int *len)
{
    struct sockaddr_in in = address_of(of(udp)->loop->node, of(udp)->port);
    memcpy(name, &in, sizeof in);
    *len = sizeof in;
    return 0;
}

int uv_fileno(const uv_handle_t *handle, uv_os_fd_t *fd)
{
    (void)handle, (void)fd;
    return UV_EBADF; /* no descriptor of the kernel's is behind it */
}

int uv_recv_buffer_size(uv_handle_t *handle, int *value)
{
    (void)handle, (void)value;
    return 0;
}

int uv_udp_recv_start(uv_udp_t *udp, uv_alloc_cb alloc_cb, uv_udp_recv_cb recv_cb)
{
    of(udp)->alloc_cb = alloc_cb;
    of(udp)->recv_cb = recv_cb;
    return 0;
}

static void datagram_arrives(void *arg)
{
    struct datagram *d = arg;
    struct loop *l = d->to->loop;
    for (size_t i = 0; i < l->count; i++) {
        struct handle *h = l->handles[i];
        if (h->kind != UDP || h->port != d->port || h->recv_cb == NULL || h->closing)
            continue;
        uv_buf_t buf;
        h->alloc_cb(h->uv, 65536, &buf);
        memcpy(buf.base, d->bytes, d->len);
        h->recv_cb((uv_udp_t *)h->uv, (ssize_t)d->len, &buf, (const struct sockaddr *)&d->from, 0);
        break;
    }
    free(d);
}

int uv_udp_try_send(uv_udp_t *udp, const uv_buf_t bufs[], unsigned count,
                    const struct sockaddr *addr)
{
    struct node *from = of(udp)->loop->node, *to = node_at(addr);
    uint64_t at_us[2];
    ENSURE(count == 1);
    size_t packet = bufs[0].len + 28; /* with IPv4 and UDP headers */
    if (packet > network_interface_mtu(&world.network, from->num))
        return UV_EMSGSIZE;
    bool lost = to == NULL || packet > network_path_mtu(&world.network, from->num, to->num);
    unsigned copies =
        lost ? 0 : network_send(&world.network, world.now_us, from->num, to->num, at_us);
    for (unsigned i = 0; i < copies; i++) {
        struct datagram *d = malloc(sizeof *d + bufs[0].len);
        ENSURE(d != NULL);
        *d = (struct datagram){.to = to, .from = address_of(from, of(udp)->port)};
        d->port = ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
        d->len = bufs[0].len;
        memcpy(d->bytes, bufs[0].base, d->len);
        node_post(to, at_us[i], datagram_arrives, d);
    }
    return (int)bufs[0].len;
}

/* ---- streams -------------------------------------------------------------------------------
 * A connection delivers in order what is not cut; what is cut is sent again, ever more rarely. The
 * end of a process closes its connections; the end of a machine tells nobody. */

struct segment {
    struct segment *next;
    size_t len; /* 0: end */
    char bytes[];
};

struct side {
    struct node *node;
    uint64_t life;
    struct handle *handle;         /* NULL: closed, or not accepted yet */
    struct segment *first, **last; /* on their way to the other side */
    size_t in_flight;
    bool pumping, ended, closed;
    unsigned tries;
};

struct connection {
    struct side side[2]; /* 0 connected, 1 accepts */
    uint16_t port;
    uv_connect_t *connect;
    uv_connect_cb connect_cb;
    uint64_t since_us;
    bool accepted;
};

static bool is_alive(const struct side *s)
{
    return s->node->exists && s->node->up && s->node->life == s->life;
}

static void connect_ends(void *arg)
{
    struct connection *c = arg;
    uv_connect_t *req = c->connect;
    c->connect = NULL;
    if (req != NULL && c->side[0].handle != NULL)
        c->connect_cb(req, c->accepted ? 0 : UV_ECONNREFUSED);
}

static void give_up(void *arg)
{
    struct connection *c = arg;
    uv_connect_t *req = c->connect;
    c->connect = NULL;
    if (req != NULL && c->side[0].handle != NULL)
        c->connect_cb(req, UV_ETIMEDOUT);
}

static void pump_soon(struct connection *c, int from);

static void offer(void *arg)
{
    struct connection *c = arg;
    struct loop *l = c->side[1].node->loop;
    for (size_t i = 0; i < l->count; i++) {
        struct handle *h = l->handles[i];
        if (h->kind == TCP && h->connection_cb != NULL && h->port == c->port && !h->closing) {
            h->accept = c;
            h->connection_cb((uv_stream_t *)h->uv, 0);
            return;
        }
    }
}

static bool has_listener(const struct node *n, uint16_t port)
{
    for (size_t i = 0; i < n->loop->count; i++) {
        const struct handle *h = n->loop->handles[i];
        if (h->kind == TCP && h->connection_cb != NULL && h->port == port && !h->closing)
            return true;
    }
    return false;
}

/* The kernel of the other side answers, also for a process that is paused. */
static void syn(void *arg)
{
    struct connection *c = arg;
    struct side *from = &c->side[0], *to = &c->side[1];
    if (!is_alive(from) || c->connect == NULL)
        return;
    bool cut = network_is_cut(&world.network, from->node->num, to->node->num) ||
               network_is_cut(&world.network, to->node->num, from->node->num);
    if (cut || !to->node->exists || chance(world.network.profile.loss)) {
        uint64_t wait_us = 1000000u << (from->tries < 4 ? from->tries : 4);
        from->tries++;
        if (world.now_us - c->since_us > CONNECT_MAX_US)
            node_post(from->node, world.now_us, give_up, c);
        else
            queue_add(&world.queue, world.now_us + wait_us, syn, c);
        return;
    }
    from->tries = 0;
    c->accepted = to->node->up && has_listener(to->node, c->port);
    to->life = to->node->life;
    node_post(from->node, world.now_us + network_delay(&world.network), connect_ends, c);
    if (c->accepted)
        node_post(to->node, world.now_us, offer, c);
}

int uv_tcp_init(uv_loop_t *uv, uv_tcp_t *tcp)
{
    return handle_init(uv, tcp, TCP);
}

int uv_tcp_init_ex(uv_loop_t *uv, uv_tcp_t *tcp, unsigned flags)
{
    (void)flags;
    return uv_tcp_init(uv, tcp);
}

int uv_tcp_nodelay(uv_tcp_t *tcp, int enable)
{
    (void)tcp, (void)enable;
    return 0;
}

int uv_tcp_bind(uv_tcp_t *tcp, const struct sockaddr *addr, unsigned flags)
{
    (void)flags;
    of(tcp)->port = ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
    return 0;
}

int uv_tcp_getsockname(const uv_tcp_t *tcp, struct sockaddr *name, int *len)
{
    struct sockaddr_in in = address_of(of(tcp)->loop->node, of(tcp)->port);
    memcpy(name, &in, sizeof in);
    *len = sizeof in;
    return 0;
}

int uv_listen(uv_stream_t *stream, int backlog, uv_connection_cb cb)
{
    (void)backlog;
    of(stream)->connection_cb = cb;
    return 0;
}

int uv_tcp_connect(uv_connect_t *req, uv_tcp_t *tcp, const struct sockaddr *addr, uv_connect_cb cb)
{
    struct handle *h = of(tcp);
    struct node *n = h->loop->node, *to = node_at(addr);
    struct connection *c = calloc(1, sizeof *c);
    ENSURE(c != NULL);
    if (to == NULL) {
        free(c);
        return UV_EHOSTUNREACH;
    }
    c->side[0] = (struct side){.node = n, .life = n->life, .handle = h};
    c->side[1] = (struct side){.node = to};
    c->side[0].last = &c->side[0].first;
    c->side[1].last = &c->side[1].first;
    c->port = ntohs(((const struct sockaddr_in *)(const void *)addr)->sin_port);
    c->connect = req;
    c->connect_cb = cb;
    c->since_us = world.now_us;
    h->connection = c;
    h->side = 0;
    queue_add(&world.queue, world.now_us + network_delay(&world.network), syn, c);
    return 0;
}

int uv_accept(uv_stream_t *server, uv_stream_t *client)
{
    struct connection *c = of(server)->accept;
    of(server)->accept = NULL;
    if (c == NULL)
        return UV_EAGAIN;
    of(client)->connection = c;
    of(client)->side = 1;
    c->side[1].handle = of(client);
    return 0;
}

/* ---- their bytes ---- */

struct arrival {
    struct connection *connection;
    struct segment *segment;
    int to;
    int error;
};

static void read_some(struct handle *h, const char *bytes, size_t len)
{
    while (len > 0 && !h->closing) {
        uv_buf_t buf;
        size_t n = len < READ_MAX ? len : READ_MAX;
        h->alloc_cb(h->uv, READ_MAX, &buf);
        memcpy(buf.base, bytes, n);
        h->read_cb((uv_stream_t *)h->uv, (ssize_t)n, &buf);
        bytes += n;
        len -= n;
    }
}

static void arrives(void *arg)
{
    struct arrival a = *(struct arrival *)arg;
    struct side *to = &a.connection->side[a.to];
    free(arg);
    if (to->handle != NULL && to->handle->read_cb != NULL && !to->handle->closing) {
        uv_buf_t none = {0};
        if (a.error != 0)
            to->handle->read_cb((uv_stream_t *)to->handle->uv, a.error, &none);
        else if (a.segment->len == 0)
            to->handle->read_cb((uv_stream_t *)to->handle->uv, UV_EOF, &none);
        else
            read_some(to->handle, a.segment->bytes, a.segment->len);
    }
    free(a.segment);
}

static void deliver(struct connection *c, struct segment *s, int to, int error)
{
    struct arrival *a = malloc(sizeof *a);
    ENSURE(a != NULL);
    *a = (struct arrival){c, s, to, error};
    node_post(c->side[to].node, world.now_us, arrives, a);
}

struct pump {
    struct connection *connection;
    int from;
};

static void pump(void *arg)
{
    struct pump p = *(struct pump *)arg;
    struct side *from = &p.connection->side[p.from], *to = &p.connection->side[!p.from];
    struct segment *s = from->first;
    free(arg);
    from->pumping = false;
    if (s == NULL)
        return;
    if (network_is_cut(&world.network, from->node->num, to->node->num) || !to->node->exists ||
        chance(world.network.profile.loss)) {
        from->tries++;
        pump_soon(p.connection, p.from);
        return;
    }
    from->tries = 0;
    if (!is_alive(to) || to->closed) { /* reset */
        if (is_alive(from))
            deliver(p.connection, NULL, p.from, UV_ECONNRESET);
        from->first = NULL;
        from->last = &from->first;
        return;
    }
    from->first = s->next;
    if (from->first == NULL)
        from->last = &from->first;
    from->in_flight -= s->len;
    deliver(p.connection, s, !p.from, 0);
    if (from->first != NULL)
        pump_soon(p.connection, p.from);
}

static void pump_soon(struct connection *c, int from)
{
    struct side *s = &c->side[from];
    if (s->pumping)
        return;
    struct pump *p = malloc(sizeof *p);
    ENSURE(p != NULL);
    *p = (struct pump){c, from};
    s->pumping = true;
    uint64_t again_us = s->tries == 0 ? 0 : 200000u << (s->tries < 5 ? s->tries - 1 : 4);
    queue_add(&world.queue, world.now_us + again_us + network_delay(&world.network), pump, p);
}

static void send_segment(struct connection *c, int from, const char *bytes, size_t len)
{
    struct side *s = &c->side[from];
    struct segment *g = malloc(sizeof *g + len);
    ENSURE(g != NULL);
    *g = (struct segment){.len = len};
    if (len > 0)
        memcpy(g->bytes, bytes, len);
    *s->last = g;
    s->last = &g->next;
    s->in_flight += len;
    pump_soon(c, from);
}

struct written {
    struct written *next;
    struct handle *handle; /* NULL: was cancelled */
    uv_write_t *req;
    uv_write_cb cb;
};

static void on_written(void *arg)
{
    struct written *w = arg;
    struct handle *h = w->handle;
    if (h != NULL && h->connection->side[h->side].in_flight > KERNEL_BUFFER) {
        node_post(h->loop->node, world.now_us + 5000, on_written, w);
        return;
    }
    if (h != NULL) {
        struct written **at = &h->writes;
        while (*at != w)
            at = &(*at)->next;
        *at = w->next;
        w->cb(w->req, 0);
    }
    free(w);
}

static void cancel_writes(struct handle *h)
{
    for (struct written *w; (w = h->writes) != NULL;) {
        h->writes = w->next;
        w->handle = NULL;
        w->cb(w->req, UV_ECANCELED);
    }
}

int uv_write(uv_write_t *req, uv_stream_t *stream, const uv_buf_t bufs[], unsigned count,
             uv_write_cb cb)
{
    struct handle *h = of(stream);
    struct written *w = malloc(sizeof *w);
    ENSURE(w != NULL && count == 1 && h->connection != NULL);
    send_segment(h->connection, h->side, bufs[0].base, bufs[0].len);
    *w = (struct written){h->writes, h, req, cb};
    h->writes = w;
    node_post(h->loop->node, world.now_us + TURNS_US, on_written, w);
    return 0;
}

int uv_read_start(uv_stream_t *stream, uv_alloc_cb alloc_cb, uv_read_cb read_cb)
{
    of(stream)->alloc_cb = alloc_cb;
    of(stream)->read_cb = read_cb;
    return 0;
}

void connection_closed(struct handle *h)
{
    struct connection *c = h->connection;
    if (c == NULL)
        return;
    uv_connect_t *req = c->connect;
    if (h->side == 0 && req != NULL) {
        c->connect = NULL;
        c->connect_cb(req, UV_ECANCELED);
    }
    cancel_writes(h);
    c->side[h->side].handle = NULL;
    c->side[h->side].closed = true;
    if (c->accepted)
        send_segment(c, h->side, NULL, 0);
}

void loop_node_died(struct node *n, bool power)
{
    struct loop *l = n->loop;
    for (size_t i = 0; !power && i < l->count; i++) {
        struct handle *h = l->handles[i];
        if (h->kind == TCP && h->connection != NULL && h->connection->accepted && !h->closing) {
            h->connection->side[h->side].handle = NULL;
            h->connection->side[h->side].closed = true;
            send_segment(h->connection, h->side, NULL, 0);
        }
    }
    n->loop = NULL;
}
