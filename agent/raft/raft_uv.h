/* SPDX-License-Identifier: Apache-2.0
 * Leadership and the replicated intent log: the raft core (gossip/raft.h) and the voter
 * policy (gossip/voters.h), driven on the gossip node (CHANNEL_RAFT) and the store's
 * synced log. It stands here and not in gossip/ because it needs both. Loop thread.
 *
 * Order of effects: step -> persist (one store_log_write) -> send -> apply -> publish;
 * a crash between any two is safe. */
#ifndef BLOX_AGENT_RAFT_UV_H
#define BLOX_AGENT_RAFT_UV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "gossip/node.h"
#include "store/store.h"

struct raft_uv;
enum raft_uv_role { RAFT_UV_FOLLOWER, RAFT_UV_CANDIDATE, RAFT_UV_LEADER, RAFT_UV_OUTSIDE };

/* Rows that applying changed, persisted together with the applied index. */
struct raft_rows {
    const struct store_log_intent *rows; /* valid until the next apply or load */
    size_t count;
};

struct raft_uv_options {
    struct uv_loop_s *loop;
    struct gossip_node *gossip;
    struct store *store;
    const char *cluster; /* goes into the cluster id */
    bool candidate;      /* role = candidate | member */
    unsigned expect;     /* form the first configuration when this many candidates are seen; 0:
                          * when `missing` says that there are no others */
    uint64_t bootstrap_wait_ms; /* ... steadily for so long; 0: 5,000 */
    uint64_t election_ms;       /* 0: 500; see raft_options */
    uint64_t heartbeat_ms;      /* 0: 100 */
    uint64_t seed;
    bool
        auto_recover; /* recover from a lost quorum once prove_gone says that it is gone for good */

    void *arg;
    /* How many agents are said to exist that are no live members here: before the first
     * configuration is proposed they are waited for. BOOT_UNCOUNTED: that is not known, and nothing
     * is proposed. Asked for while there is no cluster; may be NULL if expect is not 0. */
    uint32_t (*missing)(void *arg);
    /* Is the instance of this member gone for good? Answered by raft_uv_gone, or never. NULL:
     * nobody can say. */
    int (*prove_gone)(void *arg, const char *id);
    /* Apply a committed command. Deterministic: the same on every voter. */
    void (*apply)(void *arg, uint64_t index, uint64_t term, const void *data, size_t len,
                  struct raft_rows *ret);
    /* The whole applied intent as bytes, and back. load also yields all rows to persist. */
    int (*snapshot_save)(void *arg, struct buf *out);
    int (*snapshot_load)(void *arg, uint64_t index, uint64_t term, const void *data, size_t len,
                         struct raft_rows *ret);
    /* For raft_uv_recover: the newest version of intent that gossip left here; then take over all
     * that is newer than (term, index) and yield all rows. NULL: cannot recover. */
    int (*newest)(void *arg, uint64_t *ret_term, uint64_t *ret_index);
    int (*merge)(void *arg, uint64_t index, uint64_t term, struct raft_rows *ret);
    /* Role, term or leader changed. RAFT_UV_LEADER comes only once the no-op of the term has been
     * applied, so everything acknowledged before is visible. leader is 0 if none is known. */
    void (*on_role)(void *arg, enum raft_uv_role role, uint64_t term, uint64_t leader);
};

/* Loads hard state, configuration and log; entries after the applied index are applied again once
 * they are known to be committed. */
int raft_uv_create(struct raft_uv **ret, const struct raft_uv_options *options,
                   struct errmsg *e) MUST_CHECK;
void raft_uv_destroy(struct raft_uv *r, void (*done)(void *arg), void *arg);

/* done: 0 after the entry is committed and applied here (apply ran just before), or
 * ERR_NOTLEADER (not accepted), ERR_TIMEOUT (accepted, outcome unknown: leadership was lost).
 * ERR_CONFLICT at once while raft_uv_in_conflict(). */
typedef void (*raft_uv_done_fn)(void *arg, int err, uint64_t index, uint64_t term);
int raft_uv_propose(struct raft_uv *r, const void *data, size_t len, raft_uv_done_fn done,
                    void *arg) MUST_CHECK;

bool raft_uv_is_leader(const struct raft_uv *r);
/* done(0) once all that was acknowledged anywhere before this call is applied here; the same errors
 * as of raft_uv_propose. A no-op through the log: as dear as a write, and as safe. */
int raft_uv_barrier(struct raft_uv *r, raft_uv_done_fn done, void *arg) MUST_CHECK;
/* True while the check-quorum lease holds: the leader may act on the world. */
bool raft_uv_may_act(const struct raft_uv *r);
/* Two clusters of this name met: one will be given up, with what is written to it. out: a sentence
 * that says how. */
bool raft_uv_in_conflict(const struct raft_uv *r, char *out, size_t size);
uint64_t raft_uv_leader(const struct raft_uv *r); /* num, 0: none known (non-voters learn it too) */
uint64_t raft_uv_term(const struct raft_uv *r);
uint64_t raft_uv_applied_index(const struct raft_uv *r);
uint64_t raft_uv_config_index(const struct raft_uv *r); /* of the newest configuration */
/* This agent is about to go (or stays after all): leadership is given away, a spare is promoted,
 * its own vote is taken away. The leader hears of it by hello; call it on every agent. */
void raft_uv_set_leaving(struct raft_uv *r, bool leaving);
/* A member changed (from gossip's on_member). */
void raft_uv_member(struct raft_uv *r, const struct gossip_member *m);
/* A member's process seems to have died (its connection broke). A hint: if it leads, the next
 * election begins as soon as the time-outs allow. */
void raft_uv_suspect(struct raft_uv *r, uint64_t num);
/* Step down in favour of the best other voter; done 0 once another leads. */
int raft_uv_transfer(struct raft_uv *r, void (*done)(void *arg, int err), void *arg) MUST_CHECK;
/* The operator says that a majority of the voters is gone for good: a new cluster of one voter,
 * this agent, with a new id, from the newest of its log and what gossip left. Refused
 * (ERR_CONFLICT, a sentence in e) where there is a leader or, without force, a live majority. */
int raft_uv_recover(struct raft_uv *r, bool force, void (*done)(void *arg, int err), void *arg,
                    struct errmsg *e) MUST_CHECK;
/* The answer to prove_gone. */
void raft_uv_gone(struct raft_uv *r, const char *id, bool gone);
/* A server of a former cluster forgets it and joins the recovered one as a new server; with force,
 * one of two clusters that met, which is given up thereby on all its agents. */
int raft_uv_rejoin(struct raft_uv *r, bool force, void (*done)(void *arg, int err), void *arg,
                   struct errmsg *e) MUST_CHECK;
uint64_t raft_uv_cluster_id(const struct raft_uv *r); /* 0: none known */
/* Is it the id of this cluster, or of one that this one was recovered from? */
bool raft_uv_was(const struct raft_uv *r, uint64_t cluster_id);
/* {"role","term","leader","commit_index","applied_index","last_index","voters":[{"id","match"...}],
 *  "learners":[...],"lease_ms","cluster_id","trouble"} for /v2/leader. New reference. */
json_t *raft_uv_status(const struct raft_uv *r);

#endif
