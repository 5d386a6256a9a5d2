/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/problem.h"
#include "agent/api/v1.h"
#include "agent/base/clock.h"

#define PIECE_BYTES (48u * 1024)
/* A client that reads slower than this gets the rest from a newer snapshot: an old one would keep
 * every page that changed since. */
#define SNAPSHOT_MS_MAX 5000

struct list_stream {
    struct store *store;
    struct store_txn *txn;
    uint64_t txn_began_ms;
    struct list_spec spec;
    size_t best; /* filter that is read from an index, or filter_count */
    char last_key[RECORD_KEY_MAX + 1];
    uint16_t last_key_len;
    uint64_t count;
    char index[48];
    struct buf out;
    size_t out_pos;
    bool more; /* the limit ended it */
    bool done;
};

/* -- filters ------------------------------------------------------------------- */

int list_add_filter(struct list_spec *spec, enum row_field field, const char *value)
{
    if (spec->filter_count == LIST_FILTERS_MAX || strlen(value) >= LIST_VALUE_MAX)
        return ERR_TOOBIG;
    struct list_filter *f = &spec->filters[spec->filter_count++];
    f->field = field;
    f->cluster_name = false;
    memcpy(f->value, value, strlen(value) + 1);
    return 0;
}

int list_add_cluster(struct list_spec *spec, const char *value, bool reduce)
{
    const char *name = strstr(value, ":cluster/");
    bool is_arn = strncmp(value, "arn:", 4) == 0 && name != NULL;
    int err = list_add_filter(spec, ROW_CLUSTER, is_arn && reduce ? name + 9 : value);
    if (err == 0)
        spec->filters[spec->filter_count - 1].cluster_name = !is_arn || reduce;
    return err;
}

static bool cluster_is(struct row_text arn, const char *name)
{
    size_t len = strlen(name);
    if (arn.data == NULL || arn.len < len)
        return false;
    const char *end = arn.data + arn.len - len;
    return memcmp(end, name, len) == 0 && (arn.len == len || end[-1] == '/');
}

bool list_matches(const struct list_spec *spec, const struct store_row *row,
                  const struct row *fields)
{
    size_t prefix = strlen(spec->key_prefix);
    if (prefix > 0 &&
        (row->record.key_len < prefix || memcmp(row->record.key, spec->key_prefix, prefix) != 0))
        return false;
    for (size_t i = 0; i < spec->filter_count; i++) {
        const struct list_filter *f = &spec->filters[i];
        if (f->cluster_name ? !cluster_is(fields->field[f->field], f->value)
                            : !row_field_is(fields, f->field, f->value))
            return false;
    }
    return true;
}

static bool is_indexed(const struct list_filter *f)
{
    static const enum row_field fields[] = {ROW_CLUSTER,     ROW_STATUS, ROW_INSTANCE,
                                            ROW_FAMILY,      ROW_GROUP,  ROW_STARTED_BY,
                                            ROW_ENVIRONMENT, ROW_ZONE,   ROW_EC2_INSTANCE};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i] == f->field)
            return !f->cluster_name;
    return false;
}

/* The filter with the fewest rows behind it. An index that holds more than half of the rows costs
 * more than reading them all in order. */
static size_t most_selective(struct store_txn *txn, const struct list_spec *spec)
{
    size_t best = spec->filter_count;
    uint64_t total = 0, fewest;
    if (store_count(txn, spec->kind, 0, NULL, &total) != 0)
        total = UINT64_MAX;
    fewest = total / 2 + 1;
    for (size_t i = 0; i < spec->filter_count; i++) {
        uint64_t n;
        const struct list_filter *f = &spec->filters[i];
        if (is_indexed(f) && store_count(txn, spec->kind, f->field, f->value, &n) == 0 &&
            n < fewest) {
            fewest = n;
            best = i;
        }
    }
    return best;
}

/* -- pieces -------------------------------------------------------------------- */

static int on_row(void *arg, const struct store_row *row)
{
    struct list_stream *s = arg;
    struct row fields;
    if (row->record.key_len > RECORD_KEY_MAX ||
        row_decode(row->record.value, row->record.value_len, &fields) != 0 ||
        !list_matches(&s->spec, row, &fields))
        return 0;
    if (s->spec.limit > 0 && s->count == s->spec.limit) {
        s->more = true;
        return 1;
    }
    size_t before = s->out.len;
    if (s->count > 0)
        buf_putc(&s->out, ',');
    int err = s->spec.emit(&s->out, row, &fields);
    if (err == ERR_MALFORMED && s->out.err == 0) {
        s->out.len = before; /* one odd row never breaks a list */
        return 0;
    }
    if (err != 0 || s->out.err != 0)
        return err != 0 ? err : s->out.err;
    s->count++;
    memcpy(s->last_key, row->record.key, row->record.key_len);
    s->last_key_len = row->record.key_len;
    return s->out.len >= PIECE_BYTES ? 1 : 0;
}

static int read_piece(struct list_stream *s)
{
    uint64_t now_ms = clock_mono_ms();
    if (s->txn != NULL && now_ms - s->txn_began_ms > SNAPSHOT_MS_MAX) {
        store_read_end(s->txn);
        s->txn = NULL;
    }
    if (s->txn == NULL) {
        int err = store_read_begin(s->store, &s->txn);
        if (err != 0)
            return err;
        s->txn_began_ms = now_ms;
    }
    struct store_query q = {.kind = s->spec.kind,
                            .after_key = s->last_key_len > 0 ? s->last_key : NULL,
                            .after_key_len = s->last_key_len};
    if (s->best < s->spec.filter_count) {
        q.field = s->spec.filters[s->best].field;
        q.value = s->spec.filters[s->best].value;
    }
    size_t before = s->out.len;
    int err = store_scan(s->txn, &q, on_row, s);
    if (err != 0)
        return err;
    if (s->out.len < PIECE_BYTES || s->more || s->out.len == before) {
        s->done = true;
        buf_puts(&s->out, "]");
        if (s->spec.with_token && s->more) {
            buf_puts(&s->out, ",\"next_token\":\"");
            list_token_encode(s->last_key, s->last_key_len, &s->out);
            buf_putc(&s->out, '"');
        }
        if (s->spec.with_token)
            buf_printf(&s->out, ",\"index\":\"%s\"", s->index);
        buf_puts(&s->out, "}\n");
        store_read_end(s->txn);
        s->txn = NULL;
    }
    return s->out.err;
}

static void stream_free(void *arg)
{
    struct list_stream *s = arg;
    if (s->txn != NULL)
        store_read_end(s->txn);
    buf_fini(&s->out);
    free(s);
}

static ssize_t on_read(void *arg, uint64_t pos, char *data, size_t max)
{
    struct list_stream *s = arg;
    (void)pos;
    if (s->out_pos == s->out.len) {
        if (s->done)
            return MHD_CONTENT_READER_END_OF_STREAM;
        buf_clear(&s->out);
        s->out_pos = 0;
        if (read_piece(s) != 0)
            return MHD_CONTENT_READER_END_WITH_ERROR; /* a cut list must not look whole */
    }
    size_t n = s->out.len - s->out_pos < max ? s->out.len - s->out_pos : max;
    memcpy(data, s->out.data + s->out_pos, n);
    s->out_pos += n;
    return (ssize_t)n;
}

static enum MHD_Result refuse(struct request *r, struct list_stream *s, int err)
{
    stream_free(s);
    if (r->is_v1)
        return v1_error(r, 500, V1_INTERNAL);
    return problem_reply(r, &(struct problem){.err = err});
}

static struct list_stream *stream_new(struct request *r, const struct list_spec *spec,
                                      const char *index)
{
    struct list_stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->store = r->api->store;
    s->spec = *spec;
    buf_init(&s->out, PIECE_BYTES + RECORD_VALUE_MAX * 2);
    snprintf(s->index, sizeof s->index, "%s", index == NULL ? "" : index);
    s->last_key_len = (uint16_t)strlen(spec->after_key);
    memcpy(s->last_key, spec->after_key, s->last_key_len);
    buf_puts(&s->out, "{\"items\":[");
    return s;
}

enum MHD_Result list_reply(struct request *r, const struct list_spec *spec, const char *type,
                           const char *index)
{
    struct answer a = {.status = 200, .type = type, .index = index};
    struct list_stream *s = stream_new(r, spec, index);
    if (s == NULL)
        return MHD_NO;
    int err = store_read_begin(s->store, &s->txn);
    if (err != 0)
        return refuse(r, s, err);
    s->txn_began_ms = clock_mono_ms();
    s->best = most_selective(s->txn, &s->spec);
    if ((err = read_piece(s)) != 0)
        return refuse(r, s, err);
    if (s->done) { /* it fits: one answer with its length */
        a.body = &s->out;
        enum MHD_Result ret = reply(r, &a);
        stream_free(s);
        return ret;
    }
    a.ready =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, REPLY_BLOCK, on_read, s, stream_free);
    if (a.ready == NULL)
        return refuse(r, s, ERR_NOMEM);
    return reply(r, &a);
}

/* -- tokens -------------------------------------------------------------------- */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

int list_token_encode(const char *key, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = 0;
        size_t n = len - i < 3 ? len - i : 3;
        for (size_t j = 0; j < 3; j++)
            v = v << 8 | (j < n ? (uint8_t)key[i + j] : 0);
        for (size_t j = 0; j <= n; j++)
            buf_putc(out, digits[v >> (18 - 6 * j) & 63]);
    }
    return out->err;
}

int list_token_decode(const char *token, char *out, size_t cap)
{
    size_t n = 0;
    uint32_t v = 0;
    unsigned bits = 0;
    for (; *token != '\0'; token++) {
        const char *d = strchr(digits, *token);
        if (d == NULL)
            return ERR_BADPARAM;
        v = v << 6 | (uint32_t)(d - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            char c = (char)(v >> bits & 255);
            if (n + 1 >= cap || c == '\0')
                return ERR_BADPARAM;
            out[n++] = c;
        }
    }
    out[n] = '\0';
    return n == 0 ? ERR_BADPARAM : 0;
}
