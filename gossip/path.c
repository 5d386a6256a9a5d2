/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/path.h"

#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/ensure.h"
#include "agent/base/limits.h"

static const uint16_t sizes[PATH_LEVELS] = {
    [PATH_SMALL] = GOSSIP_DATAGRAM_SMALL,
    [PATH_BASE] = GOSSIP_DATAGRAM_BASE,
    [PATH_JUMBO] = GOSSIP_DATAGRAM_MAX,
};

void path_init(struct path *p)
{
    *p = (struct path){.level = PATH_BASE};
}

size_t path_level_size(enum path_level level)
{
    return sizes[level];
}

/* ---- verdicts ---- */

static void try_later(struct path *p, uint64_t now_ms)
{
    p->tries = 0;
    p->raise_ms = now_ms + ((uint64_t)PATH_AGAIN_MS << p->fails);
    if (p->fails < PATH_DOUBLINGS)
        p->fails++;
}

static void fall_below(struct path *p, uint8_t level)
{
    if (p->level < level)
        return;
    p->level = (uint8_t)(level - 1);
    p->proven_ms = 0; /* what else is wrong with this path is not known */
    p->fails = 0;
}

static void look(struct path *p, uint64_t now_ms)
{
    if (!p->open || now_ms < p->due_ms)
        return;
    p->open = false;
    fall_below(p, p->asked);
    p->raise_ms = now_ms;
    if (++p->tries >= PATH_TRIES)
        try_later(p, now_ms);
}

size_t path_size(struct path *p, uint64_t now_ms)
{
    look(p, now_ms);
    return sizes[p->level];
}

/* ---- questions ---- */

enum path_level path_wants(struct path *p, uint64_t now_ms, size_t size, bool again)
{
    look(p, now_ms);
    if (size > sizes[p->level])
        return PATH_SMALL; /* the size fell just now: it does not fit a question of ours */
    bool needed = p->level > PATH_SMALL && size > sizes[p->level - 1];
    bool large = size >= sizes[p->level] / 2u; /* a full one, where messages are of that order */
    if (large && p->owed < PATH_WORTH)
        p->owed += (uint32_t)size;
    bool much = p->owed >= PATH_WORTH;
    if (p->open)
        return PATH_SMALL;
    if (needed && (again || p->proven_ms == 0 || now_ms - p->proven_ms >= PATH_OLD_MS))
        return p->level;
    if (large && p->level < PATH_JUMBO && now_ms >= p->raise_ms && (much || p->tries > 0))
        return p->level + 1;
    return needed && much ? p->level : PATH_SMALL;
}

uint16_t path_ask(struct path *p, uint64_t now_ms, enum path_level level, uint32_t rtt_us)
{
    uint64_t wait_ms = rtt_us / 500;
    p->due_ms = now_ms + (wait_ms > PATH_WAIT_MS ? wait_ms : PATH_WAIT_MS);
    p->asked = (uint8_t)level;
    p->open = true;
    p->owed = 0;
    return ++p->seq;
}

void path_answered(struct path *p, uint64_t now_ms, uint16_t seq, size_t size)
{
    if (p->asked == PATH_SMALL || seq != p->seq || size != sizes[p->asked] || p->asked < p->level)
        return;
    p->open = false;
    p->proven_ms = now_ms;
    p->owed = 0;
    if (p->asked == p->level)
        return;
    p->level = p->asked;
    p->raise_ms = now_ms;
    p->tries = p->fails = 0;
}

void path_refused(struct path *p, uint64_t now_ms, size_t size)
{
    uint8_t level = PATH_BASE;
    while (level < PATH_LEVELS && sizes[level] < size)
        level++;
    if (level == PATH_LEVELS)
        return;
    p->open = false;
    p->asked = PATH_SMALL; /* nothing that may still be answered */
    fall_below(p, level);
    try_later(p, now_ms);
}

/* ---- messages ---- */

size_t path_put(const struct path_message *m, uint8_t *out, size_t len)
{
    struct wbuf w;
    wbuf_init(&w, out, len);
    wbuf_u8(&w, (uint8_t)m->type);
    wbuf_u16(&w, m->seq);
    wbuf_u16(&w, m->type == PATH_ANSWER ? m->size : (uint16_t)m->inner_len);
    if (m->type == PATH_QUESTION) {
        wbuf_bytes(&w, m->inner, m->inner_len);
        memset(out + w.len, 0, len - w.len);
        w.len = len;
    }
    ENSURE(!w.bad);
    return w.len;
}

int path_get(const uint8_t *data, size_t len, struct path_message *ret)
{
    struct rbuf r;
    rbuf_init(&r, data, len);
    *ret = (struct path_message){.type = (enum path_type)rbuf_u8(&r)};
    ret->seq = rbuf_u16(&r);
    uint16_t number = rbuf_u16(&r);
    if (ret->type == PATH_ANSWER) {
        ret->size = number;
    } else if (ret->type == PATH_QUESTION) {
        ret->inner_len = number;
        ret->inner = rbuf_bytes(&r, number);
    } else {
        return ERR_MALFORMED;
    }
    return r.bad ? ERR_MALFORMED : 0;
}
