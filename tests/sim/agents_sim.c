/* SPDX-License-Identifier: Apache-2.0
 * Whole agents under random faults. Each seed draws its own profile (swarm testing): which faults
 * exist at all and how hard they hit. Some virtual seconds of faults, then peace: within 20 s all
 * must be as users were told and as ECS is.
 *
 *   agents_sim --seeds 2000 [--first 1] [--seconds 50] [--jobs 2]   many; each in a process
 *   agents_sim --seeds 20 --twice                                   is a seed always the same?
 *   agents_sim --seed 42 --trace                                    one, told as a story
 *   agents_sim --reclaim --seeds 100 | --seed 42 --trace            a story of stories.c
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent_int.h"
#include "agent/base/ensure.h"
#include "tests/sim/cloud.h"
#include "tests/sim/stories.h"
#include "tests/sim/users.h"

#define STEP_US 50000u
#define PEACE_US 20000000u

struct storm { /* per 1,000 and step */
    uint32_t kill, power, stop, pause, cut, one_way, join, leave, full, wall, lose, connect, paths;
    uint64_t heal_at_us, full_until_us;
    struct node *full_node;
    uint64_t until_us;
    uint32_t target;
};
static struct storm storm;

uint32_t sometimes(uint32_t max)
{
    return draw(2) == 0 ? 0 : 1 + (uint32_t)draw(max);
}

static void draw_profile(void)
{
    struct profile *p = &world.profile;
    struct network_profile *net = &world.network.profile;
    net->delay_us_min = 200;
    net->delay_us_max = 1000 + draw(draw(3) == 0 ? 100000 : 5000);
    net->loss = sometimes(draw(3) == 0 ? 300 : 30);
    net->doubled = sometimes(50);
    net->late = sometimes(50);
    p->disk_us = 500 + draw(draw(3) == 0 ? 100000 : 5000);
    p->disk_slow = sometimes(20);
    p->disk_slow_us = 1000000;
    p->aws_us = 5000 + draw(100000);
    p->aws_late_us = draw(2) == 0 ? 0 : 3000000;
    p->aws_throttled = sometimes(200);
    p->aws_refused = sometimes(50);
    p->aws_lost_request = sometimes(100);
    p->aws_lost_answer = sometimes(100);
    p->list_lag_us = draw(2) == 0 ? 0 : draw(6000000);
    p->event_us = 100000 + draw(2000000);
    p->event_late_us = sometimes(8) * 1000000;
    p->event_lost = sometimes(200);
    p->event_doubled = sometimes(200);
    p->task_dies = sometimes(300);
    storm = (struct storm){.kill = sometimes(20), .power = sometimes(10), .stop = sometimes(10)};
    storm.pause = sometimes(20);
    storm.cut = sometimes(20);
    storm.one_way = sometimes(20);
    storm.join = sometimes(15);
    storm.leave = sometimes(15);
    storm.full = sometimes(10);
    storm.wall = sometimes(10);
    storm.paths = sometimes(10);
    world.network.paths = sometimes(1u << 20);
    storm.connect = sometimes(20);
    storm.lose = sometimes(15);
    storm.target = 3 + (uint32_t)draw(3);
    storm.until_us = 5000000 + draw(12000000);
    world.finds_by_ecs = world.seed % 3 == 0;
    if (world.finds_by_ecs) { /* they wait for as long before there is a first cluster */
        p->list_lag_us /= 3;
        storm.until_us += 5000000;
    }
}

static struct node *any_node(void)
{
    struct node *n = &world.nodes[draw(world.node_count)];
    return n->exists ? n : NULL;
}

static uint32_t alive_nodes(void)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world.node_count; i++)
        count += world.nodes[i].exists;
    return count;
}

/* Takes raft's word for who votes, from whoever has the newest configuration. An interruption comes
 * with a notice: the cluster is given the time to use it, so that no seed is about a lost quorum.
 * One that just restarted may be promoted before it heard of its notice. */
static bool is_spared(const struct node *n)
{
    int64_t newest = 0;
    bool votes = true;
    for (uint32_t i = 0; i < world.node_count; i++) {
        const struct agent *a = world.nodes[i].up ? world.nodes[i].agent : NULL;
        if (a == NULL || a->raft == NULL)
            continue;
        json_t *status = raft_uv_status(a->raft);
        size_t k;
        const json_t *voter;
        if (json_int_or(status, "config_index", 0) > newest) {
            newest = json_int_or(status, "config_index", 0);
            votes = false;
            json_array_foreach(json_arr(status, "voters"), k, voter) votes =
                votes || strcmp(json_str_or(voter, "id", ""), n->id) == 0;
        }
        json_decref(status);
    }
    return !votes;
}

struct node *the_leader(void)
{
    for (uint32_t i = 0; i < world.node_count; i++)
        if (node_leads(&world.nodes[i]))
            return &world.nodes[i];
    return NULL;
}

static void go(void *arg)
{
    struct node *n = arg;
    if (!n->exists)
        return;
    if (is_spared(n) && the_leader() != NULL && quorum_bears_loss(the_leader()->agent->raft, n))
        node_gone(n);
    else
        queue_add(&world.queue, world.now_us + 500000, go, n);
}

static void hit_nodes(void)
{
    struct node *n = any_node();
    if (n == NULL)
        return;
    if (n->up && !n->stopping && chance(storm.kill))
        node_kill(n, false);
    else if (n->up && !n->stopping && chance(storm.power))
        node_kill(n, true);
    else if (n->up && !n->stopping && n->agent != NULL && chance(storm.stop))
        node_stop(n);
    else if (n->up && chance(storm.pause))
        node_pause(n, 100000 + draw(draw(4) == 0 ? 8000000 : 1500000));
    else if (chance(storm.wall))
        n->wall_skew_ms = (int64_t)draw(120000) - 60000;
    else if (chance(storm.leave) && alive_nodes() > 3 && !n->notice) {
        n->notice = true;
        world_say(n, "has a spot interruption notice");
        queue_add(&world.queue, world.now_us + 6000000 + draw(4000000), go, n);
    }
    if (chance(storm.lose) && !n->stopping && the_leader() != NULL &&
        quorum_bears_loss(the_leader()->agent->raft, n))
        node_lose(n);
    if (chance(storm.connect))
        cloud_connect(n, draw(2) == 0);
    if (storm.full_node == NULL && chance(storm.full)) {
        storm.full_node = n;
        storm.full_until_us = world.now_us + 500000 + draw(draw(4) == 0 ? 20000000 : 3000000);
        disk_full(n->disk, true);
        world_say(n, "disk is full");
    }
}

static void hit_network(void)
{
    struct node *a = any_node(), *b = any_node();
    if (a == NULL || b == NULL || a == b)
        return;
    if (chance(storm.one_way)) {
        network_cut(&world.network, a->num, b->num, true);
        world_say(a, "does not reach %s", b->id);
        storm.heal_at_us = world.now_us + draw(5000000);
    }
    if (chance(storm.paths)) {
        world.network.paths = 1 + draw(1u << 20);
        world_say(NULL, "paths take other sizes");
    }
    if (!chance(storm.cut))
        return;
    uint64_t side = draw(1u << world.node_count);
    for (uint32_t i = 0; i < world.node_count; i++) {
        for (uint32_t k = 0; k < world.node_count; k++)
            network_cut(&world.network, i, k, ((side >> i) & 1) != ((side >> k) & 1));
    }
    world_say(NULL, "the network is cut in two (%lx)", side);
    storm.heal_at_us = world.now_us + draw(6000000);
}

static void revive(bool all)
{
    for (uint32_t i = 0; i < world.node_count; i++) {
        struct node *n = &world.nodes[i];
        if (n->up && n->stopping && n->stopped) {
            n->up = false;
            n->loop = NULL;
        }
        if (n->exists && !n->up && (all || chance(30)))
            node_start(n);
    }
}

static void step(void *arg)
{
    (void)arg;
    if (world.now_us >= storm.until_us)
        return;
    hit_nodes();
    hit_network();
    revive(false);
    if (storm.heal_at_us != 0 && world.now_us >= storm.heal_at_us) {
        network_heal(&world.network);
        storm.heal_at_us = 0;
        world_say(NULL, "the network is whole");
    }
    if (storm.full_node != NULL && world.now_us >= storm.full_until_us) {
        disk_full(storm.full_node->disk, false);
        storm.full_node = NULL;
    }
    if (world.node_count < NODES_MAX && (chance(storm.join) || alive_nodes() < storm.target))
        node_start(node_add());
    queue_add(&world.queue, world.now_us + STEP_US, step, NULL);
}

void make_peace(void)
{
    struct profile *p = &world.profile;
    world_say(NULL, "-- peace");
    world.calm = true;
    network_heal(&world.network);
    world.network.profile = (struct network_profile){.delay_us_min = 200, .delay_us_max = 3000};
    p->aws_throttled = p->aws_refused = p->aws_lost_request = p->aws_lost_answer = 0;
    p->aws_late_us = p->list_lag_us = p->event_late_us = 0;
    p->event_lost = p->event_doubled = p->task_dies = p->disk_slow = 0;
    p->disk_us = 2000;
    for (uint32_t i = 0; i < world.node_count; i++) {
        struct node *n = &world.nodes[i];
        n->paused_until_us = 0;
        disk_full(n->disk, false);
        cloud_connect(n, true);
    }
    users_quiet();
    world_fault_until(world.now_us);
}

static void tell_state(void)
{
    for (uint32_t i = 0; i < world.node_count; i++) {
        struct node *n = &world.nodes[i];
        if (!n->exists || !n->up || n->agent == NULL || n->agent->raft == NULL)
            continue;
        world.current = n;
        json_t *status = raft_uv_status(n->agent->raft);
        char *text = json_dumps(status, JSON_COMPACT);
        world.current = NULL;
        world_say(n, "%s %s", n->state, text);
        free(text);
        json_decref(status);
    }
}

int tell_end(bool trace, bool print)
{
    if (trace)
        tell_state();
    if (print || world.failed)
        printf("seed %lu: %s%s; %.1f s, %lu events, %u nodes, %lu crashes, %lu lost disks, %lu "
               "pauses, %lu commands, %lu acknowledged, %lu starts (%lu double), %lu stops; hash "
               "%016lx\n",
               world.seed, world.failed ? "FAILED: " : "ok", world.failed ? world.why : "",
               (double)world.now_us / 1e6, world.events, world.node_count, world.crashes,
               world.losses, world.pauses, world.commands, world.acknowledged, cloud.starts,
               world.doubles, cloud.stops, world.hash);
    return world.failed;
}

bool has_converged(uint64_t within_us)
{
    bool done = false;
    while (!world.failed && !done && world.now_us < world.last_fault_us + within_us) {
        world_run(world.now_us + 250000);
        revive(true);
        done = !world.failed && check_converged();
    }
    if (!world.failed && !done)
        world.failed = true;
    return done;
}

/* Returns 0, or 1 with the story's end on standard output. */
static int run_storm(uint64_t seed, bool trace, bool print)
{
    world_init(seed, trace);
    draw_profile();
    users_init();
    for (uint32_t i = 0; i < storm.target; i++)
        node_start(node_add());
    queue_add(&world.queue, 3000000, step, NULL);
    world_run(storm.until_us);
    if (!world.failed)
        make_peace();
    /* Who found nobody for long asks ECS every 30 to 45 s. */
    (void)has_converged(world.finds_by_ecs ? 3 * PEACE_US : PEACE_US);
    return tell_end(trace, print);
}

/* ---- many ------------------------------------------------------------------------- */

static story_fn run = run_storm;

static uint64_t real_ms(void)
{
    struct timespec ts; /* clock_gettime is the simulator's own */
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* What a process leaks of killed agents goes with it. The hash of what happened is written to fd.
 */
static pid_t fork_seed(uint64_t seed, int fd)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    int rc = run(seed, false, false);
    fflush(stdout);
    if (fd >= 0 && write(fd, &world.hash, sizeof world.hash) != (ssize_t)sizeof world.hash)
        rc = 1;
    _exit(rc);
}

/* The same seed twice is the same story, or no story could be told again. */
static int run_twice(uint64_t first, uint64_t seeds)
{
    int fds[2];
    ENSURE(pipe(fds) == 0);
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        uint64_t hash[2] = {0};
        for (int i = 0; i < 2; i++) {
            int status = 0;
            pid_t pid = fork_seed(seed, fds[1]);
            if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0 ||
                read(fds[0], &hash[i], sizeof hash[i]) != (ssize_t)sizeof hash[i])
                return 1;
        }
        if (hash[0] != hash[1]) {
            printf("seed %lu is %016lx, and then %016lx\n", seed, hash[0], hash[1]);
            return 1;
        }
    }
    printf("%lu seeds from %lu, each twice the same\n", seeds, first);
    return 0;
}

static int run_many(uint64_t first, uint64_t seeds, uint64_t seconds, unsigned jobs)
{
    uint64_t started = 0, ended = 0, failed = 0, since = real_ms();
    unsigned open = 0;
    while (started < seeds || open > 0) {
        bool more = started < seeds && real_ms() - since < seconds * 1000 && failed < 5;
        if (more && open < jobs) {
            open += fork_seed(first + started++, -1) > 0;
            continue;
        }
        int status = 0;
        if (open == 0 || wait(&status) < 0)
            break;
        open--;
        ended++;
        failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        if (WIFSIGNALED(status))
            printf("a seed near %lu ended by signal %d\n", first + started - 1, WTERMSIG(status));
    }
    printf("%lu seeds from %lu, %lu failed, %.1f s\n", ended, first, failed,
           (double)(real_ms() - since) / 1000);
    return failed > 0;
}

static void make_key_file(void)
{
    static const char key[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
    snprintf(world.key_file, sizeof world.key_file, "/tmp/blox-agents-sim-XXXXXX");
    int fd = mkstemp(world.key_file);
    ENSURE(fd >= 0 && write(fd, key, sizeof key - 1) == (ssize_t)sizeof key - 1);
    close(fd);
}

int main(int argc, char **argv)
{
    uint64_t seed = 0, seeds = 100, first = 1, seconds = 3600;
    unsigned jobs = 2;
    bool trace = false, twice = false;
    for (int i = 1; i < argc; i++) {
        bool value = i + 1 < argc;
        if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else if (strcmp(argv[i], "--twice") == 0)
            twice = true;
        else if (strncmp(argv[i], "--", 2) == 0 && story_named(argv[i] + 2) != NULL)
            run = story_named(argv[i] + 2);
        else if (value && strcmp(argv[i], "--seed") == 0)
            seed = strtoul(argv[++i], NULL, 10);
        else if (value && strcmp(argv[i], "--seeds") == 0)
            seeds = strtoul(argv[++i], NULL, 10);
        else if (value && strcmp(argv[i], "--first") == 0)
            first = strtoul(argv[++i], NULL, 10);
        else if (value && strcmp(argv[i], "--seconds") == 0)
            seconds = strtoul(argv[++i], NULL, 10);
        else if (value && strcmp(argv[i], "--jobs") == 0)
            jobs = (unsigned)strtoul(argv[++i], NULL, 10);
    }
    make_key_file();
    int rc = seed != 0 ? run(seed, trace, true)
             : twice   ? run_twice(first, seeds)
                       : run_many(first, seeds, seconds, jobs);
    unlink(world.key_file);
    fflush(stdout);
    _exit(rc);
}
