/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/curl_uv.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "agent/aws/sign.h"
#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/list.h"

/* Kept connections: one per long poll and per call under way; more are closed when idle. */
#define KEPT_CONNECTIONS 64L
/* Not reused when idle for longer: below the 60 s after which load balancers drop a connection
 * without a word, so that a request rarely meets a dead one. */
#define KEPT_IDLE_S 45L
/* Handles kept for the next transfer; each has a buffer of 16 KiB. A call that ends is mostly
 * followed by one that begins. */
#define SPARES_MAX 4u
/* An answer's memory is taken at once if it says to be that long or shorter. */
#define BODY_AT_ONCE_MAX ((curl_off_t)1 << 20)

struct xfer {
    CURLM *multi;
    uv_loop_t *loop;
    uv_timer_t timer;
    struct list ops;
    struct list sockets; /* that curl has open: struct xfer_poll */
    unsigned polls;      /* poll handles not yet closed */
    CURL *spare[SPARES_MAX];
    unsigned spares;
    struct sign_key key;
    char local_url[256]; /* the URL last asked for, and whether it is local */
    bool local;
    bool timer_closed;
    bool closing;
    char *ca_bundle;
    void (*destroyed)(void *arg);
    void *destroyed_arg;
};

struct xfer_op {
    struct list node;
    struct xfer *x;
    CURL *easy;
    struct curl_slist *headers;
    struct buf body;
    unsigned tries; /* requests that libcurl began; above 1 after a silent resend */
    bool once;
    bool secret;
    bool too_big;
    int64_t date_unix_ms;
    char error_type[160];
    char location[160];
    char why[CURL_ERROR_SIZE];
    xfer_done_fn done;
    void *arg;
};

/* A connection's socket stays watched between two transfers: to begin and end that for each costs
 * more system calls than the transfer. */
struct xfer_poll {
    struct list node;
    uv_poll_t handle;
    struct xfer *x;
    curl_socket_t socket;
    int watched;        /* UV_READABLE, UV_WRITABLE */
    bool wanted;        /* by a transfer */
    bool is_connection; /* else curl may close it without a word, once it is not wanted */
};

bool xfer_host_is_local(const char *host, size_t len)
{
    char text[64];
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len == 0 || len >= sizeof text)
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    if (strcasecmp(text, "localhost") == 0)
        return true;
    unsigned char a[16];
    if (uv_inet_pton(AF_INET, text, a) == 0)
        return a[0] == 127 || (a[0] == 169 && a[1] == 254);
    char *zone = strchr(text, '%');
    if (zone != NULL)
        *zone = '\0';
    if (uv_inet_pton(AF_INET6, text, a) != 0)
        return false;
    static const unsigned char loopback[16] = {[15] = 1};
    static const unsigned char ec2[4] = {0xfd, 0x00, 0x0e, 0xc2};
    bool link_local = a[0] == 0xfe && (a[1] & 0xc0) == 0x80;
    return memcmp(a, loopback, 16) == 0 || link_local || memcmp(a, ec2, 4) == 0;
}

/* ---- handles ---------------------------------------------------------------------- */

static CURL *take_handle(struct xfer *x)
{
    return x->spares > 0 ? x->spare[--x->spares] : curl_easy_init();
}

/* Nothing of a transfer stays in it: neither options nor credentials. */
static void spare_handle(struct xfer *x, CURL *easy)
{
    if (x->spares == SPARES_MAX) {
        curl_easy_cleanup(easy);
        return;
    }
    curl_easy_reset(easy);
    x->spare[x->spares++] = easy;
}

static struct xfer_poll *find_poll(const struct xfer *x, curl_socket_t s)
{
    for (struct list *n = x->sockets.next; n != &x->sockets; n = n->next) {
        struct xfer_poll *p = LIST_OF(n, struct xfer_poll, node);
        if (p->socket == s)
            return p;
    }
    return NULL;
}

/* ---- one operation ---------------------------------------------------------------- */

static void op_free(struct xfer_op *op)
{
    list_remove(&op->node);
    if (op->easy != NULL) {
        curl_multi_remove_handle(op->x->multi, op->easy);
        spare_handle(op->x, op->easy);
    }
    curl_slist_free_all(op->headers);
    if (op->secret && op->body.data != NULL)
        explicit_bzero(op->body.data, op->body.cap);
    buf_fini(&op->body);
    free(op);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
    struct xfer_op *op = arg;
    curl_off_t all = 0;
    if (op->body.len == 0 &&
        curl_easy_getinfo(op->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &all) == CURLE_OK &&
        all > 0 && all <= BODY_AT_ONCE_MAX && (size_t)all <= op->body.max)
        (void)buf_reserve(&op->body, (size_t)all);
    if (buf_put(&op->body, data, size * n) == 0)
        return size * n;
    op->too_big = op->body.err == ERR_TOOBIG;
    return 0;
}

/* The value of a header line if it has that name: copied, trimmed, cut to cap. */
static bool header_value(const char *line, size_t len, const char *name, char *out, size_t cap)
{
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
        return false;
    line += n + 1;
    len -= n + 1;
    while (len > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }
    while (len > 0 && (unsigned char)line[len - 1] <= ' ')
        len--;
    snprintf(out, cap, "%.*s", (int)(len < cap ? len : cap - 1), line);
    return true;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
    struct xfer_op *op = arg;
    size_t len = size * n;
    char date[64];
    if (header_value(data, len, "Date", date, sizeof date)) {
        time_t t = curl_getdate(date, NULL);
        op->date_unix_ms = t > 0 ? (int64_t)t * 1000 : 0;
    } else if (!header_value(data, len, "x-amzn-ErrorType", op->error_type,
                             sizeof op->error_type)) {
        (void)header_value(data, len, "Location", op->location, sizeof op->location);
    }
    return len;
}

/* libcurl sends a request again by itself when a kept connection breaks before the first byte of
 * an answer. For a call that must not run twice that is one send too many. */
static int on_request(void *arg, char *ip, char *local_ip, int port, int local_port)
{
    (void)ip;
    (void)local_ip;
    (void)port;
    (void)local_port;
    struct xfer_op *op = arg;
    op->tries++;
    return op->once && op->tries > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static int err_from_curl(CURLcode code, bool too_big)
{
    if (too_big)
        return ERR_TOOBIG;
    switch ((int)code) {
    case CURLE_OK:
        return 0;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_FILESIZE_EXCEEDED:
        return ERR_TOOBIG;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_PROXY:
        return ERR_UNREACHABLE;
    default:
        return ERR_UPSTREAM;
    }
}

/* A connection that has served a transfer is closed through close_connection() only. */
static void know_connection(struct xfer_op *op)
{
    long made = 0;
    curl_socket_t s = CURL_SOCKET_BAD;
    if (curl_easy_getinfo(op->easy, CURLINFO_NUM_CONNECTS, &made) != CURLE_OK || made == 0 ||
        curl_easy_getinfo(op->easy, CURLINFO_ACTIVESOCKET, &s) != CURLE_OK || s == CURL_SOCKET_BAD)
        return;
    struct xfer_poll *p = find_poll(op->x, s);
    if (p != NULL)
        p->is_connection = true;
}

static void finish(struct xfer_op *op, CURLcode code)
{
    long status = 0;
    long request_size = 0;
    curl_easy_getinfo(op->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(op->easy, CURLINFO_REQUEST_SIZE, &request_size);
    struct xfer_result r = {
        .err = err_from_curl(code, op->too_big),
        .status = (int)status,
        .sent = op->tries > 1 || (op->tries == 1 && request_size > 0) || status != 0,
        .body = op->body.data == NULL ? "" : op->body.data,
        .body_len = op->body.len,
        .date_unix_ms = op->date_unix_ms,
        .error_type = op->error_type,
        .location = op->location,
        .why = "",
    };
    if (r.err == 0)
        know_connection(op);
    if (r.err != 0)
        r.why = op->why[0] != '\0' ? op->why : curl_easy_strerror(code);
    xfer_done_fn done = op->done;
    void *arg = op->arg;
    /* Out of curl's hands and off the list first: done may start or cancel others. */
    list_remove(&op->node);
    done(arg, &r);
    op_free(op);
}

static void reap(struct xfer *x)
{
    CURLMsg *msg;
    int left;
    while ((msg = curl_multi_info_read(x->multi, &left)) != NULL) {
        if (msg->msg != CURLMSG_DONE)
            continue;
        char *op = NULL;
        CURLcode code = msg->data.result;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &op);
        finish((struct xfer_op *)(void *)op, code);
    }
}

/* ---- loop ------------------------------------------------------------------------- */

static void maybe_destroyed(struct xfer *x)
{
    if (!x->closing || !x->timer_closed || x->polls > 0)
        return;
    void (*done)(void *) = x->destroyed;
    void *arg = x->destroyed_arg;
    free(x->ca_bundle);
    free(x);
    done(arg);
}

static void watch(struct xfer_poll *p, int events);

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct xfer_poll *p = handle->data;
    struct xfer *x = p->x;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (!p->wanted) { /* the other end closed it: curl finds out before it uses it again */
        watch(p, 0);
        return;
    }
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    int running;
    curl_multi_socket_action(x->multi, p->socket, flags, &running);
    reap(x);
}

static void on_timer(uv_timer_t *handle)
{
    struct xfer *x = handle->data;
    int running;
    curl_multi_socket_action(x->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    reap(x);
}

static void on_poll_closed(uv_handle_t *handle)
{
    struct xfer_poll *p = handle->data;
    struct xfer *x = p->x;
    free(p);
    x->polls--;
    maybe_destroyed(x);
}

static void watch(struct xfer_poll *p, int events)
{
    if (events == p->watched)
        return;
    int rc = events == 0 ? uv_poll_stop(&p->handle) : uv_poll_start(&p->handle, events, on_poll);
    p->watched = rc == 0 ? events : 0;
}

static struct xfer_poll *add_poll(struct xfer *x, curl_socket_t s)
{
    struct xfer_poll *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->x = x;
    p->socket = s;
    if (uv_poll_init_socket(x->loop, &p->handle, s) != 0) {
        free(p);
        return NULL;
    }
    p->handle.data = p;
    list_init(&p->node);
    list_push(&x->sockets, &p->node);
    x->polls++;
    return p;
}

static void drop_poll(struct xfer_poll *p)
{
    list_remove(&p->node);
    uv_close((uv_handle_t *)&p->handle, on_poll_closed);
}

static int want_socket(CURL *easy, curl_socket_t s, int what, void *arg, void *socketp)
{
    (void)easy;
    struct xfer *x = arg;
    struct xfer_poll *p = socketp != NULL ? socketp : find_poll(x, s);
    if (what == CURL_POLL_REMOVE) {
        if (p != NULL)
            p->wanted = false;
        if (p != NULL && !p->is_connection)
            watch(p, 0);
        return 0;
    }
    if (p == NULL && (p = add_poll(x, s)) == NULL)
        return -1;
    curl_multi_assign(x->multi, s, p);
    p->wanted = true;
    watch(p, what == CURL_POLL_IN    ? UV_READABLE
             : what == CURL_POLL_OUT ? UV_WRITABLE
                                     : UV_READABLE | UV_WRITABLE);
    return p->watched != 0 ? 0 : -1;
}

static int close_connection(void *arg, curl_socket_t s)
{
    struct xfer_poll *p = find_poll(arg, s);
    if (p != NULL)
        drop_poll(p);
    return close(s);
}

static int want_timer(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct xfer *x = arg;
    if (x->closing)
        return 0;
    if (timeout_ms < 0)
        return uv_timer_stop(&x->timer) == 0 ? 0 : -1;
    return uv_timer_start(&x->timer, on_timer, (uint64_t)timeout_ms, 0) == 0 ? 0 : -1;
}

int xfer_create(struct xfer **ret, struct uv_loop_s *loop, struct errmsg *e)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return errmsg_set(e, ERR_INTERNAL, "libcurl cannot start");
    struct xfer *x = calloc(1, sizeof *x);
    if (x == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    x->loop = loop;
    list_init(&x->ops);
    list_init(&x->sockets);
    x->multi = curl_multi_init();
    if (x->multi == NULL || uv_timer_init(loop, &x->timer) != 0) {
        curl_multi_cleanup(x->multi);
        free(x);
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    }
    x->timer.data = x;
    curl_multi_setopt(x->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(x->multi, CURLMOPT_SOCKETDATA, x);
    curl_multi_setopt(x->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(x->multi, CURLMOPT_TIMERDATA, x);
    curl_multi_setopt(x->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
    *ret = x;
    return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct xfer *x = handle->data;
    x->timer_closed = true;
    maybe_destroyed(x);
}

void xfer_destroy(struct xfer *x, void (*done)(void *arg), void *arg)
{
    ENSURE(list_is_empty(&x->ops));
    x->destroyed = done;
    x->destroyed_arg = arg;
    explicit_bzero(&x->key, sizeof x->key);
    while (x->spares > 0)
        curl_easy_cleanup(x->spare[--x->spares]);
    curl_multi_cleanup(x->multi); /* closes kept connections; their polls with them */
    while (!list_is_empty(&x->sockets))
        drop_poll(LIST_OF(x->sockets.next, struct xfer_poll, node));
    x->closing = true;
    uv_timer_stop(&x->timer);
    uv_close((uv_handle_t *)&x->timer, on_timer_closed);
}

int xfer_set_ca_bundle(struct xfer *x, const char *path)
{
    char *copy = path == NULL ? NULL : strdup(path);
    if (path != NULL && copy == NULL)
        return ERR_NOMEM;
    free(x->ca_bundle);
    x->ca_bundle = copy;
    return 0;
}

/* ---- start ------------------------------------------------------------------------ */

static bool add_header(struct xfer_op *op, const char *line)
{
    struct curl_slist *list = curl_slist_append(op->headers, line);
    if (list != NULL)
        op->headers = list;
    return list != NULL;
}

/* A header of up to some kilobytes, which may be secret. */
static bool add_long_header(struct xfer_op *op, struct buf *line)
{
    bool ok = line->err == 0 && add_header(op, line->data);
    if (line->data != NULL)
        explicit_bzero(line->data, line->cap);
    buf_fini(line);
    return ok;
}

static bool add_text_header(struct xfer_op *op, const char *name, const char *value, size_t len)
{
    struct buf line;
    buf_init(&line, 64u * 1024);
    buf_printf(&line, "%s: %.*s", name, (int)len, value);
    return add_long_header(op, &line);
}

/* Host and path are the URL's, as curl sends them. */
static bool add_signature(struct xfer_op *op, const struct xfer_spec *spec)
{
    const struct xfer_sign *sign = spec->sign;
    const char *scheme = strstr(spec->url, "://");
    const char *host = scheme == NULL ? spec->url : scheme + 3;
    const char *path = host + strcspn(host, "/?");
    const char *query = strchr(path, '?');
    const char *headers[SIGN_HEADERS_MAX + 1];
    char date[SIGN_DATE_MAX], only_path[512];
    size_t count = 0;
    sign_date(clock_unix_ms() + sign->offset_ms, date);
    if (!add_text_header(op, "Host", host, (size_t)(path - host)) ||
        !add_text_header(op, "X-Amz-Date", date, strlen(date)) ||
        (sign->session_token != NULL && sign->session_token[0] != '\0' &&
         !add_text_header(op, "X-Amz-Security-Token", sign->session_token,
                          strlen(sign->session_token))))
        return false;
    for (const struct curl_slist *h = op->headers; h != NULL; h = h->next) {
        if (count == SIGN_HEADERS_MAX)
            return false;
        headers[count++] = h->data;
    }
    headers[count] = NULL;
    size_t path_len = query == NULL ? strlen(path) : (size_t)(query - path);
    if (path_len >= sizeof only_path)
        return false;
    memcpy(only_path, path, path_len);
    only_path[path_len] = '\0';
    struct sign_request r = {.method = spec->method,
                             .path = only_path,
                             .query = query == NULL ? "" : query + 1,
                             .headers = headers,
                             .body = spec->body == NULL ? "" : spec->body,
                             .body_len = spec->body == NULL ? 0 : spec->body_len,
                             .date = date,
                             .access_key = sign->access_key,
                             .secret = sign->secret,
                             .region = sign->region,
                             .service = sign->service};
    struct buf line;
    buf_init(&line, 4096);
    return sign_request(&r, &op->x->key, &line) == 0 && add_long_header(op, &line);
}

static bool url_is_local(struct xfer *x, const char *url)
{
    if (strcmp(url, x->local_url) == 0) /* as is nearly every one */
        return x->local;
    CURLU *u = curl_url();
    char *host = NULL;
    bool local = u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                 curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                 xfer_host_is_local(host, strlen(host));
    curl_free(host);
    curl_url_cleanup(u);
    if (strlen(url) < sizeof x->local_url) {
        memcpy(x->local_url, url, strlen(url) + 1);
        x->local = local;
    }
    return local;
}

static bool set_method(CURL *easy, const struct xfer_spec *spec)
{
    if (strcmp(spec->method, "GET") == 0)
        return true;
    CURLcode rc = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)spec->body_len);
    if (rc == CURLE_OK)
        rc = curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, spec->body == NULL ? "" : spec->body);
    if (rc == CURLE_OK && strcmp(spec->method, "POST") != 0)
        rc = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, spec->method);
    return rc == CURLE_OK;
}

static void set_options(struct xfer_op *op, const struct xfer_spec *spec)
{
    CURL *easy = op->easy;
    uint64_t connect_ms = spec->connect_timeout_ms == 0 ? 5000 : spec->connect_timeout_ms;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, op);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L); /* never join a resolver thread on the loop */
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
    /* Some proxies compress although nobody asks for it: said not to, and understood if they do. */
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "identity");
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (op->x->ca_bundle != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, op->x->ca_bundle);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "blox/" BLOX_VERSION);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, KEPT_IDLE_S);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)spec->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)spec->max_body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, op);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, op);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, op->why);
    curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
    curl_easy_setopt(easy, CURLOPT_PREREQDATA, op);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, close_connection);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, op->x);
    if (url_is_local(op->x, spec->url))
        curl_easy_setopt(easy, CURLOPT_PROXY, ""); /* else HTTPS_PROXY and NO_PROXY count */
}

struct xfer_op *xfer_start(struct xfer *x, const struct xfer_spec *spec, xfer_done_fn done,
                           void *arg)
{
    struct xfer_op *op = calloc(1, sizeof *op);
    if (op == NULL)
        return NULL;
    list_init(&op->node);
    op->x = x;
    op->done = done;
    op->arg = arg;
    op->once = spec->once;
    op->secret = spec->secret;
    buf_init(&op->body, spec->max_body);
    op->easy = take_handle(x);
    if (op->easy == NULL)
        goto fail;
    set_options(op, spec);
    if (curl_easy_setopt(op->easy, CURLOPT_URL, spec->url) != CURLE_OK ||
        !set_method(op->easy, spec))
        goto fail;
    /* Those in this list are signed, so one that only takes a header of libcurl's away ("Expect:")
     * would be signed and not sent. */
    for (const char *const *h = spec->headers; h != NULL && *h != NULL; h++)
        if (!add_header(op, *h))
            goto fail;
    if (spec->sign != NULL && !add_signature(op, spec))
        goto fail;
    curl_easy_setopt(op->easy, CURLOPT_HTTPHEADER, op->headers);
    if (curl_multi_add_handle(x->multi, op->easy) != CURLM_OK)
        goto fail;
    list_push(&x->ops, &op->node);
    return op;
fail:
    op_free(op);
    return NULL;
}

void xfer_cancel(struct xfer_op *op)
{
    op_free(op);
}
