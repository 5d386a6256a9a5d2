/* SPDX-License-Identifier: Apache-2.0
 * Gossip's figures of peers in /metrics; the members are ours. */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/metrics.h"

static struct agent agent;
static struct gossip_member list[4];
static size_t count;

size_t gossip_count(const struct gossip_node *g)
{
    (void)g;
    return count;
}

const struct gossip_member *gossip_at(const struct gossip_node *g, size_t i)
{
    (void)g;
    return &list[i];
}

void gossip_stats(const struct gossip_node *g, struct gossip_stats *ret)
{
    (void)g;
    *ret = (struct gossip_stats){0};
}

void records_stats(const struct records *r, struct records_stats *ret)
{
    (void)r;
    *ret = (struct records_stats){.overflow = 5, .gave_up = 3};
}

static bool told(const char *line)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    cr_assert_eq(metrics_render(&b), 0);
    bool ret = strstr(b.data, line) != NULL;
    buf_fini(&b);
    return ret;
}

static void look(void)
{
    figures_of_paths(&agent);
}

static void setup(void)
{
    metrics_unregister_all();
    memset(list, 0, sizeof list);
    list[0] = (struct gossip_member){.self = true, .state = MEMBER_ALIVE};
    count = 1;
    figures_start();
}

TestSuite(figures, .init = setup);

Test(figures, of_paths_are_of_live_peers)
{
    count = 3;
    list[1] = (struct gossip_member){.state = MEMBER_ALIVE, .rtt_us = 300, .loss_permille = 7};
    list[2] = (struct gossip_member){.state = MEMBER_SUSPECT, .rtt_us = 900, .loss_permille = 9};
    look();
    cr_assert(told("\nblox_gossip_peer_rtt_us{quantile=\"0.5\"} 300\n"));
    cr_assert(told("\nblox_gossip_peer_rtt_us{quantile=\"1\"} 900\n"));
    cr_assert(told("\nblox_gossip_peer_loss_permille{quantile=\"1\"} 9\n"));
    list[2].state = MEMBER_FAILED;
    look();
    cr_assert(told("\nblox_gossip_peer_rtt_us{quantile=\"1\"} 300\n"));
}

Test(figures, of_paths_vanish_with_the_last_peer)
{
    cr_assert_not(told("blox_gossip_peer"), "nobody was met");
    count = 2;
    list[1] = (struct gossip_member){.state = MEMBER_ALIVE, .loss_permille = 7};
    look();
    cr_assert(told("\nblox_gossip_peer_loss_permille{quantile=\"1\"} 7\n"));
    cr_assert_not(told("blox_gossip_peer_rtt_us"), "none was measured");
    list[1].rtt_us = 300;
    look();
    cr_assert(told("\nblox_gossip_peer_rtt_us{quantile=\"1\"} 300\n"));
    list[1].state = MEMBER_LEFT;
    look();
    cr_assert_not(told("blox_gossip_peer"), "the last figures are told on");
    list[1].state = MEMBER_ALIVE;
    look();
    cr_assert(told("# TYPE blox_gossip_peer_rtt_us gauge\n"
                   "blox_gossip_peer_rtt_us{quantile=\"0.5\"} 300\n"));
}

Test(figures, records_that_were_dropped_are_told)
{
    static char somebody;
    agent.gossip = (struct gossip_node *)(void *)&somebody;
    agent.records = (struct records *)(void *)&somebody;
    figures_tick(&agent);
    cr_assert(told("\nblox_gossip_records_dropped_total{reason=\"overflow\"} 5\n"));
    cr_assert(told("\nblox_gossip_records_dropped_total{reason=\"gave_up\"} 3\n"));
}
