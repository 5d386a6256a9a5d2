/* SPDX-License-Identifier: Apache-2.0
 * Clients that stop reading in the middle of a list: its snapshot is let go of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/api/server.h"
#include "agent/base/clock.h"
#include "tests/unit/api/ask.h"

enum { TASKS = 3000, TEXT = 16 << 20 };

static struct fixture f;
static char text[TEXT];

/* Over a unix socket the kernel takes a fifth of a megabyte, never more. */
static int begin(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    char request[1200];
    snprintf(un.sun_path, sizeof un.sun_path, "%s", f.socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)(const void *)&un, sizeof un), 0);
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    cr_assert_eq(send(fd, request, (size_t)n, MSG_NOSIGNAL), n);
    return fd;
}

/* Until the only list under way has been let go of. */
static void wait_until_let_go(void)
{
    uint64_t end_ms = clock_mono_ms() + 60000;
    bool gone = false;
    while (!gone && clock_mono_ms() < end_ms) {
        usleep(2000);
        pthread_mutex_lock(&f.api->holders.lock);
        struct list *first = f.api->holders.all.next;
        if (first != &f.api->holders.all) {
            struct held *h = LIST_OF(first, struct held, node);
            pthread_mutex_lock(&h->lock);
            gone = h->read_ms == 0;
            pthread_mutex_unlock(&h->lock);
        }
        pthread_mutex_unlock(&f.api->holders.lock);
    }
    cr_assert(gone, "it holds its snapshot");
}

/* The rest, without the marks of chunks; whether it ended whole. */
static bool read_rest(int fd, size_t *ret_len)
{
    size_t len = 0;
    for (ssize_t n; (n = recv(fd, text + len, TEXT - 1 - len, 0)) > 0;)
        len += (size_t)n;
    close(fd);
    text[len] = '\0';
    *ret_len = len;
    return len > 5 && strcmp(text + len - 5, "0\r\n\r\n") == 0;
}

static size_t count(const char *word)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p++)
        n++;
    return n;
}

static unsigned gone;

static void count_gone(struct held *h)
{
    (void)h;
    gone++;
}

#define NEVER_MS 3600000u

/* One that was read from lately, or is being read from, is kept; another one goes, once. */
Test(held, only_what_nobody_reads_from_is_let_go_of)
{
    struct holders t;
    struct held h;
    cr_assert_eq(holders_init(&t), 0);
    cr_expect_eq(t.quiet_ms, HELD_QUIET_MS);
    cr_assert_eq(held_add(&t, &h, count_gone), 0);
    t.quiet_ms = NEVER_MS;
    cr_expect(holders_tick(&t) && gone == 0, "it has just begun");
    t.quiet_ms = 1;
    h.read_ms = 1; /* long ago */
    held_begin(&h);
    cr_expect(holders_tick(&t) && gone == 0, "it is being read from");
    held_end(&h);
    cr_expect_gt(h.read_ms, 1u);
    h.read_ms = 1;
    cr_expect(holders_tick(&t) && holders_tick(&t) && gone == 1, "%u times", gone);
    held_begin(&h);
    held_end(&h);
    t.quiet_ms = NEVER_MS;
    cr_expect(holders_tick(&t) && gone == 1);
    h.read_ms = 1;
    t.quiet_ms = 1;
    cr_expect(holders_tick(&t) && gone == 2, "read from again, and left again");
    held_remove(&t, &h);
    cr_expect_not(holders_tick(&t));
    holders_fini(&t);
}

Test(held, a_list_goes_on_from_a_newer_snapshot)
{
    size_t len;
    fixture_start(&f, NULL);
    f.api->holders.quiet_ms = 20;
    fixture_put_tasks(&f, 1, TASKS);
    int fd = begin("/v1/tasks");
    wait_until_let_go();
    fixture_put_task(&f, TASKS, "STOPPED", 2);
    cr_assert(read_rest(fd, &len), "whole");
    /* A name may be cut by the mark of a chunk, in few of them. */
    cr_assert(count("\"taskARN\"") > TASKS - 200, "%zu", count("\"taskARN\""));
    cr_assert_eq(count("\"lastStatus\":\"STOPPED\""), 2u, "the newer row, and its container");
    fixture_stop(&f);
}

Test(held, a_page_is_of_one_moment_or_cut)
{
    size_t len;
    char path[900], token[700];
    fixture_start(&f, NULL);
    f.api->holders.quiet_ms = 20;
    fixture_put_tasks(&f, 1, TASKS);
    int fd = begin("/v2/tasks?limit=1000");
    wait_until_let_go();
    cr_assert_not(read_rest(fd, &len), "it does not look whole");
    cr_assert(len > 1000 && strstr(text, "200 OK") != NULL);
    /* A later page's moment is kept for whoever asks again. */
    json_t *doc = get_json(&f, "/v2/tasks?limit=10", 200);
    snprintf(token, sizeof token, "%s", json_str_or(doc, "next_token", ""));
    json_decref(doc);
    fixture_put_tasks(&f, TASKS + 1, 10);
    snprintf(path, sizeof path, "/v2/tasks?limit=1000&next_token=%s", token);
    fd = begin(path);
    wait_until_let_go();
    cr_assert_not(read_rest(fd, &len));
    cr_assert_eq(count_items(&f, path), 1000u);
    fixture_stop(&f);
}
