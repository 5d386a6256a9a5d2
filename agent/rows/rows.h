/* SPDX-License-Identifier: Apache-2.0
 * The one door for rows: whoever has a new row (intake, reconcile, the scheduler's
 * attempts, applied intent, a peer) brings it here. It goes to the store first, then to
 * the peers, then to whoever listens (the scheduler). Loop thread. */
#ifndef BLOX_AGENT_ROWS_H
#define BLOX_AGENT_ROWS_H

#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/record.h"
#include "store/store.h"

struct rows;
struct records;

int rows_create(struct rows **ret, struct store *store) MUST_CHECK;
void rows_destroy(struct rows *r);
void rows_set_gossip(struct rows *r, struct records *records); /* may be NULL in tests */

/* Called for every batch that reached the store; look at changes[i].applied. What peers brought
 * nobody vouches for: any member could have made it up. */
typedef void (*rows_listen_fn)(void *arg, const struct record *records,
                               const struct store_change *changes, size_t count, bool from_peers);
/* At most 8 listeners. */
void rows_listen(struct rows *r, rows_listen_fn fn, void *arg);

/* done (may be NULL) runs after the rows are committed and handed to gossip; err 0, or why they
 * are not stored (then nothing was handed on). Errors: ERR_BUSY, ERR_NOMEM. */
int rows_apply(struct rows *r, const struct record *records, size_t count, store_apply_fn done,
               void *arg) MUST_CHECK;
/* The same for records that came from peers. */
int rows_apply_from_peers(struct rows *r, const struct record *records, size_t count) MUST_CHECK;

#endif
