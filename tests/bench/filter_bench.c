/* SPDX-License-Identifier: Apache-2.0
 * What lists with filter= (the cluster query language) and sort= take a client on this machine:
 * instances with fifty attributes each, 20 tasks on each. Best and middle of many rounds.
 * Usage: bench_filter [INSTANCES [ROUNDS]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/clock.h"
#include "tests/unit/api/fixture.h"

enum { EACH = 20, ROUNDS_MAX = 1000 };
#define ARN "arn:aws:ecs:us-east-1:111122223333:"

static struct fixture f;

static void put_instance(unsigned n, unsigned count)
{
    static const char *const types[] = {"m5.large", "m5.large", "c5.xlarge", "r6g.2xlarge"};
    char key[160];
    struct buf b;
    snprintf(key, sizeof key, ARN "container-instance/prod/%032x", n);
    buf_init(&b, 1 << 16);
    buf_puts(&b, "{\"agentConnected\":true,\"attributes\":[");
    for (unsigned i = 0; i < 48; i++)
        buf_printf(&b,
                   "{\"name\":\"ecs.capability.something-that-agents-can-do.%u\",\"targetId\":"
                   "null,\"value\":\"1.%u\"},",
                   i, i);
    buf_printf(&b,
               "{\"name\":\"ecs.instance-type\",\"value\":\"%s\"},{\"name\":\"rack\",\"value\":"
               "\"r%u\"}],\"availabilityZone\":\"us-east-1%c\",\"clusterArn\":\"" CLUSTER
               "\",\"containerInstanceArn\":\"%s\",\"ec2InstanceId\":\"i-%017x\",\"status\":"
               "\"ACTIVE\",\"version\":1,\"versionInfo\":{\"agentVersion\":\"1.96.0\"}}",
               n == count / 2 ? "x1e.32xlarge" : types[n % 4], n % 50, "abc"[n % 3], key, n);
    fixture_post(&f, RECORD_INSTANCE, key, 1, b.data);
    buf_fini(&b);
}

static void put_task(unsigned n, unsigned instances)
{
    char key[160], json[1600], group[40];
    snprintf(group, sizeof group, n < 10 ? "family:rare" : "family:f%u", n % 100);
    snprintf(key, sizeof key, ARN "task/prod/%032x", n * 2654435761u);
    snprintf(json, sizeof json,
             "{\"clusterArn\":\"" CLUSTER "\",\"containerInstanceArn\":\"" ARN
             "container-instance/prod/%032x\",\"containers\":[{\"containerArn\":\"" ARN
             "container/prod/%032x/c\",\"image\":\"log-router:2.4.1\",\"lastStatus\":\"RUNNING\","
             "\"name\":\"log-router\"}],\"createdAt\":\"2026-11-22T09:%02u:00.125Z\","
             "\"desiredStatus\":\"RUNNING\",\"group\":\"%s\",\"lastStatus\":\"RUNNING\","
             "\"taskArn\":\"%s\",\"taskDefinitionArn\":\"" ARN
             "task-definition/%s:1\",\"version\":1}",
             n % instances, n, n % 60, group, key, group + 7);
    fixture_post(&f, RECORD_TASK, key, 1, json);
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void bench(const char *name, const char *path, unsigned rounds)
{
    static double took[ROUNDS_MAX];
    unsigned items = 0;
    double first = 0;
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t start = clock_mono_ns();
        struct http h = http_get(&f, path);
        took[i] = (double)(clock_mono_ns() - start) / 1e6;
        first = i == 0 ? took[0] : first;
        items = 0;
        for (const char *p = h.body; (p = strstr(p, "{\"id\":")) != NULL; p++)
            items++;
        if (h.status != 200)
            exit(1);
        http_free(&h);
    }
    qsort(took, rounds, sizeof *took, by_size);
    printf("{\"bench\":\"filter\",\"figure\":\"%s\",\"items\":%u,\"first\":%.2f,\"best\":%.2f,"
           "\"middle\":%.2f,\"unit\":\"ms\"}\n",
           name, items, first, took[0], took[rounds / 2]);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *path;
    } cases[] = {
        {"one_task", "/v2/tasks?limit=1"},
        {"instances_of_a_rare_type",
         "/v2/instances?filter=attribute:ecs.instance-type%20==%20x1e.32xlarge"},
        {"instances_of_a_common_type",
         "/v2/instances?filter=attribute:ecs.instance-type%20==%20m5.large"},
        {"instances_with_a_rare_group", "/v2/instances?filter=task:group%20==%20family:rare"},
        {"tasks_on_a_rare_type",
         "/v2/tasks?filter=attribute:ecs.instance-type%20==%20x1e.32xlarge"},
        {"tasks_on_a_common_type", "/v2/tasks?filter=attribute:ecs.instance-type%20=~%20m5.*"},
        {"tasks_on_a_rack_of_fifty", "/v2/tasks?filter=attribute:rack%20==%20r7"},
        {"tasks_on_no_type", "/v2/tasks?filter=attribute:ecs.instance-type%20==%20p4.none"},
        {"tasks_beside_a_rare_group", "/v2/tasks?filter=task:group%20==%20family:rare"},
        {"tasks_of_a_family_on_a_type",
         "/v2/tasks?family=f7&filter=attribute:ecs.instance-type%20==%20c5.xlarge"},
        {"tasks_by_creation", "/v2/tasks?sort=-createdAt"},
        {"tasks_of_a_family_by_creation", "/v2/tasks?family=f7&sort=-createdAt"},
    };
    unsigned instances = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 5000;
    unsigned rounds = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 20;
    if (instances < 2 || rounds < 1 || rounds > ROUNDS_MAX)
        return 64;
    fixture_start(&f, NULL);
    for (unsigned n = 0; n < instances; n++)
        put_instance(n, instances);
    for (unsigned n = 0; n < instances * EACH; n++)
        put_task(n, instances);
    fixture_settle(&f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        bench(cases[i].name, cases[i].path, rounds);
    fixture_stop(&f);
    return 0;
}
