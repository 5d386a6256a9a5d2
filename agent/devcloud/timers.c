/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/timers.h"

#include <stdlib.h>

#include "agent/base/err.h"

void timers_init(struct timers *t)
{
    *t = (struct timers){0};
}

void timers_fini(struct timers *t)
{
    free(t->heap);
    timers_init(t);
}

bool timer_is_armed(const struct timer *timer)
{
    return timer->slot != 0;
}

static bool is_before(const struct timer *a, const struct timer *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void place(struct timers *t, size_t i, struct timer *timer)
{
    t->heap[i] = timer;
    timer->slot = i + 1;
}

static void sift_up(struct timers *t, size_t i)
{
    struct timer *timer = t->heap[i];

    while (i > 0 && is_before(timer, t->heap[(i - 1) / 2])) {
        place(t, i, t->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(t, i, timer);
}

static void sift_down(struct timers *t, size_t i)
{
    struct timer *timer = t->heap[i];

    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= t->count)
            break;
        if (child + 1 < t->count && is_before(t->heap[child + 1], t->heap[child]))
            child++;
        if (!is_before(t->heap[child], timer))
            break;
        place(t, i, t->heap[child]);
        i = child;
    }
    place(t, i, timer);
}

int timers_arm(struct timers *t, struct timer *timer, uint64_t at_ms, timer_fn fn)
{
    if (!timer_is_armed(timer) && t->count == t->cap) {
        size_t cap = t->cap == 0 ? 256 : t->cap * 2;
        struct timer **heap = realloc(t->heap, cap * sizeof(*heap));
        if (heap == NULL)
            return ERR_NOMEM;
        t->heap = heap;
        t->cap = cap;
    }
    timers_disarm(t, timer);
    timer->at_ms = at_ms;
    timer->order = ++t->orders;
    timer->fn = fn;
    place(t, t->count++, timer);
    sift_up(t, t->count - 1);
    return 0;
}

void timers_disarm(struct timers *t, struct timer *timer)
{
    if (!timer_is_armed(timer))
        return;
    size_t i = timer->slot - 1;
    timer->slot = 0;
    t->count--;
    if (i == t->count)
        return;
    place(t, i, t->heap[t->count]);
    sift_up(t, i);
    sift_down(t, t->heap[i]->slot - 1);
}

struct timer *timers_first(const struct timers *t)
{
    return t->count == 0 ? NULL : t->heap[0];
}
