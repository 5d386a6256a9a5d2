/* SPDX-License-Identifier: Apache-2.0
 * How large a datagram the path to a peer takes (as RFC 8899 finds it). Pure. Nobody else's word
 * counts, ICMP's least: a size is used because the peer acknowledged, sealed, a datagram of it.
 *
 * There are three sizes. SMALL passes on every path. BASE is used from the start, but the first of
 * its kind asks whether it arrived; JUMBO only once it was proven. A question is a datagram of
 * exactly one of the sizes: a message that goes anyway, and padding; the answer is a small one.
 * Questions go with large datagrams only, so a path at rest costs nothing. A question that finds
 * no answer takes the size away at once, until an empty one of that size is answered. */
#ifndef BLOX_GOSSIP_PATH_H
#define BLOX_GOSSIP_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

enum path_level { PATH_SMALL, PATH_BASE, PATH_JUMBO, PATH_LEVELS };

#define PATH_WORTH (64u * 1024) /* bytes in large datagrams between two questions */
#define PATH_OLD_MS 600000u     /* a proof is renewed by the next large datagram */
#define PATH_WAIT_MS 250u       /* for an answer, or twice the round trip */
#define PATH_TRIES 3u           /* at 5 % loss each way all are lost by chance once in a thousand */
#define PATH_AGAIN_MS 600000u   /* until a size that failed is tried again; doubles ... */
#define PATH_DOUBLINGS 6u       /* ... so often */

struct path {
    uint64_t due_ms;    /* an open question is lost */
    uint64_t proven_ms; /* of the level; 0: not yet */
    uint64_t raise_ms;  /* the next level is not tried before */
    uint32_t owed;      /* bytes in large datagrams since the last answer */
    uint16_t seq;       /* of the last question, of the level `asked` */
    uint8_t level, asked;
    uint8_t tries, fails;
    bool open;
};

void path_init(struct path *p);
size_t path_level_size(enum path_level level);
/* Largest datagram (UDP payload) to be sent now. */
size_t path_size(struct path *p, uint64_t now_ms);
/* A datagram of that size is about to go; again: for one that was lost, perhaps because of its
 * size. Returns what is to be asked: the present level, by that datagram, or the next, by an empty
 * question beside it, or PATH_SMALL: nothing. */
enum path_level path_wants(struct path *p, uint64_t now_ms, size_t size, bool again);
/* The number of the question that goes now. */
uint16_t path_ask(struct path *p, uint64_t now_ms, enum path_level level, uint32_t rtt_us);
void path_answered(struct path *p, uint64_t now_ms, uint16_t seq, size_t size);
/* This machine's own interface does not take that size. */
void path_refused(struct path *p, uint64_t now_ms, size_t size);

/* ---- messages ---- */

#define PATH_HEAD 5u
enum path_type { PATH_QUESTION = 1, PATH_ANSWER = 2 };
struct path_message {
    enum path_type type;
    uint16_t seq;
    uint16_t size;        /* answer: of the datagram that arrived */
    const uint8_t *inner; /* question: channel and bytes of the message in it; inner_len 0: none */
    size_t inner_len;
};
/* A question is filled up with zeros to len bytes. Returns what was written. */
size_t path_put(const struct path_message *m, uint8_t *out, size_t len);
int path_get(const uint8_t *data, size_t len, struct path_message *ret) MUST_CHECK;

#endif
