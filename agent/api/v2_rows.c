/* SPDX-License-Identifier: Apache-2.0
 * Lists and single rows of /v2, with filters, paging and long polls. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/api/item.h"
#include "agent/api/list.h"
#include "agent/api/v2.h"
#include "agent/base/clock.h"

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

static enum MHD_Result start_wait(struct request *r, uint8_t kind, uint64_t seen)
{
    uint64_t wait_ms = WAIT_MS_DEFAULT;
    const char *wait = request_param(r, "wait");
    if (wait != NULL && v2_parse_time(wait, WAIT_MS_MAX, &wait_ms) != 0)
        return bad_param(r, "wait", "\"wait\" must be a time up to 10m, like 30s or 500ms");
    /* Up to a sixteenth more, so that polls that began together do not end together. */
    uint64_t spread_ms = wait_ms / 16 > 0 ? r->id * 2654435761u % (wait_ms / 16) : 0;
    r->waiter.conn = r->conn;
    r->waiter.kinds = 1u << kind;
    r->waiter.seen = seen;
    r->waiter.deadline_ms = clock_mono_ms() + wait_ms + spread_ms;
    r->waiter.is_poll = true;
    int err = waiters_wait(&r->api->waiters, &r->waiter);
    if (err == 0)
        return MHD_YES;
    return problem_reply(r, &(struct problem){.err = err});
}

/* Handles index= and wait=. true: *ret is the answer (or it waits). */
static bool long_poll(struct request *r, uint8_t kind, enum MHD_Result *ret)
{
    const char *text = request_param(r, "index");
    char index[V2_INDEX_MAX];
    uint64_t seen;
    bool same;
    if (r->waiter.why == WOKEN_TIME) {
        *ret =
            reply(r, &(struct answer){.status = 304, .index = v2_index(r, r->waiter.seen, index)});
        return true;
    }
    if (r->waiter.why == WOKEN_STOP) {
        *ret = problem_replyf(r, "not-ready", "this agent is stopping");
        return true;
    }
    if (text == NULL || text[0] == '\0' || strcmp(text, "0") == 0 ||
        r->waiter.why == WOKEN_CHANGE) {
        if (text == NULL && request_param(r, "wait") != NULL) {
            *ret = bad_param(r, "wait", "\"wait\" needs \"index\": the index of your last answer");
            return true;
        }
        return false;
    }
    if (v2_parse_index(r, text, &seen, &same) != 0) {
        *ret = bad_param(r, "index", "\"index\" must be a Blox-Index that this agent gave");
        return true;
    }
    if (!same || store_index(r->api->store, kind) > seen)
        return false;
    *ret = start_wait(r, kind, seen);
    return true;
}

/* -- lists ------------------------------------------------------------------------- */

static const char *const row_params[] = {"cluster",
                                         "status",
                                         "desired_status",
                                         "family",
                                         "revision",
                                         "group",
                                         "started_by",
                                         "instance",
                                         "zone",
                                         "environment",
                                         "limit",
                                         "next_token",
                                         "agent_connected",
                                         "ec2_instance_id",
                                         "index",
                                         "wait",
                                         "consistency",
                                         "max_stale",
                                         NULL};

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

static void set_case(char *text, bool upper)
{
    for (; *text != '\0'; text++) {
        if (upper && *text >= 'a' && *text <= 'z')
            *text = (char)(*text - 'a' + 'A');
        else if (!upper && *text >= 'A' && *text <= 'Z')
            *text = (char)(*text - 'A' + 'a');
    }
}

/* Finds the key of an instance or task by ARN, short id or EC2 id, of a deployment by its id. */
struct key_search {
    const char *suffix; /* "/ID" */
    size_t suffix_len;
    char key[RECORD_KEY_MAX + 1];
};

static int on_key(void *arg, const struct store_row *row)
{
    struct key_search *k = arg;
    size_t len = row->record.key_len;
    if (len > RECORD_KEY_MAX ||
        (k->suffix != NULL && (len < k->suffix_len || memcmp(row->record.key + len - k->suffix_len,
                                                             k->suffix, k->suffix_len) != 0)))
        return 0;
    memcpy(k->key, row->record.key, len);
    k->key[len] = '\0';
    return 1;
}

/* A short id is the end of its ARN, and one cluster's ARNs share what stands before it: put behind
 * the first row's beginning it is found at once; if not, all keys are looked through. */
static int find_key(struct store_txn *txn, uint8_t kind, const char *id, struct key_search *k)
{
    struct store_row row;
    char suffix[RECORD_KEY_MAX + 2];
    size_t len = strlen(id);
    memset(k, 0, sizeof *k);
    if (len == 0 || len > RECORD_KEY_MAX)
        return ERR_NOTFOUND;
    memcpy(k->key, id, len + 1);
    if (kind == RECORD_ENVIRONMENT || strncmp(id, "arn:", 4) == 0 || strchr(id, '/') != NULL)
        return 0;
    k->key[0] = '\0';
    if (kind == RECORD_INSTANCE && strncmp(id, "i-", 2) == 0) {
        struct store_query q = {.kind = kind, .field = ROW_EC2_INSTANCE, .value = id};
        int err = store_scan(txn, &q, on_key, k);
        return err != 0 || k->key[0] != '\0' ? err : ERR_NOTFOUND;
    }
    int err = store_scan(txn, &(struct store_query){.kind = kind}, on_key, k);
    if (err != 0 || k->key[0] == '\0')
        return err != 0 ? err : ERR_NOTFOUND;
    char *slash = strrchr(k->key, '/');
    if (slash != NULL && (size_t)(slash - k->key) + 1 + len <= RECORD_KEY_MAX) {
        memcpy(slash + 1, id, len + 1);
        if (store_get_ref(txn, kind, k->key, strlen(k->key), &row) == 0 && !row.record.deleted)
            return 0;
    }
    snprintf(suffix, sizeof suffix, "/%s", id);
    *k = (struct key_search){.suffix = suffix, .suffix_len = strlen(suffix)};
    err = store_scan(txn, &(struct store_query){.kind = kind}, on_key, k);
    k->suffix = NULL;
    return err != 0 || k->key[0] != '\0' ? err : ERR_NOTFOUND;
}

/* The parameter "instance" may be short, too; the rows carry the ARN. */
static int add_instance(struct request *r, struct list_spec *spec, const char *value)
{
    struct store_txn *txn;
    struct key_search k;
    int err = store_read_begin(r->api->store, &txn);
    if (err != 0)
        return err;
    err = find_key(txn, RECORD_INSTANCE, value, &k);
    store_read_end(txn);
    return list_add_filter(spec, ROW_INSTANCE, err == 0 ? k.key : value);
}

static const char *read_filters(struct request *r, struct list_spec *spec)
{
    const char *value;
    bool observed = spec->kind == RECORD_INSTANCE || spec->kind == RECORD_TASK;
    if ((value = request_param(r, "cluster")) != NULL && value[0] != '\0' &&
        list_add_cluster(spec, value, false) != 0)
        return "cluster";
    if ((value = request_param(r, "instance")) != NULL && value[0] != '\0' &&
        add_instance(r, spec, value) != 0)
        return "instance";
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
        value = request_param(r, filters[i].name);
        if (value == NULL || value[0] == '\0')
            continue;
        if (filters[i].field == ROW_CONNECTED && strcmp(value, "true") != 0 &&
            strcmp(value, "false") != 0)
            return filters[i].name;
        if (list_add_filter(spec, filters[i].field, value) != 0)
            return filters[i].name;
        if (filters[i].upper)
            set_case(spec->filters[spec->filter_count - 1].value, observed);
    }
    return NULL;
}

static int read_paging(struct request *r, struct list_spec *spec, const char **ret_bad)
{
    const char *limit = request_param(r, "limit");
    const char *token = request_param(r, "next_token");
    spec->limit = LIMIT_DEFAULT;
    *ret_bad = "limit";
    if (limit != NULL) {
        char *end;
        spec->limit = strtoull(limit, &end, 10);
        if (limit[0] < '0' || limit[0] > '9' || *end != '\0' || spec->limit < 1 ||
            spec->limit > LIMIT_MAX)
            return ERR_BADPARAM;
    }
    *ret_bad = "next_token";
    if (token != NULL && token[0] != '\0')
        return list_token_decode(token, spec->after_key, sizeof spec->after_key);
    return 0;
}

static int put_item(struct buf *out, const struct store_row *row, const struct row *fields)
{
    return item_put(out, row, fields);
}

enum MHD_Result v2_list(struct request *r, uint8_t kind, const char *environment)
{
    enum MHD_Result ret;
    const char *bad;
    char index[V2_INDEX_MAX];
    struct list_spec spec = {.kind = kind, .emit = put_item, .with_token = true};
    if (problem_check_params(r, row_params, &ret) || v2_freshness(r, &ret) ||
        long_poll(r, kind, &ret))
        return ret;
    if ((bad = read_filters(r, &spec)) != NULL)
        return bad_param(r, bad,
                         strcmp(bad, "agent_connected") == 0
                             ? "\"agent_connected\" must be true or false"
                             : "a filter's value is too long");
    if (read_paging(r, &spec, &bad) != 0)
        return bad_param(r, bad,
                         bad[0] == 'l' ? "\"limit\" must be a number from 1 to 1000"
                                       : "\"next_token\" must be the one of the page before");
    if (environment != NULL && list_add_filter(&spec, ROW_ENVIRONMENT, environment) != 0)
        return problem_replyf(r, "not-found", "there is no such environment");
    if (environment != NULL) { /* no deployments, or no such environment? */
        struct store_txn *txn;
        struct store_row row;
        if (store_read_begin(r->api->store, &txn) != 0)
            return problem_reply(r, &(struct problem){.err = ERR_NOTREADY});
        int err = store_get_ref(txn, RECORD_ENVIRONMENT, environment, strlen(environment), &row);
        bool gone = err != 0 || row.record.deleted;
        store_read_end(txn);
        if (gone)
            return problem_replyf(r, "not-found", "there is no environment \"%.64s\"", environment);
    }
    /* Taken before the snapshot: at worst a change is told twice, never missed. */
    v2_index(r, store_index(r->api->store, kind), index);
    return list_reply(r, &spec, "application/json", index);
}

/* -- one row ----------------------------------------------------------------------- */

enum MHD_Result v2_get(struct request *r, uint8_t kind, const char *id)
{
    static const char *const known[] = {"index", "wait", "consistency", "max_stale", NULL};
    enum MHD_Result ret;
    struct store_txn *txn;
    struct store_row row;
    struct row fields;
    struct key_search k;
    struct buf b;
    char index[V2_INDEX_MAX], etag[V2_ETAG_MAX] = "";
    if (problem_check_params(r, known, &ret) || v2_freshness(r, &ret) || long_poll(r, kind, &ret))
        return ret;
    v2_index(r, store_index(r->api->store, kind), index);
    if (store_read_begin(r->api->store, &txn) != 0)
        return problem_reply(r, &(struct problem){.err = ERR_NOTREADY});
    buf_init(&b, 2 * RECORD_VALUE_MAX);
    int err = find_key(txn, kind, id, &k);
    if (err == 0)
        err = store_get_ref(txn, kind, k.key, strlen(k.key), &row);
    if (err == 0 && row.record.deleted)
        err = ERR_NOTFOUND;
    if (err == 0)
        err = row_decode(row.record.value, row.record.value_len, &fields);
    if (err == 0)
        err = item_put(&b, &row, &fields);
    if (err == 0)
        v2_etag(r, &row, etag);
    store_read_end(txn);
    if (err != 0) {
        buf_fini(&b);
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
