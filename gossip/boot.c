/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/boot.h"

#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"

void boot_init(struct boot *b, const struct raft_server *self, uint64_t cluster_hash,
               uint64_t wait_ms, uint64_t seed)
{
    memset(b, 0, sizeof(*b));
    b->self = *self;
    b->cluster_hash = cluster_hash;
    b->wait_ms = wait_ms;
    prng_seed(&b->rng, seed);
}

static int place(const struct raft_config *c, uint64_t num)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->server[i].num == num)
            return (int)i;
    return -1;
}

static bool is_refused(const struct boot *b, uint64_t cluster_id)
{
    for (uint32_t i = 0; i < BOOT_REFUSED; i++)
        if (b->refused[i] == cluster_id)
            return true;
    return false;
}

static void refuse(struct boot *b, uint64_t cluster_id)
{
    if (is_refused(b, cluster_id))
        return;
    b->refused[b->refused_next] = cluster_id;
    b->refused_next = (b->refused_next + 1) % BOOT_REFUSED;
    b->version++;
}

static void let_go(struct boot *b, uint64_t now_ms)
{
    refuse(b, b->cluster_id);
    b->state = BOOT_BLANK;
    b->cluster_id = 0;
    b->mask = 0;
    /* Not all at once again. */
    b->steady_ms = now_ms + prng_below(&b->rng, 1000);
}

static void bind_to(struct boot *b, uint64_t now_ms, const struct boot_msg *m)
{
    int self = place(&m->config, b->self.num);
    ENSURE(self >= 0);
    b->state = BOOT_BOUND;
    b->cluster_id = m->cluster_id;
    b->config = m->config;
    b->config.index = 1;
    b->mask = m->mask | (UINT64_C(1) << self);
    b->bound_ms = now_ms;
    b->send_ms = now_ms;
    b->version++;
}

static bool is_complete(const struct boot *b)
{
    return b->mask == (UINT64_C(1) << b->config.count) - 1;
}

static void put(struct boot_out *out, uint64_t to, const struct boot_msg *m)
{
    if (out->count == RAFT_VOTERS_MAX)
        return;
    out->send[out->count].to = to;
    out->send[out->count++].msg = *m;
}

static void put_bound(const struct boot *b, struct boot_out *out, uint64_t to)
{
    put(out, to,
        &(struct boot_msg){.cluster_id = b->cluster_id, .mask = b->mask, .config = b->config});
}

/* ---- proposing ------------------------------------------------------------------ */

static void propose(struct boot *b, uint64_t now_ms, const struct boot_peer *peers, size_t count,
                    size_t blank)
{
    struct boot_msg m = {0};
    const char *after = "";
    uint32_t wanted = blank >= 20 ? 5 : blank >= 3 ? 3 : (uint32_t)blank;
    while (m.config.count < wanted) { /* the lowest ids, in order */
        const struct boot_peer *next = NULL;
        for (size_t i = 0; i < count; i++)
            if (peers[i].blank && strcmp(peers[i].id, after) > 0 &&
                (next == NULL || strcmp(peers[i].id, next->id) < 0))
                next = &peers[i];
        if (next == NULL)
            return;
        struct raft_server *s = &m.config.server[m.config.count++];
        *s = (struct raft_server){.num = next->num, .disk = next->disk, .voter = true};
        memcpy(s->id, next->id, strnlen(next->id, sizeof(s->id) - 1));
        after = next->id;
    }
    m.cluster_id = hash_mix(b->cluster_hash ^ prng_next(&b->rng)) | 1;
    bind_to(b, now_ms, &m);
}

/* For how long is it waited for those who may be of a cluster, or form one? */
static uint64_t patience_ms(const struct boot_view *view)
{
    bool some = view->missing > 0 && view->missing != BOOT_UNCOUNTED;
    uint64_t ms = some ? BOOT_PATIENCE_MS : 0;
    for (size_t i = 0; i < view->count; i++) {
        if (view->peers[i].mute)
            ms = BOOT_PATIENCE_MS;
        else if (view->peers[i].dead && ms < BOOT_DEAD_MS)
            ms = BOOT_DEAD_MS;
    }
    return ms;
}

static void tick_blank(struct boot *b, uint64_t now_ms, const struct boot_view *view)
{
    size_t blank = 0;
    bool lowest = true, here = false; /* not among them is one that is leaving */
    uint64_t patience = patience_ms(view);
    for (size_t i = 0; i < view->count; i++) {
        const struct boot_peer *p = &view->peers[i];
        blank += p->blank;
        here = here || p->num == b->self.num;
        lowest = lowest && (p->dead || strcmp(b->self.id, p->id) <= 0);
    }
    if (now_ms == 0)
        now_ms = 1;
    if (patience == 0)
        b->lacking_ms = 0;
    else if (b->lacking_ms == 0)
        b->lacking_ms = now_ms;
    if (!view->may || !here || view->expect == 0 || blank < view->expect || b->steady_ms == 0) {
        b->steady_ms = b->lacking_ms = now_ms;
        return;
    }
    bool waited = now_ms >= b->steady_ms + b->wait_ms;
    if (patience > 0)
        waited = waited && now_ms >= b->lacking_ms + patience;
    if (lowest && waited && view->missing != BOOT_UNCOUNTED)
        propose(b, now_ms, view->peers, view->count, blank);
}

/* A chosen server that never answered and is not to be seen: perhaps it does not exist any more.
 * Had it started alone meanwhile, it finds no quorum, and the ids differ. */
static bool has_vanished(const struct boot *b, const struct boot_peer *peers, size_t count)
{
    for (uint32_t i = 0; i < b->config.count; i++) {
        bool seen = (b->mask >> i & 1) != 0;
        for (size_t k = 0; k < count && !seen; k++)
            seen = !peers[k].dead && peers[k].num == b->config.server[i].num &&
                   peers[k].disk == b->config.server[i].disk;
        if (!seen)
            return true;
    }
    return false;
}

void boot_tick(struct boot *b, uint64_t now_ms, const struct boot_view *view, struct boot_out *out)
{
    out->count = 0;
    out->start = false;
    if (b->state == BOOT_BLANK)
        tick_blank(b, now_ms, view);
    if (b->state != BOOT_BOUND || b->version > b->stored)
        return;
    if (b->bound_ms == 0)
        b->bound_ms = now_ms; /* read back from disk: a restart saw nobody yet, patience begins */
    if (is_complete(b)) {
        b->state = BOOT_STARTED;
        out->start = true;
        return;
    }
    if (now_ms >= b->bound_ms + BOOT_PATIENCE_MS && has_vanished(b, view->peers, view->count)) {
        let_go(b, now_ms);
        return;
    }
    if (now_ms < b->send_ms)
        return;
    b->send_ms = now_ms + BOOT_SEND_MS;
    for (uint32_t i = 0; i < b->config.count; i++)
        if (b->config.server[i].num != b->self.num)
            put_bound(b, out, b->config.server[i].num);
}

/* ---- answering ---------------------------------------------------------------------- */

void boot_recv(struct boot *b, uint64_t now_ms, bool may, uint64_t from, const struct boot_msg *m,
               struct boot_out *out)
{
    out->count = 0;
    out->start = false;
    if (m->refused) {
        /* One that was bound and refuses gave somebody up since: the rest may have started. */
        int at = place(&b->config, from);
        if (b->state == BOOT_BOUND && m->cluster_id == b->cluster_id && at >= 0 &&
            (b->mask >> at & 1) == 0)
            let_go(b, now_ms);
        return;
    }
    int self = place(&m->config, b->self.num);
    if (self < 0 || place(&m->config, from) < 0 || m->mask >> m->config.count != 0)
        return;
    bool mine = b->state != BOOT_BLANK && m->cluster_id == b->cluster_id;
    if (mine) {
        if (b->state == BOOT_STARTED)
            put_bound(b, out, from);
        else
            b->mask |= m->mask;
        return;
    }
    /* Its life with the other disk may have been bound, and the rest have started: it has no say,
     * and is given up like one that vanished. */
    if (m->config.server[self].disk != b->self.disk)
        return;
    if (may && b->state == BOOT_BLANK && !is_refused(b, m->cluster_id)) {
        bind_to(b, now_ms, m);
        return;
    }
    refuse(b, m->cluster_id);
    if (b->version == b->stored) /* else the sender's next try finds it on disk */
        put(out, from, &(struct boot_msg){.refused = true, .cluster_id = m->cluster_id});
}

/* ---- bytes ------------------------------------------------------------------------------ */

void boot_stored(struct boot *b, uint64_t version)
{
    ENSURE(version <= b->version);
    b->stored = version;
}

void boot_hear(struct boot *b, uint64_t cluster_id)
{
    b->version += b->heard != cluster_id;
    b->heard = cluster_id;
}

void boot_encode(const struct boot *b, struct wbuf *w)
{
    wbuf_u8(w, 2);
    wbuf_u8(w, (uint8_t)b->state);
    wbuf_u64(w, b->cluster_id);
    for (uint32_t i = 0; i < BOOT_REFUSED; i++)
        wbuf_u64(w, b->refused[i]);
    wbuf_u8(w, (uint8_t)b->refused_next);
    wbuf_u64(w, b->heard);
    if (b->state != BOOT_BLANK)
        raft_config_encode(&b->config, w);
}

int boot_decode(struct boot *b, const void *data, size_t len)
{
    struct rbuf r;
    struct boot to = *b;
    rbuf_init(&r, data, len);
    uint8_t version = rbuf_u8(&r);
    uint8_t state = rbuf_u8(&r);
    to.cluster_id = rbuf_u64(&r);
    for (uint32_t i = 0; i < BOOT_REFUSED; i++)
        to.refused[i] = rbuf_u64(&r);
    to.refused_next = rbuf_u8(&r) % BOOT_REFUSED;
    to.heard = version == 1 ? 0 : rbuf_u64(&r);
    if (r.bad || version < 1 || version > 2 || state > BOOT_STARTED)
        return ERR_MALFORMED;
    to.state = (enum boot_state)state;
    if (to.state != BOOT_BLANK) {
        size_t left = rbuf_left(&r);
        if (raft_config_decode(rbuf_bytes(&r, left), left, &to.config) < 0)
            return ERR_MALFORMED;
        int self = place(&to.config, b->self.num);
        if (self < 0 || to.config.count > RAFT_VOTERS_MAX)
            return ERR_MALFORMED;
        to.config.index = 1;
        to.mask = UINT64_C(1) << self;
    }
    *b = to;
    return 0;
}

void boot_msg_encode(const struct boot_msg *m, struct wbuf *w)
{
    wbuf_u8(w, m->refused);
    wbuf_u64(w, m->cluster_id);
    wbuf_u64(w, m->mask);
    if (!m->refused)
        raft_config_encode(&m->config, w);
}

int boot_msg_decode(struct rbuf *r, struct boot_msg *ret)
{
    memset(ret, 0, sizeof(*ret));
    uint8_t refused = rbuf_u8(r);
    ret->refused = refused == 1;
    ret->cluster_id = rbuf_u64(r);
    ret->mask = rbuf_u64(r);
    if (r->bad || refused > 1 || ret->cluster_id == 0)
        return ERR_MALFORMED;
    if (ret->refused)
        return rbuf_left(r) == 0 ? 0 : ERR_MALFORMED;
    size_t left = rbuf_left(r);
    if (raft_config_decode(rbuf_bytes(r, left), left, &ret->config) < 0)
        return ERR_MALFORMED;
    return ret->config.count <= RAFT_VOTERS_MAX ? 0 : ERR_MALFORMED;
}
