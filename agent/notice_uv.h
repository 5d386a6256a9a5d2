/* SPDX-License-Identifier: Apache-2.0
 * Notices that this instance is about to go: a spot interruption, a rebalance recommendation, a
 * scale-in of its Auto Scaling group. The instance metadata service is asked every five seconds,
 * as AWS advises, since nothing is pushed; every second by the few whose vote is to be elsewhere
 * soon after. Loop thread. */
#ifndef BLOX_AGENT_NOTICE_H
#define BLOX_AGENT_NOTICE_H

#include <stdbool.h>

#include "agent/aws/aws.h"

struct notice;
struct notice_options {
    struct uv_loop_s *loop;
    struct aws *aws;
    uint64_t seed;
    void *arg;
    /* A notice came ("spot interruption: terminate at 2026-01-01T00:00:00Z"), or was taken back
     * (""). Only changes are told. */
    void (*on_notice)(void *arg, const char *text);
};

int notice_start(struct notice **ret, const struct notice_options *options) MUST_CHECK;
/* This agent is a voter or a spare, or is none any more. NULL is fine. */
void notice_serves(struct notice *n, bool serves);
/* Before aws_destroy, which ends the question under way; frees itself after that. NULL is fine. */
void notice_stop(struct notice *n);
const char *notice_text(const struct notice *n); /* "" : none */

/* What an answer of the metadata service means: writes a sentence, or "" if it is no notice.
 * which: 0 spot/instance-action, 1 events/recommendations/rebalance,
 * 2 autoscaling/target-lifecycle-state. Pure. */
#define NOTICE_TEXT_MAX 160
void notice_read(unsigned which, const char *body, size_t len, char out[NOTICE_TEXT_MAX]);

#endif
