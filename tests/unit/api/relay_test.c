/* SPDX-License-Identifier: Apache-2.0
 * Reads with consistency=leader or strong: sent on by one agent, answered by another; here both are
 * one. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "agent/base/json.h"
#include "tests/unit/api/fixture.h"

static struct fixture f;
static int refuses; /* what the leader refuses with; 0: it answers */
static bool strong; /* it was asked to have itself confirmed */
static const char *const words[] = {"leader", "strong"};

static void answer(struct fixture *fx, struct api_write *w)
{
    struct buf out;
    const char *op = json_str_or(w->command, "op", "");
    strong = json_bool_or(w->command, "strong", false);
    buf_init(&out, 8u << 20);
    int err = strcmp(op, "rows.read") == 0
                  ? api_read(fx->api, json_str_or(w->command, "target", ""), &out)
                  : ERR_INTERNAL;
    if (refuses != 0 || err != 0)
        api_write_done(w, refuses != 0 ? refuses : err, NULL, NULL, NULL, NULL);
    else
        api_read_done(w, out.data, out.len, "i-leader");
    buf_fini(&out);
}

static void start(unsigned tasks)
{
    refuses = 0;
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    fixture_put_tasks(&f, 1, tasks);
    fixture_put_instance(&f, INSTANCE_1, "i-0123456789abcdef0", "ACTIVE");
}

/* The same as path gives without that word, but for whose answer it is. */
static void compare(const char *path, const char *word)
{
    char text[256], other[256], asked[300];
    struct http own = http_get(&f, path);
    snprintf(asked, sizeof asked, "%s%cconsistency=%s", path, strchr(path, '?') == NULL ? '?' : '&',
             word);
    strong = false;
    struct http h = http_get(&f, asked);
    cr_assert_eq(h.status, own.status, "%s: %ld, not %ld", asked, h.status, own.status);
    cr_assert_eq(strong, strcmp(word, "strong") == 0, "%s", asked);
    /* Tokens name another snapshot, problems another request. */
    const char *rest = strstr(own.body, "\"next_token\"");
    size_t same = rest != NULL ? (size_t)(rest - own.body) : own.len;
    if (own.status == 200)
        cr_assert(h.len >= same && memcmp(h.body, own.body, same) == 0, "%s", asked);
    cr_assert_str_eq(http_header(&h, "Blox-Consistency", text), word);
    cr_assert_str_eq(http_header(&h, "Blox-Forwarded-To", text), "i-leader");
    cr_assert_str_eq(http_header(&h, "Content-Type", text),
                     http_header(&own, "Content-Type", other));
    cr_assert_str_eq(http_header(&h, "Blox-Index", text), http_header(&own, "Blox-Index", other));
    cr_assert_str_eq(http_header(&h, "ETag", text), http_header(&own, "ETag", other));
    http_free(&own);
    http_free(&h);
}

Test(relay, the_leaders_answer_is_the_one_it_gives_itself)
{
    static const char *const paths[] = {"/v2/tasks?limit=3",
                                        "/v2/tasks?limit=1000",
                                        "/v2/tasks?sort=-taskArn&limit=5",
                                        "/v2/tasks?status=STOPPED",
                                        ("/v2/tasks/" TASK_1),
                                        "/v2/instances",
                                        "/v2/tasks?fields=taskArn",
                                        "/v2/tasks/none",
                                        "/v2/tasks?limit=x",
                                        "/v2/summary?by_instance=true",
                                        "/v2/deployments",
                                        "/v2/tasks?filter=agentConnected%20==%20true"};
    start(900);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        for (size_t w = 0; w < 2; w++)
            compare(paths[i], words[w]);
    fixture_stop(&f);
}

/* A page of ten and its token; the number of items. */
static size_t get_page(const char *word, char token[800])
{
    char path[1200];
    struct errmsg e = {""};
    snprintf(path, sizeof path, "/v2/tasks?consistency=%s&limit=10%s%s", word,
             token[0] == '\0' ? "" : "&next_token=", token);
    struct http h = http_get(&f, path);
    json_t *page = json_parse(h.body, h.len, &e);
    cr_assert_eq(h.status, 200, "%s: %s", path, h.body);
    size_t count = json_array_size(json_arr(page, "items"));
    snprintf(token, 800, "%s", json_str_or(page, "next_token", ""));
    json_decref(page);
    http_free(&h);
    return count;
}

Test(relay, what_the_client_has_of_the_leader_is_not_sent_again)
{
    static const char *const paths[] = {"/v2/tasks?limit=3&consistency=leader",
                                        "/v2/tasks/" TASK_1 "?consistency=strong"};
    char etag[256], headers[300];
    start(9);
    for (size_t i = 0; i < 2; i++) {
        struct http h = http_get(&f, paths[i]);
        snprintf(headers, sizeof headers, "If-None-Match: %s", http_header(&h, "ETag", etag));
        http_free(&h);
        h = http_do(&f, "GET", paths[i], headers, NULL);
        cr_assert_eq(h.status, 304, "%s: %s: %ld", paths[i], headers, h.status);
        cr_assert_eq(h.len, 0u);
        http_free(&h);
    }
    fixture_put_task(&f, 1, "STOPPED", 2);
    struct http h = http_do(&f, "GET", paths[1], headers, NULL);
    cr_assert_eq(h.status, 200, "it changed: %ld", h.status);
    http_free(&h);
    fixture_stop(&f);
}

Test(relay, pages_go_on_at_the_leader)
{
    start(25);
    for (size_t w = 0; w < 2; w++) {
        size_t seen = 0;
        char token[800] = "";
        do
            seen += get_page(words[w], token);
        while (token[0] != '\0');
        cr_assert_eq(seen, 25u);
    }
    fixture_stop(&f);
}

/* All pages are of the first one's moment, which a majority has not confirmed. */
Test(relay, a_list_that_did_not_begin_strong_does_not_go_on_as_one)
{
    char path[1200], token[800] = "";
    start(25);
    (void)get_page("leader", token);
    snprintf(path, sizeof path, "/v2/tasks?consistency=strong&limit=10&next_token=%s", token);
    struct http h = http_get(&f, path);
    cr_assert_eq(h.status, 400, "%s", h.body);
    cr_assert_not_null(strstr(h.body, "next_token"), "%s", h.body);
    http_free(&h);
    fixture_stop(&f);
}

Test(relay, without_a_leader_it_says_so)
{
    char text[256], path[64];
    start(3);
    refuses = ERR_NOLEADER;
    for (size_t w = 0; w < 2; w++) {
        snprintf(path, sizeof path, "/v2/tasks?consistency=%s", words[w]);
        struct http h = http_get(&f, path);
        cr_assert_eq(h.status, 503);
        cr_assert_not_null(strstr(h.body, "no-leader"), "%s", h.body);
        cr_assert_str_eq(http_header(&h, "Blox-Consistency", text), "local");
        cr_assert_str_eq(http_header(&h, "Retry-After", text), "1");
        http_free(&h);
    }
    fixture_stop(&f);
}

Test(relay, what_is_of_one_agent_is_not_asked_of_another)
{
    static const char *const refused[] = {
        "/v2/tasks?consistency=leader&index=1.1", "/v2/tasks?consistency=leader&wait=1s",
        "/v2/tasks?consistency=strong&wait=1s",   "/v2/tasks?consistency=LEADER",
        "/v2/agent?consistency=leader",           "/v2/watch?consistency=strong"};
    start(3);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        f.last_command[0] = '\0';
        struct http h = http_get(&f, refused[i]);
        cr_assert_eq(h.status, 400, "%s: %ld", refused[i], h.status);
        cr_assert_str_eq(f.last_command, "", "%s", refused[i]);
        http_free(&h);
    }
    fixture_stop(&f);
}

/* A peer may send anything. */
Test(relay, the_leader_answers_reads_of_rows_only)
{
    static const char *const targets[] = {"",
                                          "/",
                                          "/v1/tasks",
                                          "/v2/",
                                          "/v2/intent",
                                          "/v2/watch",
                                          "/v2/agent",
                                          "/v2/keys",
                                          "/v2/environments",
                                          "/v2/taskss",
                                          "/v2/tasks/",
                                          "/v2/tasks?index=1.1",
                                          "/v2/tasks?wait=1s",
                                          "/v2/tasks?a=%zz",
                                          "tasks",
                                          "/v2/agent/propagate",
                                          "/health/live"};
    char many[6000];
    struct buf out;
    start(3);
    buf_init(&out, 1u << 20);
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++)
        cr_assert_eq(api_read(f.api, targets[i], &out), ERR_UNSUPPORTED, "%s", targets[i]);
    memset(many, 'a', sizeof many);
    memcpy(many, "/v2/tasks/", 10);
    many[sizeof many - 1] = '\0';
    cr_assert_eq(api_read(f.api, many, &out), ERR_UNSUPPORTED);
    /* It does not ask again, whatever the target says: there is no second hop. */
    cr_assert_eq(api_read(f.api, "/v2/tasks?consistency=leader", &out), 0);
    cr_assert_not_null(strstr(out.data, "\"items\":["));
    buf_clear(&out);
    out.max = 100;
    cr_assert_eq(api_read(f.api, "/v2/tasks", &out), ERR_TOOBIG);
    buf_fini(&out);
    fixture_stop(&f);
}
