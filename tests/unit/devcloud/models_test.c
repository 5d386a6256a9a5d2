/* SPDX-License-Identifier: Apache-2.0
 * Requests against AWS's service models. */
#include "agent/devcloud/models.h"

#include <criterion/criterion.h>
#include <string.h>

#include "agent/base/json.h"

static const struct {
    const char *service, *operation, *body;
    enum model_fault strict, lenient;
    const char *says;
} CASES[] = {
    {"ecs", "ListClusters", "{}", MODEL_FITS, MODEL_FITS, NULL},
    {"ecs", "StartTask", "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"d:1\"}", MODEL_FITS,
     MODEL_FITS, NULL},
    {"ecs", "StartTask", "{\"containerInstances\":[\"a\"]}", MODEL_INVALID, MODEL_INVALID,
     "taskDefinition: is required"},
    {"ecs", "StartTask", "{\"containerInstances\":null,\"taskDefinition\":\"d\"}", MODEL_INVALID,
     MODEL_INVALID, "containerInstances: is required"},
    {"ecs", "StartTask", "{\"containerInstances\":\"a\",\"taskDefinition\":\"d\"}",
     MODEL_WRONG_TYPE, MODEL_WRONG_TYPE, "containerInstances: must be a list"},
    {"ecs", "StartTask", "{\"containerInstances\":[\"a\",7],\"taskDefinition\":\"d\"}",
     MODEL_WRONG_TYPE, MODEL_WRONG_TYPE, "containerInstances[1]: must be a string"},
    {"ecs", "StartTask",
     "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"d\",\"clientToken\":\"x\"}",
     MODEL_UNKNOWN_MEMBER, MODEL_FITS, "clientToken: is not a member"},
    {"ecs", "StartTask",
     "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"d\",\"tags\":[{\"key\":\"a#\"}]}",
     MODEL_INVALID, MODEL_INVALID, "tags[0].key: does not match"},
    {"ecs", "StartTask",
     "{\"containerInstances\":[\"a\"],\"taskDefinition\":\"d\",\"tags\":[{\"key\":\"\"}]}",
     MODEL_INVALID, MODEL_INVALID, "tags[0].key: length must be at least 1"},
    {"ecs", "ListTasks", "{\"desiredStatus\":\"running\"}", MODEL_INVALID, MODEL_INVALID,
     "desiredStatus: is not one of"},
    {"ecs", "ListTasks", "{\"maxResults\":\"5\"}", MODEL_WRONG_TYPE, MODEL_WRONG_TYPE,
     "maxResults: must be a whole number"},
    {"ecs", "ListTasks", "{\"maxResults\":4294967296}", MODEL_WRONG_TYPE, MODEL_WRONG_TYPE,
     "32 bits"},
    {"ecs", "ListTasks", "[]", MODEL_WRONG_TYPE, MODEL_WRONG_TYPE, "request: must be an object"},
    {"ecs", "StopTask", "{\"task\":\"x\",\"reason\":true}", MODEL_WRONG_TYPE, MODEL_WRONG_TYPE,
     "reason: must be a string"},
    {"ecs", "DeregisterContainerInstance", "{\"containerInstance\":\"x\",\"force\":\"true\"}",
     MODEL_WRONG_TYPE, MODEL_WRONG_TYPE, "force: must be true or false"},
    {"sqs", "ReceiveMessage", "{}", MODEL_INVALID, MODEL_INVALID, "QueueUrl: is required"},
    {"sqs", "ReceiveMessage",
     "{\"QueueUrl\":\"u\",\"MessageSystemAttributeNames\":[\"SentTimestamp\"]}", MODEL_FITS,
     MODEL_FITS, NULL},
    {"sqs", "ReceiveMessage", "{\"QueueUrl\":\"u\",\"MessageSystemAttributeNames\":[\"Sent\"]}",
     MODEL_INVALID, MODEL_INVALID, "MessageSystemAttributeNames[0]"},
    {"sqs", "DeleteMessageBatch", "{\"QueueUrl\":\"u\",\"Entries\":[{\"Id\":\"1\"}]}",
     MODEL_INVALID, MODEL_INVALID, "Entries[0].ReceiptHandle: is required"},
    {"sqs", "CreateQueue", "{\"QueueName\":\"q\",\"Attributes\":{\"Nope\":\"1\"}}", MODEL_INVALID,
     MODEL_INVALID, "Attributes.Nope"},
};

Test(models, each_kind_of_fault_is_found_and_named)
{
    struct model ecs, sqs;
    struct errmsg e = {0};

    cr_assert_eq(model_load(&ecs, models_ecs, models_ecs_len, &e), 0, "%s", e.text);
    cr_assert_eq(model_load(&sqs, models_sqs, models_sqs_len, &e), 0, "%s", e.text);
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        const struct model *m = CASES[i].service[0] == 'e' ? &ecs : &sqs;
        json_t *body = json_parse(CASES[i].body, strlen(CASES[i].body), NULL);
        cr_assert_not_null(body, "%s", CASES[i].body);
        e.text[0] = '\0';
        cr_expect_eq(model_check_input(m, CASES[i].operation, body, false, &e), CASES[i].lenient,
                     "%s", CASES[i].body);
        cr_expect_eq(model_check_input(m, CASES[i].operation, body, true, &e), CASES[i].strict,
                     "%s: %s", CASES[i].body, e.text);
        if (CASES[i].says != NULL)
            cr_expect_not_null(strstr(e.text, CASES[i].says), "'%s' is not in '%s'", CASES[i].says,
                               e.text);
        json_decref(body);
    }
    models_fini(&ecs);
    models_fini(&sqs);
}

Test(models, deep_nesting_ends)
{
    static const char HEAD[] = "{\"family\":\"f\",\"containerDefinitions\":[";
    struct model ecs;
    char text[4096] = "";
    size_t len = sizeof(HEAD) - 1;

    cr_assert_eq(model_load(&ecs, models_ecs, models_ecs_len, NULL), 0);
    memcpy(text, HEAD, len);
    memset(text + len, '[', 500);
    memset(text + len + 500, ']', 500);
    memcpy(text + len + 1000, "]}", 3);
    json_t *body = json_parse(text, strlen(text), NULL);
    cr_assert_not_null(body);
    cr_expect_eq(model_check_input(&ecs, "RegisterTaskDefinition", body, true, NULL),
                 MODEL_WRONG_TYPE);
    json_decref(body);
    models_fini(&ecs);
}
