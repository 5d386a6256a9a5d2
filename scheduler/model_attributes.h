/* SPDX-License-Identifier: Apache-2.0
 * Attributes of instances as the model holds them. Only for model.c. */
#ifndef BLOX_SCHEDULER_MODEL_ATTRIBUTES_H
#define BLOX_SCHEDULER_MODEL_ATTRIBUTES_H

#include "scheduler/model.h"

/* Of one instance, on their way into it. */
struct model_attributes {
    struct model_traits *traits;
    const char *own[MODEL_ATTRIBUTES_MAX];
    size_t count;
    uint64_t hash; /* of all */
};

/* At most MODEL_ATTRIBUTES_MAX. 0, or ERR_NOMEM and nothing is held. */
int model_attributes_hold(struct model *m, const struct model_attribute *list, size_t count,
                          struct model_attributes *ret) MUST_CHECK;
void model_attributes_drop(struct model *m, struct model_traits *traits, const char **own,
                           size_t count);

/* model.c. *ret NULL: there is no text. */
int model_hold_name(struct model *m, const char *text, struct model_name **ret) MUST_CHECK;
void model_drop_name(struct model *m, struct model_name *name);

#endif
