/* SPDX-License-Identifier: Apache-2.0
 * A small world for the tests of agent/daemons: ECS with tasks that start and stop, a store of
 * rows in memory, raft that commits at once, and an intent of plain JSON. One of each, global:
 * every test is a process of its own. */
#ifndef BLOX_TESTS_DAEMONS_FAKES_H
#define BLOX_TESTS_DAEMONS_FAKES_H

#include <uv.h>

#include "agent/base/row.h"
#include "agent/daemons/daemons_int.h"

#define FAKE_CLUSTER "arn:aws:ecs:eu-west-1:1:cluster/c"
/* Deployments. */
#define FIRST "11111111-1111-4111-8111-111111111111"
#define SECOND "22222222-2222-4222-8222-222222222222"

enum fake_start {
    FAKE_ANSWER,
    FAKE_LOSE_ANSWER,  /* takes effect, the answer never comes */
    FAKE_LOSE_REQUEST, /* no effect, and the caller cannot know */
    FAKE_REFUSE,       /* 400 */
    FAKE_THROTTLE
};

struct fake_task {
    char arn[64];
    char instance[64];
    char group[48];
    char started_by[40];
    char status[16];
    char desired[16];
    int version;
    int64_t created;
};

struct fake {
    uv_loop_t *loop;
    struct daemons *d;
    struct fake_task tasks[512];
    int task_count;
    /* what happens */
    enum fake_start start;
    int start_times;          /* apply `start` to so many calls, then FAKE_ANSWER; -1: always */
    const char *known;        /* the only cluster that was compared */
    bool all_known;           /* all were */
    const char *fails;        /* instance ARN that StartTask reports as failed */
    const char *reason;       /* ... with this */
    bool events;              /* changes are told as rows */
    bool list_is_empty;       /* ListTasks does not show anything yet */
    bool no_cluster;          /* ... is answered that there is none */
    int lists_lost;           /* so many more of it fail */
    bool looks_in_vain;       /* what is to be looked at again is not */
    bool unreachable;         /* every call ends with ERR_UNREACHABLE */
    bool lease;               /* raft_uv_may_act */
    bool attempt_costs_lease; /* it is lost while an attempt is being stored */
    bool store_fails;
    bool start_fills_disk; /* store_fails from the next StartTask on */
    bool from_peers;       /* rows are told as by gossip */
    unsigned row_us;       /* what the store takes for each row of a scan */
    uint8_t source;        /* of instances' rows; 0: SOURCE_EVENT */
    int shown_version;     /* of instance 0, by DescribeContainerInstances; 0: nothing */
    int stops_throttled;   /* so many of the next */
    int propose_err;       /* given to the completion; ERR_TIMEOUT: never applied */
    /* what was seen */
    int start_calls, stop_calls, list_calls, describe_calls, proposals, scans;
    int starts_of[128]; /* by number in the instance's ARN */
    int batch_max;
    bool attempt_was_stored; /* at each StartTask so far */
    char last_reason[200];
    char last_status[16];
    json_t *last_proposal;
    json_t *environments; /* name -> environment */
    json_t *deployments;  /* id -> deployment */
};
extern struct fake fake;

void fake_init(void);
void fake_fini(void);
void fake_instance(int n, const char *status, bool connected, uint64_t version);
/* The first so many, told. */
void fake_instances(int count);
/* Puts a task into ECS and, if told, into the rows. */
struct fake_task *fake_task(int instance, const char *environment, const char *deployment,
                            bool told);
void fake_set(struct fake_task *task, const char *status, const char *desired, bool told);
void fake_deploy(const char *environment, const char *deployment);
/* Environments "e00", "e01", ..., each with a deployment, and tells of them. */
void fake_deploy_many(int count);
/* The intent changed there, or perhaps anywhere. */
void fake_changed_in(const char *environment);
void fake_changed(void);
/* The cluster was compared with ECS; NULL: all were. */
void fake_known(const char *cluster);
/* Leads, and everything is known. */
void fake_lead(uint64_t term);
int fake_live(int instance);
int fake_live_all(void);
bool fake_one_each(int count);
/* Tasks of ECS go on: started ones run, stopped ones end. */
void fake_advance(void);
/* Runs the loop for so long, advancing ECS if told. */
void fake_run(uint64_t ms, bool advance);
/* Live attempt rows. */
int fake_attempts(void);
void fake_attempt(const char *environment, const char *deployment, int instance);
/* For the fakes themselves. */
void fake_later(uint64_t ms, void (*fn)(void *arg), void *arg);
void fake_put_row(uint8_t kind, const char *key, uint64_t version, const struct row *row);
bool fake_attempt_is_stored(const char *key);
void fake_store_fini(void);
/* Until cond or 10 s have passed. */
#define FAKE_UNTIL(cond)                                                                           \
    for (int fake_i = 0; fake_i < 2000 && !(cond); fake_i++)                                       \
    fake_run(5, true)

#endif
