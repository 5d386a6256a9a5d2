/* SPDX-License-Identifier: Apache-2.0
 * AWS Signature Version 4 as a server checks it. Pure: no clock, no credentials of its own. */
#ifndef BLOX_DEVCLOUD_SIGV4_H
#define BLOX_DEVCLOUD_SIGV4_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/buf.h"

#define SIGV4_HEADERS_MAX 100
#define SIGV4_HEX 65

struct sigv4_header {
    const char *name;
    const char *value;
};
struct sigv4_request {
    const char *method;
    const char *target; /* as on the request line: path and query, still encoded */
    const struct sigv4_header *headers;
    size_t header_count;
    const void *body;
    size_t body_len;
};

/* Parts of the Authorization header. */
struct sigv4_auth {
    char access_key[129];
    char date[9];
    char region[32];
    char service[32];
    char signed_headers[2048];
    char signature[SIGV4_HEX];
};

/* A derived key, good for a day, a region and a service: whoever checks many requests keeps it. */
struct sigv4_key {
    char scope[80]; /* "": none yet */
    unsigned char key[32];
};

/* 0 or ERR_MALFORMED. */
int sigv4_parse(const char *authorization, struct sigv4_auth *ret);
bool sigv4_is_signed(const struct sigv4_auth *auth, const char *header);
int sigv4_canonical(const struct sigv4_request *req, const char *signed_headers, struct buf *out);
int sigv4_string_to_sign(const struct sigv4_auth *auth, const char *amz_date, const char *canonical,
                         struct buf *out);
/* kept: of this secret; taken if it is of the same scope, and made else. */
void sigv4_sign(const struct sigv4_auth *auth, const char *secret, struct sigv4_key *kept,
                const char *string_to_sign, char ret_hex[SIGV4_HEX]);
/* The whole: what the signature should be. 0, ERR_NOMEM or ERR_TOOBIG. */
int sigv4_expected(const struct sigv4_request *req, const struct sigv4_auth *auth,
                   const char *amz_date, const char *secret, struct sigv4_key *kept,
                   char ret_hex[SIGV4_HEX]);
/* First value of a header, NULL if absent. Names compare without case. */
const char *sigv4_header_value(const struct sigv4_request *req, const char *name);

#endif
