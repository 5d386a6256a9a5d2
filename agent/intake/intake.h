/* SPDX-License-Identifier: Apache-2.0
 * Where observed rows come from: ECS events from SQS and the reconcile with the ECS API on
 * the leader; this instance's own ECS agent on every agent. Loop thread. */
#ifndef BLOX_AGENT_INTAKE_H
#define BLOX_AGENT_INTAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/aws/aws.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/rows/rows.h"

struct intake;

struct intake_options {
    struct uv_loop_s *loop;
    struct aws *aws;
    struct rows *rows;
    struct store *store;
    const char *cluster;      /* name or ARN of the own cluster */
    const char *instance_arn; /* of the own instance; NULL or "": none, or not known yet */
    const char *clusters;     /* "own" | "all" | "name,name": whose events and rows are kept */
    const char *queue;        /* queue URL, or its name (looked up by GetQueueUrl); NULL: none */
    const char *ecs_agent_endpoint; /* of the local ECS agent; NULL: not watched */
    uint64_t reconcile_ms;          /* 0: 10 min */
    uint64_t turn_ms;  /* so long one cluster of several is compared before others; 0: 5 s */
    uint64_t young_ms; /* a row this young is not buried when ECS misses it; 0: 15 s */
    bool keep_override_values;
    uint64_t seed;
    void *arg;
    /* The first full reconcile of this leadership ended (ok), or a periodic one did: all that runs
     * is in the store. */
    void (*on_reconciled)(void *arg, int err);
    /* Of this cluster (ARN) all that runs and all that is stopping is in the store: of the own one
     * first, whatever ECS makes of the others. NULL: nobody asks. */
    void (*on_known)(void *arg, const char *cluster);
    /* After that: so it is of all of them. NULL: nobody asks. */
    void (*on_all_known)(void *arg);
    /* The local ECS agent shows another status of this task (or instance) than the store has: the
     * leader should look at it again. */
    void (*on_hint)(void *arg, const char *cluster, const char *arn);
    /* ECS was asked on the leader, and what it shows (or, deleted: does not have) is no news for
     * the store. The record is valid during the call; NULL: nobody asks. */
    void (*on_shown)(void *arg, const struct record *rec);
    /* Is the row of this task or instance not to be relied on, though it is new, because only a
     * peer told of it? NULL: none is. */
    bool (*in_doubt)(void *arg, const char *arn);
};

int intake_create(struct intake **ret, const struct intake_options *options,
                  struct errmsg *e) MUST_CHECK;
void intake_destroy(struct intake *in, void (*done)(void *arg), void *arg);
/* Leadership came (term goes into each record) or went: polls and reconcile start or stop. A batch
 * that was received but not committed is left in the queue. */
void intake_lead(struct intake *in, bool leading, uint64_t term);
/* Look at these again soon (a hint from an agent, a doubtful row): described in one batch and
 * applied; a MISSING answer becomes a tombstone. cluster NULL: own. */
void intake_refresh_task(struct intake *in, const char *cluster, const char *task_arn);
void intake_refresh_instance(struct intake *in, const char *cluster, const char *instance_arn);
/* The group of the tasks of that deployment, as events_options wants it; arg: the intake. */
bool intake_group_of(void *arg, const char *deployment, char *out);
/* Start a full reconcile now (also used after credentials came). */
void intake_reconcile(struct intake *in);
/* Are the rows of that cluster (ARN) kept here? */
bool intake_keeps(const struct intake *in, const char *cluster);
/* Has that cluster (ARN) been compared with ECS in this leadership? After on_all_known that is said
 * of one that was not there as well, but never of one that could not be read. */
bool intake_knows(const struct intake *in, const char *cluster);
const char *intake_trouble(const struct intake *in); /* "" if well: "no queue is configured", ... */
/* {"queue":{"url","in_flight","received","deleted","poison","lag_ms"},
 *  "reconcile":{"last_ok_unix_ms","running","drift","missing","stale","gone","waiting",
 *   "refreshing"},
 *  "clusters":{arn:{"events","lag_ms","lag_max_ms"}}: how late events come, by ECS's own times;
 *  "local":{"lag_ms","told","refreshed"}: the same of the own instance's tasks, by its ECS agent,
 *  "notes":[{"level","name","about","reason","first_at","last_at","count"}]: what ECS said lately
 * of services, deployments and the health of instances}. New reference. */
json_t *intake_status(const struct intake *in);

#endif
