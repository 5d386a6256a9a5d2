/* SPDX-License-Identifier: Apache-2.0
 * The model's tasks of no environment, of which there may be a hundred thousand: held close
 * together, in chunks, and found by their hash, which they hold themselves. Only for model.c. */
#ifndef BLOX_SCHEDULER_MODEL_OTHERS_H
#define BLOX_SCHEDULER_MODEL_OTHERS_H

#include "scheduler/model.h"

struct model_other *model_others_find(const struct model_others *o, uint64_t hash);
/* All zeros but for the hash, which is not there yet; NULL: no memory. */
struct model_other *model_others_add(struct model *m, uint64_t hash);
void model_others_remove(struct model *m, struct model_other *other);
/* All were removed; their memory goes. */
void model_others_fini(struct model *m);

#endif
