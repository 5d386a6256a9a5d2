/* SPDX-License-Identifier: Apache-2.0
 * Anti-entropy fed with any messages, on a node of thirty rows that begins sessions of its own.
 * Input: repeated length u16, sender u8, time step u8, message; sender's high bit set: the node's
 * running session and its peer are written into the message, so that deep states are reached. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/sync.h"
#include "tests/fuzz/fuzz.h"

#define ROWS 30u

static uint64_t hashes[ROWS];
static char names[ROWS][8];
static uint8_t message[SYNC_MESSAGE_MAX];

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void make_rows(void)
{
    if (hashes[0] != 0)
        return;
    for (uint32_t i = 0; i < ROWS; i++) {
        snprintf(names[i], sizeof names[i], "k%u", i);
        hashes[i] = record_key_hash(RECORD_TEST, names[i], strlen(names[i]));
    }
    qsort(hashes, ROWS, sizeof hashes[0], by_number);
}

static int scan(void *arg, uint64_t first, uint64_t last,
                int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                void *fn_arg)
{
    (void)arg;
    for (uint32_t i = 0; i < ROWS; i++)
        if (hashes[i] >= first && hashes[i] <= last &&
            fn(fn_arg, hashes[i], (struct record_version){.hi = 1}) != 0)
            break;
    return 0;
}

static int load(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg)
{
    (void)arg;
    for (uint32_t i = 0; i < ROWS; i++)
        if (record_key_hash(RECORD_TEST, names[i], strlen(names[i])) == key_hash) {
            struct record rec = {.kind = RECORD_TEST,
                                 .source = SOURCE_EVENT,
                                 .version = {.hi = 1},
                                 .key = names[i],
                                 .key_len = (uint16_t)strlen(names[i])};
            fn(fn_arg, &rec);
            return 0;
        }
    return ERR_NOTFOUND;
}

static void take(struct sync *s, uint64_t now_ms, uint64_t from, const uint8_t *data, size_t len)
{
    static struct sync_in in;
    size_t pos = 0;
    do {
        size_t before = pos;
        if (sync_recv(s, now_ms, from, data, len, &pos, message, sizeof message, &in) < 0)
            return;
        ENSURE(in.apply_count <= SYNC_IN_MAX && in.reply_len <= sizeof message);
        for (size_t i = 0; i < in.apply_count; i++)
            ENSURE(in.apply[i].key_len >= 1);
        if (pos == before)
            return;
    } while (pos < len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t nums[] = {1, 2, 3, 100};
    struct peers peers = {.nums = nums, .count = 4, .self = 3};
    static struct sync s;
    static struct sync_scratch scratch;
    static void *memory;
    struct sync_options o = {
        .self = 100, .seed = 1, .job_rows = SYNC_PUSH_ROWS, .scan = scan, .load = load};
    make_rows();
    if (memory == NULL)
        memory = malloc(sync_memory(&o));
    ENSURE(memory != NULL);
    memset(&s, 0, sizeof s);
    uint64_t now_ms = 1000, to;
    sync_init(&s, &o, &peers, &scratch, memory, now_ms);
    for (uint32_t i = 0; i < ROWS; i++)
        sync_changed(&s, hashes[i], false, (struct record_version){0},
                     (struct record_version){.hi = 1});
    for (size_t at = 0; at + 4 <= size;) {
        static uint8_t copy[65536];
        size_t len = data[at] | (size_t)data[at + 1] << 8;
        uint64_t from = nums[data[at + 2] % 3];
        bool aimed = (data[at + 2] & 128) != 0;
        now_ms += (uint64_t)data[at + 3] * 16;
        at += 4;
        len = len < size - at ? len : size - at;
        memcpy(copy, data + at, len);
        if (aimed && len >= 5) {
            memcpy(copy + 1, &s.session, 4);
            from = s.peer != 0 ? s.peer : from;
        }
        take(&s, now_ms, from, copy, len);
        for (int i = 0; i < 16 && sync_poll(&s, now_ms, message, sizeof message, &to) > 0; i++)
            sync_sent(&s, now_ms, i == 3 ? ERR_BUSY : 0);
        (void)sync_deadline(&s, now_ms);
        at += len;
    }
    return 0;
}
