/* SPDX-License-Identifier: Apache-2.0
 * An intake with a real store and a real AWS client against a local cloud in this process. Header
 * only: each test of this directory is one file. */
#ifndef BLOX_TESTS_INTAKE_WORLD_H
#define BLOX_TESTS_INTAKE_WORLD_H

#include <criterion/criterion.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "agent/aws/aws.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/devcloud/devcloud.h"
#include "agent/intake/intake.h"
#include "agent/rows/rows.h"
#include "store/store.h"

struct world {
    uv_loop_t loop;
    uv_timer_t guard, beat;
    uv_async_t polled;
    char dir[64];
    char endpoint[128];
    struct devcloud *cloud;
    json_t *ready;
    struct store *store;
    struct rows *rows;
    struct aws *aws;
    struct intake *intake;
    struct intake_options options; /* may be changed before world_lead */
    uint64_t term;
    unsigned reconciled, failed;               /* on_reconciled so far */
    unsigned known;                            /* on_all_known */
    char known_ones[1000];                     /* on_known: ARNs, a blank behind each */
    void (*when)(struct world *w, bool known); /* a test's own look at both */
    unsigned shown, shown_gone;                /* on_shown */
    char shown_key[RECORD_KEY_MAX + 1];
    uint64_t rows_when_reconciled;
    unsigned hints;
    char hint[400];
    bool drop_lead_at_event; /* leadership goes while the first batch is being stored */
    bool destroyed;
};

static inline void world_on_notify(void *arg)
{
    struct world *w = arg;
    uv_async_send(&w->polled);
}

static inline void world_on_poll(uv_async_t *async)
{
    struct world *w = async->data;
    if (w->store != NULL)
        store_poll(w->store);
}

static inline void world_on_guard(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "the test waits for something that does not come\n");
    abort();
}

static inline void world_on_beat(uv_timer_t *timer)
{
    (void)timer; /* what the cloud has done is looked at again */
}

#define UNTIL(w, condition)                                                                        \
    do {                                                                                           \
        while (!(condition))                                                                       \
            uv_run(&(w)->loop, UV_RUN_ONCE);                                                       \
    } while (0)

static inline uint64_t world_count(struct world *w, uint8_t kind)
{
    struct store_txn *txn;
    uint64_t n = 0;
    cr_assert_eq(store_read_begin(w->store, &txn), 0);
    cr_assert_eq(store_count(txn, kind, 0, NULL, &n), 0);
    store_read_end(txn);
    return n;
}

static inline void world_on_reconciled(void *arg, int err)
{
    struct world *w = arg;
    w->rows_when_reconciled = world_count(w, RECORD_INSTANCE);
    if (err == 0)
        w->reconciled++;
    else
        w->failed++;
    if (err == 0 && w->when != NULL)
        w->when(w, false);
}

static inline void world_on_all_known(void *arg)
{
    struct world *w = arg;
    w->known++;
    if (w->when != NULL)
        w->when(w, true);
}

static inline void world_on_known(void *arg, const char *cluster)
{
    struct world *w = arg;
    size_t len = strlen(w->known_ones);
    cr_assert(intake_knows(w->intake, cluster));
    snprintf(w->known_ones + len, sizeof w->known_ones - len, "%s ", cluster);
}

static inline void world_on_hint(void *arg, const char *cluster, const char *arn)
{
    struct world *w = arg;
    (void)cluster;
    w->hints++;
    snprintf(w->hint, sizeof w->hint, "%s", arn);
}

static inline void world_on_shown(void *arg, const struct record *rec)
{
    struct world *w = arg;
    *(rec->deleted ? &w->shown_gone : &w->shown) += 1;
    snprintf(w->shown_key, sizeof w->shown_key, "%.*s", (int)rec->key_len, rec->key);
}

static inline void world_on_rows(void *arg, const struct record *records,
                                 const struct store_change *changes, size_t count, bool from_peers)
{
    struct world *w = arg;
    (void)changes;
    (void)from_peers;
    if (w->drop_lead_at_event && count > 0 && records[0].source == SOURCE_EVENT)
        intake_lead(w->intake, false, w->term);
}

static inline json_t *world_control(struct world *w, const char *verb, const char *args)
{
    struct errmsg e = {{0}};
    json_t *j = args == NULL ? NULL : json_parse(args, strlen(args), NULL);
    json_t *answer = NULL;
    cr_assert_eq(devcloud_control(w->cloud, verb, j, &answer, &e), 0, "%s: %s", verb, e.text);
    json_decref(j);
    return answer;
}

static inline void world_tell(struct world *w, const char *verb, const char *args)
{
    json_decref(world_control(w, verb, args));
}

static inline int64_t world_stat(struct world *w, const char *name)
{
    json_t *stats = world_control(w, "stats", NULL);
    int64_t value = json_int_or(stats, name, 0);
    json_decref(stats);
    return value;
}

/* Messages that SQS still has, shown or not. */
static inline int64_t world_queued(struct world *w)
{
    json_t *s = world_control(w, "stats", NULL);
    int64_t n = json_int_or(s, "queue_ready", 0) + json_int_or(s, "queue_in_flight", 0) +
                json_int_or(s, "queue_delayed", 0);
    json_decref(s);
    return n;
}

static inline int64_t world_figure(struct world *w, const char *part, const char *name)
{
    json_t *status = intake_status(w->intake);
    int64_t value = json_int_or(json_obj(status, part), name, -1);
    json_decref(status);
    return value;
}

/* "RUNNING", "gone" for a tombstone, "" for nothing. */
static inline const char *world_row(struct world *w, uint8_t kind, const char *arn,
                                    struct record *ret)
{
    static char status[64];
    struct store_txn *txn;
    struct store_row row;
    struct row fields;
    status[0] = '\0';
    cr_assert_eq(store_read_begin(w->store, &txn), 0);
    if (store_get_ref(txn, kind, arn, strlen(arn), &row) == 0) {
        if (ret != NULL)
            *ret = row.record; /* its key and value are not to be used */
        if (row.record.deleted)
            snprintf(status, sizeof status, "gone");
        else if (row_decode(row.record.value, row.record.value_len, &fields) == 0)
            snprintf(status, sizeof status, "%.*s", (int)fields.field[ROW_STATUS].len,
                     fields.field[ROW_STATUS].data);
    }
    store_read_end(txn);
    return status;
}

static inline bool world_is(struct world *w, uint8_t kind, const char *arn, const char *status)
{
    return strcmp(world_row(w, kind, arn, NULL), status) == 0;
}

static inline const char *world_instance(const struct world *w, size_t i, const char *key)
{
    return json_str(json_array_get(json_arr(w->ready, "instances"), i), key);
}

#define WORLD_QUICK                                                                                \
    "\"event_duplicate\":0,\"event_delay_ms\":0,\"step_ms\":1,\"stop_step_ms\":1,"                 \
    "\"agent_lag_ms\":0,\"throttle\":0"

static inline void world_open_as(struct world *w, unsigned instances, uint64_t disk_min,
                                 const char *settings)
{
    struct devcloud_options options;
    struct errmsg e = {{0}};
    *w = (struct world){.term = 1};
    signal(SIGPIPE, SIG_IGN);
    log_configure(getenv("BLOX_TEST_LOG") == NULL ? LOG_OFF : LOG_DEBUG, LOG_TEXT);
    devcloud_options_init(&options);
    options.instances = instances;
    options.settings = settings;
    cr_assert_eq(devcloud_start(&w->cloud, &options, &e), 0, "%s", e.text);
    w->ready = devcloud_ready(w->cloud);
    snprintf(w->endpoint, sizeof w->endpoint, "%s", json_str(w->ready, "endpoint"));
    setenv("AWS_ACCESS_KEY_ID", json_str(w->ready, "access_key_id"), 1);
    setenv("AWS_SECRET_ACCESS_KEY", json_str(w->ready, "secret_access_key"), 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    unsetenv("AWS_SESSION_TOKEN");
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->guard);
    uv_timer_start(&w->guard, world_on_guard, 90000, 0);
    uv_timer_init(&w->loop, &w->beat);
    uv_timer_start(&w->beat, world_on_beat, 5, 5);
    uv_async_init(&w->loop, &w->polled, world_on_poll);
    w->polled.data = w;
    snprintf(w->dir, sizeof w->dir, "/tmp/blox-intake-XXXXXX");
    cr_assert_not_null(mkdtemp(w->dir));
    struct store_options store = {.dir = w->dir,
                                  .state_map_bytes = 256u << 20,
                                  .state_disk_min = disk_min,
                                  .notify = world_on_notify,
                                  .notify_arg = w};
    cr_assert_eq(store_open(&w->store, &store, NULL, &e), 0, "%s", e.text);
    cr_assert_eq(rows_create(&w->rows, w->store), 0);
    rows_listen(w->rows, world_on_rows, w);
    struct aws_options aws = {.loop = &w->loop,
                              .region = "us-east-1",
                              .ecs_endpoint = w->endpoint,
                              .sqs_endpoint = w->endpoint,
                              .sts_endpoint = w->endpoint,
                              .seed = 7};
    cr_assert_eq(aws_create(&w->aws, &aws, &e), 0, "%s", e.text);
    w->options = (struct intake_options){
        .loop = &w->loop,
        .aws = w->aws,
        .rows = w->rows,
        .store = w->store,
        .cluster = strrchr(json_str(w->ready, "cluster_arn"), '/') + 1,
        .queue = json_str(w->ready, "queue_url"),
        .young_ms = 1,
        .seed = 3,
        .arg = w,
        .on_reconciled = world_on_reconciled,
        .on_known = world_on_known,
        .on_all_known = world_on_all_known,
        .on_shown = world_on_shown,
        .on_hint = world_on_hint,
    };
}

static inline void world_open(struct world *w, unsigned instances, uint64_t disk_min)
{
    world_open_as(w, instances, disk_min, "{" WORLD_QUICK "}");
}

/* Of which no event tells, not even of the instances that are there from the first. */
static inline void world_open_silent(struct world *w, unsigned instances)
{
    world_open_as(w, instances, 1, "{" WORLD_QUICK ",\"event_loss\":1}");
}

static inline void world_create(struct world *w)
{
    struct errmsg e = {{0}};
    w->destroyed = false;
    cr_assert_eq(intake_create(&w->intake, &w->options, &e), 0, "%s", e.text);
}

static inline void world_lead(struct world *w)
{
    world_create(w);
    intake_lead(w->intake, true, w->term);
}

static inline void world_set_flag(void *arg)
{
    *(bool *)arg = true;
}

static inline void world_drop_intake(struct world *w)
{
    intake_destroy(w->intake, world_set_flag, &w->destroyed);
    UNTIL(w, w->destroyed);
    w->intake = NULL;
}

static inline int world_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void world_close(struct world *w)
{
    bool done = false;
    if (w->intake != NULL)
        world_drop_intake(w);
    aws_destroy(w->aws, world_set_flag, &done);
    UNTIL(w, done);
    store_close(w->store);
    w->store = NULL;
    rows_destroy(w->rows);
    uv_close((uv_handle_t *)&w->guard, NULL);
    uv_close((uv_handle_t *)&w->beat, NULL);
    uv_close((uv_handle_t *)&w->polled, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&w->loop), 0, "a handle was left open");
    json_decref(w->ready);
    devcloud_stop(w->cloud);
    nftw(w->dir, world_unlink, 8, FTW_DEPTH | FTW_PHYS);
}

struct world_started {
    bool done;
    char arn[400];
};

static inline void world_on_started(void *arg, const struct aws_result *r)
{
    struct world_started *s = arg;
    s->done = true;
    cr_assert_eq(r->err, 0, "%s %s", r->code, r->message);
    snprintf(s->arn, sizeof s->arn, "%s",
             json_str_or(json_array_get(json_arr(r->body, "tasks"), 0), "taskArn", ""));
}

static inline void world_on_called(void *arg, const struct aws_result *r)
{
    cr_assert_eq(r->err, 0, "%s %s", r->code, r->message);
    *(bool *)arg = true;
}

/* Asks ECS for something as somebody else would. Steals params. */
static inline void world_call(struct world *w, const char *operation, json_t *params)
{
    bool done = false;
    cr_assert_not_null(aws_call(w->aws, AWS_ECS, operation, params, NULL, world_on_called, &done));
    UNTIL(w, done);
}

/* Starts a task on instance i as somebody else would; its ARN into arn. */
static inline void world_start_task(struct world *w, size_t i, char arn[400])
{
    struct world_started s = {0};
    json_t *params = json_pack("{s:s, s:s, s:[s]}", "cluster", w->options.cluster, "taskDefinition",
                               "daemon:1", "containerInstances", world_instance(w, i, "arn"));
    cr_assert_not_null(aws_call(w->aws, AWS_ECS, "StartTask", params, NULL, world_on_started, &s));
    UNTIL(w, s.done);
    cr_assert_neq(s.arn[0], '\0');
    snprintf(arn, 400, "%s", s.arn);
}

/* An event of a task of the cluster, as EventBridge would send it. */
static inline void world_event(struct world *w, const char *cluster_arn, const char *task_arn,
                               uint64_t version, const char *status)
{
    json_t *event =
        json_pack("{s:s, s:s, s:s, s:{s:s, s:s, s:s, s:s, s:I, s:s}}", "source", "aws.ecs",
                  "detail-type", "ECS Task State Change", "time", "2026-01-01T00:00:00Z", "detail",
                  "taskArn", task_arn, "clusterArn", cluster_arn, "lastStatus", status,
                  "desiredStatus", "RUNNING", "version", (json_int_t)version, "taskDefinitionArn",
                  "arn:aws:ecs:us-east-1:111122223333:task-definition/daemon:1");
    json_t *put = json_pack("{s:o}", "body", event);
    json_t *answer = NULL;
    struct errmsg e = {{0}};
    cr_assert_eq(devcloud_control(w->cloud, "put-event", put, &answer, &e), 0, "%s", e.text);
    json_decref(answer);
    json_decref(put);
}

#endif
