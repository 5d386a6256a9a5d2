/* SPDX-License-Identifier: Apache-2.0
 * The simulated world. One mutex (lock) protects all of it; HTTP threads and the timer thread
 * take it. Every function of this directory that gets a struct devcloud is called with the lock
 * held unless it says otherwise. */
#ifndef BLOX_DEVCLOUD_CLOUD_H
#define BLOX_DEVCLOUD_CLOUD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "agent/base/buf.h"
#include "agent/base/json.h"
#include "agent/base/list.h"
#include "agent/base/map.h"
#include "agent/base/prng.h"
#include "agent/devcloud/devcloud.h"
#include "agent/devcloud/models.h"
#include "agent/devcloud/sigv4.h"
#include "agent/devcloud/timers.h"

#define ID_MAX 40
#define PORTS_MAX 128 /* reserved host ports of one instance and protocol */

struct MHD_Daemon;
struct queue;

struct settings {
    double event_loss;          /* probability */
    double event_duplicate;     /* probability */
    uint64_t event_delay_ms[2]; /* shortest, longest; unequal delays are what breaks the order */
    uint64_t step_ms[2];        /* a task's stay in each state on the way up */
    uint64_t stop_step_ms[2];   /* and down */
    uint64_t agent_lag_ms;      /* ECS knows what the ECS agent knows so much later */
    uint64_t read_lag_ms;       /* List and Describe show a change so much later */
    uint64_t stopped_retention_ms;
    uint64_t credentials_ttl_s;
    double throttle;             /* scale of AWS's rate limits; 0: none */
    double agent_flaps_per_hour; /* disconnects of each agent */
    char draining_start[8];      /* "accept" or "refuse" */
    bool short_arns;
    bool short_lifecycle; /* PENDING, RUNNING, DEACTIVATING, STOPPED */
    bool strict;
};

enum task_status {
    TASK_PROVISIONING,
    TASK_PENDING,
    TASK_ACTIVATING,
    TASK_RUNNING,
    TASK_DEACTIVATING,
    TASK_STOPPING,
    TASK_DEPROVISIONING,
    TASK_STOPPED
};

struct cluster {
    char *name;
    char *arn;
    bool active;
    json_t *tags;
    json_t *settings;
    struct list instances; /* in order of registration */
    struct map by_id;      /* container instance id -> struct instance */
    struct list tasks;     /* in order of creation */
};

struct container_def {
    char *name;
    char *image;
    int64_t cpu, memory, reservation;
    bool essential;
};

struct host_port {
    uint16_t container_port;
    uint16_t host_port; /* 0: dynamic */
    bool udp;
    size_t container;
};

struct task_def {
    char *arn;
    char *family;
    int64_t revision;
    bool active;
    bool awsvpc;
    int64_t cpu, memory; /* what one task takes of an instance */
    int64_t gpus;
    int64_t crash_after_ms; /* a scenario makes its tasks exit so long after RUNNING; -1: never */
    int64_t crash_code;
    char *start_error; /* stoppedReason if a scenario lets its tasks fail to start; NULL: no */
    json_t *json;      /* as registered, in API shape */
    json_t *tags;
    struct container_def *containers;
    size_t container_count;
    struct host_port *ports;
    size_t port_count;
};

struct family {
    char *name;
    struct task_def **revisions; /* [i] is revision i + 1 */
    size_t count;
};

struct instance {
    struct list in_cluster;
    struct cluster *cluster;
    uint64_t seq;
    char id[ID_MAX]; /* of the container instance */
    char ec2_id[24];
    char *arn;
    char type[32];
    char zone[32];
    char address[16];
    const char *status; /* ACTIVE, DRAINING, DEREGISTERING, INACTIVE */
    char *status_reason;
    bool connected;
    bool host_gone;     /* the EC2 instance was terminated */
    char ec2_state[16]; /* what EC2 says else; "": running */
    int64_t version;
    int64_t registered_ms, updated_ms;
    int64_t cpu, memory, cpu_left, memory_left, gpus, gpus_left;
    uint16_t ports[2][PORTS_MAX]; /* taken host ports: tcp, udp */
    size_t port_count[2];
    int64_t running, pending;
    json_t *attributes; /* name -> value or null, set at registration */
    json_t *custom;     /* name -> value or null, by PutAttributes */
    json_t *tags;
    json_t *all_attributes; /* as answered; NULL: to be made again. Never changed in place */
    json_t *registered_resources[2]; /* by enum render_as */
    struct list tasks;
    json_t *stale; /* what reads still show, if anything */
    uint64_t stale_until_ms;
    int64_t appears_ms; /* reads do not know it before */
    struct timer flap;
    struct timer gone;
    /* IMDS */
    char lifecycle[24];   /* autoscaling/target-lifecycle-state */
    char spot_action[16]; /* "" or terminate, stop, hibernate */
    int64_t spot_ms;
    int64_t rebalance_ms; /* 0: no recommendation */
    bool spot;
    struct credential *credential;
};

struct task {
    struct list in_cluster;
    struct list on_instance;
    struct list in_group; /* of startedBy */
    struct started_by *started_by;
    struct cluster *cluster;
    struct instance *instance;
    struct task_def *def;
    uint64_t seq;
    char id[ID_MAX];
    char *arn;
    char *group;
    json_t *overrides;
    json_t *tags;
    json_t *stale;
    uint64_t stale_until_ms;
    bool stale_stopped; /* desired status that reads still show */
    int64_t appears_ms;
    bool desired_stopped;
    enum task_status status; /* as ECS has it */
    enum task_status local;  /* as it is on the host */
    bool live;               /* its containers run on a host that exists */
    bool holds;              /* its resources are reserved */
    bool commit_waits;       /* local is ahead, but the agent is disconnected */
    int64_t version;
    int64_t created_ms, updated_ms, connected_ms, pull_started_ms, pull_stopped_ms, started_ms,
        stopping_ms, execution_stopped_ms, stopped_ms;
    const char *stop_code;
    char *stopped_reason;
    char *container_reason;
    int64_t exit_code; /* -1: unknown */
    /* What the host knows and ECS gets to know with the next status: one version, one state. */
    int64_t local_pull_started_ms, local_pull_stopped_ms, local_execution_stopped_ms;
    bool connectivity;
    bool execute_command;
    uint16_t *host_ports; /* as many as def->port_count */
    struct timer step;    /* next change on the host */
    struct timer commit;  /* when ECS learns of it */
    struct timer crash;
    struct timer forget;
};

struct started_by {
    char *name;
    struct list tasks;
};

struct credential {
    char access_key[32];
    char secret[48];
    char *token; /* NULL: long-term */
    char *arn;
    char *user_id;
    int64_t issued_ms, expires_ms; /* 0: never */
    struct sigv4_key key;          /* of the day and service it was last used for */
};

struct fault {
    struct list link;
    uint64_t id;
    char operation[64]; /* "*": any of the service */
    char service[8];    /* "*", "ecs", "sqs", "sts", "ec2", "imds", "agent" */
    char cluster[256];  /* only requests that name it; "": any */
    char mode[20];
    char code[64];
    char message[128];
    char reason[32]; /* of a failures[] entry */
    int http_status;
    uint64_t ms;
    double probability;
    int64_t left; /* uses; -1: without end */
    int64_t used;
};

struct recorded {
    uint64_t seq;
    int64_t unix_ms;
    int status;
    size_t header_count;
    bool accepted, known_caller;
    char *bytes; /* texts, headers, body: see record.c */
    size_t len;
};

#define RECORDED_MAX 20000
#define RECORDED_BYTES_MAX (64u << 20)
#define BUCKETS_MAX 16

struct bucket {
    double tokens;
    uint64_t at_ms;
};

struct devcloud {
    pthread_mutex_t lock;
    pthread_cond_t wake; /* the timer thread waits on it, CLOCK_MONOTONIC */
    pthread_t timer_thread;
    bool timer_running;
    bool stopping;
    struct MHD_Daemon *http;
    uint16_t port;
    char region[32], partition[16], account[16];
    char *control_token;
    struct settings set;
    struct prng prng;
    struct timers timers;
    struct model ecs, sqs, sts, ec2;
    struct map clusters; /* name -> struct cluster */
    struct map by_ec2_id;
    struct map tasks; /* id -> struct task */
    struct map families;
    struct map started_by;
    struct map run_tokens; /* cluster + clientToken -> json of the RunTask result */
    struct map queues;
    struct map credentials; /* access key -> struct credential */
    struct map imds_tokens; /* token -> struct imds_token */
    struct queue *event_queue;
    struct cluster *main_cluster;
    struct credential *root;
    struct list faults;
    uint64_t fault_ids;
    struct bucket buckets[BUCKETS_MAX];
    struct list suspended;     /* requests that MHD holds for us */
    struct recorded *recorded; /* ring */
    uint64_t recorded_first, recorded_next;
    size_t recorded_bytes;
    json_t *counts; /* stats: name -> number */
    uint64_t seqs;
    FILE *truth_log;
    char *scenario_text;
    struct list scenario;
};

/* Time, randomness, ids. */
uint64_t cloud_now_ms(void); /* monotonic */
int64_t cloud_unix_ms(void);
bool cloud_chance(struct devcloud *cloud, double probability);
uint64_t cloud_between(struct devcloud *cloud, const uint64_t range[2]);
void cloud_hex(struct devcloud *cloud, char *out, size_t digits); /* out[digits] = NUL */
void cloud_uuid(struct devcloud *cloud, char out[37]);
char *cloud_text(const char *format, ...) __attribute__((format(printf, 1, 2))); /* aborts on OOM */
char *cloud_copy(const char *text);                                              /* likewise */
void cloud_arm(struct devcloud *cloud, struct timer *timer, uint64_t delay_ms, timer_fn fn);
void cloud_disarm(struct devcloud *cloud, struct timer *timer);
void cloud_count(struct devcloud *cloud, const char *name, int64_t n);
void cloud_count2(struct devcloud *cloud, const char *prefix, const char *name);
/* One line of the truth log; body is stolen. */
void cloud_truth(struct devcloud *cloud, const char *kind, json_t *body);

#endif
