/* SPDX-License-Identifier: Apache-2.0
 * Members that are slow, and know it. */
#include "gossip/swim_int.h"
#include "tests/unit/gossip/swim_world.h"

static const struct swim_member *view(unsigned by, unsigned of)
{
    return swim_find(world.node[by].s, swim_self(world.node[of].s)->m.num);
}

static unsigned held_to_be(unsigned of, enum gossip_state state)
{
    unsigned n = 0;
    for (unsigned i = 0; i < world.count; i++)
        n += i != of && view(i, of)->m.state == state;
    return n;
}

/* Runs for 60 ms in each second or two, not in step with its observers. */
static void starve(unsigned i, unsigned turn)
{
    world.node[i].state = PAUSED;
    world_run(1500 + 300 * (turn % 4));
    world.node[i].state = RUNNING;
    world_run(60);
}

/* Each time that it contradicts is news for all, and true for a second. */
Test(swim_calm, who_stops_and_goes_stays_degraded_until_it_goes_on)
{
    world_init(16, 3, 0);
    world_run(10000);
    uint64_t incarnation = swim_self(world.node[3].s)->m.incarnation;
    unsigned degraded = 0;
    for (unsigned turn = 0; turn < 60; turn++) {
        starve(3, turn);
        degraded += held_to_be(3, MEMBER_DEGRADED);
    }
    cr_expect_leq(swim_self(world.node[3].s)->m.incarnation, incarnation + 1); /* not 40 */
    cr_expect_gt(degraded, 60 * 15 / 4, "%u", degraded);
    cr_expect_eq(world.suspicions, 0);
    cr_expect_eq(world.failures, 0);
    cr_expect_leq(world_until_agreed(60000), SWIM_CALM_MAX_MS + 500);
    cr_expect_eq(held_to_be(3, MEMBER_ALIVE), 15);
    world_fini();
}

/* Nobody noticed the first pause, but it did. */
Test(swim_calm, who_stops_again_and_again_denies_nothing)
{
    world_init(16, 7, 0);
    world_run(10000);
    uint64_t incarnation = swim_self(world.node[3].s)->m.incarnation;
    swim_was_paused(world.node[3].s, world.now_ms);
    world_run(1000);
    cr_assert_eq(world.degraded, 0);
    for (unsigned turn = 0; turn < 10; turn++)
        starve(3, turn);
    cr_expect_gt(world.degraded, 0);
    cr_expect_eq(swim_self(world.node[3].s)->m.incarnation, incarnation);
    world_fini();
}

/* Pauses that have nothing to do with each other are over at once, each. */
Test(swim_calm, one_pause_now_and_then_is_contradicted_at_once)
{
    world_init(16, 5, 0);
    world_run(10000);
    for (unsigned k = 0; k < 3; k++) {
        world.node[3].state = PAUSED;
        world_run(8000);
        cr_assert_eq(held_to_be(3, MEMBER_DEGRADED), 15);
        world.node[3].state = RUNNING;
        world_run(500);
        cr_assert_eq(held_to_be(3, MEMBER_ALIVE), 15, "after pause %u", k);
        world_run(SWIM_CALM_FORGOTTEN_MS);
    }
    world_fini();
}

/* It waits to contradict, and is told to leave. */
Test(swim_calm, who_leaves_while_degraded_is_gone)
{
    world_init(16, 3, 0);
    world_run(10000);
    for (unsigned turn = 0; turn < 60 && world.node[3].s->contradict_ms == 0; turn++)
        starve(3, turn);
    cr_assert_neq(world.node[3].s->contradict_ms, 0);
    swim_leave(world.node[3].s, world.now_ms, &world.out);
    world_perform(3, 0, 0);
    world_run(SWIM_CALM_MAX_MS);
    cr_expect_eq(held_to_be(3, MEMBER_LEFT), 15);
    cr_expect_eq(swim_self(world.node[3].s)->m.state, MEMBER_LEFT);
    world_fini();
}

static void call_degraded(unsigned of, unsigned by)
{
    uint8_t bytes[SWIM_PACKET_MAX], said[WIRE_STATEMENT_MAX];
    const struct swim_member *liar = swim_self(world.node[by].s), *me = swim_self(world.node[of].s);
    struct wire_update u = {
        .state = MEMBER_DEGRADED, .num = me->m.num, .incarnation = me->m.incarnation};
    struct wbuf w;
    u.vote_count = 1;
    u.vote[0].num = liar->m.num;
    fake_sign(world.node[by].key, said, wire_statement(&u, liar->m.num, said), u.vote[0].sig);
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    wire_put_update(&w, &u);
    cr_assert_eq(swim_recv(world.node[of].s, world.now_ms, liar->m.num, world.node[by].epoch, bytes,
                           w.len, &world.out),
                 0);
    world.out.count = world.out.checks = world.out.hellos = 0;
}

/* Who was not paused knows better, however often it is told. */
Test(swim_calm, a_liar_does_not_make_it_wait)
{
    world_init(8, 7, 0);
    world_run(10000);
    for (unsigned k = 0; k < 10; k++) {
        uint64_t before = swim_self(world.node[3].s)->m.incarnation;
        call_degraded(3, 1);
        cr_assert_eq(swim_self(world.node[3].s)->m.incarnation, before + 1, "lie %u", k);
        world_run(100);
    }
    /* Nor whoever was paused once, and has denied that. */
    world.node[3].state = PAUSED;
    world_run(8000);
    world.node[3].state = RUNNING;
    world_run(500);
    cr_assert_eq(held_to_be(3, MEMBER_ALIVE), 7);
    for (unsigned k = 0; k < 10; k++) {
        uint64_t before = swim_self(world.node[3].s)->m.incarnation;
        call_degraded(3, 1);
        cr_assert_eq(swim_self(world.node[3].s)->m.incarnation, before + 1, "lie %u", k);
    }
    world_fini();
}

/* A process that is stopped for good on a host that answers: found by all, but not by those who
 * never asked it. */
static void stop_for_good(unsigned count, uint64_t seed)
{
    world_init(count, seed, 0);
    world_run(10000);
    world.node[3].state = PAUSED;
    world_run(SWIM_STALLED_MS - 2000);
    cr_expect_eq(held_to_be(3, MEMBER_DEGRADED), count - 1);
    cr_expect_eq(world.suspicions, 0);
    world_run(2000 + SWIM_RING_PERIOD_MS + 2 * SWIM_TALKS_MS + SWIM_SUSPECT_MAX_MS);
    cr_expect_eq(held_to_be(3, MEMBER_FAILED), count - 1, "%u members, seed %lu", count, seed);
    cr_expect_eq(world.failures_of_running, 0);
    world_fini();
}

Test(swim_calm, who_says_nothing_any_more_fails_in_bounded_time)
{
    for (uint64_t seed = 1; seed <= 40; seed++)
        stop_for_good(5, seed);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        stop_for_good(8, seed);
        stop_for_good(32, seed);
    }
}

/* Its word that 3 is degraded reached nobody, not even 3. */
Test(swim_calm, a_lone_voice_is_heard_by_whom_it_accuses)
{
    world_init(16, 3, 0);
    world_run(10000);
    unsigned by = 0;
    for (bool observes = true; observes; by += observes) { /* one that does not probe it anyway */
        observes = by == 3;
        for (unsigned ring = 0; ring < SWIM_RINGS; ring++)
            observes = observes || swim_observed(world.node[by].s, ring) == view(by, 3);
    }
    swim_accuse(world.node[by].s, world.now_ms, swim_get(world.node[by].s, view(by, 3)->m.num),
                true, false, &world.out);
    swim_forget(world.node[by].s, swim_get(world.node[by].s, view(by, 3)->m.num));
    world.out.count = world.out.checks = world.out.hellos = 0;
    cr_assert_eq(view(by, 3)->m.state, MEMBER_DEGRADED);
    world_run(SWIM_TALKS_MS + 500);
    cr_expect_eq(view(by, 3)->m.state, MEMBER_ALIVE);
    cr_expect_eq(world.suspicions, 0);
    world_fini();
}
