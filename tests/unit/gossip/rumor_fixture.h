/* SPDX-License-Identifier: Apache-2.0
 * One rumor core whose peers and store are given. */
#ifndef BLOX_TESTS_UNIT_RUMOR_FIXTURE_H
#define BLOX_TESTS_UNIT_RUMOR_FIXTURE_H

#include "gossip/rumor.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"

#define ROOM 1300u
#define SELF 100u

/* A node 100 among 1, 2, ... with a store that has nothing unless told. */
struct fixture {
    struct rumor rumor;
    struct peers peers;
    uint64_t nums[5000];
    uint8_t shaky[5000];
    void *memory;
    uint8_t *out;
    uint64_t had_hash; /* have() says yes for this one */
    struct record loadable;
    bool can_load;
    struct rumor_in in;
};

static bool have(void *arg, uint64_t key_hash, struct record_version version)
{
    const struct fixture *f = arg;
    (void)version;
    return key_hash == f->had_hash;
}

static int load(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg)
{
    const struct fixture *f = arg;
    (void)key_hash;
    if (!f->can_load)
        return ERR_NOTFOUND;
    fn(fn_arg, &f->loadable);
    return 0;
}

static struct fixture *make_sized(size_t members, uint32_t recent, uint32_t arena)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct rumor_options o = {.self = SELF,
                              .seed = 1,
                              .recent_max = recent,
                              .pending_max = 256,
                              .node_max = 512,
                              .answer_max = 16,
                              .arena_bytes = arena,
                              .arg = f,
                              .have = have,
                              .load = load};
    for (size_t i = 0; i < members; i++)
        f->nums[i] = SELF + i;
    f->peers = (struct peers){.nums = f->nums, .shaky = f->shaky, .count = members};
    f->memory = malloc(rumor_memory(&o));
    f->out = malloc(RUMOR_MESSAGE_MAX);
    rumor_init(&f->rumor, &o, &f->peers, f->memory, 0);
    return f;
}

static struct fixture *make(size_t members)
{
    return make_sized(members, 64, 65536);
}

static void end(struct fixture *f)
{
    free(f->memory);
    free(f->out);
    free(f);
}

static struct record record_of(const char *key, uint64_t version, uint32_t len)
{
    static uint8_t value[65536];
    return (struct record){.kind = RECORD_TASK,
                           .source = SOURCE_EVENT,
                           .key = key,
                           .key_len = (uint16_t)strlen(key),
                           .version = {.hi = version},
                           .value = value,
                           .value_len = len};
}

static uint64_t hash_of(const struct record *rec)
{
    return record_key_hash(rec->kind, rec->key, rec->key_len);
}

static void store(struct fixture *f, uint64_t now_ms, const char *key, uint64_t version,
                  uint32_t len, enum rumor_from from)
{
    struct record rec = record_of(key, version, len);
    rumor_stored(&f->rumor, now_ms, &rec, hash_of(&rec), from);
}

/* Sends all that is due; returns how many messages of that type there were. */
static unsigned drain(struct fixture *f, uint64_t now_ms, uint8_t type)
{
    unsigned n = 0;
    uint64_t to;
    size_t len;
    while ((len = rumor_poll(&f->rumor, now_ms, ROOM, f->out, RUMOR_MESSAGE_MAX, &to)) > 0) {
        cr_assert_neq(to, SELF);
        n += f->out[0] == type;
        rumor_sent(&f->rumor, now_ms, 0);
    }
    return n;
}

static int receive(struct fixture *f, uint64_t now_ms, uint64_t from, const uint8_t *data,
                   size_t len)
{
    struct rumor_place at = {0};
    int err;
    do {
        err = rumor_recv(&f->rumor, now_ms, from, data, len, &at, &f->in);
    } while (err == 0 && at.pos < len);
    return err;
}

static size_t push_message(uint8_t *out, uint64_t origin, const struct record *rec)
{
    struct wbuf w;
    wbuf_init(&w, out, 65536);
    wbuf_u8(&w, 1);
    wbuf_u8(&w, 0);
    wbuf_u64(&w, origin);
    wbuf_bytes(&w, "\0\0\10\10", 4);
    struct record_run run = {0};
    cr_assert_eq(record_run_put(&run, rec, &w), 0);
    return w.len;
}

static size_t digest_message(uint8_t *out, const struct record *rec)
{
    struct wbuf w;
    wbuf_init(&w, out, 64);
    wbuf_u8(&w, 3);
    wbuf_u64(&w, hash_of(rec));
    wbuf_varint(&w, 2 * rec->version.hi); /* zigzag: differences to nothing before */
    wbuf_varint(&w, 2 * rec->version.lo);
    return w.len;
}

/* So many records that are committed together. */
#endif
