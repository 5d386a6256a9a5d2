/* SPDX-License-Identifier: Apache-2.0
 * Assertions that stay on in release. For programmer errors only: bytes that
 * come from outside (network, disk, AWS, a user) never reach an ENSURE. */
#ifndef BLOX_BASE_ENSURE_H
#define BLOX_BASE_ENSURE_H

#include <stdio.h>
#include <stdlib.h>

#define ENSURE(cond)                                                                               \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: ensure failed: %s\n", __FILE__, __LINE__, #cond);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
