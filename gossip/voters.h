/* SPDX-License-Identifier: Apache-2.0
 * Who votes: the autopilot of raft's configuration. A pure function of what the leader sees to at
 * most one change; asked again, with the new configuration, once that one is committed.
 *
 * 3 voters, 5 from 20 agents on (back to 3 below 15), fewer where there are fewer candidates; up
 * to 2 learners as warm spares; spread over zones; on-demand before spot. */
#ifndef BLOX_GOSSIP_VOTERS_H
#define BLOX_GOSSIP_VOTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gossip/raft.h"

#define VOTERS_STABLE_MS 10000u /* alive for so long before it may vote (hashicorp's autopilot) */
#define VOTERS_DEAD_MS 10000u   /* dead to gossip and silent to raft for so long: replaced */
#define VOTERS_SILENT_MS 2000u  /* no answer for so long: does not count as live */
#define VOTERS_LAG_MAX 64u      /* entries a learner may lack when it is promoted */
#define VOTERS_SPARES 2u

struct voters_agent {
    uint64_t num, disk; /* disk 0: not known yet, cannot join */
    const char *id;
    const char *zone;
    uint8_t lifecycle;  /* 0 on-demand, 1 spot, 2 unknown */
    bool candidate;     /* role */
    bool alive;         /* to gossip */
    bool left;          /* said goodbye */
    bool leaving;       /* a spot or scale-in notice, or a drain */
    uint64_t steady_ms; /* in this state for so long */
};
struct voters_server {  /* of config.server[i] */
    uint64_t lag;       /* entries it lacks */
    uint64_t silent_ms; /* since its last answer */
};
struct voters_input {
    uint64_t self; /* the leader */
    const struct raft_config *config;
    struct voters_server server[RAFT_SERVERS_MAX];
    const struct voters_agent *agent; /* all that gossip knows, self included */
    size_t agent_count;
    size_t alive_count; /* agents of any role */
    /* voters_decide's own: the agent of each server, NULL: gossip does not know it. Thousands of
     * agents are looked through once. */
    const struct voters_agent *agent_of[RAFT_SERVERS_MAX];
};
enum voters_verb { VOTERS_NOTHING, VOTERS_CHANGE, VOTERS_TRANSFER };
struct voters_action {
    enum voters_verb verb;
    enum raft_change change;
    struct raft_server server; /* to change, or to lead instead */
    const char *why;
};
void voters_decide(struct voters_input *in, struct voters_action *ret);
/* How many voters there should be. */
uint32_t voters_target(size_t alive_agents, size_t eligible, uint32_t voters_now);

#endif
