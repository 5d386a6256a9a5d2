/* SPDX-License-Identifier: Apache-2.0
 * One HTTP request on its way through devcloud, and what is answered. */
#ifndef BLOX_DEVCLOUD_REQUEST_H
#define BLOX_DEVCLOUD_REQUEST_H

#include "agent/devcloud/cloud.h"
#include "agent/devcloud/sigv4.h"

struct MHD_Connection;

enum request_stage {
    STAGE_READING,
    STAGE_ARRIVED,  /* to be looked at */
    STAGE_HELD,     /* a fault delays it before it takes effect */
    STAGE_WAITING,  /* long poll */
    STAGE_ANSWERED, /* answer made, perhaps held back by a fault */
};

#define ANSWER_HEADERS_MAX 8

struct answer {
    int status;
    char code[64]; /* of an error; "" otherwise */
    char message[256];
    json_t *json;     /* body, or */
    struct buf text;  /* body as text */
    const char *type; /* Content-Type; NULL: by service */
    char headers[ANSWER_HEADERS_MAX][2][128];
    size_t header_count;
    bool wait; /* nothing to say before wait_until_ms, or until the queue wakes us */
};

struct request {
    struct list suspended; /* in cloud->suspended while MHD holds it */
    struct list waiter;    /* in a queue's waiters */
    struct timer timer;
    struct MHD_Connection *connection;
    enum request_stage stage;
    bool is_suspended;
    uint64_t seq;
    char method[8];
    char *target;                                   /* raw */
    char *path;                                     /* decoded, without query */
    struct sigv4_header headers[SIGV4_HEADERS_MAX]; /* own copies */
    size_t header_count;
    struct buf body;
    struct answer answer;
    char service[8]; /* ecs, sqs, sts, ec2, imds, agent, control, "" */
    char operation[64];
    struct credential *caller;
    char signed_region[32];
    json_t *params;
    uint64_t wait_until_ms;
    bool counted; /* throttling, validation and faults were done */
    bool reset;   /* the connection is cut instead of an answer */
    bool truncate;
};

struct sigv4_request request_sigv4(const struct request *req);
const char *cloud_request_header(const struct request *req, const char *name);
/* Value of a query parameter in buf, decoded; NULL if absent or too long. */
const char *request_query(const struct request *req, const char *name, char *buf, size_t cap);

void answer_header(struct answer *out, const char *name, const char *value);
void answer_error(struct answer *out, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void answer_text(struct answer *out, int status, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
bool answer_failed(const struct answer *out);

/* From queue.c and faults.c: let a suspended request go on. */
void request_resume(struct devcloud *cloud, struct request *req);

/* Percent-decoding in place of [A-Za-z0-9 and the rest]; '+' is a blank if form. */
void text_decode(char *text, bool form);

#endif
