/* SPDX-License-Identifier: Apache-2.0
 * What became of starts whose outcome is not known: lost answers, a former leader's attempts.
 * ListTasks by startedBy shows it; ECS's lists lag, so "not there" counts only after a window.
 * Tasks the store does not have are fetched through intake first. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/row.h"
#include "agent/daemons/daemons_int.h"

static bool is_stored(struct daemons *d, const char *arn)
{
    struct store_txn *txn;
    struct store_row row;
    if (store_read_begin(d->options.store, &txn) != 0)
        return false;
    int rv = store_get_ref(txn, RECORD_TASK, arn, strlen(arn), &row);
    store_read_end(txn);
    return rv == 0;
}

/* Has every task of a list answer fetched that is not known here. True if all are. What only a peer
 * told of is in the store, and not in the plan. */
static bool all_known(struct daemons *d, const char *cluster, const json_t *body)
{
    size_t i;
    const json_t *item;
    bool known = true;
    json_array_foreach(json_arr(body, "taskArns"), i, item)
    {
        const char *arn = json_string_value(item);
        if (!arn || (is_stored(d, arn) && !daemons_in_doubt(d, arn)))
            continue;
        known = false;
        intake_refresh_task(d->options.intake, cluster, arn);
    }
    return known;
}

/* startedBy must be the only filter (ECS API reference, ListTasks), so these are the tasks that are
 * meant to run. One that was started and has stopped since is no reason not to start another. */
static struct aws_call *list_tasks(struct daemons *d, const char *cluster, const char *deployment,
                                   aws_done_fn done, void *arg)
{
    struct aws_call_options options = {.priority = AWS_REPAIR};
    json_t *params = json_pack("{s:s,s:s}", "cluster", cluster, "startedBy", deployment);
    return params ? aws_list(d->options.aws, AWS_ECS, "ListTasks", "taskArns", params, &options,
                             done, arg)
                  : NULL;
}

/* ---- one batch ---------------------------------------------------------------------- */

static struct plan_pair *doubted_pair(struct daemons *d, const struct start_batch *batch,
                                      const struct start_item *item)
{
    struct denv *env = start_env(d, batch);
    struct model_instance *inst = start_instance(d, item);
    if (!item->doubted || !env || !inst || item->slot >= env->pair_cap)
        return NULL;
    struct plan_pair *pair = envs_pair(env, inst);
    return pair->generation == item->generation ? pair : NULL;
}

/* Is a task here that must be of this attempt? */
static bool is_found(struct daemons *d, const struct start_batch *batch,
                     const struct start_item *item)
{
    const struct model_instance *inst = start_instance(d, item);
    for (const struct model_task *t = inst ? inst->daemons : NULL; t; t = t->next) {
        if (!t->kind->started_by || strcmp(t->kind->started_by->text, batch->deployment) != 0)
            continue;
        if (model_task_is_live(t) || t->created_unix_ms >= batch->asked_unix_ms ||
            (!batch->adopted && t->first_seen_ms >= batch->since_ms))
            return true;
    }
    return false;
}

static void end_item(struct daemons *d, struct start_batch *batch, struct start_item *item)
{
    struct plan_pair *pair = doubted_pair(d, batch, item);
    if (pair)
        plan_pair_settled(pair);
    item->settled = true;
    start_forget_attempt(d, batch, item);
}

static void judge(struct daemons *d, struct start_batch *batch)
{
    bool old_enough = batch->listed_from_ms >= batch->since_ms + d->settle_window_ms;
    bool all = true;
    for (size_t i = 0; i < batch->count; i++) {
        struct start_item *item = &batch->items[i];
        if (item->settled)
            continue;
        if (is_found(d, batch, item)) {
            d->counters.adopted++;
            LOG(LOG_INFO, "daemon_adopted", "a start of unknown outcome had taken effect",
                LS("environment", batch->env), LS("instance", item->arn));
            end_item(d, batch, item);
        } else if (batch->complete && old_enough) {
            LOG(LOG_INFO, "daemon_not_started", "a start of unknown outcome had no effect",
                LS("environment", batch->env), LS("instance", item->arn));
            end_item(d, batch, item);
        } else {
            all = false;
        }
    }
    struct denv *env = start_env(d, batch);
    if (env)
        env->dirty = true;
    if (all) {
        start_finish(d, batch);
        return;
    }
    uint64_t wait_ms = d->settle_first_ms << (batch->rounds < 3 ? batch->rounds : 3);
    uint64_t over_ms = batch->since_ms + d->settle_window_ms;
    batch->rounds++;
    batch->next_ms = daemons_now(d) + wait_ms;
    if (batch->next_ms > over_ms && daemons_now(d) < over_ms)
        batch->next_ms = over_ms; /* the first list that says it for good is not waited for */
    daemons_wake(d);
}

static void retry_list(struct daemons *d, struct start_batch *batch)
{
    batch->listing = false;
    batch->complete = false;
    judge(d, batch);
}

static void on_list(void *arg, const struct aws_result *result)
{
    struct start_batch *batch = arg;
    batch->op.call = NULL;
    struct daemons *d = op_resume(&batch->op);
    if (!d)
        return;
    if (result->err) {
        retry_list(d, batch);
        return;
    }
    batch->listing = false;
    batch->complete = all_known(d, batch->cluster, result->body);
    judge(d, batch);
}

static void list_batch(struct daemons *d, struct start_batch *batch)
{
    batch->listed_from_ms = daemons_now(d);
    batch->listing = true;
    batch->op.call = list_tasks(d, batch->cluster, batch->deployment, on_list, batch);
    batch->op.pending = batch->op.call != NULL;
    if (!batch->op.call)
        retry_list(d, batch);
}

void settle_batch(struct daemons *d, struct start_batch *batch)
{
    struct denv *env = start_env(d, batch);
    if (batch->op.kind == OP_START)
        d->starts--;
    batch->op.kind = OP_SETTLE;
    batch->unsettled = true;
    d->unsettled++;
    batch->next_ms = daemons_now(d) + (batch->adopted ? 0 : d->settle_first_ms);
    for (size_t i = 0; i < batch->count; i++) {
        struct start_item *item = &batch->items[i];
        struct model_instance *inst = start_instance(d, item);
        if (item->settled)
            continue;
        d->counters.unknown++;
        if (!env || !inst || !envs_room(d, env))
            continue;
        struct plan_pair *pair = envs_pair(env, inst);
        plan_pair_doubt(pair, inst);
        item->doubted = true;
        if (!batch->adopted)
            plan_pair_unknown(pair, daemons_now(d));
        pair->tended = pair->phase == PAIR_UNKNOWN;
    }
    LOG(LOG_WARN, "daemon_start_unknown",
        "the outcome of a start is not known; it is being settled", LS("environment", batch->env),
        LS("deployment", batch->deployment), LU("instances", batch->count));
    act_unhold(d);
}

static struct start_batch *settle_new(struct daemons *d, const char *env, const char *deployment,
                                      const char *cluster, int64_t asked_unix_ms, uint64_t since_ms)
{
    struct start_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    strncat(batch->env, env, sizeof batch->env - 1);
    strncat(batch->deployment, deployment, sizeof batch->deployment - 1);
    strncat(batch->cluster, cluster, sizeof batch->cluster - 1);
    batch->asked_unix_ms = asked_unix_ms;
    batch->since_ms = since_ms;
    batch->adopted = true;
    op_init(&batch->op, d, OP_SETTLE);
    return batch;
}

static void settle_add(struct start_batch *batch, const struct model_instance *inst)
{
    struct start_item *item = &batch->items[batch->count++];
    strncat(item->arn, inst->arn, sizeof item->arn - 1);
    item->slot = inst->slot;
    item->generation = inst->generation;
}

void settle_tend(struct daemons *d, struct denv *env)
{
    struct start_batch *batch = NULL;
    for (size_t i = 0; i < d->model.slot_count; i++) {
        struct plan_pair *pair = &env->pairs[i];
        const struct model_instance *inst = d->model.instances[i];
        if (!inst || pair->phase != PAIR_UNKNOWN || pair->tended)
            continue;
        if (!batch)
            batch =
                settle_new(d, env->name, env->deployment, env->cluster, INT64_MAX, daemons_now(d));
        if (!batch)
            return;
        settle_add(batch, inst);
        if (batch->count < ECS_START_BATCH)
            continue;
        settle_batch(d, batch);
        batch = NULL;
    }
    if (batch)
        settle_batch(d, batch);
}

/* ---- attempts of former leaders --------------------------------------------------------- */

struct adoption {
    struct daemons *d;
    struct start_batch *open; /* being filled */
};

static void drop_attempt(struct daemons *d, const char *deployment, const char *instance_arn)
{
    struct start_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return;
    strncat(batch->deployment, deployment, sizeof batch->deployment - 1);
    strncat(batch->items[0].arn, instance_arn, sizeof batch->items[0].arn - 1);
    start_forget_attempt(d, batch, &batch->items[0]);
    free(batch);
}

static bool is_settling(const struct daemons *d, const char *deployment, const char *instance_arn)
{
    for (const struct list *n = d->ops.next; n != &d->ops; n = n->next) {
        const struct op *op = LIST_OF(n, struct op, node);
        const struct start_batch *batch = (const struct start_batch *)(const void *)op;
        if ((op->kind != OP_SETTLE && op->kind != OP_FORGET) ||
            strcmp(batch->deployment, deployment) != 0)
            continue;
        for (size_t i = 0; i < batch->count; i++) {
            if (strcmp(batch->items[i].arn, instance_arn) == 0)
                return true;
        }
    }
    return false;
}

static int adopt_row(void *arg, const struct store_row *stored)
{
    struct adoption *adoption = arg;
    struct daemons *d = adoption->d;
    struct row row;
    if (stored->record.version.hi >= d->term || /* our own, under way */
        row_decode(stored->record.value, stored->record.value_len, &row) != 0)
        return 0;
    json_t *json = json_parse_lenient(row.json.data, row.json.len, NULL);
    const char *env = json_str_or(json, "environment", "");
    const char *deployment = json_str_or(json, "deployment", "");
    if (is_settling(d, deployment, json_str_or(json, "containerInstanceArn", ""))) {
        json_decref(json);
        return 0;
    }
    const char *cluster = json_str_or(json, "clusterArn", "");
    if (intake_keeps(d->options.intake, cluster) && !intake_knows(d->options.intake, cluster)) {
        json_decref(json); /* its instances may not be here yet */
        return 0;
    }
    const struct model_instance *inst =
        model_find_instance(&d->model, json_str_or(json, "containerInstanceArn", ""));
    if (!inst || !map_has(&d->envs, env)) { /* nothing left that it could disturb */
        drop_attempt(d, deployment, json_str_or(json, "containerInstanceArn", ""));
        json_decref(json);
        return 0;
    }
    struct start_batch *batch = adoption->open;
    bool fits = batch && batch->count < ECS_START_BATCH &&
                strcmp(batch->deployment, deployment) == 0 && strcmp(batch->env, env) == 0;
    if (!fits) {
        if (batch)
            settle_batch(d, batch);
        /* A former leader asked for nothing since this one leads. */
        batch =
            settle_new(d, env, deployment, cluster, json_int_or(json, "askedAt", 0), d->lead_ms);
        adoption->open = batch;
    }
    if (batch) {
        int64_t asked = json_int_or(json, "askedAt", 0);
        if (asked < batch->asked_unix_ms)
            batch->asked_unix_ms = asked;
        settle_add(batch, inst);
    }
    json_decref(json);
    return 0;
}

void settle_adopt(struct daemons *d)
{
    struct adoption adoption = {.d = d};
    struct store_txn *txn;
    struct store_query query = {.kind = RECORD_ATTEMPT};
    if (store_read_begin(d->options.store, &txn) != 0)
        return;
    int rv = store_scan(txn, &query, adopt_row, &adoption);
    store_read_end(txn);
    if (adoption.open)
        settle_batch(d, adoption.open);
    if (rv)
        LOG(LOG_WARN, "attempt", "cannot read former attempts", LS("error", err_text(rv)));
}

/* ---- a deployment as a whole, once per leadership ------------------------------------------ */

/* Before anything of it is started: a former leader may have started tasks since the reconcile had
 * its list. Where nothing is to be started, as mostly, the reconcile's list is enough.
 *
 * Before its environment is removed, after which nobody stops what shows up, each deployment that
 * is known of it is listed, once ECS must show all that a former leader started. */

#define SURVEY_PAUSE_MS 500u
#define SURVEYS_MAX 20 /* then a listed task that nobody can describe is given up */

struct survey {
    struct op op;
    char env[ENVIRONMENT_NAME_MAX + 1];
    char deployment[64];
    bool leaving; /* for its environment is to be removed */
};

/* The deployment that is to be listed next before the environment goes; NULL: all are. */
static const char *to_sweep(const struct daemons *d, const struct denv *env)
{
    size_t at = env->swept;
    const json_t *next = intent_next_deployment(d->options.intent, env->name, &at);
    return next ? json_str_or(next, "id", "") : NULL;
}

static void on_survey(void *arg, const struct aws_result *result)
{
    struct survey *survey = arg;
    survey->op.call = NULL;
    struct daemons *d = op_resume(&survey->op);
    if (!d)
        return;
    struct denv *env = map_get(&d->envs, survey->env);
    bool listed = result->err == 0;
    bool empty = strcmp(result->code, "ClusterNotFoundException") == 0; /* nothing runs there */
    bool known = empty || (listed && env && all_known(d, env->cluster, result->body));
    if (env) {
        env->settling = false;
        env->settles += listed;
        known = known || env->settles > SURVEYS_MAX;
        env->settle_at_ms = daemons_now(d) + (listed ? 1u : 4u) * SURVEY_PAUSE_MS;
        env->dirty = true;
        if (!listed && !empty)
            LOG(LOG_WARN, "daemons_settle", result->message, LS("environment", env->name),
                LS("error", err_text(result->err)));
    }
    if (env && survey->leaving) {
        const char *next = to_sweep(d, env); /* another, if they changed meanwhile */
        if (known && next && strcmp(next, survey->deployment) == 0) {
            env->swept++;
            env->settles = 0;
            env->settle_at_ms = 0;
        }
    } else if (env && strcmp(env->deployment, survey->deployment) == 0) {
        env->settled = known;
    }
    op_free(&survey->op);
    daemons_wake(d);
}

static void survey(struct daemons *d, struct denv *env, const char *deployment, bool leaving)
{
    struct survey *s = calloc(1, sizeof *s);
    env->settle_at_ms = daemons_now(d) + SURVEY_PAUSE_MS;
    if (!s)
        return;
    memcpy(s->env, env->name, sizeof s->env);
    strncat(s->deployment, deployment, sizeof s->deployment - 1);
    s->leaving = leaving;
    op_init(&s->op, d, OP_SURVEY);
    s->op.call = list_tasks(d, env->cluster, deployment, on_survey, s);
    s->op.pending = s->op.call != NULL;
    env->settling = s->op.pending;
    if (!s->op.call)
        op_free(&s->op);
}

static void survey_env(struct daemons *d, struct denv *env)
{
    if (!env->settled) {
        survey(d, env, env->deployment, false);
        return;
    }
    const char *next = to_sweep(d, env);
    if (next) {
        survey(d, env, next, true);
        return;
    }
    env->leaves = LEAVES_NOTHING;
    env->dirty = true;
    daemons_wake(d);
}

bool settle_known(struct daemons *d, struct denv *env)
{
    if (!env->settled && !env->starts_wait) {
        env->starts_wait = true;
        daemons_wake(d);
    }
    return env->settled;
}

bool settle_gone(struct daemons *d, struct denv *env)
{
    if (!settle_known(d, env))
        return false;
    if (env->leaves == LEAVES_PERHAPS) {
        env->leaves = LEAVES_LISTED;
        env->swept = 0;
        env->settles = 0;
        env->settle_at_ms = d->lead_ms + d->settle_window_ms;
        daemons_wake(d);
    }
    return env->leaves == LEAVES_NOTHING;
}

void settle_step(struct daemons *d, uint64_t *deadline_ms)
{
    uint64_t now_ms = daemons_now(d);
    for (struct list *n = d->env_list.next; n != &d->env_list; n = n->next) {
        struct denv *env = LIST_OF(n, struct denv, node);
        bool listed = env->settled ? env->leaves == LEAVES_LISTED : env->starts_wait;
        if (!listed || env->settling)
            continue;
        if (now_ms >= env->settle_at_ms)
            survey_env(d, env);
        if (!env->settling && env->settle_at_ms < *deadline_ms)
            *deadline_ms = env->settle_at_ms;
    }
    for (struct list *n = d->ops.next; n != &d->ops;) {
        struct op *op = LIST_OF(n, struct op, node);
        struct start_batch *batch = (struct start_batch *)(void *)op;
        n = n->next;
        bool forget = op->kind == OP_FORGET && !op->pending;
        if (!forget && (op->kind != OP_SETTLE || batch->listing))
            continue;
        if (now_ms >= batch->next_ms && forget)
            start_forget_again(d, batch);
        else if (now_ms >= batch->next_ms)
            list_batch(d, batch);
        else if (batch->next_ms < *deadline_ms)
            *deadline_ms = batch->next_ms;
    }
}
