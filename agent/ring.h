/* SPDX-License-Identifier: Apache-2.0
 * The keys of this agent change: in its node, and in agent.keys, of which the key file is made, so
 * that both have the same in the same order. Loop thread. */
#ifndef BLOX_AGENT_RING_H
#define BLOX_AGENT_RING_H

#include "agent/keys.h"

struct agent;

int ring_find(const struct keys *keys, const char *id); /* -1: it is not there */
int ring_install(struct agent *a, const uint8_t *key);  /* ERR_FULL */
int ring_use(struct agent *a, const char *id);          /* ERR_NOTFOUND */
int ring_remove(struct agent *a, const char *id);       /* ERR_CONFLICT: it seals */

#endif
