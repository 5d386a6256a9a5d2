/* SPDX-License-Identifier: Apache-2.0
 * How soon a change is with many watchers: SSE connections to one API, all held by one other
 * process with one epoll loop, so that the client costs as little as a client can. A row changes,
 * and each connection's time is taken from the store's commit of it until its event has been read
 * whole. Usage: bench_watch [WATCHERS [CHANGES [PAUSE_MS]]]. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/limits.h"
#include "agent/base/sched.h"
#include "tests/unit/api/fixture.h"

enum { CHANGES_MAX = 10000, LATE_MS = 20000 };

/* ---- the client: a process of its own ------------------------------------------------------- */

struct watcher {
    int fd;
    char last;     /* byte that was read */
    unsigned left; /* events until it has what is waited for */
};

static struct watcher watchers[API_STREAMS_MAX];
static uint64_t arrived_ns[API_STREAMS_MAX];

static void begin(struct watcher *w, int epoll, uint16_t port)
{
    static const char request[] = "GET /v2/watch?kinds=task HTTP/1.1\r\nHost: localhost\r\n"
                                  "Accept: text/event-stream\r\n\r\n";
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    w->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ENSURE(w->fd >= 0);
    ENSURE(connect(w->fd, (const struct sockaddr *)(const void *)&to, sizeof to) == 0);
    ENSURE(send(w->fd, request, sizeof request - 1, MSG_NOSIGNAL) == (ssize_t)sizeof request - 1);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = w};
    ENSURE(epoll_ctl(epoll, EPOLL_CTL_ADD, w->fd, &e) == 0);
}

/* An event ends with an empty line: how many do these bytes end? JSON has no line ends in it. */
static unsigned ends_in(struct watcher *w, const char *text, size_t len)
{
    unsigned ends = 0;
    const char *p = text, *end = text + len;
    for (; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
        ends += (p == text ? w->last : p[-1]) == '\n';
    w->last = end[-1];
    return ends;
}

/* What is there. True: with it the last of the events that it waits for. */
static bool take(struct watcher *w)
{
    static char text[65536];
    ssize_t n = recv(w->fd, text, sizeof text, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    ENSURE(n > 0);
    unsigned ends = ends_in(w, text, (size_t)n);
    bool had = w->left == 0;
    w->left -= ends < w->left ? ends : w->left;
    return !had && w->left == 0;
}

static void wait_for_all(int epoll, unsigned count, unsigned events)
{
    struct epoll_event ready[256];
    unsigned waiting = count;
    for (unsigned i = 0; i < count; i++)
        watchers[i].left += events;
    while (waiting > 0) {
        int n = epoll_wait(epoll, ready, 256, LATE_MS);
        ENSURE(n > 0 || (n < 0 && errno == EINTR));
        for (int i = 0; i < n; i++) {
            struct watcher *w = ready[i].data.ptr;
            if (take(w)) {
                arrived_ns[w - watchers] = clock_mono_ns();
                waiting--;
            }
        }
    }
}

static int be_client(int from, int to, unsigned count, unsigned changes)
{
    uint16_t port;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    ENSURE(epoll >= 0 && read(from, &port, sizeof port) == (ssize_t)sizeof port);
    for (unsigned i = 0; i < count; i++)
        begin(&watchers[i], epoll, port);
    wait_for_all(epoll, count, 2); /* the row, and that this was all of them */
    for (unsigned i = 0; i < changes; i++) {
        ssize_t size = (ssize_t)(count * sizeof arrived_ns[0]);
        ENSURE(write(to, arrived_ns, (size_t)size) == size);
        wait_for_all(epoll, count, 1);
    }
    ENSURE(write(to, arrived_ns, count * sizeof arrived_ns[0]) > 0);
    return 0;
}

/* ---- the server ----------------------------------------------------------------------------- */

static _Atomic uint64_t committed_ns;

static void on_commit(void *arg, uint32_t kinds, uint64_t index)
{
    (void)arg, (void)kinds, (void)index;
    committed_ns = clock_mono_ns();
}

static void read_times(int from, unsigned count)
{
    size_t size = count * sizeof arrived_ns[0], have = 0;
    while (have < size) {
        ssize_t n = read(from, (char *)arrived_ns + have, size - have);
        ENSURE(n > 0);
        have += (size_t)n;
    }
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static void figure(const char *name, double *took, size_t count)
{
    qsort(took, count, sizeof *took, by_size);
    printf("{\"bench\":\"watch\",\"figure\":\"%s\",\"p50\":%.2f,\"p99\":%.2f,\"max\":%.2f,"
           "\"unit\":\"ms\",\"count\":%zu}\n",
           name, took[count / 2], took[count * 99 / 100], took[count - 1], count);
}

static void measure(struct fixture *f, int from, unsigned count, unsigned changes,
                    unsigned pause_ms)
{
    double *each = calloc((size_t)count * changes, sizeof *each);
    double *last = calloc(changes, sizeof *last), *cost = calloc(changes, sizeof *cost);
    ENSURE(each != NULL && last != NULL && cost != NULL);
    read_times(from, count); /* all watch */
    for (unsigned c = 0; c < changes; c++) {
        struct timespec cpu[2];
        usleep(pause_ms * 1000);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu[0]);
        fixture_put_task(f, 1, c % 2 == 0 ? "PENDING" : "RUNNING", c + 2);
        read_times(from, count);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu[1]);
        cost[c] = (double)(cpu[1].tv_sec - cpu[0].tv_sec) * 1e3 +
                  (double)(cpu[1].tv_nsec - cpu[0].tv_nsec) / 1e6;
        for (unsigned i = 0; i < count; i++) {
            double ms = ((double)arrived_ns[i] - (double)committed_ns) / 1e6;
            each[(size_t)c * count + i] = ms;
            last[c] = ms > last[c] ? ms : last[c];
        }
    }
    figure("change_to_each_watcher", each, (size_t)count * changes);
    figure("change_to_the_last_watcher", last, changes);
    figure("processor_of_a_change", cost, changes);
    free(each);
    free(last);
    free(cost);
}

static unsigned number(int argc, char **argv, int at, unsigned otherwise, unsigned max)
{
    unsigned long n = argc > at ? strtoul(argv[at], NULL, 10) : otherwise;
    return n < 1 ? 1 : n > max ? max : (unsigned)n;
}

int main(int argc, char **argv)
{
    static struct fixture f;
    unsigned count = number(argc, argv, 1, 1000, API_STREAMS_MAX);
    unsigned changes = number(argc, argv, 2, 100, CHANGES_MAX);
    unsigned pause_ms = number(argc, argv, 3, 50, 10000);
    struct rlimit files;
    int there[2], back[2], status = 0;
    ENSURE(getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = files.rlim_max;
    ENSURE(setrlimit(RLIMIT_NOFILE, &files) == 0);
    ENSURE(pipe(there) == 0 && pipe(back) == 0);
    pid_t client = fork();
    ENSURE(client >= 0);
    if (client == 0)
        return be_client(there[0], back[1], count, changes);
    close(back[1]);    /* its end is seen */
    sched_wake_soon(); /* as bloxd does */
    fixture_start(&f, NULL);
    fixture_put_task(&f, 1, "RUNNING", 1);
    int watch = store_watch(f.store, on_commit, NULL);
    ENSURE(watch >= 0);
    uint16_t port = (uint16_t)api_port(f.api);
    ENSURE(write(there[1], &port, sizeof port) == (ssize_t)sizeof port);
    measure(&f, back[0], count, changes, pause_ms);
    ENSURE(waitpid(client, &status, 0) == client);
    store_unwatch(f.store, watch);
    fixture_stop(&f);
    return status == 0 ? 0 : 1;
}
