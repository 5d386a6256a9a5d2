/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/prng.h"
#include "gossip/seal.h"

static const uint8_t keys[3][32] = {{1}, {2}, {3}};
static const struct seal_peer alice = {111, 5000}, bob = {222, 6000};

static struct seal make(const char *cluster, size_t first, size_t count)
{
    struct seal s;
    cr_assert_eq(seal_init(&s, cluster, keys + first, count), 0);
    return s;
}

/* What alice and bob share, and nobody else has. */
static struct seal_pair shared;
static struct seal_pair *pair_of(void *arg, uint64_t sender)
{
    (void)arg;
    memset(shared.secret, 77, sizeof shared.secret);
    return sender == alice.num ? &shared : NULL;
}

static bool find_alice(void *arg, uint32_t mark, unsigned nth, struct seal_peer *ret)
{
    (void)arg;
    *ret = alice;
    return nth == 0 && mark == seal_mark(alice);
}
static const struct seal_senders senders = {NULL, pair_of, find_alice};

static size_t packet_of(const struct seal *s, enum seal_type type, uint64_t counter, uint8_t *out)
{
    return seal_datagram(s, type, alice, counter, bob, pair_of(NULL, alice.num), "hello, bob", 10,
                         out);
}

static enum seal_result open_as(const struct seal *s, struct seal_peer self, const uint8_t *packet,
                                size_t len)
{
    struct seal_header h;
    uint8_t plain[1500];
    size_t plain_len = 0;
    enum seal_result r = seal_open(s, self, packet, len, &senders, &h, plain, &plain_len);
    if (r == SEAL_OK) {
        cr_assert_eq(plain_len, 10);
        cr_assert_eq(memcmp(plain, "hello, bob", 10), 0);
        cr_assert_eq(h.sender, alice.num);
        cr_assert_eq(h.epoch, alice.epoch);
    }
    return r;
}

Test(seal, known_bytes_stay_known)
{
    /* Guards the format: the header in clear, and the same ciphertext for the same input. */
    static const uint8_t header[SEAL_HEADER] = {0x11, 0,    0, 0, 0, 0, 111, 0, 0, 0, 0, 0, 0, 0,
                                                0x88, 0x13, 0, 0, 0, 0, 0,   0, 7, 0, 0, 0, 0, 0};
    struct seal s = make("c", 0, 1);
    uint8_t a[100], b[100];
    size_t len = packet_of(&s, SEAL_BOUND, 7, a);
    cr_assert_eq(len, 10 + SEAL_OVERHEAD);
    cr_assert_eq(packet_of(&s, SEAL_BOUND, 7, b), len);
    cr_assert_eq(memcmp(a, b, len), 0);
    cr_assert_eq(a[0], header[0]);
    cr_assert_eq(memcmp(a + 6, header + 6, SEAL_HEADER - 6), 0);
    cr_assert_eq(open_as(&s, bob, a, len), SEAL_OK);
    char id[17];
    seal_key_id(keys[0], id);
    cr_assert_eq(strlen(id), 16);
    char first[9];
    snprintf(first, sizeof first, "%02x%02x%02x%02x", a[2], a[3], a[4], a[5]);
    cr_assert_eq(strncmp(id, first, 8), 0, "what is printed is what travels");
}

/* What the pair's own key makes of a packet, all of XChaCha20 for each: the keys that are kept from
 * packet to packet must not show, whoever sends in between and under whichever cluster key. */
Test(seal, keys_that_are_kept_change_no_byte)
{
    struct seal one = make("c", 0, 1), other = make("c", 1, 1);
    const struct seal_peer lives[] = {alice, {111, 5001}, {112, 5000}, alice};
    struct seal_pair pair = {.secret = {9, 8, 7}};
    for (unsigned i = 0; i < 16; i++) {
        const struct seal *s = i % 8 < 4 ? &one : &other;
        struct seal_peer from = lives[i / 2 % 4];
        uint8_t key[32], nonce[24], aad[SEAL_HEADER + 48], want[10 + SEAL_TAG], packet[100];
        size_t len =
            seal_datagram(s, SEAL_BOUND, from, 70 + i, bob, &pair, "hello, bob", 10, packet);
        crypto_generichash(key, 32, pair.secret, 32, s->key[0], 32);
        const uint64_t words[] = {from.num, from.epoch, 70 + i}, to[] = {bob.num, bob.epoch};
        memcpy(nonce, words, 24);
        memcpy(aad, packet, SEAL_HEADER);
        memcpy(aad + SEAL_HEADER, s->cluster, 32);
        memcpy(aad + SEAL_HEADER + 32, to, 16);
        crypto_aead_xchacha20poly1305_ietf_encrypt(want, NULL, (const uint8_t *)"hello, bob", 10,
                                                   aad, sizeof aad, NULL, nonce, key);
        cr_assert_eq(len, SEAL_HEADER + sizeof want);
        cr_assert_eq(memcmp(packet + SEAL_HEADER, want, sizeof want), 0, "packet %u", i);
    }
}

Test(seal, what_lies_behind_the_header_is_sealed_in_place)
{
    struct seal s = make("c", 0, 1);
    uint8_t apart[100], in_place[100];
    size_t len = packet_of(&s, SEAL_BRIEF, 7, apart);
    memcpy(in_place + SEAL_BRIEF_HEADER, "hello, bob", 10);
    cr_assert_eq(seal_datagram(&s, SEAL_BRIEF, alice, 7, bob, &shared, in_place + SEAL_BRIEF_HEADER,
                               10, in_place),
                 len);
    cr_assert_eq(memcmp(in_place, apart, len), 0);
}

Test(seal, any_changed_bit_is_found)
{
    struct seal s = make("c", 0, 1);
    static const enum seal_type types[] = {SEAL_BOUND, SEAL_HELLO, SEAL_INTRO, SEAL_BRIEF};
    for (size_t t = 0; t < 4; t++) {
        uint8_t packet[100];
        size_t len = packet_of(&s, types[t], 7, packet);
        cr_assert_eq(open_as(&s, bob, packet, len), SEAL_OK);
        for (size_t i = 0; i < len * 8; i++) {
            packet[i / 8] ^= (uint8_t)(1 << i % 8);
            cr_assert_neq(open_as(&s, bob, packet, len), SEAL_OK, "bit %zu", i);
            packet[i / 8] ^= (uint8_t)(1 << i % 8);
        }
        for (size_t cut = 0; cut < len; cut++)
            cr_assert_neq(open_as(&s, bob, packet, cut), SEAL_OK);
    }
}

Test(seal, only_the_right_life_of_the_right_member_of_the_right_cluster_opens_it)
{
    struct seal s = make("c", 0, 1), other = make("d", 0, 1), foreign = make("c", 1, 1);
    uint8_t packet[100];
    size_t len = packet_of(&s, SEAL_BOUND, 7, packet);
    cr_assert_eq(open_as(&s, bob, packet, len), SEAL_OK);
    cr_assert_eq(open_as(&s, (struct seal_peer){222, 6001}, packet, len), SEAL_ELSEWHERE);
    cr_assert_eq(open_as(&s, (struct seal_peer){223, 6000}, packet, len), SEAL_ELSEWHERE);
    cr_assert_eq(open_as(&other, bob, packet, len), SEAL_FORGED);
    cr_assert_eq(open_as(&foreign, bob, packet, len), SEAL_KEY);
    /* The hint is only a shortcut: with a forged one the seal still holds. */
    for (unsigned hint = 0; hint < 256; hint++) {
        packet[1] = (uint8_t)hint;
        cr_assert_neq(open_as(&s, (struct seal_peer){222, 6001}, packet, len), SEAL_OK);
    }
}

Test(seal, brief_packets_are_short_and_as_strict)
{
    struct seal s = make("c", 0, 1), other = make("d", 0, 1), foreign = make("c", 1, 1);
    struct seal_pair guess = {.secret = {1, 2, 3}};
    uint8_t packet[100];
    size_t len = packet_of(&s, SEAL_BRIEF, 7, packet);
    cr_assert_eq(len, 10 + SEAL_BRIEF_OVERHEAD);
    cr_assert_eq(open_as(&s, bob, packet, len), SEAL_OK);
    cr_assert_eq(open_as(&s, (struct seal_peer){222, 6001}, packet, len), SEAL_ELSEWHERE);
    cr_assert_eq(open_as(&other, bob, packet, len), SEAL_FORGED);
    cr_assert_eq(open_as(&foreign, bob, packet, len), SEAL_KEY);
    /* Neither another life of alice, nor somebody who guesses what she and bob share. */
    seal_datagram(&s, SEAL_BRIEF, (struct seal_peer){111, 5001}, 8, bob, &shared, "hello, bob", 10,
                  packet);
    cr_assert_eq(open_as(&s, bob, packet, len), SEAL_STRANGER);
    seal_datagram(&s, SEAL_BRIEF, alice, 8, bob, &guess, "hello, bob", 10, packet);
    cr_assert_eq(open_as(&s, bob, packet, len), SEAL_FORGED);
}

static bool find_both(void *arg, uint32_t mark, unsigned nth, struct seal_peer *ret)
{
    (void)arg;
    (void)mark;
    const struct seal_peer lives[] = {{333, 1}, {111, 4999}, alice};
    if (nth < 3)
        *ret = lives[nth];
    return nth < 3;
}

Test(seal, lives_with_one_mark_are_told_apart)
{
    struct seal s = make("c", 0, 1);
    const struct seal_senders both = {NULL, pair_of, find_both};
    struct seal_header h;
    uint8_t packet[100], plain[100];
    size_t plain_len = 0;
    size_t len = packet_of(&s, SEAL_BRIEF, 7, packet);
    cr_assert_eq(seal_open(&s, bob, packet, len, &both, &h, plain, &plain_len), SEAL_OK);
    cr_assert_eq(h.sender, alice.num);
    cr_assert_eq(h.epoch, alice.epoch);
    cr_assert_eq(plain_len, 10);
}

/* Mallory has the cluster's key and knows alice's number, but not what alice and bob share. */
Test(seal, nobody_else_speaks_in_a_members_name)
{
    struct seal s = make("c", 0, 1);
    struct seal_pair guess = {.secret = {1, 2, 3}};
    uint8_t packet[100], forged[100], plain[100];
    struct seal_header h;
    size_t len = packet_of(&s, SEAL_BOUND, 7, packet), plain_len;
    cr_assert_eq(seal_datagram(&s, SEAL_BOUND, alice, 8, bob, &guess, "hello, bob", 10, forged),
                 len);
    cr_assert_eq(open_as(&s, bob, forged, len), SEAL_FORGED);
    /* An introduction cannot be passed off as what proves its sender. */
    packet_of(&s, SEAL_INTRO, 9, forged);
    cr_assert_eq(seal_open(&s, bob, forged, len, &senders, &h, plain, &plain_len), SEAL_OK);
    cr_assert_eq(h.type, SEAL_INTRO);
    forged[0] = packet[0];
    cr_assert_eq(open_as(&s, bob, forged, len), SEAL_FORGED);
    /* Of whom we do not know nothing bound is opened. */
    seal_datagram(&s, SEAL_BOUND, (struct seal_peer){333, 1}, 8, bob, &guess, "hello, bob", 10,
                  forged);
    cr_assert_eq(open_as(&s, bob, forged, len), SEAL_STRANGER);
}

Test(seal, keys_rotate_without_loss)
{
    /* old -> old,new -> new,old -> new: neighbours in this sequence always understand each other.
     */
    struct seal old = make("c", 0, 1), both = make("c", 0, 2), next = make("c", 1, 1);
    uint8_t flipped_keys[2][32];
    memcpy(flipped_keys[0], keys[1], 32);
    memcpy(flipped_keys[1], keys[0], 32);
    struct seal flipped;
    cr_assert_eq(seal_init(&flipped, "c", (const uint8_t(*)[32])flipped_keys, 2), 0);
    const struct seal *steps[] = {&old, &both, &flipped, &next};
    for (size_t i = 0; i + 1 < 4; i++) {
        for (size_t k = 0; k < 2; k++) {
            uint8_t packet[100];
            size_t len = packet_of(steps[i + k], SEAL_BOUND, 7, packet);
            cr_assert_eq(open_as(steps[i + 1 - k], bob, packet, len), SEAL_OK, "step %zu", i);
        }
    }
    uint8_t packet[100];
    cr_assert_eq(open_as(&next, bob, packet, packet_of(&old, SEAL_BOUND, 7, packet)), SEAL_KEY);
}

Test(seal, a_replay_is_refused)
{
    struct seal_window w = {0};
    cr_assert_eq(seal_window_accept(&w, 10, 5), SEAL_FRESH);
    cr_assert_eq(seal_window_accept(&w, 10, 5), SEAL_REPLAYED);
    cr_assert_eq(seal_window_accept(&w, 10, 3), SEAL_FRESH);
    cr_assert_eq(seal_window_accept(&w, 10, 3), SEAL_REPLAYED);
    cr_assert_eq(seal_window_accept(&w, 10, 5 + 1023), SEAL_FRESH);
    cr_assert_eq(seal_window_accept(&w, 10, 6), SEAL_FRESH);
    cr_assert_eq(seal_window_accept(&w, 10, 4), SEAL_REPLAYED, "older than the window");
    cr_assert_eq(seal_window_accept(&w, 9, 999999), SEAL_EARLIER_LIFE);
    cr_assert_eq(seal_window_accept(&w, 11, 1), SEAL_FRESH);
    cr_assert_eq(seal_window_accept(&w, 10, 2000), SEAL_EARLIER_LIFE);
    cr_assert_eq(seal_window_accept(&w, 11, SEAL_COUNTER_MAX), SEAL_FRESH);
    cr_assert_eq(seal_window_accept(&w, 11, 1), SEAL_REPLAYED);
}

Test(seal, the_window_agrees_with_a_plain_list)
{
    static bool seen[20000];
    struct seal_window w = {0};
    struct prng prng = {5};
    uint64_t top = 0, at = 0;
    for (unsigned i = 0; i < 50000; i++) {
        at += prng_below(&prng, 3);
        uint64_t back = prng_below(&prng, 1500);
        uint64_t counter = 1 + (at > back ? at - back : 0);
        if (counter >= 20000)
            break;
        bool old = top >= 1024 && counter <= top - 1024;
        bool fresh = seal_window_accept(&w, 1, counter) == SEAL_FRESH;
        cr_assert_eq(fresh, !seen[counter] && !old, "counter %lu top %lu", counter, top);
        seen[counter] = seen[counter] || fresh;
        top = counter > top ? counter : top;
    }
}

/* ---- streams --------------------------------------------------------------------------------- */

struct pair {
    struct seal_stream client, server;
    uint8_t ask[SEAL_HELLO_LEN], answer[SEAL_HELLO_LEN];
};

static const uint8_t own_key[32] = {9, 8, 7};
static const uint8_t agreed[32] = {5, 5, 5}, not_agreed[32] = {5, 5, 6};

static void connect_pair(const struct seal *s, struct pair *p)
{
    seal_stream_init(&p->client);
    seal_stream_init(&p->server);
    seal_stream_ask(s, &p->client, alice, own_key, bob, p->ask);
    cr_assert_eq(seal_stream_answer(s, &p->server, bob, p->ask, p->answer), 0);
    cr_assert_eq(seal_stream_finish(s, &p->client, alice, p->answer), 0);
    cr_assert_eq(p->server.peer.num, alice.num);
    cr_assert_eq(memcmp(p->server.peer_key, own_key, 32), 0);
    seal_stream_prove(&p->client, agreed);
    seal_stream_prove(&p->server, agreed);
}

Test(seal, a_stream_proves_both_sides)
{
    struct seal s = make("c", 0, 1);
    struct pair p;
    uint8_t one[64], plain[64];
    connect_pair(&s, &p);
    seal_stream_prove(&p.client, not_agreed);
    seal_stream_prove(&p.server, agreed);
    seal_stream_seal(&p.client, "first", 5, one);
    cr_assert_eq(seal_stream_open(&p.server, one + 4, 5 + SEAL_TAG, plain), ERR_AUTH);
}

Test(seal, a_stream_is_mutual_ordered_and_cannot_be_replayed)
{
    struct seal s = make("c", 0, 1);
    struct pair p, again;
    uint8_t one[64], two[64], plain[64];
    connect_pair(&s, &p);
    seal_stream_seal(&p.client, "first", 5, one);
    seal_stream_seal(&p.client, "second", 6, two);
    cr_assert_eq(seal_stream_open(&p.server, two + 4, 6 + SEAL_TAG, plain), ERR_AUTH, "order");
    cr_assert_eq(seal_stream_open(&p.server, one + 4, 5 + SEAL_TAG, plain), 0);
    cr_assert_eq(memcmp(plain, "first", 5), 0);
    cr_assert_eq(seal_stream_open(&p.server, one + 4, 5 + SEAL_TAG, plain), ERR_AUTH, "twice");
    cr_assert_eq(seal_stream_open(&p.server, two + 4, 6 + SEAL_TAG, plain), 0);
    seal_stream_seal(&p.server, "back", 4, one);
    cr_assert_eq(seal_stream_open(&p.client, one + 4, 4 + SEAL_TAG, plain), 0);
    /* The whole recording played to the server once more: its own part is fresh. */
    seal_stream_init(&again.server);
    cr_assert_eq(seal_stream_answer(&s, &again.server, bob, p.ask, again.answer), 0);
    cr_assert_eq(seal_stream_open(&again.server, two + 4, 6 + SEAL_TAG, plain), ERR_AUTH);
    /* An old answer does not fit a new hello. */
    seal_stream_init(&again.client);
    seal_stream_ask(&s, &again.client, alice, own_key, bob, again.ask);
    cr_assert_eq(seal_stream_finish(&s, &again.client, alice, p.answer), ERR_AUTH);
}

Test(seal, a_stream_needs_the_key_the_cluster_and_the_right_server)
{
    struct seal s = make("c", 0, 1), other = make("d", 0, 1), foreign = make("c", 1, 1);
    struct pair p;
    seal_stream_init(&p.client);
    seal_stream_init(&p.server);
    seal_stream_ask(&s, &p.client, alice, own_key, bob, p.ask);
    cr_assert_eq(seal_stream_answer(&other, &p.server, bob, p.ask, p.answer), ERR_AUTH);
    cr_assert_eq(seal_stream_answer(&foreign, &p.server, bob, p.ask, p.answer), ERR_AUTH);
    cr_assert_eq(seal_stream_answer(&s, &p.server, (struct seal_peer){222, 7000}, p.ask, p.answer),
                 ERR_AUTH);
    for (size_t i = 0; i < SEAL_HELLO_LEN; i++) {
        p.ask[i] ^= 1;
        cr_assert_eq(seal_stream_answer(&s, &p.server, bob, p.ask, p.answer), ERR_AUTH);
        p.ask[i] ^= 1;
    }
}

Test(seal, odd_key_counts_are_refused)
{
    struct seal s;
    cr_assert_eq(seal_init(&s, "c", keys, 0), ERR_BADPARAM);
    cr_assert_eq(seal_init(&s, "c", keys, SEAL_KEYS_MAX + 1), ERR_BADPARAM);
}
