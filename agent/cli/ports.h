/* SPDX-License-Identifier: Apache-2.0
 * Ports of this machine's loopback for processes that are about to start there. Another process may
 * still take one before they do: then they say so. */
#ifndef BLOX_CLI_PORTS_H
#define BLOX_CLI_PORTS_H

#include <stdbool.h>

/* first and the count - 1 behind it, into ports. The first that is taken (for TCP, or for UDP if
 * udp) is returned, 0: all are free. */
long ports_row(long first, long count, bool udp, long *ports);
/* Any, all different. False: the kernel has no more. */
bool ports_any(long count, bool udp, long *ports);

#endif
