/* SPDX-License-Identifier: Apache-2.0
 * Rows as /v2 shows them: the stored JSON with what the store knows about it put in front. The
 * bytes are spliced, not parsed. */
#ifndef BLOX_AGENT_API_ITEM_H
#define BLOX_AGENT_API_ITEM_H

#include "agent/base/buf.h"
#include "agent/base/row.h"
#include "store/store.h"

/* ERR_MALFORMED if the row holds no JSON object; out then has an unfinished item. */
int item_put(struct buf *out, const struct store_row *row, const struct row *fields);
/* A tombstone: {"id","index","updated_at","deleted":true}. */
int item_put_deleted(struct buf *out, const struct store_row *row);

#endif
