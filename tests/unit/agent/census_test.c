/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/census.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LISTED 1000u

static struct census listed;

static void make_list(void)
{
    cr_assert_eq(census_begin(&listed, LISTED), 0);
    for (unsigned i = 0; i < LISTED; i++) {
        char text[32];
        snprintf(text, sizeof text, "10.0.%u.%u:7381", i / 250, i % 250);
        census_add(&listed, text);
    }
    cr_assert_eq(listed.agents, LISTED);
}

static bool is_missed(const struct census *c, const char *live_one)
{
    struct map live;
    map_init(&live);
    if (live_one != NULL)
        map_put(&live, live_one, &live, NULL);
    uint32_t missing = census_missing(c, &live);
    map_fini(&live);
    return missing == c->agents;
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
        size_t n = census_pick(&listed, &live, &turn, pick);
        cr_assert_eq(n, CENSUS_ASKED_MAX);
        for (size_t i = 0; i < n; i++)
            map_put(&asked, pick[i], &live, NULL);
    }
    for (unsigned i = 0; i < LISTED; i++)
        cr_assert(map_has(&asked, listed.address[i]), "%s", listed.address[i]);
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
            map_put(&live, listed.address[i], &live, NULL);
    for (unsigned again = 0; again < 3; again++) {
        cr_assert_eq(census_pick(&listed, &live, &turn, pick), 2);
        cr_assert_str_eq(pick[0], listed.address[7]);
        cr_assert_str_eq(pick[1], listed.address[999]);
    }
    listed.count = 7;
    cr_assert_eq(census_pick(&listed, &live, &turn, pick), 0);
    listed.count = 0;
    cr_assert_eq(census_pick(&listed, &live, &turn, pick), 0);
    map_fini(&live);
    census_drop(&listed);
}

/* An agent of several addresses lives where one of them does. */
Test(census, agents_are_missed_not_addresses)
{
    struct census c = {0};
    cr_assert_eq(census_begin(&c, 6), 0);
    census_add(&c, "10.0.0.1:7381 fd00::1:7381");
    census_add(&c, "no address");
    cr_assert_eq(c.agents, 1);
    cr_assert(is_missed(&c, NULL));
    cr_assert(is_missed(&c, "10.0.0.9:7381"));
    for (size_t i = 0; i < c.count; i++)
        cr_assert_not(is_missed(&c, c.address[i]), "%s", c.address[i]);
    census_drop(&c);
    cr_assert_eq(census_begin(&c, 1), 0); /* no more than there is room for */
    census_add(&c, "10.0.0.1:7381");
    census_add(&c, "10.0.0.2:7381");
    cr_assert_eq(c.agents, 1);
    census_drop(&c);
}

/* What an agent wrote counts from some time after it did; a list that does not show it yet changes
 * nothing, one that must show it and does not does. */
Test(census, the_own_address_is_an_anchor)
{
    struct census none = {0};
    struct anchor a = {.since_ms = 0};
    struct map live;
    map_init(&live);
    cr_assert_eq(anchor_counts_ms(&a, 5000), UINT64_MAX);
    anchor_look(&a, &none, &live, false, 900, 5000, 950);
    cr_assert_eq(anchor_counts_ms(&a, 5000), UINT64_MAX, "an empty list is none");
    anchor_written(&a, 1000);
    anchor_written(&a, 1500);
    cr_assert_eq(anchor_counts_ms(&a, 5000), 6000);
    anchor_look(&a, &none, &live, false, 5999, 5000, 6100);
    cr_assert_eq(anchor_counts_ms(&a, 5000), 6000, "it may lag");
    anchor_look(&a, &none, &live, true, 6000, 5000, 6100);
    cr_assert_eq(anchor_counts_ms(&a, 5000), 6000);
    anchor_look(&a, &none, &live, false, 7000, 5000, 7100);
    cr_assert_eq(anchor_counts_ms(&a, 5000), UINT64_MAX, "it is gone");
    map_fini(&live);
}

/* A live member's will do; where that one goes, another does only from then on. */
Test(census, so_is_that_of_a_live_member)
{
    struct census c = {0};
    struct anchor a = {.since_ms = 0};
    struct map live;
    map_init(&live);
    cr_assert_eq(census_begin(&c, 2), 0);
    census_add(&c, "10.0.0.1:7381");
    census_add(&c, "10.0.0.2:7381");
    anchor_look(&a, &c, &live, false, 900, 5000, 1000);
    cr_assert_eq(anchor_counts_ms(&a, 5000), UINT64_MAX, "nobody is known");
    map_put(&live, "10.0.0.2:7381", &live, NULL);
    anchor_look(&a, &c, &live, false, 1900, 5000, 2000);
    anchor_look(&a, &c, &live, false, 2900, 5000, 3000);
    cr_assert_eq(anchor_counts_ms(&a, 5000), 7000);
    map_put(&live, "10.0.0.1:7381", &live, NULL);
    map_del(&live, "10.0.0.2:7381");
    anchor_look(&a, &c, &live, false, 3900, 5000, 4000);
    cr_assert_eq(anchor_counts_ms(&a, 5000), 9000);
    map_fini(&live);
    census_drop(&c);
}
