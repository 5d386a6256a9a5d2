/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/swim_world.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>

#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/swim_int.h"
#include "tests/sim/grab.h"
#include "tests/sim/swim_share.h"
#include "tests/unit/gossip/fake_trust.h"

#define EPOCH_STEP (UINT64_C(1) << 20)
#define JOIN_WAIT_MIN_US 100000u /* as gossip/join_uv.c */
#define JOIN_WAIT_MAX_US 8000000u
#define JOIN_SLOW_US 30000000u
#define ISLAND_US                                                                                  \
    3000000u /* as agent/join_uv.c: without a leader the first of those there looks                \
              */
#define EPOCH_ASK_US 1000000u /* as gossip/udp_uv.c */
#define SEAL_BYTES (SEAL_OVERHEAD + 1u + NET_HEADERS)
#define SEAL_BRIEF_BYTES (SEAL_BRIEF_OVERHEAD + 1u + NET_HEADERS) /* between those who have met */
#define SYN_AGAIN_US 1000000u                                     /* a lost SYN */
#define CACHE_LINE 64u
#define WALL_SECONDS UINT64_C(1700000000)

void world_tell(struct world *w, const char *format, ...)
{
    va_list args;
    if (w->story == NULL)
        return;
    fprintf(w->story, "%12.6f  ", (double)w->net.now_us / 1e6);
    va_start(args, format);
    vfprintf(w->story, format, args);
    va_end(args);
    fputc('\n', w->story);
}

/* ---- who is who ---- */

void world_name(uint32_t i, char id[AGENT_ID_MAX])
{
    snprintf(id, AGENT_ID_MAX, "i-%017" PRIx64, hash_mix(i + UINT64_C(1)) >> 4);
}

uint32_t world_find(const struct world *w, uint64_t num)
{
    for (uint32_t at = (uint32_t)num & w->index_mask; w->index[at] != 0;
         at = (at + 1) & w->index_mask)
        if (w->node[w->index[at] - 1].num == num)
            return w->index[at] - 1;
    return UINT32_MAX;
}

/* ---- sending ---- */

static void count(struct world *w, uint32_t from, uint32_t to, size_t bytes, bool stream)
{
    struct world_node *n = &w->node[from];
    n->packets += !stream;
    n->bytes += stream ? 0 : bytes;
    n->stream_bytes += stream ? bytes : 0;
    n->cross_bytes += w->net.host[from].zone != w->net.host[to].zone ? bytes : 0;
}

/* Does the network of a member's nth IPv4 or IPv6 address carry from one to the other? */
static bool carries(const struct world *w, uint8_t way, uint32_t a, uint32_t b)
{
    return ((w->node[a].dark | w->node[b].dark) >> way & 1) == 0;
}

/* Families stand for networks: an agent may put its own in another order. */
static uint8_t way_of(const struct swim_member *m, uint8_t at)
{
    return m->m.addrs->at[at].family == 6;
}

static bool is_elsewhere(const struct world *w, uint32_t i)
{
    return i >= w->nodes - w->elsewhere;
}

static void send_packet(struct world *w, uint32_t me, const struct swim_packet *p, uint32_t reply,
                        uint64_t reply_epoch)
{
    struct world_node *n = &w->node[me];
    uint32_t to = reply;
    uint64_t epoch = reply_epoch;
    uint8_t way = w->way;
    if (p->to != 0) {
        const struct swim_member *m = swim_find(n->s, p->to);
        to = world_find(w, p->to);
        if (m == NULL || m->m.self || to == UINT32_MAX)
            return;
        epoch = m->epoch;
        way = way_of(m, p->via != 0 ? (uint8_t)(p->via - 1) : m->m.using);
    }
    unsigned around = p->intro ? SEAL_BYTES : SEAL_BRIEF_BYTES;
    count(w, me, to, p->len + around, p->stream);
    if (w->packets_told)
        world_tell(w, "%u -> %u: type %u, %u bytes", me, to, p->data[0], p->len);
    struct net_event ev = {.type = p->stream  ? TYPE_STREAM
                                   : p->intro ? TYPE_INTRO
                                              : TYPE_SWIM,
                           .from = me,
                           .node = to,
                           .len = p->len,
                           .way = way,
                           .a = n->epoch,
                           .b = epoch};
    if (is_elsewhere(w, to))
        w->hooks.send(w->hooks.arg, w, &ev, p->data);
    else if (carries(w, way, me, to))
        net_send(&w->net, &ev, p->data, around, p->stream);
}

static void send_hello(struct world *w, uint32_t from, uint32_t to, const struct wire_join *j)
{
    uint8_t packet[WIRE_JOIN_LEN];
    size_t len = wire_put_join(j, packet);
    ENSURE(len <= WIRE_JOIN_LEN);
    if (w->packets_told)
        world_tell(w, "%u -> %u: %s", from, to, j->type == WIRE_JOIN ? "join" : "welcome");
    count(w, from, to, len + SEAL_BYTES, false);
    struct net_event ev = {.type = TYPE_HELLO,
                           .from = from,
                           .node = to,
                           .len = (uint32_t)len,
                           .a = w->node[from].epoch};
    if (is_elsewhere(w, to))
        w->hooks.send(w->hooks.arg, w, &ev, packet);
    else if (carries(w, 0, from, to) || (w->addresses > 1 && carries(w, 1, from, to))) /* to all */
        net_send(&w->net, &ev, packet, SEAL_BYTES, false);
}

static void send_join(struct world *w, uint32_t me, uint32_t to)
{
    struct wire_join j = {.type = WIRE_JOIN};
    memcpy(j.nonce, &w->node[me].epoch, sizeof w->node[me].epoch);
    swim_self_update(w->node[me].s, &j.self);
    j.self.state = MEMBER_ALIVE;
    const struct swim_member *there = swim_find(w->node[me].s, w->node[to].num);
    if (there != NULL) {
        j.asked = there->m.num;
        j.known_epoch = there->epoch;
    }
    send_hello(w, me, to, &j);
}

/* A connection attempt: the kernel of a stopped process accepts, that of a killed one refuses. */
static void check(struct world *w, uint32_t me, uint64_t num)
{
    uint32_t to = world_find(w, num);
    if (to != UINT32_MAX && is_elsewhere(w, to)) {
        w->hooks.check(w->hooks.arg, w, me, to);
        return;
    }
    if (to == UINT32_MAX || w->node[to].life == LIFE_VANISHED || !net_reaches(&w->net, me, to) ||
        !net_reaches(&w->net, to, me))
        return;
    const struct net_profile *p = &w->net.profile;
    const struct swim_member *m = swim_find(w->node[me].s, num);
    uint64_t takes = w->net.host[me].zone == w->net.host[to].zone ? p->latency_us : p->cross_us;
    bool lost = prng_unit(&w->prng) < 2 * p->loss;
    struct net_event ev = {.at_us = w->net.now_us + 2 * takes + (lost ? SYN_AGAIN_US : 0),
                           .type = TYPE_CHECK,
                           .node = me,
                           .a = num,
                           .b = w->node[me].lives};
    for (uint8_t at = 0; at < m->m.addrs->count; at++) {
        ev.way = at;
        if (carries(w, way_of(m, at), me, to))
            net_at(&w->net, &ev, NULL);
    }
}

/* ---- performing ---- */

static void drain_changes(struct world *w, uint32_t me)
{
    static const char *const names[] = {"new", "alive", "degraded", "suspect", "failed", "left"};
    struct world_node *n = &w->node[me];
    struct swim_change c;
    uint64_t raised;
    if (swim_take_raised(n->s, &raised)) {
        n->incarnation = raised;
        n->greatest = raised > n->greatest ? raised : n->greatest;
    }
    while (swim_next_change(n->s, &c)) {
        uint32_t about = world_find(w, c.member->m.num);
        ENSURE(about != UINT32_MAX);
        if (c.member->m.state != c.before)
            world_tell(w, "%u holds %u: %s -> %s, incarnation %" PRIu64 ", cause %d, from %d", me,
                       about, names[c.before], names[c.member->m.state], c.member->m.incarnation,
                       (int)c.cause, c.from == 0 ? -1 : (int)world_find(w, c.from));
        if (w->hooks.changed != NULL)
            w->hooks.changed(w->hooks.arg, w, me, about, &c);
    }
}

static void set_timer(struct world *w, uint32_t me)
{
    struct world_node *n = &w->node[me];
    n->timer_us = n->due_us;
    net_at(&w->net,
           &(struct net_event){.at_us = n->due_us, .type = TYPE_TIMER, .node = me, .b = n->lives},
           NULL);
}

static void arm(struct world *w, uint32_t me)
{
    struct world_node *n = &w->node[me];
    uint64_t due_ms = swim_deadline(n->s);
    n->due_us = NET_FAR;
    if (due_ms == UINT64_MAX)
        return;
    uint64_t due = due_ms <= WORLD_START_MS ? 0 : (due_ms - WORLD_START_MS) * 1000;
    due = due < w->net.now_us ? w->net.now_us : due;
    n->due_us = due;
    if (n->timer_us > due)
        set_timer(w, me);
}

static void perform(struct world *w, uint32_t me, uint32_t reply, uint64_t reply_epoch)
{
    struct swim_out *out = &w->out;
    w->node[me].steps++;
    for (size_t i = 0; i < out->count; i++)
        send_packet(w, me, &out->packet[i], reply, reply_epoch);
    for (size_t i = 0; i < out->checks; i++)
        check(w, me, out->check[i]);
    for (size_t i = 0; i < out->hellos; i++) {
        uint32_t to = world_find(w, out->hello[i]);
        if (to != UINT32_MAX)
            send_join(w, me, to);
    }
    out->count = out->checks = out->hellos = 0;
    drain_changes(w, me);
    share_settle(w->node[me].s);
    arm(w, me);
}

void world_step(struct world *w, uint32_t i)
{
    perform(w, i, i, 0);
}

/* ---- joining ---- */

static void answer_join(struct world *w, uint32_t me, const struct net_event *ev,
                        const struct wire_join *join)
{
    const struct gossip_member *other;
    struct world_node *n = &w->node[me];
    struct wire_join welcome = {.type = WIRE_WELCOME};
    if (swim_self(n->s)->m.state == MEMBER_LEFT)
        return;
    if (join->asked == n->num && join->known_epoch > n->epoch) {
        n->epoch = join->known_epoch + 1;
        swim_set_epoch(n->s, n->epoch);
    }
    memcpy(welcome.nonce, join->nonce, sizeof welcome.nonce);
    welcome.refusal = swim_admit(n->s, &join->self, &other);
    if (welcome.refusal == WIRE_ID_TAKEN && swim_challenge(n->s, world_ms(w), other->num))
        send_join(w, me, ev->from);
    welcome.seen = join->self.addrs.at[0]; /* a host keeps its address in all its lives */
    if (other != NULL) {
        welcome.taken =
            addr_find(other->addrs, &welcome.seen) >= 0 ? welcome.seen : other->addrs->at[0];
        welcome.known_state = other->state;
        welcome.known_incarnation = other->incarnation;
        welcome.known_epoch = swim_find(n->s, other->num)->epoch;
    }
    swim_self_update(n->s, &welcome.self);
    send_hello(w, me, ev->from, &welcome);
}

static void take_welcome(struct world *w, uint32_t me, const struct net_event *ev,
                         const struct wire_join *welcome)
{
    struct world_node *n = &w->node[me];
    uint64_t nonce;
    memcpy(&nonce, welcome->nonce, sizeof nonce);
    if (nonce != n->epoch)
        return;
    bool known = welcome->refusal == WIRE_ACCEPTED || swim_refused_for_earlier_life(welcome);
    if (known && welcome->known_state != 0 && welcome->known_epoch > n->epoch) {
        n->epoch = welcome->known_epoch + 1;
        swim_set_epoch(n->s, n->epoch);
    }
    if (welcome->refusal != WIRE_ACCEPTED) {
        swim_refused(n->s, world_ms(w), welcome, &welcome->self.addrs.at[0], &w->out);
        perform(w, me, ev->from, ev->a);
        return;
    }
    bool seed = false;
    for (unsigned k = 0; k < WORLD_SEEDS; k++) {
        if (n->seed[k] != ev->from)
            continue;
        seed = true;
        n->seeds_answered |= (uint8_t)(1u << k);
    }
    swim_welcome(n->s, world_ms(w), welcome, &welcome->self.addrs.at[0], seed, &w->out);
    perform(w, me, ev->from, ev->a);
}

/* Few know each other and nobody else, so that nobody leads them. */
static bool on_island(const struct world *w, const struct swim *s)
{
    return s->live > 1 && s->live < w->nodes / 2;
}

static bool is_lowest(const struct swim *s)
{
    for (uint32_t k = 0; k < s->count; k++)
        if (swim_nth(s, k)->m.state <= MEMBER_DEGRADED &&
            strcmp(swim_nth(s, k)->m.id, swim_self(s)->m.id) < 0)
            return false;
    return true;
}

/* Asks the seeds that did not answer; again soon while alone, rarely afterwards. */
static void try_seeds(struct world *w, uint32_t me)
{
    struct world_node *n = &w->node[me];
    bool looks = on_island(w, n->s) && w->net.now_us >= n->life_us + ISLAND_US && is_lowest(n->s);
    if (looks || (n->s->live <= 1 && n->join_gap_us > JOIN_WAIT_MIN_US * 4)) {
        n->seeds_answered = 0; /* the agent asks ECS anew who there is */
        world_seeds(w, me);
    }
    for (unsigned k = 0; k < WORLD_SEEDS; k++)
        if ((n->seeds_answered >> k & 1) == 0 && n->seed[k] != me)
            send_join(w, me, n->seed[k]);
    uint64_t gap = n->s->live <= 1 ? n->join_gap_us : on_island(w, n->s) ? ISLAND_US : JOIN_SLOW_US;
    n->join_gap_us = n->join_gap_us * 2 < JOIN_WAIT_MAX_US ? n->join_gap_us * 2 : JOIN_WAIT_MAX_US;
    gap += hash_mix(n->num ^ n->join_gap_us) % (gap / 4 + 1);
    if (n->seeds_answered != (1u << WORLD_SEEDS) - 1)
        net_at(&w->net,
               &(struct net_event){
                   .at_us = w->net.now_us + gap, .type = TYPE_JOIN, .node = me, .b = n->lives},
               NULL);
}

/* ---- receiving ---- */

/* What the shell finds out by the seal: does the receiver share a key with the sender? A vote of
 * one that has lost its disk since is not verified any more (ERR_AUTH). */
static void receive_packet(struct world *w, const struct net_event *ev)
{
    struct world_node *n = &w->node[ev->node];
    const struct world_node *from = &w->node[ev->from];
    const struct swim_member *m = swim_find(n->s, from->num);
    bool known = m != NULL && memcmp(m->card->key, from->key, WIRE_KEY) == 0;
    int err = 0;
    w->way = ev->way;
    if (m != NULL && ev->a < m->epoch)
        return; /* of the sender's earlier life: the seal's window refuses it */
    if (known && ev->type != TYPE_INTRO)
        err = swim_recv(n->s, world_ms(w), from->num, ev->a, ev->bytes, ev->len, &w->out);
    else if (ev->type != TYPE_SWIM)
        err = swim_recv_stranger(n->s, world_ms(w), from->num, ev->bytes, ev->len, &w->out);
    ENSURE(err == 0 || err == ERR_AUTH);
    perform(w, ev->node, ev->from, ev->a);
}

/* It does not open. Who sent it may know a later session than ours: its answer to a join says so.
 */
static void meant_for_another_life(struct world *w, const struct net_event *ev)
{
    struct world_node *n = &w->node[ev->node];
    if (ev->type == TYPE_STREAM || swim_find(n->s, w->node[ev->from].num) == NULL ||
        w->net.now_us < n->epoch_asked_us + EPOCH_ASK_US)
        return;
    n->epoch_asked_us = w->net.now_us;
    send_join(w, ev->node, ev->from);
}

static void receive(struct world *w, struct net_event *ev)
{
    struct world_node *n = &w->node[ev->node];
    struct wire_join join;
    if (n->s == NULL || n->life != LIFE_UP)
        return;
    if (ev->type == TYPE_HELLO) {
        ENSURE(wire_get_join(ev->bytes, ev->len, &join) == 0);
        if (join.type == WIRE_JOIN)
            answer_join(w, ev->node, ev, &join);
        else
            take_welcome(w, ev->node, ev, &join);
        return;
    }
    bool packet = ev->type == TYPE_SWIM || ev->type == TYPE_INTRO || ev->type == TYPE_STREAM;
    if (!packet && ev->b != n->lives)
        return;
    if (packet && ev->b != n->epoch) {
        meant_for_another_life(w, ev);
        return;
    }
    if (packet)
        receive_packet(w, ev);
    else if (ev->type == TYPE_CHECK) {
        uint32_t about = world_find(w, ev->a);
        enum swim_check result = w->node[about].life == LIFE_UP ? CHECK_CONNECTED : CHECK_REFUSED;
        if (w->node[about].life == LIFE_VANISHED)
            return;
        swim_checked(n->s, world_ms(w), ev->a, ev->way, result, &w->out);
        perform(w, ev->node, ev->node, 0);
    } else if (ev->type == TYPE_TIMER) {
        if (ev->at_us < n->timer_us)
            return;
        n->timer_us = NET_FAR;
        if (n->due_us > w->net.now_us) { /* what it was set for is done */
            if (n->due_us != NET_FAR)
                set_timer(w, ev->node);
            return;
        }
        swim_tick(n->s, world_ms(w), &w->out);
        perform(w, ev->node, ev->node, 0);
    } else {
        try_seeds(w, ev->node);
    }
}

/* What a step will look at, see look_ahead() in net.c. */
static void look_ahead(const struct world *w)
{
    uint32_t next = net_next_host(&w->net);
    const struct swim *s = next == UINT32_MAX ? NULL : w->node[next].s;
    if (s == NULL)
        return;
    for (const char *at = (const char *)s; at < (const char *)&s->probe[4]; at += CACHE_LINE)
        __builtin_prefetch(at);
    for (const char *at = (const char *)s->buckets; at < (const char *)(s + 1); at += CACHE_LINE)
        __builtin_prefetch(at);
}

void world_receive(struct world *w, struct net_event *ev)
{
    if (w->node[ev->node].life == LIFE_UP)
        swim_clock(w->node[ev->node].s, WORLD_START_MS * 1000 + w->net.now_us);
    receive(w, ev);
}

void world_run(struct world *w, uint64_t until_us)
{
    struct net_event ev;
    while (net_next(&w->net, until_us, &ev)) {
        look_ahead(w);
        swim_clock(w->node[ev.node].s, WORLD_START_MS * 1000 + w->net.now_us);
        receive(w, &ev);
        net_done(&w->net, &ev);
    }
}

/* ---- lives ---- */

static void forget(struct world *w, uint32_t i)
{
    if (w->node[i].s != NULL)
        share_free(w->node[i].s);
    w->node[i].s = NULL;
}

static void options_of(struct world *w, uint32_t i, struct swim_options *ret)
{
    struct world_node *n = &w->node[i];
    static char id[AGENT_ID_MAX];
    world_name(i, id);
    *ret = (struct swim_options){.members = w->nodes < 16 ? 16 : w->nodes,
                                 .id = id,
                                 .incarnation = n->incarnation,
                                 .epoch = n->epoch,
                                 .seed = prng_next(&w->prng)};
    const uint8_t host[] = {10, (uint8_t)((i + 1) >> 16), (uint8_t)((i + 1) >> 8),
                            (uint8_t)(i + 1)};
    ret->addrs = (struct gossip_addrs){.at = {{.family = 4, .port = 7381}}, .count = 1};
    memcpy(ret->addrs.at[0].host, host, sizeof host);
    ret->ipv6 = true;
    if (w->addresses > 1) {
        ret->addrs.at[1] = (struct gossip_addr){.family = 6, .port = 7381, .host = {0xfd}};
        memcpy(ret->addrs.at[1].host + 12, host, sizeof host);
        ret->addrs.count = 2;
    }
    snprintf(ret->meta.zone, sizeof ret->meta.zone, "eu-west-1%c", 'a' + w->net.host[i].zone);
    snprintf(ret->meta.version, sizeof ret->meta.version, "1.0.0");
    ret->meta.api_port = 7380;
    fake_trust(ret, n->key, i + 1 + (n->key_number << 32));
    if (w->hooks.options == NULL)
        return;
    w->hooks.options(w->hooks.arg, w, i, ret);
    memcpy(n->key, ret->key, sizeof n->key);
}

static void come_up(struct world *w, uint32_t i)
{
    struct world_node *n = &w->node[i];
    n->life = LIFE_UP;
    n->leaving = false;
    n->life_us = w->net.now_us;
    n->timer_us = NET_FAR;
    net_go_on(&w->net, i);
}

void world_seeds(struct world *w, uint32_t i)
{
    for (unsigned k = 0; k < WORLD_SEEDS; k++)
        w->node[i].seed[k] = (uint32_t)prng_below(&w->prng, w->nodes);
}

void world_start(struct world *w, uint32_t i, enum disk disk)
{
    struct world_node *n = &w->node[i];
    struct swim_options o;
    forget(w, i);
    n->epoch = disk == DISK_CLOCK ? n->epoch - EPOCH_STEP / 2 : n->epoch + EPOCH_STEP;
    uint64_t wall = WALL_SECONDS + w->net.now_us / 1000000;
    n->incarnation++;
    if (disk == DISK_OLD)
        n->incarnation = n->incarnation > 3 ? n->incarnation - 3 : 1;
    if (disk == DISK_LOST) {
        n->incarnation = wall;
        n->key_number++;
    }
    n->greatest = n->incarnation > n->greatest ? n->incarnation : n->greatest;
    n->born = n->incarnation;
    world_tell(w, "%u starts, incarnation %" PRIu64, i, n->incarnation);
    n->seeds_answered = 0;
    n->epoch_asked_us = 0;
    n->lives++;
    n->join_gap_us = JOIN_WAIT_MIN_US;
    come_up(w, i);
    n->s = share_new();
    options_of(w, i, &o);
    swim_init(n->s, &o, world_ms(w));
    world_step(w, i);
    try_seeds(w, i);
}

void world_end(struct world *w, uint32_t i, enum life how)
{
    struct world_node *n = &w->node[i];
    n->life = (uint8_t)how;
    n->life_us = w->net.now_us;
    net_off(&w->net, i);
    world_tell(w, "%u %s", i, how == LIFE_KILLED ? "is killed" : "vanishes");
}

void world_leave(struct world *w, uint32_t i)
{
    world_tell(w, "%u leaves", i);
    w->node[i].leaving = true;
    swim_leave(w->node[i].s, world_ms(w), &w->out);
    world_step(w, i);
}

/* ---- a formed cluster ---- */

/* Node 0 is told of all others in pages of a list, and what it would pass on is thrown away. */
static void make_image(struct world *w, struct swim *s)
{
    struct swim_options o;
    struct swim_change c;
    options_of(w, 0, &o);
    swim_init(s, &o, world_ms(w));
    for (uint32_t i = 1; i < w->nodes - w->elsewhere; i++) {
        uint8_t page[WIRE_UPDATE_MAX + 1];
        struct wbuf b;
        options_of(w, i, &o);
        struct wire_update u = {.state = MEMBER_ALIVE,
                                .num = w->node[i].num,
                                .incarnation = o.incarnation,
                                .has_body = true,
                                .epoch = o.epoch,
                                .addrs = o.addrs,
                                .meta = o.meta};
        uint8_t said[WIRE_STATEMENT_MAX];
        memcpy(u.id, o.id, sizeof u.id);
        memcpy(u.key, o.key, sizeof u.key);
        o.trust.sign(o.trust.arg, said, wire_statement(&u, 0, said), u.sig);
        wbuf_init(&b, page, sizeof page);
        wire_put_head(&b, &(struct wire_head){.type = WIRE_SYNC});
        wire_put_update(&b, &u);
        ENSURE(swim_recv(s, world_ms(w), w->node[i == 1 ? 2 : 1].num, o.epoch, page, b.len,
                         &w->out) == 0);
        swim_get(s, u.num)->met = 1;
        w->out.count = w->out.checks = w->out.hellos = 0;
    }
    while (swim_next_change(s, &c))
        ;
}

static void become(struct swim *s, uint64_t num, const struct swim_options *o, uint64_t now_ms)
{
    struct swim_member *m = swim_get(s, num);
    s->trust = o->trust;
    s->settled = true;
    swim_me(s)->met = 1;
    swim_me(s)->m.self = false;
    m->m.self = true;
    s->self = m->slot;
    prng_seed(&s->prng, o->seed);
    swim_begin(s, now_ms);
}

struct ring_place {
    uint64_t place;
    uint32_t node;
};

static int by_place(const void *a, const void *b)
{
    uint64_t x = ((const struct ring_place *)a)->place, y = ((const struct ring_place *)b)->place;
    return x < y ? -1 : x > y;
}

/* Whom each observes: what every core would find out by going through all others. */
static void form_rings(struct world *w, uint32_t count)
{
    struct ring_place *r = grab(count, sizeof *r);
    for (unsigned ring = 0; ring < SWIM_RINGS && count > 1; ring++) {
        for (uint32_t i = 0; i < count; i++)
            r[i] = (struct ring_place){swim_ring_place(w->node[i].num, ring), i};
        qsort(r, count, sizeof *r, by_place);
        for (uint32_t i = 0; i < count; i++) {
            struct swim *s = w->node[r[i].node].s;
            uint64_t next = w->node[r[(i + 1) % count].node].num;
            s->ring[ring].slot = swim_find(s, next)->slot;
        }
    }
    free(r);
}

void world_form(struct world *w)
{
    struct swim_options o;
    uint32_t count = w->nodes - w->elsewhere;
    w->image = share_new();
    make_image(w, w->image);
    for (uint32_t i = 0; i < count; i++) {
        struct world_node *n = &w->node[i];
        n->s = share_copy(w->image);
        come_up(w, i);
        options_of(w, i, &o);
        become(n->s, n->num, &o, world_ms(w));
    }
    form_rings(w, count);
    for (uint32_t i = 0; i < count; i++)
        arm(w, i);
}

/* ---- beginning and end ---- */

void world_init(struct world *w, uint32_t nodes, const struct net_profile *p, uint64_t seed)
{
    *w = (struct world){.nodes = nodes};
    net_init(&w->net, nodes, p, hash_mix(seed));
    prng_seed(&w->prng, hash_mix(seed + 1));
    w->node = grab(nodes, sizeof *w->node);
    w->index_mask = 63;
    while (w->index_mask < 2 * nodes)
        w->index_mask = w->index_mask * 2 + 1;
    w->index = grab(w->index_mask + UINT64_C(1), sizeof *w->index);
    for (uint32_t i = 0; i < nodes; i++) {
        char id[AGENT_ID_MAX];
        world_name(i, id);
        struct world_node *n = &w->node[i];
        n->num = hash_str(id);
        n->epoch = EPOCH_STEP * 1000;
        n->incarnation = 1;
        n->timer_us = NET_FAR;
        uint32_t at = (uint32_t)n->num & w->index_mask;
        while (w->index[at] != 0)
            at = (at + 1) & w->index_mask;
        w->index[at] = i + 1;
        world_seeds(w, i);
        net_off(&w->net, i);
    }
}

void world_fini(struct world *w)
{
    for (uint32_t i = 0; i < w->nodes; i++)
        forget(w, i);
    if (w->image != NULL)
        share_free(w->image);
    share_reset();
    net_fini(&w->net);
    free(w->node);
    free(w->index);
}
