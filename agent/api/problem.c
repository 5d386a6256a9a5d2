/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/problem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct problem_type {
    const char *slug;
    unsigned status;
    const char *title;
    const char *hint;
};

static const struct problem_type types[] = {
    {"bad-parameter", 400, "A parameter is not valid",
     "See \"errors\" for the parameter; names are case-sensitive and may be given once."},
    {"bad-body", 400, "The request body is not valid",
     "Send one JSON object with the members that the error names."},
    {"bad-header", 400, "A header is not valid",
     "Send Host and Content-Length once, and no Transfer-Encoding but chunked, alone."},
    {"bad-uri", 400, "The address is not valid",
     "Escape every byte as %XX with two hexadecimal digits and send at most 24 parameters."},
    {"unauthenticated", 401, "No valid credentials",
     "Send \"Authorization: Bearer TOKEN\", or use the unix socket."},
    {"forbidden", 403, "Not permitted", "Use a token or a user with the needed scope."},
    {"origin-not-allowed", 403, "Requests from other sites are refused",
     "Open the dashboard of this agent itself, or use a program instead of a web page."},
    {"not-found", 404, "There is no such thing here", "Check the path and the id."},
    {"method-not-allowed", 405, "This method does not apply here",
     "The Allow header lists the methods that do."},
    {"conflict", 409, "Conflicts with the current state", "Read the resource again and decide."},
    {"page-expired", 410, "The list's pages are no longer kept",
     "Start the list again, without next_token; pages are of one moment, kept for five minutes."},
    {"past-gone", 410, "That time is no longer known",
     "Ask for a later time, or another agent; store.history and store.history_bytes say how far "
     "back an agent looks."},
    {"precondition-failed", 412, "The resource changed since you read it",
     "Read it again and repeat the change with its new version in If-Match."},
    {"body-too-large", 413, "The request body is too large", "Send at most 256 KiB."},
    {"uri-too-long", 414, "The address is too long", "Send at most 4,096 bytes."},
    {"unsupported-media-type", 415, "The body must be JSON",
     "Send the header \"Content-Type: application/json\"."},
    {"host-not-allowed", 421, "This agent does not answer for that host name",
     "Use localhost or 127.0.0.1, or add the name to allowed_hosts in the configuration."},
    {"idempotency-mismatch", 422, "The idempotency key was used with another body",
     "Use a new Idempotency-Key for a different request."},
    {"too-many-requests", 429, "Too many requests are open",
     "Wait a second and try again; close watches that are not needed."},
    {"internal", 500, "Internal error", "See the agent's log for the request id."},
    {"upstream-denied", 502, "AWS denied access", "Check the agent's IAM permissions."},
    {"upstream-unavailable", 502, "AWS refused or failed", "Try again in a while."},
    {"no-leader", 503, "No leader is known",
     "Wait until a leader is elected: blox status shows it."},
    {"not-ready", 503, "The agent is not ready", "Try again in a second, or ask another agent."},
    {"too-stale", 503, "The rows here are older than max_stale allows",
     "Ask another agent, allow more, or leave max_stale out; Blox-Staleness-Ms tells the age."},
    {"upstream-throttled", 503, "AWS throttles requests", "Try again in a while."},
    {"timeout", 504, "No answer in time",
     "Read the resource to see whether the change took effect, then repeat with the same "
     "Idempotency-Key."},
    {"storage-full", 507, "Storage is full", "Free disk space on the agent's instance."},
};

static const struct problem_type *find_type(const char *slug)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (strcmp(types[i].slug, slug) == 0)
            return &types[i];
    return NULL;
}

static void put_member(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, ",\"%s\":", name);
    json_write_string(b, value, strlen(value));
}

enum MHD_Result problem_reply(struct request *r, const struct problem *p)
{
    const char *slug = p->slug != NULL ? p->slug : err_slug(p->err);
    const struct problem_type *t = find_type(slug);
    if (t == NULL)
        t = find_type("internal");
    struct buf b;
    buf_init(&b, 16384);
    buf_printf(&b, "{\"type\":\"/v2/problems/%s\",\"title\":\"%s\",\"status\":%u", t->slug,
               t->title, t->status);
    put_member(&b, "detail", p->detail != NULL ? p->detail : t->title);
    buf_printf(&b, ",\"instance\":\"%016" PRIx64 "\"", r->id);
    put_member(&b, "code", t->slug);
    put_member(&b, "hint", p->hint != NULL ? p->hint : t->hint);
    int retry_after_s = t->status == 503 || t->status == 429 ? 1 : 0;
    if (retry_after_s > 0)
        buf_printf(&b, ",\"retry_after_ms\":%d", retry_after_s * 1000);
    buf_puts(&b, ",\"errors\":[");
    if (p->pointer != NULL) {
        buf_puts(&b, "{\"pointer\":");
        json_write_string(&b, p->pointer, strlen(p->pointer));
        put_member(&b, "detail", p->detail != NULL ? p->detail : t->title);
        buf_putc(&b, '}');
    }
    buf_puts(&b, "]}\n");
    return reply(r, &(struct answer){.status = t->status,
                                     .type = "application/problem+json",
                                     .body = &b,
                                     .allow = p->allow,
                                     .forwarded_to = p->forwarded_to,
                                     .retry_after_s = retry_after_s});
}

enum MHD_Result problem_replyf(struct request *r, const char *slug, const char *format, ...)
{
    char detail[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(detail, sizeof detail, format, ap);
    va_end(ap);
    return problem_reply(r, &(struct problem){.slug = slug, .detail = detail});
}

static void put_type(struct buf *b, const struct problem_type *t)
{
    buf_printf(b, "{\"type\":\"/v2/problems/%s\",\"status\":%u", t->slug, t->status);
    put_member(b, "title", t->title);
    put_member(b, "hint", t->hint);
    buf_putc(b, '}');
}

enum MHD_Result problem_explain(struct request *r, const char *slug)
{
    struct buf b;
    buf_init(&b, 65536);
    if (slug[0] == '\0') {
        buf_puts(&b, "{\"items\":[");
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            if (i > 0)
                buf_putc(&b, ',');
            put_type(&b, &types[i]);
        }
        buf_puts(&b, "]}\n");
    } else {
        const struct problem_type *t = find_type(slug);
        if (t == NULL)
            return problem_replyf(r, "not-found", "there is no problem type \"%.64s\"", slug);
        put_type(&b, t);
        buf_putc(&b, '\n');
    }
    return reply_json(r, 200, &b, NULL);
}

/* -- parameters ---------------------------------------------------------------- */

/* Levenshtein distance, 99 for long words. */
static unsigned distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned row[40];
    if (la >= 40 || lb >= 40)
        return 99;
    for (unsigned j = 0; j <= lb; j++)
        row[j] = j;
    for (unsigned i = 1; i <= la; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned swap = diagonal + (a[i - 1] != b[j - 1]);
            unsigned drop = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = swap < drop ? swap : drop;
        }
    }
    return row[lb];
}

/* Compared without case and with '_' left out, so that startedBy finds started_by. */
static void fold(const char *name, char out[64])
{
    size_t n = 0;
    for (; *name != '\0' && n < 63; name++)
        if (*name != '_')
            out[n++] = (char)(*name >= 'A' && *name <= 'Z' ? *name - 'A' + 'a' : *name);
    out[n] = '\0';
}

const char *nearest_name(const char *name, const char *const *known)
{
    char wanted[64], candidate[64];
    fold(name, wanted);
    const char *best = NULL;
    unsigned best_distance = 3;
    for (; *known != NULL; known++) {
        fold(*known, candidate);
        unsigned d = distance(wanted, candidate);
        if (d < best_distance) {
            best_distance = d;
            best = *known;
        }
    }
    return best;
}

static enum MHD_Result refuse_param(struct request *r, const char *name, const char *detail)
{
    char pointer[80];
    snprintf(pointer, sizeof pointer, "?%.64s", name);
    return problem_reply(
        r, &(struct problem){.slug = "bad-parameter", .detail = detail, .pointer = pointer});
}

bool problem_check_params(struct request *r, const char *const *known, enum MHD_Result *ret)
{
    char detail[256];
    for (size_t i = 0; i < r->param_count; i++) {
        const char *name = r->params[i].name;
        bool found = false;
        for (const char *const *k = known; *k != NULL; k++)
            found = found || strcmp(*k, name) == 0;
        bool twice = false;
        for (size_t j = 0; j < i; j++)
            twice = twice || strcmp(r->params[j].name, name) == 0;
        if (found && !twice)
            continue;
        const char *near = found ? NULL : nearest_name(name, known);
        if (twice)
            snprintf(detail, sizeof detail, "the parameter \"%.64s\" is given twice", name);
        else if (near != NULL)
            snprintf(detail, sizeof detail, "unknown parameter \"%.64s\"; did you mean \"%s\"?",
                     name, near);
        else
            snprintf(detail, sizeof detail, "unknown parameter \"%.64s\"", name);
        *ret = refuse_param(r, name, detail);
        return true;
    }
    return false;
}
