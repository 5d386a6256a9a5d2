/* SPDX-License-Identifier: Apache-2.0
 * What anybody could make a member do all the time: at once, then after a wait that doubles, and at
 * once again when for the longest wait nobody wanted it. (Forgotten any sooner, who lies a little
 * after each wait would never see a longer one.) */
#ifndef BLOX_GOSSIP_PACE_H
#define BLOX_GOSSIP_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace {
    uint64_t due_ms, wait_ms; /* all zero: at once */
};

/* May it be done now? Then it counts as done. */
static inline bool pace_may(struct pace *p, uint64_t now_ms, uint64_t first_ms, uint64_t max_ms)
{
    if (now_ms < p->due_ms)
        return false;
    if (p->wait_ms == 0 || now_ms > p->due_ms + max_ms)
        p->wait_ms = first_ms;
    p->due_ms = now_ms + p->wait_ms;
    p->wait_ms = 2 * p->wait_ms < max_ms ? 2 * p->wait_ms : max_ms;
    return true;
}

#endif
