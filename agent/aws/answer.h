/* SPDX-License-Identifier: Apache-2.0
 * What an AWS answer says, pure: error code and text, and our error for it. */
#ifndef BLOX_AWS_ANSWER_H
#define BLOX_AWS_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/base/tape.h"

/* XML is STS's, SQS_XML that of an SQS which speaks no JSON. */
enum answer_form { ANSWER_JSON, ANSWER_TAPE, ANSWER_XML, ANSWER_SQS_XML, ANSWER_EC2_XML };

struct answer {
    int err;       /* 0 if the service did what was asked */
    bool broken;   /* a 2xx whose body cannot be read: it may have been done all the same */
    char code[96]; /* "ThrottlingException" */
    char message[256];
    json_t *body;     /* owned; NULL if it was not JSON */
    struct tape tape; /* of ANSWER_TAPE, instead of body, if it did what was asked */
    char *text;       /* under the tape */
};

/* error_type: header x-amzn-ErrorType or "". */
void answer_read(struct answer *a, int http_status, const char *body, size_t len,
                 const char *error_type, enum answer_form form);
/* The body as a tape, for who wants one whatever the service spoke. */
int answer_retape(struct answer *a) MUST_CHECK;
void answer_fini(struct answer *a);
/* "com.amazonaws.ecs#ClientException:http://..." -> "ClientException". */
void answer_cut_code(const char *raw, char *out, size_t cap);
int answer_err(int http_status, const char *code);

#endif
