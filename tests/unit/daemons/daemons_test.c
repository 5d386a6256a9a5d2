/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/daemons/daemons_uv.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "fakes.h"

Test(daemons, deploys_in_batches_and_completes)
{
    fake_init();
    fake_instances(25);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    cr_expect(fake_one_each(25));
    cr_expect_eq(fake.start_calls, 3);
    cr_expect_eq(fake.batch_max, 10);
    cr_expect(fake.attempt_was_stored);
    cr_expect_str_eq(fake.last_status, "completed");
    fake_run(50, true);
    cr_expect_eq(fake_attempts(), 0);
    cr_expect_eq(fake.start_calls, 3);
    fake_instance(25, "ACTIVE", true, 1); /* joins */
    FAKE_UNTIL(fake_live(25) == 1);
    cr_expect_eq(fake_live(25), 1);
    fake_fini();
}

Test(daemons, nothing_before_the_world_is_known)
{
    fake_init();
    fake_deploy("logs", FIRST);
    fake_instances(3);
    daemons_lead(fake.d, true, 5);
    fake_run(60, true);
    cr_expect_eq(fake.start_calls, 0);  /* not reconciled */
    fake_task(0, "logs", FIRST, false); /* of a former leader, never told */
    fake.lease = false;
    fake_known(NULL);
    fake_run(120, true);
    cr_expect_eq(fake.start_calls, 0); /* no lease */
    fake.lease = true;
    FAKE_UNTIL(fake_live_all() == 3);
    fake_run(100, true);
    cr_expect(fake_one_each(3));
    cr_expect_gt(fake.list_calls, 0);
    cr_expect_eq(fake.starts_of[0], 0); /* the former leader's was found */
    fake_fini();
}

/* Five thousand running tasks are fifty calls to list, and the reconcile has just listed them. */
Test(daemons, lists_a_deployment_only_before_it_starts_something)
{
    struct fake_task *tasks[3];
    fake_init();
    fake_deploy("logs", FIRST);
    fake_instances(3);
    for (int i = 0; i < 3; i++)
        tasks[i] = fake_task(i, "logs", FIRST, true);
    fake_lead(5);
    fake_run(200, true);
    cr_expect_eq(fake.list_calls, 0);
    cr_expect_eq(fake.start_calls, 0);
    struct fake_task *second = fake_task(1, "logs", FIRST, false); /* of a former leader */
    fake_set(tasks[1], "STOPPED", "STOPPED", true);
    fake.events = false;
    FAKE_UNTIL(fake.list_calls > 1); /* the unknown one is fetched, then all are known */
    fake_run(200, true);
    cr_expect_eq(fake.start_calls, 0, "another is there already");
    fake_set(second, "STOPPED", "STOPPED", true);
    FAKE_UNTIL(fake_live_all() == 3);
    cr_expect(fake_one_each(3));
    cr_expect_eq(fake.list_calls, 2);
    fake_fini();
}

Test(daemons, settles_lost_answers)
{
    for (int how = FAKE_LOSE_ANSWER; how <= FAKE_LOSE_REQUEST; how++) {
        fake_init();
        fake.start = (enum fake_start)how;
        fake.start_times = 1;
        fake.events = false; /* nothing is told: only ListTasks can show it */
        fake_instances(4);
        fake_lead(5);
        fake_deploy("logs", FIRST);
        fake_changed();
        FAKE_UNTIL(fake.d->counters.unknown > 0);
        int again = 0;
        FAKE_UNTIL(fake.d->unsettled == 0 || (again += fake.start_calls > 1, false));
        cr_expect_eq(again, 0, "started again while unknown");
        FAKE_UNTIL(fake_live_all() == 4);
        fake_run(100, true);
        cr_expect(fake_one_each(4));
        cr_expect_eq(fake.start_calls, how == FAKE_LOSE_ANSWER ? 1 : 2);
        cr_expect_eq(fake.d->counters.adopted, how == FAKE_LOSE_ANSWER ? 4u : 0u);
        cr_expect_eq(fake_attempts(), 0);
        fake_fini();
    }
}

static const struct start_batch *settling(void)
{
    for (const struct list *n = fake.d->ops.next; n != &fake.d->ops; n = n->next) {
        const struct op *op = LIST_OF(n, struct op, node);
        if (op->kind == OP_SETTLE)
            return (const struct start_batch *)(const void *)op;
    }
    return NULL;
}

/* The list that may say "not there" for good is asked for when its time has come, not when the
 * pauses between lists, which grow, happen to be over. */
Test(daemons, waits_no_longer_than_the_lists_lag)
{
    fake_init();
    fake.start = FAKE_LOSE_REQUEST;
    fake.start_times = 1;
    fake.events = false;
    fake.d->settle_first_ms = 1000; /* long enough to be seen waiting on any machine */
    fake.d->settle_window_ms = 2500;
    fake_instances(1);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(settling() != NULL);
    uint64_t over_ms = settling()->since_ms + 2500;
    bool waits_for_it = false;
    FAKE_UNTIL(settling() == NULL ||
               (waits_for_it = waits_for_it || settling()->next_ms == over_ms, false));
    cr_expect(waits_for_it);
    FAKE_UNTIL(fake_live(0) == 1);
    fake_fini();
}

/* ECS's lists lag: what is not listed within the window may still appear. */
Test(daemons, does_not_trust_an_empty_list_too_soon)
{
    fake_init();
    fake.start = FAKE_LOSE_ANSWER;
    fake.start_times = 1;
    fake.events = false;
    fake.list_is_empty = true;
    fake.d->settle_window_ms = 5000;
    fake_instances(2);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(fake.list_calls > 2);
    cr_expect_eq(fake.start_calls, 1);
    fake.list_is_empty = false;
    FAKE_UNTIL(fake.d->unsettled == 0);
    fake_run(50, true);
    cr_expect_eq(fake.start_calls, 1);
    cr_expect(fake_one_each(2));
    fake_fini();
}

Test(daemons, handles_failures_one_by_one)
{
    fake_init();
    fake.fails = "inst/01";
    fake.reason = "RESOURCE:MEMORY";
    fake_instances(3);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(fake_live_all() == 2 &&
               json_array_size(json_arr(fake.last_proposal, "failedInstances")) == 1);
    const json_t *failed = json_array_get(json_arr(fake.last_proposal, "failedInstances"), 0);
    cr_assert_not_null(failed);
    cr_expect_str_eq(json_str(failed, "arn"), "inst/01");
    cr_expect_str_eq(json_str(failed, "reason"), "RESOURCE:MEMORY");
    cr_expect_str_eq(fake.last_status, "running");
    int calls = fake.start_calls;
    fake_run(1200, true);
    cr_expect_eq(fake.start_calls, calls); /* no blind retry */
    fake.fails = NULL;
    fake_instance(1, "ACTIVE", true, 2); /* something was freed */
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    cr_expect(fake_one_each(3));
    fake_fini();
}

Test(daemons, replaces_a_superseded_deployment_stop_first)
{
    fake_init();
    fake_instances(3);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    fake_deploy("logs", SECOND);
    fake_changed();
    for (int i = 0;
         i < 400 && !(fake.starts_of[0] == 2 && fake.starts_of[1] == 2 && fake.starts_of[2] == 2);
         i++) {
        fake_run(5, true);
        for (int k = 0; k < 3; k++)
            cr_assert_leq(fake_live(k), 1, "two tasks on one instance");
    }
    cr_expect(fake_one_each(3));
    cr_expect_eq(fake.stop_calls, 3);
    cr_expect(strncmp(fake.last_reason, "blox: ", 6) == 0);
    FAKE_UNTIL(strcmp(json_str_or(json_object_get(fake.deployments, SECOND), "status", ""),
                      "completed") == 0);
    cr_expect_str_eq(fake.last_status, "completed");
    fake_fini();
}

Test(daemons, stops_the_newer_duplicate)
{
    fake_init();
    fake_instances(1);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    struct fake_task *newer = fake_task(0, "logs", FIRST, false);
    newer->created += 5000;
    fake_set(newer, "RUNNING", "RUNNING", true);
    FAKE_UNTIL(fake.stop_calls == 1 && fake_live(0) == 1);
    fake_run(50, true);
    cr_expect_eq(fake.stop_calls, 1);
    cr_expect_str_eq(newer->status, "STOPPED");
    cr_expect_str_eq(fake.tasks[0].status, "RUNNING");
    fake_fini();
}

Test(daemons, deletes_an_environment_with_its_tasks)
{
    fake_init();
    fake_instances(12);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    struct fake_task *other = fake_task(0, "other", FIRST, true);
    json_set_str(json_object_get(fake.environments, "logs"), "status", "deleting");
    fake_changed();
    FAKE_UNTIL(json_object_size(fake.environments) == 0);
    cr_expect_eq(json_object_size(fake.environments), 0);
    cr_expect_eq(fake_live_all(), 1);
    cr_expect_str_eq(other->desired, "RUNNING"); /* not ours */
    cr_expect_eq(fake.stop_calls, 12);
    fake_fini();
}

/* Its row had not come yet, nor the attempt's: an environment that seems empty is not. */
Test(daemons, deletes_what_a_former_leader_had_just_started)
{
    fake_init();
    fake_instances(2);
    fake_deploy("logs", FIRST);
    json_set_str(json_object_get(fake.environments, "logs"), "status", "deleting");
    fake_task(1, "logs", FIRST, false);
    fake.unreachable = true;
    fake_lead(5);
    fake_run(100, true); /* what was started cannot be listed, and is asked for again in 2 s */
    fake.unreachable = false;
    FAKE_UNTIL(fake.stop_calls == 1 && fake_live_all() == 0);
    fake.unreachable = true;
    fake_run(400, true);
    cr_expect_gt(uv_timer_get_due_in(&fake.d->timer), 100, "asked for seldom, not at each step");
    cr_expect_eq(json_object_size(fake.environments), 1);
    fake.unreachable = false;
    FAKE_UNTIL(json_object_size(fake.environments) == 0);
    cr_expect_eq(json_object_size(fake.environments), 0);
    cr_expect_eq(fake.stop_calls, 1);
    cr_expect_eq(fake_live_all(), 0);
    fake_fini();
}

Test(daemons, a_dead_task_is_replaced_after_a_pause)
{
    fake_init();
    fake_instances(1);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(strcmp(fake.last_status, "completed") == 0);
    uint64_t died_ms = clock_mono_ms();
    fake_set(&fake.tasks[0], "STOPPED", "STOPPED", true);
    FAKE_UNTIL(fake.starts_of[0] == 2);
    cr_expect_eq(fake.starts_of[0], 2);
    cr_expect_gt(clock_mono_ms() - died_ms, 300); /* it had not run for a minute */
    cr_expect_eq(fake.d->counters.died, 1);
    fake_fini();
}

Test(daemons, losing_leadership_in_mid_batch_leaves_no_double)
{
    fake_init();
    fake.events = false;
    fake_instances(30);
    fake_lead(5);
    fake_deploy("logs", FIRST);
    fake_changed();
    fake.start = FAKE_LOSE_ANSWER;
    fake.start_times = 1;
    FAKE_UNTIL(fake.start_calls >= 1);
    daemons_lead(fake.d, false, 6);
    cr_expect_eq(fake.d->starts, 0);
    fake_run(50, true);
    int calls = fake.start_calls;
    fake_run(50, true);
    cr_expect_eq(fake.start_calls, calls);
    fake_lead(7); /* elected again, or another agent with the same rows */
    FAKE_UNTIL(fake_live_all() == 30 && fake.d->unsettled == 0);
    fake_run(100, true);
    cr_expect(fake_one_each(30));
    cr_expect_eq(fake_attempts(), 0);
    cr_expect_eq(fake.task_count, 30, "no task was started twice");
    fake_fini();
}

/* A former leader wrote the attempt down and died; its request arrives after our first look. */
Test(daemons, waits_for_an_attempt_of_a_former_leader)
{
    fake_init();
    fake_instances(2);
    fake_deploy("logs", FIRST);
    fake_attempt("logs", FIRST, 0);
    fake_attempt("logs", FIRST, 55); /* of an instance that is gone */
    fake_run(10, false);
    fake.d->settle_window_ms = 1500;
    fake_lead(5);
    FAKE_UNTIL(fake_live(1) == 1);
    cr_expect_eq(fake_live(0), 0);
    fake_task(0, "logs", FIRST, false);
    FAKE_UNTIL(fake.d->unsettled == 0);
    fake_run(100, true);
    cr_expect(fake_one_each(2));
    cr_expect_eq(fake.starts_of[0], 0);
    cr_expect_eq(fake_attempts(), 0);
    fake_fini();
}

/* What became of one of them says nothing of the other. */
Test(daemons, waits_for_each_attempt_of_former_leaders)
{
    fake_init();
    fake_instances(1);
    fake_deploy("logs", SECOND);
    fake_attempt("logs", FIRST, 0);
    fake_attempt("logs", SECOND, 0);
    fake_task(0, "logs", FIRST, true);
    fake.d->settle_window_ms = 3000;
    fake_lead(5);
    FAKE_UNTIL(fake.d->counters.adopted == 1 && fake_live(0) == 0);
    fake_run(500, true);
    cr_expect_eq(fake.start_calls, 0);
    fake_task(0, "logs", SECOND, false);
    FAKE_UNTIL(fake.d->counters.adopted == 2);
    fake_run(100, true);
    cr_expect(fake_one_each(1));
    cr_expect_eq(fake.start_calls, 0);
    cr_expect_eq(fake_attempts(), 0);
    fake_fini();
}

/* By then nothing else is under way that would wake the scheduler, not even a progress report. */
Test(daemons, starts_again_what_a_former_leader_asked_for_in_vain)
{
    fake_init();
    fake.d->settle_window_ms = DAEMONS_PROPOSE_MS + 500;
    fake_instances(1);
    fake_deploy("logs", FIRST);
    fake_attempt("logs", FIRST, 0);
    fake_lead(5);
    FAKE_UNTIL(fake.d->unsettled == 0);
    FAKE_UNTIL(fake_live(0) == 1);
    cr_expect_eq(fake.starts_of[0], 1);
    cr_expect_eq(fake_attempts(), 0);
    fake_fini();
}

/* This leader had lost its rows; a peer brings the attempt when it has begun. */
Test(daemons, takes_over_an_attempt_that_comes_late)
{
    fake_init();
    fake_instances(1);
    fake_deploy("logs", FIRST);
    fake_task(0, "logs", FIRST, false);
    fake.events = false;
    fake_lead(5);
    fake_run(100, false);
    fake_attempt("logs", FIRST, 0);
    FAKE_UNTIL(fake.d->counters.adopted == 1 && fake_attempts() == 0);
    cr_expect_eq(fake.d->counters.adopted, 1);
    cr_expect_eq(fake_attempts(), 0);
    cr_expect_eq(fake.start_calls, 0);
    fake_fini();
}

/* The disk takes its time, and by then another agent may lead. */
Test(daemons, starts_nothing_once_the_lease_is_lost)
{
    fake_init();
    fake_instances(2);
    fake_lead(5);
    fake.attempt_costs_lease = true;
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(!fake.lease && fake_attempts() == 0);
    cr_expect_not(fake.lease);
    cr_expect_eq(fake.start_calls, 0);
    fake.attempt_costs_lease = false;
    fake.lease = true;
    FAKE_UNTIL(fake_live_all() == 2);
    cr_expect(fake_one_each(2));
    fake_fini();
}

Test(daemons, starts_nothing_it_could_not_write_down)
{
    fake_init();
    fake_instances(2);
    fake_lead(5);
    fake.store_fails = true;
    fake_deploy("logs", FIRST);
    fake_changed();
    fake_run(100, true);
    cr_expect_eq(fake.start_calls, 0);
    fake.store_fails = false;
    FAKE_UNTIL(fake_live_all() == 2);
    cr_expect(fake_one_each(2));
    fake_fini();
}

Test(daemons, an_attempt_ends_although_the_disk_was_full)
{
    fake_init();
    fake_instances(2);
    fake_lead(5);
    fake.start_fills_disk = true;
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(fake_live_all() == 2);
    fake_run(50, true);
    cr_expect_eq(fake_attempts(), 2);
    fake.start_fills_disk = fake.store_fails = false;
    FAKE_UNTIL(fake_attempts() == 0);
    cr_expect_eq(fake_attempts(), 0);
    cr_expect_eq(fake.start_calls, 1);
    fake_fini();
}

/* Its rows were lost (the disk was full), and its end shows only when another deployment is on. */
Test(daemons, waits_no_longer_for_a_task_of_which_only_the_end_is_told)
{
    fake_init();
    fake_instances(1);
    fake_lead(5);
    fake.events = false;
    fake.start_fills_disk = true;
    fake_deploy("logs", FIRST);
    fake_changed();
    FAKE_UNTIL(fake.starts_of[0] == 1);
    fake_run(100, true);
    fake.start_fills_disk = fake.store_fails = false;
    fake_deploy("logs", SECOND);
    fake_changed();
    fake_run(100, true);
    cr_expect_eq(fake.starts_of[0], 1);
    fake.events = true;
    fake_set(&fake.tasks[0], "STOPPED", "STOPPED", true);
    FAKE_UNTIL(fake.starts_of[0] == 2); /* PLAN_ARRIVAL_MS is three times as long */
    cr_expect_eq(fake.starts_of[0], 2);
    cr_expect(fake_one_each(1));
    fake_fini();
}

Test(daemons, looks_at_old_rows_before_it_acts)
{
    fake_init();
    fake_instances(1);
    fake_lead(5);
    fake_run(20, false);
    fake.d->model.instances[0]->seen_ms = 0;
    fake_deploy("logs", FIRST);
    fake_changed();
    fake_run(50, true);
    cr_expect_eq(fake.describe_calls, 1);
    cr_expect_eq(fake.start_calls, 0);
    fake_instance(0, "ACTIVE", true, 2);
    FAKE_UNTIL(fake_live(0) == 1);
    cr_expect_eq(fake_live(0), 1);
    fake_fini();
}

/* ---- commands --------------------------------------------------------------------------- */

static struct intent_result answered;
static json_t *answered_body;
static int answers;

static void on_answer(void *arg, const struct intent_result *result)
{
    (void)arg;
    answered = *result;
    json_decref(answered_body);
    answered_body = result->body ? json_deep_copy(result->body) : NULL;
    answers++;
}

static void command(const char *text)
{
    json_t *json = json_parse(text, strlen(text), NULL);
    cr_assert_not_null(json);
    int before = answers;
    daemons_command(fake.d, json, on_answer, NULL);
    cr_expect_eq(answers, before, "answered from within");
    json_decref(json);
    FAKE_UNTIL(answers > before);
    cr_assert_eq(answers, before + 1);
}

/* The agent that forwards a request sends it again if the answer takes long. */
Test(daemons, a_request_that_comes_twice_is_done_once)
{
    static const char text[] = "{\"op\":\"environment.create\",\"name\":\"a\",\"cluster\":\"c\","
                               "\"taskDefinition\":\"d\",\"key\":\"k\"}";
    fake_init();
    fake_lead(5);
    json_t *json = json_parse(text, strlen(text), NULL);
    daemons_command(fake.d, json, on_answer, NULL);
    fake_run(3, false);
    daemons_command(fake.d, json, on_answer, NULL);
    json_decref(json);
    FAKE_UNTIL(answers == 2);
    cr_expect_eq(answers, 2);
    cr_expect_eq(answered.err, 0);
    cr_expect_eq(fake.proposals, 1);
    cr_expect_eq(fake.d->commands, 0);
    fake_fini();
}

Test(daemons, checks_commands_against_ecs)
{
    static const struct {
        const char *text;
        int err;
        const char *field, *says;
    } cases[] = {
        {"{\"op\":\"environment.create\",\"name\":\"a\",\"cluster\":\"c\",\"taskDefinition\":"
         "\"d\"}",
         0, "", ""},
        {"{\"op\":\"environment.create\",\"name\":\"a\",\"cluster\":\"x\",\"taskDefinition\":"
         "\"d\"}",
         ERR_NOTFOUND, "cluster", "cluster 'x' is not an active"},
        {"{\"op\":\"environment.create\",\"name\":\"a\",\"cluster\":\"c\",\"taskDefinition\":"
         "\"none\"}",
         ERR_NOTFOUND, "taskDefinition", "Unable to describe"},
        {"{\"op\":\"environment.update\",\"name\":\"a\",\"taskDefinition\":\"old\"}", ERR_NOTFOUND,
         "taskDefinition", "TaskDefinition is inactive"},
        {"{\"op\":\"environment.update\",\"name\":\"a\",\"expression\":\"color = red\"}",
         ERR_BADPARAM, "expression", "position 1"},
        {"{\"op\":\"environment.remove\",\"name\":\"a\"}", ERR_BADPARAM, "op", "not a command"},
        {"{\"op\":\"environment.delete\",\"name\":\"a\",\"stopTasks\":true}", 0, "", ""},
    };
    fake_init();
    fake_lead(5);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        command(cases[i].text);
        cr_expect_eq(answered.err, cases[i].err, "%s: %s", cases[i].text, answered.detail);
        cr_expect_str_eq(answered.field, cases[i].field);
        cr_expect(strstr(answered.detail, cases[i].says) != NULL, "%s", answered.detail);
    }
    command(cases[0].text);
    cr_expect_str_eq(json_str(answered_body, "cluster"), FAKE_CLUSTER);
    cr_expect_str_eq(json_str(answered_body, "taskDefinition"), "arn:def:7");
    cr_expect_eq(strlen(json_str(answered_body, "id")), 36);
    cr_expect_eq(json_str(answered_body, "id")[14], '4');
    cr_expect_gt(json_int_or(answered_body, "now", 0), 0);
    cr_expect_null(json_object_get(answered_body, "_cluster"));
    /* the same request has the same digest, whatever its names mean today */
    cr_expect_null(json_str(answered_body, "digest"));
    static const char update[] =
        "{\"op\":\"environment.update\",\"name\":\"a\",\"taskDefinition\":\"d\",\"key\":\"k\"}";
    command(update);
    char digest[64] = "";
    strncat(digest, json_str_or(answered_body, "digest", ""), sizeof digest - 1);
    cr_expect_eq(strlen(digest), 32);
    command(update);
    cr_expect_str_eq(json_str_or(answered_body, "digest", ""), digest);
    json_decref(answered_body);
    fake_fini();
}

Test(daemons, refuses_commands_it_cannot_carry_out)
{
    static const char create[] =
        "{\"op\":\"environment.create\",\"name\":\"a\",\"cluster\":\"c\",\"taskDefinition\":\"d\"}";
    fake_init();
    command(create);
    cr_expect_eq(answered.err, ERR_NOTLEADER);
    fake_lead(5);
    fake.unreachable = true;
    command(create);
    cr_expect_eq(answered.err, ERR_UNREACHABLE);
    cr_expect(strstr(answered.detail, "not reachable") != NULL, "%s", answered.detail);
    fake.unreachable = false;
    fake.propose_err = ERR_TIMEOUT;
    command(create);
    cr_expect_eq(answered.err, ERR_TIMEOUT);
    cr_expect(strstr(answered.detail, "same idempotency key") != NULL, "%s", answered.detail);
    /* leadership goes between the look-up and the proposal */
    json_t *json = json_parse(create, sizeof create - 1, NULL);
    int before = answers;
    daemons_command(fake.d, json, on_answer, NULL);
    daemons_lead(fake.d, false, 6);
    cr_expect_eq(answers, before + 1);
    cr_expect_eq(answered.err, ERR_NOTLEADER);
    fake_run(30, false);
    cr_expect_eq(answers, before + 1);
    fake_lead(7);
    daemons_command(fake.d, json, on_answer, NULL);
    json_decref(json);
    fake_fini(); /* with a command under way */
    cr_expect_eq(answers, before + 2);
}
