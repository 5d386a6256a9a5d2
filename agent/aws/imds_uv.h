/* SPDX-License-Identifier: Apache-2.0
 * The instance metadata service, version 2 only: session token cached, renewed on 401.
 * Loop thread. */
#ifndef BLOX_AWS_IMDS_UV_H
#define BLOX_AWS_IMDS_UV_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"

struct uv_loop_s;
struct xfer;
struct imds;
struct imds_get;

/* Valid during the callback. err 0 means status 200. */
struct imds_answer {
    int err; /* ERR_UNREACHABLE, ERR_TIMEOUT, ERR_NOTFOUND, ERR_UPSTREAM, ERR_CANCELED... */
    int status;
    const char *body;
    size_t len;
    const char *why; /* one clause for a human */
};
typedef void (*imds_done_fn)(void *arg, const struct imds_answer *answer);

/* endpoint NULL: AWS_EC2_METADATA_SERVICE_ENDPOINT (with or without a path), else the mode
 * variable's, else 169.254.169.254. */
int imds_create(struct imds **ret, struct uv_loop_s *loop, struct xfer *x, const char *endpoint,
                struct errmsg *e) MUST_CHECK;
/* Gets under way end with ERR_CANCELED from within this call. */
void imds_destroy(struct imds *m, void (*done)(void *arg), void *arg);
bool imds_is_disabled(const struct imds *m); /* AWS_EC2_METADATA_DISABLED=true */
/* path: below the endpoint, "/latest/meta-data/placement/region". NULL: out of memory, too many.
 * done runs once, never from within, unless the get is cancelled. */
struct imds_get *imds_fetch(struct imds *m, const char *path, bool secret, imds_done_fn done,
                            void *arg);
void imds_cancel(struct imds_get *g); /* done will not run */

#endif
