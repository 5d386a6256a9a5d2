/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/creds_uv.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/aws/creds_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define FAILED_WAIT_FIRST_MS 1000u
#define FAILED_WAIT_MAX_MS 60000u
#define REFUSED_EVERY_MS 5000
/* What the metadata service gave is used beyond its end when it has nothing newer: during an outage
 * of IAM's delivery AWS goes on accepting it. */
#define STALE_USE_MS (10 * 60 * 1000)

struct credman {
    uv_timer_t timer; /* next refresh */
    struct credman_options o;
    char *profile;
    struct prng prng;
    struct fetch fetch;
    struct creds creds;
    char source[160];
    struct errmsg trouble;
    bool suspended; /* refused by AWS, others are being fetched */
    bool refused;   /* the trouble is that AWS refused them */
    unsigned failures;
    uint64_t failed_until_ms;  /* no new attempt before */
    uint64_t refused_until_ms; /* no new refusal is acted on before */
    unsigned open;
    void (*destroyed)(void *arg);
    void *destroyed_arg;
};

const struct creds *credman_current(const struct credman *m)
{
    return !m->suspended && creds_are_valid(&m->creds, clock_unix_ms()) ? &m->creds : NULL;
}

static void on_timer(uv_timer_t *timer)
{
    struct credman *m = timer->data;
    if (!m->fetch.running)
        fetch_start(&m->fetch);
}

/* When to look for new ones: 15 to 16 minutes before the end, spread so that a thousand agents
 * started together do not ask STS together; later if they were given with less than that left. */
static void plan_refresh(struct credman *m)
{
    if (m->creds.expires_unix_ms == 0)
        return;
    int64_t left = m->creds.expires_unix_ms - clock_unix_ms();
    int64_t wait = left - CREDS_ADVISORY_MS - (int64_t)prng_below(&m->prng, 60000);
    if (wait < left / 4)
        wait = left / 4;
    if (wait < 1000)
        wait = 1000;
    uv_timer_start(&m->timer, on_timer, (uint64_t)wait, 0);
}

static void failed(struct credman *m, const char *why)
{
    uint64_t wait = (uint64_t)FAILED_WAIT_FIRST_MS << (m->failures < 6 ? m->failures : 6);
    if (wait > FAILED_WAIT_MAX_MS)
        wait = FAILED_WAIT_MAX_MS;
    wait = wait / 2 + prng_below(&m->prng, wait / 2 + 1);
    m->failures++;
    m->failed_until_ms = clock_mono_ms() + wait;
    int64_t left = m->creds.expires_unix_ms - clock_unix_ms();
    bool silent = credman_current(m) != NULL && left > CREDS_MANDATORY_MS;
    if (!silent)
        errmsg_set(&m->trouble, ERR_AUTH, "%s", why);
    LOG(silent ? LOG_INFO : LOG_WARN, "aws_credentials_failed", why, LU("failures", m->failures),
        LU("again_in_ms", wait));
    if (credman_current(m) != NULL)
        uv_timer_start(&m->timer, on_timer, wait, 0);
}

static bool is_same(const struct creds *a, const struct creds *b)
{
    return a->access_key != NULL && strcmp(a->access_key, b->access_key) == 0 &&
           strcmp(a->secret, b->secret) == 0 &&
           strcmp(a->token == NULL ? "" : a->token, b->token == NULL ? "" : b->token) == 0;
}

static void succeeded(struct credman *m, struct creds *creds, const char *source)
{
    bool same = is_same(&m->creds, creds);
    m->failures = 0;
    if (!same || !m->refused) {
        m->trouble.text[0] = '\0';
        m->refused = false;
    }
    if (!same)
        LOG(LOG_INFO, "aws_credentials", "credentials found", LS("source", source));
    creds_move(&m->creds, creds);
    snprintf(m->source, sizeof m->source, "%s", source);
    plan_refresh(m);
}

static void on_fetched(void *arg, int err, struct creds *creds, const char *source, const char *why)
{
    struct credman *m = arg;
    int64_t now = clock_unix_ms();
    m->suspended = false;
    if (err == 0 && !creds_are_valid(creds, now) &&
        strncmp(source, "instance metadata", strlen("instance metadata")) == 0) {
        LOG(LOG_WARN, "aws_credentials_stale",
            "the metadata service has only expired credentials, they are used a while longer",
            LS("source", source));
        creds->expires_unix_ms = now + STALE_USE_MS + (int64_t)prng_below(&m->prng, 5 * 60 * 1000);
    }
    if (err == 0 && !creds_are_valid(creds, now)) {
        struct errmsg e;
        errmsg_set(&e, ERR_AUTH, "no credentials: %s gave some that have expired: renew them",
                   source);
        failed(m, e.text);
    } else if (err == 0) {
        succeeded(m, creds, source);
    } else {
        failed(m, why);
    }
    m->o.changed(m->o.arg);
}

bool credman_want(struct credman *m)
{
    if (m->fetch.running)
        return true;
    if (clock_mono_ms() < m->failed_until_ms)
        return false;
    fetch_start(&m->fetch);
    return true;
}

bool credman_refused(struct credman *m, const char *access_key)
{
    uint64_t now_ms = clock_mono_ms();
    if (m->creds.access_key != NULL && strcmp(m->creds.access_key, access_key) != 0)
        return true; /* newer ones are here already */
    if (m->suspended)
        return true;
    errmsg_set(&m->trouble, ERR_AUTH,
               "AWS refuses the credentials from %s: they have expired or are not known; renew "
               "them",
               m->source);
    m->refused = true;
    if (now_ms < m->refused_until_ms || !credman_want(m))
        return false;
    m->refused_until_ms = now_ms + REFUSED_EVERY_MS;
    m->suspended = true;
    return true;
}

void credman_accepted(struct credman *m)
{
    if (m->refused)
        m->trouble.text[0] = '\0';
    m->refused = false;
}

const char *credman_trouble(const struct credman *m)
{
    return m->trouble.text;
}

const char *credman_source(const struct credman *m)
{
    return m->creds.access_key == NULL ? "none" : m->source;
}

int64_t credman_expires(const struct credman *m)
{
    return m->creds.expires_unix_ms;
}

int credman_create(struct credman **ret, const struct credman_options *o, struct errmsg *e)
{
    struct credman *m = calloc(1, sizeof *m);
    if (m == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    m->o = *o;
    if (o->profile != NULL && o->profile[0] != '\0')
        m->profile = strdup(o->profile);
    m->o.profile = m->profile;
    prng_seed(&m->prng, o->seed);
    /* uv_timer_init cannot fail. */
    uv_timer_init(o->loop, &m->timer);
    m->timer.data = m;
    m->open = 2;
    *ret = m;
    return fetch_init(&m->fetch, &m->o, on_fetched, m);
}

static void part_closed(void *arg)
{
    struct credman *m = arg;
    if (--m->open > 0)
        return;
    void (*done)(void *) = m->destroyed;
    void *done_arg = m->destroyed_arg;
    creds_wipe(&m->creds);
    free(m->profile);
    free(m);
    done(done_arg);
}

static void on_timer_closed(uv_handle_t *handle)
{
    part_closed(handle->data);
}

void credman_destroy(struct credman *m, void (*done)(void *arg), void *arg)
{
    m->destroyed = done;
    m->destroyed_arg = arg;
    uv_timer_stop(&m->timer);
    uv_close((uv_handle_t *)&m->timer, on_timer_closed);
    fetch_close(&m->fetch, part_closed, m);
}
