/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/retry.h"

#include <stddef.h>
#include <string.h>

#include "agent/base/err.h"

#define COST_RETRY 5u
#define COST_TIMEOUT 10u

static bool one_of(const char *code, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(code, *list) == 0)
            return true;
    return false;
}

bool retry_code_is_throttle(const char *code)
{
    /* "Retry behavior" in the AWS SDKs and Tools Reference Guide; SQS's own one last. */
    static const char *const codes[] = {"Throttling",
                                        "ThrottlingException",
                                        "ThrottledException",
                                        "RequestThrottledException",
                                        "TooManyRequestsException",
                                        "ProvisionedThroughputExceededException",
                                        "TransactionInProgressException",
                                        "RequestLimitExceeded",
                                        "BandwidthLimitExceeded",
                                        "LimitExceededException",
                                        "RequestThrottled",
                                        "SlowDown",
                                        "PriorRequestNotComplete",
                                        "EC2ThrottledException",
                                        "KmsThrottled",
                                        NULL};
    return one_of(code, codes);
}

enum retry_class retry_classify(const struct retry_input *in)
{
    static const char *const expired[] = {"ExpiredToken",
                                          "ExpiredTokenException",
                                          "RequestExpired",
                                          "UnrecognizedClientException",
                                          "InvalidClientTokenId",
                                          "AuthFailure",
                                          NULL};
    static const char *const clock[] = {"RequestTimeTooSkewed", "InvalidSignatureException",
                                        "SignatureDoesNotMatch", NULL};
    static const char *const transient[] = {"RequestTimeout",
                                            "RequestTimeoutException",
                                            "InternalFailure",
                                            "InternalError",
                                            "ServiceUnavailable",
                                            "ServerException",
                                            NULL};
    if (in->transport_err != 0) {
        if (in->transport_err == ERR_TOOBIG || in->transport_err == ERR_NOMEM ||
            in->transport_err == ERR_CANCELED)
            return RETRY_NEVER;
        if (!in->sent)
            return RETRY_UNSENT;
        return in->transport_err == ERR_TIMEOUT ? RETRY_TIMEOUT : RETRY_TRANSIENT;
    }
    if (in->http_status >= 200 && in->http_status < 300)
        return RETRY_NEVER;
    if (in->http_status == 429 || retry_code_is_throttle(in->code))
        return RETRY_THROTTLED;
    if (in->http_status >= 500 || in->http_status == 408 || one_of(in->code, transient))
        return RETRY_TRANSIENT;
    if (one_of(in->code, expired))
        return RETRY_EXPIRED;
    return one_of(in->code, clock) ? RETRY_CLOCK : RETRY_NEVER;
}

void retry_quota_init(struct retry_quota *q)
{
    q->tokens = RETRY_QUOTA_MAX;
}

static bool once_forbids(const struct retry_state *s, enum retry_class class)
{
    return s->once && (class == RETRY_TIMEOUT || class == RETRY_TRANSIENT);
}

bool retry_again(struct retry_state *s, enum retry_class class, struct retry_quota *q)
{
    if (class == RETRY_NEVER || s->attempts >= RETRY_ATTEMPTS_MAX || once_forbids(s, class))
        return false;
    if (class == RETRY_EXPIRED || class == RETRY_CLOCK) {
        bool *flag = class == RETRY_EXPIRED ? &s->has_refreshed : &s->has_reclocked;
        bool first = !*flag;
        *flag = true;
        return first; /* a refusal for its signature is no sign of overload: no cost */
    }
    unsigned cost = class == RETRY_TIMEOUT ? COST_TIMEOUT : COST_RETRY;
    if (q->tokens < cost)
        return false;
    q->tokens -= cost;
    s->cost = cost;
    return true;
}

void retry_succeeded(struct retry_state *s, struct retry_quota *q)
{
    unsigned back = s->cost == 0 ? 1 : s->cost;
    q->tokens = q->tokens + back > RETRY_QUOTA_MAX ? RETRY_QUOTA_MAX : q->tokens + back;
    s->cost = 0;
}

uint64_t retry_delay_ms(unsigned attempts, struct prng *prng)
{
    uint64_t ceiling = RETRY_DELAY_BASE_MS;
    for (unsigned i = 1; i < attempts && ceiling < RETRY_DELAY_MAX_MS; i++)
        ceiling *= 2;
    if (ceiling > RETRY_DELAY_MAX_MS)
        ceiling = RETRY_DELAY_MAX_MS;
    return (uint64_t)(prng_unit(prng) * (double)ceiling);
}
