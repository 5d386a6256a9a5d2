/* SPDX-License-Identifier: Apache-2.0
 * One member alone with what it is told, packet by packet: no world around it answers. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/hash.h"
#include "gossip/swim_int.h"
#include "tests/unit/gossip/fake_trust.h"

static struct swim_out out;
static uint8_t small_key[WIRE_KEY];
static struct swim *small(uint32_t room)
{
    struct swim *s = calloc(1, swim_memory(room));
    struct swim_options o = {.members = room, .id = "self", .incarnation = 1, .epoch = 1};
    o.addrs = (struct gossip_addrs){.at = {{.family = 4}}, .count = 1};
    fake_trust(&o, small_key, 1);
    swim_init(s, &o, 1000);
    s->settled = true; /* it has been here for a while */
    return s;
}

static struct wire_update word_of(unsigned i, enum gossip_state state, uint64_t incarnation)
{
    struct wire_update u = {.has_body = true, .epoch = 1, .incarnation = incarnation};
    uint8_t said[WIRE_STATEMENT_MAX];
    snprintf(u.id, sizeof u.id, "small-%u", i);
    u.state = state;
    u.num = hash_str(u.id);
    u.addrs = (struct gossip_addrs){.at = {{.family = 4, .port = (uint16_t)(i + 1)}}, .count = 1};
    memset(u.key, (int)i + 1, sizeof u.key);
    fake_sign(u.key, said, wire_statement(&u, 0, said), u.sig);
    if (state == MEMBER_LEFT) {
        u.vote_count = 1;
        u.vote[0].num = u.num;
        fake_sign(u.key, said, wire_statement(&u, u.num, said), u.vote[0].sig);
    }
    for (unsigned by = 0; state == MEMBER_FAILED && by < SWIM_QUORUM; by++) {
        uint8_t key[WIRE_KEY];
        char id[16];
        snprintf(id, sizeof id, "small-%u", by);
        memset(key, (int)by + 1, sizeof key);
        u.vote[u.vote_count].num = hash_str(id);
        fake_sign(key, said, wire_statement(&u, hash_str(id), said), u.vote[u.vote_count++].sig);
    }
    return u;
}

static void meet(struct swim *s, uint64_t now_ms, unsigned i, enum gossip_state state,
                 uint64_t incarnation)
{
    struct wire_update u = word_of(i, state, incarnation);
    uint8_t bytes[600];
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    wire_put_update(&w, &u);
    cr_assert(!w.bad);
    (void)swim_recv(s, now_ms, 12345, 1, bytes, w.len, &out);
    struct swim_change c;
    while (swim_next_change(s, &c))
        ;
    out.count = out.checks = out.hellos = 0;
}

static enum gossip_state held(const struct swim *s, unsigned i)
{
    char id[16];
    snprintf(id, sizeof id, "small-%u", i);
    const struct swim_member *m = swim_find(s, hash_str(id));
    return m == NULL ? 0 : m->m.state;
}

Test(swim_alone, in_a_full_table_the_longest_dead_makes_room)
{
    struct swim *s = small(5);
    for (unsigned i = 0; i < 4; i++)
        meet(s, 1000 + i, i, MEMBER_ALIVE, 1);
    meet(s, 1010, 4, MEMBER_ALIVE, 1);
    cr_assert_eq(held(s, 4), 0, "all are alive: no room");
    cr_assert_eq(s->refused_claims, 1);
    meet(s, 1020, 2, MEMBER_LEFT, 1);
    meet(s, 1030, 1, MEMBER_LEFT, 1);
    meet(s, 1040, 5, MEMBER_ALIVE, 1);
    cr_assert_eq(held(s, 2), 0, "it left first");
    cr_assert_eq(held(s, 1), MEMBER_LEFT);
    cr_assert_eq(held(s, 5), MEMBER_ALIVE);
    /* Slots are used again and again, and the others are found all the time. */
    for (unsigned i = 6; i < 200; i++) {
        meet(s, 2000 + 10 * i, i - 1, MEMBER_LEFT, 1);
        meet(s, 2001 + 10 * i, i, MEMBER_ALIVE, 1);
        cr_assert_eq(held(s, i), MEMBER_ALIVE);
        cr_assert_eq(held(s, 0), MEMBER_ALIVE);
        cr_assert_eq(s->count, 5);
        cr_assert_eq(s->live, 4);
    }
    cr_assert_eq(swim_self(s)->m.state, MEMBER_ALIVE);
    free(s);
}

static unsigned packets(enum wire_type type, uint64_t to)
{
    unsigned n = 0;
    for (size_t i = 0; i < out.count; i++)
        n += out.packet[i].to == to && out.packet[i].data[0] == (uint8_t)type;
    return n;
}

/* Two members that hold the same wrong list and observe each other hear each other agree again and
 * again: a list that stood still is compared with the first that differs all the same. */
Test(swim_alone, who_errs_in_company_asks_another)
{
    struct swim *s = small(8);
    const uint64_t companion = hash_str("small-0"), other = hash_str("small-1");
    uint64_t now_ms = 1010, asked_ms = 0;
    meet(s, 1001, 0, MEMBER_ALIVE, 1);
    meet(s, 1001, 1, MEMBER_ALIVE, 1);
    for (bool agrees = false; asked_ms == 0 && now_ms < 20000; now_ms += 200, agrees = !agrees) {
        struct wire_head ping = {.type = WIRE_PING, .seq = 1, .digest = swim_digest(s)};
        uint8_t bytes[64];
        struct wbuf w;
        ping.digest += !agrees;
        wbuf_init(&w, bytes, sizeof bytes);
        wire_put_head(&w, &ping);
        cr_assert_eq(swim_recv(s, now_ms, agrees ? companion : other, 1, bytes, w.len, &out), 0);
        asked_ms = packets(WIRE_SYNC_ASK, other) > 0 ? now_ms : 0;
        cr_assert_eq(packets(WIRE_SYNC_ASK, companion), 0);
        out.count = out.checks = out.hellos = 0;
    }
    cr_assert_geq(asked_ms, 1001 + SWIM_STILL_MS);
    cr_assert_leq(asked_ms, 1001 + SWIM_STILL_MS + 500);
    free(s);
}

static unsigned asks_in(struct swim *s, uint64_t from_ms, uint64_t to_ms)
{
    unsigned asks = 0;
    for (uint64_t now_ms = from_ms; now_ms < to_ms; now_ms += 10) {
        struct swim_change c;
        swim_tick(s, now_ms, &out);
        for (size_t i = 0; i < out.count; i++)
            asks += out.packet[i].data[0] == WIRE_SYNC_ASK;
        out.count = out.checks = out.hellos = 0;
        while (swim_next_change(s, &c))
            ;
    }
    return asks;
}

/* At the end of a partition lists are compared for as long as that changes them, and no longer; one
 * that comes back is no partition's end. */
Test(swim_alone, many_back_from_the_dead_are_fetched_from_lists)
{
    struct swim *s = small(64);
    const unsigned first = 2, end = first + SWIM_RETURNED;
    for (unsigned i = 0; i < end; i++)
        meet(s, 1000, i, i < first ? MEMBER_ALIVE : MEMBER_FAILED, 1);
    for (unsigned i = first; i < end; i++)
        cr_assert_eq(held(s, i), MEMBER_FAILED);
    for (unsigned i = first + 1; i < end; i++)
        meet(s, 1010, i, MEMBER_ALIVE, 2);
    cr_assert_eq(asks_in(s, 1020, 1500), 0, "all but one");
    meet(s, 1500, first, MEMBER_ALIVE, 2);
    uint64_t now_ms = 1510;
    unsigned asks = 0;
    for (unsigned life = 3; life < 23; life++, now_ms += SWIM_SYNC_GAP_MS / 2) {
        meet(s, now_ms, first, MEMBER_ALIVE, life);
        asks += asks_in(s, now_ms + 10, now_ms + SWIM_SYNC_GAP_MS / 2);
    }
    cr_assert_geq(asks, 9, "at each of ten gaps the list had changed");
    cr_assert_leq(asks_in(s, now_ms, now_ms + 5000), 4, "the gaps double");
    cr_assert_eq(asks_in(s, now_ms + 5000, now_ms + 30000), 0);
    free(s);
}

/* Whom others found before anybody welcomed it knows what it hears, and has no list. */
Test(swim_alone, who_was_never_welcomed_asks_for_lists)
{
    struct swim *s = small(8);
    const uint64_t other = hash_str("small-0");
    uint8_t bytes[64];
    s->settled = false;
    meet(s, 1000, 0, MEMBER_ALIVE, 1);
    for (unsigned agrees = 1; agrees < 2; agrees--) {
        struct wire_head ping = {.type = WIRE_PING, .digest = swim_digest(s) + !agrees};
        struct wbuf w;
        wbuf_init(&w, bytes, sizeof bytes);
        wire_put_head(&w, &ping);
        cr_assert_eq(swim_recv(s, 1010, other, 1, bytes, w.len, &out), 0);
        out.count = out.checks = out.hellos = 0;
        cr_assert_eq(s->settle_ms != 0, !agrees);
    }
    cr_assert_geq(asks_in(s, 1020, 1600), 3);
    cr_assert_leq(asks_in(s, 1600, 6000), 3, "the gaps double");
    cr_assert_eq(asks_in(s, 6000, 30000), 0);
    free(s);
}

/* How many of the packets tell of a member; none tells of one twice. */
static unsigned tell_of(const char *id)
{
    unsigned found = 0;
    for (size_t i = 0; i < out.count; i++) {
        uint64_t seen[64];
        size_t count = 0;
        struct rbuf r;
        struct wire_head h;
        struct wire_update u;
        rbuf_init(&r, out.packet[i].data, out.packet[i].len);
        cr_assert_eq(wire_get_head(&r, &h), 0);
        while (rbuf_left(&r) > 0) {
            cr_assert_eq(wire_get_update(&r, &u), 0);
            for (size_t k = 0; k < count; k++)
                cr_assert_neq(seen[k], u.num, "twice in one packet");
            seen[count++] = u.num;
            found += u.num == hash_str(id);
        }
    }
    return found;
}

/* Where hundreds start together, each has hundreds to tell of. */
Test(swim_alone, what_few_know_is_told_first)
{
    struct swim *s = small(256);
    uint64_t now_ms = 1000;
    for (unsigned i = 0; i < 100; i++)
        meet(s, now_ms, i, MEMBER_ALIVE, 1);
    while (now_ms < 1400 || s->last_round_ms != now_ms) {
        out.count = out.checks = out.hellos = 0;
        swim_tick(s, ++now_ms, &out);
        (void)tell_of("");
    }
    cr_assert_neq(s->news_bits, 0, "there is more to tell");
    meet(s, now_ms, 100, MEMBER_ALIVE, 1);
    unsigned told = 0, packets = 0;
    for (unsigned round = 0; round < 2; round++) {
        do {
            out.count = out.checks = out.hellos = 0;
            swim_tick(s, ++now_ms, &out);
        } while (s->last_round_ms != now_ms);
        told += tell_of("small-100");
        packets += (unsigned)out.count;
    }
    cr_assert_geq(told, 4, "%u of %u", told, packets);
    free(s);
}

/* Whoever holds a member to be alive does not believe another key's word in its name. Perhaps both
 * its lives are over: it is looked for at once. */
Test(swim_alone, a_refused_key_is_a_reason_to_look)
{
    struct swim *s = small(8);
    struct wire_update u = {.has_body = true, .state = MEMBER_ALIVE, .epoch = 2, .incarnation = 5};
    uint8_t bytes[600], said[WIRE_STATEMENT_MAX];
    struct wbuf w;
    meet(s, 1001, 0, MEMBER_ALIVE, 1);
    meet(s, 1001, 1, MEMBER_ALIVE, 1);
    snprintf(u.id, sizeof u.id, "small-0");
    u.num = hash_str(u.id);
    u.addrs = (struct gossip_addrs){.at = {{.family = 4}}, .count = 1};
    memset(u.key, 77, sizeof u.key);
    fake_sign(u.key, said, wire_statement(&u, 0, said), u.sig);
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    wire_put_update(&w, &u);
    (void)swim_recv(s, 1100, hash_str("small-1"), 1, bytes, w.len, &out);
    cr_assert_eq(s->refused_claims, 1);
    cr_assert_eq(swim_find(s, u.num)->m.incarnation, 1);
    cr_assert_eq(out.hellos, 1, "who lives at its address?");
    cr_assert_eq(out.hello[0], u.num);
    cr_assert_eq(packets(WIRE_PING, u.num), 1, "and does it live?");
    out.count = out.checks = out.hellos = 0;
    free(s);
}

/* Member 0 pings on the first ring; when it wants to do so again is what it is told. */
static uint64_t observed_until(struct swim *s, uint64_t now_ms)
{
    struct wire_head ping = {.type = WIRE_PING, .seq = 1, .ring = 1}, ack;
    uint8_t bytes[64];
    struct wbuf w;
    struct rbuf r;
    ping.digest = swim_digest(s);
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &ping);
    cr_assert_eq(swim_recv(s, now_ms, hash_str("small-0"), 1, bytes, w.len, &out), 0);
    size_t i = 0;
    while (i < out.count && out.packet[i].to != 0)
        i++;
    cr_assert_lt(i, out.count, "no answer");
    rbuf_init(&r, out.packet[i].data, out.packet[i].len);
    cr_assert_eq(wire_get_head(&r, &ack), 0);
    cr_assert_geq(ack.wait_ms, SWIM_WAIT_MIN_MS);
    cr_assert_leq(ack.wait_ms, SWIM_WAIT_MAX_MS);
    out.count = 0;
    return now_ms + ack.wait_ms;
}

/* Pings of a member until then, each step of the core being when it wants it to be. */
static unsigned pings(struct swim *s, uint64_t num, uint64_t until_ms)
{
    unsigned count = 0;
    for (uint64_t at; (at = swim_deadline(s)) <= until_ms;) {
        swim_tick(s, at, &out);
        count += packets(WIRE_PING, num);
        out.count = out.checks = out.hellos = 0;
    }
    return count;
}

static unsigned pinged(struct swim *s, uint64_t until_ms)
{
    return pings(s, hash_str("small-0"), until_ms);
}

/* A ping on a ring shows its sender to be alive, and its absence makes the target look. */
Test(swim_alone, an_observer_that_does_not_ping_is_looked_for)
{
    for (unsigned heard = 0; heard < 2; heard++) {
        struct swim *s = small(8);
        meet(s, 1001, 0, MEMBER_ALIVE, 1);
        meet(s, 1001, 1, MEMBER_ALIVE, 1);
        swim_find_rings(s);
        for (unsigned i = 0; i < SWIM_RINGS; i++)
            s->ring[i].due_ms = s->ring[i].asked_ms = s->random_ms = 1000000; /* nothing else */
        (void)pinged(s, 2000);
        uint64_t due_ms = observed_until(s, 2000);
        cr_expect_eq(pinged(s, due_ms), 0);
        if (heard == 1)
            swim_heard(s, due_ms - 1, hash_str("small-0"), 1);
        cr_expect_eq(pinged(s, due_ms + SWIM_ABSENT_MS), heard == 1 ? 0 : 1);
        /* One was missed already: the next thing is to ask others. */
        bool asks = false;
        for (uint64_t at; (at = swim_deadline(s)) <= due_ms + SWIM_ABSENT_MS + 80;) {
            swim_tick(s, at, &out);
            asks = asks || packets(WIRE_PING_REQ, hash_str("small-1")) > 0;
            out.count = out.checks = out.hellos = 0;
        }
        cr_expect_eq(asks, heard == 0);
        free(s);
    }
}

/* Whom a member observes anew it pings soon: it is not expected there before. */
Test(swim_alone, another_to_observe_does_not_wait_for_the_next_beat)
{
    struct swim *s = small(8);
    for (unsigned i = 0; i < 3; i++)
        meet(s, 1001, i, MEMBER_ALIVE, 1);
    swim_find_rings(s);
    s->random_ms = 1000000;
    for (unsigned i = 0; i < SWIM_RINGS; i++)
        s->ring[i].due_ms = s->ring[i].asked_ms = i == 0 ? 2000 : 1000000;
    uint64_t first = swim_observed(s, 0)->m.num;
    cr_assert_eq(pings(s, first, 2000), 1);
    cr_assert_eq(s->ring[0].due_ms, 2000 + SWIM_RING_PERIOD_MS, "a steady rhythm");
    for (unsigned i = 0; i < 3; i++) {
        char id[16];
        snprintf(id, sizeof id, "small-%u", i);
        if (hash_str(id) == first)
            meet(s, 2100, i, MEMBER_LEFT, 1);
    }
    swim_find_rings(s);
    uint64_t next = swim_observed(s, 0)->m.num;
    cr_assert_neq(next, first);
    cr_expect_eq(pings(s, next, 2000 + SWIM_RING_SOON_MS - 1), 0);
    cr_expect_eq(pings(s, next, 2000 + SWIM_RING_SOON_MS), 1);
    cr_expect_eq(s->ring[0].due_ms, 2000 + SWIM_RING_PERIOD_MS, "the beat stays");
    free(s);
}

/* What another told of its rows is compared with our own; in its next ping equal ones look
 * different, so that a chance likeness does not last. */
Test(swim_alone, a_ping_tells_whether_rows_are_the_same)
{
    struct swim *s = small(8), *other = small(8);
    uint32_t told[2];
    s->rows = other->rows = 77;
    meet(s, 1001, 0, MEMBER_ALIVE, 1);
    meet(other, 1001, 0, MEMBER_ALIVE, 1);
    for (unsigned i = 0; i < 2; i++) {
        struct wire_head ping;
        struct rbuf r;
        s->rows += i;
        swim_probe_start(other, 1100 + i, swim_get(other, hash_str("small-0")), PROBE_RANDOM, 0,
                         &out);
        cr_assert_eq(out.count, 1);
        struct swim_packet p = out.packet[0];
        other->probes_used = 0;
        out.count = 0;
        other->probe[0].kind = PROBE_FREE;
        rbuf_init(&r, p.data, p.len);
        cr_assert_eq(wire_get_head(&r, &ping), 0);
        told[i] = ping.rows;
        cr_assert_eq(swim_recv(s, 1100, hash_str("small-0"), 1, p.data, p.len, &out), 0);
        cr_assert_eq(out.rows, i == 0 ? ROWS_SAME : ROWS_DIFFER);
        out.count = 0;
        out.rows = ROWS_UNTOLD;
    }
    cr_assert_neq(told[0], told[1]);
    free(s);
    free(other);
}

/* Its clock went back since it left, and it found one that had forgotten it: of those who know that
 * it left, and take its pings for a stranger's, nobody else would ever tell it. */
Test(swim_alone, who_left_and_is_back_hears_of_it)
{
    struct swim *s = small(8);
    struct wire_head ping = {.type = WIRE_PING, .seq = 1}, ack;
    struct wire_update told;
    struct rbuf r;
    struct wbuf w;
    uint8_t bytes[600];
    meet(s, 1001, 0, MEMBER_ALIVE, 13);
    meet(s, 1002, 0, MEMBER_LEFT, 13);
    out.count = 0;
    struct swim_member was = *swim_find(s, hash_str("small-0"));
    struct wire_update self = {
        .state = MEMBER_ALIVE, .has_body = true, .epoch = 1, .incarnation = 1};
    uint8_t said[WIRE_STATEMENT_MAX];
    snprintf(self.id, sizeof self.id, "small-0");
    self.num = was.m.num;
    self.addrs = *was.m.addrs;
    memset(self.key, 1, sizeof self.key);
    fake_sign(self.key, said, wire_statement(&self, 0, said), self.sig);
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &ping);
    wire_put_update(&w, &self);
    cr_assert_eq(swim_recv_stranger(s, 2000, self.num, bytes, w.len, &out), 0);
    cr_assert_eq(out.count, 1);
    cr_assert_leq(out.packet[0].len, w.len, "no amplification");
    rbuf_init(&r, out.packet[0].data, out.packet[0].len);
    cr_assert_eq(wire_get_head(&r, &ack), 0);
    cr_assert_eq(wire_get_update(&r, &told), 0, "nobody tells it");
    cr_assert_eq(told.state, MEMBER_LEFT);
    cr_assert_eq(told.num, self.num);
    cr_assert_eq(told.incarnation, 13);
    free(s);
}

/* small-`by` says of small-`of` that it is dead (by voters whom nobody knows), or that it is
 * silent. */
static void tell(struct swim *s, uint64_t now_ms, unsigned by, unsigned of, enum gossip_state state)
{
    char id[16];
    uint8_t bytes[600], key[WIRE_KEY], said[WIRE_STATEMENT_MAX];
    struct wire_update u = {.state = state, .incarnation = 1, .vote_count = 1};
    struct wbuf w;
    snprintf(id, sizeof id, "small-%u", of);
    u.num = hash_str(id);
    snprintf(id, sizeof id, "small-%u", by);
    u.vote[0].num = state == MEMBER_FAILED ? 777 : hash_str(id);
    memset(key, (int)by + 1, sizeof key);
    fake_sign(key, said, wire_statement(&u, u.vote[0].num, said), u.vote[0].sig);
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    wire_put_update(&w, &u);
    out.count = out.checks = out.hellos = 0;
    cr_assert_eq(swim_recv(s, now_ms, hash_str(id), 1, bytes, w.len, &out), 0);
}

/* Those who saw it die may have other keys since, so that nobody can check what they say. */
Test(swim_alone, whoever_is_told_of_a_death_looks_itself)
{
    struct swim *s = small(32);
    const uint64_t dead = hash_str("small-0");
    for (unsigned i = 0; i < 10; i++)
        meet(s, 1001, i, MEMBER_ALIVE, 1);
    tell(s, 3000, 1, 0, MEMBER_FAILED);
    cr_expect_eq(packets(WIRE_PING, dead), 1);
    cr_expect_eq(held(s, 0), MEMBER_ALIVE, "it is not believed");
    tell(s, 3010, 2, 0, MEMBER_FAILED);
    cr_expect_eq(packets(WIRE_PING, dead), 0, "once a second");
    free(s);
    s = small(128); /* a liar may say so of everybody, and probes are needed for others */
    for (unsigned i = 0; i < 100; i++)
        meet(s, 1001, i, MEMBER_ALIVE, 1);
    for (unsigned i = 2; i < 100; i++)
        tell(s, 3000, 1, i, MEMBER_FAILED);
    cr_expect_eq(s->probes_used, SWIM_PROBES / 2);
    free(s);
}

Test(swim_alone, whoever_has_known_a_death_joins_a_doubt)
{
    struct swim *s = small(32);
    const uint64_t doubter = hash_str("small-3");
    for (unsigned i = 0; i < 10; i++)
        meet(s, 1001, i, i == 4 ? MEMBER_FAILED : MEMBER_ALIVE, 1);
    cr_assert_eq(held(s, 4), MEMBER_FAILED);
    tell(s, 3000, 3, 4, MEMBER_SUSPECT);
    cr_expect_eq(packets(WIRE_GOSSIP, doubter), 0, "a death of today: it is told of it anyway");
    tell(s, 9000, 3, 4, MEMBER_SUSPECT);
    cr_assert_geq(packets(WIRE_GOSSIP, doubter), 1);
    bool ours = false;
    for (size_t i = 0; i < out.count; i++) {
        struct wire_head h;
        struct wire_update u;
        struct rbuf r;
        rbuf_init(&r, out.packet[i].data, out.packet[i].len);
        cr_assert_eq(wire_get_head(&r, &h), 0);
        while (out.packet[i].to == doubter && rbuf_left(&r) > 0) {
            cr_assert_eq(wire_get_update(&r, &u), 0);
            for (unsigned k = 0; k < u.vote_count && u.state == MEMBER_FAILED; k++)
                ours = ours || u.vote[k].num == swim_self(s)->m.num;
        }
    }
    cr_expect(ours, "its own vote");
    free(s);
}

/* small-5 tells of small-0 what so many others say, the first of them with another key. */
static int tell_votes(struct swim *s, uint64_t now_ms, enum gossip_state state, unsigned votes,
                      bool first_is_bad)
{
    uint8_t bytes[600], key[WIRE_KEY], said[WIRE_STATEMENT_MAX];
    struct wire_update u = {.state = state, .num = hash_str("small-0"), .incarnation = 1};
    struct wbuf w;
    for (unsigned by = 1; by <= votes; by++) {
        char id[16];
        snprintf(id, sizeof id, "small-%u", by);
        memset(key, by == 1 && first_is_bad ? 99 : (int)by + 1, sizeof key);
        struct wire_vote *v = &u.vote[u.vote_count++];
        v->num = hash_str(id);
        fake_sign(key, said, wire_statement(&u, v->num, said), v->sig);
    }
    wbuf_init(&w, bytes, sizeof bytes);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    wire_put_update(&w, &u);
    out.count = out.checks = out.hellos = 0;
    return swim_recv(s, now_ms, hash_str("small-5"), 1, bytes, w.len, &out);
}

static struct swim *among_ten(void)
{
    struct swim *s = small(32);
    for (unsigned i = 0; i < 10; i++)
        meet(s, 1001, i, MEMBER_ALIVE, 1);
    return s;
}

Test(swim_alone, a_vote_that_cannot_be_checked_does_not_spoil_the_others)
{
    struct swim *s = among_ten();
    cr_expect_eq(tell_votes(s, 3000, MEMBER_FAILED, 3, true), ERR_AUTH);
    cr_expect_eq(held(s, 0), MEMBER_SUSPECT);
    free(s);
}

/* The host answered: two voices of silence are too few, until that excused it for long enough. */
Test(swim_alone, a_degraded_member_is_buried_with_the_others_in_the_end)
{
    struct swim *s = among_ten();
    cr_assert_eq(tell_votes(s, 3000, MEMBER_DEGRADED, 2, false), 0);
    cr_assert_eq(held(s, 0), MEMBER_DEGRADED);
    cr_assert_eq(tell_votes(s, 8000, MEMBER_FAILED, 2, false), 0);
    cr_expect_eq(held(s, 0), MEMBER_DEGRADED);
    cr_assert_eq(tell_votes(s, 3000 + SWIM_STALLED_MS, MEMBER_FAILED, 2, false), 0);
    cr_expect_geq(held(s, 0), MEMBER_SUSPECT);
    free(s);
}

/* Nobody pings it: what its own pings bring back is enough to find out. */
static unsigned asks_by_acks(uint32_t off)
{
    struct swim *s = small(8);
    const uint64_t other = hash_str("small-0");
    unsigned asks = 0;
    meet(s, 1001, 0, MEMBER_ALIVE, 1);
    for (uint64_t now_ms = 1010; now_ms < 12000; now_ms += 10) {
        struct swim_change c;
        swim_clock(s, now_ms * 1000);
        swim_tick(s, now_ms, &out);
        asks += packets(WIRE_SYNC_ASK, other);
        for (size_t i = 0; i < out.count; i++) {
            struct wire_head ping, ack = {.type = WIRE_ACK, .digest = swim_digest(s) + off};
            struct rbuf r;
            uint8_t bytes[32];
            struct wbuf w;
            rbuf_init(&r, out.packet[i].data, out.packet[i].len);
            if (wire_get_head(&r, &ping) != 0 || ping.type != WIRE_PING)
                continue;
            ack.seq = ping.seq;
            wbuf_init(&w, bytes, sizeof bytes);
            wire_put_head(&w, &ack);
            out.count = 0;
            cr_assert_eq(swim_recv(s, now_ms + 1, other, 1, bytes, w.len, &out), 0);
            asks += packets(WIRE_SYNC_ASK, other);
        }
        out.count = out.checks = out.hellos = 0;
        while (swim_next_change(s, &c))
            ;
    }
    free(s);
    return asks;
}

Test(swim_alone, acks_tell_who_differs)
{
    cr_expect_eq(asks_by_acks(0), 0);
    cr_expect_geq(asks_by_acks(1), 1);
}

static unsigned asks_after_welcomes(struct swim *s, unsigned count, bool seed)
{
    struct wire_join w = {.type = WIRE_WELCOME};
    unsigned asks = 0;
    for (unsigned i = 0; i < count; i++) {
        w.self = word_of(i % 8, MEMBER_ALIVE, 1);
        out.count = out.checks = out.hellos = 0;
        swim_welcome(s, 3000 + i, &w, &w.self.addrs.at[0], seed, &out);
        asks += packets(WIRE_SYNC_ASK, w.self.num);
    }
    out.count = out.checks = out.hellos = 0;
    return asks;
}

/* Where a member starts anew everybody who has a word for it asks who it is now, and is welcomed.
 */
Test(swim_alone, only_seeds_are_asked_for_their_lists_at_once)
{
    struct swim *s = among_ten();
    cr_expect_eq(asks_after_welcomes(s, 20, false), 1);
    cr_expect_eq(s->settle_ms, 0);
    free(s);
    s = among_ten();
    cr_expect_eq(asks_after_welcomes(s, 20, true), SWIM_WELCOMES);
    cr_expect_neq(s->settle_ms, 0);
    free(s);
}
