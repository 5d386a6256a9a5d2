/* SPDX-License-Identifier: Apache-2.0
 * Random filters and orders over random rows that change, against an oracle that asks each row: the
 * same rows whatever the way to them, each once, over all pages, and in the order in which they
 * come where no index is, which is in the past. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/prng.h"
#include "tests/unit/api/ask.h"

#define ARN "arn:aws:ecs:us-east-1:111122223333:"
enum { INSTANCES = 300, TASKS = 900, NAMES = 6, TEXT = 132, ROUNDS = 3, QUERIES = 25 };

static const char *const names[NAMES] = {
    "ecs.instance-type", "rack", "addr", "ecs.capability.x", "ecs.availability-zone", "gpu"};

struct instance {
    bool live;
    char value[NAMES][TEXT]; /* "-": it lacks the attribute */
    uint64_t version;
};

struct task {
    bool live, stopped;
    unsigned instance, family;
    char created[48]; /* as it stands in JSON; "": it is missing */
    uint64_t version;
};

static struct fixture f;
static struct instance instances[INSTANCES];
static struct task tasks[TASKS];
static struct prng rng;

static unsigned dice(unsigned n)
{
    return (unsigned)prng_below(&rng, n);
}

/* -- rows ---------------------------------------------------------------------------- */

/* Ids as ECS makes them, others, and those of another cluster. */
static void key_of(const char *type, unsigned n, char out[160])
{
    uint64_t mixed = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    if (n % 7 == 0)
        snprintf(out, 160, ARN "%s/prod/id-%u", type, n);
    else
        snprintf(out, 160, ARN "%s/%s/%016llx%016llx", type, n % 5 == 0 ? "zz" : "prod",
                 (unsigned long long)mixed, (unsigned long long)n);
}

static void draw_value(unsigned name, unsigned n, char out[TEXT])
{
    static const unsigned kinds[NAMES] = {6, 50, 0, 3, 3, 2};
    unsigned v = kinds[name] == 0 ? n : dice(kinds[name]);
    if (name == 0)
        v = dice(40) == 0 ? 0 : 1 + dice(5);
    snprintf(out, TEXT, "%c%u", "traczg"[name], v);
    if (name == 5 && dice(10) != 0)
        snprintf(out, TEXT, "-");
    else if (name == 5) /* a long one, or it has no value */
        snprintf(out, TEXT, "%0*u", v == 1 ? TEXT - 1 : 0, 0);
    if (name == 5 && out[0] == '0' && v == 0)
        out[0] = '\0';
}

static void put_attribute(struct buf *b, unsigned n, unsigned name, const char *value)
{
    if (strcmp(value, "-") == 0)
        return;
    buf_printf(b, "%s{\"name\":\"%s%s\"", b->data[b->len - 1] == '[' ? "" : ",",
               n % 41 == 3 && name == 1 ? "\\u0072" : "", names[name] + (n % 41 == 3 && name == 1));
    if (value[0] != '\0' && n % 23 == 2)
        buf_printf(b, ",\"value\":\"\\u%04x%s\"}", value[0], value + 1);
    else if (value[0] != '\0')
        buf_printf(b, ",\"value\":\"%s\"}", value);
    else
        buf_puts(b, "}");
}

static void put_instance(unsigned n)
{
    struct instance *i = &instances[n];
    char key[160];
    struct buf b;
    key_of("container-instance", n, key);
    if (!i->live) {
        if (i->version > 0)
            fixture_delete(&f, RECORD_INSTANCE, key, i->version);
        i->version++;
        return;
    }
    buf_init(&b, 1 << 14);
    buf_puts(&b, "{\"agentConnected\":true,\"attributes\":[");
    for (unsigned a = 0; a < NAMES; a++)
        put_attribute(&b, n, a, i->value[a]);
    buf_printf(&b,
               "],\"availabilityZone\":\"%s\",\"clusterArn\":\"" CLUSTER "\",\"containerInstanceArn"
               "\":\"%s\",\"ec2InstanceId\":\"i-%u\",\"n\":%u,\"status\":\"ACTIVE\"}",
               i->value[4], key, n, n);
    fixture_post(&f, RECORD_INSTANCE, key, ++i->version, b.data);
    buf_fini(&b);
}

static void put_task(unsigned n)
{
    struct task *t = &tasks[n];
    char key[160], on[160], json[900], created[80] = "";
    key_of("task", n, key);
    key_of("container-instance", t->instance, on);
    if (!t->live) {
        if (t->version > 0)
            fixture_delete(&f, RECORD_TASK, key, t->version);
        t->version++;
        return;
    }
    if (t->created[0] != '\0')
        snprintf(created, sizeof created, "\"createdAt\":%s,", t->created);
    snprintf(
        json, sizeof json,
        "{\"clusterArn\":\"" CLUSTER "\",\"containerInstanceArn\":\"%s\",%s\"desiredStatus\":"
        "\"RUNNING\",\"group\":\"family:f%u\",\"lastStatus\":\"%s\",\"n\":%u,\"taskArn\":\"%s\","
        "\"taskDefinitionArn\":\"" ARN "task-definition/f%u:1\"}",
        on, created, t->family, t->stopped ? "STOPPED" : "RUNNING", n, key, t->family);
    fixture_post(&f, RECORD_TASK, key, ++t->version, json);
}

/* Times that are alike, none, and what is no time of that form. */
static void draw_created(char out[48])
{
    static const char *const odd[] = {
        "",    "17000000", "\"2026-11-22T09:01:00Z\"", "\"soon\"", "\"1969-11-22T09:01:00.000Z\"",
        "true"};
    if (dice(60) == 0)
        snprintf(out, 48, "%s", odd[dice(6)]);
    else
        snprintf(out, 48, "\"2026-11-22T0%u:%02u:%02u.%03uZ\"", dice(10), dice(3), 59 - dice(2),
                 dice(2) * 999);
}

static void draw(bool first)
{
    for (unsigned n = 0; n < INSTANCES; n++) {
        if (!first && dice(4) != 0)
            continue;
        instances[n].live = dice(15) != 0;
        for (unsigned a = 0; a < NAMES; a++)
            if (first || dice(2) == 0)
                draw_value(a, n, instances[n].value[a]);
        put_instance(n);
    }
    for (unsigned n = 0; n < TASKS; n++) {
        struct task *t = &tasks[n];
        if (!first && dice(4) != 0)
            continue;
        t->live = dice(15) != 0;
        t->stopped = dice(9) == 0;
        if (first || dice(20) == 0) {
            t->instance = dice(INSTANCES);
            t->family = dice(20) == 0 ? 0 : 1 + dice(4);
            draw_created(t->created);
        }
        put_task(n);
    }
    fixture_settle(&f);
}

/* -- filters, as text and as what they say of an instance ------------------------------ */

static bool shown[INSTANCES]; /* by the filter that was drawn last */

static void draw_test(struct buf *b, bool *says)
{
    static const char *const operators[] = {"==", "==", "!=", "in",     "!in",
                                            "=~", "!~", ">",  "exists", "!exists"};
    unsigned a = dice(NAMES), o = dice(10), prefix = 1 + dice(2);
    char want[TEXT], other[TEXT];
    draw_value(a, dice(INSTANCES), want);
    draw_value(a, dice(INSTANCES), other);
    if (dice(8) == 0 || want[0] == '\0' || want[0] == '-' || other[0] == '\0' || other[0] == '-') {
        snprintf(want, TEXT, "none");
        snprintf(other, TEXT, "nothing");
    }
    buf_printf(b, "attribute:%s %s ", names[a], operators[o]);
    if (o < 3 || o == 7)
        buf_puts(b, want);
    else if (o < 5)
        buf_printf(b, "[%s, %s]", want, other);
    else if (o < 7)
        buf_printf(b, "%.*s.*", (int)prefix, want);
    for (unsigned n = 0; n < INSTANCES; n++) {
        const char *have = instances[n].value[a];
        bool has = strcmp(have, "-") != 0, is = strcmp(have, want) == 0;
        bool holds = o < 3    ? is
                     : o < 5  ? is || strcmp(have, other) == 0
                     : o < 7  ? strncmp(have, want, prefix) == 0
                     : o == 7 ? strcmp(have, want) > 0
                              : true;
        bool negated = operators[o][0] == '!';
        says[n] = (has && holds) != negated;
    }
}

static void draw_group(struct buf *b, bool *says)
{
    unsigned family = dice(6);
    buf_printf(b, "task:group == family:f%u", family);
    memset(says, 0, INSTANCES * sizeof *says);
    for (unsigned n = 0; n < TASKS; n++)
        if (tasks[n].live && !tasks[n].stopped && tasks[n].family == family)
            says[tasks[n].instance] = true;
}

static void draw_filter(struct buf *b, unsigned depth, bool *says)
{
    bool right[INSTANCES];
    unsigned kind = depth == 0 ? 9 : dice(10);
    if (kind < 4) { /* and, and, and, or */
        buf_puts(b, "(");
        draw_filter(b, depth - 1, says);
        buf_puts(b, kind < 3 ? " and " : " or ");
        draw_filter(b, depth - 1, right);
        buf_puts(b, ")");
        for (unsigned n = 0; n < INSTANCES; n++)
            says[n] = kind < 3 ? says[n] && right[n] : says[n] || right[n];
    } else if (kind == 4) {
        buf_puts(b, "not ");
        draw_filter(b, depth - 1, says);
        for (unsigned n = 0; n < INSTANCES; n++)
            says[n] = !says[n];
    } else if (kind == 5) {
        draw_group(b, says);
    } else {
        draw_test(b, says);
    }
}

/* -- lists ----------------------------------------------------------------------------- */

/* All items of all pages, by their member n. */
static size_t walk(const char *path, unsigned limit, unsigned *out)
{
    char page[5600], token[900] = "";
    size_t count = 0, i;
    do {
        snprintf(page, sizeof page, "%s&limit=%u&next_token=%s", path, limit, token);
        json_t *item, *doc = get_json(&f, page, 200);
        json_array_foreach(json_arr(doc, "items"), i, item)
        {
            cr_assert_lt(count, (size_t)TASKS, "%s: too many", path);
            out[count++] = (unsigned)json_int_or(item, "n", 0);
        }
        snprintf(token, sizeof token, "%s", json_str_or(doc, "next_token", ""));
        json_decref(doc);
    } while (token[0] != '\0');
    return count;
}

static bool is_listed(bool of_tasks, unsigned n, unsigned family)
{
    const struct task *t = &tasks[n];
    if (!of_tasks)
        return instances[n].live && shown[n];
    return t->live && (family == 9 || t->family == family) && instances[t->instance].live &&
           shown[t->instance];
}

/* One path in the present, of many pages; again in the past, where each row is asked, in one. */
static size_t compare(const char *path, bool of_tasks, unsigned family, unsigned *then)
{
    static unsigned got[TASKS];
    char past[4600];
    unsigned all = of_tasks ? TASKS : INSTANCES;
    bool seen[TASKS] = {false};
    size_t count = walk(path, 1 + dice(dice(4) == 0 ? 900 : 60), got), expected = 0;
    for (size_t i = 0; i < count; i++) {
        cr_assert(!seen[got[i]], "%s: %u twice", path, got[i]);
        seen[got[i]] = true;
    }
    for (unsigned n = 0; n < all; n++) {
        cr_assert_eq(seen[n], is_listed(of_tasks, n, family), "%s: %u", path, n);
        expected += seen[n];
    }
    cr_assert_eq(count, expected);
    snprintf(past, sizeof past, "%s&at=-0s", path);
    cr_assert_eq(walk(past, 1000, then), count, "%s", path);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(got[i], then[i], "%s: %zu. is %u, not %u", path, i, got[i], then[i]);
    return count;
}

static void draw_path(char *path, size_t cap, bool of_tasks, unsigned *family)
{
    static const char *const orders[] = {"", "", "sort=createdAt", "sort=-createdAt", "sort=-n"};
    struct buf b;
    size_t at =
        (size_t)snprintf(path, cap, "/v2/%s?%s", of_tasks ? "tasks" : "instances", orders[dice(5)]);
    *family = of_tasks && dice(4) == 0 ? dice(5) : 9;
    if (*family != 9)
        at += (size_t)snprintf(path + at, cap - at, "&family=f%u", *family);
    buf_init(&b, 1500);
    draw_filter(&b, dice(3), shown);
    at += (size_t)snprintf(path + at, cap - at, "&filter=");
    for (size_t i = 0; i < b.len && b.err == 0; i++)
        at += (size_t)snprintf(path + at, cap - at, "%%%02x", (unsigned char)b.data[i]);
    cr_assert(b.err == 0 && at < cap - 20);
    buf_fini(&b);
}

static void ask_without_filter(void)
{
    static unsigned got[TASKS], then[TASKS];
    static const char *const paths[] = {"/v2/tasks?sort=createdAt",
                                        "/v2/tasks?sort=-createdAt",
                                        "/v2/tasks?sort=-createdAt&status=RUNNING",
                                        "/v2/tasks?sort=createdAt&family=f1&revision=1",
                                        "/v2/tasks?revision=1",
                                        "/v2/tasks?"};
    for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++) {
        char past[200];
        size_t count = walk(paths[p], 1 + dice(40), got);
        snprintf(past, sizeof past, "%s&at=-0s", paths[p]);
        cr_assert_eq(walk(past, 1000, then), count, "%s", paths[p]);
        cr_assert_gt(count, 50u);
        for (size_t i = 0; i < count; i++)
            cr_assert_eq(got[i], then[i], "%s: %zu. is %u, not %u", paths[p], i, got[i], then[i]);
    }
}

Test(filters, hold_what_each_row_holds_in_one_order, .timeout = 300)
{
    static unsigned before[TASKS], then[TASKS];
    char path[4400], past[4600], time[CLOCK_TEXT_MAX];
    unsigned family;
    size_t count = 0;
    path[0] = '\0';
    const char *seed = getenv("BLOX_TEST_SEED"); /* another than the usual one */
    prng_seed(&rng, seed == NULL ? 7 : strtoull(seed, NULL, 10));
    fixture_start(&f, NULL);
    for (unsigned round = 0; round < ROUNDS; round++) {
        clock_format_unix_ms(clock_unix_ms(), time);
        usleep(2000);
        draw(round == 0);
        if (round > 0) { /* as it was before these changes */
            snprintf(past, sizeof past, "%s&at=%s", path, time);
            cr_assert_eq(walk(past, 1000, then), count, "%s", past);
            cr_assert_eq(memcmp(then, before, count * sizeof *then), 0, "%s", past);
        }
        ask_without_filter();
        for (unsigned i = 0; i < QUERIES; i++) {
            bool of_tasks = dice(3) > 0;
            draw_path(path, sizeof path, of_tasks, &family);
            count = compare(path, of_tasks, family, before);
        }
    }
    fixture_stop(&f);
}
