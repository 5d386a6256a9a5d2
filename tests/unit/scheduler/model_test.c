/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/model.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/hash.h"
#include "agent/base/prng.h"
#include "scheduler/model_pool.h"
#include "world.h"

Test(model, keeps_the_newest_row)
{
    struct model m;
    model_init(&m, 10, 10, test_resize, NULL);
    struct model_instance *inst =
        put_instance(&m, (struct instance_spec){"i", "ACTIVE", true, 5, NULL, 0}, 100);
    cr_expect_eq(inst->status, MODEL_ACTIVE);
    uint64_t changes = inst->changes;
    cr_expect_null(
        put_instance(&m, (struct instance_spec){"i", "DRAINING", true, 4, NULL, 0}, 200));
    cr_expect_eq(inst->status, MODEL_ACTIVE);
    put_instance(&m, (struct instance_spec){"i", "ACTIVE", true, 5, NULL, 0}, 300);
    cr_expect_eq(inst->changes, changes);
    cr_expect_eq(inst->seen_ms, 300);
    put_instance(&m, (struct instance_spec){"i", "ACTIVE", false, 6, NULL, 0}, 400);
    put_instance(&m, (struct instance_spec){"i", "ACTIVE", false, 7, NULL, 0}, 500);
    cr_expect_eq(inst->disconnected_since_ms, 400);
    cr_expect_gt(inst->changes, changes);
    put_instance(&m, (struct instance_spec){"i", "ACTIVE", true, 8, NULL, 0}, 600);
    cr_expect_eq(inst->disconnected_since_ms, 0);
    model_fini(&m);
}

Test(model, takes_tasks_before_their_instance)
{
    struct model m;
    model_init(&m, 10, 10, test_resize, NULL);
    put_task(&m, (struct task_spec){"t", "i", "daemon:a", "d", "RUNNING", "RUNNING", 2, 0}, 1);
    struct model_instance *inst = model_find_instance(&m, "i");
    cr_assert_not_null(inst);
    cr_expect_eq(inst->status, MODEL_UNSEEN);
    put_instance(&m, (struct instance_spec){"i", "ACTIVE", true, 1, NULL, 0}, 2);
    cr_expect_eq(inst->status, MODEL_ACTIVE);
    cr_expect_eq(model_find_task(&m, "t")->instance, inst);
    model_del_instance(&m, "i"); /* its task keeps it */
    cr_expect_eq(model_find_instance(&m, "i"), inst);
    model_del_task(&m, "t");
    cr_expect_null(model_find_instance(&m, "i"));
    put_task(&m, (struct task_spec){"t", "i", "daemon:a", "d", "RUNNING", "RUNNING", 2, 0}, 1);
    model_del_task(&m, "t");
    cr_expect_null(model_find_instance(&m, "i"));
    cr_expect_null(model_find_name(&m, "daemon:a"));
    model_fini(&m);
}

Test(model, a_stopped_task_stays_stopped)
{
    struct model m;
    model_init(&m, 10, 100, test_resize, NULL);
    put_task(&m, (struct task_spec){"t", "i", "daemon:g", "d", "STOPPED", "STOPPED", 6, 0}, 1);
    cr_expect_null(
        put_task(&m, (struct task_spec){"t", "i", "daemon:g", "d", "PENDING", "RUNNING", 1, 0}, 2));
    cr_expect_eq(model_find_task(&m, "t")->status, TASK_STOPPED);
    for (int i = 0; i < 20; i++) {
        char arn[16];
        snprintf(arn, sizeof arn, "t%d", i);
        put_task(&m, (struct task_spec){arn, "i", "daemon:g", "d", "STOPPED", "STOPPED", 6, 0},
                 (uint64_t)(10 + i));
    }
    cr_expect_eq(m.daemons.count, MODEL_STOPPED_KEPT);
    cr_expect_not_null(model_find_task(&m, "t19"));
    model_fini(&m);
}

Test(model, is_bounded_and_reuses_slots)
{
    struct model m;
    model_init(&m, 100, 100, test_resize, NULL);
    char arn[32];
    for (int i = 0; i < 100; i++) {
        snprintf(arn, sizeof arn, "i%d", i);
        put_instance(&m, (struct instance_spec){arn, "ACTIVE", true, 1, NULL, 0}, 1);
    }
    struct model_instance_row row = {.arn = "more", .cluster = CLUSTER, .status = "ACTIVE"};
    cr_expect_eq(model_put_instance(&m, &row, 1, NULL), ERR_FULL);
    uint32_t generation = model_find_instance(&m, "i50")->generation;
    uint32_t slot = model_find_instance(&m, "i50")->slot;
    model_del_instance(&m, "i50");
    cr_expect_eq(model_put_instance(&m, &row, 1, NULL), 0);
    for (int i = 0; i < 100; i += 2) {
        snprintf(arn, sizeof arn, "i%d", i);
        model_del_instance(&m, arn);
    }
    for (int i = 1; i < 100; i += 2) {
        snprintf(arn, sizeof arn, "i%d", i);
        cr_expect_not_null(model_find_instance(&m, arn), "%s is lost", arn);
    }
    for (int i = 0; i < 100 && m.instance_table.count < 100; i += 2) {
        snprintf(arn, sizeof arn, "n%d", i);
        put_instance(&m, (struct instance_spec){arn, "ACTIVE", true, 1, NULL, 0}, 1);
    }
    cr_expect_eq(m.instance_table.count, 100);
    cr_expect_leq(m.slot_count, 128);
    for (size_t i = 0; i < m.slot_count; i++) {
        if (m.instances[i] && i == slot)
            cr_expect_neq(m.instances[i]->generation, generation);
    }
    struct model_task_row task = {.arn = "", .instance = "i1"};
    cr_expect_eq(model_put_task(&m, &task, 1, NULL), ERR_MALFORMED);
    model_fini(&m);
}

static size_t allocations_left;

static void *failing_resize(void *arg, void *memory, size_t size)
{
    if (size && allocations_left == 0)
        return NULL;
    if (size)
        allocations_left--;
    return test_resize(arg, memory, size);
}

Test(model, holds_of_other_tasks_that_they_live_and_their_group)
{
    struct model m;
    model_init(&m, 10, 2, test_resize, NULL);
    struct model_instance *inst =
        put_instance(&m, (struct instance_spec){"i", "ACTIVE", true, 1, NULL, 0}, 1);
    put_task(&m, (struct task_spec){"t", "i", "service:a", "x", "RUNNING", "RUNNING", 2, 0}, 1);
    put_task(&m, (struct task_spec){"u", "i", NULL, "x", "RUNNING", "RUNNING", 2, 0}, 1);
    struct model_task_row more = {.arn = "v", .instance = "i", .group = "daemon:a"};
    cr_expect_eq(model_put_task(&m, &more, 1, NULL), ERR_FULL, "they count");
    cr_assert_eq(m.others.count, 2);
    cr_expect_null(inst->others->group);
    cr_expect_str_eq(inst->others->next->group->text, "service:a");
    put_task(&m, (struct task_spec){"t", "i", "service:a", "x", "STOPPED", "STOPPED", 1, 0}, 2);
    cr_expect_eq(m.others.count, 2, "older");
    put_task(&m, (struct task_spec){"t", "i", "service:a", "x", "RUNNING", "STOPPED", 3, 0}, 2);
    cr_expect_eq(m.others.count, 2);
    cr_expect_null(model_find_name(&m, "service:a"), "not one to count on");
    uint64_t changes = inst->changes;
    put_task(&m, (struct task_spec){"t", "i", "service:a", "x", "STOPPED", "STOPPED", 4, 0}, 3);
    cr_expect_eq(m.others.count, 1);
    cr_expect_neq(inst->changes, changes, "there is room now");
    model_del_instance(&m, "i");
    cr_expect_not_null(model_find_instance(&m, "i"), "its task keeps it");
    model_del_task(&m, "u");
    cr_expect_null(model_find_instance(&m, "i"));
    model_fini(&m);
}

static size_t bytes_held;

static void *counting_resize(void *arg, void *memory, size_t size)
{
    bytes_held -= memory == NULL ? 0 : malloc_usable_size(memory);
    memory = test_resize(arg, memory, size);
    bytes_held += memory == NULL ? 0 : malloc_usable_size(memory);
    return memory;
}

/* They come and go in any order; what one takes is little, and is taken again by the next. */
Test(model, many_other_tasks)
{
    enum { MANY = 45000 };
    struct model m;
    struct prng prng;
    char arn[16];
    static bool there[MANY];
    size_t count = 0;
    bytes_held = 0;
    prng_seed(&prng, 3);
    model_init(&m, 10, MANY, counting_resize, NULL);
    put_instance(&m, (struct instance_spec){"i", "ACTIVE", true, 1, NULL, 0}, 1);
    for (size_t round = 0; round < 2; round++) {
        for (size_t i = 0; i < MANY; i++) {
            snprintf(arn, sizeof arn, "t%zu", i);
            put_task(&m,
                     (struct task_spec){arn, i % 2 ? "i" : "j", "service:a", "x", "RUNNING",
                                        "RUNNING", 2, 0},
                     1);
        }
        cr_assert_eq(m.others.count, (size_t)MANY);
        cr_expect_lt(bytes_held / MANY, 54u, "%zu bytes each", bytes_held / MANY);
        for (size_t i = 0; i < MANY; i++) /* the newest of an instance are found at once */
            there[i] = i < MANY - 2000 || prng_below(&prng, 2) == 0;
        for (size_t i = MANY; i-- > 0;) {
            snprintf(arn, sizeof arn, "t%zu", i);
            if (!there[i])
                model_del_task(&m, arn);
        }
        count = 0;
        for (size_t i = 0; i < MANY; i++) {
            snprintf(arn, sizeof arn, "t%zu", i);
            cr_assert_eq(model_pool_find(&m.others, hash_str(arn)) != NULL, there[i], "%s", arn);
            count += there[i];
        }
        cr_assert_eq(m.others.count, count);
    }
    model_fini(&m);
    cr_assert_eq(bytes_held, 0u);
}

/* Those of an environment, ten on each instance, with ARNs as ECS makes them. */
Test(model, many_daemons)
{
    enum { INSTANCES = 5000, EACH = 10, MANY = INSTANCES * EACH };
    struct model m;
    char arn[120], place[20], group[20], found[MODEL_ARN_MAX];
    model_init(&m, INSTANCES, MANY, counting_resize, NULL);
    bytes_held = 0;
    for (unsigned i = 0; i < INSTANCES; i++) {
        snprintf(place, sizeof place, "i%u", i);
        put_instance(&m, (struct instance_spec){place, "ACTIVE", true, 1, NULL, 0}, 1);
    }
    size_t before = bytes_held;
    for (uint64_t version = 1; version <= 2; version++) {
        for (unsigned i = 0; i < MANY; i++) {
            snprintf(arn, sizeof arn, "arn:aws:ecs:eu-west-1:123456789012:task/prod/%016x%016x",
                     i * 2654435761u, i);
            snprintf(place, sizeof place, "i%u", i / EACH);
            snprintf(group, sizeof group, "daemon:d%u", i % EACH);
            struct model_task *task = put_task(&m,
                                               (struct task_spec){arn, place, group, "deployment",
                                                                  "RUNNING", "RUNNING", version, 1},
                                               1);
            cr_assert_str_eq(model_task_arn(task, found), arn);
            cr_assert_eq(model_find_task(&m, arn), task);
        }
        cr_expect_eq(m.daemons.count, (size_t)MANY);
        cr_expect_eq(m.kind_table.count, (size_t)EACH, "what they have in common is held once");
        cr_expect_lt((bytes_held - before) / MANY, 125u, "%zu bytes each",
                     (bytes_held - before) / MANY);
    }
    model_fini(&m);
    cr_expect_eq(bytes_held, 0u);
}

/* An ARN of another form is held whole. */
Test(model, gives_each_arn_back)
{
    static const char *const arns[] = {
        "arn:aws:ecs:r:1:task/c/00112233445566778899aabbccddeeff",
        "arn:aws:ecs:r:1:task/c/00112233445566778899AABBCCDDEEFF",
        "arn:aws:ecs:r:1:task/c/00112233445566778899aabbccddeef",
        "arn:aws:ecs:r:1:task/c:00112233445566778899aabbccddeeff",
        "arn:aws:ecs:r:1:task/00112233-4455-6677-8899-aabbccddeeff",
        "00112233445566778899aabbccddeeff",
        "/00112233445566778899aabbccddeefg",
        "arn:aws:ecs:r:1:task/c/",
    };
    char out[MODEL_ARN_MAX], longest[MODEL_ARN_MAX + 1];
    struct model m;
    model_init(&m, 10, 100, test_resize, NULL);
    for (size_t i = 0; i < sizeof arns / sizeof arns[0]; i++)
        put_task(&m, (struct task_spec){arns[i], "i", "daemon:a", "d", "RUNNING", "RUNNING", 1, 0},
                 1);
    for (size_t i = 0; i < sizeof arns / sizeof arns[0]; i++)
        cr_expect_str_eq(model_task_arn(model_find_task(&m, arns[i]), out), arns[i]);
    memset(longest, 'a', sizeof longest);
    longest[MODEL_ARN_MAX] = '\0';
    struct model_task_row row = {.arn = longest, .instance = "i", .group = "daemon:a"};
    cr_expect_eq(model_put_task(&m, &row, 1, NULL), ERR_MALFORMED);
    longest[MODEL_ARN_MAX - 1] = '\0';
    struct model_task *task;
    cr_assert_eq(model_put_task(&m, &row, 1, &task), 0);
    cr_expect_str_eq(model_task_arn(task, out), longest);
    for (size_t i = 0; i < sizeof arns / sizeof arns[0]; i++)
        model_del_task(&m, arns[i]);
    model_del_task(&m, longest);
    cr_expect_eq(m.kind_table.count, 0u);
    cr_expect_eq(m.name_table.count, 0u);
    model_fini(&m);
}

/* A row may say of a task what it did not before: another place, another deployment. */
Test(model, a_task_changes_its_place_and_kind)
{
    struct model m;
    model_init(&m, 10, 10, test_resize, NULL);
    put_task(&m, (struct task_spec){"t", "i", "daemon:a", "d", "PENDING", "RUNNING", 1, 0}, 1);
    struct model_task *task =
        put_task(&m, (struct task_spec){"t", "j", "daemon:b", "e", "RUNNING", "RUNNING", 2, 0}, 5);
    cr_expect_null(model_find_instance(&m, "i"), "nothing is known of it any more");
    cr_expect_eq(task->instance, model_find_instance(&m, "j"));
    cr_expect_eq(task->instance->daemons, task);
    cr_expect_str_eq(task->kind->group->text, "daemon:b");
    cr_expect_str_eq(task->kind->started_by->text, "e");
    cr_expect_null(model_find_name(&m, "daemon:a"));
    cr_expect_null(model_find_name(&m, "d"));
    cr_expect_eq(task->first_seen_ms, 1u);
    cr_expect_eq(task->changed_ms, 5u);
    task->looked_s = 9;
    put_task(&m, (struct task_spec){"t", "j", "daemon:b", "e", "RUNNING", "RUNNING", 2, 0}, 7);
    cr_expect_eq(task->changed_ms, 5u, "only confirmed");
    cr_expect_eq(task->looked_s, 9u);
    put_task(&m, (struct task_spec){"t", "j", "daemon:b", "e", "RUNNING", "STOPPED", 3, 0}, 8);
    cr_expect_eq(task->looked_s, 0u);
    model_fini(&m);
}

Test(model, shares_attributes_and_finds_each)
{
    struct model m;
    model_init(&m, 10, 10, test_resize, NULL);
    /* '.' and '-' sort before '=', letters after it */
    const struct model_attribute all[] = {{"ab", "1"},   {"a", "x=y"}, {"a.b", "2"},
                                          {"a-b", NULL}, {"aa", ""},   {"a_b", "3"}};
    size_t count = sizeof all / sizeof all[0];
    struct model_instance *i =
        put_instance(&m, (struct instance_spec){"i", "ACTIVE", true, 1, all, count}, 1);
    size_t names = m.name_table.count;
    struct model_instance *j =
        put_instance(&m, (struct instance_spec){"j", "ACTIVE", true, 1, all, count}, 1);
    cr_expect_eq(m.name_table.count, names, "held once");
    cr_expect_eq(i->attributes_hash, j->attributes_hash);
    for (size_t k = 0; k < count; k++) {
        const char *value;
        cr_assert(model_find_attribute(j, all[k].name, &value), "%s", all[k].name);
        cr_expect_str_eq(value, all[k].value ? all[k].value : "");
    }
    const char *value;
    cr_expect_not(model_find_attribute(j, "a.", &value));
    cr_expect_not(model_find_attribute(j, "abc", &value));
    cr_expect_not(model_find_attribute(j, "", &value));
    put_instance(&m, (struct instance_spec){"j", "ACTIVE", true, 2, all, 1}, 1);
    cr_expect_neq(i->attributes_hash, j->attributes_hash);
    cr_expect_not(model_find_attribute(j, "a", &value));
    model_del_instance(&m, "i");
    model_del_instance(&m, "j");
    cr_expect_eq(m.name_table.count, 0);
    model_fini(&m);
}

/* Each task that starts or stops is news of its instance, so what is said again moves nothing. */
Test(model, what_an_instance_says_stays_where_it_is)
{
    struct model m;
    model_init(&m, 10, 10, test_resize, NULL);
    const struct model_attribute one[] = {{"rack", "1"}, {"type", "m5.large"}, {"capable", NULL}};
    const struct model_attribute two[] = {{"rack", "2"}, {"type", "m5.large"}, {"capable", NULL}};
    struct instance_spec spec = {"i", "ACTIVE", true, 1, one, 3};
    struct model_instance *i = put_instance(&m, spec, 1);
    const char *value, *arn = i->arn;
    spec.version = 2;
    spec.attributes = two;
    put_instance(&m, spec, 2);
    cr_expect_eq(i->arn, arn);
    cr_expect(model_find_attribute(i, "rack", &value) && strcmp(value, "2") == 0);
    cr_expect(model_find_attribute(i, "capable", &value));
    cr_expect_str_eq(i->agent_version, "1.105.1");
    cr_expect_str_eq(i->arn, "i");
    spec.version = 3;
    spec.attribute_count = 1; /* less of it */
    put_instance(&m, spec, 3);
    cr_expect(model_find_attribute(i, "rack", &value) && strcmp(value, "2") == 0);
    cr_expect_not(model_find_attribute(i, "type", &value));
    model_del_instance(&m, "i");
    cr_expect_eq(m.name_table.count, 0);
    model_fini(&m);
}

/* What an agent is capable of is some fifty attributes without a value, the same on thousands. */
Test(model, instances_share_what_they_are_capable_of)
{
    enum { MANY = 1000, BARE = 50, OWN = 3 };
    struct model m;
    static char names[BARE][16];
    char arn[16], address[16];
    struct model_attribute all[BARE + OWN] = {{"type", "m5.large"}, {"zone", "a"}};
    size_t before;
    const char *value;
    for (size_t i = 0; i < BARE; i++) {
        snprintf(names[i], sizeof names[i], "capability.%zu", i);
        all[OWN + i] = (struct model_attribute){names[i], i % 2 ? "" : NULL};
    }
    bytes_held = 0;
    model_init(&m, MANY, 10, counting_resize, NULL);
    for (size_t n = 0; n < MANY; n++) {
        before = bytes_held;
        snprintf(arn, sizeof arn, "i%zu", n);
        snprintf(address, sizeof address, "10.0.0.%zu", n);
        all[2] = (struct model_attribute){"address", address};
        put_instance(&m, (struct instance_spec){arn, "ACTIVE", true, 1, all, OWN + BARE}, 1);
    }
    cr_expect_lt(bytes_held - before, 500u, "%zu bytes", bytes_held - before);
    cr_expect_eq(m.traits_table.count, 1u);
    /* One of them learns more: the others do not. */
    all[2] = (struct model_attribute){"gpu", NULL};
    put_instance(&m, (struct instance_spec){"i7", "ACTIVE", true, 2, all, OWN + BARE}, 1);
    cr_expect_eq(m.traits_table.count, 2u);
    cr_expect(model_find_attribute(model_find_instance(&m, "i7"), "gpu", &value));
    cr_expect_not(model_find_attribute(model_find_instance(&m, "i8"), "gpu", &value));
    cr_expect_neq(model_find_instance(&m, "i7")->attributes_hash,
                  model_find_instance(&m, "i8")->attributes_hash);
    for (size_t i = 0; i < OWN + BARE; i++)
        cr_expect(model_find_attribute(model_find_instance(&m, "i7"), all[i].name, &value));
    model_del_instance(&m, "i7");
    cr_expect_eq(m.traits_table.count, 1u);
    model_fini(&m);
    cr_expect_eq(bytes_held, 0u);
}

/* Every allocation fails once: an error, no leak, no damage (the sanitizers watch). */
Test(model, survives_failing_memory)
{
    for (size_t n = 0; n < 60; n++) {
        struct model m;
        model_init(&m, 10, 10, failing_resize, NULL);
        allocations_left = n;
        const struct model_attribute attributes[] = {{"a", "b"}, {"c", NULL}};
        struct model_instance_row inst = {
            .arn = "i", .cluster = CLUSTER, .status = "ACTIVE", .version = 1};
        struct model_task_row task = {.arn = "t", .instance = "j", .group = "g", .started_by = "s"};
        int rv = model_put_instance(&m, &inst, 1, NULL);
        cr_expect(rv == 0 || rv == ERR_NOMEM);
        rv = model_put_task(&m, &task, 1, NULL);
        cr_expect(rv == 0 || rv == ERR_NOMEM);
        inst.attributes = attributes;
        inst.attribute_count = 2;
        inst.version = 2;
        rv = model_put_instance(&m, &inst, 1, NULL);
        cr_expect(rv == 0 || rv == ERR_NOMEM);
        task.group = "daemon:g";
        task.instance = "i";
        task.version = 2;
        rv = model_put_task(&m, &task, 1, NULL);
        cr_expect(rv == 0 || rv == ERR_NOMEM);
        model_fini(&m);
    }
}
