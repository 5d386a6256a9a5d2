/* SPDX-License-Identifier: Apache-2.0
 * Keys in a running node. A rotation loses nothing: the new key opens everywhere before it seals
 * anywhere, and connections under the old one end when what waits on them is sent. */
#include <stdio.h>
#include <string.h>

#include "gossip/node_uv.h"

#define ODD_KEY_MS 60000u

static int find(const struct gossip_node *g, const char *id)
{
    for (size_t i = 0; i < g->seal.count; i++)
        if (strcmp(g->key_ids[i], id) == 0)
            return (int)i;
    return -1;
}

const char *gossip_key_trouble(struct gossip_node *g)
{
    if (g->odd_ms == 0 || node_now(g) - g->odd_ms > ODD_KEY_MS)
        return "";
    /* Anybody can send such packets: while a member answers they mean nothing. */
    size_t others = 0;
    for (size_t i = 0; i < gossip_count(g); i++) {
        const struct gossip_member *m = gossip_at(g, i);
        if (!m->self && m->state == MEMBER_ALIVE)
            return "";
        others += !m->self;
    }
    if (others == 0)
        return "";
    snprintf(g->key_trouble, sizeof g->key_trouble,
             "no member answers, and what comes is sealed with key %s..., which is not in "
             "gossip.key_file (%.8s... is): put the file of another agent there and restart this "
             "one",
             g->odd_key, g->key_ids[0]);
    return g->key_trouble;
}

int gossip_key_add(struct gossip_node *g, const uint8_t key[32])
{
    char id[17];
    seal_key_id(key, id);
    if (find(g, id) >= 0)
        return ERR_EXISTS;
    int err = seal_key_add(&g->seal, key);
    if (err == 0)
        memcpy(g->key_ids[g->seal.count - 1], id, sizeof id);
    return err;
}

int gossip_key_use(struct gossip_node *g, const char *id)
{
    char copy[17];
    int i = find(g, id);
    if (i < 0)
        return ERR_NOTFOUND;
    memcpy(copy, g->key_ids[i], sizeof copy);
    seal_key_use(&g->seal, (size_t)i);
    memmove(g->key_ids[1], g->key_ids[0], (size_t)i * sizeof g->key_ids[0]);
    memcpy(g->key_ids[0], copy, sizeof copy);
    tcp_key_used(g);
    return 0;
}

int gossip_key_remove(struct gossip_node *g, const char *id)
{
    uint8_t gone[4];
    int i = find(g, id);
    if (i < 0)
        return ERR_NOTFOUND;
    if (i == 0)
        return ERR_CONFLICT; /* it seals */
    memcpy(gone, g->seal.key_id[i], sizeof gone);
    seal_key_remove(&g->seal, (size_t)i);
    memmove(g->key_ids[i], g->key_ids[i + 1], (g->seal.count - (size_t)i) * sizeof g->key_ids[0]);
    tcp_key_removed(g, gone);
    return 0;
}

size_t gossip_key_count(const struct gossip_node *g)
{
    return g->seal.count;
}

const char *gossip_key_at(const struct gossip_node *g, size_t i)
{
    return i < g->seal.count ? g->key_ids[i] : NULL;
}
