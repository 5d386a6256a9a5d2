/* SPDX-License-Identifier: Apache-2.0
 * Some rows against ECS: ARNs gather for a moment, then go out as DescribeTasks or
 * DescribeContainerInstances, a hundred a call. MISSING becomes a tombstone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

#define GATHER_MS 10
#define AGAIN_MS 2000
#define RETRY_MAX_MS 30000
/* ECS may not show what it has just made ("eventual consistency"): a young row that is MISSING is
 * looked at again before it is buried. */
#define YOUNG_MS 15000

struct describe {
    struct intake *intake;
    char cluster[ARN_MAX];
    bool tasks;
    json_t *arns;
    uint64_t generation;
};

static void arm(struct intake *in, uint64_t ms);

static bool is_task(const char *arn)
{
    return strstr(arn, ":container-instance/") == NULL;
}

static void want(struct intake *in, const char *cluster, const char *arn, uint64_t within_ms)
{
    char key[2 * ARN_MAX + 2];
    if (!in->leading || in->refresh.waiting.count >= REFRESH_MAX || arn[0] == '\0')
        return;
    snprintf(key, sizeof key, "%s\n%s", cluster == NULL ? in->cluster : cluster, arn);
    if (map_put(&in->refresh.waiting, key, in, NULL) != 0)
        return;
    if (!uv_is_active((uv_handle_t *)&in->refresh.timer) ||
        uv_timer_get_due_in(&in->refresh.timer) > within_ms)
        arm(in, within_ms);
}

void intake_refresh_task(struct intake *in, const char *cluster, const char *task_arn)
{
    want(in, cluster, task_arn, GATHER_MS);
}

void intake_refresh_instance(struct intake *in, const char *cluster, const char *instance_arn)
{
    want(in, cluster, instance_arn, GATHER_MS);
}

/* ---- answers ------------------------------------------------------------------------- */

struct taking {
    struct intake *intake;
    struct events_row *rows;
    struct record *records;
    size_t count;
    size_t room;
};

static void on_applied(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    struct intake *in = arg;
    (void)records;
    for (size_t i = 0; err == 0 && i < count; i++) {
        in->drift += changes[i].applied;
        metric_add(&intake_drift, changes[i].applied);
    }
    intake_call_ended(in);
}

/* Sets the generation (record.h): a resource that ECS shows although we buried it at this version
 * comes back with the next even number. Returns false for what is not newer. */
static bool is_news(struct intake *in, struct record *rec, const char *key)
{
    struct record stored;
    if (intake_stored(in, rec->kind, key, &stored) != 0)
        return true;
    if (stored.deleted && stored.version.hi == rec->version.hi)
        rec->version.lo = stored.version.lo + 1;
    return record_is_newer(rec->version, stored.version);
}

static void take_row(struct taking *t, struct events_row *row)
{
    char key[RECORD_KEY_MAX + 1];
    struct record rec = row->record;
    if (row->outcome != EVENTS_ROW) {
        if (row->outcome == EVENTS_POISON)
            LOG(LOG_WARN, "describe_odd", row->why, LS("kind", row->kind));
        return;
    }
    memcpy(key, rec.key, rec.key_len);
    key[rec.key_len] = '\0';
    rec.source = SOURCE_RECONCILE;
    rec.observed_unix_ms = clock_unix_ms();
    rec.term = t->intake->term;
    if (is_news(t->intake, &rec, key))
        t->records[t->count++] = rec;
}

static void take_missing(struct taking *t, const char *cluster, const json_t *failure, char *key)
{
    struct intake *in = t->intake;
    struct record stored;
    const char *arn = json_str_or(failure, "arn", "");
    uint8_t kind = is_task(arn) ? RECORD_TASK : RECORD_INSTANCE;
    if (strcmp(json_str_or(failure, "reason", ""), "MISSING") != 0 ||
        strlen(arn) > RECORD_KEY_MAX || intake_stored(in, kind, arn, &stored) != 0 ||
        stored.deleted)
        return;
    if (clock_unix_ms() - stored.observed_unix_ms < YOUNG_MS) {
        want(in, cluster, arn, AGAIN_MS);
        return;
    }
    memcpy(key, arn, strlen(arn));
    struct record rec = stored;
    rec.key = key;
    rec.value = NULL;
    rec.value_len = 0;
    rec.deleted = true;
    rec.version.lo |= 1;
    rec.source = SOURCE_RECONCILE;
    rec.observed_unix_ms = clock_unix_ms();
    rec.term = in->term;
    t->records[t->count++] = rec;
}

size_t refresh_take(struct intake *in, const char *cluster, const json_t *body)
{
    struct events_options options = intake_events_options(in);
    const json_t *tasks = json_arr(body, "tasks");
    const json_t *instances = json_arr(body, "containerInstances");
    const json_t *failures = json_arr(body, "failures");
    size_t n = json_array_size(tasks) + json_array_size(instances);
    size_t gone = json_array_size(failures);
    struct taking t = {.intake = in};
    t.rows = calloc(n + 1, sizeof *t.rows);
    t.records = calloc(n + gone + 1, sizeof *t.records);
    char(*keys)[RECORD_KEY_MAX + 1] = calloc(gone + 1, sizeof *keys);
    bool memory = t.rows != NULL && t.records != NULL && keys != NULL;
    for (size_t i = 0; memory && i < n; i++) {
        events_row_init(&t.rows[i]);
        if (i < json_array_size(tasks))
            events_from_task(json_array_get(tasks, i), &options, &t.rows[i]);
        else
            events_from_instance(json_array_get(instances, i - json_array_size(tasks)), cluster,
                                 &options, &t.rows[i]);
        take_row(&t, &t.rows[i]);
    }
    for (size_t i = 0; memory && i < gone; i++)
        take_missing(&t, cluster, json_array_get(failures, i), keys[i]);
    if (t.count > 0) {
        in->calls_open++;
        if (rows_apply(in->options.rows, t.records, t.count, on_applied, in) != 0)
            in->calls_open--; /* the next reconcile finds them again */
    }
    for (size_t i = 0; memory && i < n; i++)
        events_row_fini(&t.rows[i]);
    free(t.rows);
    free(t.records);
    free(keys);
    return t.count;
}

static void again(struct describe *d)
{
    size_t i;
    json_t *arn;
    json_array_foreach(d->arns, i, arn) want(d->intake, d->cluster, json_string_value(arn),
                                             AGAIN_MS * (d->intake->refresh.failures + 1));
}

static void on_described(void *arg, const struct aws_result *r)
{
    struct describe *d = arg;
    struct intake *in = d->intake;
    struct refresh *f = &in->refresh;
    f->in_flight--;
    if (in->leading && in->generation == d->generation && !in->stopping) {
        if (r->err == 0) {
            f->failures = 0;
            in->ecs_trouble[0] = '\0';
            (void)refresh_take(in, d->cluster, r->body);
        } else if (r->err != ERR_CANCELED) {
            f->failures++;
            snprintf(in->ecs_trouble, sizeof in->ecs_trouble, "cannot describe in ECS: %s %s",
                     r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
            /* A refusal of the request itself would come again for ever. */
            if (r->err != ERR_BADPARAM && r->err != ERR_NOTFOUND)
                again(d);
        }
        if (f->waiting.count > 0 && !uv_is_active((uv_handle_t *)&f->timer))
            arm(in, f->failures == 0 ? GATHER_MS : AGAIN_MS); /* more than fitted in flight */
    }
    json_decref(d->arns);
    free(d);
    intake_call_ended(in);
}

/* ---- questions ----------------------------------------------------------------------- */

/* Takes up to a hundred ARNs of one cluster and one kind out of the waiting ones. */
static struct describe *gather(struct intake *in)
{
    const char *key;
    void *value;
    char taken[ECS_DESCRIBE_BATCH][2 * ARN_MAX + 2];
    size_t count = 0;
    struct describe *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->intake = in;
    d->generation = in->generation;
    d->arns = json_array();
    for (size_t at = 0;
         count < ECS_DESCRIBE_BATCH && map_next(&in->refresh.waiting, &at, &key, &value);) {
        const char *arn = strchr(key, '\n') + 1;
        size_t cluster_len = (size_t)(arn - key) - 1;
        if (count == 0) {
            snprintf(d->cluster, sizeof d->cluster, "%.*s", (int)cluster_len, key);
            d->tasks = is_task(arn);
        }
        if (is_task(arn) != d->tasks || strncmp(key, d->cluster, cluster_len) != 0 ||
            d->cluster[cluster_len] != '\0')
            continue;
        json_array_append_new(d->arns, json_string(arn));
        snprintf(taken[count++], sizeof taken[0], "%s", key);
    }
    for (size_t i = 0; i < count; i++)
        (void)map_del(&in->refresh.waiting, taken[i]);
    return d;
}

static bool describe(struct intake *in)
{
    struct aws_call_options options = {.priority = AWS_REPAIR};
    struct describe *d = gather(in);
    if (d == NULL)
        return false;
    json_t *params = json_pack("{s:s, s:O}", "cluster", d->cluster,
                               d->tasks ? "tasks" : "containerInstances", d->arns);
    in->calls_open++;
    in->refresh.in_flight++;
    if (aws_call(in->options.aws, AWS_ECS,
                 d->tasks ? "DescribeTasks" : "DescribeContainerInstances", params, &options,
                 on_described, d) != NULL)
        return true;
    in->refresh.in_flight--;
    in->calls_open--;
    json_decref(d->arns);
    free(d);
    return false;
}

static void on_timer(uv_timer_t *timer)
{
    struct intake *in = timer->data;
    while (in->leading && in->refresh.waiting.count > 0 && in->refresh.in_flight < DESCRIBES_MAX) {
        if (!describe(in))
            break;
    }
}

static void arm(struct intake *in, uint64_t ms)
{
    if (!in->stopping)
        uv_timer_start(&in->refresh.timer, on_timer, ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS, 0);
}

void refresh_init(struct intake *in)
{
    map_init(&in->refresh.waiting);
    intake_handle(in, &in->refresh.timer);
}

void refresh_stop(struct intake *in)
{
    uv_timer_stop(&in->refresh.timer);
    map_fini(&in->refresh.waiting);
    in->refresh.failures = 0;
}
