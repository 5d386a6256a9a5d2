/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "agent/base/span.h"

static struct span of(const char *text)
{
    return (struct span){text, strlen(text)};
}

Test(span, members)
{
    static const char json[] =
        " { \"a\" : \"x\\\"}\" , \"b\":[1,{\"c\":\"]\"},[]],\"n\":-12.5e1,\"t\":true,\"u\":null,"
        "\"back\\\\\":\"\\\\\",\"o\":{\"a\":{}} } ";
    cr_assert(span_is(span_get(of(json), "a"), "\"x\\\"}\""));
    cr_assert(span_is(span_get(of(json), "b"), "[1,{\"c\":\"]\"},[]]"));
    cr_assert(span_is(span_get(of(json), "n"), "-12.5e1"));
    cr_assert(span_is(span_get(of(json), "t"), "true"));
    cr_assert(span_is_null(span_get(of(json), "u")));
    cr_assert(span_is(span_get(of(json), "back\\\\"), "\"\\\\\""));
    cr_assert(span_is(span_get(span_get(of(json), "o"), "a"), "{}"));
    cr_assert_null(span_get(of(json), "c").data, "only the object's own members");
    cr_assert_eq(span_double_or(span_get(of(json), "n"), 0), -125.0);
    cr_assert_eq(span_int_or(span_get(of(json), "n"), 7), 7, "a fraction is no whole number");
    struct span element;
    size_t at = 0, count = 0;
    while (span_element(span_get(of(json), "b"), &at, &element))
        count++;
    cr_assert_eq(count, 3);
}

/* Any prefix and any single changed byte of a document end the walk without running past the
 * end; the copies are exact, so the sanitizer sees every step too far. */
static void walk(struct span s, int depth)
{
    struct span name, value;
    for (size_t at = 0; depth < 8 && span_member(s, &at, &name, &value);) {
        cr_assert(value.data >= s.data && value.data + value.len <= s.data + s.len);
        (void)span_int_or(value, 0);
        (void)span_inside(value);
        walk(value, depth + 1);
    }
    for (size_t at = 0; depth < 8 && span_element(s, &at, &value);) {
        cr_assert(value.data >= s.data && value.data + value.len <= s.data + s.len);
        walk(value, depth + 1);
    }
}

Test(span, damaged_input_ends_the_walk)
{
    static const char json[] = "{\"a\":\"x\\\"\",\"b\":[1,{\"c\":\"]\"},[]],\"o\":{\"a\":{}}}";
    static const char bytes[] = "\"\\{}[],:0 a";
    size_t len = strlen(json);
    for (size_t cut = 0; cut <= len; cut++) {
        char *copy = malloc(cut + (cut == 0));
        memcpy(copy, json, cut);
        walk((struct span){copy, cut}, 0);
        for (size_t i = 0; i < cut; i++)
            for (size_t j = 0; j < sizeof bytes; j++) {
                copy[i] = bytes[j];
                walk((struct span){copy, cut}, 0);
                copy[i] = json[i];
            }
        free(copy);
    }
}

/* Walked, an open member ends where it ends; cut anywhere, it ends no later. */
Test(span, a_member_without_its_end)
{
    static const char text[] = "{\"a\":{\"list\":1},\"list\":[1,[2,\"]\"],{\"b\":3}],\"z\":[9]}";
    struct span s = span_open(of(text), "list"), value;
    size_t at = 0;
    cr_assert(span_element(s, &at, &value) && span_is(value, "1"));
    cr_assert(span_element(s, &at, &value) && span_is(value, "[2,\"]\"]"));
    cr_assert(span_element(s, &at, &value) && span_is(value, "{\"b\":3}"));
    cr_assert(!span_element(s, &at, &value));
    cr_assert_null(span_open(of(text), "none").data);
    for (size_t len = 0; len < sizeof text; len++) {
        char *cut = malloc(len + 1);
        memcpy(cut, text, len);
        unsigned n = 0;
        s = span_open((struct span){cut, len}, "list");
        for (at = 0; span_element(s, &at, &value); n++)
            cr_assert(value.data + value.len <= cut + len);
        cr_assert_leq(n, 3u);
        free(cut);
    }
}
