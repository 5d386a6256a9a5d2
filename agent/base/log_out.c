/* SPDX-License-Identifier: Apache-2.0
 * A pipe whose reader is slow or stuck must not hold up the loop, which has probes to answer. A
 * line is written at once where that does not wait; else a thread, made when it is first needed,
 * takes it and all that follow until it has caught up. */
#include "agent/base/log_out.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/base/log.h"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more, done;
    char *bytes; /* a ring; NULL until somebody was late */
    size_t first, len;
    int fd;
    bool writing; /* the thread holds some that came before */
    uint64_t lost;
} out = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .more = PTHREAD_COND_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
};

/* What can be written without waiting. Who reads no more gets nothing: that counts as written. */
static size_t write_now(int fd, const char *bytes, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, 0) == 0)
        return 0;
    ssize_t n = write(fd, bytes, len);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : len;
    return (size_t)n;
}

static void write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, -1) < 0)
            continue; /* interrupted */
        size_t n = write_now(fd, bytes, len);
        bytes += n;
        len -= n;
    }
}

static size_t take(char *to, size_t size)
{
    size_t n = out.len < size ? out.len : size;
    for (size_t i = 0; i < n; i++)
        to[i] = out.bytes[(out.first + i) % LOG_BACKLOG_MAX];
    out.first = (out.first + n) % LOG_BACKLOG_MAX;
    out.len -= n;
    return n;
}

static void *drain(void *arg)
{
    static char chunk[4096];
    pthread_mutex_lock(&out.lock);
    for (;;) {
        while (out.len > 0) {
            size_t n = take(chunk, sizeof chunk);
            int fd = out.fd;
            out.writing = true;
            pthread_mutex_unlock(&out.lock);
            write_all(fd, chunk, n);
            pthread_mutex_lock(&out.lock);
            out.writing = false;
        }
        uint64_t lost = out.lost;
        out.lost = 0;
        if (lost > 0) {
            pthread_mutex_unlock(&out.lock);
            LOG(LOG_WARN, "log_lines_lost", "who reads the log was too late", LU("count", lost));
            pthread_mutex_lock(&out.lock);
            continue;
        }
        pthread_cond_broadcast(&out.done);
        pthread_cond_wait(&out.more, &out.lock);
    }
    return arg;
}

static bool start(void)
{
    pthread_t thread;
    sigset_t all, before;
    if (out.bytes != NULL)
        return true;
    out.bytes = malloc(LOG_BACKLOG_MAX);
    if (out.bytes == NULL)
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are the loop's */
    int rc = pthread_create(&thread, NULL, drain, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc == 0) {
        pthread_detach(thread);
        return true;
    }
    free(out.bytes);
    out.bytes = NULL;
    return false;
}

void log_out(int fd, const char *line, size_t len)
{
    pthread_mutex_lock(&out.lock);
    size_t n = out.len == 0 && !out.writing ? write_now(fd, line, len) : 0;
    if (n < len && start() && len - n <= LOG_BACKLOG_MAX - out.len) {
        out.fd = fd;
        for (; n < len; n++)
            out.bytes[(out.first + out.len++) % LOG_BACKLOG_MAX] = line[n];
        pthread_cond_signal(&out.more);
    } else if (n < len) {
        out.lost++;
    }
    pthread_mutex_unlock(&out.lock);
}

bool log_flush(unsigned ms)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += ms / 1000;
    end.tv_nsec += (long)(ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    int rc = 0;
    pthread_mutex_lock(&out.lock);
    while (rc == 0 && (out.len > 0 || out.writing || out.lost > 0))
        rc = pthread_cond_timedwait(&out.done, &out.lock, &end);
    pthread_mutex_unlock(&out.lock);
    return rc == 0;
}
