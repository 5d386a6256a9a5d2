/* SPDX-License-Identifier: Apache-2.0
 * Any member can push rows: what the leader makes of them. */
#include <criterion/criterion.h>

#include "agent/daemons/daemons_uv.h"
#include "fakes.h"

static void deploy_on_one(void)
{
    fake_instance(0, "ACTIVE", true, 1);
    fake_run(10, false);
    daemons_lead(fake.d, true, 5);
    fake_known(NULL);
    fake_deploy("logs", "11111111-1111-4111-8111-111111111111");
    fake_changed();
    FAKE_UNTIL(fake_live(0) == 1);
    fake_run(50, true);
}

/* One says that an instance drains, one that there is another: neither
 * stops or starts anything as long as ECS does not say so. */
Test(peers_rows, does_nothing_because_of_a_row_that_only_gossip_brought)
{
    fake_init();
    deploy_on_one();
    fake.from_peers = true;
    fake.shown_version = 1;
    fake.source = SOURCE_RECONCILE; /* not that the peer had asked anybody */
    for (int times = 0; times < 2; times++) {
        fake_instance(0, "DRAINING", true, 1000);
        fake_instance(1, "ACTIVE", true, 1000);
        fake_run(10, true);
    }
    fake_run(300, true);
    cr_expect_gt(fake.describe_calls, 0);
    cr_expect_eq(fake.stop_calls, 0);
    cr_expect_eq(fake.start_calls, 1);
    /* ECS says so, after all. */
    fake.from_peers = false;
    fake.source = 0;
    fake_instance(1, "ACTIVE", true, 1001);
    FAKE_UNTIL(fake_live(1) == 1);
    cr_expect_eq(fake_live(1), 1);
    fake_fini();
}

/* One says that a task of ours stopped: it is not replaced unless ECS says so, too. */
Test(peers_rows, believes_ecs_about_a_task_and_no_peer)
{
    fake_init();
    deploy_on_one();
    struct fake_task *task = &fake.tasks[0], truth = *task;
    task->version += 1000;
    fake.from_peers = true;
    fake_set(task, "STOPPED", "STOPPED", true);
    fake.from_peers = false;
    *task = truth;
    fake_run(2000, true);
    cr_expect_eq(fake.start_calls, 1);
    /* That is what ECS shows when asked, although the row is no news then. */
    task->version += 2000;
    fake.from_peers = true;
    fake_set(task, "STOPPED", "STOPPED", true);
    fake.from_peers = false;
    FAKE_UNTIL(fake.start_calls == 2);
    cr_expect_eq(fake.start_calls, 2);
    fake_fini();
}

/* ECS still shows the task as it was when it is asked, and later what the peer said: by then that
 * is no news to the rows, but to the plan. */
Test(peers_rows, ecs_may_show_later_what_a_peer_told)
{
    fake_init();
    deploy_on_one();
    struct fake_task *task = &fake.tasks[0], before = *task;
    fake.from_peers = true;
    fake_set(task, "STOPPED", "STOPPED", true);
    fake.from_peers = false;
    struct fake_task after = *task;
    *task = before;
    fake_run(200, false);
    cr_expect_eq(fake.start_calls, 1);
    cr_expect_eq(fake.d->doubted.count, 1, "what ECS shows is older");
    after.version--;
    *task = after;
    fake_set(task, "STOPPED", "STOPPED", true);
    FAKE_UNTIL(fake.start_calls == 2);
    cr_expect_eq(fake.start_calls, 2);
    cr_expect_eq(fake.d->doubted.count, 0);
    fake_fini();
}

/* A former leader's task, which a peer told of: in the rows, and not in the plan, so that it would
 * be started once more. */
Test(peers_rows, nothing_is_started_beside_a_task_that_only_a_peer_told_of)
{
    static const char deployment[] = "11111111-1111-4111-8111-111111111111";
    fake_init();
    fake_instance(0, "ACTIVE", true, 1);
    fake_deploy("logs", deployment);
    fake_run(10, false);
    daemons_lead(fake.d, true, 5);
    FAKE_UNTIL(fake.d->loaded);
    fake.looks_in_vain = true;
    fake.events = false;
    fake.from_peers = true;
    struct fake_task *task = fake_task(0, "logs", deployment, true);
    fake_run(10, false);
    fake.from_peers = false;
    cr_assert_eq(fake.d->doubted.count, 1);
    fake_known(NULL);
    FAKE_UNTIL(fake.list_calls == 3 || fake.start_calls > 0);
    cr_assert_eq(fake.start_calls, 0);
    fake.looks_in_vain = false;
    FAKE_UNTIL(model_find_task(&fake.d->model, task->arn) != NULL);
    fake_run(50, true);
    cr_expect_eq(fake.start_calls, 0);
    fake_fini();
}
