/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/hash.h"

#include <string.h>

uint64_t hash_mix(uint64_t v)
{
    v ^= v >> 30;
    v *= 0xbf58476d1ce4e5b9u;
    v ^= v >> 27;
    v *= 0x94d049bb133111ebu;
    v ^= v >> 31;
    return v;
}

/* Eight bytes a step, each folded through the mixer; the length closes it. */
uint64_t hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const uint8_t *p = data;
    uint64_t h = hash_mix(seed ^ 0x9e3779b97f4a7c15u);
    size_t left = len;
    while (left >= 8) {
        uint64_t v = 0;
        for (unsigned i = 0; i < 8; i++)
            v |= (uint64_t)p[i] << (8 * i);
        h = hash_mix(h ^ v) + 0x9e3779b97f4a7c15u;
        p += 8;
        left -= 8;
    }
    uint64_t tail = 0;
    for (unsigned i = 0; i < left; i++)
        tail |= (uint64_t)p[i] << (8 * i);
    h = hash_mix(h ^ tail);
    return hash_mix(h ^ len);
}

uint64_t hash_str(const char *text)
{
    return hash_bytes(text, strlen(text), 0);
}
