/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/raft_config.h"

#include <string.h>

#include "agent/base/ensure.h"

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

bool raft_votes_in(const struct raft_config *c, uint64_t num, uint64_t disk)
{
    const struct raft_server *s = raft_find(c, num);
    return s != NULL && s->voter && s->disk == disk;
}

uint64_t raft_quorum(const struct raft_config *c, const uint64_t value[RAFT_SERVERS_MAX])
{
    uint64_t sorted[RAFT_SERVERS_MAX]; /* greatest first */
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!c->server[i].voter)
            continue;
        uint32_t at = n++;
        for (; at > 0 && sorted[at - 1] < value[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = value[i];
    }
    return n == 0 ? 0 : sorted[n / 2];
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
    if (change == RAFT_REMOVE) {
        ret->count--;
        memmove(&ret->server[i], &ret->server[i + 1],
                (ret->count - (uint32_t)i) * sizeof(ret->server[0]));
    } else {
        if (from->server[i].voter == (change == RAFT_PROMOTE))
            return ERR_EXISTS;
        ret->server[i].voter = change == RAFT_PROMOTE;
    }
    return raft_voter_count(ret) == 0 ? ERR_BADPARAM : 0;
}

/* ---- bytes: docs/protocol.md ------------------------------------------------------ */

void raft_config_encode(const struct raft_config *c, struct wbuf *w)
{
    ENSURE(c->count <= RAFT_SERVERS_MAX);
    wbuf_u8(w, 1); /* version */
    wbuf_u8(w, (uint8_t)c->count);
    for (uint32_t i = 0; i < c->count; i++) {
        const struct raft_server *s = &c->server[i];
        size_t len = strnlen(s->id, sizeof(s->id));
        wbuf_u64(w, s->num);
        wbuf_u64(w, s->disk);
        wbuf_u8(w, s->voter);
        wbuf_u8(w, (uint8_t)len);
        wbuf_bytes(w, s->id, len);
    }
}

int raft_config_decode(const void *data, size_t len, struct raft_config *ret)
{
    struct rbuf b;
    rbuf_init(&b, data, len);
    memset(ret, 0, sizeof(*ret));
    uint8_t version = rbuf_u8(&b);
    ret->count = rbuf_u8(&b);
    if (b.bad || version != 1 || ret->count > RAFT_SERVERS_MAX)
        return ERR_MALFORMED;
    for (uint32_t i = 0; i < ret->count; i++) {
        struct raft_server *s = &ret->server[i];
        s->num = rbuf_u64(&b);
        s->disk = rbuf_u64(&b);
        uint8_t voter = rbuf_u8(&b);
        uint8_t id_len = rbuf_u8(&b);
        const uint8_t *id = rbuf_bytes(&b, id_len);
        if (b.bad || s->num == 0 || voter > 1 || id_len >= sizeof(s->id) ||
            (id_len > 0 && memchr(id, 0, id_len) != NULL))
            return ERR_MALFORMED;
        s->voter = voter == 1;
        if (id_len > 0)
            memcpy(s->id, id, id_len);
        for (uint32_t k = 0; k < i; k++)
            if (ret->server[k].num == s->num)
                return ERR_MALFORMED;
    }
    return rbuf_left(&b) == 0 && raft_voter_count(ret) > 0 ? 0 : ERR_MALFORMED;
}
