/* SPDX-License-Identifier: Apache-2.0
 * Who may call devcloud. */
#include "tests/unit/devcloud/client.h"

Test(auth, good_signature_is_accepted)
{
    struct client c = client_start(1, NULL);
    struct reply r = ecs(&c, "ListClusters", "{}");

    cr_expect_eq(r.status, 200, "%s", r.text);
    cr_expect_eq(json_array_size(json_arr(r.json, "clusterArns")), 1);
    cr_expect_not_null(strstr(r.text, "x-amzn-RequestId: "));
    cr_expect_not_null(strstr(r.text, "Content-Type: application/x-amz-json-1.1"));
    reply_free(&r);
    client_stop(&c);
}

static void expect_refused(const struct client *c, int status, const char *code)
{
    struct reply r = ecs(c, "ListClusters", "{}");

    cr_expect_eq(r.status, status, "%s", r.text);
    cr_expect_str_eq(code_of(&r), code);
    cr_expect_not_null(strstr(r.text, "x-amzn-ErrorType: "));
    reply_free(&r);
}

Test(auth, each_flaw_is_refused)
{
    struct client good = client_start(1, NULL), c = good;

    c.unsigned_request = true;
    expect_refused(&c, 400, "MissingAuthenticationTokenException");
    c = good;
    c.bad_signature = true;
    expect_refused(&c, 400, "InvalidSignatureException");
    c = good;
    c.access_key = "AKIANOBODY";
    expect_refused(&c, 400, "UnrecognizedClientException");
    c = good;
    c.secret = "wrong";
    expect_refused(&c, 400, "InvalidSignatureException");
    c = good;
    c.token = "a token that nobody issued";
    expect_refused(&c, 400, "UnrecognizedClientException");
    c = good;
    c.skew_s = -400;
    expect_refused(&c, 400, "InvalidSignatureException");
    c = good;
    c.skew_s = 400;
    expect_refused(&c, 400, "InvalidSignatureException");
    c = good;
    c.region = "eu-west-1";
    expect_refused(&c, 400, "InvalidSignatureException");
    c = good;
    c.more_header = "X-Amz-Meta: not signed\r\n";
    expect_refused(&c, 400, "InvalidSignatureException");
    c = good;
    c.skew_s = -200;
    struct reply r = ecs(&c, "ListClusters", "{}");
    cr_expect_eq(r.status, 200, "a small skew is fine");
    reply_free(&r);
    client_stop(&good);
}

/* Token, then the role's credentials, from the metadata service of instance 0. */
static json_t *role_credentials(const struct client *c, char *token, size_t cap)
{
    char path[256], header[256];
    const char *id = instance_of(c, 0, "id");

    snprintf(path, sizeof(path), "/_imds/%s/latest/api/token", id);
    struct reply r = plain(c, "PUT", path, "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n", "");
    cr_assert_eq(r.status, 200);
    snprintf(token, cap, "%s", strstr(r.text, "\r\n\r\n") + 4);
    reply_free(&r);
    snprintf(path, sizeof(path),
             "/_imds/%s/latest/meta-data/iam/security-credentials/blox-dev-instance", id);
    snprintf(header, sizeof(header), "X-aws-ec2-metadata-token: %s\r\n", token);
    r = plain(c, "GET", path, header, NULL);
    cr_assert_eq(r.status, 200, "%s", r.text);
    json_t *json = json_incref(r.json);
    reply_free(&r);
    return json;
}

Test(auth, instance_role_credentials_work_until_they_expire)
{
    struct client c = client_start(1, NULL);
    char token[128];

    uint64_t begun_ms = clock_mono_ms();
    CONTROL(&c, "set", "{\"credentials_ttl_s\":4}");
    json_t *credentials = role_credentials(&c, token, sizeof(token));
    c.access_key = json_str(credentials, "AccessKeyId");
    c.secret = json_str(credentials, "SecretAccessKey");
    expect_refused(&c, 400, "UnrecognizedClientException"); /* without its session token */
    c.token = json_str(credentials, "Token");
    struct reply r = ecs(&c, "ListClusters", "{}");
    cr_expect(r.status == 200 || clock_mono_ms() - begun_ms > 4000, "%s", r.text);
    reply_free(&r);
    usleep(4100 * 1000);
    expect_refused(&c, 403, "ExpiredTokenException");
    json_t *fresh = role_credentials(&c, token, sizeof(token));
    cr_expect_str_neq(json_str(fresh, "AccessKeyId"), c.access_key);
    json_decref(fresh);
    json_decref(credentials);
    client_stop(&c);
}

Test(auth, metadata_service_is_version_2_only)
{
    struct client c = client_start(1, NULL);
    char path[256], put[256];
    static const struct {
        const char *method, *header;
        bool token_path;
        int status;
    } CASES[] = {
        {"GET", NULL, false, 401},
        {"GET", "X-aws-ec2-metadata-token: made-up\r\n", false, 401},
        {"PUT", NULL, true, 400},
        {"PUT", "X-aws-ec2-metadata-token-ttl-seconds: 0\r\n", true, 400},
        {"PUT", "X-aws-ec2-metadata-token-ttl-seconds: 21601\r\n", true, 400},
        {"PUT", "X-aws-ec2-metadata-token-ttl-seconds: x\r\n", true, 400},
        {"PUT", "X-Forwarded-For: a\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n", true, 403},
        {"PUT", "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n", true, 200},
    };

    snprintf(path, sizeof(path), "/_imds/%s/latest/meta-data/instance-id",
             instance_of(&c, 0, "id"));
    snprintf(put, sizeof(put), "/_imds/%s/latest/api/token", instance_of(&c, 0, "id"));
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        struct reply r =
            plain(&c, CASES[i].method, CASES[i].token_path ? put : path, CASES[i].header, "");
        cr_expect_eq(r.status, CASES[i].status, "case %zu: %s", i, r.text);
        reply_free(&r);
    }
    client_stop(&c);
}

Test(auth, sts_issues_credentials_that_are_accepted)
{
    struct client c = client_start(0, NULL);
    char key[64] = "", secret[64] = "", token[256] = "";

    struct reply r = post(&c, "sts", "application/x-www-form-urlencoded", NULL,
                          "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3A"
                          "role%2Fdeploy&RoleSessionName=test");
    cr_assert_eq(r.status, 200, "%s", r.text);
    sscanf(strstr(r.text, "<AccessKeyId>"), "<AccessKeyId>%63[^<]", key);
    sscanf(strstr(r.text, "<SecretAccessKey>"), "<SecretAccessKey>%63[^<]", secret);
    sscanf(strstr(r.text, "<SessionToken>"), "<SessionToken>%255[^<]", token);
    reply_free(&r);
    c.access_key = key;
    c.secret = secret;
    c.token = token;
    r = post(&c, "sts", "application/x-www-form-urlencoded", NULL,
             "Action=GetCallerIdentity&Version=2011-06-15");
    cr_expect_eq(r.status, 200, "%s", r.text);
    cr_expect_not_null(strstr(r.text, "assumed-role/deploy/test"));
    reply_free(&r);
    c.bad_signature = true;
    r = post(&c, "sts", "application/x-www-form-urlencoded", NULL,
             "Action=GetCallerIdentity&Version=2011-06-15");
    cr_expect_eq(r.status, 403);
    cr_expect_not_null(strstr(r.text, "<Code>SignatureDoesNotMatch</Code>"));
    reply_free(&r);
    r = post(&c, "sts", "application/x-www-form-urlencoded", NULL,
             "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1"
             "%3Arole%2Fweb&RoleSessionName=test&WebIdentityToken=abcdef");
    cr_expect_eq(r.status, 200, "unsigned by design: %s", r.text);
    reply_free(&r);
    client_stop(&c);
}
