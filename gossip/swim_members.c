/* SPDX-License-Identifier: Apache-2.0
 * The member table of the swim core: slots, index by num, digests, rings. */
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/swim_int.h"

/* ---- memory ---- */

static size_t aligned(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static uint32_t table_size(uint32_t members)
{
    uint32_t size = 16;
    while (size < 2 * members)
        size *= 2;
    return size;
}

size_t swim_memory(uint32_t members)
{
    return aligned(sizeof(struct swim)) + 2 * aligned(members * sizeof(uint32_t)) +
           aligned(table_size(members) * sizeof(uint32_t)) +
           aligned(members * sizeof(struct swim_member)) +
           aligned(members * sizeof(struct swim_card)) +
           aligned(members * sizeof(struct swim_doubt));
}

#ifndef SWIM_SHARED
static void *take(uint8_t **memory, size_t bytes)
{
    void *at = *memory;
    *memory += aligned(bytes);
    return at;
}

void swim_lay(struct swim *s, uint32_t members)
{
    uint8_t *at = (uint8_t *)s + aligned(sizeof *s);
    s->order = take(&at, members * sizeof *s->order);
    s->failed_list = take(&at, members * sizeof *s->failed_list);
    s->table = take(&at, table_size(members) * sizeof *s->table);
    s->slot = take(&at, members * sizeof *s->slot);
    s->card_of = take(&at, members * sizeof *s->card_of);
    s->doubt_at = take(&at, members * sizeof *s->doubt_at);
    s->members = members;
    s->table_mask = table_size(members) - 1;
    s->free_head = SWIM_NONE;
}
#endif

/* ---- by num ---- */

static size_t table_place(const struct swim *s, uint64_t num)
{
    size_t i = (size_t)hash_mix(num) & s->table_mask;
    while (s->table[i] != 0 && s->slot[s->table[i] - 1].m.num != num)
        i = (i + 1) & s->table_mask;
    return i;
}

struct swim_member *swim_get(struct swim *s, uint64_t num)
{
    size_t i = table_place(s, num);
    return s->table[i] == 0 ? NULL : swim_at(s, s->table[i] - 1);
}

const struct swim_member *swim_find(const struct swim *s, uint64_t num)
{
    size_t i = table_place(s, num);
    return s->table[i] == 0 ? NULL : swim_look(s, s->table[i] - 1);
}

const struct swim_member *swim_nth(const struct swim *s, uint32_t i)
{
    ENSURE(i < s->count);
    return swim_look(s, s->order[i]);
}

/* Backward-shift deletion keeps probes short without tombstones. */
static void table_remove(struct swim *s, uint64_t num)
{
    size_t hole = table_place(s, num);
    ENSURE(s->table[hole] != 0);
    s->table[hole] = 0;
    for (size_t i = (hole + 1) & s->table_mask; s->table[i] != 0; i = (i + 1) & s->table_mask) {
        size_t home = (size_t)hash_mix(s->slot[s->table[i] - 1].m.num) & s->table_mask;
        if (((i - home) & s->table_mask) >= ((i - hole) & s->table_mask)) {
            s->table[hole] = s->table[i];
            s->table[i] = 0;
            hole = i;
        }
    }
}

/* What two members must agree on: who lives. Of the dead each forgets at a time of its own, and if
 * that were a difference whoever still has them would give them back, for ever. */
static uint32_t digest_of(const struct swim_member *m)
{
    if (!swim_is_live(m->m.state))
        return 0;
    uint64_t class = (uint64_t)swim_class(m->m.state);
    return (uint32_t)hash_mix(m->m.num ^ hash_mix(m->m.incarnation * 8 + class));
}

static void digest_toggle(struct swim *s, const struct swim_member *m)
{
    s->buckets[m->m.num % WIRE_BUCKETS] ^= digest_of(m);
}

uint32_t swim_digest(const struct swim *s)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < WIRE_BUCKETS; i++)
        sum ^= s->buckets[i];
    return sum;
}

void swim_mark_dirty(struct swim *s, struct swim_member *m, enum swim_cause cause, uint64_t from)
{
    m->cause = (uint8_t)cause;
    m->cause_from = from;
    if (m->dirty)
        return;
    m->dirty = 1;
    m->dirty_next = SWIM_NONE;
    if (s->dirty.count == 0)
        s->dirty.head = m->slot;
    else
        swim_at(s, s->dirty.tail)->dirty_next = m->slot;
    s->dirty.tail = m->slot;
    s->dirty.count++;
}

bool swim_next_change(struct swim *s, struct swim_change *ret)
{
    if (s->dirty.count == 0)
        return false;
    struct swim_member *m = swim_at(s, s->dirty.head);
    s->dirty.head = m->dirty_next;
    s->dirty.count--;
    m->dirty = 0;
    *ret = (struct swim_change){m, (enum gossip_state)m->before, (enum swim_cause)m->cause,
                                m->cause_from};
    m->before = (uint8_t)m->m.state;
    return true;
}

/* Each ring orders the members by another hash, so the union of the rings is an expander with
 * high probability (Law and Siu 2003, used by Rapid). Everyone computes the same rings. */
uint64_t swim_ring_place(uint64_t num, unsigned ring)
{
    static const uint64_t salt[SWIM_RINGS] = {0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu,
                                              0x3c6ef372fe94f82bu};
    return hash_mix(num ^ salt[ring]);
}

static uint64_t ring_distance(const struct swim *s, uint32_t from, uint32_t to, unsigned ring)
{
    return swim_ring_place(s->slot[to].m.num, ring) - swim_ring_place(s->slot[from].m.num, ring);
}

/* A member that became live: does it stand between us and whom we observe? */
static void ring_offer(struct swim *s, uint32_t slot)
{
    for (unsigned ring = 0; ring < SWIM_RINGS && slot != s->self; ring++) {
        struct swim_ring *r = &s->ring[ring];
        if (r->slot == SWIM_NONE ||
            ring_distance(s, s->self, slot, ring) < ring_distance(s, s->self, r->slot, ring))
            r->slot = slot;
    }
}

static void ring_withdraw(struct swim *s, uint32_t slot)
{
    for (unsigned ring = 0; ring < SWIM_RINGS; ring++)
        s->rings_stale = s->rings_stale || s->ring[ring].slot == slot;
}

static void count_state(struct swim *s, enum gossip_state state, int by)
{
    if (swim_is_live(state))
        s->live = (uint32_t)((int)s->live + by);
    if (swim_is_watched(state))
        s->watched = (uint32_t)((int)s->watched + by);
}

void swim_set_state(struct swim *s, uint64_t now_ms, struct swim_member *m, enum gossip_state state,
                    uint64_t incarnation, enum swim_cause cause, uint64_t from)
{
    enum gossip_state before = m->m.state;
    digest_toggle(s, m);
    count_state(s, m->m.state, -1);
    m->m.state = state;
    m->m.incarnation = incarnation;
    count_state(s, state, 1);
    digest_toggle(s, m);
    s->digest_changed_ms = now_ms;
    if (before == state)
        return;
    swim_doubt_state(s, m, before);
    m->m.changed_mono_ms = now_ms;
    if (swim_is_live(state))
        ring_offer(s, m->slot);
    else
        ring_withdraw(s, m->slot);
    swim_mark_dirty(s, m, cause, from);
}

static bool may_go(const struct swim_member *m)
{
    return !swim_is_live(m->m.state) && !m->m.self && !m->dirty;
}

/* Room for one more: the member that has been dead longest goes. */
static bool evict(struct swim *s)
{
    const struct swim_member *oldest = NULL;
    for (const struct swim_doubt *d = s->doubts; d != NULL; d = d->next) {
        const struct swim_member *m = swim_look(s, d->slot);
        if (may_go(m) && (oldest == NULL || m->m.changed_mono_ms < oldest->m.changed_mono_ms))
            oldest = m;
    }
    if (oldest == NULL)
        return false;
    swim_drop(s, oldest->slot);
    return true;
}

static uint32_t free_slot(struct swim *s)
{
    uint32_t slot = s->free_head;
    if (slot == SWIM_NONE)
        return s->free_from++;
    s->free_head = swim_look(s, slot)->queue_next;
    return slot;
}

void swim_set_card(struct swim *s, struct swim_member *m, const struct swim_card *card)
{
    m->card = swim_keep_card(s, m->slot, card);
    m->m.id = m->card->id;
    m->m.addrs = &m->card->addrs;
    m->m.meta = &m->card->meta;
}

struct swim_member *swim_add(struct swim *s, uint64_t now_ms, const struct wire_update *u,
                             enum gossip_state state, enum swim_cause cause, uint64_t from)
{
    ENSURE(u->has_body);
    ENSURE(state == MEMBER_ALIVE);
    swim_own_lists(s);
    if (s->count == s->members && !evict(s))
        return NULL;
    uint32_t slot = free_slot(s);
    struct swim_member *m = swim_at(s, slot);
    struct swim_card card = {.addrs = u->addrs, .meta = u->meta, .epoch = u->epoch};
    memcpy(card.id, u->id, sizeof card.id);
    memcpy(card.key, u->key, sizeof card.key);
    memcpy(card.sig, u->sig, sizeof card.sig);
    *m = (struct swim_member){.epoch = u->epoch, .known_ms = now_ms, .slot = slot, .at = s->count};
    m->m.num = u->num;
    m->m.incarnation = u->incarnation;
    swim_set_card(s, m, &card);
    swim_new_addresses(s, m, NULL);
    s->order[s->count++] = slot;
    s->table[table_place(s, u->num)] = slot + 1;
    s->lives++;
    m->m.state = state;
    m->m.changed_mono_ms = now_ms;
    count_state(s, state, 1);
    digest_toggle(s, m);
    s->digest_changed_ms = now_ms;
    ring_offer(s, slot);
    swim_mark_dirty(s, m, cause, from);
    return m;
}

static void unlink_dirty(struct swim *s, uint32_t slot)
{
    if (!swim_look(s, slot)->dirty)
        return;
    uint32_t prev = SWIM_NONE, at = s->dirty.head;
    for (uint32_t i = 0; i < s->dirty.count && at != slot; i++) {
        prev = at;
        at = swim_look(s, at)->dirty_next;
    }
    if (prev == SWIM_NONE)
        s->dirty.head = swim_look(s, slot)->dirty_next;
    else
        swim_at(s, prev)->dirty_next = swim_look(s, slot)->dirty_next;
    if (s->dirty.tail == slot)
        s->dirty.tail = prev;
    s->dirty.count--;
}

void swim_drop(struct swim *s, uint32_t slot)
{
    swim_own_lists(s);
    struct swim_member *m = swim_at(s, slot);
    ENSURE(m->m.num != 0 && !m->m.self && !swim_is_live(m->m.state));
    digest_toggle(s, m);
    unlink_dirty(s, slot);
    swim_forget(s, m);
    table_remove(s, m->m.num);
    for (uint32_t i = 0; i < SWIM_PROBES; i++)
        if (s->probe[i].kind != PROBE_FREE && s->probe[i].slot == slot)
            s->probe[i].kind = PROBE_FREE;
    for (uint32_t i = 0; i < SWIM_RELAYS; i++)
        if (s->relay[i].slot == slot)
            s->relay[i].seq = 0;
    uint32_t last = s->order[--s->count];
    s->order[m->at] = last;
    swim_at(s, last)->at = m->at;
    swim_doubt_drop(s, m);
    *m = (struct swim_member){.slot = slot, .queue_next = s->free_head};
    s->free_head = slot;
    s->lives++;
}

void swim_reap(struct swim *s, uint64_t now_ms)
{
    struct swim_doubt *next;
    for (struct swim_doubt *d = s->doubts; d != NULL; d = next) {
        const struct swim_member *m = swim_look(s, d->slot);
        next = d->next;
        if (may_go(m) && now_ms - m->m.changed_mono_ms >= SWIM_REAP_MS)
            swim_drop(s, d->slot);
    }
    swim_doubt_age(s, now_ms);
}

const struct swim_member *swim_random_live(struct swim *s, const struct swim_member *avoid)
{
    /* With many dead members rejection may miss; the caller does with fewer then. */
    for (int tries = 0; tries < 24 && swim_others(s) > 0; tries++) {
        const struct swim_member *m = swim_look(s, s->order[prng_below(&s->prng, s->count)]);
        if (!m->m.self && (avoid == NULL || m->slot != avoid->slot) && swim_is_live(m->m.state))
            return m;
    }
    return NULL;
}

/* ---- observer rings ---- */

void swim_find_rings(struct swim *s)
{
    s->rings_stale = false;
    for (unsigned ring = 0; ring < SWIM_RINGS; ring++)
        s->ring[ring].slot = SWIM_NONE;
    for (uint32_t i = 0; i < s->count; i++)
        if (swim_is_live(swim_look(s, s->order[i])->m.state))
            ring_offer(s, s->order[i]);
}

void swim_observers(const struct swim *s, uint32_t target, uint32_t ret[SWIM_RINGS])
{
    uint64_t best[SWIM_RINGS];
    memset(best, 0xff, sizeof best);
    for (unsigned ring = 0; ring < SWIM_RINGS; ring++)
        ret[ring] = SWIM_NONE;
    for (uint32_t i = 0; i < s->count; i++) {
        uint32_t slot = s->order[i];
        if (slot == target || !swim_is_live(swim_look(s, slot)->m.state))
            continue;
        for (unsigned ring = 0; ring < SWIM_RINGS; ring++) {
            uint64_t distance = ring_distance(s, slot, target, ring);
            if (distance > best[ring])
                continue;
            best[ring] = distance;
            ret[ring] = slot;
        }
    }
}
