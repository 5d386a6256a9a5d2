/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/join.h"

#include <string.h>

struct finding {
    struct join *join;
    struct query *query;
    struct store_txn *txn;
    uint8_t kind;
    uint64_t most, looked;
};

static int add(struct finding *f, const char *arn)
{
    uint64_t rows = 1;
    int err =
        f->kind != RECORD_TASK ? 0 : store_count(f->txn, RECORD_TASK, ROW_INSTANCE, arn, &rows);
    f->join->rows += rows;
    if (err != 0 || f->join->rows > f->most)
        return err != 0 ? err : 1;
    return rows == 0 ? 0 : map_put(&f->join->instances, arn, f->join, NULL);
}

static int on_instance(void *arg, const struct store_row *row)
{
    struct finding *f = arg;
    char key[RECORD_KEY_MAX + 1];
    if (row->record.key_len > RECORD_KEY_MAX || !query_shows_instance(f->query, f->txn, row))
        return 0;
    memcpy(key, row->record.key, row->record.key_len);
    key[row->record.key_len] = '\0';
    return add(f, key);
}

/* A task of the group that is asked for: its instance, once. */
static int on_task(void *arg, const struct store_row *row)
{
    struct finding *f = arg;
    struct row fields;
    struct store_row instance;
    char key[RECORD_KEY_MAX + 1];
    if (f->looked++ == f->most)
        return 1;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0)
        return 0;
    const struct row_text arn = fields.field[ROW_INSTANCE];
    if (arn.data == NULL || arn.len > RECORD_KEY_MAX)
        return 0;
    memcpy(key, arn.data, arn.len);
    key[arn.len] = '\0';
    if (map_has(&f->join->instances, key) ||
        store_get_ref(f->txn, RECORD_INSTANCE, key, arn.len, &instance) != 0)
        return 0;
    return on_instance(f, &instance);
}

int join_plan(struct join *j, struct query *q, struct store_txn *txn, uint8_t kind, uint64_t most)
{
    struct finding f = {.join = j, .query = q, .txn = txn, .kind = kind, .most = most};
    const char *group = query_required_group(q);
    struct store_query of_group = {.kind = RECORD_TASK, .field = ROW_GROUP, .value = group};
    struct filter filter = {.count = 0};
    struct filter_plan plan;
    int err = 0;
    map_init(&j->instances);
    if (group != NULL) {
        err = store_scan(txn, &of_group, on_task, &f);
    } else if (kind == RECORD_TASK) {
        query_narrow(q, txn, RECORD_INSTANCE, &filter);
        err = filter_plan(&filter, txn, RECORD_INSTANCE, false, &plan);
        if (err == 0)
            err = filter_scan(&plan, txn, RECORD_INSTANCE, NULL, 0, on_instance, &f);
    } else {
        return 0; /* to find them is to list them */
    }
    j->used = err == 0 && j->rows <= most && f.looked <= most;
    return err;
}

int join_scan(const struct join *j, struct store_txn *txn, uint8_t kind, store_scan_fn fn,
              void *arg)
{
    const char *arn;
    void *value;
    int err = 0;
    for (size_t at = 0; err == 0 && map_next(&j->instances, &at, &arn, &value);) {
        struct store_query of_instance = {.kind = kind, .field = ROW_INSTANCE, .value = arn};
        struct store_row row;
        if (kind == RECORD_TASK)
            err = store_scan(txn, &of_instance, fn, arg);
        else if (store_get_ref(txn, kind, arn, strlen(arn), &row) == 0)
            err = fn(arg, &row);
    }
    return err > 0 ? 0 : err;
}

void join_fini(struct join *j)
{
    map_fini(&j->instances);
}
