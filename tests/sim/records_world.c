/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/records_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/buf.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"

#define ROOM 1300u
#define WIRE_OVERHEAD 58u /* of a datagram: IPv4, UDP, brief seal, channel */
#define APPLY_US 300u     /* commit of a group of rows */
#define COMMIT_ROWS 64u   /* of one transaction, as store/store_int.h */
#define COMMIT_US 1000u   /* from one of them to the next */
#define HEADERS 92u       /* seal, UDP and IPv4 */
#define SEND_US 3u        /* sealing and the system call */
#define UPLINK 1000u      /* bits in a microsecond: 1 Gbit/s */

static struct sim *the; /* one at a time */

enum event_type { EVENT_MESSAGE, EVENT_APPLY, EVENT_WAKE, EVENT_PUBLISH, EVENT_VIEW, EVENT_HEAL };

static void schedule(struct sim *s, uint64_t at_us, enum event_type type, uint32_t node,
                     uint64_t what)
{
    net_at(&s->net,
           &(struct net_event){.at_us = at_us, .node = node, .type = (uint8_t)type, .a = what},
           NULL);
}

/* ---- the model of a store ---------------------------------------------------------- */

static uint32_t key_lower_bound(const struct sim *s, uint64_t hash)
{
    uint32_t low = 0;
    uint32_t high = s->key_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (s->keys[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct record world_record(const struct sim *s, uint32_t key, uint32_t version)
{
    return (struct record){.kind = RECORD_TASK,
                           .source = SOURCE_EVENT,
                           .key = s->keys[key].text,
                           .key_len = (uint16_t)strlen(s->keys[key].text),
                           .value = s->value,
                           .value_len = s->c.bytes,
                           .version = {.hi = version}};
}

static bool have(void *arg, uint64_t key_hash, struct record_version version)
{
    const struct node *n = arg;
    uint32_t k = key_lower_bound(the, key_hash);
    return k < the->key_count && the->keys[k].hash == key_hash && n->version[k] >= version.hi;
}

static int load(void *arg, uint64_t key_hash, void (*fn)(void *fn_arg, const struct record *rec),
                void *fn_arg)
{
    const struct node *n = arg;
    uint32_t k = key_lower_bound(the, key_hash);
    if (k >= the->key_count || the->keys[k].hash != key_hash || n->version[k] == 0)
        return ERR_NOTFOUND;
    struct record rec = world_record(the, k, n->version[k]);
    fn(fn_arg, &rec);
    return 0;
}

static int scan(void *arg, uint64_t first, uint64_t last,
                int (*fn)(void *fn_arg, uint64_t key_hash, struct record_version version),
                void *fn_arg)
{
    const struct node *n = arg;
    for (uint32_t k = key_lower_bound(the, first); k < the->key_count; k++) {
        if (the->keys[k].hash > last)
            break;
        struct record_version version = {.hi = n->version[k]};
        if (n->version[k] != 0 && fn(fn_arg, the->keys[k].hash, version) != 0)
            break;
    }
    return 0;
}

static void stored(struct sim *s, struct node *n, uint32_t key, uint32_t version, bool local)
{
    struct record rec = world_record(s, key, version);
    uint64_t hash = s->keys[key].hash;
    if (n->version[key] >= version) {
        rumor_unchanged(&n->rumor, hash, rec.version);
        return;
    }
    struct record_version old = {.hi = n->version[key]};
    sync_changed(&n->sync, hash, n->version[key] != 0, old, rec.version);
    sync_touched(&n->sync, s->net.now_us / 1000);
    n->version[key] = version;
    enum rumor_from from = sync_is_bulk(&n->sync) ? RUMOR_BULK : RUMOR_PEER;
    rumor_stored(&n->rumor, s->net.now_us / 1000, &rec, hash, local ? RUMOR_LOCAL : from);
    if (!local && version == s->c.versions && s->published_us[key] != FAR_US)
        s->delays_us[s->delay_count++] = s->net.now_us - s->published_us[key];
}

/* ---- the network ------------------------------------------------------------------- */

static uint32_t node_of(const struct sim *s, uint64_t num)
{
    return (uint32_t)(num - 1) % s->c.nodes;
}

static void transmit(struct sim *s, uint32_t from, uint32_t to, uint8_t channel,
                     const uint8_t *data, size_t len)
{
    struct node *n = &s->nodes[from];
    if (channel == TO_RUMOR) {
        n->payload_bytes += len;
        n->wire_bytes += len + WIRE_OVERHEAD * (1 + len / ROOM);
        if (s->net.host[from].zone != s->net.host[to].zone)
            n->cross_bytes += len + WIRE_OVERHEAD * (1 + len / ROOM);
    } else {
        n->sync_bytes += len + HEADERS;
    }
    struct net_event ev = {
        .type = EVENT_MESSAGE, .from = from, .node = to, .len = (uint32_t)len, .a = channel};
    net_send(&s->net, &ev, data, HEADERS, len > ROOM);
}

static void arm(struct sim *s, uint32_t index)
{
    struct node *n = &s->nodes[index];
    uint64_t now_ms = s->net.now_us / 1000;
    uint64_t due = rumor_deadline(&n->rumor, now_ms);
    uint64_t sync_due = sync_deadline(&n->sync, now_ms);
    due = due < sync_due ? due : sync_due;
    if (due == UINT64_MAX)
        return;
    uint64_t at = due * 1000 > s->net.now_us ? due * 1000 : s->net.now_us + 100;
    if (n->wake_us > s->net.now_us && n->wake_us <= at)
        return;
    n->wake_us = at;
    schedule(s, at, EVENT_WAKE, index, 0);
}

static void send_all(struct sim *s, uint32_t index)
{
    struct node *n = &s->nodes[index];
    uint64_t now_ms = s->net.now_us / 1000;
    uint64_t to;
    size_t len;
    while ((len = rumor_poll(&n->rumor, now_ms, ROOM, s->out, SYNC_MESSAGE_MAX, &to)) > 0) {
        transmit(s, index, node_of(s, to), TO_RUMOR, s->out, len);
        rumor_sent(&n->rumor, now_ms, 0);
    }
    while ((len = sync_poll(&n->sync, now_ms, s->out, SYNC_MESSAGE_MAX, &to)) > 0) {
        transmit(s, index, node_of(s, to), TO_SYNC, s->out, len);
        sync_sent(&n->sync, now_ms, 0);
    }
    arm(s, index);
}

static void apply(struct sim *s, uint32_t index, const struct record *records, size_t count)
{
    if (count == 0)
        return;
    uint32_t *what = s->what;
    ENSURE(count <= sizeof s->what / sizeof s->what[0] / 2);
    for (size_t i = 0; i < count; i++) {
        const struct record *rec = &records[i];
        uint64_t hash = record_key_hash(rec->kind, rec->key, rec->key_len);
        what[2 * i] = key_lower_bound(s, hash);
        what[2 * i + 1] = (uint32_t)rec->version.hi;
    }
    s->nodes[index].waiting += count;
    sync_waiting(&s->nodes[index].sync, s->net.now_us / 1000, s->nodes[index].waiting);
    net_at(&s->net,
           &(struct net_event){.at_us = s->net.now_us + APPLY_US,
                               .node = index,
                               .type = EVENT_APPLY,
                               .len = (uint32_t)(count * 2 * sizeof *what)},
           what);
}

static void receive(struct sim *s, const struct net_event *ev)
{
    static struct rumor_in in;
    static struct sync_in sync_in;
    struct node *n = &s->nodes[ev->node];
    uint64_t now_ms = s->net.now_us / 1000;
    uint64_t from = ev->from + 1;
    if (ev->a == TO_RUMOR) {
        struct rumor_place at = {0};
        do {
            ENSURE(rumor_recv(&n->rumor, now_ms, from, ev->bytes, ev->len, &at, &in) == 0);
            apply(s, ev->node, in.apply, in.apply_count);
        } while (at.pos < ev->len);
        return;
    }
    size_t pos = 0;
    do {
        ENSURE(sync_recv(&n->sync, now_ms, from, ev->bytes, ev->len, &pos, s->out, SYNC_MESSAGE_MAX,
                         &sync_in) == 0);
        if (sync_in.reply_len > 0)
            transmit(s, ev->node, ev->from, TO_SYNC, s->out, sync_in.reply_len);
        apply(s, ev->node, sync_in.apply, sync_in.apply_count);
    } while (pos < ev->len);
}

/* ---- membership ---------------------------------------------------------------------- */

static void make_view(struct sim *s, unsigned view)
{
    size_t n = 0;
    for (uint32_t i = 0; i < s->c.nodes; i++) {
        bool in = !s->nodes[i].dead && (view == 0 || s->net.host[i].side == (view == 2));
        if (in) {
            s->zone[view][n] = s->c.zones == 0 ? 0 : s->net.host[i].zone + 1u;
            s->nums[view][n++] = i + 1;
        }
    }
    s->num_count[view] = n;
}

static bool is_parted(const struct sim *s)
{
    return s->net.cut[0][1];
}

static void give_views(struct sim *s)
{
    for (unsigned view = 0; view < 3; view++)
        make_view(s, view);
    for (uint32_t i = 0; i < s->c.nodes; i++) {
        unsigned view = !is_parted(s) ? 0 : s->net.host[i].side != 0 ? 2 : 1;
        struct peers *p = &s->nodes[i].peers;
        *p = (struct peers){
            .nums = s->nums[view], .zones = s->zone[view], .count = s->num_count[view]};
        peers_group(p, s->by_zone[view]);
        p->self = s->nodes[i].dead ? 0 : peers_lower_bound(p, i + 1);
        rumor_peers_changed(&s->nodes[i].rumor);
    }
}

static void heal(struct sim *s)
{
    s->net.cut[0][1] = s->net.cut[1][0] = false;
    give_views(s);
    for (uint32_t i = 0; i < s->c.nodes; i++) {
        /* Somebody who came back: of the other side, which has the other parity. */
        uint64_t other = (prng_below(&s->prng, s->c.nodes / 2) * 2 + (s->net.host[i].side == 0));
        sync_soon(&s->nodes[i].sync, s->net.now_us / 1000, other + 1, 200);
        arm(s, i);
    }
}

/* ---- a run ----------------------------------------------------------------------------- */

static int by_hash(const void *a, const void *b)
{
    const struct key *x = a;
    const struct key *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

void *world_grab(size_t count, size_t size)
{
    void *p = calloc(count == 0 ? 1 : count, size);
    ENSURE(p != NULL);
    return p;
}

static uint32_t power_above(uint32_t n)
{
    uint32_t p = 64;
    while (p < n)
        p *= 2;
    return p;
}

static void init_node(struct sim *s, uint32_t i)
{
    struct node *n = &s->nodes[i];
    uint32_t recent = power_above(s->c.records);
    struct rumor_options ro = {.self = i + 1,
                               .seed = s->c.seed * 1000003 + i,
                               .recent_max = recent > 2048 ? 2048 : recent,
                               .pending_max = recent > 2048 ? 2048 : recent,
                               .node_max = 4 * (recent > 2048 ? 2048 : recent),
                               .answer_max = 256,
                               .arena_bytes = 32768,
                               .arg = n,
                               .have = have,
                               .load = load};
    struct sync_options so = {.self = i + 1,
                              .seed = s->c.seed * 7000003 + i,
                              .job_rows = s->c.nodes <= 64 ? 2048 : 256,
                              .arg = n,
                              .scan = scan,
                              .load = load};
    n->memory[0] = world_grab(1, rumor_memory(&ro));
    n->memory[1] = world_grab(1, sync_memory(&so));
    n->version = world_grab(s->key_count, sizeof *n->version);
    rumor_init(&n->rumor, &ro, &n->peers, n->memory[0], 0);
    sync_init(&n->sync, &so, &n->peers, s->scratch, n->memory[1], 0);
    s->net.host[i].side = i % 2 == 1;
    bool empty = s->c.newcomer && i == s->c.nodes - 1;
    for (uint32_t k = 0; k < s->c.initial && !empty; k++) {
        n->version[k] = 1;
        struct record_version one = {.hi = 1};
        sync_changed(&n->sync, s->keys[k].hash, false, one, one);
    }
}

void world_init(struct sim *s, const struct config *c)
{
    *s = (struct sim){.c = *c};
    the = s;
    prng_seed(&s->prng, c->seed);
    struct net_profile p = {.latency_us = c->latency_us,
                            .cross_us = c->latency_us,
                            .jitter_us = c->jitter_us,
                            .zones = c->zones,
                            .send_us = SEND_US,
                            .bits_per_us = UPLINK,
                            .loss = c->loss,
                            .duplicate = c->duplicate};
    net_init(&s->net, c->nodes, &p, c->seed);
    s->nodes = world_grab(c->nodes, sizeof *s->nodes);
    s->key_count = c->initial > c->records ? c->initial : c->records;
    s->keys = world_grab(s->key_count, sizeof *s->keys);
    s->published_us = world_grab(s->key_count, sizeof *s->published_us);
    s->delays_us = world_grab((size_t)c->records * c->nodes, sizeof *s->delays_us);
    s->out = world_grab(1, SYNC_MESSAGE_MAX);
    s->scratch = world_grab(1, sizeof *s->scratch);
    s->value = world_grab(1, c->bytes);
    memset(s->value, 'v', c->bytes);
    for (uint32_t k = 0; k < s->key_count; k++) {
        snprintf(s->keys[k].text, sizeof s->keys[k].text, "arn:aws:ecs:task/c/%08x", k);
        s->keys[k].hash = record_key_hash(RECORD_TASK, s->keys[k].text, strlen(s->keys[k].text));
        s->published_us[k] = FAR_US;
    }
    qsort(s->keys, s->key_count, sizeof *s->keys, by_hash);
    for (unsigned view = 0; view < 3; view++) {
        s->nums[view] = world_grab(c->nodes, sizeof **s->nums);
        s->zone[view] = world_grab(c->nodes, sizeof **s->zone);
        s->by_zone[view] = world_grab(c->nodes, sizeof **s->by_zone);
    }
    for (uint32_t i = 0; i < c->nodes; i++)
        init_node(s, i);
    s->net.cut[0][1] = s->net.cut[1][0] = c->partition_us > 0;
    give_views(s);
    for (uint32_t i = 0; i < c->nodes; i++)
        arm(s, i);
    if (c->newcomer) {
        sync_soon(&s->nodes[c->nodes - 1].sync, 0, 1, 1);
        arm(s, c->nodes - 1);
    }
    /* Without an interval all come at once, and go into as few transactions as they can. */
    uint32_t total = c->records * c->versions;
    bool together = c->interval_us == 0 && c->origins == 1;
    uint32_t rows = together ? COMMIT_ROWS : 1;
    for (uint32_t i = 0; i < total; i += rows)
        net_at(&s->net,
               &(struct net_event){.at_us = 10000 +
                                            (together ? i / rows * COMMIT_US : i * c->interval_us),
                                   .node = (uint32_t)prng_below(&s->prng, c->origins),
                                   .type = EVENT_PUBLISH,
                                   .a = i,
                                   .b = total - i < rows ? total - i : rows},
               NULL);
    if (c->partition_us > 0)
        schedule(s, c->partition_us, EVENT_HEAL, 0, 0);
    if (c->kill > 0)
        schedule(s, 10000 + c->records * c->versions * c->interval_us / 2, EVENT_VIEW, 0, 1);
}

void world_fini(struct sim *s)
{
    net_fini(&s->net);
    for (uint32_t i = 0; i < s->c.nodes; i++) {
        free(s->nodes[i].memory[0]);
        free(s->nodes[i].memory[1]);
        free(s->nodes[i].version);
    }
    for (unsigned view = 0; view < 3; view++) {
        free(s->nums[view]);
        free(s->zone[view]);
        free(s->by_zone[view]);
    }
    free(s->nodes);
    free(s->keys);
    free(s->published_us);
    free(s->delays_us);
    free(s->out);
    free(s->scratch);
    free(s->value);
}

static void change_view(struct sim *s, const struct net_event *ev)
{
    if (ev->a == 0) {
        give_views(s);
        return;
    }
    for (uint32_t i = 0; i < s->c.kill; i++) { /* never an origin */
        uint32_t k = s->c.origins + (uint32_t)prng_below(&s->prng, s->c.nodes - s->c.origins);
        s->nodes[k].dead = true;
        net_off(&s->net, k);
    }
    schedule(s, s->net.now_us + VIEW_DELAY_US, EVENT_VIEW, 0, 0);
}

static void handle(struct sim *s, const struct net_event *ev)
{
    struct node *n = &s->nodes[ev->node];
    if (ev->type == EVENT_HEAL) {
        heal(s);
        return;
    }
    if (ev->type == EVENT_VIEW) {
        change_view(s, ev);
        return;
    }
    if (ev->type == EVENT_MESSAGE) {
        receive(s, ev);
    } else if (ev->type == EVENT_PUBLISH) {
        rumor_coming(&n->rumor, (uint32_t)ev->b);
        for (uint64_t i = ev->a; i < ev->a + ev->b; i++) {
            uint32_t key = (uint32_t)(i % s->c.records);
            s->published_us[key] = s->net.now_us;
            stored(s, n, key, n->version[key] + 1, true);
        }
    } else if (ev->type == EVENT_APPLY) {
        for (uint32_t at = 0; at < ev->len; at += 2 * sizeof(uint32_t)) {
            uint32_t what[2];
            memcpy(what, ev->bytes + at, sizeof what);
            stored(s, n, what[0], what[1], false);
        }
        n->waiting -= ev->len / 8;
        sync_waiting(&n->sync, s->net.now_us / 1000, n->waiting);
    }
    send_all(s, ev->node);
}

bool world_next(struct sim *s, uint64_t until_us)
{
    struct net_event ev;
    if (!net_next(&s->net, until_us, &ev))
        return false;
    handle(s, &ev);
    net_done(&s->net, &ev);
    return true;
}
