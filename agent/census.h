/* SPDX-License-Identifier: Apache-2.0
 * The addresses that ECS lists: which of them are asked, how many agents are missing, and from when
 * on a list shows all who may form a cluster without this agent. Pure.
 *
 * Before the first cluster is formed ECS's list is what keeps two groups of agents from forming one
 * each. Every agent writes its address, then reads (as in Lamport's bakery): of two groups that do
 * not know each other at least one reads the other's address, if what is written is read by all
 * some time later. So a list counts if it was asked for so long after an address of the own group,
 * the anchor, stood there. */
#ifndef BLOX_AGENT_CENSUS_H
#define BLOX_AGENT_CENSUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/advertise.h"
#include "agent/base/err.h"
#include "agent/base/map.h"

#define CENSUS_ASKED_MAX                                                                           \
    64u /* gossip takes few at a time, and most are of members that it knows                       \
         */
#define CENSUS_ADDRESS (ADVERTISE_VALUE_MAX + 4)

/* One list, without the own address. */
struct census {
    char (*address)[CENSUS_ADDRESS];
    uint32_t *agent_of; /* of which agent each is, in order */
    size_t count, room, agents;
};

/* Room for so many addresses; zeroed before the first time, the last list is dropped. ERR_NOMEM. */
int census_begin(struct census *c, size_t room) MUST_CHECK;
/* The value of an agent's attribute. */
void census_add(struct census *c, const char *value);
void census_drop(struct census *c);

/* Up to CENSUS_ASKED_MAX of those that are not keys of live, from *turn on and round; *turn is
 * where to go on the next time. Returns how many; they belong to c. */
size_t census_pick(const struct census *c, const struct map *live, size_t *turn,
                   const char *ret[CENSUS_ASKED_MAX]);
/* How many agents live at none of their addresses. */
uint32_t census_missing(const struct census *c, const struct map *live);

/* An address of this agent ("self") or of a live one, which stands in the list since then. */
struct anchor {
    char address[CENSUS_ADDRESS]; /* "": none */
    uint64_t since_ms;
};

/* The own address has been written just now. */
void anchor_written(struct anchor *a, uint64_t now_ms);
/* A list that was asked for then has come. own: the own address stands in it. What was written less
 * than lag_ms before need not. */
void anchor_look(struct anchor *a, const struct census *c, const struct map *live, bool own,
                 uint64_t asked_ms, uint64_t lag_ms, uint64_t now_ms);
/* A list that is asked for from then on counts; UINT64_MAX: there is no anchor. */
uint64_t anchor_counts_ms(const struct anchor *a, uint64_t lag_ms);

#endif
