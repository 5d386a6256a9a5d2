/* SPDX-License-Identifier: Apache-2.0
 * Membership's packets: heads, updates, joins and welcomes. First byte: which. */
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/wire.h"
#include "tests/fuzz/fuzz.h"

static void check_names(struct rbuf *r)
{
    struct wire_name n, again;
    uint8_t out[WIRE_NAME_MAX];
    while (rbuf_left(r) > 0 && wire_get_name(r, &n) == 0) {
        struct wbuf w;
        struct rbuf second;
        wbuf_init(&w, out, sizeof out);
        wire_put_name(&w, &n);
        ENSURE(!w.bad);
        rbuf_init(&second, out, w.len);
        ENSURE(wire_get_name(&second, &again) == 0 && rbuf_left(&second) == 0);
        ENSURE(again.num == n.num && again.state == n.state && again.incarnation == n.incarnation);
    }
}

static void check_packet(const uint8_t *data, size_t size)
{
    struct rbuf r;
    struct wire_head head;
    struct wire_update u, again;
    uint8_t out[2048];
    rbuf_init(&r, data, size);
    if (wire_get_head(&r, &head) < 0)
        return;
    if (head.type == WIRE_SYNC_NAMES) {
        check_names(&r);
        return;
    }
    while (rbuf_left(&r) > 0 && wire_get_update(&r, &u) == 0) {
        struct wbuf w;
        struct rbuf second;
        wbuf_init(&w, out, WIRE_UPDATE_MAX);
        wire_put_update(&w, &u);
        ENSURE(!w.bad);
        rbuf_init(&second, out, w.len);
        ENSURE(wire_get_update(&second, &again) == 0 && rbuf_left(&second) == 0);
        ENSURE(again.num == u.num && again.state == u.state && again.has_body == u.has_body &&
               again.incarnation == u.incarnation && again.vote_count == u.vote_count);
        ENSURE(strnlen(u.id, sizeof u.id) < sizeof u.id);
        uint8_t said[WIRE_STATEMENT_MAX];
        ENSURE(wire_statement(&u, u.has_body ? 0 : 5, said) <= sizeof said);
        char text[ADDR_TEXT];
        for (uint8_t i = 0; i < u.addrs.count; i++)
            (void)addr_text(&u.addrs.at[i], text);
        ENSURE(addr_equal_all(&u.addrs, &again.addrs) && u.addrs.count <= GOSSIP_ADDRS_MAX);
    }
}

static void check_join(const uint8_t *data, size_t size)
{
    struct wire_join j, again;
    uint8_t out[WIRE_JOIN_LEN];
    if (wire_get_join(data, size, &j) < 0)
        return;
    size_t len = wire_put_join(&j, out);
    ENSURE(len <= sizeof out);
    ENSURE(wire_get_join(out, len, &again) == 0);
    ENSURE(again.type == j.type && again.self.num == j.self.num);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 1)
        check_join(data + 1, size - 1);
    else
        check_packet(data + 1, size - 1);
    return 0;
}
