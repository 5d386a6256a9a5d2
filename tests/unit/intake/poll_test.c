/* SPDX-License-Identifier: Apache-2.0
 * The queue, with a real store and a real client against the local cloud. */
#include "tests/unit/intake/world.h"

#define TASK(id) "arn:aws:ecs:us-east-1:111122223333:task/other/" id

/* Leads and waits until the first reconcile and all events of the start are behind it. */
static void settle(struct world *w)
{
    world_lead(w);
    UNTIL(w, w->reconciled > 0 && world_queued(w) == 0);
}

Test(poll, events_become_rows_and_leave_the_queue)
{
    struct world w;
    struct record rec;
    char arn[400];
    world_open(&w, 3, 1);
    settle(&w);
    world_start_task(&w, 1, arn);
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "RUNNING") && world_queued(&w) == 0);
    cr_assert_str_eq(world_row(&w, RECORD_TASK, arn, &rec), "RUNNING");
    cr_assert_eq(rec.source, SOURCE_EVENT);
    cr_assert_eq(rec.term, 1u);
    UNTIL(&w, world_figure(&w, "queue", "deleted") == world_figure(&w, "queue", "received"));
    cr_assert_str_eq(intake_trouble(w.intake), "");
    world_close(&w);
}

Test(poll, nothing_leaves_the_queue_that_the_store_refused)
{
    struct world w;
    char arn[400];
    world_open(&w, 12, UINT64_MAX / 2); /* there is never so much room */
    UNTIL(&w, world_queued(&w) >= 12);
    int64_t before = world_queued(&w);
    world_lead(&w);
    UNTIL(&w, world_figure(&w, "queue", "received") >= 12 && w.failed > 0);
    cr_assert_eq(w.reconciled, 0u, "a reconcile without its rows is none");
    for (size_t i = 0; i < 4; i++) /* a delete would have been answered before these are */
        world_start_task(&w, i, arn);
    cr_assert_geq(world_queued(&w), before);
    cr_assert_eq(world_figure(&w, "queue", "deleted"), 0);
    cr_assert_neq(strstr(intake_trouble(w.intake), "the store refuses rows"), NULL, "%s",
                  intake_trouble(w.intake));
    world_close(&w);
}

Test(poll, duplicates_and_disorder_leave_the_newest)
{
    static const struct {
        uint64_t version;
        const char *status;
    } events[] = {{5, "RUNNING"}, {3, "PENDING"}, {5, "RUNNING"}, {9, "STOPPED"}, {7, "RUNNING"}};
    struct world w;
    struct record rec;
    world_open(&w, 1, 1);
    const char *cluster = json_str(w.ready, "cluster_arn");
    settle(&w);
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        world_event(&w, cluster, TASK("a"), events[i].version, events[i].status);
    UNTIL(&w, world_queued(&w) == 0);
    cr_assert_str_eq(world_row(&w, RECORD_TASK, TASK("a"), &rec), "STOPPED");
    cr_assert_eq(rec.version.hi, 9u);
    cr_assert_eq(rec.version.lo, 0u);
    cr_assert(world_figure(&w, "queue", "duplicates") >= 1);
    cr_assert_eq(world_figure(&w, "queue", "duplicates") + world_figure(&w, "queue", "rows"),
                 world_figure(&w, "queue", "received"), "each event is counted once");
    world_close(&w);
}

Test(poll, lag_is_kept_by_cluster)
{
    struct world w;
    world_open(&w, 2, 1);
    settle(&w);
    world_tell(&w, "storm", "{\"count\":4}");
    const char *cluster = json_str(w.ready, "cluster_arn");
    json_t *lag = NULL;
    UNTIL(&w, world_queued(&w) == 0);
    json_t *status = intake_status(w.intake);
    lag = json_obj(json_obj(status, "clusters"), cluster);
    cr_assert_not_null(lag, "the cluster of the events");
    cr_assert_geq(json_int_or(lag, "events", 0), 4);
    cr_assert_geq(json_int_or(lag, "lag_max_ms", -1), json_int_or(lag, "lag_ms", -2));
    cr_assert_geq(json_int_or(lag, "lag_ms", -1), 0);
    json_decref(status);
    world_close(&w);
}

Test(poll, poison_is_kept_aside_without_secrets)
{
    struct world w;
    struct store_stats stats;
    world_open(&w, 1, 1);
    settle(&w);
    world_tell(&w, "put-event", "{\"body\":\"not json\"}");
    world_tell(&w, "put-event",
               "{\"body\":{\"source\":\"aws.ecs\",\"detail-type\":\"ECS Task State Change\","
               "\"detail\":{\"taskArn\":7,\"overrides\":{\"containerOverrides\":[{\"environment\":"
               "[{\"name\":\"A\",\"value\":\"hush-hush\"}]}]}}}}");
    UNTIL(&w, world_queued(&w) == 0);
    cr_assert_eq(world_figure(&w, "queue", "poison"), 2);
    store_stats(w.store, &stats);
    cr_assert_eq(stats.poison, 2u, "stored before the message was deleted");
    char path[128], bytes[4096];
    snprintf(path, sizeof path, "%s/state/data.mdb", w.dir);
    FILE *f = fopen(path, "r");
    cr_assert_not_null(f);
    size_t n;
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
        cr_assert_null(memmem(bytes, n, "hush-hush", 9));
    fclose(f);
    world_close(&w);
}

Test(poll, poison_stays_in_the_queue_while_the_store_is_full)
{
    struct world w;
    world_open(&w, 0, UINT64_MAX / 2);
    world_tell(&w, "put-event", "{\"body\":\"not json\"}");
    UNTIL(&w, world_queued(&w) >= 1);
    int64_t before = world_queued(&w);
    world_lead(&w);
    UNTIL(&w, world_figure(&w, "queue", "received") >= 1);
    UNTIL(&w, world_figure(&w, "queue", "in_flight") < 2); /* the batch was given up */
    cr_assert_eq(world_queued(&w), before);
    world_close(&w);
}

Test(poll, other_kinds_and_clusters_are_counted_and_dropped)
{
    struct world w;
    world_open(&w, 1, 1);
    settle(&w);
    world_tell(&w, "put-event",
               "{\"body\":{\"source\":\"aws.ecs\",\"detail-type\":\"ECS Moon Phase Change\","
               "\"detail\":{}}}");
    world_event(&w, "arn:aws:ecs:us-east-1:111122223333:cluster/foreign", TASK("f"), 1, "RUNNING");
    UNTIL(&w, world_queued(&w) == 0);
    cr_assert_eq(world_figure(&w, "queue", "ignored"), 1);
    cr_assert_eq(world_figure(&w, "queue", "foreign"), 1);
    cr_assert_str_eq(world_row(&w, RECORD_TASK, TASK("f"), NULL), "");
    world_close(&w);
}

Test(poll, an_event_without_a_version_makes_it_ask_ecs)
{
    struct world w;
    char arn[400], event[1200];
    world_open(&w, 2, 1);
    settle(&w);
    world_tell(&w, "set", "{\"event_loss\":1}");
    world_start_task(&w, 1, arn);
    snprintf(event, sizeof event,
             "{\"body\":{\"source\":\"aws.ecs\",\"detail-type\":\"ECS Task State Change\","
             "\"detail\":{\"taskArn\":\"%s\",\"clusterArn\":\"%s\",\"lastStatus\":\"RUNNING\"}}}",
             arn, json_str(w.ready, "cluster_arn"));
    world_tell(&w, "put-event", event);
    UNTIL(&w, world_queued(&w) == 0 && world_row(&w, RECORD_TASK, arn, NULL)[0] != '\0');
    cr_assert_eq(world_figure(&w, "queue", "hints"), 1);
    cr_assert_eq(world_figure(&w, "queue", "poison"), 0);
    world_close(&w);
}

Test(poll, a_batch_stored_after_leadership_went_stays_in_the_queue)
{
    struct world w;
    world_open(&w, 1, 1);
    settle(&w);
    int64_t deleted = world_figure(&w, "queue", "deleted");
    w.drop_lead_at_event = true;
    world_event(&w, json_str(w.ready, "cluster_arn"), TASK("b"), 4, "RUNNING");
    UNTIL(&w, world_is(&w, RECORD_TASK, TASK("b"), "RUNNING"));
    UNTIL(&w, world_figure(&w, "queue", "in_flight") == 0);
    /* A deletion that was sent all the same would have arrived by then. */
    for (uint64_t end = clock_mono_ms() + 300; clock_mono_ms() < end; usleep(1000))
        uv_run(&w.loop, UV_RUN_NOWAIT);
    cr_assert_eq(world_queued(&w), 1);
    cr_assert_eq(world_figure(&w, "queue", "deleted"), deleted);
    /* Leading again, by turns: the polls go on. */
    w.drop_lead_at_event = false;
    for (unsigned i = 0; i < 5; i++) {
        intake_lead(w.intake, i % 2 == 0, ++w.term);
        uv_run(&w.loop, UV_RUN_ONCE);
    }
    /* SQS may give some messages to the polls that were just cancelled, and keep them back then. */
    for (uint64_t v = 1; !world_is(&w, RECORD_TASK, TASK("c"), "RUNNING"); v++) {
        world_event(&w, json_str(w.ready, "cluster_arn"), TASK("c"), v, "RUNNING");
        for (unsigned turn = 0; turn < 20; turn++)
            uv_run(&w.loop, UV_RUN_ONCE);
    }
    world_close(&w);
}

Test(poll, a_backlog_is_worked_off_through_faults)
{
    struct world w;
    world_open(&w, 20, 1);
    world_tell(&w, "fault", "{\"mode\":\"reset\",\"operation\":\"ReceiveMessage\",\"count\":3}");
    world_tell(&w, "fault",
               "{\"mode\":\"error\",\"status\":503,\"operation\":\"ReceiveMessage\",\"count\":3}");
    world_tell(&w, "fault",
               "{\"mode\":\"truncate\",\"operation\":\"DeleteMessageBatch\","
               "\"count\":2}");
    world_tell(&w, "storm", "{\"count\":300}");
    settle(&w);
    cr_assert_eq(world_count(&w, RECORD_INSTANCE), 20u);
    cr_assert_str_eq(intake_trouble(w.intake), "");
    world_close(&w);
}

Test(poll, a_queue_by_name_and_no_queue_at_all)
{
    struct world w;
    world_open(&w, 1, 1);
    w.options.queue = strrchr(json_str(w.ready, "queue_url"), '/') + 1;
    settle(&w);
    cr_assert_str_eq(intake_trouble(w.intake), "");
    world_drop_intake(&w);
    w.options.queue = "no-such-queue";
    world_lead(&w);
    UNTIL(&w, intake_trouble(w.intake)[0] != '\0');
    cr_assert_neq(strstr(intake_trouble(w.intake), "no-such-queue"), NULL);
    world_drop_intake(&w);
    w.options.queue = NULL;
    w.reconciled = 0;
    world_lead(&w);
    UNTIL(&w, w.reconciled > 0);
    cr_assert_neq(strstr(intake_trouble(w.intake), "intake.queue"), NULL);
    world_close(&w);
}

Test(poll, may_be_destroyed_at_any_moment)
{
    struct world w;
    char arn[400];
    world_open(&w, 30, 1);
    for (unsigned i = 0; i < 40; i++) {
        world_lead(&w);
        if (i % 8 == 0)
            world_start_task(&w, i % 30, arn);
        for (unsigned turn = 0; turn < i; turn++)
            uv_run(&w.loop, UV_RUN_ONCE);
        if (i % 3 == 0)
            intake_lead(w.intake, i % 2 == 0, ++w.term);
        world_drop_intake(&w);
    }
    world_close(&w);
}
