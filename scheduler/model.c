/* SPDX-License-Identifier: Apache-2.0
 * In one file, because names, instances and tasks hold and free each other. */
#include "scheduler/model.h"

#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "scheduler/model_attributes.h"
#include "scheduler/model_kind.h"
#include "scheduler/model_pool.h"
#include "scheduler/model_table.h"

static const char *const instance_status_text[] = {"UNSEEN", "REGISTERING", "ACTIVE", "DRAINING",
                                                   "INACTIVE"};
static const char *const task_status_text[] = {"PROVISIONING", "PENDING",  "ACTIVATING",
                                               "RUNNING",      "STOPPING", "STOPPED"};

const char *model_instance_status_str(enum model_instance_status status)
{
    return instance_status_text[status];
}

const char *model_task_status_str(enum model_task_status status)
{
    return task_status_text[status];
}

enum model_task_status model_task_status_parse(const char *text)
{
    static const struct {
        const char *text;
        enum model_task_status status;
    } known[] = {
        {"PROVISIONING", TASK_PROVISIONING}, {"PENDING", TASK_PENDING},
        {"ACTIVATING", TASK_ACTIVATING},     {"RUNNING", TASK_RUNNING},
        {"DEACTIVATING", TASK_STOPPING},     {"STOPPING", TASK_STOPPING},
        {"DEPROVISIONING", TASK_STOPPING},   {"STOPPED", TASK_STOPPED},
        {"DELETED", TASK_STOPPED},
    };
    for (size_t i = 0; text && i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(text, known[i].text) == 0)
            return known[i].status;
    }
    return TASK_PROVISIONING;
}

static enum model_instance_status instance_status_parse(const char *text)
{
    if (!text)
        return MODEL_INACTIVE;
    if (strcmp(text, "ACTIVE") == 0)
        return MODEL_ACTIVE;
    if (strcmp(text, "DRAINING") == 0)
        return MODEL_DRAINING;
    if (strcmp(text, "REGISTERING") == 0)
        return MODEL_REGISTERING;
    return MODEL_INACTIVE; /* DEREGISTERING, INACTIVE, REGISTRATION_FAILED: nothing can start */
}

static const char *instance_key(const void *entry)
{
    return ((const struct model_instance *)entry)->arn;
}

static const char *name_key(const void *entry)
{
    return ((const struct model_name *)entry)->text;
}

static void *get_memory(struct model *m, size_t size)
{
    return m->resize(m->arg, NULL, size);
}

static void give_memory(struct model *m, void *memory)
{
    if (memory)
        m->resize(m->arg, memory, 0);
}

void model_init(struct model *m, size_t instances_max, size_t tasks_max, model_resize_fn resize,
                void *arg)
{
    memset(m, 0, sizeof *m);
    m->instances_max = instances_max;
    m->tasks_max = tasks_max;
    m->resize = resize;
    m->arg = arg;
    m->daemons.entry_size = sizeof(struct model_task);
    m->others.entry_size = sizeof(struct model_other);
}

/* ---- names ------------------------------------------------------------------ */

int model_hold_name(struct model *m, const char *text, struct model_name **ret)
{
    *ret = NULL;
    if (!text || !*text)
        return 0;
    uint64_t hash = hash_str(text);
    struct model_name *name = model_table_get(&m->name_table, name_key, hash, text);
    if (!name) {
        size_t len = strlen(text);
        int rv = model_table_reserve(m, &m->name_table);
        if (rv)
            return rv;
        name = get_memory(m, sizeof *name + len + 1);
        if (!name)
            return ERR_NOMEM;
        name->hash = hash;
        name->users = 0;
        memcpy(name->text, text, len + 1);
        model_table_add(&m->name_table, hash, name);
    }
    name->users++;
    *ret = name;
    return 0;
}

void model_drop_name(struct model *m, struct model_name *name)
{
    if (!name || --name->users > 0)
        return;
    model_table_remove(&m->name_table, name->hash, name);
    give_memory(m, name);
}

const struct model_name *model_find_name(const struct model *m, const char *text)
{
    return model_table_get(&m->name_table, name_key, hash_str(text), text);
}

/* ---- instances ---------------------------------------------------------------- */

static char *put_text(char **at, const char *text)
{
    char *copy = *at;
    size_t len = text ? strlen(text) : 0;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    *at = copy + len + 1;
    return copy;
}

static size_t text_size(const char *text)
{
    return (text ? strlen(text) : 0) + 1;
}

static size_t block_size(size_t attributes, const char *arn, const char *ec2_id, const char *zone,
                         const char *agent_version)
{
    return attributes * sizeof(char *) + text_size(arn) + text_size(ec2_id) + text_size(zone) +
           text_size(agent_version);
}

/* Fills the texts and attributes from the row into one block of memory, which stays where it is as
 * long as it fits: each task that starts or stops is news of its instance, and blocks that move
 * through the heap each time keep its pages from going back. */
static int fill_texts(struct model *m, struct model_instance *inst,
                      const struct model_instance_row *row)
{
    struct model_attributes a;
    if (model_attributes_hold(m, row->attributes, row->attribute_count, &a))
        return ERR_NOMEM;
    size_t size = block_size(a.count, row->arn, row->ec2_id, row->zone, row->agent_version);
    bool fits = inst->block && size == block_size(inst->attribute_count, inst->arn, inst->ec2_id,
                                                  inst->zone, inst->agent_version);
    char *block = fits ? inst->block : get_memory(m, size);
    if (!block) {
        model_attributes_drop(m, a.traits, a.own, a.count);
        return ERR_NOMEM;
    }
    model_attributes_drop(m, inst->traits, inst->attributes, inst->attribute_count);
    if (!fits)
        give_memory(m, inst->block);
    if (a.count)
        memcpy(block, a.own, a.count * sizeof(char *));
    char *at = block + a.count * sizeof(char *);
    inst->arn = put_text(&at, row->arn);
    inst->ec2_id = put_text(&at, row->ec2_id);
    inst->zone = put_text(&at, row->zone);
    inst->agent_version = put_text(&at, row->agent_version);
    inst->traits = a.traits;
    inst->attributes = (const char **)(void *)block;
    inst->attribute_count = a.count;
    inst->attributes_hash = a.hash;
    inst->block = block;
    return 0;
}

static int free_slot(struct model *m, uint32_t *ret)
{
    if (m->instance_table.count >= m->instances_max)
        return ERR_FULL;
    if (m->slot_count == m->slot_cap) {
        for (size_t i = 0; i < m->slot_count; i++) {
            if (!m->instances[i]) {
                *ret = (uint32_t)i;
                return 0;
            }
        }
        size_t cap = m->slot_cap ? m->slot_cap + m->slot_cap / 4 : 64;
        struct model_instance **bigger =
            m->resize(m->arg, m->instances, cap * sizeof(struct model_instance *));
        if (!bigger)
            return ERR_NOMEM;
        m->instances = bigger;
        m->slot_cap = cap;
    }
    m->instances[m->slot_count] = NULL;
    *ret = (uint32_t)m->slot_count++;
    return 0;
}

static int new_instance(struct model *m, const struct model_instance_row *row,
                        struct model_instance **ret)
{
    uint32_t slot;
    int rv = model_table_reserve(m, &m->instance_table);
    if (!rv)
        rv = free_slot(m, &slot);
    if (rv)
        return rv;
    struct model_instance *inst = get_memory(m, sizeof *inst);
    if (!inst)
        return ERR_NOMEM;
    memset(inst, 0, sizeof *inst);
    rv = model_hold_name(m, row->cluster, &inst->cluster);
    if (!rv)
        rv = fill_texts(m, inst, row);
    if (rv) {
        model_drop_name(m, inst->cluster);
        give_memory(m, inst);
        return rv;
    }
    inst->slot = slot;
    inst->generation = ++m->next_generation ? m->next_generation : ++m->next_generation;
    m->instances[slot] = inst;
    model_table_add(&m->instance_table, hash_str(inst->arn), inst);
    *ret = inst;
    return 0;
}

static void free_instance(struct model *m, struct model_instance *inst)
{
    ENSURE(inst->daemons == NULL);
    ENSURE(inst->others == NULL);
    model_table_remove(&m->instance_table, hash_str(inst->arn), inst);
    m->instances[inst->slot] = NULL;
    while (m->slot_count > 0 && !m->instances[m->slot_count - 1])
        m->slot_count--;
    model_drop_name(m, inst->cluster);
    model_attributes_drop(m, inst->traits, inst->attributes, inst->attribute_count);
    give_memory(m, inst->block);
    give_memory(m, inst);
}

int model_put_instance(struct model *m, const struct model_instance_row *row, uint64_t now_ms,
                       struct model_instance **ret)
{
    if (ret)
        *ret = NULL;
    if (!row->arn || !*row->arn || row->attribute_count > MODEL_ATTRIBUTES_MAX)
        return ERR_MALFORMED;
    struct model_instance *inst = model_find_instance(m, row->arn);
    int rv;
    if (!inst)
        rv = new_instance(m, row, &inst);
    else if (inst->status != MODEL_UNSEEN && row->version < inst->version)
        return 0;
    else
        rv = fill_texts(m, inst, row);
    if (!rv && !inst->cluster)
        rv = model_hold_name(m, row->cluster, &inst->cluster);
    if (rv)
        return rv;
    inst->gone = false;
    inst->status = instance_status_parse(row->status);
    inst->connected = row->connected;
    if (row->connected)
        inst->disconnected_since_ms = 0;
    else if (!inst->disconnected_since_ms)
        inst->disconnected_since_ms = now_ms ? now_ms : 1;
    if (inst->status != MODEL_DRAINING)
        inst->draining_since_ms = 0;
    else if (!inst->draining_since_ms)
        inst->draining_since_ms = now_ms ? now_ms : 1;
    if (row->version != inst->version)
        inst->changes++;
    inst->version = row->version;
    inst->seen_ms = now_ms;
    inst->confirm_asked_ms = 0;
    inst->registered_unix_ms = row->registered_unix_ms;
    inst->running_tasks = row->running_tasks;
    if (ret)
        *ret = inst;
    return 0;
}

void model_del_instance(struct model *m, const char *arn)
{
    struct model_instance *inst = model_find_instance(m, arn);
    if (!inst)
        return;
    if (inst->daemons || inst->others) { /* its tasks say later what became of them */
        inst->gone = true;
        inst->status = MODEL_INACTIVE;
        inst->connected = false;
        inst->changes++;
        return;
    }
    free_instance(m, inst);
}

struct model_instance *model_find_instance(const struct model *m, const char *arn)
{
    return model_table_get(&m->instance_table, instance_key, hash_str(arn), arn);
}

/* ---- tasks ---------------------------------------------------------------------- */

static bool has_tasks(const struct model_instance *inst)
{
    return inst->daemons || inst->others;
}

static void unlink_task(struct model_task *task)
{
    struct model_task **at = &task->instance->daemons;
    while (*at != task)
        at = &(*at)->next;
    *at = task->next;
}

static void link_task(struct model_task *task, struct model_instance *inst)
{
    task->instance = inst;
    task->next = inst->daemons;
    inst->daemons = task;
}

/* A task left the instance. */
static void task_left(struct model *m, struct model_instance *inst)
{
    inst->changes++;
    if (!has_tasks(inst) && (inst->gone || inst->status == MODEL_UNSEEN))
        free_instance(m, inst);
}

static void free_task(struct model *m, struct model_task *task)
{
    struct model_instance *inst = task->instance;
    unlink_task(task);
    model_kind_drop(m, task->kind);
    model_pool_remove(&m->daemons, task);
    task_left(m, inst);
}

static bool is_wanted(const struct model_task_row *row)
{
    return !row->desired || strcmp(row->desired, "STOPPED") != 0;
}

static int place_of(struct model *m, const struct model_task_row *row, struct model_instance **ret)
{
    *ret = model_find_instance(m, row->instance);
    if (*ret)
        return 0;
    struct model_instance_row unseen = {.arn = row->instance, .cluster = row->cluster};
    return new_instance(m, &unseen, ret);
}

/* No task came to it after all. */
static void unplace(struct model *m, struct model_instance *inst)
{
    if (!has_tasks(inst) && inst->status == MODEL_UNSEEN)
        free_instance(m, inst);
}

/* Forgets the longest stopped tasks of an instance beyond what is kept. */
static void trim_stopped(struct model *m, struct model_task *keep)
{
    for (;;) {
        size_t count = 0;
        struct model_task *oldest = NULL;
        for (struct model_task *t = keep->instance->daemons; t; t = t->next) {
            if (model_task_is_live(t))
                continue;
            count++;
            if (t != keep && (!oldest || t->first_seen_ms < oldest->first_seen_ms))
                oldest = t;
        }
        if (count <= MODEL_STOPPED_KEPT || !oldest)
            return;
        free_task(m, oldest);
    }
}

static void free_other(struct model *m, struct model_other *other)
{
    struct model_instance *inst = other->instance;
    struct model_other **at = &inst->others;
    while (*at != other)
        at = &(*at)->next;
    *at = other->next;
    model_drop_name(m, other->group);
    model_pool_remove(&m->others, other);
    task_left(m, inst);
}

static int add_other(struct model *m, const struct model_task_row *row, uint64_t hash,
                     struct model_other **ret)
{
    struct model_instance *inst = NULL;
    int rv = place_of(m, row, &inst);
    if (rv)
        return rv;
    struct model_other *other = model_pool_add(m, &m->others, hash);
    if (!other) {
        unplace(m, inst);
        return ERR_NOMEM;
    }
    other->instance = inst;
    other->next = inst->others;
    inst->others = other;
    *ret = other;
    return 0;
}

static int put_other(struct model *m, const struct model_task_row *row)
{
    uint64_t hash = hash_str(row->arn);
    struct model_other *other = model_pool_find(&m->others, hash);
    if (other && row->version < other->version)
        return 0;
    if (model_task_status_parse(row->status) == TASK_STOPPED) {
        if (other)
            free_other(m, other);
        return 0;
    }
    if (!other && m->daemons.count + m->others.count >= m->tasks_max)
        return ERR_FULL;
    int rv = other ? 0 : add_other(m, row, hash, &other);
    if (rv)
        return rv;
    struct model_name *group;
    rv = model_hold_name(m, is_wanted(row) ? row->group : NULL, &group);
    model_drop_name(m, other->group);
    other->group = group;
    other->version = row->version;
    return rv;
}

static int add_daemon(struct model *m, const struct model_task_row *row, uint64_t now_ms,
                      struct model_task **ret)
{
    struct model_instance *inst;
    if (m->daemons.count + m->others.count >= m->tasks_max)
        return ERR_FULL;
    int rv = place_of(m, row, &inst);
    if (rv)
        return rv;
    struct model_task *task = model_pool_add(m, &m->daemons, hash_str(row->arn));
    if (!task || model_kind_hold(m, task, row)) {
        if (task)
            model_pool_remove(&m->daemons, task);
        unplace(m, inst);
        return ERR_NOMEM;
    }
    task->first_seen_ms = now_ms;
    task->changed_ms = now_ms;
    link_task(task, inst);
    *ret = task;
    return 0;
}

static int change_daemon(struct model *m, struct model_task *task, const struct model_task_row *row,
                         uint64_t now_ms)
{
    struct model_instance *inst, *before = task->instance;
    struct model_kind *kind = task->kind;
    int rv = place_of(m, row, &inst);
    if (rv)
        return rv;
    if (model_kind_hold(m, task, row)) {
        unplace(m, inst);
        return ERR_NOMEM;
    }
    model_kind_drop(m, kind);
    if (task->version != row->version) {
        task->changed_ms = now_ms;
        task->looked_s = 0;
    }
    bool ends = model_task_status_parse(row->status) == TASK_STOPPED;
    if (ends == model_task_is_live(task))
        before->changes++;
    if (inst != before) {
        unlink_task(task);
        link_task(task, inst);
        task_left(m, before);
    }
    return 0;
}

static int put_daemon(struct model *m, const struct model_task_row *row, uint64_t now_ms,
                      struct model_task **ret)
{
    struct model_task *task = model_find_task(m, row->arn);
    if (strlen(row->arn) >= MODEL_ARN_MAX)
        return ERR_MALFORMED;
    if (task && row->version < task->version)
        return 0;
    int rv = task ? change_daemon(m, task, row, now_ms) : add_daemon(m, row, now_ms, &task);
    if (rv)
        return rv;
    task->status = (uint8_t)model_task_status_parse(row->status);
    task->wanted = is_wanted(row);
    task->version = row->version;
    task->created_unix_ms = row->created_unix_ms;
    if (!model_task_is_live(task))
        trim_stopped(m, task);
    *ret = task;
    return 0;
}

int model_put_task(struct model *m, const struct model_task_row *row, uint64_t now_ms,
                   struct model_task **ret)
{
    struct model_task *task = NULL;
    int rv = 0;
    if (!row->arn || !*row->arn)
        rv = ERR_MALFORMED;
    else if (!row->instance || !*row->instance)
        rv = 0; /* Fargate: no instance of ours */
    else if (row->group &&
             strncmp(row->group, MODEL_DAEMON_PREFIX, sizeof MODEL_DAEMON_PREFIX - 1) == 0)
        rv = put_daemon(m, row, now_ms ? now_ms : 1, &task);
    else
        rv = put_other(m, row);
    if (ret)
        *ret = task;
    return rv;
}

void model_del_task(struct model *m, const char *arn)
{
    struct model_task *task = model_find_task(m, arn);
    struct model_other *other = model_pool_find(&m->others, hash_str(arn));
    if (task)
        free_task(m, task);
    if (other)
        free_other(m, other);
}

struct model_task *model_find_task(const struct model *m, const char *arn)
{
    return model_pool_find(&m->daemons, hash_str(arn));
}

void model_clear(struct model *m)
{
    for (size_t i = m->slot_count; i-- > 0;) {
        struct model_instance *inst = m->instances[i];
        if (!inst)
            continue;
        inst->status = MODEL_ACTIVE; /* so that the last task does not free it */
        inst->gone = false;
        while (inst->daemons)
            free_task(m, inst->daemons);
        while (inst->others)
            free_other(m, inst->others);
        free_instance(m, inst);
    }
}

void model_fini(struct model *m)
{
    model_clear(m);
    give_memory(m, m->instances);
    give_memory(m, m->instance_table.slots);
    model_pool_fini(m, &m->daemons);
    model_pool_fini(m, &m->others);
    give_memory(m, m->kind_table.slots);
    give_memory(m, m->traits_table.slots);
    give_memory(m, m->name_table.slots);
    model_init(m, m->instances_max, m->tasks_max, m->resize, m->arg);
}
