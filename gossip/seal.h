/* SPDX-License-Identifier: Apache-2.0
 * Sealing of everything that travels: XChaCha20-Poly1305 under the cluster's keys, and between
 * two members that know each other under a key that only these two have, so that another member
 * cannot speak in their name. No parsing happens before a packet opened.
 *
 * Datagram: 28 bytes of header, ciphertext, 16 bytes of tag.
 *    0  u8   version << 4 | type
 *    1  u8   hint of the receiver it is bound to (0 for a hello)
 *    2  u8*4 key id
 *    6  u64  sender num
 *   14  u64  sender's session epoch (one per life of the process, growing)
 *   22  u48  counter within the session
 * Nonce = sender, epoch, counter: unique because no two lives have one epoch. It is the clock's,
 * with random low bits; if somebody knows a later one, that and 40 random bits, so that nobody can
 * make two lives take the same. AAD = header, hash of the cluster's name, receiver's num and epoch:
 * a packet can be opened only by that life of that member, so nothing captured earlier than the
 * receiver's start, or meant for somebody else, can be replayed to it.
 *   bound  under the pair's key: proves its sender
 *   brief  the same between two lives that know each other, with 13 bytes of header: 0 and 1 as
 *          above, 2 first byte of the key id, 3 mark of the sender's life (u32), 7 counter. Sender
 *          and epoch are in the nonce all the same: which they are the receiver looks up
 *   intro  as bound, under the cluster's key alone: to a member that may not know us yet
 *   hello  to an address, bound to nobody */
#ifndef BLOX_GOSSIP_SEAL_H
#define BLOX_GOSSIP_SEAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

#define SEAL_VERSION 1
#define SEAL_KEYS_MAX 8
#define SEAL_HEADER 28u
#define SEAL_TAG 16u
#define SEAL_OVERHEAD (SEAL_HEADER + SEAL_TAG)
#define SEAL_BRIEF_HEADER 13u
#define SEAL_BRIEF_OVERHEAD (SEAL_BRIEF_HEADER + SEAL_TAG)
#define SEAL_COUNTER_MAX ((UINT64_C(1) << 48) - 1)

/* 3: a stream's hello */
enum seal_type { SEAL_BOUND = 1, SEAL_HELLO = 2, SEAL_INTRO = 4, SEAL_BRIEF = 5 };

struct seal {
    uint8_t key[SEAL_KEYS_MAX][32]; /* derived for datagrams and handshakes */
    uint8_t key_id[SEAL_KEYS_MAX][4];
    size_t count;
    uint8_t cluster[32]; /* BLAKE2b of the name */
};

struct seal_header {
    enum seal_type type;
    uint8_t key_id[4];
    uint8_t key_id_len; /* 1 in a brief packet */
    uint64_t sender;    /* 0: a brief packet of nobody that we know */
    uint64_t epoch;
    uint64_t counter;
};

struct seal_peer { /* who a packet is bound to */
    uint64_t num;
    uint64_t epoch;
};

uint32_t seal_mark(struct seal_peer life);

/* ERR_BADPARAM: no key or too many; ERR_INTERNAL: no randomness. Keys are copied (derived). */
int seal_init(struct seal *s, const char *cluster, const uint8_t (*keys)[32],
              size_t count) MUST_CHECK;
void seal_fini(struct seal *s); /* wipes */
/* The keyring in a life: the place of a key is its number, 0 seals, all open. */
int seal_key_add(struct seal *s, const uint8_t key[32]) MUST_CHECK; /* ERR_FULL; at the end */
void seal_key_use(struct seal *s, size_t i);                        /* to the front */
void seal_key_remove(struct seal *s, size_t i);                     /* any but the only one */
/* Printable id of a key: 8 bytes of its BLAKE2b in hex; its first 4 bytes travel in headers. */
void seal_key_id(const uint8_t key[32], char out[17]);
void seal_random(void *out, size_t len);

/* What two members share: the secret of their own keys (nodekey_agree), and what follows from it
 * for the life of either that sends, under the cluster key that was used last: the key that
 * XChaCha20 makes of the first 16 bytes of the nonce, which are the same in all packets of a life.
 */
struct seal_way {
    struct seal_peer from;
    uint8_t under[8]; /* of that cluster key: as good as all of it */
    bool made;
    uint8_t key[32];
};
struct seal_pair {
    uint8_t secret[32];
    struct seal_way to, from; /* seen by whoever has the pair */
};

/* out has room for SEAL_OVERHEAD + len; returns the packet's length. pair is needed for a bound or
 * brief packet only; to is ignored for a hello. plain may lie behind the header's place in out. */
size_t seal_datagram(const struct seal *s, enum seal_type type, struct seal_peer from,
                     uint64_t counter, struct seal_peer to, struct seal_pair *pair,
                     const void *plain, size_t len, uint8_t *out);

enum seal_result {
    SEAL_OK,
    SEAL_SHORT,     /* not ours: too short, other version, unknown type */
    SEAL_KEY,       /* sealed with a key we do not have */
    SEAL_STRANGER,  /* bound, but we know no such sender */
    SEAL_ELSEWHERE, /* bound to another member or an earlier life of ours */
    SEAL_FORGED     /* does not open: damaged, or another cluster's name */
};
struct seal_senders {
    void *arg;
    /* What we share with a sender; NULL: we do not know it. */
    struct seal_pair *(*pair_of)(void *arg, uint64_t sender);
    /* The nth life that we know with that mark; false: no more. */
    bool (*find)(void *arg, uint32_t mark, unsigned nth, struct seal_peer *ret);
};
/* plain has room for len - SEAL_BRIEF_OVERHEAD. ret_header is filled from SEAL_KEY on; that it
 * comes from that sender is proven only with SEAL_OK of a bound or brief packet, else only that
 * somebody with the cluster's key made it. */
enum seal_result seal_open(const struct seal *s, struct seal_peer self, const uint8_t *packet,
                           size_t len, const struct seal_senders *senders,
                           struct seal_header *ret_header, uint8_t *plain, size_t *ret_len);

/* ---- replay window: one per sender session -------------------------------------- */

/* Counters are per sender, not per receiver, so a sender that talks to many leaves gaps; the
 * window is wide for that. */
#define SEAL_WINDOW_WORDS 16
struct seal_window {
    uint64_t epoch; /* 0: nothing heard yet */
    uint64_t top;
    uint64_t bits[SEAL_WINDOW_WORDS];
};
enum seal_fresh { SEAL_FRESH, SEAL_REPLAYED, SEAL_EARLIER_LIFE };
/* Marks the packet as seen. A greater epoch starts the window anew. */
enum seal_fresh seal_window_accept(struct seal_window *w, uint64_t epoch, uint64_t counter);

/* ---- streams --------------------------------------------------------------------- */

/* Handshake: each side sends one hello (fresh X25519 key, sealed with the cluster key, the
 * server's names the client's), then both derive one key per direction from both, and from the
 * secret of their own keys. A recorded stream cannot be replayed, a key stolen later does not open
 * it, and nobody else can pose as either side. */
#define SEAL_HELLO_LEN (1u + 4u + 24u + 112u + 16u)
struct seal_stream {
    uint8_t secret[32];
    uint8_t public_key[32];
    uint8_t send_key[32];
    uint8_t recv_key[32];
    uint64_t send_counter;
    uint64_t recv_counter;
    uint8_t key_id[4];     /* of the cluster key that vouched for both sides */
    struct seal_peer peer; /* once a first frame opened: the holder of peer_key says so */
    uint8_t peer_key[32];  /* server: the client's own public key */
};
void seal_stream_init(struct seal_stream *t);
void seal_stream_fini(struct seal_stream *t);
/* The client's hello is bound to the server `to` and tells its own public key. out has
 * SEAL_HELLO_LEN bytes. */
void seal_stream_ask(const struct seal *s, struct seal_stream *t, struct seal_peer self,
                     const uint8_t own_key[32], struct seal_peer to, uint8_t *out);
/* Server: takes the client's hello and makes the answer. ERR_AUTH if it does not open. */
int seal_stream_answer(const struct seal *s, struct seal_stream *t, struct seal_peer self,
                       const uint8_t *hello, uint8_t *out) MUST_CHECK;
/* Client: takes the server's answer. ERR_AUTH. */
int seal_stream_finish(const struct seal *s, struct seal_stream *t, struct seal_peer self,
                       const uint8_t *answer) MUST_CHECK;
/* After either: mixes what the two sides' own keys agree on into the stream's keys. */
void seal_stream_prove(struct seal_stream *t, const uint8_t secret[32]);
/* A frame: u32 length of what follows, ciphertext, tag. */
#define SEAL_FRAME_OVERHEAD (4u + SEAL_TAG)
#define SEAL_FRAME_MAX (64u * 1024)
void seal_stream_seal(struct seal_stream *t, const void *plain, size_t len, uint8_t *out);
/* body: the frame after its length. ERR_AUTH if it does not open in this place of the stream. */
int seal_stream_open(struct seal_stream *t, const uint8_t *body, size_t len,
                     uint8_t *plain) MUST_CHECK;

#endif
