/* SPDX-License-Identifier: Apache-2.0
 * The connections of one listener, and which of them goes when there is no room. A connection that
 * waits for its client (nothing was asked yet, the request is not whole, or the last one has been
 * answered) holds a place for nothing: of those the one that has waited longest gives way to a
 * newcomer, and each may wait for so long only, however busily its client sends a byte now and
 * then. One whose request is whole is answered: it gives way only if its client has not taken the
 * answer for long.
 *
 * A closed connection is only shut down: libmicrohttpd, whose the descriptor is, finds that out and
 * ends it. Until then its client may still have sent a whole request: conn_begin() says that it is
 * not to be carried out, for nobody would hear the answer. */
#ifndef BLOX_AGENT_API_CONNS_H
#define BLOX_AGENT_API_CONNS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/api/auth.h"
#include "agent/base/err.h"
#include "agent/base/list.h"

#define CONNS_TICK_MS 5000u /* so often they are looked at */

/* How long a connection may wait for its client, in all. */
#define CONN_NEW_MS 20000u  /* from the connect to the first line of the first request */
#define CONN_ASKS_MS 30000u /* from a request's first line to its last byte */
#define CONN_RESTS_MS                                                                              \
    90000u                   /* after an answer; libmicrohttpd gives up one that is silent sooner  \
                              */
#define CONN_SENDS_MS 30000u /* an answer that takes longer may give way */

enum conn_state { CONN_NEW, CONN_ASKS, CONN_RESTS, CONN_SENDS, CONN_BUSY, CONN_CLOSED };

struct conn {
    struct list node; /* in conns.all */
    int fd;
    enum auth_scope scope;  /* of a unix peer */
    bool is_extra;          /* there was no room for it: it is told so */
    _Atomic uint64_t doing; /* its state, and since when: ms * 8 + state */
};

struct conns {
    pthread_mutex_t lock;
    struct list all;
    size_t max;
    size_t open; /* of all, those that are not closed */
    _Atomic uint64_t closed_for_room, closed_for_time;
};

int conns_init(struct conns *t, size_t max) MUST_CHECK;
void conns_fini(struct conns *t); /* all have left */

/* A client has connected; makes room for it if there is none, else it is_extra. NULL: no memory.
 * now_ms: monotonic. */
struct conn *conns_enter(struct conns *t, int fd, uint64_t now_ms) MUST_CHECK;
/* Before its descriptor is closed. Frees c. */
void conns_leave(struct conns *t, struct conn *c);
size_t conns_open(struct conns *t); /* how many */
/* Closes those that have waited for too long. True: there are some. */
bool conns_tick(struct conns *t, uint64_t now_ms);

/* On the connection's own thread. */
void conn_asks(struct conn *c, uint64_t now_ms);  /* the first line of a request has come */
bool conn_begin(struct conn *c) MUST_CHECK;       /* all of it has; false: it was closed */
void conn_sends(struct conn *c, uint64_t now_ms); /* its answer is on the way */
void conn_rest(struct conn *c, uint64_t now_ms);  /* its client has the answer */

/* This descriptor is among so many last ones that the process may have: the store, gossip and AWS's
 * answers need some, and requests some that streams do not take. */
#define FDS_LEFT_BY_STREAMS 64u
#define FDS_LEFT_BY_CONNS 32u
bool conns_fd_is_scarce(int fd, unsigned left);

#endif
