/* SPDX-License-Identifier: Apache-2.0
 * The least that a commit by two of three voters can take on this machine: three processes on
 * loopback, each with a file of its own in the directory; one thread each, calls that block, no
 * encryption, nothing done but what the promise needs. The leader sends an entry as datagrams to
 * two others and writes its own at once; they write theirs and answer; two are a majority. In turns
 * with what it is made of: a local write alone, and a round of datagrams without any write.
 *
 * Usage: bench_floor DIRECTORY PAUSE_US. Each line on stdin is a number of rounds to run, answered
 * by "done"; at its end figures are printed, p50 and p99. PAUSE_US is slept before each
 * measurement: a disk and processors that did the same a moment ago take half as long. sync one
 * local write alone, nobody else writing ping        datagrams to both and the first answer, nobody
 * writes commit      from sending until two of three have it on disk own, other  the leader's own
 * write in that round, and that of the other who answered first all         until all three have it
 *   two         as commit, but the third voter is not there: two flushes instead of three
 * for each way to write:
 *   append      write at the file's end, fdatasync
 *   overwrite   write over a block that is there, fdatasync
 *   direct      the same with O_DIRECT and O_DSYNC in one call, as log/journal is written */
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "agent/base/clock.h"

enum { BLOCK = 4096, BLOCKS = 128, ENTRY = 1024, SAMPLES_MAX = 20000 };
enum way { APPEND, OVERWRITE, DIRECT, WAYS };
static const char *const ways[WAYS] = {"append", "overwrite", "direct"};

struct entry { /* a datagram; an answer is its head */
    uint64_t round, took_ns;
    uint32_t way, writes;
    uint8_t bytes[ENTRY - 24];
};
#define ANSWER 24u

static _Alignas(BLOCK) uint8_t block[BLOCK];

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

/* ---- a voter's files ---- */

static int files[WAYS];

static void files_open(const char *dir)
{
    char path[4096];
    for (int w = 0; w < WAYS; w++) {
        snprintf(path, sizeof path, "%s/floor-%d-%s", dir, (int)getpid(), ways[w]);
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        need(fd >= 0, path);
        for (int i = 0; w != APPEND && i < BLOCKS; i++)
            need(write(fd, block, BLOCK) == BLOCK, path);
        need(fsync(fd) == 0, path);
        if (w == DIRECT) {
            close(fd);
            fd = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
            need(fd >= 0, path);
        }
        files[w] = fd;
        (void)unlink(path);
    }
}

static uint64_t write_entry(const struct entry *e)
{
    uint64_t start = clock_mono_ns();
    int fd = files[e->way];
    off_t at = (off_t)(e->round % BLOCKS) * BLOCK;
    memcpy(block, e, sizeof *e);
    if (e->way == APPEND)
        need(write(fd, block, sizeof *e) == (ssize_t)sizeof *e, "write");
    else if (e->way == OVERWRITE)
        need(pwrite(fd, block, sizeof *e, at) == (ssize_t)sizeof *e, "pwrite");
    else
        need(pwrite(fd, block, BLOCK, at) == BLOCK, "pwrite");
    if (e->way != DIRECT)
        need(fdatasync(fd) == 0, "fdatasync");
    return clock_mono_ns() - start;
}

/* ---- the others ---- */

static int open_socket(struct sockaddr_in *ret)
{
    socklen_t len = sizeof *ret;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    *ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    need(fd >= 0 && bind(fd, (struct sockaddr *)(void *)ret, len) == 0 &&
             getsockname(fd, (struct sockaddr *)(void *)ret, &len) == 0,
         "socket");
    return fd;
}

static void follow(const char *dir, int fd, const struct sockaddr_in *leader)
{
    struct entry e;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    files_open(dir);
    need(connect(fd, (const struct sockaddr *)(const void *)leader, sizeof *leader) == 0,
         "connect");
    need(send(fd, &(struct entry){0}, ANSWER, 0) == ANSWER, "send"); /* ready */
    for (;;) {
        need(recv(fd, &e, sizeof e, 0) == (ssize_t)sizeof e, "recv");
        e.took_ns = e.writes != 0 ? write_entry(&e) : 0;
        need(send(fd, &e, ANSWER, 0) == ANSWER, "send");
    }
}

/* ---- the leader ---- */

struct samples {
    size_t count;
    double ms[SAMPLES_MAX];
};

static void add(struct samples *s, uint64_t ns)
{
    if (s->count < SAMPLES_MAX)
        s->ms[s->count++] = (double)ns / 1e6;
}

static int by_size(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static unsigned pause_us;

static void figure(const char *name, enum way way, struct samples *s)
{
    static const int percents[] = {50, 99};
    qsort(s->ms, s->count, sizeof s->ms[0], by_size);
    for (int i = 0; i < 2 && s->count > 0; i++)
        printf("{\"bench\":\"floor\",\"figure\":\"%s_p%d\",\"value\":%.4f,\"unit\":\"ms\","
               "\"way\":\"%s\",\"pause_us\":%u,\"samples\":%zu}\n",
               name, percents[i], s->ms[s->count * (size_t)percents[i] / 100], ways[way], pause_us,
               s->count);
    fflush(stdout);
}

enum { SYNC, PING, COMMIT, OWN, OTHER, ALL, TWO, FIGURES };
static const char *const names[FIGURES] = {"sync", "ping", "commit", "own", "other", "all", "two"};
static struct samples figures[WAYS][FIGURES];
static int leader_fd;
static struct sockaddr_in others[2];

static uint64_t answer(struct entry *ret)
{
    need(recv(leader_fd, ret, sizeof *ret, 0) == ANSWER, "recv");
    return clock_mono_ns();
}

static void one_round(uint64_t round, enum way way, bool writes, int count)
{
    struct entry e = {.round = round, .way = (uint32_t)way, .writes = writes}, got, late;
    struct samples *f = figures[way];
    uint64_t start = clock_mono_ns(), own = 0;
    for (int i = 0; i < count; i++)
        need(sendto(leader_fd, &e, sizeof e, 0, (struct sockaddr *)(void *)&others[i],
                    sizeof others[i]) == (ssize_t)sizeof e,
             "sendto");
    own = writes ? write_entry(&e) : 0;
    uint64_t first = answer(&got), last = count > 1 ? answer(&late) : first;
    if (!writes) {
        add(&f[PING], first - start);
    } else if (count == 1) {
        add(&f[TWO], first - start);
    } else {
        add(&f[COMMIT], first - start);
        add(&f[OWN], own);
        add(&f[OTHER], got.took_ns);
        add(&f[ALL], last - start);
    }
}

/* Each kind of measurement in turn, so that all see the same of what else goes on. */
static void run(uint64_t rounds)
{
    static uint64_t round;
    for (uint64_t n = 0; n < rounds; n++) {
        for (enum way way = 0; way < WAYS; way++) {
            struct entry e = {.round = ++round, .way = (uint32_t)way};
            usleep(pause_us);
            add(&figures[way][SYNC], write_entry(&e));
            usleep(pause_us);
            one_round(++round, way, false, 2);
            usleep(pause_us);
            one_round(++round, way, true, 2);
            usleep(pause_us);
            one_round(++round, way, true, 1);
        }
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in leader;
    struct entry e;
    char line[32];
    if (argc != 3) {
        fprintf(stderr, "usage: bench_floor DIRECTORY PAUSE_US\n");
        return 2;
    }
    pause_us = (unsigned)strtoul(argv[2], NULL, 10);
    leader_fd = open_socket(&leader);
    struct timeval patience = {.tv_sec = 10}; /* another may have ended */
    need(setsockopt(leader_fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0,
         "setsockopt");
    for (int i = 0; i < 2; i++) {
        int fd = open_socket(&others[i]);
        pid_t pid = fork();
        need(pid >= 0, "fork");
        if (pid == 0)
            follow(argv[1], fd, &leader);
        close(fd);
        answer(&e);
    }
    files_open(argv[1]);
    while (fgets(line, sizeof line, stdin) != NULL) {
        run(strtoull(line, NULL, 10));
        puts("done");
        fflush(stdout);
    }
    for (enum way way = 0; way < WAYS; way++)
        for (int i = 0; i < FIGURES; i++)
            figure(names[i], way, &figures[way][i]);
    return 0;
}
