/* SPDX-License-Identifier: Apache-2.0
 * What the ECS operations share. */
#ifndef BLOX_DEVCLOUD_ECS_H
#define BLOX_DEVCLOUD_ECS_H

#include "agent/devcloud/instances.h"
#include "agent/devcloud/render.h"
#include "agent/devcloud/request.h"
#include "agent/devcloud/services.h"
#include "agent/devcloud/tasks.h"

#define OPERATION(name) void ecs_##name(struct devcloud *cloud, struct request *req)
OPERATION(list_clusters);
OPERATION(describe_clusters);
OPERATION(create_cluster);
OPERATION(delete_cluster);
OPERATION(list_container_instances);
OPERATION(describe_container_instances);
OPERATION(update_container_instances_state);
OPERATION(deregister_container_instance);
OPERATION(list_tasks);
OPERATION(describe_tasks);
OPERATION(start_task);
OPERATION(run_task);
OPERATION(stop_task);
OPERATION(describe_task_definition);
OPERATION(register_task_definition);
OPERATION(list_task_definitions);
OPERATION(deregister_task_definition);
OPERATION(put_attributes);
OPERATION(delete_attributes);
OPERATION(list_attributes);
OPERATION(tag_resource);
OPERATION(list_tags_for_resource);

/* The request's cluster; NULL with ClusterNotFoundException answered. */
struct cluster *ecs_cluster(struct devcloud *cloud, struct request *req);
void ecs_client_error(struct request *req, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ecs_invalid(struct request *req, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Paging: a position in an order that only grows. */
struct ecs_page {
    uint64_t after; /* seq of the last item of the page before; 0: first page */
    size_t limit;
    size_t count;
    uint64_t last;
    bool more;
};
/* False with the error answered if maxResults or nextToken are invalid. */
bool ecs_page_start(struct request *req, struct ecs_page *page);
/* For each item that the filters let through, in order: whether it belongs to this page. Sets
 * more when the page is full. */
bool ecs_page_take(struct ecs_page *page, uint64_t seq);
void ecs_page_end(struct ecs_page *page, json_t *answer);
void ecs_failure(json_t *failures, const char *arn, const char *reason, const char *detail);
/* An id that was given without ARN, as the ARN that failures[] shows. New reference. */
char *ecs_arn_of(const struct devcloud *cloud, const struct cluster *c, const char *kind,
                 const char *id);

#endif
