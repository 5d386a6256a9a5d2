/* SPDX-License-Identifier: Apache-2.0
 * Raft under random faults. Each seed draws its own profile (swarm testing): which faults exist
 * at all, and how hard they hit. Ten virtual seconds of faults, then peace: within 20 s a leader
 * must commit and every server of its configuration must follow.
 *
 *   raft_sim --seeds 2000 [--first 1] [--seconds 50]    many; stops after so many real seconds
 *   raft_sim --seed 42 --trace                          one, told as a story
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "tests/sim/raft_world.h"

struct storm { /* per 1,000 and 20 ms step */
    uint32_t crash, cut, pair, one_way, pause, change, transfer, wipe, propose, retire, suspect;
    uint32_t batch;
    uint64_t wiped; /* node + 1 that came back with another disk and is not replaced yet */
    struct {        /* a change that its leader has not taken yet */
        uint32_t leader, who;
        enum raft_change change;
        uint64_t disk, since, until_us; /* until_us 0: none */
    } wish;
};

static uint64_t draw(struct world *w, uint64_t bound)
{
    return prng_below(&w->rng, bound);
}

static uint32_t sometimes(struct world *w, uint32_t max)
{
    return draw(w, 2) == 0 ? 0 : 1 + (uint32_t)draw(w, max);
}

static void draw_profile(struct world *w, struct storm *s)
{
    static const uint32_t batches[] = {1, 2, 8, 24};
    static const uint64_t trails[] = {4, 20, 100, 1000};
    w->profile.delay_us_max = 1000 + draw(w, draw(w, 3) == 0 ? 200000 : 20000);
    w->profile.disk_us_max = 200 + draw(w, draw(w, 3) == 0 ? 300000 : 5000);
    w->profile.loss = sometimes(w, draw(w, 3) == 0 ? 400 : 50);
    w->profile.doubled = sometimes(w, 100);
    w->profile.late = sometimes(w, 100);
    w->profile.trailing = trails[draw(w, 4)];
    s->crash = sometimes(w, 40);
    s->cut = sometimes(w, 60);
    s->pair = sometimes(w, 60);
    s->one_way = sometimes(w, 60);
    s->pause = sometimes(w, 30);
    s->change = sometimes(w, 200);
    s->transfer = sometimes(w, 40);
    s->wipe = sometimes(w, 10);
    s->propose = 5 + (uint32_t)draw(w, draw(w, 3) == 0 ? 30 : 900);
    s->retire = sometimes(w, 30);
    s->suspect = sometimes(w, 100);
    s->batch = batches[draw(w, 4)];
    bool drift = draw(w, 2) == 0; /* time is still 0: no clock jumps */
    for (uint32_t i = 0; drift && i < w->count; i++)
        w->node[i].rate = 0.9 + 0.2 * prng_unit(&w->rng);
}

static bool hits(struct world *w, uint32_t chance)
{
    return draw(w, 1000) < chance;
}

static void want_change(struct world *w, struct storm *s, uint32_t leader, enum raft_change change,
                        uint32_t who, uint64_t disk)
{
    if (s->wish.until_us > w->now_us)
        return;
    s->wish.leader = leader;
    s->wish.change = change;
    s->wish.who = who;
    s->wish.disk = disk;
    s->wish.since = world_clock(w, leader);
    s->wish.until_us = w->now_us + 2000000;
}

static void ask_for_change(struct world *w, struct storm *s)
{
    uint32_t l = s->wish.leader;
    if (s->wish.until_us <= w->now_us || !w->node[l].up)
        return;
    if (world_change(w, l, s->wish.change, s->wish.who, s->wish.disk, s->wish.since) == 0)
        s->wish.until_us = 0;
}

/* The disk that was lost counts as a dead server until the leader took it out; a second one
 * meanwhile could exceed what a majority survives. */
static void replace_wiped(struct world *w, struct storm *s, int leader)
{
    uint32_t who = (uint32_t)s->wiped - 1;
    const struct raft *r = &w->node[leader].raft;
    const struct raft_server *server = raft_find(&r->config, who + 1);
    if (!raft_may_change(r))
        return;
    if (server == NULL)
        s->wiped = 0;
    else if (server->disk != w->node[who].disk.id)
        want_change(w, s, (uint32_t)leader, RAFT_REMOVE, who, server->disk);
}

static void change_something(struct world *w, struct storm *s, int leader)
{
    uint32_t who = (uint32_t)draw(w, w->count);
    const struct raft *r = &w->node[leader].raft;
    const struct raft_server *server = raft_find(&r->config, who + 1);
    enum raft_change change = RAFT_ADD_LEARNER;
    if (server != NULL && server->voter)
        change = draw(w, 3) == 0 ? RAFT_DEMOTE : RAFT_REMOVE;
    else if (server != NULL)
        change = draw(w, 4) == 0 ? RAFT_REMOVE : RAFT_PROMOTE;
    want_change(w, s, (uint32_t)leader, change, who,
                server != NULL ? server->disk : w->node[who].disk.id);
}

static void may_wipe(struct world *w, struct storm *s)
{
    uint32_t who = (uint32_t)draw(w, w->count);
    int leader = world_leader(w);
    if (s->wiped != 0 || leader < 0 || leader == (int)who || s->wish.until_us > w->now_us)
        return;
    /* Only with three voters, all alive and agreed on that, and no leader about to change it: one
     * loss is what is promised, and a loss between the answer that a change rests on and the
     * change itself is a loss in the new configuration. */
    const struct raft *r = &w->node[leader].raft;
    for (uint32_t i = 0; i < w->count; i++) {
        const struct raft *other = &w->node[i].raft;
        if (raft_find(&r->config, i + 1) != NULL &&
            (!w->node[i].up || other->config.index != r->config.index || other->term != r->term))
            return;
    }
    if (raft_voter_count(&r->config) < 3 || r->commit != r->log.last_index ||
        r->config.index > r->commit)
        return;
    world_crash(w, who, 0);
    world_wipe(w, who);
    s->wiped = who + 1;
}

static void blow(struct world *w, struct storm *s)
{
    uint32_t a = (uint32_t)draw(w, w->count), b = (uint32_t)draw(w, w->count);
    if (hits(w, s->crash))
        world_crash(w, a, (uint32_t)draw(w, 3));
    if (hits(w, 100))
        world_restart(w, b);
    if (hits(w, s->cut))
        for (uint32_t i = 0; i < w->count; i++)
            world_cut(w, a, i, i != a);
    if (hits(w, s->pair) && a != b)
        world_cut(w, a, b, true);
    if (hits(w, s->one_way))
        w->cut[a][b] = true;
    if (hits(w, 60))
        memset(w->cut, 0, sizeof(w->cut));
    if (hits(w, s->pause))
        w->node[a].pause_until_us = w->now_us + draw(w, 1500000);
    if (hits(w, s->wipe))
        may_wipe(w, s);
    if (hits(w, s->suspect) && w->node[a].up)
        world_step(w, a, &(struct raft_input){.type = RAFT_SUSPECT, .num = w->node[a].raft.leader});
    int leader = world_leader(w);
    if (leader < 0 || w->failed)
        return;
    uint32_t l = (uint32_t)leader;
    if (draw(w, 4) == 0) { /* any leader, not just the newest */
        for (uint32_t i = 0; i < w->count; i++)
            if (w->node[i].up && w->node[i].raft.role == RAFT_LEADER)
                l = i;
        leader = (int)l;
    }
    if (hits(w, s->propose))
        (void)world_propose(w, l, 1 + (uint32_t)draw(w, s->batch));
    if (s->wiped != 0 && hits(w, 200))
        replace_wiped(w, s, leader);
    else if (hits(w, s->change))
        change_something(w, s, leader);
    ask_for_change(w, s);
    if (hits(w, s->transfer)) {
        const struct raft_config *c = &w->node[l].raft.config;
        uint64_t to = c->server[draw(w, c->count)].num;
        world_step(w, l, &(struct raft_input){.type = RAFT_TRANSFER, .num = to});
    }
    if (hits(w, s->retire) && w->node[l].raft.config.index <= w->node[l].raft.commit &&
        raft_find(&w->node[l].raft.config, b + 1) == NULL && w->node[b].up)
        world_step(w, b, &(struct raft_input){.type = RAFT_RETIRE});
}

/* A leader whose fresh command every server of its configuration applied. */
static bool is_settled(const struct world *w, uint64_t target)
{
    int leader = world_leader(w);
    if (leader < 0 || target == 0)
        return false;
    const struct raft *r = &w->node[leader].raft;
    for (uint32_t i = 0; i < r->config.count; i++) {
        const struct world_node *n = &w->node[r->config.server[i].num - 1];
        if (n->disk.id == r->config.server[i].disk && n->applied < target)
            return false;
    }
    return raft_lease(r, world_clock(w, (uint32_t)leader));
}

static uint64_t run_seed(uint64_t seed, bool trace, struct world *w)
{
    struct prng pick;
    struct storm s = {0};
    prng_seed(&pick, seed ^ 0xb10c);
    uint32_t count = 3 + (uint32_t)prng_below(&pick, 5);
    uint32_t voters = 1 + (uint32_t)prng_below(&pick, count < 5 ? count : 5);
    world_init(w, seed, count, voters);
    w->trace = trace;
    draw_profile(w, &s);
    for (uint32_t step = 0; step < 500 && !w->failed; step++) {
        world_run(w, 20000);
        if (!w->failed)
            blow(w, &s);
    }
    w->profile.loss = w->profile.doubled = w->profile.late = 0;
    w->profile.delay_us_max = 5000;
    w->profile.disk_us_max = 2000;
    if (!w->failed)
        world_heal(w);
    for (uint32_t i = 0; i < w->count; i++)
        w->node[i].pause_until_us = 0;
    if (trace)
        printf("%8.3f s  peace\n", (double)w->now_us / 1e6);
    uint64_t target = 0;
    for (uint32_t step = 0; step < 200 && !w->failed && !is_settled(w, target); step++) {
        world_run(w, 100000);
        int leader = w->failed ? -1 : world_leader(w);
        if (leader >= 0 && (target == 0 || w->node[leader].raft.commit < target) &&
            world_propose(w, (uint32_t)leader, 1) == 0)
            target = w->node[leader].raft.log.last_index;
    }
    if (!w->failed && !is_settled(w, target))
        world_fail(w, "no progress 20 s after the last fault");
    return w->hash;
}

static int run_one(uint64_t seed, bool trace)
{
    static struct world w;
    uint64_t first = run_seed(seed, trace, &w);
    bool failed = w.failed;
    if (failed)
        printf("seed %lu: %s (at %.3f s)\n", seed, w.why, (double)w.now_us / 1e6);
    world_fini(&w);
    if (trace && !failed) {
        uint64_t again = run_seed(seed, false, &w);
        printf("seed %lu: ok, hash %016lx, again %016lx\n", seed, first, again);
        failed = first != again;
        world_fini(&w);
    }
    return failed ? 1 : 0;
}

static int run_many(uint64_t first, uint64_t seeds, uint64_t seconds)
{
    static struct world w;
    uint64_t start = clock_mono_ms(), done = 0, messages = 0, crashes = 0, elections = 0;
    uint64_t restores = 0, failures = 0;
    for (; done < seeds && clock_mono_ms() - start < seconds * 1000; done++) {
        uint64_t hash = run_seed(first + done, false, &w);
        messages += w.messages;
        crashes += w.crashes;
        elections += w.elections;
        restores += w.restores;
        if (w.failed) {
            printf("seed %lu: %s (at %.3f s)\n", first + done, w.why, (double)w.now_us / 1e6);
            failures++;
        }
        world_fini(&w);
        if (done % 100 == 0 && failures == 0) { /* the same seed gives the same run */
            bool same = run_seed(first + done, false, &w) == hash;
            world_fini(&w);
            if (!same) {
                printf("seed %lu: two runs differ\n", first + done);
                failures++;
            }
        }
        if (failures >= 5)
            break;
    }
    printf(
        "%lu seeds, %lu failed; %lu messages, %lu elections, %lu crashes, %lu snapshots, %lu s\n",
        done, failures, messages, elections, crashes, restores, (clock_mono_ms() - start) / 1000);
    return failures == 0 && done > 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    uint64_t seeds = 200, first = 1, seed = 0, seconds = 3600;
    bool trace = false;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--trace") == 0)
            trace = true;
        else if (strcmp(argv[i], "--seeds") == 0 && more)
            seeds = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--first") == 0 && more)
            first = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seed") == 0 && more)
            seed = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0 && more)
            seconds = strtoull(argv[++i], NULL, 10);
        else {
            fprintf(stderr, "usage: raft_sim [--seeds N] [--first S] [--seconds T] | --seed S "
                            "[--trace]\n");
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    return seed != 0 ? run_one(seed, trace) : run_many(first, seeds, seconds);
}
