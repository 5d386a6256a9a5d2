/* SPDX-License-Identifier: Apache-2.0
 * `blox propagate`: how fast does a record reach everybody? The agent that is asked makes test
 * records and sends them the way of all rows (rows_apply -> store -> gossip). Each member that
 * has stored all of them reports that to the origin in one datagram, sent seven times and never
 * acknowledged. Loop thread. */
#ifndef BLOX_AGENT_PROPAGATE_H
#define BLOX_AGENT_PROPAGATE_H

#include <stddef.h>

#include "agent/intent/intent.h"
#include "gossip/node.h"

struct agent;
struct propagate;

int propagate_create(struct propagate **ret, struct agent *a) MUST_CHECK;
void propagate_destroy(struct propagate *p); /* may be NULL */

/* {"count","bytes","timeout_ms"}: all optional. done runs once; a bad parameter, a run under way
 * and a full store are reported through it as well. */
typedef void (*propagate_done_fn)(void *arg, const struct intent_result *result);
void propagate_run(struct propagate *p, const json_t *command, propagate_done_fn done, void *arg);
/* A member's state changed: one that is back may lack of runs that are not over. p may be NULL. */
void propagate_member(struct propagate *p, const struct gossip_member *m, enum gossip_state before);
/* Repeats reports, repairs own runs, ends a run whose time is up, drops old test records. */
void propagate_tick(struct propagate *p);
bool propagate_is_busy(const struct propagate *p); /* wants every tick; p may be NULL */
/* Ends the run under way with ERR_CLOSED. */
void propagate_stop(struct propagate *p);

#endif
