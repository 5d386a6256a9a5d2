/* SPDX-License-Identifier: Apache-2.0
 * 404 is the usual answer. Where nothing answers at all (no EC2, or metadata switched off) the
 * questions become rare: they cost a connection attempt each. */
#include "agent/notice_uv.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/base/prng.h"

#define POLL_MS 5000u
#define POLL_SERVER_MS 1000u /* a vote is to be elsewhere two seconds after the notice */
#define SILENT_MAX_MS 600000u
#define SOURCES 3u

static const char *const paths[SOURCES] = {"spot/instance-action",
                                           "events/recommendations/rebalance",
                                           "autoscaling/target-lifecycle-state"};

struct notice {
    struct notice_options options;
    uv_timer_t timer;
    struct prng prng;
    char text[SOURCES][NOTICE_TEXT_MAX];
    char told[NOTICE_TEXT_MAX];
    unsigned next;   /* which is asked now */
    unsigned silent; /* rounds without any answer */
    bool asking, answered, stopping, closed;
    bool serves; /* of the consensus: it has something to hand on */
};

static void maybe_stopped(struct notice *n)
{
    if (n->stopping && !n->asking && n->closed)
        free(n);
}

/* A rebalance recommendation alone is only a risk, but a voter that may go soon is better a
 * voter elsewhere: all three count the same. */
static void tell(struct notice *n)
{
    const char *text = "";
    for (unsigned i = 0; i < SOURCES && text[0] == '\0'; i++)
        text = n->text[i];
    if (strcmp(text, n->told) == 0)
        return;
    memcpy(n->told, text, strlen(text) + 1);
    n->options.on_notice(n->options.arg, n->told);
}

static void ask(struct notice *n);

static void on_timer(uv_timer_t *timer)
{
    struct notice *n = timer->data;
    n->next = 0;
    n->answered = false;
    ask(n);
}

static void end_round(struct notice *n)
{
    uint64_t wait_ms = n->serves ? POLL_SERVER_MS : POLL_MS;
    n->silent = n->answered ? 0 : n->silent < 8 ? n->silent + 1 : n->silent;
    if (n->silent > 0)
        wait_ms = POLL_MS << n->silent;
    if (wait_ms > SILENT_MAX_MS)
        wait_ms = SILENT_MAX_MS;
    wait_ms += prng_below(&n->prng, wait_ms / 16 + 1);
    uv_timer_start(&n->timer, on_timer, wait_ms, 0);
}

static void on_answer(void *arg, int err, int status, const char *body, size_t len)
{
    struct notice *n = arg;
    (void)status;
    n->asking = false;
    if (n->stopping) {
        maybe_stopped(n);
        return;
    }
    if (err == 0)
        notice_read(n->next, body, len, n->text[n->next]);
    else if (err == ERR_NOTFOUND)
        n->text[n->next][0] = '\0';
    if (err == 0 || err == ERR_NOTFOUND) {
        n->answered = true;
        tell(n);
    }
    n->next++;
    /* What does not answer the first question is not asked the others. */
    if (n->next < SOURCES && n->answered)
        ask(n);
    else
        end_round(n);
}

static void ask(struct notice *n)
{
    n->asking = true;
    if (aws_imds_get(n->options.aws, paths[n->next], on_answer, n) == 0)
        return;
    n->asking = false;
    end_round(n);
}

int notice_start(struct notice **ret, const struct notice_options *options)
{
    struct notice *n = calloc(1, sizeof *n);
    if (n == NULL)
        return ERR_NOMEM;
    n->options = *options;
    prng_seed(&n->prng, options->seed);
    n->timer.data = n;
    if (uv_timer_init(options->loop, &n->timer) != 0) {
        free(n);
        return ERR_INTERNAL;
    }
    /* Not all instances of a fleet in the same second. */
    uv_timer_start(&n->timer, on_timer, prng_below(&n->prng, POLL_MS / 4), 0);
    *ret = n;
    return 0;
}

void notice_serves(struct notice *n, bool serves)
{
    if (n == NULL || n->serves == serves)
        return;
    n->serves = serves;
    bool waits = !n->stopping && !n->asking && n->silent == 0;
    if (serves && waits && uv_timer_get_due_in(&n->timer) > POLL_SERVER_MS)
        uv_timer_start(&n->timer, on_timer, prng_below(&n->prng, POLL_SERVER_MS), 0);
}

static void on_closed(uv_handle_t *handle)
{
    struct notice *n = handle->data;
    n->closed = true;
    maybe_stopped(n);
}

void notice_stop(struct notice *n)
{
    if (n == NULL)
        return;
    n->stopping = true;
    uv_timer_stop(&n->timer);
    uv_close((uv_handle_t *)&n->timer, on_closed);
}

const char *notice_text(const struct notice *n)
{
    return n == NULL ? "" : n->told;
}
