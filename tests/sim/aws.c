/* SPDX-License-Identifier: Apache-2.0
 * agent/aws/aws.h over the simulated cloud: requests and answers travel, are late, are lost; a call
 * may be throttled or refused. The effect of a request that got there does not ask whether its
 * sender still lives. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/aws/aws.h"
#include "agent/base/ensure.h"
#include "tests/sim/cloud.h"

#define TIMEOUT_US 10000000u
#define POLL_US 200000u

struct aws {
    struct node *node;
    struct aws_call *calls;
};

struct aws_call {
    struct aws_call *next;
    struct aws *aws;
    struct node *node;
    uint64_t life, poll_until_us;
    char operation[40];
    const char *items_key;
    json_t *params, *body;
    aws_done_fn done;
    void *arg;
    bool ended, effect, answer; /* ended: done was called */
    bool as_tape;
    struct aws_result result;
};

static void fail(struct aws_call *c, int err, const char *code, const char *message)
{
    c->result.err = err;
    snprintf(c->result.code, sizeof c->result.code, "%s", code);
    snprintf(c->result.message, sizeof c->result.message, "%s", message);
}

/* ---- operations ------------------------------------------------------------------- */

static uint64_t lag(void)
{
    uint64_t us = draw(world.profile.list_lag_us + 1);
    return draw(4) == 0 ? us : us / 20;
}

static bool starts_with(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static json_t *list(const char *operation, const json_t *params)
{
    json_t *arns = json_array();
    bool tasks = strcmp(operation, "ListTasks") == 0;
    const char *by = json_str(params, "startedBy");
    const char *desired = json_str_or(params, "desiredStatus", "RUNNING");
    const char *filter = json_str(params, "filter"); /* "ec2InstanceId in [i-01, i-02]" */
    uint64_t lag_us = lag();
    for (size_t i = 0; i < cloud.count; i++) {
        const struct cloud_resource *r = cloud.all[i];
        const json_t *j = r->is_task == tasks ? cloud_seen(r, lag_us) : NULL;
        bool fits = j != NULL;
        if (fits && tasks)
            fits = strcmp(json_str(j, "desiredStatus"), desired) == 0 &&
                   (by == NULL || strcmp(by, r->started_by) == 0);
        else if (fits)
            fits = strcmp(json_str(j, "status"), "INACTIVE") != 0 &&
                   (filter == NULL || strstr(filter, r->node->id) != NULL);
        if (fits)
            json_array_append_new(arns, json_string(r->arn));
    }
    return json_pack("{s:o}", tasks ? "taskArns" : "containerInstanceArns", arns);
}

/* By a filter of instance ids, the only one that is asked for; as query_parse_ec2 reads it. */
static json_t *describe_instances(const json_t *params)
{
    const json_t *filter = json_array_get(json_arr(params, "Filter"), 0), *id;
    json_t *instances = json_array();
    size_t k;
    json_array_foreach(json_arr(filter, "Value"), k, id)
    {
        for (uint32_t i = 0; i < world.node_count; i++) {
            const struct node *n = &world.nodes[i];
            if (strcmp(n->id, json_string_value(id)) == 0)
                json_array_append_new(instances, json_pack("{s:s,s:[{s:s}]}", "instanceId", n->id,
                                                           "instanceState", "name",
                                                           n->exists ? "running" : "terminated"));
        }
    }
    return json_pack("{s:o}", "instances", instances);
}

static json_t *describe(const char *operation, const json_t *params)
{
    bool tasks = strcmp(operation, "DescribeTasks") == 0;
    const char *key = tasks ? "tasks" : "containerInstances";
    json_t *found = json_array(), *failures = json_array();
    uint64_t lag_us = lag();
    size_t i;
    const json_t *item;
    json_array_foreach(json_arr(params, key), i, item)
    {
        const char *arn = json_string_value(item);
        const struct cloud_resource *r = cloud_find(arn);
        const json_t *j = r == NULL ? NULL : cloud_seen(r, lag_us);
        if (j != NULL)
            json_array_append_new(found, json_deep_copy(j));
        else
            json_array_append_new(failures,
                                  json_pack("{s:s,s:s}", "arn", arn, "reason", "MISSING"));
    }
    return json_pack("{s:o,s:o}", key, found, "failures", failures);
}

static json_t *start_task(const json_t *params)
{
    json_t *tasks = json_array(), *failures = json_array();
    size_t i;
    const json_t *item;
    json_array_foreach(json_arr(params, "containerInstances"), i, item)
    {
        const char *why = "", *arn = json_string_value(item);
        const struct cloud_resource *r = cloud_start(params, arn, &why);
        if (r != NULL)
            json_array_append_new(tasks, json_deep_copy(cloud_seen(r, 0)));
        else
            json_array_append_new(failures, json_pack("{s:s,s:s}", "arn", arn, "reason", why));
    }
    return json_pack("{s:o,s:o}", "tasks", tasks, "failures", failures);
}

static json_t *stop_task(struct aws_call *c)
{
    struct cloud_resource *r = cloud_find(json_str(c->params, "task"));
    if (r == NULL) {
        fail(c, ERR_BADPARAM, "InvalidParameterException", "The referenced task was not found.");
        return NULL;
    }
    cloud_stop(r, json_str_or(c->params, "reason", ""));
    return json_pack("{s:o}", "task", json_deep_copy(cloud_seen(r, 0)));
}

static json_t *list_attributes(void)
{
    json_t *items = json_array();
    uint64_t lag_us = lag();
    for (size_t i = 0; i < cloud.count; i++) {
        const struct cloud_resource *r = cloud.all[i];
        if (r->is_task || r->address[0] == '\0' || r->address_us + lag_us > world.now_us ||
            strcmp(cloud_status(r), "INACTIVE") == 0)
            continue;
        json_array_append_new(items, json_pack("{s:s,s:s,s:s,s:s}", "name", "blox.addr", "value",
                                               r->address, "targetType", "container-instance",
                                               "targetId", r->arn));
    }
    return json_pack("{s:o}", "attributes", items);
}

static json_t *put_attributes(const json_t *params)
{
    size_t i;
    const json_t *item;
    json_array_foreach(json_arr(params, "attributes"), i, item)
    {
        struct cloud_resource *r = cloud_find(json_str(item, "targetId"));
        if (r != NULL)
            cloud_set_attribute(r, json_str_or(item, "value", ""));
    }
    return json_object();
}

static json_t *delete_messages(const json_t *params)
{
    json_t *done = json_array();
    size_t i;
    const json_t *item;
    json_array_foreach(json_arr(params, "Entries"), i, item)
    {
        cloud_delete(json_str_or(item, "ReceiptHandle", ""));
        json_array_append_new(done, json_pack("{s:s}", "Id", json_str_or(item, "Id", "")));
    }
    return json_pack("{s:o,s:[]}", "Successful", done, "Failed");
}

static json_t *perform(struct aws_call *c)
{
    const char *op = c->operation;
    if (strcmp(op, "StartTask") == 0)
        return start_task(c->params);
    if (strcmp(op, "StopTask") == 0)
        return stop_task(c);
    if (strcmp(op, "ListTasks") == 0 || strcmp(op, "ListContainerInstances") == 0)
        return list(op, c->params);
    if (strcmp(op, "DescribeTasks") == 0 || strcmp(op, "DescribeContainerInstances") == 0)
        return describe(op, c->params);
    if (strcmp(op, "DescribeInstances") == 0)
        return describe_instances(c->params);
    if (strcmp(op, "DescribeClusters") == 0)
        return json_pack("{s:[{s:s,s:s,s:s}],s:[]}", "clusters", "clusterArn", CLOUD_CLUSTER,
                         "clusterName", "sim", "status", "ACTIVE", "failures");
    if (strcmp(op, "DescribeTaskDefinition") == 0)
        return json_pack("{s:{s:s,s:s}}", "taskDefinition", "taskDefinitionArn",
                         json_str_or(c->params, "taskDefinition", ""), "status", "ACTIVE");
    if (strcmp(op, "ListAttributes") == 0)
        return list_attributes();
    if (strcmp(op, "PutAttributes") == 0)
        return put_attributes(c->params);
    if (strcmp(op, "GetQueueUrl") == 0)
        return json_pack("{s:s}", "QueueUrl", "https://sqs/1/events");
    if (strcmp(op, "DeleteMessageBatch") == 0)
        return delete_messages(c->params);
    world_fail("the cloud does not know %s", op);
    return json_object();
}

/* ---- calls ------------------------------------------------------------------------ */

static void end(struct aws_call *c)
{
    if (c->ended)
        return;
    c->ended = true;
    for (struct aws_call **at = &c->aws->calls; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    struct tape tape;
    char *text = NULL;
    tape_init(&tape);
    c->result.body = c->body;
    c->result.attempts = 1;
    if (c->as_tape && c->body != NULL) {
        text = json_dumps(c->body, JSON_COMPACT);
        ENSURE(text != NULL && tape_parse(&tape, text, strlen(text), NULL) == 0);
        c->result.body = NULL;
        c->result.tape = &tape;
    }
    c->done(c->arg, &c->result);
    tape_fini(&tape);
    free(text);
}

static void answer_arrives(void *arg)
{
    end(arg);
}

static void timed_out(void *arg)
{
    struct aws_call *c = arg;
    if (c->ended)
        return;
    c->body = NULL;
    fail(c, ERR_TIMEOUT, "", "no answer in time");
    c->result.ambiguous = true;
    end(c);
}

static uint64_t travel(void)
{
    uint64_t us = 1000 + draw(world.profile.aws_us);
    if (chance(50))
        us += draw(world.profile.aws_late_us);
    return us;
}

static void request_arrives(void *arg)
{
    struct aws_call *c = arg;
    if (strcmp(c->operation, "ReceiveMessage") == 0) {
        json_t *messages = cloud_receive(10);
        bool listens = c->node->up && c->node->life == c->life && !c->ended;
        if (json_array_size(messages) == 0 && listens && world.now_us < c->poll_until_us) {
            json_decref(messages);
            queue_add(&world.queue, world.now_us + POLL_US, request_arrives, c);
            return;
        }
        if (!c->answer && json_array_size(messages) > 0)
            world_fault_until(world.now_us +
                              CLOUD_VISIBILITY_US); /* nobody knows of them until then */
        c->body = json_pack("{s:o}", "Messages", messages);
    } else {
        c->body = perform(c);
    }
    if (c->answer && c->node->up && c->node->life == c->life)
        node_post(c->node, world.now_us + travel(), answer_arrives, c);
}

static void draw_outcome(struct aws_call *c)
{
    const struct profile *p = &world.profile;
    c->effect = c->answer = true;
    if (chance(p->aws_throttled)) {
        c->effect = c->answer = false;
        fail(c, ERR_THROTTLED, "ThrottlingException", "Rate exceeded");
        node_post(c->node, world.now_us + travel(), answer_arrives, c);
    } else if (chance(p->aws_refused)) {
        c->effect = c->answer = false;
        fail(c, ERR_UPSTREAM, "ServerException", "Service Unavailable");
        node_post(c->node, world.now_us + travel(), answer_arrives, c);
    } else if (chance(p->aws_lost_request)) {
        c->effect = c->answer = false;
    } else if (chance(p->aws_lost_answer)) {
        c->answer = false;
    }
}

struct aws_call *aws_call(struct aws *a, enum aws_service service, const char *operation,
                          json_t *params, const struct aws_call_options *options, aws_done_fn done,
                          void *arg)
{
    (void)service;
    struct aws_call *c = calloc(1, sizeof *c);
    ENSURE(c != NULL && params != NULL);
    *c = (struct aws_call){.next = a->calls, .aws = a, .node = a->node, .life = a->node->life};
    snprintf(c->operation, sizeof c->operation, "%s", operation);
    c->params = params;
    c->as_tape = options != NULL && options->tape;
    c->done = done;
    c->arg = arg;
    c->poll_until_us = world.now_us + (uint64_t)json_int_or(params, "WaitTimeSeconds", 0) * 1000000;
    a->calls = c;
    if (starts_with(operation, "Start") || starts_with(operation, "Stop"))
        check_acts(a->node, operation);
    ENSURE(strcmp(operation, "StartTask") != 0 || (options != NULL && options->once));
    draw_outcome(c);
    uint64_t wait_us = c->poll_until_us - world.now_us;
    uint64_t patience_us =
        options != NULL && options->timeout_ms != 0 ? options->timeout_ms * 1000 : TIMEOUT_US;
    if (!c->answer && c->result.err == 0 && wait_us == 0)
        world_fault_until(world.now_us + patience_us);
    if (c->effect)
        queue_add(&world.queue, world.now_us + travel(), request_arrives, c);
    if (c->result.err == 0)
        node_post(a->node, world.now_us + patience_us + wait_us, timed_out, c);
    return c;
}

struct aws_call *aws_list(struct aws *a, enum aws_service service, const char *operation,
                          const char *items_key, json_t *params,
                          const struct aws_call_options *options, aws_done_fn done, void *arg)
{
    (void)items_key;
    return aws_call(a, service, operation, params, options, done, arg);
}

static void canceled(void *arg)
{
    struct aws_call *c = arg;
    if (c->ended)
        return;
    c->body = NULL;
    fail(c, ERR_CANCELED, "", "cancelled");
    end(c);
}

void aws_cancel(struct aws_call *c)
{
    node_post(c->node, world.now_us + 1, canceled, c);
}

int aws_create(struct aws **ret, const struct aws_options *options, struct errmsg *e)
{
    (void)options, (void)e;
    struct aws *a = calloc(1, sizeof *a);
    ENSURE(a != NULL);
    a->node = world.current;
    *ret = a;
    return 0;
}

struct destroy {
    void (*done)(void *arg);
    void *arg;
};

static void destroyed(void *arg)
{
    struct destroy d = *(struct destroy *)arg;
    free(arg);
    d.done(d.arg);
}

void aws_destroy(struct aws *a, void (*done)(void *arg), void *arg)
{
    struct destroy *d = malloc(sizeof *d);
    ENSURE(d != NULL);
    *d = (struct destroy){done, arg};
    while (a->calls != NULL)
        canceled(a->calls);
    node_post(a->node, world.now_us + 1, destroyed, d);
}

const char *aws_trouble(const struct aws *a)
{
    (void)a;
    return "";
}

const char *aws_region(const struct aws *a)
{
    (void)a;
    return "eu-west-1";
}

json_t *aws_status(const struct aws *a)
{
    (void)a;
    return json_object();
}

/* ---- the instance's metadata and its ECS agent ------------------------------------ */

struct get {
    int status;
    char *body;
    aws_http_fn done;
    void *arg;
};

static void got(void *arg)
{
    struct get *g = arg;
    int err = g->status == 404 ? ERR_NOTFOUND : 0;
    g->done(g->arg, err, g->status, g->body, g->body == NULL ? 0 : strlen(g->body));
    free(g->body);
    free(g);
}

static int answer(struct aws *a, char *body, int status, aws_http_fn done, void *arg)
{
    struct get *g = calloc(1, sizeof *g);
    ENSURE(g != NULL);
    g->body = body;
    g->status = status;
    g->done = done;
    g->arg = arg;
    node_post(a->node, world.now_us + 300 + draw(2000), got, g);
    return 0;
}

int aws_imds_get(struct aws *a, const char *path, aws_http_fn done, void *arg)
{
    char text[128] = "";
    const struct node *n = a->node;
    if (strcmp(path, "instance-id") == 0)
        snprintf(text, sizeof text, "%s", n->id);
    else if (strcmp(path, "placement/availability-zone") == 0)
        snprintf(text, sizeof text, "eu-west-1%c", (char)('a' + n->num % 3));
    else if (strcmp(path, "local-ipv4") == 0)
        snprintf(text, sizeof text, "10.0.0.%u", n->num + 1);
    else if (strcmp(path, "instance-life-cycle") == 0)
        snprintf(text, sizeof text, "%s", n->num % 2 == 0 ? "on-demand" : "spot");
    else if (strcmp(path, "spot/instance-action") == 0 && n->notice)
        snprintf(text, sizeof text, "{\"action\":\"terminate\",\"time\":\"2025-10-09T09:00:00Z\"}");
    return answer(a, text[0] == '\0' ? NULL : strdup(text), text[0] == '\0' ? 404 : 200, done, arg);
}

int aws_http_get(struct aws *a, const char *url, uint64_t timeout_ms, aws_http_fn done, void *arg)
{
    (void)timeout_ms;
    const struct cloud_resource *own = cloud_instance_of(a->node);
    json_t *j;
    if (strstr(url, "/v1/metadata") != NULL) {
        j = json_pack("{s:s,s:s?}", "Cluster", "sim", "ContainerInstanceArn",
                      own == NULL ? NULL : own->arn);
    } else {
        json_t *tasks = json_array();
        for (size_t i = 0; i < cloud.count; i++) {
            const struct cloud_resource *r = cloud.all[i];
            if (r->is_task && r->instance == own)
                json_array_append_new(tasks,
                                      json_pack("{s:s,s:s,s:s}", "Arn", r->arn, "DesiredStatus",
                                                cloud_desired(r), "KnownStatus", cloud_status(r)));
        }
        j = json_pack("{s:o}", "Tasks", tasks);
    }
    char *text = json_dumps(j, JSON_COMPACT);
    json_decref(j);
    return answer(a, text, 200, done, arg);
}
