/* SPDX-License-Identifier: Apache-2.0
 * Introspection of the ECS agent of each instance, at /_ecs-agent/INSTANCE-ID: what is so on the
 * host, which ECS and its events say only later. */
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/services.h"
#include "agent/devcloud/tasks.h"

/* The agent's own names of states; NULL while it has not heard of the task. */
static const char *known_status(const struct task *t)
{
    switch (t->local) {
    case TASK_PROVISIONING:
        return NULL;
    case TASK_PENDING:
        return "NONE";
    case TASK_ACTIVATING:
        return "CREATED";
    case TASK_RUNNING:
    case TASK_DEACTIVATING:
    case TASK_STOPPING:
        return "RUNNING";
    case TASK_DEPROVISIONING:
    case TASK_STOPPED:
        return "STOPPED";
    }
    return NULL;
}

static json_t *render_known(const struct task *t)
{
    json_t *containers = json_array();

    for (size_t i = 0; i < t->def->container_count && t->local >= TASK_ACTIVATING; i++) {
        const struct container_def *def = &t->def->containers[i];
        json_array_append_new(containers,
                              json_pack("{s:o,s:o,s:s,s:s,s:o}", "DockerId",
                                        json_sprintf("%s%s", t->id, t->id), "DockerName",
                                        json_sprintf("ecs-%s-%d-%s-%.8s", t->def->family,
                                                     (int)t->def->revision, def->name, t->id),
                                        "Name", def->name, "Image", def->image, "ImageID",
                                        json_sprintf("sha256:%s%s", t->id, t->id)));
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:o}", "Arn", t->arn, "DesiredStatus",
                     t->desired_stopped || t->local >= TASK_DEPROVISIONING ? "STOPPED" : "RUNNING",
                     "KnownStatus", known_status(t), "Family", t->def->family, "Version",
                     json_sprintf("%d", (int)t->def->revision), "Containers", containers);
}

static void get_tasks(struct request *req, const struct instance *in)
{
    char arn_buf[512], docker_buf[512];
    const char *arn = request_query(req, "taskarn", arn_buf, sizeof(arn_buf));
    const char *docker = request_query(req, "dockerid", docker_buf, sizeof(docker_buf));
    json_t *tasks = json_array();

    if (arn != NULL && docker != NULL) {
        answer_text(&req->answer, 400, "application/json", "{}");
        json_decref(tasks);
        return;
    }
    for (const struct list *at = in->tasks.next; at != &in->tasks; at = at->next) {
        const struct task *t = LIST_OF(at, struct task, on_instance);
        if (known_status(t) == NULL || (arn != NULL && strcmp(t->arn, arn) != 0) ||
            (docker != NULL && strncmp(docker, t->id, strlen(t->id)) != 0))
            continue;
        json_array_append_new(tasks, render_known(t));
    }
    if (arn == NULL && docker == NULL) {
        req->answer.json = json_pack("{s:O}", "Tasks", tasks);
    } else if (json_array_size(tasks) == 0) {
        answer_text(&req->answer, 404, "application/json", "{}");
    } else {
        req->answer.json = json_incref(json_array_get(tasks, 0));
    }
    json_decref(tasks);
}

void service_agent(struct devcloud *cloud, struct request *req)
{
    const char *at = req->path + strlen("/_ecs-agent/");
    size_t len = strcspn(at, "/");
    char id[64];

    snprintf(id, sizeof(id), "%.*s", (int)(len < 63 ? len : 63), at);
    const struct instance *in = map_get(&cloud->by_ec2_id, id);
    if (in == NULL || in->host_gone) {
        req->reset = true;
        return;
    }
    at += len;
    if (strcmp(at, "/v1/metadata") == 0)
        req->answer.json =
            json_pack("{s:s,s:s,s:s}", "Cluster", in->cluster->name, "ContainerInstanceArn",
                      in->arn, "Version", "Amazon ECS Agent - v1.105.1 (8dfceca6)");
    else if (strcmp(at, "/v1/tasks") == 0)
        get_tasks(req, in);
    else
        req->answer.json =
            json_pack("{s:[s,s,s]}", "AvailableCommands", "/v1/metadata", "/v1/tasks", "/license");
}
