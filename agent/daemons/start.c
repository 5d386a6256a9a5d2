/* SPDX-License-Identifier: Apache-2.0
 * StartTask. It takes no client token, so the attempt is written down (and on its way to the
 * peers) before the call; a live attempt row is one whose outcome nobody knows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/row.h"
#include "agent/daemons/daemons_int.h"
#include "agent/intake/events.h"

struct denv *start_env(struct daemons *d, const struct start_batch *batch)
{
    return map_get(&d->envs, batch->env);
}

struct model_instance *start_instance(struct daemons *d, const struct start_item *item)
{
    if (item->slot >= d->model.slot_count)
        return NULL;
    struct model_instance *inst = d->model.instances[item->slot];
    return inst && inst->generation == item->generation ? inst : NULL;
}

/* The pair of an item, NULL if the world moved on. */
static struct plan_pair *pair_of(struct daemons *d, struct denv *env, const struct start_item *item,
                                 struct model_instance **ret)
{
    *ret = start_instance(d, item);
    if (!env || !*ret || item->slot >= env->pair_cap)
        return NULL;
    struct plan_pair *pair = envs_pair(env, *ret);
    return pair->generation == item->generation ? pair : NULL;
}

static json_t *attempt_json(const struct daemons *d, const struct start_batch *batch,
                            const struct start_item *item)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I}", "environment", batch->env,
                     "deployment", batch->deployment, "containerInstanceArn", item->arn,
                     "clusterArn", batch->cluster, "taskDefinition", batch->definition, "reason",
                     plan_reason_str(item->why), "state", "asked", "attempt",
                     (json_int_t)item->attempt, "term", (json_int_t)d->term, "askedAt",
                     (json_int_t)batch->asked_unix_ms);
}

/* The record of one attempt; key and value are in memory of the caller. */
static int attempt_record(struct daemons *d, const struct start_batch *batch,
                          const struct start_item *item, bool deleted, struct buf *memory,
                          struct record *ret)
{
    char key[RECORD_KEY_MAX + 64];
    int key_len = snprintf(key, sizeof key, "%s/%s", batch->deployment, item->arn);
    if (key_len <= 0 || (size_t)key_len > RECORD_KEY_MAX)
        return ERR_TOOBIG;
    buf_init(memory, RECORD_VALUE_MAX);
    buf_put(memory, key, (size_t)key_len);
    if (!deleted) {
        struct buf text;
        buf_init(&text, RECORD_VALUE_MAX);
        json_t *json = attempt_json(d, batch, item);
        int rv = json ? json_write(json, &text) : ERR_NOMEM;
        struct row row = {0};
        row_set(&row, ROW_CLUSTER, batch->cluster);
        row_set(&row, ROW_STATUS, "asked");
        row_set(&row, ROW_INSTANCE, item->arn);
        row_set(&row, ROW_STARTED_BY, batch->deployment);
        row_set(&row, ROW_ENVIRONMENT, batch->env);
        row.json = (struct row_text){text.data, text.len};
        if (!rv)
            rv = row_encode(&row, memory);
        json_decref(json);
        buf_fini(&text);
        if (rv)
            return rv;
    }
    if (memory->err)
        return memory->err;
    *ret = (struct record){
        .kind = RECORD_ATTEMPT,
        .source = SOURCE_OPERATOR,
        .deleted = deleted,
        .key_len = (uint16_t)key_len,
        .value_len = (uint32_t)(memory->len - (size_t)key_len),
        .version = {d->term, ++d->attempts},
        .observed_unix_ms = clock_unix_ms(),
        .term = d->term,
        .key = memory->data,
        .value = (const uint8_t *)memory->data + key_len,
    };
    return 0;
}

static void forget_later(struct daemons *d, struct start_batch *forget, int err)
{
    forget->next_ms = daemons_now(d) + DAEMONS_FORGET_AGAIN_MS;
    daemons_wake(d);
    LOG(LOG_WARN, "attempt", "the end of an attempt is not stored", LS("error", err_text(err)));
}

static void on_forgotten(void *arg, int err, const struct record *records,
                         const struct store_change *changes, size_t count)
{
    struct start_batch *forget = arg;
    struct daemons *d = op_resume(&forget->op);
    (void)records;
    (void)changes;
    (void)count;
    if (d && err)
        forget_later(d, forget, err);
    else if (d)
        op_free(&forget->op);
}

void start_forget_again(struct daemons *d, struct start_batch *forget)
{
    struct buf memory = {0};
    struct record rec;
    int rv = attempt_record(d, forget, &forget->items[0], true, &memory, &rec);
    if (!rv)
        rv = rows_apply(d->options.rows, &rec, 1, on_forgotten, forget);
    buf_fini(&memory);
    forget->op.pending = rv == 0;
    if (rv)
        forget_later(d, forget, rv);
}

void start_forget_attempt(struct daemons *d, const struct start_batch *batch,
                          const struct start_item *item)
{
    struct start_batch *forget = calloc(1, sizeof *forget);
    if (!forget)
        return; /* the next leader looks at it once more and finds the task, or nothing */
    memcpy(forget->deployment, batch->deployment, sizeof forget->deployment);
    forget->items[0] = *item;
    forget->count = 1;
    op_init(&forget->op, d, OP_FORGET);
    start_forget_again(d, forget);
}

void start_finish(struct daemons *d, struct start_batch *batch)
{
    if (batch->unsettled)
        d->unsettled--;
    else
        d->starts--;
    op_free(&batch->op);
    act_unhold(d);
}

/* Nothing was sent: all may be tried again, after a pause if something is wrong. */
static void release_batch(struct daemons *d, struct start_batch *batch, uint64_t pause_ms,
                          bool stored)
{
    struct denv *env = start_env(d, batch);
    for (size_t i = 0; i < batch->count; i++) {
        struct model_instance *inst;
        struct plan_pair *pair = pair_of(d, env, &batch->items[i], &inst);
        if (pair)
            plan_pair_release(pair);
        if (stored)
            start_forget_attempt(d, batch, &batch->items[i]);
    }
    if (pause_ms && daemons_now(d) + pause_ms > d->not_before_ms)
        d->not_before_ms = daemons_now(d) + pause_ms;
    if (env)
        env->dirty = true;
    start_finish(d, batch);
}

void start_take_task(struct daemons *d, const json_t *task)
{
    const struct events_options options = {.group_of = intake_group_of, .arg = d->options.intake};
    struct events_row row;
    const char *arn = json_str(task, "taskArn");
    events_row_init(&row);
    events_from_task(task, &options, &row);
    int rv = ERR_MALFORMED;
    if (row.outcome == EVENTS_ROW) {
        row.record.source = SOURCE_RECONCILE;
        row.record.observed_unix_ms = clock_unix_ms();
        row.record.term = d->term;
        rv = rows_apply(d->options.rows, &row.record, 1, NULL, NULL);
    }
    if (rv && arn)
        intake_refresh_task(d->options.intake, json_str(task, "clusterArn"), arn);
    events_row_fini(&row);
}

static struct start_item *item_of(struct start_batch *batch, const char *arn)
{
    for (size_t i = 0; arn && i < batch->count; i++) {
        if (!batch->items[i].settled && strcmp(batch->items[i].arn, arn) == 0)
            return &batch->items[i];
    }
    return NULL;
}

static void take_started(struct daemons *d, struct start_batch *batch, const json_t *task)
{
    struct denv *env = start_env(d, batch);
    struct start_item *item = item_of(batch, json_str(task, "containerInstanceArn"));
    if (item) {
        struct model_instance *inst;
        struct plan_pair *pair = pair_of(d, env, item, &inst);
        const char *arn = json_str(task, "taskArn");
        item->settled = true;
        d->counters.starts++;
        if (pair && arn && model_find_task(&d->model, arn))
            plan_pair_release(pair); /* its event was faster than the answer */
        else if (pair)
            plan_pair_accepted(pair, daemons_now(d));
        if (env)
            envs_note_failure(env, item->slot, "");
        LOG(LOG_INFO, "daemon_started", "a daemon task was started", LS("environment", batch->env),
            LS("instance", item->arn), LS("task", arn), LS("deployment", batch->deployment));
        start_forget_attempt(d, batch, item);
    }
    start_take_task(d, task);
}

static void fail_item(struct daemons *d, struct start_batch *batch, struct start_item *item,
                      enum plan_reason reason, const char *text)
{
    struct denv *env = start_env(d, batch);
    struct model_instance *inst;
    struct plan_pair *pair = pair_of(d, env, item, &inst);
    item->settled = true;
    d->counters.failures++;
    if (pair) {
        plan_pair_failed(pair, inst, reason, daemons_now(d), &d->prng);
        envs_note_failure(env, item->slot, text);
    }
    if (reason == PLAN_MISSING || reason == PLAN_INACTIVE || reason == PLAN_AGENT)
        intake_refresh_instance(d->options.intake, batch->cluster, item->arn);
    LOG(LOG_WARN, "daemon_start_failed", plan_reason_str(reason), LS("environment", batch->env),
        LS("instance", item->arn), LS("reason", text));
    start_forget_attempt(d, batch, item);
}

static void take_answer(struct daemons *d, struct start_batch *batch, const json_t *body)
{
    size_t i;
    const json_t *item;
    struct denv *env = start_env(d, batch);
    d->outages = 0;
    if (env)
        env->error[0] = '\0';
    json_array_foreach(json_arr(body, "tasks"), i, item) take_started(d, batch, item);
    json_array_foreach(json_arr(body, "failures"), i, item)
    {
        struct start_item *failed = item_of(batch, json_str(item, "arn"));
        const char *text = json_str_or(item, "reason", "");
        if (failed)
            fail_item(d, batch, failed, plan_reason_of_failure(text), text);
    }
    bool all = true;
    for (size_t k = 0; k < batch->count; k++)
        all = all && batch->items[k].settled;
    if (all)
        start_finish(d, batch);
    else
        settle_batch(d, batch); /* neither started nor failed: not known */
}

#define OUTAGE_FIRST_MS 1000u
#define OUTAGES_MAX 5u /* 32 s between attempts */

/* Errors that are about AWS and not about what was asked: the instances are not to blame, so all
 * starts pause together and go on together. */
static bool is_outage(int err)
{
    return err == ERR_THROTTLED || err == ERR_CANCELED || err == ERR_BUSY || err == ERR_AUTH ||
           err == ERR_UNREACHABLE || err == ERR_UPSTREAM || err == ERR_TIMEOUT;
}

/* How long, or 0: what failed while all are paused was under way before, with what the pause is
 * for. Many environments start at once; a wave of theirs that fails is no longer outage than one
 * call. */
static uint64_t outage_pause_ms(struct daemons *d)
{
    if (daemons_now(d) < d->not_before_ms)
        return 0;
    return OUTAGE_FIRST_MS << (d->outages < OUTAGES_MAX ? d->outages++ : OUTAGES_MAX);
}

/* ECS refused the call as a whole. */
static void take_refusal(struct daemons *d, struct start_batch *batch, const struct aws_result *r)
{
    struct denv *env = start_env(d, batch);
    if (batch->tagged && !d->no_tags &&
        (strstr(r->message, "TagResource") || strstr(r->message, "ARN format"))) {
        d->no_tags = true;
        LOG(LOG_WARN, "daemon_tags", "tasks are started without tags: tagging is refused",
            LS("message", r->message));
        release_batch(d, batch, 0, true);
        return;
    }
    if (env && r->err != ERR_CANCELED)
        snprintf(env->error, sizeof env->error, "%s: %s", r->code[0] ? r->code : err_text(r->err),
                 r->message[0] ? r->message : aws_trouble(d->options.aws));
    LOG(LOG_WARN, "daemon_start_refused", r->message, LS("environment", batch->env),
        LS("code", r->code), LS("error", err_text(r->err)));
    if (is_outage(r->err)) {
        release_batch(d, batch, outage_pause_ms(d), true);
        return;
    }
    for (size_t i = 0; i < batch->count; i++)
        fail_item(d, batch, &batch->items[i], PLAN_FAILED, r->code[0] ? r->code : "FAILED");
    if (env)
        env->dirty = true;
    start_finish(d, batch);
}

static void on_answer(void *arg, const struct aws_result *result)
{
    struct start_batch *batch = arg;
    batch->op.call = NULL;
    struct daemons *d = op_resume(&batch->op);
    if (!d)
        return;
    struct denv *env = start_env(d, batch);
    if (env)
        env->dirty = true;
    if (result->err == 0 && (json_arr(result->body, "tasks") || json_arr(result->body, "failures")))
        take_answer(d, batch, result->body);
    else if (result->err == 0 || result->ambiguous)
        settle_batch(d, batch);
    else
        take_refusal(d, batch, result);
}

static void add_tag(json_t *tags, const char *key, const char *text)
{
    json_array_append_new(tags, json_pack("{s:s,s:s}", "key", key, "value", text));
}

static json_t *start_params(const struct daemons *d, const struct start_batch *batch)
{
    char number[24];
    json_t *instances = json_array();
    for (size_t i = 0; i < batch->count; i++)
        json_array_append_new(instances, json_string(batch->items[i].arn));
    json_t *params =
        json_pack("{s:s,s:s,s:s,s:s+,s:o}", "cluster", batch->cluster, "taskDefinition",
                  batch->definition, "startedBy", batch->deployment, "group", PLAN_GROUP_PREFIX,
                  batch->env, "containerInstances", instances);
    if (!params || d->no_tags)
        return params;
    json_t *tags = json_array();
    add_tag(tags, "blox:environment", batch->env);
    snprintf(number, sizeof number, "%lld", (long long)batch->revision);
    add_tag(tags, "blox:revision", number);
    snprintf(number, sizeof number, "%llu", (unsigned long long)d->term);
    add_tag(tags, "blox:term", number);
    snprintf(number, sizeof number, "%llu", (unsigned long long)batch->items[0].attempt);
    add_tag(tags, "blox:attempt", number);
    json_object_set_new(params, "tags", tags);
    return params;
}

/* Is the batch still what the environment wants? */
static bool is_wanted(const struct denv *env, const struct start_batch *batch)
{
    return env && !env->plan.deleting && strcmp(env->deployment, batch->deployment) == 0;
}

static void on_stored(void *arg, int err, const struct record *records,
                      const struct store_change *changes, size_t count)
{
    (void)records;
    (void)changes;
    (void)count;
    struct start_batch *batch = arg;
    struct daemons *d = op_resume(&batch->op);
    if (!d)
        return;
    if (err) {
        LOG(LOG_WARN, "attempt", "tasks are not started: the attempt cannot be stored",
            LS("error", err_text(err)));
        release_batch(d, batch, 1000, false);
        return;
    }
    if (!raft_uv_may_act(d->options.raft) || !is_wanted(start_env(d, batch), batch)) {
        release_batch(d, batch, 0, true);
        return;
    }
    struct aws_call_options options = {.once = true, .priority = batch->priority};
    batch->tagged = !d->no_tags;
    json_t *params = start_params(d, batch);
    batch->op.call =
        params ? aws_call(d->options.aws, AWS_ECS, "StartTask", params, &options, on_answer, batch)
               : NULL;
    if (!batch->op.call) {
        release_batch(d, batch, 1000, true);
        return;
    }
    batch->op.pending = true;
    d->counters.start_calls++;
}

void start_batch_run(struct daemons *d, struct denv *env, struct start_batch *batch)
{
    struct record records[ECS_START_BATCH];
    struct buf memory[ECS_START_BATCH] = {0};
    int rv = 0;
    op_init(&batch->op, d, OP_START);
    d->starts++;
    batch->asked_unix_ms = clock_unix_ms();
    batch->since_ms = daemons_now(d);
    for (size_t i = 0; i < batch->count; i++) {
        struct start_item *item = &batch->items[i];
        item->attempt = d->attempts + 1;
        if (!rv)
            rv = attempt_record(d, batch, item, false, &memory[i], &records[i]);
        struct model_instance *inst = start_instance(d, item);
        if (inst)
            plan_pair_asked(envs_pair(env, inst), inst, batch->deployment, batch->since_ms);
    }
    if (!rv)
        rv = rows_apply(d->options.rows, records, batch->count, on_stored, batch);
    for (size_t i = 0; i < batch->count; i++)
        buf_fini(&memory[i]);
    batch->op.pending = rv == 0;
    if (rv)
        release_batch(d, batch, 100, false);
}
