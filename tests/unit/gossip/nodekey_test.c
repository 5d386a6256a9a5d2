/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <sodium.h>
#include <string.h>

#include "gossip/nodekey.h"

static const uint8_t seed_a[32] = {1}, seed_b[32] = {2};
static struct nodekey a, b, elsewhere;

static void set_up(void)
{
    cr_assert_geq(sodium_init(), 0);
    nodekey_init(&a, "c", seed_a);
    nodekey_init(&b, "c", seed_b);
    nodekey_init(&elsewhere, "d", seed_a);
}

Test(nodekey, a_word_is_its_makers_alone, .init = set_up)
{
    static const uint8_t word[] = "i-2 is at 10.0.0.2";
    uint8_t sig[NODEKEY_SIG], copy[sizeof word];
    nodekey_sign(&a, word, sizeof word, sig);
    cr_assert(nodekey_verify(&b, a.public_key, word, sizeof word, sig));
    cr_assert_not(nodekey_verify(&b, b.public_key, word, sizeof word, sig));
    cr_assert_not(nodekey_verify(&b, a.public_key, word, sizeof word - 1, sig));
    for (size_t bit = 0; bit < 8 * sizeof word; bit++) {
        memcpy(copy, word, sizeof word);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        cr_assert_not(nodekey_verify(&b, a.public_key, copy, sizeof word, sig));
    }
    cr_assert_not(nodekey_verify(&elsewhere, a.public_key, word, sizeof word, sig),
                  "another cluster's word");
}

Test(nodekey, the_same_seed_is_the_same_member, .init = set_up)
{
    struct nodekey again, fresh;
    nodekey_init(&again, "c", seed_a);
    nodekey_init(&fresh, "c", NULL);
    cr_assert_eq(memcmp(again.public_key, a.public_key, 32), 0);
    cr_assert_neq(memcmp(fresh.public_key, a.public_key, 32), 0);
    nodekey_fini(&again);
    for (size_t i = 0; i < sizeof again; i++)
        cr_assert_eq(((const uint8_t *)&again)[i], 0, "wiped");
}

Test(nodekey, two_members_agree_and_no_third_knows, .init = set_up)
{
    static const uint8_t seed_c[32] = {3}, nothing[32] = {0};
    uint8_t ab[32], ba[32], cb[32];
    struct nodekey c;
    nodekey_init(&c, "c", seed_c);
    cr_assert_eq(nodekey_agree(&a, b.public_key, ab), 0);
    cr_assert_eq(nodekey_agree(&b, a.public_key, ba), 0);
    cr_assert_eq(nodekey_agree(&c, b.public_key, cb), 0);
    cr_assert_eq(memcmp(ab, ba, 32), 0);
    cr_assert_neq(memcmp(ab, cb, 32), 0);
    cr_assert_eq(nodekey_agree(&a, nothing, ab), ERR_AUTH, "no proper key");
}
