/* SPDX-License-Identifier: Apache-2.0
 * A fast 64-bit hash, the same on every machine, for tables and fingerprints
 * among members that hold the key. Not for anything an outsider may choose freely
 * and not a MAC. */
#ifndef BLOX_BASE_HASH_H
#define BLOX_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *data, size_t len, uint64_t seed);
uint64_t hash_str(const char *text);
uint64_t hash_mix(uint64_t v); /* splitmix64's finaliser: a bijection */

#endif
