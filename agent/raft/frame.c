/* SPDX-License-Identifier: Apache-2.0
 * Messages of the core on the wire. Most are heartbeats and their answers, between two that know
 * which cluster and which disks they are of: those travel with a mark of the three ids instead. */
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "agent/raft/raft_uv_int.h"

#define BRIEF_HEAD 5u  /* kind, mark */
#define BRIEF_MAX 128u /* no entries: five numbers at most */
#define DISKS_AT 1u    /* in an encoded message */
#define DISKS_LEN 16u

static uint32_t mark_of(uint64_t cluster_id, uint64_t from_disk, uint64_t to_disk)
{
    return (uint32_t)hash_mix(cluster_id ^ hash_mix(from_disk ^ hash_mix(to_disk)));
}

/* A leader has the disk of whoever it gets an answer from in its configuration; a follower that
 * answered this leader with all of its configuration has the leader's. */
static bool is_brief(const struct raft_uv *r, const struct raft_msg *m)
{
    int i = raft_slot_of(&r->core.config, m->to);
    if (m->type == RAFT_APPEND_ANSWER)
        return m->to == r->core.leader && m->to_disk == r->core.leader_disk;
    return m->type == RAFT_APPEND && m->count == 0 && i >= 0 && r->core.peer[i].stamp != 0 &&
           r->core.peer[i].match >= r->core.config.index && r->core.commit >= r->core.config.index;
}

size_t frame_size(const struct raft_uv *r, const struct raft_msg *m)
{
    size_t size = raft_msg_size(m);
    return is_brief(r, m) ? BRIEF_HEAD + size - DISKS_LEN : FRAME_HEAD + size;
}

void frame_put(const struct raft_uv *r, const struct raft_msg *m, struct wbuf *w)
{
    if (!is_brief(r, m)) {
        wbuf_u8(w, FRAME_RAFT);
        wbuf_u64(w, r->cluster_id);
        raft_msg_encode(m, w);
        return;
    }
    uint8_t bytes[BRIEF_MAX];
    struct wbuf whole;
    wbuf_init(&whole, bytes, sizeof(bytes));
    raft_msg_encode(m, &whole);
    ENSURE(!whole.bad);
    wbuf_u8(w, FRAME_BRIEF);
    wbuf_u32(w, mark_of(r->cluster_id, m->from_disk, m->to_disk));
    wbuf_bytes(w, bytes, DISKS_AT);
    wbuf_bytes(w, bytes + DISKS_AT + DISKS_LEN, whole.len - DISKS_AT - DISKS_LEN);
}

/* The disk on which the sender is, if the mark says so; 0: another. */
static uint64_t disk_of(const struct raft_uv *r, uint64_t from, uint32_t mark)
{
    const struct raft_server *s = raft_find(&r->core.config, from);
    const uint64_t known[] = {s != NULL ? s->disk : 0,
                              from == r->core.leader ? r->core.leader_disk : 0};
    for (size_t i = 0; i < 2; i++)
        if (known[i] != 0 && mark_of(r->cluster_id, known[i], r->disk) == mark)
            return known[i];
    return 0;
}

static int get_brief(const struct raft_uv *r, uint64_t from, struct rbuf *b, struct raft_msg *ret,
                     struct raft_entry *entries)
{
    uint8_t bytes[BRIEF_MAX];
    struct wbuf whole;
    uint64_t disk = disk_of(r, from, rbuf_u32(b));
    size_t len = rbuf_left(b);
    if (disk == 0 || len < DISKS_AT || len > sizeof(bytes) - DISKS_LEN)
        return ERR_MALFORMED;
    wbuf_init(&whole, bytes, sizeof(bytes));
    wbuf_bytes(&whole, rbuf_bytes(b, DISKS_AT), DISKS_AT);
    wbuf_u64(&whole, disk);
    wbuf_u64(&whole, r->disk);
    len = rbuf_left(b);
    wbuf_bytes(&whole, rbuf_bytes(b, len), len);
    if (raft_msg_decode(bytes, whole.len, ret, entries) < 0 || ret->count > 0)
        return ERR_MALFORMED;
    return 0;
}

int frame_get(const struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len,
              uint64_t *ret_cluster, struct raft_msg *ret, struct raft_entry *entries)
{
    struct rbuf b;
    rbuf_init(&b, data, len);
    uint8_t kind = rbuf_u8(&b);
    *ret_cluster = r->cluster_id;
    if (kind == FRAME_BRIEF)
        return get_brief(r, from, &b, ret, entries);
    *ret_cluster = rbuf_u64(&b);
    if (b.bad || kind != FRAME_RAFT)
        return ERR_MALFORMED;
    return raft_msg_decode(data + FRAME_HEAD, len - FRAME_HEAD, ret, entries);
}
