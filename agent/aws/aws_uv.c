/* SPDX-License-Identifier: Apache-2.0
 * The client as a whole: start, the pump that moves calls on, Region, end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/aws/aws_int.h"
#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/log.h"

#define REGION_RETRY_FIRST_MS 5000u
#define REGION_RETRY_MAX_MS 60000u

static struct aws_call *first_call(struct aws *a, enum call_state state)
{
    struct list *head = &a->lists[state];
    return list_is_empty(head) ? NULL : LIST_OF(head->next, struct aws_call, node);
}

static void on_timer(uv_timer_t *timer);

void aws_kick(struct aws *a)
{
    if (!uv_is_closing((uv_handle_t *)&a->timer))
        uv_timer_start(&a->timer, on_timer, 0, 0);
}

/* ---- Region ----------------------------------------------------------------------- */

static void on_region(void *arg, const struct imds_answer *r)
{
    struct aws *a = arg;
    char region[REGION_MAX] = "";
    a->region_get = NULL;
    if (r->err == 0 && r->len < sizeof region)
        snprintf(region, sizeof region, "%.*s", (int)r->len, r->body);
    if (endpoint_region_is_valid(region)) {
        memcpy(a->settings.region, region, sizeof region);
        a->region_trouble.text[0] = '\0';
        LOG(LOG_INFO, "aws_region", "the instance metadata service told the Region",
            LS("region", region));
    } else {
        uint64_t wait = (uint64_t)REGION_RETRY_FIRST_MS
                        << (a->region_failures < 4 ? a->region_failures : 4);
        a->region_failures++;
        a->region_retry_ms =
            clock_mono_ms() + (wait > REGION_RETRY_MAX_MS ? REGION_RETRY_MAX_MS : wait);
        errmsg_set(&a->region_trouble, ERR_AUTH,
                   "no AWS Region: set AWS_REGION, or region in the configuration or the profile "
                   "(%s)",
                   r->err == 0 ? "the metadata service gave none" : r->why);
    }
    aws_kick(a);
}

/* True: known. False: asked for, or region_trouble says why not. */
static bool have_region(struct aws *a, uint64_t now_ms)
{
    if (a->settings.region[0] != '\0')
        return true;
    if (a->region_get != NULL || now_ms < a->region_retry_ms)
        return false;
    if (imds_is_disabled(a->imds)) {
        errmsg_set(&a->region_trouble, ERR_AUTH,
                   "no AWS Region: set AWS_REGION, or region in the configuration or the profile "
                   "(AWS_EC2_METADATA_DISABLED is true)");
        return false;
    }
    a->region_get = imds_fetch(a->imds, "/latest/meta-data/placement/region", false, on_region, a);
    if (a->region_get == NULL)
        errmsg_set(&a->region_trouble, ERR_NOMEM, "no AWS Region: out of memory");
    return false;
}

static bool sts_endpoint(void *arg, char url[ENDPOINT_URL_MAX], char region[REGION_MAX])
{
    const struct aws *a = arg;
    const struct aws_call sts = {.service = AWS_STS};
    return a->settings.region[0] != '\0' && aws_call_url(a, &sts, url, region) == 0;
}

static int64_t clock_offset(void *arg)
{
    const struct aws *a = arg;
    return a->clock_offset_ms;
}

static void on_creds_changed(void *arg)
{
    aws_kick(arg);
}

/* ---- pump ------------------------------------------------------------------------- */

static void admit(struct aws_call *c)
{
    struct aws *a = c->a;
    if (c->service != AWS_ECS) {
        call_move(c, CALL_DUE);
        return;
    }
    call_move(c, CALL_PACED);
    if (pace_enter(&a->pace, &c->waiter, pace_bucket_of(c->operation), c->priority) != 0)
        call_end(c, ERR_BUSY, "TooManyCalls", "too many ECS calls are waiting for their rate");
}

/* Calls that wait for Region and credentials: on, or to an end with a clear word. */
static void pump_waiting(struct aws *a, uint64_t now_ms)
{
    if (first_call(a, CALL_WAITING) == NULL)
        return;
    bool region = have_region(a, now_ms);
    bool region_hopeless = !region && a->region_get == NULL;
    bool creds = credman_current(a->creds) != NULL;
    /* Not before the Region is known: a role may need STS, and STS is per Region. */
    bool creds_hopeless = region && !creds && !credman_want(a->creds);
    struct list later;
    struct aws_call *c;
    list_init(&later);
    while ((c = first_call(a, CALL_WAITING)) != NULL) {
        bool needs = call_needs_credentials(c);
        if (now_ms >= c->due_ms)
            call_end(c, ERR_AUTH, region ? "NoCredentials" : "NoRegion",
                     "AWS credentials or Region are still being looked for");
        else if (region_hopeless)
            call_end(c, ERR_AUTH, "NoRegion", a->region_trouble.text);
        else if (needs && creds_hopeless)
            call_end(c, ERR_AUTH, "NoCredentials", credman_trouble(a->creds));
        else if (region && (creds || !needs))
            admit(c);
        else {
            list_remove(&c->node);
            list_push(&later, &c->node);
        }
    }
    struct list *node;
    while ((node = list_pop(&later)) != NULL)
        list_push(&a->lists[CALL_WAITING], node);
}

static void pump_backoff(struct aws *a, uint64_t now_ms)
{
    struct list *head = &a->lists[CALL_BACKOFF];
    for (struct list *n = head->next, *next; n != head; n = next) {
        next = n->next;
        struct aws_call *c = LIST_OF(n, struct aws_call, node);
        if (c->due_ms <= now_ms)
            call_move(c, CALL_WAITING);
    }
}

static void pump_send(struct aws *a, uint64_t now_ms)
{
    struct pace_waiter *w;
    struct aws_call *c;
    while ((w = pace_next(&a->pace, now_ms)) != NULL)
        call_move(LIST_OF(w, struct aws_call, waiter), CALL_DUE);
    while (a->flying < AWS_FLYING_MAX && (c = first_call(a, CALL_DUE)) != NULL)
        call_send(c);
}

static void arm(struct aws *a, uint64_t now_ms)
{
    uint64_t at = pace_deadline(&a->pace);
    static const enum call_state timed[] = {CALL_WAITING, CALL_BACKOFF};
    for (size_t i = 0; i < sizeof timed / sizeof timed[0]; i++) {
        struct list *head = &a->lists[timed[i]];
        for (struct list *n = head->next; n != head; n = n->next) {
            const struct aws_call *c = LIST_OF(n, struct aws_call, node);
            at = c->due_ms < at ? c->due_ms : at;
        }
    }
    if (first_call(a, CALL_ENDED) != NULL)
        at = now_ms;
    if (at != UINT64_MAX)
        uv_timer_start(&a->timer, on_timer, at > now_ms ? at - now_ms : 0, 0);
}

/* Looks for Region and credentials before the first call needs them, so that the status says early
 * what is missing. */
static void prime(struct aws *a, uint64_t now_ms)
{
    if (a->primed || (!have_region(a, now_ms) && a->region_get != NULL))
        return;
    a->primed = true;
    (void)credman_want(a->creds);
}

/* Those that have ended by now: one that ends meanwhile waits for the next turn of the loop, so
 * that a caller who asks again at once cannot hold the loop. */
static void deliver(struct aws *a)
{
    struct list ended;
    struct list *node;
    list_init(&ended);
    while ((node = list_pop(&a->lists[CALL_ENDED])) != NULL)
        list_push(&ended, node);
    while (!list_is_empty(&ended))
        call_deliver(LIST_OF(ended.next, struct aws_call, node));
}

static void finish_destroy(struct aws *a);

static void on_timer(uv_timer_t *timer)
{
    struct aws *a = timer->data;
    uint64_t now_ms = clock_mono_ms();
    if (!a->closing) {
        prime(a, now_ms);
        pump_backoff(a, now_ms);
        pump_waiting(a, now_ms);
        pump_send(a, now_ms);
    }
    deliver(a);
    if (a->closing)
        finish_destroy(a);
    else if (!uv_is_active((const uv_handle_t *)timer))
        arm(a, now_ms);
}

/* ---- create, destroy -------------------------------------------------------------- */

static void part_closed(void *arg)
{
    struct aws *a = arg;
    if (--a->parts_open > 0)
        return;
    void (*done)(void *) = a->destroyed;
    void *done_arg = a->destroyed_arg;
    free(a);
    if (done != NULL)
        done(done_arg);
}

/* Credentials and metadata use the transfers, which therefore go last. */
static void user_closed(void *arg)
{
    struct aws *a = arg;
    if (--a->users_open == 0)
        xfer_destroy(a->xfer, part_closed, a);
}

static void on_timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

static void finish_destroy(struct aws *a)
{
    if (uv_is_closing((uv_handle_t *)&a->timer))
        return;
    uv_close((uv_handle_t *)&a->timer, on_timer_closed);
    credman_destroy(a->creds, user_closed, a);
    imds_destroy(a->imds, user_closed, a);
}

void aws_destroy(struct aws *a, void (*done)(void *arg), void *arg)
{
    ENSURE(!a->closing);
    a->closing = true;
    a->destroyed = done;
    a->destroyed_arg = arg;
    for (int state = CALL_WAITING; state < CALL_ENDED; state++) {
        struct aws_call *c;
        while ((c = first_call(a, (enum call_state)state)) != NULL)
            call_end(c, ERR_CANCELED, "Canceled", "the AWS client is closing");
    }
    if (a->region_get != NULL)
        imds_cancel(a->region_get);
    a->region_get = NULL;
    aws_gets_cancel(a);
    aws_kick(a);
}

static int create_parts(struct aws *a, const struct aws_options *o, struct errmsg *e)
{
    int err = xfer_create(&a->xfer, o->loop, e);
    if (err == 0 && a->settings.ca_bundle[0] != '\0')
        err = xfer_set_ca_bundle(a->xfer, a->settings.ca_bundle);
    if (err == 0)
        err = imds_create(&a->imds, o->loop, a->xfer, o->imds_endpoint, e);
    struct credman_options c = {.loop = o->loop,
                                .xfer = a->xfer,
                                .imds = a->imds,
                                .profile = o->profile,
                                .seed = prng_next(&a->prng),
                                .sts = sts_endpoint,
                                .clock_offset_ms = clock_offset,
                                .changed = on_creds_changed,
                                .arg = a};
    if (err == 0)
        err = credman_create(&a->creds, &c, e);
    return err;
}

static void forget(void *arg)
{
    (void)arg;
}

int aws_create(struct aws **ret, const struct aws_options *options, struct errmsg *e)
{
    struct aws *a = calloc(1, sizeof *a);
    if (a == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    a->loop = options->loop;
    for (int state = 0; state <= CALL_ENDED; state++)
        list_init(&a->lists[state]);
    list_init(&a->gets);
    prng_seed(&a->prng, options->seed);
    pace_init(&a->pace, clock_mono_ms());
    for (int i = 0; i < AWS_SERVICES; i++)
        retry_quota_init(&a->quota[i]);
    int err = aws_settings_load(&a->settings, options, e);
    if (err == 0)
        err = create_parts(a, options, e);
    if (err == 0 && uv_timer_init(a->loop, &a->timer) != 0)
        err = errmsg_set(e, ERR_NOMEM, "out of memory");
    if (err != 0) {
        if (a->creds != NULL)
            credman_destroy(a->creds, forget, NULL);
        if (a->imds != NULL)
            imds_destroy(a->imds, forget, NULL);
        if (a->xfer != NULL)
            xfer_destroy(a->xfer, forget, NULL);
        free(a);
        return err;
    }
    a->timer.data = a;
    a->parts_open = 2; /* timer, transfers */
    a->users_open = 2; /* credentials, metadata */
    aws_metrics_start();
    aws_kick(a);
    *ret = a;
    return 0;
}
