/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/peers.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "agent/base/prng.h"
#include "gossip/rumor.h"

#define SELF 100u

/* Members 100, 101, ... */
struct fixture {
    struct peers peers;
    uint64_t nums[5000];
    uint8_t shaky[5000];
    uint32_t zones[5000], by_zone[5000];
};

static struct fixture *make(size_t members)
{
    struct fixture *f = calloc(1, sizeof *f);
    for (size_t i = 0; i < members; i++)
        f->nums[i] = SELF + i;
    f->peers = (struct peers){.nums = f->nums, .shaky = f->shaky, .count = members};
    return f;
}

/* In so many zones, by chance. */
static void settle(struct fixture *f, uint32_t zones, struct prng *prng)
{
    for (size_t i = 0; i < f->peers.count; i++)
        f->zones[i] = (uint32_t)prng_below(prng, zones) * 1000;
    f->peers.zones = f->zones;
    peers_group(&f->peers, f->by_zone);
}

static void end(struct fixture *f)
{
    free(f);
}

static void spread(struct peers *p, const struct tree *tree, size_t at, unsigned depth,
                   unsigned *reached, unsigned *deepest)
{
    uint64_t children[PEERS_CHILDREN_MAX];
    p->self = at;
    size_t n = peers_children(p, tree, children);
    if (depth > *deepest)
        *deepest = depth;
    for (size_t i = 0; i < n; i++) {
        size_t child = peers_lower_bound(p, children[i]);
        reached[child]++;
        spread(p, tree, child, depth + 1, reached, deepest);
    }
}

Test(peers, each_tree_reaches_every_member_once)
{
    const size_t sizes[] = {1, 2, 3, 9, 10, 64, 999, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t n = sizes[s];
        struct fixture *f = make(n);
        for (unsigned index = 0; index < 32; index++) {
            size_t root = n * index / 32;
            struct tree tree = {.origin = SELF + root,
                                .turn = (uint16_t)(index == 31 ? PEERS_TURNS - 1 : index * 1021),
                                .root_fanout = index % 2 ? RUMOR_FANOUT : RUMOR_ROOT_BUSY,
                                .fanout = RUMOR_FANOUT};
            unsigned *reached = calloc(n, sizeof *reached);
            unsigned deepest = 0;
            spread(&f->peers, &tree, root, 0, reached, &deepest);
            for (size_t i = 0; i < n; i++)
                cr_assert_eq(reached[i], i != root, "%zu of %zu: %u times", i, n, reached[i]);
            cr_assert_leq(deepest, 6);
            free(reached);
        }
        end(f);
    }
}

/* Over all trees: who reaches whom, how often a record changes zones, and into which. */
static void check_zones(struct fixture *f, const struct tree *tree, size_t root)
{
    size_t n = f->peers.count;
    unsigned *reached = calloc(n, sizeof *reached);
    unsigned deepest = 0, crossed = 0;
    spread(&f->peers, tree, root, 0, reached, &deepest);
    for (size_t i = 0; i < n; i++) {
        uint64_t children[PEERS_CHILDREN_MAX];
        cr_assert_eq(reached[i], i != root, "%zu of %zu: %u times", i, n, reached[i]);
        f->peers.self = i;
        for (size_t k = peers_children(&f->peers, tree, children); k > 0; k--)
            crossed += f->zones[i] != f->zones[peers_lower_bound(&f->peers, children[k - 1])];
    }
    cr_assert_eq(crossed, peers_others(&f->peers), "%u times", crossed);
    free(reached);
}

Test(peers, each_zone_is_sent_to_once)
{
    const size_t sizes[] = {2, 3, 5, 10, 64, 999};
    struct prng prng;
    prng_seed(&prng, 3);
    for (unsigned turn = 0; turn < 600; turn++) {
        struct fixture *f = make(sizes[turn % 6]);
        settle(f, 1 + turn / 6 % PEERS_ZONES_MAX, &prng);
        size_t root = prng_below(&prng, f->peers.count);
        struct tree tree = {
            .origin = SELF + root,
            .turn = (uint16_t)prng_below(&prng, PEERS_TURNS),
            .root_fanout =
                (uint8_t)(turn % 2 ? RUMOR_FANOUT - peers_others(&f->peers) : RUMOR_ROOT_BUSY),
            .fanout = (uint8_t)(2 + prng_below(&prng, 7))};
        check_zones(f, &tree, root);
        end(f);
    }
}

/* Also to those that its child was to send it to, and to those that this head was to. */
Test(peers, a_shaky_head_does_not_cut_its_zone_off)
{
    struct fixture *f = make(64);
    uint64_t children[PEERS_CHILDREN_MAX];
    struct tree tree = {.origin = SELF, .root_fanout = RUMOR_ROOT_BUSY, .fanout = 3};
    for (size_t i = 0; i < 64; i++)
        f->zones[i] = i < 20 ? 1 : i < 40 ? 2 : 3;
    f->peers.zones = f->zones;
    peers_group(&f->peers, f->by_zone);
    cr_assert_eq(peers_children(&f->peers, &tree, children), 1);
    f->shaky[1] = 1;
    cr_assert_eq(peers_children(&f->peers, &tree, children), 1 + 2 + 3);
    cr_assert_eq(children[1], SELF + 20);
    cr_assert_eq(children[2], SELF + 40);
    f->peers.self = 1;
    f->shaky[20] = 1;
    cr_assert_eq(peers_children(&f->peers, &tree, children), 2 + 3 + 3);
    end(f);
}

Test(peers, too_many_zones_are_none)
{
    struct fixture *f = make(100);
    uint64_t children[PEERS_CHILDREN_MAX];
    struct tree tree = {.origin = SELF, .root_fanout = 8, .fanout = 8};
    for (size_t i = 0; i < 100; i++)
        f->zones[i] = (uint32_t)(i % (PEERS_ZONES_MAX + 1));
    f->peers.zones = f->zones;
    peers_group(&f->peers, f->by_zone);
    cr_assert_eq(peers_others(&f->peers), 0);
    cr_assert_eq(peers_children(&f->peers, &tree, children), 8);
    cr_assert_eq(children[7], SELF + 8);
    end(f);
}

Test(peers, zones_are_known_by_their_names)
{
    struct fixture *f = make(3);
    cr_assert_eq(peers_zone(""), 0);
    cr_assert_neq(peers_zone("eu-west-1a"), peers_zone("eu-west-1b"));
    f->zones[0] = f->zones[1] = peers_zone("eu-west-1a");
    cr_assert(!peers_is_far(&f->peers, SELF + 2), "nobody has told");
    f->peers.zones = f->zones;
    cr_assert(!peers_is_far(&f->peers, SELF + 2), "it has not told its own");
    f->zones[2] = peers_zone("eu-west-1b");
    cr_assert(peers_is_far(&f->peers, SELF + 2));
    cr_assert(!peers_is_far(&f->peers, SELF + 1));
    end(f);
}

/* By each step every member is told by one other, of its zone where that has another. */
Test(peers, near_is_in_the_own_zone)
{
    struct fixture *f = make(64);
    for (size_t i = 0; i < 64; i++)
        f->zones[i] = i == 63 ? 9 : 1 + (uint32_t)i % 3;
    f->peers.zones = f->zones;
    peers_group(&f->peers, f->by_zone);
    unsigned told[64] = {0};
    for (size_t i = 0; i < 64; i++) {
        f->peers.self = i;
        size_t at = peers_lower_bound(&f->peers, peers_at_part(&f->peers, 0x9e3779b9u, true));
        cr_assert_neq(at, i);
        cr_assert(i == 63 || f->zones[at] == f->zones[i]);
        told[at] += i != 63;
    }
    for (size_t i = 0; i < 63; i++)
        cr_assert_eq(told[i], 1);
    end(f);
}

/* Nobody sends much more than it would have to: the payload once. With few trees that is not to be
 * had: who sends at all sends to `fanout` others. */
Test(peers, trees_one_behind_the_other_burden_all_alike)
{
    const size_t sizes[] = {16, 20, 63, 64, 65, 300, 999};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        size_t n = sizes[s], place = 0;
        struct fixture *f = make(n);
        unsigned *links = calloc(n, sizeof *links);
        f->peers.self = 5;
        size_t stride = peers_stride(&f->peers, RUMOR_FANOUT_BURST);
        for (unsigned trees = 1; trees <= 40; trees++, place += stride) {
            f->peers.self = 5;
            struct tree tree = {.origin = SELF + 5,
                                .turn = peers_turn(&f->peers, place),
                                .root_fanout = RUMOR_ROOT_BUSY,
                                .fanout = RUMOR_FANOUT_BURST};
            for (size_t i = 0; i < n; i++) {
                uint64_t children[PEERS_CHILDREN_MAX];
                f->peers.self = i;
                links[i] += (unsigned)peers_children(&f->peers, &tree, children);
                cr_assert_leq(links[i], trees + 2 * RUMOR_FANOUT_BURST, "%zu of %zu sends %u of %u",
                              i, n, links[i], trees);
            }
        }
        free(links);
        end(f);
    }
}

Test(peers, an_unknown_origin_still_has_a_tree)
{
    struct fixture *f = make(50);
    struct tree tree = {.origin = 7, .turn = 3000, .root_fanout = 8, .fanout = 8};
    unsigned reached[50] = {0};
    unsigned deepest = 0;
    unsigned total = 0;
    for (size_t i = 0; i < 50; i++) {
        uint64_t children[PEERS_CHILDREN_MAX];
        f->peers.self = i;
        size_t n = peers_children(&f->peers, &tree, children);
        for (size_t j = 0; j < n; j++)
            reached[peers_lower_bound(&f->peers, children[j])]++;
    }
    for (size_t i = 0; i < 50; i++) {
        cr_assert_leq(reached[i], 1);
        total += reached[i];
    }
    cr_assert_eq(total, 42); /* all but the eight that the origin itself sends to */
    cr_assert_eq(deepest, 0);
    end(f);
}

Test(peers, a_shaky_child_does_not_cut_its_branch_off)
{
    struct fixture *f = make(64);
    struct tree tree = {.origin = SELF, .turn = 0, .root_fanout = 8, .fanout = 8};
    uint64_t children[PEERS_CHILDREN_MAX];
    cr_assert_eq(peers_children(&f->peers, &tree, children), 8);
    f->shaky[1] = 1;
    cr_assert_eq(peers_children(&f->peers, &tree, children), 16);
    end(f);
}
