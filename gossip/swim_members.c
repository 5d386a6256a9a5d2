/* SPDX-License-Identifier: Apache-2.0
 * The member table of the swim core: slots, index by num, digests, rings. */
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/swim_int.h"

#define TABLE_MASK (GOSSIP_MEMBERS_MAX * 2u - 1u)
_Static_assert((GOSSIP_MEMBERS_MAX & (GOSSIP_MEMBERS_MAX - 1)) == 0, "a power of two");
_Static_assert(GOSSIP_MEMBERS_MAX < SWIM_NONE, "slots fit 16 bits");

uint16_t swim_slot_of(const struct swim *s, const struct swim_member *m)
{
    return (uint16_t)(m - s->slot);
}

static size_t table_place(const struct swim *s, uint64_t num)
{
    size_t i = (size_t)hash_mix(num) & TABLE_MASK;
    while (s->table[i] != 0 && s->slot[s->table[i] - 1].m.num != num)
        i = (i + 1) & TABLE_MASK;
    return i;
}

struct swim_member *swim_get(struct swim *s, uint64_t num)
{
    size_t i = table_place(s, num);
    return s->table[i] == 0 ? NULL : &s->slot[s->table[i] - 1];
}

const struct swim_member *swim_find(const struct swim *s, uint64_t num)
{
    size_t i = table_place(s, num);
    return s->table[i] == 0 ? NULL : &s->slot[s->table[i] - 1];
}

/* Backward-shift deletion keeps probes short without tombstones. */
static void table_remove(struct swim *s, uint64_t num)
{
    size_t hole = table_place(s, num);
    ENSURE(s->table[hole] != 0);
    s->table[hole] = 0;
    for (size_t i = (hole + 1) & TABLE_MASK; s->table[i] != 0; i = (i + 1) & TABLE_MASK) {
        size_t home = (size_t)hash_mix(s->slot[s->table[i] - 1].m.num) & TABLE_MASK;
        if (((i - home) & TABLE_MASK) >= ((i - hole) & TABLE_MASK)) {
            s->table[hole] = s->table[i];
            s->table[i] = 0;
            hole = i;
        }
    }
}

/* What two members must agree on. Suspicion is left out: it passes by itself. */
static uint32_t digest_of(const struct swim_member *m)
{
    uint64_t class = swim_is_live(m->m.state) ? 1 : (uint64_t)m->m.state;
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
    uint16_t slot = swim_slot_of(s, m);
    if (s->dirty.count == 0)
        s->dirty.head = slot;
    else
        s->slot[s->dirty.tail].dirty_next = slot;
    s->dirty.tail = slot;
    s->dirty.count++;
}

bool swim_next_change(struct swim *s, struct swim_change *ret)
{
    if (s->dirty.count == 0)
        return false;
    struct swim_member *m = &s->slot[s->dirty.head];
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
static uint64_t ring_place(uint64_t num, unsigned ring)
{
    static const uint64_t salt[SWIM_RINGS] = {0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu,
                                              0x3c6ef372fe94f82bu};
    return hash_mix(num ^ salt[ring]);
}

static uint64_t ring_distance(const struct swim *s, uint16_t from, uint16_t to, unsigned ring)
{
    return ring_place(s->slot[to].m.num, ring) - ring_place(s->slot[from].m.num, ring);
}

/* A member that became live: does it stand between us and whom we observe? */
static void ring_offer(struct swim *s, uint16_t slot)
{
    for (unsigned ring = 0; ring < SWIM_RINGS && slot != s->self; ring++) {
        struct swim_ring *r = &s->ring[ring];
        if (r->slot == SWIM_NONE ||
            ring_distance(s, s->self, slot, ring) < ring_distance(s, s->self, r->slot, ring))
            r->slot = slot;
    }
}

static void ring_withdraw(struct swim *s, uint16_t slot)
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
    if (state == MEMBER_FAILED)
        s->failed = (uint32_t)((int)s->failed + by);
}

void swim_set_state(struct swim *s, uint64_t now_ms, struct swim_member *m, enum gossip_state state,
                    uint64_t incarnation, enum swim_cause cause, uint64_t from)
{
    bool changed = m->m.state != state;
    digest_toggle(s, m);
    count_state(s, m->m.state, -1);
    m->m.state = state;
    m->m.incarnation = incarnation;
    count_state(s, state, 1);
    digest_toggle(s, m);
    s->digest_changed_ms = now_ms;
    if (!changed)
        return;
    m->m.changed_mono_ms = now_ms;
    if (swim_is_live(state))
        ring_offer(s, swim_slot_of(s, m));
    else
        ring_withdraw(s, swim_slot_of(s, m));
    swim_mark_dirty(s, m, cause, from);
}

/* Room for one more: the member that has been dead longest goes. */
static bool evict(struct swim *s)
{
    const struct swim_member *oldest = NULL;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct swim_member *m = &s->slot[s->order[i]];
        if (!swim_is_live(m->m.state) && !m->m.self && !m->dirty &&
            (oldest == NULL || m->m.changed_mono_ms < oldest->m.changed_mono_ms))
            oldest = m;
    }
    if (oldest == NULL)
        return false;
    swim_drop(s, swim_slot_of(s, oldest));
    return true;
}

static uint16_t free_slot(struct swim *s)
{
    if (s->free_from < GOSSIP_MEMBERS_MAX)
        return (uint16_t)s->free_from++;
    for (uint16_t i = 0; i < GOSSIP_MEMBERS_MAX; i++)
        if (s->slot[i].m.num == 0)
            return i;
    return SWIM_NONE;
}

struct swim_member *swim_add(struct swim *s, uint64_t now_ms, const struct wire_update *u,
                             enum gossip_state state, enum swim_cause cause, uint64_t from)
{
    ENSURE(u->has_body);
    if (s->count == GOSSIP_MEMBERS_MAX && !evict(s))
        return NULL;
    uint16_t slot = free_slot(s);
    ENSURE(slot != SWIM_NONE);
    struct swim_member *m = &s->slot[slot];
    *m = (struct swim_member){.epoch = u->epoch, .known_ms = now_ms, .at = (uint16_t)s->count};
    m->m.num = u->num;
    memcpy(m->m.id, u->id, sizeof m->m.id);
    m->m.addr = u->addr;
    m->m.meta = u->meta;
    m->told_epoch = u->epoch;
    m->m.incarnation = u->incarnation;
    memcpy(m->key, u->key, sizeof m->key);
    memcpy(m->first_key, u->key, sizeof m->first_key);
    memcpy(m->sig, u->sig, sizeof m->sig);
    s->order[s->count++] = slot;
    s->table[table_place(s, u->num)] = (uint16_t)(slot + 1);
    m->m.state = state;
    m->m.changed_mono_ms = now_ms;
    count_state(s, state, 1);
    digest_toggle(s, m);
    s->digest_changed_ms = now_ms;
    if (swim_is_live(state))
        ring_offer(s, slot);
    swim_mark_dirty(s, m, cause, from);
    return m;
}

static void unlink_dirty(struct swim *s, uint16_t slot)
{
    if (!s->slot[slot].dirty)
        return;
    uint16_t prev = SWIM_NONE, at = s->dirty.head;
    for (uint32_t i = 0; i < s->dirty.count && at != slot; i++) {
        prev = at;
        at = s->slot[at].dirty_next;
    }
    if (prev == SWIM_NONE)
        s->dirty.head = s->slot[slot].dirty_next;
    else
        s->slot[prev].dirty_next = s->slot[slot].dirty_next;
    if (s->dirty.tail == slot)
        s->dirty.tail = prev;
    s->dirty.count--;
}

void swim_drop(struct swim *s, uint16_t slot)
{
    struct swim_member *m = &s->slot[slot];
    ENSURE(m->m.num != 0 && !m->m.self);
    digest_toggle(s, m);
    count_state(s, m->m.state, -1);
    unlink_dirty(s, slot);
    swim_forget(s, m);
    table_remove(s, m->m.num);
    for (uint32_t i = 0; i < SWIM_PROBES; i++)
        if (s->probe[i].kind != PROBE_FREE && s->probe[i].slot == slot)
            s->probe[i].kind = PROBE_FREE;
    for (uint32_t i = 0; i < SWIM_RELAYS; i++)
        if (s->relay[i].slot == slot)
            s->relay[i].seq = 0;
    uint16_t last = s->order[--s->count];
    s->order[m->at] = last;
    s->slot[last].at = m->at;
    ring_withdraw(s, slot);
    *m = (struct swim_member){0};
}

void swim_reap(struct swim *s, uint64_t now_ms)
{
    for (uint32_t i = s->count; i-- > 0;) {
        const struct swim_member *m = &s->slot[s->order[i]];
        if (!swim_is_live(m->m.state) && !m->m.self && !m->dirty &&
            now_ms - m->m.changed_mono_ms >= SWIM_REAP_MS)
            swim_drop(s, swim_slot_of(s, m));
    }
}

struct swim_member *swim_random_live(struct swim *s, const struct swim_member *avoid)
{
    /* With many dead members rejection may miss; the caller does with fewer then. */
    for (int tries = 0; tries < 24 && swim_others(s) > 0; tries++) {
        struct swim_member *m = &s->slot[s->order[prng_below(&s->prng, s->count)]];
        if (!m->m.self && m != avoid && swim_is_live(m->m.state))
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
        if (swim_is_live(s->slot[s->order[i]].m.state))
            ring_offer(s, s->order[i]);
}

void swim_observers(const struct swim *s, uint16_t target, uint16_t ret[SWIM_RINGS])
{
    uint64_t best[SWIM_RINGS];
    memset(best, 0xff, sizeof best);
    for (unsigned ring = 0; ring < SWIM_RINGS; ring++)
        ret[ring] = SWIM_NONE;
    for (uint32_t i = 0; i < s->count; i++) {
        uint16_t slot = s->order[i];
        if (slot == target || !swim_is_live(s->slot[slot].m.state))
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
