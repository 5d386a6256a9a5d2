/* SPDX-License-Identifier: Apache-2.0
 * One call: request, answer, retry, pages. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/aws/aws_int.h"
#include "agent/aws/query.h"
#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/limits.h"
#include "agent/base/log.h"

/* ECS takes 64 KB in a request. Above 1 MiB libcurl would ask with "Expect: 100-continue" first. */
#define REQUEST_MAX (512u * 1024)
#define SKEW_MIN_MS (4 * 60 * 1000) /* below it the clock is not what the signature failed for */

const char *aws_service_str(enum aws_service service)
{
    static const char *const names[AWS_SERVICES] = {"ecs", "sqs", "sts", "ec2"};
    return names[service];
}

bool call_needs_credentials(const struct aws_call *c)
{
    return c->service != AWS_STS || strcmp(c->operation, "AssumeRoleWithWebIdentity") != 0;
}

void call_move(struct aws_call *c, enum call_state state)
{
    pace_leave(&c->a->pace, &c->waiter);
    list_remove(&c->node);
    c->a->flying -= c->state == CALL_FLYING ? 1 : 0;
    c->state = state;
    if (state == CALL_WAITING)
        c->due_ms = clock_mono_ms() + AWS_WAIT_MS;
    c->a->flying += state == CALL_FLYING ? 1 : 0;
    list_push(&c->a->lists[state], &c->node);
}

void call_end(struct aws_call *c, int err, const char *code, const char *message)
{
    ENSURE(c->state != CALL_ENDED);
    if (c->op != NULL) {
        c->ambiguous = true; /* it may have arrived by now */
        xfer_cancel(c->op);
        c->op = NULL;
    }
    c->err = err;
    if (code != NULL)
        snprintf(c->answer.code, sizeof c->answer.code, "%s", code);
    if (message != NULL)
        snprintf(c->answer.message, sizeof c->answer.message, "%s", message);
    call_move(c, CALL_ENDED);
    aws_kick(c->a);
}

static void call_free(struct aws_call *c)
{
    list_remove(&c->node);
    c->a->calls--;
    answer_fini(&c->answer);
    json_decref(c->params);
    json_decref(c->items);
    free(c->items_key);
    free(c->access_key);
    free(c->body);
    free(c);
}

void call_deliver(struct aws_call *c)
{
    struct aws_result r = {
        .err = c->err,
        .http_status = c->http_status,
        .ambiguous = c->err != 0 && c->ambiguous,
        .attempts = c->attempts,
        .body = c->answer.body,
        .tape = &c->answer.tape,
    };
    json_t *joined = NULL;
    if (c->err == 0 && c->items_key != NULL) {
        joined = json_object();
        json_object_set(joined, c->items_key, c->items);
        r.body = joined;
    }
    snprintf(r.code, sizeof r.code, "%s", c->answer.code);
    snprintf(r.message, sizeof r.message, "%s", c->answer.message);
    list_remove(&c->node); /* a cancel from within done finds no call any more */
    c->done(c->arg, &r);
    json_decref(joined);
    call_free(c);
}

/* ---- request ---------------------------------------------------------------------- */

int aws_call_url(const struct aws *a, const struct aws_call *c, char url[ENDPOINT_URL_MAX],
                 char region[REGION_MAX])
{
    const struct aws_settings *s = &a->settings;
    snprintf(region, REGION_MAX, "%s", s->region);
    if (s->endpoint[c->service][0] != '\0') {
        snprintf(url, ENDPOINT_URL_MAX, "%s", s->endpoint[c->service]);
    } else if (c->service != AWS_SQS ||
               !endpoint_of_queue(json_str_or(c->params, "QueueUrl", ""), url, region)) {
        int err =
            endpoint_build(aws_service_str(c->service), s->region, s->dual_stack, s->fips, url);
        if (err != 0)
            return err;
    }
    /* In the Query protocol the queue is the path, of whatever host. */
    const char *queue = c->query ? strstr(json_str_or(c->params, "QueueUrl", ""), "://") : NULL;
    const char *path = queue == NULL ? NULL : strchr(queue + 3, '/');
    size_t n = strlen(url);
    int len = snprintf(url + n, ENDPOINT_URL_MAX - n, "%s", path == NULL ? "/" : path);
    return n + (size_t)len < ENDPOINT_URL_MAX ? 0 : ERR_TOOBIG;
}

static int build_body(struct aws_call *c)
{
    struct buf out;
    buf_init(&out, REQUEST_MAX);
    int err = c->service == AWS_STS   ? query_encode_sts(c->operation, c->params, &out)
              : c->service == AWS_EC2 ? query_encode_ec2(c->operation, c->params, &out)
              : c->query              ? query_encode_sqs(c->operation, c->params, &out)
                                      : json_write(c->params, &out);
    if (err == 0) {
        free(c->body);
        c->body = buf_steal(&out, &c->body_len);
    }
    buf_fini(&out);
    return err;
}

static void on_answer(void *arg, const struct xfer_result *r);

static bool speaks_forms(const struct aws_call *c)
{
    return c->service == AWS_STS || c->service == AWS_EC2 || c->query;
}

static bool start_transfer(struct aws_call *c, const char *url, const struct xfer_sign *sign)
{
    char target[160];
    const char *json[] = {c->service == AWS_SQS ? "Content-Type: application/x-amz-json-1.0"
                                                : "Content-Type: application/x-amz-json-1.1",
                          target, NULL};
    const char *form[] = {"Content-Type: application/x-www-form-urlencoded; charset=utf-8", NULL};
    snprintf(target, sizeof target, "X-Amz-Target: %s.%s",
             c->service == AWS_SQS ? "AmazonSQS" : "AmazonEC2ContainerServiceV20141113",
             c->operation);
    struct xfer_spec spec = {
        .method = "POST",
        .url = url,
        .headers = speaks_forms(c) ? form : json,
        .body = c->body,
        .body_len = c->body_len,
        .sign = sign,
        .timeout_ms = c->timeout_ms,
        .max_body = AWS_RESPONSE_MAX,
        .once = c->retry.once,
        .secret = c->service == AWS_STS,
    };
    c->op = xfer_start(c->a->xfer, &spec, on_answer, c);
    return c->op != NULL;
}

void call_send(struct aws_call *c)
{
    struct aws *a = c->a;
    char url[ENDPOINT_URL_MAX];
    char region[REGION_MAX];
    struct xfer_sign sign = {0};
    const struct creds *creds = credman_current(a->creds);
    if (call_needs_credentials(c) && creds == NULL) { /* ended while it stood in the queue */
        call_move(c, CALL_WAITING);
        aws_kick(a);
        return;
    }
    if (c->service == AWS_SQS && c->query != a->sqs_query) {
        c->query = a->sqs_query;
        free(c->body);
        c->body = NULL;
    }
    int err = aws_call_url(a, c, url, region);
    if (err == 0 && c->body == NULL)
        err = build_body(c);
    if (err != 0) {
        call_end(c, err, "BadRequest", "the parameters or the endpoint cannot be sent");
        return;
    }
    free(c->access_key);
    c->access_key = NULL;
    if (call_needs_credentials(c)) {
        c->access_key = strdup(creds->access_key);
        sign = (struct xfer_sign){.access_key = creds->access_key,
                                  .secret = creds->secret,
                                  .session_token = creds->token,
                                  .region = region,
                                  .service = aws_service_str(c->service),
                                  .offset_ms = a->clock_offset_ms};
    }
    answer_fini(&c->answer);
    c->answer = (struct answer){0};
    c->http_status = 0;
    c->started_us = clock_mono_ns() / 1000;
    if (!start_transfer(c, url, sign.access_key == NULL ? NULL : &sign)) {
        call_end(c, ERR_NOMEM, "OutOfMemory", "out of memory, or a bad endpoint");
        return;
    }
    c->retry.attempts++;
    c->attempts++;
    call_move(c, CALL_FLYING);
}

/* ---- answer ----------------------------------------------------------------------- */

/* Learns AWS's time from a refusal. True: the clock is what it was refused for, and the next
 * attempt will be signed with the right time. */
static bool correct_clock(struct aws *a, int64_t date_unix_ms)
{
    int64_t offset = date_unix_ms - clock_unix_ms();
    int64_t change = offset - a->clock_offset_ms;
    if (date_unix_ms == 0 || (change < 0 ? -change : change) < SKEW_MIN_MS)
        return false;
    if (-SKEW_MIN_MS < offset && offset < SKEW_MIN_MS) { /* it was set meanwhile */
        a->clock_offset_ms = 0;
        a->clock_trouble.text[0] = '\0';
        return true;
    }
    a->clock_offset_ms = offset;
    errmsg_set(&a->clock_trouble, ERR_AUTH,
               "this machine's clock is %lld s %s AWS's: set it (chrony, systemd-timesyncd); "
               "requests are signed with AWS's time meanwhile",
               (long long)((offset < 0 ? -offset : offset) / 1000),
               offset < 0 ? "ahead of" : "behind");
    LOG(LOG_WARN, "aws_clock_skew", a->clock_trouble.text, LI("offset_ms", offset));
    return true;
}

static void next_page(struct aws_call *c, const char *token)
{
    const char *key = c->service == AWS_SQS ? "NextToken" : "nextToken";
    const char *before = json_str(c->params, key);
    bool stuck = before != NULL && strcmp(before, token) == 0;
    if (stuck || ++c->pages > AWS_LIST_PAGES_MAX ||
        json_array_size(c->items) > AWS_LIST_ITEMS_MAX) {
        call_end(c, stuck ? ERR_UPSTREAM : ERR_TOOBIG, "Paging",
                 stuck ? "the list came back with the same nextToken" : "the list is too long");
        return;
    }
    json_set_str(c->params, key, token);
    free(c->body);
    c->body = NULL;
    c->retry.attempts = 0;
    c->retry.has_refreshed = false;
    call_move(c, CALL_WAITING);
    aws_kick(c->a);
}

static void on_success(struct aws_call *c)
{
    retry_succeeded(&c->retry, &c->a->quota[c->service]);
    if (c->items_key == NULL) {
        call_end(c, 0, NULL, NULL);
        return;
    }
    json_t *page = json_arr(c->answer.body, c->items_key);
    if (page != NULL && json_array_extend(c->items, page) != 0) {
        call_end(c, ERR_NOMEM, "OutOfMemory", "out of memory");
        return;
    }
    const char *token = json_str(c->answer.body, c->service == AWS_SQS ? "NextToken" : "nextToken");
    if (token == NULL || token[0] == '\0')
        call_end(c, 0, NULL, NULL);
    else
        next_page(c, token);
}

static void retry_or_end(struct aws_call *c, enum retry_class class, int64_t date_unix_ms)
{
    struct aws *a = c->a;
    bool renews = true;
    if (class == RETRY_THROTTLED && c->service == AWS_ECS)
        pace_throttled(&a->pace, pace_bucket_of(c->operation), clock_mono_ms());
    /* A signature fails for a wrong clock or for wrong keys; the Date header tells which. */
    if (class == RETRY_CLOCK || class == RETRY_EXPIRED) {
        bool corrected = correct_clock(a, date_unix_ms);
        if (!corrected && class == RETRY_CLOCK && c->access_key != NULL)
            (void)credman_refused(a->creds, c->access_key); /* tells it, looks for other keys */
        if (corrected)
            class = RETRY_CLOCK;
        else if (class == RETRY_CLOCK)
            class = RETRY_NEVER;
    }
    if (class == RETRY_EXPIRED && !c->retry.has_refreshed && c->access_key != NULL)
        renews = credman_refused(a->creds, c->access_key);
    if (!renews || !retry_again(&c->retry, class, &a->quota[c->service])) {
        call_end(c, c->err, NULL, NULL);
        return;
    }
    aws_count_retry(a, c);
    bool at_once = class == RETRY_EXPIRED || class == RETRY_CLOCK;
    c->due_ms = clock_mono_ms() + (at_once ? 0 : retry_delay_ms(c->retry.attempts, &a->prng));
    LOG(LOG_DEBUG, "aws_retry", c->operation, LS("code", c->answer.code),
        LI("attempts", c->attempts));
    call_move(c, CALL_BACKOFF);
    aws_kick(a);
}

/* The transfer broke: no answer, or not all of it. */
static void read_failure(struct aws_call *c, const struct xfer_result *r)
{
    c->err = r->err;
    c->ambiguous = c->ambiguous || r->sent;
    snprintf(c->answer.message, sizeof c->answer.message, "%.200s", r->why);
}

static void read_answer(struct aws_call *c, const struct xfer_result *r)
{
    answer_read(&c->answer, r->status, r->body, r->body_len, r->error_type,
                c->service == AWS_STS   ? ANSWER_XML
                : c->service == AWS_EC2 ? ANSWER_EC2_XML
                : c->query              ? ANSWER_SQS_XML
                : c->tape               ? ANSWER_TAPE
                                        : ANSWER_JSON);
    c->err = c->answer.err;
    if (c->err == 0 && c->query && c->tape)
        c->err = answer_retape(&c->answer);
    if (r->status >= 300 && r->status < 400)
        snprintf(c->answer.message, sizeof c->answer.message,
                 "redirect (status %d) to %.120s is not followed: check the endpoint", r->status,
                 r->location);
    if (c->answer.broken || r->status >= 500)
        c->ambiguous = c->ambiguous || !retry_code_is_throttle(c->answer.code);
}

/* An emulator of SQS from before 2023 knows no JSON and says so in some other words; one of today
 * may know nothing else. The other protocol, then. AWS's own SQS knows both. */
static bool speaks_otherwise(const struct aws_call *c, const struct xfer_result *r)
{
    return c->service == AWS_SQS && !c->turned && c->a->settings.endpoint[AWS_SQS][0] != '\0' &&
           r->err == 0 && r->status >= 400 && r->status < 500 &&
           (c->answer.body == NULL || r->body_len == 0);
}

static void turn(struct aws_call *c)
{
    c->turned = true;
    c->a->sqs_query = !c->query;
    LOG(LOG_INFO, "sqs_protocol", c->query ? "JSON from now on" : "forms and XML from now on",
        LI("status", c->http_status));
    call_move(c, CALL_WAITING);
    aws_kick(c->a);
}

static void on_answer(void *arg, const struct xfer_result *r)
{
    struct aws_call *c = arg;
    c->op = NULL;
    c->http_status = r->status;
    if (r->err != 0)
        read_failure(c, r);
    else
        read_answer(c, r);
    struct retry_input in = {.transport_err = c->answer.broken ? ERR_UPSTREAM : r->err,
                             .sent = r->sent || c->answer.broken,
                             .http_status = r->status,
                             .code = c->answer.code};
    enum retry_class class = retry_classify(&in);
    aws_count(c->a, c, c->err, class == RETRY_THROTTLED);
    if (speaks_otherwise(c, r)) {
        turn(c);
        return;
    }
    if (c->err != 0) {
        retry_or_end(c, class, r->date_unix_ms);
        return;
    }
    if (call_needs_credentials(c))
        credman_accepted(c->a->creds);
    on_success(c);
}

/* ---- public ----------------------------------------------------------------------- */

static uint64_t attempt_timeout_ms(enum aws_service service, const json_t *params,
                                   const struct aws_call_options *o)
{
    uint64_t timeout = o->timeout_ms == 0 ? AWS_TIMEOUT_MS : o->timeout_ms;
    int64_t wait_s = service == AWS_SQS ? json_int_or(params, "WaitTimeSeconds", 0) : 0;
    return timeout + (wait_s > 0 && wait_s <= 20 ? (uint64_t)wait_s * 1000 : 0);
}

static struct aws_call *make_call(struct aws *a, enum aws_service service, const char *operation,
                                  const char *items_key, json_t *params,
                                  const struct aws_call_options *options, aws_done_fn done,
                                  void *arg)
{
    static const struct aws_call_options none = {.priority = AWS_RESYNC};
    const struct aws_call_options *o = options == NULL ? &none : options;
    struct aws_call *c = a->closing ? NULL : calloc(1, sizeof *c);
    if (c == NULL) {
        json_decref(params);
        return NULL;
    }
    ENSURE(service < AWS_SERVICES);
    ENSURE(strlen(operation) < sizeof c->operation);
    list_init(&c->node);
    c->a = a;
    c->service = service;
    snprintf(c->operation, sizeof c->operation, "%s", operation);
    c->params = params == NULL ? json_object() : params;
    c->timeout_ms = attempt_timeout_ms(service, c->params, o);
    c->priority = o->priority;
    c->tape = o->tape;
    c->retry.once = o->once;
    c->done = done;
    c->arg = arg;
    a->calls++;
    if (items_key != NULL) {
        c->items_key = strdup(items_key);
        c->items = json_array();
    }
    if (c->params == NULL || (items_key != NULL && (c->items_key == NULL || c->items == NULL))) {
        call_free(c);
        return NULL;
    }
    call_move(c, CALL_WAITING);
    if (a->calls > AWS_CALLS_MAX)
        call_end(c, ERR_BUSY, "TooManyCalls", "too many AWS calls are waiting");
    aws_kick(a);
    return c;
}

struct aws_call *aws_call(struct aws *a, enum aws_service service, const char *operation,
                          json_t *params, const struct aws_call_options *options, aws_done_fn done,
                          void *arg)
{
    return make_call(a, service, operation, NULL, params, options, done, arg);
}

struct aws_call *aws_list(struct aws *a, enum aws_service service, const char *operation,
                          const char *items_key, json_t *params,
                          const struct aws_call_options *options, aws_done_fn done, void *arg)
{
    return make_call(a, service, operation, items_key, params, options, done, arg);
}

void aws_cancel(struct aws_call *c)
{
    if (c->state != CALL_ENDED) {
        call_end(c, ERR_CANCELED, "Canceled", "the call was cancelled");
    } else if (c->err == 0) { /* its answer came, but was not told yet */
        c->err = ERR_CANCELED;
        c->ambiguous = true;
    }
}
