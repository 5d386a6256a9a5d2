/* SPDX-License-Identifier: Apache-2.0
 * blox backup > FILE and blox restore FILE. A backup is one JSON document with a digest; restoring
 * sends it in parts that fit a log entry, each as good as a whole: an interrupted restore is
 * simply done again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/sha256.h"
#include "agent/cli/cli.h"

#define PART_BYTES 40000u /* of 65,536 that a log entry takes */
#define FILE_MAX (64u << 20)

static bool is_sound(const json_t *doc)
{
    uint8_t digest[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];
    char *bytes = json_dumps(json_object_get(doc, "environments"), JSON_COMPACT | JSON_SORT_KEYS);
    if (bytes == NULL || strcmp(json_str_or(doc, "kind", ""), "blox-intent") != 0) {
        free(bytes);
        return false;
    }
    sha256(bytes, strlen(bytes), digest);
    free(bytes);
    for (size_t i = 0; i < SHA256_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return strcmp(text, json_str_or(doc, "sha256", "")) == 0;
}

int cli_backup(struct cli *cli, int argc, char **argv)
{
    static const struct cli_option none[] = {{0}};
    struct cli_answer a;
    int n = cli_parse(cli, argc, argv, none, NULL, 0, "backup > FILE");
    if (n < 0)
        return n == -1000 ? 0 : -n;
    cli_request(cli, "GET", "/v2/intent", NULL, &a);
    int code = cli_failed(cli, &a);
    if (code == 0 && !is_sound(a.body)) {
        fprintf(stderr, "blox: the agent's answer is not a whole backup; nothing was written\n");
        code = 1;
    }
    if (code == 0 && (json_dumpf(a.body, stdout, JSON_INDENT(1)) != 0 || putchar('\n') == EOF ||
                      fflush(stdout) != 0)) {
        fprintf(stderr, "blox: the backup could not be written\n");
        code = 1;
    }
    cli_answer_fini(&a);
    return code;
}

/* ---- restore --------------------------------------------------------------------------- */

static int read_file(const char *path, json_t **ret)
{
    struct errmsg e = {{0}};
    struct buf b;
    char block[65536];
    size_t n;
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    *ret = NULL;
    if (f == NULL) {
        fprintf(stderr, "blox: cannot read %s\n", path);
        return 1;
    }
    buf_init(&b, FILE_MAX);
    while ((n = fread(block, 1, sizeof block, f)) > 0 && buf_put(&b, block, n) == 0)
        ;
    bool bad = ferror(f) || b.err != 0;
    if (f != stdin)
        fclose(f);
    *ret = bad ? NULL : json_parse_lenient(b.data, b.len, &e);
    buf_fini(&b);
    if (*ret != NULL && is_sound(*ret) && json_int_or(*ret, "format", 0) == 1)
        return 0;
    if (*ret != NULL && json_int_or(*ret, "format", 1) != 1)
        fprintf(stderr, "blox: %s is of a newer format; use a newer blox\n", path);
    else
        fprintf(stderr,
                "blox: %s is no whole backup (it was cut or changed, or is something else); "
                "nothing was restored\n",
                path);
    json_decref(*ret);
    *ret = NULL;
    return 1;
}

static int send_part(struct cli *cli, const json_t *doc, json_t *part, bool force)
{
    struct cli_answer a;
    json_t *body = json_copy((json_t *)(uintptr_t)doc);
    json_object_set_new(body, "environments", part);
    json_object_del(body, "sha256"); /* of the whole */
    cli_request(cli, "PUT", force ? "/v2/intent?force=true" : "/v2/intent", body, &a);
    json_decref(body);
    int code = cli_failed(cli, &a);
    cli_answer_fini(&a);
    return code;
}

static size_t size_of(const json_t *j)
{
    return json_dumpb(j, NULL, 0, JSON_COMPACT);
}

/* One environment: its row with as many deployments as fit, then again with the next. */
static int send_environment(struct cli *cli, const json_t *doc, const json_t *one, bool force)
{
    const json_t *deployments = json_arr(one, "deployments");
    size_t count = json_array_size(deployments), next = 0;
    int code = 0;
    do {
        json_t *list = json_array();
        size_t bytes = size_of(json_object_get(one, "row"));
        while (next < count) {
            json_t *dep = json_array_get(deployments, next);
            size_t more = size_of(dep);
            if (json_array_size(list) > 0 && bytes + more > PART_BYTES)
                break;
            bytes += more;
            json_array_append(list, dep);
            next++;
        }
        json_t *part = json_array();
        json_array_append_new(
            part, json_pack("{s:O,s:o}", "row", json_object_get(one, "row"), "deployments", list));
        code = send_part(cli, doc, part, force);
    } while (code == 0 && next < count);
    return code;
}

int cli_restore(struct cli *cli, int argc, char **argv)
{
    const char *path = NULL;
    bool force = false;
    json_t *doc;
    const struct cli_option options[] = {{.name = "--force", .flag = &force}, {0}};
    int n = cli_parse(cli, argc, argv, options, &path, 1, "restore FILE [--force]");
    if (n < 0)
        return n == -1000 ? 0 : -n;
    if (n != 1) {
        fprintf(stderr, "usage: blox restore FILE [--force]\n");
        return 2;
    }
    int code = read_file(path, &doc);
    if (code != 0)
        return code;
    const json_t *environments = json_arr(doc, "environments");
    size_t count = json_array_size(environments), done = 0;
    for (; done < count && code == 0; done += code == 0)
        code = send_environment(cli, doc, json_array_get(environments, done), force);
    if (code == 0)
        printf("%zu environments restored from %s of %s\n", done, path,
               json_str_or(doc, "created_at", "?"));
    else if (done > 0)
        fprintf(stderr, "blox: %zu of %zu environments were restored; run it again\n", done, count);
    json_decref(doc);
    return code;
}
