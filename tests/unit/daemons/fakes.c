/* SPDX-License-Identifier: Apache-2.0 */
#include "fakes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/row.h"
#include "agent/intake/events.h"

struct fake fake;

void fake_instance(int n, const char *status, bool connected, uint64_t version)
{
    char arn[32];
    snprintf(arn, sizeof arn, "inst/%02d", n);
    struct row row = {0};
    row_set(&row, ROW_CLUSTER, FAKE_CLUSTER);
    row_set(&row, ROW_STATUS, status);
    row_set(&row, ROW_CONNECTED, connected ? "true" : "false");
    static const char json[] = "{\"attributes\":[{\"name\":\"color\",\"value\":\"red\"}]}";
    row.json = (struct row_text){json, sizeof json - 1};
    fake_put_row(RECORD_INSTANCE, arn, version, &row);
}

void fake_attempt(const char *environment, const char *deployment, int instance)
{
    char key[128], json[512];
    snprintf(key, sizeof key, "%s/inst/%02d", deployment, instance);
    snprintf(json, sizeof json,
             "{\"environment\":\"%s\",\"deployment\":\"%s\",\"containerInstanceArn\":\"inst/%02d\","
             "\"clusterArn\":\"%s\",\"state\":\"asked\",\"askedAt\":%lld}",
             environment, deployment, instance, FAKE_CLUSTER, (long long)clock_unix_ms());
    struct row row = {0};
    row_set(&row, ROW_STATUS, "asked");
    row.json = (struct row_text){json, strlen(json)};
    fake_put_row(RECORD_ATTEMPT, key, 1, &row);
}

/* ---- ECS -------------------------------------------------------------------------- */

static json_t *task_json(const struct fake_task *t)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:i,s:I}", "taskArn", t->arn, "clusterArn",
                     FAKE_CLUSTER, "containerInstanceArn", t->instance, "group", t->group,
                     "startedBy", t->started_by, "lastStatus", t->status, "desiredStatus",
                     t->desired, "version", t->version, "createdAt",
                     (json_int_t)(t->created / 1000));
}

void events_row_init(struct events_row *row)
{
    memset(row, 0, sizeof *row);
    buf_init(&row->memory, RECORD_VALUE_MAX);
}

void events_row_fini(struct events_row *row)
{
    buf_fini(&row->memory);
}

void events_from_task(const json_t *task, const struct events_options *options,
                      struct events_row *ret)
{
    (void)options;
    struct buf text;
    struct row row = {0};
    buf_init(&text, RECORD_VALUE_MAX);
    json_write(task, &text);
    row_set(&row, ROW_CLUSTER, json_str(task, "clusterArn"));
    row_set(&row, ROW_STATUS, json_str(task, "lastStatus"));
    row_set(&row, ROW_DESIRED, json_str(task, "desiredStatus"));
    row_set(&row, ROW_INSTANCE, json_str(task, "containerInstanceArn"));
    row_set(&row, ROW_STARTED_BY, json_str(task, "startedBy"));
    row_set(&row, ROW_GROUP, json_str(task, "group"));
    row.json = (struct row_text){text.data, text.len};
    const char *arn = json_str(task, "taskArn");
    size_t n = strlen(arn);
    buf_clear(&ret->memory);
    buf_put(&ret->memory, arn, n);
    ENSURE(row_encode(&row, &ret->memory) == 0);
    ret->outcome = EVENTS_ROW;
    ret->record = (struct record){.kind = RECORD_TASK,
                                  .key = ret->memory.data,
                                  .key_len = (uint16_t)n,
                                  .value = (const uint8_t *)ret->memory.data + n,
                                  .value_len = (uint32_t)(ret->memory.len - n),
                                  .version = {(uint64_t)json_int_or(task, "version", 0), 0}};
    buf_fini(&text);
}

void events_from_instance(const json_t *instance, const char *cluster_arn,
                          const struct events_options *options, struct events_row *ret)
{
    (void)instance;
    (void)cluster_arn;
    (void)options;
    ret->outcome = EVENTS_IGNORED;
}

static void tell(const struct fake_task *t)
{
    struct events_row row;
    json_t *json = task_json(t);
    events_row_init(&row);
    events_from_task(json, NULL, &row);
    row.record.source = SOURCE_EVENT;
    ENSURE(rows_apply(NULL, &row.record, 1, NULL, NULL) == 0);
    events_row_fini(&row);
    json_decref(json);
}

struct fake_task *fake_task(int instance, const char *environment, const char *deployment,
                            bool told)
{
    ENSURE(fake.task_count < 512);
    struct fake_task *t = &fake.tasks[fake.task_count];
    snprintf(t->arn, sizeof t->arn, "task/%03d", fake.task_count++);
    snprintf(t->instance, sizeof t->instance, "inst/%02d", instance);
    snprintf(t->group, sizeof t->group, "daemon:%.30s", environment);
    snprintf(t->started_by, sizeof t->started_by, "%.36s", deployment);
    snprintf(t->status, sizeof t->status, "PENDING");
    snprintf(t->desired, sizeof t->desired, "RUNNING");
    t->version = 1;
    t->created = clock_unix_ms() + 1000;
    if (told)
        tell(t);
    return t;
}

void fake_set(struct fake_task *t, const char *status, const char *desired, bool told)
{
    snprintf(t->status, sizeof t->status, "%s", status);
    snprintf(t->desired, sizeof t->desired, "%s", desired);
    t->version++;
    if (told)
        tell(t);
}

void fake_advance(void)
{
    for (int i = 0; i < fake.task_count; i++) {
        struct fake_task *t = &fake.tasks[i];
        bool wanted = strcmp(t->desired, "RUNNING") == 0;
        if (wanted && strcmp(t->status, "PENDING") == 0)
            fake_set(t, "RUNNING", "RUNNING", fake.events);
        else if (!wanted && strcmp(t->status, "STOPPED") != 0)
            fake_set(t, "STOPPED", "STOPPED", fake.events);
    }
}

int fake_live(int instance)
{
    char arn[32];
    int n = 0;
    snprintf(arn, sizeof arn, "inst/%02d", instance);
    for (int i = 0; i < fake.task_count; i++)
        n += strcmp(fake.tasks[i].instance, arn) == 0 &&
             strcmp(fake.tasks[i].status, "STOPPED") != 0;
    return n;
}

int fake_live_all(void)
{
    int n = 0;
    for (int i = 0; i < fake.task_count; i++)
        n += strcmp(fake.tasks[i].status, "STOPPED") != 0;
    return n;
}

bool fake_one_each(int count)
{
    for (int i = 0; i < count; i++) {
        if (fake_live(i) != 1)
            return false;
    }
    return true;
}

static void refresh(void *arg)
{
    for (int i = 0; i < fake.task_count; i++) {
        if (strcmp(fake.tasks[i].arn, arg) == 0 && !fake.looks_in_vain)
            tell(&fake.tasks[i]);
    }
    free(arg);
}

bool intake_keeps(const struct intake *in, const char *cluster)
{
    (void)in;
    (void)cluster;
    return true;
}

bool intake_knows(const struct intake *in, const char *cluster)
{
    (void)in;
    return fake.all_known || (fake.known != NULL && strcmp(cluster, fake.known) == 0);
}

void fake_known(const char *cluster)
{
    fake.known = cluster;
    fake.all_known = cluster == NULL;
    daemons_known(fake.d, cluster);
}

void fake_lead(uint64_t term)
{
    daemons_lead(fake.d, true, term);
    fake_known(NULL);
}

void intake_refresh_task(struct intake *in, const char *cluster, const char *task_arn)
{
    (void)in;
    (void)cluster;
    fake_later(3, refresh, strdup(task_arn));
}

bool intake_group_of(void *arg, const char *deployment, char *out)
{
    (void)arg, (void)deployment, (void)out;
    return false;
}

void intake_refresh_instance(struct intake *in, const char *cluster, const char *instance_arn)
{
    (void)in;
    (void)cluster;
    (void)instance_arn;
}

/* ---- the AWS client -------------------------------------------------------------------------- */

struct aws_call {
    char operation[40];
    json_t *params;
    aws_done_fn done;
    void *arg;
    bool canceled;
};

static json_t *start_tasks(json_t *params, bool effect)
{
    json_t *tasks = json_array(), *failures = json_array();
    size_t i;
    json_t *item;
    json_t *instances = json_arr(params, "containerInstances");
    if ((int)json_array_size(instances) > fake.batch_max)
        fake.batch_max = (int)json_array_size(instances);
    json_array_foreach(instances, i, item)
    {
        const char *arn = json_string_value(item);
        char key[128];
        snprintf(key, sizeof key, "%s/%s", json_str(params, "startedBy"), arn);
        fake.attempt_was_stored = fake.attempt_was_stored && fake_attempt_is_stored(key);
        if (fake.fails && strcmp(fake.fails, arn) == 0) {
            json_array_append_new(failures,
                                  json_pack("{s:s,s:s}", "arn", arn, "reason", fake.reason));
            continue;
        }
        if (!effect)
            continue;
        int n = (int)strtol(arn + 5, NULL, 10);
        fake.starts_of[n]++;
        struct fake_task *t = fake_task(n, strchr(json_str(params, "group"), ':') + 1,
                                        json_str(params, "startedBy"), fake.events);
        json_array_append_new(tasks, task_json(t));
    }
    return json_pack("{s:o,s:o}", "tasks", tasks, "failures", failures);
}

static json_t *stop_task_json(json_t *params)
{
    snprintf(fake.last_reason, sizeof fake.last_reason, "%s", json_str(params, "reason"));
    for (int i = 0; i < fake.task_count; i++) {
        struct fake_task *t = &fake.tasks[i];
        if (strcmp(t->arn, json_str(params, "task")) != 0)
            continue;
        fake_set(t, t->status, "STOPPED", fake.events);
        return json_pack("{s:o}", "task", task_json(t));
    }
    return NULL;
}

static json_t *list_tasks_json(json_t *params)
{
    json_t *arns = json_array();
    for (int i = 0; i < fake.task_count && !fake.list_is_empty; i++) {
        struct fake_task *t = &fake.tasks[i];
        if (strcmp(t->started_by, json_str(params, "startedBy")) == 0 &&
            strcmp(t->desired, "RUNNING") == 0) /* the default; startedBy allows no other filter */
            json_array_append_new(arns, json_string(t->arn));
    }
    return json_pack("{s:o}", "taskArns", arns);
}

static void fail(struct aws_result *r, int err, const char *code, const char *message)
{
    r->err = err;
    snprintf(r->code, sizeof r->code, "%s", code);
    snprintf(r->message, sizeof r->message, "%s", message);
}

static json_t *perform_start(const struct aws_call *call, struct aws_result *r)
{
    enum fake_start how = fake.start_times ? fake.start : FAKE_ANSWER;
    fake.start_calls++;
    fake.store_fails = fake.store_fails || fake.start_fills_disk;
    if (fake.start_times > 0)
        fake.start_times--;
    if (how == FAKE_REFUSE) {
        fail(r, ERR_BADPARAM, "ClientException", "TaskDefinition is inactive");
        return NULL;
    }
    if (how == FAKE_THROTTLE) {
        fail(r, ERR_THROTTLED, "ThrottlingException", "Rate exceeded");
        return NULL;
    }
    json_t *body = start_tasks(call->params, how != FAKE_LOSE_REQUEST);
    if (how == FAKE_ANSWER)
        return body;
    json_decref(body);
    fail(r, ERR_TIMEOUT, "", "no answer in time");
    r->ambiguous = true;
    return NULL;
}

static json_t *perform(const struct aws_call *call, struct aws_result *r)
{
    const char *op = call->operation;
    if (fake.unreachable) {
        fail(r, ERR_UNREACHABLE, "", "connection refused");
        return NULL;
    }
    if (strcmp(op, "StartTask") == 0)
        return perform_start(call, r);
    if (strcmp(op, "StopTask") == 0) {
        fake.stop_calls++;
        if (fake.stops_throttled > 0) {
            fake.stops_throttled--;
            fail(r, ERR_THROTTLED, "ThrottlingException", "Rate exceeded");
            return NULL;
        }
        json_t *body = stop_task_json(call->params);
        if (!body)
            fail(r, ERR_BADPARAM, "InvalidParameterException",
                 "The referenced task was not found.");
        return body;
    }
    if (strcmp(op, "ListTasks") == 0) {
        fake.list_calls++;
        bool lost = fake.lists_lost > 0 && fake.lists_lost-- > 0;
        if (lost)
            fail(r, ERR_TIMEOUT, "", "no answer");
        else if (fake.no_cluster)
            fail(r, ERR_BADPARAM, "ClusterNotFoundException", "Cluster not found.");
        return lost || fake.no_cluster ? NULL : list_tasks_json(call->params);
    }
    if (strcmp(op, "DescribeClusters") == 0) {
        const char *name = json_string_value(json_array_get(json_arr(call->params, "clusters"), 0));
        if (strcmp(name, "c") == 0)
            return json_pack("{s:[{s:s,s:s}]}", "clusters", "clusterArn", FAKE_CLUSTER, "status",
                             "ACTIVE");
        return json_pack("{s:[],s:[{s:s,s:s}]}", "clusters", "failures", "arn", name, "reason",
                         "MISSING");
    }
    if (strcmp(op, "DescribeTaskDefinition") == 0) {
        const char *name = json_str(call->params, "taskDefinition");
        if (strcmp(name, "none") != 0)
            return json_pack("{s:{s:s,s:s}}", "taskDefinition", "taskDefinitionArn", "arn:def:7",
                             "status", strcmp(name, "old") == 0 ? "INACTIVE" : "ACTIVE");
        fail(r, ERR_BADPARAM, "ClientException", "Unable to describe task definition.");
        return NULL;
    }
    fake.describe_calls++;
    if (fake.shown_version)
        return json_pack("{s:[{s:s,s:i,s:s,s:b}]}", "containerInstances", "containerInstanceArn",
                         "inst/00", "version", fake.shown_version, "status", "ACTIVE",
                         "agentConnected", true);
    return json_object();
}

static void answer_call(void *arg)
{
    struct aws_call *call = arg;
    struct aws_result r = {0};
    json_t *body = NULL;
    if (call->canceled)
        fail(&r, ERR_CANCELED, "", "cancelled");
    else
        body = perform(call, &r);
    r.body = body;
    call->done(call->arg, &r);
    json_decref(body);
    json_decref(call->params);
    free(call);
}

struct aws_call *aws_call(struct aws *a, enum aws_service service, const char *operation,
                          json_t *params, const struct aws_call_options *options, aws_done_fn done,
                          void *arg)
{
    (void)a;
    (void)service;
    struct aws_call *call = calloc(1, sizeof *call);
    ENSURE(call);
    ENSURE(strcmp(operation, "StartTask") != 0 || (options && options->once));
    snprintf(call->operation, sizeof call->operation, "%s", operation);
    call->params = params;
    call->done = done;
    call->arg = arg;
    fake_later(2, answer_call, call);
    return call;
}

struct aws_call *aws_list(struct aws *a, enum aws_service service, const char *operation,
                          const char *items_key, json_t *params,
                          const struct aws_call_options *options, aws_done_fn done, void *arg)
{
    ENSURE(strcmp(items_key, "taskArns") == 0);
    return aws_call(a, service, operation, params, options, done, arg);
}

void aws_cancel(struct aws_call *call)
{
    call->canceled = true;
}

const char *aws_trouble(const struct aws *a)
{
    (void)a;
    return "";
}

/* ---- raft and intent -------------------------------------------------------------- */

struct proposal {
    json_t *command;
    raft_uv_done_fn done;
    void *arg;
};

bool raft_uv_may_act(const struct raft_uv *r)
{
    (void)r;
    return fake.lease;
}

static void apply(json_t *command)
{
    const char *op = json_str(command, "op");
    const char *env = json_str(command, "environment");
    if (strcmp(op, "deployment.status") == 0) {
        json_t *deployment = json_object_get(fake.deployments, json_str(command, "id"));
        ENSURE(env && deployment);
        json_set_str(deployment, "status", json_str(command, "status"));
        snprintf(fake.last_status, sizeof fake.last_status, "%s", json_str(command, "status"));
    } else if (strcmp(op, "environment.remove") == 0) {
        json_object_del(fake.environments, json_str(command, "name"));
    }
}

void fake_changed_in(const char *environment)
{
    struct store_log_intent row = {
        .kind = RECORD_ENVIRONMENT, .key = environment, .key_len = (uint16_t)strlen(environment)};
    daemons_intent_changed(fake.d, &row, 1);
}

void fake_changed(void)
{
    const char *name;
    json_t *value;
    for (struct list *n = fake.d->env_list.next; n != &fake.d->env_list;) {
        struct denv *env = LIST_OF(n, struct denv, node);
        n = n->next;
        char copy[sizeof env->name];
        memcpy(copy, env->name, sizeof copy);
        fake_changed_in(copy);
    }
    json_object_foreach(fake.environments, name, value) fake_changed_in(name);
}

static void commit(void *arg)
{
    struct proposal *p = arg;
    static uint64_t index;
    int err = fake.propose_err;
    index++;
    fake.proposals++;
    json_decref(fake.last_proposal);
    fake.last_proposal = json_incref(p->command);
    if (!err) {
        struct intent_result result = {.body = p->command};
        apply(p->command);
        daemons_applied(fake.d, index, &result);
        fake_changed_in(json_str(
            p->command, json_str(p->command, "environment") != NULL ? "environment" : "name"));
    }
    p->done(p->arg, err, index, 5);
    json_decref(p->command);
    free(p);
}

int raft_uv_propose(struct raft_uv *r, const void *data, size_t len, raft_uv_done_fn done,
                    void *arg)
{
    (void)r;
    struct proposal *p = calloc(1, sizeof *p);
    ENSURE(p);
    p->command = json_parse(data, len, NULL);
    ENSURE(p->command);
    p->done = done;
    p->arg = arg;
    fake_later(1, commit, p);
    return 0;
}

int intent_check(const json_t *command, struct intent_result *ret)
{
    (void)command;
    *ret = (struct intent_result){0};
    return 0;
}

const json_t *intent_environment(const struct intent *in, const char *name)
{
    (void)in;
    return json_object_get(fake.environments, name);
}

const json_t *intent_deployment(const struct intent *in, const char *environment, const char *id)
{
    (void)in;
    (void)environment;
    return json_object_get(fake.deployments, id);
}

const json_t *intent_next_deployment(const struct intent *in, const char *environment, size_t *at)
{
    (void)in;
    size_t i = 0;
    const char *id;
    json_t *deployment;
    json_object_foreach(fake.deployments, id, deployment)
    {
        if (strcmp(json_str_or(deployment, "environment", ""), environment) == 0 && i++ == *at) {
            ++*at;
            return deployment;
        }
    }
    return NULL;
}

const json_t *intent_next(const struct intent *in, size_t *at)
{
    (void)in;
    size_t i = 0;
    const char *key;
    json_t *value;
    json_object_foreach(fake.environments, key, value)
    {
        if (i++ == *at) {
            ++*at;
            return value;
        }
    }
    return NULL;
}

void fake_deploy(const char *environment, const char *deployment)
{
    json_object_set_new(fake.environments, environment,
                        json_pack("{s:s,s:s,s:s,s:s,s:s}", "name", environment, "cluster",
                                  FAKE_CLUSTER, "taskDefinition", "arn:def:7", "status", "active",
                                  "activeDeployment", deployment));
    json_object_set_new(fake.deployments, deployment,
                        json_pack("{s:s,s:s,s:s,s:i,s:s}", "id", deployment, "environment",
                                  environment, "taskDefinition", "arn:def:7", "revision", 1,
                                  "status", "pending"));
}

/* ---- running ---------------------------------------------------------------------- */

void fake_init(void)
{
    memset(&fake, 0, sizeof fake);
    fake.loop = uv_default_loop();
    fake.events = true;
    fake.lease = true;
    fake.attempt_was_stored = true;
    fake.environments = json_object();
    fake.deployments = json_object();
    struct daemons_options options = {.loop = fake.loop, .cluster = "c", .seed = 7};
    ENSURE(daemons_create(&fake.d, &options, NULL) == 0);
    fake.d->settle_first_ms = 10;
    fake.d->settle_window_ms = 150;
}

void fake_fini(void)
{
    daemons_destroy(fake.d, NULL, NULL);
    uv_run(fake.loop, UV_RUN_DEFAULT);
    fake_instance(0, "ACTIVE", true, 1000); /* rows still come: nobody listens any more */
    uv_run(fake.loop, UV_RUN_DEFAULT);
    uv_loop_close(fake.loop);
    fake_store_fini();
    json_decref(fake.environments);
    json_decref(fake.deployments);
    json_decref(fake.last_proposal);
}

void fake_run(uint64_t ms, bool advance)
{
    uint64_t end = clock_mono_ms() + ms;
    /* A machine that does not run us for so long makes no turns. */
    for (uint64_t turns = 0; turns < ms || clock_mono_ms() < end; turns++) {
        uv_run(fake.loop, UV_RUN_NOWAIT);
        struct timespec pause = {0, 500000};
        nanosleep(&pause, NULL);
    }
    if (advance)
        fake_advance();
}

void fake_deploy_many(int count)
{
    for (int i = 0; i < count; i++) {
        char name[16], id[40];
        snprintf(name, sizeof name, "e%02d", i);
        snprintf(id, sizeof id, "%08d-1111-4111-8111-111111111111", i);
        fake_deploy(name, id);
    }
    fake_changed();
}

void fake_instances(int count)
{
    for (int i = 0; i < count; i++)
        fake_instance(i, "ACTIVE", true, 1);
    fake_run(10, false);
}
