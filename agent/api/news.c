/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/news.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"

int news_init(struct news *n)
{
    memset(n, 0, sizeof *n);
    list_init(&n->items);
    n->newest = (uint64_t)clock_unix_ms() << 16;
    for (size_t i = 0; i < API_NEWS_COUNT; i++)
        n->lost_to[i] = n->newest;
    return pthread_mutex_init(&n->lock, NULL) == 0 ? 0 : ERR_NOMEM;
}

/* Under the lock, as what follows. */
static void drop_oldest(struct news *n)
{
    struct news_item *item = LIST_OF(list_pop(&n->items), struct news_item, node);
    n->lost_to[item->kind] = item->at;
    n->count--;
    n->bytes -= item->len;
    if (item != n->leader)
        free(item);
}

static bool are_wanted(struct news *n, enum api_news kind)
{
    if (kind == API_NEWS_LEADER || n->watchers > 0)
        return true;
    if (n->left_ms != 0 && clock_mono_ms() - n->left_ms < NEWS_LATELY_MS)
        return true;
    n->left_ms = 0;
    return false;
}

static void set_leader(struct news *n, struct news_item *item)
{
    struct news_item *old = n->leader;
    n->leader = item;
    if (old != NULL && list_is_empty(&old->node))
        free(old);
}

void news_fini(struct news *n)
{
    set_leader(n, NULL);
    while (n->count > 0)
        drop_oldest(n);
    pthread_mutex_destroy(&n->lock);
}

bool news_are_wanted(struct news *n, enum api_news kind)
{
    pthread_mutex_lock(&n->lock);
    bool wanted = are_wanted(n, kind);
    pthread_mutex_unlock(&n->lock);
    return wanted;
}

void news_put(struct news *n, enum api_news kind, bool deleted, const char *text, size_t len)
{
    struct news_item *item = text == NULL ? NULL : malloc(sizeof *item + len);
    pthread_mutex_lock(&n->lock);
    n->newest++;
    if (item == NULL) {
        n->lost_to[kind] = n->newest;
    } else {
        *item = (struct news_item){.at = n->newest, .kind = kind, .deleted = deleted, .len = len};
        memcpy(item->text, text, len);
        list_init(&item->node);
        list_push(&n->items, &item->node);
        n->count++;
        n->bytes += len;
        if (kind == API_NEWS_LEADER)
            set_leader(n, item);
    }
    bool rests = !are_wanted(n, API_NEWS_MEMBER);
    while (n->count > NEWS_MAX || n->bytes > NEWS_BYTES_MAX || (rests && n->count > NEWS_MAX / 32))
        drop_oldest(n);
    pthread_mutex_unlock(&n->lock);
}

void news_watch(struct news *n, bool begins)
{
    pthread_mutex_lock(&n->lock);
    n->watchers += begins ? 1 : -1u;
    if (n->watchers == 0)
        n->left_ms = clock_mono_ms();
    pthread_mutex_unlock(&n->lock);
}

uint64_t news_newest(struct news *n)
{
    pthread_mutex_lock(&n->lock);
    uint64_t newest = n->newest;
    pthread_mutex_unlock(&n->lock);
    return newest;
}

static bool reach(const struct news *n, uint32_t kinds, uint64_t at)
{
    for (unsigned i = 0; i < API_NEWS_COUNT; i++)
        if ((kinds & 1u << i) != 0 && at < n->lost_to[i])
            return false;
    return at <= n->newest;
}

bool news_reach(struct news *n, uint32_t kinds, uint64_t at)
{
    pthread_mutex_lock(&n->lock);
    bool ret = reach(n, kinds, at);
    pthread_mutex_unlock(&n->lock);
    return ret;
}

int news_read(struct news *n, uint32_t kinds, uint64_t after, news_fn fn, void *arg)
{
    int err = 0;
    pthread_mutex_lock(&n->lock);
    if (!reach(n, kinds, after))
        err = ERR_VERSION;
    /* From the end: so a reader that keeps up costs what is new. */
    struct list *at = &n->items;
    while (err == 0 && at->prev != &n->items &&
           LIST_OF(at->prev, struct news_item, node)->at > after)
        at = at->prev;
    for (; err == 0 && at != &n->items; at = at->next) {
        const struct news_item *item = LIST_OF(at, struct news_item, node);
        if (kinds & 1u << item->kind)
            err = fn(arg, item);
    }
    pthread_mutex_unlock(&n->lock);
    return err > 0 ? 0 : err;
}

int news_leader(struct news *n, news_fn fn, void *arg)
{
    pthread_mutex_lock(&n->lock);
    int err = n->leader == NULL ? 0 : fn(arg, n->leader);
    pthread_mutex_unlock(&n->lock);
    return err > 0 ? 0 : err;
}
