/* SPDX-License-Identifier: Apache-2.0
 * What a comparison with ECS costs, and what it makes of tasks that are stopping or have stopped:
 * they come after all that runs, and before the scheduler may act. Events are lost. */
#include "tests/unit/intake/world.h"

static void open_without_events(struct world *w, unsigned instances)
{
    world_open(w, instances, 1);
    world_tell(w, "set", "{\"event_loss\":1}");
    w->options.queue = NULL;
}

static int64_t reads(struct world *w)
{
    static const char *const names[] = {"op:ecs.ListContainerInstances", "op:ecs.ListTasks",
                                        "op:ecs.DescribeContainerInstances",
                                        "op:ecs.DescribeTasks"};
    int64_t sum = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        sum += world_stat(w, names[i]);
    return sum;
}

static int64_t before, at_whole, at_known;

static void note_reads(struct world *w, bool known)
{
    *(known ? &at_known : &at_whole) = reads(w) - before;
}

static void run(struct world *w)
{
    unsigned known = w->known;
    before = reads(w);
    intake_reconcile(w->intake);
    UNTIL(w, w->known > known);
}

static void stop(struct world *w, const char *arn)
{
    world_call(w, "StopTask", json_pack("{s:s, s:s}", "cluster", w->options.cluster, "task", arn));
}

static void kill_task(struct world *w, const char *arn)
{
    char args[512];
    snprintf(args, sizeof args, "{\"task\":\"%s\"}", arn);
    world_tell(w, "kill-task", args);
}

#define FEW 101 /* one more than a call takes */

/* Two calls for each of four operations; a fifth hundred of tasks that ended costs a look at their
 * names, and a description once. */
Test(stopped, a_comparison_takes_one_call_for_each_hundred)
{
    struct world w;
    static char arns[FEW][400];
    open_without_events(&w, FEW);
    w.when = note_reads;
    for (size_t i = 0; i < FEW; i++)
        world_start_task(&w, i, arns[i]);
    world_lead(&w);
    before = reads(&w);
    UNTIL(&w, w.known > 0);
    cr_assert_eq(at_whole, 8, "%d reads", (int)at_whole);
    cr_assert_eq(at_known, 9, "%d reads", (int)at_known);
    cr_assert_eq(world_count(&w, RECORD_TASK), (uint64_t)FEW);
    /* All of them end. They are asked for since they are listed nowhere; later they are known. */
    for (size_t i = 0; i < FEW; i++)
        kill_task(&w, arns[i]);
    while (!world_is(&w, RECORD_TASK, arns[0], "STOPPED") ||
           !world_is(&w, RECORD_TASK, arns[FEW - 1], "STOPPED"))
        run(&w);
    UNTIL(&w, world_figure(&w, "reconcile", "waiting") == 0 &&
                  world_figure(&w, "reconcile", "refreshing") == 0);
    run(&w);
    cr_assert_eq(at_whole, 5, "%d reads", (int)at_whole);
    cr_assert_eq(at_known, 7, "%d reads", (int)at_known);
    world_close(&w);
}

static char stopping[400];
static bool was_there;

static void look_for_it(struct world *w, bool known)
{
    if (known)
        was_there = world_is(w, RECORD_TASK, stopping, "RUNNING");
}

static bool is_now(struct world *w, const char *status)
{
    json_t *truth = world_control(w, "truth", NULL);
    const json_t *task = json_array_get(json_arr(truth, "tasks"), 0);
    bool is = strcmp(json_str_or(task, "lastStatus", ""), status) == 0;
    json_decref(truth);
    return is;
}

/* It still holds its ports and its place: a scheduler that does not know it starts another one
 * beside it. */
static void open_with_one_stopping(struct world *w)
{
    open_without_events(w, 2);
    world_start_task(w, 0, stopping);
    while (!is_now(w, "RUNNING"))
        usleep(1000);
    world_tell(w, "set", "{\"stop_step_ms\":600000}");
    stop(w, stopping);
}

Test(stopped, a_stopping_task_that_nobody_told_of_is_there_before_the_scheduler_acts)
{
    struct world w;
    open_with_one_stopping(&w);
    w.when = look_for_it;
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    cr_assert(was_there);
    world_close(&w);
}

/* Also where more clusters follow: then it may act in this one when that is known. */
Test(stopped, nor_does_it_act_in_a_cluster_before)
{
    struct world w;
    open_with_one_stopping(&w);
    world_call(&w, "CreateCluster", json_pack("{s:s}", "clusterName", "b"));
    world_tell(&w, "fault", "{\"mode\":\"delay-reply\",\"ms\":60000,\"cluster\":\"b\"}");
    w.options.clusters = "all";
    world_lead(&w);
    UNTIL(&w, w.known_ones[0] != '\0');
    cr_assert(world_is(&w, RECORD_TASK, stopping, "RUNNING"));
    world_close(&w);
}

static uint64_t version_at_whole;

static void end_it(struct world *w, bool known)
{
    struct record rec;
    if (known)
        return;
    (void)world_row(w, RECORD_TASK, stopping, &rec);
    version_at_whole = rec.version.hi;
    kill_task(w, stopping);
    while (!is_now(w, "STOPPED"))
        usleep(1000);
}

/* It ran when the lists were asked for, and ended before those that have stopped are listed. */
Test(stopped, a_task_that_ends_meanwhile_is_asked_for_again)
{
    struct world w;
    struct record rec;
    open_without_events(&w, 1);
    world_start_task(&w, 0, stopping);
    world_lead(&w);
    while (!world_is(&w, RECORD_TASK, stopping, "RUNNING"))
        run(&w);
    w.when = end_it;
    run(&w);
    (void)world_row(&w, RECORD_TASK, stopping, &rec);
    cr_assert_gt(rec.version.hi, version_at_whole);
    cr_assert(world_is(&w, RECORD_TASK, stopping, "STOPPED"));
    world_close(&w);
}

static void fail_once(struct world *w, bool known)
{
    if (!known)
        world_tell(w, "fault",
                   "{\"mode\":\"error\",\"status\":400,\"code\":\"InvalidParameterException\","
                   "\"operation\":\"ListTasks\",\"count\":1}");
}

/* Then what is left is done again, and nobody acts before. */
Test(stopped, a_failure_there_costs_no_second_comparison)
{
    struct world w;
    open_without_events(&w, 3);
    w.when = fail_once;
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    cr_assert_eq(world_stat(&w, "fault:error"), 1);
    cr_assert_eq(world_stat(&w, "op:ecs.ListContainerInstances"), 1);
    cr_assert_eq(w.reconciled, 1);
    cr_assert_eq(w.failed, 0);
    world_close(&w);
}
