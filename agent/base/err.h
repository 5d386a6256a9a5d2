/* SPDX-License-Identifier: Apache-2.0
 * The one list of errors. A function returns 0 or a negative enum err; codes of
 * libraries (uv, LMDB, curl) are converted where the library is called.
 *
 * X(name, number, text, HTTP status, problem slug, exit code of the CLI) */
#ifndef BLOX_BASE_ERR_H
#define BLOX_BASE_ERR_H

#include <stddef.h>

#define ERR_LIST(X)                                                                                \
    X(ERR_INTERNAL, -1, "internal error", 500, "internal", 1)                                      \
    X(ERR_NOMEM, -2, "out of memory", 503, "not-ready", 1)                                         \
    X(ERR_IO, -3, "input/output error", 500, "internal", 1)                                        \
    X(ERR_FULL, -4, "storage is full", 507, "storage-full", 1)                                     \
    X(ERR_CORRUPT, -5, "stored data is damaged", 500, "internal", 1)                               \
    X(ERR_VERSION, -6, "made by another version", 500, "internal", 1)                              \
    X(ERR_NOTFOUND, -7, "not found", 404, "not-found", 3)                                          \
    X(ERR_EXISTS, -8, "already exists", 409, "conflict", 6)                                        \
    X(ERR_BADPARAM, -9, "bad parameter", 400, "bad-parameter", 2)                                  \
    X(ERR_BADBODY, -10, "bad request body", 400, "bad-body", 2)                                    \
    X(ERR_MALFORMED, -11, "malformed data", 400, "bad-body", 2)                                    \
    X(ERR_TOOBIG, -12, "too large", 413, "body-too-large", 2)                                      \
    X(ERR_BUSY, -13, "too many requests", 429, "too-many-requests", 1)                             \
    X(ERR_TIMEOUT, -14, "timed out", 504, "timeout", 5)                                            \
    X(ERR_NOLEADER, -15, "no leader is known", 503, "no-leader", 5)                                \
    X(ERR_NOTLEADER, -16, "this agent is not the leader", 503, "no-leader", 5)                     \
    X(ERR_AUTH, -17, "not authenticated", 401, "unauthenticated", 7)                               \
    X(ERR_FORBIDDEN, -18, "not permitted", 403, "forbidden", 7)                                    \
    X(ERR_CONFLICT, -19, "conflicts with the current state", 409, "conflict", 6)                   \
    X(ERR_PRECONDITION, -20, "precondition failed", 412, "precondition-failed", 6)                 \
    X(ERR_THROTTLED, -21, "throttled by AWS", 503, "upstream-throttled", 1)                        \
    X(ERR_UPSTREAM, -22, "AWS refused or failed", 502, "upstream-unavailable", 1)                  \
    X(ERR_DENIED, -23, "AWS denied access", 502, "upstream-denied", 7)                             \
    X(ERR_UNREACHABLE, -24, "not reachable", 503, "not-ready", 4)                                  \
    X(ERR_CLOSED, -25, "closed", 503, "not-ready", 4)                                              \
    X(ERR_CANCELED, -26, "cancelled", 503, "not-ready", 1)                                         \
    X(ERR_CONFIG, -27, "bad configuration", 500, "internal", 78)                                   \
    X(ERR_USAGE, -28, "wrong usage", 400, "bad-parameter", 2)                                      \
    X(ERR_UNSUPPORTED, -29, "not supported", 400, "bad-parameter", 2)                              \
    X(ERR_READONLY, -30, "read-only: the disk failed", 503, "storage-full", 1)                     \
    X(ERR_MISMATCH, -31, "idempotency key used with another body", 422, "idempotency-mismatch", 6) \
    X(ERR_NOTREADY, -32, "not ready yet", 503, "not-ready", 1)

enum err {
    ERR_OK = 0,
#define X(name, number, text, http, slug, code) name = number,
    ERR_LIST(X)
#undef X
};

const char *err_text(int err);       /* "storage is full"; unknown codes give "unknown error" */
const char *err_name(int err);       /* "ERR_FULL" */
const char *err_slug(int err);       /* problem type, "storage-full" */
int err_http_status(int err);        /* 200 for 0 */
int err_exit_code(int err);          /* 0 for 0 */
int err_from_slug(const char *slug); /* first code with that slug, ERR_INTERNAL if none */

/* What went wrong, for a human. Fixed size so that it can live on any stack. */
struct errmsg {
    char text[256];
};

/* Set the text and return err, so that `return errmsg_set(e, ERR_X, ...)` works. e may be NULL. */
int errmsg_set(struct errmsg *e, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Put "context: " before what is there. */
void errmsg_wrap(struct errmsg *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define MUST_CHECK __attribute__((warn_unused_result))

#endif
