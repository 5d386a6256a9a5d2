/* SPDX-License-Identifier: Apache-2.0
 * The queue: several long polls in flight; a batch is deleted only after its rows are committed
 * and handed to gossip, so a crash anywhere costs a redelivery and never an event.
 *
 * The life of a poller: receive -> parse -> rows_apply -> receive. The batch goes on by itself from
 * there: DeleteMessageBatch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/intake/intake_int.h"

#define POLLERS_IDLE 2
#define DELETES_MAX 32 /* in flight; then pollers wait for one to end */
#define QUEUE_RETRY_MS 5000
/* A long poll that comes back empty sooner than this did not wait: so do some emulators and
 * proxies, and asking them again at once would keep two processors busy for nothing. */
#define EARLY_MS 500
#define EARLY_PAUSE_MS 50
#define EARLY_PAUSE_MAX_MS 1000

/* What was received at once; lives until its messages are deleted. */
struct batch {
    struct poller *poller;
    uint64_t generation;
    json_t *entries; /* of DeleteMessageBatch */
};

static void receive(struct poller *p);

static void batch_free(struct batch *b)
{
    json_decref(b->entries);
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

/* The idle pollers among those that are wanted. */
static void feed(struct intake *in)
{
    for (unsigned i = 0; in->leading && !in->stopping && i < in->poller_target; i++) {
        struct poller *p = &in->pollers[i];
        if (in->deletes < DELETES_MAX && !p->busy && !uv_is_active((uv_handle_t *)&p->timer))
            receive(p);
    }
}

static void next(struct poller *p)
{
    p->busy = false;
    if (p->intake->delete_failures > 0) /* what is received would come again and again */
        pause_then_receive(p);
    else
        feed(p->intake);
}

/* Nothing came. */
static void next_or_rest(struct poller *p)
{
    if (clock_mono_ms() - p->asked_ms >= EARLY_MS) {
        p->early = 0;
        next(p);
        return;
    }
    uint64_t ms = (uint64_t)EARLY_PAUSE_MS << p->early;
    p->early += ms < EARLY_PAUSE_MAX_MS;
    p->busy = false;
    uv_timer_start(&p->timer, on_pause_over, ms < EARLY_PAUSE_MAX_MS ? ms : EARLY_PAUSE_MAX_MS, 0);
}

/* An entry that failed comes again after its visibility time-out: a duplicate, no harm. If all
 * failed, all will come again for ever. */
static void take_deleted(struct intake *in, const struct tape *t)
{
    uint32_t failed = tape_get(t, 0, "Failed");
    size_t deleted = tape_length(t, tape_get(t, 0, "Successful"));
    char code[80] = "";
    char message[160] = "";
    in->deleted += (int64_t)deleted;
    if (deleted > 0 || tape_length(t, failed) == 0) {
        in->delete_failures = 0;
        return;
    }
    uint32_t first = tape_first(t, failed);
    (void)tape_text(t, tape_get(t, first, "Code"), code, sizeof code);
    (void)tape_text(t, tape_get(t, first, "Message"), message, sizeof message);
    in->delete_failures++;
    snprintf(in->queue_trouble, sizeof in->queue_trouble, "cannot delete from the queue: %s %s",
             code, message);
}

static void on_deleted(void *arg, const struct aws_result *r)
{
    struct batch *b = arg;
    struct intake *in = b->poller->intake;
    in->deletes--;
    if (r->err == 0) {
        take_deleted(in, r->tape);
    } else if (r->err != ERR_CANCELED) {
        in->delete_failures++;
        snprintf(in->queue_trouble, sizeof in->queue_trouble, "cannot delete from the queue: %s %s",
                 r->code[0] == '\0' ? err_text(r->err) : r->code, r->message);
    }
    batch_free(b);
    feed(in); /* of a later leadership, too: it may have waited for this one to end */
    intake_call_ended(in);
}

static void delete_batch(struct batch *b)
{
    struct intake *in = b->poller->intake;
    static const struct aws_call_options options = {.tape = true};
    json_t *params =
        json_array_size(b->entries) == 0
            ? NULL
            : json_pack("{s:s, s:O}", "QueueUrl", in->queue_url, "Entries", b->entries);
    if (params != NULL && aws_call(in->options.aws, AWS_SQS, "DeleteMessageBatch", params, &options,
                                   on_deleted, b) != NULL) {
        in->calls_open++;
        in->deletes++;
    } else {
        batch_free(b); /* nothing to delete, or no memory: they come again */
    }
}

/* Of a row whose generation was raised versions say too little (it may have been made up with a
 * version beyond ECS's): an older event is a reason to look. */
static void look_again(struct intake *in, const struct record *rec,
                       const struct store_change *change)
{
    struct row row;
    char cluster[ARN_MAX] = "";
    char arn[RECORD_KEY_MAX + 1];
    if (change->applied || change->before.lo == 0 || change->before.hi <= rec->version.hi ||
        row_decode(rec->value, rec->value_len, &row) != 0)
        return;
    const struct row_text *of = &row.field[ROW_CLUSTER];
    if (of->len < sizeof cluster)
        snprintf(cluster, sizeof cluster, "%.*s", (int)of->len, of->data == NULL ? "" : of->data);
    memcpy(arn, rec->key, rec->key_len);
    arn[rec->key_len] = '\0';
    intake_refresh_task(in, cluster, arn); /* takes instances too */
}

static void on_applied(void *arg, int err, const struct record *records,
                       const struct store_change *changes, size_t count)
{
    struct batch *b = arg;
    struct poller *p = b->poller;
    struct intake *in = p->intake;
    for (size_t i = 0; err == 0 && i < count; i++) {
        in->applied += changes[i].applied;
        in->duplicates += !changes[i].applied;
        metric_add(changes[i].applied ? &intake_events_rows : &intake_events_duplicate, 1);
        look_again(in, &records[i], &changes[i]);
    }
    if (err != 0 || !current(p, b->generation) || json_array_size(b->entries) == 0) {
        /* Not stored, or another leads now: the messages stay in the queue. */
        batch_free(b);
        pause_then_receive(p);
    } else {
        delete_batch(b);
        next(p);
    }
    intake_call_ended(in);
}

static void note_lag(struct intake *in, const struct tape *t, uint32_t message, int64_t now)
{
    char sent[24];
    uint32_t attributes = tape_get(t, message, "Attributes");
    if (tape_text(t, tape_get(t, attributes, "SentTimestamp"), sent, sizeof sent)) {
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

void poll_forget_lags(struct intake *in)
{
    const char *arn;
    void *value;
    for (size_t at = 0; map_next(&in->lags, &at, &arn, &value);)
        free(value);
    map_fini(&in->lags);
}

/* From ECS's change to the event's arrival here. */
static void note_event_lag(struct intake *in, const struct events_row *event, int64_t now)
{
    struct row row;
    char arn[ARN_MAX + 1];
    int64_t lag = now > event->change_unix_ms ? now - event->change_unix_ms : 0;
    if (event->change_unix_ms == 0 ||
        row_decode(event->record.value, event->record.value_len, &row) != 0 ||
        row.field[ROW_CLUSTER].len > ARN_MAX)
        return;
    metric_observe_us(&intake_event_lag, (uint64_t)lag * 1000);
    snprintf(arn, sizeof arn, "%.*s", (int)row.field[ROW_CLUSTER].len, row.field[ROW_CLUSTER].data);
    struct cluster_lag *at = map_get(&in->lags, arn);
    if (at == NULL && in->lags.count < LAGS_MAX) {
        at = calloc(1, sizeof *at);
        if (at != NULL && map_put(&in->lags, arn, at, NULL) != 0) {
            free(at);
            at = NULL;
        }
    }
    if (at == NULL)
        return;
    at->events++;
    at->lag_ms = lag;
    at->lag_max_ms = lag > at->lag_max_ms ? lag : at->lag_max_ms;
}

/* Counts the message; a row goes to records. False: it stays in the queue. */
static bool take_message(struct intake *in, const char *body, size_t len, struct events_row *row,
                         int64_t now)
{
    struct events_options options = intake_events_options(in);
    events_parse(body, len, &options, row);
    switch (row->outcome) {
    case EVENTS_ROW:
        row->record.source = SOURCE_EVENT;
        row->record.observed_unix_ms = now;
        row->record.term = in->term;
        note_event_lag(in, row, now);
        return true;
    case EVENTS_IGNORED:
        in->ignored++;
        metric_add(&intake_events_ignored, 1);
        if (row->note.level[0] != '\0')
            (void)notes_put(&in->notes, &row->note, now);
        return true;
    case EVENTS_FOREIGN:
        in->foreign++;
        metric_add(&intake_events_foreign, 1);
        return true;
    case EVENTS_HINT:
        in->hints++;
        metric_add(&intake_events_hints, 1);
        intake_refresh_task(in, row->hint_cluster, row->hint_arn); /* takes instances too */
        return true;
    case EVENTS_POISON:
        return keep_poison(in, row->why, body);
    }
    return false;
}

/* "m3" and the receipt handle. */
static void add_entry(struct batch *b, size_t i, const struct tape *t, uint32_t message)
{
    char id[16];
    char handle[RECEIPT_MAX];
    snprintf(id, sizeof id, "m%zu", i);
    if (!tape_text(t, tape_get(t, message, "ReceiptHandle"), handle, sizeof handle))
        return;
    json_t *entry = json_object();
    json_set_str(entry, "Id", id);
    json_set_str(entry, "ReceiptHandle", handle);
    json_array_append_new(b->entries, entry);
}

/* Of two changes of one resource that came at once the newer is enough: the store would keep no
 * other. True: rec is settled with an earlier one of the count. */
static bool replaces(struct intake *in, const struct record *rec, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct record *other = &in->records[i];
        if (other->kind != rec->kind || other->key_len != rec->key_len ||
            memcmp(other->key, rec->key, rec->key_len) != 0)
            continue;
        if (record_is_newer(rec->version, other->version))
            *other = *rec;
        in->duplicates++;
        metric_add(&intake_events_duplicate, 1);
        return true;
    }
    return false;
}

/* Returns how many rows the messages became: in->records, which borrow from in->parsed. */
static size_t parse_messages(struct batch *b, const struct tape *t, uint32_t messages)
{
    struct intake *in = b->poller->intake;
    int64_t now = clock_unix_ms();
    size_t count = 0;
    size_t i = 0;
    for (uint32_t at = tape_first(t, messages); at != TAPE_NONE && i < SQS_BATCH;
         at = tape_next(t, messages, at), i++) {
        uint32_t body = tape_get(t, at, "Body");
        struct events_row *row = &in->parsed[i];
        note_lag(in, t, at, now);
        buf_clear(&in->body);
        if (tape_is(t, body, TAPE_STRING) && tape_put_text(t, body, &in->body) != 0)
            continue; /* no memory */
        if (take_message(in, in->body.data == NULL ? "" : in->body.data, in->body.len, row, now))
            add_entry(b, i, t, at);
        if (row->outcome == EVENTS_ROW && !replaces(in, &row->record, count))
            in->records[count++] = row->record;
    }
    in->received += (int64_t)i;
    return count;
}

static void take_messages(struct poller *p, const struct tape *t, uint32_t messages)
{
    struct intake *in = p->intake;
    struct batch *b = calloc(1, sizeof *b);
    if (b == NULL || (b->entries = json_array()) == NULL) {
        free(b);
        pause_then_receive(p);
        return;
    }
    b->poller = p;
    b->generation = in->generation;
    int64_t poison = in->poison;
    size_t count = parse_messages(b, t, messages);
    if (count == 0 && poison == in->poison && json_array_size(b->entries) > 0) {
        delete_batch(b);
        next(p);
        return;
    }
    /* Without rows, too: the store keeps order, so its answer says that the poison is kept. */
    if (rows_apply(in->options.rows, in->records, count, on_applied, b) == 0) {
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
        in->poller_target++;
        feed(in);
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
        uint32_t messages = tape_get(r->tape, 0, "Messages");
        size_t n = tape_length(r->tape, messages);
        if (in->delete_failures == 0)
            in->queue_trouble[0] = '\0';
        p->failures = 0;
        if (n > 0) {
            p->early = 0;
            take_messages(p, r->tape, messages);
        } else {
            next_or_rest(p);
        }
        adapt(in, n);
    }
    intake_call_ended(in);
}

static void receive(struct poller *p)
{
    struct intake *in = p->intake;
    json_t *params = json_pack("{s:s, s:i, s:i, s:[s]}", "QueueUrl", in->queue_url,
                               "MaxNumberOfMessages", SQS_BATCH, "WaitTimeSeconds",
                               POLL_WAIT_SECONDS, "MessageSystemAttributeNames", "SentTimestamp");
    static const struct aws_call_options options = {.tape = true};
    p->busy = true;
    p->asked_ms = clock_mono_ms();
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
    in->delete_failures = 0;
    poll_forget_lags(in);
    feed(in);
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
    buf_init(&in->body, 7 * SQS_MESSAGE_MAX); /* as it may come: all escapes, six bytes each */
    for (size_t i = 0; i < SQS_BATCH; i++)
        events_row_init(&in->parsed[i]);
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
    for (size_t i = 0; i < SQS_BATCH; i++) { /* a follower parses nothing */
        events_row_fini(&in->parsed[i]);
        events_row_init(&in->parsed[i]);
    }
    buf_fini(&in->body);
}
