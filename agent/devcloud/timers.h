/* SPDX-License-Identifier: Apache-2.0
 * A heap of intrusive timers, ordered by time, then by when they were armed. */
#ifndef BLOX_DEVCLOUD_TIMERS_H
#define BLOX_DEVCLOUD_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct devcloud;
struct timer;
typedef void (*timer_fn)(struct devcloud *cloud, struct timer *timer);

struct timer {
    uint64_t at_ms;
    uint64_t order;
    size_t slot; /* position in the heap + 1; 0: not armed */
    timer_fn fn;
};

struct timers {
    struct timer **heap;
    size_t count;
    size_t cap;
    uint64_t orders;
};

void timers_init(struct timers *t);
void timers_fini(struct timers *t);
/* Arms or moves. ERR_NOMEM leaves it as it was. */
int timers_arm(struct timers *t, struct timer *timer, uint64_t at_ms, timer_fn fn);
void timers_disarm(struct timers *t, struct timer *timer);
bool timer_is_armed(const struct timer *timer);
struct timer *timers_first(const struct timers *t); /* NULL: none */

#endif
