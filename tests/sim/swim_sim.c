/* SPDX-License-Identifier: Apache-2.0
 * The membership simulator.
 *
 *   swim_sim --seeds 2000 [--first 1] [--seconds 60]   swarm: fails on any violation
 *   swim_sim --seed 7 [--trace | --packets]            one of them, told as a story
 *       ... --addresses 2                              members of two addresses, whose hosts lose
 *                                                      the network of one
 *   swim_sim BAR [--nodes N] [--seed S] ...            a measurement of docs/benchmarks.md */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/swim_bars.h"
#include "tests/sim/swim_swarm.h"

static int swarm(uint64_t first, uint64_t seeds, uint64_t seconds, bool two)
{
    time_t until = time(NULL) + (time_t)seconds;
    uint64_t events = 0, bad = 0, failures = 0, restarts = 0, done = 0;
    for (uint64_t seed = first; seed < first + seeds && time(NULL) < until; seed++, done++) {
        struct swarm_result r, again;
        swarm_run(seed, two, NULL, false, &r);
        events += r.events;
        failures += r.failures;
        restarts += r.restarts;
        if (r.violations > 0 && bad++ < 10)
            printf("seed %" PRIu64 " (%u members): %u violations, the first %s\n", seed, r.nodes,
                   r.violations, r.first);
        if (seed % 50 != 0)
            continue;
        swarm_run(seed, two, NULL, false, &again);
        if (again.hash != r.hash && bad++ < 10)
            printf("seed %" PRIu64 ": not the same run twice\n", seed);
    }
    printf("%" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " events, %" PRIu64 " restarts, %" PRIu64
           " verdicts of failure; %" PRIu64 " seeds with violations\n",
           done, first, events, restarts, failures, bad);
    return bad > 0;
}

static int one(uint64_t seed, bool two, bool trace, bool packets)
{
    struct swarm_result r;
    swarm_run(seed, two, trace || packets ? stdout : NULL, packets, &r);
    printf("seed %" PRIu64 ": %u members, %" PRIu64 " events, hash %016" PRIx64
           ", %u violations%s%s\n",
           seed, r.nodes, r.events, r.hash, r.violations, r.violations > 0 ? ": " : "", r.first);
    return r.violations > 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct bars *b);
    } bars[] = {{"detect", bars_detect},   {"quiet", bars_quiet}, {"pause", bars_pause},
                {"starve", bars_starve},   {"start", bars_start}, {"heal", bars_heal},
                {"restart", bars_restart}, {"dark", bars_dark}};
    struct bars b = {.nodes = 64,
                     .victims = 40,
                     .seed = 1,
                     .addresses = 1,
                     .duration_us = 60000000,
                     .every_us = 2000000,
                     .net = {.latency_us = 500, .cross_us = 500, .jitter_us = 200}};
    uint64_t first = 1, seeds = 0, seconds = 86400;
    bool trace = false, packets = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        double v = strtod(value, NULL);
        const struct {
            const char *name;
            uint64_t *at;
            double times;
        } numbers[] = {{"--first", &first, 1},
                       {"--seeds", &seeds, 1},
                       {"--seconds", &seconds, 1},
                       {"--seed", &b.seed, 1},
                       {"--for", &b.duration_us, 1e6},
                       {"--every", &b.every_us, 1e6},
                       {"--latency-us", &b.net.latency_us, 1},
                       {"--cross-us", &b.net.cross_us, 1},
                       {"--jitter-us", &b.net.jitter_us, 1},
                       {"--cost-us", &b.net.cost_us, 1}};
        for (size_t k = 0; k < sizeof numbers / sizeof numbers[0]; k++)
            if (strcmp(argv[i], numbers[k].name) == 0)
                *numbers[k].at = (uint64_t)(v * numbers[k].times);
        if (strcmp(argv[i], "--nodes") == 0)
            b.nodes = (uint32_t)v;
        if (strcmp(argv[i], "--addresses") == 0)
            b.addresses = (uint8_t)v;
        if (strcmp(argv[i], "--victims") == 0)
            b.victims = (uint32_t)v;
        if (strcmp(argv[i], "--zones") == 0)
            b.net.zones = (uint32_t)v;
        if (strcmp(argv[i], "--loss") == 0)
            b.net.loss = v;
        trace = trace || strcmp(argv[i], "--trace") == 0;
        packets = packets || strcmp(argv[i], "--packets") == 0;
    }
    for (size_t k = 0; argc > 1 && k < sizeof bars / sizeof bars[0]; k++)
        if (strcmp(argv[1], bars[k].name) == 0)
            return bars[k].run(&b);
    bool two = b.addresses > 1;
    return seeds > 0 ? swarm(first, seeds, seconds, two) : one(b.seed, two, trace, packets);
}
