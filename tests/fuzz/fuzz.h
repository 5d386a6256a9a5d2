/* SPDX-License-Identifier: Apache-2.0
 * What libFuzzer calls. */
#ifndef BLOX_TESTS_FUZZ_FUZZ_H
#define BLOX_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
