/* SPDX-License-Identifier: Apache-2.0
 * Bytes: checksum of the rest u64, snapshot u64, query u64, key length u16, key, rank u8, number
 * u64 (its bits), text; then base64 with the alphabet for addresses (RFC 4648, section 5), without
 * padding. */
#include "agent/api/token.h"

#include <string.h>

#include "agent/base/hash.h"

#define TOKEN_BYTES (8 + 8 + 8 + 2 + RECORD_KEY_MAX + 1 + 8 + SORT_TEXT_MAX)

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void put_digits(const uint8_t *bytes, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = 0;
        size_t n = len - i < 3 ? len - i : 3;
        for (size_t j = 0; j < 3; j++)
            v = v << 8 | (j < n ? bytes[i + j] : 0);
        for (size_t j = 0; j <= n; j++)
            buf_putc(out, digits[v >> (18 - 6 * j) & 63]);
    }
}

/* The number of bytes, or 0. */
static size_t read_digits(const char *text, uint8_t *out, size_t cap)
{
    size_t n = 0;
    uint32_t v = 0;
    unsigned bits = 0;
    for (; *text != '\0'; text++) {
        const char *d = strchr(digits, *text);
        if (d == NULL)
            return 0;
        v = v << 6 | (uint32_t)(d - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (n == cap)
                return 0;
            out[n++] = (uint8_t)(v >> bits);
        }
    }
    return (v & ((1u << bits) - 1)) == 0 && bits < 6 ? n : 0; /* one form only */
}

/* Against tokens that were cut or changed on their way; there is nothing in them to protect. */
static uint64_t checksum(const uint8_t *bytes, size_t len)
{
    return hash_bytes(bytes + 8, len - 8, 0x746f6b656e);
}

int token_encode(const struct token *t, struct buf *out)
{
    uint8_t bytes[TOKEN_BYTES];
    struct wbuf w;
    uint64_t number;
    memcpy(&number, &t->last.number, sizeof number);
    wbuf_init(&w, bytes, sizeof bytes);
    wbuf_u64(&w, 0);
    wbuf_u64(&w, t->snapshot);
    wbuf_u64(&w, t->query);
    wbuf_u16(&w, t->last.key_len);
    wbuf_bytes(&w, t->last.key, t->last.key_len);
    wbuf_u8(&w, t->last.rank);
    wbuf_u64(&w, number);
    wbuf_bytes(&w, t->last.text, t->last.text_len);
    struct wbuf sum;
    wbuf_init(&sum, bytes, 8);
    wbuf_u64(&sum, checksum(bytes, w.len));
    put_digits(bytes, w.len, out);
    return out->err;
}

int token_decode(const char *text, struct token *ret)
{
    uint8_t bytes[TOKEN_BYTES];
    struct rbuf r;
    *ret = (struct token){.snapshot = 0};
    size_t len = read_digits(text, bytes, sizeof bytes);
    rbuf_init(&r, bytes, len);
    if (len < 8 || rbuf_u64(&r) != checksum(bytes, len))
        return ERR_BADPARAM;
    ret->snapshot = rbuf_u64(&r);
    ret->query = rbuf_u64(&r);
    ret->last.key_len = rbuf_u16(&r);
    const uint8_t *key = rbuf_bytes(&r, ret->last.key_len);
    ret->last.rank = rbuf_u8(&r);
    uint64_t number = rbuf_u64(&r);
    ret->last.text_len = (uint16_t)rbuf_left(&r);
    const uint8_t *rest = rbuf_bytes(&r, ret->last.text_len);
    if (r.bad || ret->last.key_len == 0 || ret->last.key_len > RECORD_KEY_MAX ||
        ret->last.text_len > SORT_TEXT_MAX || ret->last.rank > SORT_NONE)
        return ERR_BADPARAM;
    memcpy(ret->last.key, key, ret->last.key_len);
    memcpy(&ret->last.number, &number, sizeof number);
    if (ret->last.text_len > 0)
        memcpy(ret->last.text, rest, ret->last.text_len);
    return ret->last.number == ret->last.number ? 0 : ERR_BADPARAM; /* no NaN */
}
