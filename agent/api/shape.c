/* SPDX-License-Identifier: Apache-2.0
 * A shape is learned from a row whose texts and numbers are replaced by marks: where the marks
 * stand in what the function makes of it says which value goes where. A row has that shape if all
 * that lies between its values is the same, byte by byte. */
#include "agent/api/shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/span.h"

#define SHAPES_MAX 16
#define VALUES_MAX 128
#define TEXT_MAX 4096
#define MARK_FIRST 810000000u /* marks are numbers of nine digits, in texts behind a DEL */
#define MARK_DIGITS 9
#define NUMBER_MAX 18 /* digits that fit a signed number */

struct value {
    uint16_t gap_at, gap_len; /* what stands before it, in `between` */
    bool is_text;
};

/* Put: the next literal bytes, then a value. */
struct piece {
    uint16_t literal_len;
    uint16_t value;
};

struct shape {
    size_t value_count, piece_count;
    size_t between_len, literals_len;
    struct value values[VALUES_MAX + 1]; /* one more: what stands behind the last one */
    struct piece pieces[VALUES_MAX];
    char between[TEXT_MAX];
    char literals[TEXT_MAX];
};

struct shapes {
    shape_fn fn;
    size_t count;
    struct shape *shapes[SHAPES_MAX]; /* the last one that fitted is the first */
};

struct shapes *shapes_new(shape_fn fn)
{
    struct shapes *s = calloc(1, sizeof *s);
    if (s != NULL)
        s->fn = fn;
    return s;
}

void shapes_free(struct shapes *s)
{
    for (size_t i = 0; s != NULL && i < s->count; i++)
        free(s->shapes[i]);
    free(s);
}

/* -- values in JSON ---------------------------------------------------------------- */

/* Digits of a whole number above 0 at that place, or 0. */
static size_t number_len(const char *p, size_t at, size_t len)
{
    size_t n = 0;
    while (at + n < len && p[at + n] >= '0' && p[at + n] <= '9')
        n++;
    return n > 0 && n <= NUMBER_MAX && p[at] != '0' ? n : 0;
}

/* The end of a text that begins at `at`, behind its quote; len if it has none or has escapes. */
static size_t text_end(const char *p, size_t at, size_t len)
{
    size_t end = span_find_quote(p, at, len);
    return end < len && p[end] == '"' ? end : len;
}

static bool ends_number(char c)
{
    return c == ',' || c == '}' || c == ']';
}

/* -- filling in -------------------------------------------------------------------- */

/* Most pieces are short, and a call would cost more than the copy. */
static inline char *copy(char *to, const char *from, size_t len)
{
    if (len > 64) {
        memcpy(to, from, len);
    } else if (len >= 16) {
        size_t at = 0;
        for (; at + 16 <= len; at += 16)
            memcpy(to + at, from + at, 16);
        memcpy(to + len - 16, from + len - 16, 16);
    } else if (len >= 8) {
        memcpy(to, from, 8);
        memcpy(to + len - 8, from + len - 8, 8);
    } else {
        for (size_t i = 0; i < len; i++)
            to[i] = from[i];
    }
    return to + len;
}

static inline bool same(const char *a, const char *b, size_t len)
{
    uint64_t x, y, differ = 0;
    if (len < 8 || len > 64)
        return memcmp(a, b, len) == 0;
    for (size_t at = 0; at + 8 <= len; at += 8) {
        memcpy(&x, a + at, 8);
        memcpy(&y, b + at, 8);
        differ |= x ^ y;
    }
    memcpy(&x, a + len - 8, 8);
    memcpy(&y, b + len - 8, 8);
    return (differ | (x ^ y)) == 0;
}

/* The values of a row of that shape. False: it has another one. */
static bool find_values(const struct shape *s, struct row_text json, struct span *values)
{
    size_t at = 0;
    for (size_t i = 0;; i++) {
        const struct value *v = &s->values[i];
        if (json.len - at < v->gap_len || !same(json.data + at, s->between + v->gap_at, v->gap_len))
            return false;
        at += v->gap_len;
        if (i == s->value_count)
            return at == json.len;
        size_t n = v->is_text ? text_end(json.data, at, json.len) - at
                              : number_len(json.data, at, json.len);
        if (n == 0 || n >= json.len - at || (!v->is_text && !ends_number(json.data[at + n])))
            return false;
        values[i] = (struct span){json.data + at, n};
        at += n;
    }
}

/* False: not of that shape, or no room. */
static bool fill_in(const struct shape *s, struct buf *out, struct row_text json)
{
    struct span values[VALUES_MAX];
    if (out->err != 0 || !find_values(s, json, values))
        return false;
    size_t need = s->literals_len;
    for (size_t i = 0; i < s->piece_count; i++)
        need += values[s->pieces[i].value].len;
    if (need > out->max - out->len || buf_reserve(out, need) != 0)
        return false;
    char *to = out->data + out->len;
    const char *literal = s->literals;
    for (size_t i = 0; i < s->piece_count; i++) {
        const struct piece *p = &s->pieces[i];
        to = copy(to, literal, p->literal_len);
        to = copy(to, values[p->value].data, values[p->value].len);
        literal += p->literal_len;
    }
    to = copy(to, literal, s->literals_len - (size_t)(literal - s->literals));
    *to = '\0';
    out->len += need;
    return true;
}

/* -- learning ---------------------------------------------------------------------- */

struct lesson {
    struct shape *shape;
    struct buf marked; /* the row with marks for values */
};

static bool put_between(struct lesson *l, const char *bytes, size_t len)
{
    struct shape *s = l->shape;
    if (len > TEXT_MAX - s->between_len)
        return false;
    memcpy(s->between + s->between_len, bytes, len);
    s->between_len += len;
    s->values[s->value_count].gap_len = (uint16_t)(s->values[s->value_count].gap_len + len);
    return buf_put(&l->marked, bytes, len) == 0;
}

static bool put_mark(struct lesson *l, bool is_text)
{
    struct shape *s = l->shape;
    if (s->value_count == VALUES_MAX)
        return false;
    buf_printf(&l->marked, "%s%u", is_text ? "\x7f" : "", MARK_FIRST + (unsigned)s->value_count);
    s->values[s->value_count++].is_text = is_text;
    s->values[s->value_count] = (struct value){.gap_at = (uint16_t)s->between_len};
    return true;
}

/* Marks the row. False: it has escapes, spaces or more than there is room for. */
static bool mark(struct lesson *l, struct row_text json)
{
    const char *p = json.data;
    for (size_t at = 0; at < json.len;) {
        size_t n = 1;
        if (p[at] == '"') {
            size_t end = text_end(p, at + 1, json.len);
            if (end + 1 >= json.len)
                return false;
            bool is_value = p[end + 1] != ':' && end > at + 1;
            n = end + 1 - at;
            if (is_value && (!put_between(l, p + at, 1) || !put_mark(l, true)))
                return false;
            if (!put_between(l, is_value ? p + end : p + at, is_value ? 1 : n))
                return false;
        } else if ((p[at] >= '0' && p[at] <= '9') || p[at] == '-') {
            while (at + n < json.len && !ends_number(p[at + n]))
                n++;
            bool is_value = number_len(p, at, json.len) == n;
            if (is_value ? !put_mark(l, false) : !put_between(l, p + at, n))
                return false;
        } else if ((unsigned char)p[at] <= ' ' || !put_between(l, p + at, 1)) {
            return false;
        }
        at += n;
    }
    const struct shape *s = l->shape;
    return l->marked.err == 0 && memchr(s->between, 0x7f, s->between_len) == NULL &&
           memmem(s->between, s->between_len, "81000", 5) == NULL;
}

/* The value that a mark at that place stands for, or VALUES_MAX. */
static size_t find_mark(const struct shape *s, const char *p, size_t len)
{
    unsigned number = 0;
    bool is_text = len > 0 && p[0] == '\x7f';
    if (len < MARK_DIGITS + (is_text ? 1u : 0u) || (!is_text && p[0] != '8'))
        return VALUES_MAX;
    for (size_t i = 0; i < MARK_DIGITS; i++)
        number = number * 10 + (unsigned)(p[i + is_text] - '0');
    size_t value = number - MARK_FIRST;
    return value < s->value_count && s->values[value].is_text == is_text ? value : VALUES_MAX;
}

/* Takes what the function made of the marked row apart. */
static bool take_pieces(struct shape *s, const char *made, size_t len)
{
    uint16_t literal_len = 0;
    for (size_t at = 0; at < len;) {
        size_t value = find_mark(s, made + at, len - at);
        if (value < VALUES_MAX) {
            if (s->piece_count == VALUES_MAX)
                return false;
            s->pieces[s->piece_count++] = (struct piece){literal_len, (uint16_t)value};
            literal_len = 0;
            at += MARK_DIGITS + s->values[value].is_text;
        } else {
            if (s->literals_len == TEXT_MAX)
                return false;
            s->literals[s->literals_len++] = made[at++];
            literal_len++;
        }
    }
    return true;
}

/* A shape that makes the same of the row as the function did, or NULL. */
static struct shape *learn(shape_fn fn, struct row_text json, const char *made, size_t made_len)
{
    struct lesson l = {.shape = calloc(1, sizeof *l.shape)};
    struct buf out, again;
    buf_init(&l.marked, 4 * TEXT_MAX);
    buf_init(&out, 4 * TEXT_MAX);
    buf_init(&again, 4 * TEXT_MAX);
    bool ok = l.shape != NULL && mark(&l, json) &&
              fn(&out, (struct row_text){l.marked.data, l.marked.len}) == 0 &&
              take_pieces(l.shape, out.data, out.len) && buf_extend(&again, 2 * TEXT_MAX) != NULL;
    buf_clear(&again);
    ok = ok && fill_in(l.shape, &again, json) && again.len == made_len &&
         memcmp(again.data, made, made_len) == 0;
    buf_fini(&l.marked);
    buf_fini(&out);
    buf_fini(&again);
    if (!ok) {
        free(l.shape);
        return NULL;
    }
    return l.shape;
}

int shapes_put(struct shapes *s, struct buf *out, struct row_text json)
{
    for (size_t i = 0; i < s->count; i++) {
        if (!fill_in(s->shapes[i], out, json))
            continue;
        struct shape *first = s->shapes[i];
        s->shapes[i] = s->shapes[0];
        s->shapes[0] = first;
        return 0;
    }
    size_t before = out->len;
    int err = s->fn(out, json);
    if (err != 0 || out->err != 0 || s->count == SHAPES_MAX)
        return err;
    struct shape *shape = learn(s->fn, json, out->data + before, out->len - before);
    if (shape != NULL)
        s->shapes[s->count++] = shape;
    return 0;
}
