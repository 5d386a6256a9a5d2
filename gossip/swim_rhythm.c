/* SPDX-License-Identifier: Apache-2.0
 * When observers ping. A ping and its answer show each side to the other, so a member is looked at
 * six times a period: by the three that it pings and the three that ping it. These six beats are to
 * be evenly apart, at every member, and each belongs to two members. So a ping tells the five other
 * beats of its sender, and the target, who knows its own, says when the next suits both best: two
 * or three periods after a change hardly anything is left to gain. */
#include <string.h>

#include "gossip/swim_int.h"

#define PARTS 256u /* of a period */
#define STEP 4u
#define AHEAD 64u /* a better place is taken only if it is better by one in so many */

_Static_assert(WIRE_BEATS_MAX == 2 * SWIM_RINGS - 1, "all beats but the one");

static uint8_t part_of(uint64_t now_ms, uint64_t at_ms)
{
    uint64_t ahead = at_ms <= now_ms ? 0 : (at_ms - now_ms) % SWIM_RING_PERIOD_MS;
    return (uint8_t)(ahead * PARTS / SWIM_RING_PERIOD_MS);
}

/* All but our ping on one ring, and the one that comes on another (SWIM_RINGS: but none). */
static uint8_t beats(const struct swim *s, uint64_t now_ms, unsigned but_out, unsigned but_in,
                     uint8_t ret[WIRE_BEATS_MAX])
{
    uint8_t count = 0;
    for (unsigned i = 0; i < SWIM_RINGS; i++) {
        const struct swim_ring *ring = &s->ring[i];
        if (i != but_out && ring->slot != SWIM_NONE)
            ret[count++] = part_of(now_ms, ring->due_ms);
        if (i != but_in && ring->observer != 0)
            ret[count++] = part_of(now_ms, ring->ping_ms);
    }
    return count;
}

void swim_tell_beats(const struct swim *s, uint64_t now_ms, unsigned ring, struct wire_head *h)
{
    h->beats = beats(s, now_ms, ring - 1, SWIM_RINGS, h->beat);
}

/* The beats in order, and which of them comes next on the way through a period. */
struct comb {
    uint8_t beat[WIRE_BEATS_MAX];
    uint8_t count, next;
};

static void comb_init(struct comb *c, const uint8_t *beat, uint8_t count)
{
    c->count = count;
    c->next = 0;
    for (uint8_t i = 0; i < count; i++) {
        uint8_t k = i;
        for (; k > 0 && c->beat[k - 1] > beat[i]; k--)
            c->beat[k] = c->beat[k - 1];
        c->beat[k] = beat[i];
    }
}

/* Of the waits for what comes after a moment that chance picks, the mean is half the sum of the
 * squares of the gaps, by the period: one more beat takes this product off it. at: not before that
 * of the call before. */
static uint32_t gain(struct comb *c, uint32_t at)
{
    if (c->count == 0)
        return PARTS * PARTS;
    while (c->next < c->count && c->beat[c->next] < at)
        c->next++;
    uint32_t after = c->next < c->count ? c->beat[c->next] : PARTS + c->beat[0];
    uint32_t before = c->next > 0 ? at - c->beat[c->next - 1] : at + PARTS - c->beat[c->count - 1];
    return before * (after - at);
}

uint16_t swim_next_beat(struct swim *s, uint64_t now_ms, uint64_t from, const struct wire_head *h)
{
    struct swim_ring *ring = &s->ring[h->ring - 1];
    struct comb own, its;
    uint8_t beat[WIRE_BEATS_MAX];
    comb_init(&own, beat, beats(s, now_ms, SWIM_RINGS, h->ring - 1u, beat));
    comb_init(&its, h->beat, h->beats);
    uint32_t best_at = 0, best = gain(&own, 0) + gain(&its, 0);
    best += best / AHEAD;
    for (uint32_t at = STEP; at < PARTS; at += STEP) {
        uint32_t here = gain(&own, at) + gain(&its, at);
        if (here > best) {
            best = here;
            best_at = at;
        }
    }
    uint32_t wait = best_at * SWIM_RING_PERIOD_MS / PARTS;
    if (wait < SWIM_WAIT_MIN_MS)
        wait += SWIM_RING_PERIOD_MS;
    ring->observer = from;
    ring->ping_ms = now_ms + wait;
    return (uint16_t)wait;
}

static uint64_t absent_ms(const struct swim *s, const struct swim_ring *ring)
{
    return ring->ping_ms + (uint64_t)SWIM_ABSENT_MS * swim_stretch(s);
}

const struct swim_member *swim_absent(struct swim *s, uint64_t now_ms)
{
    for (unsigned i = 0; i < SWIM_RINGS; i++) {
        struct swim_ring *ring = &s->ring[i];
        if (ring->observer == 0 || now_ms < absent_ms(s, ring))
            continue;
        const struct swim_member *m = swim_find(s, ring->observer);
        ring->observer = 0; /* until it pings again: it may have got another to observe */
        if (m == NULL || !swim_is_live(m->m.state))
            continue;
        if (m->m.heard_mono_ms + SWIM_ABSENT_MS < ring->ping_ms)
            return m;
        ring->observer = m->m.num; /* lost, but there was a second one, or something else of its */
        ring->ping_ms += SWIM_RING_PERIOD_MS;
    }
    return NULL;
}

uint64_t swim_absent_deadline(const struct swim *s)
{
    uint64_t due = UINT64_MAX;
    for (unsigned i = 0; i < SWIM_RINGS; i++)
        if (s->ring[i].observer != 0)
            due = swim_min(due, absent_ms(s, &s->ring[i]));
    return due;
}
