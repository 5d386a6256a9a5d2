/* SPDX-License-Identifier: Apache-2.0
 * A member that has the cluster's key and its own, and lies. Whatever it says of others changes
 * nothing that lasts; it can lie about itself alone. */
#include "tests/unit/gossip/swim_words.h"

/* A vote by the hostile member's own key, in whose name it likes. */
static void vote_as(struct wire_update *u, uint64_t in_name_of)
{
    struct wire_vote *v = &u->vote[u->vote_count++];
    v->num = in_name_of;
    sign_as(world.node[HOSTILE].key, u, in_name_of, v->sig);
}

static int tell(unsigned to, const struct wire_update *u)
{
    uint8_t data[600];
    struct wbuf w;
    wbuf_init(&w, data, sizeof data);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    wire_put_update(&w, u);
    int err = swim_recv(world.node[to].s, world.now_ms, num_of(HOSTILE), world.node[HOSTILE].epoch,
                        data, w.len, &world.out);
    world_perform(to, 0, 0);
    return err;
}

static void tell_all(const struct wire_update *u)
{
    for (unsigned i = 0; i < world.count; i++)
        if (i != HOSTILE && world.node[i].state == RUNNING)
            (void)tell(i, u);
}

/* Nobody but the liar doubted anybody. */
static void assert_untouched(void)
{
    cr_assert_eq(world.failures, 0);
    for (unsigned i = 0; i < world.count; i++)
        cr_assert(i == HOSTILE || world.node[i].doubts == 0, "%u doubted somebody", i);
    cr_assert(world_agrees());
}

/* ---- failing others ------------------------------------------------------------------------- */

Test(attack, one_member_cannot_fail_or_suspect_another)
{
    static const unsigned counts[] = {3, 4, 8, 64};
    static const enum gossip_state states[] = {MEMBER_FAILED, MEMBER_SUSPECT, MEMBER_DEGRADED};
    for (unsigned k = 0; k < 4; k++) {
        world_init(counts[k], 31 + k, 0);
        world_run(8000);
        unsigned victim = counts[k] == 3 ? 2 : counts[k] - 1;
        for (unsigned round = 0; round < 30; round++) {
            struct wire_update u = claim(states[round % 3], victim);
            vote_as(&u, num_of(HOSTILE));
            tell_all(&u);
            for (unsigned i = 0; i < counts[k]; i++)
                cr_assert(i == HOSTILE || view(i, victim)->m.state == MEMBER_ALIVE,
                          "%u members: %u takes its word", counts[k], i);
            world_run(300);
        }
        world_run(8000);
        assert_untouched();
        world_fini();
    }
}

Test(attack, votes_in_the_name_of_others_do_not_count)
{
    world_init(16, 41, 0);
    world_run(8000);
    for (unsigned round = 0; round < 20; round++) {
        struct wire_update u = claim(MEMBER_FAILED, VICTIM);
        vote_as(&u, num_of(HOSTILE));
        vote_as(&u, num_of(2));
        vote_as(&u, num_of(3));
        for (unsigned i = 5; i < 16; i++)
            cr_assert_eq(tell(i, &u), ERR_AUTH);
        /* Its own vote twice is one vote, and the victim's about itself none. */
        u = claim(MEMBER_FAILED, VICTIM);
        vote_as(&u, num_of(HOSTILE));
        vote_as(&u, num_of(HOSTILE));
        vote_as(&u, num_of(VICTIM));
        tell_all(&u);
        world_run(100);
    }
    world_run(8000);
    assert_untouched();
    world_fini();
}

/* A vote is about one incarnation and one state, or it could be kept and used again. */
Test(attack, an_old_vote_is_none)
{
    world_init(8, 43, 0);
    world_run(8000);
    struct wire_update old = claim(MEMBER_SUSPECT, VICTIM);
    vote_as(&old, num_of(HOSTILE));
    old.vote[old.vote_count].num = num_of(2);
    sign_as(world.node[2].key, &old, num_of(2), old.vote[old.vote_count++].sig);
    tell_all(&old);
    world_run(3000);
    cr_assert_eq(world.failures, 0, "the victim refutes a true quorum in time");
    cr_assert_gt(world.node[VICTIM].incarnation, old.incarnation);
    unsigned seen = world.suspicions;
    old.incarnation = world.node[VICTIM].incarnation;
    for (unsigned i = 0; i < 8; i++)
        cr_assert(i == HOSTILE || tell(i, &old) == ERR_AUTH);
    old.incarnation--;
    tell_all(&old);
    cr_assert_eq(world.suspicions, seen);
    cr_assert_leq(world_until_agreed(5000), 1000);
    world_fini();
}

Test(attack, nobody_leaves_on_anothers_word)
{
    world_init(8, 47, 0);
    world_run(8000);
    struct wire_update u = claim(MEMBER_LEFT, VICTIM);
    vote_as(&u, num_of(HOSTILE));
    tell_all(&u);
    u.vote_count = 0;
    vote_as(&u, num_of(VICTIM));
    for (unsigned i = 2; i < 8; i++)
        cr_assert(i == VICTIM || tell(i, &u) == ERR_AUTH);
    u.vote_count = 0;
    tell_all(&u);
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(view(i, VICTIM)->m.state, MEMBER_ALIVE);
    /* Its own word counts. */
    u.vote_count = 1;
    u.vote[0].num = num_of(VICTIM);
    sign_as(world.node[VICTIM].key, &u, num_of(VICTIM), u.vote[0].sig);
    cr_assert_eq(tell(2, &u), 0);
    cr_assert_eq(view(2, VICTIM)->m.state, MEMBER_LEFT);
    world_fini();
}

/* ---- speaking for others -------------------------------------------------------------------- */

/* Everybody holds of the victim what it said, but for an incarnation that it has raised since. */
static void assert_as_it_said(const struct wire_update *said, uint64_t raised, unsigned lie)
{
    for (unsigned i = 0; i < world.count; i++) {
        const struct swim_member *m = view(i, VICTIM);
        cr_expect_eq(memcmp(m->card->key, said->key, WIRE_KEY), 0, "lie %u, node %u: key", lie, i);
        cr_expect(addr_equal_all(m->m.addrs, &said->addrs), "lie %u, node %u: address", lie, i);
        cr_expect_str_eq(m->m.meta->zone, said->meta.zone, "lie %u, node %u", lie, i);
        cr_expect_eq(m->m.meta->lifecycle, said->meta.lifecycle, "lie %u, node %u", lie, i);
        cr_expect_eq(memcmp(m->m.meta, &said->meta, sizeof said->meta), 0, "lie %u", lie);
        cr_expect_eq(m->epoch, said->epoch, "lie %u, node %u: epoch", lie, i);
        cr_expect_eq(m->m.state, MEMBER_ALIVE, "lie %u, node %u", lie, i);
        cr_expect(m->m.incarnation >= said->incarnation && m->m.incarnation <= raised,
                  "lie %u, node %u: incarnation %lu", lie, i, m->m.incarnation);
    }
}

/* Nothing that a member says of itself can be changed by another: not one byte of it. */
Test(attack, what_a_member_is_only_itself_can_change)
{
    world_init(8, 53, 0);
    world_run(8000);
    struct wire_update right, u;
    swim_self_update(world.node[VICTIM].s, &right);
    for (unsigned what = 0; what < 8; what++) {
        u = right;
        u.incarnation += 1;
        switch (what) {
        case 0:
            u.addrs.at[0].port++;
            break;
        case 1:
            u.epoch += UINT64_C(1) << 60;
            break;
        case 2:
            u.meta.lifecycle = 1;
            break;
        case 3:
            u.meta.zone[0] = 'x';
            break;
        case 6: /* nothing is heard below these: they come last */
            u.incarnation += WIRE_INCARNATION_MAX / 2;
            break;
        case 7:
            u.incarnation = WIRE_INCARNATION_MAX;
            break;
        default:
            break;
        }
        /* Signed by the liar under the victim's key; signed with its own key put in; not at all. */
        if (what != 5)
            sign_as(world.node[HOSTILE].key, &u, 0, u.sig);
        tell_all(&u);
        assert_as_it_said(&right, right.incarnation, what);
        memcpy(u.key, world.node[HOSTILE].key, WIRE_KEY);
        sign_as(world.node[HOSTILE].key, &u, 0, u.sig);
        tell_all(&u);
        assert_as_it_said(&right, swim_self(world.node[VICTIM].s)->m.incarnation, what);
        world_run(2000);
        swim_self_update(world.node[VICTIM].s, &right);
    }
    cr_assert_eq(world.failures, 0);
    cr_assert_lt(world.node[VICTIM].incarnation, WIRE_INCARNATION_MAX / 4);
    cr_assert(world_agrees());
    world_fini();
}

/* memberlist 358 and 359: the last incarnation, and with it the last word. */
Test(attack, the_last_incarnation_is_nobodys)
{
    static const uint64_t incarnations[] = {UINT32_MAX, UINT32_MAX - 1, WIRE_INCARNATION_MAX,
                                            WIRE_INCARNATION_MAX - 1};
    world_init(8, 59, 0);
    world_run(8000);
    for (unsigned k = 0; k < 4; k++) {
        static const enum gossip_state states[] = {MEMBER_SUSPECT, MEMBER_FAILED, MEMBER_LEFT,
                                                   MEMBER_DEGRADED};
        for (unsigned n = 0; n < 4; n++) {
            struct wire_update u = claim(states[n], VICTIM);
            u.incarnation = incarnations[k];
            vote_as(&u, num_of(HOSTILE));
            tell_all(&u);
        }
    }
    for (unsigned i = 0; i < 8; i++)
        cr_assert_eq(view(i, VICTIM)->m.incarnation, world.node[VICTIM].incarnation);
    world_run(5000);
    cr_assert_lt(world.node[VICTIM].incarnation, 10, "and it did not climb after it");
    cr_assert_eq(world.failures, 0);
    cr_assert(world_agrees());
    /* 2^64 - 1 is not even well-formed. */
    uint8_t data[64];
    struct wbuf w;
    wbuf_init(&w, data, sizeof data);
    wbuf_u8(&w, WIRE_GOSSIP);
    wbuf_u8(&w, MEMBER_FAILED);
    wbuf_u64(&w, num_of(VICTIM));
    wbuf_varint(&w, UINT64_MAX);
    wbuf_u8(&w, 0);
    cr_assert_eq(
        swim_recv(world.node[0].s, world.now_ms, num_of(HOSTILE), 0, data, w.len, &world.out),
        ERR_MALFORMED);
    world_fini();
}

/* An id that is free for a moment (its holder restarts) may be taken, and is given back. */
Test(attack, who_was_there_first_wins_its_name_back)
{
    world_init(8, 61, 0);
    world_run(8000);
    world.node[VICTIM].state = VANISHED;
    world_run(5000);
    struct wire_update u, right;
    swim_self_update(world.node[VICTIM].s, &right);
    u = right;
    u.incarnation += 1;
    u.addrs.at[0].port = 9;
    memcpy(u.key, world.node[HOSTILE].key, WIRE_KEY);
    sign_as(world.node[HOSTILE].key, &u, 0, u.sig);
    tell_all(&u);
    cr_assert_eq(view(0, VICTIM)->m.state, MEMBER_ALIVE);
    world.node[VICTIM].state = RUNNING;
    world.node[VICTIM].incarnation += 5;
    world_start(VICTIM);
    swim_self_update(world.node[VICTIM].s, &right);
    tell_all(&right);
    for (unsigned i = 0; i < 8; i++)
        cr_assert(i == HOSTILE || memcmp(view(i, VICTIM)->card->key, right.key, WIRE_KEY) == 0,
                  "%u", i);
    world_fini();
}

/* ... at whatever incarnation, and at the holder's own address: as high as it goes, and higher. */
Test(attack, who_took_a_name_meanwhile_is_outdone)
{
    for (unsigned k = 40; k < 63; k++) {
        world_init(8, 61 + k, 0);
        world_run(8000);
        world.node[VICTIM].state = VANISHED;
        world_run(5000);
        struct wire_update u;
        swim_self_update(world.node[VICTIM].s, &u);
        u.incarnation = UINT64_C(1) << k;
        memcpy(u.key, world.node[HOSTILE].key, WIRE_KEY);
        sign_as(world.node[HOSTILE].key, &u, 0, u.sig);
        tell_all(&u);
        cr_assert(k > 48 || view(0, VICTIM)->m.incarnation == u.incarnation);
        world.node[VICTIM].state = RUNNING;
        world.node[VICTIM].incarnation += 5;
        world_start(VICTIM);
        world_join(VICTIM, 0, true);
        world_run(5000);
        cr_assert(world_agrees(), "taken at 2^%u", k);
        for (unsigned i = 0; i < 8; i++)
            cr_assert_eq(memcmp(view(i, VICTIM)->card->key, world.node[VICTIM].key, WIRE_KEY), 0);
        world_fini();
    }
}

/* Incarnations start at the wall clock's seconds: a clock that went back makes them lower. */
Test(attack, a_lost_data_directory_needs_no_operator)
{
    static const unsigned counts[] = {2, 3, 8, 32, 2, 3, 8, 32};
    for (unsigned k = 0; k < 8; k++) {
        bool clock_went_back = k >= 4;
        world_init(counts[k], 67, 0);
        world.node[0].incarnation = 1000;
        world_start(0);
        world_join(0, 1, true);
        world_run(8000);
        /* At its address answers one with another key, before anybody missed it. */
        world.node[0].key_number = 1000;
        world.node[0].incarnation = clock_went_back ? 500 : 2000;
        world_start(0);
        uint64_t took = 0;
        for (unsigned i = 0; i < 40 && !world_agrees(); i++, took += 100) {
            world_join(0, 1, true);
            world_join(1, 0, true); /* asked back at the address that the join came from */
            world_run(100);
        }
        cr_log_info("%u members, clock %d: whole after %lu ms", counts[k], clock_went_back, took);
        cr_assert(world_agrees(), "%u members", counts[k]);
        cr_assert_leq(took, 3000);
        for (unsigned i = 0; i < counts[k]; i++)
            cr_assert_eq(memcmp(view(i, 0)->card->key, world.node[0].key, WIRE_KEY), 0);
        world_fini();
    }
}

/* As if asked by it: the liar's welcome tells the victim of an earlier life. */
static void welcome_from_liar(uint64_t incarnation)
{
    struct wire_join w = {.type = WIRE_WELCOME, .known_state = MEMBER_FAILED};
    w.known_incarnation = incarnation;
    swim_self_update(world.node[HOSTILE].s, &w.self);
    swim_welcome(world.node[VICTIM].s, world.now_ms, &w, &w.self.addrs.at[0], false, &world.out);
    world_perform(VICTIM, 0, 0);
}

/* The victim's id under the liar's key: another who uses it, or a life that lost its key. */
static void life_of_liar(uint64_t incarnation)
{
    struct wire_update u;
    swim_self_update(world.node[VICTIM].s, &u);
    u.incarnation = incarnation;
    memcpy(u.key, world.node[HOSTILE].key, WIRE_KEY);
    sign_as(world.node[HOSTILE].key, &u, 0, u.sig);
    (void)tell(VICTIM, &u);
}

/* However high lies take an incarnation, a life that starts at the clock's seconds, because its
 * data directory is lost, hears of it and outdoes it. */
Test(attack, nobody_takes_an_incarnation_out_of_reach_of_the_next_life)
{
    world_init(8, 71, 0);
    world_run(8000);
    for (unsigned round = 0; round < 2; round++) {
        void (*const lies[])(uint64_t) = {welcome_from_liar, life_of_liar};
        for (unsigned i = 0; i < 200; i++) /* step by step, as far as it goes */
            lies[i % 2](swim_self(world.node[VICTIM].s)->m.incarnation + (UINT64_C(1) << 32));
        for (unsigned i = 0; i < 62; i++) /* and at once */
            lies[i % 2]((UINT64_C(1) << 61 >> i) + swim_self(world.node[VICTIM].s)->m.incarnation);
        for (unsigned i = 0; i < 100; i++) { /* doubts it may answer */
            struct wire_update u = claim(MEMBER_SUSPECT, VICTIM);
            vote_as(&u, num_of(HOSTILE));
            (void)tell(VICTIM, &u);
        }
        cr_assert_leq(swim_self(world.node[VICTIM].s)->m.incarnation, UINT64_C(1) << 49);
        world_run(3000);
        for (unsigned i = 0; i < 8; i++)
            cr_assert_eq(view(i, VICTIM)->m.incarnation, world.node[VICTIM].incarnation);
        world.node[VICTIM].state = VANISHED;
        world_run(6000);
        world.node[VICTIM].key_number += 1000;
        world.node[VICTIM].incarnation = 1 + world.now_ms / 1000;
        world_start(VICTIM);
        world_join(VICTIM, 0, true);
        world_run(3000);
        cr_assert(world_agrees(), "the life after %u attacks is not heard", round + 1);
    }
    world_fini();
}

/* ---- small clusters ------------------------------------------------------------------------- */

/* The quorum is two wherever two are left that could vote; the last two members have one each, and
 * the last one of all is not kept from it by its own health, which nobody's answers improve. */
Test(attack, small_clusters_still_find_their_dead)
{
    static const struct {
        unsigned count, dead;
    } cases[] = {{2, 1}, {3, 1}, {3, 2}, {4, 2}, {5, 3}, {4, 3}, {5, 4}, {6, 5}, {9, 8}};
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        world_init(cases[k].count, 71 + k, 0);
        world_run(8000);
        for (unsigned i = 0; i < cases[k].dead; i++)
            world.node[cases[k].count - 1 - i].state = VANISHED;
        world_run(20000);
        cr_assert_eq(world.failures_of_running, 0);
        for (unsigned i = 0; i + cases[k].dead < cases[k].count; i++)
            for (unsigned d = 0; d < cases[k].dead; d++)
                cr_assert_eq(view(i, cases[k].count - 1 - d)->m.state, MEMBER_FAILED,
                             "%u members, %u die at once", cases[k].count, cases[k].dead);
        world_fini();
    }
}

/* A newcomer that a liar gives its list holds nobody to be dead who is not. */
Test(attack, a_newcomer_is_not_told_lies_about_the_living)
{
    world_init(8, 73, 0);
    world_run(8000);
    world.node[7].state = VANISHED;
    world_run(8000);
    world.node[7].incarnation += 1;
    world_start(7);
    world_join(7, HOSTILE, false);
    for (unsigned about = 2; about < 7; about++) {
        struct wire_update u;
        swim_self_update(world.node[about].s, &u);
        u.state = MEMBER_FAILED;
        vote_as(&u, num_of(HOSTILE));
        (void)tell(7, &u);
        cr_assert_eq(view(7, about)->m.state, MEMBER_ALIVE);
    }
    world_run(5000);
    cr_assert(world_agrees());
    cr_assert_eq(world.failures_of_running, 0);
    world_fini();
}

/* A death carries its evidence: who comes later can say who found out. */
Test(attack, a_newcomer_can_explain_an_old_death)
{
    world_init(8, 89, 0);
    world_run(8000);
    world.node[7].state = world.node[6].state = VANISHED;
    world_run(8000);
    world.node[7].incarnation += 1;
    world_start(7);
    world_join(7, 0, true);
    world_run(3000);
    const struct swim_member *m = view(7, 6), *told = view(0, 6);
    cr_assert_eq(m->m.state, MEMBER_FAILED);
    cr_assert_geq(m->vote_count, SWIM_QUORUM);
    cr_assert_neq(swim_trace_of(m)->suspected_ms, 0);
    cr_assert_eq(swim_trace_of(m)->suspected_by, told->doubt->vote[0].num);
    cr_assert_eq(swim_trace_of(m)->confirmed[0], told->doubt->vote[1].num);
    world_fini();
}

/* ---- cost ----------------------------------------------------------------------------------- */

/* memberlist 371: one packet of many pings. Here a packet has one head, so one answer. */
Test(attack, a_packet_of_many_pings_is_one_ping)
{
    world_init(16, 37, 0);
    world_run(20000);
    struct swim *s = world.node[0].s;
    uint8_t data[SWIM_PACKET_MAX];
    struct wbuf w;
    wbuf_init(&w, data, sizeof data);
    for (unsigned i = 0; i < 255 && sizeof data - w.len > 10; i++)
        wire_put_head(&w, &(struct wire_head){.type = WIRE_PING, .seq = (uint16_t)(i + 1)});
    (void)swim_recv(s, world.now_ms, num_of(1), world.node[1].epoch, data, w.len, &world.out);
    size_t answers = 0;
    for (size_t i = 0; i < world.out.count; i++)
        answers += world.out.packet[i].data[0] == WIRE_ACK;
    cr_assert_eq(answers, 1);
    world.out.count = 0;
    world_fini();
}

/* To somebody who only has the cluster's key no answer is longer than what it sent. */
Test(attack, a_stranger_gets_no_more_than_it_sent)
{
    world_init(16, 39, 0);
    world_run(20000);
    struct swim *s = world.node[0].s;
    for (unsigned type = WIRE_PING; type < WIRE_TYPE_END; type++) {
        uint8_t data[200];
        struct wbuf w;
        wbuf_init(&w, data, sizeof data);
        wire_put_head(
            &w, &(struct wire_head){.type = (enum wire_type)type, .seq = 7, .target = num_of(2)});
        (void)swim_recv_stranger(s, world.now_ms, 12345, data, w.len, &world.out);
        size_t bytes = 0;
        for (size_t i = 0; i < world.out.count; i++)
            bytes += world.out.packet[i].to == 0 ? world.out.packet[i].len : 0;
        cr_assert_leq(bytes, w.len, "type %u", type);
        world.out.count = world.out.checks = world.out.hellos = 0;
        cr_assert_null(swim_find(s, 12345));
    }
    world_fini();
}

/* Signatures are looked at when something is new: not at rest, and once for each forged packet. */
Test(attack, verifying_costs_nothing_at_rest_and_little_under_attack)
{
    world_init(32, 79, 0);
    world_run(20000);
    uint64_t before = 0, after = 0;
    for (unsigned i = 0; i < 32; i++)
        before += world.node[i].s->verified;
    world_run(60000);
    for (unsigned i = 0; i < 32; i++)
        after += world.node[i].s->verified;
    cr_assert_eq(after, before, "%lu signatures were looked at in a minute of rest",
                 after - before);
    struct wire_update u;
    swim_self_update(world.node[VICTIM].s, &u);
    u.incarnation++;
    uint8_t data[SWIM_PACKET_MAX];
    struct wbuf w;
    wbuf_init(&w, data, sizeof data);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    while (sizeof data - w.len > WIRE_UPDATE_MAX)
        wire_put_update(&w, &u);
    before = world.node[0].s->verified;
    cr_assert_eq(
        swim_recv(world.node[0].s, world.now_ms, num_of(HOSTILE), 0, data, w.len, &world.out),
        ERR_AUTH);
    cr_assert_eq(world.node[0].s->verified, before + 1);
    world.out.count = 0;
    world_fini();
}

/* Not admitted: failed at once, and nothing that it or others say brings it back. */
Test(attack, who_is_evicted_stays_out_until_admitted)
{
    world_init(8, 83, 0);
    world_run(8000);
    for (unsigned i = 0; i < 8; i++) {
        if (i == HOSTILE)
            continue;
        swim_evict(world.node[i].s, world.now_ms, num_of(HOSTILE), true);
        world_perform(i, 0, 0);
    }
    for (unsigned round = 0; round < 20; round++) {
        struct wire_update u;
        swim_self_update(world.node[HOSTILE].s, &u);
        u.incarnation += 100 + round;
        sign_as(world.node[HOSTILE].key, &u, 0, u.sig);
        tell_all(&u);
        world_run(500);
        for (unsigned i = 0; i < 8; i++)
            cr_assert(i == HOSTILE || view(i, HOSTILE)->m.state == MEMBER_FAILED);
    }
    const struct gossip_member *other;
    struct wire_update self;
    swim_self_update(world.node[HOSTILE].s, &self);
    cr_assert_eq(swim_admit(world.node[0].s, &self, &other), WIRE_NOT_ADMITTED);
    for (unsigned i = 0; i < 8; i++)
        if (i != HOSTILE)
            swim_evict(world.node[i].s, world.now_ms, num_of(HOSTILE), false);
    world_run(5000);
    cr_assert(world_agrees());
    world_fini();
}
