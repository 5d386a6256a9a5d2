/* SPDX-License-Identifier: Apache-2.0
 * What rumor sends: answers, queued records, asks and digests, one message at a time. */
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/ensure.h"
#include "gossip/rumor_int.h"

#define SCAN_MS 10u     /* resolution of asking */
#define PAUSE_MIN_MS 5u /* after a full send queue */
#define PAUSE_MAX_MS 320u
#define STUCK_MS 2000u /* a record that waits this long to be sent is told of meanwhile */
#define ANSWERS_PER_MESSAGE 64u
#define GOLDEN 0x9e3779b9u /* of 2^32 */

struct loader {
    struct record_run *run;
    struct wbuf *w;
    int err;
};

static void load_into(void *arg, const struct record *rec)
{
    struct loader *l = arg;
    l->err = record_run_put(l->run, rec, l->w);
}

/* Append the newest stored record of the key. ERR_TOOBIG: no room, nothing was appended. */
static int append_record(struct rumor *r, uint64_t key_hash, struct record_run *run, struct wbuf *w)
{
    const struct rumor_slot *slot = rumor_slot_find(r, key_hash);
    struct record rec;
    if (slot != NULL && rumor_slot_record(r, slot, &rec))
        return record_run_put(run, &rec, w);
    struct loader loader = {.run = run, .w = w, .err = ERR_NOTFOUND};
    int err = r->options.load(r->options.arg, key_hash, load_into, &loader);
    return err != 0 ? err : loader.err;
}

static size_t room_to(const struct rumor *r, uint64_t to)
{
    return r->options.room == NULL ? r->room : r->options.room(r->options.arg, to);
}

/* ---- answers ---------------------------------------------------------------------- */

static size_t poll_answers(struct rumor *r, uint8_t *out, size_t cap, uint64_t *ret_to)
{
    uint32_t mask = r->options.answer_max - 1;
    while (r->answer_count > 0) {
        uint64_t to = r->answers[r->answer_head].to;
        size_t room = room_to(r, to);
        struct record_run run = {0};
        struct wbuf w;
        wbuf_init(&w, out, cap);
        wbuf_u8(&w, RUMOR_REPAIR);
        uint32_t n = 0;
        for (; r->answer_count > 0 && n < ANSWERS_PER_MESSAGE; n++) {
            const struct rumor_answer *a = &r->answers[r->answer_head & mask];
            if (a->to != to)
                break;
            size_t before = w.len;
            int err = append_record(r, a->key_hash, &run, &w);
            bool too_much = err == ERR_TOOBIG || w.len > room;
            if (too_much && before > 1) { /* the next message starts with this one */
                w.len = before;
                break;
            }
            r->answer_head = (r->answer_head + 1) & mask;
            r->answer_count--;
            r->stats.answered += err == 0;
        }
        if (w.len > 1) {
            *ret_to = to;
            return w.len;
        }
    }
    return 0;
}

/* ---- queued records ----------------------------------------------------------------- */

static void put_tree(struct wbuf *w, const struct tree *tree)
{
    wbuf_u8(w, RUMOR_ITEM_TREE);
    wbuf_u64(w, tree->origin);
    wbuf_u16(w, (uint16_t)(tree->turn | (tree->burst ? RUMOR_TREE_BURST : 0)));
    wbuf_u8(w, tree->root_fanout);
    wbuf_u8(w, tree->fanout);
}

/* Fills one message from the queue without taking anything out: rumor_sent does that. A burst is
 * cut at a datagram's room while few datagrams carry it, and goes as one stream message else. */
static size_t fill_push(struct rumor *r, const struct rumor_queue *queue, uint64_t bit,
                        struct wbuf *w, uint32_t *ret_count)
{
    size_t room = room_to(r, queue->to);
    struct record_run run = {0};
    struct tree tree = {0};
    size_t fit_len = 0;
    uint32_t fit_count = 0;
    uint32_t count = 0;
    wbuf_u8(w, RUMOR_PUSH);
    for (uint32_t node = queue->head; node != NONE; node = r->nodes[node].next) {
        const struct rumor_slot *slot = &r->slots[r->nodes[node].slot];
        size_t before = w->len;
        if (slot->want & bit) {
            struct tree last = tree;
            if (!rumor_same_tree(&tree, &slot->tree)) {
                tree = slot->tree;
                put_tree(w, &tree);
            }
            int err = w->bad ? ERR_TOOBIG : append_record(r, slot->key_hash, &run, w);
            if (err != 0) {
                w->len = before;
                w->bad = 0;
                tree = last;
            }
            if (err == ERR_TOOBIG)
                break;
        }
        count++;
        if (w->len <= room) {
            fit_len = w->len;
            fit_count = count;
        }
        if (w->len >= RUMOR_BATCH)
            break;
    }
    if (fit_count > 0 && fit_len > 1 && w->len < RUMOR_STREAM_FROM * r->room) {
        w->len = fit_len;
        count = fit_count;
    }
    *ret_count = count;
    return w->len;
}

static size_t poll_queues(struct rumor *r, uint64_t now_ms, uint8_t *out, size_t cap,
                          uint64_t *ret_to)
{
    for (uint32_t i = 0; i < RUMOR_QUEUES && r->waiting != 0; i++) {
        uint32_t q = (r->queue_turn + i) % RUMOR_QUEUES;
        struct rumor_queue *queue = &r->queues[q];
        if ((r->waiting >> q & 1) == 0)
            continue;
        while (queue->count > 0 && queue->paused_until_ms <= now_ms) {
            struct wbuf w;
            uint32_t count;
            wbuf_init(&w, out, cap);
            size_t len = fill_push(r, queue, UINT64_C(1) << q, &w, &count);
            if (len > 1) {
                r->queue_turn = q + 1;
                r->last_queue = q;
                r->last_count = count;
                *ret_to = queue->to;
                return len;
            }
            for (uint32_t n = 0; n < count; n++) /* nothing of it is wanted any more */
                rumor_queue_pop(r, q);
        }
    }
    return 0;
}

/* ---- asking ------------------------------------------------------------------------- */

/* False: no longer wanted, dropped. */
static bool still_wanted(struct rumor *r, struct rumor_pending *p)
{
    bool gave_up = p->tries >= RUMOR_ASK_TRIES * (1 + p->holders) / 2;
    r->stats.gave_up += gave_up;
    if (!gave_up && !r->options.have(r->options.arg, p->key_hash, p->version))
        return true;
    rumor_pending_drop(r, p);
    return false;
}

/* Is it still likely to come down its tree? Few are what was lost, not what is late. */
static bool may_yet_come(const struct rumor *r, const struct rumor_pending *p, uint64_t now_ms)
{
    return p->state == PENDING_WANTED && p->amid_flood && r->wanted_count > RUMOR_LOAD_FEW &&
           r->quiet < RUMOR_ASK_FLOOD_QUIET && now_ms - p->told_ms < RUMOR_ASK_FLOOD_MAX_MS;
}

/* All that is due and would be asked of one peer. What is due for others stays due, and the next
 * call finds it. */
static size_t poll_asks(struct rumor *r, uint64_t now_ms, size_t room, uint8_t *out,
                        uint64_t *ret_to)
{
    if (r->pending_count == 0 || now_ms < r->next_scan_ms)
        return 0;
    struct wbuf w;
    wbuf_init(&w, out, room);
    wbuf_u8(&w, RUMOR_ASK);
    uint64_t to = 0;
    bool more = false;
    for (uint32_t i = 0; i < r->pending_end; i++) {
        struct rumor_pending *p = &r->pending[i];
        if (p->state == PENDING_FREE || p->due_ms > now_ms)
            continue;
        if (p->state == PENDING_PUSHED || p->state == PENDING_REPAIRED) {
            rumor_pending_drop(r, p); /* handed to the store, which never told what became of it */
            continue;
        }
        if (may_yet_come(r, p, now_ms))
            continue;
        uint64_t holder = p->holder[p->tries % p->holders];
        if ((to != 0 && holder != to) || room - w.len < sizeof(uint64_t)) {
            more = true;
            continue;
        }
        if (!still_wanted(r, p))
            continue;
        to = holder;
        wbuf_u64(&w, p->key_hash);
        uint64_t retry_ms = RUMOR_ASK_RETRY_MS;
        if (retry_ms < rumor_ask_wait(r, now_ms))
            retry_ms = rumor_ask_wait(r, now_ms);
        /* A holder that is busy is spared; a packet that was lost is no reason to wait. */
        retry_ms <<= p->tries / (2u * p->holders);
        p->tries++;
        rumor_pending_state(r, p, PENDING_ASKED, now_ms + retry_ms);
    }
    if (!more) {
        r->next_scan_ms = now_ms + SCAN_MS;
        r->quiet++;
    }
    *ret_to = to;
    return to == 0 ? 0 : w.len;
}

/* ---- digests ------------------------------------------------------------------------ */

/* Old enough, and what still waits in the own queues would only be asked for before it comes. */
static bool may_tell(const struct rumor_slot *slot, uint64_t now_ms, uint64_t age_ms,
                     uint64_t moving)
{
    uint64_t age = now_ms - slot->stored_ms;
    return age >= age_ms && ((slot->want & moving) == 0 || age >= STUCK_MS);
}

/* Entries from *cursor on that are alike and may be told, in order of storing, into r->digest.
 * False: there are none. */
static bool fill_digest(struct rumor *r, uint64_t now_ms, uint64_t age_ms, uint32_t *cursor,
                        size_t room)
{
    bool burst = *cursor != NONE && r->slots[*cursor].burst;
    uint64_t moving = 0; /* queues that are being sent from: not those of peers that stand still */
    for (uint32_t q = 0; q < RUMOR_QUEUES; q++) {
        if (r->queues[q].paused_until_ms <= now_ms)
            moving |= UINT64_C(1) << q;
    }
    struct wbuf w;
    size_t cap = room < sizeof r->digest ? room : sizeof r->digest;
    wbuf_init(&w, r->digest, cap);
    wbuf_u8(&w, RUMOR_DIGEST);
    struct record_version told = {0};
    while (*cursor != NONE) {
        const struct rumor_slot *slot = &r->slots[*cursor];
        if (slot->burst != burst || !may_tell(slot, now_ms, age_ms, moving))
            break;
        size_t before = w.len;
        wbuf_u64(&w, slot->key_hash);
        wbuf_delta(&w, slot->version.hi, told.hi);
        wbuf_delta(&w, slot->version.lo, told.lo);
        if (w.bad) {
            w.len = before;
            break;
        }
        told = slot->version;
        *cursor = slot->newer;
    }
    r->digest_len = w.len > 1 ? w.len : 0;
    return r->digest_len > 0;
}

static void add_target(struct rumor *r, uint64_t to)
{
    for (size_t i = 0; i < r->digest_targets; i++) {
        if (r->digest_to[i] == to)
            return;
    }
    if (to != 0)
        r->digest_to[r->digest_targets++] = to;
}

/* Places round the ring, the same ones seen from everyone, so that each member is told by as many
 * others: random choice would leave one in fifty untold. They are multiples of the golden section
 * of it, of which no few sums meet. With thirds three members were told by the same three, these by
 * the same three again: where branches of the tree that stand so to each other were lost, the
 * record crept along the ring by one place in 60 ms. One of each three may be anywhere, and tells a
 * zone of what it missed as a whole; the others are in the own zone. */
static void add_places(struct rumor *r, uint32_t from, uint32_t n)
{
    for (uint32_t i = from; i < from + n; i++)
        add_target(r, peers_at_part(r->peers, (i + 1) * GOLDEN, i % RUMOR_DIGEST_PEERS != 0));
}

/* Repairs in a flood say little of loss, for it goes by streams, and much of how busy all are;
 * three times its digests would be a third of what it weighs. */
static bool goes_by_stream(const struct rumor_slot *slot)
{
    return slot->burst && slot->tree.fanout == RUMOR_FANOUT_FLOOD;
}

static void start_digest(struct rumor *r, uint64_t now_ms, size_t room)
{
    const struct rumor_slot *first = r->digest_at == NONE ? NULL : &r->slots[r->digest_at];
    bool burst = first != NULL && first->burst;
    bool troubled = now_ms < r->trouble_until_ms;
    r->digest_targets = 0;
    if (fill_digest(r, now_ms, burst ? RUMOR_DIGEST_BURST_MS : RUMOR_DIGEST_MS, &r->digest_at,
                    room)) {
        if (burst && (!troubled || goes_by_stream(first)))
            add_places(r, r->digest_turn++ % RUMOR_DIGEST_PEERS, 1);
        else
            add_places(r, 0, RUMOR_DIGEST_PEERS);
        return;
    }
    first = r->digest_late_at == NONE ? NULL : &r->slots[r->digest_late_at];
    burst = first != NULL && first->burst;
    uint64_t late_ms = burst      ? RUMOR_DIGEST_BURST_LATE_MS
                       : troubled ? RUMOR_DIGEST_TROUBLE_MS
                                  : RUMOR_DIGEST_LATE_MS;
    if (!fill_digest(r, now_ms, late_ms, &r->digest_late_at, room))
        return;
    if (burst && troubled && !goes_by_stream(first))
        add_places(r, 0, RUMOR_DIGEST_PEERS);
    /* At 5 % loss a handful of 100,000 (20 records at 5,000 members) are told by none of the first
     * three. */
    add_places(r, RUMOR_DIGEST_PEERS, troubled && !burst ? RUMOR_DIGEST_PEERS : 1);
}

static size_t poll_digests(struct rumor *r, uint64_t now_ms, size_t room, uint8_t *out,
                           uint64_t *ret_to)
{
    if (r->digest_targets == 0) {
        if (now_ms < r->next_digest_ms || r->digest_late_at == NONE)
            return 0;
        start_digest(r, now_ms, room);
        if (r->digest_targets == 0) {
            r->next_digest_ms = now_ms + RUMOR_DIGEST_EVERY_MS;
            return 0;
        }
    }
    *ret_to = r->digest_to[--r->digest_targets];
    memcpy(out, r->digest, r->digest_len);
    r->stats.digests++;
    r->stats.digest_bytes += r->digest_len;
    return r->digest_len;
}

/* ---- the one way out ------------------------------------------------------------------ */

size_t rumor_poll(struct rumor *r, uint64_t now_ms, size_t room, uint8_t *out, size_t cap,
                  uint64_t *ret_to)
{
    ENSURE(cap >= RUMOR_MESSAGE_MAX);
    ENSURE(room >= 64);
    ENSURE(!r->last_open);
    cap = RUMOR_MESSAGE_MAX; /* more is refused, whatever buffer there is */
    r->last_queue = NONE;
    r->room = room;
    size_t len = poll_answers(r, out, cap, ret_to);
    if (len == 0)
        len = poll_queues(r, now_ms, out, cap, ret_to);
    if (len == 0)
        len = poll_asks(r, now_ms, room, out, ret_to);
    if (len == 0)
        len = poll_digests(r, now_ms, room, out, ret_to);
    r->last_open = len > 0;
    r->stats.bytes += len;
    return len;
}

bool rumor_is_repair(const uint8_t *data, size_t len)
{
    return len > 0 && data[0] == RUMOR_REPAIR;
}

void rumor_sent(struct rumor *r, uint64_t now_ms, int err)
{
    ENSURE(r->last_open);
    r->last_open = false;
    if (r->last_queue == NONE)
        return; /* a lost answer, ask or digest is made good by the next one */
    struct rumor_queue *queue = &r->queues[r->last_queue];
    if (err == ERR_BUSY || err == ERR_NOMEM) {
        uint32_t pause = queue->pause_ms == 0 ? PAUSE_MIN_MS : queue->pause_ms * 2;
        queue->pause_ms = pause > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause;
        queue->paused_until_ms = now_ms + queue->pause_ms;
        return;
    }
    uint32_t count = err == 0 ? r->last_count : queue->count; /* no such member: all of it */
    for (uint32_t i = 0; i < count; i++)
        rumor_queue_pop(r, r->last_queue);
    queue->pause_ms = 0;
    queue->paused_until_ms = 0;
    if (err == 0)
        r->stats.pushed += count;
}

uint64_t rumor_deadline(const struct rumor *r, uint64_t now_ms)
{
    uint64_t due = UINT64_MAX;
    if (r->answer_count > 0 || r->digest_targets > 0)
        return now_ms;
    for (uint32_t q = 0; q < RUMOR_QUEUES && r->waiting >> q != 0; q++) {
        const struct rumor_queue *queue = &r->queues[q];
        if (queue->count > 0 && queue->paused_until_ms < due)
            due = queue->paused_until_ms;
    }
    if (r->wanted_count > 0 && r->next_scan_ms < due)
        due = r->next_scan_ms;
    else if (r->pending_count > 0 && now_ms + 1000 < due)
        due = now_ms + 1000;
    if (r->digest_late_at != NONE && r->next_digest_ms < due)
        due = r->next_digest_ms;
    return due < now_ms ? now_ms : due;
}
