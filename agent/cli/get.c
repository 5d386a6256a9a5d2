/* SPDX-License-Identifier: Apache-2.0
 * blox get instances|tasks|environments|deployments|decisions [ID] [--FILTER VALUE] */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/cli/cli.h"

#define USAGE                                                                                      \
    "get instances|tasks|environments|deployments|decisions [ID] [--status S] [--cluster C]"       \
    "\n         [--instance I] [--at TIME|-AGO] [--consistency local|leader|strong]"               \
    "\n         [--family F] [--group G] [--environment E] [--started-by D] [--zone Z]"            \
    "\n         [--filter CLUSTER-QUERY] [--sort [-]MEMBER] [--fields A,B...] [-o "                \
    "table|wide|json]"

static void family_revision(struct cli_table *t, const json_t *row)
{
    cli_table_add(t, cli_short_arn(json_str(row, "taskDefinitionArn")));
}

static void add_instance(struct cli_table *t, const json_t *row, bool wide)
{
    char text[32];
    char zone[64] = "";
    char type[64] = "";
    size_t i;
    json_t *a;
    json_array_foreach(json_arr(row, "attributes"), i, a)
    {
        const char *name = json_str_or(a, "name", "");
        if (strcmp(name, "ecs.availability-zone") == 0)
            snprintf(zone, sizeof zone, "%s", json_str_or(a, "value", ""));
        if (strcmp(name, "ecs.instance-type") == 0)
            snprintf(type, sizeof type, "%s", json_str_or(a, "value", ""));
    }
    cli_table_add(t, cli_short_arn(json_str(row, "containerInstanceArn")));
    cli_table_add(t, json_str(row, "ec2InstanceId"));
    cli_table_add(t, json_str(row, "status"));
    cli_table_add(t, json_bool_or(row, "agentConnected", false) ? "connected" : "disconnected");
    cli_table_add(t, zone);
    cli_table_add(t, type);
    snprintf(text, sizeof text, "%lld", (long long)json_int_or(row, "runningTasksCount", 0));
    cli_table_add(t, text);
    if (wide)
        cli_table_add(t, json_str(row, "containerInstanceArn"));
}

static void add_task(struct cli_table *t, const json_t *row, bool wide)
{
    char age[24];
    cli_table_add(t, cli_short_arn(json_str(row, "taskArn")));
    family_revision(t, row);
    cli_table_add(t, json_str(row, "lastStatus"));
    cli_table_add(t, json_str(row, "desiredStatus"));
    cli_table_add(t, cli_short_arn(json_str(row, "containerInstanceArn")));
    cli_table_add(t, json_str(row, "group"));
    cli_table_add(t, cli_age(json_str(row, "createdAt"), age));
    if (wide) {
        cli_table_add(t, json_str(row, "startedBy"));
        cli_table_add(t, json_str(row, "taskArn"));
    }
}

static void add_environment(struct cli_table *t, const json_t *row, bool wide)
{
    cli_table_add(t, json_str(row, "name"));
    cli_table_add(t, cli_short_arn(json_str(row, "taskDefinition")));
    cli_table_add(t, cli_short_arn(json_str(row, "cluster")));
    cli_table_add(t, json_str(row, "status"));
    cli_table_add(t, json_str(row, "health"));
    cli_table_add(t, json_str(row, "activeDeployment"));
    if (wide)
        cli_table_add(t, json_str(row, "expression"));
}

static void add_deployment(struct cli_table *t, const json_t *row, bool wide)
{
    char text[64];
    char age[24];
    const json_t *counts = json_obj(row, "counts");
    const json_t *created = json_object_get(row, "createdAt");
    (void)wide;
    /* The deployment's own id: the row's is environment/id. */
    cli_table_add(t, cli_short_arn(json_str(row, "id")));
    cli_table_add(t, json_str(row, "environment"));
    cli_table_add(t, cli_short_arn(json_str(row, "taskDefinition")));
    cli_table_add(t, json_str(row, "status"));
    snprintf(text, sizeof text, "%lld/%lld", (long long)json_int_or(counts, "running", 0),
             (long long)json_int_or(counts, "desired", 0));
    cli_table_add(t, text);
    snprintf(text, sizeof text, "%zu", json_array_size(json_arr(row, "failedInstances")));
    cli_table_add(t, text);
    if (json_is_integer(created)) {
        snprintf(age, sizeof age, "-");
    }
    cli_table_add(t, cli_age(json_string_value(created), age));
}

static void add_decision(struct cli_table *t, const json_t *row, bool wide)
{
    char age[24];
    (void)wide;
    cli_table_add(t, cli_age(json_str(row, "decided_at"), age));
    cli_table_add(t, json_str(row, "environment"));
    cli_table_add(t, cli_short_arn(json_str(row, "taskDefinition")));
    cli_table_add(t, cli_short_arn(json_str(row, "containerInstanceArn")));
    cli_table_add(t, json_str(row, "settled_at") == NULL ? "open" : "settled");
    cli_table_add(t, json_str(row, "reason"));
}

static const struct kind {
    const char *name;
    void (*add)(struct cli_table *t, const json_t *row, bool wide);
    const char *titles[CLI_COLUMNS_MAX];
    size_t columns;
    const char *wide_titles[3];
    size_t wide_columns;
} kinds[] = {
    {"instances",
     add_instance,
     {"INSTANCE", "EC2", "STATUS", "AGENT", "ZONE", "TYPE", "TASKS"},
     7,
     {"ARN"},
     1},
    {"tasks",
     add_task,
     {"TASK", "DEFINITION", "STATUS", "DESIRED", "INSTANCE", "GROUP", "AGE"},
     7,
     {"STARTED-BY", "ARN"},
     2},
    {"environments",
     add_environment,
     {"NAME", "DEFINITION", "CLUSTER", "STATUS", "HEALTH", "DEPLOYMENT"},
     6,
     {"EXPRESSION"},
     1},
    {"deployments",
     add_deployment,
     {"ID", "ENVIRONMENT", "DEFINITION", "STATUS", "RUNNING", "FAILED", "AGE"},
     7,
     {0},
     0},
    {"decisions",
     add_decision,
     {"AGE", "ENVIRONMENT", "DEFINITION", "INSTANCE", "OUTCOME", "REASON"},
     6,
     {0},
     0},
};

static const struct kind *find_kind(const char *name)
{
    for (size_t i = 0; name != NULL && i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t n = strlen(kinds[i].name);
        if (strcmp(name, kinds[i].name) == 0 ||
            (strlen(name) == n - 1 && strncmp(name, kinds[i].name, n - 1) == 0))
            return &kinds[i];
    }
    return NULL;
}

static void print_rows(const struct cli *cli, const struct kind *k, const json_t *rows)
{
    struct cli_table t;
    const char *titles[CLI_COLUMNS_MAX];
    size_t columns = 0;
    size_t i;
    json_t *row;
    bool wide = cli->output == CLI_WIDE;
    for (; columns < k->columns; columns++)
        titles[columns] = k->titles[columns];
    for (size_t w = 0; wide && w < k->wide_columns; w++)
        titles[columns++] = k->wide_titles[w];
    cli_table_init(&t, titles, columns);
    json_array_foreach(rows, i, row) k->add(&t, row, wide);
    if (json_array_size(rows) == 0)
        fprintf(stderr, "No %s match.\n", k->name);
    else
        cli_table_print(&t);
    cli_table_fini(&t);
}

/* The members that were asked for, in that order, whatever they hold. */
static void print_fields(const char *fields, const json_t *rows)
{
    struct cli_table t;
    char *copy = strdup(fields), *rest = NULL;
    const char *names[CLI_COLUMNS_MAX];
    size_t columns = 0, i;
    json_t *row;
    for (char *name = strtok_r(copy, ",", &rest); name != NULL && columns < CLI_COLUMNS_MAX;
         name = strtok_r(NULL, ",", &rest))
        names[columns++] = name;
    cli_table_init(&t, names, columns);
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; c < columns; c++) {
            const json_t *value = json_object_get(row, names[c]);
            char *text = json_is_string(value)
                             ? strdup(json_string_value(value))
                             : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
            cli_table_add(&t, text);
            free(text);
        }
    }
    cli_table_print(&t);
    cli_table_fini(&t);
    free(copy);
}

static void print_any(const struct cli *cli, const struct kind *k, const char *fields,
                      const json_t *rows)
{
    if (fields == NULL)
        print_rows(cli, k, rows);
    else
        print_fields(fields, rows);
}

static void add_filter(struct buf *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    char *escaped = curl_easy_escape(NULL, value, 0);
    buf_printf(path, "%c%s=%s", strchr(path->data, '?') == NULL ? '?' : '&', name,
               escaped == NULL ? "" : escaped);
    curl_free(escaped);
}

/* As options and as parameters; the last one also says what to print. */
#define FILTERS 13
#define AT 10
#define CONSISTENCY 11
static const char *const params[FILTERS] = {
    "status", "cluster", "instance", "family", "group",       "environment", "started_by",
    "zone",   "filter",  "sort",     "at",     "consistency", "fields"};

static int get_one(struct cli *cli, const struct kind *k, const char *id,
                   const char *const *filters)
{
    struct cli_answer a;
    struct buf path;
    char *escaped = curl_easy_escape(NULL, id, 0);
    buf_init(&path, 1u << 16);
    buf_printf(&path, "/v2/%s/%s", k->name, escaped == NULL ? "" : escaped);
    curl_free(escaped);
    for (size_t i = AT; i < FILTERS; i++)
        add_filter(&path, params[i], filters[i]);
    cli_request(cli, "GET", path.data, NULL, &a);
    buf_fini(&path);
    int code = cli_failed(cli, &a);
    if (code == 0 && cli->output == CLI_JSON) {
        cli_print_json(a.body);
    } else if (code == 0) {
        json_t *rows = json_pack("[O]", a.body);
        print_any(cli, k, filters[FILTERS - 1], rows);
        json_decref(rows);
    }
    cli_answer_fini(&a);
    return code;
}

static int get_many(struct cli *cli, const struct kind *k, const char *const *filters)
{
    struct buf path;
    json_t *items = NULL;
    buf_init(&path, 1u << 16);
    buf_printf(&path, "/v2/%s", k->name);
    for (size_t i = 0; i < FILTERS; i++)
        add_filter(&path, params[i], filters[i]);
    int code = cli_get_all(cli, path.data, &items);
    if (code == 0 && cli->output == CLI_JSON) {
        json_t *all = json_pack("{s:O}", "items", items);
        cli_print_json(all);
        json_decref(all);
    } else if (code == 0) {
        print_any(cli, k, filters[FILTERS - 1], items);
    }
    json_decref(items);
    buf_fini(&path);
    return code;
}

int cli_get(struct cli *cli, int argc, char **argv)
{
    const char *filters[FILTERS] = {0};
    const char *what[2] = {0};
    const struct cli_option options[] = {{.name = "--status", .value = &filters[0]},
                                         {.name = "--cluster", .value = &filters[1]},
                                         {.name = "--instance", .value = &filters[2]},
                                         {.name = "--family", .value = &filters[3]},
                                         {.name = "--group", .value = &filters[4]},
                                         {.name = "--environment", .value = &filters[5]},
                                         {.name = "--started-by", .value = &filters[6]},
                                         {.name = "--zone", .value = &filters[7]},
                                         {.name = "--filter", .value = &filters[8]},
                                         {.name = "--sort", .value = &filters[9]},
                                         {.name = "--at", .value = &filters[AT]},
                                         {.name = "--consistency", .value = &filters[CONSISTENCY]},
                                         {.name = "--fields", .value = &filters[FILTERS - 1]},
                                         {0}};
    int n = cli_parse(cli, argc, argv, options, what, 2, USAGE);
    if (n < 0)
        return n == -1000 ? 0 : -n;
    const struct kind *k = find_kind(what[0]);
    if (k == NULL) {
        fprintf(stderr, "blox: get what? usage: blox %s\n", USAGE);
        return 2;
    }
    return what[1] != NULL ? get_one(cli, k, what[1], filters) : get_many(cli, k, filters);
}
