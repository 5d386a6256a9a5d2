/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/map.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/err.h"
#include "agent/base/hash.h"

void map_init(struct map *m)
{
    *m = (struct map){0};
}

void map_fini(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        free(m->slots[i].key);
    free(m->slots);
    map_init(m);
}

/* The slot of key, or the free slot where it would go. The table is never full. */
static size_t locate(const struct map *m, const char *key, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);
    while (m->slots[i].key != NULL) {
        if (m->slots[i].hash == hash && strcmp(m->slots[i].key, key) == 0)
            return i;
        i = (i + 1) & (m->cap - 1);
    }
    return i;
}

static const struct map_slot *find(const struct map *m, const char *key)
{
    if (m->cap == 0)
        return NULL;
    const struct map_slot *slot = &m->slots[locate(m, key, hash_str(key))];
    return slot->key == NULL ? NULL : slot;
}

void *map_get(const struct map *m, const char *key)
{
    const struct map_slot *slot = find(m, key);
    return slot == NULL ? NULL : slot->value;
}

bool map_has(const struct map *m, const char *key)
{
    return find(m, key) != NULL;
}

static int grow(struct map *m)
{
    size_t cap = m->cap == 0 ? 16 : m->cap * 2;
    struct map_slot *slots = calloc(cap, sizeof *slots);
    if (slots == NULL)
        return ERR_NOMEM;
    struct map bigger = {.slots = slots, .cap = cap, .count = m->count};
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].key != NULL)
            slots[locate(&bigger, m->slots[i].key, m->slots[i].hash)] = m->slots[i];
    }
    free(m->slots);
    *m = bigger;
    return 0;
}

int map_put(struct map *m, const char *key, void *value, void **ret_old)
{
    if (ret_old != NULL)
        *ret_old = NULL;
    if ((m->count + 1) * 4 > m->cap * 3) {
        int err = grow(m);
        if (err != 0)
            return err;
    }
    uint64_t hash = hash_str(key);
    struct map_slot *slot = &m->slots[locate(m, key, hash)];
    if (slot->key == NULL) {
        char *copy = strdup(key);
        if (copy == NULL)
            return ERR_NOMEM;
        *slot = (struct map_slot){.key = copy, .hash = hash};
        m->count++;
    } else if (ret_old != NULL) {
        *ret_old = slot->value;
    }
    slot->value = value;
    return 0;
}

void *map_del(struct map *m, const char *key)
{
    if (m->cap == 0)
        return NULL;
    size_t hole = locate(m, key, hash_str(key));
    if (m->slots[hole].key == NULL)
        return NULL;
    void *value = m->slots[hole].value;
    free(m->slots[hole].key);
    m->count--;
    /* Backward shift: pull up every later slot that may live in the hole. */
    size_t mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].key != NULL; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
    return value;
}

bool map_next(const struct map *m, size_t *at, const char **ret_key, void **ret_value)
{
    while (*at < m->cap) {
        const struct map_slot *slot = &m->slots[(*at)++];
        if (slot->key != NULL) {
            if (ret_key != NULL)
                *ret_key = slot->key;
            if (ret_value != NULL)
                *ret_value = slot->value;
            return true;
        }
    }
    return false;
}
