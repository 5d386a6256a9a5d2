/* SPDX-License-Identifier: Apache-2.0
 * What a member lacks of a run of test records its origin sends again (owed.h). The origin asks,
 * the member says what it has, the origin sends the rest; all that is counted and logged happens
 * where records are stored, as ever. Loop thread. */
#ifndef BLOX_AGENT_REPAIR_H
#define BLOX_AGENT_REPAIR_H

#include "agent/base/buf.h"
#include "agent/owed.h"
#include "agent/tally.h"

struct agent;

/* Datagrams on the channel of calls, as NOTE_HAVE_ALL. */
#define NOTE_ASK 4u /* u8 kind, u64 run, u16 count: what have you of it? */
#define NOTE_HAS 5u /* u8 kind, u64 run, a bit for each record that the sender has */

/* The origin: asks whom it is time to ask; sends the member what it says that it lacks. */
void repair_tick(struct agent *a, struct owed *o, uint64_t now_us);
void repair_serve(struct agent *a, struct owed *o, uint64_t from, uint64_t run, struct rbuf *b);
/* The member: says to the origin what it has of its run; returns the run instead if that is all. */
struct tally_run *repair_tell(struct agent *a, struct tally *t, uint64_t origin, uint64_t run,
                              uint32_t count, uint64_t now_us);

#endif
