/* SPDX-License-Identifier: Apache-2.0
 * Large datagrams to members: of the size that the path was proven to take, some of them asking. */
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/node_uv.h"

#define OVERHEAD (SEAL_OVERHEAD + 1u) /* and the channel */

size_t path_room(struct gossip_node *g, const struct swim_member *m)
{
    return path_size(&node_peer(g, m)->path, node_now(g)) - OVERHEAD;
}

/* Exactly of the level's size; only to one we have met, for a brief header leaves room for the
 * question beside a message that fills its datagram. */
static int send_question(struct gossip_node *g, const struct swim_member *m, enum path_level level,
                         const uint8_t *inner, size_t inner_len)
{
    uint8_t data[GOSSIP_DATAGRAM_MAX];
    size_t size = path_level_size(level), len = size - SEAL_BRIEF_OVERHEAD - 1;
    struct path *p = &node_peer(g, m)->path;
    struct path_message q = {.type = PATH_QUESTION, .inner = inner, .inner_len = inner_len};
    uint64_t now = node_now(g);
    q.seq = path_ask(p, now, level, m->m.rtt_us);
    path_put(&q, data, len);
    int sent = node_send(g, m, NULL, CHANNEL_PATH, data, len);
    if (sent == UV_EMSGSIZE)
        path_refused(p, now, size);
    return sent;
}

static int send_asking(struct gossip_node *g, const struct swim_member *m, uint8_t channel,
                       const void *data, size_t len)
{
    uint8_t inner[GOSSIP_DATAGRAM_MAX];
    ENSURE(len + OVERHEAD <= sizeof inner);
    inner[0] = channel;
    memcpy(inner + 1, data, len);
    return send_question(g, m, node_peer(g, m)->path.level, inner, len + 1);
}

int path_send(struct gossip_node *g, const struct swim_member *m, uint8_t channel, const void *data,
              size_t len, bool again)
{
    struct path *p = &node_peer(g, m)->path;
    size_t size = len + OVERHEAD;
    uint64_t now = node_now(g); /* once: between two looks a size may fall */
    int sent;
    if (size > path_size(p, now))
        return tcp_send(g, m, channel, data, len);
    enum path_level ask = node_has_met(g, m) ? path_wants(p, now, size, again) : PATH_SMALL;
    if (ask > p->level)
        (void)send_question(g, m, ask, NULL, 0);
    if (ask != PATH_SMALL && ask == p->level)
        sent = send_asking(g, m, channel, data, len);
    else
        sent = node_send(g, m, NULL, channel, data, len);
    if (sent != UV_EMSGSIZE)
        return 0; /* what the socket had no room for counts as lost on the way */
    path_refused(p, now, size);
    return tcp_send(g, m, channel, data, len);
}

void path_message(struct gossip_node *g, const struct swim_member *m, const uint8_t *data,
                  size_t len, const struct gossip_addr *source)
{
    struct path_message in;
    uint8_t out[PATH_HEAD];
    size_t size = len + 1 + SEAL_BRIEF_OVERHEAD;
    if (path_get(data, len, &in) != 0) {
        g->stats.rejected++;
        return;
    }
    if (in.type == PATH_ANSWER) {
        path_answered(&node_peer(g, m)->path, node_now(g), in.seq, in.size);
        return;
    }
    if (size >= path_level_size(PATH_SMALL)) { /* nothing is answered with more than it had */
        struct path_message a = {.type = PATH_ANSWER, .seq = in.seq, .size = (uint16_t)size};
        (void)node_send(g, m, source, CHANNEL_PATH, out, path_put(&a, out, sizeof out));
    }
    if (in.inner_len > 0 && in.inner[0] != CHANNEL_PATH)
        node_deliver(g, (struct seal_peer){m->m.num, m->epoch}, true, in.inner, in.inner_len,
                     source);
}
