/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

int cli_set_output(struct cli *cli, const char *text)
{
    static const char *const names[] = {"table", "wide", "json"};
    for (int i = 0; text != NULL && i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            cli->output = (enum cli_output)i;
            return 0;
        }
    }
    fprintf(stderr, "blox: output must be table, wide or json%s%s\n", text == NULL ? "" : ", not ",
            text == NULL ? "" : text);
    return -2;
}

int cli_set_token_file(struct cli *cli, const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL || fgets(cli->token_memory, sizeof cli->token_memory, f) == NULL) {
        fprintf(stderr, "blox: cannot read the token file %s\n", path);
        if (f != NULL)
            fclose(f);
        return -2;
    }
    fclose(f);
    cli->token_memory[strcspn(cli->token_memory, "\r\n")] = '\0';
    cli->token = cli->token_memory;
    return 0;
}

/* The value of an option given as "NAME VALUE", "NAME=VALUE" or, of one letter, "-oVALUE". NULL if
 * it has none. */
static const char *value_of(const char *text, size_t name_len, const char *next)
{
    if (text[name_len] == '\0')
        return next;
    return text + name_len + (text[name_len] == '=' ? 1 : 0);
}

int cli_common_option(struct cli *cli, const char *text, const char *next)
{
    size_t n = strncmp(text, "-o", 2) == 0 ? 2 : strcspn(text, "=");
    const char *value = value_of(text, n, next);
    int err = 0;
    if (n == 2 && text[1] == 'o') {
        err = cli_set_output(cli, value);
    } else if (n == 9 && strncmp(text, "--address", n) == 0 && value != NULL) {
        cli->address = value;
    } else if (n == 12 && strncmp(text, "--token-file", n) == 0 && value != NULL) {
        err = cli_set_token_file(cli, value);
    } else {
        return 0;
    }
    return err != 0 ? err : text[n] == '\0' ? 2 : 1;
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
        int common = cli_common_option(cli, text, next);
        if (common < 0)
            return common;
        if (common > 0) {
            i += common - 1;
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
