/* SPDX-License-Identifier: Apache-2.0
 * Changing keys, on real nodes of the loopback: a rotation, and a member that lies. It can make
 * nobody seal with a key that others lack, nor give up one that others seal with. */
#include <sys/stat.h>
#include <unistd.h>

#include "agent/agent_int.h"
#include "tests/unit/gossip/nodes.h"

#define AGENTS 4u
#define LIAR 3u
#define VICTIM 1u

static struct agent agents[AGENTS];
static struct config configs[AGENTS];
static char files[AGENTS][64];
static const uint8_t fresh[32] = {42};
static char old_id[17], new_id[17], dir[] = "/tmp/blox-keyring-XXXXXX";

static void on_call(void *arg, uint64_t from, uint8_t method, const uint8_t *data, size_t len,
                    struct gossip_request *call)
{
    struct agent *a = arg;
    cr_assert_eq(method, CALL_KEYS);
    keyring_on_call(a->keyring, from, data, len, call);
}

static void start(unsigned count)
{
    cr_assert_not_null(mkdtemp(dir));
    make_cluster(count);
    cr_assert(others_see());
    gossip_key_id(key_a[0], old_id);
    gossip_key_id(fresh, new_id);
    for (unsigned i = 0; i < count; i++) {
        struct agent *a = &agents[i];
        a->gossip = nodes[i].g;
        a->loop = &loop;
        a->config = &configs[i];
        snprintf(files[i], sizeof files[i], "%s/%u", dir, i);
        configs[i].gossip_key_file = files[i];
        memcpy(a->keys.key[0], key_a[0], 32);
        a->keys.count = 1;
        cr_assert_eq(keyring_create(&a->keyring, a), 0);
        gossip_on_call(a->gossip, on_call, a);
    }
}

static void stop(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (nodes[i].g != NULL)
            kill_node(i);
        keyring_destroy(agents[i].keyring);
        unlink(files[i]);
    }
    finish(count);
    rmdir(dir);
}

/* ---- a step by an honest agent -------------------------------------------------------------- */

static bool over;
static int step_err;
static int64_t acknowledged, having; /* the fresh key */
static const uint8_t *step_key = fresh;
static char step_detail[300], missing[300];

static void on_step(void *arg, const struct intent_result *r)
{
    (void)arg;
    over = true;
    step_err = r->err;
    acknowledged = r->body == NULL ? 0 : json_int_or(r->body, "acknowledged", 0);
    snprintf(step_detail, sizeof step_detail, "%s", r->detail);
    const json_t *list = r->body == NULL ? NULL : json_object_get(r->body, "missing");
    snprintf(missing, sizeof missing, "%s", json_str_or(json_array_get(list, 0), "why", ""));
    having = 0;
    list = r->body == NULL ? NULL : json_object_get(r->body, "keys");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_str_or(json_array_get(list, i), "id", ""), new_id) == 0)
            having = json_int_or(json_array_get(list, i), "members", 0);
}

static bool is_over(void)
{
    return over;
}

static void step(unsigned by, const char *op, const char *id)
{
    char hex[65] = "";
    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", step_key[i]);
    json_t *c = json_pack("{s:s,s:s,s:s}", "op", op, "id", id, "key", hex);
    over = false;
    keyring_run(agents[by].keyring, c, on_step, NULL);
    json_decref(c);
    cr_assert(run_until(is_over, 20000), "%s", op);
}

static void assert_ring(unsigned of, const char *first, size_t count)
{
    cr_assert_str_eq(gossip_key_at(agents[of].gossip, 0), first, "agent %u", of);
    cr_assert_eq(gossip_key_count(agents[of].gossip), count, "agent %u", of);
    cr_assert_eq(agents[of].keys.count, count);
}

Test(keyring, a_rotation)
{
    for (unsigned count = 1; count <= AGENTS; count++) {
        snprintf(dir, sizeof dir, "/tmp/blox-keyring-XXXXXX");
        start(count);
        step(0, "keys.use", new_id);
        cr_assert_eq(step_err, ERR_NOTFOUND, "use before install");
        step(0, "keys.install", "");
        cr_assert(step_err == 0 && acknowledged == count, "install: %d", step_err);
        step(0, "keys.remove", old_id);
        cr_assert_eq(step_err, ERR_CONFLICT, "it seals");
        step(count - 1, "keys.use", new_id);
        cr_assert(step_err == 0 && acknowledged == count, "use: %d %s%s", step_err, step_detail,
                  missing);
        step(count / 2, "keys.remove", old_id);
        cr_assert(step_err == 0 && acknowledged == count, "remove: %d %s", step_err, step_detail);
        for (unsigned i = 0; i < count; i++)
            assert_ring(i, new_id, 1);
        step(0, "keys.remove", old_id);
        cr_assert_eq(step_err, ERR_NOTFOUND, "a key that nobody has was removed");
        stop(count);
    }
}

/* ---- an agent that stops amid a step --------------------------------------------------------- */

static struct gossip_request *held;
static uint8_t held_op;

/* Answers nothing of that kind. */
static void on_call_held(void *arg, uint64_t from, uint8_t method, const uint8_t *data, size_t len,
                         struct gossip_request *call)
{
    if (held == NULL && data[0] == held_op)
        held = call;
    else
        on_call(arg, from, method, data, len, call);
}

static bool is_held(void)
{
    return held != NULL;
}

static void free_command(void *arg, const struct intent_result *r)
{
    on_step(NULL, r);
    json_decref(arg);
}

/* In its question of all, in that of another one, or while it says what is to be done. */
Test(keyring, who_stops_amid_a_step_says_so)
{
    static const uint8_t ops[] = {1, 5, 3};
    for (size_t i = 0; i < sizeof ops; i++) {
        snprintf(dir, sizeof dir, "/tmp/blox-keyring-XXXXXX");
        start(3);
        held = NULL;
        held_op = ops[i];
        for (unsigned other = 1; other < 3; other++)
            gossip_on_call(agents[other].gossip, on_call_held, &agents[other]);
        json_t *c = json_pack("{s:s,s:s}", "op", "keys.use", "id", old_id);
        over = false;
        keyring_run(agents[0].keyring, c, free_command, c);
        cr_assert(run_until(is_held, 20000), "op %u", ops[i]);
        cr_assert(!over);
        agents[0].gossip = NULL; /* as an agent that stops does, before its node goes */
        kill_node(0);
        cr_assert(over && step_err == ERR_CLOSED, "op %u: %d", ops[i], step_err);
        gossip_answer(held, ERR_CLOSED, NULL, 0);
        stop(3);
    }
}

/* ---- members that were away ------------------------------------------------------------------ */

/* ---- a member that cannot write its file ---------------------------------------------------- */

static bool is_saved(void)
{
    return keyring_trouble(agents[2].keyring)[0] == '\0';
}

static void step_refused_unsaved(const char *op, const char *id)
{
    step(0, op, id);
    cr_assert_eq(step_err, ERR_CONFLICT, "%s: %d", op, step_err);
    cr_assert_not_null(strstr(step_detail, "not saved"), "%s: %s", op, step_detail);
    cr_assert_not_null(strstr(step_detail, files[2]), "%s: %s", op, step_detail);
    cr_assert_not_null(strstr(step_detail, "No such file"), "%s: %s", op, step_detail);
}

/* A restart would lock it out: it acknowledges nothing until what it has in memory is saved. */
Test(keyring, what_a_member_could_not_save_nobody_counts_on)
{
    static const uint8_t third[32] = {43};
    char sub[40], third_id[17];
    gossip_key_id(third, third_id);
    start(3);
    snprintf(sub, sizeof sub, "%s/sub", dir);
    snprintf(files[2], sizeof files[2], "%s/2", sub);
    for (unsigned i = 0; i < 2; i++) { /* asked again it says the same */
        step(0, "keys.install", "");
        cr_assert(step_err == 0 && acknowledged == 2, "%d", (int)acknowledged);
        cr_assert_not_null(strstr(missing, files[2]), "%s", missing);
    }
    step(1, "keys.list", "");
    cr_assert(having == 2 && acknowledged == 2, "%d %d", (int)having, (int)acknowledged);
    cr_assert_not_null(strstr(missing, files[2]), "%s", missing);
    step_refused_unsaved("keys.use", new_id);
    assert_ring(2, old_id, 2);

    cr_assert_eq(mkdir(sub, 0700), 0);
    cr_assert_not(is_saved());
    keyring_tick(agents[2].keyring);
    cr_assert(run_until(is_saved, 20000));
    step(0, "keys.use", new_id);
    cr_assert(step_err == 0 && acknowledged == 3, "use: %d %s%s", step_err, step_detail, missing);

    cr_assert(unlink(files[2]) == 0 && rmdir(sub) == 0);
    step_key = third;
    step(0, "keys.install", "");
    cr_assert(step_err == 0 && acknowledged == 2);
    step_refused_unsaved("keys.remove", old_id);
    step_refused_unsaved("keys.use", third_id);
    cr_assert_eq(mkdir(sub, 0700), 0);
    step(0, "keys.install", "");
    cr_assert(step_err == 0 && acknowledged == 3, "asked again it is saved");
    step(0, "keys.remove", old_id);
    cr_assert(step_err == 0 && acknowledged == 3, "remove: %d %s", step_err, step_detail);
    unlink(files[2]);
    rmdir(sub);
    stop(3);
}

/* ---- two operators at once ------------------------------------------------------------------ */

static struct outcome {
    bool over;
    int err;
    int64_t acknowledged;
    char why[300];
} outcomes[2];

static void on_outcome(void *arg, const struct intent_result *r)
{
    struct outcome *o = arg;
    on_step(NULL, r);
    *o = (struct outcome){.over = true, .err = r->err, .acknowledged = acknowledged};
    snprintf(o->why, sizeof o->why, "%s", r->err == 0 ? missing : step_detail);
}

static bool never(void)
{
    return false;
}

/* Each change of the sealing key opens new connections, and those of one member are few. */
static bool settled(void)
{
    bool few = true;
    for (unsigned i = 0; i < AGENTS; i++)
        few = few && nodes[i].g->incoming < AGENTS;
    return few;
}

static bool both_over(void)
{
    return outcomes[0].over && outcomes[1].over;
}

/* Each is carried out by all members or by none: a member whose file is being written for the one
 * has its turn for the other only when that is done. */
Test(keyring, two_that_use_different_keys_do_not_part_the_members)
{
    const char *ids[2] = {new_id, old_id};
    start(AGENTS);
    step(0, "keys.install", "");
    for (unsigned turn = 0; turn < 32; turn++) {
        for (unsigned i = 0; i < 2; i++) {
            json_t *c = json_pack("{s:s,s:s}", "op", "keys.use", "id", ids[i]);
            outcomes[i].over = false;
            if (i == 1)
                run_until(never, turn / 2);
            keyring_run(agents[(turn + i) % AGENTS].keyring, c, on_outcome, &outcomes[i]);
            json_decref(c);
        }
        cr_assert(run_until(both_over, 20000));
        for (unsigned i = 0; i < 2; i++) {
            const struct outcome *o = &outcomes[i];
            bool all = o->err == 0 && o->acknowledged == AGENTS;
            cr_assert(all || o->err == ERR_CONFLICT || o->err == ERR_BUSY,
                      "turn %u: %d, %d of %u, %s", turn, o->err, (int)o->acknowledged, AGENTS,
                      o->why);
        }
        for (unsigned i = 1; i < AGENTS; i++)
            assert_ring(i, gossip_key_at(agents[0].gossip, 0), 2);
        cr_assert(run_until(settled, 20000));
    }
    stop(AGENTS);
}

static bool cut_off(void)
{
    return gossip_key_trouble(nodes[2].g)[0] != '\0';
}

Test(keyring, who_was_cut_off_while_the_key_was_changed_says_so)
{
    char id[17];
    make_cluster(3);
    gossip_key_id(key_b[0], id);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(gossip_key_add(nodes[i].g, key_b[0]), 0);
        cr_assert_eq(gossip_key_use(nodes[i].g, id), 0);
    }
    cr_assert(run_until(cut_off, 20000));
    id[8] = '\0';
    cr_assert_not_null(strstr(gossip_key_trouble(nodes[2].g), id));
    cr_assert_str_empty(gossip_key_trouble(nodes[0].g));
    cr_assert_eq(gossip_key_add(nodes[2].g, key_b[0]), 0);
    expect_count = expect_alive = 3;
    cr_assert(run_until(all_see, 20000));
    cr_assert_str_empty(gossip_key_trouble(nodes[2].g));
    finish(3);
}

/* After `use` it is the tick that opens connections anew. It took the time before that. */
Test(keyring, a_connection_that_a_tick_opens_is_not_ended_by_it)
{
    make_cluster(2);
    cr_assert(others_see());
    struct gossip_node *g = nodes[0].g;
    tcp_close_all(g);
    gossip_hold(g, nodes[1].g->num);
    cr_assert_eq(g->outgoing, 1);
    g->streams_ms = 0;
    tcp_tick(g, node_now(g) - 5);
    cr_assert_eq(g->outgoing, 1);
    finish(2);
}

/* ---- a member that lies --------------------------------------------------------------------- */

static int call_err;

static void on_answer(void *arg, int err, const uint8_t *data, size_t len)
{
    (void)arg, (void)data, (void)len;
    over = true;
    call_err = err;
}

/* What it may ask of a member: 1 list, 2 install, 3 use, 4 remove, 5 look as well. */
static int lie(unsigned to, uint8_t op, uint8_t then, const void *rest, size_t len)
{
    uint8_t bytes[64] = {op, then};
    size_t head = then == 0 ? 1 : 2;
    memcpy(bytes + head, rest, len);
    over = false;
    cr_assert_eq(gossip_call(nodes[LIAR].g, nodes[to].g->num, CALL_KEYS, bytes, head + len, 12000,
                             on_answer, NULL),
                 0);
    cr_assert(run_until(is_over, 20000));
    return call_err;
}

static unsigned answers;

static void on_both(void *arg, int err, const uint8_t *data, size_t len)
{
    (void)arg, (void)data, (void)len;
    call_err = call_err == 0 ? err : call_err;
    over = ++answers == 2;
}

static void install_twice(void)
{
    uint8_t bytes[33] = {2};
    memcpy(bytes + 1, fresh, 32);
    over = false;
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(gossip_call(nodes[LIAR].g, nodes[VICTIM].g->num, CALL_KEYS, bytes,
                                 sizeof bytes, 12000, on_both, NULL),
                     0);
}

Test(keyring, what_comes_while_the_file_is_written_waits_for_that)
{
    start(AGENTS);
    install_twice();
    cr_assert(run_until(is_over, 20000));
    cr_assert_eq(call_err, 0);
    stop(AGENTS);
}

static bool has_begun(void)
{
    return agents[VICTIM].keys.count == 2;
}

Test(keyring, it_stops_while_the_file_is_written_and_calls_wait)
{
    start(AGENTS);
    snprintf(files[VICTIM], sizeof files[VICTIM], "%s/none/1", dir);
    install_twice();
    cr_assert(run_until(has_begun, 20000));
    stop(AGENTS);
}

Test(keyring, one_member_moves_nobody_to_another_key)
{
    start(AGENTS);
    cr_assert_eq(lie(VICTIM, 2, 0, fresh, 32), 0);
    for (unsigned i = 0; i < 3; i++) {
        (void)lie(VICTIM, 1, 3, new_id, 16);
        (void)lie(VICTIM, 3, 0, new_id, 16);
        assert_ring(VICTIM, old_id, 2);
    }
    /* Nor does another say so for it: that one looks, and finds two that lack the key. */
    cr_assert_eq(lie(0, 1, 3, new_id, 16), 0, "its turn");
    cr_assert_eq(lie(0, 5, 3, new_id, 16), ERR_CONFLICT);
    cr_assert_eq(lie(VICTIM, 5, 3, new_id, 16), ERR_CONFLICT);
    (void)lie(VICTIM, 1, 3, new_id, 16);
    (void)lie(VICTIM, 3, 0, new_id, 16);
    assert_ring(VICTIM, old_id, 2);
    stop(AGENTS);
}

Test(keyring, one_member_takes_no_key_from_others)
{
    start(AGENTS);
    step(0, "keys.install", "");
    step(0, "keys.use", new_id);
    cr_assert_eq(step_err, 0);
    /* All have both. Back to the old one at three of four would part them from the fourth. */
    for (unsigned i = 0; i < LIAR; i++) {
        (void)lie(i, 1, 4, old_id, 16);
        (void)lie(i, 4, 0, old_id, 16);
        assert_ring(i, new_id, 2);
    }
    stop(AGENTS);
}

Test(keyring, one_member_makes_nobody_look_again_and_again)
{
    static const char none[] = "00112233aabbccdd";
    unsigned looks = 0;
    start(AGENTS);
    cr_assert_eq(lie(0, 5, 4, none, 16), ERR_BUSY, "without its turn");
    for (unsigned i = 0; i < 40; i++) {
        cr_assert_eq(lie(0, 1, 4, none, 16), 0, "its turn");
        looks += lie(0, 5, 4, none, 16) != ERR_BUSY;
    }
    cr_assert(looks >= 10 && looks < 30, "%u", looks);
    stop(AGENTS);
}
