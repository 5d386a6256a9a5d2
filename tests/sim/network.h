/* SPDX-License-Identifier: Apache-2.0
 * What a network does to a datagram: delays it, loses it, doubles it, lets others overtake it, cuts
 * one direction of a pair. Shared by the simulators; nodes are numbers. */
#ifndef BLOX_TESTS_NETWORK_H
#define BLOX_TESTS_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/prng.h"

struct network_profile {
    uint64_t delay_us_min, delay_us_max;
    uint32_t loss, doubled, late; /* of 1,000 */
};

struct network {
    struct prng *rng;
    struct network_profile profile;
    uint32_t count;
    bool *cut; /* [from * count + to] */
    uint64_t sent, lost;
    uint64_t paths; /* which take how much; 0: all take everything */
};

void network_init(struct network *n, struct prng *rng, uint32_t count);
void network_fini(struct network *n);
/* When copies of a datagram that is sent now arrive: 0, 1 or 2 of them. */
unsigned network_send(struct network *n, uint64_t now_us, uint32_t from, uint32_t to,
                      uint64_t ret_at_us[2]);
uint64_t network_delay(struct network *n); /* one way, of a packet that gets through */
bool network_is_cut(const struct network *n, uint32_t from, uint32_t to);
/* What one sends at a time; what gets there, for longer packets vanish. */
uint32_t network_interface_mtu(const struct network *n, uint32_t node);
uint32_t network_path_mtu(const struct network *n, uint32_t from, uint32_t to);
void network_cut(struct network *n, uint32_t from, uint32_t to, bool cut); /* this way only */
void network_heal(struct network *n);

#endif
