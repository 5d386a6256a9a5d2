/* SPDX-License-Identifier: Apache-2.0
 * What rumor gives a path that takes more than the usual datagram, or less. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gossip/rumor.h"

#define USUAL 1300u
#define SELF 1u
#define OTHER 2u

static bool have(void *arg, uint64_t key_hash, struct record_version version)
{
    (void)arg;
    (void)key_hash;
    (void)version;
    return false;
}

static int load(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg)
{
    (void)arg;
    (void)key_hash;
    (void)fn;
    (void)fn_arg;
    return ERR_NOTFOUND;
}

static size_t room_of(void *arg, uint64_t to)
{
    cr_assert_eq(to, OTHER);
    return *(const size_t *)arg;
}

static void store(struct rumor *r, unsigned i)
{
    static const uint8_t value[280];
    char key[8];
    snprintf(key, sizeof key, "k%u", i);
    struct record rec = {.kind = RECORD_TASK,
                         .source = SOURCE_EVENT,
                         .key = key,
                         .key_len = (uint16_t)strlen(key),
                         .version = {.hi = 1},
                         .value = value,
                         .value_len = sizeof value};
    rumor_stored(r, 1000, &rec, record_key_hash(rec.kind, key, rec.key_len), RUMOR_LOCAL);
}

Test(rumor_room, each_path_gets_what_it_takes)
{
    static const struct {
        size_t room;
        unsigned messages;
    } cases[] = {{USUAL, 5}, {8907, 1}, {700, 10}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        size_t room = cases[c].room;
        static const uint64_t nums[] = {SELF, OTHER};
        struct peers peers = {.nums = nums, .count = 2};
        struct rumor_options o = {.self = SELF,
                                  .recent_max = 64,
                                  .pending_max = 64,
                                  .node_max = 64,
                                  .answer_max = 16,
                                  .arena_bytes = 16384,
                                  .arg = &room,
                                  .room = room_of,
                                  .have = have,
                                  .load = load};
        struct rumor *r = calloc(1, sizeof *r);
        void *memory = malloc(rumor_memory(&o));
        uint8_t *out = malloc(RUMOR_MESSAGE_MAX);
        rumor_init(r, &o, &peers, memory, 0);
        for (unsigned i = 0; i < 20; i++)
            store(r, i);
        uint64_t to;
        size_t len;
        unsigned n = 0;
        for (; (len = rumor_poll(r, 1000, USUAL, out, RUMOR_MESSAGE_MAX, &to)) > 0; n++) {
            cr_assert_leq(len, room);
            rumor_sent(r, 1000, 0);
        }
        cr_assert_eq(n, cases[c].messages, "%u messages of at most %zu bytes", n, room);
        free(out);
        free(memory);
        free(r);
    }
}
