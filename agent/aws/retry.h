/* SPDX-License-Identifier: Apache-2.0
 * AWS's "standard" retry rules, pure: what an answer means, whether to send again, when, and the
 * quota that keeps a sick service from being flooded with retries. */
#ifndef BLOX_AWS_RETRY_H
#define BLOX_AWS_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/prng.h"

#define RETRY_ATTEMPTS_MAX 3
#define RETRY_DELAY_MAX_MS 20000u
#define RETRY_DELAY_BASE_MS 1000u

enum retry_class {
    RETRY_NEVER,     /* success, or an error that sending again cannot cure */
    RETRY_THROTTLED, /* refused for its rate: surely without effect */
    RETRY_UNSENT,    /* no byte went out: surely without effect */
    RETRY_TIMEOUT,   /* sent, no answer in time */
    RETRY_TRANSIENT, /* 5xx, reset, cut or broken answer */
    RETRY_EXPIRED,   /* credentials expired or not known (yet): refresh, then once more */
    RETRY_CLOCK      /* refused for the clock: correct the offset, then once more */
};

struct retry_input {
    int transport_err; /* of the transfer: 0, ERR_TIMEOUT, ERR_UNREACHABLE... */
    bool sent;
    int http_status;
    const char *code; /* error code of the answer, "" if none */
};
enum retry_class retry_classify(const struct retry_input *in);
bool retry_code_is_throttle(const char *code);

/* Token bucket of retries: full at start, a retry costs 5 (after a timeout 10), a success gives
 * back what its last retry cost, a success without retry gives 1. */
struct retry_quota {
    unsigned tokens;
};
#define RETRY_QUOTA_MAX 500u
void retry_quota_init(struct retry_quota *q);

struct retry_state {
    unsigned attempts;  /* sent so far */
    unsigned cost;      /* of the last retry, to give back */
    bool once;          /* never again after a send that may have taken effect */
    bool has_refreshed; /* credentials were renewed for this call */
    bool has_reclocked;
};
/* Takes from the quota if it says yes. */
bool retry_again(struct retry_state *s, enum retry_class class, struct retry_quota *q);
void retry_succeeded(struct retry_state *s, struct retry_quota *q);
/* Full jitter: random * min(2^(attempts-1) * 1 s, 20 s). */
uint64_t retry_delay_ms(unsigned attempts, struct prng *prng);

#endif
