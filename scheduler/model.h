/* SPDX-License-Identifier: Apache-2.0
 * What the scheduler knows of the world: container instances and their tasks, indexed so that
 * an event costs microseconds and the planner walks instances and their few tasks.
 *
 * No I/O, no clock; memory comes from the function the owner gives. An instance keeps its slot
 * while anything is known of it; a slot that is used again has another generation. Pointers to
 * instances and tasks are valid until the next model_* call that changes them. */
#ifndef BLOX_SCHEDULER_MODEL_H
#define BLOX_SCHEDULER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

/* Stopped tasks remembered per instance and list: enough that a late answer about one that has
 * stopped does not bring it back. */
#define MODEL_STOPPED_KEPT 4
#define MODEL_ATTRIBUTES_MAX 256
#define MODEL_ARN_MAX 512 /* with NUL; longer ones are malformed */
#define MODEL_TASK_ID 16
#define MODEL_DAEMON_PREFIX "daemon:" /* ECS group of an environment's tasks */

/* As realloc: size 0 frees and returns NULL. */
typedef void *(*model_resize_fn)(void *arg, void *memory, size_t size);

enum model_instance_status {
    MODEL_UNSEEN, /* only its tasks are known so far */
    MODEL_REGISTERING,
    MODEL_ACTIVE,
    MODEL_DRAINING,
    MODEL_INACTIVE /* deregistering or gone */
};

/* Order matters: later ones have gone further. */
enum model_task_status {
    TASK_PROVISIONING,
    TASK_PENDING,
    TASK_ACTIVATING,
    TASK_RUNNING,
    TASK_STOPPING, /* DEACTIVATING, STOPPING, DEPROVISIONING */
    TASK_STOPPED   /* STOPPED, DELETED, gone */
};

struct model_attribute {
    const char *name;
    const char *value; /* NULL: the attribute has no value */
};

/* One string of a group, cluster, deployment id or attribute, held once; compare pointers. */
struct model_name {
    uint64_t hash;
    uint32_t users;
    char text[];
};

/* Some fifty attributes without a value say what an agent and its host are capable of: instances
 * that have the same share them. "name=", sorted; texts of names. */
struct model_traits {
    uint64_t hash;
    uint32_t users;
    uint32_t count;
    const char *texts[];
};

struct model_task;

struct model_instance {
    uint32_t slot;
    uint32_t generation; /* never 0 */
    enum model_instance_status status;
    bool connected;
    bool gone;                      /* a tombstone came; stays only for its tasks */
    uint64_t version;               /* ECS's counter */
    uint64_t changes;               /* of anything that may free resources or let a start succeed */
    uint64_t attributes_hash;       /* changes with the attributes */
    uint64_t seen_ms;               /* when the row last came or was confirmed, monotonic */
    uint64_t disconnected_since_ms; /* 0: connected */
    uint64_t draining_since_ms;     /* 0: not draining */
    uint64_t confirm_asked_ms;      /* the shell's: when a look at it was asked for; 0: not */
    int64_t registered_unix_ms;     /* 0: unknown */
    int64_t running_tasks;          /* as ECS counts them */
    const char *arn;
    const char *ec2_id; /* "" if unknown, as the texts below */
    const char *zone;
    const char *agent_version;
    struct model_name *cluster;
    struct model_traits *traits; /* its attributes without a value; NULL: none */
    const char **attributes;     /* the others: "name=value", sorted; texts of names */
    size_t attribute_count;
    struct model_task *daemons; /* tasks of a group "daemon:..."; some stopped ones stay */
    struct model_other *others; /* all other tasks that are live */
    void *block;                /* owns the texts and the array of attributes */
};

/* What the tasks of one deployment have in common, held once. */
struct model_kind {
    uint64_t hash;
    uint32_t users;
    struct model_name *head; /* of their ARNs: all but the id, or all of it */
    struct model_name *group;
    struct model_name *started_by; /* NULL: nobody */
};

/* There may be fifty thousand of them: what is only news, as why one stopped, is not kept. */
struct model_task {
    uint64_t hash;           /* of its ARN, which tells it apart; see model_task_arn */
    struct model_task *next; /* on the instance */
    struct model_instance *instance;
    struct model_kind *kind;
    uint64_t version; /* ECS's counter */
    int64_t created_unix_ms;
    uint64_t stop_again_ms; /* monotonic: from when on StopTask may be sent again; 0: never sent */
    uint64_t first_seen_ms; /* monotonic */
    uint64_t changed_ms;    /* monotonic: when this version came */
    uint32_t looked_s;      /* the shell's: a look at it was last asked for so long after; 0: not */
    uint8_t status;         /* enum model_task_status */
    bool wanted;            /* desiredStatus RUNNING */
    bool has_id;
    uint8_t id[MODEL_TASK_ID];
};

/* A live task of no environment: only that it is there and its group are asked for, and there may
 * be ten times as many as daemons. Told apart by the hash of its ARN. */
struct model_other {
    uint64_t hash;
    uint64_t version;
    struct model_instance *instance;
    struct model_name *group; /* NULL: none, or ECS is to stop it */
    struct model_other *next; /* on the instance */
};

struct model_slot {
    uint64_t hash;
    void *entry; /* NULL: free */
};
struct model_table {
    struct model_slot *slots;
    size_t cap; /* 0 or a power of two */
    size_t count;
};

struct model_entry;
struct model_chunk;
/* Entries by their hash; model_pool.c. */
struct model_pool {
    size_t entry_size;
    struct model_entry **slots; /* NULL: free */
    size_t cap;                 /* 0 or a power of two */
    size_t count;
    struct model_entry *free;
    struct model_chunk *chunks;
};

struct model {
    model_resize_fn resize;
    void *arg;
    size_t instances_max;
    size_t tasks_max;
    struct model_instance **instances; /* by slot; NULL: free */
    size_t slot_count;
    size_t slot_cap;
    uint32_t next_generation;
    struct model_table instance_table;
    struct model_pool daemons;
    struct model_pool others;
    struct model_table kind_table;
    struct model_table traits_table;
    struct model_table name_table;
};

void model_init(struct model *m, size_t instances_max, size_t tasks_max, model_resize_fn resize,
                void *arg);
void model_fini(struct model *m);
void model_clear(struct model *m);

/* A row as it came. Texts are copied. */
struct model_instance_row {
    const char *arn, *cluster, *status, *ec2_id, *zone, *agent_version;
    bool connected;
    uint64_t version;
    int64_t registered_unix_ms;
    int64_t running_tasks;
    const struct model_attribute *attributes;
    size_t attribute_count;
};
struct model_task_row {
    const char *arn, *cluster, *instance, *group, *started_by, *status, *desired;
    uint64_t version;
    int64_t created_unix_ms;
};

/* Rows of a lower version than the stored one are ignored (one of the same version confirms).
 * 0, ERR_FULL (the bound is reached: the row is not kept), ERR_NOMEM, ERR_MALFORMED.
 * ret (may be NULL) receives the entry, NULL if it was ignored or is a task of no environment. */
int model_put_instance(struct model *m, const struct model_instance_row *row, uint64_t now_ms,
                       struct model_instance **ret) MUST_CHECK;
int model_put_task(struct model *m, const struct model_task_row *row, uint64_t now_ms,
                   struct model_task **ret) MUST_CHECK;
/* Tombstones. */
void model_del_instance(struct model *m, const char *arn);
void model_del_task(struct model *m, const char *arn);

struct model_instance *model_find_instance(const struct model *m, const char *arn);
struct model_task *model_find_task(const struct model *m, const char *arn);
/* Its ARN, put together in out. */
const char *model_task_arn(const struct model_task *task, char out[MODEL_ARN_MAX]);
/* NULL if nothing in the model has that name: then no task can have it. */
const struct model_name *model_find_name(const struct model *m, const char *text);
/* The value of an attribute; *ret "" if it has none. False: the instance lacks it. */
bool model_find_attribute(const struct model_instance *inst, const char *name, const char **ret);

const char *model_instance_status_str(enum model_instance_status status);
const char *model_task_status_str(enum model_task_status status);
enum model_task_status model_task_status_parse(const char *text); /* unknown text: PROVISIONING */

static inline bool model_task_is_live(const struct model_task *task)
{
    return task->status != TASK_STOPPED;
}

#endif
