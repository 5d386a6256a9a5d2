/* SPDX-License-Identifier: Apache-2.0
 * Shells read the clock once per callback and pass it down; cores never do. */
#ifndef BLOX_BASE_CLOCK_H
#define BLOX_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_ns(void);
/* Wall clock: for display, SigV4 and row ages only, never for safety. */
int64_t clock_unix_ms(void);

#define CLOCK_TEXT_MAX 32
/* RFC 3339, UTC, milliseconds: "2026-11-22T14:00:00.123Z". Returns out. */
const char *clock_format_unix_ms(int64_t unix_ms, char out[CLOCK_TEXT_MAX]);
/* Reads RFC 3339 with 0-9 fractional digits and Z or an offset. Returns 0 or ERR_MALFORMED. */
int clock_parse_rfc3339(const char *text, int64_t *ret_unix_ms);

#endif
