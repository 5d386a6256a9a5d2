/* SPDX-License-Identifier: Apache-2.0
 * What the AWS client tells about itself. */
#include <string.h>

#include "agent/aws/aws_int.h"
#include "agent/base/clock.h"

#define EACH(x)                                                                                    \
    x("service=\"ecs\""), x("service=\"sqs\""), x("service=\"sts\""), x("service=\"ec2\"")
#define CALLS(l) METRIC_COUNTER_INIT("blox_aws_requests_total", l, "Requests sent to AWS")
#define RETRIES(l) METRIC_COUNTER_INIT("blox_aws_retries_total", l, "Requests sent again")
#define THROTTLES(l) METRIC_COUNTER_INIT("blox_aws_throttled_total", l, "Throttle answers of AWS")
#define ERRORS(l) METRIC_COUNTER_INIT("blox_aws_errors_total", l, "Calls to AWS that failed")
#define SECONDS(l) METRIC_HISTOGRAM_INIT("blox_aws_request_seconds", l, "Time of one AWS request")

static struct metric calls[AWS_SERVICES] = {EACH(CALLS)};
static struct metric retries[AWS_SERVICES] = {EACH(RETRIES)};
static struct metric throttles[AWS_SERVICES] = {EACH(THROTTLES)};
static struct metric errors[AWS_SERVICES] = {EACH(ERRORS)};
static struct metric seconds[AWS_SERVICES] = {EACH(SECONDS)};

void aws_metrics_start(void)
{
    struct metric *const all[] = {calls, retries, throttles, errors, seconds};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (size_t k = 0; k < AWS_SERVICES; k++)
            metrics_register(&all[i][k]);
}

void aws_count(struct aws *a, const struct aws_call *c, int err, bool throttled)
{
    a->stat_calls++;
    metric_add(&calls[c->service], 1);
    metric_observe_us(&seconds[c->service], clock_mono_ns() / 1000 - c->started_us);
    if (throttled) {
        a->stat_throttled++;
        metric_add(&throttles[c->service], 1);
    }
    if (err != 0) {
        a->stat_errors++;
        metric_add(&errors[c->service], 1);
    }
}

void aws_count_retry(struct aws *a, const struct aws_call *c)
{
    a->stat_retries++;
    metric_add(&retries[c->service], 1);
}

const char *aws_trouble(const struct aws *a)
{
    if (a->settings.region[0] == '\0' && a->region_trouble.text[0] != '\0')
        return a->region_trouble.text;
    const char *creds = credman_trouble(a->creds);
    return creds[0] != '\0' ? creds : a->clock_trouble.text;
}

const char *aws_region(const struct aws *a)
{
    return a->settings.region;
}

static json_t *pace_status(const struct aws *a, uint64_t now_ms)
{
    json_t *out = json_object();
    for (size_t i = 0; i < PACE_BUCKETS; i++)
        json_object_set_new(out, pace_bucket_str((enum pace_bucket_id)i),
                            json_real(pace_rate(&a->pace, (enum pace_bucket_id)i, now_ms)));
    return out;
}

json_t *aws_status(const struct aws *a)
{
    char text[CLOCK_TEXT_MAX];
    json_t *out = json_object();
    json_t *creds = json_object();
    json_set_str(creds, "source", credman_source(a->creds));
    if (credman_expires(a->creds) != 0)
        json_set_str(creds, "expires_at", clock_format_unix_ms(credman_expires(a->creds), text));
    json_object_set_new(out, "credentials", creds);
    json_set_str(out, "region", a->settings.region);
    json_t *endpoints = json_object();
    for (size_t i = 0; i < AWS_SERVICES; i++)
        if (a->settings.endpoint[i][0] != '\0')
            json_set_str(endpoints, aws_service_str((enum aws_service)i), a->settings.endpoint[i]);
    json_object_set_new(out, "custom_endpoints", endpoints);
    json_set_int(out, "calls", (int64_t)a->stat_calls);
    json_set_int(out, "retries", (int64_t)a->stat_retries);
    json_set_int(out, "throttled", (int64_t)a->stat_throttled);
    json_set_int(out, "errors", (int64_t)a->stat_errors);
    json_set_int(out, "in_flight", a->flying);
    json_set_int(out, "waiting", a->calls - a->flying);
    json_set_int(out, "clock_offset_ms", a->clock_offset_ms);
    json_object_set_new(out, "rates_per_second", pace_status(a, clock_mono_ms()));
    json_set_str(out, "trouble", aws_trouble(a));
    return out;
}
