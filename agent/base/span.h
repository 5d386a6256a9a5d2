/* SPDX-License-Identifier: Apache-2.0
 * Reads JSON in place: members and elements as spans of the original bytes, nothing copied,
 * nothing allocated. For rows, whose JSON was checked when it was taken in; any other bytes only
 * make the walk end early, never run past the end. */
#ifndef BLOX_BASE_SPAN_H
#define BLOX_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "agent/base/buf.h"

struct span {
    const char *data; /* NULL: absent */
    size_t len;
};

/* The next member of an object: *at walks from 0. name is the text between the quotes, as written.
 */
bool span_member(struct span object, size_t *at, struct span *ret_name, struct span *ret_value);
/* The next element of an array. */
bool span_element(struct span array, size_t *at, struct span *ret_value);
/* A member's value, absent if there is none. */
struct span span_get(struct span object, const char *name);
/* A member that is an object or an array, with all that follows it: to walk it, without looking for
 * its end before. */
struct span span_open(struct span object, const char *name);
/* Several members in one walk: ret[i] is the value of names[i], absent if there is none. */
struct span_name {
    const char *text;
    size_t len;
};
#define SPAN_NAME(literal)                                                                         \
    {                                                                                              \
        literal, sizeof(literal) - 1                                                               \
    }
void span_pick(struct span object, const struct span_name *names, size_t count, struct span *ret);

/* Position of the next quote or backslash, or len. Most texts are short: a few bytes at once decide
 * with fewer branches than a call of memchr(). */
static inline size_t span_find_quote(const char *p, size_t at, size_t len)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    for (; len - at >= 16; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)(p + at));
        int hit =
            _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        if (hit != 0)
            return at + (size_t)__builtin_ctz((unsigned)hit);
    }
#endif
    while (at < len && p[at] != '"' && p[at] != '\\')
        at++;
    return at;
}

bool span_is(struct span s, const char *text); /* equal bytes */
bool span_is_text(struct span s);              /* a JSON string */
bool span_is_null(struct span s);
/* Integer value of a number without fraction; other if it is not one. */
int64_t span_int_or(struct span s, int64_t other);
double span_double_or(struct span s, double other);
/* The text inside a string's quotes, still escaped. */
struct span span_inside(struct span s);
int span_put(struct buf *out, struct span s);

#endif
