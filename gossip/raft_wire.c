/* SPDX-License-Identifier: Apache-2.0
 * Raft messages and configurations as bytes; docs/protocol.md draws them. */
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/raft.h"

const char *raft_msg_str(uint8_t type)
{
    static const char *const names[RAFT_MSG_END] = {
        "none",          "prevote",  "prevote-answer",  "vote",       "vote-answer", "append",
        "append-answer", "snapshot", "snapshot-answer", "timeout-now"};
    return type < RAFT_MSG_END ? names[type] : "unknown";
}

const char *raft_role_str(enum raft_role role)
{
    static const char *const names[] = {"follower", "precandidate", "candidate", "leader"};
    ENSURE(role <= RAFT_LEADER);
    return names[role];
}

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

#define HEAD_BYTES (2u + 12u * 8u + 4u)

size_t raft_msg_size(const struct raft_msg *m)
{
    size_t size = HEAD_BYTES;
    if (m->type == RAFT_SNAPSHOT)
        return size + m->count;
    for (uint32_t i = 0; m->type == RAFT_APPEND && i < m->count; i++)
        size += 13 + m->entries[i].len;
    return size;
}

void raft_msg_encode(const struct raft_msg *m, struct wbuf *w)
{
    ENSURE(m->type > 0 && m->type < RAFT_MSG_END);
    wbuf_u8(w, m->type);
    wbuf_u8(w, (uint8_t)((m->ok ? 1 : 0) | (m->force ? 2 : 0)));
    const uint64_t head[12] = {m->from, m->to,    m->from_disk, m->to_disk,
                               m->term, m->index, m->log_term,  m->commit,
                               m->hint, m->stamp, m->offset,    m->total};
    for (size_t i = 0; i < 12; i++)
        wbuf_u64(w, head[i]);
    bool carries = m->type == RAFT_APPEND || m->type == RAFT_SNAPSHOT;
    wbuf_u32(w, carries ? m->count : 0);
    if (m->type == RAFT_SNAPSHOT)
        wbuf_bytes(w, m->data, m->count);
    for (uint32_t i = 0; m->type == RAFT_APPEND && i < m->count; i++) {
        const struct raft_entry *e = &m->entries[i];
        ENSURE(e->index == m->index + 1 + i);
        wbuf_u64(w, e->term);
        wbuf_u8(w, e->type);
        wbuf_u32(w, e->len);
        if (e->len > 0)
            wbuf_bytes(w, e->data, e->len);
    }
}

static int decode_entries(struct rbuf *b, struct raft_msg *m, struct raft_entry *entries)
{
    struct raft_config ignored;
    if (m->count > RAFT_BATCH || m->index > UINT64_MAX - RAFT_BATCH)
        return ERR_MALFORMED;
    uint64_t term = m->log_term;
    for (uint32_t i = 0; i < m->count; i++) {
        struct raft_entry *e = &entries[i];
        e->index = m->index + 1 + i;
        e->term = rbuf_u64(b);
        e->type = rbuf_u8(b);
        e->len = rbuf_u32(b);
        e->data = rbuf_bytes(b, e->len);
        if (b->bad || e->len > RAFT_ENTRY_MAX || e->type < RAFT_NOOP || e->type > RAFT_CONFIG)
            return ERR_MALFORMED;
        if (e->term < term || e->term > m->term)
            return ERR_MALFORMED;
        if (e->type == RAFT_CONFIG && raft_config_decode(e->data, e->len, &ignored) < 0)
            return ERR_MALFORMED;
        term = e->term;
    }
    m->entries = entries;
    return 0;
}

int raft_msg_decode(const void *data, size_t len, struct raft_msg *ret, struct raft_entry *entries)
{
    struct rbuf b;
    uint64_t head[12];
    rbuf_init(&b, data, len);
    uint8_t type = rbuf_u8(&b);
    uint8_t flags = rbuf_u8(&b);
    for (size_t i = 0; i < 12; i++)
        head[i] = rbuf_u64(&b);
    *ret = (struct raft_msg){.type = type,
                             .ok = (flags & 1) != 0,
                             .force = (flags & 2) != 0,
                             .from = head[0],
                             .to = head[1],
                             .from_disk = head[2],
                             .to_disk = head[3],
                             .term = head[4],
                             .index = head[5],
                             .log_term = head[6],
                             .commit = head[7],
                             .hint = head[8],
                             .stamp = head[9],
                             .offset = head[10],
                             .total = head[11],
                             .count = rbuf_u32(&b)};
    if (b.bad || type == 0 || type >= RAFT_MSG_END || flags > 3 || ret->from == 0 || ret->to == 0)
        return ERR_MALFORMED;
    if (ret->term == 0 || ret->log_term > ret->term || ret->offset > ret->total)
        return ERR_MALFORMED;
    if (type == RAFT_APPEND) {
        int err = decode_entries(&b, ret, entries);
        if (err < 0)
            return err;
    } else if (type == RAFT_SNAPSHOT) {
        if (ret->total > GOSSIP_MESSAGE_MAX || ret->count > ret->total - ret->offset)
            return ERR_MALFORMED;
        ret->data = rbuf_bytes(&b, ret->count);
    } else if (ret->count != 0) {
        return ERR_MALFORMED;
    }
    return b.bad || rbuf_left(&b) != 0 ? ERR_MALFORMED : 0;
}
