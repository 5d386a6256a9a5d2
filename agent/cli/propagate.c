/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "agent/cli/cli.h"

static bool add_number(json_t *body, const char *option, const char *member, const char *text)
{
    char *end;
    if (text == NULL)
        return true;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || value < 0) {
        fprintf(stderr, "blox: %s must be a whole number, not \"%s\"\n", option, text);
        return false;
    }
    json_set_int(body, member, value);
    return true;
}

static void print_table(const json_t *body)
{
    static const char *const titles[] = {"ID", "MS"};
    struct cli_table t;
    size_t i;
    json_t *m;
    cli_table_init(&t, titles, 2);
    json_array_foreach(json_arr(body, "members"), i, m)
    {
        char text[32] = "missing";
        if (json_is_number(json_object_get(m, "ms")))
            snprintf(text, sizeof text, "%.1f", json_num_or(m, "ms", 0));
        cli_table_add(&t, json_str(m, "id"));
        cli_table_add(&t, text);
    }
    cli_table_print(&t);
    cli_table_fini(&t);
}

int cli_propagate(struct cli *cli, int argc, char **argv)
{
    const char *count = NULL, *bytes = NULL, *timeout = NULL;
    const struct cli_option options[] = {{.name = "--count", .value = &count},
                                         {.name = "--bytes", .value = &bytes},
                                         {.name = "--timeout-ms", .value = &timeout},
                                         {0}};
    struct cli_answer a;
    int n = cli_parse(cli, argc, argv, options, NULL, 0,
                      "propagate [--count K] [--bytes N] [--timeout-ms T] [-o table|wide|json]");
    if (n < 0)
        return n == -1000 ? 0 : -n;
    json_t *body = json_object();
    if (!add_number(body, "--count", "count", count) ||
        !add_number(body, "--bytes", "bytes", bytes) ||
        !add_number(body, "--timeout-ms", "timeout_ms", timeout)) {
        json_decref(body);
        return 2;
    }
    cli_request(cli, "POST", "/v2/agent/propagate", body, &a);
    json_decref(body);
    int code = cli_failed(cli, &a);
    if (code == 0 && cli->output == CLI_JSON)
        cli_print_json(a.body);
    if (code == 0 && cli->output == CLI_WIDE)
        print_table(a.body);
    if (code == 0 && cli->output != CLI_JSON) {
        size_t all = json_array_size(json_arr(a.body, "members"));
        size_t missing = json_array_size(json_arr(a.body, "missing"));
        printf("%lld records of %lld bytes: %zu of %zu members have all",
               (long long)json_int_or(a.body, "count", 0),
               (long long)json_int_or(a.body, "bytes", 0), all - missing, all);
        if (all > missing)
            printf("; p50 %.1f ms, p99 %.1f ms, last %.1f ms", json_num_or(a.body, "p50_ms", 0),
                   json_num_or(a.body, "p99_ms", 0), json_num_or(a.body, "last_ms", 0));
        printf("\n");
        for (size_t i = 0; i < missing; i++)
            printf("missing: %s\n",
                   json_string_value(json_array_get(json_arr(a.body, "missing"), i)));
    }
    if (code == 0 && !json_bool_or(a.body, "all", false))
        code = err_exit_code(ERR_TIMEOUT);
    cli_answer_fini(&a);
    return code;
}
