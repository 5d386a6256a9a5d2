/* SPDX-License-Identifier: Apache-2.0
 * What is kept beside members that are doubted: votes, evidence, and when a suspicion ends. Few are
 * at any time, so a slot of the table stays small. */
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/swim_int.h"

#ifndef SWIM_SHARED
struct swim_doubt *swim_take_doubt(struct swim *s)
{
    struct swim_doubt *d = s->doubt_free;
    if (d != NULL) {
        s->doubt_free = d->next;
        return d;
    }
    ENSURE(s->doubt_from < s->members); /* a slot has one at most */
    return &s->doubt_at[s->doubt_from++];
}

void swim_give_doubt(struct swim *s, struct swim_doubt *d)
{
    d->next = s->doubt_free;
    s->doubt_free = d;
}
#endif

struct swim_doubt *swim_doubt(struct swim *s, struct swim_member *m)
{
    if (m->doubt != NULL)
        return m->doubt;
    struct swim_doubt *d = swim_take_doubt(s);
    *d = (struct swim_doubt){.slot = m->slot, .failed_at = SWIM_NONE, .next = s->doubts};
    if (s->doubts != NULL)
        s->doubts->prev = d;
    s->doubts = d;
    m->doubt = d;
    return d;
}

const struct swim_trace *swim_trace_of(const struct swim_member *m)
{
    static const struct swim_trace none;
    return m->doubt == NULL ? &none : &m->doubt->trace;
}

/* ---- the watched: a pairing heap (Fredman and others, 1986), nearest end first ---- */

/* `before` is the sibling before it, or of the first child its parent. */
static struct swim_doubt *meld(struct swim_doubt *a, struct swim_doubt *b)
{
    if (a == NULL || b == NULL)
        return a == NULL ? b : a;
    if (b->due_ms < a->due_ms) {
        struct swim_doubt *swap = a;
        a = b;
        b = swap;
    }
    b->sibling = a->child;
    b->before = a;
    if (a->child != NULL)
        a->child->before = b;
    a->child = b;
    return a;
}

/* Pairs from left to right, then the pairs from right to left. */
static struct swim_doubt *meld_all(struct swim_doubt *first)
{
    struct swim_doubt *pairs = NULL, *all = NULL;
    while (first != NULL) {
        struct swim_doubt *a = first, *b = a->sibling;
        first = b == NULL ? NULL : b->sibling;
        a->sibling = a->before = NULL;
        if (b != NULL)
            b->sibling = b->before = NULL;
        a = meld(a, b);
        a->sibling = pairs;
        pairs = a;
    }
    while (pairs != NULL) {
        struct swim_doubt *a = pairs;
        pairs = a->sibling;
        a->sibling = NULL;
        all = meld(all, a);
    }
    return all;
}

static void unwatch(struct swim *s, struct swim_doubt *d)
{
    struct swim_doubt *rest = meld_all(d->child);
    d->child = NULL;
    if (d == s->watch) {
        s->watch = rest;
    } else {
        if (d->before->child == d)
            d->before->child = d->sibling;
        else
            d->before->sibling = d->sibling;
        if (d->sibling != NULL)
            d->sibling->before = d->before;
        s->watch = meld(s->watch, rest);
    }
    d->sibling = d->before = NULL;
}

void swim_set_due(struct swim *s, struct swim_member *m, uint64_t due_ms)
{
    ENSURE(swim_is_watched(m->m.state));
    unwatch(s, m->doubt);
    m->doubt->due_ms = due_ms;
    s->watch = meld(s->watch, m->doubt);
}

/* The order among them stays as it is. */
void swim_put_off(struct swim *s, uint64_t by_ms, uint64_t least_ms)
{
    for (struct swim_doubt *d = s->doubts; d != NULL && s->watched > 0; d = d->next)
        if (d == s->watch || d->before != NULL) /* in the heap */
            d->due_ms = d->due_ms + by_ms > least_ms ? d->due_ms + by_ms : least_ms;
}

/* ---- the failed ---- */

static void list_failed(struct swim *s, struct swim_doubt *d)
{
    swim_failed_room(s);
    d->failed_at = s->failed;
    s->failed_list[s->failed++] = d->slot;
}

static void unlist_failed(struct swim *s, struct swim_doubt *d)
{
    uint32_t last = s->failed_list[--s->failed];
    s->failed_list[d->failed_at] = last;
    swim_at(s, last)->doubt->failed_at = d->failed_at;
    d->failed_at = SWIM_NONE;
}

/* ---- both ---- */

void swim_doubt_state(struct swim *s, struct swim_member *m, enum gossip_state before)
{
    enum gossip_state now = m->m.state;
    if (now == before)
        return;
    if (swim_is_watched(before) && !swim_is_watched(now))
        unwatch(s, m->doubt);
    if (before == MEMBER_FAILED)
        unlist_failed(s, m->doubt);
    if (now == MEMBER_ALIVE)
        return;
    struct swim_doubt *d = swim_doubt(s, m);
    if (now == MEMBER_FAILED)
        list_failed(s, d);
    if (swim_is_watched(now) && !swim_is_watched(before)) {
        d->due_ms = UINT64_MAX; /* until it is set */
        s->watch = meld(s->watch, d);
    }
}

void swim_doubt_drop(struct swim *s, struct swim_member *m)
{
    struct swim_doubt *d = m->doubt;
    if (d == NULL)
        return;
    ENSURE(!swim_is_watched(m->m.state));
    if (d->failed_at != SWIM_NONE)
        unlist_failed(s, d);
    if (d->prev != NULL)
        d->prev->next = d->next;
    else
        s->doubts = d->next;
    if (d->next != NULL)
        d->next->prev = d->prev;
    m->doubt = NULL;
    m->vote_count = m->stalled_count = 0;
    swim_give_doubt(s, d);
}

void swim_doubt_age(struct swim *s, uint64_t now_ms)
{
    struct swim_doubt *next;
    for (struct swim_doubt *d = s->doubts; d != NULL; d = next) {
        const struct swim_member *m = swim_look(s, d->slot);
        uint64_t last = d->trace.suspected_ms;
        next = d->next;
        last = d->voted_ms > last ? d->voted_ms : last;
        last = d->trace.failed_ms > last ? d->trace.failed_ms : last;
        last = d->asked_ms > last ? d->asked_ms : last;
        if (m->m.state == MEMBER_ALIVE && !d->rekeyed && now_ms - last >= SWIM_DOUBT_MS)
            swim_doubt_drop(s, swim_at(s, d->slot));
    }
}
