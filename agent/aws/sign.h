/* SPDX-License-Identifier: Apache-2.0
 * Signature Version 4 of one request
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
 * libcurl signs, too, but with this machine's time only before 8.3.0, and it prints what is signed
 * byte by byte: that took more of the processor than all else of a request. */
#ifndef BLOX_AWS_SIGN_H
#define BLOX_AWS_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

#define SIGN_HEADERS_MAX 12u
#define SIGN_DATE_MAX 17u
#define SIGN_SCOPE_MAX 160u
#define SIGN_SECRET_MAX 256u

/* The last key that a secret gave, for a day, a Region and a service. */
struct sign_key {
    char scope[SIGN_SCOPE_MAX];
    char secret[SIGN_SECRET_MAX];
    uint8_t key[32];
};

struct sign_request {
    const char *method;
    const char *path;           /* as it is sent; "" is "/" */
    const char *query;          /* as it is sent, which must be its canonical form; "" */
    const char *const *headers; /* "Name: value", NULL ends: all are signed, Host among them */
    const void *body;
    size_t body_len;
    const char *date; /* what X-Amz-Date says */
    const char *access_key, *secret;
    const char *region, *service;
};

/* "20150830T123600Z" */
void sign_date(int64_t unix_ms, char out[SIGN_DATE_MAX]);
/* Appends "Authorization: AWS4-HMAC-SHA256 ...". ERR_TOOBIG: too many headers, or too long names of
 * Region and service; the buffer's errors. */
int sign_request(const struct sign_request *r, struct sign_key *kept, struct buf *out) MUST_CHECK;

#endif
