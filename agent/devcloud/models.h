/* SPDX-License-Identifier: Apache-2.0
 * AWS's service models: which operations a service has, and whether a JSON value has the shape
 * that an operation takes or gives. Read only after loading. */
#ifndef BLOX_DEVCLOUD_MODELS_H
#define BLOX_DEVCLOUD_MODELS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"

extern const unsigned char models_ecs[], models_sqs[], models_sts[], models_ec2[];
extern const size_t models_ecs_len, models_sqs_len, models_sts_len, models_ec2_len;

struct model {
    json_t *root;
    json_t *operations; /* borrowed from root */
    json_t *shapes;
};

enum model_fault { MODEL_FITS, MODEL_UNKNOWN_MEMBER, MODEL_WRONG_TYPE, MODEL_INVALID };

int model_load(struct model *m, const unsigned char *data, size_t len, struct errmsg *e);
void models_fini(struct model *m);
bool model_has(const struct model *m, const char *operation);
/* The first fault found; e says where ("containerInstances[2]: ...") and what. Unknown members
 * are a fault only if strict. */
enum model_fault model_check_input(const struct model *m, const char *operation,
                                   const json_t *value, bool strict, struct errmsg *e);
enum model_fault model_check_output(const struct model *m, const char *operation,
                                    const json_t *value, struct errmsg *e);

#endif
