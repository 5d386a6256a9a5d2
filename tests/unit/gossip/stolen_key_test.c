/* SPDX-License-Identifier: Apache-2.0
 * Real nodes on loopback against somebody who has the cluster's key and speaks in a member's name:
 * raft's messages, records and calls do not arrive, the member is not kept alive by them, and what
 * it really sends is not taken for a replay of what the liar sent. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "agent/base/clock.h"
#include "gossip/node_uv.h"

static const uint8_t key[1][32] = {{1, 2, 3}};
static uv_loop_t loop;
static struct gossip_node *a, *b, *c;
static unsigned got_raft, got_true;
static bool time_is_up;

static void on_raft(void *arg, uint64_t from, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)from;
    got_raft += len == 6 && memcmp(data, "forged", 6) == 0;
    got_true += len == 4 && memcmp(data, "true", 4) == 0;
}

static void on_time(uv_timer_t *timer)
{
    (void)timer;
    time_is_up = true;
}

static bool run(bool (*done)(void), uint64_t limit_ms)
{
    uv_timer_t timer;
    time_is_up = false;
    uv_timer_init(&loop, &timer);
    uv_timer_start(&timer, on_time, limit_ms, 0);
    while (!time_is_up && (done == NULL || !done()))
        uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    return done == NULL || done();
}

static struct gossip_node *make(const char *id)
{
    struct gossip_node *g = NULL;
    struct errmsg e = {""};
    const uint8_t own_key[32] = {(uint8_t)id[0]}; /* the same in each life */
    struct gossip_options o = {.loop = &loop,
                               .id = id,
                               .own_key = own_key,
                               .cluster = "c",
                               .bind = "127.0.0.1:0",
                               .keys = key,
                               .key_count = 1,
                               .incarnation = 1,
                               .seed = 7};
    cr_assert_eq(gossip_create(&g, &o, &e), 0, "%s", e.text);
    return g;
}

static bool both_met(void)
{
    const struct swim_member *x = swim_find(a->swim, b->num), *y = swim_find(b->swim, a->num);
    return x != NULL && y != NULL && x->met && y->met;
}

static uint64_t rejected;
static bool most_refused(void)
{
    return a->stats.rejected >= rejected + 50;
}

static bool true_came(void)
{
    return got_true > 0;
}

/* What the liar can build: every field of the header as b would have it. */
static void forge(int fd, enum seal_type type, uint64_t counter, uint8_t channel)
{
    uint8_t plain[7] = {channel, 'f', 'o', 'r', 'g', 'e', 'd'}, packet[200];
    struct seal_pair guess = {.secret = {4, 4, 4}};
    struct seal_peer from = {b->num, b->epoch}, to = {a->num, a->epoch};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    size_t len =
        seal_datagram(&a->seal, type, from, counter, to, &guess, plain, sizeof plain, packet);
    cr_assert_eq(sendto(fd, packet, len, 0, (struct sockaddr *)&in, sizeof in), (ssize_t)len);
}

Test(stolen_key, nobody_else_speaks_for_a_member)
{
    char address[32];
    const char *list[1] = {address};
    uv_loop_init(&loop);
    a = make("a");
    b = make("b");
    gossip_on(a, CHANNEL_RAFT, on_raft, NULL);
    gossip_on(a, CHANNEL_RUMOR, on_raft, NULL);
    snprintf(address, sizeof address, "127.0.0.1:%u", gossip_port(a));
    cr_assert_eq(gossip_join(b, list, 1), 0);
    cr_assert(run(both_met, 10000), "they know each other");
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    /* b itself is silent from now on: nothing of its may be taken for the liar's work. */
    uv_udp_recv_stop(&b->udp);
    uv_timer_stop(&b->timer);
    run(NULL, 100);
    uint64_t heard = swim_find(a->swim, b->num)->m.heard_mono_ms;
    uint64_t incarnation = swim_find(a->swim, b->num)->m.incarnation;
    uv_timer_stop(&b->timer);
    rejected = a->stats.rejected;
    for (unsigned i = 0; i < 50; i++) {
        forge(fd, SEAL_BOUND, SEAL_COUNTER_MAX - i, CHANNEL_RAFT);
        forge(fd, SEAL_INTRO, SEAL_COUNTER_MAX - 100 - i, CHANNEL_RAFT);
        forge(fd, SEAL_INTRO, SEAL_COUNTER_MAX - 200 - i, CHANNEL_RUMOR);
        forge(fd, SEAL_INTRO, SEAL_COUNTER_MAX - 300 - i, CHANNEL_SWIM);
    }
    cr_assert(run(most_refused, 10000));
    run(NULL, 100);
    cr_assert_eq(got_raft, 0, "%u forged messages arrived", got_raft);
    cr_assert_eq(swim_find(a->swim, b->num)->m.heard_mono_ms, heard, "no sign of life");
    cr_assert_eq(swim_find(a->swim, b->num)->m.incarnation, incarnation);
    /* Its own word still comes through: the window was not pushed ahead. */
    cr_assert_eq(gossip_send(b, CHANNEL_RAFT, a->num, "true", 4), 0);
    cr_assert(run(true_came, 5000));
    close(fd);
    gossip_destroy(a, NULL, NULL);
    gossip_destroy(b, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

/* ---- without any key ------------------------------------------------------------------------ */

static uint64_t started_ms;
static bool four_seconds_over(void)
{
    return clock_mono_ms() - started_ms > 4000;
}

/* Packets for an earlier life of ours, in a member's name, make us ask that member; anybody can
 * make their headers, and the question is seven times as long. */
Test(stolen_key, a_stranger_makes_nobody_ask_again_and_again)
{
    char address[32];
    const char *list[1] = {address};
    uv_loop_init(&loop);
    a = make("a");
    b = make("b");
    snprintf(address, sizeof address, "127.0.0.1:%u", gossip_port(a));
    cr_assert_eq(gossip_join(b, list, 1), 0);
    cr_assert(run(both_met, 10000));
    uint8_t packet[SEAL_OVERHEAD + 1] = {0};
    struct wbuf w;
    wbuf_init(&w, packet, sizeof packet);
    wbuf_u8(&w, 0x11);
    wbuf_u8(&w, 0); /* the hint: of all but one in 256 lives another */
    wbuf_bytes(&w, a->seal.key_id[0], 4);
    wbuf_u64(&w, b->num);
    wbuf_u64(&w, b->epoch);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    size_t asked = a->asked_next;
    started_ms = clock_mono_ms();
    do {
        for (unsigned hint = 0; hint < 2; hint++) {
            packet[1] = (uint8_t)hint;
            sendto(fd, packet, sizeof packet, 0, (struct sockaddr *)&in, sizeof in);
        }
        run(NULL, 10);
    } while (!four_seconds_over());
    unsigned most = 1; /* at 0, 1, 3, 7 s */
    for (uint64_t s = (clock_mono_ms() - started_ms) / 1000 + 1; s > 1; s /= 2)
        most++;
    cr_assert_gt(a->stats.rejected, 50);
    cr_assert_leq(a->asked_next - asked, most, "asked %zu times", a->asked_next - asked);
    cr_assert_geq(a->asked_next - asked, 1);
    close(fd);
    gossip_destroy(a, NULL, NULL);
    gossip_destroy(b, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

/* ---- the last session ----------------------------------------------------------------------- */

static uint64_t pushed_from;
static bool was_pushed(void)
{
    return a->epoch > pushed_from;
}

static bool is_heard(void)
{
    (void)!gossip_send(a, CHANNEL_RAFT, b->num, "true", 4);
    return got_true > 0;
}

/* Who has the cluster's key tells a of a life of its own, by a join. */
static void tell_of_life(int fd, uint64_t known)
{
    static uint64_t counter = SEAL_COUNTER_MAX;
    uint8_t plain[WIRE_JOIN_LEN], packet[WIRE_JOIN_LEN + SEAL_OVERHEAD];
    struct wire_join join = {.type = WIRE_JOIN, .asked = a->num, .known_epoch = known};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    swim_self_update(b->swim, &join.self);
    size_t len = wire_put_join(&join, plain);
    len = seal_datagram(&a->seal, SEAL_HELLO, (struct seal_peer){b->num, b->epoch}, counter--,
                        (struct seal_peer){0, 0}, NULL, plain, len, packet);
    pushed_from = a->epoch;
    cr_assert_eq(sendto(fd, packet, len, 0, (struct sockaddr *)&in, sizeof in), (ssize_t)len);
}

static bool a_is_above(uint64_t known)
{
    return a->epoch > known && a->epoch <= known + NODE_EPOCH_NOISE;
}

/* Both know each other; returns a socket to tell a lies by. */
static bool three_met(void)
{
    return both_met() && swim_find(a->swim, c->num) != NULL && swim_find(a->swim, c->num)->met;
}

static int make_two(char there[32])
{
    char address[32];
    const char *list[1] = {address};
    uv_loop_init(&loop);
    a = make("a");
    b = make("b");
    snprintf(address, sizeof address, "127.0.0.1:%u", gossip_port(a));
    snprintf(there, 32, "127.0.0.1:%u", gossip_port(b));
    cr_assert_eq(gossip_join(b, list, 1), 0);
    cr_assert(run(both_met, 10000));
    return socket(AF_INET, SOCK_DGRAM, 0);
}

/* And c, which knows both. */
static int make_three(char there[32])
{
    const char *list[1] = {there};
    int fd = make_two(there);
    c = make("c");
    snprintf(there, 32, "127.0.0.1:%u", gossip_port(a));
    cr_assert_eq(gossip_join(c, list, 1), 0);
    cr_assert(run(three_met, 10000));
    return fd;
}

static void end_two(int fd)
{
    close(fd);
    gossip_destroy(a, NULL, NULL);
    gossip_destroy(b, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

/* A life that was later than all: a takes a later one, but not the last of all, above which its
 * next life could not get. */
Test(stolen_key, nobody_pushes_another_to_the_last_session)
{
    char there[32];
    const char *other[1] = {there};
    static const uint64_t last[] = {UINT64_MAX - 1, UINT64_MAX / 2, UINT64_MAX / 16 * 15};
    int fd = make_two(there);
    uint64_t known = a->epoch + (UINT64_C(3600000) << 20); /* an hour: a clock that went back */
    for (unsigned i = 0; i < 3; i++)
        tell_of_life(fd, last[i]);
    tell_of_life(fd, known);
    cr_assert(run(was_pushed, 10000), "the last was credible");
    cr_expect(a_is_above(known), "%lx", a->epoch);
    run(NULL, 500);
    /* Its next life is heard. */
    gossip_destroy(a, NULL, NULL);
    run(NULL, 100);
    a = make("a");
    cr_assert_eq(gossip_join(a, other, 1), 0);
    gossip_on(b, CHANNEL_RAFT, on_raft, NULL);
    cr_expect(run(is_heard, 15000), "its next life is not heard");
    end_two(fd);
}

/* The same known life told to two lives: were their sessions one, so were the nonces of what they
 * seal; and whoever heard the first would take the second's packets for recordings. */
Test(stolen_key, nobody_makes_two_lives_one_session)
{
    char there[32];
    const char *other[1] = {there};
    int fd = make_two(there);
    uint64_t known = a->epoch + (UINT64_C(3600000) << 20);
    tell_of_life(fd, known);
    cr_assert(run(was_pushed, 10000));
    uint64_t first = a->epoch;
    a->counter = 1000000; /* a day's packets */
    gossip_on(b, CHANNEL_RAFT, on_raft, NULL);
    cr_assert(run(is_heard, 15000));
    gossip_destroy(a, NULL, NULL);
    run(NULL, 100);
    a = make("a");
    tell_of_life(fd, known);
    cr_assert(run(was_pushed, 10000));
    cr_expect(a_is_above(known), "%lx", a->epoch);
    cr_expect_neq(a->epoch, first);
    got_true = 0;
    cr_assert_eq(gossip_join(a, other, 1), 0);
    cr_expect(run(is_heard, 15000), "its next life is not heard");
    end_two(fd);
}

/* What others have sealed for the session before is lost: told of later lives again and again, a
 * would be deaf. */
Test(stolen_key, nobody_keeps_another_deaf_by_later_sessions)
{
    char there[32];
    int fd = make_two(there);
    uint64_t hour = UINT64_C(3600000) << 20;
    tell_of_life(fd, a->epoch + hour);
    cr_assert(run(was_pushed, 10000), "once it may be a clock that went back");
    for (unsigned i = 0; i < 20; i++) {
        tell_of_life(fd, a->epoch + hour);
        run(NULL, 20);
        cr_assert_not(was_pushed(), "lie %u counts", i);
    }
    uint64_t now = node_now(a);
    cr_assert_gt(a->epoch_told.due_ms, now + NODE_EPOCH_TOLD_MS / 2);
    a->epoch_told.due_ms = now; /* as if the time were over */
    tell_of_life(fd, a->epoch + hour);
    cr_assert(run(was_pushed, 10000), "it may have gone back again");
    cr_assert_gt(a->epoch_told.due_ms, now + 2 * NODE_EPOCH_TOLD_MS - 1);
    /* One that is no later counts for nothing. */
    uint64_t learned = a->epoch;
    tell_of_life(fd, learned);
    run(NULL, 20);
    cr_assert_eq(a->epoch, learned);
    end_two(fd);
}

/* Answers of members, which may be the liar's, and questions: at 0, 1, 3, 7 s and so on. */
Test(stolen_key, what_anybody_can_cause_happens_seldom)
{
    struct pace p = {0};
    uint64_t now = 5, times = 0;
    for (uint64_t end = now + 3600000; now < end; now += 100)
        times += pace_may(&p, now, NODE_EPOCH_ASK_MS, NODE_EPOCH_ASK_MAX_MS);
    cr_assert_eq(times, 6 + (3600 + 1) / 64, "%lu in an hour",
                 times);                        /* at 0, 1, 3, .. 63, 127 s */
    now = p.due_ms + NODE_EPOCH_ASK_MAX_MS + 1; /* nobody wanted it for long */
    cr_assert(pace_may(&p, now, NODE_EPOCH_ASK_MS, NODE_EPOCH_ASK_MAX_MS));
    cr_assert_not(pace_may(&p, now + NODE_EPOCH_ASK_MS - 1, NODE_EPOCH_ASK_MS, 64000));
    cr_assert(pace_may(&p, now + NODE_EPOCH_ASK_MS, NODE_EPOCH_ASK_MS, 64000));
}

/* ---- welcomes ------------------------------------------------------------------------------- */

/* a asks `there`; the answer, which says that it comes from `source`, is that b lives at c's
 * address with another key. */
static void answer_as_b(const struct gossip_node *there, const struct gossip_node *source,
                        struct nodekey *other)
{
    const struct swim_member *m = swim_find(a->swim, b->num);
    size_t at = a->asked_next % NODE_ASKED_MAX;
    uint8_t bytes[WIRE_STATEMENT_MAX], plain[WIRE_JOIN_LEN];
    struct wire_join w = {.type = WIRE_WELCOME};
    join_ask_member(a, swim_find(a->swim, there->num));
    memcpy(w.nonce, a->asked[at].nonce, sizeof w.nonce);
    swim_self_update(b->swim, &w.self);
    w.self.incarnation = m->m.incarnation + 1;
    w.self.epoch = b->epoch + 5;
    w.self.addrs = *swim_self(c->swim)->m.addrs;
    nodekey_init(other, "c", (const uint8_t[32]){66});
    memcpy(w.self.key, other->public_key, sizeof w.self.key);
    nodekey_sign(other, bytes, wire_statement(&w.self, 0, bytes), w.self.sig);
    w.seen = swim_self(a->swim)->m.addrs->at[0];
    struct gossip_addr from = swim_self(source->swim)->m.addrs->at[0];
    struct seal_header h = {
        .type = SEAL_HELLO, .sender = b->num, .epoch = w.self.epoch, .counter = 1};
    size_t len = wire_put_join(&w, plain);
    join_on_hello(a, &h, plain, len, &from);
}

/* Whoever a asks could take any member's name and address, as nobody checks where a datagram comes
 * from; but what it repeats was sent to its own address only. */
Test(stolen_key, a_welcome_proves_nothing_of_who_was_not_asked)
{
    char there[32];
    struct nodekey thief;
    int fd = make_three(there);
    const struct swim_member *m = swim_find(a->swim, b->num);
    answer_as_b(c, b, &thief);
    cr_expect_eq(memcmp(m->card->key, b->own.public_key, NODEKEY_PUBLIC), 0, "the thief has b");
    cr_expect(addr_equal_all(m->m.addrs, swim_self(b->swim)->m.addrs));
    /* Who answers at b's own address is b, after it lost its key, from whichever address. */
    answer_as_b(b, c, &thief);
    cr_expect_eq(memcmp(m->card->key, thief.public_key, NODEKEY_PUBLIC), 0);
    gossip_destroy(c, NULL, NULL);
    end_two(fd);
}

/* b's answer to a's question: it knows a life of a's of that session. */
static void answer_knowing(uint64_t known)
{
    uint8_t plain[WIRE_JOIN_LEN];
    struct wire_join w = {.type = WIRE_WELCOME, .known_state = MEMBER_ALIVE, .known_epoch = known};
    struct seal_header h = {.type = SEAL_HELLO, .sender = b->num, .epoch = b->epoch, .counter = 1};
    size_t at = a->asked_next % NODE_ASKED_MAX;
    join_ask_member(a, swim_find(a->swim, b->num));
    memcpy(w.nonce, a->asked[at].nonce, sizeof w.nonce);
    swim_self_update(b->swim, &w.self);
    size_t len = wire_put_join(&w, plain);
    join_on_hello(a, &h, plain, len, &swim_self(b->swim)->m.addrs->at[0]);
}

/* A member whose keys were stolen makes another ask it, again and again. */
Test(stolen_key, answers_keep_nobody_deaf_either)
{
    char there[32];
    int fd = make_two(there);
    uint64_t hour = UINT64_C(3600000) << 20, known = a->epoch + hour;
    tell_of_life(fd, known);
    cr_assert(run(was_pushed, 10000));
    answer_knowing(known = a->epoch + hour);
    cr_assert(a_is_above(known), "joins do not use up what an answer may do");
    uint64_t last = a->epoch;
    a->epoch_answered.due_ms += 60000; /* however busy the machine is */
    for (unsigned i = 0; i < 20; i++)
        answer_knowing(a->epoch + hour);
    cr_assert_eq(a->epoch, last);
    a->epoch_answered.due_ms = node_now(a); /* as if the time were over */
    answer_knowing(known = a->epoch + hour);
    cr_assert(a_is_above(known));
    end_two(fd);
}

/* ---- a name that is won back ----------------------------------------------------------------- */

static bool came_or_refused(void)
{
    return got_true > 0 || a->stats.replayed > rejected;
}

static bool heard_as_key(const struct nodekey *own, uint64_t epoch, uint64_t counter)
{
    struct seal_pair pair = {0};
    uint8_t plain[5] = {CHANNEL_RAFT, 't', 'r', 'u', 'e'}, packet[200];
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(nodekey_agree(own, a->own.public_key, pair.secret), 0);
    size_t len =
        seal_datagram(&a->seal, SEAL_BOUND, (struct seal_peer){b->num, epoch}, counter,
                      (struct seal_peer){a->num, a->epoch}, &pair, plain, sizeof plain, packet);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    got_true = 0;
    rejected = a->stats.replayed;
    cr_assert_eq(sendto(fd, packet, len, 0, (struct sockaddr *)&in, sizeof in), (ssize_t)len);
    cr_assert(run(came_or_refused, 5000));
    close(fd);
    return got_true > 0;
}

/* c passes on what b says of itself. */
static void b_is_back(uint64_t incarnation)
{
    uint8_t bytes[WIRE_STATEMENT_MAX], data[600];
    struct wire_update u;
    struct wbuf w;
    swim_self_update(b->swim, &u);
    u.incarnation = incarnation;
    nodekey_sign(&b->own, bytes, wire_statement(&u, 0, bytes), u.sig);
    wbuf_init(&w, data, sizeof data);
    wire_put_head(&w, &(struct wire_head){.type = WIRE_GOSSIP});
    wire_put_update(&w, &u);
    cr_assert_eq(swim_recv(a->swim, node_now(a), c->num, c->epoch, data, w.len, a->out), 0);
    node_perform(a, NULL, NULL);
}

/* Another took the name, and b has it back: what b said before that stays said. */
Test(stolen_key, a_name_won_back_opens_no_recordings)
{
    char there[32];
    struct nodekey thief;
    int fd = make_three(there);
    gossip_on(a, CHANNEL_RAFT, on_raft, NULL);
    uv_udp_recv_stop(&b->udp); /* it is silent itself */
    uv_timer_stop(&b->timer);
    uint64_t at = UINT64_C(1) << 30, incarnation = swim_find(a->swim, b->num)->m.incarnation;
    cr_assert(heard_as_key(&b->own, b->epoch, at));
    cr_assert_not(heard_as_key(&b->own, b->epoch, at));
    answer_as_b(b, c, &thief);
    cr_assert(heard_as_key(&thief, b->epoch + 5, 5));
    b_is_back(incarnation + 20);
    cr_expect_not(heard_as_key(&b->own, b->epoch - 1, at + 1), "of an earlier session");
    cr_expect_not(heard_as_key(&b->own, b->epoch, at), "a recording of this session");
    cr_expect(heard_as_key(&b->own, b->epoch, at + 2), "what is new");
    gossip_destroy(c, NULL, NULL);
    end_two(fd);
}

/* ---- streams -------------------------------------------------------------------------------- */

#define HELD 600 /* there is room for 512 */
#define SENT 60000

struct held {
    int fd;
    struct seal_stream seal;
};
static struct held held[HELD];
static unsigned got_large;

static void on_large(void *arg, uint64_t from, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)data;
    got_large += from == c->num && len == 100000;
}

static bool large_came(void)
{
    return got_large > 0;
}

static const struct held *waiting;
static bool answer_came(void)
{
    uint8_t byte;
    return recv(waiting->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0;
}

/* Opens a stream with the keys of the node `as`, or as a stranger who has the cluster's key, and
 * sends the beginning of a largest message. */
static void hold(struct held *h, const struct gossip_node *as, uint64_t stranger)
{
    uint8_t hello[SEAL_HELLO_LEN], wire[SENT + SEAL_FRAME_OVERHEAD], secret[32];
    static uint8_t plain[SENT];
    struct nodekey own = as->own;
    if (stranger != 0)
        nodekey_init(&own, "c", (const uint8_t[32]){77});
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    h->fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(h->fd, (struct sockaddr *)&in, sizeof in), 0);
    struct seal_peer self = {stranger != 0 ? stranger : as->num, as->epoch};
    seal_stream_init(&h->seal);
    seal_stream_ask(&as->seal, &h->seal, self, own.public_key, (struct seal_peer){a->num, a->epoch},
                    hello);
    cr_assert_eq(send(h->fd, hello, sizeof hello, 0), (ssize_t)sizeof hello);
    waiting = h;
    cr_assert(run(answer_came, 10000));
    cr_assert_eq(recv(h->fd, hello, sizeof hello, MSG_WAITALL), (ssize_t)sizeof hello);
    cr_assert_eq(seal_stream_finish(&as->seal, &h->seal, self, hello), 0);
    cr_assert_eq(nodekey_agree(&own, a->own.public_key, secret), 0);
    seal_stream_prove(&h->seal, secret);
    struct wbuf w;
    wbuf_init(&w, plain, sizeof plain);
    wbuf_u8(&w, CHANNEL_RUMOR);
    wbuf_u32(&w, GOSSIP_MESSAGE_MAX);
    seal_stream_seal(&h->seal, plain, sizeof plain, wire);
    cr_assert_eq(send(h->fd, wire, sizeof wire, MSG_NOSIGNAL), (ssize_t)sizeof wire);
}

static size_t kept_of_streams(unsigned *ret_count)
{
    size_t bytes = 0;
    *ret_count = 0;
    for (struct list *at = a->streams.next; at != &a->streams; at = at->next) {
        const struct stream *t = LIST_OF(at, struct stream, link);
        bytes += t->plain.cap + t->raw.cap;
        *ret_count += t->kind == STREAM_IN;
    }
    return bytes;
}

/* Whoever holds many streams open, and begins a largest message in each, takes neither memory nor
 * the room of members: not by a member's keys, and not by the cluster's key alone. */
static void streams_that_stall(bool by_strangers, unsigned most)
{
    char address[32];
    const char *list[1] = {address};
    unsigned count = 0;
    uv_loop_init(&loop);
    a = make("a");
    b = make("b");
    c = make("c");
    gossip_on(a, CHANNEL_RUMOR, on_large, NULL);
    snprintf(address, sizeof address, "127.0.0.1:%u", gossip_port(a));
    cr_assert_eq(gossip_join(b, list, 1), 0);
    cr_assert_eq(gossip_join(c, list, 1), 0);
    cr_assert(run(three_met, 10000));
    for (unsigned i = 0; i < HELD; i++)
        hold(&held[i], b, by_strangers ? 1000 + i : 0);
    run(NULL, 300);
    size_t kept = kept_of_streams(&count);
    cr_log_info("%u streams, %zu bytes kept", count, kept);
    cr_expect_leq(count, most);
    cr_expect_leq(kept, (size_t)16 << 20);
    static uint8_t large[100000];
    cr_assert_eq(gossip_send_stream(c, CHANNEL_RUMOR, a->num, large, sizeof large), 0);
    cr_expect(run(large_came, 10000), "a member is kept out");
    for (unsigned i = 0; i < HELD; i++) {
        close(held[i].fd);
        seal_stream_fini(&held[i].seal);
    }
    gossip_destroy(a, NULL, NULL);
    gossip_destroy(b, NULL, NULL);
    gossip_destroy(c, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

Test(stolen_key, a_members_streams_are_few)
{
    streams_that_stall(false, 16);
}

Test(stolen_key, the_clusters_key_alone_keeps_nobody_out)
{
    streams_that_stall(true, STREAM_INCOMING_MAX);
}
