/* SPDX-License-Identifier: Apache-2.0
 * Streams: from their own side, with sources and sockets of the tests; and as clients see them. */
#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/api/server.h"
#include "agent/base/clock.h"
#include "tests/unit/api/fixture.h"

#define WATCH "GET /v2/watch?kinds=environment HTTP/1.1\r\nHost: localhost\r\n"

static struct fixture f;
static struct streams t;
static struct errmsg e;
static char text[4u << 20];

static void sleep_until(bool (*is_so)(void *), void *arg)
{
    for (unsigned i = 0; i < 20000 && !is_so(arg); i++)
        usleep(1000);
    cr_assert(is_so(arg));
}

static bool none_open(void *arg)
{
    return atomic_load(&((struct streams *)arg)->count) == 0;
}

static void say(int fd, const char *request)
{
    cr_assert_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
}

static int ask(const char *request)
{
    int fd = http_connect(&f);
    say(fd, request);
    return fd;
}

/* All until the end; its length. */
static size_t read_all(int fd, char *out, size_t cap)
{
    size_t len = 0;
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 20000), 1);
        ssize_t n = recv(fd, out + len, cap - 1 - len, 0);
        if (n <= 0)
            break;
        len += (size_t)n;
        cr_assert_lt(len + 1, cap);
    }
    out[len] = '\0';
    return len;
}

/* Takes the form of HTTP/1.1 away, in place. false: it does not end as it should. */
static bool take_chunks(char *body, size_t *len)
{
    size_t from = 0, to = 0;
    for (;;) {
        char *end;
        unsigned long n = strtoul(body + from, &end, 16);
        size_t at = (size_t)(end - body);
        if (end == body + from || at + 2 + n + 2 > *len || memcmp(end, "\r\n", 2) != 0 ||
            memcmp(body + at + 2 + n, "\r\n", 2) != 0)
            return false;
        memmove(body + to, body + at + 2, n);
        to += n;
        from = at + 2 + n + 2;
        if (n == 0)
            break;
    }
    bool whole = from == *len;
    *len = to;
    body[to] = '\0';
    return whole;
}

/* -- from their own side --------------------------------------------------------------- */

struct lines {
    unsigned pieces; /* to give */
    unsigned each;   /* lines of a piece */
    bool quiet;      /* in the end, instead of over */
    _Atomic unsigned given, beats, released;
};

static enum stream_says give_lines(void *arg, struct buf *out, bool beat)
{
    struct lines *l = arg;
    if (beat) {
        l->beats++;
        buf_puts(out, "beat\n");
    }
    if (l->given < l->pieces) {
        for (unsigned i = 0; i < l->each; i++)
            buf_printf(out, "%07u\n", l->given * l->each + i);
        l->given++;
    }
    return l->given < l->pieces ? STREAM_MORE : l->quiet ? STREAM_QUIET : STREAM_OVER;
}

static void release_lines(void *arg)
{
    ((struct lines *)arg)->released++;
}

static bool was_asked(void *arg)
{
    return ((struct lines *)arg)->given > 0;
}

static void start(void)
{
    fixture_start(&f, NULL);
    cr_assert_eq(streams_start(&t, f.store, &e), 0, "%s", e.text);
}

static void stop(void)
{
    streams_stop(&t);
    streams_fini(&t);
    fixture_stop(&f);
}

/* The client's end. */
static int add(struct lines *l)
{
    int pair[2];
    struct buf head;
    buf_init(&head, 100);
    buf_puts(&head, "head\r\n\r\n");
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct stream_source source = {
        .kinds = 1u << RECORD_TASK, .read = give_lines, .release = release_lines, .arg = l};
    cr_assert_eq(streams_add(&t, pair[0], true, &head, &source), 0);
    close(pair[0]);
    return pair[1];
}

static size_t body_of(int fd)
{
    size_t len = read_all(fd, text, sizeof text);
    cr_assert_eq(memcmp(text, "head\r\n\r\n", 8), 0);
    memmove(text, text + 8, len - 8 + 1);
    return len - 8;
}

static void expect_lines(size_t len, unsigned count)
{
    cr_assert_eq(len, 8u * count);
    for (unsigned i = 0; i < count; i++)
        cr_assert_eq(strtoul(text + 8u * i, NULL, 10), i);
}

Test(stream, a_slow_reader_costs_one_piece_and_gets_all)
{
    struct lines slow = {.pieces = 100, .each = 4000}, fast = slow;
    start();
    int slow_fd = add(&slow), fast_fd = add(&fast);
    size_t len = body_of(fast_fd);
    cr_assert(take_chunks(text, &len));
    expect_lines(len, 400000);
    cr_assert_lt(slow.given, 50, "its source was asked although it takes nothing");
    len = body_of(slow_fd);
    cr_assert(take_chunks(text, &len));
    expect_lines(len, 400000);
    sleep_until(none_open, &t);
    cr_assert_eq(slow.released, 1);
    cr_assert_eq(fast.released, 1);
    close(slow_fd);
    close(fast_fd);
    stop();
}

Test(stream, a_client_that_takes_nothing_is_given_up)
{
    struct lines endless = {.pieces = 1000000, .each = 4000};
    start();
    t.stuck_ms = 50;
    int fd = add(&endless);
    sleep_until(none_open, &t);
    cr_assert_eq(endless.released, 1);
    close(fd);
    stop();
}

Test(stream, a_client_that_went_away_is_noticed)
{
    struct lines idle = {.quiet = true}, busy = {.pieces = 1000000, .each = 4000};
    start();
    close(add(&idle));
    int fd = add(&busy);
    (void)!read(fd, text, 100);
    close(fd);
    sleep_until(none_open, &t);
    cr_assert_eq(idle.released, 1);
    cr_assert_eq(busy.released, 1);
    stop();
}

Test(stream, quiet_ones_are_asked_for_a_sign_of_life)
{
    struct lines idle = {.quiet = true};
    start();
    t.beat_ms = 64;
    int fd = add(&idle);
    cr_assert(http_read_until(fd, "5\r\nbeat\n\r\n5\r\nbeat\n\r\n", text, sizeof text));
    cr_assert_geq(idle.beats, 2);
    close(fd);
    stop();
}

Test(stream, changes_of_its_kinds_wake_it_and_no_others)
{
    struct lines idle = {.pieces = 1, .each = 1, .quiet = true};
    start();
    int fd = add(&idle);
    cr_assert(http_read_until(fd, "0000000\n", text, sizeof text));
    fixture_put_environment(&f, "web", "active");
    idle.pieces = 2;
    fixture_put_instance(&f, INSTANCE_1, "i-1", "ACTIVE");
    struct lines other = {.pieces = 1, .each = 1};
    int other_fd = add(&other); /* is served after those that were woken before */
    size_t len = body_of(other_fd);
    cr_assert_gt(len, 0);
    cr_assert_eq(idle.given, 1);
    fixture_put_task(&f, 1, "RUNNING", 1);
    cr_assert(http_read_until(fd, "0000001\n", text, sizeof text));
    close(fd);
    close(other_fd);
    stop();
}

Test(stream, stop_ends_them_whole_if_their_clients_keep_up)
{
    struct lines idle = {.pieces = 1, .each = 10, .quiet = true};
    struct lines slow = {.pieces = 2, .each = 100000}; /* more than a socket holds */
    start();
    int idle_fd = add(&idle), slow_fd = add(&slow);
    cr_assert(http_read_until(idle_fd, "0000009\n\r\n", text, sizeof text));
    sleep_until(was_asked, &slow);
    streams_stop(&t);
    cr_assert_eq(read_all(idle_fd, text, sizeof text), 5);
    cr_assert_str_eq(text, "0\r\n\r\n");
    size_t len = body_of(slow_fd);
    cr_assert_not(take_chunks(text, &len), "what was cut off looks whole");
    cr_assert_eq(idle.released + slow.released, 2);
    struct buf head;
    buf_init(&head, 10);
    struct stream_source source = {.read = give_lines, .release = release_lines, .arg = &idle};
    cr_assert_eq(streams_add(&t, slow_fd, true, &head, &source), ERR_CLOSED);
    close(idle_fd);
    close(slow_fd);
    streams_fini(&t);
    fixture_stop(&f);
}

/* -- as clients see them ------------------------------------------------------------------ */

static size_t count_of(const char *part)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, part)) != NULL; p++)
        n++;
    return n;
}

static void allow_files(void)
{
    struct rlimit files;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max < 4096 ? files.rlim_max : 4096;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
}

Test(stream, all_of_a_thousand_get_a_change_and_one_more_is_refused)
{
    static int fds[API_STREAMS_MAX];
    allow_files();
    fixture_start(&f, NULL);
    for (size_t i = 0; i < API_STREAMS_MAX; i++) {
        fds[i] = ask(WATCH "\r\n");
        cr_assert(http_read_until(fds[i], "\"synced\"", text, sizeof text));
    }
    struct http h = http_get(&f, "/v2/watch");
    cr_assert_eq(h.status, 429);
    cr_assert_not_null(strstr(h.body, "too-many-requests"));
    http_free(&h);
    h = http_get(&f, "/v1/stream/tasks");
    cr_assert_eq(h.status, 429);
    cr_assert_str_eq(h.body, "Too many streams are open\n");
    http_free(&h);
    fixture_put_environment(&f, "web", "active");
    for (size_t i = 0; i < API_STREAMS_MAX; i++) {
        cr_assert(http_read_until(fds[i], "\"id\":\"web\"", text, sizeof text), "the %zuth", i);
        close(fds[i]);
    }
    sleep_until(none_open, &f.api->streams);
    h = http_get(&f, "/v1/stream/tasks?entityVersion=x");
    cr_assert_eq(h.status, 400);
    http_free(&h);
    fixture_stop(&f);
}

Test(stream, half_closed_clients_get_what_there_is_and_the_end)
{
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 500);
    int fd = ask("GET /v2/watch?kinds=task HTTP/1.1\r\nHost: localhost\r\n\r\n");
    cr_assert_eq(shutdown(fd, SHUT_WR), 0);
    size_t len = read_all(fd, text, sizeof text);
    char *body = strstr(text, "\r\n\r\n") + 4;
    len -= (size_t)(body - text);
    cr_assert(take_chunks(body, &len));
    cr_assert_eq(count_of("{\"event\":\"put\""), 500);
    cr_assert_eq(count_of("{\"event\":\"synced\""), 1);
    close(fd);
    fixture_stop(&f);
}

Test(stream, quiet_watches_tell_how_old_the_rows_are)
{
    struct api_facts facts = {.complete_unix_ms = clock_unix_ms()};
    fixture_start(&f, NULL);
    f.api->streams.beat_ms = 64;
    int fd = ask(WATCH "Accept: text/event-stream\r\n\r\n");
    cr_assert(http_read_until(fd, "event: heartbeat\ndata: {\"event\":\"heartbeat\"}\n\n", text,
                              sizeof text));
    api_set_facts(f.api, &facts);
    cr_assert(http_read_until(fd, "{\"event\":\"heartbeat\",\"staleness_ms\":", text, sizeof text));
    close(fd);
    fixture_stop(&f);
}

Test(stream, a_watch_hears_of_deletions_in_its_cluster_only)
{
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 1);
    fixture_put(&f, RECORD_TASK, "far/1", 1, "{\"taskArn\":\"far/1\",\"clusterArn\":\"far\"}");
    int fd = ask("GET /v2/watch?kinds=task&cluster=prod HTTP/1.1\r\nHost: localhost\r\n\r\n");
    cr_assert(http_read_until(fd, "\"synced\"", text, sizeof text));
    fixture_delete(&f, RECORD_TASK, "far/1", 1);
    fixture_delete(&f, RECORD_TASK,
                   "arn:aws:ecs:us-east-1:111122223333:task/prod/00000000000000000000000000000001",
                   1);
    cr_assert(http_read_until(fd, "\"delete\"", text, sizeof text));
    cr_assert_null(strstr(text, "far/1"), "%s", text);
    close(fd);
    fixture_stop(&f);
}

Test(stream, empty_filters_are_none)
{
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 1);
    int fd = ask("GET /v2/watch?kinds=task&cluster=&environment= HTTP/1.1\r\n"
                 "Host: localhost\r\n\r\n");
    cr_assert(http_read_until(fd, "\"synced\"", text, sizeof text));
    cr_assert_not_null(strstr(text, "\"put\""), "%s", text);
    close(fd);
    fixture_stop(&f);
}

Test(stream, heads)
{
    char value[256];
    fixture_start(&f, NULL);
    struct http h = http_do(&f, "HEAD", "/v2/watch", NULL, NULL);
    cr_assert_eq(h.status, 200);
    cr_assert_str_eq(http_header(&h, "Content-Length", value), "", "a stream has no length");
    http_free(&h);
    int fd = ask("GET /v1/stream/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n");
    cr_assert(http_read_until(fd, "\r\n\r\n", text, sizeof text));
    cr_assert_not_null(strstr(text, "\r\nConnection: Keep-Alive\r\n"), "%s", text);
    close(fd);
    fixture_stop(&f);
}

static int connect_unix(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof un.sun_path, "%s", f.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)(const void *)&un, sizeof un), 0);
    return fd;
}

/* A client of HTTP/1.0 knows no chunks: for it the end is the end of the connection. */
Test(stream, both_forms_of_http_over_both_sockets)
{
    fixture_start(&f, NULL);
    for (unsigned i = 0; i < 4; i++) {
        int fd = i % 2 ? connect_unix() : http_connect(&f);
        say(fd, i < 2 ? WATCH "\r\n"
                      : "GET /v2/watch?kinds=environment HTTP/1.0\r\nHost: localhost\r\n"
                        "Connection: keep-alive\r\n\r\n");
        cr_assert(http_read_until(fd, "\"synced\"", text, sizeof text));
        cr_assert_eq(strncmp(text, "HTTP/1.1 200 OK\r\nDate: ", 23), 0);
        cr_assert_not_null(strstr(text, "\r\nConnection: close\r\n"));
        cr_assert_not_null(strstr(text, "\r\nBlox-Request-Id: "));
        cr_assert_eq(strstr(text, "\r\nTransfer-Encoding: chunked\r\n") != NULL, i < 2);
        cr_assert_eq(strstr(text, "\r\n\r\n{\"event\"") != NULL, i >= 2);
        fixture_put_environment(&f, "web", i % 2 ? "active" : "deleting");
        cr_assert(http_read_until(fd, "}}\n", text, sizeof text));
        cr_assert_eq(shutdown(fd, SHUT_WR), 0);
        size_t len = read_all(fd, text, sizeof text);
        cr_assert_str_eq(text + len - (len < 5 ? len : 5), i < 2 ? "0\r\n\r\n" : "");
        close(fd);
    }
    fixture_stop(&f);
}

Test(stream, a_watch_may_follow_other_requests_and_ignores_what_follows_it)
{
    fixture_start(&f, NULL);
    int fd = ask("GET /v2/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n" WATCH
                 "\r\nGET /v2/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n");
    cr_assert(http_read_until(fd, "\"synced\"", text, sizeof text));
    cr_assert_eq(count_of("HTTP/1.1 200 OK"), 2);
    say(fd, "GET /v2/tasks HTTP/1.1\r\n\r\n\x16\x03");
    fixture_put_environment(&f, "web", "active");
    cr_assert(http_read_until(fd, "\"id\":\"web\"", text, sizeof text));
    cr_assert_eq(count_of("HTTP/1.1"), 0);
    close(fd);
    sleep_until(none_open, &f.api->streams);
    fixture_stop(&f);
}

Test(stream, the_server_stops_while_they_are_open)
{
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 2000);
    int idle = ask(WATCH "\r\n");
    cr_assert(http_read_until(idle, "\"synced\"", text, sizeof text));
    int busy = ask("GET /v2/watch?kinds=task HTTP/1.1\r\nHost: localhost\r\n\r\n");
    cr_assert(http_read_until(busy, "\"put\"", text, sizeof text));
    fixture_stop_api(&f);
    read_all(idle, text, sizeof text);
    cr_assert_not_null(strstr(text, "0\r\n\r\n"));
    read_all(busy, text, sizeof text); /* it ends */
    close(idle);
    close(busy);
    fixture_stop(&f);
}

/* Watches must not take the last descriptors: the process needs some to go on. */
Test(stream, they_leave_file_descriptors_for_the_rest)
{
    enum { FREE = 150 };
    int fds[FREE], lowest = dup(0);
    size_t open = 0;
    fixture_start(&f, NULL);
    struct rlimit files;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = (rlim_t)lowest + FREE;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    for (bool goes = true; goes && open < FREE; open += goes) {
        fds[open] = ask(WATCH "\r\n");
        cr_assert(http_read_until(fds[open], "\r\n\r\n", text, sizeof text));
        goes = strstr(text, " 200 OK") != NULL;
        if (!goes) {
            cr_assert_not_null(strstr(text, " 429 "));
            close(fds[open]);
        }
    }
    cr_assert_gt(open, 5);
    int others[40];
    for (size_t i = 0; i < 40; i++)
        cr_assert_geq(others[i] = dup(0), 0);
    for (size_t i = 0; i < 40; i++)
        close(others[i]);
    struct http h = http_get(&f, "/v2/tasks");
    cr_assert_eq(h.status, 200);
    http_free(&h);
    close(fds[--open]);
    for (long status = 0; status != 200;) { /* once the server has noticed */
        int fd = ask(WATCH "\r\n");
        cr_assert(http_read_until(fd, "\r\n\r\n", text, sizeof text));
        status = strtol(text + 9, NULL, 10);
        close(fd);
    }
    while (open > 0)
        close(fds[--open]);
    close(lowest);
    fixture_stop(&f);
}
