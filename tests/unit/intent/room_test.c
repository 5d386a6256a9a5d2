/* SPDX-License-Identifier: Apache-2.0
 * All of the state fits into one message, whatever users do: it is a snapshot, a list, a backup. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/limits.h"
#include "agent/intent/intent.h"

#define C1 "arn:aws:ecs:us-east-1:123456789012:cluster/c1"
#define TD "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1"
#define LISTED 100 /* failed instances, each with a long reason */

static struct intent_result result;
static uint64_t at;

static int apply(struct intent *in, const char *text)
{
    const struct store_log_intent *rows;
    size_t count;
    intent_apply(in, ++at, 1, text, strlen(text), &result, &rows, &count);
    return result.err;
}

static int create(struct intent *in, int env)
{
    char text[400];
    snprintf(text, sizeof text,
             "{\"op\":\"environment.create\",\"name\":\"e%d\",\"cluster\":\"" C1
             "\",\"taskDefinition\":\"" TD "\",\"now\":1000,\"id\":\"i%d\"}",
             env, env);
    return apply(in, text);
}

static int deploy(struct intent *in, int env, int number)
{
    char text[400];
    snprintf(text, sizeof text,
             "{\"op\":\"deployment.create\",\"environment\":\"e%d\",\"now\":1000,"
             "\"id\":\"d%d-%d\"}",
             env, env, number);
    return apply(in, text);
}

static int fail(struct intent *in, int env, int number)
{
    struct buf b;
    buf_init(&b, 1u << 16);
    buf_printf(&b,
               "{\"op\":\"deployment.status\",\"environment\":\"e%d\",\"id\":\"d%d-%d\",\"now\":1,"
               "\"status\":\"running\",\"counts\":{\"desired\":500,\"running\":0,\"pending\":0,"
               "\"failed\":500},\"failedInstances\":[",
               env, env, number);
    for (int i = 0; i < LISTED; i++)
        buf_printf(&b,
                   "%s{\"arn\":\"arn:aws:ecs:us-east-1:123456789012:container-instance/c1/%032d\","
                   "\"reason\":\"%0150d\"}",
                   i == 0 ? "" : ",", i, i);
    buf_puts(&b, "]}");
    cr_assert_eq(b.err, 0);
    int err = apply(in, b.data);
    buf_fini(&b);
    return err;
}

static json_t *saved(const struct intent *in)
{
    struct buf b;
    buf_init(&b, GOSSIP_MESSAGE_MAX);
    cr_assert_eq(intent_save(in, &b), 0, "it does not fit into a message");
    json_t *all = json_parse(b.data, b.len, NULL);
    buf_fini(&b);
    return all;
}

static size_t listed(const struct intent *in, int env, int number)
{
    char name[16], id[32];
    snprintf(name, sizeof name, "e%d", env);
    snprintf(id, sizeof id, "d%d-%d", env, number);
    const json_t *dep = intent_deployment(in, name, id);
    return dep == NULL ? 0 : json_array_size(json_object_get(dep, "failedInstances"));
}

Test(room, histories_are_shortened)
{
    struct intent *in, *other;
    const struct store_log_intent *rows;
    size_t count, few = 0;
    struct buf b;
    cr_assert_eq(intent_create(&in), 0);
    cr_assert_eq(create(in, 99), 0);
    for (int n = 0; n < DEPLOYMENTS_KEPT; n++)
        few += deploy(in, 99, n) == 0;
    for (int env = 0; env < 8; env++) {
        cr_assert_eq(create(in, env), 0, "%s", result.detail);
        for (int n = 0; n < DEPLOYMENTS_KEPT; n++) {
            cr_assert_eq(deploy(in, env, n), 0, "%s", result.detail);
            cr_assert_eq(fail(in, env, n), 0);
        }
    }
    json_decref(saved(in));
    for (int env = 0; env < 8; env++)
        for (int n = DEPLOYMENTS_KEPT - 5; n < DEPLOYMENTS_KEPT; n++)
            cr_expect_eq(listed(in, env, n), LISTED, "the newest of e%d", env);
    cr_expect_null(intent_deployment(in, "e0", "d0-0"));
    for (size_t n = 0; n < few; n++) {
        char id[32];
        snprintf(id, sizeof id, "d99-%zu", n);
        cr_expect_not_null(intent_deployment(in, "e99", id), "who has little keeps it");
    }
    /* A voter that began with a snapshot forgets the same. */
    cr_assert_eq(intent_create(&other), 0);
    buf_init(&b, GOSSIP_MESSAGE_MAX);
    cr_assert_eq(intent_save(in, &b), 0);
    cr_assert_eq(intent_load(other, b.data, b.len, &rows, &count), 0);
    for (int n = DEPLOYMENTS_KEPT; n < DEPLOYMENTS_KEPT + 9; n++) {
        uint64_t before = at;
        cr_assert_eq(deploy(in, 3, n), 0);
        cr_assert_eq(fail(in, 3, n), 0);
        at = before;
        cr_assert_eq(deploy(other, 3, n), 0);
        cr_assert_eq(fail(other, 3, n), 0);
    }
    json_t *here = saved(in), *there = saved(other);
    cr_expect(json_equal(here, there));
    json_decref(here);
    json_decref(there);
    buf_fini(&b);
    intent_destroy(in);
    intent_destroy(other);
}

Test(room, what_has_no_room_is_refused)
{
    struct intent *in;
    int env = 0, refused = -1;
    cr_assert_eq(intent_create(&in), 0);
    for (; env < ENVIRONMENTS_MAX; env++) {
        int err = create(in, env);
        if (err == 0)
            err = deploy(in, env, 0);
        if (err != 0) {
            cr_assert_eq(err, ERR_CONFLICT, "%s", result.detail);
            refused = env;
            break;
        }
        cr_assert_eq(fail(in, env, 0), 0);
    }
    cr_assert_gt(refused, 50);
    json_decref(saved(in));
    cr_expect_eq(listed(in, 0, 0), LISTED);
    /* The leader's account goes on, in short. */
    cr_expect_eq(fail(in, 1, 0), 0);
    cr_expect_eq(listed(in, 1, 0), 1u);
    cr_expect_str_eq(json_str_or(intent_environment(in, "e1"), "health", ""), "unhealthy");
    cr_expect_eq(apply(in, "{\"op\":\"environment.delete\",\"name\":\"e2\",\"now\":1}"), 0);
    cr_expect_eq(create(in, 2), 0, "%s", result.detail);
    intent_destroy(in);
}
