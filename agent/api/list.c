/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/list.h"

#include <stdlib.h>
#include <string.h>

#include "agent/api/gzip.h"
#include "agent/api/interest.h"
#include "agent/api/join.h"
#include "agent/api/problem.h"
#include "agent/api/v1.h"
#include "agent/api/v2.h"
#include "agent/base/clock.h"

#define GZIP_FROM_BYTES 1400u    /* less is one packet in any case */
#define FIRST_BYTES (48u * 1024) /* a list that fits has its length told in the answer's head */
/* Room for what follows the last item: the token (a key of 400 bytes as base64), the index. */
#define TAIL_BYTES 1024u
/* A client that reads slower than this gets the rest from a newer snapshot: an old one would keep
 * every page that changed since. Lists in pages are short, and promise one moment: they are cut. */
#define SNAPSHOT_MS_MAX 5000
#define PAGE_MS_MAX 30000

struct list_stream {
    struct api *api;
    struct store_txn *txn;
    uint64_t txn_began_ms;
    struct list_spec spec;
    struct filter_plan plan;
    struct join join;
    struct shapes *shapes;  /* with spec.body */
    struct sort_heap *heap; /* sorted lists: the page's rows */
    size_t heap_at;
    uint64_t looks;         /* that may be taken at rows in their order of creation */
    struct sort_place last; /* the last item put */
    uint64_t count;
    char index[V2_INDEX_MAX], etag[V2_ETAG_MAX];
    struct buf *out; /* where items go now: the connection's memory, or buf */
    struct buf buf;  /* the first piece, and items larger than the connection's memory */
    size_t buf_pos;
    bool full; /* out has no room for the next item */
    bool more; /* the limit ended it */
    bool done;
    bool is_held; /* in api->holders, for more than one piece */
    bool cut;     /* its moment is gone */
    struct held held;
};

/* -- items --------------------------------------------------------------------- */

/* What is asked for without looking at columns is written from the JSON alone. */
static bool is_asked_for(struct list_stream *s, const struct store_row *row, struct row *fields)
{
    const struct record *rec = &row->record;
    if (rec->key_len > RECORD_KEY_MAX)
        return false;
    if (s->spec.filter.count == 0 && s->spec.query == NULL) {
        *fields = (struct row){.json = {NULL, 0}};
        return row_find_json(rec->value, rec->value_len, &fields->json) == 0;
    }
    return row_decode(rec->value, rec->value_len, fields) == 0 &&
           filter_matches(&s->spec.filter, fields) &&
           (s->spec.query == NULL || query_matches(s->spec.query, s->txn, row, fields));
}

static int put_form(struct list_stream *s, const struct store_row *row, const struct row *fields)
{
    if (s->shapes != NULL) {
        int err = shapes_put(s->shapes, s->out, fields->json);
        return err != 0 ? err : s->spec.end(s->out, row);
    }
    return s->spec.chosen.count > 0 ? chosen_put(s->out, row, fields, &s->spec.chosen)
                                    : s->spec.emit(s->out, row, fields);
}

static int put_item(struct list_stream *s, const struct store_row *row, const struct row *fields)
{
    struct buf *out = s->out;
    size_t before = out->len;
    if (s->count > 0)
        buf_putc(out, ',');
    int err = put_form(s, row, fields);
    if (out->err == ERR_TOOBIG && before > 0) { /* again in the next piece */
        out->len = before;
        out->err = 0;
        s->full = true;
        return 1;
    }
    if (err == ERR_MALFORMED && out->err == 0) {
        out->len = before; /* one odd row never breaks a list */
        return 0;
    }
    if (err != 0 || out->err != 0)
        return err != 0 ? err : out->err;
    s->count++;
    s->full = out == &s->buf && out->len >= FIRST_BYTES;
    return s->full;
}

static int on_row(void *arg, const struct store_row *row)
{
    struct list_stream *s = arg;
    struct row fields;
    if (!is_asked_for(s, row, &fields))
        return 0;
    if (s->spec.limit > 0 && s->count == s->spec.limit) {
        s->more = true;
        return 1;
    }
    uint64_t before = s->count;
    int ret = put_item(s, row, &fields);
    if (s->count > before) {
        memcpy(s->last.key, row->record.key, row->record.key_len);
        s->last.key_len = row->record.key_len;
    }
    return ret;
}

static int scan(struct list_stream *s, store_scan_fn fn, const struct sort_place *after)
{
    if (s->join.used)
        return join_scan(&s->join, s->txn, s->spec.kind, after->key, after->key_len, fn, s);
    return filter_scan(&s->plan, s->txn, s->spec.kind, after->key, after->key_len, fn, s);
}

/* -- sorted lists -------------------------------------------------------------- */

static int on_place(void *arg, const struct store_row *row)
{
    struct list_stream *s = arg;
    struct row fields;
    struct sort_place place;
    if (!is_asked_for(s, row, &fields))
        return 0;
    sort_place_of(&s->spec.sort, row, &fields, &place);
    sort_heap_add(s->heap, &place);
    return 0;
}

static int on_untimed(void *arg, const struct store_row *row)
{
    struct list_stream *s = arg;
    return s->looks == 0 || --s->looks == 0 ? 1 : on_place(s, row);
}

static int on_created(void *arg, const struct store_row *row)
{
    struct list_stream *s = arg;
    struct row fields = {.json = {NULL, 0}};
    struct sort_place place;
    if (s->looks == 0 || --s->looks == 0)
        return 1;
    if (s->heap->count == s->heap->cap &&
        row_find_json(row->record.value, row->record.value_len, &fields.json) == 0) {
        sort_place_of(&s->spec.sort, row, &fields, &place);
        if (sort_heap_is_past(s->heap, &place))
            return 1;
    }
    return on_place(s, row);
}

/* Looks until the page is full, or for so long that it would have been better not to. True: all of
 * the page is in the heap. */
static bool take_by_creation(struct list_stream *s)
{
    const struct sort_place *after = &s->spec.at.last;
    uint64_t total, rows = s->join.used ? s->join.rows : s->plan.rows;
    const struct store_creation c = {.down = s->spec.sort.down,
                                     .after = after->key_len > 0 ? after->text : NULL,
                                     .after_len = after->text_len,
                                     .after_key = after->key,
                                     .after_key_len = after->key_len,
                                     .untimed = on_untimed,
                                     .fn = on_created,
                                     .arg = s};
    if (!s->spec.sort.by_creation || s->spec.past != 0 ||
        (after->key_len > 0 && after->rank != SORT_TEXT) ||
        store_count(s->txn, RECORD_TASK, 0, NULL, &total) != 0)
        return false;
    /* Of so many that may be in the list, every (total / rows)th is. */
    if (rows * rows <= s->spec.limit * total)
        return false;
    s->looks = rows / 2;
    return store_creation_scan(s->txn, &c) == 0 && s->looks > 0;
}

static int sort_rows(struct list_stream *s)
{
    static const struct sort_place start = {.rank = 0};
    int err = 0;
    s->heap = sort_heap_new(&s->spec.sort, &s->spec.at.last, (size_t)s->spec.limit + 1);
    if (s->heap == NULL)
        return ERR_NOMEM;
    if (!take_by_creation(s)) {
        s->heap->count = 0;
        err = scan(s, on_place, &start);
    }
    sort_heap_finish(s->heap);
    return err;
}

static int put_sorted(struct list_stream *s)
{
    while (s->heap_at < s->heap->count) {
        const struct sort_place *place = &s->heap->places[s->heap_at];
        struct store_row row;
        struct row fields;
        uint64_t before = s->count;
        int ret = 0;
        if (s->count == s->spec.limit) {
            s->more = true;
            return 0;
        }
        if (store_get_ref(s->txn, s->spec.kind, place->key, place->key_len, &row) == 0 &&
            row_decode(row.record.value, row.record.value_len, &fields) == 0)
            ret = put_item(s, &row, &fields);
        if (ret < 0 || (ret == 1 && s->count == before))
            return ret < 0 ? ret : 0;
        s->heap_at++;
        s->last = *place;
        if (ret == 1)
            return 0;
    }
    return 0;
}

/* -- pieces -------------------------------------------------------------------- */

static void end_snapshot(struct list_stream *s)
{
    if (s->txn != NULL && s->spec.at.snapshot != 0) {
        pages_keep(&s->api->pages, s->spec.at.snapshot, s->txn);
        waiters_tick_within(&s->api->waiters, PAGES_TICK_MS);
    } else if (s->txn != NULL) {
        store_read_end(s->txn);
    }
    s->txn = NULL;
}

static void put_tail(struct list_stream *s)
{
    s->done = true;
    s->out->max += TAIL_BYTES;
    buf_puts(s->out, "]");
    if (s->spec.with_token && s->more) {
        struct token t = {.query = s->spec.query_id, .last = s->last};
        if (s->spec.at.snapshot == 0)
            s->spec.at.snapshot = pages_number(&s->api->pages);
        t.snapshot = s->spec.at.snapshot;
        buf_puts(s->out, ",\"next_token\":\"");
        token_encode(&t, s->out);
        buf_putc(s->out, '"');
    }
    if (s->spec.with_token)
        buf_printf(s->out, ",\"index\":\"%s\"", s->index);
    buf_puts(s->out, "}\n");
    end_snapshot(s);
}

/* Items into out until it is full or the list ends. */
static int read_piece(struct list_stream *s, struct buf *out)
{
    uint64_t now_ms = clock_mono_ms();
    if (s->txn != NULL && !s->spec.with_token && now_ms - s->txn_began_ms > SNAPSHOT_MS_MAX)
        end_snapshot(s);
    if (s->cut || (s->spec.with_token && now_ms - s->txn_began_ms > PAGE_MS_MAX))
        return ERR_TIMEOUT;
    if (s->txn == NULL) {
        int err = store_read_begin(s->api->store, &s->txn);
        if (err != 0)
            return err;
        s->txn_began_ms = now_ms;
    }
    s->out = out;
    s->full = false;
    int err = s->heap != NULL ? put_sorted(s) : scan(s, on_row, &s->last);
    if (err != 0)
        return err;
    if (!s->full)
        put_tail(s);
    return out->err;
}

static void stream_free(void *arg)
{
    struct list_stream *s = arg;
    if (s->is_held)
        held_remove(&s->api->holders, &s->held);
    end_snapshot(s);
    query_free(s->spec.query);
    join_fini(&s->join);
    free(s->heap);
    shapes_free(s->shapes);
    buf_fini(&s->buf);
    free(s);
}

static ssize_t give_buf(struct list_stream *s, char *data, size_t max)
{
    size_t n = s->buf.len - s->buf_pos < max ? s->buf.len - s->buf_pos : max;
    memcpy(data, s->buf.data + s->buf_pos, n);
    s->buf_pos += n;
    if (s->buf_pos == s->buf.len) {
        buf_fini(&s->buf);
        s->buf_pos = 0;
    }
    return (ssize_t)n;
}

static void let_go(struct held *h)
{
    struct list_stream *s = LIST_OF(h, struct list_stream, held);
    s->cut = s->txn != NULL && s->spec.with_token;
    end_snapshot(s);
}

static ssize_t give(struct list_stream *s, char *data, size_t max)
{
    struct buf direct;
    if (s->buf.len > 0)
        return give_buf(s, data, max);
    if (s->done)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (max > 2 * TAIL_BYTES) {
        buf_over(&direct, data, max);
        direct.max -= TAIL_BYTES;
        int err = read_piece(s, &direct);
        if (err == 0 && direct.len > 0)
            return (ssize_t)direct.len;
        if (err != 0 && err != ERR_TOOBIG)
            return MHD_CONTENT_READER_END_WITH_ERROR; /* a cut list must not look whole */
    }
    /* An item larger than the connection's memory. */
    if (read_piece(s, &s->buf) != 0)
        return MHD_CONTENT_READER_END_WITH_ERROR;
    return give_buf(s, data, max);
}

static ssize_t on_read(void *arg, uint64_t pos, char *data, size_t max)
{
    struct list_stream *s = arg;
    (void)pos;
    if (!s->is_held)
        return give(s, data, max);
    held_begin(&s->held);
    ssize_t n = give(s, data, max);
    held_end(&s->held);
    return n;
}

/* -- the answer ---------------------------------------------------------------- */

static enum MHD_Result refuse(struct request *r, struct list_stream *s, int err)
{
    stream_free(s);
    if (r->is_v1)
        return v1_error(r, 500, V1_INTERNAL);
    if (err == ERR_VERSION)
        return v2_past_gone(r, r->api->store);
    if (err == ERR_NOTFOUND)
        return problem_replyf(r, "page-expired",
                              "the moment that this list was read at is no longer kept");
    return problem_reply(r, &(struct problem){.err = err});
}

static struct list_stream *stream_new(struct request *r, const struct list_spec *spec)
{
    struct list_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    if (spec->body != NULL && (s->shapes = shapes_new(spec->body)) == NULL) {
        free(s);
        return NULL;
    }
    s->api = r->api;
    s->spec = *spec;
    s->last = spec->at.last;
    buf_init(&s->buf, FIRST_BYTES + RECORD_VALUE_MAX * 2);
    return s;
}

#define JOIN_FROM 200u /* rows; fewer are asked one by one */

/* If instances lead to so many rows or fewer, to go by them is less than to go through all rows: a
 * sorted list needs all, another one is full after limit / density, while each instance takes a
 * look, too. */
static uint64_t worth_joining(const struct list_stream *s)
{
    uint64_t most = s->plan.rows / 2;
    if (s->spec.sort.member[0] == '\0')
        while (most * most > s->spec.limit * s->plan.rows)
            most -= most / 8 + 1;
    return most;
}

static int begin(struct request *r, struct list_stream *s)
{
    bool first = s->spec.at.snapshot == 0;
    int err = first ? store_read_begin(s->api->store, &s->txn)
                    : pages_take(&s->api->pages, s->spec.at.snapshot, &s->txn);
    if (err == 0 && first)
        err = v2_rewind(s->txn, s->spec.past);
    if (err != 0)
        return err;
    s->txn_began_ms = clock_mono_ms();
    const struct interest interest = {.kind = s->spec.kind, .query = s->spec.query};
    uint64_t index = store_kinds_index(s->api->store, s->txn, interest_kinds(&interest));
    /* Of the snapshot, also on later pages: what changed since is news to whoever asks with it. */
    if (s->spec.with_token)
        v2_index(r->api, index, s->index);
    if (s->spec.form != 0)
        v2_list_etag(r, index, s->spec.form, s->etag);
    if (s->spec.query != NULL)
        query_forget(s->spec.query);
    if (s->spec.query != NULL && s->spec.past == 0)
        query_narrow(s->spec.query, s->txn, s->spec.kind, &s->spec.filter);
    err = filter_plan(&s->spec.filter, s->txn, s->spec.kind, s->spec.past != 0, &s->plan);
    if (err == 0 && s->spec.query != NULL && s->spec.past == 0 && s->plan.rows > JOIN_FROM)
        err = join_plan(&s->join, s->spec.query, s->txn, s->spec.kind, worth_joining(s));
    if (err == 0 && s->spec.sort.member[0] != '\0')
        err = sort_rows(s);
    buf_puts(&s->buf, "{\"items\":[");
    return err != 0 ? err : read_piece(s, &s->buf);
}

/* For a peer: it goes over in one message. */
static enum MHD_Result read_whole(struct request *r, struct list_stream *s, struct answer *a)
{
    static const size_t piece = 64 * 1024;
    struct buf whole;
    ssize_t n = 0;
    char *data = malloc(piece);
    buf_init(&whole, GOSSIP_MESSAGE_MAX);
    while (data != NULL && (n = on_read(s, 0, data, piece)) > 0)
        if (buf_put(&whole, data, (size_t)n) != 0)
            break;
    bool ok = data != NULL && n == MHD_CONTENT_READER_END_OF_STREAM;
    free(data);
    if (!ok) {
        stream_free(s);
        buf_fini(&whole);
        return problem_reply(
            r, &(struct problem){.slug = "bad-parameter",
                                 .detail = "the list is too long to come from the leader: ask with "
                                           "a smaller \"limit\", or for fewer \"fields\"",
                                 .pointer = "?limit"});
    }
    a->body = &whole;
    enum MHD_Result ret = reply(r, a);
    stream_free(s); /* the answer's index is its */
    return ret;
}

enum MHD_Result list_reply(struct request *r, const struct list_spec *spec, const char *type)
{
    struct answer a = {.status = 200, .type = type};
    struct list_stream *s = stream_new(r, spec);
    if (s == NULL) {
        query_free(spec->query);
        return MHD_NO;
    }
    int err = begin(r, s);
    if (err != 0)
        return refuse(r, s, err);
    a.index = s->index;
    a.etag = s->etag;
    if (r->reading != NULL)
        return read_whole(r, s, &a);
    a.varies = !r->is_v1;
    s->is_held = !s->done && held_add(&s->api->holders, &s->held, let_go) == 0;
    if (s->is_held)
        waiters_tick_within(&s->api->waiters, PAGES_TICK_MS);
    bool gzip = !r->is_v1 && gzip_is_accepted(request_header(r, MHD_HTTP_HEADER_ACCEPT_ENCODING));
    if (s->done &&
        !(gzip && s->buf.len > GZIP_FROM_BYTES)) { /* it fits: one answer with its length */
        a.body = &s->buf;
        enum MHD_Result ret = reply(r, &a);
        stream_free(s);
        return ret;
    }
    a.ready = gzip ? gzip_response(on_read, s, stream_free)
                   : MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, REPLY_BLOCK, on_read, s,
                                                       stream_free);
    if (a.ready == NULL)
        return refuse(r, s, ERR_NOMEM);
    a.streams = true;
    return reply(r, &a);
}
