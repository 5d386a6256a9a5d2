/* SPDX-License-Identifier: Apache-2.0
 * Events are hints: before acting on an instance whose row is not fresh it is described again, a
 * hundred in a call. Fresh rows cost nothing; should the answer not come in time, ECS itself has
 * the last word (StartTask refuses what is gone). */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/daemons/daemons_int.h"
#include "agent/intake/events.h"

struct confirm {
    struct op op;
    char cluster[ARN_MAX];
};

static bool is_same_state(const struct model_instance *inst, const json_t *shown)
{
    const char *status = json_str_or(shown, "status", "");
    return (strcmp(status, "ACTIVE") == 0) == (inst->status == MODEL_ACTIVE) &&
           (strcmp(status, "DRAINING") == 0) == (inst->status == MODEL_DRAINING) &&
           json_is_true(json_object_get(shown, "agentConnected")) == inst->connected;
}

static void take_instance(struct daemons *d, const struct confirm *confirm, const json_t *instance)
{
    static const struct events_options options = {0};
    const char *arn = json_str(instance, "containerInstanceArn");
    struct model_instance *inst = arn ? model_find_instance(&d->model, arn) : NULL;
    if (!inst)
        return;
    uint64_t version =
        world_version((struct record_version){(uint64_t)json_int_or(instance, "version", 0), 0});
    if (version < inst->version >> 16 << 16 && !is_same_state(inst, instance)) {
        /* An event was faster than what ECS shows, or the row was made up. The look that follows
         * finds out; until it has, the row is none to act on. */
        inst->confirm_asked_ms = daemons_now(d) + DAEMONS_AHEAD_MS;
        intake_refresh_instance(d->options.intake, confirm->cluster, arn);
        return;
    }
    if (version <= inst->version) { /* as it was */
        inst->seen_ms = daemons_now(d);
        inst->confirm_asked_ms = 0;
        return;
    }
    struct events_row row;
    events_row_init(&row);
    events_from_instance(instance, confirm->cluster, &options, &row);
    if (row.outcome == EVENTS_ROW) {
        row.record.source = SOURCE_RECONCILE;
        row.record.observed_unix_ms = clock_unix_ms();
        row.record.term = d->term;
        if (rows_apply(d->options.rows, &row.record, 1, NULL, NULL) != 0)
            intake_refresh_instance(d->options.intake, confirm->cluster, arn);
    }
    events_row_fini(&row);
}

static void on_described(void *arg, const struct aws_result *result)
{
    struct confirm *confirm = arg;
    confirm->op.call = NULL;
    struct daemons *d = op_resume(&confirm->op);
    if (!d)
        return;
    size_t i;
    const json_t *item;
    json_array_foreach(json_arr(result->body, "containerInstances"), i, item)
        take_instance(d, confirm, item);
    json_array_foreach(json_arr(result->body, "failures"), i, item)
    {
        const char *missing = json_str(item, "arn");
        if (missing)
            intake_refresh_instance(d->options.intake, confirm->cluster, missing);
    }
    if (result->err)
        LOG(LOG_WARN, "daemons_confirm", result->message, LS("error", err_text(result->err)));
    op_free(&confirm->op);
    world_dirty_all(d);
}

static void describe(struct daemons *d, const char *cluster, json_t *arns)
{
    struct confirm *confirm = calloc(1, sizeof *confirm);
    if (!confirm) {
        json_decref(arns);
        return;
    }
    memcpy(confirm->cluster, cluster, strlen(cluster) + 1);
    op_init(&confirm->op, d, OP_CONFIRM);
    struct aws_call_options options = {.timeout_ms = 3000, .priority = AWS_ROLLOUT};
    json_t *params = json_pack("{s:s,s:o}", "cluster", cluster, "containerInstances", arns);
    confirm->op.call = params ? aws_call(d->options.aws, AWS_ECS, "DescribeContainerInstances",
                                         params, &options, on_described, confirm)
                              : NULL;
    confirm->op.pending = confirm->op.call != NULL;
    if (!confirm->op.call)
        op_free(&confirm->op);
}

bool confirm_instance(struct daemons *d, struct denv *env, struct model_instance *inst)
{
    uint64_t now_ms = daemons_now(d);
    /* 0: only gossip told of it; the clock, too, is below a minute just after boot. */
    if (inst->seen_ms != 0 && now_ms - inst->seen_ms <= DAEMONS_FRESH_MS)
        return true;
    if (!inst->confirm_asked_ms) {
        inst->confirm_asked_ms = now_ms;
        if (!d->confirming)
            d->confirming = json_array();
        json_array_append_new(d->confirming, json_string(inst->arn));
        if (json_array_size(d->confirming) == ECS_DESCRIBE_BATCH)
            confirm_flush(d, env);
    }
    uint64_t end_ms = inst->confirm_asked_ms + DAEMONS_CONFIRM_WAIT_MS;
    if (now_ms >= end_ms)
        return true;
    if (end_ms < env->deadline_ms)
        env->deadline_ms = end_ms;
    return false;
}

void confirm_flush(struct daemons *d, const struct denv *env)
{
    if (d->confirming)
        describe(d, env->cluster, d->confirming);
    d->confirming = NULL;
}
