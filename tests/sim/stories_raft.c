/* SPDX-License-Identifier: Apache-2.0
 * Stories of consensus at its edges. */
#include <string.h>

#include "agent/raft/raft_uv_int.h"
#include "tests/sim/disk_int.h"
#include "tests/sim/stories.h"
#include "tests/sim/users.h"

/* Waits for a condition, for so many seconds, looking every millisecond. */
#define WITHIN(seconds, condition, ...)                                                            \
    do {                                                                                           \
        uint64_t until_us_ = world.now_us + (seconds)*1000000;                                     \
        while (!world.failed && !(condition) && world.now_us < until_us_)                          \
            world_run(world.now_us + 1000);                                                        \
        if (!(condition))                                                                          \
            world_fail(__VA_ARGS__);                                                               \
    } while (0)

/* How the leader's newest configuration has it; NULL: not at all. */
static const struct raft_server *as_server(const struct node *n)
{
    const struct node *l = the_leader();
    const struct raft_config *c = l == NULL ? NULL : &raft_of(l)->core.config;
    for (uint32_t i = 0; c != NULL && i < c->count; i++)
        if (strcmp(c->server[i].id, n->id) == 0)
            return &c->server[i];
    return NULL;
}

static struct node *any_spare(void)
{
    for (uint32_t i = 0; i < world.node_count; i++) {
        const struct raft_server *s = as_server(&world.nodes[i]);
        if (s != NULL && !s->voter)
            return &world.nodes[i];
    }
    return NULL;
}

static struct node *any_recovering(void)
{
    for (uint32_t i = 0; i < world.node_count; i++) {
        const struct raft_uv *r = raft_of(&world.nodes[i]);
        if (r != NULL && r->quiet != QUIET_NO)
            return &world.nodes[i];
    }
    return NULL;
}

/* Stops while its turn comes and another's, which starts the new cluster meanwhile. */
static void pause_who_waits(void)
{
    struct node *n = NULL;
    world_run(world.now_us + 10000000 + draw(8000000));
    for (uint32_t i = 0; i < world.node_count && n == NULL; i++)
        n = raft_of(&world.nodes[i]) == NULL ? NULL : &world.nodes[i];
    if (world.failed || n == NULL)
        return;
    node_pause(n, 10000000 + draw(20000000));
    world_fault_until(n->paused_until_us);
}

/* Who starts the new cluster is killed amid it, and belongs to the old one or to the new. */
static void kill_who_recovers(void)
{
    struct node *n = NULL;
    uint64_t until_us = world.now_us + 60000000;
    while (!world.failed && (n = any_recovering()) == NULL && world.now_us < until_us)
        world_run(world.now_us + 200);
    world_run(world.now_us + draw(2 * world.profile.disk_us));
    if (world.failed || n == NULL || !n->up)
        return;
    node_kill(n, draw(2) == 0);
    world_run(world.now_us + draw(8000000));
    world_fault_until(world.now_us);
}

/* Who started the new cluster says so to some, and then nothing for a long time. */
static void pause_who_recovered(void)
{
    struct node *n = NULL;
    uint64_t until_us = world.now_us + 60000000;
    while (!world.failed && (n = any_recovering()) == NULL && world.now_us < until_us)
        world_run(world.now_us + 200);
    world_run(world.now_us + draw(draw(2) == 0 ? 5000 : 1000000));
    if (world.failed || n == NULL || !n->up)
        return;
    node_pause(n, 20000000 + draw(30000000));
    world_fault_until(n->paused_until_us);
}

/* Those that remain are in two halves that do not see each other, and AWS answers both. */
static void part_who_remain(void)
{
    world_run(world.now_us + draw(18000000));
    uint64_t alone = draw(world.node_count);
    for (uint32_t i = 0; i < world.node_count; i++)
        for (uint32_t k = 0; k < world.node_count; k++)
            network_cut(&world.network, i, k, (i % 3 == alone % 3) != (k % 3 == alone % 3));
    world_say(NULL, "the network is cut in two");
    world_run(world.now_us + 10000000 + draw(50000000));
    network_heal(&world.network);
    world_say(NULL, "the network is whole");
    world_fault_until(world.now_us);
}

void disturb_recovery(void)
{
    static void (*const how[])(void) = {kill_who_recovers, pause_who_waits, pause_who_recovered,
                                        part_who_remain};
    how[draw(sizeof how / sizeof how[0])]();
}

/* A spare is removed without hearing of it, and is taken in again by the name of a disk that it no
 * longer has, so that nothing the leader sends is for it. It turns to the leader it hears of: among
 * so many agents it would meet it late. */
int story_removed(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 16);
    WITHIN(60, the_leader() != NULL && quorum_is_full(raft_of(the_leader())), "no full quorum");
    struct node *spare = world.failed ? NULL : any_spare();
    struct peer_info *told = spare == NULL ? NULL : hello_peer(raft_of(the_leader()), spare->id);
    if (told == NULL)
        world_fail("the leader knows of no spare");
    if (world.failed)
        return tell_end(trace, print);
    told->disk ^= 2;
    world_say(spare, "is taken for another");
    uint64_t known_us = world.now_us, end_us = world.now_us + 20000000;
    while (!world.failed && world.now_us < end_us) {
        world_run(world.now_us + 10000);
        if (leader_of(spare) != 0)
            known_us = world.now_us;
        if (world.now_us > known_us + 4000000)
            world_fail("%s knows no leader, 4 s after it lost it", spare->id);
    }
    WITHIN(10, as_server(spare) == NULL || as_server(spare)->disk == disk_number(spare->disk),
           "%s is a server by another disk", spare->id);
    return tell_end(trace, print);
}

/* A voter has lost its log and is a learner again; it hangs before anything of the log reached it,
 * and another leads. That leader has not heard of it: it is no voter until it has the log. */
int story_unheard(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 3);
    WITHIN(20, raft_voter_count(&raft_of(the_leader())->core.config) == 3, "no three voters");
    struct node *first = the_leader(), *lost = NULL;
    for (uint32_t i = 0; i < 3 && first != NULL; i++)
        lost = &world.nodes[i] == first ? lost : &world.nodes[i];
    if (world.failed || lost == NULL)
        return tell_end(trace, print);
    node_lose(lost);
    world_run(world.now_us + draw(500000));
    node_start(lost);
    WITHIN(20,
           the_leader() == first && as_server(lost) != NULL && !as_server(lost)->voter &&
               as_server(lost)->disk == disk_number(lost->disk),
           "%s does not become a learner", lost->id);
    node_pause(lost, 6000000);
    node_kill(first, false);
    world_run(world.now_us + 100000 + draw(300000));
    node_start(first);
    WITHIN(5, the_leader() != NULL, "nobody leads");
    while (!world.failed && world.now_us < lost->paused_until_us) {
        if (as_server(lost) != NULL && as_server(lost)->voter)
            world_fail("%s votes, and has no log", lost->id);
        world_run(world.now_us + 10000);
    }
    WITHIN(20, as_server(lost) != NULL && as_server(lost)->voter, "%s is no voter", lost->id);
    return tell_end(trace, print);
}

static void forget_it(void *arg, int err, uint64_t term, uint64_t index)
{
    (void)arg;
    (void)err;
    (void)term;
    (void)index;
}

/* So that its log is longer than that of any leader to come. */
static void write_in_vain(void *arg)
{
    for (int i = 0; i < 8; i++)
        (void)!raft_uv_barrier(raft_of(arg), forget_it, NULL);
}

/* A leader is parted from the voters before they hear that it takes in a spare, which then stops.
 * They choose another leader, and it takes in others: the spare learns that it is none, whatever
 * its log says, and who leads. */
int story_left_out(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 7);
    struct node *leader = world.failed ? NULL : the_leader(), *spare = NULL;
    if (leader == NULL)
        return tell_end(trace, print);
    const struct raft *core = &raft_of(leader)->core;
    WITHIN(5, core->commit == core->log.last_index, "its term does not begin");
    for (uint32_t i = 0; !world.failed && i < world.node_count; i++) {
        const struct raft_server *s = as_server(&world.nodes[i]);
        if (s != NULL && s->voter && &world.nodes[i] != leader)
            network_cut(&world.network, leader->num, i, true);
    }
    world_say(leader, "is parted from the voters");
    node_post(leader, world.now_us, write_in_vain, leader);
    for (uint64_t until_us = world.now_us + 500000; world.now_us < until_us && spare == NULL;) {
        world_run(world.now_us + 1000);
        for (uint32_t i = 0; core->config.count == 4 && i < world.node_count; i++)
            if (strcmp(world.nodes[i].id, core->config.server[3].id) == 0)
                spare = &world.nodes[i];
    }
    world_run(world.now_us + 100000);
    if (spare != NULL)
        node_kill(spare, false);
    world_run(world.now_us + 3000000);
    for (uint32_t i = 0; i < world.node_count; i++)
        network_cut(&world.network, leader->num, i, false);
    world_run(world.now_us + 10000000);
    if (spare == NULL)
        world_say(NULL, "it took in none: not this seed's story");
    else
        node_start(spare);
    WITHIN(10, spare == NULL || leader_of(spare) != 0, "%s knows no leader", spare->id);
    return tell_end(trace, print);
}

/* The leader and another voter are gone, and so is the quorum. Agents outside ask each other who
 * leads: none says again and again that the dead one does. */
int story_echo(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 8);
    world_run(world.now_us + 15000000);
    struct node *leader = world.failed ? NULL : the_leader();
    struct node *other = NULL;
    for (uint32_t i = 0; leader != NULL && i < world.node_count; i++) {
        const struct raft_server *s = as_server(&world.nodes[i]);
        other = s != NULL && s->voter && &world.nodes[i] != leader ? &world.nodes[i] : other;
    }
    if (other == NULL)
        return tell_end(trace, print);
    node_kill(other, false);
    node_kill(leader, false);
    world_run(world.now_us + 1500000 + draw(1000000)); /* gossip tells all of them */
    bool known[NODES_MAX];
    uint32_t told = 0;
    for (uint32_t i = 0; i < world.node_count; i++)
        known[i] = leader_of(&world.nodes[i]) != 0;
    for (uint64_t until_us = world.now_us + 20000000; world.now_us < until_us;) {
        world_run(world.now_us + 1000);
        for (uint32_t i = 0; i < world.node_count; i++) {
            bool knows = leader_of(&world.nodes[i]) != 0;
            told += knows && !known[i];
            known[i] = knows;
        }
    }
    if (told > 0)
        world_fail("agents began %u times to believe in a dead leader", told);
    return tell_end(trace, print);
}

/* A hello to the last of the three that is not a server, as it may come by chance. */
static void tell_the_bound(void *arg)
{
    const struct node *n = arg;
    for (uint32_t i = 0; i < 3; i++)
        if (!step_is_server(raft_of(&world.nodes[i])))
            hello_tell(raft_of(n), raft_of(&world.nodes[i])->self.num);
}

/* Bound to a first configuration, but it reaches nobody when the others hear that all are: they
 * start the cluster. It hears of their leader before they hear it, and goes on asking them all the
 * same. */
int story_bound(uint64_t seed, bool trace, bool print)
{
    const struct node *bound = NULL;
    start_world(seed, trace);
    for (uint32_t i = 0; i < 3; i++)
        node_start(node_add());
    for (uint64_t until_us = world.now_us + 20000000;
         !world.failed && bound == NULL && world.now_us < until_us; world_run(world.now_us + 100)) {
        bool started = false;
        for (uint32_t i = 0; i < 3; i++)
            started = started || (raft_of(&world.nodes[i]) != NULL &&
                                  raft_of(&world.nodes[i])->boot.state == BOOT_STARTED);
        for (uint32_t i = 0; started && i < 3; i++)
            if (raft_of(&world.nodes[i])->boot.state == BOOT_BOUND)
                bound = &world.nodes[i];
    }
    if (bound == NULL) {
        world_say(NULL, "all started in one moment: not this seed's story");
        return tell_end(trace, print);
    }
    for (uint32_t i = 0; i < 3; i++)
        network_cut(&world.network, bound->num, i, i != bound->num);
    world_say(bound, "reaches nobody");
    WITHIN(10, the_leader() != NULL, "the others have no leader");
    if (!world.failed)
        node_post(the_leader(), world.now_us, tell_the_bound, the_leader());
    world_run(world.now_us + 100000);
    if (!world.failed && raft_of(bound)->known_leader == 0) {
        world_say(bound, "did not hear it: not this seed's story");
        return tell_end(trace, print);
    }
    world_run(world.now_us + 600000 + draw(500000));
    network_heal(&world.network);
    world_say(bound, "is back");
    WITHIN(8, step_is_server(raft_of(bound)), "%s is bound, and no server 8 s later", bound->id);
    return tell_end(trace, print);
}

/* A newcomer has just met the agents of a cluster, loses its power and starts where it reaches none
 * of them: it knows that there is one, and forms no other with whom it finds there. */
int story_met(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 3);
    world_run(world.now_us + draw(3000000));
    struct node *late = world.failed ? NULL : node_add();
    if (late == NULL)
        return tell_end(trace, print);
    node_start(late);
    WITHIN(5, raft_of(late) != NULL && gossip_alive_count(raft_of(late)->o.gossip) > 1,
           "%s meets nobody", late->id);
    world_run(world.now_us + 150000 + draw(200000));
    node_kill(late, true);
    for (uint32_t i = 0; i < world.node_count; i++)
        network_cut(&world.network, late->num, i, i != late->num);
    world_run(world.now_us + 100000 + draw(1000000));
    node_start(late);
    WITHIN(1, raft_of(late) != NULL && raft_uv_cluster_id(raft_of(late)) != 0,
           "%s forgot the cluster", late->id);
    return tell_end(trace, print);
}

/* A learner asks for a snapshot while the leader's rows wait for its disk: none is made of what a
 * crash would take from the leader. */
int story_snapshot(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 3);
    users_init();
    world_run(world.now_us + 2000000 + draw(2000000));
    world.profile.disk_us = 400000; /* what is applied is on no disk for some time */
    struct node *late = world.failed ? NULL : node_add();
    bool waited = false;
    if (late != NULL)
        node_start(late);
    for (uint64_t until_us = world.now_us + 40000000;
         !world.failed && (raft_of(late) == NULL || raft_of(late)->applied == 0) &&
         world.now_us < until_us;
         world_run(world.now_us + 200)) {
        const struct raft_uv *r = the_leader() == NULL ? NULL : raft_of(the_leader());
        waited = waited || (r != NULL && r->snapshot_index > r->core.log.applied);
    }
    if (!world.failed && raft_of(late)->applied == 0)
        world_fail("%s gets no snapshot", late->id);
    uint64_t most = 0; /* of what is applied, on a disk */
    for (uint32_t i = 0; i < 3; i++)
        most =
            world.nodes[i].disk->applied_index > most ? world.nodes[i].disk->applied_index : most;
    if (!world.failed && raft_of(late)->applied > most)
        world_fail("%s has a snapshot of index %lu, on disks is %lu", late->id,
                   raft_of(late)->applied, most);
    if (!waited)
        world_say(NULL, "all rows were written: not this seed's story");
    return tell_end(trace, print);
}

/* The leader's disk lets a write hang: it hears and answers, but acknowledges nothing. Another
 * leads soon, and one with a disk votes in its place until it works again. */
int story_hang(uint64_t seed, bool trace, bool print)
{
    begin(seed, trace, 5);
    users_init();
    WITHIN(60, the_leader() != NULL && quorum_is_full(raft_of(the_leader())), "no full quorum");
    world_run(world.now_us + draw(3000000));
    struct node *hung = world.failed ? NULL : the_leader();
    if (hung == NULL)
        return tell_end(trace, print);
    world_say(hung, "its disk hangs");
    disk_hang(hung->disk, true);
    WITHIN(12, the_leader() != NULL && the_leader() != hung, "%s leads, and its disk hangs",
           hung->id);
    uint64_t acknowledged = world.acknowledged;
    WITHIN(15, world.acknowledged > acknowledged, "nothing is acknowledged without %s", hung->id);
    WITHIN(25, as_server(hung) == NULL || !as_server(hung)->voter, "%s votes, without a disk",
           hung->id);
    disk_hang(hung->disk, false);
    world_say(hung, "its disk works");
    make_peace();
    (void)has_converged(20000000);
    return tell_end(trace, print);
}

static void ask_now(void *arg)
{
    struct raft_uv *r = raft_of(arg);
    if (r->quiet == QUIET_NO && r->lost.proven_ms != 0)
        word_ask(r);
}

/* Nobody insists on being the first any more. */
static void be_patient(const struct raft_uv *r)
{
    for (uint32_t i = 0; i < world.node_count; i++) {
        struct peer_info *p = hello_peer(r, world.nodes[i].id);
        if (p != NULL)
            p->asked_ms = r->lost.since - 25000;
    }
}

/* Two ask all others for their words in one moment, and each other. Who gives its own has to ask
 * again, for what it was given before does not hold beside that: one recovers. */
int story_words(uint64_t seed, bool trace, bool print)
{
    struct node *rest[NODES_MAX];
    uint32_t count = 0;
    reclaim_voters(seed, trace);
    for (uint32_t i = 0; i < world.node_count; i++)
        if (world.nodes[i].exists)
            rest[count++] = &world.nodes[i];
    bool all = false;
    for (uint64_t until_us = world.now_us + 30000000;
         !world.failed && !all && world.now_us < until_us; world_run(world.now_us + 10000)) {
        all = true;
        for (uint32_t i = 0; i < count; i++)
            all = all && raft_of(rest[i])->lost.proven_ms != 0;
    }
    uint32_t out = (uint32_t)draw(3);
    for (uint32_t i = 0; !world.failed && all && i < count; i++)
        be_patient(raft_of(rest[i]));
    for (uint32_t i = 0; !world.failed && all && i < count; i++)
        if (i != out)
            node_post(rest[i], world.now_us + draw(2000), ask_now, rest[i]);
    (void)has_converged(90000000);
    if (!all)
        world_say(NULL, "one recovered before the others were ready: not this seed's story");
    return tell_end(trace, print);
}

/* Who has sent its word for what this one asks now? */
static struct node *who_gave(const struct node *asker)
{
    const struct raft_uv *r = raft_of(asker);
    for (uint32_t i = 0; r != NULL && r->word.round != 0 && i < world.node_count; i++) {
        const struct peer_info *p = hello_peer(r, world.nodes[i].id);
        if (p != NULL && p->round == r->word.round && world.nodes[i].up)
            return &world.nodes[i];
    }
    return NULL;
}

static bool has_given(const struct raft_uv *r, const char *to)
{
    for (uint32_t i = 0; i < r->word.count; i++)
        if (strcmp(r->word.given[i], to) == 0)
            return true;
    return false;
}

/* A word arrives, and whose it is loses its power in that moment: it still knows of it later. */
int story_kept(uint64_t seed, bool trace, bool print)
{
    struct node *asker = NULL, *giver = NULL;
    reclaim_voters(seed, trace);
    for (uint64_t until_us = world.now_us + 90000000;
         !world.failed && giver == NULL && world.now_us < until_us;) {
        world_run(world.now_us + 200);
        for (uint32_t i = 0; i < world.node_count && giver == NULL; i++) {
            asker = &world.nodes[i];
            giver = who_gave(asker);
        }
    }
    if (giver == NULL)
        world_say(NULL, "no word was seen: not this seed's story");
    if (world.failed || giver == NULL)
        return tell_end(trace, print);
    world_say(giver, "its word has arrived");
    node_kill(giver, true);
    world_run(world.now_us + draw(8000000));
    node_start(giver);
    WITHIN(30, raft_of(giver) != NULL, "%s does not start", giver->id);
    if (!world.failed && !has_given(raft_of(giver), asker->id))
        world_fail("%s has forgotten the word that %s has of it", giver->id, asker->id);
    world_fault_until(world.now_us);
    (void)has_converged(90000000);
    return tell_end(trace, print);
}
