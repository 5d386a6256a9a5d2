/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"
#include "agent/base/json.h"
#include "agent/base/log_out.h"

#define LINE_MAX_BYTES 4096 /* PIPE_BUF: what a pipe takes as a whole */
#define NUMBER_MAX 24

static _Atomic int current_level = LOG_INFO;
static _Atomic int current_format = LOG_TEXT;
static _Atomic int current_fd = 1;

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

#define FIELDS_BYTES 1024 /* that a message leaves to the fields: they are what programs read */
#define TAIL_BYTES 3      /* closing quote, brace and newline */

struct line {
    char text[LINE_MAX_BYTES];
    size_t len, limit;
};

/* A line that is too long loses whole characters and whole fields, never its form. */
static bool has_room(const struct line *l, size_t n)
{
    return l->len + n + TAIL_BYTES <= l->limit;
}

static bool add(struct line *l, const char *bytes, size_t n)
{
    if (!has_room(l, n))
        return false;
    memcpy(l->text + l->len, bytes, n);
    l->len += n;
    return true;
}

static void adds(struct line *l, const char *text)
{
    (void)add(l, text, strlen(text));
}

static void add_quote(struct line *l) /* there is always room for one */
{
    l->text[l->len++] = '"';
}

/* Control characters never reach a terminal or break a line, and no byte breaks the text's
 * encoding, whatever a peer sent. */
static void add_escaped(struct line *l, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        char esc[8];
        const char *what = esc;
        unsigned char c = (unsigned char)*text;
        size_t n = json_utf8_length(text, left);
        size_t len = n;
        if (n == 0) {
            n = 1;
            len = (size_t)snprintf(esc, sizeof esc, "\xef\xbf\xbd");
        } else if (c == '"' || c == '\\') {
            len = (size_t)snprintf(esc, sizeof esc, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            len = (size_t)snprintf(esc, sizeof esc, "\\u%04x", c);
        } else {
            what = text;
        }
        if (!add(l, what, len))
            return;
        text += n;
        left -= n;
    }
}

static void add_number(struct line *l, int64_t n)
{
    char text[NUMBER_MAX];
    snprintf(text, sizeof text, "%lld", (long long)n);
    adds(l, text);
}

static void json_pair(struct line *l, const char *key, const char *text)
{
    if (!has_room(l, strlen(key) + 5))
        return;
    adds(l, ",\"");
    adds(l, key);
    adds(l, "\":\"");
    add_escaped(l, text);
    add_quote(l);
}

static void add_message(struct line *l, const char *message)
{
    l->limit = LINE_MAX_BYTES - FIELDS_BYTES;
    add_escaped(l, message);
    l->limit = LINE_MAX_BYTES;
}

static void format_json(struct line *l, enum log_level level, const char *time, const char *event,
                        const char *message, const struct log_field *fields)
{
    adds(l, "{\"time\":\"");
    adds(l, time);
    adds(l, "\"");
    json_pair(l, "level", level_names[level]);
    json_pair(l, "event", event);
    if (message != NULL && message[0] != '\0') {
        adds(l, ",\"message\":\"");
        add_message(l, message);
        add_quote(l);
    }
    for (const struct log_field *f = fields; f->key != NULL; f++) {
        if (f->text != NULL) {
            json_pair(l, f->key, f->text);
        } else if (has_room(l, strlen(f->key) + 3 + NUMBER_MAX)) {
            adds(l, ",\"");
            adds(l, f->key);
            adds(l, "\":");
            add_number(l, f->number);
        }
    }
    l->text[l->len++] = '}';
}

static bool needs_quotes(const char *text)
{
    if (text[0] == '\0')
        return true;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        if (*p <= ' ' || *p == '"' || *p == '\\' || *p == '=' || *p == 0x7f)
            return true;
    }
    return false;
}

static void format_text(struct line *l, enum log_level level, const char *time, const char *event,
                        const char *message, const struct log_field *fields)
{
    adds(l, time);
    adds(l, " ");
    adds(l, level_names[level]);
    adds(l, strlen(level_names[level]) < 5 ? "  " : " ");
    adds(l, event);
    if (message != NULL && message[0] != '\0') {
        adds(l, " ");
        add_message(l, message);
    }
    for (const struct log_field *f = fields; f->key != NULL; f++) {
        if (!has_room(l, strlen(f->key) + 3 + NUMBER_MAX))
            return;
        adds(l, " ");
        adds(l, f->key);
        adds(l, "=");
        if (f->text == NULL) {
            add_number(l, f->number);
        } else if (needs_quotes(f->text)) {
            adds(l, "\"");
            add_escaped(l, f->text);
            add_quote(l);
        } else {
            add_escaped(l, f->text);
        }
    }
}

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store(&current_level, (int)level);
    atomic_store(&current_format, (int)format);
}

void log_set_fd(int fd)
{
    atomic_store(&current_fd, fd);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&current_level, memory_order_relaxed);
}

void log_emit(enum log_level level, const char *event, const char *message,
              const struct log_field *fields)
{
    struct line l;
    char time[CLOCK_TEXT_MAX];
    l.len = 0;
    l.limit = LINE_MAX_BYTES;
    clock_format_unix_ms(clock_unix_ms(), time);
    if (atomic_load_explicit(&current_format, memory_order_relaxed) == LOG_JSON)
        format_json(&l, level, time, event, message, fields);
    else
        format_text(&l, level, time, event, message, fields);
    l.text[l.len++] = '\n';
    /* One write a line keeps lines of several threads whole. */
    log_out(atomic_load_explicit(&current_fd, memory_order_relaxed), l.text, l.len);
}

int log_level_parse(const char *text, enum log_level *ret)
{
    for (int i = LOG_DEBUG; i <= LOG_OFF; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return ERR_BADPARAM;
}

int log_format_parse(const char *text, enum log_format *ret)
{
    if (strcmp(text, "text") == 0)
        *ret = LOG_TEXT;
    else if (strcmp(text, "json") == 0)
        *ret = LOG_JSON;
    else
        return ERR_BADPARAM;
    return 0;
}
