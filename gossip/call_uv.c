/* SPDX-License-Identifier: Apache-2.0
 * Requests and answers between members, over the streams. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/node_uv.h"

enum { CALL_REQUEST = 1, CALL_ANSWER = 2 };

struct call { /* ours, awaiting its answer */
    struct list link;
    uint64_t id, to, due_ms;
    gossip_answer_fn done;
    void *arg;
};

struct gossip_request { /* theirs, awaiting our handler's answer */
    struct list link;
    struct gossip_node *node; /* NULL: the node is gone, the answer goes nowhere */
    uint64_t from, id;
};

static void on_call_timer(uv_timer_t *timer);

void call_init(struct gossip_node *g)
{
    list_init(&g->calls);
    list_init(&g->requests);
    g->next_call = 1;
}

static void arm(struct gossip_node *g)
{
    uint64_t due = UINT64_MAX, now = node_now(g);
    for (struct list *at = g->calls.next; at != &g->calls; at = at->next) {
        const struct call *c = LIST_OF(at, struct call, link);
        if (c->due_ms < due)
            due = c->due_ms;
    }
    if (g->closing || due == UINT64_MAX)
        uv_timer_stop(&g->call_timer);
    else
        uv_timer_start(&g->call_timer, on_call_timer, due > now ? due - now : 0, 0);
}

static void finish(struct gossip_node *g, struct call *c, int err, const uint8_t *data, size_t len)
{
    list_remove(&c->link);
    g->call_count--;
    c->done(c->arg, err, data, len);
    free(c);
}

/* Ends those of the present calls that match; calls made meanwhile by callbacks are not touched. */
static void end_calls(struct gossip_node *g, uint64_t to, uint64_t due_ms, int err)
{
    struct list ended;
    struct list *next;
    list_init(&ended);
    for (struct list *at = g->calls.next; at != &g->calls; at = next) {
        struct call *c = LIST_OF(at, struct call, link);
        next = at->next;
        if ((to == 0 || c->to == to) && c->due_ms <= due_ms) {
            list_remove(&c->link);
            list_push(&ended, &c->link);
        }
    }
    while (ended.next != &ended)
        finish(g, LIST_OF(ended.next, struct call, link), err, NULL, 0);
}

static void on_call_timer(uv_timer_t *timer)
{
    struct gossip_node *g = timer->data;
    end_calls(g, 0, node_now(g), ERR_TIMEOUT);
    arm(g);
}

void call_fail(struct gossip_node *g, uint64_t to, int err)
{
    end_calls(g, to, UINT64_MAX, err);
}

void gossip_call_end(struct gossip_node *g, const void *arg)
{
    for (struct list *at = g->calls.next; at != &g->calls; at = at->next) {
        struct call *c = LIST_OF(at, struct call, link);
        if (c->arg != arg)
            continue;
        finish(g, c, ERR_TIMEOUT, NULL, 0);
        return;
    }
}

void call_close(struct gossip_node *g)
{
    call_fail(g, 0, ERR_CANCELED);
    struct list *at;
    while ((at = list_pop(&g->requests)) != NULL)
        LIST_OF(at, struct gossip_request, link)->node = NULL; /* freed by its answer */
}

static int send_call(struct gossip_node *g, uint64_t to, const uint8_t *head, size_t head_len,
                     const void *data, size_t len)
{
    struct buf b;
    buf_init(&b, GOSSIP_MESSAGE_MAX);
    buf_put(&b, head, head_len);
    buf_put(&b, data, len);
    int err = b.err;
    if (err == 0)
        err = gossip_send_stream(g, CHANNEL_CALL, to, b.data, b.len);
    buf_fini(&b);
    return err;
}

int gossip_call(struct gossip_node *g, uint64_t to, uint8_t method, const void *data, size_t len,
                uint64_t timeout_ms, gossip_answer_fn done, void *arg)
{
    uint8_t head[16];
    struct wbuf w;
    if (g->closing)
        return ERR_CLOSED;
    if (g->call_count >= NODE_CALLS_MAX)
        return ERR_BUSY;
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NOMEM;
    /* The peer may still answer a call of this agent's earlier life: never under a number of this
     * one. */
    *c = (struct call){.id = hash_mix(g->epoch) + g->next_call++,
                       .to = to,
                       .due_ms = node_now(g) + timeout_ms,
                       .done = done,
                       .arg = arg};
    wbuf_init(&w, head, sizeof head);
    wbuf_u8(&w, CALL_REQUEST);
    wbuf_u64(&w, c->id);
    wbuf_u8(&w, method);
    int err = send_call(g, to, head, w.len, data, len);
    if (err != 0) {
        free(c);
        return err;
    }
    list_push(&g->calls, &c->link);
    g->call_count++;
    arm(g);
    return 0;
}

void gossip_on_call(struct gossip_node *g, gossip_call_fn fn, void *arg)
{
    g->on_call = fn;
    g->on_call_arg = arg;
}

void gossip_answer(struct gossip_request *call, int err, const void *data, size_t len)
{
    struct gossip_node *g = call->node;
    uint8_t head[16];
    struct wbuf w;
    list_remove(&call->link);
    if (g != NULL && !g->closing) {
        if (len > GOSSIP_MESSAGE_MAX - sizeof head) {
            err = ERR_TOOBIG;
            len = 0;
        }
        wbuf_init(&w, head, sizeof head);
        wbuf_u8(&w, CALL_ANSWER);
        wbuf_u64(&w, call->id);
        wbuf_u32(&w, (uint32_t)-err);
        /* Not sent: the caller's own time-out tells it. */
        send_call(g, call->from, head, w.len, data, len);
    }
    free(call);
}

static void on_request(struct gossip_node *g, uint64_t from, struct rbuf *r)
{
    uint64_t id = rbuf_u64(r);
    uint8_t method = rbuf_u8(r);
    size_t len = rbuf_left(r);
    const uint8_t *data = rbuf_bytes(r, len);
    if (r->bad)
        return;
    struct gossip_request *q = calloc(1, sizeof *q);
    if (q == NULL)
        return;
    *q = (struct gossip_request){.node = g, .from = from, .id = id};
    list_push(&g->requests, &q->link);
    if (g->on_call == NULL)
        gossip_answer(q, ERR_UNSUPPORTED, NULL, 0);
    else
        g->on_call(g->on_call_arg, from, method, data, len, q);
}

static void on_answer(struct gossip_node *g, uint64_t from, struct rbuf *r)
{
    uint64_t id = rbuf_u64(r);
    uint32_t err = rbuf_u32(r);
    size_t len = rbuf_left(r);
    const uint8_t *data = rbuf_bytes(r, len);
    if (r->bad)
        return;
    for (struct list *at = g->calls.next; at != &g->calls; at = at->next) {
        struct call *c = LIST_OF(at, struct call, link);
        if (c->id != id || c->to != from)
            continue;
        finish(g, c, err > 1000 ? ERR_MALFORMED : -(int)err, data, len);
        return;
    }
}

void call_message(struct gossip_node *g, uint64_t from, const uint8_t *data, size_t len)
{
    struct rbuf r;
    rbuf_init(&r, data, len);
    uint8_t kind = rbuf_u8(&r);
    if (kind == CALL_REQUEST)
        on_request(g, from, &r);
    else if (kind == CALL_ANSWER)
        on_answer(g, from, &r);
}
