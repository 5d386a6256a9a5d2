/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/clock.h"
#include "agent/base/err.h"

#define LINE_MAX_BYTES 4096

static _Atomic int current_level = LOG_INFO;
static _Atomic int current_format = LOG_TEXT;
static _Atomic int current_fd = 1;

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void add(struct line *l, const char *bytes, size_t n)
{
    size_t room = sizeof l->text - l->len - 4; /* for the closing quote, brace and newline */
    if (l->len + 4 >= sizeof l->text)
        return;
    if (n > room)
        n = room;
    memcpy(l->text + l->len, bytes, n);
    l->len += n;
}

static void adds(struct line *l, const char *text)
{
    add(l, text, strlen(text));
}

/* Control characters never reach a terminal or break a line, whatever a peer sent. */
static void add_escaped(struct line *l, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; p++) {
        char esc[8];
        if (*p == '"' || *p == '\\') {
            esc[0] = '\\';
            esc[1] = (char)*p;
            add(l, esc, 2);
        } else if (*p < 0x20 || *p == 0x7f) {
            snprintf(esc, sizeof esc, "\\u%04x", *p);
            add(l, esc, 6);
        } else {
            add(l, (const char *)p, 1);
        }
    }
}

static void add_number(struct line *l, int64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)n);
    adds(l, text);
}

static void json_pair(struct line *l, const char *key, const char *text)
{
    adds(l, ",\"");
    adds(l, key);
    adds(l, "\":\"");
    add_escaped(l, text);
    adds(l, "\"");
}

static void format_json(struct line *l, enum log_level level, const char *time, const char *event,
                        const char *message, const struct log_field *fields)
{
    adds(l, "{\"time\":\"");
    adds(l, time);
    adds(l, "\"");
    json_pair(l, "level", level_names[level]);
    json_pair(l, "event", event);
    if (message != NULL && message[0] != '\0')
        json_pair(l, "message", message);
    for (const struct log_field *f = fields; f->key != NULL; f++) {
        if (f->text != NULL) {
            json_pair(l, f->key, f->text);
        } else {
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
        add_escaped(l, message);
    }
    for (const struct log_field *f = fields; f->key != NULL; f++) {
        adds(l, " ");
        adds(l, f->key);
        adds(l, "=");
        if (f->text == NULL) {
            add_number(l, f->number);
        } else if (needs_quotes(f->text)) {
            adds(l, "\"");
            add_escaped(l, f->text);
            adds(l, "\"");
        } else {
            adds(l, f->text);
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
    clock_format_unix_ms(clock_unix_ms(), time);
    if (atomic_load_explicit(&current_format, memory_order_relaxed) == LOG_JSON)
        format_json(&l, level, time, event, message, fields);
    else
        format_text(&l, level, time, event, message, fields);
    l.text[l.len++] = '\n';
    /* One write per line keeps lines of several threads whole; a full pipe drops. */
    ssize_t n = write(atomic_load_explicit(&current_fd, memory_order_relaxed), l.text, l.len);
    (void)n;
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
