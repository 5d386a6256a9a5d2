/* SPDX-License-Identifier: Apache-2.0
 * What the deployment has come to, told to the intent: status, counts, failed instances. A
 * deployment is "running" once there was a plan for it and "completed" when it has at least one
 * matching instance and its task runs on all of them (instances whose agent is away do not hold
 * it up). Completed it stays; with no matching instance it stays running. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"
#include "agent/daemons/daemons_int.h"

struct proposal {
    struct op op;
    char env[ENVIRONMENT_NAME_MAX + 1];
};

static void on_proposed(void *arg, int err, uint64_t index, uint64_t term)
{
    (void)index;
    (void)term;
    struct proposal *proposal = arg;
    struct daemons *d = op_resume(&proposal->op);
    if (!d)
        return;
    struct denv *env = map_get(&d->envs, proposal->env);
    if (env) {
        env->proposing = false;
        if (err)
            env->proposed_hash = 0; /* told again */
    }
    op_free(&proposal->op);
    daemons_wake(d);
}

/* Steals command. */
static void propose(struct daemons *d, struct denv *env, json_t *command)
{
    struct buf text;
    buf_init(&text, RAFT_COMMAND_MAX);
    struct proposal *proposal = calloc(1, sizeof *proposal);
    int rv = proposal && command ? json_write(command, &text) : ERR_NOMEM;
    json_decref(command);
    env->proposed_ms = daemons_now(d);
    if (rv == 0) {
        memcpy(proposal->env, env->name, sizeof proposal->env);
        op_init(&proposal->op, d, OP_PROPOSE);
        rv = raft_uv_propose(d->options.raft, text.data, text.len, on_proposed, proposal);
        proposal->op.pending = rv == 0;
        env->proposing = rv == 0;
        if (rv)
            op_free(&proposal->op);
    } else {
        free(proposal);
    }
    buf_fini(&text);
    if (rv) {
        env->proposed_hash = 0;
        LOG(LOG_WARN, "deployment_status", "the state of a deployment cannot be recorded",
            LS("environment", env->name), LS("error", err_text(rv)));
    }
}

/* Blox lists failed instances with ECS's own reason; without one our sentence stands in. */
static json_t *failed_instances(const struct daemons *d, const struct denv *env)
{
    json_t *list = json_array();
    for (size_t i = 0; i < d->model.slot_count && i < env->pair_cap; i++) {
        const struct model_instance *inst = d->model.instances[i];
        const struct plan_verdict *v = &env->verdicts[i];
        if (!inst || v->reason < PLAN_DIED)
            continue;
        const char *reason = env->failures && env->failures[i]
                                 ? env->failures[i]
                                 : plan_reason_str((enum plan_reason)v->reason);
        if (v->reason == PLAN_FAILED && env->error[0])
            reason = env->error;
        json_array_append_new(list, json_pack("{s:s,s:s}", "arn", inst->arn, "reason", reason));
        if (json_array_size(list) == DAEMONS_FAILED_LISTED)
            break;
    }
    return list;
}

static const char *status_of(const struct denv *env, const char *before)
{
    const struct plan_counts *c = &env->counts;
    if (strcmp(before, "completed") == 0)
        return before;
    if (c->desired > 0 && c->running == c->desired && c->failed == 0)
        return "completed";
    return "running";
}

static void tell_status(struct daemons *d, struct denv *env, const json_t *deployment)
{
    const struct plan_counts *c = &env->counts;
    const char *status = status_of(env, json_str_or(deployment, "status", "pending"));
    json_t *failed = failed_instances(d, env);
    struct buf text;
    buf_init(&text, RAFT_COMMAND_MAX);
    json_write(failed, &text);
    uint64_t hash = hash_bytes(text.data, text.len, hash_str(status));
    const uint32_t counts[] = {c->desired, c->running, c->pending + c->waiting, c->failed};
    hash = hash_bytes(counts, sizeof counts, hash);
    buf_fini(&text);
    if (hash == env->proposed_hash) {
        json_decref(failed);
        return;
    }
    env->proposed_hash = hash;
    propose(d, env,
            json_pack("{s:s,s:s,s:s,s:s,s:I,s:o,s:{s:I,s:I,s:I,s:I}}", "op", "deployment.status",
                      "environment", env->name, "id", env->deployment, "status", status, "now",
                      (json_int_t)clock_unix_ms(), "failedInstances", failed, "counts", "desired",
                      (json_int_t)counts[0], "running", (json_int_t)counts[1], "pending",
                      (json_int_t)counts[2], "failed", (json_int_t)counts[3]));
}

void progress_step(struct daemons *d, struct denv *env, uint64_t *deadline_ms)
{
    if (!env->planned || env->proposing)
        return;
    uint64_t due_ms = env->proposed_ms + DAEMONS_PROPOSE_MS;
    bool early = env->proposed_ms && daemons_now(d) < due_ms;
    if (early) {
        if (due_ms < *deadline_ms)
            *deadline_ms = due_ms;
        return;
    }
    if (env->plan.deleting) {
        /* A former leader may have started what was not heard of here. */
        if (env->counts.live > 0 || env->dirty || !settle_gone(d, env))
            return;
        propose(d, env,
                json_pack("{s:s,s:s,s:I}", "op", "environment.remove", "name", env->name, "now",
                          (json_int_t)clock_unix_ms()));
        return;
    }
    const json_t *deployment =
        env->deployment[0] ? intent_deployment(d->options.intent, env->name, env->deployment)
                           : NULL;
    if (deployment)
        tell_status(d, env, deployment);
}
