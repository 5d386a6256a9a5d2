/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/model_others.h"

#include <string.h>

#include "agent/base/ensure.h"

#define TABLE_FIRST 64u
#define CHUNK_OTHERS 100u

struct model_chunk {
    struct model_chunk *next;
    struct model_other others[CHUNK_OTHERS];
};

static size_t next_slot(const struct model_others *o, size_t i)
{
    return (i + 1) & (o->cap - 1);
}

/* Where it is, or the free slot where it would be. */
static size_t slot_of(const struct model_others *o, uint64_t hash)
{
    size_t i = hash & (o->cap - 1);
    while (o->slots[i] && o->slots[i]->hash != hash)
        i = next_slot(o, i);
    return i;
}

struct model_other *model_others_find(const struct model_others *o, uint64_t hash)
{
    return o->cap ? o->slots[slot_of(o, hash)] : NULL;
}

static bool reserve_slot(struct model *m)
{
    struct model_others *o = &m->others;
    if ((o->count + 1) * 4 <= o->cap * 3)
        return true;
    struct model_others bigger = *o;
    bigger.cap = o->cap ? o->cap * 2 : TABLE_FIRST;
    bigger.slots = m->resize(m->arg, NULL, bigger.cap * sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    memset(bigger.slots, 0, bigger.cap * sizeof *bigger.slots);
    for (size_t i = 0; i < o->cap; i++) {
        if (o->slots[i])
            bigger.slots[slot_of(&bigger, o->slots[i]->hash)] = o->slots[i];
    }
    if (o->slots)
        m->resize(m->arg, o->slots, 0);
    *o = bigger;
    return true;
}

static bool reserve_other(struct model *m)
{
    struct model_others *o = &m->others;
    if (o->free)
        return true;
    struct model_chunk *chunk = m->resize(m->arg, NULL, sizeof *chunk);
    if (!chunk)
        return false;
    chunk->next = o->chunks;
    o->chunks = chunk;
    for (size_t i = CHUNK_OTHERS; i-- > 0;) {
        chunk->others[i].next = o->free;
        o->free = &chunk->others[i];
    }
    return true;
}

struct model_other *model_others_add(struct model *m, uint64_t hash)
{
    struct model_others *o = &m->others;
    if (!reserve_slot(m) || !reserve_other(m))
        return NULL;
    struct model_other *other = o->free;
    o->free = other->next;
    *other = (struct model_other){.hash = hash};
    size_t at = slot_of(o, hash);
    ENSURE(o->slots[at] == NULL);
    o->slots[at] = other;
    o->count++;
    return other;
}

void model_others_remove(struct model *m, struct model_other *other)
{
    struct model_others *o = &m->others;
    size_t hole = slot_of(o, other->hash), mask = o->cap - 1;
    ENSURE(o->slots[hole] == other);
    for (size_t i = next_slot(o, hole); o->slots[i]; i = next_slot(o, i)) {
        size_t home = o->slots[i]->hash & mask;
        /* one may move into the hole unless its home lies behind the hole */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            o->slots[hole] = o->slots[i];
            hole = i;
        }
    }
    o->slots[hole] = NULL;
    o->count--;
    other->next = o->free;
    o->free = other;
}

void model_others_fini(struct model *m)
{
    struct model_others *o = &m->others;
    ENSURE(o->count == 0);
    while (o->chunks) {
        struct model_chunk *chunk = o->chunks;
        o->chunks = chunk->next;
        m->resize(m->arg, chunk, 0);
    }
    if (o->slots)
        m->resize(m->arg, o->slots, 0);
    *o = (struct model_others){.count = 0};
}
