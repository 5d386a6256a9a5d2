/* SPDX-License-Identifier: Apache-2.0
 * The leader's environments, kept in step with the intent. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/daemons/daemons_int.h"

#define FAILURE_TEXT 31 /* of ECS's reason for one */

static bool copy(char *out, size_t size, const char *text)
{
    size_t n = text ? strlen(text) : 0;
    if (n >= size)
        return false;
    memcpy(out, text ? text : "", n);
    out[n] = '\0';
    return true;
}

static void free_failures(struct denv *env)
{
    for (size_t i = 0; env->failures && i < env->pair_cap; i++)
        free(env->failures[i]);
    free(env->failures);
    env->failures = NULL;
}

static void free_env(struct daemons *d, struct denv *env)
{
    map_del(&d->envs, env->name);
    list_remove(&env->node);
    json_decref(env->source);
    free(env->expression);
    free(env->pairs);
    free(env->verdicts);
    free_failures(env);
    free(env);
}

void envs_clear(struct daemons *d)
{
    while (!list_is_empty(&d->env_list))
        free_env(d, LIST_OF(d->env_list.next, struct denv, node));
}

static struct denv *new_env(struct daemons *d, const char *name, bool at_start)
{
    struct denv *env = calloc(1, sizeof *env);
    if (!env || !copy(env->name, sizeof env->name, name) ||
        map_put(&d->envs, name, env, NULL) != 0) {
        free(env);
        return NULL;
    }
    memcpy(env->group, PLAN_GROUP_PREFIX, sizeof PLAN_GROUP_PREFIX);
    strncat(env->group, name, ENVIRONMENT_NAME_MAX);
    env->leaves = at_start ? LEAVES_PERHAPS : LEAVES_NOTHING;
    struct list *at = d->env_list.next; /* sorted by name */
    while (at != &d->env_list && strcmp(LIST_OF(at, struct denv, node)->name, name) < 0)
        at = at->next;
    list_push(at, &env->node);
    return env;
}

/* The expression was checked before it was accepted; one that another version accepted and this
 * one does not understand must not match everything. */
static void read_expression(struct denv *env)
{
    const char *text = json_str(env->source, "expression");
    free(env->expression);
    env->expression = NULL;
    if (!text || !*text)
        return;
    struct errmsg e = {""};
    env->expression = malloc(sizeof *env->expression);
    if (!env->expression)
        return;
    if (select_parse(env->expression, text, NULL, &e) == 0)
        return;
    copy(env->error, sizeof env->error, e.text);
    LOG(LOG_ERROR, "environment_expression", e.text, LS("environment", env->name));
    if (select_parse(env->expression, "agentConnected !exists", NULL, NULL) != 0)
        abort();
}

static void read_attributes(struct denv *env)
{
    size_t i;
    const json_t *item;
    env->plan.attribute_count = 0;
    json_array_foreach(json_arr(env->source, "attributes"), i, item)
    {
        const char *name = json_str(item, "name");
        const char *value = json_str(item, "value");
        if (!name || i >= sizeof env->attributes / sizeof env->attributes[0])
            continue;
        env->attributes[env->plan.attribute_count++] =
            (struct model_attribute){name, value && *value ? value : NULL};
    }
    env->plan.attributes = env->attributes;
}

/* Another deployment is active now. */
static void take_deployment(struct daemons *d, struct denv *env, const char *id, bool is_new)
{
    copy(env->deployment, sizeof env->deployment, id);
    env->definition[0] = '\0';
    env->revision = 0;
    env->error[0] = '\0';
    free_failures(env);
    env->planned = false;
    env->proposed_hash = 0;
    env->proposed_ms = 0;
    env->settles = 0;
    env->starts_wait = false;
    /* Nobody can have started tasks of a deployment that was made in this leadership. */
    env->settled = !is_new || env->deployment[0] == '\0';
    const json_t *deployment =
        id ? intent_deployment(d->options.intent, env->name, env->deployment) : NULL;
    if (!deployment)
        return;
    copy(env->definition, sizeof env->definition, json_str(deployment, "taskDefinition"));
    env->revision = json_int_or(deployment, "revision", 0);
}

static void sync_env(struct daemons *d, const json_t *source, bool at_start)
{
    const char *name = json_str(source, "name");
    if (!name)
        return;
    struct denv *env = map_get(&d->envs, name);
    if (!env)
        env = new_env(d, name, at_start);
    if (!env) {
        LOG(LOG_ERROR, "environment", "an environment cannot be scheduled: out of memory",
            LS("environment", name));
        return;
    }
    const char *deployment = json_str(source, "activeDeployment");
    if (strcmp(deployment ? deployment : "", env->deployment) != 0 || at_start)
        take_deployment(d, env, deployment, at_start);
    if (!env->source || !json_equal(env->source, source)) {
        json_decref(env->source);
        env->source = json_deep_copy(source);
        copy(env->cluster, sizeof env->cluster, json_str(source, "cluster"));
        /* At the start the intake may still speak of the leadership before. */
        env->known = !at_start && intake_knows(d->options.intake, env->cluster);
        if (env->leaves == LEAVES_LISTED)
            env->leaves = LEAVES_PERHAPS; /* perhaps it has other deployments now */
        read_expression(env);
        read_attributes(env);
        env->dirty = true;
    }
    env->plan.group = env->group;
    env->plan.cluster = env->cluster;
    env->plan.deployment = env->deployment[0] ? env->deployment : NULL;
    env->plan.deleting = strcmp(json_str_or(source, "status", "active"), "deleting") == 0;
    env->plan.expression = env->expression;
    env->plan.disconnect_grace_ms = DAEMONS_DISCONNECT_GRACE_MS;
    env->plan.drain_wait_ms = DAEMONS_DRAIN_WAIT_MS;
}

void envs_load(struct daemons *d)
{
    size_t at = 0;
    const json_t *source;
    while ((source = intent_next(d->options.intent, &at)) != NULL)
        sync_env(d, source, true);
    daemons_wake(d);
}

void envs_changed(struct daemons *d, const char *name)
{
    const json_t *source = intent_environment(d->options.intent, name);
    struct denv *env = map_get(&d->envs, name);
    if (source != NULL)
        sync_env(d, source, false);
    else if (env != NULL)
        free_env(d, env);
    daemons_wake(d);
}

void envs_look_known(struct daemons *d)
{
    for (struct list *n = d->env_list.next; n != &d->env_list; n = n->next) {
        struct denv *env = LIST_OF(n, struct denv, node);
        env->known = intake_knows(d->options.intake, env->cluster);
    }
}

struct denv *envs_of_group(struct daemons *d, const char *group)
{
    if (strncmp(group, PLAN_GROUP_PREFIX, sizeof PLAN_GROUP_PREFIX - 1) != 0)
        return NULL;
    return map_get(&d->envs, group + sizeof PLAN_GROUP_PREFIX - 1);
}

bool envs_room(struct daemons *d, struct denv *env)
{
    size_t cap = d->model.slot_cap;
    if (env->pair_cap >= cap)
        return true;
    struct plan_pair *pairs = realloc(env->pairs, cap * sizeof *pairs);
    if (pairs)
        env->pairs = pairs;
    struct plan_verdict *verdicts = realloc(env->verdicts, cap * sizeof *verdicts);
    if (verdicts)
        env->verdicts = verdicts;
    if (!pairs || !verdicts)
        return false;
    free_failures(env); /* made again by the next failure */
    memset(pairs + env->pair_cap, 0, (cap - env->pair_cap) * sizeof *pairs);
    memset(verdicts + env->pair_cap, 0, (cap - env->pair_cap) * sizeof *verdicts);
    env->pair_cap = cap;
    return true;
}

struct plan_pair *envs_pair(struct denv *env, const struct model_instance *inst)
{
    return &env->pairs[inst->slot];
}

void envs_note_failure(struct denv *env, uint32_t slot, const char *reason)
{
    if (slot >= env->pair_cap || (!env->failures && !*reason))
        return;
    if (!env->failures)
        env->failures = calloc(env->pair_cap, sizeof *env->failures);
    if (!env->failures)
        return;
    free(env->failures[slot]);
    env->failures[slot] = *reason ? strndup(reason, FAILURE_TEXT) : NULL;
}
