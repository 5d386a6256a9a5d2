/* SPDX-License-Identifier: Apache-2.0
 * Faults that Blox 0.3 is known for, as far as they concern its API and state: each has a test that
 * they are not here. Numbers count them as the compatibility notes do; 1, 2 and 11 have further
 * cases in v1_test.c, those of the scheduler (3, 6-9, 19) are tested with the daemons. */
#include <criterion/criterion.h>

#include <regex.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/json.h"
#include "tests/unit/api/fixture.h"

#if defined(__SANITIZE_ADDRESS__)
#define MEASURES_MEMORY false /* the sanitizer keeps what was freed */
#else
#define MEASURES_MEMORY true
#endif

static struct fixture f;

static int count_items(const char *path)
{
    struct http h = http_get(&f, path);
    json_t *doc = json_parse(h.body, h.len, NULL);
    int n = h.status == 200 ? (int)json_array_size(json_arr(doc, "items")) : -1;
    json_decref(doc);
    http_free(&h);
    return n;
}

static void expect(const char *path, long status, const char *words)
{
    struct http h = http_get(&f, path);
    cr_assert_eq(h.status, status, "%s: %ld %s", path, h.status, h.body);
    cr_assert_not_null(strstr(h.body, words), "%s: %s", path, h.body);
    http_free(&h);
}

static void put_task_of(const char *arn, const char *cluster)
{
    char json[600];
    snprintf(json, sizeof json,
             "{\"clusterArn\":\"%s\",\"lastStatus\":\"RUNNING\",\"taskArn\":\"%s\"}", cluster, arn);
    fixture_put(&f, RECORD_TASK, arn, 1, json);
}

Test(blox_faults, f1_f2_long_arns_partitions_and_short_cluster_names_work)
{
    static const char *const tasks[][3] = {
        {"x", "arn:aws:ecs:us-east-1:111122223333:cluster/x",
         "arn:aws:ecs:us-east-1:111122223333:task/x/0123456789abcdef0123456789abcdef"},
        {"beijing", "arn:aws-cn:ecs:cn-north-1:111122223333:cluster/beijing",
         "arn:aws-cn:ecs:cn-north-1:111122223333:task/beijing/0123456789abcdef"},
        {"gov", "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:cluster/gov",
         "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:task/0123456789abcdef"}};
    char path[512];
    fixture_start(&f, NULL);
    for (size_t i = 0; i < 3; i++)
        put_task_of(tasks[i][2], tasks[i][1]);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "/v1/tasks/%s/%s", tasks[i][0], tasks[i][2]);
        expect(path, 200, tasks[i][2]);
        snprintf(path, sizeof path, "/v1/tasks?cluster=%s", tasks[i][0]);
        cr_assert_eq(count_items(path), 1, "%s", path);
        snprintf(path, sizeof path, "/v1/tasks?cluster=%s&status=Running", tasks[i][1]);
        cr_assert_eq(count_items(path), 1, "%s", path);
    }
    fixture_stop(&f);
}

/* A completed deployment was written anew every ten seconds: here the same row is no change. */
Test(blox_faults, f4_the_same_again_is_no_change)
{
    fixture_start(&f, NULL);
    fixture_put_task(&f, 1, "RUNNING", 7);
    uint64_t index = store_index(f.store, 0);
    for (unsigned i = 0; i < 20; i++)
        fixture_put_task(&f, 1, "RUNNING", 7);
    cr_assert_eq(store_index(f.store, 0), index);
    fixture_stop(&f);
}

Test(blox_faults, f10_failed_instances_stay_with_a_completed_deployment)
{
    fixture_start(&f, NULL);
    fixture_put_environment(&f, "web", "active");
    fixture_put_deployment(&f, "web", "aaaaaaaa-0000-0000-0000-000000000001", "completed",
                           "2026-11-22T09:00:00.000Z");
    expect("/v1/environments/web/deployments/aaaaaaaa-0000-0000-0000-000000000001", 200,
           "\"failedInstances\":[\"" INSTANCE_1 "\"]");
    expect("/v2/environments/web/deployments/aaaaaaaa-0000-0000-0000-000000000001", 200,
           "RESOURCE:MEMORY");
    fixture_stop(&f);
}

/* Tasks without an instance (Fargate), rows of other forms, fewer remaining than registered
 * resources: lists went out as 200 with an error's text, or with a stack trace. */
Test(blox_faults, f11_odd_rows_break_no_list)
{
    fixture_start(&f, NULL);
    put_task_of(TASK_1, CLUSTER);
    fixture_put(&f, RECORD_TASK, "arn:aws:ecs:x:111122223333:task/a", 1, "{}");
    fixture_put(&f, RECORD_TASK, "arn:aws:ecs:x:111122223333:task/b", 1,
                "{\"taskArn\":\"arn:aws:ecs:x:111122223333:task/b\",\"containers\":{},"
                "\"overrides\":[],\"createdAt\":17,\"lastStatus\":null}");
    fixture_put(&f, RECORD_INSTANCE, INSTANCE_1, 1,
                "{\"containerInstanceArn\":\"" INSTANCE_1 "\",\"registeredResources\":[{\"name\":"
                "\"CPU\",\"type\":\"INTEGER\",\"integerValue\":2048},{\"name\":\"MEMORY\"}],"
                "\"remainingResources\":[{}]}");
    cr_assert_eq(count_items("/v1/tasks"), 2);
    cr_assert_eq(count_items("/v1/instances"), 1);
    expect("/v1/instances", 200, "\"value\":\"2048\"");
    fixture_stop(&f);
}

Test(blox_faults, f14_lists_answer_before_the_first_sync)
{
    char value[256];
    fixture_start(&f, NULL);
    struct http h = http_get(&f, "/v1/tasks");
    cr_assert_eq(h.status, 200);
    cr_assert_str_eq(h.body, "{\"items\":[]}\n");
    cr_assert_str_eq(http_header(&h, "Blox-Staleness-Ms", value), "unknown");
    http_free(&h);
    fixture_stop(&f);
}

/* Anonymous memory of this process. */
static long anonymous_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "RssAnon: %ld", &kib) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kib;
}

/* Lists are sent as they are read: a reader that takes nothing yet holds one piece, not a list. */
Test(blox_faults, f15_lists_cost_no_memory)
{
    enum { READERS = 8 };
    static const char ask[] = "GET /v1/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static char text[65536];
    int readers[READERS];
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 3000); /* 3 MB each time */
    cr_assert_eq(count_items("/v1/tasks?startedBy=none"), 0);
    long before = anonymous_kib();
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = http_connect(&f);
        cr_assert_eq(write(readers[i], ask, sizeof ask - 1), (ssize_t)sizeof ask - 1);
        cr_assert(http_read_until(readers[i], "\"entity\"", text, sizeof text));
    }
    long grown = anonymous_kib() - before;
    cr_assert(!MEASURES_MEMORY || grown < 4096, "%d lists cost %ld KiB", READERS, grown);
    for (size_t i = 0; i < READERS; i++)
        close(readers[i]);
    fixture_stop(&f);
}

Test(blox_faults, f16_one_name_in_two_accounts_is_two_clusters)
{
    static const char here[] = "arn:aws:ecs:us-east-1:111122223333:cluster/prod";
    static const char there[] = "arn:aws:ecs:eu-west-1:999988887777:cluster/prod";
    fixture_start(&f, NULL);
    put_task_of("arn:aws:ecs:us-east-1:111122223333:task/prod/aa", here);
    put_task_of("arn:aws:ecs:eu-west-1:999988887777:task/prod/aa", there);
    cr_assert_eq(count_items("/v1/tasks?cluster=prod"), 2, "a name means all of that name");
    cr_assert_eq(count_items("/v2/tasks?cluster=arn:aws:ecs:us-east-1:111122223333:cluster/prod"),
                 1);
    expect("/v1/tasks/prod/arn:aws:ecs:us-east-1:111122223333:task/prod/aa", 200, here);
    expect("/v1/tasks/prod/arn:aws:ecs:eu-west-1:999988887777:task/prod/aa", 200, there);
    fixture_stop(&f);
}

static int open_streams(void)
{
    struct http h = http_get(&f, "/metrics");
    const char *at = strstr(h.body, "\nblox_api_streams ");
    int n = -1;
    cr_assert_not_null(at);
    cr_assert_eq(sscanf(at, "\nblox_api_streams %d", &n), 1);
    http_free(&h);
    return n;
}

/* The header comes at once, and clients that went away are noticed although nothing changes. */
Test(blox_faults, f17_streams_begin_at_once_and_let_go_of_dead_clients)
{
    enum { CLIENTS = 20 };
    static const char ask[] = "GET /v1/stream/instances HTTP/1.1\r\nHost: localhost\r\n\r\n";
    static char text[8192];
    int clients[CLIENTS], left = CLIENTS;
    fixture_start(&f, NULL);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = http_connect(&f);
        cr_assert_eq(write(clients[i], ask, sizeof ask - 1), (ssize_t)sizeof ask - 1);
        cr_assert(http_read_until(clients[i], "\r\n\r\n", text, sizeof text));
    }
    cr_assert_eq(open_streams(), CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++)
        close(clients[i]);
    for (unsigned i = 0; i < 600 && left > 0; i++) {
        usleep(50000);
        left = open_streams();
    }
    cr_assert_eq(left, 0);
    fixture_stop(&f);
}

/* What was described and what was served differed. */
Test(blox_faults, f20_filters_do_what_their_description_says)
{
    fixture_start(&f, NULL);
    fixture_put_task(&f, 1, "RUNNING", 1);
    fixture_put_environment(&f, "web", "active");
    cr_assert_eq(count_items("/v1/environments?nextToken="), 1);
    cr_assert_eq(count_items("/v1/environments?cluster=prod"), 1);
    cr_assert_eq(count_items("/v1/environments?cluster=" CLUSTER), 1);
    cr_assert_eq(count_items("/v1/tasks?cluster=prod"), 1);
    cr_assert_eq(count_items("/v1/tasks?cluster=" CLUSTER), 1);
    expect("/v1/stream/tasks?entityVersion=x", 400, "Invalid entity version\n");
    expect("/v1/stream/tasks?entityVersion=999", 400, "Entity version is out of range\n");
    fixture_stop(&f);
}

/* Blox compiled several regular expressions, repeated 254-fold, for each request and event: a
 * millisecond. Neither the program nor a library it calls compiles one: regcomp() here is ours. */
static _Atomic int compiled;

int regcomp(regex_t *restrict re, const char *restrict text, int flags)
{
    (void)re;
    (void)text;
    (void)flags;
    compiled++;
    return REG_ESPACE;
}

Test(blox_faults, f21_nothing_is_compiled_for_a_request)
{
    fixture_start(&f, NULL);
    fixture_put_task(&f, 1, "RUNNING", 1);
    fixture_put_environment(&f, "web", "active");
    expect("/v1/tasks/prod/" TASK_1, 200, TASK_1);
    expect("/v1/tasks?cluster=" CLUSTER "&status=running", 200, TASK_1);
    expect("/v1/environments/web", 200, "web");
    expect("/v1/tasks/prod/arn:aws:ecs:wrong", 404, "404 page not found");
    cr_assert_eq(compiled, 0);
    fixture_stop(&f);
}
