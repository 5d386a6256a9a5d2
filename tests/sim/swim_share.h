/* SPDX-License-Identifier: Apache-2.0
 * Memory of simulated members: how the swim core reaches a slot when it is compiled for the
 * simulator. A hundred thousand tables of a hundred thousand slots fit no machine, but in a formed
 * cluster they are almost the same: all share one image, and each keeps the slots in which it
 * differs. What members say of themselves (cards) exists once for all. The core's code is the one
 * that ships; every member's view is whole. */
#ifndef BLOX_TESTS_SIM_SWIM_SHARE_H
#define BLOX_TESTS_SIM_SWIM_SHARE_H

#include "gossip/swim.h"

struct share_own {
    struct swim_member *m; /* NULL: free */
    uint32_t slot;
};

struct share {
    struct swim s;
    bool shared;           /* slots and lists are the image's, but for those in own */
    uint32_t mask, count;  /* of own */
    struct share_own *own; /* by slot, linear probing */
    uint32_t failed_room;
};

static inline const struct swim_member *swim_look(const struct swim *s, uint32_t slot)
{
    const struct share *x = (const struct share *)s;
    if (!x->shared)
        return &s->slot[slot];
    uint32_t i = slot & x->mask;
    while (x->own[i].m != NULL && x->own[i].slot != slot)
        i = (i + 1) & x->mask;
    return x->own[i].m != NULL ? x->own[i].m : &s->slot[slot];
}

struct swim_member *share_own(struct share *x, uint32_t slot);
static inline struct swim_member *swim_at(struct swim *s, uint32_t slot)
{
    struct share *x = (struct share *)s;
    return x->shared ? share_own(x, slot) : &s->slot[slot];
}

void swim_lay(struct swim *s, uint32_t members);
void swim_own_lists(struct swim *s);
void swim_failed_room(struct swim *s);
const struct swim_card *swim_keep_card(struct swim *s, uint32_t slot, const struct swim_card *card);
struct swim_doubt *swim_take_doubt(struct swim *s);
void swim_give_doubt(struct swim *s, struct swim_doubt *d);

struct swim *share_new(void);                      /* for swim_init() */
struct swim *share_copy(const struct swim *image); /* of one that nobody changes any more */
void share_settle(struct swim *s);                 /* between two steps */
void share_free(struct swim *s);
void share_reset(void); /* all are freed: cards go, too */

#endif
