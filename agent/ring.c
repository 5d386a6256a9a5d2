/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ring.h"

#include <string.h>

#include "agent/agent_int.h"

int ring_find(const struct keys *keys, const char *id)
{
    char other[17];
    for (size_t i = 0; i < keys->count; i++) {
        gossip_key_id(keys->key[i], other);
        if (strcmp(id, other) == 0)
            return (int)i;
    }
    return -1;
}

int ring_install(struct agent *a, const uint8_t *key)
{
    int err = gossip_key_add(a->gossip, key);
    if (err == 0)
        memcpy(a->keys.key[a->keys.count++], key, KEY_BYTES);
    return err == ERR_EXISTS ? 0 : err; /* asked again: the file is written again */
}

int ring_use(struct agent *a, const char *id)
{
    uint8_t key[KEY_BYTES];
    int i = ring_find(&a->keys, id);
    int err = i < 0 ? ERR_NOTFOUND : gossip_key_use(a->gossip, id);
    if (err != 0)
        return err;
    memcpy(key, a->keys.key[i], KEY_BYTES);
    memmove(a->keys.key[1], a->keys.key[0], (size_t)i * KEY_BYTES);
    memcpy(a->keys.key[0], key, KEY_BYTES);
    explicit_bzero(key, sizeof key);
    return 0;
}

int ring_remove(struct agent *a, const char *id)
{
    int i = ring_find(&a->keys, id);
    int err = i < 0 ? 0 : gossip_key_remove(a->gossip, id);
    if (i < 0 || err != 0)
        return err;
    a->keys.count--;
    memmove(a->keys.key[i], a->keys.key[i + 1], (a->keys.count - (size_t)i) * KEY_BYTES);
    explicit_bzero(a->keys.key[a->keys.count], KEY_BYTES);
    return 0;
}
