/* SPDX-License-Identifier: Apache-2.0
 * The state of one (environment, instance): what is under way there and how long to pause after
 * failures. */
#include <string.h>

#include "agent/base/hash.h"
#include "scheduler/plan.h"

#define PAIR_MS ((UINT64_C(1) << 48) - 1) /* all that a pair's times can be */

/* Full pause in [wait/2, wait): instances that failed together do not retry together. */
static uint64_t jittered(uint64_t wait_ms, struct prng *prng)
{
    return wait_ms / 2 + prng_below(prng, wait_ms / 2);
}

static uint64_t pause_ms(unsigned failures, struct prng *prng)
{
    uint64_t wait_ms = PLAN_BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < failures && wait_ms < PLAN_BACKOFF_MAX_MS; i++)
        wait_ms *= 2;
    if (wait_ms > PLAN_BACKOFF_MAX_MS)
        wait_ms = PLAN_BACKOFF_MAX_MS;
    return failures > 1 ? jittered(wait_ms, prng) : wait_ms;
}

static void set_phase(struct plan_pair *pair, enum plan_phase phase, uint64_t now_ms)
{
    pair->phase = (uint8_t)phase;
    pair->since_ms = now_ms & PAIR_MS;
    pair->tended = false;
}

uint32_t plan_deployment_hash(const char *deployment)
{
    return (uint32_t)hash_str(deployment);
}

/* Failures are about one instance and one deployment; another one starts afresh. */
static void concern(struct plan_pair *pair, const struct model_instance *inst,
                    const char *deployment)
{
    uint32_t hash = plan_deployment_hash(deployment);
    bool same = pair->generation == inst->generation;
    if (same && pair->deployment == hash)
        return;
    *pair = (struct plan_pair){
        .generation = inst->generation, .deployment = hash, .doubts = same ? pair->doubts : 0};
}

/* From here on a change of the instance is a reason to try again. */
static void see(struct plan_pair *pair, const struct model_instance *inst)
{
    pair->seen_changes = (uint32_t)inst->changes;
    pair->seen_attributes = (uint32_t)inst->attributes_hash;
}

void plan_pair_asked(struct plan_pair *pair, const struct model_instance *inst,
                     const char *deployment, uint64_t now_ms)
{
    concern(pair, inst, deployment);
    see(pair, inst); /* the answer may come late, behind the change that it does not know */
    set_phase(pair, PAIR_ASKED, now_ms);
}

void plan_pair_accepted(struct plan_pair *pair, uint64_t now_ms)
{
    set_phase(pair, PAIR_ARRIVING, now_ms);
}

void plan_pair_unknown(struct plan_pair *pair, uint64_t now_ms)
{
    set_phase(pair, PAIR_UNKNOWN, now_ms);
}

void plan_pair_doubt(struct plan_pair *pair, const struct model_instance *inst)
{
    if (pair->generation != inst->generation)
        *pair = (struct plan_pair){.generation = inst->generation};
    if (pair->doubts < UINT16_MAX)
        pair->doubts++;
}

void plan_pair_settled(struct plan_pair *pair)
{
    if (pair->doubts > 0)
        pair->doubts--;
    if (pair->doubts == 0 && pair->phase == PAIR_UNKNOWN && pair->tended)
        plan_pair_release(pair);
}

void plan_pair_release(struct plan_pair *pair)
{
    pair->phase = PAIR_IDLE;
    pair->retry_after_ms = 0; /* what an earlier failure waited for had come */
}

static void count_failure(struct plan_pair *pair, enum plan_reason reason, uint64_t now_ms,
                          struct prng *prng)
{
    pair->phase = PAIR_IDLE;
    pair->reason = (uint8_t)reason;
    if (pair->failures < UINT16_MAX)
        pair->failures++;
    pair->not_before_ms = (now_ms + pause_ms(pair->failures, prng)) & PAIR_MS;
    pair->retry_after_ms = 0;
}

void plan_pair_failed(struct plan_pair *pair, const struct model_instance *inst,
                      enum plan_reason reason, uint64_t now_ms, struct prng *prng)
{
    if (pair->phase == PAIR_IDLE)
        see(pair, inst);
    count_failure(pair, reason, now_ms, prng);
    if (reason == PLAN_ATTRIBUTE || reason == PLAN_LOCATION)
        pair->retry_after_ms = PLAN_RETRY_NEVER;
    else if (reason >= PLAN_RESOURCE) /* an event should come; should it be lost, look again */
        pair->retry_after_ms =
            (int32_t)(now_ms + jittered(PLAN_BACKOFF_MAX_MS, prng) - pair->not_before_ms);
}

void plan_pair_died(struct plan_pair *pair, const struct model_instance *inst,
                    const char *deployment, int64_t ran_ms, uint64_t now_ms, struct prng *prng)
{
    concern(pair, inst, deployment);
    if (ran_ms >= PLAN_RAN_WELL_MS) {
        *pair = (struct plan_pair){
            .generation = pair->generation, .deployment = pair->deployment, .doubts = pair->doubts};
        return;
    }
    see(pair, inst);
    count_failure(pair, PLAN_DIED, now_ms, prng);
}

enum plan_reason plan_reason_of_failure(const char *text)
{
    static const struct {
        const char *text;
        enum plan_reason reason;
    } known[] = {
        {"RESOURCE", PLAN_RESOURCE}, {"AGENT", PLAN_AGENT},     {"ATTRIBUTE", PLAN_ATTRIBUTE},
        {"LOCATION", PLAN_LOCATION}, {"MISSING", PLAN_MISSING}, {"INACTIVE", PLAN_INACTIVE},
    };
    for (size_t i = 0; text && i < sizeof known / sizeof known[0]; i++) {
        size_t n = strlen(known[i].text);
        if (strncmp(text, known[i].text, n) == 0 && (!text[n] || text[n] == ':'))
            return known[i].reason;
    }
    return PLAN_FAILED;
}

static const char *const reason_text[] = {
#define X(name, text, failure) text,
    PLAN_REASON_LIST(X)
#undef X
};

const char *plan_reason_str(enum plan_reason reason)
{
    return reason_text[reason];
}

const char *plan_verdict_str(enum plan_verdict_kind kind)
{
    static const char *const text[] = {"none", "keep", "start",  "replace",
                                       "stop", "wait", "blocked"};
    return text[kind];
}
