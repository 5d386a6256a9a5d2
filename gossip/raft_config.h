/* SPDX-License-Identifier: Apache-2.0
 * Who is in a raft cluster: the arithmetic of configurations, and their bytes. */
#ifndef BLOX_GOSSIP_RAFT_CONFIG_H
#define BLOX_GOSSIP_RAFT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/limits.h"

/* disk is a random number made with the server's log: a server that lost its log is another one,
 * for it may have voted and acknowledged what it no longer knows. */
struct raft_server {
    uint64_t num, disk;
    bool voter; /* else a learner */
    char id[AGENT_ID_MAX];
};
struct raft_config {
    uint64_t index; /* of its entry */
    uint32_t count;
    struct raft_server server[RAFT_SERVERS_MAX];
};
enum raft_change { RAFT_ADD_LEARNER = 1, RAFT_PROMOTE, RAFT_DEMOTE, RAFT_REMOVE };

int raft_slot_of(const struct raft_config *c, uint64_t num); /* -1: not in it */
const struct raft_server *raft_find(const struct raft_config *c, uint64_t num);
uint32_t raft_voter_count(const struct raft_config *c);
/* from with one server added, promoted, demoted or removed (4.1). ERR_EXISTS, ERR_FULL,
 * ERR_NOTFOUND (another disk too), ERR_BADPARAM: no voter would remain. */
int raft_config_change(const struct raft_config *from, enum raft_change change,
                       const struct raft_server *server, struct raft_config *ret) MUST_CHECK;

#define RAFT_CONFIG_BYTES_MAX (2u + RAFT_SERVERS_MAX * (18u + AGENT_ID_MAX))
void raft_config_encode(const struct raft_config *c, struct wbuf *w);
uint32_t raft_config_bytes(const struct raft_config *c, uint8_t bytes[RAFT_CONFIG_BYTES_MAX]);
/* The index is not part of the bytes. ERR_MALFORMED for anything odd. */
int raft_config_decode(const void *data, size_t len, struct raft_config *ret) MUST_CHECK;

#endif
