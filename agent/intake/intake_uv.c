/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

struct metric intake_events_rows =
    METRIC_COUNTER_INIT("blox_events_total", "outcome=\"row\"", "ECS events taken in, by outcome");
struct metric intake_events_duplicate =
    METRIC_COUNTER_INIT("blox_events_total", "outcome=\"duplicate\"", "");
struct metric intake_events_ignored =
    METRIC_COUNTER_INIT("blox_events_total", "outcome=\"ignored\"", "");
struct metric intake_events_foreign =
    METRIC_COUNTER_INIT("blox_events_total", "outcome=\"foreign\"", "");
struct metric intake_events_poison =
    METRIC_COUNTER_INIT("blox_events_total", "outcome=\"poison\"", "");
struct metric intake_events_hints =
    METRIC_COUNTER_INIT("blox_events_total", "outcome=\"hint\"", "");
struct metric intake_event_lag =
    METRIC_HISTOGRAM_INIT("blox_event_lag_seconds", NULL,
                          "from a change in ECS (updatedAt) to its event's arrival at the leader");
struct metric intake_drift_missing =
    METRIC_COUNTER_INIT("blox_reconcile_drift_total", "kind=\"missing\"",
                        "rows that ECS, when asked, showed otherwise than they were here");
struct metric intake_drift_stale =
    METRIC_COUNTER_INIT("blox_reconcile_drift_total", "kind=\"stale\"", "");
struct metric intake_drift_gone =
    METRIC_COUNTER_INIT("blox_reconcile_drift_total", "kind=\"gone\"", "");

static void on_handle_closed(uv_handle_t *handle)
{
    struct intake *in = handle->data;
    in->handles_open--;
    in->calls_open++; /* balanced by the next line */
    intake_call_ended(in);
}

void intake_handle(struct intake *in, uv_timer_t *timer)
{
    uv_timer_init(in->options.loop, timer);
    timer->data = in;
    in->handles_open++;
}

static void maybe_done(struct intake *in)
{
    if (!in->stopping || in->calls_open > 0 || in->handles_open > 0)
        return;
    void (*done)(void *) = in->done;
    void *arg = in->done_arg;
    map_fini(&in->refresh.waiting);
    const char *key;
    void *value;
    for (size_t at = 0; map_next(&in->local.seen, &at, &key, &value);)
        free(value);
    map_fini(&in->local.seen);
    round_stop(in);
    poll_forget_lags(in);
    free(in);
    if (done != NULL)
        done(arg);
}

void intake_call_ended(struct intake *in)
{
    in->calls_open--;
    maybe_done(in);
}

struct events_options intake_events_options(const struct intake *in)
{
    return (struct events_options){
        .clusters = in->all_clusters ? NULL : in->clusters,
        .home = in->home,
        .keep_override_values = in->options.keep_override_values,
        .group_of = intake_group_of,
        .arg = (struct intake *)(uintptr_t)in,
    };
}

struct owner {
    struct store_txn *txn;
    const char *deployment;
    char *group;
};

static int on_environment(void *arg, const struct store_row *env)
{
    const struct owner *o = arg;
    struct store_row row;
    char key[RECORD_KEY_MAX];
    const int len = env->record.key_len;
    int n = snprintf(key, sizeof key, "%.*s/%s", len, env->record.key, o->deployment);
    if (n >= (int)sizeof key || len > ENVIRONMENT_NAME_MAX ||
        store_get_ref(o->txn, RECORD_DEPLOYMENT, key, (size_t)n, &row) != 0)
        return 0;
    snprintf(o->group, EVENTS_GROUP_MAX, "daemon:%.*s", len, env->record.key);
    return 1;
}

bool intake_group_of(void *arg, const char *deployment, char *out)
{
    const struct intake *in = arg;
    struct owner o = {.deployment = deployment, .group = out};
    out[0] = '\0';
    if (deployment[0] == '\0' || store_read_begin(in->options.store, &o.txn) != 0)
        return false;
    int err =
        store_scan(o.txn, &(struct store_query){.kind = RECORD_ENVIRONMENT}, on_environment, &o);
    store_read_end(o.txn);
    return err == 0 && out[0] != '\0';
}

bool intake_is_over(const struct record *rec)
{
    struct row fields;
    return !rec->deleted && row_decode(rec->value, rec->value_len, &fields) == 0 &&
           row_field_is(&fields, ROW_STATUS, rec->kind == RECORD_TASK ? "STOPPED" : "INACTIVE");
}

int intake_stored(struct intake *in, uint8_t kind, const char *key, struct stored *ret)
{
    struct store_txn *txn = NULL;
    struct store_row row;
    int err = store_read_begin(in->options.store, &txn);
    if (err != 0)
        return err;
    err = store_get_ref(txn, kind, key, strlen(key), &row);
    if (err == 0) {
        *ret = (struct stored){row.record, row.stored_unix_ms, intake_is_over(&row.record)};
        ret->header.key = NULL; /* the snapshot ends here */
        ret->header.value = NULL;
    }
    store_read_end(txn);
    return err;
}

/* Appends a name or ARN; "own" stands for the own cluster. */
static void add_cluster(struct intake *in, const char *name)
{
    size_t len = strlen(in->clusters);
    if (strcmp(name, "own") == 0)
        name = in->cluster;
    if (strcmp(name, "all") == 0)
        in->all_clusters = true;
    else
        snprintf(in->clusters + len, sizeof in->clusters - len, "%s%s", len == 0 ? "" : ",", name);
}

static void choose_clusters(struct intake *in)
{
    char text[1024]; /* a configured value is not longer */
    char *save = NULL;
    snprintf(in->cluster, sizeof in->cluster, "%s", in->options.cluster);
    if (in->options.instance_arn != NULL)
        intake_set_home(in, in->options.instance_arn);
    intake_set_home(in, in->cluster);
    snprintf(text, sizeof text, "%s", in->options.clusters == NULL ? "own" : in->options.clusters);
    for (char *p = strtok_r(text, ", \t", &save); p != NULL; p = strtok_r(NULL, ", \t", &save))
        add_cluster(in, p);
    if (in->clusters[0] == '\0')
        add_cluster(in, "own");
}

int intake_create(struct intake **ret, const struct intake_options *options, struct errmsg *e)
{
    struct metric *const metrics[] = {&intake_events_rows,    &intake_events_duplicate,
                                      &intake_events_ignored, &intake_events_foreign,
                                      &intake_events_poison,  &intake_events_hints,
                                      &intake_event_lag,      &intake_drift_missing,
                                      &intake_drift_stale,    &intake_drift_gone};
    struct intake *in = calloc(1, sizeof *in);
    if (in == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++)
        metrics_register(metrics[i]);
    in->options = *options;
    prng_seed(&in->prng, options->seed);
    choose_clusters(in);
    poll_init(in);
    reconcile_init(in);
    refresh_init(in);
    local_init(in);
    *ret = in;
    return 0;
}

void intake_lead(struct intake *in, bool leading, uint64_t term)
{
    in->term = term;
    in->generation++;
    bool before = in->leading;
    in->leading = leading;
    if (before) {
        poll_stop(in);
        reconcile_stop(in);
        refresh_stop(in);
    }
    if (leading) {
        in->reconcile_failures = 0; /* of a leadership before: all wait for the first one of this */
        poll_start(in);
        intake_reconcile(in);
    }
}

static void close_timer(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, on_handle_closed);
}

void intake_destroy(struct intake *in, void (*done)(void *arg), void *arg)
{
    intake_lead(in, false, in->term);
    local_stop(in);
    in->stopping = true;
    in->done = done;
    in->done_arg = arg;
    for (unsigned i = 0; i < POLLERS_MAX; i++)
        close_timer(&in->pollers[i].timer);
    close_timer(&in->queue_timer);
    close_timer(&in->reconcile_timer);
    close_timer(&in->refresh.timer);
    close_timer(&in->local.timer);
}

const char *intake_trouble(const struct intake *in)
{
    if (in->options.queue == NULL)
        return "no queue of ECS events: set intake.queue; state is kept by reconcile only";
    if (!in->leading)
        return "";
    if (in->queue_trouble[0] != '\0')
        return in->queue_trouble;
    return in->reconcile_trouble[0] != '\0' ? in->reconcile_trouble : in->describe_trouble;
}

static json_t *lag_status(const struct intake *in)
{
    json_t *clusters = json_object();
    const char *arn;
    void *value;
    for (size_t at = 0; map_next(&in->lags, &at, &arn, &value);) {
        const struct cluster_lag *lag = value;
        json_t *one = json_object();
        json_set_int(one, "events", lag->events);
        json_set_int(one, "lag_ms", lag->lag_ms);
        json_set_int(one, "lag_max_ms", lag->lag_max_ms);
        json_object_set_new(clusters, arn, one);
    }
    return clusters;
}

json_t *intake_status(const struct intake *in)
{
    unsigned in_flight = 0;
    for (unsigned i = 0; i < POLLERS_MAX; i++)
        in_flight += in->pollers[i].busy;
    json_t *queue = json_object();
    json_set_str(queue, "url", in->queue_url[0] == '\0' ? in->options.queue : in->queue_url);
    json_set_int(queue, "in_flight", in_flight);
    json_set_int(queue, "received", in->received);
    json_set_int(queue, "deleted", in->deleted);
    json_set_int(queue, "rows", in->applied);
    json_set_int(queue, "duplicates", in->duplicates);
    json_set_int(queue, "ignored", in->ignored);
    json_set_int(queue, "foreign", in->foreign);
    json_set_int(queue, "poison", in->poison);
    json_set_int(queue, "hints", in->hints);
    json_set_int(queue, "lag_ms", in->lag_ms);
    json_t *reconcile = json_object();
    json_set_bool(reconcile, "running", in->reconcile != NULL);
    json_set_int(reconcile, "last_ok_unix_ms", in->reconcile_ok_unix_ms);
    json_set_int(reconcile, "drift", in->missing + in->stale + in->gone);
    json_set_int(reconcile, "described", in->described);
    json_set_int(reconcile, "missing", in->missing);
    json_set_int(reconcile, "stale", in->stale);
    json_set_int(reconcile, "gone", in->gone);
    json_set_int(reconcile, "waiting", (int64_t)in->refresh.waiting.count);
    json_set_int(reconcile, "refreshing", in->refresh.in_flight);
    json_t *j = json_object();
    json_set_bool(j, "leading", in->leading);
    json_object_set_new(j, "queue", queue);
    json_object_set_new(j, "reconcile", reconcile);
    json_object_set_new(j, "clusters", lag_status(in));
    json_t *local = json_object();
    json_set_int(local, "lag_ms", in->local.lag_ms);
    json_set_int(local, "told", in->local.told);
    json_set_int(local, "refreshed", in->local.refreshed);
    json_object_set_new(j, "local", local);
    json_object_set_new(j, "notes", notes_list(&in->notes));
    return j;
}
