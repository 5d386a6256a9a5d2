/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

static int take_output(struct cli *cli, const char *text)
{
    static const char *const names[] = {"table", "wide", "json"};
    for (int i = 0; text != NULL && i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            cli->output = (enum cli_output)i;
            return 0;
        }
    }
    fprintf(stderr, "blox: -o must be table, wide or json\n");
    return -2;
}

static const struct cli_option *find(const struct cli_option *options, const char *name, size_t n)
{
    for (const struct cli_option *o = options; o->name != NULL; o++) {
        if (strlen(o->name) == n && strncmp(o->name, name, n) == 0)
            return o;
    }
    return NULL;
}

/* Returns how many further arguments were used, or a negative exit code. */
static int take_option(const struct cli_option *o, const char *text, const char *inline_value,
                       const char *next)
{
    if (o->flag != NULL) {
        if (inline_value != NULL) {
            fprintf(stderr, "blox: %s takes no value\n", o->name);
            return -2;
        }
        *o->flag = true;
        return 0;
    }
    const char *value = inline_value != NULL ? inline_value : next;
    if (value == NULL) {
        fprintf(stderr, "blox: %s needs a value\n", text);
        return -2;
    }
    if (o->values == NULL) {
        *o->value = value;
    } else if (*o->count < o->values_max) {
        o->values[(*o->count)++] = value;
    } else {
        fprintf(stderr, "blox: %s may be given at most %zu times\n", o->name, o->values_max);
        return -2;
    }
    return inline_value == NULL;
}

int cli_parse(struct cli *cli, int argc, char **argv, const struct cli_option *options,
              const char **positional, int max, const char *usage)
{
    int count = 0;
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];
        const char *next = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(text, "-h") == 0 || strcmp(text, "--help") == 0) {
            printf("usage: blox %s\n", usage);
            return -1000;
        }
        if (strcmp(text, "-o") == 0 || strncmp(text, "-o", 2) == 0) {
            bool joined = text[2] != '\0';
            if (take_output(cli, joined ? text + 2 : next) != 0)
                return -2;
            i += !joined;
            continue;
        }
        if (text[0] == '-' && text[1] != '\0') {
            size_t n = strcspn(text, "=");
            const struct cli_option *o = find(options, text, n);
            if (o == NULL) {
                fprintf(stderr, "blox: unknown option %s\nusage: blox %s\n", text, usage);
                return -2;
            }
            int used = take_option(o, text, text[n] == '=' ? text + n + 1 : NULL, next);
            if (used < 0)
                return used;
            i += used;
        } else if (count < max) {
            positional[count++] = text;
        } else {
            fprintf(stderr, "blox: what is \"%s\"?\nusage: blox %s\n", text, usage);
            return -2;
        }
    }
    return count;
}
