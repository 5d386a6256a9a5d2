/* SPDX-License-Identifier: Apache-2.0
 * Intent: environments and deployments as a deterministic state machine over raft's log.
 * In memory (it is small); its rows are persisted by raft_uv and gossiped as records.
 * No I/O, no clock: times and ids come in with the command.
 *
 * Commands are JSON objects. The agent that takes a request checks its form
 * (intent_check), the leader adds "now" (unix ms), "id" (a UUID), resolved ARNs and proposes;
 * every voter applies.
 *
 *   {"op":"environment.create","name","cluster","taskDefinition","attributes":[{"name","value"}],
 *    "expression","key"}
 *   {"op":"environment.update","name","taskDefinition"?,"attributes"?,"expression"?,"version"?}
 *   {"op":"environment.delete","name","stopTasks":bool,"version"?}
 *   {"op":"environment.remove","name"}          leader only: the tasks of a deleting one are gone
 *   {"op":"deployment.create","environment","token"?,"taskDefinition"?,"key"}
 *   {"op":"intent.restore","environments":[{"row":{...},"deployments":[{"row":{...}}]}]}
 *       rows as below; with "clusterName","clusterId","force" on the way to the leader
 *   {"op":"intent.read",...}                    never in the log: read behind a barrier
 *   {"op":"deployment.status","environment","id","status","failedInstances":[{"arn","reason"}],
 *    "counts":{...}}                             leader only
 *
 * Rows (RECORD_ENVIRONMENT by name, RECORD_DEPLOYMENT by "environment/id"), JSON:
 *   environment {"name","token","cluster","taskDefinition","attributes","expression",
 *     "status":"active"|"deleting", "activeDeployment":id|absent, "revision":n,
 *     "createdAt","updatedAt", "health":"healthy"|"unhealthy"}
 *   deployment {"id","environment","taskDefinition","cluster","revision",
 *     "status":"pending"|"running"|"completed"|"superseded", "token","createdAt",
 *     "completedAt"?, "failedInstances":[{"arn","reason"}],
 *     "counts":{"desired","running","pending","failed"}}
 * Row fields: CLUSTER, STATUS, ENVIRONMENT (and FAMILY, REVISION of the task definition). */
#ifndef BLOX_AGENT_INTENT_H
#define BLOX_AGENT_INTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "store/store.h"

struct intent;

int intent_create(struct intent **ret) MUST_CHECK;
void intent_destroy(struct intent *in);

/* What became of a command; belongs to the intent until the next apply. */
struct intent_result {
    int err; /* 0, ERR_EXISTS, ERR_NOTFOUND, ERR_CONFLICT, ERR_PRECONDITION, ERR_MISMATCH, ... */
    char detail[256];   /* a sentence for a human, "" if err is 0 */
    char field[32];     /* offending member, or "" */
    const json_t *body; /* the resource after the command, or NULL */
    bool replayed;      /* answered from the idempotency key */
};

/* Form of a command as a user may send it (names, patterns, limits, expression syntax), before it
 * is sent to the leader. 0, or ERR_BADPARAM / ERR_BADBODY with detail and field. */
int intent_check(const json_t *command, struct intent_result *ret) MUST_CHECK;

/* Apply a committed command (bytes of JSON). rows are valid until the next apply or load. */
void intent_apply(struct intent *in, uint64_t index, uint64_t term, const void *data, size_t len,
                  struct intent_result *ret, const struct store_log_intent **ret_rows,
                  size_t *ret_count);

/* Put back one row at start (from store_log_intent). */
int intent_restore(struct intent *in, const struct store_log_intent *row) MUST_CHECK;
/* A row that gossip kept, if it is newer than what is here; tombstones remove. */
int intent_merge(struct intent *in, const struct store_log_intent *row) MUST_CHECK;
int intent_save(const struct intent *in, struct buf *out) MUST_CHECK;
/* Replace everything by a snapshot; yields all rows. ERR_MALFORMED leaves it unchanged. */
int intent_load(struct intent *in, const void *data, size_t len,
                const struct store_log_intent **ret_rows, size_t *ret_count) MUST_CHECK;

/* Read access for the leader. Borrowed until the next apply. */
const json_t *intent_environment(const struct intent *in, const char *name);
const json_t *intent_deployment(const struct intent *in, const char *environment, const char *id);
/* From the oldest that is kept; as intent_next. */
const json_t *intent_next_deployment(const struct intent *in, const char *environment, size_t *at);
/* for (size_t at = 0; (env = intent_next(in, &at)) != NULL;) */
const json_t *intent_next(const struct intent *in, size_t *at);

#endif
