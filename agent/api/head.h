/* SPDX-License-Identifier: Apache-2.0
 * What the head of a request may not say (RFC 9112): two hosts, the body's length in two ways, or
 * either in odd characters, all of which a proxy in front and this server might read differently.
 */
#ifndef BLOX_AGENT_API_HEAD_H
#define BLOX_AGENT_API_HEAD_H

#include "agent/api/server.h"

/* NULL, or the name of the header that is wrong and a sentence about it. Takes blanks off the ends
 * of the others' values. */
const char *head_is_wrong(const struct request *r, const char **ret_detail);
/* A body that is announced as too large to take: refused before the client sends it. */
bool head_announces_too_much(const struct request *r);

#endif
