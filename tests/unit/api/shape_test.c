/* SPDX-License-Identifier: Apache-2.0
 * What a shape fills in is what the function makes, byte for byte: for many rows, alike and odd. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "agent/api/shape.h"
#include "agent/api/v1.h"

static uint64_t state = 88172645463325252u;

static unsigned draw(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % n);
}

static unsigned calls;

static int counted(struct buf *out, struct row_text json)
{
    calls++;
    return v1_put_task_entity(out, json);
}

static void put_text(struct buf *b, const char *name)
{
    static const char *const texts[] = {"",
                                        "a",
                                        "arn:aws:ecs:us-east-1:111122223333:task/prod/0123456789",
                                        "quote \\\" and \\u00e9",
                                        "RUNNING",
                                        "810000001",
                                        ("\x7f"
                                         "810000000"),
                                        "{\\\"x\\\":[1]}",
                                        "\xc3\xa9t\xc3\xa9"};
    buf_printf(b, "\"%s\":\"%s\",", name, texts[draw(4) != 0 ? 1 + draw(2) * 3 : draw(9)]);
}

static void put_number(struct buf *b, const char *name)
{
    static const char *const numbers[] = {
        "0", "1", "137", "65535", "-1", "1.5", "1e300", "-0.0", "99999999999999999999"};
    buf_printf(b, "\"%s\":%s,", name, numbers[draw(3) != 0 ? 1 + draw(3) : draw(9)]);
}

static void make_task(struct buf *b)
{
    buf_clear(b);
    buf_puts(b, "{");
    put_text(b, "clusterArn");
    if (draw(9) > 0)
        put_text(b, "containerInstanceArn");
    buf_puts(b, "\"containers\":[");
    for (unsigned n = draw(3); n > 0; n--) {
        buf_puts(b, "{");
        put_text(b, "containerArn");
        put_number(b, "exitCode");
        put_text(b, "lastStatus");
        buf_puts(b, "\"networkBindings\":[{\"bindIP\":\"0.0.0.0\",");
        put_number(b, "containerPort");
        put_number(b, "hostPort");
        buf_printf(b, "\"protocol\":%s}]}%s", draw(9) > 0 ? "\"tcp\"" : "null", n > 1 ? "," : "");
    }
    buf_puts(b, draw(30) > 0 ? "]," : "] ,");
    put_text(b, "lastStatus");
    put_text(b, "startedBy");
    put_text(b, "stoppedReason");
    put_text(b, "taskArn");
    put_number(b, "version");
    buf_printf(b, "\"overrides\":{\"containerOverrides\":[{\"command\":[\"%s\",\"b\"]}]}}",
               draw(2) ? "x" : "y");
}

Test(shape, fills_in_what_the_function_makes)
{
    struct shapes *s = NULL;
    struct buf json, expected, got;
    buf_init(&json, 1 << 16);
    buf_init(&expected, 1 << 20);
    buf_init(&got, 1 << 20);
    for (unsigned i = 0; i < 10000; i++) {
        if (i % 500 == 0) { /* the first rows of a list decide what is learned */
            shapes_free(s);
            s = shapes_new(v1_put_task_entity);
        }
        make_task(&json);
        struct row_text text = {json.data, json.len};
        buf_clear(&expected);
        buf_clear(&got);
        buf_puts(&got, "before");
        int err = v1_put_task_entity(&expected, text);
        cr_assert_eq(shapes_put(s, &got, text), err, "%s", json.data);
        if (err == 0)
            cr_assert_str_eq(got.data + 6, expected.data, "%s", json.data);
    }
    shapes_free(s);
    buf_fini(&json);
    buf_fini(&expected);
    buf_fini(&got);
}

Test(shape, learns_once_and_stays_within_its_room)
{
    char json[512], room[256];
    struct shapes *s = shapes_new(counted);
    struct buf out;
    calls = 0;
    for (unsigned i = 1; i <= 100; i++) {
        int n = snprintf(json, sizeof json,
                         "{\"clusterArn\":\"c%u\",\"containers\":[],\"taskArn\":\"t%u\","
                         "\"version\":%u}",
                         i * i, i, i);
        buf_init(&out, 4096);
        cr_assert_eq(shapes_put(s, &out, (struct row_text){json, (size_t)n}), 0);
        snprintf(room, sizeof room, "\"clusterARN\":\"c%u\"", i * i);
        cr_assert_not_null(strstr(out.data, room));
        /* In memory of any size: all of it or an error, and nothing behind its end. */
        struct buf fixed;
        memset(room, 'z', sizeof room);
        buf_over(&fixed, room, 1 + i * 2);
        int err = shapes_put(s, &fixed, (struct row_text){json, (size_t)n});
        cr_assert(err == ERR_TOOBIG || fixed.len == out.len);
        cr_assert_eq(room[1 + i * 2], 'z');
        buf_fini(&out);
    }
    /* The function: once for the first row and once for its marks; and where there was no room. */
    cr_assert_leq(calls, 102u, "%u", calls);
    shapes_free(s);
}
