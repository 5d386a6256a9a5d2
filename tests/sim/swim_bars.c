/* SPDX-License-Identifier: Apache-2.0
 * What docs/benchmarks.md says of membership in simulation: each measurement begins with a cluster
 * (formed at once, or starting), does one thing, and prints what came of it. */
#include "tests/sim/swim_bars.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/grab.h"

#define S_US UINT64_C(1000000)
#define HOUR_US (3600 * S_US)
#define WHOLE_S 5            /* bars 13, 15, 16: until all views are right */
#define WHOLE_FEW_S 2        /* bar 15 ... */
#define FEW 500              /* ... for so many members at most */
#define START_FEW_S 0.5      /* bar 13 for 64 members at most, ... */
#define START_LOSSY_S 1.0    /* ... where packets are lost */
#define CONTACT_S 0.3        /* bar 15: until one hears of the other half */
#define STILL_FAILED_MAX 370 /* bar 5: a tenth of Serf's 3,707, whatever the size */
#define AFTER_US (10 * S_US) /* all was right: it stays so */

struct tally {
    uint64_t *failed_us; /* victim by victim: time of the last survivor's verdict */
    uint32_t *failed_by; /* how many survivors hold it failed */
    uint32_t *pairs_us;  /* each survivor's time */
    size_t pair_count, pair_cap;
    uint32_t false_failures, failures, suspicions, degraded;
    uint32_t sudden; /* suspected or failed without having been degraded, and just not running */
    uint64_t healed_us, contact_us; /* end of a partition; first word of the other side after it */
};

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}
static int by_value32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* It does not run, or did not a moment ago. */
static bool is_still(const struct world *w, uint32_t i)
{
    const struct net_host *h = &w->net.host[i];
    uint64_t since = w->node[i].disturbed_us;
    return h->stopped || h->starved || (since != 0 && since + 10 * S_US > w->net.now_us);
}

static void changed(void *arg, struct world *w, uint32_t viewer, uint32_t about,
                    const struct swim_change *c)
{
    struct tally *t = arg;
    const struct world_node *n = &w->node[about];
    uint8_t state = (uint8_t)c->member->m.state;
    if (state == c->before)
        return;
    t->suspicions += state == MEMBER_SUSPECT;
    t->degraded += state == MEMBER_DEGRADED;
    t->sudden += c->before == MEMBER_ALIVE && (state == MEMBER_SUSPECT || state == MEMBER_FAILED) &&
                 is_still(w, about);
    if (state == MEMBER_ALIVE && t->healed_us != 0 && t->contact_us == 0 &&
        w->net.host[viewer].side != w->net.host[about].side)
        t->contact_us = w->net.now_us;
    if (state != MEMBER_FAILED)
        return;
    t->failures++;
    if (n->life == LIFE_UP) {
        t->false_failures += !is_still(w, about);
        return;
    }
    uint64_t took = w->net.now_us - n->life_us;
    t->failed_us[about] = took;
    t->failed_by[about]++;
    if (t->pair_count < t->pair_cap)
        t->pairs_us[t->pair_count++] = (uint32_t)took;
}

static struct world *begin(const struct bars *b, struct tally *t, bool formed)
{
    struct world *w = grab(1, sizeof *w);
    *t = (struct tally){0};
    t->failed_us = grab(b->nodes, sizeof *t->failed_us);
    t->failed_by = grab(b->nodes, sizeof *t->failed_by);
    t->pair_cap = (size_t)b->victims * b->nodes;
    t->pairs_us = grab(t->pair_cap, sizeof *t->pairs_us);
    world_init(w, b->nodes, &b->net, b->seed);
    w->addresses = b->addresses;
    w->hooks = (struct world_hooks){.arg = t, .changed = changed};
    if (formed)
        world_form(w);
    return w;
}

static void end(struct world *w, struct tally *t)
{
    world_fini(w);
    free(w);
    free(t->failed_us);
    free(t->failed_by);
    free(t->pairs_us);
}

static void reset_counts(struct world *w)
{
    for (uint32_t i = 0; i < w->nodes; i++)
        w->node[i].packets = w->node[i].bytes = w->node[i].stream_bytes = w->node[i].steps =
            w->node[i].cross_bytes = 0;
}

struct sums {
    double packets, bytes, stream, cross, most_packets, steps;
};
static struct sums rates(const struct world *w, uint64_t us)
{
    struct sums r = {0};
    double s = (double)us / 1e6, n = w->nodes;
    for (uint32_t i = 0; i < w->nodes; i++) {
        const struct world_node *k = &w->node[i];
        r.packets += (double)k->packets / s / n;
        r.bytes += (double)k->bytes / s / n;
        r.stream += (double)k->stream_bytes / s / n;
        r.cross += (double)k->cross_bytes / s / n;
        r.steps += (double)k->steps / s / n;
        if ((double)k->packets / s > r.most_packets)
            r.most_packets = (double)k->packets / s;
    }
    return r;
}

/* Bars 1, 3 and 10: nothing happens; then hosts vanish one by one. */
int bars_detect(const struct bars *b)
{
    struct tally t;
    struct world *w = begin(b, &t, true);
    world_run(w, 10 * S_US);
    for (uint32_t v = 0; v < b->victims; v++) {
        world_run(w, w->net.now_us + b->every_us / 2 + prng_below(&w->prng, b->every_us));
        uint32_t victim;
        do
            victim = (uint32_t)prng_below(&w->prng, w->nodes);
        while (w->node[victim].life != LIFE_UP);
        world_end(w, victim, b->killed ? LIFE_KILLED : LIFE_VANISHED);
    }
    world_run(w, w->net.now_us + 20 * S_US);
    uint64_t *last = grab(b->victims, sizeof *last);
    uint32_t n = 0, missed = 0;
    for (uint32_t i = 0; i < w->nodes; i++) {
        if (w->node[i].life == LIFE_UP)
            continue;
        last[n++] = t.failed_us[i];
        missed += t.failed_by[i] + b->victims < w->nodes;
    }
    qsort(last, n, sizeof *last, by_value);
    qsort(t.pairs_us, t.pair_count, sizeof *t.pairs_us, by_value32);
    printf("detect: %u nodes, %u vanish, loss %.2f: the last survivor knows p50 %.0f p90 %.0f p99 "
           "%.0f p99.9 %.0f max %.0f ms; each survivor p50 %.0f p99 %.0f p99.9 %.0f ms; not marked "
           "by all %u, false failures %u\n",
           w->nodes, b->victims, b->net.loss, (double)last[n / 2] / 1e3,
           (double)last[n * 9 / 10] / 1e3, (double)last[n * 99 / 100] / 1e3,
           (double)last[n * 999 / 1000] / 1e3, (double)last[n - 1] / 1e3,
           (double)t.pairs_us[t.pair_count / 2] / 1e3,
           (double)t.pairs_us[t.pair_count * 99 / 100] / 1e3,
           (double)t.pairs_us[t.pair_count * 999 / 1000] / 1e3, missed, t.false_failures);
    bool late = b->net.loss == 0 && last[n * 99 / 100] > 3 * S_US / 2;
    bool bad = late || missed > 0 || t.false_failures > 0;
    free(last);
    end(w, &t);
    return bad;
}

int bars_quiet(const struct bars *b)
{
    struct tally t;
    struct world *w = begin(b, &t, true);
    world_run(w, 10 * S_US);
    reset_counts(w);
    clock_t cpu = clock();
    uint64_t from = w->net.now_us, events = w->net.events;
    for (uint64_t hour = 1; from + hour * HOUR_US < from + b->duration_us; hour++) {
        world_run(w, from + hour * HOUR_US);
        fprintf(stderr, "%" PRIu64 " h: suspicions %u, failures %u\n", hour, t.suspicions,
                t.failures);
    }
    world_run(w, from + b->duration_us);
    double spent = (double)(clock() - cpu) / CLOCKS_PER_SEC;
    struct sums r = rates(w, w->net.now_us - from);
    printf("quiet: %u nodes, %.1f h, loss %.2f: %.2f packets/s, %.0f B/s each (streams %.0f, to "
           "other zones %.0f, most %.2f packets/s); suspicions %u, failures %u; CPU %.1f us a "
           "second and node in %.2f steps (%.2f us per event)\n",
           w->nodes, (double)b->duration_us / 3.6e9, b->net.loss, r.packets, r.bytes, r.stream,
           r.cross, r.most_packets, t.suspicions, t.failures,
           spent * 1e6 / w->nodes / ((double)b->duration_us / 1e6), r.steps,
           spent * 1e6 / (double)(w->net.events - events));
    bool bad = t.failures > 0 || !world_agrees(w);
    end(w, &t);
    return bad;
}

/* ---- members that do not run, bars 4 and 5 ---- */

/* Prints it and returns whether it broke a promise. */
static bool report_still(const struct bars *b, const struct world *w, const struct tally *t,
                         const char *what)
{
    uint32_t others = t->failures - t->false_failures;
    printf("%s: %u nodes, %.0f s, loss %.2f: failures of healthy members %u, of the others %u, "
           "degraded %u, suspicions %u, of those that do not run and were not degraded %u\n",
           what, w->nodes, (double)b->duration_us / 1e6, b->net.loss, t->false_failures, others,
           t->degraded, t->suspicions, t->sudden);
    return t->false_failures > 0 || others > STILL_FAILED_MAX ||
           (b->net.loss == 0 && t->sudden > 0) || t->degraded == 0 || !world_agrees(w);
}

/* An eighth of all is stopped for ten seconds, then the next eighth. */
int bars_pause(const struct bars *b)
{
    struct tally t;
    struct world *w = begin(b, &t, true);
    uint32_t share = w->nodes / 8;
    world_run(w, 10 * S_US);
    for (uint32_t first = 0; first + share <= w->nodes && w->net.now_us < b->duration_us;
         first += share) {
        for (uint32_t i = first; i < first + share; i++)
            net_stop(&w->net, i);
        world_run(w, w->net.now_us + 10 * S_US);
        for (uint32_t i = first; i < first + share; i++) {
            net_go_on(&w->net, i);
            w->node[i].disturbed_us = w->net.now_us;
        }
        world_run(w, w->net.now_us + S_US / 4);
    }
    world_run(w, w->net.now_us + 30 * S_US);
    bool bad = report_still(b, w, &t, "pause");
    end(w, &t);
    return bad;
}

/* A quarter of all has 5 ms of CPU a second. */
int bars_starve(const struct bars *b)
{
    struct tally t;
    struct world *w = begin(b, &t, true);
    world_run(w, 10 * S_US);
    for (uint32_t i = 0; i < w->nodes; i += 4)
        net_starve(&w->net, i, true);
    world_run(w, w->net.now_us + b->duration_us);
    for (uint32_t i = 0; i < w->nodes; i += 4) {
        net_starve(&w->net, i, false);
        w->node[i].disturbed_us = w->net.now_us;
    }
    world_run(w, w->net.now_us + 60 * S_US);
    bool bad = report_still(b, w, &t, "starve");
    end(w, &t);
    return bad;
}

/* ---- many at once, bars 13, 15 and 16 ---- */

/* Until all views are right; looks as often as that costs little. */
static double until_right(struct world *w, uint64_t limit_us)
{
    uint64_t from = w->net.now_us, step = w->nodes > 500 ? S_US / 4 : S_US / 100;
    while (!world_agrees(w) && w->net.now_us - from < limit_us)
        world_run(w, w->net.now_us + step);
    return (double)(w->net.now_us - from) / 1e6;
}

static bool stays_right(struct world *w)
{
    world_run(w, w->net.now_us + AFTER_US);
    return world_agrees(w);
}

int bars_start(const struct bars *b)
{
    struct tally t;
    struct world *w = begin(b, &t, false);
    for (uint32_t i = 0; i < w->nodes; i++) {
        world_start(w, i, DISK_KEPT);
        world_run(w, w->net.now_us + b->every_us / w->nodes);
    }
    double took = until_right(w, 60 * S_US);
    double whole_s = (double)w->net.now_us / 1e6;
    struct sums r = rates(w, w->net.now_us);
    double limit = w->nodes > 64 ? WHOLE_S : b->net.loss > 0 ? START_LOSSY_S : START_FEW_S;
    bool lasts = stays_right(w);
    printf("start: %u nodes in %.1f s, loss %.2f: all views right %.2f s after the last start; "
           "failures %u; sent %.2f MB in packets and %.2f MB in streams each\n",
           w->nodes, (double)b->every_us / 1e6, b->net.loss, took, t.failures,
           r.bytes * whole_s / 1e6, r.stream * whole_s / 1e6);
    bool bad = t.failures > 0 || took > limit || !lasts;
    end(w, &t);
    return bad;
}

int bars_heal(const struct bars *b)
{
    struct tally t;
    struct world *w = begin(b, &t, true);
    world_run(w, 10 * S_US);
    for (uint32_t i = 0; i < w->nodes; i++)
        w->net.host[i].side = i % 2;
    w->net.cut[0][1] = w->net.cut[1][0] = true;
    world_run(w, w->net.now_us + b->duration_us);
    uint32_t buried = 0;
    for (uint32_t i = 0; i < w->nodes; i++)
        buried += w->node[i].s->live == w->nodes / 2;
    reset_counts(w);
    world_run(w, w->net.now_us + 10 * S_US);
    struct sums apart = rates(w, 10 * S_US);
    reset_counts(w);
    uint32_t before = t.failures;
    w->net.cut[0][1] = w->net.cut[1][0] = false;
    t.healed_us = w->net.now_us;
    double took = until_right(w, 120 * S_US);
    struct sums r = rates(w, w->net.now_us - t.healed_us);
    bool lasts = stays_right(w);
    double contact = ((double)t.contact_us - (double)t.healed_us) / 1e6;
    printf("heal: %u nodes, halves apart for %.0f s (%u saw just their half; %.0f B/s each), loss "
           "%.2f: first contact after %.3f s, whole after %.2f s, failures meanwhile %u; sent %.2f "
           "MB in packets and %.2f MB in streams each\n",
           w->nodes, (double)b->duration_us / 1e6, buried, apart.bytes, b->net.loss, contact, took,
           t.failures - before, r.bytes * took / 1e6, r.stream * took / 1e6);
    bool bad = t.failures > before || !lasts || (w->nodes >= 64 && contact > CONTACT_S) ||
               took > (w->nodes <= FEW ? WHOLE_FEW_S : WHOLE_S);
    end(w, &t);
    return bad;
}

/* All restart inside ten seconds, twice: the first time at once, the second time after half a
 * second, in which others notice. A quarter each finds its data directory as it was, an older one,
 * none, or that the clock went back. */
int bars_restart(const struct bars *b)
{
    struct tally t;
    struct world *w = begin(b, &t, true);
    double took[2];
    bool lasts = true;
    world_run(w, 5 * S_US);
    for (unsigned round = 0; round < 2; round++) {
        uint32_t down = round * w->nodes / 20;
        for (uint32_t i = 0; i < w->nodes + down; i++) {
            if (i < w->nodes)
                world_end(w, i, LIFE_KILLED);
            if (i >= down) {
                world_seeds(w, i - down);
                world_start(w, i - down, (enum disk)((i - down + round) % 4));
            }
            world_run(w, w->net.now_us + 10 * S_US / (w->nodes + down));
        }
        took[round] = until_right(w, 60 * S_US);
        lasts = lasts && took[round] < 60 && stays_right(w);
    }
    printf("restart: %u nodes inside 10 s, twice, loss %.2f: every view right %.2f s and %.2f s "
           "after the last%s\n",
           w->nodes, b->net.loss, took[0], took[1], lasts ? "" : ", but not for long");
    bool bad = took[0] > WHOLE_S || took[1] > WHOLE_S || !lasts;
    end(w, &t);
    return bad;
}

/* ---- one of two networks ---- */

/* How many of the others use an address of a node whose network does not reach it. */
static uint32_t astray(const struct world *w, uint32_t about)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->nodes; i++) {
        const struct swim_member *m = swim_find(w->node[i].s, w->node[about].num);
        uint8_t way = m->m.addrs->at[m->m.using].family == 6;
        n += i != about && (w->node[about].dark >> way & 1) != 0;
    }
    return n;
}

/* Hosts lose the network of one of their two addresses for ten seconds, one after the other, then
 * that of the other. */
int bars_dark(const struct bars *b)
{
    struct bars two = *b;
    struct tally t;
    uint64_t *took = grab(b->victims, sizeof *took);
    two.addresses = 2;
    struct world *w = begin(&two, &t, true);
    uint32_t wrong = 0;
    world_run(w, 10 * S_US);
    for (uint32_t v = 0; v < b->victims; v++) {
        uint32_t victim = (uint32_t)prng_below(&w->prng, w->nodes);
        uint64_t from = w->net.now_us;
        const struct gossip_member *m = &swim_self(w->node[victim].s)->m;
        w->node[victim].dark = m->addrs->at[0].family == 6 ? 2 : 1; /* which all use */
        while (astray(w, victim) > 0 && w->net.now_us - from < 10 * S_US)
            world_run(w, w->net.now_us + S_US / 20);
        took[v] = w->net.now_us - from;
        world_run(w, from + 10 * S_US);
        w->node[victim].dark = 0;
        world_run(w, w->net.now_us + b->every_us);
        wrong += world_wrong(w);
    }
    qsort(took, b->victims, sizeof *took, by_value);
    printf("dark: %u nodes of two addresses, %u lose the network of one, loss %.2f: all others use "
           "the other after p50 %.2f s, max %.2f s; suspicions %u, failures %u, wrong views %u\n",
           w->nodes, b->victims, b->net.loss, (double)took[b->victims / 2] / 1e6,
           (double)took[b->victims - 1] / 1e6, t.suspicions, t.failures, wrong);
    bool bad = t.failures > 0 || wrong > 0 || took[b->victims - 1] > 5 * S_US ||
               (b->net.loss == 0 && t.suspicions > 0);
    free(took);
    end(w, &t);
    return bad;
}
