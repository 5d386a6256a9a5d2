/* SPDX-License-Identifier: Apache-2.0
 * Discrete-event simulation of the record cores (rumor and sync) among N nodes: latency, loss,
 * duplication, reordering, partitions, deaths and newcomers. Membership is given: it changes in
 * all views a moment after the fact. Without arguments the bounded suite that CTest runs; else
 * one run as asked:
 *
 *   records_sim --nodes 5000 --records 1 --bytes 250 --loss 0.05 --latency-us 1000 --seed 7
 *
 * which fails if a record did not reach all; with --within-ms MS also if one took longer.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/records_world.h"

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return *x < *y ? -1 : *x > *y;
}

struct result {
    uint64_t undelivered, p50_us, p99_us, last_us, trace;
    double amplification, greatest, sync_bps;
    double crossed; /* bytes between zones, in copies of all values */
};

static bool settled(const struct sim *s)
{
    uint64_t root = s->nodes[0].sync.root;
    for (uint32_t i = 0; i < s->c.nodes; i++) {
        if (!s->nodes[i].dead && s->nodes[i].sync.root != root)
            return false;
    }
    return true;
}

static void measure(struct sim *s, struct result *r)
{
    uint64_t bytes = 0;
    uint64_t sync_bytes = 0, wire = 0, most = 0, cross = 0;
    uint32_t alive = 0;
    struct rumor_stats t = {0};
    for (uint32_t i = 0; i < s->c.nodes; i++) {
        struct node *n = &s->nodes[i];
        alive += !n->dead;
        bytes += n->payload_bytes;
        wire += n->wire_bytes;
        cross += n->cross_bytes;
        most = n->wire_bytes > most ? n->wire_bytes : most;
        sync_bytes += n->sync_bytes;
        t.duplicates += n->rumor.stats.duplicates;
        t.repaired += n->rumor.stats.repaired;
        t.digest_bytes += n->rumor.stats.digest_bytes;
        t.hasty += n->rumor.stats.hasty;
        t.coalesced += n->rumor.stats.coalesced;
        t.overflow += n->rumor.stats.overflow;
        for (uint32_t k = 0; k < s->key_count && !n->dead; k++)
            r->undelivered += n->version[k] != s->nodes[0].version[k];
    }
    size_t n = s->delay_count;
    qsort(s->delays_us, n, sizeof *s->delays_us, by_value);
    r->p50_us = n > 0 ? s->delays_us[n / 2] : 0;
    r->p99_us = n > 0 ? s->delays_us[n * 99 / 100] : 0;
    r->last_us = n > 0 ? s->delays_us[n - 1] : 0;
    r->trace = s->net.hash;
    struct record rec = s->key_count > 0 ? world_record(s, 0, 1) : (struct record){0};
    double payload = (double)record_encoded_size(&rec) * s->c.records * s->c.versions * alive;
    double values = (double)s->c.bytes * s->c.records * s->c.versions;
    r->amplification = payload > 0 ? (double)bytes / payload : 0;
    r->greatest = values > 0 ? (double)most / values : 0;
    r->crossed = values > 0 ? (double)cross / values : 0;
    r->sync_bps = (double)sync_bytes / s->c.nodes / ((double)s->net.now_us / 1e6);
    printf("%-14s nodes %u records %u x%u: p50 %.1f p99 %.1f last %.1f ms, %.3fx payload (digests "
           "%.3f; of values with headers %.3f, greatest %.3f; crossed %.1f), repaired %" PRIu64
           " dup %" PRIu64 " hasty %" PRIu64 " coalesced %" PRIu64 " overflow %" PRIu64
           ", sync %.0f B/s, undelivered %" PRIu64 ", end %.2f s, trace %016" PRIx64 "\n",
           s->c.name, s->c.nodes, s->c.records, s->c.versions, (double)r->p50_us / 1e3,
           (double)r->p99_us / 1e3, (double)r->last_us / 1e3, r->amplification,
           payload > 0 ? (double)t.digest_bytes / payload : 0,
           values > 0 ? (double)wire / alive / values : 0, r->greatest, r->crossed, t.repaired,
           t.duplicates, t.hasty, t.coalesced, t.overflow, r->sync_bps, r->undelivered,
           (double)s->net.now_us / 1e6, r->trace);
    fflush(stdout);
}

/* What a case does not say: one origin's 250 bytes, once. */
static struct config whole(const struct config *c)
{
    struct config w = *c;
    w.bytes = c->bytes == 0 ? 250 : c->bytes;
    w.versions = c->versions == 0 ? 1 : c->versions;
    w.origins = c->origins == 0 ? 1 : c->origins;
    return w;
}

static void run(const struct config *given, struct result *ret)
{
    struct config filled = whole(given), *c = &filled;
    struct sim *s = world_grab(1, sizeof *s);
    *ret = (struct result){0};
    world_init(s, c);
    uint64_t busy_until = 10000 + (uint64_t)c->records * c->versions * c->interval_us;
    if (c->partition_us > busy_until)
        busy_until = c->partition_us;
    if (c->kill > 0)
        busy_until += VIEW_DELAY_US;
    uint64_t check_us = busy_until;
    uint64_t end_us = c->duration_us;
    while (world_next(s, end_us)) {
        if (c->records + c->initial > 0 && s->net.now_us > check_us) {
            check_us = s->net.now_us + 20000;
            if (settled(s) && end_us == c->duration_us)
                end_us = s->net.now_us + 500000; /* what is told afterwards counts too */
        }
    }
    measure(s, ret);
    world_fini(s);
    free(s);
}

/* ---- the suite -------------------------------------------------------------------------- */

struct bound {
    struct config c;
    uint64_t p99_us, last_us;
    double amplification;
    double greatest; /* what one node sent with headers, of the values */
    double crossed;
};

#define S UINT64_C(1000000)

/* One way, and how much that varies. */
#define LAN .latency_us = 100, .jitter_us = 50
#define WAN .latency_us = 500, .jitter_us = 300
#define REGION .latency_us = 1000, .jitter_us = 200
#define ROUGH .latency_us = 1000, .jitter_us = 500

/* It would give each member a line of its own. */
/* clang-format off */
static const struct bound suite[] = {
    {.c = {.name = "one", .nodes = 64, .records = 1, LAN, .duration_us = 20 * S, .seed = 1},
     .p99_us = 20000, .last_us = 50000, .amplification = 1.3},
    {.c = {.name = "burst", .nodes = 64, .records = 200, .bytes = 200, LAN,
           .duration_us = 20 * S, .seed = 2},
     .p99_us = 300000, .last_us = 300000, .amplification = 1.3, .greatest = 1.3},
    {.c = {.name = "flood", .nodes = 64, .records = 1000, LAN, .duration_us = 20 * S, .seed = 2},
     .p99_us = S, .last_us = S, .amplification = 1.3, .greatest = 1.3},
    {.c = {.name = "between", .nodes = 64, .records = 500, LAN, .duration_us = 20 * S,
           .seed = 2},
     .p99_us = S, .last_us = S, .amplification = 1.3, .greatest = 1.3},
    /* 2.5 times the values in two seconds: 5 Mbit/s. */
    {.c = {.name = "sustained", .nodes = 64, .records = 2000, LAN, .interval_us = 1000,
           .duration_us = 20 * S, .seed = 11},
     .p99_us = S, .last_us = 2 * S, .amplification = 1.3, .greatest = 2.5},
    {.c = {.name = "loss", .nodes = 64, .records = 100, WAN, .interval_us = 5000,
           .duration_us = 60 * S, .loss = 0.05, .duplicate = 0.02, .origins = 4, .seed = 3},
     .p99_us = 300000, .last_us = 1000000, .amplification = 1.5},
    {.c = {.name = "thousand", .nodes = 1000, .records = 20, REGION, .interval_us = 20000,
           .duration_us = 30 * S, .origins = 3, .seed = 4},
     .p99_us = 50000, .last_us = 150000, .amplification = 1.3},
    {.c = {.name = "thousand-loss", .nodes = 1000, .records = 20, ROUGH, .interval_us = 20000,
           .duration_us = 60 * S, .loss = 0.05, .duplicate = 0.02, .origins = 3, .seed = 5},
     .p99_us = 400000, .last_us = 2 * S, .amplification = 1.5},
    {.c = {.name = "versions", .nodes = 64, .records = 20, .bytes = 300, .versions = 20, WAN,
           .interval_us = 500, .duration_us = 60 * S, .loss = 0.05, .duplicate = 0.02,
           .seed = 6},
     .p99_us = S, .last_us = 2 * S, .amplification = 1.6},
    {.c = {.name = "deaths", .nodes = 200, .records = 100, WAN, .interval_us = 10000,
           .duration_us = 60 * S, .loss = 0.02, .duplicate = 0.01, .kill = 20, .origins = 2,
           .seed = 7},
     .last_us = 2 * S, .amplification = 1.6},
    {.c = {.name = "parted", .nodes = 100, .records = 200, WAN, .interval_us = 5000,
           .duration_us = 60 * S, .loss = 0.01, .duplicate = 0.01, .partition_us = 5 * S,
           .origins = 2, .seed = 8}},
    {.c = {.name = "newcomer", .nodes = 8, .initial = 20000, WAN, .duration_us = 30 * S,
           .loss = 0.02, .duplicate = 0.01, .newcomer = true, .seed = 9}},
    {.c = {.name = "zones", .nodes = 64, .records = 1, LAN, .duration_us = 20 * S, .seed = 12,
           .zones = 3},
     .p99_us = 20000, .last_us = 50000, .amplification = 1.3, .crossed = 25},
    {.c = {.name = "zones-burst", .nodes = 64, .records = 200, .bytes = 200, LAN,
           .duration_us = 20 * S, .seed = 13, .zones = 3},
     .p99_us = 300000, .last_us = 300000, .amplification = 1.3, .greatest = 1.7, .crossed = 6},
    {.c = {.name = "zones-flood", .nodes = 64, .records = 1000, LAN, .duration_us = 20 * S,
           .seed = 14, .zones = 3},
     .p99_us = S, .last_us = S, .amplification = 1.3, .greatest = 1.7, .crossed = 6},
    {.c = {.name = "zones-loss", .nodes = 1000, .records = 20, ROUGH, .interval_us = 20000,
           .duration_us = 60 * S, .loss = 0.05, .duplicate = 0.02, .origins = 3, .seed = 15,
           .zones = 6},
     .p99_us = 400000, .last_us = 2 * S, .amplification = 1.5},
    {.c = {.name = "idle", .nodes = 64, WAN, .duration_us = 120 * S, .seed = 10}},
};
/* clang-format on */

static int run_suite(uint64_t seed)
{
    int failures = 0;
    for (size_t i = 0; i < sizeof suite / sizeof suite[0]; i++) {
        const struct bound *b = &suite[i];
        struct config c = b->c;
        c.seed += seed;
        struct result r;
        struct result again;
        run(&c, &r);
        bool bad = r.undelivered > 0 || (b->p99_us > 0 && r.p99_us > b->p99_us) ||
                   (b->last_us > 0 && r.last_us > b->last_us) ||
                   (b->amplification > 0 && r.amplification > b->amplification) ||
                   (b->greatest > 0 && r.greatest > b->greatest) ||
                   (b->crossed > 0 && r.crossed > b->crossed) ||
                   (strcmp(c.name, "idle") == 0 && r.sync_bps > 50);
        if (i < 3) {
            run(&c, &again);
            bad = bad || again.trace != r.trace;
        }
        if (bad) {
            printf("FAILED: %s with seed %" PRIu64 "\n", c.name, seed);
            failures++;
        }
    }
    return failures == 0 ? 0 : 1;
}

static void set(struct config *c, const char *name, const char *value)
{
    uint64_t n = strtoull(value, NULL, 10);
    const struct {
        const char *name;
        uint32_t *at;
    } small[] = {{"--nodes", &c->nodes},       {"--records", &c->records}, {"--bytes", &c->bytes},
                 {"--versions", &c->versions}, {"--initial", &c->initial}, {"--kill", &c->kill},
                 {"--origins", &c->origins},   {"--zones", &c->zones}};
    const struct {
        const char *name;
        uint64_t *at;
    } large[] = {{"--latency-us", &c->latency_us},   {"--jitter-us", &c->jitter_us},
                 {"--interval-us", &c->interval_us}, {"--duration-us", &c->duration_us},
                 {"--heal-us", &c->partition_us},    {"--seed", &c->seed}};
    for (size_t i = 0; i < sizeof small / sizeof small[0]; i++) {
        if (strcmp(name, small[i].name) == 0)
            *small[i].at = (uint32_t)n;
    }
    for (size_t i = 0; i < sizeof large / sizeof large[0]; i++) {
        if (strcmp(name, large[i].name) == 0)
            *large[i].at = n;
    }
    if (strcmp(name, "--loss") == 0)
        c->loss = strtod(value, NULL);
    if (strcmp(name, "--duplicate") == 0)
        c->duplicate = strtod(value, NULL);
    if (strcmp(name, "--newcomer") == 0)
        c->newcomer = n != 0;
}

int main(int argc, char **argv)
{
    if (argc <= 2)
        return run_suite(argc == 2 ? strtoull(argv[1], NULL, 10) : 0);
    struct config c = {.name = "run",
                       .nodes = 64,
                       .records = 1,
                       .bytes = 250,
                       .versions = 1,
                       .latency_us = 1000,
                       .jitter_us = 200,
                       .duration_us = 60 * S,
                       .origins = 1,
                       .seed = 1};
    uint64_t within_ms = 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        set(&c, argv[i], argv[i + 1]);
        if (strcmp(argv[i], "--within-ms") == 0)
            within_ms = strtoull(argv[i + 1], NULL, 10);
    }
    struct result r;
    run(&c, &r);
    return r.undelivered == 0 && (within_ms == 0 || r.last_us <= within_ms * 1000) ? 0 : 1;
}
