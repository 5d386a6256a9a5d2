/* SPDX-License-Identifier: Apache-2.0
 * One budget per ECS rate bucket, pure. AWS gives each account and Region one token bucket per
 * category ("Request throttling for the Amazon ECS API"), shared with everybody else in the
 * account: ECS's own scheduler calls, deploy pipelines, consoles. So at most PACE_SHARE percent
 * are used, half as much after each throttle answer, and slowly more again (AIMD).
 *
 * A caller enters a waiter and is handed back by pace_next when its turn has come: repair before
 * drain before rollout before resync, first come first served within one; each eighth turn goes to
 * whoever waits longest, so that nobody starves; the last tokens are kept for repair and drain. */
#ifndef BLOX_AWS_PACE_H
#define BLOX_AWS_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/list.h"

#define PACE_SHARE 75            /* percent of AWS's figures */
#define PACE_WAITERS_MAX 4096    /* a resync of 5,000 instances asks for 100 calls at a time */
#define PACE_PRIORITIES 4        /* enum aws_priority */
#define PACE_HALVE_EVERY_MS 1000 /* throttles of one wave count once */

/* X(name, text, burst, per second): AWS's figures. */
#define PACE_BUCKET_LIST(X)                                                                        \
    X(PACE_CLUSTER_MODIFY, "cluster_resource_modify", 100, 40)                                     \
    X(PACE_CLUSTER_READ, "cluster_resource_read", 100, 20)                                         \
    X(PACE_CLUSTERS, "cluster_read", 50, 20)                                                       \
    X(PACE_TASKDEF_READ, "task_definition_read", 50, 20)                                           \
    X(PACE_TASKDEF_MODIFY, "task_definition_modify", 20, 1)                                        \
    X(PACE_TAG_MODIFY, "tag_modify", 20, 10)                                                       \
    X(PACE_TAG_READ, "tag_read", 50, 20)                                                           \
    X(PACE_OTHER, "other", 20, 5)

enum pace_bucket_id {
#define X(name, text, burst, rate) name,
    PACE_BUCKET_LIST(X)
#undef X
        PACE_BUCKETS,
    PACE_NONE = PACE_BUCKETS /* not paced */
};

struct pace_waiter {
    struct list node;
    uint64_t order; /* of entry */
    unsigned priority;
    enum pace_bucket_id bucket;
    bool waiting;
};

struct pace_bucket {
    double tokens;
    double rate; /* per second, now */
    uint64_t refilled_ms;
    uint64_t halved_ms;
    uint64_t hold_until_ms; /* nothing goes out before, after a throttle */
    unsigned turns;
    struct list waiters[PACE_PRIORITIES];
};

struct pace {
    struct pace_bucket buckets[PACE_BUCKETS];
    uint64_t orders;
    size_t count;
};

void pace_init(struct pace *p, uint64_t now_ms);
enum pace_bucket_id pace_bucket_of(const char *ecs_operation);
const char *pace_bucket_str(enum pace_bucket_id id);
/* 0, or ERR_BUSY if too many wait. priority above the last counts as the last. */
int pace_enter(struct pace *p, struct pace_waiter *w, enum pace_bucket_id bucket,
               unsigned priority);
void pace_leave(struct pace *p, struct pace_waiter *w); /* harmless if not waiting */
/* The next waiter that may go now (its token is taken), NULL if none. */
struct pace_waiter *pace_next(struct pace *p, uint64_t now_ms);
/* When pace_next will have one; UINT64_MAX if nobody waits. */
uint64_t pace_deadline(const struct pace *p);
void pace_throttled(struct pace *p, enum pace_bucket_id bucket, uint64_t now_ms);
double pace_rate(const struct pace *p, enum pace_bucket_id bucket, uint64_t now_ms);

#endif
