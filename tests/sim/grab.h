/* SPDX-License-Identifier: Apache-2.0
 * Memory of simulations: there is always enough, or the run ends. */
#ifndef BLOX_TESTS_SIM_GRAB_H
#define BLOX_TESTS_SIM_GRAB_H

#include <stdlib.h>

#include "agent/base/ensure.h"

static inline void *grab(size_t count, size_t size) /* zeroed */
{
    void *p = calloc(count == 0 ? 1 : count, size);
    ENSURE(p != NULL);
    return p;
}

static inline void *grab_more(void *old, size_t count, size_t size)
{
    void *p = realloc(old, count * size);
    ENSURE(p != NULL);
    return p;
}

#endif
