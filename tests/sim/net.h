/* SPDX-License-Identifier: Apache-2.0
 * What the gossip simulators share: one queue of events in virtual time, and a model of hosts and
 * of the network between them. Deterministic: everything random comes from the seed, events of the
 * same microsecond keep the order in which they were made.
 *
 * Network: latency by zone, jitter, loss, duplication, overtaking, an uplink of limited rate, and
 * groups of hosts (sides) between which each direction can be cut. Hosts: off, stopped (SIGSTOP:
 * what arrives waits in the socket) or starved (runs 5 ms of each second). */
#ifndef BLOX_TESTS_SIM_NET_H
#define BLOX_TESTS_SIM_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/prng.h"

#define NET_SIDES 4u
#define NET_SOCKET 256u            /* datagrams that wait at a host that does not run */
#define NET_HEADERS 28u            /* IPv4 and UDP */
#define NET_INLINE 88u             /* bytes of an event kept in it */
#define NET_STARVED_US 5000u       /* of CPU ... */
#define NET_STARVED_EVERY 1000000u /* ... in so many microseconds */
#define NET_STARVED_COST_US 50u    /* of one event */
#define NET_FAR UINT64_MAX

struct net_event {
    uint64_t at_us;
    uint64_t a, b; /* the world's own */
    uint8_t *bytes;
    uint32_t node, from, len;
    uint8_t type;  /* the world's own */
    uint8_t way;   /* likewise */
    bool datagram; /* waits in the socket and may not find room there */
    bool turn;     /* its turn on a busy host was found already */
    uint8_t inlined[NET_INLINE];
};

struct net_profile {
    uint64_t latency_us, cross_us, jitter_us; /* one way: within a zone, between zones */
    uint64_t cost_us;                         /* a host is busy with one event; 0: no time */
    uint64_t send_us;                         /* ... with sending one, beside its uplink's time */
    uint32_t zones;
    uint32_t bits_per_us; /* of a host's uplink; 0: no limit */
    double loss, duplicate, reorder;
};

struct net_host {
    uint64_t tx_free_us, busy_us;
    uint32_t backlog_first, backlog_last; /* events of a stopped host; index + 1 */
    uint32_t waiting;                     /* datagrams in its socket */
    uint8_t side, zone;
    bool off, stopped, starved;
    float loss; /* of this host's own link, both ways */
};

struct net_place { /* of an event in the heap */
    uint64_t at_us;
    uint32_t seq, index;
};

struct net {
    struct net_profile profile;
    struct net_host *host;
    bool cut[NET_SIDES][NET_SIDES]; /* from, to */
    struct prng prng;
    uint64_t now_us, hash, events, dropped_full;
    uint32_t nodes, seq;

    struct net_place *heap;
    struct net_event *pool;
    uint32_t *next; /* free list and backlogs: index + 1 */
    uint32_t heap_len, cap, free;
    uint8_t **spare; /* buffers of a datagram */
    uint32_t spare_len, spare_cap;
};

void net_init(struct net *n, uint32_t nodes, const struct net_profile *profile, uint64_t seed);
void net_fini(struct net *n);
/* Does something at ev.at_us; bytes are copied. */
void net_at(struct net *n, const struct net_event *ev, const void *bytes);
/* Sends ev to ev.node from ev.from; overhead: bytes on the wire beside ev.len. A stream is reliable
 * but late: a handshake first, 200 ms for a loss. */
void net_send(struct net *n, const struct net_event *ev, const void *bytes, size_t overhead,
              bool stream);
bool net_reaches(const struct net *n, uint32_t from, uint32_t to); /* as far as cuts go */
/* The next event not after until_us; false: none, the time is until_us now. Its bytes are valid
 * until net_done(). Events of hosts that are off are dropped. */
bool net_next(struct net *n, uint64_t until_us, struct net_event *ret);
void net_done(struct net *n, struct net_event *ev);
uint32_t net_next_host(const struct net *n); /* of the next event; UINT32_MAX: there is none */

void net_off(struct net *n, uint32_t node); /* and everything that waits there is lost */
void net_stop(struct net *n, uint32_t node);
void net_go_on(struct net *n, uint32_t node); /* after off and stop */
void net_starve(struct net *n, uint32_t node, bool starved);

#endif
