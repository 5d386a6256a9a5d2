/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/queue.h"

#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/request.h"

#define HANDLE_PREFIX "AQEB"

struct queue *queue_create(struct devcloud *cloud, const char *name, const json_t *attributes)
{
    struct queue *q = calloc(1, sizeof(*q));

    if (q == NULL || map_put(&cloud->queues, name, q, NULL) != 0) {
        free(q);
        return NULL;
    }
    q->name = cloud_text("%s", name);
    q->url = cloud_text("http://127.0.0.1:%u/%s/%s", cloud->port, cloud->account, name);
    q->arn =
        cloud_text("arn:%s:sqs:%s:%s:%s", cloud->partition, cloud->region, cloud->account, name);
    q->attributes = attributes == NULL ? json_object() : json_deep_copy(attributes);
    q->tags = json_object();
    list_init(&q->ready);
    list_init(&q->waiters);
    map_init(&q->by_id);
    q->created_ms = cloud_unix_ms();
    return q;
}

void queue_destroy(struct devcloud *cloud, struct queue *q)
{
    queue_purge(cloud, q);
    map_fini(&q->by_id);
    json_decref(q->attributes);
    json_decref(q->tags);
    free(q->name);
    free(q->url);
    free(q->arn);
    free(q);
}

static void become_ready(struct devcloud *cloud, struct message *m)
{
    struct queue *q = m->queue;

    list_push(&q->ready, &m->link);
    q->ready_count++;
    struct list *waiter = list_pop(&q->waiters);
    if (waiter != NULL)
        request_resume(cloud, LIST_OF(waiter, struct request, waiter));
}

static void on_visible(struct devcloud *cloud, struct timer *timer)
{
    struct message *m = LIST_OF(timer, struct message, timer);

    if (m->in_flight)
        m->queue->in_flight--;
    else
        m->queue->delayed--;
    m->in_flight = false;
    become_ready(cloud, m);
}

struct body *body_create(const char *text, size_t len)
{
    struct buf json;

    buf_init(&json, SIZE_MAX / 4);
    struct body *body =
        json_write_string(&json, text, len) != 0 ? NULL : malloc(sizeof(*body) + json.len + 1);
    if (body == NULL)
        abort();
    body->refs = 1;
    body->len = json.len;
    memcpy(body->json, json.data, json.len + 1);
    md5_hex(text, len, body->md5);
    buf_fini(&json);
    return body;
}

void body_unref(struct body *body)
{
    if (--body->refs == 0)
        free(body);
}

struct message *queue_put_body(struct devcloud *cloud, struct queue *q, struct body *body,
                               uint64_t delay_ms)
{
    struct message *m = calloc(1, sizeof(*m));

    if (m == NULL)
        abort();
    list_init(&m->link);
    m->queue = q;
    m->seq = ++cloud->seqs;
    m->body = body;
    body->refs++;
    cloud_uuid(cloud, m->id);
    m->sent_ms = cloud_unix_ms() + (int64_t)delay_ms;
    if (map_put(&q->by_id, m->id, m, NULL) != 0)
        abort();
    if (delay_ms > 0) {
        q->delayed++;
        cloud_arm(cloud, &m->timer, delay_ms, on_visible);
    } else {
        become_ready(cloud, m);
    }
    return m;
}

struct message *queue_put(struct devcloud *cloud, struct queue *q, const char *text, size_t len,
                          uint64_t delay_ms)
{
    struct body *body = body_create(text, len);
    struct message *m = queue_put_body(cloud, q, body, delay_ms);

    body_unref(body);
    return m;
}

struct message *queue_take(struct devcloud *cloud, struct queue *q, uint64_t visibility_ms)
{
    struct list *link = list_pop(&q->ready);

    if (link == NULL)
        return NULL;
    struct message *m = LIST_OF(link, struct message, link);
    q->ready_count--;
    m->receives++;
    if (m->first_ms == 0)
        m->first_ms = cloud_unix_ms();
    cloud_hex(cloud, m->nonce, 16);
    if (visibility_ms == 0) {
        list_push(&q->ready, &m->link);
        q->ready_count++;
        return m;
    }
    m->in_flight = true;
    q->in_flight++;
    cloud_arm(cloud, &m->timer, visibility_ms, on_visible);
    return m;
}

void queue_handle(const struct message *m, char out[HANDLE_MAX])
{
    snprintf(out, HANDLE_MAX, HANDLE_PREFIX "%s%s==", m->nonce, m->id);
}

int queue_find(struct queue *q, const char *handle, struct message **ret)
{
    size_t prefix = sizeof(HANDLE_PREFIX) - 1;
    char id[37];

    *ret = NULL;
    if (strlen(handle) != prefix + 16 + 36 + 2 || strncmp(handle, HANDLE_PREFIX, prefix) != 0)
        return ERR_MALFORMED;
    memcpy(id, handle + prefix + 16, 36);
    id[36] = '\0';
    struct message *m = map_get(&q->by_id, id);
    if (m != NULL && strncmp(m->nonce, handle + prefix, 16) == 0)
        *ret = m;
    return 0;
}

static void leave(struct devcloud *cloud, struct message *m)
{
    if (timer_is_armed(&m->timer)) {
        cloud_disarm(cloud, &m->timer);
        if (m->in_flight)
            m->queue->in_flight--;
        else
            m->queue->delayed--;
        m->in_flight = false;
    } else {
        list_remove(&m->link);
        m->queue->ready_count--;
    }
}

void queue_delete(struct devcloud *cloud, struct message *m)
{
    leave(cloud, m);
    map_del(&m->queue->by_id, m->id);
    json_decref(m->attributes);
    body_unref(m->body);
    free(m);
}

void queue_hide(struct devcloud *cloud, struct message *m, uint64_t visibility_ms)
{
    leave(cloud, m);
    if (visibility_ms == 0) {
        become_ready(cloud, m);
        return;
    }
    m->in_flight = true;
    m->queue->in_flight++;
    cloud_arm(cloud, &m->timer, visibility_ms, on_visible);
}

void queue_purge(struct devcloud *cloud, struct queue *q)
{
    size_t at = 0, count = 0;
    const char *key;
    void *value;
    struct message **all = malloc((q->by_id.count + 1) * sizeof(struct message *));

    if (all == NULL)
        return;
    while (map_next(&q->by_id, &at, &key, &value))
        all[count++] = value;
    for (size_t i = 0; i < count; i++)
        queue_delete(cloud, all[i]);
    free(all);
}

uint64_t queue_setting(const struct queue *q, const char *name, uint64_t other)
{
    const char *text = json_str(q->attributes, name);

    return text == NULL ? other : strtoull(text, NULL, 10);
}
