/* SPDX-License-Identifier: Apache-2.0
 * How many logs may be lost at a time. What no consensus bears is that a majority of the voters
 * lose theirs, so a storm takes the next one only when a leader has replaced the last ones. */
#include <string.h>

#include "agent/raft/raft_uv_int.h"
#include "tests/sim/agents.h"

/* By what is on the disk, not by what an agent says. */
static bool has_log(const struct raft_server *s)
{
    for (uint32_t i = 0; i < world.node_count; i++) {
        const struct node *n = &world.nodes[i];
        if (n->exists && strcmp(n->id, s->id) == 0)
            return disk_number(n->disk) == s->disk;
    }
    return false;
}

bool quorum_is_full(const struct raft_uv *leader)
{
    const struct raft *core = &leader->core;
    return core->config.index <= core->commit && core->config.count == 5 &&
           raft_voter_count(&core->config) == 3;
}

bool quorum_has(const struct raft_uv *leader, const struct node *n)
{
    const struct raft_config *c = &leader->core.config;
    for (uint32_t i = 0; i < c->count; i++)
        if (strcmp(c->server[i].id, n->id) == 0)
            return c->server[i].voter;
    return false;
}

/* Spares count as well: they may be promoted in this very moment. */
bool quorum_bears_loss(const struct raft_uv *leader, const struct node *n)
{
    const struct raft *core = &leader->core;
    uint32_t lost = 0;
    if (core->config.index > core->commit)
        return false;
    for (uint32_t i = 0; i < core->config.count; i++) {
        const struct raft_server *s = &core->config.server[i];
        lost += !has_log(s) || strcmp(s->id, n->id) == 0;
    }
    return lost <= (raft_voter_count(&core->config) - 1) / 2;
}
