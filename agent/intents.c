/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/intents.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/sha256.h"

struct job {
    struct agent *agent;
    json_t *command;
    daemons_done_fn done;
    void *arg;
};

static struct job *job_new(struct agent *a, const json_t *command, daemons_done_fn done, void *arg)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return NULL;
    *job = (struct job){.agent = a, .command = json_deep_copy(command), .done = done, .arg = arg};
    return job;
}

static void job_end(struct job *job, const struct intent_result *result)
{
    job->done(job->arg, result);
    json_decref(job->command);
    free(job);
}

static void job_fail(struct job *job, int err, const char *detail)
{
    struct intent_result r = {.err = err};
    snprintf(r.detail, sizeof r.detail, "%s", detail);
    job_end(job, &r);
}

/* ---- read ------------------------------------------------------------------------------ */

static json_t *with_id(const json_t *row, const char *id)
{
    json_t *j = json_deep_copy(row);
    if (json_str(j, "id") == NULL)
        json_set_str(j, "id", id);
    return j;
}

static json_t *saved(const struct agent *a)
{
    struct buf b;
    buf_init(&b, GOSSIP_MESSAGE_MAX);
    json_t *j = intent_save(a->intent, &b) == 0 ? json_parse(b.data, b.len, NULL) : NULL;
    buf_fini(&b);
    return j;
}

static void put_digest(json_t *doc)
{
    uint8_t digest[SHA256_SIZE];
    char text[2 * SHA256_SIZE + 1];
    char *bytes = json_dumps(json_object_get(doc, "environments"), JSON_COMPACT | JSON_SORT_KEYS);
    if (bytes == NULL)
        return;
    sha256(bytes, strlen(bytes), digest);
    for (size_t i = 0; i < SHA256_SIZE; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    json_set_str(doc, "sha256", text);
    free(bytes);
}

static void cluster_text(const struct agent *a, char out[17])
{
    snprintf(out, 17, "%016" PRIx64, raft_uv_cluster_id(a->raft));
}

/* What `blox backup` writes. Idempotency keys are left out: they live a day. */
static json_t *backup(const struct agent *a)
{
    char id[17], now[CLOCK_TEXT_MAX];
    json_t *all = saved(a);
    json_t *doc = all == NULL ? NULL : json_object();
    if (doc == NULL)
        return NULL;
    cluster_text(a, id);
    json_set_str(doc, "kind", "blox-intent");
    json_set_int(doc, "format", 1);
    json_set_str(doc, "cluster", identity_cluster_name(&a->identity));
    json_set_str(doc, "cluster_id", id);
    json_set_str(doc, "created_at", clock_format_unix_ms(clock_unix_ms(), now));
    json_object_set(doc, "environments", json_object_get(all, "environments"));
    json_decref(all);
    put_digest(doc);
    return doc;
}

static json_t *list(const struct agent *a, const char *environment)
{
    json_t *all = saved(a);
    json_t *items = all == NULL ? NULL : json_array();
    if (items == NULL)
        return NULL;
    const json_t *environments = json_arr(all, "environments");
    for (size_t i = 0; i < json_array_size(environments); i++) {
        const json_t *one = json_array_get(environments, i);
        const json_t *row = json_object_get(one, "row");
        const char *name = json_str_or(row, "name", "");
        const json_t *deployments = json_arr(one, "deployments");
        if (environment == NULL)
            json_array_append_new(items, with_id(row, name));
        else if (strcmp(name, environment) == 0)
            for (size_t k = 0; k < json_array_size(deployments); k++)
                json_array_append(items, json_object_get(json_array_get(deployments, k), "row"));
    }
    json_decref(all);
    return json_pack("{s:o}", "items", items);
}

/* ERR_NOTFOUND; ERR_TOOBIG: all that there is does not fit into a message. */
static int read_now(const struct job *job, json_t **ret)
{
    const struct agent *a = job->agent;
    const char *name = json_str(job->command, "name");
    const char *id = json_str(job->command, "deployment");
    bool all = name == NULL || json_bool_or(job->command, "deployments", false);
    const json_t *row = NULL;
    if (name != NULL)
        row = intent_environment(a->intent, name);
    if (row != NULL && id != NULL)
        row = intent_deployment(a->intent, name, id);
    if (name != NULL && row == NULL)
        return ERR_NOTFOUND;
    if (json_bool_or(job->command, "backup", false))
        *ret = backup(a);
    else if (all && id == NULL)
        *ret = list(a, name);
    else
        *ret = with_id(row, id != NULL ? id : name);
    return *ret == NULL ? ERR_TOOBIG : 0;
}

static void on_barrier(void *arg, int err, uint64_t index, uint64_t term)
{
    struct job *job = arg;
    (void)index;
    (void)term;
    if (err != 0) { /* nothing was changed, so it may be asked for again anywhere */
        job_fail(job, err == ERR_TIMEOUT ? ERR_NOTLEADER : err, "leadership was lost meanwhile");
        return;
    }
    json_t *body;
    err = read_now(job, &body);
    if (err != 0) {
        job_fail(job, err,
                 err == ERR_TOOBIG ? "the answer is larger than a message may be"
                                   : "there is no such environment or deployment");
        return;
    }
    job_end(job, &(struct intent_result){.body = body});
    json_decref(body);
}

/* ---- restore ------------------------------------------------------------------------------ */

static int check_cluster(const struct agent *a, const json_t *command, char *detail, size_t size)
{
    const char *name = json_str_or(command, "clusterName", "");
    const char *id = json_str_or(command, "clusterId", "");
    char own[17];
    cluster_text(a, own);
    bool same = strcmp(name, identity_cluster_name(&a->identity)) == 0 &&
                raft_uv_was(a->raft, strtoull(id, NULL, 16));
    if (same || json_bool_or(command, "force", false))
        return 0;
    snprintf(detail, size,
             "this backup is of cluster %.60s (%.16s), here is %.60s (%s); restore it all the same "
             "with --force (?force=true)",
             name, id, identity_cluster_name(&a->identity), own);
    return ERR_CONFLICT;
}

/* Entries are applied several at a time, and who proposed them hears of it after the last. */
struct restored {
    struct restored *next;
    uint64_t index;
    struct intent_result result; /* .body is this one's own */
    json_t *body;
};

static void forget_restored(struct agent *a)
{
    for (struct restored *at; (at = a->restored) != NULL;) {
        a->restored = at->next;
        json_decref(at->body);
        free(at);
    }
}

void intents_applied(struct agent *a, uint64_t index, const struct intent_result *result)
{
    struct restored *one = a->restoring == 0 ? NULL : malloc(sizeof *one);
    if (one == NULL)
        return;
    *one = (struct restored){.next = a->restored, .index = index, .result = *result};
    one->body = result->body == NULL ? NULL : json_deep_copy(result->body);
    one->result.body = one->body;
    a->restored = one;
}

static void on_restored(void *arg, int err, uint64_t index, uint64_t term)
{
    struct job *job = arg;
    struct agent *a = job->agent;
    const struct restored *one = a->restored;
    (void)term;
    while (one != NULL && one->index != index)
        one = one->next;
    a->restoring--;
    if (err != 0)
        job_fail(job, err,
                 "leadership was lost meanwhile; restore the same file again, that does no harm");
    else if (one == NULL)
        job_fail(job, ERR_NOMEM, "no memory for its result; restore the same file again");
    else
        job_end(job, &one->result);
    if (a->restoring == 0)
        forget_restored(a);
}

static void restore(struct job *job)
{
    struct agent *a = job->agent;
    char detail[256] = "";
    struct buf b;
    int err = check_cluster(a, job->command, detail, sizeof detail);
    if (err != 0) {
        job_fail(job, err, detail);
        return;
    }
    json_t *entry = json_object();
    json_set_str(entry, "op", "intent.restore");
    json_object_set(entry, "environments", json_object_get(job->command, "environments"));
    json_set_int(entry, "now", clock_unix_ms());
    buf_init(&b, RAFT_COMMAND_MAX);
    err = json_write(entry, &b);
    json_decref(entry);
    if (err == 0) {
        a->restoring++;
        err = raft_uv_propose(a->raft, b.data, b.len, on_restored, job);
        a->restoring -= err != 0;
    }
    buf_fini(&b);
    if (err == ERR_TOOBIG)
        job_fail(job, err, "more than the log takes at once (64 KiB); blox restore sends parts");
    else if (err != 0)
        job_fail(job, err, err_text(err));
}

bool intents_run(struct agent *a, const json_t *command, daemons_done_fn done, void *arg)
{
    const char *op = json_str_or(command, "op", "");
    bool reads = strcmp(op, "intent.read") == 0;
    if (!reads && strcmp(op, "intent.restore") != 0)
        return false;
    struct job *job = job_new(a, command, done, arg);
    if (job == NULL) {
        done(arg, &(struct intent_result){.err = ERR_NOMEM});
        return true;
    }
    if (!reads) {
        restore(job);
        return true;
    }
    int err = raft_uv_barrier(a->raft, on_barrier, job);
    if (err != 0)
        job_fail(job, err, err_text(err));
    return true;
}

/* ---- recovery -------------------------------------------------------------------------------- */

bool intents_is_local(const json_t *command)
{
    return strncmp(json_str_or(command, "op", ""), "raft.", 5) == 0;
}

static void on_local(void *arg, int err)
{
    struct job *job = arg;
    char id[17] = "";
    if (err != 0) {
        job_fail(job, err, "the raft log could not be written; restart this agent and try again");
        return;
    }
    cluster_text(job->agent, id);
    publish_dirty(job->agent, API_DOC_LEADER);
    json_t *body = json_pack("{s:s}", "cluster_id", id);
    job_end(job, &(struct intent_result){.body = body});
    json_decref(body);
}

void intents_local(struct agent *a, const json_t *command, daemons_done_fn done, void *arg)
{
    struct errmsg e = {{0}};
    bool force = json_bool_or(command, "force", false);
    struct job *job = job_new(a, command, done, arg);
    if (job == NULL) {
        done(arg, &(struct intent_result){.err = ERR_NOMEM});
        return;
    }
    int err = ERR_NOTREADY;
    if (a->raft == NULL)
        errmsg_set(&e, err, "this agent is starting and has no raft state yet");
    else if (strcmp(json_str_or(command, "op", ""), "raft.recover") == 0)
        err = raft_uv_recover(a->raft, force, on_local, job, &e);
    else
        err = raft_uv_rejoin(a->raft, force, on_local, job, &e);
    if (err != 0)
        job_fail(job, err, e.text);
}

static int on_newest(void *arg, const struct store_row *row)
{
    struct record_version *newest = arg;
    if (record_version_cmp(row->record.version, *newest) > 0)
        *newest = row->record.version;
    return 0;
}

static const uint8_t kinds[] = {RECORD_ENVIRONMENT, RECORD_DEPLOYMENT};

static int scan(struct agent *a, store_scan_fn fn, void *arg)
{
    struct store_txn *txn;
    int err = store_read_begin(a->store, &txn);
    for (size_t i = 0; i < 2 && err == 0; i++)
        err =
            store_scan(txn, &(struct store_query){.kind = kinds[i], .with_deleted = true}, fn, arg);
    if (txn != NULL)
        store_read_end(txn);
    return err;
}

int intents_newest(void *arg, uint64_t *ret_term, uint64_t *ret_index)
{
    struct record_version newest = {0, 0};
    int err = scan(arg, on_newest, &newest);
    *ret_term = newest.hi;
    *ret_index = newest.lo;
    return err;
}

struct merge {
    struct intent *intent;
    struct record_version after; /* the own log has all up to here */
    unsigned count;
};

static int on_merge(void *arg, const struct store_row *row)
{
    struct merge *m = arg;
    const struct record *rec = &row->record;
    if (record_version_cmp(rec->version, m->after) <= 0)
        return 0;
    struct store_log_intent one = {.kind = rec->kind,
                                   .key = rec->key,
                                   .key_len = (uint16_t)rec->key_len,
                                   .deleted = rec->deleted,
                                   .value = rec->value,
                                   .value_len = (uint32_t)rec->value_len,
                                   .version = rec->version};
    int err = intent_merge(m->intent, &one);
    if (err == ERR_MALFORMED) {
        LOG(LOG_WARN, "recover_row", "a row of intent is damaged and was left out",
            LS("kind", record_kind_str(rec->kind)));
        return 0;
    }
    m->count += err == 0;
    return err;
}

int intents_merge(void *arg, uint64_t index, uint64_t term, struct raft_rows *ret)
{
    struct agent *a = arg;
    struct merge m = {.intent = a->intent, .after = {term, index}};
    struct buf b;
    int err = scan(a, on_merge, &m);
    buf_init(&b, GOSSIP_MESSAGE_MAX);
    if (err == 0)
        err = intent_save(a->intent, &b);
    if (err == 0)
        err = intent_load(a->intent, b.data, b.len, &ret->rows, &ret->count);
    buf_fini(&b);
    LOG(LOG_WARN, "recover_merged", "intent taken over from the own log and from gossip",
        LU("rows", ret->count), LU("newer_from_gossip", m.count));
    return err;
}
