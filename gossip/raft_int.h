/* SPDX-License-Identifier: Apache-2.0
 * Shared by the raft core's own files only. */
#ifndef BLOX_GOSSIP_RAFT_INT_H
#define BLOX_GOSSIP_RAFT_INT_H

#include "agent/base/ensure.h"
#include "gossip/raft.h"

/* log */
void raft_log_init(struct raft_log *l, uint8_t *arena, uint32_t cap);
void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term);
uint64_t raft_log_term(const struct raft_log *l, uint64_t index); /* 0: not in memory */
bool raft_log_get(const struct raft_log *l, uint64_t index, struct raft_entry *ret);
bool raft_log_append(struct raft_log *l, const struct raft_entry *entry); /* false: no room */
bool raft_log_compact(struct raft_log *l, uint64_t index);                /* false: nothing left */
void raft_log_truncate(struct raft_log *l, uint64_t from);

/* raft */
struct raft_msg *raft_put(struct raft *r, struct raft_out *out, uint8_t type, uint64_t to,
                          uint64_t to_disk);
void raft_follow(struct raft *r, uint64_t term, uint64_t leader);
/* Appends to the log and takes note of a configuration. */
bool raft_append(struct raft *r, const struct raft_entry *entry);

/* lead */
void raft_lead_start(struct raft *r, struct raft_out *out);
void raft_lead_tick(struct raft *r, struct raft_out *out);
void raft_lead_commit(struct raft *r, struct raft_out *out);
void raft_lead_answer(struct raft *r, const struct raft_msg *m, struct raft_out *out);
void raft_lead_input(struct raft *r, const struct raft_input *in, struct raft_out *out);

/* follow */
void raft_follow_append(struct raft *r, const struct raft_msg *m, struct raft_out *out);
void raft_follow_snapshot(struct raft *r, const struct raft_msg *m, struct raft_out *out);
void raft_follow_restore(struct raft *r, const struct raft_input *in);
void raft_follow_acknowledge(struct raft *r, struct raft_out *out);

#endif
