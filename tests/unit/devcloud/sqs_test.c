/* SPDX-License-Identifier: Apache-2.0
 * The queue. */
#include "tests/unit/devcloud/client.h"

static struct reply receive(const struct client *c, const char *url, const char *more)
{
    return sqs(c, "ReceiveMessage", "{\"QueueUrl\":\"%s\"%s}", url, more);
}

static size_t count_of(const struct reply *r)
{
    return json_array_size(json_arr(r->json, "Messages"));
}

static const char *handle_of(const struct reply *r, size_t i)
{
    return json_str_or(json_array_get(json_arr(r->json, "Messages"), i), "ReceiptHandle", "");
}

Test(sqs, message_is_hidden_then_seen_again_with_a_new_handle)
{
    struct client c = client_start(0, NULL);
    const char *url = json_str(c.ready, "queue_url");
    char first[128];
    struct reply r = sqs(&c, "SendMessage", "{\"QueueUrl\":\"%s\",\"MessageBody\":\"hello\"}", url);

    cr_expect_str_eq(json_str_or(r.json, "MD5OfMessageBody", ""),
                     "5d41402abc4b2a76b9719d911017c592");
    reply_free(&r);
    r = receive(&c, url, ",\"VisibilityTimeout\":1,\"AttributeNames\":[\"All\"]");
    cr_assert_eq(count_of(&r), 1, "%s", r.text);
    const json_t *message = json_array_get(json_arr(r.json, "Messages"), 0);
    cr_expect_str_eq(json_str_or(message, "Body", ""), "hello");
    cr_expect_str_eq(json_str_or(json_obj(message, "Attributes"), "ApproximateReceiveCount", ""),
                     "1");
    snprintf(first, sizeof(first), "%s", handle_of(&r, 0));
    reply_free(&r);
    r = receive(&c, url, "");
    cr_expect_eq(count_of(&r), 0);
    reply_free(&r);
    r = receive(&c, url,
                ",\"WaitTimeSeconds\":5,\"MessageSystemAttributeNames\":["
                "\"ApproximateReceiveCount\"]");
    cr_assert_eq(count_of(&r), 1, "visible again: %s", r.text);
    message = json_array_get(json_arr(r.json, "Messages"), 0);
    cr_expect_str_eq(json_str_or(json_obj(message, "Attributes"), "ApproximateReceiveCount", ""),
                     "2");
    cr_expect_str_neq(handle_of(&r, 0), first);
    struct reply gone =
        sqs(&c, "DeleteMessage", "{\"QueueUrl\":\"%s\",\"ReceiptHandle\":\"%s\"}", url, first);
    cr_expect_eq(gone.status, 200, "an old handle is accepted");
    reply_free(&gone);
    cr_expect_eq(stat_of(&c, "queue_in_flight"), 1, "and does nothing");
    gone = sqs(&c, "DeleteMessage", "{\"QueueUrl\":\"%s\",\"ReceiptHandle\":\"%s\"}", url,
               handle_of(&r, 0));
    reply_free(&gone);
    reply_free(&r);
    cr_expect_eq(stat_of(&c, "queue_in_flight"), 0);
    client_stop(&c);
}

Test(sqs, batch_failures_are_per_entry)
{
    struct client c = client_start(0, NULL);
    const char *url = json_str(c.ready, "queue_url");

    CONTROL(&c, "put-event", "{\"body\":\"x\",\"count\":2}");
    struct reply r = receive(&c, url, ",\"MaxNumberOfMessages\":10");
    cr_assert_eq(count_of(&r), 2);
    struct reply d =
        sqs(&c, "DeleteMessageBatch",
            "{\"QueueUrl\":\"%s\",\"Entries\":[{\"Id\":\"a\",\"ReceiptHandle\":\"%s\"},"
            "{\"Id\":\"b\",\"ReceiptHandle\":\"rubbish\"},{\"Id\":\"c\","
            "\"ReceiptHandle\":\"%s\"}]}",
            url, handle_of(&r, 0), handle_of(&r, 1));
    cr_expect_eq(d.status, 200);
    cr_expect_eq(json_array_size(json_arr(d.json, "Successful")), 2);
    cr_assert_eq(json_array_size(json_arr(d.json, "Failed")), 1, "%s", d.text);
    const json_t *failed = json_array_get(json_arr(d.json, "Failed"), 0);
    cr_expect_str_eq(json_str_or(failed, "Id", ""), "b");
    cr_expect_str_eq(json_str_or(failed, "Code", ""), "ReceiptHandleIsInvalid");
    reply_free(&d);
    reply_free(&r);
    client_stop(&c);
}

Test(sqs, errors_have_their_names)
{
    struct client c = client_start(0, NULL);
    const char *url = json_str(c.ready, "queue_url");
    static const struct {
        const char *operation, *more, *code;
    } CASES[] = {
        {"ReceiveMessage", ",\"MaxNumberOfMessages\":11", "InvalidParameterValue"},
        {"ReceiveMessage", ",\"MaxNumberOfMessages\":0", "InvalidParameterValue"},
        {"ReceiveMessage", ",\"WaitTimeSeconds\":21", "InvalidParameterValue"},
        {"DeleteMessage", ",\"ReceiptHandle\":\"x\"", "ReceiptHandleIsInvalid"},
        {"DeleteMessageBatch", ",\"Entries\":[]", "EmptyBatchRequest"},
        {"DeleteMessageBatch",
         ",\"Entries\":[{\"Id\":\"a\",\"ReceiptHandle\":\"x\"},{\"Id\":\"a\",\"ReceiptHandle\":"
         "\"x\"}]",
         "BatchEntryIdsNotDistinct"},
        {"DeleteMessageBatch", ",\"Entries\":[{\"Id\":\"a b\",\"ReceiptHandle\":\"x\"}]",
         "InvalidBatchEntryId"},
        {"SendMessage", ",\"MessageBody\":\"\"", "InvalidParameterValue"},
        {"SendMessage", ",\"MessageBody\":\"\\u0001\"", "InvalidMessageContents"},
        {"ReceiveMessage", ",\"Unknown\":1", "ValidationException"},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct reply r = sqs(&c, CASES[i].operation, "{\"QueueUrl\":\"%s\"%s}", url, CASES[i].more);
        cr_expect_eq(r.status, 400);
        cr_expect_str_eq(code_of(&r), CASES[i].code, "%s: %s", CASES[i].more, r.text);
        reply_free(&r);
    }
    struct reply r = sqs(&c, "ReceiveMessage", "{\"QueueUrl\":\"%s-not\"}", url);
    cr_expect_str_eq(code_of(&r), "QueueDoesNotExist");
    cr_expect_not_null(
        strstr(r.text, "x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender"));
    reply_free(&r);
    r = sqs(&c, "GetQueueUrl", "{\"QueueName\":\"blox-events\"}");
    cr_expect_str_eq(json_str_or(r.json, "QueueUrl", ""), url);
    reply_free(&r);
    r = sqs(&c, "GetQueueAttributes", "{\"QueueUrl\":\"%s\",\"AttributeNames\":[\"QueueArn\"]}",
            url);
    cr_expect_str_eq(json_str_or(json_obj(r.json, "Attributes"), "QueueArn", ""),
                     "arn:aws:sqs:us-east-1:111122223333:blox-events");
    reply_free(&r);
    cr_expect_eq(stat_of(&c, "answer_shape_errors"), 0);
    client_stop(&c);
}

Test(sqs, long_poll_waits_for_a_message_and_others_are_served_meanwhile)
{
    struct client c = client_start(0, NULL);
    const char *url = json_str(c.ready, "queue_url");

    /* The message becomes visible in 300 ms; the poll would wait for 20 s. */
    CONTROL(&c, "put-event", "{\"body\":{\"a\":1},\"delay_ms\":300}");
    struct reply r = receive(&c, url, ",\"WaitTimeSeconds\":20");
    cr_expect_eq(count_of(&r), 1, "%s", r.text);
    cr_expect_str_eq(json_str_or(json_array_get(json_arr(r.json, "Messages"), 0), "Body", ""),
                     "{\"a\":1}");
    reply_free(&r);
    r = receive(&c, url, ",\"WaitTimeSeconds\":1");
    cr_expect_eq(r.status, 200);
    cr_expect_eq(count_of(&r), 0);
    cr_expect_not_null(strstr(r.text, "\r\n\r\n{}"));
    reply_free(&r);
    client_stop(&c);
}

Test(sqs, visibility_can_be_changed)
{
    struct client c = client_start(0, NULL);
    const char *url = json_str(c.ready, "queue_url");

    CONTROL(&c, "put-event", "{\"body\":\"x\"}");
    struct reply r = receive(&c, url, "");
    struct reply v = sqs(&c, "ChangeMessageVisibility",
                         "{\"QueueUrl\":\"%s\",\"ReceiptHandle\":\"%s\",\"VisibilityTimeout\":0}",
                         url, handle_of(&r, 0));
    cr_expect_eq(v.status, 200, "%s", v.text);
    reply_free(&v);
    v = sqs(&c, "ChangeMessageVisibility",
            "{\"QueueUrl\":\"%s\",\"ReceiptHandle\":\"%s\",\"VisibilityTimeout\":9}", url,
            handle_of(&r, 0));
    cr_expect_str_eq(code_of(&v), "MessageNotInflight");
    reply_free(&v);
    reply_free(&r);
    r = receive(&c, url, "");
    cr_expect_eq(count_of(&r), 1);
    reply_free(&r);
    client_stop(&c);
}
