/* SPDX-License-Identifier: Apache-2.0
 * /v2: reads, filters, paging, long polls, watch, problems. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/api/server.h"
#include "agent/base/limits.h"
#include "tests/unit/api/ask.h"

static struct fixture f;

static void fill(void)
{
    fixture_put_tasks(&f, 1, 25);
    fixture_put_task(&f, 26, "STOPPED", 1);
    fixture_put_instance(&f, INSTANCE_1, "i-0123456789abcdef0", "ACTIVE");
    fixture_put_environment(&f, "web", "active");
    fixture_put_deployment(&f, "web", "d-1", "running", "2026-11-22T09:00:00.000Z");
}

Test(v2, filters)
{
    static const struct {
        const char *path;
        size_t count;
    } cases[] = {
        {"/v2/tasks", 26},
        {"/v2/tasks?status=stopped", 1},
        {"/v2/tasks?desired_status=running&limit=1000", 26},
        {"/v2/tasks?family=log-router&revision=17&status=RUNNING", 25},
        {"/v2/tasks?family=log-router&revision=18", 0},
        {"/v2/tasks?started_by=deployment-3", 4},
        {"/v2/tasks?group=family:log-router&started_by=deployment-5", 4},
        {"/v2/tasks?cluster=prod", 26},
        {"/v2/tasks?cluster=" CLUSTER, 26},
        {"/v2/tasks?cluster=arn:aws:ecs:eu-west-1:111122223333:cluster/prod", 0},
        {"/v2/tasks?instance=" INSTANCE_1, 26},
        {"/v2/tasks?instance=0000000000000000000000000000000a", 26},
        {"/v2/tasks?instance=i-0123456789abcdef0", 26},
        {"/v2/tasks?instance=i-none", 0},
        {"/v2/instances?zone=us-east-1a&agent_connected=true", 1},
        {"/v2/instances?agent_connected=false", 0},
        {"/v2/instances?ec2_instance_id=i-0123456789abcdef0", 1},
        {"/v2/environments", 1},
        {"/v2/environments?status=ACTIVE", 1},
        {"/v2/environments/web/deployments", 1},
        {"/v2/deployments?environment=web&status=running", 1},
    };
    fixture_start(&f, NULL);
    fill();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_assert_eq(count_items(&f, cases[i].path), cases[i].count, "%s: %zu", cases[i].path,
                     count_items(&f, cases[i].path));
    fixture_stop(&f);
}

static void put_revision(unsigned n, const char *family, unsigned revision, const char *desired)
{
    char key[128], json[512];
    snprintf(key, sizeof key, "arn:aws:ecs:us-east-1:111122223333:task/other/%032u", n);
    snprintf(json, sizeof json,
             "{\"taskArn\":\"%s\",\"lastStatus\":\"RUNNING\",\"desiredStatus\":\"%s\","
             "\"taskDefinitionArn\":\"arn:aws:ecs:us-east-1:1:task-definition/%s:%u\"}",
             key, desired, family, revision);
    fixture_put(&f, RECORD_TASK, key, n, json);
}

/* A revision's number alone is that of several families, each with an index entry of its own. */
Test(v2, a_revision_of_any_family)
{
    static const char *const families[] = {"a", "b", "c", "d"};
    char path[1024] = "/v2/tasks?limit=5&revision=3", last[256] = "";
    size_t seen = 0;
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 60);
    for (unsigned i = 0; i < 40; i++)
        put_revision(i, families[i % 4], i % 8 < 4 ? 3 : 4, i % 10 == 0 ? "STOPPED" : "RUNNING");
    cr_assert_eq(count_items(&f, "/v2/tasks?limit=100&revision=3"), 20u);
    cr_assert_eq(count_items(&f, "/v2/tasks?revision=3&family=b"), 5u);
    cr_assert_eq(count_items(&f, "/v2/tasks?revision=4&family=b&desired_status=RUNNING"), 5u);
    cr_assert_eq(count_items(&f, "/v2/tasks?revision=5"), 0u);
    cr_assert_eq(count_items(&f, "/v2/tasks?revision=3&family=none"), 0u);
    cr_assert_eq(count_items(&f, "/v2/tasks?desired_status=STOPPED"), 4u);
    cr_assert_eq(count_items(&f, "/v2/tasks?desired_status=STOPPED&revision=3"), 2u);
    cr_assert_eq(count_items(&f, "/v2/tasks?desired_status=stopped&revision=3&sort=-id"), 2u);
    for (bool more = true; more;) {
        size_t i;
        json_t *item;
        json_t *doc = get_json(&f, path, 200);
        json_array_foreach(json_arr(doc, "items"), i, item)
        {
            const char *id = json_str_or(item, "id", "");
            cr_assert(strcmp(id, last) > 0, "in order, none twice: %s %s", last, id);
            snprintf(last, sizeof last, "%s", id);
            seen++;
        }
        more = json_str(doc, "next_token") != NULL;
        snprintf(path, sizeof path, "/v2/tasks?limit=5&revision=3&next_token=%s",
                 json_str_or(doc, "next_token", ""));
        json_decref(doc);
    }
    cr_assert_eq(seen, 20u);
    fixture_stop(&f);
}

Test(v2, one_row_by_each_kind_of_id)
{
    static const struct {
        const char *path, *id, *member, *value;
    } cases[] = {
        {"/v2/tasks/" TASK_1, TASK_1, "taskArn", TASK_1},
        {"/v2/tasks/00000000000000000000000000000001", TASK_1, "source", "event"},
        {"/v2/instances/i-0123456789abcdef0", INSTANCE_1, "status", "ACTIVE"},
        {"/v2/instances/0000000000000000000000000000000a", INSTANCE_1, "updated_at",
         "2025-11-22T09:01:09.123Z"},
        {"/v2/environments/web", "web", "name", "web"},
        {"/v2/environments/web/deployments/d-1", "d-1", "environment", "web"},
        {"/v2/deployments/d-1", "d-1", "status", "running"},
        /* The first row's cluster is another one: found all the same. */
        {"/v2/tasks/ffff", "arn:aws:ecs:us-east-1:111122223333:task/zz/ffff", "x", "y"},
    };
    fixture_start(&f, NULL);
    fill();
    fixture_put(&f, RECORD_TASK, "arn:aws:ecs:us-east-1:111122223333:task/zz/ffff", 7,
                "{\"x\":\"y\"}");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *doc = get_json(&f, cases[i].path, 200);
        cr_assert_str_eq(json_str_or(doc, "id", ""), cases[i].id, "%s", cases[i].path);
        cr_assert_str_eq(json_str_or(doc, cases[i].member, ""), cases[i].value, "%s",
                         cases[i].path);
        cr_assert(json_int_or(doc, "version", 0) > 0, "%s", cases[i].path);
        cr_assert(json_int_or(doc, "index", 0) > 0, "%s", cases[i].path);
        json_decref(doc);
    }
    fixture_delete(&f, RECORD_TASK, TASK_1, 1);
    json_decref(get_json(&f, "/v2/tasks/" TASK_1, 404));
    json_decref(get_json(&f, "/v2/tasks/00000000000000000000000000000001", 404));
    fixture_stop(&f);
}

Test(v2, pages_hold_every_row_once)
{
    char path[1024] = "/v2/tasks?limit=7&status=RUNNING";
    size_t seen = 0, pages = 0;
    char last[256] = "";
    fixture_start(&f, NULL);
    fill();
    for (;;) {
        size_t i;
        json_t *item;
        json_t *doc = get_json(&f, path, 200);
        json_array_foreach(json_arr(doc, "items"), i, item)
        {
            const char *id = json_str_or(item, "id", "");
            cr_assert(strcmp(id, last) > 0, "in order, none twice");
            snprintf(last, sizeof last, "%s", id);
            seen++;
        }
        pages++;
        const char *token = json_str(doc, "next_token");
        if (token != NULL)
            snprintf(path, sizeof path, "/v2/tasks?limit=7&status=RUNNING&next_token=%s", token);
        bool more = token != NULL;
        json_decref(doc);
        if (!more)
            break;
    }
    cr_assert_eq(seen, 25);
    cr_assert_eq(pages, 4);
    /* A page that ends with the last row has no token. */
    json_t *doc = get_json(&f, "/v2/tasks?limit=26", 200);
    cr_assert_null(json_object_get(doc, "next_token"));
    json_decref(doc);
    fixture_stop(&f);
}

Test(v2, problems_name_what_is_wrong)
{
    static const struct {
        const char *method, *path;
        long status;
        const char *slug, *words;
    } cases[] = {
        {"GET", "/v2/tasks?stauts=x", 400, "bad-parameter", "did you mean \\\"status\\\"?"},
        {"GET", "/v2/tasks?startedBy=x", 400, "bad-parameter", "did you mean \\\"started_by\\\"?"},
        {"GET", "/v2/tasks?status=a&status=b", 400, "bad-parameter", "given twice"},
        {"GET", "/v2/tasks?limit=0", 400, "bad-parameter", "1 to 1000"},
        {"GET", "/v2/tasks?limit=1001", 400, "bad-parameter", "1 to 1000"},
        {"GET", "/v2/tasks?limit=ten", 400, "bad-parameter", "1 to 1000"},
        {"GET", "/v2/tasks?next_token=***", 400, "bad-parameter", "next_token"},
        {"GET", "/v2/tasks?index=5", 400, "bad-parameter", "index"},
        {"GET", "/v2/tasks?index=ab.1&wait=10m", 200, NULL, "items"}, /* other epoch: at once */
        {"GET", "/v2/tasks?index=ab.1&wait=1h", 400, "bad-parameter", "wait"},
        {"GET", "/v2/tasks?wait=5s", 400, "bad-parameter", "needs"},
        {"GET", "/v2/instances?agent_connected=yes", 400, "bad-parameter", "true or false"},
        {"GET", "/v2/watch?kinds=task,dog", 400, "bad-parameter", "kinds"},
        {"GET", "/v2/watch?index=zz", 400, "bad-parameter", "index"},
        {"GET", "/v2/tasks/none", 404, "not-found", "no task"},
        {"GET", "/v2/environments/none", 404, "not-found", "no environment"},
        {"GET", "/v2/environments/none/deployments", 404, "not-found", "no environment"},
        {"GET", "/v2/nothing", 404, "not-found", "/v2/nothing"},
        {"GET", "/nothing", 404, "not-found", "/nothing"},
        {"POST", "/v2/tasks", 405, "method-not-allowed", "GET"},
        {"PATCH", "/v2/environments/web", 405, "method-not-allowed", "PUT"},
        {"OPTIONS", "/v2/tasks", 405, "method-not-allowed", "GET"},
        {"POST", "/metrics", 405, "method-not-allowed", "GET"},
        {"GET", "/v2/problems/none", 404, "not-found", "none"},
        {"GET", "/v2/agent", 503, "not-ready", "starting"},
        {"GET", "/v2/%zz", 400, "bad-uri", "escape"},
        {"GET", "/v2/tasks?a=%00", 400, "bad-uri", "escape"},
    };
    fixture_start(&f, NULL);
    fill();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char value[256], type[128];
        struct http h = http_do(&f, cases[i].method, cases[i].path, NULL, NULL);
        cr_assert_eq(h.status, cases[i].status, "%s: %ld %s", cases[i].path, h.status, h.body);
        cr_assert_not_null(strstr(h.body, cases[i].words), "%s: %s", cases[i].path, h.body);
        cr_assert_str_neq(http_header(&h, "Blox-Staleness-Ms", value), "", "on errors, too");
        if (cases[i].slug != NULL) {
            snprintf(type, sizeof type, "\"type\":\"/v2/problems/%s\"", cases[i].slug);
            cr_assert_not_null(strstr(h.body, type), "%s: %s", cases[i].path, h.body);
            cr_assert_str_eq(http_header(&h, "Content-Type", value), "application/problem+json");
            json_t *doc = json_parse(h.body, h.len, NULL);
            cr_assert_eq(json_int_or(doc, "status", 0), h.status);
            json_t *first = json_array_get(json_arr(doc, "errors"), 0);
            if (strcmp(cases[i].slug, "bad-parameter") == 0) /* which one, as the hint promises */
                cr_assert_eq(json_str_or(first, "pointer", "-")[0], '?', "%s", h.body);
            cr_assert_str_eq(json_str_or(doc, "instance", "-"),
                             http_header(&h, "Blox-Request-Id", value));
            json_decref(doc);
            if (h.status == 405)
                cr_assert_str_neq(http_header(&h, "Allow", value), "");
        }
        http_free(&h);
    }
    struct http h = http_do(&f, "GET", "/v2/watch", "Last-Event-ID: zz", NULL);
    cr_assert_eq(h.status, 400);
    cr_assert_not_null(strstr(h.body, "\"pointer\":\"Last-Event-ID\""));
    http_free(&h);
    /* Every listed problem type explains itself. */
    json_t *list = get_json(&f, "/v2/problems", 200);
    size_t i;
    json_t *item;
    json_array_foreach(json_arr(list, "items"), i, item)
        json_decref(get_json(&f, json_str_or(item, "type", ""), 200));
    json_decref(list);
    fixture_stop(&f);
}

Test(v2, documents_and_facts)
{
    char value[256];
    struct api_facts facts = {.agent_id = "i-1",
                              .leader = "i-2",
                              .state = "ready",
                              .applied_term = 3,
                              .applied_index = 44};
    fixture_start(&f, NULL);
    struct http h = http_get(&f, "/health/ready");
    cr_assert_eq(h.status, 503);
    http_free(&h);
    h = http_get(&f, "/health/live");
    cr_assert_eq(h.status, 200);
    cr_assert_str_eq(http_header(&h, "Blox-Staleness-Ms", value), "unknown");
    http_free(&h);
    facts.complete_unix_ms = 1763802069123;
    api_set_facts(f.api, &facts);
    api_publish(f.api, API_DOC_LEADER, "{\"id\":\"i-2\"}", 12);
    h = http_get(&f, "/v2/leader");
    cr_assert_eq(h.status, 200);
    cr_assert_str_eq(h.body, "{\"id\":\"i-2\"}");
    cr_assert_str_eq(http_header(&h, "Blox-Agent", value), "i-1");
    cr_assert_str_eq(http_header(&h, "Blox-Leader", value), "i-2");
    cr_assert_str_eq(http_header(&h, "Blox-Applied", value), "3.44");
    cr_assert_str_eq(http_header(&h, "Blox-Consistency", value), "local");
    cr_assert(atoll(http_header(&h, "Blox-Staleness-Ms", value)) > 1000);
    http_free(&h);
    h = http_get(&f, "/health/ready");
    cr_assert_eq(h.status, 200);
    http_free(&h);
    /* Syncing is ready as soon as there is something to show. */
    snprintf(facts.state, sizeof facts.state, "syncing");
    snprintf(facts.why, sizeof facts.why, "waiting for peers");
    api_set_facts(f.api, &facts);
    h = http_get(&f, "/health/ready");
    cr_assert_eq(h.status, 503);
    cr_assert_not_null(strstr(h.body, "waiting for peers"));
    http_free(&h);
    fixture_put_task(&f, 1, "RUNNING", 1);
    h = http_get(&f, "/health/ready");
    cr_assert_eq(h.status, 200);
    http_free(&h);
    snprintf(facts.state, sizeof facts.state, "degraded");
    snprintf(facts.why, sizeof facts.why, "address already in use");
    for (int apart = 0; apart < 2; apart++) {
        facts.apart = apart == 1;
        api_set_facts(f.api, &facts);
        h = http_get(&f, "/health/ready");
        cr_assert_eq(h.status, apart == 1 ? 503 : 200);
        cr_assert_not_null(strstr(h.body, "address already in use"));
        http_free(&h);
    }
    h = http_get(&f, "/metrics");
    cr_assert_not_null(strstr(h.body, "blox_api_requests_total{class=\"2xx\"}"));
    cr_assert_not_null(strstr(h.body, "blox_store_rows 1\n"));
    http_free(&h);
    static const char *const pages[] = {"/", "/dashboard.css", "/dashboard.js"};
    for (size_t i = 0; i < 3; i++) {
        h = http_get(&f, pages[i]);
        cr_assert_eq(h.status, 200);
        cr_assert(h.len > 200, "%s", pages[i]);
        cr_assert_not_null(
            strstr(http_header(&h, "Content-Security-Policy", value), "default-src 'none'"));
        http_free(&h);
    }
    h = http_do(&f, "HEAD", "/v2/tasks", NULL, NULL);
    cr_assert_eq(h.status, 200);
    http_free(&h);
    fixture_stop(&f);
}

/* -- long polls ---------------------------------------------------------------------- */

struct poll_job {
    pthread_t thread;
    char path[512];
    struct http answer;
    _Atomic bool done;
};

static void *poll_thread(void *arg)
{
    struct poll_job *job = arg;
    job->answer = http_get(&f, job->path);
    job->done = true;
    return NULL;
}

static void poll_start(struct poll_job *job, const char *path, const char *index)
{
    memset(job, 0, sizeof *job);
    snprintf(job->path, sizeof job->path, "%s&index=%s", path, index);
    cr_assert_eq(pthread_create(&job->thread, NULL, poll_thread, job), 0);
}

static size_t polls_under_way(void)
{
    struct waiters *w = &f.api->waiters;
    pthread_mutex_lock(&w->lock);
    size_t polls = w->polls;
    pthread_mutex_unlock(&w->lock);
    return polls;
}

Test(v2, long_poll_wakes_and_times_out)
{
    char index[256], value[256];
    struct poll_job job;
    fixture_start(&f, NULL);
    fill();
    struct http h = http_get(&f, "/v2/tasks?limit=1");
    http_header(&h, "Blox-Index", index);
    http_free(&h);
    /* Nothing new: 304 with the same index. */
    poll_start(&job, "/v2/tasks?wait=50ms", index);
    pthread_join(job.thread, NULL);
    cr_assert_eq(job.answer.status, 304);
    cr_assert_str_eq(http_header(&job.answer, "Blox-Index", value), index);
    http_free(&job.answer);
    /* Another kind's change is not news; the kind's own is. */
    poll_start(&job, "/v2/tasks?limit=1000&wait=30s", index);
    usleep(100000);
    fixture_put_instance(&f, "arn:aws:ecs:us-east-1:111122223333:container-instance/b", "i-2",
                         "ACTIVE");
    usleep(100000);
    cr_assert_not(job.done);
    fixture_put_task(&f, 77, "RUNNING", 1);
    pthread_join(job.thread, NULL);
    cr_assert_eq(job.answer.status, 200);
    cr_assert_not_null(strstr(job.answer.body, "00000077"));
    cr_assert_str_neq(http_header(&job.answer, "Blox-Index", value), index);
    http_free(&job.answer);
    /* An old index is answered at once. */
    poll_start(&job, "/v2/tasks?wait=30s", index);
    pthread_join(job.thread, NULL);
    cr_assert_eq(job.answer.status, 200);
    http_free(&job.answer);
    /* A server that stops wakes its pollers. */
    poll_start(&job, "/v2/tasks?wait=30s", value);
    for (int i = 0; i < 10000 && polls_under_way() == 0; i++)
        usleep(1000);
    cr_assert_eq(polls_under_way(), 1);
    fixture_stop_api(&f);
    pthread_join(job.thread, NULL);
    cr_assert_eq(job.answer.status, 503);
    http_free(&job.answer);
    fixture_stop(&f);
}

Test(v2, long_polls_are_bounded)
{
    char index[256], text[4096];
    int fds[API_WAITERS_MAX + 1];
    fixture_start(&f, NULL);
    fill();
    struct http h = http_get(&f, "/v2/tasks?limit=1");
    http_header(&h, "Blox-Index", index);
    http_free(&h);
    snprintf(text, sizeof text,
             "GET /v2/tasks?wait=60s&index=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", index);
    for (size_t i = 0; i <= API_WAITERS_MAX; i++) {
        fds[i] = http_connect(&f);
        cr_assert_eq(write(fds[i], text, strlen(text)), (ssize_t)strlen(text));
    }
    /* One of them is refused, whichever comes last; from then on so is every other. */
    struct pollfd refused[API_WAITERS_MAX + 1];
    for (size_t i = 0; i <= API_WAITERS_MAX; i++)
        refused[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
    cr_assert_eq(poll(refused, API_WAITERS_MAX + 1, 30000), 1);
    char path[512];
    snprintf(path, sizeof path, "/v2/tasks?wait=2s&index=%s", index);
    h = http_get(&f, path);
    cr_assert_eq(h.status, 429);
    cr_assert_not_null(strstr(h.body, "too-many-requests"));
    http_free(&h);
    /* Clients that go away make room, though nothing changed. */
    for (size_t i = 0; i <= API_WAITERS_MAX; i++)
        close(fds[i]);
    for (int i = 0; i < 600; i++) {
        snprintf(path, sizeof path, "/v2/tasks?wait=1ms&index=%s", index);
        h = http_get(&f, path);
        long status = h.status;
        http_free(&h);
        if (status == 304)
            break;
        cr_assert_eq(status, 429);
        cr_assert(i < 599);
        usleep(100000);
    }
    fixture_stop(&f);
}

/* -- watch --------------------------------------------------------------------------- */

Test(v2, watch_tells_snapshot_then_changes_and_resumes)
{
    static char text[1 << 20];
    char ask[512], id[128];
    fixture_start(&f, NULL);
    fill();
    int fd = http_connect(&f);
    snprintf(ask, sizeof ask,
             "GET /v2/watch?kinds=task,instance HTTP/1.1\r\nHost: localhost\r\nAccept: "
             "text/event-stream\r\n\r\n");
    cr_assert_eq(write(fd, ask, strlen(ask)), (ssize_t)strlen(ask));
    cr_assert(http_read_until(fd, "event: synced\n", text, sizeof text));
    cr_assert_not_null(strstr(text, "text/event-stream"));
    cr_assert_not_null(strstr(text, "event: put\n"));
    cr_assert_null(strstr(text, "\"kind\":\"environment\""));
    size_t puts = 0;
    for (const char *p = text; (p = strstr(p, "event: put\n")) != NULL; p++)
        puts++;
    cr_assert_eq(puts, 27);
    fixture_put_task(&f, 90, "PENDING", 1);
    cr_assert(http_read_until(fd, "}\n\n", text, sizeof text));
    while (strstr(text, "00000090") == NULL)
        cr_assert(http_read_until(fd, "}\n\n", text, sizeof text));
    const char *at = strstr(text, "id: ");
    cr_assert_not_null(at);
    snprintf(id, sizeof id, "%.*s", (int)strcspn(at + 4, "\n"), at + 4);
    close(fd);
    /* What happens meanwhile is told after the client comes back, and nothing else. */
    fixture_put_environment(&f, "other", "active");
    fixture_delete(&f, RECORD_TASK, TASK_1, 1);
    fd = http_connect(&f);
    snprintf(ask, sizeof ask,
             "GET /v2/watch?kinds=task HTTP/1.1\r\nHost: localhost\r\nLast-Event-ID: %s\r\n\r\n",
             id);
    cr_assert_eq(write(fd, ask, strlen(ask)), (ssize_t)strlen(ask));
    cr_assert(http_read_until(fd, "}}\n", text, sizeof text));
    cr_assert_not_null(strstr(text, "application/x-ndjson"));
    cr_assert_not_null(strstr(text, "{\"event\":\"delete\",\"kind\":\"task\""));
    cr_assert_null(strstr(text, "\"event\":\"put\""));
    cr_assert_null(strstr(text, "synced"));
    close(fd);
    /* An id of another database: told to start afresh, then the snapshot. */
    fd = http_connect(&f);
    snprintf(ask, sizeof ask,
             "GET /v2/watch?kinds=environment&index=abc.3 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    cr_assert_eq(write(fd, ask, strlen(ask)), (ssize_t)strlen(ask));
    cr_assert(http_read_until(fd, "\"synced\"", text, sizeof text));
    const char *reset = strstr(text, "{\"event\":\"reset\"}\n");
    cr_assert(reset != NULL && reset < strstr(text, "\"event\":\"put\""));
    close(fd);
    fixture_stop(&f);
}
