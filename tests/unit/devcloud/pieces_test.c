/* SPDX-License-Identifier: Apache-2.0
 * Small parts of devcloud: MD5, timers, patterns. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/prng.h"
#include "agent/devcloud/md5.h"
#include "agent/devcloud/pattern.h"
#include "agent/devcloud/timers.h"

/* RFC 1321, appendix A.5. */
Test(md5, rfc_vectors)
{
    static const char *const CASES[][2] = {
        {"", "d41d8cd98f00b204e9800998ecf8427e"},
        {"a", "0cc175b9c0f1b6a831c399e269772661"},
        {"message digest", "f96b697d7cb7938d525a2f31aaf161d0"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
         "d174ab98d277d9f5a5611c2c9f419d9f"},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
         "57edf4a22be3c955ac49da2e2107b67a"},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        char hex[MD5_HEX];
        md5_hex(CASES[i][0], strlen(CASES[i][0]), hex);
        cr_expect_str_eq(hex, CASES[i][1]);
    }
}

Test(timers, come_out_in_order_while_others_move_and_leave)
{
    enum { COUNT = 500 };
    static struct timer timers[COUNT];
    struct timers heap;
    struct prng prng;
    uint64_t last = 0;
    size_t seen = 0;

    prng_seed(&prng, 7);
    timers_init(&heap);
    for (size_t i = 0; i < COUNT; i++)
        cr_assert_eq(timers_arm(&heap, &timers[i], prng_below(&prng, 1000), NULL), 0);
    for (size_t i = 0; i < COUNT; i += 3)
        cr_assert_eq(timers_arm(&heap, &timers[i], prng_below(&prng, 1000), NULL), 0);
    for (size_t i = 1; i < COUNT; i += 5)
        timers_disarm(&heap, &timers[i]);
    while (timers_first(&heap) != NULL) {
        struct timer *first = timers_first(&heap);
        cr_assert_geq(first->at_ms, last);
        last = first->at_ms;
        timers_disarm(&heap, first);
        cr_assert_not(timer_is_armed(first));
        seen++;
    }
    cr_expect_eq(seen, COUNT - COUNT / 5);
    timers_fini(&heap);
}

Test(timers, equal_times_keep_their_order)
{
    struct timer a = {0}, b = {0}, c = {0};
    struct timers heap;

    timers_init(&heap);
    timers_arm(&heap, &a, 5, NULL);
    timers_arm(&heap, &b, 5, NULL);
    timers_arm(&heap, &c, 5, NULL);
    cr_expect_eq(timers_first(&heap), &a);
    timers_disarm(&heap, &a);
    cr_expect_eq(timers_first(&heap), &b);
    timers_fini(&heap);
}

Test(pattern, matches_the_models_character_classes)
{
    static const char TAG[] = "([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)";
    static const char TEXT[] = "[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u0085\\u00A0-\\uD7FF]+";
    static const struct {
        const char *pattern, *text;
        bool match;
    } CASES[] = {
        {TAG, "", true},
        {TAG, "team:edge/a-b @x+1=2", true},
        {TAG, "caf\xc3\xa9", true},
        {TAG, "a#b", false},
        {TAG, "a\tb", false},
        {"[\\w]*", "AKIA_09", true},
        {"[\\w]*", "a-b", false},
        {"[\\w+=,.@-]*", "a-b@c", true},
        {"[\\w+=,.@-]*", "a b", false},
        {"[\\d]*", "012", true},
        {"[\\d]*", "0x", false},
        {TEXT, "", false},
        {TEXT, "arn:aws:iam::1:role/x", true},
        {TEXT, "a\x01", false},
        {"something else", "anything", true},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++)
        cr_expect_eq(pattern_matches(CASES[i].pattern, CASES[i].text), CASES[i].match, "%s on '%s'",
                     CASES[i].pattern, CASES[i].text);
    cr_expect_eq(pattern_length("caf\xc3\xa9"), 4);
}
