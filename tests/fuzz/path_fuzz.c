/* SPDX-License-Identifier: Apache-2.0
 * Messages about a path's size, and the path under any order of events. Input: the first byte
 * decides: 0 to 127 a message follows; else bytes of which each is an event. */
#include "agent/base/ensure.h"
#include "agent/base/limits.h"
#include "gossip/path.h"
#include "tests/fuzz/fuzz.h"

static void live(const uint8_t *data, size_t size)
{
    struct path p;
    uint64_t now_ms = 1000;
    path_init(&p);
    for (size_t i = 0; i + 1 < size; i += 2) {
        size_t len = data[i + 1] * 36u;
        enum path_level ask = PATH_SMALL;
        now_ms += data[i] >> 2;
        if ((data[i] & 3) == 0)
            now_ms += data[i + 1] * 10000u;
        else if ((data[i] & 3) == 1)
            path_answered(&p, now_ms, (uint16_t)(p.seq - (data[i + 1] & 1)),
                          path_level_size((enum path_level)(data[i + 1] >> 1) % PATH_LEVELS));
        else if ((data[i] & 3) == 2)
            path_refused(&p, now_ms, len);
        else
            ask = path_wants(&p, now_ms, len, data[i + 1] & 1);
        if (ask != PATH_SMALL)
            path_ask(&p, now_ms, ask, data[i]);
        size_t room = path_size(&p, now_ms);
        ENSURE(ask == PATH_SMALL || ask == p.level || ask == p.level + 1u);
        ENSURE(room >= GOSSIP_DATAGRAM_SMALL && room <= GOSSIP_DATAGRAM_MAX);
        ENSURE(room <= GOSSIP_DATAGRAM_BASE || p.proven_ms != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct path_message m;
    if (size > 0 && data[0] >= 128)
        live(data + 1, size - 1);
    else if (path_get(data, size, &m) == 0 && m.type == PATH_QUESTION)
        ENSURE(m.inner_len <= size && m.inner >= data && m.inner + m.inner_len <= data + size);
    return 0;
}
