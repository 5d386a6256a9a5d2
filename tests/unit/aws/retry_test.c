/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "agent/aws/answer.h"
#include "agent/aws/retry.h"
#include "agent/base/err.h"

Test(retry, classifies)
{
    static const struct {
        struct retry_input in;
        enum retry_class class;
    } rows[] = {
        {{0, true, 200, ""}, RETRY_NEVER},
        {{0, true, 400, "ThrottlingException"}, RETRY_THROTTLED},
        {{0, true, 503, "SlowDown"}, RETRY_THROTTLED},
        {{0, true, 429, ""}, RETRY_THROTTLED},
        {{0, true, 500, "ServerException"}, RETRY_TRANSIENT},
        {{0, true, 400, "ServerException"}, RETRY_TRANSIENT},
        {{0, true, 408, ""}, RETRY_TRANSIENT},
        {{0, true, 400, "ClientException"}, RETRY_NEVER},
        {{0, true, 301, ""}, RETRY_NEVER},
        {{0, true, 400, "ExpiredTokenException"}, RETRY_EXPIRED},
        {{0, true, 403, "ExpiredToken"}, RETRY_EXPIRED},
        {{0, true, 400, "UnrecognizedClientException"}, RETRY_EXPIRED},
        {{0, true, 403, "InvalidSignatureException"}, RETRY_CLOCK},
        {{ERR_UNREACHABLE, false, 0, ""}, RETRY_UNSENT},
        {{ERR_TIMEOUT, false, 0, ""}, RETRY_UNSENT},
        {{ERR_TIMEOUT, true, 0, ""}, RETRY_TIMEOUT},
        {{ERR_UPSTREAM, true, 200, ""}, RETRY_TRANSIENT},
        {{ERR_TOOBIG, true, 200, ""}, RETRY_NEVER},
        {{ERR_CANCELED, true, 0, ""}, RETRY_NEVER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(retry_classify(&rows[i].in), rows[i].class, "row %zu", i);
}

Test(retry, three_attempts_and_no_more)
{
    struct retry_quota q;
    struct retry_state s = {0};
    retry_quota_init(&q);
    for (s.attempts = 1; s.attempts < 3; s.attempts++)
        cr_assert(retry_again(&s, RETRY_TRANSIENT, &q));
    cr_assert_not(retry_again(&s, RETRY_TRANSIENT, &q));
}

Test(retry, once_retries_only_what_had_no_effect)
{
    static const struct {
        enum retry_class class;
        bool again;
    } rows[] = {{RETRY_NEVER, false},   {RETRY_THROTTLED, true},  {RETRY_UNSENT, true},
                {RETRY_TIMEOUT, false}, {RETRY_TRANSIENT, false}, {RETRY_EXPIRED, true},
                {RETRY_CLOCK, true}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct retry_quota q;
        struct retry_state s = {.once = true, .attempts = 1};
        retry_quota_init(&q);
        cr_assert_eq(retry_again(&s, rows[i].class, &q), rows[i].again, "row %zu", i);
    }
}

Test(retry, expired_credentials_are_renewed_once_for_a_call)
{
    struct retry_quota q = {0}; /* it costs nothing */
    struct retry_state s = {.attempts = 1};
    cr_assert(retry_again(&s, RETRY_EXPIRED, &q));
    cr_assert_not(retry_again(&s, RETRY_EXPIRED, &q));
}

Test(retry, the_quota_stops_a_storm_and_fills_again)
{
    struct retry_quota q;
    unsigned retries = 0;
    retry_quota_init(&q);
    for (unsigned i = 0; i < 1000; i++) {
        struct retry_state s = {.attempts = 1};
        retries += retry_again(&s, RETRY_TRANSIENT, &q);
    }
    cr_assert_eq(retries, RETRY_QUOTA_MAX / 5);
    struct retry_state s = {.attempts = 1};
    cr_assert_not(retry_again(&s, RETRY_TIMEOUT, &q));
    for (unsigned i = 0; i < 10; i++)
        retry_succeeded(&s, &q);
    cr_assert_eq(q.tokens, 10);
    cr_assert(retry_again(&s, RETRY_TIMEOUT, &q), "a timeout costs 10");
    cr_assert_eq(q.tokens, 0);
    retry_succeeded(&s, &q);
    cr_assert_eq(q.tokens, 10, "a success gives back what its retry cost");
    for (unsigned i = 0; i < 2000; i++)
        retry_succeeded(&s, &q);
    cr_assert_eq(q.tokens, RETRY_QUOTA_MAX);
}

Test(retry, the_delay_is_full_jitter_below_a_growing_ceiling)
{
    static const uint64_t ceilings[] = {1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000};
    struct prng prng;
    prng_seed(&prng, 7);
    for (unsigned n = 1; n <= 8; n++) {
        uint64_t low = UINT64_MAX;
        uint64_t high = 0;
        for (unsigned i = 0; i < 2000; i++) {
            uint64_t ms = retry_delay_ms(n, &prng);
            low = ms < low ? ms : low;
            high = ms > high ? ms : high;
        }
        cr_assert_leq(high, ceilings[n - 1]);
        cr_assert_geq(high, ceilings[n - 1] * 95 / 100);
        cr_assert_leq(low, ceilings[n - 1] * 5 / 100);
    }
    cr_assert_leq(retry_delay_ms(4000000000u, &prng), 20000);
}

Test(answer, codes_and_errors)
{
    static const struct {
        const char *raw;
        const char *code;
    } cuts[] = {{"ClientException", "ClientException"},
                {"com.amazonaws.ecs#ClientException", "ClientException"},
                {"ClientException:http://internal/", "ClientException"},
                {"a#B:c", "B"},
                {"AWS.SimpleQueueService.NonExistentQueue;Sender",
                 "AWS.SimpleQueueService.NonExistentQueue"},
                {"", ""}};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        char out[96];
        answer_cut_code(cuts[i].raw, out, sizeof out);
        cr_assert_str_eq(out, cuts[i].code);
    }
    static const struct {
        int status;
        const char *code;
        int err;
    } rows[] = {{200, "", 0},
                {400, "ThrottlingException", ERR_THROTTLED},
                {400, "AccessDeniedException", ERR_DENIED},
                {403, "", ERR_DENIED},
                {403, "SignatureDoesNotMatch", ERR_AUTH},
                {400, "ExpiredTokenException", ERR_AUTH},
                {400, "ClusterNotFoundException", ERR_NOTFOUND},
                {400, "QueueDoesNotExist", ERR_NOTFOUND},
                {400, "AWS.SimpleQueueService.NonExistentQueue", ERR_NOTFOUND},
                {404, "", ERR_NOTFOUND},
                {400, "InvalidParameterException", ERR_BADPARAM},
                {500, "ServerException", ERR_UPSTREAM},
                {302, "", ERR_UPSTREAM}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(answer_err(rows[i].status, rows[i].code), rows[i].err, "row %zu", i);
}
