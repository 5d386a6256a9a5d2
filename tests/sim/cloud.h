/* SPDX-License-Identifier: Apache-2.0
 * ECS as it is (the truth that checkers compare with) and as its API shows it: lists and
 * descriptions lag, each change is told by an event that may be late, doubled, overtaken or lost;
 * StartTask has no client token. */
#ifndef BLOX_TESTS_CLOUD_H
#define BLOX_TESTS_CLOUD_H

#include "tests/sim/agents.h"

#define CLOUD_VISIBILITY_US 30000000u /* how long a message that was received is hidden */
#define CLOUD_CLUSTER "arn:aws:ecs:eu-west-1:111122223333:cluster/sim"

/* What a resource looked like from a moment on. */
struct cloud_version {
    uint64_t at_us;
    json_t *json; /* as Describe* shows it */
};

struct cloud_resource {
    char arn[96];
    struct cloud_version *versions;
    size_t count;
    bool is_task;
    /* tasks */
    struct cloud_resource *instance;
    char group[48], started_by[48];
    int64_t term; /* of the leader that started it, by its tag */
    /* instances */
    struct node *node;
    char address[64]; /* attribute blox.addr */
    uint64_t address_us;
};

struct cloud {
    struct cloud_resource **all;
    size_t count;
    uint64_t starts, stops, lag_max_us;
};
extern struct cloud cloud;

void cloud_register(struct node *n);                /* a container instance, soon */
void cloud_connect(struct node *n, bool connected); /* its ECS agent */
void cloud_terminate(struct node *n);               /* the instance is gone, its tasks with it */
const char *cloud_status(const struct cloud_resource *r);  /* lastStatus, status: now */
const char *cloud_desired(const struct cloud_resource *r); /* of a task, now */
/* As the API shows it at a lag; NULL: not yet. */
const json_t *cloud_seen(const struct cloud_resource *r, uint64_t lag_us);
struct cloud_resource *cloud_find(const char *arn);
struct cloud_resource *cloud_instance_of(const struct node *n);
/* NULL: refused, *ret_why says why as StartTask's failures do. */
struct cloud_resource *cloud_start(const json_t *params, const char *instance,
                                   const char **ret_why);
void cloud_stop(struct cloud_resource *task, const char *reason);
void cloud_set_attribute(struct cloud_resource *instance, const char *value);

/* The queue of events. */
json_t *cloud_receive(size_t max); /* messages; empty: none is visible */
void cloud_delete(const char *receipt);

#endif
