/* SPDX-License-Identifier: Apache-2.0 */
#include "gossip/voters.h"

#include <string.h>

#include "agent/base/ensure.h"

enum condition { FIT, SILENT, UNFIT, DEAD, LEFT, GONE };

/* SILENT may still come back; DEAD is to be replaced; LEFT said goodbye, which a restart does as
 * well; GONE will not come back as this server. */
static enum condition condition(const struct voters_input *in, uint32_t i)
{
    const struct raft_server *s = &in->config->server[i];
    const struct voters_agent *a = in->agent_of[i];
    uint64_t silent_ms = in->server[i].silent_ms;
    if (s->num == in->self)
        return a != NULL && (a->leaving || !a->candidate) ? UNFIT : FIT;
    if (a == NULL)
        return silent_ms >= VOTERS_DEAD_MS ? DEAD : SILENT;
    if (a->disk != 0 && a->disk != s->disk)
        return GONE;
    if (a->left)
        return LEFT;
    if (!a->alive)
        return a->steady_ms >= VOTERS_DEAD_MS && silent_ms >= VOTERS_DEAD_MS ? DEAD : SILENT;
    if (a->leaving || !a->candidate)
        return UNFIT;
    return silent_ms >= VOTERS_SILENT_MS ? SILENT : FIT;
}

static bool answers(enum condition c)
{
    return c == FIT || c == UNFIT;
}

/* Would a quorum of what is live remain after server `without` is gone, or `with` is added? */
static bool is_safe(const struct voters_input *in, int without, int with)
{
    uint32_t voters = 0, live = 0;
    for (uint32_t i = 0; i < in->config->count; i++) {
        if ((!in->config->server[i].voter && (int)i != with) || (int)i == without)
            continue;
        voters++;
        live += answers(condition(in, i));
    }
    return voters > 0 && live >= voters / 2 + 1;
}

uint32_t voters_target(size_t alive_agents, size_t eligible, uint32_t voters_now)
{
    size_t many = voters_now >= 5 ? 15 : 20; /* no flapping around the edge */
    if (alive_agents >= many && eligible >= 5)
        return 5;
    if (eligible >= 3)
        return 3;
    return eligible == 0 ? 1 : (uint32_t)eligible;
}

/* Greater is better: a zone that no other voter stands in, then on-demand before spot. */
static int worth(const struct voters_input *in, const struct voters_agent *a, int except)
{
    int value = a->lifecycle == 0 ? 2 : a->lifecycle == 1 ? 0 : 1;
    for (uint32_t i = 0; i < in->config->count; i++) {
        const struct raft_server *s = &in->config->server[i];
        const struct voters_agent *other = in->agent_of[i];
        if ((int)i == except || !s->voter || s->num == a->num || other == NULL)
            continue;
        if (strcmp(other->zone, a->zone) == 0 && condition(in, i) == FIT)
            return value;
    }
    return value + 4;
}

static void act(struct voters_action *ret, enum raft_change change, const struct raft_server *s,
                const char *why)
{
    *ret =
        (struct voters_action){.verb = VOTERS_CHANGE, .change = change, .server = *s, .why = why};
}

/* The learner to promote, -1: none is ready. */
static int best_learner(const struct voters_input *in, bool hurry, int except)
{
    int best = -1, best_worth = -1;
    for (uint32_t i = 0; i < in->config->count; i++) {
        const struct raft_server *s = &in->config->server[i];
        const struct voters_agent *a = in->agent_of[i];
        if (s->voter || a == NULL || condition(in, i) != FIT)
            continue;
        if (in->server[i].lag > VOTERS_LAG_MAX || (!hurry && a->steady_ms < VOTERS_STABLE_MS))
            continue;
        int value = worth(in, a, except);
        bool first = best < 0 || value > best_worth ||
                     (value == best_worth && strcmp(s->id, in->config->server[best].id) < 0);
        if (first && is_safe(in, -1, (int)i)) {
            best = (int)i;
            best_worth = value;
        }
    }
    return best;
}

/* The voter to give up first; never the leader. */
static int worst_voter(const struct voters_input *in, int *ret_worth)
{
    int worst = -1;
    for (uint32_t i = 0; i < in->config->count; i++) {
        const struct raft_server *s = &in->config->server[i];
        const struct voters_agent *a = in->agent_of[i];
        if (!s->voter || s->num == in->self)
            continue;
        enum condition c = condition(in, i);
        int value = a == NULL || !answers(c) ? -2 : c == UNFIT ? -1 : worth(in, a, (int)i);
        bool first = worst < 0 || value < *ret_worth ||
                     (value == *ret_worth && strcmp(s->id, in->config->server[worst].id) > 0);
        if (first) {
            worst = (int)i;
            *ret_worth = value;
        }
    }
    return worst;
}

/* An agent to take in as a learner. */
static const struct voters_agent *best_outsider(const struct voters_input *in)
{
    const struct voters_agent *best = NULL;
    int best_worth = -1;
    for (size_t i = 0; i < in->agent_count; i++) {
        const struct voters_agent *a = &in->agent[i];
        if (!a->candidate || !a->alive || a->left || a->leaving || a->disk == 0 ||
            a->steady_ms < VOTERS_STABLE_MS / 5 || raft_find(in->config, a->num) != NULL)
            continue;
        int value = worth(in, a, -1);
        if (best == NULL || value > best_worth ||
            (value == best_worth && strcmp(a->id, best->id) < 0)) {
            best = a;
            best_worth = value;
        }
    }
    return best;
}

/* The voter to lead instead, -1: none. One that is to go as well would hand leadership back. */
static int heir(const struct voters_input *in)
{
    const struct voters_server *is = in->server;
    int best = -1;
    for (uint32_t i = 0; i < in->config->count; i++) {
        const struct raft_server *s = &in->config->server[i];
        if (!s->voter || s->num == in->self || condition(in, i) != FIT)
            continue;
        if (best < 0 || is[i].lag < is[best].lag ||
            (is[i].lag == is[best].lag && is[i].silent_ms < is[best].silent_ms))
            best = (int)i;
    }
    return best;
}

/* What cannot wait: servers that are gone for good, a leader that must go. */
static bool decide_losses(const struct voters_input *in, struct voters_action *ret)
{
    for (uint32_t i = 0; i < in->config->count; i++) {
        const struct raft_server *s = &in->config->server[i];
        enum condition c = condition(in, i);
        if (!s->voter && c != FIT && c != SILENT) {
            act(ret, RAFT_REMOVE, s, "this spare left, failed or may not vote");
            return true;
        }
        if (s->voter && c == GONE && is_safe(in, (int)i, -1)) {
            act(ret, RAFT_REMOVE, s, "this voter lost its log");
            return true;
        }
    }
    for (uint32_t i = 0; i < in->config->count; i++) {
        int to = in->config->server[i].num == in->self && condition(in, i) == UNFIT ? heir(in) : -1;
        if (to >= 0) {
            *ret = (struct voters_action){.verb = VOTERS_TRANSFER,
                                          .server = in->config->server[to],
                                          .why = "the leader is to go"};
            return true;
        }
    }
    return false;
}

/* Voters that cannot stay. Each agent that may replace them is counted in `fresh`.
 *
 * To take out a voter that failed gains nothing while the others are even in number: 2 of 2 and 2
 * of 3 are both two, but the third may come back, and with its log. While they are odd it costs a
 * vote in every majority: 3 of 5 live ones bear no further loss, 3 of 3 do. One that said goodbye
 * is given the time of a restart. What goes with a notice still votes until then, so it stays for
 * its replacement, if there is one. Down to a single voter leads only a notice or a goodbye, never
 * a failure: what is acknowledged is on two disks. */
static int expendable(const struct voters_input *in, uint32_t voters, uint32_t fit, bool replaced)
{
    int best = -1;
    for (uint32_t i = 0; i < in->config->count; i++) {
        const struct raft_server *s = &in->config->server[i];
        const struct voters_agent *a = in->agent_of[i];
        enum condition c = condition(in, i);
        if (!s->voter || s->num == in->self || !is_safe(in, (int)i, -1))
            continue;
        bool costs = voters > (fit | 1);
        bool may_not_vote = a != NULL && !a->candidate;
        bool went = c == LEFT && (costs || a->steady_ms >= VOTERS_DEAD_MS);
        if (may_not_vote || went || (costs && c == UNFIT && replaced))
            best = best < 0 ? (int)i : best;
        else if (costs && c == DEAD && voters > 2)
            return (int)i;
    }
    return best;
}

static void decide_size(const struct voters_input *in, uint32_t target, uint32_t fresh,
                        struct voters_action *ret)
{
    uint32_t voters = 0, fit = 0, spares = 0;
    int worst_worth = 0;
    bool hurry = false;
    for (uint32_t i = 0; i < in->config->count; i++) {
        enum condition c = condition(in, i);
        if (!in->config->server[i].voter) {
            spares++;
            continue;
        }
        voters++;
        fit += c == FIT || c == SILENT;
        hurry = hurry || c == UNFIT || c == LEFT; /* no time to wait for stability */
    }
    hurry = hurry || voters % 2 == 0; /* one more makes no majority larger */
    int worst = worst_voter(in, &worst_worth);
    int learner = best_learner(in, hurry, worst);
    if (fit < target && learner >= 0) {
        act(ret, RAFT_PROMOTE, &in->config->server[learner], "voters are missing");
        return;
    }
    int out = expendable(in, voters, fit, fit >= target || fresh == 0);
    if (out >= 0) {
        act(ret, RAFT_REMOVE, &in->config->server[out],
            "this voter failed, left, is to go or may not vote");
        return;
    }
    if (fit > target && worst >= 0 && is_safe(in, worst, -1)) {
        enum raft_change change = spares < VOTERS_SPARES && target >= 3 ? RAFT_DEMOTE : RAFT_REMOVE;
        act(ret, change, &in->config->server[worst], "more voters than wanted");
        return;
    }
    if (voters == target && learner >= 0 && worst >= 0 && worst_worth >= 0) {
        const struct voters_agent *a = in->agent_of[learner];
        if (worth(in, a, worst) > worst_worth) {
            act(ret, RAFT_PROMOTE, &in->config->server[learner],
                "stands in another zone, or is on-demand");
            return;
        }
    }
    uint32_t wanted = VOTERS_SPARES + (fit < target ? target - fit : 0);
    bool room = spares < wanted && in->config->count < RAFT_SERVERS_MAX;
    const struct voters_agent *a = room ? best_outsider(in) : NULL;
    if (a != NULL) {
        struct raft_server s = {.num = a->num, .disk = a->disk};
        memcpy(s.id, a->id, strnlen(a->id, sizeof(s.id) - 1));
        act(ret, RAFT_ADD_LEARNER, &s, fit < target ? "voters are missing" : "a warm spare");
    }
}

void voters_decide(struct voters_input *in, struct voters_action *ret)
{
    size_t eligible = 0;
    uint32_t fresh = 0;
    memset(in->agent_of, 0, sizeof in->agent_of);
    *ret = (struct voters_action){.verb = VOTERS_NOTHING};
    ENSURE(in->config->count <= RAFT_SERVERS_MAX);
    for (size_t i = 0; i < in->agent_count; i++) {
        const struct voters_agent *a = &in->agent[i];
        const struct raft_server *s = raft_find(in->config, a->num);
        bool votes = s != NULL && s->voter;
        if (s != NULL && in->agent_of[s - in->config->server] == NULL)
            in->agent_of[s - in->config->server] = a;
        bool fits = a->candidate && !a->left && !a->leaving;
        /* A voter that failed is not fewer voters wanted. */
        eligible += fits && (a->alive || votes);
        fresh += fits && a->alive && !votes;
    }
    if (decide_losses(in, ret))
        return;
    uint32_t now = raft_voter_count(in->config);
    decide_size(in, voters_target(in->alive_count, eligible, now), fresh, ret);
}
