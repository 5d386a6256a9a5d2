/* SPDX-License-Identifier: Apache-2.0
 * A change is news to a list if the row as it is, or as it was before, is one of its rows. How it
 * was, the replaced rows tell that the store keeps for a while; where they do not reach back, a
 * change is news rather than missed. Where instances decide which tasks are shown (or tasks which
 * instances), a change of one that turned its answer is news, too, if there are such rows there. */
#include "agent/api/interest.h"

#include <string.h>

/* Looked at; more take longer than an answer that nobody needed. To ask an instance takes longer
 * than to look at columns. */
#define REPLACED_MAX 20000u
#define ASKED_MAX 2000u

struct look {
    const struct interest *interest;
    struct store_txn *txn;
    unsigned replaced, asked;
    bool kept; /* do the replaced rows reach back? */
    bool news;
};

uint32_t interest_kinds(const struct interest *i)
{
    return i->query == NULL ? 1u << i->kind : query_kinds(i->query, i->kind);
}

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

/* -- rows that decide about others ----------------------------------------------------- */

static int on_listed(void *arg, const struct store_row *row)
{
    struct look *l = arg;
    struct row fields;
    l->news = row_decode(row->record.value, row->record.value_len, &fields) == 0 &&
              filter_matches(l->interest->filter, &fields);
    return l->news;
}

/* An instance's answer turned: are there rows that it shows or hides? */
static int turned(struct look *l, struct row_text arn)
{
    char key[RECORD_KEY_MAX + 1];
    struct store_row row;
    if (arn.data == NULL || arn.len > RECORD_KEY_MAX)
        return 0;
    memcpy(key, arn.data, arn.len);
    key[arn.len] = '\0';
    if (l->interest->kind == RECORD_TASK)
        return store_scan(
            l->txn, &(struct store_query){.kind = RECORD_TASK, .field = ROW_INSTANCE, .value = key},
            on_listed, l);
    if (store_get_ref(l->txn, RECORD_INSTANCE, key, arn.len, &row) == 0 && !row.record.deleted)
        (void)on_listed(l, &row);
    return 0;
}

static bool says_yes(struct look *l, const struct store_row *row)
{
    struct row fields;
    return !row->record.deleted &&
           row_decode(row->record.value, row->record.value_len, &fields) == 0 &&
           (row->record.kind == RECORD_TASK
                ? query_counts_task(&fields)
                : query_matches(l->interest->query, l->txn, row, &fields));
}

/* The instance that a row is, or a task runs on. */
static struct row_text instance_of(const struct store_row *row)
{
    struct row fields;
    if (row->record.kind == RECORD_INSTANCE)
        return (struct row_text){row->record.key, row->record.key_len};
    if (row->record.deleted || row_decode(row->record.value, row->record.value_len, &fields) != 0)
        return (struct row_text){NULL, 0};
    return fields.field[ROW_INSTANCE];
}

static int on_decider(void *arg, const struct store_row *row)
{
    struct look *l = arg;
    struct store_row before;
    if (l->asked++ == ASKED_MAX)
        return l->news = true;
    bool had = store_before(l->txn, row->index, &before) == 0;
    if (had && says_yes(l, &before) == says_yes(l, row))
        return 0;
    if (!had && l->kept && !says_yes(l, row)) /* a new one, of no consequence */
        return 0;
    int err = turned(l, instance_of(row->record.deleted && had ? &before : row));
    return err != 0 ? err : l->news;
}

/* One that changed more than once is looked at as it was each time. */
static int on_decider_before(void *arg, const struct store_row *before)
{
    struct look *l = arg;
    struct store_row now;
    const struct record *rec = &before->record;
    if (l->asked++ == ASKED_MAX)
        l->news = true;
    else if (store_get_ref(l->txn, rec->kind, rec->key, rec->key_len, &now) != 0 ||
             says_yes(l, before) != says_yes(l, &now)) {
        int err = turned(l, instance_of(before));
        if (err != 0)
            return err;
    }
    return l->news;
}

static int look_at_deciders(struct look *l, uint8_t kind, uint64_t seen)
{
    l->kept = true;
    int err = store_replaced(l->txn, kind, seen, on_decider_before, l);
    if (err == ERR_VERSION) {
        l->kept = false;
        err = 0;
    }
    return err != 0 || l->news ? err : store_changes(l->txn, kind, seen + 1, on_decider, l);
}

static int look_at_rows(struct look *l, uint64_t seen)
{
    const struct interest *i = l->interest;
    int err = i->filter == NULL ? 0 : store_replaced(l->txn, i->kind, seen, on_replaced, l);
    if (err == ERR_VERSION) {
        l->kept = false;
        err = 0;
    }
    return err != 0 || l->news ? err : store_changes(l->txn, i->kind, seen + 1, on_change, l);
}

bool interest_has_news(struct store *s, const struct interest *i, uint64_t *seen)
{
    struct look l = {.interest = i, .kept = true};
    uint32_t kinds = interest_kinds(i);
    if (store_read_begin(s, &l.txn) != 0)
        return true;
    if (i->query != NULL)
        query_forget(i->query);
    int err = look_at_rows(&l, *seen);
    bool by_groups =
        i->query != NULL && (query_kinds(i->query, RECORD_INSTANCE) & 1u << RECORD_TASK) != 0;
    if (err == 0 && !l.news && i->query != NULL && i->kind == RECORD_TASK)
        err = look_at_deciders(&l, RECORD_INSTANCE, *seen);
    if (err == 0 && !l.news && by_groups)
        err = look_at_deciders(&l, RECORD_TASK, *seen);
    if (err == 0 && !l.news)
        *seen = store_kinds_index(s, l.txn, kinds);
    store_read_end(l.txn);
    return err != 0 || l.news;
}
