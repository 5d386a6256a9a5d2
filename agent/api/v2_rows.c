/* SPDX-License-Identifier: Apache-2.0
 * Lists and single rows of /v2, with filters, paging and long polls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/find.h"
#include "agent/api/interest.h"
#include "agent/api/item.h"
#include "agent/api/list.h"
#include "agent/api/v2.h"
#include "agent/base/clock.h"
#include "agent/base/hash.h"

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000
#define WAIT_MS_DEFAULT 60000u
#define WAIT_MS_MAX 600000u

static enum MHD_Result bad_param(struct request *r, const char *name, const char *detail)
{
    char pointer[64];
    snprintf(pointer, sizeof pointer, "?%s", name);
    return problem_reply(
        r, &(struct problem){.slug = "bad-parameter", .detail = detail, .pointer = pointer});
}

/* -- long polls -------------------------------------------------------------------- */

static enum MHD_Result start_wait(struct request *r, uint32_t kinds, uint64_t seen,
                                  uint64_t wait_ms)
{
    /* Up to a sixteenth more, so that polls that began together do not end together. */
    uint64_t spread_ms = wait_ms / 16 > 0 ? r->id * 2654435761u % (wait_ms / 16) : 0;
    r->waiter.conn = r->conn;
    r->waiter.kinds = kinds;
    r->waiter.seen = seen;
    if (r->waiter.deadline_ms == 0)
        r->waiter.deadline_ms = clock_mono_ms() + wait_ms + spread_ms;
    int err = waiters_wait(&r->api->waiters, &r->waiter);
    if (err == 0)
        return MHD_YES;
    return problem_reply(r, &(struct problem){.err = err});
}

/* Handles index= and wait=. true: *ret is the answer (or it waits). */
static bool long_poll(struct request *r, const struct interest *interest, enum MHD_Result *ret)
{
    const char *text = request_param(r, "index");
    const char *wait = request_param(r, "wait");
    uint32_t kinds = interest_kinds(interest);
    char index[V2_INDEX_MAX];
    uint64_t seen, wait_ms = WAIT_MS_DEFAULT;
    bool same;
    if (r->waiter.why == WOKEN_STOP) {
        *ret = problem_replyf(r, "not-ready", "this agent is stopping");
        return true;
    }
    if (text == NULL && wait != NULL) {
        *ret = bad_param(r, "wait", "\"wait\" needs \"index\": the index of your last answer");
        return true;
    }
    if (wait != NULL && v2_parse_time(wait, WAIT_MS_MAX, &wait_ms) != 0) {
        *ret = bad_param(r, "wait", "\"wait\" must be a time up to 10m, like 30s or 500ms");
        return true;
    }
    if (text == NULL || text[0] == '\0' || strcmp(text, "0") == 0)
        return false;
    if (v2_parse_index(r, text, &seen, &same) != 0) {
        *ret = bad_param(r, "index", "\"index\" must be a Blox-Index that this agent gave");
        return true;
    }
    /* One that this store has not come to is as good as another store's: what happens until it does
     * would be missed. */
    same = same && seen <= store_index(r->api->store, 0);
    if (r->waiter.why == WOKEN_TIME) {
        *ret = reply(r, &(struct answer){.status = 304, .index = v2_index(r->api, seen, index)});
        return true;
    }
    if (r->waiter.why == WOKEN_CHANGE)
        seen = r->waiter.seen; /* up to there nothing was of interest */
    if (!same || (store_kinds_index(r->api->store, NULL, kinds) > seen &&
                  interest_has_news(r->api->store, interest, &seen)))
        return false;
    *ret = start_wait(r, kinds, seen, wait_ms);
    return true;
}

/* -- lists ------------------------------------------------------------------------- */

/* A column that rows of the kind do not have would leave an empty list, and the caller in the dark.
 */
#define ALL_LISTS                                                                                  \
    "status", "filter", "fields", "sort", "limit", "next_token", "at", "index", "wait",            \
        "consistency", "max_stale"

static const char *const *row_params(uint8_t kind, bool of_one_environment)
{
    static const char *const instances[] = {"cluster",         ALL_LISTS,         "zone",
                                            "agent_connected", "ec2_instance_id", NULL};
    static const char *const tasks[] = {
        "cluster",    ALL_LISTS,  "desired_status", "family",      "revision", "group",
        "started_by", "instance", "zone",           "environment", NULL};
    static const char *const environments[] = {"cluster", ALL_LISTS, NULL};
    static const char *const deployments[] = {"cluster", ALL_LISTS, "environment", NULL};
    static const char *const its_deployments[] = {ALL_LISTS, NULL};
    return kind == RECORD_INSTANCE      ? instances
           : kind == RECORD_TASK        ? tasks
           : kind == RECORD_ENVIRONMENT ? environments
           : of_one_environment         ? its_deployments
                                        : deployments;
}

static const struct {
    const char *name;
    enum row_field field;
    bool upper; /* compared in upper case for observed rows */
} filters[] = {{"status", ROW_STATUS, true},
               {"desired_status", ROW_DESIRED, true},
               {"family", ROW_FAMILY, false},
               {"revision", ROW_REVISION, false},
               {"group", ROW_GROUP, false},
               {"started_by", ROW_STARTED_BY, false},
               {"zone", ROW_ZONE, false},
               {"environment", ROW_ENVIRONMENT, false},
               {"agent_connected", ROW_CONNECTED, false},
               {"ec2_instance_id", ROW_EC2_INSTANCE, false}};

/* The parameter "instance" may be short, too; the rows carry the ARN. */
static int add_instance(struct request *r, struct filter *f, const char *value)
{
    struct store_txn *txn;
    char key[RECORD_KEY_MAX + 1];
    int err = store_read_begin(r->api->store, &txn);
    if (err != 0)
        return err;
    err = find_key(txn, RECORD_INSTANCE, value, key);
    store_read_end(txn);
    if (err == 0 && (value = request_keep(r, key)) == NULL)
        return ERR_NOMEM;
    return filter_add(f, ROW_INSTANCE, value);
}

/* NULL, or the parameter that is wrong and a sentence about it. */
static const char *read_filters(struct request *r, uint8_t kind, struct filter *f,
                                const char **ret_detail)
{
    const char *value;
    bool observed = kind == RECORD_INSTANCE || kind == RECORD_TASK;
    *ret_detail = "too many filters";
    if ((value = request_param(r, "cluster")) != NULL && value[0] != '\0' &&
        filter_add_cluster(f, value, false) != 0)
        return "cluster";
    if ((value = request_param(r, "instance")) != NULL && value[0] != '\0' &&
        add_instance(r, f, value) != 0)
        return "instance";
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        value = request_param(r, filters[i].name);
        if (value == NULL || value[0] == '\0')
            continue;
        *ret_detail = "\"agent_connected\" must be true or false";
        if (filters[i].field == ROW_CONNECTED && strcmp(value, "true") != 0 &&
            strcmp(value, "false") != 0)
            return filters[i].name;
        *ret_detail = "too many filters";
        if (filter_add(f, filters[i].field, value) != 0)
            return filters[i].name;
        if (filters[i].upper)
            request_set_case(r, filters[i].name, observed);
    }
    return NULL;
}

static const char *read_query(struct request *r, struct list_spec *spec, struct errmsg *e)
{
    const char *text = request_param(r, "filter");
    if (text == NULL || text[0] == '\0')
        return NULL;
    if (spec->kind != RECORD_INSTANCE && spec->kind != RECORD_TASK)
        errmsg_set(e, ERR_BADPARAM, "\"filter\" is for instances and tasks");
    else if (query_new(text, &spec->query, e) == 0)
        return NULL;
    return "filter";
}

static const char *read_form(struct request *r, struct list_spec *spec, const char **ret_detail)
{
    const char *fields = request_param(r, "fields");
    const char *sort = request_param(r, "sort");
    *ret_detail = "\"fields\" must be 1 to 32 names of members with commas between them";
    if (fields != NULL && chosen_parse(fields, &spec->chosen) != 0)
        return "fields";
    *ret_detail = "\"sort\" must be one member's name, or -NAME for the greatest first";
    if (sort != NULL && sort_parse(sort, spec->kind, &spec->sort) != 0)
        return "sort";
    return NULL;
}

/* A token goes on with the request that it came from; limit and fields may change. Not so strong:
 * no page of another's moment is called that. */
static uint64_t query_id(const struct request *r)
{
    static const char *const free_params[] = {"limit", "fields",    "next_token", "index",
                                              "wait",  "max_stale", "consistency"};
    size_t free_count = sizeof free_params / sizeof free_params[0] - relay_is_strong(r);
    uint64_t id = hash_str(r->path);
    for (size_t i = 0; i < r->param_count; i++) {
        bool is_free = r->params[i].value[0] == '\0';
        for (size_t n = 0; n < free_count; n++)
            is_free = is_free || strcmp(r->params[i].name, free_params[n]) == 0;
        if (!is_free)
            id += hash_bytes(r->params[i].value, strlen(r->params[i].value),
                             hash_str(r->params[i].name));
    }
    return id;
}

static const char *read_paging(struct request *r, struct list_spec *spec, const char **ret_detail)
{
    const char *limit = request_param(r, "limit");
    const char *token = request_param(r, "next_token");
    spec->limit = LIMIT_DEFAULT;
    spec->with_token = true;
    spec->query_id = query_id(r);
    *ret_detail = "\"limit\" must be a number from 1 to 1000";
    if (limit != NULL) {
        char *end;
        spec->limit = strtoull(limit, &end, 10);
        if (limit[0] < '0' || limit[0] > '9' || *end != '\0' || spec->limit < 1 ||
            spec->limit > LIMIT_MAX)
            return "limit";
    }
    *ret_detail = "\"next_token\" must be the one of the page before, with the same filters";
    if (token != NULL && token[0] != '\0' &&
        (token_decode(token, &spec->at) != 0 || spec->at.query != spec->query_id))
        return "next_token";
    return NULL;
}

/* Reads all parameters. true: one was wrong, and answered. */
static bool read_list(struct request *r, struct list_spec *spec, enum MHD_Result *ret)
{
    struct errmsg e;
    const char *detail;
    const char *bad = read_form(r, spec, &detail);
    if (bad == NULL)
        bad = read_filters(r, spec->kind, &spec->filter, &detail);
    if (bad == NULL)
        bad = read_paging(r, spec, &detail);
    if (bad == NULL && (bad = read_query(r, spec, &e)) != NULL)
        detail = e.text;
    if (bad != NULL)
        *ret = bad_param(r, bad, detail);
    return bad != NULL;
}

/* No deployments, or no such environment? */
static bool has_environment(struct request *r, const char *name)
{
    struct store_txn *txn;
    struct store_row row;
    if (store_read_begin(r->api->store, &txn) != 0)
        return false;
    int err = store_get_ref(txn, RECORD_ENVIRONMENT, name, strlen(name), &row);
    bool there = err == 0 && !row.record.deleted;
    store_read_end(txn);
    return there;
}

/* If-None-Match: nothing of interest changed since the client's list. Later pages are of a moment
 * that does not change, and the past does not, either: they have no ETag. */
static bool has_list(struct request *r, struct list_spec *spec, const struct interest *interest,
                     enum MHD_Result *ret)
{
    char etag[V2_ETAG_MAX], index[V2_INDEX_MAX];
    uint64_t seen;
    if (spec->at.snapshot != 0 || spec->past != 0)
        return false;
    spec->form = v2_list_form(r);
    const char *asked = request_param(r, "index");
    if ((asked != NULL && strcmp(asked, "0") != 0) || !v2_list_had(r, spec->form, &seen) ||
        (store_kinds_index(r->api->store, NULL, interest_kinds(interest)) > seen &&
         interest_has_news(r->api->store, interest, &seen)))
        return false;
    *ret = reply(r, &(struct answer){.status = 304,
                                     .index = v2_index(r->api, seen, index),
                                     .etag = v2_list_etag(r, seen, spec->form, etag),
                                     .varies = true});
    return true;
}

enum MHD_Result v2_list(struct request *r, uint8_t kind, const char *environment)
{
    enum MHD_Result ret;
    struct list_spec spec = {.kind = kind, .emit = item_put};
    if (problem_check_params(r, row_params(kind, environment != NULL), &ret) ||
        v2_freshness(r, &ret) || v2_at(r, &spec.past, &ret))
        return ret;
    if (environment != NULL && !has_environment(r, environment))
        return problem_replyf(r, "not-found", "there is no environment \"%.64s\"", environment);
    if (read_list(r, &spec, &ret))
        return ret;
    /* The caller's text is gone when the last piece of the list is read. */
    const char *kept = environment == NULL ? NULL : request_keep(r, environment);
    const struct interest interest = {.kind = kind, .filter = &spec.filter, .query = spec.query};
    if ((kept != NULL && filter_add(&spec.filter, ROW_ENVIRONMENT, kept) != 0) ||
        (kept == NULL && environment != NULL))
        ret = problem_reply(r, &(struct problem){.err = ERR_NOMEM});
    else if (!long_poll(r, &interest, &ret) && !has_list(r, &spec, &interest, &ret))
        return list_reply(r, &spec, "application/json");
    query_free(spec.query);
    return ret;
}

/* -- one row ----------------------------------------------------------------------- */

/* The item with its ETag. */
static int put_row(struct request *r, struct store_txn *txn, uint8_t kind, const char *key,
                   const struct chosen *chosen, struct buf *out, char etag[V2_ETAG_MAX])
{
    struct store_row row;
    struct row fields;
    int err = store_get_ref(txn, kind, key, strlen(key), &row);
    if (err == 0 && row.record.deleted)
        err = ERR_NOTFOUND;
    if (err == 0)
        err = row_decode(row.record.value, row.record.value_len, &fields);
    if (err == 0)
        err = chosen->count > 0 ? chosen_put(out, &row, &fields, chosen)
                                : item_put(out, &row, &fields);
    if (err == 0)
        v2_etag(r, &row, etag);
    return err;
}

enum MHD_Result v2_get(struct request *r, uint8_t kind, const char *id)
{
    static const char *const known[] = {"index",  "wait", "consistency", "max_stale",
                                        "fields", "at",   NULL};
    int64_t past;
    enum MHD_Result ret;
    struct store_txn *txn;
    struct chosen chosen = {.count = 0};
    struct buf b;
    char key[RECORD_KEY_MAX + 1], index[V2_INDEX_MAX], etag[V2_ETAG_MAX] = "";
    if (problem_check_params(r, known, &ret) || v2_freshness(r, &ret) || v2_at(r, &past, &ret))
        return ret;
    const char *fields = request_param(r, "fields");
    if (fields != NULL && chosen_parse(fields, &chosen) != 0)
        return bad_param(r, "fields",
                         "\"fields\" must be 1 to 32 names of members with commas "
                         "between them");
    if (store_read_begin(r->api->store, &txn) != 0)
        return problem_reply(r, &(struct problem){.err = ERR_NOTREADY});
    int err = v2_rewind(txn, past);
    if (err == 0)
        err = find_key(txn, kind, id, key);
    if (request_param(r, "index") != NULL || request_param(r, "wait") != NULL) {
        store_read_end(txn);
        struct interest one = {.kind = kind, .key = err == 0 ? key : NULL, .id = id};
        if (long_poll(r, &one, &ret))
            return ret;
        if (store_read_begin(r->api->store, &txn) != 0)
            return problem_reply(r, &(struct problem){.err = ERR_NOTREADY});
        err = find_key(txn, kind, id, key);
    }
    v2_index(r->api, store_txn_index(txn, kind), index);
    buf_init(&b, 2 * RECORD_VALUE_MAX);
    if (err == 0)
        err = put_row(r, txn, kind, key, &chosen, &b, etag);
    store_read_end(txn);
    if (err != 0) {
        buf_fini(&b);
        if (err == ERR_VERSION)
            return v2_past_gone(r, r->api->store);
        if (err == ERR_NOTFOUND)
            return problem_replyf(r, "not-found", "there is no %s \"%.300s\"",
                                  record_kind_str(kind), id);
        return problem_reply(r, &(struct problem){.err = ERR_INTERNAL});
    }
    if (v2_has_already(r, etag)) {
        buf_fini(&b);
        return reply(r, &(struct answer){.status = 304, .index = index, .etag = etag});
    }
    buf_putc(&b, '\n');
    return reply(
        r,
        &(struct answer){
            .status = 200, .type = "application/json", .body = &b, .index = index, .etag = etag});
}
