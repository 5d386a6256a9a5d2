/* SPDX-License-Identifier: Apache-2.0
 * /v1/tasks and /v1/instances: lists and single entities. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/api/list.h"
#include "agent/api/v1.h"

/* Upper-case status if it is one of the list, else NULL. */
static const char *find_status(const char *text, const char *const *known)
{
    for (; *known != NULL; known++)
        if (strcasecmp(*known, text) == 0)
            return *known;
    return NULL;
}

static int add_filters(struct filter *spec, const char *status, const char *cluster,
                       const char *started_by)
{
    int err = 0;
    if (status != NULL)
        err = filter_add(spec, ROW_STATUS, status);
    if (err == 0 && cluster != NULL)
        err = filter_add_cluster(spec, cluster, true);
    if (err == 0 && started_by != NULL)
        err = filter_add(spec, ROW_STARTED_BY, started_by);
    return err;
}

/* An empty value counts as absent. */
static const char *filter_value(const struct request *r, const char *name)
{
    const char *value = request_param(r, name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

enum MHD_Result v1_list(struct request *r, uint8_t kind)
{
    static const char *const task_filters[] = {"status", "cluster", "startedBy", NULL};
    static const char *const instance_filters[] = {"status", "cluster", NULL};
    static const char *const task_status[] = {"PENDING", "RUNNING", "STOPPED", NULL};
    static const char *const instance_status[] = {"ACTIVE", "INACTIVE", NULL};
    bool tasks = kind == RECORD_TASK;
    enum MHD_Result ret;
    if (v1_check_filters(r, tasks ? task_filters : instance_filters,
                         "At least one of the filters provided is unsupported", &ret))
        return ret;
    const char *status = filter_value(r, "status");
    const char *cluster = filter_value(r, "cluster");
    if (status != NULL &&
        (status = find_status(status, tasks ? task_status : instance_status)) == NULL)
        return v1_error(r, 400, "Invalid status");
    if (cluster != NULL && !v1_is_cluster(cluster))
        return v1_error(r, 400, "Invalid cluster ARN or name");
    struct list_spec spec = {.kind = kind, .emit = v1_put_instance};
    if (tasks) {
        spec.body = v1_put_task_entity;
        spec.end = v1_put_metadata;
    }
    if (add_filters(&spec.filter, status, cluster, filter_value(r, "startedBy")) != 0)
        /* Nothing is that long, so nothing matches. */
        return reply(r,
                     &(struct answer){.status = 200, .type = V1_JSON, .text = "{\"items\":[]}\n"});
    return list_reply(r, &spec, V1_JSON);
}

enum MHD_Result v1_get(struct request *r, uint8_t kind, const char *rest)
{
    bool tasks = kind == RECORD_TASK;
    size_t cluster_len;
    const char *arn;
    struct store_txn *txn;
    if (!v1_is_entity_path(rest, tasks ? "task" : "container-instance", &cluster_len, &arn))
        return v1_no_page(r);
    if (store_read_begin(r->api->store, &txn) != 0)
        return v1_error(r, 500, V1_INTERNAL);
    struct store_row row;
    struct row fields;
    struct filter in_cluster = {.count = 0};
    struct buf b;
    buf_init(&b, 2 * RECORD_VALUE_MAX);
    char cluster[CLUSTER_NAME_MAX + 1];
    memcpy(cluster, rest, cluster_len);
    cluster[cluster_len] = '\0';
    bool found = store_get_ref(txn, kind, arn, strlen(arn), &row) == 0 && !row.record.deleted &&
                 row_decode(row.record.value, row.record.value_len, &fields) == 0 &&
                 filter_add_cluster(&in_cluster, cluster, true) == 0 &&
                 filter_matches(&in_cluster, &fields) &&
                 (tasks ? v1_put_task : v1_put_instance)(&b, &row, &fields) == 0;
    store_read_end(txn);
    if (!found) {
        buf_fini(&b);
        return v1_error(r, 404, tasks ? "Task not found" : "Instance not found");
    }
    buf_putc(&b, '\n');
    return reply(r, &(struct answer){.status = 200, .type = V1_JSON, .body = &b});
}
