/* SPDX-License-Identifier: Apache-2.0
 * Whole agents in virtual time. Each node runs the real agent (agent_start and all below it);
 * what it stands on is ours: libuv (loop.c), the network under it (network.c), the store (disk.c),
 * AWS (aws.c on the cloud's truth in cloud.c), the HTTP API (users.c), clocks and randomness
 * (host.c). One world a process: the simulator forks for each seed. */
#ifndef BLOX_TESTS_AGENTS_H
#define BLOX_TESTS_AGENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/agent.h"
#include "agent/base/json.h"
#include "agent/base/prng.h"
#include "tests/sim/network.h"
#include "tests/sim/queue.h"

#define NODES_MAX 24u

struct disk;
struct loop;
struct api;
struct node {
    uint32_t num;           /* index; its address is 10.0.0.(num + 1) */
    bool exists;            /* the machine */
    bool up;                /* its process */
    bool stopping, stopped; /* asked to end; its agent_stop is done */
    bool notice;            /* spot interruption, as instance metadata tells */
    uint8_t keys;           /* of its own, before this one: each lost with its disk */
    uint64_t life;          /* of the process: what belongs to an earlier one is dropped */
    double rate;            /* of its clocks */
    uint64_t mono_us, since_us;
    int64_t wall_skew_ms;
    uint64_t paused_until_us;
    char id[24];
    struct loop *loop;
    struct disk *disk;
    struct agent *agent;
    struct config config;
    struct prng prng; /* getrandom and libsodium, for this node */
    char state[16];   /* as its API says */
    struct api *api;
};

/* How hard a seed hits: chances of 1,000, times in microseconds. */
struct profile {
    uint64_t disk_us, disk_slow_us;
    uint32_t disk_slow;
    uint32_t aws_throttled, aws_lost_request, aws_lost_answer, aws_refused;
    uint64_t aws_us, aws_late_us, list_lag_us;
    uint32_t event_lost, event_doubled;
    uint64_t event_us, event_late_us;
    uint32_t task_dies;
};

struct world {
    uint64_t seed, now_us, hash, events;
    struct prng rng;
    struct queue queue;
    struct network network;
    struct profile profile;
    struct node nodes[NODES_MAX];
    uint32_t node_count;
    struct node *current; /* whose code runs; NULL: the world's */
    /* When all so far are over: a lost answer only by its time-out, messages in it only when they
     * are to be received again. */
    uint64_t last_fault_us;
    bool trace, calm, failed;
    bool recovers;     /* raft.auto_recover */
    bool finds_by_ecs; /* peers, as configured by nobody: by the addresses in ECS alone */
    char why[300], key_file[64];
    uint64_t crashes, restarts, pauses, losses, commands, acknowledged, doubles;
};
extern struct world world;

/* agents.c: nodes and their life */
void world_init(uint64_t seed, bool trace);
void world_run(uint64_t until_us);
void world_fault_until(uint64_t us); /* moves last_fault_us on, never back */
void world_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void world_say(const struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t draw(uint64_t bound);
bool chance(uint32_t of_1000);
struct node *node_add(void);
void node_start(struct node *n);
/* SIGKILL; queued writes may or may not have reached the disk. power: the machine lost it. */
void node_kill(struct node *n, bool power);
void node_stop(struct node *n); /* SIGTERM */
void node_pause(struct node *n, uint64_t for_us);
void node_lose(struct node *n); /* it dies, and its data directory is empty from now on */
void node_gone(struct node *n); /* the machine is terminated */
uint64_t node_mono_us(const struct node *n);
/* Runs on the node at that time, unless that life of it has ended; later if it is paused. */
void node_post(struct node *n, uint64_t at_us, void (*run)(void *arg), void *arg);

/* loop.c */
struct loop *loop_new(struct node *n);
uv_loop_t *loop_uv(struct loop *l);
void loop_turn(struct loop *l, void (*run)(void *arg), void *arg); /* one, with this in it */
void loop_node_died(struct node *n, bool power);

/* disk.c */
struct disk *disk_new(struct node *n);
void disk_died(struct disk *d, bool power); /* before the next store_open */
void disk_lose(struct disk *d, bool log, bool state);
void disk_wipe(struct disk *d); /* nothing was ever there */
void disk_full(struct disk *d, bool full);
void disk_hang(struct disk *d, bool hangs); /* writes end once it does so no more */
uint64_t disk_number(const struct disk *d); /* raft's name of its log; 0: it has none */
struct store *disk_reader(struct disk *d); /* for store_read_begin and store_log_*: what is there */

/* host.c */
void host_init(void);
int64_t host_unix_ms(void); /* the world's */

/* quorum.c */
struct raft_uv;
/* Would what the leader leads still have its quorum, if this one lost its disk too? */
bool quorum_bears_loss(const struct raft_uv *leader, const struct node *n);
/* Three voters and two spares, all committed. */
bool quorum_is_full(const struct raft_uv *leader);
bool quorum_has(const struct raft_uv *leader, const struct node *n); /* as a voter */

/* agents_check.c */
bool node_leads(struct node *n); /* and may act */
struct cloud_resource;
void check_step(void); /* after every event */
void check_entry(const struct node *n, uint64_t index, uint64_t term, uint64_t sum); /* is stored */
void check_applied(const struct node *n, uint64_t index, uint64_t term);
void check_started(const struct cloud_resource *task);        /* a task is about to be there */
void check_acts(const struct node *n, const char *operation); /* it changes the world */
bool check_converged(void);                                   /* why not is in world.why */

#endif
