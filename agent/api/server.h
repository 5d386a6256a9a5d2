/* SPDX-License-Identifier: Apache-2.0
 * What the files of the API share: the server, one request, and how it is answered.
 *
 * A request belongs to one thread of libmicrohttpd, which calls the handler again whenever the
 * request was resumed (a write is done, a row changed, time is up). Others (loop thread, store's
 * writer, the timekeeper) touch it only through wait.h and writes.h, under their locks. */
#ifndef BLOX_AGENT_API_SERVER_H
#define BLOX_AGENT_API_SERVER_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/api/api.h"
#include "agent/api/auth.h"
#include "agent/api/conns.h"
#include "agent/api/held.h"
#include "agent/api/news.h"
#include "agent/api/pages.h"
#include "agent/api/publish.h"
#include "agent/api/stream.h"
#include "agent/api/wait.h"
#include "agent/api/writes.h"
#include "agent/base/buf.h"
#include "agent/base/limits.h"

#define API_LISTENERS_MAX 8
#define API_PARAMS_MAX 24
#define API_URI_MAX 4096
#define REQUEST_KEPT 2

struct api_listener {
    struct api *api;
    struct MHD_Daemon *daemon;
    int fd; /* -1: none */
    bool is_unix;
    struct conns conns;
};

struct api {
    struct store *store;
    char cluster[CLUSTER_NAME_MAX + 1];
    char epoch[20]; /* of the store, as it stands in an index */
    char socket_path[108];
    void *arg;
    void (*submit)(void *arg, struct api_write *write);
    struct api_listener listeners[API_LISTENERS_MAX];
    _Atomic size_t listener_count;
    uint16_t port; /* of the first TCP listener */
    struct auth auth;
    struct publish publish;
    struct waiters waiters;
    struct streams streams;
    struct news news;
    struct pages pages;
    struct holders holders;
    struct writes writes;
    uint64_t request_prefix;
    _Atomic uint64_t request_count;
    _Atomic int in_flight; /* requests being answered or waiting */
    atomic_bool stopping;
};

enum api_method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_DELETE, METHOD_OTHER };

struct param {
    const char *name; /* decoded */
    const char *value;
};

enum request_phase { PHASE_HEADERS, PHASE_BODY, PHASE_READY, PHASE_ANSWERED };

struct request {
    struct api *api;
    struct api_listener *listener;
    struct MHD_Connection *conn;
    enum request_phase phase;
    enum api_method method;
    enum auth_scope scope;
    bool is_v1;
    bool body_too_big;
    bool uri_bad; /* bad %-escape, NUL or too many parameters */
    bool uri_long;
    bool is_strong; /* the leader answered, and a majority confirmed that it led */
    bool is_http_1_0;
    bool is_extra; /* on a connection that there was no room for */
    bool is_taken; /* the connection is a stream's now */
    char *raw;     /* the request target as sent, without an authority in front */
    char *host;    /* that authority, which then counts instead of Host; or NULL */
    char *path;    /* decoded, without the query */
    char *query;   /* storage of params */
    struct param params[API_PARAMS_MAX];
    size_t param_count;
    struct buf body;
    uint64_t dropped; /* bytes of the body behind what there is room for */
    uint64_t id;
    uint64_t start_us;
    struct waiter waiter;            /* while it waits for a change */
    struct write_call *call;         /* while a write is under way, and its answer */
    char *kept[REQUEST_KEPT];        /* request_keep */
    struct reading *reading;         /* the answer goes there: relay.c; conn is NULL then */
    const struct write_call *leader; /* whose answer this is, with its facts; or NULL */
};

/* Of a request's connection; NULL: there was no memory for it. */
struct conn *connection_of(struct MHD_Connection *conn);

/* A request without a connection, from its target; NULL: no memory. */
struct request *request_new(struct api *a, const char *target);
void request_free(struct request *r);

/* The value of a header, or NULL. */
const char *request_header(const struct request *r, const char *name);
/* The first value of a parameter, or NULL. */
const char *request_param(const struct request *r, const char *name);
/* A copy that lives as long as the request; the same one for the same text. NULL: no memory. */
const char *request_keep(struct request *r, const char *text);
/* A parameter's value in upper or lower case from now on. */
void request_set_case(struct request *r, const char *name, bool upper);

/* One answer: fill in, then reply(). */
struct answer {
    unsigned status;
    const char *type;           /* content type; NULL: none */
    struct buf *body;           /* its memory is taken over; or */
    const char *text;           /* static bytes */
    size_t text_len;            /* with text; 0: strlen */
    const char *index;          /* Blox-Index, or NULL */
    const char *location;       /* or NULL */
    const char *etag;           /* or NULL */
    const char *allow;          /* or NULL */
    const char *forwarded_to;   /* or NULL */
    const char *policy;         /* Content-Security-Policy, or NULL */
    bool varies;                /* by Accept-Encoding */
    int retry_after_s;          /* 0: none */
    struct MHD_Response *ready; /* a response made elsewhere (not to a reading) instead of a body */
    bool streams;               /* it is of unknown length */
};
/* Chunked answers are written straight into the connection's memory; the response's own block
 * serves HTTP/1.0 clients only. */
#define REPLY_BLOCK 512
enum MHD_Result reply(struct request *r, const struct answer *answer);
/* 200 without end. 0: the connection is a stream now, the handler returns REPLY_TAKEN, upon which
 * libmicrohttpd closes its copy of the socket. Else streams_add()'s error: nothing was answered. */
#define REPLY_TAKEN MHD_NO
int reply_stream(struct request *r, const char *type,
                 const struct stream_source *source) MUST_CHECK;
/* relay.c: keeps the answer instead of sending it. */
enum MHD_Result reading_take(struct request *r, const struct answer *answer);
enum MHD_Result reply_json(struct request *r, unsigned status, struct buf *body, const char *index);

/* Take in the request target: sets path, params, is_v1 or uri_bad. */
void request_parse_target(struct request *r);

/* Where handlers start. Each returns what reply() returned, or MHD_YES after suspending. */
enum MHD_Result v1_handle(struct request *r);
enum MHD_Result v2_handle(struct request *r);
enum MHD_Result root_handle(struct request *r); /* health, metrics, dashboard */

#endif
