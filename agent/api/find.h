/* SPDX-License-Identifier: Apache-2.0
 * The key of a row from the id that a user has: an ARN or name, the short id at an ARN's end, an
 * EC2 instance's id, a deployment's id. A handful of lookups, however many rows there are. */
#ifndef BLOX_AGENT_API_FIND_H
#define BLOX_AGENT_API_FIND_H

#include "store/store.h"

/* ERR_NOTFOUND: no row can have that id. A key that is returned need not have a row. */
int find_key(struct store_txn *txn, uint8_t kind, const char *id,
             char ret_key[RECORD_KEY_MAX + 1]) MUST_CHECK;

#endif
