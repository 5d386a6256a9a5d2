/* SPDX-License-Identifier: Apache-2.0
 * Daemon scheduling on the leader: keeps the model of instances and daemon tasks, asks the pure
 * planner what to do, carries it out through ECS (StartTask, StopTask), settles what is unknown,
 * and takes commands (validation against ECS, proposal to raft). Loop thread. */
#ifndef BLOX_AGENT_DAEMONS_UV_H
#define BLOX_AGENT_DAEMONS_UV_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/aws/aws.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/intake/intake.h"
#include "agent/intent/intent.h"
#include "agent/raft/raft_uv.h"
#include "agent/rows/rows.h"

struct daemons;

struct daemons_options {
    struct uv_loop_s *loop;
    struct aws *aws;
    struct rows *rows;
    struct store *store;
    struct raft_uv *raft;
    struct intake *intake;
    struct intent *intent;
    const char *cluster; /* own cluster, name or ARN */
    uint64_t seed;
};

int daemons_create(struct daemons **ret, const struct daemons_options *options,
                   struct errmsg *e) MUST_CHECK;
/* Before the modules it was given are destroyed. Commands under way are answered ERR_CANCELED;
 * AWS calls are cancelled, their completions are ignored. */
void daemons_destroy(struct daemons *d, void (*done)(void *arg), void *arg);
/* Leadership came or went. In a cluster nothing is started or stopped before it is known (see
 * intake_knows): the first comparison of this leadership is through with it, and ListTasks by
 * startedBy settled each active deployment of which something is to be started. */
void daemons_lead(struct daemons *d, bool leading, uint64_t term);
/* From intake's on_known, also when it is known anew; on_all_known: NULL. */
void daemons_known(struct daemons *d, const char *cluster);
/* From intake's on_shown: a row that a peer had brought, and that was not believed, may be true. */
void daemons_shown(struct daemons *d, const struct record *rec);
/* Has a peer told of this task or instance what ECS has not shown yet? Such a row is not in the
 * plan: a comparison with ECS has to ask for it. */
bool daemons_in_doubt(const struct daemons *d, const char *arn);
/* Intent changed (after intent_apply): in these rows, and only the environments that they are of
 * are looked at. */
void daemons_intent_changed(struct daemons *d, const struct store_log_intent *rows, size_t count);

/* A user's command on the leader: checked against ECS, proposed, answered with the result.
 * done runs exactly once, later. ERR_NOTLEADER if this agent does not lead. */
typedef void (*daemons_done_fn)(void *arg, const struct intent_result *result);
void daemons_command(struct daemons *d, const json_t *command, daemons_done_fn done, void *arg);
/* From the agent's raft apply callback, after intent_apply: what became of the entry at index.
 * The result is copied as far as a waiting command may need it. */
void daemons_applied(struct daemons *d, uint64_t index, const struct intent_result *result);
/* {"environments":[{"name","desired","running","pending","failed"...}],"actions",...}. New
 * reference. */
json_t *daemons_status(const struct daemons *d);

#endif
