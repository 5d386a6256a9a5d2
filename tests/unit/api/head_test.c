/* SPDX-License-Identifier: Apache-2.0
 * Heads of requests as they come over the wire, also from those who mean no good. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/api/ask.h"

#define LOCAL "Host: localhost\r\n"
#define JSON "Content-Type: application/json\r\n"

#define ODD "\"pointer\":\"header\""

static struct fixture f;

static void answer(struct fixture *fixture, struct api_write *w)
{
    (void)fixture;
    json_t *body = json_pack("{s:s}", "name", "web");
    api_write_done(w, 0, NULL, NULL, body, NULL);
    json_decref(body);
}

/* What comes back until the text was seen, or until the end. */
static void say(const char *request, size_t len, const char *until, char *out, size_t cap)
{
    int fd = http_connect(&f);
    cr_assert_eq(send(fd, request, len, MSG_NOSIGNAL), (ssize_t)len);
    (void)http_read_until(fd, until, out, cap);
    close(fd);
}

Test(head, what_it_may_not_say)
{
    static const struct {
        const char *request, *line, *words;
    } cases[] = {
        {"GET /v2/tasks HTTP/1.1\r\n" LOCAL "Host: evil.example\r\n\r\n", "400 ",
         "\"pointer\":\"Host\""},
        {"GET /v1/tasks HTTP/1.1\r\n" LOCAL LOCAL "\r\n", "400 ", "Host is given twice\n"},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON
         "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
         "400 ", "\"pointer\":\"Content-Length\""},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON
         "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
         "400 ", "\"code\":\"bad-header\""},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON
         "Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
         "400 ", ODD},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON
         "Transfer-Encoding:\r\n chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
         "400 ", ODD},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON "content-length:\r\n\t2\r\n\r\n{}", "400 ",
         ODD},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON " Content-Length: 2\r\n\r\n{}", "400 ",
         ODD},
        {"GET /v2/tasks HTTP/1.1\r\n" LOCAL "X: a\rContent-Length: 2\r\n\r\n{}", "400 ", ODD},
        {"GET /v1/tasks HTTP/1.1\r\n" LOCAL "X\rY: a\r\n\r\n", "400 ", "may not be there"},
        {"GET /v2/tasks?limit=1 HTTP/1.1\r\n" LOCAL "X-~!#$: a\tb\xc3\xa4\r\n\r\n", "200 ",
         "{\"items\":[]"},
        {"GET /v2/tasks?limit=1 HTTP/1.1\r\nHost: \tlocalhost \t\r\nX: \t \r\nY:\r\n\r\n", "200 ",
         "{\"items\":[]"},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL "Content-Type: application/json\t\r\n"
         "Idempotency-Key: k \r\nContent-Length: 2\r\n\r\n{}",
         "201 ", "web"},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON
         "Transfer-Encoding: chunked \r\n\r\n2\r\n{}\r\n0\r\n\r\n",
         "400 ", "\"pointer\":\"Transfer-Encoding\""},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL "Transfer-Encoding: gzip\r\n\r\n", "400 ",
         "\"pointer\":\"Transfer-Encoding\""},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON
         "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
         "201 ", "web"},
        /* Told before it is sent, and instead of "100 Continue". */
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON
         "Content-Length: 300000\r\nExpect: 100-continue\r\n\r\n",
         "413 ", "\"code\":\"body-too-large\""},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL JSON "Content-Length: 9999999999\r\n\r\n",
         "413 ", "\"code\":\"body-too-large\""},
        /* Who may not ask is told no more than that. */
        {"POST /v2/environments HTTP/1.1\r\nHost: evil.example\r\n" JSON
         "Content-Length: 9999999999\r\n\r\n",
         "421 ", "host-not-allowed"},
        {"GET HTTP://LocalHost:80/v2/tasks?limit=1 HTTP/1.1\r\nHost: evil.example\r\n\r\n", "200 ",
         "{\"items\":[]"},
        {"GET http://localhost HTTP/1.1\r\n" LOCAL "\r\n", "200 ", "<!doctype html>"},
        {"GET http://localhost?x=/v2/tasks HTTP/1.1\r\n" LOCAL "\r\n", "200 ", "<!doctype html>"},
        {"GET http://evil.example/v2/tasks HTTP/1.1\r\n" LOCAL "\r\n", "421 ", "host-not-allowed"},
        {"GET http:///v2/tasks HTTP/1.1\r\n" LOCAL "\r\n", "421 ", "host-not-allowed"},
    };
    char text[65536];
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        say(cases[i].request, strlen(cases[i].request), cases[i].words, text, sizeof text);
        cr_expect_eq(strncmp(text + strlen("HTTP/1.1 "), cases[i].line, 4), 0, "%s: %s",
                     cases[i].request, text);
        cr_expect_not_null(strstr(text, cases[i].words), "%s: %s", cases[i].request, text);
        cr_expect_not_null(strstr(text, "Blox-Staleness-Ms: "), "%s: %s", cases[i].request, text);
    }
    fixture_stop(&f);
}

/* What libmicrohttpd refuses before anybody is asked, in its own words: all that the description of
 * the API says of it, and no more. */
Test(head, what_is_not_http_ends_the_connection)
{
    static const struct {
        const char *request, *line;
    } cases[] = {
        {"GET /v2/tasks\r\n\r\n", "HTTP/1.1 400 "},
        {"GET /v2/tasks HTTP/2.0\r\n" LOCAL "\r\n", "HTTP/1.1 505 "},
        {"GET /v2/tasks HTTP/1.1\r\n" LOCAL "no colon\r\n\r\n", "HTTP/1.1 400 "},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL "Content-Length: x\r\n\r\n", "HTTP/1.1 400 "},
        {"POST /v2/environments HTTP/1.1\r\n" LOCAL "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
         "HTTP/1.1 400 "},
        {"GET /%0*d HTTP/1.1\r\n" LOCAL "\r\n", "HTTP/1.1 414 "},
        {"GET / HTTP/1.1\r\n" LOCAL "X: %0*d\r\n\r\n", "HTTP/1.1 431 "},
    };
    static char request[100000], text[65536];
    fixture_start(&f, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* Exactly what there is room for: what is left unread would reset the connection. */
        int n = snprintf(request, sizeof request, "%s", cases[i].request);
        const char *filler = strstr(request, "%0*d");
        if (filler != NULL) {
            size_t at = (size_t)(filler - request);
            memset(request + at, 'a', sizeof request - at);
            n = 65536;
        }
        say(request, (size_t)n, "</html>", text, sizeof text);
        cr_expect_eq(strncmp(text, cases[i].line, strlen(cases[i].line)), 0, "%.60s: %s", request,
                     text);
        cr_expect_not_null(strstr(text, "Connection: close"), "%.60s: %s", request, text);
    }
    cr_assert_eq(count_items(&f, "/v2/tasks"), 0);
    fixture_stop(&f);
}
