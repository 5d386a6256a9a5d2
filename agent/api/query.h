/* SPDX-License-Identifier: Apache-2.0
 * filter=: ECS's cluster query language on rows. Of instances it is asked itself; of tasks their
 * instance is asked, so that "tasks on m5 instances" is one request. */
#ifndef BLOX_AGENT_API_QUERY_H
#define BLOX_AGENT_API_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/api/filter.h"
#include "agent/base/err.h"
#include "agent/base/row.h"
#include "scheduler/select.h"
#include "store/store.h"

struct query;

/* ERR_BADPARAM / ERR_TOOBIG with a sentence that names the position; ERR_NOMEM. */
int query_new(const char *text, struct query **ret, struct errmsg *e) MUST_CHECK;
void query_free(struct query *q); /* NULL is nothing */
/* Bits 1 << kind of the rows that decide which rows of that kind match. */
uint32_t query_kinds(const struct query *q, uint8_t kind);
/* Is a task one of those that task:group asks about? */
bool query_counts_task(const struct row *fields);
/* What was remembered of another snapshot is forgotten. */
void query_forget(struct query *q);
/* Adds what an indexed column must be for a match, so that an index can be gone by: of instances
 * their zone and EC2 id, of tasks the one instance with that EC2 id. q must outlive f. */
void query_narrow(struct query *q, struct store_txn *txn, uint8_t kind, struct filter *f);
/* As it was parsed; good as long as q. */
const struct select *query_select(const struct query *q);
/* Does an instance match? Remembered, for its tasks. */
bool query_shows_instance(struct query *q, struct store_txn *txn, const struct store_row *row);
/* Rows of other kinds never match. One thread at a time. */
bool query_matches(struct query *q, struct store_txn *txn, const struct store_row *row,
                   const struct row *fields);

#endif
