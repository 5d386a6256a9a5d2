/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/filter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLUSTERS_MAX 256u /* clusters looked through for a name */

int filter_add(struct filter *f, enum row_field field, const char *value)
{
    if (f->count == FILTER_TESTS_MAX)
        return ERR_TOOBIG;
    f->tests[f->count++] = (struct filter_test){.field = field, .value = value};
    return 0;
}

int filter_add_cluster(struct filter *f, const char *value, bool reduce)
{
    const char *name = strstr(value, ":cluster/");
    bool is_arn = strncmp(value, "arn:", 4) == 0 && name != NULL;
    int err = filter_add(f, ROW_CLUSTER, is_arn && reduce ? name + 9 : value);
    if (err == 0)
        f->tests[f->count - 1].cluster_name = !is_arn || reduce;
    return err;
}

static bool cluster_is(struct row_text arn, const char *name)
{
    size_t len = strlen(name);
    if (arn.data == NULL || arn.len < len)
        return false;
    const char *end = arn.data + arn.len - len;
    return memcmp(end, name, len) == 0 && (arn.len == len || end[-1] == '/');
}

static bool test_holds(const struct filter_test *t, const struct row *fields)
{
    return t->cluster_name ? cluster_is(fields->field[t->field], t->value)
                           : row_field_is(fields, t->field, t->value);
}

bool filter_matches(const struct filter *f, const struct row *fields)
{
    for (size_t i = 0; i < f->count; i++)
        if (!test_holds(&f->tests[i], fields))
            return false;
    return true;
}

bool filter_may_have_matched(const struct filter *f, const struct row *fields)
{
    for (size_t i = 0; i < f->count; i++) {
        enum row_field field = f->tests[i].field;
        bool changes = field == ROW_STATUS || field == ROW_DESIRED || field == ROW_CONNECTED;
        if (!changes && !test_holds(&f->tests[i], fields))
            return false;
    }
    return true;
}

/* -- plans ------------------------------------------------------------------------- */

/* The one cluster of that name among the rows: few clusters have many rows each. */
struct cluster_search {
    const char *name;
    unsigned seen, found;
    char arn[RECORD_KEY_MAX + 1];
};

static int on_cluster(void *arg, const char *text, size_t len, uint64_t rows)
{
    struct cluster_search *c = arg;
    (void)rows;
    if (c->seen++ == CLUSTERS_MAX)
        return 1;
    if (!cluster_is((struct row_text){text, len}, c->name) || len > RECORD_KEY_MAX)
        return 0;
    c->found++;
    memcpy(c->arn, text, len);
    c->arn[len] = '\0';
    return 0;
}

/* The text to look up for a test; NULL: it cannot be looked up. */
static const char *text_to_find(const struct filter_test *t, struct store_txn *txn, uint8_t kind,
                                struct cluster_search *c, bool *ret_none)
{
    if (!t->cluster_name)
        return t->value;
    *c = (struct cluster_search){.name = t->value};
    if (store_values(txn, kind, ROW_CLUSTER, on_cluster, c) != 0 || c->seen > CLUSTERS_MAX)
        return NULL;
    *ret_none = c->found == 0;
    return c->found == 1 ? c->arn : NULL;
}

static const char *value_of(const struct filter *f, enum row_field field)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->tests[i].field == field)
            return f->tests[i].value;
    return NULL;
}

/* The families that have a revision of that number. */
struct revision {
    struct store_txn *txn;
    uint8_t kind;
    const char *number;
    uint64_t rows;
    size_t count;
    struct buf *texts; /* as the index has them, each with its NUL; NULL: they are counted only */
};

static int on_family(void *arg, const char *family, size_t len, uint64_t rows)
{
    struct revision *r = arg;
    char text[RECORD_KEY_MAX + 1];
    uint64_t n = 0;
    (void)rows;
    if (snprintf(text, sizeof text, "%.*s:%s", (int)len, family, r->number) >= (int)sizeof text)
        return 0;
    int err = store_count(r->txn, r->kind, ROW_REVISION, text, &n);
    r->rows += n;
    if (err != 0 || n == 0 || r->texts == NULL)
        return err;
    r->count++;
    return buf_put(r->texts, text, strlen(text) + 1);
}

/* A revision's number says little without its family; the index knows both together. */
static void plan_revision(const struct filter *f, struct store_txn *txn, uint8_t kind,
                          uint64_t fewest, struct filter_plan *ret)
{
    const char *number = value_of(f, ROW_REVISION), *family = value_of(f, ROW_FAMILY);
    struct revision r = {.txn = txn, .kind = kind, .number = number};
    if (number == NULL || kind != RECORD_TASK || strlen(number) > 20)
        return;
    int err = family != NULL ? on_family(&r, family, strlen(family), 0)
                             : store_values(txn, kind, ROW_FAMILY, on_family, &r);
    if (err != 0 || r.rows >= fewest)
        return;
    ret->field = ROW_REVISION;
    ret->rows = r.rows;
    ret->any_family = family == NULL;
    ret->none = r.rows == 0;
    snprintf(ret->text, sizeof ret->text, "%s%s%s", family == NULL ? "" : family,
             family == NULL ? "" : ":", number);
}

int filter_plan(const struct filter *f, struct store_txn *txn, uint8_t kind, bool past,
                struct filter_plan *ret)
{
    struct cluster_search cluster;
    uint64_t total;
    *ret = (struct filter_plan){.field = 0};
    if (past)
        return 0;
    int err = store_count(txn, kind, 0, NULL, &total);
    ret->rows = total;
    if (err != 0)
        total = UINT64_MAX; /* a damaged count is being repaired; reading all is right, too */
    /* An index that holds more than half of the rows costs more than reading them all in order. */
    uint64_t fewest = total / 2 + 1;
    for (size_t i = 0; i < f->count && !ret->none; i++) {
        const struct filter_test *t = &f->tests[i];
        uint64_t n;
        if (t->field == ROW_REVISION)
            continue;
        const char *text = text_to_find(t, txn, kind, &cluster, &ret->none);
        if (text == NULL || store_count(txn, kind, t->field, text, &n) != 0 || n >= fewest ||
            strlen(text) > RECORD_KEY_MAX)
            continue; /* ERR_BADPARAM: this field has no index */
        fewest = n;
        ret->rows = n;
        ret->field = t->field;
        memcpy(ret->text, text, strlen(text) + 1);
    }
    if (!ret->none)
        plan_revision(f, txn, kind, fewest, ret);
    return 0;
}

static int scan_families(struct revision *r, struct store_values_query *q, store_scan_fn fn,
                         void *arg)
{
    int err = store_values(r->txn, r->kind, ROW_FAMILY, on_family, r);
    if (err != 0 || r->count == 0)
        return err;
    const char **values = malloc(r->count * sizeof *values);
    if (values == NULL)
        return ERR_NOMEM;
    const char *text = r->texts->data;
    for (q->values = values; q->count < r->count; text += strlen(text) + 1)
        values[q->count++] = text;
    err = store_scan_values(r->txn, q, fn, arg);
    free(values);
    return err;
}

int filter_scan(const struct filter_plan *plan, struct store_txn *txn, uint8_t kind,
                const char *after, size_t after_len, store_scan_fn fn, void *arg)
{
    struct store_query q = {.kind = kind,
                            .field = plan->field,
                            .value = plan->text,
                            .after_key = after_len > 0 ? after : NULL,
                            .after_key_len = after_len};
    struct buf texts;
    if (plan->none)
        return 0;
    if (!plan->any_family)
        return store_scan(txn, &q, fn, arg);
    struct revision r = {.txn = txn, .kind = kind, .number = plan->text, .texts = &texts};
    struct store_values_query of_families = {
        .kind = kind, .field = ROW_REVISION, .after_key = q.after_key, .after_key_len = after_len};
    buf_init(&texts, SIZE_MAX / 4);
    int err = scan_families(&r, &of_families, fn, arg);
    buf_fini(&texts);
    return err;
}
