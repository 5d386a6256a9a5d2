/* SPDX-License-Identifier: Apache-2.0
 * What the loop looks at by itself, with one timer: every TICK_MS while something waits for it,
 * seldom otherwise, because an agent at rest shall wake for its probes only. Whoever leaves
 * something to the tick calls agent_busy(). */
#include "agent/agent_int.h"
#include "agent/base/clock.h"

#define REST_MS 10000u
#define LOOK_MS 5000u         /* figures, and what looks at every member: at most so often, */
#define LOOK_EACH_MS 10u      /* that so much seldomer for each, as it costs some microseconds */
#define OWN_INSTANCE_MS 1000u /* while its row is not there */

static void on_tick(uv_timer_t *timer);

static void arm(struct agent *a)
{
    uint64_t now = clock_mono_ms(), wait = REST_MS, reap = reap_wait_ms(a);
    bool offers = !list_is_empty(&a->offers) || (a->compare_intent && a->role == RAFT_UV_LEADER);
    if (reap < wait)
        wait = reap;
    if (a->gossip_due_ms != 0 && a->gossip_due_ms < now + wait)
        wait = a->gossip_due_ms > now ? a->gossip_due_ms - now : 0;
    if (!a->own_found && a->own_due_ms < now + wait)
        wait = a->own_due_ms > now ? a->own_due_ms - now : 0;
    if (!list_is_empty(&a->commands) || offers || propagate_is_busy(a->propagate) || wait < TICK_MS)
        wait = TICK_MS;
    uv_timer_start(&a->tick, on_tick, wait, 0);
}

static void on_tick(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    uint64_t now = clock_mono_ms();
    if (a->gossip_due_ms != 0 && now >= a->gossip_due_ms && !a->stopping)
        agent_start_cluster(a);
    if (!list_is_empty(&a->commands))
        commands_retry(a);
    offers_tick(a);
    reads_look(a);
    reap_tick(a);
    if (now >= a->own_due_ms) {
        a->own_found = flow_own_instance(a);
        a->own_due_ms = now + (a->own_found ? REST_MS / 2 : OWN_INSTANCE_MS);
    }
    if (now >= a->figures_due_ms) {
        a->figures_due_ms = now + LOOK_MS;
        figures_tick(a);
        gone_tick(a);
        members_tick(a);
        keyring_tick(a->keyring);
    }
    if (now >= a->members_due_ms && a->gossip != NULL) {
        a->members_due_ms = now + LOOK_MS + LOOK_EACH_MS * gossip_count(a->gossip);
        admission_tick(a);
        figures_of_paths(a);
    }
    propagate_tick(a->propagate);
    arm(a);
}

void agent_tick_start(struct agent *a)
{
    uv_timer_start(&a->tick, on_tick, 0, 0);
}

void agent_busy(struct agent *a)
{
    if (a->stopping || uv_timer_get_due_in(&a->tick) <= TICK_MS)
        return; /* stopping has the timer for its own */
    uv_timer_start(&a->tick, on_tick, TICK_MS, 0);
}
