/* SPDX-License-Identifier: Apache-2.0
 * The machine below a process: its clocks, its randomness, its key. These definitions take the
 * place of the C library's and the agent's at link time. */
#include <sodium.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "agent/ownkey.h"
#include "tests/sim/agents.h"

#define WALL_START_MS 1760000000000LL /* in October 2025 */

uint64_t node_mono_us(const struct node *n)
{
    return n->mono_us + (uint64_t)((double)(world.now_us - n->since_us) * n->rate);
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
    const struct node *n = world.current;
    uint64_t us = n == NULL ? world.now_us : node_mono_us(n);
    if (clock == CLOCK_REALTIME)
        us = world.now_us + (uint64_t)(WALL_START_MS + (n == NULL ? 0 : n->wall_skew_ms)) * 1000;
    ret->tv_sec = (time_t)(us / 1000000);
    ret->tv_nsec = (long)(us % 1000000 * 1000);
    return 0;
}

int64_t host_unix_ms(void)
{
    return WALL_START_MS + (int64_t)(world.now_us / 1000);
}

static void fill(void *out, size_t len)
{
    uint8_t *at = out;
    struct prng *p = world.current == NULL ? &world.rng : &world.current->prng;
    for (size_t done = 0; done < len; done += 8) {
        uint64_t bits = prng_next(p);
        memcpy(at + done, &bits, len - done < 8 ? len - done : 8);
    }
}

ssize_t getrandom(void *out, size_t len, unsigned flags)
{
    (void)flags;
    fill(out, len);
    return (ssize_t)len;
}

/* agent/ownkey.h: a file in the data directory. */
int ownkey_read(uint8_t ret[OWNKEY_BYTES], const char *dir, const char *id, struct errmsg *e)
{
    (void)dir, (void)id, (void)e;
    memset(ret, (int)world.current->num + 1, OWNKEY_BYTES);
    ret[0] = world.current->keys;
    return 0;
}

static const char *sodium_name(void)
{
    return "simulator";
}

static uint32_t sodium_word(void)
{
    uint32_t word;
    fill(&word, sizeof word);
    return word;
}

void host_init(void)
{
    static struct randombytes_implementation ours = {
        .implementation_name = sodium_name, .random = sodium_word, .buf = fill};
    randombytes_set_implementation(&ours);
}
