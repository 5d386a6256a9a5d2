/* SPDX-License-Identifier: Apache-2.0
 * Shared by the raft core's own files only. */
#ifndef BLOX_GOSSIP_RAFT_INT_H
#define BLOX_GOSSIP_RAFT_INT_H

#include "agent/base/ensure.h"
#include "agent/base/least.h"
#include "gossip/raft.h"

enum raft_of { RAFT_OF_VOTE, RAFT_OF_MATCH, RAFT_OF_STAMP };

/* log */
bool raft_append(struct raft *r, const struct raft_entry *entry); /* false: no room */
void raft_truncate(struct raft *r, uint64_t from);
void raft_log_begin(struct raft *r, uint64_t index, uint64_t term);

/* raft */
struct raft_msg *raft_put(struct raft *r, struct raft_out *out, uint8_t type, uint64_t to,
                          uint64_t to_disk);
void raft_follow(struct raft *r, uint64_t term, uint64_t leader);
/* What a majority of c's voters has reached; peer[i] is of c's server[i]. */
uint64_t raft_quorum(const struct raft *r, const struct raft_config *c,
                     const struct raft_peer *peer, enum raft_of what);

/* lead */
void raft_lead_start(struct raft *r, struct raft_out *out);
void raft_lead_tick(struct raft *r, struct raft_out *out);
void raft_lead_commit(struct raft *r, struct raft_out *out);
void raft_lead_answer(struct raft *r, uint32_t i, const struct raft_msg *m, struct raft_out *out);
void raft_lead_input(struct raft *r, const struct raft_input *in, struct raft_out *out);

/* follow */
void raft_follow_append(struct raft *r, const struct raft_msg *m, struct raft_out *out);
void raft_follow_restore(struct raft *r, const struct raft_input *in);
void raft_follow_acknowledge(struct raft *r, struct raft_out *out);

#endif
