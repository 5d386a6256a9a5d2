/* SPDX-License-Identifier: Apache-2.0
 * Signatures for worlds of many members: cheap, and sound as long as nobody in the test uses
 * another's key. The real ones are tested in nodekey_test.c. */
#ifndef BLOX_TESTS_FAKE_TRUST_H
#define BLOX_TESTS_FAKE_TRUST_H

#include <string.h>

#include "agent/base/hash.h"
#include "gossip/swim.h"

static inline uint64_t fake_tag(const uint8_t key[WIRE_KEY], const uint8_t *bytes, size_t len)
{
    uint64_t tag;
    memcpy(&tag, key, sizeof tag);
    for (size_t i = 0; i < len; i++)
        tag = (tag ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash_mix(tag);
}

static inline void fake_sign(void *arg, const uint8_t *bytes, size_t len, uint8_t sig[WIRE_SIG])
{
    uint64_t tag = fake_tag(arg, bytes, len);
    memset(sig, 0, WIRE_SIG);
    memcpy(sig, &tag, sizeof tag);
}

static inline bool fake_verify(void *arg, const uint8_t key[WIRE_KEY], const uint8_t *bytes,
                               size_t len, const uint8_t sig[WIRE_SIG])
{
    uint8_t right[WIRE_SIG];
    (void)arg;
    fake_sign((void *)(uintptr_t)key, bytes, len, right);
    return memcmp(right, sig, WIRE_SIG) == 0;
}

/* key: WIRE_KEY bytes that outlive the core. */
static inline void fake_trust(struct swim_options *o, uint8_t key[WIRE_KEY], uint64_t number)
{
    memset(key, 0, WIRE_KEY);
    memcpy(key, &number, sizeof number);
    memcpy(o->key, key, WIRE_KEY);
    o->trust = (struct swim_trust){key, fake_sign, fake_verify};
}

#endif
