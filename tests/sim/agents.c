/* SPDX-License-Identifier: Apache-2.0
 * The world: time, nodes and what becomes of them. */
#include "tests/sim/agents.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "agent/base/log.h"
#include "tests/sim/cloud.h"

struct world world;

uint64_t draw(uint64_t bound)
{
    return prng_below(&world.rng, bound);
}

bool chance(uint32_t of_1000)
{
    return of_1000 > 0 && draw(1000) < of_1000;
}

void world_fault_until(uint64_t us)
{
    if (world.last_fault_us < us)
        world.last_fault_us = us;
}

void world_fail(const char *format, ...)
{
    va_list args;
    if (world.failed)
        return;
    world.failed = true;
    va_start(args, format);
    vsnprintf(world.why, sizeof world.why, format, args);
    va_end(args);
}

void world_say(const struct node *n, const char *format, ...)
{
    va_list args;
    if (!world.trace)
        return;
    printf("%8.3f s  %-4s ", (double)world.now_us / 1e6, n == NULL ? "" : n->id);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
}

/* ---- the agents' log is part of the story (in place of agent/base/log.c) -------------------- */

bool log_enabled(enum log_level level)
{
    return world.trace && level >= LOG_INFO;
}

void log_emit(enum log_level level, const char *event, const char *message,
              const struct log_field *fields)
{
    char text[1000];
    int n =
        snprintf(text, sizeof text, "%s%s%s%s", level >= LOG_WARN ? "! " : "", event,
                 message == NULL || message[0] == '\0' ? "" : ": ", message == NULL ? "" : message);
    for (const struct log_field *f = fields; f->key != NULL && n < 800; f++) {
        size_t left = sizeof text - (size_t)n;
        if (f->text != NULL)
            n += snprintf(text + n, left, " %s=%.100s", f->key, f->text);
        else
            n += snprintf(text + n, left, " %s=%ld", f->key, (long)f->number);
    }
    world_say(world.current, "%s", text);
}

/* ---- events of nodes -------------------------------------------------------------- */

struct posted {
    struct node *node;
    uint64_t life;
    void (*run)(void *arg);
    void *arg;
};

static void run_posted(void *arg)
{
    struct posted *p = arg;
    struct node *n = p->node;
    if (!n->exists || !n->up || n->life != p->life) {
        free(p);
        return;
    }
    if (world.now_us < n->paused_until_us) {
        queue_add(&world.queue, n->paused_until_us, run_posted, p);
        return;
    }
    world.current = n;
    world.hash = hash_mix(world.hash ^ world.now_us) + n->num;
    loop_turn(n->loop, p->run, p->arg);
    world.current = NULL;
    free(p);
}

void node_post(struct node *n, uint64_t at_us, void (*run)(void *arg), void *arg)
{
    struct posted *p = malloc(sizeof *p);
    ENSURE(p != NULL);
    *p = (struct posted){n, n->life, run, arg};
    queue_add(&world.queue, at_us, run_posted, p);
}

void world_run(uint64_t until_us)
{
    struct queue_event ev;
    while (!world.failed && world.queue.len > 0 && world.queue.heap[0].at_us <= until_us) {
        ENSURE(queue_next(&world.queue, &ev));
        world.now_us = ev.at_us;
        world.events++;
        ev.run(ev.arg);
        check_step();
    }
    if (!world.failed)
        world.now_us = until_us;
}

/* ---- life ------------------------------------------------------------------------- */

struct node *node_add(void)
{
    ENSURE(world.node_count < NODES_MAX);
    struct node *n = &world.nodes[world.node_count];
    *n = (struct node){.num = world.node_count++, .exists = true};
    snprintf(n->id, sizeof n->id, "i-%02u", n->num + 1);
    n->rate = 0.95 + (double)draw(1000) / 10000;
    n->mono_us = 1000000 + draw(1000000000);
    n->since_us = world.now_us;
    n->wall_skew_ms = (int64_t)draw(4000) - 2000;
    n->disk = disk_new(n);
    cloud_register(n);
    return n;
}

static void set(struct node *n, const char *name, const char *value)
{
    struct errmsg e = {{0}};
    int err = config_set(&n->config, name, value, "simulator", &e);
    if (err != 0)
        world_fail("config %s: %s", name, e.text);
}

static void configure(struct node *n)
{
    char bind[40];
    snprintf(bind, sizeof bind, "10.0.0.%u:7381", n->num + 1);
    ENSURE(config_init(&n->config) == 0);
    set(n, "agent.data_dir", "/nowhere");
    set(n, "gossip.bind", bind);
    set(n, "gossip.key_file", world.key_file);
    if (world.finds_by_ecs) {
        /* As by default (5 s), or longer than it takes until what stands in ECS is shown. */
        char wait[24];
        snprintf(wait, sizeof wait, "%lums", world.profile.list_lag_us / 1000 + 4000);
        set(n, "raft.bootstrap_wait", wait);
    } else {
        set(n, "gossip.join", "10.0.0.1:7381,10.0.0.2:7381,10.0.0.3:7381");
        set(n, "raft.expect", "3");
        set(n, "raft.bootstrap_wait", "1s");
    }
    set(n, "raft.auto_recover", world.recovers ? "true" : "false");
    set(n, "intake.queue", "events");
    set(n, "intake.reconcile_interval", "8s");
}

static void start(void *arg)
{
    struct node *n = arg;
    struct errmsg e = {{0}};
    int err = agent_start(&n->agent, loop_uv(n->loop), &n->config, &e);
    if (err != 0)
        world_fail("%s does not start: %s", n->id, e.text);
}

void node_start(struct node *n)
{
    ENSURE(n->exists && !n->up);
    n->up = true;
    n->stopping = false;
    n->life++;
    n->paused_until_us = 0;
    n->state[0] = '\0';
    prng_seed(&n->prng, draw(UINT64_MAX));
    n->loop = loop_new(n);
    configure(n);
    world_say(n, "starts");
    world.restarts++;
    node_post(n, world.now_us, start, n);
}

static void died(struct node *n, bool power)
{
    loop_node_died(n, power);
    disk_died(n->disk, power);
    n->up = false;
    n->agent = NULL;
}

void node_kill(struct node *n, bool power)
{
    world_say(n, power ? "loses power" : "is killed");
    world.crashes++;
    died(n, power);
}

static void stopped(void *arg)
{
    struct node *n = arg;
    world_say(n, "has stopped");
    n->agent = NULL;
    n->stopped = true;
}

static void stop(void *arg)
{
    struct node *n = arg;
    if (n->agent != NULL)
        agent_stop(n->agent, stopped, n);
}

void node_stop(struct node *n)
{
    world_say(n, "is asked to stop");
    n->stopping = true;
    n->stopped = false;
    node_post(n, world.now_us, stop, n);
}

void node_pause(struct node *n, uint64_t for_us)
{
    world_say(n, "is paused for %.1f s", (double)for_us / 1e6);
    world.pauses++;
    n->paused_until_us = world.now_us + for_us;
}

void node_lose(struct node *n)
{
    if (n->up)
        died(n, true);
    disk_wipe(n->disk);
    n->keys++;
    world.losses++;
    world_say(n, "dies and loses its disk");
}

void node_gone(struct node *n)
{
    world_say(n, "is terminated");
    if (n->up)
        died(n, true);
    n->exists = false;
    cloud_terminate(n);
}

void world_init(uint64_t seed, bool trace)
{
    world.seed = seed;
    world.trace = trace;
    prng_seed(&world.rng, seed * 0x9e3779b97f4a7c15u + 1);
    network_init(&world.network, &world.rng, NODES_MAX);
    host_init();
}
