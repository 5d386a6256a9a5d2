/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/marks_uv.h"

#include <stdlib.h>
#include <string.h>

#define CAP_MIN 256u

static uint32_t mark_of(const struct swim_member *m)
{
    return seal_mark((struct seal_peer){m->m.num, m->epoch});
}

static bool build(struct marks *k, const struct swim *s)
{
    uint32_t cap = k->slot == NULL ? CAP_MIN : k->mask + 1;
    while (cap < 2 * s->count)
        cap *= 2;
    if (k->slot == NULL || cap > k->mask + 1) {
        uint32_t *slot = realloc(k->slot, cap * sizeof *slot);
        if (slot == NULL)
            return false;
        k->slot = slot;
        k->mask = cap - 1;
    }
    memset(k->slot, 0, cap * sizeof *k->slot);
    for (uint32_t i = 0; i < s->count; i++) {
        const struct swim_member *m = swim_nth(s, i);
        uint32_t at = mark_of(m) & k->mask;
        while (k->slot[at] != 0)
            at = (at + 1) & k->mask;
        k->slot[at] = m->slot + 1;
    }
    k->lives = s->lives;
    return true;
}

/* What the table says is looked at again: it may be of before a change. */
static const struct swim_member *look(const struct marks *k, const struct swim *s, uint32_t mark,
                                      unsigned nth)
{
    if (k->slot == NULL)
        return NULL;
    for (uint32_t at = mark & k->mask; k->slot[at] != 0; at = (at + 1) & k->mask) {
        const struct swim_member *m = &s->slot[k->slot[at] - 1];
        if (m->m.num != 0 && mark_of(m) == mark && nth-- == 0)
            return m;
    }
    return NULL;
}

const struct swim_member *marks_find(struct marks *k, const struct swim *s, uint32_t mark,
                                     unsigned nth)
{
    const struct swim_member *m = look(k, s, mark, nth);
    if (m != NULL || (k->slot != NULL && k->lives == s->lives) || !build(k, s))
        return m;
    return look(k, s, mark, nth);
}

void marks_fini(struct marks *k)
{
    free(k->slot);
    *k = (struct marks){0};
}
