/* SPDX-License-Identifier: Apache-2.0
 * Raft's messages and configurations. What decodes must encode to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/raft.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct raft_entry entries[RAFT_BATCH];
    struct raft_msg m;
    struct raft_config c;
    struct wbuf w;
    if (raft_msg_decode(data, size, &m, entries) == 0) {
        size_t len = raft_msg_size(&m);
        uint8_t *out = malloc(len);
        ENSURE(out != NULL && len == size);
        wbuf_init(&w, out, len);
        raft_msg_encode(&m, &w);
        ENSURE(!w.bad && w.len == size && memcmp(out, data, size) == 0);
        free(out);
    }
    if (raft_config_decode(data, size, &c) == 0) {
        uint8_t out[RAFT_CONFIG_BYTES_MAX];
        wbuf_init(&w, out, sizeof out);
        raft_config_encode(&c, &w);
        ENSURE(!w.bad && w.len == size && memcmp(out, data, size) == 0);
        ENSURE(raft_voter_count(&c) > 0);
    }
    return 0;
}
