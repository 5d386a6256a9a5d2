/* SPDX-License-Identifier: Apache-2.0
 * ECS: the table of operations, clusters, paging and errors. */
#include "agent/devcloud/ecs.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_MAX 100
#define BATCH_MAX 100

const struct operation ecs_operations[] = {
    {"ListClusters", ecs_list_clusters, BUCKET_CLUSTER_READ},
    {"DescribeClusters", ecs_describe_clusters, BUCKET_CLUSTER_READ},
    {"CreateCluster", ecs_create_cluster, BUCKET_CLUSTER_MODIFY},
    {"DeleteCluster", ecs_delete_cluster, BUCKET_CLUSTER_MODIFY},
    {"ListContainerInstances", ecs_list_container_instances, BUCKET_RESOURCE_READ},
    {"DescribeContainerInstances", ecs_describe_container_instances, BUCKET_RESOURCE_READ},
    {"UpdateContainerInstancesState", ecs_update_container_instances_state, BUCKET_RESOURCE_MODIFY},
    {"DeregisterContainerInstance", ecs_deregister_container_instance, BUCKET_RESOURCE_MODIFY},
    {"ListTasks", ecs_list_tasks, BUCKET_RESOURCE_READ},
    {"DescribeTasks", ecs_describe_tasks, BUCKET_RESOURCE_READ},
    {"StartTask", ecs_start_task, BUCKET_RESOURCE_MODIFY},
    {"RunTask", ecs_run_task, BUCKET_RESOURCE_MODIFY},
    {"StopTask", ecs_stop_task, BUCKET_RESOURCE_MODIFY},
    {"DescribeTaskDefinition", ecs_describe_task_definition, BUCKET_TASKDEF_READ},
    {"ListTaskDefinitions", ecs_list_task_definitions, BUCKET_TASKDEF_READ},
    {"RegisterTaskDefinition", ecs_register_task_definition, BUCKET_TASKDEF_MODIFY},
    {"DeregisterTaskDefinition", ecs_deregister_task_definition, BUCKET_TASKDEF_MODIFY},
    {"PutAttributes", ecs_put_attributes, BUCKET_RESOURCE_MODIFY},
    {"DeleteAttributes", ecs_delete_attributes, BUCKET_RESOURCE_MODIFY},
    {"ListAttributes", ecs_list_attributes, BUCKET_RESOURCE_READ},
    {"TagResource", ecs_tag_resource, BUCKET_TAG_MODIFY},
    {"ListTagsForResource", ecs_list_tags_for_resource, BUCKET_TAG_READ},
    {NULL, NULL, BUCKET_NONE},
};

static void __attribute__((format(printf, 3, 0)))
fail(struct request *req, const char *code, const char *format, va_list args)
{
    char text[256];

    vsnprintf(text, sizeof(text), format, args);
    answer_error(&req->answer, 400, code, "%s", text);
}

void ecs_client_error(struct request *req, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fail(req, "ClientException", format, args);
    va_end(args);
}

void ecs_invalid(struct request *req, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fail(req, "InvalidParameterException", format, args);
    va_end(args);
}

struct cluster *ecs_cluster(struct devcloud *cloud, struct request *req)
{
    struct cluster *c = cluster_find(cloud, json_str(req->params, "cluster"));

    if (c == NULL || !c->active) {
        answer_error(&req->answer, 400, "ClusterNotFoundException", "Cluster not found.");
        return NULL;
    }
    return c;
}

/* Opaque to clients: they may not make one up, so it carries a check. */
static unsigned token_check(uint64_t seq)
{
    return (unsigned)((seq * 0x9e3779b97f4a7c15u) >> 40);
}

bool ecs_page_start(struct request *req, struct ecs_page *page)
{
    const char *token = json_str(req->params, "nextToken");
    int64_t limit = json_int_or(req->params, "maxResults", PAGE_MAX);
    unsigned long long seq = 0;
    unsigned check = 0;

    if (limit < 1 || limit > PAGE_MAX) {
        ecs_invalid(req, "maxResults should be between 1 and 100.");
        return false;
    }
    if (token != NULL && token[0] != '\0' &&
        (sscanf(token, "eyJ%6x.%llx==", &check, &seq) != 2 || check != token_check(seq))) {
        ecs_invalid(req, "Invalid token.");
        return false;
    }
    *page = (struct ecs_page){.after = seq, .limit = (size_t)limit};
    return true;
}

bool ecs_page_take(struct ecs_page *page, uint64_t seq)
{
    if (seq <= page->after || page->more)
        return false;
    if (page->count == page->limit) {
        page->more = true;
        return false;
    }
    page->count++;
    page->last = seq;
    return true;
}

void ecs_page_end(struct ecs_page *page, json_t *answer)
{
    if (page->more)
        json_object_set_new(answer, "nextToken",
                            json_sprintf("eyJ%06x.%llx==", token_check(page->last),
                                         (unsigned long long)page->last));
}

void ecs_failure(json_t *failures, const char *arn, const char *reason, const char *detail)
{
    json_t *one = json_object();

    json_set_str(one, "arn", arn);
    json_set_str(one, "reason", reason);
    json_set_str(one, "detail", detail);
    json_array_append_new(failures, one);
}

char *ecs_arn_of(const struct devcloud *cloud, const struct cluster *c, const char *kind,
                 const char *id)
{
    if (strncmp(id, "arn:", 4) == 0)
        return cloud_text("%s", id);
    return cloud_text("arn:%s:ecs:%s:%s:%s%s%s/%s", cloud->partition, cloud->region, cloud->account,
                      kind, c == NULL ? "" : "/", c == NULL ? "" : c->name, id);
}

/* Clusters have no seq: they are paged in the order of their names' hashes, few as they are. */
void ecs_list_clusters(struct devcloud *cloud, struct request *req)
{
    json_t *arns = json_array();
    struct ecs_page page;
    size_t at = 0;
    const char *key;
    void *value;

    if (!ecs_page_start(req, &page)) {
        json_decref(arns);
        return;
    }
    while (map_next(&cloud->clusters, &at, &key, &value)) {
        const struct cluster *c = value;
        if (c->active && ecs_page_take(&page, at))
            json_array_append_new(arns, json_string(c->arn));
    }
    req->answer.json = json_pack("{s:o}", "clusterArns", arns);
    ecs_page_end(&page, req->answer.json);
}

void ecs_describe_clusters(struct devcloud *cloud, struct request *req)
{
    const json_t *names = json_arr(req->params, "clusters");
    json_t *clusters = json_array(), *failures = json_array();
    size_t count = names == NULL ? 1 : json_array_size(names);

    if (count > BATCH_MAX) {
        ecs_invalid(req, "clusters can have at most 100 items.");
        count = 0;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = names == NULL ? "default" : json_string_value(json_array_get(names, i));
        const struct cluster *c = cluster_find(cloud, name);
        if (c != NULL) {
            json_array_append_new(clusters, render_cluster(c));
            continue;
        }
        char *arn = ecs_arn_of(cloud, NULL, "cluster", name);
        ecs_failure(failures, arn, "MISSING", NULL);
        free(arn);
    }
    if (!answer_failed(&req->answer))
        req->answer.json = json_pack("{s:O,s:O}", "clusters", clusters, "failures", failures);
    json_decref(clusters);
    json_decref(failures);
}

void ecs_create_cluster(struct devcloud *cloud, struct request *req)
{
    const char *name = json_str_or(req->params, "clusterName", "default");
    struct cluster *c = map_get(&cloud->clusters, name);

    for (size_t i = 0; name[i] != '\0'; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '_') {
            ecs_invalid(req, "Cluster name contains invalid characters.");
            return;
        }
    if (strlen(name) == 0 || strlen(name) > 255) {
        ecs_invalid(req, "Cluster name must have 1 to 255 characters.");
        return;
    }
    if (c == NULL)
        c = cluster_create(cloud, name);
    if (c == NULL)
        abort();
    c->active = true;
    if (json_arr(req->params, "tags") != NULL) {
        json_decref(c->tags);
        c->tags = json_deep_copy(json_arr(req->params, "tags"));
    }
    req->answer.json = json_pack("{s:o}", "cluster", render_cluster(c));
}

void ecs_delete_cluster(struct devcloud *cloud, struct request *req)
{
    struct cluster *c = ecs_cluster(cloud, req);

    if (c == NULL)
        return;
    for (struct list *at = c->instances.next; at != &c->instances; at = at->next) {
        const struct instance *in = LIST_OF(at, struct instance, in_cluster);
        if (strcmp(in->status, "INACTIVE") != 0) {
            answer_error(&req->answer, 400, "ClusterContainsContainerInstancesException",
                         "The Cluster cannot be deleted while Container Instances are active or "
                         "draining.");
            return;
        }
    }
    c->active = false;
    req->answer.json = json_pack("{s:o}", "cluster", render_cluster(c));
}
