/* SPDX-License-Identifier: Apache-2.0
 * Stops the modules: a chain, each step's done starts the next. Modules that were never started
 * are skipped. A module's pointer is cleared before it is told to go, so that what others call back
 * meanwhile does not reach it.
 *
 *   leadership given away -> commands, API -> identity -> daemons -> intake -> join -> leave
 *   -> raft -> records -> gossip -> aws -> the store's last writes -> store */
#include <stdlib.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define TRANSFER_MS 300 /* how long stopping waits for another leader */
#define DRAIN_MS 5000   /* ... and for the disk */
#define LOOK_MS 10

static void stop_finished(uv_handle_t *handle)
{
    struct agent *a = handle->data;
    if (--a->handles_open > 0)
        return;
    void (*done)(void *) = a->done;
    void *arg = a->done_arg;
    pthread_mutex_destroy(&a->writes_lock);
    free(a->standing);
    free(a);
    done(arg);
}

static void stop_store(struct agent *a)
{
    uv_timer_stop(&a->tick);
    store_close(a->store);
    rows_destroy(a->rows);
    propagate_destroy(a->propagate);
    keyring_destroy(a->keyring);
    a->keyring = NULL;
    a->propagate = NULL;
    intent_destroy(a->intent);
    keys_wipe(&a->keys);
    LOG_MSG(LOG_INFO, "stopped", "");
    uv_close((uv_handle_t *)&a->tick, stop_finished);
    uv_close((uv_handle_t *)&a->store_async, stop_finished);
    uv_close((uv_handle_t *)&a->write_async, stop_finished);
    uv_close((uv_handle_t *)&a->want_async, stop_finished);
}

/* ---- the last writes ------------------------------------------------------------------
 * store_close drops completions that nobody fetched, and with them what they would free. So an
 * empty write is posted behind all others of each kind, and its completion awaited. */

enum { MARK_ROWS = 1, MARK_FACTS = 2 };

static void on_rows_mark(void *arg, int err, const struct record *records,
                         const struct store_change *changes, size_t count)
{
    struct agent *a = arg;
    (void)err;
    (void)records;
    (void)changes;
    (void)count;
    a->marks_open &= ~(unsigned)MARK_ROWS;
}

static void on_facts_mark(void *arg, int err)
{
    struct agent *a = arg;
    (void)err;
    a->marks_open &= ~(unsigned)MARK_FACTS;
}

static void on_drain(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    int64_t now = clock_unix_ms();
    store_poll(a->store);
    if ((a->marks_due & MARK_ROWS) != 0 && store_apply(a->store, NULL, 0, on_rows_mark, a) == 0)
        a->marks_due &= ~(unsigned)MARK_ROWS;
    if ((a->marks_due & MARK_FACTS) != 0 &&
        store_fact_put(a->store, "stopped", &now, sizeof now, on_facts_mark, a) == 0)
        a->marks_due &= ~(unsigned)MARK_FACTS;
    bool late = uv_now(a->loop) >= a->stop_by_ms;
    if (a->marks_open != 0 && !late)
        return;
    if (late)
        LOG_MSG(LOG_WARN, "stopped_early", "the disk is slow: not every write was confirmed");
    reap_fini(a);
    members_fini(a);
    if (a->marks_open == 0) {
        commands_free_all(a);
        offers_fini(a);
    }
    stop_store(a);
}

static void drain_store(void *arg)
{
    struct agent *a = arg;
    a->marks_open = MARK_ROWS | MARK_FACTS;
    a->marks_due = a->marks_open;
    a->stop_by_ms = uv_now(a->loop) + DRAIN_MS;
    uv_timer_start(&a->tick, on_drain, 0, LOOK_MS);
}

/* ---- the modules, from above to below ------------------------------------------------------ */

static void stop_aws(void *arg)
{
    struct agent *a = arg;
    struct aws *aws = a->aws;
    notice_stop(a->notice);
    a->notice = NULL;
    a->aws = NULL;
    notice_stop(a->notice);
    a->notice = NULL;
    aws_destroy(aws, drain_store, a);
}

static void stop_gossip(void *arg)
{
    struct agent *a = arg;
    struct gossip_node *gossip = a->gossip;
    a->gossip = NULL;
    if (gossip != NULL)
        gossip_destroy(gossip, stop_aws, a);
    else
        stop_aws(a);
}

static void stop_records(void *arg)
{
    struct agent *a = arg;
    struct records *records = a->records;
    a->records = NULL;
    rows_set_gossip(a->rows, NULL);
    if (records != NULL)
        records_destroy(records, stop_gossip, a);
    else
        stop_gossip(a);
}

static void stop_raft(void *arg)
{
    struct agent *a = arg;
    struct raft_uv *raft = a->raft;
    a->raft = NULL;
    if (raft != NULL)
        raft_uv_destroy(raft, stop_records, a);
    else
        stop_records(a);
}

static void leave(void *arg)
{
    struct agent *a = arg;
    if (a->gossip != NULL)
        gossip_leave(a->gossip, stop_raft, a);
    else
        stop_raft(a);
}

static void stop_join(void *arg)
{
    struct agent *a = arg;
    struct join *join = a->join;
    a->join = NULL;
    if (join != NULL)
        join_stop(join, leave, a);
    else
        leave(a);
}

static void stop_intake(void *arg)
{
    struct agent *a = arg;
    struct intake *intake = a->intake;
    a->intake = NULL;
    if (intake != NULL)
        intake_destroy(intake, stop_join, a);
    else
        stop_join(a);
}

static void stop_daemons(void *arg)
{
    struct agent *a = arg;
    struct daemons *daemons = a->daemons;
    a->daemons = NULL;
    if (daemons != NULL)
        daemons_destroy(daemons, stop_intake, a);
    else
        stop_intake(a);
}

static void on_reads_wait(uv_timer_t *timer);

static void stop_search(struct agent *a)
{
    struct identity_search *search = a->search;
    uv_timer_stop(&a->tick);
    reads_look(a);           /* refuses those that wait */
    if (a->reads_open > 0) { /* they use the API; none begins any more */
        uv_timer_start(&a->tick, on_reads_wait, LOOK_MS, LOOK_MS);
        return;
    }
    propagate_stop(a->propagate);
    commands_fail_all(a);
    api_stop(a->api);
    a->api = NULL;
    commands_fail_all(a); /* what came while the API was closing */
    a->search = NULL;
    identity_stop(search, stop_daemons, a);
}

static void on_reads_wait(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    if (a->reads_open == 0)
        stop_search(a);
}

static void on_transfer_wait(uv_timer_t *timer)
{
    struct agent *a = timer->data;
    if (a->role != RAFT_UV_LEADER || uv_now(a->loop) >= a->stop_by_ms)
        stop_search(a);
}

void agent_stop(struct agent *a, void (*done)(void *arg), void *arg)
{
    if (a->stopping)
        return;
    a->stopping = true;
    a->done = done;
    a->done_arg = arg;
    LOG_MSG(LOG_INFO, "stopping", "");
    publish_all(a);
    if (a->role == RAFT_UV_LEADER && a->raft != NULL) {
        agent_lead_changed(a); /* stops acting before the leadership goes */
        if (raft_uv_transfer(a->raft, NULL, NULL) == 0) {
            a->stop_by_ms = uv_now(a->loop) + TRANSFER_MS;
            uv_timer_start(&a->tick, on_transfer_wait, LOOK_MS, LOOK_MS);
            return;
        }
    }
    stop_search(a);
}
