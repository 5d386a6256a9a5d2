/* SPDX-License-Identifier: Apache-2.0
 * Faults of Blox 0.3's scheduler that are not here; docs/compatibility.md has the whole list. */
#include "agent/daemons/daemons_uv.h"

#include <criterion/criterion.h>
#include <malloc.h>
#include <string.h>

#include "fakes.h"

static void lead(uint64_t term)
{
    daemons_lead(fake.d, true, term);
    fake_known(NULL);
}

static void join(int first, int count)
{
    for (int i = first; i < first + count; i++)
        fake_instance(i, "ACTIVE", true, 1);
}

static void deploy(const char *id)
{
    fake_deploy("logs", id);
    fake_changed();
    FAKE_UNTIL(
        strcmp(json_str_or(json_object_get(fake.deployments, id), "status", ""), "completed") == 0);
}

/* StartTask was inside a transaction that was repeated on a conflict: 6 of 8 new instances got the
 * task twice. Here its answer is lost as well. */
Test(blox_faults, f3_a_new_instance_gets_one_task)
{
    fake_init();
    lead(5);
    join(0, 1);
    deploy(FIRST);
    fake.start = FAKE_LOSE_ANSWER;
    fake.start_times = 3;
    join(1, 8);
    FAKE_UNTIL(fake_live_all() == 9 && fake.d->unsettled == 0);
    fake_run(300, true);
    cr_assert_eq(fake.task_count, 9, "%d tasks on 9 instances", fake.task_count);
    fake_fini();
}

/* A completed deployment was written anew every ten seconds, for ever. */
Test(blox_faults, f4_a_completed_deployment_is_written_once)
{
    fake_init();
    lead(5);
    join(0, 3);
    deploy(FIRST);
    fake_run(300, true);
    int written = fake.proposals;
    for (int i = 0; i < 200; i++) { /* rounds of 10 s in Blox */
        fake_changed();
        fake_run(5, true);
    }
    cr_assert_eq(fake.proposals, written, "%d writes of what is known", fake.proposals - written);
    fake_fini();
}

/* Each result of a worker was left behind for ever: 6 MB in ten minutes of idleness. */
Test(blox_faults, f5_idle_environments_cost_nothing)
{
    fake_init();
    lead(5);
    join(0, 3);
    for (char c = 'a'; c < 'a' + 10; c++) {
        char name[2] = {c, '\0'}, id[40];
        snprintf(id, sizeof id, "%c%s", c, &FIRST[1]);
        fake_deploy(name, id);
    }
    fake_changed();
    FAKE_UNTIL(fake_live_all() == 30);
    fake_run(500, true);
    int calls = fake.start_calls + fake.stop_calls + fake.list_calls + fake.describe_calls;
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < 200; i++) { /* rounds of 10 s in Blox */
        fake_changed();
        fake_run(5, true);
    }
    cr_assert_eq(fake.start_calls + fake.stop_calls + fake.list_calls + fake.describe_calls, calls);
    cr_assert_leq(mallinfo2().uordblks, before + 4096);
    fake_fini();
}

/* There was no update: the tasks of before stayed beside the new ones. */
Test(blox_faults, f6_an_update_leaves_one_task_each)
{
    fake_init();
    lead(5);
    join(0, 3);
    deploy(FIRST);
    deploy(SECOND);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fake_live(i), 1);
    cr_assert_eq(fake.stop_calls, 3);
    fake_fini();
}

/* The scheduler went on with the cluster that the name had before. */
Test(blox_faults, f7_the_same_name_on_another_cluster)
{
    fake_init();
    lead(5);
    join(0, 3);
    fake_deploy("logs", FIRST);
    json_t *environment = json_object_get(fake.environments, "logs");
    json_set_str(environment, "cluster", "arn:aws:ecs:eu-west-1:1:cluster/other");
    fake_changed();
    fake_run(200, true);
    cr_assert_eq(fake_live_all(), 0, "they are of another cluster");
    json_object_del(fake.environments, "logs");
    fake_changed();
    fake_run(50, true);
    deploy(SECOND);
    cr_assert_eq(fake_live_all(), 3);
    fake_fini();
}

/* All were started on, whatever their state. */
Test(blox_faults, f8_only_active_and_connected_instances)
{
    fake_init();
    lead(5);
    fake_instance(0, "ACTIVE", true, 1);
    fake_instance(1, "INACTIVE", true, 1);
    fake_instance(2, "DRAINING", true, 1);
    fake_instance(3, "ACTIVE", false, 1);
    fake_instance(4, "REGISTERING", true, 1);
    fake_run(10, false);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(fake_live(0) == 1);
    fake_run(300, true);
    cr_assert_eq(fake.task_count, 1);
    fake_instance(3, "ACTIVE", true, 2);
    FAKE_UNTIL(fake_live(3) == 1);
    cr_assert_eq(fake_live(3), 1, "connected again");
    fake_fini();
}

/* Beyond a hundred tasks completion was judged by the first page of a list. */
Test(blox_faults, f9_completed_when_all_of_more_than_a_hundred_run)
{
    fake_init();
    fake.fails = "inst/119";
    fake.reason = "RESOURCE:MEMORY";
    lead(5);
    join(0, 120);
    fake_run(10, false);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(fake_live_all() == 119);
    fake_run(300, true);
    cr_assert_str_eq(fake.last_status, "running", "one of 120 is missing");
    fake.fails = NULL;
    fake_instance(119, "ACTIVE", true, 2);
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    cr_assert_eq(fake_live_all(), 120);
    fake_fini();
}

/* What was just started was only in memory: a restart before the state caught up started again. */
Test(blox_faults, f19_a_restart_before_the_events_starts_nothing_again)
{
    fake_init();
    fake.events = false; /* the state lags */
    lead(5);
    join(0, 12);
    fake_run(10, false);
    fake_deploy("logs", FIRST);
    fake_changed();
    fake.start = FAKE_LOSE_ANSWER;
    fake.start_times = -1;
    FAKE_UNTIL(fake.start_calls >= 2);
    daemons_lead(fake.d, false, 6); /* all that it had in memory is gone */
    fake.start_times = 0;
    fake_run(20, true);
    lead(7);
    FAKE_UNTIL(fake.d->unsettled == 0 && fake_attempts() == 0);
    fake_run(300, true);
    cr_assert_eq(fake.task_count, 12, "%d tasks on 12 instances", fake.task_count);
    fake_fini();
}
