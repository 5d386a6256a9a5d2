/* SPDX-License-Identifier: Apache-2.0
 * SQS operations on messages. */
#include <stdlib.h>
#include <string.h>

#include "agent/devcloud/queue.h"
#include "agent/devcloud/services.h"
#include "agent/devcloud/sqs.h"

#define RECEIVE_MAX 10
#define BATCH_MAX 10
#define WAIT_MAX_S 20
#define VISIBILITY_MAX_S 43200
#define DELAY_MAX_S 900
#define ANSWER_MAX (256u * 1024) /* of a batch's few words for each entry */

const struct operation sqs_operations[] = {
    {"GetQueueUrl", sqs_get_queue_url, BUCKET_NONE},
    {"GetQueueAttributes", sqs_get_queue_attributes, BUCKET_NONE},
    {"ListQueues", sqs_list_queues, BUCKET_NONE},
    {"CreateQueue", sqs_create_queue, BUCKET_NONE},
    {"PurgeQueue", sqs_purge_queue, BUCKET_NONE},
    {"ReceiveMessage", sqs_receive_message, BUCKET_NONE},
    {"SendMessage", sqs_send_message, BUCKET_NONE},
    {"SendMessageBatch", sqs_send_message_batch, BUCKET_NONE},
    {"DeleteMessage", sqs_delete_message, BUCKET_NONE},
    {"DeleteMessageBatch", sqs_delete_message_batch, BUCKET_NONE},
    {"ChangeMessageVisibility", sqs_change_message_visibility, BUCKET_NONE},
    {"ChangeMessageVisibilityBatch", sqs_change_message_visibility_batch, BUCKET_NONE},
    {NULL, NULL, BUCKET_NONE},
};

struct queue *sqs_queue(struct devcloud *cloud, struct request *req)
{
    const char *url = json_str_or(req->params, "QueueUrl", "");
    const char *slash = strrchr(url, '/');
    struct queue *q = slash == NULL ? NULL : map_get(&cloud->queues, slash + 1);
    size_t account = strlen(cloud->account);

    /* The account in the path counts; the host may be a proxy's or "localhost". */
    if (q == NULL || (size_t)(slash - url) < account + 1 || slash[-(ptrdiff_t)account - 1] != '/' ||
        strncmp(slash - account, cloud->account, account) != 0) {
        answer_error(&req->answer, 400, "QueueDoesNotExist", "The specified queue does not exist.");
        return NULL;
    }
    return q;
}

static bool in_range(struct request *req, const char *name, int64_t value, int64_t low,
                     int64_t high)
{
    if (value >= low && value <= high)
        return true;
    answer_error(&req->answer, 400, "InvalidParameterValue",
                 "Value %lld for parameter %s is invalid. Reason: Must be between %lld and %lld, "
                 "if provided.",
                 (long long)value, name, (long long)low, (long long)high);
    return false;
}

/* Attributes of a message, in the order of an answer. */
static const char *const attributes[] = {"SenderId", "SentTimestamp", "ApproximateReceiveCount",
                                         "ApproximateFirstReceiveTimestamp"};
#define ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]))

static bool wants(const struct request *req, const char *attribute)
{
    static const char *const LISTS[] = {"MessageSystemAttributeNames", "AttributeNames"};

    for (size_t i = 0; i < 2; i++) {
        const json_t *one;
        size_t j;
        json_array_foreach(json_arr(req->params, LISTS[i]), j,
                           one) if (strcmp(json_string_value(one), "All") == 0 ||
                                    strcmp(json_string_value(one), attribute) == 0) return true;
    }
    return false;
}

static void put_member(struct buf *out, const char *before, const char *value)
{
    buf_puts(out, before);
    buf_puts(out, value);
    buf_putc(out, '"');
}

/* As text, without printf: an answer holds ten bodies of some kilobytes, and a queue in a benchmark
 * is asked for two thousand answers a second. */
static void write_message(const bool wanted[ATTRIBUTES], const struct message *m, struct buf *out)
{
    char text[HANDLE_MAX];
    bool any = false;

    put_member(out, "{\"MessageId\":\"", m->id);
    queue_handle(m, text);
    put_member(out, ",\"ReceiptHandle\":\"", text);
    put_member(out, ",\"MD5OfBody\":\"", m->body->md5);
    buf_puts(out, ",\"Body\":");
    buf_put(out, m->body->json, m->body->len);
    for (size_t i = 0; i < ATTRIBUTES; i++) {
        if (!wanted[i])
            continue;
        snprintf(text, sizeof(text), "%lld",
                 i == 1   ? (long long)m->sent_ms
                 : i == 2 ? (long long)m->receives
                          : (long long)m->first_ms);
        buf_puts(out, any ? ",\"" : ",\"Attributes\":{\"");
        buf_puts(out, attributes[i]);
        put_member(out, "\":\"", i == 0 ? "AIDAIENQZJOLO23YVJ4VO" : text);
        any = true;
    }
    buf_puts(out, any ? "}}" : "}");
}

void sqs_receive_message(struct devcloud *cloud, struct request *req)
{
    struct queue *q = sqs_queue(cloud, req);
    int64_t max = json_int_or(req->params, "MaxNumberOfMessages", 1);

    if (q == NULL)
        return;
    int64_t wait_s = json_int_or(req->params, "WaitTimeSeconds",
                                 (int64_t)queue_setting(q, "ReceiveMessageWaitTimeSeconds", 0));
    int64_t visibility_s = json_int_or(req->params, "VisibilityTimeout",
                                       (int64_t)queue_setting(q, "VisibilityTimeout", 30));
    if (!in_range(req, "MaxNumberOfMessages", max, 1, RECEIVE_MAX) ||
        !in_range(req, "WaitTimeSeconds", wait_s, 0, WAIT_MAX_S) ||
        !in_range(req, "VisibilityTimeout", visibility_s, 0, VISIBILITY_MAX_S))
        return;
    if (q->in_flight >= QUEUE_IN_FLIGHT_MAX) {
        answer_error(&req->answer, 403, "OverLimit",
                     "Too many messages in flight: delete what was received first.");
        return;
    }
    if (req->wait_until_ms == 0)
        req->wait_until_ms = cloud_now_ms() + (uint64_t)wait_s * 1000;
    if (list_is_empty(&q->ready) && cloud_now_ms() < req->wait_until_ms) {
        list_push(&q->waiters, &req->waiter);
        req->answer.wait = true;
        return;
    }
    struct buf *out = &req->answer.text;
    bool wanted[ATTRIBUTES];
    int64_t count = 0;
    for (size_t i = 0; i < ATTRIBUTES; i++)
        wanted[i] = wants(req, attributes[i]);
    out->max = RECEIVE_MAX * 6 * (size_t)QUEUE_MESSAGE_MAX;
    for (; count < max && (visibility_s > 0 || count == 0); count++) {
        struct message *m = queue_take(cloud, q, (uint64_t)visibility_s * 1000);
        if (m == NULL)
            break;
        buf_puts(out, count == 0 ? "{\"Messages\":[" : ",");
        write_message(wanted, m, out);
    }
    buf_puts(out, count == 0 ? "{}" : "]}");
    cloud_count(cloud, "messages_received", count);
}

/* What is wrong with one message or entry, as SQS names it; NULL: nothing. */
struct complaint {
    const char *code;
    const char *message;
};

/* XML 1.0 characters: what SQS allows in a body. */
static bool is_text(const char *body)
{
    for (; *body != '\0'; body++)
        if ((unsigned char)*body < 0x20 && strchr("\t\n\r", *body) == NULL)
            return false;
    return true;
}

static struct message *send_one(struct devcloud *cloud, struct queue *q, const json_t *entry,
                                struct complaint *c)
{
    const char *body = json_str_or(entry, "MessageBody", "");
    int64_t delay_s =
        json_int_or(entry, "DelaySeconds", (int64_t)queue_setting(q, "DelaySeconds", 0));

    if (body[0] == '\0')
        *c = (struct complaint){"InvalidParameterValue", "The message body must not be empty."};
    else if (strlen(body) > queue_setting(q, "MaximumMessageSize", QUEUE_MESSAGE_MAX))
        *c = (struct complaint){"InvalidParameterValue",
                                "One or more parameters are invalid. Reason: Message must be "
                                "shorter than the queue's MaximumMessageSize."};
    else if (!is_text(body))
        *c = (struct complaint){"InvalidMessageContents",
                                "The message contains characters outside the allowed set."};
    else if (delay_s < 0 || delay_s > DELAY_MAX_S)
        *c = (struct complaint){"InvalidParameterValue", "DelaySeconds must be 0 to 900."};
    else
        return queue_put(cloud, q, body, strlen(body), (uint64_t)delay_s * 1000);
    return NULL;
}

static struct message *find(struct queue *q, const json_t *entry, struct complaint *c)
{
    struct message *m = NULL;

    if (queue_find(q, json_str_or(entry, "ReceiptHandle", ""), &m) != 0)
        *c = (struct complaint){"ReceiptHandleIsInvalid", "The input receipt handle is invalid."};
    return m;
}

static void delete_one(struct devcloud *cloud, struct queue *q, const json_t *entry,
                       struct complaint *c)
{
    struct message *m = find(q, entry, c);

    /* An old handle of a message that was received again is accepted and does nothing. */
    if (m != NULL) {
        queue_delete(cloud, m);
        cloud_count(cloud, "messages_deleted", 1);
    }
}

static void hide_one(struct devcloud *cloud, struct queue *q, const json_t *entry,
                     struct complaint *c)
{
    struct message *m = find(q, entry, c);
    int64_t seconds = json_int_or(entry, "VisibilityTimeout", -1);

    if (c->code != NULL)
        return;
    if (seconds < 0 || seconds > VISIBILITY_MAX_S)
        *c = (struct complaint){"InvalidParameterValue",
                                "VisibilityTimeout must be 0 to 43200 seconds."};
    else if (m == NULL || !m->in_flight)
        *c = (struct complaint){"MessageNotInflight", "The message is not in flight."};
    else
        queue_hide(cloud, m, (uint64_t)seconds * 1000);
}

static void complain(struct request *req, const struct complaint *c)
{
    answer_error(&req->answer, 400, c->code, "%s", c->message);
}

static json_t *render_sent(const struct message *m)
{
    return json_pack("{s:s,s:s}", "MessageId", m->id, "MD5OfMessageBody", m->body->md5);
}

void sqs_send_message(struct devcloud *cloud, struct request *req)
{
    struct queue *q = sqs_queue(cloud, req);
    struct complaint c = {0};

    if (q == NULL)
        return;
    const struct message *m = send_one(cloud, q, req->params, &c);
    if (c.code != NULL)
        complain(req, &c);
    else if (m != NULL)
        req->answer.json = render_sent(m);
}

void sqs_delete_message(struct devcloud *cloud, struct request *req)
{
    struct queue *q = sqs_queue(cloud, req);
    struct complaint c = {0};

    if (q == NULL)
        return;
    delete_one(cloud, q, req->params, &c);
    if (c.code != NULL)
        complain(req, &c);
}

void sqs_change_message_visibility(struct devcloud *cloud, struct request *req)
{
    struct queue *q = sqs_queue(cloud, req);
    struct complaint c = {0};

    if (q == NULL)
        return;
    hide_one(cloud, q, req->params, &c);
    if (c.code != NULL)
        complain(req, &c);
}

static bool is_entry_id(const char *id)
{
    size_t len = strlen(id);

    return len > 0 && len <= 80 &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == len;
}

static bool check_batch(struct request *req, const json_t *entries)
{
    const json_t *one;
    size_t i, total = 0;

    if (json_array_size(entries) == 0) {
        answer_error(&req->answer, 400, "EmptyBatchRequest",
                     "There should be at least one entry in the request.");
        return false;
    }
    if (json_array_size(entries) > BATCH_MAX) {
        answer_error(&req->answer, 400, "TooManyEntriesInBatchRequest",
                     "Maximum number of entries per request are 10. You have sent %zu.",
                     json_array_size(entries));
        return false;
    }
    json_array_foreach(entries, i, one)
    {
        const char *id = json_str_or(one, "Id", "");
        total += strlen(json_str_or(one, "MessageBody", ""));
        if (!is_entry_id(id)) {
            answer_error(&req->answer, 400, "InvalidBatchEntryId",
                         "A batch entry id can only contain alphanumeric characters, hyphens and "
                         "underscores. It can be at most 80 letters long.");
            return false;
        }
        for (size_t j = 0; j < i; j++)
            if (strcmp(json_str_or(json_array_get(entries, j), "Id", ""), id) == 0) {
                answer_error(&req->answer, 400, "BatchEntryIdsNotDistinct", "Id %.80s repeated.",
                             id);
                return false;
            }
    }
    if (total > QUEUE_MESSAGE_MAX) {
        answer_error(&req->answer, 400, "BatchRequestTooLong",
                     "Batch requests cannot be longer than %u bytes.", QUEUE_MESSAGE_MAX);
        return false;
    }
    return true;
}

enum batch_kind { BATCH_SEND, BATCH_DELETE, BATCH_HIDE };

static void run_batch(struct devcloud *cloud, struct request *req, enum batch_kind kind)
{
    struct queue *q = sqs_queue(cloud, req);
    const json_t *entries = json_arr(req->params, "Entries");
    const json_t *one;
    size_t i;

    if (q == NULL || !check_batch(req, entries))
        return;
    struct buf *out = &req->answer.text, bad;
    out->max = ANSWER_MAX;
    buf_init(&bad, ANSWER_MAX);
    buf_puts(out, "{\"Successful\":[");
    size_t none = out->len;
    json_array_foreach(entries, i, one)
    {
        struct complaint c = {0};
        const struct fault *fault = fault_pick(cloud, req, "partial");
        const struct message *m = NULL;
        const char *id = json_str(one, "Id"); /* needs no escapes: it was checked */
        if (fault != NULL)
            c = (struct complaint){"InternalError", "This entry failed. Try it again."};
        else if (kind == BATCH_SEND)
            m = send_one(cloud, q, one, &c);
        else if (kind == BATCH_DELETE)
            delete_one(cloud, q, one, &c);
        else
            hide_one(cloud, q, one, &c);
        if (c.code != NULL) {
            buf_printf(
                &bad, "%s{\"Id\":\"%s\",\"SenderFault\":%s,\"Code\":\"%s\",\"Message\":\"%s\"}",
                bad.len == 0 ? "" : ",", id, fault == NULL ? "true" : "false", c.code, c.message);
            continue;
        }
        buf_puts(out, out->len == none ? "{\"Id\":\"" : ",{\"Id\":\"");
        buf_puts(out, id);
        if (m != NULL)
            buf_printf(out, "\",\"MessageId\":\"%s\",\"MD5OfMessageBody\":\"%s", m->id,
                       m->body->md5);
        buf_puts(out, "\"}");
    }
    buf_puts(out, "],\"Failed\":[");
    buf_put(out, bad.data, bad.len);
    buf_puts(out, "]}");
    buf_fini(&bad);
}

void sqs_send_message_batch(struct devcloud *cloud, struct request *req)
{
    run_batch(cloud, req, BATCH_SEND);
}

void sqs_delete_message_batch(struct devcloud *cloud, struct request *req)
{
    run_batch(cloud, req, BATCH_DELETE);
}

void sqs_change_message_visibility_batch(struct devcloud *cloud, struct request *req)
{
    run_batch(cloud, req, BATCH_HIDE);
}
