/* SPDX-License-Identifier: Apache-2.0
 * How fresh an answer must be, and whether the client has it already: consistency=, max_stale=,
 * ETag and If-None-Match. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/v2.h"
#include "agent/base/clock.h"

#define STALE_MS_MAX 86400000u

static enum MHD_Result bad(struct request *r, const char *pointer, const char *detail)
{
    return problem_reply(
        r, &(struct problem){.slug = "bad-parameter", .detail = detail, .pointer = pointer});
}

/* "30s", "500ms", "2m", "1h"; a bare number is seconds. */
int v2_parse_time(const char *text, uint64_t max_ms, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"m", 60000}, {"h", 3600000}};
    char *end;
    if (text[0] < '0' || text[0] > '9' || strlen(text) > 12)
        return ERR_BADPARAM;
    uint64_t n = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].unit) == 0 && n <= max_ms / units[i].ms) {
            *ret_ms = n * units[i].ms;
            return 0;
        }
    return ERR_BADPARAM;
}

bool v2_freshness(struct request *r, enum MHD_Result *ret)
{
    const char *consistency = request_param(r, "consistency");
    const char *text = request_param(r, "max_stale");
    struct api_facts facts;
    uint64_t most_ms;
    if (consistency != NULL && r->reading == NULL && strcmp(consistency, "local") != 0) {
        *ret = bad(r, "?consistency", "\"consistency\" can only be local here");
        return true;
    }
    if (text == NULL)
        return false;
    if (v2_parse_time(text, STALE_MS_MAX, &most_ms) != 0) {
        *ret = bad(r, "?max_stale", "\"max_stale\" must be a time up to 24h, like 5s or 500ms");
        return true;
    }
    publish_facts(&r->api->publish, &facts);
    int64_t age_ms = clock_unix_ms() - facts.complete_unix_ms;
    if (facts.complete_unix_ms != 0 && age_ms <= (int64_t)most_ms)
        return false;
    if (facts.complete_unix_ms == 0)
        *ret = problem_replyf(r, "too-stale", "this agent's rows were never complete yet");
    else
        *ret =
            problem_replyf(r, "too-stale",
                           "this agent's rows were last known complete %" PRId64 " ms ago", age_ms);
    return true;
}

/* Intent is known by its version, as If-Match takes it; what was observed, by its last change. */
const char *v2_etag(const struct request *r, const struct store_row *row, char out[V2_ETAG_MAX])
{
    if (row->record.kind == RECORD_ENVIRONMENT || row->record.kind == RECORD_DEPLOYMENT)
        snprintf(out, V2_ETAG_MAX, "\"%" PRIu64 "\"", row->record.version.lo);
    else
        snprintf(out, V2_ETAG_MAX, "\"%s.%" PRIu64 "\"", r->api->epoch, row->index);
    return out;
}

bool v2_has_already(const struct request *r, const char *etag)
{
    const char *p = request_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH);
    size_t len = strlen(etag);
    while (p != NULL && *p != '\0') {
        p += strspn(p, " \t,");
        size_t n = strcspn(p, " \t,");
        if (n == 1 && p[0] == '*')
            return true;
        const char *tag = n > 2 && strncmp(p, "W/", 2) == 0 ? p + 2 : p;
        if ((size_t)(p + n - tag) == len && strncmp(tag, etag, len) == 0)
            return true;
        p += n;
    }
    return false;
}
