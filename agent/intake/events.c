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
    buf_init(&row->json, MEMORY_MAX);
    buf_init(&row->inner, MEMORY_MAX * 4);
    tape_init(&row->tape);
}

void events_row_fini(struct events_row *row)
{
    buf_fini(&row->memory);
    buf_fini(&row->json);
    buf_fini(&row->inner);
    tape_fini(&row->tape);
}

static void reset(struct events_row *row)
{
    buf_clear(&row->memory);
    row->outcome = EVENTS_IGNORED;
    row->kind[0] = '\0';
    row->why[0] = '\0';
    row->event_unix_ms = 0;
    row->change_unix_ms = 0;
    row->record = (struct record){0};
    row->note = (struct events_note){.level = ""};
    row->hint_arn = NULL;
    row->hint_cluster = NULL;
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

static bool is_at_home(const struct events_options *options, const char *cluster)
{
    return options->home == NULL || !is_arn(cluster, strlen(cluster)) ||
           strncmp(cluster, options->home, strlen(options->home)) == 0;
}

bool events_keeps_cluster(const struct events_options *options, const char *cluster)
{
    const char *p = options->clusters;
    bool at_home = is_at_home(options, cluster);
    if (p == NULL)
        return at_home;
    while (*p != '\0') {
        p += strspn(p, ", \t");
        size_t len = strcspn(p, ",");
        size_t trimmed = len;
        while (trimmed > 0 && (p[trimmed - 1] == ' ' || p[trimmed - 1] == '\t'))
            trimmed--;
        if (trimmed > 0 && (at_home || is_arn(p, trimmed)) &&
            same_cluster(p, trimmed, cluster, strlen(cluster)))
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

/* One object on its way to a row. */
struct taking {
    const struct tape *t;
    uint32_t object;
    const struct events_options *options;
    const char *cluster_arn; /* what it was asked with, if it does not say itself */
    bool is_event;           /* without a version it cannot be ordered */
    char arn[ARN_MAX + 1];
    char cluster[ARN_MAX + 1];
    struct row row;
    char escaped[ROW_FIELD_END][TEXT_MAX + 1]; /* of columns that stand with escapes */
    char family[TEXT_MAX + 1];
    char group[EVENTS_GROUP_MAX];
};

/* Texts of the wrong length are in the JSON, not in a field that is searched by. */
static void set_field(struct taking *k, enum row_field field, uint32_t node)
{
    if (!tape_is(k->t, node, TAPE_STRING))
        return;
    const struct tape_node *n = &k->t->nodes[node];
    struct row_text text = {k->t->text + n->at, n->len};
    if (n->escaped) {
        if (!tape_text(k->t, node, k->escaped[field], TEXT_MAX + 1))
            return;
        text = (struct row_text){k->escaped[field], strlen(k->escaped[field])};
    }
    if (text.len > 0 && text.len <= TEXT_MAX)
        k->row.field[field] = text;
}

static void set_member(struct taking *k, enum row_field field, const char *name)
{
    set_field(k, field, tape_get(k->t, k->object, name));
}

static bool has_version(const struct taking *k)
{
    uint32_t node = tape_get(k->t, k->object, "version");
    return node != TAPE_NONE && !tape_is(k->t, node, TAPE_NULL);
}

/* ECS's number; some emulators write it as text, or not at all. */
static bool read_version(const struct taking *k, uint64_t *ret)
{
    char text[24];
    int64_t number;
    uint32_t node = tape_get(k->t, k->object, "version");
    *ret = 0;
    if (tape_int(k->t, node, &number)) {
        *ret = (uint64_t)number;
        return number >= 0;
    }
    if (tape_text(k->t, node, text, sizeof text) && text[0] != '\0') {
        *ret = strtoull(text, NULL, 10);
        return strspn(text, "0123456789") == strlen(text) && *ret <= INT64_MAX;
    }
    return !has_version(k);
}

static void hint(const struct taking *k, struct events_row *ret)
{
    size_t arn_len = strlen(k->arn) + 1;
    buf_put(&ret->memory, k->arn, arn_len);
    if (buf_put(&ret->memory, k->cluster, strlen(k->cluster) + 1) != 0) {
        say(ret, EVENTS_POISON, "out of memory");
        return;
    }
    ret->hint_arn = ret->memory.data;
    ret->hint_cluster = ret->memory.data + arn_len;
    say(ret, EVENTS_HINT, "version is missing");
}

/* Key, version and cluster, which every row must have. False: said why. */
static bool take_identity(struct taking *k, const char *arn_member, const char *arn_type,
                          struct events_row *ret)
{
    const struct tape *t = k->t;
    uint32_t arn = tape_get(t, k->object, arn_member);
    uint32_t cluster = tape_get(t, k->object, "clusterArn");
    if (!tape_is(t, cluster, TAPE_STRING) && k->cluster_arn != NULL)
        snprintf(k->cluster, sizeof k->cluster, "%s", k->cluster_arn);
    if (!tape_is(t, arn, TAPE_STRING)) {
        say(ret, EVENTS_POISON, "%s is missing or not text", arn_member);
    } else if (!tape_text(t, arn, k->arn, sizeof k->arn) || !is_arn_of(k->arn, arn_type)) {
        say(ret, EVENTS_POISON, "%s is not such an ARN", arn_member);
    } else if (!tape_is(t, cluster, TAPE_STRING) && k->cluster_arn == NULL) {
        say(ret, EVENTS_POISON, "clusterArn is missing or not text");
    } else if ((tape_is(t, cluster, TAPE_STRING) &&
                !tape_text(t, cluster, k->cluster, sizeof k->cluster)) ||
               !is_arn_of(k->cluster, ":cluster/")) {
        say(ret, EVENTS_POISON, "clusterArn is not such an ARN");
    } else if (!events_keeps_cluster(k->options, k->cluster)) {
        say(ret, EVENTS_FOREIGN, "cluster %s is not kept here", k->cluster);
    } else if (!read_version(k, &ret->record.version.hi)) {
        say(ret, EVENTS_POISON, "version is not a whole number");
    } else if (k->is_event && !has_version(k)) {
        hint(k, ret);
    } else {
        k->row.field[ROW_CLUSTER] = (struct row_text){k->cluster, strlen(k->cluster)};
        return true;
    }
    return false;
}

/* Writes key and row into memory, then points the record at them. */
static void finish(struct taking *k, struct events_row *ret, uint8_t kind)
{
    size_t key_len = strlen(k->arn);
    buf_put(&ret->memory, k->arn, key_len);
    /* The JSON first: the row's columns point into it. */
    buf_clear(&ret->json);
    int err =
        canon_write(k->t, k->object, k->options->keep_override_values, k->cluster_arn, &ret->json);
    k->row.json = (struct row_text){ret->json.data, ret->json.len};
    if (err == 0)
        err = row_encode(&k->row, &ret->memory);
    size_t value_len = ret->memory.len - key_len;
    if (err != 0 || value_len > RECORD_VALUE_MAX) {
        buf_clear(&ret->memory);
        say(ret, EVENTS_POISON, "%s",
            err == ERR_NOMEM       ? "out of memory"
            : err == ERR_MALFORMED ? "nested too deeply"
                                   : "larger than 512 KiB");
        return;
    }
    ret->record.kind = kind;
    ret->record.key = ret->memory.data;
    ret->record.key_len = (uint16_t)key_len;
    ret->record.value = (const uint8_t *)ret->memory.data + key_len;
    ret->record.value_len = (uint32_t)value_len;
    ret->outcome = EVENTS_ROW;
}

/* ".../family:17" -> family and revision; either may be absent in what AWS shows. */
static void set_definition(struct taking *k)
{
    char arn[TEXT_MAX + 1];
    if (!tape_text(k->t, tape_get(k->t, k->object, "taskDefinitionArn"), arn, sizeof arn))
        return;
    const char *slash = strrchr(arn, '/');
    snprintf(k->family, sizeof k->family, "%s", slash == NULL ? arn : slash + 1);
    const char *colon = strrchr(k->family, ':');
    size_t len = colon == NULL ? strlen(k->family) : (size_t)(colon - k->family);
    if (len == 0)
        return;
    k->row.field[ROW_FAMILY] = (struct row_text){k->family, len};
    if (colon != NULL && colon[1] != '\0' && strspn(colon + 1, "0123456789") == strlen(colon + 1))
        row_set(&k->row, ROW_REVISION, colon + 1);
}

/* ECS always tells one. */
static void set_group(struct taking *k)
{
    char started_by[EVENTS_GROUP_MAX];
    set_member(k, ROW_GROUP, "group");
    if (k->row.field[ROW_GROUP].data == NULL && k->options->group_of != NULL &&
        tape_text(k->t, tape_get(k->t, k->object, "startedBy"), started_by, sizeof started_by) &&
        k->options->group_of(k->options->arg, started_by, k->group))
        row_set(&k->row, ROW_GROUP, k->group);
}

static void set_environment(struct taking *k)
{
    static const char prefix[] = "daemon:";
    const size_t n = sizeof prefix - 1;
    const struct row_text *group = &k->row.field[ROW_GROUP];
    if (group->len > n && group->len - n <= ENVIRONMENT_NAME_MAX &&
        memcmp(group->data, prefix, n) == 0)
        k->row.field[ROW_ENVIRONMENT] = (struct row_text){group->data + n, group->len - n};
}

static void take_task(struct taking *k, struct events_row *ret)
{
    if (!take_identity(k, "taskArn", ":task/", ret))
        return;
    set_member(k, ROW_STATUS, "lastStatus");
    if (k->row.field[ROW_STATUS].data == NULL) {
        say(ret, EVENTS_POISON, "lastStatus is missing or not text");
        return;
    }
    set_member(k, ROW_DESIRED, "desiredStatus");
    set_member(k, ROW_INSTANCE, "containerInstanceArn"); /* none on Fargate */
    set_definition(k);
    set_member(k, ROW_STARTED_BY, "startedBy");
    set_group(k);
    set_environment(k);
    set_member(k, ROW_ZONE, "availabilityZone");
    finish(k, ret, RECORD_TASK);
}

static uint32_t attribute(const struct taking *k, const char *name)
{
    uint32_t attributes = tape_get(k->t, k->object, "attributes");
    for (uint32_t i = tape_first(k->t, attributes); i != TAPE_NONE;
         i = tape_next(k->t, attributes, i)) {
        if (tape_equals(k->t, tape_get(k->t, i, "name"), name))
            return tape_get(k->t, i, "value"); /* many have none */
    }
    return TAPE_NONE;
}

static void take_instance(struct taking *k, struct events_row *ret)
{
    if (!take_identity(k, "containerInstanceArn", ":container-instance/", ret))
        return;
    set_member(k, ROW_STATUS, "status");
    if (k->row.field[ROW_STATUS].data == NULL) {
        say(ret, EVENTS_POISON, "status is missing or not text");
        return;
    }
    uint32_t connected = tape_get(k->t, k->object, "agentConnected");
    set_member(k, ROW_EC2_INSTANCE, "ec2InstanceId");
    set_field(k, ROW_ZONE, attribute(k, "ecs.availability-zone"));
    /* ECS always says it. Who does not know of agents does not say that one is away. */
    row_set(&k->row, ROW_CONNECTED, tape_is(k->t, connected, TAPE_FALSE) ? "false" : "true");
    finish(k, ret, RECORD_INSTANCE);
}

void events_take_task(const struct tape *t, uint32_t task, const struct events_options *options,
                      struct events_row *ret)
{
    struct taking k = {.t = t, .object = task, .options = options};
    reset(ret);
    if (tape_is(t, task, TAPE_OBJECT))
        take_task(&k, ret);
    else
        say(ret, EVENTS_POISON, "the task is not an object");
}

void events_take_instance(const struct tape *t, uint32_t instance, const char *cluster_arn,
                          const struct events_options *options, struct events_row *ret)
{
    struct taking k = {.t = t, .object = instance, .options = options, .cluster_arn = cluster_arn};
    reset(ret);
    if (tape_is(t, instance, TAPE_OBJECT))
        take_instance(&k, ret);
    else
        say(ret, EVENTS_POISON, "the container instance is not an object");
}

/* Node 0 of ret->tape, over text that the caller frees afterwards; NULL: said why. */
static char *retell(const json_t *json, struct events_row *ret)
{
    struct errmsg e = {{0}};
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text == NULL || tape_parse(&ret->tape, text, strlen(text), &e) != 0)
        ret->tape.count = 0; /* then it is not an object either */
    return text;
}

void events_from_task(const json_t *task, const struct events_options *options,
                      struct events_row *ret)
{
    char *text = retell(task, ret);
    events_take_task(&ret->tape, 0, options, ret);
    free(text);
}

void events_from_instance(const json_t *instance, const char *cluster_arn,
                          const struct events_options *options, struct events_row *ret)
{
    char *text = retell(instance, ret);
    events_take_instance(&ret->tape, 0, cluster_arn, options, ret);
    free(text);
}

/* ---- the envelope ------------------------------------------------------------------------ */

/* Copies what fits of a text, in whole characters. */
static bool cut_text(const struct tape *t, uint32_t node, char *out, size_t cap)
{
    struct buf text;
    bool is_text = tape_is(t, node, TAPE_STRING);
    buf_init(&text, MEMORY_MAX);
    out[0] = '\0';
    if (is_text && tape_put_text(t, node, &text) == 0 && text.data != NULL)
        cut(out, cap, text.data);
    buf_fini(&text);
    return is_text;
}

/* The worst of an instance's health checks: its reason, or what was checked. */
static void take_health(const struct tape *t, uint32_t detail, struct events_note *n)
{
    char status[32];
    if (!cut_text(t, tape_get(t, detail, "overallStatus"), status, sizeof status))
        return;
    bool impaired = strcmp(status, "IMPAIRED") == 0;
    snprintf(n->name, sizeof n->name, "INSTANCE_HEALTH_%s", status);
    snprintf(n->level, sizeof n->level, "%s", impaired ? "WARN" : "INFO");
    uint32_t checks = tape_get(t, detail, "healthChecks");
    for (uint32_t i = tape_first(t, checks); i != TAPE_NONE; i = tape_next(t, checks, i)) {
        if (!tape_equals(t, tape_get(t, i, "status"), status))
            continue;
        if (!cut_text(t, tape_get(t, i, "statusReason"), n->reason, sizeof n->reason))
            (void)cut_text(t, tape_get(t, i, "type"), n->reason, sizeof n->reason);
        return;
    }
}

static void take_note(const struct tape *t, uint32_t envelope, uint32_t detail,
                      const struct events_options *options, struct events_note *n)
{
    char cluster[ARN_MAX + 1];
    if (tape_text(t, tape_get(t, detail, "clusterArn"), cluster, sizeof cluster) &&
        !events_keeps_cluster(options, cluster))
        return;
    uint32_t about = tape_get(t, detail, "containerInstanceArn");
    if (!tape_is(t, about, TAPE_STRING))
        about = tape_first(t, tape_get(t, envelope, "resources"));
    (void)cut_text(t, about, n->about, sizeof n->about);
    (void)cut_text(t, tape_get(t, detail, "reason"), n->reason, sizeof n->reason);
    if (!cut_text(t, tape_get(t, detail, "eventName"), n->name, sizeof n->name)) {
        take_health(t, detail, n);
        return;
    }
    if (!tape_text(t, tape_get(t, detail, "eventType"), n->level, sizeof n->level) ||
        (strcmp(n->level, "WARN") != 0 && strcmp(n->level, "ERROR") != 0))
        snprintf(n->level, sizeof n->level, "INFO");
}

static void parse_detail(const struct tape *t, uint32_t envelope,
                         const struct events_options *options, struct events_row *ret)
{
    char source[64] = "?";
    char time[64];
    struct taking k = {
        .t = t, .object = tape_get(t, envelope, "detail"), .options = options, .is_event = true};
    if (!tape_text(t, tape_get(t, envelope, "time"), time, sizeof time) ||
        clock_parse_rfc3339(time, &ret->event_unix_ms) != 0)
        ret->event_unix_ms = 0;
    if (!tape_text(t, tape_get(t, k.object, "updatedAt"), time, sizeof time) ||
        clock_parse_rfc3339(time, &ret->change_unix_ms) != 0)
        ret->change_unix_ms = 0;
    if (!tape_equals(t, tape_get(t, envelope, "source"), "aws.ecs")) {
        (void)tape_text(t, tape_get(t, envelope, "source"), source, sizeof source);
        say(ret, EVENTS_IGNORED, "comes from %s, not from aws.ecs", source);
        return;
    }
    bool is_task = strcmp(ret->kind, "ECS Task State Change") == 0;
    bool is_instance = strcmp(ret->kind, "ECS Container Instance State Change") == 0;
    if (!is_task && !is_instance) {
        say(ret, EVENTS_IGNORED, "this kind of event makes no row");
        take_note(t, envelope, k.object, options, &ret->note);
    } else if (!tape_is(t, k.object, TAPE_OBJECT))
        say(ret, EVENTS_POISON, "detail is missing or not an object");
    else if (is_task)
        take_task(&k, ret);
    else
        take_instance(&k, ret);
}

/* Parses into ret->tape the event itself, or what an SNS notification has as its Message. */
static int unwrap(const char *body, size_t len, struct events_row *ret, struct errmsg *e)
{
    struct tape *t = &ret->tape;
    int err = tape_parse(t, body, len, e);
    uint32_t message = tape_get(t, 0, "Message");
    if (err != 0 || !tape_is(t, message, TAPE_STRING) ||
        !tape_equals(t, tape_get(t, 0, "Type"), "Notification"))
        return err;
    buf_clear(&ret->inner);
    err = tape_put_text(t, message, &ret->inner);
    return err != 0
               ? errmsg_set(e, err, "%s", err_text(err))
               : tape_parse(t, ret->inner.data == NULL ? "" : ret->inner.data, ret->inner.len, e);
}

void events_parse(const char *body, size_t len, const struct events_options *options,
                  struct events_row *ret)
{
    struct errmsg e = {{0}};
    const struct tape *t = &ret->tape;
    reset(ret);
    uint32_t kind = TAPE_NONE;
    if (unwrap(body, len, ret, &e) != 0)
        say(ret, EVENTS_POISON, "not JSON: %s", e.text);
    else if (!tape_is(t, 0, TAPE_OBJECT))
        say(ret, EVENTS_POISON, "not a JSON object");
    else if (!tape_is(t, kind = tape_get(t, 0, "detail-type"), TAPE_STRING))
        say(ret, EVENTS_POISON, "detail-type is missing or not text");
    else if (tape_text(t, kind, ret->kind, sizeof ret->kind) ||
             cut_text(t, kind, ret->kind, sizeof ret->kind))
        parse_detail(t, 0, options, ret);
}

int events_scrub(const char *body, size_t len, struct buf *out)
{
    struct errmsg e = {{0}};
    struct events_row row;
    size_t before = out->len;
    events_row_init(&row);
    int err = unwrap(body, len, &row, &e);
    if (err == 0 && tape_is(&row.tape, 0, TAPE_OBJECT))
        err = canon_write(&row.tape, 0, false, NULL, out);
    else
        err = ERR_MALFORMED;
    if (err == ERR_MALFORMED) {
        out->len = before;
        err = buf_printf(out, "%zu bytes that are not readable as an event", len);
    }
    events_row_fini(&row);
    return err;
}
