/* SPDX-License-Identifier: Apache-2.0
 * Words that a member of the world says, or that somebody says with its key. */
#ifndef BLOX_TESTS_UNIT_SWIM_WORDS_H
#define BLOX_TESTS_UNIT_SWIM_WORDS_H

#include "tests/unit/gossip/swim_world.h"

#define HOSTILE 1u
#define VICTIM 4u

static uint64_t num_of(unsigned i)
{
    return swim_self(world.node[i].s)->m.num;
}

static const struct swim_member *view(unsigned of, unsigned about)
{
    return swim_find(world.node[of].s, num_of(about));
}

static void sign_as(const uint8_t key[WIRE_KEY], const struct wire_update *u, uint64_t by,
                    uint8_t sig[WIRE_SIG])
{
    uint8_t bytes[WIRE_STATEMENT_MAX];
    fake_sign((void *)(uintptr_t)key, bytes, wire_statement(u, by, bytes), sig);
}

static struct wire_update claim(enum gossip_state state, unsigned about)
{
    return (struct wire_update){
        .state = state, .num = num_of(about), .incarnation = world.node[about].incarnation};
}

#endif
