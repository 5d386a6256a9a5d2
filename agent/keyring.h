/* SPDX-License-Identifier: Apache-2.0
 * `blox keys`: rotation of the gossip keys of a running cluster. The agent that is asked calls
 * every live member over sealed streams and counts who acknowledged. An acknowledgement means:
 * it is in the member's ring and in its key file. A key is used only when all live members have
 * it, and removed only when none seals with it, and when a second agent has found the same: one
 * that lies moves nobody. Loop thread. */
#ifndef BLOX_AGENT_KEYRING_H
#define BLOX_AGENT_KEYRING_H

#include <stddef.h>
#include <stdint.h>

#include "agent/intent/intent.h"

struct agent;
struct gossip_request;
struct keyring;

int keyring_create(struct keyring **ret, struct agent *a) MUST_CHECK;
void keyring_destroy(struct keyring *k); /* may be NULL; after the node's calls have ended */

typedef void (*keyring_done_fn)(void *arg, const struct intent_result *result);
/* {"op":"keys.list"|"keys.install"|"keys.use"|"keys.remove","key"?,"id"?}. done runs once. */
void keyring_run(struct keyring *k, const json_t *command, keyring_done_fn done, void *arg);
/* A member's call: what it asks for is done here, kept in the file, then answered. */
void keyring_on_call(struct keyring *k, uint64_t from, const uint8_t *data, size_t len,
                     struct gossip_request *call);

/* What could not be saved is tried again. */
void keyring_tick(struct keyring *k);                 /* may be NULL */
const char *keyring_trouble(const struct keyring *k); /* "": its file has what its ring has */

#endif
