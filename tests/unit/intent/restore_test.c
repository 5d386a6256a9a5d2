/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/intent/intent.h"

#define C1 "arn:aws:ecs:us-east-1:123456789012:cluster/c1"
#define TD "arn:aws:ecs:us-east-1:123456789012:task-definition/web:1"

static struct intent_result result;
static const struct store_log_intent *rows;
static size_t row_count;

static int apply(struct intent *in, uint64_t index, const char *text)
{
    intent_apply(in, index, 1, text, strlen(text), &result, &rows, &row_count);
    return result.err;
}

static struct intent *filled(void)
{
    struct intent *in;
    cr_assert_eq(intent_create(&in), 0);
    cr_assert_eq(apply(in, 1,
                       "{\"op\":\"environment.create\",\"name\":\"a\",\"cluster\":\"" C1
                       "\",\"taskDefinition\":\"" TD "\",\"now\":1000,\"id\":\"ida\"}"),
                 0);
    cr_assert_eq(apply(in, 2,
                       "{\"op\":\"deployment.create\",\"environment\":\"a\",\"now\":1000,"
                       "\"id\":\"d1\"}"),
                 0);
    return in;
}

/* The restore command that a backup of in makes. */
static char *command_of(const struct intent *in)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    cr_assert_eq(intent_save(in, &b), 0);
    json_t *all = json_parse(b.data, b.len, NULL);
    json_t *command = json_pack("{s:s,s:i,s:O}", "op", "intent.restore", "now", 5000,
                                "environments", json_object_get(all, "environments"));
    char *text = json_dumps(command, JSON_COMPACT);
    json_decref(command);
    json_decref(all);
    buf_fini(&b);
    return text;
}

Test(restore, what_was_lost_comes_back)
{
    struct intent *in = filled(), *other;
    char *backup = command_of(in);
    cr_assert_eq(intent_create(&other), 0);
    cr_assert_eq(apply(other, 7, backup), 0, "%s", result.detail);
    cr_expect_eq(row_count, 2u);
    cr_expect_eq(rows[0].version.lo, 7u);
    cr_expect_str_eq(json_str_or(intent_environment(other, "a"), "activeDeployment", ""), "d1");
    cr_expect_eq(json_int_or(intent_environment(other, "a"), "revision", 0), 1);
    cr_expect_not_null(intent_deployment(other, "a", "d1"));
    free(backup);
    intent_destroy(in);
    intent_destroy(other);
}

Test(restore, what_changed_since_is_replaced_and_goes_on_counting)
{
    struct intent *in = filled();
    char *backup = command_of(in);
    cr_assert_eq(apply(in, 3,
                       "{\"op\":\"environment.update\",\"name\":\"a\",\"expression\":\"x\","
                       "\"now\":2000}"),
                 0);
    cr_assert_eq(apply(in, 4,
                       "{\"op\":\"deployment.create\",\"environment\":\"a\",\"now\":2000,"
                       "\"id\":\"d2\"}"),
                 0);
    cr_assert_eq(apply(in, 5, backup), 0, "%s", result.detail);
    const json_t *env = intent_environment(in, "a");
    cr_expect_str_eq(json_str_or(env, "expression", "?"), "");
    cr_expect_str_eq(json_str_or(env, "activeDeployment", ""), "d1");
    cr_expect_eq(json_int_or(env, "revision", 0), 3, "no If-Match of before fits");
    cr_expect_eq(json_int_or(env, "deployments", 0), 2, "no number comes twice");
    cr_expect_str_eq(json_str_or(intent_deployment(in, "a", "d2"), "status", ""), "superseded");
    cr_expect_str_eq(json_str_or(intent_deployment(in, "a", "d1"), "status", ""), "pending");
    free(backup);
    intent_destroy(in);
}

/* Counting on from there would end below zero, and no voter could read its own state any more. */
Test(restore, numbers_are_those_that_can_be_counted_on)
{
    static const char *const members[] = {"revision", "deployments"};
    struct intent *in = filled();
    char *backup = command_of(in);
    for (size_t i = 0; i < 3; i++) {
        json_t *command = json_loads(backup, 0, NULL);
        json_t *one = json_array_get(json_object_get(command, "environments"), 0);
        json_t *dep = json_array_get(json_object_get(one, "deployments"), 0);
        json_t *row = json_object_get(i < 2 ? one : dep, "row");
        json_object_set_new(row, i < 2 ? members[i] : "number", json_integer(INT64_MAX));
        char *text = json_dumps(command, JSON_COMPACT);
        cr_expect_neq(apply(in, 5 + i, text), 0, "case %zu", i);
        cr_expect_eq(row_count, 0u);
        free(text);
        json_decref(command);
    }
    cr_expect_eq(apply(in, 9,
                       "{\"op\":\"environment.update\",\"name\":\"a\",\"expression\":\"x\","
                       "\"now\":2000}"),
                 0);
    cr_expect_eq(json_int_or(intent_environment(in, "a"), "revision", 0), 2);
    free(backup);
    intent_destroy(in);
}

Test(restore, bad_rows_change_nothing)
{
    static const char *const bad[] = {
        "{}",
        "{\"row\":{},\"deployments\":[]}",
        "{\"row\":{\"name\":\"a/b\",\"status\":\"active\"},\"deployments\":[]}",
        "{\"row\":7,\"deployments\":[]}",
        "7",
    };
    struct intent *in;
    cr_assert_eq(intent_create(&in), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[400];
        snprintf(text, sizeof text, "{\"op\":\"intent.restore\",\"now\":1,\"environments\":[%s]}",
                 bad[i]);
        cr_expect_neq(apply(in, i + 1, text), 0, "case %zu", i);
        cr_expect_eq(row_count, 0u);
    }
    /* Each member of a sound row is needed, of its type. */
    struct intent *full = filled();
    char *backup = command_of(full);
    json_t *command = json_loads(backup, 0, NULL);
    json_t *row =
        json_object_get(json_array_get(json_object_get(command, "environments"), 0), "row");
    static const char *const needed[] = {"name",       "token",    "cluster", "taskDefinition",
                                         "attributes", "revision", "status",  "deployments"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        json_t *was = json_incref(json_object_get(row, needed[i]));
        json_object_set_new(row, needed[i], json_real(0.5));
        char *text = json_dumps(command, 0);
        cr_expect_neq(apply(in, 100 + i, text), 0, "%s", needed[i]);
        free(text);
        json_object_set_new(row, needed[i], was);
    }
    cr_expect_null(intent_environment(in, "a"));
    json_decref(command);
    free(backup);
    intent_destroy(full);
    intent_destroy(in);
}

Test(restore, gossip_adds_what_is_newer_only)
{
    struct intent *in = filled();
    struct store_log_intent kept[8];
    char *backup = command_of(in);
    struct intent *other;
    cr_assert_eq(intent_create(&other), 0);
    cr_assert_eq(apply(other, 9, backup), 0);
    cr_assert_eq(row_count, 2u);
    memcpy(kept, rows, 2 * sizeof kept[0]);
    struct intent *empty;
    cr_assert_eq(intent_create(&empty), 0);
    for (int i = 1; i >= 0; i--) /* a deployment may come before its environment */
        cr_expect_eq(intent_merge(empty, &kept[i]), 0);
    cr_expect_not_null(intent_environment(empty, "a"));
    cr_expect_not_null(intent_deployment(empty, "a", "d1"));

    struct store_log_intent gone = kept[0];
    gone.deleted = true;
    gone.value = NULL;
    gone.value_len = 0;
    gone.version.lo = 8;
    cr_expect_eq(intent_merge(empty, &gone), 0);
    cr_expect_not_null(intent_environment(empty, "a"), "the tombstone is older");
    gone.version = (struct record_version){2, 1};
    cr_expect_eq(intent_merge(empty, &gone), 0);
    cr_expect_null(intent_environment(empty, "a"));
    gone.key_len = 0;
    cr_expect_eq(intent_merge(empty, &gone), ERR_MALFORMED);
    free(backup);
    intent_destroy(in);
    intent_destroy(other);
    intent_destroy(empty);
}
