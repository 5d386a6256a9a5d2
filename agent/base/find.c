/* SPDX-License-Identifier: Apache-2.0
 * Sixteen places at once, by the first and the last byte. */
#include "agent/base/find.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

const char *find_text(const char *in, size_t len, const char *text, size_t n)
{
#ifdef __SSE2__
    const __m128i first = _mm_set1_epi8(text[0]);
    const __m128i last = _mm_set1_epi8(text[n - 1]);
    for (; len >= n + 15; in += 16, len -= 16) {
        __m128i a = _mm_loadu_si128((const __m128i *)(const void *)in);
        __m128i z = _mm_loadu_si128((const __m128i *)(const void *)(in + n - 1));
        int hits =
            _mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(a, first), _mm_cmpeq_epi8(z, last)));
        for (; hits != 0; hits &= hits - 1) {
            const char *at = in + __builtin_ctz((unsigned)hits);
            if (memcmp(at, text, n) == 0)
                return at;
        }
    }
#endif
    return memmem(in, len, text, n);
}
