/* SPDX-License-Identifier: Apache-2.0
 * The node: life, what the core wants done, messages, and what others may ask about members. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/hash.h"
#include "gossip/node_uv.h"
#include "gossip/why.h"

#define LEAVE_MS 300u /* the word is spread some ten times by then */

_Static_assert(GOSSIP_ROOM + 1 + SEAL_OVERHEAD == GOSSIP_DATAGRAM_BASE, "what it says");

struct local_message {
    struct list link;
    size_t len;
    uint8_t data[]; /* channel, body */
};

uint64_t node_now(struct gossip_node *g)
{
    uint64_t ns = clock_mono_ns();
    swim_clock(g->swim, ns / 1000);
    return ns / 1000000;
}

uint32_t node_others(const struct gossip_node *g)
{
    return g->swim->live - (swim_self(g->swim)->m.state == MEMBER_LEFT ? 0 : 1);
}

void node_bad(struct gossip_node *g, const struct sockaddr *from, const char *why)
{
    uint64_t now = node_now(g);
    if (g->on_bad_packet == NULL || (g->bad_ms != 0 && now - g->bad_ms < 1000))
        return;
    g->bad_ms = now;
    g->on_bad_packet(g->arg, from, why);
}

/* ---- performing ---- */

struct peer *node_peer(struct gossip_node *g, const struct swim_member *m)
{
    struct peer *p = &g->peers[m->slot];
    if (p->num != m->m.num) {
        free(p->first);
        *p = (struct peer){.num = m->m.num};
        path_init(&p->path);
    }
    if (p->using != m->m.using)
        path_init(&p->path); /* another way begins anew */
    p->using = m->m.using;
    return p;
}

struct seal_pair *node_pair(struct gossip_node *g, const struct swim_member *m)
{
    struct peer *p = node_peer(g, m);
    if (p->paired && memcmp(p->key, m->card->key, sizeof p->key) == 0)
        return &p->pair;
    p->pair = (struct seal_pair){0};
    if (p->keyed)
        udp_new_key(p, m);
    p->keyed = true;
    p->paired = nodekey_agree(&g->own, m->card->key, p->pair.secret) == 0;
    memcpy(p->key, m->card->key, sizeof p->key);
    return p->paired ? &p->pair : NULL;
}

/* Bytes between zones cost money. Where a zone is not known nothing is said. */
bool node_is_far_zone(const struct gossip_node *g, const char *zone)
{
    const char *own = swim_self(g->swim)->m.meta->zone;
    return own[0] != '\0' && zone[0] != '\0' && strcmp(own, zone) != 0;
}

bool node_is_far(const struct gossip_node *g, const struct swim_member *m)
{
    return node_is_far_zone(g, m->m.meta->zone);
}

bool node_has_met(struct gossip_node *g, const struct swim_member *m)
{
    const struct peer *p = node_peer(g, m);
    return p->heard_as == g->epoch && p->window.epoch == m->epoch;
}

int node_address(const struct gossip_node *g, const struct swim_member *m, unsigned nth)
{
    uint8_t set = swim_usable(g->swim, m);
    for (unsigned i = 0; i < GOSSIP_ADDRS_MAX; i++) {
        unsigned at = (m->m.using + i) % GOSSIP_ADDRS_MAX;
        if ((set >> at & 1) != 0 && nth-- == 0)
            return (int)at;
    }
    return -1;
}

static int send_there(struct gossip_node *g, const struct swim_member *m, uint64_t epoch,
                      bool intro, const struct gossip_addr *addr, uint8_t channel, const void *data,
                      size_t len)
{
    struct seal_pair *pair = intro ? NULL : node_pair(g, m);
    int sent = 0;
    bool met = m->epoch == epoch && node_has_met(g, m);
    if (intro || pair != NULL)
        sent = udp_send(g,
                        intro ? SEAL_INTRO
                        : met ? SEAL_BRIEF
                              : SEAL_BOUND,
                        (struct seal_peer){m->m.num, epoch}, pair, addr, channel, data, len);
    if (sent > 0 && node_is_far(g, m))
        g->stats.cross_zone_bytes_sent += (uint64_t)sent;
    return sent;
}

/* addr NULL: ours may be the host that has lost a network, which its kernel knows. */
static int send_to_member(struct gossip_node *g, const struct swim_member *m, uint64_t epoch,
                          bool intro, const struct gossip_addr *addr, uint8_t channel,
                          const void *data, size_t len)
{
    if (addr != NULL)
        return send_there(g, m, epoch, intro, addr, channel, data, len);
    int sent = UV_ENETUNREACH, at;
    for (unsigned nth = 0; sent == UV_ENETUNREACH && (at = node_address(g, m, nth)) >= 0; nth++)
        sent = send_there(g, m, epoch, intro, &m->m.addrs->at[at], channel, data, len);
    return sent;
}

int node_send(struct gossip_node *g, const struct swim_member *m, const struct gossip_addr *addr,
              uint8_t channel, const void *data, size_t len)
{
    return send_to_member(g, m, m->epoch, false, addr, channel, data, len);
}

static const struct gossip_addr *addr_of(const struct swim_member *m, uint8_t via)
{
    return via == 0 || via > m->m.addrs->count ? NULL : &m->m.addrs->at[via - 1];
}

static void send_packet(struct gossip_node *g, const struct swim_packet *p,
                        const struct seal_peer *reply, const struct gossip_addr *reply_addr)
{
    const struct swim_member *m =
        swim_find(g->swim, p->to != 0 || reply == NULL ? p->to : reply->num);
    if (p->to == 0 && reply == NULL)
        return;
    if (p->to == 0) {
        /* Answers go where the packet came from, never to an address that it names. */
        if (m != NULL)
            send_to_member(g, m, reply->epoch, false, reply_addr, CHANNEL_SWIM, p->data, p->len);
        else if (reply_addr != NULL)
            udp_send(g, SEAL_INTRO, *reply, NULL, reply_addr, CHANNEL_SWIM, p->data, p->len);
    } else if (m != NULL && !m->m.self) {
        if (!p->stream || tcp_send(g, m, CHANNEL_SWIM, p->data, p->len) != 0)
            send_to_member(g, m, m->epoch, p->intro, addr_of(m, p->via), CHANNEL_SWIM, p->data,
                           p->len);
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct gossip_node *g = timer->data;
    uint64_t look_at = g->look_at;
    g->look_at = 0;
    if (look_at != 0)
        swim_suspicious(g->swim, node_now(g), look_at, g->out);
    if (look_at != 0 && g->on_broken != NULL)
        g->on_broken(g->arg, look_at);
    swim_tick(g->swim, node_now(g), g->out);
    node_perform(g, NULL, NULL);
    if (!g->closing)
        tcp_tick(g, node_now(g));
    if (!g->closing && g->moved && node_now(g) >= g->moved_ms + ADDRS_AGAIN_MS)
        addrs_look(g);
}

static void arm(struct gossip_node *g)
{
    uint64_t now = node_now(g), due = swim_deadline(g->swim);
    if (g->look_at != 0)
        due = now;
    if (g->closing)
        return;
    uv_update_time(g->timer.loop); /* else it ends early, and the agent wakes twice */
    uv_timer_start(&g->timer, on_timer, due > now ? due - now : 0, 0);
}

/* Not at once: the caller may be inside the core's own sends. */
void node_look(struct gossip_node *g, uint64_t num)
{
    g->look_at = num;
    arm(g);
}

/* For whoever asks later why the member is seen so. */
static void note_cause(struct gossip_node *g, const struct swim_change *c)
{
    if (c->cause == SWIM_CAUSE_META || c->cause == SWIM_CAUSE_ADDRESS)
        return;
    struct peer *p = node_peer(g, c->member);
    p->cause = (uint8_t)c->cause;
    p->cause_from = c->from;
    p->changed = true;
}

static void report(struct gossip_node *g)
{
    struct swim_change change;
    char why[WHY_TEXT_MAX];
    uint64_t incarnation;
    if (swim_take_raised(g->swim, &incarnation)) {
        if (g->on_incarnation != NULL)
            g->on_incarnation(g->arg, incarnation);
        if (!g->closing)
            addrs_look(g);
    }
    while (!g->closing && swim_next_change(g->swim, &change)) {
        struct gossip_member copy = change.member->m;
        uint64_t num = copy.num;
        why_sentence(g->swim, &change, why);
        if (copy.state == MEMBER_FAILED || copy.state == MEMBER_LEFT) {
            tcp_member_gone(g, num);
            call_fail(g, num, ERR_UNREACHABLE);
        }
        note_cause(g, &change);
        if (change.cause == SWIM_CAUSE_META) /* perhaps another address, and so another path */
            path_init(&node_peer(g, change.member)->path);
        /* Called even if only meta or address changed: then before equals the state. */
        if (g->on_member != NULL && !g->closing)
            g->on_member(g->arg, &copy, change.before, why);
    }
}

void node_perform(struct gossip_node *g, const struct seal_peer *reply,
                  const struct gossip_addr *reply_addr)
{
    struct swim_out *out = g->out;
    for (size_t i = 0; i < out->count && !g->closing; i++)
        send_packet(g, &out->packet[i], reply, reply_addr);
    out->count = 0;
    for (size_t i = 0; i < out->checks; i++) {
        const struct swim_member *m = swim_find(g->swim, out->check[i]);
        if (m != NULL && !g->closing)
            tcp_check(g, m);
    }
    out->checks = 0;
    for (size_t i = 0; i < out->hellos; i++) {
        const struct swim_member *m = swim_find(g->swim, out->hello[i]);
        if (m != NULL)
            join_ask_member(g, m);
    }
    out->hellos = 0;
    if (out->rows != ROWS_UNTOLD && g->on_rows != NULL && !g->closing)
        g->on_rows(g->on_rows_arg, out->rows_from, out->rows == ROWS_SAME);
    out->rows = ROWS_UNTOLD;
    if (node_others(g) > 0 && g->trouble[0] != '\0')
        join_joined(g);
    report(g);
    if (!g->closing)
        arm(g);
}

/* ---- receiving ---- */

void node_deliver(struct gossip_node *g, struct seal_peer from, bool proven, const uint8_t *message,
                  size_t len, const struct gossip_addr *source)
{
    if (len == 0 || g->closing)
        return;
    uint8_t channel = message[0];
    uint64_t now = node_now(g);
    if (channel == CHANNEL_SWIM) {
        int err = proven
                      ? swim_recv(g->swim, now, from.num, from.epoch, message + 1, len - 1, g->out)
                      : swim_recv_stranger(g->swim, now, from.num, message + 1, len - 1, g->out);
        g->stats.rejected += err != 0;
        node_perform(g, &from, source);
        return;
    }
    const struct swim_member *m = swim_find(g->swim, from.num);
    if (m == NULL || !proven || channel >= CHANNEL_COUNT)
        return;
    swim_heard(g->swim, now, from.num, from.epoch);
    if (m->m.state == MEMBER_FAILED || m->m.state == MEMBER_LEFT)
        return;
    if (channel == CHANNEL_PATH && source != NULL)
        path_message(g, m, message + 1, len - 1, source);
    else if (channel == CHANNEL_CALL && source == NULL)
        call_message(g, from.num, message + 1, len - 1);
    else if (g->handler[channel].fn != NULL)
        g->handler[channel].fn(g->handler[channel].arg, from.num, message + 1, len - 1);
}

void gossip_on(struct gossip_node *g, enum gossip_channel channel, gossip_recv_fn fn, void *arg)
{
    ENSURE(channel > CHANNEL_SWIM && channel < CHANNEL_PATH);
    g->handler[channel].fn = fn;
    g->handler[channel].arg = arg;
}

void gossip_on_rows(struct gossip_node *g, gossip_rows_fn fn, void *arg)
{
    g->on_rows = fn;
    g->on_rows_arg = arg;
}

void gossip_rows(struct gossip_node *g, uint64_t rows)
{
    g->swim->rows = rows;
}

/* ---- sending ---- */

static void on_local(uv_idle_t *idle)
{
    struct gossip_node *g = idle->data;
    struct list now;
    struct list *at;
    list_init(&now);
    while ((at = list_pop(&g->local)) != NULL)
        list_push(&now, at);
    g->local_bytes = 0;
    uv_idle_stop(idle);
    while ((at = list_pop(&now)) != NULL) {
        struct local_message *m = LIST_OF(at, struct local_message, link);
        if (!g->closing && m->data[0] == CHANNEL_CALL)
            call_message(g, g->num, m->data + 1, m->len - 1);
        else if (!g->closing && g->handler[m->data[0]].fn != NULL)
            g->handler[m->data[0]].fn(g->handler[m->data[0]].arg, g->num, m->data + 1, m->len - 1);
        free(m);
    }
}

static int send_self(struct gossip_node *g, uint8_t channel, const void *data, size_t len)
{
    if (len > GOSSIP_MESSAGE_MAX)
        return ERR_TOOBIG;
    if (g->local_bytes + len > NODE_LOCAL_MAX)
        return ERR_BUSY;
    struct local_message *m = malloc(sizeof *m + len + 1);
    if (m == NULL)
        return ERR_NOMEM;
    m->len = len + 1;
    m->data[0] = channel;
    if (len > 0)
        memcpy(m->data + 1, data, len);
    list_init(&m->link);
    list_push(&g->local, &m->link);
    g->local_bytes += len;
    uv_idle_start(&g->local_idle, on_local);
    return 0;
}

enum way { AS_FITS, ONCE_MORE, BY_STREAM };

static int send_message(struct gossip_node *g, enum gossip_channel channel, uint64_t to,
                        const void *data, size_t len, enum way way)
{
    ENSURE(channel > CHANNEL_SWIM && channel < CHANNEL_PATH);
    if (g->closing)
        return ERR_CLOSED;
    if (to == g->num)
        return send_self(g, (uint8_t)channel, data, len);
    const struct swim_member *m = swim_find(g->swim, to);
    if (m == NULL || m->m.state == MEMBER_FAILED || m->m.state == MEMBER_LEFT)
        return ERR_NOTFOUND;
    if (way == BY_STREAM)
        return tcp_send(g, m, (uint8_t)channel, data, len);
    return path_send(g, m, (uint8_t)channel, data, len, way == ONCE_MORE);
}

size_t gossip_room(struct gossip_node *g, uint64_t to)
{
    const struct swim_member *m = swim_find(g->swim, to);
    return m == NULL || m->m.self ? GOSSIP_ROOM : path_room(g, m);
}

int gossip_send(struct gossip_node *g, enum gossip_channel channel, uint64_t to, const void *data,
                size_t len)
{
    return send_message(g, channel, to, data, len, AS_FITS);
}

int gossip_send_again(struct gossip_node *g, enum gossip_channel channel, uint64_t to,
                      const void *data, size_t len)
{
    return send_message(g, channel, to, data, len, ONCE_MORE);
}

int gossip_send_stream(struct gossip_node *g, enum gossip_channel channel, uint64_t to,
                       const void *data, size_t len)
{
    return send_message(g, channel, to, data, len, BY_STREAM);
}

/* ---- life ---- */

/* The last handle closed: nothing of libuv's refers to the node any more. */
void node_handle_closed(struct gossip_node *g)
{
    ENSURE(g->open_handles > 0);
    if (--g->open_handles > 0 || !g->closing)
        return;
    void (*closed)(void *) = g->closed;
    void *arg = g->closed_arg;
    struct list *at;
    while ((at = list_pop(&g->local)) != NULL)
        free(LIST_OF(at, struct local_message, link));
    seal_fini(&g->seal);
    nodekey_fini(&g->own);
    marks_fini(&g->marks);
    free(g->swim);
    free(g->out);
    for (size_t i = 0; i < GOSSIP_MEMBERS_MAX; i++)
        free(g->peers[i].first);
    free(g->peers);
    free(g);
    if (closed != NULL)
        closed(arg);
}

static void on_handle_closed(uv_handle_t *handle)
{
    node_handle_closed(handle->data);
}

void gossip_destroy(struct gossip_node *g, void (*done)(void *arg), void *arg)
{
    ENSURE(!g->closing);
    g->closing = true;
    g->closed = done;
    g->closed_arg = arg;
    call_close(g);
    tcp_close_all(g);
    netlink_close(g);
    uv_handle_t *handles[] = {(uv_handle_t *)&g->udp,        (uv_handle_t *)&g->listener,
                              (uv_handle_t *)&g->timer,      (uv_handle_t *)&g->call_timer,
                              (uv_handle_t *)&g->join_timer, (uv_handle_t *)&g->leave_timer,
                              (uv_handle_t *)&g->local_idle};
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++)
        uv_close(handles[i], on_handle_closed);
}

static void on_left(uv_timer_t *timer)
{
    struct gossip_node *g = timer->data;
    if (g->left != NULL)
        g->left(g->left_arg);
}

void gossip_leave(struct gossip_node *g, void (*done)(void *arg), void *arg)
{
    g->left = done;
    g->left_arg = arg;
    uv_timer_stop(&g->join_timer);
    bool alone = node_others(g) == 0;
    swim_leave(g->swim, node_now(g), g->out);
    node_perform(g, NULL, NULL);
    if (!g->closing)
        uv_timer_start(&g->leave_timer, on_left, alone ? 0 : LEAVE_MS, 0);
}

/* An IPv6 socket that takes IPv4 too, whatever net.ipv6.bindv6only says; TCP's libuv makes so. */
static int udp_init_both(struct gossip_node *g)
{
    int fd, off = 0, rc = uv_udp_init_ex(g->loop, &g->udp, AF_INET6);
    if (rc == 0 && uv_fileno((const uv_handle_t *)&g->udp, &fd) == 0)
        (void)!setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    return rc;
}

static int init_handles(struct gossip_node *g)
{
    int rc = g->family == AF_INET6 ? udp_init_both(g) : uv_udp_init(g->loop, &g->udp);
    rc = rc != 0 ? rc : uv_tcp_init(g->loop, &g->listener);
    if (rc != 0)
        return ERR_IO; /* only bad flags can fail; nothing is registered with the loop yet */
    uv_timer_init(g->loop, &g->timer);
    uv_timer_init(g->loop, &g->call_timer);
    uv_timer_init(g->loop, &g->join_timer);
    uv_timer_init(g->loop, &g->leave_timer);
    uv_idle_init(g->loop, &g->local_idle);
    g->udp.data = g->listener.data = g->timer.data = g;
    g->call_timer.data = g->join_timer.data = g->leave_timer.data = g->local_idle.data = g;
    g->open_handles = 7;
    g->netlink_fd = -1;
    return 0;
}

static int take_options(struct gossip_node *g, const struct gossip_options *o, struct errmsg *e)
{
    size_t id_len = strlen(o->id);
    if (id_len == 0 || id_len >= sizeof g->id)
        return errmsg_set(e, ERR_CONFIG, "an agent id has 1 to %zu characters", sizeof g->id - 1);
    for (size_t i = 0; i < id_len; i++)
        if (o->id[i] <= 0x20 || o->id[i] >= 0x7f)
            return errmsg_set(e, ERR_CONFIG, "agent id: only printable ASCII without blanks");
    if (strlen(o->cluster) >= sizeof g->cluster)
        return errmsg_set(e, ERR_CONFIG, "cluster name: at most %d characters", CLUSTER_NAME_MAX);
    if (o->key_count == 0 || o->key_count > SEAL_KEYS_MAX)
        return errmsg_set(e, ERR_CONFIG, "gossip needs 1 to %d keys, not %zu", SEAL_KEYS_MAX,
                          o->key_count);
    snprintf(g->id, sizeof g->id, "%s", o->id);
    snprintf(g->cluster, sizeof g->cluster, "%s", o->cluster);
    g->loop = o->loop;
    g->arg = o->arg;
    g->on_member = o->on_member;
    g->on_incarnation = o->on_incarnation;
    g->on_bad_packet = o->on_bad_packet;
    g->on_broken = o->on_broken;
    g->num = hash_str(o->id);
    if (g->num == 0)
        return errmsg_set(e, ERR_CONFIG, "agent id '%s' hashes to 0: choose another", o->id);
    int err = seal_init(&g->seal, o->cluster, o->keys, o->key_count);
    if (err != 0)
        return errmsg_set(e, err, "libsodium cannot start: no randomness");
    nodekey_init(&g->own, o->cluster, o->own_key);
    for (size_t i = 0; i < o->key_count; i++)
        seal_key_id(o->keys[i], g->key_ids[i]);
    /* Grows from life to life as the clock does; the random part makes it unique even if the clock
     * went back to the very millisecond. */
    uint32_t noise;
    seal_random(&noise, sizeof noise);
    g->epoch = (uint64_t)clock_unix_ms() << 20 | (noise & 0xfffff);
    return 0;
}

static void sign_word(void *arg, const uint8_t *bytes, size_t len, uint8_t ret_sig[WIRE_SIG])
{
    nodekey_sign(arg, bytes, len, ret_sig);
}

static bool verify_word(void *arg, const uint8_t key[WIRE_KEY], const uint8_t *bytes, size_t len,
                        const uint8_t sig[WIRE_SIG])
{
    return nodekey_verify(arg, key, bytes, len, sig);
}

int gossip_create(struct gossip_node **ret, const struct gossip_options *o, struct errmsg *e)
{
    struct gossip_addrs advertise = {0};
    struct gossip_node *g = calloc(1, sizeof *g);
    if (g == NULL)
        return errmsg_set(e, ERR_NOMEM, "no memory for the gossip node");
    list_init(&g->streams);
    list_init(&g->local);
    call_init(g);
    /* Zeroed pages of slots that are never used stay untouched and cost nothing. */
    g->swim = calloc(1, swim_memory(GOSSIP_MEMBERS_MAX));
    g->out = calloc(1, sizeof *g->out);
    g->peers = calloc(GOSSIP_MEMBERS_MAX, sizeof *g->peers);
    int err = ERR_NOMEM;
    if (g->swim != NULL && g->out != NULL && g->peers != NULL)
        err = take_options(g, o, e);
    if (err == 0)
        err = addrs_bind(g, o->bind, e);
    if (err == 0)
        err = init_handles(g);
    if (err != 0) {
        free(g->swim);
        free(g->out);
        free(g->peers);
        free(g);
        return err;
    }
    err = addrs_open(g, o, &advertise, e);
    if (err != 0) {
        gossip_destroy(g, NULL, NULL); /* closes what was opened; frees itself on the loop */
        return err;
    }
    struct swim_options options = {.members = GOSSIP_MEMBERS_MAX,
                                   .id = g->id,
                                   .addrs = advertise,
                                   .ipv6 = g->family == AF_INET6,
                                   .meta = o->meta,
                                   .incarnation = o->incarnation,
                                   .epoch = g->epoch,
                                   .unix_s = (uint64_t)clock_unix_ms() / 1000,
                                   .seed = o->seed,
                                   .trust = {&g->own, sign_word, verify_word}};
    memcpy(options.key, g->own.public_key, sizeof options.key);
    if (options.incarnation > WIRE_INCARNATION_MAX / 2)
        options.incarnation = WIRE_INCARNATION_MAX / 2;
    swim_init(g->swim, &options, node_now(g));
    *ret = g;
    if (g->native)
        netlink_open(g);
    node_perform(g, NULL, NULL);
    return 0;
}

/* ---- questions ---- */

uint64_t gossip_self(const struct gossip_node *g)
{
    return g->num;
}

uint16_t gossip_port(const struct gossip_node *g)
{
    return g->port;
}

const struct gossip_member *gossip_find(const struct gossip_node *g, uint64_t num)
{
    const struct swim_member *m = swim_find(g->swim, num);
    return m == NULL ? NULL : &m->m;
}

const struct gossip_member *gossip_find_id(const struct gossip_node *g, const char *id)
{
    const struct gossip_member *m = gossip_find(g, hash_str(id));
    return m != NULL && strcmp(m->id, id) == 0 ? m : NULL;
}

size_t gossip_count(const struct gossip_node *g)
{
    return g->swim->count;
}

const struct gossip_member *gossip_at(const struct gossip_node *g, size_t i)
{
    return &swim_nth(g->swim, (uint32_t)i)->m;
}

size_t gossip_alive_count(const struct gossip_node *g)
{
    return g->swim->live;
}

void gossip_evict(struct gossip_node *g, uint64_t num, bool evicted)
{
    swim_evict(g->swim, node_now(g), num, evicted);
    node_perform(g, NULL, NULL);
}

void gossip_set_meta(struct gossip_node *g, const struct gossip_meta *meta)
{
    swim_set_meta(g->swim, node_now(g), meta, g->out);
    node_perform(g, NULL, NULL);
}

void gossip_key_id(const uint8_t key[32], char out[17])
{
    seal_key_id(key, out);
}

void gossip_stats(const struct gossip_node *g, struct gossip_stats *ret)
{
    *ret = g->stats;
    ret->health = g->swim->health;
    ret->refused_claims = g->swim->refused_claims;
    ret->signatures_verified = g->swim->verified;
    ret->streams = g->outgoing + g->incoming;
}

json_t *gossip_why(const struct gossip_node *g, uint64_t num)
{
    const struct swim_member *m = swim_find(g->swim, num);
    if (m == NULL)
        return json_null();
    json_t *obj = why_json(g->swim, m, clock_mono_ms());
    const struct peer *p = &g->peers[m->slot];
    if (p->num == num && p->changed) {
        char because[WHY_TEXT_MAX];
        struct swim_change last = {
            .member = m, .cause = (enum swim_cause)p->cause, .from = p->cause_from};
        why_sentence(g->swim, &last, because);
        json_set_str(obj, "because", because);
    }
    return obj;
}
