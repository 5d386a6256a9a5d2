/* SPDX-License-Identifier: Apache-2.0
 * ECS: StartTask and RunTask. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/ecs.h"
#include "agent/devcloud/query.h"

#define START_MAX 10
#define RUN_MAX 10
#define START_STARTED_BY_MAX 36 /* StartTask documents fewer characters than RunTask */
#define RUN_STARTED_BY_MAX 128
#define TOKEN_LEN_MAX 64
#define OVERRIDES_MAX 8192

static bool check_started_by(struct request *req, size_t max)
{
    const char *text = json_str(req->params, "startedBy");

    if (text == NULL)
        return true;
    for (size_t i = 0; text[i] != '\0'; i++)
        if (!isalnum((unsigned char)text[i]) && strchr("-/_", text[i]) == NULL) {
            ecs_invalid(req, "startedBy may have letters, digits, hyphens, slashes and "
                             "underscores only.");
            return false;
        }
    if (strlen(text) > max) {
        ecs_invalid(req, "startedBy can be at most %zu characters long.", max);
        return false;
    }
    return true;
}

static bool check_overrides(struct request *req, const struct task_def *def)
{
    const json_t *overrides = json_obj(req->params, "overrides");
    const json_t *one;
    size_t i;

    if (overrides == NULL)
        return true;
    char *text = json_dumps(overrides, JSON_COMPACT);
    bool fits = text != NULL && strlen(text) <= OVERRIDES_MAX;
    free(text);
    if (!fits) {
        ecs_invalid(req, "Container Overrides length must be at most 8192");
        return false;
    }
    json_array_foreach(json_arr(overrides, "containerOverrides"), i, one)
    {
        const char *name = json_str_or(one, "name", "");
        size_t j = 0;
        while (j < def->container_count && strcmp(def->containers[j].name, name) != 0)
            j++;
        if (j == def->container_count) {
            ecs_invalid(req,
                        "Override for container named %s is not a container in the "
                        "TaskDefinition.",
                        name);
            return false;
        }
    }
    return true;
}

static struct task_def *check_definition(struct devcloud *cloud, struct request *req,
                                         size_t started_by_max)
{
    struct task_def *def = task_def_find(cloud, json_str(req->params, "taskDefinition"));

    if (def == NULL) {
        ecs_client_error(req, "TaskDefinition not found.");
        return NULL;
    }
    if (!def->active) {
        ecs_client_error(req, "TaskDefinition is inactive");
        return NULL;
    }
    if (def->awsvpc && json_obj(req->params, "networkConfiguration") == NULL) {
        ecs_invalid(req, "Network Configuration must be provided when networkMode 'awsvpc' is "
                         "specified.");
        return NULL;
    }
    if (!def->awsvpc && json_obj(req->params, "networkConfiguration") != NULL) {
        ecs_invalid(req, "Network Configuration is not valid for the given networkMode of this "
                         "task definition.");
        return NULL;
    }
    if (!check_started_by(req, started_by_max) || !check_overrides(req, def))
        return NULL;
    return def;
}

static struct task_options read_options(const struct request *req)
{
    return (struct task_options){.started_by = json_str(req->params, "startedBy"),
                                 .group = json_str(req->params, "group"),
                                 .overrides = json_obj(req->params, "overrides"),
                                 .tags = json_arr(req->params, "tags"),
                                 .execute_command =
                                     json_bool_or(req->params, "enableExecuteCommand", false)};
}

/* awsvpc: the subnets are of the zone of instance_add's own subnet ids. */
static bool wrong_location(const struct request *req, const struct instance *in)
{
    const json_t *vpc =
        json_obj(json_obj(req->params, "networkConfiguration"), "awsvpcConfiguration");
    const char *own = json_str_or(in->attributes, "ecs.subnet-id", "");
    const json_t *one;
    size_t i;

    if (vpc == NULL)
        return false;
    json_array_foreach(json_arr(vpc, "subnets"), i,
                       one) if (strcmp(json_string_value(one), own) == 0) return false;
    return true;
}

void ecs_start_task(struct devcloud *cloud, struct request *req)
{
    struct cluster *c = ecs_cluster(cloud, req);
    const json_t *ids = json_arr(req->params, "containerInstances");
    struct task_options options = read_options(req);
    const json_t *one;
    size_t i;

    if (c == NULL)
        return;
    if (json_array_size(ids) == 0 || json_array_size(ids) > START_MAX) {
        ecs_invalid(req, "Container instances must have 1 to 10 items.");
        return;
    }
    struct task_def *def = check_definition(cloud, req, START_STARTED_BY_MAX);
    if (def == NULL)
        return;
    json_t *tasks = json_array(), *failures = json_array();
    json_array_foreach(ids, i, one)
    {
        const char *id = json_string_value(one);
        struct instance *in = instance_find(c, id);
        const struct fault *fault = fault_pick(cloud, req, "partial");
        const char *reason = in == NULL ? "MISSING" : task_refusal(cloud, in, def);
        if (reason == NULL && wrong_location(req, in))
            reason = "LOCATION";
        if (reason == NULL && fault != NULL)
            reason = fault->reason;
        if (reason == NULL) {
            struct task *t = task_start(cloud, in, def, &options);
            json_array_append_new(tasks, render_task(cloud, t, AS_API));
            continue;
        }
        char *arn =
            in != NULL ? cloud_text("%s", in->arn) : ecs_arn_of(cloud, c, "container-instance", id);
        ecs_failure(failures, arn, reason, NULL);
        free(arn);
    }
    req->answer.json = json_pack("{s:o,s:o}", "tasks", tasks, "failures", failures);
}

/* RunTask's constraints; NULL if the instance may take a task, else why not. */
static const char *refuse_placement(struct devcloud *cloud, const struct request *req,
                                    const struct instance *in, const struct task_def *def,
                                    const char *group)
{
    const json_t *one;
    size_t i;

    if (strcmp(in->status, "ACTIVE") != 0)
        return "INACTIVE";
    json_array_foreach(json_arr(req->params, "placementConstraints"), i, one)
    {
        bool match = true;
        if (strcmp(json_str_or(one, "type", ""), "memberOf") == 0) {
            query_match(json_str_or(one, "expression", ""), in, &match, NULL);
        } else {
            for (struct list *at = in->tasks.next; match && at != &in->tasks; at = at->next) {
                const struct task *t = LIST_OF(at, struct task, on_instance);
                match = t->desired_stopped || strcmp(t->group, group) != 0;
            }
        }
        if (!match)
            return "MemberOf placement constraint unsatisfied.";
    }
    return task_refusal(cloud, in, def);
}

static struct instance *pick_instance(struct devcloud *cloud, struct request *req,
                                      struct cluster *c, const struct task_def *def,
                                      const char *group, json_t *failures)
{
    struct instance *best = NULL;
    uint64_t best_rank = 0;

    for (struct list *at = c->instances.next; at != &c->instances; at = at->next) {
        struct instance *in = LIST_OF(at, struct instance, in_cluster);
        if (strcmp(in->status, "INACTIVE") == 0)
            continue;
        const char *reason = refuse_placement(cloud, req, in, def, group);
        uint64_t rank = prng_next(&cloud->prng) | 1;
        if (reason == NULL && rank > best_rank) {
            best = in;
            best_rank = rank;
        } else if (reason != NULL && json_array_size(failures) < RUN_MAX) {
            ecs_failure(failures, in->arn, reason, NULL);
        }
    }
    return best;
}

static bool check_run(struct request *req)
{
    const json_t *p = req->params;
    const char *token = json_str(p, "clientToken");
    struct errmsg e = {0};
    struct instance blank = {.attributes = NULL}; /* to try expressions on */
    const json_t *one;
    size_t i;

    list_init(&blank.tasks);
    if (json_int_or(p, "count", 1) < 1 || json_int_or(p, "count", 1) > RUN_MAX) {
        ecs_invalid(req, "count must be between 1 and 10.");
        return false;
    }
    if (json_array_size(json_arr(p, "placementConstraints")) > 10 ||
        json_array_size(json_arr(p, "placementStrategy")) > 5) {
        ecs_invalid(req, "at most 10 placement constraints and 5 strategies are allowed.");
        return false;
    }
    if (token != NULL && strlen(token) > TOKEN_LEN_MAX) {
        ecs_invalid(req, "clientToken can be at most 64 characters long.");
        return false;
    }
    if (json_str(p, "launchType") != NULL && strcmp(json_str(p, "launchType"), "EC2") != 0) {
        ecs_client_error(req, "devcloud has EC2 container instances only.");
        return false;
    }
    json_array_foreach(json_arr(p, "placementConstraints"), i, one)
    {
        const char *expression = json_str(one, "expression");
        bool match;
        if (expression != NULL && query_match(expression, &blank, &match, &e) != 0) {
            ecs_invalid(req, "%s", e.text);
            return false;
        }
    }
    return true;
}

/* An earlier call with the same token: its answer, or a conflict if it asked for something else.
 * The parameters are kept beside the answer. */
static bool replay(struct devcloud *cloud, struct request *req, const char *key)
{
    const json_t *before = map_get(&cloud->run_tokens, key);

    if (before == NULL)
        return false;
    if (!json_equal(json_object_get(before, "params"), req->params)) {
        answer_error(&req->answer, 400, "ConflictException",
                     "The clientToken was used with other parameters.");
        return true;
    }
    json_t *tasks = json_array();
    const json_t *one;
    size_t i;
    json_array_foreach(json_arr(before, "tasks"), i, one)
    {
        const struct task *t = task_find(cloud, NULL, json_string_value(one));
        if (t != NULL)
            json_array_append_new(tasks, render_task(cloud, t, AS_API));
    }
    req->answer.json = json_pack("{s:o,s:[]}", "tasks", tasks, "failures");
    return true;
}

static void remember(struct devcloud *cloud, const struct request *req, const char *key)
{
    json_t *arns = json_array();
    const json_t *one;
    size_t i;

    json_array_foreach(json_arr(req->answer.json, "tasks"), i, one)
        json_array_append(arns, json_object_get(one, "taskArn"));
    json_t *kept = json_pack("{s:O,s:o}", "params", req->params, "tasks", arns);
    if (map_put(&cloud->run_tokens, key, kept, NULL) != 0)
        json_decref(kept);
}

void ecs_run_task(struct devcloud *cloud, struct request *req)
{
    struct cluster *c = ecs_cluster(cloud, req);
    struct task_options options = read_options(req);
    const char *token = json_str(req->params, "clientToken");
    char key[400], group[300];

    if (c == NULL || !check_run(req))
        return;
    struct task_def *def = check_definition(cloud, req, RUN_STARTED_BY_MAX);
    if (def == NULL)
        return;
    snprintf(key, sizeof(key), "%s %s", c->name, token == NULL ? "" : token);
    if (token != NULL && replay(cloud, req, key))
        return;
    snprintf(group, sizeof(group), "%s%s", options.group == NULL ? "family:" : "",
             options.group == NULL ? def->family : options.group);
    json_t *tasks = json_array(), *failures = json_array();
    for (int64_t n = json_int_or(req->params, "count", 1); n > 0; n--) {
        json_t *reasons = json_array();
        struct instance *in = pick_instance(cloud, req, c, def, group, reasons);
        if (in != NULL) {
            struct task *t = task_start(cloud, in, def, &options);
            json_array_append_new(tasks, render_task(cloud, t, AS_API));
            json_decref(reasons);
            continue;
        }
        json_array_extend(failures, reasons);
        json_decref(reasons);
        if (json_array_size(failures) == 0) {
            json_decref(tasks);
            json_decref(failures);
            ecs_invalid(req, "No Container Instances were found in your cluster.");
            return;
        }
        break;
    }
    req->answer.json = json_pack("{s:o,s:o}", "tasks", tasks, "failures", failures);
    if (token != NULL && json_array_size(tasks) > 0)
        remember(cloud, req, key);
}
