/* SPDX-License-Identifier: Apache-2.0
 * The regular expressions of `=~`: a subset of Java's that always matches in time linear in the
 * text (a set of states is advanced byte by byte; nothing backtracks), in fixed memory.
 *
 * Understood: literals, . [abc] [a-z] [^...] \d \w \s \D \W \S and escaped punctuation,
 * ( ) (?: ), |, * + ? {m} {m,} {m,n} (also with a trailing ?, which changes nothing for a whole
 * match), ^ at the start and $ at the end. The whole value must match, as Java's matches() asks.
 * Refused with a message: back-references, look-around, possessive quantifiers, flags, \p{..}. */
#ifndef BLOX_SCHEDULER_PATTERN_H
#define BLOX_SCHEDULER_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

#define PATTERN_OPS_MAX 256
#define PATTERN_CLASSES_MAX 12
#define PATTERN_DEPTH_MAX 12
#define PATTERN_CHOICES_MAX 48
#define PATTERN_REPEAT_MAX 64

struct pattern_op {
    uint8_t code;
    uint8_t arg;
    int16_t jump; /* relative, so that code can be moved and repeated */
};

struct pattern {
    struct pattern_op ops[PATTERN_OPS_MAX];
    uint8_t classes[PATTERN_CLASSES_MAX][32]; /* bitmaps over bytes */
    uint16_t len;
    uint8_t class_count;
};

/* 0, or ERR_BADPARAM with a sentence; *ret_at is the offset of the offending byte in text. */
int pattern_compile(struct pattern *ret, const char *text, size_t *ret_at,
                    struct errmsg *e) MUST_CHECK;
/* Does the whole text match? */
bool pattern_match(const struct pattern *p, const char *text);

#endif
