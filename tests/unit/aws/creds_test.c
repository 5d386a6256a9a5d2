/* SPDX-License-Identifier: Apache-2.0
 * Every source of credentials against a fake metadata service, container endpoint and STS on
 * loopback, and temporary files; refresh; what the user is told when it does not work. */
#include "tests/unit/aws/client.h"
#include "tests/unit/aws/fake_server.h"

#include <sys/stat.h>

#include "agent/base/clock.h"

/* All AWS that the client sees, in one server. */
struct world {
    struct fake f;
    char dir[64];
    unsigned tokens;    /* metadata tokens given out */
    unsigned imds_gets; /* of credentials */
    unsigned sts_calls;
    int64_t life_ms; /* of credentials given out */
    bool no_imds_role;
    bool imds_down;
    bool container_down;
    bool sts_denies;
    bool wrong_secret;
    char only_key[64]; /* ECS accepts this access key alone, "" any */
    char last_key[64]; /* that an ECS call was signed with */
    char last_token[256];
    char last_form[4096];
    char container_auth[64];
};

static void give_json(const struct world *w, struct fake_answer *answer, const char *key)
{
    char until[CLOCK_TEXT_MAX];
    clock_format_unix_ms(clock_unix_ms() + w->life_ms, until);
    snprintf(
        answer->body, sizeof answer->body,
        "{\"Code\":\"Success\",\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"S\",\"Token\":\"T-%s\","
        "\"Expiration\":\"%s\"}",
        key, key, until);
}

static void imds(struct world *w, const struct fake_request *rq, struct fake_answer *answer)
{
    char token[64] = "";
    char expected[64];
    char key[32];
    const char *path = rq->path + strlen("/prefix");
    if (w->imds_down) {
        answer->status = 500;
        return;
    }
    if (strcmp(path, "/latest/api/token") == 0) {
        bool right = strcmp(rq->method, "PUT") == 0 &&
                     fake_header(rq, "X-aws-ec2-metadata-token-ttl-seconds", token, sizeof token);
        answer->status = right ? 200 : 400;
        snprintf(answer->body, sizeof answer->body, "TOKEN-%u", ++w->tokens);
        return;
    }
    snprintf(expected, sizeof expected, "TOKEN-%u", w->tokens);
    fake_header(rq, "X-aws-ec2-metadata-token", token, sizeof token);
    if (strcmp(token, expected) != 0) {
        answer->status = 401;
        return;
    }
    if (strcmp(path, "/latest/meta-data/iam/security-credentials/") == 0 && !w->no_imds_role) {
        snprintf(answer->body, sizeof answer->body, "ecsInstanceRole");
    } else if (strcmp(path, "/latest/meta-data/iam/security-credentials/ecsInstanceRole") == 0) {
        snprintf(key, sizeof key, "IMDS%u", ++w->imds_gets);
        give_json(w, answer, key);
    } else if (strcmp(path, "/latest/meta-data/placement/region") == 0) {
        snprintf(answer->body, sizeof answer->body, "ap-south-1");
    } else {
        answer->status = 404;
    }
}

static void sts(struct world *w, const struct fake_request *rq, struct fake_answer *answer)
{
    char until[CLOCK_TEXT_MAX];
    snprintf(w->last_form, sizeof w->last_form, "%s", rq->body);
    w->sts_calls++;
    if (w->sts_denies) {
        answer->status = 403;
        snprintf(answer->body, sizeof answer->body,
                 "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message>"
                 "</Error></ErrorResponse>");
        return;
    }
    clock_format_unix_ms(clock_unix_ms() + w->life_ms, until);
    snprintf(answer->body, sizeof answer->body,
             "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>STS%u</AccessKeyId>"
             "<SecretAccessKey>S</SecretAccessKey><SessionToken>T-STS</SessionToken>"
             "<Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
             w->sts_calls, until);
}

static void serve(void *arg, const struct fake_request *rq, struct fake_answer *answer)
{
    struct world *w = arg;
    char text[512] = "";
    if (strncmp(rq->path, "/prefix/", 8) == 0) {
        imds(w, rq, answer);
        return;
    }
    if (strcmp(rq->path, "/container") == 0) {
        w->container_auth[0] = '\0';
        fake_header(rq, "Authorization", w->container_auth, sizeof w->container_auth);
        answer->status = w->container_down ? 503 : 200;
        give_json(w, answer, "CONTAINER");
        return;
    }
    bool is_signed = fake_header(rq, "Authorization", text, sizeof text);
    const char *key = is_signed ? strstr(text, "Credential=") : NULL;
    snprintf(w->last_key, sizeof w->last_key, "%.*s", key == NULL ? 0 : (int)strcspn(key + 11, "/"),
             key == NULL ? "" : key + 11);
    w->last_token[0] = '\0';
    fake_header(rq, "X-Amz-Security-Token", w->last_token, sizeof w->last_token);
    if (!fake_header(rq, "X-Amz-Target", text, sizeof text)) {
        sts(w, rq, answer);
    } else if (w->wrong_secret) {
        answer->status = 400;
        snprintf(answer->body, sizeof answer->body,
                 "{\"__type\":\"InvalidSignatureException\",\"message\":\"no match\"}");
    } else if (w->only_key[0] != '\0' && strcmp(w->only_key, w->last_key) != 0) {
        answer->status = 400;
        snprintf(answer->body, sizeof answer->body,
                 "{\"__type\":\"ExpiredTokenException\",\"message\":\"expired\"}");
    } else {
        snprintf(answer->body, sizeof answer->body, "{}");
    }
}

static void write_file(const struct world *w, const char *name, const char *text, mode_t mode)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", w->dir, name);
    FILE *file = fopen(path, "w");
    cr_assert(file != NULL);
    fputs(text, file);
    fclose(file);
    chmod(path, mode);
}

static void remove_files(const struct world *w)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    cr_assert_eq(system(command), 0);
}

static void world_start(struct world *w)
{
    char path[128];
    clean_environment();
    unsetenv("AWS_EC2_METADATA_DISABLED");
    snprintf(w->dir, sizeof w->dir, "/tmp/blox-aws-XXXXXX");
    cr_assert(mkdtemp(w->dir) != NULL);
    w->life_ms = 3600 * 1000;
    fake_start(&w->f, serve, w);
    snprintf(path, sizeof path, "%s/prefix", w->f.url);
    setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", path, 1);
    setenv("AWS_ENDPOINT_URL", w->f.url, 1);
    snprintf(path, sizeof path, "%s/config", w->dir);
    setenv("AWS_CONFIG_FILE", path, 1);
    snprintf(path, sizeof path, "%s/credentials", w->dir);
    setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    setenv("BLOX_TEST_DIR", w->dir, 1);
    write_file(w, "config", "", 0600);
    write_file(w, "credentials", "", 0600);
}

/* One ECS call; the access key it was signed with is in w->last_key. */
static struct outcome one_call(struct client *c)
{
    struct outcome o = client_call(c, AWS_ECS, "ListClusters", NULL, NULL);
    json_decref(o.body);
    return o;
}

static void expect_key(struct world *w, struct aws_options options, const char *key,
                       const char *source)
{
    struct client c;
    if (options.region == NULL)
        options.region = "eu-west-1";
    client_start(&c, options);
    struct outcome o = one_call(&c);
    cr_assert_eq(o.err, 0, "%s: %s", source, o.message);
    cr_assert_str_eq(w->last_key, key, "%s gave %s", source, w->last_key);
    json_t *status = aws_status(c.aws);
    cr_assert_str_eq(json_str(json_obj(status, "credentials"), "source"), source);
    json_decref(status);
    cr_assert_str_eq(aws_trouble(c.aws), "");
    client_stop(&c);
}

static void expect_trouble(struct aws_options options, const char *part)
{
    struct client c;
    if (options.region == NULL)
        options.region = "eu-west-1";
    client_start(&c, options);
    struct outcome o = one_call(&c);
    cr_assert_eq(o.err, ERR_AUTH, "%d %s", o.err, o.message);
    cr_assert_eq(o.attempts, 0);
    cr_assert(strstr(o.message, part) != NULL, "\"%s\" is not in \"%s\"", part, o.message);
    cr_assert(strstr(aws_trouble(c.aws), part) != NULL, "%s", aws_trouble(c.aws));
    client_stop(&c);
}

Test(aws_creds, environment)
{
    static struct world w;
    world_start(&w);
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    expect_trouble((struct aws_options){0}, "AWS_ACCESS_KEY_ID is set without");
    setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
    setenv("AWS_SESSION_TOKEN", "T", 1);
    expect_key(&w, (struct aws_options){0}, "ENV", "environment");
    cr_assert_str_eq(w.last_token, "T");
    remove_files(&w);
}

Test(aws_creds, shared_files)
{
    static struct world w;
    world_start(&w);
    write_file(&w, "credentials",
               "[default]\naws_access_key_id=FILE\naws_secret_access_key=S\n"
               "[other]\naws_access_key_id=OTHER\naws_secret_access_key=S\naws_session_token=T\n"
               "[half]\naws_access_key_id=HALF\n",
               0600);
    expect_key(&w, (struct aws_options){0}, "FILE", "profile default");
    setenv("AWS_PROFILE", "other", 1);
    expect_key(&w, (struct aws_options){0}, "OTHER", "profile other");
    cr_assert_str_eq(w.last_token, "T");
    expect_trouble((struct aws_options){.profile = "half"}, "without aws_secret_access_key");
    expect_trouble((struct aws_options){.profile = "none"}, "\"none\" does not exist");
    /* Keys in the environment go before AWS_PROFILE, a profile by option before both. */
    setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "S", 1);
    expect_key(&w, (struct aws_options){0}, "ENV", "environment");
    expect_key(&w, (struct aws_options){.profile = "default"}, "FILE", "profile default");
    remove_files(&w);
}

Test(aws_creds, bad_files_are_named)
{
    static struct world w;
    char path[128];
    world_start(&w);
    write_file(&w, "credentials", "[default]\nnonsense\n", 0600);
    expect_trouble((struct aws_options){0}, "credentials line 2: expected key = value");
    snprintf(path, sizeof path, "%s/missing", w.dir);
    setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    expect_trouble((struct aws_options){0}, "AWS_SHARED_CREDENTIALS_FILE: cannot read");
    setenv("AWS_SHARED_CREDENTIALS_FILE", w.dir, 1);
    expect_trouble((struct aws_options){0}, "is not a regular file");
    snprintf(path, sizeof path, "%s/credentials", w.dir);
    setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    chmod(w.dir, 0755);
    chmod(path, 0);
    if (geteuid() == 0)
        cr_assert_eq(seteuid(65534), 0); /* root reads everything */
    expect_trouble((struct aws_options){0}, "Permission denied");
    if (getuid() == 0)
        cr_assert_eq(seteuid(0), 0);
    remove_files(&w);
}

Test(aws_creds, roles_on_top_of_a_profile)
{
    static struct world w;
    world_start(&w);
    write_file(
        &w, "config",
        "[profile base]\naws_access_key_id=BASE\naws_secret_access_key=S\n"
        "[profile one]\nrole_arn=arn:aws:iam::1:role/one\nsource_profile=base\n"
        "external_id=x y\nduration_seconds=900\n"
        "[profile two]\nrole_arn=arn:aws:iam::1:role/two\nsource_profile=one\n"
        "[profile loop]\nrole_arn=arn:aws:iam::1:role/l\nsource_profile=pool\n"
        "[profile pool]\nrole_arn=arn:aws:iam::1:role/p\nsource_profile=loop\n"
        "[profile bare]\nrole_arn=arn:aws:iam::1:role/b\n"
        "[profile mfa]\nrole_arn=arn:aws:iam::1:role/b\nsource_profile=base\nmfa_serial=m\n"
        "[profile sso]\nsso_session=s\n"
        "[profile named]\nrole_arn=arn:aws:iam::1:role/n\ncredential_source=Ec2InstanceMetadata\n",
        0600);
    expect_key(&w, (struct aws_options){.profile = "one"}, "STS1", "profile base");
    cr_assert(strstr(w.last_form, "ExternalId=x%20y") != NULL, "%s", w.last_form);
    cr_assert(strstr(w.last_form, "DurationSeconds=900") != NULL);
    expect_key(&w, (struct aws_options){.profile = "two"}, "STS3", "profile base");
    cr_assert_eq(w.sts_calls, 3, "two roles, one after the other");
    expect_key(&w, (struct aws_options){.profile = "named"}, "STS4",
               "instance metadata, role ecsInstanceRole");
    expect_trouble((struct aws_options){.profile = "loop"}, "circle");
    expect_trouble((struct aws_options){.profile = "bare"}, "needs one of source_profile");
    expect_trouble((struct aws_options){.profile = "mfa"}, "MFA");
    expect_trouble((struct aws_options){.profile = "sso"}, "SSO");
    w.sts_denies = true;
    expect_trouble((struct aws_options){.profile = "one"}, "AccessDenied: not you");
    remove_files(&w);
}

Test(aws_creds, credential_process)
{
    static struct world w;
    world_start(&w);
    write_file(&w, "config",
               "[profile good]\ncredential_process = printf '{\"Version\":1,\"AccessKeyId\":\"%s\","
               "\"SecretAccessKey\":\"S\"}' \"PROC\"\n"
               "[profile fails]\ncredential_process = echo why >&2; exit 3\n"
               "[profile chatty]\ncredential_process = head -c 100000 /dev/zero\n"
               "[profile broken]\ncredential_process = echo hello\n",
               0600);
    expect_key(&w, (struct aws_options){.profile = "good"}, "PROC",
               "profile good (credential_process)");
    expect_trouble((struct aws_options){.profile = "fails"}, "status 3: why");
    expect_trouble((struct aws_options){.profile = "chatty"}, "more than 65536 bytes");
    expect_trouble((struct aws_options){.profile = "broken"}, "JSON");
    remove_files(&w);
}

Test(aws_creds, a_process_that_hangs_does_not_hold_the_end)
{
    static struct world w;
    struct client c;
    struct outcome o = {0};
    world_start(&w);
    write_file(&w, "config",
               "[profile slow]\ncredential_process = touch $BLOX_TEST_DIR/on; sleep 99\n", 0600);
    client_start(&c, (struct aws_options){.profile = "slow", .region = "eu-west-1"});
    aws_call(c.aws, AWS_ECS, "ListClusters", NULL, NULL, on_outcome, &o);
    char path[128];
    snprintf(path, sizeof path, "%s/on", w.dir);
    while (access(path, F_OK) != 0)
        uv_run(&c.loop, UV_RUN_NOWAIT);
    client_stop(&c);
    cr_assert_eq(o.runs, 1);
    cr_assert_eq(o.err, ERR_CANCELED);
    remove_files(&w);
}

Test(aws_creds, web_identity)
{
    static struct world w;
    char path[128];
    world_start(&w);
    snprintf(path, sizeof path, "%s/token", w.dir);
    setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path, 1);
    expect_trouble((struct aws_options){0}, "without AWS_ROLE_ARN");
    setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/web", 1);
    expect_trouble((struct aws_options){0}, "token: No such file");
    write_file(&w, "token", "eyJ.x-y\n", 0600);
    w.last_key[0] = '\0';
    expect_key(&w, (struct aws_options){0}, "STS1", "web identity");
    cr_assert_str_eq(w.last_form, "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%"
                                  "3Aaws%3Aiam%3A%3A1%3Arole%2Fweb&RoleSessionName=blox&"
                                  "WebIdentityToken=eyJ.x-y");
    for (unsigned i = 0; i < w.f.count; i++) {
        char auth[256];
        bool is_sts = strstr(w.f.requests[i]->body, "WebIdentity") != NULL;
        cr_assert_not(is_sts && fake_header(w.f.requests[i], "Authorization", auth, sizeof auth));
    }
    remove_files(&w);
}

Test(aws_creds, container)
{
    static struct world w;
    char url[128];
    world_start(&w);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/x", 1);
    expect_trouble((struct aws_options){0}, "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https");
    snprintf(url, sizeof url, "%s/container", w.f.url);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
    expect_key(&w, (struct aws_options){0}, "CONTAINER", "container");
    cr_assert_str_eq(w.container_auth, "");
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc", 1);
    expect_key(&w, (struct aws_options){0}, "CONTAINER", "container");
    cr_assert_str_eq(w.container_auth, "Basic abc");
    snprintf(url, sizeof url, "%s/auth", w.dir);
    setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", url, 1);
    expect_trouble((struct aws_options){0}, "auth: No such file");
    write_file(&w, "auth", "from-file\n", 0600);
    expect_key(&w, (struct aws_options){0}, "CONTAINER", "container");
    cr_assert_str_eq(w.container_auth, "from-file");
    write_file(&w, "auth", "a\r\nX-Evil: b\n", 0600);
    expect_trouble((struct aws_options){0}, "line break");
    write_file(&w, "auth", "x", 0600);
    w.container_down = true;
    expect_trouble((struct aws_options){0}, "status 503");
    remove_files(&w);
}

Test(aws_creds, instance_metadata_gives_region_and_credentials)
{
    static struct world w;
    struct client c;
    world_start(&w);
    client_start(&c, (struct aws_options){0});
    cr_assert_str_eq(aws_region(c.aws), "");
    struct outcome o = one_call(&c);
    cr_assert_eq(o.err, 0, "%s", o.message);
    cr_assert_str_eq(aws_region(c.aws), "ap-south-1");
    cr_assert_str_eq(w.last_key, "IMDS1");
    cr_assert_str_eq(w.last_token, "T-IMDS1");
    cr_assert_eq(w.tokens, 1, "one session token serves all");
    client_stop(&c);
    remove_files(&w);
}

static void on_get(void *arg, int err, int status, const char *body, size_t len)
{
    struct outcome *o = arg;
    o->runs++;
    o->err = err;
    o->status = status;
    snprintf(o->message, sizeof o->message, "%.*s", (int)len, body == NULL ? "" : body);
}

Test(aws_creds, a_metadata_token_is_renewed_on_401)
{
    static struct world w;
    struct client c;
    struct outcome o = {0};
    world_start(&w);
    client_start(&c, (struct aws_options){0});
    cr_assert_eq(aws_imds_get(c.aws, "placement/region", on_get, &o), 0);
    client_wait(&c, &o, 1);
    cr_assert_str_eq(o.message, "ap-south-1");
    w.tokens++; /* the service forgot the one it gave */
    cr_assert_eq(aws_imds_get(c.aws, "placement/region", on_get, &o), 0);
    client_wait(&c, &o, 2);
    cr_assert_eq(o.err, 0);
    cr_assert_str_eq(o.message, "ap-south-1");
    cr_assert_eq(aws_imds_get(c.aws, "spot/instance-action", on_get, &o), 0);
    client_wait(&c, &o, 3);
    cr_assert_eq(o.err, ERR_NOTFOUND);
    cr_assert_eq(o.status, 404);
    client_stop(&c);
    remove_files(&w);
}

Test(aws_creds, nothing_at_all_is_said_clearly)
{
    static struct world w;
    struct client c;
    world_start(&w);
    w.no_imds_role = true;
    expect_trouble((struct aws_options){0}, "no IAM role");
    w.imds_down = true;
    expect_trouble((struct aws_options){0}, "metadata service answered with status 500");
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    expect_trouble((struct aws_options){0}, "AWS_EC2_METADATA_DISABLED is true");
    client_start(&c, (struct aws_options){0});
    struct outcome o = one_call(&c);
    cr_assert_eq(o.err, ERR_AUTH);
    cr_assert_str_eq(o.code, "NoRegion");
    cr_assert(strstr(aws_trouble(c.aws), "set AWS_REGION") != NULL, "%s", aws_trouble(c.aws));
    client_stop(&c);
    remove_files(&w);
}

Test(aws_creds, are_refreshed_before_they_end)
{
    static struct world w;
    struct client c;
    world_start(&w);
    w.life_ms = 12000; /* valid for 2 s more than the margin: renewed after a quarter */
    client_start(&c, (struct aws_options){.region = "eu-west-1"});
    struct outcome o = one_call(&c);
    cr_assert_eq(o.err, 0, "%s", o.message);
    cr_assert_str_eq(w.last_key, "IMDS1");
    w.life_ms = 3600 * 1000;
    while (w.imds_gets < 2) /* no call asks for it */
        uv_run(&c.loop, UV_RUN_ONCE);
    o = one_call(&c);
    cr_assert_eq(o.err, 0);
    cr_assert_str_eq(w.last_key, "IMDS2");
    client_stop(&c);
    remove_files(&w);
}

Test(aws_creds, many_calls_wait_for_one_refresh)
{
    static struct world w;
    struct client c;
    struct outcome o = {0};
    world_start(&w);
    client_start(&c, (struct aws_options){.region = "eu-west-1"});
    for (int i = 0; i < 20; i++)
        aws_call(c.aws, AWS_ECS, "ListClusters", NULL, NULL, on_outcome, &o);
    client_wait(&c, &o, 20);
    cr_assert_eq(o.err, 0);
    cr_assert_eq(w.imds_gets, 1);
    json_decref(o.body);
    client_stop(&c);
    remove_files(&w);
}

Test(aws_creds, an_expired_token_is_replaced_and_the_call_repeated)
{
    static struct world w;
    struct client c;
    world_start(&w);
    client_start(&c, (struct aws_options){.region = "eu-west-1"});
    struct outcome o = one_call(&c);
    cr_assert_str_eq(w.last_key, "IMDS1");
    snprintf(w.only_key, sizeof w.only_key, "IMDS2");
    o = one_call(&c);
    cr_assert_eq(o.err, 0, "%s", o.message);
    cr_assert_eq(o.attempts, 2);
    cr_assert_str_eq(aws_trouble(c.aws), "");
    /* Refused for good: said so, and the metadata service is not asked again and again. */
    snprintf(w.only_key, sizeof w.only_key, "NONE");
    for (int i = 0; i < 5; i++) {
        o = one_call(&c);
        cr_assert_eq(o.err, ERR_AUTH);
        cr_assert_str_eq(o.code, "ExpiredTokenException");
    }
    cr_assert_leq(w.imds_gets, 3);
    cr_assert(strstr(aws_trouble(c.aws), "AWS refuses the credentials") != NULL, "%s",
              aws_trouble(c.aws));
    w.only_key[0] = '\0';
    o = one_call(&c);
    cr_assert_eq(o.err, 0);
    cr_assert_str_eq(aws_trouble(c.aws), "");
    client_stop(&c);
    remove_files(&w);
}

Test(aws_creds, a_wrong_secret_is_told)
{
    static struct world w;
    struct client c;
    world_start(&w);
    w.wrong_secret = true;
    client_start(&c, (struct aws_options){.region = "eu-west-1"});
    struct outcome o = one_call(&c);
    cr_assert_eq(o.err, ERR_AUTH);
    cr_assert_eq(o.attempts, 1);
    cr_assert(strstr(aws_trouble(c.aws), "AWS refuses the credentials from instance metadata") !=
                  NULL,
              "%s", aws_trouble(c.aws));
    client_stop(&c);
    remove_files(&w);
}

Test(aws_creds, endpoints_come_from_the_profile)
{
    static struct world w;
    char text[512];
    struct client c;
    world_start(&w);
    unsetenv("AWS_ENDPOINT_URL");
    snprintf(text, sizeof text,
             "[default]\nregion=eu-north-1\nservices=local\nendpoint_url=http://127.0.0.1:1\n"
             "aws_access_key_id=FILE\naws_secret_access_key=S\n[services local]\necs =\n"
             "  endpoint_url = %s\n",
             w.f.url);
    write_file(&w, "config", text, 0600);
    client_start(&c, (struct aws_options){0});
    struct outcome o = one_call(&c);
    cr_assert_eq(o.err, 0, "%s", o.message);
    cr_assert_str_eq(aws_region(c.aws), "eu-north-1");
    json_t *status = aws_status(c.aws);
    cr_assert_str_eq(json_str(json_obj(status, "custom_endpoints"), "sqs"), "http://127.0.0.1:1");
    json_decref(status);
    client_stop(&c);
    setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true", 1);
    client_start(&c, (struct aws_options){0});
    status = aws_status(c.aws);
    cr_assert_eq(json_object_size(json_obj(status, "custom_endpoints")), 0);
    json_decref(status);
    client_stop(&c);
    unsetenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    struct errmsg e;
    uv_loop_t loop;
    uv_loop_init(&loop);
    struct aws_options bad = {.loop = &loop, .ecs_endpoint = "ftp://x"};
    cr_assert_eq(aws_create(&c.aws, &bad, &e), ERR_CONFIG);
    bad = (struct aws_options){.loop = &loop, .region = "eu west"};
    cr_assert_eq(aws_create(&c.aws, &bad, &e), ERR_CONFIG);
    bad = (struct aws_options){.loop = &loop, .imds_endpoint = "nowhere"};
    cr_assert_eq(aws_create(&c.aws, &bad, &e), ERR_CONFIG);
    uv_run(&loop, UV_RUN_DEFAULT);
    cr_assert_eq(uv_loop_close(&loop), 0);
    remove_files(&w);
}
