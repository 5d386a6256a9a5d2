/* SPDX-License-Identifier: Apache-2.0
 * Routes of /v2, indexes, published documents. */
#include "agent/api/v2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *v2_index(const struct api *a, uint64_t index, char out[V2_INDEX_MAX])
{
    snprintf(out, V2_INDEX_MAX, "%s.%" PRIu64, a->epoch, index);
    return out;
}

int v2_parse_index(const struct request *r, const char *text, uint64_t *ret, bool *ret_same)
{
    const char *dot = strchr(text, '.');
    char *end;
    if (dot == NULL || dot == text || dot[1] < '0' || dot[1] > '9' ||
        strspn(text, "0123456789abcdef") != (size_t)(dot - text))
        return ERR_BADPARAM;
    errno = 0;
    *ret = strtoull(dot + 1, &end, 10);
    size_t len = (size_t)(dot - text);
    *ret_same = len == strlen(r->api->epoch) && strncmp(text, r->api->epoch, len) == 0;
    return *end == '\0' && errno == 0 ? 0 : ERR_BADPARAM;
}

static enum MHD_Result wrong_method(struct request *r, const char *allow)
{
    char detail[128];
    snprintf(detail, sizeof detail, "this path takes %s", allow);
    return problem_reply(
        r, &(struct problem){.slug = "method-not-allowed", .detail = detail, .allow = allow});
}

static bool is_read(const struct request *r)
{
    return r->method == METHOD_GET || r->method == METHOD_HEAD;
}

enum MHD_Result v2_document(struct request *r, enum api_doc doc)
{
    static const char *const none[] = {NULL};
    enum MHD_Result ret;
    if (problem_check_params(r, none, &ret))
        return ret;
    struct publish_doc *d = publish_get(&r->api->publish, doc);
    if (d == NULL)
        return problem_replyf(r, "not-ready", "the agent is starting and has not said this yet");
    struct answer a = {.status = 200, .type = "application/json"};
    a.ready =
        MHD_create_response_from_buffer_with_free_callback_cls(d->len, d->data, publish_release, d);
    if (a.ready == NULL) {
        publish_release(d);
        return MHD_NO;
    }
    return reply(r, &a);
}

/* rest: what stands behind "environments/". */
static enum MHD_Result environment(struct request *r, const char *rest)
{
    char name[128];
    size_t len = strcspn(rest, "/");
    const char *tail = rest + len;
    if (len == 0 || len >= sizeof name)
        return problem_replyf(r, "not-found", "there is no such environment");
    memcpy(name, rest, len);
    name[len] = '\0';
    if (tail[0] == '\0') {
        if (is_read(r))
            return v2_get(r, RECORD_ENVIRONMENT, name);
        if (r->method == METHOD_PUT)
            return v2_environment_update(r, name);
        if (r->method == METHOD_DELETE)
            return v2_environment_delete(r, name);
        return wrong_method(r, "GET, HEAD, PUT, DELETE");
    }
    if (strcmp(tail, "/deployments") == 0) {
        if (is_read(r))
            return v2_list(r, RECORD_DEPLOYMENT, name);
        return r->method == METHOD_POST ? v2_deployment_create(r, name)
                                        : wrong_method(r, "GET, HEAD, POST");
    }
    if (strncmp(tail, "/deployments/", 13) == 0 && strchr(tail + 13, '/') == NULL) {
        char key[RECORD_KEY_MAX + 1];
        snprintf(key, sizeof key, "%s/%s", name, tail + 13);
        return is_read(r) ? v2_get(r, RECORD_DEPLOYMENT, key) : wrong_method(r, "GET, HEAD");
    }
    return problem_replyf(r, "not-found", "there is no page %.200s", r->path);
}

/* rest: what stands behind "keys/". */
static enum MHD_Result key(struct request *r, const char *rest)
{
    char id[17];
    size_t len = strcspn(rest, "/");
    if (len != 16 || strspn(rest, "0123456789abcdef") < 16)
        return problem_replyf(r, "not-found",
                              "a key is named by the 16 hexadecimal digits of its id");
    memcpy(id, rest, len);
    id[len] = '\0';
    if (rest[len] == '\0')
        return r->method == METHOD_DELETE ? v2_key_remove(r, id) : wrong_method(r, "DELETE");
    if (strcmp(rest + len, "/use") == 0)
        return r->method == METHOD_POST ? v2_key_use(r, id) : wrong_method(r, "POST");
    return problem_replyf(r, "not-found", "there is no page %.200s", r->path);
}

/* What concerns the agents themselves. False: the path is none of these. */
static bool agents(struct request *r, const char *name, enum MHD_Result *ret)
{
    char id[AGENT_ID_MAX];
    size_t len = strlen(name);
    if (strcmp(name, "agent/propagate") == 0) {
        *ret = r->method == METHOD_POST ? v2_propagate(r) : wrong_method(r, "POST");
    } else if (strcmp(name, "keys") == 0) {
        *ret = is_read(r)                 ? v2_keys_list(r)
               : r->method == METHOD_POST ? v2_key_install(r)
                                          : wrong_method(r, "GET, HEAD, POST");
    } else if (strncmp(name, "keys/", 5) == 0) {
        *ret = key(r, name + 5);
    } else if (strncmp(name, "members/", 8) == 0 && len > 12 && len - 12 < sizeof id &&
               strcmp(name + len - 4, "/why") == 0) {
        memcpy(id, name + 8, len - 12);
        id[len - 12] = '\0';
        *ret = is_read(r) ? v2_member_why(r, id) : wrong_method(r, "GET, HEAD");
    } else {
        return false;
    }
    return true;
}

static enum MHD_Result rows(struct request *r, uint8_t kind, const char *rest)
{
    if (!is_read(r))
        return wrong_method(r, "GET, HEAD");
    return rest[0] == '\0' ? v2_list(r, kind, NULL) : v2_get(r, kind, rest + 1);
}

/* The path behind "/v2/" as name and, with its slash, what follows. */
enum MHD_Result v2_handle(struct request *r)
{
    static const struct {
        const char *name;
        uint8_t kind;
    } kinds[] = {
        {"instances", RECORD_INSTANCE}, {"tasks", RECORD_TASK}, {"deployments", RECORD_DEPLOYMENT}};
    static const char *const docs[API_DOC_COUNT] = {"agent", "members", "leader"};
    const char *name = r->path + 4;
    size_t len = strcspn(name, "/");
    const char *rest = name + len;
    enum MHD_Result ret;
    if (v2_leader_handle(r, name, &ret))
        return ret;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strlen(kinds[i].name) == len && strncmp(kinds[i].name, name, len) == 0 &&
            (rest[0] == '\0' || rest[1] != '\0'))
            return rows(r, kinds[i].kind, rest);
    if (strcmp(name, "environments") == 0) {
        if (is_read(r))
            return v2_list(r, RECORD_ENVIRONMENT, NULL);
        return r->method == METHOD_POST ? v2_environment_create(r)
                                        : wrong_method(r, "GET, HEAD, POST");
    }
    if (strncmp(name, "environments/", 13) == 0)
        return environment(r, name + 13);
    for (size_t i = 0; i < API_DOC_COUNT; i++)
        if (strcmp(name, docs[i]) == 0)
            return is_read(r) ? v2_document(r, (enum api_doc)i) : wrong_method(r, "GET, HEAD");
    if (agents(r, name, &ret))
        return ret;
    if (strcmp(name, "decisions") == 0)
        return is_read(r) ? v2_decisions(r) : wrong_method(r, "GET, HEAD");
    if (strcmp(name, "summary") == 0)
        return is_read(r) ? v2_summary(r) : wrong_method(r, "GET, HEAD");
    if (strcmp(name, "watch") == 0)
        return is_read(r) ? v2_watch(r) : wrong_method(r, "GET, HEAD");
    if (strcmp(name, "problems") == 0 || strncmp(name, "problems/", 9) == 0)
        return is_read(r) ? problem_explain(r, rest[0] == '\0' ? "" : rest + 1)
                          : wrong_method(r, "GET, HEAD");
    return problem_replyf(r, "not-found", "there is no page %.200s", r->path);
}
