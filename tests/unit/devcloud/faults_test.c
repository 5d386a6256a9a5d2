/* SPDX-License-Identifier: Apache-2.0
 * Faults on demand, the control API and the record of requests. */
#include "tests/unit/devcloud/client.h"

static size_t task_count(const struct client *c)
{
    json_t *truth = control(c, "truth", "{}");
    size_t n = json_array_size(json_arr(truth, "tasks"));

    json_decref(truth);
    return n;
}

static struct reply start(const struct client *c)
{
    return ecs(c, "StartTask", "{\"containerInstances\":[\"%s\"],\"taskDefinition\":\"daemon:1\"}",
               instance_of(c, 0, "arn"));
}

Test(faults, effect_and_answer_are_separate)
{
    static const struct {
        const char *fault;
        int status; /* 0: no answer */
        bool complete;
        size_t tasks; /* that exist afterwards */
    } CASES[] = {
        {"{\"mode\":\"reset\"}", 0, false, 0},
        {"{\"mode\":\"lose-reply\"}", 0, false, 1},
        {"{\"mode\":\"lose-reply\",\"ms\":30}", 0, false, 1},
        {"{\"mode\":\"error\",\"status\":500,\"code\":\"ServerException\"}", 500, true, 0},
        {"{\"mode\":\"error-after\",\"status\":503,\"code\":\"ServerException\"}", 503, true, 1},
        {"{\"mode\":\"throttle\"}", 400, true, 0},
        {"{\"mode\":\"truncate\"}", 200, false, 1},
        {"{\"mode\":\"delay\",\"ms\":30}", 200, true, 1},
        {"{\"mode\":\"delay-reply\",\"ms\":30}", 200, true, 1},
        {"{\"mode\":\"partial\",\"reason\":\"RESOURCE:CPU\"}", 200, true, 0},
        {"{\"mode\":\"reset\",\"operation\":\"StopTask\"}", 200, true, 1},
        {"{\"mode\":\"reset\",\"service\":\"sqs\"}", 200, true, 1},
        {"{\"mode\":\"reset\",\"count\":0}", 200, true, 1},
        {"{\"mode\":\"reset\",\"probability\":0}", 200, true, 1},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct client c = client_start(1, NULL);
        CONTROL(&c, "fault", "%s", CASES[i].fault);
        struct reply r = start(&c);
        cr_expect_eq(r.status, CASES[i].status, "%s: %s", CASES[i].fault, r.text);
        cr_expect_eq(r.complete, CASES[i].complete, "%s", CASES[i].fault);
        cr_expect_eq(task_count(&c), CASES[i].tasks, "%s", CASES[i].fault);
        reply_free(&r);
        client_stop(&c);
    }
}

Test(faults, end_after_their_count_or_when_cleared)
{
    struct client c = client_start(1, NULL);
    int statuses[4];

    CONTROL(&c, "fault", "{\"mode\":\"error\",\"operation\":\"ListTasks\",\"count\":2}");
    for (int i = 0; i < 4; i++) {
        struct reply r = ecs(&c, "ListTasks", "{}");
        statuses[i] = r.status;
        reply_free(&r);
        if (i == 2) {
            CONTROL(&c, "fault", "{\"mode\":\"error\"}");
            CONTROL(&c, "clear-faults", "{}");
        }
    }
    cr_expect_eq(statuses[0], 500);
    cr_expect_eq(statuses[1], 500);
    cr_expect_eq(statuses[2], 200);
    cr_expect_eq(statuses[3], 200);
    client_stop(&c);
}

Test(control, answers_over_http_and_refuses_nonsense)
{
    struct client c = client_start(1, NULL);
    static const struct {
        const char *method, *path, *body;
        int status;
    } CASES[] = {
        {"GET", "/_control/truth", NULL, 200},
        {"GET", "/_control/stats", NULL, 200},
        {"GET", "/_control/settings", NULL, 200},
        {"POST", "/_control/add-instances", "{\"count\":2}", 200},
        {"POST", "/_control/add-instances", "{\"count\":0}", 400},
        {"POST", "/_control/add-instances", "{\"type\":\"none\"}", 400},
        {"POST", "/_control/set", "{\"event_loss\":-1}", 400},
        {"POST", "/_control/set", "{\"event_los\":1}", 400},
        {"POST", "/_control/set", "{\"step_ms\":[5,1]}", 400},
        {"POST", "/_control/set", "[]", 400},
        {"POST", "/_control/set", "{", 400},
        {"POST", "/_control/drain", "{}", 400},
        {"POST", "/_control/drain", "{\"instance\":\"none\"}", 404},
        {"POST", "/_control/drain", "{\"instance\":7}", 404},
        {"POST", "/_control/kill-task", "{}", 400},
        {"POST", "/_control/fault", "{\"mode\":\"none\"}", 400},
        {"POST", "/_control/nothing", "{}", 404},
        {"GET", "/", NULL, 404},
        {"GET", "/_ecs-agent/none/v1/tasks", NULL, 0},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct reply r = plain(&c, CASES[i].method, CASES[i].path, NULL, CASES[i].body);
        cr_expect_eq(r.status, CASES[i].status, "%s %s: %s", CASES[i].path,
                     CASES[i].body == NULL ? "" : CASES[i].body, r.text);
        reply_free(&r);
    }
    client_stop(&c);
}

Test(control, spot_notice_shows_in_metadata_and_queue)
{
    struct client c = client_start(1, NULL);
    char path[160], header[160];
    const char *id = instance_of(&c, 0, "id");

    snprintf(path, sizeof(path), "/_imds/%s/latest/api/token", id);
    struct reply r = plain(&c, "PUT", path, "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n", "");
    snprintf(header, sizeof(header), "X-aws-ec2-metadata-token: %s\r\n",
             strstr(r.text, "\r\n\r\n") + 4);
    reply_free(&r);
    snprintf(path, sizeof(path), "/_imds/%s/latest/meta-data/spot/instance-action", id);
    r = plain(&c, "GET", path, header, NULL);
    cr_expect_eq(r.status, 404);
    reply_free(&r);
    CONTROL(&c, "spot-notice", "{\"instance\":\"%s\"}", id);
    r = plain(&c, "GET", path, header, NULL);
    cr_expect_eq(r.status, 200);
    cr_expect_str_eq(json_str_or(r.json, "action", ""), "terminate");
    reply_free(&r);
    cr_expect_eq(stat_of(&c, "queue_ready"), 2, "registration and notice");
    client_stop(&c);
}

Test(record, requests_are_kept_as_they_came)
{
    struct client c = client_start(1, NULL);
    struct reply r = ecs(&c, "ListTasks", "{\"family\":\"daemon\"}");

    reply_free(&r);
    c.bad_signature = true;
    r = ecs(&c, "ListTasks", "{}");
    reply_free(&r);
    r = plain(&c, "GET", "/_control/requests?after=0", NULL, NULL);
    char *line = strstr(r.text, "\r\n\r\n") + 4;
    char *end = strchr(line, '\n');
    cr_assert_not_null(end);
    json_t *first = json_parse(line, (size_t)(end - line), NULL);
    cr_assert_not_null(first, "%s", line);
    cr_expect_str_eq(json_str_or(first, "body", ""), "{\"family\":\"daemon\"}");
    cr_expect_str_eq(json_str_or(first, "access_key", ""), c.access_key);
    cr_expect(json_bool_or(first, "accepted", false));
    json_t *second = json_parse(end + 1, strlen(end + 1), NULL);
    cr_assert_not_null(second);
    cr_expect_not(json_bool_or(second, "accepted", true));
    cr_expect_str_eq(json_str_or(second, "error", ""), "InvalidSignatureException");
    json_decref(first);
    json_decref(second);
    reply_free(&r);
    client_stop(&c);
}

Test(start, a_used_port_is_refused)
{
    struct client c = client_start(0, NULL);
    struct devcloud_options options;
    struct devcloud *second;
    struct errmsg e = {0};

    devcloud_options_init(&options);
    options.port = devcloud_port(c.cloud);
    cr_assert_neq(devcloud_start(&second, &options, &e), 0);
    cr_expect_not_null(strstr(e.text, "in use"), "%s", e.text);
    client_stop(&c);
}
