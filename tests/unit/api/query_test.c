/* SPDX-License-Identifier: Apache-2.0
 * What a client of /v2 asks lists for: members, order, the cluster query language, pages of one
 * moment, and polls that only what they ask for wakes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "agent/api/pages.h"
#include "agent/api/query.h"
#include "tests/unit/api/ask.h"

#define M5 "attribute:ecs.instance-type%20=~%20m5.*"
#define WEB "task:group%20==%20family:web"

static struct fixture f;

/* The members of all items, one letter each: what "n" says, in the list's order. */
static void names(const char *path, char out[64])
{
    size_t i, n = 0;
    json_t *item, *doc = get_json(&f, path, 200);
    json_array_foreach(json_arr(doc, "items"), i, item) out[n++] = json_str_or(item, "n", "?")[0];
    out[n] = '\0';
    json_decref(doc);
}

/* With more attributes than its type, and more members. */
static void put_instance_as(char name, const char *type, const char *attributes, const char *more,
                            uint64_t version)
{
    char key[160], json[1024];
    snprintf(key, sizeof key, "arn:aws:ecs:us-east-1:111122223333:container-instance/prod/%c",
             name);
    snprintf(json, sizeof json,
             "{\"agentConnected\":true,\"attributes\":[{\"name\":\"ecs.instance-type\",\"value\":"
             "\"%s\"},{\"name\":\"gp\\u0075\"}%s],\"clusterArn\":\"" CLUSTER "\","
             "\"containerInstanceArn\":\"%s\",\"n\":\"%c\"%s,\"status\":\"ACTIVE\",\"version\":1,"
             "\"versionInfo\":{\"agentVersion\":\"1.9%c.0\"}}",
             type, attributes, key, name, more, name - 'a' + '0');
    fixture_put(&f, RECORD_INSTANCE, key, version, json);
}

static void put_instance(char name, const char *type, const char *more)
{
    put_instance_as(name, type, "", more, 1);
}

static void put_instance_again(char name, const char *type, uint64_t version)
{
    put_instance_as(name, type, "", "", version);
}

static void put_task(char name, char instance, const char *group, const char *status, uint64_t v)
{
    char key[160], json[1024];
    snprintf(key, sizeof key, "arn:aws:ecs:us-east-1:111122223333:task/prod/%c", name);
    snprintf(json, sizeof json,
             "{\"clusterArn\":\"" CLUSTER "\",\"containerInstanceArn\":\"arn:aws:ecs:us-east-1:"
             "111122223333:container-instance/prod/%c\",\"desiredStatus\":\"RUNNING\",\"group\":"
             "\"%s\",\"lastStatus\":\"%s\",\"n\":\"%c\",\"taskArn\":\"%s\",\"taskDefinitionArn\":"
             "\"arn:aws:ecs:us-east-1:111122223333:task-definition/%s:1\",\"version\":%llu}",
             instance, group, status, name, key, group + 7, (unsigned long long)v);
    fixture_put(&f, RECORD_TASK, key, v, json);
}

static void fill(void)
{
    put_instance('a', "m5.large", ",\"registeredAt\":\"2026-01-03T00:00:00.000Z\",\"k\":3");
    put_instance('b', "c5.large", ",\"registeredAt\":\"2026-01-01T00:00:00.000Z\",\"k\":-20");
    put_instance('c', "m5.xlarge", ",\"registeredAt\":\"2026-01-02T00:00:00.000Z\",\"k\":100");
    put_instance('d', "t3.micro", "");
    put_task('x', 'a', "family:web", "RUNNING", 1);
    put_task('y', 'b', "family:web", "PENDING", 1);
    put_task('z', 'c', "family:log", "RUNNING", 1);
}

static void put_placed(char name, const char *zone, const char *ec2)
{
    char attribute[100], more[100];
    snprintf(attribute, sizeof attribute, ",{\"name\":\"ecs.availability-zone\",\"value\":\"%s\"}",
             zone);
    snprintf(more, sizeof more, ",\"availabilityZone\":\"%s\",\"ec2InstanceId\":\"%s\"", zone, ec2);
    put_instance_as(name, "m5.large", attribute, more, 1);
}

/* The columns by which rows are found, as "zone=a ec2=b instance=c", and the rows. */
Test(query, what_a_filter_requires_goes_by_an_index)
{
    static const struct {
        const char *filter, *instances, *tasks; /* columns */
        const char *names[2];
    } cases[] = {
        {"ec2InstanceId == i-a", "ec2", "instance", {"a", "x"}},
        {"attribute:ecs.availability-zone == z1", "zone", "", {"ab", "xy"}},
        {"agentConnected == true and (attribute:ecs.availability-zone equals z1 and "
         "ec2InstanceId == i-b)",
         "ec2 zone",
         "instance",
         {"b", "y"}},
        {"ec2InstanceId == i-none", "ec2", "instance", {"", ""}},
        {"ec2InstanceId == i-two", "ec2", "", {"cd", "zw"}}, /* registered twice */
        {"ec2InstanceId == i-a or ec2InstanceId == i-b", "", "", {"ab", "xy"}},
        {"not ec2InstanceId == i-a", "", "", {"bcd", "yzw"}},
        {"ec2InstanceId != i-a", "", "", {"bcd", "yzw"}},
        {"ec2InstanceId in [i-a]", "", "", {"a", "x"}},
        {"attribute:zone == z1", "", "", {"", ""}},
        {"", "", "", {"abcd", "xyzw"}},
    };
    static const char *const lists[] = {"instances", "tasks"};
    static const uint8_t kinds[] = {RECORD_INSTANCE, RECORD_TASK};
    char path[600], columns[64], got[64];
    fixture_start(&f, NULL);
    put_placed('a', "z1", "i-a");
    put_placed('b', "z1", "i-b");
    put_placed('c', "z2", "i-two");
    put_placed('d', "z2", "i-two");
    for (size_t i = 0; i < 4; i++)
        put_task("xyzw"[i], "abcd"[i], "family:web", "RUNNING", 1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (size_t k = 0; k < 2; k++) {
            struct query *q;
            struct store_txn *txn;
            struct filter filter = {.count = 0};
            columns[0] = '\0';
            cr_assert_eq(query_new(cases[i].filter, &q, NULL), 0);
            cr_assert_eq(store_read_begin(f.store, &txn), 0);
            query_narrow(q, txn, kinds[k], &filter);
            store_read_end(txn);
            for (size_t n = 0; n < filter.count; n++) {
                enum row_field field = filter.tests[n].field;
                snprintf(columns + strlen(columns), sizeof columns - strlen(columns), "%s%s",
                         n == 0 ? "" : " ",
                         field == ROW_ZONE           ? "zone"
                         : field == ROW_EC2_INSTANCE ? "ec2"
                                                     : "instance");
            }
            query_free(q);
            cr_expect_str_eq(columns, k == 0 ? cases[i].instances : cases[i].tasks, "%s: %s",
                             cases[i].filter, columns);
            size_t at = (size_t)snprintf(path, sizeof path, "/v2/%s?sort=index&filter=", lists[k]);
            for (const char *p = cases[i].filter; *p != '\0'; p++)
                at += (size_t)snprintf(path + at, sizeof path - at, "%%%02x", (unsigned char)*p);
            names(path, got);
            cr_expect_str_eq(got, cases[i].names[k], "%s: %s", path, got);
        }
    fixture_stop(&f);
}

Test(query, order_and_cluster_query_language)
{
    static const struct {
        const char *path, *names;
    } cases[] = {
        {"/v2/instances?sort=registeredAt", "bcad"},
        {"/v2/instances?sort=-registeredAt", "acbd"},
        {"/v2/instances?sort=k", "bacd"},
        {"/v2/instances?sort=-k&limit=2", "ca"},
        {"/v2/instances?sort=-index", "dcba"},
        {"/v2/instances?sort=-id", "dcba"},
        {"/v2/instances?sort=status", "abcd"},
        {"/v2/instances?filter=attribute:ecs.instance-type%20=~%20m5.*", "ac"},
        {"/v2/instances?filter=attribute:ecs.instance-type%20=~%20m5.*&sort=-k", "ca"},
        {"/v2/instances?filter=agentVersion%20%3E%201.91.0", "cd"},
        {"/v2/instances?filter=attribute:gpu%20exists", "abcd"},
        {"/v2/instances?filter=task:group%20==%20family:web", "ab"},
        {"/v2/instances?filter=not%20task:group%20==%20family:web%20and%20agentConnected==true",
         "cd"},
        {"/v2/instances?filter=registeredAt%20%3E%202026-01-01T12:00:00Z", "ac"},
        {"/v2/tasks?filter=attribute:ecs.instance-type%20=~%20m5.*", "xz"},
        {"/v2/tasks?filter=attribute:ecs.instance-type%20=~%20m5.*&group=family:web", "x"},
        {"/v2/tasks?cluster=prod&status=running", "xz"},
        {"/v2/tasks?cluster=elsewhere", ""},
    };
    char got[64];
    fixture_start(&f, NULL);
    fill();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        names(cases[i].path, got);
        cr_assert_str_eq(got, cases[i].names, "%s: %s", cases[i].path, got);
    }
    static const struct {
        const char *path, *words;
    } wrong[] = {{"/v2/instances?filter=attribute:x%20=%20=", "filter"},
                 {"/v2/instances?filter=cpu%20==%201", "filter"},
                 {"/v2/environments?filter=agentConnected==true", "instances and tasks"},
                 {"/v2/instances?sort=", "sort"},
                 {"/v2/instances?sort=a.b", "sort"},
                 {"/v2/instances?fields=a,,b", "fields"},
                 {"/v2/instances?fields=a%22", "fields"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct http h = http_get(&f, wrong[i].path);
        cr_assert_eq(h.status, 400, "%s: %ld", wrong[i].path, h.status);
        cr_assert_not_null(strstr(h.body, wrong[i].words), "%s: %s", wrong[i].path, h.body);
        http_free(&h);
    }
    fixture_stop(&f);
}

Test(query, only_the_members_asked_for)
{
    fixture_start(&f, NULL);
    fill();
    json_t *doc = get_json(&f, "/v2/instances?fields=id,k,versionInfo,nothing&limit=1", 200);
    json_t *item = json_array_get(json_arr(doc, "items"), 0);
    cr_assert_eq(json_object_size(item), 3);
    cr_assert_eq(json_int_or(item, "k", 0), 3);
    cr_assert_str_eq(json_str_or(json_obj(item, "versionInfo"), "agentVersion", ""), "1.90.0");
    json_decref(doc);
    doc = get_json(&f, "/v2/instances/d?fields=k", 200);
    cr_assert_eq(json_object_size(doc), 0);
    json_decref(doc);
    doc = get_json(&f, "/v2/tasks/x?fields=n,taskArn", 200);
    cr_assert_eq(json_object_size(doc), 2);
    json_decref(doc);
    fixture_stop(&f);
}

/* Rows that come, go and change between the pages are not seen. */
static void check_pages(const char *base, const char *expected)
{
    char path[2048], got[64] = "";
    size_t n = 0;
    snprintf(path, sizeof path, "%s", base);
    for (int page = 0;; page++) {
        size_t i;
        json_t *item, *doc = get_json(&f, path, 200);
        cr_assert_str_eq(json_str_or(doc, "index", "-") + strlen(json_str_or(doc, "index", "-")) -
                             2,
                         ".4", "the index is the moment's");
        json_array_foreach(json_arr(doc, "items"), i, item) got[n++] =
            json_str_or(item, "n", "?")[0];
        const char *token = json_str(doc, "next_token");
        if (token != NULL)
            snprintf(path, sizeof path, "%s&next_token=%s", base, token);
        json_decref(doc);
        if (token == NULL)
            break;
        if (page == 0) {
            put_instance('c', "m5.xlarge", ",\"k\":-100");
            put_instance('e', "m5.xlarge", "");
            fixture_delete(&f, RECORD_INSTANCE,
                           "arn:aws:ecs:us-east-1:111122223333:container-instance/prod/d", 1);
        }
    }
    got[n] = '\0';
    cr_assert_str_eq(got, expected, "%s: %s", base, got);
}

static void fill_instances(void)
{
    put_instance('a', "m5.large", ",\"k\":3");
    put_instance('b', "c5.large", ",\"k\":-20");
    put_instance('c', "m5.xlarge", ",\"k\":100");
    put_instance('d', "t3.micro", "");
}

Test(query, pages_are_of_one_moment)
{
    fixture_start(&f, NULL);
    fill_instances();
    check_pages("/v2/instances?limit=1", "abcd");
    fixture_stop(&f);
    fixture_start(&f, NULL);
    fill_instances();
    check_pages("/v2/instances?limit=1&sort=-k", "cabd");
    fixture_stop(&f);
}

Test(query, tokens_are_of_one_query_and_expire)
{
    char path[1024], token[1024];
    fixture_start(&f, NULL);
    fill();
    json_t *doc = get_json(&f, "/v2/tasks?limit=1&group=family:web", 200);
    snprintf(token, sizeof token, "%s", json_str_or(doc, "next_token", ""));
    json_decref(doc);
    snprintf(path, sizeof path, "/v2/tasks?limit=1&group=family:log&next_token=%s", token);
    json_decref(get_json(&f, path, 400));
    /* A page can be asked for again. */
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "/v2/tasks?limit=1&fields=n&group=family:web&next_token=%s",
                 token);
        json_decref(get_json(&f, path, 200));
    }
    /* As many lists are kept as there is room for; then the oldest is gone, and says so. */
    for (int i = 0; i < 40; i++)
        json_decref(get_json(&f, "/v2/tasks?limit=1", 200));
    doc = get_json(&f, path, 410);
    cr_assert_str_eq(json_str_or(doc, "type", ""), "/v2/problems/page-expired");
    json_decref(doc);
    fixture_stop(&f);
}

/* A list whose next page nobody fetches holds its snapshot, and with it each page of the database
 * that changes, only so long. */
Test(query, snapshots_of_lists_that_are_not_read_on_are_given_up)
{
    /* No file of tokens to look at: nothing else makes the server look at the time. */
    fixture_start(&f, &(struct api_options){.anonymous = API_ANONYMOUS_WRITE, .token_file = ""});
    fixture_put_tasks(&f, 1, 500);
    json_decref(get_json(&f, "/v2/tasks?limit=1", 200));
    uint64_t bytes = store_state_bytes(f.store);
    unsigned quiet = 0;
    for (unsigned i = 0; quiet < 8; i++) {
        cr_assert_lt(i * 500, 3 * PAGES_CHANGES_MAX, "the database still grows");
        fixture_change_tasks(&f, 1, 500, i + 2);
        quiet = store_state_bytes(f.store) > bytes ? 0 : quiet + 1;
        bytes = store_state_bytes(f.store);
    }
    fixture_stop(&f);
}

/* What was changed on its way, or written in another form, is no token. */
Test(query, tokens_that_were_changed_are_refused)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char token[1024], changed[1100], path[1200];
    fixture_start(&f, NULL);
    fill();
    json_t *doc = get_json(&f, "/v2/tasks?limit=1", 200);
    snprintf(token, sizeof token, "%s", json_str_or(doc, "next_token", ""));
    json_decref(doc);
    size_t len = strlen(token);
    cr_assert_gt(len, 20);
    for (size_t i = 0; i <= len; i++) {
        snprintf(changed, sizeof changed, "%s", token);
        if (i < len)
            changed[i] = digits[(strchr(digits, token[i]) - digits + 1) % 64];
        else
            changed[len - 1] = '\0';
        snprintf(path, sizeof path, "/v2/tasks?limit=1&next_token=%s", changed);
        json_decref(get_json(&f, path, 400));
    }
    snprintf(path, sizeof path, "/v2/tasks?limit=1&next_token=%s", token);
    json_decref(get_json(&f, path, 200));
    fixture_stop(&f);
}

/* -- gzip -------------------------------------------------------------------------------- */

static size_t inflated(const struct http *h, char *out, size_t cap)
{
    z_stream z = {.next_in = (Bytef *)h->body,
                  .avail_in = (uInt)h->len,
                  .next_out = (Bytef *)out,
                  .avail_out = (uInt)cap};
    cr_assert_eq(inflateInit2(&z, 15 + 16), Z_OK);
    cr_assert_eq(inflate(&z, Z_FINISH), Z_STREAM_END);
    inflateEnd(&z);
    return cap - z.avail_out;
}

Test(query, lists_are_compressed_for_clients_that_ask)
{
    static char text[4 << 20];
    char value[256];
    static const struct {
        const char *header;
        bool gzip;
    } cases[] = {
        {"Accept-Encoding: gzip", true},      {"Accept-Encoding: deflate, GZIP;q=0.5, br", true},
        {"Accept-Encoding: gzip;q=0", false}, {"Accept-Encoding: gzip; q=0.00, br", false},
        {"Accept-Encoding: gzip;Q=0", false}, {"Accept-Encoding: xgzip, gzipx", false},
        {"Accept-Encoding: identity", false}};
    static const char *const paths[] = {"/v2/tasks?limit=1000", "/v2/tasks?limit=3&sort=-id"};
    fixture_start(&f, NULL);
    fixture_put_tasks(&f, 1, 900);
    for (size_t p = 0; p < 2; p++) {
        struct http plain = http_get(&f, paths[p]);
        char *items_end = strstr(plain.body, "],\"");
        cr_assert_str_eq(http_header(&plain, "Vary", value), "Accept-Encoding");
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct http h = http_do(&f, "GET", paths[p], cases[i].header, NULL);
            http_header(&h, "Content-Encoding", value);
            cr_assert_str_eq(value, cases[i].gzip ? "gzip" : "", "%s", cases[i].header);
            const char *got = cases[i].gzip ? text : h.body;
            if (cases[i].gzip) {
                cr_assert_lt(h.len, plain.len / (p == 0 ? 8 : 2));
                text[inflated(&h, text, sizeof text - 1)] = '\0';
            }
            cr_assert_eq(strncmp(got, plain.body, (size_t)(items_end - plain.body)), 0);
            cr_assert_eq(strlen(got), plain.len);
            http_free(&h);
        }
        http_free(&plain);
    }
    /* Blox never did, and short answers are one packet in any case. */
    struct http h = http_do(&f, "GET", "/v1/tasks", "Accept-Encoding: gzip", NULL);
    cr_assert_str_eq(http_header(&h, "Content-Encoding", value), "");
    http_free(&h);
    h = http_do(&f, "GET", "/v2/environments", "Accept-Encoding: gzip", NULL);
    cr_assert_str_eq(http_header(&h, "Content-Encoding", value), "");
    http_free(&h);
    fixture_stop(&f);
}

/* -- polls ------------------------------------------------------------------------------- */

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

static void poll_end(struct poll_job *job, long status, const char *index)
{
    char value[256];
    pthread_join(job->thread, NULL);
    cr_assert_eq(job->answer.status, status, "%s: %ld", job->path, job->answer.status);
    if (index != NULL)
        cr_assert_str_eq(http_header(&job->answer, "Blox-Index", value), index);
    http_free(&job->answer);
}

/* What an instance is decides which tasks a filter shows, and a task which instances. */
Test(query, polls_wake_when_the_other_kind_turns_the_answer)
{
    static const struct {
        const char *what, *path;
        long status;
    } cases[] = {
        {"b becomes m5", "/v2/tasks?filter=" M5, 200}, /* y is there */
        {"b becomes m5", "/v2/tasks?filter=" M5 "&family=log", 304},
        {"b becomes m5", "/v2/instances?filter=" M5, 200},
        {"a changes", "/v2/tasks?filter=" M5, 304},
        {"a changes", "/v2/instances?filter=" M5, 200},
        {"d becomes m5", "/v2/tasks?filter=" M5, 304}, /* nothing is there */
        {"a goes", "/v2/tasks?filter=" M5, 200},
        {"b goes", "/v2/tasks?filter=" M5, 304},
        {"e comes", "/v2/tasks?filter=" M5, 200}, /* its task was first */
        {"c turns twice", "/v2/tasks?filter=" M5, 200},
        {"w starts on d", "/v2/instances?filter=" WEB, 200},
        {"w starts on d", "/v2/instances?filter=" WEB "&status=DRAINING", 304},
        {"w starts on d", "/v2/instances?filter=" M5, 304},
        {"x stops", "/v2/instances?filter=" WEB, 200},
        {"x runs on", "/v2/instances?filter=" WEB, 304},
        {"x stops", "/v2/tasks?filter=" WEB "&family=log", 304},
        {"v starts on c", "/v2/tasks?filter=" WEB "&family=log", 200}, /* beside z */
    };
    static const char prefix[] = "arn:aws:ecs:us-east-1:111122223333:container-instance/prod/";
    char path[600], index[256], key[160];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *what = cases[i].what;
        struct poll_job job;
        fixture_start(&f, NULL);
        fill();
        put_task('u', 'e', "family:log", "RUNNING", 1);
        snprintf(path, sizeof path, "%s&wait=%s", cases[i].path,
                 cases[i].status == 200 ? "50s" : "300ms");
        struct http h = http_get(&f, cases[i].path);
        cr_assert_eq(h.status, 200, "%s", cases[i].path);
        http_header(&h, "Blox-Index", index);
        http_free(&h);
        if (i % 2 == 0) { /* half of them are told while they wait */
            poll_start(&job, path, index);
            usleep(50000);
        }
        snprintf(key, sizeof key, "%s%c", prefix, what[0]);
        if (strstr(what, "becomes") != NULL)
            put_instance_again(what[0], "m5.large", 2);
        else if (strstr(what, "changes") != NULL)
            put_instance_again('a', "m5.large", 2);
        else if (strstr(what, "goes") != NULL)
            fixture_delete(&f, RECORD_INSTANCE, key, 2);
        else if (strstr(what, "comes") != NULL)
            put_instance_again('e', "m5.large", 1);
        else if (strstr(what, "twice") != NULL) {
            put_instance_again('c', "t3.micro", 2);
            put_instance_again('c', "t3.micro", 3);
        } else if (strstr(what, "starts") != NULL)
            put_task(what[0], what[strlen(what) - 1], "family:web", "PENDING", 1);
        else
            put_task('x', 'a', "family:web", strstr(what, "stops") ? "STOPPED" : "PENDING", 2);
        if (i % 2 != 0)
            poll_start(&job, path, index);
        pthread_join(job.thread, NULL);
        cr_expect_eq(job.answer.status, cases[i].status, "%s: %s: %ld", what, cases[i].path,
                     job.answer.status);
        http_free(&job.answer);
        fixture_stop(&f);
    }
}

/* The status that a client with those ETags gets. */
static long ask_again(const char *method, const char *path, const char *more, const char *etag,
                      char next[256])
{
    char headers[600], value[256];
    snprintf(headers, sizeof headers, "%sIf-None-Match: \"x\", %s", more, etag);
    struct http h = http_do(&f, method, path, headers, NULL);
    long status = h.status;
    http_header(&h, "ETag", next);
    cr_assert(strncmp(next, "W/\"", 3) == 0, "%s: %s", path, next);
    cr_assert_str_neq(http_header(&h, "Blox-Index", value), "", "%s", path);
    cr_assert(status == 200 || h.len == 0, "%s: %s", path, h.body);
    http_free(&h);
    return status;
}

Test(query, a_list_that_the_client_has_is_not_sent_again)
{
    static const char *const paths[] = {"/v2/tasks?family=web",
                                        "/v2/tasks?family=web&limit=1",
                                        "/v2/tasks?family=web&sort=-n",
                                        "/v2/tasks?filter=" M5,
                                        "/v2/tasks?family=web&fields=id",
                                        "/v2/tasks?limit=1&family=web",
                                        "/v2/environments/web/deployments"};
    char etag[sizeof paths / sizeof paths[0]][256], next[256], other[256], path[700], last[256];
    fixture_start(&f, NULL);
    fill();
    fixture_put_environment(&f, "web", "active");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        cr_assert_eq(ask_again("GET", paths[i], "", "\"none\"", etag[i]), 200, "%s", paths[i]);
        cr_assert_eq(ask_again("GET", paths[i], "", etag[i], next), 304, "%s", paths[i]);
        cr_assert_str_eq(next, etag[i]);
        cr_assert_eq(ask_again("HEAD", paths[i], "", etag[i], next), 304, "%s", paths[i]);
        cr_assert_eq(ask_again("GET", paths[i], "Accept-Encoding: gzip\n", etag[i], next), 304);
        cr_assert_eq(ask_again("GET", paths[i], "", "*", next), 304, "%s", paths[i]);
        cr_assert_eq(ask_again("GET", paths[i], "", etag[i] + 2, next), 304, "strong: %s",
                     paths[i]);
        /* Another question has another answer. */
        if (i > 0 && i != 5)
            cr_assert_eq(ask_again("GET", paths[i], "", etag[i - 1], next), 200, "%s", paths[i]);
    }
    cr_assert_str_eq(etag[1], etag[5], "the order of parameters is no matter");
    cr_assert_eq(ask_again("GET", "/v2/instances", "", etag[0], next), 200);
    /* What changes beside the list leaves it as it is; with the newer index it goes on faster. */
    put_task('z', 'c', "family:log", "STOPPED", 2);
    cr_assert_eq(ask_again("GET", paths[0], "", etag[0], next), 304);
    cr_assert_str_neq(next, etag[0]);
    cr_assert_eq(ask_again("GET", paths[0], "", next, other), 304);
    cr_assert_eq(ask_again("GET", paths[3], "", etag[3], other), 200);
    /* A poll goes by its index. */
    struct http h = http_get(&f, paths[0]);
    http_header(&h, "Blox-Index", last);
    http_free(&h);
    put_task('x', 'a', "family:web", "STOPPED", 2);
    cr_assert_eq(ask_again("GET", paths[0], "", next, other), 200);
    cr_assert_eq(ask_again("GET", paths[0], "", other, next), 304);
    snprintf(path, sizeof path, "%s&index=%s&wait=50s", paths[0], last);
    cr_assert_eq(ask_again("GET", path, "", next, other), 200);
    cr_assert_str_eq(other, next);
    put_instance_again('b', "m5.large", 2);
    cr_assert_eq(ask_again("GET", paths[3], "", etag[3], other), 200, "y is on an m5 now");
    fixture_delete(&f, RECORD_TASK, "arn:aws:ecs:us-east-1:111122223333:task/prod/y", 2);
    cr_assert_eq(ask_again("GET", paths[0], "", next, other), 200, "one went away");
    /* The past and later pages are not asked for twice. */
    h = http_do(&f, "GET", "/v2/tasks?at=-0s", "If-None-Match: *", NULL);
    cr_assert_eq(h.status, 200);
    cr_assert_str_eq(http_header(&h, "ETag", next), "");
    http_free(&h);
    fixture_stop(&f);
}

#define POLLS 6
#define NONE "attribute:ecs.instance-type%20==%20none"

/* What a filter compares with is no question. */
Test(query, words_in_values_ask_for_nothing)
{
    static const struct {
        const char *text;
        bool tasks;
    } cases[] = {{"task:group == family:web", true},
                 {"attribute:a exists or not task:group =~ x.*", true},
                 {"attribute:a == 'task:group == x'", false},
                 {"attribute:task:group exists", false},
                 {"", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errmsg e;
        struct query *q = NULL;
        cr_assert_eq(query_new(cases[i].text, &q, &e), 0, "%s: %s", cases[i].text, e.text);
        cr_expect_eq((query_kinds(q, RECORD_INSTANCE) & 1u << RECORD_TASK) != 0, cases[i].tasks,
                     "%s", cases[i].text);
        query_free(q);
    }
}

/* Nothing would wake it until the store has come to that index. */
Test(query, an_index_from_the_future_is_answered_at_once)
{
    static const char *const ahead[] = {"1", "1000", "18446744073709551615"};
    static const char *const paths[] = {"/v2/tasks?wait=10m&index=", "/v2/tasks/x?wait=10m&index=",
                                        "/v2/environments?wait=10m&index="};
    char index[256], path[512];
    fixture_start(&f, NULL);
    fill();
    struct http h = http_get(&f, "/v2/tasks");
    http_header(&h, "Blox-Index", index);
    http_free(&h);
    int epoch = (int)(strchr(index, '.') + 1 - index);
    for (size_t i = 0; i < 9; i++) {
        char after[32];
        unsigned long long now = strtoull(index + epoch, NULL, 10);
        snprintf(after, sizeof after, "%llu", now + strtoull(ahead[i / 3], NULL, 10));
        snprintf(path, sizeof path, "%s%.*s%s", paths[i % 3], epoch, index,
                 i / 3 == 2 ? ahead[2] : after);
        h = http_get(&f, path);
        cr_expect_eq(h.status, 200, "%s: %ld", path, h.status);
        http_free(&h);
    }
    fixture_stop(&f);
}

Test(query, polls_wake_for_what_they_ask_for_only)
{
    static const char *const paths[] = {"/v2/tasks?family=log&wait=500ms",
                                        "/v2/tasks?group=family:log&status=RUNNING&wait=500ms",
                                        "/v2/tasks/z?wait=500ms",
                                        "/v2/tasks?filter=" NONE "&wait=500ms",
                                        "/v2/tasks?group=family:web&status=PENDING&wait=500ms",
                                        "/v2/tasks/absent?wait=500ms"};
    char index[256];
    struct poll_job jobs[POLLS];
    fixture_start(&f, NULL);
    fill();
    struct http h = http_get(&f, "/v2/tasks");
    http_header(&h, "Blox-Index", index);
    http_free(&h);
    for (size_t i = 0; i < POLLS; i++)
        poll_start(&jobs[i], paths[i], index);
    usleep(100000);
    put_task('x', 'a', "family:web", "STOPPED", 2);
    fixture_delete(&f, RECORD_TASK, "arn:aws:ecs:us-east-1:111122223333:task/prod/x", 2);
    for (size_t i = 0; i < POLLS; i++)
        poll_end(&jobs[i], 304, index);
    /* Asked again with the old index, what is not of interest still is not. */
    for (size_t i = 0; i < POLLS; i++)
        poll_start(&jobs[i], paths[i], index);
    for (size_t i = 0; i < POLLS; i++)
        poll_end(&jobs[i], 304, index);
    /* What was in a list and is not any more is news to it, also if it went away altogether. */
    poll_start(&jobs[0], "/v2/tasks?group=family:web&status=RUNNING&wait=30s", index);
    poll_end(&jobs[0], 200, NULL);
    poll_start(&jobs[0], "/v2/tasks?filter=" M5 "&wait=30s", index);
    poll_end(&jobs[0], 200, NULL);
    poll_start(&jobs[0], "/v2/tasks/x?wait=30s", index);
    poll_end(&jobs[0], 404, NULL);
    for (size_t i = 0; i < 3; i++) {
        char path[512];
        int until = (int)(strstr(paths[i], "500ms") - paths[i]);
        snprintf(path, sizeof path, "%.*s30s", until, paths[i]);
        poll_start(&jobs[i], path, index);
    }
    usleep(100000);
    put_task('z', 'c', "family:log", "STOPPED", 2);
    for (size_t i = 0; i < 3; i++)
        poll_end(&jobs[i], 200, NULL);
    fixture_stop(&f);
}
