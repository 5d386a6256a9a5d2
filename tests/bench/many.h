/* SPDX-License-Identifier: Apache-2.0
 * Thousands of members in one process beside a few real agents. The members are the simulator's
 * (tests/sim/swim_world.h): each a whole membership core with a view of its own, here in real time.
 * Among themselves they exchange packets in memory; with the agents by UDP and TCP, sealed, each
 * from an address (127.1.x.y) and with a key of its own. Of what is beside membership they do the
 * least that a member at rest does: they hold the rows of whoever compares with them, ask the
 * leader who leads and tell it, but take no part in raft. One thread. */
#ifndef BLOX_BENCH_MANY_H
#define BLOX_BENCH_MANY_H

#include <netinet/in.h>
#include <uv.h>

#include "agent/base/buf.h"
#include "agent/base/list.h"
#include "gossip/nodekey.h"
#include "gossip/seal.h"
#include "tests/sim/swim_world.h"

#define MANY_AGENTS_MAX 16u
#define MANY_LOOK_MS 1000u

struct many_agent { /* a real one */
    struct sockaddr_in addr;
    uint64_t num;
    uint64_t root;      /* of its rows, as it said last */
    uint64_t compared;  /* how often it said so */
    uint64_t asks;      /* how often it asked who leads */
    uint64_t got, sent; /* datagrams of its; to it */
};

struct many_leader { /* of raft's, as agents say */
    uint64_t cluster, num, term, voter[RAFT_VOTERS_MAX];
    uint8_t voters;
};

struct many_stream;
struct many_pair { /* of an agent and a member */
    struct seal_pair pair;
    uint8_t key[NODEKEY_PUBLIC]; /* the agent's that it is of */
    bool paired;
    uint64_t heard; /* the agent's session of which a packet proved that it knows ours */
    struct many_stream *out;
};

struct many {
    uv_loop_t *loop;
    struct world w;
    struct seal seal;
    char cluster[256];
    uint64_t start_us; /* of the world's time */
    uint16_t port;     /* of all members */
    uint32_t members;  /* nodes [0, members); the agents are behind them */
    uint32_t agents;
    struct many_agent agent[MANY_AGENTS_MAX];
    struct many_leader leader;
    uint64_t hello_us;      /* when the next member asks it */
    struct nodekey *key;    /* by member */
    uint64_t *counter;      /* likewise; of packets sent */
    struct many_pair *pair; /* [agent * members + member] */
    uv_poll_t readable;
    int fd;
    uv_tcp_t listener;
    struct list streams;
    uint32_t vanished[32]; /* IPv4, host order */
    unsigned vanished_count;
    uint64_t refused[SEAL_FORGED + 1], other[CHANNEL_COUNT]; /* packets; messages not of members */
    uint32_t watched;                                        /* whose changes are timed */
    double *failed_at, *alive_at; /* by viewer: Unix seconds; 0: not yet */
};

/* many_uv.c */
void many_now(struct many *m); /* lets happen in the world what was to happen until now */
struct sockaddr_in many_address(const struct many *m, uint32_t member, uint16_t port);
/* UINT32_MAX: nobody's, or one that is down. */
uint32_t many_member(const struct many *m, const struct in_addr *addr);
struct many_pair *many_pair(struct many *m, uint32_t member, uint32_t agent);
/* What the two share; NULL: the member does not know the agent. */
struct seal_pair *many_secret(struct many *m, uint32_t member, uint32_t agent);
/* A message that an agent has proven to be its: channel byte, body. */
void many_message(struct many *m, uint32_t member, uint32_t agent, enum world_event type,
                  uint64_t epoch, uint8_t *message, size_t len);

/* many_udp_uv.c */
void many_udp_open(struct many *m);
void many_udp_send(struct many *m, enum seal_type type, uint32_t member, uint32_t agent,
                   uint64_t epoch, const void *plain, size_t len);
/* As a member sends to one that it knows; nothing if it does not. */
void many_udp_send_channel(struct many *m, uint32_t member, uint32_t agent, uint64_t epoch,
                           bool intro, uint8_t channel, const void *data, size_t len);

/* many_tcp_uv.c */
void many_tcp_open(struct many *m);
void many_tcp_hold(struct many *m, uint32_t member, uint32_t agent);
void many_tcp_send(struct many *m, uint32_t member, uint32_t agent, uint8_t channel,
                   const void *data, size_t len);
void many_tcp_check(struct many *m, uint32_t member, uint32_t agent);
void many_tcp_look(struct many *m); /* once a second: holds and ends connections */
void many_tcp_end(struct many *m, uint32_t member, bool vanished); /* its process or host ends */

#endif
