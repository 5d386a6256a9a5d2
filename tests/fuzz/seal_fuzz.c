/* SPDX-License-Identifier: Apache-2.0
 * Bytes of strangers: datagrams, handshakes and stream frames that were not sealed with our key,
 * and sealed ones with some bytes changed. Nothing but the unchanged packet may open. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/seal.h"
#include "tests/fuzz/fuzz.h"

static struct seal ours;
static const struct seal_peer alice = {.num = 11, .epoch = 1000};
static const struct seal_peer bob = {.num = 22, .epoch = 2000};

static struct seal_pair shared = {.secret = {7, 7, 7}};
static struct seal_pair *pair_of(void *arg, uint64_t sender)
{
    (void)arg;
    return sender == alice.num ? &shared : NULL;
}
static bool find_alice(void *arg, uint32_t mark, unsigned nth, struct seal_peer *ret)
{
    (void)arg;
    (void)mark; /* whatever it is: the seal has to hold */
    *ret = alice;
    return nth == 0;
}
static const struct seal_senders senders = {NULL, pair_of, find_alice};

static void set_up(void)
{
    static const uint8_t keys[2][32] = {{1, 2, 3}, {4, 5, 6}};
    if (ours.count == 0)
        ENSURE(seal_init(&ours, "fuzz", keys, 2) == 0);
}

static void garbage(const uint8_t *data, size_t size)
{
    struct seal_header header;
    uint8_t plain[65536];
    size_t len = 0;
    if (size > sizeof plain)
        return;
    if (seal_open(&ours, bob, data, size, &senders, &header, plain, &len) == SEAL_OK)
        abort(); /* a forgery */
    struct seal_stream t;
    uint8_t out[SEAL_HELLO_LEN];
    seal_stream_init(&t);
    if (size >= SEAL_HELLO_LEN) {
        ENSURE(seal_stream_answer(&ours, &t, bob, data, out) != 0);
        ENSURE(seal_stream_finish(&ours, &t, alice, data) != 0);
    }
    if (size >= SEAL_TAG)
        ENSURE(seal_stream_open(&t, data, size, plain) != 0);
    seal_stream_fini(&t);
}

/* data: type, where to change, how, then the plain text. */
static void changed(const uint8_t *data, size_t size)
{
    struct seal_header header;
    uint8_t packet[2048], plain[2048];
    size_t len = 0;
    if (size < 4 || size > 1400)
        return;
    static const enum seal_type types[] = {SEAL_BOUND, SEAL_HELLO, SEAL_INTRO, SEAL_BRIEF};
    enum seal_type type = types[data[0] % 4];
    size_t n = seal_datagram(&ours, type, alice, 7, bob, &shared, data + 4, size - 4, packet);
    ENSURE(n == size - 4 + (type == SEAL_BRIEF ? SEAL_BRIEF_OVERHEAD : SEAL_OVERHEAD));
    ENSURE(seal_open(&ours, bob, packet, n, &senders, &header, plain, &len) == SEAL_OK);
    ENSURE(len == size - 4 && (len == 0 || memcmp(plain, data + 4, len) == 0));
    if (data[3] == 0)
        n -= 1;
    else
        packet[((size_t)data[1] << 8 | data[2]) % n] ^= data[3];
    ENSURE(seal_open(&ours, bob, packet, n, &senders, &header, plain, &len) != SEAL_OK);
}

static void window(const uint8_t *data, size_t size)
{
    struct seal_window w = {0};
    for (size_t i = 0; i + 4 <= size; i += 4) {
        uint64_t epoch = data[i] & 3;
        uint64_t counter = (uint64_t)data[i + 1] << (data[i + 3] % 40) | data[i + 2];
        enum seal_fresh first = seal_window_accept(&w, epoch + 1, counter);
        ENSURE(first != SEAL_FRESH || seal_window_accept(&w, epoch + 1, counter) == SEAL_REPLAYED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    set_up();
    if (size == 0)
        return 0;
    switch (data[0] % 3) {
    case 0:
        garbage(data + 1, size - 1);
        break;
    case 1:
        changed(data + 1, size - 1);
        break;
    default:
        window(data + 1, size - 1);
        break;
    }
    return 0;
}
