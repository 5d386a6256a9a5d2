/* SPDX-License-Identifier: Apache-2.0
 * Nothing is done in a cluster before that one has been compared with ECS. */
#include <criterion/criterion.h>

#include "agent/base/clock.h"
#include "fakes.h"

static void move(const char *environment, const char *cluster)
{
    json_object_set_new(json_object_get(fake.environments, environment), "cluster",
                        json_string(cluster));
}

/* Each cluster for itself, however long another one takes. */
Test(known, begins_in_a_cluster_when_that_one_is_known)
{
    static const char other[] = "arn:aws:ecs:eu-west-1:1:cluster/other";
    fake_init();
    fake_deploy("logs", FIRST);
    fake_deploy("away", SECOND);
    move("away", other);
    fake_instance(0, "ACTIVE", true, 1);
    fake_attempt("logs", FIRST, 1); /* of a former leader */
    fake_run(10, false);
    daemons_lead(fake.d, true, 5);
    fake_run(60, true);
    fake_known(other);
    fake_run(60, true);
    cr_expect_eq(fake.start_calls, 0);
    cr_expect_eq(fake_attempts(), 1, "it was forgotten before its instance was known");
    fake_instance(1, "ACTIVE", true, 1);
    fake_run(10, false);
    fake_known(FAKE_CLUSTER);
    FAKE_UNTIL(fake_live_all() == 2 && fake_attempts() == 0);
    cr_expect_eq(fake_live(0), 1);
    cr_expect_eq(fake_live(1), 1);
    fake_fini();
}

/* What was known in the leadership before is not known in this one. */
Test(known, another_leadership_begins_anew)
{
    fake_init();
    fake_deploy("logs", FIRST);
    daemons_lead(fake.d, true, 5);
    fake_known(NULL);
    fake_run(60, true);
    daemons_lead(fake.d, true, 6); /* the intake is told after this */
    fake_instance(0, "ACTIVE", true, 1);
    fake_run(150, true);
    cr_expect_eq(fake.start_calls, 0);
    fake_known(NULL);
    FAKE_UNTIL(fake_live(0) == 1);
    cr_expect_eq(fake.start_calls, 1);
    fake_fini();
}

/* A former leader started a task that neither an attempt nor ECS's lists tell of yet, and its
 * environment is to go: it goes once they must have shown the task, and that is stopped. later: the
 * deployment has been followed by another since. */
static void expect_stopped(const char *later)
{
    fake_init();
    fake_instance(0, "ACTIVE", true, 1);
    fake_run(10, false);
    fake_deploy("logs", FIRST);
    fake_task(0, "logs", FIRST, false);
    fake.list_is_empty = true;
    fake.events = false;
    fake.d->settle_window_ms = 1500;
    uint64_t lead_ms = clock_mono_ms();
    daemons_lead(fake.d, true, 5);
    if (later)
        fake_deploy("logs", later);
    json_set_str(json_object_get(fake.environments, "logs"), "status", "deleting");
    fake_changed_in("logs");
    fake_known(NULL);
    FAKE_UNTIL(json_object_size(fake.environments) == 0 || clock_mono_ms() >= lead_ms + 1200);
    fake.list_is_empty = false;
    fake.events = true;
    FAKE_UNTIL(json_object_size(fake.environments) == 0);
    cr_assert_eq(fake.stop_calls, 1);
    cr_assert_eq(fake_live_all(), 0);
    fake_fini();
}

/* An environment that is removed at once would leave it for ever. */
Test(known, an_environment_goes_when_ecs_must_have_shown_its_tasks)
{
    expect_stopped(NULL);
}

Test(known, an_environment_goes_when_tasks_of_older_deployments_have)
{
    expect_stopped(SECOND);
}

/* A list that fails on the way is asked for again, it alone. */
Test(known, an_environment_goes_though_a_list_failed)
{
    fake_init();
    fake_deploy("logs", FIRST);
    json_set_str(json_object_get(fake.environments, "logs"), "status", "deleting");
    fake.d->settle_window_ms = 300;
    daemons_lead(fake.d, true, 5);
    fake_known(NULL);
    FAKE_UNTIL(fake.list_calls == 1); /* of what runs */
    fake.lists_lost = 1;
    FAKE_UNTIL(json_object_size(fake.environments) == 0);
    cr_assert_eq(json_object_size(fake.environments), 0);
    cr_assert_eq(fake.list_calls, 3, "%d", fake.list_calls);
    fake_fini();
}

/* Its cluster was deleted: there is nothing left that could show up. */
Test(known, an_environment_of_a_deleted_cluster_goes)
{
    fake_init();
    fake_deploy("logs", FIRST);
    json_set_str(json_object_get(fake.environments, "logs"), "status", "deleting");
    fake.no_cluster = true;
    daemons_lead(fake.d, true, 5);
    fake_known(NULL);
    FAKE_UNTIL(json_object_size(fake.environments) == 0);
    cr_assert_eq(json_object_size(fake.environments), 0);
    fake_fini();
}

/* Whom a former leader asked for is known since this one leads, however late its cluster was
 * compared: ECS is asked once more, not for another ten seconds. */
Test(known, what_a_former_leader_asked_for_is_over_when_ecs_must_have_shown_it)
{
    fake_init();
    fake_instance(0, "ACTIVE", true, 1);
    fake_deploy("logs", FIRST);
    fake_attempt("logs", FIRST, 0);
    fake_run(10, false);
    fake.d->settle_window_ms = 300;
    daemons_lead(fake.d, true, 5);
    fake_run(400, false);
    fake_known(NULL);
    FAKE_UNTIL(fake_live(0) == 1 && fake_attempts() == 0);
    cr_assert_eq(fake.start_calls, 1);
    cr_assert_eq(fake.list_calls, 2, "%d: of the attempt, and of the deployment", fake.list_calls);
    fake_fini();
}
