/* SPDX-License-Identifier: Apache-2.0
 * One screen: who answers, who leads, what is wrong. Works without a leader. */
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

static void line(const char *name, const char *value)
{
    if (value != NULL)
        printf("%-12s %s\n", name, value);
}

static void print_members(const json_t *members)
{
    unsigned alive = 0;
    unsigned total = 0;
    size_t i;
    json_t *m;
    json_array_foreach(json_arr(members, "items"), i, m)
    {
        const char *state = json_str_or(m, "state", "");
        total++;
        alive += strcmp(state, "alive") == 0 || strcmp(state, "degraded") == 0;
    }
    printf("%-12s %u alive of %u\n", "members", alive, total);
}

static void print_voters(const json_t *leader)
{
    size_t i;
    json_t *v;
    const json_t *voters = json_arr(leader, "voters");
    if (json_array_size(voters) == 0)
        return;
    printf("%-12s", "voters");
    json_array_foreach(voters, i, v)
        printf(" %s", json_is_string(v) ? json_string_value(v) : json_str_or(v, "id", "?"));
    putchar('\n');
    if (json_str_or(leader, "trouble", "")[0] != '\0')
        line("", json_str(leader, "trouble"));
}

static void print_agent(const json_t *a)
{
    char age[24];
    const json_t *store = json_obj(a, "store");
    const json_t *queue = json_obj(json_obj(a, "intake"), "queue");
    line("agent", json_str_or(a, "id", "(not known yet)"));
    line("cluster", json_str(a, "cluster"));
    line("state", json_str(a, "state"));
    line("why", json_str(a, "why"));
    line("leader", json_str_or(a, "leader", "none"));
    bool complete = json_str(a, "complete_at") != NULL;
    printf("%-12s %s%s\n", "complete",
           complete ? cli_age(json_str(a, "complete_at"), age) : "not yet", complete ? " ago" : "");
    printf("%-12s %lld rows, %lld tombstones\n", "store", (long long)json_int_or(store, "rows", 0),
           (long long)json_int_or(store, "tombstones", 0));
    if (json_bool_or(a, "leading", false) && json_str(queue, "url") != NULL)
        printf("%-12s %s, %lld received, lag %lld ms\n", "queue", json_str(queue, "url"),
               (long long)json_int_or(queue, "received", 0),
               (long long)json_int_or(queue, "lag_ms", 0));
    printf("%-12s %s, up %s\n", "version", json_str_or(a, "version", "?"),
           cli_age(json_str(a, "started_at"), age));
}

int cli_status(struct cli *cli, int argc, char **argv)
{
    static const struct cli_option none[] = {{0}};
    struct cli_answer agent;
    struct cli_answer members;
    struct cli_answer leader;
    int n = cli_parse(cli, argc, argv, none, NULL, 0, "status [-o table|json]");
    if (n < 0)
        return n == -1000 ? 0 : -n;
    cli_request(cli, "GET", "/v2/agent", NULL, &agent);
    int code = cli_failed(cli, &agent);
    if (code != 0) {
        cli_answer_fini(&agent);
        return code;
    }
    cli_request(cli, "GET", "/v2/members", NULL, &members);
    cli_request(cli, "GET", "/v2/leader", NULL, &leader);
    if (cli->output == CLI_JSON) {
        json_t *all = json_pack("{s:O?, s:O?, s:O?}", "agent", agent.body, "members", members.body,
                                "leader", leader.body);
        cli_print_json(all);
        json_decref(all);
    } else {
        print_agent(agent.body);
        print_members(members.body);
        print_voters(leader.body);
    }
    cli_answer_fini(&agent);
    cli_answer_fini(&members);
    cli_answer_fini(&leader);
    return 0;
}
