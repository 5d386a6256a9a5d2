/* SPDX-License-Identifier: Apache-2.0
 * What the loop thread knows, as documents that API threads serve: agent, members, leader,
 * and the facts behind every answer's headers. Rendered when somebody reads them and something
 * changed, or when the figures in them are some seconds old. */
#include <stdio.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define REFRESH_MS 2000

void publish_dirty(struct agent *a, enum api_doc doc)
{
    a->dirty[doc] = true;
    if (a->api != NULL)
        api_stale(a->api, doc);
}

static void put_time(json_t *j, const char *key, int64_t unix_ms)
{
    char text[CLOCK_TEXT_MAX];
    if (unix_ms > 0)
        json_set_str(j, key, clock_format_unix_ms(unix_ms, text));
}

void publish_trouble(struct agent *a, char *out, size_t size)
{
    const char *why = "";
    int disk = store_health(a->store);
    bool alone = a->gossip != NULL && gossip_alive_count(a->gossip) <= 1;
    if (a->apart[0] != '\0')
        why = a->apart;
    else if (disk != 0)
        why = disk == ERR_FULL ? "the disk of agent.data_dir is full: read-only until there is room"
                               : "the disk of agent.data_dir refuses writes: read-only";
    else if (a->gossip == NULL && a->search != NULL)
        why = identity_trouble(a->search);
    if (why[0] == '\0' && alone && a->join != NULL)
        why = join_seeds_trouble(a->join);
    if (why[0] == '\0' && alone) /* who is there and does not answer matters more than AWS */
        why = gossip_join_trouble(a->gossip);
    if (why[0] == '\0' && a->gossip != NULL)
        why = gossip_key_trouble(a->gossip);
    if (why[0] == '\0')
        why = keyring_trouble(a->keyring);
    if (why[0] == '\0')
        why = aws_trouble(a->aws);
    if (why[0] == '\0' && a->intake != NULL)
        why = intake_trouble(a->intake);
    if (why[0] == '\0' && a->join != NULL && alone)
        why = join_trouble(a->join);
    if (why[0] == '\0')
        why = a->no_proof;
    snprintf(out, size, "%s", why);
}

static bool is_complete(const struct agent *a)
{
    return a->role == RAFT_UV_LEADER ? a->reconciled : a->complete_unix_ms != 0;
}

static const char *state_of(const struct agent *a, const char *trouble)
{
    if (a->stopping)
        return "leaving";
    if (trouble[0] != '\0')
        return "degraded";
    if (a->gossip == NULL)
        return "starting";
    return a->leader != 0 && is_complete(a) ? "ready" : "syncing";
}

#define MARK "reconciled"

/* A row that travels with the others and says that there was a reconcile. Without it two new agents
 * with nothing in their stores would agree with each other and take that for the whole cluster. */
void publish_reconciled(struct agent *a)
{
    char text[CLOCK_TEXT_MAX];
    int64_t now = clock_unix_ms();
    const char *value = clock_format_unix_ms(now, text);
    struct record rec = {
        .kind = RECORD_SETTING,
        .source = SOURCE_RECONCILE,
        .key = MARK,
        .key_len = sizeof MARK - 1,
        .value = (const uint8_t *)value,
        .value_len = (uint32_t)strlen(value),
        .version = {a->term, (uint64_t)now},
        .observed_unix_ms = now,
        .term = a->term,
    };
    if (rows_apply(a->rows, &rec, 1, NULL, NULL) != 0)
        LOG_MSG(LOG_WARN, "mark_not_stored", "others learn of the next reconcile");
}

static void on_rows(void *arg, const struct record *records, const struct store_change *changes,
                    size_t count, bool from_peers)
{
    struct agent *a = arg;
    (void)from_peers;
    (void)changes;
    for (size_t i = 0; i < count && a->mark_seen_ms == 0; i++)
        if (records[i].kind == RECORD_SETTING && records[i].key_len == sizeof MARK - 1 &&
            memcmp(records[i].key, MARK, sizeof MARK - 1) == 0)
            a->mark_seen_ms = clock_mono_ms();
}

void publish_watch_mark(struct agent *a)
{
    struct store_txn *txn = NULL;
    struct store_row row;
    rows_listen(a->rows, on_rows, a);
    if (store_read_begin(a->store, &txn) != 0)
        return;
    if (store_get_ref(txn, RECORD_SETTING, MARK, sizeof MARK - 1, &row) == 0)
        a->mark_seen_ms = clock_mono_ms();
    store_read_end(txn);
}

/* A follower is as complete as its last exchange that found no difference with a peer, once the
 * cluster has been reconciled at all. */
void publish_completeness(struct agent *a)
{
    struct records_stats stats;
    if (a->records == NULL)
        return;
    if (a->role == RAFT_UV_LEADER) {
        if (a->reconciled && a->intake != NULL && intake_trouble(a->intake)[0] == '\0')
            a->complete_unix_ms = clock_unix_ms();
        return;
    }
    records_stats(a->records, &stats);
    if (a->mark_seen_ms != 0 && stats.last_in_sync_mono_ms >= a->mark_seen_ms)
        a->complete_unix_ms =
            clock_unix_ms() - (int64_t)(clock_mono_ms() - stats.last_in_sync_mono_ms);
}

static const char *leader_id(const struct agent *a)
{
    if (a->leader == 0 || a->gossip == NULL)
        return "";
    const struct gossip_member *m = gossip_find(a->gossip, a->leader);
    return m == NULL ? "" : m->id;
}

static void publish_facts(struct agent *a, const char *state, const char *trouble)
{
    struct api_facts facts = {.complete_unix_ms = a->complete_unix_ms};
    snprintf(facts.agent_id, sizeof facts.agent_id, "%s", a->identity.id);
    snprintf(facts.leader, sizeof facts.leader, "%s", leader_id(a));
    snprintf(facts.state, sizeof facts.state, "%s", state);
    snprintf(facts.why, sizeof facts.why, "%s", trouble);
    facts.applied_term = a->term;
    facts.apart = a->apart[0] != '\0';
    if (a->raft != NULL) {
        int64_t config_index = (int64_t)raft_uv_config_index(a->raft);
        facts.applied_index = raft_uv_applied_index(a->raft);
        if (config_index != a->config_index)
            publish_dirty(a, API_DOC_LEADER); /* who votes is asked for when it changes */
        a->config_index = config_index;
    }
    api_set_facts(a->api, &facts);
}

static void publish_json(struct agent *a, enum api_doc doc, json_t *j)
{
    struct buf b;
    buf_init(&b, 16u << 20);
    if (json_write(j, &b) == 0)
        api_publish(a->api, doc, b.data, b.len);
    buf_fini(&b);
    json_decref(j);
}

static json_t *store_json(struct agent *a)
{
    struct store_stats s;
    store_stats(a->store, &s);
    json_t *j = json_object();
    json_set_int(j, "rows", (int64_t)s.rows);
    json_set_int(j, "tombstones", (int64_t)s.tombstones);
    json_set_int(j, "state_bytes", (int64_t)s.state_bytes);
    json_set_int(j, "log_bytes", (int64_t)s.log_bytes);
    json_set_int(j, "commits", (int64_t)s.commits);
    json_set_int(j, "poison", (int64_t)s.poison);
    json_set_str(j, "health", err_text(store_health(a->store)));
    if (a->store_report.state_quarantined || a->store_report.log_quarantined) {
        json_set_str(j, "quarantined", a->store_report.quarantine_path);
        json_set_str(j, "quarantined_why", a->store_report.why);
    }
    return j;
}

static json_t *gossip_json(struct agent *a)
{
    struct gossip_stats g;
    struct records_stats r;
    json_t *j = json_object();
    gossip_stats(a->gossip, &g);
    records_stats(a->records, &r);
    json_set_int(j, "members", (int64_t)gossip_count(a->gossip));
    json_set_int(j, "alive", (int64_t)gossip_alive_count(a->gossip));
    json_set_int(j, "health", (int64_t)g.health);
    json_set_int(j, "bytes_sent", (int64_t)(g.bytes_sent + g.stream_bytes_sent));
    json_set_int(j, "datagrams_sent", (int64_t)g.datagrams_sent);
    json_set_int(j, "datagrams_received", (int64_t)g.datagrams_received);
    json_set_int(j, "bytes_received", (int64_t)(g.bytes_received + g.stream_bytes_received));
    json_set_int(j, "rejected", (int64_t)g.rejected);
    json_set_int(j, "replayed", (int64_t)g.replayed);
    json_set_int(j, "refused_claims", (int64_t)g.refused_claims);
    json_set_int(j, "cross_zone_bytes_sent", (int64_t)g.cross_zone_bytes_sent);
    json_set_int(j, "records_pushed", (int64_t)r.pushed);
    json_set_int(j, "records_received", (int64_t)r.received);
    json_set_int(j, "records_repaired", (int64_t)r.repaired);
    json_set_int(j, "records_queued", (int64_t)r.queue_depth);
    return j;
}

static void publish_agent(struct agent *a, const char *state, const char *trouble)
{
    json_t *j = json_object();
    json_set_str(j, "id", a->identity.id);
    json_set_str(j, "version", BLOX_VERSION);
    json_set_str(j, "cluster", a->identity.cluster);
    json_set_str(j, "container_instance_arn",
                 a->identity.instance_arn[0] == '\0' ? NULL : a->identity.instance_arn);
    json_set_str(j, "zone", a->identity.zone[0] == '\0' ? NULL : a->identity.zone);
    json_set_str(j, "role", a->config->role);
    json_set_str(j, "state", state);
    json_set_str(j, "why", trouble[0] == '\0' ? NULL : trouble);
    json_set_str(j, "leader", leader_id(a)[0] == '\0' ? NULL : leader_id(a));
    json_set_bool(j, "leading", a->role == RAFT_UV_LEADER);
    json_set_str(j, "notice", notice_text(a->notice)[0] == '\0' ? NULL : notice_text(a->notice));
    put_time(j, "started_at", a->started_unix_ms);
    put_time(j, "complete_at", a->complete_unix_ms);
    json_object_set_new(j, "store", store_json(a));
    json_object_set_new(j, "aws", aws_status(a->aws));
    if (a->gossip != NULL && a->records != NULL)
        json_object_set_new(j, "gossip", gossip_json(a));
    if (a->intake != NULL)
        json_object_set_new(j, "intake", intake_status(a->intake));
    if (a->daemons != NULL && a->role == RAFT_UV_LEADER)
        json_object_set_new(j, "daemons", daemons_status(a->daemons));
    publish_json(a, API_DOC_AGENT, j);
}

static void publish_leader(struct agent *a)
{
    json_t *j = a->raft == NULL ? json_object() : raft_uv_status(a->raft);
    json_object_set_new(j, "leader",
                        leader_id(a)[0] == '\0' ? json_null() : json_string(leader_id(a)));
    publish_json(a, API_DOC_LEADER, j);
}

static bool is_due(struct agent *a, enum api_doc doc)
{
    uint64_t now = clock_mono_ms();
    uint64_t every_ms = REFRESH_MS;
    if (doc == API_DOC_MEMBERS && a->gossip != NULL)
        every_ms += 2 * (uint64_t)gossip_count(a->gossip);
    if (!a->dirty[doc] && now - a->published_ms[doc] < every_ms && a->published_ms[doc] != 0)
        return false;
    a->dirty[doc] = false;
    a->published_ms[doc] = now;
    return true;
}

static void publish(struct agent *a, unsigned wanted)
{
    char trouble[256];
    publish_completeness(a);
    publish_trouble(a, trouble, sizeof trouble);
    const char *state = state_of(a, trouble);
    publish_facts(a, state, trouble);
    for (unsigned doc = 0; doc < API_DOC_COUNT; doc++) {
        if ((wanted & 1u << doc) == 0)
            continue;
        if (!is_due(a, doc))
            api_confirm(a->api, doc);
        else if (doc == API_DOC_AGENT)
            publish_agent(a, state, trouble);
        else if (doc == API_DOC_LEADER)
            publish_leader(a);
        else
            members_page_begin(a);
    }
}

void publish_all(struct agent *a)
{
    publish(a, (1u << API_DOC_COUNT) - 1);
    while (members_page_slice(a))
        ;
}

/* A page under way is what those who ask meanwhile get. */
void publish_asked(struct agent *a)
{
    if (a->api == NULL)
        return;
    unsigned wanted = api_wanted(a->api);
    publish(a, a->members_page == NULL ? wanted : wanted & ~(1u << API_DOC_MEMBERS));
    if (members_page_slice(a))
        uv_async_send(&a->want_async); /* the rest of a large page after the loop's other work */
}
