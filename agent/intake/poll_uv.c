/* SPDX-License-Identifier: Apache-2.0
 * The queue: several long polls in flight; a batch is deleted only after its rows are committed
 * and handed to gossip, so a crash anywhere costs a redelivery and never an event.
 *
 * The life of a poller: receive -> parse -> rows_apply -> DeleteMessageBatch -> receive. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

#define POLLERS_IDLE 2
#define QUEUE_RETRY_MS 5000

/* One received batch; owns the answer while its rows are on their way. */
struct batch {
    struct poller *poller;
    uint64_t generation;
    json_t *messages;
    struct events_row rows[SQS_BATCH];
    struct record records[SQS_BATCH];
    size_t count;         /* of records */
    bool keep[SQS_BATCH]; /* this message stays in the queue */
    size_t poison;
};

static void receive(struct poller *p);

static void batch_free(struct batch *b)
{
    for (size_t i = 0; i < SQS_BATCH; i++)
        events_row_fini(&b->rows[i]);
    json_decref(b->messages);
    free(b);
}

static bool current(const struct poller *p, uint64_t generation)
{
    return p->intake->leading && p->intake->generation == generation;
}

static void on_pause_over(uv_timer_t *timer)
{
    struct poller *p = (struct poller *)(void *)((char *)timer - offsetof(struct poller, timer));
    if (p->intake->leading && !p->busy)
        receive(p);
}

static void pause_then_receive(struct poller *p)
{
    struct intake *in = p->intake;
    uint64_t ms = 500u << (p->failures < 6 ? p->failures : 6);
    p->busy = false;
    p->failures++;
    if (in->leading && !in->stopping)
        uv_timer_start(&p->timer, on_pause_over, ms / 2 + prng_below(&in->prng, ms), 0);
}

static void next(struct poller *p)
{
    struct intake *in = p->intake;
    unsigned number = (unsigned)(p - in->pollers);
    p->busy = false;
    if (in->leading && number < in->poller_target)
        receive(p);
}

static void on_deleted(void *arg, const struct aws_result *r)
{
    struct batch *b = arg;
    struct poller *p = b->poller;
    struct intake *in = p->intake;
    p->call = NULL;
    if (r->err == 0) {
        /* An entry that failed comes again after its visibility time-out: a duplicate, no harm. */
        in->deleted += (int64_t)json_array_size(json_arr(r->body, "Successful"));
        p->failures = 0;
    } else if (r->err != ERR_CANCELED) {
        snprintf(in->queue_trouble, sizeof in->queue_trouble, "cannot delete from the queue: %s %s",
                 r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
    }
    batch_free(b);
    if (r->err == 0)
        next(p);
    else
        pause_then_receive(p);
    intake_call_ended(in);
}

static void delete_batch(struct batch *b)
{
    struct poller *p = b->poller;
    struct intake *in = p->intake;
    json_t *entries = json_array();
    size_t i;
    json_t *message;
    json_array_foreach(b->messages, i, message)
    {
        char id[16];
        if (i >= SQS_BATCH || b->keep[i])
            continue;
        snprintf(id, sizeof id, "m%zu", i);
        json_array_append_new(entries, json_pack("{s:s, s:s}", "Id", id, "ReceiptHandle",
                                                 json_str_or(message, "ReceiptHandle", "")));
    }
    bool none = json_array_size(entries) == 0;
    json_t *params = json_pack("{s:s, s:o}", "QueueUrl", in->queue_url, "Entries", entries);
    if (none)
        json_decref(params);
    p->call = none || params == NULL ? NULL
                                     : aws_call(in->options.aws, AWS_SQS, "DeleteMessageBatch",
                                                params, NULL, on_deleted, b);
    if (p->call != NULL) {
        in->calls_open++;
    } else {
        batch_free(b);
        pause_then_receive(p);
    }
}

static void on_applied(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    struct batch *b = arg;
    struct poller *p = b->poller;
    struct intake *in = p->intake;
    (void)records;
    for (size_t i = 0; err == 0 && i < count; i++) {
        in->applied += changes[i].applied;
        in->duplicates += !changes[i].applied;
        metric_add(changes[i].applied ? &intake_events_rows : &intake_events_duplicate, 1);
    }
    if (err != 0 || !current(p, b->generation)) {
        /* Not stored, or another leads now: the messages stay in the queue. */
        batch_free(b);
        pause_then_receive(p);
    } else {
        delete_batch(b);
    }
    intake_call_ended(in);
}

static void note_lag(struct intake *in, const json_t *message, int64_t now)
{
    const char *sent = json_str(json_obj(message, "Attributes"), "SentTimestamp");
    if (sent != NULL) {
        int64_t at = strtoll(sent, NULL, 10);
        in->lag_ms = now > at ? now - at : 0;
    }
}

/* Returns false if there is no room for it now: then it stays in the queue and comes again. */
static bool keep_poison(struct intake *in, const char *why, const char *body)
{
    struct buf scrubbed;
    buf_init(&scrubbed, RECORD_VALUE_MAX * 4);
    int err = events_scrub(body, strlen(body), &scrubbed);
    if (err == 0)
        err = store_poison(in->options.store, why, scrubbed.data, scrubbed.len);
    buf_fini(&scrubbed);
    if (err != 0) {
        LOG(LOG_WARN, "poison_not_kept", err_text(err), LS("why", why));
        return err != ERR_BUSY && err != ERR_NOMEM;
    }
    in->poison++;
    metric_add(&intake_events_poison, 1);
    LOG(LOG_WARN, "event_poison", "kept in the side table, removed from the queue", LS("why", why));
    return true;
}

static void parse_message(struct batch *b, size_t i, const json_t *message, int64_t now)
{
    struct intake *in = b->poller->intake;
    struct events_options options = intake_events_options(in);
    struct events_row *row = &b->rows[i];
    const char *body = json_str_or(message, "Body", "");
    note_lag(in, message, now);
    events_parse(body, strlen(body), &options, row);
    switch (row->outcome) {
    case EVENTS_ROW:
        b->records[b->count] = row->record;
        b->records[b->count].source = SOURCE_EVENT;
        b->records[b->count].observed_unix_ms = now;
        b->records[b->count].term = in->term;
        b->count++;
        break;
    case EVENTS_IGNORED:
        in->ignored++;
        metric_add(&intake_events_ignored, 1);
        LOG(LOG_DEBUG, "event_ignored", row->why, LS("kind", row->kind));
        break;
    case EVENTS_FOREIGN:
        in->foreign++;
        metric_add(&intake_events_foreign, 1);
        break;
    case EVENTS_POISON:
        b->keep[i] = !keep_poison(in, row->why, body);
        b->poison++;
        break;
    }
}

/* Takes a reference to the messages. */
static void take_messages(struct poller *p, json_t *messages)
{
    struct intake *in = p->intake;
    int64_t now = clock_unix_ms();
    struct batch *b = calloc(1, sizeof *b);
    if (b == NULL) {
        pause_then_receive(p);
        return;
    }
    b->poller = p;
    b->generation = in->generation;
    b->messages = json_incref(messages);
    for (size_t i = 0; i < SQS_BATCH; i++)
        events_row_init(&b->rows[i]);
    for (size_t i = 0; i < json_array_size(messages) && i < SQS_BATCH; i++)
        parse_message(b, i, json_array_get(messages, i), now);
    in->received += (int64_t)json_array_size(messages);
    if (b->count == 0 && b->poison == 0) {
        delete_batch(b);
        return;
    }
    /* Without rows, too: the store keeps order, so its answer says that the poison is kept. */
    if (rows_apply(in->options.rows, b->records, b->count, on_applied, b) == 0) {
        in->calls_open++;
    } else {
        batch_free(b);
        pause_then_receive(p);
    }
}

/* Full batches mean a backlog: another long poll joins. Empty ones let it go again. */
static void adapt(struct intake *in, size_t received)
{
    if (received >= SQS_BATCH && in->poller_target < POLLERS_MAX) {
        struct poller *p = &in->pollers[in->poller_target++];
        if (!p->busy && !uv_is_active((uv_handle_t *)&p->timer))
            receive(p);
    } else if (received == 0 && in->poller_target > POLLERS_IDLE) {
        in->poller_target--;
    }
}

static void on_received(void *arg, const struct aws_result *r)
{
    struct poller *p = arg;
    struct intake *in = p->intake;
    p->call = NULL;
    if (in->stopping || !in->leading || r->err == ERR_CANCELED) {
        p->busy = false;
        /* Leadership may have come back while the old poll was being cancelled. */
        if (in->leading && !in->stopping)
            pause_then_receive(p);
    } else if (r->err != 0) {
        snprintf(in->queue_trouble, sizeof in->queue_trouble, "cannot read the queue: %s %s",
                 r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
        pause_then_receive(p);
    } else {
        json_t *messages = json_arr(r->body, "Messages");
        size_t n = json_array_size(messages);
        in->queue_trouble[0] = '\0';
        p->failures = 0;
        adapt(in, n);
        if (n > 0)
            take_messages(p, messages);
        else
            next(p);
    }
    intake_call_ended(in);
}

static void receive(struct poller *p)
{
    struct intake *in = p->intake;
    json_t *params = json_pack("{s:s, s:i, s:i, s:[s]}", "QueueUrl", in->queue_url,
                               "MaxNumberOfMessages", SQS_BATCH, "WaitTimeSeconds",
                               POLL_WAIT_SECONDS, "MessageSystemAttributeNames", "SentTimestamp");
    struct aws_call_options options = {.queue_url = in->queue_url};
    p->busy = true;
    p->call =
        aws_call(in->options.aws, AWS_SQS, "ReceiveMessage", params, &options, on_received, p);
    if (p->call != NULL)
        in->calls_open++;
    else
        pause_then_receive(p);
}

static void start_pollers(struct intake *in)
{
    in->poller_target = POLLERS_IDLE;
    for (unsigned i = 0; i < in->poller_target; i++) {
        if (!in->pollers[i].busy)
            receive(&in->pollers[i]);
    }
}

static void on_queue_timer(uv_timer_t *timer)
{
    poll_start(timer->data);
}

static void on_queue_url(void *arg, const struct aws_result *r)
{
    struct intake *in = arg;
    const char *url = json_str(r->body, "QueueUrl");
    in->queue_call = NULL;
    if (r->err == ERR_CANCELED) {
        poll_start(in); /* leadership may have come back while the old question was cancelled */
    } else if (in->leading && !in->stopping) {
        if (r->err == 0 && url != NULL && strlen(url) < sizeof in->queue_url) {
            snprintf(in->queue_url, sizeof in->queue_url, "%s", url);
            in->queue_trouble[0] = '\0';
            start_pollers(in);
        } else {
            snprintf(in->queue_trouble, sizeof in->queue_trouble,
                     "queue \"%s\" cannot be used: %s %s", in->options.queue,
                     r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
            uv_timer_start(&in->queue_timer, on_queue_timer, QUEUE_RETRY_MS, 0);
        }
    }
    intake_call_ended(in);
}

void poll_init(struct intake *in)
{
    intake_handle(in, &in->queue_timer);
    for (unsigned i = 0; i < POLLERS_MAX; i++) {
        in->pollers[i].intake = in;
        intake_handle(in, &in->pollers[i].timer);
    }
}

void poll_start(struct intake *in)
{
    if (in->options.queue == NULL || !in->leading || in->stopping || in->queue_call != NULL)
        return;
    if (strstr(in->options.queue, "://") != NULL)
        snprintf(in->queue_url, sizeof in->queue_url, "%s", in->options.queue);
    if (in->queue_url[0] != '\0') {
        start_pollers(in);
        return;
    }
    in->queue_call =
        aws_call(in->options.aws, AWS_SQS, "GetQueueUrl",
                 json_pack("{s:s}", "QueueName", in->options.queue), NULL, on_queue_url, in);
    if (in->queue_call != NULL)
        in->calls_open++;
    else
        uv_timer_start(&in->queue_timer, on_queue_timer, QUEUE_RETRY_MS, 0);
}

void poll_stop(struct intake *in)
{
    in->queue_trouble[0] = '\0';
    uv_timer_stop(&in->queue_timer);
    if (in->queue_call != NULL)
        aws_cancel(in->queue_call);
    for (unsigned i = 0; i < POLLERS_MAX; i++) {
        uv_timer_stop(&in->pollers[i].timer);
        if (in->pollers[i].call != NULL)
            aws_cancel(in->pollers[i].call);
    }
}
