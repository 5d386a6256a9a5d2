/* SPDX-License-Identifier: Apache-2.0
 * /v2/summary, and what makes answers cheap or fresh: ETag, max_stale, consistency, HEAD. */
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "tests/unit/api/ask.h"

static struct fixture f;

Test(summary, counts_every_sort)
{
    static const struct {
        const char *what, *sort, *text;
        int64_t rows;
    } cases[] = {
        {"tasks", "by_status", "RUNNING", 25},
        {"tasks", "by_status", "STOPPED", 2},
        {"tasks", "by_task_definition", "log-router:17", 26},
        {"tasks", "by_task_definition", "web:2", 1},
        {"tasks", "by_environment", "web", 1},
        {"tasks", "by_cluster", CLUSTER, 27},
        {"instances", "by_status", "ACTIVE", 1},
        {"instances", "by_status", "DRAINING", 1},
        {"instances", "by_zone", "us-east-1a", 1},
        {"tasks", "by_family", "log-router", 26},
        {"tasks", "by_instance", INSTANCE_1, 26},
        {"instances", "by_ami", "ami-1", 1},
        {"instances", "by_ami", "unknown", 1},
        {"instances", "by_type", "c5.large", 1},
        {"instances", "by_type", "unknown", 1},
        {"instances", "by_agent_version", "1.96.0", 1},
        {"instances", "by_agent_version", "unknown", 1},
    };
    fixture_start(&f, NULL);
    json_t *empty = get_json(&f, "/v2/summary", 200);
    cr_assert_eq(json_int_or(json_obj(empty, "tasks"), "total", -1), 0);
    json_decref(empty);
    fixture_put_tasks(&f, 1, 26);
    fixture_put_task(&f, 26, "STOPPED", 2);
    fixture_put(&f, RECORD_TASK, "arn:aws:ecs:x:111122223333:task/prod/d", 1,
                "{\"clusterArn\":\"" CLUSTER
                "\",\"group\":\"daemon:web\",\"lastStatus\":\"STOPPED\","
                "\"taskArn\":\"arn:aws:ecs:x:111122223333:task/prod/d\",\"taskDefinitionArn\":"
                "\"arn:aws:ecs:x:111122223333:task-definition/web:2\",\"environment\":\"web\"}");
    fixture_delete(&f, RECORD_TASK, "arn:aws:ecs:x:111122223333:task/prod/gone", 1);
    fixture_put_instance(&f, INSTANCE_1, "i-0123456789abcdef0", "ACTIVE");
    fixture_put(&f, RECORD_INSTANCE, "arn:aws:ecs:x:111122223333:container-instance/prod/b", 1,
                "{\"containerInstanceArn\":\"b\",\"status\":\"DRAINING\",\"attributes\":[{\"name\":"
                "\"ecs.ami-id\",\"value\":\"ami-1\"},{\"name\":\"ecs.instance-type\",\"value\":"
                "\"c5.large\"}]}");
    fixture_put_environment(&f, "web", "active");
    json_t *doc = get_json(&f, "/v2/summary", 200);
    cr_assert_null(json_obj(json_obj(doc, "tasks"), "by_instance"));
    json_decref(doc);
    doc = get_json(&f, "/v2/summary?by_instance=true", 200);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *sort = json_obj(json_obj(doc, cases[i].what), cases[i].sort);
        cr_assert_eq(json_int_or(sort, cases[i].text, -1), cases[i].rows, "%s.%s.%s: %lld",
                     cases[i].what, cases[i].sort, cases[i].text,
                     (long long)json_int_or(sort, cases[i].text, -1));
    }
    cr_assert_eq(json_int_or(json_obj(doc, "tasks"), "total", -1), 27);
    cr_assert_eq(json_int_or(json_obj(doc, "instances"), "total", -1), 2);
    cr_assert_eq(json_int_or(json_obj(doc, "environments"), "total", -1), 1);
    json_decref(doc);
    fixture_stop(&f);
}

Test(summary, what_a_client_has_is_not_sent_again)
{
    static const char *const paths[] = {"/v2/tasks/" TASK_1, "/v2/environments/web"};
    char etag[256], header[512];
    fixture_start(&f, NULL);
    fixture_put_task(&f, 1, "RUNNING", 1);
    fixture_put_environment(&f, "web", "active");
    for (size_t i = 0; i < 2; i++) {
        struct http h = http_get(&f, paths[i]);
        http_header(&h, "ETag", etag);
        cr_assert(h.status == 200 && etag[0] == '"', "%s: %ld %s", paths[i], h.status, etag);
        http_free(&h);
        static const struct {
            const char *format;
            long status;
        } cases[] = {{"If-None-Match: %s", 304},
                     {"If-None-Match: \"x\", W/%s", 304},
                     {"If-None-Match: *", 304},
                     {"If-None-Match: \"x\"", 200},
                     {"If-None-Match: x%s", 200}};
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            const char *at = strstr(cases[c].format, "%s");
            snprintf(header, sizeof header, "%.*s%s",
                     at == NULL ? (int)strlen(cases[c].format) : (int)(at - cases[c].format),
                     cases[c].format, at == NULL ? "" : etag);
            h = http_do(&f, "GET", paths[i], header, NULL);
            cr_assert_eq(h.status, cases[c].status, "%s: %ld", header, h.status);
            cr_assert(h.status == 200 || h.len == 0);
            http_free(&h);
        }
    }
    struct http h = http_get(&f, paths[0]);
    http_header(&h, "ETag", etag);
    http_free(&h);
    fixture_put_task(&f, 1, "STOPPED", 2);
    snprintf(header, sizeof header, "If-None-Match: %s", etag);
    h = http_do(&f, "GET", paths[0], header, NULL);
    cr_assert_eq(h.status, 200, "it changed: %ld", h.status);
    http_free(&h);
    fixture_stop(&f);
}

/* Asks with the ETag in *etag, if any; it is the answer's from then on. */
static long ask_summary(const char *path, char etag[256])
{
    char header[300];
    snprintf(header, sizeof header, "If-None-Match: %s", etag);
    struct http h = http_do(&f, "GET", path, header, NULL);
    http_header(&h, "ETag", etag);
    cr_expect(etag[0] != '\0', "%s has none", path);
    cr_expect((h.status == 200) == (h.len > 0), "%s: %ld", path, h.status);
    long status = h.status;
    http_free(&h);
    return status;
}

/* It changes with rows that are counted, and with nothing else. */
Test(summary, one_that_a_client_has_is_not_sent_again)
{
    static const char *const paths[] = {"/v2/summary", "/v2/summary?by_instance=true"};
    char etags[2][256] = {"", ""}, *other;
    fixture_start(&f, NULL);
    for (unsigned change = 0; change < 4; change++) {
        if (change == 0)
            fixture_put_task(&f, 1, "RUNNING", 1);
        else if (change == 1)
            fixture_put_instance(&f, INSTANCE_1, "i-0123456789abcdef0", "ACTIVE");
        else if (change == 2)
            fixture_put_environment(&f, "web", "active");
        else
            fixture_delete(&f, RECORD_TASK, TASK_1, 2);
        for (size_t i = 0; i < 2; i++) {
            cr_expect_eq(ask_summary(paths[i], etags[i]), 200, "after change %u", change);
            cr_expect_eq(ask_summary(paths[i], etags[i]), 304, "after change %u", change);
        }
        cr_expect_str_neq(etags[0], etags[1]);
        other = strdup(etags[0]);
        cr_expect_eq(ask_summary(paths[1], other), 200, "another form");
        free(other);
    }
    fixture_put(&f, RECORD_DEPLOYMENT, "web/1", 1, "{\"environment\":\"web\"}");
    cr_expect_eq(ask_summary(paths[0], etags[0]), 304, "deployments are not counted");
    fixture_stop(&f);
}

Test(summary, rows_that_are_too_old_are_not_given)
{
    static const struct {
        const char *path;
        int64_t age_ms; /* -1: never complete */
        long status;
    } cases[] = {
        {"/v2/tasks?max_stale=10s", 2000, 200},
        {"/v2/tasks?max_stale=1s&consistency=local", 60000, 503},
        {"/v2/tasks/" TASK_1 "?max_stale=500ms", 60000, 503},
        {"/v2/summary?max_stale=1h", 60000, 200},
        {"/v2/summary?max_stale=1h", -1, 503},
        {"/v2/tasks?consistency=local", -1, 200},
        {"/v2/tasks?max_stale=x", 0, 400},
        {"/v2/tasks?max_stale=25h", 0, 400},
        {"/v2/tasks?consistency=LOCAL", 0, 400},
        {"/v2/summary?status=x", 0, 400},
        {"/v2/summary?by_instance=x", 0, 400},
    };
    fixture_start(&f, NULL);
    fixture_put_task(&f, 1, "RUNNING", 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct api_facts facts = {.agent_id = "a", .state = "ready"};
        if (cases[i].age_ms >= 0)
            facts.complete_unix_ms = clock_unix_ms() - cases[i].age_ms;
        api_set_facts(f.api, &facts);
        struct http h = http_get(&f, cases[i].path);
        cr_assert_eq(h.status, cases[i].status, "%s: %ld %s", cases[i].path, h.status, h.body);
        cr_assert(h.status != 503 || strstr(h.body, "/v2/problems/too-stale") != NULL);
        http_free(&h);
        h = http_do(&f, "HEAD", cases[i].path, NULL, NULL);
        cr_assert(h.status == cases[i].status && h.len == 0, "HEAD %s", cases[i].path);
        http_free(&h);
    }
    fixture_stop(&f);
}
