/* SPDX-License-Identifier: Apache-2.0
 * Operations on deployments. A deployment puts the environment's task definition on every
 * matching instance; the newest is the active one, those before it are superseded. */
#include "agent/intent/intent_int.h"

#include <string.h>

#include "agent/base/ensure.h"

static bool unfinished(const struct deployment *dep)
{
    const char *status = json_str_or(dep->json, "status", "");
    return strcmp(status, "pending") == 0 || strcmp(status, "running") == 0;
}

static struct deployment *active_of(const struct environment *env)
{
    return deployment_find(env, json_str(env->json, "activeDeployment"));
}

/* Blox's rule, in Blox's words: a deployment needs the environment's token and there may be one at
 * a time. What it lacked: each deployment gives the environment a new token, so it can be deployed
 * again. */
static int check_token_use(struct apply *a, const struct environment *env)
{
    const char *token = json_str(a->command, "token");
    if (token == NULL)
        return 0;
    if (strcmp(token, json_str_or(env->json, "token", "")) != 0) {
        for (size_t i = 0; i < env->count; i++)
            if (strcmp(token, json_str_or(env->deployments[i].json, "token", "")) == 0)
                return result_set(a->ret, ERR_BADPARAM, "token",
                                  "Deployment with token '%.64s' already exists", token);
        return result_set(a->ret, ERR_BADPARAM, "token",
                          "Token '%.64s' is outdated and does not match the environment token '%s'",
                          token, json_str_or(env->json, "token", ""));
    }
    const struct deployment *active = active_of(env);
    if (active != NULL && unfinished(active))
        return result_set(a->ret, ERR_CONFLICT, "environment",
                          "There is already a deployment in progress: %s", active->id);
    return 0;
}

static void supersede(struct apply *a, struct environment *env)
{
    struct deployment *old = active_of(env);
    if (old == NULL)
        return;
    json_set_str(old->json, "status", "superseded");
    old->version = a->version;
    rows_deployment(&a->in->rows, env, old);
}

void deployments_prune(struct apply *a, struct environment *env)
{
    char key[ROW_KEY_TEXT];
    while (env->count > DEPLOYMENTS_KEPT) {
        deployment_key(env, env->deployments[0].id, key);
        rows_tombstone(&a->in->rows, RECORD_DEPLOYMENT, key, a->version);
        deployment_remove(env, &env->deployments[0]);
    }
}

static json_t *new_deployment(const struct apply *a, const struct environment *env, int64_t number)
{
    json_t *json = json_object();
    json_t *counts = json_object();
    ENSURE(json != NULL && counts != NULL);
    json_set_str(json, "id", a->id);
    json_set_str(json, "environment", env->name);
    json_set_str(json, "cluster", json_str(env->json, "cluster"));
    json_set_str(json, "taskDefinition", json_str(env->json, "taskDefinition"));
    json_set_int(json, "revision", json_int_or(env->json, "revision", 0));
    json_set_int(json, "number", number);
    json_set_str(json, "status", "pending");
    json_set_str(json, "token", json_str(env->json, "token"));
    json_set_str(json, "createdAt", a->now_text);
    json_object_set_new(json, "failedInstances", json_array());
    json_set_int(counts, "desired", 0);
    json_set_int(counts, "running", 0);
    json_set_int(counts, "pending", 0);
    json_set_int(counts, "failed", 0);
    json_object_set_new(json, "counts", counts);
    return json;
}

int deployment_create(struct apply *a)
{
    const char *name = json_str(a->command, "environment");
    const char *definition = json_str(a->command, "taskDefinition");
    struct environment *env = state_live(&a->in->state, name);
    char token[UUID_TEXT];
    if (env == NULL)
        return result_set(a->ret, ERR_NOTFOUND, "environment", "there is no environment %s", name);
    if (strcmp(json_str_or(env->json, "status", ""), "deleting") == 0)
        return result_set(a->ret, ERR_CONFLICT, "environment", "environment %s is being deleted",
                          name);
    if (deployment_find(env, a->id) != NULL)
        return result_set(a->ret, ERR_EXISTS, "id", "deployment %s already exists", a->id);
    int err = check_token_use(a, env);
    if (err != 0)
        return err;
    if (!room_make(a))
        return room_refuse(a);
    if (definition != NULL &&
        strcmp(definition, json_str_or(env->json, "taskDefinition", "")) != 0) {
        json_set_str(env->json, "taskDefinition", definition);
        json_set_int(env->json, "revision", json_int_or(env->json, "revision", 0) + 1);
    }
    supersede(a, env);
    int64_t number = json_int_or(env->json, "deployments", 0) + 1;
    struct deployment *dep =
        deployment_add(env, a->id, number, new_deployment(a, env, number), a->version);
    rows_deployment(&a->in->rows, env, dep);
    a->body = json_incref(dep->json);
    deployments_prune(a, env);
    token_of(a->id, token);
    json_set_int(env->json, "deployments", number);
    json_set_str(env->json, "activeDeployment", a->id);
    json_set_str(env->json, "token", token);
    json_set_str(env->json, "health", "healthy");
    environment_touched(a, env);
    return 0;
}

/* Replaces the member if the command has another value for it. */
static bool take(struct apply *a, json_t *json, const char *member)
{
    json_t *v = json_object_get(a->command, member);
    if (v == NULL || json_equal(v, json_object_get(json, member)))
        return false;
    json_t *copy = json_deep_copy(v);
    ENSURE(copy != NULL && json_object_set_new(json, member, copy) == 0);
    return true;
}

/* The leader's account of the active deployment. It may come late: what it says about a deployment
 * that is superseded or gone is of no interest. */
int deployment_status(struct apply *a)
{
    bool room = room_make(a);
    struct environment *env = state_live(&a->in->state, json_str(a->command, "environment"));
    struct deployment *dep = env == NULL ? NULL : deployment_find(env, a->id);
    if (dep == NULL || dep != active_of(env))
        return 0;
    json_t *failures = json_object_get(a->command, "failedInstances");
    while (!room && json_array_size(failures) > 1) /* the counts say how many there are */
        json_array_remove(failures, json_array_size(failures) - 1);
    bool changed = take(a, dep->json, "status");
    changed = take(a, dep->json, "failedInstances") || changed;
    changed = take(a, dep->json, "counts") || changed;
    if (strcmp(json_str_or(dep->json, "status", ""), "completed") == 0 &&
        json_str(dep->json, "completedAt") == NULL) {
        json_set_str(dep->json, "completedAt", a->now_text);
        changed = true;
    }
    if (changed) {
        dep->version = a->version;
        rows_deployment(&a->in->rows, env, dep);
    }
    bool failed = json_array_size(json_arr(dep->json, "failedInstances")) > 0;
    const char *health = failed ? "unhealthy" : "healthy";
    if (strcmp(json_str_or(env->json, "health", ""), health) != 0) {
        json_set_str(env->json, "health", health);
        environment_touched(a, env);
    }
    a->body = json_incref(dep->json);
    return 0;
}
