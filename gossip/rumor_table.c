/* SPDX-License-Identifier: Apache-2.0
 * Tables of rumor in memory that the caller gave: slots (newest version of recent keys, in
 * order of storing), the arena with their bytes, records pending, and the peers' queues. */
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/rumor_int.h"

static bool is_power(uint32_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static size_t aligned(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

size_t rumor_memory(const struct rumor_options *o)
{
    return aligned(o->recent_max * sizeof(struct rumor_slot)) +
           aligned(o->recent_max * sizeof(uint32_t)) +
           aligned(o->pending_max * sizeof(struct rumor_pending)) +
           aligned(o->pending_max * sizeof(uint32_t)) +
           aligned(o->node_max * sizeof(struct rumor_node)) +
           aligned(o->answer_max * sizeof(struct rumor_answer)) + aligned(o->arena_bytes);
}

static void *take(uint8_t **memory, size_t bytes)
{
    void *at = *memory;
    *memory += aligned(bytes);
    return at;
}

void rumor_tables_init(struct rumor *r, void *memory)
{
    const struct rumor_options *o = &r->options;
    ENSURE(is_power(o->recent_max) && is_power(o->pending_max));
    ENSURE(is_power(o->answer_max) && is_power(o->arena_bytes));
    uint8_t *at = memory;
    r->slots = take(&at, o->recent_max * sizeof(struct rumor_slot));
    r->slot_buckets = take(&at, o->recent_max * sizeof(uint32_t));
    r->pending = take(&at, o->pending_max * sizeof(struct rumor_pending));
    r->pending_buckets = take(&at, o->pending_max * sizeof(uint32_t));
    r->nodes = take(&at, o->node_max * sizeof(struct rumor_node));
    r->answers = take(&at, o->answer_max * sizeof(struct rumor_answer));
    r->arena = take(&at, o->arena_bytes);

    /* Slots and arena are not touched before they are used: an idle agent stays small. */
    for (uint32_t i = 0; i < o->recent_max; i++)
        r->slot_buckets[i] = NONE;
    memset(r->pending, 0, o->pending_max * sizeof(struct rumor_pending));
    for (uint32_t i = 0; i < o->pending_max; i++) {
        r->pending_buckets[i] = NONE;
        r->pending[i].chain = i + 1 < o->pending_max ? i + 1 : NONE;
    }
    for (uint32_t i = 0; i < o->node_max; i++)
        r->nodes[i].next = i + 1 < o->node_max ? i + 1 : NONE;
    for (uint32_t q = 0; q < RUMOR_QUEUES; q++)
        r->queues[q] = (struct rumor_queue){.head = NONE, .tail = NONE};
    r->lru_oldest = r->lru_newest = NONE;
    r->digest_at = r->digest_late_at = NONE;
}

/* ---- slots --------------------------------------------------------------------- */

static uint32_t *slot_bucket(struct rumor *r, uint64_t key_hash)
{
    return &r->slot_buckets[hash_mix(key_hash) & (r->options.recent_max - 1)];
}

struct rumor_slot *rumor_slot_find(struct rumor *r, uint64_t key_hash)
{
    uint32_t i = *slot_bucket(r, key_hash);
    while (i != NONE && r->slots[i].key_hash != key_hash)
        i = r->slots[i].chain;
    return i == NONE ? NULL : &r->slots[i];
}

static void slot_unchain(struct rumor *r, uint32_t index)
{
    uint32_t *at = slot_bucket(r, r->slots[index].key_hash);
    while (*at != index)
        at = &r->slots[*at].chain;
    *at = r->slots[index].chain;
}

static void slot_unlink(struct rumor *r, uint32_t index)
{
    struct rumor_slot *slot = &r->slots[index];
    /* The digest cursors stand on slots: they step on to the next newer one. */
    if (r->digest_at == index)
        r->digest_at = slot->newer;
    if (r->digest_late_at == index)
        r->digest_late_at = slot->newer;
    if (slot->older != NONE)
        r->slots[slot->older].newer = slot->newer;
    else
        r->lru_oldest = slot->newer;
    if (slot->newer != NONE)
        r->slots[slot->newer].older = slot->older;
    else
        r->lru_newest = slot->older;
}

static void slot_link_newest(struct rumor *r, uint32_t index)
{
    struct rumor_slot *slot = &r->slots[index];
    slot->older = r->lru_newest;
    slot->newer = NONE;
    if (r->lru_newest != NONE)
        r->slots[r->lru_newest].newer = index;
    else
        r->lru_oldest = index;
    r->lru_newest = index;
    if (r->digest_at == NONE)
        r->digest_at = index;
    if (r->digest_late_at == NONE)
        r->digest_late_at = index;
}

struct rumor_slot *rumor_slot_take(struct rumor *r, uint64_t key_hash)
{
    struct rumor_slot *slot = rumor_slot_find(r, key_hash);
    uint32_t index;
    if (slot != NULL) {
        index = (uint32_t)(slot - r->slots);
        slot_unlink(r, index);
    } else {
        uint64_t queued = 0;
        if (r->slot_count < r->options.recent_max) {
            index = r->slot_count++;
        } else {
            index = r->lru_oldest;
            if (r->slots[index].want != 0)
                r->stats.overflow++;
            slot_unchain(r, index);
            slot_unlink(r, index);
            /* Nodes of queues may still name this place: their bits stay until they are popped. */
            queued = r->slots[index].queued;
        }
        slot = &r->slots[index];
        *slot = (struct rumor_slot){.key_hash = key_hash, .queued = queued};
        uint32_t *bucket = slot_bucket(r, key_hash);
        slot->chain = *bucket;
        *bucket = index;
    }
    slot_link_newest(r, index);
    return slot;
}

void rumor_slot_keep(struct rumor *r, struct rumor_slot *slot, const struct record *rec)
{
    size_t size = r->options.arena_bytes;
    size_t len = record_encoded_size(rec);
    slot->len = 0;
    if (len > size / 4)
        return;
    size_t offset = (size_t)(r->arena_end & (size - 1));
    if (offset + len > size) { /* records do not wrap: the rest of the round stays unused */
        r->arena_end += size - offset;
        offset = 0;
    }
    struct wbuf w;
    wbuf_init(&w, r->arena + offset, len);
    int err = record_encode_fixed(rec, &w);
    ENSURE(err == 0);
    slot->at = r->arena_end;
    slot->len = (uint32_t)len;
    r->arena_end += len;
}

bool rumor_slot_record(const struct rumor *r, const struct rumor_slot *slot, struct record *ret)
{
    if (slot->len == 0 || r->arena_end - slot->at > r->options.arena_bytes)
        return false;
    struct rbuf b;
    rbuf_init(&b, r->arena + (slot->at & (r->options.arena_bytes - 1)), slot->len);
    int err = record_decode(&b, ret);
    ENSURE(err == 0);
    return true;
}

/* ---- pending ------------------------------------------------------------------- */

static uint32_t *pending_bucket(struct rumor *r, uint64_t key_hash)
{
    return &r->pending_buckets[hash_mix(key_hash) & (r->options.pending_max - 1)];
}

struct rumor_pending *rumor_pending_find(struct rumor *r, uint64_t key_hash)
{
    uint32_t i = *pending_bucket(r, key_hash);
    while (i != NONE && r->pending[i].key_hash != key_hash)
        i = r->pending[i].chain;
    return i == NONE ? NULL : &r->pending[i];
}

struct rumor_pending *rumor_pending_add(struct rumor *r, uint64_t key_hash)
{
    uint32_t index = r->pending_free;
    if (index == NONE)
        return NULL;
    struct rumor_pending *p = &r->pending[index];
    r->pending_free = p->chain;
    uint32_t *bucket = pending_bucket(r, key_hash);
    *p = (struct rumor_pending){.key_hash = key_hash, .chain = *bucket, .state = PENDING_FREE};
    *bucket = index;
    r->pending_count++;
    if (index >= r->pending_end)
        r->pending_end = index + 1;
    return p;
}

static bool is_wanted(uint8_t state)
{
    return state == PENDING_WANTED || state == PENDING_ASKED;
}

void rumor_pending_state(struct rumor *r, struct rumor_pending *p, enum rumor_state state,
                         uint64_t due_ms)
{
    if (is_wanted(p->state)) {
        r->wanted_count--;
        r->told[p->teller]--;
    }
    if (is_wanted((uint8_t)state)) {
        r->wanted_count++;
        r->told[p->teller]++;
    }
    p->state = (uint8_t)state;
    p->due_ms = due_ms;
}

void rumor_pending_drop(struct rumor *r, struct rumor_pending *p)
{
    rumor_pending_state(r, p, PENDING_FREE, 0);
    uint32_t index = (uint32_t)(p - r->pending);
    uint32_t *at = pending_bucket(r, p->key_hash);
    while (*at != index)
        at = &r->pending[*at].chain;
    *at = p->chain;
    p->chain = r->pending_free;
    r->pending_free = index;
    r->pending_count--;
    while (r->pending_end > 0 && r->pending[r->pending_end - 1].state == PENDING_FREE)
        r->pending_end--;
}

/* ---- queues -------------------------------------------------------------------- */

static uint32_t queue_of(struct rumor *r, uint64_t to)
{
    uint32_t empty = NONE;
    for (uint32_t q = 0; q < RUMOR_QUEUES; q++) {
        if (r->queues[q].to == to && (r->queues[q].count > 0 || r->queues[q].paused_until_ms > 0))
            return q;
        if (r->queues[q].count == 0 && empty == NONE)
            empty = q;
    }
    if (empty != NONE)
        r->queues[empty] = (struct rumor_queue){.to = to, .head = NONE, .tail = NONE};
    return empty;
}

bool rumor_enqueue(struct rumor *r, struct rumor_slot *slot, uint64_t to)
{
    uint32_t q = queue_of(r, to);
    if (q == NONE) {
        r->stats.overflow++;
        return false;
    }
    uint64_t bit = UINT64_C(1) << q;
    if (slot->queued & bit) { /* its place in the queue is kept, the version is the new one */
        if (slot->want & bit)
            r->stats.coalesced++;
        slot->want |= bit;
        return true;
    }
    uint32_t node = r->node_free;
    if (node == NONE) {
        r->stats.overflow++;
        return false;
    }
    r->node_free = r->nodes[node].next;
    r->nodes[node] = (struct rumor_node){.slot = (uint32_t)(slot - r->slots), .next = NONE};
    struct rumor_queue *queue = &r->queues[q];
    if (queue->tail != NONE)
        r->nodes[queue->tail].next = node;
    else
        queue->head = node;
    queue->tail = node;
    queue->count++;
    r->waiting |= bit;
    slot->want |= bit;
    slot->queued |= bit;
    return true;
}

void rumor_queue_pop(struct rumor *r, uint32_t q)
{
    struct rumor_queue *queue = &r->queues[q];
    uint32_t node = queue->head;
    ENSURE(node != NONE);
    struct rumor_slot *slot = &r->slots[r->nodes[node].slot];
    uint64_t bit = UINT64_C(1) << q;
    slot->queued &= ~bit;
    slot->want &= ~bit;
    queue->head = r->nodes[node].next;
    if (queue->head == NONE) {
        queue->tail = NONE;
        r->waiting &= ~bit;
    }
    queue->count--;
    r->nodes[node].next = r->node_free;
    r->node_free = node;
}

uint64_t rumor_queued(const struct rumor *r)
{
    uint64_t n = 0;
    for (uint32_t q = 0; q < RUMOR_QUEUES; q++)
        n += r->queues[q].count;
    return n;
}
