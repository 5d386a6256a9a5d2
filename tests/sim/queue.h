/* SPDX-License-Identifier: Apache-2.0
 * What happens next in virtual time: events by time, those of one moment in the order in which they
 * were added. Shared by the simulators. */
#ifndef BLOX_TESTS_QUEUE_H
#define BLOX_TESTS_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue_event {
    uint64_t at_us, seq;
    void (*run)(void *arg);
    void *arg;
};

struct queue {
    struct queue_event *heap;
    size_t len, cap;
    uint64_t seq;
};

void queue_add(struct queue *q, uint64_t at_us, void (*run)(void *arg), void *arg);
bool queue_next(struct queue *q, struct queue_event *ret); /* false: empty */
void queue_fini(struct queue *q);                          /* what args point to is the owner's */

#endif
