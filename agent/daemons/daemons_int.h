/* SPDX-License-Identifier: Apache-2.0
 * What the files of agent/daemons share. All of it lives on the loop thread.
 *
 * Everything asynchronous is a struct op on a list of its owner. When leadership or the owner
 * goes, ops are orphaned (op->d = NULL) and cancelled: their completion only frees them. So no
 * completion ever touches what belongs to another leadership. */
#ifndef BLOX_AGENT_DAEMONS_INT_H
#define BLOX_AGENT_DAEMONS_INT_H

#include <uv.h>

#include "agent/base/limits.h"
#include "agent/base/list.h"
#include "agent/base/map.h"
#include "agent/base/prng.h"
#include "agent/daemons/daemons_uv.h"
#include "scheduler/plan.h"

#define DAEMONS_INSTANCES_MAX 20000 /* several clusters of 5,000 */
#define DAEMONS_TASKS_MAX 400000
#define DAEMONS_ACTIONS 512         /* of one plan; more follow in the next */
#define DAEMONS_STARTS_MAX 32       /* StartTask calls under way: what waits for tokens is short */
#define DAEMONS_STARTS_FULL 8       /* from so many on only full batches are sent */
#define DAEMONS_UNSETTLED_MAX 64    /* batches without a known outcome: no further starts */
#define DAEMONS_STOPS_MAX 64        /* StopTask calls under way */
#define DAEMONS_PLAN_SLICE_US 5000  /* of one turn of the loop spent on planning */
#define DAEMONS_LOAD_SLICE 400      /* rows read per turn of the loop ... */
#define DAEMONS_LOAD_SLICE_US 20000 /* ... and not for longer, on a machine that is starved */
#define DAEMONS_FRESH_MS 60000      /* a row younger than this needs no look before acting */
#define DAEMONS_CONFIRM_WAIT_MS 5000
#define DAEMONS_AHEAD_MS 20000    /* by then the intake has corrected what ECS never said */
#define DAEMONS_DOUBTED_MAX 20000 /* as many as intake looks at again */
#define DAEMONS_SETTLE_FIRST_MS 1000
#define DAEMONS_SETTLE_WINDOW_MS 10000 /* ECS's lists lag; after that "not there" counts */
#define DAEMONS_FORGET_AGAIN_MS 1000   /* the store refused the end of an attempt */
#define DAEMONS_DISCONNECT_GRACE_MS 30000
#define DAEMONS_DRAIN_WAIT_MS 30000
#define DAEMONS_PROPOSE_MS 1000 /* at most one deployment.status per deployment in this time */
#define DAEMONS_FAILED_LISTED 100
#define DAEMONS_COMMANDS_MAX 256
#define DAEMONS_RESULTS 64

enum op_kind {
    OP_START,
    OP_STOP,
    OP_SETTLE,
    OP_FORGET,
    OP_SURVEY,
    OP_CONFIRM,
    OP_PROPOSE,
    OP_COMMAND
};

struct op {
    struct list node;
    struct daemons *d; /* NULL: orphaned */
    struct aws_call *call;
    enum op_kind kind;
    bool pending; /* a completion will come: it frees the op if it is orphaned by then */
};

/* Tasks of former leaders that would outlive the environment, were it removed now. */
enum leaves { LEAVES_PERHAPS, LEAVES_LISTED, LEAVES_NOTHING };

struct denv {
    struct list node;
    char name[ENVIRONMENT_NAME_MAX + 1];
    char group[ENVIRONMENT_NAME_MAX + sizeof PLAN_GROUP_PREFIX];
    char cluster[ARN_MAX];
    char deployment[64];
    char definition[ARN_MAX];
    int64_t revision;
    json_t *source; /* the environment as planned from: holds the attributes' texts */
    struct select *expression;
    struct model_attribute attributes[64];
    struct plan_environment plan;
    struct plan_pair *pairs;
    struct plan_verdict *verdicts;
    char **failures; /* ECS's reason by slot, NULL if none; NULL until there is one */
    size_t pair_cap;
    struct plan_counts counts;
    uint64_t deadline_ms;
    uint64_t planned_ms; /* who waited longest is planned first */
    bool dirty;
    bool known;       /* its cluster is: nothing is planned before */
    bool settled;     /* the deployment's tasks of former leaders are known */
    bool starts_wait; /* for that: something is to be started, or all of it removed */
    bool settling;    /* ... being listed */
    unsigned settles; /* rounds of it */
    uint64_t settle_at_ms;
    enum leaves leaves;
    size_t swept;    /* deployments that were listed for that */
    bool held;       /* something of the plan waits for a call to end */
    bool planned;    /* counts and verdicts are of the active deployment */
    char error[256]; /* what ECS last said about the environment as a whole */
    /* progress */
    bool proposing;
    uint64_t proposed_ms;
    uint64_t proposed_hash;
};

struct applied_result {
    uint64_t index;
    struct intent_result result;
    json_t *body;
};

struct daemons {
    struct daemons_options options;
    char cluster[CLUSTER_NAME_MAX + 1];
    uv_timer_t timer;
    struct prng prng;
    bool leading;
    bool loaded;
    bool adopt; /* there may be attempts of former leaders that are not taken over */
    bool closing;
    uint64_t term;
    uint64_t lead_ms;  /* leading since */
    uint64_t attempts; /* counter: lo of attempt rows' versions */
    struct model model;
    struct map envs;
    struct map doubted;   /* ARNs of rows that a peer brought and ECS is asked about */
    struct list env_list; /* by name, so that work is done in a fixed order */
    struct list ops;
    /* loading */
    uint8_t load_kind;
    char load_after[RECORD_KEY_MAX + 1];
    size_t load_after_len;
    /* load */
    unsigned starts, stops, unsettled, commands;
    unsigned outages;         /* waves of calls that failed in a row for reasons of AWS itself */
    uint64_t not_before_ms;   /* AWS asked for a pause */
    uint64_t next_doubt_ms;   /* doubt.c looks around again */
    uint64_t next_plan_ms;    /* so that planning takes at most a fifth of the loop's time */
    uint64_t settle_first_ms; /* DAEMONS_SETTLE_*; tests are less patient */
    uint64_t settle_window_ms;
    bool no_tags;       /* tagging is not permitted: tasks are started without */
    json_t *confirming; /* ARNs gathered during one plan */
    struct plan_action actions[DAEMONS_ACTIONS];
    struct applied_result results[DAEMONS_RESULTS];
    size_t result_at;
    struct {
        uint64_t starts, start_calls, stops, failures, unknown, adopted, duplicates, died;
    } counters;
    void (*destroyed)(void *arg);
    void *destroyed_arg;
};

/* daemons_uv.c */
uint64_t daemons_now(const struct daemons *d);
void daemons_wake(struct daemons *d); /* step soon */
/* The op is the first member of what malloc gave. */
void op_init(struct op *op, struct daemons *d, enum op_kind kind);
/* A completion came: the owner, or NULL if it is gone (then the op has been freed). */
struct daemons *op_resume(struct op *op);
/* Takes the op off the list and frees it. */
void op_free(struct op *op);

/* world.c: rows -> model */
/* model_resize_fn on the heap. */
void *world_resize(void *arg, void *memory, size_t size);
void world_load_start(struct daemons *d);
void world_load_slice(struct daemons *d);
/* Listen to rows; 0 or ERR_NOMEM. */
int world_attach(struct daemons *d) MUST_CHECK;
void world_detach(const struct daemons *d);
void world_dirty_all(struct daemons *d);
/* ECS has just shown what there is of this cluster; NULL: of each that is known. */
void world_mark_seen(struct daemons *d, const char *cluster);
/* ECS's counter with the record's generation below it: one order for rows and their end. */
uint64_t world_version(struct record_version v);

/* envs.c: intent -> environments */
void envs_load(struct daemons *d); /* all, at the begin of a leadership */
void envs_changed(struct daemons *d, const char *name);
void envs_look_known(struct daemons *d); /* clusters became known */
void envs_clear(struct daemons *d);
struct denv *envs_of_group(struct daemons *d, const char *group);
/* Room for every slot of the model; false if out of memory. */
bool envs_room(struct daemons *d, struct denv *env);
struct plan_pair *envs_pair(struct denv *env, const struct model_instance *inst);
void envs_note_failure(struct denv *env, uint32_t slot, const char *reason);

/* act.c: plan -> calls */
void act_plan(struct daemons *d, struct denv *env);

/* confirm.c: is the instance's row fresh enough to act on? If not, a look is on its way (once
 * confirm_flush, after the plan, has sent it) and env is planned again by its answer. */
bool confirm_instance(struct daemons *d, struct denv *env, struct model_instance *inst);
void confirm_flush(struct daemons *d, const struct denv *env);

/* doubt.c: tasks that stand still between two states are looked at again: their event was lost. */
void doubt_step(struct daemons *d, uint64_t *deadline_ms);

/* start.c, settle.c, stop.c */
struct start_item {
    char arn[ARN_MAX];
    uint32_t slot;
    uint32_t generation;
    uint64_t attempt;
    enum plan_reason why; /* it is started; PLAN_NONE: not known here */
    bool doubted;         /* counted in its pair's doubts */
    bool settled;
};
struct start_batch {
    struct op op;
    char env[ENVIRONMENT_NAME_MAX + 1];
    char deployment[64];
    char definition[ARN_MAX];
    char cluster[ARN_MAX];
    int64_t revision;
    enum aws_priority priority;
    size_t count;
    struct start_item items[ECS_START_BATCH];
    int64_t asked_unix_ms;
    bool unsettled; /* counted in d->unsettled */
    bool tagged;
    /* settling */
    uint64_t since_ms;
    uint64_t next_ms;
    uint64_t listed_from_ms; /* when the list under way began */
    unsigned rounds;
    bool complete; /* no task of the lists is unknown here */
    bool listing;
    bool adopted; /* a former leader's */
};
void start_batch_run(struct daemons *d, struct denv *env, struct start_batch *batch);
/* The denv and instance an item is about, NULL if the world moved on. */
struct denv *start_env(struct daemons *d, const struct start_batch *batch);
struct model_instance *start_instance(struct daemons *d, const struct start_item *item);
/* The attempt's row is no longer needed: its outcome is known. Asked for again until it is
 * stored. */
void start_forget_attempt(struct daemons *d, const struct start_batch *batch,
                          const struct start_item *item);
void start_forget_again(struct daemons *d, struct start_batch *forget);
void start_finish(struct daemons *d, struct start_batch *batch);
/* Rows of the tasks ECS returned. */
void start_take_task(struct daemons *d, const json_t *task);

void settle_batch(struct daemons *d, struct start_batch *batch);
void settle_step(struct daemons *d, uint64_t *deadline_ms);
/* Has ECS listed what was started of its deployment? If not it will be asked, once; then the
 * environment is planned again. */
bool settle_known(struct daemons *d, struct denv *env);
/* The same before its environment is removed, after which nobody stops what shows up: by a list
 * from when ECS showed all that a former leader started. */
bool settle_gone(struct daemons *d, struct denv *env);
/* Attempts that former leaders left open. Again when peers bring more of them. */
void settle_adopt(struct daemons *d);
/* Pairs that nobody settles (accepted, never seen) get a batch. */
void settle_tend(struct daemons *d, struct denv *env);

void stop_task(struct daemons *d, struct denv *env, struct model_task *task, enum plan_reason why);

/* Calls ended: what was held back may be planned again. */
void act_unhold(struct daemons *d);

/* progress.c */
void progress_step(struct daemons *d, struct denv *env, uint64_t *deadline_ms);

/* command.c */
void command_lost(struct daemons *d);

#endif
