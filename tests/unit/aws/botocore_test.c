/* SPDX-License-Identifier: Apache-2.0
 * The requests of a session, checked by Debian's python3-botocore: signature and parameters. */
#include "tests/unit/aws/client.h"
#include "tests/unit/aws/fake_server.h"

#include <sys/wait.h>

#define KEY "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define REGION "eu-west-1"
#define VERIFIER "/usr/bin/python3 tests/compat/verify_requests.py"

static void always_empty(void *arg, const struct fake_request *rq, struct fake_answer *answer)
{
    const char *body = arg;
    (void)rq;
    snprintf(answer->body, sizeof answer->body, "%s", body);
}

/* Exit status of the verifier over what the servers recorded. */
static int verify(const char *command, struct fake *fakes, const char *const *services, size_t n,
                  const char *secret, const char *token)
{
    FILE *pipe = popen(command, "w");
    cr_assert(pipe != NULL);
    for (size_t i = 0; i < n; i++)
        fake_dump(&fakes[i], pipe, KEY, secret, token, REGION, services[i]);
    int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static json_t *params(const char *text)
{
    struct errmsg e;
    json_t *value = json_parse(text, strlen(text), &e);
    cr_assert(value != NULL, "%s", e.text);
    return value;
}

#define ARN "arn:aws:ecs:eu-west-1:123456789012:"
#define QUEUE "\"QueueUrl\":\"https://sqs.eu-west-1.amazonaws.com/123456789012/blox\""

static const struct {
    enum aws_service service;
    const char *operation;
    const char *params;
} session[] = {
    {AWS_ECS, "ListClusters", "{}"},
    {AWS_ECS, "ListContainerInstances",
     "{\"cluster\":\"c\",\"filter\":\"ec2InstanceId == i-1\",\"maxResults\":100}"},
    {AWS_ECS, "DescribeContainerInstances",
     "{\"cluster\":\"c\",\"containerInstances\":[\"" ARN "container-instance/c/1\"],"
     "\"include\":[\"TAGS\"]}"},
    {AWS_ECS, "ListTasks",
     "{\"cluster\":\"c\",\"startedBy\":\"d-1\",\"desiredStatus\":\"RUNNING\"}"},
    {AWS_ECS, "DescribeTasks", "{\"cluster\":\"c\",\"tasks\":[\"" ARN "task/c/1\"]}"},
    {AWS_ECS, "StartTask",
     "{\"cluster\":\"c\",\"taskDefinition\":\"logs:7\",\"containerInstances\":[\"1\",\"2\"],"
     "\"startedBy\":\"8d9f\",\"group\":\"daemon:logs\",\"tags\":[{\"key\":\"blox:revision\","
     "\"value\":\"\u00fcber 100%\"}]}"},
    {AWS_ECS, "StopTask",
     "{\"cluster\":\"c\",\"task\":\"1\",\"reason\":\"superseded, so: \\\"go\\\"\"}"},
    {AWS_ECS, "PutAttributes",
     "{\"cluster\":\"c\",\"attributes\":[{\"name\":\"gossip.addr\",\"value\":\"10.0.0.1:7381\","
     "\"targetType\":\"container-instance\",\"targetId\":\"1\"}]}"},
    {AWS_ECS, "ListAttributes",
     "{\"cluster\":\"c\",\"targetType\":\"container-instance\",\"attributeName\":\"gossip.addr\"}"},
    {AWS_ECS, "UpdateContainerInstancesState",
     "{\"cluster\":\"c\",\"containerInstances\":[\"1\"],\"status\":\"DRAINING\"}"},
    {AWS_ECS, "DescribeTaskDefinition", "{\"taskDefinition\":\"logs\"}"},
    {AWS_SQS, "ReceiveMessage",
     "{" QUEUE ",\"MaxNumberOfMessages\":10,\"WaitTimeSeconds\":20,"
     "\"MessageSystemAttributeNames\":[\"SentTimestamp\",\"ApproximateReceiveCount\"]}"},
    {AWS_SQS, "DeleteMessageBatch",
     "{" QUEUE ",\"Entries\":[{\"Id\":\"0\",\"ReceiptHandle\":\"a+/=\"}]}"},
    {AWS_SQS, "GetQueueAttributes", "{" QUEUE ",\"AttributeNames\":[\"All\"]}"},
    {AWS_STS, "GetCallerIdentity", "{}"},
    {AWS_STS, "AssumeRole",
     "{\"RoleArn\":\"arn:aws:iam::123456789012:role/a b&c\",\"RoleSessionName\":\"blox\","
     "\"DurationSeconds\":900,\"ExternalId\":\"x=y+z\"}"},
    {AWS_STS, "AssumeRoleWithWebIdentity",
     "{\"RoleArn\":\"arn:aws:iam::123456789012:role/web\",\"RoleSessionName\":\"blox\","
     "\"WebIdentityToken\":\"eyJ.a-b_c\"}"},
    {AWS_EC2, "DescribeInstances",
     "{\"Filter\":[{\"Name\":\"instance-id\",\"Value\":[\"i-0a1\",\"i-0b2\"]},"
     "{\"Name\":\"tag:a b\",\"Value\":[\"\u00fc&=\"]}],\"MaxResults\":100}"},
    {AWS_EC2, "DescribeInstances", "{\"InstanceId\":[\"i-0a1\"]}"},
};

static void run_session(struct fake fakes[4], const char *token)
{
    struct client c;
    static char json[] = "{}";
    static char xml[] = "<R><Ok>1</Ok></R>";
    clean_environment();
    setenv("AWS_ACCESS_KEY_ID", KEY, 1);
    setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
    if (token[0] != '\0')
        setenv("AWS_SESSION_TOKEN", token, 1);
    for (size_t i = 0; i < 4; i++)
        fake_start(&fakes[i], always_empty, i == AWS_STS || i == AWS_EC2 ? xml : json);
    client_start(&c, (struct aws_options){.region = REGION,
                                          .ecs_endpoint = fakes[AWS_ECS].url,
                                          .sqs_endpoint = fakes[AWS_SQS].url,
                                          .sts_endpoint = fakes[AWS_STS].url,
                                          .ec2_endpoint = fakes[AWS_EC2].url,
                                          .seed = 1});
    for (size_t i = 0; i < sizeof session / sizeof session[0]; i++) {
        struct outcome o = client_call(&c, session[i].service, session[i].operation,
                                       params(session[i].params), NULL);
        cr_assert_eq(o.err, 0, "%s: %s", session[i].operation, o.message);
        json_decref(o.body);
    }
    client_stop(&c);
}

static const char *const services[4] = {"ecs", "sqs", "sts", "ec2"};

Test(aws_botocore, accepts_every_request)
{
    static struct fake fakes[4];
    run_session(fakes, "");
    int status = verify(VERIFIER, fakes, services, 4, SECRET, "");
    if (status == 77)
        cr_skip_test("skipped: /usr/bin/python3 has no botocore (apt install python3-botocore)");
    cr_assert_eq(status, 0);
    cr_assert_eq(verify(VERIFIER " 2>/dev/null", fakes, services, 4, "another secret", ""), 1,
                 "the verifier must notice");
}

Test(aws_botocore, accepts_every_request_with_a_session_token)
{
    static struct fake fakes[4];
    run_session(fakes, "FwoGZXIvYXdzEDEa//token+with/all=kinds");
    int status =
        verify(VERIFIER, fakes, services, 4, SECRET, "FwoGZXIvYXdzEDEa//token+with/all=kinds");
    if (status == 77)
        cr_skip_test("skipped: /usr/bin/python3 has no botocore (apt install python3-botocore)");
    cr_assert_eq(status, 0);
}
