/* SPDX-License-Identifier: Apache-2.0
 * Which of a member's addresses is used. Nobody's word counts for it, and no packet's source: the
 * one that is used has answered a ping that went there, or the member named it first. A ping that
 * finds no answer is sent once more and to another address beside; if only that one answers, it is
 * used from then on.
 *
 * A member probes few others, but speaks to all. Where probe after probe finds one family of
 * addresses silent and the other not, it is our own network that is gone: the other family is
 * preferred for everybody, and our own word names it first, so that everybody does the same. */
#include <string.h>

#include "gossip/swim_int.h"

static uint8_t family_of(const struct swim_member *m, uint8_t at)
{
    return m->m.addrs->at[at].family;
}

static bool may_use(const struct swim *s, const struct swim_member *m, uint8_t at)
{
    return s->ipv6 || family_of(m, at) != 6;
}

uint8_t swim_usable(const struct swim *s, const struct swim_member *m)
{
    uint8_t set = 0;
    for (uint8_t i = 0; i < m->m.addrs->count; i++)
        if (may_use(s, m, i))
            set |= (uint8_t)(1u << i);
    return set != 0 ? set : 1;
}

uint8_t swim_other_address(const struct swim *s, const struct swim_member *m, uint8_t after,
                           uint8_t except)
{
    uint8_t set = swim_usable(s, m);
    for (uint8_t i = 1; i <= GOSSIP_ADDRS_MAX; i++) {
        uint8_t at = (uint8_t)((after + i) % GOSSIP_ADDRS_MAX);
        if ((set >> at & 1) != 0 && at != except)
            return at;
    }
    return except;
}

static void use(struct swim *s, struct swim_member *m, uint8_t at)
{
    m->m.using = at;
    /* What its open probes find out is about the addresses that it had. */
    for (unsigned i = 0; i < s->probes_used; i++) {
        struct swim_probe *p = &s->probe[i];
        if (p->slot != m->slot)
            continue;
        p->found = 0;
        p->readdressed = true;
    }
}

/* The first that we can use; of the preferred family, if there is one. */
static uint8_t first_of(const struct swim *s, const struct swim_member *m, uint8_t family)
{
    uint8_t set = swim_usable(s, m), first = GOSSIP_ADDRS_MAX;
    for (uint8_t i = 0; i < m->m.addrs->count; i++) {
        if ((set >> i & 1) != 0 && family_of(m, i) == family)
            return i;
        if ((set >> i & 1) != 0 && first == GOSSIP_ADDRS_MAX)
            first = i;
    }
    return first;
}

void swim_new_addresses(struct swim *s, struct swim_member *m, const struct gossip_addrs *before)
{
    bool reordered = before != NULL && before->count == m->m.addrs->count;
    for (uint8_t i = 0; reordered && i < before->count; i++)
        reordered = addr_find(m->m.addrs, &before->at[i]) >= 0;
    /* Who puts another first has lost the network of the one before: that outweighs our wish. */
    use(s, m, first_of(s, m, reordered ? 0 : s->family));
}

/* ---- the family ---- */

/* The first of the family comes first; the others keep their order. */
static bool put_first(struct gossip_addrs *list, uint8_t family)
{
    uint8_t at = 0;
    while (at < list->count && list->at[at].family != family)
        at++;
    if (at == 0 || at == list->count)
        return false;
    struct gossip_addr first = list->at[at];
    memmove(&list->at[1], &list->at[0], at * sizeof list->at[0]);
    list->at[0] = first;
    return true;
}

static void prefer(struct swim *s, uint64_t now_ms, uint8_t family)
{
    struct swim_member *me = swim_me(s);
    struct swim_card card = *me->card;
    s->family = family;
    s->preferred_ms = now_ms;
    s->silent_family = s->silent = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct swim_member *m = swim_look(s, s->order[i]);
        if (!m->m.self && family_of(m, m->m.using) != family)
            use(s, swim_at(s, m->slot), first_of(s, m, family));
    }
    swim_mark_dirty(s, me, SWIM_CAUSE_META, 0);
    if (!put_first(&card.addrs, family) || s->leaving_ms != 0)
        return;
    swim_set_card(s, me, &card);
    swim_raise(s, now_ms, me->m.incarnation + 1);
}

void swim_address_answered(struct swim *s, const struct swim_member *m, uint8_t at)
{
    if (family_of(m, at) == s->silent_family)
        s->silent_family = s->silent = 0;
}

void swim_readdress(struct swim *s, uint64_t now_ms, struct swim_member *m, uint8_t at)
{
    uint8_t before = family_of(m, m->m.using), now = family_of(m, at);
    m->m.using = at;
    swim_mark_dirty(s, m, SWIM_CAUSE_ADDRESS, 0);
    if (before == now)
        return;
    if (before != s->silent_family)
        s->silent = 0;
    s->silent_family = before;
    if (++s->silent >= SWIM_SILENT_FAMILY &&
        (s->preferred_ms == 0 || now_ms - s->preferred_ms >= SWIM_PREFER_MS))
        prefer(s, now_ms, now);
}
