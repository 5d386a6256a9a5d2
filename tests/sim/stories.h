/* SPDX-License-Identifier: Apache-2.0
 * Plots for whole agents (stories.c), and what they share with the storms (agents_sim.c). */
#ifndef BLOX_TESTS_STORIES_H
#define BLOX_TESTS_STORIES_H

#include "agent/raft/raft_uv.h"
#include "tests/sim/agents.h"

/* Returns 0, or 1 with the story's end on standard output. */
typedef int (*story_fn)(uint64_t seed, bool trace, bool print);
story_fn story_named(const char *name); /* NULL: there is none */

/* stories.c */
void start_world(uint64_t seed, bool trace);           /* a quiet one */
void begin(uint64_t seed, bool trace, uint32_t count); /* so many agents, and one of them leads */
bool wait_for_leader(const struct node *except, uint64_t us); /* another than this one */
void reclaim_voters(uint64_t seed, bool trace); /* three remain, which recover by themselves */
struct raft_uv *raft_of(const struct node *n);  /* NULL: it has none now */
uint64_t leader_of(const struct node *n);       /* that it knows; 0: none */

/* stories_raft.c */
int story_removed(uint64_t seed, bool trace, bool print);
int story_unheard(uint64_t seed, bool trace, bool print);
int story_left_out(uint64_t seed, bool trace, bool print);
int story_met(uint64_t seed, bool trace, bool print);
int story_echo(uint64_t seed, bool trace, bool print);
int story_bound(uint64_t seed, bool trace, bool print);
int story_snapshot(uint64_t seed, bool trace, bool print);
int story_hang(uint64_t seed, bool trace, bool print);
int story_words(uint64_t seed, bool trace, bool print);
int story_kept(uint64_t seed, bool trace, bool print);
void disturb_recovery(void);

/* agents_sim.c */
struct node *the_leader(void);    /* it may act; NULL: none */
uint32_t sometimes(uint32_t max); /* 0, or up to so many */
void make_peace(void);
bool has_converged(uint64_t within_us); /* after the last fault */
int tell_end(bool trace, bool print);

#endif
