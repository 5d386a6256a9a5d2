/* SPDX-License-Identifier: Apache-2.0
 * Two members compare their lists: what that costs, and that both know all afterwards. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/hash.h"
#include "gossip/swim_int.h"
#include "tests/unit/gossip/fake_trust.h"

#define MANY 500u

struct side {
    struct swim *s;
    uint8_t key[WIRE_KEY];
    size_t sent, packets, wants; /* bytes and packets that it sent; members that it asked for */
};
static struct swim_out out;

static void begin(struct side *x, const char *id, uint64_t key)
{
    *x = (struct side){.s = calloc(1, swim_memory(1024))};
    struct swim_options o = {.members = 1024, .id = id, .incarnation = 1, .epoch = 1};
    o.addrs = (struct gossip_addrs){.at = {{.family = 4, .port = (uint16_t)key}}, .count = 1};
    fake_trust(&o, x->key, key);
    swim_init(x->s, &o, 1000);
    x->s->settled = true;
}

static void forget_news(struct swim *s)
{
    struct swim_change c;
    for (uint32_t i = 0; i < s->count; i++)
        swim_forget(s, swim_at(s, s->order[i]));
    while (swim_next_change(s, &c))
        ;
    out.count = out.checks = out.hellos = 0;
}

static void meet(struct swim *s, unsigned i, uint64_t incarnation)
{
    struct wire_update u = {.state = MEMBER_ALIVE, .has_body = true, .incarnation = incarnation};
    uint8_t said[WIRE_STATEMENT_MAX];
    u.epoch = 1;
    snprintf(u.id, sizeof u.id, "i-0123456789abc%04u", i);
    snprintf(u.meta.zone, sizeof u.meta.zone, "eu-west-1a");
    snprintf(u.meta.version, sizeof u.meta.version, "1.0.0");
    u.num = hash_str(u.id);
    u.addrs = (struct gossip_addrs){.at = {{.family = 4, .port = (uint16_t)(i + 1)}}, .count = 1};
    memset(u.key, (int)i + 1, sizeof u.key);
    memcpy(u.key, &i, sizeof i);
    fake_sign(u.key, said, wire_statement(&u, 0, said), u.sig);
    cr_assert_eq(swim_update(s, 1000, &u, u.num, false, &out), 0);
    forget_news(s);
}

/* Two that know each other, and nobody else. */
static void begin_two(struct side *a, struct side *b)
{
    struct wire_update u;
    begin(a, "a", 1001);
    begin(b, "b", 1002);
    swim_self_update(a->s, &u);
    cr_assert_eq(swim_update(b->s, 1000, &u, u.num, false, &out), 0);
    swim_self_update(b->s, &u);
    cr_assert_eq(swim_update(a->s, 1000, &u, u.num, false, &out), 0);
    forget_news(a->s);
    forget_news(b->s);
}

/* Delivers what `from` has to say to `to`, and what that has to say to it, to the end. News that
 * either tells by chance is not counted, and not delivered. */
static void deliver(struct side *from, struct side *to, uint64_t now_ms)
{
    struct swim_out *all = malloc(sizeof *all);
    do {
        *all = out;
        out.count = out.checks = out.hellos = 0;
        for (size_t i = 0; i < all->count; i++) {
            const struct swim_packet *p = &all->packet[i];
            if (p->data[0] < WIRE_SYNC_ASK)
                continue;
            from->sent += p->len;
            from->packets++;
            from->wants += p->data[0] == WIRE_SYNC_WANT ? (p->len - 1u) / sizeof(uint64_t) : 0;
            cr_assert_eq(
                swim_recv(to->s, now_ms, swim_self(from->s)->m.num, 1, p->data, p->len, &out), 0);
            cr_assert_lt(out.count, SWIM_OUT_MAX);
            deliver(to, from, now_ms);
        }
        forget_news(from->s);
        forget_news(to->s);
        swim_lists_tick(from->s, now_ms, &out);
    } while (out.count > 0);
    free(all);
}

static void compare(struct side *a, struct side *b)
{
    swim_sync_ask(a->s, 2000, swim_self(b->s)->m.num, false, true, &out);
    deliver(a, b, 2000);
    deliver(b, a, 2000);
}

static void expect_the_same(const struct side *a, const struct side *b)
{
    cr_expect_eq(swim_digest(a->s), swim_digest(b->s));
    cr_expect_eq(a->s->live, b->s->live);
}

static void end_two(struct side *a, struct side *b)
{
    free(a->s);
    free(b->s);
}

Test(swim_lists, a_comparison_costs_what_differs)
{
    struct side a, b;
    begin_two(&a, &b);
    for (unsigned i = 0; i < MANY; i++) {
        if (i % 50 != 7) /* b has seen ten that a has not, a five that have said more since */
            meet(a.s, i, i % 100 == 3 ? 2 : 1);
        meet(b.s, i, 1);
    }
    compare(&a, &b);
    expect_the_same(&a, &b);
    cr_expect_eq(a.wants, 10);
    cr_expect_eq(b.wants, 5);
    cr_expect_eq(a.s->live, MANY + 2);
    cr_log_info("%zu and %zu bytes in %zu and %zu packets", a.sent, b.sent, a.packets, b.packets);
    cr_expect_lt(a.sent + b.sent, 12000); /* bodies of all: 110,000 */
    end_two(&a, &b);
}

Test(swim_lists, whoever_has_nothing_gets_all_at_once)
{
    struct side a, b;
    begin_two(&a, &b);
    for (unsigned i = 0; i < MANY; i++)
        meet(b.s, i, 1);
    compare(&a, &b);
    expect_the_same(&a, &b);
    cr_expect_eq(a.s->live, MANY + 2);
    /* Of the buckets of which it had none, that is; its own and the other's are two of 32. */
    cr_expect_leq(a.wants, 3 * MANY / WIRE_BUCKETS + 20);
    end_two(&a, &b);
}

/* Half a cluster comes back: everything differs, on both sides, in every bucket. */
Test(swim_lists, two_halves_become_one)
{
    struct side a, b;
    begin_two(&a, &b);
    for (unsigned i = 0; i < MANY; i++)
        meet(i % 2 == 0 ? a.s : b.s, i, 1);
    compare(&a, &b);
    expect_the_same(&a, &b);
    cr_expect_eq(a.s->live, MANY + 2);
    end_two(&a, &b);
}

static size_t pages_for(struct side *x, uint64_t from, bool proven, const uint64_t *nums,
                        size_t count)
{
    uint8_t bytes[SWIM_PACKET_MAX];
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_SYNC_WANT});
    for (size_t i = 0; i < count; i++)
        wbuf_u64(&w, nums[i]);
    cr_assert(!w.bad);
    out.count = 0;
    cr_assert_eq(proven ? swim_recv(x->s, 2000, from, 1, bytes, w.len, &out)
                        : swim_recv_stranger(x->s, 2000, from, bytes, w.len, &out),
                 0);
    size_t pages = 0;
    for (size_t i = 0; i < out.count; i++)
        pages += out.packet[i].data[0] == WIRE_SYNC;
    forget_news(x->s);
    return pages;
}

Test(swim_lists, a_want_is_bounded_and_strangers_get_nothing)
{
    struct side a, b;
    uint64_t nums[SWIM_PACKET_MAX / sizeof(uint64_t) - 1], known = 0;
    begin_two(&a, &b);
    meet(b.s, 1, 1);
    for (uint32_t i = 0; i < b.s->count; i++)
        if (swim_nth(b.s, i)->m.num != swim_self(a.s)->m.num && !swim_nth(b.s, i)->m.self)
            known = swim_nth(b.s, i)->m.num;
    for (size_t i = 0; i < sizeof nums / sizeof *nums; i++)
        nums[i] = known;
    cr_expect_eq(pages_for(&b, swim_self(a.s)->m.num, true, nums, 1), 1);
    cr_expect_leq(pages_for(&b, swim_self(a.s)->m.num, true, nums, sizeof nums / sizeof *nums),
                  SWIM_OUT_PAGES);
    cr_expect_eq(pages_for(&b, 12345, true, nums, 5), 0, "nobody known asks");
    cr_expect_eq(pages_for(&b, swim_self(a.s)->m.num, false, nums, 5), 0, "it may be another");
    memset(nums, 7, sizeof nums);
    cr_expect_eq(pages_for(&b, swim_self(a.s)->m.num, true, nums, 5), 0, "nobody knows these");
    end_two(&a, &b);
}

/* Somebody with the cluster's key says that it is b, and has more to tell. */
Test(swim_lists, a_stranger_makes_nobody_want_anything)
{
    struct side a, b;
    uint8_t bytes[64];
    struct wbuf w;
    begin_two(&a, &b);
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_SYNC_NAMES});
    wire_put_name(&w, &(struct wire_name){.num = 77, .incarnation = 5, .state = MEMBER_ALIVE});
    uint64_t from = swim_self(b.s)->m.num;
    cr_assert_eq(swim_recv_stranger(a.s, 2000, from, bytes, w.len, &out), 0);
    cr_expect_eq(out.count, 0);
    cr_assert_eq(swim_recv(a.s, 2000, from, 1, bytes, w.len, &out), 0);
    cr_expect_eq(out.count, 1, "b itself does");
    out.count = 0;
    end_two(&a, &b);
}

Test(swim_lists, a_death_is_wanted)
{
    struct side a, b;
    begin_two(&a, &b);
    meet(a.s, 1, 1);
    meet(b.s, 1, 1);
    swim_evict(b.s, 1500, hash_str("i-0123456789abc0001"), true); /* dead at b, that is */
    forget_news(b.s);
    compare(&a, &b);
    cr_expect_eq(a.wants, 1);
    cr_expect_eq(b.wants, 0);
    end_two(&a, &b);
}

/* Nobody waits for the evicted: their newer words are not asked for, again and again. */
Test(swim_lists, the_evicted_are_not_wanted)
{
    struct side a, b;
    begin_two(&a, &b);
    meet(a.s, 1, 1);
    meet(b.s, 1, 2);
    uint64_t num = hash_str("i-0123456789abc0001");
    swim_evict(a.s, 1500, num, true);
    forget_news(a.s);
    compare(&a, &b);
    cr_expect_eq(a.wants, 0);
    cr_expect_eq(swim_find(a.s, num)->m.state, MEMBER_FAILED);
    end_two(&a, &b);
}
