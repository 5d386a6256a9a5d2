/* SPDX-License-Identifier: Apache-2.0
 * One set of credentials, and the JSON forms in which AWS hands them out. Memory is wiped. */
#ifndef BLOX_AWS_CREDS_H
#define BLOX_AWS_CREDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/json.h"

struct creds {
    char *access_key; /* NULL: empty */
    char *secret;
    char *token;             /* NULL: long-term keys */
    int64_t expires_unix_ms; /* 0: never */
};

int creds_set(struct creds *c, const char *access_key, const char *secret, const char *token,
              int64_t expires_unix_ms) MUST_CHECK;
void creds_wipe(struct creds *c);
void creds_move(struct creds *to, struct creds *from); /* from is empty afterwards */
/* Not empty, and 10 s or more away from its end. */
bool creds_are_valid(const struct creds *c, int64_t now_unix_ms);

enum creds_form {
    CREDS_METADATA, /* IMDS and container: AccessKeyId, SecretAccessKey, Token, Expiration, Code */
    CREDS_PROCESS,  /* credential_process: Version 1, ..., SessionToken */
    CREDS_STS       /* the flat object of query_parse_sts */
};
/* source names the origin in the error text; values never appear there. */
int creds_from_json(struct creds *c, const json_t *obj, enum creds_form form, const char *source,
                    struct errmsg *e) MUST_CHECK;
/* Overwrites the texts of an object that held secrets, then drops the reference. */
void creds_wipe_json(json_t *obj);

#endif
