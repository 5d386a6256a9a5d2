/* SPDX-License-Identifier: Apache-2.0
 * Carries a plan out: confirms old facts, gathers starts into batches, holds back what the calls
 * under way leave no room for. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/daemons/daemons_int.h"

static void wake_env(struct denv *env, uint64_t at_ms)
{
    if (at_ms < env->deadline_ms)
        env->deadline_ms = at_ms;
}

static bool may_start(struct daemons *d, struct denv *env)
{
    uint64_t now_ms = daemons_now(d);
    if (now_ms < d->not_before_ms) {
        wake_env(env, d->not_before_ms);
        return false;
    }
    if (d->starts < DAEMONS_STARTS_MAX && d->unsettled < DAEMONS_UNSETTLED_MAX)
        return true;
    env->held = true;
    return false;
}

static struct start_batch *new_batch(struct daemons *d, struct denv *env)
{
    struct start_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    memcpy(batch->env, env->name, sizeof batch->env);
    memcpy(batch->deployment, env->deployment, sizeof batch->deployment);
    memcpy(batch->definition, env->definition, sizeof batch->definition);
    memcpy(batch->cluster, env->cluster, sizeof batch->cluster);
    batch->revision = env->revision;
    const json_t *deployment = intent_deployment(d->options.intent, env->name, env->deployment);
    bool repair = strcmp(json_str_or(deployment, "status", ""), "completed") == 0;
    batch->priority = repair ? AWS_REPAIR : AWS_ROLLOUT;
    return batch;
}

/* Sends a batch, unless it is small and many are under way: then more gather meanwhile. */
static void flush(struct daemons *d, struct denv *env, struct start_batch *batch)
{
    if (!batch)
        return;
    if (batch->count < ECS_START_BATCH && d->starts >= DAEMONS_STARTS_FULL) {
        env->held = true;
        free(batch);
        return;
    }
    start_batch_run(d, env, batch);
}

static struct start_batch *add_start(struct daemons *d, struct denv *env, struct start_batch *batch,
                                     const struct plan_action *action)
{
    if (!batch) {
        if (!may_start(d, env))
            return NULL;
        batch = new_batch(d, env);
    }
    if (!batch) {
        wake_env(env, daemons_now(d) + 1000);
        return NULL;
    }
    const struct model_instance *inst = action->instance;
    struct start_item *item = &batch->items[batch->count];
    if (strlen(inst->arn) >= sizeof item->arn)
        return batch;
    memcpy(item->arn, inst->arn, strlen(inst->arn) + 1);
    item->slot = inst->slot;
    item->generation = inst->generation;
    item->why = action->why;
    if (++batch->count < ECS_START_BATCH)
        return batch;
    flush(d, env, batch);
    return NULL;
}

static void add_stop(struct daemons *d, struct denv *env, const struct plan_action *action)
{
    if (d->stops >= DAEMONS_STOPS_MAX) {
        env->held = true;
        return;
    }
    /* Which of two tasks is the duplicate, or what is superseded, no instance row decides. */
    bool by_instance = action->why == PLAN_NOT_MATCHING || action->why == PLAN_DRAINING;
    if (by_instance && !confirm_instance(d, env, action->instance))
        return;
    stop_task(d, env, action->task, action->why);
}

void act_plan(struct daemons *d, struct denv *env)
{
    env->planned_ms = daemons_now(d);
    env->dirty = false;
    env->held = false;
    if (!envs_room(d, env)) {
        env->deadline_ms = daemons_now(d) + 1000;
        return;
    }
    struct plan_output out = {
        .actions = d->actions, .action_cap = DAEMONS_ACTIONS, .verdicts = env->verdicts};
    plan_run(&env->plan, &d->model, env->pairs, daemons_now(d), &out);
    env->counts = out.counts;
    env->deadline_ms = out.deadline_ms;
    env->planned = true;
    struct start_batch *batch = NULL;
    size_t acted = 0;
    for (size_t i = 0; i < out.action_count; i++) {
        const struct plan_action *action = &out.actions[i];
        if (action->kind == ACTION_STOP) {
            add_stop(d, env, action);
            continue;
        }
        if (!settle_known(d, env) || !env->definition[0] ||
            !confirm_instance(d, env, action->instance))
            continue;
        batch = add_start(d, env, batch, action);
        acted++;
    }
    flush(d, env, batch);
    confirm_flush(d, env);
    settle_tend(d, env);
    if (out.truncated) { /* what was done is marked: the next plan goes on behind it */
        env->dirty = !env->held;
        wake_env(env, daemons_now(d) + 100);
    }
    if (acted)
        LOG(LOG_DEBUG, "daemons_plan", "starts were planned", LS("environment", env->name),
            LU("starts", acted), LU("desired", out.counts.desired),
            LU("running", out.counts.running));
}

void act_unhold(struct daemons *d)
{
    for (struct list *n = d->env_list.next; n != &d->env_list; n = n->next) {
        struct denv *env = LIST_OF(n, struct denv, node);
        if (env->held)
            env->dirty = true;
    }
    daemons_wake(d);
}
