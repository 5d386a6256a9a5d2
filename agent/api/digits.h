/* SPDX-License-Identifier: Apache-2.0
 * Numbers and times as text by hand: a list has several per row, and printf would be half of its
 * cost. */
#ifndef BLOX_AGENT_API_DIGITS_H
#define BLOX_AGENT_API_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define DIGITS_DECIMAL_MAX 20
#define DIGITS_TIME_MAX 32

/* Both return the length; digits_time() writes a NUL behind it. */
size_t digits_decimal(char *out, uint64_t v);
/* RFC 3339 in UTC with milliseconds. */
size_t digits_time(char *out, int64_t unix_ms);

#endif
