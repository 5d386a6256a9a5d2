/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/gossip/swim_world.h"

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

Test(swim, a_mass_start_converges)
{
    static const struct {
        unsigned count;
        double loss;
        uint64_t limit_ms;
    } cases[] = {{2, 0, 100}, {3, 0, 100}, {16, 0, 300}, {64, 0, 500}, {64, 0.05, 2500}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world_init(cases[i].count, 7 + i, cases[i].loss);
        uint64_t took = world_until_agreed(20000);
        cr_log_info("%u members, loss %.2f: %lu ms", cases[i].count, cases[i].loss, took);
        cr_assert(world_agrees());
        cr_assert_leq(took, cases[i].limit_ms);
        cr_assert_eq(world.failures, 0);
        world_fini();
    }
}

Test(swim, a_newcomer_is_seen_by_all_at_once)
{
    world_init(64, 3, 0);
    world_run(10000);
    world.node[63].state = VANISHED;
    world_run(20000);
    world.node[63].incarnation++;
    world_start(63);
    world_join(63, 5, true);
    uint64_t took = world_until_agreed(5000);
    cr_log_info("seen by all after %lu ms", took);
    cr_assert_leq(took, 100);
    world_fini();
}

/* Host gone: time until everyone marked it, over many trials. */
static void detection(unsigned count, double loss, enum world_state how, uint64_t *ret_p50,
                      uint64_t *ret_max)
{
    uint64_t took[60];
    unsigned trials = 40;
    world_init(count, 11, loss);
    world_run(15000);
    for (unsigned t = 0; t < trials; t++) {
        unsigned victim = 1 + t % (count - 1);
        world_run(prng_below(&world.prng, 3000));
        uint64_t start = world.now_ms, last = 0;
        for (unsigned i = 0; i < count; i++)
            world.node[i].failed_at[victim] = 0;
        world.node[victim].state = how;
        world_run(12000);
        for (unsigned i = 0; i < count; i++) {
            if (i == victim)
                continue;
            cr_assert_neq(world.node[i].failed_at[victim], 0, "node %u never marked %u", i, victim);
            if (world.node[i].failed_at[victim] - start > last)
                last = world.node[i].failed_at[victim] - start;
        }
        took[t] = last;
        world.node[victim].incarnation++;
        world_start(victim);
        world_join(victim, 0, true);
        world_run(3000);
    }
    qsort(took, trials, sizeof took[0], compare);
    *ret_p50 = took[trials / 2];
    *ret_max = took[trials - 1];
    cr_assert_eq(world.failures_of_running, 0);
    world_fini();
}

Test(swim, a_vanished_host_is_marked_by_all_in_bounded_time)
{
    static const struct {
        unsigned count;
        double loss;
        enum world_state how;
        uint64_t p50, max;
    } cases[] = {{8, 0, VANISHED, 1200, 2500}, /* any seed's tail: three others have to look */
                 {32, 0, VANISHED, 1200, 1600},
                 {64, 0, VANISHED, 1200, 1600},
                 {32, 0.05, VANISHED, 1500, 3500},
                 {32, 0, KILLED, 1200, 1600}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t p50, max;
        detection(cases[i].count, cases[i].loss, cases[i].how, &p50, &max);
        cr_log_info("%u members, loss %.2f, %s: p50 %lu ms, max %lu ms", cases[i].count,
                    cases[i].loss, cases[i].how == KILLED ? "killed" : "vanished", p50, max);
        cr_expect_leq(p50, cases[i].p50);
        cr_expect_leq(max, cases[i].max);
    }
}

Test(swim, an_hour_with_loss_fails_nobody_and_stays_quiet)
{
    world_init(32, 5, 0.05);
    world_run(10000);
    uint64_t packets = 0, bytes = 0;
    for (unsigned i = 0; i < 32; i++)
        world.node[i].sent_packets = world.node[i].sent_bytes = 0;
    world_run(3600 * 1000);
    for (unsigned i = 0; i < 32; i++) {
        packets += world.node[i].sent_packets;
        bytes += world.node[i].sent_bytes;
    }
    cr_log_info("per agent: %.2f packets/s, %.0f B/s; %u suspicions seen",
                (double)packets / 32 / 3600, (double)bytes / 32 / 3600, world.suspicions);
    cr_assert_eq(world.failures, 0);
    cr_assert(world_agrees());
    cr_assert_lt(bytes / 32 / 3600, 320); /* retries for lost packets included */
    world_fini();
}

Test(swim, idle_traffic_does_not_grow_with_the_cluster)
{
    static const unsigned counts[] = {16, 100};
    for (unsigned k = 0; k < 2; k++) {
        uint64_t bytes = 0;
        world_init(counts[k], 5, 0);
        world_run(20000);
        for (unsigned i = 0; i < counts[k]; i++)
            world.node[i].sent_bytes = 0;
        world_run(60000);
        for (unsigned i = 0; i < counts[k]; i++)
            bytes += world.node[i].sent_bytes;
        cr_log_info("%u members: %.0f B/s per agent", counts[k], (double)bytes / counts[k] / 60);
        cr_assert_leq(bytes / counts[k] / 60, 275);
        world_fini();
    }
}

Test(swim, paused_members_are_degraded_not_failed_and_fail_nobody)
{
    world_init(32, 9, 0.01);
    world_run(10000);
    for (unsigned round = 0; round < 9; round++) {
        for (unsigned i = 0; i < 4; i++)
            world.node[(round * 4 + i) % 32].state = PAUSED;
        world_run(10000);
        for (unsigned i = 0; i < 4; i++)
            world.node[(round * 4 + i) % 32].state = RUNNING;
        world_run(250);
    }
    world_run(10000);
    cr_log_info("degraded events %u, failures %u", world.degraded, world.failures);
    cr_assert_eq(world.failures_of_running, 0);
    cr_assert_gt(world.degraded, 0);
    cr_assert_lt(world.failures, 100); /* Serf: 1,016 */
    cr_assert(world_agrees());
    world_fini();
}

/* Degraded lasts half a minute, because the host answers: it must not hide that the process ended.
 */
Test(swim, a_member_killed_while_degraded_is_marked_in_bounded_time)
{
    static const unsigned counts[] = {5, 32};
    for (unsigned k = 0; k < 2; k++) {
        world_init(counts[k], 11, 0);
        world_run(10000);
        world.node[3].state = PAUSED;
        world_run(6000);
        cr_assert_gt(world.degraded, 0);
        cr_assert_eq(world.failures, 0);
        uint64_t start = world.now_ms;
        world.node[3].state = KILLED;
        world_run(6000);
        for (unsigned i = 0; i < counts[k]; i++)
            cr_assert(i == 3 || world.node[i].failed_at[3] > start,
                      "%u members: %u never marked it", counts[k], i);
        cr_assert_eq(world.failures_of_running, 0);
        world_fini();
    }
}

Test(swim, a_partition_heals)
{
    world_init(32, 13, 0);
    world_run(10000);
    for (unsigned i = 16; i < 32; i++)
        world.node[i].side = 1;
    world_run(45000);
    for (unsigned i = 0; i < 32; i++)
        cr_assert_eq(world.node[i].s->live, 16, "node %u sees %u", i, world.node[i].s->live);
    unsigned before = world.failures;
    for (unsigned i = 16; i < 32; i++)
        world.node[i].side = 0;
    uint64_t took = world_until_agreed(30000);
    cr_log_info("whole after %lu ms", took);
    cr_assert_leq(took, 5000);
    cr_assert_eq(world.failures, before, "healing fails nobody");
    world_fini();
}

Test(swim, a_mass_restart_is_right_at_once)
{
    world_init(32, 17, 0);
    world_run(5000);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 32; i++) {
            world.node[i].incarnation++;
            world_start(i);
            world_join(i, (i + 1) % 32, true);
            world_run(100);
        }
        uint64_t took = world_until_agreed(20000);
        cr_log_info("right after %lu ms", took);
        cr_assert_leq(took, 5000);
    }
    world_fini();
}

/* ---- words ---------------------------------------------------------------------------------- */

static uint64_t num_of(unsigned i)
{
    return swim_self(world.node[i].s)->m.num;
}

static void vote(struct wire_update *u, unsigned by)
{
    uint8_t bytes[WIRE_STATEMENT_MAX];
    struct wire_vote *v = &u->vote[u->vote_count++];
    v->num = num_of(by);
    fake_sign(world.node[by].key, bytes, wire_statement(u, v->num, bytes), v->sig);
}

static void sign(struct wire_update *u, unsigned by)
{
    uint8_t bytes[WIRE_STATEMENT_MAX];
    memcpy(u->key, world.node[by].key, WIRE_KEY);
    fake_sign(world.node[by].key, bytes, wire_statement(u, 0, bytes), u->sig);
}

static int tell(unsigned to, unsigned from, const struct wire_update *u)
{
    uint8_t data[600];
    struct wbuf w;
    wbuf_init(&w, data, sizeof data);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    wire_put_update(&w, u);
    int err = swim_recv(world.node[to].s, world.now_ms, num_of(from), 0, data, w.len, &world.out);
    world_perform(to, 0, 0);
    return err;
}

static const struct swim_member *view(unsigned of, unsigned about)
{
    return swim_find(world.node[of].s, num_of(about));
}

Test(swim, a_node_that_lost_its_incarnation_comes_back)
{
    world_init(8, 19, 0);
    world_run(3000);
    /* Let it refute its way up, then lose its memory. */
    for (unsigned i = 0; i < 20; i++) {
        struct wire_update u = {.state = MEMBER_SUSPECT, .num = num_of(3)};
        u.incarnation = world.node[3].incarnation;
        vote(&u, 1);
        vote(&u, 2);
        cr_assert_eq(tell(3, 1, &u), 0);
        cr_assert_eq(world.node[3].incarnation, u.incarnation + 1);
    }
    world_run(1000);
    world.node[3].incarnation = 1;
    world_start(3);
    world_join(3, 0, true);
    cr_assert_leq(world_until_agreed(5000), 1000);
    cr_assert_eq(view(6, 3)->m.incarnation, 22);
    world_fini();
}

Test(swim, a_stale_alive_does_not_revive)
{
    world_init(5, 23, 0);
    world_run(3000);
    world.node[4].state = VANISHED;
    world_run(10000);
    struct wire_update alive;
    swim_self_update(world.node[4].s, &alive);
    tell(0, 1, &alive);
    cr_assert_eq(view(0, 4)->m.state, MEMBER_FAILED);
    alive.incarnation++;
    sign(&alive, 4);
    tell(0, 1, &alive);
    cr_assert_eq(view(0, 4)->m.state, MEMBER_ALIVE);
    world_fini();
}

/* SWIM 4.2: what was said before a suspicion does not end it. */
Test(swim, only_a_greater_incarnation_refutes)
{
    struct wire_update alive;
    world_init(5, 43, 0);
    world_run(3000);
    swim_self_update(world.node[4].s, &alive);
    world.node[4].state = VANISHED;
    struct wire_update doubt = {
        .state = MEMBER_SUSPECT, .num = alive.num, .incarnation = alive.incarnation};
    vote(&doubt, 1);
    vote(&doubt, 2);
    tell(0, 1, &doubt);
    cr_assert_eq(view(0, 4)->m.state, MEMBER_SUSPECT);
    tell(0, 1, &alive);
    cr_expect_eq(view(0, 4)->m.state, MEMBER_SUSPECT);
    alive.incarnation++;
    sign(&alive, 4);
    tell(0, 1, &alive);
    cr_expect_eq(view(0, 4)->m.state, MEMBER_ALIVE);
    world_fini();
}

/* Its kernel took the connection while the process was ending: that is no host that answers. */
Test(swim, a_connection_that_ends_at_once_is_a_refusal)
{
    world_init(5, 53, 0);
    world_run(3000);
    struct swim *s = world.node[0].s;
    world.node[4].state = VANISHED;
    world_run(1);
    swim_suspicious(s, world.now_ms, num_of(4), &world.out);
    world.out = (struct swim_out){0};
    swim_checked(s, world.now_ms, num_of(4), 0, CHECK_CONNECTED, &world.out);
    swim_tick(s, world.now_ms, &world.out);
    cr_assert_eq(view(0, 4)->m.state, MEMBER_ALIVE);
    swim_checked(s, world.now_ms, num_of(4), 0, CHECK_REFUSED, &world.out);
    swim_tick(s, world.now_ms, &world.out);
    cr_assert_eq(view(0, 4)->m.state, MEMBER_SUSPECT);
    world_fini();
}

/* It answers no probe, all others bury it, but its packets come here: a path that is cut one way.
 */
Test(swim, who_still_talks_is_not_buried)
{
    struct wire_update alive;
    world_init(6, 47, 0);
    world_run(3000);
    swim_self_update(world.node[1].s, &alive);
    world.node[1].state = VANISHED;
    for (unsigned i = 0; i < 200; i++) {
        world_run(25);
        tell(0, 1, &alive);
        cr_assert_neq(view(0, 1)->m.state, MEMBER_FAILED, "after %u ms", 25 * i);
    }
    world_run(10000);
    cr_expect_eq(view(0, 1)->m.state, MEMBER_FAILED);
    world_fini();
}

/* After a partition the other half's verdict comes again and again. Each time it may not cut short
 * the look by which we find that the accused lives. */
Test(swim, a_verdict_that_comes_again_ends_no_look)
{
    world_init(20, 83, 0);
    world_run(3000);
    struct wire_update dead = {.state = MEMBER_FAILED, .num = num_of(5)};
    dead.incarnation = world.node[5].incarnation;
    for (unsigned i = 1; i <= 3; i++)
        vote(&dead, i);
    world.node[5].side = 1;
    for (unsigned ms = 0; ms < 5000; ms += 10) {
        tell(0, 1, &dead);
        world_run(10);
        if (ms == SWIM_SUSPECT_HEARD_MS + 50)
            world.node[5].side = 0;
        cr_assert_neq(view(0, 5)->m.state, MEMBER_FAILED, "after %u ms", ms);
    }
    cr_expect_gt(view(0, 5)->m.incarnation, dead.incarnation);
    world_fini();
}

/* Of a death the first vote may come just before the verdict of those who had all of them. */
Test(swim, a_verdict_that_overtakes_votes_puts_nothing_off)
{
    world_init(20, 83, 0);
    world_run(3000);
    struct wire_update u = {.state = MEMBER_SUSPECT, .num = num_of(5)};
    u.incarnation = world.node[5].incarnation;
    world.node[5].state = VANISHED;
    vote(&u, 1);
    tell(0, 1, &u);
    cr_expect_eq(view(0, 5)->m.state, MEMBER_ALIVE);
    world_run(10);
    u.state = MEMBER_FAILED;
    u.vote_count = 0;
    for (unsigned i = 1; i <= 3; i++)
        vote(&u, i);
    tell(0, 2, &u);
    cr_expect_eq(view(0, 5)->m.state, MEMBER_SUSPECT);
    world_run(SWIM_SUSPECT_MIN_MS + 5);
    cr_expect_eq(view(0, 5)->m.state, MEMBER_FAILED);
    world_fini();
}

Test(swim, a_packet_makes_few_packets)
{
    world_init(16, 37, 0);
    world_run(20000);
    struct swim *s = world.node[0].s;
    uint64_t from = swim_self(world.node[1].s)->m.num;
    uint8_t data[SWIM_PACKET_MAX];
    size_t most = 0, relayed = 0;
    for (unsigned i = 0; i < 300; i++) {
        struct wbuf w;
        wbuf_init(&w, data, sizeof data);
        wire_put_head(&w, &(struct wire_head){.type = i % 2 == 0 ? WIRE_PING : WIRE_PING_REQ,
                                              .seq = (uint16_t)(i + 1),
                                              .digest = swim_digest(s),
                                              .target = swim_self(world.node[2].s)->m.num});
        swim_recv(s, world.now_ms, from, 0, data, w.len, &world.out);
        most = world.out.count > most ? world.out.count : most;
        relayed += i % 2 == 1 ? world.out.count : 0;
        world.out.count = 0;
    }
    cr_assert_leq(most, 1);
    cr_assert_leq(relayed, 1, "the same request again is not relayed again: %zu", relayed);
    world_fini();
}

Test(swim, random_bytes_change_nothing_that_lasts)
{
    world_init(8, 41, 0);
    world_run(5000);
    struct prng prng = {99};
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t data[200];
        size_t len = prng_below(&prng, sizeof data);
        for (size_t k = 0; k < len; k++)
            data[k] = (uint8_t)prng_next(&prng);
        if (len > 0)
            data[0] = (uint8_t)(1 + data[0] % (WIRE_TYPE_END - 1));
        swim_recv(world.node[0].s, world.now_ms, swim_self(world.node[1].s)->m.num, 0, data, len,
                  &world.out);
        world.out.count = world.out.checks = world.out.hellos = 0;
        struct swim_change c;
        while (swim_next_change(world.node[0].s, &c))
            ;
    }
    world_run(5000);
    cr_assert_geq(world.node[0].s->live, 8);
    world_fini();
}

Test(swim, leaving_is_not_failing)
{
    world_init(8, 43, 0);
    world_run(5000);
    swim_leave(world.node[5].s, world.now_ms, &world.out);
    world_perform(5, 0, 0);
    world_run(300);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(swim_find(world.node[i].s, swim_self(world.node[5].s)->m.num)->m.state,
                     MEMBER_LEFT);
    world.node[5].state = ABSENT;
    world_run(20000);
    cr_assert_eq(world.failures, 0);
    world_fini();
}

Test(swim, the_dead_are_reaped_after_a_day)
{
    world_init(4, 47, 0);
    world_run(5000);
    world.node[3].state = VANISHED;
    world_run(20000);
    cr_assert_eq(world.node[0].s->count, 4);
    world_run(25 * 3600 * 1000);
    cr_assert_eq(world.node[0].s->count, 3);
    world_fini();
}

Test(swim, the_same_seed_gives_the_same_run)
{
    uint64_t sums[2];
    for (unsigned k = 0; k < 2; k++) {
        world_init(12, 53, 0.1);
        world_run(30000);
        world.node[3].state = VANISHED;
        world_run(30000);
        sums[k] = world.order;
        for (unsigned i = 0; i < 12; i++)
            sums[k] = sums[k] * 31 + world.node[i].sent_bytes;
        world_fini();
    }
    cr_assert_eq(sums[0], sums[1]);
}

/* SWIM 4.3: the random probes go round, so that within two rounds everybody has met everybody. */
Test(swim, the_round_of_random_probes_meets_everybody)
{
    world_init(32, 61, 0);
    world_run(2 * 32 * SWIM_RANDOM_PERIOD_MS);
    for (unsigned i = 0; i < 32; i++)
        for (unsigned k = 0; k < 32; k++)
            cr_assert(i == k || view(i, k)->m.rtt_us != 0, "%u never probed %u", i, k);
    world_fini();
}

/* What a suspicion leaves is kept for an hour, not for ever. */
Test(swim, evidence_goes_when_it_is_old)
{
    world_init(5, 67, 0);
    world_run(3000);
    struct wire_update doubt = {.state = MEMBER_SUSPECT, .num = num_of(3)};
    doubt.incarnation = world.node[3].incarnation;
    vote(&doubt, 1);
    vote(&doubt, 2);
    tell(0, 1, &doubt);
    cr_assert_eq(view(0, 3)->m.state, MEMBER_SUSPECT);
    world_run(3000);
    cr_assert_eq(view(0, 3)->m.state, MEMBER_ALIVE);
    cr_assert_neq(swim_trace_of(view(0, 3))->suspected_ms, 0);
    world_run(SWIM_DOUBT_MS + 120000);
    cr_assert_eq(swim_trace_of(view(0, 3))->suspected_ms, 0);
    cr_assert_null(view(0, 3)->doubt);
    world_fini();
}

/* The voter has another key since, as after a lost data directory: nobody can check the vote any
 * more, but who holds it believes it. */
Test(swim, votes_of_a_key_that_is_gone_are_answered)
{
    static const enum gossip_state states[] = {MEMBER_DEGRADED, MEMBER_SUSPECT, MEMBER_FAILED};
    world_init(5, 71, 0);
    for (unsigned k = 0; k < 3; k++) {
        world_run(3000);
        struct wire_update u = {.state = states[k], .num = num_of(3)};
        u.incarnation = world.node[3].incarnation;
        vote(&u, 1);
        u.vote[0].sig[5] ^= 1;
        (void)tell(3, 2, &u);
        cr_assert_eq(world.node[3].incarnation, u.incarnation + 1, "state %d", (int)states[k]);
    }
    world_fini();
}

/* Lost time is returned to suspicions, once: a member that has little CPU for a minute does not
 * hold the dead for minutes more. */
Test(swim, who_was_starved_finds_the_dead_soon_after)
{
    world_init(2, 73, 0);
    world_run(3000);
    world.node[1].state = VANISHED;
    while (view(0, 1)->m.state != MEMBER_SUSPECT)
        world_run(1);
    for (unsigned i = 0; i < 60; i++) {
        world.node[0].state = PAUSED;
        world_run(1000);
        world.node[0].state = RUNNING;
        world_run(2);
    }
    world_run(40000);
    cr_assert_eq(view(0, 1)->m.state, MEMBER_FAILED);
    world_fini();
}

/* It is degraded in a life that nobody else speaks of: the others saw it start with another key,
 * and die. Its observers say nothing of the first life any more, and the second is not believed
 * while the first counts as alive. */
Test(swim, an_earlier_life_does_not_stay_degraded)
{
    unsigned v = 3;
    world_init(12, 79, 0);
    world_run(5000);
    for (bool observes = true; observes; v += observes) {
        observes = v == 4;
        for (unsigned ring = 0; ring < SWIM_RINGS; ring++)
            observes = observes || swim_observed(world.node[v].s, ring)->m.num == num_of(4);
    }
    struct wire_update stalled = {.state = MEMBER_DEGRADED, .num = num_of(4)};
    stalled.incarnation = world.node[4].incarnation;
    vote(&stalled, 1);
    vote(&stalled, 2);
    world.node[v].side = 1;
    world.node[4].key_number += 1000;
    world.node[4].incarnation = 1700000000;
    world_start(4);
    world_join(4, 1, true);
    world_run(300);
    world.node[4].state = VANISHED;
    world.node[v].side = 0;
    tell(v, 1, &stalled);
    cr_assert_eq(view(v, 4)->m.state, MEMBER_DEGRADED);
    world_run(60000);
    cr_expect_eq(view(v, 4)->m.state, MEMBER_FAILED);
    cr_expect_eq(view(v, 4)->m.incarnation, 1700000000);
    world_fini();
}

/* Of those who found out all have lost their disks, and their keys, one after the other. */
Test(swim, a_death_outlives_the_keys_of_those_who_saw_it)
{
    for (unsigned seed = 1; seed <= 10; seed++) {
        world_init(8, seed, 0.05);
        world_run(5000);
        world.node[5].state = VANISHED;
        world_run(10000);
        for (unsigned i = 0; i < 8; i++) {
            if (i == 5)
                continue;
            world.node[i].key_number += 1000;
            world.node[i].incarnation = 1700000000 + i;
            world_start(i);
            world_join(i, (i + 1) % 8 == 5 ? 6 : (i + 1) % 8, true);
            world_run(2000);
        }
        world_run(20000);
        for (unsigned i = 0; i < 8; i++)
            cr_expect(i == 5 || view(i, 5) == NULL || view(i, 5)->m.state == MEMBER_FAILED,
                      "seed %u: %u holds it to be %d", seed, i, (int)view(i, 5)->m.state);
        world_fini();
    }
}

static int by_part(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The greatest share of its period that passes at a member without a ping to or from its six. */
static double longest_gap(const struct swim *s)
{
    uint64_t at[2 * SWIM_RINGS];
    for (unsigned i = 0; i < SWIM_RINGS; i++) {
        cr_assert_neq(s->ring[i].observer, 0);
        at[2 * i] = s->ring[i].due_ms % SWIM_RING_PERIOD_MS;
        at[2 * i + 1] = s->ring[i].ping_ms % SWIM_RING_PERIOD_MS;
    }
    qsort(at, 2 * SWIM_RINGS, sizeof at[0], by_part);
    uint64_t longest = at[0] + SWIM_RING_PERIOD_MS - at[2 * SWIM_RINGS - 1];
    for (unsigned i = 1; i < 2 * SWIM_RINGS; i++)
        if (at[i] - at[i - 1] > longest)
            longest = at[i] - at[i - 1];
    return (double)longest / SWIM_RING_PERIOD_MS;
}

/* They begin by chance: then the longest of six gaps is 0.41 of the period in the mean. */
Test(swim, pings_come_to_be_evenly_apart)
{
    double sum = 0, longest = 0;
    world_init(40, 7, 0);
    world_run(20000);
    for (unsigned i = 0; i < 40; i++) {
        double gap = longest_gap(world.node[i].s);
        sum += gap;
        longest = gap > longest ? gap : longest;
    }
    cr_expect_lt(sum / 40, 0.25, "%.3f", sum / 40);
    cr_expect_lt(longest, 0.4, "%.3f", longest);
    world_fini();
}
