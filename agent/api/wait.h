/* SPDX-License-Identifier: Apache-2.0
 * Long polls: requests that wait for a change. A waiting request costs no thread: its connection is
 * suspended, and the timekeeper thread resumes it when the store changed, its time is up, its
 * client is gone or the server stops. */
#ifndef BLOX_AGENT_API_WAIT_H
#define BLOX_AGENT_API_WAIT_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/list.h"
#include "store/store.h"

enum waiter_why { WOKEN_NOT, WOKEN_CHANGE, WOKEN_TIME, WOKEN_GONE, WOKEN_STOP };

struct waiter {
    struct list node; /* in waiters.waiting, while suspended */
    struct MHD_Connection *conn;
    int fd;               /* to notice a client that went away */
    uint32_t kinds;       /* bits 1 << kind */
    uint64_t seen;        /* store index (of a single kind: that kind's) already answered */
    uint64_t deadline_ms; /* clock_mono_ms */
    enum waiter_why why;
};

struct waiters {
    struct store *store;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running;
    bool stop;
    int watch; /* store_watch handle, -1 */
    _Atomic uint32_t changed;
    struct list waiting;
    size_t polls; /* in waiting */
    /* On the thread: every few seconds while somebody waits, and when it asked for (ms from now; 0:
     * when somebody waits). */
    unsigned (*tick)(void *arg);
    void *tick_arg;
    uint64_t ticked_ms, tick_ms; /* the last one and the next */
};

int waiters_start(struct waiters *w, struct store *store, unsigned (*tick)(void *), void *arg,
                  struct errmsg *e) MUST_CHECK;
/* Any thread: tick in so many ms at the latest. */
void waiters_tick_within(struct waiters *w, unsigned ms);
/* Wake all, and let nobody wait any more. */
void waiters_stop(struct waiters *w);
void waiters_fini(struct waiters *w);

/* On the connection's thread: suspend it until something in kinds is newer than seen. ERR_BUSY:
 * too many long polls. ERR_CLOSED: the server stops. 0: suspended, wt->why says why it came back.
 */
int waiters_wait(struct waiters *w, struct waiter *wt) MUST_CHECK;

#endif
