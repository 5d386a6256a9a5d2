/* SPDX-License-Identifier: Apache-2.0
 * libFuzzer: messages of rumor and sync of any bytes. The first byte picks the core. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/rumor.h"
#include "gossip/sync.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint64_t nums[] = {1, 2, 3};
static const struct peers peers = {.nums = nums, .count = 3};
static uint8_t out[SYNC_MESSAGE_MAX];

static bool have(void *arg, uint64_t key_hash, struct record_version version)
{
    (void)arg;
    return (key_hash ^ version.hi) % 3 == 0;
}

static int load(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg)
{
    (void)arg;
    struct record rec = {.kind = RECORD_TASK, .key = "k", .key_len = 1, .version = {key_hash, 0}};
    if (key_hash % 2 == 0)
        return ERR_NOTFOUND;
    fn(fn_arg, &rec);
    return 0;
}

static int scan(void *arg, uint64_t first, uint64_t last,
                int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                void *fn_arg)
{
    (void)arg;
    for (uint64_t i = 0; i < 5 && first + i <= last; i++)
        (void)fn(fn_arg, first + i, (struct record_version){.hi = i + 1});
    return 0;
}

static void fuzz_rumor(const uint8_t *data, size_t size)
{
    static struct rumor r;
    static struct rumor_in in;
    struct rumor_options o = {.self = 1,
                              .recent_max = 16,
                              .pending_max = 16,
                              .node_max = 32,
                              .answer_max = 8,
                              .arena_bytes = 4096,
                              .have = have,
                              .load = load};
    void *memory = malloc(rumor_memory(&o));
    ENSURE(memory != NULL);
    rumor_init(&r, &o, &peers, memory, 0);
    for (uint64_t now = 1; now < 3; now++) {
        struct rumor_place at = {0};
        while (at.pos < size && rumor_recv(&r, now, 2, data, size, &at, &in) == 0) {
            for (size_t i = 0; i < in.apply_count; i++)
                rumor_stored(&r, now, &in.apply[i], in.key_hash[i], RUMOR_PEER);
        }
    }
    uint64_t to;
    for (uint64_t now = 3; now < 2000; now += 100) {
        while (rumor_poll(&r, now, 1300, out, sizeof out, &to) > 0)
            rumor_sent(&r, now, 0);
    }
    free(memory);
}

static void fuzz_sync(const uint8_t *data, size_t size, uint8_t phase)
{
    static struct sync s;
    static struct sync_in in;
    static struct sync_scratch scratch;
    struct sync_options o = {.self = 1, .job_rows = SYNC_PUSH_ROWS, .scan = scan, .load = load};
    void *memory = malloc(sync_memory(&o));
    uint64_t to;
    ENSURE(memory != NULL);
    sync_init(&s, &o, &peers, &scratch, memory, 0);
    s.phase = (enum sync_phase)(phase % (SYNC_READY + 1));
    s.peer = 2;
    if (size >= 5) /* an answer to the running session, whatever its number */
        memcpy(&s.session, data + 1, sizeof s.session);
    size_t pos = 0;
    do {
        if (sync_recv(&s, 1, 2, data, size, &pos, out, sizeof out, &in) != 0)
            break;
    } while (pos < size);
    for (unsigned i = 0; i < 16 && sync_poll(&s, 2, out, sizeof out, &to) > 0; i++)
        sync_sent(&s, 2, 0);
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (data[0] % 2 == 0)
        fuzz_rumor(data + 1, size - 1);
    else
        fuzz_sync(data + 1, size - 1, data[0] / 2);
    return 0;
}
