/* SPDX-License-Identifier: Apache-2.0
 * HTTP transfers: libcurl's multi interface on the uv loop, with connections kept alive.
 * HTTP/1.1, TLS always verified, redirects never followed. Loop thread. */
#ifndef BLOX_AWS_CURL_UV_H
#define BLOX_AWS_CURL_UV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

struct uv_loop_s;
struct xfer;
struct xfer_op;

int xfer_create(struct xfer **ret, struct uv_loop_s *loop, struct errmsg *e) MUST_CHECK;
/* Every operation must have ended or been cancelled. done runs once all handles are closed. */
void xfer_destroy(struct xfer *x, void (*done)(void *arg), void *arg);
/* CA bundle for TLS instead of the system's (AWS_CA_BUNDLE); NULL: the system's. */
int xfer_set_ca_bundle(struct xfer *x, const char *path) MUST_CHECK;

/* SigV4 (sign.h). All strings are copied. */
struct xfer_sign {
    const char *access_key;
    const char *secret;
    const char *session_token; /* NULL or "": none */
    const char *region;
    const char *service;
    int64_t offset_ms; /* added to this machine's clock */
};

struct xfer_spec {
    const char *method; /* "GET", "PUT" or "POST" */
    const char *url;
    const char *const *headers; /* "Name: value"; NULL ends; may be NULL */
    const char *body;           /* copied; NULL: none */
    size_t body_len;
    const struct xfer_sign *sign; /* NULL: unsigned */
    uint64_t timeout_ms;          /* of the whole transfer */
    uint64_t connect_timeout_ms;  /* 0: 5 s */
    size_t max_body;
    bool once;   /* libcurl may not resend on a new connection when a kept one proves dead */
    bool secret; /* the answer holds secrets: its memory is wiped */
};

struct xfer_result {
    int err;    /* 0 (any HTTP status), ERR_TIMEOUT, ERR_UNREACHABLE, ERR_TOOBIG, ERR_UPSTREAM */
    int status; /* HTTP status if its line came, also beside an err; else 0 */
    bool sent;  /* at least one byte of the request went out */
    const char *body;
    size_t body_len;
    int64_t date_unix_ms;   /* the Date header, 0 if there was none */
    const char *error_type; /* x-amzn-ErrorType, "" if there was none */
    const char *location;   /* of a redirect, "" */
    const char *why;        /* libcurl's words, "" if err is 0 */
};
typedef void (*xfer_done_fn)(void *arg, const struct xfer_result *r);

/* NULL: out of memory or a bad URL. done runs once, never from within. */
struct xfer_op *xfer_start(struct xfer *x, const struct xfer_spec *spec, xfer_done_fn done,
                           void *arg);
void xfer_cancel(struct xfer_op *op); /* done will not run; op is gone */

/* Loopback, link-local and the fixed addresses of EC2's and ECS's metadata services: hosts that a
 * proxy cannot reach. host without port; IPv6 with or without brackets. */
bool xfer_host_is_local(const char *host, size_t len);

#endif
