/* SPDX-License-Identifier: Apache-2.0
 * How the kernel shares a busy processor between this program's threads. */
#ifndef BLOX_AGENT_BASE_SCHED_H
#define BLOX_AGENT_BASE_SCHED_H

/* Of the calling thread and those that it creates. Neither needs a privilege nor takes more of the
 * processor than before; kernels older than 6.12, and processes that were given a scheduling policy
 * of their own, stay as they are. */
void sched_wake_soon(void); /* it answers: short turns, each soon after it wakes */
void sched_run_long(void);  /* it works through a backlog: the kernel's own, longer turns */

#endif
