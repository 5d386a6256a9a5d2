/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/model_table.h"

#include <string.h>

#include "agent/base/ensure.h"

#define TABLE_FIRST 64u

void *model_table_get(const struct model_table *t, model_key_fn key, uint64_t hash,
                      const char *text)
{
    if (!t->cap)
        return NULL;
    for (size_t i = hash & (t->cap - 1); t->slots[i].entry; i = (i + 1) & (t->cap - 1)) {
        if (t->slots[i].hash == hash && strcmp(key(t->slots[i].entry), text) == 0)
            return t->slots[i].entry;
    }
    return NULL;
}

int model_table_reserve(struct model *m, struct model_table *t)
{
    if ((t->count + 1) * 4 <= t->cap * 3)
        return 0;
    size_t cap = t->cap ? t->cap * 2 : TABLE_FIRST;
    struct model_slot *slots = m->resize(m->arg, NULL, cap * sizeof *slots);
    if (!slots)
        return ERR_NOMEM;
    memset(slots, 0, cap * sizeof *slots);
    struct model_table bigger = {.slots = slots, .cap = cap};
    for (size_t i = 0; i < t->cap; i++) {
        if (t->slots[i].entry)
            model_table_add(&bigger, t->slots[i].hash, t->slots[i].entry);
    }
    if (t->slots)
        m->resize(m->arg, t->slots, 0);
    *t = bigger;
    return 0;
}

void model_table_add(struct model_table *t, uint64_t hash, void *entry)
{
    ENSURE(t->count < t->cap);
    size_t i = hash & (t->cap - 1);
    while (t->slots[i].entry)
        i = (i + 1) & (t->cap - 1);
    t->slots[i] = (struct model_slot){hash, entry};
    t->count++;
}

static size_t position(const struct model_table *t, uint64_t hash, const void *entry)
{
    ENSURE(t->cap > 0);
    size_t i = hash & (t->cap - 1);
    while (t->slots[i].entry != entry) {
        ENSURE(t->slots[i].entry != NULL);
        i = (i + 1) & (t->cap - 1);
    }
    return i;
}

void model_table_replace(struct model_table *t, uint64_t hash, const void *old, void *entry)
{
    t->slots[position(t, hash, old)].entry = entry;
}

void model_table_remove(struct model_table *t, uint64_t hash, const void *entry)
{
    size_t hole = position(t, hash, entry);
    size_t mask = t->cap - 1;
    for (size_t i = (hole + 1) & mask; t->slots[i].entry; i = (i + 1) & mask) {
        size_t home = t->slots[i].hash & mask;
        /* an entry may move into the hole unless its home lies behind the hole */
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            t->slots[hole] = t->slots[i];
            hole = i;
        }
    }
    t->slots[hole].entry = NULL;
    t->count--;
}
