/* SPDX-License-Identifier: Apache-2.0
 * What the files of the AWS client share. A call goes
 *   waiting (for Region and credentials) -> paced (ECS) -> due -> flying -> ended
 * and from flying through backoff to waiting again when it is retried. All moves happen in
 * aws_pump, which runs from one timer: never from within aws_call, never nested. */
#ifndef BLOX_AWS_AWS_INT_H
#define BLOX_AWS_AWS_INT_H

#include <uv.h>

#include "agent/aws/answer.h"
#include "agent/aws/aws.h"
#include "agent/aws/creds_uv.h"
#include "agent/aws/curl_uv.h"
#include "agent/aws/endpoint.h"
#include "agent/aws/imds_uv.h"
#include "agent/aws/pace.h"
#include "agent/aws/retry.h"
#include "agent/base/list.h"
#include "agent/base/metrics.h"
#include "agent/base/prng.h"

#define AWS_SERVICES 4
#define AWS_FLYING_MAX 96  /* sockets: at most 64 for the queue, and a paced trickle */
#define AWS_CALLS_MAX 6000 /* all states together; above: ERR_BUSY */
#define AWS_GETS_MAX 256   /* aws_http_get and aws_imds_get under way */
#define AWS_TIMEOUT_MS 10000u
#define AWS_WAIT_MS 30000u /* for Region and credentials */
#define AWS_LIST_ITEMS_MAX 200000u
#define AWS_LIST_PAGES_MAX 4000u

enum call_state { CALL_WAITING, CALL_PACED, CALL_BACKOFF, CALL_DUE, CALL_FLYING, CALL_ENDED };

struct aws_call {
    struct list node;
    struct pace_waiter waiter;
    struct aws *a;
    enum call_state state;
    enum aws_service service;
    char operation[64];
    json_t *params;
    char *body; /* params as they go out */
    size_t body_len;
    uint64_t timeout_ms;
    enum aws_priority priority;
    bool tape;   /* how the answer is to be read */
    bool query;  /* how the attempt was sent: a form, not JSON */
    bool turned; /* to the other protocol, once */
    struct retry_state retry;
    unsigned attempts; /* over all pages */
    bool ambiguous;
    uint64_t due_ms;     /* backoff: send again; waiting: give up */
    uint64_t started_us; /* of the attempt */
    char *access_key;    /* that the attempt was signed with */
    struct xfer_op *op;  /* flying */
    struct answer answer;
    int err;
    int http_status;
    /* aws_list: */
    char *items_key; /* NULL: a single call */
    json_t *items;
    unsigned pages;
    aws_done_fn done;
    void *arg;
};

struct aws_settings {
    char region[REGION_MAX];
    char endpoint[AWS_SERVICES][ENDPOINT_URL_MAX]; /* "": AWS's own */
    char ca_bundle[512];
    bool dual_stack;
    bool fips;
};

struct aws {
    uv_loop_t *loop;
    uv_timer_t timer;
    struct xfer *xfer;
    struct imds *imds;
    struct credman *creds;
    struct prng prng;
    struct pace pace;
    struct retry_quota quota[AWS_SERVICES];
    struct aws_settings settings;
    bool sqs_query; /* this SQS speaks the Query protocol alone */
    bool primed;    /* Region and credentials have been looked for once */
    struct errmsg region_trouble;
    struct imds_get *region_get;
    uint64_t region_retry_ms; /* no new question to IMDS before */
    unsigned region_failures;
    int64_t clock_offset_ms; /* AWS's clock less ours, as far as requests need it */
    struct errmsg clock_trouble;
    struct list lists[CALL_ENDED + 1];
    unsigned calls;
    unsigned flying;
    struct list gets;
    unsigned gets_count;
    uint64_t stat_calls, stat_retries, stat_throttled, stat_errors;
    bool closing;
    unsigned parts_open; /* of aws_destroy */
    unsigned users_open;
    void (*destroyed)(void *arg);
    void *destroyed_arg;
};

const char *aws_service_str(enum aws_service service); /* "ecs" */
void aws_kick(struct aws *a);                          /* aws_pump soon */

/* settings.c */
int aws_settings_load(struct aws_settings *s, const struct aws_options *o,
                      struct errmsg *e) MUST_CHECK;

/* call_uv.c */
void call_move(struct aws_call *c, enum call_state state);
void call_send(struct aws_call *c);
void call_end(struct aws_call *c, int err, const char *code, const char *message);
void call_deliver(struct aws_call *c); /* runs done, frees */
int aws_call_url(const struct aws *a, const struct aws_call *c, char url[ENDPOINT_URL_MAX],
                 char region[REGION_MAX]) MUST_CHECK;
bool call_needs_credentials(const struct aws_call *c);

/* get_uv.c */
void aws_gets_cancel(struct aws *a);

/* status.c */
void aws_metrics_start(void);
void aws_count(struct aws *a, const struct aws_call *c, int err, bool throttled);
void aws_count_retry(struct aws *a, const struct aws_call *c);

#endif
