/* SPDX-License-Identifier: Apache-2.0
 * Shared by the raft core's own files only. */
#ifndef BLOX_GOSSIP_RAFT_INT_H
#define BLOX_GOSSIP_RAFT_INT_H

#include "agent/base/ensure.h"
#include "gossip/raft.h"

/* The mutation gate (tests/sim/mutate.sh) builds the core with -DMUT=n to seed fault n; the
 * product is always built without. */
#ifdef MUT
#define MUTANT(n) (MUT == (n))
#else
#define MUTANT(n) 0
#endif

/* log */
void raft_log_init(struct raft_log *l, uint8_t *arena, uint32_t cap);
void raft_log_reset(struct raft_log *l, uint64_t index, uint64_t term);
uint64_t raft_log_term(const struct raft_log *l, uint64_t index); /* 0: not in memory */
bool raft_log_get(const struct raft_log *l, uint64_t index, struct raft_entry *ret);
bool raft_log_append(struct raft_log *l, const struct raft_entry *entry); /* false: no room */
void raft_log_truncate(struct raft_log *l, uint64_t from);

/* raft */
struct raft_msg *raft_put(struct raft *r, struct raft_out *out, uint8_t type,
                          const struct raft_server *to);
int raft_slot_of(const struct raft_config *c, uint64_t num); /* -1: not in it */
void raft_follow(struct raft *r, uint64_t term, uint64_t leader);
/* Appends to the log and takes note of a configuration. */
bool raft_append(struct raft *r, const struct raft_entry *entry);
uint64_t raft_gate(const struct raft *r);

/* lead */
void raft_lead_start(struct raft *r, struct raft_out *out);
void raft_lead_tick(struct raft *r, struct raft_out *out);
void raft_lead_commit(struct raft *r, struct raft_out *out);
void raft_lead_answer(struct raft *r, const struct raft_msg *m, struct raft_out *out);
void raft_lead_input(struct raft *r, const struct raft_input *in, struct raft_out *out);

/* follow */
void raft_follow_append(struct raft *r, const struct raft_msg *m, struct raft_out *out);
void raft_follow_snapshot(struct raft *r, const struct raft_msg *m, struct raft_out *out);
void raft_follow_restore(struct raft *r, const struct raft_input *in, struct raft_out *out);

#endif
