/* SPDX-License-Identifier: Apache-2.0
 * Members of several addresses. Network 0 carries to each one's first address (IPv4), network 1 to
 * its second (IPv6), network 2 to its third (IPv4). */
#include "tests/unit/gossip/swim_world.h"

static uint64_t num_of(unsigned i)
{
    return swim_self(world.node[i].s)->m.num;
}

static const struct swim_member *view(unsigned of, unsigned about)
{
    return swim_find(world.node[of].s, num_of(about));
}

/* The network by which one speaks to another. */
static unsigned way(unsigned from, unsigned to)
{
    const struct swim_member *m = view(from, to);
    return m->m.addrs->at[m->m.using].host[0];
}

static unsigned astray(unsigned about)
{
    unsigned n = 0;
    for (unsigned i = 0; i < world.count; i++)
        n += i != about && (world.node[about].dark >> way(i, about) & 1) != 0;
    return n;
}

static void begin(unsigned count, unsigned addresses, uint64_t seed, double loss)
{
    world_addresses = addresses;
    world_init(count, seed, loss);
    world_run(5000);
    (void)world_until_agreed(5000);
    cr_assert(world_agrees());
    world.suspicions = world.degraded = 0;
}

Test(swim_address, all_begin_with_what_a_member_names_first)
{
    begin(8, 3, 5, 0);
    for (unsigned i = 0; i < 8; i++)
        for (unsigned k = 0; k < 8; k++)
            cr_expect_eq(way(i, k), 0);
    world_fini();
}

/* Bar: nobody suspects it, all reach it by the other network soon, and it comes back. */
Test(swim_address, one_of_two_networks_goes_dark)
{
    begin(16, 2, 7, 0);
    world.node[3].dark = 1;
    unsigned long took = 0;
    for (; astray(3) > 0 && took < 10000; took += 10)
        world_run(10);
    cr_log_info("all others use its IPv6 after %lu ms", took);
    cr_expect_leq(took, 4000);
    for (unsigned i = 0; i < 16; i++)
        cr_expect(i == 3 || way(3, i) == 1, "it speaks to %u by the network that it has", i);
    world_run(20000);
    cr_expect_eq(world.suspicions, 0);
    cr_expect_eq(world.degraded, 0);
    cr_expect_eq(view(0, 3)->m.addrs->at[0].family, 6, "its word names the IPv6 first now");
    world.node[3].dark = 2; /* the first is back, the other goes */
    world_run(5000);
    cr_expect_eq(astray(3), 0);
    world_run(20000);
    cr_expect_eq(world.suspicions, 0);
    cr_expect_eq(world.failures, 0);
    cr_expect(world_agrees());
    world_fini();
}

Test(swim_address, the_same_while_packets_are_lost)
{
    begin(16, 2, 9, 0.05);
    world.node[3].dark = 1;
    world_run(5000);
    cr_expect_eq(astray(3), 0);
    world_run(60000);
    cr_expect_eq(world.failures, 0);
    world_fini();
}

/* Two of three, in turn: each of them is tried. */
Test(swim_address, the_last_of_three_is_found)
{
    begin(8, 3, 11, 0);
    world.node[2].dark = 1 | 2;
    world_run(12000);
    for (unsigned i = 0; i < 8; i++)
        cr_expect(i == 2 || view(i, 2)->m.state == MEMBER_ALIVE);
    for (unsigned ring = 0; ring < SWIM_RINGS; ring++)
        for (unsigned i = 0; i < 8; i++) {
            const struct swim_member *m = swim_observed(world.node[i].s, ring);
            cr_expect(m == NULL || m->m.num != num_of(2) || way(i, 2) == 2, "its observer %u", i);
        }
    cr_expect_eq(world.failures, 0);
    world_fini();
}

/* Who is gone from both is found as soon as one that has one. */
Test(swim_address, a_member_that_vanishes_is_found_as_ever)
{
    uint64_t last[2];
    for (unsigned addresses = 1; addresses <= 2; addresses++) {
        begin(16, addresses, 13, 0);
        uint64_t from = world.now_ms;
        world.node[5].state = VANISHED;
        world_run(3000);
        last[addresses - 1] = 0;
        for (unsigned i = 0; i < 16; i++)
            if (i != 5 && world.node[i].failed_at[5] - from > last[addresses - 1])
                last[addresses - 1] = world.node[i].failed_at[5] - from;
        cr_expect_eq(world.failures, 15, "%u addresses", addresses);
        world_fini();
    }
    cr_log_info("the last knows after %lu ms; with two addresses %lu ms", last[0], last[1]);
    cr_expect_leq(last[1], 1500);
}

/* The number of the ping to one address of member `about` in what node 0 sends now; 0: none. */
static uint16_t pinged(unsigned about, uint8_t at)
{
    struct wire_head h;
    struct rbuf r;
    for (size_t i = 0; i < world.out.count; i++) {
        const struct swim_packet *p = &world.out.packet[i];
        rbuf_init(&r, p->data, p->len);
        if (p->to == num_of(about) && p->via == at + 1u && wire_get_head(&r, &h) == 0 &&
            h.type == WIRE_PING)
            return h.seq;
    }
    return 0;
}

static void acked(unsigned by, uint16_t seq)
{
    uint8_t data[16];
    struct wbuf w;
    wbuf_init(&w, data, sizeof data);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_ACK, .seq = seq});
    cr_assert_eq(swim_recv(world.node[0].s, world.now_ms, num_of(by), world.node[by].epoch, data,
                           w.len, &world.out),
                 0);
}

/* What node 0 asks of node 4, by itself: others stand still. */
static void look(uint16_t first[2], uint16_t again[2])
{
    struct swim *s = world.node[0].s;
    world.out = (struct swim_out){0};
    swim_suspicious(s, world.now_ms, num_of(4), &world.out);
    for (uint8_t at = 0; at < 2; at++)
        first[at] = pinged(4, at);
    world.out = (struct swim_out){0};
    world.now_ms += 110;
    swim_tick(s, world.now_ms, &world.out);
    for (uint8_t at = 0; at < 2; at++)
        again[at] = pinged(4, at);
    world.out = (struct swim_out){0};
}

Test(swim_address, the_second_ping_goes_to_both_each_with_a_number_of_its_own)
{
    uint16_t first[2], again[2];
    begin(6, 2, 15, 0);
    look(first, again);
    cr_expect_neq(first[0], 0);
    cr_expect_eq(first[1], 0);
    cr_expect_eq(again[0], first[0]);
    cr_expect_neq(again[1], 0);
    cr_expect_neq(again[1], again[0]);
    world_fini();
}

/* Which address is used follows from what was answered: the number of the ping that went there. */
Test(swim_address, what_alone_answers_is_used)
{
    static const struct {
        const char *what;
        int acks[2]; /* of the pings to which address, in order; -1: none */
        uint8_t using;
    } cases[] = {
        {"only the other answers", {1, -1}, 1},
        {"the one in use answers a little later: a lost packet", {1, 0}, 0},
        {"the one in use answers", {0, -1}, 0},
        {"nobody does", {-1, -1}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint16_t first[2], again[2];
        begin(6, 2, 17, 0);
        look(first, again);
        for (size_t k = 0; k < 2; k++)
            if (cases[i].acks[k] >= 0)
                acked(4, again[cases[i].acks[k]]);
        acked(4, (uint16_t)(again[1] + 1000)); /* of no ping of ours: says nothing */
        world.out = (struct swim_out){0};
        cr_expect_eq(view(0, 4)->m.using, 0, "%s: not at once", cases[i].what);
        world.now_ms += 90;
        swim_tick(world.node[0].s, world.now_ms, &world.out);
        cr_expect_eq(view(0, 4)->m.using, cases[i].using, "%s", cases[i].what);
        world.out = (struct swim_out){0};
        world_fini();
    }
}

/* A process that is gone refuses everywhere; one network may hold another host by now. */
Test(swim_address, a_refusal_is_one_at_all_addresses)
{
    uint16_t first[2], again[2];
    begin(6, 2, 19, 0);
    struct swim *s = world.node[0].s;
    look(first, again);
    swim_checked(s, world.now_ms, num_of(4), 0, CHECK_REFUSED, &world.out);
    swim_tick(s, world.now_ms, &world.out);
    cr_expect_eq(view(0, 4)->m.state, MEMBER_ALIVE);
    swim_checked(s, world.now_ms, num_of(4), 1, CHECK_REFUSED, &world.out);
    swim_tick(s, world.now_ms, &world.out);
    cr_expect_eq(view(0, 4)->m.state, MEMBER_SUSPECT);
    world_fini();
}

/* A host without IPv6 among others that prefer it sends nothing there, nor is anything amiss. */
Test(swim_address, who_has_no_ipv6_uses_none)
{
    world_addresses = 2;
    world_init(8, 21, 0);
    world.node[1].ipv4_only = true;
    world.node[1].incarnation++;
    world_start(1);
    world_join(1, 0, true);
    world_run(5000);
    world.node[5].dark = 1;
    world_run(30000);
    cr_expect_eq(world.ipv6_to_none, 0);
    cr_expect_eq(swim_usable(world.node[1].s, view(1, 3)), 1);
    cr_expect_eq(way(1, 3), 0);
    cr_expect_eq(way(0, 5), 1);
    /* Others reach number 5 by IPv6 and lend a hand: it is not buried by one that cannot. */
    cr_expect_eq(view(0, 5)->m.state, MEMBER_ALIVE);
    cr_expect_eq(view(1, 5)->m.state, MEMBER_ALIVE);
    cr_expect_eq(world.failures, 0);
    world_fini();
}

/* It came back with its addresses in another order: the same member, no other of its id. */
Test(swim_address, the_order_of_addresses_is_no_identity)
{
    const struct gossip_member *other;
    struct wire_update u;
    begin(4, 2, 23, 0);
    swim_self_update(world.node[2].s, &u);
    struct gossip_addr first = u.addrs.at[0];
    u.addrs.at[0] = u.addrs.at[1];
    u.addrs.at[1] = first;
    cr_expect_eq(swim_admit(world.node[0].s, &u, &other), WIRE_ACCEPTED);
    u.addrs.at[1].port++;
    cr_expect_eq(swim_admit(world.node[0].s, &u, &other), WIRE_ACCEPTED, "one is known");
    u.addrs.at[0].port++;
    cr_expect_eq(swim_admit(world.node[0].s, &u, &other), WIRE_ID_TAKEN, "none is");
    world_fini();
}
