/* SPDX-License-Identifier: Apache-2.0
 * api_serve [TASKS [RATE]]: the fixture as a server with that many tasks, of which RATE change each
 * second. Prints its port, serves until standard input ends. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/sched.h"
#include "tests/unit/api/fixture.h"

#define NO_TOKEN "00000000-0000-0000-0000-000000000000"

static void answer(struct fixture *f, struct api_write *w)
{
    const char *op = json_str_or(w->command, "op", "");
    json_t *body = NULL;
    (void)f;
    if (strcmp(op, "environment.create") == 0) {
        if (strcmp(json_str_or(w->command, "name", ""), "taken") == 0) {
            api_write_done(w, ERR_EXISTS, "An environment with name taken already exists", "name",
                           NULL, NULL);
            return;
        }
        if (strcmp(json_str_or(w->command, "cluster", ""), "nowhere") == 0) {
            api_write_done(w, ERR_NOTFOUND, "Cluster not found.", "cluster", NULL, NULL);
            return;
        }
        body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name",
                         json_str_or(w->command, "name", ""), "cluster", CLUSTER, "taskDefinition",
                         json_str_or(w->command, "taskDefinition", ""), "token",
                         "11111111-2222-3333-4444-555555555555", "health", "healthy", "status",
                         "active");
    } else if (strcmp(op, "deployment.create") == 0) {
        const char *environment = json_str_or(w->command, "environment", "");
        if (strcmp(json_str_or(w->command, "token", ""), NO_TOKEN) == 0) {
            api_write_done(w, strcmp(environment, "web") == 0 ? ERR_BADPARAM : ERR_NOTFOUND,
                           "wrong token", "token", NULL, NULL);
            return;
        }
        body = json_pack("{s:s, s:s, s:s, s:s, s:[]}", "id", "99999999-2222-3333-4444-555555555555",
                         "environment", environment, "taskDefinition", "a:1", "status", "pending",
                         "failedInstances");
    }
    api_write_done(w, 0, NULL, NULL, body, NULL);
    json_decref(body);
}

/* Both forms of ARN, other partitions, short names, little known of a task. */
static void put_others(struct fixture *f)
{
    static const char *const tasks[][3] = {
        {"arn:aws:ecs:eu-west-1:444455556666:task/0123abcd-0000-0000-0000-000000000001",
         "arn:aws:ecs:eu-west-1:444455556666:cluster/prod", "RUNNING"},
        {"arn:aws-cn:ecs:cn-north-1:111122223333:task/beijing/0123456789abcdef0123456789abcdef",
         "arn:aws-cn:ecs:cn-north-1:111122223333:cluster/beijing", "PENDING"},
        {"arn:aws-us-gov:ecs:us-gov-west-1:111122223333:task/x/0123456789abcdef0123456789abcdef",
         "arn:aws-us-gov:ecs:us-gov-west-1:111122223333:cluster/x", "STOPPED"},
        {"arn:aws:ecs:us-east-1:111122223333:task/x/fedcba9876543210fedcba9876543210",
         "arn:aws:ecs:us-east-1:111122223333:cluster/x", "DEPROVISIONING"}};
    char json[512];
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        snprintf(json, sizeof json,
                 "{\"taskArn\":\"%s\",\"clusterArn\":\"%s\",\"lastStatus\":\"%s\",\"startedBy\":"
                 "\"deployment-%zu\"}",
                 tasks[i][0], tasks[i][1], tasks[i][2], i);
        fixture_put(f, RECORD_TASK, tasks[i][0], 1, json);
    }
    static const char *const instances[] = {"INACTIVE", "DRAINING"};
    for (size_t i = 0; i < 2; i++) {
        char arn[128];
        snprintf(arn, sizeof arn, "arn:aws:ecs:us-east-1:111122223333:container-instance/%032zx",
                 i + 100);
        fixture_put_instance(f, arn, "i-1", instances[i]);
    }
}

int main(int argc, char **argv)
{
    static struct fixture f;
    char byte;
    unsigned tasks = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;
    int rate = argc > 2 ? (int)strtoul(argv[2], NULL, 10) : 0;
    sched_wake_soon(); /* as bloxd does */
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    fixture_put_tasks(&f, 1, tasks);
    put_others(&f);
    for (unsigned i = 1; tasks >= 1000 && i <= 10; i++) /* what few ask for among many */
        fixture_put_task(&f, tasks + i, "STOPPED", 1);
    fixture_put_instance(&f, INSTANCE_1, "i-0123456789abcdef0", "ACTIVE");
    fixture_put_environment(&f, "web", "active");
    fixture_put_deployment(&f, "web", "aaaaaaaa-2222-3333-4444-555555555555", "completed",
                           "2026-11-22T09:00:00.000Z");
    fixture_put_deployment(&f, "web", "bbbbbbbb-2222-3333-4444-555555555555", "running",
                           "2026-11-22T10:00:00.000Z");
    printf("%u\n", (unsigned)api_port(f.api));
    fflush(stdout);
    for (unsigned version = 2;;) {
        struct pollfd in = {.fd = 0, .events = POLLIN};
        if (poll(&in, 1, rate > 0 ? 1000 / rate : -1) > 0 && read(0, &byte, 1) <= 0)
            break;
        if (rate > 0) {
            fixture_put_task(&f, 1 + version % tasks, version % 2 ? "RUNNING" : "PENDING", version);
            version++;
        }
    }
    fixture_stop(&f);
    return 0;
}
