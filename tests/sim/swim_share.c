/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/swim_share.h"

#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/wire.h"
#include "tests/sim/grab.h"

#define CHUNK 256u /* things that are taken from the heap at once */

/* ---- things of one size ---- */

struct pool {
    void *free; /* a list through the first bytes of each */
    void **chunk;
    size_t size;
    uint32_t chunks, used; /* of the last */
};

static struct pool members = {.size = sizeof(struct swim_member)};
static struct pool doubts = {.size = sizeof(struct swim_doubt)};
static struct pool cards = {.size = sizeof(struct swim_card)};

static void *take(struct pool *p)
{
    if (p->free != NULL) {
        void *at = p->free;
        memcpy(&p->free, at, sizeof p->free);
        return at;
    }
    if (p->chunks == 0 || p->used == CHUNK) {
        p->chunk = grab_more(p->chunk, p->chunks + 1, sizeof *p->chunk);
        p->chunk[p->chunks++] = grab(CHUNK, p->size);
        p->used = 0;
    }
    return (uint8_t *)p->chunk[p->chunks - 1] + p->size * p->used++;
}

static void give(struct pool *p, void *at)
{
    memcpy(at, &p->free, sizeof p->free);
    p->free = at;
}

static void pool_reset(struct pool *p)
{
    while (p->chunks > 0)
        free(p->chunk[--p->chunks]);
    free(p->chunk);
    *p = (struct pool){.size = p->size};
}

struct swim_doubt *swim_take_doubt(struct swim *s)
{
    (void)s;
    return take(&doubts);
}

void swim_give_doubt(struct swim *s, struct swim_doubt *d)
{
    (void)s;
    give(&doubts, d);
}

/* ---- cards ---- */

static const struct swim_card **card_index;
static uint32_t card_mask, card_count;

static bool same_card(const struct swim_card *a, const struct swim_card *b)
{
    return memcmp(a->sig, b->sig, sizeof a->sig) == 0 && a->epoch == b->epoch &&
           memcmp(a->key, b->key, sizeof a->key) == 0 && memcmp(a->id, b->id, sizeof a->id) == 0 &&
           addr_equal_all(&a->addrs, &b->addrs) && memcmp(&a->meta, &b->meta, sizeof a->meta) == 0;
}

static const struct swim_card **card_place(const struct swim_card *c)
{
    uint64_t sig;
    memcpy(&sig, c->sig, sizeof sig);
    uint32_t i = (uint32_t)hash_mix(sig ^ hash_mix(c->epoch ^ hash_str(c->id))) & card_mask;
    while (card_index[i] != NULL && !same_card(card_index[i], c))
        i = (i + 1) & card_mask;
    return &card_index[i];
}

static void grow_index(void)
{
    const struct swim_card **old = card_index;
    uint32_t old_size = card_index == NULL ? 0 : card_mask + 1;
    card_mask = card_index == NULL ? 1023 : card_mask * 2 + 1;
    card_index = grab(card_mask + 1, sizeof *card_index);
    for (uint32_t i = 0; i < old_size; i++)
        if (old[i] != NULL)
            *card_place(old[i]) = old[i];
    free(old);
}

const struct swim_card *swim_keep_card(struct swim *s, uint32_t slot, const struct swim_card *card)
{
    (void)s;
    (void)slot;
    if (card_index == NULL || card_count > card_mask / 2)
        grow_index();
    const struct swim_card **at = card_place(card);
    if (*at == NULL) {
        struct swim_card *c = take(&cards);
        *c = *card;
        *at = c;
        card_count++;
    }
    return *at;
}

/* ---- tables ---- */

static uint32_t table_size(uint32_t of)
{
    uint32_t size = 16;
    while (size < 2 * of)
        size *= 2;
    return size;
}

static void lay(struct swim *s, uint32_t room)
{
    s->members = room;
    s->table_mask = table_size(room) - 1;
    s->slot = grab(room, sizeof *s->slot);
    s->order = grab(room, sizeof *s->order);
    s->table = grab(s->table_mask + 1, sizeof *s->table);
}

void swim_lay(struct swim *s, uint32_t room)
{
    lay(s, room);
    s->free_head = SWIM_NONE;
}

void swim_failed_room(struct swim *s)
{
    struct share *x = (struct share *)s;
    if (s->failed < x->failed_room)
        return;
    x->failed_room = x->failed_room == 0 ? 16 : x->failed_room * 2;
    s->failed_list = grab_more(s->failed_list, x->failed_room, sizeof *s->failed_list);
}

static void put_own(struct share *x, struct swim_member *m)
{
    uint32_t i = m->slot & x->mask;
    while (x->own[i].m != NULL)
        i = (i + 1) & x->mask;
    x->own[i] = (struct share_own){m, m->slot};
}

struct swim_member *share_own(struct share *x, uint32_t slot)
{
    struct swim_member *m = (struct swim_member *)(uintptr_t)swim_look(&x->s, slot);
    if (m != &x->s.slot[slot])
        return m;
    if (2 * (x->count + 1) > x->mask) {
        struct share_own *old = x->own;
        uint32_t size = x->mask + 1;
        x->mask = x->mask * 2 + 1;
        x->own = grab(x->mask + 1, sizeof *x->own);
        for (uint32_t i = 0; i < size; i++)
            if (old[i].m != NULL)
                put_own(x, old[i].m);
        free(old);
    }
    m = take(&members);
    *m = x->s.slot[slot];
    put_own(x, m);
    x->count++;
    return m;
}

static void give_own(struct share *x)
{
    for (uint32_t i = 0; x->own != NULL && i <= x->mask; i++)
        if (x->own[i].m != NULL)
            give(&members, x->own[i].m);
    free(x->own);
    x->own = NULL;
}

/* From here on its table is its own. */
static void part(struct share *x)
{
    const struct swim image = x->s;
    lay(&x->s, image.members);
    memcpy(x->s.order, image.order, image.count * sizeof *image.order);
    memcpy(x->s.table, image.table, (image.table_mask + UINT64_C(1)) * sizeof *image.table);
    memcpy(x->s.slot, image.slot, image.free_from * sizeof *image.slot);
    for (uint32_t i = 0; i <= x->mask; i++)
        if (x->own[i].m != NULL)
            x->s.slot[x->own[i].slot] = *x->own[i].m;
    give_own(x);
    x->shared = false;
}

/* The core keeps no pointer to a slot over this. */
void swim_own_lists(struct swim *s)
{
    struct share *x = (struct share *)s;
    if (x->shared)
        part(x);
}

void share_settle(struct swim *s)
{
    struct share *x = (struct share *)s;
    if (x->shared && x->count > s->count / 2 && s->count > 64)
        part(x);
}

struct swim *share_new(void)
{
    struct share *x = grab(1, sizeof *x);
    return &x->s;
}

struct swim *share_copy(const struct swim *image)
{
    struct share *x = grab(1, sizeof *x);
    ENSURE(image->doubts == NULL && image->dirty.count == 0);
    x->s = *image;
    x->shared = true;
    x->mask = 15;
    x->own = grab(x->mask + 1, sizeof *x->own);
    return &x->s;
}

void share_free(struct swim *s)
{
    struct share *x = (struct share *)s;
    while (s->doubts != NULL) {
        struct swim_doubt *d = s->doubts;
        s->doubts = d->next;
        give(&doubts, d);
    }
    if (x->shared) {
        give_own(x);
    } else {
        free(s->slot);
        free(s->order);
        free(s->table);
    }
    free(s->failed_list);
    free(x);
}

void share_reset(void)
{
    pool_reset(&members);
    pool_reset(&doubts);
    pool_reset(&cards);
    free(card_index);
    card_index = NULL;
    card_mask = card_count = 0;
}
