/* SPDX-License-Identifier: Apache-2.0
 * Streams of real nodes on loopback: when they end, and what does not end them. */
#include <dlfcn.h>
#include <netinet/tcp.h>

#include "tests/unit/gossip/nodes.h"

/* libuv, without memory for what comes in. */
static unsigned refuse, refused;
int uv_tcp_init_ex(uv_loop_t *at, uv_tcp_t *tcp, unsigned flags)
{
    int (*real)(uv_loop_t *, uv_tcp_t *, unsigned);
    *(void **)&real = dlsym(RTLD_NEXT, "uv_tcp_init_ex");
    if (refuse > 0 && flags == AF_UNSPEC) {
        refuse--;
        refused++;
        return UV_ENOMEM;
    }
    return real(at, tcp, flags);
}

/* ... and writes that fail at once. */
static bool no_writes;
int uv_write(uv_write_t *req, uv_stream_t *to, const uv_buf_t bufs[], unsigned count,
             uv_write_cb done)
{
    int (*real)(uv_write_t *, uv_stream_t *, const uv_buf_t[], unsigned, uv_write_cb);
    *(void **)&real = dlsym(RTLD_NEXT, "uv_write");
    return no_writes ? UV_EPIPE : real(req, to, bufs, count, done);
}

static const struct swim_member *other_of(unsigned i)
{
    return swim_find(nodes[i].g->swim, nodes[1 - i].g->num);
}

static bool both_open(void)
{
    for (unsigned i = 0; i < 2; i++) {
        const struct stream *t = node_peer(nodes[i].g, other_of(i))->out;
        if (t == NULL || t->state != STREAM_OPEN)
            return false;
    }
    return true;
}

/* Two that observe each other, so that either holds a stream to the other. */
static void make_two(void)
{
    make_cluster(2);
    cr_assert(run_until(both_open, 10000));
}

/* A look at all streams begins those that are missing, a moment after it was told the time. */
Test(streams, what_begins_in_a_look_is_not_too_old)
{
    make_two();
    struct gossip_node *g = nodes[0].g;
    struct peer *p = node_peer(g, other_of(0));
    stream_close(p->out);
    g->streams_ms = 0;
    tcp_tick(g, node_now(g) - 5);
    cr_assert_not_null(p->out);
    cr_assert_eq(p->shut_ms, 0);
    cr_assert(run_until(both_open, 10000));
    finish(2);
}

/* libuv accepts no other connection before the one that we had no memory for. */
Test(streams, no_memory_for_one_keeps_no_other_out)
{
    make_two();
    refuse = 2;
    stream_close(node_peer(nodes[1].g, other_of(1))->out);
    nodes[1].g->streams_ms = 0;
    tcp_tick(nodes[1].g, node_now(nodes[1].g));
    cr_assert_not(both_open());
    cr_assert(run_until(both_open, 10000));
    cr_assert_eq(refused, 2);
    finish(2);
}

static int option(const struct stream *t, int level, int name)
{
    int fd = -1, value = -1;
    socklen_t len = sizeof value;
    cr_assert_eq(uv_fileno((const uv_handle_t *)&t->tcp, &fd), 0);
    cr_assert_eq(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

/* A proven one that carries nothing is kept for as long as its owner's kernel answers. */
Test(streams, who_is_gone_without_a_word_is_found_out)
{
    make_two();
    unsigned incoming = 0;
    for (struct list *at = nodes[0].g->streams.next; at != &nodes[0].g->streams; at = at->next) {
        const struct stream *t = LIST_OF(at, struct stream, link);
        if (t->kind != STREAM_IN)
            continue;
        incoming++;
        cr_assert_eq(option(t, SOL_SOCKET, SO_KEEPALIVE), 1);
        cr_assert_leq(option(t, IPPROTO_TCP, TCP_KEEPIDLE), 300);
    }
    cr_assert_gt(incoming, 0);
    finish(2);
}

static void close_all_out(void *arg, int err, const uint8_t *data, size_t len)
{
    struct gossip_node *g = arg;
    (void)err;
    (void)data;
    (void)len;
    for (uint32_t i = 0; i < g->swim->count; i++) {
        struct stream *out = node_peer(g, swim_nth(g->swim, i))->out;
        if (out != NULL)
            stream_close(out);
    }
}

static bool all_out(void)
{
    unsigned open = 0;
    for (unsigned i = 1; i < 4; i++) {
        const struct stream *t =
            node_peer(nodes[0].g, swim_find(nodes[0].g->swim, nodes[i].g->num))->out;
        open += t != NULL && t->state == STREAM_OPEN && !t->writing;
    }
    return open == 3;
}

/* The end of one stream may end others: whoever waits for an answer decides what it does then. */
Test(streams, keys_turn_though_streams_break, .timeout = 300)
{
    make_cluster(4);
    struct gossip_node *g = nodes[0].g;
    for (unsigned i = 1; i < 4; i++)
        (void)tcp_hold(g, swim_find(g->swim, nodes[i].g->num));
    cr_assert(run_until(all_out, 10000));
    for (unsigned i = 1; i < 4; i++) {
        struct stream *t = node_peer(g, swim_find(g->swim, nodes[i].g->num))->out;
        cr_assert_eq(gossip_call(g, nodes[i].g->num, 4, "", 0, 60000, close_all_out, g), 0);
        cr_assert_eq(buf_put(&t->pending, "waits", 5), 0);
        t->writing = false;
    }
    no_writes = true;
    g->seal.key_id[0][0] ^= 1;
    tcp_key_used(g);
    g->seal.key_id[0][0] ^= 1;
    no_writes = false;
    for (struct list *at = g->streams.next; at != &g->streams; at = at->next)
        cr_assert_neq(LIST_OF(at, struct stream, link)->kind, STREAM_OUT);
    finish(4);
}
