/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/hash.h"

#include <endian.h>
#include <string.h>

#define BLOCK 32u
#define LANE_GAP 0x9e3779b97f4a7c15u

uint64_t hash_mix(uint64_t v)
{
    v ^= v >> 30;
    v *= 0xbf58476d1ce4e5b9u;
    v ^= v >> 27;
    v *= 0x94d049bb133111ebu;
    v ^= v >> 31;
    return v;
}

static uint64_t read_le(const uint8_t *p, size_t len)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static uint64_t read_le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64toh(v);
}

/* One step of a lane: for a given state a bijection of v, and the other way round, so a change
 * within one word always changes the lane. The rotation brings high bits to where the
 * multiplication spreads them. */
static uint64_t lane_step(uint64_t lane, uint64_t v)
{
    lane ^= v;
    return (lane << 29 | lane >> 35) * 0x9fb21c651e98df25u;
}

/* Long input runs in four lanes that do not wait for each other; they are folded in order. */
static const uint8_t *take_blocks(const uint8_t *p, size_t blocks, uint64_t *h)
{
    uint64_t a = *h, b = *h ^ LANE_GAP, c = *h ^ 2 * LANE_GAP, d = *h ^ 3 * LANE_GAP;
    for (size_t i = 0; i < blocks; i++, p += BLOCK) {
        a = lane_step(a, read_le64(p));
        b = lane_step(b, read_le64(p + 8));
        c = lane_step(c, read_le64(p + 16));
        d = lane_step(d, read_le64(p + 24));
    }
    *h = hash_mix(hash_mix(hash_mix(hash_mix(*h ^ a) ^ b) ^ c) ^ d);
    return p;
}

/* Blocks in lanes, then eight bytes a step, each folded through the mixer; the length closes it. */
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const uint8_t *p = data;
    uint64_t h = hash_mix(seed ^ LANE_GAP);
    size_t left = len % BLOCK;
    if (len >= BLOCK)
        p = take_blocks(p, len / BLOCK, &h);
    for (; left >= 8; left -= 8, p += 8)
        h = hash_mix(h ^ read_le64(p)) + LANE_GAP;
    h = hash_mix(h ^ read_le(p, left));
    return hash_mix(h ^ len);
}

uint64_t hash_str(const char *text)
{
    return hash_bytes(text, strlen(text), 0);
}
