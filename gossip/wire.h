/* SPDX-License-Identifier: Apache-2.0
 * What is inside the sealed packets of membership. docs/protocol.md draws it. Pure: encodes into
 * and decodes from fixed memory; decoders take any bytes and answer ERR_MALFORMED. */
#ifndef BLOX_GOSSIP_WIRE_H
#define BLOX_GOSSIP_WIRE_H

#include "agent/base/buf.h"
#include "gossip/node.h"

enum wire_type {
    WIRE_PING = 1,
    WIRE_ACK = 2,
    WIRE_PING_REQ = 3,
    WIRE_NACK = 4,
    WIRE_GOSSIP = 5,     /* updates only */
    WIRE_SYNC_ASK = 6,   /* "these are my digests: send me what differs" */
    WIRE_SYNC = 7,       /* a page of the member list */
    WIRE_SYNC_NAMES = 8, /* a page of what can be had: names */
    WIRE_SYNC_WANT = 9,  /* nums of members: "send me these" */
    WIRE_TYPE_END = 10
};

#define WIRE_BEATS_MAX 5u
#define WIRE_BUCKETS 32u /* the member list is digested in this many parts, by num */

struct wire_head {
    enum wire_type type;
    uint16_t seq;    /* ping, ack, ping-req, nack */
    uint32_t digest; /* ping, ack: of the whole member list */
    uint32_t rows;   /* ping: of the sender's rows and the seq */
    uint8_t ring;    /* ping: 1 + index of the observer ring, 0: not by an observer */
    uint8_t beats;   /* ping by an observer: when its other pings come and go */
    uint8_t beat[WIRE_BEATS_MAX];
    uint16_t wait_ms; /* ack to an observer: when its next probe fits both best; 0: any time */
    uint64_t target;  /* ping-req */
    bool reply;       /* sync-ask: do not ask back */
    uint32_t buckets[WIRE_BUCKETS];
};

#define WIRE_KEY 32u /* a member's public key, Ed25519 */
#define WIRE_SIG 64u /* a signature by it */
#define WIRE_VOTES_MAX 3u
/* Greater incarnations are malformed: nobody can take the last one and so the last word
 * (memberlist 358). */
#define WIRE_INCARNATION_MAX (UINT64_C(1) << 62)

/* What one member says about another (or, when it leaves, of itself), signed: nobody can say it in
 * its name. */
struct wire_vote {
    uint64_t num;
    uint8_t sig[WIRE_SIG];
};

struct wire_update {
    enum gossip_state state;
    uint64_t num;
    uint64_t incarnation;
    bool has_body; /* always for alive; in sync pages for all */
    uint64_t epoch;
    char id[AGENT_ID_MAX];
    struct gossip_addrs addrs;
    struct gossip_meta meta;
    uint8_t key[WIRE_KEY];
    uint8_t sig[WIRE_SIG]; /* of what the member says of itself: num, incarnation, body */
    uint8_t vote_count;    /* degraded, suspect, failed: who says so; left: the member itself */
    struct wire_vote vote[WIRE_VOTES_MAX];
};
#define WIRE_UPDATE_MAX 576u

/* That a member is known, and since which of its words. */
struct wire_name {
    uint64_t num, incarnation;
    enum gossip_state state; /* alive, failed or left */
};
#define WIRE_NAME_MAX 18u

/* The bytes that a signature covers: by 0, what the member says of itself; else what `by` says of
 * it in this state (suspect and failed are one statement: that it is silent). */
#define WIRE_STATEMENT_MAX 256u
size_t wire_statement(const struct wire_update *u, uint64_t by, uint8_t out[WIRE_STATEMENT_MAX]);

void wire_put_head(struct wbuf *w, const struct wire_head *h);
int wire_get_head(struct rbuf *r, struct wire_head *ret) MUST_CHECK;
void wire_put_update(struct wbuf *w, const struct wire_update *u);
int wire_get_update(struct rbuf *r, struct wire_update *ret) MUST_CHECK;
void wire_put_name(struct wbuf *w, const struct wire_name *n);
int wire_get_name(struct rbuf *r, struct wire_name *ret) MUST_CHECK;

/* The first two packets between agents that do not know each other's session. A join is padded to
 * be at least as long as any welcome, so that answering never amplifies. */
#define WIRE_JOIN_LEN 400u
enum wire_hello { WIRE_JOIN = 1, WIRE_WELCOME = 2 };
enum wire_refusal {
    WIRE_ACCEPTED = 0,
    WIRE_ID_TAKEN = 1,    /* that id is alive at another address */
    WIRE_NUM_TAKEN = 2,   /* another id has the same num */
    WIRE_FULL = 3,        /* no slot is left */
    WIRE_NOT_ADMITTED = 4 /* no container instance of the cluster */
};
struct wire_join {
    enum wire_hello type;
    uint8_t nonce[16];
    struct wire_update self; /* state alive */
    /* The session that the joiner knows of whom it asks (a join: of `asked`, if anybody), or the
     * answerer of the joiner: who is asked or welcomed must have a later one to be heard. */
    uint64_t known_epoch;
    uint64_t asked; /* join only */
    /* welcome only */
    enum wire_refusal refusal;
    struct gossip_addr seen;       /* where the join came from */
    struct gossip_addr taken;      /* refused: where the other one is */
    enum gossip_state known_state; /* what the answerer held of the joiner; 0: nothing */
    uint64_t known_incarnation;
};
size_t wire_put_join(const struct wire_join *j, uint8_t out[WIRE_JOIN_LEN]);
int wire_get_join(const uint8_t *data, size_t len, struct wire_join *ret) MUST_CHECK;

#endif
