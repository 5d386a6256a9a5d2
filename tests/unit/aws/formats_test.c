/* SPDX-License-Identifier: Apache-2.0
 * Shared files, STS's XML, endpoints, credential JSON: tables, and mutated input that must only
 * never crash. */
#include <criterion/criterion.h>

#include "agent/aws/answer.h"
#include "agent/aws/chain.h"
#include "agent/aws/creds.h"
#include "agent/aws/curl_uv.h"
#include "agent/aws/endpoint.h"
#include "agent/aws/profile.h"
#include "agent/aws/query.h"
#include "agent/base/prng.h"

static const char config[] = "# comment\n"
                             "; another\r\n"
                             "[default]\n"
                             "region = eu-west-1\r\n"
                             "Output=json\n"
                             "[profile ci]\n"
                             "  role_arn = arn:aws:iam::1:role/a=b\n"
                             "source_profile=default\n"
                             "services = local\n"
                             "s3 =\n"
                             "  max_concurrent_requests = 20\n"
                             "[profile \"with blank\"]\n"
                             "region = us-east-1\n"
                             "[services local]\n"
                             "ecs =\n"
                             "  endpoint_url = http://127.0.0.1:1\n"
                             "sqs = \n"
                             "\tendpoint_url = http://127.0.0.1:2\n"
                             "[ignored]\n"
                             "x = 1\n"
                             "[sso-session s]\n"
                             "sso_region = x\n";

Test(profile, reads_the_dialect)
{
    static const struct {
        const char *kind, *name, *key, *value;
    } rows[] = {{"profile", "default", "region", "eu-west-1"},
                {"profile", "default", "output", "json"},
                {"profile", "default", "aws_access_key_id", "AKID"},
                {"profile", "default", "aws_secret_access_key", "a+b/c#d ;e="},
                {"profile", "ci", "role_arn", "arn:aws:iam::1:role/a=b"},
                {"profile", "ci", "s3.max_concurrent_requests", "20"},
                {"profile", "ci", "max_concurrent_requests", NULL},
                {"profile", "with blank", "region", "us-east-1"},
                {"services", "local", "ecs.endpoint_url", "http://127.0.0.1:1"},
                {"services", "local", "sqs.endpoint_url", "http://127.0.0.1:2"},
                {"profile", "ignored", "x", NULL},
                {"profile", "prod", "aws_access_key_id", "P"}};
    static const char credentials[] = "[default]\naws_access_key_id = AKID\n"
                                      "aws_secret_access_key= a+b/c#d ;e=\n[prod]\n"
                                      "aws_access_key_id=P\nempty=\n";
    struct profiles p = {0};
    struct errmsg e = {0};
    cr_assert_eq(profiles_parse(&p, config, sizeof config - 1, PROFILE_CONFIG, "config", &e), 0,
                 "%s", e.text);
    cr_assert_eq(profiles_parse(&p, credentials, sizeof credentials - 1, PROFILE_CREDENTIALS,
                                "credentials", &e),
                 0, "%s", e.text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *v = profiles_get(&p, rows[i].kind, rows[i].name, rows[i].key);
        if (rows[i].value == NULL)
            cr_assert(v == NULL, "row %zu", i);
        else
            cr_assert(v != NULL && strcmp(v, rows[i].value) == 0, "row %zu: %s", i, v);
    }
    cr_assert(profiles_has(&p, "profile", "with blank"));
    cr_assert_not(profiles_has(&p, "profile", "ignored"));
    cr_assert(profiles_get(&p, "profile", "prod", "empty") == NULL);
    profiles_fini(&p);
}

Test(profile, says_which_line_is_wrong_and_never_what_it_holds)
{
    static const struct {
        const char *text, *where;
    } rows[] = {{"[default]\nSECRETWORD\n", "f line 2"},
                {"SECRETWORD = 1\n", "f line 1"},
                {"[default\n", "f line 1"},
                {"[default] SECRETWORD\n", "f line 1"},
                {"[]\n", "f line 1"},
                {"[default]\n= SECRETWORD\n", "f line 2"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct profiles p = {0};
        struct errmsg e = {0};
        cr_assert_eq(
            profiles_parse(&p, rows[i].text, strlen(rows[i].text), PROFILE_CREDENTIALS, "f", &e),
            ERR_CONFIG, "row %zu", i);
        cr_assert(strncmp(e.text, rows[i].where, strlen(rows[i].where)) == 0, "%s", e.text);
        cr_assert(strstr(e.text, "SECRETWORD") == NULL, "%s", e.text);
        profiles_fini(&p);
    }
}

static const char sts[] =
    "<?xml version=\"1.0\"?>\n<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/\">\n"
    "<AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>"
    "<SecretAccessKey>s/e+c&amp;&lt;&#65;&#x42;</SecretAccessKey><SessionToken>t==</SessionToken>"
    "<Expiration>2030-01-01T00:00:00Z</Expiration></Credentials><!-- c --><Empty/>"
    "</AssumeRoleResult></AssumeRoleResponse>\n";

Test(query, reads_leaves)
{
    struct errmsg e = {0};
    json_t *v = query_parse_sts(sts, sizeof sts - 1, &e);
    cr_assert(v != NULL, "%s", e.text);
    cr_assert_str_eq(json_str(v, "AccessKeyId"), "ASIA");
    cr_assert_str_eq(json_str(v, "SecretAccessKey"), "s/e+c&<AB");
    cr_assert_str_eq(json_str(v, "Empty"), "");
    cr_assert(json_str(v, "Credentials") == NULL);
    struct creds c = {0};
    cr_assert_eq(creds_from_json(&c, v, CREDS_STS, "x", &e), 0, "%s", e.text);
    cr_assert_str_eq(c.token, "t==");
    cr_assert_eq(c.expires_unix_ms, 1893456000000);
    creds_wipe(&c);
    creds_wipe_json(v);
}

Test(query, refuses_what_is_no_such_answer)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "x",
                                      "<",
                                      "<a",
                                      "<a>",
                                      "<a></b>",
                                      "<a/><b/>",
                                      "</a>",
                                      "<a>&nope;</a>",
                                      "<a>&#0;</a>",
                                      "<a>&#xd800;</a>",
                                      "<a>&#99999999999;</a>",
                                      "<a>&amp</a>",
                                      "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
                                      "<a><![CDATA[x]]></a>",
                                      "<a b=\"<\"></a>x",
                                      "<a><b></a></b>",
                                      "<a b=\"></a>",
                                      "<a><!-- </a>",
                                      "<>x</>"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct errmsg e = {0};
        cr_assert(query_parse_sts(bad[i], strlen(bad[i]), &e) == NULL, "%s", bad[i]);
        cr_assert_neq(e.text[0], '\0');
    }
    char deep[2000] = "";
    for (size_t i = 0; i < 600; i += 3)
        memcpy(deep + i, "<a>", 4);
    cr_assert(query_parse_sts(deep, strlen(deep), NULL) == NULL);
}

Test(query, sqs_answers_take_the_shape_of_its_json)
{
    static const char *const cases[][2] = {
        {"<?xml version=\"1.0\"?><ReceiveMessageResponse xmlns=\"x\"><ReceiveMessageResult>"
         "<Message><MessageId>1</MessageId><ReceiptHandle>a&#43;b=</ReceiptHandle><Body>{&quot;k"
         "&quot;: "
         "&lt;1&gt;}</Body><Attribute><Name>SentTimestamp</Name><Value>5</Value></Attribute>"
         "</Message><Message><Body/></Message></ReceiveMessageResult><ResponseMetadata><RequestId>r"
         "</RequestId></ResponseMetadata></ReceiveMessageResponse>",
         "{\"Messages\": [{\"Attributes\": {\"SentTimestamp\": \"5\"}, \"Body\": \"{\\\"k\\\": "
         "<1>}\", "
         "\"MessageId\": \"1\", \"ReceiptHandle\": \"a+b=\"}, {\"Body\": \"\"}], \"RequestId\": "
         "\"r\"}"},
        {"<ReceiveMessageResponse><ReceiveMessageResult/></ReceiveMessageResponse>",
         "{\"ReceiveMessageResult\": \"\"}"},
        {"<DeleteMessageBatchResponse><DeleteMessageBatchResult><DeleteMessageBatchResultEntry><Id>"
         "m0"
         "</Id></DeleteMessageBatchResultEntry><BatchResultErrorEntry><Id>m1</Id><Code>X</Code>"
         "</BatchResultErrorEntry></DeleteMessageBatchResult></DeleteMessageBatchResponse>",
         "{\"Failed\": [{\"Code\": \"X\", \"Id\": \"m1\"}], \"Successful\": [{\"Id\": \"m0\"}]}"},
        {"<ErrorResponse><Error><Code>C</Code><Message>words</Message></Error></ErrorResponse>",
         "{\"Code\": \"C\", \"Message\": \"words\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct errmsg e = {{0}};
        json_t *v = query_parse_sqs(cases[i][0], strlen(cases[i][0]), &e);
        cr_assert_not_null(v, "case %zu: %s", i, e.text);
        char *text = json_dumps(v, JSON_SORT_KEYS);
        cr_assert_str_eq(text, cases[i][1]);
        free(text);
        json_decref(v);
        for (size_t len = 0; len < strlen(cases[i][0]); len++) /* cut anywhere: no leak, no crash */
            json_decref(query_parse_sqs(cases[i][0], len, NULL));
    }
}

Test(query, encodes_lists_as_sqs_numbers_them)
{
    struct buf out;
    json_t *params = json_pack("{s:s, s:i, s:[s], s:[{s:s, s:s}]}", "QueueUrl", "http://h/q",
                               "MaxNumberOfMessages", 10, "MessageSystemAttributeNames",
                               "SentTimestamp", "Entries", "Id", "m0", "ReceiptHandle", "a+b=");
    buf_init(&out, 4096);
    cr_assert_eq(query_encode_sqs("DeleteMessageBatch", params, &out), 0);
    cr_assert_not_null(strstr(out.data, "Action=DeleteMessageBatch&Version=2012-11-05&"));
    cr_assert_not_null(strstr(out.data, "&QueueUrl=http%3A%2F%2Fh%2Fq"));
    cr_assert_not_null(strstr(out.data, "&MaxNumberOfMessages=10"));
    cr_assert_not_null(strstr(out.data, "&AttributeName.1=SentTimestamp"));
    cr_assert_not_null(strstr(out.data, "&DeleteMessageBatchRequestEntry.1.Id=m0"));
    cr_assert_not_null(
        strstr(out.data, "&DeleteMessageBatchRequestEntry.1.ReceiptHandle=a%2Bb%3D"));
    buf_fini(&out);
    json_decref(params);
}

Test(query, encodes_a_form)
{
    struct buf out;
    json_t *params =
        json_pack("{s:s, s:i}", "RoleArn", "arn:x/y z&\xc3\xbc", "DurationSeconds", 900);
    buf_init(&out, 1000);
    cr_assert_eq(query_encode_sts("AssumeRole", params, &out), 0);
    cr_assert_str_eq(out.data, "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Ax%2Fy%20z%26%C3%"
                               "BC&DurationSeconds=900");
    json_object_set_new(params, "List", json_array());
    cr_assert_eq(query_encode_sts("AssumeRole", params, &out), ERR_BADPARAM);
    json_decref(params);
    buf_fini(&out);
}

Test(query, encodes_for_ec2_in_any_depth)
{
    struct buf out;
    json_t *params = json_pack("{s:[{s:s,s:[s,s]}],s:b}", "Filter", "Name", "instance-id", "Value",
                               "i-1", "i-2", "DryRun", 1);
    buf_init(&out, 1000);
    cr_assert_eq(query_encode_ec2("DescribeInstances", params, &out), ERR_BADPARAM, "no booleans");
    json_object_del(params, "DryRun");
    buf_clear(&out);
    cr_assert_eq(query_encode_ec2("DescribeInstances", params, &out), 0);
    cr_assert_str_eq(out.data, "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name="
                               "instance-id&Filter.1.Value.1=i-1&Filter.1.Value.2=i-2");
    buf_fini(&out);
    json_decref(params);
}

Test(creds, forms_and_faults)
{
#define KEYS "\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
    static const struct {
        enum creds_form form;
        int err;
        const char *text;
    } rows[] = {
        {CREDS_METADATA, 0,
         "{\"Code\":\"Success\"," KEYS "\"Token\":\"T\",\"Expiration\":\"2030-01-01T00:00:00Z\"}"},
        {CREDS_METADATA, ERR_AUTH,
         "{\"Code\":\"AssumeRoleUnauthorizedAccess\"," KEYS
         "\"Token\":\"T\",\"Expiration\":\"2030-01-01T00:00:00Z\"}"},
        {CREDS_METADATA, ERR_AUTH, "{" KEYS "\"Token\":\"T\"}"},
        {CREDS_METADATA, ERR_AUTH, "{" KEYS "\"Token\":\"T\",\"Expiration\":\"soon\"}"},
        {CREDS_METADATA, ERR_AUTH,
         "{\"AccessKeyId\":\"A\",\"Expiration\":\"2030-01-01T00:00:00Z\"}"},
        {CREDS_METADATA, ERR_AUTH,
         "{" KEYS "\"Token\":\"T\\r\\nX: y\",\"Expiration\":\"2030-01-01T00:00:00Z\"}"},
        {CREDS_PROCESS, 0, "{\"Version\":1," KEYS "\"SessionToken\":\"T\"}"},
        {CREDS_PROCESS, 0, "{\"Version\":1," KEYS "\"Expiration\":\"2030-01-01T00:00:00Z\"}"},
        {CREDS_PROCESS, ERR_AUTH, "{" KEYS "\"SessionToken\":\"T\"}"},
        {CREDS_PROCESS, ERR_AUTH, "{\"Version\":2," KEYS "\"SessionToken\":\"T\"}"},
        {CREDS_PROCESS, ERR_AUTH, "{\"Version\":1,\"AccessKeyId\":7,\"SecretAccessKey\":\"S\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct creds c = {0};
        struct errmsg e = {0};
        json_t *v = json_parse(rows[i].text, strlen(rows[i].text), &e);
        cr_assert(v != NULL, "row %zu: %s", i, e.text);
        cr_assert_eq(creds_from_json(&c, v, rows[i].form, "it", &e), rows[i].err, "row %zu: %s", i,
                     e.text);
        cr_assert_eq(c.access_key == NULL, rows[i].err != 0);
        creds_wipe(&c);
        creds_wipe_json(v);
    }
}

Test(endpoint, by_partition)
{
    static const struct {
        const char *service, *region;
        bool dual, fips;
        const char *url;
    } rows[] = {
        {"ecs", "eu-west-1", false, false, "https://ecs.eu-west-1.amazonaws.com"},
        {"ecs", "eu-west-1", true, false, "https://ecs.eu-west-1.api.aws"},
        {"ecs", "us-east-1", false, true, "https://ecs-fips.us-east-1.amazonaws.com"},
        {"ecs", "us-east-1", true, true, "https://ecs-fips.us-east-1.api.aws"},
        {"sqs", "cn-north-1", false, false, "https://sqs.cn-north-1.amazonaws.com.cn"},
        {"sqs", "us-gov-west-1", false, true, "https://sqs.us-gov-west-1.amazonaws.com"},
        {"ecs", "us-gov-west-1", false, true, "https://ecs-fips.us-gov-west-1.amazonaws.com"},
        {"sts", "us-iso-east-1", false, false, "https://sts.us-iso-east-1.c2s.ic.gov"},
        {"sts", "us-isob-east-1", false, false, "https://sts.us-isob-east-1.sc2s.sgov.gov"},
        {"ecs", "eusc-de-east-1", false, false, "https://ecs.eusc-de-east-1.amazonaws.eu"},
        {"ecs", "eu west", false, false, NULL},
        {"ecs", "evil.com/", false, false, NULL},
        {"ecs", "", false, false, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char url[ENDPOINT_URL_MAX] = "";
        int err = endpoint_build(rows[i].service, rows[i].region, rows[i].dual, rows[i].fips, url);
        cr_assert_eq(err, rows[i].url == NULL ? ERR_BADPARAM : 0, "row %zu", i);
        cr_assert(rows[i].url == NULL || strcmp(url, rows[i].url) == 0, "row %zu: %s", i, url);
    }
    cr_assert_str_eq(endpoint_partition("cn-north-1"), "aws-cn");
}

Test(endpoint, of_a_queue)
{
    static const struct {
        const char *queue, *url, *region;
    } rows[] = {{"https://sqs.eu-west-1.amazonaws.com/1/q", "https://sqs.eu-west-1.amazonaws.com",
                 "eu-west-1"},
                {"https://sqs.cn-north-1.amazonaws.com.cn/1/q",
                 "https://sqs.cn-north-1.amazonaws.com.cn", "cn-north-1"},
                {"https://vpce-1.sqs.us-east-1.vpce.amazonaws.com/1/q",
                 "https://vpce-1.sqs.us-east-1.vpce.amazonaws.com", "us-east-1"},
                {"https://sqs.eu-west-1.api.aws/1/q", "https://sqs.eu-west-1.api.aws", "eu-west-1"},
                {"http://sqs.eu-west-1.amazonaws.com/1/q", NULL, NULL},
                {"https://sqs.eu-west-1.amazonaws.com.evil.org/1/q", NULL, NULL},
                {"https://sqs.eu-west-1.evil.org/1/q", NULL, NULL},
                {"https://u@sqs.eu-west-1.amazonaws.com/1/q", NULL, NULL},
                {"https://127.0.0.1:9/1/q", NULL, NULL},
                {"", NULL, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char url[ENDPOINT_URL_MAX];
        char region[REGION_MAX];
        bool found = endpoint_of_queue(rows[i].queue, url, region);
        cr_assert_eq(found, rows[i].url != NULL, "row %zu", i);
        cr_assert(!found || (strcmp(url, rows[i].url) == 0 && strcmp(region, rows[i].region) == 0),
                  "row %zu: %s %s", i, url, region);
    }
}

Test(endpoint, checks_what_users_write)
{
    static const struct {
        const char *url, *clean;
    } rows[] = {{"http://127.0.0.1:9/", "http://127.0.0.1:9"},
                {"https://ecs.example/base/", "https://ecs.example/base"},
                {"http://[::1]:80", "http://[::1]:80"},
                {"ftp://x", NULL},
                {"127.0.0.1:9", NULL},
                {"http://", NULL},
                {"http:///x", NULL},
                {"http://u:p@x", NULL},
                {"http://x?y", NULL},
                {"http://x y", NULL},
                {"http://x\r\nHost: y", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[ENDPOINT_URL_MAX];
        struct errmsg e = {0};
        int err = endpoint_check(rows[i].url, out, &e);
        cr_assert_eq(err, rows[i].clean == NULL ? ERR_CONFIG : 0, "row %zu", i);
        cr_assert(err != 0 || strcmp(out, rows[i].clean) == 0, "row %zu: %s", i, out);
    }
}

Test(chain, container_hosts)
{
    static const struct {
        const char *url;
        bool allowed;
    } rows[] = {{"http://127.0.0.1:99/x", true},
                {"http://localhost/x", true},
                {"http://[::1]:9/x", true},
                {"http://169.254.170.2/v2", true},
                {"http://169.254.170.23/v1", true},
                {"http://[fd00:ec2::23]/v1", true},
                {"https://example.com/x", true},
                {"http://example.com/x", false},
                {"http://169.254.169.254/x", false},
                {"http://127.0.0.1@example.com/", false},
                {"http://127.0.0.1:80@example.com/", false},
                {"http://[fe80::1]/", false},
                {"http://[::1", false},
                {"http://", false},
                {"https:///x", false},
                {"ftp://127.0.0.1/", false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_assert_eq(chain_container_url_is_allowed(rows[i].url), rows[i].allowed, "%s",
                     rows[i].url);
    cr_assert(xfer_host_is_local("169.254.169.254", 15));
    cr_assert(xfer_host_is_local("[fd00:ec2::254]", 15));
    cr_assert(xfer_host_is_local("fe80::1%eth0", 12));
    cr_assert_not(xfer_host_is_local("127.evil.org", 12));
    cr_assert_not(xfer_host_is_local("10.0.0.1", 8));
}

static void mutate(struct prng *prng, char *text, size_t *len, size_t cap)
{
    for (uint64_t n = 1 + prng_below(prng, 4); n > 0; n--) {
        size_t at = (size_t)prng_below(prng, *len + 1);
        switch (prng_below(prng, 4)) {
        case 0:
            if (at < *len)
                text[at] = (char)prng_below(prng, 256);
            break;
        case 1:
            *len = at;
            break;
        case 2:
            if (at < *len) {
                memmove(text + at, text + at + 1, *len - at - 1);
                --*len;
            }
            break;
        default:
            if (*len < cap) {
                memmove(text + at + 1, text + at, *len - at);
                text[at] = "<>&=[]\n \t/\"{"[prng_below(prng, 12)];
                ++*len;
            }
        }
    }
}

Test(formats, mutated_input_never_crashes)
{
    static const char json[] = "{\"__type\":\"a#B:c\",\"message\":\"m\",\"nextToken\":\"t\","
                               "\"failures\":[{\"arn\":\"a\",\"reason\":\"AGENT\"}]}";
    static const struct {
        const char *text;
        size_t len;
    } seeds[] = {{config, sizeof config - 1}, {sts, sizeof sts - 1}, {json, sizeof json - 1}};
    struct prng prng;
    prng_seed(&prng, 42);
    for (unsigned i = 0; i < 30000; i++) {
        size_t kind = i % 3;
        size_t len = seeds[kind].len;
        char *text = malloc(len + 16);
        memcpy(text, seeds[kind].text, len);
        mutate(&prng, text, &len, len + 16);
        /* An exact copy, so that one byte read too many is seen. */
        char *exact = malloc(len == 0 ? 1 : len);
        memcpy(exact, text, len);
        struct errmsg e;
        struct profiles p = {0};
        struct answer a;
        int err = kind != 0
                      ? 0
                      : profiles_parse(&p, exact, len,
                                       i % 2 == 0 ? PROFILE_CONFIG : PROFILE_CREDENTIALS, "f", &e);
        cr_assert_leq(err, 0);
        answer_read(&a, i % 2 == 0 ? 200 : 400, exact, len, "",
                    kind == 1                 ? ANSWER_XML
                    : kind == 0 && i % 3 == 0 ? ANSWER_TAPE
                                              : ANSWER_JSON);
        answer_fini(&a);
        profiles_fini(&p);
        free(exact);
        free(text);
    }
}
