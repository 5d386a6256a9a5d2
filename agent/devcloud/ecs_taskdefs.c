/* SPDX-License-Identifier: Apache-2.0
 * ECS: task definitions. */
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/ecs.h"

void ecs_describe_task_definition(struct devcloud *cloud, struct request *req)
{
    const struct task_def *def =
        task_def_find(cloud, json_str_or(req->params, "taskDefinition", ""));

    if (def == NULL) {
        ecs_client_error(req, "Unable to describe task definition.");
        return;
    }
    req->answer.json = json_pack("{s:O}", "taskDefinition", def->json);
    if (json_array_size(json_arr(req->params, "include")) > 0)
        json_object_set(req->answer.json, "tags", def->tags);
}

void ecs_register_task_definition(struct devcloud *cloud, struct request *req)
{
    struct errmsg e = {0};
    const struct task_def *def = task_def_register(cloud, req->params, &e);

    if (def == NULL) {
        ecs_client_error(req, "%s", e.text);
        return;
    }
    req->answer.json = json_pack("{s:O,s:O}", "taskDefinition", def->json, "tags", def->tags);
}

void ecs_deregister_task_definition(struct devcloud *cloud, struct request *req)
{
    const char *text = json_str_or(req->params, "taskDefinition", "");
    struct task_def *def = task_def_find(cloud, text);
    const char *slash = strrchr(text, '/');

    if (strchr(slash == NULL ? text : slash, ':') == NULL) {
        ecs_client_error(req, "Task definition revision must be specified: family:revision.");
        return;
    }
    if (def == NULL) {
        ecs_client_error(req, "The specified task definition does not exist.");
        return;
    }
    if (!def->active) {
        ecs_client_error(req, "The specified task definition is inactive. Specify an active task "
                              "definition and try again.");
        return;
    }
    def->active = false;
    json_set_str(def->json, "status", "INACTIVE");
    json_object_set_new(def->json, "deregisteredAt", render_time(cloud_unix_ms(), AS_API));
    req->answer.json = json_pack("{s:O}", "taskDefinition", def->json);
}

static int family_order(const void *a, const void *b)
{
    const struct family *x = *(struct family *const *)a, *y = *(struct family *const *)b;

    return strcmp(x->name, y->name);
}

/* Families in order of name, revisions in order; positions are stable while none is added. */
void ecs_list_task_definitions(struct devcloud *cloud, struct request *req)
{
    const char *prefix = json_str(req->params, "familyPrefix");
    bool active = strcmp(json_str_or(req->params, "status", "ACTIVE"), "ACTIVE") == 0;
    bool down = strcmp(json_str_or(req->params, "sort", "ASC"), "DESC") == 0;
    struct family **families = malloc((cloud->families.count + 1) * sizeof(struct family *));
    struct ecs_page page;
    size_t count = 0, at = 0;
    uint64_t position = 0;
    const char *key;
    void *value;

    if (families == NULL)
        abort();
    if (!ecs_page_start(req, &page)) {
        free(families);
        return;
    }
    while (map_next(&cloud->families, &at, &key, &value))
        if (prefix == NULL || strcmp(prefix, key) == 0)
            families[count++] = value;
    if (count > 1)
        qsort(families, count, sizeof(families[0]), family_order);
    json_t *arns = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct family *f = families[down ? count - 1 - i : i];
        for (size_t j = 0; j < f->count; j++) {
            const struct task_def *def = f->revisions[down ? f->count - 1 - j : j];
            if (def->active == active && ecs_page_take(&page, ++position))
                json_array_append_new(arns, json_string(def->arn));
        }
    }
    free(families);
    req->answer.json = json_pack("{s:o}", "taskDefinitionArns", arns);
    ecs_page_end(&page, req->answer.json);
}
