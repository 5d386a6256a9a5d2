/* SPDX-License-Identifier: Apache-2.0
 * At which addresses this agent is reached, and how they stand in ECS. Pure. */
#ifndef BLOX_AGENT_ADVERTISE_H
#define BLOX_AGENT_ADVERTISE_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/config.h"
#include "agent/identity_uv.h"

/* Is the instance's IPv6 address of any use? */
bool advertise_wants_ipv6(const struct config *c);
/* What gossip is told: the setting; else the instance's IPv4 address, and its IPv6 address where
 * the host has configured it (on_host) and we listen on that family; else where we are bound. "":
 * bound to all, and nothing is known. */
void advertise_choose(const struct config *c, const struct identity *i,
                      bool (*on_host)(const char *address), char *out, size_t size);

#define ADVERTISE_VALUE_MAX 128u /* characters that ECS takes as an attribute's value */
/* "10.0.1.5:7381, [fd00::5]:7381" as an attribute has it: blanks between, and no brackets, which
 * ECS refuses. What does not fit is left away. */
void advertise_value(const char *addresses, char out[ADVERTISE_VALUE_MAX + 1]);
/* The next of an attribute's addresses as gossip takes it; false: no more. *at moves on; what is
 * no address is passed over. */
bool advertise_next(const char **at, char *out, size_t size);

#endif
