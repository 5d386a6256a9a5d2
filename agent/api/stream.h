/* SPDX-License-Identifier: Apache-2.0
 * Answers without end: watches, and Blox's streams. libmicrohttpd keeps two pages and more for each
 * connection that it holds, so a stream's socket is copied and libmicrohttpd lets go of its own
 * before anything is answered; one thread serves all streams. Idle, a stream costs its own struct
 * and what its source keeps.
 *
 * A stream is in one of three lists, which only the thread touches: ready (its source shall be
 * asked for a piece), idle (its source had no more) or blocked (the kernel took a part of a piece;
 * the rest, at most one piece, is kept). So a slow reader costs one piece, and reads on from the
 * store when it can. Other threads hand over new streams and changed kinds, under the lock. */
#ifndef BLOX_AGENT_API_STREAM_H
#define BLOX_AGENT_API_STREAM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/list.h"
#include "store/store.h"

/* A source ends a piece when it is that long; the row that it is at makes it a little longer. */
#define STREAM_PIECE (32u * 1024)
/* The bits of news.h, of enum api_news, behind those of the kinds of rows. */
#define STREAM_NEWS(news) ((uint32_t)(news) << RECORD_KIND_END)
#define STREAM_BEAT_MS 15000u  /* a quiet stream's source is asked to give a sign of life */
#define STREAM_STUCK_MS 75000u /* a client that takes nothing for so long is given up */

enum stream_says { STREAM_MORE, STREAM_QUIET, STREAM_OVER };

/* Where a stream's bytes come from. The thread calls it. */
struct stream_source {
    uint32_t kinds; /* what wakes it after it was quiet: bits 1 << kind, and STREAM_NEWS */
    /* Appends the next piece, or nothing. beat: it was quiet for STREAM_BEAT_MS. */
    enum stream_says (*read)(void *arg, struct buf *out, bool beat);
    void (*release)(void *arg); /* frees arg */
    void *arg;
};

struct streams {
    struct store *store;
    int watch; /* store_watch handle, -1 */
    int epoll;
    int bell; /* an eventfd: there is news under the lock */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    bool rung;
    bool stop;
    uint32_t changed;
    struct list incoming;
    _Atomic int count; /* open streams */
    /* The thread's own. */
    struct list ready, idle, blocked; /* the last two in the order of their deadlines */
    struct buf piece;
    uint64_t now_ms;
    unsigned beat_ms, stuck_ms; /* as above but in tests, which set them before the first stream */
};

/* After an error, too, streams_stop() and streams_fini() are due. */
int streams_start(struct streams *t, struct store *store, struct errmsg *e) MUST_CHECK;
/* Any thread: what has changed, if anybody follows that. */
void streams_wake(struct streams *t, uint32_t kinds);
/* Ends all: whole, in the form of HTTP, but for those whose client does not keep up. */
void streams_stop(struct streams *t);
void streams_fini(struct streams *t);

/* Any thread: a copy of fd, a connected socket whose request has been read, becomes a stream that
 * begins with head. chunked: in the form of HTTP/1.1. Takes over source, and head's memory.
 * ERR_BUSY: too many, or file descriptors run short. ERR_CLOSED: the server stops. ERR_NOMEM. On an
 * error the source is still the caller's. */
int streams_add(struct streams *t, int fd, bool chunked, struct buf *head,
                const struct stream_source *source) MUST_CHECK;

#endif
