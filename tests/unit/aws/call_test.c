/* SPDX-License-Identifier: Apache-2.0
 * Calls against a real socket: answers of all kinds, retries, limits, cancel, destroy. */
#include "tests/unit/aws/client.h"
#include "tests/unit/aws/fake_server.h"

#define KEY "AKIDEXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

/* Answers the n-th request with the n-th entry; the last one for all later ones. */
struct script {
    const struct fake_answer *answers;
    unsigned count;
};

static void play(void *arg, const struct fake_request *rq, struct fake_answer *answer)
{
    const struct script *s = arg;
    unsigned i = rq->number <= s->count ? rq->number - 1 : s->count - 1;
    *answer = s->answers[i];
}

static void start(struct client *c, struct fake *f, struct script *s)
{
    clean_environment();
    setenv("AWS_ACCESS_KEY_ID", KEY, 1);
    setenv("AWS_SECRET_ACCESS_KEY", SECRET, 1);
    fake_start(f, play, s);
    client_start(c, (struct aws_options){.region = "eu-west-1",
                                         .ecs_endpoint = f->url,
                                         .sqs_endpoint = f->url,
                                         .sts_endpoint = f->url,
                                         .seed = 1});
}

Test(aws_call, a_success_gives_the_body_and_sends_what_ecs_wants)
{
    static const struct fake_answer answers[] = {{.body = "{\"clusterArns\":[\"a\"]}"}};
    struct script s = {answers, 1};
    struct client c;
    static struct fake f;
    start(&c, &f, &s);
    struct outcome o =
        client_call(&c, AWS_ECS, "ListClusters", json_pack("{s:i}", "maxResults", 5), NULL);
    cr_assert_eq(o.err, 0, "%s: %s", o.code, o.message);
    cr_assert_eq(o.status, 200);
    cr_assert_str_eq(json_string_value(json_array_get(json_arr(o.body, "clusterArns"), 0)), "a");
    const struct fake_request *rq = f.requests[0];
    char value[512];
    cr_assert_str_eq(rq->method, "POST");
    cr_assert_str_eq(rq->path, "/");
    cr_assert_str_eq(rq->body, "{\"maxResults\":5}");
    cr_assert(fake_header(rq, "Content-Type", value, sizeof value));
    cr_assert_str_eq(value, "application/x-amz-json-1.1");
    cr_assert(fake_header(rq, "X-Amz-Target", value, sizeof value));
    cr_assert_str_eq(value, "AmazonEC2ContainerServiceV20141113.ListClusters");
    cr_assert(fake_header(rq, "User-Agent", value, sizeof value));
    cr_assert_str_eq(value, "blox/" BLOX_VERSION);
    cr_assert(fake_header(rq, "Authorization", value, sizeof value));
    cr_assert(strstr(value, "/eu-west-1/ecs/aws4_request") != NULL);
    json_decref(o.body);
    client_stop(&c);
}
