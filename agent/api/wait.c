/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/wait.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/limits.h"

/* Clients that went away are looked for this often, if any wait. */
#define TICK_MS 2000
#define REST_MS 3600000

/* Under the lock. */
static void wake(struct waiters *w, struct waiter *wt, enum waiter_why why)
{
    wt->why = why;
    list_remove(&wt->node);
    w->polls--;
    MHD_resume_connection(wt->conn);
}

static void wake_due(struct waiters *w, uint32_t kinds, uint64_t now_ms)
{
    for (struct list *n = w->waiting.next, *next; n != &w->waiting; n = next) {
        next = n->next;
        struct waiter *wt = LIST_OF(n, struct waiter, node);
        if (w->stop)
            wake(w, wt, WOKEN_STOP);
        else if ((wt->kinds & kinds) != 0 &&
                 store_kinds_index(w->store, NULL, wt->kinds) > wt->seen)
            wake(w, wt, WOKEN_CHANGE);
        else if (now_ms >= wt->deadline_ms)
            wake(w, wt, WOKEN_TIME);
    }
}

/* libmicrohttpd does not look at a suspended connection, so a client that left would be kept until
 * the next change. */
static void wake_gone(struct waiters *w)
{
    for (struct list *n = w->waiting.next, *next; n != &w->waiting; n = next) {
        next = n->next;
        struct waiter *wt = LIST_OF(n, struct waiter, node);
        struct pollfd p = {.fd = wt->fd, .events = POLLRDHUP};
        if (wt->fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR)))
            wake(w, wt, WOKEN_GONE);
    }
}

/* Under the lock. */
static uint64_t next_tick(const struct waiters *w)
{
    uint64_t soon = w->ticked_ms + TICK_MS;
    return !list_is_empty(&w->waiting) && soon < w->tick_ms ? soon : w->tick_ms;
}

static uint64_t next_deadline(const struct waiters *w)
{
    uint64_t at = next_tick(w);
    for (const struct list *n = w->waiting.next; n != &w->waiting; n = n->next) {
        const struct waiter *wt = LIST_OF(n, struct waiter, node);
        at = wt->deadline_ms < at ? wt->deadline_ms : at;
    }
    return at;
}

/* Under the lock, which is let go meanwhile. */
static void do_tick(struct waiters *w, uint64_t now_ms)
{
    wake_gone(w);
    w->ticked_ms = now_ms;
    w->tick_ms = now_ms + REST_MS;
    pthread_mutex_unlock(&w->lock);
    unsigned again_ms = w->tick(w->tick_arg);
    pthread_mutex_lock(&w->lock);
    if (again_ms > 0 && now_ms + again_ms < w->tick_ms)
        w->tick_ms = now_ms + again_ms;
}

void waiters_tick_within(struct waiters *w, unsigned ms)
{
    uint64_t at_ms = clock_mono_ms() + ms;
    pthread_mutex_lock(&w->lock);
    bool sooner = at_ms < w->tick_ms;
    if (sooner)
        w->tick_ms = at_ms;
    pthread_mutex_unlock(&w->lock);
    if (sooner)
        pthread_cond_signal(&w->wake);
}

static void *timekeeper(void *arg)
{
    struct waiters *w = arg;
    pthread_mutex_lock(&w->lock);
    while (!w->stop) {
        uint64_t until = next_deadline(w);
        struct timespec ts = {.tv_sec = (time_t)(until / 1000),
                              .tv_nsec = (long)(until % 1000) * 1000000};
        if (!w->stop && atomic_load(&w->changed) == 0)
            (void)pthread_cond_timedwait(&w->wake, &w->lock, &ts);
        uint64_t now_ms = clock_mono_ms();
        wake_due(w, atomic_exchange(&w->changed, 0), now_ms);
        if (now_ms >= next_tick(w))
            do_tick(w, now_ms);
    }
    wake_due(w, 0, 0);
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* Writer thread of the store: leave a mark and go. Who begins to wait looks for itself. */
static void on_change(void *arg, uint32_t kinds, uint64_t index)
{
    struct waiters *w = arg;
    (void)index;
    pthread_mutex_lock(&w->lock);
    bool anybody = !list_is_empty(&w->waiting);
    if (anybody)
        atomic_fetch_or(&w->changed, kinds);
    pthread_mutex_unlock(&w->lock);
    if (anybody)
        pthread_cond_signal(&w->wake);
}

int waiters_start(struct waiters *w, struct store *store, unsigned (*tick)(void *), void *arg,
                  struct errmsg *e)
{
    memset(w, 0, sizeof *w);
    w->store = store;
    w->tick = tick;
    w->tick_arg = arg;
    w->ticked_ms = clock_mono_ms();
    w->tick_ms = w->ticked_ms + REST_MS;
    w->watch = -1;
    list_init(&w->waiting);
    pthread_condattr_t attr;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &attr);
    pthread_condattr_destroy(&attr);
    w->watch = store_watch(store, on_change, w);
    if (w->watch < 0)
        return errmsg_set(e, w->watch, "the API cannot watch the store: %s", err_text(w->watch));
    if (pthread_create(&w->thread, NULL, timekeeper, w) != 0)
        return errmsg_set(e, ERR_NOMEM, "the API's timekeeper thread could not be started");
    w->running = true;
    return 0;
}

void waiters_stop(struct waiters *w)
{
    if (w->watch >= 0)
        store_unwatch(w->store, w->watch);
    w->watch = -1;
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->running)
        pthread_join(w->thread, NULL);
    w->running = false;
}

void waiters_fini(struct waiters *w)
{
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
}

int waiters_wait(struct waiters *w, struct waiter *wt)
{
    int err = 0;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(wt->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    wt->fd = info == NULL ? -1 : info->connect_fd;
    wt->why = WOKEN_NOT;
    pthread_mutex_lock(&w->lock);
    if (w->stop)
        err = ERR_CLOSED;
    else if (w->polls >= API_WAITERS_MAX)
        err = ERR_BUSY;
    if (err == 0) {
        MHD_suspend_connection(wt->conn);
        list_push(&w->waiting, &wt->node);
        w->polls++;
        /* A change between the caller's read and here has been signalled already. */
        if (store_kinds_index(w->store, NULL, wt->kinds) > wt->seen)
            wake(w, wt, WOKEN_CHANGE);
        else
            pthread_cond_signal(&w->wake); /* its deadline may be the next one */
    }
    pthread_mutex_unlock(&w->lock);
    return err;
}
