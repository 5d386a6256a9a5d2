/* SPDX-License-Identifier: Apache-2.0
 * Raft core: the arithmetic of configurations. */
#include <string.h>

#include "gossip/raft_config.h"

int raft_slot_of(const struct raft_config *c, uint64_t num)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->server[i].num == num)
            return (int)i;
    return -1;
}

const struct raft_server *raft_find(const struct raft_config *c, uint64_t num)
{
    int i = raft_slot_of(c, num);
    return i < 0 ? NULL : &c->server[i];
}

uint32_t raft_voter_count(const struct raft_config *c)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->count; i++)
        n += c->server[i].voter;
    return n;
}

int raft_config_change(const struct raft_config *from, enum raft_change change,
                       const struct raft_server *server, struct raft_config *ret)
{
    int i = raft_slot_of(from, server->num);
    *ret = *from;
    if (change == RAFT_ADD_LEARNER) {
        if (i >= 0)
            return ERR_EXISTS;
        if (from->count == RAFT_SERVERS_MAX)
            return ERR_FULL;
        ret->server[ret->count] = *server;
        ret->server[ret->count++].voter = false;
        return 0;
    }
    if (i < 0 || from->server[i].disk != server->disk)
        return ERR_NOTFOUND;
    if (change == RAFT_REMOVE)
        memmove(&ret->server[i], &ret->server[i + 1],
                (--ret->count - (uint32_t)i) * sizeof(ret->server[0]));
    else if (from->server[i].voter == (change == RAFT_PROMOTE))
        return ERR_EXISTS;
    else
        ret->server[i].voter = change == RAFT_PROMOTE;
    return raft_voter_count(ret) == 0 ? ERR_BADPARAM : 0;
}
