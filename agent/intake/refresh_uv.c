/* SPDX-License-Identifier: Apache-2.0
 * Rows to look at again: gathered for a moment, then described in batches of one cluster and
 * kind, a hundred a call. MISSING becomes a tombstone. */
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
#define YOUNG_MS 15000u
#define CLOCK_STEP_MS 1000 /* more than a clock that is slewed gains between two looks */

struct describe {
    struct list link;
    struct intake *intake;
    struct aws_call *call;
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

/* Hints come from other machines: one odd name would make ECS refuse the whole batch. */
static bool is_sound(const char *arn)
{
    size_t len = strlen(arn);
    if (len >= ARN_MAX || strncmp(arn, "arn:", 4) != 0 || strstr(arn, ":ecs:") == NULL ||
        (strstr(arn, ":task/") == NULL && is_task(arn)))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (arn[i] <= ' ' || arn[i] > '~')
            return false;
    }
    return true;
}

static uint64_t backoff_ms(const struct refresh *f)
{
    if (f->failures == 0)
        return 0;
    uint64_t ms = (uint64_t)AGAIN_MS << (f->failures < 5 ? f->failures - 1 : 4);
    return ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
}

static void want(struct intake *in, const char *cluster, const char *arn, uint64_t within_ms)
{
    char key[2 * ARN_MAX + 2];
    struct refresh *f = &in->refresh;
    if (cluster == NULL || cluster[0] == '\0')
        cluster = in->cluster;
    if (!in->leading || in->stopping || f->waiting.count >= REFRESH_MAX || !is_sound(arn) ||
        strlen(cluster) >= ARN_MAX)
        return;
    snprintf(key, sizeof key, "%s\n%s", cluster, arn);
    if (map_put(&f->waiting, key, in, NULL) != 0)
        return;
    if (within_ms < backoff_ms(f))
        within_ms = backoff_ms(f);
    if (!uv_is_active((uv_handle_t *)&f->timer) || uv_timer_get_due_in(&f->timer) > within_ms)
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
};

/* ECS raises the version with each change, so one version is one state. Emulators of ECS have no
 * version at all, or one that stays; then what counts to anyone decides. */
static bool is_other_state(const struct record *stored, const struct record *rec)
{
    static const enum row_field fields[] = {ROW_STATUS, ROW_DESIRED, ROW_CONNECTED};
    struct row a;
    struct row b;
    if (rec->version.hi == 0 && (stored->value_len != rec->value_len ||
                                 memcmp(stored->value, rec->value, rec->value_len) != 0))
        return true;
    if (row_decode(stored->value, stored->value_len, &a) != 0 ||
        row_decode(rec->value, rec->value_len, &b) != 0)
        return false;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        const struct row_text *x = &a.field[fields[i]];
        const struct row_text *y = &b.field[fields[i]];
        if (x->len != y->len || (x->len > 0 && memcmp(x->data, y->data, x->len) != 0))
            return true;
    }
    return false;
}

/* Rows' ages are by the wall clock, which somebody may set: after a step of it, and after a start
 * (it may have been set before), they say nothing until young rows have grown old. Returns for how
 * long what ECS shows may still lag behind a row, 0: no more. */
static int64_t lag_left_ms(struct intake *in, int64_t stored_unix_ms)
{
    int64_t young_ms = (int64_t)(in->options.young_ms == 0 ? YOUNG_MS : in->options.young_ms);
    int64_t mono_ms = (int64_t)clock_mono_ms();
    int64_t offset_ms = clock_unix_ms() - mono_ms;
    int64_t step_ms = offset_ms - in->refresh.clock_offset_ms;
    if (step_ms > CLOCK_STEP_MS || step_ms < -CLOCK_STEP_MS)
        in->refresh.clock_since_ms = mono_ms;
    in->refresh.clock_offset_ms = offset_ms;
    if (mono_ms - in->refresh.clock_since_ms < young_ms)
        return young_ms;
    int64_t age_ms = clock_unix_ms() - stored_unix_ms;
    return age_ms >= 0 && age_ms < young_ms ? young_ms - age_ms : 0;
}

static bool is_same_value(const struct record *a, const struct record *b)
{
    return a->value_len == b->value_len && memcmp(a->value, b->value, a->value_len) == 0;
}

static struct record_version next_generation(struct record_version v)
{
    if (v.lo >= UINT64_MAX - 2)
        return (struct record_version){v.hi + 1, 2}; /* not an event's */
    return (struct record_version){v.hi, (v.lo | 1) + 1};
}

/* Sets the generation (record.h): a resource that ECS shows although we buried it at this version
 * comes back with the next even number, and so does one that shows another state at the version
 * that we have; but one that is over was buried rightly, ECS only shows it for some time longer.
 * Events are ahead of what ECS shows by seconds. A row that stays ahead is not ECS's: rows carry no
 * signature, and a stolen member may have made it up. What ECS shows takes its place. */
static bool is_newer(struct intake *in, const char *cluster, const struct store_row *row,
                     struct record *rec)
{
    const struct record *stored = &row->record;
    if (stored->version.hi < rec->version.hi)
        return true;
    bool ahead = stored->version.hi > rec->version.hi;
    bool agrees = ahead ? is_same_value(stored, rec) : !is_other_state(stored, rec);
    if (stored->deleted ? intake_is_over(rec) : agrees)
        return false;
    /* A later generation was not an event's, so no event can have been ahead. */
    int64_t lag_ms = ahead && stored->version.lo == 0 ? lag_left_ms(in, row->stored_unix_ms) : 0;
    if (lag_ms > 0) {
        char arn[RECORD_KEY_MAX + 1];
        memcpy(arn, rec->key, rec->key_len);
        arn[rec->key_len] = '\0';
        want(in, cluster, arn, (uint64_t)lag_ms);
        return false;
    }
    rec->version = next_generation(stored->version);
    return record_is_newer(rec->version, stored->version);
}

/* False for what is not newer than our own row. */
static bool is_news(struct intake *in, const char *cluster, struct record *rec)
{
    struct store_txn *txn = NULL;
    struct store_row row;
    if (store_read_begin(in->options.store, &txn) != 0)
        return true;
    bool news = store_get_ref(txn, rec->kind, rec->key, rec->key_len, &row) != 0 ||
                is_newer(in, cluster, &row, rec);
    store_read_end(txn);
    return news;
}

static void tell_shown(const struct intake *in, const struct record *rec)
{
    if (in->options.on_shown != NULL)
        in->options.on_shown(in->options.arg, rec);
}

static void take_row(struct taking *k, const char *cluster, struct events_row *row)
{
    if (row->outcome == EVENTS_POISON)
        LOG(LOG_WARN, "describe_odd", row->why, LS("kind", row->kind));
    if (row->outcome != EVENTS_ROW)
        return;
    struct record rec = row->record;
    rec.source = SOURCE_RECONCILE;
    rec.observed_unix_ms = clock_unix_ms();
    rec.term = k->intake->term;
    if (is_news(k->intake, cluster, &rec))
        k->records[k->count++] = rec;
    else
        tell_shown(k->intake, &rec);
}

static void take_missing(struct taking *k, const char *cluster, const char *arn)
{
    struct intake *in = k->intake;
    struct stored stored;
    uint8_t kind = is_task(arn) ? RECORD_TASK : RECORD_INSTANCE;
    if (strlen(arn) > RECORD_KEY_MAX || intake_stored(in, kind, arn, &stored) != 0)
        return;
    struct record rec = stored.header;
    rec.key = arn; /* lives in the question, which store_apply outlives by copying */
    rec.key_len = (uint16_t)strlen(arn);
    rec.value_len = 0;
    if (rec.deleted || stored.over) { /* what is over is kept for its time (reap) */
        rec.deleted = true;
        tell_shown(in, &rec);
        return;
    }
    /* By the own clock: the origin's may be ahead by hours. */
    int64_t lag_ms = lag_left_ms(in, stored.stored_unix_ms);
    if (lag_ms > 0) {
        want(in, cluster, arn, (uint64_t)lag_ms);
        return;
    }
    rec.deleted = true;
    rec.version.lo |= 1;
    rec.source = SOURCE_RECONCILE;
    rec.observed_unix_ms = clock_unix_ms();
    rec.term = in->term;
    k->records[k->count++] = rec;
}

/* Rows carry the cluster's ARN; a hint may come with its name, before that was resolved. */
static const char *arn_of_cluster(const char *cluster, const struct tape *t, uint32_t instance,
                                  char out[ARN_MAX])
{
    char arn[ARN_MAX] = "";
    (void)tape_text(t, tape_get(t, instance, "containerInstanceArn"), arn, sizeof arn);
    const char *at = strstr(arn, ":container-instance/");
    if (strncmp(cluster, "arn:", 4) == 0 || at == NULL)
        return cluster;
    int n = snprintf(out, ARN_MAX, "%.*s:cluster/%s", (int)(at - arn), arn, cluster);
    return n > 0 && n < ARN_MAX ? out : cluster;
}

static uint32_t with_arn(const struct tape *t, uint32_t list, const char *member, const char *arn)
{
    for (uint32_t i = tape_first(t, list); i != TAPE_NONE; i = tape_next(t, list, i)) {
        if (tape_equals(t, tape_get(t, i, member), arn))
            return i;
    }
    return TAPE_NONE;
}

/* ECS names what it does not have among the failures; some emulators just leave it out. */
static bool is_missing(const struct tape *t, const char *arn)
{
    bool task = is_task(arn);
    uint32_t shown = tape_get(t, 0, task ? "tasks" : "containerInstances");
    uint32_t failure = with_arn(t, tape_get(t, 0, "failures"), "arn", arn);
    if (failure != TAPE_NONE)
        return tape_equals(t, tape_get(t, failure, "reason"), "MISSING");
    return with_arn(t, shown, task ? "taskArn" : "containerInstanceArn", arn) == TAPE_NONE;
}

static void take_all(struct taking *k, const char *cluster, const struct tape *t,
                     const json_t *asked)
{
    struct events_options options = intake_events_options(k->intake);
    uint32_t tasks = tape_get(t, 0, "tasks");
    uint32_t instances = tape_get(t, 0, "containerInstances");
    struct events_row *row = k->rows;
    char arn[ARN_MAX];
    for (uint32_t i = tape_first(t, tasks); i != TAPE_NONE; i = tape_next(t, tasks, i), row++) {
        events_take_task(t, i, &options, row);
        take_row(k, cluster, row);
    }
    for (uint32_t i = tape_first(t, instances); i != TAPE_NONE;
         i = tape_next(t, instances, i), row++) {
        events_take_instance(t, i, arn_of_cluster(cluster, t, i, arn), &options, row);
        take_row(k, cluster, row);
    }
    if (tape_length(t, tasks) + tape_length(t, instances) >= json_array_size(asked))
        return;
    size_t i;
    json_t *one;
    json_array_foreach(asked, i, one)
    {
        if (is_missing(t, json_string_value(one)))
            take_missing(k, cluster, json_string_value(one));
    }
}

int refresh_take(struct intake *in, const char *cluster, const struct tape *t, const json_t *asked,
                 store_apply_fn done, void *arg, size_t *ret_news)
{
    size_t n = tape_length(t, tape_get(t, 0, "tasks")) +
               tape_length(t, tape_get(t, 0, "containerInstances"));
    struct taking k = {.intake = in};
    int err = 0;
    k.rows = calloc(n + 1, sizeof *k.rows);
    k.records = calloc(n + json_array_size(asked) + 1, sizeof *k.records);
    bool memory = k.rows != NULL && k.records != NULL;
    for (size_t i = 0; memory && i < n; i++)
        events_row_init(&k.rows[i]);
    if (memory)
        take_all(&k, cluster, t, asked);
    if (k.count > 0)
        err = rows_apply(in->options.rows, k.records, k.count, done, arg);
    if (k.count > 0 && err == 0)
        in->calls_open++;
    for (size_t i = 0; memory && i < n; i++)
        events_row_fini(&k.rows[i]);
    free(k.rows);
    free(k.records);
    *ret_news = err == 0 ? k.count : 0;
    return memory ? err : ERR_NOMEM;
}

void refresh_count_drift(struct intake *in, const struct record *records,
                         const struct store_change *changes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!changes[i].applied)
            continue;
        bool gone = records[i].deleted;
        bool stale = !gone && changes[i].existed;
        *(gone ? &in->gone : stale ? &in->stale : &in->missing) += 1;
        metric_add(gone    ? &intake_drift_gone
                   : stale ? &intake_drift_stale
                           : &intake_drift_missing,
                   1);
    }
}

static bool current(const struct describe *d)
{
    const struct intake *in = d->intake;
    return in->leading && in->generation == d->generation && !in->stopping;
}

static void again(const struct describe *d)
{
    size_t i;
    json_t *arn;
    json_array_foreach(d->arns, i, arn)
        want(d->intake, d->cluster, json_string_value(arn), AGAIN_MS);
}

static void describe_free(struct describe *d)
{
    list_remove(&d->link);
    json_decref(d->arns);
    free(d);
}

static void describe_end(struct describe *d)
{
    struct intake *in = d->intake;
    struct refresh *f = &in->refresh;
    bool go_on = current(d);
    f->in_flight--;
    describe_free(d);
    if (go_on && f->waiting.count > 0 && !uv_is_active((uv_handle_t *)&f->timer))
        arm(in, f->failures == 0 ? GATHER_MS : backoff_ms(f)); /* more than fitted in flight */
    intake_call_ended(in);
}

static void on_applied(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    struct describe *d = arg;
    if (err == 0)
        refresh_count_drift(d->intake, records, changes, count);
    else if (current(d))
        again(d); /* the store says why it refuses, by its health */
    describe_end(d);
}

/* Returns true if rows are on their way: on_applied ends the describe. */
static bool take_answer(struct describe *d, const struct tape *t)
{
    struct intake *in = d->intake;
    size_t news = 0;
    in->refresh.failures = 0;
    in->describe_trouble[0] = '\0';
    if (refresh_take(in, d->cluster, t, d->arns, on_applied, d, &news) != 0)
        again(d);
    return news > 0;
}

static bool take_error(struct describe *d, const struct aws_result *r)
{
    struct intake *in = d->intake;
    bool waits = false;
    if (strcmp(r->code, "ClusterNotFoundException") == 0) {
        static const struct tape nothing; /* all that was in it went with the cluster */
        waits = take_answer(d, &nothing);
    } else if (r->err == ERR_BADPARAM || r->err == ERR_NOTFOUND ||
               (r->err == ERR_DENIED && !intake_is_own(in, d->cluster))) {
        /* A refusal of the request itself would come again for ever. */
        LOG(LOG_WARN, "describe_refused", r->message, LS("code", r->code),
            LS("cluster", d->cluster), LU("count", json_array_size(d->arns)));
    } else {
        in->refresh.failures++;
        snprintf(in->describe_trouble, sizeof in->describe_trouble, "cannot describe in ECS: %s %s",
                 r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
        again(d);
    }
    return waits;
}

static void on_described(void *arg, const struct aws_result *r)
{
    struct describe *d = arg;
    struct intake *in = d->intake;
    bool waits = false;
    d->call = NULL;
    if (current(d))
        waits = r->err == 0 ? take_answer(d, r->tape) : take_error(d, r);
    if (waits)
        intake_call_ended(in); /* the rows count as a call of their own */
    else
        describe_end(d);
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
    list_init(&d->link);
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
    struct aws_call_options options = {.priority = AWS_REPAIR, .tape = true};
    struct describe *d = gather(in);
    if (d == NULL)
        return false;
    json_t *params = json_pack("{s:s, s:O}", "cluster", d->cluster,
                               d->tasks ? "tasks" : "containerInstances", d->arns);
    d->call = params == NULL ? NULL
                             : aws_call(in->options.aws, AWS_ECS,
                                        d->tasks ? "DescribeTasks" : "DescribeContainerInstances",
                                        params, &options, on_described, d);
    if (d->call == NULL) {
        again(d);
        describe_free(d);
        return false;
    }
    in->calls_open++;
    in->refresh.in_flight++;
    list_push(&in->refresh.describes, &d->link);
    return true;
}

static void on_timer(uv_timer_t *timer)
{
    struct intake *in = timer->data;
    while (in->leading && in->refresh.waiting.count > 0 && in->refresh.in_flight < DESCRIBES_MAX) {
        if (!describe(in)) {
            arm(in, AGAIN_MS);
            break;
        }
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
    list_init(&in->refresh.describes);
    intake_handle(in, &in->refresh.timer);
}

void refresh_stop(struct intake *in)
{
    struct list *describes = &in->refresh.describes;
    uv_timer_stop(&in->refresh.timer);
    map_fini(&in->refresh.waiting);
    in->refresh.failures = 0;
    in->describe_trouble[0] = '\0';
    for (struct list *at = describes->next; at != describes; at = at->next) {
        struct describe *d = LIST_OF(at, struct describe, link);
        if (d->call != NULL)
            aws_cancel(d->call);
    }
}
