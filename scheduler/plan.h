/* SPDX-License-Identifier: Apache-2.0
 * The daemon planner: environment + world -> what to start and stop, and a verdict for each
 * instance. Pure: the same input gives the same output, the plan of a world that is as it should
 * be is empty, and carrying a plan out and planning again converges.
 *
 * Semantics
 * - Exactly one live task of the active deployment on each ACTIVE instance with a connected
 *   agent that matches. A task belongs to an environment by its group "daemon:<name>" and to a
 *   deployment by startedBy; other tasks are never touched.
 * - Agent disconnected: nothing is started or stopped there (agents reconnect several times an
 *   hour; the task most likely runs). For disconnect_grace_ms the instance still counts as
 *   desired, afterwards it does not hold up a deployment.
 * - DRAINING: ours are stopped last, once no other live task is left or drain_wait_ms is over
 *   (ECS leaves tasks of StartTask alone). INACTIVE: nothing to do.
 * - No longer matching: ours are stopped.
 * - Superseded deployment: stop first, on all instances at once; the new task is started when
 *   the old one is STOPPED, because its ports and memory are only free then.
 * - Duplicates: the one furthest on (RUNNING before starting), then the older stays.
 * - Deleting environment: all its tasks are stopped, on disconnected instances too (ECS remembers
 *   the wish); it is done when none is wanted any more and none lives on a connected instance.
 * - A failed start or a task that died within PLAN_RAN_WELL_MS is followed by a pause of 1 s, 2 s,
 *   ... 5 min per instance and environment, with jitter; one that ran well is replaced at once.
 *   failures[] reasons wait for the change that can help: see enum plan_reason.
 *
 * What is under way on one instance for one environment lives in struct plan_pair, an array by
 * the model's slots that the caller keeps (zeroed at first) and plan_run keeps tidy. */
#ifndef BLOX_SCHEDULER_PLAN_H
#define BLOX_SCHEDULER_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/prng.h"
#include "scheduler/model.h"
#include "scheduler/select.h"

#define PLAN_BACKOFF_FIRST_MS 1000u
#define PLAN_BACKOFF_MAX_MS 300000u
#define PLAN_RAN_WELL_MS 60000
#define PLAN_STOP_RETRY_MS 30000u /* a stop that ECS accepted but no event confirmed */
#define PLAN_ARRIVAL_MS 30000u    /* an accepted start whose task no row has shown */
#define PLAN_GROUP_PREFIX MODEL_DAEMON_PREFIX

/* X(name, text, failure) */
#define PLAN_REASON_LIST(X)                                                                        \
    X(PLAN_NONE, "", 0)                                                                            \
    X(PLAN_RUNNING, "its task runs", 0)                                                            \
    X(PLAN_PENDING, "its task is starting", 0)                                                     \
    X(PLAN_ABSENT, "no task of the deployment is here", 0)                                         \
    X(PLAN_SUPERSEDED, "the task is of a superseded deployment", 0)                                \
    X(PLAN_DUPLICATE, "a second task of the deployment", 0)                                        \
    X(PLAN_NOT_MATCHING, "the instance does not match the environment", 0)                         \
    X(PLAN_DRAINING, "the instance is draining", 0)                                                \
    X(PLAN_DRAIN_WAIT, "the instance is draining; other tasks leave first", 0)                     \
    X(PLAN_DELETING, "the environment is being deleted", 0)                                        \
    X(PLAN_GONE, "the instance is no longer registered", 0)                                        \
    X(PLAN_UNSEEN, "nothing is known of the instance yet", 0)                                      \
    X(PLAN_REGISTERING, "the instance is still registering", 0)                                    \
    X(PLAN_DISCONNECTED, "its ECS agent has just disconnected", 0)                                 \
    X(PLAN_UNREACHABLE, "its ECS agent is disconnected", 0)                                        \
    X(PLAN_STOPPING, "the task before it is still stopping", 0)                                    \
    X(PLAN_ASKED, "a start is under way", 0)                                                       \
    X(PLAN_SETTLING, "it is not known whether the last start took effect", 0)                      \
    X(PLAN_NO_DEPLOYMENT, "nothing has been deployed", 0)                                          \
    X(PLAN_DIED, "the task stopped soon after its start", 1)                                       \
    X(PLAN_FAILED, "ECS refused the start", 1)                                                     \
    X(PLAN_RESOURCE, "the instance lacks free CPU, memory, ports or another resource", 1)          \
    X(PLAN_AGENT, "ECS says that the instance's agent is disconnected", 1)                         \
    X(PLAN_ATTRIBUTE, "the instance lacks an attribute that the task definition requires", 1)      \
    X(PLAN_LOCATION, "the task definition's subnets are in another availability zone", 1)          \
    X(PLAN_MISSING, "ECS does not know the instance", 1)                                           \
    X(PLAN_INACTIVE, "ECS says that the instance is deregistered", 1)

enum plan_reason {
#define X(name, text, failure) name,
    PLAN_REASON_LIST(X)
#undef X
};
const char *plan_reason_str(enum plan_reason reason);
/* From a failures[] entry: "RESOURCE:MEMORY", "AGENT", ... */
enum plan_reason plan_reason_of_failure(const char *text);

enum plan_verdict_kind {
    VERDICT_NONE, /* the instance does not concern the environment */
    VERDICT_KEEP,
    VERDICT_START,
    VERDICT_REPLACE, /* an old task is being stopped, the new one follows */
    VERDICT_STOP,
    VERDICT_WAIT,
    VERDICT_BLOCKED /* nothing will happen until something changes */
};
const char *plan_verdict_str(enum plan_verdict_kind kind);

struct plan_verdict {
    uint8_t kind;
    uint8_t reason;
};

enum plan_phase {
    PAIR_IDLE,
    PAIR_ASKED,   /* StartTask is (about to be) under way */
    PAIR_UNKNOWN, /* its answer was lost; being settled */
    PAIR_ARRIVING /* accepted; the task's row is on its way */
};

#define PLAN_RETRY_NEVER INT32_MAX

/* There is one for each environment and instance, so it is packed: 48 bits of milliseconds last. */
struct plan_pair {
    uint64_t since_ms : 48;      /* of phase */
    uint64_t doubts : 16;        /* starts whose outcome is being settled, of any deployment */
    uint64_t not_before_ms : 48; /* no start earlier */
    uint64_t failures : 16;      /* in a row */
    uint32_t generation;         /* of the instance that the rest is about */
    uint32_t deployment;         /* hash of the one the failures are about */
    uint32_t seen_changes;       /* of the instance, when it failed; the low bits */
    uint32_t seen_attributes;    /* of the instance, when it failed; the low bits of their hash */
    int32_t retry_after_ms;      /* not_before_ms: start then even if nothing changed */
    uint8_t phase;
    uint8_t reason; /* enum plan_reason of the last failure, 0: none */
    bool tended;    /* the shell's: something is settling this UNKNOWN */
};

struct plan_environment {
    const char *group;      /* "daemon:<name>" */
    const char *cluster;    /* ARN, as in the instances' rows */
    const char *deployment; /* id of the active one, NULL: none */
    bool deleting;
    const struct select *expression;          /* NULL: all */
    const struct model_attribute *attributes; /* all must hold; value NULL: must exist */
    size_t attribute_count;
    uint64_t disconnect_grace_ms;
    uint64_t drain_wait_ms;
};

enum plan_action_kind { ACTION_START, ACTION_STOP };

struct plan_action {
    enum plan_action_kind kind;
    enum plan_reason why;
    struct model_instance *instance;
    struct model_task *task; /* ACTION_STOP */
};

struct plan_counts {
    uint32_t desired; /* matching ACTIVE instances that are or just were connected */
    uint32_t running;
    uint32_t pending;
    uint32_t failed;  /* blocked, or pausing after a failure */
    uint32_t waiting; /* not covered yet for another reason */
    uint32_t live;    /* tasks of the environment that still have to go (deleting) */
};

struct plan_output {
    struct plan_action *actions; /* given by the caller */
    size_t action_cap;
    size_t action_count;
    bool truncated;                /* there was more to do: carry this out and plan again */
    struct plan_verdict *verdicts; /* by slot, given by the caller (slot_count), or NULL */
    struct plan_counts counts;
    uint64_t deadline_ms; /* plan again then at the latest; UINT64_MAX: never */
};

/* pairs has an entry for each slot of the model. */
void plan_run(const struct plan_environment *env, const struct model *model,
              struct plan_pair *pairs, uint64_t now_ms, struct plan_output *out);
/* Does the instance belong to the environment (cluster, expression, attributes)? Status aside. */
bool plan_matches(const struct plan_environment *env, const struct model_instance *inst);

/* As in a pair. */
uint32_t plan_deployment_hash(const char *deployment);

/* What happened to a start. The pair is the instance's. */
void plan_pair_asked(struct plan_pair *pair, const struct model_instance *inst,
                     const char *deployment, uint64_t now_ms);
void plan_pair_accepted(struct plan_pair *pair, uint64_t now_ms);
void plan_pair_unknown(struct plan_pair *pair, uint64_t now_ms);
/* The outcome of a start, perhaps a former leader's, is being settled: until all are, none follows,
 * and what is under way itself goes on. The last one that is settled ends a tended UNKNOWN. */
void plan_pair_doubt(struct plan_pair *pair, const struct model_instance *inst);
void plan_pair_settled(struct plan_pair *pair);
/* Nothing was started and nothing failed: it may be tried again at once. */
void plan_pair_release(struct plan_pair *pair);
void plan_pair_failed(struct plan_pair *pair, const struct model_instance *inst,
                      enum plan_reason reason, uint64_t now_ms, struct prng *prng);
/* A task of the active deployment stopped by itself. ran_ms < 0: it never ran. */
void plan_pair_died(struct plan_pair *pair, const struct model_instance *inst,
                    const char *deployment, int64_t ran_ms, uint64_t now_ms, struct prng *prng);

#endif
