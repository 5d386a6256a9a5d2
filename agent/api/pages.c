/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/pages.h"

#include <string.h>
#include <sys/random.h>

#include "agent/base/clock.h"

int pages_init(struct pages *p, struct store *store)
{
    memset(p, 0, sizeof *p);
    p->store = store;
    /* Numbers of another life of the agent are not this one's. */
    if (getrandom(&p->next_id, sizeof p->next_id, 0) != sizeof p->next_id)
        p->next_id = clock_mono_ns();
    return pthread_mutex_init(&p->lock, NULL) == 0 ? 0 : ERR_NOMEM;
}

static void give_up(struct pages_slot *slot)
{
    if (slot->txn != NULL)
        store_read_end(slot->txn);
    *slot = (struct pages_slot){.id = 0};
}

void pages_fini(struct pages *p)
{
    for (size_t i = 0; i < PAGES_KEPT; i++)
        if (!p->slots[i].busy)
            give_up(&p->slots[i]);
    pthread_mutex_destroy(&p->lock);
}

static bool is_over(const struct pages *p, const struct pages_slot *slot, uint64_t now_ms)
{
    return now_ms - slot->began_ms > PAGES_KEPT_MS ||
           store_index(p->store, 0) - slot->index > PAGES_CHANGES_MAX ||
           store_state_bytes(p->store) > slot->bytes + PAGES_GROWTH_MAX;
}

bool pages_tick(struct pages *p)
{
    bool any = false;
    uint64_t now_ms = clock_mono_ms();
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < PAGES_KEPT; i++) {
        if (p->slots[i].id != 0 && !p->slots[i].busy && is_over(p, &p->slots[i], now_ms))
            give_up(&p->slots[i]);
        any = any || p->slots[i].id != 0;
    }
    pthread_mutex_unlock(&p->lock);
    return any;
}

uint64_t pages_number(struct pages *p)
{
    pthread_mutex_lock(&p->lock);
    uint64_t id = ++p->next_id == 0 ? ++p->next_id : p->next_id;
    pthread_mutex_unlock(&p->lock);
    return id;
}

static struct pages_slot *find(struct pages *p, uint64_t id)
{
    for (size_t i = 0; i < PAGES_KEPT; i++)
        if (p->slots[i].id == id)
            return &p->slots[i];
    return NULL;
}

int pages_take(struct pages *p, uint64_t id, struct store_txn **ret)
{
    int err = ERR_NOTFOUND;
    pthread_mutex_lock(&p->lock);
    struct pages_slot *slot = id == 0 ? NULL : find(p, id);
    if (slot != NULL && slot->busy) {
        err = ERR_BUSY;
    } else if (slot != NULL && is_over(p, slot, clock_mono_ms())) {
        give_up(slot);
    } else if (slot != NULL) {
        *ret = slot->txn;
        slot->txn = NULL;
        slot->busy = true;
        err = 0;
    }
    pthread_mutex_unlock(&p->lock);
    return err;
}

/* A free one, or the oldest that nobody reads. */
static struct pages_slot *find_place(struct pages *p)
{
    struct pages_slot *oldest = NULL;
    for (size_t i = 0; i < PAGES_KEPT; i++) {
        struct pages_slot *slot = &p->slots[i];
        if (slot->id == 0)
            return slot;
        if (!slot->busy && (oldest == NULL || slot->began_ms < oldest->began_ms))
            oldest = slot;
    }
    return oldest;
}

void pages_keep(struct pages *p, uint64_t id, struct store_txn *txn)
{
    pthread_mutex_lock(&p->lock);
    struct pages_slot *slot = find(p, id);
    if (slot != NULL) {
        slot->txn = txn;
        slot->busy = false;
        txn = NULL;
    } else if ((slot = find_place(p)) != NULL) {
        give_up(slot);
        *slot = (struct pages_slot){.id = id,
                                    .txn = txn,
                                    .began_ms = clock_mono_ms(),
                                    .index = store_txn_index(txn, 0),
                                    .bytes = store_state_bytes(p->store)};
        txn = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    if (txn != NULL)
        store_read_end(txn); /* all are being read: the next page will not be found */
}
