/* SPDX-License-Identifier: Apache-2.0
 * Randomness as state (splitmix64): cores keep one, the shell seeds it from
 * getrandom(), the simulator from its seed. Not for secrets. */
#ifndef BLOX_BASE_PRNG_H
#define BLOX_BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state;
};

void prng_seed(struct prng *p, uint64_t seed);
uint64_t prng_next(struct prng *p);
uint64_t prng_below(struct prng *p, uint64_t bound); /* 0 <= x < bound; bound 0 gives 0 */
double prng_unit(struct prng *p);                    /* 0 <= x < 1 */

#endif
