/* SPDX-License-Identifier: Apache-2.0
 * Getting in: resolving seed addresses, the join and welcome packets, retries, and saying why it
 * does not work. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/node_uv.h"

#define JOIN_WAIT_MIN_MS 100u  /* the first packet may be lost, or the seed starts just now */
#define JOIN_WAIT_MAX_MS 8000u /* while alone */
#define JOIN_SLOW_MS 30000u    /* with company: seeds that never answered */
#define JOIN_SLOW_ROUNDS 20u
#define JOIN_ANSWER_MS 10000u /* a welcome later than this is not ours any more */
#define JOIN_ADDRESSES 4u     /* of one name */

/* ---- asking ---- */

/* m: who is known to be there, or NULL */
static void ask(struct gossip_node *g, const struct gossip_addr *addr, int seed,
                const struct swim_member *m)
{
    uint8_t packet[WIRE_JOIN_LEN];
    struct wire_join join = {.type = WIRE_JOIN};
    struct asked *a = &g->asked[g->asked_next++ % NODE_ASKED_MAX];
    seal_random(join.nonce, sizeof join.nonce);
    memcpy(a->nonce, join.nonce, sizeof a->nonce);
    a->addr = *addr;
    a->seed = seed;
    a->at_ms = node_now(g);
    swim_self_update(g->swim, &join.self);
    join.self.state = MEMBER_ALIVE;
    if (m != NULL) {
        join.asked = m->m.num;
        join.known_epoch = m->epoch;
    }
    size_t len = wire_put_join(&join, packet);
    int sent = udp_send_hello(g, addr, m == NULL ? "" : m->m.meta->zone, packet, len);
    if (m == NULL && seed >= 0 && sent > 0)
        g->seeds[seed].uncounted += (uint64_t)sent;
}

void join_ask_member(struct gossip_node *g, const struct swim_member *m)
{
    int at;
    for (unsigned nth = 0; (at = node_address(g, m, nth)) >= 0; nth++)
        ask(g, &m->m.addrs->at[at], -1, m);
}

static void ask_seed(struct gossip_node *g, size_t seed, const struct gossip_addr *addr)
{
    if (addr_find(swim_self(g->swim)->m.addrs, addr) >= 0) {
        g->seeds[seed].answered = g->seeds[seed].self = true;
        return;
    }
    const struct swim_member *there = NULL;
    for (uint32_t i = 0; i < g->swim->count; i++) {
        const struct swim_member *m = swim_nth(g->swim, i);
        if (addr_find(m->m.addrs, addr) < 0)
            continue;
        if (m->m.state == MEMBER_ALIVE) {
            g->seeds[seed].answered = true;
            return;
        }
        there = m;
    }
    ask(g, addr, (int)seed, there);
}

struct resolve {
    uv_getaddrinfo_t req;
    struct gossip_node *node;
    size_t seed;
};

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res)
{
    struct resolve *q = (struct resolve *)(void *)req;
    struct gossip_node *g = q->node;
    g->seeds[q->seed].resolving = false;
    g->resolving--;
    unsigned asked = 0;
    for (struct addrinfo *at = res; status == 0 && at != NULL && !g->closing; at = at->ai_next) {
        struct gossip_addr addr = addr_plain(at->ai_addr);
        if (addr.family != 0 && asked++ < JOIN_ADDRESSES)
            ask_seed(g, q->seed, &addr);
    }
    if (status != 0 && !g->closing && !g->refused && node_others(g) == 0)
        snprintf(g->trouble, sizeof g->trouble, "'%.200s' does not resolve: %s",
                 g->seeds[q->seed].text, uv_strerror(status));
    uv_freeaddrinfo(res);
    free(q);
    node_handle_closed(g);
}

/* Names are resolved anew at each try: an address behind a name changes. */
static void try_seed(struct gossip_node *g, size_t seed)
{
    char host[256], port[8];
    struct gossip_addr addr;
    struct seed *s = &g->seeds[seed];
    if (s->answered || s->resolving || !addr_split(s->text, host, sizeof host, port, sizeof port))
        return;
    if (addr_numeric(host, port, &addr) == 0) {
        ask_seed(g, seed, &addr);
        return;
    }
    struct resolve *q = calloc(1, sizeof *q);
    if (q == NULL)
        return;
    q->node = g;
    q->seed = seed;
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM};
    if (uv_getaddrinfo(g->loop, &q->req, on_resolved, host, port, &hints) != 0) {
        free(q);
        return;
    }
    s->resolving = true;
    g->resolving++;
    g->open_handles++;
}

/* ---- retries and trouble ---- */

static void explain(struct gossip_node *g)
{
    size_t silent = 0;
    const char *first = "";
    for (size_t i = 0; i < g->seed_count; i++) {
        if (g->seeds[i].answered)
            continue;
        first = silent++ == 0 ? g->seeds[i].text : first;
    }
    if (g->refused || silent == 0)
        return;
    char odd[80] = "";
    if (g->odd_key[0] != '\0')
        snprintf(odd, sizeof odd, " (packets come in that are sealed with key %s...)", g->odd_key);
    snprintf(g->trouble, sizeof g->trouble,
             "no answer from %zu address%s (%.120s%s): no agent runs there, its port (udp and tcp) "
             "is blocked, its key is not ours (key id %.8s...)%s, or its cluster is not '%.80s'",
             silent, silent == 1 ? "" : "es", first, silent > 1 ? ", ..." : "", g->key_ids[0], odd,
             g->cluster);
}

static void try_all(struct gossip_node *g)
{
    bool alone = node_others(g) == 0;
    size_t open = 0;
    for (size_t i = 0; i < g->seed_count; i++) {
        try_seed(g, i);
        open += !g->seeds[i].answered;
    }
    g->join_rounds++;
    if (alone && g->join_rounds > 3)
        explain(g);
    if (open == 0 && !alone)
        return;
    if (!alone && g->join_rounds > JOIN_SLOW_ROUNDS)
        return;
    uint64_t wait = alone ? g->join_wait_ms : JOIN_SLOW_MS;
    g->join_wait_ms =
        g->join_wait_ms * 2 < JOIN_WAIT_MAX_MS ? g->join_wait_ms * 2 : JOIN_WAIT_MAX_MS;
    wait += hash_mix(g->num ^ g->join_rounds) % (wait / 4 + 1); /* agents start together */
    uv_timer_start(&g->join_timer, join_timer, wait, 0);
}

void join_timer(uv_timer_t *timer)
{
    struct gossip_node *g = timer->data;
    if (node_others(g) == 0)
        for (size_t i = 0; i < g->seed_count; i++)
            g->seeds[i].answered = g->seeds[i].self;
    try_all(g);
}

/* Where text has, or gets, its place: a full list gives up one that has answered, or that was named
 * longest ago, but none of the same call. */
static struct seed *place_of(struct gossip_node *g, const char *text)
{
    struct seed *place = NULL;
    for (size_t i = 0; i < g->seed_count; i++) {
        struct seed *s = &g->seeds[i];
        if (strcmp(s->text, text) == 0)
            return s;
        if (s->resolving || s->call == g->join_call)
            continue;
        if (place == NULL || s->answered > place->answered ||
            (s->answered == place->answered && s->call < place->call))
            place = s;
    }
    return g->seed_count < NODE_SEEDS_MAX ? &g->seeds[g->seed_count++] : place;
}

int gossip_join(struct gossip_node *g, const char *const *addresses, size_t count)
{
    char host[256], port[8];
    int err = 0;
    if (g->closing)
        return ERR_CLOSED;
    g->join_call++;
    for (size_t i = 0; i < count; i++) {
        if (!addr_split(addresses[i], host, sizeof host, port, sizeof port) ||
            strlen(addresses[i]) >= sizeof g->seeds[0].text) {
            snprintf(g->trouble, sizeof g->trouble,
                     "'%.200s' is not an address: write host:port or [v6]:port", addresses[i]);
            err = ERR_BADPARAM;
            continue;
        }
        struct seed *s = place_of(g, addresses[i]);
        if (s == NULL) {
            err = ERR_FULL;
            break;
        }
        if (strcmp(s->text, addresses[i]) != 0) {
            *s = (struct seed){0};
            snprintf(s->text, sizeof s->text, "%s", addresses[i]);
        }
        s->call = g->join_call;
        s->answered = s->self; /* who answered once may have left since, and be back */
    }
    g->join_wait_ms = JOIN_WAIT_MIN_MS;
    g->join_rounds = 0;
    try_all(g);
    return err;
}

const char *gossip_join_trouble(const struct gossip_node *g)
{
    return g->trouble;
}

void join_joined(struct gossip_node *g)
{
    g->trouble[0] = '\0';
    g->refused = false;
}

/* ---- the two packets ---- */

/* Our clock went back since our last life: without a later session than that one's nobody who knew
 * it would listen. By no more than a clock may: who lies could make us take the last of all, and
 * nobody would listen to our next life. How much later is random: who tells two lives of ours the
 * same would else give them one session, and what they seal the same nonces. It is 9 minutes of
 * the clock on average: a life that is longer than that leaves the next one less to outdo. And only
 * now and then, for what others have sealed for the session before is lost: anybody can make a
 * join. Who honestly knows of a later life is asked sooner or later (udp_uv.c): answers may come at
 * the pace of such questions. */
static void outdo_epoch(struct gossip_node *g, uint64_t known, bool asked)
{
    uint64_t now = (uint64_t)clock_unix_ms() << 20;
    if (known <= g->epoch || known > now + NODE_EPOCH_JUMP)
        return;
    if (!pace_may(asked ? &g->epoch_answered : &g->epoch_told, node_now(g),
                  asked ? NODE_EPOCH_ASK_MS : NODE_EPOCH_TOLD_MS,
                  asked ? NODE_EPOCH_ASK_MAX_MS : NODE_EPOCH_TOLD_MAX_MS))
        return;
    uint64_t noise;
    seal_random(&noise, sizeof noise);
    g->epoch = known + 1 + noise % NODE_EPOCH_NOISE;
    g->epoch_ask.wait_ms = 0;
    swim_set_epoch(g->swim, g->epoch);
}

static void answer_join(struct gossip_node *g, const struct seal_header *h,
                        const struct wire_join *join, const struct gossip_addr *from)
{
    const struct gossip_member *other;
    uint8_t packet[WIRE_JOIN_LEN];
    struct wire_join welcome = {.type = WIRE_WELCOME, .seen = *from};
    if (join->self.num != h->sender || hash_str(join->self.id) != join->self.num ||
        swim_self(g->swim)->m.state == MEMBER_LEFT)
        return;
    if (h->sender == g->num && h->epoch == g->epoch) {
        for (size_t i = 0; i < NODE_ASKED_MAX; i++) /* our own seed list names us */
            if (g->asked[i].seed >= 0 && memcmp(g->asked[i].nonce, join->nonce, 16) == 0)
                g->seeds[g->asked[i].seed].answered = g->seeds[g->asked[i].seed].self = true;
        return;
    }
    if (join->asked == g->num)
        outdo_epoch(g, join->known_epoch, false);
    memcpy(welcome.nonce, join->nonce, sizeof welcome.nonce);
    welcome.refusal = swim_admit(g->swim, &join->self, &other);
    /* Another key, from the very address: a lost data directory, most likely. Ask back. */
    if (welcome.refusal == WIRE_ID_TAKEN && addr_find(other->addrs, from) >= 0 &&
        swim_challenge(g->swim, node_now(g), other->num))
        join_ask_member(g, swim_find(g->swim, other->num));
    if (other != NULL) {
        welcome.taken = addr_find(other->addrs, from) >= 0 ? *from : other->addrs->at[0];
        welcome.known_state = other->state;
        welcome.known_incarnation = other->incarnation;
        welcome.known_epoch = swim_find(g->swim, other->num)->epoch;
    }
    swim_self_update(g->swim, &welcome.self);
    size_t len = wire_put_join(&welcome, packet);
    ENSURE(len <= WIRE_JOIN_LEN); /* never more than was sent to us */
    (void)udp_send_hello(g, from, join->self.meta.zone, packet, len);
}

static void explain_refusal(struct gossip_node *g, const struct wire_join *w)
{
    char addr[ADDR_TEXT];
    addr_text(&w->taken, addr);
    g->refused = true;
    if (w->refusal == WIRE_ID_TAKEN)
        snprintf(g->trouble, sizeof g->trouble,
                 "refused by %s: an agent with our id '%s' is alive at %s; stop it, or give this "
                 "one another id",
                 w->self.id, g->id, addr);
    else if (w->refusal == WIRE_NUM_TAKEN)
        snprintf(g->trouble, sizeof g->trouble,
                 "refused by %s: our id '%s' has the same hash as that of the agent at %s; change "
                 "one of the two ids",
                 w->self.id, g->id, addr);
    else if (w->refusal == WIRE_NOT_ADMITTED)
        snprintf(
            g->trouble, sizeof g->trouble,
            "refused by %s: our id '%s' is no container instance of cluster '%s'; register the "
            "instance with ECS, or set gossip.admission_grace to 0 everywhere",
            w->self.id, g->id, g->cluster);
    else
        snprintf(g->trouble, sizeof g->trouble,
                 "refused by %s: it knows %u live agents already and has room for no more",
                 w->self.id, (unsigned)GOSSIP_MEMBERS_MAX);
}

/* An agent without an advertised address believes the first member that lets it in. */
static void learn_address(struct gossip_node *g, const struct gossip_addr *seen)
{
    struct gossip_addr addr = *seen;
    if (!g->wildcard || seen->family == 0)
        return;
    addr.port = g->port;
    addrs_learned(g, &addr);
}

/* What was sent to that address before anybody knew in which zone it is. */
static void count_joins(struct gossip_node *g, int seed, const char *zone)
{
    if (seed < 0)
        return;
    if (node_is_far_zone(g, zone))
        g->stats.cross_zone_bytes_sent += g->seeds[seed].uncounted;
    g->seeds[seed].uncounted = 0;
}

/* That it repeats the nonce proves that whoever made it receives where the join went. Where it says
 * it comes from proves nothing, and a host with several addresses may answer from another. */
static void take_welcome(struct gossip_node *g, const struct seal_header *h,
                         const struct wire_join *w, const struct gossip_addr *from)
{
    struct asked *a = NULL;
    uint64_t now = node_now(g);
    for (size_t i = 0; i < NODE_ASKED_MAX && a == NULL; i++)
        if (g->asked[i].at_ms != 0 && now - g->asked[i].at_ms <= JOIN_ANSWER_MS &&
            memcmp(g->asked[i].nonce, w->nonce, sizeof w->nonce) == 0)
            a = &g->asked[i];
    if (a == NULL)
        return;
    a->at_ms = 0;
    count_joins(g, a->seed, w->self.meta.zone);
    if (w->refusal != WIRE_ACCEPTED && a->seed >= 0)
        explain_refusal(g, w);
    if (h->sender == g->num || w->self.num != h->sender || hash_str(w->self.id) != w->self.num)
        return;
    struct seal_peer reply = {h->sender, h->epoch};
    bool known = w->refusal == WIRE_ACCEPTED || swim_refused_for_earlier_life(w);
    if (known && w->known_state != 0)
        outdo_epoch(g, w->known_epoch, true);
    if (w->refusal != WIRE_ACCEPTED) {
        swim_refused(g->swim, now, w, &a->addr, g->out);
        node_perform(g, &reply, from);
        return;
    }
    if (a->seed >= 0)
        g->seeds[a->seed].answered = true;
    learn_address(g, &w->seen);
    swim_welcome(g->swim, now, w, &a->addr, a->seed >= 0, g->out);
    node_perform(g, &reply, from);
}

void join_on_hello(struct gossip_node *g, const struct seal_header *h, const uint8_t *data,
                   size_t len, const struct gossip_addr *from)
{
    struct wire_join join;
    if (wire_get_join(data, len, &join) != 0) {
        g->stats.rejected++;
        return;
    }
    if (join.type == WIRE_JOIN)
        answer_join(g, h, &join, from);
    else
        take_welcome(g, h, &join, from);
}
