/* SPDX-License-Identifier: Apache-2.0
 * While rows come thick the writer waits a moment for more and writes them together. */
#include "store/store_int.h"
#include "tests/unit/store/fixture.h"

static bool is_gathering(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    bool gathers = s->gathering;
    bool taken = list_is_empty(&s->state_queue.ops);
    pthread_mutex_unlock(&s->lock);
    return gathers && !taken;
}

static bool is_open(struct store *s) /* what was posted waits for the writer */
{
    pthread_mutex_lock(&s->lock);
    bool waits = !list_is_empty(&s->state_queue.ops);
    pthread_mutex_unlock(&s->lock);
    return waits;
}

static uint64_t commits(struct store *s)
{
    struct store_stats stats;
    store_stats(s, &stats);
    return stats.commits;
}

/* Three rows, one after the other: the first is written at once, the third is posted when the
 * writer is seen to wait with the second. A busy machine may be too late for that, not always. */
static bool writes_two_at_once(struct fix *f, uint64_t version)
{
    struct record first = rec_of(RECORD_TEST, "a", version, NULL);
    struct record second = rec_of(RECORD_TEST, "b", version, NULL);
    struct record third = rec_of(RECORD_TEST, "c", version, NULL);
    cr_assert_eq(fix_apply(f, &first, 1), 0);
    uint64_t before = commits(f->s);
    f->pending = 2;
    cr_assert_eq(store_apply(f->s, &second, 1, fix_applied, f), 0);
    bool seen = false;
    while (!seen && is_open(f->s))
        seen = is_gathering(f->s);
    cr_assert_eq(store_apply(f->s, &third, 1, fix_applied, f), 0);
    fix_wait(f);
    cr_assert_eq(f->err, 0);
    cr_assert_eq(store_index(f->s, RECORD_TEST), 3 * version, "each is a change of its own");
    return seen && commits(f->s) == before + 1;
}

Test(gather, rows_that_come_thick_are_written_together)
{
    struct fix f;
    bool together = false;
    fix_open(&f);
    for (uint64_t version = 1; version <= 5000 && !together; version++)
        together = writes_two_at_once(&f, version);
    cr_assert(together);
    fix_fini(&f);
}

/* Nothing came before it, so that nothing is likely to come. */
Test(gather, a_row_alone_does_not_wait)
{
    struct fix f;
    struct record rec = rec_of(RECORD_TEST, "a", 1, NULL);
    fix_open(&f);
    cr_assert_eq(store_apply(f.s, &rec, 1, fix_applied, &f), 0);
    f.pending++;
    while (is_open(f.s))
        cr_assert_not(is_gathering(f.s));
    fix_wait(&f);
    fix_fini(&f);
}
