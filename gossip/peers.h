/* SPDX-License-Identifier: Apache-2.0
 * The live members as the record cores see them: one sorted array, owned by the shell
 * (the simulator shares one among thousands of nodes). */
#ifndef BLOX_GOSSIP_PEERS_H
#define BLOX_GOSSIP_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A region has six at most, and some members may not know theirs; where there are more none counts.
 */
#define PEERS_ZONES_MAX 7u

struct peers {
    const uint64_t *nums;  /* ascending; the node itself is among them */
    const uint8_t *shaky;  /* beside nums: 1 = suspect, may well not forward; NULL: none is */
    const uint32_t *zones; /* beside nums: peers_zone() of each; NULL: nobody has told its own */
    size_t count;
    size_t self; /* index of the node itself */
    /* Of peers_group: indexes of nums, zone by zone, ascending in each. Less than two zones: not
     * used. */
    const uint32_t *by_zone;
    uint32_t zone_first[PEERS_ZONES_MAX + 1];
    uint32_t zone_count;
};

/* A zone's name as a number, the same at every member; "": 0, not told. */
uint32_t peers_zone(const char *name);
/* To be called when nums or zones changed; index: count places, kept by the caller. */
void peers_group(struct peers *p, uint32_t *index);

/* Index of the first num >= num, 0..count. */
size_t peers_lower_bound(const struct peers *p, uint64_t num);
/* In another zone than the node itself, as far as both have told theirs. */
bool peers_is_far(const struct peers *p, uint64_t num);
bool peers_has(const struct peers *p, uint64_t num);

/* Forwarding trees. All members but the origin stand on a ring in order of num, starting behind
 * the origin; a tree may start a part of the ring further on. Position 0 is the origin, positions
 * 1..root_fanout are its children, and position i has the next `fanout` positions each. So those
 * who send stand next to each other, one of `fanout` members: trees whose senders begin where those
 * of the one before end burden everyone alike. The shape needs no messages: it follows from the
 * member list.
 *
 * Bytes between zones cost money, so each zone has a ring of its own, and a record goes to another
 * zone once: to position 1 of that ring, from the origin, or, if that has one child only, from this
 * child. */
struct tree {
    uint64_t origin;
    uint16_t turn;       /* where it starts, in PEERS_TURNS-ths of the ring; < PEERS_TURNS */
    uint8_t root_fanout; /* 1..PEERS_FANOUT_MAX */
    uint8_t fanout;
    bool burst; /* what goes down it is part of a burst (rumor.h) */
};

#define PEERS_TURNS 32768u
#define PEERS_FANOUT_MAX 16u
#define PEERS_CHILDREN_MAX 32u

/* Children of the node itself. A shaky child is listed together with its own children, so that
 * its branch does not wait for the failure detector. */
size_t peers_children(const struct peers *p, const struct tree *tree,
                      uint64_t out[PEERS_CHILDREN_MAX]);

/* Zones that an origin sends to beside its own. */
static inline uint32_t peers_others(const struct peers *p)
{
    return p->zone_count < 2 ? 0 : p->zone_count - 1;
}

/* Places from the start of one of the node's own trees of one root child to that of the next, which
 * begins behind the senders of the first. */
size_t peers_stride(const struct peers *p, uint8_t fanout);
/* The turn that starts a tree so many places further on. */
uint16_t peers_turn(const struct peers *p, size_t places);

/* The member `step` places further round the ring; 0 if that is the node itself. Every member
 * is told by exactly one other for a given step. */
uint64_t peers_at_step(const struct peers *p, uint64_t step);
/* The member that is so much of the ring, in 2^-32ths, further on; near: of a ring of the node's
 * own zone, where that has others. */
uint64_t peers_at_part(const struct peers *p, uint32_t part, bool near);

#endif
