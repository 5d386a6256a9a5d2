/* SPDX-License-Identifier: Apache-2.0
 * Bootstrap under loss, crashes and different views: nobody starts twice, clusters that share a
 * server are one, and once all see all there is one. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "gossip/boot.h"

#define NODES 6
#define MAIL 512

static struct {
    uint64_t from, to, at;
    struct boot_msg m;
} mail[MAIL];
static size_t mail_count;

struct node {
    struct boot boot;
    struct raft_server self;
    uint8_t disk[BOOT_BYTES_MAX];
    size_t disk_len;
    uint64_t started;
    struct raft_config config;
};
static struct node nodes[NODES];

static void look(struct boot *b, uint64_t now, const struct boot_peer *peers, size_t count,
                 uint32_t missing, struct boot_out *out)
{
    boot_tick(b, now,
              &(struct boot_view){
                  .peers = peers, .count = count, .expect = 3, .may = true, .missing = missing},
              out);
}

static struct prng rng;

static void post(size_t from, const struct boot_out *out, uint64_t now, uint64_t loss)
{
    for (uint32_t i = 0; i < out->count; i++) {
        if (mail_count == MAIL || prng_below(&rng, 100) < loss)
            continue;
        mail[mail_count].from = from + 1;
        mail[mail_count].to = out->send[i].to;
        mail[mail_count].at = now + 1 + prng_below(&rng, loss > 0 ? 400 : 10);
        mail[mail_count++].m = out->send[i].msg;
    }
}

static void save(struct node *n)
{
    struct wbuf w;
    wbuf_init(&w, n->disk, sizeof(n->disk));
    boot_encode(&n->boot, &w);
    cr_assert_not(w.bad);
    n->disk_len = w.len;
    boot_stored(&n->boot, n->boot.version);
}

static void restart(struct node *n)
{
    boot_init(&n->boot, &n->self, 7, 500, prng_next(&rng));
    if (n->disk_len > 0)
        cr_assert_eq(boot_decode(&n->boot, n->disk, n->disk_len), 0);
    if (n->started != 0) { /* the shell found its log */
        n->boot.state = BOOT_STARTED;
        n->boot.mask = (1u << n->config.count) - 1;
    }
}

static void check(const struct node *n)
{
    for (size_t k = 0; k < NODES; k++) {
        const struct node *o = &nodes[k];
        if (o->started == 0)
            continue;
        for (uint32_t i = 0; i < n->config.count; i++)
            for (uint32_t j = 0; j < o->config.count; j++)
                if (n->config.server[i].num == o->config.server[j].num)
                    cr_assert_eq(n->started, o->started, "two clusters share a server");
    }
}

static void tick(size_t i, uint64_t now, uint32_t view, uint64_t loss)
{
    struct node *n = &nodes[i];
    struct boot_peer peers[NODES];
    struct boot_out out;
    size_t count = 0;
    for (size_t k = 0; k < NODES; k++)
        if (view >> k & 1 || k == i)
            peers[count++] = (struct boot_peer){.num = nodes[k].self.num,
                                                .disk = nodes[k].self.disk,
                                                .id = nodes[k].self.id,
                                                .blank = nodes[k].boot.state == BOOT_BLANK};
    look(&n->boot, now, peers, count, 0, &out);
    post(i, &out, now, loss);
    if (out.start) {
        cr_assert_eq(n->started, 0, "started twice");
        n->started = n->boot.cluster_id;
        n->config = n->boot.config;
        check(n);
    }
    if (n->boot.version > n->boot.stored && prng_below(&rng, 3) == 0)
        save(n);
}

static void deliver(uint64_t now, uint64_t loss)
{
    for (size_t k = 0; k < mail_count; k++) {
        if (mail[k].at > now)
            continue;
        struct boot_out out;
        size_t to = (size_t)mail[k].to - 1;
        uint64_t from = mail[k].from;
        struct boot_msg m = mail[k].m, copy;
        uint8_t bytes[1024];
        struct wbuf w;
        struct rbuf r;
        mail[k--] = mail[--mail_count];
        wbuf_init(&w, bytes, sizeof(bytes));
        boot_msg_encode(&m, &w);
        rbuf_init(&r, bytes, w.len);
        cr_assert_eq(boot_msg_decode(&r, &copy), 0);
        boot_recv(&nodes[to].boot, now, true, from, &copy, &out);
        post(to, &out, now, loss);
    }
}

Test(boot, never_two_clusters_that_share_a_server)
{
    uint64_t formed = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        prng_seed(&rng, seed);
        mail_count = 0;
        memset(nodes, 0, sizeof(nodes));
        for (size_t i = 0; i < NODES; i++) {
            nodes[i].self = (struct raft_server){.num = i + 1, .disk = i + 11};
            snprintf(nodes[i].self.id, sizeof(nodes[i].self.id), "i-%u", (unsigned)i);
            restart(&nodes[i]);
        }
        uint64_t loss = prng_below(&rng, 60);
        uint32_t view[NODES];
        for (uint64_t now = 1; now < 20000; now += 50) {
            bool storm = now < 10000;
            for (size_t i = 0; i < NODES; i++) {
                if (now % 1000 == 1)
                    view[i] = storm ? (uint32_t)prng_below(&rng, 64) : 63;
                if (storm && prng_below(&rng, 200) == 0)
                    restart(&nodes[i]);
                tick(i, now, view[i], storm ? loss : 0);
            }
            deliver(now, storm ? loss : 0);
        }
        for (size_t i = 0; i < NODES; i++)
            formed += nodes[i].started != 0;
    }
    cr_assert_gt(formed, 300 * 2, "clusters do form: %lu servers", formed);
}

/* A server that was bound and restarts has not heard from anybody yet: it does not give the others
 * up, who may have started already. (Its clock is the machine's, which ran all the time.) */
Test(boot, a_restart_keeps_the_bond)
{
    memset(nodes, 0, sizeof(nodes));
    mail_count = 0;
    for (size_t i = 0; i < 3; i++) {
        nodes[i].self = (struct raft_server){.num = i + 1, .disk = i + 11};
        snprintf(nodes[i].self.id, sizeof(nodes[i].self.id), "i-%u", (unsigned)i);
        restart(&nodes[i]);
    }
    uint64_t now = 1;
    for (; now < 20000 && nodes[1].boot.state != BOOT_BOUND; now += 50) {
        tick(0, now, 7, 0);
        deliver(now + 20, 0);
    }
    save(&nodes[1]);
    restart(&nodes[1]);
    now += 1000000;
    tick(1, now, 0, 0);
    cr_expect_eq(nodes[1].boot.state, BOOT_BOUND);
    tick(1, now + BOOT_PATIENCE_MS - 1, 0, 0);
    cr_expect_eq(nodes[1].boot.state, BOOT_BOUND);
    tick(1, now + BOOT_PATIENCE_MS, 0, 0);
    cr_expect_eq(nodes[1].boot.state, BOOT_BLANK);
}

/* It heard of a cluster, the proposer did not: a second cluster must not come of that. */
Test(boot, a_blank_server_that_knows_a_cluster_refuses)
{
    struct raft_server self = {.num = 2, .disk = 22};
    struct boot boot;
    struct boot_out out;
    struct boot_msg m = {.cluster_id = 77, .mask = 1, .config = {.count = 2}};
    m.config.server[0] = (struct raft_server){.num = 1, .disk = 11, .voter = true};
    m.config.server[1] = (struct raft_server){.num = 2, .disk = 22, .voter = true};
    boot_init(&boot, &self, 7, 500, 1);
    boot_recv(&boot, 100, false, 1, &m, &out);
    cr_assert_eq(boot.state, BOOT_BLANK);
    boot_stored(&boot, boot.version);
    boot_recv(&boot, 400, true, 1, &m, &out); /* what it refused it refuses for good */
    cr_assert_eq(boot.state, BOOT_BLANK);
    cr_assert_eq(out.count, 1u);
    cr_assert(out.send[0].msg.refused);
    boot_init(&boot, &self, 7, 500, 1);
    boot_recv(&boot, 100, true, 1, &m, &out);
    cr_assert_eq(boot.state, BOOT_BOUND);
}

/* An agent that is stopping has left: its shell lists the others only, none of which comes before
 * it. It proposes nothing, least of all a configuration without itself. */
Test(boot, one_that_leaves_proposes_nothing)
{
    static const char *const ids[] = {"i-1", "i-2", "i-3", "i-4"};
    for (size_t first = 0; first < 2; first++) {
        struct raft_server self = {.num = 1, .disk = 11, .id = "i-1"};
        struct boot_peer peers[4];
        struct boot boot;
        struct boot_out out;
        for (size_t i = 0; i < 4; i++)
            peers[i] =
                (struct boot_peer){.num = i + 1, .disk = i + 11, .id = ids[i], .blank = true};
        boot_init(&boot, &self, 7, 500, 3);
        for (uint64_t now = 1; now < 2000; now += 100)
            look(&boot, now, peers + first, 4 - first, 0, &out);
        cr_assert_eq(boot.state, first == 0 ? BOOT_BOUND : BOOT_BLANK);
    }
}

/* Two voters of three lost their disks while the third and a spare are stopped: those know that
 * there is a cluster. One that is stopped for good does not keep the first one from forming. */
Test(boot, who_is_stopped_is_waited_for)
{
    static const char *const ids[] = {"i-1", "i-2", "i-3", "i-4"};
    for (size_t mute = 0; mute < 2; mute++) {
        struct raft_server self = {.num = 1, .disk = 11, .id = "i-1"};
        struct boot_peer peers[4];
        struct boot boot;
        struct boot_out out;
        for (size_t i = 0; i < 4; i++)
            peers[i] = (struct boot_peer){.num = i + 1,
                                          .disk = i + 11,
                                          .id = ids[i],
                                          .blank = i < 3,
                                          .mute = i == 3 && mute > 0};
        boot_init(&boot, &self, 7, 500, 3);
        look(&boot, 1, peers, 4, 0, &out);
        look(&boot, BOOT_PATIENCE_MS, peers, 4, 0, &out);
        cr_assert_eq(boot.state, mute ? BOOT_BLANK : BOOT_BOUND);
        look(&boot, BOOT_PATIENCE_MS + 1, peers, 4, 0, &out);
        cr_assert_eq(boot.state, BOOT_BOUND);
    }
}

/* One that died may be about to restart: so long it is waited for, even with the lowest id. */
Test(boot, one_that_died_may_be_of_a_cluster)
{
    static const char *const ids[] = {"i-2", "i-3", "i-4", "i-1"};
    struct raft_server self = {.num = 1, .disk = 11, .id = "i-2"};
    struct boot_peer peers[4];
    struct boot boot;
    struct boot_out out;
    for (size_t i = 0; i < 4; i++)
        peers[i] = (struct boot_peer){
            .num = i + 1, .disk = i + 11, .id = ids[i], .blank = i < 3, .dead = i == 3};
    boot_init(&boot, &self, 7, 500, 3);
    look(&boot, 1, peers, 4, 0, &out);
    look(&boot, BOOT_DEAD_MS, peers, 4, 0, &out);
    cr_assert_eq(boot.state, BOOT_BLANK);
    look(&boot, BOOT_DEAD_MS + 1, peers, 4, 0, &out);
    cr_assert_eq(boot.state, BOOT_BOUND);
}

Test(boot, a_cluster_that_was_heard_of_outlives_a_restart)
{
    struct raft_server self = {.num = 1, .disk = 11, .id = "i-1"};
    struct boot boot;
    uint8_t bytes[BOOT_BYTES_MAX];
    struct wbuf w;
    boot_init(&boot, &self, 7, 500, 3);
    boot_hear(&boot, 0);
    cr_assert_eq(boot.version, boot.stored, "nothing to write");
    boot_hear(&boot, 99);
    cr_assert_gt(boot.version, boot.stored);
    wbuf_init(&w, bytes, sizeof(bytes));
    boot_encode(&boot, &w);
    boot_init(&boot, &self, 7, 500, 4);
    cr_assert_eq(boot_decode(&boot, bytes, w.len), 0);
    cr_assert_eq(boot.heard, 99u);
}

static struct boot_msg proposal_of_three(uint64_t mask)
{
    struct boot_msg m = {.cluster_id = 77, .mask = mask, .config = {.count = 3}};
    for (uint64_t i = 0; i < 3; i++)
        m.config.server[i] =
            (struct raft_server){.num = i + 1, .disk = (i + 1) * 11, .voter = true};
    return m;
}

/* All three were bound, two of them started, one has given the third up and refuses now: the third
 * is a voter of theirs all the same, and their majority depends on it. */
Test(boot, a_refusal_by_one_that_was_bound_comes_too_late)
{
    for (uint64_t bound = 0; bound < 2; bound++) {
        struct raft_server self = {.num = 2, .disk = 22};
        struct boot boot;
        struct boot_out out;
        struct boot_msg m = proposal_of_three(1 | bound << 2);
        boot_init(&boot, &self, 7, 500, 1);
        boot_recv(&boot, 100, true, 1, &m, &out);
        boot_stored(&boot, boot.version);
        m = (struct boot_msg){.refused = true, .cluster_id = 77};
        boot_recv(&boot, 200, true, 3, &m, &out);
        cr_assert_eq(boot.state, bound ? BOOT_BOUND : BOOT_BLANK);
    }
}

/* The same, but the third has restarted and knows of nobody who is bound, and the one with another
 * disk does not know that it was. */
Test(boot, one_that_lost_its_disk_has_no_say)
{
    struct raft_server third = {.num = 2, .disk = 22}, next_life = {.num = 3, .disk = 34};
    struct boot boot, lost;
    struct boot_out out, none;
    struct boot_msg m = proposal_of_three(7);
    uint8_t bytes[BOOT_BYTES_MAX];
    struct wbuf w;
    boot_init(&boot, &third, 7, 500, 1);
    boot_recv(&boot, 100, true, 1, &m, &out);
    wbuf_init(&w, bytes, sizeof(bytes));
    boot_encode(&boot, &w);
    boot_init(&boot, &third, 7, 500, 1);
    cr_assert_eq(boot_decode(&boot, bytes, w.len), 0);
    boot_init(&lost, &next_life, 7, 500, 1);
    look(&boot, 200, NULL, 0, 0, &out);
    cr_assert_eq(out.count, 2u);
    for (int times = 0; times < 2; times++) { /* a refusal is told once it is on disk */
        boot_recv(&lost, 210, true, 2, &out.send[0].msg, &none);
        for (uint32_t i = 0; i < none.count; i++)
            boot_recv(&boot, 220, true, 3, &none.send[i].msg, &out);
        boot_stored(&lost, lost.version);
    }
    cr_assert_eq(boot.state, BOOT_BOUND);
    boot_recv(&boot, 300, true, 1, &m, &out); /* of one that started */
    look(&boot, 400, NULL, 0, 0, &out);
    cr_assert(out.start);
    /* Where nobody did, it is given up in the end. */
    boot_init(&boot, &third, 7, 500, 1);
    cr_assert_eq(boot_decode(&boot, bytes, w.len), 0);
    look(&boot, 200, NULL, 0, 0, &out);
    look(&boot, 200 + BOOT_PATIENCE_MS, NULL, 0, 0, &out);
    cr_assert_eq(boot.state, BOOT_BLANK);
}

static void make_blank(struct boot_peer *peers, size_t count)
{
    static const char *const ids[] = {"i-1", "i-2", "i-3", "i-4"};
    for (size_t i = 0; i < count; i++)
        peers[i] = (struct boot_peer){.num = i + 1, .disk = i + 11, .id = ids[i], .blank = true};
}

/* Agents that ECS lists and that nobody here knows may be of a cluster: nothing is proposed before
 * the list counts, and then they are waited for from when they were missed. */
Test(boot, waits_for_those_who_are_said_to_exist)
{
    struct raft_server self = {.num = 1, .disk = 11, .id = "i-1"};
    struct boot boot;
    struct boot_out out;
    struct boot_peer peers[3];
    make_blank(peers, 3);
    boot_init(&boot, &self, 7, 500, 1);
    look(&boot, 1, peers, 3, BOOT_UNCOUNTED, &out);
    look(&boot, 100000, peers, 3, BOOT_UNCOUNTED, &out);
    cr_assert_eq(boot.state, BOOT_BLANK, "nobody counted");
    look(&boot, 100001, peers, 3, 1, &out);
    look(&boot, 100000 + BOOT_PATIENCE_MS - 1, peers, 3, 1, &out);
    cr_assert_eq(boot.state, BOOT_BLANK, "one was missing, not for so long");
    look(&boot, 140000, peers, 3, 1, &out);
    cr_assert_eq(boot.state, BOOT_BOUND);
    boot_init(&boot, &self, 7, 500, 1);
    look(&boot, 1, peers, 3, 1, &out);
    look(&boot, 400, peers, 3, 0, &out);
    cr_assert_eq(boot.state, BOOT_BLANK);
    look(&boot, 501, peers, 3, 0, &out);
    cr_assert_eq(boot.state, BOOT_BOUND, "all are here");
}

/* A member that dies when all the others have been steady for long is waited for all the same. */
Test(boot, patience_begins_with_what_is_lacking)
{
    struct raft_server self = {.num = 1, .disk = 11, .id = "i-1"};
    struct boot boot;
    struct boot_out out;
    struct boot_peer peers[4];
    make_blank(peers, 4);
    boot_init(&boot, &self, 7, 500, 1);
    look(&boot, 1, peers, 4, BOOT_UNCOUNTED, &out);
    look(&boot, 40000, peers, 4, BOOT_UNCOUNTED, &out);
    peers[3].blank = false;
    peers[3].dead = true;
    look(&boot, 50000, peers, 4, 0, &out);
    look(&boot, 50000 + BOOT_DEAD_MS - 1, peers, 4, 0, &out);
    cr_assert_eq(boot.state, BOOT_BLANK);
    look(&boot, 50000 + BOOT_DEAD_MS, peers, 4, 0, &out);
    cr_assert_eq(boot.state, BOOT_BOUND);
}
