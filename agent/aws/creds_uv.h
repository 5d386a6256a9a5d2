/* SPDX-License-Identifier: Apache-2.0
 * Finds credentials, keeps them fresh. Order: environment, shared files (with role_arn,
 * credential_process, web identity), web identity from the environment, container, IMDSv2.
 * One refresh at a time; the old ones serve while they are valid. Loop thread. */
#ifndef BLOX_AWS_CREDS_UV_H
#define BLOX_AWS_CREDS_UV_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/aws/creds.h"
#include "agent/aws/endpoint.h"
#include "agent/base/err.h"

struct uv_loop_s;
struct xfer;
struct imds;
struct credman;

struct credman_options {
    struct uv_loop_s *loop;
    struct xfer *xfer;
    struct imds *imds;
    const char *profile; /* NULL: AWS_PROFILE or "default" */
    uint64_t seed;
    /* Where STS is, for roles; false: no Region is known. */
    bool (*sts)(void *arg, char url[ENDPOINT_URL_MAX], char region[REGION_MAX]);
    int64_t (*clock_offset_ms)(void *arg);
    void (*changed)(void *arg); /* after each refresh, good or bad; never from within a call */
    void *arg;
};

/* Time before the end: from the first on new ones are looked for, from the second on it is
 * tried more often and told as trouble. The figures are botocore's. */
#define CREDS_ADVISORY_MS (15 * 60 * 1000)
#define CREDS_MANDATORY_MS (10 * 60 * 1000)

int credman_create(struct credman **ret, const struct credman_options *options,
                   struct errmsg *e) MUST_CHECK;
void credman_destroy(struct credman *m, void (*done)(void *arg), void *arg);

const struct creds *credman_current(const struct credman *m); /* NULL: none that is valid */
/* Asks for credentials. True: a refresh is under way, changed() will come. False: the last one
 * failed a moment ago, see credman_trouble. */
bool credman_want(struct credman *m);
/* AWS refused these credentials as expired or unknown: get others. Like credman_want. */
bool credman_refused(struct credman *m, const char *access_key);
void credman_accepted(struct credman *m); /* AWS took a request signed with the current ones */
const char *credman_trouble(const struct credman *m); /* "" if there is none */
const char *credman_source(const struct credman *m);  /* "environment", "imds role x", ... */
int64_t credman_expires(const struct credman *m);     /* unix ms; 0: never or none */

#endif
