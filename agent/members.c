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
    char address[64] = "";
    char text[80];
    uint16_t port = 0;
    const struct sockaddr *sa = (const struct sockaddr *)m->addr;
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)m->addr;
        uv_ip6_name(in6, address, sizeof address);
        port = ntohs(in6->sin6_port);
    } else {
        const struct sockaddr_in *in = (const void *)m->addr;
        uv_ip4_name(in, address, sizeof address);
        port = ntohs(in->sin_port);
    }
    snprintf(text, sizeof text, sa->sa_family == AF_INET6 ? "[%s]:%u" : "%s:%u", address, port);
    json_t *j = json_object();
    json_set_str(j, "id", m->id);
    json_set_str(j, "address", text);
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
    page_free(a);
}
