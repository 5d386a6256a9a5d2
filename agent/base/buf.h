/* SPDX-License-Identifier: Apache-2.0
 * A growing byte buffer with a maximum. The first failure (memory, maximum) is
 * remembered, so a run of puts needs one check at the end. */
#ifndef BLOX_BASE_BUF_H
#define BLOX_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data; /* always NUL-terminated once something was put; NULL before */
    size_t len;
    size_t cap;
    size_t max;
    int err; /* 0, ERR_NOMEM or ERR_TOOBIG */
};

void buf_init(struct buf *b, size_t max);
/* Over the caller's memory, of which the last byte is for the NUL; never freed nor moved. */
void buf_over(struct buf *b, void *memory, size_t size);
void buf_fini(struct buf *b); /* frees; the buffer may be used again */
void buf_clear(struct buf *b);
int buf_reserve(struct buf *b, size_t extra); /* room for that many bytes and the NUL */
int buf_put(struct buf *b, const void *data, size_t len);
int buf_put_quoted(struct buf *b, const char *text, size_t len); /* between two '"' */
int buf_puts(struct buf *b, const char *text);
static inline int buf_putc(struct buf *b, char c)
{
    if (b->err != 0 || b->len + 1 >= b->cap || b->len >= b->max)
        return buf_put(b, &c, 1);
    b->data[b->len++] = c;
    b->data[b->len] = '\0';
    return 0;
}
int buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Grows len by n zero bytes and returns where they start, NULL on failure. */
void *buf_extend(struct buf *b, size_t n);
void buf_drop_front(struct buf *b, size_t n);
/* Hands over the memory (free() it); the buffer is empty afterwards. NULL if nothing was put. */
char *buf_steal(struct buf *b, size_t *ret_len);

/* Fixed-buffer little-endian writer and reader for wire and disk formats. The
 * reader never runs past its end: after a short read `bad` is set and zeros come. */
struct wbuf {
    uint8_t *data;
    size_t len;
    size_t cap;
    int bad;
};
struct rbuf {
    const uint8_t *data;
    size_t len;
    size_t pos;
    int bad;
};

void wbuf_init(struct wbuf *w, void *data, size_t cap);
void wbuf_u8(struct wbuf *w, uint8_t v);
void wbuf_u16(struct wbuf *w, uint16_t v);
void wbuf_u32(struct wbuf *w, uint32_t v);
void wbuf_u64(struct wbuf *w, uint64_t v);
void wbuf_bytes(struct wbuf *w, const void *data, size_t len);
void wbuf_varint(struct wbuf *w, uint64_t v); /* LEB128, 1-10 bytes */
/* The difference modulo 2^64, short if it is small either way (zigzag). */
void wbuf_delta(struct wbuf *w, uint64_t v, uint64_t before);

void rbuf_init(struct rbuf *r, const void *data, size_t len);
uint8_t rbuf_u8(struct rbuf *r);
uint16_t rbuf_u16(struct rbuf *r);
uint32_t rbuf_u32(struct rbuf *r);
uint64_t rbuf_u64(struct rbuf *r);
uint64_t rbuf_varint(struct rbuf *r);
uint64_t rbuf_delta(struct rbuf *r, uint64_t before);
const uint8_t *rbuf_bytes(struct rbuf *r, size_t len); /* NULL when short; valid as the input is */
size_t rbuf_left(const struct rbuf *r);

#endif
