/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/conns.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

static uint64_t doing(enum conn_state state, uint64_t now_ms)
{
    return now_ms << 3 | state;
}

static enum conn_state state_of(uint64_t word)
{
    return (enum conn_state)(word & 7);
}

/* May it be closed to make room? */
static bool gives_way(uint64_t word, uint64_t now_ms)
{
    return state_of(word) < CONN_SENDS ||
           (state_of(word) == CONN_SENDS && now_ms >= (word >> 3) + CONN_SENDS_MS);
}

static bool is_late(uint64_t word, uint64_t now_ms)
{
    static const uint64_t most_ms[] = {CONN_NEW_MS, CONN_ASKS_MS, CONN_RESTS_MS};
    return state_of(word) < CONN_SENDS && now_ms >= (word >> 3) + most_ms[state_of(word)];
}

bool conns_fd_is_scarce(int fd, unsigned left)
{
    struct rlimit files;
    return getrlimit(RLIMIT_NOFILE, &files) == 0 && (rlim_t)fd + left >= files.rlim_cur;
}

int conns_init(struct conns *t, size_t max)
{
    list_init(&t->all);
    t->max = max;
    return pthread_mutex_init(&t->lock, NULL) == 0 ? 0 : ERR_NOMEM;
}

void conns_fini(struct conns *t)
{
    pthread_mutex_destroy(&t->lock);
}

/* Under the lock. False: it has gone on meanwhile. */
static bool close_it(struct conns *t, struct conn *c, uint64_t seen)
{
    if (!atomic_compare_exchange_strong(&c->doing, &seen, doing(CONN_CLOSED, 0)))
        return false;
    t->open--;
    (void)shutdown(c->fd, SHUT_RDWR);
    return true;
}

/* Under the lock: the one that has waited longest goes, but not the newcomer. False: none waits. */
static bool make_room(struct conns *t, const struct conn *newcomer, uint64_t now_ms)
{
    for (;;) {
        struct conn *oldest = NULL;
        uint64_t since = UINT64_MAX;
        for (struct list *n = t->all.next; n != &t->all; n = n->next) {
            struct conn *c = LIST_OF(n, struct conn, node);
            uint64_t word = atomic_load(&c->doing);
            if (c != newcomer && gives_way(word, now_ms) && word >> 3 < since >> 3) {
                oldest = c;
                since = word;
            }
        }
        if (oldest == NULL)
            return false;
        if (close_it(t, oldest, since)) {
            atomic_fetch_add(&t->closed_for_room, 1);
            return true;
        }
    }
}

struct conn *conns_enter(struct conns *t, int fd, uint64_t now_ms)
{
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->fd = fd;
    atomic_store(&c->doing, doing(CONN_NEW, now_ms));
    bool scarce = conns_fd_is_scarce(fd, FDS_LEFT_BY_CONNS);
    pthread_mutex_lock(&t->lock);
    list_push(&t->all, &c->node);
    t->open++;
    bool fits = !scarce || make_room(t, c, now_ms);
    while (fits && t->open > t->max)
        fits = make_room(t, c, now_ms);
    c->is_extra = !fits;
    pthread_mutex_unlock(&t->lock);
    return c;
}

void conns_leave(struct conns *t, struct conn *c)
{
    pthread_mutex_lock(&t->lock);
    if (state_of(atomic_load(&c->doing)) != CONN_CLOSED)
        t->open--;
    list_remove(&c->node);
    pthread_mutex_unlock(&t->lock);
    free(c);
}

size_t conns_open(struct conns *t)
{
    pthread_mutex_lock(&t->lock);
    size_t open = t->open;
    pthread_mutex_unlock(&t->lock);
    return open;
}

bool conns_tick(struct conns *t, uint64_t now_ms)
{
    pthread_mutex_lock(&t->lock);
    for (struct list *n = t->all.next; n != &t->all; n = n->next) {
        struct conn *c = LIST_OF(n, struct conn, node);
        uint64_t word = atomic_load(&c->doing);
        if (is_late(word, now_ms) && close_it(t, c, word))
            atomic_fetch_add(&t->closed_for_time, 1);
    }
    bool any = !list_is_empty(&t->all);
    pthread_mutex_unlock(&t->lock);
    return any;
}

/* False: it was closed. */
static bool turn(struct conn *c, enum conn_state to, uint64_t now_ms)
{
    uint64_t word = atomic_load(&c->doing);
    return state_of(word) != CONN_CLOSED &&
           atomic_compare_exchange_strong(&c->doing, &word, doing(to, now_ms));
}

void conn_asks(struct conn *c, uint64_t now_ms)
{
    (void)turn(c, CONN_ASKS, now_ms);
}

bool conn_begin(struct conn *c)
{
    return turn(c, CONN_BUSY, 0);
}

void conn_sends(struct conn *c, uint64_t now_ms)
{
    (void)turn(c, CONN_SENDS, now_ms);
}

void conn_rest(struct conn *c, uint64_t now_ms)
{
    (void)turn(c, CONN_RESTS, now_ms);
}
