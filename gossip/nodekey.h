/* SPDX-License-Identifier: Apache-2.0
 * A member's own key (Ed25519): what it signs is its word, and with any other member's public key
 * it agrees on a secret that only the two have. The cluster key lets a process in; this one says
 * which member it is. Beside seal.c the only file of gossip/ that knows libsodium. */
#ifndef BLOX_GOSSIP_NODEKEY_H
#define BLOX_GOSSIP_NODEKEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

#define NODEKEY_SEED 32u
#define NODEKEY_PUBLIC 32u
#define NODEKEY_SIG 64u
#define NODEKEY_MESSAGE_MAX 512u

struct nodekey {
    uint8_t secret[64];
    uint8_t agree[32]; /* the same secret as X25519 knows it */
    uint8_t public_key[NODEKEY_PUBLIC];
    uint8_t cluster[32]; /* hash of its name: a word said in one cluster is none in another */
};

/* The same seed gives the same key. seed NULL: a fresh one for this life. */
void nodekey_init(struct nodekey *k, const char *cluster, const uint8_t *seed);
void nodekey_fini(struct nodekey *k); /* wipes */
void nodekey_sign(const struct nodekey *k, const uint8_t *message, size_t len,
                  uint8_t ret_sig[NODEKEY_SIG]);
/* Is it the word of public_key's holder, said in our cluster? About 60 us. */
bool nodekey_verify(const struct nodekey *k, const uint8_t public_key[NODEKEY_PUBLIC],
                    const uint8_t *message, size_t len, const uint8_t sig[NODEKEY_SIG]);
/* ERR_AUTH: no proper public key. About 60 us: callers keep the secret. */
int nodekey_agree(const struct nodekey *k, const uint8_t public_key[NODEKEY_PUBLIC],
                  uint8_t ret_secret[32]) MUST_CHECK;

#endif
