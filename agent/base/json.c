/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/json.h"

#include <string.h>

static json_t *parse(const char *data, size_t len, size_t flags, struct errmsg *e)
{
    json_error_t error;
    json_t *value = json_loadb(data, len, flags | JSON_DECODE_ANY, &error);
    if (value == NULL)
        errmsg_set(e, ERR_MALFORMED, "JSON line %d column %d: %s", error.line, error.column,
                   error.text);
    return value;
}

json_t *json_parse(const char *data, size_t len, struct errmsg *e)
{
    return parse(data, len, JSON_REJECT_DUPLICATES, e);
}

json_t *json_parse_lenient(const char *data, size_t len, struct errmsg *e)
{
    return parse(data, len, 0, e);
}

const char *json_str(const json_t *obj, const char *key)
{
    return json_string_value(json_object_get(obj, key));
}

const char *json_str_or(const json_t *obj, const char *key, const char *other)
{
    const char *text = json_str(obj, key);
    return text == NULL ? other : text;
}

int64_t json_int_or(const json_t *obj, const char *key, int64_t other)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_integer(v) ? json_integer_value(v) : other;
}

bool json_bool_or(const json_t *obj, const char *key, bool other)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_boolean(v) ? json_is_true(v) : other;
}

double json_num_or(const json_t *obj, const char *key, double other)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_number(v) ? json_number_value(v) : other;
}

json_t *json_arr(const json_t *obj, const char *key)
{
    json_t *v = json_object_get(obj, key);
    return json_is_array(v) ? v : NULL;
}

json_t *json_obj(const json_t *obj, const char *key)
{
    json_t *v = json_object_get(obj, key);
    return json_is_object(v) ? v : NULL;
}

void json_set_str(json_t *obj, const char *key, const char *text)
{
    if (text != NULL)
        json_object_set_new(obj, key, json_string(text));
}

void json_set_int(json_t *obj, const char *key, int64_t value)
{
    json_object_set_new(obj, key, json_integer(value));
}

void json_set_bool(json_t *obj, const char *key, bool value)
{
    json_object_set_new(obj, key, json_boolean(value));
}

static int dump_chunk(const char *buffer, size_t size, void *data)
{
    return buf_put(data, buffer, size) == 0 ? 0 : -1;
}

int json_write(const json_t *value, struct buf *out)
{
    size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(JSON_DIGITS);
    if (json_dump_callback(value, dump_chunk, out, flags) != 0)
        return out->err != 0 ? out->err : ERR_NOMEM;
    return 0;
}

size_t json_utf8_length(const char *text, size_t left)
{
    const unsigned char *p = (const unsigned char *)text;
    static const uint32_t lowest[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
    if (n == 0 || n > left || p[0] > 0xf4)
        return 0;
    if (n == 1)
        return 1;
    uint32_t cp = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        cp = cp << 6 | (p[i] & 0x3fu);
    }
    bool surrogate = cp >= 0xd800 && cp <= 0xdfff;
    return cp < lowest[n] || cp > 0x10ffff || surrogate ? 0 : n;
}

int json_write_string(struct buf *out, const char *text, size_t len)
{
    size_t run = 0; /* from here on nothing needs to be changed */
    buf_putc(out, '"');
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
        size_t n = plain || c < 0x80 ? 1 : json_utf8_length(text + i, len - i);
        if (plain || (n > 1)) {
            i += n;
            continue;
        }
        buf_put(out, text + run, i - run);
        if (n == 0)
            buf_puts(out, "\xef\xbf\xbd");
        else if (c >= 0x20)
            buf_printf(out, "\\%c", c);
        else
            buf_printf(out, "\\u%04x", c);
        run = ++i;
    }
    buf_put(out, text + run, len - run);
    return buf_putc(out, '"');
}
