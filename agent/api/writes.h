/* SPDX-License-Identifier: Apache-2.0
 * Writes on their way through the loop thread. A call is shared by the request, which waits
 * suspended, and by the loop, which answers once; whoever lets go last frees it. So a server that
 * stops, or an answer that comes after the request was given up, is no special case. */
#ifndef BLOX_AGENT_API_WRITES_H
#define BLOX_AGENT_API_WRITES_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/api/api.h"
#include "agent/base/buf.h"
#include "agent/base/list.h"

#define WRITES_OPEN_MAX 256

struct writes {
    pthread_mutex_t lock;
    struct list open; /* calls whose request waits */
    size_t count;
    bool stop;
};

struct write_call {
    struct api_write write; /* what the loop thread holds */
    struct list node;       /* in writes.open, while the request waits */
    pthread_mutex_t lock;
    unsigned refs;
    struct MHD_Connection *conn; /* suspended; NULL once resumed */
    /* The answer. */
    bool done;
    int err;
    char detail[512];
    char field[64];
    char forwarded_to[64];
    struct buf body; /* the resource as JSON, or what was read; empty if there is none */
    json_t *head;    /* of what was read: relay.c */
};

int writes_init(struct writes *w) MUST_CHECK;
/* Answer all that are open with ERR_CLOSED. */
void writes_stop(struct writes *w);
void writes_fini(struct writes *w);

/* On the connection's thread: suspend it and submit. Takes the reference of command in every
 * case. ERR_BUSY, ERR_NOMEM, ERR_CLOSED: nothing was submitted. */
int writes_submit(struct writes *w, struct MHD_Connection *conn, json_t *command,
                  void (*submit)(void *arg, struct api_write *write), void *arg,
                  struct write_call **ret) MUST_CHECK;
/* The request is finished with it. */
void writes_release(struct writes *w, struct write_call *call);

#endif
