/* SPDX-License-Identifier: Apache-2.0
 * Which of the addresses that ECS lists are asked: gossip takes few at a time, and most of them
 * are of members that it knows. */
#ifndef BLOX_AGENT_CENSUS_H
#define BLOX_AGENT_CENSUS_H

#include <stddef.h>

#include "agent/base/map.h"

#define CENSUS_ASKED_MAX 64u

/* Up to CENSUS_ASKED_MAX of those that are not keys of live, from *turn on and round; *turn is
 * where to go on the next time. Returns how many. */
size_t census_pick(const char *const *listed, size_t count, const struct map *live, size_t *turn,
                   const char *ret[CENSUS_ASKED_MAX]);

#endif
