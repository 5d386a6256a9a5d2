/* SPDX-License-Identifier: Apache-2.0
 * Shared by the shells of the gossip node only (node_uv.c, udp_uv.c, tcp_uv.c,
 * stream_uv.c, call_uv.c, join_uv.c, addrs_uv.c, netlink_uv.c). Loop thread. */
#ifndef BLOX_GOSSIP_NODE_UV_H
#define BLOX_GOSSIP_NODE_UV_H

#include <uv.h>

#include "agent/base/buf.h"
#include "agent/base/list.h"
#include "gossip/marks_uv.h"
#include "gossip/node.h"
#include "gossip/nodekey.h"
#include "gossip/path.h"
#include "gossip/seal.h"
#include "gossip/swim.h"
#include "gossip/wire.h"

#define NODE_SEEDS_MAX 64u
#define NODE_ASKED_MAX 128u          /* joins whose welcome is still awaited */
#define NODE_SEEN_MAX 512u           /* unproven packets remembered, so that none counts twice */
#define NODE_LATE_PACKETS 64u        /* that may overtake one on the wire */
#define NODE_LOCAL_MAX (16u << 20)   /* bytes of messages to ourselves not yet delivered */
#define NODE_CALLS_MAX 1024u         /* calls awaiting their answer */
#define STREAM_QUEUE_MAX (16u << 20) /* unsent bytes to one peer: one largest message and more */
#define STREAM_IDLE_MS 30000u        /* an outgoing connection without use is closed */
#define STREAM_STALE_MS 120000u      /* an incoming one of nobody; a member's kernel is asked */
#define STREAM_HANDSHAKE_MS 5000u
#define STREAM_UNACKED_MS 5000u /* what the peer's kernel does not take: the connection is dead */
#define STREAM_NARROW_MSS 1220u /* with TCP's head no more than the 1,280 that IPv6 promises */
#define STREAM_NEXT_MS 1000u    /* where there is another address to connect to */
#define STREAM_LOOK_MS 1000u    /* between two looks at all of them */
#define STREAM_CHECK_MS 1000u   /* a TCP check without result says nothing */
#define STREAM_SHUT_MS 2000u    /* after one that did not come about another had its time */
#define ADDRS_AGAIN_MS 1000u    /* whoever was asked how it sees us may not have heard it */
#define NODE_EPOCH_ASK_MS 1000u /* between two questions after a higher epoch of ours; doubles */
#define NODE_EPOCH_ASK_MAX_MS 64000u
#define NODE_EPOCH_TOLD_MS 60000u /* between two higher ones that joins told of; doubles */
#define NODE_EPOCH_TOLD_MAX_MS 3600000u
#define NODE_EPOCH_JUMP (UINT64_C(1) << 62)  /* 139 years: from 1970, and far below the last */
#define NODE_EPOCH_NOISE (UINT64_C(1) << 40) /* 17 minutes, or less above a known one */
#define STREAM_INCOMING_MAX (2u * GOSSIP_STREAMS_MAX)
#define STREAM_OF_ONE_MAX 4u           /* incoming ones of one member */
#define STREAM_WRITE_MAX (256u * 1024) /* bytes sealed ahead of the socket */

enum stream_kind { STREAM_OUT, STREAM_IN, STREAM_CHECK };
enum stream_state { STREAM_CONNECTING, STREAM_HELLO, STREAM_OPEN, STREAM_CLOSING };

struct stream {
    struct list link;
    struct gossip_node *node;
    uv_tcp_t tcp;
    uv_connect_t connect;
    enum stream_kind kind;
    enum stream_state state;
    uint64_t num; /* the peer; for STREAM_IN proven by the first frame that opened */
    uint64_t epoch;
    uint64_t used_ms;
    struct gossip_addr meant; /* the peer's that was in use; perhaps another was free to connect */
    uint8_t nth, at;          /* which of those that node_address() tells; its place in the list */
    struct seal_stream seal;
    struct buf raw;     /* received, sealed */
    struct buf plain;   /* received, opened: a sequence of messages */
    struct buf pending; /* to send: messages not yet sealed */
    size_t pending_at;  /* sealed up to here */
    size_t skip;        /* bytes of a message that are not kept */
    bool writing;
    bool stalled;  /* the peer's kernel took nothing for STREAM_UNACKED_MS */
    bool retiring; /* its key seals no more, or it leads elsewhere: closed when all is sent */
};

struct displaced {
    uint8_t key[NODEKEY_PUBLIC];
    struct seal_window window;
};

struct peer { /* per slot of the swim core */
    uint64_t num;
    struct seal_pair pair; /* with the holder of `key` */
    uint8_t key[NODEKEY_PUBLIC];
    bool keyed, paired;
    struct seal_window window;
    struct displaced *first; /* the key that may win the name back; NULL: none was displaced */
    uint64_t heard_as; /* our epoch, to which the last packet that proved its sender was bound */
    struct path path;
    uint8_t using; /* of its addresses: the path's */
    uint8_t cause; /* of its last change: enum swim_cause; it holds if there was one */
    bool changed;
    uint64_t cause_from;
    struct stream *out;
    uint64_t heard_ms; /* the last datagram that proved its sender */
    bool narrow;       /* the last stream stalled: the next one sends smaller segments */
    uint64_t shut_ms;  /* when a stream did not come about first, since one did; 0: it may */
};

struct seed {
    char text[280];
    unsigned call; /* of gossip_join, that named it last */
    bool answered; /* welcomed, or it is ourselves */
    bool self;
    bool resolving;
    uint64_t uncounted; /* bytes of joins, as long as nobody has said in which zone it is */
};
struct asked {
    uint8_t nonce[16];
    struct gossip_addr addr;
    int seed;       /* -1: a dead member */
    uint64_t at_ms; /* 0: free */
};

struct gossip_node {
    uv_loop_t *loop;
    char id[AGENT_ID_MAX];
    char cluster[CLUSTER_NAME_MAX + 1];
    void *arg;
    void (*on_member)(void *arg, const struct gossip_member *m, enum gossip_state before,
                      const char *why);
    void (*on_incarnation)(void *arg, uint64_t incarnation);
    void (*on_broken)(void *arg, uint64_t num);
    void (*on_bad_packet)(void *arg, const struct sockaddr *from, const char *why);

    struct seal seal;
    struct nodekey own;
    char key_ids[SEAL_KEYS_MAX][17];
    uint64_t num, epoch, counter;
    struct swim *swim;
    struct swim_out *out;
    struct peer *peers;
    struct marks marks;

    uv_udp_t udp;
    uv_tcp_t listener;
    uv_timer_t timer; /* the swim core's deadline */
    uv_timer_t call_timer;
    uv_timer_t join_timer;
    uv_timer_t leave_timer;
    uv_idle_t local_idle;
    int family; /* of our sockets */
    struct gossip_addr bound;
    uint16_t port;
    bool wildcard;     /* bound to any address and nothing advertised: learn it from a welcome */
    bool native;       /* found so, and an interface had it ... */
    bool moved;        /* ... and has it no more */
    uint64_t moved_ms; /* when another was asked how it sees us */
    uv_poll_t netlink;
    int netlink_fd; /* -1: not watched */
    unsigned open_handles;
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
    void (*left)(void *arg);
    void *left_arg;

    struct {
        gossip_recv_fn fn;
        void *arg;
    } handler[CHANNEL_COUNT];

    struct list streams;
    uint64_t streams_ms; /* when they are looked at again */
    unsigned outgoing, incoming, checks;
    bool unaccepted;   /* there was no memory for a connection that came in */
    struct list local; /* messages to ourselves */
    size_t local_bytes;

    struct list calls, requests;
    uint64_t next_call;
    unsigned call_count;
    gossip_call_fn on_call;
    void *on_call_arg;

    struct pace epoch_ask, epoch_answered, epoch_told; /* a higher epoch of ours */
    uint64_t join_wait_ms, join_started_ms;
    unsigned join_rounds, resolving;
    char trouble[512];
    bool refused;
    char odd_key[9]; /* id of a key that packets to us were sealed with; "" if none */
    uint64_t odd_ms; /* when the last such packet came */
    char key_trouble[256];
    uint64_t bad_ms;
    uint64_t look_at; /* a member whose connection ended; 0: none */
    uint64_t held;    /* gossip_hold */
    gossip_rows_fn on_rows;
    void *on_rows_arg;

    struct gossip_stats stats;

    /* Joins: behind what every packet needs. */
    uint64_t seen[NODE_SEEN_MAX];
    size_t seen_next;
    struct seed seeds[NODE_SEEDS_MAX];
    size_t seed_count;
    unsigned join_call;
    struct asked asked[NODE_ASKED_MAX];
    size_t asked_next;
};

/* node_uv.c */
/* Performs what the core wants, reports changes, arms the timer. reply: whom a packet to 0 goes
 * to; may be NULL. */
void node_perform(struct gossip_node *g, const struct seal_peer *reply,
                  const struct gossip_addr *reply_addr);
/* proven: made by member `from` itself; else only what is signed counts. source NULL: a stream. */
void node_deliver(struct gossip_node *g, struct seal_peer from, bool proven, const uint8_t *message,
                  size_t len, const struct gossip_addr *source);
/* The place of the nth address to try: 0 the one in use, then the others that we can use; -1: no
 * more. */
int node_address(const struct gossip_node *g, const struct swim_member *m, unsigned nth);
bool node_is_far(const struct gossip_node *g, const struct swim_member *m); /* another zone */
bool node_is_far_zone(const struct gossip_node *g, const char *zone);
struct peer *node_peer(struct gossip_node *g, const struct swim_member *m);
/* What we share with a member; NULL: its key is none. */
struct seal_pair *node_pair(struct gossip_node *g, const struct swim_member *m);
/* Whoever spoke from this life of its to this life of ours knows both. */
bool node_has_met(struct gossip_node *g, const struct swim_member *m);
/* As udp_send. addr NULL: the one in use, or if nothing leads there the next. */
int node_send(struct gossip_node *g, const struct swim_member *m, const struct gossip_addr *addr,
              uint8_t channel, const void *data, size_t len);
void node_handle_closed(struct gossip_node *g);
void node_bad(struct gossip_node *g, const struct sockaddr *from, const char *why);
void node_look(struct gossip_node *g, uint64_t num); /* at the loop's next turn: is it there? */
uint32_t node_others(const struct gossip_node *g);   /* live members beside us */
uint64_t node_now(struct gossip_node *g); /* reads the clock, tells the core its finer part */

/* addrs_uv.c */
/* Where to listen, and with sockets of which family. */
int addrs_bind(struct gossip_node *g, const char *text, struct errmsg *e);
/* Opens both sockets, and says at which addresses others reach them. */
int addrs_open(struct gossip_node *g, const struct gossip_options *o, struct gossip_addrs *ret,
               struct errmsg *e);
/* A member said how it sees us, who were told no address. */
void addrs_learned(struct gossip_node *g, const struct gossip_addr *addr);
/* We were doubted, or the host's addresses changed: if no interface has our address any more, asks
 * how others see us now. */
void addrs_look(struct gossip_node *g);
/* Our sockets may be IPv6 ones that take IPv4 too: addresses inside the node are always plain. */
struct gossip_addr addr_plain(const struct sockaddr *addr);
/* family: AF_INET6, IPv4 addresses as such sockets take them. */
struct sockaddr_storage addr_kernel(const struct gossip_addr *addr, int family);
/* "host:port", "[v6]:port". False: no port. */
bool addr_split(const char *text, char *host, size_t host_max, char *port, size_t port_max);
/* ERR_NOTFOUND: a name; ERR_BADPARAM: no port. */
int addr_numeric(const char *host, const char *port, struct gossip_addr *ret);

/* netlink_uv.c */
void netlink_open(struct gossip_node *g); /* addrs_look() whenever the host's addresses change */
void netlink_close(struct gossip_node *g);

/* udp_uv.c */
int udp_open(struct gossip_node *g, const struct gossip_addr *bind, struct errmsg *e);
/* pair NULL: as an introduction, under the cluster's key. Returns the length of what was sent, 0 if
 * there was no room, UV_EMSGSIZE: larger than our interface takes, or UV_ENETUNREACH: no way. */
int udp_send(struct gossip_node *g, enum seal_type type, struct seal_peer to,
             struct seal_pair *pair, const struct gossip_addr *addr, uint8_t channel,
             const void *data, size_t len);
/* zone: of whom it is sent to; empty: not known. Returns bytes sent, or what udp_send does. */
int udp_send_hello(struct gossip_node *g, const struct gossip_addr *addr, const char *zone,
                   const void *data, size_t len);
/* The member has another key than p->key from now on: what it said before does not count again. */
void udp_new_key(struct peer *p, const struct swim_member *m);

/* path_uv.c */
size_t path_room(struct gossip_node *g, const struct swim_member *m);
/* By stream what no datagram takes. */
int path_send(struct gossip_node *g, const struct swim_member *m, uint8_t channel, const void *data,
              size_t len, bool again);
void path_message(struct gossip_node *g, const struct swim_member *m, const uint8_t *data,
                  size_t len, const struct gossip_addr *source);

/* stream_uv.c */
struct stream *stream_new(struct gossip_node *g, enum stream_kind kind);
void stream_close(struct stream *t);
/* Closed by trouble: calls that wait for the peer fail. */
void stream_broke(struct stream *t);
/* Has somebody opened it whose key is that of the member that it says it is? */
bool stream_proven(const struct stream *t);
int stream_put(struct stream *t, uint8_t channel, const void *data, size_t len);
void stream_flush(struct stream *t);
bool stream_ask(struct stream *t); /* it is connected: sends the hello, and reads */
bool stream_listen(struct stream *t);
void stream_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf); /* libuv's */

/* tcp_uv.c */
int tcp_open(struct gossip_node *g, const struct gossip_addr *bind, struct errmsg *e);
int tcp_send(struct gossip_node *g, const struct swim_member *m, uint8_t channel, const void *data,
             size_t len);
int tcp_hold(struct gossip_node *g, const struct swim_member *m);    /* connected, if it can be */
void tcp_failed(struct gossip_node *g, const struct swim_member *m); /* to come about */
void tcp_check(struct gossip_node *g, const struct swim_member *m);
/* What waits goes by another stream to the next of the peer's addresses. False: there is none. */
bool tcp_next(struct stream *t);
void tcp_member_gone(struct gossip_node *g, uint64_t num);
/* The host no longer has this address: what is bound to it ends. */
void tcp_moved(struct gossip_node *g, const struct gossip_addr *gone);
/* Ends what was idle too long, connects to those we observe. Called whenever the core's timer
 * fires: at least every few seconds, and no wake of its own. */
void tcp_tick(struct gossip_node *g, uint64_t now);
void tcp_close_all(struct gossip_node *g);
void tcp_key_used(struct gossip_node *g); /* connections under other keys end when they are empty */
void tcp_key_removed(struct gossip_node *g, const uint8_t key_id[4]); /* those under it end now */

/* call_uv.c */
void call_init(struct gossip_node *g);
void call_message(struct gossip_node *g, uint64_t from, const uint8_t *data, size_t len);
void call_fail(struct gossip_node *g, uint64_t to, int err); /* to 0: all */
void call_close(struct gossip_node *g);

/* join_uv.c */
void join_on_hello(struct gossip_node *g, const struct seal_header *h, const uint8_t *data,
                   size_t len, const struct gossip_addr *from);
void join_ask_member(struct gossip_node *g, const struct swim_member *m);
void join_joined(struct gossip_node *g); /* somebody else is here */
void join_timer(uv_timer_t *timer);

#endif
