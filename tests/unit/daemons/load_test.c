/* SPDX-License-Identifier: Apache-2.0
 * A new leader reads the stored rows in slices, between which it is heard. */
#include <criterion/criterion.h>

#include "agent/daemons/daemons_uv.h"
#include "fakes.h"

/* One that read all of them in a turn of its loop, on a machine that gave it a fiftieth of a core,
 * was deposed each time before it was done, and so was the next one. */
Test(load, ends_a_turn_in_time_where_each_row_takes_long)
{
    fake_init();
    for (int i = 0; i < 6; i++)
        fake_instance(i, "ACTIVE", true, 1);
    fake_run(10, false);
    fake.row_us = DAEMONS_LOAD_SLICE_US;
    daemons_lead(fake.d, true, 5);
    FAKE_UNTIL(fake.d->loaded);
    cr_expect(fake.d->loaded);
    cr_expect_geq(fake.scans, 6, "a turn for each row");
    cr_expect_eq(fake.d->model.instance_table.count, 6);
    fake_fini();
}
