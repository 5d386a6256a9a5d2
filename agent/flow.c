/* SPDX-License-Identifier: Apache-2.0
 * Output of one module, input of the next. Everything here runs on the loop thread and
 * returns at once. */
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "gossip/boot.h"

/* ---- raft -> intent -> rows -> gossip ---------------------------------------------- */

void flow_apply(void *arg, uint64_t index, uint64_t term, const void *data, size_t len,
                struct raft_rows *ret)
{
    struct agent *a = arg;
    struct intent_result result;
    a->applied = (struct record_version){term, index};
    if (len == 0)
        return; /* a barrier */
    intent_apply(a->intent, index, term, data, len, &result, &ret->rows, &ret->count);
    offers_put(a, ret->rows, ret->count);
    intents_applied(a, index, &result);
    if (a->daemons != NULL) {
        daemons_applied(a->daemons, index, &result);
        daemons_intent_changed(a->daemons, ret->rows, ret->count);
    }
}

int flow_snapshot_save(void *arg, struct buf *out)
{
    struct agent *a = arg;
    return intent_save(a->intent, out);
}

int flow_snapshot_load(void *arg, uint64_t index, uint64_t term, const void *data, size_t len,
                       struct raft_rows *ret)
{
    struct agent *a = arg;
    int err = intent_load(a->intent, data, len, &ret->rows, &ret->count);
    if (err != 0)
        return err;
    a->applied = (struct record_version){term, index};
    offers_put(a, ret->rows, ret->count);
    return 0;
}

void flow_on_role(void *arg, enum raft_uv_role role, uint64_t term, uint64_t leader)
{
    static const char *const names[] = {"follower", "candidate", "leader", "outside"};
    struct agent *a = arg;
    bool was_leader = a->role == RAFT_UV_LEADER;
    bool is_leader = role == RAFT_UV_LEADER;
    const struct gossip_member *m = leader == 0 ? NULL : gossip_find(a->gossip, leader);
    if (a->leader != leader || was_leader != is_leader)
        LOG(LOG_INFO, "leader_changed", "", LS("role", names[role]), LU("term", term),
            LS("leader", m == NULL ? "none" : m->id));
    bool same = was_leader == is_leader && a->term == term;
    a->role = role;
    a->term = term;
    a->leader = leader;
    members_tell_leader(a);
    if (a->join != NULL)
        join_led(a->join, leader != 0);
    notice_serves(a->notice, role != RAFT_UV_OUTSIDE);
    if (!same)
        agent_lead_changed(a);
    publish_dirty(a, API_DOC_LEADER);
    publish_dirty(a, API_DOC_AGENT);
    commands_retry(a);
}

/* ---- gossip ------------------------------------------------------------------------- */

void flow_on_member(void *arg, const struct gossip_member *m, enum gossip_state before,
                    const char *why)
{
    static const char *const events[] = {
        [MEMBER_ALIVE] = "member_alive",     [MEMBER_DEGRADED] = "member_degraded",
        [MEMBER_SUSPECT] = "member_suspect", [MEMBER_FAILED] = "member_failed",
        [MEMBER_LEFT] = "member_left",
    };
    struct agent *a = arg;
    if (m->state != before)
        LOG(m->state == MEMBER_FAILED ? LOG_WARN : LOG_INFO, events[m->state],
            why == NULL ? "" : why, LS("member", m->id), LU("incarnation", m->incarnation));
    if (a->records != NULL)
        records_member(a->records, m);
    propagate_member(a->propagate, m, before);
    if (a->raft != NULL)
        raft_uv_member(a->raft, m);
    if (a->join != NULL)
        join_met(a->join);
    if (a->join != NULL && m->self)
        join_readdressed(a->join);
    publish_dirty(a, API_DOC_MEMBERS);
    members_tell(a, m);
    if (m->num == a->leader)
        members_tell_leader(a);
}

void flow_on_incarnation(void *arg, uint64_t incarnation)
{
    struct agent *a = arg;
    a->incarnation = incarnation;
    if (store_fact_put(a->store, "incarnation", &incarnation, sizeof incarnation, NULL, NULL) != 0)
        LOG_MSG(LOG_ERROR, "incarnation_not_saved", "a restart may be taken for an old life");
}

void flow_on_broken(void *arg, uint64_t num)
{
    struct agent *a = arg;
    if (a->raft != NULL)
        raft_uv_suspect(a->raft, num);
}

void flow_on_bad_packet(void *arg, const struct sockaddr *from, const char *why)
{
    char host[64] = "?";
    (void)arg;
    if (from->sa_family == AF_INET)
        uv_ip4_name((const struct sockaddr_in *)(const void *)from, host, sizeof host);
    else if (from->sa_family == AF_INET6)
        uv_ip6_name((const struct sockaddr_in6 *)(const void *)from, host, sizeof host);
    LOG(LOG_WARN, "packet_refused", why, LS("from", host));
}

int flow_records_apply(void *arg, const struct record *records, size_t count)
{
    struct agent *a = arg;
    return rows_apply_from_peers(a->rows, records, count);
}

int flow_fingerprints(void *arg, uint64_t first, uint64_t last,
                      int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                      void *fn_arg)
{
    struct agent *a = arg;
    struct store_txn *txn = NULL;
    int err = store_read_begin(a->store, &txn);
    if (err != 0)
        return err;
    err = store_fingerprints(txn, first, last, fn, fn_arg);
    store_read_end(txn);
    return err;
}

int flow_get_record(void *arg, uint64_t key_hash,
                    void (*fn)(void *fn_arg, const struct record *rec), void *fn_arg)
{
    struct agent *a = arg;
    struct store_txn *txn = NULL;
    struct store_row row;
    int err = store_read_begin(a->store, &txn);
    if (err != 0)
        return err;
    err = store_get_by_hash_ref(txn, key_hash, &row);
    if (err == 0)
        fn(fn_arg, &row.record);
    store_read_end(txn);
    return err;
}

/* ---- intake -------------------------------------------------------------------------- */

void flow_on_reconciled(void *arg, int err)
{
    struct agent *a = arg;
    publish_dirty(a, API_DOC_AGENT);
    if (err != 0)
        return;
    a->reconciled = true;
    a->complete_unix_ms = clock_unix_ms();
    a->compare_intent = true;
    agent_busy(a);
    publish_reconciled(a);
}

void flow_on_known(void *arg, const char *cluster)
{
    const struct agent *a = arg;
    if (a->daemons != NULL)
        daemons_known(a->daemons, cluster);
}

void flow_on_all_known(void *arg)
{
    struct agent *a = arg;
    a->all_known = true;
    if (a->daemons != NULL)
        daemons_known(a->daemons, NULL);
}

void flow_on_shown(void *arg, const struct record *rec)
{
    struct agent *a = arg;
    if (a->daemons != NULL)
        daemons_shown(a->daemons, rec);
}

bool flow_in_doubt(void *arg, const char *arn)
{
    const struct agent *a = arg;
    return a->daemons != NULL && daemons_in_doubt(a->daemons, arn);
}

static void hint_answered(void *arg, int err, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)err; /* a hint that is lost costs seconds: the event or the reconcile comes anyway */
    (void)data;
    (void)len;
}

void flow_on_hint(void *arg, const char *cluster, const char *task_arn)
{
    struct agent *a = arg;
    if (a->stopping || a->intake == NULL)
        return;
    if (a->role == RAFT_UV_LEADER) {
        intake_refresh_task(a->intake, cluster, task_arn);
        return;
    }
    /* With an empty store all tasks differ; told by thousands of agents that start together, that
     * would be a storm. A difference that stays is told again later. */
    publish_completeness(a);
    if (a->leader == 0 || a->complete_unix_ms == 0)
        return;
    int err = gossip_call(a->gossip, a->leader, CALL_HINT, task_arn, strlen(task_arn), 5000,
                          hint_answered, a);
    if (err != 0)
        LOG(LOG_DEBUG, "hint_not_sent", err_text(err), LS("task", task_arn));
}

/* This instance registered, and its event is late or lost: the leader is told where to look. */
bool flow_own_instance(struct agent *a)
{
    struct store_txn *txn = NULL;
    struct store_row row;
    const char *arn = a->identity.instance_arn;
    if (arn[0] == '\0' || a->intake == NULL || store_read_begin(a->store, &txn) != 0)
        return true; /* nothing to look for */
    int err = store_get_ref(txn, RECORD_INSTANCE, arn, strlen(arn), &row);
    store_read_end(txn);
    if (err == ERR_NOTFOUND)
        flow_on_hint(a, NULL, arn);
    return err != ERR_NOTFOUND;
}

uint32_t flow_missing(void *arg)
{
    const struct agent *a = arg;
    return a->join == NULL ? BOOT_UNCOUNTED : join_missing(a->join);
}

void flow_on_notice(void *arg, const char *text)
{
    struct agent *a = arg;
    if (text[0] != '\0')
        LOG(LOG_WARN, "notice", "this instance is about to go; leadership and vote are handed on",
            LS("notice", text));
    else
        LOG_MSG(LOG_INFO, "notice", "the notice was taken back");
    if (a->raft != NULL)
        raft_uv_set_leaving(a->raft, text[0] != '\0');
    publish_dirty(a, API_DOC_AGENT);
}
