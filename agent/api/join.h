/* SPDX-License-Identifier: Apache-2.0
 * Rows that a filter= selects by few instances: those are found first, by an index of what the
 * filter asks of them where there is one, and the rows by them, instead of asking each row for its
 * instance. */
#ifndef BLOX_AGENT_API_JOIN_H
#define BLOX_AGENT_API_JOIN_H

#include "agent/api/query.h"
#include "agent/base/map.h"

struct join {
    struct map instances; /* by ARN */
    const char **arns;    /* of all of them; in the order of keys, if they are the rows */
    uint64_t rows;        /* that they lead to */
    bool used;
};

/* Finds the instances; used if they lead to at most `most` rows of the kind. 0 or an error. */
int join_plan(struct join *j, struct query *q, struct store_txn *txn, uint8_t kind,
              uint64_t most) MUST_CHECK;
/* Their rows behind a key (length 0: all), in the order of keys. fn and what is returned are
 * store_scan()'s. */
int join_scan(const struct join *j, struct store_txn *txn, uint8_t kind, const char *after,
              size_t after_len, store_scan_fn fn, void *arg) MUST_CHECK;
void join_fini(struct join *j);

#endif
