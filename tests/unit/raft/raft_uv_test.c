/* SPDX-License-Identifier: Apache-2.0
 * Leadership for real: gossip nodes on loopback and stores on disk, three agents in one
 * process. They form a cluster, agree, lose their leader, go on, and it comes back. */
#include <criterion/criterion.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/base/metrics.h"
#include "agent/base/prng.h"
#include "agent/raft/raft_uv.h"
#include "agent/raft/raft_uv_int.h"

#define AGENTS 4
#define VOTERS 3
#define VALUES 4096

struct agent {
    char id[16], dir[64];
    struct store *store;
    struct gossip_node *gossip;
    struct raft_uv *raft;
    uint64_t values[VALUES], count; /* the state machine: all commands, in order */
    struct store_log_intent row, *rows;
    char row_key[32];
    enum raft_uv_role role;
    uint64_t incarnation;
    bool up, raft_gone, gossip_gone;
    uv_async_t wake;
};

static uv_loop_t loop;
static struct agent agents[AGENTS];
static const uint8_t key[1][32] = {{7}};
static uint64_t answered, answer_index;
static int answer_err;
static bool polling; /* the loop looks at sockets and what threads say, not at timers */
static uint64_t in_poll[RAFT_UV_LEADER + 1]; /* entries applied meanwhile, by role */
static bool apart;                           /* started agents do not join the others */

static void on_apply(void *arg, uint64_t index, uint64_t term, const void *data, size_t len,
                     struct raft_rows *ret)
{
    struct agent *a = arg;
    if (len == 0)
        return; /* a barrier */
    in_poll[a->role] += polling;
    cr_assert_eq(len, 8);
    cr_assert_lt(a->count, VALUES);
    memcpy(&a->values[a->count], data, 8);
    snprintf(a->row_key, sizeof(a->row_key), "%04u", (unsigned)a->count);
    a->row = (struct store_log_intent){.kind = RECORD_SETTING,
                                       .key = a->row_key,
                                       .key_len = (uint16_t)strlen(a->row_key),
                                       .value = &a->values[a->count],
                                       .value_len = 8,
                                       .version = {.hi = term, .lo = index}};
    a->count++;
    *ret = (struct raft_rows){.rows = &a->row, .count = 1};
}

static int on_save(void *arg, struct buf *out)
{
    struct agent *a = arg;
    return a->count == 0 ? buf_put(out, "", 0) : buf_put(out, a->values, a->count * 8);
}

static int on_load(void *arg, uint64_t index, uint64_t term, const void *data, size_t len,
                   struct raft_rows *ret)
{
    struct agent *a = arg;
    if (len % 8 != 0 || len / 8 > VALUES)
        return ERR_MALFORMED;
    if (len > 0)
        memcpy(a->values, data, len);
    a->count = len / 8;
    free(a->rows);
    a->rows = calloc(a->count + 1, sizeof(*a->rows) + 8);
    char *keys = (char *)(a->rows + a->count + 1);
    for (size_t i = 0; i < a->count; i++) {
        char text[8];
        snprintf(text, sizeof(text), "%04u", (unsigned)i);
        memcpy(keys + 4 * i, text, 4);
        a->rows[i] = (struct store_log_intent){.kind = RECORD_SETTING,
                                               .key = keys + 4 * i,
                                               .key_len = 4,
                                               .value = &a->values[i],
                                               .value_len = 8,
                                               .version = {.hi = term, .lo = index}};
    }
    *ret = (struct raft_rows){.rows = a->rows, .count = a->count};
    return 0;
}

static int on_row(void *arg, const struct store_log_intent *row)
{
    struct agent *a = arg;
    cr_assert_eq(row->value_len, 8);
    memcpy(&a->values[a->count++], row->value, 8);
    return 0;
}

static void on_role(void *arg, enum raft_uv_role role, uint64_t term, uint64_t leader)
{
    (void)term;
    (void)leader;
    ((struct agent *)arg)->role = role;
}

static void on_member(void *arg, const struct gossip_member *m, enum gossip_state before,
                      const char *why)
{
    struct agent *a = arg;
    (void)before;
    (void)why;
    if (a->raft != NULL)
        raft_uv_member(a->raft, m);
}

static void on_incarnation(void *arg, uint64_t incarnation)
{
    ((struct agent *)arg)->incarnation = incarnation;
}

static void on_wake(uv_async_t *wake)
{
    struct agent *a = wake->data;
    if (a->store != NULL)
        store_poll(a->store);
}

static void on_notify(void *arg)
{
    uv_async_send(&((struct agent *)arg)->wake);
}

static void start(struct agent *a, unsigned expect)
{
    struct errmsg e = {""};
    struct store_report report;
    struct prng rng;
    prng_seed(&rng, clock_mono_ns());
    a->count = 0;
    a->raft_gone = a->gossip_gone = false;
    struct store_options so = {.dir = a->dir, .notify = on_notify, .notify_arg = a};
    cr_assert_eq(store_open(&a->store, &so, &report, &e), 0, "%s", e.text);
    cr_assert_eq(store_log_intent(a->store, on_row, a), 0);
    struct gossip_options go = {.loop = &loop,
                                .id = a->id,
                                .cluster = "c",
                                .bind = "127.0.0.1:0",
                                .keys = key,
                                .key_count = 1,
                                .incarnation = ++a->incarnation,
                                .seed = prng_next(&rng),
                                .arg = a,
                                .on_member = on_member,
                                .on_incarnation = on_incarnation};
    cr_assert_eq(gossip_create(&a->gossip, &go, &e), 0, "%s", e.text);
    struct raft_uv_options ro = {.loop = &loop,
                                 .gossip = a->gossip,
                                 .store = a->store,
                                 .cluster = "c",
                                 .candidate = true,
                                 .expect = expect,
                                 .bootstrap_wait_ms = 300,
                                 .election_ms = 500,
                                 .heartbeat_ms = 50,
                                 .seed = prng_next(&rng),
                                 .arg = a,
                                 .apply = on_apply,
                                 .snapshot_save = on_save,
                                 .snapshot_load = on_load,
                                 .on_role = on_role};
    cr_assert_eq(raft_uv_create(&a->raft, &ro, &e), 0, "%s", e.text);
    a->up = true;
    for (size_t i = 0; i < AGENTS; i++) {
        char address[32];
        const char *list[1] = {address};
        if (apart || &agents[i] == a || !agents[i].up)
            continue;
        snprintf(address, sizeof(address), "127.0.0.1:%u", gossip_port(agents[i].gossip));
        cr_assert_eq(gossip_join(a->gossip, list, 1), 0);
    }
}

static void on_raft_gone(void *arg)
{
    ((struct agent *)arg)->raft_gone = true;
}

static void on_gossip_gone(void *arg)
{
    ((struct agent *)arg)->gossip_gone = true;
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* Runs the loop until the condition holds; a generous bound, no claim about speed. */
#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        uint64_t until_ms = clock_mono_ms() + 60000;                                               \
        while (!(condition) && clock_mono_ms() < until_ms)                                         \
            uv_run(&loop, UV_RUN_ONCE);                                                            \
        cr_assert(condition, "waited 60 s for " #condition);                                       \
    } while (0)

/* As a crash would: nothing is said to anybody. */
static void stop(struct agent *a)
{
    struct raft_uv *raft = a->raft;
    a->raft = NULL;
    raft_uv_destroy(raft, on_raft_gone, a);
    UNTIL(a->raft_gone);
    gossip_destroy(a->gossip, on_gossip_gone, a);
    UNTIL(a->gossip_gone);
    store_close(a->store);
    a->store = NULL;
    a->gossip = NULL;
    a->up = false;
    a->role = RAFT_UV_OUTSIDE;
}

static struct agent *leader(void)
{
    for (size_t i = 0; i < AGENTS; i++)
        if (agents[i].up && raft_uv_is_leader(agents[i].raft))
            return &agents[i];
    return NULL;
}

static bool agree_on_leader(void)
{
    struct agent *l = leader();
    for (size_t i = 0; l != NULL && i < AGENTS; i++)
        if (agents[i].up && raft_uv_leader(agents[i].raft) != gossip_self(l->gossip))
            return false;
    return l != NULL;
}

static void on_answer(void *arg, int err, uint64_t index, uint64_t term)
{
    (void)arg;
    (void)term;
    answered++;
    answer_err = err;
    answer_index = index;
}

static void propose(uint64_t value)
{
    uint64_t before = answered;
    int err;
    do {
        UNTIL(leader() != NULL);
        err = raft_uv_propose(leader()->raft, &value, 8, on_answer, NULL);
    } while (err == ERR_NOTLEADER);
    cr_assert_eq(err, 0);
    UNTIL(answered > before);
}

static bool all_have(uint64_t count)
{
    for (size_t i = 0; i < AGENTS; i++)
        if (agents[i].up && agents[i].count < count)
            return false;
    return true;
}

static int64_t voters_of(struct agent *a)
{
    json_t *j = raft_uv_status(a->raft);
    int64_t n = (int64_t)json_array_size(json_arr(j, "voters"));
    json_decref(j);
    return n;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static uv_timer_t beat;

static void setup(void)
{
    log_configure(getenv("BLOX_TEST_LOG") != NULL ? LOG_DEBUG : LOG_OFF, LOG_TEXT);
    uv_loop_init(&loop);
    uv_timer_init(&loop, &beat);
    uv_timer_start(&beat, on_tick, 10, 10);
    for (size_t i = 0; i < AGENTS; i++) {
        struct agent *a = &agents[i];
        snprintf(a->id, sizeof(a->id), "a%u", (unsigned)i + 1);
        snprintf(a->dir, sizeof(a->dir), "/tmp/blox-raft-XXXXXX");
        cr_assert_not_null(mkdtemp(a->dir));
        uv_async_init(&loop, &a->wake, on_wake);
        a->wake.data = a;
    }
}

static void teardown(void)
{
    for (size_t i = 0; i < AGENTS; i++) {
        if (agents[i].up)
            stop(&agents[i]);
        free(agents[i].rows);
        nftw(agents[i].dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        uv_close((uv_handle_t *)&agents[i].wake, NULL);
    }
    uv_close((uv_handle_t *)&beat, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
}

TestSuite(raft_uv, .init = setup, .fini = teardown, .timeout = 240);

Test(raft_uv, three_agents_agree_and_survive_their_leader)
{
    for (size_t i = 0; i < VOTERS; i++)
        start(&agents[i], VOTERS);
    UNTIL(agree_on_leader());
    cr_assert_eq(voters_of(leader()), 3);
    for (uint64_t v = 1; v <= 50; v++) {
        propose(v);
        cr_assert_eq(answer_err, 0);
    }
    UNTIL(all_have(50));
    UNTIL(leader() != NULL && raft_uv_may_act(leader()->raft));

    struct agent *old = leader();
    stop(old);
    UNTIL(leader() != NULL);
    cr_assert_neq(leader(), old);
    for (uint64_t v = 51; v <= 60; v++)
        propose(v);
    cr_assert_eq(answer_err, 0);

    start(old, VOTERS);
    cr_assert_geq(old->count, 1, "rows applied before the stop are on its disk");
    UNTIL(all_have(60));
    for (size_t i = 0; i < VOTERS; i++)
        for (uint64_t v = 1; v <= 60; v++)
            cr_assert_eq(agents[i].values[v - 1], v);
}

static uint64_t term_of(struct agent *a)
{
    json_t *j = raft_uv_status(a->raft);
    uint64_t term = (uint64_t)json_int_or(j, "term", 0);
    json_decref(j);
    return term;
}

/* What a leader that lost its disk, and hears of itself as the leader, tells. */
static void tell_no_servers(struct agent *from, struct agent *to)
{
    uint8_t bytes[64];
    struct wbuf w;
    wbuf_init(&w, bytes, sizeof(bytes));
    wbuf_u8(&w, FRAME_HELLO);
    wbuf_u64(&w, raft_uv_cluster_id(from->raft));
    wbuf_u8(&w, 0);
    wbuf_u64(&w, 1); /* its disk */
    wbuf_u64(&w, gossip_self(from->gossip));
    wbuf_u64(&w, term_of(from));
    wbuf_u64(&w, 0); /* it speaks for no configuration, */
    wbuf_u8(&w, 0);  /* and knows no server */
    wbuf_u8(&w, 0);
    cr_assert_not(w.bad);
    cr_assert_eq(gossip_send(from->gossip, CHANNEL_RAFT, gossip_self(to->gossip), bytes, w.len), 0);
}

Test(raft_uv, who_led_and_lost_its_log_retires_nobody)
{
    for (size_t i = 0; i < VOTERS; i++)
        start(&agents[i], VOTERS);
    UNTIL(agree_on_leader());
    propose(1);
    struct agent *old = leader();
    for (size_t i = 0; i < VOTERS; i++)
        if (&agents[i] != old)
            tell_no_servers(old, &agents[i]);
    stop(old);
    for (uint64_t until_ms = clock_mono_ms() + 30000; !leader() && clock_mono_ms() < until_ms;)
        uv_run(&loop, UV_RUN_ONCE);
    cr_assert(leader() != NULL, "both take themselves for no voters");
    propose(2);
}

Test(raft_uv, one_agent_leads_alone_and_grows_to_three)
{
    start(&agents[0], 1);
    UNTIL(leader() == &agents[0]);
    propose(1);
    propose(2);
    start(&agents[1], 1);
    start(&agents[2], 1);
    UNTIL(voters_of(&agents[0]) == 3);
    UNTIL(all_have(2));
    cr_assert_eq(agents[2].values[1], 2);
    stop(&agents[0]);
    UNTIL(leader() != NULL);
    propose(3);
    cr_assert_eq(answer_err, 0);
}

static void on_prepare(uv_prepare_t *handle)
{
    (void)handle;
    polling = true;
}

static void on_check(uv_check_t *handle)
{
    (void)handle;
    polling = false;
}

/* What is committed comes with the next entries: their write and the answer go first. */
Test(raft_uv, a_follower_applies_by_its_timer_and_a_leader_at_once)
{
    static uv_prepare_t before;
    static uv_check_t after;
    uv_prepare_init(&loop, &before);
    uv_check_init(&loop, &after);
    uv_prepare_start(&before, on_prepare);
    uv_check_start(&after, on_check);
    for (size_t i = 0; i < VOTERS; i++)
        start(&agents[i], VOTERS);
    UNTIL(agree_on_leader());
    for (uint64_t v = 1; v <= 30; v++)
        propose(v);
    UNTIL(all_have(30));
    cr_assert_eq(in_poll[RAFT_UV_FOLLOWER], 0);
    cr_assert_gt(in_poll[RAFT_UV_LEADER], 0);
    uv_close((uv_handle_t *)&before, NULL);
    uv_close((uv_handle_t *)&after, NULL);
}

static uint64_t metric_of(const char *name)
{
    struct buf b;
    buf_init(&b, 1u << 20);
    cr_assert_eq(metrics_render(&b), 0);
    buf_put(&b, "", 1);
    char *at = strstr(b.data, name);
    cr_assert_not_null(at, "%s", name);
    uint64_t value = strtoull(at + strlen(name), NULL, 10);
    buf_fini(&b);
    return value;
}

Test(raft_uv, each_write_is_counted_and_timed_once)
{
    start(&agents[0], 1);
    UNTIL(leader() != NULL);
    propose(1);
    uint64_t before = metric_of("\nblox_raft_commit_seconds_count ");
    uint64_t persisted = metric_of("\nblox_raft_persist_seconds_count ");
    for (uint64_t v = 2; v <= 6; v++)
        propose(v);
    cr_assert_eq(metric_of("\nblox_raft_commit_seconds_count "), before + 5);
    cr_assert_geq(metric_of("\nblox_raft_persist_seconds_count "), persisted + 5);
}

Test(raft_uv, leadership_is_handed_over_on_request)
{
    for (size_t i = 0; i < VOTERS; i++)
        start(&agents[i], VOTERS);
    UNTIL(agree_on_leader());
    struct agent *old = leader();
    propose(1);
    cr_assert_eq(raft_uv_transfer(old->raft, NULL, NULL), 0);
    UNTIL(leader() != NULL && leader() != old);
    cr_assert_not(raft_uv_may_act(old->raft));
    uint64_t value = 9;
    cr_assert_eq(raft_uv_propose(old->raft, &value, 8, on_answer, NULL), ERR_NOTLEADER);
}

Test(raft_uv, a_restart_alone_keeps_all_and_waits_for_a_majority)
{
    for (size_t i = 0; i < VOTERS; i++)
        start(&agents[i], VOTERS);
    UNTIL(agree_on_leader());
    for (uint64_t v = 1; v <= 5; v++)
        propose(v);
    UNTIL(all_have(5));
    for (size_t i = 0; i < VOTERS; i++)
        stop(&agents[i]);
    for (size_t i = 0; i < VOTERS; i++)
        start(&agents[i], VOTERS);
    UNTIL(agree_on_leader());
    propose(6);
    UNTIL(all_have(6));
    for (size_t i = 0; i < VOTERS; i++)
        for (uint64_t v = 1; v <= 6; v++)
            cr_assert_eq(agents[i].values[v - 1], v);
}

/* The disk is full at its first start, and has room when it keeps the first of a cluster. */
Test(raft_uv, what_a_full_disk_refused_at_the_start_is_written_with_the_log)
{
    start(&agents[0], 1);
    cr_assert_eq(store_fact_put(agents[0].store, "raft.disk", "", 1, NULL, NULL), 0);
    UNTIL(leader() == &agents[0]);
    propose(1);
    stop(&agents[0]);
    start(&agents[0], 1);
    UNTIL(leader() == &agents[0]);
    propose(2);
    cr_assert_eq(agents[0].values[0], 1);
    cr_assert_eq(agents[0].values[1], 2);
}

static bool in_trouble(struct agent *a)
{
    json_t *j = raft_uv_status(a->raft);
    bool trouble = strstr(json_str_or(j, "trouble", ""), "two clusters") != NULL;
    json_decref(j);
    return trouble;
}

static bool knows_of(const struct agent *a, uint64_t cluster)
{
    return raft_uv_cluster_id(a->raft) == cluster;
}

/* A voter whose peer is gone has a cluster, though no leader: blank agents that meet it, as many as
 * would do, form no second one. */
Test(raft_uv, a_cluster_without_a_leader_is_a_cluster)
{
    start(&agents[0], 2);
    start(&agents[1], 2);
    UNTIL(agree_on_leader());
    uint64_t cluster = raft_uv_cluster_id(agents[0].raft);
    stop(&agents[1]);
    UNTIL(raft_uv_leader(agents[0].raft) == 0);
    apart = true;
    start(&agents[2], 2);
    char address[32];
    const char *list[1] = {address};
    snprintf(address, sizeof(address), "127.0.0.1:%u", gossip_port(agents[0].gossip));
    cr_assert_eq(gossip_join(agents[2].gossip, list, 1), 0);
    UNTIL(raft_uv_cluster_id(agents[2].raft) != 0);
    apart = false;
    start(&agents[3], 2);
    UNTIL(raft_uv_cluster_id(agents[3].raft) != 0);
    cr_assert(knows_of(&agents[2], cluster) && knows_of(&agents[3], cluster));
    apart = true;
    start(&agents[1], 2);
    snprintf(address, sizeof(address), "127.0.0.1:%u", gossip_port(agents[2].gossip));
    cr_assert_eq(gossip_join(agents[1].gossip, list, 1), 0);
    UNTIL(agree_on_leader());
    for (size_t i = 0; i < AGENTS; i++)
        cr_assert(knows_of(&agents[i], cluster), "agent %zu", i);
}

Test(raft_uv, two_clusters_that_meet_stop_acting_and_say_so)
{
    apart = true;
    start(&agents[0], 1);
    start(&agents[1], 1);
    UNTIL(raft_uv_may_act(agents[0].raft) && raft_uv_may_act(agents[1].raft));
    char address[32];
    const char *list[1] = {address};
    snprintf(address, sizeof(address), "127.0.0.1:%u", gossip_port(agents[0].gossip));
    cr_assert_eq(gossip_join(agents[1].gossip, list, 1), 0);
    UNTIL(in_trouble(&agents[0]) && in_trouble(&agents[1]));
    cr_assert_not(raft_uv_may_act(agents[0].raft));
    cr_assert_not(raft_uv_may_act(agents[1].raft));
    /* Nor take writes, but reads: one of the two is to be kept elsewhere, and then given up. */
    struct errmsg e = {""};
    uint64_t value = 1, before = answered;
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(raft_uv_propose(agents[i].raft, &value, 8, on_answer, NULL), ERR_CONFLICT);
        cr_assert_eq(raft_uv_barrier(agents[i].raft, on_answer, NULL), 0);
    }
    UNTIL(answered == before + 2);
    cr_assert_eq(raft_uv_rejoin(agents[1].raft, false, NULL, NULL, &e), ERR_CONFLICT);
    cr_assert_eq(raft_uv_rejoin(agents[1].raft, true, NULL, NULL, &e), 0, "%s", e.text);
    uint64_t kept = raft_uv_cluster_id(agents[0].raft);
    UNTIL(knows_of(&agents[1], kept));
}
