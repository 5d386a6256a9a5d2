/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/render.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/devcloud/queue.h"
#include "agent/devcloud/tasks.h"

/* What an agent of 2026 reports on Amazon Linux 2023. */
static const char *const CAPABILITIES[] = {
    "com.amazonaws.ecs.capability.privileged-container",
    "com.amazonaws.ecs.capability.docker-remote-api.1.24",
    "com.amazonaws.ecs.capability.docker-remote-api.1.30",
    "com.amazonaws.ecs.capability.docker-remote-api.1.44",
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "com.amazonaws.ecs.capability.ecr-auth",
    "com.amazonaws.ecs.capability.task-iam-role",
    "com.amazonaws.ecs.capability.task-iam-role-network-host",
    "ecs.capability.execution-role-awslogs",
    "ecs.capability.task-eni",
    "ecs.capability.docker-plugin.local",
    "ecs.capability.full-sync",
    "ecs.capability.execute-command",
};

json_t *render_time(int64_t unix_ms, enum render_as as)
{
    char text[CLOCK_TEXT_MAX];

    if (as == AS_API)
        return json_real((double)unix_ms / 1000.0);
    return json_string(clock_format_unix_ms(unix_ms, text));
}

static void put_time(json_t *obj, const char *key, int64_t unix_ms, enum render_as as)
{
    if (unix_ms != 0)
        json_object_set_new(obj, key, render_time(unix_ms, as));
}

static void put_attribute(json_t *list, const char *name, const json_t *value)
{
    json_t *one = json_object();

    json_set_str(one, "name", name);
    json_set_str(one, "value", json_string_value(value));
    json_array_append_new(list, one);
}

json_t *render_attributes(struct instance *in)
{
    const char *key;
    json_t *value, *list;

    if (in->all_attributes != NULL)
        return json_incref(in->all_attributes);
    list = json_array();
    for (size_t i = 0; i < sizeof(CAPABILITIES) / sizeof(CAPABILITIES[0]); i++)
        put_attribute(list, CAPABILITIES[i], NULL);
    json_object_foreach(in->attributes, key, value) put_attribute(list, key, value);
    json_object_foreach(in->custom, key, value) put_attribute(list, key, value);
    return list;
}

/* The API has all kinds of value, zero where another counts; events have the one that counts. */
static json_t *resource(const char *name, const char *type, const char *key, json_t *value,
                        enum render_as as)
{
    json_t *obj = json_pack("{s:s,s:s}", "name", name, "type", type);

    if (as == AS_API) {
        json_object_set_new(obj, "doubleValue", json_real(0.0));
        json_set_int(obj, "longValue", 0);
        json_set_int(obj, "integerValue", 0);
    }
    json_object_set_new(obj, key, value);
    return obj;
}

static json_t *resource_number(const char *name, int64_t value, enum render_as as)
{
    return resource(name, "INTEGER", "integerValue", json_integer((json_int_t)value), as);
}

static json_t *resource_set(const char *name, json_t *values, enum render_as as)
{
    return resource(name, "STRINGSET", "stringSetValue", values, as);
}

static json_t *port_set(const struct instance *in, bool udp, bool with_tasks)
{
    static const char *const OWN[] = {"22", "2376", "2375", "51678", "51679"};
    json_t *set = json_array();

    for (size_t i = 0; !udp && i < sizeof(OWN) / sizeof(OWN[0]); i++)
        json_array_append_new(set, json_string(OWN[i]));
    for (size_t i = 0; with_tasks && i < in->port_count[udp]; i++)
        json_array_append_new(set, json_sprintf("%u", in->ports[udp][i]));
    return set;
}

static json_t *render_resources(const struct instance *in, bool left, enum render_as as)
{
    json_t *list = json_array();

    json_array_append_new(list, resource_number("CPU", left ? in->cpu_left : in->cpu, as));
    json_array_append_new(list, resource_number("MEMORY", left ? in->memory_left : in->memory, as));
    json_array_append_new(list, resource_set("PORTS", port_set(in, false, left), as));
    json_array_append_new(list, resource_set("PORTS_UDP", port_set(in, true, left), as));
    if (in->gpus > 0) {
        json_t *ids = json_array();
        for (int64_t i = 0; i < (left ? in->gpus_left : in->gpus); i++)
            json_array_append_new(ids, json_sprintf("GPU-%s-%d", in->id, (int)i));
        json_array_append_new(list, resource_set("GPU", ids, as));
    }
    return list;
}

json_t *render_instance(const struct devcloud *cloud, struct instance *in, enum render_as as)
{
    json_t *obj = json_object();

    (void)cloud;
    json_set_str(obj, "containerInstanceArn", in->arn);
    json_set_str(obj, "ec2InstanceId", in->ec2_id);
    json_set_int(obj, "version", in->version);
    json_object_set_new(obj, "versionInfo",
                        json_pack("{s:s,s:s,s:s}", "agentVersion", "1.105.1", "agentHash",
                                  "8dfceca6", "dockerVersion",
                                  as == AS_API ? "DockerVersion: 25.0.14" : "25.0.14"));
    json_object_set_new(obj, "remainingResources", render_resources(in, true, as));
    if (in->registered_resources[as] == NULL)
        in->registered_resources[as] = render_resources(in, false, as);
    json_object_set(obj, "registeredResources", in->registered_resources[as]);
    json_set_str(obj, "status", in->status);
    json_set_str(obj, "statusReason", in->status_reason);
    json_set_bool(obj, "agentConnected", in->connected);
    json_set_int(obj, "runningTasksCount", in->running);
    json_set_int(obj, "pendingTasksCount", in->pending);
    json_object_set_new(obj, "attributes", render_attributes(in));
    json_object_set_new(obj, "attachments", json_array());
    put_time(obj, "registeredAt", in->registered_ms, as);
    if (as == AS_EVENT) {
        json_set_str(obj, "clusterArn", in->cluster->arn);
        json_set_str(obj, "accountType", "standard");
        put_time(obj, "updatedAt", in->updated_ms, as);
    } else {
        json_object_set(obj, "tags", in->tags);
    }
    return obj;
}

static json_t *render_bindings(const struct task *t, size_t container)
{
    json_t *list = json_array();

    if (t->started_ms == 0 || t->def->awsvpc)
        return list;
    for (size_t i = 0; i < t->def->port_count; i++) {
        const struct host_port *port = &t->def->ports[i];
        if (port->container == container)
            json_array_append_new(list, json_pack("{s:s,s:i,s:i,s:s}", "bindIP", "0.0.0.0",
                                                  "containerPort", port->container_port, "hostPort",
                                                  t->host_ports[i], "protocol",
                                                  port->udp ? "udp" : "tcp"));
    }
    return list;
}

static const char *container_status(const struct task *t)
{
    if (t->status == TASK_STOPPED || t->status == TASK_DEPROVISIONING)
        return "STOPPED";
    return t->status >= TASK_RUNNING ? "RUNNING" : "PENDING";
}

static json_t *render_container(const struct task *t, size_t i)
{
    const struct container_def *def = &t->def->containers[i];
    json_t *obj = json_object();
    uint64_t mixed = (t->seq + 1) * 0x9e3779b97f4a7c15u + i;

    json_object_set_new(obj, "containerArn",
                        json_sprintf("%.*s:container/%s/%s/%08x-%04x-4%03x-a%03x-%012llx",
                                     (int)(strstr(t->arn, ":task/") - t->arn), t->arn,
                                     t->cluster->name, t->id, (unsigned)(mixed >> 32),
                                     (unsigned)(mixed & 0xffff), (unsigned)i,
                                     (unsigned)(mixed >> 52), (unsigned long long)(t->seq)));
    json_set_str(obj, "taskArn", t->arn);
    json_set_str(obj, "name", def->name);
    json_set_str(obj, "image", def->image);
    json_set_str(obj, "lastStatus", container_status(t));
    if (t->pull_stopped_ms != 0) {
        json_object_set_new(obj, "runtimeId",
                            json_sprintf("%s%s", t->id, t->id + strlen(t->id) / 2));
        json_object_set_new(obj, "imageDigest", json_sprintf("sha256:%s%s", t->id, t->id));
    }
    if (t->status == TASK_STOPPED && t->exit_code >= 0)
        json_set_int(obj, "exitCode", t->exit_code);
    if (t->status == TASK_STOPPED)
        json_set_str(obj, "reason", t->container_reason);
    json_object_set_new(obj, "networkBindings", render_bindings(t, i));
    json_object_set_new(obj, "networkInterfaces", json_array());
    json_object_set_new(obj, "cpu", json_sprintf("%d", (int)def->cpu));
    if (def->memory > 0)
        json_object_set_new(obj, "memory", json_sprintf("%d", (int)def->memory));
    if (def->reservation > 0)
        json_object_set_new(obj, "memoryReservation", json_sprintf("%d", (int)def->reservation));
    return obj;
}

static json_t *render_overrides(const struct task *t, enum render_as as)
{
    json_t *obj = t->overrides == NULL ? json_object() : json_deep_copy(t->overrides);
    json_t *list = json_arr(obj, "containerOverrides");

    if (list == NULL) {
        list = json_array();
        json_object_set_new(obj, "containerOverrides", list);
    }
    if (json_array_size(list) == 0)
        for (size_t i = 0; i < t->def->container_count; i++)
            json_array_append_new(list, json_pack("{s:s}", "name", t->def->containers[i].name));
    if (as == AS_API && json_object_get(obj, "inferenceAcceleratorOverrides") == NULL)
        json_object_set_new(obj, "inferenceAcceleratorOverrides", json_array());
    return obj;
}

static void put_times(json_t *obj, const struct task *t, enum render_as as)
{
    put_time(obj, "createdAt", t->created_ms, as);
    put_time(obj, "connectivityAt", t->connected_ms, as);
    put_time(obj, "pullStartedAt", t->pull_started_ms, as);
    put_time(obj, "pullStoppedAt", t->pull_stopped_ms, as);
    put_time(obj, "startedAt", t->started_ms, as);
    put_time(obj, "stoppingAt", t->stopping_ms, as);
    put_time(obj, "executionStoppedAt", t->execution_stopped_ms, as);
    put_time(obj, "stoppedAt", t->stopped_ms, as);
    if (as == AS_EVENT)
        put_time(obj, "updatedAt", t->updated_ms, as);
}

json_t *render_task(const struct devcloud *cloud, const struct task *t, enum render_as as)
{
    json_t *obj = json_object();
    json_t *containers = json_array();

    (void)cloud;
    json_object_set_new(obj, "attachments", json_array());
    json_object_set_new(
        obj, "attributes",
        json_pack("[{s:s,s:O}]", "name", "ecs.cpu-architecture", "value",
                  json_object_get(t->instance->attributes, "ecs.cpu-architecture")));
    json_set_str(obj, "availabilityZone", t->instance->zone);
    json_set_str(obj, "clusterArn", t->cluster->arn);
    if (t->connected_ms != 0)
        json_set_str(obj, "connectivity", t->connectivity ? "CONNECTED" : "DISCONNECTED");
    json_set_str(obj, "containerInstanceArn", t->instance->arn);
    for (size_t i = 0; i < t->def->container_count; i++)
        json_array_append_new(containers, render_container(t, i));
    json_object_set_new(obj, "containers", containers);
    json_object_set_new(obj, "cpu", json_sprintf("%d", (int)t->def->cpu));
    json_object_set_new(obj, "memory", json_sprintf("%d", (int)t->def->memory));
    json_set_str(obj, "desiredStatus", t->desired_stopped ? "STOPPED" : "RUNNING");
    json_set_bool(obj, "enableExecuteCommand", t->execute_command);
    json_set_str(obj, "group", t->group);
    if (as == AS_API)
        json_set_str(obj, "healthStatus", "UNKNOWN");
    json_set_str(obj, "lastStatus", task_status_str(t->status));
    json_set_str(obj, "launchType", "EC2");
    json_object_set_new(obj, "overrides", render_overrides(t, as));
    if (t->started_by != NULL)
        json_set_str(obj, "startedBy", t->started_by->name);
    if (t->desired_stopped) { /* before, only the host knows why it ended */
        json_set_str(obj, "stopCode", t->stop_code);
        json_set_str(obj, "stoppedReason", t->stopped_reason);
    }
    if (as == AS_API)
        json_object_set(obj, "tags", t->tags);
    json_set_str(obj, "taskArn", t->arn);
    json_set_str(obj, "taskDefinitionArn", t->def->arn);
    json_set_int(obj, "version", t->version);
    put_times(obj, t, as);
    return obj;
}

json_t *render_cluster(const struct cluster *c)
{
    json_int_t instances = 0, running = 0, pending = 0;

    for (struct list *at = c->instances.next; at != &c->instances; at = at->next) {
        const struct instance *in = LIST_OF(at, struct instance, in_cluster);
        if (strcmp(in->status, "INACTIVE") == 0)
            continue;
        instances++;
        running += in->running;
        pending += in->pending;
    }
    return json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:i,s:[],s:O,s:O,s:[],s:[]}", "clusterArn", c->arn,
                     "clusterName", c->name, "status", c->active ? "ACTIVE" : "INACTIVE",
                     "registeredContainerInstancesCount", instances, "runningTasksCount", running,
                     "pendingTasksCount", pending, "activeServicesCount", 0, "statistics", "tags",
                     c->tags, "settings", c->settings, "capacityProviders",
                     "defaultCapacityProviderStrategy");
}

json_t *render_envelope(struct devcloud *cloud, const char *detail_type, const char *source,
                        const char *resource, json_t *detail)
{
    char id[37], time[CLOCK_TEXT_MAX];

    cloud_uuid(cloud, id);
    clock_format_unix_ms(cloud_unix_ms(), time);
    char *dot = strchr(time, '.');
    if (dot != NULL) {
        dot[0] = 'Z'; /* EventBridge's time has whole seconds */
        dot[1] = '\0';
    }
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:[s],s:o}", "version", "0", "id", id,
                     "detail-type", detail_type, "source", source, "account", cloud->account,
                     "time", time, "region", cloud->region, "resources", resource, "detail",
                     detail);
}

void render_publish(struct devcloud *cloud, json_t *envelope)
{
    unsigned copies = 1;

    cloud_count(cloud, "events", 1);
    if (cloud->event_queue == NULL || cloud_chance(cloud, cloud->set.event_loss)) {
        cloud_count(cloud, "events_lost", 1);
        copies = 0;
    } else if (cloud_chance(cloud, cloud->set.event_duplicate)) {
        cloud_count(cloud, "events_duplicated", 1);
        copies = 2;
    }
    for (unsigned i = 0; i < copies; i++) {
        char id[37];
        if (i > 0 && cloud_chance(cloud, 0.5)) {
            /* The same change told twice may come as another event. */
            cloud_uuid(cloud, id);
            json_set_str(envelope, "id", id);
        }
        char *text = json_dumps(envelope, JSON_COMPACT);
        if (text != NULL)
            queue_put(cloud, cloud->event_queue, text, strlen(text),
                      cloud_between(cloud, cloud->set.event_delay_ms));
        free(text);
    }
    json_decref(envelope);
}
