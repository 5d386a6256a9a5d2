/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/select.h"

#include <stdio.h>
#include <string.h>

#include "world.h"

static struct select sel;

static struct model_instance *build(struct model *m)
{
    static const struct model_attribute attributes[] = {
        {"stack", "prod"},
        {"ecs.instance-type", "t2.small"},
        {"ecs.availability-zone", "us-east-1a"},
        {"size", "10"},
        {"flag", NULL},
    };
    model_init(m, 10, 10, test_resize, NULL);
    struct model_instance_row row = {.arn = "inst",
                                     .cluster = CLUSTER,
                                     .status = "ACTIVE",
                                     .ec2_id = "i-abcd1234",
                                     .zone = "us-east-1a",
                                     .agent_version = "1.105.1",
                                     .connected = true,
                                     .version = 3,
                                     .registered_unix_ms = 1700000000000,
                                     .running_tasks = 2,
                                     .attributes = attributes,
                                     .attribute_count = 5};
    cr_assert_eq(model_put_instance(m, &row, 1, NULL), 0);
    put_task(
        m, (struct task_spec){"t1", "inst", "service:production", "x", "RUNNING", "RUNNING", 1, 0},
        1);
    put_task(m, (struct task_spec){"t2", "inst", "daemon:logs", "x", "RUNNING", "RUNNING", 1, 0},
             1);
    put_task(m, (struct task_spec){"t3", "inst", "family:old", "x", "STOPPED", "STOPPED", 1, 0}, 1);
    return model_find_instance(m, "inst");
}

Test(select, evaluates)
{
    static const struct {
        const char *text;
        bool matches;
    } cases[] = {
        {"", true},
        {"  ", true},
        {"attribute:ecs.instance-type == t2.small", true},
        {"attribute:ecs.instance-type != t2.small", false},
        {"attribute:ecs.instance-type equals 't2.small'", true},
        {"attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", true},
        {"attribute:ecs.availability-zone !in [us-east-1a,us-east-1b]", false},
        {"attribute:ecs.availability-zone not_in ['us-east-1c']", true},
        {"attribute:ecs.instance-type =~ t2.* and attribute:ecs.availability-zone != us-east-1d",
         true},
        {"attribute:ecs.instance-type matches \"(g2|t2)\\..*\"", true},
        {"attribute:ecs.instance-type =~ (g2|t2)\\..*", true},
        {"(attribute:ecs.instance-type =~ (g2|t2)\\..*)", true},
        {"attribute:ecs.instance-type !~ t2.*", false},
        {"attribute:stack exists", true},
        {"attribute:flag exists", true},
        {"attribute:flag == ''", true},
        {"attribute:none exists", false},
        {"attribute:none !exists", true},
        {"attribute:none not_exists", true},
        {"attribute:none == x", false},
        {"attribute:none != x", true},
        {"attribute:none > 1", false},
        {"attribute:size > 9", true},
        {"attribute:size < 9", false},
        {"attribute:stack > alpha", true},
        {"agentConnected == true", true},
        {"agentConnected != true", false},
        {"agentConnected =~ t.*", true},
        {"agentConnected not_matches true", false},
        {"agentVersion > 1.9.0", true},
        {"agentVersion >= 1.105.1", true},
        {"agentVersion less_than 1.105", false},
        {"agentVersion =~ 1\\..*", true},
        {"ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']", true},
        {"ec2InstanceId == i-x", false},
        {"registeredAt > 2023-01-01", true},
        {"registeredAt greater_than_equal 2024-01-01T00:00:00Z", false},
        {"registeredAt > 2023-11-14T22:13:19", true},
        {"registeredAt > 2023-11-14T22:13:20", false},
        {"registeredAt == 2023-11-14T22:13:20+00:00", true},
        {"runningTasksCount == 2", true},
        {"runningTasksCount in [1, 2]", true},
        {"runningTasksCount < 2", false},
        {"task:group == service:production", true},
        {"task:group == family:old", false},
        {"not(task:group == service:database)", true},
        {"task:group != service:production", false},
        {"task:group =~ daemon:.*", true},
        {"!(agentConnected == true)", false},
        {"not not agentConnected == true", true},
        {"agentConnected == false or attribute:stack == prod and attribute:size == 10", true},
        {"(agentConnected == false || attribute:stack == prod) && attribute:size == 11", false},
        {"agentConnected == false and attribute:stack == x or attribute:size == 10", true},
    };
    struct model m;
    struct model_instance *inst = build(&m);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errmsg e = {""};
        cr_expect_eq(select_parse(&sel, cases[i].text, NULL, &e), 0, "%s: %s", cases[i].text,
                     e.text);
        cr_expect_eq(select_match(&sel, inst, NULL), cases[i].matches, "%s", cases[i].text);
    }
    model_fini(&m);
}

/* A daemon must not drive itself away. */
Test(select, leaves_the_asker_out)
{
    struct model m;
    struct model_instance *inst = build(&m);
    cr_assert_eq(select_parse(&sel, "not task:group == daemon:logs", NULL, NULL), 0);
    cr_expect(!select_match(&sel, inst, NULL));
    cr_expect(select_match(&sel, inst, "daemon:logs"));
    cr_assert_eq(select_parse(&sel, "runningTasksCount < 2", NULL, NULL), 0);
    cr_expect(!select_match(&sel, inst, NULL));
    cr_expect(select_match(&sel, inst, "daemon:logs"));
    model_fini(&m);
}

Test(select, says_where_and_what)
{
    static const struct {
        const char *text;
        size_t at;
        const char *says;
    } cases[] = {
        {"stack == prod", 0, "position 1: expected a subject"},
        {"attribute: == x", 10, "the name of an attribute"},
        {"attribute:a", 11, "expected an operator"},
        {"attribute:a = x", 12, "expected an operator"},
        {"attribute:a ==", 14, "expected a value, found the end"},
        {"attribute:a in x", 15, "'['"},
        {"attribute:a in [x y]", 18, "',' or ']'"},
        {"attribute:a in []", 16, "expected a value"},
        {"attribute:a == 'x", 15, "not closed"},
        {"attribute:a == x attribute:b == y", 17, "'and', 'or' or the end, found 'attribute:b'"},
        {"(attribute:a == x", 17, "')'"},
        {"attribute:a =~ a**", 17, "position 18"},
        {"agentConnected == yes", 18, "true or false, found 'yes'"},
        {"agentConnected > true", 15, "cannot be used"},
        {"runningTasksCount == many", 21, "a whole number"},
        {"runningTasksCount =~ 1.*", 18, "cannot be used"},
        {"registeredAt > yesterday", 15, "a time such as"},
        {"ec2InstanceId > i-1", 14, "cannot be used"},
        {"attribute:a == x and", 20, "a subject"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errmsg e = {""};
        size_t at;
        cr_expect_eq(select_parse(&sel, cases[i].text, &at, &e), ERR_BADPARAM, "%s", cases[i].text);
        cr_expect_eq(at, cases[i].at, "%s: at %zu: %s", cases[i].text, at, e.text);
        cr_expect(strstr(e.text, cases[i].says) != NULL, "%s: %s", cases[i].text, e.text);
    }
}

Test(select, is_bounded)
{
    char text[2 * SELECT_TEXT_MAX];
    struct errmsg e;
    memset(text, '(', 100);
    text[100] = '\0';
    cr_expect_eq(select_parse(&sel, text, NULL, &e), ERR_TOOBIG);
    memset(text, '!', 100);
    cr_expect_eq(select_parse(&sel, text, NULL, &e), ERR_TOOBIG);
    memset(text, 'x', SELECT_TEXT_MAX + 1);
    text[SELECT_TEXT_MAX + 1] = '\0';
    cr_expect_eq(select_parse(&sel, text, NULL, &e), ERR_TOOBIG);
    size_t n = (size_t)snprintf(text, sizeof text, "runningTasksCount in [0");
    while (n < SELECT_TEXT_MAX - 4)
        n += (size_t)snprintf(text + n, sizeof text - n, ",1");
    snprintf(text + n, sizeof text - n, "]");
    cr_expect_eq(select_parse(&sel, text, NULL, &e), ERR_TOOBIG);
    n = (size_t)snprintf(text, sizeof text, "ec2InstanceId in [''");
    while (n < 500)
        n += (size_t)snprintf(text + n, sizeof text - n, ",''");
    snprintf(text + n, sizeof text - n, "]");
    cr_expect_eq(select_parse(&sel, text, NULL, &e), 0);
}

/* Any bytes: an answer, never a crash (the sanitizers watch). */
Test(select, survives_noise)
{
    static const char *const parts[] = {"attribute:a", "==",  "=~",  "in",  "[",      "]",  ",",
                                        "(",           ")",   "and", "not", "exists", "!",  "'x'",
                                        "x",           ".*+", "\\",  "'",   "{2,3}",  "[^", "\xff"};
    struct prng prng;
    prng_seed(&prng, 7);
    struct model m;
    struct model_instance *inst = build(&m);
    for (int round = 0; round < 20000; round++) {
        char text[256] = "";
        size_t count = 1 + prng_below(&prng, 12);
        for (size_t i = 0; i < count; i++) {
            strncat(text, parts[prng_below(&prng, sizeof parts / sizeof parts[0])], 20);
            if (prng_below(&prng, 4))
                strncat(text, " ", 2);
        }
        if (select_parse(&sel, text, NULL, NULL) == 0)
            select_match(&sel, inst, NULL);
    }
    model_fini(&m);
}
