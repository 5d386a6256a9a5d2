/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/gossip/sync_fixture.h"

struct traffic {
    uint64_t bytes, messages, turns; /* turns: changes of direction */
    unsigned last;
};

static void count_message(struct traffic *t, unsigned from, size_t len)
{
    t->bytes += len;
    t->messages++;
    t->turns += from != t->last;
    t->last = from;
}

static void give(struct node *const nodes[2], unsigned from, const uint8_t *data, size_t len,
                 uint64_t now, struct traffic *t)
{
    struct node *to = nodes[1 - from];
    uint8_t *copy = malloc(len);
    memcpy(copy, data, len);
    size_t pos = 0;
    do {
        uint8_t *reply = malloc(SYNC_MESSAGE_MAX);
        cr_assert_eq(
            sync_recv(&to->sync, now, from + 1, copy, len, &pos, reply, SYNC_MESSAGE_MAX, &to->in),
            0);
        size_t reply_len = to->in.reply_len;
        for (size_t i = 0; i < to->in.apply_count; i++) {
            const struct record *rec = &to->in.apply[i];
            put(to, find(record_key_hash(rec->kind, rec->key, rec->key_len)),
                (uint32_t)rec->version.hi);
        }
        if (reply_len > 0) {
            count_message(t, 1 - from, reply_len);
            give(nodes, 1 - from, reply, reply_len, now, t);
        }
        free(reply);
    } while (pos < len);
    free(copy);
}

/* Lets the two talk, A first, until both have nothing to send before `until`. */
static void talk(struct node *a, struct node *b, uint64_t *now, uint64_t until, struct traffic *t)
{
    struct node *const nodes[2] = {a, b};
    while (*now < until) {
        bool any = false;
        for (unsigned i = 0; i < 2 && !any; i++) { /* A's push goes beside its WANT */
            uint64_t to;
            size_t len = sync_poll(&nodes[i]->sync, *now, out, sizeof out, &to);
            if (len == 0)
                continue;
            sync_sent(&nodes[i]->sync, *now, 0);
            cr_assert_eq(to, 2 - i);
            any = true;
            count_message(t, i, len);
            give(nodes, i, out, len, *now, t);
        }
        if (!any) {
            uint64_t due = sync_deadline(&a->sync, *now);
            uint64_t due_b = sync_deadline(&b->sync, *now);
            *now = due < due_b ? due : due_b;
            cr_assert_lt(*now, UINT64_MAX);
        }
    }
}

static bool same(const struct node *a, const struct node *b)
{
    return a->sync.root == b->sync.root &&
           memcmp(a->version, b->version, key_count * sizeof a->version[0]) == 0;
}

Test(sync, sums_do_not_depend_on_the_way)
{
    make_keys(1000);
    struct node *a = make(1, 10);
    struct node *b = make(2, 10);
    for (uint32_t k = 0; k < 1000; k++) {
        put(a, k, 3);
        put(b, 999 - k, 1);
        put(b, 999 - k, 2);
        put(b, 999 - k, 3);
    }
    cr_assert_eq(a->sync.root, b->sync.root);
    cr_assert_eq(memcmp(a->sync.leaf, b->sync.leaf, sizeof a->sync.leaf), 0);
    put(b, 5, 4);
    cr_assert_neq(a->sync.root, b->sync.root);
    for (uint32_t k = 0; k < 1000; k++)
        sync_removed(&a->sync, keys[k].hash, (struct record_version){.hi = 3});
    cr_assert_eq(a->sync.root, 0);
    cr_assert_eq(a->sync.rows, 0);
    end(a);
    end(b);
}

Test(sync, equal_members_exchange_two_small_packets)
{
    make_keys(50000);
    struct node *a = make(1, 10);
    struct node *b = make(2, 10);
    for (uint32_t k = 0; k < key_count; k++) {
        put(a, k, 1);
        put(b, k, 1);
    }
    struct traffic t = {0};
    uint64_t now = 0;
    talk(a, b, &now, 100000, &t);
    /* Both ways, 92 bytes of headers and seal on each. Either side's session serves both. */
    cr_assert_leq((t.bytes + 92 * t.messages) / 2, 25 * 100);
    cr_assert_gt(a->sync.stats.same + b->sync.stats.same, 15);
    cr_assert_gt(a->sync.stats.in_sync_ms, 0);
    cr_assert_eq(a->loaded + b->loaded, 0);
    end(a);
    end(b);
}

/* Pings tell roots: where every one is ours there is nothing to compare. One that was not makes the
 * next session come in its time, whatever the others say until then. */
Test(sync, who_hears_all_agree_begins_no_session)
{
    make_keys(10);
    struct node *n = make(1, 10);
    uint64_t now = 0, to;
    for (; now < 60000; now += 1000) {
        sync_heard(&n->sync, now, 2, true);
        cr_assert_eq(sync_poll(&n->sync, now, out, sizeof out, &to), 0);
    }
    cr_assert_eq(n->sync.stats.in_sync_ms, 59000);
    for (unsigned i = 0; i < 100 && sessions(n) == 0; i++, now += 100) {
        sync_heard(&n->sync, now, 2, i != 3);
        (void)!sync_poll(&n->sync, now, out, sizeof out, &to);
    }
    cr_assert_eq(sessions(n), 1);
    cr_assert_leq(now, 60000 + SYNC_PERIOD_MS * 5 / 4);
    /* Nobody answers; after that session agreement counts again. */
    for (; n->sync.phase != SYNC_IDLE; now += 100)
        (void)!sync_poll(&n->sync, now, out, sizeof out, &to);
    for (uint64_t end_ms = now + 30000; now < end_ms; now += 100) {
        sync_heard(&n->sync, now, 2, true);
        (void)!sync_poll(&n->sync, now, out, sizeof out, &to);
    }
    cr_assert_eq(sessions(n), 1);
    end(n);
}

/* Two of a zone that lack the same agree with each other. By chance they would compare with the
 * third once in eight times. */
Test(sync, who_told_another_root_is_compared_with)
{
    static const uint64_t three[] = {1, 2, 3};
    static const uint32_t zones[] = {1, 1, 2};
    make_keys(10);
    for (unsigned turn = 0; turn < 20; turn++) {
        struct node *n = make(1, 10);
        uint64_t now = 0, to = 0;
        n->peers = (struct peers){.nums = three, .zones = zones, .count = 3};
        prng_seed(&n->sync.prng, turn);
        for (; to == 0; now += 100) {
            sync_heard(&n->sync, now, 3, false);
            sync_heard(&n->sync, now, 2, true);
            (void)!sync_poll(&n->sync, now, out, sizeof out, &to);
        }
        cr_assert_eq(to, 3);
        end(n);
    }
}

/* Issue's bar: d differing rows in at most 3 round trips and 2 x d x row + 2 KB. */
Test(sync, cost_follows_the_difference)
{
    make_keys(100000);
    struct node *a = make(1, 250);
    struct node *b = make(2, 250);
    for (uint32_t k = 0; k < key_count; k++) {
        put(a, k, 1);
        put(b, k, 1);
    }
    const uint32_t amounts[] = {1, 2, 5, 16, 100};
    uint64_t now = 0;
    uint32_t version = 2;
    for (size_t i = 0; i < sizeof amounts / sizeof amounts[0]; i++) {
        uint32_t d = amounts[i];
        for (uint32_t j = 0; j < d; j++)
            put(j % 2 ? a : b, (j * 7919u + 13) % key_count, version);
        version++;
        struct traffic t = {.last = 1};
        sync_soon(&a->sync, now, 2, 0);
        b->sync.due_ms = UINT64_MAX;
        for (unsigned step = 0; step < 1000 && !same(a, b); step++)
            talk(a, b, &now, now + 1, &t);
        cr_assert(same(a, b));
        struct record rec = {.kind = RECORD_TASK, .key_len = 9, .value_len = 250};
        uint64_t row = record_encoded_size(&rec);
        cr_assert_leq(t.bytes, 2 * d * row + 2048, "%u rows: %lu bytes", d, t.bytes);
        cr_assert_leq(t.turns, 6, "%u rows: %lu one-way trips", d, t.turns);
        a->sync.due_ms = UINT64_MAX;
        now += 10000;
        a->sync.phase = SYNC_IDLE;
        a->sync.again = 0;
    }
    end(a);
    end(b);
}

Test(sync, a_newcomer_pulls_everything_piece_by_piece)
{
    make_keys(100000);
    struct node *a = make(1, 250);
    struct node *b = make(2, 250);
    for (uint32_t k = 0; k < key_count; k++)
        put(b, k, 1 + k % 5);
    struct traffic t = {0};
    uint64_t now = 0;
    sync_soon(&a->sync, now, 2, 0);
    talk(a, b, &now, 60000, &t);
    cr_assert(same(a, b));
    cr_assert_eq(a->applied, 100000);
    cr_assert_lt(t.bytes, 100000 * 300, "%lu", t.bytes);
    end(a);
    end(b);
}

Test(sync, one_with_much_makes_the_other_pull)
{
    make_keys(20000);
    struct node *a = make(1, 100);
    struct node *b = make(2, 100);
    for (uint32_t k = 0; k < key_count; k++)
        put(a, k, 1);
    struct traffic t = {0};
    uint64_t now = 0;
    sync_soon(&a->sync, now, 2, 0);
    b->sync.due_ms = UINT64_MAX;
    talk(a, b, &now, 4000, &t);
    cr_assert(same(a, b));
    cr_assert_lt(t.bytes, 20000 * 160, "%lu", t.bytes);
    end(a);
    end(b);
}

Test(sync, a_slow_store_holds_the_next_request_back)
{
    make_keys(20000);
    struct node *a = make(1, 100);
    struct node *b = make(2, 100);
    for (uint32_t k = 0; k < key_count; k++)
        put(b, k, 1);
    struct traffic t = {0};
    uint64_t now = 0;
    sync_soon(&a->sync, now, 2, 0);
    b->sync.due_ms = UINT64_MAX;
    sync_waiting(&a->sync, now, 5000);
    talk(a, b, &now, 1500, &t);
    cr_assert_lt(a->applied, 4000);
    cr_assert_gt(a->applied, 0);
    sync_waiting(&a->sync, now, 0);
    talk(a, b, &now, 30000, &t);
    cr_assert(same(a, b));
    end(a);
    end(b);
}

Test(sync, lost_answers_end_in_a_new_session)
{
    make_keys(100);
    struct node *a = make(1, 100);
    struct node *b = make(2, 100);
    put(b, 5, 1);
    uint64_t to;
    sync_soon(&a->sync, 0, 2, 0);
    cr_assert_gt(sync_poll(&a->sync, 0, out, sizeof out, &to), 0);
    sync_sent(&a->sync, 0, 0); /* and lost */
    cr_assert_leq(sync_deadline(&a->sync, 0), SYNC_TIMEOUT_MS);
    uint64_t now = SYNC_TIMEOUT_MS;
    struct traffic t = {0};
    talk(a, b, &now, 20000, &t);
    cr_assert(same(a, b));
    cr_assert_eq(a->sync.stats.timeouts, 1);
    end(a);
    end(b);
}

Test(sync, odd_messages_are_refused)
{
    make_keys(100);
    struct node *a = make(1, 100);
    const struct {
        const char *what;
        uint8_t bytes[24];
        size_t len;
    } cases[] = {
        {"empty", {0}, 0},
        {"type only", {1}, 1},
        {"unknown type", {11, 1, 2, 3, 4}, 5},
        {"short root", {1, 1, 2, 3, 4, 5, 6}, 7},
        {"long root", {1, 1, 2, 3, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 14},
        {"branch out of range", {4, 1, 2, 3, 4, 64}, 6},
        {"branch cut", {4, 1, 2, 3, 4, 1, 9, 9}, 8},
        {"leaf out of range", {8, 1, 2, 3, 4, 0, 16}, 7},
        {"half a leaf", {8, 1, 2, 3, 4, 1}, 6},
        {"want of a bad leaf", {6, 1, 2, 3, 4, 0, 16, 0}, 8},
        {"want with too many", {6, 1, 2, 3, 4, 1, 0, 0x81, 0x80, 1}, 10},
        {"want cut", {6, 1, 2, 3, 4, 1, 0, 2, 7, 7, 7, 7}, 12},
        {"data with odd flags", {7, 1, 2, 3, 4, 2}, 6},
        {"data with no record in it", {7, 1, 2, 3, 4, 0, 1, 1, 1, 1}, 10},
        {"poke with more", {10, 1, 2, 3, 4, 0}, 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t pos = 0;
        int err =
            sync_recv(&a->sync, 1, 2, cases[i].bytes, cases[i].len, &pos, out, sizeof out, &a->in);
        cr_assert_eq(err, ERR_MALFORMED, "%s", cases[i].what);
        cr_assert_eq(a->in.reply_len, 0);
        cr_assert_eq(a->in.apply_count, 0);
    }
    end(a);
}

/* A WANT of one row of each leaf that has some, as member `from` sends it. */
static uint8_t answer_to_want(struct node *b, uint64_t from, uint32_t session)
{
    static uint8_t want[64], reply[SYNC_MESSAGE_MAX];
    struct wbuf w;
    wbuf_init(&w, want, sizeof want);
    wbuf_u8(&w, 6);
    wbuf_u32(&w, session);
    wbuf_u16(&w, (uint16_t)(keys[0].hash >> 52));
    wbuf_varint(&w, 1);
    wbuf_u32(&w, 7);
    size_t pos = 0;
    cr_assert_eq(sync_recv(&b->sync, 1000, from, want, w.len, &pos, reply, sizeof reply, &b->in),
                 0);
    return b->in.reply_len == 0 ? 0 : reply[0];
}

/* Four lists are sent at a time. One member that asks for more and more takes one of them. */
Test(sync, one_member_does_not_take_all_lists)
{
    make_keys(1000);
    struct node *b = make(1, 100);
    for (uint32_t i = 0; i < 20; i++)
        cr_assert_eq(answer_to_want(b, 66, i), 0, "a list that replaces its last one");
    for (uint64_t from = 2; from < 5; from++)
        cr_assert_eq(answer_to_want(b, from, 1), 0, "%lu is refused", from);
    cr_assert_eq(answer_to_want(b, 5, 1), 9, "a fifth");
    end(b);
}

/* Rows come at a pace at which all of them take two minutes; none comes twice. */
Test(sync, a_long_session_ends_and_the_next_one_goes_on)
{
    make_keys(50000);
    struct node *const nodes[2] = {make(1, 250), make(2, 250)};
    struct traffic t = {0};
    uint64_t now = 0, to, data = 0;
    for (uint32_t k = 0; k < key_count; k++)
        put(nodes[1], k, 1);
    sync_soon(&nodes[0]->sync, now, 2, 0);
    while (!same(nodes[0], nodes[1]) && now < 200000) {
        nodes[1]->sync.due_ms = UINT64_MAX;
        now++;
        for (unsigned i = 0; i < 2; i++) {
            size_t len = sync_poll(&nodes[i]->sync, now, out, sizeof out, &to);
            if (len == 0)
                continue;
            sync_sent(&nodes[i]->sync, now, 0);
            now += out[0] == 7 ? 1500 : 0;
            data += out[0] == 7 ? len : 0;
            give(nodes, i, out, len, now, &t);
        }
    }
    cr_assert(same(nodes[0], nodes[1]));
    cr_assert_gt(now, SYNC_SESSION_MS + 10000);
    cr_assert_lt(data, 50000 * 300);
    for (unsigned i = 0; i < 2; i++)
        end(nodes[i]);
}

/* Two members in conversation while every other message is damaged, doubled or made up. */
Test(sync, mutated_messages_never_break_it)
{
    make_keys(3000);
    struct node *nodes[2] = {make(1, 60), make(2, 60)};
    struct prng prng;
    prng_seed(&prng, 7);
    static uint8_t held[2][SYNC_MESSAGE_MAX];
    size_t held_len[2] = {0, 0};
    static uint8_t reply[SYNC_MESSAGE_MAX];
    uint64_t now = 0;
    uint64_t malformed = 0;
    for (unsigned i = 0; i < 60000; i++) {
        unsigned to = i % 2;
        struct node *n = nodes[to];
        now += prng_below(&prng, 40);
        if (prng_below(&prng, 4) == 0)
            put(n, (uint32_t)prng_below(&prng, key_count), 1 + (uint32_t)(now / 64));
        if (prng_below(&prng, 50) == 0)
            sync_soon(&n->sync, now, 2 - to, 5);
        uint64_t whom;
        size_t len = sync_poll(&n->sync, now, out, sizeof out, &whom);
        if (len > 0) {
            sync_sent(&n->sync, now, prng_below(&prng, 6) == 0 ? ERR_BUSY : 0);
            memcpy(held[1 - to], out, len);
            held_len[1 - to] = len;
        }
        if (held_len[to] == 0)
            continue;
        size_t in_len = held_len[to];
        uint8_t *copy = malloc(in_len);
        memcpy(copy, held[to], in_len);
        if (prng_below(&prng, 2) == 0) {
            for (uint64_t k = 1 + prng_below(&prng, 3); k > 0; k--)
                copy[prng_below(&prng, in_len)] = (uint8_t)prng_next(&prng);
            if (prng_below(&prng, 4) == 0)
                in_len = 1 + prng_below(&prng, in_len);
        }
        size_t pos = 0;
        int err;
        held_len[to] = prng_below(&prng, 8) == 0 ? held_len[to] : 0;
        do {
            err = sync_recv(&n->sync, now, 2 - to, copy, in_len, &pos, reply, sizeof reply, &n->in);
            for (size_t k = 0; err == 0 && k < n->in.apply_count; k++) {
                const struct record *rec = &n->in.apply[k];
                uint64_t hash = record_key_hash(rec->kind, rec->key, rec->key_len);
                uint32_t at = find(hash);
                if (at < key_count && keys[at].hash == hash && rec->version.hi < 100000)
                    put(n, at, (uint32_t)rec->version.hi);
            }
            if (err == 0 && n->in.reply_len > 0) {
                memcpy(held[1 - to], reply, n->in.reply_len);
                held_len[1 - to] = n->in.reply_len;
            }
        } while (err == 0 && pos < in_len);
        malformed += err != 0;
        free(copy);
    }
    cr_assert_gt(malformed, 500);
    cr_assert_gt(nodes[0]->sync.stats.rows_received, 100);
    struct traffic t = {0};
    for (unsigned i = 0; i < 2; i++) /* and they still find together */
        sync_soon(&nodes[i]->sync, now, 2 - i, 5);
    talk(nodes[0], nodes[1], &now, now + 60000, &t);
    cr_assert(same(nodes[0], nodes[1]));
    end(nodes[0]);
    end(nodes[1]);
}
