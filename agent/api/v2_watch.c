/* SPDX-License-Identifier: Apache-2.0
 * GET /v2/watch: a snapshot, then every change, as server-sent events or as one JSON object a line.
 * The client's own pace drives it: each piece is read from the store when the last one is sent,
 * so a slow reader costs one piece of memory, and one that falls behind the change log is told
 * so (reset) instead of missing something. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/filter.h"
#include "agent/api/item.h"
#include "agent/api/v2.h"
#include "agent/base/clock.h"

#define HEARTBEAT_MS 15000u
#define PIECE_BYTES (32u * 1024)

enum watch_phase { WATCH_SNAPSHOT, WATCH_SYNCED, WATCH_LIVE, WATCH_OVER };

struct watch {
    struct request *r;
    struct filter filter;
    enum watch_phase phase;
    bool sse;
    uint32_t kinds;
    uint8_t kind; /* of the snapshot under way */
    char last_key[RECORD_KEY_MAX + 1];
    uint16_t last_key_len;
    uint64_t next; /* first change not sent */
    struct buf out;
    size_t out_pos;
};

/* event and data begin; the data follows, then end_event(). id: 0 for none. */
static void begin_event(struct watch *w, const char *event, const char *kind, uint64_t index)
{
    char id[V2_INDEX_MAX];
    if (w->sse) {
        buf_printf(&w->out, "event: %s\n", event);
        if (index > 0)
            buf_printf(&w->out, "id: %s\n", v2_index(w->r, index, id));
        buf_puts(&w->out, "data: ");
    }
    buf_printf(&w->out, "{\"event\":\"%s\"", event);
    if (kind != NULL)
        buf_printf(&w->out, ",\"kind\":\"%s\"", kind);
    if (index > 0)
        buf_printf(&w->out, ",\"index\":\"%s\"", v2_index(w->r, index, id));
}

static void end_event(struct watch *w)
{
    buf_puts(&w->out, w->sse ? "}\n\n" : "}\n");
}

/* A row as put or delete. Rows that do not decode are left out, as they are from lists. */
static int put_row(struct watch *w, const struct store_row *row, bool with_id)
{
    struct row fields;
    size_t before = w->out.len;
    const char *kind = record_kind_str(row->record.kind);
    if (row->record.deleted) {
        begin_event(w, "delete", kind, with_id ? row->index : 0);
        buf_puts(&w->out, ",\"item\":");
        item_put_deleted(&w->out, row);
        end_event(w);
        return w->out.err;
    }
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0 ||
        !filter_matches(&w->filter, &fields))
        return 0;
    begin_event(w, "put", kind, with_id ? row->index : 0);
    buf_puts(&w->out, ",\"item\":");
    int err = item_put(&w->out, row, &fields);
    end_event(w);
    if (err == ERR_MALFORMED && w->out.err == 0) {
        w->out.len = before;
        return 0;
    }
    return w->out.err;
}

static int on_row(void *arg, const struct store_row *row)
{
    struct watch *w = arg;
    memcpy(w->last_key, row->record.key, row->record.key_len);
    w->last_key_len = row->record.key_len;
    int err = put_row(w, row, false);
    return err != 0 ? err : w->out.len >= PIECE_BYTES;
}

static int on_change(void *arg, const struct store_row *row)
{
    struct watch *w = arg;
    w->next = row->index + 1;
    if ((w->kinds & 1u << row->record.kind) == 0)
        return 0;
    int err = put_row(w, row, true);
    return err != 0 ? err : w->out.len >= PIECE_BYTES;
}

/* The next piece of the snapshot; moves to the next kind, then to synced. Changes made since the
 * watch began come again in the live part, so each piece may read a newer state. */
static int read_snapshot(struct watch *w, struct store_txn *txn)
{
    while (w->kind < RECORD_KIND_END && w->out.len < PIECE_BYTES) {
        struct store_query q = {.kind = w->kind,
                                .after_key = w->last_key_len > 0 ? w->last_key : NULL,
                                .after_key_len = w->last_key_len};
        if (w->kinds & 1u << w->kind) {
            int err = store_scan(txn, &q, on_row, w);
            if (err != 0 || w->out.len >= PIECE_BYTES)
                return err;
        }
        w->kind++;
        w->last_key_len = 0;
    }
    if (w->kind == RECORD_KIND_END)
        w->phase = WATCH_SYNCED;
    return 0;
}

static void put_synced(struct watch *w)
{
    begin_event(w, "synced", NULL, w->next - 1);
    end_event(w);
    w->phase = WATCH_LIVE;
}

static int read_live(struct watch *w, struct store_txn *txn)
{
    uint64_t seen = store_txn_index(txn, 0);
    int err = store_changes(txn, 0, w->next, on_change, w);
    if (err == ERR_VERSION) {
        begin_event(w, "reset", NULL, 0);
        end_event(w);
        w->phase = WATCH_OVER;
        return 0;
    }
    if (err == 0 && w->out.len < PIECE_BYTES && w->next <= seen)
        w->next = seen + 1;
    return err;
}

static void put_heartbeat(struct watch *w)
{
    struct api_facts facts;
    publish_facts(&w->r->api->publish, &facts);
    begin_event(w, "heartbeat", NULL, 0);
    if (facts.complete_unix_ms > 0)
        buf_printf(&w->out, ",\"staleness_ms\":%lld",
                   (long long)(clock_unix_ms() - facts.complete_unix_ms));
    end_event(w);
}

/* Fills out, or leaves it empty if there is nothing to say. */
static int read_piece(struct watch *w)
{
    struct store_txn *txn;
    buf_clear(&w->out);
    w->out_pos = 0;
    int err = store_read_begin(w->r->api->store, &txn);
    if (err != 0)
        return err;
    if (w->phase == WATCH_SNAPSHOT)
        err = read_snapshot(w, txn);
    if (err == 0 && w->phase == WATCH_SYNCED)
        put_synced(w);
    if (err == 0 && w->phase == WATCH_LIVE && w->out.len < PIECE_BYTES)
        err = read_live(w, txn);
    store_read_end(txn);
    return err != 0 ? err : w->out.err;
}

static ssize_t on_read(void *arg, uint64_t pos, char *data, size_t max)
{
    struct watch *w = arg;
    struct waiter *wt = &w->r->waiter;
    (void)pos;
    if (wt->why == WOKEN_GONE || wt->why == WOKEN_STOP)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (w->out_pos == w->out.len) {
        if (w->phase == WATCH_OVER || read_piece(w) != 0)
            return MHD_CONTENT_READER_END_OF_STREAM;
        if (w->out.len == 0 && wt->why == WOKEN_TIME)
            put_heartbeat(w);
        wt->why = WOKEN_NOT;
    }
    size_t n = w->out.len - w->out_pos < max ? w->out.len - w->out_pos : max;
    if (n > 0) {
        memcpy(data, w->out.data + w->out_pos, n);
        w->out_pos += n;
        return (ssize_t)n;
    }
    wt->seen = w->next - 1;
    wt->deadline_ms = clock_mono_ms() + HEARTBEAT_MS;
    buf_fini(&w->out);
    w->out_pos = 0;
    waiters_give_back(data, max);
    if (waiters_wait(&w->r->api->waiters, wt) != 0)
        return MHD_CONTENT_READER_END_OF_STREAM;
    return 0;
}

static void watch_free(void *arg)
{
    struct watch *w = arg;
    buf_fini(&w->out);
    free(w);
}

static int parse_kinds(const char *text, uint32_t *ret)
{
    *ret = 0;
    while (*text != '\0') {
        char name[32];
        size_t len = strcspn(text, ",");
        if (len == 0 || len >= sizeof name)
            return ERR_BADPARAM;
        memcpy(name, text, len);
        name[len] = '\0';
        uint8_t kind = record_kind_parse(name);
        if (kind < RECORD_INSTANCE || kind > RECORD_DEPLOYMENT)
            return ERR_BADPARAM;
        *ret |= 1u << kind;
        text += len + (text[len] == ',');
    }
    return *ret == 0 ? ERR_BADPARAM : 0;
}

/* Where to begin: behind the client's last event if the change log still reaches back to it. */
static enum MHD_Result set_start(struct watch *w, bool *ret_bad)
{
    struct request *r = w->r;
    struct store_txn *txn;
    const char *last = request_header(r, "Last-Event-ID");
    uint64_t seen;
    bool same;
    *ret_bad = false;
    if (last == NULL)
        last = request_param(r, "index");
    if (store_read_begin(r->api->store, &txn) != 0)
        return MHD_NO;
    uint64_t now = store_txn_index(txn, 0), oldest = store_oldest_change(txn);
    store_read_end(txn);
    w->kind = 1;
    w->next = now + 1;
    if (last == NULL || last[0] == '\0' || strcmp(last, "0") == 0)
        return MHD_YES;
    if (v2_parse_index(r, last, &seen, &same) != 0) {
        *ret_bad = true;
        return MHD_YES;
    }
    if (same && seen <= now && seen + 1 >= oldest) {
        w->phase = WATCH_LIVE;
        w->next = seen + 1;
    } else {
        begin_event(w, "reset", NULL, 0); /* what the client holds is of another time */
        end_event(w);
    }
    return MHD_YES;
}

static enum MHD_Result start(struct watch *w)
{
    struct request *r = w->r;
    if (atomic_fetch_add(&r->api->waiters.streams, 1) >= API_STREAMS_MAX) {
        atomic_fetch_sub(&r->api->waiters.streams, 1);
        watch_free(w);
        return problem_replyf(r, "too-many-requests", "%d watches are open already",
                              API_STREAMS_MAX);
    }
    r->is_stream = true;
    r->waiter.conn = r->conn;
    r->waiter.kinds = w->kinds;
    r->waiter.deadline_ms = 1; /* a stream: not counted as a request's time */
    struct answer a = {.status = 200,
                       .type = w->sse ? "text/event-stream" : "application/x-ndjson",
                       .streams = true};
    a.ready =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, REPLY_BLOCK, on_read, w, watch_free);
    if (a.ready == NULL) {
        watch_free(w);
        return MHD_NO;
    }
    return reply(r, &a);
}

enum MHD_Result v2_watch(struct request *r)
{
    static const char *const known[] = {"kinds", "cluster", "environment", "index", NULL};
    enum MHD_Result ret;
    if (problem_check_params(r, known, &ret))
        return ret;
    struct watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        return MHD_NO;
    w->r = r;
    buf_init(&w->out, PIECE_BYTES + 2 * RECORD_VALUE_MAX);
    const char *kinds = request_param(r, "kinds");
    const char *accept = request_header(r, MHD_HTTP_HEADER_ACCEPT);
    const char *cluster = request_param(r, "cluster");
    const char *environment = request_param(r, "environment");
    const char *bad = NULL;
    bool bad_index;
    w->sse = accept != NULL && strstr(accept, "text/event-stream") != NULL;
    if (parse_kinds(kinds == NULL ? "instance,task,environment,deployment" : kinds, &w->kinds) != 0)
        bad = "\"kinds\" is a list like instance,task,environment,deployment";
    else if ((cluster != NULL && filter_add_cluster(&w->filter, cluster, false) != 0) ||
             (environment != NULL && filter_add(&w->filter, ROW_ENVIRONMENT, environment) != 0))
        bad = "a filter's value is too long";
    ret = bad == NULL ? set_start(w, &bad_index) : MHD_YES;
    if (bad == NULL && bad_index)
        bad = "\"index\" must be a Blox-Index or an event's id that this agent gave";
    if (bad != NULL || ret == MHD_NO) {
        watch_free(w);
        return bad == NULL ? ret : problem_replyf(r, "bad-parameter", "%s", bad);
    }
    if (r->method == METHOD_HEAD) {
        watch_free(w);
        return reply(r, &(struct answer){.status = 200, .type = "application/x-ndjson"});
    }
    return start(w);
}
