/* SPDX-License-Identifier: Apache-2.0
 * The record core fed with any messages. What it hands out is stored, as a node does. Input:
 * repeated length u16, sender u8, time step u8, message. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/rumor.h"
#include "tests/fuzz/fuzz.h"

#define STORED 64u

struct stored {
    uint64_t key_hash[STORED];
    struct record_version version[STORED];
    size_t count;
};

static bool have(void *arg, uint64_t key_hash, struct record_version version)
{
    const struct stored *s = arg;
    for (size_t i = 0; i < s->count; i++)
        if (s->key_hash[i] == key_hash)
            return !record_is_newer(version, s->version[i]);
    return false;
}

static int load(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg)
{
    const struct stored *s = arg;
    for (size_t i = 0; i < s->count; i++)
        if (s->key_hash[i] == key_hash) {
            struct record rec = {.kind = RECORD_TEST,
                                 .source = SOURCE_EVENT,
                                 .version = s->version[i],
                                 .key = "loaded",
                                 .key_len = 6};
            fn(fn_arg, &rec);
            return 0;
        }
    return ERR_NOTFOUND;
}

static void keep(struct stored *s, uint64_t key_hash, struct record_version version)
{
    size_t i = 0;
    while (i < s->count && s->key_hash[i] != key_hash)
        i++;
    if (i == STORED)
        i = key_hash % STORED;
    s->key_hash[i] = key_hash;
    s->version[i] = version;
    s->count += i == s->count;
}

static void take(struct rumor *r, struct stored *s, uint64_t now_ms, uint64_t from,
                 const uint8_t *data, size_t len)
{
    static struct rumor_in in;
    struct rumor_place at = {0};
    while (at.pos < len) {
        size_t before = at.pos;
        if (rumor_recv(r, now_ms, from, data, len, &at, &in) < 0)
            return;
        ENSURE(in.apply_count <= RUMOR_IN_MAX && at.pos > before);
        for (size_t i = 0; i < in.apply_count; i++) {
            const struct record *rec = &in.apply[i];
            if (have(s, in.key_hash[i], rec->version)) {
                rumor_unchanged(r, in.key_hash[i], rec->version);
            } else if (rec->source == SOURCE_OPERATOR) {
                rumor_refused(r, now_ms, in.key_hash[i]);
            } else {
                keep(s, in.key_hash[i], rec->version);
                rumor_stored(r, now_ms, rec, in.key_hash[i], RUMOR_PEER);
            }
        }
    }
}

static void send_all(struct rumor *r, uint64_t now_ms)
{
    static uint8_t out[RUMOR_MESSAGE_MAX];
    uint64_t to;
    size_t len;
    for (int i = 0; i < 64; i++) {
        if ((len = rumor_poll(r, now_ms, 1300, out, sizeof out, &to)) == 0)
            break;
        ENSURE(to != 100 && len <= sizeof out);
        rumor_sent(r, now_ms, i == 5 ? ERR_BUSY : 0);
    }
    (void)rumor_deadline(r, now_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t nums[] = {1, 2, 3, 100, 200, 300};
    struct peers peers = {.nums = nums, .count = 6, .self = 3};
    struct stored stored = {0};
    struct rumor_options o = {.self = 100,
                              .seed = 1,
                              .recent_max = 16,
                              .pending_max = 16,
                              .node_max = 32,
                              .answer_max = 8,
                              .arena_bytes = 4096,
                              .arg = &stored,
                              .have = have,
                              .load = load};
    static struct rumor r;
    static void *memory;
    if (memory == NULL)
        memory = malloc(rumor_memory(&o));
    ENSURE(memory != NULL);
    memset(&r, 0, sizeof r);
    rumor_init(&r, &o, &peers, memory, 1000);
    uint64_t now_ms = 1000;
    for (size_t at = 0; at + 4 <= size;) {
        size_t len = data[at] | (size_t)data[at + 1] << 8;
        uint64_t from = nums[data[at + 2] % 3];
        now_ms += data[at + 3];
        at += 4;
        len = len < size - at ? len : size - at;
        take(&r, &stored, now_ms, from, data + at, len);
        send_all(&r, now_ms);
        at += len;
    }
    return 0;
}
