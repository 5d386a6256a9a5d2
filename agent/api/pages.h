/* SPDX-License-Identifier: Apache-2.0
 * Snapshots kept between the pages of one list, so that all pages are of one moment. A snapshot
 * keeps every page of the database that changed since, so they are few and given up early: after
 * PAGES_KEPT_MS, after PAGES_CHANGES_MAX changes, when the database's file has grown by
 * PAGES_GROWTH_MAX, or for a newer one. */
#ifndef BLOX_AGENT_API_PAGES_H
#define BLOX_AGENT_API_PAGES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"

#define PAGES_KEPT 16
#define PAGES_KEPT_MS 300000u
#define PAGES_CHANGES_MAX 20000u
#define PAGES_GROWTH_MAX (256u << 20)
#define PAGES_TICK_MS 250 /* so often they are looked at */

struct pages_slot {
    uint64_t id; /* 0: free */
    struct store_txn *txn;
    uint64_t began_ms;
    uint64_t index; /* the store's when it was taken */
    uint64_t bytes; /* of its file, then */
    bool busy;      /* a page is being read */
};

struct pages {
    struct store *store;
    pthread_mutex_t lock;
    uint64_t next_id;
    struct pages_slot slots[PAGES_KEPT];
};

int pages_init(struct pages *p, struct store *store) MUST_CHECK;
/* All requests are over. */
void pages_fini(struct pages *p);
/* Every PAGES_TICK_MS while any is kept: gives up what is too old. True: some are left. */
bool pages_tick(struct pages *p);

/* A new snapshot's number, to be kept with it. */
uint64_t pages_number(struct pages *p);
/* The snapshot of that number, for this caller alone until pages_keep(). ERR_NOTFOUND: given up.
 * ERR_BUSY: another request reads it. */
int pages_take(struct pages *p, uint64_t id, struct store_txn **ret) MUST_CHECK;
/* Takes txn over, for the next page. */
void pages_keep(struct pages *p, uint64_t id, struct store_txn *txn);

#endif
