/* SPDX-License-Identifier: Apache-2.0
 * Own runs of test records that are not over yet, and which members may lack some of them: whom to
 * ask what it has. Pure.
 *
 * Test records are in no fingerprint, so anti-entropy does not see them. What neither push nor
 * digest brought (a network that was gone for some seconds, more records than gossip remembers)
 * their origin repairs, until the run's time is over. In the usual case all have reported before
 * anybody is asked, and nothing is sent. */
#ifndef BLOX_AGENT_OWED_H
#define BLOX_AGENT_OWED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/limits.h"

#define OWED_RUNS_MAX 64u      /* that last at a time: bits; the oldest makes room */
#define OWED_FROM_US 2000000u  /* a run is this old before anybody is asked */
#define OWED_EVERY_US 1000000u /* one round of asking */
#define OWED_ASKS_MAX 64u      /* in a round: 4 KB on the wire */
#define OWED_BYTES (2u << 20)  /* of records in a round: the largest run comes in three */

struct owed_run {
    uint64_t run; /* 0: free */
    uint32_t count, bytes;
    uint64_t start_us, until_us;
};
struct owed_member {
    uint64_t num;
    uint64_t runs;   /* bit i: it has not said that it has all of run[i] */
    uint64_t served; /* ... was sent some of it in this round */
};
struct owed {
    struct owed_run run[OWED_RUNS_MAX];
    uint32_t last; /* run begun */
    struct owed_member member[GOSSIP_MEMBERS_MAX];
    size_t count, before; /* now; when the last run began */
    size_t turn;          /* member that is asked next */
    uint32_t run_turn;    /* and for which run */
    uint64_t due_us;      /* the next round begins */
    uint32_t bytes_left;  /* of this round */
    uint32_t asks_left, looks_left;
};

/* A run begins, owed by nobody yet. run is not 0, and greater than those before. */
void owed_begin(struct owed *o, uint64_t run, uint32_t count, uint32_t bytes, uint64_t now_us,
                uint64_t until_us);
void owed_end(struct owed *o, uint64_t run); /* before its time: it came to nothing */
/* A member that is alive as the run begins, told once for each run; and one that is alive again,
 * or new, and may lack of any. */
void owed_target(struct owed *o, uint64_t num);
void owed_returned(struct owed *o, uint64_t num, uint64_t now_us);
/* The member has all of that run. */
void owed_settled(struct owed *o, uint64_t num, uint64_t run);

/* Somebody is to be asked: call owed_tick, then owed_next until it is false. */
bool owed_is_busy(const struct owed *o);
void owed_tick(struct owed *o, uint64_t now_us);
/* Whom to ask for which run; NULL: nobody more in this round. */
const struct owed_run *owed_next(struct owed *o, uint64_t now_us, uint64_t *ret_num);
/* A member says what it has. Its run, if it may be sent what it lacks now: once in a round, because
 * a process that stood still answers all that it was asked meanwhile at once. */
const struct owed_run *owed_serve(struct owed *o, uint64_t num, uint64_t run);
/* That much of this round's bytes; false: there are none left. */
bool owed_spend(struct owed *o, uint32_t bytes);

#endif
