/* SPDX-License-Identifier: Apache-2.0
 * ECS operations: what they answer and refuse. */
#include "tests/unit/devcloud/client.h"

static const char *reason_of(const struct reply *r, size_t i)
{
    return json_str_or(json_array_get(json_arr(r->json, "failures"), i), "reason", "");
}

static void expect_start(const struct client *c, const char *definition, const char *instance,
                         const char *reason)
{
    struct reply r =
        ecs(c, "StartTask", "{\"containerInstances\":[\"%s\"],\"taskDefinition\":\"%s\"}", instance,
            definition);

    cr_expect_eq(r.status, 200, "%s", r.text);
    cr_expect_eq(json_array_size(json_arr(r.json, "tasks")), reason == NULL ? 1 : 0);
    cr_expect_str_eq(reason_of(&r, 0), reason == NULL ? "" : reason);
    reply_free(&r);
}

static void register_definition(const struct client *c, const char *text)
{
    struct reply r = ecs(c, "RegisterTaskDefinition", "%s", text);

    cr_assert_eq(r.status, 200, "%s", r.text);
    reply_free(&r);
}

Test(ecs, start_task_gives_every_documented_reason)
{
    struct client c = client_start(4, NULL);
    const char *first = instance_of(&c, 0, "arn");

    register_definition(&c,
                        "{\"family\":\"cpu\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":"
                        "\"i\",\"cpu\":4096,\"memory\":8}]}");
    register_definition(&c, "{\"family\":\"memory\",\"containerDefinitions\":[{\"name\":\"a\","
                            "\"image\":\"i\",\"memory\":999999}]}");
    register_definition(&c,
                        "{\"family\":\"udp\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":"
                        "\"i\",\"memory\":8,\"portMappings\":[{\"containerPort\":53,"
                        "\"hostPort\":53,\"protocol\":\"udp\"}]}]}");
    register_definition(&c,
                        "{\"family\":\"gpu\",\"containerDefinitions\":[{\"name\":\"a\",\"image\":"
                        "\"i\",\"memory\":8,\"resourceRequirements\":[{\"type\":\"GPU\","
                        "\"value\":\"1\"}]}]}");
    register_definition(&c, "{\"family\":\"splunk\",\"containerDefinitions\":[{\"name\":\"a\","
                            "\"image\":\"i\",\"memory\":8,\"logConfiguration\":{\"logDriver\":"
                            "\"splunk\"}}]}");
    expect_start(&c, "cpu", first, "RESOURCE:CPU");
    expect_start(&c, "memory", first, "RESOURCE:MEMORY");
    expect_start(&c, "gpu", first, "RESOURCE:GPU");
    expect_start(&c, "splunk", first, "ATTRIBUTE");
    expect_start(&c, "ports:1", first, NULL);
    expect_start(&c, "ports:1", first, "RESOURCE:PORTS");
    expect_start(&c, "udp", first, NULL);
    expect_start(&c, "udp", first, "RESOURCE:PORTS_UDP");
    expect_start(&c, "daemon:1", "arn:aws:ecs:us-east-1:111122223333:container-instance/default/no",
                 "MISSING");
    CONTROL(&c, "disconnect", "{\"instance\":\"%s\"}", instance_of(&c, 1, "id"));
    expect_start(&c, "daemon:1", instance_of(&c, 1, "arn"), "AGENT");
    CONTROL(&c, "deregister", "{\"instance\":\"%s\"}", instance_of(&c, 2, "id"));
    expect_start(&c, "daemon:1", instance_of(&c, 2, "arn"), "INACTIVE");
    CONTROL(&c, "drain", "{\"instance\":\"%s\"}", instance_of(&c, 3, "id"));
    expect_start(&c, "daemon:1", instance_of(&c, 3, "arn"), NULL);
    CONTROL(&c, "set", "{\"draining_start\":\"refuse\"}");
    expect_start(&c, "daemon:1", instance_of(&c, 3, "arn"), "DRAINING");
    cr_expect_eq(stat_of(&c, "answer_shape_errors"), 0);
    client_stop(&c);
}

Test(ecs, awsvpc_task_needs_a_subnet_of_the_zone)
{
    struct client c = client_start(1, NULL);

    register_definition(&c,
                        "{\"family\":\"vpc\",\"networkMode\":\"awsvpc\",\"containerDefinitions\":"
                        "[{\"name\":\"a\",\"image\":\"i\",\"memory\":8}]}");
    struct reply r =
        ecs(&c, "StartTask", "{\"containerInstances\":[\"%s\"],\"taskDefinition\":\"vpc\"}",
            instance_of(&c, 0, "arn"));
    cr_expect_str_eq(code_of(&r), "InvalidParameterException");
    reply_free(&r);
    r = ecs(&c, "StartTask",
            "{\"containerInstances\":[\"%s\"],\"taskDefinition\":\"vpc\",\"networkConfiguration\":{"
            "\"awsvpcConfiguration\":{\"subnets\":[\"subnet-elsewhere\"]}}}",
            instance_of(&c, 0, "arn"));
    cr_expect_str_eq(reason_of(&r, 0), "LOCATION");
    reply_free(&r);
    client_stop(&c);
}

Test(ecs, errors_have_their_names)
{
    static const struct {
        const char *operation, *body, *code;
    } CASES[] = {
        {"DescribeTasks", "{\"cluster\":\"none\",\"tasks\":[\"a\"]}", "ClusterNotFoundException"},
        {"ListTasks", "{\"startedBy\":\"a\",\"family\":\"b\"}", "InvalidParameterException"},
        {"ListTasks", "{\"startedBy\":\"a\",\"desiredStatus\":\"STOPPED\"}",
         "InvalidParameterException"},
        {"ListTasks", "{\"maxResults\":101}", "InvalidParameterException"},
        {"ListTasks", "{\"nextToken\":\"made-up\"}", "InvalidParameterException"},
        {"ListTasks", "{\"containerInstance\":\"none\"}", "InvalidParameterException"},
        {"ListContainerInstances", "{\"filter\":\"nonsense\"}", "InvalidParameterException"},
        {"StopTask", "{\"task\":\"none\"}", "InvalidParameterException"},
        {"StartTask", "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"none\"}",
         "ClientException"},
        {"StartTask", "{\"containerInstances\":[],\"taskDefinition\":\"daemon\"}",
         "InvalidParameterException"},
        {"StartTask",
         "{\"containerInstances\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"10\","
         "\"11\"],\"taskDefinition\":\"daemon\"}",
         "InvalidParameterException"},
        {"StartTask",
         "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"daemon\",\"startedBy\":"
         "\"0123456789012345678901234567890123456\"}",
         "InvalidParameterException"},
        {"StartTask",
         "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"daemon\",\"startedBy\":\"a b\"}",
         "InvalidParameterException"},
        {"StartTask",
         "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"daemon\",\"overrides\":{"
         "\"containerOverrides\":[{\"name\":\"other\"}]}}",
         "InvalidParameterException"},
        {"StartTask", "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"daemon\",\"x\":1}",
         "ValidationException"},
        {"StartTask", "{\"containerInstances\":{},\"taskDefinition\":\"daemon\"}",
         "SerializationException"},
        {"StartTask", "not json", "SerializationException"},
        {"DescribeTaskDefinition", "{\"taskDefinition\":\"none:1\"}", "ClientException"},
        {"RegisterTaskDefinition", "{\"family\":\"a b\",\"containerDefinitions\":[]}",
         "ClientException"},
        {"PutAttributes",
         "{\"attributes\":[{\"name\":\"a\",\"targetId\":\"none\",\"targetType\":"
         "\"container-instance\"}]}",
         "TargetNotFoundException"},
        {"TagResource", "{\"resourceArn\":\"arn:none\",\"tags\":[]}", "InvalidParameterException"},
        {"UpdateContainerInstancesState",
         "{\"containerInstances\":[\"a\"],\"status\":\"INACTIVE\"}", "InvalidParameterException"},
        {"CreateService", "{}", "UnknownOperationException"},
    };
    struct client c = client_start(1, NULL);

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct reply r = ecs(&c, CASES[i].operation, "%s", CASES[i].body);
        cr_expect_eq(r.status, 400, "%s", CASES[i].body);
        cr_expect_str_eq(code_of(&r), CASES[i].code, "%s %s: %s", CASES[i].operation, CASES[i].body,
                         r.text);
        reply_free(&r);
    }
    json_t *truth = control(&c, "truth", "{}");
    cr_expect_eq(json_array_size(json_arr(truth, "tasks")), 0, "nothing changed");
    json_decref(truth);
    cr_expect_eq(stat_of(&c, "validation_unknown_member"), 1);
    client_stop(&c);
}

Test(ecs, lists_are_paged_without_gaps_or_repeats)
{
    struct client c = client_start(25, NULL);
    char token[64] = "";
    size_t seen = 0, pages = 0;
    json_t *all = json_object();

    do {
        struct reply r =
            ecs(&c, "ListContainerInstances", "{\"maxResults\":10%s%s%s}",
                token[0] == '\0' ? "" : ",\"nextToken\":\"", token, token[0] == '\0' ? "" : "\"");
        const json_t *one;
        size_t i;
        cr_assert_eq(r.status, 200, "%s", r.text);
        json_array_foreach(json_arr(r.json, "containerInstanceArns"), i, one)
        {
            json_object_set_new(all, json_string_value(one), json_true());
            seen++;
        }
        snprintf(token, sizeof(token), "%s", json_str_or(r.json, "nextToken", ""));
        reply_free(&r);
        pages++;
    } while (token[0] != '\0' && pages < 10);
    cr_expect_eq(pages, 3);
    cr_expect_eq(seen, 25);
    cr_expect_eq(json_object_size(all), 25);
    json_decref(all);
    client_stop(&c);
}

Test(ecs, filters_of_lists)
{
    struct client c = client_start(3, NULL);
    struct reply r = ecs(&c, "ListContainerInstances", "{\"filter\":\"ec2InstanceId == %s\"}",
                         instance_of(&c, 1, "id"));

    cr_expect_eq(json_array_size(json_arr(r.json, "containerInstanceArns")), 1);
    reply_free(&r);
    CONTROL(&c, "drain", "{\"instance\":\"%s\"}", instance_of(&c, 0, "id"));
    CONTROL(&c, "deregister", "{\"instance\":\"%s\"}", instance_of(&c, 1, "id"));
    static const struct {
        const char *body;
        size_t count;
    } CASES[] = {{"{}", 2},
                 {"{\"status\":\"DRAINING\"}", 1},
                 {"{\"status\":\"ACTIVE\"}", 1},
                 {"{\"filter\":\"agentConnected == false\"}", 0}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        r = ecs(&c, "ListContainerInstances", "%s", CASES[i].body);
        cr_expect_eq(json_array_size(json_arr(r.json, "containerInstanceArns")), CASES[i].count,
                     "%s", CASES[i].body);
        reply_free(&r);
    }
    expect_start(&c, "daemon:1", instance_of(&c, 2, "arn"), NULL);
    expect_start(&c, "app:1", instance_of(&c, 2, "arn"), NULL);
    static const struct {
        const char *body;
        size_t count;
    } TASKS[] = {{"{}", 2},
                 {"{\"family\":\"app\"}", 1},
                 {"{\"desiredStatus\":\"STOPPED\"}", 0},
                 {"{\"desiredStatus\":\"PENDING\"}", 0},
                 {"{\"launchType\":\"FARGATE\"}", 0},
                 {"{\"serviceName\":\"s\"}", 0}};
    for (size_t i = 0; i < sizeof(TASKS) / sizeof(TASKS[0]); i++) {
        r = ecs(&c, "ListTasks", "%s", TASKS[i].body);
        cr_expect_eq(json_array_size(json_arr(r.json, "taskArns")), TASKS[i].count, "%s",
                     TASKS[i].body);
        reply_free(&r);
    }
    client_stop(&c);
}

Test(ecs, attributes_are_put_listed_and_limited)
{
    struct client c = client_start(2, NULL);
    const char *arn = instance_of(&c, 0, "arn");
    struct reply r;

    for (int i = 0; i < 11; i++) {
        r = ecs(&c, "PutAttributes",
                "{\"attributes\":[{\"name\":\"a%d\",\"value\":\"v\",\"targetId\":\"%s\"}]}", i,
                arn);
        cr_expect_str_eq(code_of(&r), i < 10 ? "" : "AttributeLimitExceededException");
        reply_free(&r);
    }
    r = ecs(&c, "ListAttributes",
            "{\"targetType\":\"container-instance\",\"attributeName\":\"a3\"}");
    cr_expect_eq(json_array_size(json_arr(r.json, "attributes")), 1, "%s", r.text);
    reply_free(&r);
    r = ecs(&c, "DeleteAttributes", "{\"attributes\":[{\"name\":\"a3\",\"targetId\":\"%s\"}]}",
            arn);
    cr_expect_eq(r.status, 200);
    reply_free(&r);
    r = ecs(&c, "ListContainerInstances", "{\"filter\":\"attribute:a4 == v\"}");
    cr_expect_eq(json_array_size(json_arr(r.json, "containerInstanceArns")), 1);
    reply_free(&r);
    static const char *const BAD[] = {"\"name\":\"\"", "\"name\":\"a b\"",
                                      "\"name\":\"x\",\"value\":\" v\"",
                                      "\"name\":\"x\",\"value\":\"[::1]\"", "\"name\":\"ecs.x\""};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        r = ecs(&c, "PutAttributes", "{\"attributes\":[{%s,\"targetId\":\"%s\"}]}", BAD[i], arn);
        cr_expect_str_eq(code_of(&r), "InvalidParameterException", "%s", BAD[i]);
        reply_free(&r);
    }
    cr_expect_eq(stat_of(&c, "answer_shape_errors"), 0);
    client_stop(&c);
}

Test(ecs, run_task_is_idempotent_by_client_token)
{
    struct client c = client_start(3, NULL);
    char first[256];
    struct reply r = ecs(&c, "RunTask", "{\"taskDefinition\":\"app\",\"clientToken\":\"t1\"}");

    cr_assert_eq(r.status, 200, "%s", r.text);
    snprintf(first, sizeof(first), "%s",
             json_str_or(json_array_get(json_arr(r.json, "tasks"), 0), "taskArn", ""));
    reply_free(&r);
    r = ecs(&c, "RunTask", "{\"taskDefinition\":\"app\",\"clientToken\":\"t1\"}");
    cr_expect_str_eq(json_str_or(json_array_get(json_arr(r.json, "tasks"), 0), "taskArn", ""),
                     first);
    reply_free(&r);
    r = ecs(&c, "RunTask", "{\"taskDefinition\":\"app\",\"clientToken\":\"t1\",\"count\":2}");
    cr_expect_str_eq(code_of(&r), "ConflictException");
    reply_free(&r);
    r = ecs(&c, "RunTask",
            "{\"taskDefinition\":\"app\",\"count\":10,\"group\":\"g\",\"placementConstraints\":[{"
            "\"type\":\"distinctInstance\"}]}");
    cr_expect_eq(json_array_size(json_arr(r.json, "tasks")), 3, "one on each instance: %s", r.text);
    cr_expect_gt(json_array_size(json_arr(r.json, "failures")), 0);
    reply_free(&r);
    r = ecs(&c, "RunTask",
            "{\"taskDefinition\":\"app\",\"placementConstraints\":[{\"type\":\"memberOf\","
            "\"expression\":\"ec2InstanceId == %s\"}]}",
            instance_of(&c, 2, "id"));
    cr_expect_str_eq(
        json_str_or(json_array_get(json_arr(r.json, "tasks"), 0), "containerInstanceArn", ""),
        instance_of(&c, 2, "arn"));
    reply_free(&r);
    client_stop(&c);
}

Test(ecs, clusters_definitions_and_tags)
{
    struct client c = client_start(1, NULL);
    static const struct {
        const char *operation, *body, *has;
    } CASES[] = {
        {"CreateCluster", "{\"clusterName\":\"second\"}", "cluster/second"},
        {"ListClusters", "{\"maxResults\":1}", "nextToken"},
        {"DescribeClusters", "{\"clusters\":[\"second\",\"third\"]}", "MISSING"},
        {"DeleteCluster", "{\"cluster\":\"second\"}", "INACTIVE"},
        {"DeleteCluster", "{\"cluster\":\"default\"}", "ClusterContainsContainerInstances"},
        {"DescribeTaskDefinition", "{\"taskDefinition\":\"daemon\"}", "daemon:2"},
        {"ListTaskDefinitions", "{\"familyPrefix\":\"daemon\"}", "daemon:1"},
        {"DeregisterTaskDefinition", "{\"taskDefinition\":\"daemon:2\"}", "\"INACTIVE\""},
        {"DescribeTaskDefinition", "{\"taskDefinition\":\"daemon\"}", "daemon:1"},
        {"StartTask", "{\"containerInstances\":[\"x\"],\"taskDefinition\":\"daemon:2\"}",
         "inactive"},
        {"TagResource",
         "{\"resourceArn\":\"arn:aws:ecs:us-east-1:111122223333:cluster/default\",\"tags\":[{"
         "\"key\":\"a\",\"value\":\"b\"}]}",
         "{}"},
        {"ListTagsForResource",
         "{\"resourceArn\":\"arn:aws:ecs:us-east-1:111122223333:cluster/default\"}",
         "\"value\":\"b\""},
    };

    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct reply r = ecs(&c, CASES[i].operation, "%s", CASES[i].body);
        cr_expect_not_null(strstr(r.text, CASES[i].has), "%s: %s", CASES[i].operation, r.text);
        reply_free(&r);
    }
    cr_expect_eq(stat_of(&c, "answer_shape_errors"), 0);
    client_stop(&c);
}

Test(ecs, throttle_buckets_run_dry)
{
    struct client c = client_start(0, "{\"throttle\":0.05}");
    size_t throttled = 0;

    /* 100 * 0.05 = 5 calls at once, and one more each second. */
    for (int i = 0; i < 9; i++) {
        struct reply r = ecs(&c, "ListTasks", "{}");
        if (r.status == 400 && strcmp(code_of(&r), "ThrottlingException") == 0)
            throttled++;
        reply_free(&r);
    }
    cr_expect_gt(throttled, 0);
    struct reply r = ecs(&c, "DescribeTaskDefinition", "{\"taskDefinition\":\"daemon\"}");
    cr_expect_eq(r.status, 200, "another bucket");
    reply_free(&r);
    client_stop(&c);
}
