/* SPDX-License-Identifier: Apache-2.0
 * The lease lapses, for a moment or for good, while there is something to do. */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/daemons/daemons_int.h"
#include "fakes.h"

/* A plan is due and the lease has just lapsed: that is waited for, and the loop runs on meanwhile.
 * A leader spun in one round of timers for ever, deaf to its peers and to signals. */
Test(lease, a_plan_that_is_due_waits_for_it, .timeout = 60)
{
    fake_init();
    for (int i = 0; i < 3; i++)
        fake_instance(i, "ACTIVE", true, 1);
    fake_run(10, false);
    daemons_lead(fake.d, true, 5);
    fake_known(NULL);
    fake_deploy("logs", "11111111-1111-4111-8111-111111111111");
    fake_changed();
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    fake_run(50, true);
    struct denv *env = LIST_OF(fake.d->env_list.next, struct denv, node);
    fake.lease = false;
    env->dirty = false;
    env->deadline_ms = daemons_now(fake.d);
    daemons_wake(fake.d);
    fake_run(200, true);
    cr_expect_leq(env->deadline_ms, daemons_now(fake.d), "planned without a lease");
    fake.lease = true;
    FAKE_UNTIL(env->deadline_ms > daemons_now(fake.d));
    cr_expect_gt(env->deadline_ms, daemons_now(fake.d), "not planned with it");
    fake_fini();
}
