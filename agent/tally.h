/* SPDX-License-Identifier: Apache-2.0
 * Test records of `blox propagate`: their keys, and who has how many of them. Pure.
 *
 * A key says all that a receiver needs: propagate/ORIGIN/RUN/COUNT/INDEX, so that a record may
 * come alone, in any order and with any value. */
#ifndef BLOX_AGENT_TALLY_H
#define BLOX_AGENT_TALLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

#define TALLY_COUNT_MAX 1000u        /* records of one run */
#define TALLY_BYTES_MAX (64u * 1024) /* of one record */
#define TALLY_TOTAL_MAX (4u << 20)   /* of one run: half of what the store's queue takes */
#define TALLY_RUNS_MAX 128u          /* runs that a receiver counts at a time */
#define TALLY_KEY_MAX 80u

struct tally_id {
    uint64_t origin; /* num of the agent that was asked */
    uint64_t run;    /* its wall clock when it started, ms */
    uint32_t count;
    uint32_t index; /* 0..count-1 */
};

/* Returns the key's length. */
size_t tally_key(const struct tally_id *id, char out[TALLY_KEY_MAX]);
/* ERR_MALFORMED: not a key of a test record. */
int tally_parse(const char *key, size_t len, struct tally_id *ret) MUST_CHECK;

/* What a receiver has of the runs that it heard of last. */
struct tally_run {
    uint64_t origin, run; /* origin 0: free */
    uint64_t used;        /* orders the runs: the oldest makes room */
    uint32_t count, have;
    uint64_t done_us; /* when the last one came; valid if have == count */
    uint64_t due_us;  /* of the next report to the origin */
    unsigned reports; /* sent so far */
    uint8_t seen[(TALLY_COUNT_MAX + 7) / 8];
};
struct tally {
    struct tally_run run[TALLY_RUNS_MAX];
    uint64_t used;
};

/* A record is stored. Returns its run if this was the last one missing, else NULL. */
struct tally_run *tally_note(struct tally *t, const struct tally_id *id, uint64_t now_us);
struct tally_run *tally_find(struct tally *t, uint64_t origin, uint64_t run);

/* Value at a share (0..1) of n ascending values, nearest rank; 0 if there are none. */
uint64_t tally_percentile(const uint64_t *ascending, size_t n, double share);

#endif
