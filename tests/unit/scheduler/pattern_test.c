/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/pattern.h"

#include <criterion/criterion.h>
#include <string.h>

Test(pattern, matches_the_whole_value)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"g2.*", "g2.xlarge", true},
        {"g2.*", "xg2.xlarge", false},
        {"t2\\.micro", "t2.micro", true},
        {"t2\\.micro", "t2xmicro", false},
        {"(m4|m5|c6i)\\..*", "m5.large", true},
        {"(m4|m5|c6i)\\..*", "c6i.large", true},
        {"(m4|m5|c6i)\\..*", "c5.large", false},
        {"a|bc|", "", true},
        {"a|bc|", "bc", true},
        {"a|bc|", "ab", false},
        {"[a-c]+[0-9]{2,3}", "abc12", true},
        {"[a-c]+[0-9]{2,3}", "abc1", false},
        {"[a-c]+[0-9]{2,3}", "abc1234", false},
        {"[^a-c]*", "xyz", true},
        {"[^a-c]*", "xaz", false},
        {"[]x-]+", "]-x", true},
        {"\\d+\\.\\d+", "10.2", true},
        {"\\w+\\s\\S+", "ab_1 #!", true},
        {"[\\d.]+", "1.2.3", true},
        {"(?:ab)*c?", "ababc", true},
        {"(?:ab)*c?", "aba", false},
        {"(a*)*b", "aaab", true},
        {"x{0}y", "y", true},
        {"x{0}y", "xy", false},
        {"(ab){2,}", "ababab", true},
        {"(ab){2,}", "ab", false},
        {"^eu-west-1[ab]$", "eu-west-1b", true},
        {"a.c??", "ab", true},
        {"", "", true},
        {"", "x", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pattern p;
        struct errmsg e = {""};
        size_t at;
        cr_expect_eq(pattern_compile(&p, cases[i].pattern, &at, &e), 0, "%s: %s", cases[i].pattern,
                     e.text);
        cr_expect_eq(pattern_match(&p, cases[i].text), cases[i].matches, "%s on %s",
                     cases[i].pattern, cases[i].text);
    }
}

Test(pattern, refuses_with_a_position)
{
    static const struct {
        const char *pattern;
        size_t at;
    } cases[] = {
        {"*a", 0},      {"a**", 2}, {"(a", 2},
        {"a)", 1},      {"[a", 2},  {"[b-a]", 4},
        {"(?=a)", 1},   {"a++", 2}, {"\\1", 1},
        {"\\p{L}", 1},  {"a^b", 1}, {"a{3,1}", 5},
        {"a{1000}", 5}, {"\\", 1},  {"a{x}", 2},
        {"[a[b]]", 2},  {"a$b", 1}, {"(((((((((((((a)))))))))))))", 13},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pattern p;
        struct errmsg e = {""};
        size_t at;
        cr_expect_eq(pattern_compile(&p, cases[i].pattern, &at, &e), ERR_BADPARAM, "%s",
                     cases[i].pattern);
        cr_expect_eq(at, cases[i].at, "%s: at %zu: %s", cases[i].pattern, at, e.text);
        cr_expect_neq(e.text[0], '\0');
    }
}

/* What takes a backtracking matcher 2^n steps, and programs that would not fit. */
Test(pattern, is_linear_and_bounded)
{
    struct pattern p;
    struct errmsg e;
    size_t at;
    char text[2001];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    cr_assert_eq(pattern_compile(&p, "(a|aa)*(a*)*(a?){60}b", &at, &e), 0);
    cr_expect(!pattern_match(&p, text));
    cr_expect_eq(pattern_compile(&p, "((a{60}){60}){60}", &at, &e), ERR_BADPARAM);
    cr_expect_eq(pattern_compile(&p, text, &at, &e), ERR_BADPARAM);
}
