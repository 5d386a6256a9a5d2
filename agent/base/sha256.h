/* SPDX-License-Identifier: Apache-2.0
 * SHA-256 (FIPS 180-4), for digests of API tokens: the file holds hashes, never tokens.
 * Encryption and signatures are gossip/seal.c's affair. */
#ifndef BLOX_BASE_SHA256_H
#define BLOX_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32

void sha256(const void *data, size_t len, uint8_t out[SHA256_SIZE]);

#endif
