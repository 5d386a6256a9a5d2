/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/instances.h"

#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/render.h"
#include "agent/devcloud/tasks.h"

struct instance_type {
    const char *name;
    const char *arch;
    int64_t cpu, memory, gpus; /* memory as the ECS agent registers it: less than the data sheet */
};

static const struct instance_type TYPES[] = {
    {"t3.micro", "x86_64", 2048, 904, 0},        {"t3.medium", "x86_64", 2048, 3837, 0},
    {"m5.large", "x86_64", 2048, 7687, 0},       {"m5.xlarge", "x86_64", 4096, 15558, 0},
    {"c5.large", "x86_64", 2048, 3693, 0},       {"c7g.large", "arm64", 2048, 3733, 0},
    {"m7g.xlarge", "arm64", 4096, 15558, 0},     {"m7g.large", "arm64", 2048, 7733, 0},
    {"g4dn.xlarge", "x86_64", 4096, 15434, 1},   {"p3.8xlarge", "x86_64", 32768, 245756, 4},
    {"m5.24xlarge", "x86_64", 98304, 380000, 0},
};

static const struct instance_type *type_find(const char *name)
{
    for (size_t i = 0; i < sizeof(TYPES) / sizeof(TYPES[0]); i++)
        if (strcmp(TYPES[i].name, name) == 0)
            return &TYPES[i];
    return NULL;
}

bool instance_known_type(const char *type)
{
    return type_find(type) != NULL;
}

struct cluster *cluster_create(struct devcloud *cloud, const char *name)
{
    struct cluster *c = calloc(1, sizeof(*c));

    if (c == NULL || map_put(&cloud->clusters, name, c, NULL) != 0) {
        free(c);
        return NULL;
    }
    c->name = cloud_text("%s", name);
    c->arn = cloud_text("arn:%s:ecs:%s:%s:cluster/%s", cloud->partition, cloud->region,
                        cloud->account, name);
    c->active = true;
    c->tags = json_array();
    c->settings = json_pack("[{s:s,s:s}]", "name", "containerInsights", "value", "disabled");
    list_init(&c->instances);
    list_init(&c->tasks);
    map_init(&c->by_id);
    return c;
}

void cluster_destroy(struct devcloud *cloud, struct cluster *c)
{
    while (!list_is_empty(&c->tasks))
        task_destroy(cloud, LIST_OF(c->tasks.next, struct task, in_cluster));
    while (!list_is_empty(&c->instances))
        instance_destroy(cloud, LIST_OF(c->instances.next, struct instance, in_cluster));
    map_fini(&c->by_id);
    json_decref(c->tags);
    json_decref(c->settings);
    free(c->name);
    free(c->arn);
    free(c);
}

struct cluster *cluster_find(struct devcloud *cloud, const char *text)
{
    if (text == NULL)
        text = "default";
    if (strncmp(text, "arn:", 4) == 0) {
        const char *name = strstr(text, ":cluster/");
        struct cluster *c = name == NULL ? NULL : map_get(&cloud->clusters, name + 9);
        return c != NULL && strcmp(c->arn, text) == 0 ? c : NULL;
    }
    return map_get(&cloud->clusters, text);
}

static json_t *own_attributes(const struct instance *in, const struct instance_type *type)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "ecs.ami-id",
                     type->arch[0] == 'a' ? "ami-0a1b2c3d4e5f60718" : "ami-0f1e2d3c4b5a69788",
                     "ecs.availability-zone", in->zone, "ecs.instance-type", type->name,
                     "ecs.os-type", "linux", "ecs.os-family", "LINUX", "ecs.cpu-architecture",
                     type->arch, "ecs.vpc-id", "vpc-0aaaabbbbccccdddd", "ecs.subnet-id",
                     in->zone[strlen(in->zone) - 1] == 'a' ? "subnet-0aaaabbbbccccdd01"
                                                           : "subnet-0aaaabbbbccccdd02");
}

static void name_instance(struct devcloud *cloud, struct instance *in)
{
    char hex[18];

    cloud_hex(cloud, hex, 17);
    snprintf(in->ec2_id, sizeof(in->ec2_id), "i-%s", hex);
    snprintf(in->address, sizeof(in->address), "10.%u.%u.%u", (unsigned)(in->seq >> 16 & 0xff),
             (unsigned)(in->seq >> 8 & 0xff), (unsigned)(in->seq & 0xff));
    if (cloud->set.short_arns) {
        cloud_uuid(cloud, in->id);
        in->arn = cloud_text("arn:%s:ecs:%s:%s:container-instance/%s", cloud->partition,
                             cloud->region, cloud->account, in->id);
    } else {
        cloud_hex(cloud, in->id, 32);
        in->arn = cloud_text("arn:%s:ecs:%s:%s:container-instance/%s/%s", cloud->partition,
                             cloud->region, cloud->account, in->cluster->name, in->id);
    }
}

struct instance *instance_add(struct devcloud *cloud, struct cluster *c,
                              const struct instance_options *options)
{
    const struct instance_type *type =
        type_find(options->type == NULL ? "m5.large" : options->type);
    struct instance *in = type == NULL ? NULL : calloc(1, sizeof(*in));

    if (in == NULL)
        return NULL;
    in->cluster = c;
    in->seq = ++cloud->seqs;
    list_init(&in->tasks);
    name_instance(cloud, in);
    if (options->zone != NULL)
        snprintf(in->zone, sizeof(in->zone), "%s", options->zone);
    else
        snprintf(in->zone, sizeof(in->zone), "%s%c", cloud->region,
                 (char)('a' + c->by_id.count % 3));
    snprintf(in->type, sizeof(in->type), "%s", type->name);
    in->cpu = in->cpu_left = type->cpu;
    in->memory = in->memory_left = type->memory;
    in->gpus = in->gpus_left = type->gpus;
    in->status = "ACTIVE";
    in->connected = true;
    in->spot = options->spot;
    snprintf(in->lifecycle, sizeof(in->lifecycle), "InService");
    in->registered_ms = cloud_unix_ms();
    in->appears_ms = in->registered_ms + (int64_t)cloud->set.read_lag_ms;
    in->attributes = own_attributes(in, type);
    in->custom = options->attributes == NULL ? json_object() : json_deep_copy(options->attributes);
    in->tags = json_array();
    if (map_put(&c->by_id, in->id, in, NULL) != 0 ||
        map_put(&cloud->by_ec2_id, in->ec2_id, in, NULL) != 0)
        abort();
    list_push(&c->instances, &in->in_cluster);
    instance_changed(cloud, in, "registered");
    instance_flaps_start(cloud, in);
    return in;
}

void instance_destroy(struct devcloud *cloud, struct instance *in)
{
    cloud_disarm(cloud, &in->flap);
    cloud_disarm(cloud, &in->gone);
    list_remove(&in->in_cluster);
    map_del(&in->cluster->by_id, in->id);
    map_del(&cloud->by_ec2_id, in->ec2_id);
    json_decref(in->attributes);
    json_decref(in->custom);
    json_decref(in->tags);
    json_decref(in->stale);
    json_decref(in->all_attributes);
    json_decref(in->registered_resources[0]);
    json_decref(in->registered_resources[1]);
    free(in->status_reason);
    free(in->arn);
    free(in);
}

struct instance *instance_find(const struct cluster *c, const char *text)
{
    if (strncmp(text, "arn:", 4) != 0)
        return map_get(&c->by_id, text);
    const char *slash = strrchr(text, '/');
    struct instance *in = slash == NULL ? NULL : map_get(&c->by_id, slash + 1);
    return in != NULL && strcmp(in->arn, text) == 0 ? in : NULL;
}

struct instance *instance_find_any(struct devcloud *cloud, const char *text)
{
    struct instance *in = map_get(&cloud->by_ec2_id, text);
    size_t at = 0;
    const char *key;
    void *value;

    while (in == NULL && map_next(&cloud->clusters, &at, &key, &value))
        in = instance_find(value, text);
    return in;
}

void instance_before(struct devcloud *cloud, struct instance *in)
{
    if (cloud->set.read_lag_ms == 0)
        return;
    if (in->stale == NULL || cloud_now_ms() >= in->stale_until_ms) {
        json_decref(in->stale);
        in->stale = render_instance(cloud, in, AS_API);
    }
    in->stale_until_ms = cloud_now_ms() + cloud->set.read_lag_ms;
}

void instance_changed(struct devcloud *cloud, struct instance *in, const char *what)
{
    in->version++;
    in->updated_ms = cloud_unix_ms();
    cloud_truth(cloud, "instance",
                json_pack("{s:s,s:s,s:s,s:s,s:b,s:I}", "event", what, "instance", in->arn,
                          "ec2InstanceId", in->ec2_id, "status", in->status, "agentConnected",
                          in->connected, "version", (json_int_t)in->version));
    render_publish(cloud, render_envelope(cloud, "ECS Container Instance State Change", "aws.ecs",
                                          in->arn, render_instance(cloud, in, AS_EVENT)));
}

void instance_set_status(struct devcloud *cloud, struct instance *in, const char *status)
{
    if (strcmp(in->status, status) == 0)
        return;
    instance_before(cloud, in);
    in->status = status;
    instance_changed(cloud, in, "status");
}

void instance_connect(struct devcloud *cloud, struct instance *in, bool connected)
{
    if (in->connected == connected || in->host_gone || strcmp(in->status, "INACTIVE") == 0)
        return;
    instance_before(cloud, in);
    in->connected = connected;
    instance_changed(cloud, in, connected ? "connected" : "disconnected");
    if (!connected)
        return;
    for (struct list *at = in->tasks.next; at != &in->tasks; at = at->next)
        task_agent_back(cloud, LIST_OF(at, struct task, on_instance));
}

static void on_gone(struct devcloud *cloud, struct timer *timer)
{
    struct instance *in = LIST_OF(timer, struct instance, gone);

    if (!list_is_empty(&in->tasks)) {
        cloud_arm(cloud, timer, 1000, on_gone);
        return;
    }
    cloud_truth(cloud, "instance",
                json_pack("{s:s,s:s}", "event", "forgotten", "instance", in->arn));
    instance_destroy(cloud, in);
}

void instance_deregister(struct devcloud *cloud, struct instance *in, const char *reason,
                         const char *code)
{
    struct list *at, *next;

    if (strcmp(in->status, "INACTIVE") == 0)
        return;
    /* Tasks first: what they give back belongs to the instance's last version. */
    for (at = in->tasks.next; at != &in->tasks; at = next) {
        next = at->next;
        task_lost(cloud, LIST_OF(at, struct task, on_instance), reason, code);
    }
    instance_before(cloud, in);
    in->status = "INACTIVE";
    in->connected = false;
    instance_changed(cloud, in, "deregistered");
    cloud_disarm(cloud, &in->flap);
    cloud_arm(cloud, &in->gone, cloud->set.stopped_retention_ms, on_gone);
}

void instance_terminate(struct devcloud *cloud, struct instance *in)
{
    char reason[96];
    bool ghost = !in->connected;

    if (in->host_gone)
        return;
    in->host_gone = true;
    cloud_disarm(cloud, &in->flap);
    cloud_truth(
        cloud, "instance",
        json_pack("{s:s,s:s,s:b}", "event", "terminated", "instance", in->arn, "ghost", ghost));
    for (struct list *at = in->tasks.next; at != &in->tasks; at = at->next)
        task_host_died(cloud, LIST_OF(at, struct task, on_instance));
    if (ghost)
        return; /* DeregisterContainerInstance's documentation: ECS does not notice */
    instance_before(cloud, in);
    in->connected = false;
    instance_changed(cloud, in, "disconnected");
    snprintf(reason, sizeof(reason), "Host EC2 (instance %s) terminated.", in->ec2_id);
    instance_deregister(cloud, in, reason, in->spot_action[0] != '\0' ? "SpotInterruption" : NULL);
}

static void on_flap(struct devcloud *cloud, struct timer *timer)
{
    struct instance *in = LIST_OF(timer, struct instance, flap);
    static const uint64_t AWAY_MS[2] = {200, 3000};

    instance_connect(cloud, in, !in->connected);
    if (!in->connected)
        cloud_arm(cloud, timer, cloud_between(cloud, AWAY_MS), on_flap);
    else
        instance_flaps_start(cloud, in);
}

void instance_flaps_start(struct devcloud *cloud, struct instance *in)
{
    if (cloud->set.agent_flaps_per_hour <= 0 || in->host_gone) {
        if (in->connected)
            cloud_disarm(cloud, &in->flap);
        return;
    }
    double mean_ms = 3600e3 / cloud->set.agent_flaps_per_hour;
    cloud_arm(cloud, &in->flap, (uint64_t)(2 * mean_ms * prng_unit(&cloud->prng)) + 1, on_flap);
}
