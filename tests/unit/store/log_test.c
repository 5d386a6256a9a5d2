/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/store/fixture.h"

static int add_entry(void *arg, const struct store_log_entry *entry)
{
    char *text = arg;
    size_t len = strlen(text);
    snprintf(text + len, 1024 - len, "%llu:%llu:%u:%.*s ", (unsigned long long)entry->index,
             (unsigned long long)entry->term, entry->type, (int)entry->len,
             (const char *)entry->data);
    return 0;
}

static int add_intent(void *arg, const struct store_log_intent *row)
{
    char *text = arg;
    size_t len = strlen(text);
    snprintf(text + len, 1024 - len, "%u/%.*s=%.*s@%llu.%llu ", row->kind, (int)row->key_len,
             row->key, (int)row->value_len, (const char *)row->value,
             (unsigned long long)row->version.hi, (unsigned long long)row->version.lo);
    return 0;
}

static struct store_log_entry entry_of(uint64_t index, uint64_t term, const char *text)
{
    return (struct store_log_entry){index, term, 2, (uint32_t)strlen(text), text};
}

static void expect_log(struct fix *f, uint64_t first, uint64_t last, const char *want)
{
    char text[1024] = "";
    struct store_log_state st;
    cr_assert_eq(store_log_load(f->s, &st), 0);
    cr_assert_eq(st.first_index, first);
    cr_assert_eq(st.last_index, last, "last %llu", (unsigned long long)st.last_index);
    cr_assert_eq(store_log_read(f->s, first, last, add_entry, text), 0);
    cr_assert_str_eq(text, want, "%s", text);
}

Test(log, entries_append_replace_truncate_compact)
{
    struct fix f;
    fix_open(&f);
    expect_log(&f, 1, 0, "");
    struct store_log_entry e[3] = {entry_of(1, 1, "a"), entry_of(2, 1, "b"), entry_of(3, 1, "")};
    struct store_log_write w = {
        .set_hard_state = true, .term = 1, .vote = 9, .entries = e, .entry_count = 3};
    cr_assert_eq(fix_log(&f, &w), 0);
    expect_log(&f, 1, 3, "1:1:2:a 2:1:2:b 3:1:2: ");
    struct store_log_entry r[2] = {entry_of(2, 2, "B"), entry_of(3, 2, "C")};
    w = (struct store_log_write){.truncate_from = 2, .entries = r, .entry_count = 2};
    cr_assert_eq(fix_log(&f, &w), 0);
    w = (struct store_log_write){.compact_to = 1, .base_term = 1, .config = "cfg", .config_len = 3};
    cr_assert_eq(fix_log(&f, &w), 0);
    for (int round = 0; round < 2; round++) {
        expect_log(&f, 2, 3, "2:2:2:B 3:2:2:C ");
        struct store_log_state st;
        cr_assert_eq(store_log_load(f.s, &st), 0);
        cr_assert_eq(st.term, 1u);
        cr_assert_eq(st.vote, 9u);
        cr_assert_eq(st.base_index, 1u);
        cr_assert_eq(st.base_term, 1u);
        char config[8];
        size_t len;
        cr_assert_eq(store_log_config(f.s, config, sizeof config, &len), 0);
        cr_assert_eq(len, 3u);
        cr_assert_eq(memcmp(config, "cfg", 3), 0);
        cr_assert_eq(store_log_config(f.s, config, 2, &len), ERR_TOOBIG);
        char text[1024] = "";
        cr_assert_eq(store_log_read(f.s, 1, 1, add_entry, text), ERR_NOTFOUND);
        cr_assert_eq(store_log_read(f.s, 3, 4, add_entry, text), ERR_NOTFOUND);
        fix_close(&f);
        fix_reopen(&f);
        cr_assert(!f.report.log_quarantined);
    }
    /* A snapshot far ahead empties the log. */
    w = (struct store_log_write){.compact_to = 100, .base_term = 5, .applied_index = 100};
    cr_assert_eq(fix_log(&f, &w), 0);
    expect_log(&f, 101, 100, "");
    struct store_log_entry far = entry_of(102, 5, "x");
    w = (struct store_log_write){.entries = &far, .entry_count = 1};
    cr_assert_eq(fix_log(&f, &w), ERR_BADPARAM, "a gap is refused");
    far.index = 101;
    cr_assert_eq(fix_log(&f, &w), 0);
    expect_log(&f, 101, 101, "101:5:2:x ");
    fix_fini(&f);
}

/* Which cluster a log belongs to is such a fact: with the log or not at all. */
Test(log, facts_go_with_the_rest_of_their_write)
{
    struct fix f;
    fix_open(&f);
    uint64_t cluster = 7, got = 0;
    size_t len = 0;
    struct store_fact fact = {"raft.cluster", &cluster, 8};
    struct store_log_entry e = entry_of(2, 1, "a gap");
    struct store_log_write w = {.entries = &e, .entry_count = 1, .facts = &fact, .fact_count = 1};
    cr_assert_eq(fix_log(&f, &w), ERR_BADPARAM);
    cr_assert_eq(store_fact_get(f.s, "raft.cluster", &got, 8, &len), ERR_NOTFOUND);
    e.index = 1;
    cr_assert_eq(fix_log(&f, &w), 0);
    fix_close(&f);
    fix_reopen(&f);
    expect_log(&f, 1, 1, "1:1:2:a gap ");
    cr_assert_eq(store_fact_get(f.s, "raft.cluster", &got, 8, &len), 0);
    cr_assert_eq(got, 7u);
    fact.name = "";
    cr_assert_eq(store_log_write(f.s, &w, NULL, NULL), ERR_BADPARAM);
    fix_fini(&f);
}

Test(log, intent_rows_and_applied_index_go_together)
{
    struct fix f;
    fix_open(&f);
    struct store_log_intent rows[2] = {
        {RECORD_ENVIRONMENT, "web", 3, false, "one", 3, {1, 4}},
        {RECORD_DEPLOYMENT, "web/1", 5, false, "two", 3, {1, 5}},
    };
    struct store_log_write w = {
        .intent = rows, .intent_count = 2, .applied_index = 5, .applied_term = 1};
    cr_assert_eq(fix_log(&f, &w), 0);
    char text[1024] = "";
    cr_assert_eq(store_log_intent(f.s, add_intent, text), 0);
    cr_assert_str_eq(text, "3/web=one@1.4 4/web/1=two@1.5 ");
    rows[1].deleted = true;
    w.intent = &rows[1];
    w.intent_count = 1;
    cr_assert_eq(fix_log(&f, &w), 0);
    fix_close(&f);
    fix_reopen(&f);
    text[0] = '\0';
    cr_assert_eq(store_log_intent(f.s, add_intent, text), 0);
    cr_assert_str_eq(text, "3/web=one@1.4 ");
    rows[1].deleted = false;
    w.replace_intent = true;
    cr_assert_eq(fix_log(&f, &w), 0);
    text[0] = '\0';
    cr_assert_eq(store_log_intent(f.s, add_intent, text), 0);
    cr_assert_str_eq(text, "4/web/1=two@1.5 ");
    struct store_log_state st;
    cr_assert_eq(store_log_load(f.s, &st), 0);
    cr_assert_eq(st.applied_index, 5u);
    cr_assert_eq(st.applied_term, 1u);
    fix_fini(&f);
}

Test(log, facts_by_name)
{
    struct fix f;
    char out[16];
    char big[4097] = {0};
    size_t len;
    fix_open(&f);
    cr_assert_eq(store_fact_get(f.s, "incarnation", out, sizeof out, &len), ERR_NOTFOUND);
    cr_assert_eq(fix_fact(&f, "incarnation", "41"), 0);
    cr_assert_eq(fix_fact(&f, "incarnation", "42"), 0);
    cr_assert_eq(fix_fact(&f, "empty", ""), 0);
    fix_close(&f);
    fix_reopen(&f);
    cr_assert_eq(store_fact_get(f.s, "incarnation", out, sizeof out, &len), 0);
    cr_assert_eq(len, 2u);
    cr_assert_eq(memcmp(out, "42", 2), 0);
    cr_assert_eq(store_fact_get(f.s, "incarnation", out, 1, &len), ERR_TOOBIG);
    cr_assert_eq(store_fact_get(f.s, "empty", out, 0, &len), 0);
    cr_assert_eq(store_fact_put(f.s, "x", big, sizeof big, fix_done, &f), ERR_TOOBIG);
    memset(big, 'n', 65);
    cr_assert_eq(store_fact_put(f.s, big, "", 0, fix_done, &f), ERR_BADPARAM);
    fix_fini(&f);
}

struct order {
    struct fix *f;
    int next;
    bool right;
};

struct turn {
    struct order *order;
    int number;
};

static void in_turn(void *arg, int err)
{
    struct turn *t = arg;
    t->order->right = t->order->right && err == 0 && t->order->next == t->number;
    t->order->next++;
    t->order->f->pending--;
}

Test(log, completions_come_in_posting_order)
{
    struct fix f;
    static struct turn turns[500];
    fix_open(&f);
    struct order order = {&f, 0, true};
    for (int i = 0; i < 500; i++) {
        turns[i] = (struct turn){&order, i};
        struct store_log_write w = {.set_hard_state = true, .term = (uint64_t)i};
        f.pending++;
        if (i % 2 == 0)
            cr_assert_eq(store_log_write(f.s, &w, in_turn, &turns[i]), 0);
        else
            cr_assert_eq(store_fact_put(f.s, "n", &i, sizeof i, in_turn, &turns[i]), 0);
    }
    fix_wait(&f);
    cr_assert(order.right);
    cr_assert_eq(order.next, 500);
    struct store_stats stats;
    store_stats(f.s, &stats);
    cr_assert_eq(stats.writes, 500u);
    cr_assert_leq(stats.commits, 500u);
    cr_assert_eq(stats.queue_depth, 0u);
    fix_fini(&f);
}

Test(log, the_queue_is_bounded_and_close_finishes_it)
{
    struct fix f;
    fix_open(&f);
    static char megabyte[1 << 20];
    struct store_log_entry e = {1, 1, 1, sizeof megabyte, megabyte};
    struct store_log_write w = {.entries = &e, .entry_count = 1};
    int err = 0;
    int posted = 0;
    for (; posted < 100000 && err == 0; posted++) {
        err = store_log_write(f.s, &w, NULL, NULL);
        e.index += err == 0;
        if (posted > 80)
            break; /* the writer kept up */
    }
    cr_assert(err == 0 || err == ERR_BUSY);
    fix_close(&f);
    fix_reopen(&f);
    struct store_log_state st;
    cr_assert_eq(store_log_load(f.s, &st), 0);
    cr_assert_eq(st.last_index, e.index - 1, "everything accepted was written");
    fix_fini(&f);
}
