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

static bool bears_loss(const struct raft_config *c, const struct node *n)
{
    uint32_t lost = 0;
    for (uint32_t i = 0; i < c->count; i++)
        lost += !has_log(&c->server[i]) || strcmp(c->server[i].id, n->id) == 0;
    return lost <= (raft_voter_count(c) - 1) / 2;
}

/* Spares count as well: they may be promoted in this very moment. A change that is decided may
 * count on what this one answered a moment ago (three voters become two), so what it makes must
 * bear the loss, too. */
bool quorum_bears_loss(const struct raft_uv *leader, const struct node *n)
{
    const struct raft *core = &leader->core;
    if (core->config.index > core->commit || !bears_loss(&core->config, n))
        return false;
    for (uint32_t i = 0; leader->wish.since != 0 && i < core->config.count; i++) {
        const struct raft_server *s = &core->config.server[i];
        struct raft_config to;
        if (s->num == leader->wish.num &&
            raft_config_change(&core->config, leader->wish.change, s, &to) == 0 &&
            !bears_loss(&to, n))
            return false;
    }
    return true;
}
