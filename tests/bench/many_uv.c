/* SPDX-License-Identifier: Apache-2.0
 * bench_many CLUSTER KEYFILE PORT MEMBERS HOST:PORT...: see many.h. The agents named are to have
 * the ids that the first line says. Then each line of stdin is a command, answered by a line of
 * JSON: stats          counts since the start, and how many live members each member holds watch N
 * from now on it is noted when each member holds node N to be failed, and alive seen           ...
 * when that was, Unix time kill N         that member's process ends; vanish N: its host does The
 * end of stdin ends it. */
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "agent/base/sched.h"
#include "gossip/swim_int.h"
#include "tests/bench/many.h"
#include "tests/sim/grab.h"

#define SYNC_ROOT 1u /* as gossip/sync_int.h */
#define SYNC_SAME 2u
#define HELLO 2u /* as agent/raft/hello.c */
#define HELLO_ASK 1u
#define HELLO_EVERY_US 30000000u /* and up to as much more */
#define HELLO_CROWD 50u          /* so many ask the leader, more ask anybody */
#define SEEN_BEFORE 4096u
#define SLICE_US 1000u /* of the processor */
#define STEP_US 100u   /* of the world's time */

static uint64_t late_us; /* how far the world was behind at most since it was asked */
static uint64_t looked_ms;

static uint64_t mono_us(void)
{
    return clock_mono_ns() / 1000;
}

static double unix_now(void)
{
    return (double)clock_unix_ms() / 1000;
}

/* Where much happens at once (news of one member are a hundred thousand packets) the world falls
 * behind, and catches up. Agents do not wait for that: what comes from them is answered between two
 * slices. */
void many_now(struct many *m)
{
    uint64_t begun = mono_us(), until = begun - m->start_us, now = begun;
    while (m->w.net.now_us < until && now < begun + SLICE_US) {
        uint64_t step = m->w.net.now_us + STEP_US;
        world_run(&m->w, step < until ? step : until);
        now = mono_us();
    }
    uint64_t behind = now - m->start_us - m->w.net.now_us;
    if (behind > late_us)
        late_us = behind;
}

/* ---- who is where ---- */

struct sockaddr_in many_address(const struct many *m, uint32_t member, uint16_t port)
{
    (void)m;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(0x7f010001u + member);
    return at;
}

uint32_t many_member(const struct many *m, const struct in_addr *addr)
{
    uint32_t i = ntohl(addr->s_addr) - 0x7f010001u;
    return i < m->members && m->w.node[i].life == LIFE_UP ? i : UINT32_MAX;
}

struct many_pair *many_pair(struct many *m, uint32_t member, uint32_t agent)
{
    ENSURE(member < m->members && agent < m->agents);
    return &m->pair[agent * m->members + member];
}

struct seal_pair *many_secret(struct many *m, uint32_t member, uint32_t agent)
{
    struct many_pair *p = many_pair(m, member, agent);
    const struct swim_member *about = swim_find(m->w.node[member].s, m->agent[agent].num);
    if (about == NULL)
        return NULL;
    if (!p->paired || memcmp(p->key, about->card->key, sizeof p->key) != 0) {
        memcpy(p->key, about->card->key, sizeof p->key);
        p->pair = (struct seal_pair){0};
        p->paired = nodekey_agree(&m->key[member], p->key, p->pair.secret) == 0;
    }
    return p->paired ? &p->pair : NULL;
}

/* ---- what the world asks of us ---- */

static void sign_word(void *arg, const uint8_t *bytes, size_t len, uint8_t ret_sig[WIRE_SIG])
{
    nodekey_sign(arg, bytes, len, ret_sig);
}

/* All members hear the same words: each is looked at once. */
static bool verify_word(void *arg, const uint8_t key[WIRE_KEY], const uint8_t *bytes, size_t len,
                        const uint8_t sig[WIRE_SIG])
{
    static struct {
        uint64_t print;
        bool good;
    } before[SEEN_BEFORE];
    uint64_t print = hash_bytes(key, WIRE_KEY, hash_bytes(sig, WIRE_SIG, 1));
    print = hash_bytes(bytes, len, print) | 1;
    size_t at = print / 2 % SEEN_BEFORE;
    if (before[at].print != print) {
        before[at].print = print;
        before[at].good = nodekey_verify(arg, key, bytes, len, sig);
    }
    return before[at].good;
}

static void on_options(void *arg, const struct world *w, uint32_t i, struct swim_options *o)
{
    struct many *m = arg;
    struct sockaddr_in at = many_address(m, i, m->port);
    (void)w;
    o->addrs = (struct gossip_addrs){.at = {{.family = 4, .port = m->port}}, .count = 1};
    memcpy(o->addrs.at[0].host, &at.sin_addr, 4);
    o->ipv6 = false;
    o->meta.role = 1; /* never a voter */
    memcpy(o->key, m->key[i].public_key, sizeof o->key);
    o->trust = (struct swim_trust){&m->key[i], sign_word, verify_word};
}

static void on_send(void *arg, struct world *w, const struct net_event *ev, const uint8_t *bytes)
{
    struct many *m = arg;
    uint32_t agent = ev->node - m->members;
    (void)w;
    if (ev->type == TYPE_STREAM)
        many_tcp_send(m, ev->from, agent, CHANNEL_SWIM, bytes, ev->len);
    else if (ev->type == TYPE_HELLO)
        many_udp_send(m, SEAL_HELLO, ev->from, agent, 0, bytes, ev->len);
    else
        many_udp_send_channel(m, ev->from, agent, ev->b, ev->type == TYPE_INTRO, CHANNEL_SWIM,
                              bytes, ev->len);
}

static void on_check(void *arg, struct world *w, uint32_t me, uint32_t to)
{
    struct many *m = arg;
    (void)w;
    many_tcp_check(m, me, to - m->members);
}

static void on_changed(void *arg, struct world *w, uint32_t viewer, uint32_t about,
                       const struct swim_change *c)
{
    struct many *m = arg;
    double now = unix_now();
    (void)w;
    if (about != m->watched || viewer >= m->members)
        return;
    if (c->member->m.state == MEMBER_FAILED && m->failed_at[viewer] == 0)
        m->failed_at[viewer] = now;
    if (c->member->m.state == MEMBER_ALIVE && m->alive_at[viewer] == 0)
        m->alive_at[viewer] = now;
}

/* ---- what agents say ---- */

/* All members hold the rows of whoever compares: as in a cluster at rest, where all hold the same.
 */
static void compare(struct many *m, uint32_t member, uint32_t agent, uint64_t epoch,
                    const uint8_t *body, size_t len)
{
    struct many_agent *a = &m->agent[agent];
    struct rbuf r;
    rbuf_init(&r, body, len);
    uint8_t type = rbuf_u8(&r);
    uint32_t session = rbuf_u32(&r);
    uint64_t root = rbuf_u64(&r);
    if (r.bad || type != SYNC_ROOT)
        return;
    a->compared++;
    a->root = root;
    for (uint32_t i = 0; i < m->members; i++)
        m->w.node[i].s->rows = root;
    uint8_t answer[5];
    struct wbuf w;
    wbuf_init(&w, answer, sizeof answer);
    wbuf_u8(&w, SYNC_SAME);
    wbuf_u32(&w, session);
    many_udp_send_channel(m, member, agent, epoch, false, CHANNEL_SYNC, answer, w.len);
}

static void say_hello(struct many *m, uint32_t member, uint32_t agent, uint64_t epoch,
                      uint8_t flags)
{
    uint8_t bytes[64 + 9 * RAFT_VOTERS_MAX];
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof bytes);
    wbuf_u8(&w, HELLO);
    wbuf_u64(&w, m->leader.cluster);
    wbuf_u8(&w, flags);
    wbuf_u64(&w, m->w.node[member].num);
    wbuf_u64(&w, m->leader.num);
    wbuf_u64(&w, m->leader.term);
    wbuf_u64(&w, 0);
    wbuf_u8(&w, m->leader.voters);
    for (uint8_t i = 0; i < m->leader.voters; i++) {
        wbuf_u64(&w, m->leader.voter[i]);
        wbuf_u8(&w, 1);
    }
    wbuf_u8(&w, 0);
    ENSURE(!w.bad);
    many_udp_send_channel(m, member, agent, epoch, false, CHANNEL_RAFT, bytes, w.len);
}

/* Who leads is known to all members: what an agent says of it, all say to who asks. */
static void hello(struct many *m, uint32_t member, uint32_t agent, uint64_t epoch,
                  const uint8_t *body, size_t len)
{
    struct rbuf r;
    rbuf_init(&r, body, len);
    uint8_t kind = rbuf_u8(&r);
    uint64_t cluster = rbuf_u64(&r);
    uint8_t flags = rbuf_u8(&r);
    (void)rbuf_u64(&r); /* its disk */
    struct many_leader said = {.cluster = cluster};
    said.num = rbuf_u64(&r);
    said.term = rbuf_u64(&r);
    (void)rbuf_u64(&r); /* of a configuration */
    uint8_t count = rbuf_u8(&r);
    for (uint8_t i = 0; i < count && !r.bad; i++) {
        uint64_t server = rbuf_u64(&r);
        if (rbuf_u8(&r) == 1 && said.voters < RAFT_VOTERS_MAX)
            said.voter[said.voters++] = server;
    }
    if (r.bad || kind != HELLO)
        return;
    if (cluster != 0 && said.num != 0 && said.term >= m->leader.term)
        m->leader = said;
    m->agent[agent].asks += flags & HELLO_ASK;
    if ((flags & HELLO_ASK) != 0 && m->leader.cluster != 0)
        say_hello(m, member, agent, epoch, 0);
}

/* As each agent without a vote does. What they ask each other is not carried out. */
static void ask_for_leader(struct many *m)
{
    static uint32_t turn;
    uint64_t now = mono_us();
    if (m->leader.cluster == 0 || now < m->hello_us)
        return;
    uint32_t all = m->members + m->agents;
    m->hello_us = now + (HELLO_EVERY_US + HELLO_EVERY_US / 2) / m->members;
    uint32_t whom = all > HELLO_CROWD ? (uint32_t)prng_below(&m->w.prng, all)
                                      : world_find(&m->w, m->leader.num);
    uint32_t member = turn++ % m->members;
    if (whom == UINT32_MAX || whom < m->members || m->w.node[member].life != LIFE_UP)
        return;
    const struct swim_member *about =
        swim_find(m->w.node[member].s, m->agent[whom - m->members].num);
    if (about != NULL)
        say_hello(m, member, whom - m->members, about->epoch, HELLO_ASK);
}

void many_message(struct many *m, uint32_t member, uint32_t agent, enum world_event type,
                  uint64_t epoch, uint8_t *message, size_t len)
{
    struct world_node *n = &m->w.node[member];
    uint64_t num = m->agent[agent].num;
    if (len == 0 || n->life != LIFE_UP)
        return;
    const struct swim_member *about = swim_find(n->s, num);
    if (message[0] == CHANNEL_SWIM) {
        struct net_event ev = {.type = type,
                               .from = m->members + agent,
                               .node = member,
                               .bytes = message + 1,
                               .len = (uint32_t)len - 1,
                               .a = epoch,
                               .b = n->epoch};
        if (about != NULL)
            memcpy(m->w.node[ev.from].key, about->card->key, WIRE_KEY);
        world_receive(&m->w, &ev);
        return;
    }
    if (message[0] < CHANNEL_COUNT)
        m->other[message[0]]++;
    if (type == TYPE_INTRO || about == NULL)
        return;
    swim_heard(n->s, world_ms(&m->w), num, epoch);
    if (message[0] == CHANNEL_SYNC)
        compare(m, member, agent, epoch, message + 1, len - 1);
    if (message[0] == CHANNEL_RAFT)
        hello(m, member, agent, epoch, message + 1, len - 1);
}

/* ---- commands ---- */

static void print_times(const char *name, const double *at, uint32_t count)
{
    const char *comma = "";
    printf("\"%s\": [", name);
    for (uint32_t i = 0; i < count; i++)
        if (at[i] != 0) {
            printf("%s%.4f", comma, at[i]);
            comma = ",";
        }
    printf("]");
}

static void print_stats(struct many *m)
{
    uint64_t packets = 0, bytes = 0, steps = 0;
    uint32_t least = UINT32_MAX, most = 0, up = 0;
    for (uint32_t i = 0; i < m->members; i++) {
        const struct world_node *n = &m->w.node[i];
        if (n->life != LIFE_UP)
            continue;
        up++;
        packets += n->packets;
        bytes += n->bytes;
        steps += n->steps;
        least = n->s->live < least ? n->s->live : least;
        most = n->s->live > most ? n->s->live : most;
    }
    printf("{\"up\": %u, \"live_least\": %u, \"live_most\": %u, \"packets\": %llu, "
           "\"bytes\": %llu, \"steps\": %llu, \"late_ms\": %.1f, \"behind_ms\": %.1f, "
           "\"refused\": [",
           up, least, most, (unsigned long long)packets, (unsigned long long)bytes,
           (unsigned long long)steps, (double)late_us / 1000,
           (double)(mono_us() - m->start_us - m->w.net.now_us) / 1000);
    for (unsigned i = 1; i <= SEAL_FORGED; i++)
        printf("%s%llu", i == 1 ? "" : ", ", (unsigned long long)m->refused[i]);
    printf("], \"rumor\": %llu, \"sync\": %llu, \"raft\": %llu, \"call\": %llu, \"path\": %llu, "
           "\"agents\": [",
           (unsigned long long)m->other[CHANNEL_RUMOR], (unsigned long long)m->other[CHANNEL_SYNC],
           (unsigned long long)m->other[CHANNEL_RAFT], (unsigned long long)m->other[CHANNEL_CALL],
           (unsigned long long)m->other[CHANNEL_PATH]);
    for (uint32_t a = 0; a < m->agents; a++)
        printf("%s{\"got\": %llu, \"sent\": %llu, \"asks\": %llu, \"compared\": %llu, "
               "\"root\": \"%016llx\"}",
               a == 0 ? "" : ", ", (unsigned long long)m->agent[a].got,
               (unsigned long long)m->agent[a].sent, (unsigned long long)m->agent[a].asks,
               (unsigned long long)m->agent[a].compared, (unsigned long long)m->agent[a].root);
    printf("]}");
    late_us = 0;
}

static void do_command(struct many *m, const char *line)
{
    uint32_t n = 0;
    char word[16] = "";
    (void)!sscanf(line, "%15s %u", word, &n);
    many_now(m);
    if (strcmp(word, "stats") == 0) {
        print_stats(m);
    } else if (strcmp(word, "watch") == 0) {
        m->watched = n;
        memset(m->failed_at, 0, m->members * sizeof *m->failed_at);
        memset(m->alive_at, 0, m->members * sizeof *m->alive_at);
        printf("{}");
    } else if (strcmp(word, "seen") == 0) {
        printf("{");
        print_times("failed", m->failed_at, m->members);
        printf(", ");
        print_times("alive", m->alive_at, m->members);
        printf("}");
    } else if ((strcmp(word, "kill") == 0 || strcmp(word, "vanish") == 0) && n < m->members) {
        bool vanished = word[0] == 'v';
        char id[AGENT_ID_MAX];
        world_name(n, id);
        printf("{\"id\": \"%s\", \"at\": %.4f}", id, unix_now());
        world_end(&m->w, n, vanished ? LIFE_VANISHED : LIFE_KILLED);
        many_tcp_end(m, n, vanished);
    } else {
        printf("{\"error\": \"no such command\"}");
    }
    printf("\n");
    fflush(stdout);
}

static void on_commands(uv_poll_t *poll, int status, int events)
{
    static char text[4096];
    static size_t have;
    struct many *m = poll->data;
    (void)status;
    (void)events;
    ssize_t n = read(STDIN_FILENO, text + have, sizeof text - 1 - have);
    if (n <= 0) {
        uv_stop(m->loop);
        return;
    }
    have += (size_t)n;
    text[have] = '\0';
    for (char *end; (end = strchr(text, '\n')) != NULL;) {
        *end = '\0';
        do_command(m, text);
        have -= (size_t)(end + 1 - text);
        memmove(text, end + 1, have + 1);
    }
}

static void on_tick(uv_timer_t *timer)
{
    struct many *m = timer->data;
    many_now(m);
    ask_for_leader(m);
    if (uv_now(m->loop) >= looked_ms + MANY_LOOK_MS) {
        looked_ms = uv_now(m->loop);
        many_tcp_look(m);
    }
}

/* ---- beginning ---- */

static void read_key(const char *path, uint8_t key[32])
{
    FILE *file = fopen(path, "r");
    ENSURE(file != NULL);
    for (unsigned i = 0; i < 32; i++) {
        unsigned byte;
        ENSURE(fscanf(file, "%2x", &byte) == 1);
        key[i] = (uint8_t)byte;
    }
    fclose(file);
}

static void make_keys(struct many *m)
{
    m->key = grab(m->members, sizeof *m->key);
    m->counter = grab(m->members, sizeof *m->counter);
    for (uint32_t i = 0; i < m->members; i++) {
        uint64_t seed[NODEKEY_SEED / sizeof(uint64_t)];
        seal_random(seed, sizeof seed);
        nodekey_init(&m->key[i], m->cluster, (const uint8_t *)seed);
    }
}

static void name_agents(struct many *m, char **addresses)
{
    printf("{\"port\": %u, \"ids\": [", m->port);
    for (uint32_t a = 0; a < m->agents; a++) {
        char id[AGENT_ID_MAX], host[64];
        unsigned port;
        world_name(m->members + a, id);
        ENSURE(sscanf(addresses[a], "%63[0-9.]:%u", host, &port) == 2);
        m->agent[a].num = hash_str(id);
        m->agent[a].addr.sin_family = AF_INET;
        m->agent[a].addr.sin_port = htons((uint16_t)port);
        ENSURE(inet_pton(AF_INET, host, &m->agent[a].addr.sin_addr) == 1);
        printf("%s\"%s\"", a == 0 ? "" : ", ", id);
    }
}

/* Thousands of members must not be late because the machine has much to do: at real-time priority
 * if it is allowed. They take a quarter of a core at rest. */
static void be_prompt(void)
{
    const struct sched_param first = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &first) != 0)
        sched_wake_soon();
}

static void form(struct many *m)
{
    const struct net_profile profile = {.latency_us = 500, .jitter_us = 200, .zones = 1};
    uint64_t seed;
    seal_random(&seed, sizeof seed);
    world_init(&m->w, m->members + m->agents, &profile, seed);
    m->w.elsewhere = m->agents;
    m->w.hooks = (struct world_hooks){m, on_changed, on_options, on_send, on_check};
    m->watched = UINT32_MAX;
    m->failed_at = grab(m->members, sizeof *m->failed_at);
    m->alive_at = grab(m->members, sizeof *m->alive_at);
    m->pair = grab((size_t)m->members * m->agents, sizeof *m->pair);
    make_keys(m);
    world_form(&m->w);
    for (uint32_t i = 0; i < m->members; i++) /* now, not when the first agent is told of */
        swim_own_lists(m->w.node[i].s);
}

int main(int argc, char **argv)
{
    static struct many m;
    static uint8_t key[1][32];
    uv_timer_t tick;
    uv_poll_t commands;
    if (argc < 6 || argc - 5 > (int)MANY_AGENTS_MAX) {
        fprintf(stderr, "usage: bench_many CLUSTER KEYFILE PORT MEMBERS HOST:PORT...\n");
        return 64;
    }
    snprintf(m.cluster, sizeof m.cluster, "%s", argv[1]);
    read_key(argv[2], key[0]);
    m.port = (uint16_t)strtoul(argv[3], NULL, 10);
    m.members = (uint32_t)strtoul(argv[4], NULL, 10);
    m.agents = (uint32_t)argc - 5;
    ENSURE(m.members > SWIM_RINGS && m.members < 60000);
    ENSURE(seal_init(&m.seal, m.cluster, (const uint8_t(*)[32])key, 1) == 0);
    m.loop = uv_default_loop();
    form(&m);
    be_prompt();
    name_agents(&m, argv + 5);
    many_udp_open(&m);
    many_tcp_open(&m);
    m.start_us = mono_us();
    ENSURE(uv_timer_init(m.loop, &tick) == 0);
    tick.data = &m;
    ENSURE(uv_timer_start(&tick, on_tick, 1, 1) == 0);
    ENSURE(uv_poll_init(m.loop, &commands, STDIN_FILENO) == 0);
    commands.data = &m;
    ENSURE(uv_poll_start(&commands, UV_READABLE, on_commands) == 0);
    printf("], \"join\": \"127.1.0.1:%u,127.1.0.2:%u,127.1.0.3:%u\"}\n", m.port, m.port, m.port);
    fflush(stdout);
    uv_run(m.loop, UV_RUN_DEFAULT);
    return 0;
}
