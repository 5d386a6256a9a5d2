/* SPDX-License-Identifier: Apache-2.0
 * STS: Query protocol, XML answers. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/devcloud/services.h"

#define XMLNS "https://sts.amazonaws.com/doc/2011-06-15/"
#define SESSION_NAME_MAX 64

static void get_caller_identity(struct devcloud *cloud, struct request *req)
{
    answer_text(&req->answer, 200, "text/xml",
                "<GetCallerIdentityResponse xmlns=\"" XMLNS "\"><GetCallerIdentityResult>"
                "<Arn>%s</Arn><UserId>%s</UserId><Account>%s</Account></GetCallerIdentityResult>"
                "<ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId>"
                "</ResponseMetadata></GetCallerIdentityResponse>",
                req->caller->arn, req->caller->user_id, cloud->account);
}

/* What the two AssumeRole operations share; NULL with the error answered. */
static struct credential *assume(struct devcloud *cloud, struct request *req)
{
    const char *arn = json_str_or(req->params, "RoleArn", "");
    const char *session = json_str_or(req->params, "RoleSessionName", "");
    const char *role = strstr(arn, ":role/");
    char *end;
    long ttl = strtol(json_str_or(req->params, "DurationSeconds", "3600"), &end, 10);

    if (strcmp(json_str_or(req->params, "Version", ""), "2011-06-15") != 0)
        answer_error(&req->answer, 400, "InvalidAction", "Version must be 2011-06-15");
    else if (strncmp(arn, "arn:", 4) != 0 || role == NULL || role[6] == '\0')
        answer_error(&req->answer, 400, "ValidationError", "%.100s is invalid: RoleArn", arn);
    else if (strlen(session) < 2 || strlen(session) > SESSION_NAME_MAX)
        answer_error(&req->answer, 400, "ValidationError",
                     "RoleSessionName must have 2 to 64 characters");
    else if (*end != '\0' || ttl < 900 || ttl > 43200)
        answer_error(&req->answer, 400, "ValidationError",
                     "DurationSeconds must be between 900 and 43200");
    if (answer_failed(&req->answer))
        return NULL;
    /* A test that wants to see expiry sets credentials_ttl_s below what STS would allow. */
    uint64_t limit = cloud->set.credentials_ttl_s;
    return auth_issue(cloud, role + 6, session, (uint64_t)ttl < limit ? (uint64_t)ttl : limit);
}

static void answer_credentials(struct request *req, const struct credential *c, const char *op,
                               const char *more)
{
    char expires[CLOCK_TEXT_MAX];

    answer_text(&req->answer, 200, "text/xml",
                "<%sResponse xmlns=\"" XMLNS "\"><%sResult>%s<AssumedRoleUser><AssumedRoleId>%s"
                "</AssumedRoleId><Arn>%s</Arn></AssumedRoleUser><Credentials><AccessKeyId>%s"
                "</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>%s"
                "</SessionToken><Expiration>%s</Expiration></Credentials></%sResult>"
                "<ResponseMetadata><RequestId>00000000-0000-4000-8000-000000000000</RequestId>"
                "</ResponseMetadata></%sResponse>",
                op, op, more, c->user_id, c->arn, c->access_key, c->secret, c->token,
                clock_format_unix_ms(c->expires_ms, expires), op, op);
}

static void assume_role(struct devcloud *cloud, struct request *req)
{
    const struct credential *c = assume(cloud, req);

    if (c != NULL)
        answer_credentials(req, c, "AssumeRole", "");
}

static void assume_role_with_web_identity(struct devcloud *cloud, struct request *req)
{
    if (strlen(json_str_or(req->params, "WebIdentityToken", "")) < 4) {
        answer_error(&req->answer, 400, "InvalidIdentityToken",
                     "WebIdentityToken is missing or too short");
        return;
    }
    const struct credential *c = assume(cloud, req);
    if (c != NULL)
        answer_credentials(req, c, "AssumeRoleWithWebIdentity",
                           "<SubjectFromWebIdentityToken>dev</SubjectFromWebIdentityToken>");
}

const struct operation sts_operations[] = {
    {"GetCallerIdentity", get_caller_identity, BUCKET_NONE},
    {"AssumeRole", assume_role, BUCKET_NONE},
    {"AssumeRoleWithWebIdentity", assume_role_with_web_identity, BUCKET_NONE},
    {NULL, NULL, BUCKET_NONE},
};
