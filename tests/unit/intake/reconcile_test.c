/* SPDX-License-Identifier: Apache-2.0
 * Against ECS: everything (reconcile) and some rows (refresh), with a real store and a real client
 * against the local cloud. Events are lost, so that nothing else brings a row. */
#include <sys/syscall.h>
#include <time.h>

#include "agent/intake/intake_int.h"
#include "tests/unit/intake/world.h"

/* Somebody sets the clock. */
static time_t clock_set_s;

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    long rc = syscall(SYS_clock_gettime, clock, ts);
    if (clock == CLOCK_REALTIME)
        ts->tv_sec += clock_set_s;
    return (int)rc;
}

static void no_events(struct world *w)
{
    world_tell(w, "set", "{\"event_loss\":1}");
    w->options.queue = NULL;
}

static void reconcile(struct world *w)
{
    unsigned before = w->known;
    intake_reconcile(w->intake);
    UNTIL(w, w->known > before);
}

static unsigned turns, last_scan, scans;
static bool scanned_twice;

static void on_turn(uv_check_t *check)
{
    (void)check;
    turns++;
}

static void stop_when_known(struct world *w, bool known)
{
    if (known)
        uv_stop(&w->loop);
}

int __real_store_scan(struct store_txn *txn, const struct store_query *q, store_scan_fn fn,
                      void *arg);
int __wrap_store_scan(struct store_txn *txn, const struct store_query *q, store_scan_fn fn,
                      void *arg);
int __wrap_store_scan(struct store_txn *txn, const struct store_query *q, store_scan_fn fn,
                      void *arg)
{
    if (q->value == NULL) {
        scanned_twice = scanned_twice || (scans > 0 && last_scan == turns);
        last_scan = turns;
        scans++;
    }
    return __real_store_scan(txn, q, fn, arg);
}

/* Rows are gone through in slices, between which the loop hears others. */
Test(reconcile, goes_through_rows_in_turns_of_the_loop)
{
    struct world w;
    uv_check_t check;
    world_open(&w, 1100, 1);
    uv_check_init(&w.loop, &check);
    uv_check_start(&check, on_turn);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    scans = 0;
    scanned_twice = false;
    w.when = stop_when_known;
    intake_reconcile(w.intake);
    uv_run(&w.loop, UV_RUN_DEFAULT); /* UV_RUN_ONCE looks at timers twice a turn */
    cr_expect_geq(scans, 4u, "%u: 500, 500 and 100 instances, no task", scans);
    cr_expect(!scanned_twice);
    uv_close((uv_handle_t *)&check, NULL);
    world_close(&w);
}

Test(reconcile, ends_when_all_pages_are_stored)
{
    struct world w;
    world_open(&w, 230, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    cr_assert_eq(w.rows_when_reconciled, 230u, "%u rows", (unsigned)w.rows_when_reconciled);
    cr_assert_eq(world_figure(&w, "reconcile", "drift"), 230);
    cr_assert_eq(world_figure(&w, "reconcile", "missing"), 230);
    reconcile(&w);
    cr_assert_eq(world_figure(&w, "reconcile", "drift"), 230, "nothing was new");
    world_close(&w);
}

/* Leadership goes while the describes are under way, and comes back: rows that have come by then
 * are not asked for again. */
Test(reconcile, goes_on_where_the_last_leader_stopped)
{
    struct world w;
    world_open(&w, 700, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, world_count(&w, RECORD_INSTANCE) >= 100);
    intake_lead(w.intake, false, ++w.term);
    cr_assert_eq(w.reconciled, 0u);
    intake_lead(w.intake, true, ++w.term);
    UNTIL(&w, w.known > 0);
    cr_assert_eq(world_count(&w, RECORD_INSTANCE), 700u);
    cr_assert_leq(world_figure(&w, "reconcile", "described"), 600);
    reconcile(&w);
    cr_assert_eq(world_figure(&w, "reconcile", "described"), 700, "a later run asks for all");
    world_close(&w);
}

static bool doubt_one(void *arg, const char *arn)
{
    const struct world *w = arg;
    return strcmp(arn, world_instance(w, 1, "arn")) == 0;
}

/* It is in the store, and nobody relies on it: that it is new is no reason not to ask. */
Test(reconcile, asks_for_what_is_in_doubt_however_new_it_is)
{
    struct world w;
    world_open_silent(&w, 3);
    w.options.queue = NULL;
    w.options.in_doubt = doubt_one;
    world_lead(&w);
    UNTIL(&w, w.known == 1);
    cr_assert_eq(world_figure(&w, "reconcile", "described"), 3);
    world_drop_intake(&w);
    w.known = 0;
    w.term++;
    world_lead(&w);
    UNTIL(&w, w.known == 1);
    cr_expect_eq(world_figure(&w, "reconcile", "described"), 1);
    world_close(&w);
}

Test(reconcile, finds_what_events_did_not_tell)
{
    struct world w;
    struct record rec;
    char arn[2][400];
    world_open(&w, 3, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    world_start_task(&w, 0, arn[0]);
    world_start_task(&w, 2, arn[1]);
    world_tell(&w, "add-instances", "{\"count\":2}");
    for (size_t i = 0; i < 2; i++)
        while (!world_is(&w, RECORD_TASK, arn[i], "RUNNING"))
            reconcile(&w);
    cr_assert_eq(world_count(&w, RECORD_INSTANCE), 5u);
    cr_assert_str_eq(world_row(&w, RECORD_TASK, arn[0], &rec), "RUNNING");
    cr_assert_eq(rec.source, SOURCE_RECONCILE);
    world_close(&w);
}

Test(reconcile, buries_what_ecs_has_forgotten)
{
    struct world w;
    struct record rec;
    char arn[400], args[512];
    world_open(&w, 2, 1);
    no_events(&w);
    world_tell(&w, "set", "{\"stopped_retention_ms\":1}");
    world_lead(&w);
    UNTIL(&w, w.known > 0); /* so that no other run is under way below */
    world_start_task(&w, 0, arn);
    while (!world_is(&w, RECORD_TASK, arn, "RUNNING"))
        reconcile(&w);
    (void)world_row(&w, RECORD_TASK, arn, &rec);
    uint64_t version = rec.version.hi;
    snprintf(args, sizeof args, "{\"task\":\"%s\"}", arn);
    world_tell(&w, "kill-task", args);
    UNTIL(&w, world_stat(&w, "tasks") == 0);
    /* Not listed: refreshed, and buried. Rows of the millisecond in which it starts are left. */
    while (!world_is(&w, RECORD_TASK, arn, "gone")) {
        reconcile(&w);
        UNTIL(&w, world_figure(&w, "reconcile", "waiting") == 0);
        for (unsigned turn = 0; turn < 10; turn++)
            uv_run(&w.loop, UV_RUN_ONCE);
    }
    (void)world_row(&w, RECORD_TASK, arn, &rec);
    cr_assert_eq(rec.version.hi, version);
    cr_assert_eq(rec.version.lo, 1u);
    UNTIL(&w, world_figure(&w, "reconcile", "gone") == 1);
    cr_assert_geq(world_figure(&w, "reconcile", "stale"), 1, "its instance changed with it");
    world_close(&w);
}

/* A tombstone yields to a higher version, never to the event that it buried. */
Test(reconcile, a_late_event_does_not_undo_a_burial)
{
    static const char arn[] = "arn:aws:ecs:us-east-1:111122223333:task/other/late";
    struct world w;
    struct record rec;
    world_open(&w, 1, 1);
    world_lead(&w);
    UNTIL(&w, w.known > 0 && world_queued(&w) == 0);
    world_event(&w, json_str(w.ready, "cluster_arn"), arn, 6, "RUNNING");
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "RUNNING"));
    intake_refresh_task(w.intake, NULL, arn);
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "gone"));
    world_event(&w, json_str(w.ready, "cluster_arn"), arn, 6, "RUNNING");
    UNTIL(&w, world_queued(&w) == 0);
    cr_assert_str_eq(world_row(&w, RECORD_TASK, arn, NULL), "gone");
    world_event(&w, json_str(w.ready, "cluster_arn"), arn, 7, "RUNNING");
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "RUNNING"));
    (void)world_row(&w, RECORD_TASK, arn, &rec);
    cr_assert_eq(rec.version.hi, 7u);
    cr_assert_eq(rec.version.lo, 0u);
    world_close(&w);
}

/* ECS may not show yet what it made a moment ago, however old a clock that was set calls it. */
Test(reconcile, a_clock_that_is_set_makes_no_row_old)
{
    static const char arn[] = "arn:aws:ecs:us-east-1:111122223333:task/other/young";
    struct world w;
    world_open(&w, 1, 1);
    w.options.young_ms = 1500;
    world_lead(&w);
    UNTIL(&w, w.known > 0 && world_queued(&w) == 0);
    world_event(&w, json_str(w.ready, "cluster_arn"), arn, 6, "RUNNING");
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "RUNNING"));
    clock_set_s += 60; /* more would make signatures invalid */
    uint64_t set_ms = clock_mono_ms();
    intake_refresh_task(w.intake, NULL, arn);
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "gone"));
    cr_expect_geq(clock_mono_ms() - set_ms, w.options.young_ms, "it was not left for long enough");
    world_close(&w);
}

static void bury(struct world *w, const char *arn)
{
    struct record rec;
    (void)world_row(w, RECORD_TASK, arn, &rec);
    rec.key = arn;
    rec.value = NULL;
    rec.value_len = 0;
    rec.deleted = true;
    rec.version.lo |= 1;
    cr_assert_eq(rows_apply(w->rows, &rec, 1, NULL, NULL), 0);
    UNTIL(w, world_is(w, RECORD_TASK, arn, "gone"));
}

Test(reconcile, what_lives_comes_back_and_what_is_over_does_not)
{
    struct world w;
    struct record rec;
    char arn[400], args[512];
    world_open(&w, 1, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0); /* so that no other run is under way below */
    world_start_task(&w, 0, arn);
    while (!world_is(&w, RECORD_TASK, arn, "RUNNING"))
        reconcile(&w);
    bury(&w, arn);
    reconcile(&w);
    cr_assert_str_eq(world_row(&w, RECORD_TASK, arn, &rec), "RUNNING");
    cr_assert_eq(rec.version.lo, 2u, "the next generation");
    snprintf(args, sizeof args, "{\"task\":\"%s\"}", arn);
    world_tell(&w, "kill-task", args);
    while (!world_is(&w, RECORD_TASK, arn, "STOPPED"))
        reconcile(&w);
    bury(&w, arn); /* as the reaper does; ECS shows it for another hour */
    reconcile(&w);
    cr_assert_str_eq(world_row(&w, RECORD_TASK, arn, &rec), "gone");
    world_close(&w);
}

/* A row as a peer brings it, with whatever it likes in it; ECS never said so. */
static void forge(struct world *w, uint8_t kind, const char *arn, struct record_version version,
                  const char *status)
{
    struct buf value;
    struct row row = {0};
    const char *cluster = json_str(w->ready, "cluster_arn");
    row.field[ROW_CLUSTER] = (struct row_text){cluster, (uint32_t)strlen(cluster)};
    row.field[ROW_STATUS] = (struct row_text){status, (uint32_t)strlen(status)};
    row.json = (struct row_text){"{}", 2};
    buf_init(&value, RECORD_VALUE_MAX);
    cr_assert_eq(row_encode(&row, &value), 0);
    struct record rec = {.kind = kind,
                         .source = SOURCE_RECONCILE,
                         .key = arn,
                         .key_len = (uint16_t)strlen(arn),
                         .value = (const uint8_t *)value.data,
                         .value_len = (uint32_t)value.len,
                         .version = version,
                         .observed_unix_ms = clock_unix_ms()};
    cr_assert_eq(rows_apply_from_peers(w->rows, &rec, 1), 0);
    UNTIL(w, world_is(w, kind, arn, status));
    buf_fini(&value);
}

/* Rows carry no signature: whatever a stolen member makes up, with whatever version, lasts until
 * the next comparison. Events count for such a row as well, although their versions are lower. */
Test(reconcile, a_row_that_is_made_up_does_not_stay_whatever_its_version)
{
    static const struct record_version versions[] = {
        {1000, 0}, {UINT64_C(1) << 60, 0}, {UINT64_C(1) << 60, 7}, {UINT64_C(1) << 61, UINT64_MAX}};
    static const char nowhere[] = "arn:aws:ecs:us-east-1:111122223333:task/other/nowhere";
    struct world w;
    struct record rec;
    char arn[400], args[512];
    world_open(&w, 2, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    const char *instance = world_instance(&w, 1, "arn");
    world_start_task(&w, 0, arn);
    while (!world_is(&w, RECORD_TASK, arn, "RUNNING"))
        reconcile(&w);
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        forge(&w, RECORD_TASK, arn, versions[i], "STOPPED");
        forge(&w, RECORD_INSTANCE, instance, versions[i], "DRAINING");
        while (!world_is(&w, RECORD_TASK, arn, "RUNNING") ||
               !world_is(&w, RECORD_INSTANCE, instance, "ACTIVE"))
            reconcile(&w);
        (void)world_row(&w, RECORD_TASK, arn, &rec);
        cr_assert_geq(rec.version.hi, versions[i].hi, "newer, so that it reaches everybody");
        uint64_t before = rec.version.lo;
        reconcile(&w);
        (void)world_row(&w, RECORD_TASK, arn, &rec);
        cr_assert_eq(rec.version.lo, before, "once");
    }
    forge(&w, RECORD_TASK, nowhere, versions[1], "RUNNING");
    while (!world_is(&w, RECORD_TASK, nowhere, "gone"))
        reconcile(&w);
    /* ECS's versions are below the row's from now on. */
    world_drop_intake(&w);
    world_tell(&w, "set", "{\"event_loss\":0}");
    w.options.queue = json_str(w.ready, "queue_url");
    w.term++;
    world_lead(&w);
    unsigned runs = w.reconciled, known = w.known;
    UNTIL(&w, w.known > known);
    snprintf(args, sizeof args, "{\"task\":\"%s\"}", arn);
    world_tell(&w, "kill-task", args);
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "STOPPED"));
    cr_assert_eq(w.reconciled, runs + 1);
    world_close(&w);
}

/* Also while the clock, set back, says that it was seen only after the reconcile began. */
Test(reconcile, a_deregistered_instance_is_not_active_any_more)
{
    struct world w;
    char args[512];
    world_open(&w, 3, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    for (unsigned set_back_s = 0; set_back_s <= 60; set_back_s += 60) {
        const char *arn = world_instance(&w, set_back_s == 0 ? 1 : 2, "arn");
        cr_assert(world_is(&w, RECORD_INSTANCE, arn, "ACTIVE"));
        clock_set_s -= set_back_s;
        snprintf(args, sizeof args, "{\"instance\":\"%s\",\"force\":true}", arn);
        world_tell(&w, "deregister", args);
        for (unsigned n = 0; n < 20 && world_is(&w, RECORD_INSTANCE, arn, "ACTIVE"); n++) {
            reconcile(&w);
            UNTIL(&w, world_figure(&w, "reconcile", "waiting") == 0);
        }
        cr_assert(!world_is(&w, RECORD_INSTANCE, arn, "ACTIVE"));
        if (set_back_s == 0) /* the local cloud, set back as well, shows nobody from the future */
            cr_assert(world_is(&w, RECORD_INSTANCE, world_instance(&w, 0, "arn"), "ACTIVE"));
    }
    world_close(&w);
}

/* A row that came while the lists were asked for, but was taken in by a peer before that, is as old
 * as it says: it was not listed because it is gone. */
Test(reconcile, a_peers_row_is_as_old_as_it_says)
{
    static const char *const arns[] = {"arn:aws:ecs:us-east-1:111122223333:task/other/before",
                                       "arn:aws:ecs:us-east-1:111122223333:task/other/after"};
    struct world w;
    world_open(&w, 1, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    unsigned before = w.reconciled;
    world_tell(&w, "fault",
               "{\"mode\":\"delay\",\"ms\":1500,\"operation\":\"DescribeClusters\",\"count\":1}");
    intake_reconcile(w.intake);
    clock_set_s -= 60;
    forge(&w, RECORD_TASK, arns[0], (struct record_version){5, 0}, "RUNNING");
    clock_set_s += 120;
    forge(&w, RECORD_TASK, arns[1], (struct record_version){5, 0}, "RUNNING");
    clock_set_s -= 60;
    UNTIL(&w, w.reconciled > before);
    for (uint64_t end_ms = uv_now(&w.loop) + 20000;
         uv_now(&w.loop) < end_ms && !world_is(&w, RECORD_TASK, arns[0], "gone");)
        uv_run(&w.loop, UV_RUN_ONCE);
    cr_assert(world_is(&w, RECORD_TASK, arns[0], "gone"));
    cr_assert(world_is(&w, RECORD_TASK, arns[1], "RUNNING"), "the lists need not have had it");
    world_close(&w);
}

Test(reconcile, goes_on_through_faults)
{
    static const char *const faults[] = {
        "{\"mode\":\"throttle\",\"operation\":\"ListTasks\",\"count\":2}",
        "{\"mode\":\"error\",\"status\":500,\"operation\":\"DescribeClusters\",\"count\":1}",
        "{\"mode\":\"reset\",\"operation\":\"ListContainerInstances\",\"count\":2}",
        "{\"mode\":\"truncate\",\"operation\":\"DescribeContainerInstances\",\"count\":2}",
        ("{\"mode\":\"error\",\"status\":400,\"code\":\"AccessDeniedException\",\"operation\":"
         "\"ListTasks\",\"count\":1}"),
    };
    struct world w;
    world_open(&w, 120, 1);
    no_events(&w);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        world_tell(&w, "fault", faults[i]);
    world_lead(&w);
    UNTIL(&w, w.failed > 0);
    cr_assert_eq(w.reconciled, 0u);
    cr_assert_neq(intake_trouble(w.intake)[0], '\0');
    UNTIL(&w, w.known > 0); /* by itself */
    cr_assert_eq(w.rows_when_reconciled, 120u);
    world_close(&w);
}

/* A leader's first run waits three seconds for a small answer and asks again; where that was not
 * enough it waits as long as for any other. */
Test(reconcile, asks_again_soon_when_all_wait_for_it)
{
    for (unsigned failures = 0; failures < 2; failures++) {
        struct world w;
        world_open(&w, 1, 1);
        no_events(&w);
        if (failures > 0) {
            world_tell(&w, "fault",
                       "{\"mode\":\"error\",\"status\":400,\"code\":\"AccessDeniedException\","
                       "\"operation\":\"DescribeClusters\",\"count\":1}");
            world_lead(&w);
            UNTIL(&w, w.failed > 0);
        }
        world_tell(&w, "fault",
                   "{\"mode\":\"delay-reply\",\"ms\":5000,\"operation\":\"DescribeClusters\","
                   "\"count\":1}");
        if (failures == 0)
            world_lead(&w);
        UNTIL(&w, w.known > 0);
        cr_assert_eq(w.failed, failures);
        cr_assert_eq(world_stat(&w, "op:ecs.DescribeClusters"), 2);
        world_close(&w);
    }
}

/* Nothing is scheduled before the first comparison of a leadership, so that is tried again soon,
 * however often it failed, and in an earlier one. */
Test(reconcile, is_tried_again_soon_while_all_wait_for_it)
{
    struct world w;
    world_open(&w, 1, 1);
    no_events(&w);
    world_tell(&w, "fault",
               "{\"mode\":\"error\",\"status\":400,\"code\":\"AccessDeniedException\","
               "\"operation\":\"DescribeClusters\"}");
    world_lead(&w);
    UNTIL(&w, w.failed > 0);
    w.intake->reconcile_failures = 9;
    intake_reconcile(w.intake);
    UNTIL(&w, w.failed > 1);
    cr_assert_leq(uv_timer_get_due_in(&w.intake->reconcile_timer), 4250);
    intake_lead(w.intake, false, 1);
    intake_lead(w.intake, true, 2);
    UNTIL(&w, w.failed > 2);
    cr_assert_leq(uv_timer_get_due_in(&w.intake->reconcile_timer), 2125);
    world_close(&w);
}

Test(reconcile, a_cluster_that_is_not_there)
{
    struct world w;
    world_open(&w, 2, 1);
    no_events(&w);
    w.options.queue = json_str(w.ready, "queue_url");
    w.options.clusters = "nowhere";
    world_lead(&w);
    UNTIL(&w, w.failed > 0);
    cr_assert_neq(strstr(intake_trouble(w.intake), "nowhere"), NULL, "%s",
                  intake_trouble(w.intake));
    world_drop_intake(&w);
    w.options.clusters = "nowhere, own"; /* does not keep the other waiting, but is told */
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    cr_assert_eq(world_count(&w, RECORD_INSTANCE), 2u);
    cr_assert_neq(strstr(intake_trouble(w.intake), "nowhere"), NULL);
    world_drop_intake(&w);
    w.options.clusters = "all";
    w.known = 0;
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    cr_assert_str_eq(intake_trouble(w.intake), "");
    world_close(&w);
}

Test(refresh, describes_what_it_is_asked_for_and_survives_nonsense)
{
    struct world w;
    char arn[400];
    world_open(&w, 2, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    world_start_task(&w, 0, arn);
    intake_refresh_task(w.intake, NULL, "");
    intake_refresh_task(w.intake, NULL, "rm -rf");
    intake_refresh_task(w.intake, NULL, "arn:aws:s3:::bucket");
    intake_refresh_instance(w.intake, "other", "arn:aws:ecs:us-east-1:1:container-instance/o/x");
    cr_assert_eq(world_figure(&w, "reconcile", "waiting"), 1, "only what may be an ARN");
    while (!world_is(&w, RECORD_TASK, arn, "RUNNING")) {
        intake_refresh_task(w.intake, NULL, arn);
        UNTIL(&w, world_figure(&w, "reconcile", "waiting") == 0);
        uv_run(&w.loop, UV_RUN_ONCE);
    }
    world_close(&w);
}

/* Whoever did not believe a peer's row wants to know that ECS shows the same. */
Test(refresh, tells_of_what_is_no_news)
{
    static const char nowhere[] = "arn:aws:ecs:us-east-1:111122223333:task/other/nowhere";
    struct world w;
    char arn[400];
    world_open(&w, 1, 1);
    no_events(&w);
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    world_start_task(&w, 0, arn);
    while (!world_is(&w, RECORD_TASK, arn, "RUNNING"))
        reconcile(&w);
    w.shown = 0;
    intake_refresh_task(w.intake, NULL, arn);
    UNTIL(&w, w.shown > 0);
    cr_assert_str_eq(w.shown_key, arn);
    forge(&w, RECORD_TASK, nowhere, (struct record_version){1000, 0}, "RUNNING");
    while (!world_is(&w, RECORD_TASK, nowhere, "gone"))
        reconcile(&w);
    w.shown_gone = 0;
    intake_refresh_task(w.intake, NULL, nowhere);
    UNTIL(&w, w.shown_gone > 0);
    cr_assert_str_eq(w.shown_key, nowhere);
    world_close(&w);
}

/* Before the reconcile has resolved the cluster's name, a hint comes with it. */
Test(refresh, rows_carry_the_clusters_arn)
{
    struct world w;
    struct store_txn *txn;
    uint64_t n = 0;
    world_open(&w, 2, 1);
    no_events(&w);
    world_tell(&w, "fault",
               "{\"mode\":\"delay\",\"ms\":400,\"operation\":\"DescribeClusters\",\"count\":1}");
    world_lead(&w);
    intake_refresh_instance(w.intake, NULL, world_instance(&w, 1, "arn"));
    UNTIL(&w, world_is(&w, RECORD_INSTANCE, world_instance(&w, 1, "arn"), "ACTIVE"));
    cr_assert_eq(w.reconciled, 0u);
    cr_assert_eq(store_read_begin(w.store, &txn), 0);
    cr_assert_eq(
        store_count(txn, RECORD_INSTANCE, ROW_CLUSTER, json_str(w.ready, "cluster_arn"), &n), 0);
    store_read_end(txn);
    cr_assert_eq(n, 1u);
    world_close(&w);
}

Test(local, the_own_ecs_agent_gives_hints)
{
    struct world w;
    char arn[400];
    world_open(&w, 2, 1);
    no_events(&w);
    w.options.ecs_agent_endpoint = world_instance(&w, 0, "ecs_agent");
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    world_start_task(&w, 0, arn);
    UNTIL(&w, w.hints > 0);
    cr_assert_str_eq(w.hint, arn);
    intake_refresh_task(w.intake, NULL, w.hint);
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "RUNNING"));
    UNTIL(&w, world_figure(&w, "local", "refreshed") == 1);
    cr_assert_eq(world_figure(&w, "local", "told"), 0, "no event came");
    world_close(&w);
}

/* How late an event came is the time since the own ECS agent showed the same. */
Test(local, an_event_that_comes_later_is_measured)
{
    struct world w;
    char arn[400];
    world_open(&w, 2, 1);
    w.options.ecs_agent_endpoint = world_instance(&w, 0, "ecs_agent");
    world_lead(&w);
    UNTIL(&w, w.known > 0);
    world_tell(&w, "set", "{\"event_delay_ms\":6000}");
    world_start_task(&w, 0, arn);
    UNTIL(&w, w.hints > 0); /* nobody acts on them */
    UNTIL(&w, world_is(&w, RECORD_TASK, arn, "RUNNING"));
    UNTIL(&w, world_figure(&w, "local", "told") == 1);
    cr_assert_gt(world_figure(&w, "local", "lag_ms"), 0);
    cr_assert_eq(world_figure(&w, "local", "refreshed"), 0);
    world_close(&w);
}
