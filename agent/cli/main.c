/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/cli/cli.h"

#define SOCKET_DEFAULT "/run/blox/blox.sock"

static const struct {
    const char *name;
    cli_verb_fn fn;
    const char *usage;
    const char *what;
} verbs[] = {
    {"status", cli_status, "status", "this agent, its cluster and what is wrong"},
    {"members", cli_members, "members [why ID]", "the agents and their state; why it is so"},
    {"propagate", cli_propagate, "propagate [--count K] [--bytes N]",
     "how fast records reach every agent"},
    {"get", cli_get, "get KIND [ID]", "instances, tasks, environments, deployments or decisions"},
    {"environment", cli_environment, "environment create|update|delete NAME ...",
     "daemons: what is to run where"},
    {"deploy", cli_deploy, "deploy NAME [--task-definition T] [--wait]",
     "put an environment on its instances"},
    {"keys", cli_keys, "keys list|install FILE|use ID|remove ID", "rotate the gossip keys"},
    {"backup", cli_backup, "backup > FILE", "environments and deployments, as one document"},
    {"restore", cli_restore, "restore FILE [--force]", "put a backup's environments back"},
    {"raft", cli_raft, "raft recover|rejoin [--force]", "after a majority of voters was lost"},
    {"keygen", cli_keygen, "keygen", "print a new gossip key"},
    {"dev", cli_dev, "dev [--agents N] [--instances N]", "a whole local cluster, without AWS"},
};
#define VERB_COUNT (sizeof verbs / sizeof verbs[0])

static void print_help(void)
{
    printf("blox %s: ECS daemons and cluster state, from any agent\n\nusage:\n", BLOX_VERSION);
    for (size_t i = 0; i < VERB_COUNT; i++)
        printf("  blox %-52s %s\n", verbs[i].usage, verbs[i].what);
    printf("\noptions of every verb:\n"
           "  --address A        unix:/path or http://host:port (BLOX_ADDR; default: the agent's "
           "socket,\n                     else http://127.0.0.1:7380)\n"
           "  --token-file F     bearer token for TCP (BLOX_TOKEN_FILE)\n"
           "  -o table|wide|json form of the answer (BLOX_OUTPUT)\n"
           "  -h, --help         of a verb: its options\n\n"
           "exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 agent not reachable,\n"
           "5 time-out or no leader, 6 conflict, 7 not permitted, 8 rollout failed\n");
}

static const char *default_address(void)
{
    const char *address = getenv("BLOX_ADDR");
    if (address != NULL && address[0] != '\0')
        return address;
    return access(SOCKET_DEFAULT, R_OK | W_OK) == 0 ? "unix:" SOCKET_DEFAULT
                                                    : "http://127.0.0.1:7380";
}

static void find_program_dir(char out[PATH_MAX])
{
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    out[n < 0 ? 0 : n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash != NULL)
        *slash = '\0';
}

/* Options before the verb. Returns the index of the verb, or a negative exit code. */
static int global_options(struct cli *cli, int argc, char **argv)
{
    const char *token_file = getenv("BLOX_TOKEN_FILE");
    const char *output = getenv("BLOX_OUTPUT");
    int i = 1;
    cli->address = default_address();
    cli->token = getenv("BLOX_TOKEN");
    if (output != NULL && cli_set_output(cli, output) != 0)
        return -2;
    if (token_file != NULL && token_file[0] != '\0' && cli_set_token_file(cli, token_file) != 0)
        return -2;
    while (i < argc && argv[i][0] == '-' && strcmp(argv[i], "-h") != 0 &&
           strcmp(argv[i], "--help") != 0 && strcmp(argv[i], "--version") != 0) {
        int used = cli_common_option(cli, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (used < 0)
            return used;
        if (used == 0) {
            fprintf(stderr, "blox: unknown option %s, or its value is missing (blox --help)\n",
                    argv[i]);
            return -2;
        }
        i += used;
    }
    return i;
}

int main(int argc, char **argv)
{
    static char dir[PATH_MAX];
    struct cli cli = {0};
    find_program_dir(dir);
    cli.program_dir = dir;
    int at = global_options(&cli, argc, argv);
    if (at < 0)
        return -at;
    if (at >= argc || strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0 ||
        strcmp(argv[at], "help") == 0) {
        print_help();
        return at >= argc ? 2 : 0;
    }
    if (strcmp(argv[at], "--version") == 0 || strcmp(argv[at], "version") == 0) {
        printf("blox %s\n", BLOX_VERSION);
        return 0;
    }
    for (size_t i = 0; i < VERB_COUNT; i++) {
        if (strcmp(argv[at], verbs[i].name) == 0)
            return verbs[i].fn(&cli, argc - at - 1, argv + at + 1);
    }
    fprintf(stderr, "blox: there is no verb \"%s\" (blox --help lists all)\n", argv[at]);
    return 2;
}
