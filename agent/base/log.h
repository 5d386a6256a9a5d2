/* SPDX-License-Identifier: Apache-2.0
 * Structured log lines on standard output, one per event. Any thread.
 *
 *   LOG(LOG_INFO, "member_failed", "no answer from 3 observers", LS("member", id), LU("inc", n));
 *   LOG_MSG(LOG_WARN, "queue_missing", "no queue is configured");
 *
 * As text:  2026-11-22T14:00:00.123Z info  member_failed no answer ... member=i-1 inc=3
 * As JSON: {"time":...,"level":"info","event":"member_failed","message":...,"member":"i-1","inc":3}
 */
#ifndef BLOX_BASE_LOG_H
#define BLOX_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
    const char *key;  /* NULL ends the list */
    const char *text; /* NULL: a number */
    int64_t number;
};

#define LS(k, v) ((struct log_field){.key = (k), .text = (v)})
#define LI(k, v) ((struct log_field){.key = (k), .number = (int64_t)(v)})
#define LU(k, v) LI(k, v)

#define LOG(level, event, message, ...)                                                            \
    do {                                                                                           \
        if (log_enabled(level))                                                                    \
            log_emit(level, event, message, (const struct log_field[]){__VA_ARGS__, {0}});         \
    } while (0)
#define LOG_MSG(level, event, message)                                                             \
    do {                                                                                           \
        if (log_enabled(level))                                                                    \
            log_emit(level, event, message, (const struct log_field[]){{0}});                      \
    } while (0)

void log_configure(enum log_level level, enum log_format format);
void log_set_fd(int fd); /* default 1 */
bool log_enabled(enum log_level level);
void log_emit(enum log_level level, const char *event, const char *message,
              const struct log_field *fields);
int log_level_parse(const char *text, enum log_level *ret); /* 0 or ERR_BADPARAM */
int log_format_parse(const char *text, enum log_format *ret);

#endif
