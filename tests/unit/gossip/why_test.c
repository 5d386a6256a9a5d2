/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/why.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* What is said of a member without a probe of ours, and of one that was there before. */
Test(why, silence_and_return)
{
    static const struct {
        enum swim_cause cause;
        enum gossip_state before;
        bool unexcused;
        uint8_t direct;
        uint64_t heard_ms, suspected_ms, failed_ms;
        const char *says;
    } rows[] = {
        {SWIM_CAUSE_PROBES, MEMBER_ALIVE, false, 3, 1000, 5000, 0, "no answer to 3 probes"},
        {SWIM_CAUSE_PROBES, MEMBER_DEGRADED, true, 0, 1000, 32500, 0,
         "its host answers, but it said nothing for 31 s"},
        {SWIM_CAUSE_PROBES, MEMBER_DEGRADED, true, 0, 0, 32500, 0,
         "its host answers, but it has said nothing to this agent so far"},
        {SWIM_CAUSE_PROBES, MEMBER_DEGRADED, true, 0, 40000, 32500, 0,
         "its host answers, but it said nothing for too long"},
        {SWIM_CAUSE_PROBES, MEMBER_ALIVE, false, 0, 1000, 5000, 0, "it does not answer"},
        {SWIM_CAUSE_JOINED, 0, false, 0, 0, 0, 0, "joined"},
        {SWIM_CAUSE_JOINED, MEMBER_FAILED, false, 0, 0, 0, 0, "returned"},
        {SWIM_CAUSE_JOINED, 0, false, 3, 9000, 5000, 6000, "returned"},
        {SWIM_CAUSE_JOINED, 0, false, 3, 9000, 5000, 0, "joined"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[WHY_TEXT_MAX];
        struct swim_doubt doubt = {.unexcused = rows[i].unexcused,
                                   .trace = {.suspected_ms = rows[i].suspected_ms,
                                             .failed_ms = rows[i].failed_ms,
                                             .direct = rows[i].direct}};
        struct swim_member member = {.m = {.heard_mono_ms = rows[i].heard_ms}, .doubt = &doubt};
        struct swim_change change = {
            .member = &member, .before = rows[i].before, .cause = rows[i].cause};
        why_sentence(NULL, &change, text);
        cr_expect_str_eq(text, rows[i].says, "row %zu", i);
    }
}
