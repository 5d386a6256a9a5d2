/* SPDX-License-Identifier: Apache-2.0
 * A standard SQS queue: messages are ready, hidden (delayed or in flight) or gone. */
#ifndef BLOX_DEVCLOUD_QUEUE_H
#define BLOX_DEVCLOUD_QUEUE_H

#include "agent/devcloud/cloud.h"
#include "agent/devcloud/md5.h"

#define QUEUE_IN_FLIGHT_MAX 120000 /* a standard queue's limit */
#define QUEUE_MESSAGE_MAX (1024u * 1024)
#define HANDLE_MAX 96

/* Shared by the messages of one put: a benchmark puts the same body a hundred thousand times. */
struct body {
    size_t refs;
    char md5[MD5_HEX];
    size_t len;
    char json[]; /* as a JSON string: it is written into answers as it is */
};

struct message {
    struct list link; /* in ready */
    struct timer timer;
    struct queue *queue;
    uint64_t seq;
    char id[37];
    char nonce[17]; /* of the latest receipt handle; "" before the first receive */
    bool in_flight;
    uint32_t receives;
    int64_t sent_ms, first_ms;
    json_t *attributes; /* MessageAttributes, NULL: none */
    struct body *body;
};

struct queue {
    char *name;
    char *url;
    char *arn;
    json_t *attributes; /* as set by CreateQueue: name -> text */
    json_t *tags;
    struct list ready;
    struct map by_id;
    struct list waiters; /* struct request */
    size_t ready_count, in_flight, delayed;
    int64_t created_ms, purged_ms;
};

struct queue *queue_create(struct devcloud *cloud, const char *name, const json_t *attributes);
void queue_destroy(struct devcloud *cloud, struct queue *q);
/* One reference, the caller's. Aborts if out of memory, as everything in devcloud. */
struct body *body_create(const char *text, size_t len);
void body_unref(struct body *body);
/* Takes a reference of its own. */
struct message *queue_put_body(struct devcloud *cloud, struct queue *q, struct body *body,
                               uint64_t delay_ms);
struct message *queue_put(struct devcloud *cloud, struct queue *q, const char *body, size_t len,
                          uint64_t delay_ms);
/* The oldest ready message becomes in flight; NULL if there is none. */
struct message *queue_take(struct devcloud *cloud, struct queue *q, uint64_t visibility_ms);
void queue_handle(const struct message *m, char out[HANDLE_MAX]);
/* *ret is NULL if the handle is well formed but its message is gone or was received since.
 * ERR_MALFORMED if it is no handle of ours. */
int queue_find(struct queue *q, const char *handle, struct message **ret);
void queue_delete(struct devcloud *cloud, struct message *m);
void queue_hide(struct devcloud *cloud, struct message *m, uint64_t visibility_ms);
void queue_purge(struct devcloud *cloud, struct queue *q);
uint64_t queue_setting(const struct queue *q, const char *name, uint64_t other);

#endif
