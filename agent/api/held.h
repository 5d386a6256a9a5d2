/* SPDX-License-Identifier: Apache-2.0
 * Snapshots that answers hold while their client takes them: one that takes nothing for a while
 * must not hold its snapshot, and with it each page of the database that changes. */
#ifndef BLOX_AGENT_API_HELD_H
#define BLOX_AGENT_API_HELD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/list.h"

#define HELD_QUIET_MS 5000u

struct held {
    struct list node;
    pthread_mutex_t lock; /* whoever reads has it */
    uint64_t read_ms;     /* when it was read from last */
    void (*let_go)(struct held *h);
};

struct holders {
    pthread_mutex_t lock;
    struct list all;
    unsigned quiet_ms; /* HELD_QUIET_MS but in tests */
};

int holders_init(struct holders *t) MUST_CHECK;
void holders_fini(struct holders *t); /* all have been removed */
/* Timekeeper: lets go of what nobody read from for so long. True: there are some. */
bool holders_tick(struct holders *t);

/* let_go is called under the lock, once after each time that it was read from. */
int held_add(struct holders *t, struct held *h, void (*let_go)(struct held *h)) MUST_CHECK;
void held_remove(struct holders *t, struct held *h);
/* Around each read. */
void held_begin(struct held *h);
void held_end(struct held *h);

#endif
