/* SPDX-License-Identifier: Apache-2.0
 * Published holes of raft and its relatives, each as a script over the simulated world whose
 * checkers judge, and the small inputs of a vote, all of them. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/raft_world.h"

static struct world w;

static void fini(void)
{
    world_fini(&w);
}

TestSuite(raft_directed, .fini = fini, .timeout = 120);

/* Node i stands for election now, whoever leads, and all others forget whom they heard. */
static void stand(uint32_t i)
{
    for (uint32_t k = 0; k < w.count; k++)
        w.node[k].raft.heard_ms = 0;
    w.node[i].raft.due_ms = 0;
    world_step(&w, i, &(struct raft_input){.type = RAFT_TICK});
}

static bool leads(uint32_t i)
{
    return w.node[i].up && w.node[i].raft.role == RAFT_LEADER;
}

static bool elect(uint32_t i)
{
    for (uint32_t tries = 0; tries < 20 && !leads(i); tries++) {
        stand(i);
        for (uint32_t ms = 0; ms < 100 && !leads(i); ms++)
            world_run(&w, 1000);
    }
    return leads(i);
}

static void cut_groups(uint32_t group) /* bit i: node i stands on the other side */
{
    for (uint32_t a = 0; a < w.count; a++)
        for (uint32_t b = 0; b < w.count; b++)
            w.cut[a][b] = (group >> a & 1) != (group >> b & 1);
}

/* Asks until the servers that the change needs have answered. */
static int change(uint32_t i, enum raft_change what, uint32_t who, uint64_t disk)
{
    uint64_t since = world_clock(&w, i);
    int err = world_change(&w, i, what, who, disk, since);
    for (uint32_t ms = 0; ms < 60 && err == ERR_BUSY; ms++) {
        world_run(&w, 1000);
        err = world_change(&w, i, what, who, disk, since);
    }
    return err;
}

#define SOUND() cr_assert_not(w.failed, "%s", w.why)

/* Figure 8: an entry of an earlier term that reaches a majority is not committed by that. More
 * than one batch of them, so that the leader's own entry comes later than the majority. */
Test(raft_directed, figure_8)
{
    world_init(&w, 1, 5, 5);
    w.forced = true;
    w.profile.delay_us_min = 3000;
    cr_assert(elect(0));
    world_run(&w, 200000);
    uint64_t before = w.node[0].raft.commit;
    cut_groups(1 << 2 | 1 << 3 | 1 << 4);
    cr_assert_eq(world_propose(&w, 0, 60), 0);
    cr_assert_eq(world_propose(&w, 0, 60), 0);
    world_run(&w, 100000);
    cr_assert_eq(w.node[1].raft.log.last_index, before + 120);
    world_crash(&w, 0, 10);
    cr_assert(elect(4)); /* with 3 and 4, in a newer term; its no-op stays with it */
    world_crash(&w, 4, 10);
    cr_assert_eq(w.node[4].disk.last_index, before + 1);
    for (uint32_t k = 2; k < 4; k++) { /* nobody else stored it in time */
        world_crash(&w, k, 0);
        cr_assert_eq(w.node[k].disk.last_index, before);
    }
    world_run(&w, 10000);
    world_restart(&w, 2);
    world_restart(&w, 3);
    cut_groups(1 << 3 | 1 << 4);
    world_restart(&w, 0);
    cr_assert(elect(0));
    uint32_t ms = 0;
    for (; ms < 500 && w.node[2].raft.log.last_index < before + 64; ms++) {
        if (w.node[2].raft.log.last_index > before + 1)
            break;
        world_run(&w, 100);
    }
    cr_assert_lt(w.node[2].raft.log.last_index, before + 121, "one batch at a time");
    w.cut[0][2] = true; /* no second batch; the answer still comes */
    world_run(&w, 50000);
    cr_assert_geq(w.node[0].raft.peer[2].match, before + 60, "a majority holds old entries");
    cr_assert_eq(w.node[0].raft.commit, before, "and they are not committed");
    world_crash(&w, 0, 10);
    world_crash(&w, 1, 10);
    memset(w.cut, 0, sizeof(w.cut));
    world_restart(&w, 4);
    cr_assert(elect(4));
    world_run(&w, 500000);
    cr_assert_gt(w.node[4].raft.commit, before);
    world_heal(&w);
    world_run(&w, 5000000);
    SOUND();
}

/* Ongaro, raft-dev, July 2015: two leaders change the same configuration each by one server, and
 * get majorities that do not meet. */
Test(raft_directed, single_server_change_hole_of_2015)
{
    world_init(&w, 2, 5, 4);
    w.forced = true;
    cr_assert(elect(0));
    world_run(&w, 200000);
    cr_assert_eq(change(0, RAFT_ADD_LEARNER, 4, 104), 0);
    uint64_t since = world_clock(&w, 0);
    world_run(&w, 500000);
    cut_groups(1 << 0 | 1 << 4);
    cr_assert_eq(world_change(&w, 0, RAFT_PROMOTE, 4, 104, since), 0);
    world_run(&w, 100000);
    cr_assert(elect(1));
    cr_assert_lt(w.node[1].raft.commit, w.node[1].raft.term_start);
    cr_assert_not(raft_may_change(&w.node[1].raft), "nothing of this term is committed yet");
    since = world_clock(&w, 1);
    cr_assert_eq(world_change(&w, 1, RAFT_REMOVE, 0, 100, since), ERR_BUSY);
    world_run(&w, 100000);
    cr_assert_eq(world_change(&w, 1, RAFT_REMOVE, 0, 100, since), 0, "now something is");
    cr_assert_eq(world_change(&w, 1, RAFT_REMOVE, 3, 103, since), ERR_BUSY, "one at a time");
    world_run(&w, 100000);
    world_crash(&w, 1, 10);
    world_crash(&w, 2, 10);
    SOUND();
    world_run(&w, 1000000); /* it gives up leading a minority */
    SOUND();
    cr_assert_not(leads(0));
    memset(w.cut, 0, sizeof(w.cut));
    cr_assert_not(elect(0), "the old side cannot win with a stale log");
    world_heal(&w);
    world_run(&w, 5000000);
    cr_assert_geq(world_leader(&w), 0);
    SOUND();
}

/* 4.2.2 and a hole of our own first core: the only server that holds the leader's removal is the
 * removed leader; nobody else has a log long enough. */
Test(raft_directed, removed_leader_alone_holds_its_removal)
{
    world_init(&w, 3, 2, 2);
    w.forced = true;
    cr_assert(elect(0));
    uint64_t since = world_clock(&w, 0);
    world_run(&w, 200000);
    world_cut(&w, 0, 1, true);
    cr_assert_eq(world_change(&w, 0, RAFT_REMOVE, 0, 100, since), 0);
    world_run(&w, 50000);
    world_crash(&w, 0, 10);
    cr_assert_gt(w.node[0].disk.last_index, w.node[1].disk.last_index);
    world_heal(&w);
    for (uint32_t s = 0; s < 20 && !leads(1); s++)
        world_run(&w, 1000000);
    cr_assert(leads(1), "the server that stays leads in the end");
    cr_assert_eq(w.node[1].raft.config.count, 1);
    SOUND();
}

/* A voter that lost its disk is counted on by no change, be its last answer ever so recent; it can
 * itself be taken out. */
Test(raft_directed, change_does_not_count_on_a_lost_disk)
{
    world_init(&w, 9, 3, 3);
    cr_assert(elect(0));
    world_run(&w, 500000);
    world_crash(&w, 2, 10);
    world_wipe(&w, 2);
    world_restart(&w, 2);
    cr_assert_eq(change(0, RAFT_REMOVE, 1, 101), ERR_BUSY, "the two that remain would be one");
    cr_assert_eq(change(0, RAFT_DEMOTE, 1, 101), ERR_BUSY);
    cr_assert_eq(world_propose(&w, 0, 1), 0);
    world_run(&w, 100000);
    cr_assert_eq(w.node[0].raft.commit, w.node[0].raft.log.last_index);
    cr_assert_eq(change(0, RAFT_REMOVE, 2, 102), 0);
    world_run(&w, 100000);
    cr_assert_eq(change(0, RAFT_ADD_LEARNER, 2, w.node[2].disk.id), 0);
    world_run(&w, 500000);
    cr_assert_eq(change(0, RAFT_PROMOTE, 2, w.node[2].disk.id), 0);
    world_run(&w, 500000);
    cr_assert_eq(w.node[2].raft.commit, w.node[0].raft.commit);
    SOUND();
}

/* Nor on a server that lacks what is committed. */
Test(raft_directed, change_keeps_what_is_committed_on_a_majority)
{
    world_init(&w, 10, 3, 3);
    cr_assert(elect(0));
    world_run(&w, 500000);
    w.node[2].pause_until_us = w.now_us + 100000;
    cr_assert_eq(world_propose(&w, 0, 60), 0);
    world_run(&w, 50000);
    cr_assert_eq(w.node[0].raft.commit, w.node[0].raft.log.last_index);
    cr_assert_lt(w.node[0].raft.peer[2].match, w.node[0].raft.commit);
    cr_assert_eq(world_change(&w, 0, RAFT_REMOVE, 1, 101, 1), ERR_BUSY);
    world_run(&w, 200000);
    cr_assert_eq(world_change(&w, 0, RAFT_REMOVE, 1, 101, 1), 0);
    SOUND();
}

/* The hint that the leader is dead brings the election forward to the moment that stickiness
 * allows, not further. */
Test(raft_directed, suspicion_only_shortens_the_wait)
{
    world_init(&w, 11, 3, 3);
    cr_assert(elect(0));
    world_run(&w, 500000);
    const struct raft *r = &w.node[1].raft;
    uint64_t before = r->due_ms;
    world_step(&w, 1, &(struct raft_input){.type = RAFT_SUSPECT, .num = 3});
    cr_assert_eq(r->due_ms, before, "it is not the leader");
    world_step(&w, 1, &(struct raft_input){.type = RAFT_SUSPECT, .num = 1});
    cr_assert_lt(r->due_ms, before);
    cr_assert_geq(r->due_ms, r->heard_ms + r->election_ms);
    uint64_t term = r->term;
    for (uint32_t k = 0; k < 100; k++) { /* while it is heard, nothing comes of it */
        world_run(&w, 20000);
        world_step(&w, 1, &(struct raft_input){.type = RAFT_SUSPECT, .num = 1});
    }
    cr_assert(leads(0));
    cr_assert_eq(r->term, term);
    SOUND();
}

/* A vote that is not on disk has not been given. */
Test(raft_directed, vote_lost_in_a_crash)
{
    world_init(&w, 4, 3, 3);
    world_run(&w, 1000);
    struct raft_msg m = {.type = RAFT_VOTE,
                         .from = 1,
                         .from_disk = 100,
                         .to = 3,
                         .to_disk = 102,
                         .term = 7,
                         .index = 1,
                         .log_term = 1,
                         .force = true};
    uint64_t sent = w.messages;
    world_step(&w, 2, &(struct raft_input){.type = RAFT_RECV, .msg = &m});
    cr_assert_eq(w.node[2].raft.vote, 1);
    cr_assert_eq(w.messages, sent, "no answer before the write");
    world_crash(&w, 2, 0);
    world_restart(&w, 2);
    cr_assert_neq(w.node[2].raft.term, 7, "it knows nothing of it");
    m.from = 2;
    m.from_disk = 101;
    world_step(&w, 2, &(struct raft_input){.type = RAFT_RECV, .msg = &m});
    world_run(&w, 10000);
    cr_assert_gt(w.messages, sent, "now it answers, once");
    world_crash(&w, 2, 0);
    world_restart(&w, 2);
    cr_assert_eq(w.node[2].raft.term, 7);
    m.from = 1;
    m.from_disk = 100;
    world_step(&w, 2, &(struct raft_input){.type = RAFT_RECV, .msg = &m});
    cr_assert_eq(w.node[2].raft.vote, 2, "and keeps to it after a restart");
    SOUND();
}

/* After a start a server votes for nobody for one election time-out: the answer it gave a leader
 * just before it stopped may still carry that leader's lease. */
Test(raft_directed, no_vote_right_after_a_start)
{
    world_init(&w, 5, 3, 3);
    cr_assert(elect(0));
    world_run(&w, 300000);
    world_crash(&w, 1, 0);
    world_restart(&w, 1);
    struct raft_msg m = {.type = RAFT_VOTE,
                         .from = 3,
                         .from_disk = 102,
                         .to = 2,
                         .to_disk = 101,
                         .term = 50,
                         .index = 1000,
                         .log_term = 49};
    world_step(&w, 1, &(struct raft_input){.type = RAFT_RECV, .msg = &m});
    cr_assert_neq(w.node[1].raft.vote, 3);
    cr_assert_lt(w.node[1].raft.term, 50);
    SOUND();
}

/* A server that was cut off, and one that was removed and does not know it, depose nobody. */
Test(raft_directed, disruptive_server)
{
    world_init(&w, 6, 4, 4);
    cr_assert(elect(0));
    world_run(&w, 500000);
    uint64_t term = w.node[0].raft.term;
    cut_groups(1 << 2);
    world_run(&w, 5000000);
    memset(w.cut, 0, sizeof(w.cut));
    world_run(&w, 3000000);
    cr_assert(leads(0));
    cr_assert_eq(w.node[0].raft.term, term);
    cut_groups(1 << 3);
    cr_assert_eq(change(0, RAFT_REMOVE, 3, 103), 0);
    world_run(&w, 2000000);
    memset(w.cut, 0, sizeof(w.cut));
    world_run(&w, 5000000);
    cr_assert(leads(0));
    cr_assert_eq(w.node[0].raft.term, term);
    SOUND();
}

/* The order to take over ends the lease at once, whether or not it arrives. */
Test(raft_directed, transfer_ends_the_lease)
{
    world_init(&w, 7, 3, 3);
    cr_assert(elect(0));
    world_run(&w, 500000);
    cr_assert(raft_lease(&w.node[0].raft, world_clock(&w, 0)));
    w.cut[0][1] = w.cut[0][2] = true;
    world_step(&w, 0, &(struct raft_input){.type = RAFT_TRANSFER, .num = 2});
    cr_assert_not(raft_lease(&w.node[0].raft, world_clock(&w, 0)));
    cr_assert_eq(world_propose(&w, 0, 1), ERR_BUSY);
    world_run(&w, 100000);
    cr_assert_not(raft_lease(&w.node[0].raft, world_clock(&w, 0)));
    memset(w.cut, 0, sizeof(w.cut));
    world_run(&w, 5000000);
    cr_assert_geq(world_leader(&w), 0);
    SOUND();
}

/* The order goes to a server that has all there is, for only that one can win. */
Test(raft_directed, transfer_waits_for_the_target)
{
    world_init(&w, 12, 3, 3);
    cr_assert(elect(0));
    world_run(&w, 500000);
    w.node[1].pause_until_us = w.now_us + 100000;
    cr_assert_eq(world_propose(&w, 0, 10), 0);
    world_step(&w, 0, &(struct raft_input){.type = RAFT_TRANSFER, .num = 2});
    cr_assert_not(w.node[0].raft.transfer_sent);
    cr_assert(raft_lease(&w.node[0].raft, world_clock(&w, 0)));
    world_run(&w, 300000);
    cr_assert(leads(1));
    SOUND();
}

/* A leader that nobody answers loses the lease before anybody could vote, then the lead. */
Test(raft_directed, lease_ends_before_the_next_election)
{
    world_init(&w, 8, 3, 3);
    w.node[0].rate = 0.9; /* the slowest clock that is allowed leads */
    cr_assert(elect(0));
    world_run(&w, 1000000);
    cr_assert(raft_lease(&w.node[0].raft, world_clock(&w, 0)));
    cut_groups(1 << 0);
    world_run(&w, 300000);
    cr_assert_not(raft_lease(&w.node[0].raft, world_clock(&w, 0)));
    world_run(&w, 3000000);
    cr_assert_not(leads(0));
    cr_assert_neq(world_leader(&w), -1);
    SOUND();
}

static void await_beat(void)
{
    uint64_t before = w.node[0].raft.peer[1].sent_ms;
    for (uint32_t ms = 0; ms < 1000 && w.node[0].raft.peer[1].sent_ms == before; ms++)
        world_run(&w, 1000);
}

/* At rest heartbeats are fewer, and yet what one of them brings or loses takes no longer. */
Test(raft_directed, heartbeats_at_rest)
{
    world_init(&w, 9, 3, 3);
    cr_assert(elect(0));
    world_run(&w, 500000);
    struct raft *r = &w.node[0].raft;
    uint64_t began = r->now_ms, beats = 0;
    for (; r->now_ms < began + 20 * r->heartbeat_ms; beats++) {
        await_beat();
        cr_assert(raft_lease(r, world_clock(&w, 0)));
        world_run(&w, 20000);
        cr_assert_geq(r->due_ms, r->peer[1].sent_ms + 2 * r->heartbeat_ms, "it looks in between");
    }
    cr_assert_leq(beats, 8, "%lu in the time of 20", (unsigned long)beats);
    w.cut[0][1] = true;
    await_beat();
    uint64_t lost = r->peer[1].sent_ms;
    w.cut[0][1] = false;
    await_beat();
    cr_assert_leq(r->peer[1].sent_ms, lost + r->heartbeat_ms + 5, "repeated at once");
    world_run(&w, 20000);
    cr_assert_eq(world_propose(&w, 0, 1), 0);
    world_run(&w, (uint32_t)(2 * r->heartbeat_ms * 1000));
    for (uint32_t i = 0; i < 3; i++)
        cr_assert_eq(w.node[i].raft.commit, r->log.last_index, "node %u knows", i);
    SOUND();
}

/* ---- the core alone ---------------------------------------------------------------- */

static uint8_t arena[WORLD_ARENA];
static struct raft_out out;

static void make(struct raft *r, uint64_t term, uint64_t vote, uint64_t entries, uint64_t of_term)
{
    struct raft_config c = {.index = 1, .count = 3};
    for (uint32_t i = 0; i < 3; i++)
        c.server[i] = (struct raft_server){.num = i + 1, .disk = i + 11, .voter = true};
    struct raft_options o = {.self = 1,
                             .disk = 11,
                             .election_ms = 300,
                             .heartbeat_ms = 50,
                             .arena = arena,
                             .arena_len = sizeof(arena),
                             .term = term,
                             .vote = vote,
                             .base_index = 1,
                             .base_term = 1,
                             .applied_index = 1,
                             .config = &c};
    raft_init(r, 1000, &o);
    for (uint64_t i = 0; i < entries; i++) {
        struct raft_entry e = {.index = 2 + i, .term = of_term, .type = RAFT_COMMAND};
        cr_assert_eq(raft_restore_entry(r, &e), 0);
    }
}

static struct raft core;

Test(raft_core, snapshot_against_a_conflicting_suffix)
{
    uint8_t byte = 0;
    struct raft_config c;
    for (int same = 0; same < 2; same++) {
        make(&core, 3, 0, 9, 2); /* entries 2..10 of term 2 */
        c = core.config;
        struct raft_msg m = {.type = RAFT_SNAPSHOT,
                             .from = 2,
                             .from_disk = 12,
                             .to = 1,
                             .to_disk = 11,
                             .term = 4,
                             .index = 6,
                             .log_term = same == 1 ? 2 : 3,
                             .count = 1,
                             .data = &byte};
        raft_step(&core, 2000, &(struct raft_input){.type = RAFT_RECV, .msg = &m}, &out);
        cr_assert_eq(out.snapshot.index, 6);
        raft_step(&core, 2000,
                  &(struct raft_input){
                      .type = RAFT_RESTORE, .index = 6, .term = m.log_term, .config = &c},
                  &out);
        cr_assert_eq(core.log.last_index, same == 1 ? 10 : 6, "case %d", same);
        cr_assert_eq(core.commit, 6);
        m.type = RAFT_APPEND;
        m.index = m.log_term = m.count = 0;
        raft_step(&core, 2000, &(struct raft_input){.type = RAFT_RECV, .msg = &m}, &out);
        cr_assert_eq(out.msg[0].index, same == 1 ? 6 : 0, "only what is on disk");
        struct raft_persist p;
        cr_assert(raft_persist_begin(&core, &p));
        cr_assert(p.snapshot);
        cr_assert_eq(p.first, same == 1 ? 11 : 7);
        raft_step(&core, 2001, &(struct raft_input){.type = RAFT_PERSISTED}, &out);
        cr_assert_eq(out.msg_count, 1, "acknowledged once it is stored");
        cr_assert_eq(out.msg[0].index, 6);
        cr_assert_eq(raft_apply_limit(&core), 6);
    }
}

/* All votes of small inputs against the rule as the thesis states it, written down anew. */
Test(raft_core, every_small_vote)
{
    uint64_t cases = 0, granted = 0;
    for (uint64_t code = 0; code < 3 * 3 * 2 * 3 * 4 * 3 * 3 * 2 * 2; code++) {
        uint64_t k = code;
        uint64_t term = 2 + k % 3;
        uint64_t vote = (k /= 3) % 3; /* nobody, 2, 3 */
        uint64_t own_last = (k /= 3) % 2;
        uint64_t own_term = 1 + (k /= 2) % 2;
        k /= 3;
        uint64_t ask_term = 1 + k % 4;
        uint64_t ask_last = (k /= 4) % 3;
        uint64_t ask_log_term = 1 + (k /= 3) % 3;
        bool sticky = (k /= 3) % 2 == 1;
        bool force = (k /= 2) % 2 == 1;
        if (own_term > term || ask_log_term > ask_term)
            continue;
        make(&core, term, vote == 0 ? 0 : vote + 1, own_last, own_term);
        struct raft_msg m = {.type = RAFT_VOTE,
                             .from = 2,
                             .from_disk = 12,
                             .to = 1,
                             .to_disk = 11,
                             .term = ask_term,
                             .index = 1 + ask_last,
                             .log_term = ask_log_term,
                             .force = force};
        raft_step(&core, sticky ? 1100 : 1300, &(struct raft_input){.type = RAFT_RECV, .msg = &m},
                  &out);
        uint64_t last_term = own_last == 0 ? 1 : own_term;
        bool current =
            ask_log_term > last_term || (ask_log_term == last_term && ask_last >= own_last);
        bool unbound = ask_term > term || vote == 0 || vote + 1 == 2;
        bool expected = ask_term >= term && unbound && current && (!sticky || force);
        bool got = out.msg_count == 1 && out.msg[0].ok;
        cr_assert_eq(got, expected, "case %lu", code);
        uint64_t term_after = ask_term > term && (!sticky || force) ? ask_term : term;
        cr_assert_eq(core.term, term_after, "case %lu", code);
        if (got)
            cr_assert_eq(core.vote, 2);
        cases++;
        granted += got;
    }
    cr_assert_gt(cases, 1000);
    cr_assert_gt(granted, 100);
}

/* Who has no vote has nothing to wake for once it knows of no leader. */
Test(raft_core, without_a_vote_it_rests_until_it_hears_of_a_leader)
{
    make(&core, 3, 0, 0, 1);
    core.config.server[0].voter = false;
    uint64_t due = core.due_ms;
    raft_step(&core, due, &(struct raft_input){.type = RAFT_TICK}, &out);
    cr_assert_eq(core.role, RAFT_FOLLOWER);
    cr_assert_geq(core.due_ms, due + 60000);
    struct raft_msg m = {
        .type = RAFT_APPEND, .from = 2, .from_disk = 12, .to = 1, .to_disk = 11, .term = 3};
    m.index = m.log_term = 1;
    raft_step(&core, due + 10, &(struct raft_input){.type = RAFT_RECV, .msg = &m}, &out);
    cr_assert_eq(core.leader, 2);
    cr_assert_lt(core.due_ms, due + 5000);
}

/* Its own vote is like any other: given once it is on disk. */
Test(raft_core, own_vote_waits_for_the_disk)
{
    struct raft_persist p;
    make(&core, 3, 0, 0, 1);
    core.config.count = 1;
    raft_step(&core, core.due_ms, &(struct raft_input){.type = RAFT_TICK}, &out);
    cr_assert_eq(core.role, RAFT_CANDIDATE);
    cr_assert_eq(core.term, 4);
    cr_assert(raft_persist_begin(&core, &p));
    cr_assert_eq(p.vote, 1);
    raft_step(&core, core.now_ms, &(struct raft_input){.type = RAFT_TICK}, &out);
    cr_assert_eq(core.role, RAFT_CANDIDATE);
    raft_step(&core, core.now_ms, &(struct raft_input){.type = RAFT_PERSISTED}, &out);
    cr_assert_eq(core.role, RAFT_LEADER);
}

/* In one moment two stood for election and each voted for itself: the second time they do not meet,
 * however their clocks and their luck are. */
Test(raft_core, votes_that_split_do_not_split_again)
{
    uint64_t latest[4] = {0}, soonest[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    for (uint64_t seed = 1; seed <= 500; seed++) {
        for (uint64_t self = 2; self <= 3; self++) { /* the first, which led, is dead */
            make(&core, 3, 0, 0, 1);
            core.self = self;
            core.disk = self + 10;
            prng_seed(&core.rng, seed * 4 + self);
            raft_step(&core, core.due_ms, &(struct raft_input){.type = RAFT_TICK}, &out);
            struct raft_msg yes = {.type = RAFT_VOTE_ANSWER,
                                   .from = 5 - self,
                                   .from_disk = 15 - self,
                                   .to = self,
                                   .to_disk = self + 10,
                                   .term = 4,
                                   .ok = true,
                                   .pre = true};
            raft_step(&core, 5000, &(struct raft_input){.type = RAFT_RECV, .msg = &yes}, &out);
            cr_assert_eq(core.role, RAFT_CANDIDATE);
            uint64_t wait_ms = core.due_ms - 5000;
            latest[self] = wait_ms > latest[self] ? wait_ms : latest[self];
            soonest[self] = wait_ms < soonest[self] ? wait_ms : soonest[self];
        }
    }
    cr_expect_geq(soonest[3], latest[2] + core.election_ms / 5, "%lu and %lu ms", latest[2],
                  soonest[3]);
}

/* A disk that refuses a write: nothing counts as stored, and the next write brings it all. */
Test(raft_core, failed_write_is_repeated)
{
    struct raft_persist p;
    make(&core, 3, 0, 4, 2);
    struct raft_entry e = {.index = 6, .term = 4, .type = RAFT_COMMAND};
    struct raft_msg m = {.type = RAFT_APPEND,
                         .from = 2,
                         .from_disk = 12,
                         .to = 1,
                         .to_disk = 11,
                         .term = 4,
                         .index = 5,
                         .log_term = 2,
                         .entries = &e,
                         .count = 1};
    raft_step(&core, 2000, &(struct raft_input){.type = RAFT_RECV, .msg = &m}, &out);
    cr_assert(raft_persist_begin(&core, &p));
    raft_persist_failed(&core);
    cr_assert_eq(raft_apply_limit(&core), 1);
    cr_assert(raft_persist_begin(&core, &p));
    cr_assert_eq(p.term, 4);
    cr_assert_eq(p.first, 6);
    cr_assert_eq(p.last, 6);
    raft_step(&core, 2001, &(struct raft_input){.type = RAFT_PERSISTED}, &out);
    for (uint32_t i = 0; i < out.msg_count; i++)
        cr_assert_leq(out.msg[i].gate, core.saved.hard);
    cr_assert_eq(core.saved.last, 6);
}

/* Bytes from outside: every shortening and every changed byte either decodes or is refused. */
Test(raft_core, decoder_takes_nothing_odd)
{
    uint8_t bytes[512], config[RAFT_CONFIG_BYTES_MAX];
    struct raft_entry entries[RAFT_BATCH];
    struct raft_msg got;
    struct wbuf b;
    make(&core, 3, 0, 0, 1);
    wbuf_init(&b, config, sizeof(config));
    raft_config_encode(&core.config, &b);
    struct raft_entry list[2] = {
        {.index = 8, .term = 2, .type = RAFT_COMMAND, .len = 3, .data = (const uint8_t *)"abc"},
        {.index = 9, .term = 3, .type = RAFT_CONFIG, .len = (uint32_t)b.len, .data = config}};
    struct raft_msg m = {.type = RAFT_APPEND,
                         .from = 2,
                         .to = 1,
                         .term = 3,
                         .index = 7,
                         .log_term = 2,
                         .entries = list,
                         .count = 2};
    wbuf_init(&b, bytes, sizeof(bytes));
    raft_msg_encode(&m, &b);
    cr_assert_eq(b.len, raft_msg_size(&m));
    cr_assert_eq(raft_msg_decode(bytes, b.len, &got, entries), 0);
    cr_assert_eq(got.count, 2);
    cr_assert_eq(got.entries[1].index, 9);
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *copy = malloc(len + 1);
        memcpy(copy, bytes, len);
        int err = raft_msg_decode(copy, len, &got, entries);
        cr_assert(err == ERR_MALFORMED || (err == 0 && got.count < 2), "length %zu", len);
        free(copy);
    }
    for (size_t at = 0; at < b.len; at++)
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[at] ^= (uint8_t)(1u << bit);
            int err = raft_msg_decode(bytes, b.len, &got, entries);
            cr_assert(err == 0 || err == ERR_MALFORMED);
            bytes[at] ^= (uint8_t)(1u << bit);
        }
}

/* 4.1: a server uses the newest configuration in its log; one that is cut off again is gone. */
Test(raft_core, truncated_configuration_is_taken_back)
{
    uint8_t bytes[RAFT_CONFIG_BYTES_MAX];
    struct wbuf b;
    make(&core, 3, 0, 1, 2);
    struct raft_config four = core.config;
    four.server[four.count++] = (struct raft_server){.num = 4, .disk = 14, .voter = true};
    wbuf_init(&b, bytes, sizeof(bytes));
    raft_config_encode(&four, &b);
    struct raft_entry config = {
        .index = 3, .term = 3, .type = RAFT_CONFIG, .len = (uint32_t)b.len, .data = bytes};
    struct raft_entry other = {.index = 3, .term = 4, .type = RAFT_NOOP};
    struct raft_msg m = {.type = RAFT_APPEND,
                         .from = 2,
                         .from_disk = 12,
                         .to = 1,
                         .to_disk = 11,
                         .term = 3,
                         .index = 2,
                         .log_term = 2,
                         .entries = &config,
                         .count = 1};
    raft_step(&core, 2000, &(struct raft_input){.type = RAFT_RECV, .msg = &m}, &out);
    cr_assert_eq(core.config.count, 4, "in force before it is committed");
    m.from = 3;
    m.from_disk = 13;
    m.term = 4;
    m.entries = &other;
    raft_step(&core, 2001, &(struct raft_input){.type = RAFT_RECV, .msg = &m}, &out);
    cr_assert_eq(core.config.count, 3);
    cr_assert_eq(core.config.index, 1);
}
