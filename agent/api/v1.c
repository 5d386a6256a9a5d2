/* SPDX-License-Identifier: Apache-2.0
 * Routes of /v1 as Blox's router had them: a wrong method or form of a path is no page at all,
 * doubled and trailing slashes redirect. */
#include "agent/api/v1.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum MHD_Result v1_errorf(struct request *r, unsigned status, const char *format, ...)
{
    struct buf b;
    char text[2 * API_URI_MAX]; /* names in the path come back in sentences */
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    buf_init(&b, sizeof text + 1);
    buf_puts(&b, text);
    buf_putc(&b, '\n');
    return reply(r, &(struct answer){.status = status,
                                     .type = V1_TEXT,
                                     .body = &b,
                                     .retry_after_s = status == 503 || status == 429 ? 1 : 0});
}

enum MHD_Result v1_error(struct request *r, unsigned status, const char *sentence)
{
    return v1_errorf(r, status, "%s", sentence);
}

enum MHD_Result v1_no_page(struct request *r)
{
    return v1_error(r, 404, "404 page not found");
}

/* -- forms of names ---------------------------------------------------------------- */

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

static size_t word_length(const char *text)
{
    size_t n = 0;
    while (is_word(text[n]))
        n++;
    return n;
}

/* "arn:PARTITION:ecs:REGION:ACCOUNT:TYPE/"; returns what follows or NULL. */
static const char *skip_arn(const char *text, const char *type)
{
    size_t n;
    if (strncmp(text, "arn:", 4) != 0)
        return NULL;
    text += 4;
    if ((n = word_length(text)) == 0 || strncmp(text + n, ":ecs:", 5) != 0)
        return NULL;
    text += n + 5;
    if ((n = word_length(text)) == 0 || text[n] != ':')
        return NULL;
    text += n + 1;
    if (strspn(text, "0123456789") != 12 || text[12] != ':')
        return NULL;
    text += 13;
    n = strlen(type);
    return strncmp(text, type, n) == 0 && text[n] == '/' ? text + n + 1 : NULL;
}

bool v1_is_cluster(const char *text)
{
    const char *name = strncmp(text, "arn:", 4) == 0 ? skip_arn(text, "cluster") : text;
    size_t len = name == NULL ? 0 : word_length(name);
    return len > 0 && len <= CLUSTER_NAME_MAX && name[len] == '\0';
}

bool v1_is_entity_path(const char *rest, const char *type, size_t *ret_cluster_len,
                       const char **ret_arn)
{
    size_t len = word_length(rest);
    if (len == 0 || len > CLUSTER_NAME_MAX || rest[len] != '/')
        return false;
    const char *arn = rest + len + 1;
    const char *id = skip_arn(arn, type);
    size_t n = id == NULL ? 0 : word_length(id);
    if (n > 0 && id[n] == '/') { /* the long form has the cluster's name first */
        id += n + 1;
        n = word_length(id);
    }
    if (n == 0 || id[n] != '\0')
        return false;
    *ret_cluster_len = len;
    *ret_arn = arn;
    return true;
}

bool v1_check_filters(struct request *r, const char *const *known, const char *unknown,
                      enum MHD_Result *ret)
{
    for (size_t i = 0; i < r->param_count; i++) {
        bool found = false;
        for (const char *const *k = known; *k != NULL; k++)
            found = found || strcmp(*k, r->params[i].name) == 0;
        if (!found) {
            *ret = v1_error(r, 400, unknown);
            return true;
        }
    }
    for (size_t i = 0; i < r->param_count; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(r->params[i].name, r->params[j].name) == 0) {
                *ret = v1_error(r, 400,
                                "At least one of the filters provided is specified multiple times");
                return true;
            }
    return false;
}

/* -- routes ------------------------------------------------------------------------ */

enum v1_resource {
    V1_NONE,
    V1_TASKS,
    V1_TASK,
    V1_INSTANCES,
    V1_INSTANCE,
    V1_STREAM_TASKS,
    V1_STREAM_INSTANCES,
    V1_ENVIRONMENTS,
    V1_PING
};

static enum v1_resource find_resource(const char *path, const char **ret_rest)
{
    size_t len;
    const char *arn;
    static const struct {
        const char *path;
        enum v1_resource resource;
    } exact[] = {{"/v1/tasks", V1_TASKS},
                 {"/v1/instances", V1_INSTANCES},
                 {"/v1/stream/tasks", V1_STREAM_TASKS},
                 {"/v1/stream/instances", V1_STREAM_INSTANCES},
                 {"/v1/ping", V1_PING}};
    *ret_rest = "";
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        if (strcmp(path, exact[i].path) == 0)
            return exact[i].resource;
    if (strncmp(path, "/v1/tasks/", 10) == 0) {
        *ret_rest = path + 10;
        return v1_is_entity_path(*ret_rest, "task", &len, &arn) ? V1_TASK : V1_NONE;
    }
    if (strncmp(path, "/v1/instances/", 14) == 0) {
        *ret_rest = path + 14;
        return v1_is_entity_path(*ret_rest, "container-instance", &len, &arn) ? V1_INSTANCE
                                                                              : V1_NONE;
    }
    if (strncmp(path, "/v1/environments", 16) == 0 && (path[16] == '\0' || path[16] == '/')) {
        *ret_rest = path + 16;
        return V1_ENVIRONMENTS;
    }
    return V1_NONE;
}

static void escape_path(struct buf *out, const char *path)
{
    static const char plain[] = "-_.~/:@$&+,;="; /* to Go's mind */
    for (const char *p = path; *p != '\0'; p++) {
        if (is_word(*p) || strchr(plain, *p) != NULL)
            buf_putc(out, *p);
        else
            buf_printf(out, "%%%02X", (unsigned char)*p);
    }
}

/* page: with a link, as for a trailing slash; a path that was cleaned up got none. */
static enum MHD_Result redirect(struct request *r, const char *path, bool page)
{
    struct buf to, body;
    buf_init(&to, 3 * API_URI_MAX);
    buf_init(&body, 8 * API_URI_MAX);
    escape_path(&to, path);
    const char *query = strchr(r->raw, '?');
    if (query != NULL)
        buf_puts(&to, query);
    if (page && r->method == METHOD_GET && to.data != NULL) {
        buf_puts(&body, "<a href=\"");
        for (const char *p = to.data; *p != '\0'; p++) {
            if (*p == '&')
                buf_puts(&body, "&amp;");
            else if (*p == '<' || *p == '>')
                buf_puts(&body, *p == '<' ? "&lt;" : "&gt;");
            else if (*p == '"' || *p == '\'')
                buf_printf(&body, "&#%d;", *p);
            else
                buf_putc(&body, *p);
        }
        buf_puts(&body, "\">Moved Permanently</a>.\n\n");
    }
    enum MHD_Result ret =
        reply(r, &(struct answer){.status = 301,
                                  .type = body.len > 0 ? "text/html; charset=utf-8" : V1_TEXT,
                                  .body = &body,
                                  .location = to.data});
    buf_fini(&to);
    return ret;
}

/* Slashes doubled and dots resolved, as path.Clean does; the trailing slash stays. true: changed.
 */
static bool clean_path(const char *path, char *out)
{
    size_t n = 0;
    for (const char *p = path; *p != '\0';) {
        p += strspn(p, "/");
        size_t len = strcspn(p, "/");
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            while (n > 0 && out[--n] != '/')
                continue;
        } else if (len > 0 && !(len == 1 && p[0] == '.')) {
            out[n++] = '/';
            memmove(out + n, p, len);
            n += len;
        }
        p += len;
    }
    size_t path_len = strlen(path);
    if (n == 0 || (path_len > 1 && path[path_len - 1] == '/'))
        out[n++] = '/';
    out[n] = '\0';
    return strcmp(path, out) != 0;
}

static bool begins_v1(const char *path)
{
    return strncmp(path, "/v1", 3) == 0 && (path[3] == '/' || path[3] == '\0');
}

bool v1_is_path(const char *path)
{
    char clean[API_URI_MAX + 2];
    (void)clean_path(path, clean);
    return begins_v1(path) || begins_v1(clean);
}

enum MHD_Result v1_handle(struct request *r)
{
    char path[API_URI_MAX + 2];
    const char *rest;
    if (clean_path(r->path, path))
        return redirect(r, path, false);
    size_t len = strlen(path);
    if (path[len - 1] == '/') {
        path[len - 1] = '\0';
        enum v1_resource at = find_resource(path, &rest);
        bool known = at == V1_ENVIRONMENTS ? v1_environments_has(r, rest)
                                           : at != V1_NONE && r->method == METHOD_GET;
        return known ? redirect(r, path, true) : v1_no_page(r);
    }
    enum v1_resource resource = find_resource(path, &rest);
    if (resource == V1_ENVIRONMENTS)
        return v1_environments(r, rest);
    if (resource == V1_NONE || r->method != METHOD_GET)
        return v1_no_page(r);
    switch (resource) {
    case V1_TASKS:
        return v1_list(r, RECORD_TASK);
    case V1_INSTANCES:
        return v1_list(r, RECORD_INSTANCE);
    case V1_TASK:
        return v1_get(r, RECORD_TASK, rest);
    case V1_INSTANCE:
        return v1_get(r, RECORD_INSTANCE, rest);
    case V1_STREAM_TASKS:
        return v1_stream(r, RECORD_TASK);
    case V1_STREAM_INSTANCES:
        return v1_stream(r, RECORD_INSTANCE);
    case V1_PING:
        return reply(r, &(struct answer){.status = 200, .type = V1_JSON});
    case V1_NONE:
    case V1_ENVIRONMENTS:
        break;
    }
    return v1_no_page(r);
}
