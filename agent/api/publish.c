/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/clock.h"

#define FACTS API_DOC_COUNT

int publish_init(struct publish *p, void (*want)(void *arg), void *arg)
{
    pthread_condattr_t attr;
    memset(p, 0, sizeof *p);
    p->want = want;
    p->want_arg = arg;
    snprintf(p->facts.state, sizeof p->facts.state, "starting");
    if (pthread_mutex_init(&p->lock, NULL) != 0)
        return ERR_NOMEM;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    int rc = pthread_cond_init(&p->renewed, &attr);
    pthread_condattr_destroy(&attr);
    return rc == 0 ? 0 : ERR_NOMEM;
}

void publish_release(void *doc)
{
    struct publish_doc *d = doc;
    if (d != NULL && atomic_fetch_sub(&d->refs, 1) == 1)
        free(d);
}

void publish_fini(struct publish *p)
{
    for (size_t i = 0; i < API_DOC_COUNT; i++)
        publish_release(p->docs[i]);
    pthread_cond_destroy(&p->renewed);
    pthread_mutex_destroy(&p->lock);
}

/* Under the lock. True: a watch waits for it. */
static bool renewed(struct publish *p, unsigned slot)
{
    bool awaited = (p->awaited & 1u << slot) != 0;
    p->made_ms[slot] = clock_mono_ms();
    p->stale[slot] = false;
    p->awaited &= ~(1u << slot);
    pthread_cond_broadcast(&p->renewed);
    return awaited;
}

/* Under the lock: has what is old renewed, if the loop has time for it. */
static void refresh(struct publish *p, unsigned slot)
{
    uint64_t now_ms = clock_mono_ms(), made_ms = p->made_ms[slot];
    uint64_t age_ms = made_ms == 0 ? PUBLISH_OLD_MS : now_ms - made_ms;
    /* A page of thousands of members takes the loop many turns, and one from the start, when hardly
     * anybody was known, would mislead. */
    bool page = slot == API_DOC_MEMBERS && (made_ms == 0 || age_ms >= PUBLISH_PAGE_MS);
    uint64_t until = now_ms + (page ? PUBLISH_PAGE_MS : PUBLISH_WAIT_MS);
    struct timespec ts = {.tv_sec = (time_t)(until / 1000),
                          .tv_nsec = (long)(until % 1000) * 1000000};
    /* Who leads, and what this agent does, is never answered as it no longer is. The other two may
     * go stale with every packet: they are renewed so often and no more. */
    bool exact = p->stale[slot] && (slot == API_DOC_LEADER || slot == API_DOC_AGENT);
    if (p->want == NULL || (age_ms < PUBLISH_FRESH_MS && !exact))
        return;
    p->wanted |= 1u << slot;
    p->want(p->want_arg);
    if (age_ms < PUBLISH_OLD_MS && !p->stale[slot])
        return;
    while ((exact ? p->stale[slot] : p->made_ms[slot] == made_ms) &&
           pthread_cond_timedwait(&p->renewed, &p->lock, &ts) == 0)
        ;
}

void publish_begin(struct publish *p, enum api_doc doc, uint64_t news)
{
    pthread_mutex_lock(&p->lock);
    p->begun[doc] = news;
    pthread_mutex_unlock(&p->lock);
}

bool publish_put(struct publish *p, enum api_doc doc, const char *json, size_t len)
{
    struct publish_doc *fresh = malloc(sizeof *fresh + len);
    if (fresh == NULL)
        return false; /* the last good document stays; the next one comes within a second */
    atomic_init(&fresh->refs, 1);
    fresh->len = len;
    memcpy(fresh->data, json, len);
    pthread_mutex_lock(&p->lock);
    struct publish_doc *old = p->docs[doc];
    p->docs[doc] = fresh;
    fresh->news = p->begun[doc];
    bool awaited = renewed(p, doc);
    pthread_mutex_unlock(&p->lock);
    publish_release(old);
    return awaited;
}

bool publish_confirm(struct publish *p, enum api_doc doc)
{
    pthread_mutex_lock(&p->lock);
    bool awaited = renewed(p, doc);
    pthread_mutex_unlock(&p->lock);
    return awaited;
}

void publish_stale(struct publish *p, enum api_doc doc)
{
    pthread_mutex_lock(&p->lock);
    p->stale[doc] = p->stale[FACTS] = true;
    pthread_mutex_unlock(&p->lock);
}

unsigned publish_wanted(struct publish *p)
{
    pthread_mutex_lock(&p->lock);
    unsigned wanted = p->wanted;
    p->wanted = 0;
    pthread_mutex_unlock(&p->lock);
    return wanted;
}

static struct publish_doc *get(struct publish *p, enum api_doc doc, bool fresh)
{
    pthread_mutex_lock(&p->lock);
    if (fresh)
        refresh(p, doc);
    struct publish_doc *d = p->docs[doc];
    if (d != NULL)
        atomic_fetch_add(&d->refs, 1);
    pthread_mutex_unlock(&p->lock);
    return d;
}

struct publish_doc *publish_get(struct publish *p, enum api_doc doc)
{
    return get(p, doc, true);
}

struct publish_doc *publish_peek(struct publish *p, enum api_doc doc)
{
    return get(p, doc, false);
}

void publish_await(struct publish *p, enum api_doc doc)
{
    pthread_mutex_lock(&p->lock);
    p->awaited |= 1u << doc;
    p->wanted |= 1u << doc;
    if (p->want != NULL)
        p->want(p->want_arg);
    pthread_mutex_unlock(&p->lock);
}

void publish_set_facts(struct publish *p, const struct api_facts *facts)
{
    pthread_mutex_lock(&p->lock);
    p->facts = *facts;
    (void)renewed(p, FACTS);
    pthread_mutex_unlock(&p->lock);
}

void publish_facts(struct publish *p, struct api_facts *ret)
{
    pthread_mutex_lock(&p->lock);
    refresh(p, FACTS);
    *ret = p->facts;
    pthread_mutex_unlock(&p->lock);
}
