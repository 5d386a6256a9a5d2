/* SPDX-License-Identifier: Apache-2.0 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/cli/cli.h"

#define ANSWER_MAX (512u << 20)
#define RESTARTS_MAX 5 /* of a list whose moment went away between two pages */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    return buf_put(arg, data, size * n) == 0 ? size * n : 0;
}

static void make_url(const struct cli *cli, const char *path, struct buf *url)
{
    buf_init(url, 1u << 16);
    if (strncmp(cli->address, "unix:", 5) == 0) {
        buf_puts(url, "http://localhost");
    } else {
        if (strstr(cli->address, "://") == NULL)
            buf_puts(url, "http://");
        buf_puts(url, cli->address);
        while (url->len > 0 && url->data[url->len - 1] == '/')
            url->data[--url->len] = '\0';
    }
    buf_puts(url, path);
}

static struct curl_slist *make_headers(const struct cli *cli, const char *method, bool has_body)
{
    char text[640];
    unsigned char key[16];
    struct curl_slist *list = curl_slist_append(NULL, "Accept: application/json");
    if (has_body)
        list = curl_slist_append(list, "Content-Type: application/json");
    if (cli->token != NULL) {
        snprintf(text, sizeof text, "Authorization: Bearer %s", cli->token);
        list = curl_slist_append(list, text);
    }
    /* A repeat of this very request (curl's, a proxy's) does the work once. */
    if (strcmp(method, "GET") != 0 && getrandom(key, sizeof key, 0) == (ssize_t)sizeof key) {
        int n = snprintf(text, sizeof text, "Idempotency-Key: ");
        for (size_t i = 0; i < sizeof key; i++)
            n += snprintf(text + n, sizeof text - (size_t)n, "%02x", key[i]);
        list = curl_slist_append(list, text);
    }
    return list;
}

static void explain_unreachable(const struct cli *cli, CURLcode rc)
{
    fprintf(stderr,
            "blox: no agent answers at %s: %s\n"
            "Is bloxd running? Another address: --address or BLOX_ADDR.\n",
            cli->address, curl_easy_strerror(rc));
}

void cli_request(struct cli *cli, const char *method, const char *path, const json_t *body,
                 struct cli_answer *ret)
{
    struct buf url;
    struct buf text;
    long status = 0;
    *ret = (struct cli_answer){0};
    buf_init(&ret->raw, ANSWER_MAX);
    buf_init(&text, 1u << 20);
    make_url(cli, path, &url);
    CURL *curl = curl_easy_init();
    if (curl == NULL || url.err != 0)
        abort();
    struct curl_slist *headers = make_headers(cli, method, body != NULL);
    if (strncmp(cli->address, "unix:", 5) == 0)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, cli->address + 5);
    curl_easy_setopt(curl, CURLOPT_URL, url.data);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L); /* an id may be ".." */
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &ret->raw);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
    if (body != NULL && json_write(body, &text) == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)text.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, text.data);
    }
    CURLcode rc = curl_easy_perform(curl);
    if (rc == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    else
        explain_unreachable(cli, rc);
    ret->status = (int)status;
    if (ret->raw.len > 0)
        ret->body = json_parse_lenient(ret->raw.data, ret->raw.len, NULL);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    buf_fini(&url);
    buf_fini(&text);
}

void cli_answer_fini(struct cli_answer *a)
{
    json_decref(a->body);
    buf_fini(&a->raw);
    *a = (struct cli_answer){0};
}

/* What kind of problem: the last part of its type. */
static const char *slug_of(const struct cli_answer *a)
{
    const char *type = json_str_or(a->body, "type", "");
    const char *slash = strrchr(type, '/');
    return slash == NULL ? type : slash + 1;
}

int cli_failed(struct cli *cli, const struct cli_answer *a)
{
    if (a->status == 0)
        return err_exit_code(ERR_UNREACHABLE);
    if (a->status >= 200 && a->status < 300)
        return 0;
    int err = err_from_slug(slug_of(a));
    if (cli->output == CLI_JSON && a->body != NULL) {
        cli_print_json(a->body);
    } else {
        const char *detail = json_str_or(a->body, "detail", json_str_or(a->body, "title", ""));
        fprintf(stderr, "blox: %s\n", detail[0] == '\0' ? err_text(err) : detail);
        const char *hint = json_str(a->body, "hint");
        if (hint != NULL)
            fprintf(stderr, "      %s\n", hint);
    }
    if (a->status == 404)
        return 3;
    return a->status == 401 || a->status == 403 ? 7 : err_exit_code(err);
}

static int add_page(struct cli_answer *a, json_t *items, struct buf *token)
{
    const json_t *page = json_arr(a->body, "items");
    const char *next = json_str(a->body, "next_token");
    if (page == NULL) {
        fprintf(stderr, "blox: the agent's answer has no items; is it another version?\n");
        return 1;
    }
    json_array_extend(items, (json_t *)(uintptr_t)page);
    buf_clear(token);
    if (next != NULL) {
        char *escaped = curl_easy_escape(NULL, next, 0);
        buf_puts(token, escaped == NULL ? "" : escaped);
        curl_free(escaped);
    }
    return 0;
}

int cli_get_all(struct cli *cli, const char *path, json_t **ret_items)
{
    struct buf token;
    struct buf url;
    int code = 0;
    unsigned restarts = 0;
    bool more = true;
    json_t *items = json_array();
    buf_init(&token, 1u << 16);
    buf_init(&url, 1u << 16);
    while (more) {
        struct cli_answer a;
        buf_clear(&url);
        buf_printf(&url, "%s%c%s", path, strchr(path, '?') == NULL ? '?' : '&', "limit=1000");
        if (token.len > 0)
            buf_printf(&url, "&next_token=%s", token.data);
        cli_request(cli, "GET", url.data, NULL, &a);
        if (token.len > 0 && strcmp(slug_of(&a), "page-expired") == 0 &&
            restarts++ < RESTARTS_MAX) {
            /* All pages show one moment, which an agent does not keep for ever. */
            json_array_clear(items);
            buf_clear(&token);
        } else {
            code = cli_failed(cli, &a);
            if (code == 0)
                code = add_page(&a, items, &token);
            more = code == 0 && token.len > 0;
        }
        cli_answer_fini(&a);
    }
    buf_fini(&token);
    buf_fini(&url);
    if (code != 0) {
        json_decref(items);
        items = NULL;
    }
    *ret_items = items;
    return code;
}
