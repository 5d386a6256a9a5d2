/* SPDX-License-Identifier: Apache-2.0
 * Spread of new records (pure core). Plumtree's scheme - payload down a tree, digests beside
 * it, repair on demand - with two departures: the tree is computed from the member list
 * (peers.h) instead of being learnt by pruning duplicates, so the payload goes once over each
 * link from the first record on; and a repaired record is told of, not pushed on, because the
 * branch below has by then heard of it elsewhere.
 *
 * A record enters here when it is durable locally (rumor_stored), never when it merely
 * arrived. Everything to send waits in queues of slots, one slot per key: a newer version takes
 * the place of the older one, so overload sends fewer versions and never loses the newest.
 *
 * Messages (little endian, numbers of varying size as LEB128):
 *   1 PUSH    items: 0, origin u64, turn u16 (and 32768: burst), root fan-out u8, fan-out u8,
 *                    which holds for what follows; or a record
 *   2 REPAIR  records
 *   3 DIGEST  entries: key_hash u64, version hi, lo: differences to the entry before, zigzag varint
 *   4 ASK     key hashes u64
 * The records of a message are one run (agent/base/record_run.h). */
#ifndef BLOX_GOSSIP_RUMOR_H
#define BLOX_GOSSIP_RUMOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/prng.h"
#include "agent/base/record_run.h"
#include "gossip/peers.h"

#define RUMOR_QUEUES 64u /* peers with something waiting: bits of a slot's masks */
#define RUMOR_FANOUT 8u  /* depth 5 reaches 5,000 members, 6 reaches 100,000 */
/* Load is the number of records stored lately, halved every 100 ms. Under load an origin hands
 * each record to one child, so that it sends as much as everybody else. Under more load, in a
 * burst, it gives each datagram's worth of records a tree whose senders stand behind those of the
 * one before, so that everyone sends the same, and digests come later and to one, because what they
 * would tell of is on its way. In a flood each tree gets 11 KiB, for streams. All hangs on that one
 * child: it is handed again what anybody asks the origin for. Outside of bursts few of the trees,
 * and so few of the links, will do. */
#define RUMOR_LOAD_MS 100u
#define RUMOR_LOAD_FEW 24u /* up to 150 a second take the short way */
#define RUMOR_ROOT_BUSY 1u
#define RUMOR_LOAD_BURST 48u /* less than one full transaction of the store */
/* From here on many datagrams cost more of the processor than streams do. */
#define RUMOR_LOAD_FLOOD 320u
#define RUMOR_FLOOD_RUN (11u * 1024) /* just what goes by stream: the finer, the more alike */
#define RUMOR_FANOUT_BURST 3u        /* finer shares for everyone, one step more */
#define RUMOR_FANOUT_FLOOD 2u        /* ... where a tree is large */
#define RUMOR_TREES 8u               /* that are used outside of bursts */
#define RUMOR_DIGEST_BURST_MS 150u
#define RUMOR_DIGEST_BURST_LATE_MS 500u
#define RUMOR_ASK_BURST_MS 100u /* from a digest to asking in the middle of a burst, at least */
/* ... of a flood: a stream sends again by itself what it lost. Then until nothing has come down any
 * tree for so many scans (not milliseconds: whoever was kept from running finds its timers due
 * before it has read what waits for it), and in the end in any case. */
#define RUMOR_ASK_FLOOD_MS 400u
#define RUMOR_ASK_FLOOD_QUIET 25u
#define RUMOR_ASK_FLOOD_MAX_MS 2000u
#define RUMOR_DIGEST_MS 30u /* age from which a record is told of to others */
#define RUMOR_DIGEST_EVERY_MS 20u
#define RUMOR_DIGEST_LATE_MS 250u    /* once more to one peer: for those who joined or lost much */
#define RUMOR_DIGEST_TROUBLE_MS 100u /* ... to three, where packets are lost */
#define RUMOR_DIGEST_PEERS 3u
#define RUMOR_TROUBLE_MS 2000u /* after a repair: told to all three in a burst, too, and late */
#define RUMOR_ASK_WAIT_MS 10u  /* from a digest to asking, at least; longer if pushes are late */
#define RUMOR_ASK_WAIT_MAX_MS 1000u
#define RUMOR_ASK_CALM_MS 500u /* without a late push it is halved */
#define RUMOR_ASK_RETRY_MS 40u /* until each holder was asked twice; then doubled, and so on */
#define RUMOR_ASK_TRIES 8u     /* of one holder, of three 16: then anti-entropy has it */
#define RUMOR_APPLY_MS 5000u   /* an arrived record that was never stored is forgotten */
#define RUMOR_HOLDERS 3u
#define RUMOR_TELLERS 64u    /* shares of what is heard of: members fall into them by a hash */
#define RUMOR_ASK_KEYS 2048u /* in one message: more than a datagram names, and work for each */
#define RUMOR_BATCH (64u * 1024)
/* Datagrams' worth from which one stream message is better: a connection takes 700 bytes, and more
 * of the processor than a few datagrams. */
#define RUMOR_STREAM_FROM 8u
/* The largest record and its framing: no message is larger, and buffers for rumor_poll have room
 * for it. */
#define RUMOR_MESSAGE_MAX (RECORD_HEADER_MAX + RECORD_KEY_MAX + RECORD_VALUE_MAX + 64u)

struct rumor_options {
    uint64_t self;
    uint64_t seed;
    uint32_t recent_max;  /* power of two: records remembered and able to wait for sending */
    uint32_t pending_max; /* power of two: records arrived or heard of, not yet stored */
    uint32_t node_max;    /* queue places of all peers together */
    uint32_t answer_max;  /* power of two: asked-for records waiting */
    uint32_t arena_bytes; /* power of two: bytes of recent records kept at hand */
    void *arg;
    /* Of a datagram to that member; NULL: rumor_poll's. */
    size_t (*room)(void *arg, uint64_t to);
    /* Is this version, or a newer one, stored? */
    bool (*have)(void *arg, uint64_t key_hash, struct record_version version);
    /* The stored record, given to fn during the call; ERR_NOTFOUND. */
    int (*load)(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg);
};

/* What a message brought. Values are borrowed from the message. */
#define RUMOR_IN_MAX 64u
struct rumor_in {
    struct record apply[RUMOR_IN_MAX];      /* new as far as this core knows: store them */
    char key[RUMOR_IN_MAX][RECORD_KEY_MAX]; /* theirs */
    uint64_t key_hash[RUMOR_IN_MAX];
    size_t apply_count;
};

struct rumor_stats {
    uint64_t pushed, again, received, duplicates, repaired, digests, asked, answered;
    uint64_t coalesced, overflow, malformed, hasty, gave_up;
    uint64_t bytes, digest_bytes; /* of messages handed out, digests' share */
};

struct rumor_slot;
struct rumor_pending;
struct rumor_node;
struct rumor_answer;

struct rumor_queue {
    uint64_t to;
    uint64_t paused_until_ms;
    uint32_t pause_ms;
    uint32_t head, tail, count;
};

/* Embedded by the caller; fields are private. */
struct rumor {
    struct rumor_options options;
    const struct peers *peers;
    struct prng prng;
    struct rumor_stats stats;

    struct rumor_slot *slots;
    uint32_t *slot_buckets;
    uint32_t slot_count, lru_oldest, lru_newest;
    uint32_t digest_at;      /* first slot that was never told of */
    uint32_t digest_late_at; /* first slot whose late digest is due */
    uint8_t *arena;
    uint64_t arena_end; /* bytes ever written */

    struct rumor_pending *pending;
    uint32_t *pending_buckets;
    uint32_t pending_free, pending_count, wanted_count;
    uint32_t told[RUMOR_TELLERS]; /* of wanted_count */
    uint32_t pending_end;         /* all from here on are free */
    uint32_t quiet;               /* scans for what to ask for since something came down a tree */

    struct rumor_queue queues[RUMOR_QUEUES];
    uint64_t waiting; /* bit q: queue q is not empty */
    struct rumor_node *nodes;
    uint32_t node_free;
    uint32_t queue_turn;

    struct rumor_answer *answers;
    uint32_t answer_head, answer_count;

    uint64_t next_scan_ms, next_digest_ms;
    uint64_t trouble_until_ms;
    uint32_t ask_wait_ms;
    uint64_t ask_late_ms; /* when it was made longer, or halved */
    uint64_t load_from_ms;
    uint32_t load;
    uint32_t coming;           /* of a batch that is being stored, beside the load */
    uint32_t digest_turn;      /* which of the places round the ring is told next in a burst */
    size_t tree_place;         /* burst: of the ring, where the tree begins */
    size_t tree_left;          /* bytes that still go down it */
    size_t room;               /* of a datagram, as last heard */
    struct record_run own_run; /* of what goes down it */

    uint8_t digest[1500]; /* one digest on its way to several peers */
    size_t digest_len;
    uint64_t digest_to[PEERS_CHILDREN_MAX];
    size_t digest_targets;

    /* The message rumor_poll last gave out of a queue. */
    uint32_t last_queue, last_count;
    bool last_open;
};

size_t rumor_memory(const struct rumor_options *options);
/* memory: rumor_memory() bytes, aligned as malloc aligns, kept by the caller. */
void rumor_init(struct rumor *r, const struct rumor_options *options, const struct peers *peers,
                void *memory, uint64_t now_ms);
/* The member list behind the pointer changed. */
void rumor_peers_changed(struct rumor *r);

/* A record became durable here. RUMOR_LOCAL: born here. RUMOR_PEER: it came by this core or by
 * sync. RUMOR_BULK: by a large sync; told to nobody unless it came by this core. */
enum rumor_from { RUMOR_LOCAL, RUMOR_PEER, RUMOR_BULK };
void rumor_stored(struct rumor *r, uint64_t now_ms, const struct record *rec, uint64_t key_hash,
                  enum rumor_from from);
/* So many records are about to be stored at once, of which none was stored yet; then 0. */
void rumor_coming(struct rumor *r, size_t count);
/* It was no news for the store, or could not be stored (refused: heard of, never seen). */
void rumor_unchanged(struct rumor *r, uint64_t key_hash, struct record_version version);
void rumor_refused(struct rumor *r, uint64_t now_ms, uint64_t key_hash);

/* The stored record of the key goes to that member as an answer, though it did not ask here. False:
 * as many answers wait as may; half the places are for those who ask. */
bool rumor_hand(struct rumor *r, uint64_t to, uint64_t key_hash);

/* Take a message in: call with *at all zero, again until at->pos == len; each call fills `in`. A
 * message with anything odd in it is refused as a whole: ERR_MALFORMED at the first call. */
struct rumor_place {
    size_t pos;
    struct tree tree;
    struct record_run run;
    struct record_version told; /* in a digest versions are differences to the one before */
};
int rumor_recv(struct rumor *r, uint64_t now_ms, uint64_t from, const uint8_t *data, size_t len,
               struct rumor_place *at, struct rumor_in *in);

/* The next message to send now: its length, 0 if there is none. room is a usual datagram's; what is
 * longer than the path to its member takes goes by stream. cap >= RUMOR_MESSAGE_MAX. After each:
 * rumor_sent() with what sending returned; after ERR_BUSY the records of a queue stay in it. */
size_t rumor_poll(struct rumor *r, uint64_t now_ms, size_t room, uint8_t *out, size_t cap,
                  uint64_t *ret_to);
void rumor_sent(struct rumor *r, uint64_t now_ms, int err);
/* Does it carry what was asked for because it did not come? */
bool rumor_is_repair(const uint8_t *data, size_t len);
/* When rumor_poll should be called again; UINT64_MAX: not before the next input. */
uint64_t rumor_deadline(const struct rumor *r, uint64_t now_ms);

/* Records waiting to be sent, all queues. */
uint64_t rumor_queued(const struct rumor *r);

#endif
