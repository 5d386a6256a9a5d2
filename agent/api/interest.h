/* SPDX-License-Identifier: Apache-2.0
 * What a long poll waits for: changes of one row, or of rows that its list showed or would show. */
#ifndef BLOX_AGENT_API_INTEREST_H
#define BLOX_AGENT_API_INTEREST_H

#include "agent/api/filter.h"
#include "agent/api/query.h"

struct interest {
    uint8_t kind;
    const struct filter *filter; /* of a list; NULL: one row */
    struct query *query;         /* of a list; NULL: none */
    const char *key;             /* of one row; NULL: there is none by that id */
    const char *id;
};

/* Bits 1 << kind of the rows that can be of interest. */
uint32_t interest_kinds(const struct interest *i);
/* Did something of interest change behind *seen? If not, *seen moves to the snapshot looked at. */
bool interest_has_news(struct store *s, const struct interest *i, uint64_t *seen);

#endif
