/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/api/conns.h"
#include "agent/base/clock.h"
#include "agent/base/limits.h"

#define EVENTS_MAX 64
#define STACK_BYTES (256u * 1024)
#define PIECE_MAX (STREAM_PIECE + 2 * RECORD_VALUE_MAX)
#define FRAME_MAX 32u /* a chunk's length before a piece, and what follows it */

enum stream_state { READY, IDLE, BLOCKED };

struct stream {
    struct list node; /* in the list of its state, or incoming */
    struct stream_source source;
    struct buf out;    /* what the kernel did not take yet */
    uint64_t since_ms; /* when it became idle, or last took something while blocked */
    int fd;
    enum stream_state state;
    bool chunked;
    bool beat;        /* shall be asked for a sign of life */
    bool half_closed; /* the client sends no more: it gets what there is */
    bool over;        /* the end is in out, or sent */
};

static void end(struct streams *t, struct stream *s)
{
    /* Closing is not enough while libmicrohttpd still holds its copy of the socket. */
    (void)epoll_ctl(t->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    close(s->fd);
    list_remove(&s->node);
    s->source.release(s->source.arg);
    buf_fini(&s->out);
    free(s);
    atomic_fetch_sub(&t->count, 1);
}

static void move(struct streams *t, struct stream *s, enum stream_state state)
{
    list_remove(&s->node);
    list_push(state == READY ? &t->ready : state == IDLE ? &t->idle : &t->blocked, &s->node);
    s->state = state;
    s->since_ms = t->now_ms;
}

/* Bytes that the kernel took, 0 if it has no room, -1: the connection is broken. */
static ssize_t send_some(const struct stream *s, struct iovec *iov, size_t count)
{
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t n;
    do
        n = sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 && errno == EAGAIN ? 0 : n;
}

/* Of a stream that is blocked: the rest of its piece. */
static void send_rest(struct streams *t, struct stream *s)
{
    ssize_t n = send_some(s, &(struct iovec){s->out.data, s->out.len}, 1);
    if (n < 0) {
        end(t, s);
    } else if ((size_t)n < s->out.len) {
        buf_drop_front(&s->out, (size_t)n);
        if (n > 0)
            move(t, s, BLOCKED);
    } else if (s->over) {
        end(t, s);
    } else {
        buf_fini(&s->out);
        move(t, s, READY);
    }
}

/* The piece, and the end if it is over; what the kernel does not take is kept. Not 0: broken, or no
 * memory for that. */
static int send_piece(struct stream *s, const struct buf *piece)
{
    char length[20];
    const char *tail = !s->chunked       ? ""
                       : piece->len == 0 ? "0\r\n\r\n"
                       : s->over         ? "\r\n0\r\n\r\n"
                                         : "\r\n";
    if (piece->len == 0 && (!s->over || !s->chunked))
        return 0;
    int n =
        s->chunked && piece->len > 0 ? snprintf(length, sizeof length, "%zx\r\n", piece->len) : 0;
    struct iovec iov[] = {
        {length, (size_t)n}, {piece->data, piece->len}, {(void *)(uintptr_t)tail, strlen(tail)}};
    ssize_t sent = send_some(s, iov, 3);
    if (sent < 0)
        return ERR_CLOSED;
    for (size_t i = 0, taken = (size_t)sent; i < 3; i++) {
        size_t of_this = taken < iov[i].iov_len ? taken : iov[i].iov_len;
        if (of_this < iov[i].iov_len)
            buf_put(&s->out, (const char *)iov[i].iov_base + of_this, iov[i].iov_len - of_this);
        taken -= of_this;
    }
    return s->out.err;
}

/* One piece of a stream that is ready. */
static void serve(struct streams *t, struct stream *s)
{
    bool beat = s->beat;
    s->beat = false;
    buf_clear(&t->piece);
    enum stream_says says = s->source.read(s->source.arg, &t->piece, beat);
    if (t->piece.err != 0) {
        buf_clear(&t->piece);
        says = STREAM_OVER;
    }
    s->over = says == STREAM_OVER || (says == STREAM_QUIET && s->half_closed);
    if (send_piece(s, &t->piece) != 0)
        end(t, s);
    else if (s->out.len > 0)
        move(t, s, BLOCKED);
    else if (s->over)
        end(t, s);
    else
        move(t, s, says == STREAM_QUIET ? IDLE : READY);
}

/* -- what happens --------------------------------------------------------------------- */

static void on_event(struct streams *t, struct stream *s, uint32_t events)
{
    if (events & (EPOLLHUP | EPOLLERR)) {
        end(t, s);
        return;
    }
    if (events & EPOLLRDHUP)
        s->half_closed = true;
    if (s->state == BLOCKED && (events & EPOLLOUT))
        send_rest(t, s);
    else if (s->state == IDLE && s->half_closed)
        move(t, s, READY);
}

static struct stream *first_of(const struct list *list)
{
    return list_is_empty(list) ? NULL : LIST_OF(list->next, struct stream, node);
}

static int wait_ms(const struct streams *t)
{
    uint64_t at = UINT64_MAX, now_ms = clock_mono_ms();
    const struct stream *idle = first_of(&t->idle), *blocked = first_of(&t->blocked);
    if (!list_is_empty(&t->ready))
        return 0;
    if (idle != NULL)
        at = idle->since_ms + t->beat_ms;
    if (blocked != NULL && blocked->since_ms + t->stuck_ms < at)
        at = blocked->since_ms + t->stuck_ms;
    return at == UINT64_MAX ? -1 : at <= now_ms ? 0 : (int)(at - now_ms);
}

static void wait_for_events(struct streams *t)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t rings;
    int wait = wait_ms(t);
    if (wait != 0)
        buf_fini(&t->piece);
    int n = epoll_wait(t->epoll, events, EVENTS_MAX, wait);
    t->now_ms = clock_mono_ms();
    for (int i = 0; i < n; i++) {
        if (events[i].data.ptr == NULL)
            (void)!read(t->bell, &rings, sizeof rings);
        else
            on_event(t, events[i].data.ptr, events[i].events);
    }
}

static void admit(struct streams *t, struct stream *s)
{
    struct epoll_event e = {.events = EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
    move(t, s, BLOCKED); /* by the head, which waits in out */
    if (epoll_ctl(t->epoll, EPOLL_CTL_ADD, s->fd, &e) != 0)
        end(t, s);
    else
        send_rest(t, s);
}

/* Takes what other threads left. false: stop. */
static bool take_news(struct streams *t)
{
    pthread_mutex_lock(&t->lock);
    uint32_t changed = t->changed;
    bool go_on = !t->stop;
    t->changed = 0;
    t->rung = false;
    for (struct list *n; go_on && (n = list_pop(&t->incoming)) != NULL;) {
        pthread_mutex_unlock(&t->lock);
        admit(t, LIST_OF(n, struct stream, node));
        pthread_mutex_lock(&t->lock);
    }
    pthread_mutex_unlock(&t->lock);
    for (struct list *n = t->idle.next, *next; changed != 0 && n != &t->idle; n = next) {
        struct stream *s = LIST_OF(n, struct stream, node);
        next = n->next;
        if (s->source.kinds & changed)
            move(t, s, READY);
    }
    return go_on;
}

static void look_at_clock(struct streams *t)
{
    struct stream *s;
    /* A little early, so that several share a wake. */
    while ((s = first_of(&t->idle)) != NULL &&
           t->now_ms + t->beat_ms / 32 >= s->since_ms + t->beat_ms) {
        s->beat = true;
        move(t, s, READY);
    }
    while ((s = first_of(&t->blocked)) != NULL && t->now_ms >= s->since_ms + t->stuck_ms)
        end(t, s);
}

/* A stream that stands between two pieces ends whole. */
static void end_all(struct streams *t, struct list *list)
{
    struct stream *s;
    buf_clear(&t->piece);
    while ((s = first_of(list)) != NULL) {
        s->over = true;
        if (s->out.len == 0)
            (void)send_piece(s, &t->piece);
        end(t, s);
    }
}

static void *serve_all(void *arg)
{
    struct streams *t = arg;
    do {
        /* Each of those that are ready now, once: news are looked at between. */
        struct list *last = t->ready.prev;
        for (bool more = last != &t->ready; more;) {
            struct list *n = t->ready.next;
            more = n != last;
            serve(t, LIST_OF(n, struct stream, node));
        }
        wait_for_events(t);
        look_at_clock(t);
    } while (take_news(t));
    end_all(t, &t->ready);
    end_all(t, &t->idle);
    end_all(t, &t->blocked);
    return NULL;
}

/* -- other threads ---------------------------------------------------------------------- */

/* Under the lock. */
static void ring(struct streams *t)
{
    static const uint64_t one = 1;
    if (!t->rung)
        t->rung = write(t->bell, &one, sizeof one) == sizeof one;
}

/* Leave a mark and go. */
void streams_wake(struct streams *t, uint32_t kinds)
{
    pthread_mutex_lock(&t->lock);
    if (atomic_load(&t->count) > 0) {
        t->changed |= kinds;
        ring(t);
    }
    pthread_mutex_unlock(&t->lock);
}

/* Writer thread of the store. */
static void on_change(void *arg, uint32_t kinds, uint64_t index)
{
    (void)index;
    streams_wake(arg, kinds);
}

int streams_start(struct streams *t, struct store *store, struct errmsg *e)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    pthread_attr_t attr;
    t->store = store;
    t->beat_ms = STREAM_BEAT_MS;
    t->stuck_ms = STREAM_STUCK_MS;
    list_init(&t->incoming);
    list_init(&t->ready);
    list_init(&t->idle);
    list_init(&t->blocked);
    buf_init(&t->piece, PIECE_MAX);
    pthread_mutex_init(&t->lock, NULL);
    t->watch = -1;
    t->epoll = epoll_create1(EPOLL_CLOEXEC);
    t->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->epoll < 0 || t->bell < 0 || epoll_ctl(t->epoll, EPOLL_CTL_ADD, t->bell, &event) != 0)
        return errmsg_set(e, ERR_IO, "the API's streams: %s", strerror(errno));
    t->watch = store_watch(store, on_change, t);
    if (t->watch < 0)
        return errmsg_set(e, t->watch, "the API cannot watch the store: %s", err_text(t->watch));
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    t->running = pthread_create(&t->thread, &attr, serve_all, t) == 0;
    pthread_attr_destroy(&attr);
    return t->running ? 0 : errmsg_set(e, ERR_NOMEM, "no thread for the API's streams");
}

void streams_stop(struct streams *t)
{
    if (t->watch >= 0)
        store_unwatch(t->store, t->watch);
    t->watch = -1;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    ring(t);
    pthread_mutex_unlock(&t->lock);
    if (t->running)
        pthread_join(t->thread, NULL);
    t->running = false;
    end_all(t, &t->incoming);
    buf_fini(&t->piece);
}

void streams_fini(struct streams *t)
{
    if (t->epoll >= 0)
        close(t->epoll);
    if (t->bell >= 0)
        close(t->bell);
    pthread_mutex_destroy(&t->lock);
}

/* A copy that has its own life, but not the last descriptors of the process. */
static int copy_of(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0 && conns_fd_is_scarce(copy, FDS_LEFT_BY_STREAMS)) {
        close(copy);
        copy = -1;
    }
    return copy;
}

/* Pieces go out as they come, and a host that vanished without a word is noticed, also if there is
 * nothing to tell it. Of unix sockets none of this is true, or needed. */
static void set_options(int fd)
{
    static const int on = 1, quiet_s = 60, every_s = 15, stuck_ms = STREAM_STUCK_MS;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &quiet_s, sizeof quiet_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stuck_ms, sizeof stuck_ms);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

int streams_add(struct streams *t, int fd, bool chunked, struct buf *head,
                const struct stream_source *source)
{
    if (atomic_fetch_add(&t->count, 1) >= API_STREAMS_MAX) {
        atomic_fetch_sub(&t->count, 1);
        return ERR_BUSY;
    }
    struct stream *s = calloc(1, sizeof *s);
    int copy = s == NULL ? -1 : copy_of(fd);
    if (copy < 0) {
        free(s);
        atomic_fetch_sub(&t->count, 1);
        return s == NULL ? ERR_NOMEM : ERR_BUSY;
    }
    set_options(copy);
    s->fd = copy;
    s->chunked = chunked;
    pthread_mutex_lock(&t->lock);
    bool stops = t->stop;
    if (!stops) {
        s->source = *source;
        s->out = *head;
        s->out.max = PIECE_MAX + FRAME_MAX;
        buf_init(head, head->max);
        list_push(&t->incoming, &s->node);
        ring(t);
    }
    pthread_mutex_unlock(&t->lock);
    if (!stops)
        return 0;
    close(copy);
    free(s);
    atomic_fetch_sub(&t->count, 1);
    return ERR_CLOSED;
}
