/* SPDX-License-Identifier: Apache-2.0
 * Whole nodes: join, calls, streams, deaths, keys. */
#include "tests/unit/gossip/nodes.h"

static unsigned want_got;
static bool node1_got(void)
{
    return nodes[1].got >= want_got;
}

Test(node, messages_small_large_and_to_self)
{
    make_cluster(3);
    uint64_t to = gossip_self(nodes[1].g), from = gossip_self(nodes[0].g);
    static const size_t sizes[] = {0, 1, 1000, 1355, 1356, 65536, 1u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *data = malloc(sizes[i] + 1);
        for (size_t k = 0; k < sizes[i]; k++)
            data[k] = (uint8_t)(k * 7 + i);
        want_got = nodes[1].got + 1;
        cr_assert_eq(gossip_send(nodes[0].g, CHANNEL_RUMOR, to, data, sizes[i]), 0);
        cr_assert(run_until(node1_got, 10000), "size %zu", sizes[i]);
        cr_assert_eq(nodes[1].got_len, sizes[i]);
        cr_assert_eq(nodes[1].got_from, from);
        cr_assert_eq(memcmp(nodes[1].got_data, data, sizes[i]), 0);
        free(data);
    }
    /* To itself: never inside the call. */
    unsigned before = nodes[1].got;
    cr_assert_eq(gossip_send(nodes[1].g, CHANNEL_RUMOR, to, "x", 1), 0);
    cr_assert_eq(nodes[1].got, before);
    want_got = before + 1;
    cr_assert(run_until(node1_got, 5000));
    cr_assert_eq(gossip_send(nodes[0].g, CHANNEL_RUMOR, 12345, "x", 1), ERR_NOTFOUND);
    /* In order, many, on the stream. */
    want_got = nodes[1].got + 5000;
    for (uint32_t i = 0; i < 5000; i++)
        cr_assert_eq(gossip_send_stream(nodes[0].g, CHANNEL_RUMOR, to, &i, sizeof i), 0);
    cr_assert(run_until(node1_got, 20000));
    uint32_t last;
    memcpy(&last, nodes[1].got_data, sizeof last);
    cr_assert_eq(last, 4999);
    finish(3);
}

static bool node0_sends_jumbo_frames(void)
{
    return gossip_room(nodes[0].g, gossip_self(nodes[1].g)) > GOSSIP_ROOM;
}

/* The loopback takes them; until that was proven what is larger than usual goes by stream. */
Test(node, jumbo_frames_where_they_were_proven)
{
    make_cluster(2);
    static uint8_t data[8000];
    uint64_t to = gossip_self(nodes[1].g);
    struct gossip_stats stats;
    memset(data, 7, sizeof data);
    want_got = 1;
    cr_assert_eq(gossip_send(nodes[0].g, CHANNEL_RUMOR, to, data, sizeof data), 0);
    cr_assert(run_until(node1_got, 10000));
    gossip_stats(nodes[0].g, &stats);
    cr_assert_eq(stats.jumbo_sent, 0);
    cr_assert_gt(stats.stream_bytes_sent, sizeof data);
    uint64_t by_stream = stats.stream_bytes_sent;
    for (unsigned i = 0; !node0_sends_jumbo_frames(); i++) {
        cr_assert_lt(i, 200, "never proven");
        cr_assert_eq(gossip_send(nodes[0].g, CHANNEL_RUMOR, to, data, GOSSIP_ROOM), 0);
        want_got++;
        cr_assert(run_until(node1_got, 10000));
        cr_assert_eq(nodes[1].got_len, GOSSIP_ROOM);
        run_until(NULL, 1);
    }
    cr_assert_not(gossip_room(nodes[1].g, gossip_self(nodes[0].g)) > GOSSIP_ROOM,
                  "each direction for itself");
    for (unsigned i = 0; i < 20; i++) { /* some of them ask again */
        data[0] = (uint8_t)i;
        cr_assert_eq(gossip_send(nodes[0].g, CHANNEL_RUMOR, to, data, sizeof data), 0);
        want_got++;
        cr_assert(run_until(node1_got, 10000));
        cr_assert_eq(nodes[1].got_len, sizeof data);
        cr_assert_eq(memcmp(nodes[1].got_data, data, sizeof data), 0);
    }
    gossip_stats(nodes[0].g, &stats);
    cr_assert_geq(stats.jumbo_sent, 21);
    cr_assert_eq(stats.stream_bytes_sent, by_stream);
    finish(2);
}

static int answer_err;
static size_t answer_len;
static unsigned answers;
static void on_answer(void *arg, int err, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)data;
    answer_err = err;
    answer_len = len;
    answers++;
}
static struct gossip_request *held[4];
static unsigned held_count;
static void on_call(void *arg, uint64_t from, uint8_t method, const uint8_t *data, size_t len,
                    struct gossip_request *call)
{
    static uint8_t big[1 << 20];
    (void)arg;
    (void)from;
    if (method == 1)
        gossip_answer(call, 0, data, len);
    else if (method == 2)
        gossip_answer(call, 0, big, sizeof big);
    else if (method == 3)
        gossip_answer(call, ERR_NOTLEADER, NULL, 0);
    else
        held[held_count++] = call; /* answered when nobody waits any more */
}
static unsigned want_answers;
static bool answered(void)
{
    return answers >= want_answers;
}

Test(node, calls_answers_errors_and_timeouts)
{
    make_cluster(2);
    uint64_t to = gossip_self(nodes[1].g);
    gossip_on_call(nodes[1].g, on_call, NULL);
    static const struct {
        uint8_t method;
        int err;
        size_t len;
    } cases[] = {{1, 0, 5}, {2, 0, 1 << 20}, {3, ERR_NOTLEADER, 0}, {4, ERR_TIMEOUT, 0}};
    for (size_t i = 0; i < 4; i++) {
        want_answers = answers + 1;
        cr_assert_eq(gossip_call(nodes[0].g, to, cases[i].method, "hello", 5,
                                 cases[i].method == 4 ? 100 : 10000, on_answer, NULL),
                     0);
        cr_assert(run_until(answered, 15000));
        cr_assert_eq(answer_err, cases[i].err, "method %u: %s", cases[i].method,
                     err_name(answer_err));
        cr_assert_eq(answer_len, cases[i].len);
    }
    /* To itself. */
    want_answers = answers + 1;
    cr_assert_eq(gossip_call(nodes[1].g, to, 1, "hello", 5, 10000, on_answer, NULL), 0);
    cr_assert_eq(answers, want_answers - 1);
    cr_assert(run_until(answered, 5000));
    cr_assert_eq(answer_err, 0);
    cr_assert_eq(answer_len, 5);
    cr_assert_eq(gossip_call(nodes[0].g, 99, 1, "", 0, 100, on_answer, NULL), ERR_NOTFOUND);
    /* Whatever waits when the node goes away is told. */
    want_answers = answers + 1;
    cr_assert_eq(gossip_call(nodes[0].g, to, 4, "", 0, 60000, on_answer, NULL), 0);
    kill_node(0);
    cr_assert(answered());
    cr_assert_eq(answer_err, ERR_CANCELED);
    kill_node(1);
    while (held_count > 0)
        gossip_answer(held[--held_count], 0, NULL, 0);
    finish(2);
}

static bool two_held(void)
{
    return held_count == 2;
}

/* The leader took a call, the caller restarted and made another: each life gets its own answer. */
Test(node, a_restarted_caller_does_not_take_the_answer_of_its_earlier_life)
{
    make_cluster(2);
    uint64_t to = gossip_self(nodes[1].g);
    gossip_on_call(nodes[1].g, on_call, NULL);
    cr_assert_eq(gossip_call(nodes[0].g, to, 4, "a", 1, 60000, on_answer, NULL), 0);
    while (held_count == 0)
        uv_run(&loop, UV_RUN_ONCE);
    kill_node(0);
    run_until(NULL, 50);
    make(0, "i-0", "c", key_a, 1);
    const char *seed = nodes[1].address;
    cr_assert_eq(gossip_join(nodes[0].g, &seed, 1), 0);
    expect_count = expect_alive = 2;
    cr_assert(run_until(all_see, 20000));
    answers = 0;
    cr_assert_eq(gossip_call(nodes[0].g, to, 4, "b", 1, 60000, on_answer, NULL), 0);
    cr_assert(run_until(two_held, 20000));
    gossip_answer(held[0], 0, "earlier", 7);
    gossip_answer(held[1], 0, "own", 3);
    want_answers = 1;
    cr_assert(run_until(answered, 20000));
    cr_expect_eq(answer_len, 3);
    finish(2);
}

static uint64_t high_epoch;

static bool high_epoch_known(void)
{
    return swim_find(nodes[0].g->swim, nodes[1].g->num)->epoch == high_epoch;
}

static bool above_high_epoch(void)
{
    return nodes[1].g->epoch > high_epoch;
}

/* Two, and the first knows that the session of the second is of a late hour. */
static void make_late_one(void)
{
    make_cluster(2);
    high_epoch = nodes[1].g->epoch + (UINT64_C(1) << 40);
    nodes[1].g->epoch = high_epoch;
    swim_set_epoch(nodes[1].g->swim, high_epoch);
    cr_assert(run_until(high_epoch_known, 10000));
}

/* While it was down its clock went back, and the one it finds first never knew the life before. */
Test(node, a_clock_that_went_back_is_healed_by_who_knows_the_life_before)
{
    make_late_one();
    kill_node(1);
    run_until(NULL, 50);
    incarnation = 2;
    make(1, "i-1", "c", key_a, 1);
    make(2, "i-2", "c", key_a, 1);
    const char *fresh = nodes[2].address, *old = nodes[0].address;
    gossip_join(nodes[1].g, &fresh, 1);
    run_until(NULL, 500);
    gossip_join(nodes[2].g, &old, 1);
    expect_count = expect_alive = 3;
    cr_assert(run_until(all_see, 20000));
    cr_assert(run_until(above_high_epoch, 10000));
    finish(3);
}

/* The same where it knows and looks for nobody: who asks it says which life it knew. */
Test(node, a_clock_that_went_back_is_healed_by_who_asks)
{
    make_late_one();
    char there[sizeof nodes[1].address];
    memcpy(there, nodes[1].address, sizeof there);
    kill_node(1);
    run_until(NULL, 50);
    incarnation = 2;
    bind_to = there;
    make(1, "i-1", "c", key_a, 1);
    cr_assert(run_until(above_high_epoch, 4000));
    expect_count = expect_alive = 2;
    cr_assert(run_until(all_see, 20000));
    finish(2);
}

/* Who says that it could not reach it tells by what, whether it was the first or joined others. */
static void every_accuser_has_evidence(uint64_t victim, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        json_t *why = gossip_why(nodes[i].g, victim), *name;
        const char *own = gossip_find(nodes[i].g, gossip_self(nodes[i].g))->id;
        bool accuses = strcmp(json_str_or(why, "suspected_by", ""), own) == 0;
        size_t at;
        json_array_foreach(json_arr(why, "confirmed_by"), at, name) accuses =
            accuses || strcmp(json_string_value(name), own) == 0;
        const json_t *probes = json_obj(why, "own_probes");
        cr_assert(!accuses || json_int_or(probes, "direct_unanswered", 0) > 0, "node %u", i);
        json_decref(why);
    }
}

Test(node, a_killed_node_fails_and_a_leaving_one_left)
{
    make_cluster(6);
    json_t *why;
    uint64_t victim = gossip_self(nodes[5].g);
    kill_node(5);
    expect_count = 5;
    expect_alive = 5;
    cr_assert(run_until(all_see, 20000));
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(nodes[i].failed, 1, "node %u saw %u failures", i, nodes[i].failed);
        cr_assert_eq(nodes[i].left, 0);
        cr_assert_eq(gossip_find(nodes[i].g, victim)->state, MEMBER_FAILED);
        cr_assert_gt(strlen(nodes[i].why), 10);
    }
    why = gossip_why(nodes[0].g, victim);
    cr_assert_not_null(json_object_get(why, "suspected_by"));
    json_decref(why);
    every_accuser_has_evidence(victim, 5);

    gossip_leave(nodes[4].g, NULL, NULL);
    expect_count = 4;
    expect_alive = 4;
    cr_assert(run_until(all_see, 10000));
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(nodes[i].failed, 1);
        cr_assert_eq(nodes[i].left, 1);
    }
    finish(6);
}

/* Who has company looks for nobody by itself, and who left is not looked for. */
Test(node, an_address_that_answered_once_is_asked_again)
{
    make_cluster(4);
    char address[32];
    const char *seed = address; /* node 1 was let in there */
    snprintf(address, sizeof address, "%s", nodes[0].address);
    gossip_leave(nodes[0].g, NULL, NULL);
    expect_count = 4;
    expect_alive = 3;
    cr_assert(run_until(others_see, 10000));
    kill_node(0);
    run_until(NULL, 50);
    bind_to = address;
    incarnation = 100;
    make(0, "i-0", "c", key_a, 1);
    cr_assert_eq(gossip_join(nodes[1].g, &seed, 1), 0);
    expect_alive = 4;
    cr_assert(run_until(all_see, 20000));
    finish(4);
}

Test(node, it_comes_back_with_a_greater_incarnation_even_from_a_lost_data_directory)
{
    make_cluster(4);
    uint64_t victim = gossip_self(nodes[3].g);
    kill_node(3);
    expect_count = 3;
    expect_alive = 3;
    cr_assert(run_until(all_see, 20000));
    /* The same id, incarnation 1 again, another port. */
    make(3, "i-3", "c", key_a, 1);
    const char *seed = nodes[0].address;
    cr_assert_eq(gossip_join(nodes[3].g, &seed, 1), 0);
    expect_count = expect_alive = 4;
    cr_assert(run_until(all_see, 20000));
    cr_assert_gt(gossip_find(nodes[1].g, victim)->incarnation, 1);
    want_got = nodes[1].got + 1;
    cr_assert_eq(gossip_send(nodes[3].g, CHANNEL_RUMOR, gossip_self(nodes[1].g), "back", 4), 0);
    cr_assert(run_until(node1_got, 5000));
    finish(4);
}

/* A list of addresses where nobody is must not keep out a later one. */
Test(node, addresses_that_never_answer_make_room_for_new_ones)
{
    enum { SEEDS = 64, TOO_MANY };
    char text[TOO_MANY][32];
    const char *list[TOO_MANY];
    memset(nodes, 0, sizeof nodes);
    uv_loop_init(&loop);
    make(0, "i-0", "c", key_a, 1);
    make(1, "i-1", "c", key_a, 1);
    for (unsigned i = 0; i < TOO_MANY; i++) {
        snprintf(text[i], sizeof text[i], "127.0.0.1:%u", 1 + i); /* nobody listens there */
        list[i] = text[i];
    }
    cr_assert_eq(gossip_join(nodes[1].g, list, TOO_MANY), ERR_FULL);
    cr_assert_eq(gossip_join(nodes[1].g, list, SEEDS), 0);
    const char *seed = nodes[0].address;
    cr_assert_eq(gossip_join(nodes[1].g, &seed, 1), 0);
    expect_count = expect_alive = 2;
    cr_assert(run_until(all_see, 10000));
    finish(2);
}

static bool trouble(void)
{
    return gossip_join_trouble(nodes[1].g)[0] != '\0';
}

Test(node, a_wrong_key_or_cluster_never_joins_and_says_so)
{
    uv_loop_init(&loop);
    make(0, "i-0", "c", key_a, 1);
    make(1, "i-1", "c", key_b, 1);
    make(2, "i-2", "other", key_a, 1);
    const char *seed = nodes[0].address;
    gossip_join(nodes[1].g, &seed, 1);
    gossip_join(nodes[2].g, &seed, 1);
    cr_assert(run_until(trouble, 10000));
    char id_a[17], id_b[17];
    gossip_key_id(key_a[0], id_a);
    gossip_key_id(key_b[0], id_b);
    id_a[8] = id_b[8] = '\0';
    cr_assert_not_null(strstr(gossip_join_trouble(nodes[1].g), id_b), "%s",
                       gossip_join_trouble(nodes[1].g));
    cr_assert_not_null(strstr(gossip_join_trouble(nodes[1].g), seed));
    run_until(NULL, 1500);
    cr_assert_gt(nodes[0].bad, 0);
    for (unsigned i = 0; i < 3; i++) {
        struct gossip_stats stats;
        gossip_stats(nodes[i].g, &stats);
        cr_assert_eq(gossip_count(nodes[i].g), 1);
        cr_assert(i != 0 || stats.datagrams_sent == 0, "nothing is answered");
    }
    finish(3);
}

static bool all_hold(void)
{
    for (unsigned i = 0; i < 5; i++) {
        const struct gossip_node *g = nodes[i].g;
        const struct stream *out = g->peers[swim_find(g->swim, nodes[5].g->num)->slot].out;
        if (out == NULL || out->state != STREAM_OPEN)
            return false;
    }
    return true;
}

static bool all_broken(void)
{
    for (unsigned i = 0; i < 5; i++)
        if (nodes[i].broken == 0)
            return false;
    return true;
}

/* Of a member that is held all learn at once, not only those that observe it. */
Test(node, the_end_of_a_held_connection_is_told)
{
    make_cluster(6);
    uint64_t victim = gossip_self(nodes[5].g);
    for (unsigned i = 0; i < 5; i++)
        gossip_hold(nodes[i].g, victim);
    cr_assert(run_until(all_hold, 10000));
    kill_node(5);
    cr_assert(run_until(all_broken, 5000));
    for (unsigned i = 0; i < 5; i++)
        cr_assert_eq(nodes[i].broken_num, victim);
    finish(6);
}

Test(node, a_second_agent_with_the_same_id_is_refused)
{
    make_cluster(3);
    make(3, "i-2", "c", key_a, 1);
    const char *seed = nodes[0].address;
    gossip_join(nodes[3].g, &seed, 1);
    nodes[7] = nodes[1];
    nodes[1] = nodes[3];
    cr_assert(run_until(trouble, 10000));
    nodes[3] = nodes[1];
    nodes[1] = nodes[7];
    cr_assert_not_null(strstr(gossip_join_trouble(nodes[3].g), "'i-2' is alive at"), "%s",
                       gossip_join_trouble(nodes[3].g));
    cr_assert_eq(gossip_alive_count(nodes[0].g), 3);
    finish(4);
}

Test(node, old_and_new_key_live_together)
{
    static const uint8_t both[2][32] = {{9, 9, 9}, {1, 2, 3}};
    static const uint8_t both2[2][32] = {{1, 2, 3}, {9, 9, 9}};
    uv_loop_init(&loop);
    make(0, "i-0", "c", both, 2);
    make(1, "i-1", "c", both2, 2);
    const char *seed = nodes[0].address;
    gossip_join(nodes[1].g, &seed, 1);
    expect_count = expect_alive = 2;
    cr_assert(run_until(all_see, 10000));
    want_got = 1;
    uint8_t big[9000] = {0};
    cr_assert_eq(gossip_send(nodes[0].g, CHANNEL_RUMOR, gossip_self(nodes[1].g), big, sizeof big),
                 0);
    cr_assert(run_until(node1_got, 5000));
    cr_assert_eq(nodes[0].bad, 0);
    finish(2);
}

static bool meta_seen(void)
{
    const struct gossip_member *m = gossip_find_id(nodes[2].g, "i-0");
    return m != NULL && m->meta->api_port == 777;
}

Test(node, meta_travels)
{
    make_cluster(3);
    struct gossip_meta meta = {.zone = "z9", .version = "2", .api_port = 777, .lifecycle = 1};
    gossip_set_meta(nodes[0].g, &meta);
    cr_assert(run_until(meta_seen, 5000));
    cr_assert_str_eq(gossip_find_id(nodes[2].g, "i-0")->meta->zone, "z9");
    finish(3);
}

Test(node, bad_options_say_what_is_wrong)
{
    uv_loop_init(&loop);
    static const struct {
        const char *id, *bind, *advertise, *text;
        size_t keys;
    } cases[] = {
        {"i-1", "nonsense", NULL, "host:port", 1},
        {"i-1", "127.0.0.1:99999", NULL, "0 to 65535", 1},
        {"i-1", "127.0.0.1:0", "0.0.0.0:1", "peers can reach", 1},
        {"i-1", "127.0.0.1:0", "127.0.0.1:1, nonsense", "host:port", 1},
        {"i-1", "127.0.0.1:0", "127.0.0.1:1,127.0.0.1:1", "named twice", 1},
        {"i-1", "127.0.0.1:0", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3,[::1]:1", "at most 3", 1},
        {"", "127.0.0.1:0", NULL, "1 to 63 characters", 1},
        {"a b", "127.0.0.1:0", NULL, "without blanks", 1},
        {"i-1", "127.0.0.1:0", NULL, "keys", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gossip_node *g = NULL;
        struct errmsg e = {""};
        struct gossip_options o = {.loop = &loop,
                                   .id = cases[i].id,
                                   .cluster = "c",
                                   .bind = cases[i].bind,
                                   .advertise = cases[i].advertise,
                                   .keys = key_a,
                                   .key_count = cases[i].keys,
                                   .incarnation = 1};
        cr_assert_lt(gossip_create(&g, &o, &e), 0);
        cr_assert_not_null(strstr(e.text, cases[i].text), "%s", e.text);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

/* ---- keys ---- */

static unsigned acks;
static void on_ack(void *arg, int err, const uint8_t *data, size_t len)
{
    unsigned *left = arg;
    (void)data;
    (void)len;
    acks += err == 0;
    --*left;
}

static void on_echo(void *arg, uint64_t from, uint8_t method, const uint8_t *data, size_t len,
                    struct gossip_request *call)
{
    (void)arg;
    (void)from;
    (void)method;
    gossip_answer(call, 0, data, len);
}

static unsigned calls_left, sent, expect_got;
static bool calls_done(void)
{
    return calls_left == 0;
}

static bool all_got(void)
{
    return nodes[0].got + nodes[1].got + nodes[2].got == expect_got;
}

/* Datagrams and calls between all of them; every one must arrive. */
static void traffic(const char *when)
{
    acks = 0;
    calls_left = 0;
    sent = 0;
    expect_got = nodes[0].got + nodes[1].got + nodes[2].got;
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < 3; i++) {
            uint64_t to = gossip_self(nodes[(i + 1) % 3].g);
            cr_assert_eq(gossip_send(nodes[i].g, CHANNEL_RUMOR, to, "x", 1), 0);
            expect_got++;
            calls_left++;
            sent++;
            cr_assert_eq(gossip_call(nodes[i].g, to, 1, "y", 1, 60000, on_ack, &calls_left), 0);
        }
    }
    cr_assert(run_until(calls_done, 6000), "%s", when);
    cr_assert(run_until(all_got, 5000), "%s: a datagram was lost", when);
    cr_assert_eq(acks, sent, "%s: a call failed", when);
}

Test(node, keys_rotate_without_loss)
{
    char old_id[17], new_id[17];
    gossip_key_id(key_a[0], old_id);
    gossip_key_id(key_b[0], new_id);
    uv_loop_init(&loop);
    for (unsigned i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "k-%u", i);
        make(i, id, "c", key_a, 1);
        gossip_on_call(nodes[i].g, on_echo, NULL);
        const char *first = nodes[0].address;
        if (i > 0)
            gossip_join(nodes[i].g, &first, 1);
    }
    expect_count = expect_alive = 3;
    cr_assert(run_until(all_see, 10000));
    traffic("before");
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(gossip_key_use(nodes[i].g, new_id), ERR_NOTFOUND);
        cr_assert_eq(gossip_key_add(nodes[i].g, key_b[0]), 0);
        cr_assert_eq(gossip_key_add(nodes[i].g, key_b[0]), ERR_EXISTS);
    }
    traffic("installed");
    for (unsigned i = 0; i < 3; i++) { /* one after the other: mixed rings in between */
        cr_assert_eq(gossip_key_use(nodes[i].g, new_id), 0);
        traffic("one more uses it");
        cr_assert_str_eq(gossip_key_at(nodes[i].g, 0), new_id);
        cr_assert_str_eq(gossip_key_at(nodes[i].g, 1), old_id);
        cr_assert_eq(gossip_key_remove(nodes[i].g, new_id), ERR_CONFLICT);
    }
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(gossip_key_remove(nodes[i].g, old_id), 0);
        cr_assert_eq(gossip_key_remove(nodes[i].g, old_id), ERR_NOTFOUND);
        cr_assert_eq(gossip_key_count(nodes[i].g), 1);
        traffic("one more removed the old one");
    }
    /* Who has the old key alone stays outside. */
    make(3, "late", "c", key_a, 1);
    const char *first = nodes[0].address;
    gossip_join(nodes[3].g, &first, 1);
    run_until(NULL, 500);
    cr_assert_eq(gossip_alive_count(nodes[0].g), 3);
    for (unsigned i = 0; i < 3; i++) {
        struct gossip_stats stats;
        gossip_stats(nodes[i].g, &stats);
        cr_assert_eq(nodes[i].failed, 0);
        cr_assert_eq(i == 0 ? 0 : stats.rejected, 0, "node %u refused packets", i);
    }
    finish(4);
}

static bool all_heard(void)
{
    return nodes[0].got > 0 && nodes[1].got > 0;
}

/* On IPv6 alone, and one with both that IPv4 members know by its IPv4 address. */
Test(node, ipv6_and_both_families)
{
    static const struct {
        const char *bind[2], *advertise, *seed;
    } cases[] = {{{"[::1]:0", "[::1]:0"}, NULL, "[::1]"},
                 {{"[::]:0", "127.0.0.1:0"}, "127.0.0.1:0", "127.0.0.1"},
                 {{"[::]:0", "[::1]:0"}, "[::1]:0", "[::1]"}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        char seed[40];
        const char *list[1] = {seed};
        memset(nodes, 0, sizeof nodes);
        uv_loop_init(&loop);
        bind_to = cases[c].bind[0];
        advertised = cases[c].advertise;
        make(0, "i-0", "c", key_a, 1);
        bind_to = cases[c].bind[1];
        advertised = NULL;
        make(1, "i-1", "c", key_a, 1);
        snprintf(seed, sizeof seed, "%s:%u", cases[c].seed, gossip_port(nodes[0].g));
        gossip_join(nodes[1].g, list, 1);
        expect_count = expect_alive = 2;
        cr_assert(run_until(all_see, 10000), "case %zu", c);
        static uint8_t large[20000]; /* over the stream */
        uint64_t to[2] = {gossip_self(nodes[1].g), gossip_self(nodes[0].g)};
        for (unsigned i = 0; i < 2; i++)
            cr_assert_eq(
                gossip_send(nodes[i].g, CHANNEL_RUMOR, to[i], large, i == 0 ? sizeof large : 100),
                0);
        cr_assert(run_until(all_heard, 10000), "case %zu", c);
        finish(2);
    }
}

static bool second_in_use(void)
{
    const struct gossip_member *m = gossip_find_id(nodes[1].g, "i-0");
    return m != NULL && m->using == 1 && m->state == MEMBER_ALIVE;
}

/* At the address that it names first nobody listens: streams are connected to the next at once, and
 * datagrams go there once a ping was answered. */
Test(node, the_address_that_answers_is_used)
{
    char seed[40];
    const char *list[1] = {seed};
    static uint8_t large[20000]; /* over the stream */
    memset(nodes, 0, sizeof nodes);
    uv_loop_init(&loop);
    advertised = "127.0.0.9:9, 127.0.0.1:0";
    make(0, "i-0", "c", key_a, 1);
    advertised = NULL;
    make(1, "i-1", "c", key_a, 1);
    snprintf(seed, sizeof seed, "127.0.0.1:%u", gossip_port(nodes[0].g));
    gossip_join(nodes[1].g, list, 1);
    expect_count = expect_alive = 2;
    cr_assert(run_until(all_see, 10000));
    uint64_t to[2] = {gossip_self(nodes[1].g), gossip_self(nodes[0].g)};
    cr_assert_eq(gossip_send(nodes[1].g, CHANNEL_RUMOR, to[1], large, sizeof large), 0);
    cr_assert_eq(gossip_send(nodes[0].g, CHANNEL_RUMOR, to[0], large, 100), 0);
    cr_assert(run_until(all_heard, 10000));
    cr_assert(run_until(second_in_use, 10000));
    finish(2);
}
