/* SPDX-License-Identifier: Apache-2.0
 * Blox kept every version of every record for ever (fault 13) and left what it could not read in
 * its queue (fault 12). */
#include "tests/unit/store/fixture.h"

static struct buf value;

Test(blox_faults, f13_updates_do_not_grow_the_database)
{
    struct fix f;
    struct store_stats before, after;
    char key[32];
    fix_open(&f);
    buf_init(&value, 1 << 20);
    for (uint64_t version = 1; version <= 60; version++) {
        for (unsigned i = 0; i < 50; i++) {
            snprintf(key, sizeof key, "task-%u", i);
            struct record rec = task_of(&value, key, version, "c", "RUNNING", "web");
            cr_assert_eq(fix_apply(&f, &rec, 1), 0);
        }
        if (version == 20)
            store_stats(f.s, &before);
    }
    store_stats(f.s, &after);
    cr_assert_eq(after.rows, 50u);
    cr_assert_leq(after.state_bytes, before.state_bytes + before.state_bytes / 4,
                  "%llu bytes, then %llu", (unsigned long long)before.state_bytes,
                  (unsigned long long)after.state_bytes);
    buf_fini(&value);
    fix_fini(&f);
}

Test(blox_faults, f12_what_cannot_be_read_is_kept_aside_and_bounded)
{
    struct fix f;
    struct store_stats stats;
    fix_open(&f);
    for (unsigned i = 0; i < 1010; i++)
        cr_assert_eq(store_poison(f.s, "no JSON", "{", 1), 0);
    buf_init(&value, 1 << 20);
    struct record rec = task_of(&value, "t", 1, "c", "RUNNING", "web");
    cr_assert_eq(fix_apply(&f, &rec, 1), 0);
    store_stats(f.s, &stats);
    cr_assert_eq(stats.poison, 1000u);
    buf_fini(&value);
    fix_fini(&f);
}
