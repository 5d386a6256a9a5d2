/* SPDX-License-Identifier: Apache-2.0
 * What the daemon tasks of one deployment have in common, and how their ARNs are held: the part
 * before the id once, the id as 16 bytes. Only for model.c. */
#ifndef BLOX_SCHEDULER_MODEL_KIND_H
#define BLOX_SCHEDULER_MODEL_KIND_H

#include "scheduler/model.h"

/* Sets the task's kind and id; whoever had one before drops it. 0 or ERR_NOMEM (nothing is set). */
int model_kind_hold(struct model *m, struct model_task *task,
                    const struct model_task_row *row) MUST_CHECK;
void model_kind_drop(struct model *m, struct model_kind *kind);

#endif
