/* SPDX-License-Identifier: Apache-2.0
 * Writes of /v2: the form is checked here, the rest where the command is applied. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/v2.h"
#include "agent/base/span.h"

static enum MHD_Result bad_body(struct request *r, const char *member, const char *detail)
{
    char pointer[80];
    snprintf(pointer, sizeof pointer, "/%.64s", member == NULL ? "" : member);
    return problem_reply(r, &(struct problem){.slug = "bad-body",
                                              .detail = detail,
                                              .pointer = member == NULL ? NULL : pointer});
}

json_t *v2_read_body(struct request *r, const char *const *known, bool may_be_empty,
                     enum MHD_Result *ret)
{
    struct errmsg e;
    char detail[320];
    const char *name;
    json_t *value;
    if (r->body.len == 0 && may_be_empty)
        return json_object();
    if (r->body.len == 0) {
        *ret = bad_body(r, NULL, "the request has no body; send one JSON object");
        return NULL;
    }
    json_t *body = json_parse(r->body.data, r->body.len, &e);
    if (!json_is_object(body)) {
        *ret = bad_body(r, NULL, body == NULL ? e.text : "the body must be one JSON object");
        json_decref(body);
        return NULL;
    }
    json_object_foreach(body, name, value)
    {
        bool found = false;
        for (const char *const *k = known; *k != NULL; k++)
            found = found || strcmp(*k, name) == 0;
        if (found)
            continue;
        const char *near = nearest_name(name, known);
        if (near != NULL)
            snprintf(detail, sizeof detail, "unknown member \"%.64s\"; did you mean \"%s\"?", name,
                     near);
        else
            snprintf(detail, sizeof detail, "unknown member \"%.64s\"", name);
        *ret = bad_body(r, name, detail);
        json_decref(body);
        return NULL;
    }
    return body;
}

static enum MHD_Result bad_header(struct request *r, const char *name, const char *detail)
{
    return problem_reply(
        r, &(struct problem){.slug = "bad-parameter", .detail = detail, .pointer = name});
}

/* Idempotency-Key into the command. false: answered. */
static bool add_key(struct request *r, json_t *command, enum MHD_Result *ret)
{
    char detail[80];
    const char *key = request_header(r, "Idempotency-Key");
    if (key == NULL)
        return true;
    size_t len = strlen(key);
    bool ok = len >= 1 && len <= IDEMPOTENCY_KEY_MAX;
    for (size_t i = 0; ok && i < len; i++)
        ok = key[i] > 0x20 && key[i] < 0x7f;
    if (!ok) {
        snprintf(detail, sizeof detail, "Idempotency-Key must be 1 to %d printable characters",
                 IDEMPOTENCY_KEY_MAX);
        *ret = bad_header(r, "Idempotency-Key", detail);
        return false;
    }
    json_set_str(command, "key", key);
    return true;
}

/* If-Match: "VERSION" into the command's version; absent or *: none. false: answered. */
static bool add_version(struct request *r, json_t *command, enum MHD_Result *ret)
{
    const char *match = request_header(r, MHD_HTTP_HEADER_IF_MATCH);
    if (match == NULL || strcmp(match, "*") == 0)
        return true;
    bool quoted = match[0] == '"';
    char *end;
    errno = 0;
    long long version = strtoll(match + quoted, &end, 10);
    if (match[quoted] < '0' || match[quoted] > '9' || errno != 0 ||
        strcmp(end, quoted ? "\"" : "") != 0) {
        *ret = bad_header(r, MHD_HTTP_HEADER_IF_MATCH,
                          "If-Match must be the \"revision\" of the environment, in quotes");
        return false;
    }
    json_set_int(command, "version", version);
    return true;
}

enum MHD_Result v2_submit(struct request *r, json_t *command)
{
    int err =
        writes_submit(&r->api->writes, r->conn, command, r->api->submit, r->api->arg, &r->call);
    return err == 0 ? MHD_YES : problem_reply(r, &(struct problem){.err = err});
}

enum MHD_Result v2_answer(struct request *r, unsigned status, const char *location_prefix,
                          const char *id_member)
{
    struct write_call *c = r->call;
    struct buf location;
    char pointer[80];
    if (c->err != 0) {
        snprintf(pointer, sizeof pointer, "/%s", c->field);
        return problem_reply(r, &(struct problem){.err = c->err,
                                                  .detail = c->detail,
                                                  .pointer = c->field[0] != '\0' ? pointer : NULL,
                                                  .forwarded_to = c->forwarded_to});
    }
    buf_init(&location, 1024);
    struct span body = {c->body.data, c->body.len};
    struct span id = {0};
    if (location_prefix != NULL)
        id = span_inside(span_get(body, id_member));
    if (id.data != NULL) {
        buf_puts(&location, location_prefix);
        span_put(&location, id);
    }
    if (c->body.len == 0)
        buf_puts(&c->body, "{}");
    buf_putc(&c->body, '\n');
    enum MHD_Result ret =
        reply(r, &(struct answer){.status = status,
                                  .type = "application/json",
                                  .body = &c->body,
                                  .location = location.err == 0 ? location.data : NULL,
                                  .forwarded_to = c->forwarded_to});
    buf_fini(&location);
    return ret;
}

static const char *const environment_members[] = {"name",       "cluster",    "taskDefinition",
                                                  "attributes", "expression", NULL};

enum MHD_Result v2_environment_create(struct request *r)
{
    static const char *const none[] = {NULL};
    enum MHD_Result ret;
    if (r->call != NULL)
        return v2_answer(r, 201, "/v2/environments/", "name");
    if (problem_check_params(r, none, &ret))
        return ret;
    json_t *command = v2_read_body(r, environment_members, false, &ret);
    if (command == NULL)
        return ret;
    json_set_str(command, "op", "environment.create");
    if (json_object_get(command, "cluster") == NULL && r->api->cluster[0] != '\0')
        json_set_str(command, "cluster", r->api->cluster);
    if (!add_key(r, command, &ret)) {
        json_decref(command);
        return ret;
    }
    return v2_submit(r, command);
}

enum MHD_Result v2_environment_update(struct request *r, const char *name)
{
    static const char *const none[] = {NULL};
    enum MHD_Result ret;
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, "name");
    if (problem_check_params(r, none, &ret))
        return ret;
    json_t *command = v2_read_body(r, environment_members, false, &ret);
    if (command == NULL)
        return ret;
    const json_t *given = json_object_get(command, "name");
    bool other =
        given != NULL && (!json_is_string(given) || strcmp(json_string_value(given), name) != 0);
    if (other || json_object_get(command, "cluster") != NULL) {
        json_decref(command);
        return bad_body(r, other ? "name" : "cluster",
                        other ? "the name in the body differs from the one in the path"
                              : "the cluster of an environment cannot be changed");
    }
    json_set_str(command, "op", "environment.update");
    json_set_str(command, "name", name);
    if (!add_version(r, command, &ret) || !add_key(r, command, &ret)) {
        json_decref(command);
        return ret;
    }
    return v2_submit(r, command);
}

enum MHD_Result v2_environment_delete(struct request *r, const char *name)
{
    static const char *const known[] = {"stop_tasks", NULL};
    enum MHD_Result ret;
    if (r->call != NULL) {
        struct span body = {r->call->body.data, r->call->body.len};
        /* Its tasks are stopped first: the environment is there until they are gone. */
        bool deleting = span_is(span_get(body, "status"), "\"deleting\"");
        return v2_answer(r, deleting ? 202 : 200, deleting ? "/v2/environments/" : NULL, "name");
    }
    if (problem_check_params(r, known, &ret))
        return ret;
    const char *stop = request_param(r, "stop_tasks");
    if (stop != NULL && strcmp(stop, "true") != 0 && strcmp(stop, "false") != 0)
        return problem_reply(r, &(struct problem){.slug = "bad-parameter",
                                                  .detail = "\"stop_tasks\" must be true or false",
                                                  .pointer = "?stop_tasks"});
    json_t *command = json_object();
    json_set_str(command, "op", "environment.delete");
    json_set_str(command, "name", name);
    json_set_bool(command, "stopTasks", stop != NULL && strcmp(stop, "true") == 0);
    if (!add_version(r, command, &ret) || !add_key(r, command, &ret)) {
        json_decref(command);
        return ret;
    }
    return v2_submit(r, command);
}

enum MHD_Result v2_deployment_create(struct request *r, const char *environment)
{
    static const char *const none[] = {NULL};
    static const char *const members[] = {"taskDefinition", "token", NULL};
    enum MHD_Result ret;
    if (r->call != NULL) {
        char prefix[256];
        snprintf(prefix, sizeof prefix, "/v2/environments/%s/deployments/", environment);
        return v2_answer(r, 202, prefix, "id");
    }
    if (problem_check_params(r, none, &ret))
        return ret;
    json_t *command = v2_read_body(r, members, true, &ret);
    if (command == NULL)
        return ret;
    json_set_str(command, "op", "deployment.create");
    json_set_str(command, "environment", environment);
    if (!add_key(r, command, &ret)) {
        json_decref(command);
        return ret;
    }
    return v2_submit(r, command);
}
