/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct err_row {
    int err;
    const char *name;
    const char *text;
    int http;
    const char *slug;
    int exit_code;
};

static const struct err_row rows[] = {
#define X(name, number, text, http, slug, code) {name, #name, text, http, slug, code},
    ERR_LIST(X)
#undef X
};

static const struct err_row unknown = {1, "ERR_UNKNOWN", "unknown error", 500, "internal", 1};

static const struct err_row *row_of(int err)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].err == err)
            return &rows[i];
    }
    return &unknown;
}

const char *err_text(int err)
{
    return err == 0 ? "ok" : row_of(err)->text;
}

const char *err_name(int err)
{
    return err == 0 ? "ERR_OK" : row_of(err)->name;
}

const char *err_slug(int err)
{
    return err == 0 ? "ok" : row_of(err)->slug;
}

int err_http_status(int err)
{
    return err == 0 ? 200 : row_of(err)->http;
}

int err_exit_code(int err)
{
    return err == 0 ? 0 : row_of(err)->exit_code;
}

int err_from_slug(const char *slug)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].slug, slug) == 0)
            return rows[i].err;
    }
    return ERR_INTERNAL;
}

int errmsg_set(struct errmsg *e, int err, const char *format, ...)
{
    if (e == NULL)
        return err;
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return err;
}

void errmsg_wrap(struct errmsg *e, const char *format, ...)
{
    if (e == NULL)
        return;
    struct errmsg old = *e;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof e->text)
        return;
    snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", old.text);
}
