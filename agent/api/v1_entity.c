/* SPDX-License-Identifier: Apache-2.0
 * Rows in Blox 0.3's form: its member names, its order, null for lists that are absent, zero
 * values of optional members left out. Values are copied as the bytes they are stored as. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/api/span.h"
#include "agent/api/v1.h"

/* A comma unless it is the first member of its object. */
static void name_member(struct buf *out, const char *name)
{
    if (out->len > 0 && out->data[out->len - 1] != '{')
        buf_putc(out, ',');
    buf_putc(out, '"');
    buf_puts(out, name);
    buf_puts(out, "\":");
}

/* Required text: "" if the row does not have it. */
static void put_text(struct buf *out, const char *name, struct span value)
{
    name_member(out, name);
    if (span_is_text(value))
        span_put(out, value);
    else
        buf_puts(out, "\"\"");
}

static void put_text_if(struct buf *out, const char *name, struct span value)
{
    if (!span_is_text(value) || value.len == 2)
        return;
    name_member(out, name);
    span_put(out, value);
}

static void put_int(struct buf *out, const char *name, struct span value)
{
    name_member(out, name);
    buf_printf(out, "%" PRId64, span_int_or(value, 0));
}

/* Each element of an array by fn; null if there is no array. */
static void put_array(struct buf *out, const char *name, struct span array,
                      void (*fn)(struct buf *out, struct span element))
{
    struct span element;
    name_member(out, name);
    if (array.data == NULL || array.data[0] != '[') {
        buf_puts(out, "null");
        return;
    }
    buf_putc(out, '[');
    bool first = true;
    for (size_t at = 0; span_element(array, &at, &element); first = false) {
        if (!first)
            buf_putc(out, ',');
        fn(out, element);
    }
    buf_putc(out, ']');
}

static void put_string(struct buf *out, struct span text)
{
    if (span_is_text(text))
        span_put(out, text);
    else
        buf_puts(out, "\"\"");
}

static void put_metadata(struct buf *out, const struct store_row *row)
{
    buf_printf(out, ",\"metadata\":{\"entityVersion\":\"%" PRIu64 "\"}}", row->index);
}

static bool is_object(struct row_text json)
{
    return json.data != NULL && json.len >= 2 && json.data[0] == '{';
}

/* -- tasks ----------------------------------------------------------------------- */

static void put_binding(struct buf *out, struct span b)
{
    buf_putc(out, '{');
    put_text(out, "bindIP", span_get(b, "bindIP"));
    put_int(out, "containerPort", span_get(b, "containerPort"));
    put_int(out, "hostPort", span_get(b, "hostPort"));
    put_text_if(out, "protocol", span_get(b, "protocol"));
    buf_putc(out, '}');
}

static void put_container(struct buf *out, struct span c)
{
    buf_putc(out, '{');
    put_text(out, "containerARN", span_get(c, "containerArn"));
    if (span_int_or(span_get(c, "exitCode"), 0) != 0)
        put_int(out, "exitCode", span_get(c, "exitCode"));
    put_text(out, "lastStatus", span_get(c, "lastStatus"));
    put_text(out, "name", span_get(c, "name"));
    put_array(out, "networkBindings", span_get(c, "networkBindings"), put_binding);
    put_text_if(out, "reason", span_get(c, "reason"));
    buf_putc(out, '}');
}

static void put_variable(struct buf *out, struct span v)
{
    buf_putc(out, '{');
    put_text(out, "name", span_get(v, "name"));
    put_text(out, "value", span_get(v, "value"));
    buf_putc(out, '}');
}

static void put_override(struct buf *out, struct span o)
{
    buf_putc(out, '{');
    put_array(out, "command", span_get(o, "command"), put_string);
    put_array(out, "environment", span_get(o, "environment"), put_variable);
    put_text(out, "name", span_get(o, "name"));
    buf_putc(out, '}');
}

/* The members of interest in one walk: a task has some forty. */
struct task_spans {
    struct span cluster, instance, containers, created, desired, last, overrides, started,
        started_by, stopped, reason, arn, definition;
};

static void find_task(struct span json, struct task_spans *t)
{
    struct span name, value;
    const struct {
        const char *name;
        struct span *to;
    } wanted[] = {{"clusterArn", &t->cluster},          {"containerInstanceArn", &t->instance},
                  {"containers", &t->containers},       {"createdAt", &t->created},
                  {"desiredStatus", &t->desired},       {"lastStatus", &t->last},
                  {"overrides", &t->overrides},         {"startedAt", &t->started},
                  {"startedBy", &t->started_by},        {"stoppedAt", &t->stopped},
                  {"stoppedReason", &t->reason},        {"taskArn", &t->arn},
                  {"taskDefinitionArn", &t->definition}};
    for (size_t at = 0; span_member(json, &at, &name, &value);)
        for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
            if (span_is(name, wanted[i].name))
                *wanted[i].to = value;
}

int v1_put_task(struct buf *out, const struct store_row *row, const struct row *fields)
{
    struct task_spans t = {0};
    if (!is_object(fields->json))
        return ERR_MALFORMED;
    find_task((struct span){fields->json.data, fields->json.len}, &t);
    if (!span_is_text(t.arn))
        return ERR_MALFORMED;
    buf_puts(out, "{\"entity\":{");
    put_text(out, "clusterARN", t.cluster);
    put_text(out, "containerInstanceARN", t.instance);
    put_array(out, "containers", t.containers, put_container);
    put_text(out, "createdAt", t.created);
    put_text(out, "desiredStatus", t.desired);
    put_text(out, "lastStatus", t.last);
    name_member(out, "overrides");
    buf_putc(out, '{');
    put_array(out, "containerOverrides", span_get(t.overrides, "containerOverrides"), put_override);
    put_text_if(out, "taskRoleArn", span_get(t.overrides, "taskRoleArn"));
    buf_putc(out, '}');
    put_text_if(out, "startedAt", t.started);
    put_text_if(out, "startedBy", t.started_by);
    put_text_if(out, "stoppedAt", t.stopped);
    put_text_if(out, "stoppedReason", t.reason);
    put_text(out, "taskARN", t.arn);
    put_text(out, "taskDefinitionARN", t.definition);
    buf_putc(out, '}');
    put_metadata(out, row);
    return out->err;
}

/* -- instances ------------------------------------------------------------------- */

static void put_attribute(struct buf *out, struct span a)
{
    struct span value = span_get(a, "value");
    buf_putc(out, '{');
    put_text(out, "name", span_get(a, "name"));
    name_member(out, "value");
    if (span_is_text(value))
        span_put(out, value);
    else
        buf_puts(out, "null");
    buf_putc(out, '}');
}

static void put_set(struct buf *out, struct span set)
{
    struct span element;
    buf_putc(out, '"');
    bool first = true;
    for (size_t at = 0; span_element(set, &at, &element); first = false) {
        if (!first)
            buf_putc(out, ',');
        span_put(out, span_inside(element));
    }
    buf_putc(out, '"');
}

/* A resource's value is text: two decimals, a whole number, or names joined by commas. */
static void put_resource(struct buf *out, struct span r)
{
    struct span type = span_inside(span_get(r, "type"));
    buf_putc(out, '{');
    put_text(out, "name", span_get(r, "name"));
    put_text(out, "type", span_get(r, "type"));
    name_member(out, "value");
    if (span_is(type, "DOUBLE"))
        buf_printf(out, "\"%.2f\"", span_double_or(span_get(r, "doubleValue"), 0));
    else if (span_is(type, "LONG"))
        buf_printf(out, "\"%" PRId64 "\"", span_int_or(span_get(r, "longValue"), 0));
    else if (span_is(type, "INTEGER"))
        buf_printf(out, "\"%" PRId64 "\"", span_int_or(span_get(r, "integerValue"), 0));
    else
        put_set(out, span_get(r, "stringSetValue"));
    buf_putc(out, '}');
}

static void put_versions(struct buf *out, struct span v)
{
    name_member(out, "versionInfo");
    buf_putc(out, '{');
    put_text_if(out, "agentHash", span_get(v, "agentHash"));
    put_text_if(out, "agentVersion", span_get(v, "agentVersion"));
    put_text_if(out, "dockerVersion", span_get(v, "dockerVersion"));
    buf_putc(out, '}');
}

int v1_put_instance(struct buf *out, const struct store_row *row, const struct row *fields)
{
    struct span json = {fields->json.data, fields->json.len};
    if (!is_object(fields->json) || !span_is_text(span_get(json, "containerInstanceArn")))
        return ERR_MALFORMED;
    buf_puts(out, "{\"entity\":{");
    put_text_if(out, "EC2InstanceID", span_get(json, "ec2InstanceId"));
    name_member(out, "agentConnected");
    buf_puts(out, span_is(span_get(json, "agentConnected"), "true") ? "true" : "false");
    put_text_if(out, "agentUpdateStatus", span_get(json, "agentUpdateStatus"));
    put_array(out, "attributes", span_get(json, "attributes"), put_attribute);
    put_text(out, "clusterARN", span_get(json, "clusterArn"));
    put_text(out, "containerInstanceARN", span_get(json, "containerInstanceArn"));
    put_array(out, "registeredResources", span_get(json, "registeredResources"), put_resource);
    put_array(out, "remainingResources", span_get(json, "remainingResources"), put_resource);
    put_text(out, "status", span_get(json, "status"));
    put_versions(out, span_get(json, "versionInfo"));
    buf_putc(out, '}');
    put_metadata(out, row);
    return out->err;
}

/* -- intent ---------------------------------------------------------------------- */

int v1_put_environment(struct buf *out, const struct store_row *row, const struct row *fields)
{
    struct span json = {fields->json.data, fields->json.len};
    (void)row;
    /* To Blox a deleted environment is gone, though its tasks may take a while to stop. */
    if (!is_object(fields->json) || !span_is_text(span_get(json, "name")) ||
        span_is(span_get(json, "status"), "\"deleting\""))
        return ERR_MALFORMED;
    buf_putc(out, '{');
    put_text_if(out, "deploymentToken", span_get(json, "token"));
    name_member(out, "health");
    buf_puts(out,
             span_is(span_get(json, "health"), "\"unhealthy\"") ? "\"unhealthy\"" : "\"healthy\"");
    name_member(out, "instanceGroup");
    buf_putc(out, '{');
    put_text_if(out, "cluster", span_get(json, "cluster"));
    buf_putc(out, '}');
    put_text(out, "name", span_get(json, "name"));
    put_text_if(out, "taskDefinition", span_get(json, "taskDefinition"));
    return buf_putc(out, '}');
}

static void put_failed(struct buf *out, struct span failure)
{
    put_string(out, span_is_text(failure) ? failure : span_get(failure, "arn"));
}

int v1_put_deployment(struct buf *out, const struct store_row *row, const struct row *fields)
{
    struct span json = {fields->json.data, fields->json.len};
    (void)row;
    if (!is_object(fields->json) || !span_is_text(span_get(json, "id")))
        return ERR_MALFORMED;
    struct span status = span_get(json, "status");
    buf_putc(out, '{');
    put_text(out, "environmentName", span_get(json, "environment"));
    put_array(out, "failedInstances", span_get(json, "failedInstances"), put_failed);
    put_text(out, "id", span_get(json, "id"));
    name_member(out, "status");
    /* Blox knows three states; one that was superseded is over. */
    if (span_is(status, "\"pending\"") || span_is(status, "\"running\""))
        span_put(out, status);
    else
        buf_puts(out, "\"completed\"");
    put_text(out, "taskDefinition", span_get(json, "taskDefinition"));
    return buf_putc(out, '}');
}
