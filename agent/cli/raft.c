/* SPDX-License-Identifier: Apache-2.0
 * blox raft recover and blox raft rejoin: the operator's word after a lost quorum. */
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

#define USAGE "raft recover|rejoin [--force]"

int cli_raft(struct cli *cli, int argc, char **argv)
{
    const char *word = NULL;
    bool force = false;
    struct cli_answer a;
    const struct cli_option options[] = {{.name = "--force", .flag = &force}, {0}};
    int n = cli_parse(cli, argc, argv, options, &word, 1, USAGE);
    if (n < 0)
        return n == -1000 ? 0 : -n;
    bool recover = n == 1 && strcmp(word, "recover") == 0;
    if (!recover && (n != 1 || strcmp(word, "rejoin") != 0)) {
        fprintf(
            stderr,
            "usage: blox %s\n\n"
            "  recover   the other voters are gone for good: start a new cluster from what this "
            "agent\n            and gossip know. On one agent only.\n"
            "  rejoin    this agent was a voter of a cluster that was recovered elsewhere: "
            "forget\n            its raft log and join the recovered one; with --force one of two "
            "clusters\n            that met (blox status) is given up so, on each of its agents\n",
            USAGE);
        return 2;
    }
    json_t *body = json_pack("{s:b}", "force", force);
    cli_request(cli, "POST", recover ? "/v2/raft/recover" : "/v2/raft/rejoin", body, &a);
    json_decref(body);
    int code = cli_failed(cli, &a);
    if (code == 0 && cli->output == CLI_JSON && a.body != NULL)
        cli_print_json(a.body);
    else if (code == 0 && recover)
        printf("recovered as cluster %s; other agents join by themselves (blox status)\n",
               json_str_or(a.body, "cluster_id", "?"));
    else if (code == 0)
        printf("forgotten; this agent joins the recovered cluster by itself (blox status)\n");
    cli_answer_fini(&a);
    return code;
}
