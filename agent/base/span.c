/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/span.h"

#include <stdlib.h>
#include <string.h>

static size_t skip_space(const char *p, size_t at, size_t len)
{
    while (at < len && (p[at] == ' ' || p[at] == '\n' || p[at] == '\t' || p[at] == '\r'))
        at++;
    return at;
}

/* Position behind the string that starts at `at`, or len + 1 if it does not end. */
static inline size_t skip_string(const char *p, size_t at, size_t len)
{
    at = span_find_quote(p, at + 1, len);
    while (at < len && p[at] == '\\')
        at = len - at < 2 ? len : span_find_quote(p, at + 2, len);
    return at + 1;
}

static size_t skip_value(const char *p, size_t at, size_t len)
{
    if (at >= len)
        return len + 1;
    if (p[at] == '"')
        return skip_string(p, at, len);
    if (p[at] != '{' && p[at] != '[') {
        size_t start = at;
        while (at < len && p[at] != ',' && p[at] != '}' && p[at] != ']' && p[at] != ' ' &&
               p[at] != '\n' && p[at] != '\r' && p[at] != '\t')
            at++;
        return at == start ? len + 1 : at;
    }
    size_t depth = 0;
    while (at < len) {
        char c = p[at];
        if (c == '"') {
            at = skip_string(p, at, len);
            continue;
        }
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return len + 1;
}

/* Moves to the next item of a container: 0 if there is none. */
static size_t next_item(struct span s, size_t at, char open)
{
    if (s.data == NULL || s.len < 2)
        return 0;
    if (at == 0) {
        size_t start = skip_space(s.data, 0, s.len);
        if (start >= s.len || s.data[start] != open)
            return 0;
        return skip_space(s.data, start + 1, s.len);
    }
    at = skip_space(s.data, at, s.len);
    if (at >= s.len || s.data[at] != ',')
        return 0;
    return skip_space(s.data, at + 1, s.len);
}

/* The next member's name, and where its value begins; 0: there is none. */
static size_t member_name(struct span object, size_t at, struct span *ret_name)
{
    size_t start = next_item(object, at, '{');
    if (start == 0 || start >= object.len || object.data[start] != '"')
        return 0;
    size_t end = skip_string(object.data, start, object.len);
    if (end > object.len)
        return 0;
    *ret_name = (struct span){object.data + start + 1, end - start - 2};
    size_t colon = skip_space(object.data, end, object.len);
    if (colon >= object.len || object.data[colon] != ':')
        return 0;
    return skip_space(object.data, colon + 1, object.len);
}

bool span_member(struct span object, size_t *at, struct span *ret_name, struct span *ret_value)
{
    size_t value = member_name(object, *at, ret_name);
    size_t end = value == 0 ? object.len + 1 : skip_value(object.data, value, object.len);
    if (end > object.len)
        return false;
    *ret_value = (struct span){object.data + value, end - value};
    *at = end;
    return true;
}

bool span_element(struct span array, size_t *at, struct span *ret_value)
{
    size_t start = next_item(array, *at, '[');
    if (start == 0 || start >= array.len || array.data[start] == ']')
        return false;
    size_t end = skip_value(array.data, start, array.len);
    if (end > array.len)
        return false;
    *ret_value = (struct span){array.data + start, end - start};
    *at = end;
    return true;
}

struct span span_get(struct span object, const char *name)
{
    struct span key, value;
    for (size_t at = 0; span_member(object, &at, &key, &value);)
        if (span_is(key, name))
            return value;
    return (struct span){NULL, 0};
}

struct span span_open(struct span object, const char *name)
{
    struct span key;
    size_t value;
    for (size_t at = 0; (value = member_name(object, at, &key)) != 0 && value < object.len;) {
        if (span_is(key, name))
            return (struct span){object.data + value, object.len - value};
        if ((at = skip_value(object.data, value, object.len)) > object.len)
            break;
    }
    return (struct span){NULL, 0};
}

void span_pick(struct span object, const struct span_name *names, size_t count, struct span *ret)
{
    struct span key, value;
    size_t found = 0, next = 0;
    for (size_t i = 0; i < count; i++)
        ret[i] = (struct span){NULL, 0};
    for (size_t at = 0; found < count && span_member(object, &at, &key, &value);) {
        /* Writers keep the order of names, so the one behind the last is tried first. */
        for (size_t n = 0, i = next; n < count; n++, i = i + 1 == count ? 0 : i + 1) {
            if (names[i].len != key.len || memcmp(names[i].text, key.data, key.len) != 0)
                continue;
            found += ret[i].data == NULL;
            ret[i] = value;
            next = i + 1 == count ? 0 : i + 1;
            break;
        }
    }
}

bool span_is(struct span s, const char *text)
{
    size_t len = strlen(text);
    return s.data != NULL && s.len == len && memcmp(s.data, text, len) == 0;
}

bool span_is_text(struct span s)
{
    return s.data != NULL && s.len >= 2 && s.data[0] == '"';
}

bool span_is_null(struct span s)
{
    return s.data == NULL || span_is(s, "null");
}

static bool number_text(struct span s, char out[40])
{
    if (s.data == NULL || s.len == 0 || s.len >= 40 ||
        (s.data[0] != '-' && (s.data[0] < '0' || s.data[0] > '9')))
        return false;
    memcpy(out, s.data, s.len);
    out[s.len] = '\0';
    return true;
}

int64_t span_int_or(struct span s, int64_t other)
{
    char text[40], *end;
    if (!number_text(s, text))
        return other;
    long long v = strtoll(text, &end, 10);
    return *end == '\0' ? v : other;
}

double span_double_or(struct span s, double other)
{
    char text[40], *end;
    if (!number_text(s, text))
        return other;
    double v = strtod(text, &end);
    return *end == '\0' ? v : other;
}

struct span span_inside(struct span s)
{
    if (!span_is_text(s))
        return (struct span){NULL, 0};
    return (struct span){s.data + 1, s.len - 2};
}

int span_put(struct buf *out, struct span s)
{
    return s.data == NULL ? 0 : buf_put(out, s.data, s.len);
}
