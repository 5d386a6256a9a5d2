/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/row.h"

#include <string.h>

#include "agent/base/err.h"

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

int row_encode(const struct row *row, struct buf *out)
{
    uint8_t head[16];
    struct wbuf w;
    uint8_t count = 0;
    for (int i = 1; i < ROW_FIELD_END; i++)
        count = (uint8_t)(count + (row->field[i].data != NULL));
    buf_putc(out, (char)count);
    for (int i = 1; i < ROW_FIELD_END; i++) {
        if (row->field[i].data == NULL)
            continue;
        wbuf_init(&w, head, sizeof head);
        wbuf_u8(&w, (uint8_t)i);
        wbuf_varint(&w, row->field[i].len);
        buf_put(out, head, w.len);
        buf_put(out, row->field[i].data, row->field[i].len);
    }
    buf_put(out, row->json.data, row->json.len);
    return out->err;
}

/* Unknown tags are skipped: a newer agent may write more columns. */
int row_decode(const void *value, size_t len, struct row *ret)
{
    struct rbuf r;
    struct row row = {0};
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
        }
    }
    if (r.bad)
        return ERR_MALFORMED;
    row.json.len = rbuf_left(&r);
    row.json.data = (const char *)rbuf_bytes(&r, row.json.len);
    *ret = row;
    return 0;
}
