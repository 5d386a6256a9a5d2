/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/process_uv.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/base/buf.h"

#define OUTPUT_MAX (64u * 1024)
#define COMPLAINT_MAX 512u

struct stream {
    uv_pipe_t pipe;
    struct process *p;
    struct buf text;
    char chunk[4096];
    bool ended;
};

struct process {
    uv_process_t child;
    uv_timer_t timer;
    struct stream out;
    struct stream complaint; /* standard error: the end of it goes into the trouble text */
    int64_t exit_status;
    int signal;
    bool exited;
    bool timed_out;
    unsigned open; /* handles */
    process_done_fn done;
    void *arg;
    void (*gone)(void *arg);
    void *gone_arg;
};

static void on_closed(uv_handle_t *handle)
{
    struct process *p = handle->data;
    if (--p->open > 0)
        return;
    explicit_bzero(p->out.chunk, sizeof p->out.chunk);
    if (p->out.text.data != NULL)
        explicit_bzero(p->out.text.data, p->out.text.cap);
    buf_fini(&p->out.text);
    buf_fini(&p->complaint.text);
    if (p->gone != NULL)
        p->gone(p->gone_arg);
    free(p);
}

static void kill_all(struct process *p)
{
    if (!p->exited)
        kill(-p->child.pid, SIGKILL); /* it leads its own process group */
}

static void close_all(struct process *p)
{
    uv_handle_t *const handles[] = {(uv_handle_t *)&p->child, (uv_handle_t *)&p->timer,
                                    (uv_handle_t *)&p->out.pipe, (uv_handle_t *)&p->complaint.pipe};
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++)
        if (!uv_is_closing(handles[i]))
            uv_close(handles[i], on_closed);
}

/* Printable words of standard error, for the trouble text. */
static void clean(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
}

static void maybe_done(struct process *p)
{
    if (!p->exited || (!p->out.ended && !p->timed_out && p->done != NULL))
        return;
    process_done_fn done = p->done;
    p->done = NULL;
    if (done != NULL) {
        struct errmsg why = {0};
        int err = 0;
        if (p->complaint.text.data != NULL)
            clean(p->complaint.text.data);
        if (p->timed_out)
            err = errmsg_set(&why, ERR_TIMEOUT, "it did not end in time and was killed");
        else if (p->out.text.err != 0)
            err = errmsg_set(&why, ERR_TOOBIG, "it printed more than %u bytes", OUTPUT_MAX);
        else if (p->exit_status != 0 || p->signal != 0)
            err = errmsg_set(&why, ERR_AUTH, "it ended with %s %d: %.120s",
                             p->signal != 0 ? "signal" : "status",
                             p->signal != 0 ? p->signal : (int)p->exit_status,
                             p->complaint.text.data == NULL ? "" : p->complaint.text.data);
        done(p->arg, err, p->out.text.data == NULL ? "" : p->out.text.data, p->out.text.len,
             why.text);
    }
    close_all(p);
}

static void on_exit_status(uv_process_t *child, int64_t exit_status, int term_signal)
{
    struct process *p = child->data;
    p->exited = true;
    p->exit_status = exit_status;
    p->signal = term_signal;
    maybe_done(p);
}

static void on_timeout(uv_timer_t *timer)
{
    struct process *p = timer->data;
    kill_all(p);
    p->timed_out = true;
    maybe_done(p); /* it may have gone and left a child that holds the pipe */
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct process *p = handle->data;
    struct stream *s = handle == (uv_handle_t *)&p->out.pipe ? &p->out : &p->complaint;
    *buf = uv_buf_init(s->chunk, sizeof s->chunk);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct process *p = stream->data;
    struct stream *s = stream == (uv_stream_t *)&p->out.pipe ? &p->out : &p->complaint;
    if (n < 0) {
        uv_read_stop(stream);
        s->ended = true;
        maybe_done(p);
    } else if (buf_put(&s->text, buf->base, (size_t)n) != 0 && s == &p->out) {
        kill_all(p);
    }
}

static void stream_open(struct process *p, struct stream *s, uv_loop_t *loop, size_t max)
{
    uv_pipe_init(loop, &s->pipe, 0);
    s->pipe.data = p;
    s->p = p;
    buf_init(&s->text, max);
    p->open++;
}

struct process *process_start(struct uv_loop_s *loop, const char *command, uint64_t timeout_ms,
                              process_done_fn done, void *arg, struct errmsg *e)
{
    struct process *p = calloc(1, sizeof *p);
    char *text = strdup(command);
    if (p == NULL || text == NULL) {
        free(p);
        free(text);
        errmsg_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    char shell[] = "/bin/sh";
    char flag[] = "-c";
    char *args[] = {shell, flag, text, NULL};
    stream_open(p, &p->out, loop, OUTPUT_MAX);
    stream_open(p, &p->complaint, loop, COMPLAINT_MAX);
    uv_timer_init(loop, &p->timer);
    p->timer.data = p;
    p->open += 2;
    p->done = done;
    p->arg = arg;
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&p->out.pipe},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE,
         .data.stream = (uv_stream_t *)&p->complaint.pipe}};
    uv_process_options_t options = {.exit_cb = on_exit_status,
                                    .file = shell,
                                    .args = args,
                                    .stdio = stdio,
                                    .stdio_count = 3,
                                    .flags = UV_PROCESS_DETACHED};
    int rc = uv_spawn(loop, &p->child, &options); /* the handle needs a close even if it fails */
    free(text);
    p->child.data = p;
    if (rc != 0) {
        errmsg_set(e, ERR_AUTH, "it cannot be started: %s", uv_strerror(rc));
        p->done = NULL;
        p->exited = true;
        close_all(p);
        return NULL;
    }
    uv_timer_start(&p->timer, on_timeout, timeout_ms, 0);
    uv_read_start((uv_stream_t *)&p->out.pipe, on_alloc, on_read);
    uv_read_start((uv_stream_t *)&p->complaint.pipe, on_alloc, on_read);
    return p;
}

void process_cancel(struct process *p, void (*gone)(void *arg), void *arg)
{
    p->done = NULL;
    p->gone = gone;
    p->gone_arg = arg;
    kill_all(p);
    maybe_done(p); /* else when its exit is seen: a handle closed before leaves a zombie */
}
