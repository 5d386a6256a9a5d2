/* SPDX-License-Identifier: Apache-2.0
 * memmem() for texts of a few kilobytes: its tables for each needle take longer than the look. */
#ifndef BLOX_BASE_FIND_H
#define BLOX_BASE_FIND_H

#include <stddef.h>

/* The first place of the n bytes of text, at least 1; NULL: there is none. */
const char *find_text(const char *in, size_t len, const char *text, size_t n);

#endif
