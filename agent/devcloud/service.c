/* SPDX-License-Identifier: Apache-2.0
 * POST /: which service and operation, then signature, shape, rate, faults, effect. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/devcloud/services.h"

#define TARGET_ECS "AmazonEC2ContainerServiceV20141113."
#define TARGET_SQS "AmazonSQS."
#define EC2_VERSION "2016-11-15"

static const struct operation *operation_find(const struct operation *list, const char *name)
{
    for (; list->name != NULL; list++)
        if (strcmp(list->name, name) == 0)
            return list;
    return NULL;
}

static bool is_service(const struct request *req, const char *service)
{
    return strcmp(req->service, service) == 0;
}

static bool speaks_xml(const struct request *req)
{
    return is_service(req, "sts") || is_service(req, "ec2");
}

static bool is_type(const struct request *req, const char *type)
{
    const char *value = cloud_request_header(req, "content-type");
    size_t len = strlen(type);

    return value != NULL && strncasecmp(value, type, len) == 0 &&
           (value[len] == '\0' || value[len] == ';' || value[len] == ' ');
}

/* Query protocol: the form's fields become a JSON object of texts. */
static json_t *parse_form(const struct request *req)
{
    json_t *out = json_object();
    char *copy = cloud_text("%s", req->body.data == NULL ? "" : req->body.data);

    for (char *pair = copy, *next; pair != NULL; pair = next) {
        next = strchr(pair, '&');
        if (next != NULL)
            *next++ = '\0';
        char *value = strchr(pair, '=');
        if (value != NULL)
            *value++ = '\0';
        text_decode(pair, true);
        if (value != NULL)
            text_decode(value, true);
        json_set_str(out, pair, value == NULL ? "" : value);
    }
    free(copy);
    return out;
}

/* Sets service and operation. */
static void identify(struct request *req)
{
    const char *target = cloud_request_header(req, "x-amz-target");

    if (target != NULL && strncmp(target, TARGET_ECS, strlen(TARGET_ECS)) == 0) {
        snprintf(req->service, sizeof(req->service), "ecs");
        snprintf(req->operation, sizeof(req->operation), "%s", target + strlen(TARGET_ECS));
    } else if (target != NULL && strncmp(target, TARGET_SQS, strlen(TARGET_SQS)) == 0) {
        snprintf(req->service, sizeof(req->service), "sqs");
        snprintf(req->operation, sizeof(req->operation), "%s", target + strlen(TARGET_SQS));
    } else if (target == NULL && is_type(req, "application/x-www-form-urlencoded")) {
        json_decref(req->params);
        req->params = parse_form(req);
        bool ec2 = strcmp(json_str_or(req->params, "Version", ""), EC2_VERSION) == 0;
        snprintf(req->service, sizeof(req->service), ec2 ? "ec2" : "sts");
        snprintf(req->operation, sizeof(req->operation), "%s",
                 json_str_or(req->params, "Action", ""));
    }
}

void service_identify(struct request *req)
{
    if (strcmp(req->method, "POST") == 0)
        identify(req);
}

/* NULL: the service's answers are not checked, they are fixed texts. */
static const struct model *model_of(const struct devcloud *cloud, const struct request *req)
{
    return is_service(req, "ecs")   ? &cloud->ecs
           : is_service(req, "sqs") ? &cloud->sqs
           : is_service(req, "ec2") ? &cloud->ec2
                                    : NULL;
}

static bool check_shape(struct devcloud *cloud, struct request *req)
{
    const struct model *model = model_of(cloud, req);
    struct errmsg e = {0};

    if (is_service(req, "ec2")) {
        if (!ec2_take_form(cloud, req))
            return false;
    } else {
        req->params = req->body.len == 0 ? json_object()
                                         : json_parse_lenient(req->body.data, req->body.len, &e);
    }
    if (!json_is_object(req->params)) {
        answer_error(&req->answer, 400, "SerializationException", "%s", e.text);
        return false;
    }
    enum model_fault fault =
        model_check_input(model, req->operation, req->params, cloud->set.strict, &e);
    switch (fault) {
    case MODEL_FITS:
        return true;
    case MODEL_UNKNOWN_MEMBER:
        cloud_count(cloud, "validation_unknown_member", 1);
        answer_error(&req->answer, 400, "ValidationException", "%s", e.text);
        return false;
    case MODEL_WRONG_TYPE:
        cloud_count(cloud, "validation_wrong_type", 1);
        answer_error(&req->answer, 400, "SerializationException", "%s", e.text);
        return false;
    case MODEL_INVALID:
        cloud_count(cloud, "validation_invalid", 1);
        answer_error(&req->answer, 400,
                     is_service(req, "ecs") ? "InvalidParameterException" : "InvalidParameterValue",
                     "%s", e.text);
        return false;
    }
    return false;
}

static void throttle(struct request *req)
{
    if (is_service(req, "ec2"))
        answer_error(&req->answer, 503, "RequestLimitExceeded", "Request limit exceeded.");
    else
        answer_error(&req->answer, 400, "ThrottlingException", "Rate exceeded");
}

/* True if the operation is to be carried out. */
static bool admit(struct devcloud *cloud, struct request *req, const struct operation *operation)
{
    const char *type = is_service(req, "ecs")   ? "application/x-amz-json-1.1"
                       : is_service(req, "sqs") ? "application/x-amz-json-1.0"
                                                : "application/x-www-form-urlencoded";
    char key[96];

    snprintf(key, sizeof(key), "op:%s.%s", req->service, req->operation);
    cloud_count(cloud, key, 1);
    if (!is_type(req, type)) {
        answer_error(&req->answer, 404, "UnknownOperationException",
                     "Content-Type must be %s for this service", type);
        return false;
    }
    if (operation == NULL) {
        answer_error(&req->answer, 400,
                     speaks_xml(req) ? "InvalidAction" : "UnknownOperationException",
                     "devcloud does not serve the operation '%s'", req->operation);
        return false;
    }
    bool open = strcmp(req->operation, "AssumeRoleWithWebIdentity") == 0;
    if (!open && !auth_check(cloud, req))
        return false;
    if (model_of(cloud, req) != NULL && !check_shape(cloud, req))
        return false;
    if (!throttle_take(cloud, operation->bucket)) {
        throttle(req);
        return false;
    }
    return true;
}

/* True if the request is done for: error or cut connection. */
static bool hit_by_fault(struct devcloud *cloud, struct request *req)
{
    const struct fault *fault = fault_pick(cloud, req, "instead");

    if (fault == NULL)
        return false;
    if (strcmp(fault->mode, "reset") == 0)
        req->reset = true;
    else if (strcmp(fault->mode, "throttle") == 0)
        throttle(req);
    else
        answer_error(&req->answer, fault->http_status, fault->code, "%s", fault->message);
    return true;
}

void service_aws(struct devcloud *cloud, struct request *req)
{
    const struct operation *operation = NULL;
    struct errmsg e = {0};

    if (req->service[0] == '\0') {
        answer_error(
            &req->answer, 404, "UnknownOperationException",
            "POST / with an X-Amz-Target of ECS or SQS, or a form of STS or EC2, is served here");
        return;
    }
    if (is_service(req, "ecs"))
        operation = operation_find(ecs_operations, req->operation);
    else if (is_service(req, "sqs"))
        operation = operation_find(sqs_operations, req->operation);
    else if (is_service(req, "ec2"))
        operation = operation_find(ec2_operations, req->operation);
    else
        operation = operation_find(sts_operations, req->operation);
    if (!req->counted) {
        req->counted = true;
        bool admitted = admit(cloud, req, operation);
        record_request(cloud, req);
        if (!admitted || hit_by_fault(cloud, req))
            return;
    }
    operation->run(cloud, req);
    if (answer_failed(&req->answer) || req->answer.wait || req->answer.text.len > 0 ||
        model_of(cloud, req) == NULL)
        return;
    if (req->answer.json == NULL)
        req->answer.json = json_object();
    if (model_check_output(model_of(cloud, req), req->operation, req->answer.json, &e) !=
        MODEL_FITS) {
        cloud_count(cloud, "answer_shape_errors", 1);
        fprintf(stderr, "devcloud: answer of %s: %s\n", req->operation, e.text);
    }
    if (is_service(req, "ec2"))
        ec2_render(cloud, req);
}
