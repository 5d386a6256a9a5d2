/* SPDX-License-Identifier: Apache-2.0
 * What ECS lists and need not be described, because of the row that is here. */
#include <string.h>

#include "agent/intake/intake_int.h"

#define LATELY_MS 15000 /* 5,000 instances and 5,000 tasks take ten seconds */

bool lately_is_told(struct store_txn *txn, uint8_t kind, const char *arn, int64_t now_unix_ms)
{
    struct store_row row;
    if (store_get_ref(txn, kind, arn, strlen(arn), &row) != 0 || row.record.deleted)
        return false;
    int64_t seen_ms = now_unix_ms - row.record.observed_unix_ms;
    int64_t stored_ms = now_unix_ms - row.stored_unix_ms;
    return seen_ms >= 0 && seen_ms < LATELY_MS && stored_ms >= 0 && stored_ms < LATELY_MS;
}

bool lately_is_over(struct store_txn *txn, const char *task_arn)
{
    struct store_row row;
    return store_get_ref(txn, RECORD_TASK, task_arn, strlen(task_arn), &row) == 0 &&
           !row.record.deleted && intake_is_over(&row.record);
}
