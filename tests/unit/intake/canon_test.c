/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/intake/canon.h"

/* Attributes whose names begin alike, one within the other: count of them, every step-th next. */
static void write_attributes(struct buf *out, unsigned count, unsigned step)
{
    static const char *const names[] = {"", "ecs.", "ecs.capability.", "ecs.capability.x",
                                        "com.amazonaws.ecs.capability."};
    struct buf text;
    struct tape t;
    buf_init(&text, 1u << 20);
    buf_puts(&text, "{\"attributes\":[");
    for (unsigned i = 0; i < count; i++) {
        unsigned k = (unsigned)((uint64_t)i * step % count);
        buf_printf(&text, "%s{\"name\":\"%s%u-\",\"value\":\"%u\"}", i == 0 ? "" : ",",
                   names[k % 5], k / 5, k);
    }
    buf_puts(&text, "]}");
    tape_init(&t);
    buf_init(out, 1u << 20);
    cr_assert_eq(tape_parse(&t, text.data, text.len, NULL), 0);
    cr_assert_eq(canon_write(&t, 0, false, NULL, out), 0);
    tape_fini(&t);
    buf_fini(&text);
}

static void check_order(const char *text, unsigned count)
{
    json_t *json = json_parse(text, strlen(text), NULL);
    const char *before = "";
    const json_t *one;
    size_t i;
    cr_assert_eq(json_array_size(json_arr(json, "attributes")), count);
    json_array_foreach(json_arr(json, "attributes"), i, one)
    {
        cr_assert_lt(strcmp(before, json_str(one, "name")), 0, "%s", before);
        before = json_str(one, "name");
    }
    json_decref(json);
}

Test(canon, the_order_of_attributes_means_nothing)
{
    static const unsigned counts[] = {2, 8, 71, 128, 129, 500};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct buf in_turn, backwards;
        write_attributes(&in_turn, counts[i], 1);
        write_attributes(&backwards, counts[i], counts[i] - 1);
        check_order(in_turn.data, counts[i]);
        cr_assert_str_eq(in_turn.data, backwards.data, "%u attributes", counts[i]);
        buf_fini(&in_turn);
        buf_fini(&backwards);
    }
}
