/* SPDX-License-Identifier: Apache-2.0
 * How agents find each other: addresses from the configuration, a seeds file, and the ECS
 * cluster itself, where each agent publishes its address as the attribute blox.addr of its
 * container instance. Loop thread. */
#ifndef BLOX_AGENT_JOIN_H
#define BLOX_AGENT_JOIN_H

#include "agent/aws/aws.h"
#include "agent/config.h"
#include "agent/identity_uv.h"
#include "gossip/node.h"

struct join;
struct join_options {
    struct uv_loop_s *loop;
    struct aws *aws;
    struct gossip_node *gossip;
    const struct config *config;
    uint64_t seed;
};

int join_start(struct join **ret, const struct join_options *options) MUST_CHECK;
void join_stop(struct join *j, void (*done)(void *arg), void *arg);
void join_identity(struct join *j, const struct identity *i); /* may become known later */
/* The leader looks for agents that nobody knows (partitions that forgot each other). */
void join_lead(struct join *j, bool leading);
/* Is a leader known here? Where none is, the one with the lowest id looks as if it were alone: all
 * that it knows may be an island. */
void join_led(struct join *j, bool known);
/* A member was heard of: who was alone, and looked seldom, may be on an island now. */
void join_met(struct join *j);
/* The own word was changed: if it tells other addresses, ECS shows them soon. */
void join_readdressed(struct join *j);
/* How many agents publish an address and are no live members here; BOOT_UNCOUNTED until all who may
 * form a cluster without this agent must stand in the list that it has. For raft_uv_options. */
uint32_t join_missing(struct join *j);
const char *join_trouble(const struct join *j);
/* Why gossip.seeds_file cannot be read; "" if it can, or has not been needed. */
const char *join_seeds_trouble(const struct join *j);

#endif
