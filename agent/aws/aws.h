/* SPDX-License-Identifier: Apache-2.0
 * The AWS client: ECS (JSON 1.1), SQS (JSON 1.0), STS and EC2 on libcurl multi, driven by the
 * uv loop. Signs with libcurl's SigV4, finds and refreshes credentials, retries by AWS's
 * rules (full jitter, retry quota), paces calls per ECS rate bucket. Loop thread. */
#ifndef BLOX_AWS_AWS_H
#define BLOX_AWS_AWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/base/tape.h"

struct uv_loop_s;
struct aws;
struct aws_call;

enum aws_service { AWS_ECS, AWS_SQS, AWS_STS, AWS_EC2 };

/* Order in which calls of one rate bucket get its tokens. */
enum aws_priority { AWS_REPAIR, AWS_DRAIN, AWS_ROLLOUT, AWS_RESYNC };

struct aws_options {
    struct uv_loop_s *loop;
    const char *region;       /* NULL: environment, profile, then IMDS */
    const char *profile;      /* NULL: AWS_PROFILE or "default" */
    const char *ecs_endpoint; /* NULL: AWS_ENDPOINT_URL_ECS, AWS_ENDPOINT_URL, then AWS's own */
    const char *sqs_endpoint;
    const char *sts_endpoint;
    const char *ec2_endpoint;
    const char *imds_endpoint; /* NULL: AWS_EC2_METADATA_SERVICE_ENDPOINT, then 169.254.169.254 */
    uint64_t seed;
};

int aws_create(struct aws **ret, const struct aws_options *options, struct errmsg *e) MUST_CHECK;
/* Calls under way end with ERR_CANCELED before done runs. */
void aws_destroy(struct aws *a, void (*done)(void *arg), void *arg);

/* Valid during the callback. */
struct aws_result {
    int err; /* 0; ERR_THROTTLED, ERR_DENIED, ERR_NOTFOUND, ERR_BADPARAM (4xx), ERR_UPSTREAM (5xx,
                broken answer), ERR_TIMEOUT, ERR_UNREACHABLE, ERR_AUTH (no credentials),
                ERR_CANCELED, ERR_TOOBIG, ERR_BUSY (too many calls wait in this process) */
    int http_status; /* 0: no answer */
    bool ambiguous;  /* the request may have taken effect although err != 0 */
    char code[96];   /* "ThrottlingException" (namespace and ":..." cut off) */
    char message[256];
    const json_t *body;      /* answer of a success; also of an error if it was JSON; else NULL */
    const struct tape *tape; /* with options.tape: answer of a success, instead of body */
    unsigned attempts;
};
typedef void (*aws_done_fn)(void *arg, const struct aws_result *result);

struct aws_call_options {
    uint64_t timeout_ms; /* of one attempt; 0: 10 s (long polls: WaitTimeSeconds + 10 s is added) */
    bool tape;           /* read a large answer as a tape, in a tenth of the time */
    bool once;           /* never send again once the request may have taken effect (StartTask) */
    enum aws_priority priority;
};

/* params is stolen. done runs exactly once, never before aws_call returns. options may be NULL.
 * The handle is valid until done has run. NULL (done will not run) only if out of memory, or after
 * aws_destroy. ECS calls wait for their rate bucket, all wait for Region and credentials (30 s at
 * most); the timeout counts from when an attempt is sent. STS answers come as {tag: text} of the
 * XML's leaves, EC2's as query_parse_ec2 says. */
struct aws_call *aws_call(struct aws *a, enum aws_service service, const char *operation,
                          json_t *params, const struct aws_call_options *options, aws_done_fn done,
                          void *arg);
void aws_cancel(struct aws_call *call); /* done runs with ERR_CANCELED, not from within */

/* All pages of a List operation, joined. items_key: "taskArns", "containerInstanceArns",
 * "attributes"...; done gets {items_key: [...]} as body. */
struct aws_call *aws_list(struct aws *a, enum aws_service service, const char *operation,
                          const char *items_key, json_t *params,
                          const struct aws_call_options *options, aws_done_fn done, void *arg);

/* One sentence on why AWS cannot be used now ("no credentials: ..."), empty if it can. */
const char *aws_trouble(const struct aws *a);
const char *aws_region(const struct aws *a); /* "" until known */
/* {"credentials":{"source","expires_at"},"region","calls","retries","throttled",...}. New
 * reference. */
json_t *aws_status(const struct aws *a);

/* ---- plain HTTP to local endpoints ---------------------------------------------- */

/* GET http(s)://... without signature; no redirects, no proxy for link-local and loopback. err 0
 * means that an answer came, whatever its status; the body is set only then. Gets under way when
 * aws_destroy is called end with ERR_CANCELED from within it. */
typedef void (*aws_http_fn)(void *arg, int err, int status, const char *body, size_t len);
int aws_http_get(struct aws *a, const char *url, uint64_t timeout_ms, aws_http_fn done,
                 void *arg) MUST_CHECK;
/* GET below /latest/meta-data/ with an IMDSv2 token. Here err 0 means status 200; ERR_NOTFOUND is a
 * 404; returns ERR_UNREACHABLE if AWS_EC2_METADATA_DISABLED is true. */
int aws_imds_get(struct aws *a, const char *path, aws_http_fn done, void *arg) MUST_CHECK;

#endif
