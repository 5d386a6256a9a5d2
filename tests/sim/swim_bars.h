/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLOX_TESTS_SIM_SWIM_BARS_H
#define BLOX_TESTS_SIM_SWIM_BARS_H

#include "tests/sim/swim_world.h"

struct bars {
    uint32_t nodes, victims;
    uint64_t seed, duration_us, every_us;
    struct net_profile net;
    uint8_t addresses; /* of each member */
    bool killed;
};
/* Each prints one line and returns whether the run broke a promise. */
int bars_detect(const struct bars *b);
int bars_quiet(const struct bars *b);
int bars_pause(const struct bars *b);
int bars_starve(const struct bars *b);
int bars_start(const struct bars *b);
int bars_heal(const struct bars *b);
int bars_restart(const struct bars *b);
int bars_dark(const struct bars *b);

#endif
