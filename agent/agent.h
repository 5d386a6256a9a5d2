/* SPDX-License-Identifier: Apache-2.0
 * The composition of bloxd: the only place that knows every module. agent.c starts and
 * stops them in order; flow.c carries the output of one into the input of the next;
 * commands.c takes users' writes to the leader; publish.c tells the API what the loop knows. */
#ifndef BLOX_AGENT_AGENT_H
#define BLOX_AGENT_AGENT_H

#include <uv.h>

#include "agent/base/err.h"
#include "agent/config.h"

struct agent;

/* Opens the store, starts the API at once, then finds out who it is and joins. config must outlive
 * the agent. After a failure the process is to end: *ret holds what was opened so far. */
int agent_start(struct agent **ret, uv_loop_t *loop, const struct config *config,
                struct errmsg *e) MUST_CHECK;
/* Leaves the cluster, hands over leadership, closes all; done runs when the loop is empty of it. */
void agent_stop(struct agent *a, void (*done)(void *arg), void *arg);

#endif
