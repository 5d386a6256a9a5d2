/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "agent/keyturn.h"

enum { USE = 3, REMOVE = 4 };

Test(keyturn, one_step_at_a_time)
{
    struct keyturn t = {0};
    cr_assert_eq(keyturn_take(&t, 1, 11, USE, "a"), 0);
    cr_assert_eq(keyturn_take(&t, 1, 12, USE, "a"), 0);
    cr_assert_eq(keyturn_take(&t, 1, 13, USE, "b"), ERR_BUSY);
    cr_assert_eq(keyturn_take(&t, 1, 13, REMOVE, "a"), ERR_BUSY);
    cr_assert_eq(keyturn_say(&t, 1, 13, USE, "a"), 0, "it did not take it");
    keyturn_give_back(&t, 11);
    cr_assert_eq(keyturn_take(&t, 1, 13, USE, "b"), ERR_BUSY, "one has it still");
    keyturn_give_back(&t, 12);
    cr_assert_eq(keyturn_take(&t, 1, 13, USE, "b"), 0);
    cr_assert_eq(keyturn_take(&t, 1 + KEYTURN_MS, 11, USE, "a"), 0, "it has ended");
}

/* The second agent of one step is asked for another one, which is refused and given back: at the
 * members that heard of that first the first step would lack its word. */
Test(keyturn, a_word_that_was_said_stays)
{
    struct keyturn t = {0};
    cr_assert_eq(keyturn_take(&t, 1, 11, USE, "a"), 0);
    cr_assert_eq(keyturn_take(&t, 1, 12, USE, "a"), 0);
    cr_assert_eq(keyturn_say(&t, 1, 12, USE, "a"), 1);
    cr_assert_eq(keyturn_take(&t, 1, 12, USE, "b"), ERR_BUSY);
    keyturn_give_back(&t, 12);
    cr_assert_eq(keyturn_say(&t, 1, 11, USE, "a"), 2);
}
