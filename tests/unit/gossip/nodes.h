/* SPDX-License-Identifier: Apache-2.0
 * Nodes on real sockets of the loopback, several in one loop. */
#ifndef BLOX_TESTS_GOSSIP_NODES_H
#define BLOX_TESTS_GOSSIP_NODES_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "gossip/node.h"
#include "gossip/node_uv.h"

#define NODES 8

static const uint8_t key_a[1][32] = {{1, 2, 3}};
static const uint8_t key_b[1][32] = {{9, 9, 9}};

struct node {
    struct gossip_node *g;
    char address[32];
    unsigned failed, left, joined, bad, calls, broken;
    uint64_t broken_num;
    char why[300];
    char bad_why[300];
    size_t got_len;
    uint64_t got_from;
    unsigned got;
    uint8_t *got_data;
    bool gone;
};
static struct node nodes[NODES];
static uv_loop_t loop;
static bool stop_now;

static void on_member(void *arg, const struct gossip_member *m, enum gossip_state before,
                      const char *why)
{
    struct node *n = arg;
    if (m->self || before == m->state)
        return;
    n->failed += m->state == MEMBER_FAILED;
    n->left += m->state == MEMBER_LEFT;
    n->joined += m->state == MEMBER_ALIVE && before == 0;
    if (m->state == MEMBER_FAILED)
        snprintf(n->why, sizeof n->why, "%s", why);
}

static void on_broken(void *arg, uint64_t num)
{
    struct node *n = arg;
    n->broken++;
    n->broken_num = num;
}

static void on_bad(void *arg, const struct sockaddr *from, const char *why)
{
    struct node *n = arg;
    (void)from;
    n->bad++;
    snprintf(n->bad_why, sizeof n->bad_why, "%s", why);
}

static void on_message(void *arg, uint64_t from, const uint8_t *data, size_t len)
{
    struct node *n = arg;
    n->got++;
    n->got_from = from;
    n->got_len = len;
    free(n->got_data);
    n->got_data = malloc(len + 1);
    memcpy(n->got_data, data, len);
}

/* What the next node is bound to and tells others. */
static const char *bind_to = "127.0.0.1:0", *advertised;
static uint64_t incarnation = 1;

static int make(unsigned i, const char *id, const char *cluster, const uint8_t (*keys)[32],
                size_t key_count)
{
    struct node *n = &nodes[i];
    struct errmsg e = {""};
    uint8_t own_key[32] = {
        (uint8_t)(i + 1)}; /* the same in each life, as a data directory keeps it */
    struct gossip_options o = {.loop = &loop,
                               .id = id,
                               .cluster = cluster,
                               .bind = bind_to,
                               .advertise = advertised,
                               .keys = keys,
                               .key_count = key_count,
                               .own_key = own_key,
                               .incarnation = incarnation,
                               .seed = 1000 + i,
                               .meta = {.zone = "z1", .version = "1"},
                               .arg = n,
                               .on_member = on_member,
                               .on_broken = on_broken,
                               .on_bad_packet = on_bad};
    int err = gossip_create(&n->g, &o, &e);
    cr_assert_eq(err, 0, "%s", e.text);
    snprintf(n->address, sizeof n->address, "127.0.0.1:%u", gossip_port(n->g));
    gossip_on(n->g, CHANNEL_RUMOR, on_message, n);
    n->gone = false;
    return err;
}

static void on_stop(uv_timer_t *timer)
{
    (void)timer;
    stop_now = true;
}

/* Runs the loop for so long; or until the condition holds, false after limit_ms, or rather, as this
 * is no claim about speed and the machine may be busy, ten times as long. */
static bool run_until(bool (*done)(void), uint64_t limit_ms)
{
    limit_ms = done == NULL ? limit_ms : 10 * limit_ms;
    uv_timer_t timer;
    stop_now = false;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_stop, limit_ms, 0);
    bool ok = false;
    while (!stop_now && !(ok = done != NULL && done()))
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    return ok;
}

static void on_gone(void *arg)
{
    struct node *n = arg;
    n->gone = true;
}

static void kill_node(unsigned i)
{
    gossip_destroy(nodes[i].g, on_gone, &nodes[i]);
    nodes[i].g = NULL;
}

static void finish(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (nodes[i].g != NULL)
            kill_node(i);
    uv_run(&loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < count; i++) {
        cr_assert(nodes[i].gone);
        free(nodes[i].got_data);
    }
    cr_assert_eq(uv_loop_close(&loop), 0, "a handle was left open");
}

static unsigned expect_count, expect_alive;
static bool all_see(void)
{
    for (unsigned i = 0; i < expect_count; i++)
        if (nodes[i].g != NULL && gossip_alive_count(nodes[i].g) != expect_alive)
            return false;
    return true;
}

static inline bool others_see(void)
{
    for (unsigned i = 1; i < expect_count; i++)
        if (gossip_alive_count(nodes[i].g) != expect_alive)
            return false;
    return true;
}

static void make_cluster(unsigned count)
{
    uv_loop_init(&loop);
    for (unsigned i = 0; i < count; i++) {
        char id[16];
        snprintf(id, sizeof id, "i-%u", i);
        make(i, id, "c", key_a, 1);
    }
    const char *seed = nodes[0].address;
    for (unsigned i = 1; i < count; i++)
        cr_assert_eq(gossip_join(nodes[i].g, &seed, 1), 0);
    expect_count = expect_alive = count;
    cr_assert(run_until(all_see, 20000), "%s", gossip_join_trouble(nodes[1].g));
}

#endif
