/* SPDX-License-Identifier: Apache-2.0
 * /v1 answers as Blox 0.3 did: codes, sentences, content types, redirects. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/json.h"
#include "tests/unit/api/fixture.h"

static struct fixture f;

static void fill(void)
{
    fixture_put_task(&f, 1, "RUNNING", 1);
    fixture_put_task(&f, 2, "PENDING", 1);
    fixture_put_task(&f, 3, "STOPPED", 1);
    fixture_put_task(&f, 4, "DEPROVISIONING", 1);
    fixture_put_instance(&f, INSTANCE_1, "i-0123456789abcdef0", "ACTIVE");
    fixture_put_environment(&f, "web", "active");
    fixture_put_environment(&f, "going", "deleting");
    fixture_put_deployment(&f, "web", "aaaaaaaa-0000-0000-0000-000000000001", "completed",
                           "2026-11-22T09:00:00.000Z");
    fixture_put_deployment(&f, "web", "00000000-0000-0000-0000-000000000002", "running",
                           "2026-11-22T10:00:00.000Z");
    fixture_put_deployment(&f, "web", "cccccccc-0000-0000-0000-000000000003", "superseded",
                           "2026-11-22T08:00:00.000Z");
}

#define NO_PAGE "404 page not found\n"
#define TASK_PATH "/v1/tasks/prod/" TASK_1

struct sentence {
    const char *method, *path;
    long status;
    const char *body;
};

static void check_sentences(const struct sentence *cases, size_t count)
{
    fixture_start(&f, NULL);
    fill();
    for (size_t i = 0; i < count; i++) {
        char value[256];
        struct http h = http_do(&f, cases[i].method, cases[i].path, NULL, NULL);
        cr_assert_eq(h.status, cases[i].status, "%s %s: %ld", cases[i].method, cases[i].path,
                     h.status);
        cr_assert_str_eq(h.body, cases[i].body, "%s %s", cases[i].method, cases[i].path);
        cr_assert_str_eq(http_header(&h, "Content-Type", value), "text/plain; charset=utf-8");
        cr_assert_str_eq(http_header(&h, "X-Content-Type-Options", value), "nosniff");
        cr_assert_str_eq(http_header(&h, "Cache-Control", value), "no-store");
        http_free(&h);
    }
    fixture_stop(&f);
}

Test(v1, errors_are_the_state_services_sentences)
{
    static const struct sentence cases[] = {
        {"GET", "/v1/tasks?status=wrong", 400, "Invalid status\n"},
        {"GET", "/v1/instances?status=DRAINING", 400, "Invalid status\n"},
        {"GET", "/v1/tasks?cluster=a%20b", 400, "Invalid cluster ARN or name\n"},
        {"GET", "/v1/tasks?cluster=arn:aws:ecs:us-east-1:1:cluster/x", 400,
         "Invalid cluster ARN or name\n"},
        {"GET", "/v1/tasks?colour=1", 400, "At least one of the filters provided is unsupported\n"},
        {"GET", "/v1/instances?startedBy=x", 400,
         "At least one of the filters provided is unsupported\n"},
        {"GET", "/v1/tasks?status=a&status=b", 400,
         "At least one of the filters provided is specified multiple times\n"},
        /* The order of checks: unknown, repeated, status, cluster. */
        {"GET", "/v1/tasks?status=a&status=b&colour=1", 400,
         "At least one of the filters provided is unsupported\n"},
        {"GET", "/v1/tasks?status=bad&cluster=a%20b", 400, "Invalid status\n"},
        {"GET", "/v1/stream/tasks?entityVersion=x", 400, "Invalid entity version\n"},
        {"GET", "/v1/stream/tasks?entityVersion=-1", 400, "Invalid entity version\n"},
        {"GET", "/v1/stream/instances?entityVersion=99999", 400,
         "Entity version is out of range\n"},
        /* What a number is decides Go's parser: 64 bits with a sign. */
        {"GET", "/v1/stream/tasks?entityVersion=9223372036854775807", 400,
         "Entity version is out of range\n"},
        {"GET", "/v1/stream/tasks?entityVersion=%2B99999", 400, "Entity version is out of range\n"},
        {"GET", "/v1/stream/tasks?entityVersion=9223372036854775808", 400,
         "Invalid entity version\n"},
        {"GET", "/v1/stream/tasks?entityVersion=-9223372036854775809", 400,
         "Invalid entity version\n"},
        {"GET", "/v1/stream/tasks?entityVersion=+1", 400, "Invalid entity version\n"},
        {"GET", "/v1/stream/tasks?entityVersion=%2B", 400, "Invalid entity version\n"},
        {"GET", "/v1/stream/tasks?entityVersion=--1", 400, "Invalid entity version\n"},
        {"GET", "/v1/stream/tasks?entityVersion=1x", 400, "Invalid entity version\n"},
        {"GET", "/v1/tasks/prod/arn:aws:ecs:us-east-1:111122223333:task/none", 404,
         "Task not found\n"},
        {"GET", "/v1/tasks/other/" TASK_1, 404, "Task not found\n"},
        {"GET", "/v1/instances/prod/arn:aws:ecs:us-east-1:111122223333:container-instance/x", 404,
         "Instance not found\n"},
        {"GET", "/v1/tasks/prod/" INSTANCE_1, 404, NO_PAGE},
        {"GET", "/v1/tasks/prod/short-id", 404, NO_PAGE},
        {"GET", "/v1/tasks/a.b/" TASK_1, 404, NO_PAGE},
        {"POST", "/v1/tasks", 404, NO_PAGE},
        {"HEAD", "/v1/tasks", 404, ""},
        {"DELETE", TASK_PATH, 404, NO_PAGE},
        {"GET", "/v1", 404, NO_PAGE},
        {"GET", "/v1/nothing/", 404, NO_PAGE},
    };
    check_sentences(cases, sizeof cases / sizeof cases[0]);
}

Test(v1, errors_are_the_schedulers_sentences)
{
    static const struct sentence cases[] = {
        {"GET", "/v1/environments/absent", 404, "Environment absent does not exist\n"},
        {"GET", "/v1/environments/going", 404, "Environment going does not exist\n"},
        {"GET", "/v1/environments/a.b", 404, "Environment a.b does not exist\n"},
        {"GET", "/v1/environments/web/deployments/x", 404,
         "Deployment x does not exist for environment web\n"},
        {"GET", "/v1/environments/absent/deployments", 404, "Environment absent does not exist\n"},
        {"GET", "/v1/environments/absent/deployments/x", 404,
         "Environment absent does not exist\n"},
        {"POST",
         "/v1/environments/a.b/deployments?deploymentToken=11111111-2222-3333-4444-555555555555",
         404, "Environment with name 'a.b' does not exist\n"},
        {"GET", "/v1/environments?nextToken=abc", 400,
         "At least one of the filters provided is not supported\n"},
        {"GET", "/v1/environments?nextToken=abc&cluster=a&cluster=b", 400,
         "At least one of the filters provided is not supported\n"},
        {"GET", "/v1/environments?name=x", 400,
         "At least one of the filters provided is not supported\n"},
        {"GET", "/v1/environments?cluster=a&cluster=b", 400,
         "At least one of the filters provided is specified multiple times\n"},
        {"GET", "/v1/environments?cluster=a/b", 400, "Invalid cluster ARN or name\n"},
        {"PUT", "/v1/environments/web", 404, NO_PAGE},
        {"POST", "/v1/environments/web/deployments", 404, NO_PAGE},
        {"POST",
         "/v1/environments/web/deployments?deploymentToken=ABCDEFAB-0000-0000-0000-"
         "000000000000",
         404, NO_PAGE},
    };
    check_sentences(cases, sizeof cases / sizeof cases[0]);
}

Test(v1, doubled_and_trailing_slashes_redirect)
{
    static const struct {
        const char *path, *location;
    } cases[] = {
        {"/v1/tasks/", "/v1/tasks"},     {"/v1/tasks/?status=running", "/v1/tasks?status=running"},
        {"/v1//tasks", "/v1/tasks"},     {"/v1/./tasks", "/v1/tasks"},
        {"/v1/x/../tasks", "/v1/tasks"}, {"/v1/environments/web/", "/v1/environments/web"},
        {TASK_PATH "/", TASK_PATH},      {"/v1//a!(b)*'$&", "/v1/a%21%28b%29%2A%27$&"},
    };
    fixture_start(&f, NULL);
    fill();
    static const struct {
        const char *method, *path;
        long status;
    } methods[] = {
        {"POST", "/v1/environments/", 301},
        {"DELETE", "/v1/environments/web/", 301},
        {"POST",
         "/v1/environments/web/deployments/"
         "?deploymentToken=11111111-2222-3333-4444-555555555555",
         301},
        {"GET", "/v1/environments/web/deployments/x/", 301},
        {"POST", "/v1/environments/web/deployments/", 404},
        {"POST", "/v1/environments/web/", 404},
        {"PUT", "/v1/environments/web/", 404},
        {"GET", "/v1/environments/a.b/", 301},
        {"GET", "/v1/environments/a.b/other/", 404},
        {"POST", "/v1/tasks/", 404},
        {"HEAD", "/v1/tasks/", 404},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        struct http h = http_do(&f, methods[i].method, methods[i].path, NULL, NULL);
        cr_assert_eq(h.status, methods[i].status, "%s %s: %ld", methods[i].method, methods[i].path,
                     h.status);
        bool page = h.status == 301 && strcmp(methods[i].method, "GET") == 0;
        char value[256];
        cr_assert(h.status != 301 || page || h.len == 0);
        cr_assert_str_eq(http_header(&h, "Content-Type", value),
                         page ? "text/html; charset=utf-8" : "text/plain; charset=utf-8");
        http_free(&h);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char value[256];
        struct http h = http_get(&f, cases[i].path);
        cr_assert_eq(h.status, 301, "%s: %ld", cases[i].path, h.status);
        cr_assert_str_eq(http_header(&h, "Location", value), cases[i].location);
        size_t len = strlen(cases[i].path);
        if (strchr(cases[i].path, '?') != NULL || cases[i].path[len - 1] == '/')
            cr_assert_not_null(strstr(h.body, "Moved Permanently"));
        else
            cr_assert_str_eq(h.body, "", "a path that was cleaned up: %s", h.body);
        http_free(&h);
    }
    fixture_stop(&f);
}

/* Number of items in a list's answer. */
static int count_items(const char *path)
{
    struct http h = http_get(&f, path);
    json_t *doc = json_parse(h.body, h.len, NULL);
    int n = h.status == 200 ? (int)json_array_size(json_arr(doc, "items")) : -1;
    json_decref(doc);
    http_free(&h);
    return n;
}

Test(v1, filters_combine)
{
    static const struct {
        const char *query;
        int count;
    } cases[] = {
        {"/v1/tasks", 4},
        {"/v1/tasks?status=running", 1},
        {"/v1/tasks?status=Pending", 1},
        {"/v1/tasks?status=", 4},
        {"/v1/tasks?cluster=prod", 4},
        {"/v1/tasks?cluster=od", 0},
        {"/v1/tasks?cluster=p", 0},
        {"/v1/tasks?cluster=" CLUSTER, 4},
        /* An ARN is reduced to its name, whatever its region, partition and account. */
        {"/v1/tasks?cluster=arn:aws-cn:ecs:cn-north-1:999988887777:cluster/prod", 4},
        {"/v1/tasks?startedBy=deployment-3", 1},
        {"/v1/tasks?startedBy=deployment-3&status=stopped&cluster=prod", 1},
        {"/v1/tasks?startedBy=deployment-3&status=running", 0},
        {"/v1/tasks?startedBy=deployment-3;status=stopped", 1}, /* as forms once were written */
        {"/v1/instances?status=active&cluster=prod", 1},
        {"/v1/instances?status=INACTIVE", 0},
        {"/v1/environments", 1}, /* one that is being deleted is gone to Blox */
        {"/v1/environments?cluster=prod", 1},
        {"/v1/environments?cluster=other", 0},
        {"/v1/environments/web/deployments", 3},
    };
    fixture_start(&f, NULL);
    fill();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_assert_eq(count_items(cases[i].query), cases[i].count, "%s: %d", cases[i].query,
                     count_items(cases[i].query));
    fixture_stop(&f);
}

Test(v1, deployments_come_newest_first)
{
    fixture_start(&f, NULL);
    fill();
    struct http h = http_get(&f, "/v1/environments/web/deployments");
    const char *running = strstr(h.body, "\"status\":\"running\"");
    const char *first = strstr(h.body, "aaaaaaaa");
    const char *last = strstr(h.body, "cccccccc");
    cr_assert(running != NULL && first != NULL && last != NULL);
    cr_assert(running < first && first < last);
    cr_assert_null(strstr(h.body, "superseded"), "Blox knows no such state");
    http_free(&h);
    fixture_stop(&f);
}

/* Faults 1, 2 and 11 of Blox: long ARNs, other partitions, one-letter clusters, an odd row. */
Test(v1, takes_every_arn_and_survives_odd_rows)
{
    static const struct {
        const char *cluster, *arn;
    } tasks[] = {
        {"c", "arn:aws:ecs:eu-west-1:111122223333:task/abcdef01-0000-0000-0000-000000000000"},
        {"c", "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:task/c/0123456789abcdef"},
        {"9lives", "arn:aws-cn:ecs:cn-north-1:111122223333:task/9lives/0123456789abcdef"},
    };
    char json[512], path[512];
    fixture_start(&f, NULL);
    for (size_t i = 0; i < 3; i++) {
        snprintf(json, sizeof json,
                 "{\"clusterArn\":\"arn:aws:ecs:x:111122223333:cluster/%s\",\"taskArn\":\"%s\"}",
                 tasks[i].cluster, tasks[i].arn);
        fixture_put(&f, RECORD_TASK, tasks[i].arn, 1, json);
    }
    fixture_put(&f, RECORD_TASK, "arn:aws:ecs:x:111122223333:task/odd", 1, "{\"odd\":[1,{}]}");
    fixture_put(&f, RECORD_TASK, "arn:aws:ecs:x:111122223333:task/odder", 1, "[\"no object\"]");
    fixture_put(&f, RECORD_INSTANCE, INSTANCE_1, 1,
                "{\"containerInstanceArn\":\"" INSTANCE_1 "\",\"registeredResources\":[{},"
                "{\"name\":\"M\",\"type\":\"INTEGER\",\"integerValue\":null},"
                "{\"name\":\"D\",\"type\":\"DOUBLE\",\"doubleValue\":2},"
                "{\"name\":\"S\",\"type\":\"STRINGSET\",\"stringSetValue\":[\"22\",\"53\"]}]}");
    cr_assert_eq(count_items("/v1/tasks"), 3);
    cr_assert_eq(count_items("/v1/instances"), 1);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/v1/tasks/%s/%s", tasks[i].cluster, tasks[i].arn);
        struct http h = http_get(&f, path);
        cr_assert_eq(h.status, 200, "%s: %s", path, h.body);
        /* A bare row still has every member that the description requires. */
        cr_assert_not_null(strstr(h.body, "\"containerInstanceARN\":\"\",\"containers\":[],"));
        cr_assert_not_null(strstr(h.body, "\"overrides\":{\"containerOverrides\":[]}"));
        http_free(&h);
    }
    struct http h = http_get(&f, "/v1/instances");
    cr_assert_not_null(strstr(h.body, "\"attributes\":null,"));
    cr_assert_not_null(strstr(h.body, "\"remainingResources\":[],"));
    cr_assert_not_null(
        strstr(h.body, "\"registeredResources\":[{\"name\":\"\",\"type\":\"\",\"value\":\"\"},"
                       "{\"name\":\"M\",\"type\":\"INTEGER\",\"value\":\"\"},"
                       "{\"name\":\"D\",\"type\":\"DOUBLE\",\"value\":\"2.00\"},"
                       "{\"name\":\"S\",\"type\":\"STRINGSET\",\"value\":\"22,53\"}]"));
    http_free(&h);
    fixture_stop(&f);
}

Test(v1, a_long_list_comes_whole)
{
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 1000);
    cr_assert_eq(count_items("/v1/tasks"), 1000);
    cr_assert_eq(count_items("/v1/tasks?startedBy=deployment-3"), 143);
    fixture_stop(&f);
}

Test(v1, streams_start_inclusive_and_at_once)
{
    char text[65536];
    fixture_start(&f, NULL);
    fixture_put_task(&f, 1, "RUNNING", 1); /* change 1 */
    fixture_put_task(&f, 2, "RUNNING", 1); /* change 2 */
    int now = http_connect(&f), from = http_connect(&f);
    static const char ask_now[] = "GET /v1/stream/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static const char ask_from[] =
        "GET /v1/stream/tasks?entityVersion=2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    cr_assert_eq(write(now, ask_now, sizeof ask_now - 1), (ssize_t)sizeof ask_now - 1);
    /* Blox sent no header before the first event. */
    cr_assert(http_read_until(now, "\r\n\r\n", text, sizeof text));
    cr_assert_not_null(strstr(text, "200 OK"));
    cr_assert_not_null(strstr(text, "Content-Type: application/octet-stream"));
    cr_assert_eq(write(from, ask_from, sizeof ask_from - 1), (ssize_t)sizeof ask_from - 1);
    cr_assert(http_read_until(from, "\"entityVersion\":\"2\"}}\n", text, sizeof text));
    cr_assert_null(strstr(text, "\"entityVersion\":\"1\""));
    fixture_delete(&f, RECORD_TASK, TASK_1, 1); /* change 3: not shown */
    fixture_put_instance(&f, INSTANCE_1, "i-1", "ACTIVE");
    fixture_put_task(&f, 3, "RUNNING", 1); /* change 5 */
    cr_assert(http_read_until(now, "\"entityVersion\":\"5\"}}\n", text, sizeof text));
    cr_assert_null(strstr(text, "\"entityVersion\":\"2\""), "it began before its request");
    cr_assert_null(strstr(text, "entity\":{\"EC2InstanceID"));
    cr_assert(http_read_until(from, "\"entityVersion\":\"5\"}}\n", text, sizeof text));
    cr_assert_null(strstr(text, "\"entityVersion\":\"3\""));
    close(now);
    close(from);
    fixture_stop(&f);
}

/* The next n lines of a stream: their entity versions follow each other from first on. */
static void expect_versions(int fd, uint64_t first, uint64_t n)
{
    static char text[1 << 22]; /* what was read of it */
    char last[48];
    snprintf(last, sizeof last, "\"entityVersion\":\"%llu\"}}\n",
             (unsigned long long)(first + n - 1));
    cr_assert(http_read_until(fd, last, text, sizeof text), "%s", last);
    const char *at = text;
    for (uint64_t i = 0; i < n; i++) {
        at = strstr(at, "\"entityVersion\":\"");
        cr_assert_not_null(at, "%llu of %llu", (unsigned long long)i, (unsigned long long)n);
        at += strlen("\"entityVersion\":\"");
        cr_assert_eq(strtoull(at, NULL, 10), first + i, "%.20s", at);
    }
    cr_assert_null(strstr(at, "\"entityVersion\":\""));
}

/* etcd's watch told of each change, not only of what became of it. */
Test(v1, streams_tell_of_every_change)
{
    static const char ask[] =
        "GET /v1/stream/tasks?entityVersion=2 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    fixture_start(&f, NULL);
    fixture_put_task(&f, 1, "PENDING", 1);                 /* change 1 */
    fixture_put_task(&f, 1, "RUNNING", 2);                 /* 2 */
    fixture_put_task(&f, 2, "RUNNING", 1);                 /* 3 */
    fixture_put_task(&f, 1, "STOPPED", 3);                 /* 4 */
    fixture_put_instance(&f, INSTANCE_1, "i-1", "ACTIVE"); /* 5: not shown */
    int fd = http_connect(&f);
    cr_assert_eq(write(fd, ask, sizeof ask - 1), (ssize_t)sizeof ask - 1);
    expect_versions(fd, 2, 3);
    fixture_put_task(&f, 2, "STOPPED", 2); /* 6 */
    expect_versions(fd, 6, 1);
    close(fd);
    fixture_stop(&f);
}

/* More of them than are looked for at a time or fit into a piece, while they go on; and one row
 * that stayed from the first of them to the last. */
Test(v1, streams_tell_of_every_change_from_far_back)
{
    static const char ask[] =
        "GET /v1/stream/tasks?entityVersion=7 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    enum { TASKS = 7, ROUNDS = 500 };
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, TASKS);
    fixture_put_task(&f, 100, "RUNNING", 1);
    int fd = -1;
    for (unsigned i = 2; i <= ROUNDS; i++) {
        fixture_change_tasks(&f, 1, TASKS, i);
        if (i == ROUNDS - 10) {
            fixture_put_task(&f, 100, "STOPPED", 2);
            fd = http_connect(&f);
            cr_assert_eq(write(fd, ask, sizeof ask - 1), (ssize_t)sizeof ask - 1);
        }
    }
    expect_versions(fd, TASKS, TASKS * ROUNDS + 2 - TASKS + 1);
    close(fd);
    fixture_stop(&f);
}
