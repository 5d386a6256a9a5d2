/* SPDX-License-Identifier: Apache-2.0
 * An AWS client on a loop of its own, for tests: environment cleaned, results kept. */
#ifndef BLOX_TESTS_AWS_CLIENT_H
#define BLOX_TESTS_AWS_CLIENT_H

#include <criterion/criterion.h>
#include <signal.h>
#include <unistd.h>
#include <uv.h>

#include "agent/aws/aws.h"
#include "agent/base/log.h"

struct client {
    uv_loop_t loop;
    uv_timer_t guard;
    struct aws *aws;
};

struct outcome {
    unsigned runs;
    int err;
    int status;
    bool ambiguous;
    unsigned attempts;
    char code[96];
    char message[256];
    json_t *body;
};

static inline void clean_environment(void)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_ENDPOINT_URL",
                                        "AWS_ENDPOINT_URL_ECS",
                                        "AWS_ENDPOINT_URL_SQS",
                                        "AWS_ENDPOINT_URL_STS",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_ROLE_ARN",
                                        "AWS_ROLE_SESSION_NAME",
                                        "AWS_CONFIG_FILE",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "HOME",
                                        "http_proxy",
                                        "https_proxy",
                                        "HTTPS_PROXY",
                                        "ALL_PROXY",
                                        "NO_PROXY",
                                        "no_proxy"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
}

static inline void on_guard(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "the test waits for something that does not come\n");
    abort();
}

static inline void client_start(struct client *c, struct aws_options options)
{
    struct errmsg e = {0};
    signal(SIGPIPE, SIG_IGN);
    log_configure(LOG_OFF, LOG_TEXT);
    uv_loop_init(&c->loop);
    uv_timer_init(&c->loop, &c->guard);
    uv_timer_start(&c->guard, on_guard, 60000, 0);
    uv_unref((uv_handle_t *)&c->guard);
    options.loop = &c->loop;
    cr_assert_eq(aws_create(&c->aws, &options, &e), 0, "%s", e.text);
}

static inline void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static inline void client_stop(struct client *c)
{
    bool done = false;
    aws_destroy(c->aws, set_flag, &done);
    while (!done)
        uv_run(&c->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&c->guard, NULL);
    uv_run(&c->loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&c->loop), 0, "a handle was left open");
}

static inline void on_outcome(void *arg, const struct aws_result *r)
{
    struct outcome *o = arg;
    o->runs++;
    o->err = r->err;
    o->status = r->http_status;
    o->ambiguous = r->ambiguous;
    o->attempts = r->attempts;
    snprintf(o->code, sizeof o->code, "%s", r->code);
    snprintf(o->message, sizeof o->message, "%s", r->message);
    json_decref(o->body);
    o->body = r->body == NULL ? NULL : json_deep_copy(r->body);
}

static inline void client_wait(struct client *c, struct outcome *o, unsigned runs)
{
    /* Not UV_RUN_ONCE: it runs timers before it blocks, and the outcome may come from one. */
    while (o->runs < runs) {
        uv_run(&c->loop, UV_RUN_NOWAIT);
        if (o->runs < runs)
            usleep(200);
    }
}

static inline struct outcome client_call(struct client *c, enum aws_service service,
                                         const char *operation, json_t *params,
                                         const struct aws_call_options *options)
{
    struct outcome o = {0};
    cr_assert(aws_call(c->aws, service, operation, params, options, on_outcome, &o) != NULL);
    cr_assert_eq(o.runs, 0, "done ran before aws_call returned");
    client_wait(c, &o, 1);
    cr_assert_eq(o.runs, 1);
    return o;
}

#endif
