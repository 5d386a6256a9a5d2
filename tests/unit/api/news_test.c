/* SPDX-License-Identifier: Apache-2.0
 * Members and the leader in watches: what is kept of their changes, and what clients see. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/api/news.h"
#include "agent/base/clock.h"
#include "tests/unit/api/fixture.h"

/* ---- what is kept ------------------------------------------------------------------------ */

static struct news news;
static unsigned count;
static uint64_t last_at;
static char last_text[64];

static int on_item(void *arg, const struct news_item *item)
{
    (void)arg;
    cr_assert_gt(item->at, last_at);
    last_at = item->at;
    snprintf(last_text, sizeof last_text, "%.*s", (int)item->len, item->text);
    count++;
    return 0;
}

static unsigned read_from(uint32_t kinds, uint64_t after)
{
    count = 0;
    last_at = after;
    cr_assert_eq(news_read(&news, kinds, after, on_item, NULL), 0);
    return count;
}

static void put(enum api_news kind, const char *text)
{
    news_put(&news, kind, false, text, text == NULL ? 0 : strlen(text));
}

#define MEMBERS (1u << API_NEWS_MEMBER)
#define LEADER (1u << API_NEWS_LEADER)

Test(news, are_read_in_order_from_any_place)
{
    cr_assert_eq(news_init(&news), 0);
    news_watch(&news, true);
    uint64_t start = news_newest(&news);
    put(API_NEWS_MEMBER, "{1}");
    put(API_NEWS_LEADER, "{2}");
    put(API_NEWS_MEMBER, "{3}");
    cr_assert_eq(read_from(MEMBERS | LEADER, start), 3);
    cr_assert_eq(read_from(MEMBERS, start), 2);
    cr_assert_str_eq(last_text, "{3}");
    cr_assert_eq(read_from(LEADER, start), 1);
    cr_assert_eq(read_from(MEMBERS, start + 1), 1);
    cr_assert_eq(read_from(MEMBERS, start + 3), 0);
    count = 0;
    last_at = 0;
    cr_assert_eq(news_leader(&news, on_item, NULL), 0);
    cr_assert_str_eq(last_text, "{2}");
    news_fini(&news);
}

Test(news, nothing_is_missed_without_a_word)
{
    cr_assert_eq(news_init(&news), 0);
    uint64_t start = news_newest(&news);
    cr_assert(news_are_wanted(&news, API_NEWS_LEADER));
    cr_assert(!news_are_wanted(&news, API_NEWS_MEMBER));
    put(API_NEWS_LEADER, "{1}");
    put(API_NEWS_MEMBER, NULL);
    cr_assert(!news_reach(&news, MEMBERS, start));
    cr_assert_eq(news_read(&news, MEMBERS, start, on_item, NULL), ERR_VERSION);
    cr_assert(news_reach(&news, LEADER, start));
    cr_assert(news_reach(&news, MEMBERS, start + 2));
    cr_assert(!news_reach(&news, MEMBERS, start + 3), "a place that has not been");
    cr_assert(!news_reach(&news, LEADER, 7), "one of another life");
    /* Who comes back soon has missed nothing. */
    news_watch(&news, true);
    news_watch(&news, false);
    cr_assert(news_are_wanted(&news, API_NEWS_MEMBER));
    put(API_NEWS_MEMBER, "{3}");
    cr_assert_eq(read_from(MEMBERS, start + 2), 1);
    news_fini(&news);
}

Test(news, who_does_not_keep_up_is_told)
{
    char text[64];
    cr_assert_eq(news_init(&news), 0);
    news_watch(&news, true);
    uint64_t start = news_newest(&news);
    put(API_NEWS_LEADER, "{the leader}");
    for (unsigned i = 0; i < 3 * NEWS_MAX; i++) {
        snprintf(text, sizeof text, "{%u}", i);
        put(API_NEWS_MEMBER, text);
    }
    cr_assert_eq(news.count, NEWS_MAX);
    cr_assert(!news_reach(&news, MEMBERS, start));
    cr_assert(!news_reach(&news, LEADER, start));
    cr_assert_eq(read_from(MEMBERS, news_newest(&news) - NEWS_MAX), NEWS_MAX);
    cr_assert_str_eq(last_text, text);
    cr_assert_eq(news_leader(&news, on_item, ((void)(last_at = 0), NULL)), 0);
    cr_assert_str_eq(last_text, "{the leader}");
    put(API_NEWS_LEADER, "{another}");
    news_fini(&news);
}

Test(news, their_memory_is_bounded)
{
    static char text[8192];
    cr_assert_eq(news_init(&news), 0);
    news_watch(&news, true);
    memset(text, 'x', sizeof text - 1);
    for (unsigned i = 0; i < 500; i++)
        put(API_NEWS_MEMBER, text);
    cr_assert_leq(news.bytes, NEWS_BYTES_MAX);
    /* Nobody has watched for long: little is left after the next change of the leader. */
    news_watch(&news, false);
    news.left_ms = clock_mono_ms() - NEWS_LATELY_MS;
    put(API_NEWS_LEADER, "{}");
    cr_assert_leq(news.count, NEWS_MAX / 32);
    news_fini(&news);
}

/* ---- what clients see ------------------------------------------------------------------------ */

static struct fixture f;
static char text[1 << 20];

static int ask(const char *kinds, const char *id)
{
    char request[512];
    int fd = http_connect(&f);
    snprintf(request, sizeof request,
             "GET /v2/watch?kinds=%s&index=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", kinds, id);
    cr_assert_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    return fd;
}

static void member(const char *item)
{
    api_news(f.api, API_NEWS_MEMBER, false, item, strlen(item));
}

static void leader(const char *item, bool deleted)
{
    api_news(f.api, API_NEWS_LEADER, deleted, item, strlen(item));
}

static void publish_members(const char *page)
{
    api_begin(f.api, API_DOC_MEMBERS);
    api_publish(f.api, API_DOC_MEMBERS, page, strlen(page));
}

/* The id of the last line that was read. */
static void last_id(char out[128])
{
    const char *at = NULL;
    for (const char *p = text; (p = strstr(p, "\"index\":\"")) != NULL; p++)
        at = p + 9;
    cr_assert_not_null(at);
    snprintf(out, 128, "%.*s", (int)strcspn(at, "\""), at);
}

static void expect(int fd, const char *what)
{
    cr_assert(http_read_until(fd, what, text, sizeof text), "no %s in %s", what, text);
}

/* The page from before the watch misses what nobody kept: it waits for another. */
Test(news, a_watch_begins_with_what_there_is)
{
    fixture_start(&f, NULL);
    publish_members("{\"items\":[{\"id\":\"i-1\",\"state\":\"alive\"}]}");
    api_news(f.api, API_NEWS_MEMBER, false, NULL, 0);
    leader("{\"leader\":\"i-1\",\"term\":4}", false);
    fixture_put_environment(&f, "web", "active");
    int fd = ask("member,environment,leader", "");
    expect(fd, "\"name\":\"web\"");
    while (!api_news_are_wanted(f.api, API_NEWS_MEMBER))
        usleep(1000);
    cr_assert_null(strstr(text, "i-1"));
    publish_members("{\"items\":[{\"id\":\"i-1\",\"why\":{}},{\"id\":\"i-2\",\"a\":[1,{}]}]}");
    expect(fd, "\"event\":\"synced\"");
    cr_assert_not_null(strstr(text, "{\"event\":\"put\",\"kind\":\"member\",\"item\":{\"id\":"
                                    "\"i-1\",\"why\":{}}}\n"));
    cr_assert_not_null(strstr(text, "{\"event\":\"put\",\"kind\":\"member\",\"item\":{\"id\":"
                                    "\"i-2\",\"a\":[1,{}]}}\n"));
    cr_assert_not_null(strstr(text, "{\"event\":\"put\",\"kind\":\"leader\",\"item\":{\"leader\":"
                                    "\"i-1\",\"term\":4}}\n"));
    close(fd);
    fixture_stop(&f);
}

Test(news, a_watch_goes_on_where_it_was)
{
    char id[128];
    fixture_start(&f, NULL);
    int fd = ask("member,leader", "");
    expect(fd, "\r\n\r\n");
    while (!api_news_are_wanted(f.api, API_NEWS_MEMBER))
        usleep(1000);
    publish_members("{\"items\":[]}");
    expect(fd, "\"event\":\"synced\"");
    member("{\"id\":\"i-2\",\"state\":\"suspect\"}");
    expect(fd, "\"suspect\"}}\n");
    last_id(id);
    leader("{\"leader\":null,\"term\":4}", true);
    expect(fd, "{\"event\":\"delete\",\"kind\":\"leader\"");
    close(fd);
    /* Rows are none of its business, and do not make its id old. */
    member("{\"id\":\"i-2\",\"state\":\"failed\"}");
    fd = ask("member,leader", id);
    expect(fd, "\"failed\"}}\n");
    cr_assert_not_null(strstr(text, "{\"event\":\"delete\",\"kind\":\"leader\""));
    cr_assert_null(strstr(text, "\"suspect\""));
    cr_assert_null(strstr(text, "synced"));
    close(fd);
    /* Of another life of the agent, or of a watch of rows only: all anew. */
    for (size_t i = 0; i < 2; i++) {
        char other[160];
        snprintf(other, sizeof other, "%.*s%s", (int)(strrchr(id, '.') - id), id,
                 i == 0 ? ".7" : "");
        fd = ask("member,leader", other);
        expect(fd, "\"event\":\"reset\"");
        close(fd);
    }
    fixture_stop(&f);
}

Test(news, ids_that_are_none_are_refused)
{
    static const char *const ids[] = {
        "1.1.", "1.1.x", "1.1.1.1", "1.1.-1", "1..1", ".1.1", "1.1.111111111111111111111"};
    char path[128];
    fixture_start(&f, NULL);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        snprintf(path, sizeof path, "/v2/watch?kinds=leader&index=%s", ids[i]);
        struct http h = http_get(&f, path);
        cr_assert_eq(h.status, 400, "%s: %ld", ids[i], h.status);
        http_free(&h);
    }
    fixture_stop(&f);
}
