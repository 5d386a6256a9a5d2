/* SPDX-License-Identifier: Apache-2.0
 * Rows -> model: the whole store once at the start of leadership, in slices, then every batch of
 * rows as it is stored. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/row.h"
#include "agent/daemons/daemons_int.h"

void *world_resize(void *arg, void *memory, size_t size)
{
    (void)arg;
    if (size)
        return realloc(memory, size);
    free(memory);
    return NULL;
}

/* A text of a row, NUL-terminated for the model. */
struct texts {
    char at[ROW_FIELD_END][ARN_MAX];
};

static const char *text_of(struct texts *texts, const struct row *row, enum row_field field)
{
    struct row_text text = row->field[field];
    if (!text.data || text.len >= sizeof texts->at[field])
        return NULL;
    memcpy(texts->at[field], text.data, text.len);
    texts->at[field][text.len] = '\0';
    return texts->at[field];
}

uint64_t world_version(struct record_version v)
{
    uint64_t hi = v.hi >> 48 == 0 ? v.hi : UINT64_MAX >> 16; /* neither can be ECS's */
    return (hi << 16) | (v.lo < UINT16_MAX ? v.lo : UINT16_MAX);
}

/* A row's JSON, and the texts that are taken out of it. */
struct reading {
    struct tape tape;
    char *texts; /* as long as the JSON, so that all of its texts fit */
    size_t used, size;
};

/* What cannot be read gives nothing, here and below. */
static void read_open(struct reading *r, const struct row *row)
{
    *r = (struct reading){.size = row->json.len + 1};
    tape_init(&r->tape);
    r->texts = malloc(r->size);
    if (!r->texts || tape_parse(&r->tape, row->json.data, row->json.len, NULL) != 0)
        r->tape.count = 0;
}

static void read_close(struct reading *r)
{
    tape_fini(&r->tape);
    free(r->texts);
}

static const char *read_text(struct reading *r, uint32_t node)
{
    char *at = r->texts + r->used;
    if (!tape_text(&r->tape, node, at, r->size - r->used))
        return NULL;
    r->used += strlen(at) + 1;
    return at;
}

static const char *read_member(struct reading *r, uint32_t object, const char *name)
{
    return read_text(r, tape_get(&r->tape, object, name));
}

/* Rows have RFC 3339 texts; numbers are ECS's own epoch seconds. */
static int64_t read_time(struct reading *r, const char *name)
{
    uint32_t node = tape_get(&r->tape, 0, name);
    const char *text = read_text(r, node);
    int64_t unix_ms;
    if (text)
        return clock_parse_rfc3339(text, &unix_ms) == 0 ? unix_ms : 0;
    return (int64_t)(tape_real(&r->tape, node) * 1000);
}

static int put_instance(struct daemons *d, const char *arn, const struct record *rec,
                        const struct row *row, struct model_instance **ret)
{
    struct texts texts;
    struct reading r;
    read_open(&r, row);
    struct model_attribute attributes[MODEL_ATTRIBUTES_MAX];
    struct model_instance_row out = {
        .arn = arn,
        .cluster = text_of(&texts, row, ROW_CLUSTER),
        .status = text_of(&texts, row, ROW_STATUS),
        .ec2_id = text_of(&texts, row, ROW_EC2_INSTANCE),
        .zone = text_of(&texts, row, ROW_ZONE),
        .agent_version = read_member(&r, tape_get(&r.tape, 0, "versionInfo"), "agentVersion"),
        .connected = row_field_is(row, ROW_CONNECTED, "true"),
        .version = world_version(rec->version),
        .registered_unix_ms = read_time(&r, "registeredAt"),
        .attributes = attributes,
    };
    (void)tape_int(&r.tape, tape_get(&r.tape, 0, "runningTasksCount"), &out.running_tasks);
    uint32_t list = tape_get(&r.tape, 0, "attributes");
    for (uint32_t i = tape_first(&r.tape, list); i != TAPE_NONE; i = tape_next(&r.tape, list, i)) {
        const char *name = read_member(&r, i, "name");
        if (name && out.attribute_count < MODEL_ATTRIBUTES_MAX)
            attributes[out.attribute_count++] =
                (struct model_attribute){name, read_member(&r, i, "value")};
    }
    int rv = model_put_instance(&d->model, &out, daemons_now(d), ret);
    read_close(&r);
    return rv;
}

/* What a row says of a task's end, which the model does not keep. */
struct end {
    int64_t started_unix_ms; /* 0: never ran */
    int64_t stopped_unix_ms;
    const char *code; /* "" if none, as below */
    const char *reason;
};

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

/* Of other tasks only place, group and life are asked for: no need to parse them. */
static void read_task(struct reading *r, const struct row *row, struct model_task_row *out,
                      struct end *end)
{
    if (!out->group || strncmp(out->group, PLAN_GROUP_PREFIX, sizeof PLAN_GROUP_PREFIX - 1) != 0)
        return;
    read_open(r, row);
    out->created_unix_ms = read_time(r, "createdAt");
    *end = (struct end){.started_unix_ms = read_time(r, "startedAt"),
                        .stopped_unix_ms = read_time(r, "stoppedAt"),
                        .code = or_empty(read_member(r, 0, "stopCode")),
                        .reason = or_empty(read_member(r, 0, "stoppedReason"))};
}

void world_dirty_all(struct daemons *d)
{
    for (struct list *n = d->env_list.next; n != &d->env_list; n = n->next)
        LIST_OF(n, struct denv, node)->dirty = true;
    daemons_wake(d);
}

void world_mark_seen(struct daemons *d, const char *cluster)
{
    const struct model_name *one = cluster ? model_find_name(&d->model, cluster) : NULL;
    for (size_t i = 0; i < d->model.slot_count; i++) {
        struct model_instance *inst = d->model.instances[i];
        if (!inst || !inst->cluster)
            continue;
        if (cluster ? inst->cluster == one : intake_knows(d->options.intake, inst->cluster->text))
            inst->seen_ms = daemons_now(d);
    }
}

static void dirty_group(struct daemons *d, const struct model_name *group)
{
    struct denv *env = envs_of_group(d, group->text);
    if (env)
        env->dirty = true;
    daemons_wake(d);
}

/* It may be the one that is awaited there (a deployment ago, and its rows were lost): ECS knows. */
static void note_former_death(struct daemons *d, struct denv *env, const struct model_task *task)
{
    if (!envs_room(d, env))
        return;
    struct plan_pair *pair = envs_pair(env, task->instance);
    if (pair->phase == PAIR_ARRIVING && pair->generation == task->instance->generation &&
        pair->deployment == plan_deployment_hash(task->kind->started_by->text))
        plan_pair_unknown(pair, daemons_now(d));
}

/* A task that was live is STOPPED now: does its place have to pause? */
static void note_death(struct daemons *d, const struct model_task *task, const struct end *end)
{
    char arn[MODEL_ARN_MAX];
    struct denv *env = envs_of_group(d, task->kind->group->text);
    if (!env || !task->kind->started_by)
        return;
    if (strcmp(task->kind->started_by->text, env->deployment) != 0) {
        note_former_death(d, env, task);
        return;
    }
    if (task->stop_again_ms || strncmp(end->reason, "blox:", 5) == 0)
        return; /* our own doing */
    if (!envs_room(d, env))
        return;
    struct plan_pair *pair = envs_pair(env, task->instance);
    int64_t ran_ms = -1;
    if (end->started_unix_ms && end->stopped_unix_ms)
        ran_ms = end->stopped_unix_ms - end->started_unix_ms;
    d->counters.died++;
    struct plan_pair before = *pair;
    plan_pair_died(pair, task->instance, env->deployment, ran_ms, daemons_now(d), &d->prng);
    if (before.phase == PAIR_ASKED || before.phase == PAIR_UNKNOWN) { /* still to be answered */
        pair->phase = before.phase;
        pair->since_ms = before.since_ms;
        pair->tended = before.tended;
    }
    envs_note_failure(env, task->instance->slot, ran_ms < PLAN_RAN_WELL_MS ? end->code : "");
    LOG(LOG_INFO, "daemon_task_stopped", end->reason, LS("environment", env->name),
        LS("task", model_task_arn(task, arn)), LI("ran_ms", ran_ms),
        LU("failures", pair->failures));
}

static void full(const struct daemons *d, int err)
{
    (void)d;
    if (err == ERR_FULL || err == ERR_NOMEM)
        LOG(LOG_ERROR, "daemons_model", "a row does not fit into the scheduler's model",
            LS("error", err_text(err)));
}

static void take_task(struct daemons *d, const char *arn, const struct record *rec,
                      const struct row *row, bool is_load)
{
    struct texts texts;
    struct reading r = {0};
    struct end end = {.code = "", .reason = ""};
    struct model_task_row out = {
        .arn = arn,
        .cluster = text_of(&texts, row, ROW_CLUSTER),
        .instance = text_of(&texts, row, ROW_INSTANCE),
        .group = text_of(&texts, row, ROW_GROUP),
        .started_by = text_of(&texts, row, ROW_STARTED_BY),
        .status = text_of(&texts, row, ROW_STATUS),
        .desired = text_of(&texts, row, ROW_DESIRED),
        .version = world_version(rec->version),
    };
    read_task(&r, row, &out, &end);
    struct model_task *task;
    const struct model_task *before = model_find_task(&d->model, arn);
    bool was_there = before != NULL, was_live = before && model_task_is_live(before);
    full(d, model_put_task(&d->model, &out, daemons_now(d), &task));
    /* A task of which only the end was ever seen counts as well, unless it is history. */
    if (task && !is_load && !model_task_is_live(task) && (was_live || !was_there))
        note_death(d, task, &end);
    if (task && !is_load)
        dirty_group(d, task->kind->group);
    read_close(&r);
}

static void take_record(struct daemons *d, const struct record *rec, bool is_load, bool from_peers)
{
    char arn[RECORD_KEY_MAX + 1];
    if (rec->key_len > RECORD_KEY_MAX)
        return;
    memcpy(arn, rec->key, rec->key_len);
    arn[rec->key_len] = '\0';
    if (rec->deleted) {
        if (rec->kind == RECORD_INSTANCE)
            model_del_instance(&d->model, arn);
        else
            model_del_task(&d->model, arn);
        world_dirty_all(d);
        return;
    }
    struct row row;
    if (row_decode(rec->value, rec->value_len, &row) != 0)
        return;
    if (rec->kind == RECORD_TASK) {
        take_task(d, arn, rec, &row, is_load);
        return;
    }
    struct model_instance *inst;
    int rv = put_instance(d, arn, rec, &row, &inst);
    full(d, rv);
    if (inst && from_peers)
        inst->seen_ms = 0; /* nothing is done because of it before ECS was asked */
    if (!is_load && inst)
        world_dirty_all(d);
}

/* Any member can push rows. What a peer says of a task, or that something is gone, is not taken
 * before ECS has shown it: as news from intake, or by daemons_shown. */
static void ask_ecs(struct daemons *d, const struct record *rec)
{
    char arn[RECORD_KEY_MAX + 1];
    struct texts texts;
    struct row row;
    const char *cluster = NULL; /* the own */
    if (rec->key_len > RECORD_KEY_MAX)
        return;
    memcpy(arn, rec->key, rec->key_len);
    arn[rec->key_len] = '\0';
    if (d->doubted.count == DAEMONS_DOUBTED_MAX || map_put(&d->doubted, arn, d, NULL) != 0)
        return; /* until ECS has news of it */
    const struct model_task *task = model_find_task(&d->model, arn);
    const struct model_instance *inst = task ? task->instance : model_find_instance(&d->model, arn);
    if (inst && inst->cluster) /* rather than what the row says */
        cluster = inst->cluster->text;
    else if (!rec->deleted && row_decode(rec->value, rec->value_len, &row) == 0)
        cluster = text_of(&texts, &row, ROW_CLUSTER);
    if (rec->kind == RECORD_TASK)
        intake_refresh_task(d->options.intake, cluster, arn);
    else
        intake_refresh_instance(d->options.intake, cluster, arn);
}

/* ECS may still show what was before that which a peer told of: the doubt goes on. */
static bool is_latest(const struct daemons *d, const struct record *rec)
{
    struct store_txn *txn;
    struct store_row row;
    if (store_read_begin(d->options.store, &txn) != 0)
        return false;
    bool older = store_get_ref(txn, rec->kind, rec->key, rec->key_len, &row) == 0 &&
                 record_is_newer(row.record.version, rec->version);
    store_read_end(txn);
    return !older;
}

void daemons_shown(struct daemons *d, const struct record *rec)
{
    char arn[RECORD_KEY_MAX + 1];
    if (!d->leading || d->doubted.count == 0 || rec->key_len > RECORD_KEY_MAX)
        return;
    memcpy(arn, rec->key, rec->key_len);
    arn[rec->key_len] = '\0';
    if (!map_has(&d->doubted, arn))
        return;
    if (is_latest(d, rec))
        (void)map_del(&d->doubted, arn);
    take_record(d, rec, false, false);
}

bool daemons_in_doubt(const struct daemons *d, const char *arn)
{
    return d->leading && (map_has(&d->doubted, arn) || d->doubted.count == DAEMONS_DOUBTED_MAX);
}

/* News from ECS ends the doubt in what a peer told before. */
static void take_news(struct daemons *d, const struct record *rec, bool from_peers)
{
    char arn[RECORD_KEY_MAX + 1];
    if (!from_peers && d->doubted.count > 0 && rec->key_len <= RECORD_KEY_MAX) {
        memcpy(arn, rec->key, rec->key_len);
        arn[rec->key_len] = '\0';
        (void)map_del(&d->doubted, arn);
    }
    take_record(d, rec, false, from_peers);
}

/* The same version came again: the row is confirmed. */
static void confirm(struct daemons *d, const struct record *rec)
{
    char arn[RECORD_KEY_MAX + 1];
    if (rec->kind != RECORD_INSTANCE || rec->deleted || rec->source != SOURCE_RECONCILE ||
        rec->key_len > RECORD_KEY_MAX)
        return;
    memcpy(arn, rec->key, rec->key_len);
    arn[rec->key_len] = '\0';
    struct model_instance *inst = model_find_instance(&d->model, arn);
    if (!inst || inst->version != world_version(rec->version))
        return;
    bool waited_for = inst->confirm_asked_ms != 0;
    inst->seen_ms = daemons_now(d);
    inst->confirm_asked_ms = 0;
    if (waited_for)
        world_dirty_all(d);
}

/* rows keeps its listeners until it is destroyed, and rows still come after this module is gone:
 * what rows holds is this, not the daemons. It stays, a few bytes for each daemons_create. */
struct world_link {
    struct daemons *d; /* NULL: gone */
    struct world_link *next;
};
static struct world_link *links; /* loop thread */

static void listen_rows(void *arg, const struct record *records, const struct store_change *changes,
                        size_t count, bool from_peers)
{
    struct daemons *d = ((struct world_link *)arg)->d;
    if (!d || !d->leading)
        return;
    for (size_t i = 0; i < count; i++) {
        if (records[i].kind == RECORD_ATTEMPT && changes[i].applied && !records[i].deleted &&
            records[i].version.hi < d->term) { /* a peer brought it, after we had looked */
            d->adopt = true;
            daemons_wake(d);
        }
        if (records[i].kind != RECORD_INSTANCE && records[i].kind != RECORD_TASK)
            continue;
        bool doubtful = from_peers && (records[i].kind == RECORD_TASK || records[i].deleted);
        if (changes[i].applied && doubtful)
            ask_ecs(d, &records[i]);
        else if (changes[i].applied)
            take_news(d, &records[i], from_peers);
        else if (!from_peers && records[i].kind == RECORD_TASK && !records[i].deleted)
            daemons_shown(d, &records[i]); /* a peer's word was faster than ECS's */
        else if (!from_peers)
            confirm(d, &records[i]);
    }
}

int world_attach(struct daemons *d)
{
    struct world_link *link = malloc(sizeof *link);
    if (!link)
        return ERR_NOMEM;
    *link = (struct world_link){d, links};
    links = link;
    rows_listen(d->options.rows, listen_rows, link);
    return 0;
}

void world_detach(const struct daemons *d)
{
    for (struct world_link *link = links; link; link = link->next) {
        if (link->d == d)
            link->d = NULL;
    }
}

void world_load_start(struct daemons *d)
{
    d->loaded = false;
    d->load_kind = RECORD_INSTANCE;
    d->load_after_len = 0;
}

struct load {
    struct daemons *d;
    size_t count;
    uint64_t until_ns;
    bool more;
};

static int load_row(void *arg, const struct store_row *row)
{
    struct load *load = arg;
    struct daemons *d = load->d;
    take_record(d, &row->record, true, false);
    memcpy(d->load_after, row->record.key, row->record.key_len);
    d->load_after_len = row->record.key_len;
    load->more = ++load->count == DAEMONS_LOAD_SLICE || clock_mono_ns() >= load->until_ns;
    return load->more;
}

void world_load_slice(struct daemons *d)
{
    struct store_txn *txn;
    struct load load = {.d = d, .until_ns = clock_mono_ns() + DAEMONS_LOAD_SLICE_US * 1000u};
    int rv = store_read_begin(d->options.store, &txn);
    if (rv == 0) {
        struct store_query query = {.kind = d->load_kind};
        if (d->load_after_len) {
            query.after_key = d->load_after;
            query.after_key_len = d->load_after_len;
        }
        rv = store_scan(txn, &query, load_row, &load);
        store_read_end(txn);
    }
    if (rv) { /* tried again at the next step */
        LOG(LOG_WARN, "daemons_load", "cannot read the rows", LS("error", err_text(rv)));
        return;
    }
    if (load.more)
        return;
    d->load_after_len = 0;
    d->loaded = d->load_kind == RECORD_TASK;
    d->load_kind = RECORD_TASK;
    if (d->loaded)
        LOG(LOG_INFO, "daemons_loaded", "the scheduler knows the stored rows",
            LU("instances", d->model.instance_table.count), LU("daemons", d->model.daemons.count),
            LU("others", d->model.others.count));
}
