/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/held.h"

#include "agent/base/clock.h"

int holders_init(struct holders *t)
{
    list_init(&t->all);
    t->quiet_ms = HELD_QUIET_MS;
    return pthread_mutex_init(&t->lock, NULL) == 0 ? 0 : ERR_NOMEM;
}

void holders_fini(struct holders *t)
{
    pthread_mutex_destroy(&t->lock);
}

bool holders_tick(struct holders *t)
{
    uint64_t now_ms = clock_mono_ms();
    pthread_mutex_lock(&t->lock);
    for (struct list *n = t->all.next; n != &t->all; n = n->next) {
        struct held *h = LIST_OF(n, struct held, node);
        if (pthread_mutex_trylock(&h->lock) != 0)
            continue; /* it is being read from */
        if (h->read_ms != 0 && now_ms - h->read_ms >= t->quiet_ms) {
            h->let_go(h);
            h->read_ms = 0;
        }
        pthread_mutex_unlock(&h->lock);
    }
    bool any = !list_is_empty(&t->all);
    pthread_mutex_unlock(&t->lock);
    return any;
}

int held_add(struct holders *t, struct held *h, void (*let_go)(struct held *h))
{
    if (pthread_mutex_init(&h->lock, NULL) != 0)
        return ERR_NOMEM;
    h->let_go = let_go;
    h->read_ms = clock_mono_ms();
    pthread_mutex_lock(&t->lock);
    list_push(&t->all, &h->node);
    pthread_mutex_unlock(&t->lock);
    return 0;
}

void held_remove(struct holders *t, struct held *h)
{
    pthread_mutex_lock(&t->lock);
    list_remove(&h->node);
    pthread_mutex_unlock(&t->lock);
    pthread_mutex_destroy(&h->lock);
}

void held_begin(struct held *h)
{
    pthread_mutex_lock(&h->lock);
}

void held_end(struct held *h)
{
    h->read_ms = clock_mono_ms();
    pthread_mutex_unlock(&h->lock);
}
