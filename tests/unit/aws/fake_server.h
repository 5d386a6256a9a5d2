/* SPDX-License-Identifier: Apache-2.0
 * A small HTTP/1.1 server on loopback for the tests of the AWS client: one thread per connection,
 * a handler decides on each answer, every request is recorded as it came. */
#ifndef BLOX_TESTS_AWS_FAKE_SERVER_H
#define BLOX_TESTS_AWS_FAKE_SERVER_H

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum fake_kind {
    FAKE_ANSWER,   /* status, headers, body */
    FAKE_RESET,    /* RST after the request has been read */
    FAKE_CLOSE,    /* FIN after the request has been read */
    FAKE_TRUNCATE, /* Content-Length promises more than is sent */
    FAKE_HANG      /* no answer until the client goes away */
};

struct fake_request {
    char method[8];
    char path[512];
    char head[16384]; /* header lines, CRLF between them */
    char *body;
    size_t body_len;
    unsigned connection; /* which one it came on, from 1 */
    unsigned number;     /* which request, from 1 */
};

struct fake_answer {
    enum fake_kind kind;
    int status;
    const char *headers; /* further lines, each with CRLF; or NULL */
    char body[65536];
    size_t huge; /* that many bytes of 'x' as the body instead */
};

struct fake {
    int fd;
    int port;
    char url[64];
    pthread_t thread;
    pthread_mutex_t lock;
    void (*handler)(void *arg, const struct fake_request *rq, struct fake_answer *answer);
    void *arg;
    unsigned connections;
    unsigned count;
    struct fake_request *requests[512];
};

struct fake_conn {
    struct fake *f;
    int fd;
    unsigned number;
};

/* Value of a header into out; false if there is none. */
static inline bool fake_header(const struct fake_request *rq, const char *name, char *out,
                               size_t cap)
{
    size_t n = strlen(name);
    for (const char *p = rq->head; p != NULL && *p != '\0';) {
        size_t len = strcspn(p, "\r");
        if (len > n && p[n] == ':' && strncasecmp(p, name, n) == 0) {
            const char *v = p + n + 1;
            v += strspn(v, " ");
            snprintf(out, cap, "%.*s", (int)(len - (size_t)(v - p)), v);
            return true;
        }
        p = p[len] == '\0' ? NULL : p + len + 2;
    }
    return false;
}

static inline bool fake_read(struct fake_conn *c, struct fake_request *rq)
{
    char *buffer = malloc(1 << 21);
    size_t len = 0;
    char *end = NULL;
    while (end == NULL) {
        ssize_t n = recv(c->fd, buffer + len, (1 << 21) - 1 - len, 0);
        if (n <= 0) {
            free(buffer);
            return false;
        }
        len += (size_t)n;
        buffer[len] = '\0';
        end = strstr(buffer, "\r\n\r\n");
    }
    char *line_end = strstr(buffer, "\r\n");
    *line_end = '\0';
    sscanf(buffer, "%7s %511s", rq->method, rq->path);
    snprintf(rq->head, sizeof rq->head, "%.*s", end > line_end ? (int)(end - line_end - 2) : 0,
             line_end + 2);
    size_t head = (size_t)(end + 4 - buffer);
    char text[32] = "0";
    fake_header(rq, "Content-Length", text, sizeof text);
    rq->body_len = strtoul(text, NULL, 10);
    while (len < head + rq->body_len) {
        ssize_t n = recv(c->fd, buffer + len, (1 << 21) - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    rq->body = calloc(1, rq->body_len + 1);
    memcpy(rq->body, buffer + head, rq->body_len);
    free(buffer);
    return true;
}

static inline void fake_send(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len > 0) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        p += n;
        len -= (size_t)n;
    }
}

static inline bool fake_reply(struct fake_conn *c, const struct fake_answer *a)
{
    char head[4096];
    size_t len = a->huge > 0 ? a->huge : strlen(a->body);
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    switch (a->kind) {
    case FAKE_RESET:
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        return false;
    case FAKE_CLOSE:
        return false;
    case FAKE_HANG:
        while (recv(c->fd, head, sizeof head, 0) > 0)
            continue;
        return false;
    case FAKE_ANSWER:
    case FAKE_TRUNCATE:
        break;
    }
    bool cut = a->kind == FAKE_TRUNCATE;
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d Status\r\n%sContent-Length: %zu\r\n\r\n",
                     a->status == 0 ? 200 : a->status, a->headers == NULL ? "" : a->headers,
                     len + (cut ? 1000 : 0));
    fake_send(c->fd, head, (size_t)n);
    if (a->huge > 0) {
        char block[4096];
        memset(block, 'x', sizeof block);
        for (size_t left = len; left > 0; left -= left < sizeof block ? left : sizeof block)
            fake_send(c->fd, block, left < sizeof block ? left : sizeof block);
    } else {
        fake_send(c->fd, a->body, len);
    }
    return !cut;
}

static inline void *fake_serve(void *arg)
{
    struct fake_conn *c = arg;
    struct fake *f = c->f;
    for (bool more = true; more;) {
        struct fake_request *rq = calloc(1, sizeof *rq);
        struct fake_answer *answer = calloc(1, sizeof *answer);
        rq->connection = c->number;
        more = fake_read(c, rq);
        if (more) {
            pthread_mutex_lock(&f->lock);
            rq->number = ++f->count;
            if (rq->number <= 512)
                f->requests[rq->number - 1] = rq;
            f->handler(f->arg, rq, answer);
            pthread_mutex_unlock(&f->lock);
            more = fake_reply(c, answer);
        } else {
            free(rq);
        }
        free(answer);
    }
    close(c->fd);
    free(c);
    return NULL;
}

static inline void *fake_accept(void *arg)
{
    struct fake *f = arg;
    for (;;) {
        int fd = accept(f->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        struct fake_conn *c = calloc(1, sizeof *c);
        pthread_t thread;
        *c = (struct fake_conn){f, fd, ++f->connections};
        pthread_create(&thread, NULL, fake_serve, c);
        pthread_detach(thread);
    }
}

/* Runs until the test's process ends (Criterion forks one for each test). f is static: what it
 * records stays reachable, which LeakSanitizer wants. */
static inline void
fake_start(struct fake *f,
           void (*handler)(void *, const struct fake_request *, struct fake_answer *), void *arg)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    memset(f, 0, sizeof *f);
    f->handler = handler;
    f->arg = arg;
    pthread_mutex_init(&f->lock, NULL);
    f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (f->fd < 0 || bind(f->fd, (struct sockaddr *)&sa, sizeof sa) != 0 ||
        listen(f->fd, 64) != 0 || getsockname(f->fd, (struct sockaddr *)&sa, &len) != 0)
        abort();
    f->port = ntohs(sa.sin_port);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d", f->port);
    pthread_create(&f->thread, NULL, fake_accept, f);
}

/* All requests as JSON lines for tests/compat/verify_requests.py, keys as given. */
static inline void fake_dump(struct fake *f, FILE *out, const char *access_key, const char *secret,
                             const char *token, const char *region, const char *service)
{
    pthread_mutex_lock(&f->lock);
    for (unsigned i = 0; i < f->count && i < 512; i++) {
        const struct fake_request *rq = f->requests[i];
        json_t *headers = json_array();
        for (const char *p = rq->head; *p != '\0';) {
            size_t len = strcspn(p, "\r");
            json_array_append_new(headers, json_stringn(p, len));
            p += p[len] == '\0' ? len : len + 2;
        }
        json_t *line =
            json_pack("{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:s, s:s}", "method", rq->method, "path",
                      rq->path, "headers", headers, "body", rq->body, "access_key", access_key,
                      "secret", secret, "token", token, "region", region, "service", service);
        json_dumpf(line, out, JSON_COMPACT);
        fputc('\n', out);
        json_decref(line);
    }
    pthread_mutex_unlock(&f->lock);
}

#endif
