/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/clock.h"
#include "agent/cli/cli.h"

void cli_print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(JSON_DIGITS));
    putchar('\n');
}

void cli_table_init(struct cli_table *t, const char *const *titles, size_t columns)
{
    *t = (struct cli_table){.columns = columns};
    for (size_t i = 0; i < columns; i++)
        t->title[i] = titles[i];
}

/* What a terminal would obey is shown as '?'. */
static char *harmless(const char *text)
{
    char *copy = strdup(text == NULL || text[0] == '\0' ? "-" : text);
    for (char *p = copy; p != NULL && *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    }
    return copy;
}

void cli_table_add(struct cli_table *t, const char *text)
{
    if (t->rows == t->room) {
        t->room = t->room == 0 ? 256 : t->room * 2;
        t->cells = realloc(t->cells, t->room * sizeof *t->cells);
        if (t->cells == NULL)
            abort();
    }
    t->cells[t->rows++] = harmless(text);
}

/* Characters, not bytes: UTF-8 continuation bytes take no place. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *text, size_t width, bool last)
{
    fputs(text, stdout);
    for (size_t n = width_of(text); !last && n < width + 2; n++)
        putchar(' ');
    if (last)
        putchar('\n');
}

void cli_table_print(const struct cli_table *t)
{
    size_t width[CLI_COLUMNS_MAX] = {0};
    for (size_t c = 0; c < t->columns; c++)
        width[c] = strlen(t->title[c]);
    for (size_t i = 0; i < t->rows; i++) {
        size_t n = width_of(t->cells[i]);
        if (n > width[i % t->columns])
            width[i % t->columns] = n;
    }
    for (size_t c = 0; c < t->columns; c++)
        print_cell(t->title[c], width[c], c + 1 == t->columns);
    for (size_t i = 0; i < t->rows; i++) {
        size_t c = i % t->columns;
        print_cell(t->cells[i], width[c], c + 1 == t->columns);
    }
}

void cli_table_fini(struct cli_table *t)
{
    for (size_t i = 0; i < t->rows; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct cli_table){0};
}

const char *cli_short_arn(const char *arn)
{
    const char *slash = arn == NULL ? NULL : strrchr(arn, '/');
    return slash == NULL ? arn : slash + 1;
}

const char *cli_age(const char *rfc3339, char out[24])
{
    int64_t at = 0;
    snprintf(out, 24, "-");
    if (rfc3339 == NULL || clock_parse_rfc3339(rfc3339, &at) != 0)
        return out;
    int64_t s = (clock_unix_ms() - at) / 1000;
    s = s < 0 ? 0 : s;
    if (s < 60)
        snprintf(out, 24, "%" PRId64 "s", s);
    else if (s < 3600)
        snprintf(out, 24, "%" PRId64 "m%02" PRId64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, 24, "%" PRId64 "h%02" PRId64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(out, 24, "%" PRId64 "d%02" PRId64 "h", s / 86400, s / 3600 % 24);
    return out;
}
