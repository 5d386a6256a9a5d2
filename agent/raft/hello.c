/* SPDX-License-Identifier: Apache-2.0
 * What members tell each other beside raft itself: who leads which cluster, and who has no
 * configuration yet. Small datagrams at a low rate: a member that knows no leader asks a few
 * others; news of a leader is passed on once by each who did not know it. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"
#include "agent/raft/raft_uv_int.h"

#define HELLO_ASK 1u       /* answer me */
#define HELLO_BLANK 2u     /* no configuration and not bound to one */
#define HELLO_CANDIDATE 4u /* may become a voter */
#define HELLO_LEAVING 8u   /* its instance is about to go */
#define HELLO_HOLDS 16u    /* no quorum: what it could recover from follows */
#define HELLO_BYTES_MAX                                                                            \
    (FRAME_HEAD + 1 + 4 * 8 + 2 + RAFT_SERVERS_MAX * 9 + 1 + FORMER_MAX * 8 + 16)
#define BLANK_FRESH_MS 4000u
#define FANOUT 4u   /* skips 1 in 50; one more for each doubling beyond 64: 1 in 60,000 of 5,000 */
#define MET_ASKS 3u /* to a member that is new to one that knows of no cluster, a tick apart */
#define CROWD 50u   /* members that ask a leader once a second; of more each asks any other */
#define CALM_MS 30000u /* after so long all know their leader */
#define CALM_TURNS 4u  /* then every fourth second will do */

struct peer_info *hello_peer(const struct raft_uv *r, const char *id)
{
    return map_get(&r->peers, id);
}

void hello_free(struct raft_uv *r)
{
    const char *key;
    void *value;
    for (size_t i = 0; map_next(&r->peers, &i, &key, &value);)
        free(value);
    map_fini(&r->peers);
}

struct peer_info *hello_remember(struct raft_uv *r, const char *id)
{
    struct peer_info *p = map_get(&r->peers, id);
    if (p != NULL || r->peers.count >= GOSSIP_MEMBERS_MAX)
        return p;
    p = calloc(1, sizeof(*p));
    if (p != NULL && map_put(&r->peers, id, p, NULL) < 0) {
        free(p);
        return NULL;
    }
    return p;
}

static bool is_blank(const struct raft_uv *r)
{
    return r->cluster_id == 0 && r->boot.state == BOOT_BLANK && r->core.config.count == 0;
}

static uint64_t cluster_known(const struct raft_uv *r)
{
    return r->cluster_id != 0 ? r->cluster_id : r->known_cluster;
}

static bool is_crowd(const struct raft_uv *r)
{
    return gossip_count(r->o.gossip) > CROWD;
}

/* ---- sending --------------------------------------------------------------------- */

static void tell(struct raft_uv *r, uint64_t to, bool ask)
{
    uint8_t bytes[HELLO_BYTES_MAX];
    struct wbuf w;
    bool leads = step_is_ready(r);
    uint64_t leader = step_leader(r);
    bool server = step_is_server(r);
    wbuf_init(&w, bytes, sizeof(bytes));
    wbuf_u8(&w, FRAME_HELLO);
    wbuf_u64(&w, cluster_known(r));
    wbuf_u8(&w, (uint8_t)((ask ? HELLO_ASK : 0) | (is_blank(r) ? HELLO_BLANK : 0) |
                          (r->o.candidate ? HELLO_CANDIDATE : 0) |
                          (r->leaving || r->unfit ? HELLO_LEAVING : 0) |
                          (r->lost.since != 0 ? HELLO_HOLDS : 0)));
    wbuf_u64(&w, r->disk);
    wbuf_u64(&w, leader);
    wbuf_u64(&w, leader == 0 ? 0 : server ? r->core.term : r->known_term);
    /* Only a leader speaks for a committed configuration. */
    bool committed = leads && r->core.config.index <= r->core.commit;
    wbuf_u64(&w, committed ? r->core.config.index : 0);
    if (server) {
        wbuf_u8(&w, (uint8_t)r->core.config.count);
        for (uint32_t i = 0; i < r->core.config.count; i++) {
            wbuf_u64(&w, r->core.config.server[i].num);
            wbuf_u8(&w, r->core.config.server[i].voter);
        }
    } else {
        wbuf_u8(&w, (uint8_t)r->known_voter_count);
        for (uint32_t i = 0; i < r->known_voter_count; i++) {
            wbuf_u64(&w, r->known_voters[i]);
            wbuf_u8(&w, 1);
        }
    }
    wbuf_u8(&w, (uint8_t)(r->cluster_id != 0 ? r->former_count : 0));
    for (uint32_t i = 0; r->cluster_id != 0 && i < r->former_count; i++)
        wbuf_u64(&w, r->former[i]);
    if (r->lost.since != 0) {
        wbuf_u64(&w, r->lost.held_term);
        wbuf_u64(&w, r->lost.held_index);
    }
    if (!w.bad)
        (void)gossip_send(r->o.gossip, CHANNEL_RAFT, to, bytes, w.len);
}

void hello_tell(struct raft_uv *r, uint64_t to)
{
    tell(r, to, false);
}

static bool is_live(const struct gossip_member *m)
{
    return m->state == MEMBER_ALIVE || m->state == MEMBER_DEGRADED || m->state == MEMBER_SUSPECT;
}

static void tell_some(struct raft_uv *r, uint32_t how_many, bool ask)
{
    size_t count = gossip_count(r->o.gossip);
    for (uint32_t tries = 0; tries < 4 * how_many && how_many > 0 && count > 1; tries++) {
        const struct gossip_member *m = gossip_at(r->o.gossip, (size_t)prng_below(&r->rng, count));
        if (m == NULL || m->self || !is_live(m))
            continue;
        tell(r, m->num, ask);
        how_many--;
    }
}

void hello_tell_servers(struct raft_uv *r)
{
    uint64_t leader = step_leader(r);
    for (uint32_t i = 0; i < r->core.config.count; i++)
        if (r->core.config.server[i].num != r->self.num)
            tell(r, r->core.config.server[i].num, false);
    if (leader != 0 && leader != r->self.num && raft_find(&r->core.config, leader) == NULL)
        tell(r, leader, false);
}

static uint32_t fanout(const struct raft_uv *r)
{
    uint32_t n = FANOUT;
    for (size_t members = gossip_count(r->o.gossip); members > 64; members /= 2)
        n++;
    return n;
}

void hello_announce(struct raft_uv *r)
{
    tell_some(r, 2 * fanout(r), false);
}

/* ---- receiving ------------------------------------------------------------------------ */

struct hello {
    uint64_t cluster_id, disk, leader, term, config_index, held_term, held_index;
    uint64_t nums[RAFT_SERVERS_MAX], voters[RAFT_SERVERS_MAX], former[FORMER_MAX];
    uint32_t count, voter_count, former_count;
    uint8_t flags;
};

static bool decode(struct hello *h, const uint8_t *data, size_t len)
{
    struct rbuf b;
    *h = (struct hello){0};
    rbuf_init(&b, data, len);
    (void)rbuf_u8(&b);
    h->cluster_id = rbuf_u64(&b);
    h->flags = rbuf_u8(&b);
    h->disk = rbuf_u64(&b);
    h->leader = rbuf_u64(&b);
    h->term = rbuf_u64(&b);
    h->config_index = rbuf_u64(&b);
    h->count = rbuf_u8(&b);
    if (b.bad || h->count > RAFT_SERVERS_MAX)
        return false;
    for (uint32_t i = 0; i < h->count; i++) {
        h->nums[i] = rbuf_u64(&b);
        if (rbuf_u8(&b) == 1)
            h->voters[h->voter_count++] = h->nums[i];
    }
    h->former_count = rbuf_left(&b) > 0 ? rbuf_u8(&b) : 0;
    if (h->former_count > FORMER_MAX)
        return false;
    for (uint32_t i = 0; i < h->former_count; i++)
        h->former[i] = rbuf_u64(&b);
    if ((h->flags & HELLO_HOLDS) != 0) {
        h->held_term = rbuf_u64(&b);
        h->held_index = rbuf_u64(&b);
    }
    return !b.bad;
}

/* Is it a server of the configuration that the hello tells? */
static bool lists(const struct hello *h, uint64_t num)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (h->nums[i] == num)
            return true;
    return false;
}

static void meet_other_cluster(struct raft_uv *r, uint64_t from, uint64_t cluster_id)
{
    const struct gossip_member *m = gossip_find(r->o.gossip, from);
    uint64_t now_ms = clock_mono_ms();
    if (!step_in_conflict(r, now_ms))
        LOG(LOG_ERROR, "raft_two_clusters",
            "two clusters of the same name met; neither leader acts until one is gone",
            LS("member", m == NULL ? "?" : m->id));
    r->conflict_id = cluster_id;
    r->conflict_ms = now_ms;
    if (m != NULL)
        memcpy(r->conflict_with, m->id, sizeof(r->conflict_with));
}

/* An agent of no cluster may have heard of a recovered one and not yet whose recovery it is: those
 * who are of it say so. */
static void ask_those_named(struct raft_uv *r, uint64_t from, const struct hello *h)
{
    if (h->leader != 0 && h->leader != from && h->leader != r->self.num)
        tell(r, h->leader, true);
    for (uint32_t i = 0; i < h->count; i++)
        if (h->nums[i] != h->leader && h->nums[i] != from && h->nums[i] != r->self.num)
            tell(r, h->nums[i], true);
}

/* Members of another cluster: one of the two may be the recovery of the other. */
static void meet(struct raft_uv *r, uint64_t from, const struct hello *h)
{
    bool superseded = false;
    for (uint32_t i = 0; i < h->former_count; i++)
        superseded = superseded || h->former[i] == r->cluster_id;
    if (superseded)
        recover_superseded(r, h->cluster_id);
    else if (recover_is_former(r, h->cluster_id))
        tell(r, from, false);
    else if (r->superseded == 0 && !lists(h, from))
        ask_those_named(r, from, h);
    else if (r->superseded == 0)
        meet_other_cluster(r, from, h->cluster_id);
}

static void learn_leader(struct raft_uv *r, uint64_t cluster_id, uint64_t leader, uint64_t term)
{
    uint64_t now_ms = clock_mono_ms();
    const struct gossip_member *m = gossip_find(r->o.gossip, leader);
    if (leader == 0 || term < r->known_term)
        return;
    if (term == r->known_term && m != NULL && !m->self && !is_live(m))
        return; /* it led, and is dead: who says so has not heard that */
    bool news = leader != r->known_leader || term > r->known_term;
    r->known_cluster = cluster_id;
    r->known_leader = leader;
    r->known_term = term;
    r->known_ms = now_ms;
    if (!news || step_is_server(r))
        return;
    r->asked_leader = r->met_leader = 0;
    /* A candidate makes itself known to the leader, not all of them at once. */
    r->refresh_at = now_ms + prng_below(&r->rng, gossip_count(r->o.gossip) > 100 ? 5000 : 500);
    tell_some(r, fanout(r), false);
}

/* An agent outside hears that the cluster it knew of was recovered: who led and voted there, and is
 * gone, is nothing to recover from once more. */
static void learn_former(struct raft_uv *r, uint64_t by, const uint64_t *former, uint32_t count)
{
    if (r->cluster_id == 0 || by == r->cluster_id)
        recover_learn_former(r, former, count);
    if (r->known_cluster == 0 || !recover_is_former(r, r->known_cluster))
        return;
    r->known_cluster = by;
    r->known_leader = 0;
    r->known_voter_count = 0;
    r->lost = (struct lost){0};
}

/* Does the leader say that this server, as it takes itself for, is none? What made it one may be in
 * no leader's log any more: an entry of an earlier term, whatever its index, that a leader sent out
 * before it was deposed. One that came back without its log and heard of itself as the leader has
 * no configuration to tell. */
static bool is_left_out(const struct raft_uv *r, uint64_t from, const struct hello *h)
{
    uint64_t made_by = raft_term_of(&r->core, r->core.config.index);
    return h->leader == from && h->count > 0 && r->core.config.count > 0 &&
           !lists(h, r->self.num) &&
           (h->config_index > r->core.config.index || (made_by != 0 && h->term > made_by));
}

static void learn_cluster(struct raft_uv *r, uint64_t from, const struct hello *h)
{
    learn_former(r, h->cluster_id, h->former, h->former_count);
    /* A cluster without a leader is one, too: none is formed beside it. */
    if (r->known_cluster == 0)
        r->known_cluster = h->cluster_id;
    learn_leader(r, h->cluster_id, h->leader, h->term);
    if (h->voter_count > 0) {
        memcpy(r->known_voters, h->voters, sizeof(h->voters));
        r->known_voter_count = h->voter_count;
    }
    if (is_left_out(r, from, h) && r->cluster_id == h->cluster_id && step_is_server(r))
        step(r, &(struct raft_input){.type = RAFT_RETIRE});
}

static void on_boot_stored(void *arg, int err)
{
    struct raft_uv *r = arg;
    r->boot_writing = false;
    if (err == 0)
        boot_stored(&r->boot, r->boot.stored + 1);
    raft_uv_op_done(r);
}

/* One write at a time; what changed meanwhile makes another. */
static void store_boot(struct raft_uv *r)
{
    uint8_t bytes[BOOT_BYTES_MAX];
    struct wbuf w;
    if (r->boot_writing || r->boot.version == r->boot.stored)
        return;
    wbuf_init(&w, bytes, sizeof(bytes));
    boot_encode(&r->boot, &w);
    r->boot.stored = r->boot.version - 1; /* this write brings all versions up to now */
    r->boot_writing = store_fact_put(r->o.store, "raft.boot", bytes, w.len, on_boot_stored, r) == 0;
    r->store_ops += r->boot_writing;
}

static void remember_cluster(struct raft_uv *r)
{
    if (!r->o.candidate || r->starting || r->cluster_id != 0)
        return;
    boot_hear(&r->boot, r->known_cluster);
    store_boot(r);
}

/* What thousands say that ask each other who leads is kept by the leader alone: it may need one of
 * them as a voter. */
static bool is_small_talk(const struct raft_uv *r, const struct hello *h)
{
    return is_crowd(r) && cluster_known(r) != 0 && r->core.role != RAFT_LEADER &&
           (h->flags & (HELLO_BLANK | HELLO_LEAVING | HELLO_HOLDS)) == 0;
}

void hello_recv(struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len)
{
    struct hello h;
    struct peer_info unkept = {0};
    const struct gossip_member *m = gossip_find(r->o.gossip, from);
    if (!decode(&h, data, len) || m == NULL)
        return;
    struct peer_info *p = hello_peer(r, m->id);
    if (p == NULL)
        p = is_small_talk(r, &h) ? &unkept : hello_remember(r, m->id);
    if (p == NULL)
        return;
    bool leaving = (h.flags & HELLO_LEAVING) != 0;
    if (p->leaving != leaving)
        r->pilot_at = 0;
    if (p->leaving != leaving || p->disk != h.disk || p->cluster_id != h.cluster_id)
        pilot_news(r);
    if (from == r->asked_leader)
        r->met_leader = from;
    *p = (struct peer_info){.num = from,
                            .disk = h.disk,
                            .cluster_id = h.cluster_id,
                            .heard_ms = clock_mono_ms(),
                            .blank = (h.flags & HELLO_BLANK) != 0 && h.cluster_id == 0,
                            .candidate = (h.flags & HELLO_CANDIDATE) != 0,
                            .leaving = leaving,
                            .holds = (h.flags & HELLO_HOLDS) != 0,
                            .held_term = h.held_term,
                            .held_index = h.held_index,
                            .round = p->round,
                            .asked_ms = p->asked_ms};
    if (h.cluster_id != 0 && r->cluster_id != 0 && h.cluster_id != r->cluster_id)
        meet(r, from, &h);
    else if (recover_is_former(r, h.cluster_id))
        tell(r, from, false); /* an agent that heard of no newer one yet */
    else if (h.cluster_id != 0)
        learn_cluster(r, from, &h);
    if ((h.flags & HELLO_ASK) != 0)
        tell(r, from, false);
    remember_cluster(r);
    raft_uv_publish(r);
}

/* ---- bootstrap ------------------------------------------------------------------------- */

static void send_boot(struct raft_uv *r, const struct boot_out *out)
{
    uint8_t bytes[FRAME_HEAD + 32 + RAFT_CONFIG_BYTES_MAX];
    for (uint32_t i = 0; i < out->count; i++) {
        struct wbuf w;
        wbuf_init(&w, bytes, sizeof(bytes));
        wbuf_u8(&w, FRAME_BOOT);
        wbuf_u64(&w, r->cluster_hash);
        boot_msg_encode(&out->send[i].msg, &w);
        if (!w.bad)
            (void)gossip_send(r->o.gossip, CHANNEL_RAFT, out->send[i].to, bytes, w.len);
    }
}

void hello_boot_recv(struct raft_uv *r, uint64_t from, const uint8_t *data, size_t len)
{
    struct rbuf b;
    struct boot_msg m;
    struct boot_out out;
    rbuf_init(&b, data, len);
    (void)rbuf_u8(&b);
    if (rbuf_u64(&b) != r->cluster_hash || boot_msg_decode(&b, &m) < 0 || !r->o.candidate)
        return;
    if (r->starting || r->boot_writing)
        return; /* it asks again */
    boot_recv(&r->boot, clock_mono_ms(), r->known_cluster == 0, from, &m, &out);
    send_boot(r, &out);
    store_boot(r);
}

static void boot_time(struct raft_uv *r, uint64_t now_ms)
{
    static struct boot_peer peers[GOSSIP_MEMBERS_MAX];
    struct boot_out out;
    size_t count = 0;
    if (!r->o.candidate || r->starting || r->cluster_id != 0)
        return;
    remember_cluster(r);
    for (size_t i = 0; i < gossip_count(r->o.gossip); i++) {
        const struct gossip_member *m = gossip_at(r->o.gossip, i);
        const struct peer_info *p = hello_peer(r, m->id);
        /* One that left, and had not said that it is of none, may be of a cluster, and be back. */
        bool gone = m->state == MEMBER_LEFT && (m->self || (p != NULL && p->blank));
        if (gone || (m->meta->role != 0 && !m->self) || count == GOSSIP_MEMBERS_MAX)
            continue;
        bool live = m->self || is_live(m);
        bool fresh = live && p != NULL && now_ms < p->heard_ms + BLANK_FRESH_MS;
        bool blank = m->self || (fresh && p->blank);
        peers[count++] = (struct boot_peer){.num = m->num,
                                            .disk = m->self ? r->disk
                                                    : fresh ? p->disk
                                                            : 0,
                                            .id = m->id,
                                            .blank = blank,
                                            .mute = live && !blank,
                                            .dead = !live};
    }
    bool counted = r->o.expect != 0; /* by who wrote the configuration */
    r->missing = counted ? 0 : r->o.missing(r->o.arg);
    boot_tick(&r->boot, now_ms,
              &(struct boot_view){.peers = peers,
                                  .count = count,
                                  .expect = counted ? r->o.expect : 1,
                                  .may = r->known_cluster == 0,
                                  .missing = r->missing},
              &out);
    send_boot(r, &out);
    store_boot(r);
    if (out.start)
        step_start_cluster(r);
}

/* ---- time ----------------------------------------------------------------------------------- */

static bool is_lowest(const struct raft_uv *r)
{
    for (size_t i = 0; i < gossip_count(r->o.gossip); i++) {
        const struct gossip_member *m = gossip_at(r->o.gossip, i);
        if (is_live(m) && m->meta->role == 0 && strcmp(m->id, r->self.id) < 0)
            return false;
    }
    return true;
}

void hello_voters(const struct raft_uv *r, struct raft_config *ret)
{
    *ret = (struct raft_config){0};
    if (step_is_server(r)) {
        *ret = r->core.config;
        return;
    }
    for (uint32_t i = 0; i < r->known_voter_count; i++) {
        struct raft_server *s = &ret->server[ret->count++];
        const struct gossip_member *m = gossip_find(r->o.gossip, r->known_voters[i]);
        *s = (struct raft_server){.num = r->known_voters[i], .voter = true};
        if (m != NULL)
            memcpy(s->id, m->id, sizeof(s->id));
    }
}

void hello_ask_candidates(struct raft_uv *r)
{
    for (size_t i = 0; i < gossip_count(r->o.gossip); i++) {
        const struct gossip_member *m = gossip_at(r->o.gossip, i);
        if (!m->self && is_live(m))
            tell(r, m->num, true);
    }
}

/* Who leads is news that is spread when it changes, and gossip tells who died, so this only mends
 * what both missed. A candidate makes itself known to the leader; thousands then ask each other,
 * for the leader would do little else than answer them. */
static void ask_for_leader(struct raft_uv *r, uint64_t now_ms)
{
    bool unknown = r->known_leader == 0 || now_ms >= r->known_ms + LEADER_STALE_MS;
    if (unknown) {
        tell_some(r, 2, true);
        if (r->known_voter_count > 0)
            tell(r, r->known_voters[prng_below(&r->rng, r->known_voter_count)], true);
    } else if (now_ms >= r->refresh_at) {
        if (is_crowd(r) && r->met_leader == r->known_leader) {
            tell_some(r, 1, true);
        } else {
            r->asked_leader = r->known_leader;
            tell(r, r->known_leader, true);
        }
        r->refresh_at = now_ms + LEADER_STALE_MS / 3 + prng_below(&r->rng, LEADER_STALE_MS / 3);
    }
}

/* A server that hears no leader may have been removed, or the leader may know it by a former disk:
 * only a leader can say so, or see it. */
static void ask_as_server(struct raft_uv *r)
{
    tell_some(r, 1, true);
    if (r->known_leader != 0 && r->known_leader != r->self.num)
        tell(r, r->known_leader, true);
}

uint64_t hello_asks_at(const struct raft_uv *r)
{
    if (r->boot.state == BOOT_BOUND)
        return 0; /* a voter of the leader's that does not know yet that all are bound */
    uint64_t unknown_at = r->known_ms + LEADER_STALE_MS;
    return r->refresh_at < unknown_at ? r->refresh_at : unknown_at;
}

static bool is_my_turn(struct raft_uv *r, uint64_t now_ms)
{
    bool calm = now_ms >= r->core.lead_ms + CALM_MS;
    return !calm || r->hello_turn++ % CALM_TURNS == 0;
}

/* More than once: the first time it may not know this agent yet, and then it does not answer. */
static void ask_met(struct raft_uv *r)
{
    for (uint32_t i = 0; i < MET_MAX; i++) {
        if (r->met[i].asks == 0)
            continue;
        r->met[i].asks--;
        if (cluster_known(r) == 0)
            tell(r, r->met[i].num, true);
    }
}

void hello_met(struct raft_uv *r, uint64_t num)
{
    uint32_t i = 0;
    while (i < MET_MAX && r->met[i].asks != 0)
        i++;
    if (!r->o.candidate || i == MET_MAX || cluster_known(r) != 0)
        return;
    r->met[i].num = num;
    r->met[i].asks = MET_ASKS - 1;
    tell(r, num, true);
}

void hello_tick(struct raft_uv *r, uint64_t now_ms)
{
    boot_time(r, now_ms);
    ask_met(r);
    if (now_ms < r->hello_at)
        return;
    r->hello_at = now_ms + 1000;
    bool leaving = r->leaving || r->unfit;
    if (leaving != r->leaving_told) {
        r->leaving_told = leaving;
        r->tell_until_ms = now_ms + 10000;
    }
    if ((leaving && step_is_server(r)) || now_ms < r->tell_until_ms)
        hello_tell_servers(r); /* datagrams get lost, leaders change */
    const struct gossip_member *leader =
        r->known_leader == 0 ? NULL : gossip_find(r->o.gossip, r->known_leader);
    if (leader != NULL && !is_live(leader))
        r->known_leader = 0;
    if (is_blank(r) && r->known_cluster == 0 && r->o.candidate && is_lowest(r))
        hello_ask_candidates(r);
    else if (step_is_ready(r) && is_my_turn(r, now_ms))
        tell_some(r, 2, false); /* and so clusters that grew apart notice */
    else if (step_in_conflict(r, now_ms))
        tell_some(r, 2, false);
    else if (!step_is_server(r))
        ask_for_leader(r, now_ms);
    else if (r->core.leader == 0)
        ask_as_server(r);
}
