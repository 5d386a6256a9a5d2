/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/queue.h"

#include <stdlib.h>

#include "agent/base/ensure.h"

static bool before(const struct queue_event *a, const struct queue_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->seq < b->seq;
}

void queue_add(struct queue *q, uint64_t at_us, void (*run)(void *arg), void *arg)
{
    if (q->len == q->cap) {
        q->cap = q->cap == 0 ? 256 : q->cap * 2;
        q->heap = realloc(q->heap, q->cap * sizeof *q->heap);
        ENSURE(q->heap != NULL);
    }
    struct queue_event ev = {at_us, q->seq++, run, arg};
    size_t i = q->len++;
    for (; i > 0 && before(&ev, &q->heap[(i - 1) / 2]); i = (i - 1) / 2)
        q->heap[i] = q->heap[(i - 1) / 2];
    q->heap[i] = ev;
}

bool queue_next(struct queue *q, struct queue_event *ret)
{
    if (q->len == 0)
        return false;
    *ret = q->heap[0];
    struct queue_event last = q->heap[--q->len];
    size_t i = 0;
    for (size_t child = 1; child < q->len; child = 2 * i + 1) {
        if (child + 1 < q->len && before(&q->heap[child + 1], &q->heap[child]))
            child++;
        if (!before(&q->heap[child], &last))
            break;
        q->heap[i] = q->heap[child];
        i = child;
    }
    q->heap[i] = last;
    return true;
}

void queue_fini(struct queue *q)
{
    free(q->heap);
    *q = (struct queue){0};
}
