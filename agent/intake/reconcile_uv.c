/* SPDX-License-Identifier: Apache-2.0
 * Everything against ECS, at the start of each leadership and periodically: list what ECS has,
 * describe it, and look again at what only we have. Paced by the client's read budget at the
 * lowest priority; the API reads the store meanwhile.
 *
 * The clusters' names are resolved to ARNs first, because rows carry ARNs and Describe answers of
 * instances carry none. Per cluster: ListContainerInstances -> ListTasks RUNNING -> ListTasks
 * STOPPED -> Describe all in hundreds -> our live rows that were not listed go to refresh (MISSING:
 * tombstone). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

#define EVERY_MS 600000
#define RETRY_MS 2000
#define RETRY_MAX_MS 60000

enum step { LIST_CLUSTERS, RESOLVE, LIST_INSTANCES, LIST_RUNNING, LIST_STOPPED, DESCRIBE };

struct reconcile {
    struct intake *intake;
    uint64_t generation;
    enum step step;
    json_t *clusters; /* names or ARNs */
    size_t cluster_at;
    struct map seen; /* ARNs that ECS listed in this cluster */
    json_t *arns;    /* to describe: instances, then tasks */
    size_t arn_at;
    size_t instances; /* of arns, how many are instances */
    unsigned in_flight;
    int err;
    char why[200];
    struct aws_call *list_call;
    int64_t started_unix_ms;
    size_t listed, corrected;
    bool stopped; /* leadership went: free when the last answer came */
};

static void advance(struct reconcile *rc);

static void reconcile_free(struct reconcile *rc)
{
    map_fini(&rc->seen);
    json_decref(rc->clusters);
    json_decref(rc->arns);
    free(rc);
}

static const char *cluster_of(const struct reconcile *rc)
{
    return json_string_value(json_array_get(rc->clusters, rc->cluster_at));
}

static void on_timer(uv_timer_t *timer)
{
    intake_reconcile(timer->data);
}

static void finish(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    int err = rc->err;
    in->reconcile = NULL;
    uint64_t every = in->options.reconcile_ms == 0 ? EVERY_MS : in->options.reconcile_ms;
    if (err == 0) {
        in->reconcile_failures = 0;
        in->reconcile_ok_unix_ms = clock_unix_ms();
        in->ecs_trouble[0] = '\0';
        LOG(LOG_INFO, "reconciled", "", LU("listed", rc->listed), LU("corrected", rc->corrected),
            LI("ms", clock_unix_ms() - rc->started_unix_ms));
    } else {
        unsigned shift = in->reconcile_failures < 5 ? in->reconcile_failures : 5;
        uint64_t retry = RETRY_MS << shift;
        in->reconcile_failures++;
        every = retry < RETRY_MAX_MS ? retry : RETRY_MAX_MS;
        snprintf(in->ecs_trouble, sizeof in->ecs_trouble, "cannot compare with ECS: %s", rc->why);
        LOG(LOG_WARN, "reconcile_failed", rc->why, LU("retry_ms", every));
    }
    reconcile_free(rc);
    if (in->reconcile_again)
        every = 0;
    in->reconcile_again = false;
    uv_timer_start(&in->reconcile_timer, on_timer, every + prng_below(&in->prng, every / 16 + 1),
                   0);
    if (in->options.on_reconciled != NULL)
        in->options.on_reconciled(in->options.arg, err);
}

/* True if the answer belongs to this leadership and the run goes on. */
static bool usable(struct reconcile *rc, const struct aws_result *r, const char *what)
{
    if (rc->stopped)
        return false;
    if (r->err != 0 && rc->err == 0) {
        rc->err = r->err;
        snprintf(rc->why, sizeof rc->why, "%s: %s %s", what,
                 r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
    }
    return rc->err == 0;
}

/* After every answer: go on, end with the error, or let go of a stopped run. */
static void answered(struct reconcile *rc, bool go_on)
{
    struct intake *in = rc->intake;
    if (rc->stopped) {
        if (rc->in_flight == 0 && rc->list_call == NULL)
            reconcile_free(rc);
    } else if (go_on) {
        advance(rc);
    } else if (rc->in_flight == 0) {
        finish(rc);
    }
    intake_call_ended(in);
}

/* ---- which clusters ---------------------------------------------------------------------- */

/* The own cluster's ARN serves hints and refreshes from now on. */
static void learn_own_arn(struct intake *in, const char *arn)
{
    const char *name = strrchr(arn, '/');
    const char *own = strrchr(in->cluster, '/');
    if (name != NULL && strcmp(name + 1, own == NULL ? in->cluster : own + 1) == 0)
        snprintf(in->cluster, sizeof in->cluster, "%s", arn);
}

static void on_resolved(void *arg, const struct aws_result *r)
{
    struct reconcile *rc = arg;
    struct intake *in = rc->intake;
    rc->list_call = NULL;
    bool go_on = usable(rc, r, "DescribeClusters");
    const json_t *missing = go_on ? json_array_get(json_arr(r->body, "failures"), 0) : NULL;
    if (missing != NULL) {
        go_on = false;
        rc->err = ERR_NOTFOUND;
        snprintf(rc->why, sizeof rc->why, "there is no cluster %s (%s)",
                 json_str_or(missing, "arn", "?"), json_str_or(missing, "reason", "?"));
    }
    if (go_on) {
        size_t i;
        json_t *cluster;
        json_array_clear(rc->clusters);
        json_array_foreach(json_arr(r->body, "clusters"), i, cluster)
        {
            const char *arn = json_str_or(cluster, "clusterArn", "");
            json_array_append_new(rc->clusters, json_string(arn));
            learn_own_arn(in, arn);
        }
        rc->step = LIST_INSTANCES;
    }
    answered(rc, go_on);
}

static void resolve(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    struct aws_call_options options = {.priority = AWS_RESYNC};
    in->calls_open++;
    rc->list_call =
        aws_call(in->options.aws, AWS_ECS, "DescribeClusters",
                 json_pack("{s:O}", "clusters", rc->clusters), &options, on_resolved, rc);
    if (rc->list_call == NULL) {
        in->calls_open--;
        rc->err = ERR_NOMEM;
        finish(rc);
    }
}

/* ---- lists ----------------------------------------------------------------------------- */

static void take_arns(struct reconcile *rc, const json_t *list)
{
    size_t i;
    json_t *arn;
    json_array_foreach(list, i, arn)
    {
        const char *text = json_string_value(arn);
        if (text == NULL || map_has(&rc->seen, text) || map_put(&rc->seen, text, rc, NULL) != 0)
            continue;
        json_array_append(rc->arns, arn);
        rc->listed++;
    }
}

static void on_listed(void *arg, const struct aws_result *r)
{
    struct reconcile *rc = arg;
    rc->list_call = NULL;
    bool go_on = usable(rc, r, "list");
    if (go_on && rc->step == LIST_CLUSTERS) {
        json_decref(rc->clusters);
        rc->clusters = json_incref(json_arr(r->body, "clusterArns"));
        rc->step = LIST_INSTANCES;
    } else if (go_on && rc->step == LIST_INSTANCES) {
        take_arns(rc, json_arr(r->body, "containerInstanceArns"));
        rc->instances = json_array_size(rc->arns);
        rc->step = LIST_RUNNING;
    } else if (go_on) {
        take_arns(rc, json_arr(r->body, "taskArns"));
        rc->step = rc->step == LIST_RUNNING ? LIST_STOPPED : DESCRIBE;
    }
    answered(rc, go_on);
}

static void list(struct reconcile *rc, const char *operation, const char *key, json_t *params)
{
    struct intake *in = rc->intake;
    struct aws_call_options options = {.priority = AWS_RESYNC};
    in->calls_open++;
    rc->list_call =
        aws_list(in->options.aws, AWS_ECS, operation, key, params, &options, on_listed, rc);
    if (rc->list_call == NULL) {
        in->calls_open--;
        rc->err = ERR_NOMEM;
        finish(rc);
    }
}

/* ---- describe --------------------------------------------------------------------------- */

static void on_described(void *arg, const struct aws_result *r)
{
    struct reconcile *rc = arg;
    rc->in_flight--;
    bool go_on = usable(rc, r, "describe");
    if (go_on)
        rc->corrected += refresh_take(rc->intake, cluster_of(rc), r->body);
    answered(rc, go_on);
}

static void describe_some(struct reconcile *rc)
{
    struct intake *in = rc->intake;
    struct aws_call_options options = {.priority = AWS_RESYNC};
    bool tasks = rc->arn_at >= rc->instances;
    size_t end = tasks ? json_array_size(rc->arns) : rc->instances;
    json_t *arns = json_array();
    for (size_t n = 0; n < ECS_DESCRIBE_BATCH && rc->arn_at < end; n++)
        json_array_append(arns, json_array_get(rc->arns, rc->arn_at++));
    json_t *params = json_pack("{s:s, s:o}", "cluster", cluster_of(rc),
                               tasks ? "tasks" : "containerInstances", arns);
    in->calls_open++;
    rc->in_flight++;
    if (aws_call(in->options.aws, AWS_ECS, tasks ? "DescribeTasks" : "DescribeContainerInstances",
                 params, &options, on_described, rc) == NULL) {
        in->calls_open--;
        rc->in_flight--;
        rc->err = ERR_NOMEM;
    }
}

/* ---- what only we have -------------------------------------------------------------------- */

struct unseen {
    struct reconcile *rc;
    uint8_t kind;
};

static int check_row(void *arg, const struct store_row *row)
{
    struct unseen *u = arg;
    struct reconcile *rc = u->rc;
    struct row fields;
    char arn[RECORD_KEY_MAX + 1];
    const char *over = u->kind == RECORD_TASK ? "STOPPED" : "INACTIVE";
    if (row->record.observed_unix_ms >= rc->started_unix_ms ||
        row_decode(row->record.value, row->record.value_len, &fields) != 0 ||
        row_field_is(&fields, ROW_STATUS, over))
        return 0;
    memcpy(arn, row->record.key, row->record.key_len);
    arn[row->record.key_len] = '\0';
    if (!map_has(&rc->seen, arn))
        intake_refresh_task(rc->intake, cluster_of(rc), arn); /* takes instances too */
    return 0;
}

static void look_at_unseen(struct reconcile *rc)
{
    static const uint8_t kinds[] = {RECORD_INSTANCE, RECORD_TASK};
    struct store_txn *txn = NULL;
    if (store_read_begin(rc->intake->options.store, &txn) != 0)
        return;
    for (size_t i = 0; i < 2; i++) {
        struct unseen u = {rc, kinds[i]};
        struct store_query query = {
            .kind = kinds[i], .field = ROW_CLUSTER, .value = cluster_of(rc)};
        (void)!store_scan(txn, &query, check_row, &u);
    }
    store_read_end(txn);
}

/* ---- the run -------------------------------------------------------------------------------- */

static json_t *cluster_params(const struct reconcile *rc)
{
    return json_pack("{s:s}", "cluster", cluster_of(rc));
}

static void next_cluster(struct reconcile *rc)
{
    rc->cluster_at++;
    map_fini(&rc->seen);
    json_array_clear(rc->arns);
    rc->arn_at = 0;
    rc->instances = 0;
    rc->step = LIST_INSTANCES;
}

static void advance(struct reconcile *rc)
{
    json_t *params;
    if (rc->step == DESCRIBE) {
        while (rc->in_flight < DESCRIBES_MAX && rc->arn_at < json_array_size(rc->arns) &&
               rc->err == 0)
            describe_some(rc);
        if (rc->in_flight > 0)
            return;
        if (rc->err == 0) {
            look_at_unseen(rc);
            next_cluster(rc);
        }
    }
    if (rc->err != 0 || (rc->step > RESOLVE && rc->cluster_at >= json_array_size(rc->clusters))) {
        finish(rc);
        return;
    }
    switch (rc->step) {
    case LIST_CLUSTERS:
        list(rc, "ListClusters", "clusterArns", json_object());
        break;
    case RESOLVE:
        resolve(rc);
        break;
    case LIST_INSTANCES:
        list(rc, "ListContainerInstances", "containerInstanceArns", cluster_params(rc));
        break;
    case LIST_RUNNING:
    case LIST_STOPPED:
        params = cluster_params(rc);
        json_set_str(params, "desiredStatus", rc->step == LIST_RUNNING ? "RUNNING" : "STOPPED");
        list(rc, "ListTasks", "taskArns", params);
        break;
    case DESCRIBE: /* an empty cluster was just listed */
        advance(rc);
        break;
    }
}

static json_t *wanted_clusters(const struct intake *in)
{
    json_t *list = json_array();
    char text[sizeof in->clusters];
    char *save = NULL;
    snprintf(text, sizeof text, "%s", in->clusters);
    for (char *p = strtok_r(text, ", ", &save); p != NULL; p = strtok_r(NULL, ", ", &save))
        json_array_append_new(list, json_string(p));
    return list;
}

void intake_reconcile(struct intake *in)
{
    if (!in->leading || in->stopping)
        return;
    if (in->reconcile != NULL) {
        in->reconcile_again = true;
        return;
    }
    struct reconcile *rc = calloc(1, sizeof *rc);
    if (rc == NULL) {
        uv_timer_start(&in->reconcile_timer, on_timer, RETRY_MS, 0);
        return;
    }
    rc->intake = in;
    rc->generation = in->generation;
    rc->step = in->all_clusters ? LIST_CLUSTERS : RESOLVE;
    rc->clusters = wanted_clusters(in);
    rc->arns = json_array();
    rc->started_unix_ms = clock_unix_ms();
    map_init(&rc->seen);
    in->reconcile = rc;
    advance(rc);
}

void reconcile_init(struct intake *in)
{
    intake_handle(in, &in->reconcile_timer);
}

void reconcile_stop(struct intake *in)
{
    struct reconcile *rc = in->reconcile;
    uv_timer_stop(&in->reconcile_timer);
    in->reconcile = NULL;
    in->reconcile_again = false;
    if (rc == NULL)
        return;
    rc->stopped = true;
    if (rc->list_call != NULL)
        aws_cancel(rc->list_call);
}
