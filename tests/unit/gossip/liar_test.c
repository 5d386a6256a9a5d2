/* SPDX-License-Identifier: Apache-2.0
 * What liars cost others: one with a member's keys, and one with the cluster's key alone. What they
 * say is answered, but ever rarer; asks in others' names are not; keys of who is gone have no
 * voice. */
#include "tests/unit/gossip/swim_words.h"

static const uint8_t foreign_key[WIRE_KEY] = {9, 9};

static void vote(struct wire_update *u, unsigned voter)
{
    struct wire_vote *v = &u->vote[u->vote_count++];
    v->num = num_of(voter);
    sign_as(world.node[voter].key, u, v->num, v->sig);
}

static size_t message(const struct wire_head *h, const struct wire_update *u, uint8_t data[600])
{
    struct wbuf w;
    wbuf_init(&w, data, 600);
    wire_put_head(&w, h);
    if (u != NULL)
        wire_put_update(&w, u);
    return w.len;
}

/* The member that has been robbed of its keys says it, or somebody in its name that cannot prove
 * that. */
static void tell(unsigned to, const struct wire_update *u, bool proven)
{
    uint8_t data[600];
    struct world_node *n = &world.node[to], *liar = &world.node[HOSTILE];
    size_t len = message(&(struct wire_head){.type = WIRE_GOSSIP}, u, data);
    if (proven)
        (void)!swim_recv(n->s, world.now_ms, num_of(HOSTILE), liar->epoch, data, len, &world.out);
    else
        (void)!swim_recv_stranger(n->s, world.now_ms, num_of(HOSTILE), data, len, &world.out);
    world_perform(to, 0, 0);
}

static struct wire_update other_life(unsigned of)
{
    struct wire_update u;
    swim_self_update(world.node[of].s, &u);
    memcpy(u.key, foreign_key, WIRE_KEY);
    sign_as(foreign_key, &u, 0, u.sig);
    return u;
}

/* ---- refutations ---------------------------------------------------------------------------- */

static uint64_t raises_in(unsigned ms, unsigned every_ms, bool life)
{
    world_init(16, 51, 0);
    world_run(10000);
    uint64_t before = world.node[VICTIM].incarnation;
    for (unsigned t = 0; t < ms; t += every_ms) {
        struct wire_update u = life ? other_life(VICTIM) : claim(MEMBER_SUSPECT, VICTIM);
        if (!life)
            vote(&u, HOSTILE);
        tell(VICTIM, &u, !life);
        world_run(every_ms);
    }
    uint64_t raises = world.node[VICTIM].incarnation - before;
    cr_assert_eq(world.failures, 0);
    world_fini();
    return raises;
}

/* Each refutation is news that every member tells many times. */
Test(liar, makes_no_member_talk_without_end)
{
    /* After 0, 1, 3, 7, 15, 31 s. */
    cr_assert_eq(raises_in(40000, 50, false), 6, "by a vote");
    cr_assert_eq(raises_in(40000, 50, true), 6, "by another life of it");
    cr_assert_leq(raises_in(40000, 2000, false), 6, "by one that waits, each time a little");
}

/* Lies hold up no answer that matters: to a quorum, which would bury it. */
Test(liar, delays_no_answer_to_a_quorum)
{
    world_init(16, 53, 0);
    world_run(10000);
    for (unsigned t = 0; t < 100; t++) {
        struct wire_update u = claim(MEMBER_SUSPECT, VICTIM);
        vote(&u, HOSTILE);
        tell(VICTIM, &u, true);
        world_run(50);
    }
    struct wire_update u = claim(MEMBER_SUSPECT, VICTIM);
    vote(&u, 2);
    vote(&u, 3);
    tell(VICTIM, &u, true);
    cr_assert_eq(world.node[VICTIM].incarnation, u.incarnation + 1);
    /* And when the wait is over the first is answered at once. */
    world_run(10000);
    u = claim(MEMBER_SUSPECT, VICTIM);
    vote(&u, HOSTILE);
    tell(VICTIM, &u, true);
    cr_assert_eq(world.node[VICTIM].incarnation, u.incarnation + 1);
    world_fini();
}

/* ---- votes ---------------------------------------------------------------------------------- */

static unsigned doubts(void)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < world.count; i++)
        sum += i == HOSTILE ? 0 : world.node[i].doubts;
    return sum;
}

static void vote_with_the_key_of(unsigned gone)
{
    struct wire_update u = claim(MEMBER_SUSPECT, VICTIM);
    unsigned before = doubts();
    vote(&u, HOSTILE);
    vote(&u, gone);
    for (unsigned i = 0; i < world.count; i++)
        if (i != HOSTILE && i != VICTIM && world.node[i].state == RUNNING)
            tell(i, &u, true);
    for (unsigned i = 0; i < world.count; i++)
        if (i != HOSTILE && i != VICTIM && world.node[i].state == RUNNING)
            cr_assert_eq(view(i, VICTIM)->m.state, MEMBER_ALIVE, "%u", i);
    world_run(5000);
    cr_assert_eq(doubts(), before);
}

Test(liar, has_no_second_voice_by_the_key_of_one_that_is_gone)
{
    world_init(8, 31, 0);
    world_run(8000);
    world.node[6].state = VANISHED;
    for (unsigned i = 0; i < 7; i++) {
        swim_evict(world.node[i].s, world.now_ms, num_of(7), true);
        world_perform(i, 0, 0);
    }
    world.node[7].state = VANISHED;
    world_run(8000);
    vote_with_the_key_of(7); /* put out */
    vote_with_the_key_of(6); /* dead */
    world_fini();
}

/* Verdicts from the other side of a partition come while their voters do. A vote that counts before
 * the other does makes them a death of today, which leaves no time to answer. */
Test(verdicts, wait_for_their_voters)
{
    world_init(8, 31, 0);
    world_run(8000);
    world.node[7].state = VANISHED;
    world_run(8000);
    struct wire_update u = claim(MEMBER_FAILED, VICTIM);
    vote(&u, 2);
    vote(&u, 7);
    tell(0, &u, true);
    cr_assert_eq(view(0, VICTIM)->vote_count, 0);
    vote(&u, 3);
    tell(0, &u, true);
    cr_assert_eq(view(0, VICTIM)->vote_count, 2, "enough without it");
    world_fini();
}

/* The other side: who suspects on its own one whose death all others know, by votes of members that
 * have died since, asks whoever tells it for a vote of its own. */
Test(verdicts, by_the_dead_are_asked_after)
{
    world_init(8, 31, 0);
    world_run(8000);
    world.node[6].state = world.node[7].state = VANISHED;
    world_run(8000);
    world.node[0].side = 1; /* so that nobody joins its suspicion */
    world.node[VICTIM].state = VANISHED;
    for (unsigned t = 0; view(0, VICTIM)->m.state != MEMBER_SUSPECT; t++) {
        cr_assert_lt(t, 10000);
        world_run(1);
    }
    world_run(300); /* what it had to tell by itself is told */
    cr_assert_eq(view(0, VICTIM)->vote_count, 1);
    struct wire_update u = claim(MEMBER_FAILED, VICTIM);
    uint8_t data[600];
    vote(&u, 6);
    vote(&u, 7);
    size_t len = message(&(struct wire_head){.type = WIRE_GOSSIP}, &u, data);
    unsigned told = 0;
    world.out.count = 0;
    (void)!swim_recv(world.node[0].s, world.now_ms, num_of(HOSTILE), world.node[HOSTILE].epoch,
                     data, len, &world.out);
    for (size_t i = 0; i < world.out.count; i++)
        told +=
            world.out.packet[i].to == num_of(HOSTILE) && world.out.packet[i].data[0] == WIRE_GOSSIP;
    cr_assert_eq(told, 1);
    cr_assert_eq(view(0, VICTIM)->vote_count, 1, "the votes of the dead are none");
    world.out.count = 0;
    world_fini();
}

/* ---- asks ----------------------------------------------------------------------------------- */

static uint64_t bytes_sent(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < world.count; i++)
        sum += world.node[i].sent_bytes;
    return sum;
}

/* With the cluster's key alone, in members' names: one ask is a hundred bytes, a list thousands. */
Test(liar, makes_no_members_send_each_other_lists)
{
    uint8_t data[600];
    world_init(32, 5, 0);
    world_run(15000);
    size_t len = message(&(struct wire_head){.type = WIRE_SYNC_ASK, .reply = true}, NULL, data);
    uint64_t before = bytes_sent();
    world_run(5000);
    uint64_t rest = bytes_sent() - before;
    before = bytes_sent();
    for (unsigned t = 0; t < 25; t++) {
        for (unsigned i = 0; i < 32; i++) {
            (void)!swim_recv_stranger(world.node[i].s, world.now_ms, num_of((i + t % 31 + 1) % 32),
                                      data, len, &world.out);
            world_perform(i, 0, 0);
        }
        world_run(200);
    }
    cr_assert_leq(bytes_sent() - before, rest + rest / 10);
    world_fini();
}

/* A word of a life that nobody knows makes who hears it ask the teller for the list, which holds up
 * the next comparison. In a name that is not proven it does neither. */
Test(liar, keeps_no_member_from_comparing_lists)
{
    world_init(8, 7, 0);
    world_run(10000);
    struct wire_update u = claim(MEMBER_SUSPECT, VICTIM);
    u.incarnation += 5;
    uint64_t next = world.node[0].s->sync_ms;
    tell(0, &u, false);
    cr_assert_eq(world.node[0].s->sync_ms, next);
    tell(0, &u, true);
    cr_assert_gt(world.node[0].s->sync_ms, next);
    world_fini();
}

static unsigned relayed(uint64_t asker, uint16_t seq, unsigned about)
{
    uint8_t data[600];
    unsigned pings = 0;
    size_t len =
        message(&(struct wire_head){.type = WIRE_PING_REQ, .seq = seq, .target = num_of(about)},
                NULL, data);
    world.out.count = 0;
    (void)!swim_recv(world.node[0].s, world.now_ms, asker, 5000, data, len, &world.out);
    for (size_t i = 0; i < world.out.count; i++)
        pings += world.out.packet[i].data[0] == WIRE_PING;
    world.out.count = 0;
    return pings;
}

Test(liar, takes_no_more_than_its_share_of_relays)
{
    unsigned pings = 0;
    world_init(100, 71, 0);
    world_run(10000);
    for (unsigned i = 10; i < 80; i++)
        pings += relayed(num_of(HOSTILE), (uint16_t)(i + 1), i);
    cr_assert_eq(pings, SWIM_RELAYS_EACH);
    cr_assert_eq(relayed(num_of(2), 7, 90), 1);
    world_fini();
}

/* ---- leaving -------------------------------------------------------------------------------- */

/* A join that it sent before is answered: it is held to have left, and does not contradict that. */
Test(leaving, is_not_undone_by_a_late_welcome)
{
    world_init(4, 5, 0);
    world_run(8000);
    struct swim *s = world.node[2].s;
    struct wire_join w = {.type = WIRE_WELCOME};
    swim_leave(s, world.now_ms, &world.out);
    world_perform(2, 0, 0);
    world_run(20);
    const struct swim_member *m = view(0, 2);
    cr_assert_eq(m->m.state, MEMBER_LEFT);
    swim_self_update(world.node[0].s, &w.self);
    w.known_state = m->m.state;
    w.known_incarnation = m->m.incarnation;
    w.known_epoch = m->epoch;
    swim_welcome(s, world.now_ms, &w, &w.self.addrs.at[0], false, &world.out);
    world_perform(2, 0, 0);
    world_run(200);
    cr_assert_eq(swim_self(s)->m.state, MEMBER_LEFT);
    cr_assert_eq(view(0, 2)->m.state, MEMBER_LEFT);
    world_fini();
}

/* ---- after a partition ----------------------------------------------------------------------- */

/* Lists are compared for as long as that changes them, but not because one member changes. */
static unsigned healing(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < world.count; i++)
        count += world.node[i].s->healing;
    return count;
}

Test(healing, ends_though_something_always_changes)
{
    world_init(40, 5, 0);
    world_run(15000);
    for (unsigned i = 0; i < 20; i++)
        world.node[i].side = 1;
    world_run(45000);
    for (unsigned i = 0; i < 20; i++)
        world.node[i].side = 0;
    world_run(1000);
    cr_assert_gt(healing(), 20);
    for (uint16_t t = 1; t < 230; t++) {
        swim_set_meta(world.node[9].s, world.now_ms, &(struct gossip_meta){.api_port = t},
                      &world.out);
        world_perform(9, 0, 0);
        world_run(300);
    }
    cr_assert_eq(healing(), 0);
    world_fini();
}

/* ---- the dead ------------------------------------------------------------------------------- */

#define HOUR_MS (3600u * 1000u)

static bool is_asked_for(uint64_t num, uint64_t incarnation, enum gossip_state state)
{
    uint8_t data[64];
    bool asked = false;
    struct wbuf w;
    wbuf_init(&w, data, sizeof data);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_SYNC_NAMES});
    wire_put_name(&w, &(struct wire_name){.num = num, .incarnation = incarnation, .state = state});
    world.out.count = 0;
    cr_assert_eq(swim_recv(world.node[0].s, world.now_ms, num_of(1), world.node[1].epoch, data,
                           w.len, &world.out),
                 0);
    for (size_t i = 0; i < world.out.count; i++)
        asked = asked || world.out.packet[i].data[0] == WIRE_SYNC_WANT;
    world.out.count = 0;
    return asked;
}

Test(dead, are_not_asked_back)
{
    world_init(4, 3, 0);
    world_run(8000);
    cr_assert(is_asked_for(77, 1, MEMBER_ALIVE));
    cr_assert_not(is_asked_for(77, 1, MEMBER_FAILED));
    cr_assert_not(is_asked_for(77, 1, MEMBER_LEFT));
    cr_assert(is_asked_for(num_of(3), world.node[3].incarnation, MEMBER_FAILED), "of one we know");
    swim_evict(world.node[0].s, world.now_ms, num_of(3), true);
    cr_assert_not(is_asked_for(num_of(3), world.node[3].incarnation + 1, MEMBER_ALIVE));
    world_fini();
}

/* Each forgets them at a time of its own, so nobody may give them back to the others. */
Test(dead, are_forgotten_by_all_wherever_they_began)
{
    world_init(5, 3, 0);
    for (unsigned i = 1; i < 5; i++) { /* minutes begin at another moment for each */
        world_run(9000);
        world.node[i].incarnation++;
        world_start(i);
        world_join(i, 0, true);
    }
    cr_assert_leq(world_until_agreed(10000), 5000);
    world.node[4].state = VANISHED;
    world_run(12 * HOUR_MS);
    cr_assert_eq(world.node[0].s->count, 5);
    world.node[3].incarnation++; /* and who comes meanwhile is told, and tells nobody */
    world_start(3);
    world_join(3, 0, true);
    world_run(10000);
    cr_assert_eq(view(3, 4)->m.state, MEMBER_FAILED);
    world_run(11 * HOUR_MS);
    world.node[2].incarnation++;
    world_start(2);
    world_join(2, 3, true);
    world_run(2 * HOUR_MS);
    cr_assert_eq(world.node[0].s->count, 4);
    cr_assert_eq(world.node[2].s->count, 4, "of one that had been told itself");
    world_run(12 * HOUR_MS);
    cr_assert_eq(world.node[3].s->count, 4);
    world_fini();
}

/* Of who is told of a death by a list, and by nobody else: the dead lives, with a copy of its data
 * that is older than that. */
Test(dead, who_live_with_an_earlier_incarnation_hear_of_it)
{
    world_init(4, 9, 0);
    world_run(8000);
    for (uint16_t i = 1; i < 4; i++) {
        swim_set_meta(world.node[3].s, world.now_ms, &(struct gossip_meta){.api_port = i},
                      &world.out);
        world_perform(3, 0, 0);
    }
    world_run(1000);
    world.node[3].state = VANISHED;
    world_run(10000);
    view(0, 3)->doubt->hearsay = true;
    for (unsigned i = 1; i < 3; i++) {
        world.node[i].incarnation++;
        world_start(i);
        world_join(i, 0, true);
        world_run(3000);
        cr_assert_null(view(i, 3));
    }
    world.node[3].incarnation = 1;
    world_start(3);
    world_join(3, 1, true);
    cr_assert_leq(world_until_agreed(30000), 15000);
    cr_assert_gt(view(0, 3)->m.incarnation, 4);
    world_fini();
}

static uint64_t sent_in_an_hour(bool raised_between)
{
    world_init(8, 61, 0);
    world_run(8000);
    for (unsigned i = 0; i < 7; i++) {
        swim_evict(world.node[i].s, world.now_ms, num_of(7), true);
        world_perform(i, 0, 0);
        if (i == 3 && raised_between) {
            swim_set_meta(world.node[7].s, world.now_ms, &(struct gossip_meta){.zone = "z"},
                          &world.out);
            world_perform(7, 0, 0);
            world_run(500);
        }
    }
    world.node[7].state = VANISHED;
    world_run(60000);
    uint64_t before = bytes_sent();
    world_run(HOUR_MS);
    uint64_t sent = bytes_sent() - before;
    world_fini();
    return sent;
}

/* Half of all put it out as it was, half as it was a moment later: that is no difference between
 * their lists that could ever be mended. */
Test(dead, make_no_members_compare_for_ever)
{
    uint64_t rest = sent_in_an_hour(false);
    cr_assert_leq(sent_in_an_hour(true), rest + rest / 10);
}
