/* SPDX-License-Identifier: Apache-2.0
 * What concerns the agents themselves: why a member is in its state, how fast records spread, and
 * the keys that seal what they say to each other. */
#include <stdio.h>
#include <string.h>

#include "agent/api/v2.h"

static const char *const none[] = {NULL};

/* ---- members ---------------------------------------------------------------------------- */

static json_t *find_member(const json_t *doc, const char *id)
{
    size_t i;
    json_t *m;
    json_array_foreach(json_arr(doc, "items"), i, m)
    {
        if (strcmp(json_str_or(m, "id", ""), id) == 0)
            return m;
    }
    return NULL;
}

static enum MHD_Result send_op(struct request *r, json_t *command, const char *op, const char *id)
{
    json_set_str(command, "op", op);
    json_set_str(command, "id", id);
    return v2_submit(r, command);
}

enum MHD_Result v2_member_why(struct request *r, const char *id)
{
    enum MHD_Result ret;
    struct buf b;
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, NULL);
    if (problem_check_params(r, none, &ret))
        return ret;
    struct publish_doc *d = publish_get(&r->api->publish, API_DOC_MEMBERS);
    if (d == NULL)
        return problem_replyf(r, "not-ready", "the agent is starting and knows no members yet");
    json_t *doc = json_parse(d->data, d->len, NULL);
    publish_release(d);
    json_t *why = json_obj(find_member(doc, id), "why");
    if (why == NULL) {
        json_decref(doc);
        return problem_replyf(r, "not-found",
                              "this agent knows no member \"%.64s\": it never joined, or has been "
                              "gone for more than a day. \"blox members\" lists the ids",
                              id);
    }
    if (json_str(why, "suspected_by") != NULL) { /* those that accused it are asked what they saw */
        json_decref(doc);
        return send_op(r, json_object(), "members.why", id);
    }
    buf_init(&b, 65536);
    json_write(why, &b);
    buf_putc(&b, '\n');
    json_decref(doc);
    return reply_json(r, 200, &b, NULL);
}

/* ---- commands that this agent carries out ---------------------------------------------------- */

enum MHD_Result v2_propagate(struct request *r)
{
    static const char *const members[] = {"count", "bytes", "timeout_ms", NULL};
    enum MHD_Result ret;
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, NULL);
    if (problem_check_params(r, none, &ret))
        return ret;
    json_t *command = v2_read_body(r, members, true, &ret);
    return command == NULL ? ret : send_op(r, command, "agent.propagate", NULL);
}

/* A read that asks all members: it takes the way of writes because the loop must do it. */
enum MHD_Result v2_keys_list(struct request *r)
{
    enum MHD_Result ret;
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, NULL);
    if (problem_check_params(r, none, &ret))
        return ret;
    return send_op(r, json_object(), "keys.list", NULL);
}

enum MHD_Result v2_key_install(struct request *r)
{
    static const char *const members[] = {"key", NULL};
    enum MHD_Result ret;
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, NULL);
    if (problem_check_params(r, none, &ret))
        return ret;
    json_t *command = v2_read_body(r, members, false, &ret);
    if (r->body.len > 0)
        explicit_bzero(r->body.data, r->body.len);
    return command == NULL ? ret : send_op(r, command, "keys.install", NULL);
}

static enum MHD_Result on_key(struct request *r, const char *op, const char *id)
{
    enum MHD_Result ret;
    if (r->call != NULL)
        return v2_answer(r, 200, NULL, NULL);
    if (problem_check_params(r, none, &ret))
        return ret;
    json_t *command = v2_read_body(r, none, true, &ret);
    return command == NULL ? ret : send_op(r, command, op, id);
}

enum MHD_Result v2_key_use(struct request *r, const char *id)
{
    return on_key(r, "keys.use", id);
}

enum MHD_Result v2_key_remove(struct request *r, const char *id)
{
    return on_key(r, "keys.remove", id);
}
