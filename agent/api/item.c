/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/api/item.h"

#include <inttypes.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/json.h"

/* Digits by hand: a list has four numbers per row, and printf would be half of its cost. */
static size_t put_decimal(char *out, uint64_t v)
{
    char text[20];
    size_t n = 0;
    do {
        text[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v > 0);
    for (size_t i = 0; i < n; i++)
        out[i] = text[n - 1 - i];
    return n;
}

static void put_two(char *out, unsigned v)
{
    out[0] = (char)('0' + v / 10 % 10);
    out[1] = (char)('0' + v % 10);
}

/* RFC 3339 in UTC; the calendar by the days-from-civil arithmetic of the proleptic Gregorian
 * calendar with years that start in March. */
static size_t put_time(char *out, int64_t unix_ms)
{
    if (unix_ms < 0 || unix_ms >= 253402300800000) {
        clock_format_unix_ms(unix_ms, out);
        return strlen(out);
    }
    uint64_t seconds = (uint64_t)unix_ms / 1000;
    unsigned ms = (unsigned)((uint64_t)unix_ms % 1000);
    unsigned day_second = (unsigned)(seconds % 86400);
    uint64_t days = seconds / 86400 + 719468;
    uint64_t era = days / 146097, day_of_era = days % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_index = (unsigned)(5 * day_of_year + 2) / 153;
    unsigned day = (unsigned)day_of_year - (153 * month_index + 2) / 5 + 1;
    unsigned month = month_index < 10 ? month_index + 3 : month_index - 9;
    unsigned year = (unsigned)(year_of_era + era * 400) + (month <= 2);
    memcpy(out, "0000-00-00T00:00:00.000Z", 25);
    put_two(out, year / 100);
    put_two(out + 2, year % 100);
    put_two(out + 5, month);
    put_two(out + 8, day);
    put_two(out + 11, day_second / 3600);
    put_two(out + 14, day_second / 60 % 60);
    put_two(out + 17, day_second % 60);
    out[20] = (char)('0' + ms / 100);
    put_two(out + 21, ms % 100);
    return 24;
}

/* ARNs and names need no escapes; anything else goes the long way. */
static bool is_plain(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || (unsigned char)text[i] > 0x7e || text[i] == '"' ||
            text[i] == '\\')
            return false;
    return true;
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

static bool has_member(struct row_text json, const char *quoted, size_t len)
{
    return memmem(json.data, json.len, quoted, len) != NULL;
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
    n += put_decimal(text + n, row->index);
    memcpy(text + n, ",\"updated_at\":\"", 15);
    n += 15;
    n += put_time(text + n, row->record.observed_unix_ms);
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
    if (!observed || !has_member(json, "\"version\":", 10)) {
        char text[40] = "\"version\":";
        size_t n =
            10 + put_decimal(text + 10, observed ? row->record.version.hi : row->record.version.lo);
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
