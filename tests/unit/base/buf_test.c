/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"

Test(buf, grows_and_keeps_a_terminator)
{
    struct buf b;
    buf_init(&b, 10000);
    for (int i = 0; i < 1000; i++)
        cr_assert_eq(buf_printf(&b, "%d,", i), 0);
    cr_assert_eq(b.data[b.len], '\0');
    cr_assert_eq(strncmp(b.data, "0,1,2,", 6), 0);
    size_t len = 0;
    char *text = buf_steal(&b, &len);
    cr_assert_eq(strlen(text), len);
    cr_assert_null(b.data);
    free(text);
}

Test(buf, a_print_longer_than_the_room_comes_whole_or_not_at_all)
{
    struct buf b;
    char text[300];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    buf_init(&b, 700);
    for (int i = 0; i < 2; i++) { /* the first takes memory, the second more of it */
        cr_assert_eq(buf_printf(&b, "<%s>", text), 0);
        cr_assert_eq(b.len, (size_t)(i + 1) * 301);
        cr_assert_eq(b.data[b.len - 2], 'x');
        cr_assert_str_eq(b.data + b.len - 1, ">");
    }
    cr_assert_eq(buf_printf(&b, "<%s>", text), ERR_TOOBIG);
    cr_assert_eq(b.len, 602u);
    cr_assert_eq(strlen(b.data), 602u, "nothing of what did not fit");
    buf_fini(&b);
}

Test(buf, remembers_the_first_failure)
{
    struct buf b;
    buf_init(&b, 8);
    cr_assert_eq(buf_puts(&b, "12345678"), 0);
    cr_assert_eq(buf_putc(&b, '9'), ERR_TOOBIG);
    cr_assert_eq(buf_puts(&b, ""), ERR_TOOBIG, "sticks until cleared");
    cr_assert_eq(b.len, 8u);
    buf_clear(&b);
    cr_assert_eq(buf_puts(&b, "x"), 0);
    buf_fini(&b);
}

Test(buf, drop_front)
{
    struct buf b;
    buf_init(&b, 100);
    buf_puts(&b, "abcdef");
    buf_drop_front(&b, 2);
    cr_assert_str_eq(b.data, "cdef");
    buf_drop_front(&b, 4);
    cr_assert_str_eq(b.data, "");
    buf_fini(&b);
}

Test(wire, numbers_round_trip)
{
    uint8_t memory[64];
    struct wbuf w;
    struct rbuf r;
    wbuf_init(&w, memory, sizeof memory);
    wbuf_u8(&w, 0xfe);
    wbuf_u16(&w, 0xfedc);
    wbuf_u32(&w, 0xfedcba98);
    wbuf_u64(&w, 0xfedcba9876543210u);
    wbuf_bytes(&w, "hi", 2);
    cr_assert_not(w.bad);
    rbuf_init(&r, memory, w.len);
    cr_assert_eq(rbuf_u8(&r), 0xfe);
    cr_assert_eq(rbuf_u16(&r), 0xfedc);
    cr_assert_eq(rbuf_u32(&r), 0xfedcba98u);
    cr_assert_eq(rbuf_u64(&r), 0xfedcba9876543210u);
    cr_assert_eq(memcmp(rbuf_bytes(&r, 2), "hi", 2), 0);
    cr_assert_eq(rbuf_left(&r), 0u);
    cr_assert_not(r.bad);
}

Test(wire, varints_round_trip_at_every_width)
{
    for (unsigned shift = 0; shift < 64; shift++) {
        uint64_t values[] = {(uint64_t)1 << shift, ((uint64_t)1 << shift) - 1, UINT64_MAX >> shift};
        for (size_t i = 0; i < 3; i++) {
            uint8_t memory[10];
            struct wbuf w;
            struct rbuf r;
            wbuf_init(&w, memory, sizeof memory);
            wbuf_varint(&w, values[i]);
            cr_assert_not(w.bad);
            rbuf_init(&r, memory, w.len);
            cr_assert_eq(rbuf_varint(&r), values[i]);
            cr_assert_not(r.bad);
            rbuf_init(&r, memory, w.len - 1);
            (void)rbuf_varint(&r);
            cr_assert(r.bad, "a cut varint is refused");
        }
    }
}

Test(wire, refuses_what_does_not_fit)
{
    static const uint8_t endless[11] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                        0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t memory[3];
    struct wbuf w;
    struct rbuf r;
    wbuf_init(&w, memory, sizeof memory);
    wbuf_u32(&w, 1);
    cr_assert(w.bad);
    cr_assert_eq(w.len, 0u);
    rbuf_init(&r, endless, sizeof endless);
    cr_assert_eq(rbuf_varint(&r), 0u);
    cr_assert(r.bad);
    rbuf_init(&r, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10);
    cr_assert_eq(rbuf_varint(&r), UINT64_MAX);
    rbuf_init(&r, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02", 10);
    cr_assert_eq(rbuf_varint(&r), 0u);
    cr_assert(r.bad, "of 65 bits");
    rbuf_init(&r, "abc", 3);
    cr_assert_null(rbuf_bytes(&r, 4));
    cr_assert_eq(rbuf_u8(&r), 0, "nothing after a failure");
    cr_assert_eq(rbuf_left(&r), 0u);
}
