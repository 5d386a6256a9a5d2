/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/render.h"
#include "agent/devcloud/tasks.h"

#define FAMILY_MAX 255
#define CONTAINERS_MAX 10

static bool is_family(const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_')
            return false;
    return len > 0 && len <= FAMILY_MAX;
}

void task_def_destroy(struct task_def *def)
{
    for (size_t i = 0; i < def->container_count; i++) {
        free(def->containers[i].name);
        free(def->containers[i].image);
    }
    free(def->containers);
    free(def->ports);
    free(def->arn);
    free(def->family);
    free(def->start_error);
    json_decref(def->json);
    json_decref(def->tags);
    free(def);
}

static int check_containers(const json_t *params, struct errmsg *e)
{
    const json_t *list = json_arr(params, "containerDefinitions");
    const json_t *one;
    size_t i;

    if (json_array_size(list) == 0)
        return errmsg_set(e, ERR_BADPARAM, "Container list cannot be empty.");
    if (json_array_size(list) > CONTAINERS_MAX)
        return errmsg_set(e, ERR_BADPARAM, "Too many containers: at most 10 are allowed.");
    json_array_foreach(list, i, one)
    {
        const char *name = json_str(one, "name");
        if (name == NULL || name[0] == '\0')
            return errmsg_set(e, ERR_BADPARAM, "Container.name should not be null or empty.");
        if (json_str(one, "image") == NULL)
            return errmsg_set(e, ERR_BADPARAM, "Container.image should not be null or empty.");
        if (json_int_or(one, "memory", 0) <= 0 && json_int_or(one, "memoryReservation", 0) <= 0 &&
            json_str(params, "memory") == NULL)
            return errmsg_set(e, ERR_BADPARAM,
                              "Invalid setting for container '%s'. At least one of 'memory' or "
                              "'memoryReservation' must be specified.",
                              name);
    }
    return 0;
}

static void set_default(json_t *obj, const char *key, json_t *value)
{
    if (json_object_get(obj, key) == NULL)
        json_object_set_new(obj, key, value);
    else
        json_decref(value);
}

static void read_ports(struct task_def *def, json_t *container, size_t index, bool host)
{
    json_t *list = json_arr(container, "portMappings");
    json_t *one;
    size_t i;

    json_array_foreach(list, i, one)
    {
        struct host_port *ports = realloc(def->ports, (def->port_count + 1) * sizeof(*ports));
        if (ports == NULL)
            abort();
        def->ports = ports;
        int64_t inner = json_int_or(one, "containerPort", 0);
        int64_t outer = json_int_or(one, "hostPort", host ? inner : 0);
        bool udp = strcmp(json_str_or(one, "protocol", "tcp"), "udp") == 0;
        set_default(one, "hostPort", json_integer(outer));
        set_default(one, "protocol", json_string("tcp"));
        ports[def->port_count++] = (struct host_port){.container_port = (uint16_t)inner,
                                                      .host_port = (uint16_t)outer,
                                                      .udp = udp,
                                                      .container = index};
    }
}

static void read_container(struct task_def *def, json_t *c, size_t index, bool host)
{
    struct container_def *out = &def->containers[index];
    const json_t *requirement;
    size_t i;

    out->name = cloud_text("%s", json_str(c, "name"));
    out->image = cloud_text("%s", json_str(c, "image"));
    out->cpu = json_int_or(c, "cpu", 0);
    out->memory = json_int_or(c, "memory", 0);
    out->reservation = json_int_or(c, "memoryReservation", 0);
    set_default(c, "cpu", json_integer(0));
    set_default(c, "essential", json_true());
    set_default(c, "portMappings", json_array());
    set_default(c, "environment", json_array());
    set_default(c, "mountPoints", json_array());
    set_default(c, "volumesFrom", json_array());
    out->essential = json_bool_or(c, "essential", true);
    def->cpu += out->cpu;
    def->memory += out->reservation > 0 ? out->reservation : out->memory;
    json_array_foreach(json_arr(c, "resourceRequirements"), i,
                       requirement) if (strcmp(json_str_or(requirement, "type", ""), "GPU") == 0)
        def->gpus += strtoll(json_str_or(requirement, "value", "0"), NULL, 10);
    read_ports(def, c, index, host);
}

static void read_definition(struct task_def *def, const json_t *params)
{
    const char *mode = json_str_or(params, "networkMode", "bridge");
    json_t *list, *one;
    size_t i;

    def->json = json_deep_copy(params);
    json_object_del(def->json, "tags");
    def->tags = json_object_get(params, "tags") == NULL
                    ? json_array()
                    : json_deep_copy(json_object_get(params, "tags"));
    def->awsvpc = strcmp(mode, "awsvpc") == 0;
    list = json_arr(def->json, "containerDefinitions");
    def->container_count = json_array_size(list);
    def->containers = calloc(def->container_count, sizeof(*def->containers));
    if (def->containers == NULL)
        abort();
    json_array_foreach(list, i, one) read_container(def, one, i, strcmp(mode, "bridge") != 0);
    if (json_str(params, "cpu") != NULL)
        def->cpu = strtoll(json_str(params, "cpu"), NULL, 10);
    if (json_str(params, "memory") != NULL)
        def->memory = strtoll(json_str(params, "memory"), NULL, 10);
    json_set_str(def->json, "taskDefinitionArn", def->arn);
    json_set_int(def->json, "revision", def->revision);
    json_set_str(def->json, "status", "ACTIVE");
    set_default(def->json, "volumes", json_array());
    set_default(def->json, "placementConstraints", json_array());
    set_default(def->json, "requiresAttributes", json_array());
    set_default(def->json, "compatibilities", json_pack("[s,s]", "EXTERNAL", "EC2"));
    json_object_set_new(def->json, "registeredAt", render_time(cloud_unix_ms(), AS_API));
}

struct task_def *task_def_register(struct devcloud *cloud, const json_t *params, struct errmsg *e)
{
    const char *name = json_str_or(params, "family", "");
    struct family *family = map_get(&cloud->families, name);

    if (!is_family(name)) {
        errmsg_set(
            e, ERR_BADPARAM,
            "Family contains invalid characters: 1-255 letters, digits, - and _ are allowed.");
        return NULL;
    }
    if (check_containers(params, e) != 0)
        return NULL;
    if (family == NULL) {
        family = calloc(1, sizeof(*family));
        if (family == NULL || map_put(&cloud->families, name, family, NULL) != 0)
            abort();
        family->name = cloud_text("%s", name);
    }
    struct task_def **revisions =
        realloc(family->revisions, (family->count + 1) * sizeof(struct task_def *));
    struct task_def *def = calloc(1, sizeof(*def));
    if (revisions == NULL || def == NULL)
        abort();
    family->revisions = revisions;
    def->family = cloud_text("%s", name);
    def->revision = (int64_t)family->count + 1;
    def->active = true;
    def->crash_after_ms = -1;
    def->arn = cloud_text("arn:%s:ecs:%s:%s:task-definition/%s:%d", cloud->partition, cloud->region,
                          cloud->account, name, (int)def->revision);
    read_definition(def, params);
    json_object_set_new(def->json, "registeredBy",
                        json_sprintf("arn:%s:iam::%s:root", cloud->partition, cloud->account));
    revisions[family->count++] = def;
    return def;
}

struct task_def *task_def_find(struct devcloud *cloud, const char *text)
{
    char name[FAMILY_MAX + 32];
    const char *at = text;
    unsigned long revision = 0;

    if (strncmp(text, "arn:", 4) == 0) {
        char prefix[128];
        int len = snprintf(prefix, sizeof(prefix), "arn:%s:ecs:%s:%s:task-definition/",
                           cloud->partition, cloud->region, cloud->account);
        if (strncmp(text, prefix, (size_t)len) != 0)
            return NULL;
        at = text + len;
    }
    if (strlen(at) >= sizeof(name))
        return NULL;
    memcpy(name, at, strlen(at) + 1);
    char *colon = strchr(name, ':');
    if (colon != NULL) {
        char *end;
        *colon = '\0';
        revision = strtoul(colon + 1, &end, 10);
        if (*end != '\0' || revision == 0)
            return NULL;
    }
    const struct family *family = map_get(&cloud->families, name);
    if (family == NULL)
        return NULL;
    if (revision != 0)
        return revision <= family->count ? family->revisions[revision - 1] : NULL;
    for (size_t i = family->count; i > 0; i--)
        if (family->revisions[i - 1]->active)
            return family->revisions[i - 1];
    return NULL;
}

void task_defs_builtin(struct devcloud *cloud)
{
    static const char *const BUILTIN[] = {
        "{\"family\":\"daemon\",\"networkMode\":\"host\",\"containerDefinitions\":[{\"name\":"
        "\"daemon\",\"image\":\"registry.example/daemon:1\",\"cpu\":32,\"memory\":64}]}",
        "{\"family\":\"daemon\",\"networkMode\":\"host\",\"containerDefinitions\":[{\"name\":"
        "\"daemon\",\"image\":\"registry.example/daemon:2\",\"cpu\":32,\"memory\":64}]}",
        "{\"family\":\"app\",\"containerDefinitions\":[{\"name\":\"app\",\"image\":"
        "\"registry.example/app:1\",\"cpu\":256,\"memory\":512,\"portMappings\":"
        "[{\"containerPort\":8080}]}]}",
        "{\"family\":\"big\",\"containerDefinitions\":[{\"name\":\"big\",\"image\":"
        "\"registry.example/big:1\",\"cpu\":131072,\"memory\":1048576}]}",
        "{\"family\":\"ports\",\"containerDefinitions\":[{\"name\":\"ports\",\"image\":"
        "\"registry.example/ports:1\",\"cpu\":16,\"memory\":32,\"portMappings\":[{"
        "\"containerPort\":8125,\"hostPort\":8125}]}]}",
    };

    for (size_t i = 0; i < sizeof(BUILTIN) / sizeof(BUILTIN[0]); i++) {
        json_t *params = json_parse(BUILTIN[i], strlen(BUILTIN[i]), NULL);
        task_def_register(cloud, params, NULL);
        json_decref(params);
    }
}
