/* SPDX-License-Identifier: Apache-2.0
 * blox environment create|update|delete NAME, and blox deploy NAME. */
#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/cli/cli.h"

#define USAGE                                                                                      \
    "environment create NAME --cluster C --task-definition T [--attribute NAME=VALUE]... "         \
    "[--expression E]\n       blox environment update NAME [--task-definition T] [--attribute "    \
    "NAME=VALUE]... [--expression E]\n       blox environment delete NAME [--stop-tasks]"
#define DEPLOY_USAGE "deploy NAME [--task-definition T] [--wait] [--timeout SECONDS]"
#define ATTRIBUTES_MAX 10
#define HEARD_MS 5000

struct wanted {
    const char *cluster;
    const char *task_definition;
    const char *expression;
    const char *attributes[ATTRIBUTES_MAX];
    size_t attribute_count;
    bool stop_tasks;
};

static json_t *attributes_json(const struct wanted *w)
{
    json_t *list = json_array();
    for (size_t i = 0; i < w->attribute_count; i++) {
        const char *eq = strchr(w->attributes[i], '=');
        size_t n = eq == NULL ? strlen(w->attributes[i]) : (size_t)(eq - w->attributes[i]);
        json_t *one = json_object();
        json_object_set_new(one, "name", json_stringn(w->attributes[i], n));
        json_set_str(one, "value", eq == NULL ? NULL : eq + 1);
        json_array_append_new(list, one);
    }
    return list;
}

static json_t *body_json(const struct wanted *w, const char *name)
{
    json_t *body = json_object();
    json_set_str(body, "name", name);
    json_set_str(body, "cluster", w->cluster);
    json_set_str(body, "taskDefinition", w->task_definition);
    json_set_str(body, "expression", w->expression);
    if (w->attribute_count > 0)
        json_object_set_new(body, "attributes", attributes_json(w));
    return body;
}

static void name_path(char *out, size_t size, const char *name, const char *tail)
{
    char *escaped = curl_easy_escape(NULL, name, 0);
    snprintf(out, size, "/v2/environments/%s%s", escaped == NULL ? "" : escaped, tail);
    curl_free(escaped);
}

static int finish(struct cli *cli, struct cli_answer *a, const char *name, const char *what)
{
    int code = cli_failed(cli, a);
    if (code == 0 && cli->output == CLI_JSON && a->body != NULL)
        cli_print_json(a->body);
    else if (code == 0)
        printf("environment %s %s\n", name, what);
    cli_answer_fini(a);
    return code;
}

static int create(struct cli *cli, const struct wanted *w, const char *name)
{
    struct cli_answer a;
    if (w->cluster == NULL || w->task_definition == NULL) {
        fprintf(stderr, "blox: --cluster and --task-definition are needed\nusage: blox %s\n",
                USAGE);
        return 2;
    }
    json_t *body = body_json(w, name);
    cli_request(cli, "POST", "/v2/environments", body, &a);
    json_decref(body);
    return finish(cli, &a, name, "created; put it on its instances with: blox deploy");
}

static int update(struct cli *cli, const struct wanted *w, const char *name)
{
    struct cli_answer a;
    char path[512];
    name_path(path, sizeof path, name, "");
    json_t *body = body_json(w, NULL);
    cli_request(cli, "PUT", path, body, &a);
    json_decref(body);
    return finish(cli, &a, name, "updated; it takes effect with: blox deploy");
}

static int delete (struct cli *cli, const struct wanted *w, const char *name)
{
    struct cli_answer a;
    char path[512];
    name_path(path, sizeof path, name, w->stop_tasks ? "?stop_tasks=true" : "");
    cli_request(cli, "DELETE", path, NULL, &a);
    return finish(cli, &a, name,
                  w->stop_tasks ? "is being deleted; its tasks are stopped first"
                                : "deleted; its tasks go on running");
}

int cli_environment(struct cli *cli, int argc, char **argv)
{
    struct wanted w = {0};
    const char *words[2] = {0};
    const struct cli_option options[] = {{.name = "--cluster", .value = &w.cluster},
                                         {.name = "--task-definition", .value = &w.task_definition},
                                         {.name = "--expression", .value = &w.expression},
                                         {.name = "--attribute",
                                          .values = w.attributes,
                                          .count = &w.attribute_count,
                                          .values_max = ATTRIBUTES_MAX},
                                         {.name = "--stop-tasks", .flag = &w.stop_tasks},
                                         {0}};
    int n = cli_parse(cli, argc, argv, options, words, 2, USAGE);
    if (n < 0)
        return n == -1000 ? 0 : -n;
    if (n == 2 && strcmp(words[0], "create") == 0)
        return create(cli, &w, words[1]);
    if (n == 2 && strcmp(words[0], "update") == 0)
        return update(cli, &w, words[1]);
    if (n == 2 && strcmp(words[0], "delete") == 0)
        return delete (cli, &w, words[1]);
    fprintf(stderr, "usage: blox %s\n", USAGE);
    return 2;
}

/* ---- deploy ------------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    (void)number;
    interrupted = 1;
}

/* One line per change; Ctrl-C leaves the deployment running. */
static int wait_for(struct cli *cli, const char *name, const char *id, long timeout_s)
{
    char path[512];
    char tail[128];
    char last[128] = "";
    uint64_t begun = clock_mono_ms();
    uint64_t end = begun + (uint64_t)timeout_s * 1000;
    snprintf(tail, sizeof tail, "/deployments/%s", id);
    name_path(path, sizeof path, name, tail);
    signal(SIGINT, on_interrupt);
    while (!interrupted && clock_mono_ms() < end) {
        struct cli_answer a;
        char now[128];
        cli_request(cli, "GET", path, NULL, &a);
        /* The agent that is asked may hear of the deployment a moment after the leader's answer. */
        bool too_early = a.status == 404 && clock_mono_ms() < begun + HEARD_MS;
        bool pass_over = a.status == 0 || a.status == 503 || too_early;
        int code = pass_over ? 0 : cli_failed(cli, &a);
        if (code != 0) {
            cli_answer_fini(&a);
            return code;
        }
        const json_t *counts = json_obj(a.body, "counts");
        const char *status = json_str_or(a.body, "status", "");
        snprintf(now, sizeof now, "%s  %lld/%lld running  %zu failed", status,
                 (long long)json_int_or(counts, "running", 0),
                 (long long)json_int_or(counts, "desired", 0),
                 json_array_size(json_arr(a.body, "failedInstances")));
        bool completed = strcmp(status, "completed") == 0;
        bool superseded = strcmp(status, "superseded") == 0;
        if (status[0] == '\0')
            snprintf(now, sizeof now, "%s", last);
        if (strcmp(now, last) != 0)
            printf("%s\n", now);
        fflush(stdout);
        snprintf(last, sizeof last, "%s", now);
        cli_answer_fini(&a);
        if (completed || superseded)
            return completed ? 0 : 8;
        usleep(200000);
    }
    if (interrupted)
        fprintf(stderr, "blox: the deployment goes on; see: blox get deployments\n");
    else
        fprintf(stderr, "blox: not completed in %ld s; it goes on: blox get deployments\n",
                timeout_s);
    return interrupted ? 130 : 5;
}

int cli_deploy(struct cli *cli, int argc, char **argv)
{
    const char *name = NULL;
    const char *definition = NULL;
    const char *timeout = "600";
    bool wait = false;
    struct cli_answer a;
    char path[512];
    char id[128];
    const struct cli_option options[] = {{.name = "--task-definition", .value = &definition},
                                         {.name = "--timeout", .value = &timeout},
                                         {.name = "--wait", .flag = &wait},
                                         {0}};
    int n = cli_parse(cli, argc, argv, options, &name, 1, DEPLOY_USAGE);
    if (n < 0)
        return n == -1000 ? 0 : -n;
    long timeout_s = strtol(timeout, NULL, 10);
    if (n != 1 || timeout_s <= 0) {
        fprintf(stderr, "usage: blox %s\n", DEPLOY_USAGE);
        return 2;
    }
    name_path(path, sizeof path, name, "/deployments");
    json_t *body = json_object();
    json_set_str(body, "taskDefinition", definition);
    cli_request(cli, "POST", path, body, &a);
    json_decref(body);
    int code = cli_failed(cli, &a);
    const char *full = json_str_or(a.body, "id", "");
    const char *slash = strrchr(full, '/');
    snprintf(id, sizeof id, "%s", slash == NULL ? full : slash + 1);
    if (code == 0 && cli->output == CLI_JSON)
        cli_print_json(a.body);
    else if (code == 0)
        printf("deployment %s of %s\n", id, name);
    cli_answer_fini(&a);
    return code == 0 && wait ? wait_for(cli, name, id, timeout_s) : code;
}
