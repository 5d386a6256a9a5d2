/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/peers.h"

#include "agent/base/ensure.h"
#include "agent/base/hash.h"

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

static bool differ(uint32_t zone, uint32_t other)
{
    return zone != 0 && other != 0 && zone != other;
}

bool peers_is_far(const struct peers *p, uint64_t num)
{
    size_t at = peers_lower_bound(p, num);
    return p->zones != NULL && at < p->count && p->nums[at] == num &&
           differ(p->zones[at], p->zones[p->self]);
}

uint32_t peers_zone(const char *name)
{
    uint32_t hash = (uint32_t)hash_str(name);
    return name[0] == '\0' ? 0 : hash == 0 ? 1 : hash;
}

void peers_group(struct peers *p, uint32_t *index)
{
    uint32_t zones[PEERS_ZONES_MAX];
    uint32_t sizes[PEERS_ZONES_MAX] = {0};
    uint32_t at[PEERS_ZONES_MAX];
    p->by_zone = index;
    p->zone_count = 0;
    if (p->zones == NULL)
        return;
    uint32_t n = 0;
    for (size_t i = 0; i < p->count; i++) {
        uint32_t z = 0;
        while (z < n && zones[z] != p->zones[i])
            z++;
        if (z == PEERS_ZONES_MAX)
            return;
        if (z == n)
            zones[n++] = p->zones[i];
        sizes[z]++;
    }
    p->zone_first[0] = 0;
    for (uint32_t z = 0; z < n; z++) {
        at[z] = p->zone_first[z];
        p->zone_first[z + 1] = p->zone_first[z] + sizes[z];
    }
    for (size_t i = 0; i < p->count; i++) {
        uint32_t z = 0;
        while (zones[z] != p->zones[i])
            z++;
        index[at[z]++] = (uint32_t)i;
    }
    p->zone_count = n;
}

/* ---- trees ------------------------------------------------------------------------- */

/* One message's tree laid over the member list. */
struct layout {
    const struct peers *peers;
    const struct tree *tree;
    size_t origin; /* its index, or where it would be */
    bool present;  /* the origin is among the members */
};

/* The members of one zone, or all, as the tree sees them. */
struct ring {
    const uint32_t *index; /* NULL: all */
    size_t members;
    size_t first; /* the first that stands on it */
    size_t places;
    size_t turn; /* places that this tree is turned by */
    uint8_t root_fanout;
    bool is_origins; /* the origin would be on it */
};

static bool by_zones(const struct peers *p)
{
    return p->zone_count > 1;
}

/* Members of the ring before that index. */
static size_t rank_of(const struct ring *r, size_t index)
{
    if (r->index == NULL)
        return index;
    size_t low = 0;
    size_t high = r->members;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (r->index[mid] < index)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static uint32_t zone_of(const struct peers *p, size_t index)
{
    uint32_t z = 0;
    while (by_zones(p) && p->zones[p->by_zone[p->zone_first[z]]] != p->zones[index])
        z++;
    return z;
}

static struct ring zone_ring(const struct peers *p, uint32_t zone)
{
    if (!by_zones(p))
        return (struct ring){.members = p->count};
    return (struct ring){.index = p->by_zone + p->zone_first[zone],
                         .members = p->zone_first[zone + 1] - p->zone_first[zone]};
}

static struct ring ring_of(const struct layout *l, uint32_t zone)
{
    const struct peers *p = l->peers;
    struct ring r = zone_ring(p, zone);
    r.is_origins = !by_zones(p) || (l->present && zone == zone_of(p, l->origin));
    bool holds = r.is_origins && l->present;
    r.first = rank_of(&r, l->origin) + holds;
    r.places = r.members - holds;
    r.turn = r.places * l->tree->turn / PEERS_TURNS;
    r.root_fanout = r.is_origins ? l->tree->root_fanout : 1;
    return r;
}

static size_t index_of(const struct ring *r, size_t position)
{
    size_t place = (position - 1 + r->turn) % r->places;
    size_t at = (r->first + place) % r->members;
    return r->index == NULL ? at : r->index[at];
}

static size_t position_of(const struct ring *r, size_t index)
{
    size_t place = (rank_of(r, index) + r->members - r->first % r->members) % r->members;
    return (place + r->places - r->turn) % r->places + 1;
}

static bool sends_to_zones(const struct layout *l, const struct ring *r, size_t position)
{
    if (!by_zones(l->peers) || !l->present || !r->is_origins)
        return false;
    return position == (r->root_fanout > 1 || r->places == 0 ? 0 : 1);
}

static size_t add_below(const struct layout *l, const struct ring *r, size_t position, bool deeper,
                        uint64_t *out, size_t n);

static size_t add_member(const struct layout *l, const struct ring *r, size_t position, bool deeper,
                         uint64_t *out, size_t n)
{
    size_t index = index_of(r, position);
    if (n == PEERS_CHILDREN_MAX || index == l->peers->self)
        return n;
    out[n++] = l->peers->nums[index];
    if (deeper && l->peers->shaky != NULL && l->peers->shaky[index] != 0)
        n = add_below(l, r, position, false, out, n);
    return n;
}

static size_t add_below(const struct layout *l, const struct ring *r, size_t position, bool deeper,
                        uint64_t *out, size_t n)
{
    if (sends_to_zones(l, r, position)) {
        for (uint32_t z = 0; z < l->peers->zone_count; z++) {
            struct ring other = ring_of(l, z);
            if (!other.is_origins)
                n = add_member(l, &other, 1, deeper, out, n);
        }
    }
    size_t fan = position == 0 ? r->root_fanout : l->tree->fanout;
    size_t child = position == 0 ? 1 : r->root_fanout + (position - 1) * l->tree->fanout + 1;
    for (size_t i = 0; i < fan && child + i <= r->places; i++)
        n = add_member(l, r, child + i, deeper, out, n);
    return n;
}

size_t peers_children(const struct peers *p, const struct tree *tree,
                      uint64_t out[PEERS_CHILDREN_MAX])
{
    ENSURE(tree->turn < PEERS_TURNS);
    ENSURE(tree->root_fanout >= 1);
    if (p->count < 2)
        return 0;
    size_t at = peers_lower_bound(p, tree->origin);
    struct layout l = {.peers = p,
                       .tree = tree,
                       .origin = at,
                       .present = at < p->count && p->nums[at] == tree->origin};
    struct ring own = ring_of(&l, zone_of(p, p->self));
    bool is_root = p->nums[p->self] == tree->origin;
    return add_below(&l, &own, is_root ? 0 : position_of(&own, p->self), true, out, 0);
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

static uint64_t step_of(uint32_t part, size_t others)
{
    return 1 + (uint64_t)part * others / (UINT64_C(1) << 32);
}

uint64_t peers_at_part(const struct peers *p, uint32_t part, bool near)
{
    if (p->count < 2)
        return 0;
    struct ring r = zone_ring(p, zone_of(p, p->self));
    if (!near || r.index == NULL || r.members == 1)
        return peers_at_step(p, step_of(part, p->count - 1));
    size_t at = rank_of(&r, p->self) + step_of(part, r.members - 1);
    return p->nums[r.index[at % r.members]];
}
