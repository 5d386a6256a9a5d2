/* SPDX-License-Identifier: Apache-2.0
 * Short hands for models in the scheduler's tests. */
#ifndef BLOX_TESTS_SCHEDULER_WORLD_H
#define BLOX_TESTS_SCHEDULER_WORLD_H

#include <criterion/criterion.h>
#include <stdlib.h>

#include "scheduler/plan.h"

#define CLUSTER "arn:aws:ecs:eu-west-1:1:cluster/c"

static inline void *test_resize(void *arg, void *memory, size_t size)
{
    (void)arg;
    if (size == 0) {
        free(memory);
        return NULL;
    }
    return realloc(memory, size);
}

struct instance_spec {
    const char *arn, *status;
    bool connected;
    uint64_t version;
    const struct model_attribute *attributes;
    size_t attribute_count;
};

static inline struct model_instance *put_instance(struct model *m, struct instance_spec s,
                                                  uint64_t now_ms)
{
    struct model_instance_row row = {.arn = s.arn,
                                     .cluster = CLUSTER,
                                     .status = s.status,
                                     .ec2_id = "i-0abc",
                                     .zone = "eu-west-1a",
                                     .agent_version = "1.105.1",
                                     .connected = s.connected,
                                     .version = s.version,
                                     .registered_unix_ms = 1700000000000,
                                     .attributes = s.attributes,
                                     .attribute_count = s.attribute_count};
    struct model_instance *inst;
    cr_assert_eq(model_put_instance(m, &row, now_ms, &inst), 0);
    return inst;
}

struct task_spec {
    const char *arn, *instance, *group, *started_by, *status, *desired;
    uint64_t version;
    int64_t created;
};

static inline struct model_task *put_task(struct model *m, struct task_spec s, uint64_t now_ms)
{
    struct model_task_row row = {.arn = s.arn,
                                 .cluster = CLUSTER,
                                 .instance = s.instance,
                                 .group = s.group,
                                 .started_by = s.started_by,
                                 .status = s.status,
                                 .desired = s.desired,
                                 .version = s.version,
                                 .created_unix_ms = s.created};
    struct model_task *task;
    cr_assert_eq(model_put_task(m, &row, now_ms, &task), 0);
    return task;
}

#endif
