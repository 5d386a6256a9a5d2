/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/plan.h"

#include <stdio.h>
#include <string.h>

#include "world.h"

#define ACTIONS 32

struct bench {
    struct model model;
    struct plan_pair pairs[64];
    struct plan_verdict verdicts[64];
    struct plan_action actions[ACTIONS];
    struct plan_output out;
    struct plan_environment env;
    struct prng prng;
    uint64_t now_ms;
};

static void bench_init(struct bench *b)
{
    memset(b, 0, sizeof *b);
    model_init(&b->model, 32, 64, test_resize, NULL);
    prng_seed(&b->prng, 1);
    b->now_ms = 1000000;
    b->out.actions = b->actions;
    b->out.action_cap = ACTIONS;
    b->out.verdicts = b->verdicts;
    b->env = (struct plan_environment){.group = "daemon:logs",
                                       .cluster = CLUSTER,
                                       .deployment = "new",
                                       .disconnect_grace_ms = 30000,
                                       .drain_wait_ms = 60000};
}

static void run(struct bench *b)
{
    plan_run(&b->env, &b->model, b->pairs, b->now_ms, &b->out);
}

static struct model_instance *active(struct bench *b, const char *arn, uint64_t version)
{
    return put_instance(&b->model, (struct instance_spec){arn, "ACTIVE", true, version, NULL, 0},
                        b->now_ms);
}

static void task(struct bench *b, const char *arn, const char *inst, const char *deployment,
                 const char *status, const char *desired, uint64_t version)
{
    put_task(&b->model,
             (struct task_spec){arn, inst, "daemon:logs", deployment, status, desired, version, 1},
             b->now_ms);
}

#define EXPECT_PLAN(b, n)                                                                          \
    do {                                                                                           \
        run(b);                                                                                    \
        cr_assert_eq((b)->out.action_count, (size_t)(n), "%zu actions", (b)->out.action_count);    \
    } while (0)

Test(plan, covers_and_then_rests)
{
    struct bench b;
    bench_init(&b);
    struct model_instance *inst = active(&b, "i", 1);
    EXPECT_PLAN(&b, 1);
    cr_expect_eq(b.actions[0].kind, ACTION_START);
    cr_expect_eq(b.out.counts.desired, 1);
    EXPECT_PLAN(&b, 1); /* planning alone changes nothing */
    plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.verdicts[0].reason, PLAN_ASKED);
    plan_pair_accepted(&b.pairs[0], b.now_ms);
    EXPECT_PLAN(&b, 0);
    task(&b, "t", "i", "new", "PENDING", "RUNNING", 1);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.counts.pending, 1);
    cr_expect_eq(b.pairs[0].phase, PAIR_IDLE);
    task(&b, "t", "i", "new", "RUNNING", "RUNNING", 2);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.counts.running, 1);
    cr_expect_eq(b.out.deadline_ms, UINT64_MAX);
    model_fini(&b.model);
}

Test(plan, an_accepted_task_never_seen_is_settled)
{
    struct bench b;
    bench_init(&b);
    struct model_instance *inst = active(&b, "i", 1);
    plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
    plan_pair_accepted(&b.pairs[0], b.now_ms);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.deadline_ms, b.now_ms + PLAN_ARRIVAL_MS);
    b.now_ms += PLAN_ARRIVAL_MS;
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.pairs[0].phase, PAIR_UNKNOWN);
    plan_pair_release(&b.pairs[0]);
    EXPECT_PLAN(&b, 1);
    model_fini(&b.model);
}

/* A former leader's start of an earlier deployment is heard of when an own one is under way. */
Test(plan, a_doubt_neither_ends_nor_hides_what_is_under_way)
{
    struct bench b;
    bench_init(&b);
    active(&b, "i", 1);
    struct model_instance *inst = b.model.instances[0];
    plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
    plan_pair_doubt(&b.pairs[0], inst);
    plan_pair_settled(&b.pairs[0]);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.pairs[0].phase, PAIR_ASKED);
    plan_pair_doubt(&b.pairs[0], inst);
    plan_pair_doubt(&b.pairs[0], inst);
    plan_pair_release(&b.pairs[0]);
    plan_pair_settled(&b.pairs[0]);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.verdicts[0].reason, PLAN_SETTLING);
    plan_pair_settled(&b.pairs[0]);
    EXPECT_PLAN(&b, 1);
    plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
    plan_pair_doubt(&b.pairs[0], inst);
    plan_pair_unknown(&b.pairs[0], b.now_ms);
    plan_pair_settled(&b.pairs[0]); /* not yet by whoever settles this one */
    EXPECT_PLAN(&b, 0);
    plan_pair_doubt(&b.pairs[0], inst);
    b.pairs[0].tended = true;
    plan_pair_settled(&b.pairs[0]);
    EXPECT_PLAN(&b, 1);
    model_fini(&b.model);
}

Test(plan, replaces_stop_first)
{
    struct bench b;
    bench_init(&b);
    active(&b, "i", 1);
    task(&b, "old", "i", "before", "RUNNING", "RUNNING", 1);
    EXPECT_PLAN(&b, 1);
    cr_expect_eq(b.actions[0].kind, ACTION_STOP);
    cr_expect_eq(b.actions[0].why, PLAN_SUPERSEDED);
    cr_expect_eq(b.verdicts[0].kind, VERDICT_REPLACE);
    b.actions[0].task->stop_again_ms = b.now_ms + PLAN_STOP_RETRY_MS;
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.deadline_ms, b.now_ms + PLAN_STOP_RETRY_MS);
    b.now_ms += PLAN_STOP_RETRY_MS;
    EXPECT_PLAN(&b, 1); /* nothing came of it: asked again */
    task(&b, "old", "i", "before", "RUNNING", "STOPPED", 2);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.verdicts[0].reason, PLAN_STOPPING);
    task(&b, "old", "i", "before", "STOPPED", "STOPPED", 3);
    EXPECT_PLAN(&b, 1);
    cr_expect_eq(b.actions[0].kind, ACTION_START);
    model_fini(&b.model);
}

Test(plan, keeps_the_running_then_the_older_of_duplicates)
{
    static const struct {
        const char *first, *second, *stopped;
    } cases[] = {
        {"RUNNING", "RUNNING", "b"},
        {"PENDING", "RUNNING", "a"},
        {"RUNNING", "PENDING", "b"},
        {"PENDING", "PENDING", "b"},
    };
    for (size_t i = 0; i < 4; i++) {
        struct bench b;
        char arn[MODEL_ARN_MAX];
        bench_init(&b);
        active(&b, "i", 1);
        put_task(
            &b.model,
            (struct task_spec){"b", "i", "daemon:logs", "new", cases[i].second, "RUNNING", 1, 20},
            1);
        put_task(
            &b.model,
            (struct task_spec){"a", "i", "daemon:logs", "new", cases[i].first, "RUNNING", 1, 10},
            1);
        EXPECT_PLAN(&b, 1);
        cr_expect_eq(b.actions[0].why, PLAN_DUPLICATE);
        cr_expect_str_eq(model_task_arn(b.actions[0].task, arn), cases[i].stopped);
        model_fini(&b.model);
    }
}

Test(plan, touches_only_its_own)
{
    struct bench b;
    char arn[MODEL_ARN_MAX];
    bench_init(&b);
    b.env.deleting = true;
    active(&b, "i", 1);
    put_task(&b.model,
             (struct task_spec){"x", "i", "daemon:other", "new", "RUNNING", "RUNNING", 1, 1}, 1);
    put_task(&b.model,
             (struct task_spec){"y", "i", "family:logs", "new", "RUNNING", "RUNNING", 1, 1}, 1);
    put_task(&b.model, (struct task_spec){"z", "i", NULL, NULL, "RUNNING", "RUNNING", 1, 1}, 1);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.counts.live, 0);
    task(&b, "t", "i", "new", "RUNNING", "RUNNING", 1);
    EXPECT_PLAN(&b, 1);
    cr_expect_str_eq(model_task_arn(b.actions[0].task, arn), "t");
    cr_expect_eq(b.out.counts.live, 1);
    model_fini(&b.model);
}

Test(plan, waits_for_the_agent)
{
    struct bench b;
    bench_init(&b);
    active(&b, "i", 1);
    task(&b, "old", "i", "before", "RUNNING", "RUNNING", 1);
    put_instance(&b.model, (struct instance_spec){"i", "ACTIVE", false, 2, NULL, 0}, b.now_ms);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.counts.desired, 1);
    cr_expect_eq(b.out.deadline_ms, b.now_ms + 30000);
    b.now_ms += 30000;
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.counts.desired, 0); /* does not hold up a deployment */
    cr_expect_eq(b.verdicts[0].reason, PLAN_UNREACHABLE);
    b.env.deleting = true;
    EXPECT_PLAN(&b, 1);
    task(&b, "old", "i", "before", "RUNNING", "STOPPED", 2);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.counts.live, 0); /* a dead agent does not hold up a deletion */
    model_fini(&b.model);
}

Test(plan, leaves_a_draining_instance_last)
{
    struct bench b;
    bench_init(&b);
    active(&b, "i", 1);
    task(&b, "t", "i", "new", "RUNNING", "RUNNING", 1);
    put_task(&b.model,
             (struct task_spec){"app", "i", "service:web", "x", "RUNNING", "RUNNING", 1, 1}, 1);
    put_instance(&b.model, (struct instance_spec){"i", "DRAINING", true, 2, NULL, 0}, b.now_ms);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.out.deadline_ms, b.now_ms + 60000);
    b.now_ms += 60000;
    EXPECT_PLAN(&b, 1);
    cr_expect_eq(b.actions[0].why, PLAN_DRAINING);
    b.now_ms -= 60000;
    put_task(&b.model,
             (struct task_spec){"app", "i", "service:web", "x", "STOPPED", "STOPPED", 2, 1}, 1);
    EXPECT_PLAN(&b, 1);
    model_fini(&b.model);
}

Test(plan, matches_all_attributes_and_the_expression)
{
    static const struct model_attribute have[] = {{"color", "red"}, {"gpu", NULL}};
    static const struct model_attribute wants[] = {{"color", "red"}, {"gpu", NULL}, {"gpu", "1"}};
    struct bench b;
    bench_init(&b);
    put_instance(&b.model, (struct instance_spec){"i", "ACTIVE", true, 1, have, 2}, b.now_ms);
    put_instance(&b.model, (struct instance_spec){"j", "ACTIVE", true, 1, NULL, 0}, b.now_ms);
    b.env.attributes = wants;
    b.env.attribute_count = 2;
    EXPECT_PLAN(&b, 1);
    cr_expect_str_eq(b.actions[0].instance->arn, "i");
    static struct select sel;
    cr_assert_eq(select_parse(&sel, "attribute:color != red", NULL, NULL), 0);
    b.env.expression = &sel;
    EXPECT_PLAN(&b, 0);
    b.env.attribute_count = 0;
    EXPECT_PLAN(&b, 1);
    cr_expect_str_eq(b.actions[0].instance->arn, "j");
    task(&b, "t", "i", "new", "RUNNING", "RUNNING", 1); /* no longer matches */
    EXPECT_PLAN(&b, 2);
    cr_expect_eq(b.actions[0].why, PLAN_NOT_MATCHING);
    b.env.cluster = "elsewhere";
    EXPECT_PLAN(&b, 0);
    b.env.cluster = CLUSTER;
    b.env.expression = NULL;
    b.env.attributes = wants + 2;
    b.env.attribute_count = 1;
    EXPECT_PLAN(&b, 1); /* a valueless attribute is not "1": the task goes */
    cr_expect_eq(b.actions[0].kind, ACTION_STOP);
    model_fini(&b.model);
}

Test(plan, pauses_longer_after_each_failure)
{
    struct bench b;
    bench_init(&b);
    struct model_instance *inst = active(&b, "i", 1);
    uint64_t least = 500, most = 1000;
    for (int i = 0; i < 14; i++) {
        plan_pair_failed(&b.pairs[0], inst, PLAN_FAILED, b.now_ms, &b.prng);
        if (i == 0) { /* bound to the instance by the first run */
            plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
            plan_pair_failed(&b.pairs[0], inst, PLAN_FAILED, b.now_ms, &b.prng);
        }
        EXPECT_PLAN(&b, 0);
        cr_expect_eq(b.out.counts.failed, 1);
        uint64_t pause = b.out.deadline_ms - b.now_ms;
        cr_expect(pause >= least && pause <= most, "failure %d: %llu", i,
                  (unsigned long long)pause);
        least = most = most * 2 > 300000 ? 300000 : most * 2;
        least /= 2;
        b.now_ms = b.out.deadline_ms;
        EXPECT_PLAN(&b, 1);
    }
    b.env.deployment = "newer"; /* another deployment starts afresh */
    plan_pair_failed(&b.pairs[0], inst, PLAN_FAILED, b.now_ms, &b.prng);
    EXPECT_PLAN(&b, 1);
    model_fini(&b.model);
}

Test(plan, waits_for_what_can_help)
{
    static const struct model_attribute color = {"color", "red"};
    static const struct {
        const char *reason;
        enum plan_reason expected;
        bool by_change, by_attributes, by_time;
    } cases[] = {
        {"RESOURCE:MEMORY", PLAN_RESOURCE, true, true, true},
        {"AGENT", PLAN_AGENT, true, true, true},
        {"ATTRIBUTE", PLAN_ATTRIBUTE, false, true, false},
        {"LOCATION", PLAN_LOCATION, false, true, false},
        {"MISSING", PLAN_MISSING, true, true, true},
        {"INACTIVE", PLAN_INACTIVE, true, true, true},
        {"SOMETHING ELSE", PLAN_FAILED, false, false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int how = 0; how < 3; how++) {
            struct bench b;
            bench_init(&b);
            struct model_instance *inst = active(&b, "i", 1);
            plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
            enum plan_reason reason = plan_reason_of_failure(cases[i].reason);
            cr_expect_eq(reason, cases[i].expected);
            plan_pair_failed(&b.pairs[0], inst, reason, b.now_ms, &b.prng);
            EXPECT_PLAN(&b, 0);
            cr_expect_eq(b.verdicts[0].reason, cases[i].expected);
            bool due = how == 0   ? cases[i].by_change
                       : how == 1 ? cases[i].by_attributes
                                  : cases[i].by_time;
            if (how == 0)
                active(&b, "i", 2);
            else if (how == 1)
                put_instance(&b.model, (struct instance_spec){"i", "ACTIVE", true, 2, &color, 1},
                             1);
            if (how < 2 && due) {
                EXPECT_PLAN(&b, 0); /* not within the pause */
                b.now_ms += PLAN_BACKOFF_FIRST_MS;
            }
            if (how == 2)
                b.now_ms += 10 * PLAN_BACKOFF_MAX_MS;
            EXPECT_PLAN(&b, due);
            model_fini(&b.model);
        }
    }
}

/* The agent was connected again before ECS's refusal came: nothing more will change. */
Test(plan, a_change_before_the_answer_counts)
{
    struct bench b;
    bench_init(&b);
    struct model_instance *inst = active(&b, "i", 1);
    plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
    inst = active(&b, "i", 2);
    plan_pair_failed(&b.pairs[0], inst, PLAN_AGENT, b.now_ms, &b.prng);
    EXPECT_PLAN(&b, 0);
    b.now_ms += PLAN_BACKOFF_FIRST_MS;
    EXPECT_PLAN(&b, 1);
    model_fini(&b.model);
}

/* The agent was connected again, but AWS had an outage when ECS was asked: nothing more will
 * change, and what the first failure waited for has come. */
Test(plan, a_retry_that_came_to_nothing_is_repeated_at_once)
{
    static const struct model_attribute color = {"color", "red"};
    static const enum plan_reason reasons[] = {PLAN_AGENT, PLAN_ATTRIBUTE};
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        struct bench b;
        bench_init(&b);
        struct model_instance *inst = active(&b, "i", 1);
        plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
        plan_pair_failed(&b.pairs[0], inst, reasons[i], b.now_ms, &b.prng);
        put_instance(&b.model, (struct instance_spec){"i", "ACTIVE", true, 2, &color, 1}, 1);
        b.now_ms += PLAN_BACKOFF_FIRST_MS;
        EXPECT_PLAN(&b, 1);
        plan_pair_asked(&b.pairs[0], model_find_instance(&b.model, "i"), "new", b.now_ms);
        EXPECT_PLAN(&b, 0);
        plan_pair_release(&b.pairs[0]);
        EXPECT_PLAN(&b, 1);
        model_fini(&b.model);
    }
}

/* Nothing has changed since ECS was asked, though much had before: it would refuse again. */
Test(plan, a_change_before_the_question_does_not_count)
{
    struct bench b;
    bench_init(&b);
    (void)active(&b, "i", 1);
    struct model_instance *inst = active(&b, "i", 2);
    plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
    plan_pair_failed(&b.pairs[0], inst, PLAN_AGENT, b.now_ms, &b.prng);
    b.now_ms += PLAN_BACKOFF_FIRST_MS;
    EXPECT_PLAN(&b, 0);
    (void)active(&b, "i", 3);
    EXPECT_PLAN(&b, 1);
    model_fini(&b.model);
}

Test(plan, a_task_that_ran_well_is_replaced_at_once)
{
    struct bench b;
    bench_init(&b);
    struct model_instance *inst = active(&b, "i", 1);
    EXPECT_PLAN(&b, 1);
    plan_pair_died(&b.pairs[0], inst, "new", 59999, b.now_ms, &b.prng);
    EXPECT_PLAN(&b, 0);
    plan_pair_died(&b.pairs[0], inst, "new", -1, b.now_ms, &b.prng);
    EXPECT_PLAN(&b, 0);
    cr_expect_eq(b.pairs[0].failures, 2);
    plan_pair_died(&b.pairs[0], inst, "new", 60000, b.now_ms, &b.prng);
    EXPECT_PLAN(&b, 1);
    cr_expect_eq(b.pairs[0].failures, 0);
    model_fini(&b.model);
}

Test(plan, a_reused_slot_forgets)
{
    struct bench b;
    bench_init(&b);
    struct model_instance *inst = active(&b, "i", 1);
    plan_pair_asked(&b.pairs[0], inst, "new", b.now_ms);
    model_del_instance(&b.model, "i");
    active(&b, "j", 1);
    EXPECT_PLAN(&b, 1);
    model_fini(&b.model);
}

/* ---- exhaustive ------------------------------------------------------------------ */

enum { NO_TASK, NEW_PENDING, NEW_RUNNING, OLD_RUNNING, NEW_STOPPING, NEW_STOPPED, TASK_STATES };
enum { CONNECTED, DISCONNECTED, DRAINING, INACTIVE, PLACES };
static const struct model_attribute in_group = {"in", "yes"};

struct sim_task {
    bool used, current, wanted;
    int status; /* 0 pending 1 running 2 stopped */
    uint64_t version;
};
struct sim {
    int place[3];
    bool matches[3];
    struct sim_task tasks[3][8];
};

static void sim_put(struct sim *s, int inst, int n, int state)
{
    s->tasks[inst][n] = (struct sim_task){
        .used = state != NO_TASK,
        .current = state != OLD_RUNNING,
        .wanted = state != NEW_STOPPING && state != NEW_STOPPED,
        .status = state == NEW_PENDING   ? 0
                  : state == NEW_STOPPED ? 2
                                         : 1,
        .version = 1,
    };
}

static const char *const inst_arn[] = {"i0", "i1", "i2"};

static void sim_show(const struct sim *s, struct bench *b, int count)
{
    static const char *const status[] = {"ACTIVE", "ACTIVE", "DRAINING", "INACTIVE"};
    for (int i = 0; i < count; i++) {
        put_instance(&b->model,
                     (struct instance_spec){inst_arn[i], status[s->place[i]],
                                            s->place[i] == CONNECTED || s->place[i] == DRAINING, 1,
                                            s->matches[i] ? &in_group : NULL, s->matches[i]},
                     b->now_ms);
        for (int n = 0; n < 8; n++) {
            const struct sim_task *t = &s->tasks[i][n];
            char arn[16];
            snprintf(arn, sizeof arn, "t%d.%d", i, n);
            static const char *const task_status[] = {"PENDING", "RUNNING", "STOPPED"};
            if (t->used)
                put_task(&b->model,
                         (struct task_spec){arn, inst_arn[i], "daemon:logs",
                                            t->current ? "new" : "before", task_status[t->status],
                                            t->wanted ? "RUNNING" : "STOPPED", t->version, n},
                         b->now_ms);
        }
    }
}

static int live_on(const struct sim *s, int i)
{
    int n = 0;
    for (int k = 0; k < 8; k++)
        n += s->tasks[i][k].used && s->tasks[i][k].status != 2;
    return n;
}

static void sim_act(struct sim *s, struct bench *b)
{
    bool started[3] = {false};
    for (size_t a = 0; a < b->out.action_count; a++) {
        struct plan_action *action = &b->actions[a];
        int i = action->instance->arn[1] - '0';
        if (action->kind == ACTION_START) {
            cr_assert(!started[i], "two starts on one instance");
            cr_assert_eq(live_on(s, i), 0, "a start beside a live task");
            cr_assert(s->place[i] == CONNECTED && s->matches[i]);
            started[i] = true;
            int n = 0;
            while (s->tasks[i][n].used)
                n++;
            cr_assert_lt(n, 8);
            sim_put(s, i, n, NEW_PENDING);
            plan_pair_asked(&b->pairs[action->instance->slot], action->instance, "new", b->now_ms);
            plan_pair_accepted(&b->pairs[action->instance->slot], b->now_ms);
        } else {
            char arn[MODEL_ARN_MAX];
            struct sim_task *t = &s->tasks[i][model_task_arn(action->task, arn)[3] - '0'];
            cr_assert(t->used && t->wanted && t->status != 2, "a stop of nothing");
            t->wanted = false;
            t->version++;
            action->task->stop_again_ms = b->now_ms + PLAN_STOP_RETRY_MS;
        }
    }
}

static void sim_advance(struct sim *s)
{
    for (int i = 0; i < 3; i++) {
        for (int n = 0; n < 8; n++) {
            struct sim_task *t = &s->tasks[i][n];
            bool moves = t->used && (t->wanted ? t->status == 0 : t->status != 2) &&
                         s->place[i] != DISCONNECTED && s->place[i] != INACTIVE;
            if (!moves)
                continue;
            t->status = t->wanted ? 1 : 2;
            t->version++;
        }
    }
}

static void check_converged(const struct sim *s, const struct sim *before, int count, bool deleting)
{
    for (int i = 0; i < count; i++) {
        int current = 0, others = 0, wanted = 0;
        for (int n = 0; n < 8; n++) {
            const struct sim_task *t = &s->tasks[i][n];
            if (!t->used || t->status == 2)
                continue;
            current += t->current && t->wanted && t->status == 1;
            others += !(t->current && t->wanted);
            wanted += t->wanted;
        }
        if (s->place[i] == INACTIVE || (s->place[i] == DISCONNECTED && !deleting)) {
            cr_expect_eq(memcmp(s->tasks[i], before->tasks[i], sizeof s->tasks[i]), 0);
            continue;
        }
        if (deleting)
            cr_expect_eq(wanted, 0);
        if (s->place[i] == DISCONNECTED)
            continue;
        bool covered = s->place[i] == CONNECTED && s->matches[i] && !deleting;
        cr_expect_eq(current, covered ? 1 : 0);
        cr_expect_eq(others, 0);
    }
}

static void converge(const struct sim *start, int count, bool deleting)
{
    struct bench b;
    bench_init(&b);
    b.env.attributes = &in_group;
    b.env.attribute_count = 1;
    b.env.deleting = deleting;
    struct sim s = *start;
    sim_show(&s, &b, count);
    size_t acted = 1;
    for (int round = 0; round < 12; round++) {
        run(&b);
        struct plan_action first[ACTIONS];
        acted = b.out.action_count;
        memcpy(first, b.actions, sizeof first);
        run(&b); /* the same again: nothing in the plan depends on having planned */
        cr_assert_eq(acted, b.out.action_count);
        cr_assert_eq(memcmp(first, b.actions, acted * sizeof first[0]), 0);
        sim_act(&s, &b);
        sim_advance(&s);
        b.now_ms += 1000;
        sim_show(&s, &b, count);
    }
    cr_assert_eq(acted, 0, "did not come to rest");
    cr_assert(!deleting || b.out.counts.live == 0);
    check_converged(&s, start, count, deleting);
    model_fini(&b.model);
}

Test(plan, converges_from_every_state_of_one_instance)
{
    for (int place = 0; place < PLACES; place++)
        for (int matches = 0; matches < 2; matches++)
            for (int a = 0; a < TASK_STATES; a++)
                for (int c = 0; c < TASK_STATES; c++)
                    for (int deleting = 0; deleting < 2; deleting++) {
                        struct sim s = {0};
                        s.place[0] = place;
                        s.matches[0] = matches;
                        sim_put(&s, 0, 0, a);
                        sim_put(&s, 0, 1, c);
                        converge(&s, 1, deleting);
                    }
}

Test(plan, converges_from_every_state_of_three_instances)
{
    enum { PAIRS = TASK_STATES * (TASK_STATES + 1) / 2 };
    int pairs[PAIRS][2], n = 0;
    for (int a = 0; a < TASK_STATES; a++)
        for (int c = a; c < TASK_STATES; c++, n++)
            memcpy(pairs[n], (int[]){a, c}, sizeof pairs[n]);
    for (int code = 0; code < PAIRS * PAIRS * PAIRS; code++) {
        struct sim s = {0};
        int rest = code;
        for (int i = 0; i < 3; i++, rest /= PAIRS) {
            s.matches[i] = true;
            s.place[i] = (code + i) % 5 == 4 ? DRAINING : CONNECTED;
            sim_put(&s, i, 0, pairs[rest % PAIRS][0]);
            sim_put(&s, i, 1, pairs[rest % PAIRS][1]);
        }
        converge(&s, 3, code % 7 == 0);
    }
}

Test(plan, says_when_its_actions_did_not_fit)
{
    struct bench b;
    bench_init(&b);
    active(&b, "i", 1);
    active(&b, "j", 1);
    b.out.action_cap = 1;
    EXPECT_PLAN(&b, 1);
    cr_expect(b.out.truncated);
    model_fini(&b.model);
}
