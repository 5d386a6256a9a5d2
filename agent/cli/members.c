/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "agent/cli/cli.h"

static void add_member(struct cli_table *t, const json_t *m)
{
    char rtt[24] = "-";
    int64_t us = json_int_or(m, "rtt_us", 0);
    if (us > 0)
        snprintf(rtt, sizeof rtt, "%.1fms", (double)us / 1000.0);
    cli_table_add(t, json_str(m, "id"));
    cli_table_add(t, json_str(m, "address"));
    cli_table_add(t, json_str(m, "state"));
    cli_table_add(t, json_bool_or(m, "leader", false) ? "leader" : json_str(m, "role"));
    cli_table_add(t, json_str(m, "zone"));
    cli_table_add(t, rtt);
    cli_table_add(t, json_str(m, "version"));
}

int cli_members(struct cli *cli, int argc, char **argv)
{
    static const struct cli_option none[] = {{0}};
    static const char *const titles[] = {"ID",   "ADDRESS", "STATE",  "ROLE",
                                         "ZONE", "RTT",     "VERSION"};
    struct cli_answer a;
    int n = cli_parse(cli, argc, argv, none, NULL, 0, "members [-o table|json]");
    if (n < 0)
        return n == -1000 ? 0 : -n;
    cli_request(cli, "GET", "/v2/members", NULL, &a);
    int code = cli_failed(cli, &a);
    if (code == 0 && cli->output == CLI_JSON) {
        cli_print_json(a.body);
    } else if (code == 0) {
        struct cli_table t;
        size_t i;
        json_t *m;
        cli_table_init(&t, titles, 7);
        json_array_foreach(json_arr(a.body, "items"), i, m) add_member(&t, m);
        cli_table_print(&t);
        cli_table_fini(&t);
    }
    cli_answer_fini(&a);
    return code;
}
