/* SPDX-License-Identifier: Apache-2.0
 * Applied intent -> rows. It is copied to the observed side so that every agent, voter or not, can
 * read it from its own store; its version is (term, index), so voters applying it in parallel
 * agree. A copy that the store refuses is held and offered again until it is stored: nothing else
 * would bring it before the next leader comes.
 *
 * The leader of each term compares all of it: what the rows lack is offered, and rows of intent
 * that is gone (brought back by an agent that was away longer than tombstones are kept) are buried
 * with the version of the last applied entry. */
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define AGAIN_MS 1000
#define BATCH 64
#define HELD_MAX 256 /* batches; beyond, the leader's comparison has to bring them */

/* Rows on their way; everything is a copy behind the struct. */
struct offer {
    struct list link; /* in agent.offers */
    struct agent *agent;
    uint64_t number; /* in order of agent.offers */
    bool posted;
    size_t count;
    struct record records[];
};

static bool is_told(const struct store_log_intent *row)
{
    /* Idempotency keys stay with the voters. */
    return row->kind == RECORD_ENVIRONMENT || row->kind == RECORD_DEPLOYMENT;
}

static struct record record_of(const struct store_log_intent *row)
{
    return (struct record){
        .kind = row->kind,
        .source = SOURCE_INTENT,
        .deleted = row->deleted,
        .key = row->key,
        .key_len = row->key_len,
        .value = row->value,
        .value_len = row->deleted ? 0 : row->value_len,
        .version = row->version,
        .observed_unix_ms = clock_unix_ms(),
        .term = row->version.hi,
    };
}

static struct offer *copy(struct agent *a, const struct record *records, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += (size_t)records[i].key_len + records[i].value_len;
    struct offer *o = malloc(sizeof *o + count * sizeof *records + bytes + 1);
    if (o == NULL)
        return NULL;
    char *at = (char *)&o->records[count];
    list_init(&o->link);
    o->agent = a;
    o->posted = false;
    o->count = count;
    for (size_t i = 0; i < count; i++) {
        o->records[i] = records[i];
        o->records[i].key = memcpy(at, records[i].key, records[i].key_len);
        at += records[i].key_len;
        if (records[i].value_len > 0)
            o->records[i].value = memcpy(at, records[i].value, records[i].value_len);
        at += records[i].value_len;
    }
    return o;
}

static void offer_free(struct offer *o)
{
    list_remove(&o->link);
    o->agent->offer_count--;
    free(o);
}

static void on_stored(void *arg, int err, const struct record *records,
                      const struct store_change *changes, size_t count)
{
    struct offer *o = arg;
    (void)records;
    (void)changes;
    (void)count;
    o->posted = false;
    if (err != 0) {
        o->agent->offers_after_ms = clock_mono_ms() + AGAIN_MS;
        return;
    }
    struct agent *a = o->agent;
    offer_free(o);
    reads_look(a);
}

static void post(struct offer *o)
{
    int err = rows_apply(o->agent->rows, o->records, o->count, on_stored, o);
    o->posted = err == 0;
    if (err == ERR_BADPARAM) {
        LOG_MSG(LOG_ERROR, "intent_not_told", "the store cannot hold such a row");
        offer_free(o);
    } else if (err != 0) {
        o->agent->offers_after_ms = clock_mono_ms() + AGAIN_MS;
    }
}

static void put(struct agent *a, const struct record *records, size_t count)
{
    struct offer *o = a->offer_count >= HELD_MAX ? NULL : copy(a, records, count);
    if (o == NULL) {
        LOG_MSG(LOG_WARN, "intent_not_told", "too much waits for the store already");
        a->compare_intent = true;
        agent_busy(a);
        return;
    }
    o->number = ++a->offers_made;
    list_push(&a->offers, &o->link);
    a->offer_count++;
    agent_busy(a);
    post(o);
}

void offers_put(struct agent *a, const struct store_log_intent *rows, size_t count)
{
    struct record batch[BATCH];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_told(&rows[i]))
            batch[n++] = record_of(&rows[i]);
        if (n == BATCH || (n > 0 && i + 1 == count)) {
            put(a, batch, n);
            n = 0;
        }
    }
}

uint64_t offers_stored(const struct agent *a)
{
    return list_is_empty(&a->offers) ? a->offers_made
                                     : LIST_OF(a->offers.next, struct offer, link)->number - 1;
}

/* ---- the leader's comparison ------------------------------------------------------------- */

struct comparison {
    struct agent *agent;
    struct store_txn *txn;
    size_t left; /* offers of this round; the rest is left to the next */
};

static void offer_one(struct comparison *c, const struct record *rec)
{
    if (c->left == 0) {
        c->agent->compare_intent = true;
        return;
    }
    c->left--;
    put(c->agent, rec, 1);
}

static int compare_applied(void *arg, const struct store_log_intent *row)
{
    struct comparison *c = arg;
    struct store_row stored;
    if (!is_told(row))
        return 0;
    if (store_get_ref(c->txn, row->kind, row->key, row->key_len, &stored) != 0 ||
        record_is_newer(row->version, stored.record.version)) {
        struct record rec = record_of(row);
        offer_one(c, &rec);
    }
    return 0;
}

/* By what is applied in memory: the log database lags behind it by what is being written. */
static bool exists(const struct intent *intent, const struct record *rec)
{
    char key[RECORD_KEY_MAX + 1];
    memcpy(key, rec->key, rec->key_len);
    key[rec->key_len] = '\0';
    if (rec->kind == RECORD_ENVIRONMENT)
        return intent_environment(intent, key) != NULL;
    char *slash = strchr(key, '/');
    if (slash == NULL)
        return true; /* not ours to judge */
    *slash = '\0';
    return intent_deployment(intent, key, slash + 1) != NULL;
}

static int compare_row(void *arg, const struct store_row *row)
{
    struct comparison *c = arg;
    struct record rec = row->record;
    if (rec.source != SOURCE_INTENT || !record_is_newer(c->agent->applied, rec.version) ||
        exists(c->agent->intent, &rec))
        return 0;
    LOG_MSG(LOG_WARN, "intent_buried", "a row of intent that no longer exists came back");
    rec.deleted = true;
    rec.value = NULL;
    rec.value_len = 0;
    rec.version = c->agent->applied;
    rec.term = rec.version.hi;
    rec.observed_unix_ms = clock_unix_ms();
    offer_one(c, &rec);
    return 0;
}

static void compare(struct agent *a)
{
    static const uint8_t kinds[] = {RECORD_ENVIRONMENT, RECORD_DEPLOYMENT};
    struct comparison c = {.agent = a, .left = HELD_MAX / 2};
    a->compare_intent = false;
    int err = store_read_begin(a->store, &c.txn);
    if (err == 0) {
        err = store_log_intent(a->store, compare_applied, &c);
        for (size_t i = 0; err == 0 && i < sizeof kinds; i++) {
            struct store_query query = {.kind = kinds[i]};
            err = store_scan(c.txn, &query, compare_row, &c);
        }
        store_read_end(c.txn);
    }
    if (err != 0) {
        LOG_MSG(LOG_WARN, "intent_unreadable", err_text(err));
        a->compare_intent = true;
        a->offers_after_ms = clock_mono_ms() + AGAIN_MS;
    }
}

void offers_tick(struct agent *a)
{
    if ((list_is_empty(&a->offers) && !a->compare_intent) || clock_mono_ms() < a->offers_after_ms)
        return;
    a->offers_after_ms = 0;
    struct list all;
    list_init(&all);
    for (struct list *node; (node = list_pop(&a->offers)) != NULL;)
        list_push(&all, node);
    for (struct list *node; (node = list_pop(&all)) != NULL;) {
        struct offer *o = LIST_OF(node, struct offer, link);
        list_push(&a->offers, node);
        if (!o->posted && a->offers_after_ms == 0)
            post(o);
    }
    if (a->compare_intent && a->role == RAFT_UV_LEADER && a->offer_count == 0)
        compare(a);
}

void offers_fini(struct agent *a)
{
    while (!list_is_empty(&a->offers))
        offer_free(LIST_OF(a->offers.next, struct offer, link));
}
