/* SPDX-License-Identifier: Apache-2.0
 * AWS refuses, throttles, is away: who waits how long, and who is blamed. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "fakes.h"

Test(outage, a_refused_call_pauses_and_says_why)
{
    fake_init();
    fake.start = FAKE_REFUSE;
    fake.start_times = -1;
    fake_instances(2);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(json_array_size(json_arr(fake.last_proposal, "failedInstances")) == 2);
    const json_t *failed = json_array_get(json_arr(fake.last_proposal, "failedInstances"), 0);
    cr_expect_str_eq(json_str(failed, "reason"), "ClientException: TaskDefinition is inactive");
    cr_expect_leq(fake.start_calls, 2);
    cr_expect_eq(fake_live_all(), 0);
    fake_fini();
}

/* What ECS did not take is not waited for as if it had. */
Test(outage, a_stop_that_was_throttled_is_soon_asked_again)
{
    fake_init();
    fake_instances(1);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    fake.stops_throttled = 1;
    fake_deploy("logs", SECOND);
    fake_changed();
    FAKE_UNTIL(fake.stop_calls == 2 && fake.start_calls == 2);
    cr_expect_eq(fake.stop_calls, 2);
    cr_expect(fake_one_each(1));
    fake_fini();
}

/* AWS as a whole is away: nobody is blamed, all go on together afterwards. */
Test(outage, an_outage_pauses_all_starts)
{
    fake_init();
    fake_instances(12);
    fake_lead(5);
    fake.unreachable = true;
    fake_deploy("logs", FIRST);
    fake_changed();
    fake_run(300, true);
    cr_expect_eq(fake_live_all(), 0);
    cr_expect_eq(fake_attempts(), 0);
    cr_expect_eq(fake.d->counters.failures, 0);
    fake.unreachable = false;
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    cr_expect(fake_one_each(12));
    fake_fini();
}

/* However many were under way: what they have in common is counted once. */
Test(outage, calls_that_fail_together_are_one_outage)
{
    fake_init();
    fake_instances(3);
    fake_lead(5);
    fake.start = FAKE_THROTTLE;
    fake.start_times = 6;
    fake_deploy_many(6);
    FAKE_UNTIL(fake.start_times == 0);
    fake_run(50, true);
    cr_expect_eq(fake.d->outages, 1, "%u", fake.d->outages);
    FAKE_UNTIL(fake_live_all() == 18);
    cr_expect_eq(fake.start_calls, 12);
    fake_fini();
}
