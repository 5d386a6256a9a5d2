/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/notice_uv.h"

Test(notice, answers_of_the_metadata_service)
{
    static const struct {
        unsigned which;
        const char *body, *text;
    } cases[] = {
        {0, "{\"action\": \"terminate\", \"time\": \"2026-01-02T03:04:05Z\"}",
         "spot interruption: terminate, 2026-01-02T03:04:05Z"},
        {0, "{\"action\": \"stop\"}", "spot interruption: stop"},
        {0, "{\"action\": 7}", "spot interruption: terminate"},
        {0, "<html>404</html>", ""},
        {0, "", ""},
        {0, "[]", ""},
        {0, "{\"action\": \"a\\nb\\\"c\"}", "spot interruption: abc"},
        {1, "{\"noticeTime\": \"2026-01-02T03:04:05Z\"}",
         "rebalance recommendation, 2026-01-02T03:04:05Z"},
        {1, "{}", "rebalance recommendation"},
        {2, "Terminated", "scale-in: the Auto Scaling group terminates this instance"},
        {2, "Terminated\n", "scale-in: the Auto Scaling group terminates this instance"},
        {2, "InService", ""},
        {2, "Warmed:Terminated", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char out[NOTICE_TEXT_MAX];
        notice_read(cases[i].which, cases[i].body, strlen(cases[i].body), out);
        cr_expect_str_eq(out, cases[i].text, "case %zu", i);
    }
}

Test(notice, a_long_answer_is_cut)
{
    char body[4000], out[NOTICE_TEXT_MAX];
    int n = snprintf(body, sizeof body, "{\"action\": \"%01000d\", \"time\": \"%01000d\"}", 1, 1);
    notice_read(0, body, (size_t)n, out);
    cr_expect(strlen(out) < NOTICE_TEXT_MAX);
    cr_expect(strncmp(out, "spot interruption: 000", 22) == 0);
}
