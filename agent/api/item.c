/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/item.h"

#include <inttypes.h>
#include <string.h>

#include "agent/api/digits.h"
#include "agent/base/json.h"

/* ARNs and names need no escapes; anything else goes the long way. Without a branch, so that the
 * compiler can look at many bytes at once. */
static bool is_plain(const char *text, size_t len)
{
    unsigned odd = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        odd |= (unsigned)(c < 0x20) | (c > 0x7e) | (c == '"') | (c == '\\');
    }
    return odd == 0;
}

static void put_text(struct buf *out, const char *text, size_t len)
{
    if (is_plain(text, len)) {
        buf_putc(out, '"');
        buf_put(out, text, len);
        buf_putc(out, '"');
    } else {
        json_write_string(out, text, len);
    }
}

/* Members are sorted, so that one that is there is near the end. */
static bool has_version(struct row_text json)
{
    const size_t near = 40;
    const char *tail = json.len > near ? json.data + json.len - near : json.data;
    return memmem(tail, (size_t)(json.data + json.len - tail), "\"version\":", 10) != NULL ||
           memmem(json.data, json.len, "\"version\":", 10) != NULL;
}

/* "index":N,"updated_at":"T","source":"S" in one copy. */
static void put_origin(struct buf *out, const struct store_row *row)
{
    char text[160];
    size_t n = 0;
    const char *source = record_source_str(row->record.source);
    size_t source_len = strlen(source);
    memcpy(text + n, "\"index\":", 8);
    n += 8;
    n += digits_decimal(text + n, row->index);
    memcpy(text + n, ",\"updated_at\":\"", 15);
    n += 15;
    n += digits_time(text + n, row->record.observed_unix_ms);
    memcpy(text + n, "\",\"source\":\"", 12);
    n += 12;
    memcpy(text + n, source, source_len < 32 ? source_len : 32);
    n += source_len < 32 ? source_len : 32;
    text[n++] = '"';
    buf_put(out, text, n);
}

int item_put(struct buf *out, const struct store_row *row, const struct row *fields)
{
    struct row_text json = fields->json;
    if (json.data == NULL || json.len < 2 || json.data[0] != '{' || json.data[json.len - 1] != '}')
        return ERR_MALFORMED;
    bool observed = row->record.kind == RECORD_INSTANCE || row->record.kind == RECORD_TASK;
    buf_putc(out, '{');
    /* Deployments have an id of their own, and ECS's JSON its version: no member comes twice. */
    if (row->record.kind != RECORD_DEPLOYMENT) {
        buf_puts(out, "\"id\":");
        put_text(out, row->record.key, row->record.key_len);
        buf_putc(out, ',');
    }
    if (!observed || !has_version(json)) {
        char text[40] = "\"version\":";
        size_t n = 10 + digits_decimal(text + 10,
                                       observed ? row->record.version.hi : row->record.version.lo);
        text[n++] = ',';
        buf_put(out, text, n);
    }
    put_origin(out, row);
    if (json.len > 2)
        buf_putc(out, ',');
    return buf_put(out, json.data + 1, json.len - 1);
}

int item_put_deleted(struct buf *out, const struct store_row *row)
{
    buf_puts(out, "{\"id\":");
    put_text(out, row->record.key, row->record.key_len);
    buf_putc(out, ',');
    put_origin(out, row);
    return buf_puts(out, ",\"deleted\":true}");
}
