/* SPDX-License-Identifier: Apache-2.0
 * ECS: list, describe and stop tasks. */
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/ecs.h"

#define DESCRIBE_MAX 100

struct task_filter {
    const struct instance *instance;
    const struct started_by *started_by;
    const char *family;
    bool stopped;
    bool nothing; /* asks for what cannot be there: a service's or Fargate's tasks */
};

static bool is_visible(const struct task *t)
{
    return cloud_unix_ms() >= t->appears_ms;
}

static bool is_stale(const struct task *t)
{
    return t->stale != NULL && cloud_now_ms() < t->stale_until_ms;
}

static bool passes(const struct task_filter *f, const struct task *t)
{
    bool stopped = is_stale(t) ? t->stale_stopped : t->desired_stopped;

    return is_visible(t) && stopped == f->stopped &&
           (f->instance == NULL || t->instance == f->instance) &&
           (f->family == NULL || strcmp(t->def->family, f->family) == 0);
}

static bool read_filter(struct devcloud *cloud, struct request *req, const struct cluster *c,
                        struct task_filter *f)
{
    const json_t *p = req->params;
    const char *instance = json_str(p, "containerInstance");
    const char *desired = json_str_or(p, "desiredStatus", "RUNNING");

    *f = (struct task_filter){.family = json_str(p, "family"),
                              .stopped = strcmp(desired, "STOPPED") == 0};
    f->nothing = json_str(p, "serviceName") != NULL || json_str(p, "daemonName") != NULL ||
                 strcmp(json_str_or(p, "launchType", "EC2"), "EC2") != 0 ||
                 strcmp(desired, "PENDING") == 0; /* no task has it as desired status */
    if (json_str(p, "startedBy") != NULL) {
        if (instance != NULL || f->family != NULL || f->nothing ||
            json_str(p, "desiredStatus") != NULL || json_str(p, "launchType") != NULL) {
            ecs_invalid(req,
                        "When you specify the startedBy filter, no other filters can be used.");
            return false;
        }
        f->started_by = map_get(&cloud->started_by, json_str(p, "startedBy"));
        f->nothing = f->started_by == NULL;
    }
    if (instance != NULL) {
        f->instance = instance_find(c, instance);
        if (f->instance == NULL) {
            ecs_invalid(req, "The referenced container instance was not found.");
            return false;
        }
    }
    return true;
}

void ecs_list_tasks(struct devcloud *cloud, struct request *req)
{
    const struct cluster *c = ecs_cluster(cloud, req);
    struct task_filter f;
    struct ecs_page page;

    if (c == NULL || !ecs_page_start(req, &page) || !read_filter(cloud, req, c, &f))
        return;
    json_t *arns = json_array();
    const struct list *head = f.started_by != NULL ? &f.started_by->tasks
                              : f.instance != NULL ? &f.instance->tasks
                                                   : &c->tasks;
    size_t offset = f.started_by != NULL ? offsetof(struct task, in_group)
                    : f.instance != NULL ? offsetof(struct task, on_instance)
                                         : offsetof(struct task, in_cluster);
    for (const struct list *at = head->next; !f.nothing && at != head && !page.more;
         at = at->next) {
        const struct task *t = (const void *)((const char *)at - offset);
        if (t->cluster == c && passes(&f, t) && ecs_page_take(&page, t->seq))
            json_array_append_new(arns, json_string(t->arn));
    }
    req->answer.json = json_pack("{s:o}", "taskArns", arns);
    ecs_page_end(&page, req->answer.json);
}

void ecs_describe_tasks(struct devcloud *cloud, struct request *req)
{
    const struct cluster *c = ecs_cluster(cloud, req);
    const json_t *ids = json_arr(req->params, "tasks");
    const json_t *include = json_arr(req->params, "include");
    const json_t *one;
    size_t i;

    if (c == NULL)
        return;
    if (json_array_size(ids) == 0) {
        ecs_invalid(req, "Tasks cannot be empty.");
        return;
    }
    if (json_array_size(ids) > DESCRIBE_MAX) {
        ecs_invalid(req, "Tasks can have at most 100 items.");
        return;
    }
    json_t *found = json_array(), *failures = json_array();
    json_array_foreach(ids, i, one)
    {
        const char *id = json_string_value(one);
        const struct task *t = task_find(cloud, c, id);
        if (t != NULL && is_visible(t)) {
            json_t *text = is_stale(t) ? json_deep_copy(t->stale) : render_task(cloud, t, AS_API);
            /* A stopped task has lost its tags; others show them only if asked. */
            if (json_array_size(include) == 0 || t->desired_stopped)
                json_object_set_new(text, "tags", json_array());
            json_array_append_new(found, text);
            continue;
        }
        char *arn = ecs_arn_of(cloud, c, "task", id);
        ecs_failure(failures, arn, "MISSING", NULL);
        free(arn);
    }
    req->answer.json = json_pack("{s:o,s:o}", "tasks", found, "failures", failures);
}

void ecs_stop_task(struct devcloud *cloud, struct request *req)
{
    const struct cluster *c = ecs_cluster(cloud, req);

    if (c == NULL)
        return;
    struct task *t = task_find(cloud, c, json_str_or(req->params, "task", ""));
    if (t == NULL) {
        ecs_invalid(req, "The referenced task was not found.");
        return;
    }
    task_stop(cloud, t, json_str_or(req->params, "reason", "Task stopped by user"),
              "UserInitiated");
    req->answer.json = json_pack("{s:o}", "task", render_task(cloud, t, AS_API));
}
