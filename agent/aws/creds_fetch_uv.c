/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/aws/answer.h"
#include "agent/aws/creds_int.h"
#include "agent/aws/query.h"
#include "agent/base/clock.h"

#define RETRY_BASE_MS 500
#define TOKEN_FILE_MAX 32768u

static void step(struct fetch *f);

static void on_step(uv_timer_t *timer)
{
    step(timer->data);
}

static void finish(struct fetch *f, int err, const char *why)
{
    char source[sizeof f->chain.source];
    struct creds creds = {0};
    memcpy(source, f->chain.source, sizeof source);
    if (err == 0)
        creds_move(&creds, &f->creds);
    creds_wipe(&f->creds);
    chain_fini(&f->chain);
    uv_timer_stop(&f->timer);
    f->running = false;
    f->done(f->arg, err, &creds, source, why);
    creds_wipe(&creds);
}

static void fail(struct fetch *f, const char *what)
{
    struct errmsg e = {0};
    if (f->has_base && f->roles_done < f->chain.role_count)
        errmsg_set(&e, ERR_AUTH, "no credentials: assuming %.100s: %.130s",
                   f->chain.roles[f->roles_done].arn, what);
    else
        errmsg_set(&e, ERR_AUTH, "no credentials: %s: %.170s", f->chain.source, what);
    finish(f, ERR_AUTH, e.text);
}

/* This step is done: the next, from the loop. */
static void advance(struct fetch *f)
{
    if (f->has_base)
        f->roles_done++;
    f->has_base = true;
    f->attempts = 0;
    uv_timer_start(&f->timer, on_step, 0, 0);
}

static bool try_again(struct fetch *f, int err, int status)
{
    bool transient = err == ERR_TIMEOUT || err == ERR_UNREACHABLE || err == ERR_UPSTREAM ||
                     (err == 0 && (status >= 500 || status == 429));
    if (!transient || f->attempts >= FETCH_ATTEMPTS)
        return false;
    uint64_t ms = RETRY_BASE_MS + prng_below(&f->prng, RETRY_BASE_MS);
    uv_timer_start(&f->timer, on_step, ms, 0);
    return true;
}

static void take_json(struct fetch *f, const char *body, size_t len, enum creds_form form)
{
    struct errmsg e = {0};
    struct errmsg parse = {0};
    json_t *obj = json_parse_lenient(body, len, &parse);
    int err = json_is_object(obj)
                  ? creds_from_json(&f->creds, obj, form, "it", &e)
                  : errmsg_set(&e, ERR_AUTH, "it did not answer with a JSON object");
    creds_wipe_json(obj);
    if (err != 0)
        fail(f, e.text);
    else
        advance(f);
}

/* ---- credential_process, container, instance metadata ----------------------------- */

static void on_process(void *arg, int err, const char *output, size_t len, const char *why)
{
    struct fetch *f = arg;
    f->process = NULL;
    if (err != 0)
        fail(f, why);
    else
        take_json(f, output, len, CREDS_PROCESS);
}

static void ask_process(struct fetch *f)
{
    struct errmsg e = {0};
    f->process =
        process_start(f->o->loop, f->chain.command, FETCH_PROCESS_TIMEOUT_MS, on_process, f, &e);
    if (f->process == NULL)
        fail(f, e.text);
}

static void on_container(void *arg, const struct xfer_result *r)
{
    struct fetch *f = arg;
    char what[200];
    f->op = NULL;
    if (try_again(f, r->err, r->status))
        return;
    if (r->err == 0 && r->status == 200) {
        take_json(f, r->body, r->body_len, CREDS_METADATA);
        return;
    }
    if (r->err != 0)
        snprintf(what, sizeof what, "%.150s", r->why);
    else
        snprintf(what, sizeof what, "it answered with status %d", r->status);
    fail(f, what);
}

/* The header's value; the file is read each time because EKS rotates it. False: failed. */
static bool authorization(struct fetch *f, char **ret)
{
    const char *env = getenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    struct errmsg e = {0};
    char *text = NULL;
    size_t len = 0;
    *ret = NULL;
    if (f->chain.path[0] != '\0') {
        if (profile_read_file(f->chain.path, TOKEN_FILE_MAX, &text, &len, &e) != 0) {
            fail(f, e.text);
            return false;
        }
        while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
            text[--len] = '\0';
    } else if (env != NULL && env[0] != '\0') {
        text = strdup(env);
    }
    if (text != NULL && strpbrk(text, "\r\n") != NULL) {
        explicit_bzero(text, strlen(text));
        free(text);
        fail(f, "the authorization token holds a line break");
        return false;
    }
    *ret = text;
    return true;
}

static void ask_container(struct fetch *f)
{
    char *token;
    struct buf line;
    if (!authorization(f, &token))
        return;
    buf_init(&line, TOKEN_FILE_MAX + 64);
    if (token != NULL) {
        buf_printf(&line, "Authorization: %s", token);
        explicit_bzero(token, strlen(token));
        free(token);
    }
    const char *headers[] = {line.data, NULL};
    struct xfer_spec spec = {.method = "GET",
                             .url = f->chain.url,
                             .headers = headers,
                             .timeout_ms = FETCH_TIMEOUT_MS,
                             .connect_timeout_ms = 2000,
                             .max_body = 256u * 1024,
                             .secret = true};
    f->op = xfer_start(f->o->xfer, &spec, on_container, f);
    if (line.data != NULL)
        explicit_bzero(line.data, line.cap);
    buf_fini(&line);
    if (f->op == NULL)
        fail(f, "the URI cannot be used");
}

static void on_imds_creds(void *arg, const struct imds_answer *r)
{
    struct fetch *f = arg;
    f->imds = NULL;
    if (r->err != 0)
        fail(f, r->why);
    else
        take_json(f, r->body, r->len, CREDS_METADATA);
}

static void on_imds_role(void *arg, const struct imds_answer *r)
{
    struct fetch *f = arg;
    char path[256];
    f->imds = NULL;
    size_t n = r->err == 0 ? strcspn(r->body, "\r\n") : 0;
    if (r->err == ERR_NOTFOUND || (r->err == 0 && n == 0)) {
        fail(f, "the instance has no IAM role (instance profile)");
        return;
    }
    if (r->err != 0) {
        fail(f, r->why);
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (strchr("/?#% ", r->body[i]) != NULL || n >= sizeof f->imds_role)
            n = i = sizeof f->imds_role;
    if (n >= sizeof f->imds_role) {
        fail(f, "the metadata service gave an odd role name");
        return;
    }
    snprintf(f->imds_role, sizeof f->imds_role, "%.*s", (int)n, r->body);
    snprintf(f->chain.source, sizeof f->chain.source, "instance metadata, role %.100s",
             f->imds_role);
    snprintf(path, sizeof path, "/latest/meta-data/iam/security-credentials/%s", f->imds_role);
    f->imds = imds_fetch(f->o->imds, path, true, on_imds_creds, f);
    if (f->imds == NULL)
        fail(f, "out of memory");
}

static void ask_imds(struct fetch *f)
{
    if (imds_is_disabled(f->o->imds)) {
        fail(f, "AWS_EC2_METADATA_DISABLED is true");
        return;
    }
    f->imds = imds_fetch(f->o->imds, "/latest/meta-data/iam/security-credentials/", false,
                         on_imds_role, f);
    if (f->imds == NULL)
        fail(f, "out of memory");
}

/* ---- STS -------------------------------------------------------------------------- */

static void on_sts(void *arg, const struct xfer_result *r)
{
    struct fetch *f = arg;
    struct errmsg e = {0};
    struct answer a;
    f->op = NULL;
    if (try_again(f, r->err, r->status))
        return;
    if (r->err != 0) {
        fail(f, r->why);
        return;
    }
    answer_read(&a, r->status, r->body, r->body_len, r->error_type, ANSWER_XML);
    int err = a.err;
    if (err == 0)
        err = creds_from_json(&f->creds, a.body, CREDS_STS, "STS", &e);
    else
        errmsg_set(&e, err, "STS answered %s: %.150s", a.code, a.message);
    creds_wipe_json(a.body);
    if (err != 0)
        fail(f, e.text);
    else
        advance(f);
}

static void send_sts(struct fetch *f, const char *action, json_t *params, bool sign)
{
    char url[ENDPOINT_URL_MAX];
    char region[REGION_MAX];
    struct buf body;
    const char *headers[] = {"Content-Type: application/x-www-form-urlencoded; charset=utf-8",
                             NULL};
    buf_init(&body, 128u * 1024);
    int err = params == NULL ? ERR_NOMEM : query_encode_sts(action, params, &body);
    creds_wipe_json(params);
    if (err == 0 && !f->o->sts(f->o->arg, url, region)) {
        buf_fini(&body);
        fail(f, "STS cannot be asked before the AWS Region is known: set AWS_REGION or region");
        return;
    }
    struct xfer_sign s = {.access_key = f->creds.access_key,
                          .secret = f->creds.secret,
                          .session_token = f->creds.token,
                          .region = region,
                          .service = "sts",
                          .offset_ms = f->o->clock_offset_ms(f->o->arg)};
    struct xfer_spec spec = {.method = "POST",
                             .url = url,
                             .headers = headers,
                             .body = body.data,
                             .body_len = body.len,
                             .sign = sign ? &s : NULL,
                             .timeout_ms = 2 * FETCH_TIMEOUT_MS,
                             .max_body = 256u * 1024,
                             .secret = true};
    f->op = err == 0 ? xfer_start(f->o->xfer, &spec, on_sts, f) : NULL;
    if (body.data != NULL)
        explicit_bzero(body.data, body.cap);
    buf_fini(&body);
    if (f->op == NULL)
        fail(f, "the request to STS cannot be made");
}

static json_t *role_params(const struct chain_role *role)
{
    json_t *params = json_object();
    json_set_str(params, "RoleArn", role->arn);
    json_set_str(params, "RoleSessionName", role->session_name);
    json_set_str(params, "ExternalId", role->external_id[0] == '\0' ? NULL : role->external_id);
    if (role->duration_s > 0)
        json_set_int(params, "DurationSeconds", role->duration_s);
    return params;
}

static void ask_web_identity(struct fetch *f)
{
    struct errmsg e = {0};
    char *token;
    size_t len;
    if (profile_read_file(f->chain.path, TOKEN_FILE_MAX, &token, &len, &e) != 0) {
        fail(f, e.text);
        return;
    }
    while (len > 0 && strchr(" \t\r\n", token[len - 1]) != NULL)
        token[--len] = '\0';
    json_t *params = role_params(&f->chain.web);
    json_set_str(params, "WebIdentityToken", token);
    json_object_del(params, "ExternalId");
    explicit_bzero(token, len);
    free(token);
    send_sts(f, "AssumeRoleWithWebIdentity", params, false);
}

/* ---- one refresh ------------------------------------------------------------------ */

static void step(struct fetch *f)
{
    f->attempts++;
    if (f->has_base) {
        if (f->roles_done < f->chain.role_count)
            send_sts(f, "AssumeRole", role_params(&f->chain.roles[f->roles_done]), true);
        else
            finish(f, 0, "");
        return;
    }
    switch (f->chain.kind) {
    case CHAIN_KEYS:
        creds_move(&f->creds, &f->chain.keys);
        advance(f);
        break;
    case CHAIN_PROCESS:
        ask_process(f);
        break;
    case CHAIN_WEB_IDENTITY:
        ask_web_identity(f);
        break;
    case CHAIN_CONTAINER:
        ask_container(f);
        break;
    case CHAIN_IMDS:
        ask_imds(f);
        break;
    }
}

static void on_begin(uv_timer_t *timer)
{
    struct fetch *f = timer->data;
    struct profiles p;
    struct errmsg e = {0};
    int err = profiles_load(&p, &e);
    if (err != 0) {
        errmsg_wrap(&e, "no credentials");
    } else {
        err = chain_resolve(&f->chain, &p, f->o->profile, !imds_is_disabled(f->o->imds), &e);
        profiles_fini(&p);
    }
    if (err != 0)
        finish(f, ERR_AUTH, e.text);
    else
        step(f);
}

int fetch_init(struct fetch *f, const struct credman_options *o, fetch_done_fn done, void *arg)
{
    *f = (struct fetch){.o = o, .done = done, .arg = arg};
    prng_seed(&f->prng, o->seed);
    f->timer.data = f;
    if (uv_timer_init(o->loop, &f->timer) != 0)
        return ERR_NOMEM;
    f->timer.data = f;
    return 0;
}

void fetch_start(struct fetch *f)
{
    f->running = true;
    f->has_base = false;
    f->roles_done = 0;
    f->attempts = 0;
    uv_timer_start(&f->timer, on_begin, 0, 0);
}

static void part_closed(void *arg)
{
    struct fetch *f = arg;
    if (--f->open == 0)
        f->closed(f->closed_arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

void fetch_close(struct fetch *f, void (*closed)(void *arg), void *arg)
{
    f->closed = closed;
    f->closed_arg = arg;
    f->open = f->process == NULL ? 1 : 2;
    if (f->op != NULL)
        xfer_cancel(f->op);
    if (f->imds != NULL)
        imds_cancel(f->imds);
    if (f->process != NULL)
        process_cancel(f->process, part_closed, f);
    creds_wipe(&f->creds);
    chain_fini(&f->chain);
    uv_timer_stop(&f->timer);
    uv_close((uv_handle_t *)&f->timer, on_timer_closed);
}
