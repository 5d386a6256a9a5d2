/* SPDX-License-Identifier: Apache-2.0
 * /v1/tasks and /v1/instances: lists, single entities and streams. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/api/list.h"
#include "agent/api/v1.h"

/* Upper-case status if it is one of the list, else NULL. */
static const char *find_status(const char *text, const char *const *known)
{
    for (; *known != NULL; known++)
        if (strcasecmp(*known, text) == 0)
            return *known;
    return NULL;
}

static int add_filters(struct filter *spec, const char *status, const char *cluster,
                       const char *started_by)
{
    int err = 0;
    if (status != NULL)
        err = filter_add(spec, ROW_STATUS, status);
    if (err == 0 && cluster != NULL)
        err = filter_add_cluster(spec, cluster, true);
    if (err == 0 && started_by != NULL)
        err = filter_add(spec, ROW_STARTED_BY, started_by);
    return err;
}

/* An empty value counts as absent. */
static const char *filter_value(const struct request *r, const char *name)
{
    const char *value = request_param(r, name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

enum MHD_Result v1_list(struct request *r, uint8_t kind)
{
    static const char *const task_filters[] = {"status", "cluster", "startedBy", NULL};
    static const char *const instance_filters[] = {"status", "cluster", NULL};
    static const char *const task_status[] = {"PENDING", "RUNNING", "STOPPED", NULL};
    static const char *const instance_status[] = {"ACTIVE", "INACTIVE", NULL};
    bool tasks = kind == RECORD_TASK;
    enum MHD_Result ret;
    if (v1_check_filters(r, tasks ? task_filters : instance_filters,
                         "At least one of the filters provided is unsupported", &ret))
        return ret;
    const char *status = filter_value(r, "status");
    const char *cluster = filter_value(r, "cluster");
    if (status != NULL &&
        (status = find_status(status, tasks ? task_status : instance_status)) == NULL)
        return v1_error(r, 400, "Invalid status");
    if (cluster != NULL && !v1_is_cluster(cluster))
        return v1_error(r, 400, "Invalid cluster ARN or name");
    struct list_spec spec = {.kind = kind, .emit = v1_put_instance};
    if (tasks) {
        spec.body = v1_put_task_entity;
        spec.end = v1_put_metadata;
    }
    if (add_filters(&spec.filter, status, cluster, filter_value(r, "startedBy")) != 0)
        /* Nothing is that long, so nothing matches. */
        return reply(r,
                     &(struct answer){.status = 200, .type = V1_JSON, .text = "{\"items\":[]}\n"});
    return list_reply(r, &spec, V1_JSON);
}

enum MHD_Result v1_get(struct request *r, uint8_t kind, const char *rest)
{
    bool tasks = kind == RECORD_TASK;
    size_t cluster_len;
    const char *arn;
    struct store_txn *txn;
    if (!v1_is_entity_path(rest, tasks ? "task" : "container-instance", &cluster_len, &arn))
        return v1_no_page(r);
    if (store_read_begin(r->api->store, &txn) != 0)
        return v1_error(r, 500, V1_INTERNAL);
    struct store_row row;
    struct row fields;
    struct filter in_cluster = {.count = 0};
    struct buf b;
    buf_init(&b, 2 * RECORD_VALUE_MAX);
    char cluster[CLUSTER_NAME_MAX + 1];
    memcpy(cluster, rest, cluster_len);
    cluster[cluster_len] = '\0';
    bool found = store_get_ref(txn, kind, arn, strlen(arn), &row) == 0 && !row.record.deleted &&
                 row_decode(row.record.value, row.record.value_len, &fields) == 0 &&
                 filter_add_cluster(&in_cluster, cluster, true) == 0 &&
                 filter_matches(&in_cluster, &fields) &&
                 (tasks ? v1_put_task : v1_put_instance)(&b, &row, &fields) == 0;
    store_read_end(txn);
    if (!found) {
        buf_fini(&b);
        return v1_error(r, 404, tasks ? "Task not found" : "Instance not found");
    }
    buf_putc(&b, '\n');
    return reply(r, &(struct answer){.status = 200, .type = V1_JSON, .body = &b});
}

/* -- streams ----------------------------------------------------------------------- */

struct v1_stream {
    struct store *store;
    uint8_t kind;
    uint64_t next;   /* first change not sent */
    struct buf *out; /* the piece, while one is read */
};

static int on_change(void *arg, const struct store_row *row)
{
    struct v1_stream *s = arg;
    struct row fields;
    s->next = row->index + 1;
    size_t before = s->out->len;
    /* Blox's stream knows no deletions, and a client that reads it would not either. */
    if (row->record.deleted || row_decode(row->record.value, row->record.value_len, &fields) != 0)
        return 0;
    int err = (s->kind == RECORD_TASK ? v1_put_task : v1_put_instance)(s->out, row, &fields);
    if (err == ERR_MALFORMED && s->out->err == 0) {
        s->out->len = before;
        return 0;
    }
    if (err == 0)
        err = buf_putc(s->out, '\n');
    return err != 0 ? err : s->out->len >= STREAM_PIECE;
}

/* A stream without changes says nothing. */
static enum stream_says stream_read(void *arg, struct buf *out, bool beat)
{
    struct v1_stream *s = arg;
    struct store_txn *txn;
    (void)beat;
    if (store_read_begin(s->store, &txn) != 0)
        return STREAM_OVER;
    uint64_t seen = store_txn_index(txn, s->kind);
    s->out = out;
    int err = store_changes(txn, s->kind, s->next, on_change, s);
    s->out = NULL;
    bool more = out->len >= STREAM_PIECE;
    if (err == 0 && !more && s->next <= seen)
        s->next = seen + 1;
    store_read_end(txn);
    return err != 0 ? STREAM_OVER : more ? STREAM_MORE : STREAM_QUIET;
}

/* A version that can be streamed from; 0: from now on. What is a number at all is so by Go's rules:
 * 64 bits, a sign if one likes, nothing around it. */
static const char *parse_version(const char *text, struct store_txn *txn, uint64_t *ret)
{
    char *end;
    char first = text[text[0] == '+' || text[0] == '-'];
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (first < '0' || first > '9' || *end != '\0' || errno == ERANGE || number < 0)
        return "Invalid entity version";
    uint64_t version = (uint64_t)number;
    if (version > store_txn_index(txn, 0) || (version > 0 && version < store_oldest_change(txn)))
        return "Entity version is out of range";
    *ret = version;
    return NULL;
}

enum MHD_Result v1_stream(struct request *r, uint8_t kind)
{
    struct store_txn *txn;
    if (store_read_begin(r->api->store, &txn) != 0)
        return v1_error(r, 500, V1_INTERNAL);
    uint64_t from = 0, now = store_txn_index(txn, kind);
    const char *version = request_param(r, "entityVersion");
    const char *wrong =
        version == NULL || version[0] == '\0' ? NULL : parse_version(version, txn, &from);
    store_read_end(txn);
    if (wrong != NULL)
        return v1_error(r, 400, wrong);
    struct v1_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return MHD_NO;
    s->store = r->api->store;
    s->kind = kind;
    s->next = from > 0 ? from : now + 1;
    int err =
        reply_stream(r, "application/octet-stream",
                     &(struct stream_source){
                         .kinds = 1u << kind, .read = stream_read, .release = free, .arg = s});
    if (err == 0)
        return REPLY_TAKEN;
    free(s);
    return err == ERR_BUSY ? v1_error(r, 429, "Too many streams are open")
                           : v1_error(r, 500, V1_INTERNAL);
}
