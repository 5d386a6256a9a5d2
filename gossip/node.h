/* SPDX-License-Identifier: Apache-2.0
 * The gossip node: SWIM membership plus sealed messages between members, on a
 * libuv loop. Everything that travels between agents travels through here, on a
 * channel: membership itself, records (rumor and sync), raft, and calls from one
 * agent to another. All functions and callbacks: loop thread.
 *
 * A member is named by its id (text, up to AGENT_ID_MAX-1: the EC2 instance id, or what
 * the operator set) and addressed on the wire by num = hash_str(id) (never 0). A second
 * member with the same num and another id, or the same id from another address while the
 * first is alive, is refused with a log line. */
#ifndef BLOX_GOSSIP_NODE_H
#define BLOX_GOSSIP_NODE_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/base/limits.h"
#include "gossip/addr.h"

struct uv_loop_s;
struct gossip_node;

enum gossip_state {
    MEMBER_ALIVE = 1,
    MEMBER_DEGRADED = 2, /* answers late: shown, still counted as alive */
    MEMBER_SUSPECT = 3,
    MEMBER_FAILED = 4,
    MEMBER_LEFT = 5
};
const char *gossip_state_str(enum gossip_state state); /* "alive", ... */

enum gossip_channel {
    CHANNEL_SWIM = 1,
    CHANNEL_RUMOR = 2,
    CHANNEL_SYNC = 3,
    CHANNEL_RAFT = 4,
    CHANNEL_CALL = 5, /* agent-to-agent calls: forwarded writes, hints */
    CHANNEL_PATH = 6, /* the node's own: does a datagram of this size arrive? */
    CHANNEL_COUNT = 7
};

/* What members tell of themselves; spread with their alive message. */
struct gossip_meta {
    char zone[ZONE_MAX];
    char version[16];  /* of the agent */
    uint16_t api_port; /* 0: unknown */
    uint8_t role;      /* 0 candidate, 1 member (never a voter) */
    uint8_t lifecycle; /* 0 on-demand, 1 spot, 2 unknown */
};

struct gossip_member {
    const char *id;                   /* AGENT_ID_MAX bytes */
    const struct gossip_addrs *addrs; /* advertised */
    const struct gossip_meta *meta;
    uint64_t num;
    uint64_t incarnation;
    uint64_t changed_mono_ms; /* of the last state change */
    uint64_t heard_mono_ms;   /* last packet from it; 0: never */
    uint32_t rtt_us;          /* smoothed; 0: unknown */
    enum gossip_state state;
    uint16_t loss_permille; /* of first pings without an answer, smoothed */
    uint8_t using;          /* which of its addresses we use */
    bool self;
};

struct gossip_options {
    struct uv_loop_s *loop;
    const char *id;
    const char *cluster;       /* in the AAD of every packet: two clusters never merge */
    const char *bind;          /* "[::]:7381" both families, "0.0.0.0:7381", "127.0.0.1:0" */
    const char *advertise;     /* host:port,... that peers reach; NULL: the bound address */
    const uint8_t (*keys)[32]; /* keys[0] seals; all open */
    size_t key_count;          /* >= 1 */
    uint64_t incarnation;      /* greater than any this id used before (persisted by the agent) */
    uint64_t seed;             /* randomness, from getrandom() */
    const uint8_t *own_key;    /* 32 secret bytes that make this member's key; NULL: a fresh one */
    struct gossip_meta meta;

    void *arg;
    /* A member changed; why is one sentence ("no answer to 3 probes, confirmed by i-2 and i-3"). */
    void (*on_member)(void *arg, const struct gossip_member *m, enum gossip_state before,
                      const char *why);
    /* The node had to raise its incarnation (refuting): persist before the next start. */
    void (*on_incarnation)(void *arg, uint64_t incarnation);
    /* A connection that we opened ended by itself: perhaps the process is gone. A hint. */
    void (*on_broken)(void *arg, uint64_t num);
    /* A packet could not be opened; at most one a second. key_id is the sender's (hex). */
    void (*on_bad_packet)(void *arg, const struct sockaddr *from, const char *why);
};

int gossip_create(struct gossip_node **ret, const struct gossip_options *options,
                  struct errmsg *e) MUST_CHECK;
/* Closes sockets and timers; done runs when the loop let go of all of them. */
void gossip_destroy(struct gossip_node *g, void (*done)(void *arg), void *arg);
/* Tells the others (retransmitted for a moment), then done. Destroy afterwards. */
void gossip_leave(struct gossip_node *g, void (*done)(void *arg), void *arg);

/* Ask these addresses ("host:port", names are resolved off the loop) to let us in. May be called
 * again at any time; live members are skipped, others asked although they answered once. The node
 * keeps trying addresses that did not answer, with backoff, while it knows nobody; it remembers 64,
 * the last that were named. ERR_FULL: only the first of them fit. */
int gossip_join(struct gossip_node *g, const char *const *addresses, size_t count);
/* Why joining does not work, for `blox status`; empty string if all is well. */
const char *gossip_join_trouble(const struct gossip_node *g);
/* The others changed the key while this one was cut off; empty string if it does not look like it.
 */
const char *gossip_key_trouble(struct gossip_node *g);

uint64_t gossip_self(const struct gossip_node *g); /* own num */
uint16_t gossip_port(const struct gossip_node *g); /* bound port */
const struct gossip_member *gossip_find(const struct gossip_node *g, uint64_t num);
const struct gossip_member *gossip_find_id(const struct gossip_node *g, const char *id);
/* i = 0..gossip_count-1, self included; order is stable between changes. */
size_t gossip_count(const struct gossip_node *g);
const struct gossip_member *gossip_at(const struct gossip_node *g, size_t i);
size_t
gossip_alive_count(const struct gossip_node *g); /* alive + degraded + suspect, self included */
/* evicted: the member counts as failed and is not heard, whatever it says, until admitted again. */
void gossip_evict(struct gossip_node *g, uint64_t num, bool evicted);
void gossip_set_meta(struct gossip_node *g, const struct gossip_meta *meta);

/* ---- messages ---------------------------------------------------------------- */

/* Largest payload that goes as one datagram: as a rule, and to that member now, which is more where
 * the path was proven to take it, less where it does not take the usual. */
#define GOSSIP_ROOM (GOSSIP_DATAGRAM_BASE - 45u) /* less seal and channel */
size_t gossip_room(struct gossip_node *g, uint64_t to);

/* A message from a member (opened, authentic, not replayed, sender known and alive). Bytes are
 * valid during the call. One handler per channel; CHANNEL_SWIM is the node's own. */
typedef void (*gossip_recv_fn)(void *arg, uint64_t from, const uint8_t *data, size_t len);
void gossip_on(struct gossip_node *g, enum gossip_channel channel, gossip_recv_fn fn, void *arg);

/* Fire and forget. A message that fits goes as one datagram, a larger one (up to
 * GOSSIP_MESSAGE_MAX) over a sealed stream. ERR_NOTFOUND: no such live member; ERR_BUSY: its queue
 * is full (bounded; the caller's protocol repairs). */
int gossip_send(struct gossip_node *g, enum gossip_channel channel, uint64_t to, const void *data,
                size_t len);
/* The same of what was lost before: perhaps because of its size, which is looked at. */
int gossip_send_again(struct gossip_node *g, enum gossip_channel channel, uint64_t to,
                      const void *data, size_t len);
/* Like gossip_send, but always in order on the stream to that member (raft's appends). */
int gossip_send_stream(struct gossip_node *g, enum gossip_channel channel, uint64_t to,
                       const void *data, size_t len);

/* A sum of what the agent keeps beside the list of members. Pings tell it; fn hears of each that
 * came whether it is the sender's, too. */
typedef void (*gossip_rows_fn)(void *arg, uint64_t from, bool same);
void gossip_on_rows(struct gossip_node *g, gossip_rows_fn fn, void *arg);
void gossip_rows(struct gossip_node *g, uint64_t rows);

/* Keeps a connection to this member open even when it carries nothing, so that its end is noticed
 * at once; one member at a time, 0: none. */
void gossip_hold(struct gossip_node *g, uint64_t num);
/* False: datagrams of this member come, but for some seconds no stream to it has come about (a
 * firewall may let pass the ones only). It is tried on. */
bool gossip_takes_streams(struct gossip_node *g, uint64_t num);

/* Request and answer over the stream. done gets 0 and the answer, or ERR_TIMEOUT, ERR_UNREACHABLE,
 * ERR_NOTFOUND, or the error the handler gave with its answer. */
typedef void (*gossip_answer_fn)(void *arg, int err, const uint8_t *data, size_t len);
int gossip_call(struct gossip_node *g, uint64_t to, uint8_t method, const void *data, size_t len,
                uint64_t timeout_ms, gossip_answer_fn done, void *arg) MUST_CHECK;
/* The call with this arg, if it is under way, times out now. */
void gossip_call_end(struct gossip_node *g, const void *arg);
/* Handler of calls; answer once with gossip_answer(call, ...), now or later. */
struct gossip_request;
typedef void (*gossip_call_fn)(void *arg, uint64_t from, uint8_t method, const uint8_t *data,
                               size_t len, struct gossip_request *call);
void gossip_on_call(struct gossip_node *g, gossip_call_fn fn, void *arg);
void gossip_answer(struct gossip_request *call, int err, const void *data, size_t len);

/* ---- keys --------------------------------------------------------------------- */

/* Printable id of a key: first 8 bytes of its BLAKE2b, hex. */
void gossip_key_id(const uint8_t key[32], char out[17]);
/* The keyring at run time. The first key seals, all open; at most 8. */
int gossip_key_add(struct gossip_node *g, const uint8_t key[32]); /* ERR_EXISTS, ERR_FULL */
int gossip_key_use(struct gossip_node *g, const char *id);        /* seal with it. ERR_NOTFOUND */
int gossip_key_remove(struct gossip_node *g,
                      const char *id); /* ERR_NOTFOUND; ERR_CONFLICT: seals */
size_t gossip_key_count(const struct gossip_node *g);
const char *gossip_key_at(const struct gossip_node *g, size_t i); /* id; NULL: no such key */

struct gossip_stats {
    uint64_t datagrams_sent, datagrams_received, bytes_sent, bytes_received;
    uint64_t stream_bytes_sent, stream_bytes_received;
    uint64_t cross_zone_bytes_sent; /* of both: to members in another zone */
    uint64_t jumbo_sent;            /* datagrams larger than the usual */
    uint64_t too_big;               /* datagrams that this machine's own interface did not take */
    uint64_t rejected, replayed, dropped_full;
    uint64_t strangers; /* rejected: from senders that we do not know */
    uint64_t refused_claims, signatures_verified;
    uint32_t health; /* Lifeguard's local health multiplier, 0 = healthy */
    uint32_t streams;
};
void gossip_stats(const struct gossip_node *g, struct gossip_stats *ret);
/* What is known of a member's last failure or suspicion: who, when, which probes. New reference. */
json_t *gossip_why(const struct gossip_node *g, uint64_t num);

#endif
