/* SPDX-License-Identifier: Apache-2.0 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>

#include "agent/base/prng.h"
#include "gossip/wire.h"

static struct wire_update sample(enum gossip_state state, bool body)
{
    struct wire_update u = {.state = state, .num = 77, .incarnation = 300, .has_body = body};
    if (body) {
        u.epoch = 9;
        for (uint8_t i = 0; i < GOSSIP_ADDRS_MAX; i++)
            u.addrs.at[u.addrs.count++] = (struct gossip_addr){
                .family = 6, .port = 7381, .host = {0xfd, [15] = (uint8_t)(i + 1)}};
        memset(u.id, 'i', sizeof u.id - 1);
        memset(u.meta.zone, 'z', sizeof u.meta.zone - 1);
        memset(u.meta.version, '9', sizeof u.meta.version - 1);
        u.meta.api_port = 7380;
        u.meta.role = 1;
        u.meta.lifecycle = 2;
        memset(u.key, 7, sizeof u.key);
        memset(u.sig, 8, sizeof u.sig);
    }
    if (state != MEMBER_ALIVE) {
        u.vote_count = WIRE_VOTES_MAX;
        for (size_t i = 0; i < WIRE_VOTES_MAX; i++) {
            u.vote[i].num = 1000 + i;
            memset(u.vote[i].sig, (int)i, WIRE_SIG);
        }
    }
    return u;
}

Test(wire, updates_survive_the_round_trip)
{
    for (int state = MEMBER_ALIVE; state <= MEMBER_LEFT; state++) {
        for (int body = state == MEMBER_ALIVE; body < 2; body++) {
            struct wire_update u = sample((enum gossip_state)state, body), got;
            uint8_t data[WIRE_UPDATE_MAX];
            struct wbuf w;
            struct rbuf r;
            wbuf_init(&w, data, sizeof data);
            wire_put_update(&w, &u);
            cr_assert(!w.bad, "the largest update fits WIRE_UPDATE_MAX");
            rbuf_init(&r, data, w.len);
            cr_assert_eq(wire_get_update(&r, &got), 0);
            cr_assert_eq(rbuf_left(&r), 0);
            cr_assert_eq(got.state, u.state);
            cr_assert_eq(got.num, u.num);
            cr_assert_eq(got.incarnation, u.incarnation);
            cr_assert_eq(got.epoch, u.epoch);
            cr_assert_str_eq(got.id, u.id);
            cr_assert_eq(memcmp(&got.meta, &u.meta, sizeof u.meta), 0);
            cr_assert(addr_equal_all(&got.addrs, &u.addrs));
            cr_assert_eq(memcmp(got.key, u.key, sizeof u.key), 0);
            cr_assert_eq(memcmp(got.sig, u.sig, sizeof u.sig), 0);
            cr_assert_eq(got.vote_count, u.vote_count);
            cr_assert_eq(memcmp(got.vote, u.vote, sizeof u.vote), 0);
            for (size_t cut = 0; cut < w.len; cut++) {
                rbuf_init(&r, data, cut);
                cr_assert_eq(wire_get_update(&r, &got), ERR_MALFORMED, "cut at %zu", cut);
            }
        }
    }
}

/* A signature covers everything that it vouches for, and no statement reads as another. */
Test(wire, statements_cover_what_they_say)
{
    struct wire_update u = sample(MEMBER_ALIVE, true), v;
    uint8_t first[WIRE_STATEMENT_MAX], other[WIRE_STATEMENT_MAX];
    size_t len = wire_statement(&u, 0, first);
#define DIFFERS(change)                                                                            \
    do {                                                                                           \
        v = u;                                                                                     \
        change;                                                                                    \
        size_t got = wire_statement(&v, 0, other);                                                 \
        cr_assert(got != len || memcmp(first, other, len) != 0, #change);                          \
    } while (0)
    DIFFERS(v.num++);
    DIFFERS(v.incarnation++);
    DIFFERS(v.epoch++);
    DIFFERS(v.id[2] = 'j');
    DIFFERS(v.meta.zone[1] = 'y');
    DIFFERS(v.meta.version[0] = '8');
    DIFFERS(v.meta.api_port++);
    DIFFERS(v.meta.role = 0);
    DIFFERS(v.meta.lifecycle = 0);
    DIFFERS(v.key[31] ^= 1);
    DIFFERS(v.addrs.at[0].port ^= 1);
    DIFFERS(v.addrs.at[0].host[15] ^= 1);
    DIFFERS(v.addrs.at[2].host[15] ^= 8);
    DIFFERS(v.addrs.count--);
    DIFFERS(v.addrs.at[0] = u.addrs.at[1]; v.addrs.at[1] = u.addrs.at[0]);
#undef DIFFERS
    static const enum gossip_state states[] = {MEMBER_DEGRADED, MEMBER_SUSPECT, MEMBER_LEFT};
    uint8_t said[4][WIRE_STATEMENT_MAX];
    for (size_t i = 0; i < 3; i++) {
        v = (struct wire_update){.state = states[i], .num = 77, .incarnation = 300};
        cr_assert_eq(wire_statement(&v, 9, said[i]), 25);
        for (size_t k = 0; k < i; k++)
            cr_assert_neq(memcmp(said[i], said[k], 25), 0);
    }
    wire_statement(&v, 8, other);
    cr_assert_neq(memcmp(said[2], other, 25), 0, "by whom");
    v.state = MEMBER_FAILED;
    wire_statement(&v, 9, other);
    cr_assert_eq(memcmp(said[1], other, 25), 0, "suspect and failed: it is silent");
}

Test(wire, heads_survive_the_round_trip)
{
    for (int type = WIRE_PING; type < WIRE_TYPE_END; type++) {
        struct wire_head h = {.type = (enum wire_type)type}, got;
        if (type <= WIRE_NACK)
            h.seq = 0x0102;
        if (type == WIRE_PING) {
            h.digest = 0xaabbccdd;
            h.rows = 0x11223344;
            h.ring = 2;
            h.beats = WIRE_BEATS_MAX;
            memset(h.beat, 200, sizeof h.beat);
        }
        if (type == WIRE_ACK) {
            h.wait_ms = 1234;
            h.digest = 0xaabbccdd;
        }
        if (type == WIRE_PING_REQ)
            h.target = UINT64_MAX;
        if (type == WIRE_SYNC_ASK) {
            h.reply = true;
            for (uint32_t i = 0; i < WIRE_BUCKETS; i++)
                h.buckets[i] = i * 17;
        }
        uint8_t data[200];
        struct wbuf w;
        struct rbuf r;
        wbuf_init(&w, data, sizeof data);
        wire_put_head(&w, &h);
        cr_assert(!w.bad);
        rbuf_init(&r, data, w.len);
        cr_assert_eq(wire_get_head(&r, &got), 0);
        cr_assert_eq(memcmp(&got, &h, sizeof h), 0, "type %d", type);
        for (size_t cut = 0; cut < w.len; cut++) {
            rbuf_init(&r, data, cut);
            cr_assert_eq(wire_get_head(&r, &got), ERR_MALFORMED);
        }
    }
}

Test(wire, names_survive_the_round_trip)
{
    static const struct wire_name names[] = {{UINT64_MAX, WIRE_INCARNATION_MAX, MEMBER_LEFT},
                                             {1, 0, MEMBER_ALIVE},
                                             {2, 300, MEMBER_FAILED}};
    uint8_t data[3 * WIRE_NAME_MAX];
    struct wbuf w;
    struct rbuf r;
    struct wire_name got;
    wbuf_init(&w, data, sizeof data);
    for (size_t i = 0; i < 3; i++)
        wire_put_name(&w, &names[i]);
    cr_assert(!w.bad);
    rbuf_init(&r, data, w.len);
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(wire_get_name(&r, &got), 0);
        cr_assert_eq(memcmp(&got, &names[i], sizeof got), 0);
    }
    cr_assert_eq(wire_get_name(&r, &got), ERR_MALFORMED, "nothing is left");
    static const uint8_t states[] = {0, MEMBER_DEGRADED, MEMBER_SUSPECT, 6, 255};
    for (size_t i = 0; i < sizeof states; i++) {
        data[0] = states[i];
        rbuf_init(&r, data, w.len);
        cr_expect_eq(wire_get_name(&r, &got), ERR_MALFORMED, "state %d", states[i]);
    }
}

Test(wire, a_welcome_is_never_longer_than_a_join)
{
    struct wire_join j = {.type = WIRE_WELCOME, .self = sample(MEMBER_ALIVE, true)}, got;
    uint8_t data[WIRE_JOIN_LEN];
    j.seen = j.taken = j.self.addrs.at[0];
    j.refusal = WIRE_ID_TAKEN;
    j.known_state = MEMBER_SUSPECT;
    j.known_incarnation = 5;
    j.known_epoch = 6;
    j.nonce[3] = 9;
    size_t welcome = wire_put_join(&j, data);
    cr_assert_eq(wire_get_join(data, welcome, &got), 0);
    cr_assert_eq(got.refusal, WIRE_ID_TAKEN);
    cr_assert_eq(got.known_epoch, 6);
    cr_assert_eq(got.nonce[3], 9);
    j.type = WIRE_JOIN;
    j.asked = 7;
    size_t join = wire_put_join(&j, data);
    cr_assert_leq(welcome, join);
    cr_assert_eq(wire_get_join(data, join, &got), 0);
    cr_assert_eq(got.asked, 7);
    cr_assert_eq(got.known_epoch, 6);
    cr_assert_eq(wire_get_join(data, join - 1, &got), ERR_MALFORMED,
                 "a short join is not answered");
}

/* One address takes what it took before there could be several; no body has none, or one twice. */
Test(wire, a_member_has_one_to_three_addresses)
{
    static const struct {
        const char *what;
        uint8_t family[5]; /* as they travel; 128: one more follows */
        uint8_t last[5];
        int err;
    } cases[] = {
        {"one", {4}, {1}, 0},
        {"both families", {4 | 128, 6}, {1, 1}, 0},
        {"three", {4 | 128, 4 | 128, 6}, {1, 2, 3}, 0},
        {"four", {4 | 128, 4 | 128, 4 | 128, 4}, {1, 2, 3, 4}, ERR_MALFORMED},
        {"one twice", {4 | 128, 6 | 128, 4}, {1, 1, 1}, ERR_MALFORMED},
        {"none", {0}, {0}, ERR_MALFORMED},
        {"none behind one", {4 | 128, 0}, {1, 0}, ERR_MALFORMED},
        {"a family that there is not", {5}, {1}, ERR_MALFORMED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_update u = sample(MEMBER_ALIVE, true), got;
        uint8_t data[WIRE_UPDATE_MAX];
        struct wbuf w;
        struct rbuf r;
        wbuf_init(&w, data, sizeof data);
        wbuf_u8(&w, MEMBER_ALIVE | 8);
        wbuf_u64(&w, u.num);
        wbuf_varint(&w, u.incarnation);
        wbuf_u64(&w, u.epoch);
        bool more = true;
        for (size_t k = 0; more; k++) {
            uint8_t host[18] = {10}, family = cases[i].family[k] & 127;
            size_t len = family == 6 ? 18 : family == 0 ? 0 : 6;
            more = cases[i].family[k] > 127;
            host[len > 0 ? len - 3 : 0] = cases[i].last[k];
            wbuf_u8(&w, cases[i].family[k]);
            wbuf_bytes(&w, host, len);
        }
        wbuf_u8(&w, 1);
        wbuf_bytes(&w, "i", 1);
        wbuf_u8(&w, 0);
        wbuf_u8(&w, 0);
        wbuf_u16(&w, 7380);
        wbuf_u16(&w, 0);
        wbuf_bytes(&w, u.key, sizeof u.key);
        wbuf_bytes(&w, u.sig, sizeof u.sig);
        rbuf_init(&r, data, w.len);
        cr_expect_eq(wire_get_update(&r, &got), cases[i].err, "%s", cases[i].what);
        if (cases[i].err != 0)
            continue;
        struct wbuf again;
        uint8_t bytes[WIRE_UPDATE_MAX];
        wbuf_init(&again, bytes, sizeof bytes);
        wire_put_update(&again, &got);
        cr_expect(again.len == w.len && memcmp(bytes, data, w.len) == 0, "%s", cases[i].what);
    }
}

Test(wire, what_ends_in_logs_is_printable)
{
    struct wire_update u = sample(MEMBER_ALIVE, true), got;
    static const char bad[] = {'\n', '\x1b', ' ', '\x7f', '\x80'};
    for (size_t i = 0; i < sizeof bad; i++) {
        uint8_t data[WIRE_UPDATE_MAX];
        struct wbuf w;
        struct rbuf r;
        u.id[5] = bad[i];
        wbuf_init(&w, data, sizeof data);
        wire_put_update(&w, &u);
        rbuf_init(&r, data, w.len);
        cr_assert_eq(wire_get_update(&r, &got), ERR_MALFORMED);
    }
}

Test(wire, the_last_incarnation_is_malformed)
{
    static const struct {
        uint64_t incarnation;
        int err;
    } cases[] = {{0, 0},
                 {WIRE_INCARNATION_MAX, 0},
                 {WIRE_INCARNATION_MAX + 1, ERR_MALFORMED},
                 {UINT32_MAX, 0},
                 {UINT64_MAX, ERR_MALFORMED}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_update u = sample(MEMBER_FAILED, false), got;
        uint8_t data[WIRE_UPDATE_MAX];
        struct wbuf w;
        struct rbuf r;
        u.incarnation = cases[i].incarnation;
        wbuf_init(&w, data, sizeof data);
        wire_put_update(&w, &u);
        rbuf_init(&r, data, w.len);
        cr_assert_eq(wire_get_update(&r, &got), cases[i].err);
    }
}

Test(wire, mutated_and_random_bytes_never_crash)
{
    struct prng prng = {1};
    struct wire_join j = {.type = WIRE_WELCOME, .self = sample(MEMBER_ALIVE, true)};
    uint8_t good[WIRE_JOIN_LEN], data[WIRE_JOIN_LEN];
    size_t good_len = wire_put_join(&j, good);
    unsigned taken = 0;
    for (unsigned i = 0; i < 300000; i++) {
        struct wire_join join;
        struct wire_head head;
        struct wire_update update;
        struct rbuf r;
        size_t len = i % 2 == 0 ? good_len : prng_below(&prng, sizeof data);
        memcpy(data, good, good_len);
        unsigned changes = i % 2 == 0 ? 1 + (unsigned)prng_below(&prng, 4) : (unsigned)len;
        for (unsigned k = 0; k < changes && len > 0; k++)
            data[prng_below(&prng, len)] = (uint8_t)prng_next(&prng);
        taken += wire_get_join(data, len, &join) == 0;
        rbuf_init(&r, data, len);
        if (wire_get_head(&r, &head) == 0)
            while (wire_get_update(&r, &update) == 0)
                taken++;
        rbuf_init(&r, data + 17, len > 17 ? len - 17 : 0);
        if (wire_get_update(&r, &update) == 0) {
            /* Whatever is taken can be written again. */
            uint8_t again[WIRE_UPDATE_MAX];
            struct wbuf w;
            wbuf_init(&w, again, sizeof again);
            wire_put_update(&w, &update);
            cr_assert(!w.bad);
        }
    }
    cr_assert_gt(taken, 100, "some of them are valid, or this tests nothing");
}

Test(wire, addresses_in_words)
{
    struct gossip_addr a = {0};
    char text[ADDR_TEXT];
    cr_assert_str_eq(addr_text(&a, text), "?");
    a = (struct gossip_addr){.family = 4, .port = 7381, .host = {10, 1, 2, 3}};
    cr_assert_str_eq(addr_text(&a, text), "10.1.2.3:7381");
    struct wire_update u = sample(MEMBER_ALIVE, true);
    cr_assert_str_eq(addr_text(&u.addrs.at[0], text), "[fd00::1]:7381");
}
