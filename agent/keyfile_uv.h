/* SPDX-License-Identifier: Apache-2.0
 * The gossip key file of a running agent: which keys it has, and writing it. A key that is in the
 * ring alone is gone after a restart, so nobody may count on it. Loop thread. */
#ifndef BLOX_AGENT_KEYFILE_UV_H
#define BLOX_AGENT_KEYFILE_UV_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "agent/base/limits.h"
#include "agent/config.h"
#include "agent/keys.h"

#define KEYFILE_ID 17 /* a key's, and its end */

struct keyfile {
    char id[KEYS_MAX][KEYFILE_ID]; /* of the keys that are in it */
    size_t count;
    int err; /* 0: it is as the keys were that it was last given; else */
    struct errmsg why;
    bool writing;
    /* The write under way. */
    uv_work_t work;
    struct keys keys;
    char path[CONFIG_VALUE_MAX];
    int result;
    struct errmsg told;
    void (*done)(void *arg);
    void *arg;
};

void keyfile_init(struct keyfile *f, const struct keys *keys); /* which were read from it */
/* One at a time; done runs once, on the loop, and may be told of it (err). */
void keyfile_write(struct keyfile *f, uv_loop_t *loop, const struct keys *keys, const char *path,
                   void (*done)(void *arg), void *arg);
bool keyfile_has(const struct keyfile *f, const char *id);

#endif
