/* SPDX-License-Identifier: Apache-2.0
 * GET /v2/watch: a snapshot, then every change, as server-sent events or as one JSON object a line.
 * The client's own pace drives it: each piece is read from the store when the last one is sent,
 * so a slow reader costs one piece of memory, and one that falls behind the change log is told
 * so (reset) instead of missing something. Members and the leader are in no row: they come from the
 * document of GET /v2/members and from news.h, and an id has a third part for them. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/filter.h"
#include "agent/api/item.h"
#include "agent/api/v2.h"
#include "agent/base/clock.h"
#include "agent/base/ensure.h"
#include "agent/base/span.h"

#define LAST_EVENT_ID "Last-Event-ID"

#define ID_MAX (V2_INDEX_MAX + 24)
#define MEMBERS (1u << API_NEWS_MEMBER)
#define LEADER (1u << API_NEWS_LEADER)

enum watch_phase {
    WATCH_RESET,
    WATCH_SNAPSHOT,
    WATCH_ROSTER,
    WATCH_SYNCED,
    WATCH_LIVE,
    WATCH_OVER
};

/* Where a snapshot under way is. */
struct place {
    uint8_t kind;
    uint16_t last_key_len; /* 0: at the kind's beginning */
    char last_key[RECORD_KEY_MAX];
    struct publish_doc *members; /* NULL: not had yet */
    struct span items;           /* of it, told up to items_at */
    size_t items_at;
};

struct watch {
    struct api *api;
    enum watch_phase phase;
    bool sse;
    bool counted;          /* among those that watch members */
    uint32_t kinds;        /* of rows */
    uint32_t news;         /* bits 1 << enum api_news */
    struct place *place;   /* NULL but during the snapshot */
    uint64_t next;         /* first change not sent */
    uint64_t news_at;      /* the last of news.h that was sent */
    uint64_t leader_at;    /* the one that the snapshot told, if it is newer */
    struct buf *out;       /* the piece, while one is read; */
    struct store_txn *txn; /* its snapshot */
    struct filter filter;
    char texts[]; /* the filter's */
};

static const char *id_text(const struct watch *w, uint64_t index, char out[ID_MAX])
{
    v2_index(w->api, index, out);
    if (w->news != 0) {
        size_t len = strlen(out);
        snprintf(out + len, ID_MAX - len, ".%" PRIu64, w->news_at);
    }
    return out;
}

#define NO_ID UINT64_MAX

/* event and data begin; the data follows, then end_event(). */
static void begin_event(struct watch *w, const char *event, const char *kind, uint64_t index)
{
    char id[ID_MAX];
    if (w->sse) {
        buf_printf(w->out, "event: %s\n", event);
        if (index != NO_ID)
            buf_printf(w->out, "id: %s\n", id_text(w, index, id));
        buf_puts(w->out, "data: ");
    }
    buf_printf(w->out, "{\"event\":\"%s\"", event);
    if (kind != NULL)
        buf_printf(w->out, ",\"kind\":\"%s\"", kind);
    if (index != NO_ID)
        buf_printf(w->out, ",\"index\":\"%s\"", id_text(w, index, id));
}

static void end_event(struct watch *w)
{
    buf_puts(w->out, w->sse ? "}\n\n" : "}\n");
}

/* Was the row that went away one of those watched? If nobody knows any more, it may have been. */
static bool was_watched(const struct watch *w, const struct store_row *row)
{
    struct store_row before;
    struct row fields;
    return w->filter.count == 0 || store_before(w->txn, row->index, &before) != 0 ||
           row_decode(before.record.value, before.record.value_len, &fields) != 0 ||
           filter_matches(&w->filter, &fields);
}

/* A row as put or delete. Rows that do not decode are left out, as they are from lists. */
static int put_row(struct watch *w, const struct store_row *row, bool with_id)
{
    struct row fields;
    size_t before = w->out->len;
    const char *kind = record_kind_str(row->record.kind);
    if (row->record.deleted) {
        if (!was_watched(w, row))
            return 0;
        begin_event(w, "delete", kind, with_id ? row->index : NO_ID);
        buf_puts(w->out, ",\"item\":");
        item_put_deleted(w->out, row);
        end_event(w);
        return w->out->err;
    }
    if (row_decode(row->record.value, row->record.value_len, &fields) != 0 ||
        !filter_matches(&w->filter, &fields))
        return 0;
    begin_event(w, "put", kind, with_id ? row->index : NO_ID);
    buf_puts(w->out, ",\"item\":");
    int err = item_put(w->out, row, &fields);
    end_event(w);
    if (err == ERR_MALFORMED && w->out->err == 0) {
        w->out->len = before;
        return 0;
    }
    return w->out->err;
}

static int on_row(void *arg, const struct store_row *row)
{
    struct watch *w = arg;
    memcpy(w->place->last_key, row->record.key, row->record.key_len);
    w->place->last_key_len = row->record.key_len;
    int err = put_row(w, row, false);
    return err != 0 ? err : w->out->len >= STREAM_PIECE;
}

static int on_change(void *arg, const struct store_row *row)
{
    struct watch *w = arg;
    w->next = row->index + 1;
    if ((w->kinds & 1u << row->record.kind) == 0)
        return 0;
    int err = put_row(w, row, true);
    return err != 0 ? err : w->out->len >= STREAM_PIECE;
}

/* The next piece of the snapshot; moves to the next kind, then to synced. Changes made since the
 * watch began come again in the live part, so each piece may read a newer state. */
static int read_snapshot(struct watch *w, struct store_txn *txn)
{
    struct place *at = w->place;
    while (at->kind < RECORD_KIND_END && w->out->len < STREAM_PIECE) {
        struct store_query q = {.kind = at->kind,
                                .after_key = at->last_key_len > 0 ? at->last_key : NULL,
                                .after_key_len = at->last_key_len};
        if (w->kinds & 1u << at->kind) {
            int err = store_scan(txn, &q, on_row, w);
            if (err != 0 || w->out->len >= STREAM_PIECE)
                return err;
        }
        at->kind++;
        at->last_key_len = 0;
    }
    if (at->kind == RECORD_KIND_END)
        w->phase = WATCH_ROSTER;
    return 0;
}

static int put_news(struct watch *w, enum api_news kind, bool deleted, struct span text,
                    bool with_id)
{
    static const char *const names[API_NEWS_COUNT] = {"member", "leader"};
    begin_event(w, deleted ? "delete" : "put", names[kind], with_id ? w->next - 1 : NO_ID);
    buf_puts(w->out, ",\"item\":");
    span_put(w->out, text);
    end_event(w);
    return w->out->err;
}

static int on_leader(void *arg, const struct news_item *item)
{
    struct watch *w = arg;
    w->leader_at = item->at;
    return item->deleted
               ? 0
               : put_news(w, item->kind, false, (struct span){item->text, item->len}, false);
}

/* Members as they were when their document was begun, if all changes since are kept; they come
 * again in the live part. false: there is none yet, and it is awaited. */
static bool take_members(struct watch *w)
{
    struct publish *p = &w->api->publish;
    struct publish_doc *d = publish_peek(p, API_DOC_MEMBERS);
    if (d == NULL || !news_reach(&w->api->news, MEMBERS, d->news)) {
        publish_release(d);
        publish_await(p, API_DOC_MEMBERS);
        return false;
    }
    w->place->members = d;
    w->place->items = span_get((struct span){d->data, d->len}, "items");
    w->news_at = d->news;
    return true;
}

static void end_snapshot(struct watch *w)
{
    publish_release(w->place == NULL ? NULL : w->place->members);
    free(w->place);
    w->place = NULL;
}

static int read_roster(struct watch *w)
{
    struct place *at = w->place;
    struct span item;
    int err = 0;
    if ((w->news & MEMBERS) != 0 && at->members == NULL && !take_members(w))
        return 0;
    while ((w->news & MEMBERS) != 0 && w->out->len < STREAM_PIECE &&
           span_element(at->items, &at->items_at, &item))
        if ((err = put_news(w, API_NEWS_MEMBER, false, item, false)) != 0)
            return err;
    if (w->out->len >= STREAM_PIECE)
        return 0;
    if ((w->news & MEMBERS) == 0)
        w->news_at = news_newest(&w->api->news);
    if (w->news & LEADER)
        err = news_leader(&w->api->news, on_leader, w);
    w->phase = WATCH_SYNCED;
    end_snapshot(w);
    return err;
}

static void put_synced(struct watch *w)
{
    begin_event(w, "synced", NULL, w->next - 1);
    end_event(w);
    w->phase = WATCH_LIVE;
}

static int put_reset(struct watch *w)
{
    begin_event(w, "reset", NULL, NO_ID);
    end_event(w);
    w->phase = WATCH_OVER;
    return 0;
}

static int on_news(void *arg, const struct news_item *item)
{
    struct watch *w = arg;
    w->news_at = item->at;
    if (item->kind == API_NEWS_LEADER && item->at <= w->leader_at)
        return 0;
    int err = put_news(w, item->kind, item->deleted, (struct span){item->text, item->len}, true);
    return err != 0 ? err : w->out->len >= STREAM_PIECE;
}

static int read_live_news(struct watch *w)
{
    int err = news_read(&w->api->news, w->news, w->news_at, on_news, w);
    return err == ERR_VERSION ? put_reset(w) : err;
}

static int read_live(struct watch *w, struct store_txn *txn)
{
    uint64_t seen = store_txn_index(txn, 0);
    int err = store_changes(txn, 0, w->next, on_change, w);
    if (err == ERR_VERSION)
        return put_reset(w);
    if (err == 0 && w->out->len < STREAM_PIECE && w->next <= seen)
        w->next = seen + 1;
    return err;
}

static void put_heartbeat(struct watch *w)
{
    struct api_facts facts;
    publish_facts(&w->api->publish, &facts);
    begin_event(w, "heartbeat", NULL, NO_ID);
    if (facts.complete_unix_ms > 0)
        buf_printf(w->out, ",\"staleness_ms\":%lld",
                   (long long)(clock_unix_ms() - facts.complete_unix_ms));
    end_event(w);
}

static int read_phases(struct watch *w, struct store_txn *txn)
{
    int err = 0;
    if (w->phase == WATCH_RESET) { /* what the client holds is of another time */
        begin_event(w, "reset", NULL, NO_ID);
        end_event(w);
        w->phase = WATCH_SNAPSHOT;
    }
    if (w->phase == WATCH_SNAPSHOT)
        err = read_snapshot(w, txn);
    if (err == 0 && w->phase == WATCH_ROSTER && w->out->len < STREAM_PIECE)
        err = read_roster(w);
    if (err == 0 && w->phase == WATCH_SYNCED)
        put_synced(w);
    if (err == 0 && w->phase == WATCH_LIVE && w->kinds != 0 && w->out->len < STREAM_PIECE)
        err = read_live(w, txn);
    if (err == 0 && w->phase == WATCH_LIVE && w->news != 0 && w->out->len < STREAM_PIECE)
        err = read_live_news(w);
    return err;
}

static enum stream_says watch_read(void *arg, struct buf *out, bool beat)
{
    struct watch *w = arg;
    struct store_txn *txn = NULL; /* members are in no row */
    if (w->kinds != 0 && store_read_begin(w->api->store, &txn) != 0)
        return STREAM_OVER;
    w->out = out;
    w->txn = txn;
    int err = read_phases(w, txn);
    if (txn != NULL)
        store_read_end(txn);
    if (err == 0 && out->len == 0 && beat)
        put_heartbeat(w);
    w->out = NULL;
    if (err != 0 || w->phase == WATCH_OVER)
        return STREAM_OVER;
    return out->len < STREAM_PIECE ? STREAM_QUIET : STREAM_MORE;
}

static void watch_free(void *arg)
{
    struct watch *w = arg;
    end_snapshot(w);
    if (w->counted)
        news_watch(&w->api->news, false);
    free(w);
}

static int parse_kinds(const char *text, struct watch *w)
{
    while (*text != '\0') {
        char name[32];
        size_t len = strcspn(text, ",");
        if (len == 0 || len >= sizeof name)
            return ERR_BADPARAM;
        memcpy(name, text, len);
        name[len] = '\0';
        uint8_t kind = record_kind_parse(name);
        if (strcmp(name, "member") == 0)
            w->news |= MEMBERS;
        else if (strcmp(name, "leader") == 0)
            w->news |= LEADER;
        else if (kind < RECORD_INSTANCE || kind > RECORD_DEPLOYMENT)
            return ERR_BADPARAM;
        else
            w->kinds |= 1u << kind;
        text += len + (text[len] == ',');
    }
    return w->kinds == 0 && w->news == 0 ? ERR_BADPARAM : 0;
}

/* "E.N", or "E.N.M" with a place among the news; *ret_news is 0 without. */
static int parse_id(const struct request *r, const char *text, uint64_t *ret, bool *ret_same,
                    uint64_t *ret_news)
{
    char index[V2_INDEX_MAX];
    const char *dot = strchr(text, '.');
    const char *second = dot == NULL ? NULL : strchr(dot + 1, '.');
    size_t len = second == NULL ? strlen(text) : (size_t)(second - text);
    *ret_news = 0;
    if (len >= sizeof index)
        return ERR_BADPARAM;
    memcpy(index, text, len);
    index[len] = '\0';
    if (second != NULL) {
        if (second[1] == '\0' || strspn(second + 1, "0123456789") != strlen(second + 1) ||
            strlen(second + 1) > 20)
            return ERR_BADPARAM;
        *ret_news = strtoull(second + 1, NULL, 10);
    }
    return v2_parse_index(r, index, ret, ret_same);
}

/* Where to begin: behind the client's last event if the change log still reaches back to it. */
static int set_start(struct watch *w, const struct request *r)
{
    struct store_txn *txn;
    const char *last = request_header(r, LAST_EVENT_ID);
    uint64_t seen, news;
    bool same;
    w->counted = (w->news & MEMBERS) != 0;
    if (w->counted)
        news_watch(&w->api->news, true); /* from here on their changes are kept */
    if (last == NULL)
        last = request_param(r, "index");
    int err = store_read_begin(w->api->store, &txn);
    if (err != 0)
        return err;
    uint64_t now = store_txn_index(txn, 0), oldest = store_oldest_change(txn);
    store_read_end(txn);
    w->next = now + 1;
    w->phase = WATCH_SNAPSHOT;
    if (last != NULL && last[0] != '\0' && strcmp(last, "0") != 0) {
        if (parse_id(r, last, &seen, &same, &news) != 0)
            return ERR_BADPARAM;
        bool reaches = same && (w->kinds == 0 || (seen <= now && seen + 1 >= oldest)) &&
                       (w->news == 0 || news_reach(&w->api->news, w->news, news));
        w->news_at = news;
        w->phase = reaches ? WATCH_LIVE : WATCH_RESET;
        w->next = reaches ? seen + 1 : w->next;
    }
    w->place = w->phase == WATCH_LIVE ? NULL : calloc(1, sizeof *w->place);
    return w->phase != WATCH_LIVE && w->place == NULL ? ERR_NOMEM : 0;
}

/* As for lists, an empty one is none. */
static const char *wanted(const struct request *r, const char *name)
{
    const char *value = request_param(r, name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

/* With copies of what the filter compares: the request is over when the watch begins. */
static struct watch *watch_new(const struct request *r)
{
    const char *cluster = wanted(r, "cluster");
    const char *environment = wanted(r, "environment");
    const char *accept = request_header(r, MHD_HTTP_HEADER_ACCEPT);
    size_t cluster_size = cluster == NULL ? 0 : strlen(cluster) + 1;
    size_t environment_size = environment == NULL ? 0 : strlen(environment) + 1;
    struct watch *w = calloc(1, sizeof *w + cluster_size + environment_size);
    if (w == NULL)
        return NULL;
    w->api = r->api;
    w->sse = accept != NULL && strstr(accept, "text/event-stream") != NULL;
    int err = 0;
    if (cluster != NULL) {
        memcpy(w->texts, cluster, cluster_size);
        err = filter_add_cluster(&w->filter, w->texts, false);
    }
    if (err == 0 && environment != NULL) {
        memcpy(w->texts + cluster_size, environment, environment_size);
        err = filter_add(&w->filter, ROW_ENVIRONMENT, w->texts + cluster_size);
    }
    ENSURE(err == 0); /* there is room for two tests */
    return w;
}

static ssize_t on_nothing(void *arg, uint64_t pos, char *data, size_t max)
{
    (void)arg, (void)pos, (void)data, (void)max;
    return MHD_CONTENT_READER_END_OF_STREAM;
}

enum MHD_Result v2_watch(struct request *r)
{
    static const char *const known[] = {"kinds", "cluster", "environment", "index", NULL};
    enum MHD_Result ret;
    if (problem_check_params(r, known, &ret))
        return ret;
    const char *kinds = request_param(r, "kinds");
    struct watch *w = watch_new(r);
    if (w == NULL)
        return MHD_NO;
    const char *type = w->sse ? "text/event-stream" : "application/x-ndjson";
    struct problem bad = {.slug = "bad-parameter"};
    int err = 0;
    if (parse_kinds(kinds == NULL ? "instance,task,environment,deployment" : kinds, w) != 0) {
        bad.pointer = "?kinds";
        bad.detail = "\"kinds\" is a list like instance,task,environment,deployment,member,leader";
    } else if ((err = set_start(w, r)) == ERR_BADPARAM) {
        bad.pointer = request_header(r, LAST_EVENT_ID) != NULL ? LAST_EVENT_ID : "?index";
        bad.detail = "\"index\" or Last-Event-ID must be a Blox-Index or an event's id that this "
                     "agent gave";
    }
    bool begins = bad.pointer == NULL && err == 0 && r->method != METHOD_HEAD;
    if (begins)
        err = reply_stream(r, type,
                           &(struct stream_source){.kinds = w->kinds | STREAM_NEWS(w->news),
                                                   .read = watch_read,
                                                   .release = watch_free,
                                                   .arg = w});
    if (begins && err == 0)
        return REPLY_TAKEN;
    watch_free(w);
    if (bad.pointer != NULL)
        return problem_reply(r, &bad);
    if (err == ERR_BUSY)
        return problem_replyf(r, "too-many-requests",
                              "no more watches here: %d are the most, fewer if file descriptors "
                              "run short",
                              API_STREAMS_MAX);
    if (err != 0)
        return problem_reply(r, &(struct problem){.err = err});
    /* HEAD: as a stream's, whose length nobody knows. */
    struct answer head = {.status = 200, .type = type, .streams = true};
    head.ready = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 1024, on_nothing, NULL, NULL);
    return head.ready == NULL ? MHD_NO : reply(r, &head);
}
