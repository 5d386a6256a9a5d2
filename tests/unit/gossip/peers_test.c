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
        for (uint8_t index = 0; index < PEERS_TREES; index++) {
            size_t root = n * index / PEERS_TREES;
            struct tree tree = {.origin = SELF + root,
                                .index = index,
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

/* Nobody sends much more than it would have to: the payload once. */
Test(peers, all_trees_together_burden_all_alike)
{
    struct fixture *f = make(64);
    unsigned links[64] = {0};
    for (uint8_t index = 0; index < PEERS_TREES; index++) {
        struct tree tree = {.origin = SELF + 5,
                            .index = index,
                            .root_fanout = RUMOR_ROOT_BUSY,
                            .fanout = RUMOR_FANOUT_BURST};
        for (size_t i = 0; i < 64; i++) {
            uint64_t children[PEERS_CHILDREN_MAX];
            f->peers.self = i;
            links[i] += (unsigned)peers_children(&f->peers, &tree, children);
        }
    }
    for (size_t i = 0; i < 64; i++)
        cr_assert_leq(links[i], PEERS_TREES + RUMOR_FANOUT_BURST, "%zu has %u", i, links[i]);
    end(f);
}

Test(peers, an_unknown_origin_still_has_a_tree)
{
    struct fixture *f = make(50);
    struct tree tree = {.origin = 7, .index = 3, .root_fanout = 8, .fanout = 8};
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
    struct tree tree = {.origin = SELF, .index = 0, .root_fanout = 8, .fanout = 8};
    uint64_t children[PEERS_CHILDREN_MAX];
    cr_assert_eq(peers_children(&f->peers, &tree, children), 8);
    f->shaky[1] = 1;
    cr_assert_eq(peers_children(&f->peers, &tree, children), 16);
    end(f);
}
