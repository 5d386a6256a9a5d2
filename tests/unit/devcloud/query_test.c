/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/devcloud/query.h"

#include <criterion/criterion.h>
#include <string.h>

static void sample(struct instance *in)
{
    *in = (struct instance){.connected = true, .running = 2};
    snprintf(in->ec2_id, sizeof(in->ec2_id), "i-0abc");
    in->attributes = json_pack("{s:s,s:s}", "ecs.instance-type", "m5.large",
                               "ecs.availability-zone", "us-east-1a");
    in->custom = json_pack("{s:s,s:n,s:s}", "stack", "prod", "bare", "size", "12");
    list_init(&in->tasks);
}

Test(query, expressions)
{
    static const struct {
        const char *text;
        int match; /* -1: invalid */
    } CASES[] = {
        {"ec2InstanceId == i-0abc", 1},
        {"ec2InstanceId == 'i-0abc'", 1},
        {"ec2InstanceId == i-0abd", 0},
        {"ec2InstanceId in ['i-0', i-0abc]", 1},
        {"ec2InstanceId !in [i-0, i-1]", 1},
        {"agentConnected == true", 1},
        {"agentConnected==false", 0},
        {"runningTasksCount > 1", 1},
        {"runningTasksCount>=3", 0},
        {"attribute:stack == prod", 1},
        {"attribute:stack != prod", 0},
        {"attribute:none != prod", 1},
        {"attribute:bare exists", 1},
        {"attribute:bare !exists", 0},
        {"attribute:none !exists", 1},
        {"attribute:size > 9", 1},
        {"attribute:ecs.instance-type =~ m5.*", 1},
        {"attribute:ecs.instance-type !~ c5.*", 1},
        {"attribute:stack == prod and attribute:ecs.availability-zone == us-east-1a", 1},
        {"attribute:stack == prod and attribute:stack == dev", 0},
        {"attribute:stack == dev or (attribute:size == 12 and agentConnected == true)", 1},
        {"not (attribute:stack == prod)", 0},
        {"!(attribute:stack == dev)", 1},
        {"task:group == service:web", 0},
        {"task:group != service:web", 1},
        {"attribute:stack in [dev, prod", -1},
        {"attribute:stack", -1},
        {"attribute:stack ==", -1},
        {"attribute:stack = prod", -1},
        {"nonsense == 1", -1},
        {"(agentConnected == true", -1},
        {"agentConnected == true agentConnected", -1},
        {"attribute:stack =~ [a", -1},
        {"attribute:stack == 'open", -1},
        {"", -1},
    };
    struct instance in;

    sample(&in);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        bool match = false;
        struct errmsg e = {0};
        int err = query_match(CASES[i].text, &in, &match, &e);
        if (CASES[i].match < 0) {
            cr_expect_neq(err, 0, "%s", CASES[i].text);
            cr_expect_neq(e.text[0], '\0');
        } else {
            cr_expect_eq(err, 0, "%s: %s", CASES[i].text, e.text);
            cr_expect_eq(match, CASES[i].match == 1, "%s", CASES[i].text);
        }
    }
    json_decref(in.attributes);
    json_decref(in.custom);
}
