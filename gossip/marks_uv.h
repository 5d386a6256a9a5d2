/* SPDX-License-Identifier: Apache-2.0
 * Members by the mark of their present life (seal_mark), which brief packets carry. Loop thread. */
#ifndef BLOX_GOSSIP_MARKS_UV_H
#define BLOX_GOSSIP_MARKS_UV_H

#include "gossip/swim.h"

struct marks {      /* zeroed at first */
    uint32_t *slot; /* of the swim core, and 1; linear probing by mark */
    uint32_t mask;
    uint32_t lives; /* the core's when it was built */
};

/* The nth member whose life has that mark; NULL: there are no more. Built anew only when the core's
 * lives changed, so that packets with marks of nobody cost one look. */
const struct swim_member *marks_find(struct marks *k, const struct swim *s, uint32_t mark,
                                     unsigned nth);
void marks_fini(struct marks *k);

#endif
