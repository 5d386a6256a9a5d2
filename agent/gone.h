/* SPDX-License-Identifier: Apache-2.0
 * Is another agent's instance gone for good? The automatic recovery of a lost quorum rests on it
 * (agent/raft/auto.c), so two have to say so, each in an answer that shows that it looked in the
 * right place because it has ourselves in it:
 *
 * ECS, which must list the instance in no state (not ACTIVE, not DRAINING). That alone is not
 * enough: an instance that was deregistered, or whose ECS agent lost its state, runs on, with its
 * agent and its vote.
 *
 * EC2, which must show it terminated or, an hour later, not at all. One that is stopped or shutting
 * down has its disk, and may be back.
 *
 * Silence, an error, no permission prove nothing. */
#ifndef BLOX_AGENT_GONE_H
#define BLOX_AGENT_GONE_H

#include <stdbool.h>

#include "agent/base/json.h"

/* ListContainerInstances for both instances; own_arn: of our container instance, "" if unknown. */
bool gone_by_ecs(const json_t *body, const char *own_arn);
/* DescribeInstances for both instances, as query_parse_ec2 reads it. *ret_word: what EC2 says of
 * the other, for the log; lives as long as body. */
bool gone_by_ec2(const json_t *body, const char *own_id, const char *id, const char **ret_word);

#endif
