/* SPDX-License-Identifier: Apache-2.0
 * Whether a task may start on an instance: the reasons of StartTask's failures[]. */
#include <string.h>
#include <strings.h>

#include "agent/devcloud/query.h"
#include "agent/devcloud/tasks.h"

static bool has_port(const struct instance *in, bool udp, uint16_t port)
{
    static const uint16_t OWN[] = {22, 2376, 2375, 51678, 51679};

    for (size_t i = 0; !udp && i < sizeof(OWN) / sizeof(OWN[0]); i++)
        if (OWN[i] == port)
            return true;
    for (size_t i = 0; i < in->port_count[udp]; i++)
        if (in->ports[udp][i] == port)
            return true;
    return false;
}

static const char *refuse_ports(const struct instance *in, const struct task_def *def)
{
    for (size_t i = 0; !def->awsvpc && i < def->port_count; i++) {
        const struct host_port *port = &def->ports[i];
        if ((port->host_port != 0 && has_port(in, port->udp, port->host_port)) ||
            in->port_count[port->udp] + def->port_count > PORTS_MAX)
            return port->udp ? "RESOURCE:PORTS_UDP" : "RESOURCE:PORTS";
    }
    return NULL;
}

/* Log drivers and architectures that the simulated instances lack, and memberOf constraints. */
static bool misses_attribute(const struct instance *in, const struct task_def *def)
{
    const char *arch = json_str(json_obj(def->json, "runtimePlatform"), "cpuArchitecture");
    const char *own = json_str_or(in->attributes, "ecs.cpu-architecture", "");
    const json_t *one;
    size_t i;

    if (arch != NULL && strcasecmp(arch, own) != 0)
        return true;
    json_array_foreach(json_arr(def->json, "containerDefinitions"), i, one)
    {
        const char *driver = json_str(json_obj(one, "logConfiguration"), "logDriver");
        if (driver != NULL && strcmp(driver, "json-file") != 0 && strcmp(driver, "awslogs") != 0)
            return true;
    }
    json_array_foreach(json_arr(def->json, "placementConstraints"), i, one)
    {
        const char *expression = json_str(one, "expression");
        bool match = false;
        if (expression != NULL && (query_match(expression, in, &match, NULL) != 0 || !match))
            return true;
    }
    return false;
}

const char *task_refusal(const struct devcloud *cloud, const struct instance *in,
                         const struct task_def *def)
{
    if (strcmp(in->status, "INACTIVE") == 0)
        return "INACTIVE";
    if (!in->connected)
        return "AGENT";
    if (strcmp(in->status, "DRAINING") == 0 && strcmp(cloud->set.draining_start, "refuse") == 0)
        return "DRAINING";
    if (misses_attribute(in, def))
        return "ATTRIBUTE";
    if (def->cpu > in->cpu_left)
        return "RESOURCE:CPU";
    if (def->memory > in->memory_left)
        return "RESOURCE:MEMORY";
    if (def->gpus > in->gpus_left)
        return "RESOURCE:GPU";
    return refuse_ports(in, def);
}
