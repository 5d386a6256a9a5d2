/* SPDX-License-Identifier: Apache-2.0
 * What a watch of members hears when gossip forgets the dead, a day later; what stands around
 * agent/members.c is ours. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"

enum { MEMBERS = 3 };

static struct agent agent;
static struct gossip_member members[MEMBERS];
static struct gossip_meta meta;
static struct gossip_addrs addrs = {.count = 1};
static bool forgotten[MEMBERS], wanted;
static char heard[512]; /* "put a failed," "delete b," */

/* ---- what it stands on ------------------------------------------------------------------ */

const struct gossip_member *gossip_find(const struct gossip_node *g, uint64_t num)
{
    (void)g;
    return num == 0 || num > MEMBERS || forgotten[num - 1] ? NULL : &members[num - 1];
}

size_t gossip_count(const struct gossip_node *g)
{
    (void)g;
    return MEMBERS;
}

const struct gossip_member *gossip_at(const struct gossip_node *g, size_t i)
{
    (void)g;
    return &members[i];
}

const char *gossip_state_str(enum gossip_state state)
{
    return state == MEMBER_FAILED ? "failed" : state == MEMBER_LEFT ? "left" : "alive";
}

const char *addr_text(const struct gossip_addr *a, char out[ADDR_TEXT])
{
    (void)a;
    snprintf(out, ADDR_TEXT, "?");
    return out;
}

json_t *gossip_why(const struct gossip_node *g, uint64_t num)
{
    (void)g;
    (void)num;
    return NULL;
}

bool api_news_are_wanted(struct api *a, enum api_news kind)
{
    (void)a;
    return wanted && kind == API_NEWS_MEMBER;
}

void api_news(struct api *a, enum api_news kind, bool deleted, const char *text, size_t len)
{
    json_t *j = text == NULL ? NULL : json_parse(text, len, NULL);
    size_t at = strlen(heard);
    (void)a;
    cr_assert_eq(kind, API_NEWS_MEMBER);
    if (j == NULL)
        return;
    snprintf(heard + at, sizeof heard - at, "%s %s%s%s,", deleted ? "delete" : "put",
             json_str_or(j, "id", "?"), deleted ? "" : " ", json_str_or(j, "state", ""));
    json_decref(j);
}

void api_begin(struct api *a, enum api_doc doc)
{
    (void)a;
    (void)doc;
}

void api_publish(struct api *a, enum api_doc doc, const char *json, size_t len)
{
    (void)a, (void)doc, (void)json, (void)len;
}

void publish_dirty(struct agent *a, enum api_doc doc)
{
    (void)a;
    (void)doc;
}

/* ---- the tests -------------------------------------------------------------------------- */

static void begin(void)
{
    static const char *const ids[MEMBERS] = {"a", "b", "c"};
    agent = (struct agent){.api = (struct api *)&agent, .gossip = (struct gossip_node *)&agent};
    map_init(&agent.dead);
    for (size_t i = 0; i < MEMBERS; i++) {
        members[i].num = i + 1;
        members[i].state = MEMBER_ALIVE;
        members[i].meta = &meta;
        members[i].addrs = &addrs;
        members[i].id = ids[i];
        forgotten[i] = false;
    }
    wanted = true;
    heard[0] = '\0';
}

static void die(size_t i, enum gossip_state state)
{
    members[i].state = state;
    members_tell(&agent, &members[i]);
}

static const char *tick(void)
{
    heard[0] = '\0';
    members_tick(&agent);
    return heard;
}

Test(members, the_forgotten_are_deleted_once)
{
    begin();
    die(0, MEMBER_FAILED);
    die(1, MEMBER_LEFT);
    die(2, MEMBER_FAILED);
    cr_assert_str_eq(heard, "put a failed,put b left,put c failed,");
    cr_assert_str_eq(tick(), "", "they are still known");
    forgotten[1] = true;
    cr_assert_str_eq(tick(), "delete b,");
    cr_assert_str_eq(tick(), "");
    die(2, MEMBER_ALIVE); /* back: another life, or it refuted */
    cr_assert_str_eq(tick(), "");
    forgotten[0] = forgotten[2] = true; /* one that lives is not forgotten: c is not looked at */
    cr_assert_str_eq(tick(), "delete a,");
    cr_assert_str_eq(tick(), "");
    members_fini(&agent);
}

/* Who begins to watch later reads of the dead in the document: those are to be deleted as well. */
Test(members, so_are_those_that_were_dead_before)
{
    begin();
    members[1].state = MEMBER_FAILED;
    members_page_begin(&agent);
    while (members_page_slice(&agent))
        ;
    cr_assert_str_eq(tick(), "");
    forgotten[1] = true;
    cr_assert_str_eq(tick(), "delete b,");
    members_fini(&agent);
}

/* Without anybody who listens nothing is kept: a later watch begins with the document. */
Test(members, nobody_who_listens)
{
    begin();
    die(0, MEMBER_FAILED);
    wanted = false;
    cr_assert_str_eq(tick(), "");
    cr_assert_eq(agent.dead.count, 0u);
    wanted = true;
    forgotten[0] = true;
    cr_assert_str_eq(tick(), "");
    members_fini(&agent);
}
