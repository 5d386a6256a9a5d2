/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/aws/query.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_LEN 64
#define DEPTH_MAX 16 /* SQS's answers nest 5 deep, EC2's 11 */
#define KEY_MAX 160

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

static int put_scalar(struct buf *out, const char *key, const json_t *value)
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
    return out->err;
}

static int put_value(struct buf *out, const char *key, const json_t *value, unsigned levels);

/* "Name.1=text", or "Name.1.Member=text" of objects. */
static int put_nested(struct buf *out, const char *name, const json_t *value, unsigned levels)
{
    char key[KEY_MAX];
    size_t i;
    const char *member;
    json_t *one;
    int err = 0;
    json_array_foreach((json_t *)value, i, one)
    {
        snprintf(key, sizeof key, "%s.%zu", name, i + 1);
        err = err == 0 ? put_value(out, key, one, levels) : err;
    }
    json_object_foreach((json_t *)value, member, one)
    {
        snprintf(key, sizeof key, "%s.%s", name, member);
        err = err == 0 ? put_value(out, key, one, levels) : err;
    }
    return err;
}

static int put_value(struct buf *out, const char *key, const json_t *value, unsigned levels)
{
    bool nested = json_is_array(value) || json_is_object(value);
    return nested && levels > 0 ? put_nested(out, key, value, levels - 1)
                                : put_scalar(out, key, value);
}

/* levels: of lists and objects in a parameter. */
static int encode(const char *action, const char *version, unsigned levels, const json_t *params,
                  struct buf *out)
{
    const char *key;
    json_t *value;
    int err = 0;
    buf_puts(out, "Action=");
    put_escaped(out, action);
    buf_printf(out, "&Version=%s", version);
    json_object_foreach((json_t *)params, key, value)
    {
        char name[96];
        snprintf(name, sizeof name, "%s",
                 strcmp(key, "MessageSystemAttributeNames") == 0 ? "AttributeName" : key);
        if (strcmp(key, "Entries") == 0)
            snprintf(name, sizeof name, "%.60sRequestEntry", action);
        if (err == 0)
            err = put_value(out, name, value, levels);
    }
    return err != 0 ? err : out->err;
}

int query_encode_sts(const char *action, const json_t *params, struct buf *out)
{
    return encode(action, "2011-06-15", 0, params, out);
}

int query_encode_sqs(const char *action, const json_t *params, struct buf *out)
{
    return encode(action, "2012-11-05", 2, params, out);
}

int query_encode_ec2(const char *action, const json_t *params, struct buf *out)
{
    return encode(action, "2016-11-15", 3, params, out);
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

/* An element that is one of a list, and the list's name in JSON. */
struct group {
    const char *parent, *name, *list;
    bool inner; /* the parent is one of a list itself */
};
static const struct group sqs_groups[] = {
    {"ReceiveMessageResult", "Message", "Messages", false},
    {"DeleteMessageBatchResult", "DeleteMessageBatchResultEntry", "Successful", false},
    {"DeleteMessageBatchResult", "BatchResultErrorEntry", "Failed", false},
    {"Message", "Attribute", "Attributes", true},
    {NULL, NULL, NULL, false},
};
static const struct group ec2_groups[] = {
    {"instancesSet", "item", "instances", false},
    {"item", "instanceState", "instanceState", true},
    {NULL, NULL, NULL, false},
};

struct walk {
    const struct group *groups;  /* NULL: none */
    bool own;                    /* an element of a list keeps only leaves that are its children */
    json_t *open[DEPTH_MAX + 1]; /* of each depth: where its leaves go; borrowed but for groups */
    char names[DEPTH_MAX][NAME_MAX_LEN];
    size_t depth;
    bool leaf; /* the innermost element has no child so far */
    bool seen; /* the root element has been opened */
    struct buf text;
};

/* Of the element at w->depth, not open yet or just closed. */
static const struct group *group_of(const struct walk *w, const char *parent, const char *name)
{
    for (const struct group *g = w->groups; g != NULL && g->parent != NULL; g++) {
        if (strcmp(g->parent, parent) == 0 && strcmp(g->name, name) == 0 &&
            (!g->inner || w->open[w->depth] != w->open[w->depth - 1]))
            return g;
    }
    return NULL;
}

/* {"Name": n, "Value": v} of an attribute is a member; other groups are elements. */
static bool close_group(struct walk *w, const struct group *g)
{
    json_t *outer = w->open[w->depth];
    json_t *inner = w->open[w->depth + 1];
    bool attribute = strcmp(g->list, "Attributes") == 0;
    json_t *list = json_object_get(outer, g->list);
    if (list == NULL) {
        list = attribute ? json_object() : json_array();
        json_object_set_new(outer, g->list, list);
    }
    w->open[w->depth + 1] = NULL;
    if (!attribute)
        return json_array_append_new(list, inner) == 0;
    json_set_str(list, json_str_or(inner, "Name", "?"), json_str(inner, "Value"));
    json_decref(inner);
    return true;
}

static bool close_element(struct walk *w)
{
    const char *name = w->names[--w->depth];
    const struct group *g = w->depth == 0 ? NULL : group_of(w, w->names[w->depth - 1], name);
    json_t *out = w->open[w->depth];
    bool leaf = w->leaf;
    w->leaf = false;
    if (g != NULL)
        return close_group(w, g);
    bool nested = w->own && w->depth > 0 && out != w->open[0] && out == w->open[w->depth - 1];
    if (leaf && !nested && json_object_get(out, name) == NULL) {
        const char *text = w->text.data == NULL ? "" : w->text.data;
        return json_object_set_new(out, name, json_stringn(text, w->text.len)) == 0;
    }
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
    bool group = w->depth > 0 && group_of(w, w->names[w->depth - 1], name) != NULL;
    w->open[w->depth + 1] = group ? json_object() : w->open[w->depth];
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

static json_t *parse(const char *data, size_t len, const struct group *groups, size_t text_max,
                     struct errmsg *e)
{
    struct scan s = {data, data + len};
    json_t *out = json_object();
    struct walk w = {.groups = groups, .own = groups == ec2_groups, .open = {out}};
    buf_init(&w.text, text_max);
    bool ok = out != NULL && walk(&s, &w);
    if (w.text.data != NULL)
        explicit_bzero(w.text.data, w.text.cap); /* it held a secret key */
    buf_fini(&w.text);
    if (ok)
        return out;
    for (size_t i = w.depth; i > 0; i--) { /* groups left open */
        if (w.open[i] != w.open[i - 1])
            json_decref(w.open[i]);
    }
    json_decref(out);
    errmsg_set(e, ERR_MALFORMED, "the XML is broken at byte %zu", (size_t)(s.p - data));
    return NULL;
}

json_t *query_parse_sts(const char *data, size_t len, struct errmsg *e)
{
    return parse(data, len, NULL, 64u * 1024, e);
}

json_t *query_parse_sqs(const char *data, size_t len, struct errmsg *e)
{
    return parse(data, len, sqs_groups, 1u << 20, e);
}

json_t *query_parse_ec2(const char *data, size_t len, struct errmsg *e)
{
    return parse(data, len, ec2_groups, 64u * 1024, e);
}
