/* SPDX-License-Identifier: Apache-2.0
 * Answers: every one carries who answered, how old the data is and the guards for browsers. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "agent/api/server.h"
#include "agent/base/clock.h"
#include "agent/base/metrics.h"

static struct metric requests_2xx = METRIC_COUNTER_INIT("blox_api_requests_total", "class=\"2xx\"",
                                                        "Answered API requests by status class.");
static struct metric requests_3xx =
    METRIC_COUNTER_INIT("blox_api_requests_total", "class=\"3xx\"", NULL);
static struct metric requests_4xx =
    METRIC_COUNTER_INIT("blox_api_requests_total", "class=\"4xx\"", NULL);
static struct metric requests_5xx =
    METRIC_COUNTER_INIT("blox_api_requests_total", "class=\"5xx\"", NULL);
static struct metric request_time =
    METRIC_HISTOGRAM_INIT("blox_api_request_seconds", NULL,
                          "Time from a request's header to its answer (not long polls).");

void reply_register_metrics(void);

void reply_register_metrics(void)
{
    metrics_register(&requests_2xx);
    metrics_register(&requests_3xx);
    metrics_register(&requests_4xx);
    metrics_register(&requests_5xx);
    metrics_register(&request_time);
}

static void count(const struct request *r, unsigned status)
{
    metric_add(status < 300   ? &requests_2xx
               : status < 400 ? &requests_3xx
               : status < 500 ? &requests_4xx
                              : &requests_5xx,
               1);
    if (r->waiter.deadline_ms == 0) /* else it waited because it was asked to */
        metric_observe_us(&request_time, clock_mono_ns() / 1000 - r->start_us);
}

static void header(struct MHD_Response *response, const char *name, const char *value)
{
    if (value != NULL && value[0] != '\0')
        (void)MHD_add_response_header(response, name, value);
}

static void add_id(const struct request *r, struct MHD_Response *response)
{
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, r->id);
    header(response, "Blox-Request-Id", text);
}

/* How old the data may be, who leads: on every answer, errors too. */
static void add_facts(struct request *r, struct MHD_Response *response)
{
    struct api_facts facts;
    char text[64];
    publish_facts(&r->api->publish, &facts);
    header(response, "Blox-Agent", facts.agent_id[0] != '\0' ? facts.agent_id : "unknown");
    header(response, "Blox-Leader", facts.leader[0] != '\0' ? facts.leader : "none");
    if (r->leader != NULL) {
        header(response, "Blox-Consistency", r->is_strong ? "strong" : "leader");
        header(response, "Blox-Staleness-Ms", json_str(r->leader->head, "staleness_ms"));
        header(response, "Blox-Applied", json_str(r->leader->head, "applied"));
        add_id(r, response);
        return;
    }
    header(response, "Blox-Consistency", r->is_strong ? "strong" : "local");
    if (facts.complete_unix_ms == 0) {
        header(response, "Blox-Staleness-Ms", "unknown");
    } else {
        int64_t age_ms = clock_unix_ms() - facts.complete_unix_ms;
        snprintf(text, sizeof text, "%" PRId64, age_ms < 0 ? 0 : age_ms);
        header(response, "Blox-Staleness-Ms", text);
    }
    snprintf(text, sizeof text, "%" PRIu64 ".%" PRIu64, facts.applied_term, facts.applied_index);
    header(response, "Blox-Applied", text);
    add_id(r, response);
}

static struct MHD_Response *make_response(const struct answer *a)
{
    if (a->ready != NULL)
        return a->ready;
    if (a->body != NULL && a->body->err == 0) {
        size_t len;
        char *data = buf_steal(a->body, &len);
        if (data == NULL)
            return MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
        return MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
    }
    const char *text = a->text == NULL ? "" : a->text;
    size_t len = a->text_len != 0 ? a->text_len : strlen(text);
    return MHD_create_response_from_buffer(len, (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
}

static void add_common(struct MHD_Response *response, const char *type)
{
    header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    header(response, "X-Content-Type-Options", "nosniff");
    header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
}

enum MHD_Result reply(struct request *r, const struct answer *a)
{
    if (r->reading != NULL)
        return reading_take(r, a);
    bool failed = a->ready == NULL && a->body != NULL && a->body->err != 0;
    unsigned status = failed ? 503 : a->status;
    struct MHD_Response *response = make_response(a);
    if (failed)
        buf_fini(a->body);
    if (response == NULL)
        return MHD_NO;
    add_common(response, failed ? "text/plain; charset=utf-8" : a->type);
    header(response, "Blox-Index", a->index);
    header(response, MHD_HTTP_HEADER_LOCATION, a->location);
    header(response, MHD_HTTP_HEADER_ETAG, a->etag);
    header(response, MHD_HTTP_HEADER_ALLOW, a->allow);
    header(response, "Blox-Forwarded-To", a->forwarded_to);
    header(response, "Content-Security-Policy", a->policy);
    if (a->varies)
        header(response, MHD_HTTP_HEADER_VARY, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    if (r->is_extra)
        header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    if (status == 401)
        header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (a->retry_after_s > 0) {
        char text[16];
        snprintf(text, sizeof text, "%d", a->retry_after_s);
        header(response, MHD_HTTP_HEADER_RETRY_AFTER, text);
    }
    /* libmicrohttpd ends a chunked answer to HEAD with the last chunk of a body that may not be
     * there: the next answer on the connection would begin with it. Without chunks it closes. */
    if (a->streams && r->method == METHOD_HEAD)
        (void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    add_facts(r, response);
    count(r, status);
    r->phase = PHASE_ANSWERED;
    struct conn *c = connection_of(r->conn);
    if (c != NULL)
        conn_sends(c, clock_mono_ms());
    enum MHD_Result ret = MHD_queue_response(r->conn, status, response);
    MHD_destroy_response(response);
    return ret;
}

enum MHD_Result reply_json(struct request *r, unsigned status, struct buf *body, const char *index)
{
    return reply(r,
                 &(struct answer){
                     .status = status, .type = "application/json", .body = body, .index = index});
}

static enum MHD_Result on_header(void *arg, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    (void)kind;
    buf_printf(arg, "%s: %s\r\n", name, value);
    return MHD_YES;
}

/* As libmicrohttpd writes the heads of other answers. */
static int put_head(struct request *r, const char *type, struct buf *head)
{
    char date[40];
    struct tm tm = {0};
    time_t now = (time_t)(clock_unix_ms() / 1000);
    struct MHD_Response *response = MHD_create_response_from_buffer(0, "", MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return ERR_NOMEM;
    (void)gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    add_common(response, type);
    add_facts(r, response);
    /* Blox said so of its streams, though nothing comes after them. */
    const char *connection = r->is_v1 && !r->is_http_1_0 ? "Keep-Alive" : "close";
    buf_printf(head, "HTTP/1.1 200 OK\r\nDate: %s\r\nConnection: %s\r\n", date, connection);
    (void)MHD_get_response_headers(response, on_header, head);
    buf_puts(head, r->is_http_1_0 ? "\r\n" : "Transfer-Encoding: chunked\r\n\r\n");
    MHD_destroy_response(response);
    return head->err;
}

int reply_stream(struct request *r, const char *type, const struct stream_source *source)
{
    struct buf head;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL)
        return ERR_INTERNAL;
    buf_init(&head, 4096);
    int err = put_head(r, type, &head);
    if (err == 0)
        err = streams_add(&r->api->streams, info->connect_fd, !r->is_http_1_0, &head, source);
    buf_fini(&head);
    if (err == 0) {
        count(r, 200);
        r->phase = PHASE_ANSWERED;
        r->is_taken = true;
    }
    return err;
}
