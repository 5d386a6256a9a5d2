/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/peers.h"

#include "agent/base/ensure.h"

size_t peers_lower_bound(const struct peers *p, uint64_t num)
{
    size_t low = 0;
    size_t high = p->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (p->nums[mid] < num)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool peers_has(const struct peers *p, uint64_t num)
{
    size_t at = peers_lower_bound(p, num);
    return at < p->count && p->nums[at] == num;
}

bool peers_is_far(const struct peers *p, uint64_t num)
{
    size_t at = peers_lower_bound(p, num);
    return p->far != NULL && at < p->count && p->nums[at] == num && p->far[at] != 0;
}

/* One message's tree laid over the member list. */
struct layout {
    const struct peers *peers;
    const struct tree *tree;
    size_t first;  /* index of the ring's first member */
    size_t others; /* members on the ring */
    size_t turn;   /* ring places that this tree is turned by */
};

static void layout_init(struct layout *l, const struct peers *p, const struct tree *tree)
{
    size_t at = peers_lower_bound(p, tree->origin);
    bool present = at < p->count && p->nums[at] == tree->origin;
    *l = (struct layout){.peers = p, .tree = tree};
    l->others = present ? p->count - 1 : p->count;
    l->first = present ? at + 1 : at;
    l->turn = l->others * tree->turn / PEERS_TURNS;
}

static size_t index_of(const struct layout *l, size_t position)
{
    size_t place = (position - 1 + l->turn) % l->others;
    return (l->first + place) % l->peers->count;
}

static size_t position_of(const struct layout *l, size_t index)
{
    size_t count = l->peers->count;
    size_t place = (index + count - l->first % count) % count;
    return (place + l->others - l->turn) % l->others + 1;
}

static size_t add_children(const struct layout *l, size_t position, bool deeper, uint64_t *out,
                           size_t n)
{
    size_t fan = position == 0 ? l->tree->root_fanout : l->tree->fanout;
    size_t child = position == 0 ? 1 : l->tree->root_fanout + (position - 1) * l->tree->fanout + 1;
    for (size_t i = 0; i < fan && child + i <= l->others; i++) {
        size_t index = index_of(l, child + i);
        if (n == PEERS_CHILDREN_MAX)
            return n;
        if (index == l->peers->self)
            continue;
        out[n++] = l->peers->nums[index];
        if (deeper && l->peers->shaky != NULL && l->peers->shaky[index] != 0)
            n = add_children(l, child + i, false, out, n);
    }
    return n;
}

size_t peers_children(const struct peers *p, const struct tree *tree,
                      uint64_t out[PEERS_CHILDREN_MAX])
{
    ENSURE(tree->turn < PEERS_TURNS);
    ENSURE(tree->root_fanout >= 1);
    if (p->count < 2)
        return 0;
    struct layout l;
    layout_init(&l, p, tree);
    bool is_root = p->nums[p->self] == tree->origin;
    return add_children(&l, is_root ? 0 : position_of(&l, p->self), true, out, 0);
}

size_t peers_stride(const struct peers *p, uint8_t fanout)
{
    return p->count < 3 ? 1 : (p->count - 3) / fanout + 1;
}

uint16_t peers_turn(const struct peers *p, size_t places)
{
    size_t others = p->count < 2 ? 1 : p->count - 1;
    return (uint16_t)((places % others * PEERS_TURNS + others - 1) / others % PEERS_TURNS);
}

uint64_t peers_at_step(const struct peers *p, uint64_t step)
{
    if (p->count < 2)
        return 0;
    size_t index = (p->self + (size_t)(step % p->count)) % p->count;
    return index == p->self ? 0 : p->nums[index];
}
