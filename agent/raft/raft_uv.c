/* SPDX-License-Identifier: Apache-2.0
 * Leadership on the loop: one timer, the raft channel of gossip, start and end, status. */
#include "agent/raft/raft_uv.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"
#include "agent/raft/raft_uv_int.h"

#define TRANSFER_TIMEOUT_MS 3000u
#define DISK_PATIENCE_MS 2000u /* so long a leader bears a disk that takes no writes */
#define DISK_UNFIT_MS 5000u    /* after that it may be replaced as a voter */
#define ROOM_PATIENCE_MS                                                                           \
    300000u /* between two times that it hands over for want of room for rows */

_Static_assert(ARENA_BYTES >= 4 * RAFT_ENTRY_MAX, "the window holds a few of the largest entries");

/* ---- handing over --------------------------------------------------------------------- */

/* The voter that has most of the log, of those that answer and are not to go, by its place in the
 * configuration; -1: none. */
static int furthest(const struct raft_uv *r)
{
    const struct raft *core = &r->core;
    int best = -1;
    for (uint32_t i = 0; i < core->config.count; i++) {
        const struct raft_server *s = &core->config.server[i];
        const struct peer_info *p = hello_peer(r, s->id);
        bool answers = core->now_ms <= core->peer[i].stamp + core->election_ms;
        if (!s->voter || s->num == core->self || !answers || (p != NULL && p->leaving))
            continue;
        if (best < 0 || core->peer[i].match > core->peer[best].match)
            best = (int)i;
    }
    return best;
}

/* Nothing is applied, acknowledged, taken in or started by a leader whose disk refuses writes, or
 * lets one hang that others have long finished: after a while another leads. Without its log this
 * one gets no vote, not even its own. Where only rows find no room it could be elected again, and
 * all disks may be alike: such a leader hands over seldom. */
static void leave_bad_disk(struct raft_uv *r, uint64_t now_ms, bool hangs)
{
    const struct raft *core = &r->core;
    int to = furthest(r);
    bool log = r->disk_err < 0 || (hangs && to >= 0 && core->peer[to].match > core->saved.last);
    if (to < 0 || now_ms < r->hand_over_at || (!log && store_health(r->o.store) == 0))
        return;
    r->hand_over_at = now_ms + (log ? DISK_PATIENCE_MS : ROOM_PATIENCE_MS);
    LOG(LOG_WARN, "raft_transfer", "the leader's disk takes no writes",
        LS("to", core->config.server[to].id));
    step(r, &(struct raft_input){.type = RAFT_TRANSFER, .num = core->config.server[to].num});
}

static void look_at_disk(struct raft_uv *r, uint64_t now_ms)
{
    bool hangs = r->core.writing && now_ms > r->write_ms + DISK_PATIENCE_MS;
    bool log = r->disk_err < 0 || hangs;
    if (!log)
        r->bad_log_ms = 0;
    else if (r->bad_log_ms == 0)
        r->bad_log_ms = now_ms;
    if (!log && store_health(r->o.store) == 0)
        r->bad_disk_ms = 0;
    else if (r->bad_disk_ms == 0)
        r->bad_disk_ms = now_ms;
    bool unfit = log && now_ms >= r->bad_log_ms + DISK_UNFIT_MS;
    if (r->unfit != unfit) {
        r->unfit = unfit;
        hello_tell_servers(r);
    }
    if (r->bad_disk_ms != 0 && now_ms >= r->bad_disk_ms + DISK_PATIENCE_MS &&
        r->core.role == RAFT_LEADER)
        leave_bad_disk(r, now_ms, hangs);
}

/* ---- time ---------------------------------------------------------------------------- */

static void finish_transfer(struct raft_uv *r, int err)
{
    void (*done)(void *arg, int e) = r->transfer_done;
    r->transfer_done = NULL;
    r->transfer_until_ms = 0;
    if (done != NULL)
        done(r->transfer_arg, err);
}

/* Nothing is left to the tick that it should do soon. */
static bool rests(const struct raft_uv *r, uint64_t now_ms)
{
    const struct raft *core = &r->core;
    bool stored = core->hard == core->saved.hard && core->log.last_index == core->saved.last &&
                  !raft_is_restoring(core) && r->batch.index == 0 && !r->rewrite;
    bool fit = r->disk_err == 0 && r->bad_log_ms == 0 && r->bad_disk_ms == 0;
    bool leads = core->role == RAFT_LEADER;
    if (r->starting || r->boot_writing || r->superseded != 0 || step_in_conflict(r, now_ms) ||
        r->held_first != NULL || r->snapshot_index != 0)
        return false;
    if (!step_is_server(r))
        return r->known_leader != 0;
    return core->leader != 0 && stored && fit && r->waiter_count == 0 &&
           r->transfer_until_ms == 0 && r->lost.since == 0 &&
           (!leads || (r->pilot_at != 0 && r->wish.since == 0));
}

/* At rest an agent outside, knowing the leader, has nothing to look at until it asks for it again;
 * a server looks seldom, and when it is awake for a heartbeat (REST_LATE_MS). */
static uint64_t next_tick(const struct raft_uv *r, uint64_t now_ms)
{
    uint64_t at = step_is_server(r) ? now_ms + REST_TICK_MS : hello_asks_at(r);
    return rests(r, now_ms) && at > now_ms + TICK_MS ? at : now_ms + TICK_MS;
}

static void tick(struct raft_uv *r, uint64_t now_ms)
{
    if (now_ms < r->tick_at || r->closing || r->quiet != QUIET_NO)
        return;
    step_flush(r);
    hello_tick(r, now_ms);
    pilot_tick(r, now_ms);
    auto_tick(r, now_ms);
    look_at_disk(r, now_ms);
    r->tick_at = next_tick(r, now_ms);
    if (r->transfer_until_ms != 0 && now_ms >= r->transfer_until_ms)
        finish_transfer(r, ERR_TIMEOUT);
    if (r->snapshot_index != 0 && now_ms > r->snapshot_used_ms + 30000) {
        buf_fini(&r->snapshot_out);
        r->snapshot_index = 0;
    }
    raft_uv_publish(r);
    raft_uv_arm(r);
}

static void on_timer(uv_timer_t *timer)
{
    struct raft_uv *r = timer->data;
    uint64_t now_ms = clock_mono_ms();
    if (now_ms >= r->core.due_ms && r->superseded == 0)
        step(r, &(struct raft_input){.type = RAFT_TICK});
    if (r->apply_at != 0 && now_ms >= r->apply_at)
        step_apply(r);
    tick(r, now_ms);
    raft_uv_arm(r); /* nothing while another is to end first: armed again then */
}

void raft_uv_arm(struct raft_uv *r)
{
    uint64_t now_ms = clock_mono_ms(), due = r->core.due_ms;
    if (r->closing || r->quiet != QUIET_NO)
        return;
    if (next_tick(r, now_ms) < r->tick_at)
        r->tick_at = next_tick(r, now_ms); /* it rests no longer */
    uint64_t late_ms = step_is_server(r) && rests(r, now_ms) ? REST_LATE_MS : 0;
    if (r->superseded != 0 || r->tick_at + late_ms < due) /* superseded: the core rests */
        due = r->tick_at + late_ms;
    if (r->apply_at != 0 && r->apply_at < due)
        due = r->apply_at;
    uv_update_time(r->o.loop);
    (void)uv_timer_start(r->timer, on_timer, due > now_ms ? due - now_ms : 0, 0);
}

/* ---- roles ------------------------------------------------------------------------------ */

static enum raft_uv_role role_now(const struct raft_uv *r)
{
    if (!step_is_server(r))
        return RAFT_UV_OUTSIDE;
    if (r->core.role == RAFT_LEADER)
        return step_is_ready(r) ? RAFT_UV_LEADER : RAFT_UV_CANDIDATE;
    return r->core.role == RAFT_FOLLOWER ? RAFT_UV_FOLLOWER : RAFT_UV_CANDIDATE;
}

void raft_uv_publish(struct raft_uv *r)
{
    enum raft_uv_role role = role_now(r);
    uint64_t term = raft_uv_term(r), leader = step_leader(r);
    if (r->closing)
        return;
    if ((r->core.role != RAFT_LEADER || r->superseded != 0) && r->waiter_count > 0)
        step_fail_waiters(r, ERR_TIMEOUT);
    if (r->told && role == r->role_told && term == r->term_told && leader == r->leader_told)
        return;
    bool leads_now = role == RAFT_UV_LEADER && (r->role_told != role || r->term_told != term);
    r->told = true;
    r->role_told = role;
    r->term_told = term;
    r->leader_told = leader;
    gossip_hold(r->o.gossip, step_is_server(r) ? leader : 0);
    if (r->transfer_until_ms != 0 && leader != 0 && leader != r->self.num)
        finish_transfer(r, 0);
    if (leads_now)
        hello_announce(r);
    if (r->o.on_role != NULL)
        r->o.on_role(r->o.arg, role, term, leader);
}

/* ---- the channel ---------------------------------------------------------------------------- */

/* A server that has no configuration yet is taken in by the first leader that calls it by its
 * disk. That it belongs to that cluster goes to disk with the first thing that it keeps of it. */
static bool join_cluster(struct raft_uv *r, uint64_t cluster_id, const struct raft_msg *m)
{
    bool invites = m->type == RAFT_APPEND || m->type == RAFT_SNAPSHOT;
    if (!r->o.candidate || cluster_id == 0 || !invites || m->to_disk != r->disk ||
        r->boot.state == BOOT_BOUND || r->starting)
        return false;
    r->cluster_id = cluster_id;
    r->cluster_unsaved = true;
    r->boot.state = BOOT_STARTED; /* and it refuses every proposal */
    r->boot.cluster_id = cluster_id;
    return true;
}

static void on_message(void *arg, uint64_t from, const uint8_t *data, size_t len)
{
    struct raft_uv *r = arg;
    struct raft_entry entries[RAFT_BATCH];
    struct raft_msg m;
    struct rbuf b;
    if (r->closing || r->quiet != QUIET_NO)
        return;
    rbuf_init(&b, data, len);
    uint8_t kind = rbuf_u8(&b);
    uint64_t cluster_id;
    if (kind == FRAME_HELLO) {
        hello_recv(r, from, data, len);
        raft_uv_arm(r);
        return;
    }
    if (kind == FRAME_BOOT) {
        hello_boot_recv(r, from, data, len);
        return;
    }
    if (kind == FRAME_WORD) {
        word_recv(r, from, data, len, clock_mono_ms());
        return;
    }
    if (frame_get(r, from, data, len, &cluster_id, &m, entries) < 0)
        return;
    m.from = from; /* gossip proved it */
    m.to = r->self.num;
    if (r->cluster_id == 0 && !join_cluster(r, cluster_id, &m))
        return;
    if (cluster_id == r->cluster_id && r->superseded == 0)
        step(r, &(struct raft_input){.type = RAFT_RECV, .msg = &m});
    tick(r, clock_mono_ms());
}

/* ---- start and end ---------------------------------------------------------------- */

static int load_entry(void *arg, const struct store_log_entry *entry)
{
    struct raft_uv *r = arg;
    struct raft_entry e = {.index = entry->index,
                           .term = entry->term,
                           .type = entry->type,
                           .len = entry->len,
                           .data = entry->data};
    return raft_restore_entry(&r->core, &e);
}

/* 0 and *ret_len 0 if there is none. */
static int read_fact(struct raft_uv *r, const char *name, void *out, size_t cap, size_t *ret_len)
{
    int err = store_fact_get(r->o.store, name, out, cap, ret_len);
    if (err == ERR_NOTFOUND)
        *ret_len = 0;
    return err == ERR_NOTFOUND ? 0 : err;
}

static int load_identity(struct raft_uv *r)
{
    size_t len = 0;
    int err = read_fact(r, "raft.disk", &r->disk, sizeof(r->disk), &len);
    if (err < 0)
        return err;
    if (len != sizeof(r->disk) || r->disk == 0) {
        struct store_fact facts[] = {{"raft.disk", &r->disk, 8}, {"raft.self", &r->self.num, 8}};
        struct store_log_write w = {.facts = facts, .fact_count = 2};
        r->disk = prng_next(&r->rng) | 1;
        err = store_log_write(r->o.store, &w, NULL, NULL);
    }
    if (err == 0)
        err = read_fact(r, "raft.cluster", &r->cluster_id, sizeof(r->cluster_id), &len);
    return err;
}

const struct store_fact *raft_uv_first_facts(struct raft_uv *r, const uint64_t *cluster_id)
{
    r->first_facts[0] = (struct store_fact){"raft.cluster", cluster_id, 8};
    r->first_facts[1] = (struct store_fact){"raft.disk", &r->disk, 8};
    r->first_facts[2] = (struct store_fact){"raft.self", &r->self.num, 8};
    return r->first_facts;
}

/* A directory that was copied from another host, in an image for instance, or of an agent that had
 * another id, holds another server's log: it is given up before anything is heard or said. */
static int load_owner(struct raft_uv *r)
{
    uint64_t owner = 0;
    size_t len = 0;
    int err = read_fact(r, "raft.self", &owner, sizeof(owner), &len);
    r->foreign = err == 0 && len == sizeof(owner) && owner != r->self.num;
    return err;
}

static int load_boot(struct raft_uv *r)
{
    uint8_t bytes[BOOT_BYTES_MAX];
    size_t len = 0;
    boot_init(&r->boot, &r->self, r->cluster_hash, r->o.bootstrap_wait_ms, prng_next(&r->rng));
    if (r->foreign)
        return 0;
    int err = read_fact(r, "raft.boot", bytes, sizeof(bytes), &len);
    if (err == 0 && len > 0)
        err = boot_decode(&r->boot, bytes, len);
    if (err == 0 && r->cluster_id == 0)
        r->known_cluster = r->boot.heard;
    if (err < 0 || r->cluster_id == 0)
        return err;
    if (r->core.config.count == 0 && r->boot.state == BOOT_BOUND &&
        r->boot.cluster_id == r->cluster_id) {
        r->cluster_id = 0; /* stopped between the fact and the first write of the log */
        return 0;
    }
    if (r->boot.cluster_id == r->cluster_id && r->boot.config.count > 0)
        r->boot.mask = (UINT64_C(1) << r->boot.config.count) - 1;
    r->boot.state = BOOT_STARTED;
    r->boot.cluster_id = r->cluster_id;
    return 0;
}

static int load(struct raft_uv *r, struct errmsg *e)
{
    struct store_log_state disk;
    struct raft_config config;
    uint8_t bytes[8 + RAFT_CONFIG_BYTES_MAX];
    size_t len = 0;
    int err = load_owner(r);
    if (err == 0)
        err = load_identity(r);
    if (err == 0)
        err = store_log_load(r->o.store, &disk);
    if (err == 0)
        err = store_log_config(r->o.store, bytes, sizeof(bytes), &len);
    if (err < 0)
        return errmsg_set(e, err, "the raft log could not be read: %s", err_text(err));
    if (len > 0) {
        struct rbuf b;
        rbuf_init(&b, bytes, len);
        uint64_t index = rbuf_u64(&b);
        if (b.bad || raft_config_decode(bytes + 8, len - 8, &config) < 0)
            return errmsg_set(e, ERR_CORRUPT, "the raft configuration on disk is damaged");
        config.index = index;
    }
    step_core_init(r, &disk, len > 0 ? &config : NULL);
    if (disk.last_index > disk.base_index)
        err = store_log_read(r->o.store, disk.base_index + 1, disk.last_index, load_entry, r);
    if (err == 0 && r->core.log.last_index < disk.applied_index)
        err = ERR_CORRUPT;
    if (err == 0)
        err = load_boot(r);
    if (err == 0)
        err = recover_load(r);
    if (err == 0)
        err = word_load(r);
    if (err < 0)
        return errmsg_set(e, err, "the raft log is damaged: %s", err_text(err));
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct raft_uv *r = handle->data;
    free(handle);
    r->timer = NULL;
    r->store_ops++;
    raft_uv_op_done(r);
}

static void release_all(struct raft_uv *r)
{
    while (r->held_first != NULL) {
        struct held *next = r->held_first->next;
        free(r->held_first);
        r->held_first = next;
    }
    hello_free(r);
    buf_fini(&r->snapshot_out);
    buf_fini(&r->batch.bytes);
    free(r->arena);
    free(r->out);
    free(r);
}

/* A write of the store came back; the last one after destroy lets go of the memory. */
void raft_uv_op_done(struct raft_uv *r)
{
    ENSURE(r->store_ops > 0);
    r->store_ops--;
    if (r->store_ops == 0 && !r->closing)
        recover_run(r);
    if (!r->closing || r->store_ops > 0 || r->timer != NULL)
        return;
    void (*done)(void *arg) = r->destroyed;
    void *arg = r->destroyed_arg;
    release_all(r);
    if (done != NULL)
        done(arg);
}

int raft_uv_create(struct raft_uv **ret, const struct raft_uv_options *options, struct errmsg *e)
{
    const struct gossip_member *self = gossip_find(options->gossip, gossip_self(options->gossip));
    struct raft_uv *r = calloc(1, sizeof(*r));
    uv_timer_t *timer = calloc(1, sizeof(*timer));
    ENSURE(self != NULL);
    if (r == NULL || timer == NULL)
        goto no_memory;
    r->o = *options;
    r->o.election_ms = options->election_ms == 0 ? 500 : options->election_ms;
    r->o.heartbeat_ms = options->heartbeat_ms == 0 ? 100 : options->heartbeat_ms;
    r->o.bootstrap_wait_ms = options->bootstrap_wait_ms == 0 ? 5000 : options->bootstrap_wait_ms;
    if (r->o.election_ms <= 2 * r->o.heartbeat_ms) {
        free(timer);
        free(r);
        return errmsg_set(e, ERR_CONFIG, "raft election_ms must be more than twice heartbeat_ms");
    }
    r->arena = malloc(ARENA_BYTES);
    r->out = malloc(sizeof(*r->out));
    if (r->arena == NULL || r->out == NULL)
        goto no_memory;
    step_metrics();
    prng_seed(&r->rng, options->seed);
    r->held_last = &r->held_first;
    r->cluster_hash = hash_str(options->cluster);
    r->self.num = self->num;
    memcpy(r->self.id, self->id, sizeof(r->self.id));
    map_init(&r->peers);
    buf_init(&r->snapshot_out, SNAPSHOT_BYTES_MAX);
    buf_init(&r->batch.bytes, PENDING_BYTES_MAX);
    int err = load(r, e);
    if (err == 0)
        err = uv_timer_init(options->loop, timer) == 0 ? 0 : ERR_INTERNAL;
    if (err < 0) {
        free(timer);
        release_all(r);
        return err;
    }
    r->self.disk = r->boot.self.disk = r->disk;
    timer->data = r;
    r->timer = timer;
    gossip_on(options->gossip, CHANNEL_RAFT, on_message, r);
    raft_uv_arm(r);
    if (r->foreign)
        recover_foreign(r);
    *ret = r;
    return 0;
no_memory:
    if (r != NULL) {
        free(r->arena);
        free(r->out);
    }
    free(r);
    free(timer);
    return errmsg_set(e, ERR_NOMEM, "no memory for the raft log");
}

void raft_uv_destroy(struct raft_uv *r, void (*done)(void *arg), void *arg)
{
    ENSURE(!r->closing);
    step_fail_waiters(r, ERR_CANCELED);
    if (r->transfer_until_ms != 0)
        finish_transfer(r, ERR_CANCELED);
    r->apply_at = 0;
    step_flush(r); /* rows that wait for company: a start knows them before it hears a leader */
    r->closing = true;
    r->destroyed = done;
    r->destroyed_arg = arg;
    gossip_on(r->o.gossip, CHANNEL_RAFT, NULL, NULL);
    uv_timer_stop(r->timer);
    uv_close((uv_handle_t *)r->timer, on_closed);
}

/* ---- requests ------------------------------------------------------------------------------- */

int raft_uv_propose(struct raft_uv *r, const void *data, size_t len, raft_uv_done_fn done,
                    void *arg)
{
    uint64_t index = 0, start_ns = clock_mono_ns();
    if (!raft_uv_is_leader(r))
        return ERR_NOTLEADER;
    if (len > 0 && step_in_conflict(r, clock_mono_ms()))
        return ERR_CONFLICT; /* it could be lost when one of the two is given up */
    if (len > RAFT_COMMAND_MAX)
        return ERR_TOOBIG;
    if (r->waiter_count == WAITERS_MAX)
        return ERR_BUSY;
    size_t at = (r->waiter_first + r->waiter_count) % WAITERS_MAX;
    int err = step_propose(r, data, len, &index);
    if (err < 0)
        return err;
    r->waiter[at] = (struct waiter){.index = index,
                                    .term = r->core.term,
                                    .start_ns = start_ns,
                                    .read = len == 0,
                                    .done = done,
                                    .arg = arg};
    r->waiter_count++;
    return 0;
}

int raft_uv_barrier(struct raft_uv *r, raft_uv_done_fn done, void *arg)
{
    return raft_uv_propose(r, NULL, 0, done, arg);
}

uint64_t raft_uv_cluster_id(const struct raft_uv *r)
{
    return r->cluster_id != 0 ? r->cluster_id : r->known_cluster;
}

bool raft_uv_was(const struct raft_uv *r, uint64_t cluster_id)
{
    return cluster_id != 0 &&
           (cluster_id == raft_uv_cluster_id(r) || recover_is_former(r, cluster_id));
}

bool raft_uv_is_leader(const struct raft_uv *r)
{
    return step_is_ready(r);
}

bool raft_uv_may_act(const struct raft_uv *r)
{
    uint64_t now_ms = clock_mono_ms();
    return step_is_ready(r) && raft_lease(&r->core, now_ms) && !step_in_conflict(r, now_ms);
}

uint64_t raft_uv_leader(const struct raft_uv *r)
{
    return step_leader(r);
}

uint64_t raft_uv_applied_index(const struct raft_uv *r)
{
    return r->applied;
}

uint64_t raft_uv_config_index(const struct raft_uv *r)
{
    return r->core.config.index;
}

uint64_t raft_uv_term(const struct raft_uv *r)
{
    return step_is_server(r) || r->known_term < r->core.term ? r->core.term : r->known_term;
}

void raft_uv_member(struct raft_uv *r, const struct gossip_member *m)
{
    pilot_news(r);
    if (m->state == MEMBER_LEFT || m->state == MEMBER_FAILED) {
        raft_uv_suspect(r, m->num);
        r->pilot_at = 0; /* a voter that left is replaced before its silence costs the quorum */
        if (m->num == r->known_leader)
            r->known_leader = 0;
    }
    if (r->closing)
        return;
    raft_uv_arm(r); /* if the leader went */
    /* One that comes back may still be of the cluster before the recovery: it hears so before it
     * can be elected. */
    if (m->state == MEMBER_ALIVE && !m->self && r->cluster_id != 0 && r->former_count > 0)
        hello_tell(r, m->num);
    if (m->state == MEMBER_ALIVE && !m->self)
        hello_met(r, m->num);
    pilot_tick(r, clock_mono_ms());
}

void raft_uv_suspect(struct raft_uv *r, uint64_t num)
{
    if (!r->closing)
        step(r, &(struct raft_input){.type = RAFT_SUSPECT, .num = num});
}

int raft_uv_transfer(struct raft_uv *r, void (*done)(void *arg, int err), void *arg)
{
    if (r->core.role != RAFT_LEADER || r->quiet != QUIET_NO || r->superseded != 0)
        return ERR_NOTLEADER;
    if (r->transfer_until_ms != 0)
        return ERR_BUSY;
    int to = furthest(r);
    if (to < 0)
        return ERR_NOTFOUND;
    r->transfer_done = done;
    r->transfer_arg = arg;
    r->transfer_until_ms = clock_mono_ms() + TRANSFER_TIMEOUT_MS;
    uint64_t num = r->core.config.server[to].num;
    step(r, &(struct raft_input){.type = RAFT_TRANSFER, .num = num});
    return 0;
}
