/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "agent/cli/cli.h"

#define AWAY_SHOWN 5u
#define FILE_MAX 16384u

static const char usage[] =
    "keys list | install FILE|- | use ID | remove ID [-o table|json]\n\n"
    "A rotation: blox keygen > new.key; blox keys install new.key; blox keys use ID;\n"
    "blox keys remove OLD-ID. Give new instances the new key before removing the old one.";

/* The key of a file's only line that is no note, of at most FILE_MAX bytes: /dev/zero has no end.
 * The file's content is never shown. */
static int take_key(const char *path, char *text, char *out, size_t size)
{
    size_t count = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\r\n", &save); line != NULL;
         line = strtok_r(NULL, "\r\n", &save)) {
        line += strspn(line, " \t");
        size_t len = strcspn(line, " \t#");
        if (len > 0 && count++ == 0)
            snprintf(out, size, "%.*s", (int)len, line);
    }
    if (count == 0)
        fprintf(stderr, "blox: %s holds no key; make one with: blox keygen\n", path);
    else if (count > 1)
        fprintf(stderr, "blox: %s has %zu keys; install one at a time\n", path, count);
    else if (strspn(out, "0") == 64 || strspn(out, "A") == 43)
        fprintf(stderr, "blox: the key in %s is all zeros; make one with: blox keygen\n", path);
    else
        return 0;
    return 2;
}

static int read_key(const char *path, char *out, size_t size)
{
    char text[FILE_MAX + 1];
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    size_t n = f == NULL ? 0 : fread(text, 1, FILE_MAX, f);
    bool ok = f != NULL && ferror(f) == 0;
    text[n] = '\0';
    if (f != NULL && f != stdin)
        fclose(f);
    if (!ok)
        fprintf(stderr, "blox: cannot read %s\n", path);
    int code = ok ? take_key(path, text, out, size) : 2;
    explicit_bzero(text, sizeof text);
    return code;
}

static void print_keys(const json_t *body)
{
    static const char *const titles[] = {"ID", "MEMBERS", "SEALING"};
    struct cli_table t;
    size_t i;
    json_t *k;
    char text[48];
    long long all = (long long)json_int_or(body, "members", 0);
    cli_table_init(&t, titles, 3);
    json_array_foreach(json_arr(body, "keys"), i, k)
    {
        cli_table_add(&t, json_str(k, "id"));
        snprintf(text, sizeof text, "%lld of %lld", (long long)json_int_or(k, "members", 0), all);
        cli_table_add(&t, text);
        snprintf(text, sizeof text, "%lld", (long long)json_int_or(k, "sealing", 0));
        cli_table_add(&t, text);
    }
    cli_table_print(&t);
    cli_table_fini(&t);
}

static int show(struct cli *cli, const struct cli_answer *a, bool list)
{
    int code = cli_failed(cli, a);
    if (code != 0)
        return code;
    const json_t *missing = json_arr(a->body, "missing");
    if (cli->output == CLI_JSON) {
        cli_print_json(a->body);
    } else {
        if (list)
            print_keys(a->body);
        else
            printf("%s: %lld of %lld members acknowledged\n", json_str_or(a->body, "id", "?"),
                   (long long)json_int_or(a->body, "acknowledged", 0),
                   (long long)json_int_or(a->body, "members", 0));
        for (size_t i = 0; i < json_array_size(missing); i++) {
            const json_t *m = json_array_get(missing, i);
            printf("%s: %s\n", json_str_or(m, "id", "?"), json_str_or(m, "why", "?"));
        }
        const json_t *away = json_arr(a->body, "away");
        for (size_t i = 0; !list && i < json_array_size(away) && i < AWAY_SHOWN; i++)
            printf("%s is failed: it gets in again when its gossip.key_file has the key that seals "
                   "and it was restarted\n",
                   json_string_value(json_array_get(away, i)));
        if (!list && json_array_size(away) > AWAY_SHOWN)
            printf("and %zu more\n", json_array_size(away) - AWAY_SHOWN);
    }
    return json_array_size(missing) == 0 ? 0 : 1;
}

int cli_keys(struct cli *cli, int argc, char **argv)
{
    static const struct cli_option none[] = {{0}};
    const char *words[2] = {"", ""};
    char key[256] = "", path[64];
    struct cli_answer a;
    int n = cli_parse(cli, argc, argv, none, words, 2, usage);
    if (n < 0)
        return n == -1000 ? 0 : -n;
    bool id_ok = strlen(words[1]) == 16 && strspn(words[1], "0123456789abcdef") == 16;
    if (n == 1 && strcmp(words[0], "list") == 0) {
        cli_request(cli, "GET", "/v2/keys", NULL, &a);
    } else if (n == 2 && strcmp(words[0], "install") == 0) {
        int code = read_key(words[1], key, sizeof key);
        if (code != 0)
            return code;
        json_t *body = json_object();
        json_set_str(body, "key", key);
        explicit_bzero(key, sizeof key);
        cli_request(cli, "POST", "/v2/keys", body, &a);
        json_decref(body);
    } else if (n == 2 && id_ok && strcmp(words[0], "use") == 0) {
        snprintf(path, sizeof path, "/v2/keys/%s/use", words[1]);
        cli_request(cli, "POST", path, NULL, &a);
    } else if (n == 2 && id_ok && strcmp(words[0], "remove") == 0) {
        snprintf(path, sizeof path, "/v2/keys/%s", words[1]);
        cli_request(cli, "DELETE", path, NULL, &a);
    } else {
        fprintf(stderr, "usage: blox %s\n", usage);
        return 2;
    }
    int code = show(cli, &a, strcmp(words[0], "list") == 0);
    cli_answer_fini(&a);
    return code;
}
