/* SPDX-License-Identifier: Apache-2.0
 * The blox command: what all verbs share. One file a verb; each is a function that takes its own
 * arguments and returns an exit code:
 *   0 done, 1 failed, 2 wrong usage, 3 not found, 4 agent not reachable, 5 time-out or no leader,
 *   6 conflict, 7 not permitted, 8 rollout failed, 130 interrupted. */
#ifndef BLOX_CLI_CLI_H
#define BLOX_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/json.h"

enum cli_output { CLI_TABLE, CLI_WIDE, CLI_JSON };

struct cli {
    const char *address; /* "http://127.0.0.1:7380" or "unix:/run/blox/blox.sock" */
    const char *token;   /* or NULL */
    char token_memory[512];
    enum cli_output output;
    const char *program_dir; /* where bloxd and blox-devcloud lie */
};

typedef int (*cli_verb_fn)(struct cli *cli, int argc, char **argv);

int cli_status(struct cli *cli, int argc, char **argv);
int cli_members(struct cli *cli, int argc, char **argv);
int cli_get(struct cli *cli, int argc, char **argv);
int cli_environment(struct cli *cli, int argc, char **argv);
int cli_deploy(struct cli *cli, int argc, char **argv);
int cli_propagate(struct cli *cli, int argc, char **argv);
int cli_keys(struct cli *cli, int argc, char **argv);
int cli_backup(struct cli *cli, int argc, char **argv);
int cli_restore(struct cli *cli, int argc, char **argv);
int cli_raft(struct cli *cli, int argc, char **argv);
int cli_keygen(struct cli *cli, int argc, char **argv);
int cli_dev(struct cli *cli, int argc, char **argv);

/* ---- arguments ----------------------------------------------------------------------- */

/* One option of a verb; value NULL for a flag. Repeats append to `values` if given. */
struct cli_option {
    const char *name;   /* "--cluster" */
    const char **value; /* takes an argument */
    bool *flag;
    const char **values; /* takes an argument, may repeat up to values_max */
    size_t *count;
    size_t values_max;
};
/* An option of every verb: --address, --token-file, -o. Returns how many arguments it took, 0 if it
 * is none of them, or a negative exit code. */
int cli_common_option(struct cli *cli, const char *text, const char *next);
int cli_set_output(struct cli *cli, const char *text);     /* 0, or a negative exit code */
int cli_set_token_file(struct cli *cli, const char *path); /* likewise */
/* Sorts positional arguments into `positional` (up to max). Understands -o and -h of every verb.
 * Returns their number or a negative exit code (the message is printed). */
int cli_parse(struct cli *cli, int argc, char **argv, const struct cli_option *options,
              const char **positional, int max, const char *usage);

/* ---- talking to the agent -------------------------------------------------------------- */

struct cli_answer {
    int status;   /* HTTP; 0: no answer, the message is printed */
    json_t *body; /* NULL if not JSON */
    struct buf raw;
};
/* path starts with '/'; body may be NULL. Prints nothing but for an unreachable agent. */
void cli_request(struct cli *cli, const char *method, const char *path, const json_t *body,
                 struct cli_answer *ret);
void cli_answer_fini(struct cli_answer *a);
/* 0 if the answer is a success, else prints the error (as JSON on stdout with -o json) and returns
 * the exit code. */
int cli_failed(struct cli *cli, const struct cli_answer *a);
/* GET all pages; items of all joined. 0 or an exit code. */
int cli_get_all(struct cli *cli, const char *path, json_t **ret_items);

/* ---- printing ---------------------------------------------------------------------------- */

void cli_print_json(const json_t *value);

#define CLI_COLUMNS_MAX 12
struct cli_table {
    size_t columns;
    const char *title[CLI_COLUMNS_MAX];
    char **cells; /* rows * columns */
    size_t rows;
    size_t room;
};
void cli_table_init(struct cli_table *t, const char *const *titles, size_t columns);
/* text may be NULL (prints "-"). Control characters are made harmless. */
void cli_table_add(struct cli_table *t, const char *text);
void cli_table_print(const struct cli_table *t);
void cli_table_fini(struct cli_table *t);

const char *cli_short_arn(const char *arn);             /* behind the last '/' */
const char *cli_age(const char *rfc3339, char out[24]); /* "3m12s" since then; "-" */

#endif
