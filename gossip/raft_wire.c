/* SPDX-License-Identifier: Apache-2.0
 * Raft messages and configurations as bytes; docs/protocol.md draws them. A message brings only
 * the numbers that its type needs: heartbeats go to every voter four times a second and more. */
#include <string.h>

#include "agent/base/ensure.h"
#include "gossip/raft.h"

enum field { INDEX = 1, LOG_TERM = 2, COMMIT = 4, HINT = 8, STAMP = 16 };
enum flag { OK = 16, PRE = 32, FORCE = 64 };

static const struct {
    const char *name;
    uint8_t flags, fields;
} kinds[RAFT_MSG_END] = {
    [0] = {"none", 0, 0},
    [RAFT_VOTE] = {"vote", PRE | FORCE, INDEX | LOG_TERM},
    [RAFT_VOTE_ANSWER] = {"vote-answer", OK | PRE, 0},
    [RAFT_APPEND] = {"append", 0, INDEX | LOG_TERM | COMMIT | STAMP},
    [RAFT_APPEND_ANSWER] = {"append-answer", OK, INDEX | HINT | STAMP},
    [RAFT_SNAPSHOT] = {"snapshot", 0, INDEX | LOG_TERM | STAMP},
    [RAFT_TIMEOUT_NOW] = {"timeout-now", 0, 0},
};

const char *raft_msg_str(uint8_t type)
{
    return type < RAFT_MSG_END ? kinds[type].name : "unknown";
}

const char *raft_role_str(enum raft_role role)
{
    static const char *const names[] = {"follower", "precandidate", "candidate", "leader"};
    ENSURE(role <= RAFT_LEADER);
    return names[role];
}

static size_t varint_size(uint64_t v)
{
    size_t size = 1;
    for (; v >= 0x80; v >>= 7)
        size++;
    return size;
}

#define FIELDS 5u

/* In the order of the fields' bits. */
static uint64_t number(const struct raft_msg *m, unsigned field)
{
    const uint64_t all[FIELDS] = {m->index, m->log_term, m->commit, m->hint, m->stamp};
    return all[field];
}

static bool brings(uint8_t type, unsigned field)
{
    return (kinds[type].fields >> field & 1) != 0;
}

size_t raft_msg_size(const struct raft_msg *m)
{
    size_t size = 17 + varint_size(m->term);
    for (unsigned k = 0; k < FIELDS; k++)
        size += brings(m->type, k) ? varint_size(number(m, k)) : 0;
    if (m->type == RAFT_SNAPSHOT)
        size += m->count;
    for (uint32_t i = 0; m->type == RAFT_APPEND && i < m->count; i++) {
        const struct raft_entry *e = &m->entries[i];
        size += varint_size(e->term) + 1 + varint_size(e->len) + e->len;
    }
    return size;
}

void raft_msg_encode(const struct raft_msg *m, struct wbuf *w)
{
    ENSURE(m->type > 0 && m->type < RAFT_MSG_END);
    wbuf_u8(w, (uint8_t)(m->type | (m->ok ? OK : 0) | (m->pre ? PRE : 0) | (m->force ? FORCE : 0)));
    wbuf_u64(w, m->from_disk);
    wbuf_u64(w, m->to_disk);
    wbuf_varint(w, m->term);
    for (unsigned k = 0; k < FIELDS; k++)
        if (brings(m->type, k))
            wbuf_varint(w, number(m, k));
    if (m->type == RAFT_SNAPSHOT)
        wbuf_bytes(w, m->data, m->count);
    for (uint32_t i = 0; m->type == RAFT_APPEND && i < m->count; i++) {
        const struct raft_entry *e = &m->entries[i];
        ENSURE(e->index == m->index + 1 + i);
        wbuf_varint(w, e->term);
        wbuf_u8(w, e->type);
        wbuf_varint(w, e->len);
        if (e->len > 0)
            wbuf_bytes(w, e->data, e->len);
    }
}

/* Entries run to the end of the message. */
static int decode_entries(struct rbuf *b, struct raft_msg *m, struct raft_entry *entries)
{
    struct raft_config ignored;
    uint64_t term = m->log_term;
    for (; rbuf_left(b) > 0; m->count++) {
        if (m->count == RAFT_BATCH || m->index > UINT64_MAX - RAFT_BATCH)
            return ERR_MALFORMED;
        struct raft_entry *e = &entries[m->count];
        e->index = m->index + 1 + m->count;
        e->term = rbuf_varint(b);
        e->type = rbuf_u8(b);
        uint64_t len = rbuf_varint(b);
        if (b->bad || len > RAFT_ENTRY_MAX || e->type < RAFT_NOOP || e->type > RAFT_CONFIG)
            return ERR_MALFORMED;
        e->len = (uint32_t)len;
        e->data = rbuf_bytes(b, e->len);
        if (b->bad || e->term < term || e->term > m->term)
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
    rbuf_init(&b, data, len);
    uint8_t first = rbuf_u8(&b);
    *ret = (struct raft_msg){.type = first & 15,
                             .ok = (first & OK) != 0,
                             .pre = (first & PRE) != 0,
                             .force = (first & FORCE) != 0};
    if (b.bad || ret->type == 0 || ret->type >= RAFT_MSG_END ||
        (first & ~15u & ~(unsigned)kinds[ret->type].flags) != 0)
        return ERR_MALFORMED;
    uint64_t *const numbers[FIELDS] = {&ret->index, &ret->log_term, &ret->commit, &ret->hint,
                                       &ret->stamp};
    ret->from_disk = rbuf_u64(&b);
    ret->to_disk = rbuf_u64(&b);
    ret->term = rbuf_varint(&b);
    for (unsigned k = 0; k < FIELDS; k++)
        if (brings(ret->type, k))
            *numbers[k] = rbuf_varint(&b);
    if (b.bad || ret->term == 0 || ret->log_term > ret->term)
        return ERR_MALFORMED;
    if (ret->type == RAFT_APPEND && decode_entries(&b, ret, entries) < 0)
        return ERR_MALFORMED;
    if (ret->type == RAFT_SNAPSHOT) {
        if (rbuf_left(&b) == 0 || rbuf_left(&b) > GOSSIP_MESSAGE_MAX)
            return ERR_MALFORMED;
        ret->count = (uint32_t)rbuf_left(&b);
        ret->data = rbuf_bytes(&b, ret->count);
    }
    /* The size as it would be written: so a number has one form only. */
    return !b.bad && rbuf_left(&b) == 0 && raft_msg_size(ret) == len ? 0 : ERR_MALFORMED;
}

/* ---- configurations ----------------------------------------------------------------- */

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

uint32_t raft_config_bytes(const struct raft_config *c, uint8_t bytes[RAFT_CONFIG_BYTES_MAX])
{
    struct wbuf w;
    wbuf_init(&w, bytes, RAFT_CONFIG_BYTES_MAX);
    raft_config_encode(c, &w);
    ENSURE(!w.bad);
    return (uint32_t)w.len;
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
