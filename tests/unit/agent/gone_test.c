/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/gone.h"

#include <criterion/criterion.h>
#include <string.h>

#include "agent/aws/query.h"

static json_t *parse(const char *text)
{
    struct errmsg e = {{0}};
    json_t *j = text[0] == '<' ? query_parse_ec2(text, strlen(text), &e)
                               : json_parse(text, strlen(text), &e);
    cr_assert_not_null(j, "%s: %s", text, e.text);
    return j;
}

Test(gone, by_ecs_only_if_it_lists_nobody_but_us)
{
    static const struct {
        const char *body, *own;
        bool gone;
    } cases[] = {
        {"{\"containerInstanceArns\": [\"us\"]}", "us", true},
        {"{\"containerInstanceArns\": [\"us\", \"them\"]}", "us", false},
        {"{\"containerInstanceArns\": [\"them\"]}", "us", false},
        {"{\"containerInstanceArns\": []}", "us", false},
        {"{\"containerInstanceArns\": [\"\"]}", "", false}, /* we do not know who we are */
        {"{\"containerInstanceArns\": [7]}", "us", false},
        {"{}", "us", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *body = parse(cases[i].body);
        cr_expect_eq(gone_by_ecs(body, cases[i].own), cases[i].gone, "case %zu", i);
        json_decref(body);
    }
    cr_expect_not(gone_by_ecs(NULL, "us"));
}

/* An answer of EC2 with these instances, as AWS's own look: the state among much else. */
#define ANSWER(items)                                                                              \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeInstancesResponse "                      \
    "xmlns=\"x\"><requestId>"                                                                      \
    "r</requestId><reservationSet>" items "</reservationSet></DescribeInstancesResponse>"
#define ITEM(id, state)                                                                            \
    "<item><reservationId>r-1</reservationId><groupSet/><instancesSet><item>"                      \
    "<networkInterfaceSet><item><status>in-use</status><instanceId>i-x</instanceId>"               \
    "<instanceState><name>running</name></instanceState></item></networkInterfaceSet>"             \
    "<instanceId>" id "</instanceId><productCodes/><instanceState><code>0</code><name>" state      \
    "</name></instanceState><stateReason><code>C</code><message>m</message></stateReason></item>"  \
    "</instancesSet></item>"

Test(gone, by_ec2_only_if_terminated_or_unknown_to_it)
{
    static const struct {
        const char *body;
        bool gone;
        const char *word;
    } cases[] = {
        {ANSWER(ITEM("i-us", "running") ITEM("i-them", "terminated")), true, "terminated"},
        {ANSWER(ITEM("i-them", "terminated") ITEM("i-us", "running")), true, "terminated"},
        {ANSWER(ITEM("i-us", "running")), true, "not there"},
        {ANSWER(ITEM("i-us", "running") ITEM("i-them", "running")), false, "running"},
        {ANSWER(ITEM("i-us", "running") ITEM("i-them", "stopped")), false, "stopped"},
        {ANSWER(ITEM("i-us", "running") ITEM("i-them", "stopping")), false, "stopping"},
        {ANSWER(ITEM("i-us", "running") ITEM("i-them", "pending")), false, "pending"},
        {ANSWER(ITEM("i-us", "running") ITEM("i-them", "shutting-down")), false, "shutting-down"},
        {ANSWER(ITEM("i-us", "running") "<item><instancesSet><item><instanceId>i-them"
                                        "</instanceId></item></instancesSet></item>"),
         false, "?"},
        /* Another account or Region, or nothing at all: it looked in the wrong place. */
        {ANSWER(ITEM("i-them", "terminated")), false, "own instance"},
        {ANSWER(""), false, "own instance"},
        {ANSWER(ITEM("i-us", "terminated")), false, "own instance"},
        {"<DescribeInstancesResponse/>", false, "own instance"},
        {"<Response><Errors><Error><Code>C</Code></Error></Errors></Response>", false,
         "own instance"},
        {ANSWER(ITEM("i-us", "running")) "", true, "not there"},
        {"<DescribeInstancesResponse><reservationSet>" ITEM(
             "i-us",
             "running") "</reservationSet><nextToken>more</nextToken></DescribeInstancesResponse>",
         false, "part"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *word = "";
        json_t *body = parse(cases[i].body);
        cr_expect_eq(gone_by_ec2(body, "i-us", "i-them", &word), cases[i].gone, "case %zu: %s", i,
                     word);
        cr_expect_not_null(strstr(word, cases[i].word), "case %zu: %s", i, word);
        json_decref(body);
    }
}
