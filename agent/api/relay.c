/* SPDX-License-Identifier: Apache-2.0
 * Reads that the leader answers from its rows (consistency=leader, or strong: if a majority
 * confirms that it leads): the agent that was asked sends the target on, the leader answers it as
 * if it had been asked itself, and the head of its answer says whose rows these are. One hop: who
 * does not lead refuses. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/v2.h"
#include "agent/base/clock.h"

/* ---- at the agent that was asked ------------------------------------------------------------- */

bool relay_is_read(const char *name)
{
    static const char *const kinds[] = {"tasks", "instances", "deployments"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t len = strlen(kinds[i]);
        if (strncmp(name, kinds[i], len) == 0 &&
            (name[len] == '\0' || (name[len] == '/' && name[len + 1] != '\0')))
            return true;
    }
    return strcmp(name, "summary") == 0;
}

/* An index is of one agent: to wait for changes, ask the agent that will tell of them. */
static const char *waits(const struct request *r)
{
    return request_param(r, "index") != NULL  ? "index"
           : request_param(r, "wait") != NULL ? "wait"
                                              : NULL;
}

static enum MHD_Result refuse_wait(struct request *r, const char *name)
{
    char pointer[16], detail[96];
    snprintf(pointer, sizeof pointer, "?%s", name);
    snprintf(detail, sizeof detail, "\"%s\" goes with consistency=local only", name);
    return problem_reply(
        r, &(struct problem){.slug = "bad-parameter", .detail = detail, .pointer = pointer});
}

static enum MHD_Result give(struct request *r)
{
    struct write_call *c = r->call;
    int64_t status = json_int_or(c->head, "status", 0);
    const char *forwarded_to = c->forwarded_to[0] == '\0' ? NULL : c->forwarded_to;
    if (c->err != 0)
        return problem_reply(
            r, &(struct problem){.err = c->err, .detail = c->detail, .forwarded_to = forwarded_to});
    if (status < 200 || status > 599)
        return problem_reply(r, &(struct problem){.err = ERR_INTERNAL});
    r->leader = c;
    r->is_strong = relay_is_strong(r);
    const char *etag = json_str(c->head, "etag");
    bool has = status == 200 && etag != NULL && etag[0] != '\0' && v2_has_already(r, etag);
    return reply(r,
                 &(struct answer){.status = has ? 304 : (unsigned)status,
                                  .type = has ? NULL : json_str(c->head, "type"),
                                  .body = has ? NULL : &c->body,
                                  .index = json_str(c->head, "index"),
                                  .etag = etag,
                                  .forwarded_to = forwarded_to,
                                  .retry_after_s = (int)json_int_or(c->head, "retry_after_s", 0)});
}

bool relay_is_strong(const struct request *r)
{
    const char *consistency = request_param(r, "consistency");
    return consistency != NULL && strcmp(consistency, "strong") == 0;
}

enum MHD_Result relay_ask(struct request *r)
{
    if (r->call != NULL)
        return give(r);
    if (waits(r) != NULL)
        return refuse_wait(r, waits(r));
    json_t *command = json_pack("{s:s,s:s,s:b}", "op", "rows.read", "target", r->raw, "strong",
                                relay_is_strong(r));
    return command == NULL ? problem_reply(r, &(struct problem){.slug = "bad-uri"})
                           : v2_submit(r, command);
}

/* ---- at the leader ---------------------------------------------------------------- */

struct reading {
    struct buf *out;
    int err;
};

static json_t *head_of(const struct request *r, const struct answer *a)
{
    struct api_facts facts;
    char text[64];
    json_t *head = json_pack("{s:i}", "status", (int)a->status);
    publish_facts(&r->api->publish, &facts);
    json_set_str(head, "type", a->type);
    json_set_str(head, "index", a->index);
    json_set_str(head, "etag", a->etag);
    if (a->retry_after_s > 0)
        json_set_int(head, "retry_after_s", a->retry_after_s);
    int64_t age_ms = clock_unix_ms() - facts.complete_unix_ms;
    snprintf(text, sizeof text, "%" PRId64, age_ms < 0 ? 0 : age_ms);
    json_set_str(head, "staleness_ms", facts.complete_unix_ms == 0 ? "unknown" : text);
    snprintf(text, sizeof text, "%" PRIu64 ".%" PRIu64, facts.applied_term, facts.applied_index);
    json_set_str(head, "applied", text);
    return head;
}

enum MHD_Result reading_take(struct request *r, const struct answer *a)
{
    struct reading *to = r->reading;
    json_t *head = head_of(r, a);
    to->err = json_write(head, to->out);
    json_decref(head);
    if (to->err == 0)
        to->err = buf_putc(to->out, '\n');
    if (a->body != NULL && to->err == 0)
        to->err = a->body->err != 0 ? a->body->err : buf_put(to->out, a->body->data, a->body->len);
    if (a->body != NULL)
        buf_fini(a->body);
    r->phase = PHASE_ANSWERED;
    return MHD_YES;
}

int api_read(struct api *a, const char *target, struct buf *out)
{
    struct reading reading = {.out = out, .err = ERR_UNSUPPORTED};
    struct request *r = request_new(a, target);
    if (r == NULL)
        return ERR_NOMEM;
    r->method = METHOD_GET;
    r->phase = PHASE_READY;
    r->reading = &reading;
    if (!r->uri_bad && !r->uri_long && strncmp(r->path, "/v2/", 4) == 0 &&
        relay_is_read(r->path + 4) && waits(r) == NULL)
        (void)v2_handle(r);
    request_free(r);
    return reading.err;
}
