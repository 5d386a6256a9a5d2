/* SPDX-License-Identifier: Apache-2.0
 * What the benches of the store share: writes in flight, and a line for each figure. */
#ifndef BLOX_BENCH_BATCHES_H
#define BLOX_BENCH_BATCHES_H

#include <semaphore.h>
#include <stdio.h>

#include "store/store.h"

static sem_t wake;
static size_t open_batches;
static int failed;

static inline void on_notify(void *arg)
{
    (void)arg;
    sem_post(&wake);
}

static inline void on_done(void *arg, int err)
{
    (void)arg;
    if (err != 0)
        failed = err;
    open_batches--;
}

static inline void on_applied(void *arg, int err, const struct record *records,
                              const struct store_change *changes, size_t count)
{
    (void)records;
    (void)changes;
    (void)count;
    on_done(arg, err);
}

static inline void settle(struct store *s, size_t at_most)
{
    while (open_batches > at_most) {
        sem_wait(&wake);
        store_poll(s);
    }
}

static inline void figure_of(const char *bench, const char *name, double value, const char *unit)
{
    printf("{\"bench\":\"%s\",\"figure\":\"%s\",\"value\":%.2f,\"unit\":\"%s\"}\n", bench, name,
           value, unit);
    fflush(stdout);
}

#endif
