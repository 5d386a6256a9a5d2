/* SPDX-License-Identifier: Apache-2.0
 * Which connection gives way: from their own side, with sockets and a clock of the tests; and as
 * clients see it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/api/server.h"
#include "tests/unit/api/fixture.h"

static struct fixture f;
static struct conns t;
static char text[1u << 20];

/* -- from their own side ----------------------------------------------------------------- */

struct peer {
    int fd, other; /* the client's, the server's */
    struct conn *conn;
};

static struct peer enter(uint64_t now_ms)
{
    int fds[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    struct peer p = {fds[0], fds[1], conns_enter(&t, fds[1], now_ms)};
    cr_assert_not_null(p.conn);
    return p;
}

static bool is_closed(const struct peer *p)
{
    char byte;
    ssize_t n = recv(p->fd, &byte, 1, MSG_DONTWAIT);
    cr_assert(n == 0 || (n < 0 && errno == EAGAIN));
    return n == 0;
}

static void leave(struct peer *p)
{
    conns_leave(&t, p->conn);
    close(p->fd);
    close(p->other);
}

static void answer(struct peer *p, uint64_t now_ms)
{
    conn_asks(p->conn, now_ms);
    cr_assert(conn_begin(p->conn));
    conn_sends(p->conn, now_ms);
    conn_rest(p->conn, now_ms);
}

Test(conns, the_one_that_has_waited_longest_gives_way)
{
    struct peer p[5];
    cr_assert_eq(conns_init(&t, 3), 0);
    for (unsigned i = 0; i < 3; i++)
        p[i] = enter(1000 + i);
    answer(&p[0], 2000);        /* has just been answered */
    conn_asks(p[1].conn, 3000); /* has just begun to ask */
    p[3] = enter(4000);
    cr_expect(!is_closed(&p[0]) && !is_closed(&p[1]) && is_closed(&p[2]) && !is_closed(&p[3]));
    cr_expect(!p[3].conn->is_extra);
    p[4] = enter(4000);
    cr_expect(is_closed(&p[0]) && !is_closed(&p[1]) && !is_closed(&p[3]) && !is_closed(&p[4]));
    cr_expect_eq(conns_open(&t), 3u);
    cr_expect_eq(atomic_load(&t.closed_for_room), 2u);
    for (unsigned i = 0; i < 5; i++)
        leave(&p[i]);
    cr_expect_eq(conns_open(&t), 0u);
    conns_fini(&t);
}

Test(conns, who_is_being_answered_stays)
{
    struct peer p[5];
    cr_assert_eq(conns_init(&t, 2), 0);
    for (unsigned i = 0; i < 2; i++) {
        p[i] = enter(1000);
        conn_asks(p[i].conn, 1000);
        cr_assert(conn_begin(p[i].conn));
    }
    p[2] = enter(2000); /* is told so, if it asks at all */
    p[3] = enter(2001);
    cr_expect(p[2].conn->is_extra && p[3].conn->is_extra);
    cr_expect(is_closed(&p[2]) && !is_closed(&p[3]), "those that are too many are few");
    cr_expect(!is_closed(&p[0]) && !is_closed(&p[1]));
    conn_sends(p[0].conn, 3000);
    conn_sends(p[1].conn, 3001);
    leave(&p[3]);
    p[3] = enter(3000 + CONN_SENDS_MS - 1);
    cr_expect(p[3].conn->is_extra && !is_closed(&p[0]));
    leave(&p[3]);
    p[3] = enter(3000 + CONN_SENDS_MS); /* that answer is not being read */
    cr_expect(!p[3].conn->is_extra);
    cr_expect(is_closed(&p[0]) && !is_closed(&p[1]));
    for (unsigned i = 0; i < 4; i++)
        leave(&p[i]);
    conns_fini(&t);
}

Test(conns, what_a_closed_one_asks_for_is_not_done)
{
    cr_assert_eq(conns_init(&t, 1), 0);
    struct peer first = enter(1000);
    conn_asks(first.conn, 1001);
    struct peer second = enter(1002);
    cr_assert(is_closed(&first));
    conn_asks(first.conn, 1003);
    cr_expect(!conn_begin(first.conn));
    conn_sends(first.conn, 1004);
    conn_rest(first.conn, 1005);
    struct peer third = enter(1006);
    cr_expect(is_closed(&second) && !is_closed(&third), "it is not counted twice");
    leave(&first);
    leave(&second);
    leave(&third);
    cr_expect_eq(conns_open(&t), 0u);
    conns_fini(&t);
}

/* By the clock, however many bytes have come. */
Test(conns, each_may_wait_for_so_long)
{
    struct peer p[4];
    cr_assert_eq(conns_init(&t, 10), 0);
    for (unsigned i = 0; i < 4; i++)
        p[i] = enter(1000);
    cr_expect(conns_tick(&t, 1000 + CONN_NEW_MS - 1));
    uint64_t now_ms = 1000 + CONN_NEW_MS - 1;
    conn_asks(p[1].conn, now_ms);
    answer(&p[2], now_ms);
    conn_asks(p[3].conn, now_ms);
    cr_assert(conn_begin(p[3].conn));
    cr_expect(!is_closed(&p[0]));
    cr_expect(conns_tick(&t, now_ms + 1));
    cr_expect(is_closed(&p[0]) && !is_closed(&p[1]));
    conns_tick(&t, now_ms + CONN_ASKS_MS - 1);
    cr_expect(!is_closed(&p[1]));
    conns_tick(&t, now_ms + CONN_ASKS_MS);
    cr_expect(is_closed(&p[1]) && !is_closed(&p[2]));
    conns_tick(&t, now_ms + CONN_RESTS_MS - 1);
    cr_expect(!is_closed(&p[2]));
    conns_tick(&t, now_ms + CONN_RESTS_MS);
    cr_expect(is_closed(&p[2]) && !is_closed(&p[3]));
    conn_sends(p[3].conn, now_ms);
    conns_tick(&t, now_ms + 100 * CONN_RESTS_MS);
    cr_expect(!is_closed(&p[3]), "an answer takes what it takes");
    cr_expect_eq(atomic_load(&t.closed_for_time), 3u);
    for (unsigned i = 0; i < 4; i++)
        leave(&p[i]);
    cr_expect(!conns_tick(&t, now_ms));
    conns_fini(&t);
}

/* A process that may have a thousand of them needs some for other things than idle clients. */
Test(conns, they_leave_file_descriptors_for_the_rest)
{
    enum { MANY = 200 };
    static struct peer p[MANY];
    struct rlimit files;
    int lowest = dup(0);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = (rlim_t)lowest + MANY;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    cr_assert_eq(conns_init(&t, 100000), 0);
    unsigned closed = 0;
    for (unsigned i = 0; i < (MANY - 40) / 2; i++) {
        p[i] = enter(1000 + i);
        cr_assert(!is_closed(&p[0]));
    }
    for (unsigned i = (MANY - 40) / 2; i < (MANY - 10) / 2; i++) {
        p[i] = enter(1000 + i);
        cr_assert(!p[i].conn->is_extra);
    }
    for (unsigned i = 0; i < (MANY - 10) / 2; i++)
        closed += is_closed(&p[i]);
    cr_expect_geq(closed, 10u, "%u", closed);
    cr_expect_leq(closed, 15u, "%u", closed);
    cr_expect(is_closed(&p[0]));
    for (unsigned i = 0; i < (MANY - 10) / 2; i++)
        leave(&p[i]);
    close(lowest);
    conns_fini(&t);
}

/* -- as clients see it ------------------------------------------------------------------- */

#define GET "GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"

static void allow_files(void)
{
    struct rlimit files;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
}

static int ask(const char *request)
{
    int fd = http_connect(&f);
    cr_assert_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    return fd;
}

static size_t open_now(void)
{
    return conns_open(&f.api->listeners[0].conns);
}

/* A hundred more than there is room for: silent, at rest after an answer, in the middle of a head,
 * and of a body. None of them is waited for. */
Test(conns, those_who_ask_for_nothing_keep_nobody_out)
{
    enum { MANY = API_CONNECTIONS_MAX + 100 };
    static const char *const beginnings[] = {
        "", GET, "GET /v2/ta",
        "POST /v2/environments HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"};
    static int fds[MANY];
    allow_files();
    fixture_start(&f, NULL);
    for (size_t i = 0; i < MANY; i++)
        fds[i] = ask(beginnings[i % 4]);
    for (size_t i = 0; i < 10; i++) {
        struct http h = http_get(&f, "/v2/tasks");
        cr_assert_eq(h.status, 200, "%ld", h.status);
        http_free(&h);
    }
    cr_assert_leq(open_now(), (size_t)API_CONNECTIONS_MAX);
    for (size_t i = 0; i < MANY; i++)
        close(fds[i]);
    fixture_stop(&f);
}

/* Those who wait for an answer are not sent away; others are told so, but for probes of health. */
Test(conns, where_all_are_busy_newcomers_are_told_so)
{
    struct http h;
    char poll_text[256], value[256];
    int fds[2];
    fixture_start(&f, NULL);
    f.api->listeners[0].conns.max = 2;
    h = http_get(&f, "/v2/tasks");
    snprintf(poll_text, sizeof poll_text,
             "GET /v2/tasks?wait=60s&index=%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
             http_header(&h, "Blox-Index", value));
    http_free(&h);
    for (unsigned i = 0; i < 20000 && open_now() > 0; i++)
        usleep(1000); /* until the server has noticed that this one ended */
    for (size_t i = 0; i < 2; i++)
        fds[i] = ask(poll_text);
    size_t polls = 0;
    for (unsigned i = 0; i < 20000 && polls < 2; i++) {
        usleep(1000);
        pthread_mutex_lock(&f.api->waiters.lock);
        polls = f.api->waiters.polls;
        pthread_mutex_unlock(&f.api->waiters.lock);
    }
    cr_assert_eq(polls, 2u);
    h = http_get(&f, "/v2/tasks");
    cr_expect_eq(h.status, 429);
    cr_expect_str_eq(http_header(&h, "Connection", value), "close");
    cr_expect_neq(http_header(&h, "Blox-Staleness-Ms", value)[0], '\0');
    http_free(&h);
    h = http_get(&f, "/health/live");
    cr_expect_eq(h.status, 200);
    cr_expect_str_eq(http_header(&h, "Connection", value), "close");
    http_free(&h);
    h = http_unix(&f, "GET", "/v2/tasks", NULL, NULL);
    cr_expect_eq(h.status, 200, "the socket has places of its own");
    http_free(&h);
    fixture_put_task(&f, 1, "RUNNING", 1);
    for (size_t i = 0; i < 2; i++) {
        cr_expect(http_read_until(fds[i], " 200 OK", text, sizeof text));
        close(fds[i]);
    }
    long status = 0;
    for (unsigned i = 0; i < 20000 && status != 200; i++) { /* once the server has noticed */
        h = http_get(&f, "/v2/tasks");
        status = h.status;
        http_free(&h);
    }
    cr_expect_eq(status, 200);
    fixture_stop(&f);
}
