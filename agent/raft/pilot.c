/* SPDX-License-Identifier: Apache-2.0
 * The leader's autopilot: puts what gossip and raft know before the voter policy, and does the
 * one thing it says. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/raft/raft_uv_int.h"

#define PILOT_MS 500u
#define PILOT_PER_500_MS 100u             /* when it looks at each member: of 5,000 every 1.5 s */
#define PILOT_SURE_MS 60000u              /* so often it does, whatever it heard */
#define PILOT_SETTLED_MS VOTERS_STABLE_MS /* after so long time makes no difference any more */

static void look_at_agents(struct raft_uv *r, uint64_t now_ms, struct voters_input *in,
                           struct voters_agent *agents)
{
    size_t count = 0;
    for (size_t i = 0; i < gossip_count(r->o.gossip); i++) {
        const struct gossip_member *m = gossip_at(r->o.gossip, i);
        const struct peer_info *p = hello_peer(r, m->id);
        bool alive = m->self || m->state <= MEMBER_SUSPECT;
        bool ours = p != NULL && (p->cluster_id == r->cluster_id || p->cluster_id == 0);
        in->alive_count += alive;
        if (count == GOSSIP_MEMBERS_MAX)
            break;
        agents[count++] = (struct voters_agent){
            .num = m->num,
            .disk = m->self ? r->disk
                    : ours  ? p->disk
                            : 0,
            .id = m->id,
            .zone = m->meta->zone,
            .lifecycle = m->meta->lifecycle,
            .candidate = m->self ? r->o.candidate : m->meta->role == 0,
            .alive = alive,
            .left = m->state == MEMBER_LEFT,
            .leaving = m->self ? r->leaving : p != NULL && p->leaving,
            .steady_ms = now_ms > m->changed_mono_ms ? now_ms - m->changed_mono_ms : 0};
    }
    in->agent = agents;
    in->agent_count = count;
}

static void look_at_servers(const struct raft_uv *r, uint64_t now_ms, struct voters_input *in)
{
    const struct raft *core = &r->core;
    for (uint32_t i = 0; i < core->config.count; i++) {
        const struct raft_peer *p = &core->peer[i];
        uint64_t heard_ms = p->stamp > core->lead_ms ? p->stamp : core->lead_ms;
        in->server[i].silent_ms = now_ms > heard_ms ? now_ms - heard_ms : 0;
        /* Nothing is known to be there: a short log is no reason to call it near. */
        in->server[i].lag = p->match == 0                     ? UINT64_MAX
                            : core->log.last_index > p->match ? core->log.last_index - p->match
                                                              : 0;
        if (core->config.server[i].num == core->self)
            in->server[i] = (struct voters_server){0};
    }
}

/* The core takes it once the servers that it needs have answered what was sent after now. */
static void change(struct raft_uv *r, uint64_t now_ms, const struct voters_action *action)
{
    static const char *const names[] = {"", "add learner", "promote", "demote", "remove"};
    uint64_t before = r->core.config.index;
    if (r->wish.since == 0 || r->wish.num != action->server.num ||
        r->wish.change != action->change) {
        r->wish.num = action->server.num;
        r->wish.change = action->change;
        r->wish.since = now_ms;
    }
    step(r, &(struct raft_input){.type = RAFT_ALTER,
                                 .change = action->change,
                                 .server = &action->server,
                                 .since = r->wish.since});
    if (r->core.config.index == before)
        return;
    r->wish.since = 0;
    LOG(LOG_INFO, "raft_voters", action->why, LS("change", names[action->change]),
        LS("member", action->server.id));
}

void pilot_news(struct raft_uv *r)
{
    r->pilot_news_ms = clock_mono_ms();
}

/* The policy's answer changes with what is told by gossip and hellos, with servers that fall silent
 * or behind, and for as long as time makes a difference since the last of these. After one more
 * look nothing is left to decide, and thousands of members need not be looked at. */
static bool is_calm(struct raft_uv *r, uint64_t now_ms, const struct voters_input *in)
{
    const struct raft *core = &r->core;
    for (uint32_t i = 0; i < core->config.count; i++)
        if (in->server[i].silent_ms >= VOTERS_SILENT_MS || in->server[i].lag > VOTERS_LAG_MAX)
            r->pilot_news_ms = now_ms;
    uint64_t news_ms = r->pilot_news_ms > core->lead_ms ? r->pilot_news_ms : core->lead_ms;
    return r->pilot_looked_ms >= news_ms + PILOT_SETTLED_MS &&
           now_ms < r->pilot_looked_ms + PILOT_SURE_MS;
}

void pilot_tick(struct raft_uv *r, uint64_t now_ms)
{
    struct voters_input in = {.self = r->self.num, .config = &r->core.config};
    struct voters_action action;
    if (now_ms < r->pilot_at || !step_is_ready(r) || !raft_may_change(&r->core) ||
        step_in_conflict(r, now_ms))
        return;
    r->pilot_at = now_ms + PILOT_MS;
    look_at_servers(r, now_ms, &in);
    if (is_calm(r, now_ms, &in))
        return;
    r->pilot_at += gossip_count(r->o.gossip) / 500 * PILOT_PER_500_MS;
    struct voters_agent *agents = calloc(gossip_count(r->o.gossip) + 1, sizeof(*agents));
    if (agents == NULL)
        return;
    look_at_agents(r, now_ms, &in, agents);
    voters_decide(&in, &action);
    free(agents);
    r->pilot_looked_ms = now_ms;
    if (action.verb != VOTERS_NOTHING)
        r->pilot_news_ms = now_ms;
    if (action.verb != VOTERS_CHANGE)
        r->wish.since = 0;
    if (action.verb == VOTERS_TRANSFER) {
        LOG(LOG_INFO, "raft_transfer", action.why, LS("member", r->self.id),
            LS("to", action.server.id));
        step(r, &(struct raft_input){.type = RAFT_TRANSFER, .num = action.server.num});
    } else if (action.verb == VOTERS_CHANGE) {
        change(r, now_ms, &action);
        r->pilot_at = 0; /* not taken yet, or there may be more to do */
    }
}

void raft_uv_set_leaving(struct raft_uv *r, bool leaving)
{
    if (r->closing || r->leaving == leaving)
        return;
    r->leaving = leaving;
    r->pilot_at = 0;
    pilot_news(r);
    hello_tell_servers(r);
    pilot_tick(r, clock_mono_ms());
}
