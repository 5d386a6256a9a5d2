/* SPDX-License-Identifier: Apache-2.0
 * Rows in Blox 0.3's form: its member names, its order, null for optional lists that are absent,
 * zero values of optional members left out. Values are copied as the bytes they are stored as. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/api/digits.h"
#include "agent/api/v1.h"
#include "agent/base/span.h"

/* A member's name as it stands in the output, with its length. */
struct name {
    const char *text; /* ",\"name\":" */
    size_t len;
};
#define NAME(literal) ((struct name){",\"" literal "\":", sizeof(",\"" literal "\":") - 1})
#define PUT(out, literal) put_bytes(out, literal, sizeof(literal) - 1)

/* As buf_put(), but inlined: a task is some sixty pieces of a few bytes. */
static inline void put_bytes(struct buf *out, const char *data, size_t len)
{
    if (out->err != 0 || len >= out->cap - out->len || len > out->max - out->len) {
        buf_put(out, data, len);
        return;
    }
    memcpy(out->data + out->len, data, len);
    out->len += len;
    out->data[out->len] = '\0';
}

/* The comma is left out for the first member of its object. */
static inline void name_member(struct buf *out, struct name name)
{
    if (out->len == 0 || out->data[out->len - 1] == '{')
        put_bytes(out, name.text + 1, name.len - 1);
    else
        put_bytes(out, name.text, name.len);
}

static inline void put_span(struct buf *out, struct span s)
{
    put_bytes(out, s.data, s.len);
}

static inline void put_char(struct buf *out, char c)
{
    put_bytes(out, &c, 1);
}

/* Required text: "" if the row does not have it. */
static inline void put_text(struct buf *out, struct name name, struct span value)
{
    name_member(out, name);
    if (span_is_text(value))
        put_span(out, value);
    else
        PUT(out, "\"\"");
}

static inline void put_text_if(struct buf *out, struct name name, struct span value)
{
    if (!span_is_text(value) || value.len == 2)
        return;
    name_member(out, name);
    put_span(out, value);
}

static void put_number(struct buf *out, int64_t v)
{
    char text[DIGITS_DECIMAL_MAX + 1];
    text[0] = '-';
    size_t n = digits_decimal(text + 1, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
    if (v < 0)
        buf_put(out, text, n + 1);
    else
        buf_put(out, text + 1, n);
}

static inline void put_int(struct buf *out, struct name name, struct span value)
{
    name_member(out, name);
    put_number(out, span_int_or(value, 0));
}

static inline bool is_array(struct span value)
{
    return value.data != NULL && value.data[0] == '[';
}

/* Each element of an array by fn; of none, if there is no array. */
static void put_array(struct buf *out, struct name name, struct span array,
                      void (*fn)(struct buf *out, struct span element))
{
    struct span element;
    name_member(out, name);
    if (!is_array(array)) {
        PUT(out, "[]");
        return;
    }
    put_char(out, '[');
    bool first = true;
    for (size_t at = 0; span_element(array, &at, &element); first = false) {
        if (!first)
            put_char(out, ',');
        fn(out, element);
    }
    put_char(out, ']');
}

/* An optional one; null if it is absent. */
static void put_array_or_null(struct buf *out, struct name name, struct span array,
                              void (*fn)(struct buf *out, struct span element))
{
    if (is_array(array)) {
        put_array(out, name, array, fn);
        return;
    }
    name_member(out, name);
    PUT(out, "null");
}

static void put_string(struct buf *out, struct span text)
{
    if (span_is_text(text))
        put_span(out, text);
    else
        PUT(out, "\"\"");
}

int v1_put_metadata(struct buf *out, const struct store_row *row)
{
    PUT(out, ",\"metadata\":{\"entityVersion\":\"");
    put_number(out, (int64_t)row->index);
    PUT(out, "\"}}");
    return out->err;
}

static bool is_object(struct row_text json)
{
    return json.data != NULL && json.len >= 2 && json.data[0] == '{';
}

/* -- tasks ----------------------------------------------------------------------- */

static void put_binding(struct buf *out, struct span b)
{
    static const struct span_name names[] = {SPAN_NAME("bindIP"), SPAN_NAME("containerPort"),
                                             SPAN_NAME("hostPort"), SPAN_NAME("protocol")};
    struct span v[4];
    span_pick(b, names, 4, v);
    put_char(out, '{');
    put_text(out, NAME("bindIP"), v[0]);
    put_int(out, NAME("containerPort"), v[1]);
    put_int(out, NAME("hostPort"), v[2]);
    put_text_if(out, NAME("protocol"), v[3]);
    put_char(out, '}');
}

static void put_container(struct buf *out, struct span c)
{
    static const struct span_name names[] = {SPAN_NAME("containerArn"),    SPAN_NAME("exitCode"),
                                             SPAN_NAME("lastStatus"),      SPAN_NAME("name"),
                                             SPAN_NAME("networkBindings"), SPAN_NAME("reason")};
    struct span v[6];
    span_pick(c, names, 6, v);
    put_char(out, '{');
    put_text(out, NAME("containerARN"), v[0]);
    if (span_int_or(v[1], 0) != 0)
        put_int(out, NAME("exitCode"), v[1]);
    put_text(out, NAME("lastStatus"), v[2]);
    put_text(out, NAME("name"), v[3]);
    put_array_or_null(out, NAME("networkBindings"), v[4], put_binding);
    put_text_if(out, NAME("reason"), v[5]);
    put_char(out, '}');
}

static void put_variable(struct buf *out, struct span v)
{
    static const struct span_name names[] = {SPAN_NAME("name"), SPAN_NAME("value")};
    struct span m[2];
    span_pick(v, names, 2, m);
    put_char(out, '{');
    put_text(out, NAME("name"), m[0]);
    put_text(out, NAME("value"), m[1]);
    put_char(out, '}');
}

static void put_override(struct buf *out, struct span o)
{
    static const struct span_name names[] = {SPAN_NAME("command"), SPAN_NAME("environment"),
                                             SPAN_NAME("name")};
    struct span m[3];
    span_pick(o, names, 3, m);
    put_char(out, '{');
    put_array_or_null(out, NAME("command"), m[0], put_string);
    put_array_or_null(out, NAME("environment"), m[1], put_variable);
    put_text(out, NAME("name"), m[2]);
    put_char(out, '}');
}

enum task_member {
    TASK_CLUSTER,
    TASK_INSTANCE,
    TASK_CONTAINERS,
    TASK_CREATED,
    TASK_DESIRED,
    TASK_LAST,
    TASK_OVERRIDES,
    TASK_STARTED,
    TASK_STARTED_BY,
    TASK_STOPPED,
    TASK_REASON,
    TASK_ARN,
    TASK_DEFINITION,
    TASK_MEMBERS
};

int v1_put_task_entity(struct buf *out, struct row_text json)
{
    static const struct span_name names[TASK_MEMBERS] = {
        SPAN_NAME("clusterArn"),       SPAN_NAME("containerInstanceArn"),
        SPAN_NAME("containers"),       SPAN_NAME("createdAt"),
        SPAN_NAME("desiredStatus"),    SPAN_NAME("lastStatus"),
        SPAN_NAME("overrides"),        SPAN_NAME("startedAt"),
        SPAN_NAME("startedBy"),        SPAN_NAME("stoppedAt"),
        SPAN_NAME("stoppedReason"),    SPAN_NAME("taskArn"),
        SPAN_NAME("taskDefinitionArn")};
    static const struct span_name override_names[] = {SPAN_NAME("containerOverrides"),
                                                      SPAN_NAME("taskRoleArn")};
    struct span t[TASK_MEMBERS], o[2];
    if (!is_object(json))
        return ERR_MALFORMED;
    span_pick((struct span){json.data, json.len}, names, TASK_MEMBERS, t);
    if (!span_is_text(t[TASK_ARN]))
        return ERR_MALFORMED;
    span_pick(t[TASK_OVERRIDES], override_names, 2, o);
    PUT(out, "{\"entity\":{");
    put_text(out, NAME("clusterARN"), t[TASK_CLUSTER]);
    put_text(out, NAME("containerInstanceARN"), t[TASK_INSTANCE]);
    put_array(out, NAME("containers"), t[TASK_CONTAINERS], put_container);
    put_text(out, NAME("createdAt"), t[TASK_CREATED]);
    put_text(out, NAME("desiredStatus"), t[TASK_DESIRED]);
    put_text(out, NAME("lastStatus"), t[TASK_LAST]);
    name_member(out, NAME("overrides"));
    put_char(out, '{');
    put_array(out, NAME("containerOverrides"), o[0], put_override);
    put_text_if(out, NAME("taskRoleArn"), o[1]);
    put_char(out, '}');
    put_text_if(out, NAME("startedAt"), t[TASK_STARTED]);
    put_text_if(out, NAME("startedBy"), t[TASK_STARTED_BY]);
    put_text_if(out, NAME("stoppedAt"), t[TASK_STOPPED]);
    put_text_if(out, NAME("stoppedReason"), t[TASK_REASON]);
    put_text(out, NAME("taskARN"), t[TASK_ARN]);
    put_text(out, NAME("taskDefinitionARN"), t[TASK_DEFINITION]);
    put_char(out, '}');
    return out->err;
}

int v1_put_task(struct buf *out, const struct store_row *row, const struct row *fields)
{
    int err = v1_put_task_entity(out, fields->json);
    return err != 0 ? err : v1_put_metadata(out, row);
}

/* -- instances ------------------------------------------------------------------- */

static void put_attribute(struct buf *out, struct span a)
{
    struct span value = span_get(a, "value");
    put_char(out, '{');
    put_text(out, NAME("name"), span_get(a, "name"));
    name_member(out, NAME("value"));
    if (span_is_text(value))
        put_span(out, value);
    else
        PUT(out, "null");
    put_char(out, '}');
}

static void put_set(struct buf *out, struct span set)
{
    struct span element;
    put_char(out, '"');
    bool first = true;
    for (size_t at = 0; span_element(set, &at, &element); first = false) {
        if (!first)
            put_char(out, ',');
        (void)span_put(out, span_inside(element));
    }
    put_char(out, '"');
}

/* A resource's value is text: two decimals, a whole number, or names joined by commas; empty if
 * the value of its type is absent. */
static void put_resource(struct buf *out, struct span r)
{
    static const struct {
        const char *type, *member;
    } kinds[] = {{"DOUBLE", "doubleValue"}, {"LONG", "longValue"}, {"INTEGER", "integerValue"}};
    struct span type = span_inside(span_get(r, "type"));
    size_t kind = 0;
    while (kind < 3 && !span_is(type, kinds[kind].type))
        kind++;
    struct span value = span_get(r, kind < 3 ? kinds[kind].member : "stringSetValue");
    put_char(out, '{');
    put_text(out, NAME("name"), span_get(r, "name"));
    put_text(out, NAME("type"), span_get(r, "type"));
    name_member(out, NAME("value"));
    if (kind == 3)
        put_set(out, value);
    else if (value.data == NULL || span_is_null(value))
        PUT(out, "\"\"");
    else if (kind == 0)
        buf_printf(out, "\"%.2f\"", span_double_or(value, 0));
    else
        buf_printf(out, "\"%" PRId64 "\"", span_int_or(value, 0));
    put_char(out, '}');
}

static void put_versions(struct buf *out, struct span v)
{
    name_member(out, NAME("versionInfo"));
    put_char(out, '{');
    put_text_if(out, NAME("agentHash"), span_get(v, "agentHash"));
    put_text_if(out, NAME("agentVersion"), span_get(v, "agentVersion"));
    put_text_if(out, NAME("dockerVersion"), span_get(v, "dockerVersion"));
    put_char(out, '}');
}

int v1_put_instance(struct buf *out, const struct store_row *row, const struct row *fields)
{
    struct span json = {fields->json.data, fields->json.len};
    if (!is_object(fields->json) || !span_is_text(span_get(json, "containerInstanceArn")))
        return ERR_MALFORMED;
    PUT(out, "{\"entity\":{");
    put_text_if(out, NAME("EC2InstanceID"), span_get(json, "ec2InstanceId"));
    name_member(out, NAME("agentConnected"));
    buf_puts(out, span_is(span_get(json, "agentConnected"), "true") ? "true" : "false");
    put_text_if(out, NAME("agentUpdateStatus"), span_get(json, "agentUpdateStatus"));
    put_array_or_null(out, NAME("attributes"), span_get(json, "attributes"), put_attribute);
    put_text(out, NAME("clusterARN"), span_get(json, "clusterArn"));
    put_text(out, NAME("containerInstanceARN"), span_get(json, "containerInstanceArn"));
    put_array(out, NAME("registeredResources"), span_get(json, "registeredResources"),
              put_resource);
    put_array(out, NAME("remainingResources"), span_get(json, "remainingResources"), put_resource);
    put_text(out, NAME("status"), span_get(json, "status"));
    put_versions(out, span_get(json, "versionInfo"));
    put_char(out, '}');
    return v1_put_metadata(out, row);
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
    put_char(out, '{');
    put_text_if(out, NAME("deploymentToken"), span_get(json, "token"));
    name_member(out, NAME("health"));
    buf_puts(out,
             span_is(span_get(json, "health"), "\"unhealthy\"") ? "\"unhealthy\"" : "\"healthy\"");
    name_member(out, NAME("instanceGroup"));
    put_char(out, '{');
    put_text_if(out, NAME("cluster"), span_get(json, "cluster"));
    put_char(out, '}');
    put_text(out, NAME("name"), span_get(json, "name"));
    put_text_if(out, NAME("taskDefinition"), span_get(json, "taskDefinition"));
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
    put_char(out, '{');
    put_text(out, NAME("environmentName"), span_get(json, "environment"));
    put_array(out, NAME("failedInstances"), span_get(json, "failedInstances"), put_failed);
    put_text(out, NAME("id"), span_get(json, "id"));
    name_member(out, NAME("status"));
    /* Blox knows three states: one that was superseded is over if it was completed before. */
    if (span_is(status, "\"pending\"") || span_is(status, "\"running\""))
        put_span(out, status);
    else if (span_is(status, "\"superseded\"") && !span_is_text(span_get(json, "completedAt")))
        PUT(out, "\"running\"");
    else
        PUT(out, "\"completed\"");
    put_text(out, NAME("taskDefinition"), span_get(json, "taskDefinition"));
    return buf_putc(out, '}');
}
