/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/tally.h"

Test(tally, keys_come_back)
{
    static const struct tally_id ids[] = {
        {1, 1, 1, 0},
        {UINT64_MAX, UINT64_MAX, TALLY_COUNT_MAX, TALLY_COUNT_MAX - 1},
        {0x0123456789abcdef, 1790000000000, 200, 17},
    };
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        char key[TALLY_KEY_MAX];
        struct tally_id id;
        size_t len = tally_key(&ids[i], key);
        cr_assert_eq(len, strlen(key));
        cr_assert_eq(tally_parse(key, len, &id), 0, "%s", key);
        cr_assert_eq(memcmp(&id, &ids[i], sizeof id), 0, "%s", key);
    }
}

Test(tally, other_keys_are_refused)
{
    static const char *const keys[] = {
        "",
        "propagate/",
        "propagate/1/2/3",
        "propagate/1/2/3/",
        "propagate/1/2/3/3",
        "propagate/0/2/3/1",   /* no origin */
        "propagate/1/2/0/0",   /* no records */
        "propagate/1/2/fff/1", /* too many */
        "propagate/1/2/3/1/4", /* more than a key */
        "propagate/1/2/3/-1",
        "propagate/1/2/3/G",
        "propagate/10000000000000000/2/3/1", /* 65 bits */
        "propagate//2/3/1",
        "blob/0",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        struct tally_id id;
        cr_assert_eq(tally_parse(keys[i], strlen(keys[i]), &id), ERR_MALFORMED, "%s", keys[i]);
    }
}

Test(tally, a_run_is_complete_once)
{
    static struct tally t;
    struct tally_id id = {7, 100, 3, 0};
    cr_assert_null(tally_note(&t, &id, 10));
    cr_assert_null(tally_note(&t, &id, 11), "a repeat counts once");
    id.index = 2;
    cr_assert_null(tally_note(&t, &id, 12));
    id.index = 1;
    id.count = 4;
    cr_assert_null(tally_note(&t, &id, 13), "another count under the same run is not believed");
    id.count = 3;
    struct tally_run *r = tally_note(&t, &id, 14);
    cr_assert_not_null(r);
    cr_assert_eq(r->done_us, 14);
    cr_assert_eq(r, tally_find(&t, 7, 100));
    cr_assert_null(tally_note(&t, &id, 15));
}

Test(tally, runs_of_a_hundred_agents_at_once_are_all_counted)
{
    static struct tally t;
    for (uint32_t i = 0; i < 3; i++)
        for (uint64_t origin = 1; origin <= 100; origin++) {
            struct tally_id id = {origin, 100, 3, i};
            const struct tally_run *r = tally_note(&t, &id, 10 + i);
            cr_assert_eq(r != NULL, i == 2, "record %u of %llu", i, (unsigned long long)origin);
        }
}

Test(tally, the_oldest_run_makes_room)
{
    static struct tally t;
    struct tally_id id = {7, 0, 2, 0};
    for (id.run = 1; id.run <= TALLY_RUNS_MAX; id.run++)
        cr_assert_null(tally_note(&t, &id, id.run));
    id = (struct tally_id){7, 1, 2, 0};
    cr_assert_null(tally_note(&t, &id, 50)); /* run 1 is used again: run 2 is the oldest now */
    id = (struct tally_id){8, 99, 2, 0};
    cr_assert_null(tally_note(&t, &id, 51));
    cr_assert_null(tally_find(&t, 7, 2));
    cr_assert_not_null(tally_find(&t, 7, 1));
    cr_assert_not_null(tally_find(&t, 8, 99));
}

Test(tally, percentiles_are_nearest_rank)
{
    uint64_t v[100];
    for (uint64_t i = 0; i < 100; i++)
        v[i] = i + 1;
    cr_assert_eq(tally_percentile(v, 100, 0.5), 50);
    cr_assert_eq(tally_percentile(v, 100, 0.99), 99);
    cr_assert_eq(tally_percentile(v, 100, 1.0), 100);
    cr_assert_eq(tally_percentile(v, 100, 0.0), 1);
    cr_assert_eq(tally_percentile(v, 3, 0.99), 3);
    cr_assert_eq(tally_percentile(v, 1, 0.5), 1);
    cr_assert_eq(tally_percentile(v, 0, 0.5), 0);
}
