/* SPDX-License-Identifier: Apache-2.0
 * Members that lie in sessions of sync, or ask without one. */
#include "tests/unit/gossip/sync_fixture.h"

/* Good until the fourth one after it. */
static struct wbuf word(uint8_t type, uint32_t session)
{
    static uint8_t bytes[4][2048];
    static unsigned turn;
    struct wbuf w;
    wbuf_init(&w, bytes[turn++ % 4], sizeof bytes[0]);
    wbuf_u8(&w, type);
    wbuf_u32(&w, session);
    return w;
}

/* Returns the answer's type, 0: none; *len: its length. */
static uint8_t say(struct node *to, uint64_t now, uint64_t from, const struct wbuf *w, size_t *len)
{
    static uint8_t reply[SYNC_MESSAGE_MAX];
    size_t pos = 0;
    cr_assert_eq(
        sync_recv(&to->sync, now, from, w->data, w->len, &pos, reply, sizeof reply, &to->in), 0);
    *len = to->in.reply_len;
    return *len == 0 ? 0 : reply[0];
}

enum lie { SAME_AND_POKE, OTHER_ROOT, EMPTY_DATA, ENDLESS_REST };
#define LIAR 2u

/* What the liar says to a message of that type in a session with it. */
static void answer_falsely(struct node *n, uint64_t now, enum lie lie, uint8_t type)
{
    uint32_t session = n->sync.session;
    struct wbuf w = word(0, session);
    size_t len;
    if (type == 1 && lie <= OTHER_ROOT) {
        w = word(2, session);
    } else if (type == 1) {
        w = word(3, session);
        for (unsigned i = 0; i < SYNC_WIDTH; i++)
            wbuf_bytes(&w, "\1\0\0", 3);
    } else if (lie == ENDLESS_REST && (type == 4 || type == 8)) {
        w = word(5, session);
        wbuf_bytes(&w, "\xff\xff\7\0", 4);
    } else if (lie == EMPTY_DATA && type == 4) { /* a row that n lacks */
        w = word(5, session);
        wbuf_bytes(&w, "\7\0\1abcd\xff\xff", 9);
    } else {
        return;
    }
    uint8_t then = say(n, now, LIAR, &w, &len);
    if (then != 0)
        answer_falsely(n, now, lie, then);
}

/* In ten minutes: sessions with the others than the liar. */
static uint64_t others_compared(enum lie lie)
{
    static const uint64_t nine[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct node *n = make(1, 100);
    uint64_t others = 0, to;
    size_t len;
    n->peers = (struct peers){.nums = nine, .count = 9};
    for (uint64_t now = 10; now < 600000; now += 10) {
        if (sync_poll(&n->sync, now, out, sizeof out, &to) > 0) {
            others += to != LIAR && out[0] == 1;
            struct wbuf same = word(2, n->sync.session);
            if (to == LIAR)
                answer_falsely(n, now, lie, out[0]);
            else
                (void)say(n, now, to, &same, &len);
        }
        if (lie == EMPTY_DATA && now % 100 == 0) {
            struct wbuf data = word(7, n->sync.session);
            wbuf_u8(&data, 0);
            (void)say(n, now, LIAR, &data, &len);
        }
        if (lie == OTHER_ROOT)
            sync_heard(&n->sync, now, LIAR, false);
        struct wbuf root = word(1, 77), poke = word(10, 77);
        wbuf_u64(&root, n->sync.root + 1);
        (void)say(n, now, LIAR, &root, &len);
        (void)say(n, now, LIAR, &poke, &len);
    }
    end(n);
    return others;
}

Test(sync_liars, one_that_lies_does_not_keep_a_member_from_others)
{
    /* Of some 120; a minute each at most for who has always more to tell. */
    static const uint64_t bars[] = {60, 60, 60, 6};
    make_keys(500);
    for (enum lie lie = SAME_AND_POKE; lie <= ENDLESS_REST; lie++) {
        uint64_t others = others_compared(lie);
        cr_assert_geq(others, bars[lie], "lie %u: %lu", lie, others);
    }
}

/* Agreement puts off the next comparison, but not where another one told otherwise. */
Test(sync_liars, one_that_agrees_does_not_outvote_who_differs)
{
    make_keys(10);
    struct node *n = make(1, 100);
    uint64_t now = 0, to;
    size_t len;
    for (; now < 60000 && sessions(n) == 0; now += 500) {
        struct wbuf root = word(1, 77);
        wbuf_u64(&root, n->sync.root);
        cr_assert_eq(say(n, now, LIAR, &root, &len), 2);
        if (now == 20000)
            sync_heard(&n->sync, now, 3, false);
        (void)!sync_poll(&n->sync, now, out, sizeof out, &to);
        cr_assert(sessions(n) == 0 || now >= 20000);
    }
    cr_assert_leq(now, 20500 + SYNC_PERIOD_MS * 5 / 4);
    end(n);
}

static unsigned pokes_heeded(uint64_t session)
{
    struct node *n = make(1, 100);
    unsigned heeded = 0;
    size_t len;
    for (uint64_t now = 1; now <= 2 * SYNC_PERIOD_MS; now++) {
        struct wbuf root = word(1, 77);
        wbuf_u64(&root, 1);
        cr_assert_eq(say(n, now, LIAR, &root, &len), 3);
        struct wbuf poke = word(10, (uint32_t)session);
        n->sync.due_ms = UINT64_MAX;
        (void)say(n, now, LIAR, &poke, &len);
        heeded += n->sync.due_ms != UINT64_MAX;
        n->sync.soon = 0;
    }
    end(n);
    return heeded;
}

Test(sync_liars, a_poke_ends_a_session_and_counts_once_a_period)
{
    make_keys(10);
    cr_assert_eq(pokes_heeded(77), 2);
    cr_assert_eq(pokes_heeded(78), 0);
}

/* Prints cost a scan, and thirty times the bytes that ask for them. */
Test(sync_liars, prints_are_for_who_began_a_session_and_so_many_in_a_period)
{
    make_keys(60000);
    struct node *n = make(1, 100);
    uint64_t told = 0;
    size_t len;
    for (uint32_t k = 0; k < key_count; k++)
        put(n, k, 1);
    struct wbuf root = word(1, 77);
    wbuf_u64(&root, 1);
    struct wbuf w = word(8, 77), leaves = word(4, 77);
    for (uint16_t leaf = 0; leaf < 512; leaf++)
        wbuf_u16(&w, leaf);
    cr_assert_eq(say(n, 1, LIAR, &w, &len), 0, "NEXT without a session");
    cr_assert_eq(say(n, 1, LIAR, &leaves, &len), 0, "LEAVES without a session");
    for (unsigned i = 0; i < 2000; i++) {
        if (i % 10 == 0)
            cr_assert_eq(say(n, 1 + i, LIAR, &root, &len), 3);
        cr_assert_eq(say(n, 1 + i, 3, &w, &len), 0, "in another one's session");
        (void)say(n, 1 + i, LIAR, &w, &len);
        told += len;
    }
    cr_assert_gt(told, SYNC_PRINTS * sizeof(uint32_t) / 2);
    cr_assert_lt(told, 2 * SYNC_PRINTS * sizeof(uint32_t));
    cr_assert_eq(say(n, 1 + SYNC_PERIOD_MS, LIAR, &w, &len), 5);
    end(n);
}
