/* SPDX-License-Identifier: Apache-2.0
 * What leadership looks like from here, for /v2/leader and `blox status`. */
#include <inttypes.h>
#include <stdio.h>

#include "agent/base/clock.h"
#include "agent/raft/raft_uv_int.h"

static json_t *server_json(const struct raft_uv *r, uint32_t i)
{
    const struct raft_server *s = &r->core.config.server[i];
    json_t *j = json_object();
    json_set_str(j, "id", s->id);
    if (r->core.role == RAFT_LEADER) {
        bool self = s->num == r->self.num;
        uint64_t match = self ? r->core.saved.last : r->core.peer[i].match;
        json_set_int(j, "match", (int64_t)match);
        uint64_t stamp = r->core.peer[i].stamp, now_ms = clock_mono_ms();
        if (self || stamp != 0)
            json_set_int(j, "silent_ms", self || now_ms < stamp ? 0 : (int64_t)(now_ms - stamp));
    }
    return j;
}

bool raft_uv_in_conflict(const struct raft_uv *r, char *out, size_t size)
{
    if (!step_in_conflict(r, clock_mono_ms()))
        return false;
    snprintf(out, size,
             "two clusters of this name met: %016" PRIx64 " here, %016" PRIx64
             " at %s; neither acts "
             "nor takes writes. Keep one: blox backup > FILE on the other if it has anything, then "
             "blox raft rejoin --force on each of its agents",
             r->cluster_id, r->conflict_id, r->conflict_with);
    return true;
}

static void tell_no_cluster(const struct raft_uv *r, char *text, size_t size)
{
    if (r->o.expect != 0)
        snprintf(text, size,
                 "no cluster yet: waiting until %u candidates (raft.expect) have been seen for "
                 "%" PRIu64 " ms",
                 r->o.expect, r->o.bootstrap_wait_ms);
    else if (r->missing == BOOT_UNCOUNTED)
        snprintf(text, size,
                 "no cluster yet: an address of this agent, or of one that it knows, has to stand "
                 "in ECS (attribute blox.addr of its container instance) for %" PRIu64
                 " ms, so that all who start find each other. Without ECS: set raft.expect",
                 r->o.bootstrap_wait_ms);
    else if (r->missing > 0)
        snprintf(text, size,
                 "no cluster yet: %" PRIu32 " agents that ECS lists (attribute blox.addr) are not "
                 "reached and may be of one; they are waited for %u s. Is gossip's port open?",
                 r->missing, BOOT_PATIENCE_MS / 1000);
    else
        snprintf(text, size,
                 "no cluster yet: waiting until all candidates have been seen for %" PRIu64 " ms",
                 r->o.bootstrap_wait_ms);
}

/* In place of "no leader", if there is none. */
static bool tell_shut(const struct raft_uv *r, char *text, size_t size)
{
    const char *first = "";
    unsigned shut = 0;
    for (uint32_t i = 0; i < r->core.config.count; i++) {
        const struct raft_server *s = &r->core.config.server[i];
        if (!s->voter || gossip_takes_streams(r->o.gossip, s->num))
            continue;
        first = shut++ == 0 ? s->id : first;
    }
    if (shut == 0)
        return false;
    snprintf(text, size,
             "%sno connection to %u of the %u voters (%s%s) comes about, although datagrams of "
             "theirs arrive: gossip's port has to be open for TCP as well as for UDP",
             step_leader(r) == 0 ? "no leader: " : "", shut, raft_voter_count(&r->core.config),
             first, shut > 1 ? ", ..." : "");
    return true;
}

static void set_trouble(const struct raft_uv *r, json_t *j)
{
    char text[400] = "";
    if (r->superseded != 0)
        snprintf(text, sizeof(text),
                 "this agent was a voter of cluster %016" PRIx64 ", which was recovered elsewhere "
                 "as %016" PRIx64 "; it neither votes nor leads. To join the recovered cluster, "
                 "giving up what its own raft log holds: blox raft rejoin",
                 r->cluster_id, r->superseded);
    else if (raft_uv_in_conflict(r, text, sizeof(text)))
        ;
    else if (r->disk_err < 0)
        snprintf(text, sizeof(text),
                 "the raft log cannot be written: %s. Free disk space or fix "
                 "the disk; writing is tried again by itself.",
                 err_text(r->disk_err));
    else if (step_leader(r) == 0 && r->core.config.count == 0 && r->known_cluster == 0)
        tell_no_cluster(r, text, sizeof(text));
    else if (step_leader(r) == 0 && word_is_asked(r) && word_missing(r) != NULL)
        snprintf(text, sizeof(text),
                 "no leader: most voters are gone for good. This agent would recover, but %s has "
                 "neither promised not to, nor is its instance terminated. Start its agent or "
                 "terminate it; or: blox raft recover, on one agent only",
                 word_missing(r));
    else if (step_leader(r) == 0 && r->core.config.count == 0)
        snprintf(text, sizeof(text),
                 "no leader: this agent heard of cluster %016" PRIx64 ", whose voters do not "
                 "answer. If they are gone for good: blox raft recover, on one agent only",
                 r->known_cluster);
    else if (tell_shut(r, text, sizeof(text)))
        ;
    else if (step_leader(r) == 0)
        snprintf(text, sizeof(text),
                 "no leader: a majority of the %u voters does not answer. If they are gone "
                 "for good: blox raft recover, on one agent only",
                 raft_voter_count(&r->core.config));
    json_set_str(j, "trouble", text);
}

json_t *raft_uv_status(const struct raft_uv *r)
{
    static const char *const roles[] = {"follower", "candidate", "leader", "outside"};
    json_t *j = json_object(), *voters = json_array(), *learners = json_array();
    uint64_t leader = step_leader(r);
    const struct gossip_member *m = leader == 0 ? NULL : gossip_find(r->o.gossip, leader);
    char cluster[17] = "";
    enum raft_uv_role role = r->told ? r->role_told : RAFT_UV_OUTSIDE;
    json_set_str(j, "role", roles[role]);
    json_set_int(j, "term", (int64_t)raft_uv_term(r));
    json_set_str(j, "leader", m == NULL ? "" : m->id);
    json_set_int(j, "commit_index", (int64_t)r->core.commit);
    json_set_int(j, "applied_index", (int64_t)r->applied);
    json_set_int(j, "last_index", (int64_t)r->core.log.last_index);
    json_set_int(j, "config_index", (int64_t)r->core.config.index);
    for (uint32_t i = 0; i < r->core.config.count; i++)
        json_array_append_new(r->core.config.server[i].voter ? voters : learners,
                              server_json(r, i));
    json_object_set_new(j, "voters", voters);
    json_object_set_new(j, "learners", learners);
    json_set_bool(j, "may_act", raft_uv_may_act(r));
    json_set_int(j, "lease_ms", (int64_t)r->core.lease_ms);
    uint64_t cluster_id = r->cluster_id != 0 ? r->cluster_id : r->known_cluster;
    if (cluster_id != 0)
        snprintf(cluster, sizeof(cluster), "%016" PRIx64, cluster_id);
    json_set_str(j, "cluster_id", cluster);
    set_trouble(r, j);
    return j;
}
