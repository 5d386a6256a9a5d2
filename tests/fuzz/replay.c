/* SPDX-License-Identifier: Apache-2.0
 * The fuzzers' targets without a fuzzer, for every build: each takes its seeds and so many changed
 * copies of them. fuzz_replay tests/fuzz/corpus [TARGET] */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/log.h"
#include "agent/base/prng.h"

#define COPIES 200u
#define SIZE_MAX_SEED 65536u

/* targets.def: one line TARGET(name) each, made by the build. */
#define TARGET(name) int fuzz_##name(const uint8_t *data, size_t size);
#include "targets.def"
#undef TARGET

static const struct {
    const char *name;
    int (*run)(const uint8_t *data, size_t size);
} targets[] = {
#define TARGET(name) {#name, fuzz_##name},
#include "targets.def"
#undef TARGET
};

/* In a block of its own length, so that the sanitizer sees what reads past it. */
static void run(size_t target, const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size);
    ENSURE(exact != NULL || size == 0);
    if (size > 0)
        memcpy(exact, data, size);
    targets[target].run(exact, size);
    free(exact);
}

static void change(struct prng *rng, uint8_t *data, size_t *size)
{
    for (unsigned n = 1 + (unsigned)prng_below(rng, 4); n > 0 && *size > 0; n--) {
        size_t at = prng_below(rng, *size);
        switch (prng_below(rng, 5)) {
        case 0:
            *size = at;
            break;
        case 1:
            data[at] = (uint8_t)prng_below(rng, 2) == 0 ? 0 : 0xff;
            break;
        case 2: /* a piece of it again, elsewhere */
            memmove(data + at, data + prng_below(rng, at + 1), *size - at);
            break;
        default:
            data[at] ^= (uint8_t)(1u << prng_below(rng, 8));
            break;
        }
    }
}

static unsigned replay(size_t target, const char *corpus)
{
    static uint8_t seed[SIZE_MAX_SEED], copy[SIZE_MAX_SEED];
    char path[512];
    unsigned seeds = 0;
    struct prng rng;
    prng_seed(&rng, target + 1);
    run(target, seed, 0);
    snprintf(path, sizeof path, "%s/%s", corpus, targets[target].name);
    DIR *d = opendir(path);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", corpus, targets[target].name, e->d_name);
        FILE *f = fopen(path, "rb");
        ENSURE(f != NULL);
        size_t size = fread(seed, 1, sizeof seed, f);
        fclose(f);
        seeds++;
        run(target, seed, size);
        for (unsigned i = 0; i < COPIES; i++) {
            size_t left = size;
            memcpy(copy, seed, size);
            change(&rng, copy, &left);
            run(target, copy, left);
        }
    }
    if (d != NULL)
        closedir(d);
    return seeds;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: fuzz_replay CORPUS [TARGET]\n");
        return 2;
    }
    unsigned seeds = 0, count = 0;
    log_configure(LOG_OFF, LOG_TEXT);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        if (argc > 2 && strcmp(argv[2], targets[i].name) != 0)
            continue;
        printf("%s\n", targets[i].name); /* the last line names the one that failed */
        fflush(stdout);
        seeds += replay(i, argv[1]);
        count++;
    }
    printf("%u targets took %u seeds and %u changed copies of each\n", count, seeds, COPIES);
    return count > 0 && seeds > 0 ? 0 : 1;
}
