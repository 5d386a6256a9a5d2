/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/plan.h"

#include <string.h>

#include "agent/base/ensure.h"

/* One run, with the names looked up once so that instances compare pointers. */
struct run {
    const struct plan_environment *env;
    const struct model_name *group;      /* NULL: no task has it */
    const struct model_name *deployment; /* NULL: no task has it */
    const struct model_name *cluster;    /* NULL: no instance has it */
    uint32_t deployment_hash;
    uint64_t now_ms;
    struct plan_output *out;
};

/* The environment's tasks on one instance. */
struct found {
    struct model_task *keep; /* the one of the deployment that stays */
    size_t wanted;           /* with desiredStatus RUNNING, of any deployment */
    size_t stopping;         /* live ones with desiredStatus STOPPED */
};

static void wake_at(struct run *run, uint64_t at_ms)
{
    if (at_ms < run->out->deadline_ms)
        run->out->deadline_ms = at_ms;
}

static struct plan_verdict verdict(enum plan_verdict_kind kind, enum plan_reason reason)
{
    return (struct plan_verdict){(uint8_t)kind, (uint8_t)reason};
}

static void act(struct run *run, struct plan_action action)
{
    struct plan_output *out = run->out;
    if (out->action_count == out->action_cap) {
        out->truncated = true;
        return;
    }
    out->actions[out->action_count++] = action;
}

static bool attributes_hold(const struct plan_environment *env, const struct model_instance *inst)
{
    for (size_t i = 0; i < env->attribute_count; i++) {
        const char *have;
        const char *want = env->attributes[i].value;
        if (!model_find_attribute(inst, env->attributes[i].name, &have))
            return false;
        if (want && (!have || strcmp(have, want) != 0))
            return false;
    }
    return true;
}

bool plan_matches(const struct plan_environment *env, const struct model_instance *inst)
{
    return inst->cluster && strcmp(inst->cluster->text, env->cluster) == 0 &&
           attributes_hold(env, inst) &&
           (!env->expression || select_match(env->expression, inst, env->group));
}

static bool is_ours(const struct run *run, const struct model_task *task)
{
    return run->group && task->kind->group == run->group;
}

static bool is_current(const struct run *run, const struct model_task *task)
{
    return run->deployment && task->kind->started_by == run->deployment && task->wanted;
}

/* Of two tasks of the deployment on one instance, does a stay? */
static bool is_better(const struct model_task *a, const struct model_task *b)
{
    bool a_runs = a->status == TASK_RUNNING;
    bool b_runs = b->status == TASK_RUNNING;
    if (a_runs != b_runs)
        return a_runs;
    if (a->created_unix_ms != b->created_unix_ms)
        return a->created_unix_ms < b->created_unix_ms;
    char first[MODEL_ARN_MAX], second[MODEL_ARN_MAX];
    return strcmp(model_task_arn(a, first), model_task_arn(b, second)) < 0;
}

static struct found look(const struct run *run, const struct model_instance *inst)
{
    struct found found = {0};
    for (struct model_task *task = inst->daemons; task; task = task->next) {
        if (!model_task_is_live(task) || !is_ours(run, task))
            continue;
        if (!task->wanted) {
            found.stopping++;
            continue;
        }
        found.wanted++;
        if (is_current(run, task) && (!found.keep || is_better(task, found.keep)))
            found.keep = task;
    }
    return found;
}

/* Stops all of the environment's wanted tasks on the instance but one. */
static void stop_others(struct run *run, struct model_instance *inst, const struct model_task *keep,
                        enum plan_reason why)
{
    for (struct model_task *task = inst->daemons; task; task = task->next) {
        if (!model_task_is_live(task) || !task->wanted || !is_ours(run, task) || task == keep)
            continue;
        if (run->now_ms < task->stop_again_ms) {
            wake_at(run, task->stop_again_ms);
            continue;
        }
        enum plan_reason reason = why;
        if (why == PLAN_SUPERSEDED && is_current(run, task))
            reason = PLAN_DUPLICATE;
        act(run, (struct plan_action){ACTION_STOP, reason, inst, task});
    }
}

/* A task may come of something that was asked for. */
static bool is_under_way(const struct plan_pair *pair)
{
    return pair->phase != PAIR_IDLE || pair->doubts > 0;
}

static bool is_failure(uint8_t reason)
{
    return reason >= PLAN_DIED;
}

static uint64_t retry_ms(const struct plan_pair *pair)
{
    if (pair->retry_after_ms == PLAN_RETRY_NEVER)
        return UINT64_MAX;
    return pair->not_before_ms + (uint64_t)(int64_t)pair->retry_after_ms; /* may be earlier */
}

/* The instance should have a task of the deployment and has none that could stay in its way. */
static struct plan_verdict start(struct run *run, struct model_instance *inst,
                                 struct plan_pair *pair)
{
    struct plan_counts *counts = &run->out->counts;
    uint64_t now_ms = run->now_ms;
    if (is_under_way(pair)) {
        bool known = pair->phase == PAIR_ASKED || pair->phase == PAIR_ARRIVING;
        counts->pending++;
        return verdict(VERDICT_WAIT, known ? PLAN_ASKED : PLAN_SETTLING);
    }
    if (is_failure(pair->reason)) {
        bool permanent = pair->reason == PLAN_ATTRIBUTE || pair->reason == PLAN_LOCATION;
        bool changed = permanent ? pair->seen_attributes != (uint32_t)inst->attributes_hash
                                 : pair->seen_changes != (uint32_t)inst->changes;
        uint64_t due_ms = changed ? pair->not_before_ms : retry_ms(pair);
        if (now_ms < due_ms) {
            wake_at(run, due_ms);
            counts->failed++;
            return verdict(pair->retry_after_ms == 0 ? VERDICT_WAIT : VERDICT_BLOCKED,
                           (enum plan_reason)pair->reason);
        }
    }
    counts->pending++;
    act(run, (struct plan_action){ACTION_START, PLAN_ABSENT, inst, NULL});
    return verdict(VERDICT_START, PLAN_ABSENT);
}

static struct plan_verdict cover(struct run *run, struct model_instance *inst,
                                 const struct found *found, struct plan_pair *pair)
{
    struct plan_counts *counts = &run->out->counts;
    counts->desired++;
    stop_others(run, inst, found->keep, PLAN_SUPERSEDED);
    if (found->keep) {
        bool runs = found->keep->status == TASK_RUNNING;
        counts->running += runs;
        counts->pending += !runs;
        return verdict(VERDICT_KEEP, runs ? PLAN_RUNNING : PLAN_PENDING);
    }
    if (found->wanted || found->stopping) {
        counts->waiting++;
        return found->wanted ? verdict(VERDICT_REPLACE, PLAN_SUPERSEDED)
                             : verdict(VERDICT_REPLACE, PLAN_STOPPING);
    }
    return start(run, inst, pair);
}

static struct plan_verdict clear_out(struct run *run, struct model_instance *inst,
                                     const struct found *found, enum plan_reason why)
{
    if (found->wanted == 0)
        return verdict(found->stopping ? VERDICT_STOP : VERDICT_NONE, why);
    stop_others(run, inst, NULL, why);
    return verdict(VERDICT_STOP, why);
}

static struct plan_verdict drain(struct run *run, struct model_instance *inst,
                                 const struct found *found)
{
    uint64_t end_ms = inst->draining_since_ms + run->env->drain_wait_ms;
    if (found->wanted && run->now_ms < end_ms && inst->others) {
        wake_at(run, end_ms);
        return verdict(VERDICT_WAIT, PLAN_DRAIN_WAIT);
    }
    return clear_out(run, inst, found, PLAN_DRAINING);
}

static struct plan_verdict disconnected(struct run *run, const struct model_instance *inst,
                                        const struct found *found)
{
    uint64_t end_ms = inst->disconnected_since_ms + run->env->disconnect_grace_ms;
    if (!plan_matches(run->env, inst) && !found->keep)
        return verdict(VERDICT_NONE, PLAN_NOT_MATCHING);
    if (run->now_ms >= end_ms)
        return verdict(VERDICT_WAIT, PLAN_UNREACHABLE);
    wake_at(run, end_ms);
    struct plan_counts *counts = &run->out->counts;
    bool runs = found->keep && found->keep->status == TASK_RUNNING;
    counts->desired++;
    counts->running += runs;
    counts->waiting += !runs;
    return verdict(VERDICT_WAIT, PLAN_DISCONNECTED);
}

static struct plan_verdict delete_from(struct run *run, struct model_instance *inst,
                                       const struct found *found)
{
    if (inst->status == MODEL_INACTIVE)
        return verdict(VERDICT_NONE, PLAN_GONE);
    run->out->counts.live += (uint32_t)found->wanted;
    if (inst->connected)
        run->out->counts.live += (uint32_t)found->stopping;
    return clear_out(run, inst, found, PLAN_DELETING);
}

/* An accepted start whose task is seen is over; one never seen is settled by the shell. One of
 * which the answer was lost may still bring a task, so it stays UNKNOWN whatever is seen. */
static void await_arrival(struct run *run, const struct found *found, struct plan_pair *pair)
{
    if (pair->phase != PAIR_ARRIVING)
        return;
    if (found->wanted || found->stopping)
        pair->phase = PAIR_IDLE;
    else if (run->now_ms >= pair->since_ms + PLAN_ARRIVAL_MS)
        pair->phase = PAIR_UNKNOWN;
    else
        wake_at(run, pair->since_ms + PLAN_ARRIVAL_MS);
}

static struct plan_verdict decide(struct run *run, struct model_instance *inst,
                                  struct plan_pair *pair)
{
    struct found found = look(run, inst);
    await_arrival(run, &found, pair);
    if (run->env->deleting) {
        run->out->counts.live += is_under_way(pair);
        return delete_from(run, inst, &found);
    }
    if (!run->env->deployment)
        return verdict(VERDICT_NONE, PLAN_NO_DEPLOYMENT);
    switch (inst->status) {
    case MODEL_UNSEEN:
        return verdict(found.wanted ? VERDICT_WAIT : VERDICT_NONE, PLAN_UNSEEN);
    case MODEL_REGISTERING:
        return verdict(VERDICT_WAIT, PLAN_REGISTERING);
    case MODEL_INACTIVE:
        return verdict(VERDICT_NONE, PLAN_GONE);
    case MODEL_DRAINING:
        return inst->connected ? drain(run, inst, &found) : verdict(VERDICT_WAIT, PLAN_UNREACHABLE);
    case MODEL_ACTIVE:
        break;
    }
    if (!inst->connected)
        return disconnected(run, inst, &found);
    if (!plan_matches(run->env, inst))
        return clear_out(run, inst, &found, PLAN_NOT_MATCHING);
    return cover(run, inst, &found, pair);
}

/* Another instance in the slot, or another deployment: what was known no longer counts. A start
 * under way for the former deployment is still waited for. */
static void tidy(const struct run *run, const struct model_instance *inst, struct plan_pair *pair)
{
    if (pair->generation != inst->generation) {
        *pair =
            (struct plan_pair){.generation = inst->generation, .deployment = run->deployment_hash};
    } else if (pair->deployment != run->deployment_hash && !is_under_way(pair)) {
        *pair =
            (struct plan_pair){.generation = inst->generation, .deployment = run->deployment_hash};
    }
}

void plan_run(const struct plan_environment *env, const struct model *model,
              struct plan_pair *pairs, uint64_t now_ms, struct plan_output *out)
{
    ENSURE(env->group != NULL);
    ENSURE(env->cluster != NULL);
    struct run run = {.env = env, .now_ms = now_ms, .out = out};
    run.group = model_find_name(model, env->group);
    run.cluster = model_find_name(model, env->cluster);
    if (env->deployment) {
        run.deployment = model_find_name(model, env->deployment);
        run.deployment_hash = plan_deployment_hash(env->deployment);
    }
    out->action_count = 0;
    out->truncated = false;
    out->counts = (struct plan_counts){0};
    out->deadline_ms = UINT64_MAX;
    for (size_t i = 0; i < model->slot_count; i++) {
        struct model_instance *inst = model->instances[i];
        struct plan_verdict result = {VERDICT_NONE, PLAN_NONE};
        if (inst && run.cluster && inst->cluster == run.cluster) {
            tidy(&run, inst, &pairs[i]);
            result = decide(&run, inst, &pairs[i]);
        }
        if (out->verdicts)
            out->verdicts[i] = result;
    }
}
