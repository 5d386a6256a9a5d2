/* SPDX-License-Identifier: Apache-2.0
 * `blox members why` at any agent: few members probe a suspect, so what those that accused it saw
 * is asked of them. Loop thread. */
#ifndef BLOX_AGENT_EVIDENCE_H
#define BLOX_AGENT_EVIDENCE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/intent/intent.h"

struct agent;
struct gossip_request;

typedef void (*evidence_done_fn)(void *arg, const struct intent_result *result);
/* {"id"}: what this agent knows of that member, and as "probes" a list of what each other accuser
 * saw, or "no_answer". done runs once. */
void evidence_run(struct agent *a, const json_t *command, evidence_done_fn done, void *arg);
/* Another agent asks what this one's own probes of a member saw: num u64, incarnation u64. */
void evidence_on_call(struct agent *a, const uint8_t *data, size_t len,
                      struct gossip_request *call);

#endif
