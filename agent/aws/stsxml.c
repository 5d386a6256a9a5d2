/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/stsxml.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define NAME_MAX_LEN 64
#define DEPTH_MAX 16

static void put_escaped(struct buf *out, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-._~", *p) != NULL;
        if (plain)
            buf_putc(out, (char)*p);
        else
            buf_printf(out, "%%%02X", *p);
    }
}

int stsxml_encode(const char *action, const json_t *params, struct buf *out)
{
    const char *key;
    json_t *value;
    buf_puts(out, "Action=");
    put_escaped(out, action);
    buf_puts(out, "&Version=2011-06-15");
    json_object_foreach((json_t *)params, key, value)
    {
        buf_putc(out, '&');
        put_escaped(out, key);
        buf_putc(out, '=');
        if (json_is_string(value))
            put_escaped(out, json_string_value(value));
        else if (json_is_integer(value))
            buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        else
            return ERR_BADPARAM;
    }
    return out->err;
}

struct scan {
    const char *p;
    const char *end;
};

static bool skip_past(struct scan *s, const char *mark)
{
    const char *at = memmem(s->p, (size_t)(s->end - s->p), mark, strlen(mark));
    if (at == NULL)
        return false;
    s->p = at + strlen(mark);
    return true;
}

static bool starts(const struct scan *s, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(s->end - s->p) >= n && memcmp(s->p, text, n) == 0;
}

static bool put_utf8(struct buf *out, unsigned long cp)
{
    if (cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
        return false;
    if (cp < 0x80)
        return buf_putc(out, (char)cp) == 0;
    if (cp < 0x800) {
        buf_putc(out, (char)(0xc0 | cp >> 6));
    } else {
        if (cp < 0x10000) {
            buf_putc(out, (char)(0xe0 | cp >> 12));
        } else {
            buf_putc(out, (char)(0xf0 | cp >> 18));
            buf_putc(out, (char)(0x80 | (cp >> 12 & 0x3f)));
        }
        buf_putc(out, (char)(0x80 | (cp >> 6 & 0x3f)));
    }
    return buf_putc(out, (char)(0x80 | (cp & 0x3f))) == 0;
}

/* After '&'. */
static bool entity(struct scan *s, struct buf *out)
{
    static const struct {
        const char *text;
        char c;
    } named[] = {{"amp;", '&'}, {"lt;", '<'}, {"gt;", '>'}, {"quot;", '"'}, {"apos;", '\''}};
    for (size_t i = 0; i < sizeof named / sizeof named[0]; i++) {
        if (starts(s, named[i].text)) {
            s->p += strlen(named[i].text);
            return buf_putc(out, named[i].c) == 0;
        }
    }
    unsigned base = starts(s, "#x") ? 16 : 10;
    if (!starts(s, "#"))
        return false;
    s->p += base == 16 ? 2 : 1;
    unsigned long cp = 0;
    unsigned digits = 0;
    for (; s->p < s->end && *s->p != ';' && digits < 8; s->p++, digits++) {
        char c = *s->p;
        unsigned v = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                     : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                     : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                            : 16;
        if (v >= base)
            return false;
        cp = cp * base + v;
    }
    if (digits == 0 || s->p >= s->end || *s->p != ';')
        return false;
    s->p++;
    return put_utf8(out, cp);
}

/* Name, attributes and '>' after '<' or '</'. */
static bool tag(struct scan *s, char name[NAME_MAX_LEN], bool *ret_empty)
{
    size_t n = 0;
    while (s->p < s->end && strchr(" \t\r\n/>", *s->p) == NULL) {
        if (*s->p == '<' || *s->p == '&' || *s->p == '\0' || n + 1 >= NAME_MAX_LEN)
            return false;
        name[n++] = *s->p++;
    }
    name[n] = '\0';
    char quote = '\0';
    *ret_empty = false;
    for (; n > 0 && s->p < s->end; s->p++) {
        if (quote != '\0') {
            quote = *s->p == quote ? '\0' : quote;
        } else if (*s->p == '"' || *s->p == '\'') {
            quote = *s->p;
        } else if (*s->p == '<') {
            return false;
        } else if (*s->p == '>') {
            *ret_empty = s->p[-1] == '/';
            s->p++;
            return true;
        }
    }
    return false;
}

struct walk {
    char names[DEPTH_MAX][NAME_MAX_LEN];
    size_t depth;
    bool leaf; /* the innermost element has no child so far */
    bool seen; /* the root element has been opened */
    struct buf text;
    json_t *out;
};

static bool close_element(struct walk *w)
{
    const char *name = w->names[--w->depth];
    if (w->leaf && json_object_get(w->out, name) == NULL) {
        const char *text = w->text.data == NULL ? "" : w->text.data;
        if (json_object_set_new(w->out, name, json_stringn(text, w->text.len)) != 0)
            return false;
    }
    w->leaf = false;
    return true;
}

static bool markup(struct scan *s, struct walk *w)
{
    char name[NAME_MAX_LEN];
    bool empty;
    if (starts(s, "<?"))
        return !w->seen && skip_past(s, "?>");
    if (starts(s, "<!--"))
        return skip_past(s, "-->");
    if (starts(s, "</")) {
        s->p += 2;
        return tag(s, name, &empty) && !empty && w->depth > 0 &&
               strcmp(name, w->names[w->depth - 1]) == 0 && close_element(w);
    }
    s->p++;
    if (!tag(s, name, &empty) || name[0] == '!' || w->depth >= DEPTH_MAX ||
        (w->depth == 0 && w->seen))
        return false;
    memcpy(w->names[w->depth++], name, sizeof name);
    w->leaf = true;
    w->seen = true;
    buf_clear(&w->text);
    return !empty || close_element(w);
}

static bool walk(struct scan *s, struct walk *w)
{
    while (s->p < s->end) {
        if (*s->p == '<') {
            if (!markup(s, w))
                return false;
        } else if (*s->p == '&') {
            s->p++;
            if (w->depth == 0 || !entity(s, &w->text))
                return false;
        } else if (w->depth == 0) {
            if (strchr(" \t\r\n", *s->p) == NULL || *s->p == '\0')
                return false;
            s->p++;
        } else if (*s->p == '\0' || buf_putc(&w->text, *s->p++) != 0) {
            return false;
        }
    }
    return w->depth == 0 && w->seen;
}

json_t *stsxml_parse(const char *data, size_t len, struct errmsg *e)
{
    struct scan s = {data, data + len};
    struct walk w = {.out = json_object()};
    buf_init(&w.text, 64u * 1024);
    bool ok = w.out != NULL && walk(&s, &w);
    if (w.text.data != NULL)
        explicit_bzero(w.text.data, w.text.cap); /* it held a secret key */
    buf_fini(&w.text);
    if (ok)
        return w.out;
    json_decref(w.out);
    errmsg_set(e, ERR_MALFORMED, "the XML is broken at byte %zu", (size_t)(s.p - data));
    return NULL;
}
