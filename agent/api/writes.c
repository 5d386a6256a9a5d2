/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/writes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/limits.h"

int writes_init(struct writes *w)
{
    memset(w, 0, sizeof *w);
    list_init(&w->open);
    return pthread_mutex_init(&w->lock, NULL) == 0 ? 0 : ERR_NOMEM;
}

void writes_fini(struct writes *w)
{
    pthread_mutex_destroy(&w->lock);
}

static void unref(struct write_call *call)
{
    pthread_mutex_lock(&call->lock);
    bool last = --call->refs == 0;
    pthread_mutex_unlock(&call->lock);
    if (!last)
        return;
    json_decref(call->write.command);
    json_decref(call->head);
    buf_fini(&call->body);
    pthread_mutex_destroy(&call->lock);
    free(call);
}

/* Under call->lock. The first answer counts. */
static void finish(struct write_call *call, int err, const char *detail)
{
    if (call->conn == NULL)
        return;
    call->done = true;
    call->err = err;
    snprintf(call->detail, sizeof call->detail, "%s", detail == NULL ? err_text(err) : detail);
    MHD_resume_connection(call->conn);
    call->conn = NULL;
}

int writes_submit(struct writes *w, struct MHD_Connection *conn, json_t *command,
                  void (*submit)(void *arg, struct api_write *write), void *arg,
                  struct write_call **ret)
{
    struct write_call *call = calloc(1, sizeof *call);
    if (call == NULL || pthread_mutex_init(&call->lock, NULL) != 0) {
        free(call);
        json_decref(command);
        return ERR_NOMEM;
    }
    call->write.command = command;
    call->write.impl = call;
    call->conn = conn;
    call->refs = 1;
    list_init(&call->node);
    buf_init(&call->body, GOSSIP_MESSAGE_MAX); /* one line for each of 8,192 members fits */
    pthread_mutex_lock(&w->lock);
    int err = w->stop ? ERR_CLOSED : w->count >= WRITES_OPEN_MAX ? ERR_BUSY : 0;
    if (err == 0) {
        list_push(&w->open, &call->node);
        w->count++;
        call->refs = 2;
        MHD_suspend_connection(conn);
    }
    pthread_mutex_unlock(&w->lock);
    if (err != 0) {
        unref(call);
        return err;
    }
    *ret = call;
    submit(arg, &call->write);
    return 0;
}

void writes_release(struct writes *w, struct write_call *call)
{
    pthread_mutex_lock(&w->lock);
    list_remove(&call->node);
    w->count--;
    pthread_mutex_unlock(&w->lock);
    unref(call);
}

void writes_stop(struct writes *w)
{
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    for (struct list *n = w->open.next; n != &w->open; n = n->next) {
        struct write_call *call = LIST_OF(n, struct write_call, node);
        pthread_mutex_lock(&call->lock);
        finish(call, ERR_CLOSED,
               "this agent is stopping; the write may still take effect: ask another agent");
        pthread_mutex_unlock(&call->lock);
    }
    pthread_mutex_unlock(&w->lock);
}

void api_write_done(struct api_write *write, int err, const char *detail, const char *field,
                    const json_t *body, const char *forwarded_to)
{
    struct write_call *call = write->impl;
    pthread_mutex_lock(&call->lock);
    if (call->conn != NULL) {
        if (body != NULL && json_write(body, &call->body) != 0)
            buf_clear(&call->body);
        snprintf(call->field, sizeof call->field, "%s", field == NULL ? "" : field);
        snprintf(call->forwarded_to, sizeof call->forwarded_to, "%s",
                 forwarded_to == NULL ? "" : forwarded_to);
        finish(call, err, detail);
    }
    pthread_mutex_unlock(&call->lock);
    unref(call);
}

/* A line of JSON, then the body as it is. */
void api_read_done(struct api_write *write, const void *data, size_t len, const char *forwarded_to)
{
    struct write_call *call = write->impl;
    const char *end = memchr(data, '\n', len);
    size_t head_len = end == NULL ? 0 : (size_t)(end - (const char *)data);
    pthread_mutex_lock(&call->lock);
    if (call->conn != NULL) {
        call->head = head_len == 0 ? NULL : json_parse(data, head_len, NULL);
        bool ok =
            json_is_object(call->head) && buf_put(&call->body, end + 1, len - head_len - 1) == 0;
        snprintf(call->forwarded_to, sizeof call->forwarded_to, "%s",
                 forwarded_to == NULL ? "" : forwarded_to);
        finish(call, ok ? 0 : ERR_MALFORMED, NULL);
    }
    pthread_mutex_unlock(&call->lock);
    unref(call);
}
