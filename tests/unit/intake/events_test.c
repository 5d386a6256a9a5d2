/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/intake/events.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/prng.h"
#include "agent/base/row.h"

#define DATA "tests/data/ecs-events/"
#define SAMPLES_MAX 128

struct sample {
    char path[200];
    char *text;
    size_t len;
};
static struct sample samples[SAMPLES_MAX];
static size_t sample_count;

static const struct events_options all;

static char *read_file(const char *path, size_t *ret_len)
{
    FILE *f = fopen(path, "rb");
    cr_assert_not_null(f, "%s", path);
    char *text = calloc(1, 1 << 20);
    *ret_len = fread(text, 1, (1 << 20) - 1, f);
    fclose(f);
    return text;
}

static int by_path(const void *a, const void *b)
{
    const struct sample *x = a;
    const struct sample *y = b;
    return strcmp(x->path, y->path);
}

static void read_samples(void)
{
    static const char *const dirs[] = {DATA "aws-docs-2023", DATA "aws-docs-2026",
                                       DATA "synthetic"};
    for (size_t d = 0; d < sizeof dirs / sizeof dirs[0]; d++) {
        DIR *dir = opendir(dirs[d]);
        cr_assert_not_null(dir, "%s", dirs[d]);
        for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
            if (strstr(e->d_name, ".json") == NULL)
                continue;
            cr_assert_lt(sample_count, SAMPLES_MAX);
            struct sample *s = &samples[sample_count++];
            snprintf(s->path, sizeof s->path, "%s/%s", dirs[d], e->d_name);
            s->text = read_file(s->path, &s->len);
        }
        closedir(dir);
    }
    qsort(samples, sample_count, sizeof samples[0], by_path);
}

static void free_samples(void)
{
    for (size_t i = 0; i < sample_count; i++)
        free(samples[i].text);
}

/* Everything that must hold of a row, whatever it was made from. NULL: all does. */
static const char *odd_row(const struct events_row *r, const struct events_options *options)
{
    struct row row;
    struct record rec = r->record;
    struct record back;
    struct buf wire;
    struct rbuf in;
    rec.source = SOURCE_EVENT;
    buf_init(&wire, 2 << 20);
    if (record_encode(&rec, &wire) != 0)
        return "not encoded";
    rbuf_init(&in, wire.data, wire.len);
    bool same = record_decode(&in, &back) == 0 && rbuf_left(&in) == 0 && back.kind == rec.kind &&
                back.key_len == rec.key_len && memcmp(back.key, rec.key, rec.key_len) == 0 &&
                back.value_len == rec.value_len &&
                memcmp(back.value, rec.value, rec.value_len) == 0 &&
                record_version_cmp(back.version, rec.version) == 0;
    buf_fini(&wire);
    if (!same)
        return "record does not round-trip";
    if (row_decode(rec.value, rec.value_len, &row) != 0)
        return "row does not decode";
    if (row.field[ROW_CLUSTER].data == NULL || row.field[ROW_STATUS].data == NULL)
        return "no cluster or status";
    json_t *json = json_parse(row.json.data, row.json.len, NULL);
    if (json == NULL)
        return "JSON does not parse";
    struct events_row again;
    events_row_init(&again);
    if (rec.kind == RECORD_TASK)
        events_from_task(json, options, &again);
    else
        events_from_instance(json, NULL, options, &again);
    same = again.outcome == EVENTS_ROW && again.record.value_len == rec.value_len &&
           memcmp(again.record.value, rec.value, rec.value_len) == 0 &&
           again.record.version.hi == rec.version.hi;
    events_row_fini(&again);
    json_decref(json);
    return same ? NULL : "not canonical: a second pass changes it";
}

static json_t *row_json(const struct events_row *r)
{
    struct row row;
    cr_assert_eq(r->outcome, EVENTS_ROW, "%s", r->why);
    cr_assert_eq(row_decode(r->record.value, r->record.value_len, &row), 0);
    json_t *json = json_parse(row.json.data, row.json.len, NULL);
    cr_assert_not_null(json);
    return json;
}

static bool field_is(const struct events_row *r, enum row_field field, const char *text)
{
    struct row row;
    if (r->outcome != EVENTS_ROW || row_decode(r->record.value, r->record.value_len, &row) != 0)
        return false;
    return text == NULL ? row.field[field].data == NULL : row_field_is(&row, field, text);
}

static struct events_row *parse_file(struct events_row *r, const char *name)
{
    size_t len;
    char path[256];
    snprintf(path, sizeof path, DATA "%s", name);
    char *text = read_file(path, &len);
    events_parse(text, len, &all, r);
    free(text);
    return r;
}

/* What becomes of a sample follows from its name, so that a new one is not forgotten. */
Test(events, every_sample_has_its_outcome)
{
    struct events_row r;
    events_row_init(&r);
    read_samples();
    cr_assert_geq(sample_count, 50);
    for (size_t i = 0; i < sample_count; i++) {
        const struct sample *s = &samples[i];
        const char *name = strrchr(s->path, '/') + 1;
        enum events_outcome expected = EVENTS_IGNORED;
        if (strncmp(name, "task-state-change", 17) == 0 || strncmp(name, "task-", 5) == 0 ||
            strncmp(name, "container-instance-state", 24) == 0 ||
            strncmp(name, "instance-", 9) == 0)
            expected = EVENTS_ROW;
        if (strncmp(name, "api-", 4) == 0 || strncmp(name, "sqs-", 4) == 0 ||
            strstr(name, "fargate-spot-termination") != NULL) /* cut short in AWS's page */
            expected = EVENTS_POISON;
        events_parse(s->text, s->len, &all, &r);
        cr_assert_eq(r.outcome, expected, "%s: outcome %d: %s", name, (int)r.outcome, r.why);
        cr_assert(expected == EVENTS_ROW || r.why[0] != '\0');
        const char *odd = expected == EVENTS_ROW ? odd_row(&r, &all) : NULL;
        cr_assert_null(odd, "%s: %s", name, odd);
    }
    free_samples();
    events_row_fini(&r);
}

Test(events, a_task_row_has_its_columns)
{
    struct events_row r;
    events_row_init(&r);
    parse_file(&r, "synthetic/task-02-running-ec2-network-bindings.json");
    cr_assert_eq(r.record.kind, RECORD_TASK);
    cr_assert_eq(r.record.version.hi, 2);
    cr_assert_eq(r.record.version.lo, 0);
    cr_assert_not(r.record.deleted);
    cr_assert_str_eq(r.kind, "ECS Task State Change");
    cr_assert_eq(r.event_unix_ms, INT64_C(1795338069000));
    const char *key =
        "arn:aws:ecs:us-east-1:111122223333:task/prod/628b49d96dcde97a430dd4f597705899";
    cr_assert_eq(r.record.key_len, strlen(key));
    cr_assert_eq(memcmp(r.record.key, key, strlen(key)), 0);
    cr_assert(field_is(&r, ROW_CLUSTER, "arn:aws:ecs:us-east-1:111122223333:cluster/prod"));
    cr_assert(field_is(&r, ROW_STATUS, "RUNNING"));
    cr_assert(field_is(&r, ROW_DESIRED, "RUNNING"));
    cr_assert(field_is(&r, ROW_INSTANCE,
                       "arn:aws:ecs:us-east-1:111122223333:container-instance/prod/"
                       "779d1ba1900f81e1ece4536c64382ed7"));
    cr_assert(field_is(&r, ROW_FAMILY, "log-router"));
    cr_assert(field_is(&r, ROW_REVISION, "17"));
    cr_assert(field_is(&r, ROW_STARTED_BY, "dm/log-router/r17/7f3c9a"));
    cr_assert(field_is(&r, ROW_GROUP, "family:log-router"));
    cr_assert(field_is(&r, ROW_ENVIRONMENT, NULL));
    cr_assert(field_is(&r, ROW_ZONE, "us-east-1a"));
    json_t *json = row_json(&r);
    cr_assert_str_eq(json_str(json, "startedAt"), "2026-11-22T09:01:09.980Z");
    json_decref(json);
    parse_file(&r, "synthetic/task-11-fargate-no-container-instance.json");
    cr_assert(field_is(&r, ROW_INSTANCE, NULL));
    parse_file(&r, "synthetic/task-14-deleted-last-status.json");
    cr_assert(field_is(&r, ROW_STATUS, "DELETED"));
    parse_file(&r, "aws-docs-2026/task-state-change--running-ec2-awsvpc-capacity-provider.json");
    cr_assert(field_is(&r, ROW_FAMILY, "webserver"));
    cr_assert(field_is(&r, ROW_REVISION, NULL));
    events_row_fini(&r);
}

Test(events, an_instance_row_has_its_columns)
{
    struct events_row r;
    events_row_init(&r);
    parse_file(&r, "synthetic/instance-04-active-agent-disconnected.json");
    cr_assert_eq(r.record.kind, RECORD_INSTANCE);
    cr_assert_eq(r.record.version.hi, 4);
    cr_assert(field_is(&r, ROW_STATUS, "ACTIVE"));
    cr_assert(field_is(&r, ROW_CONNECTED, "false"));
    cr_assert(field_is(&r, ROW_ZONE, "us-east-1a"));
    json_t *json = row_json(&r);
    cr_assert(field_is(&r, ROW_EC2_INSTANCE, json_str(json, "ec2InstanceId")));
    json_decref(json);
    parse_file(&r, "synthetic/instance-08-inactive-deregistered.json");
    cr_assert(field_is(&r, ROW_STATUS, "INACTIVE"));
    events_row_fini(&r);
}

/* A body around a detail, for the cases below. */
static void parse_detail(struct events_row *r, const struct events_options *options,
                         const char *kind, const char *detail)
{
    char body[8192];
    int len = snprintf(body, sizeof body,
                       "{\"version\":\"0\",\"source\":\"aws.ecs\",\"detail-type\":\"%s\","
                       "\"resources\":[],\"time\":\"2026-11-22T09:00:00Z\",\"detail\":%s}",
                       kind, detail);
    cr_assert_lt(len, (int)sizeof body);
    events_parse(body, (size_t)len, options, r);
}

#define TASK "ECS Task State Change"
#define INSTANCE "ECS Container Instance State Change"
#define TASK_HEAD                                                                                  \
    "{\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\","      \
    "\"lastStatus\":\"RUNNING\",\"version\":7"

Test(events, traps_of_real_events)
{
    const struct {
        const char *what, *kind, *detail;
        enum events_outcome outcome;
        const char *expected; /* the row's JSON, or a piece of why */
    } cases[] = {
        {"null members, null as text, empty lists", TASK,
         TASK_HEAD ",\"cpu\":\"null\",\"memory\":\"128\",\"startedBy\":null,\"tags\":[],"
                   "\"inferenceAccelerators\":[null],\"containers\":[]}",
         EVENTS_ROW,
         "{\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\",\"containers\":[],\"lastStatus\":"
         "\"RUNNING\",\"memory\":\"128\",\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"version\":7}"},
        {"times of any precision, as numbers, and no times", TASK,
         TASK_HEAD ",\"createdAt\":\"2026-11-22T09:01:41.618059641Z\","
                   "\"startedAt\":1795338069.98,\"stoppedAt\":\"soon\",\"stoppingAt\":-1,"
                   "\"updatedAt\":\"2026-11-22T09:01:44+01:00\"}",
         EVENTS_ROW,
         "{\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\",\"createdAt\":\"2026-11-22T09:01:41.618Z\","
         "\"lastStatus\":\"RUNNING\",\"startedAt\":\"2026-11-22T09:01:09.980Z\",\"taskArn\":"
         "\"arn:aws:ecs:r:1:task/c/t\",\"updatedAt\":\"2026-11-22T08:01:44.000Z\",\"version\":7}"},
        {"a version of 64 bits", TASK,
         "{\"taskArn\":\"arn:aws-cn:ecs:cn-north-1:1:task/0b69d5c0\",\"clusterArn\":"
         "\"arn:aws-cn:ecs:cn-north-1:1:cluster/c\",\"lastStatus\":\"STOPPED\","
         "\"version\":9223372036854775807}",
         EVENTS_ROW,
         "{\"clusterArn\":\"arn:aws-cn:ecs:cn-north-1:1:cluster/c\",\"lastStatus\":\"STOPPED\","
         "\"taskArn\":\"arn:aws-cn:ecs:cn-north-1:1:task/0b69d5c0\",\"version\":"
         "9223372036854775807}"},
        {"an attribute without value, a resource with all values", INSTANCE,
         "{\"containerInstanceArn\":\"arn:aws-us-gov:ecs:r:1:container-instance/x\",\"clusterArn\":"
         "\"arn:aws-us-gov:ecs:r:1:cluster/c\",\"status\":\"ACTIVE\",\"version\":1,\"attributes\":["
         "{\"name\":\"b\"},{\"name\":\"a\",\"value\":\"1\"}],\"registeredResources\":[{\"name\":"
         "\"CPU\",\"type\":\"INTEGER\",\"doubleValue\":0.0,\"longValue\":0,\"integerValue\":2048}]"
         "}",
         EVENTS_ROW,
         "{\"attributes\":[{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"b\"}],\"clusterArn\":"
         "\"arn:aws-us-gov:ecs:r:1:cluster/c\",\"containerInstanceArn\":"
         "\"arn:aws-us-gov:ecs:r:1:container-instance/x\",\"registeredResources\":[{"
         "\"integerValue\":2048,\"name\":\"CPU\",\"type\":\"INTEGER\"}],\"status\":\"ACTIVE\","
         "\"version\":1}"},
        {"elements of one name keep their order", TASK,
         TASK_HEAD ",\"tags\":[{\"key\":\"b\"},{\"key\":\"a\",\"value\":\"2\"},"
                   "{\"key\":\"a\",\"value\":\"1\"}]}",
         EVENTS_ROW,
         "{\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\",\"lastStatus\":\"RUNNING\",\"tags\":["
         "{\"key\":\"a\",\"value\":\"2\"},{\"key\":\"a\",\"value\":\"1\"},{\"key\":\"b\"}],"
         "\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"version\":7}"},
        {"no version", INSTANCE,
         "{\"containerInstanceArn\":\"arn:aws:ecs:r:1:container-instance/x\",\"clusterArn\":"
         "\"arn:aws:ecs:r:1:cluster/c\",\"status\":\"ACTIVE\"}",
         EVENTS_POISON, "version"},
        {"a version below zero", TASK,
         "{\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\","
         "\"lastStatus\":\"RUNNING\",\"version\":-1}",
         EVENTS_POISON, "version"},
        {"a version past 64 bits", TASK,
         "{\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\","
         "\"lastStatus\":\"RUNNING\",\"version\":18446744073709551616}",
         EVENTS_POISON, "not JSON"},
        {"no ARN", TASK, "{\"lastStatus\":\"RUNNING\",\"version\":1}", EVENTS_POISON, "taskArn"},
        {"another ARN", TASK,
         "{\"taskArn\":\"arn:aws:s3:::task/b\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\","
         "\"lastStatus\":\"RUNNING\",\"version\":1}",
         EVENTS_POISON, "taskArn"},
        {"no status", TASK,
         "{\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\","
         "\"version\":1}",
         EVENTS_POISON, "lastStatus"},
        {"no detail", TASK, "null", EVENTS_POISON, "detail"},
        {"a new kind", "ECS Something New", "{}", EVENTS_IGNORED, "no row"},
        {"health has no version", "ECS Container Instance Health Change", "{}", EVENTS_IGNORED,
         "no row"},
    };
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parse_detail(&r, &all, cases[i].kind, cases[i].detail);
        cr_assert_eq(r.outcome, cases[i].outcome, "%s: %s", cases[i].what, r.why);
        if (r.outcome != EVENTS_ROW) {
            cr_assert_not_null(strstr(r.why, cases[i].expected), "%s: %s", cases[i].what, r.why);
            continue;
        }
        struct row row;
        cr_assert_eq(row_decode(r.record.value, r.record.value_len, &row), 0);
        cr_assert_eq(row.json.len, strlen(cases[i].expected), "%s: %.*s", cases[i].what,
                     (int)row.json.len, row.json.data);
        cr_assert_eq(memcmp(row.json.data, cases[i].expected, row.json.len), 0, "%s: %.*s",
                     cases[i].what, (int)row.json.len, row.json.data);
        cr_assert_null(odd_row(&r, &all), "%s", cases[i].what);
    }
    events_row_fini(&r);
}

Test(events, bodies_that_are_no_events)
{
    const struct {
        const char *body;
        enum events_outcome outcome;
        const char *why;
    } cases[] = {
        {"", EVENTS_POISON, "not JSON"},
        {"{", EVENTS_POISON, "not JSON"},
        {"null", EVENTS_POISON, "object"},
        {"[1]", EVENTS_POISON, "object"},
        {"{}", EVENTS_POISON, "detail-type"},
        {"{\"detail-type\":1}", EVENTS_POISON, "detail-type"},
        {"\xff\xfe", EVENTS_POISON, "not JSON"},
        {"{\"detail-type\":\"x\"}", EVENTS_IGNORED, "aws.ecs"},
        {"{\"detail-type\":\"" TASK "\",\"source\":\"me\",\"detail\":{}}", EVENTS_IGNORED, "me"},
        {"{\"Type\":\"Notification\",\"Message\":\"{\"}", EVENTS_POISON, "not JSON"},
        {"{\"Type\":\"Notification\",\"Message\":\"hello\"}", EVENTS_POISON, "not JSON"},
    };
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        events_parse(cases[i].body, strlen(cases[i].body), &all, &r);
        cr_assert_eq(r.outcome, cases[i].outcome, "%s: %s", cases[i].body, r.why);
        cr_assert_not_null(strstr(r.why, cases[i].why), "%s: %s", cases[i].body, r.why);
    }
    const char *leak = "{\"detail\":{\"overrides\":{\"environment\":[\"hunter2 }";
    events_parse(leak, strlen(leak), &all, &r);
    cr_assert_null(strstr(r.why, "hunter2"), "%s", r.why);
    events_row_fini(&r);
}

Test(events, sns_wraps_are_opened)
{
    size_t len;
    char *inner = read_file(DATA "synthetic/task-01-pending-ec2.json", &len);
    json_t *sns =
        json_pack("{s:s, s:s, s:s}", "Type", "Notification", "MessageId", "m", "Message", inner);
    char *outer = json_dumps(sns, 0);
    struct events_row a;
    struct events_row b;
    events_row_init(&a);
    events_row_init(&b);
    events_parse(inner, len, &all, &a);
    events_parse(outer, strlen(outer), &all, &b);
    cr_assert_eq(b.outcome, EVENTS_ROW, "%s", b.why);
    cr_assert_eq(a.record.value_len, b.record.value_len);
    cr_assert_eq(memcmp(a.record.value, b.record.value, a.record.value_len), 0);
    events_row_fini(&a);
    events_row_fini(&b);
    json_decref(sns);
    free(outer);
    free(inner);
}

Test(events, environment_values_are_redacted)
{
    const char *detail =
        TASK_HEAD ",\"overrides\":{\"containerOverrides\":[{\"name\":\"w\",\"command\":[\"z\","
                  "\"a\"],\"environment\":[{\"name\":\"B\",\"value\":\"hunter2\"},{\"name\":\"A\","
                  "\"value\":\"hunter3\",\"more\":{\"x\":\"hunter4\"}},\"hunter5\",[\"hunter6\"]]},"
                  "{\"name\":\"v\",\"environment\":{\"K\":\"hunter7\"}},"
                  "{\"name\":\"u\",\"environment\":\"hunter8\"}]}}";
    struct events_row r;
    events_row_init(&r);
    parse_detail(&r, &all, TASK, detail);
    json_t *json = row_json(&r);
    char *text = json_dumps(json, JSON_SORT_KEYS);
    cr_assert_null(strstr(text, "hunter"), "%s", text);
    cr_assert_not_null(strstr(text, "\"name\": \"A\""), "%s", text);
    cr_assert_not_null(strstr(text, "[\"z\", \"a\"]"), "%s", text); /* a command keeps its order */
    cr_assert_null(odd_row(&r, &all));
    free(text);
    json_decref(json);
    const struct events_options keep = {.keep_override_values = true};
    parse_detail(&r, &keep, TASK, detail);
    json = row_json(&r);
    text = json_dumps(json, 0);
    for (char c = '2'; c <= '8'; c++) {
        char value[] = "hunter0";
        value[6] = c;
        cr_assert_not_null(strstr(text, value), "%s", value);
    }
    free(text);
    json_decref(json);
    struct buf scrubbed;
    buf_init(&scrubbed, 1 << 16);
    cr_assert_eq(events_scrub(detail, strlen(detail), &scrubbed), 0);
    cr_assert_null(strstr(scrubbed.data, "hunter"));
    cr_assert_not_null(strstr(scrubbed.data, "task/c/t"));
    buf_clear(&scrubbed);
    cr_assert_eq(events_scrub(detail, strlen(detail) - 1, &scrubbed), 0);
    cr_assert_null(strstr(scrubbed.data, "hunter"));
    buf_fini(&scrubbed);
    events_row_fini(&r);
}

Test(events, daemon_tasks_carry_their_environment)
{
    const struct {
        const char *group, *environment;
    } cases[] = {{"daemon:log-router", "log-router"},
                 {"daemon:", NULL},
                 {"service:daemon:x", NULL},
                 {"daemon:0123456789012345678901234567890", NULL}};
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char detail[512];
        snprintf(detail, sizeof detail, TASK_HEAD ",\"group\":\"%s\"}", cases[i].group);
        parse_detail(&r, &all, TASK, detail);
        cr_assert(field_is(&r, ROW_ENVIRONMENT, cases[i].environment), "%s", cases[i].group);
        cr_assert(field_is(&r, ROW_GROUP, cases[i].group));
    }
    events_row_fini(&r);
}

Test(events, clusters_that_are_not_kept_are_foreign)
{
    const struct {
        const char *clusters, *cluster;
        bool kept;
    } cases[] = {
        {NULL, "anything", true},
        {"c", "arn:aws:ecs:r:1:cluster/c", true},
        {"a, c ,b", "arn:aws:ecs:r:1:cluster/c", true},
        {"cc,d", "arn:aws:ecs:r:1:cluster/c", false},
        {"", "arn:aws:ecs:r:1:cluster/c", false},
        {"arn:aws:ecs:r:1:cluster/c", "arn:aws:ecs:r:1:cluster/c", true},
        {"arn:aws:ecs:r:2:cluster/c", "arn:aws:ecs:r:1:cluster/c", false},
        {"arn:aws:ecs:r:2:cluster/c", "c", true},
    };
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct events_options o = {.clusters = cases[i].clusters};
        cr_assert_eq(events_keeps_cluster(&o, cases[i].cluster), cases[i].kept, "case %zu", i);
        if (strncmp(cases[i].cluster, "arn:", 4) != 0)
            continue;
        parse_detail(&r, &o, TASK, TASK_HEAD "}");
        cr_assert_eq(r.outcome, cases[i].kept ? EVENTS_ROW : EVENTS_FOREIGN, "case %zu", i);
    }
    events_row_fini(&r);
}

/* An event, and what DescribeTasks says of the same version: members in another order, times as
 * numbers, zeros and empty lists beside. */
Test(events, event_and_describe_of_a_version_are_the_same_bytes)
{
    const char *event =
        TASK_HEAD ",\"createdAt\":\"2026-11-22T09:01:00.125Z\",\"attachments\":[{\"id\":\"1\","
                  "\"type\":\"eni\",\"status\":\"ATTACHED\",\"details\":[{\"name\":\"subnetId\","
                  "\"value\":\"s\"},{\"name\":\"macAddress\",\"value\":\"m\"}]}],\"containers\":[{"
                  "\"name\":\"b\",\"cpu\":\"0\",\"lastStatus\":\"RUNNING\",\"managedAgents\":[{"
                  "\"name\":\"ExecuteCommandAgent\",\"status\":\"RUNNING\",\"lastStartedAt\":"
                  "\"2026-11-22T09:01:11.786Z\"}]},{\"name\":\"a\"}],\"overrides\":{"
                  "\"containerOverrides\":[{\"name\":\"a\",\"environment\":[{\"name\":\"K\","
                  "\"value\":\"v\"}]}]}}";
    const char *describe =
        "{\"version\":7,\"tags\":[],\"lastStatus\":\"RUNNING\",\"clusterArn\":"
        "\"arn:aws:ecs:r:1:cluster/c\",\"createdAt\":1795338060.125,\"containers\":[{\"name\":"
        "\"a\",\"networkInterfaces\":[]},{\"managedAgents\":[{\"lastStartedAt\":1795338071.786,"
        "\"name\":\"ExecuteCommandAgent\",\"lastStatus\":\"RUNNING\"}],\"name\":\"b\",\"cpu\":"
        "\"0\",\"lastStatus\":\"RUNNING\"}],\"overrides\":{\"containerOverrides\":[{\"environment\""
        ":[{\"name\":\"K\",\"value\":\"other\"}],\"name\":\"a\"}],\"inferenceAcceleratorOverrides\""
        ":[]},\"attachments\":[{\"details\":[{\"name\":\"macAddress\",\"value\":\"m\"},{\"name\":"
        "\"subnetId\",\"value\":\"s\"}],\"id\":\"1\",\"status\":\"ATTACHED\",\"type\":\"eni\"}],"
        "\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"startedBy\":null}";
    struct events_row a;
    struct events_row b;
    events_row_init(&a);
    events_row_init(&b);
    parse_detail(&a, &all, TASK, event);
    json_t *task = json_parse(describe, strlen(describe), NULL);
    cr_assert_not_null(task);
    events_from_task(task, &all, &b);
    cr_assert_eq(a.outcome, EVENTS_ROW, "%s", a.why);
    cr_assert_eq(b.outcome, EVENTS_ROW, "%s", b.why);
    cr_assert_eq(a.record.value_len, b.record.value_len);
    cr_assert_eq(memcmp(a.record.value, b.record.value, a.record.value_len), 0);
    json_decref(task);
    const char *instance = "{\"containerInstanceArn\":\"arn:aws:ecs:r:1:container-instance/c/i\","
                           "\"status\":\"ACTIVE\",\"version\":3,\"agentConnected\":true}";
    task = json_parse(instance, strlen(instance), NULL);
    events_from_instance(task, "arn:aws:ecs:r:1:cluster/c", &all, &a);
    cr_assert(field_is(&a, ROW_CLUSTER, "arn:aws:ecs:r:1:cluster/c"));
    events_from_instance(task, NULL, &all, &a);
    cr_assert_eq(a.outcome, EVENTS_POISON);
    json_decref(task);
    events_from_task(NULL, &all, &a);
    cr_assert_eq(a.outcome, EVENTS_POISON);
    events_row_fini(&a);
    events_row_fini(&b);
}

Test(events, what_is_too_much_is_poison)
{
    struct events_row r;
    events_row_init(&r);
    char *body = calloc(1, 3 << 20);
    int head =
        snprintf(body, 1024, "{\"detail-type\":\"" TASK "\",\"source\":\"aws.ecs\",\"detail\":%s",
                 TASK_HEAD);
    /* nested */
    int at = head + snprintf(body + head, 64, ",\"x\":");
    memset(body + at, '[', 1000);
    memset(body + at + 1000, ']', 1000);
    memcpy(body + at + 2000, "}}", 3);
    events_parse(body, strlen(body), &all, &r);
    cr_assert_eq(r.outcome, EVENTS_POISON);
    cr_assert_not_null(strstr(r.why, "deep"), "%s", r.why);
    at = head + snprintf(body + head, 64, ",\"environment\":");
    memset(body + at, '[', 1000);
    memset(body + at + 1000, ']', 1000);
    memcpy(body + at + 2000, "}}", 3);
    events_parse(body, strlen(body), &all, &r);
    cr_assert_eq(r.outcome, EVENTS_POISON);
    /* large */
    at = head + snprintf(body + head, 64, ",\"x\":\"");
    memset(body + at, 'x', 600 * 1024);
    memcpy(body + at + 600 * 1024, "\"}}", 4);
    events_parse(body, strlen(body), &all, &r);
    cr_assert_eq(r.outcome, EVENTS_POISON);
    cr_assert_not_null(strstr(r.why, "512 KiB"), "%s", r.why);
    /* a long list in the wrong order must not take long, and is a row */
    at = head + snprintf(body + head, 64, ",\"attributes\":[{}");
    for (int i = 40000; i > 0; i--)
        at += snprintf(body + at, 64, ",\"%05d\"", i);
    memcpy(body + at, "]}}", 4);
    events_parse(body, strlen(body), &all, &r);
    cr_assert_eq(r.outcome, EVENTS_ROW, "%s", r.why);
    /* and the parser is as before */
    parse_detail(&r, &all, TASK, TASK_HEAD "}");
    cr_assert_eq(r.outcome, EVENTS_ROW);
    free(body);
    events_row_fini(&r);
}

/* ---- mutations --------------------------------------------------------------------- */

#define BYTE_MUTATIONS 50000
#define TREE_MUTATIONS 50000

/* Any sample, the large ones (dozens of attributes) less often, for the sake of time. */
static size_t pick_sample(struct prng *prng)
{
    size_t i = prng_below(prng, sample_count);
    while (samples[i].len > 3500 && prng_below(prng, 16) != 0)
        i = prng_below(prng, sample_count);
    return i;
}

static void check_mutant(const char *text, size_t len, struct events_row *r, uint64_t counts[4],
                         unsigned round)
{
    char *exact = malloc(len + 1); /* so that ASan sees one byte too many */
    memcpy(exact, text, len);
    events_parse(exact, len, &all, r);
    free(exact);
    counts[r->outcome]++;
    cr_assert(r->outcome == EVENTS_ROW || r->outcome == EVENTS_FOREIGN || r->why[0] != '\0');
    if (r->outcome != EVENTS_ROW)
        return;
    const char *odd = odd_row(r, &all);
    cr_assert_null(odd, "mutant %u: %s: %.*s", round, odd, (int)len, text);
}

Test(events, mutated_bytes_never_crash_nor_make_an_odd_row)
{
    static const char *const tokens[] = {"null",    "{}", "[]",      "\"\"", "-1", "1e308",
                                         "\\u0000", "\"", "version", ":",    ",",  "\xc3\xa9"};
    struct events_row r;
    struct prng prng;
    uint64_t counts[4] = {0};
    events_row_init(&r);
    prng_seed(&prng, 2026);
    read_samples();
    char *text = malloc(1 << 20);
    for (unsigned i = 0; i < BYTE_MUTATIONS; i++) {
        const struct sample *s = &samples[pick_sample(&prng)];
        size_t len = s->len;
        memcpy(text, s->text, len);
        for (uint64_t n = 1 + prng_below(&prng, 4); n > 0 && len > 16; n--) {
            size_t at = prng_below(&prng, len);
            const char *token = tokens[prng_below(&prng, sizeof tokens / sizeof tokens[0])];
            size_t size = strlen(token);
            switch (prng_below(&prng, 5)) {
            case 0:
                text[at] = (char)prng_next(&prng);
                break;
            case 1: /* one digit or letter for another keeps it JSON more often */
                text[at] = (char)('0' + prng_below(&prng, 75));
                break;
            case 2:
                memmove(text + at + size, text + at, len - at);
                memcpy(text + at, token, size);
                len += size;
                break;
            case 3:
                size = 1 + prng_below(&prng, 12);
                size = size > len - at ? len - at : size;
                memmove(text + at, text + at + size, len - at - size);
                len -= size;
                break;
            default:
                if (prng_below(&prng, 4) == 0)
                    len = at + 1;
                break;
            }
        }
        check_mutant(text, len, &r, counts, i);
    }
    cr_assert_gt(counts[EVENTS_ROW], BYTE_MUTATIONS / 50);
    cr_assert_gt(counts[EVENTS_POISON], BYTE_MUTATIONS / 50);
    free(text);
    free_samples();
    events_row_fini(&r);
}

static json_t *random_value(struct prng *prng, const json_t *donor)
{
    static const char *const texts[] = {"",
                                        "null",
                                        "x",
                                        "arn:aws:ecs:r:1:task/c/t",
                                        "2026-11-22T09:00:00Z",
                                        "2026-13-45T99:99:99Z",
                                        "9999-12-31T23:59:59.999999999-23:59",
                                        "\xf0\x9f\x92\xa9",
                                        "daemon:\x7f",
                                        "environment"};
    switch (prng_below(prng, 12)) {
    case 0:
        return json_null();
    case 1:
        return json_true();
    case 2:
        return json_integer((json_int_t)prng_next(prng));
    case 3:
        return json_integer((json_int_t)prng_below(prng, 100));
    case 4:
        return json_real((prng_unit(prng) - 0.5) * 1e20);
    case 5:
        return json_real(prng_unit(prng) * 4e11);
    case 6:
        return json_object();
    case 7:
        return json_array();
    case 8:
        return json_deep_copy(donor);
    case 9: {
        json_t *deep = json_string("end");
        for (uint64_t n = prng_below(prng, 40); n > 0; n--) {
            json_t *outer = json_array();
            json_array_append_new(outer, deep);
            deep = outer;
        }
        return deep;
    }
    default:
        return json_string(texts[prng_below(prng, sizeof texts / sizeof texts[0])]);
    }
}

/* Walks to a random container and changes one thing in it. */
static void mutate_tree(struct prng *prng, json_t *root, const json_t *donor)
{
    json_t *at = root;
    for (;;) {
        size_t n = json_is_object(at) ? json_object_size(at) : json_array_size(at);
        if (n == 0)
            return;
        size_t pick = prng_below(prng, n);
        const char *name = NULL;
        json_t *child = json_is_array(at) ? json_array_get(at, pick) : NULL;
        if (json_is_object(at)) {
            void *it = json_object_iter(at);
            while (pick-- > 0)
                it = json_object_iter_next(at, it);
            name = json_object_iter_key(it);
            child = json_object_iter_value(it);
        }
        bool deeper = (json_is_object(child) || json_is_array(child)) && prng_below(prng, 10) < 8;
        if (deeper) {
            at = child;
            continue;
        }
        uint64_t what = prng_below(prng, 4);
        if (name == NULL && what < 2)
            json_array_set_new(at, prng_below(prng, n), random_value(prng, donor));
        else if (name == NULL && what == 2)
            json_array_remove(at, prng_below(prng, n));
        else if (name == NULL)
            json_array_append_new(at, random_value(prng, donor));
        else if (what < 2)
            json_object_set_new(at, name, random_value(prng, donor));
        else if (what == 2)
            json_object_del(at, name);
        else
            json_object_set_new(at, prng_below(prng, 2) ? "environment" : "createdAt",
                                random_value(prng, donor));
        return;
    }
}

Test(events, mutated_structures_never_crash_nor_make_an_odd_row)
{
    struct events_row r;
    struct prng prng;
    uint64_t counts[4] = {0};
    json_t *trees[SAMPLES_MAX];
    events_row_init(&r);
    prng_seed(&prng, 711);
    read_samples();
    for (size_t i = 0; i < sample_count; i++)
        trees[i] = json_parse_lenient(samples[i].text, samples[i].len, NULL);
    for (unsigned i = 0; i < TREE_MUTATIONS; i++) {
        json_t *tree = json_deep_copy(trees[pick_sample(&prng)]);
        const json_t *donor = trees[pick_sample(&prng)];
        const json_t *detail = json_obj(donor, "detail");
        for (uint64_t n = 1 + prng_below(&prng, 4); n > 0; n--)
            mutate_tree(&prng, tree, detail != NULL ? detail : donor);
        char *text = json_dumps(tree, JSON_COMPACT);
        cr_assert_not_null(text);
        check_mutant(text, strlen(text), &r, counts, i);
        free(text);
        json_decref(tree);
    }
    cr_assert_gt(counts[EVENTS_ROW], TREE_MUTATIONS / 4);
    cr_assert_gt(counts[EVENTS_POISON], TREE_MUTATIONS / 50);
    for (size_t i = 0; i < sample_count; i++)
        json_decref(trees[i]);
    free_samples();
    events_row_fini(&r);
}
