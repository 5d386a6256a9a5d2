/* SPDX-License-Identifier: Apache-2.0
 * Runs a credential_process: its output up to a cap, within a time. Loop thread. */
#ifndef BLOX_AWS_PROCESS_UV_H
#define BLOX_AWS_PROCESS_UV_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

struct uv_loop_s;
struct process;

/* err 0: exit status 0. output is wiped after the callback; why is one clause for a human. */
typedef void (*process_done_fn)(void *arg, int err, const char *output, size_t len,
                                const char *why);

/* The command goes to /bin/sh -c, like in AWS's own SDKs: it comes from the owner's config file.
 * NULL sets e; else done runs once, never from within, unless the process is cancelled. */
struct process *process_start(struct uv_loop_s *loop, const char *command, uint64_t timeout_ms,
                              process_done_fn done, void *arg, struct errmsg *e);
/* Kills it with all its children. gone (may be NULL) runs when its handles are closed. */
void process_cancel(struct process *p, void (*gone)(void *arg), void *arg);

#endif
