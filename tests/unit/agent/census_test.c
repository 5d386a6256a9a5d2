/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/census.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED 1000u

static char text[LISTED][32];
static const char *listed[LISTED];

static void make_list(void)
{
    for (unsigned i = 0; i < LISTED; i++) {
        snprintf(text[i], sizeof text[i], "10.0.%u.%u:7381", i / 250, i % 250);
        listed[i] = text[i];
    }
}

Test(census, all_of_a_long_list_have_their_turn)
{
    struct map live, asked;
    const char *pick[CENSUS_ASKED_MAX];
    size_t turn = 12345; /* whatever it was of a longer list */
    make_list();
    map_init(&live);
    map_init(&asked);
    for (unsigned round = 0; round < (LISTED + CENSUS_ASKED_MAX - 1) / CENSUS_ASKED_MAX; round++) {
        size_t n = census_pick(listed, LISTED, &live, &turn, pick);
        cr_assert_eq(n, CENSUS_ASKED_MAX);
        for (size_t i = 0; i < n; i++)
            map_put(&asked, pick[i], &live, NULL);
    }
    for (unsigned i = 0; i < LISTED; i++)
        cr_assert(map_has(&asked, listed[i]), "%s", listed[i]);
    map_fini(&live);
    map_fini(&asked);
}

Test(census, members_are_not_asked)
{
    struct map live;
    const char *pick[CENSUS_ASKED_MAX];
    size_t turn = 0;
    make_list();
    map_init(&live);
    for (unsigned i = 0; i < LISTED; i++)
        if (i != 7 && i != 999)
            map_put(&live, listed[i], &live, NULL);
    for (unsigned again = 0; again < 3; again++) {
        cr_assert_eq(census_pick(listed, LISTED, &live, &turn, pick), 2);
        cr_assert_str_eq(pick[0], listed[7]);
        cr_assert_str_eq(pick[1], listed[999]);
    }
    cr_assert_eq(census_pick(listed, 7, &live, &turn, pick), 0);
    cr_assert_eq(census_pick(listed, 0, &live, &turn, pick), 0);
    map_fini(&live);
}
