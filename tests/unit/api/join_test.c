/* SPDX-License-Identifier: Apache-2.0
 * Lists whose rows are found by way of few instances hold the same rows as those that ask each
 * row: here each row is asked by the test itself. */
#include <stdio.h>
#include <string.h>

#include "agent/api/join.h"
#include "tests/unit/api/ask.h"

#define ARN "arn:aws:ecs:us-east-1:111122223333:"
enum { INSTANCES = 60, TASKS = 1200 };

static struct fixture f;

static const char *type_of(unsigned instance)
{
    return instance == 7 ? "x1.rare" : instance % 3 == 0 ? "c5.large" : "m5.large";
}

static unsigned instance_of(unsigned task)
{
    return task * 7 % INSTANCES;
}

static const char *group_of(unsigned task)
{
    return task % 400 == 5 ? "family:rare" : "family:web";
}

static bool runs(unsigned task)
{
    return task != 405;
}

static void fill(void)
{
    char key[160], json[900];
    for (unsigned n = 0; n < INSTANCES; n++) {
        snprintf(key, sizeof key, ARN "container-instance/prod/%03u", n);
        snprintf(json, sizeof json,
                 "{\"agentConnected\":true,\"attributes\":[{\"name\":\"ecs.instance-type\","
                 "\"value\":\"%s\"},{\"name\":\"rack\",\"value\":\"%s%u\"}],\"availabilityZone\":"
                 "\"z%u\",\"clusterArn\":\"" CLUSTER "\",\"containerInstanceArn\":\"%s\","
                 "\"ec2InstanceId\":\"i-%u\",\"n\":%u,\"status\":\"ACTIVE\"}",
                 type_of(n), n == 9 ? "\\u0072" : "r", n / 2, n % 2, key, n, n);
        fixture_post(&f, RECORD_INSTANCE, key, 1, json);
    }
    for (unsigned n = 0; n < TASKS; n++) {
        snprintf(key, sizeof key, ARN "task/prod/%05u", n);
        snprintf(json, sizeof json,
                 "{\"clusterArn\":\"" CLUSTER "\",\"containerInstanceArn\":\"" ARN
                 "container-instance/prod/%03u\",\"desiredStatus\":\"RUNNING\",\"group\":\"%s\","
                 "\"k\":%u,\"lastStatus\":\"%s\",\"n\":%u,\"taskArn\":\"%s\","
                 "\"taskDefinitionArn\":\"" ARN "task-definition/%s:1\"}",
                 instance_of(n), group_of(n), n * 31 % 1000, runs(n) ? "RUNNING" : "STOPPED", n,
                 key, group_of(n) + 7);
        fixture_post(&f, RECORD_TASK, key, 1, json);
    }
    fixture_settle(&f);
}

static bool is_rare(unsigned instance)
{
    return instance == 7;
}

static bool is_c5(unsigned instance)
{
    return instance % 3 == 0 && instance != 7;
}

static bool is_rack_4(unsigned instance)
{
    return instance / 2 == 4;
}

static bool is_none(unsigned instance)
{
    (void)instance;
    return false;
}

static bool is_any(unsigned instance)
{
    (void)instance;
    return true;
}

static bool has_rare(unsigned instance)
{
    for (unsigned n = 0; n < TASKS; n++)
        if (instance_of(n) == instance && runs(n) && strcmp(group_of(n), "family:rare") == 0)
            return true;
    return false;
}

static const struct {
    const char *filter;
    bool (*shows)(unsigned instance);
    bool tasks_joined, instances_joined;
} cases[] = {
    {"attribute:ecs.instance-type == x1.rare", is_rare, true, true},
    {"attribute:ecs.instance-type =~ x1.*", is_rare, true, true},
    {"attribute:ecs.instance-type == c5.large", is_c5, false, true},
    {"attribute:ecs.instance-type exists", is_any, false, false},
    {"attribute:rack == r4", is_rack_4, true, true}, /* once written with an escape */
    {"attribute:rack == none", is_none, true, true},
    {"attribute:rack in [none, r4]", is_rack_4, true, true},
    {"attribute:rack == r4 or attribute:rack == none", is_rack_4, true, false},
    {"task:group == family:rare", has_rare, true, true},
    {"task:group == family:none", is_none, true, true},
    {"task:group == family:rare and attribute:rack == r4", is_none, true, true},
    {"agentConnected == true and task:group == family:rare and attribute:rack exists", has_rare,
     true, true},
    {"task:group == family:web and attribute:ecs.instance-type == x1.rare", is_rare, true, true},
    {"task:group == family:web", is_any, false, false},
};

/* All items of all pages, by their member n, in order. */
static size_t walk(const char *kind, const char *filter, const char *more, unsigned *out)
{
    char path[1200], token[700] = "";
    size_t count = 0, i;
    do {
        size_t at = (size_t)snprintf(path, sizeof path, "/v2/%s?%s&filter=", kind, more);
        for (const char *p = filter; *p != '\0'; p++)
            at += (size_t)snprintf(path + at, sizeof path - at, "%%%02x", (unsigned char)*p);
        snprintf(path + at, sizeof path - at, "&next_token=%s", token);
        json_t *item, *doc = get_json(&f, path, 200);
        json_array_foreach(json_arr(doc, "items"), i, item) out[count++] =
            (unsigned)json_int_or(item, "n", 0);
        snprintf(token, sizeof token, "%s", json_str_or(doc, "next_token", ""));
        json_decref(doc);
    } while (token[0] != '\0' && count < TASKS);
    return count;
}

static void is_joined(const char *filter, uint8_t kind, bool joined)
{
    struct query *q;
    struct store_txn *txn;
    struct join j = {.used = false};
    cr_assert_eq(query_new(filter, &q, NULL), 0);
    cr_assert_eq(store_read_begin(f.store, &txn), 0);
    cr_assert_eq(join_plan(&j, q, txn, kind, 100), 0);
    cr_expect_eq(j.used, joined, "%s: %d, %llu rows", filter, j.used, (unsigned long long)j.rows);
    join_fini(&j);
    store_read_end(txn);
    query_free(q);
}

Test(join, holds_what_asking_each_row_holds)
{
    static unsigned got[TASKS + 1000];
    fixture_start(&f, NULL);
    fill();
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        bool (*shows)(unsigned) = cases[c].shows;
        size_t tasks = 0, n;
        is_joined(cases[c].filter, RECORD_TASK, cases[c].tasks_joined);
        is_joined(cases[c].filter, RECORD_INSTANCE, cases[c].instances_joined);
        n = walk("tasks", cases[c].filter, "limit=7", got);
        for (unsigned t = 0; t < TASKS; t++)
            if (shows(instance_of(t))) {
                cr_assert(tasks < n && got[tasks] == t, "%s: %zu is %u", cases[c].filter, tasks,
                          got[tasks]);
                tasks++;
            }
        cr_assert_eq(n, tasks, "%s: %zu", cases[c].filter, n);
        n = walk("tasks", cases[c].filter, "limit=50&sort=-k", got);
        cr_assert_eq(n, tasks, "%s by k: %zu", cases[c].filter, n);
        for (size_t i = 1; i < n; i++)
            cr_assert(got[i - 1] * 31 % 1000 >= got[i] * 31 % 1000, "%s: %u, %u", cases[c].filter,
                      got[i - 1], got[i]);
        n = walk("tasks", cases[c].filter, "limit=1000&group=family:rare", got);
        for (size_t i = 0; i < n; i++)
            cr_assert(got[i] % 400 == 5 && shows(instance_of(got[i])), "%s", cases[c].filter);
        n = walk("instances", cases[c].filter, "limit=2", got);
        size_t instances = 0;
        for (unsigned i = 0; i < INSTANCES; i++)
            if (shows(i)) {
                cr_assert(instances < n && got[instances] == i, "%s: %u", cases[c].filter, i);
                instances++;
            }
        cr_assert_eq(n, instances, "%s: %zu", cases[c].filter, n);
    }
    fixture_stop(&f);
}
