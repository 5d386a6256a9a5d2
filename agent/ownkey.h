/* SPDX-License-Identifier: Apache-2.0
 * The secret that makes this agent's own key (gossip/nodekey.h), kept in the data directory with
 * the id that it was made for: a directory copied to another instance gets a key of its own. */
#ifndef BLOX_AGENT_OWNKEY_H
#define BLOX_AGENT_OWNKEY_H

#include <stdint.h>

#include "agent/base/err.h"

#define OWNKEY_FILE "member.key"
#define OWNKEY_BYTES 32

/* Reads DIR/member.key, or makes it (mode 600) if it is not there, not whole, another id's, or
 * readable by others. Errors: ERR_IO with a sentence, also if one is there that cannot be read. */
int ownkey_read(uint8_t ret[OWNKEY_BYTES], const char *dir, const char *id,
                struct errmsg *e) MUST_CHECK;

#endif
