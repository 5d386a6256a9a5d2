/* SPDX-License-Identifier: Apache-2.0
 * A devcloud of the test's own and a client of raw sockets for it. Header only: each test of this
 * directory is one file. */
#ifndef BLOX_TESTS_DEVCLOUD_CLIENT_H
#define BLOX_TESTS_DEVCLOUD_CLIENT_H

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/json.h"
#include "agent/devcloud/devcloud.h"
#include "agent/devcloud/sigv4.h"

struct client {
    struct devcloud *cloud;
    json_t *ready;
    const char *access_key, *secret, *token; /* may be changed by the test */
    const char *region;
    int64_t skew_s;          /* added to the clock */
    const char *more_header; /* "X-Amz-Foo: bar\r\n", not signed */
    bool unsigned_request, bad_signature;
};

struct reply {
    int status;    /* 0: the connection ended without an answer */
    bool complete; /* the body is as long as Content-Length said */
    char *text;    /* whole answer */
    json_t *json;
};

static inline const char *code_of(const struct reply *r)
{
    const char *type = json_str_or(r->json, "__type", "");
    const char *hash = strchr(type, '#');

    return hash == NULL ? type : hash + 1;
}

static inline void reply_free(struct reply *r)
{
    free(r->text);
    json_decref(r->json);
    *r = (struct reply){0};
}

/* settings: JSON for the control verb set; NULL: quick and quiet, no duplicates. */
static inline struct client client_start(unsigned instances, const char *settings)
{
    struct devcloud_options options;
    struct client c = {.region = "us-east-1"};
    struct errmsg e = {0};

    signal(SIGPIPE, SIG_IGN);
    devcloud_options_init(&options);
    options.instances = instances;
    options.settings = settings != NULL
                           ? settings
                           : "{\"event_duplicate\":0,\"event_delay_ms\":0,\"step_ms\":1,"
                             "\"stop_step_ms\":1,\"agent_lag_ms\":0,\"throttle\":0}";
    cr_assert_eq(devcloud_start(&c.cloud, &options, &e), 0, "%s", e.text);
    c.ready = devcloud_ready(c.cloud);
    c.access_key = json_str(c.ready, "access_key_id");
    c.secret = json_str(c.ready, "secret_access_key");
    return c;
}

static inline void client_stop(struct client *c)
{
    json_decref(c->ready);
    devcloud_stop(c->cloud);
}

static inline const char *instance_of(const struct client *c, size_t i, const char *key)
{
    return json_str(json_array_get(json_arr(c->ready, "instances"), i), key);
}

/* Sends bytes, reads until the peer closes. */
static inline struct reply exchange(const struct client *c, const char *data, size_t len)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(devcloud_port(c->cloud)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct reply r = {0};
    struct buf in;
    char chunk[65536];
    ssize_t n;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    while (len > 0 && (n = write(fd, data, len)) > 0) {
        data += n;
        len -= (size_t)n;
    }
    buf_init(&in, 256u << 20);
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_put(&in, chunk, (size_t)n);
    close(fd);
    size_t total = in.len;
    r.text = buf_steal(&in, NULL);
    char *body = r.text == NULL ? NULL : strstr(r.text, "\r\n\r\n");
    if (body == NULL)
        return r;
    body += 4;
    r.status = (int)strtol(r.text + strlen("HTTP/1.1 "), NULL, 10);
    const char *length = strstr(r.text, "Content-Length: ");
    r.complete =
        length != NULL && strtoul(length + 16, NULL, 10) == total - (size_t)(body - r.text);
    r.json = json_parse(body, strlen(body), NULL);
    return r;
}

static inline struct reply plain(const struct client *c, const char *method, const char *path,
                                 const char *headers, const char *body)
{
    struct buf out;

    buf_init(&out, 64u << 20);
    buf_printf(&out, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n%s", method, path,
               headers == NULL ? "" : headers);
    if (body != NULL)
        buf_printf(&out, "Content-Length: %zu\r\n\r\n%s", strlen(body), body);
    else
        buf_puts(&out, "\r\n");
    struct reply r = exchange(c, out.data, out.len);
    buf_fini(&out);
    return r;
}

/* Signed POST /. */
static inline struct reply post(const struct client *c, const char *service, const char *type,
                                const char *target, const char *body)
{
    char date[32], host[32], hex[SIGV4_HEX], scope_date[9];
    time_t now = (time_t)(clock_unix_ms() / 1000 + c->skew_s);
    struct tm tm;
    struct sigv4_auth auth = {0};
    struct sigv4_header headers[6];
    size_t n = 0;
    struct buf out;

    strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", gmtime_r(&now, &tm));
    snprintf(scope_date, sizeof(scope_date), "%.8s", date);
    snprintf(host, sizeof(host), "127.0.0.1:%u", devcloud_port(c->cloud));
    headers[n++] = (struct sigv4_header){"content-type", type};
    headers[n++] = (struct sigv4_header){"host", host};
    headers[n++] = (struct sigv4_header){"x-amz-date", date};
    if (c->token != NULL)
        headers[n++] = (struct sigv4_header){"x-amz-security-token", c->token};
    if (target != NULL)
        headers[n++] = (struct sigv4_header){"x-amz-target", target};
    struct sigv4_request req = {.method = "POST",
                                .target = "/",
                                .headers = headers,
                                .header_count = n,
                                .body = body,
                                .body_len = strlen(body)};
    snprintf(auth.access_key, sizeof(auth.access_key), "%s", c->access_key);
    snprintf(auth.date, sizeof(auth.date), "%s", scope_date);
    snprintf(auth.region, sizeof(auth.region), "%s", c->region);
    snprintf(auth.service, sizeof(auth.service), "%s", service);
    for (size_t i = 0; i < n; i++) {
        size_t at = strlen(auth.signed_headers);
        snprintf(auth.signed_headers + at, sizeof(auth.signed_headers) - at, "%s%s",
                 i > 0 ? ";" : "", headers[i].name);
    }
    struct sigv4_key key = {0};
    cr_assert_eq(sigv4_expected(&req, &auth, date, c->secret, &key, hex), 0);
    if (c->bad_signature)
        hex[0] = hex[0] == '0' ? '1' : '0';
    buf_init(&out, 64u << 20);
    buf_printf(&out, "POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: %zu\r\n%s",
               strlen(body), c->more_header == NULL ? "" : c->more_header);
    for (size_t i = 0; i < n; i++)
        buf_printf(&out, "%s: %s\r\n", headers[i].name, headers[i].value);
    if (!c->unsigned_request)
        buf_printf(&out,
                   "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request, "
                   "SignedHeaders=%s, Signature=%s\r\n",
                   auth.access_key, auth.date, auth.region, auth.service, auth.signed_headers, hex);
    buf_printf(&out, "\r\n%s", body);
    struct reply r = exchange(c, out.data, out.len);
    buf_fini(&out);
    return r;
}

static inline struct reply ecs(const struct client *c, const char *operation, const char *format,
                               ...) __attribute__((format(printf, 3, 4)));
static inline struct reply sqs(const struct client *c, const char *operation, const char *format,
                               ...) __attribute__((format(printf, 3, 4)));

#define CLIENT_CALL(name, content_type, prefix)                                                    \
    static inline struct reply name(const struct client *c, const char *operation,                 \
                                    const char *format, ...)                                       \
    {                                                                                              \
        char target[128], *body = NULL;                                                            \
        va_list args;                                                                              \
        va_start(args, format);                                                                    \
        cr_assert_geq(vasprintf(&body, format, args), 0);                                          \
        va_end(args);                                                                              \
        snprintf(target, sizeof(target), prefix "%s", operation);                                  \
        struct reply r = post(c, #name, content_type, target, body);                               \
        free(body);                                                                                \
        return r;                                                                                  \
    }
CLIENT_CALL(ecs, "application/x-amz-json-1.1", "AmazonEC2ContainerServiceV20141113.")
CLIENT_CALL(sqs, "application/x-amz-json-1.0", "AmazonSQS.")

/* A control verb; args NULL or JSON text. New reference. */
static inline json_t *control(const struct client *c, const char *verb, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static inline json_t *control(const struct client *c, const char *verb, const char *format, ...)
{
    char *text = NULL;
    struct errmsg e = {0};
    json_t *answer = NULL;
    va_list args;

    va_start(args, format);
    cr_assert_geq(vasprintf(&text, format, args), 0);
    va_end(args);
    json_t *body = json_parse(text, strlen(text), &e);
    cr_assert_not_null(body, "%s", e.text);
    cr_assert_eq(devcloud_control(c->cloud, verb, body, &answer, &e), 0, "%s: %s", verb, e.text);
    json_decref(body);
    free(text);
    return answer;
}

#define CONTROL(c, ...) json_decref(control(c, __VA_ARGS__))

/* Waits until the truth has `count` tasks of a status; fails after ten seconds. */
static inline void wait_tasks(const struct client *c, const char *status, size_t count)
{
    for (int i = 0; i < 2000; i++) {
        json_t *truth = control(c, "truth", "{}");
        const json_t *one;
        size_t j, n = 0;
        json_array_foreach(json_arr(truth, "tasks"), j, one) n +=
            strcmp(json_str(one, "lastStatus"), status) == 0;
        json_decref(truth);
        if (n == count)
            return;
        usleep(5000);
    }
    cr_assert(false, "never had %zu tasks %s", count, status);
}

static inline int64_t stat_of(const struct client *c, const char *name)
{
    json_t *stats = control(c, "stats", "{}");
    int64_t value = json_int_or(stats, name, 0);

    json_decref(stats);
    return value;
}

#endif
