/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/row.h"

#include <string.h>

#include "agent/base/err.h"
#include "agent/base/find.h"

#define SPAN_TEXT_MIN 4u /* a span takes up to 5 bytes beside its tag; most take 3 */

void row_set(struct row *row, enum row_field field, const char *text)
{
    row->field[field].data = text;
    row->field[field].len = text == NULL ? 0 : strlen(text);
}

bool row_field_is(const struct row *row, enum row_field field, const char *text)
{
    const struct row_text *f = &row->field[field];
    return f->data != NULL && strlen(text) == f->len && memcmp(f->data, text, f->len) == 0;
}

const char *row_field_str(enum row_field field)
{
    static const char *const names[ROW_FIELD_END] = {
#define X(name, tag, text) [tag] = text,
        ROW_FIELD_LIST(X)
#undef X
    };
    return (unsigned)field < ROW_FIELD_END && names[field] != NULL ? names[field] : "unknown";
}

/* Where text stands in the JSON, if to say so is shorter than to repeat it. */
static const char *find_span(const struct row *row, const struct row_text *text)
{
    if (text->len < SPAN_TEXT_MIN || row->json.data == NULL)
        return NULL;
    return find_text(row->json.data, row->json.len, text->data, text->len);
}

static void put_field(const struct row *row, int field, struct buf *out)
{
    uint8_t bytes[32], span[24];
    struct wbuf w, s;
    const struct row_text *text = &row->field[field];
    const char *at = find_span(row, text);
    wbuf_init(&w, bytes, sizeof bytes);
    if (at != NULL) {
        wbuf_init(&s, span, sizeof span);
        wbuf_varint(&s, (uint64_t)(at - row->json.data));
        wbuf_varint(&s, text->len);
        wbuf_u8(&w, (uint8_t)(ROW_SPAN | (unsigned)field));
        wbuf_varint(&w, s.len);
        wbuf_bytes(&w, span, s.len);
    } else {
        wbuf_u8(&w, (uint8_t)field);
        wbuf_varint(&w, text->len);
    }
    buf_put(out, bytes, w.len);
    if (at == NULL)
        buf_put(out, text->data, text->len);
}

int row_encode(const struct row *row, struct buf *out)
{
    uint8_t count = 0;
    for (int i = 1; i < ROW_FIELD_END; i++)
        count = (uint8_t)(count + (row->field[i].data != NULL));
    buf_putc(out, (char)count);
    for (int i = 1; i < ROW_FIELD_END; i++) {
        if (row->field[i].data != NULL)
            put_field(row, i, out);
    }
    buf_put(out, row->json.data, row->json.len);
    return out->err;
}

/* A field in the JSON is known by its offset until the JSON's begin is. */
struct place {
    uint8_t field;
    uint64_t at, len;
};

static bool resolve(struct row *row, const struct place *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct place *p = &places[i];
        if (p->at > row->json.len || p->len > row->json.len - p->at)
            return false;
        row->field[p->field] = (struct row_text){row->json.data + p->at, (size_t)p->len};
    }
    return true;
}

/* Unknown tags are skipped: a newer agent may write more columns. */
int row_decode(const void *value, size_t len, struct row *ret)
{
    struct rbuf r;
    struct row row = {0};
    struct place places[ROW_FIELD_END];
    size_t place_count = 0;
    rbuf_init(&r, value, len);
    unsigned count = rbuf_u8(&r);
    for (unsigned i = 0; i < count && !r.bad; i++) {
        uint8_t tag = rbuf_u8(&r);
        uint64_t n = rbuf_varint(&r);
        if (n > rbuf_left(&r))
            return ERR_MALFORMED;
        const uint8_t *bytes = rbuf_bytes(&r, (size_t)n);
        if (tag > 0 && tag < ROW_FIELD_END) {
            row.field[tag].data = (const char *)bytes;
            row.field[tag].len = (size_t)n;
        } else if (tag > ROW_SPAN && tag < ROW_SPAN + ROW_FIELD_END && bytes != NULL) {
            struct rbuf span;
            rbuf_init(&span, bytes, (size_t)n);
            if (place_count == ROW_FIELD_END)
                return ERR_MALFORMED;
            struct place *p = &places[place_count++];
            *p = (struct place){(uint8_t)(tag - ROW_SPAN), 0, 0};
            p->at = rbuf_varint(&span);
            p->len = rbuf_varint(&span);
            if (span.bad)
                return ERR_MALFORMED;
        }
    }
    if (r.bad)
        return ERR_MALFORMED;
    row.json.len = rbuf_left(&r);
    row.json.data = (const char *)rbuf_bytes(&r, row.json.len);
    if (!resolve(&row, places, place_count))
        return ERR_MALFORMED;
    *ret = row;
    return 0;
}

int row_find_json(const void *value, size_t len, struct row_text *ret)
{
    struct rbuf r;
    rbuf_init(&r, value, len);
    unsigned count = rbuf_u8(&r);
    for (unsigned i = 0; i < count && !r.bad; i++) {
        (void)rbuf_u8(&r);
        uint64_t n = rbuf_varint(&r);
        if (n > rbuf_left(&r))
            return ERR_MALFORMED;
        (void)rbuf_bytes(&r, (size_t)n);
    }
    if (r.bad)
        return ERR_MALFORMED;
    ret->len = rbuf_left(&r);
    ret->data = (const char *)rbuf_bytes(&r, ret->len);
    return 0;
}
