/* SPDX-License-Identifier: Apache-2.0
 * What happens to tasks and instances, and the events that tell it. */
#include "tests/unit/devcloud/client.h"

struct seen {
    json_t *by_arn;  /* arn -> highest version seen, to which the detail belongs */
    json_t *details; /* arn -> detail of that version */
    size_t count, repeated;
    json_t *versions; /* "arn version" -> true */
};

/* Receives and deletes until the queue is empty. */
static struct seen drain_queue(const struct client *c)
{
    struct seen s = {json_object(), json_object(), 0, 0, json_object()};
    const char *url = json_str(c->ready, "queue_url");

    for (;;) {
        struct reply r = sqs(c, "ReceiveMessage",
                             "{\"QueueUrl\":\"%s\",\"MaxNumberOfMessages\":10,"
                             "\"WaitTimeSeconds\":1}",
                             url);
        const json_t *one;
        size_t i;
        cr_assert_eq(r.status, 200, "%s", r.text);
        if (json_array_size(json_arr(r.json, "Messages")) == 0) {
            reply_free(&r);
            return s;
        }
        json_array_foreach(json_arr(r.json, "Messages"), i, one)
        {
            const char *text = json_str(one, "Body");
            json_t *event = json_parse(text, strlen(text), NULL);
            json_t *detail = json_obj(event, "detail");
            const char *arn = json_string_value(json_array_get(json_arr(event, "resources"), 0));
            int64_t version = json_int_or(detail, "version", 0);
            char key[400];
            s.count++;
            snprintf(key, sizeof(key), "%s %d", arn, (int)version);
            if (json_object_get(s.versions, key) != NULL)
                s.repeated++;
            json_object_set_new(s.versions, key, json_true());
            if (version > json_int_or(s.by_arn, arn, 0)) {
                json_set_int(s.by_arn, arn, version);
                json_object_set(s.details, arn, detail);
            }
            json_decref(event);
            struct reply gone =
                sqs(c, "DeleteMessage", "{\"QueueUrl\":\"%s\",\"ReceiptHandle\":\"%s\"}", url,
                    json_str(one, "ReceiptHandle"));
            cr_expect_eq(gone.status, 200);
            reply_free(&gone);
        }
        reply_free(&r);
    }
}

static void seen_free(struct seen *s)
{
    json_decref(s->by_arn);
    json_decref(s->details);
    json_decref(s->versions);
}

/* Every version from 1 to that of the truth was told, and the last tells what is true. */
static void expect_all_told(const struct client *c, const struct seen *s)
{
    json_t *truth = control(c, "truth", "{}");
    static const char *const KINDS[][2] = {{"instances", "containerInstanceArn"},
                                           {"tasks", "taskArn"}};

    for (size_t k = 0; k < 2; k++) {
        const json_t *one;
        size_t i;
        json_array_foreach(json_arr(truth, KINDS[k][0]), i, one)
        {
            const char *arn = json_str(one, KINDS[k][1]);
            int64_t version = json_int_or(one, "version", 0);
            const json_t *detail = json_obj(s->details, arn);
            cr_expect_eq(json_int_or(s->by_arn, arn, 0), version, "%s", arn);
            for (int64_t v = 1; v <= version; v++) {
                char key[400];
                snprintf(key, sizeof(key), "%s %d", arn, (int)v);
                cr_expect_not_null(json_object_get(s->versions, key), "%s was not told", key);
            }
            static const char *const SAME[] = {
                "status",   "lastStatus",   "desiredStatus", "runningTasksCount", "agentConnected",
                "stopCode", "connectivity", "stoppedReason", "attributes"};
            for (size_t j = 0; j < sizeof(SAME) / sizeof(SAME[0]); j++) {
                const json_t *a = json_object_get(one, SAME[j]);
                const json_t *b = json_object_get(detail, SAME[j]);
                cr_expect((a == NULL && b == NULL) || json_equal(a, b), "%s of %s", SAME[j], arn);
            }
        }
    }
    json_decref(truth);
}

static void start_on_all(const struct client *c, const char *definition)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_arr(c->ready, "instances"), i, one)
    {
        struct reply r = ecs(c, "StartTask",
                             "{\"containerInstances\":[\"%s\"],\"taskDefinition\":\"%s\","
                             "\"startedBy\":\"dep\",\"group\":\"daemon:d\"}",
                             json_str(one, "arn"), definition);
        cr_assert_eq(json_array_size(json_arr(r.json, "tasks")), 1, "%s", r.text);
        reply_free(&r);
    }
}

Test(life, every_version_is_told_once)
{
    struct client c = client_start(3, NULL);

    start_on_all(&c, "daemon:1");
    wait_tasks(&c, "RUNNING", 3);
    json_t *truth = control(&c, "truth", "{}");
    const json_t *task = json_array_get(json_arr(truth, "tasks"), 0);
    struct reply r =
        ecs(&c, "StopTask", "{\"task\":\"%s\",\"reason\":\"because\"}", json_str(task, "taskArn"));
    cr_expect_eq(r.status, 200);
    reply_free(&r);
    json_decref(truth);
    CONTROL(&c, "kill-task", "{\"instance\":\"%s\"}", instance_of(&c, 1, "id"));
    wait_tasks(&c, "STOPPED", 2);
    truth = control(&c, "truth", "{}");
    task = json_array_get(json_arr(truth, "tasks"), 0);
    cr_expect_str_eq(json_str_or(task, "stoppedReason", ""), "because");
    cr_expect_str_eq(json_str_or(task, "stopCode", ""), "UserInitiated");
    task = json_array_get(json_arr(truth, "tasks"), 1);
    cr_expect_str_eq(json_str_or(task, "stopCode", ""), "EssentialContainerExited");
    cr_expect_eq(json_int_or(json_array_get(json_arr(task, "containers"), 0), "exitCode", -1), 137);
    json_decref(truth);
    struct seen s = drain_queue(&c);
    cr_expect_eq(s.repeated, 0);
    expect_all_told(&c, &s);
    seen_free(&s);
    client_stop(&c);
}

Test(life, duplicates_and_losses_are_made_as_set)
{
    struct client c = client_start(40, "{\"event_duplicate\":1,\"event_delay_ms\":[0,30]}");
    struct seen s = drain_queue(&c);

    cr_expect_eq(s.count, 80);
    cr_expect_eq(s.repeated, 40);
    seen_free(&s);
    CONTROL(&c, "set", "{\"event_loss\":1}");
    CONTROL(&c, "storm", "{\"count\":10}");
    s = drain_queue(&c);
    cr_expect_eq(s.count, 0);
    seen_free(&s);
    client_stop(&c);
}

Test(life, resources_are_taken_and_given_back)
{
    struct client c = client_start(1, NULL);
    json_t *before = control(&c, "truth", "{}");
    start_on_all(&c, "ports:1");
    json_t *during = control(&c, "truth", "{}");
    const json_t *in0 = json_array_get(json_arr(before, "instances"), 0);
    const json_t *in1 = json_array_get(json_arr(during, "instances"), 0);

    cr_expect_not(json_equal(json_object_get(in0, "remainingResources"),
                             json_object_get(in1, "remainingResources")));
    cr_expect(json_equal(json_object_get(in0, "registeredResources"),
                         json_object_get(in1, "registeredResources")));
    wait_tasks(&c, "RUNNING", 1);
    CONTROL(&c, "kill-task", "{\"group\":\"daemon:d\"}");
    wait_tasks(&c, "STOPPED", 1);
    json_t *after = control(&c, "truth", "{}");
    const json_t *in2 = json_array_get(json_arr(after, "instances"), 0);
    cr_expect(json_equal(json_object_get(in0, "remainingResources"),
                         json_object_get(in2, "remainingResources")));
    json_decref(before);
    json_decref(during);
    json_decref(after);
    client_stop(&c);
}

static bool is_live(const struct client *c, size_t i)
{
    json_t *truth = control(c, "truth", "{}");
    bool live = json_bool_or(json_array_get(json_arr(truth, "tasks"), i), "live", false);

    json_decref(truth);
    return live;
}

static const char *task_text(const struct client *c, size_t i, const char *key, char out[128])
{
    json_t *truth = control(c, "truth", "{}");

    snprintf(out, 128, "%s", json_str_or(json_array_get(json_arr(truth, "tasks"), i), key, ""));
    json_decref(truth);
    return out;
}

Test(life, ghost_of_a_disconnected_instance_stays)
{
    struct client c = client_start(2, NULL);
    char text[128];

    start_on_all(&c, "daemon:1");
    wait_tasks(&c, "RUNNING", 2);
    CONTROL(&c, "disconnect", "{\"instance\":\"%s\"}", instance_of(&c, 0, "id"));
    CONTROL(&c, "terminate", "{\"all\":true}");
    cr_expect_not(is_live(&c, 0));
    cr_expect_not(is_live(&c, 1));
    cr_expect_str_eq(task_text(&c, 0, "lastStatus", text), "RUNNING");
    cr_expect_str_eq(task_text(&c, 1, "lastStatus", text), "STOPPED");
    cr_expect_not_null(strstr(task_text(&c, 1, "stoppedReason", text), "terminated"));
    struct reply r = ecs(&c, "ListContainerInstances", "{}");
    cr_expect_eq(json_array_size(json_arr(r.json, "containerInstanceArns")), 1, "%s", r.text);
    reply_free(&r);
    char path[128];
    snprintf(path, sizeof(path), "/_ecs-agent/%s/v1/metadata", instance_of(&c, 0, "id"));
    r = plain(&c, "GET", path, NULL, NULL);
    cr_expect_eq(r.status, 0, "the host is gone");
    reply_free(&r);
    client_stop(&c);
}

Test(life, disconnected_agent_gets_no_orders_and_reports_later)
{
    struct client c = client_start(1, NULL);
    char text[128];

    start_on_all(&c, "daemon:1");
    wait_tasks(&c, "RUNNING", 1);
    CONTROL(&c, "disconnect", "{\"all\":true}");
    json_t *truth = control(&c, "truth", "{}");
    struct reply r = ecs(&c, "StopTask", "{\"task\":\"%s\"}",
                         json_str(json_array_get(json_arr(truth, "tasks"), 0), "taskArn"));
    cr_expect_eq(r.status, 200);
    reply_free(&r);
    json_decref(truth);
    usleep(50000);
    cr_expect_str_eq(task_text(&c, 0, "desiredStatus", text), "STOPPED");
    cr_expect_str_eq(task_text(&c, 0, "lastStatus", text), "RUNNING");
    cr_expect(is_live(&c, 0));
    CONTROL(&c, "connect", "{\"all\":true}");
    wait_tasks(&c, "STOPPED", 1);
    cr_expect_not(is_live(&c, 0));
    client_stop(&c);
}

Test(life, death_while_disconnected_is_reported_on_return)
{
    struct client c = client_start(1, NULL);
    char text[128];

    start_on_all(&c, "daemon:1");
    wait_tasks(&c, "RUNNING", 1);
    CONTROL(&c, "disconnect", "{\"all\":true}");
    CONTROL(&c, "kill-task", "{\"group\":\"daemon:d\"}");
    for (int i = 0; i < 1000 && is_live(&c, 0); i++)
        usleep(5000);
    cr_expect_not(is_live(&c, 0));
    cr_expect_str_eq(task_text(&c, 0, "lastStatus", text), "RUNNING");
    cr_expect_str_eq(task_text(&c, 0, "stopCode", text), "");
    CONTROL(&c, "connect", "{\"all\":true}");
    wait_tasks(&c, "STOPPED", 1);
    cr_expect_str_eq(task_text(&c, 0, "stopCode", text), "EssentialContainerExited");
    client_stop(&c);
}

Test(life, ecs_agent_knows_before_ecs)
{
    struct client c = client_start(1, "{\"step_ms\":1,\"agent_lag_ms\":60000,\"throttle\":0}");
    char path[128], text[128];
    struct reply r;

    start_on_all(&c, "daemon:2");
    snprintf(path, sizeof(path), "/_ecs-agent/%s/v1/tasks", instance_of(&c, 0, "id"));
    for (int i = 0; i < 1000; i++) {
        r = plain(&c, "GET", path, NULL, NULL);
        const json_t *task = json_array_get(json_arr(r.json, "Tasks"), 0);
        bool running = strcmp(json_str_or(task, "KnownStatus", ""), "RUNNING") == 0;
        if (running) {
            cr_expect_str_eq(json_str_or(task, "Family", ""), "daemon");
            cr_expect_str_eq(json_str_or(task, "Version", ""), "2");
        }
        reply_free(&r);
        if (running)
            break;
        usleep(5000);
        cr_assert_lt(i, 999, "never RUNNING on the host");
    }
    cr_expect_str_eq(task_text(&c, 0, "lastStatus", text), "PROVISIONING");
    client_stop(&c);
}

Test(life, stopped_tasks_are_forgotten)
{
    struct client c = client_start(1, NULL);

    CONTROL(&c, "set", "{\"stopped_retention_ms\":300}");
    start_on_all(&c, "daemon:1");
    wait_tasks(&c, "RUNNING", 1);
    json_t *truth = control(&c, "truth", "{}");
    const char *arn = json_str(json_array_get(json_arr(truth, "tasks"), 0), "taskArn");
    CONTROL(&c, "kill-task", "{\"task\":\"%s\"}", arn);
    wait_tasks(&c, "STOPPED", 1);
    wait_tasks(&c, "STOPPED", 0);
    struct reply r = ecs(&c, "DescribeTasks", "{\"tasks\":[\"%s\"]}", arn);
    cr_expect_str_eq(json_str_or(json_array_get(json_arr(r.json, "failures"), 0), "reason", ""),
                     "MISSING");
    reply_free(&r);
    json_decref(truth);
    client_stop(&c);
}

Test(life, definitions_that_misbehave)
{
    struct client c = client_start(1, NULL);
    char text[128];

    CONTROL(&c, "misbehave",
            "{\"taskDefinition\":\"daemon:1\",\"crash_after_ms\":5,"
            "\"exit_code\":3}");
    CONTROL(&c, "misbehave",
            "{\"taskDefinition\":\"daemon:2\",\"start_error\":"
            "\"CannotPullContainerError: not found\"}");
    start_on_all(&c, "daemon:1");
    start_on_all(&c, "daemon:2");
    wait_tasks(&c, "STOPPED", 2);
    cr_expect_str_eq(task_text(&c, 0, "stopCode", text), "EssentialContainerExited");
    cr_expect_str_eq(task_text(&c, 1, "stopCode", text), "TaskFailedToStart");
    client_stop(&c);
}

Test(life, reads_may_lag)
{
    struct client c = client_start(1, NULL);

    CONTROL(&c, "set", "{\"read_lag_ms\":60000}");
    start_on_all(&c, "daemon:1");
    struct reply r = ecs(&c, "ListTasks", "{\"startedBy\":\"dep\"}");
    cr_expect_eq(json_array_size(json_arr(r.json, "taskArns")), 0, "not visible yet");
    reply_free(&r);
    r = ecs(&c, "DescribeContainerInstances", "{\"containerInstances\":[\"%s\"]}",
            instance_of(&c, 0, "arn"));
    const json_t *one = json_array_get(json_arr(r.json, "containerInstances"), 0);
    cr_expect_eq(json_int_or(one, "version", 0), 1, "%s", r.text);
    reply_free(&r);
    client_stop(&c);
}

/* Remembers every (arn, version) of the truth and compares it with what was there before. */
static void compare_with_before(const struct client *c, json_t *known)
{
    static const char *const KINDS[][2] = {{"instances", "containerInstanceArn"},
                                           {"tasks", "taskArn"}};
    json_t *truth = control(c, "truth", "{}");

    for (size_t k = 0; k < 2; k++) {
        json_t *one;
        size_t i;
        json_array_foreach(json_arr(truth, KINDS[k][0]), i, one)
        {
            char key[400];
            json_object_del(one, "live");
            json_object_del(one, "localStatus");
            json_object_del(one, "hostGone");
            snprintf(key, sizeof(key), "%s %d", json_str(one, KINDS[k][1]),
                     (int)json_int_or(one, "version", 0));
            const json_t *before = json_object_get(known, key);
            if (before == NULL)
                json_object_set(known, key, one);
            else
                cr_expect(json_equal(before, one), "%s", key);
        }
    }
    json_decref(truth);
}

Test(life, a_version_is_one_state)
{
    struct client c =
        client_start(4, "{\"step_ms\":[1,20],\"stop_step_ms\":[1,20],\"agent_lag_ms\":15,"
                        "\"throttle\":0}");
    json_t *known = json_object();

    for (int i = 0; i < 300; i++) {
        if (i == 10)
            start_on_all(&c, "ports:1");
        if (i == 80)
            CONTROL(&c, "kill-task", "{\"instance\":\"%s\"}", instance_of(&c, 0, "id"));
        if (i == 100)
            CONTROL(&c, "disconnect", "{\"instance\":\"%s\"}", instance_of(&c, 1, "id"));
        if (i == 120)
            CONTROL(&c, "connect", "{\"instance\":\"%s\"}", instance_of(&c, 1, "id"));
        if (i == 140)
            CONTROL(&c, "terminate", "{\"instance\":\"%s\"}", instance_of(&c, 2, "id"));
        if (i == 160)
            CONTROL(&c, "deregister", "{\"instance\":\"%s\"}", instance_of(&c, 3, "id"));
        compare_with_before(&c, known);
        usleep(1000);
    }
    cr_expect_gt(json_object_size(known), 12);
    json_decref(known);
    struct seen s = drain_queue(&c);
    expect_all_told(&c, &s);
    seen_free(&s);
    client_stop(&c);
}
