/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/nodekey.h"

#include <sodium.h>
#include <string.h>

#include "agent/base/ensure.h"

_Static_assert(NODEKEY_SEED == crypto_sign_SEEDBYTES, "seed size");
_Static_assert(NODEKEY_SIG == crypto_sign_BYTES, "signature size");

static const uint8_t purpose[16] = "blox member, 1";
#define PREFIX (sizeof purpose + 32u)

void nodekey_init(struct nodekey *k, const char *cluster, const uint8_t *seed)
{
    if (seed != NULL)
        crypto_sign_seed_keypair(k->public_key, k->secret, seed);
    else
        crypto_sign_keypair(k->public_key, k->secret);
    (void)!crypto_sign_ed25519_sk_to_curve25519(k->agree, k->secret);
    crypto_generichash(k->cluster, 32, (const uint8_t *)cluster, strlen(cluster), NULL, 0);
}

void nodekey_fini(struct nodekey *k)
{
    sodium_memzero(k, sizeof *k);
}

static size_t whole(const struct nodekey *k, const uint8_t *message, size_t len, uint8_t *out)
{
    ENSURE(len <= NODEKEY_MESSAGE_MAX);
    memcpy(out, purpose, sizeof purpose);
    memcpy(out + sizeof purpose, k->cluster, 32);
    memcpy(out + PREFIX, message, len);
    return PREFIX + len;
}

void nodekey_sign(const struct nodekey *k, const uint8_t *message, size_t len,
                  uint8_t ret_sig[NODEKEY_SIG])
{
    uint8_t bytes[PREFIX + NODEKEY_MESSAGE_MAX];
    size_t size = whole(k, message, len, bytes);
    crypto_sign_detached(ret_sig, NULL, bytes, size, k->secret);
}

bool nodekey_verify(const struct nodekey *k, const uint8_t public_key[NODEKEY_PUBLIC],
                    const uint8_t *message, size_t len, const uint8_t sig[NODEKEY_SIG])
{
    uint8_t bytes[PREFIX + NODEKEY_MESSAGE_MAX];
    size_t size = whole(k, message, len, bytes);
    return crypto_sign_verify_detached(sig, bytes, size, public_key) == 0;
}

int nodekey_agree(const struct nodekey *k, const uint8_t public_key[NODEKEY_PUBLIC],
                  uint8_t ret_secret[32])
{
    uint8_t point[32];
    if (crypto_sign_ed25519_pk_to_curve25519(point, public_key) != 0 ||
        crypto_scalarmult(ret_secret, k->agree, point) != 0)
        return ERR_AUTH;
    return 0;
}
