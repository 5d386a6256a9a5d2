/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/pace.h"

#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/err.h"

#define RATE_MIN 0.5 /* per second: never stops for good */
#define RECOVERY_PER_S                                                                             \
    0.02 /* of the full rate, each second: a minute from half to full is 25 s                      \
          */
#define HOLD_AFTER_THROTTLE 500 /* ms */
#define ELDEST_EVERY 8

static const struct {
    const char *text;
    double burst;
    double rate;
} figures[PACE_BUCKETS] = {
#define X(name, text, burst, rate)                                                                 \
    [name] = {text, (burst)*PACE_SHARE / 100.0, (rate)*PACE_SHARE / 100.0},
    PACE_BUCKET_LIST(X)
#undef X
};

/* Share of the burst that a priority leaves for the higher ones. */
static const double reserve[PACE_PRIORITIES] = {0, 0, 0.1, 0.2};

enum pace_bucket_id pace_bucket_of(const char *operation)
{
    static const struct {
        const char *operation;
        enum pace_bucket_id bucket;
    } table[] = {
        {"StartTask", PACE_CLUSTER_MODIFY},
        {"StopTask", PACE_CLUSTER_MODIFY},
        {"RunTask", PACE_CLUSTER_MODIFY},
        {"PutAttributes", PACE_CLUSTER_MODIFY},
        {"DeleteAttributes", PACE_CLUSTER_MODIFY},
        {"UpdateContainerInstancesState", PACE_CLUSTER_MODIFY},
        {"DeregisterContainerInstance", PACE_CLUSTER_MODIFY},
        {"UpdateContainerAgent", PACE_CLUSTER_MODIFY},
        {"DescribeTasks", PACE_CLUSTER_READ},
        {"ListTasks", PACE_CLUSTER_READ},
        {"DescribeContainerInstances", PACE_CLUSTER_READ},
        {"ListContainerInstances", PACE_CLUSTER_READ},
        {"ListAttributes", PACE_CLUSTER_READ},
        {"DescribeClusters", PACE_CLUSTERS},
        {"ListClusters", PACE_CLUSTERS},
        {"DescribeTaskDefinition", PACE_TASKDEF_READ},
        {"ListTaskDefinitions", PACE_TASKDEF_READ},
        {"ListTaskDefinitionFamilies", PACE_TASKDEF_READ},
        {"RegisterTaskDefinition", PACE_TASKDEF_MODIFY},
        {"DeregisterTaskDefinition", PACE_TASKDEF_MODIFY},
        {"TagResource", PACE_TAG_MODIFY},
        {"UntagResource", PACE_TAG_MODIFY},
        {"ListTagsForResource", PACE_TAG_READ},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(operation, table[i].operation) == 0)
            return table[i].bucket;
    return PACE_OTHER;
}

const char *pace_bucket_str(enum pace_bucket_id id)
{
    return id < PACE_BUCKETS ? figures[id].text : "none";
}

void pace_init(struct pace *p, uint64_t now_ms)
{
    *p = (struct pace){0};
    for (size_t i = 0; i < PACE_BUCKETS; i++) {
        struct pace_bucket *b = &p->buckets[i];
        b->tokens = figures[i].burst;
        b->rate = figures[i].rate;
        b->refilled_ms = now_ms;
        for (size_t k = 0; k < PACE_PRIORITIES; k++)
            list_init(&b->waiters[k]);
    }
}

int pace_enter(struct pace *p, struct pace_waiter *w, enum pace_bucket_id bucket, unsigned priority)
{
    ENSURE(bucket < PACE_BUCKETS);
    if (p->count >= PACE_WAITERS_MAX)
        return ERR_BUSY;
    w->priority = priority < PACE_PRIORITIES ? priority : PACE_PRIORITIES - 1;
    w->bucket = bucket;
    w->order = ++p->orders;
    w->waiting = true;
    list_push(&p->buckets[bucket].waiters[w->priority], &w->node);
    p->count++;
    return 0;
}

void pace_leave(struct pace *p, struct pace_waiter *w)
{
    if (!w->waiting)
        return;
    list_remove(&w->node);
    w->waiting = false;
    p->count--;
}

static void refill(struct pace_bucket *b, size_t id, uint64_t now_ms)
{
    if (now_ms <= b->refilled_ms)
        return;
    double seconds = (double)(now_ms - b->refilled_ms) / 1000.0;
    b->refilled_ms = now_ms;
    b->tokens += seconds * b->rate;
    if (b->tokens > figures[id].burst)
        b->tokens = figures[id].burst;
    b->rate += seconds * RECOVERY_PER_S * figures[id].rate;
    if (b->rate > figures[id].rate)
        b->rate = figures[id].rate;
}

static bool is_eldest_turn(const struct pace_bucket *b)
{
    return b->turns % ELDEST_EVERY == ELDEST_EVERY - 1;
}

/* Whose turn it is, tokens left aside. */
static struct pace_waiter *front(const struct pace_bucket *b)
{
    struct pace_waiter *first = NULL;
    struct pace_waiter *eldest = NULL;
    for (size_t k = 0; k < PACE_PRIORITIES; k++) {
        if (list_is_empty(&b->waiters[k]))
            continue;
        struct pace_waiter *w = LIST_OF(b->waiters[k].next, struct pace_waiter, node);
        if (first == NULL)
            first = w;
        if (eldest == NULL || w->order < eldest->order)
            eldest = w;
    }
    return is_eldest_turn(b) ? eldest : first;
}

/* Tokens that must be there for w to go. The eldest's turn needs no reserve: if it did, a resync
 * whose turn it is would keep a repair waiting for tokens that the repair itself may take. */
static double price(const struct pace_bucket *b, const struct pace_waiter *w, size_t id)
{
    return is_eldest_turn(b) ? 1.0 : 1.0 + reserve[w->priority] * figures[id].burst;
}

struct pace_waiter *pace_next(struct pace *p, uint64_t now_ms)
{
    for (size_t i = 0; i < PACE_BUCKETS && p->count > 0; i++) {
        struct pace_bucket *b = &p->buckets[i];
        refill(b, i, now_ms);
        struct pace_waiter *w = front(b);
        if (w == NULL || now_ms < b->hold_until_ms || b->tokens < price(b, w, i))
            continue;
        b->tokens -= 1.0;
        b->turns++;
        pace_leave(p, w);
        return w;
    }
    return NULL;
}

uint64_t pace_deadline(const struct pace *p)
{
    uint64_t deadline = UINT64_MAX;
    for (size_t i = 0; i < PACE_BUCKETS && p->count > 0; i++) {
        const struct pace_bucket *b = &p->buckets[i];
        const struct pace_waiter *w = front(b);
        if (w == NULL)
            continue;
        double lack = price(b, w, i) - b->tokens;
        /* One more millisecond, so that rounding never wakes the caller too early. */
        uint64_t at = b->refilled_ms + (lack > 0 ? (uint64_t)(lack / b->rate * 1000.0) + 1 : 0);
        if (at < b->hold_until_ms)
            at = b->hold_until_ms;
        deadline = at < deadline ? at : deadline;
    }
    return deadline;
}

void pace_throttled(struct pace *p, enum pace_bucket_id bucket, uint64_t now_ms)
{
    if (bucket >= PACE_BUCKETS)
        return;
    struct pace_bucket *b = &p->buckets[bucket];
    refill(b, bucket, now_ms);
    b->tokens = 0;
    b->hold_until_ms = now_ms + HOLD_AFTER_THROTTLE;
    if (b->halved_ms != 0 && now_ms < b->halved_ms + PACE_HALVE_EVERY_MS)
        return;
    b->halved_ms = now_ms;
    b->rate = b->rate / 2 < RATE_MIN ? RATE_MIN : b->rate / 2;
}

double pace_rate(const struct pace *p, enum pace_bucket_id bucket, uint64_t now_ms)
{
    ENSURE(bucket < PACE_BUCKETS);
    struct pace_bucket copy = p->buckets[bucket];
    refill(&copy, bucket, now_ms);
    return copy.rate;
}
