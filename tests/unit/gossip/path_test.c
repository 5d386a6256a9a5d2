/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/base/limits.h"
#include "gossip/path.h"

#define SMALL GOSSIP_DATAGRAM_SMALL
#define BASE GOSSIP_DATAGRAM_BASE
#define JUMBO GOSSIP_DATAGRAM_MAX

static struct path path(void)
{
    struct path p;
    path_init(&p);
    return p;
}

static bool wants_proof(struct path *p, uint64_t now, size_t size, bool again)
{
    enum path_level level = path_wants(p, now, size, again);
    return level != PATH_SMALL && level == p->level;
}

static bool wants_more(struct path *p, uint64_t now)
{
    return path_wants(p, now, path_size(p, now), false) > p->level;
}

/* A question of the present size, answered. */
static void prove(struct path *p, uint64_t now)
{
    size_t size = path_size(p, now);
    cr_assert(wants_proof(p, now, size, true));
    path_answered(p, now, path_ask(p, now, p->level, 0), size);
}

static void spend(struct path *p, uint64_t now, size_t size, size_t bytes)
{
    for (size_t sent = 0; sent < bytes; sent += size)
        (void)path_wants(p, now, size, false);
}

static void raise_to_jumbo(struct path *p, uint64_t now)
{
    prove(p, now);
    spend(p, now, BASE, PATH_WORTH);
    cr_assert(wants_more(p, now));
    path_answered(p, now, path_ask(p, now, PATH_JUMBO, 0), JUMBO);
    cr_assert_eq(path_size(p, now), JUMBO);
}

/* The size may fall while a message that was made for it is on its way here. */
Test(path, a_message_that_does_not_fit_any_more_asks_nothing)
{
    struct path p = path();
    raise_to_jumbo(&p, 1);
    cr_assert(wants_proof(&p, 2, JUMBO, true));
    (void)path_ask(&p, 2, PATH_JUMBO, 0);
    cr_assert_eq(path_wants(&p, 2 + PATH_WAIT_MS, JUMBO, true), PATH_SMALL);
    cr_assert_eq(path_size(&p, 2 + PATH_WAIT_MS), BASE);
    cr_assert(wants_proof(&p, 2 + PATH_WAIT_MS, BASE, true));
}

Test(path, the_usual_size_is_used_at_once_and_its_first_asks)
{
    struct path p = path();
    cr_assert_eq(path_size(&p, 1), BASE);
    cr_assert(!wants_proof(&p, 1, SMALL, true), "every path takes this");
    cr_assert(wants_proof(&p, 1, SMALL + 1, false));
    uint16_t seq = path_ask(&p, 1, PATH_BASE, 0);
    cr_assert(!wants_proof(&p, 2, BASE, true), "one question at a time");
    path_answered(&p, 3, seq, BASE);
    cr_assert(!wants_proof(&p, 4, BASE, false));
    cr_assert(wants_proof(&p, 4, BASE, true), "what was lost before asks again");
    cr_assert(wants_proof(&p, 3 + PATH_OLD_MS, BASE, false), "a proof grows old");
}

Test(path, jumbo_frames_come_after_much_traffic_and_an_answer)
{
    struct path p = path();
    spend(&p, 1, BASE, PATH_WORTH);
    cr_assert(wants_proof(&p, 1, BASE, false), "the usual size was not proven yet");
    prove(&p, 1);
    spend(&p, 1, BASE, PATH_WORTH / 2);
    cr_assert(!wants_more(&p, 1), "not worth it");
    spend(&p, 1, 800, PATH_WORTH / 2); /* messages of 600 bytes go one by one */
    cr_assert(wants_more(&p, 1));
    cr_assert_eq(path_wants(&p, 1, 600, false), PATH_SMALL, "not beside a small one");
    uint16_t seq = path_ask(&p, 1, PATH_JUMBO, 0);
    cr_assert_eq(path_size(&p, 2), BASE, "asked is not proven");
    path_answered(&p, 2, (uint16_t)(seq + 1), JUMBO);
    path_answered(&p, 2, seq, BASE);
    cr_assert_eq(path_size(&p, 2), BASE, "another question's answer, another size");
    path_answered(&p, 2, seq, JUMBO);
    cr_assert_eq(path_size(&p, 2), JUMBO);
    spend(&p, 2, BASE, 4 * PATH_WORTH);
    cr_assert(!wants_proof(&p, 2, BASE, false), "small ones neither need it nor prove it");
    spend(&p, 2, JUMBO, PATH_WORTH);
    cr_assert(wants_proof(&p, 2, JUMBO, false));
}

Test(path, a_lost_question_takes_jumbo_frames_away_at_once)
{
    struct path p = path();
    raise_to_jumbo(&p, 1000);
    path_ask(&p, 2000, PATH_JUMBO, 0);
    cr_assert_eq(path_size(&p, 2000 + PATH_WAIT_MS - 1), JUMBO);
    cr_assert_eq(path_size(&p, 2000 + PATH_WAIT_MS), BASE);
    cr_assert(wants_proof(&p, 2300, BASE, false), "nor is it known what else is lost");
    path_answered(&p, 2300, path_ask(&p, 2300, PATH_BASE, 0), BASE);
    cr_assert(wants_more(&p, 2300), "perhaps by chance");
}

Test(path, a_long_round_trip_is_waited_for)
{
    struct path p = path();
    path_ask(&p, 1000, PATH_BASE, 400000);
    cr_assert_eq(path_size(&p, 1799), BASE);
    cr_assert_eq(path_size(&p, 1800), SMALL);
}

Test(path, the_usual_size_is_lost_too)
{
    struct path p = path();
    path_ask(&p, 1000, PATH_BASE, 0);
    uint64_t now = 1000 + PATH_WAIT_MS;
    cr_assert_eq(path_size(&p, now), SMALL);
    cr_assert(!wants_proof(&p, now, SMALL, true));
    for (unsigned i = 1; i < PATH_TRIES; i++, now += PATH_WAIT_MS) {
        cr_assert(wants_more(&p, now), "perhaps by chance");
        path_ask(&p, now, PATH_BASE, 0);
        cr_assert(!wants_more(&p, now), "one question at a time");
    }
    spend(&p, now, SMALL, PATH_WORTH);
    cr_assert(!wants_more(&p, now));
    cr_assert(!wants_more(&p, now + PATH_AGAIN_MS - 1));
    cr_assert(wants_more(&p, now + PATH_AGAIN_MS));
    uint16_t seq = path_ask(&p, now + PATH_AGAIN_MS, PATH_BASE, 0);
    path_answered(&p, now + PATH_AGAIN_MS, seq, BASE);
    cr_assert_eq(path_size(&p, now + PATH_AGAIN_MS), BASE);
}

Test(path, an_answer_that_is_late_counts)
{
    struct path p = path();
    uint16_t seq = path_ask(&p, 1000, PATH_BASE, 0);
    cr_assert_eq(path_size(&p, 5000), SMALL);
    path_answered(&p, 5000, seq, BASE);
    cr_assert_eq(path_size(&p, 5000), BASE);
}

Test(path, what_fails_is_tried_ever_more_rarely)
{
    struct path p = path();
    prove(&p, 1);
    uint64_t now = 1, waits = PATH_AGAIN_MS;
    for (unsigned i = 0; i < PATH_DOUBLINGS + 2; i++) {
        prove(&p, now);
        spend(&p, now, BASE, PATH_WORTH);
        for (unsigned k = 0; k < PATH_TRIES; k++, now += PATH_WAIT_MS) {
            cr_assert(wants_more(&p, now));
            path_ask(&p, now, PATH_JUMBO, 0);
        }
        cr_assert_eq(path_size(&p, now), BASE, "what was proven stays");
        prove(&p, now + waits - PATH_WAIT_MS - 1);
        spend(&p, now, BASE, PATH_WORTH);
        cr_assert(!wants_more(&p, now + waits - PATH_WAIT_MS - 1));
        now += waits;
        if (i < PATH_DOUBLINGS)
            waits *= 2;
    }
}

Test(path, the_own_interface_refuses)
{
    struct path p = path();
    raise_to_jumbo(&p, 1000);
    path_refused(&p, 1000, 3000);
    cr_assert_eq(path_size(&p, 1000), BASE);
    path_refused(&p, 1000, 1300);
    cr_assert_eq(path_size(&p, 1000), SMALL);
    path_refused(&p, 1000, 1000);
    cr_assert_eq(path_size(&p, 1000), SMALL, "there is nothing smaller");
    spend(&p, 1000, SMALL, PATH_WORTH);
    cr_assert(!wants_more(&p, 1000));
    cr_assert(wants_more(&p, 1000 + 2 * PATH_AGAIN_MS));
}

Test(path, a_refused_question_is_not_open)
{
    struct path p = path();
    prove(&p, 1);
    spend(&p, 1, BASE, PATH_WORTH);
    uint16_t seq = path_ask(&p, 1, PATH_JUMBO, 0);
    path_refused(&p, 1, JUMBO);
    path_answered(&p, 2, seq, JUMBO);
    cr_assert_eq(path_size(&p, 1 + PATH_WAIT_MS), BASE);
    cr_assert(!wants_proof(&p, 1 + PATH_WAIT_MS, BASE, false), "it is as good as before");
}

Test(path, messages_survive_the_round_trip)
{
    uint8_t out[64], inner[] = {2, 7, 7};
    struct path_message q = {.type = PATH_QUESTION, .seq = 515, .inner = inner, .inner_len = 3};
    struct path_message a = {.type = PATH_ANSWER, .seq = 515, .size = 8952}, got;
    memset(out, 0xff, sizeof out);
    cr_assert_eq(path_put(&q, out, sizeof out), sizeof out);
    cr_assert_eq(out[sizeof out - 1], 0);
    cr_assert_eq(path_get(out, sizeof out, &got), 0);
    cr_assert(got.type == PATH_QUESTION && got.seq == 515 && got.inner_len == 3);
    cr_assert_eq(memcmp(got.inner, inner, 3), 0);
    size_t len = path_put(&a, out, PATH_HEAD);
    cr_assert_eq(path_get(out, len, &got), 0);
    cr_assert(got.type == PATH_ANSWER && got.seq == 515 && got.size == 8952);
    cr_assert_eq(path_get(out, len - 1, &got), ERR_MALFORMED);
    out[0] = 3;
    cr_assert_eq(path_get(out, len, &got), ERR_MALFORMED);
    (void)path_put(&q, out, sizeof out);
    cr_assert_eq(path_get(out, PATH_HEAD + 2, &got), ERR_MALFORMED, "the message in it is cut off");
}
