/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/log.h"
#include "agent/intake/events.h"
#include "agent/intake/notes.h"

#include "tests/unit/intake/events_samples.h"

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
        if (strncmp(name, "api-", 4) == 0 || strncmp(name, "sqs-", 4) == 0)
            expected = EVENTS_POISON;
        if (strstr(name, "fargate-spot-termination") != NULL) /* cut short in AWS's page */
            expected = EVENTS_HINT;
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

/* A row's columns point into its JSON: written out they would be 350 bytes of a task. */
Test(events, columns_are_not_written_twice)
{
    struct events_row r;
    struct row row;
    events_row_init(&r);
    parse_file(&r, "synthetic/task-02-running-ec2-network-bindings.json");
    cr_assert_eq(row_decode(r.record.value, r.record.value_len, &row), 0);
    cr_assert_lt(r.record.value_len - row.json.len, 80u);
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

/* As emulators of ECS answer, and writers of JSON that escape more than they must. */
Test(events, versions_and_texts_as_emulators_write_them)
{
    const struct {
        const char *task;
        enum events_outcome outcome;
        uint64_t version;
    } cases[] = {
        {"{\"taskArn\":\"arn:aws:ecs:r:1:task/t\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\","
         "\"lastStatus\":\"RUNNING\"}",
         EVENTS_ROW, 0},
        {"{\"taskArn\":\"arn:aws:ecs:r:1:task\\/t\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster\\/c\","
         "\"lastStatus\":\"R\\u0055NNING\",\"version\":\"12\"}",
         EVENTS_ROW, 12},
        {"{\"taskArn\":\"arn:aws:ecs:r:1:task/t\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\","
         "\"lastStatus\":\"RUNNING\",\"version\":\"1.1\"}",
         EVENTS_POISON, 0},
    };
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *task = json_parse(cases[i].task, strlen(cases[i].task), NULL);
        events_from_task(task, &all, &r);
        cr_assert_eq(r.outcome, cases[i].outcome, "case %zu: %s", i, r.why);
        cr_assert_eq(r.record.version.hi, cases[i].version);
        json_decref(task);
        if (cases[i].outcome != EVENTS_ROW)
            continue;
        struct tape t;
        tape_init(&t);
        cr_assert_eq(tape_parse(&t, cases[i].task, strlen(cases[i].task), NULL), 0);
        events_take_task(&t, 0, &all, &r);
        cr_assert_eq(r.record.key_len, strlen("arn:aws:ecs:r:1:task/t"));
        cr_assert(field_is(&r, ROW_CLUSTER, "arn:aws:ecs:r:1:cluster/c"));
        cr_assert(field_is(&r, ROW_STATUS, "RUNNING"));
        cr_assert_null(odd_row(&r, &all));
        tape_fini(&t);
    }
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

static const struct {
    const char *what, *kind, *detail;
    enum events_outcome outcome;
    const char *expected; /* the row's JSON, or a piece of why */
} traps[] = {
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
     EVENTS_HINT, "version"},
    {"a version that is nothing", TASK,
     "{\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\","
     "\"version\":null}",
     EVENTS_HINT, "version"},
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

Test(events, traps_of_real_events)
{
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof traps / sizeof traps[0]; i++) {
        parse_detail(&r, &all, traps[i].kind, traps[i].detail);
        cr_assert_eq(r.outcome, traps[i].outcome, "%s: %s", traps[i].what, r.why);
        if (r.outcome != EVENTS_ROW) {
            cr_assert_not_null(strstr(r.why, traps[i].expected), "%s: %s", traps[i].what, r.why);
            continue;
        }
        struct row row;
        cr_assert_eq(row_decode(r.record.value, r.record.value_len, &row), 0);
        cr_assert_eq(row.json.len, strlen(traps[i].expected), "%s: %.*s", traps[i].what,
                     (int)row.json.len, row.json.data);
        cr_assert_eq(memcmp(row.json.data, traps[i].expected, row.json.len), 0, "%s: %.*s",
                     traps[i].what, (int)row.json.len, row.json.data);
        cr_assert_null(odd_row(&r, &all), "%s", traps[i].what);
    }
    events_row_fini(&r);
}

Test(events, an_agent_is_away_only_if_it_is_said)
{
    static const struct {
        const char *member, *column;
    } cases[] = {{"\"agentConnected\":true,", "true"},
                 {"\"agentConnected\":false,", "false"},
                 {"\"agentConnected\":null,", "true"},
                 {"", "true"},
                 {"\"agentConnected\":[],", "true"}};
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char detail[400];
        snprintf(detail, sizeof detail,
                 "{%s\"containerInstanceArn\":\"arn:aws:ecs:r:1:container-instance/x\","
                 "\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\",\"status\":\"ACTIVE\","
                 "\"version\":1}",
                 cases[i].member);
        parse_detail(&r, &all, INSTANCE, detail);
        cr_assert_eq(r.outcome, EVENTS_ROW, "%s: %s", detail, r.why);
        cr_assert(field_is(&r, ROW_CONNECTED, cases[i].column), "%s", detail);
        cr_assert_null(odd_row(&r, &all), "%s", detail);
    }
    events_row_fini(&r);
}

Test(events, without_a_version_it_says_what_to_ask_about)
{
    struct events_row r;
    events_row_init(&r);
    parse_detail(&r, &all, TASK,
                 "{\"taskArn\":\"arn:aws:ecs:r:1:task/c/t\",\"clusterArn\":\"arn:aws:ecs:r:1:"
                 "cluster/c\",\"lastStatus\":\"RUNNING\"}");
    cr_assert_eq(r.outcome, EVENTS_HINT, "%s", r.why);
    cr_assert_str_eq(r.hint_arn, "arn:aws:ecs:r:1:task/c/t");
    cr_assert_str_eq(r.hint_cluster, "arn:aws:ecs:r:1:cluster/c");
    cr_assert_eq(r.record.key_len, 0);
    events_row_fini(&r);
}

/* Service, deployment, health and daemon events make no rows, but are told of. */
Test(events, what_ecs_says_besides)
{
    static const struct {
        const char *file, *level, *name, *reason;
    } cases[] = {
        {"aws-docs-2023/service-action--service-task-placement-failure.json", "ERROR",
         "SERVICE_TASK_PLACEMENT_FAILURE", "RESOURCE:FARGATE"},
        {"aws-docs-2023/service-action--service-steady-state.json", "INFO", "SERVICE_STEADY_STATE",
         ""},
        {"aws-docs-2023/service-action--service-task-start-impaired.json", "WARN",
         "SERVICE_TASK_START_IMPAIRED", ""},
        {"aws-docs-2023/deployment-state-change--service-deployment-failed.json", "ERROR",
         "SERVICE_DEPLOYMENT_FAILED", "ECS deployment circuit breaker: task failed to start."},
        {"aws-docs-2026/container-instance-health-change--agent-connectivity-impaired.json", "WARN",
         "INSTANCE_HEALTH_IMPAIRED", NULL},
        {"aws-docs-2026/container-instance-health-change--container-runtime-ok.json", "INFO",
         "INSTANCE_HEALTH_OK", NULL},
    };
    struct events_row r;
    const struct events_options other = {.clusters = "elsewhere"};
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        parse_file(&r, cases[i].file);
        cr_assert_eq(r.outcome, EVENTS_IGNORED, "%s", cases[i].file);
        cr_assert_str_eq(r.note.level, cases[i].level, "%s", cases[i].file);
        cr_assert_str_eq(r.note.name, cases[i].name);
        cr_assert_eq(strncmp(r.note.about, "arn:aws", 7), 0, "%s: %s", cases[i].file, r.note.about);
        if (cases[i].reason != NULL)
            cr_assert_str_eq(r.note.reason, cases[i].reason, "%s", cases[i].file);
        else
            cr_assert_str_neq(r.note.reason, "", "%s", cases[i].file);
    }
    parse_detail(&r, &other, "ECS Service Action",
                 "{\"eventName\":\"X\",\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\"}");
    cr_assert_str_eq(r.note.level, "", "of a cluster that is not kept");
    parse_detail(&r, &all, "ECS Something New", "{}");
    cr_assert_str_eq(r.note.level, "");
    parse_detail(&r, &all, "ECS Service Action", "{\"eventName\":7,\"eventType\":[]}");
    cr_assert_str_eq(r.note.level, "");
    parse_detail(&r, &all, "ECS Service Action", "[]");
    cr_assert_str_eq(r.note.level, "");
    events_row_fini(&r);
}

Test(events, the_same_note_is_counted)
{
    static struct notes n;
    struct events_note note = {.level = "WARN", .name = "A", .about = "arn:a", .reason = "r"};
    log_configure(LOG_OFF, LOG_TEXT);
    cr_assert(notes_put(&n, &note, 1000));
    cr_assert(!notes_put(&n, &note, 2000));
    cr_assert(notes_put(&n, &note, 62000), "said again after a minute");
    for (int i = 0; i < 100; i++) {
        snprintf(note.about, sizeof note.about, "arn:%d", i % 40);
        notes_put(&n, &note, 63000 + i);
    }
    json_t *list = notes_list(&n);
    cr_assert_eq(json_array_size(list), NOTES_MAX);
    cr_assert_str_eq(json_str(json_array_get(list, 0), "about"), "arn:19");
    cr_assert_eq(json_int_or(json_array_get(list, 0), "count", 0), 1, "the oldest had gone");
    json_decref(list);
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

/* In time that grows with the event, not with its square: this would not end else. */
Test(events, objects_with_a_hundred_thousand_members)
{
    static const char *const lists[] = {"registeredResources", "managedAgents", "environment", "x"};
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        struct buf body;
        buf_init(&body, 4u << 20);
        buf_printf(&body,
                   "{\"detail-type\":\"" INSTANCE "\",\"source\":\"aws.ecs\",\"detail\":{"
                   "\"containerInstanceArn\":\"arn:aws:ecs:r:1:container-instance/x\","
                   "\"clusterArn\":\"arn:aws:ecs:r:1:cluster/c\",\"status\":\"ACTIVE\","
                   "\"version\":1,\"%s\":[{\"name\":\"n\",\"type\":\"LONG\"",
                   lists[i]);
        for (unsigned k = 0; k < 100000; k++)
            buf_puts(&body, k % 2 == 0 ? ",\"status\":1" : ",\"a\":1");
        buf_puts(&body, "}]}}");
        events_parse(body.data, body.len, &all, &r);
        cr_assert_eq(r.outcome, EVENTS_ROW, "%s: %s", lists[i], r.why);
        cr_assert_null(odd_row(&r, &all));
        buf_fini(&body);
    }
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
        const char *home;
    } cases[] = {
        {NULL, "anything", true, NULL},
        {"c", "arn:aws:ecs:r:1:cluster/c", true, NULL},
        {"a, c ,b", "arn:aws:ecs:r:1:cluster/c", true, NULL},
        {"cc,d", "arn:aws:ecs:r:1:cluster/c", false, NULL},
        {"", "arn:aws:ecs:r:1:cluster/c", false, NULL},
        {"arn:aws:ecs:r:1:cluster/c", "arn:aws:ecs:r:1:cluster/c", true, NULL},
        {"arn:aws:ecs:r:2:cluster/c", "arn:aws:ecs:r:1:cluster/c", false, NULL},
        {"arn:aws:ecs:r:2:cluster/c", "c", true, NULL},
        {"c", "arn:aws:ecs:r:1:cluster/c", true, "arn:aws:ecs:r:1:"},
        {"c", "arn:aws:ecs:r:1:cluster/c", false, "arn:aws:ecs:r:2:"},
        {"c", "arn:aws:ecs:r:1:cluster/c", true, ""},
        {NULL, "arn:aws:ecs:r:1:cluster/c", true, "arn:aws:ecs:r:1:"},
        {NULL, "arn:aws:ecs:r:1:cluster/c", false, "arn:aws:ecs:q:1:"},
        {"arn:aws:ecs:r:1:cluster/c", "arn:aws:ecs:r:1:cluster/c", true, "arn:aws:ecs:r:2:"},
    };
    struct events_row r;
    events_row_init(&r);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct events_options o = {.clusters = cases[i].clusters, .home = cases[i].home};
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
