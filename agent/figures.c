/* SPDX-License-Identifier: Apache-2.0
 * Gossip's figures for /metrics. Of peers there are quantiles, not a series each: five thousand
 * series from each of five thousand agents help nobody; GET /v2/members has every peer. */
#include <stdlib.h>

#include "agent/agent_int.h"
#include "agent/base/metrics.h"

#define MEMBERS_TEXT "Members by state, as this agent sees them."
#define BYTES_TEXT "Bytes of gossip, sealed, without IP headers."
#define REFUSED_TEXT "Packets and words that did not count, by reason."
#define DROPPED_TEXT                                                                               \
    "Records not pushed for want of room, or asked for in vain: left to slower ways of repair."
#define RTT_TEXT "Round trips to live members: quantiles over the members."
#define LOSS_TEXT "Thousandths of probes that needed a second ping: quantiles over the members."

static struct metric members[] = {
    METRIC_GAUGE_INIT("blox_gossip_members", "state=\"alive\"", MEMBERS_TEXT),
    METRIC_GAUGE_INIT("blox_gossip_members", "state=\"degraded\"", MEMBERS_TEXT),
    METRIC_GAUGE_INIT("blox_gossip_members", "state=\"suspect\"", MEMBERS_TEXT),
    METRIC_GAUGE_INIT("blox_gossip_members", "state=\"failed\"", MEMBERS_TEXT),
    METRIC_GAUGE_INIT("blox_gossip_members", "state=\"left\"", MEMBERS_TEXT),
};
static struct metric bytes[] = {
    METRIC_COUNTER_INIT("blox_gossip_bytes_total", "direction=\"out\",path=\"udp\"", BYTES_TEXT),
    METRIC_COUNTER_INIT("blox_gossip_bytes_total", "direction=\"out\",path=\"tcp\"", BYTES_TEXT),
    METRIC_COUNTER_INIT("blox_gossip_bytes_total", "direction=\"in\",path=\"udp\"", BYTES_TEXT),
    METRIC_COUNTER_INIT("blox_gossip_bytes_total", "direction=\"in\",path=\"tcp\"", BYTES_TEXT),
};
static struct metric cross_zone =
    METRIC_COUNTER_INIT("blox_gossip_cross_zone_bytes_total", NULL,
                        "Bytes of gossip, without IP headers, sent to another availability zone.");
static struct metric refused[] = {
    METRIC_COUNTER_INIT("blox_gossip_refused_total", "reason=\"not_sealed_for_us\"", REFUSED_TEXT),
    METRIC_COUNTER_INIT("blox_gossip_refused_total", "reason=\"replayed\"", REFUSED_TEXT),
    METRIC_COUNTER_INIT("blox_gossip_refused_total", "reason=\"claim\"", REFUSED_TEXT),
};
static struct metric jumbo =
    METRIC_COUNTER_INIT("blox_gossip_jumbo_datagrams_total", NULL,
                        "Datagrams larger than 1,400 bytes, on paths proven to take them.");
static struct metric dropped = METRIC_COUNTER_INIT(
    "blox_gossip_dropped_total", NULL, "Messages not sent because a queue or the socket was full.");
static struct metric verified = METRIC_COUNTER_INIT("blox_gossip_signatures_verified_total", NULL,
                                                    "Signatures of members that were looked at.");
static struct metric health = METRIC_GAUGE_INIT(
    "blox_gossip_local_health", NULL, "Lifeguard's local health: 0 is healthy, 8 the worst.");
static struct metric streams =
    METRIC_GAUGE_INIT("blox_gossip_streams", NULL, "Open streams to and from members.");
static struct metric queued =
    METRIC_GAUGE_INIT("blox_gossip_records_queued", NULL, "Records that wait to be sent to peers.");
static struct metric dropped_records[] = {
    METRIC_COUNTER_INIT("blox_gossip_records_dropped_total", "reason=\"overflow\"", DROPPED_TEXT),
    METRIC_COUNTER_INIT("blox_gossip_records_dropped_total", "reason=\"gave_up\"", DROPPED_TEXT),
};
static struct metric rtt[] = {
    METRIC_GAUGE_INIT("blox_gossip_peer_rtt_us", "quantile=\"0.5\"", RTT_TEXT),
    METRIC_GAUGE_INIT("blox_gossip_peer_rtt_us", "quantile=\"0.99\"", RTT_TEXT),
    METRIC_GAUGE_INIT("blox_gossip_peer_rtt_us", "quantile=\"1\"", RTT_TEXT),
};
static struct metric loss[] = {
    METRIC_GAUGE_INIT("blox_gossip_peer_loss_permille", "quantile=\"0.5\"", LOSS_TEXT),
    METRIC_GAUGE_INIT("blox_gossip_peer_loss_permille", "quantile=\"0.99\"", LOSS_TEXT),
    METRIC_GAUGE_INIT("blox_gossip_peer_loss_permille", "quantile=\"1\"", LOSS_TEXT),
};

static void register_list(struct metric *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        metrics_register(&list[i]);
}

static int compare(const void *one, const void *other)
{
    uint32_t x = *(const uint32_t *)one, y = *(const uint32_t *)other;
    return (x > y) - (x < y);
}

/* Of nobody there are none: the last figures would be told for ever. */
static void set_quantiles(struct metric to[3], uint32_t *list, size_t count)
{
    if (count == 0) {
        for (size_t i = 0; i < 3; i++)
            metric_none(&to[i]);
        return;
    }
    qsort(list, count, sizeof *list, compare);
    metric_set(&to[0], list[(count - 1) / 2]);
    metric_set(&to[1], list[(count - 1) * 99 / 100]);
    metric_set(&to[2], list[count - 1]);
}

void figures_start(void)
{
    set_quantiles(rtt, NULL, 0);
    set_quantiles(loss, NULL, 0);
    register_list(members, sizeof members / sizeof members[0]);
    register_list(bytes, sizeof bytes / sizeof bytes[0]);
    register_list(refused, sizeof refused / sizeof refused[0]);
    register_list(dropped_records, sizeof dropped_records / sizeof dropped_records[0]);
    register_list(rtt, sizeof rtt / sizeof rtt[0]);
    register_list(loss, sizeof loss / sizeof loss[0]);
    struct metric *const single[] = {&cross_zone, &jumbo,   &dropped, &verified,
                                     &health,     &streams, &queued};
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++)
        metrics_register(single[i]);
}

static void set_members(const struct agent *a)
{
    int64_t states[MEMBER_LEFT + 1] = {0};
    for (size_t i = 0; i < gossip_count(a->gossip); i++)
        states[gossip_at(a->gossip, i)->state]++;
    for (int state = MEMBER_ALIVE; state <= MEMBER_LEFT; state++)
        metric_set(&members[state - MEMBER_ALIVE], states[state]);
}

void figures_of_paths(struct agent *a)
{
    static uint32_t rtts[GOSSIP_MEMBERS_MAX], losses[GOSSIP_MEMBERS_MAX];
    size_t known = 0, live = 0;
    for (size_t i = 0; i < gossip_count(a->gossip); i++) {
        const struct gossip_member *m = gossip_at(a->gossip, i);
        if (m->self || m->state >= MEMBER_FAILED)
            continue;
        losses[live++] = m->loss_permille;
        if (m->rtt_us != 0)
            rtts[known++] = m->rtt_us;
    }
    set_quantiles(rtt, rtts, known);
    set_quantiles(loss, losses, live);
}

void figures_tick(struct agent *a)
{
    struct gossip_stats g;
    struct records_stats r;
    if (a->gossip == NULL || a->records == NULL)
        return;
    gossip_stats(a->gossip, &g);
    records_stats(a->records, &r);
    metric_set(&bytes[0], (int64_t)g.bytes_sent);
    metric_set(&bytes[1], (int64_t)g.stream_bytes_sent);
    metric_set(&bytes[2], (int64_t)g.bytes_received);
    metric_set(&bytes[3], (int64_t)g.stream_bytes_received);
    metric_set(&cross_zone, (int64_t)g.cross_zone_bytes_sent);
    metric_set(&refused[0], (int64_t)g.rejected);
    metric_set(&refused[1], (int64_t)g.replayed);
    metric_set(&refused[2], (int64_t)g.refused_claims);
    metric_set(&jumbo, (int64_t)g.jumbo_sent);
    metric_set(&dropped, (int64_t)g.dropped_full);
    metric_set(&verified, (int64_t)g.signatures_verified);
    metric_set(&health, (int64_t)g.health);
    metric_set(&streams, (int64_t)g.streams);
    metric_set(&queued, (int64_t)r.queue_depth);
    metric_set(&dropped_records[0], (int64_t)r.overflow);
    metric_set(&dropped_records[1], (int64_t)r.gave_up);
    set_members(a);
}
