/* SPDX-License-Identifier: Apache-2.0
 * api_serve [TASKS [RATE]]: the fixture as a server with that many tasks, of which RATE change each
 * second. Prints its port, serves until standard input ends. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/api/fixture.h"

static void answer(struct fixture *f, struct api_write *w)
{
    const char *op = json_str_or(w->command, "op", "");
    json_t *body = NULL;
    (void)f;
    if (strcmp(op, "environment.create") == 0) {
        if (strcmp(json_str_or(w->command, "name", ""), "taken") == 0) {
            api_write_done(w, ERR_EXISTS, "Environment with name 'taken' already exists", "name",
                           NULL, NULL);
            return;
        }
        body = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name",
                         json_str_or(w->command, "name", ""), "cluster", CLUSTER, "taskDefinition",
                         json_str_or(w->command, "taskDefinition", ""), "token",
                         "11111111-2222-3333-4444-555555555555", "health", "healthy", "status",
                         "active");
    } else if (strcmp(op, "deployment.create") == 0) {
        body = json_pack("{s:s, s:s, s:s, s:s, s:[]}", "id", "99999999-2222-3333-4444-555555555555",
                         "environment", json_str_or(w->command, "environment", ""),
                         "taskDefinition", "a:1", "status", "pending", "failedInstances");
    }
    api_write_done(w, 0, NULL, NULL, body, NULL);
    json_decref(body);
}

int main(int argc, char **argv)
{
    static struct fixture f;
    char byte;
    unsigned tasks = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 3;
    int rate = argc > 2 ? (int)strtoul(argv[2], NULL, 10) : 0;
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    fixture_put_tasks(&f, 1, tasks);
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
