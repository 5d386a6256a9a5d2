/* SPDX-License-Identifier: Apache-2.0
 * The server's life, and the way of a request from libmicrohttpd to its handler. */
#include "agent/api/server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/api/head.h"
#include "agent/api/listen.h"
#include "agent/api/problem.h"
#include "agent/api/v1.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/metrics.h"

#define TOKEN_FILE_MS 2000u /* so often it is looked at */
/* Of silence on either side; suspended ones do not count. conns.h bounds what is not silent. */
#define IDLE_TIMEOUT_S 75
#define STOP_DRAIN_MS 300
/* Headers, and the pieces of lists; larger ones did not make lists faster. */
#define CONNECTION_MEMORY (64u * 1024)

void reply_register_metrics(void);

/* -- one request ----------------------------------------------------------------- */

struct request *request_new(struct api *a, const char *uri)
{
    size_t len = strlen(uri);
    bool too_long = len > API_URI_MAX;
    if (too_long)
        len = 0;
    /* raw, then path and query, each with its NUL, then the authority. */
    struct request *r = calloc(1, sizeof *r + 3 * len + 6);
    if (r == NULL)
        return NULL;
    r->api = a;
    r->start_us = clock_mono_ns() / 1000;
    r->id = a->request_prefix ^ atomic_fetch_add(&a->request_count, 1);
    r->raw = (char *)(r + 1);
    memcpy(r->raw, uri, len);
    r->path = r->raw + len + 1;
    list_init(&r->waiter.node);
    buf_init(&r->body, API_BODY_MAX);
    request_parse_target(r);
    r->uri_long = too_long;
    return r;
}

void request_free(struct request *r)
{
    buf_fini(&r->body);
    for (size_t i = 0; i < REQUEST_KEPT; i++)
        free(r->kept[i]);
    free(r);
}

/* libmicrohttpd would go on to make a list of the parameters, in the connection's memory. Nobody
 * asks for it here, and of a thousand, for which there is no room, 0.9.75 forgets the request: no
 * answer, no end of which on_completed() would hear. So it finds none. */
static void hide_query(const char *uri)
{
    const char *query = strchr(uri, '?');
    if (query != NULL)
        *(char *)(uintptr_t)(query + 1) = '\0'; /* it is the connection's memory */
}

struct conn *connection_of(struct MHD_Connection *conn)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == NULL ? NULL : info->socket_context;
}

/* The first thing libmicrohttpd tells: the target as it came. What this returns is the request. */
static void *on_target(void *arg, const char *uri, struct MHD_Connection *conn)
{
    struct api_listener *l = arg;
    struct request *r = request_new(l->api, uri);
    struct conn *c = connection_of(conn);
    hide_query(uri);
    if (c != NULL)
        conn_asks(c, clock_mono_ms());
    if (r != NULL) {
        r->listener = l;
        r->conn = conn;
    }
    return r;
}

static void on_completed(void *arg, struct MHD_Connection *conn, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct request *r = *con_cls;
    struct conn *c = connection_of(conn);
    (void)arg;
    *con_cls = NULL;
    if (r == NULL)
        return;
    /* What a stream has taken is not this listener's to close any more. */
    if (c != NULL && code == MHD_REQUEST_TERMINATED_COMPLETED_OK && !r->is_taken)
        conn_rest(c, clock_mono_ms());
    if (r->call != NULL)
        writes_release(&r->api->writes, r->call);
    if (r->phase >= PHASE_READY)
        atomic_fetch_sub(&r->api->in_flight, 1);
    request_free(r);
}

static void on_connection(void *arg, struct MHD_Connection *conn, void **socket_ctx,
                          enum MHD_ConnectionNotificationCode code)
{
    struct api_listener *l = arg;
    if (code != MHD_CONNECTION_NOTIFY_STARTED) {
        if (*socket_ctx != NULL)
            conns_leave(&l->conns, *socket_ctx);
        *socket_ctx = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct conn *c =
        info == NULL ? NULL : conns_enter(&l->conns, info->connect_fd, clock_mono_ms());
    if (c != NULL && l->is_unix) /* who it is is known as soon as it connects */
        c->scope = auth_of_peer(&l->api->auth, c->fd);
    *socket_ctx = c;
    waiters_tick_within(&l->api->waiters, CONNS_TICK_MS);
}

static enum api_method parse_method(const char *method)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE"};
    for (size_t i = 0; i < METHOD_OTHER; i++)
        if (strcmp(names[i], method) == 0)
            return (enum api_method)i;
    return METHOD_OTHER;
}

#define TOO_LARGE "The body is larger than 262144 bytes"

static enum MHD_Result refuse(struct request *r, const char *slug, unsigned status,
                              const char *sentence)
{
    if (r->is_v1)
        return v1_error(r, status, sentence);
    return problem_replyf(r, slug, "%s", sentence);
}

static bool is_write(const struct request *r)
{
    return r->method != METHOD_GET && r->method != METHOD_HEAD;
}

/* Static pages and probes hold nothing secret. */
static bool is_public(const struct request *r)
{
    static const char *const open[] = {"/",
                                       "/dashboard.css",
                                       "/dashboard.js",
                                       "/health/live",
                                       "/health/ready",
                                       "/favicon.ico",
                                       "/openapi.json"};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        if (strcmp(r->path, open[i]) == 0)
            return true;
    return strncmp(r->path, "/v2/problems", 12) == 0;
}

static void find_scope(struct request *r, bool *ret_bad)
{
    *ret_bad = false;
    if (r->listener->is_unix) {
        const struct conn *c = connection_of(r->conn);
        r->scope = c == NULL ? SCOPE_NONE : c->scope;
        return;
    }
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    r->scope = auth_of_request(&r->api->auth, request_header(r, MHD_HTTP_HEADER_AUTHORIZATION),
                               info == NULL ? NULL : info->client_addr, ret_bad);
}

/* Who watches over this agent hears of it as long as it lives. */
static bool is_probe(const struct request *r)
{
    return !is_write(r) && strncmp(r->path, "/health/", 8) == 0;
}

/* The checks that come before any path is looked at. true: refused. */
static bool guard(struct request *r, enum MHD_Result *ret)
{
    bool bad_token;
    const struct conn *c = connection_of(r->conn);
    const char *host = r->host != NULL ? r->host : request_header(r, MHD_HTTP_HEADER_HOST);
    r->is_extra = c == NULL || c->is_extra;
    if (r->is_extra && !is_probe(r)) {
        *ret = refuse(r, "too-many-requests", 429, "Too many connections are open");
        return true;
    }
    if (!r->listener->is_unix && !auth_host_ok(&r->api->auth, host)) {
        *ret = refuse(r, "host-not-allowed", 421,
                      "The Host header names a host that this agent does not answer for");
        return true;
    }
    /* A link to the dashboard may be followed from anywhere; it gives the other site nothing. */
    const char *mode = request_header(r, "Sec-Fetch-Mode");
    bool follows_link =
        is_public(r) && !is_write(r) && mode != NULL && strcmp(mode, "navigate") == 0;
    if (!follows_link && auth_cross_site(host, request_header(r, MHD_HTTP_HEADER_ORIGIN),
                                         request_header(r, "Sec-Fetch-Site"))) {
        *ret = refuse(r, "origin-not-allowed", 403, "Requests from other sites are refused");
        return true;
    }
    find_scope(r, &bad_token);
    if (is_public(r) && !is_write(r))
        return false;
    enum auth_scope needed = is_write(r) ? SCOPE_WRITE : SCOPE_READ;
    if (r->scope >= needed)
        return false;
    if (r->listener->is_unix || r->scope != SCOPE_NONE)
        *ret = refuse(r, "forbidden", 403,
                      r->scope == SCOPE_NONE
                          ? "This user may not read; it must be in the agent's socket group"
                          : "Writing needs the scope write");
    else
        *ret = refuse(r, "unauthenticated", 401,
                      bad_token ? "The token is not valid or has expired"
                                : "A bearer token is needed on TCP");
    return true;
}

static bool refuse_form(struct request *r, enum MHD_Result *ret)
{
    if (r->uri_long)
        *ret = refuse(r, "uri-too-long", 414, "The address is longer than 4096 bytes");
    else if (r->uri_bad)
        *ret = refuse(r, "bad-uri", 400,
                      r->is_v1 ? "400 Bad Request"
                               : "The address holds a broken escape or too many parameters");
    else if (r->body_too_big)
        *ret = refuse(r, "body-too-large", 413, TOO_LARGE);
    else
        return false;
    return true;
}

/* A web page can send a form anywhere without asking; it cannot send this content type. Blox never
 * looked at it, and its own commands send JSON as a form: there it is for guard() to know pages by
 * the headers that browsers add. */
static bool refuse_type(struct request *r, enum MHD_Result *ret)
{
    const char *type = request_header(r, MHD_HTTP_HEADER_CONTENT_TYPE);
    if (!is_write(r) || r->is_v1 || r->body.len == 0)
        return false;
    if (type != NULL && strncasecmp(type, "application/json", 16) == 0 &&
        (type[16] == '\0' || type[16] == ';' || type[16] == ' '))
        return false;
    *ret = refuse(r, "unsupported-media-type", 415,
                  "The body must be sent as Content-Type: application/json");
    return true;
}

/* From here on it is answered. False: its connection has been closed to make room. */
static bool begin(struct request *r)
{
    struct conn *c = connection_of(r->conn);
    if (c != NULL && !conn_begin(c))
        return false;
    r->phase = PHASE_READY;
    atomic_fetch_add(&r->api->in_flight, 1);
    return true;
}

static enum MHD_Result dispatch(struct request *r)
{
    enum MHD_Result ret;
    if (r->waiter.why == WOKEN_GONE)
        return MHD_NO;
    if (r->phase == PHASE_BODY) {
        if (!begin(r))
            return MHD_NO;
        if (guard(r, &ret) || refuse_form(r, &ret) || refuse_type(r, &ret))
            return ret;
    }
    if (r->is_v1)
        return v1_handle(r);
    if (strncmp(r->path, "/v2/", 4) == 0)
        return v2_handle(r);
    return root_handle(r);
}

/* Before the body: what is wrong with the head, so that nobody knows where the body ends. true:
 * refused. */
static bool refuse_head(struct request *r, enum MHD_Result *ret)
{
    const char *detail;
    const char *header = head_is_wrong(r, &detail);
    bool too_much = header == NULL && head_announces_too_much(r);
    if (header == NULL && !too_much)
        return false;
    if (!begin(r)) {
        *ret = MHD_NO;
        return true;
    }
    if (guard(r, ret))
        return true;
    if (too_much)
        *ret = refuse(r, "body-too-large", 413, TOO_LARGE);
    else if (r->is_v1)
        *ret = v1_error(r, 400, detail);
    else
        *ret = problem_reply(
            r, &(struct problem){.slug = "bad-header", .detail = detail, .pointer = header});
    return true;
}

/* A piece of the body. What is too much is read and dropped, so that the answer arrives; but not
 * for ever. */
static enum MHD_Result take_body(struct request *r, const char *data, size_t len)
{
    if (!r->body_too_big && buf_put(&r->body, data, len) != 0) {
        r->body_too_big = true;
        buf_fini(&r->body);
    }
    r->dropped += r->body_too_big ? len : 0;
    return r->dropped > API_BODY_DROPPED_MAX ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_len, void **con_cls)
{
    struct request *r = *con_cls;
    enum MHD_Result ret = MHD_YES;
    (void)arg, (void)conn, (void)url;
    if (r == NULL)
        return MHD_NO; /* no memory for the request */
    if (r->phase == PHASE_HEADERS) {
        r->method = parse_method(method);
        r->is_http_1_0 = strcmp(version, MHD_HTTP_VERSION_1_0) == 0;
        r->phase = PHASE_BODY;
        (void)refuse_head(r, &ret);
        return ret;
    }
    if (*data_len > 0) {
        ret = take_body(r, data, *data_len);
        *data_len = 0;
        return ret;
    }
    return dispatch(r);
}

/* -- the server's life ------------------------------------------------------------ */

static void on_mhd_log(void *arg, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));
static void on_mhd_log(void *arg, const char *format, va_list ap)
{
    char text[256];
    (void)arg;
    vsnprintf(text, sizeof text, format, ap);
    text[strcspn(text, "\r\n")] = '\0';
    LOG(LOG_DEBUG, "api_http", "libmicrohttpd says", LS("text", text));
}

static int start_daemon(struct api *a, int fd, bool is_unix, unsigned threads, struct errmsg *e)
{
    struct api_listener *l = &a->listeners[atomic_load(&a->listener_count)];
    l->api = a;
    l->fd = fd;
    l->is_unix = is_unix;
    if (conns_init(&l->conns, API_CONNECTIONS_MAX) != 0) {
        close(fd);
        return errmsg_set(e, ERR_NOMEM, "no memory for the API's locks");
    }
    atomic_fetch_add(&a->listener_count, 1);
    /* "Turbo" is to leave out shutdown() before close(): the sockets of streams have other owners
     * by then. */
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                     MHD_USE_TURBO;
    struct MHD_OptionItem pool[] = {
        {threads > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, threads, NULL},
        {MHD_OPTION_END, 0, NULL}};
    l->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_request, l, MHD_OPTION_EXTERNAL_LOGGER, on_mhd_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        API_CONNECTIONS_MAX + API_CONNECTIONS_SPARE, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_TIMEOUT_S,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, l, MHD_OPTION_NOTIFY_COMPLETED, on_completed, l,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_THREAD_STACK_SIZE,
        (size_t)256 * 1024, MHD_OPTION_ARRAY, pool, MHD_OPTION_END);
    if (l->daemon == NULL)
        return errmsg_set(e, ERR_NOMEM, "the HTTP server could not be started");
    return 0;
}

static int add_tcp(struct api *a, const char *address, unsigned threads, struct errmsg *e)
{
    uint16_t port = 0;
    if (a->listener_count == API_LISTENERS_MAX)
        return errmsg_set(e, ERR_CONFIG, "at most %d API listeners", API_LISTENERS_MAX);
    int fd = listen_tcp(address, &port, e);
    if (fd < 0)
        return fd;
    if (a->port == 0)
        a->port = port;
    return start_daemon(a, fd, false, threads, e);
}

static int add_listeners(struct api *a, const struct api_options *o, struct errmsg *e)
{
    unsigned threads = o->threads == 0 ? 2 : o->threads;
    int err = 0;
    if (o->bind != NULL && o->bind[0] != '\0')
        err = add_tcp(a, o->bind, threads, e);
    for (const char *p = o->extra_binds; err == 0 && p != NULL && *p != '\0';) {
        char address[80];
        p += strspn(p, ", \t");
        size_t len = strcspn(p, ", \t");
        if (len == 0)
            break;
        if (len >= sizeof address)
            return errmsg_set(e, ERR_CONFIG, "\"%s\" is not an address to listen on", p);
        memcpy(address, p, len);
        address[len] = '\0';
        err = add_tcp(a, address, 1, e);
        p += len;
    }
    if (err != 0 || o->socket_path == NULL || o->socket_path[0] == '\0')
        return err;
    if (a->listener_count == API_LISTENERS_MAX)
        return errmsg_set(e, ERR_CONFIG, "at most %d API listeners", API_LISTENERS_MAX);
    int fd = listen_unix(o->socket_path, a->auth.has_read_group, a->auth.read_group, e);
    if (fd < 0)
        return fd;
    snprintf(a->socket_path, sizeof a->socket_path, "%s", o->socket_path);
    return start_daemon(a, fd, true, 1, e);
}

static unsigned on_tick(void *arg)
{
    struct api *a = arg;
    auth_reload(&a->auth);
    bool keeps = pages_tick(&a->pages);
    keeps = holders_tick(&a->holders) || keeps;
    bool open = false;
    for (size_t i = 0; i < atomic_load(&a->listener_count); i++)
        open = conns_tick(&a->listeners[i].conns, clock_mono_ms()) || open;
    return keeps                           ? PAGES_TICK_MS
           : a->auth.token_file[0] != '\0' ? TOKEN_FILE_MS
           : open                          ? CONNS_TICK_MS
                                           : 0;
}

int api_start(struct api **ret, const struct api_options *options, struct errmsg *e)
{
    struct api *a = calloc(1, sizeof *a);
    if (a == NULL)
        return errmsg_set(e, ERR_NOMEM, "no memory for the API");
    reply_register_metrics();
    a->waiters.watch = -1;
    a->store = options->store;
    a->arg = options->arg;
    a->submit = options->submit;
    snprintf(a->cluster, sizeof a->cluster, "%s", options->cluster == NULL ? "" : options->cluster);
    snprintf(a->epoch, sizeof a->epoch, "%" PRIx64, store_epoch(options->store));
    if (getrandom(&a->request_prefix, sizeof a->request_prefix, 0) < 0)
        a->request_prefix = clock_mono_ns();
    int err = auth_init(&a->auth, options, e);
    if (err != 0) {
        free(a);
        return err;
    }
    err = streams_start(&a->streams, a->store, e);
    if (publish_init(&a->publish, options->want, options->arg) != 0 ||
        writes_init(&a->writes) != 0 || pages_init(&a->pages, a->store) != 0 ||
        holders_init(&a->holders) != 0 || news_init(&a->news) != 0)
        err = errmsg_set(e, ERR_NOMEM, "no memory for the API's locks");
    if (err == 0)
        err = waiters_start(&a->waiters, a->store, on_tick, a, e);
    if (err == 0 && a->auth.token_file[0] != '\0')
        waiters_tick_within(&a->waiters, TOKEN_FILE_MS);
    if (err == 0)
        err = add_listeners(a, options, e);
    if (err != 0) {
        api_stop(a);
        return err;
    }
    *ret = a;
    return 0;
}

void api_stop(struct api *a)
{
    if (a == NULL)
        return;
    atomic_store(&a->stopping, true);
    writes_stop(&a->writes);
    waiters_stop(&a->waiters);
    streams_stop(&a->streams);
    /* Those just woken get their answer out before their connections are closed. */
    for (unsigned i = 0; i < STOP_DRAIN_MS && atomic_load(&a->in_flight) > 0; i++)
        (void)usleep(1000);
    for (size_t i = 0; i < a->listener_count; i++) {
        if (a->listeners[i].daemon != NULL)
            MHD_stop_daemon(a->listeners[i].daemon); /* closes the listening socket, too */
        else if (a->listeners[i].fd >= 0)
            close(a->listeners[i].fd);
        conns_fini(&a->listeners[i].conns);
    }
    if (a->socket_path[0] != '\0')
        (void)unlink(a->socket_path);
    waiters_fini(&a->waiters);
    streams_fini(&a->streams);
    pages_fini(&a->pages);
    holders_fini(&a->holders);
    writes_fini(&a->writes);
    publish_fini(&a->publish);
    news_fini(&a->news);
    auth_fini(&a->auth);
    free(a);
}

uint16_t api_port(const struct api *a)
{
    return a->port;
}

void api_publish(struct api *a, enum api_doc doc, const char *json, size_t len)
{
    if (publish_put(&a->publish, doc, json, len))
        streams_wake(&a->streams, STREAM_NEWS(1u << API_NEWS_MEMBER));
}

void api_begin(struct api *a, enum api_doc doc)
{
    publish_begin(&a->publish, doc, news_newest(&a->news));
}

bool api_news_are_wanted(struct api *a, enum api_news kind)
{
    return news_are_wanted(&a->news, kind);
}

void api_news(struct api *a, enum api_news kind, bool deleted, const char *text, size_t len)
{
    news_put(&a->news, kind, deleted, text, len);
    streams_wake(&a->streams, STREAM_NEWS(1u << kind));
}

unsigned api_wanted(struct api *a)
{
    return publish_wanted(&a->publish);
}

void api_confirm(struct api *a, enum api_doc doc)
{
    if (publish_confirm(&a->publish, doc))
        streams_wake(&a->streams, STREAM_NEWS(1u << API_NEWS_MEMBER));
}

void api_stale(struct api *a, enum api_doc doc)
{
    publish_stale(&a->publish, doc);
}

void api_set_facts(struct api *a, const struct api_facts *facts)
{
    publish_set_facts(&a->publish, facts);
}
