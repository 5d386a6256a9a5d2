/* SPDX-License-Identifier: Apache-2.0
 * Order matters: a row is durable in this agent's store before a peer or the scheduler
 * hears of it, so nothing that was told can be lost by this agent. */
#include "agent/rows/rows.h"

#include <stdlib.h>

#include "agent/base/ensure.h"
#include "agent/base/log.h"
#include "gossip/records.h"

#define LISTENERS_MAX 8

struct listener {
    rows_listen_fn fn;
    void *arg;
};

struct rows {
    struct store *store;
    struct records *records;
    struct listener listeners[LISTENERS_MAX];
    size_t listener_count;
};

/* One batch on its way through the store. */
struct batch {
    struct rows *rows;
    store_apply_fn done;
    void *arg;
    size_t count;
    bool from_peers;
};

int rows_create(struct rows **ret, struct store *store)
{
    struct rows *r = calloc(1, sizeof *r);
    if (r == NULL)
        return ERR_NOMEM;
    r->store = store;
    *ret = r;
    return 0;
}

void rows_destroy(struct rows *r)
{
    free(r);
}

void rows_set_gossip(struct rows *r, struct records *records)
{
    r->records = records;
}

void rows_listen(struct rows *r, rows_listen_fn fn, void *arg)
{
    ENSURE(r->listener_count < LISTENERS_MAX);
    r->listeners[r->listener_count++] = (struct listener){fn, arg};
}

static void hand_to_gossip(struct rows *r, const struct record *records,
                           const struct store_change *changes, size_t count, bool from_peers)
{
    struct records_change *list = calloc(count, sizeof *list);
    if (list == NULL) {
        /* Anti-entropy will bring them to the others. */
        LOG(LOG_WARN, "rows_not_pushed", "out of memory: left to repair", LU("rows", count));
        return;
    }
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct records_change){
            .record = &records[i],
            .applied = changes[i].applied,
            .existed = changes[i].existed,
            .before = changes[i].before,
            .key_hash = changes[i].key_hash,
        };
    }
    records_stored(r->records, list, count, from_peers);
    free(list);
}

static void on_stored(void *arg, int err, const struct record *records,
                      const struct store_change *changes, size_t count)
{
    struct batch b = *(struct batch *)arg;
    free(arg);
    if (err == 0 || count > 0) { /* of a long batch some may be stored */
        if (b.rows->records != NULL)
            hand_to_gossip(b.rows, records, changes, count, b.from_peers);
        for (size_t i = 0; i < b.rows->listener_count; i++)
            b.rows->listeners[i].fn(b.rows->listeners[i].arg, records, changes, count,
                                    b.from_peers);
    }
    if (err != 0)
        LOG(LOG_ERROR, "rows_refused", "the store refused rows; they will come again",
            LS("why", err_text(err)), LU("rows", b.count - count));
    if (b.done != NULL)
        b.done(b.arg, err, records, changes, count);
}

static int apply(struct rows *r, const struct record *records, size_t count, store_apply_fn done,
                 void *arg, bool from_peers)
{
    struct batch *b = malloc(sizeof *b);
    if (b == NULL)
        return ERR_NOMEM;
    *b = (struct batch){
        .rows = r, .done = done, .arg = arg, .count = count, .from_peers = from_peers};
    int err = store_apply(r->store, records, count, on_stored, b);
    if (err != 0)
        free(b);
    return err;
}

int rows_apply(struct rows *r, const struct record *records, size_t count, store_apply_fn done,
               void *arg)
{
    return apply(r, records, count, done, arg, false);
}

int rows_apply_from_peers(struct rows *r, const struct record *records, size_t count)
{
    return apply(r, records, count, NULL, NULL, true);
}
