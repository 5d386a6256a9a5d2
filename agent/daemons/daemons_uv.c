/* SPDX-License-Identifier: Apache-2.0
 * The leader's daemon scheduler: one timer, one step. A step loads, settles, plans what changed
 * and reports; changes only mark what they concern and arm the timer. */
#include "agent/daemons/daemons_uv.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/daemons/daemons_int.h"

#define DEBOUNCE_MS 2 /* rows of one batch come one after the other */
#define LEASE_RETRY_MS 50

uint64_t daemons_now(const struct daemons *d)
{
    return uv_now(d->options.loop) + 1; /* never 0, which means "never" */
}

void op_init(struct op *op, struct daemons *d, enum op_kind kind)
{
    op->d = d;
    op->kind = kind;
    op->call = NULL;
    op->pending = false;
    list_push(&d->ops, &op->node);
}

struct daemons *op_resume(struct op *op)
{
    op->pending = false;
    if (!op->d)
        free(op);
    else
        return op->d;
    return NULL;
}

void op_free(struct op *op)
{
    list_remove(&op->node);
    free(op);
}

/* Ops of this leadership (all, when closing) are cut off. A proposed command stays: raft will
 * still say what became of it. */
static void orphan_ops(struct daemons *d)
{
    command_lost(d);
    for (struct list *n = d->ops.next; n != &d->ops;) {
        struct op *op = LIST_OF(n, struct op, node);
        n = n->next;
        if (op->kind == OP_COMMAND && !d->closing)
            continue;
        list_remove(&op->node);
        op->d = NULL;
        if (op->call)
            aws_cancel(op->call);
        if (!op->pending)
            free(op);
    }
    d->starts = d->stops = d->unsettled = 0;
}

static void step(uv_timer_t *timer);

void daemons_wake(struct daemons *d)
{
    if (!d->leading || d->closing)
        return;
    uint64_t due =
        uv_is_active((uv_handle_t *)&d->timer) ? uv_timer_get_due_in(&d->timer) : UINT64_MAX;
    if (due > DEBOUNCE_MS)
        uv_timer_start(&d->timer, step, DEBOUNCE_MS, 0);
}

/* At the end of a step; what asked for the next one meanwhile (daemons_wake) is not put off. Never
 * at once: libuv before 1.45 runs a timer that its own callback starts with 0 before it looks at
 * the clock or at anything else, so that a step which waits for either would be the last thing it
 * does. */
static void wake_at(struct daemons *d, uint64_t deadline_ms)
{
    uint64_t now_ms = daemons_now(d);
    uint64_t wait_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 1;
    bool woken = uv_is_active((uv_handle_t *)&d->timer);
    if (deadline_ms != UINT64_MAX && (!woken || wait_ms < uv_timer_get_due_in(&d->timer)))
        uv_timer_start(&d->timer, step, wait_ms, 0);
}

static struct denv *next_to_plan(struct daemons *d, uint64_t now_ms)
{
    struct denv *best = NULL;
    for (struct list *n = d->env_list.next; n != &d->env_list; n = n->next) {
        struct denv *env = LIST_OF(n, struct denv, node);
        if (now_ms >= env->deadline_ms)
            env->dirty = true;
        bool due = env->known && env->dirty && env->planned_ms < now_ms;
        if (due && (!best || env->planned_ms < best->planned_ms))
            best = env;
    }
    return best;
}

/* Plans what changed, for a slice of time; then the loop belongs to the others for four times as
 * long. Each environment at most once a millisecond. */
static void plan_envs(struct daemons *d)
{
    uint64_t now_ms = daemons_now(d);
    uint64_t began_ns = clock_mono_ns();
    uint64_t spent_us = 0;
    struct denv *env;
    if (now_ms < d->next_plan_ms)
        return;
    while (spent_us < DAEMONS_PLAN_SLICE_US && (env = next_to_plan(d, now_ms)) != NULL) {
        act_plan(d, env);
        spent_us = (clock_mono_ns() - began_ns) / 1000;
    }
    d->next_plan_ms = now_ms + 4 * spent_us / 1000;
}

/* Reports what was planned, and finds out when to look again. */
static void wake_for_envs(struct daemons *d, bool may_act, uint64_t *deadline_ms)
{
    uint64_t now_ms = daemons_now(d);
    for (struct list *n = d->env_list.next; n != &d->env_list; n = n->next) {
        struct denv *env = LIST_OF(n, struct denv, node);
        uint64_t at_ms = env->deadline_ms;
        if (!env->known)
            continue;
        if (env->dirty || at_ms <= now_ms) /* it had no turn, or there is no lease */
            at_ms = may_act ? d->next_plan_ms : now_ms + LEASE_RETRY_MS;
        if (at_ms <= now_ms)
            at_ms = now_ms + DEBOUNCE_MS;
        if (at_ms < *deadline_ms)
            *deadline_ms = at_ms;
        if (may_act)
            progress_step(d, env, deadline_ms);
    }
}

static void step(uv_timer_t *timer)
{
    struct daemons *d = timer->data;
    if (!d->leading)
        return;
    uint64_t deadline_ms = UINT64_MAX;
    if (!d->loaded) {
        world_load_slice(d);
        if (d->loaded) {
            world_dirty_all(d);
            world_mark_seen(d, NULL); /* some may have become known before */
            d->adopt = true;
        }
        uv_timer_start(&d->timer, step, d->loaded ? 0 : 1, 0);
        return;
    }
    if (d->adopt)
        settle_adopt(d);
    d->adopt = false;
    settle_step(d, &deadline_ms);
    bool may_act = raft_uv_may_act(d->options.raft);
    if (may_act)
        plan_envs(d);
    wake_for_envs(d, may_act, &deadline_ms);
    doubt_step(d, &deadline_ms);
    wake_at(d, deadline_ms);
}

int daemons_create(struct daemons **ret, const struct daemons_options *options, struct errmsg *e)
{
    struct daemons *d = calloc(1, sizeof *d);
    if (!d)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    d->options = *options;
    const char *cluster = options->cluster && *options->cluster ? options->cluster : "default";
    if (strlen(cluster) >= sizeof d->cluster) {
        free(d);
        return errmsg_set(e, ERR_CONFIG, "the cluster's name is longer than %d characters",
                          CLUSTER_NAME_MAX);
    }
    memcpy(d->cluster, cluster, strlen(cluster) + 1);
    if (world_attach(d) != 0) {
        free(d);
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    }
    uv_timer_init(options->loop, &d->timer); /* cannot fail */
    d->timer.data = d;
    prng_seed(&d->prng, options->seed);
    d->settle_first_ms = DAEMONS_SETTLE_FIRST_MS;
    d->settle_window_ms = DAEMONS_SETTLE_WINDOW_MS;
    map_init(&d->envs);
    map_init(&d->doubted);
    list_init(&d->env_list);
    list_init(&d->ops);
    model_init(&d->model, DAEMONS_INSTANCES_MAX, DAEMONS_TASKS_MAX, world_resize, NULL);
    *ret = d;
    return 0;
}

static void closed(uv_handle_t *handle)
{
    struct daemons *d = handle->data;
    void (*done)(void *arg) = d->destroyed;
    void *arg = d->destroyed_arg;
    for (size_t i = 0; i < DAEMONS_RESULTS; i++)
        json_decref(d->results[i].body);
    map_fini(&d->envs);
    map_fini(&d->doubted);
    free(d);
    if (done)
        done(arg);
}

void daemons_destroy(struct daemons *d, void (*done)(void *arg), void *arg)
{
    d->destroyed = done;
    d->destroyed_arg = arg;
    d->closing = true;
    d->leading = false;
    orphan_ops(d);
    world_detach(d);
    envs_clear(d);
    model_fini(&d->model);
    uv_close((uv_handle_t *)&d->timer, closed);
}

void daemons_lead(struct daemons *d, bool leading, uint64_t term)
{
    if (d->closing || (leading == d->leading && (!leading || term == d->term)))
        return;
    d->leading = false;
    orphan_ops(d);
    envs_clear(d);
    model_clear(&d->model);
    map_fini(&d->doubted);
    uv_timer_stop(&d->timer);
    if (!leading) {
        LOG(LOG_INFO, "daemons_stopped", "no longer leading: nothing is started or stopped here",
            LU("term", d->term));
        return;
    }
    d->leading = true;
    d->lead_ms = daemons_now(d);
    d->term = term;
    d->attempts = 0;
    d->not_before_ms = 0;
    d->outages = 0;
    d->next_plan_ms = 0;
    d->next_doubt_ms = 0;
    world_load_start(d);
    envs_load(d);
    LOG(LOG_INFO, "daemons_leading", "scheduling begins once the cluster's state is known",
        LU("term", term));
    daemons_wake(d);
}

void daemons_known(struct daemons *d, const char *cluster)
{
    if (!d->leading)
        return;
    envs_look_known(d);
    if (d->loaded) { /* else when loaded */
        if (cluster)
            world_mark_seen(d, cluster);
        d->adopt = true;
    }
    world_dirty_all(d);
}

/* The environment of a row of intent: of its own, or of one of its deployments. */
static bool name_of(const struct store_log_intent *row, char ret[ENVIRONMENT_NAME_MAX + 1])
{
    const char *slash = memchr(row->key, '/', row->key_len);
    size_t len = slash == NULL ? row->key_len : (size_t)(slash - (const char *)row->key);
    bool is_one = row->kind == RECORD_ENVIRONMENT || row->kind == RECORD_DEPLOYMENT;
    if (!is_one || len > ENVIRONMENT_NAME_MAX)
        return false;
    memcpy(ret, row->key, len);
    ret[len] = '\0';
    return true;
}

void daemons_intent_changed(struct daemons *d, const struct store_log_intent *rows, size_t count)
{
    char name[ENVIRONMENT_NAME_MAX + 1], last[ENVIRONMENT_NAME_MAX + 1] = "";
    for (size_t i = 0; d->leading && i < count; i++) {
        if (!name_of(&rows[i], name) || strcmp(name, last) == 0)
            continue;
        envs_changed(d, name);
        memcpy(last, name, sizeof last);
    }
}

/* Why nothing is done there, or what ECS said. */
static const char *trouble_of(const struct daemons *d, const struct denv *env)
{
    if (d->leading && !intake_keeps(d->options.intake, env->cluster))
        return "intake.clusters does not name its cluster";
    if (d->leading && !env->known)
        return "its cluster has not been compared with ECS yet";
    return env->error;
}

json_t *daemons_status(const struct daemons *d)
{
    json_t *list = json_array();
    bool settled = true;
    bool known = list_is_empty(&d->env_list);
    for (struct list *n = d->env_list.next; n != &d->env_list; n = n->next) {
        const struct denv *env = LIST_OF(n, struct denv, node);
        const struct plan_counts *c = &env->counts;
        bool waits = env->starts_wait && !env->settled;
        settled = settled && !waits;
        known = known || env->known;
        json_array_append_new(
            list, json_pack("{s:s,s:s,s:b,s:b,s:b,s:I,s:I,s:I,s:I,s:I,s:s}", "name", env->name,
                            "deployment", env->deployment, "deleting", env->plan.deleting, "known",
                            env->known, "settled", !waits, "desired", (json_int_t)c->desired,
                            "running", (json_int_t)c->running, "pending", (json_int_t)c->pending,
                            "waiting", (json_int_t)c->waiting, "failed", (json_int_t)c->failed,
                            "error", trouble_of(d, env)));
    }
    const char *state = !d->leading  ? "not leading"
                        : !d->loaded ? "loading"
                        : !known     ? "waiting for the first reconcile"
                        : !settled   ? "settling"
                                     : "scheduling";
    return json_pack(
        "{s:s,s:o,s:{s:i,s:i,s:i},s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}}", "state", state,
        "environments", list, "actions", "starting", (int)d->starts, "stopping", (int)d->stops,
        "unsettled", (int)d->unsettled, "totals", "started", (json_int_t)d->counters.starts,
        "startCalls", (json_int_t)d->counters.start_calls, "stopped", (json_int_t)d->counters.stops,
        "failures", (json_int_t)d->counters.failures, "unknown", (json_int_t)d->counters.unknown,
        "adopted", (json_int_t)d->counters.adopted, "duplicates",
        (json_int_t)d->counters.duplicates, "died", (json_int_t)d->counters.died);
}
