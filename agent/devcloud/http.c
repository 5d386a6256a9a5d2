/* SPDX-License-Identifier: Apache-2.0
 * The shell on libmicrohttpd: one epoll thread; requests that must wait (long polls, faults that
 * delay) are suspended and resumed by the timer thread. */
#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/devcloud/services.h"

#define BODY_MAX                                                                                   \
    (16u << 20) /* put-event of the control API; AWS services refuse more than 1 MiB               \
                 */

/* Headers and pieces of bodies. libmicrohttpd clears all of it after each request: 64 KiB took a
 * twentieth of the cloud's time. */
#define CONNECTION_MEMORY (16u * 1024)

static void suspend(struct devcloud *cloud, struct request *req, uint64_t delay_ms);

void request_resume(struct devcloud *cloud, struct request *req)
{
    cloud_disarm(cloud, &req->timer);
    list_remove(&req->waiter);
    list_remove(&req->suspended);
    if (!req->is_suspended)
        return;
    req->is_suspended = false;
    MHD_resume_connection(req->connection);
}

static void on_timer(struct devcloud *cloud, struct timer *timer)
{
    request_resume(cloud, LIST_OF(timer, struct request, timer));
}

static void suspend(struct devcloud *cloud, struct request *req, uint64_t delay_ms)
{
    req->is_suspended = true;
    list_push(&cloud->suspended, &req->suspended);
    cloud_arm(cloud, &req->timer, delay_ms, on_timer);
    MHD_suspend_connection(req->connection);
}

/* MHD unescapes what it hands over later; the signature needs what was sent. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct request *req = calloc(1, sizeof(*req));

    (void)cls;
    if (req == NULL)
        abort();
    list_init(&req->suspended);
    list_init(&req->waiter);
    buf_init(&req->body, BODY_MAX);
    req->connection = connection;
    req->target = cloud_copy(uri);
    req->path = cloud_copy(uri);
    req->path[strcspn(uri, "?")] = '\0';
    text_decode(req->path, false);
    return req;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct devcloud *cloud = cls;
    struct request *req = *con_cls;

    (void)connection;
    (void)code;
    if (req == NULL)
        return;
    pthread_mutex_lock(&cloud->lock);
    cloud_disarm(cloud, &req->timer);
    list_remove(&req->waiter);
    list_remove(&req->suspended);
    pthread_mutex_unlock(&cloud->lock);
    for (size_t i = 0; i < req->header_count; i++) {
        free((void *)(uintptr_t)req->headers[i].name);
        free((void *)(uintptr_t)req->headers[i].value);
    }
    buf_fini(&req->body);
    buf_fini(&req->answer.text);
    json_decref(req->answer.json);
    json_decref(req->params);
    free(req->target);
    free(req->path);
    free(req);
    *con_cls = NULL;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                 const char *value)
{
    struct request *req = cls;

    (void)kind;
    if (req->header_count == SIGV4_HEADERS_MAX)
        return MHD_NO;
    req->headers[req->header_count++] = (struct sigv4_header){
        .name = cloud_copy(name), .value = cloud_copy(value == NULL ? "" : value)};
    return MHD_YES;
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static void route(struct devcloud *cloud, struct request *req)
{
    req->answer.wait = false;
    if (has_prefix(req->path, "/_control/"))
        service_control(cloud, req);
    else if (has_prefix(req->path, "/_imds/"))
        service_imds(cloud, req);
    else if (has_prefix(req->path, "/_ecs-agent/"))
        service_agent(cloud, req);
    else
        service_aws(cloud, req);
}

static void identify(struct request *req)
{
    const char *local = has_prefix(req->path, "/_control/")     ? "control"
                        : has_prefix(req->path, "/_imds/")      ? "imds"
                        : has_prefix(req->path, "/_ecs-agent/") ? "agent"
                                                                : NULL;

    if (local == NULL)
        service_identify(req);
    else
        snprintf(req->service, sizeof(req->service), "%s", local);
}

/* False: the request is suspended. */
static bool advance(struct devcloud *cloud, struct request *req)
{
    const struct fault *fault;

    if (req->stage == STAGE_ANSWERED)
        return true;
    if (req->stage == STAGE_ARRIVED) {
        req->seq = ++cloud->seqs;
        identify(req);
        fault = fault_pick(cloud, req, "before");
        if (fault != NULL && strcmp(fault->mode, "delay") == 0) {
            req->stage = STAGE_HELD;
            suspend(cloud, req, fault->ms);
            return false;
        }
    }
    route(cloud, req);
    if (req->reset)
        return true;
    if (req->answer.wait) {
        uint64_t now = cloud_now_ms();
        req->stage = STAGE_WAITING;
        suspend(cloud, req, req->wait_until_ms > now ? req->wait_until_ms - now : 0);
        return false;
    }
    req->stage = STAGE_ANSWERED;
    fault = fault_pick(cloud, req, "after");
    if (fault == NULL)
        return true;
    req->reset = strcmp(fault->mode, "lose-reply") == 0;
    req->truncate = strcmp(fault->mode, "truncate") == 0;
    if (strcmp(fault->mode, "error-after") == 0)
        answer_error(&req->answer, fault->http_status, fault->code, "%s", fault->message);
    if (fault->ms == 0)
        return true;
    suspend(cloud, req, fault->ms);
    return false;
}

static enum MHD_Result cut_connection(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct linger linger = {.l_onoff = 1, .l_linger = 0}; /* close sends RST */

    if (info != NULL)
        setsockopt(info->connect_fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    return MHD_NO;
}

/* Half of the body, then the connection ends. */
static ssize_t half_body(void *cls, uint64_t pos, char *out, size_t max)
{
    const struct request *req = cls;
    size_t half = req->answer.text.len / 2;

    if (pos >= half)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    size_t n = half - (size_t)pos < max ? half - (size_t)pos : max;
    memcpy(out, req->answer.text.data + pos, n);
    return (ssize_t)n;
}

static const char *query_error(const char *code)
{
    static const char *const NAMES[][2] = {
        {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue"},
        {"EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest"},
        {"BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct"},
        {"TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"},
        {"InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId"},
        {"BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong"},
        {"MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight"},
        {"PurgeQueueInProgress", "AWS.SimpleQueueService.PurgeQueueInProgress"},
        {"QueueNameExists", "QueueAlreadyExists"},
        {"RequestThrottled", "RequestThrottled"},
    };

    for (size_t i = 0; i < sizeof(NAMES) / sizeof(NAMES[0]); i++)
        if (strcmp(NAMES[i][0], code) == 0)
            return NAMES[i][1];
    return code;
}

static void write_xml_error(struct request *req, const char *request_id)
{
    struct answer *a = &req->answer;
    int status = a->status;

    answer_text(a, status, "text/xml",
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>"
                "<Type>%s</Type><Code>%s</Code><Message>%s</Message></Error><RequestId>%s"
                "</RequestId></ErrorResponse>",
                status < 500 ? "Sender" : "Receiver", a->code, a->message, request_id);
}

/* Turns an error or JSON into the body and headers of the service's protocol. */
static void write_answer(struct request *req, const char *request_id)
{
    struct answer *a = &req->answer;
    bool sqs = strcmp(req->service, "sqs") == 0;
    char text[192];

    if (answer_failed(a) && strcmp(req->service, "sts") == 0) {
        write_xml_error(req, request_id);
        return;
    }
    if (answer_failed(a) && strcmp(req->service, "ec2") == 0) {
        answer_text(a, a->status, "text/xml;charset=UTF-8",
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>%s"
                    "</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID>"
                    "</Response>",
                    a->code, a->message, request_id);
        return;
    }
    if (answer_failed(a)) {
        json_decref(a->json);
        a->json = json_pack("{s:o,s:s}", "__type",
                            json_sprintf("%s%s", sqs ? "com.amazonaws.sqs#" : "", a->code),
                            "message", a->message);
        answer_header(a, "x-amzn-ErrorType", a->code);
        if (sqs) {
            snprintf(text, sizeof(text), "%s;%s", query_error(a->code),
                     a->status < 500 ? "Sender" : "Receiver");
            answer_header(a, "x-amzn-query-error", text);
        }
    }
    if (a->type == NULL)
        a->type = sqs                                ? "application/x-amz-json-1.0"
                  : strcmp(req->service, "ecs") == 0 ? "application/x-amz-json-1.1"
                                                     : "application/json";
    if (a->json == NULL)
        return;
    char *body = json_dumps(a->json, JSON_COMPACT);
    a->text.max = SIZE_MAX / 2;
    buf_clear(&a->text);
    buf_puts(&a->text, body == NULL ? "{}" : body);
    free(body);
}

static enum MHD_Result send_answer(struct devcloud *cloud, struct request *req)
{
    struct answer *a = &req->answer;
    char request_id[37];

    cloud_uuid(cloud, request_id);
    if (a->status == 0)
        a->status = 200;
    if (answer_failed(a))
        cloud_count2(cloud, "error:", a->code);
    write_answer(req, request_id);
    struct MHD_Response *response;
    if (req->truncate) {
        response = MHD_create_response_from_callback(a->text.len, 4096, half_body, req, NULL);
    } else {
        size_t len;
        char *text = buf_steal(&a->text, &len);
        response = MHD_create_response_from_buffer(
            len, text, text == NULL ? MHD_RESPMEM_PERSISTENT : MHD_RESPMEM_MUST_FREE);
        if (response == NULL)
            free(text);
    }
    if (response == NULL)
        return MHD_NO;
    if (a->type != NULL)
        MHD_add_response_header(response, "Content-Type", a->type);
    MHD_add_response_header(response, "x-amzn-RequestId", request_id);
    for (size_t i = 0; i < a->header_count; i++)
        MHD_add_response_header(response, a->headers[i][0], a->headers[i][1]);
    enum MHD_Result result = MHD_queue_response(req->connection, (unsigned)a->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **con_cls)
{
    struct devcloud *cloud = cls;
    struct request *req = *con_cls;

    (void)url;
    (void)version;
    if (req->method[0] == '\0') {
        snprintf(req->method, sizeof(req->method), "%s", method);
        MHD_get_connection_values(connection, MHD_HEADER_KIND, on_header, req);
        return MHD_YES;
    }
    if (*size > 0) {
        if (buf_put(&req->body, data, *size) != 0)
            return MHD_NO;
        *size = 0;
        return MHD_YES;
    }
    enum MHD_Result result = MHD_YES;
    pthread_mutex_lock(&cloud->lock);
    if (req->stage == STAGE_READING)
        req->stage = STAGE_ARRIVED;
    if (cloud->stopping)
        result = MHD_NO;
    else if (advance(cloud, req))
        result = req->reset ? cut_connection(connection) : send_answer(cloud, req);
    pthread_mutex_unlock(&cloud->lock);
    return result;
}

int http_start(struct devcloud *cloud, uint16_t port, struct errmsg *e)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    cloud->http = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, port, NULL, NULL, on_request,
        cloud, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_URI_LOG_CALLBACK, on_uri, cloud,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, cloud, MHD_OPTION_CONNECTION_LIMIT, 4000u,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_END);
    if (cloud->http == NULL)
        return errmsg_set(e, ERR_IO, "cannot listen on 127.0.0.1 port %u: is it in use?", port);
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(cloud->http, MHD_DAEMON_INFO_BIND_PORT);
    cloud->port = info == NULL ? port : info->port;
    return 0;
}

void http_stop(struct devcloud *cloud)
{
    if (cloud->http == NULL)
        return;
    pthread_mutex_lock(&cloud->lock);
    while (!list_is_empty(&cloud->suspended))
        request_resume(cloud, LIST_OF(cloud->suspended.next, struct request, suspended));
    pthread_mutex_unlock(&cloud->lock);
    MHD_stop_daemon(cloud->http);
    cloud->http = NULL;
}
