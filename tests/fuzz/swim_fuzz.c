/* SPDX-License-Identifier: Apache-2.0
 * The membership core fed with any packets from members and strangers at any times. Input:
 * repeated length u8 in fours, sender u8, time step u8, packet. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/swim.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/gossip/fake_trust.h"

#define FUZZ_MEMBERS 8u

static struct swim_out out;

static struct gossip_addrs address(uint8_t last)
{
    return (struct gossip_addrs){.at = {{.family = 4, .port = 7381, .host = {10, 0, 0, last}}},
                                 .count = 1};
}

static void admit(struct swim *s, uint64_t num, uint64_t now_ms)
{
    struct wire_join w = {.type = WIRE_WELCOME, .refusal = WIRE_ACCEPTED};
    w.self = (struct wire_update){.state = MEMBER_ALIVE,
                                  .num = num,
                                  .incarnation = 1,
                                  .has_body = true,
                                  .epoch = 1,
                                  .addrs = address((uint8_t)num)};
    w.self.id[0] = 'a';
    w.self.id[1] = (char)('a' + num);
    w.self.num = hash_str(w.self.id);
    memset(w.self.key, (int)num, sizeof w.self.key);
    uint8_t bytes[WIRE_STATEMENT_MAX];
    fake_sign(w.self.key, bytes, wire_statement(&w.self, 0, bytes), w.self.sig);
    swim_welcome(s, now_ms, &w, &w.self.addrs.at[0], true, &out);
    ENSURE(swim_find(s, w.self.num) != NULL);
}

static void drain(struct swim *s)
{
    struct swim_change change;
    uint64_t incarnation;
    while (swim_next_change(s, &change))
        ENSURE(change.member != NULL);
    (void)swim_take_raised(s, &incarnation);
    ENSURE(s->live <= s->count && s->count <= s->members);
    ENSURE(out.count <= SWIM_OUT_MAX && out.checks <= SWIM_CHECKS_MAX);
    out.count = out.checks = out.hellos = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Room for few: the table is soon full, and a run does not go through megabytes. */
    struct swim *s = calloc(1, swim_memory(FUZZ_MEMBERS));
    ENSURE(s != NULL);
    struct swim_options o = {.members = FUZZ_MEMBERS,
                             .id = "self",
                             .addrs = address(250),
                             .incarnation = 5,
                             .epoch = 9,
                             .seed = 3};
    uint64_t now_ms = 1000;
    uint8_t key[WIRE_KEY];
    fake_trust(&o, key, 99);
    swim_init(s, &o, now_ms);
    for (uint64_t num = 1; num <= 4; num++)
        admit(s, num, now_ms);
    drain(s);
    for (size_t at = 0; at + 3 <= size;) {
        size_t len = 4u * data[at];
        char id[] = {'a', (char)('a' + data[at + 1] % 6 + 1), '\0'}; /* 5 and 6 are strangers */
        uint64_t from = hash_str(id);
        now_ms += (uint64_t)(data[at + 2] & 127) << (data[at + 2] & 128 ? 4 : 0);
        at += 3;
        len = len < size - at ? len : size - at;
        swim_clock(s, now_ms * 1000);
        if (swim_find(s, from) != NULL)
            (void)swim_recv(s, now_ms, from, 1, data + at, len, &out);
        else
            (void)swim_recv_stranger(s, now_ms, from, data + at, len, &out);
        drain(s);
        at += len;
        if (swim_deadline(s) <= now_ms) {
            swim_tick(s, now_ms, &out);
            drain(s);
        }
    }
    ENSURE(swim_self(s) != NULL);
    free(s);
    return 0;
}
