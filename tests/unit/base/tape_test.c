/* SPDX-License-Identifier: Apache-2.0
 * The tape against jansson: both take the same texts for JSON, and read the same out of them. */
#include "agent/base/tape.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/json.h"
#include "agent/base/prng.h"

#define SAMPLE "tests/data/ecs-events/synthetic/task-02-running-ec2-network-bindings.json"
#define MUTANTS 8000

/* As text again, by the functions that readers use. */
static void write_node(const struct tape *t, uint32_t node, struct buf *out)
{
    const struct tape_node *n = &t->nodes[node];
    bool object = n->type == TAPE_OBJECT;
    if (n->type < TAPE_ARRAY) {
        tape_put_scalar(t, node, out);
        return;
    }
    buf_putc(out, object ? '{' : '[');
    for (uint32_t i = node + 1, k = 0; i < n->after; k++) {
        if (k > 0)
            buf_putc(out, ',');
        if (object) {
            tape_put_scalar(t, i++, out);
            buf_putc(out, ':');
        }
        write_node(t, i, out);
        i = t->nodes[i].after;
    }
    buf_putc(out, object ? '}' : ']');
}

static void check(struct tape *t, const char *text, size_t len)
{
    struct errmsg e = {{0}};
    struct buf again;
    char *exact = malloc(len + 1); /* one byte too many is seen by the sanitizer */
    memcpy(exact, text, len);
    json_t *expected = json_parse_lenient(exact, len, &e);
    int err = tape_parse(t, exact, len, &e);
    cr_assert_eq(err == 0, expected != NULL, "%s: %.*s", e.text, (int)len, text);
    if (err == 0) {
        buf_init(&again, 1 << 22);
        write_node(t, 0, &again);
        json_t *back = json_parse_lenient(again.data, again.len, &e);
        cr_assert(json_equal(expected, back), "%s from %.*s", again.data, (int)len, text);
        json_decref(back);
        buf_fini(&again);
    }
    json_decref(expected);
    free(exact);
}

static const char *const texts[] = {"",
                                    " ",
                                    "{",
                                    "}",
                                    "[",
                                    "]",
                                    "[]",
                                    " [ ] ",
                                    "{}",
                                    "[,]",
                                    "[1,]",
                                    "[1 2]",
                                    "[1,2]",
                                    "{,}",
                                    "{\"a\"}",
                                    "{\"a\":}",
                                    "{\"a\":1,}",
                                    "{\"a\":1 \"b\":2}",
                                    "{\"a\":1,\"a\":2}",
                                    "{1:2}",
                                    "{\"a\":1}}",
                                    "[1]]",
                                    "[}",
                                    "{]",
                                    "null",
                                    "nul",
                                    "nulll",
                                    "true",
                                    "falsy",
                                    "false",
                                    "0",
                                    "-0",
                                    "-",
                                    "00",
                                    "01",
                                    "1.",
                                    ".1",
                                    "1.0",
                                    "1e",
                                    "1e+",
                                    "1E5",
                                    "1e-5",
                                    "1e400",
                                    "-1e400",
                                    "1e-400",
                                    "9223372036854775807",
                                    "9223372036854775808",
                                    "-9223372036854775808",
                                    "-9223372036854775809",
                                    "00000000000000000000",
                                    "0.1e1x",
                                    "+1",
                                    "1.5.2",
                                    "\"",
                                    "\"a\"",
                                    "\"a",
                                    "\"\\\"",
                                    "\"\\\\\"",
                                    "\"\\/\\b\\f\\n\\r\\t\\\"\"",
                                    "\"\\x\"",
                                    "\"\\u\"",
                                    "\"\\u12\"",
                                    "\"\\u0041\"",
                                    "\"\\u00e9\\u20ac\"",
                                    "\"\\u0000\"",
                                    "\"\\ud83d\\ude00\"",
                                    "\"\\ud83d\"",
                                    "\"\\ude00\"",
                                    "\"\\ud83d\\u0041\"",
                                    "\"\\ud83dx\"",
                                    "\"\xc3\xa9\"",
                                    "\"\xc3\"",
                                    "\"\xff\"",
                                    "\"\xed\xa0\x80\"",
                                    "\"\xf0\x9f\x92\xa9\"",
                                    "\"\xc0\x80\"",
                                    "\"\xf4\x90\x80\x80\"",
                                    "\"a\nb\"",
                                    "\"a\x7f\x62\"",
                                    "\"\\u007f\\u0001\"",
                                    "\xef\xbb\xbf{}",
                                    "{\"\\u0061\":1,\"a\":2}",
                                    "{\"\":{\"\":[]}}",
                                    "[[[[]]],{\"a\":[{}]}]",
                                    "tru\xc3\xa9",
                                    "{\"a\\u0000b\":1}",
                                    "[1e5,1.25,-3,\"x\",null,true,false,{}]",
                                    "\f[]",
                                    "[\"a\",]"};

Test(tape, agrees_with_jansson_on_odd_texts)
{
    struct tape t;
    tape_init(&t);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        check(&t, texts[i], strlen(texts[i]));
    check(&t, "[\"a\0b\"]", 7);
    check(&t, "[]\0", 3);
    tape_fini(&t);
}

/* Bytes are looked at sixteen at a time: what needs a look may stand at any place of them. */
Test(tape, agrees_with_jansson_on_odd_bytes_at_every_place)
{
    static const char *const odd[] = {"\\\"",           "\\\\",     "\\n",  "\\u0041",
                                      "\\ud83d\\ude00", "\xc3\xa9", "\x7f", "\x1f",
                                      "\x80",           "\"",       "\\",   "\\u00e9\\\""};
    struct tape t;
    char text[128];
    tape_init(&t);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++)
        for (int before = 0; before < 36; before++)
            for (int behind = 0; behind < 36; behind += 5) {
                int len = snprintf(text, sizeof text, "[\"%.*s%s%.*s\"]", before,
                                   "abcdefghijklmnopqrstuvwxyz0123456789", odd[i], behind,
                                   "ABCDEFGHIJKLMNOPQRSTUVWXYZ9876543210");
                check(&t, text, (size_t)len);
                struct buf put;
                char copy[128];
                buf_init(&put, 1024);
                if (tape_parse(&t, text, (size_t)len, NULL) == 0 && t.count == 2 &&
                    tape_text(&t, 1, copy, sizeof copy)) {
                    cr_assert_eq(tape_put_text(&t, 1, &put), 0);
                    cr_assert_str_eq(put.data == NULL ? "" : put.data, copy, "%s", text);
                }
                buf_fini(&put);
            }
    tape_fini(&t);
}

Test(tape, agrees_with_jansson_on_mutants)
{
    static const char *const pieces[] = {
        "\\u00e9", "\\", "\"",  "\\ud83d\\ude00", "{", "}", "[", "]", ",", ":", "1e9",
        "-",       "0",  "\\u", "\xc3",           "/", " "};
    static char text[1 << 16];
    static char mutant[1 << 17];
    struct prng prng;
    struct tape t;
    FILE *f = fopen(SAMPLE, "rb");
    cr_assert_not_null(f);
    size_t whole = fread(text, 1, sizeof text, f);
    fclose(f);
    tape_init(&t);
    prng_seed(&prng, 4);
    for (unsigned i = 0; i < MUTANTS; i++) {
        size_t len = whole;
        memcpy(mutant, text, len);
        for (uint64_t n = 1 + prng_below(&prng, 3); n > 0; n--) {
            size_t at = prng_below(&prng, len);
            const char *piece = pieces[prng_below(&prng, sizeof pieces / sizeof pieces[0])];
            size_t size = strlen(piece);
            if (prng_below(&prng, 2) == 0) {
                /* Not NUL: jansson overlooks one behind a number. */
                mutant[at] = (char)(1 + prng_below(&prng, 255));
            } else {
                memmove(mutant + at + size, mutant + at, len - at);
                memcpy(mutant + at, piece, size);
                len += size;
            }
        }
        check(&t, mutant, len);
    }
    tape_fini(&t);
}

Test(tape, members_elements_and_texts)
{
    static const char text[] =
        "{\"a\":[1,{\"x\":\"y\"},\"z\"],\"b\":\"q\\\"\\u00e9\",\"n\":-12,\"r\":2.5,"
        "\"a\\u0062\":true,\"n\":7}";
    struct tape t;
    char out[16];
    int64_t number = 0;
    tape_init(&t);
    cr_assert_eq(tape_parse(&t, text, strlen(text), NULL), 0);
    uint32_t a = tape_get(&t, 0, "a");
    cr_assert_eq(tape_length(&t, a), 3);
    uint32_t one = tape_first(&t, a);
    uint32_t two = tape_next(&t, a, one);
    uint32_t three = tape_next(&t, a, two);
    cr_assert(tape_equals(&t, tape_get(&t, two, "x"), "y"));
    cr_assert(tape_equals(&t, three, "z"));
    cr_assert_eq(tape_next(&t, a, three), TAPE_NONE);
    cr_assert(tape_text(&t, tape_get(&t, 0, "b"), out, sizeof out));
    cr_assert_str_eq(out, "q\"\xc3\xa9");
    cr_assert_not(tape_text(&t, tape_get(&t, 0, "b"), out, 4), "it has four bytes and a NUL");
    cr_assert(tape_int(&t, tape_get(&t, 0, "n"), &number) && number == 7, "the last one counts");
    cr_assert(tape_real(&t, tape_get(&t, 0, "r")) == 2.5);
    cr_assert(tape_is(&t, tape_get(&t, 0, "ab"), TAPE_TRUE));
    cr_assert_eq(tape_get(&t, a, "x"), TAPE_NONE, "an array has no members");
    cr_assert_eq(tape_get(&t, TAPE_NONE, "x"), TAPE_NONE);
    cr_assert_eq(tape_first(&t, TAPE_NONE), TAPE_NONE);
    tape_fini(&t);
}

Test(tape, depth_is_bounded)
{
    char text[2 * TAPE_DEPTH_MAX + 3];
    struct tape t;
    tape_init(&t);
    for (size_t depth = TAPE_DEPTH_MAX; depth <= TAPE_DEPTH_MAX + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        cr_assert_eq(tape_parse(&t, text, 2 * depth, NULL),
                     depth > TAPE_DEPTH_MAX ? ERR_TOOBIG : 0);
    }
    tape_fini(&t);
}
