/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/publish.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int publish_init(struct publish *p)
{
    memset(p, 0, sizeof *p);
    snprintf(p->facts.state, sizeof p->facts.state, "starting");
    return pthread_mutex_init(&p->lock, NULL) == 0 ? 0 : ERR_NOMEM;
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
    pthread_mutex_destroy(&p->lock);
}

void publish_put(struct publish *p, enum api_doc doc, const char *json, size_t len)
{
    struct publish_doc *fresh = malloc(sizeof *fresh + len);
    if (fresh == NULL)
        return; /* the last good document stays; the next one comes within a second */
    atomic_init(&fresh->refs, 1);
    fresh->len = len;
    memcpy(fresh->data, json, len);
    pthread_mutex_lock(&p->lock);
    struct publish_doc *old = p->docs[doc];
    p->docs[doc] = fresh;
    pthread_mutex_unlock(&p->lock);
    publish_release(old);
}

struct publish_doc *publish_get(struct publish *p, enum api_doc doc)
{
    pthread_mutex_lock(&p->lock);
    struct publish_doc *d = p->docs[doc];
    if (d != NULL)
        atomic_fetch_add(&d->refs, 1);
    pthread_mutex_unlock(&p->lock);
    return d;
}

void publish_set_facts(struct publish *p, const struct api_facts *facts)
{
    pthread_mutex_lock(&p->lock);
    p->facts = *facts;
    pthread_mutex_unlock(&p->lock);
}

void publish_facts(struct publish *p, struct api_facts *ret)
{
    pthread_mutex_lock(&p->lock);
    *ret = p->facts;
    pthread_mutex_unlock(&p->lock);
}
