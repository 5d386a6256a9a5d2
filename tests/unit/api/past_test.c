/* SPDX-License-Identifier: Apache-2.0
 * Questions about earlier times. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "tests/unit/api/ask.h"

#define DEPLOYMENT "5d0c1d64-8b3d-4a44-bb0c-0e1f5e1ab001"

static struct fixture f;

static int64_t tick(void)
{
    int64_t before = clock_unix_ms();
    while (clock_unix_ms() <= before)
        usleep(200);
    return before;
}

static void expect(const char *path, long status, const char *words)
{
    struct http h = http_get(&f, path);
    cr_assert_eq(h.status, status, "%s: %ld %s", path, h.status, h.body);
    cr_assert_not_null(strstr(h.body, words), "%s: %s", path, h.body);
    http_free(&h);
}

static void put_attempt(const char *environment, const char *instance, uint64_t version)
{
    char key[400], json[900];
    snprintf(key, sizeof key, "%s/%s", DEPLOYMENT, instance);
    snprintf(json, sizeof json,
             "{\"environment\":\"%s\",\"deployment\":\"" DEPLOYMENT
             "\",\"containerInstanceArn\":\"%s\",\"clusterArn\":\"" CLUSTER
             "\",\"startedBy\":\"" DEPLOYMENT
             "\",\"reason\":\"no task of the deployment is here\",\"attempt\":%u}",
             environment, instance, (unsigned)version);
    fixture_put(&f, RECORD_ATTEMPT, key, version, json);
}

/* Of earlier times there is no index: a cluster without rows today had some. */
Test(past, a_cluster_that_is_gone)
{
    char path[300], then[CLOCK_TEXT_MAX];
    static const char gone[] = "arn:aws:ecs:us-east-1:111122223333:task/old/1";
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 5);
    fixture_put(&f, RECORD_TASK, gone, 1,
                "{\"taskArn\":\"arn:aws:ecs:us-east-1:111122223333:task/old/1\",\"lastStatus\":"
                "\"RUNNING\",\"desiredStatus\":\"STOPPED\",\"clusterArn\":"
                "\"arn:aws:ecs:us-east-1:111122223333:cluster/old\",\"taskDefinitionArn\":"
                "\"arn:aws:ecs:us-east-1:111122223333:task-definition/old:99\"}");
    tick();
    clock_format_unix_ms(tick(), then);
    fixture_delete(&f, RECORD_TASK, gone, 1);
    static const char *const filters[] = {"cluster=old", "revision=99", "desired_status=STOPPED",
                                          "family=old&revision=99"};
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        snprintf(path, sizeof path, "/v2/tasks?%s", filters[i]);
        cr_assert_eq(count_items(&f, path), 0u, "%s", path);
        snprintf(path, sizeof path, "/v2/tasks?%s&at=%s", filters[i], then);
        cr_assert_eq(count_items(&f, path), 1u, "%s", path);
    }
    fixture_stop(&f);
}

Test(past, rows_of_a_time)
{
    char path[300], then[CLOCK_TEXT_MAX], token[600] = "";
    fixture_start(&f, NULL);
    tick();
    fixture_put_tasks(&f, 1, 5);
    int64_t at = tick();
    fixture_put_tasks(&f, 6, 10);
    fixture_put_task(&f, 1, "STOPPED", 9);
    fixture_delete(&f, RECORD_TASK,
                   "arn:aws:ecs:us-east-1:111122223333:task/prod/"
                   "00000000000000000000000000000002",
                   1);
    clock_format_unix_ms(at, then);
    cr_assert_eq(count_items(&f, "/v2/tasks"), 14u);
    snprintf(path, sizeof path, "/v2/tasks?at=%s", then);
    cr_assert_eq(count_items(&f, path), 5u);
    snprintf(path, sizeof path, "/v2/tasks?at=%s&status=running&cluster=prod", then);
    cr_assert_eq(count_items(&f, path), 5u);
    snprintf(path, sizeof path, "/v2/tasks?at=%s&status=stopped", then);
    cr_assert_eq(count_items(&f, path), 0u);
    snprintf(path, sizeof path, "/v2/tasks?at=%s&sort=-taskArn&limit=3", then);
    cr_assert_eq(count_items(&f, path), 3u);
    snprintf(path, sizeof path, "/v2/tasks/00000000000000000000000000000001?at=%s", then);
    expect(path, 200, "\"lastStatus\":\"RUNNING\"");
    expect("/v2/tasks/00000000000000000000000000000001", 200, "\"lastStatus\":\"STOPPED\"");
    snprintf(path, sizeof path, "/v2/tasks/00000000000000000000000000000002?at=%s", then);
    expect(path, 200, "00000000000000000000000000000002");
    snprintf(path, sizeof path, "/v2/tasks/00000000000000000000000000000009?at=%s", then);
    expect(path, 404, "not-found");
    /* All pages are of that time. */
    snprintf(path, sizeof path, "/v2/tasks?at=%s&limit=3", then);
    struct http h = http_get(&f, path);
    json_t *doc = json_parse(h.body, h.len, NULL);
    snprintf(token, sizeof token, "%s&next_token=%s", path, json_str_or(doc, "next_token", ""));
    json_decref(doc);
    http_free(&h);
    cr_assert_eq(count_items(&f, token), 2u);
    expect("/v2/tasks?at=-1h", 410, "earlier rows go back to ");
    expect("/v2/tasks/x?at=2001-01-01T00:00:00Z", 410, "past-gone");
    expect("/v2/tasks?at=yesterday", 400, "must be a time like");
    expect("/v2/instances?at=2999-01-01T00:00:00Z", 400, "future");
    expect("/v2/tasks?at=-1s&index=1.1", 400, "leave out");
    fixture_stop(&f);
}

/* The same answer as at that time, though the counts are of now. */
Test(past, counts_of_a_time)
{
    static const char *const paths[] = {"/v2/summary?by_instance=true", "/v2/summary"};
    char path[300], then[CLOCK_TEXT_MAX];
    json_t *was[2];
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 5);
    fixture_put_task(&f, 3, "STOPPED", 9);
    fixture_put_instance(&f, INSTANCE_1, "i-1", "ACTIVE");
    fixture_put_environment(&f, "web", "active");
    tick();
    for (size_t i = 0; i < 2; i++)
        was[i] = get_json(&f, paths[i], 200);
    clock_format_unix_ms(tick(), then);
    fixture_put_tasks(&f, 6, 10);
    fixture_put_task(&f, 1, "STOPPED", 9);
    fixture_put_instance(&f, INSTANCE_1, "i-1", "DRAINING");
    fixture_delete(&f, RECORD_ENVIRONMENT, "web", 99);
    for (size_t i = 0; i < 2; i++) {
        json_t *now = get_json(&f, paths[i], 200);
        snprintf(path, sizeof path, "%s%sat=%s", paths[i], i == 0 ? "&" : "?", then);
        json_t *back = get_json(&f, path, 200);
        (void)json_object_del(back, "index"); /* that stays the one of now */
        (void)json_object_del(was[i], "index");
        (void)json_object_del(now, "index");
        cr_assert(json_equal(back, was[i]), "%s: %s", path, json_dumps(back, 0));
        static const char *const kinds[] = {"tasks", "instances", "environments"};
        for (size_t n = 0; n < 3; n++)
            cr_assert_not(json_equal(json_obj(back, kinds[n]), json_obj(now, kinds[n])),
                          "%s of now", kinds[n]);
        json_decref(now);
        json_decref(back);
        json_decref(was[i]);
    }
    expect("/v2/summary?at=-1h", 410, "past-gone");
    expect("/v2/summary?at=soon", 400, "must be a time like");
    fixture_stop(&f);
}

/* The earlier time stays as it was whatever comes, so whoever has it has it. */
Test(past, counts_that_a_client_has)
{
    char path[2][300], then[CLOCK_TEXT_MAX], etag[256], header[300];
    fixture_start(&f, NULL);
    for (unsigned i = 0; i < 2; i++) {
        fixture_put_tasks(&f, 1 + 5 * i, 5);
        clock_format_unix_ms(tick(), then);
        snprintf(path[i], sizeof path[i], "/v2/summary?at=%s", then);
    }
    struct http h = http_get(&f, path[0]);
    cr_assert_eq(h.status, 200);
    http_header(&h, "ETag", etag);
    http_free(&h);
    cr_assert_neq(etag[0], '\0');
    fixture_put_tasks(&f, 11, 5);
    snprintf(header, sizeof header, "If-None-Match: %s", etag);
    for (unsigned i = 0; i < 2; i++) {
        h = http_do(&f, "GET", path[i], header, NULL);
        cr_assert_eq(h.status, i == 0 ? 304 : 200, "%s: %ld", path[i], h.status);
        cr_assert_eq(h.len == 0, i == 0);
        http_free(&h);
    }
    fixture_stop(&f);
}

/* "A moment ago" is another moment each time: what was counted is had until it changes. */
Test(past, counts_of_a_moment_ago)
{
    static const char path[] = "/v2/summary?at=-50ms";
    char etag[256], header[300];
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 1);
    usleep(100000);
    struct http h = http_get(&f, path);
    cr_assert_eq(h.status, 200, "%ld %s", h.status, h.body);
    http_header(&h, "ETag", etag);
    http_free(&h);
    snprintf(header, sizeof header, "If-None-Match: %s", etag);
    fixture_put_task(&f, 2, "RUNNING", 1);
    for (uint64_t end_ms = clock_mono_ms() + 30000; clock_mono_ms() < end_ms;) {
        h = http_do(&f, "GET", path, header, NULL);
        if (h.status != 304)
            break;
        http_free(&h);
    }
    cr_assert_eq(h.status, 200);
    cr_assert_not_null(strstr(h.body, "\"total\":2"), "%s", h.body);
    http_free(&h);
    fixture_stop(&f);
}

Test(past, decisions_of_a_time_and_of_a_task)
{
    char path[700], then[CLOCK_TEXT_MAX];
    static const char other[] = "arn:aws:ecs:us-east-1:111122223333:container-instance/prod/"
                                "0000000000000000000000000000000b";
    fixture_start(&f, NULL);
    tick();
    cr_assert_eq(count_items(&f, "/v2/decisions"), 0u);
    put_attempt("web", INSTANCE_1, 1);
    int64_t first = tick();
    snprintf(path, sizeof path, "%s/%s", DEPLOYMENT, INSTANCE_1);
    fixture_delete(&f, RECORD_ATTEMPT, path, 2);
    tick();
    put_attempt("web", other, 3);
    fixture_put(&f, RECORD_TASK, TASK_1, 1,
                "{\"taskArn\":\"" TASK_1 "\",\"clusterArn\":\"" CLUSTER
                "\",\"containerInstanceArn\":\"" INSTANCE_1 "\",\"startedBy\":\"" DEPLOYMENT "\"}");
    cr_assert_eq(count_items(&f, "/v2/decisions"), 2u);
    cr_assert_eq(count_items(&f, "/v2/decisions?environment=web&limit=1"), 1u);
    cr_assert_eq(count_items(&f, "/v2/decisions?environment=api"), 0u);
    cr_assert_eq(count_items(&f, "/v2/decisions?instance=" INSTANCE_1), 1u);
    expect("/v2/decisions?instance=" INSTANCE_1, 200, "\"settled_at\":\"");
    fixture_put(&f, RECORD_INSTANCE, INSTANCE_1, 1,
                "{\"containerInstanceArn\":\"" INSTANCE_1 "\",\"clusterArn\":\"" CLUSTER
                "\",\"ec2InstanceId\":\"i-0a1\"}");
    cr_assert_eq(count_items(&f, "/v2/decisions?instance=i-0a1"), 1u);
    snprintf(path, sizeof path, "/v2/decisions?instance=%s", strrchr(INSTANCE_1, '/') + 1);
    cr_assert_eq(count_items(&f, path), 1u);
    cr_assert_eq(count_items(&f, "/v2/decisions?instance=i-none"), 0u);
    snprintf(path, sizeof path, "/v2/decisions?task=%s", strrchr(TASK_1, '/') + 1);
    cr_assert_eq(count_items(&f, path), 1u);
    cr_assert_eq(count_items(&f, "/v2/decisions?task=" TASK_1), 1u);
    expect("/v2/decisions?task=" TASK_1, 200, "\"reason\":\"no task of the deployment is here\"");
    expect("/v2/decisions?task=arn:aws:ecs:x:1:task/none", 404, "there is no task");
    (void)first;
    snprintf(path, sizeof path, "/v2/decisions?at=%s", clock_format_unix_ms(first - 60000, then));
    expect(path, 410, "past-gone");
    expect("/v2/decisions?at=nonsense", 400, "\"?at\"");
    expect("/v2/decisions?at=2999-01-01T00:00:00Z", 400, "future");
    expect("/v2/decisions?limit=0", 400, "\"?limit\"");
    expect("/v2/decisions?order=x", 400, "order");
    fixture_stop(&f);
}
