/* SPDX-License-Identifier: Apache-2.0
 * What rumor knows: records stored, arrived, heard of. Sending is in rumor_send.c. */
#include "gossip/rumor.h"

#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/rumor_int.h"

#define ROOM_FIRST 1300u /* until a datagram's room is known */

void rumor_init(struct rumor *r, const struct rumor_options *options, const struct peers *peers,
                void *memory, uint64_t now_ms)
{
    *r = (struct rumor){.options = *options, .peers = peers};
    prng_seed(&r->prng, options->seed);
    rumor_tables_init(r, memory);
    r->ask_wait_ms = RUMOR_ASK_WAIT_MS;
    r->ask_late_ms = now_ms;
    r->load_from_ms = now_ms;
    r->next_scan_ms = now_ms;
    r->next_digest_ms = now_ms;
    r->room = ROOM_FIRST;
}

void rumor_peers_changed(struct rumor *r)
{
    for (uint32_t q = 0; q < RUMOR_QUEUES; q++) {
        struct rumor_queue *queue = &r->queues[q];
        if (queue->count == 0 || peers_has(r->peers, queue->to))
            continue;
        while (queue->count > 0)
            rumor_queue_pop(r, q);
        queue->paused_until_ms = 0;
    }
}

/* ---- stored --------------------------------------------------------------------- */

uint32_t rumor_load(struct rumor *r, uint64_t now_ms)
{
    uint64_t halvings = (now_ms - r->load_from_ms) / RUMOR_LOAD_MS;
    r->load = halvings > 31 ? 0 : r->load >> halvings;
    r->load_from_ms += halvings * RUMOR_LOAD_MS;
    return r->load;
}

void rumor_coming(struct rumor *r, size_t count)
{
    r->coming = (uint32_t)count;
}

/* Each tree gets what fills a datagram, in a flood what a stream is good for. The next one begins
 * behind the senders of this one. */
static uint16_t burst_turn(struct rumor *r, const struct record *rec, bool flood)
{
    size_t size = record_run_size(&r->own_run, rec);
    if (size > r->tree_left || (!flood && r->tree_left > r->room)) {
        r->own_run = (struct record_run){0};
        size = record_run_size(&r->own_run, rec);
        r->tree_left = flood ? RUMOR_FLOOD_RUN : r->room - RUMOR_PUSH_HEAD;
        uint8_t fanout = flood ? RUMOR_FANOUT_FLOOD : RUMOR_FANOUT_BURST;
        size_t ring = r->peers->count - 1;
        size_t stride = peers_stride(r->peers, fanout);
        bool zones = peers_others(r->peers) > 0;
        r->tree_place += stride;
        if (flood && !zones && r->tree_place + stride > ring)
            r->tree_place = 0; /* the same links again: to open others takes longer than all else */
        else if (zones && r->tree_place >= ring)
            r->tree_place += fanout + r->peers->zone_count; /* others send to the other zones */
        r->tree_place %= ring;
    }
    r->tree_left -= size < r->tree_left ? size : r->tree_left;
    record_run_note(&r->own_run, rec);
    return peers_turn(r->peers, r->tree_place);
}

static struct tree own_tree(struct rumor *r, uint64_t now_ms, const struct record *rec,
                            uint64_t key_hash)
{
    uint32_t load = rumor_load(r, now_ms) + r->coming;
    bool many = r->peers->count > RUMOR_FANOUT + 1;
    bool small = record_encoded_size(rec) <= r->room - RUMOR_PUSH_HEAD;
    struct tree tree = {.origin = r->options.self,
                        .turn = (uint16_t)(key_hash % RUMOR_TREES * (PEERS_TURNS / RUMOR_TREES)),
                        .root_fanout = (uint8_t)(RUMOR_FANOUT - peers_others(r->peers)),
                        .fanout = RUMOR_FANOUT,
                        .burst = load > RUMOR_LOAD_BURST};
    if (load > RUMOR_LOAD_FEW && many)
        tree.root_fanout = RUMOR_ROOT_BUSY;
    if (tree.burst && many && small) {
        bool flood = load > RUMOR_LOAD_FLOOD;
        tree.turn = burst_turn(r, rec, flood);
        tree.fanout = flood ? RUMOR_FANOUT_FLOOD : RUMOR_FANOUT_BURST;
    }
    return tree;
}

static void push_on(struct rumor *r, struct rumor_slot *slot)
{
    uint64_t children[PEERS_CHILDREN_MAX];
    size_t n = peers_children(r->peers, &slot->tree, children);
    for (size_t i = 0; i < n; i++)
        rumor_enqueue(r, slot, children[i]);
}

void rumor_stored(struct rumor *r, uint64_t now_ms, const struct record *rec, uint64_t key_hash,
                  enum rumor_from from)
{
    struct rumor_pending *p = rumor_pending_find(r, key_hash);
    struct tree tree = {0};
    bool pushed = false;
    bool known = false;
    if (p != NULL && record_version_cmp(p->version, rec->version) <= 0) {
        known = p->state == PENDING_PUSHED || p->state == PENDING_REPAIRED;
        pushed = p->state == PENDING_PUSHED;
        tree = p->tree;
        rumor_pending_drop(r, p);
    }
    if (from == RUMOR_BULK && !known)
        return;
    struct rumor_slot *slot = rumor_slot_find(r, key_hash);
    if (slot != NULL && record_version_cmp(slot->version, rec->version) >= 0)
        return;
    if (r->next_digest_ms < now_ms)
        r->next_digest_ms = now_ms + RUMOR_DIGEST_EVERY_MS;
    slot = rumor_slot_take(r, key_hash);
    slot->version = rec->version;
    slot->stored_ms = now_ms;
    rumor_slot_keep(r, slot, rec);
    if (from == RUMOR_LOCAL) {
        slot->tree = own_tree(r, now_ms, rec, key_hash);
        push_on(r, slot);
    } else if (pushed) {
        slot->tree = tree;
        push_on(r, slot);
    }
    (void)rumor_load(r, now_ms);
    r->load++;
    r->coming -= r->coming > 0;
    slot->passed_on = false;
    slot->by_sync = from == RUMOR_PEER && p == NULL;
    slot->burst = slot->tree.burst; /* what was missed for once and repaired is told of at once */
}

void rumor_unchanged(struct rumor *r, uint64_t key_hash, struct record_version version)
{
    struct rumor_pending *p = rumor_pending_find(r, key_hash);
    if (p != NULL && record_version_cmp(p->version, version) <= 0)
        rumor_pending_drop(r, p);
}

void rumor_refused(struct rumor *r, uint64_t now_ms, uint64_t key_hash)
{
    struct rumor_pending *p = rumor_pending_find(r, key_hash);
    if (p == NULL || (p->state != PENDING_PUSHED && p->state != PENDING_REPAIRED))
        return;
    /* Whoever sent it has it. A little apart, so that what the store refused comes in pieces. */
    p->tries = 0;
    p->told_ms = now_ms; /* what comes now is not late because a digest was early */
    rumor_pending_state(r, p, PENDING_WANTED, now_ms + 100 + prng_below(&r->prng, 200));
}

/* ---- received ------------------------------------------------------------------- */

static bool known_stored(struct rumor *r, uint64_t key_hash, struct record_version version)
{
    const struct rumor_slot *slot = rumor_slot_find(r, key_hash);
    return slot != NULL && record_version_cmp(slot->version, version) >= 0;
}

uint32_t rumor_ask_wait(struct rumor *r, uint64_t now_ms)
{
    uint64_t halvings = (now_ms - r->ask_late_ms) / RUMOR_ASK_CALM_MS;
    r->ask_wait_ms = halvings > 31 ? 0 : r->ask_wait_ms >> halvings;
    r->ask_late_ms += halvings * RUMOR_ASK_CALM_MS;
    if (r->ask_wait_ms < RUMOR_ASK_WAIT_MS)
        r->ask_wait_ms = RUMOR_ASK_WAIT_MS;
    return r->ask_wait_ms;
}

/* A push came behind a digest that told of it: whoever asks earlier than that gets a second copy.
 * So asking waits a little longer than pushes were late. */
static void note_late(struct rumor *r, uint64_t now_ms, const struct rumor_pending *p)
{
    uint64_t late_ms = now_ms - p->told_ms;
    uint64_t wait_ms = late_ms + late_ms / 4;
    if (p->state != PENDING_WANTED && p->state != PENDING_ASKED)
        return;
    r->stats.hasty += p->state == PENDING_ASKED;
    if (wait_ms > RUMOR_ASK_WAIT_MAX_MS)
        wait_ms = RUMOR_ASK_WAIT_MAX_MS;
    if (wait_ms <= rumor_ask_wait(r, now_ms))
        return;
    r->ask_wait_ms = (uint32_t)wait_ms;
    r->ask_late_ms = now_ms;
}

/* Sync was faster than the tree: whoever hangs below us has it from us all the same. */
static void pass_on(struct rumor *r, uint64_t key_hash, struct record_version version,
                    const struct tree *tree)
{
    struct rumor_slot *slot = rumor_slot_find(r, key_hash);
    if (slot == NULL || !slot->by_sync || record_version_cmp(slot->version, version) != 0)
        return;
    slot->by_sync = false;
    slot->tree = *tree;
    slot->burst = tree->burst;
    push_on(r, slot);
}

/* Whose share of what is heard of it takes. */
static uint8_t teller_of(uint64_t from)
{
    return (uint8_t)(hash_mix(from) % RUMOR_TELLERS);
}

static void arrive(struct rumor *r, uint64_t now_ms, uint64_t from, const struct record *rec,
                   const struct tree *tree, enum rumor_state state, struct rumor_in *in)
{
    uint64_t key_hash = record_key_hash(rec->kind, rec->key, rec->key_len);
    r->stats.received++;
    if (state == PENDING_PUSHED)
        r->quiet = 0;
    struct rumor_pending *p = rumor_pending_find(r, key_hash);
    bool in_flight = p != NULL && (p->state == PENDING_PUSHED || p->state == PENDING_REPAIRED) &&
                     record_version_cmp(p->version, rec->version) >= 0;
    if (in_flight || known_stored(r, key_hash, rec->version)) {
        r->stats.duplicates++;
        if (state == PENDING_PUSHED)
            pass_on(r, key_hash, rec->version, tree);
        return;
    }
    if (state == PENDING_REPAIRED) {
        r->stats.repaired++;
        r->trouble_until_ms = now_ms + RUMOR_TROUBLE_MS;
    }
    if (p != NULL && state == PENDING_PUSHED)
        note_late(r, now_ms, p);
    if (p == NULL)
        p = rumor_pending_add(r, key_hash);
    /* A full table: stored all the same, but told of instead of pushed on. */
    if (p != NULL) {
        p->version = rec->version;
        p->tree = *tree;
        p->holder[0] = from;
        p->holders = 1;
        p->tries = 0;
        rumor_pending_state(r, p, state, now_ms + RUMOR_APPLY_MS);
        p->teller = teller_of(from);
    }
    memcpy(in->key[in->apply_count], rec->key, rec->key_len);
    in->key_hash[in->apply_count] = key_hash;
    in->apply[in->apply_count] = *rec;
    in->apply[in->apply_count].key = in->key[in->apply_count];
    in->apply_count++;
}

/* One that lies may tell of what there is not: the other half of the table is for what arrived, or
 * it would not be passed on, and half of this half is for what others tell. */
static bool may_hear(const struct rumor *r, uint64_t from)
{
    return r->wanted_count < r->options.pending_max / 2 &&
           r->told[teller_of(from)] < r->options.pending_max / 4;
}

static void add_holder(struct rumor_pending *p, uint64_t from)
{
    for (unsigned i = 0; i < p->holders; i++) {
        if (p->holder[i] == from)
            return; /* told again: the other places are for others */
    }
    if (p->holders < RUMOR_HOLDERS)
        p->holder[p->holders++] = from;
}

static void hear_of(struct rumor *r, uint64_t now_ms, uint64_t from, uint64_t key_hash,
                    struct record_version version)
{
    struct rumor_slot *slot = rumor_slot_find(r, key_hash);
    if (slot != NULL && record_version_cmp(slot->version, version) >= 0) {
        slot->passed_on = slot->passed_on || record_version_cmp(slot->version, version) == 0;
        return;
    }
    struct rumor_pending *p = rumor_pending_find(r, key_hash);
    if (p == NULL) {
        p = may_hear(r, from) ? rumor_pending_add(r, key_hash) : NULL;
        if (p == NULL)
            return; /* anti-entropy will see to it */
        p->version = version;
        p->teller = teller_of(from);
        p->holder[0] = from;
        p->holders = 1;
        p->told_ms = now_ms;
        uint32_t wait_ms = rumor_ask_wait(r, now_ms);
        /* Much that is missing at once is not lost but on its way. */
        uint32_t load = rumor_load(r, now_ms) + r->wanted_count;
        p->amid_flood = load > RUMOR_LOAD_FLOOD;
        uint32_t least_ms = p->amid_flood             ? RUMOR_ASK_FLOOD_MS
                            : load > RUMOR_LOAD_BURST ? RUMOR_ASK_BURST_MS
                                                      : 0;
        if (wait_ms < least_ms)
            wait_ms = least_ms;
        uint64_t spread = prng_below(&r->prng, 1 + wait_ms / 4);
        rumor_pending_state(r, p, PENDING_WANTED, now_ms + wait_ms + spread);
        return;
    }
    int cmp = record_version_cmp(version, p->version);
    if (cmp > 0 && p->state != PENDING_PUSHED && p->state != PENDING_REPAIRED) {
        p->version = version;
        p->holders = 0;
        cmp = 0;
    }
    if (cmp == 0)
        add_holder(p, from);
}

/* Somebody lacks what one child was handed for all: if the child lost it, it gets it again.
 * True: the child was who asked. */
static bool hand_again(struct rumor *r, uint64_t from, uint64_t key_hash)
{
    struct rumor_slot *slot = rumor_slot_find(r, key_hash);
    uint64_t children[PEERS_CHILDREN_MAX];
    bool handed = slot != NULL && slot->tree.origin == r->options.self &&
                  slot->tree.root_fanout == RUMOR_ROOT_BUSY;
    if (!handed || peers_children(r->peers, &slot->tree, children) == 0)
        return false;
    if (slot->passed_on && children[0] != from)
        return false;
    if (!rumor_enqueue(r, slot, children[0]))
        return false;
    slot->passed_on = true;
    r->stats.again++;
    return children[0] == from;
}

/* No more for one than three of four answers, nor twice the same: nine bytes would bring as many
 * times a record as they name it. */
static bool may_answer(const struct rumor *r, uint64_t to, uint64_t key_hash)
{
    uint32_t max = r->options.answer_max, theirs = 0;
    for (uint32_t i = 0; i < r->answer_count; i++) {
        const struct rumor_answer *a = &r->answers[(r->answer_head + i) & (max - 1)];
        if (a->to == to && (a->key_hash == key_hash || ++theirs == max * 3 / 4))
            return false;
    }
    return true;
}

static bool put_answer(struct rumor *r, uint64_t to, uint64_t key_hash, uint32_t places)
{
    if (r->answer_count >= places || !may_answer(r, to, key_hash))
        return false;
    uint32_t at = (r->answer_head + r->answer_count++) & (r->options.answer_max - 1);
    r->answers[at] = (struct rumor_answer){.to = to, .key_hash = key_hash};
    return true;
}

static void asked(struct rumor *r, uint64_t now_ms, uint64_t from, uint64_t key_hash)
{
    r->stats.asked++;
    r->trouble_until_ms = now_ms + RUMOR_TROUBLE_MS;
    if (hand_again(r, from, key_hash))
        return;
    (void)put_answer(r, from, key_hash, r->options.answer_max); /* full: it asks somebody else */
}

bool rumor_hand(struct rumor *r, uint64_t to, uint64_t key_hash)
{
    return put_answer(r, to, key_hash, r->options.answer_max / 2);
}

/* One item, taken out of a message. */
struct item {
    struct record record;
    uint64_t key_hash;
    struct record_version version;
    bool is_tree;
};

static int read_tree(struct rbuf *b, struct tree *tree)
{
    tree->origin = rbuf_u64(b);
    uint16_t turn = rbuf_u16(b);
    tree->turn = turn & (RUMOR_TREE_BURST - 1);
    tree->burst = (turn & RUMOR_TREE_BURST) != 0;
    tree->root_fanout = rbuf_u8(b);
    tree->fanout = rbuf_u8(b);
    bool fits = tree->origin != 0 && tree->root_fanout >= 1 &&
                tree->root_fanout <= PEERS_FANOUT_MAX && tree->fanout >= 1 &&
                tree->fanout <= PEERS_FANOUT_MAX;
    return b->bad || !fits ? ERR_MALFORMED : 0;
}

/* at: what holds for the items that follow; its tree has origin 0 before the first. */
static int read_item(struct rbuf *b, uint8_t type, struct rumor_place *at, struct item *ret)
{
    struct tree *tree = &at->tree;
    ret->is_tree = false;
    if (type == RUMOR_PUSH && b->data[b->pos] == RUMOR_ITEM_TREE) {
        (void)rbuf_u8(b);
        ret->is_tree = true;
        return read_tree(b, tree);
    }
    if (type == RUMOR_PUSH && tree->origin == 0)
        return ERR_MALFORMED;
    if (type == RUMOR_PUSH || type == RUMOR_REPAIR)
        return record_run_get(&at->run, b, &ret->record);
    ret->key_hash = rbuf_u64(b);
    if (type == RUMOR_DIGEST) {
        at->told.hi = rbuf_delta(b, at->told.hi);
        at->told.lo = rbuf_delta(b, at->told.lo);
        ret->version = at->told;
    }
    return b->bad ? ERR_MALFORMED : 0;
}

static int check(const uint8_t *data, size_t len)
{
    struct rbuf b;
    struct rumor_place at = {0};
    struct item item;
    if (len > RUMOR_MESSAGE_MAX)
        return ERR_MALFORMED;
    rbuf_init(&b, data, len);
    uint8_t type = rbuf_u8(&b);
    int err = b.bad || type < RUMOR_PUSH || type > RUMOR_ASK ? ERR_MALFORMED : 0;
    if (type == RUMOR_ASK && len > 1 + RUMOR_ASK_KEYS * sizeof(uint64_t))
        return ERR_MALFORMED;
    while (err == 0 && b.pos < len)
        err = read_item(&b, type, &at, &item);
    return err;
}

int rumor_recv(struct rumor *r, uint64_t now_ms, uint64_t from, const uint8_t *data, size_t len,
               struct rumor_place *at, struct rumor_in *in)
{
    in->apply_count = 0;
    if (at->pos == 0) {
        int err = check(data, len);
        if (err != 0) {
            r->stats.malformed++;
            return err;
        }
        *at = (struct rumor_place){.pos = 1};
    }
    struct rbuf b;
    rbuf_init(&b, data, len);
    b.pos = at->pos;
    uint8_t type = data[0];
    while (b.pos < len && in->apply_count < RUMOR_IN_MAX) {
        struct item item;
        int err = read_item(&b, type, at, &item);
        ENSURE(err == 0);
        if (item.is_tree)
            continue;
        if (type == RUMOR_PUSH)
            arrive(r, now_ms, from, &item.record, &at->tree, PENDING_PUSHED, in);
        else if (type == RUMOR_REPAIR)
            arrive(r, now_ms, from, &item.record, &at->tree, PENDING_REPAIRED, in);
        else if (type == RUMOR_DIGEST)
            hear_of(r, now_ms, from, item.key_hash, item.version);
        else
            asked(r, now_ms, from, item.key_hash);
    }
    at->pos = b.pos;
    return 0;
}
