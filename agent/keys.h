/* SPDX-License-Identifier: Apache-2.0
 * The gossip key file: one key of 32 bytes a line, base64 or hex; # starts a note. The
 * first key seals, all open. */
#ifndef BLOX_AGENT_KEYS_H
#define BLOX_AGENT_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

#define KEYS_MAX 8
#define KEY_BYTES 32

struct keys {
    uint8_t key[KEYS_MAX][KEY_BYTES];
    size_t count;
};

/* Refuses a file that others may read, or that is none. Errors: ERR_CONFIG with a sentence. */
int keys_read(struct keys *ret, const char *path, struct errmsg *e) MUST_CHECK;
/* ERR_MALFORMED; ERR_BADPARAM: all zeros. */
int keys_parse(const char *text, size_t len, uint8_t out[KEY_BYTES]) MUST_CHECK;
/* Replaces the file, or the one that a link names, as a whole, mode 600, durable. Blocks: not for
 * the loop thread. */
int keys_write(const struct keys *k, const char *path, struct errmsg *e) MUST_CHECK;
/* What a file of keys was just renamed to must outlive a power cut. ERR_IO (errno). Blocks. */
int keys_sync_name(const char *path) MUST_CHECK;
void keys_wipe(struct keys *k);

#endif
