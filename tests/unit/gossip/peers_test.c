/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/peers.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "gossip/rumor.h"

#define SELF 100u

/* Members 100, 101, ... */
struct fixture {
    struct peers peers;
    uint64_t nums[5000];
    uint8_t shaky[5000];
};

static struct fixture *make(size_t members)
{
    struct fixture *f = calloc(1, sizeof *f);
    for (size_t i = 0; i < members; i++)
        f->nums[i] = SELF + i;
    f->peers = (struct peers){.nums = f->nums, .shaky = f->shaky, .count = members};
    return f;
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
