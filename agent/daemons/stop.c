/* SPDX-License-Identifier: Apache-2.0
 * StopTask, one task a call. Asking twice does no harm, so nothing is written down before. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/daemons/daemons_int.h"

struct stop_op {
    struct op op;
    char env[ENVIRONMENT_NAME_MAX + 1];
    char cluster[ARN_MAX];
    char arn[ARN_MAX];
};

/* The stop did not take: it is asked again in a while, not after the full wait for an event. */
static void again_in(struct daemons *d, const struct stop_op *stop, uint64_t ms)
{
    struct model_task *task = model_find_task(&d->model, stop->arn);
    struct denv *env = map_get(&d->envs, stop->env);
    if (!task)
        return;
    task->stop_again_ms = daemons_now(d) + ms;
    if (env)
        env->dirty = true;
}

static void on_answer(void *arg, const struct aws_result *result)
{
    struct stop_op *stop = arg;
    stop->op.call = NULL;
    struct daemons *d = op_resume(&stop->op);
    if (!d)
        return;
    d->stops--;
    if (result->err == 0 && json_obj(result->body, "task")) {
        start_take_task(d, json_obj(result->body, "task"));
    } else if (result->err == ERR_BADPARAM || result->err == ERR_NOTFOUND) {
        /* "The referenced task was not found": it is gone, which a look at it will show. */
        intake_refresh_task(d->options.intake, stop->cluster, stop->arn);
    } else if (result->err) {
        LOG(LOG_WARN, "daemon_stop_failed", result->message, LS("task", stop->arn),
            LS("code", result->code), LS("error", err_text(result->err)));
        again_in(d, stop, 1000 + prng_below(&d->prng, 2000));
    }
    op_free(&stop->op);
    act_unhold(d);
}

static enum aws_priority priority_of(enum plan_reason why)
{
    if (why == PLAN_DUPLICATE)
        return AWS_REPAIR;
    return why == PLAN_DRAINING ? AWS_DRAIN : AWS_ROLLOUT;
}

void stop_task(struct daemons *d, struct denv *env, struct model_task *task, enum plan_reason why)
{
    char reason[160], arn[MODEL_ARN_MAX];
    struct stop_op *stop = calloc(1, sizeof *stop);
    if (!stop || strlen(model_task_arn(task, arn)) >= sizeof stop->arn ||
        !raft_uv_may_act(d->options.raft)) {
        free(stop);
        env->dirty = true; /* the lease is looked at again at the next step */
        return;
    }
    memcpy(stop->env, env->name, sizeof stop->env);
    memcpy(stop->cluster, env->cluster, sizeof stop->cluster);
    memcpy(stop->arn, arn, strlen(arn) + 1);
    snprintf(reason, sizeof reason, "blox: %s (environment %s)", plan_reason_str(why), env->name);
    struct aws_call_options options = {.priority = priority_of(why)};
    json_t *params =
        json_pack("{s:s,s:s,s:s}", "cluster", env->cluster, "task", arn, "reason", reason);
    op_init(&stop->op, d, OP_STOP);
    stop->op.call =
        params ? aws_call(d->options.aws, AWS_ECS, "StopTask", params, &options, on_answer, stop)
               : NULL;
    task->stop_again_ms = daemons_now(d) + PLAN_STOP_RETRY_MS;
    if (!stop->op.call) {
        again_in(d, stop, 1000);
        op_free(&stop->op);
        return;
    }
    stop->op.pending = true;
    d->stops++;
    d->counters.stops++;
    d->counters.duplicates += why == PLAN_DUPLICATE;
    LOG(LOG_INFO, "daemon_stop", plan_reason_str(why), LS("environment", env->name),
        LS("task", arn), LS("instance", task->instance->arn));
}
