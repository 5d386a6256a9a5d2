/* SPDX-License-Identifier: Apache-2.0
 * Writes: what reaches the loop, how its answers are told, limits and stops. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/json.h"
#include "agent/base/limits.h"
#include "tests/unit/api/fixture.h"

#define TOKEN "11111111-2222-3333-4444-555555555555"

static struct fixture f;
static int next_err;
static const char *next_detail, *next_field, *next_body, *next_leader;

static void answer(struct fixture *fx, struct api_write *w)
{
    json_t *body = next_body == NULL ? NULL : json_parse(next_body, strlen(next_body), NULL);
    (void)fx;
    api_write_done(w, next_err, next_detail, next_field, body, next_leader);
    json_decref(body);
}

#define ENV_BODY                                                                                   \
    "{\"name\":\"web\",\"cluster\":\"c\",\"taskDefinition\":\"t:1\",\"token\":\"" TOKEN            \
    "\",\"health\":\"healthy\",\"status\":\"active\"}"
#define DEP_BODY                                                                                   \
    "{\"id\":\"d1\",\"environment\":\"web\",\"status\":\"pending\",\"taskDefinition\":\"t:1\","    \
    "\"failedInstances\":[]}"
#define CREATE_V1                                                                                  \
    "{\"name\":\"web\",\"instanceGroup\":{\"cluster\":\"prod\"},\"taskDefinition\":\"t:1\"}"

#define COMMAND_V1                                                                                 \
    "{\"op\":\"environment.create\",\"name\":\"web\",\"cluster\":\"prod\",\"taskDefinition\":"     \
    "\"t:1\"}"

#define NOTHING_VALID                                                                              \
    "validation failure list:\ninstanceGroup in body is required\nname in body is required\n"      \
    "taskDefinition in body is required\n"

static const struct {
    const char *method, *path, *headers, *body;
    const char *result;
    const char *command; /* what the loop gets; NULL: nothing */
    long status;
    const char *words;    /* in the answer's body */
    const char *location; /* or NULL */
} round_trips[] = {
    {"POST", "/v1/environments", NULL, CREATE_V1, ENV_BODY, COMMAND_V1, 200,
     "\"deploymentToken\":\"" TOKEN "\"", NULL},
    /* Names of members in any case, the last one counts. */
    {"POST", "/v1/environments", NULL,
     "{\"NAME\":\"x\",\"name\":\"web\",\"InstanceGroup\":{\"Cluster\":\"prod\",\"cluster\":7},"
     "\"taskdefinition\":\"t:1\",\"more\":null}",
     ENV_BODY, COMMAND_V1, 200, "\"deploymentToken\":\"" TOKEN "\"", NULL},
    {"POST", "/v1/environments/web/deployments?deploymentToken=" TOKEN, NULL, NULL, DEP_BODY,
     "{\"op\":\"deployment.create\",\"environment\":\"web\",\"token\":\"" TOKEN "\"}", 200,
     "\"environmentName\":\"web\"", NULL},
    {"POST", "/v2/agent/propagate", NULL, "{\"count\":3}", "{\"all\":true}",
     "{\"count\":3,\"op\":\"agent.propagate\"}", 200, "\"all\":true", NULL},
    {"GET", "/v2/keys", NULL, NULL, "{\"keys\":[]}", "{\"op\":\"keys.list\"}", 200, "\"keys\":[]",
     NULL},
    {"POST", "/v2/keys", NULL, "{\"key\":\"abc\"}", "{\"all\":true}",
     "{\"key\":\"abc\",\"op\":\"keys.install\"}", 200, "\"all\":true", NULL},
    {"POST", "/v2/keys/0123456789abcdef/use", NULL, NULL, "{\"all\":true}",
     "{\"op\":\"keys.use\",\"id\":\"0123456789abcdef\"}", 200, "\"all\":true", NULL},
    {"DELETE", "/v2/keys/0123456789abcdef", NULL, NULL, "{\"all\":true}",
     "{\"op\":\"keys.remove\",\"id\":\"0123456789abcdef\"}", 200, "\"all\":true", NULL},
    {"DELETE", "/v2/keys/0123456789ABCDEF", NULL, NULL, NULL, NULL, 404, "16 hexadecimal", NULL},
    {"DELETE", "/v1/environments/web", NULL, NULL, NULL,
     "{\"op\":\"environment.delete\",\"name\":\"web\",\"stopTasks\":false}", 200, "", NULL},
    {"POST", "/v2/environments", "Idempotency-Key: k1",
     "{\"name\":\"web\",\"taskDefinition\":\"t:1\",\"expression\":\"zone == a\"}", ENV_BODY,
     "{\"name\":\"web\",\"taskDefinition\":\"t:1\",\"expression\":\"zone == a\",\"op\":"
     "\"environment.create\",\"cluster\":\"prod\",\"key\":\"k1\"}",
     201, "\"name\":\"web\"", "/v2/environments/web"},
    {"PUT", "/v2/environments/web", "If-Match: \"7\"", "{\"taskDefinition\":\"t:2\"}", ENV_BODY,
     "{\"taskDefinition\":\"t:2\",\"op\":\"environment.update\",\"name\":\"web\",\"version\":"
     "7}",
     200, "\"name\":\"web\"", NULL},
    {"PUT", "/v2/environments/web", "Idempotency-Key: k2\nIf-Match: \"7\"",
     "{\"taskDefinition\":\"t:2\"}", ENV_BODY,
     "{\"taskDefinition\":\"t:2\",\"op\":\"environment.update\",\"name\":\"web\",\"version\":7,"
     "\"key\":\"k2\"}",
     200, "\"name\":\"web\"", NULL},
    {"DELETE", "/v2/environments/web", "Idempotency-Key: k3", NULL, NULL,
     "{\"op\":\"environment.delete\",\"name\":\"web\",\"stopTasks\":false,\"key\":\"k3\"}", 200,
     "{}", NULL},
    {"DELETE", "/v2/environments/web?stop_tasks=true", NULL, NULL,
     "{\"name\":\"web\",\"status\":\"deleting\"}",
     "{\"op\":\"environment.delete\",\"name\":\"web\",\"stopTasks\":true}", 202, "deleting",
     "/v2/environments/web"},
    {"DELETE", "/v2/environments/web", NULL, NULL, NULL,
     "{\"op\":\"environment.delete\",\"name\":\"web\",\"stopTasks\":false}", 200, "{}", NULL},
    {"POST", "/v2/environments/web/deployments", NULL, NULL, DEP_BODY,
     "{\"op\":\"deployment.create\",\"environment\":\"web\"}", 202, "\"id\":\"d1\"",
     "/v2/environments/web/deployments/d1"},
    {"POST", "/v2/environments/web/deployments", NULL, "{\"taskDefinition\":\"t:3\"}", DEP_BODY,
     "{\"taskDefinition\":\"t:3\",\"op\":\"deployment.create\",\"environment\":\"web\"}", 202,
     "\"id\":\"d1\"", "/v2/environments/web/deployments/d1"},
    /* Refused before the loop hears of it. */
    {"POST", "/v2/environments", NULL, "{\"nmae\":\"web\"}", NULL, NULL, 400,
     "did you mean \\\"name\\\"?", NULL},
    {"POST", "/v2/environments", NULL, "{\"name\":1,}", NULL, NULL, 400, "JSON line 1", NULL},
    {"POST", "/v2/environments", "Content-Type: application/json", "[]", NULL, NULL, 400,
     "one JSON object", NULL},
    {"POST", "/v2/environments", NULL, NULL, NULL, NULL, 400, "no body", NULL},
    {"POST", "/v2/environments", "Content-Type: text/plain", "{\"name\":\"web\"}", NULL, NULL, 415,
     "application/json", NULL},
    /* Blox looked at no content type, and its own commands send that of a form; browsers say whose
     * form it is. */
    {"POST", "/v1/environments", "Content-Type: application/x-www-form-urlencoded", CREATE_V1,
     ENV_BODY, COMMAND_V1, 200, "\"deploymentToken\":\"" TOKEN "\"", NULL},
    {"POST", "/v1/environments",
     "Content-Type: application/x-www-form-urlencoded\nOrigin: http://elsewhere.example", CREATE_V1,
     NULL, NULL, 403, "other sites", NULL},
    {"POST", "/v1/environments", "Content-Type: text/plain\nOrigin: null", CREATE_V1, NULL, NULL,
     403, "other sites", NULL},
    {"POST", "/v1/environments", "Content-Type: text/plain\nSec-Fetch-Site: cross-site", CREATE_V1,
     NULL, NULL, 403, "other sites", NULL},
    {"POST", "/v2/environments", "Idempotency-Key: a b", "{\"name\":\"web\"}", NULL, NULL, 400,
     "\"pointer\":\"Idempotency-Key\"", NULL},
    {"PUT", "/v2/environments/web", "Idempotency-Key: a b", "{\"taskDefinition\":\"t:2\"}", NULL,
     NULL, 400, "\"pointer\":\"Idempotency-Key\"", NULL},
    {"DELETE", "/v2/environments/web", "Idempotency-Key: a b", NULL, NULL, NULL, 400,
     "\"pointer\":\"Idempotency-Key\"", NULL},
    {"PUT", "/v2/environments/web", "If-Match: x", "{\"taskDefinition\":\"t:2\"}", NULL, NULL, 400,
     "\"pointer\":\"If-Match\"", NULL},
    {"PUT", "/v2/environments/web", NULL, "{\"cluster\":\"other\"}", NULL, NULL, 400, "/cluster",
     NULL},
    {"PUT", "/v2/environments/web", NULL, "{\"name\":\"other\"}", NULL, NULL, 400, "/name", NULL},
    {"DELETE", "/v2/environments/web?stop_tasks=yes", NULL, NULL, NULL, NULL, 400, "true or false",
     NULL},
    /* Blox takes malformed JSON for an empty body. */
    {"POST", "/v1/environments", NULL, "{broken", NULL, NULL, 400, NOTHING_VALID, NULL},
    {"POST", "/v1/environments", NULL, NULL, NULL, NULL, 400, NOTHING_VALID, NULL},
    {"POST", "/v1/environments", "Content-Type: application/json", "[]", NULL, NULL, 400,
     NOTHING_VALID, NULL},
    {"POST", "/v1/environments", NULL,
     "{\"name\":\"a.b\",\"instanceGroup\":{\"cluster\":\"prod\"},\"taskDefinition\":\"t\"}", NULL,
     NULL, 400, "validation failure list:\nname in body should match '^[a-zA-Z0-9-_]{1,30}$'\n",
     NULL},
    {"POST", "/v1/environments", NULL, "{\"name\":\"a\",\"taskDefinition\":\"t\"}", NULL, NULL, 400,
     "validation failure list:\ninstanceGroup in body is required\n", NULL},
    /* A member of another type is an empty one. */
    {"POST", "/v1/environments", NULL, "{\"name\":7,\"instanceGroup\":null,\"taskDefinition\":[]}",
     NULL, NULL, 400,
     "validation failure list:\ninstanceGroup in body is required\n"
     "name in body should match '^[a-zA-Z0-9-_]{1,30}$'\n",
     NULL},
    /* Blox crashed on this and answered 500. */
    {"POST", "/v1/environments", NULL,
     "{\"name\":\"a\",\"instanceGroup\":{},\"taskDefinition\":\"t\"}", NULL, NULL, 404,
     "Cluster in the instance group is missing\n", NULL},
    /* On these ECS answered it that there is no such thing. */
    {"POST", "/v1/environments", NULL,
     "{\"name\":\"a\",\"instanceGroup\":{\"cluster\":\"a b\"},\"taskDefinition\":\"t\"}", NULL,
     NULL, 404, "Invalid cluster ARN or name\n", NULL},
    {"POST", "/v1/environments", NULL,
     "{\"name\":\"a\",\"instanceGroup\":{\"cluster\":\"c\"},\"taskDefinition\":7}", NULL, NULL, 404,
     "Task definition is missing\n", NULL},
};

Test(write, commands_and_answers)
{
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    next_leader = "i-leader";
    for (size_t i = 0; i < sizeof round_trips / sizeof round_trips[0]; i++) {
        char value[256];
        next_body = round_trips[i].result;
        f.last_command[0] = '\0';
        struct http h = http_do(&f, round_trips[i].method, round_trips[i].path,
                                round_trips[i].headers, round_trips[i].body);
        cr_assert_eq(h.status, round_trips[i].status, "case %zu: %ld %s", i, h.status, h.body);
        cr_assert_str_eq(f.last_command,
                         round_trips[i].command == NULL ? "" : round_trips[i].command,
                         "case %zu: %s", i, f.last_command);
        cr_assert_not_null(strstr(h.body, round_trips[i].words), "case %zu: %s", i, h.body);
        cr_assert_str_eq(http_header(&h, "Location", value),
                         round_trips[i].location == NULL ? "" : round_trips[i].location, "case %zu",
                         i);
        if (round_trips[i].command != NULL)
            cr_assert_str_eq(http_header(&h, "Blox-Forwarded-To", value), "i-leader");
        http_free(&h);
    }
    fixture_stop(&f);
}

Test(write, errors_of_the_loop)
{
    static const struct {
        const char *method, *path, *body;
        int err;
        long status;
        const char *words;
    } cases[] = {
        {"POST", "/v1/environments", CREATE_V1, ERR_EXISTS, 400,
         "Error saving environment web to store: a sentence\n"},
        {"POST", "/v1/environments", CREATE_V1, ERR_BADPARAM, 400, "a sentence\n"},
        {"POST", "/v1/environments", CREATE_V1, ERR_NOTFOUND, 404, "a sentence\n"},
        {"POST", "/v1/environments", CREATE_V1, ERR_INTERNAL, 500, "Server Error\n"},
        {"POST", "/v1/environments", CREATE_V1, ERR_NOLEADER, 503, "a sentence\n"},
        {"POST", "/v1/environments/web/deployments?deploymentToken=" TOKEN, NULL, ERR_CONFLICT, 400,
         "a sentence\n"},
        {"POST", "/v1/environments/web/deployments?deploymentToken=" TOKEN, NULL, ERR_NOTFOUND, 404,
         "Environment with name 'web' does not exist\n"},
        {"DELETE", "/v1/environments/absent", NULL, ERR_NOTFOUND, 200, ""},
        {"DELETE", "/v2/environments/absent", NULL, ERR_NOTFOUND, 404, "not-found"},
        {"POST", "/v2/environments", "{\"name\":\"w\"}", ERR_EXISTS, 409, "problems/conflict"},
        {"POST", "/v2/environments", "{\"name\":\"w\"}", ERR_BADBODY, 400, "\"code\":\"bad-body\""},
        {"POST", "/v2/environments", "{\"name\":\"w\"}", ERR_BADBODY, 400,
         "{\"pointer\":\"/taskDefinition\",\"detail\":\"a sentence\"}"},
        {"POST", "/v2/environments", "{\"name\":\"w\"}", ERR_MISMATCH, 422, "idempotency-mismatch"},
        {"POST", "/v2/environments", "{\"name\":\"w\"}", ERR_NOLEADER, 503, "no-leader"},
        {"PUT", "/v2/environments/w", "{\"taskDefinition\":\"t\"}", ERR_PRECONDITION, 412,
         "precondition-failed"},
        {"POST", "/v2/environments", "{\"name\":\"w\"}", ERR_TIMEOUT, 504, "problems/timeout"},
        {"POST", "/v2/environments", "{\"name\":\"w\"}", -9999, 500, "problems/internal"},
        {"POST", "/v2/raft/recover", "{}", ERR_CONFLICT, 409, "See blox status"},
        {"PUT", "/v2/intent", "{\"kind\":\"blox-intent\",\"format\":1,\"environments\":[]}",
         ERR_CONFLICT, 409, "Nothing of this part"},
    };
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    next_body = NULL;
    next_detail = "a sentence";
    next_field = "taskDefinition";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char value[256];
        next_err = cases[i].err;
        struct http h = http_do(&f, cases[i].method, cases[i].path, NULL, cases[i].body);
        cr_assert_eq(h.status, cases[i].status, "case %zu: %ld %s", i, h.status, h.body);
        cr_assert_not_null(strstr(h.body, cases[i].words), "case %zu: %s", i, h.body);
        if (h.status == 503)
            cr_assert_str_neq(http_header(&h, "Retry-After", value), "", "case %zu", i);
        http_free(&h);
    }
    fixture_stop(&f);
}

Test(write, limits)
{
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    char *big = malloc(API_BODY_MAX + 2);
    memset(big, ' ', API_BODY_MAX + 1);
    big[API_BODY_MAX + 1] = '\0';
    big[0] = '{';
    static const char *const paths[] = {"/v1/environments", "/v2/environments"};
    for (size_t i = 0; i < 2; i++) {
        struct http h = http_do(&f, "POST", paths[i], NULL, big);
        cr_assert_eq(h.status, 413, "%ld", h.status);
        http_free(&h);
    }
    memset(big, 'a', 5000);
    big[0] = '/';
    big[5000] = '\0';
    struct http h = http_get(&f, big);
    cr_assert_eq(h.status, 414, "%ld", h.status);
    http_free(&h);
    /* The longest address there may be still has room for a browser's headers. */
    big[4096] = '\0';
    char headers[1200];
    snprintf(headers, sizeof headers, "Cookie: %01000d", 7);
    h = http_do(&f, "GET", big, headers, NULL);
    cr_assert_eq(h.status, 404, "%ld", h.status);
    http_free(&h);
    free(big);
    fixture_stop(&f);
}

/* -- answers that come late, or never ------------------------------------------------ */

static struct http late;

static void *post(void *arg)
{
    (void)arg;
    late = http_do(&f, "POST", "/v2/environments", NULL, "{\"name\":\"web\"}");
    return NULL;
}

static struct api_write *wait_write(void)
{
    for (int i = 0; i < 10000; i++) {
        pthread_mutex_lock(&f.lock);
        struct api_write *w = f.write_count > 0 ? f.writes[0] : NULL;
        pthread_mutex_unlock(&f.lock);
        if (w != NULL)
            return w;
        usleep(1000);
    }
    cr_assert_fail("no write came");
    return NULL;
}

Test(write, a_stop_answers_and_a_late_answer_is_harmless)
{
    pthread_t thread;
    fixture_start(&f, NULL);
    pthread_create(&thread, NULL, post, NULL);
    struct api_write *w = wait_write();
    fixture_stop_api(&f);
    pthread_join(thread, NULL);
    cr_assert_eq(late.status, 503, "%ld", late.status);
    cr_assert_not_null(strstr(late.body, "stopping"));
    http_free(&late);
    json_t *body = json_object();
    api_write_done(w, 0, NULL, NULL, body, NULL); /* the sanitizer would tell */
    json_decref(body);
    fixture_stop(&f);
}

Test(write, a_client_that_left_is_harmless)
{
    static const char ask[] = "POST /v2/environments HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                              "application/json\r\nContent-Length: 14\r\n\r\n{\"name\":\"web\"}";
    fixture_start(&f, NULL);
    int fd = http_connect(&f);
    cr_assert_eq(write(fd, ask, sizeof ask - 1), (ssize_t)sizeof ask - 1);
    struct api_write *w = wait_write();
    close(fd);
    usleep(50000);
    api_write_done(w, 0, NULL, NULL, NULL, NULL);
    struct http h = http_get(&f, "/health/live");
    cr_assert_eq(h.status, 200);
    http_free(&h);
    fixture_stop(&f);
}

Test(write, answers_say_what_consistency_was_given)
{
    static const struct {
        const char *path, *given;
        long status;
    } cases[] = {{"/v2/environments?consistency=strong", "strong", 200},
                 {"/v2/environments/web?consistency=leader", "strong", 200},
                 {"/v2/environments?consistency=local", "local", 200},
                 {"/v2/agent?consistency=strong", "local", 400},
                 {"/v2/environments?consistency=any", "local", 400}};
    char value[256];
    fixture_start(&f, NULL);
    fixture_set_answer(&f, answer);
    next_err = 0;
    next_body = "{\"items\":[]}";
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http h = http_get(&f, cases[i].path);
        cr_assert_eq(h.status, cases[i].status, "%s: %ld", cases[i].path, h.status);
        cr_assert_str_eq(http_header(&h, "Blox-Consistency", value), cases[i].given, "%s",
                         cases[i].path);
        http_free(&h);
    }
    next_err = ERR_NOLEADER;
    struct http h = http_get(&f, "/v2/environments?consistency=strong");
    cr_assert_str_eq(http_header(&h, "Blox-Consistency", value), "local", "nothing was given");
    http_free(&h);
    next_err = 0;
    fixture_stop(&f);
}
