/* SPDX-License-Identifier: Apache-2.0
 * fields=a,b,c: the members of an item that a client asks for. */
#ifndef BLOX_AGENT_API_CHOSEN_H
#define BLOX_AGENT_API_CHOSEN_H

#include "agent/base/row.h"
#include "agent/base/span.h"
#include "store/store.h"

#define CHOSEN_MAX 32

struct chosen {
    struct span names[CHOSEN_MAX]; /* borrowed from the parameter */
    size_t count;                  /* 0: all */
};

/* ERR_BADPARAM: an empty name, an odd character, too many. */
int chosen_parse(const char *text, struct chosen *ret) MUST_CHECK;
/* An item with those members only, in their order in the item; what the row lacks is left out. */
int chosen_put(struct buf *out, const struct store_row *row, const struct row *fields,
               const struct chosen *c);

#endif
