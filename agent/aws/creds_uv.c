/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/creds_uv.h"

#include <stdlib.h>
#include <uv.h>

#include "agent/base/clock.h"

struct credman {
    uv_timer_t timer;
    struct credman_options o;
    struct creds creds;
    struct errmsg trouble;
    char source[128];
    void (*destroyed)(void *arg);
    void *destroyed_arg;
};

int credman_create(struct credman **ret, const struct credman_options *o, struct errmsg *e)
{
    struct credman *m = calloc(1, sizeof *m);
    if (m == NULL || uv_timer_init(o->loop, &m->timer) != 0) {
        free(m);
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    }
    m->o = *o;
    m->timer.data = m;
    *ret = m;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct credman *m = handle->data;
    void (*done)(void *) = m->destroyed;
    void *arg = m->destroyed_arg;
    creds_wipe(&m->creds);
    free(m);
    done(arg);
}

void credman_destroy(struct credman *m, void (*done)(void *arg), void *arg)
{
    m->destroyed = done;
    m->destroyed_arg = arg;
    uv_close((uv_handle_t *)&m->timer, on_closed);
}

const struct creds *credman_current(const struct credman *m)
{
    return creds_are_valid(&m->creds, clock_unix_ms()) ? &m->creds : NULL;
}

static void on_timer(uv_timer_t *timer)
{
    struct credman *m = timer->data;
    m->o.changed(m->o.arg);
}

bool credman_want(struct credman *m)
{
    const char *key = getenv("AWS_ACCESS_KEY_ID");
    const char *secret = getenv("AWS_SECRET_ACCESS_KEY");
    if (key == NULL || secret == NULL ||
        creds_set(&m->creds, key, secret, getenv("AWS_SESSION_TOKEN"), 0) != 0) {
        errmsg_set(&m->trouble, ERR_AUTH,
                   "no credentials: set AWS_ACCESS_KEY_ID and "
                   "AWS_SECRET_ACCESS_KEY");
        return false;
    }
    uv_timer_start(&m->timer, on_timer, 0, 0);
    return true;
}

bool credman_refused(struct credman *m, const char *access_key)
{
    (void)access_key;
    return credman_want(m);
}

const char *credman_trouble(const struct credman *m)
{
    return m->trouble.text;
}

const char *credman_source(const struct credman *m)
{
    return m->creds.access_key == NULL ? "none" : "environment";
}

int64_t credman_expires(const struct credman *m)
{
    return m->creds.expires_unix_ms;
}
