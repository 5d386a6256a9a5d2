/* SPDX-License-Identifier: Apache-2.0
 * Listening sockets: "127.0.0.1:7380", "[::1]:7380" and the unix socket. */
#ifndef BLOX_AGENT_API_LISTEN_H
#define BLOX_AGENT_API_LISTEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/base/err.h"

/* A descriptor, or an error with e set. *ret_port is what the kernel chose for port 0. */
int listen_tcp(const char *address, uint16_t *ret_port, struct errmsg *e) MUST_CHECK;
/* A stale socket file is replaced; one that somebody listens on is an error. Mode 0660 with the
 * group if has_group, else 0600. */
int listen_unix(const char *path, bool has_group, gid_t group, struct errmsg *e) MUST_CHECK;

#endif
