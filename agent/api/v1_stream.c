/* SPDX-License-Identifier: Apache-2.0
 * /v1/stream/tasks and /v1/stream/instances: a line for each change, as etcd's watch told Blox of
 * them. The change log has a row's last change only; what it was between is looked for among the
 * rows that were replaced, as far as these are kept, and put where it belongs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/api/v1.h"

#define OLD_MAX 1024u  /* of a stream that has far to go, at a time */
#define LOOK_MAX 2048u /* in one turn: others wait for theirs */

/* An earlier row: the change that made it, and the one that replaced it. */
struct old {
    uint64_t made, replaced;
};

struct v1_stream {
    struct store *store;
    uint8_t kind;
    uint64_t next; /* first change not sent */
    /* Earlier rows to send, by the change that made them; NULL while there are none. */
    struct old *old;
    size_t old_at, old_count;
    uint64_t looked; /* changes up to here were looked at for what they replaced */
    unsigned looks;  /* of them, in this turn */
    uint64_t until;  /* of rows made from here on, not all that are earlier ones are in old */
    /* While a piece is read. */
    struct store_txn *txn;
    struct buf *out;
};

static int remember(void *arg, uint8_t kind, uint64_t made, uint64_t replaced)
{
    struct v1_stream *s = arg;
    if (s->looks == LOOK_MAX)
        return 1;
    s->looks++;
    s->looked = replaced;
    if (kind != s->kind || made < s->next || made >= s->until)
        return 0;
    if (s->old == NULL && (s->old = malloc(OLD_MAX * sizeof s->old[0])) == NULL)
        return ERR_NOMEM;
    if (s->old_count == OLD_MAX) { /* the last one waits for the next look */
        s->until = s->old[--s->old_count].made;
        if (made >= s->until)
            return 0;
    }
    size_t i = s->old_count++;
    for (; i > 0 && s->old[i - 1].made > made; i--)
        s->old[i] = s->old[i - 1];
    s->old[i] = (struct old){made, replaced};
    return 0;
}

/* What changes replaced since the last look; all of them again once what was found is sent. 1:
 * there is more to look at. */
static int look_back(struct v1_stream *s)
{
    size_t left = s->old_count - s->old_at;
    if (s->next >= s->until) {
        left = 0;
        s->until = UINT64_MAX;
        s->looked = s->next;
    }
    if (left > 0)
        memmove(s->old, s->old + s->old_at, left * sizeof s->old[0]);
    s->old_at = 0;
    s->old_count = left;
    s->looks = 0;
    int err = store_earlier(s->txn, s->looked, remember, s);
    if (err != 0 || s->looks == LOOK_MAX)
        return err != 0 ? err : 1;
    s->looked = store_txn_index(s->txn, 0);
    return 0;
}

static void forget(struct v1_stream *s)
{
    free(s->old);
    s->old = NULL;
    s->old_at = s->old_count = 0;
}

/* 1: the piece is full. */
static int put_row(struct v1_stream *s, const struct store_row *row)
{
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

static int put_old_below(struct v1_stream *s, uint64_t below)
{
    int ret = 0;
    while (ret == 0 && s->old_at < s->old_count && s->old[s->old_at].made < below) {
        const struct old *o = &s->old[s->old_at++];
        struct store_row row;
        if (store_before(s->txn, o->replaced, &row) == 0 && row.index == o->made)
            ret = put_row(s, &row);
    }
    return ret;
}

static int on_change(void *arg, const struct store_row *row)
{
    struct v1_stream *s = arg;
    if (row->index >= s->until)
        return 1;
    int ret = put_old_below(s, row->index);
    return ret != 0 ? ret : put_row(s, row);
}

/* A stream without changes says nothing. */
static enum stream_says stream_read(void *arg, struct buf *out, bool beat)
{
    struct v1_stream *s = arg;
    (void)beat;
    if (store_read_begin(s->store, &s->txn) != 0)
        return STREAM_OVER;
    uint64_t seen = store_txn_index(s->txn, s->kind);
    s->out = out;
    int err = s->next > seen ? 0 : look_back(s);
    if (err == 1) {
        store_read_end(s->txn);
        return STREAM_MORE;
    }
    uint64_t end = s->until <= seen ? s->until : seen + 1;
    if (err == 0)
        err = store_changes(s->txn, s->kind, s->next, on_change, s);
    bool full = out->len >= STREAM_PIECE;
    if (err == 0 && !full) {
        err = put_old_below(s, end);
        full = err == 1;
    }
    if (err == 0 && !full && s->next < end)
        s->next = end;
    store_read_end(s->txn);
    if (s->next > seen)
        forget(s);
    return err < 0 ? STREAM_OVER : full || s->next <= seen ? STREAM_MORE : STREAM_QUIET;
}

static void stream_free(void *arg)
{
    forget(arg);
    free(arg);
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
    s->looked = s->next;
    s->until = UINT64_MAX;
    int err = reply_stream(
        r, "application/octet-stream",
        &(struct stream_source){
            .kinds = 1u << kind, .read = stream_read, .release = stream_free, .arg = s});
    if (err == 0)
        return REPLY_TAKEN;
    free(s);
    return err == ERR_BUSY ? v1_error(r, 429, "Too many streams are open")
                           : v1_error(r, 500, V1_INTERNAL);
}
