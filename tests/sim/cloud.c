/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/cloud.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"

#define ARN_BASE "arn:aws:ecs:eu-west-1:111122223333:"

struct cloud cloud;

struct message {
    struct message *next;
    uint64_t number, visible_us;
    char *body;
};
static struct message *messages, **messages_last = &messages;
static uint64_t message_count;

/* ---- events ---------------------------------------------------------------------------------- */

static const char *const times[] = {"createdAt", "startedAt", "stoppedAt", "registeredAt", NULL};

static json_t *event_of(const struct cloud_resource *r)
{
    char now[CLOCK_TEXT_MAX], id[40];
    json_t *detail = json_deep_copy(r->versions[r->count - 1].json);
    json_set_str(detail, "clusterArn", CLOUD_CLUSTER);
    for (size_t i = 0; times[i] != NULL; i++) {
        char text[CLOCK_TEXT_MAX];
        const json_t *at = json_object_get(detail, times[i]);
        if (json_is_number(at))
            json_set_str(detail, times[i],
                         clock_format_unix_ms((int64_t)(json_number_value(at) * 1000), text));
    }
    snprintf(id, sizeof id, "00000000-0000-4000-8000-%012lx", message_count);
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:[s],s:o}", "version", "0", "id", id, "detail-type",
        r->is_task ? "ECS Task State Change" : "ECS Container Instance State Change", "source",
        "aws.ecs", "account", "111122223333", "time", clock_format_unix_ms(host_unix_ms(), now),
        "region", "eu-west-1", "resources", r->arn, "detail", detail);
}

static void event_arrives(void *arg)
{
    struct message *m = arg;
    m->visible_us = world.now_us;
    *messages_last = m;
    messages_last = &m->next;
}

static void tell(const struct cloud_resource *r)
{
    unsigned copies = chance(world.profile.event_lost) ? 0 : 1;
    copies += chance(world.profile.event_doubled);
    for (unsigned i = 0; i < copies; i++) {
        struct message *m = calloc(1, sizeof *m);
        json_t *event = event_of(r);
        ENSURE(m != NULL && event != NULL);
        m->number = ++message_count;
        m->body = json_dumps(event, JSON_COMPACT | JSON_SORT_KEYS);
        json_decref(event);
        uint64_t us = 50000 + draw(world.profile.event_us);
        if (chance(100))
            us += draw(world.profile.event_late_us);
        world_fault_until(world.now_us + us);
        queue_add(&world.queue, world.now_us + us, event_arrives, m);
    }
}

json_t *cloud_receive(size_t max)
{
    json_t *list = json_array();
    for (struct message *m = messages; m != NULL && json_array_size(list) < max; m = m->next) {
        char number[24];
        if (m->visible_us > world.now_us)
            continue;
        m->visible_us = world.now_us + CLOUD_VISIBILITY_US;
        snprintf(number, sizeof number, "%lu", m->number);
        json_array_append_new(list, json_pack("{s:s,s:s,s:s}", "MessageId", number, "ReceiptHandle",
                                              number, "Body", m->body));
    }
    return list;
}

void cloud_delete(const char *receipt)
{
    uint64_t number = strtoul(receipt, NULL, 10);
    for (struct message **at = &messages; *at != NULL; at = &(*at)->next) {
        struct message *m = *at;
        if (m->number != number)
            continue;
        *at = m->next;
        if (messages_last == &m->next)
            messages_last = at;
        free(m->body);
        free(m);
        return;
    }
}

/* ---- resources -------------------------------------------------------------------- */

static const json_t *current(const struct cloud_resource *r)
{
    return r->versions[r->count - 1].json;
}

const char *cloud_status(const struct cloud_resource *r)
{
    return json_str(current(r), r->is_task ? "lastStatus" : "status");
}

const char *cloud_desired(const struct cloud_resource *r)
{
    return json_str(current(r), "desiredStatus");
}

const json_t *cloud_seen(const struct cloud_resource *r, uint64_t lag_us)
{
    uint64_t at_us = world.now_us > lag_us ? world.now_us - lag_us : 0;
    for (size_t i = r->count; i > 0; i--) {
        if (r->versions[i - 1].at_us <= at_us)
            return r->versions[i - 1].json;
    }
    return NULL;
}

struct cloud_resource *cloud_find(const char *arn)
{
    for (size_t i = 0; arn != NULL && i < cloud.count; i++) {
        if (strcmp(cloud.all[i]->arn, arn) == 0)
            return cloud.all[i];
    }
    return NULL;
}

struct cloud_resource *cloud_instance_of(const struct node *n)
{
    for (size_t i = 0; i < cloud.count; i++) {
        if (!cloud.all[i]->is_task && cloud.all[i]->node == n)
            return cloud.all[i];
    }
    return NULL;
}

static struct cloud_resource *add(bool is_task)
{
    struct cloud_resource *r = calloc(1, sizeof *r);
    cloud.all = realloc(cloud.all, (cloud.count + 1) * sizeof(struct cloud_resource *));
    ENSURE(r != NULL && cloud.all != NULL);
    r->is_task = is_task;
    snprintf(r->arn, sizeof r->arn, ARN_BASE "%s/sim/%032zx",
             is_task ? "task" : "container-instance", cloud.count + 1);
    cloud.all[cloud.count++] = r;
    return r;
}

/* Takes json; its version is one more than the last. */
static void change(struct cloud_resource *r, json_t *json)
{
    r->versions = realloc(r->versions, (r->count + 1) * sizeof *r->versions);
    ENSURE(r->versions != NULL && json != NULL);
    json_set_int(json, "version", (int64_t)r->count + 1);
    r->versions[r->count++] = (struct cloud_version){world.now_us, json};
    tell(r);
}

static json_t *next_of(const struct cloud_resource *r)
{
    return json_deep_copy(current(r));
}

static double now_s(void)
{
    return (double)host_unix_ms() / 1000;
}

/* ---- tasks ------------------------------------------------------------------------ */

static void task_stops(void *arg)
{
    struct cloud_resource *r = arg;
    if (strcmp(cloud_status(r), "STOPPED") == 0)
        return;
    json_t *j = next_of(r);
    json_set_str(j, "lastStatus", "STOPPED");
    json_set_str(j, "desiredStatus", "STOPPED");
    json_object_set_new(j, "stoppedAt", json_real(now_s()));
    world_say(NULL, "ecs: task %s on %s is stopped: %s", r->arn + strlen(r->arn) - 4,
              r->instance->node->id, json_str_or(j, "stoppedReason", "?"));
    change(r, j);
}

static void task_dies(void *arg)
{
    struct cloud_resource *r = arg;
    if (strcmp(cloud_status(r), "STOPPED") == 0 || world.calm)
        return;
    json_t *j = next_of(r);
    json_set_str(j, "stopCode", "EssentialContainerExited");
    json_set_str(j, "stoppedReason", "Essential container in task exited");
    json_set_str(j, "lastStatus", "STOPPED");
    json_set_str(j, "desiredStatus", "STOPPED");
    json_object_set_new(j, "stoppedAt", json_real(now_s()));
    world_say(NULL, "ecs: task %s on %s died", r->arn + strlen(r->arn) - 4, r->instance->node->id);
    change(r, j);
}

static void task_runs(void *arg)
{
    struct cloud_resource *r = arg;
    if (strcmp(cloud_status(r), "PENDING") != 0)
        return;
    json_t *j = next_of(r);
    json_set_str(j, "lastStatus", "RUNNING");
    json_object_set_new(j, "startedAt", json_real(now_s()));
    change(r, j);
    if (chance(world.profile.task_dies))
        queue_add(&world.queue, world.now_us + draw(8000000), task_dies, r);
}

static int64_t term_of(const json_t *params)
{
    size_t i;
    const json_t *tag;
    json_array_foreach(json_arr(params, "tags"), i, tag)
    {
        if (strcmp(json_str_or(tag, "key", ""), "blox:term") == 0)
            return strtol(json_str_or(tag, "value", "0"), NULL, 10);
    }
    return 0;
}

struct cloud_resource *cloud_start(const json_t *params, const char *instance, const char **ret_why)
{
    struct cloud_resource *host = cloud_find(instance);
    if (host == NULL || strcmp(cloud_status(host), "INACTIVE") == 0) {
        *ret_why = host == NULL ? "MISSING" : "INACTIVE";
        return NULL;
    }
    if (!json_bool_or(current(host), "agentConnected", false)) {
        *ret_why = "AGENT";
        return NULL;
    }
    struct cloud_resource *r = add(true);
    r->instance = host;
    r->term = term_of(params);
    snprintf(r->group, sizeof r->group, "%s", json_str_or(params, "group", ""));
    snprintf(r->started_by, sizeof r->started_by, "%s", json_str_or(params, "startedBy", ""));
    cloud.starts++;
    world_say(NULL, "ecs: task %s (%s, of %.8s) on %s", r->arn + strlen(r->arn) - 4, r->group,
              r->started_by, host->node->id);
    check_started(r);
    change(r, json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:f}", "taskArn", r->arn, "clusterArn",
                        CLOUD_CLUSTER, "containerInstanceArn", host->arn, "taskDefinitionArn",
                        json_str_or(params, "taskDefinition", ""), "group", r->group, "startedBy",
                        r->started_by, "lastStatus", "PENDING", "desiredStatus", "RUNNING",
                        "createdAt", now_s()));
    queue_add(&world.queue, world.now_us + 200000 + draw(1500000), task_runs, r);
    return r;
}

void cloud_stop(struct cloud_resource *r, const char *reason)
{
    if (strcmp(cloud_desired(r), "STOPPED") == 0)
        return;
    json_t *j = next_of(r);
    json_set_str(j, "desiredStatus", "STOPPED");
    json_set_str(j, "stopCode", "UserInitiated");
    json_set_str(j, "stoppedReason", reason);
    cloud.stops++;
    change(r, j);
    queue_add(&world.queue, world.now_us + 100000 + draw(1000000), task_stops, r);
}

/* ---- instances -------------------------------------------------------------------- */

static void instance_registers(void *arg)
{
    struct node *n = arg;
    static const char *const zones[] = {"eu-west-1a", "eu-west-1b", "eu-west-1c"};
    if (!n->exists)
        return;
    struct cloud_resource *r = add(false);
    r->node = n;
    change(r, json_pack("{s:s,s:s,s:s,s:b,s:f,s:i,s:{s:s},s:[{s:s,s:s}]}", "containerInstanceArn",
                        r->arn, "ec2InstanceId", n->id, "status", "ACTIVE", "agentConnected", 1,
                        "registeredAt", now_s(), "runningTasksCount", 0, "versionInfo",
                        "agentVersion", "1.99.0", "attributes", "name", "ecs.availability-zone",
                        "value", zones[n->num % 3]));
    world_say(n, "registers in ECS");
}

void cloud_register(struct node *n)
{
    queue_add(&world.queue, world.now_us + 200000 + draw(2000000), instance_registers, n);
}

void cloud_connect(struct node *n, bool connected)
{
    struct cloud_resource *r = cloud_instance_of(n);
    if (r == NULL || strcmp(cloud_status(r), "INACTIVE") == 0 ||
        json_bool_or(current(r), "agentConnected", false) == connected)
        return;
    json_t *j = next_of(r);
    json_set_bool(j, "agentConnected", connected);
    change(r, j);
    world_say(n, "ECS agent %s", connected ? "is connected" : "is disconnected");
}

static void instance_ends(void *arg)
{
    struct cloud_resource *r = arg;
    json_t *j = next_of(r);
    json_set_str(j, "status", "INACTIVE");
    json_object_set_new(j, "agentConnected", json_false());
    change(r, j);
    world_say(r->node, "is deregistered from ECS");
    for (size_t i = 0; i < cloud.count; i++) {
        struct cloud_resource *t = cloud.all[i];
        if (!t->is_task || t->instance != r || strcmp(cloud_status(t), "STOPPED") == 0)
            continue;
        j = next_of(t);
        json_set_str(j, "stoppedReason", "Host EC2 terminated");
        json_set_str(j, "stopCode", "TerminationNotice");
        json_set_str(j, "lastStatus", "STOPPED");
        json_set_str(j, "desiredStatus", "STOPPED");
        json_object_set_new(j, "stoppedAt", json_real(now_s()));
        change(t, j);
    }
}

void cloud_terminate(struct node *n)
{
    struct cloud_resource *r = cloud_instance_of(n);
    if (r != NULL)
        queue_add(&world.queue, world.now_us + 500000 + draw(2000000), instance_ends, r);
}

void cloud_set_attribute(struct cloud_resource *instance, const char *value)
{
    snprintf(instance->address, sizeof instance->address, "%s", value);
    instance->address_us = world.now_us;
}
