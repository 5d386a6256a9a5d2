/* SPDX-License-Identifier: Apache-2.0
 * Swarm testing (Groce and others 2012) of membership: each seed draws a cluster, a network, a
 * subset of the kinds of faults and a sequence of them; checkers outside the code under test watch.
 *
 *  - nobody who was up and in reach for a while is ever failed, by anyone who was in reach;
 *  - whoever is dead is found by all in bounded time;
 *  - incarnations never go back, neither a member's own nor those held of it;
 *  - when it is quiet again all views become equal, and traffic is that of a cluster at rest;
 *  - packets per member and second, and packets under way, are bounded all the time. */
#ifndef BLOX_TESTS_SIM_SWIM_SWARM_H
#define BLOX_TESTS_SIM_SWIM_SWARM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct swarm_result {
    uint64_t hash, events;
    uint32_t violations, failures, restarts, nodes;
    char first[200]; /* violation */
};
/* story: NULL, or where to tell it. packets: every packet too. */
void swarm_run(uint64_t seed, bool two, FILE *story, bool packets, struct swarm_result *ret);

#endif
