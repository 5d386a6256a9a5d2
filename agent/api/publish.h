/* SPDX-License-Identifier: Apache-2.0
 * What the loop thread publishes for any request to read: documents and facts. A reader copies a
 * pointer under a lock and holds a reference, so neither side waits for the other's work. */
#ifndef BLOX_AGENT_API_PUBLISH_H
#define BLOX_AGENT_API_PUBLISH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>

#include "agent/api/api.h"

struct publish_doc {
    _Atomic unsigned refs;
    size_t len;
    char data[];
};

struct publish {
    pthread_mutex_t lock;
    struct publish_doc *docs[API_DOC_COUNT]; /* NULL: nothing yet */
    struct api_facts facts;
};

int publish_init(struct publish *p) MUST_CHECK;
void publish_fini(struct publish *p);
void publish_put(struct publish *p, enum api_doc doc, const char *json, size_t len);
struct publish_doc *publish_get(struct publish *p, enum api_doc doc); /* NULL, or release it */
void publish_release(void *doc);
void publish_set_facts(struct publish *p, const struct api_facts *facts);
void publish_facts(struct publish *p, struct api_facts *ret);

#endif
