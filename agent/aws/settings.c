/* SPDX-License-Identifier: Apache-2.0
 * Region and endpoints: options, then the environment, then the profile ("Service-specific
 * endpoints" and "Dual-stack and FIPS endpoints", AWS SDKs and Tools Reference Guide). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/aws/aws_int.h"
#include "agent/aws/profile.h"
#include "agent/base/log.h"

static const char *const services[AWS_SERVICES] = {"ecs", "sqs", "sts", "ec2"};

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static const char *first_of(const char *a, const char *b)
{
    return a != NULL && a[0] != '\0' ? a : b;
}

static bool is_true(const char *text)
{
    return text != NULL && strcasecmp(text, "true") == 0;
}

/* The profile's own endpoint of a service, then the one of all services. */
static const char *profile_endpoint(const struct profiles *p, const char *profile,
                                    const char *service, bool specific)
{
    if (!specific)
        return profiles_get(p, "profile", profile, "endpoint_url");
    const char *section = profiles_get(p, "profile", profile, "services");
    char key[32];
    snprintf(key, sizeof key, "%s.endpoint_url", service);
    return section == NULL ? NULL : profiles_get(p, "services", section, key);
}

static const char *configured_endpoint(const struct profiles *p, const char *profile,
                                       enum aws_service service)
{
    static const char *const variables[AWS_SERVICES] = {
        "AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_STS",
        "AWS_ENDPOINT_URL_EC2"};
    if (is_true(first_of(env("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"),
                         profiles_get(p, "profile", profile, "ignore_configured_endpoint_urls"))))
        return NULL;
    const char *url = env(variables[service]);
    url = first_of(url, env("AWS_ENDPOINT_URL"));
    url = first_of(url, profile_endpoint(p, profile, services[service], true));
    return first_of(url, profile_endpoint(p, profile, services[service], false));
}

static int set_region(struct aws_settings *s, const char *region, struct errmsg *e)
{
    if (region == NULL)
        return 0;
    if (!endpoint_region_is_valid(region))
        return errmsg_set(e, ERR_CONFIG, "\"%.60s\" is no AWS Region, expected one like eu-west-1",
                          region);
    snprintf(s->region, sizeof s->region, "%s", region);
    return 0;
}

static int fill(struct aws_settings *s, const struct aws_options *o, const struct profiles *p,
                struct errmsg *e)
{
    const char *const given[AWS_SERVICES] = {o->ecs_endpoint, o->sqs_endpoint, o->sts_endpoint,
                                             o->ec2_endpoint};
    const char *profile = profile_name(o->profile);
    const char *region = first_of(o->region, env("AWS_REGION"));
    region = first_of(region, env("AWS_DEFAULT_REGION"));
    int err = set_region(s, first_of(region, profiles_get(p, "profile", profile, "region")), e);
    for (size_t i = 0; i < AWS_SERVICES && err == 0; i++) {
        const char *url = first_of(given[i], configured_endpoint(p, profile, (enum aws_service)i));
        if (url != NULL)
            err = endpoint_check(url, s->endpoint[i], e);
    }
    s->dual_stack =
        is_true(first_of(env("AWS_USE_DUALSTACK_ENDPOINT"),
                         profiles_get(p, "profile", profile, "use_dualstack_endpoint")));
    s->fips = is_true(first_of(env("AWS_USE_FIPS_ENDPOINT"),
                               profiles_get(p, "profile", profile, "use_fips_endpoint")));
    const char *ca =
        first_of(env("AWS_CA_BUNDLE"), profiles_get(p, "profile", profile, "ca_bundle"));
    if (ca != NULL)
        snprintf(s->ca_bundle, sizeof s->ca_bundle, "%s", ca);
    return err;
}

int aws_settings_load(struct aws_settings *s, const struct aws_options *o, struct errmsg *e)
{
    struct profiles p;
    struct errmsg why = {0};
    *s = (struct aws_settings){0};
    /* A broken file costs what it says, not the start: the same fault is found again, and shown
     * as the trouble, where credentials are looked for. */
    if (profiles_load(&p, &why) != 0) {
        LOG(LOG_WARN, "aws_config_unreadable", why.text, LS("uses", "environment only"));
        p = (struct profiles){0};
    }
    int err = fill(s, o, &p, e);
    profiles_fini(&p);
    return err;
}
