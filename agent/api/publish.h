/* SPDX-License-Identifier: Apache-2.0
 * What the loop thread publishes for any request to read: documents and facts. A reader copies a
 * pointer under a lock and holds a reference. Nothing is rendered that nobody reads: a reader that
 * finds something old asks the loop for it and waits for a moment, then takes what there is. */
#ifndef BLOX_AGENT_API_PUBLISH_H
#define BLOX_AGENT_API_PUBLISH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "agent/api/api.h"

struct publish_doc {
    _Atomic unsigned refs;
    uint64_t news; /* position before which it was rendered: news.h */
    size_t len;
    char data[];
};

#define PUBLISH_FRESH_MS 200u /* so young, it is served: leader and agent unless stale */
#define PUBLISH_OLD_MS 500u   /* from this age on, or once it is stale, a reader waits */
#define PUBLISH_WAIT_MS 100u  /* at most: the loop may be busy, its probes come first */
#define PUBLISH_PAGE_MS 1000u /* at most for all members, if their last page is that old */

struct publish {
    pthread_mutex_t lock;
    pthread_cond_t renewed;
    void (*want)(void *arg); /* any thread: api_wanted() says what; NULL: nobody renews */
    void *want_arg;
    unsigned wanted;                         /* bit: what was asked for since */
    uint64_t made_ms[API_DOC_COUNT + 1];     /* or found to be as it was; the last: facts */
    bool stale[API_DOC_COUNT + 1];           /* the loop knows better already */
    uint64_t begun[API_DOC_COUNT];           /* publish_doc.news of the next one */
    unsigned awaited;                        /* bit: a watch waits for it */
    struct publish_doc *docs[API_DOC_COUNT]; /* NULL: nothing yet */
    struct api_facts facts;
};

int publish_init(struct publish *p, void (*want)(void *arg), void *arg) MUST_CHECK;
void publish_fini(struct publish *p);
void publish_begin(struct publish *p, enum api_doc doc, uint64_t news);
/* True: a watch waits for it. */
bool publish_put(struct publish *p, enum api_doc doc, const char *json, size_t len);
bool publish_confirm(struct publish *p, enum api_doc doc); /* looked at: it is still right */
void publish_stale(struct publish *p, enum api_doc doc);   /* it and the facts have changed */
unsigned publish_wanted(struct publish *p);                /* takes the bits: 1 << enum api_doc */
struct publish_doc *publish_get(struct publish *p, enum api_doc doc); /* NULL, or release it */
/* As it is, also if it is old; and have it renewed, without waiting for that. */
struct publish_doc *publish_peek(struct publish *p, enum api_doc doc);
void publish_await(struct publish *p, enum api_doc doc);
void publish_release(void *doc);
void publish_set_facts(struct publish *p, const struct api_facts *facts);
void publish_facts(struct publish *p, struct api_facts *ret);

#endif
