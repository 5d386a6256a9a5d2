/* SPDX-License-Identifier: Apache-2.0
 * A change is news to a list if the row as it is, or as it was before, is one of its rows. How it
 * was, the replaced rows tell that the store keeps for a while; where they do not reach back, a
 * change is news rather than missed. */
#include "agent/api/interest.h"

#include <string.h>

#define REPLACED_MAX 20000u /* looked at; more take longer than an answer that nobody needed */

struct look {
    const struct interest *interest;
    struct store_txn *txn;
    unsigned replaced;
    bool kept; /* do the replaced rows reach back? */
    bool news;
};

static bool has_instance(struct store_txn *txn, const struct row *fields)
{
    const struct row_text arn = fields->field[ROW_INSTANCE];
    struct store_row row;
    return arn.data != NULL && store_get_ref(txn, RECORD_INSTANCE, arn.data, arn.len, &row) == 0 &&
           !row.record.deleted;
}

/* Is, or was, the row in the list? */
static bool shows(const struct look *l, const struct store_row *row)
{
    const struct interest *i = l->interest;
    struct row fields;
    if (i->filter->count == 0 && i->query == NULL)
        return true;
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0)
        return true;
    if (!l->kept)
        return filter_may_have_matched(i->filter, &fields);
    if (!filter_matches(i->filter, &fields))
        return false;
    /* What a task's instance was like, nobody knows once it is gone. */
    return i->query == NULL || query_matches(i->query, l->txn, row, &fields) ||
           (row->record.kind == RECORD_TASK && !has_instance(l->txn, &fields));
}

static bool is_key(const struct store_row *row, const char *key)
{
    return row->record.key_len == strlen(key) &&
           memcmp(row->record.key, key, row->record.key_len) == 0;
}

/* Can a row that went away have been the one of that id? */
static bool was_called(const struct store_row *row, const char *id)
{
    size_t len = row->record.key_len, id_len = strlen(id);
    if (row->record.kind == RECORD_INSTANCE && strncmp(id, "i-", 2) == 0)
        return true;
    return is_key(row, id) || (len > id_len && row->record.key[len - id_len - 1] == '/' &&
                               memcmp(row->record.key + len - id_len, id, id_len) == 0);
}

static int on_change(void *arg, const struct store_row *row)
{
    struct look *l = arg;
    const struct interest *i = l->interest;
    if (i->filter == NULL)
        l->news =
            i->key != NULL ? is_key(row, i->key) : row->record.deleted && was_called(row, i->id);
    else
        l->news = row->record.deleted ? !l->kept : shows(l, row);
    return l->news;
}

static int on_replaced(void *arg, const struct store_row *row)
{
    struct look *l = arg;
    l->news = l->replaced++ == REPLACED_MAX || (!row->record.deleted && shows(l, row));
    return l->news;
}

bool interest_has_news(struct store *s, const struct interest *i, uint64_t *seen)
{
    struct look l = {.interest = i, .kept = true};
    if (store_read_begin(s, &l.txn) != 0)
        return true;
    int err = i->filter == NULL ? 0 : store_replaced(l.txn, i->kind, *seen, on_replaced, &l);
    if (err == ERR_VERSION) {
        l.kept = false;
        err = 0;
    }
    if (err == 0 && !l.news)
        err = store_changes(l.txn, i->kind, *seen + 1, on_change, &l);
    if (err == 0 && !l.news)
        *seen = store_txn_index(l.txn, i->kind);
    store_read_end(l.txn);
    return err != 0 || l.news;
}
