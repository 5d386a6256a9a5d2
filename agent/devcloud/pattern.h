/* SPDX-License-Identifier: Apache-2.0
 * The patterns of the service models that we serve are all one character class repeated:
 * "([\p{L}\p{N}_.:/]*)", "[\w]*", "[\u0009\u0020-\u00FF]+". This matches exactly those. */
#ifndef BLOX_DEVCLOUD_PATTERN_H
#define BLOX_DEVCLOUD_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

/* A pattern of another form matches everything. */
bool pattern_matches(const char *pattern, const char *text);
size_t pattern_length(const char *text); /* in Unicode characters */

#endif
