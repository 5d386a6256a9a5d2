/* SPDX-License-Identifier: Apache-2.0
 * GET /v2/members, rendered in slices: five thousand members are more than a megabyte of JSON, and
 * the loop has probes to answer. */
#include <stdlib.h>
#include <string.h>

#include "agent/agent_int.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#define SLICE 250 /* members in one turn of the loop */
#define PAGE_MAX (16u << 20)

/* A page under way. Members may come and go between two slices, so it goes by their numbers. */
struct members_page {
    struct buf text;
    size_t at, count;
    size_t written;
    uint64_t nums[];
};

static json_t *member_json(struct agent *a, const struct gossip_member *m, uint64_t now)
{
    char text[ADDR_TEXT];
    json_t *addresses = json_array();
    for (uint8_t i = 0; i < m->addrs->count; i++)
        json_array_append_new(addresses, json_string(addr_text(&m->addrs->at[i], text)));
    json_t *j = json_object();
    json_set_str(j, "id", m->id);
    json_set_str(j, "address", addr_text(&m->addrs->at[m->using], text)); /* that we use */
    json_object_set_new(j, "addresses", addresses);
    json_set_str(j, "state", gossip_state_str(m->state));
    json_set_int(j, "incarnation", (int64_t)m->incarnation);
    json_set_str(j, "zone", m->meta->zone[0] == '\0' ? NULL : m->meta->zone);
    json_set_str(j, "version", m->meta->version);
    json_set_str(j, "role", m->meta->role == 0 ? "candidate" : "member");
    json_set_int(j, "api_port", m->meta->api_port);
    json_set_bool(j, "self", m->self);
    json_set_bool(j, "leader", m->num == a->leader);
    json_set_int(j, "changed_ms_ago", (int64_t)(now - m->changed_mono_ms));
    if (m->rtt_us != 0)
        json_set_int(j, "rtt_us", m->rtt_us);
    if (!m->self)
        json_set_int(j, "loss_permille", m->loss_permille);
    json_t *why = gossip_why(a->gossip, m->num);
    if (why != NULL)
        json_object_set_new(j, "why", why);
    return j;
}

/* ---- changes, for watches ------------------------------------------------------------------- */

static bool is_dead(const struct gossip_member *m)
{
    return m->state == MEMBER_FAILED || m->state == MEMBER_LEFT;
}

/* Gossip forgets the dead without a word, a day later: who watches shall hear of it. */
static void note_dead(struct agent *a, const struct gossip_member *m)
{
    if (is_dead(m))
        (void)!map_put(&a->dead, m->id, (void *)(uintptr_t)m->num, NULL);
}

static void tell(struct agent *a, enum api_news kind, bool deleted, json_t *j)
{
    struct buf b;
    buf_init(&b, 64u * 1024);
    int err = json_write(j, &b);
    api_news(a->api, kind, deleted, err == 0 ? b.data : NULL, b.len);
    buf_fini(&b);
    json_decref(j);
}

void members_tell(struct agent *a, const struct gossip_member *m)
{
    if (a->api == NULL || m == NULL)
        return;
    if (!api_news_are_wanted(a->api, API_NEWS_MEMBER)) {
        api_news(a->api, API_NEWS_MEMBER, false, NULL, 0);
        return;
    }
    note_dead(a, m);
    tell(a, API_NEWS_MEMBER, false, member_json(a, m, clock_mono_ms()));
}

void members_tell_leader(struct agent *a)
{
    const struct gossip_member *m = a->leader == 0 ? NULL : gossip_find(a->gossip, a->leader);
    uint64_t before = a->told_leader, now = m == NULL ? 0 : m->num;
    if (a->api == NULL || (before == now && (now == 0 || a->told_term == a->term)))
        return;
    a->told_leader = now;
    a->told_term = a->term;
    if (before != now) { /* it is said of members, too */
        publish_dirty(a, API_DOC_MEMBERS);
        members_tell(a, before == 0 ? NULL : gossip_find(a->gossip, before));
        members_tell(a, m);
    }
    json_t *j = json_object();
    json_object_set_new(j, "leader", m == NULL ? json_null() : json_string(m->id));
    json_set_int(j, "term", (int64_t)a->term);
    tell(a, API_NEWS_LEADER, m == NULL, j);
}

void members_tick(struct agent *a)
{
    const char *id, *over = NULL;
    void *num;
    if (a->dead.count == 0 || a->api == NULL || a->gossip == NULL)
        return;
    if (!api_news_are_wanted(a->api, API_NEWS_MEMBER)) {
        map_fini(&a->dead);
        map_init(&a->dead);
        return;
    }
    do {
        over = NULL;
        for (size_t i = 0; over == NULL && map_next(&a->dead, &i, &id, &num);) {
            const struct gossip_member *m = gossip_find(a->gossip, (uint64_t)(uintptr_t)num);
            if (m == NULL)
                tell(a, API_NEWS_MEMBER, true, json_pack("{s:s}", "id", id));
            if (m == NULL || !is_dead(m))
                over = id;
        }
        if (over != NULL)
            (void)map_del(&a->dead, over);
    } while (over != NULL);
}

/* ---- the page -------------------------------------------------------------------------------- */

static void page_free(struct agent *a)
{
    if (a->members_page != NULL)
        buf_fini(&a->members_page->text);
    free(a->members_page);
    a->members_page = NULL;
}

void members_page_begin(struct agent *a)
{
    size_t count = a->gossip == NULL ? 0 : gossip_count(a->gossip);
    struct members_page *page =
        a->members_page == NULL ? calloc(1, sizeof *page + count * sizeof page->nums[0]) : NULL;
    if (page == NULL)
        return;
    api_begin(a->api, API_DOC_MEMBERS);
    buf_init(&page->text, PAGE_MAX);
    buf_puts(&page->text, "{\"items\":[");
    page->count = count;
    for (size_t i = 0; i < count; i++)
        page->nums[i] = gossip_at(a->gossip, i)->num;
    a->members_page = page;
}

bool members_page_slice(struct agent *a)
{
    struct members_page *page = a->members_page;
    uint64_t now = clock_mono_ms();
    if (page == NULL)
        return false;
    for (size_t n = 0; n < SLICE && page->at < page->count; n++) {
        const struct gossip_member *m =
            a->gossip == NULL ? NULL : gossip_find(a->gossip, page->nums[page->at]);
        page->at++;
        if (m == NULL)
            continue;
        note_dead(a, m);
        json_t *j = member_json(a, m, now);
        if (page->written++ > 0)
            buf_puts(&page->text, ",");
        (void)!json_write(j, &page->text);
        json_decref(j);
    }
    if (page->at < page->count)
        return true;
    buf_puts(&page->text, "]}");
    if (page->text.err == 0)
        api_publish(a->api, API_DOC_MEMBERS, page->text.data, page->text.len);
    page_free(a);
    return false;
}

void members_fini(struct agent *a)
{
    map_fini(&a->dead);
    page_free(a);
}
