/* SPDX-License-Identifier: Apache-2.0
 * libuv in virtual time, as far as the agent uses it: these definitions take the place of the
 * library's at link time. One loop a node; a turn of it is timers, idle, prepare, closing, as in
 * libuv. Sockets are in sockets.c. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "tests/sim/loop_int.h"

static struct loop *loop_of(const uv_loop_t *uv)
{
    return (struct loop *)(uintptr_t)uv;
}

int handle_init(uv_loop_t *uv, void *handle, enum kind kind)
{
    struct loop *l = loop_of(uv);
    uv_handle_t *h = handle;
    struct handle *own = calloc(1, sizeof *own);
    ENSURE(own != NULL && l->count < HANDLES_MAX);
    own->uv = h;
    own->loop = l;
    own->kind = kind;
    h->loop = uv;
    h->u.reserved[0] = own;
    l->handles[l->count++] = own;
    return 0;
}

/* ---- turns ---------------------------------------------------------------------------- */

static uint64_t loop_clock_ms(const struct loop *l)
{
    return node_mono_us(l->node) / 1000;
}

static void run_timers(struct loop *l)
{
    /* As in libuv 1.44: those started meanwhile that are due run in the same turn, and nothing else
     * does as long as there are such. */
    for (uint32_t times = 0;; times++) {
        struct handle *first = NULL;
        for (size_t i = 0; i < l->count; i++) {
            struct handle *h = l->handles[i];
            if (h->kind != TIMER || !h->active || h->due_ms > l->now_ms)
                continue;
            if (first == NULL || h->due_ms < first->due_ms ||
                (h->due_ms == first->due_ms && h->start_id < first->start_id))
                first = h;
        }
        if (first == NULL)
            return;
        if (times == TIMERS_A_TURN) {
            world_fail("%s: timers that are due at once hold the loop", l->node->id);
            return;
        }
        first->active = first->repeat_ms > 0;
        first->due_ms = l->now_ms + first->repeat_ms;
        first->start_id = ++l->start_id;
        first->cb.timer((uv_timer_t *)first->uv);
    }
}

static void run_kind(struct loop *l, enum kind kind)
{
    for (size_t i = 0; i < l->count; i++) {
        struct handle *h = l->handles[i];
        if (h->kind != kind || !h->active)
            continue;
        if (kind == ASYNC)
            h->active = false;
        if (kind == IDLE)
            h->cb.idle((uv_idle_t *)h->uv);
        else if (kind == PREPARE)
            h->cb.prepare((uv_prepare_t *)h->uv);
        else
            h->cb.async((uv_async_t *)h->uv);
    }
}

static void run_closing(struct loop *l)
{
    struct handle *list[HANDLES_MAX];
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (l->handles[i]->closing)
            list[count++] = l->handles[i];
        else
            l->handles[kept++] = l->handles[i];
    }
    l->count = kept;
    for (size_t i = 0; i < count; i++) {
        struct handle *h = list[i];
        if (h->kind == TCP)
            connection_closed(h);
        h->uv->u.reserved[0] = NULL;
        if (h->close_cb != NULL)
            h->close_cb(h->uv);
        free(h);
    }
}

static void wake(void *arg);

/* When does the loop have something to do by itself? */
static void arm(struct loop *l)
{
    uint64_t due_ms = UINT64_MAX;
    bool busy = false;
    for (size_t i = 0; i < l->count; i++) {
        const struct handle *h = l->handles[i];
        busy = busy || h->closing || (h->active && (h->kind == IDLE || h->kind == ASYNC));
        if (h->kind == TIMER && h->active && h->due_ms < due_ms)
            due_ms = h->due_ms;
    }
    uint64_t at = UINT64_MAX;
    if (busy) {
        at = world.now_us + TURNS_US;
    } else if (due_ms != UINT64_MAX) {
        uint64_t local_us = node_mono_us(l->node);
        uint64_t left_us = due_ms * 1000 > local_us ? due_ms * 1000 - local_us : 0;
        at = world.now_us + (uint64_t)((double)left_us / l->node->rate) + 1;
    }
    if (at == UINT64_MAX || (l->wake_us > world.now_us && l->wake_us <= at))
        return;
    l->wake_us = at;
    node_post(l->node, at, wake, l);
}

void loop_turn(struct loop *l, void (*run)(void *arg), void *arg)
{
    if (run == wake && world.now_us < l->wake_us)
        return; /* an earlier one was asked for after this, and came */
    l->now_ms = loop_clock_ms(l);
    run(arg);
    run_kind(l, ASYNC);
    run_closing(l);
    run_timers(l);
    run_kind(l, IDLE);
    run_kind(l, PREPARE);
    arm(l);
}

/* The turn itself is what was wanted. */
static void wake(void *arg)
{
    (void)arg;
}

struct loop *loop_new(struct node *n)
{
    struct loop *l = calloc(1, sizeof *l);
    ENSURE(l != NULL);
    l->node = n;
    l->now_ms = node_mono_us(n) / 1000;
    return l;
}

uv_loop_t *loop_uv(struct loop *l)
{
    return &l->uv;
}

uint64_t uv_now(const uv_loop_t *uv)
{
    return loop_of(uv)->now_ms;
}

void uv_update_time(uv_loop_t *uv)
{
    loop_of(uv)->now_ms = loop_clock_ms(loop_of(uv));
}

/* ---- timers and the like ---------------------------------------------------------------- */

int uv_timer_init(uv_loop_t *uv, uv_timer_t *timer)
{
    return handle_init(uv, timer, TIMER);
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t ms, uint64_t repeat)
{
    struct handle *h = of(timer);
    if (h->closing)
        return UV_EINVAL;
    h->cb.timer = cb;
    h->due_ms = h->loop->now_ms + ms;
    h->repeat_ms = repeat;
    h->start_id = ++h->loop->start_id;
    h->active = true;
    if (world.current == NULL)
        arm(h->loop);
    return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
    of(timer)->active = false;
    return 0;
}

uint64_t uv_timer_get_due_in(const uv_timer_t *timer)
{
    const struct handle *h = of(timer);
    return h->due_ms > h->loop->now_ms ? h->due_ms - h->loop->now_ms : 0;
}

int uv_is_active(const uv_handle_t *uv)
{
    return of(uv)->active;
}

int uv_is_closing(const uv_handle_t *uv)
{
    return of(uv) == NULL || of(uv)->closing;
}

void uv_close(uv_handle_t *uv, uv_close_cb cb)
{
    struct handle *h = of(uv);
    ENSURE(!h->closing);
    h->active = false;
    h->closing = true;
    h->close_cb = cb;
}

int uv_idle_init(uv_loop_t *uv, uv_idle_t *idle)
{
    return handle_init(uv, idle, IDLE);
}

int uv_idle_start(uv_idle_t *idle, uv_idle_cb cb)
{
    of(idle)->cb.idle = cb;
    of(idle)->active = true;
    return 0;
}

int uv_idle_stop(uv_idle_t *idle)
{
    of(idle)->active = false;
    return 0;
}

int uv_prepare_init(uv_loop_t *uv, uv_prepare_t *prepare)
{
    return handle_init(uv, prepare, PREPARE);
}

int uv_prepare_start(uv_prepare_t *prepare, uv_prepare_cb cb)
{
    of(prepare)->cb.prepare = cb;
    of(prepare)->active = true;
    return 0;
}

int uv_prepare_stop(uv_prepare_t *prepare)
{
    of(prepare)->active = false;
    return 0;
}

int uv_async_init(uv_loop_t *uv, uv_async_t *async, uv_async_cb cb)
{
    int rc = handle_init(uv, async, ASYNC);
    of(async)->cb.async = cb;
    return rc;
}

int uv_async_send(uv_async_t *async)
{
    struct handle *h = of(async);
    if (h == NULL || h->closing)
        return 0;
    h->active = true;
    if (world.current != h->loop->node)
        arm(h->loop);
    return 0;
}

/* The agent's work for other threads is done at once. */
struct work {
    uv_work_t *req;
    uv_after_work_cb after;
};

static void work_done(void *arg)
{
    struct work *w = arg;
    w->after(w->req, 0);
    free(w);
}

int uv_queue_work(uv_loop_t *uv, uv_work_t *req, uv_work_cb work, uv_after_work_cb after)
{
    struct work *w = calloc(1, sizeof *w);
    ENSURE(w != NULL);
    *w = (struct work){req, after};
    work(req);
    node_post(loop_of(uv)->node, world.now_us + TURNS_US, work_done, w);
    return 0;
}

int uv_getaddrinfo(uv_loop_t *loop, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb, const char *node,
                   const char *service, const struct addrinfo *hints)
{
    (void)loop, (void)req, (void)cb, (void)node, (void)service, (void)hints;
    return UV_EAI_NONAME; /* nodes have numbers only */
}
