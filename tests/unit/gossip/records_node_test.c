/* SPDX-License-Identifier: Apache-2.0
 * records_uv on real gossip nodes over loopback: several agents in one loop. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "gossip/records.h"

#define NODES 8
#define KEYS 6000u

/* Keys are numbers; a store is the version of each. */
struct agent {
    uv_loop_t *loop;
    struct gossip_node *node;
    struct records *records;
    uint64_t version[KEYS];
    uint32_t len[KEYS];
    size_t rows;
};

static struct key {
    char text[16];
    uint64_t hash;
    uint32_t number;
} keys[KEYS];
static uint8_t filler[200000];
static struct agent *agents[NODES];
static size_t agent_count;
static uint32_t wanted_rows;
static size_t closed;

static int by_hash(const void *a, const void *b)
{
    const struct key *x = a;
    const struct key *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

static void make_keys(void)
{
    for (uint32_t i = 0; i < KEYS; i++) {
        snprintf(keys[i].text, sizeof keys[i].text, "key-%u", i);
        keys[i].hash = record_key_hash(RECORD_TASK, keys[i].text, strlen(keys[i].text));
        keys[i].number = i;
    }
    qsort(keys, KEYS, sizeof keys[0], by_hash);
}

static uint32_t find(uint64_t hash)
{
    uint32_t low = 0;
    uint32_t high = KEYS;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (keys[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct record record_at(const struct agent *a, uint32_t k)
{
    return (struct record){.kind = RECORD_TASK,
                           .source = SOURCE_EVENT,
                           .key = keys[k].text,
                           .key_len = (uint16_t)strlen(keys[k].text),
                           .value = filler,
                           .value_len = a->len[k],
                           .version = {.hi = a->version[k]}};
}

static void store(struct agent *a, const struct record *records, size_t count, bool from_peers)
{
    for (size_t i = 0; i < count; i++) {
        const struct record *rec = &records[i];
        struct records_change c = {.record = rec};
        c.key_hash = record_key_hash(rec->kind, rec->key, rec->key_len);
        uint32_t k = find(c.key_hash);
        c.existed = a->version[k] != 0;
        c.before.hi = a->version[k];
        c.applied = rec->version.hi > a->version[k];
        if (c.applied) {
            a->rows += !c.existed;
            a->version[k] = rec->version.hi;
            a->len[k] = rec->value_len;
        }
        records_stored(a->records, &c, 1, from_peers);
    }
}

static int apply(void *arg, const struct record *records, size_t count)
{
    store(arg, records, count, true); /* a store that commits at once */
    return 0;
}

static int fingerprints(void *arg, uint64_t first, uint64_t last,
                        int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                        void *fn_arg)
{
    const struct agent *a = arg;
    for (uint32_t k = find(first); k < KEYS && keys[k].hash <= last; k++) {
        if (a->version[k] != 0 &&
            fn(fn_arg, keys[k].hash, (struct record_version){.hi = a->version[k]}) != 0)
            break;
    }
    return 0;
}

static int get(void *arg, uint64_t hash, void (*fn)(void *fn_arg, const struct record *rec),
               void *fn_arg)
{
    const struct agent *a = arg;
    uint32_t k = find(hash);
    if (k == KEYS || keys[k].hash != hash || a->version[k] == 0)
        return ERR_NOTFOUND;
    struct record rec = record_at(a, k);
    fn(fn_arg, &rec);
    return 0;
}

static void on_member(void *arg, const struct gossip_member *m, enum gossip_state before,
                      const char *why)
{
    struct agent *a = arg;
    (void)before;
    (void)why;
    if (a->records != NULL)
        records_member(a->records, m);
}

static void add_agent(uv_loop_t *loop)
{
    static const uint8_t key[1][32] = {{7}};
    char id[16];
    snprintf(id, sizeof id, "agent-%zu", agent_count);
    struct agent *a = calloc(1, sizeof *a);
    a->loop = loop;
    struct gossip_options go = {.loop = loop,
                                .id = id,
                                .cluster = "test",
                                .bind = "127.0.0.1:0",
                                .keys = key,
                                .key_count = 1,
                                .incarnation = 1,
                                .seed = agent_count + 1,
                                .arg = a,
                                .on_member = on_member};
    struct errmsg e = {{0}};
    cr_assert_eq(gossip_create(&a->node, &go, &e), 0, "%s", e.text);
    struct records_options ro = {.loop = loop,
                                 .gossip = a->node,
                                 .seed = agent_count + 1,
                                 .arg = a,
                                 .apply = apply,
                                 .fingerprints = fingerprints,
                                 .get = get};
    cr_assert_eq(records_create(&a->records, &ro), 0);
    if (agent_count > 0) {
        char address[32];
        snprintf(address, sizeof address, "127.0.0.1:%u", gossip_port(agents[0]->node));
        const char *seeds[] = {address};
        cr_assert_eq(gossip_join(a->node, seeds, 1), 0);
    }
    agents[agent_count++] = a;
}

static bool all_members(void)
{
    for (size_t i = 0; i < agent_count; i++) {
        if (gossip_alive_count(agents[i]->node) != agent_count)
            return false;
    }
    return true;
}

static bool all_rows(void)
{
    for (size_t i = 0; i < agent_count; i++) {
        if (agents[i]->rows != wanted_rows)
            return false;
    }
    return true;
}

static void on_limit(uv_timer_t *t)
{
    bool *over = t->data;
    *over = true;
}

/* Runs until the condition holds; the limit only ends a hanging test. */
static bool run_until(uv_loop_t *loop, bool (*until)(void))
{
    bool over = false;
    uv_timer_t limit;
    uv_timer_init(loop, &limit);
    limit.data = &over;
    uv_timer_start(&limit, on_limit, 60000, 0);
    while (!until() && !over)
        uv_run(loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&limit, NULL);
    uv_run(loop, UV_RUN_NOWAIT);
    return until();
}

static void publish(struct agent *a, uint32_t first, uint32_t count, uint32_t len)
{
    for (uint32_t k = first; k < first + count; k++) {
        static struct agent shape;
        shape.version[k] = 1;
        shape.len[k] = len;
        struct record rec = record_at(&shape, k);
        store(a, &rec, 1, false);
    }
    wanted_rows += count;
}

static void on_node_closed(void *arg)
{
    free(arg);
    closed++;
}

static void on_records_closed(void *arg)
{
    struct agent *a = arg;
    gossip_destroy(a->node, on_node_closed, a);
}

Test(records_node, agents_share_records_over_loopback)
{
    uv_loop_t loop;
    uv_loop_init(&loop);
    make_keys();
    for (size_t i = 0; i + 1 < NODES; i++)
        add_agent(&loop);
    cr_assert(run_until(&loop, all_members));
    publish(agents[3], 0, 1, 250);
    cr_assert(run_until(&loop, all_rows));
    publish(agents[1], 1, 300, 250); /* a burst: on streams */
    publish(agents[2], 301, 1, sizeof filler);
    cr_assert(run_until(&loop, all_rows));
    publish(agents[0], 302, 5000, 100);
    cr_assert(run_until(&loop, all_rows));
    add_agent(&loop); /* pulls all by sync */
    cr_assert(run_until(&loop, all_rows));
    struct records_stats newcomer;
    records_stats(agents[NODES - 1]->records, &newcomer);
    cr_assert_gt(newcomer.sync_rows, 0); /* the latest may have come by their digests */
    for (size_t i = 0; i < agent_count; i++)
        records_destroy(agents[i]->records, on_records_closed, agents[i]);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(closed, NODES);
    cr_assert_eq(uv_loop_close(&loop), 0);
}
