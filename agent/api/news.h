/* SPDX-License-Identifier: Apache-2.0
 * Changes of what is in no row: members of the cluster and its leader, as watches tell of them. The
 * loop thread puts them in, the streams' thread reads them. Only the newest are kept, and of
 * members only while somebody watches them or did so lately: who comes back later, or does not keep
 * up, is told to read anew. Positions go on from the wall clock, so that one of an earlier life of
 * the agent reaches nothing here. */
#ifndef BLOX_AGENT_API_NEWS_H
#define BLOX_AGENT_API_NEWS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/api/api.h"
#include "agent/base/err.h"
#include "agent/base/list.h"

#define NEWS_MAX 2048u
#define NEWS_BYTES_MAX (512u * 1024)
#define NEWS_LATELY_MS 300000u

struct news_item {
    struct list node;
    uint64_t at; /* its position */
    enum api_news kind;
    bool deleted;
    size_t len;
    char text[]; /* a JSON object */
};

struct news {
    pthread_mutex_t lock;
    struct list items; /* oldest first */
    size_t count, bytes;
    uint64_t newest;                  /* position of the last change */
    uint64_t lost_to[API_NEWS_COUNT]; /* changes of the kind up to here are not all kept */
    struct news_item *leader;         /* the newest of its kind, also among the items; or NULL */
    unsigned watchers;                /* of members */
    uint64_t left_ms;                 /* when the last of them went; 0: there was none */
};

int news_init(struct news *n) MUST_CHECK;
void news_fini(struct news *n);

bool news_are_wanted(struct news *n, enum api_news kind);
/* text NULL: nobody wanted to know what it was. */
void news_put(struct news *n, enum api_news kind, bool deleted, const char *text, size_t len);

void news_watch(struct news *n, bool begins); /* of members */
uint64_t news_newest(struct news *n);
/* Are all changes of those kinds (bits 1 << kind) after that position kept? */
bool news_reach(struct news *n, uint32_t kinds, uint64_t at);

/* Not 0 ends the walk behind the item. */
typedef int (*news_fn)(void *arg, const struct news_item *item);
/* Those of the kinds after the position, oldest first, under the lock. ERR_VERSION: not all are
 * kept. */
int news_read(struct news *n, uint32_t kinds, uint64_t after, news_fn fn, void *arg);
/* The newest word on the leader, if there is one. */
int news_leader(struct news *n, news_fn fn, void *arg);

#endif
