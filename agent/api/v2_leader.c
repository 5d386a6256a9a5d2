/* SPDX-License-Identifier: Apache-2.0
 * What only the leader can answer: reads with consistency=leader or strong, backup and restore of
 * intent; and the operator's word on a lost quorum, to this agent alone. */
#include <stdio.h>
#include <string.h>

#include "agent/api/v2.h"

static enum MHD_Result not_allowed(struct request *r, const char *allow)
{
    char detail[64];
    snprintf(detail, sizeof detail, "this path takes %s", allow);
    return problem_reply(
        r, &(struct problem){.slug = "method-not-allowed", .detail = detail, .allow = allow});
}

static bool is_read(const struct request *r)
{
    return r->method == METHOD_GET || r->method == METHOD_HEAD;
}

/* NAME, NAME/deployments or NAME/deployments/ID as members of the command. */
static bool add_path(json_t *command, const char *rest)
{
    size_t len = strcspn(rest, "/");
    const char *tail = rest + len;
    if (len == 0 || len > ENVIRONMENT_NAME_MAX)
        return false;
    json_object_set_new(command, "name", json_stringn(rest, len));
    if (tail[0] == '\0')
        return true;
    if (strcmp(tail, "/deployments") == 0)
        return json_object_set_new(command, "deployments", json_true()) == 0;
    if (strncmp(tail, "/deployments/", 13) != 0 || tail[13] == '\0' || strchr(tail + 13, '/'))
        return false;
    json_set_str(command, "deployment", tail + 13);
    return true;
}

static enum MHD_Result strong(struct request *r, const char *name)
{
    static const char *const known[] = {"consistency", NULL};
    enum MHD_Result ret;
    if (r->call != NULL) {
        r->is_strong = r->call->err == 0;
        return v2_answer(r, 200, NULL, NULL);
    }
    if (problem_check_params(r, known, &ret))
        return ret;
    json_t *command = json_object();
    json_set_str(command, "op", "intent.read");
    if (name[12] == '/' && !add_path(command, name + 13)) {
        json_decref(command);
        return problem_replyf(r, "not-found", "there is no page %.200s", r->path);
    }
    return v2_submit(r, command);
}

static enum MHD_Result put_intent(struct request *r)
{
    static const char *const known[] = {"force", NULL};
    static const char *const members[] = {"kind",       "format",       "cluster", "cluster_id",
                                          "created_at", "environments", "sha256",  NULL};
    enum MHD_Result ret;
    if (r->call != NULL && r->call->err == ERR_CONFLICT)
        return problem_reply(r, &(struct problem){.err = ERR_CONFLICT,
                                                  .detail = r->call->detail,
                                                  .forwarded_to = r->call->forwarded_to,
                                                  .hint = "Nothing of this part was restored."});
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, NULL);
    if (problem_check_params(r, known, &ret))
        return ret;
    const char *force = request_param(r, "force");
    if (force != NULL && strcmp(force, "true") != 0 && strcmp(force, "false") != 0)
        return problem_reply(r, &(struct problem){.slug = "bad-parameter",
                                                  .detail = "\"force\" must be true or false",
                                                  .pointer = "?force"});
    json_t *doc = v2_read_body(r, members, false, &ret);
    if (doc == NULL)
        return ret;
    if (strcmp(json_str_or(doc, "kind", ""), "blox-intent") != 0 ||
        json_int_or(doc, "format", 0) != 1) {
        json_decref(doc);
        return problem_replyf(r, "bad-body",
                              "this is no backup of format 1, as blox backup writes it");
    }
    json_t *command = json_object();
    json_set_str(command, "op", "intent.restore");
    json_object_set(command, "environments", json_object_get(doc, "environments"));
    json_set_str(command, "clusterName", json_str_or(doc, "cluster", ""));
    json_set_str(command, "clusterId", json_str_or(doc, "cluster_id", ""));
    json_set_bool(command, "force", force != NULL && force[0] == 't');
    json_decref(doc);
    return v2_submit(r, command);
}

static enum MHD_Result get_intent(struct request *r)
{
    static const char *const none[] = {NULL};
    enum MHD_Result ret;
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, NULL);
    if (problem_check_params(r, none, &ret))
        return ret;
    return v2_submit(r, json_pack("{s:s,s:b}", "op", "intent.read", "backup", 1));
}

static enum MHD_Result raft(struct request *r, const char *op)
{
    static const char *const none[] = {NULL};
    static const char *const members[] = {"force", NULL};
    enum MHD_Result ret;
    if (r->call != NULL && r->call->err == ERR_CONFLICT)
        return problem_reply(
            r,
            &(struct problem){.err = ERR_CONFLICT,
                              .detail = r->call->detail,
                              .hint = "Nothing was changed. See blox status and blox members, and "
                                      "docs/operations.md on a lost majority."});
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, NULL);
    if (problem_check_params(r, none, &ret))
        return ret;
    json_t *body = v2_read_body(r, members, true, &ret);
    if (body == NULL)
        return ret;
    json_t *command = json_pack("{s:s,s:b}", "op", op, "force", json_bool_or(body, "force", false));
    json_decref(body);
    return v2_submit(r, command);
}

bool v2_leader_handle(struct request *r, const char *name, enum MHD_Result *ret)
{
    const char *consistency = request_param(r, "consistency");
    bool intent = strcmp(name, "environments") == 0 || strncmp(name, "environments/", 13) == 0;
    if (strcmp(name, "intent") == 0) {
        *ret = is_read(r)                ? get_intent(r)
               : r->method == METHOD_PUT ? put_intent(r)
                                         : not_allowed(r, "GET, HEAD, PUT");
    } else if (strcmp(name, "raft/recover") == 0 || strcmp(name, "raft/rejoin") == 0) {
        *ret = r->method != METHOD_POST ? not_allowed(r, "POST")
               : name[7] == 'c'         ? raft(r, "raft.recover")
                                        : raft(r, "raft.rejoin");
    } else if (r->reading == NULL && consistency != NULL && strcmp(consistency, "local") != 0 &&
               is_read(r)) {
        /* The leader makes sure that it leads before it answers, so that either word gets that. */
        bool known = strcmp(consistency, "leader") == 0 || relay_is_strong(r);
        if (known && intent)
            *ret = strong(r, name);
        else if (known && relay_is_read(name))
            *ret = relay_ask(r);
        else
            *ret = problem_reply(
                r, &(struct problem){.slug = "bad-parameter",
                                     .detail = "\"consistency\" may be local, or leader or strong "
                                               "for rows, the summary and /v2/environments",
                                     .pointer = "?consistency"});
    } else {
        return false;
    }
    return true;
}
