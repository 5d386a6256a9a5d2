/* SPDX-License-Identifier: Apache-2.0
 * intake.clusters: own, all, or a list, against a local cloud that has several. Events are lost, so
 * that nothing but the comparison brings a row. */
#include "tests/unit/intake/world.h"

/* The main one with two instances, "b" with three, "c" with one. */
static void open_clusters(struct world *w)
{
    world_open_silent(w, 2);
    world_call(w, "CreateCluster", json_pack("{s:s}", "clusterName", "b"));
    world_call(w, "CreateCluster", json_pack("{s:s}", "clusterName", "c"));
    world_tell(w, "add-instances", "{\"cluster\":\"b\",\"count\":3}");
    world_tell(w, "add-instances", "{\"cluster\":\"c\",\"count\":1}");
}

/* Somebody waits for long. */
static uint64_t mono_set_ms;

uint64_t __real_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void)
{
    return __real_clock_mono_ms() + mono_set_ms;
}

static void begin_with(struct world *w, const char *clusters)
{
    if (w->intake != NULL)
        world_drop_intake(w);
    w->options.clusters = clusters;
    w->known = w->failed = 0;
    w->known_ones[0] = '\0';
    w->term++;
    world_lead(w);
}

static void lead_with(struct world *w, const char *clusters)
{
    begin_with(w, clusters);
    UNTIL(w, w->known > 0 || w->failed > 0);
}

#define ARN "arn:aws:ecs:us-east-1:111122223333:cluster/"

static bool knows(const struct world *w, const char *name)
{
    char arn[200];
    snprintf(arn, sizeof arn, ARN "%s", name);
    return intake_knows(w->intake, arn);
}

static int see_cluster(void *arg, const struct store_row *row)
{
    struct row fields;
    uint64_t *count = arg;
    cr_assert_eq(row_decode(row->record.value, row->record.value_len, &fields), 0);
    const struct row_text *of = &fields.field[ROW_CLUSTER];
    bool b = of->len > 2 && memcmp(of->data + of->len - 2, "/b", 2) == 0;
    bool c = of->len > 2 && memcmp(of->data + of->len - 2, "/c", 2) == 0;
    count[b ? 1 : c ? 2 : 0]++;
    return 0;
}

/* Live instances of the main cluster, of b and of c, as three digits. */
static unsigned instances(struct world *w)
{
    struct store_query q = {.kind = RECORD_INSTANCE};
    struct store_txn *txn;
    uint64_t count[3] = {0};
    cr_assert_eq(store_read_begin(w->store, &txn), 0);
    cr_assert_eq(store_scan(txn, &q, see_cluster, count), 0);
    store_read_end(txn);
    return (unsigned)(count[0] * 100 + count[1] * 10 + count[2]);
}

static bool is_trouble(struct world *w, const char *text)
{
    return strstr(intake_trouble(w->intake), text) != NULL;
}

Test(clusters, own_a_list_or_all)
{
    static const struct {
        const char *clusters;
        unsigned instances;
    } cases[] = {{NULL, 200},      {"own", 200}, {"b", 30},       {"own, b", 230},
                 {"b,own,b", 230}, {"all", 231}, {"own,all", 231}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world w;
        open_clusters(&w);
        lead_with(&w, cases[i].clusters);
        cr_expect_eq(w.failed, 0u, "%s: %s", cases[i].clusters, intake_trouble(w.intake));
        cr_expect_eq(instances(&w), cases[i].instances, "%s: %u", cases[i].clusters, instances(&w));
        cr_expect_str_eq(intake_trouble(w.intake), "");
        world_close(&w);
    }
}

/* What ECS does not let us read of another cluster keeps neither the scheduler nor the rest
 * waiting, is told, and stays as it is here. */
Test(clusters, one_that_is_denied)
{
    static const char *const operations[] = {"DescribeClusters", "ListContainerInstances",
                                             "ListTasks", "DescribeContainerInstances"};
    static const char *const lists[] = {"c,b,own", "all"};
    for (size_t i = 0; i < 8; i++) {
        struct world w;
        char fault[256];
        open_clusters(&w);
        lead_with(&w, "all");
        cr_assert_eq(instances(&w), 231u);
        world_tell(&w, "add-instances", "{\"count\":1}");
        snprintf(fault, sizeof fault,
                 "{\"mode\":\"error\",\"status\":400,\"code\":\"AccessDeniedException\","
                 "\"operation\":\"%s\",\"cluster\":\"b\"}",
                 operations[i / 2]);
        world_tell(&w, "fault", fault);
        lead_with(&w, lists[i % 2]);
        int64_t described = world_stat(&w, "op:ecs.DescribeContainerInstances");
        for (unsigned n = 1; n < 3; n++) { /* the first has not asked about what was told lately */
            intake_reconcile(w.intake);
            UNTIL(&w, w.known > n || w.failed > 0);
        }
        described = world_stat(&w, "op:ecs.DescribeContainerInstances") - described;
        if (i / 2 == 1) /* two of the own, two of c, none about what is left of b */
            cr_expect_eq(described, 4, "%lld calls", (long long)described);
        cr_expect_eq(w.failed, 0u, "%s, %s: %s", lists[i % 2], operations[i / 2],
                     intake_trouble(w.intake));
        cr_expect_eq(instances(&w), 331u, "%s: %u", operations[i / 2], instances(&w));
        cr_expect(knows(&w, "default") && knows(&w, "c"));
        /* Nobody asks for a description of it, or of what was told a moment ago. */
        cr_expect_eq(knows(&w, "b"), i == 1 || i / 2 == 3, "%s", operations[i / 2]);
        if (i != 1) /* all: nobody asks for a description of it */
            cr_expect(is_trouble(&w, "b cannot be read: AccessDenied"), "%s: %s", operations[i / 2],
                      intake_trouble(w.intake));
        world_close(&w);
    }
}

/* The scheduler can begin in the own cluster whatever ECS makes of the others. */
Test(clusters, the_own_one_waits_for_no_other)
{
    static const char *const operations[] = {"ListContainerInstances", "DescribeContainerInstances",
                                             "ListTasks"};
    static const char *const lists[] = {"c,b,own", "all"};
    for (size_t i = 0; i < 12; i++) {
        struct world w;
        char fault[256];
        open_clusters(&w);
        snprintf(fault, sizeof fault,
                 "{\"mode\":\"%s\",\"ms\":60000,\"operation\":\"%s\",\"cluster\":\"b\"}",
                 i % 4 < 2 ? "delay-reply" : "throttle", operations[i / 4]);
        world_tell(&w, "fault", fault);
        if (i % 2 == 1) /* nor for their names */
            world_tell(&w, "fault", "{\"mode\":\"throttle\",\"operation\":\"ListClusters\"}");
        begin_with(&w, lists[i % 2]);
        UNTIL(&w, w.known_ones[0] != '\0' || w.known > 0 || w.failed > 0);
        cr_expect_str_eq(w.known_ones, ARN "default ");
        cr_expect(knows(&w, "default") && !knows(&w, "b") && !knows(&w, "c"));
        cr_expect_eq(w.known + w.failed, 0u);
        cr_expect_eq(instances(&w) / 100, 2u, "%u", instances(&w));
        world_close(&w);
    }
}

/* The run goes on without it, and the next one is about what is left of the round. */
Test(clusters, one_that_fails_is_left_and_done_again)
{
    static const char *const lists[] = {"b,c,own", "all"};
    static const struct {
        const char *operation;
        int64_t lists, describes;
        unsigned instances;
    } cases[] = {{"ListContainerInstances", 4, 3, 201},
                 {"DescribeContainerInstances", 4, 4, 201},
                 {"ListTasks", 4, 3, 201}};
    for (size_t i = 0; i < 6; i++) {
        struct world w;
        char fault[256];
        open_clusters(&w);
        snprintf(fault, sizeof fault,
                 "{\"mode\":\"error\",\"status\":400,\"code\":\"InvalidParameterException\","
                 "\"operation\":\"%s\",\"cluster\":\"b\",\"count\":1}",
                 cases[i / 2].operation);
        world_tell(&w, "fault", fault);
        lead_with(&w, lists[i % 2]);
        cr_expect_eq(w.failed, 1u);
        cr_expect_eq(w.reconciled, 0u);
        cr_expect(knows(&w, "default") && !knows(&w, "b") && knows(&w, "c"));
        cr_expect_eq(instances(&w), cases[i / 2].instances, "%u", instances(&w));
        UNTIL(&w, w.known > 0);
        UNTIL(&w, world_figure(&w, "reconcile", "waiting") == 0 &&
                      world_figure(&w, "reconcile", "refreshing") == 0);
        cr_expect_eq(w.reconciled, 1u);
        cr_expect(knows(&w, "b"));
        cr_expect_eq(instances(&w), 231u, "%u", instances(&w));
        int64_t lists_seen = world_stat(&w, "op:ecs.ListContainerInstances");
        int64_t describes = world_stat(&w, "op:ecs.DescribeContainerInstances");
        cr_expect_eq(lists_seen, cases[i / 2].lists, "%s, %s: %lld", lists[i % 2],
                     cases[i / 2].operation, (long long)lists_seen);
        cr_expect_eq(describes, cases[i / 2].describes, "%s, %s: %lld", lists[i % 2],
                     cases[i / 2].operation, (long long)describes);
        world_close(&w);
    }
}

static bool begins_with(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

static void slow_down(struct world *w, const char *cluster, unsigned ms)
{
    char fault[128];
    snprintf(fault, sizeof fault, "{\"mode\":\"delay-reply\",\"ms\":%u,\"cluster\":\"%s\"}", ms,
             cluster);
    world_tell(w, "fault", fault);
}

/* It answers each time, if late: it is done with in turns, behind the others, and once. */
Test(clusters, a_slow_one_keeps_no_other_waiting)
{
    static const char *const lists[] = {"b,c,own", "all", "b,c,d,own", "all"};
    static const char *const expected[] = {ARN "default " ARN "c " ARN "b ",
                                           ARN "default " ARN "c " ARN "d " ARN "b ",
                                           ARN "default " ARN "d ", ARN "default " ARN "d "};
    for (size_t i = 0; i < 4; i++) {
        struct world w;
        open_clusters(&w);
        world_call(&w, "CreateCluster", json_pack("{s:s}", "clusterName", "d"));
        slow_down(&w, "b", 900);
        if (i >= 2)
            slow_down(&w, "c", 1000);
        w.options.turn_ms = 300;
        lead_with(&w, lists[i]);
        cr_expect_eq(w.failed, 0u, "%s", intake_trouble(w.intake));
        cr_expect_eq(w.known, 1u);
        cr_expect(begins_with(w.known_ones, expected[i]), "%s", w.known_ones);
        cr_expect_eq(instances(&w), 231u, "%u", instances(&w));
        cr_expect_eq(world_stat(&w, "op:ecs.ListContainerInstances"), i == 0 ? 3 : 4);
        cr_expect_eq(world_stat(&w, "op:ecs.DescribeContainerInstances"), 3);
        world_close(&w);
    }
}

/* The ARN of one of them into arn. */
static void deregister_all_of(struct world *w, const char *cluster, char arn_of_one[400])
{
    char part[64];
    json_t *truth = world_control(w, "truth", NULL);
    json_t *one;
    size_t n;
    snprintf(part, sizeof part, "container-instance/%s/", cluster);
    json_array_foreach(json_arr(truth, "instances"), n, one)
    {
        const char *arn = json_str_or(one, "containerInstanceArn", "");
        if (strstr(arn, part) == NULL)
            continue;
        snprintf(arn_of_one, 400, "%s", arn);
        world_call(
            w, "DeregisterContainerInstance",
            json_pack("{s:s,s:s,s:b}", "cluster", cluster, "containerInstance", arn, "force", 1));
    }
    json_decref(truth);
}

Test(clusters, what_is_gone_elsewhere_does_not_wait_for_a_slow_one)
{
    struct world w;
    char arn[400];
    open_clusters(&w);
    w.options.turn_ms = 200;
    lead_with(&w, "all");
    cr_assert_eq(instances(&w), 231u);
    deregister_all_of(&w, "c", arn);
    slow_down(&w, "b", 60000);
    unsigned known = w.known, failed = w.failed;
    intake_reconcile(w.intake);
    UNTIL(&w, !world_is(&w, RECORD_INSTANCE, arn, "ACTIVE"));
    cr_expect(w.known == known && w.failed == failed);
    world_close(&w);
}

/* However slow it is, the others are compared again. */
Test(clusters, one_that_takes_too_long_is_left)
{
    struct world w;
    open_clusters(&w);
    w.options.turn_ms = 200;
    slow_down(&w, "b", 2500);
    begin_with(&w, "all");
    UNTIL(&w, strstr(w.known_ones, ARN "c ") != NULL);
    mono_set_ms = 599000;
    for (unsigned i = 0; i < 50; i++)
        uv_run(&w.loop, UV_RUN_ONCE);
    cr_expect_eq(w.failed, 0u);
    mono_set_ms = 600000;
    UNTIL(&w, w.failed > 0);
    cr_expect(is_trouble(&w, "comparison of b"), "%s", intake_trouble(w.intake));
    cr_expect(!knows(&w, "b"));
    mono_set_ms = 0;
    world_close(&w);
}

Test(clusters, the_own_one_is_not_done_without)
{
    struct world w;
    open_clusters(&w);
    world_tell(&w, "fault",
               "{\"mode\":\"error\",\"status\":400,\"code\":\"AccessDeniedException\","
               "\"operation\":\"ListTasks\",\"cluster\":\"default\"}");
    lead_with(&w, "all");
    cr_assert_eq(w.known, 0u);
    cr_assert(is_trouble(&w, "AccessDenied"));
    world_close(&w);
}

/* A role that may list all clusters and describe none is enough for all. */
Test(clusters, the_own_one_is_in_the_list_of_all)
{
    struct world w;
    open_clusters(&w);
    world_tell(&w, "fault",
               "{\"mode\":\"error\",\"status\":400,\"code\":\"AccessDeniedException\","
               "\"operation\":\"DescribeClusters\"}");
    lead_with(&w, "all");
    cr_assert_eq(w.known, 1u, "%s", intake_trouble(w.intake));
    cr_assert_eq(instances(&w), 231u);
    cr_assert_eq(strncmp(w.known_ones, ARN "default ", sizeof ARN "default " - 1), 0);
    world_close(&w);
}

/* Hints about a cluster that cannot be read do not slow down what is asked of the others. */
Test(clusters, a_hint_about_a_denied_one_is_given_up)
{
    struct world w;
    char arn[400];
    open_clusters(&w);
    lead_with(&w, "own,b");
    world_tell(&w, "fault",
               "{\"mode\":\"error\",\"status\":400,\"code\":\"AccessDeniedException\","
               "\"cluster\":\"b\"}");
    intake_refresh_task(w.intake, "b", "arn:aws:ecs:us-east-1:111122223333:task/b/1");
    UNTIL(&w, world_stat(&w, "op:ecs.DescribeTasks") > 0 &&
                  world_figure(&w, "reconcile", "waiting") == 0);
    world_start_task(&w, 0, arn);
    intake_refresh_task(w.intake, NULL, arn);
    UNTIL(&w, world_row(&w, RECORD_TASK, arn, NULL)[0] != '\0');
    cr_assert_str_eq(intake_trouble(w.intake), "");
    world_close(&w);
}

/* A cluster that is deleted takes its rows with it, and is told where it was asked for by name. */
Test(clusters, one_that_is_deleted)
{
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        char arn[400];
        open_clusters(&w);
        const char *clusters = i == 0 ? "own,c" : "all";
        lead_with(&w, clusters);
        cr_assert_eq(instances(&w) % 10, 1u);
        deregister_all_of(&w, "c", arn);
        world_call(&w, "DeleteCluster", json_pack("{s:s}", "cluster", "c"));
        lead_with(&w, clusters);
        cr_assert_eq(w.failed, 0u);
        UNTIL(&w, world_figure(&w, "reconcile", "waiting") == 0 && instances(&w) % 10 == 0);
        cr_assert_eq(is_trouble(&w, "/c (INACTIVE)"), i == 0, "%s", intake_trouble(w.intake));
        world_close(&w);
    }
}

/* Rows of a cluster that is not kept any more would stay as they were for ever. */
Test(clusters, one_that_is_not_kept_any_more)
{
    struct world w;
    char arn[400];
    open_clusters(&w);
    world_tell(&w, "add-instances", "{\"cluster\":\"b\",\"count\":140}");
    world_start_task(&w, 0, arn);
    lead_with(&w, "all");
    cr_assert_eq(instances(&w), 1631u);
    lead_with(&w, "own,c");
    UNTIL(&w, instances(&w) == 201);
    cr_assert_eq(world_count(&w, RECORD_TASK), 1u);
    lead_with(&w, "all"); /* and back */
    cr_assert_eq(instances(&w), 1631u);
    world_close(&w);
}

/* While ECS answers nothing the rows are not read for it, again and again. */
Test(clusters, nothing_is_judged_without_an_answer)
{
    struct world w;
    open_clusters(&w);
    lead_with(&w, "all");
    cr_assert_eq(instances(&w), 231u);
    world_tell(&w, "fault",
               "{\"mode\":\"error\",\"status\":400,\"code\":\"AccessDeniedException\","
               "\"operation\":\"ListTasks\"}");
    lead_with(&w, "own");
    cr_assert_eq(w.known, 0u);
    cr_assert_eq(instances(&w), 231u);
    world_tell(&w, "clear-faults", "{}");
    intake_reconcile(w.intake);
    UNTIL(&w, instances(&w) == 200);
    world_close(&w);
}

/* DescribeClusters takes a hundred. */
Test(clusters, a_long_list)
{
    struct world w;
    char list[1024] = "";
    open_clusters(&w);
    for (unsigned i = 0; i < 150; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "x%u,", i);
    strncat(list, "own,b", sizeof list - strlen(list) - 1);
    lead_with(&w, list);
    cr_assert_eq(w.failed, 0u, "%s", intake_trouble(w.intake));
    cr_assert_eq(instances(&w), 230u);
    cr_assert_eq(world_stat(&w, "op:ecs.DescribeClusters"), 2);
    world_close(&w);
}

/* A queue may bring events of other regions and accounts: there is another cluster of that name. */
Test(clusters, a_namesake_elsewhere_is_foreign)
{
    static const char *const lists[] = {"own", "all"};
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        char cluster[400];
        open_clusters(&w);
        lead_with(&w, lists[i]);
        snprintf(cluster, sizeof cluster, "arn:aws:ecs:eu-west-1:111122223333:cluster/%s",
                 strrchr(json_str(w.ready, "cluster_arn"), '/') + 1);
        world_event(&w, cluster, "arn:aws:ecs:eu-west-1:111122223333:task/t/1", 1, "RUNNING");
        UNTIL(&w, world_figure(&w, "queue", "received") > 0 && world_queued(&w) == 0);
        cr_expect_eq(world_figure(&w, "queue", "foreign"), 1);
        cr_expect_eq(world_count(&w, RECORD_TASK), 0u);
        world_drop_intake(&w);
        w.options.instance_arn = "arn:aws:ecs:us-east-1:111122223333:container-instance/x/1";
        world_create(&w); /* known before anything was asked */
        world_event(&w, cluster, "arn:aws:ecs:eu-west-1:111122223333:task/t/1", 1, "RUNNING");
        intake_lead(w.intake, true, ++w.term);
        UNTIL(&w, world_figure(&w, "queue", "received") > 0);
        cr_expect_eq(world_figure(&w, "queue", "foreign"), 1);
        world_close(&w);
    }
}
