/* SPDX-License-Identifier: Apache-2.0
 * Between rumor.c (what is known), rumor_table.c (its tables) and rumor_send.c (messages). */
#ifndef BLOX_GOSSIP_RUMOR_INT_H
#define BLOX_GOSSIP_RUMOR_INT_H

#include "gossip/rumor.h"

#define NONE UINT32_MAX

enum rumor_message { RUMOR_PUSH = 1, RUMOR_REPAIR = 2, RUMOR_DIGEST = 3, RUMOR_ASK = 4 };
#define RUMOR_ITEM_TREE 0u /* a record's first byte is 128 or more */
#define RUMOR_TREE_BURST 0x8000u
#define RUMOR_PUSH_HEAD 14u /* type and tree */

/* A record that is durable here, the newest version of its key. */
struct rumor_slot {
    uint64_t key_hash;
    struct record_version version;
    struct tree tree;
    uint64_t want;   /* bit q: still to be sent to queue q */
    uint64_t queued; /* bit q: a node of queue q names this slot (perhaps for its last tenant) */
    uint64_t stored_ms;
    uint64_t at;  /* of its bytes in the arena's endless stream */
    uint32_t len; /* 0: not at hand, load it */
    uint32_t older, newer;
    uint32_t chain;
    bool burst;     /* one of many at once: told of later, and to fewer */
    bool by_sync;   /* and not yet by the tree */
    bool passed_on; /* others have it, or its only child was handed it a second time */
};

enum rumor_state {
    PENDING_FREE,
    PENDING_WANTED,  /* told of; to be asked for at due_ms */
    PENDING_ASKED,   /* asked for; again at due_ms */
    PENDING_PUSHED,  /* arrived down the tree; forgotten at due_ms */
    PENDING_REPAIRED /* arrived as an answer */
};

struct rumor_pending {
    uint64_t key_hash;
    struct record_version version;
    struct tree tree;
    uint64_t holder[RUMOR_HOLDERS];
    uint64_t due_ms;
    uint64_t told_ms; /* first heard of */
    uint32_t chain;   /* of its bucket, or of the free list */
    uint8_t state;
    uint8_t holders, tries;
    uint8_t teller;  /* whose share it takes while it is wanted */
    bool amid_flood; /* heard of */
};

struct rumor_node {
    uint32_t slot, next;
};
struct rumor_answer {
    uint64_t to, key_hash;
};

uint32_t rumor_load(struct rumor *r, uint64_t now_ms);
uint32_t rumor_ask_wait(struct rumor *r, uint64_t now_ms);

struct rumor_slot *rumor_slot_find(struct rumor *r, uint64_t key_hash);
/* The slot of the key, moved to the newest end; an old one is evicted for it if it must be. */
struct rumor_slot *rumor_slot_take(struct rumor *r, uint64_t key_hash);
void rumor_slot_keep(struct rumor *r, struct rumor_slot *slot, const struct record *rec);
/* The slot's record out of the arena, until the next is kept; false if its bytes are gone. */
bool rumor_slot_record(const struct rumor *r, const struct rumor_slot *slot, struct record *ret);

static inline bool rumor_same_tree(const struct tree *a, const struct tree *b)
{
    return a->origin == b->origin && a->turn == b->turn && a->root_fanout == b->root_fanout &&
           a->fanout == b->fanout && a->burst == b->burst;
}

struct rumor_pending *rumor_pending_find(struct rumor *r, uint64_t key_hash);
struct rumor_pending *rumor_pending_add(struct rumor *r, uint64_t key_hash); /* NULL: full */
void rumor_pending_drop(struct rumor *r, struct rumor_pending *p);
/* All changes of state go through here: wanted_count follows. */
void rumor_pending_state(struct rumor *r, struct rumor_pending *p, enum rumor_state state,
                         uint64_t due_ms);

/* Have the slot's record sent to that peer; false: no room (digests and sync repair). */
bool rumor_enqueue(struct rumor *r, struct rumor_slot *slot, uint64_t to);
void rumor_queue_pop(struct rumor *r, uint32_t q);

void rumor_tables_init(struct rumor *r, void *memory);

#endif
