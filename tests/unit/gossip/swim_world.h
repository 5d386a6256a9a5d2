/* SPDX-License-Identifier: Apache-2.0
 * A small world for the swim core: virtual time, a network with delay, loss, partitions, pauses.
 * Included by the test that uses it. */
#ifndef BLOX_TESTS_SWIM_WORLD_H
#define BLOX_TESTS_SWIM_WORLD_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/hash.h"
#include "agent/base/prng.h"
#include "gossip/swim.h"
#include "tests/unit/gossip/fake_trust.h"

#define WORLD_MAX 128
#define WORLD_MEMBERS 8192u /* that a core has room for */

enum world_state { RUNNING, PAUSED, KILLED, VANISHED, ABSENT };

struct world_node {
    struct swim *s;
    enum world_state state;
    uint64_t incarnation, epoch;
    uint8_t key[WIRE_KEY];
    uint64_t key_number; /* another one after a lost data directory */
    unsigned side;       /* of the partition */
    unsigned dark;       /* bit set of networks that do not reach it: of its first address, ... */
    bool ipv4_only;      /* has no IPv6 sockets */
    uint64_t sent_packets, sent_bytes;
    unsigned doubts;               /* suspicions and degradations of others that it saw */
    uint64_t failed_at[WORLD_MAX]; /* when this node marked that one */
};
struct world_packet {
    uint64_t at_ms, order, from, from_epoch, to, to_epoch;
    bool stream, intro;
    uint8_t net; /* that it travels by; a check's: of the address */
    uint16_t len;
    uint8_t *data;
    int check_of; /* >= 0: a TCP check's result for node `to` about node check_of */
    enum swim_check check;
};
static struct {
    struct world_node node[WORLD_MAX];
    unsigned count;
    uint64_t now_ms, order;
    double loss;
    struct prng prng;
    struct world_packet *heap;
    size_t heap_len, heap_cap;
    unsigned failures_of_running, failures, suspicions, degraded;
    uint8_t reply_net;     /* an answer goes back where its question came from */
    unsigned ipv6_to_none; /* packets that a node without IPv6 wanted to send by it */
    struct swim_out out;
} world;

/* Of each node: an IPv4, an IPv6, a second IPv4. Set before world_init(). */
static unsigned world_addresses = 1;

static bool packet_before(const struct world_packet *a, const struct world_packet *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void heap_push(struct world_packet p)
{
    if (world.heap_len == world.heap_cap) {
        world.heap_cap = world.heap_cap == 0 ? 1024 : world.heap_cap * 2;
        world.heap = realloc(world.heap, world.heap_cap * sizeof *world.heap);
    }
    p.order = world.order++;
    size_t i = world.heap_len++;
    for (; i > 0 && packet_before(&p, &world.heap[(i - 1) / 2]); i = (i - 1) / 2)
        world.heap[i] = world.heap[(i - 1) / 2];
    world.heap[i] = p;
}

static struct world_packet heap_pop(void)
{
    struct world_packet top = world.heap[0], last = world.heap[--world.heap_len];
    size_t i = 0;
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= world.heap_len)
            break;
        if (c + 1 < world.heap_len && packet_before(&world.heap[c + 1], &world.heap[c]))
            c++;
        if (!packet_before(&world.heap[c], &last))
            break;
        world.heap[i] = world.heap[c];
        i = c;
    }
    world.heap[i] = last;
    return top;
}

static int world_index(uint64_t num)
{
    for (unsigned i = 0; i < world.count; i++)
        if (world.node[i].s != NULL && swim_self(world.node[i].s)->m.num == num)
            return (int)i;
    return -1;
}

static void world_perform(unsigned me, uint64_t reply_to, uint64_t reply_epoch);

static bool reachable(unsigned a, unsigned b)
{
    return world.node[a].side == world.node[b].side && world.node[b].state != VANISHED &&
           world.node[a].state != VANISHED && world.node[b].state != ABSENT;
}

static bool carries(unsigned net, unsigned a, unsigned b)
{
    return ((world.node[a].dark | world.node[b].dark) >> net & 1) == 0;
}

/* Which network an address of anybody's is in. */
static uint8_t net_of(const struct swim_member *m, uint8_t at)
{
    return m->m.addrs->at[at].host[0];
}

static void world_send(unsigned me, const struct swim_packet *p, uint64_t reply_to,
                       uint64_t reply_epoch)
{
    struct world_node *n = &world.node[me];
    uint64_t to = p->to != 0 ? p->to : reply_to, epoch = reply_epoch;
    uint8_t net = world.reply_net;
    if (p->to != 0) {
        const struct swim_member *m = swim_find(n->s, to);
        if (m == NULL)
            return;
        epoch = m->epoch;
        uint8_t at = p->via != 0 ? (uint8_t)(p->via - 1) : m->m.using;
        cr_assert_lt(at, m->m.addrs->count);
        net = net_of(m, at);
        world.ipv6_to_none += n->ipv4_only && m->m.addrs->at[at].family == 6;
    }
    int index = world_index(to);
    n->sent_packets++;
    n->sent_bytes += p->len + 1u + 28 + (p->intro ? SEAL_OVERHEAD : SEAL_BRIEF_OVERHEAD);
    if (index < 0 || !reachable(me, (unsigned)index) || !carries(net, me, (unsigned)index))
        return;
    if (!p->stream && prng_unit(&world.prng) < world.loss)
        return;
    struct world_packet q = {.at_ms = world.now_ms + prng_below(&world.prng, 2),
                             .from = swim_self(n->s)->m.num,
                             .from_epoch = n->epoch,
                             .to = to,
                             .to_epoch = epoch,
                             .net = net,
                             .stream = p->stream,
                             .intro = p->intro,
                             .len = p->len,
                             .check_of = -1};
    q.data = malloc(p->len + 1u);
    memcpy(q.data, p->data, p->len);
    heap_push(q);
}

static void world_check(unsigned me, uint64_t num)
{
    int target = world_index(num);
    if (target < 0 || !reachable(me, (unsigned)target))
        return;
    enum world_state state = world.node[target].state;
    const struct swim_member *m = swim_find(world.node[me].s, num);
    for (uint8_t at = 0; at < m->m.addrs->count; at++)
        if ((swim_usable(world.node[me].s, m) >> at & 1) != 0 &&
            carries(net_of(m, at), me, (unsigned)target))
            heap_push(
                (struct world_packet){.at_ms = world.now_ms + 1,
                                      .to = swim_self(world.node[me].s)->m.num,
                                      .to_epoch = world.node[me].epoch,
                                      .net = at,
                                      .check_of = target,
                                      .check = state == KILLED ? CHECK_REFUSED : CHECK_CONNECTED});
}

/* Join and welcome in one: what the shell does with two packets. */
static void world_join(unsigned me, unsigned other, bool sync)
{
    const struct gossip_member *known;
    struct wire_update self;
    struct wire_join w = {.type = WIRE_WELCOME};
    if (!reachable(me, other) || world.node[other].state != RUNNING)
        return;
    unsigned ways = 0;
    for (unsigned net = 0; net < world_addresses; net++)
        ways += carries(net, me, other);
    if (ways == 0)
        return;
    swim_self_update(world.node[me].s, &self);
    w.refusal = swim_admit(world.node[other].s, &self, &known);
    w.seen = self.addrs.at[0];
    if (known != NULL) {
        w.taken = addr_find(known->addrs, &w.seen) >= 0 ? w.seen : known->addrs->at[0];
        w.known_state = known->state;
        w.known_incarnation = known->incarnation;
        w.known_epoch = swim_find(world.node[other].s, known->num)->epoch;
    }
    swim_self_update(world.node[other].s, &w.self);
    if (w.refusal == WIRE_ACCEPTED)
        swim_welcome(world.node[me].s, world.now_ms, &w, &w.self.addrs.at[0], sync, &world.out);
    else
        swim_refused(world.node[me].s, world.now_ms, &w, &w.self.addrs.at[0], &world.out);
    world_perform(me, 0, 0);
    /* Another key at the known address: it asks there. */
    if (w.refusal == WIRE_ID_TAKEN && swim_challenge(world.node[other].s, world.now_ms, self.num))
        world_join(other, me, true);
}

static void world_perform(unsigned me, uint64_t reply_to, uint64_t reply_epoch)
{
    struct world_node *n = &world.node[me];
    struct swim_change c;
    uint64_t raised, hellos[SWIM_HELLOS_MAX];
    size_t hello_count = world.out.hellos;
    for (size_t i = 0; i < world.out.count; i++)
        world_send(me, &world.out.packet[i], reply_to, reply_epoch);
    for (size_t i = 0; i < world.out.checks; i++)
        world_check(me, world.out.check[i]);
    memcpy(hellos, world.out.hello, sizeof hellos);
    world.out.count = world.out.checks = world.out.hellos = 0;
    if (swim_take_raised(n->s, &raised))
        n->incarnation = raised;
    while (swim_next_change(n->s, &c)) {
        int about = world_index(c.member->m.num);
        if (c.member->m.state == c.before || about < 0)
            continue;
        world.suspicions += c.member->m.state == MEMBER_SUSPECT;
        world.degraded += c.member->m.state == MEMBER_DEGRADED;
        n->doubts += c.member->m.state == MEMBER_SUSPECT || c.member->m.state == MEMBER_DEGRADED;
        if (c.member->m.state != MEMBER_FAILED)
            continue;
        world.failures++;
        n->failed_at[about] = world.now_ms;
        world.failures_of_running += world.node[about].state == RUNNING;
    }
    for (size_t i = 0; i < hello_count; i++)
        if (world_index(hellos[i]) >= 0)
            world_join(me, (unsigned)world_index(hellos[i]), true);
}

static void world_start(unsigned i)
{
    struct world_node *n = &world.node[i];
    char id[16];
    snprintf(id, sizeof id, "i-%03u", i);
    free(n->s);
    n->s = calloc(1, swim_memory(WORLD_MEMBERS));
    n->state = RUNNING;
    n->epoch += 1000;
    struct swim_options o = {.members = WORLD_MEMBERS,
                             .id = id,
                             .incarnation = n->incarnation,
                             .epoch = n->epoch,
                             .unix_s = world.now_ms / 1000,
                             .seed = prng_next(&world.prng)};
    o.ipv6 = !n->ipv4_only;
    for (uint8_t k = 0; k < world_addresses; k++)
        o.addrs.at[o.addrs.count++] = (struct gossip_addr){
            .family = k == 1 ? 6 : 4, .port = (uint16_t)(1000 + i), .host = {k}};
    memset(n->failed_at, 0, sizeof n->failed_at);
    fake_trust(&o, n->key, 1 + i + n->key_number);
    swim_init(n->s, &o, world.now_ms);
    world_perform(i, 0, 0);
}

static void world_init(unsigned count, uint64_t seed, double loss)
{
    memset(&world, 0, sizeof world);
    prng_seed(&world.prng, seed);
    world.count = count;
    world.loss = loss;
    world.now_ms = 100000;
    for (unsigned i = 0; i < count; i++) {
        world.node[i].incarnation = 1;
        world.node[i].epoch = 1000;
        world_start(i);
    }
    for (unsigned i = 1; i < count; i++)
        world_join(i, 0, true);
}

static void world_fini(void)
{
    while (world.heap_len > 0)
        free(heap_pop().data);
    free(world.heap);
    for (unsigned i = 0; i < world.count; i++)
        free(world.node[i].s);
}

static void world_deliver(struct world_packet *p)
{
    int to = world_index(p->to);
    if (to < 0 || world.node[to].state == KILLED || world.node[to].state == ABSENT)
        return;
    struct world_node *n = &world.node[to];
    if (n->epoch != p->to_epoch)
        return; /* bound to another life: it does not open */
    if (p->check_of >= 0) {
        const struct world_node *about = &world.node[p->check_of];
        swim_checked(n->s, world.now_ms, swim_self(about->s)->m.num, p->net, p->check, &world.out);
        world_perform((unsigned)to, 0, 0);
        return;
    }
    if (world_index(p->from) >= 0 && !reachable((unsigned)world_index(p->from), (unsigned)to))
        return;
    world.reply_net = p->net;
    /* Does it share a key with the sender, as the shell would find out? */
    int from = world_index(p->from);
    const struct swim_member *m = swim_find(n->s, p->from);
    bool known =
        m != NULL && from >= 0 && memcmp(m->card->key, world.node[from].key, WIRE_KEY) == 0;
    if (p->intro || (p->stream && !known))
        swim_recv_stranger(n->s, world.now_ms, p->from, p->data, p->len, &world.out);
    else if (known)
        swim_recv(n->s, world.now_ms, p->from, p->from_epoch, p->data, p->len, &world.out);
    world_perform((unsigned)to, p->from, p->from_epoch);
}

static void world_run(uint64_t ms)
{
    uint64_t end = world.now_ms + ms;
    for (;;) {
        uint64_t next = world.heap_len > 0 ? world.heap[0].at_ms : UINT64_MAX;
        for (unsigned i = 0; i < world.count; i++)
            if (world.node[i].state == RUNNING && world.node[i].s->promised_ms < next)
                next = world.node[i].s->promised_ms;
        if (next > end)
            break;
        if (next > world.now_ms)
            world.now_ms = next;
        while (world.heap_len > 0 && world.heap[0].at_ms <= world.now_ms) {
            struct world_packet p = heap_pop();
            int to = world_index(p.to);
            if (to >= 0 && world.node[to].state == PAUSED) {
                p.at_ms = world.now_ms + 50; /* waits in the socket */
                heap_push(p);
                continue;
            }
            world_deliver(&p);
            free(p.data);
        }
        for (unsigned i = 0; i < world.count; i++) {
            if (world.node[i].state != RUNNING || world.node[i].s->promised_ms > world.now_ms)
                continue;
            swim_tick(world.node[i].s, world.now_ms, &world.out);
            world_perform(i, 0, 0);
        }
    }
    world.now_ms = end;
}

/* Does every running node hold exactly the running ones to be alive (state ALIVE)? */
static bool world_agrees(void)
{
    for (unsigned i = 0; i < world.count; i++) {
        if (world.node[i].state != RUNNING)
            continue;
        for (unsigned k = 0; k < world.count; k++) {
            const struct swim_member *m =
                swim_find(world.node[i].s, swim_self(world.node[k].s)->m.num);
            bool alive = m != NULL && m->m.state == MEMBER_ALIVE;
            if (alive != (world.node[k].state == RUNNING))
                return false;
        }
    }
    return true;
}

static uint64_t world_until_agreed(uint64_t limit_ms)
{
    uint64_t start = world.now_ms;
    while (!world_agrees() && world.now_ms - start < limit_ms)
        world_run(5);
    return world.now_ms - start;
}

#endif
