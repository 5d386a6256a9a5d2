/* SPDX-License-Identifier: Apache-2.0
 * Stories: one plot each, told of whole agents in another way by each seed. What a storm found once
 * is here on purpose, so that it need not wait for the seed that finds it again. */
#include "tests/sim/stories.h"

#include <string.h>

#include "agent/agent_int.h"
#include "tests/sim/cloud.h"
#include "tests/sim/users.h"

struct raft_uv *raft_of(const struct node *n)
{
    return n->up && n->agent != NULL ? n->agent->raft : NULL;
}

/* True once there is another leader than that. */
bool wait_for_leader(const struct node *except, uint64_t us)
{
    uint64_t until_us = world.now_us + us;
    while (!world.failed && (the_leader() == NULL || the_leader() == except) &&
           world.now_us < until_us)
        world_run(world.now_us + 20000);
    return !world.failed && the_leader() != NULL && the_leader() != except;
}

static void stop_and_wait(struct node *n)
{
    node_stop(n);
    while (!world.failed && !n->stopped)
        world_run(world.now_us + 20000);
    n->up = false;
    n->loop = NULL;
}

void start_world(uint64_t seed, bool trace)
{
    world_init(seed, trace);
    world.network.profile = (struct network_profile){.delay_us_min = 200, .delay_us_max = 3000};
    world.profile = (struct profile){.disk_us = 2000, .aws_us = 20000, .event_us = 200000};
}

/* So many agents, and one of them leads. */
void begin(uint64_t seed, bool trace, uint32_t count)
{
    start_world(seed, trace);
    for (uint32_t i = 0; i < count; i++)
        node_start(node_add());
    if (!wait_for_leader(NULL, 20000000))
        world_fail("no first leader");
}

/* Three agents, all that there are. Each leader is killed or stopped some seconds after it was
 * elected, when the one before it has just come back: two of three are always there, so there is
 * always a leader, some three election time-outs after the death of the last. */
static int story_succession(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 3);
    world_run(world.now_us + 3000000);
    for (uint32_t round = 0; round < 8 && !world.failed; round++) {
        struct node *dead = the_leader();
        if (dead == NULL)
            world_fail("round %u: nobody leads", round);
        if (world.failed)
            break;
        uint64_t down_us = 500000 + draw(4000000), since_us = world.now_us;
        if (draw(3) == 0)
            stop_and_wait(dead);
        else
            node_kill(dead, false);
        if (!wait_for_leader(dead, 2500000))
            world_fail("round %u: no leader 2.5 s after %s died", round, dead->id);
        if (world.now_us < since_us + down_us)
            world_run(since_us + down_us);
        node_start(dead);
        world_run(world.now_us + 1500000 + draw(1500000));
    }
    return tell_end(trace, print);
}

/* All voters are terminated in one moment, while users write. The others were out of reach for
 * some moments before, so that they have what was acknowledged only if they were waited for. */
void reclaim_voters(uint64_t seed, bool trace)
{
    world_init(seed, trace);
    world.recovers = true;
    world.network.profile = (struct network_profile){
        .delay_us_min = 200, .delay_us_max = 1000 + draw(20000), .loss = sometimes(20)};
    world.profile = (struct profile){.disk_us = 2000 + draw(20000),
                                     .aws_us = 20000,
                                     .event_us = 200000,
                                     .aws_throttled = sometimes(200)};
    users_init();
    for (uint32_t i = 0; i < 6; i++)
        node_start(node_add());
    while (!world.failed && (the_leader() == NULL || !quorum_is_full(the_leader()->agent->raft)))
        world_run(world.now_us + 100000);
    world_run(world.now_us + 2000000 + draw(2000000));
    struct node *first = the_leader();
    bool votes[NODES_MAX] = {false};
    for (uint32_t i = 0; first != NULL && i < world.node_count; i++)
        votes[i] = quorum_has(first->agent->raft, &world.nodes[i]);
    for (uint32_t i = 0; first != NULL && i < world.node_count; i++)
        for (uint32_t k = 0; k < world.node_count; k++)
            network_cut(&world.network, i, k, votes[i] != votes[k]);
    /* Spares count as there until 2 s after what they answered last was sent, every 0.5 s. */
    world_run(world.now_us + 300000 + draw(1100000));
    for (uint32_t i = 0; first != NULL && i < world.node_count; i++)
        if (votes[i])
            node_gone(&world.nodes[i]);
    world_run(world.now_us + 3000000);
    if (!world.failed)
        make_peace();
}

/* The rest recovers by itself, once ECS and EC2 say so, and no acknowledged write is missing. */
static int story_reclaim(uint64_t seed, bool trace, bool print)
{
    reclaim_voters(seed, trace);
    if (!world.failed && draw(3) > 0)
        disturb_recovery();
    (void)has_converged(90000000);
    return tell_end(trace, print);
}

static bool all_are_led(void)
{
    for (uint32_t i = 0; i < world.node_count; i++)
        if (world.nodes[i].agent == NULL || world.nodes[i].agent->leader == 0)
            return false;
    return true;
}

/* Two agents start on the other side of a partition: they find each other by what they publish in
 * ECS, and nobody else knows of them when it is over. */
static int story_island(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 3);
    for (uint32_t i = 0; i < 3; i++)
        for (uint32_t k = 3; k < 5; k++) {
            network_cut(&world.network, i, k, true);
            network_cut(&world.network, k, i, true);
        }
    for (uint32_t i = 3; i < 5; i++)
        node_start(node_add());
    world_run(world.now_us + 5000000 + draw(90000000));
    network_heal(&world.network);
    world_say(NULL, "the network is whole");
    uint64_t until_us = world.now_us + 12000000;
    while (!world.failed && !all_are_led() && world.now_us < until_us)
        world_run(world.now_us + 100000);
    if (!all_are_led())
        world_fail("12 s after the partition some know no leader");
    return tell_end(trace, print);
}

/* Three agents that found each other by ECS alone, and some seconds later. */
static void begin_by_ecs(uint64_t seed, bool trace)
{
    start_world(seed, trace);
    world.finds_by_ecs = true;
    for (uint32_t i = 0; i < 3; i++)
        node_start(node_add());
    if (!wait_for_leader(NULL, 60000000))
        world_fail("no first leader");
    world_run(world.now_us + 5000000 + draw(5000000));
}

/* An agent is of the cluster before its instance is registered: its address stands in ECS soon
 * after that, for those that come later look there and nowhere else. */
static int story_late(uint64_t seed, bool trace, bool print)
{
    begin_by_ecs(seed, trace);
    struct node *late = world.failed ? NULL : node_add();
    if (late != NULL)
        node_start(late);
    while (!world.failed && cloud_instance_of(late) == NULL)
        world_run(world.now_us + 100000);
    if (!world.failed)
        world_run(world.now_us + 4000000);
    if (!world.failed && cloud_instance_of(late)->address[0] == '\0')
        world_fail("4 s after its instance was registered %s has no address in ECS", late->id);
    return tell_end(trace, print);
}

/* The first answer about who is there is lost: the next question comes soon after its time-out. */
static int story_unanswered(uint64_t seed, bool trace, bool print)
{
    begin_by_ecs(seed, trace);
    world.profile.aws_lost_answer = 1000;
    if (!world.failed)
        node_start(node_add());
    world_run(world.now_us + 1000000);
    world.profile.aws_lost_answer = 0;
    uint64_t until_us = world.now_us + 18000000; /* ten of them are the time-out */
    while (!world.failed && !all_are_led() && world.now_us < until_us)
        world_run(world.now_us + 100000);
    if (!world.failed && !all_are_led())
        world_fail("8 s after a time-out it has not been asked again who is there");
    return tell_end(trace, print);
}

uint64_t leader_of(const struct node *n)
{
    return n->up && n->agent != NULL ? n->agent->leader : 0;
}

story_fn story_named(const char *name)
{
    static const struct {
        const char *name;
        story_fn run;
    } stories[] = {
        {"succession", story_succession},
        {"reclaim", story_reclaim},
        {"island", story_island},
        {"late", story_late},
        {"unanswered", story_unanswered},
        {"removed", story_removed},
        {"unheard", story_unheard},
        {"leftout", story_left_out},
        {"met", story_met},
        {"echo", story_echo},
        {"bound", story_bound},
        {"snapshot", story_snapshot},
        {"hang", story_hang},
        {"words", story_words},
        {"kept", story_kept},
    };
    for (size_t i = 0; i < sizeof stories / sizeof stories[0]; i++)
        if (strcmp(stories[i].name, name) == 0)
            return stories[i].run;
    return NULL;
}
