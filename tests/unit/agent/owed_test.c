/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/owed.h"

#define S 1000000u

static struct owed o;

static void begin(uint64_t run, uint64_t now_us, uint64_t until_us, uint64_t members)
{
    owed_begin(&o, run, 100, 300, now_us, until_us);
    for (uint64_t num = 1; num <= members; num++)
        owed_target(&o, num);
}

/* How many are asked in the round, and one of them. */
static unsigned round_at(uint64_t now_us, uint64_t *ret_num, uint64_t *ret_run)
{
    const struct owed_run *r;
    unsigned n = 0;
    owed_tick(&o, now_us);
    while ((r = owed_next(&o, now_us, ret_num)) != NULL) {
        *ret_run = r->run;
        n++;
    }
    return n;
}

Test(owed, nobody_is_asked_where_all_report_in_time)
{
    uint64_t num, run;
    begin(7, 0, 10 * S, 5000);
    cr_assert(owed_is_busy(&o));
    cr_assert_eq(round_at(OWED_FROM_US - 1, &num, &run), 0);
    for (uint64_t i = 5000; i > 0; i--)
        owed_settled(&o, i, 7);
    cr_assert(!owed_is_busy(&o));
    cr_assert_eq(round_at(3 * S, &num, &run), 0);
}

Test(owed, who_has_not_reported_is_asked_each_round_until_the_time_is_over)
{
    uint64_t num = 0, run = 0;
    begin(7, 0, 5 * S, 3);
    owed_settled(&o, 1, 7);
    owed_settled(&o, 3, 7);
    owed_settled(&o, 3, 7);
    owed_settled(&o, 2, 8); /* a run that there is not */
    cr_assert_eq(round_at(2 * S, &num, &run), 1);
    cr_assert_eq(num, 2);
    cr_assert_eq(run, 7);
    cr_assert_eq(round_at(2 * S + 1, &num, &run), 0, "a second time in one round");
    cr_assert_eq(round_at(3 * S, &num, &run), 1);
    cr_assert_eq(round_at(5 * S, &num, &run), 0);
    cr_assert(!owed_is_busy(&o));
}

Test(owed, rounds_are_bounded_and_everybody_has_a_turn)
{
    static bool asked[201];
    const struct owed_run *r;
    uint64_t num;
    begin(7, 0, 30 * S, 200);
    for (uint64_t at = 2; at < 6; at++) {
        unsigned n = 0;
        owed_tick(&o, at * S);
        while ((r = owed_next(&o, at * S, &num)) != NULL) {
            asked[num] = true;
            n++;
        }
        cr_assert_eq(n, OWED_ASKS_MAX);
    }
    for (size_t i = 1; i <= 200; i++)
        cr_assert(asked[i], "%zu was never asked", i);
}

Test(owed, one_that_is_back_may_lack_of_all_that_lasts)
{
    uint64_t num = 0, run = 0;
    begin(7, 0, 4 * S, 0);
    begin(8, 0, 9 * S, 0);
    begin(9, 0, 9 * S, 0);
    cr_assert(!owed_is_busy(&o));
    owed_returned(&o, 5, 4 * S);
    cr_assert_eq(round_at(5 * S, &num, &run), 2);
    owed_settled(&o, 5, 8);
    cr_assert_eq(round_at(6 * S, &num, &run), 1);
    cr_assert_eq(run, 9);
    owed_settled(&o, 5, 9);
    cr_assert(!owed_is_busy(&o));
    owed_returned(&o, 5, 9 * S);
    cr_assert(!owed_is_busy(&o));
}

Test(owed, an_answer_is_served_once_a_round_and_within_its_bytes)
{
    uint64_t num, run;
    begin(7, 0, 30 * S, 2);
    owed_settled(&o, 2, 7);
    cr_assert_eq(round_at(2 * S, &num, &run), 1);
    cr_assert_null(owed_serve(&o, 1, 8));
    cr_assert_null(owed_serve(&o, 2, 7), "it has all");
    cr_assert_null(owed_serve(&o, 3, 7), "nobody knows it");
    const struct owed_run *r = owed_serve(&o, 1, 7);
    cr_assert_not_null(r);
    cr_assert_eq(r->count, 100);
    cr_assert_null(owed_serve(&o, 1, 7), "twice in a round");
    cr_assert(owed_spend(&o, OWED_BYTES - 1));
    cr_assert(owed_spend(&o, 300));
    cr_assert(!owed_spend(&o, 300));
    cr_assert_eq(round_at(3 * S, &num, &run), 1);
    cr_assert_not_null(owed_serve(&o, 1, 7));
    cr_assert(owed_spend(&o, 300));
}

Test(owed, more_runs_than_there_is_room_for_push_out_the_oldest)
{
    uint64_t num = 0, run = 0;
    for (uint64_t i = 1; i <= OWED_RUNS_MAX + 1; i++)
        begin(i, 0, 30 * S, 1);
    owed_end(&o, 3);
    owed_settled(&o, 1, 1);
    owed_settled(&o, 1, 3);
    cr_assert_eq(round_at(2 * S, &num, &run), OWED_ASKS_MAX - 1);
    for (uint64_t i = 2; i <= OWED_RUNS_MAX + 1; i++)
        owed_settled(&o, 1, i);
    cr_assert(!owed_is_busy(&o));
}
