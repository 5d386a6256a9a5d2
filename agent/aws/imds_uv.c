/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/imds_uv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "agent/aws/curl_uv.h"
#include "agent/aws/endpoint.h"
#include "agent/base/clock.h"
#include "agent/base/list.h"

#define TOKEN_TTL_S 21600
#define TOKEN_RENEW_MS ((TOKEN_TTL_S - 600) * 1000ull)
#define CONNECT_MS 1000 /* off EC2 nothing answers at 169.254.169.254 */
#define TIMEOUT_MS 3000
#define ATTEMPTS 3
#define RETRY_MS 200
#define ANSWER_MAX (256u * 1024)
#define GETS_MAX 64

struct imds_get {
    struct list node;
    struct imds *m;
    struct xfer_op *op;
    char path[512];
    bool secret;
    bool token_renewed; /* a 401 has been met with a new token */
    uint64_t token_id;  /* of the token it was sent with */
    unsigned attempts;
    uint64_t due_ms;
    imds_done_fn done;
    void *arg;
};

struct imds {
    uv_timer_t timer;
    struct xfer *xfer;
    char endpoint[ENDPOINT_URL_MAX];
    bool disabled;
    char token[256];
    uint64_t token_until_ms;
    uint64_t token_id; /* counts tokens */
    struct xfer_op *token_op;
    unsigned token_attempts;
    struct list waiting; /* for a token or for their time to try again */
    struct list flying;
    unsigned count;
    void (*destroyed)(void *arg);
    void *destroyed_arg;
};

static void pump(struct imds *m);

static void on_timer(uv_timer_t *timer)
{
    pump(timer->data);
}

static void wake(struct imds *m, uint64_t in_ms)
{
    uv_timer_start(&m->timer, on_timer, in_ms, 0);
}

static void get_free(struct imds_get *g)
{
    list_remove(&g->node);
    if (g->op != NULL)
        xfer_cancel(g->op);
    g->m->count--;
    free(g);
}

static void get_end(struct imds_get *g, const struct imds_answer *answer)
{
    list_remove(&g->node);
    g->done(g->arg, answer);
    get_free(g);
}

static int err_of_status(int status)
{
    if (status == 200)
        return 0;
    return status == 404 ? ERR_NOTFOUND : status == 403 ? ERR_DENIED : ERR_UPSTREAM;
}

static bool is_transient(const struct xfer_result *r)
{
    return r->err == ERR_TIMEOUT || r->err == ERR_UPSTREAM ||
           (r->err == 0 && (r->status >= 500 || r->status == 429));
}

static void describe(const struct imds *m, const struct xfer_result *r, struct errmsg *why)
{
    if (r->err != 0)
        errmsg_set(why, r->err, "the metadata service %s: %.120s", m->endpoint, r->why);
    else if (r->status != 200)
        errmsg_set(why, ERR_UPSTREAM, "the metadata service answered with status %d", r->status);
}

static void on_get(void *arg, const struct xfer_result *r)
{
    struct imds_get *g = arg;
    struct imds *m = g->m;
    struct errmsg why = {0};
    g->op = NULL;
    bool token_refused = r->err == 0 && r->status == 401 && !g->token_renewed;
    if (token_refused || (is_transient(r) && g->attempts < ATTEMPTS)) {
        if (token_refused) {
            g->token_renewed = true;
            if (g->token_id == m->token_id) /* else another answer has had it renewed already */
                m->token_until_ms = 0;
        }
        g->due_ms = clock_mono_ms() + (token_refused ? 0 : RETRY_MS);
        list_remove(&g->node);
        list_push(&m->waiting, &g->node);
        wake(m, token_refused ? 0 : RETRY_MS);
        return;
    }
    describe(m, r, &why);
    struct imds_answer answer = {.err = r->err != 0 ? r->err : err_of_status(r->status),
                                 .status = r->status,
                                 .body = r->body,
                                 .len = r->body_len,
                                 .why = why.text};
    get_end(g, &answer);
}

static void on_token(void *arg, const struct xfer_result *r)
{
    struct imds *m = arg;
    m->token_op = NULL;
    size_t n = 0;
    while (n < r->body_len && r->body[n] > ' ' && r->body[n] < 0x7f)
        n++;
    if (r->err == 0 && r->status == 200 && n == r->body_len && n > 0 && n < sizeof m->token) {
        memcpy(m->token, r->body, n);
        m->token[n] = '\0';
        m->token_until_ms = clock_mono_ms() + TOKEN_RENEW_MS;
        m->token_id++;
        m->token_attempts = 0;
        wake(m, 0);
        return;
    }
    if (is_transient(r) && m->token_attempts < ATTEMPTS) {
        wake(m, RETRY_MS);
        return;
    }
    m->token_attempts = 0;
    struct errmsg why = {0};
    describe(m, r, &why);
    if (why.text[0] == '\0')
        errmsg_set(&why, ERR_UPSTREAM, "the metadata service gave no usable session token");
    int err = r->err != 0 ? r->err : r->status == 200 ? ERR_UPSTREAM : err_of_status(r->status);
    struct imds_answer answer = {.err = err, .status = r->status, .body = "", .why = why.text};
    struct list ended;
    struct list *node;
    list_init(&ended);
    while ((node = list_pop(&m->waiting)) != NULL)
        list_push(&ended, node);
    while (!list_is_empty(&ended))
        get_end(LIST_OF(ended.next, struct imds_get, node), &answer);
}

static void ask_token(struct imds *m)
{
    char url[ENDPOINT_URL_MAX + 32];
    char ttl[80];
    const char *headers[] = {ttl, NULL};
    snprintf(url, sizeof url, "%s/latest/api/token", m->endpoint);
    snprintf(ttl, sizeof ttl, "X-aws-ec2-metadata-token-ttl-seconds: %d", TOKEN_TTL_S);
    struct xfer_spec spec = {.method = "PUT",
                             .url = url,
                             .headers = headers,
                             .timeout_ms = TIMEOUT_MS,
                             .connect_timeout_ms = CONNECT_MS,
                             .max_body = 4096,
                             .secret = true};
    m->token_attempts++;
    m->token_op = xfer_start(m->xfer, &spec, on_token, m);
    if (m->token_op == NULL)
        wake(m, RETRY_MS); /* out of memory: later perhaps */
}

static void get_send(struct imds_get *g)
{
    struct imds *m = g->m;
    char url[ENDPOINT_URL_MAX + 512];
    char token[320];
    const char *headers[] = {token, NULL};
    snprintf(url, sizeof url, "%s%s", m->endpoint, g->path);
    snprintf(token, sizeof token, "X-aws-ec2-metadata-token: %s", m->token);
    struct xfer_spec spec = {.method = "GET",
                             .url = url,
                             .headers = headers,
                             .timeout_ms = TIMEOUT_MS,
                             .connect_timeout_ms = CONNECT_MS,
                             .max_body = ANSWER_MAX,
                             .secret = g->secret};
    g->attempts++;
    g->token_id = m->token_id;
    list_remove(&g->node);
    g->op = xfer_start(m->xfer, &spec, on_get, g);
    explicit_bzero(token, sizeof token);
    if (g->op != NULL) {
        list_push(&m->flying, &g->node);
        return;
    }
    struct imds_answer answer = {.err = ERR_NOMEM, .body = "", .why = "out of memory"};
    get_end(g, &answer);
}

static void pump(struct imds *m)
{
    uint64_t now_ms = clock_mono_ms();
    if (list_is_empty(&m->waiting) || m->token_op != NULL)
        return;
    if (now_ms >= m->token_until_ms) {
        ask_token(m);
        return;
    }
    /* The first of the list that is due, until there is none: done may add and cancel. */
    for (bool again = true; again;) {
        again = false;
        for (struct list *n = m->waiting.next; n != &m->waiting; n = n->next) {
            struct imds_get *g = LIST_OF(n, struct imds_get, node);
            if (g->due_ms <= now_ms) {
                get_send(g);
                again = true;
                break;
            }
        }
    }
    if (!list_is_empty(&m->waiting))
        wake(m, RETRY_MS / 2);
}

struct imds_get *imds_fetch(struct imds *m, const char *path, bool secret, imds_done_fn done,
                            void *arg)
{
    size_t n = strlen(path);
    struct imds_get *g = m->count >= GETS_MAX || n >= sizeof g->path ? NULL : calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->m = m;
    g->secret = secret;
    g->done = done;
    g->arg = arg;
    memcpy(g->path, path, n + 1);
    m->count++;
    list_push(&m->waiting, &g->node);
    wake(m, 0);
    return g;
}

void imds_cancel(struct imds_get *g)
{
    get_free(g);
}

bool imds_is_disabled(const struct imds *m)
{
    return m->disabled;
}

int imds_create(struct imds **ret, struct uv_loop_s *loop, struct xfer *x, const char *endpoint,
                struct errmsg *e)
{
    const char *disabled = getenv("AWS_EC2_METADATA_DISABLED");
    const char *mode = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    if (endpoint == NULL || endpoint[0] == '\0')
        endpoint = getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (endpoint == NULL || endpoint[0] == '\0')
        endpoint = mode != NULL && strcasecmp(mode, "ipv6") == 0 ? "http://[fd00:ec2::254]"
                                                                 : "http://169.254.169.254";
    struct imds *m = calloc(1, sizeof *m);
    if (m == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    int err = endpoint_check(endpoint, m->endpoint, e);
    if (err == 0 && uv_timer_init(loop, &m->timer) != 0)
        err = errmsg_set(e, ERR_NOMEM, "out of memory");
    if (err != 0) {
        errmsg_wrap(e, "instance metadata");
        free(m);
        return err;
    }
    m->timer.data = m;
    m->xfer = x;
    m->disabled = disabled != NULL && strcasecmp(disabled, "true") == 0;
    list_init(&m->waiting);
    list_init(&m->flying);
    *ret = m;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct imds *m = handle->data;
    void (*done)(void *) = m->destroyed;
    void *arg = m->destroyed_arg;
    explicit_bzero(m->token, sizeof m->token);
    free(m);
    done(arg);
}

void imds_destroy(struct imds *m, void (*done)(void *arg), void *arg)
{
    struct imds_answer canceled = {.err = ERR_CANCELED, .body = "", .why = "cancelled"};
    if (m->token_op != NULL)
        xfer_cancel(m->token_op);
    while (!list_is_empty(&m->waiting))
        get_end(LIST_OF(m->waiting.next, struct imds_get, node), &canceled);
    while (!list_is_empty(&m->flying)) {
        struct imds_get *g = LIST_OF(m->flying.next, struct imds_get, node);
        xfer_cancel(g->op);
        g->op = NULL;
        get_end(g, &canceled);
    }
    m->destroyed = done;
    m->destroyed_arg = arg;
    uv_timer_stop(&m->timer);
    uv_close((uv_handle_t *)&m->timer, on_closed);
}
