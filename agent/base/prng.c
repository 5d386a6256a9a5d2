/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/prng.h"

#include "agent/base/hash.h"

void prng_seed(struct prng *p, uint64_t seed)
{
    p->state = seed;
}

uint64_t prng_next(struct prng *p)
{
    p->state += 0x9e3779b97f4a7c15u;
    return hash_mix(p->state);
}

/* Multiply-shift; the bias of at most bound/2^64 does not matter here. */
uint64_t prng_below(struct prng *p, uint64_t bound)
{
    uint64_t x = prng_next(p);
    uint64_t x_hi = x >> 32;
    uint64_t x_lo = x & 0xffffffffu;
    uint64_t b_hi = bound >> 32;
    uint64_t b_lo = bound & 0xffffffffu;
    uint64_t mid = x_hi * b_lo + ((x_lo * b_lo) >> 32);
    uint64_t mid2 = x_lo * b_hi + (mid & 0xffffffffu);
    return x_hi * b_hi + (mid >> 32) + (mid2 >> 32);
}

double prng_unit(struct prng *p)
{
    return (double)(prng_next(p) >> 11) / 9007199254740992.0;
}
