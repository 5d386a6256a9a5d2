/* SPDX-License-Identifier: Apache-2.0
 * Who calls: credentials that were issued here, and the strict check of SigV4. */
#include <ctype.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "agent/devcloud/services.h"

#define SKEW_S 300
#define STS_CODE_COUNT 6

static struct credential *credential_new(struct devcloud *cloud, const char *access_key,
                                         const char *secret)
{
    struct credential *c = calloc(1, sizeof(*c));

    if (c == NULL)
        abort();
    snprintf(c->access_key, sizeof(c->access_key), "%s", access_key);
    snprintf(c->secret, sizeof(c->secret), "%s", secret);
    c->issued_ms = cloud_unix_ms();
    if (map_put(&cloud->credentials, c->access_key, c, NULL) != 0)
        abort();
    return c;
}

void cloud_auth_init(struct devcloud *cloud, const char *access_key, const char *secret)
{
    struct credential *c = credential_new(cloud, access_key, secret);

    c->arn = cloud_text("arn:%s:iam::%s:user/blox-dev", cloud->partition, cloud->account);
    c->user_id = cloud_text("AIDADEVCLOUDUSER0001");
    cloud->root = c;
}

struct credential *auth_issue(struct devcloud *cloud, const char *role, const char *session,
                              uint64_t ttl_s)
{
    char key[21] = "ASIA", secret[41], token[129];

    cloud_hex(cloud, key + 4, 16);
    for (size_t i = 4; i < 20; i++)
        key[i] = (char)toupper((unsigned char)key[i]);
    cloud_hex(cloud, secret, 40);
    cloud_hex(cloud, token, 128);
    struct credential *c = credential_new(cloud, key, secret);
    /* Real tokens are base64 with / + =, which is where signers go wrong. */
    c->token = cloud_text("IQoJb3JpZ2luX2VjE%s/+%s==", token, key);
    c->expires_ms = c->issued_ms + (int64_t)ttl_s * 1000;
    c->arn = cloud_text("arn:%s:sts::%s:assumed-role/%s/%s", cloud->partition, cloud->account, role,
                        session);
    c->user_id = cloud_text("AROADEVCLOUDROLE0001:%s", session);
    return c;
}

void cloud_auth_fini(struct devcloud *cloud)
{
    size_t at = 0;
    const char *key;
    void *value;

    while (map_next(&cloud->credentials, &at, &key, &value)) {
        struct credential *c = value;
        free(c->token);
        free(c->arn);
        free(c->user_id);
        free(c);
    }
    map_fini(&cloud->credentials);
}

/* The same refusal has other names and statuses in STS and EC2 (Query protocol) than in ECS and
 * SQS. */
static bool refuse(struct request *req, const char *code, const char *format, const char *detail)
{
    static const struct {
        const char *json, *query, *ec2;
        int sts, sqs, ecs;
    } CODES[STS_CODE_COUNT] = {
        {"MissingAuthenticationTokenException", "MissingAuthenticationToken", "AuthFailure", 403,
         403, 400},
        {"IncompleteSignatureException", "IncompleteSignature", "AuthFailure", 400, 400, 400},
        {"UnrecognizedClientException", "InvalidClientTokenId", "AuthFailure", 403, 403, 400},
        {"InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch", 403, 403,
         400},
        {"ExpiredTokenException", "ExpiredToken", "RequestExpired", 403, 403, 403},
        {"AccessDeniedException", "AccessDenied", "UnauthorizedOperation", 403, 403, 400},
    };

    for (size_t i = 0; i < STS_CODE_COUNT; i++) {
        if (strcmp(CODES[i].json, code) != 0)
            continue;
        bool ec2 = strcmp(req->service, "ec2") == 0;
        bool sts = ec2 || strcmp(req->service, "sts") == 0; /* their statuses */
        bool sqs = strcmp(req->service, "sqs") == 0;
        char text[256];
        snprintf(text, sizeof(text), "%s%s", format, detail);
        answer_error(&req->answer,
                     sts   ? CODES[i].sts
                     : sqs ? CODES[i].sqs
                           : CODES[i].ecs,
                     ec2   ? CODES[i].ec2
                     : sts ? CODES[i].query
                           : code,
                     "%s", text);
    }
    return false;
}

static bool parse_amz_date(const char *text, int64_t *ret_s)
{
    struct tm tm = {0};
    const char *end = text == NULL ? NULL : strptime(text, "%Y%m%dT%H%M%SZ", &tm);

    if (end == NULL || *end != '\0' || strlen(text) != 16)
        return false;
    *ret_s = (int64_t)timegm(&tm);
    return true;
}

/* Names in lower case, sorted, host and each x-amz-* header of the request among them. */
static const char *unsigned_header(const struct request *req, const struct sigv4_auth *auth)
{
    const char *before = "";
    char last[128] = "";

    for (const char *at = auth->signed_headers; *at != '\0';) {
        size_t len = strcspn(at, ";");
        char name[128];
        snprintf(name, sizeof(name), "%.*s", (int)(len < 127 ? len : 127), at);
        for (size_t i = 0; name[i] != '\0'; i++)
            if (isupper((unsigned char)name[i]))
                return "(names must be in lower case)";
        if (strcmp(last, name) >= 0)
            return "(names must be sorted)";
        if (cloud_request_header(req, name) == NULL)
            return "(a header that was not sent)";
        memcpy(last, name, sizeof(last));
        at += len + (at[len] == ';');
    }
    if (!sigv4_is_signed(auth, "host"))
        return "host";
    for (size_t i = 0; i < req->header_count; i++) {
        const char *name = req->headers[i].name;
        if (strncasecmp(name, "x-amz-", 6) == 0 && !sigv4_is_signed(auth, name))
            before = name;
    }
    return before[0] == '\0' ? NULL : before;
}

static struct credential *find_caller(struct devcloud *cloud, struct request *req,
                                      const struct sigv4_auth *auth)
{
    struct credential *c = map_get(&cloud->credentials, auth->access_key);
    const char *token = cloud_request_header(req, "x-amz-security-token");

    if (c == NULL) {
        refuse(req, "UnrecognizedClientException",
               "The security token included in the request is invalid.", "");
        return NULL;
    }
    if (c->token == NULL ? token != NULL : token == NULL || strcmp(token, c->token) != 0) {
        refuse(req, "UnrecognizedClientException",
               "The security token included in the request is invalid.", "");
        return NULL;
    }
    if (c->expires_ms != 0 && cloud_unix_ms() >= c->expires_ms) {
        refuse(req, "ExpiredTokenException",
               "The security token included in the request is expired", "");
        return NULL;
    }
    return c;
}

static bool check_scope(struct devcloud *cloud, struct request *req, const struct sigv4_auth *auth,
                        const char *amz_date)
{
    int64_t signed_s;

    if (!parse_amz_date(amz_date, &signed_s))
        return refuse(req, "IncompleteSignatureException",
                      "Date must be in ISO-8601 'basic format'. Got: ",
                      amz_date == NULL ? "nothing" : amz_date);
    if (strncmp(auth->date, amz_date, 8) != 0)
        return refuse(req, "InvalidSignatureException",
                      "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of "
                      "date from HTTP: ",
                      auth->date);
    if (strcmp(auth->service, req->service) != 0)
        return refuse(req, "InvalidSignatureException",
                      "Credential should be scoped to correct service: ", req->service);
    if (strcmp(auth->region, cloud->region) != 0)
        return refuse(req, "InvalidSignatureException",
                      "Credential should be scoped to a valid region, not ", auth->region);
    int64_t now = cloud_unix_ms() / 1000;
    if (signed_s + SKEW_S < now)
        return refuse(req, "InvalidSignatureException", "Signature expired: ", amz_date);
    if (signed_s - SKEW_S > now)
        return refuse(req, "InvalidSignatureException", "Signature not yet current: ", amz_date);
    return true;
}

bool auth_check(struct devcloud *cloud, struct request *req)
{
    const char *header = cloud_request_header(req, "authorization");
    const char *amz_date = cloud_request_header(req, "x-amz-date");
    struct sigv4_request signing = request_sigv4(req);
    struct sigv4_auth auth = {0};
    char expected[SIGV4_HEX];

    if (header == NULL)
        return refuse(req, "MissingAuthenticationTokenException", "Missing Authentication Token",
                      "");
    if (sigv4_parse(header, &auth) != 0)
        return refuse(req, "IncompleteSignatureException",
                      "Authorization header requires 'Credential', 'SignedHeaders' and "
                      "'Signature' parameters.",
                      "");
    snprintf(req->signed_region, sizeof(req->signed_region), "%s", auth.region);
    if (!check_scope(cloud, req, &auth, amz_date))
        return false;
    const char *missing = unsigned_header(req, &auth);
    if (missing != NULL)
        return refuse(req, "InvalidSignatureException",
                      "'SignedHeaders' must name host and every x-amz- header: ", missing);
    req->caller = find_caller(cloud, req, &auth);
    if (req->caller == NULL)
        return false;
    if (sigv4_expected(&signing, &auth, amz_date, req->caller->secret, &req->caller->key,
                       expected) != 0 ||
        strlen(auth.signature) != SIGV4_HEX - 1 ||
        sodium_memcmp(expected, auth.signature, SIGV4_HEX - 1) != 0)
        return refuse(req, "InvalidSignatureException",
                      "The request signature we calculated does not match the signature you "
                      "provided. Check your AWS Secret Access Key and signing method. Consult the "
                      "service documentation for details.",
                      "");
    return true;
}
