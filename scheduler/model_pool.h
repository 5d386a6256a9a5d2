/* SPDX-License-Identifier: Apache-2.0
 * The model's tasks, of which there may be a hundred thousand: entries of one size, held close
 * together, in chunks, and found by their hash, which they hold themselves, first. Only for
 * model.c. */
#ifndef BLOX_SCHEDULER_MODEL_POOL_H
#define BLOX_SCHEDULER_MODEL_POOL_H

#include "scheduler/model.h"

void *model_pool_find(const struct model_pool *p, uint64_t hash);
/* All zeros but for the hash, which is not there yet; NULL: no memory. */
void *model_pool_add(struct model *m, struct model_pool *p, uint64_t hash);
void model_pool_remove(struct model_pool *p, void *entry);
/* All were removed; their memory goes. */
void model_pool_fini(struct model *m, struct model_pool *p);

#endif
