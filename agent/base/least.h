/* SPDX-License-Identifier: Apache-2.0
 * The smaller and the greater of two. */
#ifndef BLOX_BASE_LEAST_H
#define BLOX_BASE_LEAST_H

#include <stdint.h>

static inline uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
