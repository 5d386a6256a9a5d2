/* SPDX-License-Identifier: Apache-2.0
 * The instance metadata service, version 2 only, of each instance at /_imds/INSTANCE-ID. */
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/devcloud/services.h"

#define TTL_MAX_S 21600
#define TOKENS_MAX 50000
#define ROLE "blox-dev-instance"
#define MAC "0e:49:61:0f:c3:11"

struct imds_token {
    const struct instance *instance;
    int64_t expires_ms;
};

static void plain(struct request *req, int status, const char *text)
{
    answer_text(&req->answer, status, "text/plain", "%s", text);
}

static void put_token(struct devcloud *cloud, struct request *req, const struct instance *in)
{
    const char *ttl_text = cloud_request_header(req, "x-aws-ec2-metadata-token-ttl-seconds");
    char *end = NULL;
    long ttl = ttl_text == NULL ? 0 : strtol(ttl_text, &end, 10);
    char token[57];

    if (cloud_request_header(req, "x-forwarded-for") != NULL) {
        plain(req, 403, "Forbidden");
        return;
    }
    if (ttl_text == NULL || *end != '\0' || ttl < 1 || ttl > TTL_MAX_S) {
        plain(req, 400, "Bad Request");
        return;
    }
    if (cloud->imds_tokens.count >= TOKENS_MAX)
        imds_fini(cloud); /* all are void: who gets a 401 takes a new one */
    struct imds_token *t = calloc(1, sizeof(*t));
    cloud_hex(cloud, token, 56);
    if (t == NULL || map_put(&cloud->imds_tokens, token, t, NULL) != 0)
        abort();
    t->instance = in;
    t->expires_ms = cloud_unix_ms() + ttl * 1000;
    plain(req, 200, token);
    answer_header(&req->answer, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl_text);
}

static bool is_admitted(struct devcloud *cloud, const struct request *req,
                        const struct instance *in)
{
    const char *token = cloud_request_header(req, "x-aws-ec2-metadata-token");
    const struct imds_token *t = token == NULL ? NULL : map_get(&cloud->imds_tokens, token);

    return t != NULL && t->instance == in && cloud_unix_ms() < t->expires_ms;
}

static void get_credentials(struct devcloud *cloud, struct request *req, struct instance *in)
{
    int64_t now = cloud_unix_ms();
    int64_t early = (int64_t)cloud->set.credentials_ttl_s * 1000 / 6;
    char issued[CLOCK_TEXT_MAX], expires[CLOCK_TEXT_MAX];

    /* New ones come at least five minutes before the old expire, or a sixth of a shorter life. */
    if (early > 5 * 60 * 1000)
        early = 5 * 60 * 1000;
    if (in->credential == NULL || in->credential->expires_ms - now < early)
        in->credential = auth_issue(cloud, ROLE, in->ec2_id, cloud->set.credentials_ttl_s);
    const struct credential *c = in->credential;
    answer_text(&req->answer, 200, "text/plain",
                "{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \"%.19sZ\",\n  \"Type\" : "
                "\"AWS-HMAC\",\n  \"AccessKeyId\" : \"%s\",\n  \"SecretAccessKey\" : \"%s\",\n  "
                "\"Token\" : \"%s\",\n  \"Expiration\" : \"%.19sZ\"\n}",
                clock_format_unix_ms(c->issued_ms, issued), c->access_key, c->secret, c->token,
                clock_format_unix_ms(c->expires_ms, expires));
}

static void get_document(struct devcloud *cloud, struct request *req, const struct instance *in)
{
    char pending[CLOCK_TEXT_MAX];

    answer_text(
        &req->answer, 200, "text/plain",
        "{\n  \"accountId\" : \"%s\",\n  \"architecture\" : \"%s\",\n  "
        "\"availabilityZone\" : \"%s\",\n  \"imageId\" : \"%s\",\n  \"instanceId\" : "
        "\"%s\",\n  \"instanceType\" : \"%s\",\n  \"pendingTime\" : \"%.19sZ\",\n  "
        "\"privateIp\" : \"%s\",\n  \"region\" : \"%s\",\n  \"version\" : \"2017-09-30\"\n}",
        cloud->account, json_str_or(in->attributes, "ecs.cpu-architecture", "x86_64"), in->zone,
        json_str_or(in->attributes, "ecs.ami-id", ""), in->ec2_id, in->type,
        clock_format_unix_ms(in->registered_ms, pending), in->address, cloud->region);
}

static void get_notice(struct request *req, const struct instance *in, const char *path)
{
    char time[CLOCK_TEXT_MAX];

    if (strcmp(path, "spot/instance-action") == 0 && in->spot_action[0] != '\0')
        answer_text(&req->answer, 200, "application/json",
                    "{\"action\": \"%s\", \"time\": \"%.19sZ\"}", in->spot_action,
                    clock_format_unix_ms(in->spot_ms, time));
    else if (strcmp(path, "spot/termination-time") == 0 &&
             strcmp(in->spot_action, "terminate") == 0)
        answer_text(&req->answer, 200, "text/plain", "%.19sZ",
                    clock_format_unix_ms(in->spot_ms, time));
    else if (strcmp(path, "events/recommendations/rebalance") == 0 && in->rebalance_ms != 0)
        answer_text(&req->answer, 200, "application/json", "{\"noticeTime\": \"%.19sZ\"}",
                    clock_format_unix_ms(in->rebalance_ms, time));
    else
        plain(req, 404, "Not Found");
}

/* NULL: not a plain value. */
static const char *plain_value(const struct devcloud *cloud, const struct instance *in,
                               const char *path)
{
    const struct {
        const char *path;
        const char *value;
    } values[] = {
        {"", "ami-id\ninstance-id\ninstance-type\nlocal-ipv4\nplacement/\nservices/"},
        {"instance-id", in->ec2_id},
        {"instance-type", in->type},
        {"ami-id", json_str(in->attributes, "ecs.ami-id")},
        {"instance-life-cycle", in->spot ? "spot" : "on-demand"},
        {"local-ipv4", in->address},
        {"mac", MAC},
        {"network/interfaces/macs/" MAC "/vpc-id", json_str(in->attributes, "ecs.vpc-id")},
        {"network/interfaces/macs/" MAC "/subnet-id", json_str(in->attributes, "ecs.subnet-id")},
        {"placement/region", cloud->region},
        {"placement/availability-zone", in->zone},
        {"placement/availability-zone-id", "use1-az1"},
        {"services/domain",
         strcmp(cloud->partition, "aws-cn") == 0 ? "amazonaws.com.cn" : "amazonaws.com"},
        {"services/partition", cloud->partition},
        {"autoscaling/target-lifecycle-state", in->lifecycle},
        {"events/maintenance/scheduled", "[]"},
        {"iam/security-credentials", ROLE},
        {"iam/security-credentials/", ROLE},
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        if (strcmp(values[i].path, path) == 0)
            return values[i].value;
    return NULL;
}

static void get_value(struct devcloud *cloud, struct request *req, struct instance *in,
                      const char *path)
{
    static const char META[] = "/latest/meta-data/";

    if (strcmp(path, "/latest/dynamic/instance-identity/document") == 0) {
        get_document(cloud, req, in);
        return;
    }
    if (strncmp(path, META, sizeof(META) - 1) != 0) {
        plain(req, 404, "Not Found");
        return;
    }
    path += sizeof(META) - 1;
    const char *value = plain_value(cloud, in, path);
    if (value != NULL)
        plain(req, 200, value);
    else if (strcmp(path, "iam/security-credentials/" ROLE) == 0)
        get_credentials(cloud, req, in);
    else
        get_notice(req, in, path);
}

void service_imds(struct devcloud *cloud, struct request *req)
{
    const char *at = req->path + strlen("/_imds/");
    size_t len = strcspn(at, "/");
    char id[64];

    snprintf(id, sizeof(id), "%.*s", (int)(len < 63 ? len : 63), at);
    struct instance *in = map_get(&cloud->by_ec2_id, id);
    if (in == NULL || in->host_gone) {
        req->reset = true; /* a host that is gone does not answer */
        return;
    }
    at += len;
    if (strcmp(at, "/latest/api/token") == 0 && strcmp(req->method, "PUT") == 0)
        put_token(cloud, req, in);
    else if (strcmp(req->method, "GET") != 0)
        plain(req, 405, "Method Not Allowed");
    else if (!is_admitted(cloud, req, in))
        plain(req, 401, "Unauthorized");
    else
        get_value(cloud, req, in, at);
}

void imds_fini(struct devcloud *cloud)
{
    size_t at = 0;
    const char *key;
    void *value;

    while (map_next(&cloud->imds_tokens, &at, &key, &value))
        free(value);
    map_fini(&cloud->imds_tokens);
}
