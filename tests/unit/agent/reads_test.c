/* SPDX-License-Identifier: Apache-2.0
 * Strong reads at the leader: what they wait for before they look, and why they give up; what
 * stands around agent/reads.c is ours. */
#include <criterion/criterion.h>
#include <string.h>
#include <uv.h>

#include "agent/agent_int.h"

static struct agent agent;
static uv_loop_t loop;
static raft_uv_done_fn barrier;
static void *barrier_arg;
static bool leads;
static uint64_t stored; /* offers */
static unsigned looked, finished;
static int finish_err;

/* ---- what it stands on ------------------------------------------------------------------ */

int raft_uv_barrier(struct raft_uv *r, raft_uv_done_fn done, void *arg)
{
    (void)r;
    barrier = done;
    barrier_arg = arg;
    return 0;
}

bool raft_uv_is_leader(const struct raft_uv *r)
{
    (void)r;
    return leads;
}

uint64_t offers_stored(const struct agent *a)
{
    (void)a;
    return stored;
}

int api_read(struct api *a, const char *target, struct buf *out)
{
    (void)a;
    looked++;
    return buf_puts(out, target);
}

void commands_finish_read(struct command *c, int err, const void *data, size_t len)
{
    (void)c, (void)data, (void)len;
    finished++;
    finish_err = err;
}

/* ---- the tests -------------------------------------------------------------------------- */

static struct command command;

static void start(void)
{
    uv_loop_init(&loop);
    list_init(&agent.strong_reads);
    agent.loop = &loop;
    agent.raft = (struct raft_uv *)(void *)&agent;
    agent.term = 3;
    agent.all_known = true;
    leads = true;
    command = (struct command){.agent = &agent,
                               .reads = true,
                               .strong = true,
                               .json = json_pack("{s:s}", "target", "/v2/tasks")};
    reads_run(&command);
    cr_assert_eq(finished, 0);
    cr_assert_eq(looked, 0);
}

static void answer(int err, uint64_t term)
{
    barrier(barrier_arg, err, 9, term);
}

static void expect(int err, unsigned looks)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(finished, 1);
    cr_assert_eq(finish_err, err, "%d", finish_err);
    cr_assert_eq(looked, looks);
    cr_assert_eq(agent.strong_count, 0);
    cr_assert(list_is_empty(&agent.strong_reads));
    cr_assert_eq(agent.reads_open, 0);
    cr_assert_eq(uv_loop_close(&loop), 0);
    json_decref(command.json);
}

Test(reads, look_after_the_barrier)
{
    start();
    reads_look(&agent);
    cr_assert_eq(agent.reads_open, 0);
    answer(0, 3);
    expect(0, 1);
}

Test(reads, wait_for_a_comparison_and_for_intent)
{
    agent.offers_made = 7;
    start();
    agent.all_known = false;
    agent.offers_made = 8;
    answer(0, 3);
    agent.offers_made = 9; /* not waited for */
    stored = 8;
    reads_look(&agent);
    agent.all_known = true;
    stored = 7;
    reads_look(&agent);
    stored = 8;
    agent.compare_intent = true;
    reads_look(&agent);
    cr_assert_eq(agent.reads_open, 0);
    agent.compare_intent = false;
    reads_look(&agent);
    expect(0, 1);
}

Test(reads, another_leadership_is_no_answer)
{
    start();
    answer(0, 4);
    expect(ERR_NOTLEADER, 0);
}

Test(reads, a_lost_leadership_is_no_answer)
{
    start();
    answer(ERR_TIMEOUT, 3);
    expect(ERR_NOTLEADER, 0);
}

Test(reads, leadership_lost_after_the_barrier)
{
    start();
    agent.all_known = false;
    answer(0, 3);
    cr_assert_eq(finished, 0);
    leads = false;
    reads_look(&agent);
    expect(ERR_NOTLEADER, 0);
}

/* The barrier may still end when its read was refused long ago. */
Test(reads, stopping_ends_what_waits)
{
    start();
    agent.stopping = true;
    reads_look(&agent);
    cr_assert_eq(finished, 1);
    answer(ERR_CANCELED, 3);
    expect(ERR_NOTLEADER, 0);
}

static void let_time_pass(void)
{
    loop.time += 5000;
    reads_look(&agent);
}

Test(reads, without_a_majority_nobody_waits_for_ever)
{
    start();
    let_time_pass();
    cr_assert_eq(finished, 1);
    answer(0, 3); /* too late */
    expect(ERR_NOLEADER, 0);
}

Test(reads, without_a_comparison_it_says_so)
{
    start();
    agent.all_known = false;
    answer(0, 3);
    let_time_pass();
    expect(ERR_NOTREADY, 0);
}
