/* SPDX-License-Identifier: Apache-2.0
 * Starts and stops the modules in order.
 *
 *   start: store -> intent -> rows -> aws -> API (answers from the store at once)
 *          -> identity -> gossip -> records -> raft -> intake -> daemons -> join
 *
 * stop.c has the way back. */
#include "agent/agent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/advertise.h"
#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/log.h"
#include "agent/ownkey.h"

#define GOSSIP_AGAIN_MS 5000u /* a name is resolved on this thread */

static uint64_t random_u64(void)
{
    uint64_t v = 0;
    ENSURE(getrandom(&v, sizeof v, 0) == (ssize_t)sizeof v);
    return v;
}

static const char *or_null(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

/* ---- from other threads -------------------------------------------------------------- */

static void store_notify(void *arg)
{
    struct agent *a = arg;
    uv_async_send(&a->store_async);
}

static void on_store_async(uv_async_t *async)
{
    struct agent *a = async->data;
    store_poll(a->store);
}

static void on_write_async(uv_async_t *async)
{
    commands_take(async->data);
}

static void want(void *arg)
{
    struct agent *a = arg;
    uv_async_send(&a->want_async);
}

static void on_want_async(uv_async_t *async)
{
    publish_asked(async->data);
}

/* ---- leadership ------------------------------------------------------------------------ */

void agent_lead_changed(struct agent *a)
{
    bool leading = a->role == RAFT_UV_LEADER && !a->stopping;
    a->reconciled = a->all_known = false;
    a->compare_intent = leading;
    agent_busy(a);
    /* The scheduler first, so that it never sees a reconcile of a leadership it does not know. Each
     * may be missing: a part that could not start, or one that is being stopped. */
    if (a->daemons != NULL)
        daemons_lead(a->daemons, leading, a->term);
    if (a->intake != NULL)
        intake_lead(a->intake, leading, a->term);
    if (a->join != NULL)
        join_lead(a->join, leading);
}

/* ---- start, second half: identity is known ---------------------------------------------- */

static uint64_t next_incarnation(struct agent *a)
{
    uint64_t last = 0;
    size_t len = 0;
    if (store_fact_get(a->store, "incarnation", &last, sizeof last, &len) != 0 ||
        len != sizeof last)
        last = 0;
    /* With a lost data directory the clock still beats an earlier life's small steps. */
    uint64_t floor = (uint64_t)clock_unix_ms() / 1000;
    uint64_t next = last + 1 > floor ? last + 1 : floor;
    flow_on_incarnation(a, next);
    return next;
}

/* Has an interface of this host that address? */
static bool is_on_host(const char *address)
{
    struct sockaddr_in6 wanted;
    uv_interface_address_t *list;
    int count;
    bool found = false;
    if (uv_ip6_addr(address, 0, &wanted) != 0 || uv_interface_addresses(&list, &count) != 0)
        return false;
    for (int i = 0; i < count; i++)
        found = found || (list[i].address.address6.sin6_family == AF_INET6 &&
                          memcmp(&list[i].address.address6.sin6_addr, &wanted.sin6_addr,
                                 sizeof wanted.sin6_addr) == 0);
    uv_free_interface_addresses(list, count);
    return found;
}

static int start_gossip(struct agent *a, const char *advertise, struct errmsg *e)
{
    uint8_t own_key[OWNKEY_BYTES];
    int err = ownkey_read(own_key, a->config->data_dir, a->identity.id, e);
    if (err != 0)
        return err;
    struct gossip_options options = {
        .loop = a->loop,
        .id = a->identity.id,
        .cluster = identity_cluster_name(&a->identity),
        .bind = a->config->gossip_bind,
        .advertise = or_null(advertise),
        .keys = (const uint8_t(*)[32])a->keys.key,
        .key_count = a->keys.count,
        .incarnation = a->incarnation != 0 ? a->incarnation : next_incarnation(a),
        .seed = random_u64(),
        .own_key = own_key,
        .arg = a,
        .on_member = flow_on_member,
        .on_incarnation = flow_on_incarnation,
        .on_broken = flow_on_broken,
        .on_bad_packet = flow_on_bad_packet,
    };
    snprintf(options.meta.zone, sizeof options.meta.zone, "%s", a->identity.zone);
    snprintf(options.meta.version, sizeof options.meta.version, "%s", BLOX_VERSION);
    options.meta.api_port = api_port(a->api);
    options.meta.role = strcmp(a->config->role, "member") == 0;
    options.meta.lifecycle = strcmp(a->identity.lifecycle, "spot") == 0 ? 1
                             : a->identity.lifecycle[0] == '\0'         ? 2
                                                                        : 0;
    err = gossip_create(&a->gossip, &options, e);
    explicit_bzero(own_key, sizeof own_key);
    if (err == 0)
        gossip_on_call(a->gossip, commands_on_call, a);
    return err;
}

static int start_records(struct agent *a)
{
    struct records_options options = {
        .loop = a->loop,
        .gossip = a->gossip,
        .seed = random_u64(),
        .arg = a,
        .apply = flow_records_apply,
        .fingerprints = flow_fingerprints,
        .get = flow_get_record,
    };
    int err = records_create(&a->records, &options);
    if (err == 0)
        rows_set_gossip(a->rows, a->records);
    return err;
}

static int start_raft(struct agent *a, struct errmsg *e)
{
    struct raft_uv_options options = {
        .loop = a->loop,
        .gossip = a->gossip,
        .store = a->store,
        .cluster = identity_cluster_name(&a->identity),
        .candidate = strcmp(a->config->role, "candidate") == 0,
        .expect = (unsigned)a->config->raft_expect,
        .bootstrap_wait_ms = a->config->raft_bootstrap_wait_ms,
        .election_ms = a->config->raft_election_ms,
        .heartbeat_ms = a->config->raft_heartbeat_ms,
        .auto_recover = a->config->raft_auto_recover,
        .missing = flow_missing,
        .prove_gone = gone_ask,
        .seed = random_u64(),
        .arg = a,
        .apply = flow_apply,
        .snapshot_save = flow_snapshot_save,
        .snapshot_load = flow_snapshot_load,
        .newest = intents_newest,
        .merge = intents_merge,
        .on_role = flow_on_role,
    };
    return raft_uv_create(&a->raft, &options, e);
}

static int start_intake(struct agent *a, struct errmsg *e)
{
    struct intake_options options = {
        .loop = a->loop,
        .aws = a->aws,
        .rows = a->rows,
        .store = a->store,
        .cluster = a->identity.cluster,
        .instance_arn = a->identity.instance_arn,
        .clusters = a->config->clusters,
        .queue = or_null(a->config->queue),
        .ecs_agent_endpoint = or_null(a->config->ecs_agent_endpoint),
        .reconcile_ms = a->config->reconcile_ms,
        .keep_override_values = a->config->keep_override_values,
        .seed = random_u64(),
        .arg = a,
        .on_reconciled = flow_on_reconciled,
        .on_known = flow_on_known,
        .on_all_known = flow_on_all_known,
        .on_hint = flow_on_hint,
        .on_shown = flow_on_shown,
        .in_doubt = flow_in_doubt,
    };
    return intake_create(&a->intake, &options, e);
}

static int start_daemons(struct agent *a, struct errmsg *e)
{
    struct daemons_options options = {
        .loop = a->loop,
        .aws = a->aws,
        .rows = a->rows,
        .store = a->store,
        .raft = a->raft,
        .intake = a->intake,
        .intent = a->intent,
        .cluster = a->identity.cluster,
        .seed = random_u64(),
    };
    return daemons_create(&a->daemons, &options, e);
}

static int start_join(struct agent *a)
{
    struct join_options options = {
        .loop = a->loop,
        .aws = a->aws,
        .gossip = a->gossip,
        .config = a->config,
        .seed = random_u64(),
    };
    int err = join_start(&a->join, &options);
    if (err == 0)
        join_identity(a->join, &a->identity);
    return err;
}

static int start_notice(struct agent *a)
{
    struct notice_options options = {.loop = a->loop,
                                     .aws = a->aws,
                                     .seed = random_u64(),
                                     .arg = a,
                                     .on_notice = flow_on_notice};
    int err = notice_start(&a->notice, &options);
    if (err == 0)
        notice_serves(a->notice, a->role != RAFT_UV_OUTSIDE);
    return err;
}

/* What stands on gossip. */
static int start_above(struct agent *a, struct errmsg *e)
{
    int err = start_records(a);
    if (err == 0)
        err = propagate_create(&a->propagate, a);
    if (err == 0)
        err = keyring_create(&a->keyring, a);
    if (err == 0)
        err = start_raft(a, e);
    if (err == 0)
        err = start_intake(a, e);
    if (err == 0)
        err = start_daemons(a, e);
    if (err == 0)
        err = start_join(a);
    if (err == 0)
        err = start_notice(a);
    return err;
}

/* The same reason again is no news. */
static void note_start(struct agent *a, int err, const struct errmsg *e)
{
    char why[sizeof a->apart] = "";
    if (err != 0)
        snprintf(why, sizeof why, "%.200s%s", e->text[0] == '\0' ? err_text(err) : e->text,
                 a->gossip == NULL ? "; it is tried again every 5 s" : "");
    if (err == 0 && a->apart[0] != '\0')
        LOG_MSG(LOG_INFO, "cluster_started", "what hindered it is gone");
    if (err != 0 && strcmp(a->apart, why) != 0)
        LOG(LOG_ERROR, "cluster_not_started", "this agent serves what it has", LS("why", why));
    snprintf(a->apart, sizeof a->apart, "%s", why);
}

void agent_start_cluster(struct agent *a)
{
    struct errmsg e = {{0}};
    char advertise[CONFIG_VALUE_MAX];
    advertise_choose(a->config, &a->identity, is_on_host, advertise, sizeof advertise);
    int err = start_gossip(a, advertise, &e);
    /* Another process has the port still, the address or the resolver comes up later. */
    a->gossip_due_ms = err == 0 ? 0 : clock_mono_ms() + GOSSIP_AGAIN_MS;
    if (err == 0)
        err = start_above(a, &e);
    note_start(a, err, &e);
    publish_dirty(a, API_DOC_AGENT);
    publish_dirty(a, API_DOC_MEMBERS);
    agent_busy(a);
}

static void on_identity(void *arg, const struct identity *found)
{
    struct agent *a = arg;
    a->identity = *found;
    LOG(LOG_INFO, "identity", "", LS("id", found->id), LS("cluster", found->cluster),
        LS("instance", found->instance_arn), LS("zone", found->zone));
    agent_start_cluster(a);
}

static void on_more_identity(void *arg, const struct identity *found)
{
    struct agent *a = arg;
    a->identity = *found;
    if (a->join != NULL)
        join_identity(a->join, found);
    publish_dirty(a, API_DOC_AGENT);
    agent_busy(a);
}

/* ---- start, first half ------------------------------------------------------------------ */

static int restore_intent(void *arg, const struct store_log_intent *row)
{
    return intent_restore(arg, row);
}

static int open_store(struct agent *a, struct errmsg *e)
{
    struct store_options options = {.dir = a->config->data_dir,
                                    .past_ms = a->config->history_ms,
                                    .past_bytes = (uint64_t)a->config->history_bytes,
                                    .notify = store_notify,
                                    .notify_arg = a};
    int err = store_open(&a->store, &options, &a->store_report, e);
    if (err != 0)
        return err;
    err = intent_create(&a->intent);
    if (err == 0)
        err = store_log_intent(a->store, restore_intent, a->intent);
    struct store_log_state log = {0};
    if (err == 0)
        err = store_log_load(a->store, &log);
    a->applied = (struct record_version){log.applied_term, log.applied_index};
    if (err == 0)
        err = rows_create(&a->rows, a->store);
    return err != 0 ? errmsg_set(e, err, "cannot read the applied intent: %s", err_text(err)) : 0;
}

static int start_aws(struct agent *a, struct errmsg *e)
{
    const struct config *c = a->config;
    struct aws_options options = {
        .loop = a->loop,
        .region = or_null(c->aws_region),
        .profile = or_null(c->aws_profile),
        .ecs_endpoint = or_null(c->ecs_endpoint),
        .sqs_endpoint = or_null(c->sqs_endpoint),
        .sts_endpoint = or_null(c->sts_endpoint),
        .ec2_endpoint = or_null(c->ec2_endpoint),
        .imds_endpoint = or_null(c->imds_endpoint),
        .seed = random_u64(),
    };
    return aws_create(&a->aws, &options, e);
}

static int start_api(struct agent *a, struct errmsg *e)
{
    const struct config *c = a->config;
    struct api_options options = {
        .store = a->store,
        .bind = or_null(c->api_bind),
        .extra_binds = or_null(c->api_extra_binds),
        .socket_path = or_null(c->api_socket),
        .socket_group = or_null(c->api_socket_group),
        .admin_group = or_null(c->api_admin_group),
        .token_file = or_null(c->api_token_file),
        .anonymous = strcmp(c->api_anonymous, "write") == 0  ? API_ANONYMOUS_WRITE
                     : strcmp(c->api_anonymous, "read") == 0 ? API_ANONYMOUS_READ
                                                             : API_ANONYMOUS_NONE,
        .allowed_hosts = or_null(c->api_allowed_hosts),
        .cluster = or_null(c->cluster),
        .threads = (unsigned)c->api_threads,
        .arg = a,
        .submit = commands_submit,
        .want = want,
    };
    return api_start(&a->api, &options, e);
}

static void init_handles(struct agent *a)
{
    uv_async_init(a->loop, &a->store_async, on_store_async);
    uv_async_init(a->loop, &a->write_async, on_write_async);
    uv_async_init(a->loop, &a->want_async, on_want_async);
    uv_timer_init(a->loop, &a->tick);
    a->store_async.data = a;
    a->write_async.data = a;
    a->want_async.data = a;
    a->tick.data = a;
    a->handles_open = 4;
    agent_tick_start(a);
}

/* The process is going to end. Closing the store spares the next start the checks after a crash. */
static int start_failed(struct agent *a, int err)
{
    if (a->api != NULL)
        api_stop(a->api);
    if (a->store != NULL)
        store_close(a->store);
    rows_destroy(a->rows);
    intent_destroy(a->intent);
    keys_wipe(&a->keys);
    a->api = NULL;
    a->store = NULL;
    a->rows = NULL;
    a->intent = NULL;
    return err;
}

int agent_start(struct agent **ret, uv_loop_t *loop, const struct config *config, struct errmsg *e)
{
    struct agent *a = calloc(1, sizeof *a);
    if (a == NULL)
        return errmsg_set(e, ERR_NOMEM, "out of memory");
    *ret = a;
    a->loop = loop;
    a->config = config;
    a->started_mono_ms = clock_mono_ms();
    a->started_unix_ms = clock_unix_ms();
    a->role = RAFT_UV_OUTSIDE;
    prng_seed(&a->prng, random_u64());
    figures_start();
    list_init(&a->writes);
    list_init(&a->commands);
    list_init(&a->offers);
    list_init(&a->strong_reads);
    pthread_mutex_init(&a->writes_lock, NULL);
    int err = keys_read(&a->keys, config->gossip_key_file, e);
    if (err != 0)
        return err;
    init_handles(a);
    err = open_store(a, e);
    if (err == 0)
        err = start_aws(a, e);
    if (err == 0)
        err = start_api(a, e);
    if (err != 0)
        return start_failed(a, err);
    publish_watch_mark(a);
    publish_all(a);
    struct identity_options options = {
        .loop = loop,
        .aws = a->aws,
        .store = a->store,
        .config = config,
        .arg = a,
        .on_known = on_identity,
        .on_more = on_more_identity,
    };
    err = identity_start(&a->search, &options);
    if (err != 0)
        return start_failed(a, errmsg_set(e, err, "out of memory"));
    LOG(LOG_INFO, "started", "blox " BLOX_VERSION, LU("api_port", api_port(a->api)),
        LU("rows", a->store_report.rows));
    return 0;
}
