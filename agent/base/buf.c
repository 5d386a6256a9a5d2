/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/err.h"

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_over(struct buf *b, void *memory, size_t size)
{
    ENSURE(size > 0);
    *b = (struct buf){.data = memory, .cap = size, .max = size - 1};
}

void buf_fini(struct buf *b)
{
    free(b->data);
    buf_init(b, b->max);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->err = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

int buf_reserve(struct buf *b, size_t extra)
{
    if (b->err != 0)
        return b->err;
    if (extra > b->max || b->len > b->max - extra)
        return b->err = ERR_TOOBIG;
    size_t need = b->len + extra + 1;
    if (need <= b->cap)
        return 0;
    size_t cap = b->cap == 0 ? 256 : b->cap;
    while (cap < need)
        cap *= 2;
    char *data = realloc(b->data, cap);
    if (data == NULL)
        return b->err = ERR_NOMEM;
    b->data = data;
    b->cap = cap;
    return 0;
}

int buf_put(struct buf *b, const void *data, size_t len)
{
    int err = buf_reserve(b, len);
    if (err != 0)
        return err;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}

int buf_put_quoted(struct buf *b, const char *text, size_t len)
{
    int err = buf_reserve(b, len + 2);
    if (err != 0)
        return err;
    char *at = b->data + b->len;
    at[0] = '"';
    memcpy(at + 1, text, len);
    at[len + 1] = '"';
    at[len + 2] = '\0';
    b->len += len + 2;
    return 0;
}

int buf_puts(struct buf *b, const char *text)
{
    return buf_put(b, text, strlen(text));
}

/* Into what room there is; what does not fit is written once more. */
int buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    int err = buf_reserve(b, 0);
    if (err != 0)
        return err;
    size_t room = b->cap - b->len;
    va_start(args, format);
    int n = vsnprintf(b->data + b->len, room, format, args);
    va_end(args);
    ENSURE(n >= 0);
    err = buf_reserve(b, (size_t)n);
    if (err != 0) {
        b->data[b->len] = '\0';
        return err;
    }
    if ((size_t)n >= room) {
        va_start(args, format);
        vsnprintf(b->data + b->len, (size_t)n + 1, format, args);
        va_end(args);
    }
    b->len += (size_t)n;
    return 0;
}

void *buf_extend(struct buf *b, size_t n)
{
    if (buf_reserve(b, n) != 0)
        return NULL;
    void *at = b->data + b->len;
    memset(at, 0, n + 1);
    b->len += n;
    return at;
}

void buf_drop_front(struct buf *b, size_t n)
{
    ENSURE(n <= b->len);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n + 1);
    b->len -= n;
}

char *buf_steal(struct buf *b, size_t *ret_len)
{
    char *data = b->data;
    if (ret_len != NULL)
        *ret_len = b->len;
    buf_init(b, b->max);
    return data;
}

void wbuf_init(struct wbuf *w, void *data, size_t cap)
{
    *w = (struct wbuf){.data = data, .cap = cap};
}

void wbuf_bytes(struct wbuf *w, const void *data, size_t len)
{
    if (w->bad || len > w->cap - w->len) {
        w->bad = 1;
        return;
    }
    if (len > 0)
        memcpy(w->data + w->len, data, len);
    w->len += len;
}

static void put_le(struct wbuf *w, uint64_t v, size_t n)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    wbuf_bytes(w, bytes, n);
}

void wbuf_u8(struct wbuf *w, uint8_t v)
{
    put_le(w, v, 1);
}

void wbuf_u16(struct wbuf *w, uint16_t v)
{
    put_le(w, v, 2);
}

void wbuf_u32(struct wbuf *w, uint32_t v)
{
    put_le(w, v, 4);
}

void wbuf_u64(struct wbuf *w, uint64_t v)
{
    put_le(w, v, 8);
}

void wbuf_varint(struct wbuf *w, uint64_t v)
{
    while (v >= 0x80) {
        wbuf_u8(w, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    wbuf_u8(w, (uint8_t)v);
}

void wbuf_delta(struct wbuf *w, uint64_t v, uint64_t before)
{
    uint64_t d = v - before;
    wbuf_varint(w, d << 1 ^ (0 - (d >> 63)));
}

void rbuf_init(struct rbuf *r, const void *data, size_t len)
{
    *r = (struct rbuf){.data = data, .len = len};
}

const uint8_t *rbuf_bytes(struct rbuf *r, size_t len)
{
    if (r->bad || len > r->len - r->pos) {
        r->bad = 1;
        return NULL;
    }
    const uint8_t *at = r->data + r->pos;
    r->pos += len;
    return at;
}

static uint64_t get_le(struct rbuf *r, size_t n)
{
    const uint8_t *bytes = rbuf_bytes(r, n);
    uint64_t v = 0;
    for (size_t i = 0; bytes != NULL && i < n; i++)
        v |= (uint64_t)bytes[i] << (8 * i);
    return v;
}

uint8_t rbuf_u8(struct rbuf *r)
{
    const uint8_t *byte = rbuf_bytes(r, 1);
    return byte == NULL ? 0 : *byte;
}

uint16_t rbuf_u16(struct rbuf *r)
{
    return (uint16_t)get_le(r, 2);
}

uint32_t rbuf_u32(struct rbuf *r)
{
    return (uint32_t)get_le(r, 4);
}

uint64_t rbuf_u64(struct rbuf *r)
{
    return get_le(r, 8);
}

uint64_t rbuf_varint(struct rbuf *r)
{
    size_t left = rbuf_left(r);
    uint64_t v = 0;
    for (unsigned i = 0; i < left && i < 10; i++) {
        uint8_t byte = r->data[r->pos + i];
        if (i == 9 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << 7 * i;
        if ((byte & 0x80) == 0) {
            r->pos += i + 1;
            return v;
        }
    }
    r->bad = 1;
    return 0;
}

uint64_t rbuf_delta(struct rbuf *r, uint64_t before)
{
    uint64_t z = rbuf_varint(r);
    return before + (z >> 1 ^ (0 - (z & 1)));
}

size_t rbuf_left(const struct rbuf *r)
{
    return r->bad ? 0 : r->len - r->pos;
}
