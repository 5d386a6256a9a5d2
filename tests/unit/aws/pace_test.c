/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "agent/aws/pace.h"
#include "agent/base/err.h"
#include "agent/base/prng.h"

#define START 1000u

static struct pace_waiter waiters[PACE_WAITERS_MAX + 1];

static unsigned drain(struct pace *p, uint64_t now_ms)
{
    unsigned n = 0;
    while (pace_next(p, now_ms) != NULL)
        n++;
    return n;
}

Test(pace, every_operation_has_its_bucket)
{
    cr_assert_eq(pace_bucket_of("StartTask"), PACE_CLUSTER_MODIFY);
    cr_assert_eq(pace_bucket_of("ListTasks"), PACE_CLUSTER_READ);
    cr_assert_eq(pace_bucket_of("DescribeClusters"), PACE_CLUSTERS);
    cr_assert_eq(pace_bucket_of("DescribeTaskDefinition"), PACE_TASKDEF_READ);
    cr_assert_eq(pace_bucket_of("SomethingNew"), PACE_OTHER);
    for (int i = 0; i < PACE_BUCKETS; i++)
        cr_assert_neq(pace_bucket_str((enum pace_bucket_id)i)[0], '\0');
}

Test(pace, a_burst_then_the_rate_and_a_share_left_to_others)
{
    struct pace p;
    pace_init(&p, START);
    for (unsigned i = 0; i < 400; i++)
        cr_assert_eq(pace_enter(&p, &waiters[i], PACE_CLUSTER_MODIFY, 0), 0);
    cr_assert_eq(drain(&p, START), 75, "75 %% of AWS's burst of 100");
    unsigned later = 0;
    for (uint64_t now = START; now <= START + 10000; now += 10)
        later += drain(&p, now);
    cr_assert_geq(later, 299, "75 %% of AWS's 40 a second");
    cr_assert_leq(later, 301);
}

Test(pace, the_deadline_is_when_one_can_go)
{
    struct pace p;
    struct prng prng;
    prng_seed(&prng, 3);
    pace_init(&p, START);
    cr_assert_eq(pace_deadline(&p), UINT64_MAX);
    for (unsigned i = 0; i < 300; i++)
        pace_enter(&p, &waiters[i], (enum pace_bucket_id)prng_below(&prng, PACE_BUCKETS),
                   (unsigned)prng_below(&prng, 6));
    uint64_t now = START;
    unsigned wakes = 0;
    while (p.count > 0) {
        uint64_t at = pace_deadline(&p);
        now = at > now ? at : now;
        if (drain(&p, now) == 0 && p.count > 0)
            now++;
        cr_assert_lt(++wakes, 1000, "it sleeps too little or for ever");
        if (wakes % 50 == 0)
            pace_throttled(&p, (enum pace_bucket_id)prng_below(&prng, PACE_BUCKETS), now);
    }
    cr_assert_eq(pace_deadline(&p), UINT64_MAX);
}

Test(pace, repair_goes_first_and_keeps_a_reserve)
{
    struct pace p;
    pace_init(&p, START);
    for (unsigned i = 0; i < 200; i++)
        pace_enter(&p, &waiters[i], PACE_CLUSTER_MODIFY, 3);
    unsigned resync = drain(&p, START);
    cr_assert_geq(resync, 59, "resync leaves a fifth of the burst");
    cr_assert_leq(resync, 61);
    for (unsigned i = 200; i < 210; i++)
        pace_enter(&p, &waiters[i], PACE_CLUSTER_MODIFY, 0);
    unsigned first = 0;
    for (unsigned i = 0; i < 10; i++) {
        struct pace_waiter *w = pace_next(&p, START);
        first += w != NULL && w->priority == 0;
    }
    cr_assert_geq(first, 8, "repair waits behind nobody but an eighth turn");
}

Test(pace, nobody_starves)
{
    struct pace p;
    unsigned served = 0;
    pace_init(&p, START);
    for (unsigned i = 0; i < 10; i++)
        pace_enter(&p, &waiters[i], PACE_CLUSTER_MODIFY, 1);
    /* Repair asks for more than the rate, without end. */
    unsigned next = 10;
    for (uint64_t now = START; now < START + 20000; now += 20) {
        for (unsigned i = 0; i < 2 && next < PACE_WAITERS_MAX; i++)
            cr_assert_eq(pace_enter(&p, &waiters[next++], PACE_CLUSTER_MODIFY, 0), 0);
        struct pace_waiter *w;
        while ((w = pace_next(&p, now)) != NULL)
            served += w->priority == 1;
    }
    cr_assert_eq(served, 10);
}

Test(pace, a_throttle_halves_once_a_wave_and_recovers)
{
    struct pace p;
    pace_init(&p, START);
    double full = pace_rate(&p, PACE_CLUSTER_READ, START);
    for (unsigned i = 0; i < 20; i++)
        pace_throttled(&p, PACE_CLUSTER_READ, START + 10 + i);
    double half = pace_rate(&p, PACE_CLUSTER_READ, START + 30);
    cr_assert_float_eq(half, full / 2, full * 0.02);
    pace_enter(&p, &waiters[0], PACE_CLUSTER_READ, 0);
    cr_assert(pace_next(&p, START + 40) == NULL, "it holds after a throttle");
    cr_assert(pace_next(&p, pace_deadline(&p)) == &waiters[0]);
    for (unsigned i = 1; i < 30; i++)
        pace_throttled(&p, PACE_CLUSTER_READ, START + i * 1001);
    cr_assert_geq(pace_rate(&p, PACE_CLUSTER_READ, START + 30030), 0.5, "never to nothing");
    cr_assert_float_eq(pace_rate(&p, PACE_CLUSTER_READ, START + 120000), full, 0.001);
    cr_assert_float_eq(pace_rate(&p, PACE_CLUSTER_MODIFY, START), 30, 0.001, "others unharmed");
    pace_throttled(&p, PACE_NONE, START);
}

Test(pace, the_queue_is_bounded_and_can_be_left)
{
    struct pace p;
    pace_init(&p, START);
    for (unsigned i = 0; i < PACE_WAITERS_MAX; i++)
        cr_assert_eq(pace_enter(&p, &waiters[i], PACE_OTHER, 2), 0);
    cr_assert_eq(pace_enter(&p, &waiters[PACE_WAITERS_MAX], PACE_OTHER, 0), ERR_BUSY);
    pace_leave(&p, &waiters[PACE_WAITERS_MAX]);
    for (unsigned i = 0; i < PACE_WAITERS_MAX; i++)
        pace_leave(&p, &waiters[i]);
    pace_leave(&p, &waiters[0]);
    cr_assert_eq(p.count, 0);
    cr_assert(pace_next(&p, START) == NULL);
}
