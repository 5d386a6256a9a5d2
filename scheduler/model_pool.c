/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/model_pool.h"

#include <string.h>

#include "agent/base/ensure.h"

#define TABLE_FIRST 64u
#define CHUNK_BYTES_MIN 4000u
#define CHUNK_BYTES_MAX 64000u

/* How every entry begins; of one that is free the second word is a link. */
struct model_entry {
    uint64_t hash;
    struct model_entry *free;
};

struct model_chunk {
    struct model_chunk *next;
    uint64_t entries[];
};

static size_t next_slot(const struct model_pool *p, size_t i)
{
    return (i + 1) & (p->cap - 1);
}

/* Where it is, or the free slot where it would be. */
static size_t slot_of(const struct model_pool *p, uint64_t hash)
{
    size_t i = hash & (p->cap - 1);
    while (p->slots[i] && p->slots[i]->hash != hash)
        i = next_slot(p, i);
    return i;
}

void *model_pool_find(const struct model_pool *p, uint64_t hash)
{
    return p->cap ? p->slots[slot_of(p, hash)] : NULL;
}

static bool reserve_slot(struct model *m, struct model_pool *p)
{
    if ((p->count + 1) * 4 <= p->cap * 3)
        return true;
    struct model_pool bigger = *p;
    bigger.cap = p->cap ? p->cap * 2 : TABLE_FIRST;
    bigger.slots = m->resize(m->arg, NULL, bigger.cap * sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    memset(bigger.slots, 0, bigger.cap * sizeof *bigger.slots);
    for (size_t i = 0; i < p->cap; i++) {
        if (p->slots[i])
            bigger.slots[slot_of(&bigger, p->slots[i]->hash)] = p->slots[i];
    }
    if (p->slots)
        m->resize(m->arg, p->slots, 0);
    *p = bigger;
    return true;
}

/* The more there are the larger: small chunks among what is allocated while tasks start keep the
 * pages between them from going back. */
static size_t chunk_bytes(const struct model_pool *p)
{
    size_t bytes = p->count * p->entry_size / 16;
    bytes = bytes < CHUNK_BYTES_MAX ? bytes : CHUNK_BYTES_MAX;
    return bytes > CHUNK_BYTES_MIN ? bytes : CHUNK_BYTES_MIN;
}

static bool reserve_entry(struct model *m, struct model_pool *p)
{
    if (p->free)
        return true;
    size_t bytes = chunk_bytes(p), words = p->entry_size / sizeof(uint64_t),
           count = bytes / p->entry_size;
    struct model_chunk *chunk =
        m->resize(m->arg, NULL, sizeof *chunk + count * words * sizeof(uint64_t));
    if (!chunk)
        return false;
    chunk->next = p->chunks;
    p->chunks = chunk;
    for (size_t i = count; i-- > 0;) {
        struct model_entry *entry = (struct model_entry *)(void *)(chunk->entries + i * words);
        entry->free = p->free;
        p->free = entry;
    }
    return true;
}

void *model_pool_add(struct model *m, struct model_pool *p, uint64_t hash)
{
    if (!reserve_slot(m, p) || !reserve_entry(m, p))
        return NULL;
    struct model_entry *entry = p->free;
    p->free = entry->free;
    memset(entry, 0, p->entry_size);
    entry->hash = hash;
    size_t at = slot_of(p, hash);
    ENSURE(p->slots[at] == NULL);
    p->slots[at] = entry;
    p->count++;
    return entry;
}

void model_pool_remove(struct model_pool *p, void *gone)
{
    struct model_entry *entry = gone;
    size_t hole = slot_of(p, entry->hash), mask = p->cap - 1;
    ENSURE(p->slots[hole] == entry);
    for (size_t i = next_slot(p, hole); p->slots[i]; i = next_slot(p, i)) {
        size_t home = p->slots[i]->hash & mask;
        /* one may move into the hole unless its home lies behind the hole */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            p->slots[hole] = p->slots[i];
            hole = i;
        }
    }
    p->slots[hole] = NULL;
    p->count--;
    entry->free = p->free;
    p->free = entry;
}

void model_pool_fini(struct model *m, struct model_pool *p)
{
    ENSURE(p->count == 0);
    while (p->chunks) {
        struct model_chunk *chunk = p->chunks;
        p->chunks = chunk->next;
        m->resize(m->arg, chunk, 0);
    }
    if (p->slots)
        m->resize(m->arg, p->slots, 0);
    *p = (struct model_pool){.entry_size = p->entry_size};
}
