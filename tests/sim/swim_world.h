/* SPDX-License-Identifier: Apache-2.0
 * A simulated cluster of whole membership cores: what gossip's shell does around the core (join,
 * welcome, sessions, TCP checks, one timer), on the hosts and network of net.h. */
#ifndef BLOX_TESTS_SIM_SWIM_WORLD_H
#define BLOX_TESTS_SIM_SWIM_WORLD_H

#include <stdio.h>

#include "gossip/swim.h"
#include "tests/sim/net.h"

#define WORLD_SEEDS 4u
#define WORLD_START_MS UINT64_C(100000) /* of the monotonic clock at the beginning */

enum life {
    LIFE_ABSENT, /* never started, or left */
    LIFE_UP,
    LIFE_KILLED,  /* the process ended, its host refuses connections */
    LIFE_VANISHED /* the host is gone */
};

/* What a process finds when it starts again. */
enum disk {
    DISK_KEPT, /* its incarnation as it was persisted */
    DISK_OLD,  /* a copy from earlier: incarnations that it used before */
    DISK_LOST, /* nothing: the wall clock's seconds, as the agent does */
    DISK_CLOCK /* as it was, but the clock went back: a session older than the last */
};

struct world_node {
    struct swim *s;
    uint64_t num, epoch;
    uint64_t lives;                 /* begun; what a timer was set for */
    uint64_t incarnation, greatest; /* persisted; ever used */
    uint64_t born;                  /* incarnation at the start of this life */
    uint8_t key[WIRE_KEY];          /* another one after a lost disk */
    uint64_t key_number;
    uint64_t timer_us; /* armed for; NET_FAR: not */
    uint64_t due_us;   /* the core's deadline, not before timer_us */
    uint64_t join_gap_us, epoch_asked_us;
    uint64_t life_us;      /* since when it is so */
    uint64_t disturbed_us; /* last moment at which it was stopped, starved or cut off */
    uint64_t packets, bytes, stream_bytes, cross_bytes, steps;
    uint32_t seed[WORLD_SEEDS];
    uint8_t seeds_answered; /* bit set */
    uint8_t life;
    uint8_t dark; /* bit set of its addresses whose network does not reach it */
    bool leaving;
};

enum world_event {
    TYPE_SWIM,
    TYPE_INTRO,
    TYPE_STREAM,
    TYPE_HELLO,
    TYPE_CHECK,
    TYPE_TIMER,
    TYPE_JOIN
};

struct world;
struct world_hooks {
    void *arg;
    /* `about` is an index; told of every change that the shell would be told of. */
    void (*changed)(void *arg, struct world *w, uint32_t viewer, uint32_t about,
                    const struct swim_change *c);
    /* For worlds in which some are elsewhere. What is to be otherwise than in a simulation:
     * address, key, trust. May be NULL. */
    void (*options)(void *arg, const struct world *w, uint32_t i, struct swim_options *o);
    /* A packet or hello to one elsewhere: ev->type, from, node, len, and of both lives a and b. */
    void (*send)(void *arg, struct world *w, const struct net_event *ev, const uint8_t *bytes);
    /* A connection attempt to one elsewhere; its result: swim_checked() and world_step(). */
    void (*check)(void *arg, struct world *w, uint32_t me, uint32_t to);
};

struct world {
    struct net net;
    struct world_node *node;
    uint32_t nodes;
    uint32_t elsewhere; /* the last so many are other processes; set before world_form() */
    uint8_t addresses;  /* of each: 1, an IPv4; 2, an IPv6 beside it, in a network of its own */
    uint8_t way;        /* of the packet that is answered: which of them it was sent to */
    struct prng prng;
    struct world_hooks hooks;
    struct swim_out out;
    FILE *story; /* NULL: none is told */
    bool packets_told;
    uint32_t *index; /* of nums: node + 1 */
    uint32_t index_mask;
    struct swim *image; /* a formed cluster as node 0 sees it; all others keep what differs */
};

void world_init(struct world *w, uint32_t nodes, const struct net_profile *p, uint64_t seed);
void world_fini(struct world *w);
static inline uint64_t world_ms(const struct world *w)
{
    return WORLD_START_MS + w->net.now_us / 1000;
}
uint32_t world_find(const struct world *w, uint64_t num); /* UINT32_MAX: nobody */

/* A process starts and asks WORLD_SEEDS random others (given seeds: set them before). */
void world_start(struct world *w, uint32_t i, enum disk disk);
void world_seeds(struct world *w, uint32_t i);
/* All nodes are up and know all others at once, in no other way than if they had been given the
 * list: for runs that begin with a formed cluster. Each view is the core's own whole table; see
 * swim_share.h for its memory. */
void world_form(struct world *w);
void world_end(struct world *w, uint32_t i, enum life how);
void world_leave(struct world *w, uint32_t i);
void world_step(struct world *w, uint32_t i); /* performs w->out for node i */

void world_run(struct world *w, uint64_t until_us);
/* Something came from a node elsewhere, now: type SWIM, INTRO, STREAM or HELLO; a and b the
 * sessions of sender and receiver; bytes stay the caller's. Before SWIM and STREAM: node[from].key
 * is what it has proven to have. */
void world_receive(struct world *w, struct net_event *ev);
void world_name(uint32_t i, char id[AGENT_ID_MAX]);
/* swim_judge.c. Does each node that is up hold exactly those to be alive? Returns how many do not.
 */
uint32_t world_wrong(const struct world *w);
bool world_agrees(const struct world *w);
void world_tell_wrong(struct world *w); /* who is wrong about whom, if a story is told */
void world_tell(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
