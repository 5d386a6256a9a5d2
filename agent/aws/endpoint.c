/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/endpoint.h"

#include <stdio.h>
#include <string.h>

static const struct partition {
    const char *prefix; /* of its Regions; the longer ones first */
    const char *name;
    const char *suffix;
    const char *dual_suffix;
} partitions[] = {
    {"cn-", "aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn"},
    {"us-gov-", "aws-us-gov", "amazonaws.com", "api.aws"},
    {"eusc-", "aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu"},
    {"us-iso-", "aws-iso", "c2s.ic.gov", "api.aws.ic.gov"},
    {"us-isob-", "aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud"},
    {"eu-isoe-", "aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"},
    {"us-isof-", "aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov"},
    {"", "aws", "amazonaws.com", "api.aws"},
};
#define PARTITIONS (sizeof partitions / sizeof partitions[0])

static const struct partition *partition_of(const char *region)
{
    size_t i = 0;
    while (strncmp(region, partitions[i].prefix, strlen(partitions[i].prefix)) != 0)
        i++;
    return &partitions[i];
}

const char *endpoint_partition(const char *region)
{
    return partition_of(region)->name;
}

static bool is_label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

bool endpoint_region_is_valid(const char *region)
{
    size_t n = strlen(region);
    if (n == 0 || n >= REGION_MAX || region[0] == '-' || region[n - 1] == '-')
        return false;
    for (const char *p = region; *p != '\0'; p++)
        if (!is_label_char(*p))
            return false;
    return true;
}

int endpoint_build(const char *service, const char *region, bool dual_stack, bool fips,
                   char out[ENDPOINT_URL_MAX])
{
    if (!endpoint_region_is_valid(region))
        return ERR_BADPARAM;
    const struct partition *p = partition_of(region);
    const char *suffix = dual_stack ? p->dual_suffix : p->suffix;
    /* GovCloud's ordinary STS and SQS hosts are the FIPS ones and have no -fips name; asking for
     * FIPS there gives the same host. */
    bool gov = strcmp(p->name, "aws-us-gov") == 0 && strcmp(service, "ecs") != 0 && !dual_stack;
    int n = snprintf(out, ENDPOINT_URL_MAX, "https://%s%s.%s.%s", service,
                     fips && !gov ? "-fips" : "", region, suffix);
    return n > 0 && n < ENDPOINT_URL_MAX ? 0 : ERR_TOOBIG;
}

int endpoint_check(const char *url, char out[ENDPOINT_URL_MAX], struct errmsg *e)
{
    size_t n = strlen(url);
    const char *host = strstr(url, "://");
    bool scheme = strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0;
    if (!scheme || host[3] == '\0' || host[3] == '/' || host[3] == ':')
        return errmsg_set(e, ERR_CONFIG, "endpoint \"%.80s\" must be http://HOST or https://HOST",
                          url);
    if (n >= ENDPOINT_URL_MAX)
        return errmsg_set(e, ERR_CONFIG, "endpoint \"%.80s...\" is too long", url);
    for (const char *p = url; *p != '\0'; p++)
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f || strchr("@?#\\\"", *p) != NULL)
            return errmsg_set(e, ERR_CONFIG,
                              "endpoint \"%.80s\" may hold only scheme, host, port and path", url);
    while (n > 0 && url[n - 1] == '/')
        n--;
    memcpy(out, url, n);
    out[n] = '\0';
    return 0;
}

bool endpoint_of_queue(const char *queue_url, char url[ENDPOINT_URL_MAX], char region[REGION_MAX])
{
    if (strncmp(queue_url, "https://", 8) != 0)
        return false;
    const char *host = queue_url + 8;
    size_t n = strcspn(host, "/");
    if (n == 0 || n > 255 || strcspn(host, "@:?#") < n)
        return false;
    char text[256];
    memcpy(text, host, n);
    text[n] = '\0';
    /* sqs.REGION.SUFFIX, sqs-fips.REGION.SUFFIX or NAME.sqs.REGION.vpce.SUFFIX */
    char *at = strncmp(text, "sqs.", 4) == 0        ? text + 4
               : strncmp(text, "sqs-fips.", 9) == 0 ? text + 9
                                                    : strstr(text, ".sqs.");
    if (at == NULL)
        return false;
    if (*at == '.')
        at += 5;
    size_t len = strcspn(at, ".");
    if (len == 0 || len >= REGION_MAX || at[len] != '.')
        return false;
    memcpy(region, at, len);
    region[len] = '\0';
    const char *rest = at + len + 1;
    if (strncmp(rest, "vpce.", 5) == 0)
        rest += 5;
    const struct partition *p = partition_of(region);
    if (!endpoint_region_is_valid(region) ||
        (strcmp(rest, p->suffix) != 0 && strcmp(rest, p->dual_suffix) != 0))
        return false;
    snprintf(url, ENDPOINT_URL_MAX, "https://%s", text);
    return true;
}
