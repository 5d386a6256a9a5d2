/* SPDX-License-Identifier: Apache-2.0
 * Hash map from a string (copied) to a pointer (not owned). Linear
 * probing with backward-shift deletion. Iteration order depends on the
 * keys alone and on the history of growth, never on addresses. */
#ifndef BLOX_BASE_MAP_H
#define BLOX_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
    char *key; /* NULL: free */
    uint64_t hash;
    void *value;
};
struct map {
    struct map_slot *slots;
    size_t cap; /* 0 or a power of two */
    size_t count;
};

void map_init(struct map *m);
void map_fini(struct map *m); /* frees the keys, not the values */
void *map_get(const struct map *m, const char *key);
bool map_has(const struct map *m, const char *key);
/* 0 or ERR_NOMEM. Replaces; *ret_old (may be NULL) receives the value before, or NULL. */
int map_put(struct map *m, const char *key, void *value, void **ret_old);
void *map_del(struct map *m, const char *key); /* the value that was there, or NULL */
/* for (size_t i = 0; map_next(&m, &i, &key, &value);) ... do not change the map meanwhile. */
bool map_next(const struct map *m, size_t *at, const char **ret_key, void **ret_value);

#endif
