/* SPDX-License-Identifier: Apache-2.0
 * The way out of log lines: nobody who logs waits for who reads. */
#ifndef BLOX_BASE_LOG_OUT_H
#define BLOX_BASE_LOG_OUT_H

#include <stdbool.h>
#include <stddef.h>

#define LOG_BACKLOG_MAX (1u << 20) /* bytes kept for a late reader; newer lines are lost */

/* Writes the line, newline included and of PIPE_BUF bytes at most, or keeps it for later. */
void log_out(int fd, const char *line, size_t len);
/* Waits until all is written, for so long at most; false: it is not. */
bool log_flush(unsigned ms);

#endif
