/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server (libmicrohttpd): /v1 (Blox 0.3), /v2, /health, /metrics, dashboard.
 * Its threads read store snapshots themselves and hand writes to the loop thread. */
#ifndef BLOX_API_API_H
#define BLOX_API_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "store/store.h"

struct api;

enum api_anonymous { API_ANONYMOUS_NONE, API_ANONYMOUS_READ, API_ANONYMOUS_WRITE };

/* A write on its way: made by the API, completed once with api_write_done(). */
struct api_write {
    json_t *command; /* {"op":"environment.create","key":idempotency key or absent, ...}: see
                        agent/intent/intent.h for the operations */
    void *impl;
};

/* Documents that the loop thread publishes and any request may serve as they are. */
enum api_doc {
    API_DOC_AGENT,   /* GET /v2/agent */
    API_DOC_MEMBERS, /* GET /v2/members: {"items":[...]} */
    API_DOC_LEADER,  /* GET /v2/leader */
    API_DOC_COUNT
};

struct api_options {
    struct store *store;
    const char *bind;         /* "127.0.0.1:7380", "[::1]:7380", port 0: any; NULL or "": no TCP */
    const char *extra_binds;  /* more, comma-separated (Blox's 3000 and 2000) or NULL */
    const char *socket_path;  /* NULL or "": none */
    const char *socket_group; /* group that may read; NULL: "blox" if it exists */
    const char *admin_group;  /* group that may write; NULL: "blox-admin" if it exists */
    const char *token_file;   /* lines "scope sha256hex"; NULL: none */
    enum api_anonymous anonymous; /* on loopback addresses only */
    const char *allowed_hosts;    /* further Host values, comma-separated, or NULL */
    const char *cluster;          /* own cluster's name, for defaults */
    unsigned threads;             /* 0: 2 */
    void *arg;
    /* Any API thread: take the write to the loop thread (queue + uv_async). */
    void (*submit)(void *arg, struct api_write *write);
    /* Any API thread: a reader waits for what is published to be renewed. NULL: nobody does. */
    void (*want)(void *arg);
};

int api_start(struct api **ret, const struct api_options *options, struct errmsg *e) MUST_CHECK;
void api_stop(struct api *a); /* wakes all waiters; writes still open are answered 503 */
uint16_t api_port(const struct api *a);

/* Any thread; text is copied. */
void api_publish(struct api *a, enum api_doc doc, const char *json, size_t len);
/* Documents are rendered when they are read: bits 1 << enum api_doc of those that were asked for
 * since the last call; then api_set_facts(), and for each bit api_publish() or, if it would be the
 * same, api_confirm(). */
unsigned api_wanted(struct api *a);
void api_confirm(struct api *a, enum api_doc doc);
void api_stale(struct api *a, enum api_doc doc); /* readers shall not take the old one any more */

/* Loop thread: a document that is published later is rendered from now on. */
void api_begin(struct api *a, enum api_doc doc);

/* Changes of what is in no row, for watches. Loop thread. */
enum api_news { API_NEWS_MEMBER, API_NEWS_LEADER, API_NEWS_COUNT };
/* False: put it without text, it need not be rendered. */
bool api_news_are_wanted(struct api *a, enum api_news kind);
/* text (copied): the item as JSON, of a member as in API_DOC_MEMBERS; deleted: what is known of it
 * still. */
void api_news(struct api *a, enum api_news kind, bool deleted, const char *text, size_t len);

/* What every answer's headers and /health say. Any thread. */
struct api_facts {
    char agent_id[64];
    char leader[64]; /* "" : none */
    char state[16];  /* starting syncing ready degraded leaving */
    char why[256];   /* why not ready */
    bool apart;      /* gossip cannot start: nothing new comes here, and nobody knows this agent */
    uint64_t applied_term, applied_index;
    int64_t complete_unix_ms; /* when the rows were last known complete; 0: never */
};
void api_set_facts(struct api *a, const struct api_facts *facts);

/* A read of /v2 that another agent's user sent to the leader (consistency=leader): the answer, with
 * what its head must say, as text that api_read_done() understands. Any thread but the loop's and
 * the server's own; it may take as long as a large list takes. None may run when api_stop() is
 * called. ERR_UNSUPPORTED: not such a read. ERR_TOOBIG. */
int api_read(struct api *a, const char *target, struct buf *out) MUST_CHECK;
/* Instead of api_write_done(), for the command {"op":"rows.read","target":...}. */
void api_read_done(struct api_write *w, const void *data, size_t len, const char *forwarded_to);

/* Loop thread, exactly once for each submitted write. err as in err.h; detail is for a human (NULL:
 * err_text); body (borrowed, may be NULL) is the resource after the write; field names the
 * offending member of the command or is NULL; forwarded_to is the leader's id if another agent did
 * it. */
void api_write_done(struct api_write *w, int err, const char *detail, const char *field,
                    const json_t *body, const char *forwarded_to);

#endif
