/* SPDX-License-Identifier: Apache-2.0
 * Calls against a real socket: answers of all kinds, retries, limits, cancel, destroy. */
#include "tests/unit/aws/client.h"
#include "tests/unit/aws/fake_server.h"

#include "agent/base/limits.h"

#define KEY "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

/* Answers the n-th request with the n-th entry; the last one for all later ones. */
struct script {
    const struct fake_answer *answers;
    unsigned count;
};

static void play(void *arg, const struct fake_request *rq, struct fake_answer *answer)
{
    const struct script *s = arg;
    unsigned i = rq->number <= s->count ? rq->number - 1 : s->count - 1;
    *answer = s->answers[i];
}

static void start(struct client *c, struct fake *f, struct script *s)
{
    clean_environment();
    setenv("AWS_ACCESS_KEY_ID", KEY, 1);
    setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
    fake_start(f, play, s);
    client_start(c, (struct aws_options){.region = "eu-west-1",
                                         .ecs_endpoint = f->url,
                                         .sqs_endpoint = f->url,
                                         .sts_endpoint = f->url,
                                         .seed = 1});
}

Test(aws_call, a_success_gives_the_body_and_sends_what_ecs_wants)
{
    static const struct fake_answer answers[] = {{.body = "{\"clusterArns\":[\"a\"]}"}};
    struct script s = {answers, 1};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct outcome o =
        client_call(&c, AWS_ECS, "ListClusters", json_pack("{s:i}", "maxResults", 5), NULL);
    cr_assert_eq(o.err, 0, "%s: %s", o.code, o.message);
    cr_assert_eq(o.status, 200);
    cr_assert_str_eq(json_string_value(json_array_get(json_arr(o.body, "clusterArns"), 0)), "a");
    const struct fake_request *rq = f.requests[0];
    char value[512];
    cr_assert_str_eq(rq->method, "POST");
    cr_assert_str_eq(rq->path, "/");
    cr_assert_str_eq(rq->body, "{\"maxResults\":5}");
    cr_assert(fake_header(rq, "Content-Type", value, sizeof value));
    cr_assert_str_eq(value, "application/x-amz-json-1.1");
    cr_assert(fake_header(rq, "X-Amz-Target", value, sizeof value));
    cr_assert_str_eq(value, "AmazonEC2ContainerServiceV20141113.ListClusters");
    cr_assert(fake_header(rq, "User-Agent", value, sizeof value));
    cr_assert_str_eq(value, "blox/" BLOX_VERSION);
    cr_assert(fake_header(rq, "Authorization", value, sizeof value));
    cr_assert(strstr(value, "/eu-west-1/ecs/aws4_request") != NULL);
    json_decref(o.body);
    client_stop(&c);
}

#define ERROR(http, type)                                                                          \
    {                                                                                              \
        .status = (http), .body = "{\"__type\":\"" type "\",\"message\":\"m\"}"                    \
    }
static const struct row {
    const char *name;
    struct fake_answer answers[4];
    unsigned count;
    bool once;
    int err;
    bool ambiguous;
    unsigned attempts;
    const char *code;
} rows[] = {
    {"throttle, then success",
     {ERROR(400, "ThrottlingException"), {.body = "{}"}},
     2,
     false,
     0,
     false,
     2,
     ""},
    {"throttle, then success, once",
     {ERROR(400, "ThrottlingException"), {.body = "{}"}},
     2,
     true,
     0,
     false,
     2,
     ""},
    {"throttled for good",
     {ERROR(400, "ThrottlingException")},
     1,
     false,
     ERR_THROTTLED,
     false,
     3,
     "ThrottlingException"},
    {"500, then success",
     {ERROR(500, "ServerException"), {.body = "{}"}},
     2,
     false,
     0,
     false,
     2,
     ""},
    {"500 for good",
     {ERROR(500, "ServerException")},
     1,
     false,
     ERR_UPSTREAM,
     true,
     3,
     "ServerException"},
    {"500, once",
     {ERROR(500, "ServerException")},
     1,
     true,
     ERR_UPSTREAM,
     true,
     1,
     "ServerException"},
    {"502 with HTML",
     {{.status = 502, .body = "<html>bad gateway</html>"}},
     1,
     true,
     ERR_UPSTREAM,
     true,
     1,
     ""},
    {"503 SlowDown, once", {ERROR(503, "SlowDown"), {.body = "{}"}}, 2, true, 0, false, 2, ""},
    {"reset, then success", {{.kind = FAKE_RESET}, {.body = "{}"}}, 2, false, 0, false, 2, ""},
    {"reset, once", {{.kind = FAKE_RESET}}, 1, true, ERR_UPSTREAM, true, 1, ""},
    {"close without an answer, once", {{.kind = FAKE_CLOSE}}, 1, true, ERR_UPSTREAM, true, 1, ""},
    {"cut body, then success",
     {{.kind = FAKE_TRUNCATE, .body = "{\"a\":"}, {.body = "{}"}},
     2,
     false,
     0,
     false,
     2,
     ""},
    {"cut body, once", {{.kind = FAKE_TRUNCATE, .body = "{}"}}, 1, true, ERR_UPSTREAM, true, 1, ""},
    {"broken JSON, then success", {{.body = "{\"a\":"}, {.body = "{}"}}, 2, false, 0, false, 2, ""},
    {"not an object, once", {{.body = "[1]"}}, 1, true, ERR_UPSTREAM, true, 1, ""},
    {"redirect",
     {{.status = 301, .headers = "Location: http://127.0.0.1:1/\r\n"}},
     1,
     false,
     ERR_UPSTREAM,
     false,
     1,
     ""},
    {"huge", {{.huge = AWS_RESPONSE_MAX + 1}}, 1, false, ERR_TOOBIG, true, 1, ""},
    {"namespace and tail of the code",
     {ERROR(400, "com.amazonaws.ecs#ClusterNotFoundException:http://x/")},
     1,
     false,
     ERR_NOTFOUND,
     false,
     1,
     "ClusterNotFoundException"},
    {"code in a header",
     {{.status = 400, .headers = "x-amzn-ErrorType: ClientException:http://x\r\n"}},
     1,
     false,
     ERR_BADPARAM,
     false,
     1,
     "ClientException"},
    {"access denied",
     {ERROR(400, "AccessDeniedException")},
     1,
     false,
     ERR_DENIED,
     false,
     1,
     "AccessDeniedException"},
    {"bad parameter",
     {ERROR(400, "InvalidParameterException")},
     1,
     false,
     ERR_BADPARAM,
     false,
     1,
     "InvalidParameterException"},
    {"wrong secret",
     {ERROR(403, "InvalidSignatureException")},
     1,
     false,
     ERR_AUTH,
     false,
     1,
     "InvalidSignatureException"},
};

Test(aws_call, every_kind_of_answer_becomes_the_right_error)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        static struct fake fakes[sizeof rows / sizeof rows[0]];
        const struct row *row = &rows[i];
        struct script s = {row->answers, row->count};
        struct client c;
        start(&c, &fakes[i], &s);
        struct aws_call_options options = {.once = row->once};
        struct outcome o = client_call(&c, AWS_ECS, "StartTask", json_object(), &options);
        cr_assert_eq(o.err, row->err, "%s: %d %s %s", row->name, o.err, o.code, o.message);
        cr_assert_eq(o.ambiguous, row->ambiguous, "%s: ambiguous is %d", row->name, o.ambiguous);
        cr_assert_eq(o.attempts, row->attempts, "%s: %u attempts", row->name, o.attempts);
        cr_assert_eq(fakes[i].count, row->attempts, "%s: %u requests", row->name, fakes[i].count);
        cr_assert_str_eq(o.code, row->code, "%s", row->name);
        cr_assert(o.err == 0 || o.message[0] != '\0', "%s: no message", row->name);
        json_decref(o.body);
        client_stop(&c);
    }
}

Test(aws_call, a_call_to_nowhere_is_unreachable_and_not_ambiguous)
{
    struct client c;
    clean_environment();
    setenv("AWS_ACCESS_KEY_ID", KEY, 1);
    setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
    client_start(&c, (struct aws_options){
                         .region = "eu-west-1", .ecs_endpoint = "http://127.0.0.1:1", .seed = 1});
    struct aws_call_options options = {.once = true};
    struct outcome o = client_call(&c, AWS_ECS, "StartTask", json_object(), &options);
    cr_assert_eq(o.err, ERR_UNREACHABLE);
    cr_assert_not(o.ambiguous);
    cr_assert_eq(o.attempts, 3, "without effect, so it may be sent again even once");
    client_stop(&c);
}

Test(aws_call, no_answer_in_time_is_an_ambiguous_timeout)
{
    static const struct fake_answer answers[] = {{.kind = FAKE_HANG}};
    struct script s = {answers, 1};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct aws_call_options options = {.once = true, .timeout_ms = 200};
    struct outcome o = client_call(&c, AWS_ECS, "StartTask", json_object(), &options);
    cr_assert_eq(o.err, ERR_TIMEOUT);
    cr_assert(o.ambiguous);
    cr_assert_eq(f.count, 1);
    client_stop(&c);
}

/* libcurl itself sends a request again when a kept connection dies before an answer: the server
 * would start the tasks twice. */
Test(aws_call, once_is_once_on_a_kept_connection_that_dies)
{
    static const struct fake_answer answers[] = {
        {.body = "{}"}, {.kind = FAKE_CLOSE}, {.body = "{}"}};
    for (int once = 0; once < 2; once++) {
        static struct fake fakes[2];
        struct script s = {answers, 3};
        struct client c;
        start(&c, &fakes[once], &s);
        struct aws_call_options options = {.once = once == 1};
        struct outcome o = client_call(&c, AWS_ECS, "StartTask", json_object(), &options);
        cr_assert_eq(o.err, 0);
        json_decref(o.body);
        o = client_call(&c, AWS_ECS, "StartTask", json_object(), &options);
        cr_assert_eq(fakes[once].requests[1]->connection, 1, "the connection was not kept");
        cr_assert_eq(o.err, once == 1 ? ERR_UPSTREAM : 0);
        cr_assert_eq(o.ambiguous, once == 1);
        cr_assert_eq(fakes[once].count, once == 1 ? 2 : 3);
        json_decref(o.body);
        client_stop(&c);
    }
}

Test(aws_call, sqs_speaks_json_1_0_and_adds_the_wait_to_the_timeout)
{
    static const struct fake_answer answers[] = {
        {.body = "{}"},
        {.status = 400,
         .headers = "x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender\r\n",
         .body = "{\"__type\":\"com.amazonaws.sqs#QueueDoesNotExist\",\"message\":\"gone\"}"},
        {.body = ""}};
    struct script s = {answers, 3};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    json_t *params = json_pack("{s:s, s:i, s:i}", "QueueUrl", "http://q/1/queue", "WaitTimeSeconds",
                               1, "MaxNumberOfMessages", 10);
    struct outcome o = client_call(&c, AWS_SQS, "ReceiveMessage", params, NULL);
    char value[256];
    cr_assert_eq(o.err, 0);
    cr_assert(fake_header(f.requests[0], "Content-Type", value, sizeof value));
    cr_assert_str_eq(value, "application/x-amz-json-1.0");
    cr_assert(fake_header(f.requests[0], "X-Amz-Target", value, sizeof value));
    cr_assert_str_eq(value, "AmazonSQS.ReceiveMessage");
    json_decref(o.body);
    o = client_call(&c, AWS_SQS, "ReceiveMessage", json_pack("{s:s}", "QueueUrl", "x"), NULL);
    cr_assert_eq(o.err, ERR_NOTFOUND);
    cr_assert_str_eq(o.code, "QueueDoesNotExist");
    json_decref(o.body);
    o = client_call(&c, AWS_SQS, "DeleteMessage", json_pack("{s:s}", "QueueUrl", "x"), NULL);
    cr_assert_eq(o.err, 0, "an empty body is a success");
    json_decref(o.body);
    client_stop(&c);
}

Test(aws_call, sts_answers_xml)
{
    static const struct fake_answer answers[] = {
        {.body =
             "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
             "<GetCallerIdentityResult><Arn>arn:aws:iam::1:user/a&amp;b</Arn><Account>1</Account>"
             "</GetCallerIdentityResult><ResponseMetadata><RequestId>r</RequestId>"
             "</ResponseMetadata></GetCallerIdentityResponse>"},
        {.status = 403,
         .body = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>"
                 "<Message>no</Message></Error></ErrorResponse>"}};
    struct script s = {answers, 2};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct outcome o = client_call(&c, AWS_STS, "GetCallerIdentity", NULL, NULL);
    cr_assert_eq(o.err, 0, "%s", o.message);
    cr_assert_str_eq(json_str(o.body, "Arn"), "arn:aws:iam::1:user/a&b");
    cr_assert_str_eq(f.requests[0]->body, "Action=GetCallerIdentity&Version=2011-06-15");
    json_decref(o.body);
    o = client_call(&c, AWS_STS, "GetCallerIdentity", NULL, NULL);
    cr_assert_eq(o.err, ERR_DENIED);
    cr_assert_str_eq(o.code, "AccessDenied");
    cr_assert_str_eq(o.message, "no");
    json_decref(o.body);
    client_stop(&c);
}

Test(aws_call, a_list_joins_its_pages_and_outlives_a_fault_in_the_middle)
{
    static const struct fake_answer answers[] = {
        {.body = "{\"taskArns\":[\"a\",\"b\"],\"nextToken\":\"t1\"}"},
        {.kind = FAKE_RESET},
        {.body = "{\"taskArns\":[\"c\"],\"nextToken\":\"t2\"}"},
        {.body = "{\"taskArns\":[\"d\"]}"}};
    struct script s = {answers, 4};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct outcome o = {0};
    aws_list(c.aws, AWS_ECS, "ListTasks", "taskArns", json_pack("{s:s}", "cluster", "x"), NULL,
             on_outcome, &o);
    client_wait(&c, &o, 1);
    cr_assert_eq(o.err, 0, "%s", o.message);
    cr_assert_eq(json_array_size(json_arr(o.body, "taskArns")), 4);
    cr_assert_str_eq(f.requests[3]->body, "{\"cluster\":\"x\",\"nextToken\":\"t2\"}");
    cr_assert_eq(f.count, 4);
    /* 3 if libcurl met the reset as the end of a kept connection and sent again by itself. */
    cr_assert(o.attempts == 3 || o.attempts == 4);
    json_decref(o.body);
    client_stop(&c);
}

Test(aws_call, a_list_that_goes_in_circles_ends)
{
    static const struct fake_answer answers[] = {{.body = "{\"taskArns\":[],\"nextToken\":\"t\"}"}};
    struct script s = {answers, 1};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct outcome o = {0};
    aws_list(c.aws, AWS_ECS, "ListTasks", "taskArns", NULL, NULL, on_outcome, &o);
    client_wait(&c, &o, 1);
    cr_assert_eq(o.err, ERR_UPSTREAM);
    json_decref(o.body);
    client_stop(&c);
}

Test(aws_call, a_cancelled_call_ends_once_and_not_from_within)
{
    static const struct fake_answer answers[] = {{.kind = FAKE_HANG}};
    struct script s = {answers, 1};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct outcome early = {0};
    struct outcome late = {0};
    struct aws_call *a = aws_call(c.aws, AWS_ECS, "StartTask", NULL, NULL, on_outcome, &early);
    struct aws_call *b = aws_call(c.aws, AWS_ECS, "StartTask", NULL, NULL, on_outcome, &late);
    aws_cancel(a);
    aws_cancel(a);
    cr_assert_eq(early.runs, 0);
    client_wait(&c, &early, 1);
    cr_assert_eq(early.err, ERR_CANCELED);
    cr_assert_not(early.ambiguous, "it was never sent");
    while (f.count == 0)
        uv_run(&c.loop, UV_RUN_NOWAIT);
    aws_cancel(b);
    client_wait(&c, &late, 1);
    cr_assert_eq(late.err, ERR_CANCELED);
    cr_assert(late.ambiguous, "it was on its way");
    client_stop(&c);
    cr_assert_eq(early.runs + late.runs, 2);
}

static void on_get(void *arg, int err, int status, const char *body, size_t len)
{
    struct outcome *o = arg;
    o->runs++;
    o->err = err;
    o->status = status;
    snprintf(o->message, sizeof o->message, "%.*s", (int)len, body == NULL ? "" : body);
}

Test(aws_call, destroy_ends_everything_under_way)
{
    static const struct fake_answer answers[] = {{.kind = FAKE_HANG}};
    struct script s = {answers, 1};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct outcome calls[20] = {0};
    struct outcome get = {0};
    for (size_t i = 0; i < 20; i++)
        aws_call(c.aws, i % 2 == 0 ? AWS_ECS : AWS_SQS, "ListClusters", NULL, NULL, on_outcome,
                 &calls[i]);
    cr_assert_eq(aws_http_get(c.aws, f.url, 0, on_get, &get), 0);
    while (f.count < 5)
        uv_run(&c.loop, UV_RUN_NOWAIT);
    client_stop(&c);
    for (size_t i = 0; i < 20; i++) {
        cr_assert_eq(calls[i].runs, 1);
        cr_assert_eq(calls[i].err, ERR_CANCELED);
    }
    cr_assert_eq(get.runs, 1);
    cr_assert_eq(get.err, ERR_CANCELED);
}

Test(aws_call, a_plain_get_gives_any_status_and_follows_no_redirect)
{
    static const struct fake_answer answers[] = {
        {.body = "{\"Cluster\":\"c\"}"},
        {.status = 404, .body = "none"},
        {.status = 302, .headers = "Location: http://169.254.169.254/\r\n"}};
    struct script s = {answers, 3};
    struct client c;
    static struct fake f;
    static const int status[] = {200, 404, 302};
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    start(&c, &f, &s);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* no proxy for loopback */
    for (size_t i = 0; i < 3; i++) {
        struct outcome o = {0};
        cr_assert_eq(aws_http_get(c.aws, f.url, 0, on_get, &o), 0);
        client_wait(&c, &o, 1);
        cr_assert_eq(o.err, 0);
        cr_assert_eq(o.status, status[i]);
    }
    struct outcome o = {0};
    cr_assert_eq(aws_http_get(c.aws, "file:///etc/passwd", 0, on_get, &o), ERR_BADPARAM);
    cr_assert_eq(aws_http_get(c.aws, "http://", 0, on_get, &o), 0);
    client_wait(&c, &o, 1);
    cr_assert_neq(o.err, 0);
    client_stop(&c);
}

/* The handle of one transfer serves the next, of any kind. */
Test(aws_call, nothing_of_a_call_is_left_for_the_next_transfer)
{
    static const struct fake_answer answers[] = {{.body = "{}"}};
    struct script s = {answers, 1};
    struct client c;
    static struct fake f;
    char value[256];
    start(&c, &f, &s);
    for (size_t i = 0; i < 12; i += 2) {
        struct outcome get = {0}, o = client_call(&c, AWS_SQS, "ListQueues", NULL, NULL);
        cr_assert_eq(o.err, 0, "%s", o.message);
        json_decref(o.body);
        cr_assert_eq(aws_http_get(c.aws, f.url, 0, on_get, &get), 0);
        client_wait(&c, &get, 1);
        cr_assert_eq(get.err, 0);
        cr_assert_str_eq(f.requests[i]->method, "POST");
        cr_assert(fake_header(f.requests[i], "Authorization", value, sizeof value));
        cr_assert_str_eq(f.requests[i + 1]->method, "GET");
        cr_assert_eq(f.requests[i + 1]->body_len, 0);
        cr_assert_not(fake_header(f.requests[i + 1], "Authorization", value, sizeof value));
        cr_assert_not(fake_header(f.requests[i + 1], "X-Amz-Target", value, sizeof value));
        cr_assert_not(fake_header(f.requests[i + 1], "X-Amz-Date", value, sizeof value));
    }
    cr_assert_eq(f.connections, 1);
    client_stop(&c);
}

Test(aws_call, a_proxy_is_used_for_aws_but_not_for_no_proxy)
{
    static const struct fake_answer answers[] = {{.body = "{}"}};
    struct script s = {answers, 1};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    client_stop(&c);
    setenv("http_proxy", f.url, 1);
    client_start(&c, (struct aws_options){.region = "eu-west-1",
                                          .ecs_endpoint = "http://ecs.blox.invalid",
                                          .sqs_endpoint = "http://sqs.blox.invalid",
                                          .seed = 1});
    struct outcome o = client_call(&c, AWS_ECS, "ListClusters", NULL, NULL);
    cr_assert_eq(o.err, 0, "%s", o.message);
    cr_assert_str_eq(f.requests[0]->path, "http://ecs.blox.invalid/");
    json_decref(o.body);
    setenv("no_proxy", "sqs.blox.invalid", 1);
    struct aws_call_options options = {.once = true};
    o = client_call(&c, AWS_SQS, "ListQueues", NULL, &options);
    cr_assert_eq(o.err, ERR_UNREACHABLE);
    cr_assert_eq(f.count, 1);
    client_stop(&c);
}

#define EXPIRED "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired\"}"

/* Twice: AWS's time is taken, and given up again once the clock was set. */
Test(aws_call, the_clock_is_learnt_from_a_refusal)
{
    char now[64], date[64];
    time_t t = time(NULL);
    strftime(now, sizeof now, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime(&t));
    const struct fake_answer answers[] = {
        {.status = 403, .headers = "Date: Sat, 01 Jan 2050 00:00:00 GMT\r\n", .body = EXPIRED},
        {.body = "{}"},
        {.status = 403, .headers = now, .body = EXPIRED},
        {.body = "{}"}};
    struct script s = {answers, 4};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct outcome o = client_call(&c, AWS_ECS, "ListClusters", NULL, NULL);
    cr_assert_eq(o.err, 0);
    cr_assert_eq(o.attempts, 2u);
    cr_assert(fake_header(f.requests[1], "X-Amz-Date", date, sizeof date));
    cr_assert_eq(strncmp(date, "20500101T00", 11), 0, "%s", date);
    cr_assert(strstr(aws_trouble(c.aws), "clock") != NULL, "%s", aws_trouble(c.aws));
    json_t *status = aws_status(c.aws);
    cr_assert(json_int_or(status, "clock_offset_ms", 0) > 365ll * 86400 * 1000);
    json_decref(status);
    json_decref(o.body);
    o = client_call(&c, AWS_ECS, "ListClusters", NULL, NULL);
    cr_assert_eq(o.err, 0);
    cr_assert_eq(o.attempts, 2u);
    cr_assert(fake_header(f.requests[3], "X-Amz-Date", date, sizeof date));
    cr_assert_neq(strncmp(date, "2050", 4), 0, "%s", date);
    cr_assert_str_eq(aws_trouble(c.aws), "");
    json_decref(o.body);
    client_stop(&c);
}
