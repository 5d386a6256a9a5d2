/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/base/sched.h"

/* Length of the calling thread's turn; 0 where the kernel (before 6.12) does not say. */
static uint64_t turn_ns(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } a = {0};
    cr_assert_eq(syscall(SYS_sched_getattr, 0, &a, sizeof a, 0), 0);
    return a.runtime;
}

Test(sched, short_turns_and_back)
{
    uint64_t before = turn_ns();
    cr_assert_eq(setpriority(PRIO_PROCESS, 0, 3), 0);
    sched_wake_soon();
    cr_assert_eq(getpriority(PRIO_PROCESS, 0), 3, "the share of the processor stays");
    if (before == 0)
        return;
    cr_assert_lt(turn_ns(), before);
    sched_run_long();
    cr_assert_eq(turn_ns(), before);
    cr_assert_eq(getpriority(PRIO_PROCESS, 0), 3);
}

Test(sched, a_policy_of_the_operators_stays)
{
    struct sched_param none = {0};
    cr_assert_eq(sched_setscheduler(0, SCHED_BATCH, &none), 0);
    sched_wake_soon();
    cr_assert_eq(sched_getscheduler(0), SCHED_BATCH);
}
