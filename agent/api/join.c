/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/join.h"

#include <stdlib.h>
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
    if (row->record.key_len > RECORD_KEY_MAX)
        return 0;
    memcpy(key, row->record.key, row->record.key_len);
    key[row->record.key_len] = '\0';
    if (map_has(&f->join->instances, key) || !query_shows_instance(f->query, f->txn, row))
        return 0;
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

/* -- by attributes ------------------------------------------------------------------ */

/* Key hashes of instances that a test of the filter may hold for. */
struct candidates {
    const struct select *select;
    struct select_required test;
    uint64_t *hashes;
    size_t count, cap;
    bool more; /* of the best ones: of the only test there are too many */
};

static bool on_value(void *arg, const char *value)
{
    const struct candidates *c = arg;
    return select_required_holds(c->select, &c->test, value);
}

static int on_hash(void *arg, uint64_t key_hash)
{
    struct candidates *c = arg;
    c->more = c->count == c->cap;
    if (!c->more)
        c->hashes[c->count++] = key_hash;
    return c->more;
}

/* The n-th test's instead of best's, if they are fewer. ERR_NOTFOUND: there are no more tests. */
static int try_test(struct finding *f, unsigned n, struct candidates *best)
{
    struct candidates c = {.select = best->select, .cap = best->cap};
    if (!select_required_test(c.select, n, &c.test))
        return ERR_NOTFOUND;
    const struct store_attribute a = {
        .name = c.test.name, .value = c.test.equal, .wants = on_value, .fn = on_hash, .arg = &c};
    if ((c.hashes = malloc((c.cap + 1) * sizeof *c.hashes)) == NULL)
        return ERR_NOMEM;
    int err = store_attribute_scan(f->txn, &a);
    if (err == 0 && !c.more) {
        uint64_t *other = best->hashes;
        *best = c;
        best->cap = c.count;
        c.hashes = other;
    }
    best->more = best->more || (err == 0 && c.more && c.test.is_all);
    free(c.hashes);
    return err == ERR_BADPARAM ? 0 : err; /* of that attribute there is no index */
}

/* Those whom a filter of one test selects lead to about so many rows; it need not be tried. */
static bool is_too_many(const struct finding *f, const struct candidates *c, uint64_t instances)
{
    uint64_t rows = instances;
    if (f->kind == RECORD_TASK && store_count(f->txn, RECORD_TASK, 0, NULL, &rows) != 0)
        return false;
    return c->more ||
           (c->hashes != NULL && c->test.is_all && c->count * rows / (instances + 1) > 2 * f->most);
}

/* *ret_done: there is no other way to find them, or no need for one. */
static int find_by_attributes(struct finding *f, bool *ret_done)
{
    struct candidates best = {.select = query_select(f->query)};
    struct store_row row;
    uint64_t instances = 0;
    int err = store_count(f->txn, RECORD_INSTANCE, 0, NULL, &instances);
    best.cap = f->most < instances / 2 ? f->most : instances / 2;
    for (unsigned n = 0; err == 0; n++)
        err = try_test(f, n, &best);
    err = err == ERR_NOTFOUND ? 0 : err;
    bool too_many = err == 0 && is_too_many(f, &best, instances);
    *ret_done = too_many || best.hashes != NULL;
    if (too_many)
        f->join->rows = f->most + 1;
    for (size_t i = 0; err == 0 && !too_many && i < best.count; i++)
        if (store_get_by_hash_ref(f->txn, best.hashes[i], &row) == 0 &&
            row.record.kind == RECORD_INSTANCE)
            err = on_instance(f, &row);
    free(best.hashes);
    return err < 0 ? err : 0;
}

/* -- the plan ----------------------------------------------------------------------- */

static int find(struct finding *f, bool *ret_done)
{
    const char *group = select_required_group(query_select(f->query));
    struct store_query of_group = {.kind = RECORD_TASK, .field = ROW_GROUP, .value = group};
    struct filter filter = {.count = 0};
    struct filter_plan plan;
    uint64_t tasks;
    if (group != NULL && store_count(f->txn, RECORD_TASK, ROW_GROUP, group, &tasks) == 0 &&
        tasks <= f->most) {
        *ret_done = true;
        return store_scan(f->txn, &of_group, on_task, f);
    }
    int err = find_by_attributes(f, ret_done);
    if (err != 0 || *ret_done || f->kind != RECORD_TASK)
        return err; /* to find instances is to list them */
    *ret_done = true;
    query_narrow(f->query, f->txn, RECORD_INSTANCE, &filter);
    err = filter_plan(&filter, f->txn, RECORD_INSTANCE, false, &plan);
    if (err != 0)
        return err;
    return filter_scan(&plan, f->txn, RECORD_INSTANCE, NULL, 0, on_instance, f);
}

static int by_key(const void *a, const void *b)
{
    const char *x = *(const char *const *)a, *y = *(const char *const *)b;
    return store_key_compare(RECORD_INSTANCE, x, strlen(x), y, strlen(y));
}

static int list_arns(struct join *j, bool in_order)
{
    const char *arn;
    void *value;
    size_t n = 0;
    j->arns = malloc((j->instances.count + 1) * sizeof *j->arns);
    if (j->arns == NULL)
        return ERR_NOMEM;
    for (size_t at = 0; map_next(&j->instances, &at, &arn, &value);)
        j->arns[n++] = arn;
    if (in_order)
        qsort(j->arns, n, sizeof *j->arns, by_key);
    return 0;
}

int join_plan(struct join *j, struct query *q, struct store_txn *txn, uint8_t kind, uint64_t most)
{
    struct finding f = {.join = j, .query = q, .txn = txn, .kind = kind, .most = most};
    bool done = false;
    map_init(&j->instances);
    int err = find(&f, &done);
    j->used = err == 0 && done && j->rows <= most && f.looked <= most;
    return j->used ? list_arns(j, kind == RECORD_INSTANCE) : err;
}

/* -- the rows ----------------------------------------------------------------------- */

static int scan_instances(const struct join *j, struct store_txn *txn, const char *after,
                          size_t after_len, store_scan_fn fn, void *arg)
{
    int err = 0;
    for (size_t i = 0; err == 0 && i < j->instances.count; i++) {
        struct store_row row;
        size_t len = strlen(j->arns[i]);
        if (after_len > 0 &&
            store_key_compare(RECORD_INSTANCE, j->arns[i], len, after, after_len) <= 0)
            continue;
        if (store_get_ref(txn, RECORD_INSTANCE, j->arns[i], len, &row) == 0)
            err = fn(arg, &row);
    }
    return err > 0 ? 0 : err;
}

int join_scan(const struct join *j, struct store_txn *txn, uint8_t kind, const char *after,
              size_t after_len, store_scan_fn fn, void *arg)
{
    const struct store_values_query q = {.kind = kind,
                                         .field = ROW_INSTANCE,
                                         .values = j->arns,
                                         .count = j->instances.count,
                                         .after_key = after,
                                         .after_key_len = after_len};
    return kind == RECORD_INSTANCE ? scan_instances(j, txn, after, after_len, fn, arg)
                                   : store_scan_values(txn, &q, fn, arg);
}

void join_fini(struct join *j)
{
    free(j->arns);
    map_fini(&j->instances);
}
