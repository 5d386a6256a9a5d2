/* SPDX-License-Identifier: Apache-2.0
 * Small facts by name in log/: incarnation, cluster id, replay marks. */
#include "store/store_int.h"

#include <string.h>

int facts_perform(struct store *s, MDB_txn *txn, const struct store_fact *facts, size_t count)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        MDB_val key = {strlen(facts[i].name), (void *)(uintptr_t)facts[i].name};
        rc = log_sum_put(txn, s->log_facts, &key, NULL, 0, facts[i].data, facts[i].len,
                         &s->log_head.fact_sum, &s->log_head.fact_count);
    }
    return rc;
}

int store_fact_get(struct store *s, const char *name, void *out, size_t cap, size_t *ret_len)
{
    MDB_txn *txn;
    MDB_val key = {strlen(name), (void *)(uintptr_t)name};
    MDB_val val;
    *ret_len = 0;
    if (key.mv_size == 0 || key.mv_size > STORE_FACT_NAME_MAX)
        return ERR_NOTFOUND;
    int err = log_settle(s, UINT64_MAX);
    if (err == 0)
        err = log_read_begin(s, &txn);
    if (err != 0)
        return err;
    err = store_err(mdb_get(txn, s->log_facts, &key, &val));
    if (err == 0 && !log_value_sound(&key, &val, 8))
        err = ERR_CORRUPT;
    else if (err == 0 && val.mv_size - 8 > cap)
        err = ERR_TOOBIG;
    if (err == 0) {
        *ret_len = val.mv_size - 8;
        if (*ret_len > 0)
            memcpy(out, (const uint8_t *)val.mv_data + 8, *ret_len);
    }
    log_read_end(s, txn);
    return err;
}
