/* SPDX-License-Identifier: Apache-2.0
 * Whole-intent operations: linearizable reads, backup, restore, and recovery of a lost quorum.
 * Loop thread. */
#ifndef BLOX_AGENT_INTENTS_H
#define BLOX_AGENT_INTENTS_H

#include "agent/daemons/daemons_uv.h"

struct agent;

/* On the leader: intent.read, intent.restore. False: the command is another one. done runs once,
 * later or from within. */
bool intents_run(struct agent *a, const json_t *command, daemons_done_fn done, void *arg);
/* On the agent that was asked, whoever leads: raft.recover, raft.rejoin. */
bool intents_is_local(const json_t *command);
void intents_local(struct agent *a, const json_t *command, daemons_done_fn done, void *arg);
/* From flow_apply: what became of the entry at index. */
void intents_applied(struct agent *a, uint64_t index, const struct intent_result *result);
/* For raft_uv_options. */
int intents_newest(void *arg, uint64_t *ret_term, uint64_t *ret_index);
int intents_merge(void *arg, uint64_t index, uint64_t term, struct raft_rows *ret);

#endif
