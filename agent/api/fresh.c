/* SPDX-License-Identifier: Apache-2.0
 * How fresh an answer must be, and whether the client has it already: consistency=, max_stale=,
 * ETag and If-None-Match. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/v2.h"
#include "agent/base/clock.h"
#include "agent/base/hash.h"

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

/* The next of If-None-Match's tags from *at on, without "W/". false: there is none. */
static bool next_tag(const char **at, const char **ret_tag, size_t *ret_len)
{
    const char *p = *at;
    if (p == NULL)
        return false;
    p += strspn(p, " \t,");
    size_t n = strcspn(p, " \t,");
    *at = p + n;
    *ret_tag = n > 2 && strncmp(p, "W/", 2) == 0 ? p + 2 : p;
    *ret_len = (size_t)(p + n - *ret_tag);
    return n > 0;
}

bool v2_has_already(const struct request *r, const char *etag)
{
    const char *at = request_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH), *tag;
    size_t len, etag_len;
    etag += strncmp(etag, "W/", 2) == 0 ? 2 : 0;
    etag_len = strlen(etag);
    while (next_tag(&at, &tag, &len))
        if ((len == 1 && tag[0] == '*') || (len == etag_len && strncmp(tag, etag, len) == 0))
            return true;
    return false;
}

/* ---- lists ------------------------------------------------------------------------ */

uint64_t v2_list_form(const struct request *r)
{
    static const char *const others[] = {"index", "wait", "max_stale", "consistency"};
    uint64_t form = hash_str(r->path);
    for (size_t i = 0; i < r->param_count; i++) {
        const struct param *p = &r->params[i];
        bool counts = p->value[0] != '\0';
        for (size_t n = 0; n < sizeof others / sizeof others[0]; n++)
            counts = counts && strcmp(p->name, others[n]) != 0;
        if (counts) /* in whatever order */
            form += hash_bytes(p->value, strlen(p->value), hash_str(p->name));
    }
    return form;
}

const char *v2_list_etag(const struct request *r, uint64_t index, uint64_t form,
                         char out[V2_ETAG_MAX])
{
    snprintf(out, V2_ETAG_MAX, "W/\"%s.%" PRIu64 "-%" PRIx64 "\"", r->api->epoch, index, form);
    return out;
}

bool v2_list_had(const struct request *r, uint64_t form, uint64_t *ret_index)
{
    const char *at = request_header(r, MHD_HTTP_HEADER_IF_NONE_MATCH), *tag;
    size_t len;
    char etag[V2_ETAG_MAX];
    bool had = false;
    while (next_tag(&at, &tag, &len)) {
        const char *dot = memchr(tag, '.', len);
        uint64_t index = dot == NULL ? 0 : strtoull(dot + 1, NULL, 10);
        bool any = len == 1 && tag[0] == '*';
        index = any ? store_index(r->api->store, 0) : index;
        v2_list_etag(r, index, form, etag);
        if (any || (strlen(etag) == len + 2 && strncmp(etag + 2, tag, len) == 0 &&
                    index <= store_index(r->api->store, 0))) {
            *ret_index = !had || index > *ret_index ? index : *ret_index;
            had = true;
        }
    }
    return had;
}
