/* SPDX-License-Identifier: Apache-2.0
 * RFC 8259. The grammar is small enough for one loop over a stack of open containers. */
#include "agent/base/tape.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "agent/base/json.h"

#define NODES_FIRST 512u
#define NUMBER_MAX 512u

/* What may stand in a string and needs no second look. */
static const bool plain[256] = {
#define ROW(n) [n] = true, [n + 1] = true, [n + 2] = true, [n + 3] = true
#define ROW16(n) ROW(n), ROW(n + 4), ROW(n + 8), ROW(n + 12)
    [0x20] = true, [0x21] = true, [0x23] = true, ROW(0x24),   ROW(0x28), ROW(0x2c),
    ROW16(0x30),   ROW16(0x40),   ROW(0x50),     ROW(0x54),   ROW(0x58), [0x5d] = true,
    [0x5e] = true, [0x5f] = true, ROW16(0x60),   ROW16(0x70),
#undef ROW16
#undef ROW
};

struct parser {
    struct tape *tape;
    const char *at, *end;
    const char *why; /* set with err */
    int err;
};

void tape_init(struct tape *t)
{
    *t = (struct tape){0};
}

void tape_fini(struct tape *t)
{
    free(t->nodes);
    *t = (struct tape){0};
}

static bool fail(struct parser *p, int err, const char *why)
{
    p->err = err;
    p->why = why;
    return false;
}

/* ---- scalars -------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = p + i < end ? hex_digit(p[i]) : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The code point of "uXXXX" (or a pair of them) at p; *ret_len is what it takes. -1: none. */
static int32_t code_point(const char *p, const char *end, size_t *ret_len)
{
    int32_t high = hex4(p + 1, end);
    *ret_len = 5;
    if (high < 0xd800 || high > 0xdfff)
        return high;
    if (high > 0xdbff || end - p < 11 || p[5] != '\\' || p[6] != 'u')
        return -1;
    int32_t low = hex4(p + 7, end);
    *ret_len = 11;
    return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

static bool skip_escape(struct parser *p)
{
    size_t len = 1;
    p->at++;
    if (p->at == p->end)
        return fail(p, ERR_MALFORMED, "a text without end");
    if (*p->at == '"' || *p->at == '\\') { /* by far the most: JSON within JSON */
        p->at++;
        return true;
    }
    if (*p->at == 'u' && code_point(p->at, p->end, &len) <= 0)
        return fail(p, ERR_MALFORMED, "no such character");
    if (*p->at != 'u' && (*p->at == '\0' || strchr("\"\\/bfnrt", *p->at) == NULL))
        return fail(p, ERR_MALFORMED, "no such escape");
    p->at += len;
    return true;
}

/* The first byte at or behind `at` that needs a second look; end if there is none. */
static const char *skip_plain(const char *at, const char *end)
{
#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');
    for (; end - at >= 16; at += 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
        /* As signed bytes, what is not ASCII is less than a space, too. */
        __m128i odd =
            _mm_or_si128(_mm_cmplt_epi8(v, space),
                         _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        int hit = _mm_movemask_epi8(odd);
        if (hit != 0)
            return at + __builtin_ctz((unsigned)hit);
    }
#endif
    while (at < end && plain[(unsigned char)*at])
        at++;
    return at;
}

/* p->at is behind the quote. */
static bool take_string(struct parser *p, struct tape_node *node)
{
    const char *start = p->at;
    for (;;) {
        p->at = skip_plain(p->at, p->end);
        if (p->at == p->end)
            return fail(p, ERR_MALFORMED, "a text without end");
        if (*p->at == '"')
            break;
        if (*p->at == '\\') {
            node->escaped = true;
            if (!skip_escape(p))
                return false;
            continue;
        }
        size_t n = json_utf8_length(p->at, (size_t)(p->end - p->at));
        if (n < 2)
            return fail(p, ERR_MALFORMED, "a control character or no UTF-8 in a text");
        p->at += n;
    }
    node->type = TAPE_STRING;
    node->len = (uint32_t)(p->at - start);
    p->at++;
    return true;
}

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

static bool take_number(struct parser *p, struct tape_node *node)
{
    char text[NUMBER_MAX];
    const char *at = p->at + (*p->at == '-');
    const char *digits = at;
    at = skip_digits(at, p->end);
    bool fine = at > digits && (*digits != '0' || at == digits + 1);
    node->type = TAPE_INTEGER;
    if (at < p->end && *at == '.') {
        digits = ++at;
        at = skip_digits(at, p->end);
        fine = fine && at > digits;
        node->type = TAPE_REAL;
    }
    if (at < p->end && (*at | 0x20) == 'e') {
        at++;
        digits = at += at < p->end && (*at == '+' || *at == '-');
        at = skip_digits(at, p->end);
        fine = fine && at > digits;
        node->type = TAPE_REAL;
    }
    node->len = (uint32_t)(at - p->at);
    if (!fine || node->len >= NUMBER_MAX)
        return fail(p, ERR_MALFORMED, "no number");
    if (node->type == TAPE_REAL || node->len > 18) {
        memcpy(text, p->at, node->len);
        text[node->len] = '\0';
        errno = 0;
        if (node->type == TAPE_REAL ? isinf(strtod(text, NULL))
                                    : (strtoll(text, NULL, 10), errno == ERANGE))
            return fail(p, ERR_MALFORMED, "a number out of range");
    }
    p->at = at;
    return true;
}

static bool take_word(struct parser *p, struct tape_node *node, const char *word,
                      enum tape_type type)
{
    size_t len = strlen(word);
    if ((size_t)(p->end - p->at) < len || memcmp(p->at, word, len) != 0)
        return fail(p, ERR_MALFORMED, "no value");
    node->type = (uint8_t)type;
    node->len = (uint32_t)len;
    p->at += len;
    return true;
}

/* ---- the whole ------------------------------------------------------------------------- */

static void skip_space(struct parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

static struct tape_node *add(struct parser *p)
{
    struct tape *t = p->tape;
    if (t->count == t->cap) {
        uint32_t cap = t->cap == 0 ? NODES_FIRST : t->cap * 2;
        struct tape_node *nodes = realloc(t->nodes, cap * sizeof *nodes);
        if (nodes == NULL) {
            fail(p, ERR_NOMEM, "out of memory");
            return NULL;
        }
        t->nodes = nodes;
        t->cap = cap;
    }
    struct tape_node *node = &t->nodes[t->count++];
    *node = (struct tape_node){.at = (uint32_t)(p->at - t->text), .after = t->count};
    return node;
}

/* One value; a container is only opened. */
static bool take_value(struct parser *p)
{
    struct tape_node *node = p->at < p->end ? add(p) : NULL;
    if (node == NULL)
        return p->err != 0 ? false : fail(p, ERR_MALFORMED, "it ends too early");
    switch (*p->at) {
    case '{':
    case '[':
        node->type = *p->at == '{' ? TAPE_OBJECT : TAPE_ARRAY;
        p->at++;
        return true;
    case '"':
        p->at++;
        node->at++;
        return take_string(p, node);
    case 't':
        return take_word(p, node, "true", TAPE_TRUE);
    case 'f':
        return take_word(p, node, "false", TAPE_FALSE);
    case 'n':
        return take_word(p, node, "null", TAPE_NULL);
    default:
        return take_number(p, node);
    }
}

static bool take_name(struct parser *p)
{
    if (p->at == p->end || *p->at != '"')
        return fail(p, ERR_MALFORMED, "a member without name");
    if (!take_value(p))
        return false;
    skip_space(p);
    if (p->at == p->end || *p->at != ':')
        return fail(p, ERR_MALFORMED, "a name without value");
    p->at++;
    skip_space(p);
    return true;
}

/* Behind a value: closes what ends here; true with *ret_depth 0 at the end, or before a sibling. */
static bool close_or_go_on(struct parser *p, const uint32_t *open, size_t *ret_depth)
{
    struct tape *t = p->tape;
    for (;;) {
        skip_space(p);
        if (*ret_depth == 0)
            return p->at == p->end || fail(p, ERR_MALFORMED, "something behind the end");
        struct tape_node *in = &t->nodes[open[*ret_depth - 1]];
        if (p->at == p->end)
            return fail(p, ERR_MALFORMED, "it ends too early");
        bool fresh = t->count - 1 == open[*ret_depth - 1];
        if (*p->at == (in->type == TAPE_OBJECT ? '}' : ']')) {
            in->after = t->count;
            p->at++;
            --*ret_depth;
            continue;
        }
        if (!fresh) {
            if (*p->at != ',')
                return fail(p, ERR_MALFORMED, "no comma");
            p->at++;
            skip_space(p);
        }
        in->len++;
        return in->type == TAPE_ARRAY || take_name(p);
    }
}

static void take_all(struct parser *p)
{
    uint32_t open[TAPE_DEPTH_MAX];
    size_t depth = 0;
    struct tape *t = p->tape;
    skip_space(p);
    do {
        uint32_t node = t->count;
        if (!take_value(p))
            return;
        if (t->nodes[node].type >= TAPE_ARRAY) {
            if (depth == TAPE_DEPTH_MAX) {
                fail(p, ERR_TOOBIG, "nested too deeply");
                return;
            }
            open[depth++] = node;
        }
    } while (close_or_go_on(p, open, &depth) && depth > 0);
}

int tape_parse(struct tape *t, const char *text, size_t len, struct errmsg *e)
{
    struct parser p = {.tape = t, .at = text, .end = text + len};
    t->text = text;
    t->count = 0;
    if (len >= UINT32_MAX)
        fail(&p, ERR_TOOBIG, "larger than 4 GiB");
    else
        take_all(&p);
    if (p.err == 0)
        return 0;
    t->count = 0;
    return errmsg_set(e, p.err, "JSON byte %zu: %s", (size_t)(p.at - text), p.why);
}

/* ---- reading ----------------------------------------------------------------------------- */

bool tape_is(const struct tape *t, uint32_t node, enum tape_type type)
{
    return node < t->count && t->nodes[node].type == type;
}

bool tape_equals(const struct tape *t, uint32_t node, const char *text)
{
    size_t len = strlen(text);
    if (!tape_is(t, node, TAPE_STRING))
        return false;
    const struct tape_node *n = &t->nodes[node];
    if (!n->escaped)
        return n->len == len && memcmp(t->text + n->at, text, len) == 0;
    char decoded[256];
    return tape_text(t, node, decoded, sizeof decoded) && strcmp(decoded, text) == 0;
}

uint32_t tape_get(const struct tape *t, uint32_t object, const char *name)
{
    uint32_t found = TAPE_NONE;
    size_t len = strlen(name);
    if (!tape_is(t, object, TAPE_OBJECT))
        return TAPE_NONE;
    for (uint32_t i = object + 1; i < t->nodes[object].after; i = t->nodes[i + 1].after) {
        const struct tape_node *n = &t->nodes[i];
        if (n->escaped ? tape_equals(t, i, name)
                       : n->len == len && memcmp(t->text + n->at, name, len) == 0)
            found = i + 1;
    }
    return found;
}

uint32_t tape_length(const struct tape *t, uint32_t array)
{
    return tape_is(t, array, TAPE_ARRAY) ? t->nodes[array].len : 0;
}

uint32_t tape_first(const struct tape *t, uint32_t array)
{
    return tape_length(t, array) == 0 ? TAPE_NONE : array + 1;
}

uint32_t tape_next(const struct tape *t, uint32_t array, uint32_t element)
{
    uint32_t next = t->nodes[element].after;
    return next < t->nodes[array].after ? next : TAPE_NONE;
}

bool tape_int(const struct tape *t, uint32_t node, int64_t *ret)
{
    char text[32];
    if (!tape_is(t, node, TAPE_INTEGER) || t->nodes[node].len >= sizeof text)
        return false;
    memcpy(text, t->text + t->nodes[node].at, t->nodes[node].len);
    text[t->nodes[node].len] = '\0';
    *ret = strtoll(text, NULL, 10);
    return true;
}

double tape_real(const struct tape *t, uint32_t node)
{
    char text[NUMBER_MAX];
    if (!tape_is(t, node, TAPE_REAL) && !tape_is(t, node, TAPE_INTEGER))
        return 0;
    memcpy(text, t->text + t->nodes[node].at, t->nodes[node].len);
    text[t->nodes[node].len] = '\0';
    return strtod(text, NULL);
}

/* Bytes of the next character of an escaped string at *p, which moves on. Never more than 4. */
static size_t next_char(const char **p, const char *end, char out[4])
{
    static const char names[] = "bfnrt";
    static const char values[] = "\b\f\n\r\t";
    if (**p != '\\') {
        out[0] = *(*p)++;
        return 1;
    }
    ++*p;
    if (**p != 'u') {
        const char *at = strchr(names, **p);
        out[0] = at == NULL ? **p : values[at - names];
        ++*p;
        return 1;
    }
    size_t len;
    int32_t c = code_point(*p, end, &len);
    *p += len;
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(lead[n] | c);
    return n;
}

bool tape_text(const struct tape *t, uint32_t node, char *out, size_t cap)
{
    if (!tape_is(t, node, TAPE_STRING))
        return false;
    const struct tape_node *n = &t->nodes[node];
    const char *p = t->text + n->at;
    const char *end = p + n->len;
    size_t len = 0;
    if (!n->escaped) {
        if (n->len >= cap)
            return false;
        memcpy(out, p, n->len);
        out[n->len] = '\0';
        return true;
    }
    while (p < end) {
        char bytes[4];
        size_t some = next_char(&p, end, bytes);
        if (len + some >= cap)
            return false;
        memcpy(out + len, bytes, some);
        len += some;
    }
    out[len] = '\0';
    return true;
}

/* Copies up to the next backslash, or all; both move on. To has room for 16 bytes more. */
static void copy_run(const char **from, const char *end, char **to)
{
#ifdef __SSE2__
    const __m128i slash = _mm_set1_epi8('\\');
    while (end - *from >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)*from);
        int hit = _mm_movemask_epi8(_mm_cmpeq_epi8(v, slash));
        int n = hit == 0 ? 16 : __builtin_ctz((unsigned)hit);
        _mm_storeu_si128((__m128i *)(void *)*to, v);
        *from += n;
        *to += n;
        if (hit != 0)
            return;
    }
#endif
    while (*from < end && **from != '\\')
        *(*to)++ = *(*from)++;
}

int tape_put_text(const struct tape *t, uint32_t node, struct buf *out)
{
    const struct tape_node *n = &t->nodes[node];
    const char *p = t->text + n->at;
    const char *end = p + n->len;
    if (!n->escaped)
        return buf_put(out, p, n->len);
    /* An escape is never shorter than what it stands for. */
    if (buf_reserve(out, (size_t)n->len + 16) != 0)
        return out->err;
    char *to = out->data + out->len;
    for (copy_run(&p, end, &to); p < end; copy_run(&p, end, &to)) {
        if (p[1] == '"' || p[1] == '\\' || p[1] == '/') {
            *to++ = p[1];
            p += 2;
        } else {
            to += next_char(&p, end, to);
        }
    }
    *to = '\0';
    out->len = (size_t)(to - out->data);
    return 0;
}

/* Escaped text again, in one way: "\/" and "\u0041" need no escape, controls have one form. */
static void put_escaped(const struct tape *t, const struct tape_node *n, struct buf *out)
{
    static const char *const short_forms[] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    const char *p = t->text + n->at;
    const char *end = p + n->len;
    while (p < end) {
        char bytes[4];
        size_t len = next_char(&p, end, bytes);
        unsigned char c = (unsigned char)bytes[0];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c >= 0x20)
            buf_put(out, bytes, len);
        else if (c <= '\r' && short_forms[c] != NULL)
            buf_puts(out, short_forms[c]);
        else
            buf_printf(out, "\\u%04X", c);
    }
}

int tape_put_scalar(const struct tape *t, uint32_t node, struct buf *out)
{
    const struct tape_node *n = &t->nodes[node];
    if (n->type == TAPE_STRING && !n->escaped)
        return buf_put_quoted(out, t->text + n->at, n->len);
    if (n->type == TAPE_STRING) {
        buf_putc(out, '"');
        put_escaped(t, n, out);
        return buf_putc(out, '"');
    }
    if (n->type == TAPE_REAL) {
        char text[40];
        int len = snprintf(text, sizeof text - 2, "%.17g", tape_real(t, node));
        buf_put(out, text, (size_t)len);
        return strpbrk(text, ".e") == NULL ? buf_puts(out, ".0") : out->err;
    }
    if (n->type == TAPE_INTEGER && n->len == 2 && memcmp(t->text + n->at, "-0", 2) == 0)
        return buf_putc(out, '0');
    return buf_put(out, t->text + n->at, n->len);
}
