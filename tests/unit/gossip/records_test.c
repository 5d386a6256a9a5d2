/* SPDX-License-Identifier: Apache-2.0
 * records_uv on a loop with a network and stores that live in this file: node.h's functions are
 * defined here, so the linker does not take the real node. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/base/buf.h"
#include "agent/base/hash.h"
#include "agent/base/prng.h"
#include "gossip/records.h"

#define NODES_MAX 24
#define ROOM 1300u

struct row {
    char key[32];
    uint64_t hash;
    struct record_version version;
    uint8_t kind;
    uint32_t len;
};

struct world;
struct gossip_node {
    struct world *world;
    struct gossip_member member;
    struct gossip_meta meta;
    char id[AGENT_ID_MAX];
    gossip_recv_fn fn[CHANNEL_COUNT];
    void *arg[CHANNEL_COUNT];
    struct records *records;
    struct row *rows; /* by key hash */
    size_t row_count, row_cap;
    bool busy; /* the store refuses */
    uint64_t refusals, applied, largest;
    bool cut, absent;
    uint64_t told; /* a sum of its rows, for pings */
};

struct message {
    struct message *next;
    struct gossip_node *to;
    uint64_t from;
    enum gossip_channel channel;
    size_t len;
    uint8_t data[];
};

struct commit {
    struct commit *next;
    struct gossip_node *node;
    size_t count;
    struct record *records;
    uint8_t *bytes;
    bool from_peers;
};

struct world {
    uv_loop_t loop;
    struct gossip_node nodes[NODES_MAX];
    size_t count;
    struct message *messages, **messages_end;
    struct commit *commits, **commits_end;
    uv_timer_t tick;
    struct prng prng;
    double loss;
    bool send_busy;
    uint64_t sent_bytes, closed;
    bool (*until)(struct world *w);
    uint64_t give_up_ms;
};

/* ---- node.h, as this file has it ---------------------------------------------------- */

uint64_t gossip_self(const struct gossip_node *g)
{
    return g->member.num;
}

size_t gossip_count(const struct gossip_node *g)
{
    return g->world->count;
}

const struct gossip_member *gossip_at(const struct gossip_node *g, size_t i)
{
    return &g->world->nodes[i].member;
}

const struct gossip_member *gossip_find(const struct gossip_node *g, uint64_t num)
{
    for (size_t i = 0; i < g->world->count; i++)
        if (g->world->nodes[i].member.num == num)
            return &g->world->nodes[i].member;
    return NULL;
}

size_t gossip_room(struct gossip_node *g, uint64_t to)
{
    (void)g;
    (void)to;
    return ROOM;
}

int gossip_send_again(struct gossip_node *g, enum gossip_channel channel, uint64_t to,
                      const void *data, size_t len)
{
    return gossip_send(g, channel, to, data, len);
}

void gossip_on(struct gossip_node *g, enum gossip_channel channel, gossip_recv_fn fn, void *arg)
{
    g->fn[channel] = fn;
    g->arg[channel] = arg;
}

/* No pings here. */
void gossip_on_rows(struct gossip_node *g, gossip_rows_fn fn, void *arg)
{
    (void)g, (void)fn, (void)arg;
}

void gossip_rows(struct gossip_node *g, uint64_t rows)
{
    g->told = rows;
}

int gossip_send(struct gossip_node *g, enum gossip_channel channel, uint64_t to, const void *data,
                size_t len)
{
    struct world *w = g->world;
    cr_assert(len > 0 && len <= GOSSIP_MESSAGE_MAX);
    if (w->send_busy && len > ROOM)
        return ERR_BUSY;
    for (size_t i = 0; i < w->count; i++) {
        struct gossip_node *n = &w->nodes[i];
        if (n->member.num != to)
            continue;
        w->sent_bytes += len;
        if (g->cut || n->cut || n->absent || (len <= ROOM && prng_unit(&w->prng) < w->loss))
            return 0;
        struct message *m = malloc(sizeof *m + len);
        *m = (struct message){.to = n, .from = g->member.num, .channel = channel, .len = len};
        memcpy(m->data, data, len);
        *w->messages_end = m;
        w->messages_end = &m->next;
        return 0;
    }
    return ERR_NOTFOUND;
}

int gossip_send_stream(struct gossip_node *g, enum gossip_channel channel, uint64_t to,
                       const void *data, size_t len)
{
    return gossip_send(g, channel, to, data, len);
}

/* ---- a store ----------------------------------------------------------------------- */

static size_t find_row(const struct gossip_node *n, uint64_t hash)
{
    size_t low = 0;
    size_t high = n->row_count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (n->rows[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static struct records_change store_one(struct gossip_node *n, const struct record *rec)
{
    uint64_t hash = record_key_hash(rec->kind, rec->key, rec->key_len);
    struct records_change c = {.record = rec, .key_hash = hash};
    size_t at = find_row(n, hash);
    c.existed = at < n->row_count && n->rows[at].hash == hash;
    if (c.existed) {
        c.before = n->rows[at].version;
        if (!record_is_newer(rec->version, c.before))
            return c;
    } else {
        if (n->row_count == n->row_cap) {
            n->row_cap = n->row_cap == 0 ? 1024 : n->row_cap * 2;
            n->rows = realloc(n->rows, n->row_cap * sizeof *n->rows);
        }
        memmove(n->rows + at + 1, n->rows + at, (n->row_count - at) * sizeof *n->rows);
        n->row_count++;
    }
    struct row *row = &n->rows[at];
    *row = (struct row){.hash = hash, .version = rec->version, .kind = rec->kind};
    memcpy(row->key, rec->key, rec->key_len);
    row->len = rec->value_len;
    c.applied = true;
    n->applied++;
    if (rec->value_len > n->largest)
        n->largest = rec->value_len;
    return c;
}

static void commit_later(struct gossip_node *n, const struct record *records, size_t count,
                         bool from_peers)
{
    struct world *w = n->world;
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += records[i].key_len + records[i].value_len;
    struct commit *c = calloc(1, sizeof *c);
    c->node = n;
    c->count = count;
    c->records = malloc(count * sizeof *records);
    c->bytes = malloc(size + 1);
    c->from_peers = from_peers;
    uint8_t *at = c->bytes;
    for (size_t i = 0; i < count; i++) {
        struct record rec = records[i];
        memcpy(at, rec.key, rec.key_len);
        rec.key = (const char *)at;
        at += rec.key_len;
        memcpy(at, rec.value, rec.value_len);
        rec.value = at;
        at += rec.value_len;
        c->records[i] = rec;
    }
    *w->commits_end = c;
    w->commits_end = &c->next;
}

static int apply(void *arg, const struct record *records, size_t count)
{
    struct gossip_node *n = arg;
    if (n->busy) {
        n->refusals++;
        return ERR_BUSY;
    }
    commit_later(n, records, count, true);
    return 0;
}

static int fingerprints(void *arg, uint64_t first, uint64_t last,
                        int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                        void *fn_arg)
{
    const struct gossip_node *n = arg;
    for (size_t i = find_row(n, first); i < n->row_count && n->rows[i].hash <= last; i++) {
        if (n->rows[i].kind == RECORD_TEST)
            continue;
        if (fn(fn_arg, n->rows[i].hash, n->rows[i].version) != 0)
            break;
    }
    return 0;
}

static uint8_t filler[RECORD_VALUE_MAX];

static struct record as_record(const struct row *row)
{
    return (struct record){.kind = row->kind,
                           .source = SOURCE_EVENT,
                           .key = row->key,
                           .key_len = (uint16_t)strlen(row->key),
                           .version = row->version,
                           .value = filler,
                           .value_len = row->len};
}

static int get(void *arg, uint64_t hash, void (*fn)(void *fn_arg, const struct record *rec),
               void *fn_arg)
{
    const struct gossip_node *n = arg;
    size_t at = find_row(n, hash);
    if (at == n->row_count || n->rows[at].hash != hash)
        return ERR_NOTFOUND;
    struct record rec = as_record(&n->rows[at]);
    fn(fn_arg, &rec);
    return 0;
}

/* ---- the world ----------------------------------------------------------------------- */

static void deliver(struct world *w)
{
    struct message *m = w->messages;
    w->messages = NULL;
    w->messages_end = &w->messages;
    while (m != NULL) {
        struct message *next = m->next;
        if (m->to->fn[m->channel] != NULL && !m->to->absent)
            m->to->fn[m->channel](m->to->arg[m->channel], m->from, m->data, m->len);
        free(m);
        m = next;
    }
    struct commit *c = w->commits;
    w->commits = NULL;
    w->commits_end = &w->commits;
    while (c != NULL) {
        struct commit *next = c->next;
        struct records_change *changes = calloc(c->count, sizeof *changes);
        for (size_t i = 0; i < c->count; i++)
            changes[i] = store_one(c->node, &c->records[i]);
        records_stored(c->node->records, changes, c->count, c->from_peers);
        free(changes);
        free(c->records);
        free(c->bytes);
        free(c);
        c = next;
    }
}

static void on_tick(uv_timer_t *t)
{
    struct world *w = t->data;
    deliver(w);
    if (w->until(w) || uv_now(&w->loop) > w->give_up_ms)
        uv_stop(&w->loop);
}

static void add_node(struct world *w, bool announce)
{
    struct gossip_node *n = &w->nodes[w->count++];
    *n = (struct gossip_node){.world = w, .member = {.state = MEMBER_ALIVE}};
    snprintf(n->id, sizeof n->id, "node-%zu", w->count);
    n->member.id = n->id;
    n->member.meta = &n->meta;
    n->member.num = hash_str(n->id);
    struct records_options o = {.loop = &w->loop,
                                .gossip = n,
                                .seed = w->count,
                                .arg = n,
                                .apply = apply,
                                .fingerprints = fingerprints,
                                .get = get};
    cr_assert_eq(records_create(&n->records, &o), 0);
    for (size_t i = 0; announce && i + 1 < w->count; i++)
        records_member(w->nodes[i].records, &n->member);
}

static struct world *make_world(size_t count)
{
    struct world *w = calloc(1, sizeof *w);
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->tick);
    w->tick.data = w;
    w->messages_end = &w->messages;
    w->commits_end = &w->commits;
    prng_seed(&w->prng, 42);
    for (size_t i = 0; i < count; i++)
        add_node(w, true);
    return w;
}

/* Runs until the condition holds; the limit only ends a hanging test. */
static bool run_until(struct world *w, bool (*until)(struct world *w))
{
    w->until = until;
    uv_update_time(&w->loop);
    w->give_up_ms = uv_now(&w->loop) + 60000;
    uv_timer_start(&w->tick, on_tick, 0, 1);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    uv_timer_stop(&w->tick);
    return until(w);
}

static void on_closed(void *arg)
{
    struct world *w = arg;
    w->closed++;
}

static void end_world(struct world *w)
{
    for (size_t i = 0; i < w->count; i++)
        records_destroy(w->nodes[i].records, on_closed, w);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    cr_assert_eq(w->closed, w->count);
    cr_assert_eq(uv_loop_close(&w->loop), 0);
    while (w->messages != NULL) {
        struct message *next = w->messages->next;
        free(w->messages);
        w->messages = next;
    }
    for (size_t i = 0; i < w->count; i++)
        free(w->nodes[i].rows);
    free(w);
}

static void publish(struct gossip_node *n, uint8_t kind, unsigned key, uint64_t version,
                    uint32_t len)
{
    struct row row = {.kind = kind, .version = {.hi = version}, .len = len};
    snprintf(row.key, sizeof row.key, "key-%u", key);
    struct record rec = as_record(&row);
    commit_later(n, &rec, 1, false);
}

static bool all_same(struct world *w)
{
    struct records_stats first;
    if (w->commits != NULL)
        return false;
    records_stats(w->nodes[0].records, &first);
    for (size_t i = 1; i < w->count; i++) {
        struct records_stats s;
        records_stats(w->nodes[i].records, &s);
        if (s.root != first.root || w->nodes[i].row_count != w->nodes[0].row_count)
            return false;
    }
    return w->nodes[0].row_count > 0;
}

static bool all_in_sync(struct world *w)
{
    for (size_t i = 0; i < w->count; i++) {
        struct records_stats s;
        records_stats(w->nodes[i].records, &s);
        if (s.last_in_sync_mono_ms == 0)
            return false;
    }
    return true;
}

/* ---- tests ------------------------------------------------------------------------------ */

Test(records, a_burst_reaches_all_once)
{
    struct world *w = make_world(NODES_MAX);
    cr_assert(run_until(w, all_in_sync));
    w->sent_bytes = 0;
    for (unsigned i = 0; i < 300; i++)
        publish(&w->nodes[3], RECORD_TASK, i, 1, 250);
    cr_assert(run_until(w, all_same));
    for (size_t i = 0; i < w->count; i++)
        cr_assert_eq(w->nodes[i].row_count, 300);
    struct row row = {.kind = RECORD_TASK, .version = {.hi = 1}, .len = 250, .key = "key-100"};
    struct record rec = as_record(&row);
    double payload = (double)(record_encoded_size(&rec) * 300 * w->count);
    cr_assert_lt((double)w->sent_bytes, 1.3 * payload, "%.2f", (double)w->sent_bytes / payload);
    end_world(w);
}

static bool large_everywhere(struct world *w)
{
    for (size_t i = 0; i < w->count; i++) {
        if (w->nodes[i].row_count < 3)
            return false;
    }
    return true;
}

Test(records, large_records_and_test_records_travel)
{
    struct world *w = make_world(12);
    publish(&w->nodes[0], RECORD_TASK, 1, 1, RECORD_VALUE_MAX);
    publish(&w->nodes[1], RECORD_TEST, 2, 1, 1000);
    publish(&w->nodes[2], RECORD_INSTANCE, 3, 1, 40000);
    cr_assert(run_until(w, large_everywhere));
    for (size_t i = 0; i < w->count; i++)
        cr_assert(i == 0 || w->nodes[i].largest == RECORD_VALUE_MAX);
    cr_assert(all_same(w)); /* test records are in no fingerprint */
    end_world(w);
}

Test(records, loss_is_repaired)
{
    struct world *w = make_world(NODES_MAX);
    w->loss = 0.2;
    for (unsigned i = 0; i < 50; i++)
        publish(&w->nodes[i % w->count], RECORD_TASK, i, 1, 300);
    cr_assert(run_until(w, all_same));
    cr_assert_eq(w->nodes[7].row_count, 50);
    uint64_t repaired = 0;
    for (size_t i = 0; i < w->count; i++) {
        struct records_stats s;
        records_stats(w->nodes[i].records, &s);
        repaired += s.repaired + s.sync_rows;
    }
    cr_assert_gt(repaired, 0);
    end_world(w);
}

Test(records, a_newcomer_pulls_all_while_its_store_falters)
{
    struct world *w = make_world(3);
    for (unsigned i = 0; i < 20000; i++)
        publish(&w->nodes[0], RECORD_TASK, i, 1, 200);
    cr_assert(run_until(w, all_same));
    add_node(w, true);
    w->nodes[3].busy = true;
    struct world *sw = w;
    (void)sw;
    for (unsigned i = 0; i < 20000 && w->nodes[3].refusals < 5; i++) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        deliver(w);
        uv_sleep(1);
    }
    cr_assert_gt(w->nodes[3].refusals, 0);
    cr_assert_eq(w->nodes[3].row_count, 0);
    w->nodes[3].busy = false;
    cr_assert(run_until(w, all_same));
    cr_assert_eq(w->nodes[3].row_count, 20000);
    cr_assert_eq(w->nodes[3].applied, 20000);
    end_world(w);
}

static bool one_has_it(struct world *w)
{
    struct records_stats s;
    records_stats(w->nodes[0].records, &s);
    return w->nodes[1].row_count == 1;
}

Test(records, refused_by_the_store_counts_as_never_seen)
{
    struct world *w = make_world(2);
    w->nodes[1].busy = true;
    publish(&w->nodes[0], RECORD_TASK, 1, 1, 100);
    for (unsigned i = 0; i < 20000 && w->nodes[1].refusals == 0; i++) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        deliver(w);
        uv_sleep(1);
    }
    cr_assert_gt(w->nodes[1].refusals, 0);
    w->nodes[1].busy = false;
    cr_assert(run_until(w, one_has_it));
    end_world(w);
}

Test(records, overload_keeps_the_newest_of_each_key)
{
    struct world *w = make_world(4);
    cr_assert(run_until(w, all_in_sync));
    for (uint64_t version = 1; version <= 30; version++) {
        for (unsigned key = 0; key < 50; key++)
            publish(&w->nodes[0], RECORD_TASK, key, version, 900);
    }
    w->send_busy = true; /* streams stand still: everything piles up at the sender */
    deliver(w);
    for (unsigned i = 0; i < 50; i++)
        uv_run(&w->loop, UV_RUN_NOWAIT);
    struct records_stats s;
    records_stats(w->nodes[0].records, &s);
    cr_assert_leq(s.queue_depth, 50 * 3);
    cr_assert_gt(s.coalesced, 1000);
    w->send_busy = false;
    cr_assert(run_until(w, all_same));
    for (size_t i = 0; i < w->nodes[2].row_count; i++)
        cr_assert_eq(w->nodes[2].rows[i].version.hi, 30);
    end_world(w);
}

Test(records, members_come_and_go)
{
    struct world *w = make_world(10);
    cr_assert(run_until(w, all_in_sync));
    w->nodes[4].cut = true;
    for (size_t i = 0; i < w->count; i++) {
        struct gossip_member gone = w->nodes[4].member;
        gone.state = MEMBER_FAILED;
        if (i != 4)
            records_member(w->nodes[i].records, &gone);
    }
    for (unsigned i = 0; i < 40; i++)
        publish(&w->nodes[1], RECORD_TASK, i, 1, 100);
    deliver(w);
    w->nodes[4].cut = false;
    for (size_t i = 0; i < w->count; i++) {
        if (i != 4)
            records_member(w->nodes[i].records, &w->nodes[4].member);
    }
    cr_assert(run_until(w, all_same));
    cr_assert_eq(w->nodes[4].row_count, 40);
    end_world(w);
}

Test(records, purged_rows_leave_the_fingerprints)
{
    struct world *w = make_world(2);
    publish(&w->nodes[0], RECORD_TASK, 1, 7, 100);
    cr_assert(run_until(w, all_same));
    for (size_t i = 0; i < 2; i++) {
        struct gossip_node *n = &w->nodes[i];
        cr_assert_neq(n->told, 0);
        records_purged(n->records, n->rows[0].hash, n->rows[0].version);
        n->row_count = 0;
        struct records_stats s;
        records_stats(n->records, &s);
        cr_assert_eq(s.root, 0);
        cr_assert_eq(n->told, 0);
    }
    end_world(w);
}
