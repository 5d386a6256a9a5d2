/* SPDX-License-Identifier: Apache-2.0
 * What raft itself must never do: to go on without a majority. An operator says that the other
 * voters are gone for good; this agent then starts a new cluster, with a new id, from what it
 * knows. Servers of the former cluster that come back after all see an id that names theirs as
 * its predecessor, and stop: they neither lead nor vote again. (docs/consensus.md) */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"
#include "agent/raft/raft_uv_int.h"

/* Terms and entries of the former cluster that nobody here heard of stay below the new ones: a
 * server that held them and rejoins takes a snapshot only above what it has applied. */
#define TERM_MARGIN 1000u
#define INDEX_MARGIN (UINT64_C(1) << 32)

bool recover_is_former(const struct raft_uv *r, uint64_t cluster_id)
{
    for (uint32_t i = 0; i < r->former_count; i++)
        if (r->former[i] == cluster_id)
            return true;
    return false;
}

static int store_former(struct raft_uv *r)
{
    return store_fact_put(r->o.store, "raft.former", r->former,
                          r->former_count * sizeof(r->former[0]), NULL, NULL);
}

static void add_former(struct raft_uv *r, uint64_t cluster_id)
{
    if (cluster_id == 0 || cluster_id == r->cluster_id || recover_is_former(r, cluster_id))
        return;
    if (r->former_count == FORMER_MAX) {
        memmove(r->former, r->former + 1, (FORMER_MAX - 1) * sizeof(r->former[0]));
        r->former_count--;
    }
    r->former[r->former_count++] = cluster_id;
}

void recover_learn_former(struct raft_uv *r, const uint64_t *ids, uint32_t count)
{
    uint32_t before = r->former_count;
    for (uint32_t i = 0; i < count; i++)
        add_former(r, ids[i]);
    if (r->former_count != before && store_former(r) != 0)
        LOG_MSG(LOG_WARN, "raft_former", "the ids of former clusters could not be saved");
}

int recover_load(struct raft_uv *r)
{
    size_t len = 0;
    int err = store_fact_get(r->o.store, "raft.former", r->former, sizeof(r->former), &len);
    r->former_count = err == 0 ? (uint32_t)(len / sizeof(r->former[0])) : 0;
    if (err != 0 && err != ERR_NOTFOUND)
        return err;
    err =
        store_fact_get(r->o.store, "raft.superseded", &r->superseded, sizeof(r->superseded), &len);
    if (err != 0 || len != sizeof(r->superseded))
        r->superseded = 0;
    return err == ERR_NOTFOUND ? 0 : err;
}

/* ---- no step is taken and nothing is under way ------------------------------------------ */

static void forget_messages(struct raft_uv *r)
{
    while (r->held_first != NULL) {
        struct held *next = r->held_first->next;
        free(r->held_first);
        r->held_first = next;
    }
    r->held_last = &r->held_first;
    r->held_count = 0;
    r->snapshot_index = 0;
    buf_fini(&r->snapshot_out);
    buf_clear(&r->batch.bytes);
    r->batch.count = 0;
    r->batch.index = 0;
    r->batch.config_changed = false;
    r->rewrite = false;
    r->snapshot_rows = (struct raft_rows){0};
}

static void begin(struct raft_uv *r, enum quiet quiet, void (*done)(void *arg, int err), void *arg)
{
    step_fail_waiters(r, ERR_TIMEOUT);
    r->quiet = quiet;
    r->quiet_done = done;
    r->quiet_arg = arg;
    r->store_ops++; /* as if a write had come back: if none is under way it begins at once */
    raft_uv_op_done(r);
}

static void finish(struct raft_uv *r, int err)
{
    void (*done)(void *arg, int e) = r->quiet_done;
    void *arg = r->quiet_arg;
    r->quiet_done = NULL;
    if (err == 0) {
        r->quiet = QUIET_NO;
        r->conflict_ms = 0;
        r->hello_at = r->pilot_at = 0;
        raft_uv_publish(r);
        hello_announce(r);
        raft_uv_arm(r);
    } else {
        /* What was applied in memory is not on disk: stay silent until the process starts again
         * from the disk. */
        r->disk_err = err;
        LOG(LOG_ERROR, "raft_recover", "could not be written; restart this agent and try again",
            LS("error", err_text(err)));
    }
    if (done != NULL)
        done(arg, err);
}

/* ---- recover ------------------------------------------------------------------------------ */

static void on_recovered(void *arg, int err)
{
    struct raft_uv *r = arg;
    if (err == 0 && !r->closing) {
        struct store_log_state disk = {.term = r->applied_term,
                                       .base_index = r->applied,
                                       .base_term = r->applied_term,
                                       .applied_index = r->applied,
                                       .applied_term = r->applied_term};
        struct raft_config config = r->applied_config;
        step_core_init(r, &disk, &config);
        LOG(LOG_WARN, "raft_recover", "this agent starts the cluster anew, alone",
            LU("index", r->applied), LU("term", r->applied_term));
    }
    if (!r->closing)
        finish(r, err);
    raft_uv_op_done(r);
}

/* Entries that were not known to be committed may have been acknowledged elsewhere. They count
 * unless there are rows of a later term: then a later leader may have replaced them. */
static void apply_rest(struct raft_uv *r, uint64_t newest_term)
{
    for (uint64_t k = r->applied + 1; k <= r->core.log.last_index; k++) {
        struct raft_entry e;
        struct raft_rows rows = {0};
        if (!raft_entry_get(&r->core, k, &e))
            return;
        if (k > r->core.commit && e.term < newest_term)
            return;
        if (e.type == RAFT_COMMAND)
            r->o.apply(r->o.arg, e.index, e.term, e.data, e.len, &rows);
        r->applied = k;
        r->applied_term = e.term;
    }
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int write_recovered(struct raft_uv *r, const struct raft_rows *rows)
{
    uint8_t config[RAFT_CONFIG_BYTES_MAX + 8];
    struct wbuf b;
    wbuf_init(&b, config, sizeof(config));
    wbuf_u64(&b, r->applied_config.index);
    raft_config_encode(&r->applied_config, &b);
    /* Together: of the old id with the new configuration a second leader could come. */
    uint64_t none = 0;
    struct store_fact facts[] = {{"raft.former", r->former, r->former_count * sizeof(r->former[0])},
                                 {"raft.superseded", &none, 8},
                                 {"raft.cluster", &r->cluster_id, 8}};
    struct store_log_write w = {.set_hard_state = true,
                                .term = r->applied_term,
                                .truncate_from = 1,
                                .replace_intent = true,
                                .intent = rows->rows,
                                .intent_count = rows->count,
                                .applied_index = r->applied,
                                .applied_term = r->applied_term,
                                .compact_to = r->applied,
                                .base_term = r->applied_term,
                                .config = config,
                                .config_len = b.len,
                                .facts = facts,
                                .fact_count = sizeof(facts) / sizeof(facts[0])};
    int err = store_log_write(r->o.store, &w, on_recovered, r);
    r->store_ops += err == 0;
    return err;
}

static void recover_now(struct raft_uv *r)
{
    uint64_t newest_term = 0, newest_index = 0;
    struct raft_rows rows = {0};
    forget_messages(r);
    int err = r->o.newest(r->o.arg, &newest_term, &newest_index);
    if (err == 0) {
        apply_rest(r, newest_term);
        err = r->o.merge(r->o.arg, r->applied, r->applied_term, &rows);
    }
    if (err == 0) {
        uint64_t term = larger(larger(r->core.term, r->known_term), newest_term) + TERM_MARGIN;
        uint64_t index =
            larger(larger(r->core.log.last_index, newest_index), r->applied) + INDEX_MARGIN;
        uint64_t old = r->cluster_id != 0 ? r->cluster_id : r->known_cluster;
        uint64_t id = hash_mix(old ^ hash_mix(term ^ hash_mix(r->disk ^ prng_next(&r->rng)))) | 1;
        r->cluster_id = id;
        add_former(r, old);
        r->superseded = 0;
        r->applied = r->applied_disk = index;
        r->applied_term = term;
        r->applied_config = (struct raft_config){.index = index, .count = 1};
        r->applied_config.server[0] = r->self;
        r->applied_config.server[0].voter = true;
        r->boot.state = BOOT_STARTED; /* it refuses proposals */
        r->boot.cluster_id = id;
        r->known_cluster = r->known_leader = 0;
        r->known_voter_count = 0;
        err = write_recovered(r, &rows);
    }
    if (err != 0)
        finish(r, err);
}

/* ---- rejoin -------------------------------------------------------------------------------- */

static void on_blank(void *arg, int err)
{
    struct raft_uv *r = arg;
    struct store_log_state disk;
    if (err == 0)
        err = store_log_load(r->o.store, &disk);
    if (err == 0 && !r->closing) {
        disk.base_index = disk.applied_index; /* its entries are of no use */
        disk.base_term = disk.applied_term;
        step_core_init(r, &disk, NULL);
        r->applied_config = (struct raft_config){0};
        LOG_MSG(LOG_INFO, "raft_rejoin", "this agent forgot its former cluster and joins anew");
    }
    if (!r->closing)
        finish(r, err);
    raft_uv_op_done(r);
}

/* The log stays until the new leader's snapshot replaces it; but it is nobody's log any more: no
 * configuration, no cluster, another disk. */
static void blank_now(struct raft_uv *r)
{
    uint8_t bytes[BOOT_BYTES_MAX];
    struct wbuf w;
    uint64_t none = 0;
    uint64_t given_up = r->superseded == 0 && r->conflict_ms != 0 ? r->cluster_id : 0;
    forget_messages(r);
    r->cluster_id = r->superseded = 0;
    if (given_up != 0) { /* nor is it learned again from those that are still of it */
        r->known_cluster = r->conflict_id;
        r->known_term = 0;
        add_former(r, given_up);
    }
    /* Whom the former cluster lost is nothing to recover from any more. */
    r->known_leader = 0;
    r->known_voter_count = 0;
    r->lost = (struct lost){0};
    r->disk = r->self.disk = prng_next(&r->rng) | 1;
    boot_init(&r->boot, &r->self, r->cluster_hash, r->o.bootstrap_wait_ms, prng_next(&r->rng));
    wbuf_init(&w, bytes, sizeof(bytes));
    boot_encode(&r->boot, &w);
    struct store_fact facts[] = {{"raft.disk", &r->disk, 8},
                                 {"raft.boot", bytes, w.len},
                                 {"raft.former", r->former, r->former_count * sizeof(r->former[0])},
                                 {"raft.cluster", &none, 8},
                                 {"raft.superseded", &none, 8},
                                 {"raft.self", &r->self.num, 8}};
    struct store_log_write wipe = {.truncate_from = r->core.log.applied + 1,
                                   .config = "",
                                   .facts = facts,
                                   .fact_count = sizeof(facts) / sizeof(facts[0])};
    int err = store_log_write(r->o.store, &wipe, on_blank, r);
    r->store_ops += err == 0;
    if (err != 0)
        finish(r, err);
}

void recover_run(struct raft_uv *r)
{
    if (r->quiet == QUIET_RECOVER) {
        r->quiet = QUIET_WRITING;
        recover_now(r);
    } else if (r->quiet == QUIET_REJOIN) {
        r->quiet = QUIET_WRITING;
        blank_now(r);
    }
}

/* ---- being superseded ------------------------------------------------------------------------ */

void recover_superseded(struct raft_uv *r, uint64_t by)
{
    if (r->quiet != QUIET_NO || r->superseded != 0 || r->starting)
        return;
    LOG_MSG(LOG_ERROR, "raft_superseded",
            "this agent's cluster was recovered elsewhere under a new id; it stops voting here");
    r->known_cluster = by;
    /* One that never decided anything has nothing to look at. */
    if (!raft_votes(&r->core, &r->core.config)) {
        begin(r, QUIET_REJOIN, NULL, NULL);
        return;
    }
    r->superseded = by;
    if (store_fact_put(r->o.store, "raft.superseded", &by, 8, NULL, NULL) != 0)
        LOG_MSG(LOG_WARN, "raft_superseded", "not saved; the next hello says it again");
    step_fail_waiters(r, ERR_TIMEOUT);
    forget_messages(r);
    raft_uv_publish(r);
}

void recover_foreign(struct raft_uv *r)
{
    LOG_MSG(LOG_WARN, "raft_foreign",
            "agent.data_dir is a copy of another agent's, or this one's id was another; "
            "its raft log is given up");
    begin(r, QUIET_REJOIN, NULL, NULL);
}

/* ---- the operator's requests ------------------------------------------------------ */

static uint32_t live_voters(const struct raft_uv *r, uint32_t *ret_all)
{
    bool server = r->core.config.count > 0;
    uint32_t all = server ? r->core.config.count : r->known_voter_count, live = 0;
    *ret_all = 0;
    for (uint32_t i = 0; i < all; i++) {
        uint64_t num = server ? r->core.config.server[i].num : r->known_voters[i];
        if (server && !r->core.config.server[i].voter)
            continue;
        const struct gossip_member *m = gossip_find(r->o.gossip, num);
        (*ret_all)++;
        live += m != NULL && (m->self || m->state <= MEMBER_SUSPECT);
    }
    return live;
}

static int refuse_busy(const struct raft_uv *r, struct errmsg *e)
{
    if (r->closing)
        return errmsg_set(e, ERR_CLOSED, "this agent is stopping");
    if (r->quiet != QUIET_NO || r->starting)
        return errmsg_set(e, ERR_BUSY, "this agent's raft state is being written; try again");
    return 0;
}

int raft_uv_recover(struct raft_uv *r, bool force, void (*done)(void *arg, int err), void *arg,
                    struct errmsg *e)
{
    uint32_t all = 0, live = live_voters(r, &all);
    int err = refuse_busy(r, e);
    if (err != 0)
        return err;
    if (!r->o.candidate || r->o.newest == NULL || r->o.merge == NULL)
        return errmsg_set(e, ERR_CONFLICT,
                          "this agent may not vote (role = member): recover on a candidate");
    if (r->core.role == RAFT_LEADER || step_leader(r) != 0)
        return errmsg_set(e, ERR_CONFLICT, "there is a leader: nothing is to be recovered");
    if (r->superseded != 0)
        return errmsg_set(e, ERR_CONFLICT,
                          "this agent's cluster was recovered elsewhere already; use: "
                          "blox raft rejoin");
    if (all > 0 && live > all / 2 && !force)
        return errmsg_set(e, ERR_CONFLICT,
                          "%u of %u voters are alive, a majority: they will elect a leader. "
                          "If they cannot, stop them for good and try again",
                          live, all);
    const char *bound = word_bound_to(r);
    if (bound != NULL && !force)
        return errmsg_set(e, ERR_CONFLICT,
                          "this agent gave its word to %s, which recovers by itself "
                          "(raft.auto_recover); if it is gone for good, use --force",
                          bound);
    if (r->cluster_id == 0 && r->known_cluster == 0 && !force)
        return errmsg_set(e, ERR_CONFLICT,
                          "this agent was in no cluster yet; wait until one is formed, or use "
                          "--force if its voters are gone for good");
    begin(r, QUIET_RECOVER, done, arg);
    return 0;
}

int raft_uv_rejoin(struct raft_uv *r, bool force, void (*done)(void *arg, int err), void *arg,
                   struct errmsg *e)
{
    int err = refuse_busy(r, e);
    if (err != 0)
        return err;
    bool conflict = step_in_conflict(r, clock_mono_ms());
    if (r->superseded == 0 && !force)
        return errmsg_set(e, ERR_CONFLICT,
                          conflict
                              ? "two clusters met; to give this one up, use --force on each of "
                                "its agents"
                              : "this agent's raft state is not known to be of a former "
                                "cluster; nothing was changed");
    if (r->core.role == RAFT_LEADER && r->superseded == 0 && !conflict)
        return errmsg_set(e, ERR_CONFLICT, "this agent leads: nothing was changed");
    begin(r, QUIET_REJOIN, done, arg);
    return 0;
}
