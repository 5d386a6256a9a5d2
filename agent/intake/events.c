/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/intake/events.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/limits.h"
#include "agent/base/row.h"
#include "agent/intake/canon.h"

#define TEXT_MAX 512u /* of a field that is indexed; ECS allows 255 and less */
#define MEMORY_MAX (RECORD_KEY_MAX + RECORD_VALUE_MAX)

void events_row_init(struct events_row *row)
{
    *row = (struct events_row){.outcome = EVENTS_IGNORED};
    buf_init(&row->memory, MEMORY_MAX);
}

void events_row_fini(struct events_row *row)
{
    buf_fini(&row->memory);
}

static void reset(struct events_row *row)
{
    buf_clear(&row->memory);
    row->outcome = EVENTS_IGNORED;
    row->kind[0] = '\0';
    row->why[0] = '\0';
    row->event_unix_ms = 0;
    row->record = (struct record){0};
}

/* Copies what fits, in whole characters: half of one would spoil the line it is printed in. */
static void cut(char *out, size_t cap, const char *text)
{
    size_t len = strlen(text);
    if (len >= cap) {
        len = cap - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    memcpy(out, text, len);
    out[len] = '\0';
}

__attribute__((format(printf, 3, 4))) static void
say(struct events_row *row, enum events_outcome outcome, const char *format, ...)
{
    char text[sizeof row->why * 2];
    va_list args;
    row->outcome = outcome;
    row->record = (struct record){0};
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cut(row->why, sizeof row->why, text);
}

/* ---- clusters ------------------------------------------------------------------------- */

/* "arn:aws:ecs:r:a:cluster/name" -> "name"; a name is its own. */
static const char *cluster_name(const char *cluster, size_t *len)
{
    for (size_t i = *len; i > 0; i--) {
        if (cluster[i - 1] == '/') {
            *len -= i;
            return cluster + i;
        }
    }
    return cluster;
}

static bool is_arn(const char *text, size_t len)
{
    return len > 4 && memcmp(text, "arn:", 4) == 0;
}

/* Two ARNs are compared as such, anything else by name. */
static bool same_cluster(const char *a, size_t a_len, const char *b, size_t b_len)
{
    if (!is_arn(a, a_len) || !is_arn(b, b_len)) {
        a = cluster_name(a, &a_len);
        b = cluster_name(b, &b_len);
    }
    return a_len == b_len && memcmp(a, b, a_len) == 0;
}

bool events_keeps_cluster(const struct events_options *options, const char *cluster)
{
    const char *p = options->clusters;
    if (p == NULL)
        return true;
    while (*p != '\0') {
        p += strspn(p, ", \t");
        size_t len = strcspn(p, ",");
        size_t trimmed = len;
        while (trimmed > 0 && (p[trimmed - 1] == ' ' || p[trimmed - 1] == '\t'))
            trimmed--;
        if (trimmed > 0 && same_cluster(p, trimmed, cluster, strlen(cluster)))
            return true;
        p += len;
    }
    return false;
}

/* ---- one object ------------------------------------------------------------------------- */

/* Long and short ARNs of any partition: no more is required than what a key must be. */
static bool is_arn_of(const char *arn, const char *type)
{
    size_t len = strlen(arn);
    if (len > ARN_MAX || !is_arn(arn, len) || strstr(arn, ":ecs:") == NULL)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (arn[i] <= ' ' || arn[i] > '~')
            return false;
    }
    const char *at = strstr(arn, type);
    return at != NULL && at[strlen(type)] != '\0';
}

/* Texts of the wrong length are in the JSON, not in a field that is searched by. */
static void set_field(struct row *row, enum row_field field, const char *text)
{
    bool fits = text != NULL && text[0] != '\0' && strlen(text) <= TEXT_MAX;
    row_set(row, field, fits ? text : NULL);
}

/* Key, version and cluster, which every row must have. False: said why. */
static bool take_identity(const json_t *object, const char *arn_member, const char *arn_type,
                          const struct events_options *options, struct events_row *ret)
{
    const char *arn = json_str(object, arn_member);
    const char *cluster = json_str(object, "clusterArn");
    const json_t *version = json_object_get(object, "version");
    if (arn == NULL) {
        say(ret, EVENTS_POISON, "%s is missing or not text", arn_member);
    } else if (!is_arn_of(arn, arn_type)) {
        say(ret, EVENTS_POISON, "%s is not such an ARN", arn_member);
    } else if (cluster == NULL) {
        say(ret, EVENTS_POISON, "clusterArn is missing or not text");
    } else if (!is_arn_of(cluster, ":cluster/")) {
        say(ret, EVENTS_POISON, "clusterArn is not such an ARN");
    } else if (!events_keeps_cluster(options, cluster)) {
        say(ret, EVENTS_FOREIGN, "cluster %s is not kept here", cluster);
    } else if (!json_is_integer(version) || json_integer_value(version) < 0) {
        say(ret, EVENTS_POISON, "version is missing or not a whole number");
    } else {
        ret->record.version.hi = (uint64_t)json_integer_value(version);
        return true;
    }
    return false;
}

/* Writes key and row into memory, then points the record at them. */
static void finish(struct events_row *ret, uint8_t kind, const char *arn, struct row *row,
                   const json_t *canonical)
{
    char *text = json_dumps(canonical, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL) {
        say(ret, EVENTS_POISON, "out of memory");
        return;
    }
    row->json = (struct row_text){.data = text, .len = strlen(text)};
    size_t key_len = strlen(arn);
    buf_put(&ret->memory, arn, key_len);
    int err = row_encode(row, &ret->memory);
    free(text);
    size_t value_len = ret->memory.len - key_len;
    if (err != 0 || value_len > RECORD_VALUE_MAX) {
        buf_clear(&ret->memory);
        say(ret, EVENTS_POISON, "%s", err == ERR_NOMEM ? "out of memory" : "larger than 512 KiB");
        return;
    }
    ret->record.kind = kind;
    ret->record.key = ret->memory.data;
    ret->record.key_len = (uint16_t)key_len;
    ret->record.value = (const uint8_t *)ret->memory.data + key_len;
    ret->record.value_len = (uint32_t)value_len;
    ret->outcome = EVENTS_ROW;
}

static json_t *canonical_of(const json_t *object, const struct events_options *options,
                            struct events_row *ret)
{
    int err;
    json_t *copy = canon_copy(object, options->keep_override_values, &err);
    if (copy == NULL)
        say(ret, EVENTS_POISON, "%s", err == ERR_TOOBIG ? "nested too deeply" : "out of memory");
    return copy;
}

/* ".../family:17" -> family and revision; either may be absent in what AWS shows. */
static void set_definition(struct row *row, const char *arn, char family[TEXT_MAX + 1])
{
    if (arn == NULL)
        return;
    const char *slash = strrchr(arn, '/');
    const char *name = slash == NULL ? arn : slash + 1;
    const char *colon = strrchr(name, ':');
    size_t len = colon == NULL ? strlen(name) : (size_t)(colon - name);
    if (len == 0 || len > TEXT_MAX)
        return;
    memcpy(family, name, len);
    family[len] = '\0';
    set_field(row, ROW_FAMILY, family);
    if (colon != NULL && colon[1] != '\0' && strspn(colon + 1, "0123456789") == strlen(colon + 1))
        set_field(row, ROW_REVISION, colon + 1);
}

static void set_environment(struct row *row, const char *group)
{
    static const char prefix[] = "daemon:";
    if (group == NULL || strncmp(group, prefix, sizeof prefix - 1) != 0)
        return;
    const char *name = group + sizeof prefix - 1;
    if (name[0] != '\0' && strlen(name) <= ENVIRONMENT_NAME_MAX)
        row_set(row, ROW_ENVIRONMENT, name);
}

static void parse_task(const json_t *task, const struct events_options *options,
                       struct events_row *ret)
{
    json_t *copy = canonical_of(task, options, ret);
    if (copy == NULL)
        return;
    const char *status = json_str(copy, "lastStatus");
    if (!take_identity(copy, "taskArn", ":task/", options, ret)) {
        json_decref(copy);
        return;
    }
    if (status == NULL || status[0] == '\0') {
        say(ret, EVENTS_POISON, "lastStatus is missing or not text");
        json_decref(copy);
        return;
    }
    struct row row = {0};
    char family[TEXT_MAX + 1];
    set_field(&row, ROW_CLUSTER, json_str(copy, "clusterArn"));
    set_field(&row, ROW_STATUS, status);
    set_field(&row, ROW_DESIRED, json_str(copy, "desiredStatus"));
    set_field(&row, ROW_INSTANCE, json_str(copy, "containerInstanceArn")); /* none on Fargate */
    set_definition(&row, json_str(copy, "taskDefinitionArn"), family);
    set_field(&row, ROW_STARTED_BY, json_str(copy, "startedBy"));
    set_field(&row, ROW_GROUP, json_str(copy, "group"));
    set_environment(&row, json_str(copy, "group"));
    set_field(&row, ROW_ZONE, json_str(copy, "availabilityZone"));
    finish(ret, RECORD_TASK, json_str(copy, "taskArn"), &row, copy);
    json_decref(copy);
}

static const char *attribute(const json_t *object, const char *name)
{
    const json_t *attributes = json_arr(object, "attributes");
    for (size_t i = 0; i < json_array_size(attributes); i++) {
        const json_t *one = json_array_get(attributes, i);
        const char *its = json_str(one, "name");
        if (its != NULL && strcmp(its, name) == 0)
            return json_str(one, "value"); /* many have none */
    }
    return NULL;
}

static void parse_instance(const json_t *instance, const char *cluster_arn,
                           const struct events_options *options, struct events_row *ret)
{
    json_t *copy = canonical_of(instance, options, ret);
    if (copy == NULL)
        return;
    if (json_str(copy, "clusterArn") == NULL && cluster_arn != NULL) /* a Describe has none */
        json_set_str(copy, "clusterArn", cluster_arn);
    const char *status = json_str(copy, "status");
    if (!take_identity(copy, "containerInstanceArn", ":container-instance/", options, ret)) {
        json_decref(copy);
        return;
    }
    if (status == NULL || status[0] == '\0') {
        say(ret, EVENTS_POISON, "status is missing or not text");
        json_decref(copy);
        return;
    }
    struct row row = {0};
    const json_t *connected = json_object_get(copy, "agentConnected");
    set_field(&row, ROW_CLUSTER, json_str(copy, "clusterArn"));
    set_field(&row, ROW_STATUS, status);
    set_field(&row, ROW_EC2_INSTANCE, json_str(copy, "ec2InstanceId"));
    set_field(&row, ROW_ZONE, attribute(copy, "ecs.availability-zone"));
    if (json_is_boolean(connected))
        row_set(&row, ROW_CONNECTED, json_is_true(connected) ? "true" : "false");
    finish(ret, RECORD_INSTANCE, json_str(copy, "containerInstanceArn"), &row, copy);
    json_decref(copy);
}

void events_from_task(const json_t *task, const struct events_options *options,
                      struct events_row *ret)
{
    reset(ret);
    if (json_is_object(task))
        parse_task(task, options, ret);
    else
        say(ret, EVENTS_POISON, "the task is not an object");
}

void events_from_instance(const json_t *instance, const char *cluster_arn,
                          const struct events_options *options, struct events_row *ret)
{
    reset(ret);
    if (json_is_object(instance))
        parse_instance(instance, cluster_arn, options, ret);
    else
        say(ret, EVENTS_POISON, "the container instance is not an object");
}

/* ---- the envelope ------------------------------------------------------------------------ */

static void parse_detail(const json_t *envelope, const struct events_options *options,
                         struct events_row *ret)
{
    const char *source = json_str(envelope, "source");
    const char *time = json_str(envelope, "time");
    const json_t *detail = json_obj(envelope, "detail");
    if (time != NULL && clock_parse_rfc3339(time, &ret->event_unix_ms) != 0)
        ret->event_unix_ms = 0;
    if (source == NULL || strcmp(source, "aws.ecs") != 0) {
        say(ret, EVENTS_IGNORED, "comes from %s, not from aws.ecs", source == NULL ? "?" : source);
        return;
    }
    bool is_task = strcmp(ret->kind, "ECS Task State Change") == 0;
    bool is_instance = strcmp(ret->kind, "ECS Container Instance State Change") == 0;
    if (!is_task && !is_instance) {
        say(ret, EVENTS_IGNORED, "this kind of event makes no row");
        return;
    }
    if (detail == NULL)
        say(ret, EVENTS_POISON, "detail is missing or not an object");
    else if (is_task)
        parse_task(detail, options, ret);
    else
        parse_instance(detail, NULL, options, ret);
}

/* An SNS notification (its Message is the event as text), or the event itself. */
static json_t *unwrap(json_t *body, struct errmsg *e)
{
    const char *type = json_str(body, "Type");
    const char *message = json_str(body, "Message");
    if (type == NULL || strcmp(type, "Notification") != 0 || message == NULL)
        return json_incref(body);
    return json_parse_lenient(message, strlen(message), e);
}

void events_parse(const char *body, size_t len, const struct events_options *options,
                  struct events_row *ret)
{
    struct errmsg e = {{0}};
    reset(ret);
    json_t *outer = json_parse_lenient(body, len, &e);
    json_t *envelope = outer == NULL ? NULL : unwrap(outer, &e);
    const char *kind = json_str(envelope, "detail-type");
    if (envelope == NULL) {
        char *near = strstr(e.text, " near "); /* what follows is the body's, perhaps a secret */
        if (near != NULL)
            *near = '\0';
        say(ret, EVENTS_POISON, "not JSON: %s", e.text);
    } else if (!json_is_object(envelope)) {
        say(ret, EVENTS_POISON, "not a JSON object");
    } else if (kind == NULL) {
        say(ret, EVENTS_POISON, "detail-type is missing or not text");
    } else {
        cut(ret->kind, sizeof ret->kind, kind);
        parse_detail(envelope, options, ret);
    }
    json_decref(envelope);
    json_decref(outer);
}

int events_scrub(const char *body, size_t len, struct buf *out)
{
    struct errmsg e = {{0}};
    int err = 0;
    json_t *outer = json_parse_lenient(body, len, &e);
    json_t *inner = outer == NULL ? NULL : unwrap(outer, &e);
    json_t *copy = json_is_object(inner) ? canon_copy(inner, false, &err) : NULL;
    if (copy != NULL)
        err = json_write(copy, out);
    else
        err = buf_printf(out, "%zu bytes that are not readable as an event", len);
    json_decref(copy);
    json_decref(inner);
    json_decref(outer);
    return err;
}
