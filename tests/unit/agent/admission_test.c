/* SPDX-License-Identifier: Apache-2.0
 * Who is evicted; members and ECS's list are ours. */
#include <criterion/criterion.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"

#define MEMBERS 300
#define GRACE_MS 900000

static struct config config = {.gossip_admission_ms = GRACE_MS, .reconcile_ms = 30000};
static struct agent agent;
static struct gossip_member members[MEMBERS];
static char ids[MEMBERS][8];
static bool listed[MEMBERS], evicted[MEMBERS];
static size_t count;

/* ---- what it stands on ------------------------------------------------------------------ */

int store_read_begin(struct store *s, struct store_txn **ret)
{
    (void)s, (void)ret;
    return 0;
}

void store_read_end(struct store_txn *t)
{
    (void)t;
}

int store_count(struct store_txn *t, uint8_t kind, enum row_field field, const char *value,
                uint64_t *ret)
{
    (void)t, (void)kind, (void)field;
    *ret = listed[strtoul(value + 1, NULL, 10)];
    return 0;
}

size_t gossip_count(const struct gossip_node *g)
{
    (void)g;
    return count;
}

const struct gossip_member *gossip_at(const struct gossip_node *g, size_t i)
{
    (void)g;
    return &members[i];
}

const struct gossip_member *gossip_find(const struct gossip_node *g, uint64_t num)
{
    (void)g;
    for (size_t i = 0; i < count; i++)
        if (members[i].num == num)
            return &members[i];
    return NULL;
}

void gossip_evict(struct gossip_node *g, uint64_t num, bool out)
{
    (void)g;
    size_t at = (size_t)num - 1;
    if (evicted[at] == out)
        return;
    evicted[at] = out;
    for (size_t i = 0; i < count; i++)
        if (members[i].num == num)
            members[i].state = out ? MEMBER_FAILED : MEMBER_ALIVE;
}

/* ---- the tests -------------------------------------------------------------------------- */

static void add(size_t at, bool is_listed)
{
    snprintf(ids[at], sizeof ids[at], "i%zu", at);
    members[count++] = (struct gossip_member){
        .num = at + 1, .id = ids[at], .state = MEMBER_ALIVE, .self = at == 0};
    listed[at] = is_listed;
    evicted[at] = false;
}

static void begin(size_t of_ecs, size_t strangers)
{
    free(agent.standing);
    agent = (struct agent){.config = &config, .gossip = (struct gossip_node *)&agent};
    snprintf(agent.identity.id, sizeof agent.identity.id, "i0");
    agent.complete_unix_ms = clock_unix_ms();
    count = 0;
    for (size_t i = 0; i < of_ecs + strangers; i++)
        add(i, i < of_ecs);
    admission_tick(&agent);
}

/* As if so much time went by, with a look at its end. */
static void after(uint64_t ms)
{
    for (size_t i = 0; i < agent.standing_count; i++)
        agent.standing[i].since_ms -= ms;
    admission_tick(&agent);
}

static size_t out_of(size_t from, size_t to)
{
    size_t ret = 0;
    for (size_t i = from; i < to; i++)
        ret += evicted[i];
    return ret;
}

Test(admission, a_stranger_is_evicted_after_the_grace_until_it_is_listed)
{
    begin(3, 1);
    after(GRACE_MS / 2);
    cr_assert_eq(out_of(0, 4), 0);
    after(GRACE_MS / 2);
    cr_assert_eq(out_of(0, 3), 0);
    cr_assert(evicted[3]);
    listed[3] = true;
    after(5000);
    cr_assert_not(evicted[3]);
    listed[3] = false; /* it is deregistered: a grace of its own */
    after(5000);
    cr_assert_not(evicted[3]);
    after(GRACE_MS);
    cr_assert(evicted[3]);
}

/* More than there are honest members, and more than a table of fixed size would take. */
Test(admission, strangers_in_any_number_are_evicted)
{
    begin(3, 297);
    after(GRACE_MS);
    cr_assert_eq(out_of(0, 300), 0, "so many are borne longer");
    after(3 * GRACE_MS);
    cr_assert_eq(out_of(3, 300), 297);
    cr_assert_eq(out_of(0, 3), 0);
    begin(200, 100);
    after(GRACE_MS);
    cr_assert_eq(out_of(200, 300), 100);
    cr_assert_eq(out_of(0, 200), 0);
}

Test(admission, who_was_listed_once_is_not_evicted_with_most_others)
{
    begin(10, 1);
    after(GRACE_MS - 1000);
    after(1000);
    cr_assert(evicted[10]);
    for (size_t i = 4; i < 10; i++)
        listed[i] = false;
    after(5000);
    for (unsigned i = 0; i < 10; i++)
        after(GRACE_MS);
    cr_assert_eq(out_of(0, 10), 0, "a list that lost most of its instances is believed");
    for (size_t i = 5; i < 10; i++)
        listed[i] = true;
    after(5000);
    cr_assert(evicted[4] && evicted[10]);
    cr_assert_eq(out_of(0, 11), 2);
    /* Not by and by either: who was evicted counts as missing. */
    for (size_t i = 5; i < 8; i++)
        listed[i] = false;
    after(5000);
    after(GRACE_MS);
    cr_assert_eq(out_of(5, 8), 3);
    for (size_t i = 1; i < 5; i++)
        listed[i] = false;
    after(5000);
    after(GRACE_MS);
    cr_assert_eq(out_of(1, 4), 0);
}

/* Rows that a member made up list strangers until ECS is asked. */
Test(admission, who_was_listed_for_a_moment_is_a_stranger)
{
    begin(3, 9);
    for (size_t i = 3; i < 12; i++)
        listed[i] = true;
    after(5000);
    after(30000);
    for (size_t i = 3; i < 12; i++)
        listed[i] = false;
    after(5000);
    after(4 * GRACE_MS);
    cr_assert_eq(out_of(3, 12), 9);
    cr_assert_eq(out_of(0, 3), 0);
}

/* Instances that come and go are in the list as dead for a day, and leave it. */
Test(admission, the_dead_neither_count_nor_fill_anything)
{
    begin(3, 0);
    for (size_t round = 1; round <= 20; round++) {
        count = 3;
        for (size_t i = 0; i < 12; i++)
            add(3 * (1 + i) + round, true);
        after(5000);
        for (size_t i = 3; i < count; i++) {
            listed[members[i].num - 1] = false;
            members[i].state = i % 2 == 0 ? MEMBER_LEFT : MEMBER_FAILED;
        }
        after(5000);
        after(GRACE_MS);
        cr_assert_eq(out_of(0, MEMBERS), 0, "there is nobody to evict");
    }
    add(299, false);
    after(5000);
    after(GRACE_MS);
    cr_assert(evicted[299]);
    cr_assert_eq(out_of(0, 299), 0);
}

Test(admission, nobody_is_evicted_without_a_whole_and_fresh_picture)
{
    begin(3, 1);
    agent.complete_unix_ms -= 3600 * 1000;
    after(GRACE_MS);
    cr_assert_not(evicted[3]);
    agent.complete_unix_ms = clock_unix_ms();
    listed[0] = false;
    after(GRACE_MS);
    cr_assert_not(evicted[3]);
    listed[0] = true;
    after(5000);
    cr_assert(evicted[3]);
}
