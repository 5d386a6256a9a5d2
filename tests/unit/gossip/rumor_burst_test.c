/* SPDX-License-Identifier: Apache-2.0
 * Many records at once: trees, digests and asking in bursts and floods. */
#include <inttypes.h>
#include <stdio.h>

#include "tests/unit/gossip/rumor_fixture.h"

static void store_many(struct fixture *f, uint64_t now_ms, uint64_t version, unsigned count)
{
    rumor_coming(&f->rumor, count);
    for (unsigned i = 0; i < count; i++) {
        char key[16];
        snprintf(key, sizeof key, "key/%06u", i);
        store(f, now_ms, key, version, 200, RUMOR_LOCAL);
    }
    rumor_coming(&f->rumor, 0);
}

Test(rumor_burst, a_busy_origin_has_fewer_children)
{
    struct fixture *f = make(64);
    unsigned first = 0;
    for (unsigned i = 0; i < 2 * RUMOR_LOAD_FEW; i++) {
        store(f, 1000, "a", i + 1, 50, RUMOR_LOCAL);
        unsigned n = drain(f, 1000, 1);
        if (i == 0)
            first = n;
        if (i + 1 == 2 * RUMOR_LOAD_FEW)
            cr_assert_eq(n, RUMOR_ROOT_BUSY);
    }
    cr_assert_eq(first, RUMOR_FANOUT);
    store(f, 1000 + 5 * RUMOR_LOAD_MS, "a", 1000, 50, RUMOR_LOCAL);
    cr_assert_eq(drain(f, 1000 + 5 * RUMOR_LOAD_MS, 1), RUMOR_FANOUT);
    end(f);
}

/* Where hundreds of datagrams would have to be sent and received, few streams do it. */
Test(rumor_burst, a_flood_goes_in_large_messages)
{
    struct fixture *f = make_sized(64, 512, 131072);
    unsigned messages = 0;
    size_t bytes = 0, len;
    uint64_t to;
    store_many(f, 1000, 1, 400);
    cr_assert_eq(rumor_queued(&f->rumor), 400);
    while ((len = rumor_poll(&f->rumor, 1000, ROOM, f->out, RUMOR_MESSAGE_MAX, &to)) > 0) {
        rumor_sent(&f->rumor, 1000, 0);
        messages++;
        bytes += len;
    }
    cr_assert_lt(messages, 7 + RUMOR_STREAM_FROM, "%u: seven trees, the last in datagrams",
                 messages);
    cr_assert_leq(bytes, 400 * 200 * 106 / 100, "%zu", bytes);
    end(f);
}

/* Connections are dear: where each tree had links of its own, most of a flood was waiting for them.
 */
Test(rumor_burst, a_flood_goes_by_the_same_links_again_and_again)
{
    struct fixture *f = make_sized(64, 512, 131072);
    uint64_t to, seen[64];
    size_t count = 0, len;
    store_many(f, 1000, 1, 400);
    while ((len = rumor_poll(&f->rumor, 1000, ROOM, f->out, RUMOR_MESSAGE_MAX, &to)) > 0) {
        size_t i = 0;
        while (i < count && seen[i] != to)
            i++;
        if (i == count)
            seen[count++] = to;
        rumor_sent(&f->rumor, 1000, 0);
    }
    cr_assert_eq(count, RUMOR_FANOUT_FLOOD, "%zu", count);
    end(f);
}

/* As the store commits them: in transactions of 64 rows. */
Test(rumor_burst, a_burst_goes_down_a_tree_per_datagram)
{
    struct fixture *f = make_sized(64, 256, 65536);
    unsigned messages = 0, to_each[64] = {0};
    size_t bytes = 0, len;
    uint64_t to;
    for (unsigned version = 1; version <= 3; version++) {
        store_many(f, 1000, version, 64);
        cr_assert_eq(rumor_queued(&f->rumor), 64); /* each to one child, from the first on */
        while ((len = rumor_poll(&f->rumor, 1000, ROOM, f->out, RUMOR_MESSAGE_MAX, &to)) > 0) {
            rumor_sent(&f->rumor, 1000, 0);
            cr_assert_leq(len, ROOM);
            to_each[to - SELF]++;
            messages++;
            bytes += len;
        }
    }
    cr_assert_leq(bytes, 3 * 64 * 200 * 109 / 100, "%zu bytes", bytes);
    cr_assert_leq(messages, 36, "%u datagrams, of six records each", messages);
    for (unsigned i = 0; i < 64; i++)
        cr_assert_leq(to_each[i], messages / 3 + 2, "%u", to_each[i]);
    end(f);
}

/* A message with the hashes that a digest to that member told of; returns the digest's receiver. */
static uint64_t ask_for_told(struct fixture *f, uint64_t now_ms, uint8_t *ask, size_t *ret_len)
{
    uint64_t to = 0;
    size_t len = rumor_poll(&f->rumor, now_ms, ROOM, f->out, RUMOR_MESSAGE_MAX, &to);
    cr_assert_gt(len, 0);
    cr_assert_eq(f->out[0], 3);
    rumor_sent(&f->rumor, now_ms, 0);
    ask[0] = 4;
    *ret_len = 1;
    for (size_t at = 1; at + 10 <= len; at += 10, *ret_len += 8)
        memcpy(ask + *ret_len, f->out + at, 8);
    return to;
}

/* What the one child lost all others lack. So whoever asks for it gets it, and the child as well,
 * as a push, to be passed on: once, and not if another member has told of it. */
Test(rumor_burst, an_only_child_is_handed_again_what_somebody_lacks)
{
    struct fixture *f = make_sized(64, 256, 65536);
    uint8_t ask[2048], digest[64];
    size_t ask_len, len;
    uint64_t to, child = 0;
    store_many(f, 1000, 1, 200);
    while ((len = rumor_poll(&f->rumor, 1000, ROOM, f->out, RUMOR_MESSAGE_MAX, &to)) > 0) {
        child = child == 0 ? to : child; /* of the first datagram's tree */
        rumor_sent(&f->rumor, 1000, 0);
    }
    uint64_t told = ask_for_told(f, 1000 + RUMOR_DIGEST_BURST_MS, ask, &ask_len);
    cr_assert_neq(told, child);
    cr_assert_geq((ask_len - 1) / 8, 100, "one digest for many children's records");

    ask_len = 1 + 8; /* the first of them */
    cr_assert_eq(receive(f, 1200, told, ask, ask_len), 0);
    cr_assert_eq(drain(f, 1200, 2), 1); /* drains the push to the child, too */
    cr_assert_eq(f->rumor.stats.again, 1);
    cr_assert_eq(receive(f, 1200, told, ask, ask_len), 0);
    cr_assert_eq(drain(f, 1200, 2), 1);
    cr_assert_eq(f->rumor.stats.again, 1, "once");

    cr_assert_eq(receive(f, 1200, child, ask, ask_len), 0);
    len = rumor_poll(&f->rumor, 1200, ROOM, f->out, RUMOR_MESSAGE_MAX, &to);
    cr_assert_gt(len, 0);
    cr_assert_eq(f->out[0], 1, "the child itself gets no answer but a push");
    cr_assert_eq(to, child);
    cr_assert_neq(f->out[11] & 0x80, 0);
    rumor_sent(&f->rumor, 1200, 0);
    cr_assert_eq(f->rumor.stats.again, 2);

    struct record rec = record_of("key/000001", 1, 200);
    len = digest_message(digest, &rec);
    cr_assert_eq(receive(f, 1200, SELF + 9, digest, len), 0);
    uint64_t hash = hash_of(&rec);
    memcpy(ask + 1, &hash, sizeof hash);
    cr_assert_eq(receive(f, 1200, told, ask, ask_len), 0);
    cr_assert_eq(drain(f, 1200, 2), 1);
    cr_assert_eq(f->rumor.stats.again, 2, "others have it, so the child had");
    end(f);
}

/* Where records had to be asked for, more members are told, as outside of bursts. */
Test(rumor_burst, of_a_burst_all_thirds_are_told_after_a_repair)
{
    struct fixture *f = make_sized(64, 256, 65536);
    uint8_t ask[9] = {4};
    struct record rec = record_of("key/000000", 1, 200);
    uint64_t hash = hash_of(&rec);
    memcpy(ask + 1, &hash, sizeof hash);
    store_many(f, 1000, 1, 64);
    drain(f, 1000, 1);
    cr_assert_eq(receive(f, 1010, SELF + 20, ask, sizeof ask), 0);
    drain(f, 1010, 2);
    cr_assert_eq(drain(f, 1000 + RUMOR_DIGEST_BURST_MS, 3), RUMOR_DIGEST_PEERS);
    cr_assert_eq(drain(f, 1000 + RUMOR_DIGEST_BURST_LATE_MS, 3), RUMOR_DIGEST_PEERS + 1);
    store_many(f, 1010 + RUMOR_TROUBLE_MS, 2, 64);
    drain(f, 1010 + RUMOR_TROUBLE_MS, 1);
    cr_assert_eq(drain(f, 1010 + RUMOR_TROUBLE_MS + RUMOR_DIGEST_BURST_MS, 3), 1);
    end(f);
}

/* There a repair tells how busy all are, and digests are the more the larger it is. */
Test(rumor_burst, of_a_flood_one_is_told_even_after_a_repair)
{
    struct fixture *f = make_sized(64, 512, 131072);
    uint8_t ask[9] = {4};
    struct record rec = record_of("key/000399", 1, 200);
    uint64_t hash = hash_of(&rec);
    memcpy(ask + 1, &hash, sizeof hash);
    store_many(f, 500, 1, 400); /* so that all that follow are of the flood */
    drain(f, 500, 1);
    store_many(f, 510, 2, 400);
    drain(f, 510, 1);
    cr_assert_eq(receive(f, 520, SELF + 20, ask, sizeof ask), 0);
    drain(f, 520, 2);
    unsigned first = drain(f, 510 + RUMOR_DIGEST_BURST_MS, 3);
    unsigned late = drain(f, 510 + RUMOR_DIGEST_BURST_LATE_MS, 3);
    cr_assert_eq(first, f->rumor.stats.digest_bytes / 2 / ROOM + 1, "%u", first);
    cr_assert_eq(late, first);
    end(f);
}

/* Scans, a hundredth of a second apart, until something is asked for. */
static uint64_t asked_at(struct fixture *f, uint64_t now_ms, uint64_t until_ms, bool pushes)
{
    uint8_t push[200];
    for (; now_ms < until_ms; now_ms += 10) {
        char key[24];
        snprintf(key, sizeof key, "pushed/%" PRIu64, now_ms);
        struct record rec = record_of(key, 1, 20);
        size_t len = push_message(push, SELF + 1, &rec);
        if (pushes)
            cr_assert_eq(receive(f, now_ms, SELF + 1, push, len), 0);
        if (drain(f, now_ms, 4) > 0)
            return now_ms;
        if (pushes)
            rumor_unchanged(&f->rumor, hash_of(&rec), rec.version);
    }
    return 0;
}

static void hear_of_many(struct fixture *f, uint64_t now_ms, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t digest[64];
        char key[16];
        snprintf(key, sizeof key, "told/%u", i);
        struct record rec = record_of(key, 7, 100);
        size_t len = digest_message(digest, &rec);
        cr_assert_eq(receive(f, now_ms, SELF + 9, digest, len), 0);
    }
}

/* A stream brings by itself what was lost on the way; an early ask would only double it. */
Test(rumor_burst, in_a_flood_asking_waits_for_the_streams)
{
    static const struct {
        unsigned stored, told;
        bool pushes;
        uint64_t from_ms, least_ms; /* asked for, after the digest */
    } cases[] = {
        {400, 30, false, RUMOR_ASK_FLOOD_MS, RUMOR_ASK_FLOOD_MS},
        {400, 30, true, RUMOR_ASK_FLOOD_MAX_MS, RUMOR_ASK_FLOOD_MAX_MS},
        {400, 1, true, RUMOR_ASK_FLOOD_MS, RUMOR_ASK_FLOOD_MS}, /* it was lost */
        {64, 30, true, RUMOR_ASK_BURST_MS, RUMOR_ASK_BURST_MS},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture *f = make_sized(64, 512, 131072);
        store_many(f, 1000, 1, cases[i].stored);
        drain(f, 1000, 1);
        hear_of_many(f, 1001, cases[i].told);
        uint64_t at_ms = asked_at(f, 1001, 5000, cases[i].pushes);
        cr_assert_geq(at_ms, 1001 + cases[i].from_ms, "%zu: %" PRIu64, i, at_ms);
        cr_assert_leq(at_ms, 1001 + cases[i].from_ms + cases[i].least_ms / 4 + 10, "%zu: %" PRIu64,
                      i, at_ms);
        end(f);
    }
}

/* Whoever was kept from running finds its timers due before it has read what waits for it. */
Test(rumor_burst, in_a_flood_time_without_a_look_does_not_count)
{
    struct fixture *f = make_sized(64, 512, 131072);
    store_many(f, 1000, 1, 400);
    drain(f, 1000, 1);
    hear_of_many(f, 1001, 30);
    cr_assert_eq(asked_at(f, 1800, 1800 + 10 * (RUMOR_ASK_FLOOD_QUIET - 2), false), 0);
    cr_assert_neq(asked_at(f, 2050, 2200, false), 0);
    end(f);
}

/* Records asked for in all that is sent now. */
static size_t asked_for(struct fixture *f, uint64_t now_ms)
{
    size_t n = 0, len;
    uint64_t to;
    while ((len = rumor_poll(&f->rumor, now_ms, ROOM, f->out, RUMOR_MESSAGE_MAX, &to)) > 0) {
        n += f->out[0] == 4 ? (len - 1) / 8 : 0;
        rumor_sent(&f->rumor, now_ms, 0);
    }
    return n;
}

/* A member that lacks very much is one that a burst has not reached yet. */
Test(rumor_burst, what_is_missing_in_great_numbers_is_on_its_way)
{
    struct fixture *f = make(64);
    for (unsigned i = 0; i < 60; i++) {
        char key[16];
        uint8_t digest[64];
        snprintf(key, sizeof key, "k%u", i);
        struct record rec = record_of(key, 1, 10);
        size_t len = digest_message(digest, &rec);
        cr_assert_eq(receive(f, 1000, SELF + 9, digest, len), 0);
    }
    cr_assert_eq(asked_for(f, 1000 + 2 * RUMOR_ASK_WAIT_MS), RUMOR_LOAD_BURST + 1);
    end(f);
}

Test(rumor_burst, of_a_burst_one_other_is_told_later)
{
    struct fixture *f = make_sized(64, 256, 65536);
    uint8_t message[65536];
    for (unsigned i = 0; i < 50; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        struct record rec = record_of(key, 1, 10);
        size_t len = push_message(message, SELF + 63, &rec);
        message[11] |= 0x80;
        cr_assert_eq(receive(f, 1000, SELF + 63, message, len), 0);
        rumor_stored(&f->rumor, 1000, &rec, hash_of(&rec), RUMOR_PEER);
    }
    drain(f, 1000, 1);
    cr_assert_eq(drain(f, 1000 + RUMOR_DIGEST_BURST_MS - 10, 3), 0);
    cr_assert_eq(drain(f, 1000 + RUMOR_DIGEST_BURST_MS + 10, 3), 1);
    cr_assert_eq(drain(f, 1000 + RUMOR_DIGEST_BURST_LATE_MS - 10, 3), 0);
    cr_assert_eq(drain(f, 1000 + RUMOR_DIGEST_BURST_LATE_MS + 10, 3), 1);
    end(f);
}
