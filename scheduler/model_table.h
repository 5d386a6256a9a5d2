/* SPDX-License-Identifier: Apache-2.0
 * The model's own hash table: pointers found by a text that the entry holds. Linear probing,
 * backward-shift deletion. Only for model.c and model_attributes.c. */
#ifndef BLOX_SCHEDULER_MODEL_TABLE_H
#define BLOX_SCHEDULER_MODEL_TABLE_H

#include "scheduler/model.h"

typedef const char *(*model_key_fn)(const void *entry);

void *model_table_get(const struct model_table *t, model_key_fn key, uint64_t hash,
                      const char *text);
/* Room for one more; 0 or ERR_NOMEM. */
int model_table_reserve(struct model *m, struct model_table *t) MUST_CHECK;
/* There is room and the key is not there. */
void model_table_add(struct model_table *t, uint64_t hash, void *entry);
void model_table_replace(struct model_table *t, uint64_t hash, const void *old, void *entry);
void model_table_remove(struct model_table *t, uint64_t hash, const void *entry);

#endif
