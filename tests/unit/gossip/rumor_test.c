/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/gossip/rumor_fixture.h"

#include <stdio.h>

#include "gossip/rumor_int.h"

/* ---- sending ----------------------------------------------------------------------- */

Test(rumor, local_records_leave_at_once_and_are_told_of_later)
{
    struct fixture *f = make(64);
    store(f, 1000, "a", 1, 100, RUMOR_LOCAL);
    cr_assert_eq(rumor_deadline(&f->rumor, 1000), 0 + 1000);
    cr_assert_eq(drain(f, 1000, 1), 8);
    cr_assert_gt(rumor_deadline(&f->rumor, 1000), 1000);
    cr_assert_eq(drain(f, 1020, 3), 0);
    cr_assert_eq(drain(f, 1100, 3), RUMOR_DIGEST_PEERS);
    cr_assert_eq(drain(f, 1400, 3), 1);
    cr_assert_eq(rumor_deadline(&f->rumor, 1400), UINT64_MAX);
    end(f);
}

/* Where packets are lost all that a member was told may be among them. */
Test(rumor, after_a_repair_three_more_are_told_soon)
{
    struct fixture *f = make(100);
    store(f, 1000, "a", 1, 100, RUMOR_LOCAL);
    (void)drain(f, 1000, 1);
    cr_assert_eq(drain(f, 1000 + RUMOR_DIGEST_MS + 10, 3), RUMOR_DIGEST_PEERS);
    cr_assert_eq(drain(f, 1000 + RUMOR_DIGEST_LATE_MS + 10, 3), 1);
    f->rumor.trouble_until_ms = 2000 + RUMOR_TROUBLE_MS;
    store(f, 2000, "b", 1, 100, RUMOR_LOCAL);
    (void)drain(f, 2000, 1);
    cr_assert_eq(drain(f, 2000 + RUMOR_DIGEST_MS + 10, 3), RUMOR_DIGEST_PEERS);
    cr_assert_eq(drain(f, 2000 + RUMOR_DIGEST_TROUBLE_MS + 10, 3), RUMOR_DIGEST_PEERS);
    cr_assert_eq(drain(f, 2000 + RUMOR_DIGEST_LATE_MS + 10, 3), 0);
    end(f);
}

/* Members that are told by the same ones lack the same. */
Test(rumor, no_two_are_told_by_the_same_three)
{
    enum { MEMBERS = 64, RING = MEMBERS - 1 };
    struct fixture *f = make(MEMBERS);
    bool told[RING] = {false}; /* so many places behind the first member behind us */
    uint64_t to;
    size_t len;
    store(f, 1000, "a", 1, 100, RUMOR_LOCAL);
    (void)drain(f, 1000, 1);
    while ((len = rumor_poll(&f->rumor, 1040, ROOM, f->out, RUMOR_MESSAGE_MAX, &to)) > 0) {
        cr_assert_eq(f->out[0], 3);
        told[(to + MEMBERS - SELF - 1) % MEMBERS] = true;
        rumor_sent(&f->rumor, 1040, 0);
    }
    for (unsigned by = 1; by < RING; by++) {
        unsigned same = 0;
        for (unsigned i = 0; i < RING; i++)
            same += told[i] && told[(i + by) % RING];
        cr_assert_lt(same, RUMOR_DIGEST_PEERS, "%u places on", by);
    }
    end(f);
}

Test(rumor, records_stored_together_share_datagrams)
{
    struct fixture *f = make(2);
    char keys[8][8];
    for (unsigned i = 0; i < 8; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        store(f, 1000, keys[i], 1, 250, RUMOR_LOCAL);
    }
    cr_assert_eq(drain(f, 1000, 1), 2); /* about 265 bytes each */
    cr_assert_eq(f->rumor.stats.pushed, 8);
    end(f);
}

Test(rumor, much_goes_as_one_stream_message)
{
    struct fixture *f = make(2);
    for (unsigned i = 0; i < 50; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", i);
        store(f, 1000, key, 1, 500, RUMOR_LOCAL);
    }
    cr_assert_eq(drain(f, 1000, 1), 1);
    end(f);
}

Test(rumor, waiting_versions_of_a_key_are_merged)
{
    struct fixture *f = make(2);
    uint64_t to;
    for (uint64_t version = 1; version <= 10; version++)
        store(f, 1000, "a", version, 50, RUMOR_LOCAL);
    cr_assert_eq(rumor_queued(&f->rumor), 1);
    size_t len = rumor_poll(&f->rumor, 1000, ROOM, f->out, RUMOR_MESSAGE_MAX, &to);
    struct rbuf b;
    struct record rec;
    rbuf_init(&b, f->out, len);
    b.pos = 1 + 13;
    struct record_run run = {0};
    cr_assert_eq(record_run_get(&run, &b, &rec), 0);
    cr_assert_eq(rec.version.hi, 10);
    cr_assert_eq(rbuf_left(&b), 0);
    rumor_sent(&f->rumor, 1000, 0);
    cr_assert_eq(f->rumor.stats.coalesced, 9);
    end(f);
}

Test(rumor, a_full_peer_keeps_its_records_and_is_tried_again)
{
    struct fixture *f = make(2);
    uint64_t to;
    store(f, 1000, "a", 1, 50, RUMOR_LOCAL);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t now = 1000 + 10000 * i;
        cr_assert_leq(rumor_deadline(&f->rumor, now), now);
        cr_assert_gt(rumor_poll(&f->rumor, now, ROOM, f->out, RUMOR_MESSAGE_MAX, &to), 0);
        rumor_sent(&f->rumor, now, ERR_BUSY);
        cr_assert_eq(drain(f, now, 1), 0);
        cr_assert_eq(rumor_queued(&f->rumor), 1);
    }
    store(f, 50000, "a", 2, 50, RUMOR_LOCAL);
    cr_assert_eq(drain(f, 51000, 1), 1);
    cr_assert_eq(rumor_queued(&f->rumor), 0);
    end(f);
}

Test(rumor, a_member_that_left_loses_its_queue)
{
    struct fixture *f = make(3);
    store(f, 1000, "a", 1, 50, RUMOR_LOCAL);
    cr_assert_eq(rumor_queued(&f->rumor), 2);
    f->peers.count = 2;
    rumor_peers_changed(&f->rumor);
    cr_assert_eq(rumor_queued(&f->rumor), 1);
    end(f);
}

Test(rumor, tables_that_overflow_degrade_without_harm)
{
    struct fixture *f = make_sized(64, 16, 4096);
    for (unsigned i = 0; i < 5000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i % 700);
        store(f, 1000 + i, key, i + 1, 10 + i % 2000, RUMOR_LOCAL);
        if (i % 37 == 0)
            drain(f, 1000 + i, 1);
    }
    cr_assert_gt(f->rumor.stats.overflow, 0);
    drain(f, 10000, 1);
    drain(f, 20000, 1);
    cr_assert_eq(rumor_queued(&f->rumor), 0);
    end(f);
}

/* ---- receiving ----------------------------------------------------------------------- */

Test(rumor, only_stored_records_are_passed_on)
{
    struct fixture *f = make(64);
    uint8_t message[65536];
    struct record rec = record_of("a", 5, 100);
    size_t len = push_message(message, SELF + 63, &rec); /* node 100 stands first behind it */
    cr_assert_eq(receive(f, 1000, SELF + 63, message, len), 0);
    cr_assert_eq(f->in.apply_count, 1);
    cr_assert_eq(f->in.key_hash[0], hash_of(&rec));
    cr_assert_eq(drain(f, 1000, 1), 0);
    cr_assert_eq(receive(f, 1001, SELF + 63, message, len), 0); /* the network doubled it */
    cr_assert_eq(f->in.apply_count, 0);
    rumor_stored(&f->rumor, 1002, &rec, hash_of(&rec), RUMOR_PEER);
    cr_assert_eq(drain(f, 1002, 1), 8);
    cr_assert_eq(receive(f, 1003, SELF + 63, message, len), 0);
    cr_assert_eq(f->in.apply_count, 0);
    cr_assert_eq(f->rumor.stats.duplicates, 2);
    end(f);
}

Test(rumor, a_newer_version_of_a_known_key_is_news)
{
    struct fixture *f = make(64);
    uint8_t message[65536];
    store(f, 1000, "a", 5, 100, RUMOR_PEER);
    struct record rec = record_of("a", 6, 100);
    size_t len = push_message(message, SELF + 63, &rec);
    cr_assert_eq(receive(f, 1001, SELF + 63, message, len), 0);
    cr_assert_eq(f->in.apply_count, 1);
    cr_assert_eq(f->rumor.stats.duplicates, 0);
    end(f);
}

Test(rumor, what_was_refused_is_asked_for_again)
{
    struct fixture *f = make(64);
    uint8_t message[65536];
    struct record rec = record_of("a", 5, 100);
    size_t len = push_message(message, SELF + 63, &rec);
    cr_assert_eq(receive(f, 1000, SELF + 63, message, len), 0);
    rumor_refused(&f->rumor, 1000, hash_of(&rec));
    cr_assert_eq(drain(f, 1001, 4), 0);
    cr_assert_eq(drain(f, 1500, 4), 1);
    cr_assert_eq(receive(f, 1501, SELF + 63, message, len), 0);
    cr_assert_eq(f->in.apply_count, 1);
    end(f);
}

Test(rumor, digests_lead_to_asking_unless_it_is_there)
{
    struct fixture *f = make(8);
    uint8_t message[64];
    struct record rec = record_of("a", 5, 100);
    size_t len = digest_message(message, &rec);
    f->had_hash = hash_of(&rec);
    cr_assert_eq(receive(f, 1000, SELF + 1, message, len), 0);
    cr_assert_eq(drain(f, 1100, 4), 0);
    f->had_hash = 0;
    cr_assert_eq(receive(f, 2000, SELF + 1, message, len), 0);
    cr_assert_eq(receive(f, 2000, SELF + 2, message, len), 0);
    uint64_t to = 0;
    uint64_t now = 2100;
    cr_assert_eq(rumor_poll(&f->rumor, now, ROOM, f->out, RUMOR_MESSAGE_MAX, &to), 9);
    rumor_sent(&f->rumor, now, 0);
    cr_assert_eq(to, SELF + 1);
    now += RUMOR_ASK_RETRY_MS + 20; /* no answer: the other one that has it */
    cr_assert_eq(rumor_poll(&f->rumor, now, ROOM, f->out, RUMOR_MESSAGE_MAX, &to), 9);
    rumor_sent(&f->rumor, now, 0);
    cr_assert_eq(to, SELF + 2);
    for (unsigned i = 0; i < 100; i++)
        drain(f, now += 1000, 4);
    cr_assert_eq(f->rumor.stats.gave_up, 1);
    cr_assert_eq(rumor_deadline(&f->rumor, now), UINT64_MAX);
    end(f);
}

/* Whoever hangs below us in its tree would have to ask for it else. */
Test(rumor, what_sync_brought_first_is_passed_on_when_the_tree_brings_it)
{
    struct fixture *f = make(64);
    static uint8_t message[65536];
    struct record rec = record_of("a", 5, 100);
    size_t len = push_message(message, SELF + 63, &rec);
    rumor_stored(&f->rumor, 1000, &rec, hash_of(&rec), RUMOR_PEER);
    cr_assert_eq(drain(f, 1000, 1), 0);
    cr_assert_eq(receive(f, 1001, SELF + 63, message, len), 0);
    cr_assert_eq(f->in.apply_count, 0, "it is here");
    cr_assert_gt(drain(f, 1001, 1), 0);
    cr_assert_eq(receive(f, 1002, SELF + 63, message, len), 0);
    cr_assert_eq(drain(f, 1002, 1), 0, "once");
    end(f);
}

/* Each is asked twice before waiting longer: one lost packet in twenty is two lost asks in five
 * hundred, and there are many asks. */
Test(rumor, three_that_have_it_are_asked_in_turn_without_pause)
{
    struct fixture *f = make(8);
    uint8_t message[64];
    struct record rec = record_of("a", 5, 100);
    size_t len = digest_message(message, &rec);
    unsigned asks = 0;
    for (unsigned i = 1; i <= RUMOR_HOLDERS; i++)
        cr_assert_eq(receive(f, 1000, SELF + i, message, len), 0);
    for (uint64_t now = 1000; now < 1020 + 2 * RUMOR_HOLDERS * (RUMOR_ASK_RETRY_MS + 10); now++)
        asks += drain(f, now, 4);
    cr_assert_geq(asks, 2 * RUMOR_HOLDERS);
    end(f);
}

Test(rumor, versions_in_digests_are_whole)
{
    struct fixture *f = make(8), *g = make(8);
    const uint64_t versions[] = {5, UINT64_MAX, 0, 1u << 20, 3};
    char key[2] = "a";
    uint64_t to;
    for (size_t i = 0; i < 5; i++, key[0]++) {
        store(f, 1000, key, versions[i], 10, RUMOR_PEER);
        store(g, 1000, key, i == 3 ? versions[i] - 1 : versions[i], 10, RUMOR_PEER);
    }
    size_t len = rumor_poll(&f->rumor, 1100, ROOM, f->out, RUMOR_MESSAGE_MAX, &to);
    cr_assert_eq(f->out[0], 3);
    cr_assert_eq(receive(g, 1100, SELF + 1, f->out, len), 0);
    cr_assert_eq(g->rumor.wanted_count, 1); /* the one of which it has an older version */
    end(f);
    end(g);
}

Test(rumor, asking_waits_as_long_as_pushes_are_late)
{
    struct fixture *f = make(8);
    uint8_t message[65536];
    struct record rec = record_of("a", 5, 100);
    size_t len = digest_message(message, &rec);
    f->rumor.ask_wait_ms = 300; /* so that it does not ask for this one */
    f->rumor.ask_late_ms = 1000;
    cr_assert_eq(receive(f, 1000, SELF + 1, message, len), 0);
    len = push_message(message, SELF + 1, &rec);
    cr_assert_eq(receive(f, 1280, SELF + 1, message, len), 0);
    rec = record_of("b", 5, 100);
    len = digest_message(message, &rec);
    cr_assert_eq(receive(f, 1300, SELF + 1, message, len), 0);
    cr_assert_eq(drain(f, 1600, 4), 0);
    cr_assert_eq(drain(f, 1800, 4), 1);
    /* Calm again: what is lost is asked for soon. */
    rec = record_of("c", 5, 100);
    len = digest_message(message, &rec);
    cr_assert_eq(receive(f, 9000, SELF + 1, message, len), 0);
    cr_assert_eq(drain(f, 9030, 4), 1);
    end(f);
}

Test(rumor, asked_records_are_answered_from_memory_or_store)
{
    struct fixture *f = make(8);
    struct record rec = record_of("a", 5, 100);
    uint8_t ask[9] = {4};
    struct wbuf w;
    wbuf_init(&w, ask + 1, 8);
    wbuf_u64(&w, hash_of(&rec));
    cr_assert_eq(receive(f, 1000, SELF + 1, ask, sizeof ask), 0);
    cr_assert_eq(drain(f, 1000, 2), 0); /* nobody has it */
    f->loadable = rec;
    f->can_load = true;
    cr_assert_eq(receive(f, 1000, SELF + 1, ask, sizeof ask), 0);
    cr_assert_eq(drain(f, 1000, 2), 1);
    f->can_load = false;
    store(f, 1000, "a", 5, 100, RUMOR_PEER);
    cr_assert_eq(receive(f, 1000, SELF + 1, ask, sizeof ask), 0);
    cr_assert_eq(drain(f, 1000, 2), 1);
    cr_assert_eq(f->rumor.stats.answered, 2);
    end(f);
}

/* Each name is looked for among the answers that wait: a message of them has an end. */
Test(rumor, an_ask_names_no_more_than_a_datagram_could)
{
    static uint8_t ask[1 + (RUMOR_ASK_KEYS + 1) * sizeof(uint64_t)] = {4};
    struct fixture *f = make(3);
    cr_assert_eq(receive(f, 1000, SELF + 1, ask, sizeof ask), ERR_MALFORMED);
    cr_assert_eq(receive(f, 1000, SELF + 1, ask, sizeof ask - sizeof(uint64_t)), 0);
    end(f);
}

Test(rumor, what_is_handed_leaves_half_the_places_to_those_who_ask)
{
    struct fixture *f = make(3);
    f->can_load = true; /* forgotten here, but stored */
    f->loadable = record_of("task/7", 1, 30);
    for (unsigned i = 0; i < 8; i++)
        cr_assert(rumor_hand(&f->rumor, SELF + 1, hash_of(&f->loadable) + i));
    cr_assert(!rumor_hand(&f->rumor, SELF + 1, hash_of(&f->loadable) + 8));
    uint8_t ask[9];
    struct wbuf w;
    wbuf_init(&w, ask, sizeof ask);
    wbuf_u8(&w, 4);
    wbuf_u64(&w, hash_of(&f->loadable));
    cr_assert_eq(receive(f, 1000, SELF + 2, ask, w.len), 0);
    cr_assert_eq(drain(f, 1000, 2), 2, "one message to each");
    cr_assert_eq(f->rumor.stats.answered, 9);
    cr_assert(rumor_hand(&f->rumor, SELF + 1, hash_of(&f->loadable)));
    end(f);
}

Test(rumor, bulk_records_are_not_told_of)
{
    struct fixture *f = make(8);
    store(f, 1000, "a", 1, 100, RUMOR_BULK);
    cr_assert_eq(rumor_deadline(&f->rumor, 1000), UINT64_MAX);
    store(f, 1000, "a", 1, 100, RUMOR_PEER);
    cr_assert_eq(drain(f, 1000, 1), 0);
    cr_assert_gt(drain(f, 1100, 3), 0);
    end(f);
}

Test(rumor, odd_messages_are_refused_whole)
{
    struct fixture *f = make(8);
    uint8_t message[65536];
    struct record rec = record_of("a", 5, 10);
    size_t len = push_message(message, SELF + 1, &rec);
    const struct {
        size_t at;
        uint8_t value;
    } changes[] = {{0, 0},  {0, 5},  {1, 2},     {12, 0}, {12, 17},
                   {13, 0}, {14, 9}, {14, 0xce}, {15, 0}};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        uint8_t was = message[changes[i].at];
        message[changes[i].at] = changes[i].value;
        cr_assert_eq(receive(f, 1000, SELF + 1, message, len), ERR_MALFORMED, "change %zu", i);
        message[changes[i].at] = was;
    }
    for (size_t short_len = 0; short_len < len; short_len++) {
        bool whole = short_len == 1 || short_len == 14; /* ends between items */
        cr_assert_eq(receive(f, 1000, SELF + 1, message, short_len), whole ? 0 : ERR_MALFORMED);
    }
    cr_assert_eq(receive(f, 1000, SELF + 1, message, len), 0);
    end(f);
}

/* ---- members that lie ---------------------------------------------------------------------- */

static unsigned answers(struct fixture *f, uint64_t now, uint64_t *bytes)
{
    uint64_t to;
    size_t len;
    unsigned n = 0;
    while ((len = rumor_poll(&f->rumor, now, ROOM, f->out, RUMOR_MESSAGE_MAX, &to)) > 0) {
        n += f->out[0] == 2;
        *bytes += f->out[0] == 2 ? len : 0;
        rumor_sent(&f->rumor, now, 0);
    }
    return n;
}

static int ask(struct fixture *f, uint64_t now, uint64_t from, uint64_t first, unsigned keys,
               unsigned step)
{
    uint8_t message[1024];
    struct wbuf w;
    wbuf_init(&w, message, sizeof message);
    wbuf_u8(&w, 4);
    for (unsigned i = 0; i < keys; i++)
        wbuf_u64(&w, first + (uint64_t)i * step);
    return receive(f, now, from, message, w.len);
}

Test(rumor, what_is_asked_again_and_again_is_answered_once)
{
    struct fixture *f = make_sized(100, 64, 1u << 20);
    struct record rec = record_of("a", 5, 60000);
    uint64_t bytes = 0;
    store(f, 1000, "a", 5, 60000, RUMOR_PEER);
    cr_assert_eq(ask(f, 1000, SELF + 1, hash_of(&rec), 16, 0), 0);
    cr_assert_eq(ask(f, 1000, SELF + 2, hash_of(&rec), 1, 0), 0);
    cr_assert_eq(answers(f, 1000, &bytes), 2);
    cr_assert_lt(bytes, 2 * 61000);
    cr_assert_eq(ask(f, 1001, SELF + 1, hash_of(&rec), 1, 0), 0);
    cr_assert_eq(answers(f, 1001, &bytes), 1, "an answer may be lost");
    end(f);
}

Test(rumor, one_that_asks_for_much_leaves_room_for_others)
{
    struct fixture *f = make(100);
    struct record rec = record_of("a", 5, 10);
    uint64_t bytes = 0;
    store(f, 1000, "a", 5, 10, RUMOR_PEER);
    cr_assert_eq(ask(f, 1000, SELF + 1, 1, 100, 1), 0);
    cr_assert_eq(ask(f, 1000, SELF + 2, hash_of(&rec), 1, 0), 0);
    cr_assert_eq(answers(f, 1000, &bytes), 1);
    end(f);
}

/* Tells of keys that there are not. */
static void tell_lies(struct fixture *f, uint64_t now, uint64_t from, unsigned keys)
{
    static uint64_t n;
    uint8_t message[64];
    char key[24];
    for (unsigned i = 0; i < keys; i++) {
        snprintf(key, sizeof key, "none-%lu", n++);
        struct record rec = record_of(key, 1, 0);
        cr_assert_eq(receive(f, now, from, message, digest_message(message, &rec)), 0);
    }
}

Test(rumor, one_that_tells_lies_hinders_neither_the_tree_nor_repair)
{
    struct fixture *f = make(64);
    static uint8_t message[65536];
    for (uint64_t now = 1000; now < 6000; now += 100) {
        char key[24];
        tell_lies(f, now, SELF + 50, 100);
        (void)drain(f, now, 1);
        snprintf(key, sizeof key, "pushed-%lu", now);
        struct record rec = record_of(key, 1, 100);
        size_t len = push_message(message, SELF + 63, &rec);
        cr_assert_eq(receive(f, now, SELF + 63, message, len), 0);
        rumor_stored(&f->rumor, now, &rec, hash_of(&rec), RUMOR_PEER);
        cr_assert_eq(drain(f, now, 1), 8, "was not passed on");
        snprintf(key, sizeof key, "lost-%lu", now);
        rec = record_of(key, 1, 100);
        len = digest_message(message, &rec);
        cr_assert_eq(receive(f, now, SELF + 3, message, len), 0);
        struct rumor_pending *p = rumor_pending_find(&f->rumor, hash_of(&rec));
        cr_assert_not_null(p, "was not heard of");
        rumor_pending_drop(&f->rumor, p);
    }
    for (unsigned i = 1; i < 60; i++) /* many of them: the tree still goes on */
        tell_lies(f, 6000, SELF + i, 10);
    struct record rec = record_of("b", 1, 100);
    size_t len = push_message(message, SELF + 63, &rec);
    cr_assert_eq(receive(f, 6000, SELF + 63, message, len), 0);
    cr_assert_not_null(rumor_pending_find(&f->rumor, hash_of(&rec)));
    end(f);
}

Test(rumor, one_that_tells_thrice_is_one_of_three_to_ask)
{
    struct fixture *f = make(8);
    uint8_t message[64];
    uint64_t to;
    struct record rec = record_of("a", 5, 100);
    size_t len = digest_message(message, &rec);
    unsigned asked_of[4] = {0};
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(receive(f, 1000, SELF + 1, message, len), 0);
    for (unsigned i = 2; i < 4; i++)
        cr_assert_eq(receive(f, 1000, SELF + i, message, len), 0);
    for (uint64_t now = 1000; now < 2000; now++) {
        while (rumor_poll(&f->rumor, now, ROOM, f->out, RUMOR_MESSAGE_MAX, &to) > 0) {
            cr_assert_leq(to, SELF + 3);
            asked_of[to - SELF]++;
            rumor_sent(&f->rumor, now, 0);
        }
    }
    cr_assert(asked_of[1] >= 2 && asked_of[2] >= 2 && asked_of[3] >= 2);
    end(f);
}

/* ---- what is no news of loss, and no message too large ------------------------------------- */

Test(rumor, a_push_behind_a_refusal_is_not_late)
{
    struct fixture *f = make(64);
    static uint8_t message[65536];
    struct record rec = record_of("a", 5, 100);
    size_t len = push_message(message, SELF + 63, &rec);
    cr_assert_eq(receive(f, 100000, SELF + 63, message, len), 0);
    rumor_refused(&f->rumor, 100001, hash_of(&rec));
    rec.version.hi = 6;
    len = push_message(message, SELF + 63, &rec);
    cr_assert_eq(receive(f, 100002, SELF + 63, message, len), 0);
    cr_assert_leq(f->rumor.ask_wait_ms, RUMOR_ASK_WAIT_MS);
    end(f);
}

Test(rumor, what_is_sent_is_taken_whatever_buffer_there_is)
{
    enum { CAP = RUMOR_MESSAGE_MAX + RUMOR_BATCH };
    static uint8_t value[RECORD_VALUE_MAX];
    struct fixture *f = make_sized(2, 64, 4u << 20), *g = make_sized(2, 64, 4u << 20);
    uint8_t *message = malloc(CAP);
    uint64_t to;
    size_t len, taken = 0;
    for (unsigned i = 0; i < 31; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", i);
        store(f, 1000, key, 1, 2000, RUMOR_LOCAL);
    }
    struct record rec = record_of("large", 1, 0);
    rec.value = value;
    rec.value_len = sizeof value;
    rumor_stored(&f->rumor, 1000, &rec, hash_of(&rec), RUMOR_LOCAL);
    while ((len = rumor_poll(&f->rumor, 1000, ROOM, message, CAP, &to)) > 0) {
        rumor_sent(&f->rumor, 1000, 0);
        cr_assert_eq(receive(g, 1000, SELF, message, len), 0, "%zu bytes", len);
        taken += len;
    }
    cr_assert_gt(taken, sizeof value + 31 * 2000);
    free(message);
    end(f);
    end(g);
}

/* Anything may come; nothing may break, and what the core then sends must be well-formed. */
Test(rumor, mutated_messages_never_break_it)
{
    struct fixture *f = make_sized(64, 16, 4096);
    struct fixture *peer = make(64);
    struct prng prng;
    prng_seed(&prng, 99);
    uint8_t message[65536];
    uint64_t now = 1000;
    for (unsigned i = 0; i < 100000; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", (unsigned)prng_below(&prng, 50));
        struct record rec = record_of(key, prng_below(&prng, 40), (uint32_t)prng_below(&prng, 90));
        size_t len = i % 3 == 0 ? digest_message(message, &rec)
                                : push_message(message, SELF + prng_below(&prng, 64), &rec);
        message[0] = (uint8_t)(i % 7 == 0 ? 1 + prng_below(&prng, 4) : message[0]);
        for (uint64_t n = prng_below(&prng, 4); n > 0; n--)
            message[prng_below(&prng, len)] = (uint8_t)prng_next(&prng);
        len -= prng_below(&prng, 10) == 0 ? prng_below(&prng, len) : 0;
        uint8_t *exact = malloc(len + 1); /* so that ASan sees one byte too many */
        memcpy(exact, message, len);
        if (receive(f, now, SELF + 1 + prng_below(&prng, 63), exact, len) == 0) {
            for (size_t k = 0; k < f->in.apply_count; k++) {
                if (prng_below(&prng, 4) == 0)
                    rumor_refused(&f->rumor, now, f->in.key_hash[k]);
                else
                    rumor_stored(&f->rumor, now, &f->in.apply[k], f->in.key_hash[k], RUMOR_PEER);
            }
        }
        free(exact);
        now += prng_below(&prng, 30);
        uint64_t to;
        size_t n = rumor_poll(&f->rumor, now, ROOM, f->out, RUMOR_MESSAGE_MAX, &to);
        if (n > 0) {
            rumor_sent(&f->rumor, now, prng_below(&prng, 5) == 0 ? ERR_BUSY : 0);
            cr_assert_eq(receive(peer, now, SELF + 2, f->out, n), 0);
        }
    }
    cr_assert_gt(f->rumor.stats.malformed, 1000);
    cr_assert_gt(f->rumor.stats.received, 1000);
    end(f);
    end(peer);
}
