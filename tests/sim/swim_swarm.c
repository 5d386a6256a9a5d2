/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/swim_swarm.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/grab.h"
#include "tests/sim/swim_world.h"

#define S_US UINT64_C(1000000)
#define CALM_US (15 * S_US)  /* undisturbed for so long: nobody may fail it */
#define FOUND_US (20 * S_US) /* a dead member is found by all in this time */
#define HELD_US (50 * S_US)  /* ... one that was degraded when it died */
#define QUIET_US (75 * S_US) /* until all views are equal */
#define REST_US (20 * S_US)  /* then traffic is counted */
#define PACKETS_MAX 1500.0   /* of a member in a second, at any time; 6 in 5 ms and answers */
#define REST_PACKETS_MAX 8.0 /* of a member in a second, at rest */
#define UNDER_WAY_MAX 1000u  /* packets and timers, per member */

enum fault {
    FAULT_KILL,
    FAULT_VANISH,
    FAULT_STOP,
    FAULT_STARVE,
    FAULT_PART,
    FAULT_ONE_WAY,
    FAULT_TRIANGLE, /* two groups lose each other, a third reaches both */
    FAULT_LEAVE,
    FAULT_MASS,
    FAULT_LOSSY, /* one host's own link */
    FAULT_KINDS
};

struct held { /* what one member holds of another */
    uint64_t incarnation;
};

struct swarm {
    struct world w;
    struct prng prng;
    struct swarm_result *result;
    struct held *held;
    uint64_t *cut_us;   /* last moment at which a cut concerned it; 0: never */
    uint64_t *still_us; /* ... at which it was stopped, starved or its link lossy */
    uint64_t *packets;  /* at the last look */
    uint64_t looked_us;
    bool enabled[FAULT_KINDS];
    bool promises; /* the network is one for which no healthy member may fail */
    bool parted;
    bool two;         /* each has two addresses */
    uint8_t dark_way; /* hosts lose the network of these; the other is everywhere */
    uint32_t down, slow;
};

static void violation(struct swarm *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void violation(struct swarm *s, const char *format, ...)
{
    char text[sizeof s->result->first];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    world_tell(&s->w, "VIOLATION: %s", text);
    if (s->result->violations++ == 0)
        snprintf(s->result->first, sizeof s->result->first, "at %.3f s: %.180s",
                 (double)s->w.net.now_us / 1e6, text);
}

static bool calm(const struct swarm *s, uint64_t since_us)
{
    return since_us == 0 || s->w.net.now_us - since_us > CALM_US;
}

/* ---- checkers ---- */

static void changed(void *arg, struct world *w, uint32_t viewer, uint32_t about,
                    const struct swim_change *c)
{
    struct swarm *s = arg;
    const struct world_node *n = &w->node[about];
    struct held *h = &s->held[viewer * w->nodes + about];
    uint64_t incarnation = c->member->m.incarnation;
    if (incarnation < h->incarnation)
        violation(s, "%u held %u at incarnation %" PRIu64 ", now %" PRIu64, viewer, about,
                  h->incarnation, incarnation);
    if (incarnation > n->greatest && n->greatest > 0)
        violation(s, "%u holds %u at %" PRIu64 ", which it never had", viewer, about, incarnation);
    h->incarnation = incarnation;
    if (c->member->m.state != MEMBER_FAILED || c->before == MEMBER_FAILED)
        return;
    s->result->failures++;
    bool healthy = n->life == LIFE_UP && !n->leaving && w->net.now_us - n->life_us > CALM_US &&
                   calm(s, s->cut_us[about]) && calm(s, s->still_us[about]);
    /* A word of its earlier life that comes late is true of that life. */
    bool this_life = incarnation >= n->born;
    if (s->promises && healthy && this_life && calm(s, s->cut_us[viewer]))
        violation(s, "%u failed %u, which is healthy", viewer, about);
}

/* Nothing has disturbed it for so long. Lists that it had from somebody slow count from when it had
 * them. */
static bool is_fit(const struct swarm *s, uint32_t v, uint64_t for_us)
{
    const struct world *w = &s->w;
    return w->node[v].life == LIFE_UP && w->net.now_us - w->node[v].life_us > for_us &&
           w->net.now_us - s->cut_us[v] > for_us &&
           (s->still_us[v] == 0 || w->net.now_us - s->still_us[v] > for_us);
}

/* One alone buries nobody while there are others, slow as they may be. */
static bool has_company(const struct swarm *s, uint64_t for_us)
{
    uint32_t fit = 0, up = 0;
    for (uint32_t v = 0; v < s->w.nodes; v++) {
        up += s->w.node[v].life == LIFE_UP;
        fit += is_fit(s, v, for_us);
    }
    return fit > 1 || up <= 1;
}

/* The dead that some calm member has not found in time. */
static void check_found(struct swarm *s)
{
    struct world *w = &s->w;
    for (uint32_t d = 0; d < w->nodes; d++) {
        const struct world_node *dead = &w->node[d];
        if (dead->life != LIFE_KILLED && dead->life != LIFE_VANISHED)
            continue;
        bool degraded = s->still_us[d] != 0 && s->still_us[d] + HELD_US > dead->life_us;
        uint64_t bound = degraded ? HELD_US : FOUND_US;
        if (w->net.now_us - dead->life_us < bound || !has_company(s, bound))
            continue;
        for (uint32_t v = 0; v < w->nodes; v++) {
            const struct swim_member *m =
                is_fit(s, v, bound) ? swim_find(w->node[v].s, dead->num) : NULL;
            if (m != NULL && m->m.state < MEMBER_FAILED && s->promises)
                violation(s, "%u still holds %u, dead for %.1f s, to be %s", v, d,
                          (double)(w->net.now_us - dead->life_us) / 1e6,
                          m->m.state == MEMBER_ALIVE      ? "alive"
                          : m->m.state == MEMBER_DEGRADED ? "degraded"
                                                          : "suspect");
        }
    }
}

/* Marks whom the present disturbs. */
static void mark(struct swarm *s)
{
    struct world *w = &s->w;
    for (uint32_t i = 0; i < w->nodes; i++) {
        const struct net_host *h = &w->net.host[i];
        for (uint32_t side = 0; side < NET_SIDES && s->parted; side++)
            if (w->net.cut[h->side][side] || w->net.cut[side][h->side])
                s->cut_us[i] = w->net.now_us;
        if (h->stopped || h->starved || h->loss > 0)
            s->still_us[i] = w->net.now_us;
    }
}

/* Counts what was sent since the last look. */
static void look(struct swarm *s)
{
    struct world *w = &s->w;
    double seconds = (double)(w->net.now_us - s->looked_us) / 1e6;
    mark(s);
    for (uint32_t i = 0; i < w->nodes; i++) {
        double rate = (double)(w->node[i].packets - s->packets[i]) / seconds;
        if (seconds >= 1 && rate > PACKETS_MAX)
            violation(s, "%u sent %.0f packets a second", i, rate);
        s->packets[i] = w->node[i].packets;
    }
    if (w->net.heap_len > UNDER_WAY_MAX * w->nodes)
        violation(s, "%u packets under way", w->net.heap_len);
    s->looked_us = w->net.now_us;
}

/* Up to chance: with much loss somebody is degraded for a moment now and then. */
static bool agree(struct swarm *s)
{
    struct world *w = &s->w;
    uint32_t first = UINT32_MAX;
    for (uint32_t i = 0; i < w->nodes; i++) {
        if (w->node[i].life != LIFE_UP)
            continue;
        if (first == UINT32_MAX)
            first = swim_digest(w->node[i].s);
        else if (first != swim_digest(w->node[i].s))
            return false;
    }
    return world_agrees(w);
}

static void check_rest(struct swarm *s)
{
    struct world *w = &s->w;
    uint32_t up = 0;
    double packets = 0;
    for (uint32_t i = 0; i < w->nodes; i++) {
        const struct world_node *n = &w->node[i];
        if (n->life != LIFE_UP)
            continue;
        up++;
        packets += (double)(n->packets - s->packets[i]) / ((double)REST_US / 1e6);
    }
    /* The dead are pinged about twice a second each, by all together. */
    double most = REST_PACKETS_MAX * up + 5.0 * (w->nodes - up) + 6;
    if (s->promises && packets > most)
        violation(s, "%.0f packets a second at rest, by %u members", packets, up);
    for (unsigned tries = 0; tries < 20 && !agree(s); tries++)
        world_run(w, w->net.now_us + S_US / 2);
    if (agree(s))
        return;
    violation(s, "%u members hold something that is not so, or lists differ", world_wrong(w));
    world_tell_wrong(w);
}

/* ---- faults ---- */

static uint32_t pick_up(struct swarm *s)
{
    for (unsigned tries = 0; tries < 50; tries++) {
        uint32_t i = (uint32_t)prng_below(&s->prng, s->w.nodes);
        if (s->w.node[i].life == LIFE_UP && !s->w.node[i].leaving)
            return i;
    }
    return UINT32_MAX;
}

static void restart(struct swarm *s, uint32_t i)
{
    struct world *w = &s->w;
    static const enum disk disks[] = {DISK_KEPT, DISK_KEPT, DISK_OLD, DISK_LOST, DISK_CLOCK};
    if (w->node[i].life == LIFE_UP)
        world_end(w, i, LIFE_KILLED);
    memset(s->held + (size_t)i * w->nodes, 0, w->nodes * sizeof *s->held);
    world_seeds(w, i);
    world_start(w, i, disks[prng_below(&s->prng, sizeof disks / sizeof disks[0])]);
    s->result->restarts++;
}

static void cut(struct swarm *s, enum fault how)
{
    struct world *w = &s->w;
    unsigned odds = 1 + (unsigned)prng_below(&s->prng, 4);
    for (uint32_t i = 0; i < w->nodes; i++) {
        w->net.host[i].side = prng_below(&s->prng, odds + 1) == 0 ? 1 : 0;
        if (how == FAULT_TRIANGLE)
            w->net.host[i].side = (uint8_t)prng_below(&s->prng, 3);
    }
    if (how == FAULT_TRIANGLE)
        w->net.cut[1][2] = w->net.cut[2][1] = true;
    else
        w->net.cut[0][1] = true;
    if (how == FAULT_PART)
        w->net.cut[1][0] = true;
    s->parted = true;
    world_tell(w, "the network parts (%s)",
               how == FAULT_PART      ? "two halves"
               : how == FAULT_ONE_WAY ? "one way"
                                      : "two groups of three");
    mark(s);
}

static void heal(struct swarm *s)
{
    look(s);
    memset(s->w.net.cut, 0, sizeof s->w.net.cut);
    for (uint32_t i = 0; i < s->w.nodes; i++)
        s->w.net.host[i].side = 0;
    s->parted = false;
    world_tell(&s->w, "the network is whole");
}

static void mass_restart(struct swarm *s)
{
    world_tell(&s->w, "all restart");
    for (uint32_t i = 0; i < s->w.nodes; i++) {
        restart(s, i);
        world_run(&s->w, s->w.net.now_us + prng_below(&s->prng, 300000));
    }
}

static void fault(struct swarm *s, enum fault kind, uint32_t i)
{
    struct world *w = &s->w;
    struct net_host *h = &w->net.host[i];
    switch (kind) {
    case FAULT_KILL:
    case FAULT_VANISH:
        world_end(w, i, kind == FAULT_KILL ? LIFE_KILLED : LIFE_VANISHED);
        break;
    case FAULT_STOP:
        world_tell(w, "%u %s", i, h->stopped ? "goes on" : "is stopped");
        s->still_us[i] = w->net.now_us;
        if (h->stopped)
            net_go_on(&w->net, i);
        else
            net_stop(&w->net, i);
        break;
    case FAULT_STARVE:
        world_tell(w, "%u %s", i, h->starved ? "has the CPU again" : "has 5 ms of CPU a second");
        s->still_us[i] = w->net.now_us;
        net_starve(&w->net, i, !h->starved);
        break;
    case FAULT_PART:
    case FAULT_ONE_WAY:
    case FAULT_TRIANGLE:
        if (s->parted)
            heal(s);
        else
            cut(s, kind);
        break;
    case FAULT_LEAVE:
        world_leave(w, i);
        world_run(w, w->net.now_us + S_US / 2);
        if (w->node[i].life == LIFE_UP && w->node[i].leaving)
            world_end(w, i, LIFE_ABSENT);
        break;
    case FAULT_MASS:
        mass_restart(s);
        break;
    case FAULT_LOSSY:
        h->loss = h->loss > 0 ? 0 : 0.3f;
        s->still_us[i] = w->net.now_us;
        world_tell(w, "%u's link loses %.0f %%", i, (double)h->loss * 100);
        break;
    case FAULT_KINDS:
        break;
    }
}

/* Who has the other network is as healthy as anybody. */
static void lose_network(struct swarm *s)
{
    uint32_t dark = 0, i = (uint32_t)prng_below(&s->prng, s->w.nodes);
    struct world_node *n = &s->w.node[i];
    for (uint32_t k = 0; k < s->w.nodes; k++)
        dark += s->w.node[k].dark != 0;
    if (dark == 0)
        s->dark_way = (uint8_t)(1u << prng_below(&s->prng, 2));
    n->dark ^= s->dark_way;
    world_tell(&s->w, "%u %s IPv%d", i, n->dark != 0 ? "loses" : "has again",
               s->dark_way == 1 ? 4 : 6);
}

static void act(struct swarm *s)
{
    struct world *w = &s->w;
    uint32_t down[64], n = 0;
    for (uint32_t i = 0; i < w->nodes; i++)
        if (w->node[i].life != LIFE_UP && n < 64)
            down[n++] = i;
    /* Some come back; at least two are up all the time. */
    if (n > 0 && (n + 2 >= w->nodes || prng_below(&s->prng, 3) == 0)) {
        restart(s, down[prng_below(&s->prng, n)]);
        return;
    }
    if (s->two && prng_below(&s->prng, 2) == 0) {
        lose_network(s);
        return;
    }
    enum fault kind = (enum fault)prng_below(&s->prng, FAULT_KINDS);
    uint32_t i = pick_up(s);
    if (s->enabled[kind] && i != UINT32_MAX && (kind != FAULT_MASS || prng_below(&s->prng, 8) == 0))
        fault(s, kind, i);
}

static void end_faults(struct swarm *s)
{
    struct world *w = &s->w;
    look(s);
    heal(s);
    for (uint32_t i = 0; i < w->nodes; i++) {
        w->net.host[i].loss = 0;
        w->node[i].dark = 0;
        net_starve(&w->net, i, false);
        if (w->net.host[i].stopped)
            net_go_on(&w->net, i);
    }
    world_tell(w, "no more faults");
}

/* ---- a run ---- */

static void draw(struct swarm *s, struct net_profile *p, uint32_t *ret_nodes)
{
    static const double losses[] = {0, 0, 0.01, 0.05, 0.05, 0.1, 0.2};
    static const uint64_t ways[] = {50, 200, 500, 1000, 5000, 20000, 40000};
    struct prng *r = &s->prng;
    *ret_nodes = 2 + (uint32_t)prng_below(r, prng_below(r, 4) == 0 ? 39 : 12);
    *p = (struct net_profile){.latency_us = ways[prng_below(r, 5)],
                              .loss = losses[prng_below(r, 7)],
                              .duplicate = prng_below(r, 3) == 0 ? 0.05 : 0,
                              .reorder = prng_below(r, 3) == 0 ? 0.1 : 0,
                              .cost_us = prng_below(r, 2) == 0 ? 20 : 0,
                              .zones = 1 + (uint32_t)prng_below(r, 3)};
    p->cross_us = p->latency_us + ways[prng_below(r, 7)];
    p->jitter_us = prng_below(r, p->latency_us + 1);
    /* A fault that never occurs lets the others go deeper: half of them, drawn anew. */
    for (unsigned k = 0; k < FAULT_KINDS; k++)
        s->enabled[k] = prng_below(r, 2) == 0;
    s->promises = p->loss <= 0.05;
}

void swarm_run(uint64_t seed, bool two, FILE *story, bool packets, struct swarm_result *ret)
{
    struct swarm *s = grab(1, sizeof *s);
    struct net_profile p;
    uint32_t nodes;
    *ret = (struct swarm_result){0};
    s->result = ret;
    prng_seed(&s->prng, seed);
    draw(s, &p, &nodes);
    ret->nodes = nodes;
    world_init(&s->w, nodes, &p, seed);
    s->two = two;
    s->w.addresses = two ? 2 : 1;
    s->w.story = story;
    s->w.packets_told = packets;
    s->w.hooks = (struct world_hooks){.arg = s, .changed = changed};
    s->held = grab((size_t)nodes * nodes, sizeof *s->held);
    s->cut_us = grab(nodes, sizeof *s->cut_us);
    s->still_us = grab(nodes, sizeof *s->still_us);
    s->packets = grab(nodes, sizeof *s->packets);
    world_tell(&s->w, "%u members in %u zones, %.2f/%.2f ms, loss %.2f", nodes, p.zones,
               (double)p.latency_us / 1e3, (double)p.cross_us / 1e3, p.loss);
    for (uint32_t i = 0; i < nodes; i++) {
        world_start(&s->w, i, DISK_KEPT);
        world_run(&s->w, s->w.net.now_us + prng_below(&s->prng, 100000));
    }
    world_run(&s->w, s->w.net.now_us + 5 * S_US);
    uint64_t end_us = s->w.net.now_us + 20 * S_US + prng_below(&s->prng, 60 * S_US);
    uint64_t gap_us = 200000 + prng_below(&s->prng, 8 * S_US);
    while (s->w.net.now_us < end_us) {
        world_run(&s->w, s->w.net.now_us + 1 + prng_below(&s->prng, gap_us));
        look(s);
        check_found(s);
        act(s);
    }
    end_faults(s);
    world_run(&s->w, s->w.net.now_us + QUIET_US);
    look(s);
    check_found(s);
    world_run(&s->w, s->w.net.now_us + REST_US);
    check_rest(s);
    ret->hash = s->w.net.hash;
    ret->events = s->w.net.events;
    world_fini(&s->w);
    free(s->held);
    free(s->cut_us);
    free(s->still_us);
    free(s->packets);
    free(s);
}
